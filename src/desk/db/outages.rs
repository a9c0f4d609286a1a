//! Outages of boxes as rows, and what is known of whether a box is there. What counts as away is decided in
//! `desk/outage.rs`.

use super::{Db, DbError, Tx};

/// A box, as far as it matters whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Presence {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub online: i64,
    /// When `online` became what it is.
    pub changed_ms: i64,
    /// The time of its own last word: when its status came, or the one that anything else names.
    pub heard_ms: Option<i64>,
    /// When its word came by which it turned online, whatever time that says.
    pub came_ms: Option<i64>,
    /// When it said how it is, which it then does every minute.
    pub status_ms: Option<i64>,
    /// Its state was taken from the broker then: it is out of use.
    pub gone_ms: Option<i64>,
    /// Alert of the outage that lasts.
    pub alert_id: Option<String>,
    /// Since when that lasts.
    pub from_ms: Option<i64>,
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!(
        "SELECT b.office, b.id AS box, b.online, b.changed_ms, b.heard_ms, b.came_ms, b.status_ms, b.gone_ms, o.alert_id, o.from_ms
         FROM box b LEFT JOIN box_outage o ON o.office = b.office AND o.box = b.id AND o.to_ms IS NULL {rest}"
    ))
}

impl Db {
    /// All boxes.
    pub(crate) async fn presences(&self) -> Result<Vec<Presence>, DbError> {
        Ok(sqlx::query_as(select("ORDER BY b.office, b.id")).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// One box as it is in this transaction.
    pub(crate) async fn presence(&mut self, office: &str, box_id: &str) -> Result<Option<Presence>, DbError> {
        let query = sqlx::query_as(select("WHERE b.office = $1 AND b.id = $2")).bind(office).bind(box_id);
        Ok(query.fetch_optional(&mut **self).await?)
    }

    /// An outage was told by this alert, with a sound or without.
    pub(crate) async fn begin_outage(
        &mut self,
        p: &Presence,
        alert: &str,
        from_ms: i64,
        rang_ms: Option<i64>,
    ) -> Result<(), DbError> {
        let insert = "INSERT INTO box_outage (alert_id, office, box, from_ms, rang_ms) VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(insert).bind(alert).bind(&p.office).bind(&p.box_id).bind(from_ms).bind(rang_ms);
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// Whether an outage sounded in a time, `from < t <= to`: one of the box, or after `of_office` one of any box of its office.
    pub(crate) async fn outage_rang(
        &mut self,
        (office, box_id): (&str, &str),
        (from, of_office, to): (i64, i64, i64),
    ) -> Result<bool, DbError> {
        let select = "SELECT COUNT(*) FROM box_outage WHERE office = $1 AND rang_ms > $3 AND rang_ms <= $5
                      AND (box = $2 OR rang_ms > $4)";
        let query = sqlx::query_scalar::<_, i64>(select).bind(office).bind(box_id);
        Ok(query.bind(from).bind(of_office).bind(to).fetch_one(&mut **self).await? > 0)
    }

    /// It sounds again.
    pub(crate) async fn outage_rings(&mut self, alert: &str, now_ms: i64) -> Result<(), DbError> {
        let update = "UPDATE box_outage SET rang_ms = $2 WHERE alert_id = $1";
        sqlx::query(update).bind(alert).bind(now_ms).execute(&mut **self).await?;
        Ok(())
    }

    /// The box is back, or nobody waits for it any more.
    pub(crate) async fn end_outage(&mut self, alert: &str, to_ms: i64) -> Result<(), DbError> {
        let update = "UPDATE box_outage SET to_ms = $2 WHERE alert_id = $1";
        sqlx::query(update).bind(alert).bind(to_ms).execute(&mut **self).await?;
        Ok(())
    }
}
