//! The audit: who saw, searched, decided or exported what and why. Rows are only ever added; each holds the hash of the
//! one before, so that a row changed, removed or put in between is found by [`Db::audit_whole`].

use std::collections::HashSet;

use sqlx::AnyConnection;

use super::{Db, DbError, Scope, Tx, folded};
use crate::clock::utc_now;
use crate::desk::room::digest;

/// Hash before the first row.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Rows read at once when the chain is checked.
const CHUNK: i64 = 2000;
/// Rows that are searched at once, and rows shown.
const SEARCHED: usize = if cfg!(test) { 500 } else { 20_000 };
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
        digest(said.to_string())
    }
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Found {
    pub rows: Vec<Row>,
    /// Everything from this row on was searched, and there may be more before it; `None` = that was all.
    pub older: Option<i64>,
}

/// Up to where the chain was found whole, and when all of it was read for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub seq: i64,
    hash: String,
    pub at_ms: i64,
}

/// What is other than before, for the audit: name, before, after.
pub(crate) fn changes(fields: &[(&str, String, String)]) -> String {
    let other = fields.iter().filter(|(_, before, after)| before != after);
    other.map(|(name, before, after)| format!("{name}: {before} → {after}")).collect::<Vec<_>>().join("; ")
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

    /// The newest rows that hold `words` (with or without diacritics) and that `scope` sees, before the row `before`. What
    /// belongs to no office in particular may still tell of other offices, as the words that somebody searched: of that, a scope
    /// sees only what people did who see no more than it.
    pub(crate) async fn audit_rows(&self, scope: &Scope, words: &str, before: i64) -> Result<Found, DbError> {
        let select = "SELECT * FROM audit WHERE seq < $1
                      AND ($2 = '*' OR office = '' OR $2 LIKE '%,' || office || ',%') ORDER BY seq DESC LIMIT $3";
        let limit = i64::try_from(SEARCHED).unwrap_or(i64::MAX);
        let rows: Vec<Row> =
            sqlx::query_as(select).bind(before).bind(&scope.0).bind(limit).fetch_all(&self.pool).await?;
        let peers = self.peers(scope).await?;
        let words: Vec<String> = folded(words).split_whitespace().map(str::to_owned).collect();
        let holds = |r: &Row| {
            let text = folded(&format!("{} {} {} {}", r.account, r.action, r.object, r.detail));
            (!r.office.is_empty() || *scope == Scope::all() || peers.contains(&r.account))
                && words.iter().all(|w| text.contains(w))
        };
        let searched_to = rows.last().map(|r| r.seq).filter(|_| rows.len() == SEARCHED);
        let mut rows: Vec<Row> = rows.into_iter().filter(holds).take(SHOWN + 1).collect();
        let more = rows.len() > SHOWN;
        rows.truncate(SHOWN);
        let older = if more { rows.last().map(|r| r.seq) } else { searched_to };
        Ok(Found { rows, older })
    }

    /// Accounts that see no office which `scope` does not.
    async fn peers(&self, scope: &Scope) -> Result<HashSet<String>, DbError> {
        let all = self.accounts().await?.into_iter().filter(|a| scope.covers(&Scope::parse(&a.offices)));
        Ok(all.map(|a| a.name).collect())
    }

    /// Up to where the chain is whole, which is its end, else the first row that does not fit. From where it was found whole
    /// before, when that is still there: a table of years is not read for every page.
    pub(crate) async fn audit_whole(&self, before: Option<&Checked>) -> Result<Result<Checked, i64>, DbError> {
        let mut at = Checked { seq: 0, hash: START.to_owned(), at_ms: utc_now().0 };
        if let Some(before) = before.filter(|b| b.seq > 0) {
            let select = "SELECT hash FROM audit WHERE seq = $1";
            let now: Option<String> = sqlx::query_scalar(select).bind(before.seq).fetch_optional(&self.pool).await?;
            if now.as_ref() != Some(&before.hash) {
                let whole = Box::pin(self.audit_whole(None)).await?;
                // It may fit together and be another one, or a shorter one.
                return Ok(Err(whole.map_or_else(|first| first, |shorter| (shorter.seq + 1).min(before.seq))));
            }
            at = before.clone();
        }
        loop {
            let select = "SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let rows: Vec<Row> = sqlx::query_as(select).bind(at.seq).bind(CHUNK).fetch_all(&self.pool).await?;
            if rows.is_empty() {
                return Ok(Ok(at));
            }
            for row in rows {
                if row.seq != at.seq + 1 || row.prev_hash != at.hash || row.hash != row.right_hash() {
                    return Ok(Err(at.seq + 1));
                }
                (at.seq, at.hash) = (row.seq, row.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::db::accounts::Account;

    async fn db(dir: &std::path::Path) -> Db {
        Db::open(&crate::desk::config::DatabaseConfig::default(), dir).await.unwrap()
    }

    async fn fill(db: &Db, rows: usize, detail: &str) {
        let mut tx = db.write().await.unwrap();
        for _ in 0..rows {
            tx.audit(Act { account: "an", office: "", action: "look", object: "", detail }).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_search_says_from_where_on_it_did_not_look() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(dir.path()).await;
        fill(&db, 1, "tìm thấy").await;
        fill(&db, SEARCHED + 5, "khác").await;
        let found = db.audit_rows(&Scope::all(), "tim thay", i64::MAX).await.unwrap();
        assert_eq!((found.rows.len(), found.older), (0, Some(7)));
        let found = db.audit_rows(&Scope::all(), "tim thay", 7).await.unwrap();
        assert_eq!((found.rows.iter().map(|r| r.seq).collect::<Vec<_>>(), found.older), (vec![1], None));
        let found = db.audit_rows(&Scope::all(), "", i64::MAX).await.unwrap();
        assert_eq!(found.older, found.rows.get(SHOWN - 1).map(|r| r.seq));
    }

    #[tokio::test]
    async fn the_chain_is_read_on_from_where_it_was_whole() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(dir.path()).await;
        fill(&db, 5, "").await;
        let checked = db.audit_whole(None).await.unwrap().unwrap();
        fill(&db, 3, "").await;
        let on = db.audit_whole(Some(&checked)).await.unwrap().unwrap();
        assert_eq!((on.seq, on.at_ms), (8, checked.at_ms));
        let change = async |statement: &'static str| {
            sqlx::query(statement).execute(&db.pool).await.unwrap();
        };
        change("UPDATE audit SET detail = 'x' WHERE seq = 2").await;
        assert_eq!(db.audit_whole(Some(&checked)).await.unwrap(), Ok(on.clone()), "it is not read again");
        assert_eq!(db.audit_whole(None).await.unwrap(), Err(2));
        change("UPDATE audit SET detail = '' WHERE seq = 2").await;
        change("UPDATE audit SET detail = 'x' WHERE seq = 7").await;
        assert_eq!(db.audit_whole(Some(&checked)).await.unwrap(), Err(7));
        change("DELETE FROM audit WHERE seq > 6").await;
        assert_eq!(db.audit_whole(None).await.unwrap().unwrap().seq, 6, "a shorter chain fits together");
        assert_eq!(db.audit_whole(Some(&on)).await.unwrap(), Err(7), "and is missed by who knew more of it");
    }

    #[tokio::test]
    async fn an_auditor_of_some_offices_hears_nothing_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(dir.path()).await;
        let mut tx = db.write().await.unwrap();
        for (name, offices) in [("near", ",15BB,"), ("far", ",15BB,20BB,"), ("all", "*")] {
            let account = Account {
                name: name.into(),
                display: name.into(),
                password: String::new(),
                must_change: 0,
                role: "officer".into(),
                offices: offices.into(),
                disabled: 0,
            };
            tx.add_account(&account, 0).await.unwrap();
            let act = Act { account: name, office: "", action: "alerts.list", object: "", detail: "tìm 20BB" };
            tx.audit(act).await.unwrap();
            tx.audit(Act { office: "15BB", ..act }).await.unwrap();
            tx.audit(Act { office: "20BB", ..act }).await.unwrap();
        }
        tx.audit(Act { account: "", office: "", action: "sign_in.refused", object: "x", detail: "" }).await.unwrap();
        tx.commit().await.unwrap();
        let seen = async |offices: &str| {
            let rows = db.audit_rows(&Scope::parse(offices), "", i64::MAX).await.unwrap().rows;
            rows.into_iter().map(|r| format!("{} {}", r.account, r.office)).collect::<Vec<_>>()
        };
        assert_eq!(seen("15BB").await, ["all 15BB", "far 15BB", "near 15BB", "near "]);
        assert_eq!(seen("*").await.len(), 10);
    }
}
