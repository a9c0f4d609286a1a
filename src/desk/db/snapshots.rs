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
    pub figures: String,
}

impl Tx {
    pub(crate) async fn add_snapshot(&mut self, s: &Snapshot) -> Result<(), DbError> {
        let insert = "INSERT INTO report_snapshot (id, title, query, printed_ms, account, figures) VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(insert).bind(&s.id).bind(&s.title).bind(&s.query).bind(s.printed_ms);
        query.bind(&s.account).bind(&s.figures).execute(&mut **self).await?;
        Ok(())
    }
}

impl Db {
    pub(crate) async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, DbError> {
        let select = "SELECT id, title, query, printed_ms, account, figures FROM report_snapshot WHERE id = $1";
        Ok(sqlx::query_as(select).bind(id).fetch_optional(&self.pool).await?)
    }

    /// Newest first.
    pub(crate) async fn snapshots(&self, account: &str) -> Result<Vec<Snapshot>, DbError> {
        let select = "SELECT id, title, query, printed_ms, account, figures FROM report_snapshot
                      WHERE account = $1 ORDER BY printed_ms DESC, id DESC LIMIT 50";
        Ok(sqlx::query_as(select).bind(account).fetch_all(&self.pool).await?)
    }
}
