//! Forgetting what is old enough. Never what is not delivered, nor an open event, nor what is held: held pictures stay, held
//! messages are put aside into `kept_message`, where the stream and its numbers no longer need them.

use sqlx::Connection;

use super::{Store, StoreError, pictures};
use crate::clock::{UtcMillis, mono_now};

const DAY_MS: i64 = 86_400_000;
/// A clock so far ahead of the runs before may be one that is not set yet, for so long after the start.
const DOUBTFUL: (i64, i64) = (7 * DAY_MS, DAY_MS);
/// Rows in one transaction, so that recording never waits long.
const BATCH: i64 = 500;

/// Condition on a message `m`: a hold in force needs it. One that lies on a part of an event needs all of its messages: a
/// story with holes in it proves nothing.
const HELD: &str = "(EXISTS (SELECT 1 FROM hold h WHERE h.released_ms IS NULL AND (h.event_id = m.event_id
        OR (h.tip_id IS NOT NULL AND m.subject = 'tip/' || h.tip_id)))
    OR EXISTS (SELECT 1 FROM (SELECT best_ms, payload FROM message WHERE event_id = m.event_id
            UNION ALL SELECT best_ms, payload FROM kept_message WHERE event_id = m.event_id) o
        JOIN hold h ON h.released_ms IS NULL AND o.best_ms BETWEEN h.from_ms AND h.to_ms
            AND json_extract(o.payload, '$.data.camera.id') = h.camera))";

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Message rows.
    pub messages: u64,
    /// Picture pairs.
    pub pictures: u64,
    /// Rows of the clearance side that were no longer in force.
    pub facts: u64,
    /// Rows about what was watched and what happened, joined or forgotten.
    pub coverage: u64,
}

impl Store {
    /// Whether what is old by this clock may be forgotten. Not in the first day after the start, when the clock is more than
    /// a week ahead of the last message of the runs before: a box whose clock has lost its battery may begin in another
    /// year, until somebody sets it. What is recorded in this run says nothing for its own clock.
    #[must_use]
    pub fn may_forget(&self, now: UtcMillis) -> bool {
        let ahead = self.inner.last_recorded.is_some_and(|last| now.since(last) > DOUBTFUL.0);
        !ahead || mono_now().since(self.inner.opened) > DOUBTFUL.1
    }

    /// Forgets messages and pictures older than configured, if it [may](Self::may_forget). Messages go from the old end
    /// only, so what is left has no holes: one undelivered message keeps all newer ones.
    ///
    /// # Errors
    /// When the database cannot be written or a file cannot be removed.
    pub async fn prune(&self, now: UtcMillis) -> Result<Pruned, StoreError> {
        if !self.may_forget(now) {
            return Ok(Pruned::default());
        }
        let config = &self.inner.options.config;
        let messages_before = now.plus_ms(-i64::from(config.keep_messages_days) * DAY_MS);
        let pictures_before = now.plus_ms(-i64::from(config.keep_pictures_days) * DAY_MS);
        let mut out = Pruned::default();
        loop {
            let n = self.prune_pictures(pictures_before).await?;
            out.pictures += n;
            if n == 0 {
                break;
            }
        }
        loop {
            let n = self.prune_messages(messages_before).await?;
            out.messages += n;
            if n == 0 {
                break;
            }
        }
        self.prune_kept(messages_before).await?;
        let old = sqlx::query("DELETE FROM fact WHERE state <> 'current' AND heard_ms < ?").bind(messages_before.0);
        out.facts = self.execute(old).await?;
        out.coverage = self.prune_coverage(messages_before, pictures_before).await?;
        Ok(out)
    }

    async fn prune_pictures(&self, before: UtcMillis) -> Result<u64, StoreError> {
        // The picture of a held time stays, whichever camera it is of: that is known only by its message.
        let select = "SELECT seq, clean_path, annotated_path FROM picture
                      WHERE best_ms < ? AND seq NOT IN (SELECT seq FROM outbox)
                      AND NOT EXISTS (SELECT 1 FROM hold WHERE released_ms IS NULL AND best_ms BETWEEN from_ms AND to_ms)
                      ORDER BY best_ms LIMIT ?";
        let select = sqlx::query_as(select).bind(before.0).bind(BATCH);
        let rows: Vec<(i64, String, String)> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let files: Vec<_> = rows.iter().flat_map(|(_, clean, annotated)| [clean, annotated]).collect();
        let files: Vec<_> = files.into_iter().map(|file| self.dir().join(file)).collect();
        let removed = tokio::task::spawn_blocking(move || files.iter().try_for_each(|f| pictures::remove(f)));
        removed.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
        let seqs: Vec<i64> = rows.iter().map(|(seq, _, _)| *seq).collect();
        let delete = "DELETE FROM picture WHERE seq IN (SELECT value FROM json_each(?))";
        self.execute(sqlx::query(delete).bind(self.to_json(&seqs)?)).await
    }

    async fn prune_messages(&self, before: UtcMillis) -> Result<u64, StoreError> {
        let last = "SELECT MAX(seq) FROM (SELECT seq FROM message WHERE seq < MIN(
                          COALESCE((SELECT MIN(seq) FROM message WHERE recorded_ms >= ?1), 9223372036854775807),
                          COALESCE((SELECT MIN(seq) FROM outbox), 9223372036854775807),
                          COALESCE((SELECT MIN(seq) FROM open_notice), 9223372036854775807),
                          COALESCE((SELECT MIN(seq) FROM open_event), 9223372036854775807))
                      ORDER BY seq LIMIT ?2)";
        let keep = format!(
            "INSERT OR IGNORE INTO kept_message
             SELECT seq, event_id, revision, kind, subject, best_ms, recorded_ms, payload FROM message m WHERE seq <= ? AND {HELD}"
        );
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        let last = sqlx::query_scalar(last).bind(before.0).bind(BATCH).fetch_one(&mut *tx).await;
        let Some(last): Option<i64> = last.map_err(|e| self.sql(e))? else { return Ok(0) };
        let kept = sqlx::query(sqlx::AssertSqlSafe(keep)).bind(last).execute(&mut *tx).await;
        kept.map_err(|e| self.sql(e))?;
        let gone = sqlx::query("DELETE FROM message WHERE seq <= ?").bind(last).execute(&mut *tx).await;
        let gone = gone.map_err(|e| self.sql(e))?.rows_affected();
        tx.commit().await.map_err(|e| self.sql(e))?;
        Ok(gone)
    }

    /// Messages that were kept for holds of which none is in force any more.
    async fn prune_kept(&self, before: UtcMillis) -> Result<u64, StoreError> {
        let delete = format!("DELETE FROM kept_message AS m WHERE recorded_ms < ? AND NOT {HELD}");
        self.execute(sqlx::query(sqlx::AssertSqlSafe(delete)).bind(before.0)).await
    }

    pub(super) async fn execute(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<u64, StoreError> {
        let mut writer = self.writer().await?;
        let done = query.execute(&mut *writer).await.map_err(|e| self.sql(e))?;
        Ok(done.rows_affected())
    }
}
