//! Opening and closing: lock, migrations, check after a crash.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{Inner, Store, StoreError, chain, pictures};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::config::{Config, StoreConfig};

/// File of the database in the store's folder.
pub const DATABASE: &str = "gatewatch.db";

/// What the store is told at start.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Folder and limits.
    pub config: StoreConfig,
    /// A message handed to delivery later than this after its capture is historical, milliseconds.
    pub live_limit_ms: i64,
    /// Office code, for messages about the outbox.
    pub office: String,
    /// Box id, for messages about the outbox.
    pub box_id: String,
    /// Topic of messages about the outbox.
    pub alert_topic: String,
}

impl StoreOptions {
    /// As a box's configuration wants it.
    #[must_use]
    pub fn of(config: &Config, alert_topic: String) -> Self {
        Self {
            config: config.store.clone(),
            live_limit_ms: i64::from(config.events.live_limit_s) * 1000,
            office: config.site.office.clone(),
            box_id: config.site.box_id.clone(),
            alert_topic,
        }
    }
}

impl Store {
    /// Opens the store of a folder, makes it if missing. Needs a tokio runtime with time.
    ///
    /// # Errors
    /// When another process has it, it is damaged or from a newer version, or the disk says no.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let dir = options.config.dir.clone();
        std::fs::create_dir_all(&dir).map_err(|e| StoreError::io("create", &dir, e))?;
        let lock = take_lock(&dir)?;
        let removed = pictures::clean_tmp(&dir)?;
        if removed > 0 {
            tracing::warn!(removed, "half-written pictures of an earlier crash removed");
        }
        let db_path = dir.join(DATABASE);
        let settings = connect_options(&db_path);
        let sql = |e| StoreError::sql(&db_path, e);
        let mut writer = settings.clone().connect().await.map_err(sql)?;
        sqlx::migrate!("src/store/migrations").run(&mut writer).await.map_err(|e| migration_error(&db_path, e))?;
        let (epoch, session) = begin_session(&mut writer, &db_path).await?;
        chain::begin(&mut writer, &options.office, &options.box_id).await.map_err(sql)?;
        let last = sqlx::query_scalar("SELECT MAX(recorded_ms) FROM message");
        let last_recorded: Option<i64> = last.fetch_one(&mut writer).await.map_err(sql)?;
        // A file does not go away as a server does: nothing is asked before each use whether it is there.
        let pool = SqlitePoolOptions::new().max_connections(3).test_before_acquire(false);
        let pool = pool.acquire_timeout(Duration::from_secs(30));
        let readers = pool.connect_lazy_with(settings.read_only(true));
        tracing::info!(dir = %dir.display(), epoch, session, "store open");
        let inner = Inner {
            options,
            epoch,
            session,
            db_path,
            writer: tokio::sync::Mutex::new(writer),
            readers,
            work: tokio::sync::Notify::new(),
            timing: Mutex::new(HashMap::new()),
            dropped: AtomicU64::new(0),
            opened: mono_now(),
            last_recorded: last_recorded.map(UtcMillis),
            holds_heard: Mutex::new(None),
            _lock: lock,
        };
        // Whatever the last session left is work.
        inner.work.notify_one();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The one way to the writer, with no transaction open on it. When a statement or a COMMIT meets a full or failing
    /// disk, SQLite ends the transaction by itself and the driver does not notice: it takes the next transaction for a
    /// savepoint within that one, and the first that is dropped leaves a savepoint open in which everything later says
    /// that it is committed, and is not. So a connection that still counts a transaction is thrown away.
    pub(super) async fn writer(&self) -> Result<tokio::sync::MutexGuard<'_, SqliteConnection>, StoreError> {
        let mut writer = self.inner.writer.lock().await;
        // Answered after the rollback that a dropped transaction may have left to do.
        let answers = writer.ping().await.is_ok();
        if !answers || writer.is_in_transaction() {
            tracing::error!("the database ended a transaction by itself; it is connected to anew");
            *writer = connect_options(&self.inner.db_path).connect().await.map_err(|e| self.sql(e))?;
        }
        Ok(writer)
    }

    /// Writes something and takes it out again, so that it is known whether events could be kept now. Waits for the disk.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn try_write(&self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        // A row that were only set to what it is would not be written at all.
        for step in [
            "INSERT INTO refused (seq, part, at_ms, why) VALUES (-1, -1, 0, 'a try')",
            "DELETE FROM refused WHERE seq = -1",
        ] {
            sqlx::query(step).execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    /// Marks an orderly stop, so that the next start needs no check. What comes after is still safe, only checked.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mark = sqlx::query("UPDATE meta SET closed = 1");
        mark.execute(&mut *writer).await.map_err(|e| self.sql(e))?;
        self.inner.readers.close().await;
        Ok(())
    }
}

fn connect_options(db_path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(db_path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
}

/// Whether a running process has the store in `dir`.
#[must_use]
pub fn in_use(dir: &Path) -> bool {
    let file = File::options().write(true).open(dir.join("gatewatch.lock"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("gatewatch.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| StoreError::io("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &path, e)),
    }
}

fn migration_error(path: &Path, e: MigrateError) -> StoreError {
    match e {
        MigrateError::Execute(e) => StoreError::sql(path, e),
        MigrateError::ExecuteMigration(e, _) => StoreError::sql(path, e),
        other => StoreError::Version { path: path.into(), what: other.to_string() },
    }
}

/// Reads or makes the epoch, counts the start, checks the database if the last stop was not orderly.
async fn begin_session(writer: &mut SqliteConnection, path: &Path) -> Result<(i64, i64), StoreError> {
    let sql = |e| StoreError::sql(path, e);
    let closed: Option<i64> =
        sqlx::query_scalar("SELECT closed FROM meta").fetch_optional(&mut *writer).await.map_err(sql)?;
    if closed == Some(0) {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *writer).await.map_err(sql)?;
        if found != "ok" {
            return Err(StoreError::Corrupt { path: path.into(), what: found });
        }
    }
    let begin = "INSERT INTO meta (id, epoch, session, last_seq, outbox_rows, outbox_bytes, closed)
                 VALUES (1, ?, 1, 0, 0, 0, 0)
                 ON CONFLICT (id) DO UPDATE SET session = session + 1, closed = 0
                 RETURNING epoch, session";
    let now_s = utc_now().0.div_euclid(1000);
    sqlx::query_as(begin).bind(now_s).fetch_one(&mut *writer).await.map_err(sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewNotice;

    fn notice(id: &str, text: String) -> NewNotice {
        NewNotice {
            id: id.into(),
            revision: 1,
            kind: "gatewatch.event.camera_dark.v1".into(),
            subject: "camera/cam-1".into(),
            severity: 2,
            at: utc_now(),
            open: false,
            topic: "gatewatch/v1/15BB/gate-01/event".into(),
            lane: 2,
            data: serde_json::json!({"text": text}),
        }
    }

    #[tokio::test]
    async fn what_is_recorded_after_a_full_disk_is_really_kept() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { store: StoreConfig { dir: dir.path().into(), ..StoreConfig::default() }, ..Config::default() };
        let options = StoreOptions::of(&config, "gatewatch/v1/15BB/gate-01/alert".into());
        let store = Store::open(options.clone()).await.unwrap();
        let limit = async |pages: i64| {
            let mut writer = store.inner.writer.lock().await;
            let set = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(sqlx::AssertSqlSafe(set)).execute(&mut *writer).await.unwrap();
        };
        let size = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.inner.readers).await.unwrap();
        limit(size).await;
        let full = store.record_notices(vec![notice("large", "x".repeat(100_000))]).await.unwrap_err();
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        limit(1 << 30).await;
        // Ends without a commit, as many transactions do that find nothing to write.
        store.resync(1, None, store.epoch() + 1).await.unwrap();
        for (id, seq) in [("first", 1), ("second", 2)] {
            assert_eq!(store.record_notices(vec![notice(id, String::new())]).await.unwrap(), [seq]);
        }
        let waiting = async |store: &Store| store.outbox_next(10, &[]).await.unwrap().len();
        assert_eq!(waiting(&store).await, 2, "others see what was said to be recorded");
        drop(store);
        assert_eq!(waiting(&Store::open(options).await.unwrap()).await, 2, "so does the next run");
    }
}
