//! How much of each duty day cameras were analysed, as rows. What is noted when: `desk/availability.rs`.

use super::alert_figures::{Counted, counted};
use super::{Db, DbError, Tx};

/// A camera of a box that is there, as it stands now.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Standing {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub camera: String,
    /// State of the camera, as published.
    pub body: String,
    /// When its box said so last.
    pub seen_ms: i64,
}

/// A part of an hour that is noted of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted<'a> {
    pub office: &'a str,
    pub box_id: &'a str,
    pub camera: &'a str,
    pub permille: i64,
}

/// What is known of a camera over some duty days.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CameraShare {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub camera: String,
    /// Hours of which the box said it.
    pub hours: i64,
    /// Sum over them of what was analysed, permille.
    pub permille: i64,
}

impl Db {
    /// Cameras of boxes that are online and were heard in a time, `from < t <= to`.
    pub(crate) async fn standing_cameras(&self, (from, to): (i64, i64)) -> Result<Vec<Standing>, DbError> {
        let select = "SELECT c.office, c.box, c.id AS camera, c.body, c.seen_ms FROM camera c
                      JOIN box b ON b.office = c.office AND b.id = c.box
                      WHERE b.online = 1 AND b.heard_ms > $1 AND b.heard_ms <= $2 ORDER BY c.office, c.box, c.id";
        Ok(sqlx::query_as(select).bind(from).bind(to).fetch_all(&self.pool).await?)
    }

    /// By camera, of the offices and duty days that are counted.
    pub(crate) async fn camera_shares(&self, c: &Counted<'_>) -> Result<Vec<CameraShare>, DbError> {
        // Only texts of this folder are put together.
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT office, box, camera, CAST(SUM(hours) AS BIGINT) AS hours, CAST(SUM(permille) AS BIGINT) AS permille
             FROM camera_day WHERE {} GROUP BY office, box, camera ORDER BY office, box, camera",
            counted("camera_day")
        ));
        let query = sqlx::query_as(select).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        Ok(query.fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// Adds an hour that ended at `hour_ms` to each of these cameras, once.
    pub(crate) async fn add_camera_hours(
        &mut self,
        noted: &[Noted<'_>],
        duty_day: &str,
        hour_ms: i64,
    ) -> Result<(), DbError> {
        let head = "INSERT INTO camera_day (duty_day, office, box, camera, hours, permille, hour_ms) VALUES";
        let tail = "ON CONFLICT (duty_day, office, box, camera) DO UPDATE SET hours = camera_day.hours + 1,
                      permille = camera_day.permille + excluded.permille, hour_ms = excluded.hour_ms
                    WHERE camera_day.hour_ms < excluded.hour_ms";
        self.many((head, 7, tail), noted, |q, n| {
            let q = q.bind(duty_day).bind(n.office).bind(n.box_id).bind(n.camera);
            q.bind(1_i64).bind(n.permille).bind(hour_ms)
        })
        .await
    }
}
