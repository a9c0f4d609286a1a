//! Alerts and their history as rows. What a step makes of an alert is in `desk/alert.rs`.

use super::{Db, DbError, Query, Scope, Tx, WORDS, all_words, patterns};
use crate::desk::alert::{Core, Entry, State};

/// An alert.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct AlertRow {
    pub id: String,
    pub office: String,
    #[sqlx(rename = "box")]
    pub box_id: String,
    pub camera: String,
    pub place: String,
    pub rule: String,
    pub severity: i64,
    pub revision: i64,
    pub phase: String,
    pub at_ms: i64,
    pub opened_ms: i64,
    pub duty_day: String,
    pub historical: i64,
    pub group_key: String,
    pub picture: Option<String>,
    /// Whether it is here; only read.
    pub pictured: i64,
    pub search: String,
    pub body: String,
    pub state: String,
    pub outcome: Option<String>,
    pub escalated_ms: Option<i64>,
    pub asked_by: Option<String>,
    pub closed_ms: Option<i64>,
    pub version: i64,
}

impl AlertRow {
    pub(crate) fn core(&self) -> Core {
        Core {
            state: State::parse(&self.state),
            outcome: self.outcome.clone(),
            severity: self.severity,
            escalated_ms: self.escalated_ms,
            asked_by: self.asked_by.clone(),
            closed_ms: self.closed_ms,
        }
    }

    pub(crate) fn set_core(&mut self, core: &Core) {
        core.state.as_str().clone_into(&mut self.state);
        self.outcome.clone_from(&core.outcome);
        self.severity = core.severity;
        self.escalated_ms = core.escalated_ms;
        self.asked_by.clone_from(&core.asked_by);
        self.closed_ms = core.closed_ms;
    }
}

/// One line of an alert's history.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct ActionRow {
    pub at_ms: i64,
    pub account: String,
    pub action: String,
    pub reason: String,
    pub note: String,
}

/// Which alerts are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `open`, `mine` (escalated and open), `closed`, `all`.
    pub view: String,
    /// At least.
    pub severity: i64,
    /// Empty = all.
    pub office: String,
    /// Empty = all.
    pub duty_day: String,
    /// Words to find.
    pub words: String,
    /// Only one rule; empty = all.
    pub rule: String,
    /// Only those that a list has after the alert of this time and id.
    pub after: Option<(i64, String)>,
    /// At most.
    pub limit: i64,
}

/// An alert that changed, for open pages.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Touched {
    #[sqlx(flatten)]
    pub row: AlertRow,
    pub touched: i64,
    /// Transaction since which it is worth a sound.
    pub rang: i64,
}

pub(super) const COLUMNS: &str = "id, office, box, camera, place, rule, severity, revision, phase, at_ms, opened_ms, duty_day, historical, group_key, picture, search, body, state, outcome, escalated_ms, asked_by, closed_ms, version";

/// How many those are.
pub(super) const COLUMN_COUNT: usize = 23;

/// Binds [`COLUMNS`].
pub(super) fn bind(q: Query, a: &AlertRow) -> Query {
    let q = q.bind(&a.id).bind(&a.office).bind(&a.box_id).bind(&a.camera).bind(&a.place).bind(&a.rule);
    let q = q.bind(a.severity).bind(a.revision).bind(&a.phase).bind(a.at_ms).bind(a.opened_ms).bind(&a.duty_day);
    let q = q.bind(a.historical).bind(&a.group_key).bind(&a.picture).bind(&a.search).bind(&a.body).bind(&a.state);
    q.bind(&a.outcome).bind(a.escalated_ms).bind(&a.asked_by).bind(a.closed_ms).bind(a.version)
}

/// Where words are looked for: what it says of itself, and how its office is called now.
const SEARCHED: &str =
    "(alert.search || ' ' || COALESCE((SELECT o.search FROM office o WHERE o.code = alert.office), ''))";

/// The condition that an alert is wanted. A scope and a [`Wanted`] are bound first, in the order of the parameters; words of a search
/// from the ninth on. The same for an open page: `web/stream.rs`.
fn wanted() -> String {
    format!(
        "($1 = '*' OR $1 LIKE '%,' || office || ',%')
         AND ($2 = 'all' OR ($2 = 'open' AND state <> 'closed') OR ($2 = 'closed' AND state = 'closed')
              OR ($2 = 'escalated' AND state <> 'closed' AND escalated_ms IS NOT NULL)
              OR ($2 = 'new' AND state = 'new') OR ($2 = 'unseen' AND state = 'unseen'))
         AND severity >= $3 AND ($4 = '' OR office = $4) AND ($5 = '' OR duty_day = $5) AND ($6 = '' OR rule = $6)
         AND ($7 < 0 OR at_ms < $7 OR (at_ms = $7 AND id < $8)) AND {}",
        all_words(SEARCHED, 9)
    )
}

/// What is known of an alert beside its own columns.
const PICTURED: &str =
    "CAST(CASE WHEN EXISTS (SELECT 1 FROM picture p WHERE p.event_id = alert.id AND p.sha256 = alert.picture)
                        THEN 1 ELSE 0 END AS BIGINT) AS pictured";

pub(super) fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    // Only texts of this file are put together.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS}, {PICTURED} FROM alert {rest}"))
}

impl Db {
    pub(crate) async fn alert(&self, id: &str) -> Result<Option<AlertRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE id = $1")).bind(id).fetch_optional(&self.pool).await?)
    }

    /// Newest first.
    pub(crate) async fn alerts(&self, scope: &Scope, w: &Wanted) -> Result<Vec<AlertRow>, DbError> {
        let rest = format!("WHERE {} ORDER BY at_ms DESC, id DESC LIMIT ${}", wanted(), 9 + WORDS);
        let (at_ms, id) = w.after.as_ref().map_or((-1, ""), |(at_ms, id)| (*at_ms, id.as_str()));
        let query = sqlx::query_as(select(&rest)).bind(&scope.0).bind(&w.view).bind(w.severity).bind(&w.office);
        let query = query.bind(&w.duty_day).bind(&w.rule).bind(at_ms).bind(id);
        let query = patterns(&w.words).into_iter().fold(query, |query, pattern| query.bind(pattern));
        Ok(query.bind(w.limit).fetch_all(&self.pool).await?)
    }

    /// How many alerts are wanted, whatever the limit.
    pub(crate) async fn alerts_wanted(&self, scope: &Scope, w: &Wanted) -> Result<i64, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM alert WHERE {}", wanted()));
        let (at_ms, id) = w.after.as_ref().map_or((-1, ""), |(at_ms, id)| (*at_ms, id.as_str()));
        let query = sqlx::query_scalar(select).bind(&scope.0).bind(&w.view).bind(w.severity).bind(&w.office);
        let query = query.bind(&w.duty_day).bind(&w.rule).bind(at_ms).bind(id);
        let query = patterns(&w.words).into_iter().fold(query, |query, pattern| query.bind(pattern));
        Ok(query.fetch_one(&self.pool).await?)
    }

    /// Alerts of a box about a time, `from <= t < to`, oldest first.
    pub(crate) async fn alerts_between(
        &self,
        office: &str,
        box_id: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<AlertRow>, DbError> {
        let rest = "WHERE office = $1 AND box = $2 AND at_ms >= $3 AND at_ms < $4 ORDER BY at_ms, id LIMIT 1000";
        let query = sqlx::query_as(select(rest)).bind(office).bind(box_id).bind(from_ms).bind(to_ms);
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// How many alerts stand in each state, by severity: state, severity, how many.
    pub(crate) async fn alert_counts(&self, scope: &Scope) -> Result<Vec<(String, i64, i64)>, DbError> {
        let select = "SELECT state, severity, COUNT(*) FROM alert
                      WHERE ($1 = '*' OR $1 LIKE '%,' || office || ',%') AND state <> 'closed'
                      GROUP BY state, severity";
        Ok(sqlx::query_as(select).bind(&scope.0).fetch_all(&self.pool).await?)
    }

    /// How many alerts were changed by transactions after `after`; counts to `limit`.
    pub(crate) async fn touched_count(&self, after: i64, limit: i64) -> Result<i64, DbError> {
        let select = "SELECT COUNT(*) FROM (SELECT 1 AS one FROM alert WHERE touched > $1 LIMIT $2) AS touched";
        Ok(sqlx::query_scalar(select).bind(after).bind(limit).fetch_one(&self.pool).await?)
    }

    /// Alerts changed by transactions after `after`, oldest change first.
    pub(crate) async fn alerts_touched(&self, after: i64, limit: i64) -> Result<Vec<Touched>, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, {PICTURED}, touched, rang FROM alert WHERE touched > $1 ORDER BY touched LIMIT $2"
        ));
        Ok(sqlx::query_as(select).bind(after).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Alerts that became worth a sound after the transaction `after`, in that order: the newest ones where there are more
    /// than `limit`.
    pub(crate) async fn alerts_rang(&self, after: i64, limit: i64) -> Result<Vec<Touched>, DbError> {
        // Only texts of this file are put together.
        let select = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, {PICTURED}, touched, rang FROM alert WHERE rang > $1 ORDER BY rang DESC LIMIT $2"
        ));
        let mut rang: Vec<Touched> = sqlx::query_as(select).bind(after).bind(limit).fetch_all(&self.pool).await?;
        rang.reverse();
        Ok(rang)
    }

    pub(crate) async fn alert_history(&self, id: &str) -> Result<Vec<ActionRow>, DbError> {
        let select =
            "SELECT at_ms, account, action, reason, note FROM alert_action WHERE alert_id = $1 ORDER BY at_ms, id";
        Ok(sqlx::query_as(select).bind(id).fetch_all(&self.pool).await?)
    }

    /// Ids of new alerts that nobody looked at since before these times, and of those that came before `began` and have gone
    /// up already, or never will.
    pub(crate) async fn alerts_due(
        &self,
        before: i64,
        critical_before: i64,
        began: i64,
    ) -> Result<Vec<String>, DbError> {
        let over = "SELECT id FROM alert WHERE state = 'new' AND opened_ms < $1
                    AND (historical = 1 OR escalated_ms IS NOT NULL) ORDER BY opened_ms LIMIT 200";
        let mut due: Vec<String> = sqlx::query_scalar(over).bind(began).fetch_all(&self.pool).await?;
        // Each severity for itself, so that the index leads to those that are due and to no other.
        let waiting = "SELECT id FROM alert WHERE state = 'new' AND historical = 0 AND escalated_ms IS NULL
                       AND severity = $1 AND opened_ms <= $2 ORDER BY opened_ms LIMIT 200";
        for severity in (1..=4_i64).rev() {
            let before = if severity >= 4 { critical_before.max(before) } else { before };
            let query = sqlx::query_scalar::<_, String>(waiting).bind(severity).bind(before);
            due.extend(query.fetch_all(&self.pool).await?);
        }
        Ok(due)
    }
}

impl Tx {
    pub(crate) async fn alert(&mut self, id: &str) -> Result<Option<AlertRow>, DbError> {
        Ok(sqlx::query_as(select("WHERE id = $1")).bind(id).fetch_optional(&mut **self).await?)
    }

    pub(crate) async fn add_alert(&mut self, a: &AlertRow) -> Result<(), DbError> {
        // Only texts of this file are put together.
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO alert ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)"
        ));
        bind(sqlx::query(insert), a).execute(&mut **self).await?;
        Ok(())
    }

    /// Writes what may change, if nobody else did since it was read.
    pub(crate) async fn change_alert(&mut self, a: &AlertRow) -> Result<(), DbError> {
        let update =
            "UPDATE alert SET severity = $2, revision = $3, phase = $4, opened_ms = $5, picture = $6, search = $7,
                      body = $8, state = $9, outcome = $10, escalated_ms = $11, asked_by = $12, closed_ms = $13,
                      rule = $14, place = $15, group_key = $16, historical = $18, version = version + 1
                      WHERE id = $1 AND version = $17";
        let q = sqlx::query(update).bind(&a.id).bind(a.severity).bind(a.revision).bind(&a.phase).bind(a.opened_ms);
        let q = q.bind(&a.picture).bind(&a.search).bind(&a.body).bind(&a.state).bind(&a.outcome);
        let q = q.bind(a.escalated_ms).bind(&a.asked_by).bind(a.closed_ms).bind(&a.rule).bind(&a.place);
        let done = q.bind(&a.group_key).bind(a.version).bind(a.historical).execute(&mut **self).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::Changed(format!("alert {}", a.id))) }
    }

    /// Tips that were raised from an alert.
    pub(crate) async fn raised_tips(&mut self, alert: &str) -> Result<Vec<String>, DbError> {
        let select = "SELECT id FROM tip WHERE alert_id = $1";
        Ok(sqlx::query_scalar(select).bind(alert).fetch_all(&mut **self).await?)
    }

    /// Open pages shall hear of it; `fresh`: with a sound. An alert that is not there is nothing.
    pub(crate) async fn touch(&mut self, alert: &str, fresh: bool) -> Result<(), DbError> {
        let update = "UPDATE alert SET touched = $2, rang = CASE WHEN $3 = 1 THEN $2 ELSE rang END WHERE id = $1";
        let n = self.n;
        sqlx::query(update).bind(alert).bind(n).bind(i64::from(fresh)).execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn add_alert_action(
        &mut self,
        id: &str,
        alert: &str,
        at: i64,
        who: &str,
        e: &Entry,
    ) -> Result<(), DbError> {
        let insert = "INSERT INTO alert_action (id, alert_id, at_ms, account, action, reason, note) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let query = sqlx::query(insert).bind(id).bind(alert).bind(at).bind(who).bind(e.action);
        query.bind(&e.reason).bind(&e.note).execute(&mut **self).await?;
        Ok(())
    }

    /// Replaces what an event says about declarations.
    pub(crate) async fn set_links(
        &mut self,
        event: &str,
        office: &str,
        at_ms: i64,
        links: &[LinkRow],
    ) -> Result<(), DbError> {
        sqlx::query("DELETE FROM event_link WHERE event_id = $1").bind(event).execute(&mut **self).await?;
        let insert = "INSERT INTO event_link (event_id, decl_key, office, at_ms, state, method, permille, channel)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        for link in links {
            let query = sqlx::query(insert).bind(event).bind(&link.decl_key).bind(office).bind(at_ms);
            let query = query.bind(&link.state).bind(&link.method).bind(link.permille).bind(link.channel);
            query.execute(&mut **self).await?;
        }
        Ok(())
    }
}

/// One declaration of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkRow {
    pub decl_key: String,
    pub state: String,
    pub method: String,
    pub permille: i64,
    pub channel: Option<i64>,
}
