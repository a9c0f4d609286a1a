//! Offices, boxes and cameras as rows: names from the configuration, states as the boxes publish them.

use serde_json::Value;

use super::{Db, DbError, Scope, Tx, indexed};
use crate::desk::config::OfficeConfig;
use crate::desk::message::parsed;
use crate::desk::outage::STEP_MS;

/// A box.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct BoxRow {
    pub office: String,
    pub id: String,
    pub online: i64,
    pub changed_ms: i64,
    pub seen_ms: i64,
    pub birth: Option<String>,
    /// As published.
    pub status: Option<String>,
    /// When that was so; `None` = not known.
    pub status_ms: Option<i64>,
    /// The box's clock minus the desk's then.
    pub clock_ms: Option<i64>,
    /// Out of use since.
    pub gone_ms: Option<i64>,
    /// Since when it is away, where that was told.
    pub away_ms: Option<i64>,
}

impl BoxRow {
    /// Since when it is not there, also where the broker has not noticed; of one that is out of use nobody asks.
    pub(crate) fn is_away_since(&self) -> Option<i64> {
        let offline = (self.online == 0).then_some(self.changed_ms);
        offline.or(self.away_ms).filter(|_| self.is_used())
    }

    /// Whether anybody waits for it: its state was not taken from the broker.
    pub(crate) fn is_used(&self) -> bool {
        self.gone_ms.is_none()
    }

    /// In use, and not away.
    pub(crate) fn is_there(&self) -> bool {
        self.is_used() && self.is_away_since().is_none()
    }
}

/// A camera.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct CameraRow {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub id: String,
    pub body: String,
    /// When its box said so last; 0 = it said no time, or only what lay at the broker was ever heard.
    pub seen_ms: i64,
}

/// An office with its names.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct OfficeRow {
    pub code: String,
    pub name_vi: String,
    pub name_en: String,
    /// Both, as they are searched.
    pub search: String,
}

/// Numbers of a box that are missing.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(crate) struct Missing {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    /// Asked for.
    pub waiting: i64,
    /// The box has them no more.
    pub lost: i64,
}

impl Db {
    pub(crate) async fn boxes(&self, scope: &Scope) -> Result<Vec<BoxRow>, DbError> {
        let select =
            "SELECT b.office, b.id, b.online, b.changed_ms, b.seen_ms, b.birth, b.status, b.status_ms, b.clock_ms,
                        b.gone_ms, o.from_ms AS away_ms
                      FROM box b LEFT JOIN box_outage o ON o.office = b.office AND o.box = b.id AND o.to_ms IS NULL
                      WHERE $1 = '*' OR $1 LIKE '%,' || b.office || ',%' ORDER BY b.office, b.id";
        Ok(sqlx::query_as(select).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn cameras(&self, scope: &Scope) -> Result<Vec<CameraRow>, DbError> {
        let select = "SELECT office, box, id, body, seen_ms FROM camera
                      WHERE $1 = '*' OR $1 LIKE '%,' || office || ',%' ORDER BY office, box, id";
        Ok(sqlx::query_as(select).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn offices(&self) -> Result<Vec<OfficeRow>, DbError> {
        let select = "SELECT code, name_vi, name_en, search FROM office ORDER BY code";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    /// Missing numbers by box.
    pub(crate) async fn missing(&self, scope: &Scope) -> Result<Vec<Missing>, DbError> {
        let select = "SELECT s.office, s.box,
                        CAST(SUM(CASE WHEN g.lost = 0 THEN g.to_seq - g.from_seq + 1 ELSE 0 END) AS BIGINT) AS waiting,
                        CAST(SUM(CASE WHEN g.lost = 1 THEN g.to_seq - g.from_seq + 1 ELSE 0 END) AS BIGINT) AS lost
                      FROM gap g JOIN stream s ON s.source = g.source AND s.epoch = g.epoch
                      WHERE $1 = '*' OR $1 LIKE '%,' || s.office || ',%' GROUP BY s.office, s.box";
        Ok(sqlx::query_as(select).bind(&scope.0).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// Ids of the boxes of an office that must hear of a stop of goods: those in use, and those that were told of it before, so that
    /// none that comes back into use still knows its beginning alone.
    pub(crate) async fn boxes_of(&mut self, office: &str, stop: &str) -> Result<Vec<String>, DbError> {
        let select = "SELECT b.id FROM box b WHERE b.office = $1 AND (b.gone_ms IS NULL OR EXISTS (SELECT 1 FROM box_order o
                        WHERE o.office = b.office AND o.box = b.id AND o.kind = 'stop' AND o.about = $2)) ORDER BY b.id";
        Ok(sqlx::query_scalar(select).bind(office).bind(stop).fetch_all(&mut **self).await?)
    }

    /// Takes the names of the configuration.
    pub(crate) async fn name_offices(&mut self, offices: &[OfficeConfig]) -> Result<(), DbError> {
        let upsert = "INSERT INTO office (code, name_vi, name_en, search) VALUES ($1, $2, $3, $4)
                      ON CONFLICT (code) DO UPDATE SET name_vi = excluded.name_vi, name_en = excluded.name_en, search = excluded.search";
        for office in offices {
            let english = office.name_en.as_ref().unwrap_or(&office.name);
            let query = sqlx::query(upsert).bind(&office.code).bind(&office.name).bind(english);
            let query = query.bind(indexed(&format!("{} {english}", office.name)));
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    /// What its state said, which came at `at`, unless a newer one is known: another worker may be behind. One of after `now` is of a
    /// clock that was set back since. `since`: when that became so, which is not before it was last otherwise. Whether that changed it.
    pub(crate) async fn box_online(
        &mut self,
        office: &str,
        box_id: &str,
        online: bool,
        (since, at): (i64, i64),
        now: i64,
    ) -> Result<bool, DbError> {
        let update = "UPDATE box SET online = $3, gone_ms = NULL, changed_ms =
                        CASE WHEN online <> $3 AND ($6 > changed_ms OR changed_ms > $5) THEN $6 ELSE changed_ms END
                      WHERE office = $1 AND id = $2 AND (online <> $3 OR gone_ms IS NOT NULL)
                        AND (changed_ms <= $4 OR changed_ms > $5)";
        let query = sqlx::query(update).bind(office).bind(box_id).bind(i64::from(online)).bind(at).bind(now);
        Ok(query.bind(since).execute(&mut **self).await?.rows_affected() > 0)
    }

    /// It turned online by its own word, which came then.
    pub(crate) async fn box_came(&mut self, office: &str, box_id: &str, at: i64) -> Result<(), DbError> {
        let update = "UPDATE box SET came_ms = $3 WHERE office = $1 AND id = $2";
        sqlx::query(update).bind(office).bind(box_id).bind(at).execute(&mut **self).await?;
        Ok(())
    }

    /// How far the box's clock is ahead of the desk's, milliseconds; 0 where that is not known.
    pub(crate) async fn box_clock(&mut self, office: &str, box_id: &str) -> Result<i64, DbError> {
        let select = "SELECT clock_ms FROM box WHERE office = $1 AND id = $2";
        let query = sqlx::query_scalar::<_, Option<i64>>(select).bind(office).bind(box_id);
        Ok(query.fetch_optional(&mut **self).await?.flatten().unwrap_or(0))
    }

    /// Its state was taken from the broker: it is out of use until it says something again.
    pub(crate) async fn box_gone(&mut self, office: &str, box_id: &str, at: i64) -> Result<(), DbError> {
        let update =
            "UPDATE box SET online = 0, changed_ms = CASE WHEN online = 0 THEN changed_ms ELSE $3 END, gone_ms = $3
                      WHERE office = $1 AND id = $2 AND gone_ms IS NULL";
        sqlx::query(update).bind(office).bind(box_id).bind(at).execute(&mut **self).await?;
        Ok(())
    }

    /// What it said when it connected, and by that which store it has.
    pub(crate) async fn box_birth(&mut self, office: &str, box_id: &str, birth: &str) -> Result<(), DbError> {
        let epoch = parsed(birth).get("epoch").and_then(Value::as_i64);
        let update = "UPDATE box SET birth = $3, epoch = COALESCE($4, epoch) WHERE office = $1 AND id = $2";
        sqlx::query(update).bind(office).bind(box_id).bind(birth).bind(epoch).execute(&mut **self).await?;
        Ok(())
    }

    /// What the box said of itself last, and when that was so.
    pub(crate) async fn box_status(
        &mut self,
        office: &str,
        box_id: &str,
    ) -> Result<(Option<String>, Option<i64>), DbError> {
        let select = "SELECT status, status_ms FROM box WHERE office = $1 AND id = $2";
        let query = sqlx::query_as(select).bind(office).bind(box_id);
        Ok(query.fetch_optional(&mut **self).await?.unwrap_or_default())
    }

    pub(crate) async fn set_box_status(
        &mut self,
        office: &str,
        box_id: &str,
        status: &str,
        at_ms: Option<i64>,
        clock_ms: Option<i64>,
    ) -> Result<(), DbError> {
        let update = "UPDATE box SET status = $3, status_ms = $4, clock_ms = $5 WHERE office = $1 AND id = $2";
        let query = sqlx::query(update).bind(office).bind(box_id).bind(status).bind(at_ms).bind(clock_ms);
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// State of a camera, unless a newer one is known: another worker may be behind. One of after `now`, by more than clocks of workers
    /// differ, is of a clock that was set back since. `heard_ms`: when its box said it; `None` = nobody knows: it lay at the broker, or
    /// does not say when.
    pub(crate) async fn camera_state(
        &mut self,
        office: &str,
        box_id: &str,
        camera: &str,
        body: &str,
        heard_ms: Option<i64>,
        now: i64,
    ) -> Result<(), DbError> {
        let upsert = "INSERT INTO camera (office, box, id, body, seen_ms) VALUES ($1, $2, $3, $4, $5)
                      ON CONFLICT (office, box, id) DO UPDATE SET body = excluded.body,
                        seen_ms = CASE WHEN excluded.seen_ms > 0 THEN excluded.seen_ms ELSE camera.seen_ms END
                      WHERE excluded.seen_ms = 0 OR excluded.seen_ms >= camera.seen_ms OR camera.seen_ms > $6";
        let query = sqlx::query(upsert).bind(office).bind(box_id).bind(camera).bind(body).bind(heard_ms.unwrap_or(0));
        query.bind(now + STEP_MS).execute(&mut **self).await?;
        Ok(())
    }
}
