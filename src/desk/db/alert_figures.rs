//! How many alerts there were in some duty days and what became of them, from their history: what is counted does not depend on what
//! they are now. Alerts themselves are in `alerts.rs`.

use super::alerts::{AlertRow, select};
use super::{Db, DbError, Scope};

/// Which alerts are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted<'a> {
    pub scope: &'a Scope,
    /// Empty = all of them.
    pub office: &'a str,
    /// First duty day.
    pub from: &'a str,
    /// First duty day after it.
    pub to: &'a str,
}

/// All rows of a table that are of the scope, the office and the duty days that are bound first.
pub(super) fn counted(table: &str) -> String {
    format!(
        "($1 = '*' OR $1 LIKE '%,' || {table}.office || ',%') AND ($2 = '' OR {table}.office = $2)
         AND {table}.duty_day >= $3 AND {table}.duty_day < $4"
    )
}

impl Db {
    /// How many alerts, how many of them a person dealt with, and with how many what was done: act, reason of a dismissal, alerts.
    pub(crate) async fn alert_figures(
        &self,
        c: &Counted<'_>,
    ) -> Result<(i64, i64, Vec<(String, String, i64)>), DbError> {
        // Only texts of this file are put together.
        let of = counted("alert");
        let count =
            |from: &str, more: &str| sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {from} WHERE {of} {more}"));
        let all = sqlx::query_scalar(count("alert", "")).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        let all = all.fetch_one(&self.pool).await?;
        let dealt = "AND EXISTS (SELECT 1 FROM alert_action a WHERE a.alert_id = alert.id AND a.account <> '')";
        let dealt = sqlx::query_scalar(count("alert", dealt)).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        let dealt = dealt.fetch_one(&self.pool).await?;
        let acts = sqlx::AssertSqlSafe(format!(
            "SELECT a.action, CASE WHEN a.action = 'dismiss' THEN a.reason ELSE '' END AS reason, COUNT(DISTINCT a.alert_id)
             FROM alert_action a JOIN alert ON alert.id = a.alert_id WHERE {of} GROUP BY 1, 2 ORDER BY 1, 2"
        ));
        let acts = sqlx::query_as(acts).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        Ok((all, dealt, acts.fetch_all(&self.pool).await?))
    }

    /// The alerts behind one of those figures, newest first. `act`: `all`, `dealt`, or an act, of a dismissal with its reason.
    pub(crate) async fn alerts_behind(
        &self,
        c: &Counted<'_>,
        act: &str,
        reason: &str,
        limit: i64,
    ) -> Result<Vec<AlertRow>, DbError> {
        let rest = format!(
            "WHERE {} AND ($5 = 'all' OR EXISTS (SELECT 1 FROM alert_action a WHERE a.alert_id = alert.id
               AND (($5 = 'dealt' AND a.account <> '') OR (a.action = $5 AND ($6 = '' OR a.reason = $6)))))
             ORDER BY at_ms DESC, id DESC LIMIT $7",
            counted("alert")
        );
        let query = sqlx::query_as(select(&rest)).bind(&c.scope.0).bind(c.office).bind(c.from).bind(c.to);
        Ok(query.bind(act).bind(reason).bind(limit).fetch_all(&self.pool).await?)
    }
}
