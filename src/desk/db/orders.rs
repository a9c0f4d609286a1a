//! Orders to boxes as rows: what was asked about an alert, a tip, or a camera and a time, and the box's answer. Each row knows which
//! store of the box was asked last, or answered: another box in its place knows nothing of it.

use super::{Db, DbError, Scope, Tx};

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OrderRow {
    pub id: String,
    /// `bind`, `hold`, `release`, `stop`.
    pub kind: String,
    /// `None`: about a tip, or about a camera and a time alone.
    pub alert_id: Option<String>,
    pub tip_id: Option<String>,
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    /// Declaration of a binding, camera of a hold, hold of a release, id of a stop.
    pub about: String,
    pub note: String,
    pub account: String,
    pub at_ms: i64,
    pub topic: String,
    pub body: String,
    pub asked_ms: i64,
    /// When its last word came.
    pub answered_ms: Option<i64>,
    pub ok: Option<i64>,
    pub answer: Option<String>,
}

const COLUMNS: &str = "id, kind, alert_id, tip_id, office, box, about, note, account, at_ms, topic, body, asked_ms, answered_ms, ok, answer";

/// Which store the box of an order has now.
const EPOCH: &str = "(SELECT b.epoch FROM box b WHERE b.office = box_order.office AND b.id = box_order.box)";

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM box_order {rest}"))
}

impl Db {
    /// Orders about an alert, oldest first.
    pub(crate) async fn orders(&self, alert: &str) -> Result<Vec<OrderRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE alert_id = $1 ORDER BY at_ms, id")).bind(alert).fetch_all(&self.pool).await?)
    }

    /// Orders about a tip, oldest first.
    pub(crate) async fn orders_of_tip(&self, tip: &str) -> Result<Vec<OrderRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE tip_id = $1 ORDER BY at_ms, id")).bind(tip).fetch_all(&self.pool).await?)
    }

    /// Holds of a camera with what released them, newest first: of alerts and of nobody's.
    pub(crate) async fn holds_of(&self, office: &str, box_id: &str, camera: &str) -> Result<Vec<OrderRow>, DbError> {
        let rest = "WHERE office = $1 AND box = $2 AND ((kind = 'hold' AND about = $3)
                    OR (kind = 'release' AND about IN (SELECT h.id FROM box_order h WHERE h.office = $1 AND h.box = $2 AND h.kind = 'hold' AND h.about = $3)))
                    ORDER BY at_ms DESC, id DESC LIMIT 500";
        let query = sqlx::query_as(select(rest)).bind(office).bind(box_id).bind(camera);
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Orders whose last word has not come, whose box is there, and that were last asked before `asked_before`: the older
    /// an order was then, the earlier that must have been, by a tenth of its age. A box with another store than the one that was asked
    /// is asked at once.
    pub(crate) async fn orders_due(&self, asked_before: i64) -> Result<Vec<OrderRow>, DbError> {
        let rest = "WHERE answered_ms IS NULL
                    AND EXISTS (SELECT 1 FROM box b WHERE b.office = box_order.office AND b.id = box_order.box AND b.online = 1
                      AND (box_order.asked_ms + (box_order.asked_ms - box_order.at_ms) / 10 <= $1
                           OR COALESCE(box_order.epoch, -1) <> b.epoch))
                    ORDER BY asked_ms LIMIT 50";
        Ok(sqlx::query_as(select(rest)).bind(asked_before).fetch_all(&self.pool).await?)
    }

    /// Holds that nobody released, oldest first.
    pub(crate) async fn open_holds(&self, scope: &Scope) -> Result<Vec<OrderRow>, DbError> {
        let rest = "WHERE kind = 'hold' AND (ok IS NULL OR ok = 1) AND ($1 = '*' OR $1 LIKE '%,' || office || ',%')
                    AND NOT EXISTS (SELECT 1 FROM box_order r WHERE r.kind = 'release' AND r.about = box_order.id AND (r.ok IS NULL OR r.ok = 1))
                    ORDER BY at_ms, id";
        Ok(sqlx::query_as(select(rest)).bind(&scope.0).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    pub(crate) async fn orders(&mut self, alert: &str) -> Result<Vec<OrderRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE alert_id = $1 ORDER BY at_ms, id")).bind(alert).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn orders_of_tip(&mut self, tip: &str) -> Result<Vec<OrderRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE tip_id = $1 ORDER BY at_ms, id")).bind(tip).fetch_all(&mut **self).await?)
    }

    /// Orders to a box that are about no alert and no tip, oldest first.
    pub(crate) async fn free_orders(&mut self, office: &str, box_id: &str) -> Result<Vec<OrderRow>, DbError> {
        let rest = "WHERE alert_id IS NULL AND tip_id IS NULL AND office = $1 AND box = $2 ORDER BY at_ms, id";
        Ok(sqlx::query_as(select(rest)).bind(office).bind(box_id).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_order(&mut self, o: &OrderRow) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO box_order ({COLUMNS}, epoch) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
               (SELECT b.epoch FROM box b WHERE b.office = $5 AND b.id = $6))"
        ));
        let q = sqlx::query(insert)
            .bind(&o.id)
            .bind(&o.kind)
            .bind(&o.alert_id)
            .bind(&o.tip_id)
            .bind(&o.office)
            .bind(&o.box_id);
        let q = q.bind(&o.about).bind(&o.note).bind(&o.account).bind(o.at_ms).bind(&o.topic).bind(&o.body);
        let q = q.bind(o.asked_ms).bind(o.answered_ms).bind(o.ok).bind(&o.answer);
        q.execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn order_asked(&mut self, id: &str, now_ms: i64) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let update = sqlx::AssertSqlSafe(format!("UPDATE box_order SET asked_ms = $2, epoch = {EPOCH} WHERE id = $1"));
        sqlx::query(update).bind(id).bind(now_ms).execute(&mut **self).await?;
        Ok(())
    }

    /// What the box says; gives the alert it is about, if it is about one, when that is news. `last_ms`: when, if no other word is to come. An
    /// order that was sent again may be answered again: a last word stays, and what was done is not refused afterwards.
    pub(crate) async fn order_answered(
        &mut self,
        id: &str,
        last_ms: Option<i64>,
        ok: bool,
        answer: &str,
    ) -> Result<Option<String>, DbError> {
        // Only texts of this file are put together.
        let update = sqlx::AssertSqlSafe(format!(
            "UPDATE box_order SET answered_ms = $2, ok = $3, answer = $4, epoch = {EPOCH}
             WHERE id = $1 AND answered_ms IS NULL AND (ok IS NULL OR ($3 = 1 AND answer <> $4)) RETURNING alert_id"
        ));
        let query = sqlx::query_scalar(update).bind(id).bind(last_ms).bind(i64::from(ok)).bind(answer);
        let found: Option<Option<String>> = query.fetch_optional(&mut **self).await?;
        Ok(found.flatten())
    }
}
