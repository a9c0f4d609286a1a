//! The desk's database: SQLite or PostgreSQL with the same statements. Here: opening it, and transactions. The
//! statements of each part are in the files beside this one; what a state may become is in `alert.rs` and `tip.rs`.
//!
//! **Limits and invariants**
//! * One transaction writes at a time, in a process because one connection writes and over all processes on one PostgreSQL by
//!   the row that each counts up first; readers do not wait for it. Versions of rows say whether what a person looked at is
//!   still so.
//! * Nothing waits for a PostgreSQL or a worker whose host is gone for longer than the limits here: what was begun is dropped with its
//!   connection and tried anew.
//! * A message is acknowledged to the broker only after the transaction that stored it.
//! * What the desk publishes is a row first (`outgoing`), removed from work only by the broker's acknowledgement.
//! * Placeholders are `$1`: both databases know them.

pub(crate) mod accounts;
pub(crate) mod alert_figures;
pub(crate) mod alerts;
pub(crate) mod attachments;
pub(crate) mod audit;
pub(crate) mod availability;
pub(crate) mod bays;
pub(crate) mod bulk;
pub(crate) mod calls;
pub(crate) mod chain;
pub(crate) mod facts;
pub(crate) mod measures;
pub(crate) mod messages;
pub(crate) mod orders;
pub(crate) mod outages;
pub(crate) mod outgoing;
pub(crate) mod places;
pub(crate) mod shifts;
pub(crate) mod snapshots;
pub(crate) mod tips;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, Connection, Database, Executor, Transaction};

use super::config::DatabaseConfig;

/// Connections that read, at most.
const READERS: u32 = 12;
/// SQLite's settings of every connection. What is committed is on the disk.
const SQLITE: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000";
/// And of the one that writes: 64 MiB of pages in memory, and 16 MiB in the log before they are put into their places, so
/// that a page of an index is not read and written anew for every batch.
const SQLITE_WRITER: &str = "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000";

/// PostgreSQL's settings of every connection. A worker whose host is gone in the middle of a transaction holds the row that all count
/// up for 20 s at most, less than others wait for it; and a network that swallows everything is noticed by the server as well.
const POSTGRES: &str = "SET idle_in_transaction_session_timeout = '20s'; SET lock_timeout = '30s';
                        SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
                        SET tcp_user_timeout = '25s'";
/// A report over years is read in less; what runs on for longer nobody waits for any more.
const POSTGRES_READER: &str = "SET statement_timeout = '5min'";
/// Whoever writes keeps all others waiting: nothing that is written takes more than a moment.
const POSTGRES_WRITER: &str = "SET statement_timeout = '1min'";
/// Tables may take long to change, and another worker may be changing them.
const POSTGRES_MAKER: &str = "SET statement_timeout = 0; SET lock_timeout = 0";
/// Waits for a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// A transaction begins or ends within this: for a connection and then for the row that others hold, see [`POSTGRES`].
const TURN_WITHIN: Duration = Duration::from_secs(65);
/// A connection that is given back answers within this, or is closed.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// What the database is asked, for no longer than `limit`: a host that is gone does not even refuse.
pub(crate) async fn within<T, E: From<DbError>>(
    limit: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(DbError::Gone.into()))
}

/// A statement with what is bound to it.
type Query = sqlx::query::Query<'static, Any, <Any as Database>::Arguments>;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// Cannot be opened; says what to do.
    #[error("{0}")]
    Open(String),
    /// A statement failed.
    #[error("the desk's database: {0}")]
    Sql(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("the desk's database does not answer; is its host there?")]
    Gone,
    /// Somebody else changed the row in between.
    #[error("somebody else has just changed {0}; look at it again")]
    Changed(String),
    /// A picture file cannot be written or read.
    #[error("picture {path}: {source}")]
    Picture {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl DbError {
    /// Whether the fault is in what was to be written, so that it would be the same the next time: the database itself works.
    pub(crate) fn is_of_content(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(error)) = self else { return false };
        match error.code().as_deref() {
            // PostgreSQL: data exception, integrity constraint violation, program limit exceeded.
            Some(code) if code.len() == 5 => ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
            // SQLite: TOOBIG, CONSTRAINT, MISMATCH, with more detail in the higher bits.
            Some(code) => code.parse::<i32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
            None => false,
        }
    }
}

/// The open database. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    /// Reads.
    pub(super) pool: AnyPool,
    /// Writes: one connection, which so has at hand what it wrote before.
    writer: AnyPool,
}

/// A transaction that writes. Dropped without [`Tx::commit`] it leaves nothing behind.
pub(crate) struct Tx {
    tx: Transaction<'static, Any>,
    /// Its number: grows with every transaction that writes, in the order they are committed.
    n: i64,
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.tx
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), DbError> {
        within(TURN_WITHIN, async { Ok::<_, DbError>(self.tx.commit().await?) }).await
    }
}

impl Db {
    /// Opens the database of `config`, or SQLite in `dir`, and brings its tables up to date.
    pub(crate) async fn open(config: &DatabaseConfig, dir: &Path) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let url = address(config, dir)?;
        let [maker, reader, writer] = if url.starts_with("sqlite:") {
            [SQLITE.to_owned(), SQLITE.to_owned(), format!("{SQLITE}; {SQLITE_WRITER}")]
        } else {
            [
                POSTGRES_MAKER.to_owned(),
                format!("{POSTGRES}; {POSTGRES_READER}"),
                format!("{POSTGRES}; {POSTGRES_WRITER}"),
            ]
        };
        let maker = connect(&url, 1, &maker).await?;
        let migrations = sqlx::migrate!("src/desk/db/migrations");
        migrations.run(&maker).await.map_err(|e| {
            DbError::Open(format!("the tables of the desk's database cannot be made or brought up to date: {e}; a newer version may have used it"))
        })?;
        maker.close().await;
        let pool = connect(&url, READERS, &reader).await?;
        let writer = connect(&url, 1, &writer).await?;
        Ok(Self { pool, writer })
    }

    /// Begins a transaction that writes; waits for the one before, also for that of another process: the row that is
    /// counted up stays locked until the end.
    pub(crate) async fn write(&self) -> Result<Tx, DbError> {
        let begin = async {
            let mut tx = self.writer.begin().await?;
            let count = "UPDATE counter SET value = value + 1 WHERE name = 'writer' RETURNING value";
            let n = sqlx::query_scalar(count).fetch_one(&mut *tx).await?;
            Ok::<_, DbError>(Tx { tx, n })
        };
        within(TURN_WITHIN, begin).await
    }

    /// Number of the newest transaction that wrote.
    pub(crate) async fn newest_write(&self) -> Result<i64, DbError> {
        Ok(sqlx::query_scalar("SELECT value FROM counter WHERE name = 'writer'").fetch_one(&self.pool).await?)
    }

    /// Takes or keeps what only one of several workers may do; `false` when another one holds it.
    pub(crate) async fn lease(&self, name: &str, holder: &str, now_ms: i64, for_ms: i64) -> Result<bool, DbError> {
        let mut tx = self.write().await?;
        let take = "INSERT INTO lease (name, holder, until_ms) VALUES ($1, $2, $3)
                    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
                    WHERE lease.holder = excluded.holder OR lease.until_ms < $4";
        let query = sqlx::query(take).bind(name).bind(holder).bind(now_ms + for_ms).bind(now_ms);
        let mine = query.execute(&mut *tx).await?.rows_affected() == 1;
        tx.commit().await?;
        Ok(mine)
    }

    /// Waits until nobody uses it any more.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }
}

/// `settings`: of each connection.
async fn connect(url: &str, connections: u32, settings: &str) -> Result<AnyPool, DbError> {
    let options = AnyConnectOptions::from_str(url).map_err(|e| refused(url, &e))?;
    let mut pool = AnyPoolOptions::new().max_connections(connections).acquire_timeout(CONNECTED_WITHIN);
    let settings = settings.to_owned();
    pool = pool.after_connect(move |connection, _| {
        // Only texts of this file are put together.
        let settings = sqlx::AssertSqlSafe(settings.clone());
        Box::pin(async move { connection.execute(settings).await.map(drop) })
    });
    if url.starts_with("sqlite:") {
        // SQLite ends a transaction by itself when the disk is full; the driver goes on counting it, takes the next one for a part
        // of it, and what that commits is never written.
        pool = pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }));
    } else {
        // What was dropped in the middle waits for its answer here, which may never come: its place in the pool is free all the same.
        pool = pool.after_release(|connection, _| {
            Box::pin(async move {
                let back = tokio::time::timeout(BACK_WITHIN, connection.ping()).await;
                back.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
            })
        });
    }
    pool.connect_with(options).await.map_err(|e| refused(url, &e))
}

fn address(config: &DatabaseConfig, dir: &Path) -> Result<String, DbError> {
    let Some(url) = &config.url else {
        return Ok(format!("sqlite://{}?mode=rwc", dir.join("desk.db").display()));
    };
    let password = config.password.resolve().map_err(|e| DbError::Open(format!("database.password: {e}")))?;
    let Some(password) = password else { return Ok(url.clone()) };
    // The driver takes it from the address only; what is not plain is escaped.
    let escaped: String = password.expose().bytes().map(|b| format!("%{b:02X}")).collect();
    match url.split_once('@') {
        Some((before, after)) => Ok(format!("{before}:{escaped}@{after}")),
        None => Err(DbError::Open("database.url: a password needs a user name, like postgres://desk@host/desk".into())),
    }
}

/// The address without its password, and what to do.
fn refused(url: &str, error: &sqlx::Error) -> DbError {
    let place = match url.rsplit_once('@') {
        Some((_, place)) => place,
        None => url,
    };
    DbError::Open(format!("the desk's database at {place} cannot be opened: {error}; check `database` and `desk.dir`"))
}

/// Whose rows somebody sees: `*`, or office codes between commas. Bound as a parameter of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope(pub(crate) String);

impl Scope {
    /// All offices.
    pub(crate) fn all() -> Self {
        Self("*".into())
    }

    /// From `*` or codes between commas, as stored; what is no code is left out.
    pub(crate) fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::all();
        }
        let codes = text.split([',', ' ', ';']).map(str::trim).filter(|c| super::config::is_office(c));
        let codes: Vec<&str> = codes.collect();
        if codes.is_empty() { Self(",".into()) } else { Self(format!(",{},", codes.join(","))) }
    }

    pub(crate) fn holds(&self, office: &str) -> bool {
        self.0 == "*" || self.0.contains(&format!(",{office},"))
    }

    /// Whether it holds all that the other one holds.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.0 == "*" || (other.0 != "*" && other.0.split(',').filter(|c| !c.is_empty()).all(|c| self.holds(c)))
    }

    /// For people: `*` or `15BB, 15BC`.
    pub(crate) fn shown(&self) -> String {
        self.0.trim_matches(',').replace(',', ", ")
    }
}

/// Lower case without diacritics, đ as d: how people search.
pub(crate) fn folded(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    use unicode_normalization::char::is_combining_mark;
    let plain = text.nfd().filter(|c| !is_combining_mark(*c)).map(|c| match c {
        'Đ' | 'đ' => 'd',
        c => c,
    });
    plain.collect::<String>().to_lowercase()
}

/// What is searched in: folded, with numbers also as they are typed without their marks.
pub(crate) fn indexed(text: &str) -> String {
    let folded = folded(text);
    let plain: Vec<String> = folded.split_whitespace().filter(|w| unmarked(w) != **w).map(unmarked).collect();
    if plain.is_empty() { folded } else { format!("{folded} {}", plain.join(" ")) }
}

/// A word without the dashes and dots inside a number, as of plates and containers: `15C-123.45` is `15C12345`.
fn unmarked(word: &str) -> String {
    let has_digit = |part: Option<&str>| part.is_some_and(|p| p.contains(|c: char| c.is_ascii_digit()));
    let inside = |i: usize| has_digit(word.get(..i)) && has_digit(word.get(i + 1..));
    word.char_indices().filter(|(i, c)| !(matches!(c, '-' | '.') && inside(*i))).map(|(_, c)| c).collect()
}

/// Words that are looked for at once; what is typed after them is not.
const WORDS: usize = 6;

/// The words of a search, each to be found anywhere; the characters that LIKE itself uses are left out.
fn words(text: &str) -> Vec<String> {
    let plain: String = folded(text).chars().filter(|c| !matches!(c, '%' | '_' | '\\')).collect();
    plain.split_whitespace().take(WORDS).map(unmarked).collect()
}

/// Patterns of the words of a search, for the condition of [`all_words`].
fn patterns(text: &str) -> [String; WORDS] {
    let mut words = words(text).into_iter();
    std::array::from_fn(|_| words.next().map_or_else(|| "%".into(), |word| format!("%{word}%")))
}

/// The condition that all words of a search are in `what`; their [`patterns`] are bound from the parameter `first` on.
fn all_words(what: &str, first: usize) -> String {
    let one = |n: usize| format!("(${n} = '%' OR {what} LIKE ${n})");
    (first..first + WORDS).map(one).collect::<Vec<_>>().join(" AND ")
}

/// Whether all words of a search are in a text that was [`indexed`], in any order.
pub(crate) fn finds(search: &str, text: &str) -> bool {
    words(text).iter().all(|word| search.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_needs_no_diacritics_and_d_is_d() {
        assert_eq!(folded("Đồng Đăng – Hữu Nghị"), "dong dang – huu nghi");
        assert_eq!(words("Đồng  ĐĂNG%"), ["dong", "dang"]);
    }

    #[test]
    fn words_are_found_in_any_order_and_numbers_with_or_without_their_marks() {
        let search = indexed("15BB gate-01 Cổng ra 15C-123.45 CSQU305438-3 Hữu Nghị");
        for text in ["nghị hữu", "15c12345", "15C-123.45", "123.45", "C-123", "csqu3054383", "gate-01", "", "cổng 15bb"]
        {
            assert!(finds(&search, text), "{text}");
        }
        for text in ["15c12346", "gate-02", "cổng vào"] {
            assert!(!finds(&search, text), "{text}");
        }
        assert_eq!((unmarked("gate-01"), unmarked("ngày-2.5-3")), ("gate-01".into(), "ngày-253".into()));
    }

    #[tokio::test]
    async fn what_is_written_after_the_disk_was_full_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&DatabaseConfig::default(), dir.path()).await.unwrap();
        let limit = async |pages: u32| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            let mut writer = db.writer.acquire().await.unwrap();
            writer.execute(pragma).await.unwrap();
        };
        let insert = async |name: String| {
            let mut tx = db.write().await?;
            sqlx::query("INSERT INTO counter (name, value) VALUES ($1, 1)").bind(name).execute(&mut *tx).await?;
            tx.commit().await
        };
        limit(1).await;
        insert("full".repeat(1_000_000)).await.unwrap_err();
        limit(1_000_000).await;
        drop(db.write().await.unwrap());
        insert("later".into()).await.unwrap();
        let select = "SELECT COUNT(*) FROM counter WHERE name = 'later'";
        let found: i64 = sqlx::query_scalar(select).fetch_one(&db.pool).await.unwrap();
        assert_eq!(found, 1);
    }

    #[tokio::test]
    async fn orders_of_an_older_desk_stay() {
        let dir = tempfile::tempdir().unwrap();
        sqlx::any::install_default_drivers();
        let url = address(&DatabaseConfig::default(), dir.path()).unwrap();
        let pool = AnyPool::connect(&url).await.unwrap();
        let mut older = sqlx::migrate!("src/desk/db/migrations");
        older.migrations.to_mut().truncate(2);
        older.run(&pool).await.unwrap();
        let db = Db { writer: pool.clone(), pool };
        let body = crate::desk::message::tests::body("E1", 1, 1, 4);
        let m = crate::desk::message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let zone = crate::event::zone::Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let order = orders::OrderRow {
            id: "o1".into(),
            kind: "hold".into(),
            alert_id: Some("E1".into()),
            tip_id: None,
            office: "15BB".into(),
            box_id: "gate-01".into(),
            about: "bay".into(),
            note: "nghi vấn".into(),
            account: "an".into(),
            at_ms: 1,
            topic: "t".into(),
            body: "{}".into(),
            asked_ms: 1,
            answered_ms: None,
            ok: None,
            answer: None,
        };
        let mut tx = db.write().await.unwrap();
        tx.add_alert(&crate::desk::message::alert(&m, &zone, m.at_ms, 60_000)).await.unwrap();
        let insert = "INSERT INTO box_order (id, kind, alert_id, office, box, about, note, account, at_ms, topic, body, asked_ms)
                      VALUES ('o1', 'hold', 'E1', '15BB', 'gate-01', 'bay', 'nghi vấn', 'an', 1, 't', '{}', 1)";
        sqlx::query(insert).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        let db = Db::open(&DatabaseConfig::default(), dir.path()).await.unwrap();
        assert_eq!(db.holds_of("15BB", "gate-01", "bay").await.unwrap(), [order]);
    }

    #[test]
    fn a_scope_holds_its_offices_only() {
        let scope = Scope::parse("15BB, 15BC;x");
        assert!(scope.holds("15BB") && scope.holds("15BC") && !scope.holds("10BB"));
        assert!(Scope::parse("*").holds("10BB") && !Scope::parse("").holds("10BB"));
        assert_eq!(scope.shown(), "15BB, 15BC");
        let covers = |a: &str, b: &str| Scope::parse(a).covers(&Scope::parse(b));
        assert!(covers("*", "*") && covers("*", "15BB") && covers("15BB,15BC", "15BC") && !covers("15BB", "15BB,15BC"));
        assert!(!covers("15BB", "*"));
    }

    #[test]
    fn a_password_goes_into_the_address_escaped_and_never_into_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pw");
        std::fs::write(&file, "a@b:c\n").unwrap();
        let password = crate::config::SecretSource { file: Some(file), env: None };
        let config = DatabaseConfig { url: Some("postgres://desk@h/d".into()), password };
        let url = address(&config, dir.path()).unwrap();
        assert_eq!(url, "postgres://desk:%61%40%62%3A%63@h/d");
        let error = refused(&url, &sqlx::Error::PoolTimedOut).to_string();
        assert!(error.contains("h/d") && !error.contains("%61"), "{error}");
    }
}
