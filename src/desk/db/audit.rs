//! The audit: who saw, searched, decided or exported what and why. Rows are only ever added; each holds the hash of the
//! one before, so that a row changed, removed or put in between is found by [`Db::audit_whole`].

use sha2::{Digest, Sha256};
use sqlx::AnyConnection;

use super::{Db, DbError, Scope, Tx, folded};
use crate::clock::utc_now;

/// Hash before the first row.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Rows read at once when the chain is checked.
const CHUNK: i64 = 2000;
/// Newest rows that are searched, and rows shown.
const SEARCHED: i64 = 20_000;
const SHOWN: usize = 300;

/// What is written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act<'a> {
    /// Empty = the desk itself.
    pub account: &'a str,
    /// Whose rows it is about; empty = none in particular.
    pub office: &'a str,
    /// What was done, e.g. `alert.dismiss`.
    pub action: &'a str,
    /// To what, e.g. an alert's id.
    pub object: &'a str,
    /// Reason, search words, figures.
    pub detail: &'a str,
}

/// One row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Row {
    pub seq: i64,
    pub at_ms: i64,
    pub account: String,
    pub office: String,
    pub action: String,
    pub object: String,
    pub detail: String,
    pub prev_hash: String,
    pub hash: String,
}

impl Row {
    fn right_hash(&self) -> String {
        let said = serde_json::json!([
            self.seq,
            self.at_ms,
            self.account,
            self.office,
            self.action,
            self.object,
            self.detail,
            self.prev_hash
        ]);
        hex::encode(Sha256::digest(said.to_string()))
    }
}

impl Tx {
    /// Adds a row to the chain.
    pub(crate) async fn audit(&mut self, act: Act<'_>) -> Result<(), DbError> {
        let last = sqlx::query_as::<_, (i64, String)>("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
        let last = last.fetch_optional(&mut **self).await?;
        let (seq, prev_hash) = last.map_or((1, START.to_owned()), |(seq, hash)| (seq + 1, hash));
        let mut row = Row {
            seq,
            at_ms: utc_now().0,
            account: act.account.into(),
            office: act.office.into(),
            action: act.action.into(),
            object: act.object.into(),
            detail: act.detail.into(),
            prev_hash,
            hash: String::new(),
        };
        row.hash = row.right_hash();
        insert(&row, self).await
    }
}

async fn insert(row: &Row, tx: &mut AnyConnection) -> Result<(), DbError> {
    let insert = "INSERT INTO audit (seq, at_ms, account, office, action, object, detail, prev_hash, hash)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let query = sqlx::query(insert).bind(row.seq).bind(row.at_ms).bind(&row.account).bind(&row.office);
    let query = query.bind(&row.action).bind(&row.object).bind(&row.detail).bind(&row.prev_hash).bind(&row.hash);
    query.execute(tx).await?;
    Ok(())
}

impl Db {
    /// Writes one row of its own.
    pub(crate) async fn audit(&self, act: Act<'_>) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        tx.audit(act).await?;
        tx.commit().await
    }

    /// The newest rows that hold `words` (with or without diacritics) and that `scope` sees, before the row `before`.
    pub(crate) async fn audit_rows(&self, scope: &Scope, words: &str, before: i64) -> Result<Vec<Row>, DbError> {
        let select = "SELECT * FROM audit WHERE seq < $1
                      AND ($2 = '*' OR office = '' OR $2 LIKE '%,' || office || ',%') ORDER BY seq DESC LIMIT $3";
        let rows: Vec<Row> =
            sqlx::query_as(select).bind(before).bind(&scope.0).bind(SEARCHED).fetch_all(&self.pool).await?;
        let words: Vec<String> = folded(words).split_whitespace().map(str::to_owned).collect();
        let holds = |r: &Row| {
            let text = folded(&format!("{} {} {} {}", r.account, r.action, r.object, r.detail));
            words.iter().all(|w| text.contains(w))
        };
        Ok(rows.into_iter().filter(holds).take(SHOWN).collect())
    }

    /// Number of rows when the chain is whole, else the first row that does not fit.
    pub(crate) async fn audit_whole(&self) -> Result<Result<i64, i64>, DbError> {
        let (mut seq, mut prev_hash) = (0, START.to_owned());
        loop {
            let select = "SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let rows: Vec<Row> = sqlx::query_as(select).bind(seq).bind(CHUNK).fetch_all(&self.pool).await?;
            if rows.is_empty() {
                return Ok(Ok(seq));
            }
            for row in rows {
                if row.seq != seq + 1 || row.prev_hash != prev_hash || row.hash != row.right_hash() {
                    return Ok(Err(seq + 1));
                }
                (seq, prev_hash) = (row.seq, row.hash);
            }
        }
    }
}
