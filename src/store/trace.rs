//! From declarations, areas and times to events: an index written with every message, so that a tip is answered in well
//! under a second whatever the store holds.

use sqlx::{Row, SqliteConnection};

use super::record::name_of;
use super::{Store, StoreError};
use crate::clock::UtcMillis;
use crate::customs::DeclKey;
use crate::event::EventMessage;
use crate::rules::{AreaId, EndReason};

/// An event as the index knows it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Traced {
    /// Event.
    pub event_id: String,
    /// Its latest message; the message itself may be pruned.
    pub seq: i64,
    /// Camera.
    pub camera: String,
    /// Area or line.
    pub area: String,
    /// Rule.
    pub rule: String,
    /// The highest severity so far.
    pub severity: u8,
    /// When it began, unix milliseconds.
    pub start_ms: i64,
    /// When it ended; `None` while it lasts.
    pub end_ms: Option<i64>,
    /// State of the link asked for; empty where none was.
    pub state: String,
    /// Method of that link.
    pub method: String,
    /// Confidence of that link.
    pub confidence: f64,
}

const COLUMNS: &str = "p.event_id, p.seq, p.camera, p.area, p.rule, p.severity, p.start_ms, p.end_ms";

impl Store {
    /// Writes the index rows of a message. What the message no longer names is superseded.
    pub(super) async fn trace_event(&self, tx: &mut SqliteConnection, event: &EventMessage) -> Result<(), StoreError> {
        let (d, id) = (&event.data, event.id.to_string());
        let place = "INSERT INTO event_place (event_id, seq, camera, area, rule, severity, start_ms, end_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (event_id) DO UPDATE
                     SET seq = ?2, severity = MAX(severity, ?6), start_ms = MIN(start_ms, ?7), end_ms = ?8";
        sqlx::query(place)
            .bind(&id)
            .bind(d.sequence.seq)
            .bind(&d.camera.id.0)
            .bind(&d.area.id.0)
            .bind(d.rule.as_str())
            .bind(d.severity)
            .bind(found_from(event).0)
            .bind(d.capture.end.map(|t| t.0))
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        if d.revision > 1 {
            let old = sqlx::query("UPDATE event_link SET state = 'superseded' WHERE event_id = ?").bind(&id);
            old.execute(&mut *tx).await.map_err(|e| self.sql(e))?;
        }
        for link in &d.link.links {
            let insert = "INSERT OR REPLACE INTO event_link (decl_key, event_id, container, method, confidence, state)
                          VALUES (?, ?, ?, ?, ?, ?)";
            sqlx::query(insert)
                .bind(&link.decl_key.0)
                .bind(&id)
                .bind(&link.container)
                .bind(link.method.as_str())
                .bind(f64::from(link.confidence))
                .bind(name_of(&link.state))
                .execute(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
        }
        Ok(())
    }

    /// Forgets events that ended before then; how many. Up to when some are forgotten is kept, and only ever raised: a
    /// watch may be much longer than events are kept, and nobody may say of its beginning that nothing happened.
    pub(super) async fn forget_traces(&self, before: UtcMillis) -> Result<u64, StoreError> {
        let border = "INSERT INTO moment (name, at_ms)
                      SELECT 'traces_forgotten', MAX(end_ms) FROM event_place WHERE end_ms < ? HAVING MAX(end_ms) NOT NULL
                      ON CONFLICT (name) DO UPDATE SET at_ms = MAX(at_ms, excluded.at_ms)";
        self.execute(sqlx::query(border).bind(before.0)).await?;
        let places = sqlx::query("DELETE FROM event_place WHERE end_ms < ?").bind(before.0);
        let gone = self.execute(places).await?;
        if gone > 0 {
            let links = "DELETE FROM event_link WHERE NOT EXISTS
                         (SELECT 1 FROM event_place p WHERE p.event_id = event_link.event_id)";
            self.execute(sqlx::query(links)).await?;
        }
        Ok(gone)
    }

    /// Events that name a declaration, by their latest message, within a time; oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events_of(
        &self,
        decl_key: &str,
        (from, to): (UtcMillis, UtcMillis),
        limit: i64,
    ) -> Result<Vec<Traced>, StoreError> {
        let select = format!(
            "SELECT {COLUMNS}, l.state, l.method, l.confidence FROM event_link l JOIN event_place p USING (event_id)
             WHERE l.decl_key = ? AND l.state <> 'superseded' AND p.start_ms <= ? AND COALESCE(p.end_ms, ?) >= ?
             ORDER BY p.start_ms LIMIT ?"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(decl_key).bind(to.0).bind(to.0).bind(from.0);
        select.bind(limit).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// Events of an area (or of a camera, when `area` is `None`) that share a moment with a time and began at most a day
    /// before it; oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events_at(
        &self,
        (camera, area): (Option<&str>, Option<&str>),
        (from, to): (UtcMillis, UtcMillis),
        limit: i64,
    ) -> Result<Vec<Traced>, StoreError> {
        let (column, value) = match (area, camera) {
            (Some(area), _) => ("area", area),
            (None, Some(camera)) => ("camera", camera),
            (None, None) => return Ok(Vec::new()),
        };
        let select = format!(
            "SELECT {COLUMNS}, '' AS state, '' AS method, 0.0 AS confidence FROM event_place p
             WHERE p.{column} = ? AND p.start_ms BETWEEN ? AND ? AND COALESCE(p.end_ms, ?) >= ?
             ORDER BY p.start_ms LIMIT ?"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(value).bind(from.plus_ms(-DAY_MS).0).bind(to.0);
        select.bind(to.0).bind(from.0).bind(limit).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// Ids of all events of an area (without one: of all) that share a moment with a time and began at most a week before
    /// it. Ids only, and no limit: whoever links anew must leave none out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn event_ids_at(
        &self,
        area: Option<&AreaId>,
        (from, to): (UtcMillis, UtcMillis),
    ) -> Result<Vec<String>, StoreError> {
        let select = "SELECT event_id FROM event_place WHERE (?1 IS NULL OR area = ?1) AND start_ms BETWEEN ?2 AND ?3
                      AND COALESCE(end_ms, ?3) >= ?4";
        let select = sqlx::query_scalar(select).bind(area.map(|a| a.0.as_str())).bind(from.plus_ms(-7 * DAY_MS).0);
        select.bind(to.0).bind(from.0).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// Ids of all events that name a declaration within a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn event_ids_of(
        &self,
        decl_key: &DeclKey,
        (from, to): (UtcMillis, UtcMillis),
    ) -> Result<Vec<String>, StoreError> {
        let select = "SELECT event_id FROM event_link l JOIN event_place p USING (event_id)
                      WHERE l.decl_key = ? AND p.start_ms <= ? AND COALESCE(p.end_ms, ?) >= ?";
        let select = sqlx::query_scalar(select).bind(&decl_key.0).bind(to.0).bind(to.0).bind(from.0);
        select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }

    /// The latest messages of these events that have ended, in the order given; those that are gone, still last or cannot
    /// be read are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ended_events(&self, ids: &[String]) -> Result<Vec<EventMessage>, StoreError> {
        let select = "SELECT m.payload FROM event_place p JOIN message m ON m.seq = p.seq WHERE p.end_ms IS NOT NULL
                      AND p.event_id IN (SELECT value FROM json_each(?)) ORDER BY p.start_ms, p.event_id";
        self.messages(sqlx::query(select).bind(self.to_json(&ids)?)).await
    }

    /// The latest messages of these events, whether or not they last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latest_events(&self, ids: &[String]) -> Result<Vec<EventMessage>, StoreError> {
        let select = "SELECT m.payload FROM event_place p JOIN message m ON m.seq = p.seq
                      WHERE p.event_id IN (SELECT value FROM json_each(?)) ORDER BY p.start_ms, p.event_id";
        self.messages(sqlx::query(select).bind(self.to_json(&ids)?)).await
    }

    async fn messages(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<EventMessage>, StoreError> {
        let rows = query.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        let texts = rows.iter().filter_map(|row| row.try_get::<String, _>(0).ok());
        Ok(texts.filter_map(|text| self.read_event(&text).ok()).collect())
    }
}

const DAY_MS: i64 = 86_400_000;

/// A wall clock that is behind an event's begin by less was not set back, milliseconds: cameras whose clocks are believed may be ahead
/// of ours. By more than a day it is simply wrong.
const SET_BACK_MS: std::ops::Range<i64> = 10_000..DAY_MS;

/// From when on an event is found. Where the wall clock was set back while it lasted, it is found under either clock: what
/// was watched since then is told by the new one.
fn found_from(event: &EventMessage) -> UtcMillis {
    let d = &event.data;
    let was_set_back =
        d.end_reason != Some(EndReason::Restart) && SET_BACK_MS.contains(&d.capture.start.since(event.time));
    match d.dwell_ms {
        Some(lasted) if was_set_back => event.time.plus_ms(-lasted),
        _ => d.capture.start,
    }
}
