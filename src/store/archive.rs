//! The store as somebody sees it who only reads: an export or a check, also while the agent runs. One connection, one
//! snapshot: what is recorded meanwhile is not seen. Writes nothing, takes no lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::chain::{COLUMNS, EntryRow, HeadRow, signed_head};
use super::chain_items::{SEGMENT_COLUMNS, SegmentItem, SegmentRow};
use super::footage::LONGEST_MS;
use super::{StoreError, open};
use crate::clock::UtcMillis;
use crate::evidence::chain::{Entry, Kind};
use crate::evidence::statement::SignedHead;

/// A message with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ArchivedMessage {
    /// Place in the stream.
    pub seq: i64,
    /// Event, or notice.
    pub event_id: String,
    /// Of that event.
    pub revision: u32,
    /// CloudEvents type.
    pub kind: String,
    /// Word for word.
    pub payload: String,
    /// Its entry in the chain; `None` when it is older than the chain.
    pub chain_n: Option<i64>,
}

/// The files of a message.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ArchivedPicture {
    /// Message.
    pub seq: i64,
    /// Relative to the store's folder.
    pub clean_path: String,
    /// Hex.
    pub clean_sha256: String,
    /// Relative to the store's folder.
    pub annotated_path: String,
    /// Hex.
    pub annotated_sha256: String,
}

/// A finished segment with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// What the chain says of it; what the index says, where `chain_n` is `None`.
    pub item: SegmentItem,
    /// Its entry.
    pub chain_n: Option<i64>,
    /// The file was deleted by the quota, or is lost.
    pub gone: bool,
}

/// Read-only view of a store's folder.
#[derive(Debug)]
pub struct Archive {
    conn: SqliteConnection,
    dir: PathBuf,
    path: PathBuf,
}

impl Archive {
    /// Opens the store of a folder for reading.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(open::DATABASE);
        let options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(Duration::from_secs(10));
        let opened = async {
            let mut conn = options.disable_statement_logging().connect().await?;
            sqlx::query("BEGIN").execute(&mut conn).await?;
            // The snapshot begins with the first read.
            sqlx::query("SELECT MAX(n) FROM chain").execute(&mut conn).await?;
            Ok(conn)
        };
        let conn = opened.await.map_err(|e| StoreError::sql(&path, e))?;
        Ok(Self { conn, dir: dir.into(), path })
    }

    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the view, so that the log of the database need not be kept for it.
    ///
    /// # Errors
    /// When the database cannot be closed.
    pub async fn close(self) -> Result<(), StoreError> {
        let path = self.path;
        self.conn.close().await.map_err(|e| StoreError::sql(&path, e))
    }

    pub(super) fn sql(&self, e: sqlx::Error) -> StoreError {
        StoreError::sql(&self.path, e)
    }

    pub(super) fn content(&self, what: String) -> StoreError {
        StoreError::Content { path: self.path.clone(), what }
    }

    pub(super) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    fn entries_of(&self, rows: Result<Vec<EntryRow>, sqlx::Error>) -> Result<Vec<Entry>, StoreError> {
        let read = |row: EntryRow| {
            let what = "an entry of the chain is of a kind this version does not know".to_owned();
            row.entry().ok_or_else(|| StoreError::Content { path: self.path.clone(), what })
        };
        rows.map_err(|e| self.sql(e))?.into_iter().map(read).collect()
    }

    /// Entries `from..=to`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entries(&mut self, from: i64, to: i64) -> Result<Vec<Entry>, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM chain WHERE n BETWEEN ? AND ? ORDER BY n");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(from).bind(to).fetch_all(&mut self.conn).await;
        self.entries_of(rows)
    }

    /// Entries of one kind up to `n`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entries_by_kind(&mut self, kind: Kind, up_to: i64) -> Result<Vec<Entry>, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM chain WHERE kind = ? AND n <= ? ORDER BY n");
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(kind.as_str()).bind(up_to);
        let rows = select.fetch_all(&mut self.conn).await;
        self.entries_of(rows)
    }

    /// Deletions of video of a camera that reach into `from..to`, by entries up to `n`, oldest first. They are never
    /// forgotten, so a year of them is millions: the path, which begins with the camera, is in the index, and the times are
    /// compared where they lie.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deletions(
        &mut self,
        camera: &str,
        from: UtcMillis,
        to: UtcMillis,
        n: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        // '0' comes after '/'. Times are texts of one form, so their order is that of the texts.
        let select = format!(
            "SELECT {COLUMNS} FROM chain WHERE kind = ?1 AND ref > ?2 || '/' AND ref < ?2 || '0' AND n <= ?3
                 AND json_extract(item, '$.camera') = ?2 AND json_extract(item, '$.start') < ?5
                 AND json_extract(item, '$.end') > ?4 ORDER BY n"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(Kind::SegmentDeleted.as_str()).bind(camera);
        let select = select.bind(n).bind(from.to_rfc3339()).bind(to.to_rfc3339());
        let rows = select.fetch_all(&mut self.conn).await;
        self.entries_of(rows)
    }

    /// Number of the last entry; 0 = there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_n(&mut self) -> Result<i64, StoreError> {
        let last = sqlx::query_scalar("SELECT COALESCE(MAX(n), 0) FROM chain").fetch_one(&mut self.conn).await;
        last.map_err(|e| self.sql(e))
    }

    /// The first signed head at or after entry `n`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head_from(&mut self, n: i64) -> Result<Option<SignedHead>, StoreError> {
        self.head("h.n >= ? ORDER BY h.n", n).await
    }

    /// The last signed head before entry `n`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head_before(&mut self, n: i64) -> Result<Option<SignedHead>, StoreError> {
        self.head("h.n < ? ORDER BY h.n DESC", n).await
    }

    async fn head(&mut self, which: &str, n: i64) -> Result<Option<SignedHead>, StoreError> {
        let select = format!(
            "SELECT h.n, c.sha256, h.at_ms, h.key, h.signature FROM chain_head h JOIN chain c ON c.n = h.n
             WHERE {which} LIMIT 1"
        );
        let row = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(n).fetch_optional(&mut self.conn).await;
        let row: Option<HeadRow> = row.map_err(|e| self.sql(e))?;
        Ok(row.and_then(signed_head))
    }

    /// Messages of the stream and those put aside for holds; `condition` on a row `m` with `?1`.
    async fn messages(&mut self, condition: &str, bind: &str) -> Result<Vec<ArchivedMessage>, StoreError> {
        let columns = "m.seq, m.event_id, m.revision, m.kind, m.payload";
        let select = format!(
            "SELECT {columns}, (SELECT c.n FROM chain c
                                WHERE c.kind = 'message' AND c.ref = m.event_id || '/' || m.revision) AS chain_n
             FROM (SELECT {columns} FROM message m WHERE {condition}
                   UNION ALL SELECT {columns} FROM kept_message m WHERE {condition}) m ORDER BY m.seq"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(bind);
        query.fetch_all(&mut self.conn).await.map_err(|e| self.sql(e))
    }

    /// All messages of one event or notice, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages_of(&mut self, event_id: &str) -> Result<Vec<ArchivedMessage>, StoreError> {
        self.messages("m.event_id = ?1", event_id).await
    }

    /// Messages about a tip, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages_of_tip(&mut self, tip: &str) -> Result<Vec<ArchivedMessage>, StoreError> {
        // The second condition lets SQLite use the index of such subjects.
        self.messages("m.subject = ?1 AND m.subject LIKE 'tip/%'", &format!("tip/{tip}")).await
    }

    /// Ids of the events of a camera whose picture is from `from..=to`, by their messages up to entry `n`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events_between(
        &mut self,
        camera: &str,
        from: UtcMillis,
        to: UtcMillis,
        n: i64,
    ) -> Result<Vec<String>, StoreError> {
        let select = "SELECT DISTINCT event_id FROM (
                          SELECT event_id, revision, payload FROM message WHERE best_ms BETWEEN ?1 AND ?2
                          UNION ALL SELECT event_id, revision, payload FROM kept_message WHERE best_ms BETWEEN ?1 AND ?2) m
                      WHERE json_extract(payload, '$.data.camera.id') = ?3
                        AND COALESCE((SELECT c.n FROM chain c
                                      WHERE c.kind = 'message' AND c.ref = m.event_id || '/' || m.revision), 0) <= ?4";
        let select = sqlx::query_scalar(select).bind(from.0).bind(to.0).bind(camera).bind(n);
        select.fetch_all(&mut self.conn).await.map_err(|e| self.sql(e))
    }

    /// Ids of the events of a camera that may have lasted into `from..=to` when entry `n` was written, oldest first. Events of
    /// which something was recorded since are among them whatever is known of their end now: their messages say how it was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events_over(
        &mut self,
        camera: &str,
        from: UtcMillis,
        to: UtcMillis,
        n: i64,
    ) -> Result<Vec<String>, StoreError> {
        let known = self.last_seq_at(n).await?;
        let select = "SELECT event_id FROM event_place WHERE camera = ?1 AND start_ms <= ?3
                      AND (end_ms IS NULL OR end_ms >= ?2 OR seq > ?4) ORDER BY start_ms, event_id";
        let select = sqlx::query_scalar(select).bind(camera).bind(from.0).bind(to.0).bind(known);
        select.fetch_all(&mut self.conn).await.map_err(|e| self.sql(e))
    }

    /// Place in the stream of the last message at or before entry `n`. Where that was pruned, the place before all that is
    /// left: nothing that can still be told of is older.
    async fn last_seq_at(&mut self, n: i64) -> Result<i64, StoreError> {
        let last = "SELECT ref FROM chain WHERE kind = 'message' AND n <= ? ORDER BY n DESC LIMIT 1";
        let last: Option<String> =
            sqlx::query_scalar(last).bind(n).fetch_optional(&mut self.conn).await.map_err(|e| self.sql(e))?;
        let Some((event, revision)) = last.as_deref().and_then(|r| r.rsplit_once('/')) else { return Ok(0) };
        let select = "SELECT seq FROM message WHERE event_id = ? AND revision = CAST(? AS INTEGER)";
        let select = sqlx::query_scalar(select).bind(event).bind(revision);
        let seq: Option<i64> = select.fetch_optional(&mut self.conn).await.map_err(|e| self.sql(e))?;
        if let Some(seq) = seq {
            return Ok(seq);
        }
        let least = "SELECT MIN(seq) - 1 FROM (SELECT MIN(seq) AS seq FROM message
                     UNION ALL SELECT MIN(seq) FROM kept_message)";
        let least: Option<i64> = sqlx::query_scalar(least).fetch_one(&mut self.conn).await.map_err(|e| self.sql(e))?;
        Ok(least.unwrap_or(0))
    }

    /// Where segments of a camera begin that were not finished when entry `n` was written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unfinished(&mut self, camera: &str, n: i64, at: UtcMillis) -> Result<Vec<UtcMillis>, StoreError> {
        let select = "SELECT start_ms FROM segment WHERE camera = ?1 AND start_ms < ?3 AND start_ms > ?3 - ?4
                      AND (sha256 IS NULL AND gone_ms IS NULL
                           OR (SELECT MAX(c.n) FROM chain c WHERE c.kind = 'segment' AND c.ref = path) > ?2)";
        let select = sqlx::query_scalar(select).bind(camera).bind(n).bind(at.0).bind(LONGEST_MS);
        let rows: Vec<i64> = select.fetch_all(&mut self.conn).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(UtcMillis).collect())
    }

    /// The pictures of a message.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn picture(&mut self, seq: i64) -> Result<Option<ArchivedPicture>, StoreError> {
        let select =
            "SELECT seq, clean_path, clean_sha256, annotated_path, annotated_sha256 FROM picture WHERE seq = ?";
        sqlx::query_as(select).bind(seq).fetch_optional(&mut self.conn).await.map_err(|e| self.sql(e))
    }

    /// Segments of a camera that overlap `from..to`, in the order of their streams and times.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn segments(
        &mut self,
        camera: &str,
        from: UtcMillis,
        to: UtcMillis,
    ) -> Result<Vec<ArchivedSegment>, StoreError> {
        let select = format!(
            "SELECT {SEGMENT_COLUMNS}, state, (SELECT MAX(n) FROM chain WHERE kind = 'segment' AND ref = path) AS chain_n
             FROM segment WHERE camera = ? AND end_ms > ? AND start_ms < ? AND sha256 IS NOT NULL ORDER BY stream, start_ms, path"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(camera).bind(from.0).bind(to.0);
        let rows: Vec<SegmentWithPlace> = select.fetch_all(&mut self.conn).await.map_err(|e| self.sql(e))?;
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let gone = row.state == "expired" || row.state == "lost";
            let chained = match row.chain_n {
                Some(n) => self.entries(n, n).await?.pop().and_then(|e| serde_json::from_str(&e.item?).ok()),
                None => None,
            };
            let item: Option<SegmentItem> = chained.or_else(|| row.segment.item());
            out.extend(item.map(|item| ArchivedSegment { item, chain_n: row.chain_n, gone }));
        }
        Ok(out)
    }
}

#[derive(sqlx::FromRow)]
struct SegmentWithPlace {
    #[sqlx(flatten)]
    segment: SegmentRow,
    state: String,
    chain_n: Option<i64>,
}
