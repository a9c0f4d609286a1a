//! Finds footage in the index: by camera and time, by event, by class.

use super::footage::{HELD, LONGEST_MS, SegmentRow};
use super::{EventRange, FootageBytes, Gone, Segment, Store, StoreError};
use crate::camera::CameraId;
use crate::clock::UtcMillis;

impl Store {
    /// Path, state and bytes of every row that has a file, by path.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn segment_paths(&self) -> Result<Vec<(String, String, u64)>, StoreError> {
        let select = "SELECT path, state, bytes FROM segment WHERE gone_ms IS NULL";
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(select).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(|(p, s, b)| (p, s, u64::try_from(b).unwrap_or(0))).collect())
    }

    /// Segments of a camera that overlap a time, in order. One that is being written reaches further than its row says.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn segments(
        &self,
        camera: &CameraId,
        from: UtcMillis,
        to: UtcMillis,
    ) -> Result<Vec<Segment>, StoreError> {
        let select = format!(
            "SELECT s.*, {HELD} AS held FROM segment s
             WHERE s.camera = ?1 AND s.stream = 'main' AND s.start_ms <= ?3 AND s.start_ms >= ?2 - ?4
               AND (s.end_ms >= ?2 OR s.state = 'writing') AND s.state IN ('writing', 'kept', 'damaged')
             ORDER BY s.start_ms, s.id"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select));
        let select = select.bind(&camera.0).bind(from.0).bind(to.0).bind(LONGEST_MS);
        let rows: Vec<SegmentRow> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(SegmentRow::segment).collect())
    }

    /// End of the newest segment of a camera.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn footage_until(&self, camera: &CameraId) -> Result<Option<UtcMillis>, StoreError> {
        let select = "SELECT MAX(end_ms) FROM segment WHERE camera = ?";
        let select = sqlx::query_scalar(select).bind(&camera.0);
        let found: Option<i64> = select.fetch_one(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(found.map(UtcMillis))
    }

    /// Footage of a camera in a time that was there once: "expired" is another answer than "never recorded".
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn footage_gone(
        &self,
        camera: &CameraId,
        from: UtcMillis,
        to: UtcMillis,
    ) -> Result<Vec<Gone>, StoreError> {
        let select = "SELECT start_ms, end_ms, gone_ms, COALESCE(gone_why, 'expired') FROM segment
                      WHERE camera = ?1 AND stream = 'main' AND start_ms <= ?3 AND start_ms >= ?2 - ?4 AND end_ms >= ?2
                        AND state IN ('expired', 'lost') ORDER BY start_ms";
        let select = sqlx::query_as(select).bind(&camera.0).bind(from.0).bind(to.0).bind(LONGEST_MS);
        let rows: Vec<(i64, i64, Option<i64>, String)> =
            select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let each = rows.into_iter().map(|(from, to, at, why)| Gone {
            from: UtcMillis(from),
            to: UtcMillis(to),
            at: at.map(UtcMillis),
            why,
        });
        Ok(each.collect())
    }

    /// What an event wants kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn footage_event(&self, event_id: &str) -> Result<Option<EventRange>, StoreError> {
        let select = "SELECT camera, from_ms, to_ms, ended FROM footage_event WHERE event_id = ?";
        let select = sqlx::query_as(select).bind(event_id);
        let row: Option<(String, i64, i64, bool)> =
            select.fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(row.map(|(camera, from, to, ended)| EventRange {
            camera: CameraId(camera),
            from: UtcMillis(from),
            to: UtcMillis(to),
            ended,
        }))
    }

    /// Cameras where an event lasts, or a hold reaches into the time from `now` on: worth recording to the last byte.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cameras_that_matter(&self, now: UtcMillis) -> Result<Vec<CameraId>, StoreError> {
        let select = "SELECT camera FROM footage_event WHERE ended = 0 OR to_ms >= ?1
                      UNION SELECT camera FROM hold WHERE released_ms IS NULL AND to_ms >= ?1";
        let rows: Vec<String> =
            sqlx::query_scalar(select).bind(now.0).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().map(CameraId).collect())
    }

    /// Bytes by class, and how far back each reaches.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn footage_bytes(&self) -> Result<FootageBytes, StoreError> {
        let select = format!(
            "SELECT CASE WHEN {HELD} THEN 'held' ELSE s.class END AS kept, SUM(s.bytes), COUNT(*), MIN(s.start_ms)
             FROM segment s WHERE s.state IN ('writing', 'kept', 'damaged') GROUP BY kept"
        );
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .fetch_all(&self.inner.readers)
            .await
            .map_err(|e| self.sql(e))?;
        let mut out = FootageBytes::default();
        for (kept, bytes, count, since) in rows {
            let (bytes, since) = (u64::try_from(bytes).unwrap_or(0), Some(UtcMillis(since)));
            out.segments += u64::try_from(count).unwrap_or(0);
            match kept.as_str() {
                "held" => (out.held, out.held_since) = (bytes, since),
                "event" => (out.event, out.event_since) = (bytes, since),
                _ => (out.ring, out.ring_since) = (bytes, since),
            }
        }
        Ok(out)
    }
}
