//! Shifts: who is on duty when and with what focus, and the hand-over from one leader to the next: everything that is open
//! is listed at the moment the one who leaves signs, and the one who comes signs the very same list, or sends it back with
//! a reason. One transaction each, with its audit.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::{Role, User};
use super::db::audit::Act;
use super::db::places::BoxRow;
use super::db::shifts::{HandoverRow, Member, ShiftRow};
use super::db::tips::Wanted;
use super::db::{Db, DbError, Scope, Tx};
use super::duty::DutyError;
use super::message::text;
use super::room::{Room, digest, new_id};
use crate::clock::utc_now;

/// What somebody does on a shift.
pub(crate) const DUTIES: [&str; 9] =
    ["deputy", "camera", "reporting", "files", "goods", "inspection", "drug_scanner", "boat", "night"];
/// Alerts listed in a hand-over; all are counted.
const LISTED: i64 = 300;
/// Members of a shift at most.
pub(crate) const MAX_MEMBERS: usize = 12;

/// What somebody writes into a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub duty_day: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub leader: String,
    pub focus: String,
    pub members: Vec<Member>,
}

/// Something that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// `alert`, `tip`, `stop`, `hold`, `box`, `camera`, `missing`, `chain`.
    pub kind: String,
    /// For the link.
    pub id: String,
    pub office: String,
    /// Rule, number, state: by kind.
    pub what: String,
    /// Since when, or when it happened.
    pub at_ms: i64,
    /// Of an alert; 0 for others.
    pub severity: i64,
}

/// What is open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    /// How many of each kind, also of those that are not listed.
    pub counts: BTreeMap<String, i64>,
    pub items: Vec<Item>,
}

/// Where a hand-over of a shift stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody signed, or it was sent back.
    Running,
    /// The one who leaves signed.
    Given,
    /// Both signed.
    Taken,
}

/// What the hand-overs of a shift, oldest first, come to.
pub(crate) fn standing(handovers: &[HandoverRow]) -> Standing {
    match handovers.last() {
        Some(h) if h.refused == 0 && h.taken_ms.is_some() => Standing::Taken,
        Some(h) if h.taken_ms.is_none() => Standing::Given,
        _ => Standing::Running,
    }
}

/// Everything that is open now.
pub(crate) async fn open_items(db: &Db) -> Result<Open, DbError> {
    let all = Scope::all();
    let mut open = Open::default();
    for (id, office, rule, severity, at_ms) in db.alerts_to_hand_over(LISTED).await? {
        open.items.push(Item { kind: "alert".into(), id, office, what: rule, at_ms, severity });
    }
    let wanted = Wanted { view: "open".into(), limit: 1000, ..Wanted::default() };
    for t in db.tips(&all, &wanted).await? {
        let what = format!("{} {}", t.number, t.state);
        open.items.push(item("tip", t.id, t.office, what, t.issued_ms.unwrap_or(t.created_ms)));
    }
    for (office, tip, number, at_ms) in db.standing_stops().await? {
        open.items.push(item("stop", tip, office, number, at_ms));
    }
    for h in db.open_holds(&all).await? {
        // One that is about no alert is found on its camera's page.
        let id = h.alert_id.unwrap_or_else(|| format!("camera:{}/{}/{}", h.office, h.box_id, h.about));
        open.items.push(item("hold", id, h.office, format!("{} {}", h.box_id, h.about), h.at_ms));
    }
    devices(db, &all, &mut open).await?;
    for i in &open.items {
        *open.counts.entry(i.kind.clone()).or_default() += 1;
    }
    let alerts: i64 = db.alert_counts(&all).await?.iter().map(|(_, _, n)| n).sum();
    if alerts > 0 {
        open.counts.insert("alert".into(), alerts);
    }
    Ok(open)
}

fn item(kind: &str, id: String, office: String, what: String, at_ms: i64) -> Item {
    Item { kind: kind.into(), id, office, what, at_ms, severity: 0 }
}

async fn devices(db: &Db, all: &Scope, open: &mut Open) -> Result<(), DbError> {
    // Nobody waits for a box that is out of use, nor for its cameras.
    let mut used = HashSet::new();
    for b in db.boxes(all).await?.into_iter().filter(BoxRow::is_used) {
        if let Some(since) = b.is_away_since() {
            open.items.push(item("box", b.id.clone(), b.office.clone(), b.id.clone(), since));
        }
        used.insert((b.office, b.id));
    }
    let cameras = db.cameras(all).await?;
    for c in cameras.into_iter().filter(|c| used.contains(&(c.office.clone(), c.box_id.clone()))) {
        let body: Value = serde_json::from_str(&c.body).unwrap_or(Value::Null);
        let state = text(&body, "/state").unwrap_or_default();
        if state != "running" {
            open.items.push(item(
                "camera",
                c.box_id.clone(),
                c.office,
                format!("{} {} {state}", c.box_id, c.id),
                c.seen_ms,
            ));
        }
    }
    for m in db.missing(all).await? {
        let what = format!("{} {}", m.box_id, m.waiting + m.lost);
        open.items.push(item("missing", m.box_id, m.office, what, 0));
    }
    for c in db.chain_states(all).await?.into_iter().filter(|c| c.fault.is_some()) {
        let what = format!("{} {}", c.box_id, c.fault.unwrap_or_default());
        open.items.push(item("chain", c.box_id, c.office, what, c.fault_ms.unwrap_or(c.at_ms)));
    }
    Ok(())
}

/// What both sign: the list, the words and the shift, as one digest.
fn signed(shift: &str, items: &str, note: &str, by: &str, at_ms: i64) -> String {
    digest(serde_json::json!([shift, items, note, by, at_ms]).to_string())
}

/// Whether a hand-over still is what was signed.
pub(crate) fn is_whole(h: &HandoverRow) -> bool {
    signed(&h.shift_id, &h.items, &h.note, &h.given_by, h.given_ms) == h.sha256
}

async fn checked(db: &Db, plan: &Plan) -> Result<(), DutyError> {
    let refused = |key| Err(DutyError::Refused(key));
    if plan.to_ms <= plan.from_ms || plan.to_ms - plan.from_ms > 48 * 3_600_000 {
        return refused("refusal.shift_time");
    }
    let leads = |role: &str| matches!(Role::parse(role), Some(Role::ShiftLeader | Role::Supervisor));
    match db.account(&plan.leader).await? {
        Some(a) if a.disabled == 0 && leads(&a.role) => Ok(()),
        _ => refused("refusal.leader"),
    }
}

async fn audit(tx: &mut Tx, user: &User, action: &str, shift: &str, detail: &str) -> Result<(), DbError> {
    let object = format!("shift {shift}");
    tx.audit(Act { account: &user.name, office: "", action, object: &object, detail }).await
}

/// Writes a new shift into the roster.
pub(crate) async fn add(room: &Room, user: &User, plan: Plan) -> Result<String, DutyError> {
    checked(&room.db, &plan).await?;
    let now = utc_now().0;
    let row = ShiftRow {
        id: new_id(now),
        unit: room.config.desk.unit.clone(),
        duty_day: plan.duty_day,
        from_ms: plan.from_ms,
        to_ms: plan.to_ms,
        leader: plan.leader,
        focus: plan.focus,
        version: 1,
        created_by: user.name.clone(),
        created_ms: now,
    };
    let mut tx = room.db.write().await?;
    tx.add_shift(&row).await?;
    tx.set_members(&row.id, &plan.members).await?;
    let detail = format!("{} {} {}", row.duty_day, row.leader, names(&plan.members));
    audit(&mut tx, user, "shift.add", &row.id, &detail).await?;
    tx.commit().await?;
    Ok(row.id)
}

fn names(members: &[Member]) -> String {
    members.iter().map(|m| format!("{} ({})", m.name, m.duty)).collect::<Vec<_>>().join(", ")
}

/// Changes a shift that is not handed over. `version`: of the shift that the person changes.
pub(crate) async fn change(room: &Room, user: &User, id: &str, version: i64, plan: Plan) -> Result<(), DutyError> {
    checked(&room.db, &plan).await?;
    let mut tx = room.db.write().await?;
    let (mut row, before) = read(&mut tx, id).await?;
    if standing(&before) != Standing::Running {
        return Err(DutyError::Refused("refusal.handed_over"));
    }
    // Written only if it is still the one that was changed.
    row.version = version;
    (row.duty_day, row.from_ms, row.to_ms) = (plan.duty_day, plan.from_ms, plan.to_ms);
    (row.leader, row.focus) = (plan.leader, plan.focus);
    tx.change_shift(&row).await?;
    tx.set_members(id, &plan.members).await?;
    let detail = format!("{} {} {} {}", row.duty_day, row.leader, names(&plan.members), row.focus);
    audit(&mut tx, user, "shift.change", id, &detail).await?;
    Ok(tx.commit().await?)
}

async fn read(tx: &mut Tx, id: &str) -> Result<(ShiftRow, Vec<HandoverRow>), DutyError> {
    let row = tx.shift(id).await?.ok_or(DutyError::NotFound)?;
    let handovers = tx.handovers(id).await?;
    Ok((row, handovers))
}

/// The one who leaves signs what is open.
pub(crate) async fn give(room: &Room, user: &User, id: &str, note: &str) -> Result<(), DutyError> {
    let open = open_items(&room.db).await?;
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let (row, before) = read(&mut tx, id).await?;
    if row.leader != user.name && user.role != Role::Supervisor {
        return Err(DutyError::Refused("refusal.not_leader"));
    }
    if standing(&before) != Standing::Running {
        return Err(DutyError::Refused("refusal.handed_over"));
    }
    let items = serde_json::to_string(&open).unwrap_or_default();
    let handover = HandoverRow {
        id: new_id(now),
        shift_id: row.id,
        to_shift_id: None,
        sha256: signed(id, &items, note, &user.name, now),
        items,
        note: note.into(),
        given_by: user.name.clone(),
        given_ms: now,
        taken_by: None,
        taken_ms: None,
        taken_note: String::new(),
        refused: 0,
    };
    tx.add_handover(&handover).await?;
    audit(&mut tx, user, "shift.give", id, &handover.sha256).await?;
    Ok(tx.commit().await?)
}

/// The one who comes signs the same, or sends it back: not the one who signed, nor he whose shift it was. Of a shift that
/// is named, its leader signs, or a supervisor. `seen`: the hand-over that he has before him.
pub(crate) async fn take(
    room: &Room,
    user: &User,
    (id, seen): (&str, &str),
    to_shift: Option<&str>,
    note: &str,
    refuses: bool,
) -> Result<(), DutyError> {
    if refuses && note.is_empty() {
        return Err(DutyError::Refused("refusal.note"));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let (row, before) = read(&mut tx, id).await?;
    if standing(&before) != Standing::Given {
        return Err(DutyError::Refused("refusal.not_given"));
    }
    let mut handover = before.last().cloned().ok_or(DutyError::NotFound)?;
    // It was sent back and signed anew meanwhile: nobody signs a list that he has not read.
    if handover.id != seen {
        return Err(DbError::Changed("the hand-over".into()).into());
    }
    if handover.given_by == user.name || row.leader == user.name {
        return Err(DutyError::Refused("refusal.same_person"));
    }
    if let Some(to) = to_shift {
        let next = tx.shift(to).await?.filter(|s| s.id != id).ok_or(DutyError::NotFound)?;
        if next.leader != user.name && user.role != Role::Supervisor {
            return Err(DutyError::Refused("refusal.not_next_leader"));
        }
    }
    handover.to_shift_id = to_shift.map(str::to_owned).filter(|_| !refuses);
    (handover.taken_by, handover.taken_ms) = (Some(user.name.clone()), Some(now));
    (handover.taken_note, handover.refused) = (note.to_owned(), i64::from(refuses));
    tx.take_handover(&handover).await?;
    let action = if refuses { "shift.send_back" } else { "shift.take" };
    audit(&mut tx, user, action, id, format!("{} {note}", handover.sha256).trim()).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover(taken: Option<i64>, refused: i64) -> HandoverRow {
        let mut h = HandoverRow {
            id: "h".into(),
            shift_id: "s".into(),
            to_shift_id: None,
            items: "{}".into(),
            note: "n".into(),
            sha256: String::new(),
            given_by: "an".into(),
            given_ms: 5,
            taken_by: taken.map(|_| "binh".into()),
            taken_ms: taken,
            taken_note: String::new(),
            refused,
        };
        h.sha256 = signed("s", "{}", "n", "an", 5);
        h
    }

    #[test]
    fn a_shift_runs_until_somebody_took_over() {
        assert_eq!(standing(&[]), Standing::Running);
        assert_eq!(standing(&[handover(None, 0)]), Standing::Given);
        assert_eq!(standing(&[handover(Some(6), 1)]), Standing::Running);
        assert_eq!(standing(&[handover(Some(6), 1), handover(None, 0)]), Standing::Given);
        assert_eq!(standing(&[handover(Some(6), 1), handover(Some(7), 0)]), Standing::Taken);
    }

    #[test]
    fn what_was_signed_cannot_be_changed_unseen() {
        let mut h = handover(Some(6), 0);
        assert!(is_whole(&h));
        h.items = r#"{"items": []}"#.into();
        assert!(!is_whole(&h));
    }
}
