//! How much of each duty day cameras were analysed, as rows. What is noted when: `desk/availability.rs`.

use super::alert_figures::Counted;
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
    /// Birth of its box, which names the cameras that it has.
    pub birth: String,
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
    /// Cameras of boxes that are online and were heard after `heard_after`.
    pub(crate) async fn standing_cameras(&self, heard_after: i64) -> Result<Vec<Standing>, DbError> {
        let select = "SELECT c.office, c.box, c.id AS camera, c.body, b.birth FROM camera c
                      JOIN box b ON b.office = c.office AND b.id = c.box
                      WHERE b.online = 1 AND b.heard_ms > $1 AND b.birth IS NOT NULL ORDER BY c.office, c.box, c.id";
        Ok(sqlx::query_as(select).bind(heard_after).fetch_all(&self.pool).await?)
    }

    /// By camera, of the offices and duty days that are counted.
    pub(crate) async fn camera_shares(&self, c: &Counted<'_>) -> Result<Vec<CameraShare>, DbError> {
        let select =
            "SELECT office, box, camera, CAST(SUM(hours) AS BIGINT) AS hours, CAST(SUM(permille) AS BIGINT) AS permille
                      FROM camera_day
                      WHERE ($1 = '*' OR $1 LIKE '%,' || office || ',%') AND ($2 = '' OR office = $2)
                        AND duty_day >= $3 AND duty_day < $4
                      GROUP BY office, box, camera ORDER BY office, box, camera";
        let query = sqlx::query_as(select).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        Ok(query.fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// Adds an hour that ended at `hour_ms`, once.
    pub(crate) async fn add_camera_hour(
        &mut self,
        s: &Standing,
        duty_day: &str,
        permille: i64,
        hour_ms: i64,
    ) -> Result<(), DbError> {
        let upsert = "INSERT INTO camera_day (duty_day, office, box, camera, hours, permille, hour_ms)
                      VALUES ($1, $2, $3, $4, 1, $5, $6)
                      ON CONFLICT (duty_day, office, box, camera) DO UPDATE SET hours = camera_day.hours + 1,
                        permille = camera_day.permille + excluded.permille, hour_ms = excluded.hour_ms
                      WHERE camera_day.hour_ms < excluded.hour_ms";
        let query = sqlx::query(upsert).bind(duty_day).bind(&s.office).bind(&s.box_id).bind(&s.camera);
        query.bind(permille).bind(hour_ms).execute(&mut **self).await?;
        Ok(())
    }
}
