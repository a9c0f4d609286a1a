//! Replays: `cmd/resync` puts recorded messages into the last lane again.

use serde::{Deserialize, Serialize};
use sqlx::Connection;

use super::{LANE_REPLAY, Store, StoreError};
use crate::clock::utc_now;

/// Messages queued by one call, at most; the reply says where to go on.
const MAX_PER_CALL: i64 = 10_000;

/// What a resync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ResyncReply {
    /// The box's epoch. When it is not the one asked for, nothing was queued: the numbers mean other messages.
    pub epoch: i64,
    /// Oldest message there is; `None` when there is none.
    pub first_seq: Option<i64>,
    /// Newest message there is.
    pub last_seq: Option<i64>,
    /// Messages queued by this call.
    pub queued: u64,
    /// Messages of the range that wait to be sent already.
    pub already_pending: u64,
    /// Ask again from here: the limit of one call or of the outbox was reached.
    pub next_from: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    bytes: i64,
    picture_bytes: Option<i64>,
    pending: bool,
}

impl Store {
    /// Queues the messages `from..=to` (`None` = to the newest) once more, as historical. Those that wait already are
    /// left alone, so asking twice sends once. Never makes the outbox drop anything: it stops when that is full.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn resync(&self, from: i64, to: Option<i64>, epoch: i64) -> Result<ResyncReply, StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let range = "SELECT MIN(seq), MAX(seq) FROM message";
        let (first_seq, last_seq): (Option<i64>, Option<i64>) =
            sqlx::query_as(range).fetch_one(&mut *tx).await.map_err(|e| self.sql(e))?;
        let mut reply = ResyncReply {
            epoch: self.inner.epoch,
            first_seq,
            last_seq,
            queued: 0,
            already_pending: 0,
            next_from: None,
        };
        if epoch != self.inner.epoch {
            return Ok(reply);
        }
        let rows = self.resync_rows(&mut tx, from, to.unwrap_or(i64::MAX)).await?;
        let used: i64 =
            sqlx::query_scalar("SELECT outbox_bytes FROM meta").fetch_one(&mut *tx).await.map_err(|e| self.sql(e))?;
        let mut room = i64::try_from(self.inner.options.config.outbox_max_bytes).unwrap_or(i64::MAX) - used;
        for (i, row) in rows.iter().enumerate() {
            room -= if row.pending { 0 } else { row.bytes + row.picture_bytes.unwrap_or(0) };
            if room < 0 || i64::try_from(i).unwrap_or(i64::MAX) >= MAX_PER_CALL {
                reply.next_from = Some(row.seq);
                break;
            }
            if row.pending {
                reply.already_pending += 1;
            } else {
                self.queue_replay(&mut tx, row).await?;
                reply.queued += 1;
            }
        }
        tx.commit().await.map_err(|e| self.sql(e))?;
        self.inner.work.notify_one();
        Ok(reply)
    }

    /// One more than the limit, so that its being there says there is more.
    async fn resync_rows(&self, tx: &mut sqlx::SqliteConnection, from: i64, to: i64) -> Result<Vec<Row>, StoreError> {
        let select = "SELECT m.seq, LENGTH(CAST(m.payload AS BLOB)) AS bytes, p.annotated_bytes AS picture_bytes,
                      EXISTS (SELECT 1 FROM outbox o WHERE o.seq = m.seq AND o.part = 1) AS pending
                      FROM message m LEFT JOIN picture p ON p.seq = m.seq
                      WHERE m.seq BETWEEN ? AND ? ORDER BY m.seq LIMIT ?";
        let select = sqlx::query_as(select).bind(from).bind(to).bind(MAX_PER_CALL + 1);
        select.fetch_all(tx).await.map_err(|e| self.sql(e))
    }

    async fn queue_replay(&self, tx: &mut sqlx::SqliteConnection, row: &Row) -> Result<(), StoreError> {
        let parts = [(0, row.picture_bytes), (1, Some(row.bytes))];
        for (part, bytes) in parts.into_iter().filter_map(|(p, b)| b.map(|b| (p, b))) {
            let insert =
                "INSERT OR IGNORE INTO outbox (seq, part, lane, bytes, queued_ms, replay) VALUES (?, ?, ?, ?, ?, 1)";
            let insert = sqlx::query(insert).bind(row.seq).bind(part).bind(LANE_REPLAY).bind(bytes).bind(utc_now().0);
            insert.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        Ok(())
    }
}
