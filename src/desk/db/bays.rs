//! Inspection bays as rows: the newest word of a box about each. What a word means is in `desk/message.rs`.

use super::messages::Message;
use super::{Db, DbError, Scope, Tx};
use crate::desk::message::BayWord;

/// A bay.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct BayRow {
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub area: String,
    pub name: String,
    /// Event that occupies it; empty bay without.
    pub event_id: Option<String>,
    pub since_ms: i64,
    pub epoch: i64,
    pub seq: i64,
    pub body: String,
}

const COLUMNS: &str = "office, box, area, name, event_id, since_ms, epoch, seq, body";

impl Db {
    pub(crate) async fn bays(&self, scope: &Scope) -> Result<Vec<BayRow>, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM bay WHERE $1 = '*' OR $1 LIKE '%,' || office || ',%' ORDER BY office, box, area"
        ));
        Ok(sqlx::query_as(select).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    /// Open alerts of an office, newest first: id, rule, severity, what they are grouped by.
    pub(crate) async fn open_alerts_of(&self, office: &str) -> Result<Vec<(String, String, i64, String)>, DbError> {
        let select = "SELECT id, rule, severity, group_key FROM alert WHERE office = $1 AND state <> 'closed'
                      ORDER BY at_ms DESC LIMIT 500";
        Ok(sqlx::query_as(select).bind(office).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// A word about a bay; an older one than the known changes nothing.
    pub(crate) async fn bay_word(&mut self, m: &Message, w: &BayWord) -> Result<(), DbError> {
        // `since` stays while the same event goes on.
        let upsert = "INSERT INTO bay (office, box, area, name, event_id, since_ms, epoch, seq, body)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                      ON CONFLICT (office, box, area) DO UPDATE SET name = excluded.name, event_id = excluded.event_id,
                        since_ms = excluded.since_ms, epoch = excluded.epoch, seq = excluded.seq, body = excluded.body
                      WHERE excluded.epoch > bay.epoch OR (excluded.epoch = bay.epoch AND excluded.seq > bay.seq)";
        let q = sqlx::query(upsert).bind(&m.office).bind(&m.box_id).bind(&w.area).bind(&w.name);
        let q = q.bind(&w.event).bind(w.since_ms).bind(m.epoch).bind(m.seq).bind(m.body.to_string());
        q.execute(&mut **self).await?;
        Ok(())
    }
}
