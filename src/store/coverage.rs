//! What was watched and what happened, by camera and area, kept as long as the pictures. What an interval means is in
//! `coverage/`.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{Connection, FromRow, Row, SqliteConnection};

use super::{Archive, Store, StoreError};
use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::coverage::answer::fold;
use crate::coverage::compact::compact;
use crate::coverage::{Answer, AreaViews, BlindReason, Coverage, Happened, Interval, Look, Span};
use crate::rules::AreaId;

/// Events listed in one answer, at most.
const MAX_EVENTS: i64 = 500;
/// What touches a time of a camera.
const TOUCHING: &str =
    "SELECT * FROM coverage WHERE camera = ? AND to_ms >= ? AND from_ms <= ? ORDER BY session, number";
/// Where the word about a camera ends: with its last interval. An older one may be of later times, by a clock that was ahead.
const LAST: &str = "SELECT to_ms FROM coverage WHERE camera = ? ORDER BY session DESC, number DESC LIMIT 1";
/// When the last event ended that is forgotten.
const FORGOTTEN: &str = "SELECT at_ms FROM moment WHERE name = 'traces_forgotten'";
/// Intervals compacted in one transaction, so that recording never waits long.
const BATCH: i64 = 500;

impl Store {
    /// Writes intervals in one transaction; one that is there already (same camera, session and number) is replaced.
    ///
    /// # Errors
    /// When the database cannot be written; then none is.
    pub async fn record_coverage(&self, intervals: &[Interval]) -> Result<(), StoreError> {
        if intervals.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for interval in intervals {
            self.put_interval(&mut tx, interval).await?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    async fn put_interval(&self, tx: &mut SqliteConnection, i: &Interval) -> Result<(), StoreError> {
        let put = "INSERT OR REPLACE INTO coverage (camera, session, number, from_ms, to_ms, reason, interval_ms,
                   pictures, areas) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let (reason, interval_ms, pictures) = match i.look {
            Look::Watched { interval_ms, pictures } => (None, interval_ms, i64::try_from(pictures).unwrap_or(i64::MAX)),
            Look::Blind(reason) => (Some(reason.as_str()), 0, 0),
        };
        let put = sqlx::query(put)
            .bind(&i.camera.0)
            .bind(i.session)
            .bind(i.number)
            .bind(i.span.from.0)
            .bind(i.span.to.0)
            .bind(reason)
            .bind(interval_ms)
            .bind(pictures)
            .bind(self.to_json(i.areas.as_ref())?);
        put.execute(tx).await.map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// When a camera, or one area or line of it, was watched between two times, and why not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn coverage_between(
        &self,
        camera: &CameraId,
        area: Option<&AreaId>,
        asked: Span,
    ) -> Result<Coverage, StoreError> {
        let (intervals, until) = self.recorded(camera, asked).await?;
        Ok(fold(&known(intervals, self.forgotten().await?), area, asked, until))
    }

    /// The intervals of a camera that touch a time, and where the word about that camera ends.
    async fn recorded(&self, camera: &CameraId, asked: Span) -> Result<(Vec<Interval>, Option<UtcMillis>), StoreError> {
        let intervals = self.intervals(camera, asked).await?;
        let until = sqlx::query_scalar(LAST).bind(&camera.0).fetch_optional(&self.inner.readers);
        let until: Option<i64> = until.await.map_err(|e| self.sql(e))?;
        Ok((intervals, until.map(UtcMillis)))
    }

    async fn forgotten(&self) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(FORGOTTEN).fetch_optional(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// The intervals of a camera that touch a time, in the order they were written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn intervals(&self, camera: &CameraId, asked: Span) -> Result<Vec<Interval>, StoreError> {
        let select = sqlx::query_as(TOUCHING).bind(&camera.0).bind(asked.from.0).bind(asked.to.0);
        let rows: Vec<Stored> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        self.read_intervals(rows)
    }

    /// Did anything happen there? Of an area or line, or of all that the camera sees.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn answer(&self, camera: &CameraId, area: Option<&AreaId>, asked: Span) -> Result<Answer, StoreError> {
        // In this order: events are recorded before what was watched, and are marked as forgotten before they are.
        let (intervals, until) = self.recorded(camera, asked).await?;
        let mut events = self.happened(camera, area, asked).await?;
        let seen = fold(&known(intervals, self.forgotten().await?), area, asked, until);
        let more = events.len() > MAX_EVENTS as usize;
        events.truncate(MAX_EVENTS as usize);
        let answer = Answer::new(camera.clone(), area.cloned(), asked, events, seen);
        Ok(Answer { more_events: more, ..answer })
    }

    /// Events that began before the end of that time and had not ended at its begin.
    async fn happened(
        &self,
        camera: &CameraId,
        area: Option<&AreaId>,
        asked: Span,
    ) -> Result<Vec<Happened>, StoreError> {
        let select = "SELECT event_id, area, rule, severity, start_ms, end_ms FROM event_place
                      WHERE camera = ?1 AND start_ms <= ?3 AND (end_ms >= ?2 OR end_ms IS NULL) AND (?4 IS NULL OR area = ?4)
                      ORDER BY start_ms, event_id LIMIT ?5";
        let select = sqlx::query(select).bind(&camera.0).bind(asked.from.0).bind(asked.to.0);
        let select = select.bind(area.map(|a| a.0.as_str())).bind(MAX_EVENTS + 1);
        let rows = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        rows.iter().map(|row| self.read_happened(row)).collect()
    }

    fn read_happened(&self, row: &sqlx::sqlite::SqliteRow) -> Result<Happened, StoreError> {
        let name = |column: &str| row.try_get::<String, _>(column).map_err(|e| self.sql(e));
        let time = |column: &str| row.try_get::<Option<i64>, _>(column).map_err(|e| self.sql(e));
        let unknown = |what: &str| self.content(format!("what happened cannot be read: {what}"));
        let word = |text: String| serde_json::Value::String(text);
        let rule = name("rule")?;
        Ok(Happened {
            id: serde_json::from_value(word(name("event_id")?)).map_err(|e| unknown(&e.to_string()))?,
            area: AreaId(name("area")?),
            rule: serde_json::from_value(word(rule)).map_err(|e| unknown(&e.to_string()))?,
            severity: row.try_get("severity").map_err(|e| self.sql(e))?,
            start: UtcMillis(time("start_ms")?.unwrap_or_default()),
            end: time("end_ms")?.map(UtcMillis),
        })
    }

    /// The last interval of the sessions before this one, by camera: where their word ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_coverage(&self) -> Result<HashMap<CameraId, Span>, StoreError> {
        // SQLite takes the other columns from the row that has the greatest number.
        let select = "SELECT camera, from_ms, to_ms, MAX(number) FROM coverage c WHERE session =
                      (SELECT MAX(session) FROM coverage WHERE camera = c.camera AND session < ?) GROUP BY camera";
        let select = sqlx::query_as(select).bind(self.session());
        let rows: Vec<(String, i64, i64, i64)> =
            select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let span = |from, to| Span { from: UtcMillis(from), to: UtcMillis(to) };
        Ok(rows.into_iter().map(|(camera, from, to, _)| (CameraId(camera), span(from, to))).collect())
    }

    /// Fewer rows for what ended before `compact_before`, none for what ended before `forget_before`; events likewise.
    /// Returns how many rows went.
    pub(super) async fn prune_coverage(
        &self,
        compact_before: UtcMillis,
        forget_before: UtcMillis,
    ) -> Result<u64, StoreError> {
        let forget = "DELETE FROM coverage WHERE to_ms < ?";
        let mut gone = self.execute(sqlx::query(forget).bind(forget_before.0)).await?;
        gone += self.forget_traces(forget_before).await?;
        let cameras = sqlx::query_scalar("SELECT DISTINCT camera FROM coverage WHERE to_ms < ?").bind(compact_before.0);
        let cameras: Vec<String> = cameras.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        for camera in cameras {
            gone += self.compact_camera(&camera, compact_before).await?;
        }
        Ok(gone)
    }

    async fn compact_camera(&self, camera: &str, before: UtcMillis) -> Result<u64, StoreError> {
        let select = "SELECT * FROM coverage WHERE camera = ? AND to_ms < ? AND (session, number) > (?, ?)
                      ORDER BY session, number LIMIT ?";
        let (mut gone, mut at) = (0, (0, 0));
        loop {
            let rows = sqlx::query_as(select).bind(camera).bind(before.0).bind(at.0).bind(at.1).bind(BATCH);
            let rows: Vec<Stored> = rows.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
            let is_last = (rows.len() as i64) < BATCH;
            let Some(last) = rows.last() else { return Ok(gone) };
            // The last of this batch is the first of the next: it may be joined with what follows.
            at = (last.session, last.number - i64::from(!is_last));
            let done = compact(self.read_intervals(rows)?);
            gone += done.gone.len() as u64;
            self.replace_intervals(&done.changed, &done.gone).await?;
            if is_last {
                return Ok(gone);
            }
        }
    }

    async fn replace_intervals(&self, changed: &[Interval], gone: &[Interval]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut tx = writer.begin().await.map_err(|e| self.sql(e))?;
        for i in gone {
            let delete = "DELETE FROM coverage WHERE camera = ? AND session = ? AND number = ?";
            let delete = sqlx::query(delete).bind(&i.camera.0).bind(i.session).bind(i.number);
            delete.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        for i in changed {
            self.put_interval(&mut tx, i).await?;
        }
        tx.commit().await.map_err(|e| self.sql(e))
    }

    fn read_intervals(&self, rows: Vec<Stored>) -> Result<Vec<Interval>, StoreError> {
        intervals(rows).map_err(|e| self.content(format!("recorded coverage cannot be read: {e}")))
    }
}

impl Archive {
    /// The intervals of a camera that touch a time, as far as its events are not forgotten, and where the word about that
    /// camera ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn coverage(
        &mut self,
        camera: &str,
        asked: Span,
    ) -> Result<(Vec<Interval>, Option<UtcMillis>), StoreError> {
        let until = sqlx::query_scalar(LAST).bind(camera);
        let until: Option<i64> = until.fetch_optional(self.conn()).await.map_err(|e| self.sql(e))?;
        let select = sqlx::query_as(TOUCHING).bind(camera).bind(asked.from.0).bind(asked.to.0);
        let rows: Vec<Stored> = select.fetch_all(self.conn()).await.map_err(|e| self.sql(e))?;
        let forgotten = sqlx::query_scalar(FORGOTTEN).fetch_optional(self.conn()).await.map_err(|e| self.sql(e))?;
        let unreadable = |e| self.content(format!("recorded coverage cannot be read: {e}"));
        Ok((known(intervals(rows).map_err(unreadable)?, forgotten), until.map(UtcMillis)))
    }
}

/// Only what is later than the end of the last event that is forgotten: before, "watched" would mean "nothing happened".
fn known(mut intervals: Vec<Interval>, forgotten_ms: Option<i64>) -> Vec<Interval> {
    let Some(last) = forgotten_ms else { return intervals };
    let from = UtcMillis(last + 1);
    intervals.retain(|i| i.span.to > from);
    intervals.iter_mut().for_each(|i| i.span.from = i.span.from.max(from));
    intervals
}

/// Rows as intervals; equal areas are shared.
fn intervals(rows: Vec<Stored>) -> Result<Vec<Interval>, serde_json::Error> {
    let mut known: HashMap<String, Arc<AreaViews>> = HashMap::new();
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let areas = match known.get(&row.areas) {
            Some(areas) => Arc::clone(areas),
            None => {
                let read = Arc::new(serde_json::from_str(&row.areas)?);
                Arc::clone(known.entry(row.areas.clone()).or_insert(read))
            }
        };
        out.push(row.interval(areas));
    }
    Ok(out)
}

#[derive(FromRow)]
struct Stored {
    camera: String,
    session: i64,
    number: i64,
    from_ms: i64,
    to_ms: i64,
    reason: Option<String>,
    interval_ms: i64,
    pictures: i64,
    areas: String,
}

impl Stored {
    fn interval(self, areas: Arc<AreaViews>) -> Interval {
        let look = match self.reason.as_deref() {
            None => Look::Watched {
                interval_ms: self.interval_ms,
                pictures: u64::try_from(self.pictures).unwrap_or_default(),
            },
            // A newer version's reason: blind all the same.
            Some(reason) => Look::Blind(BlindReason::parse(reason).unwrap_or(BlindReason::NoRecord)),
        };
        Interval {
            camera: CameraId(self.camera),
            session: self.session,
            number: self.number,
            span: Span { from: UtcMillis(self.from_ms), to: UtcMillis(self.to_ms) },
            look,
            areas,
        }
    }
}
