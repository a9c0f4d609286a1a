//! What people decide about tips, in one transaction each: the step, its history, its audit, and the message to the boxes
//! of the office. Which steps there are is in `tip.rs`, which roles take them in `access.rs`; here is whose tip it is: the
//! unit that issued it leads and settles, the office that it went to receives, checks and reports. Measures, stops and holds
//! are in `tip_measures.rs`.

use serde_json::json;

use super::access::{Need, User};
use super::alert::Step as AlertStep;
use super::db::audit::{self, Act};
use super::db::outgoing::Outgoing;
use super::db::tips::{Sample, TipRow};
use super::db::{DbError, Tx, indexed};
use super::duty::{self, DutyError};
use super::orders::MAX_REASON;
use super::room::{Room, new_id};
use super::tip::{self, Call, Facts, Money, State, Step};
use crate::clock::{UtcMillis, utc_now};
use crate::customs::tip::{MAX_BARE_MS, Tip};

/// What somebody writes into a draft.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    /// That issues it, where somebody chose; a tip keeps it, since its number begins with it.
    pub unit: String,
    pub office: String,
    pub decl_key: Option<String>,
    pub containers: String,
    pub plates: String,
    pub subject: String,
    pub suspicion: String,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub due_ms: Option<i64>,
}

impl Draft {
    /// What it makes other than it is, for the audit.
    fn changes(&self, tip: &TipRow) -> String {
        let time = |ms: Option<i64>| ms.map_or_else(String::new, |ms| UtcMillis(ms).to_rfc3339());
        let key = |key: &Option<String>| key.clone().unwrap_or_default();
        audit::changes(&[
            ("office", tip.office.clone(), self.office.clone()),
            ("decl", key(&tip.decl_key), key(&self.decl_key)),
            ("containers", tip.containers.clone(), self.containers.clone()),
            ("plates", tip.plates.clone(), self.plates.clone()),
            ("subject", tip.subject.clone(), self.subject.clone()),
            ("suspicion", tip.suspicion.clone(), self.suspicion.clone()),
            ("from", time(tip.from_ms), time(self.from_ms)),
            ("to", time(tip.to_ms), time(self.to_ms)),
            ("due", time(tip.due_ms), time(self.due_ms)),
        ])
    }

    fn fill(self, tip: &mut TipRow) {
        tip.search = indexed(
            &[&tip.number, &self.office, &self.containers, &self.plates, &self.subject].map(String::as_str).join(" "),
        );
        if let Some(key) = &self.decl_key {
            tip.search.push(' ');
            tip.search.push_str(key);
        }
        tip.office = self.office;
        tip.decl_key = self.decl_key;
        tip.containers = self.containers;
        tip.plates = self.plates;
        tip.subject = self.subject;
        tip.suspicion = self.suspicion;
        (tip.from_ms, tip.to_ms, tip.due_ms) = (self.from_ms, self.to_ms, self.due_ms);
    }
}

/// Writes a draft, from an alert or blank. The alert it comes from is taken on; only a tip that is issued ends it.
pub(crate) async fn create(
    room: &Room,
    user: &User,
    draft: Draft,
    alert_id: Option<&str>,
) -> Result<TipRow, DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let unit = &unit_of(room, user, &draft.unit)?;
    let year = room.zone.duty_day(UtcMillis(now)).split('-').next().unwrap_or("0000").to_owned();
    let serial = tx.next(&format!("tip {unit} {year}")).await?;
    let mut tip = blank(new_id(now), format!("{unit}/{year}/{serial:05}"), unit, &user.name, now);
    let changes = draft.changes(&tip);
    draft.fill(&mut tip);
    within(user, &tip)?;
    tip.alert_id = alert_id.map(str::to_owned);
    if let Some(id) = alert_id {
        let found = tx.alert(id).await?.filter(|a| user.scope.holds(&a.office));
        let mut alert = found.ok_or(DutyError::NotFound)?;
        duty::take(&mut tx, user, &mut alert, &AlertStep::Draft { number: tip.number.clone() }, now).await?;
    }
    tx.add_tip(&tip).await?;
    told(&mut tx, user, &tip, "create", ("", &changes), now).await?;
    tx.commit().await?;
    room.hub.nudge();
    Ok(tip)
}

/// The unit that issues what somebody drafts: the one that he chose among his own, or the desk's.
fn unit_of(room: &Room, user: &User, chosen: &str) -> Result<String, DutyError> {
    match units(room, user) {
        all if chosen.is_empty() => Ok(all.into_iter().next().unwrap_or_else(|| room.config.desk.unit.clone())),
        all if all.iter().any(|u| u == chosen) => Ok(chosen.to_owned()),
        _ => Err(DutyError::Refused("refusal.unit")),
    }
}

/// Units that somebody drafts for; the desk's own where none of his offices issues here.
pub(crate) fn units(room: &Room, user: &User) -> Vec<String> {
    let desk = &room.config.desk;
    let all = [&desk.unit].into_iter().chain(&desk.units);
    let mine: Vec<String> = all.filter(|u| user.scope.holds(u)).cloned().collect();
    if mine.is_empty() { vec![desk.unit.clone()] } else { mine }
}

fn blank(id: String, number: String, unit: &str, by: &str, now: i64) -> TipRow {
    TipRow {
        id,
        number,
        unit: unit.into(),
        office: String::new(),
        alert_id: None,
        decl_key: None,
        containers: String::new(),
        plates: String::new(),
        subject: String::new(),
        suspicion: String::new(),
        from_ms: None,
        to_ms: None,
        due_ms: None,
        state: State::Draft.as_str().into(),
        version: 1,
        created_by: by.into(),
        created_ms: now,
        issued_ms: None,
        received_ms: None,
        reported_ms: None,
        settled_ms: None,
        closed_ms: None,
        result: None,
        result_text: String::new(),
        basis: String::new(),
        no_amount: 0,
        merged_into: None,
        search: String::new(),
    }
}

/// The alert that a tip was raised from ends when the tip is issued, unless it is new again since, whichever offices the leader sees who issues it.
async fn end_alert(tx: &mut Tx, user: &User, tip: &TipRow, now: i64) -> Result<(), DutyError> {
    let Some(id) = &tip.alert_id else { return Ok(()) };
    let Some(mut alert) = tx.alert(id).await? else { return Ok(()) };
    duty::take(tx, user, &mut alert, &AlertStep::Tip { number: tip.number.clone() }, now).await.map(drop)
}

/// History and audit of one act.
pub(super) async fn record(
    tx: &mut Tx,
    user: &User,
    tip: &TipRow,
    action: &str,
    note: &str,
    now: i64,
) -> Result<(), DutyError> {
    told(tx, user, tip, action, (note, note), now).await
}

/// History and audit, where the audit says more than the history: note and detail.
async fn told(
    tx: &mut Tx,
    user: &User,
    tip: &TipRow,
    action: &str,
    (note, detail): (&str, &str),
    now: i64,
) -> Result<(), DutyError> {
    tx.add_tip_action(&new_id(now), &tip.id, now, &user.name, action, note).await?;
    let (act, object) = (format!("tip.{action}"), format!("tip {}", tip.number));
    let act = Act { account: &user.name, office: &tip.office, action: &act, object: &object, detail };
    Ok(tx.audit(act).await?)
}

/// Whether somebody sees a tip: his offices check it or issued it.
pub(crate) fn is_seen(user: &User, tip: &TipRow) -> bool {
    user.scope.holds(&tip.office) || user.scope.holds(&tip.unit)
}

/// Whether the step of that name is his to take: the checked office does not judge itself, and the unit that suspects does
/// not report for it.
pub(crate) fn may_step(user: &User, tip: &TipRow, step: &str) -> bool {
    let (need, whose) = if tip::is_work(step) { (Need::WorkTips, &tip.office) } else { (Need::IssueTips, &tip.unit) };
    user.role.may(need) && user.scope.holds(whose)
}

/// Whether somebody enters measures, samples and money: who checks, or a leader of the unit that asked.
fn may_enter(user: &User, tip: &TipRow) -> bool {
    let checks = user.role.may(Need::WorkTips) && user.scope.holds(&tip.office);
    checks || (user.role.may(Need::IssueTips) && user.scope.holds(&tip.unit))
}

/// Issued, and not withdrawn.
fn is_worked_on(tip: &TipRow) -> bool {
    State::parse(&tip.state).is_some_and(|s| !matches!(s, State::Draft | State::Cancelled | State::Merged))
}

/// Whether the page offers him to enter something.
pub(crate) fn enters(user: &User, tip: &TipRow) -> bool {
    may_enter(user, tip) && is_worked_on(tip)
}

/// A draft for an office that is not his would vanish from his sight.
fn within(user: &User, tip: &TipRow) -> Result<(), DutyError> {
    if is_seen(user, tip) { Ok(()) } else { Err(DutyError::Refused("refusal.office_scope")) }
}

pub(super) async fn read(tx: &mut Tx, user: &User, id: &str) -> Result<TipRow, DutyError> {
    tx.tip(id).await?.filter(|t| is_seen(user, t)).ok_or(DutyError::NotFound)
}

/// Whoever decides has this version before him: what others decided since is not overwritten unseen.
fn unchanged(tip: &TipRow, version: i64) -> Result<(), DbError> {
    if tip.version == version { Ok(()) } else { Err(DbError::Changed(format!("tip {}", tip.number))) }
}

/// Changes a draft. `version`: of the draft that the person changes.
pub(crate) async fn edit(room: &Room, user: &User, id: &str, version: i64, draft: Draft) -> Result<TipRow, DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let mut tip = read(&mut tx, user, id).await?;
    if tip.state != State::Draft.as_str() {
        return Err(DutyError::Refused(tip::Refusal::WrongState.key()));
    }
    unchanged(&tip, version)?;
    let changes = draft.changes(&tip);
    draft.fill(&mut tip);
    within(user, &tip)?;
    tx.change_tip(&tip).await?;
    told(&mut tx, user, &tip, "edit", ("", &changes), now).await?;
    tx.commit().await?;
    Ok(tip)
}

/// Takes a step. `version`: of the tip that the person decides about.
pub(crate) async fn step(room: &Room, user: &User, id: &str, version: i64, step: Step) -> Result<TipRow, DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let mut tip = read(&mut tx, user, id).await?;
    if !may_step(user, &tip, step.name()) {
        return Err(DutyError::Refused(if tip::is_work(step.name()) {
            "refusal.not_office"
        } else {
            "refusal.not_unit"
        }));
    }
    unchanged(&tip, version)?;
    let facts = facts(&mut tx, user, &tip).await?;
    let state = State::parse(&tip.state).ok_or(DutyError::NotFound)?;
    let next = tip::step(state, &step, &facts).map_err(|r| DutyError::Refused(r.key()))?;
    next.as_str().clone_into(&mut tip.state);
    let note = apply(&mut tip, &step, now);
    if let Step::Merge { into } = &step {
        let stays = stays(&mut tx, user, &tip, into).await?;
        record(&mut tx, user, &stays, "merged_in", &tip.number, now).await?;
        tip.merged_into = Some(stays.id);
    }
    tx.change_tip(&tip).await?;
    tip.version += 1;
    tx.tip_calls(&tip.id, Call::after(&step), &user.name).await?;
    record(&mut tx, user, &tip, step.name(), &note, now).await?;
    if step == Step::Issue {
        end_alert(&mut tx, user, &tip, now).await?;
    }
    if let Some(message) = to_boxes(room, &tip, now) {
        // Nobody hears of it where a box cannot read a container or a plate: it takes none of the tip then.
        if step == Step::Issue && Tip::from_json(message.payload.as_bytes()).is_err() {
            return Err(DutyError::Refused("refusal.box_form"));
        }
        tx.publish(&message).await?;
    }
    tx.commit().await?;
    room.outgoing.notify_one();
    room.hub.nudge();
    Ok(tip)
}

/// The tip that another one is merged into, as it stands in this transaction: one that is worked on, of a unit that he leads.
/// So two are never merged into each other, nor one into what ended meanwhile.
async fn stays(tx: &mut Tx, user: &User, tip: &TipRow, number: &str) -> Result<TipRow, DutyError> {
    let open = |t: &TipRow| State::parse(&t.state).is_some_and(|s| s.is_open() && s != State::Draft);
    let fits = |t: &TipRow| t.id != tip.id && user.scope.holds(&t.unit) && open(t);
    tx.tip_by_number(number).await?.filter(fits).ok_or(DutyError::Refused("refusal.merge"))
}

async fn facts(tx: &mut Tx, user: &User, tip: &TipRow) -> Result<Facts, DutyError> {
    let named = tip.decl_key.is_some() || !tip.containers.is_empty() || !tip.plates.is_empty();
    let span = tip.from_ms.zip(tip.to_ms).map(|(from, to)| to - from);
    Ok(Facts {
        has_object: named || span.is_some_and(|ms| ms > 0 && ms <= MAX_BARE_MS),
        has_office: super::config::is_office(&tip.office),
        has_due: tip.due_ms.is_some(),
        has_money: tx.money(&tip.id).await?.iter().map(|m| m.amount_vnd).sum::<i64>() != 0,
        is_stopped: tx.stands(&tip.id).await?.is_some(),
        is_reporter: tx.reporter(&tip.id).await?.as_deref() == Some(&user.name),
    })
}

/// What the step leaves on the tip; returns the words for the history.
fn apply(tip: &mut TipRow, step: &Step, now: i64) -> String {
    match step {
        Step::Issue => tip.issued_ms = Some(now),
        Step::Receive => tip.received_ms = Some(now),
        Step::Start => {}
        Step::Report { text } => {
            tip.reported_ms = Some(now);
            tip.result_text.clone_from(text);
            return text.clone();
        }
        Step::Settle { result, text, basis, no_amount } => {
            tip.settled_ms = Some(now);
            tip.result = Some(result.clone());
            if !text.is_empty() {
                tip.result_text.clone_from(text);
            }
            tip.basis.clone_from(basis);
            tip.no_amount = i64::from(*no_amount);
            return format!("{result} {basis}");
        }
        Step::Reopen { reason } => {
            (tip.settled_ms, tip.result) = (None, None);
            return reason.clone();
        }
        Step::Return { reason } => return reason.clone(),
        Step::Cancel { reason } => {
            tip.closed_ms = Some(now);
            return reason.clone();
        }
        Step::Merge { into } => {
            tip.closed_ms = Some(now);
            return into.clone();
        }
    }
    String::new()
}

/// The message to all boxes of the office, once the tip is issued: they look back, watch and hold footage, until it is
/// settled or withdrawn. Its form is the one of `in/tip`.
fn to_boxes(room: &Room, tip: &TipRow, now: i64) -> Option<Outgoing> {
    let issued = tip.issued_ms?;
    let state = match State::parse(&tip.state)? {
        State::Settled => "settled",
        State::Cancelled | State::Merged => "withdrawn",
        _ => "open",
    };
    let list =
        |text: &str| text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let mut body = json!({
        "id": tip.id, "version": tip.version, "issued_at": UtcMillis(issued).to_rfc3339(), "state": state,
        "reason": format!("{}: {}", tip.number, tip.subject).chars().take(MAX_REASON).collect::<String>(),
    });
    let mut put = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            body[key] = value;
        }
    };
    put("decl_no", tip.decl_key.clone().map(Into::into));
    put("containers", Some(list(&tip.containers)).filter(|l| !l.is_empty()).map(Into::into));
    put("plates", Some(list(&tip.plates)).filter(|l| !l.is_empty()).map(Into::into));
    put("from", tip.from_ms.map(|ms| UtcMillis(ms).to_rfc3339().into()));
    put("to", tip.to_ms.map(|ms| UtcMillis(ms).to_rfc3339().into()));
    Some(Outgoing {
        id: new_id(now),
        topic: format!("{}/{}/in/tip", room.prefix, tip.office),
        payload: body.to_string(),
        reply_topic: String::new(),
        correlation: String::new(),
    })
}

/// Samples, measures and files belong to a tip that was issued and is not withdrawn.
pub(super) async fn worked_on(tx: &mut Tx, user: &User, id: &str) -> Result<TipRow, DutyError> {
    let tip = read(tx, user, id).await?;
    if !may_enter(user, &tip) {
        return Err(DutyError::Refused("refusal.not_office"));
    }
    if is_worked_on(&tip) { Ok(tip) } else { Err(DutyError::Refused(tip::Refusal::WrongState.key())) }
}

/// A sample that was taken.
pub(crate) async fn sample(room: &Room, user: &User, id: &str, mut sample: Sample) -> Result<(), DutyError> {
    if sample.code.is_empty() {
        return Err(DutyError::Refused(tip::Refusal::NeedsText.key()));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    sample.id = new_id(now);
    tx.add_sample(id, &sample).await?;
    record(&mut tx, user, &tip, "sample", &format!("{} {} {}", sample.code, sample.seal, sample.lab), now).await?;
    Ok(tx.commit().await?)
}

/// What the laboratory found.
pub(crate) async fn sample_result(
    room: &Room,
    user: &User,
    id: &str,
    sample: &str,
    result: &str,
) -> Result<(), DutyError> {
    if result.is_empty() {
        return Err(DutyError::Refused(tip::Refusal::NeedsText.key()));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    if !tx.sample_result(id, sample, result, now).await? {
        return Err(DutyError::Refused("refusal.done"));
    }
    record(&mut tx, user, &tip, "sample_result", result, now).await?;
    Ok(tx.commit().await?)
}

/// A money line, also after the settlement: money arrives late.
pub(crate) async fn money(room: &Room, user: &User, id: &str, mut line: Money) -> Result<(), DutyError> {
    if !tip::MONEY.contains(&line.kind.as_str()) {
        return Err(DutyError::Refused("refusal.kind"));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    (line.at_ms, line.account) = (now, user.name.clone());
    let there = tx.money(id).await?;
    let what = |m: &Money| (m.kind.clone(), m.amount_vnd, m.decision.clone(), m.decl_key.clone());
    match there.iter().find(|m| m.id == line.id) {
        // The same form again: pressed twice, or sent anew by the browser.
        Some(before) if what(before) == what(&line) => return Ok(()),
        Some(_) => line.id = new_id(now),
        None if ulid::Ulid::from_string(&line.id).is_err() => line.id = new_id(now),
        None => {}
    }
    tx.add_money(id, &line).await?;
    let note = format!("{} {} {}", line.kind, line.amount_vnd, line.decision);
    record(&mut tx, user, &tip, "money", &note, now).await?;
    Ok(tx.commit().await?)
}

/// Takes a money line back with one of the opposite amount; nothing is overwritten.
pub(crate) async fn reverse(room: &Room, user: &User, id: &str, entry: &str, note: &str) -> Result<(), DutyError> {
    if note.is_empty() {
        return Err(DutyError::Refused(tip::Refusal::NeedsReason.key()));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    let all = tx.money(id).await?;
    let found = all.iter().find(|m| m.id == entry).ok_or(DutyError::NotFound)?;
    let amount_vnd = tip::reversal(found, &all).map_err(|r| DutyError::Refused(r.key()))?;
    let line = Money {
        id: new_id(now),
        amount_vnd,
        at_ms: now,
        account: user.name.clone(),
        reverses: Some(found.id.clone()),
        ..found.clone()
    };
    tx.add_money(id, &line).await?;
    record(&mut tx, user, &tip, "reverse", &format!("{} {amount_vnd} {note}", line.kind), now).await?;
    Ok(tx.commit().await?)
}
