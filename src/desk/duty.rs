//! What people decide, in one transaction each: the step, its history, its audit and what is published. Which steps
//! there are is in `alert.rs` and `tip.rs`; who may take them in `access.rs`.

use serde_json::{Value, json};

use super::access::User;
use super::alert::{self, Step};
use super::db::alerts::AlertRow;
use super::db::audit::Act;
use super::db::{DbError, Tx};
use super::outage;
use super::room::{Room, digest, new_id};
use crate::clock::{UtcMillis, utc_now};
use crate::desk::message::{self, parsed};

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DutyError {
    /// There is no such thing, or it is another office's.
    #[error("not found")]
    NotFound,
    /// The step is not allowed now; key of a sentence in `words.rs`.
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for DutyError {
    fn from(e: sqlx::Error) -> Self {
        Self::Db(e.into())
    }
}

/// Digest of what somebody knows who ends an alert, as a page shows it: how grave, what customs says, how it is tied, and who
/// asked to end it before. Not its revision: a new picture makes no decision wrong.
/// `body`: the alert's newest message, as in the row.
pub(crate) fn facts(row: &AlertRow, body: &Value) -> String {
    let of = |pointer| body.pointer(pointer).cloned().unwrap_or_default();
    let known = json!([row.severity, row.rule, of("/data/check/answer"), of("/data/link/verdict"), row.asked_by]);
    digest(known.to_string())
}

/// Takes a step with an alert. `known`: the [`facts`] of the page on which somebody decided, where it matters.
pub(crate) async fn alert_step(
    room: &Room,
    user: &User,
    id: &str,
    step: &Step,
    known: Option<&str>,
) -> Result<AlertRow, DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let mut row = tx.alert(id).await?.filter(|a| user.scope.holds(&a.office)).ok_or(DutyError::NotFound)?;
    if known.is_some_and(|known| known != facts(&row, &parsed(&row.body))) {
        return Err(DbError::Changed(format!("alert {id}")).into());
    }
    if take(&mut tx, user, &mut row, step, now).await? {
        tx.commit().await?;
        room.hub.nudge();
    }
    Ok(row)
}

/// Takes a step within a transaction, with its history and its audit; `false` when nothing changes.
pub(super) async fn take(
    tx: &mut Tx,
    user: &User,
    row: &mut AlertRow,
    step: &Step,
    now: i64,
) -> Result<bool, DutyError> {
    let next = alert::step(&row.core(), step, &user.name, now).map_err(|r| DutyError::Refused(r.key()))?;
    let Some((core, entry)) = next else { return Ok(false) };
    row.set_core(&core);
    tx.change_alert(row).await?;
    row.version += 1;
    tx.add_alert_action(&new_id(now), &row.id, now, &user.name, &entry).await?;
    let detail = [entry.reason.as_str(), entry.note.as_str()].join(" ");
    let action = format!("alert.{}", entry.action);
    let act = Act { account: &user.name, office: &row.office, action: &action, object: &row.id, detail: detail.trim() };
    tx.audit(act).await?;
    tx.touch(&row.id, false).await?;
    Ok(true)
}

/// An alert of the desk's own, by a message in the form of boxes, which sounds or not. It is live, however long ago what it is
/// about began. `false`: the message cannot be read, so that nobody is told; the log says which and why.
pub(super) async fn raise(
    room: &Room,
    tx: &mut Tx,
    (office, box_id): (&str, &str),
    body: &Value,
    sounds: bool,
    now: i64,
) -> Result<bool, DbError> {
    let own = match message::read(body.to_string().as_bytes(), office, box_id) {
        Ok(own) => own,
        Err(why) => {
            let (kind, id) = (&body["type"], &body["id"]);
            tracing::error!(office, box_id, %kind, %id, why, "an alert of the desk's own cannot be read");
            return Ok(false);
        }
    };
    let row = message::alert(&own, &room.zone, now, i64::MAX);
    tx.add_alert(&row).await?;
    tx.touch(&row.id, sounds).await?;
    Ok(true)
}

/// Moments by which it is told what is due.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// What came before and nobody looked at goes up.
    before: i64,
    /// The same for what is critical.
    critical: i64,
    /// Beginning of this duty day.
    began: i64,
}

/// What is due for an alert that is still new. The duty day in which it came, or came again, ends for it only once it has gone
/// up: what comes minutes before the end is not lost at the end, nor what began the day before. What came late never goes up.
fn due(row: &AlertRow, limits: Limits) -> Option<Step> {
    if row.historical == 0 && row.escalated_ms.is_none() {
        let before = if row.severity >= 4 { limits.critical.max(limits.before) } else { limits.before };
        return (row.opened_ms <= before).then_some(Step::EscalateByTime);
    }
    (row.opened_ms < limits.began).then_some(Step::EndOfDay)
}

/// Alerts that nobody looked at go to the shift leader; those whose duty day is over then are counted as unseen.
pub(crate) async fn escalate_by_time(room: &Room) -> Result<(), DbError> {
    let now = utc_now().0;
    let after = &room.config.alerts;
    let limits = Limits {
        before: now - i64::from(after.escalate_after_s) * 1000,
        critical: now - i64::from(after.escalate_critical_after_s) * 1000,
        began: room.zone.duty_began(UtcMillis(now)).0,
    };
    let due_now = room.db.alerts_due(limits.before, limits.critical, limits.began).await?;
    if due_now.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for id in due_now {
        // Read inside the transaction: somebody may have looked meanwhile.
        let Some(mut row) = tx.alert(&id).await? else { continue };
        let Some(step) = due(&row, limits) else { continue };
        let Ok(Some((core, entry))) = alert::step(&row.core(), &step, "", now) else { continue };
        row.set_core(&core);
        tx.change_alert(&row).await?;
        tx.add_alert_action(&new_id(now), &row.id, now, "", &entry).await?;
        let sounds = entry.action == "escalate_time" && outage::may_sound(&mut tx, &row, now).await?;
        tx.touch(&row.id, sounds).await?;
    }
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new alert that came `opened_ms`, of an event of the duty day before.
    async fn add(room: &Room, id: &str, severity: i64, opened_ms: i64, historical: i64) {
        let body = message::tests::body(id, 1, 1, severity);
        let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let yesterday = room.zone.duty_day(UtcMillis(utc_now().0 - 86_400_000));
        let row = message::alert(&m, &room.zone, m.at_ms, 60_000);
        let mut tx = room.db.write().await.unwrap();
        tx.add_alert(&AlertRow { opened_ms, historical, duty_day: yesterday, ..row }).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn after_a_second(room: &Room, id: &str) -> (String, bool) {
        escalate_by_time(room).await.unwrap();
        let row = room.db.alert(id).await.unwrap().unwrap();
        (row.state, row.escalated_ms.is_some())
    }

    #[tokio::test]
    async fn the_end_of_the_duty_day_keeps_nothing_from_going_up() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let now = utc_now().0;
        let before_eight = room.zone.duty_began(UtcMillis(now)).0 - 1;
        // Its time was over when the day ended, or is over now.
        add(&room, "over", 3, before_eight.min(now - 3_600_000), 0).await;
        assert_eq!(after_a_second(&room, "over").await, ("new".into(), true), "it goes up first");
        assert_eq!(after_a_second(&room, "over").await, ("unseen".into(), true), "then it is counted");
        // An event of yesterday that came a moment ago, or was opened again.
        add(&room, "again", 4, now, 0).await;
        assert_eq!(after_a_second(&room, "again").await, ("new".into(), false));
        // What came late is counted when the day in which it came is over.
        add(&room, "late", 4, before_eight, 1).await;
        add(&room, "late today", 4, now, 1).await;
        assert_eq!(after_a_second(&room, "late").await, ("unseen".into(), false));
        assert_eq!(after_a_second(&room, "late today").await, ("new".into(), false));
    }

    #[tokio::test]
    async fn nobody_ends_an_alert_knowing_something_else_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let user = |name: &str| User { name: name.into(), ..crate::desk::access::tests::user() };
        let dismiss = Step::Dismiss { reason: "test".into(), note: String::new() };
        let known = async || {
            let row = room.db.alert("E1").await.unwrap().unwrap();
            facts(&row, &parsed(&row.body))
        };
        let ends = async |who: &str, known: &str| match alert_step(&room, &user(who), "E1", &dismiss, Some(known)).await
        {
            Ok(row) => row.state,
            Err(DutyError::Db(DbError::Changed(_))) => "changed".into(),
            Err(error) => panic!("{error}"),
        };
        add(&room, "E1", 4, utc_now().0, 0).await;
        let seen = known().await;
        let answer =
            "UPDATE alert SET body = REPLACE(body, '\"answer\":\"no\"', '\"answer\":\"unknown\"'), revision = 2";
        sqlx::query(answer).execute(&room.db.pool).await.unwrap();
        assert_eq!((ends("an", &seen).await, ends("an", "").await), ("changed".into(), "changed".into()));
        let seen = known().await;
        let picture = "UPDATE alert SET body = REPLACE(body, 'truck', 'car'), revision = 3";
        sqlx::query(picture).execute(&room.db.pool).await.unwrap();
        assert_eq!(ends("an", &seen).await, "acked", "asked for; a new picture is nothing");
        // Who thought that he was the first to ask would have agreed.
        assert_eq!(ends("binh", &seen).await, "changed");
        assert_eq!(ends("binh", &known().await).await, "closed");
    }

    #[tokio::test]
    async fn a_tip_that_is_issued_ends_no_alert_that_became_graver_since_its_draft() {
        use crate::desk::tip::Step as TipStep;
        use crate::desk::tips_duty::{self, Draft};
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let user = crate::desk::access::tests::user();
        let leader = User { role: crate::desk::access::Role::Supervisor, ..user.clone() };
        add(&room, "E1", 2, utc_now().0, 0).await;
        let draft = Draft {
            office: "15BB".into(),
            containers: "CSQU3054383".into(),
            due_ms: Some(utc_now().0),
            ..Draft::default()
        };
        let tip = tips_duty::create(&room, &user, draft, Some("E1")).await.unwrap();
        let mut tx = room.db.write().await.unwrap();
        let mut row = tx.alert("E1").await.unwrap().unwrap();
        let graver = Step::News { severity: 4, matters: true, of_tip: false };
        let (core, _) = alert::step(&row.core(), &graver, "", utc_now().0).unwrap().unwrap();
        row.set_core(&core);
        tx.change_alert(&row).await.unwrap();
        tx.commit().await.unwrap();
        tips_duty::step(&room, &leader, &tip.id, tip.version, TipStep::Issue).await.unwrap();
        let row = room.db.alert("E1").await.unwrap().unwrap();
        assert_eq!((row.state.as_str(), row.outcome, row.severity), ("new", None, 4));
    }

    #[tokio::test]
    async fn a_draft_leaves_the_alert_open_until_its_tip_is_issued() {
        use crate::desk::tip::Step as TipStep;
        use crate::desk::tips_duty::{self, Draft};
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        add(&room, "E1", 4, utc_now().0, 0).await;
        let draft = Draft {
            office: "15BB".into(),
            containers: "CSQU3054383".into(),
            subject: "Xe ra cổng".into(),
            suspicion: "unreleased".into(),
            due_ms: Some(utc_now().0),
            ..Draft::default()
        };
        let user = |name: &str| User { name: name.into(), ..crate::desk::access::tests::user() };
        let tip = tips_duty::create(&room, &user("an"), draft, Some("E1")).await.unwrap();
        let row = room.db.alert("E1").await.unwrap().unwrap();
        assert_eq!((row.state.as_str(), row.outcome), ("acked", None));
        // The leader of the unit that issues it need not see the office of the alert.
        let (role, scope) = (crate::desk::access::Role::ShiftLeader, crate::desk::db::Scope::parse(&tip.unit));
        let leader = User { role, scope, ..user("binh") };
        tips_duty::step(&room, &leader, &tip.id, tip.version, TipStep::Issue).await.unwrap();
        let row = room.db.alert("E1").await.unwrap().unwrap();
        assert_eq!((row.state.as_str(), row.outcome.as_deref()), ("closed", Some("tip")));
        let said = "SELECT account || ' ' || action || ' ' || office FROM audit WHERE object = 'E1' ORDER BY seq";
        let said: Vec<String> = sqlx::query_scalar(said).fetch_all(&room.db.pool).await.unwrap();
        assert_eq!(said, ["an alert.tip_draft 15BB", "binh alert.tip 15BB"]);
    }

    #[test]
    fn what_came_minutes_before_the_end_of_the_day_goes_up_in_its_time() {
        let body = message::tests::body("E1", 1, 1, 3);
        let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        let zone = crate::event::zone::Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let eight = zone.duty_began(UtcMillis(m.at_ms)).0;
        let minutes = |n: i64| eight + n * 60_000;
        let row = AlertRow { opened_ms: minutes(-8), ..message::alert(&m, &zone, minutes(-8), 60_000) };
        let at = |n: i64, row: &AlertRow| {
            due(row, Limits { before: minutes(n - 10), critical: minutes(n - 2), began: eight })
        };
        assert_eq!((at(0, &row), at(1, &row), at(2, &row)), (None, None, Some(Step::EscalateByTime)));
        let critical = AlertRow { severity: 4, opened_ms: minutes(-1), ..row.clone() };
        assert_eq!((at(0, &critical), at(1, &critical)), (None, Some(Step::EscalateByTime)));
        let up = AlertRow { escalated_ms: Some(minutes(2)), ..row };
        assert_eq!(at(3, &up), Some(Step::EndOfDay));
    }
}
