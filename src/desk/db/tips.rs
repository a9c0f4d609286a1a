//! Tips with their actions, samples, money and the boxes' answers as rows. What a step makes of a tip is in
//! `desk/tip.rs`; figures over tips in `desk/report.rs`.

use super::messages::Message;
use super::{Db, DbError, Scope, Tx, all_words, patterns};
use crate::desk::message::text;
use crate::desk::tip::Money;

/// A tip.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct TipRow {
    pub id: String,
    pub number: String,
    pub unit: String,
    pub office: String,
    pub alert_id: Option<String>,
    pub decl_key: Option<String>,
    /// Between commas.
    pub containers: String,
    /// Between commas.
    pub plates: String,
    pub subject: String,
    pub suspicion: String,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub due_ms: Option<i64>,
    pub state: String,
    pub version: i64,
    pub created_by: String,
    pub created_ms: i64,
    pub issued_ms: Option<i64>,
    pub received_ms: Option<i64>,
    pub reported_ms: Option<i64>,
    pub settled_ms: Option<i64>,
    pub closed_ms: Option<i64>,
    pub result: Option<String>,
    pub result_text: String,
    pub basis: String,
    pub no_amount: i64,
    pub merged_into: Option<String>,
    pub search: String,
}

/// One line of a tip's history.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct TipAction {
    pub at_ms: i64,
    pub account: String,
    pub action: String,
    pub note: String,
}

/// A sample with its laboratory result.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Sample {
    pub id: String,
    pub code: String,
    pub seal: String,
    pub lab: String,
    pub taken_ms: i64,
    pub result: String,
    pub result_ms: Option<i64>,
}

/// What a box said about a tip.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Answer {
    pub source: String,
    pub kind: String,
    pub at_ms: i64,
    pub body: String,
}

/// Which tips are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `open`, `all` or a state.
    pub view: String,
    pub office: String,
    pub words: String,
    pub limit: i64,
}

const COLUMNS: &str = "id, number, unit, office, alert_id, decl_key, containers, plates, subject, suspicion, from_ms, to_ms, due_ms, state, version, created_by, created_ms, issued_ms, received_ms, reported_ms, settled_ms, closed_ms, result, result_text, basis, no_amount, merged_into, search";

/// Where words are looked for: what it says of itself, and how its office is called now.
const SEARCHED: &str = "(tip.search || ' ' || COALESCE((SELECT o.search FROM office o WHERE o.code = tip.office), ''))";

pub(super) fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this folder are put together.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tip {rest}"))
}

impl Db {
    pub(crate) async fn tip(&self, id: &str) -> Result<Option<TipRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE id = $1")).bind(id).fetch_optional(&self.pool).await?)
    }

    /// Newest first. A scope sees the tips it issues and those it checks.
    pub(crate) async fn tips(&self, scope: &Scope, w: &Wanted) -> Result<Vec<TipRow>, DbError> {
        let rest = format!(
            "WHERE ($1 = '*' OR $1 LIKE '%,' || office || ',%' OR $1 LIKE '%,' || unit || ',%')
             AND ($2 = 'all' OR state = $2 OR ($2 = 'open' AND state NOT IN ('settled', 'cancelled', 'merged')))
             AND ($3 = '' OR office = $3) AND {} ORDER BY created_ms DESC, id DESC LIMIT $4",
            all_words(SEARCHED, 5)
        );
        let query = sqlx::query_as(select(&rest)).bind(&scope.0).bind(&w.view).bind(&w.office).bind(w.limit);
        let query = patterns(&w.words).into_iter().fold(query, |query, pattern| query.bind(pattern));
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Every tip that was ever issued and that `scope` sees, for reports.
    pub(crate) async fn issued_tips(&self, scope: &Scope) -> Result<Vec<TipRow>, DbError> {
        let rest = "WHERE issued_ms IS NOT NULL
                    AND ($1 = '*' OR $1 LIKE '%,' || office || ',%' OR $1 LIKE '%,' || unit || ',%') ORDER BY issued_ms";
        Ok(sqlx::query_as(select(rest)).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn tips_of(&self, decl_key: &str) -> Result<Vec<TipRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE decl_key = $1 ORDER BY created_ms"))
            .bind(decl_key)
            .fetch_all(&self.pool)
            .await?)
    }

    pub(crate) async fn tip_history(&self, id: &str) -> Result<Vec<TipAction>, DbError> {
        let select = "SELECT at_ms, account, action, note FROM tip_action WHERE tip_id = $1 ORDER BY at_ms, id";
        Ok(sqlx::query_as(select).bind(id).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn samples(&self, id: &str) -> Result<Vec<Sample>, DbError> {
        let select = "SELECT id, code, seal, lab, taken_ms, result, result_ms FROM tip_sample WHERE tip_id = $1 ORDER BY taken_ms, id";
        Ok(sqlx::query_as(select).bind(id).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn money(&self, id: &str) -> Result<Vec<Money>, DbError> {
        let select = "SELECT id, kind, amount_vnd, decision, decl_key, at_ms, account, reverses FROM tip_money
                      WHERE tip_id = $1 ORDER BY at_ms, id";
        Ok(sqlx::query_as(select).bind(id).fetch_all(&self.pool).await?)
    }

    /// All money: tip, kind, amount, when.
    pub(crate) async fn all_money(&self) -> Result<Vec<(String, String, i64, i64)>, DbError> {
        let select = "SELECT tip_id, kind, amount_vnd, at_ms FROM tip_money";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    /// How much footage boxes found: tip, `complete`, `partial` or `none`.
    pub(crate) async fn footage_found(&self) -> Result<Vec<(String, String)>, DbError> {
        let select = "SELECT tip_id, footage FROM tip_answer WHERE footage IS NOT NULL";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn answers(&self, id: &str) -> Result<Vec<Answer>, DbError> {
        let select = "SELECT source, kind, at_ms, body FROM tip_answer WHERE tip_id = $1 ORDER BY source, kind, at_ms";
        Ok(sqlx::query_as(select).bind(id).fetch_all(&self.pool).await?)
    }
}

impl Tx {
    /// The next number of a counter, from 1.
    pub(crate) async fn next(&mut self, counter: &str) -> Result<i64, DbError> {
        let upsert = "INSERT INTO counter (name, value) VALUES ($1, 1)
                      ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value";
        Ok(sqlx::query_scalar(upsert).bind(counter).fetch_one(&mut **self).await?)
    }

    pub(crate) async fn tip(&mut self, id: &str) -> Result<Option<TipRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE id = $1")).bind(id).fetch_optional(&mut **self).await?)
    }

    pub(crate) async fn tip_by_number(&mut self, number: &str) -> Result<Option<TipRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE number = $1")).bind(number).fetch_optional(&mut **self).await?)
    }

    /// Who reported last.
    pub(crate) async fn reporter(&mut self, tip: &str) -> Result<Option<String>, DbError> {
        let select = "SELECT account FROM tip_action WHERE tip_id = $1 AND action = 'report' ORDER BY at_ms DESC, id DESC LIMIT 1";
        Ok(sqlx::query_scalar(select).bind(tip).fetch_optional(&mut **self).await?)
    }

    pub(crate) async fn answers(&mut self, tip: &str) -> Result<Vec<Answer>, DbError> {
        let select = "SELECT source, kind, at_ms, body FROM tip_answer WHERE tip_id = $1";
        Ok(sqlx::query_as(select).bind(tip).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_tip(&mut self, t: &TipRow) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO tip ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)"
        ));
        let q = sqlx::query(insert).bind(&t.id).bind(&t.number).bind(&t.unit).bind(&t.office).bind(&t.alert_id);
        let q = q
            .bind(&t.decl_key)
            .bind(&t.containers)
            .bind(&t.plates)
            .bind(&t.subject)
            .bind(&t.suspicion)
            .bind(t.from_ms)
            .bind(t.to_ms)
            .bind(t.due_ms);
        let q = q.bind(&t.state).bind(t.version).bind(&t.created_by).bind(t.created_ms).bind(t.issued_ms);
        let q = q.bind(t.received_ms).bind(t.reported_ms).bind(t.settled_ms).bind(t.closed_ms).bind(&t.result);
        let q = q.bind(&t.result_text).bind(&t.basis).bind(t.no_amount).bind(&t.merged_into).bind(&t.search);
        q.execute(&mut **self).await?;
        Ok(())
    }

    /// Writes what may change, if nobody else did since it was read.
    pub(crate) async fn change_tip(&mut self, t: &TipRow) -> Result<(), DbError> {
        let update = "UPDATE tip SET office = $2, decl_key = $3, subject = $4, suspicion = $5, from_ms = $6, to_ms = $7,
                      due_ms = $8, state = $9, issued_ms = $10, received_ms = $11, reported_ms = $12, settled_ms = $13,
                      closed_ms = $14, result = $15, result_text = $16, basis = $17, no_amount = $18, merged_into = $19,
                      search = $20, containers = $22, plates = $23, version = version + 1 WHERE id = $1 AND version = $21";
        let q = sqlx::query(update).bind(&t.id).bind(&t.office).bind(&t.decl_key).bind(&t.subject).bind(&t.suspicion);
        let q = q.bind(t.from_ms).bind(t.to_ms).bind(t.due_ms).bind(&t.state).bind(t.issued_ms).bind(t.received_ms);
        let q = q.bind(t.reported_ms).bind(t.settled_ms).bind(t.closed_ms).bind(&t.result).bind(&t.result_text);
        let q = q.bind(&t.basis).bind(t.no_amount).bind(&t.merged_into).bind(&t.search).bind(t.version);
        let done = q.bind(&t.containers).bind(&t.plates).execute(&mut **self).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::Changed(format!("tip {}", t.number))) }
    }

    pub(crate) async fn add_tip_action(
        &mut self,
        id: &str,
        tip: &str,
        at: i64,
        who: &str,
        action: &str,
        note: &str,
    ) -> Result<(), DbError> {
        let insert =
            "INSERT INTO tip_action (id, tip_id, at_ms, account, action, note) VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(insert).bind(id).bind(tip).bind(at).bind(who).bind(action).bind(note.trim());
        query.execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn money(&mut self, tip: &str) -> Result<Vec<Money>, DbError> {
        let select = "SELECT id, kind, amount_vnd, decision, decl_key, at_ms, account, reverses FROM tip_money WHERE tip_id = $1";
        Ok(sqlx::query_as(select).bind(tip).fetch_all(&mut **self).await?)
    }

    pub(crate) async fn add_money(&mut self, tip: &str, m: &Money) -> Result<(), DbError> {
        let insert =
            "INSERT INTO tip_money (id, tip_id, kind, amount_vnd, decision, decl_key, at_ms, account, reverses)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let query = sqlx::query(insert).bind(&m.id).bind(tip).bind(&m.kind).bind(m.amount_vnd).bind(&m.decision);
        let query = query.bind(&m.decl_key).bind(m.at_ms).bind(&m.account).bind(&m.reverses);
        query.execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn add_sample(&mut self, tip: &str, s: &Sample) -> Result<(), DbError> {
        let insert = "INSERT INTO tip_sample (id, tip_id, code, seal, lab, taken_ms, result) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let query = sqlx::query(insert).bind(&s.id).bind(tip).bind(&s.code).bind(&s.seal).bind(&s.lab);
        query.bind(s.taken_ms).bind(&s.result).execute(&mut **self).await?;
        Ok(())
    }

    /// `false` when the tip has no such sample without a result.
    pub(crate) async fn sample_result(
        &mut self,
        tip: &str,
        id: &str,
        result: &str,
        now_ms: i64,
    ) -> Result<bool, DbError> {
        let update =
            "UPDATE tip_sample SET result = $3, result_ms = $4 WHERE id = $2 AND tip_id = $1 AND result_ms IS NULL";
        let query = sqlx::query(update).bind(tip).bind(id).bind(result).bind(now_ms);
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }

    /// Keeps the newest word of a box about a tip.
    pub(crate) async fn tip_answer(&mut self, tip: &str, m: &Message) -> Result<(), DbError> {
        let upsert = "INSERT INTO tip_answer (tip_id, source, kind, id, at_ms, body, footage) VALUES ($1, $2, $3, $4, $5, $6, $7)
                      ON CONFLICT (tip_id, source, kind, id) DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body,
                        footage = excluded.footage
                      WHERE tip_answer.at_ms <= excluded.at_ms";
        let footage = text(&m.body, "/data/footage");
        let query = sqlx::query(upsert).bind(tip).bind(&m.source).bind(&m.kind).bind(&m.id).bind(m.at_ms);
        query.bind(m.body.to_string()).bind(footage).execute(&mut **self).await?;
        Ok(())
    }
}
