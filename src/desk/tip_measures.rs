//! What is asked for and done about a tip, one transaction each: measures with their outcome, stops of its goods at the exit, and
//! the release of the holds that it placed. Stops and releases are orders to boxes (`orders.rs`). The tip's own steps are in
//! `tips_duty.rs`.

use serde_json::Value;

use super::access::User;
use super::db::measures::Measure;
use super::db::tips::{Answer, TipRow};
use super::duty::DutyError;
use super::message::text;
use super::orders::{self, Stop};
use super::room::{Room, new_id};
use super::tip::{self, State};
use super::tips_duty::{may_step, read, record, worked_on};
use crate::clock::utc_now;

fn refused<T>(key: &'static str) -> Result<T, DutyError> {
    Err(DutyError::Refused(key))
}

/// A measure that is taken or asked for; only while the tip is worked on. A stop goes to the boxes of the office.
pub(crate) async fn begin(room: &Room, user: &User, id: &str, action: &str, note: &str) -> Result<(), DutyError> {
    if !tip::MEASURES.contains(&action) {
        return refused("refusal.kind");
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    let measure = Measure {
        id: new_id(now),
        tip_id: id.into(),
        action: action.into(),
        note: note.into(),
        account: user.name.clone(),
        at_ms: now,
        done_by: None,
        done_ms: None,
        outcome: String::new(),
    };
    match action {
        "comment" => {}
        "stop" if tx.stands(id).await?.is_some() => return refused("refusal.stopped"),
        "stop" => {
            let stop = stop_of(&tip, &measure)?;
            orders::stop(room, &mut tx, &user.name, (id, &tip.office), stop).await?;
            tx.add_measure(&measure).await?;
        }
        _ => tx.add_measure(&measure).await?,
    }
    record(&mut tx, user, &tip, action, note, now).await?;
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// A measure is done, with what came of it; a stop is lifted so, for a reason.
pub(crate) async fn done(room: &Room, user: &User, id: &str, measure: &str, outcome: &str) -> Result<(), DutyError> {
    if outcome.is_empty() {
        return refused(tip::Refusal::NeedsText.key());
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = worked_on(&mut tx, user, id).await?;
    let mut measure = tx.measure(id, measure).await?.ok_or(DutyError::NotFound)?;
    (measure.done_by, measure.done_ms) = (Some(user.name.clone()), Some(now));
    outcome.clone_into(&mut measure.outcome);
    if !tx.measure_done(&measure).await? {
        return refused("refusal.done");
    }
    if measure.action == "stop" {
        let stop = stop_of(&tip, &measure)?;
        orders::stop(room, &mut tx, &user.name, (id, &tip.office), stop).await?;
        record(&mut tx, user, &tip, "release", outcome, now).await?;
    } else {
        record(&mut tx, user, &tip, "done", &format!("{} {outcome}", measure.action), now).await?;
    }
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// Tells the stops that stand to boxes that their offices have since: another exit, or a box in the place of a broken one, be it by
/// the same name.
pub(crate) async fn tell_new_boxes(room: &Room) -> Result<(), DutyError> {
    let untold = room.db.untold_stops().await?;
    if untold.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for (tip, measure, box_id) in untold {
        let found = tx.tip(&tip).await?.zip(tx.measure(&tip, &measure).await?);
        // Unless somebody has lifted it in this moment.
        if let Some((tip, measure)) = found.filter(|(_, m)| m.done_ms.is_none()) {
            let stop = stop_of(&tip, &measure)?;
            orders::stop_at(room, &mut tx, &measure.account, &tip.id, (&tip.office, &box_id), stop).await?;
        }
    }
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// What boxes have to know of a stop: that it stands, or that it is lifted.
fn stop_of(tip: &TipRow, measure: &Measure) -> Result<Stop, DutyError> {
    let Some(decl_key) = tip.decl_key.clone() else { return refused("refusal.stop_decl") };
    let note = if measure.done_ms.is_some() { &measure.outcome } else { &measure.note };
    Ok(Stop { id: measure.stop_id(), decl_key, from_ms: measure.at_ms, to_ms: measure.done_ms, note: note.clone() })
}

/// Gives a hold free that a box placed for this tip, once the tip is no longer worked on. `source`: the box, as it calls itself.
pub(crate) async fn release(
    room: &Room,
    user: &User,
    id: &str,
    (source, hold): (&str, &str),
    note: &str,
) -> Result<(), DutyError> {
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let tip = read(&mut tx, user, id).await?;
    if !may_step(user, &tip, "release_hold") {
        return refused("refusal.not_unit");
    }
    if State::parse(&tip.state).is_none_or(State::is_open) {
        return refused("refusal.release_open");
    }
    let named =
        tx.answers(id).await?.iter().filter(|a| a.source == source).any(|a| holds_of(a).iter().any(|h| h == hold));
    let place = source.strip_prefix("/office/").and_then(|s| s.split_once("/box/")).filter(|_| named);
    let place = place.ok_or(DutyError::NotFound)?;
    orders::release_for_tip(room, &mut tx, user, id, place, hold, note).await?;
    record(&mut tx, user, &tip, "release_hold", &format!("{} {hold} {note}", place.1), now).await?;
    tx.commit().await?;
    room.outgoing.notify_one();
    Ok(())
}

/// Holds that a box's answer names.
fn holds_of(answer: &Answer) -> Vec<String> {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let ranges = body.pointer("/data/ranges").and_then(Value::as_array);
    ranges.into_iter().flatten().filter_map(|r| text(r, "/hold_id")).collect()
}
