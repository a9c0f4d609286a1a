//! Writes the index of footage: segments begun, completed, chosen for deletion, gone. A row never says more than what is on
//! disk, except for the seconds between a crash and the next start.

use sqlx::{Connection, SqliteConnection};

use super::footage::{DoomedRow, HELD, LONGEST_MS, text_of};
use super::{Doomed, SegmentClass, SegmentClosed, SegmentFound, SegmentOpened, Store, StoreError};
use crate::clock::UtcMillis;
use crate::event::EventMessage;

/// Rows of what is gone are one when they are no further apart, milliseconds.
const JOIN_MS: i64 = 2000;

impl Store {
    /// Puts a begun segment into the index.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segment_opened(&self, s: &SegmentOpened) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        self.insert_segment(&mut writer, s, None).await
    }

    /// `id`: `None` for the next one, which is younger than all there are.
    async fn insert_segment(
        &self,
        tx: &mut SqliteConnection,
        s: &SegmentOpened,
        id: Option<i64>,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO segment (camera, stream, path, state, class, codec, width, height, start_ms, end_ms,
                      time_source, uncertainty_ms, clock_offset_ms, gap_before_ms, gap_reason, dropped, bytes, pictures, id)
                      VALUES (?1, 'main', ?2, 'writing', 'ring', ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 0, ?13)
                      ON CONFLICT (path) DO NOTHING";
        let insert = sqlx::query(insert)
            .bind(&s.camera.0)
            .bind(&s.path)
            .bind(text_of(&s.codec))
            .bind(s.width)
            .bind(s.height)
            .bind(s.first.0)
            .bind(text_of(&s.time.source))
            .bind(s.time.uncertainty_ms)
            .bind(s.time.clock_offset_ms)
            .bind(s.gap_before_ms)
            .bind(s.gap_reason.map(|r| text_of(&r)))
            .bind(i64::try_from(s.dropped).unwrap_or(i64::MAX))
            .bind(id);
        insert.execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// Completes the row of a segment, and gives it the class of the events that it lies in.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segment_closed(&self, s: &SegmentClosed) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        self.complete_segment(&mut tx, s).await?;
        tx.commit().await.map_err(|e| self.sql(e))
    }

    async fn complete_segment(&self, tx: &mut SqliteConnection, s: &SegmentClosed) -> Result<(), StoreError> {
        let update = "UPDATE segment SET state = 'kept', start_ms = ?2, end_ms = ?3, bytes = ?4, pictures = ?5,
                          sha256 = ?6,
                          class = CASE WHEN EXISTS (SELECT 1 FROM footage_event e WHERE e.camera = segment.camera
                              AND e.to_ms >= ?2 AND e.from_ms <= ?3) THEN 'event' ELSE class END
                      WHERE path = ?1";
        let update = sqlx::query(update)
            .bind(&s.path)
            .bind(s.first.0)
            .bind(s.end.0)
            .bind(i64::try_from(s.bytes).unwrap_or(i64::MAX))
            .bind(i64::try_from(s.pictures).unwrap_or(i64::MAX))
            .bind(&s.sha256);
        if update.execute(&mut *tx).await.map_err(|e| self.sql(e))?.rows_affected() > 0 {
            self.chain_segment(tx, &s.path).await?;
        }
        Ok(())
    }

    /// A segment that never held a picture.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segment_discarded(&self, path: &str) -> Result<(), StoreError> {
        self.execute(sqlx::query("DELETE FROM segment WHERE path = ?").bind(path)).await.map(|_| ())
    }

    /// Files that reconciliation completed or found, in one transaction. One without a row is of an earlier run, so its id,
    /// which says when it was recorded, is below all others: found ones are given from the youngest to the oldest.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segments_found(&self, found: &[SegmentFound]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for f in found {
            let before = "SELECT MIN(0, COALESCE(MIN(id), 0)) - 1 FROM segment";
            let before: i64 = sqlx::query_scalar(before).fetch_one(&mut *tx).await.map_err(|e| self.sql(e))?;
            self.insert_segment(&mut tx, &f.opened, Some(before)).await?;
            self.complete_segment(&mut tx, &f.closed).await?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    /// A file is not what was recorded of it any more; its first digest stays.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segment_damaged(&self, path: &str, first: UtcMillis, end: UtcMillis) -> Result<(), StoreError> {
        let update = "UPDATE segment SET state = 'damaged', start_ms = ?2, end_ms = ?3 WHERE path = ?1";
        self.execute(sqlx::query(update).bind(path).bind(first.0).bind(end.0)).await.map(|_| ())
    }

    /// Remembers what a recorded event wants kept, in the transaction that records it; segments there become its.
    pub(super) async fn keep_footage(&self, tx: &mut SqliteConnection, event: &EventMessage) -> Result<(), StoreError> {
        let Some(footage) = &event.data.footage else { return Ok(()) };
        let upsert = "INSERT INTO footage_event (event_id, camera, from_ms, to_ms, ended, severity) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                      ON CONFLICT (event_id) DO UPDATE SET from_ms = MIN(from_ms, ?3), to_ms = MAX(to_ms, ?4), ended = ?5,
                          severity = MAX(severity, ?6), clips_done = MIN(clips_done, from_ms <= ?3, to_ms >= ?4)";
        let upsert = sqlx::query(upsert)
            .bind(event.id.to_string())
            .bind(&footage.camera.0)
            .bind(footage.from.0)
            .bind(footage.to.0)
            .bind(event.data.capture.end.is_some())
            .bind(event.data.severity);
        upsert.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        let mark = "UPDATE segment SET class = 'event' WHERE camera = ?1 AND stream = 'main' AND class = 'ring'
                    AND start_ms <= ?3 AND start_ms >= ?2 - ?4 AND end_ms >= ?2 AND state <> 'expired' AND state <> 'lost'";
        let mark = sqlx::query(mark).bind(&footage.camera.0).bind(footage.from.0).bind(footage.to.0).bind(LONGEST_MS);
        mark.execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// Chooses the segments of a class that were recorded first and that no hold lies on, and takes them out of reach, in
    /// one statement: a hold that comes before it is obeyed, one that comes after it finds them gone. Only those that end
    /// before `ends_before`, or start after `starts_after`. What was recorded first is told by the ids and not by the dates,
    /// which a clock gave that may have been wrong. At most `limit`, and no more than are needed for `bytes`. In order of
    /// camera and time.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn doom_segments(
        &self,
        class: SegmentClass,
        ends_before: UtcMillis,
        starts_after: UtcMillis,
        bytes: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Doomed>, StoreError> {
        // Two selects, so that each is a range of the index and a look that finds nothing costs nothing.
        let of_class = format!(
            "SELECT s.id, s.bytes FROM segment s WHERE s.class = ?1 AND s.state IN ('kept', 'damaged') AND NOT {HELD}"
        );
        let update = format!(
            "UPDATE segment SET state = 'expired' WHERE id IN (
                 SELECT id FROM (
                     SELECT id, SUM(bytes) OVER (ORDER BY id) - bytes AS before FROM (
                         {of_class} AND s.start_ms < ?2 AND s.end_ms < ?2
                         UNION ALL {of_class} AND s.start_ms > MAX(?2, ?5)
                         ORDER BY id LIMIT ?4))
                 WHERE before < ?3)
             RETURNING id, camera, path, start_ms, end_ms, bytes"
        );
        let wanted = bytes.map_or(i64::MAX, |b| i64::try_from(b).unwrap_or(i64::MAX));
        let update = sqlx::query_as(sqlx::AssertSqlSafe(update))
            .bind(class.as_str())
            .bind(ends_before.0)
            .bind(wanted)
            .bind(limit)
            .bind(starts_after.0);
        let mut writer = self.writer().await?;
        let rows: Vec<DoomedRow> = update.fetch_all(&mut *writer).await.map_err(|e| self.sql(e))?;
        let mut doomed: Vec<Doomed> = rows.into_iter().map(DoomedRow::doomed).collect();
        doomed.sort_by(|a, b| (&a.camera, a.from).cmp(&(&b.camera, b.from)));
        Ok(doomed)
    }

    /// What a crash left chosen for deletion is kept again as far as the index goes: it is chosen anew, and holds that came
    /// since are obeyed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn undo_half_deleted(&self) -> Result<u64, StoreError> {
        let undo = "UPDATE segment SET state = 'kept' WHERE state = 'expired' AND gone_ms IS NULL";
        self.execute(sqlx::query(undo)).await
    }

    /// Files that were chosen for deletion and could not be deleted: they are kept, and chosen anew some day.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segments_not_gone(&self, stuck: &[Doomed]) -> Result<(), StoreError> {
        let ids: Vec<i64> = stuck.iter().map(|d| d.id).collect();
        let undo = "UPDATE segment SET state = 'kept' WHERE state = 'expired' AND gone_ms IS NULL
                    AND id IN (SELECT value FROM json_each(?))";
        self.execute(sqlx::query(undo).bind(self.to_json(&ids)?)).await.map(|_| ())
    }

    /// The files are gone; their rows say so from now on, joined with those before them.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segments_gone(&self, gone: &[Doomed], why: &str, now: UtcMillis) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for d in gone {
            self.chain_segment_deleted(&mut tx, &d.path, why).await?;
            let joined = sqlx::query(
                "UPDATE segment SET end_ms = MAX(end_ms, ?3), gone_ms = ?4, pictures = pictures
                     + (SELECT pictures FROM segment WHERE id = ?7)
                 WHERE id = (SELECT id FROM segment WHERE camera = ?1 AND stream = 'main' AND start_ms <= ?2
                     AND start_ms >= ?3 - ?8 AND gone_ms IS NOT NULL AND gone_why = ?5 ORDER BY start_ms DESC LIMIT 1)
                 AND end_ms >= ?2 - ?6",
            )
            .bind(&d.camera.0)
            .bind(d.from.0)
            .bind(d.to.0)
            .bind(now.0)
            .bind(why)
            .bind(JOIN_MS)
            .bind(d.id)
            .bind(LONGEST_MS);
            let change = if joined.execute(&mut *tx).await.map_err(|e| self.sql(e))?.rows_affected() == 0 {
                "UPDATE segment SET path = 'gone/' || id, bytes = 0, gone_ms = ?2, gone_why = ?3, sha256 = NULL,
                     state = CASE WHEN ?3 = 'missing' THEN 'lost' ELSE 'expired' END WHERE id = ?1"
            } else {
                "DELETE FROM segment WHERE id = ?1 AND ?2 = ?2 AND ?3 = ?3"
            };
            let change = sqlx::query(change).bind(d.id).bind(now.0).bind(why);
            change.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    /// Rows whose files are not there, by path.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn segments_missing(&self, paths: &[String], now: UtcMillis) -> Result<(), StoreError> {
        let select = "SELECT id, camera, path, start_ms, end_ms, bytes FROM segment
                      WHERE path IN (SELECT value FROM json_each(?)) ORDER BY camera, start_ms";
        let select = sqlx::query_as(select).bind(self.to_json(&paths)?);
        let rows: Vec<DoomedRow> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let gone: Vec<Doomed> = rows.into_iter().map(DoomedRow::doomed).collect();
        self.segments_gone(&gone, "missing", now).await
    }

    /// Forgets what events wanted when all of it is older than `before`, and what went before it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget_footage(&self, before: UtcMillis) -> Result<(), StoreError> {
        self.execute(sqlx::query("DELETE FROM footage_event WHERE ended = 1 AND to_ms < ?").bind(before.0)).await?;
        let clips = "DELETE FROM stored_clip WHERE kind = 'event' AND id NOT IN (SELECT event_id FROM footage_event)";
        self.execute(sqlx::query(clips)).await?;
        self.execute(sqlx::query("DELETE FROM segment WHERE gone_ms < ?").bind(before.0)).await.map(|_| ())
    }
}
