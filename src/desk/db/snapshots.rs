//! Printed figures as rows: what a report said when it was kept, beside which it can be restated.

use super::{Db, DbError, Tx};

/// One printed report.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Snapshot {
    pub id: String,
    pub title: String,
    /// As in the address of the page.
    pub query: String,
    pub printed_ms: i64,
    pub account: String,
    /// All that was printed, as `web/report_printed.rs` writes it.
    pub figures: String,
    /// Of which offices; empty where an older desk did not say.
    pub scope: String,
}

const COLUMNS: &str = "id, title, query, printed_ms, account, figures, scope";

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM report_snapshot {rest}"))
}

impl Tx {
    pub(crate) async fn add_snapshot(&mut self, s: &Snapshot) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert =
            sqlx::AssertSqlSafe(format!("INSERT INTO report_snapshot ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"));
        let query = sqlx::query(insert).bind(&s.id).bind(&s.title).bind(&s.query).bind(s.printed_ms);
        query.bind(&s.account).bind(&s.figures).bind(&s.scope).execute(&mut **self).await?;
        Ok(())
    }
}

impl Db {
    pub(crate) async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, DbError> {
        Ok(sqlx::query_as(select("WHERE id = $1")).bind(id).fetch_optional(&self.pool).await?)
    }

    /// Newest first, whoever printed them; without what was printed, which is long.
    pub(crate) async fn snapshots(&self, limit: i64) -> Result<Vec<Snapshot>, DbError> {
        let list = "SELECT id, title, query, printed_ms, account, '' AS figures, scope FROM report_snapshot
                    ORDER BY printed_ms DESC, id DESC LIMIT $1";
        Ok(sqlx::query_as(list).bind(limit).fetch_all(&self.pool).await?)
    }
}
