//! Tips that call for somebody, as rows: which call for whom, and since which transaction. What makes a tip call is in
//! `desk/calls.rs`.

use super::tips::{TipRow, select};
use super::{Db, DbError, Scope, Tx};
use crate::desk::tip::Call;

/// A tip that began to call.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CallRow {
    pub id: String,
    pub number: String,
    pub unit: String,
    pub office: String,
    pub subject: String,
    /// What for.
    pub called: String,
    /// Transaction since which it does.
    pub rang: i64,
}

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called<'a> {
    pub name: &'a str,
    pub scope: &'a Scope,
    /// Receives and checks tips of his offices.
    pub works: bool,
    /// Leads a unit or an office.
    pub leads: bool,
}

/// Which tips call for who receives tips: `$1` his scope, `$2` whether he does.
const TO_WORK: &str = "$2 = 1 AND ($1 = '*' OR $1 LIKE '%,' || office || ',%')
                       AND (state = 'issued' OR (state = 'checking' AND called = 'returned'))";
/// Which were not received in time, which calls for the leaders of both sides: `$1` a leader's scope, `$3` whether he is one.
const LATE: &str = "$3 = 1 AND ($1 = '*' OR $1 LIKE '%,' || office || ',%' OR $1 LIKE '%,' || unit || ',%')
                    AND state = 'issued' AND late_ms IS NOT NULL";

/// Which call for somebody; first by what there is an index of.
fn calls() -> String {
    format!("WHERE state IN ('issued', 'checking') AND (({TO_WORK}) OR ({LATE}))")
}

impl Db {
    /// How many tips call for somebody.
    pub(crate) async fn calling(&self, who: &Called<'_>) -> Result<i64, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM tip {}", calls()));
        let query = sqlx::query_scalar(select).bind(&who.scope.0).bind(i64::from(who.works));
        Ok(query.bind(i64::from(who.leads)).fetch_one(&self.pool).await?)
    }

    /// Those tips, newest first.
    pub(crate) async fn tips_calling(&self, who: &Called<'_>, limit: i64) -> Result<Vec<TipRow>, DbError> {
        let select = select(&format!("{} ORDER BY created_ms DESC, id DESC LIMIT $4", calls()));
        let query = sqlx::query_as(select).bind(&who.scope.0).bind(i64::from(who.works)).bind(i64::from(who.leads));
        Ok(query.bind(limit).fetch_all(&self.pool).await?)
    }

    /// Tips that call for somebody since a transaction after `after`, oldest call first; of more than `limit` the newest. Not
    /// what he did himself. That a tip is late only leaders are told, and that alone where it is new to them as well.
    pub(crate) async fn called_since(&self, who: &Called<'_>, after: i64, limit: i64) -> Result<Vec<CallRow>, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT id, number, unit, office, subject, called, rang FROM tip
             WHERE rang > $4 AND called <> '' AND called_by <> $5 AND {TO_WORK}
               AND NOT ($3 = 1 AND state = 'issued' AND late_rang > $4)
             UNION ALL
             SELECT id, number, unit, office, subject, '{late}' AS called, late_rang AS rang FROM tip
             WHERE late_rang > $4 AND {LATE}
             ORDER BY rang DESC LIMIT $6",
            late = Call::Late.as_str()
        ));
        let query = sqlx::query_as(select).bind(&who.scope.0).bind(i64::from(who.works)).bind(i64::from(who.leads));
        let mut calls: Vec<CallRow> = query.bind(after).bind(who.name).bind(limit).fetch_all(&self.pool).await?;
        calls.reverse();
        Ok(calls)
    }

    /// Whether a transaction after `after` changed a tip.
    pub(crate) async fn tips_touched(&self, after: i64) -> Result<bool, DbError> {
        let select = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM tip WHERE touched > $1 LIMIT 1) AS touched";
        Ok(sqlx::query_scalar::<_, i64>(select).bind(after).fetch_one(&self.pool).await? > 0)
    }

    /// Tips that were issued before `issued_before`, that nobody received and of which nobody was told.
    pub(crate) async fn tips_late(&self, issued_before: i64) -> Result<Vec<String>, DbError> {
        let select = "SELECT id FROM tip WHERE state = 'issued' AND issued_ms <= $1 AND late_ms IS NULL
                      ORDER BY issued_ms LIMIT 200";
        Ok(sqlx::query_scalar(select).bind(issued_before).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// A tip was changed; open pages shall hear of it, and of what it calls for now.
    pub(crate) async fn tip_calls(&mut self, tip: &str, call: Option<Call>, by: &str) -> Result<(), DbError> {
        let update = "UPDATE tip SET touched = $2, called = $3, called_by = $4,
                        rang = CASE WHEN $3 <> '' THEN $2 ELSE rang END WHERE id = $1";
        let n = self.n;
        let query = sqlx::query(update).bind(tip).bind(n).bind(call.map_or("", Call::as_str)).bind(by);
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// A tip was not received in time, which open pages shall hear: `None` where somebody has received it meanwhile, or it was told.
    pub(crate) async fn tip_is_late(&mut self, id: &str, now_ms: i64) -> Result<Option<TipRow>, DbError> {
        let update = "UPDATE tip SET late_ms = $2, late_rang = $3, touched = $3
                      WHERE id = $1 AND state = 'issued' AND late_ms IS NULL";
        let n = self.n;
        let done = sqlx::query(update).bind(id).bind(now_ms).bind(n).execute(&mut **self).await?;
        if done.rows_affected() == 0 { Ok(None) } else { self.tip(id).await }
    }
}
