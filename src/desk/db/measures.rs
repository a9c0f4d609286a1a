//! Measures of tips as rows: what was asked for, by whom, and what became of it. What each means is in `desk/tip_measures.rs`.

use super::{Db, DbError, Tx};

/// One measure.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Measure {
    pub id: String,
    pub tip_id: String,
    pub action: String,
    pub note: String,
    pub account: String,
    pub at_ms: i64,
    pub done_by: Option<String>,
    pub done_ms: Option<i64>,
    pub outcome: String,
}

impl Measure {
    /// What boxes know a stop by.
    pub(crate) fn stop_id(&self) -> String {
        format!("S-{}", self.id)
    }
}

const COLUMNS: &str = "id, tip_id, action, note, account, at_ms, done_by, done_ms, outcome";

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tip_measure {rest}"))
}

impl Db {
    /// Oldest first.
    pub(crate) async fn measures(&self, tip: &str) -> Result<Vec<Measure>, DbError> {
        Ok(sqlx::query_as(select("WHERE tip_id = $1 ORDER BY at_ms, id")).bind(tip).fetch_all(&self.pool).await?)
    }

    /// Stops of goods that stand, of all tips: office, tip, its number, since when.
    pub(crate) async fn standing_stops(&self) -> Result<Vec<(String, String, String, i64)>, DbError> {
        let select = "SELECT t.office, t.id, t.number, m.at_ms FROM tip_measure m JOIN tip t ON t.id = m.tip_id
                      WHERE m.action = 'stop' AND m.done_ms IS NULL ORDER BY m.at_ms, m.id";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    /// Stops that stand and boxes in use of their offices that do not know them: tip, measure, box. Those were never told, or have
    /// another store than the one that answered: another box stands in the place of that one.
    pub(crate) async fn untold_stops(&self) -> Result<Vec<(String, String, String)>, DbError> {
        let select = "SELECT m.tip_id, m.id, b.id FROM tip_measure m JOIN tip t ON t.id = m.tip_id JOIN box b ON b.office = t.office
                      WHERE m.action = 'stop' AND m.done_ms IS NULL AND b.gone_ms IS NULL AND NOT EXISTS (SELECT 1 FROM box_order o
                        WHERE o.tip_id = m.tip_id AND o.kind = 'stop' AND o.about = 'S-' || m.id AND o.box = b.id
                          AND (o.answered_ms IS NULL OR b.epoch IS NULL OR COALESCE(o.epoch, -1) = b.epoch))";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    pub(crate) async fn measure(&mut self, tip: &str, id: &str) -> Result<Option<Measure>, DbError> {
        let query = sqlx::query_as(select("WHERE tip_id = $1 AND id = $2")).bind(tip).bind(id);
        Ok(query.fetch_optional(&mut **self).await?)
    }

    /// The stop of a tip's goods that stands.
    pub(crate) async fn stands(&mut self, tip: &str) -> Result<Option<Measure>, DbError> {
        let stop = select("WHERE tip_id = $1 AND action = 'stop' AND done_ms IS NULL ORDER BY at_ms LIMIT 1");
        Ok(sqlx::query_as(stop).bind(tip).fetch_optional(&mut **self).await?)
    }

    pub(crate) async fn add_measure(&mut self, m: &Measure) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO tip_measure ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        ));
        let query = sqlx::query(insert).bind(&m.id).bind(&m.tip_id).bind(&m.action).bind(&m.note).bind(&m.account);
        query.bind(m.at_ms).bind(&m.done_by).bind(m.done_ms).bind(&m.outcome).execute(&mut **self).await?;
        Ok(())
    }

    /// `false` when somebody has done it already.
    pub(crate) async fn measure_done(&mut self, m: &Measure) -> Result<bool, DbError> {
        let update =
            "UPDATE tip_measure SET done_by = $2, done_ms = $3, outcome = $4 WHERE id = $1 AND done_ms IS NULL";
        let query = sqlx::query(update).bind(&m.id).bind(&m.done_by).bind(m.done_ms).bind(&m.outcome);
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }
}
