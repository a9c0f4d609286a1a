//! Files of tips as rows. What may be attached and withdrawn is in `desk/attachment.rs`.

use super::{Db, DbError, Tx};

/// A file of a tip, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct FileRow {
    pub id: String,
    pub tip_id: String,
    pub name: String,
    /// `pdf`, `jpg` or `png`.
    pub kind: String,
    pub bytes: i64,
    pub sha256: String,
    pub note: String,
    pub account: String,
    pub at_ms: i64,
    pub withdrawn_ms: Option<i64>,
    pub withdrawn_by: Option<String>,
    pub withdrawn_why: Option<String>,
}

const OF_TIP: &str =
    "SELECT id, tip_id, name, kind, bytes, sha256, note, account, at_ms, withdrawn_ms, withdrawn_by, withdrawn_why
                      FROM tip_file WHERE tip_id = $1 ORDER BY at_ms, id";

impl Db {
    /// All files of a tip, also those withdrawn.
    pub(crate) async fn files(&self, tip: &str) -> Result<Vec<FileRow>, DbError> {
        Ok(sqlx::query_as(OF_TIP).bind(tip).fetch_all(&self.pool).await?)
    }

    /// What is in a file, base64.
    pub(crate) async fn file_content(&self, id: &str) -> Result<Option<String>, DbError> {
        let select = "SELECT base64 FROM tip_file_content WHERE file_id = $1";
        Ok(sqlx::query_scalar(select).bind(id).fetch_optional(&self.pool).await?)
    }
}

impl Tx {
    pub(crate) async fn files(&mut self, tip: &str) -> Result<Vec<FileRow>, DbError> {
        Ok(sqlx::query_as(OF_TIP).bind(tip).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_file(&mut self, f: &FileRow, base64: String) -> Result<(), DbError> {
        let insert = "INSERT INTO tip_file (id, tip_id, name, kind, bytes, sha256, note, account, at_ms)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(insert).bind(&f.id).bind(&f.tip_id).bind(&f.name).bind(&f.kind).bind(f.bytes);
        let query = query.bind(&f.sha256).bind(&f.note).bind(&f.account).bind(f.at_ms);
        query.execute(&mut **self).await?;
        let insert = "INSERT INTO tip_file_content (file_id, base64) VALUES ($1, $2)";
        sqlx::query(insert).bind(&f.id).bind(base64).execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn withdraw_file(&mut self, id: &str, who: &str, why: &str, now_ms: i64) -> Result<(), DbError> {
        let update = "UPDATE tip_file SET withdrawn_ms = $2, withdrawn_by = $3, withdrawn_why = $4 WHERE id = $1";
        sqlx::query(update).bind(id).bind(now_ms).bind(who).bind(why).execute(&mut **self).await?;
        Ok(())
    }

    /// When a tip was settled last, also one that was reopened since.
    pub(crate) async fn settled_last(&mut self, tip: &str) -> Result<Option<i64>, DbError> {
        let select = "SELECT at_ms FROM tip_action WHERE tip_id = $1 AND action = 'settle' ORDER BY at_ms DESC LIMIT 1";
        Ok(sqlx::query_scalar(select).bind(tip).fetch_optional(&mut **self).await?)
    }
}
