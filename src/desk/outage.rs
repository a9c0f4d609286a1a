//! Boxes that are away: each outage is one alert of the desk's own, raised when it has lasted long enough and ended when the
//! box is back. Whether a box is there its retained state says, which the broker turns when it loses the box; and where the
//! broker does not notice, the silence of a box that says every minute how it is. What is known of it: `db/outages.rs`.
//!
//! **Limits**
//! * A desk without its broker says nothing of boxes: its own link is the trouble then, and pages show that. Nor before it
//!   has had its broker for as long as a box may be away, so that it hears first what they say. A desk that stood still, or whose
//!   clock made a step, begins anew in the same way; what was noted by a clock that is ahead of it now, by more than clocks of
//!   workers differ, counts from there.
//! * Messages that are taken and not stored yet may be the sign that is missed: silence counts up to the oldest of them only.
//! * A box is heard by how it says it is, as it says it, and by all else that it says, of the time that it names: that may have waited at
//!   the broker, for hours or for a year. One that did not say how it is since it connected has no silence, and of one that was
//!   never heard nothing is told.
//! * Of one that does not say how it is any more and whose clock is behind by longer than a box may be silent, what it names is too old
//!   to show that it is there: it is told, once. What it says does not end that, but that it turns online after the broker lost it does.
//! * Of an office one outage sounds in a minute, and of a box one in ten: a line takes all boxes with it, and may flutter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::alert::Entry;
use super::db::alerts::AlertRow;
use super::db::outages::Presence;
use super::db::{DbError, Tx, within};
use super::room::{LEASE_MS, Room, digest, new_id};
use super::{duty, message};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};

/// How often the desk looks.
const EVERY: Duration = Duration::from_secs(2);
/// A look is over within this, or the next one begins.
const LOOKED_WITHIN: Duration = Duration::from_secs(120);
/// A box says how it is this often: so long it says nothing anyway.
const SAYS_EVERY_MS: i64 = 60_000;
/// Its last word before it went is not older than this, else it went at an unknown time between.
const EXACT_MS: i64 = 3 * SAYS_EVERY_MS;
/// Between two looks neither clock goes further, unless the desk stood still or its clock was set. Nor is another worker's clock
/// further ahead.
pub(super) const STEP_MS: i64 = 10_000;
/// It sounds, but of one office and of one box only so often.
const SEVERITY: i64 = 3;
const OFFICE_QUIET_MS: i64 = 60_000;
const BOX_QUIET_MS: i64 = 600_000;
/// Rule of these alerts.
pub(super) const RULE: &str = "box_away";

/// By what a look judges.
#[derive(Debug, Clone, Copy)]
struct Look {
    now: i64,
    /// All that came before this is stored.
    heard_to: i64,
    /// Since when the desk has its broker.
    linked_since: i64,
    /// How long a box may be offline before it is told.
    offline_ms: i64,
    /// How long it may say nothing.
    silent_ms: i64,
}

impl Look {
    fn new(room: &Room, linked_since: UtcMillis, now: i64) -> Self {
        let storing = room.storing.load(Ordering::Relaxed);
        let offline_ms = i64::from(room.config.alerts.box_away_after_s) * 1000;
        // That its own connection is gone a desk may know after so long only; until then all boxes are silent.
        let unknown_ms = 2 * 1000 * i64::from(room.config.mqtt.keep_alive_s);
        Self {
            now,
            heard_to: if storing > 0 { storing.min(now) } else { now },
            linked_since: linked_since.0,
            offline_ms,
            silent_ms: offline_ms.max(unknown_ms) + SAYS_EVERY_MS,
        }
    }

    /// Whether something is of a time to come, so that the clock was set back since. What was only just heard is not: another worker
    /// heard it by its own clock, or this look waited for its turn to write.
    fn is_ahead(self, at: i64) -> bool {
        at > self.now + STEP_MS
    }
}

/// What a look finds out about a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Away for long enough. `silent`: without the broker having noticed.
    Away { since: i64, silent: bool },
    /// Back: its first known sign since.
    Back { at: i64 },
    /// Nobody waits for it any more.
    Gone { at: i64 },
}

/// `listened`: whether the desk still hears the box's office.
fn turn(p: &Presence, listened: bool, look: Look) -> Option<Turn> {
    match (p.from_ms, p.gone_ms) {
        (Some(_), Some(at)) => Some(Turn::Gone { at }),
        (Some(_), None) if !listened => Some(Turn::Gone { at: look.now }),
        (Some(from), None) => back(p, from, look).map(|at| Turn::Back { at }),
        (None, None) if listened => away(p, look),
        (None, _) => None,
    }
}

/// Its own word after it went away, of the time that it names, or else that it turned online: its clock may be behind. That it is
/// online may have lain at the broker.
fn back(p: &Presence, from: i64, look: Look) -> Option<i64> {
    // It went by a clock that is set back since: what came after that counts.
    let from = if look.is_ahead(from) { look.linked_since } else { from };
    let since = |at: &i64| *at > from && !look.is_ahead(*at);
    let sign = p.heard_ms.filter(since).or(p.came_ms.filter(since));
    // What is so old that it would be told anew is no return.
    sign.filter(|_| p.online != 0 && away(p, look).is_none())
}

fn away(p: &Presence, look: Look) -> Option<Turn> {
    // Of a box that was never heard, it is known only that something of it lay at the broker.
    let heard = p.heard_ms?;
    let silent = p.online != 0;
    let reports = p.status_ms.is_some_and(|at| at >= p.changed_ms || look.is_ahead(p.changed_ms));
    if silent && !reports {
        return None;
    }
    // Not before it came: that would end what is told here at once.
    let signs = if silent { [Some(p.changed_ms), Some(heard), p.came_ms] } else { [Some(p.changed_ms), None, None] };
    let may = if silent { look.silent_ms } else { look.offline_ms };
    // A sign by a clock that was set back since counts from the link; it hides none by the clock of now.
    let signs = signs.into_iter().flatten();
    let since = signs.map(|at| if look.is_ahead(at) { look.linked_since } else { at }).max()?;
    let lasts = look.heard_to - since.max(look.linked_since);
    (lasts >= may).then_some(Turn::Away { since, silent })
}

/// Looks until the desk stops.
pub(crate) async fn watch(room: Arc<Room>) {
    let mut each = tokio::time::interval(EVERY);
    each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut link = room.connected.clone();
    let (mut linked_since, mut before) = (None, None);
    loop {
        each.tick().await;
        let now = (utc_now(), mono_now());
        let stepped = before.replace(now).is_some_and(|before| stepped(before, now));
        if stepped {
            tracing::warn!("the desk stood still or its clock was set: boxes are looked at anew");
        }
        let turned = link.has_changed().unwrap_or(false) || stepped;
        let there = *link.borrow_and_update();
        linked_since = linked(there, turned, linked_since, now.0);
        let Some(since) = linked_since else { continue };
        if let Err(error) = within(LOOKED_WITHIN, look_once(&room, since)).await {
            tracing::warn!(%error, "it cannot be looked which boxes are away");
        }
    }
}

/// Whether a clock went back or too far between two looks: what was said meanwhile was not heard yet, or by another time.
fn stepped(before: (UtcMillis, MonoMillis), now: (UtcMillis, MonoMillis)) -> bool {
    let (wall, mono) = (now.0.since(before.0), now.1.since(before.1));
    !(0..=STEP_MS).contains(&wall) || mono > STEP_MS
}

/// Since when there is a broker without a break.
fn linked(there: bool, turned: bool, before: Option<UtcMillis>, now: UtcMillis) -> Option<UtcMillis> {
    let before = before.filter(|_| !turned);
    there.then(|| before.unwrap_or(now))
}

async fn look_once(room: &Room, linked_since: UtcMillis) -> Result<(), DbError> {
    // Only who has the broker asks for it: who has none would hold it and hear nothing.
    let mqtt = &room.config.mqtt;
    if mqtt.share.is_some() && !room.db.lease("outages", &mqtt.client_id, utc_now().0, LEASE_MS).await? {
        return Ok(());
    }
    tell(room, Look::new(room, linked_since, utc_now().0)).await
}

/// Raises and ends what is due.
async fn tell(room: &Room, look: Look) -> Result<(), DbError> {
    // Another office's boxes may be known from before: nothing is heard of them any more.
    let offices = &room.config.mqtt.offices;
    let turn = |p: &Presence| turn(p, offices.is_empty() || offices.contains(&p.office), look);
    let mut due = room.db.presences().await?;
    due.retain(|p| turn(p).is_some());
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for known in due {
        // Read inside the transaction: it may have said something meanwhile, or another worker have told it.
        let Some(p) = tx.presence(&known.office, &known.box_id).await? else { continue };
        match (turn(&p), &p.alert_id) {
            (Some(Turn::Away { since, silent }), None) => begin(room, &mut tx, &p, since, silent, look.now).await?,
            (Some(Turn::Back { at }), Some(alert)) => end(&mut tx, &p, alert, ("box_back", at), look.now).await?,
            (Some(Turn::Gone { at }), Some(alert)) => end(&mut tx, &p, alert, ("box_gone", at), look.now).await?,
            _ => {}
        }
    }
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}

/// Whether a sound may be made now for a box of an office, after so long without one for the box.
async fn is_quiet(tx: &mut Tx, of: (&str, &str), box_quiet_ms: i64, now: i64) -> Result<bool, DbError> {
    Ok(!tx.outage_rang(of, (now - box_quiet_ms, now - OFFICE_QUIET_MS, now)).await?)
}

/// Whether an alert that goes up sounds: of outages, one of an office in a minute.
pub(super) async fn may_sound(tx: &mut Tx, row: &AlertRow, now: i64) -> Result<bool, DbError> {
    if row.rule != RULE {
        return Ok(true);
    }
    let quiet = is_quiet(tx, (&row.office, &row.box_id), OFFICE_QUIET_MS, now).await?;
    if quiet {
        tx.outage_rings(&row.id, now).await?;
    }
    Ok(quiet)
}

async fn begin(room: &Room, tx: &mut Tx, p: &Presence, since: i64, silent: bool, now: i64) -> Result<(), DbError> {
    let id = format!("away-{}", &digest(format!("{} {} {since} {now}", p.office, p.box_id))[..24]);
    tracing::error!(office = p.office, box_id = p.box_id, silent, away_ms = now - since, "a box is away");
    let at = UtcMillis(since).to_rfc3339();
    let last = p.heard_ms.filter(|heard| !silent && *heard < since);
    let body = json!({
        "specversion": "1.0", "id": id, "source": format!("/office/{}/box/{}", p.office, p.box_id),
        "type": format!("gatewatch.alert.{RULE}.v1"), "subject": "box", "time": UtcMillis(now).to_rfc3339(),
        "data": {"revision": 1, "phase": "new", "severity": SEVERITY, "office": p.office, "box": p.box_id, "at": at,
            "duty_day": room.zone.duty_day(UtcMillis(now)), "capture": {"start": at, "end": null},
            "away": {"why": if silent { "silent" } else { "offline" }, "last": last.map(|at| UtcMillis(at).to_rfc3339()),
                "exact": last.is_none_or(|last| since - last <= EXACT_MS)},
            "sequence": {"epoch": 0, "seq": 1, "historical": false}}
    });
    let sounds = is_quiet(tx, (&p.office, &p.box_id), BOX_QUIET_MS, now).await?;
    if !duty::raise(room, tx, (&p.office, &p.box_id), &body, sounds, now).await? {
        // Nobody was told: the next look tries again.
        return Ok(());
    }
    tx.begin_outage(p, &id, since, sounds.then_some(now)).await
}

/// The alert says that it is over and how long it lasted; what people decided about it stays, and somebody must look at it
/// still who did not.
async fn end(tx: &mut Tx, p: &Presence, alert: &str, (how, at): (&'static str, i64), now: i64) -> Result<(), DbError> {
    tx.end_outage(alert, at).await?;
    tracing::info!(office = p.office, box_id = p.box_id, how, "a box is away no more");
    let Some(mut row) = tx.alert(alert).await? else { return Ok(()) };
    let mut body: Value = message::parsed(&row.body);
    body["time"] = UtcMillis(now).to_rfc3339().into();
    body["data"]["revision"] = (row.revision + 1).into();
    body["data"]["phase"] = "end".into();
    body["data"]["capture"]["end"] = UtcMillis(at).to_rfc3339().into();
    body["data"]["away"]["gone"] = (how == "box_gone").into();
    // By a clock that was set back it would have lasted less than nothing.
    body["data"]["dwell_ms"] = (at - p.from_ms.unwrap_or(at)).max(0).into();
    match message::read(body.to_string().as_bytes(), &p.office, &p.box_id) {
        Ok(own) => {
            message::describe(&mut row, &own);
            tx.change_alert(&row).await?;
        }
        Err(why) => tracing::error!(alert, why, "the end of an outage cannot be written into its alert"),
    }
    let entry = Entry { action: how, reason: String::new(), note: String::new() };
    tx.add_alert_action(&new_id(now), alert, now, "", &entry).await?;
    tx.touch(alert, false).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::desk::db::Scope;
    use crate::desk::db::alerts::{AlertRow, Wanted};
    use crate::desk::ingest;
    use crate::mqtt::desk::Arrived;

    const NOW: i64 = 1_772_420_000_000;
    const LIMIT: i64 = 120_000;

    fn presence(online: i64, changed_ms: i64, heard_ms: Option<i64>) -> Presence {
        Presence {
            office: "15BB".into(),
            box_id: "gate-01".into(),
            online,
            changed_ms,
            heard_ms,
            came_ms: None,
            status_ms: Some(changed_ms),
            gone_ms: None,
            alert_id: None,
            from_ms: None,
        }
    }

    fn judged(p: &Presence, look: Look) -> Option<Turn> {
        turn(p, true, look)
    }

    fn at(heard_to: i64) -> Look {
        Look {
            now: heard_to,
            heard_to,
            linked_since: NOW - 3_600_000,
            offline_ms: LIMIT,
            silent_ms: LIMIT + SAYS_EVERY_MS,
        }
    }

    #[tokio::test]
    async fn a_desk_looks_as_it_is_configured_and_only_as_far_as_it_has_stored() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = Arc::into_inner(super::super::web::tests::room(dir.path()).await).unwrap();
        let look = |room: &Room| {
            let look = Look::new(room, UtcMillis(7), NOW);
            (look.heard_to, look.linked_since, look.offline_ms, look.silent_ms)
        };
        assert_eq!(look(&room), (NOW, 7, 120_000, 180_000));
        room.storing.store(NOW - 40_000, Ordering::Relaxed);
        assert_eq!(look(&room).0, NOW - 40_000, "what came since may be the sign that is missed");
        room.config.mqtt.keep_alive_s = 300;
        assert_eq!(look(&room).3, 660_000, "its own connection may be gone for so long");
    }

    #[test]
    fn a_box_is_away_when_it_is_offline_or_says_nothing_for_long_enough() {
        let offline = presence(0, NOW, Some(NOW - 5_000));
        assert_eq!(judged(&offline, at(NOW + LIMIT - 1)), None);
        assert_eq!(judged(&offline, at(NOW + LIMIT)), Some(Turn::Away { since: NOW, silent: false }));
        // It says something every minute: a minute without a word is nothing.
        let silent = presence(1, NOW - 900_000, Some(NOW));
        assert_eq!(judged(&silent, at(NOW + LIMIT + 59_999)), None);
        assert_eq!(judged(&silent, at(NOW + LIMIT + 60_000)), Some(Turn::Away { since: NOW, silent: true }));
        let old = Presence { status_ms: None, ..silent.clone() };
        assert_eq!(judged(&old, at(NOW + 100 * LIMIT)), None, "of a kind that does not say how it is");
        let old = Presence { status_ms: Some(NOW - 900_001), ..silent.clone() };
        assert_eq!(judged(&old, at(NOW + 100 * LIMIT)), None, "since it has another version");
        // Online again, and not a word since.
        let came = presence(1, NOW, Some(NOW - 900_000));
        assert_eq!(judged(&came, at(NOW + 60_000)), None);
        assert_eq!(judged(&came, at(NOW + 2 * LIMIT)), Some(Turn::Away { since: NOW, silent: true }));
        // What lies at the broker of a box that was never heard may be a year old.
        for online in [0, 1] {
            assert_eq!(judged(&presence(online, NOW - 900_000, None), at(NOW + 100 * LIMIT)), None);
        }
    }

    #[test]
    fn a_box_is_back_when_it_is_online_and_gave_a_sign_since() {
        let since = |p: Presence| judged(&Presence { from_ms: Some(NOW), ..p }, at(NOW + LIMIT));
        assert_eq!(since(presence(0, NOW, Some(NOW + 7))), None, "the broker says that it is gone");
        assert_eq!(since(presence(1, NOW, Some(NOW))), None);
        assert_eq!(since(presence(1, NOW - 5, None)), None);
        assert_eq!(since(presence(1, NOW - 5, Some(NOW + 7))), Some(Turn::Back { at: NOW + 7 }));
        // That it is online may have lain at the broker since before.
        assert_eq!(since(presence(1, NOW + 4, Some(NOW - 5))), None);
        assert_eq!(since(presence(1, NOW + 4, Some(NOW + 90_000))), Some(Turn::Back { at: NOW + 90_000 }));
    }

    #[test]
    fn a_box_whose_clock_is_behind_is_back_when_it_turns_online_and_is_not_told_over_and_over() {
        // Half an hour behind, and without a status: what it says is of before it went.
        let old = Presence { from_ms: Some(NOW), status_ms: None, ..presence(1, NOW, Some(NOW - 1_800_000)) };
        assert_eq!(judged(&old, at(NOW + LIMIT)), None, "online may have lain at the broker");
        let came = |at: i64| Presence { came_ms: Some(at), ..old.clone() };
        assert_eq!(judged(&came(NOW - 5), at(NOW + LIMIT)), None, "it came before it went");
        assert_eq!(judged(&came(NOW + 7), at(NOW + LIMIT)), Some(Turn::Back { at: NOW + 7 }));
        assert_eq!(judged(&Presence { online: 0, ..came(NOW + 7) }, at(NOW + LIMIT)), None);
        assert_eq!(judged(&came(NOW + 90_000_000), at(NOW + LIMIT)), None, "a clock was set back");

        // It said how it is once, is not heard so any more, and what else it says is five minutes old by its clock.
        let behind = |heard: i64| presence(1, NOW - 900_000, Some(heard));
        let late = NOW + 600_000;
        assert!(matches!(judged(&behind(late - 300_000), at(late)), Some(Turn::Away { .. })));
        let told = Presence { from_ms: Some(NOW), ..behind(late - 300_000) };
        assert_eq!(judged(&told, at(late)), None, "it would be told anew with the next look");
        let told = Presence { from_ms: Some(NOW), ..behind(late - 9_000) };
        assert_eq!(judged(&told, at(late)), Some(Turn::Back { at: late - 9_000 }));
        // A status overtook the state by which it came: what ends an outage is not older than the outage.
        let overtaken = Presence { came_ms: Some(NOW + 40), ..presence(1, NOW - 9_000, Some(NOW)) };
        assert_eq!(
            judged(&overtaken, at(NOW + 2 * LIMIT)),
            Some(Turn::Away { since: NOW + 40, silent: true }),
            "else it would end at once"
        );
    }

    #[test]
    fn a_desk_that_stood_still_or_whose_clock_was_set_begins_anew() {
        let clocks = |wall: i64, mono: i64| (UtcMillis(NOW + wall), MonoMillis(mono));
        for (wall, mono, is) in [
            (2_000, 2_000, false),
            (10_000, 10_000, false),
            (240_000, 2_000, true),
            (240_000, 240_000, true),
            (2_000, 240_000, true),
            (-1, 2_000, true),
            (-3_600_000, 2_000, true),
        ] {
            assert_eq!(stepped(clocks(0, 0), clocks(wall, mono)), is, "{wall} {mono}");
        }
        // Four minutes later in one step: all were heard four minutes ago.
        let after = NOW + 240_000;
        let heard = presence(1, NOW - 900_000, Some(NOW));
        assert!(judged(&heard, at(after)).is_some(), "but for the step");
        let look = Look { linked_since: after, ..at(after) };
        assert_eq!(judged(&heard, look), None);
        assert!(judged(&heard, Look { now: after + 180_000, heard_to: after + 180_000, ..look }).is_some());
    }

    #[test]
    fn a_clock_that_goes_back_blinds_nobody() {
        // An hour back: all that is known is of a time to come.
        let back = NOW - 3_600_000;
        let look = |after: i64| Look { linked_since: back, ..at(back + after) };
        for p in [presence(0, NOW, Some(NOW)), presence(1, NOW - 900_000, Some(NOW))] {
            assert_eq!(judged(&p, look(LIMIT - 1)), None, "{p:?}");
            let Some(Turn::Away { since, .. }) = judged(&p, look(LIMIT + SAYS_EVERY_MS)) else { panic!("{p:?}") };
            assert_eq!(since, back);
        }
        // One that turned by the old clock and says by the new one how it is, is there.
        let late = look(10 * LIMIT);
        let says =
            Presence { status_ms: Some(late.now - 5_000), ..presence(1, back - 900_000, Some(late.now - 5_000)) };
        assert_eq!(judged(&Presence { came_ms: Some(NOW), ..says.clone() }, late), None);
        assert_eq!(judged(&Presence { changed_ms: NOW, ..says.clone() }, late), None);
        let told = Presence { from_ms: Some(back), came_ms: Some(NOW), ..says };
        assert_eq!(judged(&told, late), Some(Turn::Back { at: late.now - 5_000 }), "nor is it away for ever");
        // One that went by the old clock is back by the new one, and not by a word of before.
        let p = |heard| Presence { from_ms: Some(NOW), ..presence(1, NOW, Some(heard)) };
        assert_eq!(judged(&p(back - 5), look(90_000)), None);
        assert_eq!(judged(&p(NOW), look(90_000)), None);
        assert_eq!(judged(&p(back + 60_000), look(90_000)), Some(Turn::Back { at: back + 60_000 }));
    }

    #[test]
    fn what_another_worker_heard_a_moment_ahead_or_this_one_while_it_waited_is_no_clock_set_back() {
        let look = at(NOW);
        for ahead in [1, STEP_MS] {
            let heard = presence(1, NOW - 900_000, Some(NOW + ahead));
            assert_eq!(judged(&heard, look), None, "{ahead}");
            assert_eq!(judged(&presence(0, NOW + ahead, Some(NOW)), look), None, "{ahead}");
            let back = Presence { from_ms: Some(NOW - LIMIT), ..heard };
            assert_eq!(judged(&back, look), Some(Turn::Back { at: NOW + ahead }));
            let soon = Presence { from_ms: Some(NOW + ahead - 1), ..back };
            assert_eq!(judged(&soon, look), Some(Turn::Back { at: NOW + ahead }), "it went by that clock too");
        }
        let far = presence(1, NOW - 900_000, Some(NOW + STEP_MS + 1));
        assert!(judged(&far, look).is_some(), "so far ahead no clock is");
    }

    #[test]
    fn while_the_desk_has_no_broker_and_just_after_nothing_is_said_of_boxes() {
        let at = |linked_since, heard_to| Look { linked_since, ..at(heard_to) };
        for p in [presence(0, NOW - 900_000, Some(NOW - 900_000)), presence(1, NOW - 900_000, Some(NOW - 900_000))] {
            assert_eq!(judged(&p, at(NOW, NOW + LIMIT - 1)), None, "{p:?}");
            assert!(judged(&p, at(NOW, NOW + LIMIT + SAYS_EVERY_MS)).is_some(), "{p:?}");
        }
        let (first, second) = (UtcMillis(1), UtcMillis(2));
        assert_eq!(linked(false, false, Some(first), second), None);
        assert_eq!(linked(true, false, None, second), Some(second));
        assert_eq!(linked(true, false, Some(first), second), Some(first));
        assert_eq!(linked(true, true, Some(first), second), Some(second), "it was gone in between");
    }

    /// The box's row as if it said its last word at `heard_ms` and its state turned at `changed_ms`.
    async fn set(room: &Room, (office, box_id): (&str, &str), online: bool, changed_ms: i64, heard_ms: i64) {
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([((office, box_id), Some(heard_ms))]), heard_ms.min(changed_ms), heard_ms)
            .await
            .unwrap();
        tx.box_online(office, box_id, online, (changed_ms, changed_ms), changed_ms.max(heard_ms)).await.unwrap();
        tx.set_box_status(office, box_id, "{}", Some(heard_ms), None).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn told(room: &Room, offices: &str) -> Vec<AlertRow> {
        let wanted = Wanted { view: "all".into(), severity: 1, limit: 99, ..Wanted::default() };
        room.db.alerts(&Scope::parse(offices), &wanted).await.unwrap()
    }

    const GATE: (&str, &str) = ("15BB", "gate-01");

    #[tokio::test]
    async fn an_outage_is_one_alert_that_ends_with_how_long_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        set(&room, GATE, false, NOW, NOW - 9_000).await;
        tell(&room, at(NOW + LIMIT - 1)).await.unwrap();
        assert!(told(&room, "*").await.is_empty());
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        let row = told(&room, "15BB").await.remove(0);
        assert_eq!((row.rule.as_str(), row.severity, row.state.as_str()), ("box_away", 3, "new"));
        assert_eq!((row.at_ms, row.opened_ms, row.historical), (NOW, NOW + LIMIT, 0));
        assert_eq!(sounded(&room).await, 1, "it sounds");
        assert!(told(&room, "20BB").await.is_empty(), "another office");

        // Somebody takes it on, the desk starts anew, another worker looks: nothing is told again.
        sqlx::query("UPDATE alert SET state = 'acked', version = version + 1").execute(&room.db.pool).await.unwrap();
        let again = super::super::web::tests::room(dir.path()).await;
        let look = Look { linked_since: NOW + 2 * LIMIT, ..at(NOW + 9 * LIMIT) };
        for room in [&room, &again] {
            tell(room, look).await.unwrap();
        }
        assert_eq!(told(&room, "*").await, [AlertRow { state: "acked".into(), version: 2, ..row.clone() }]);

        let back = NOW + 10 * LIMIT;
        set(&room, GATE, true, back, back + 3).await;
        tell(&again, at(back + 2_000)).await.unwrap();
        tell(&room, at(back + 2_000)).await.unwrap();
        let ended = told(&room, "*").await;
        let body = message::parsed(&ended[0].body);
        assert_eq!((ended.len(), ended[0].phase.as_str(), ended[0].state.as_str()), (1, "end", "acked"));
        assert_eq!(body["data"]["dwell_ms"], 10 * LIMIT + 3);
        let did = room.db.alert_history(&row.id).await.unwrap();
        assert_eq!(did.iter().map(|d| d.action.as_str()).collect::<Vec<_>>(), ["box_back"]);

        // The next outage is another alert.
        let gone = back + 20 * LIMIT;
        set(&room, GATE, false, gone, gone - 3).await;
        tell(&room, at(gone + LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await.len(), 2);
    }

    #[tokio::test]
    async fn who_is_silent_may_still_be_found_offline_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let (late, later) = (NOW + 2 * LIMIT, NOW + 4 * LIMIT);
        set(&room, GATE, true, NOW - 900_000, NOW).await;
        tell(&room, at(late)).await.unwrap();
        let body = message::parsed(&told(&room, "*").await[0].body);
        assert_eq!(body["data"]["away"]["why"], "silent");
        // The broker says that it is there; whoever takes over the shift must know better.
        assert_eq!(open_boxes(&room).await, ["gate-01"]);
        let known = room.db.boxes(&Scope::all()).await.unwrap().remove(0);
        assert_eq!((known.online, known.is_away_since(), known.is_there()), (1, Some(NOW), false));
        set(&room, GATE, false, later, NOW).await;
        tell(&room, at(later + LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await.len(), 1);
        // What lay at the broker and is heard anew is no sign of life.
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([(GATE, None)]), later, later + LIMIT).await.unwrap();
        tx.commit().await.unwrap();
        tell(&room, at(later + LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "new");
        set(&room, GATE, true, later + 2 * LIMIT, later + 2 * LIMIT).await;
        tell(&room, at(later + 2 * LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "end");
    }

    #[tokio::test]
    async fn a_desk_that_does_not_listen_to_an_office_any_more_says_nothing_of_its_boxes() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = Arc::into_inner(super::super::web::tests::room(dir.path()).await).unwrap();
        room.config.mqtt.offices = vec!["15BB".into()];
        set(&room, GATE, false, NOW, NOW).await;
        set(&room, ("20BB", "gate-01"), false, NOW, NOW).await;
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        let offices = async |room: &Room, phase: &str| {
            let mut of: Vec<AlertRow> = told(room, "*").await.into_iter().filter(|a| a.phase == phase).collect();
            of.sort_by(|a, b| a.office.cmp(&b.office));
            of.into_iter().map(|a| a.office).collect::<Vec<_>>()
        };
        assert_eq!(offices(&room, "new").await, ["15BB"]);
        // It listens to the other one alone now: nobody waits for the first one's box.
        room.config.mqtt.offices = vec!["20BB".into()];
        tell(&room, at(NOW + 2 * LIMIT)).await.unwrap();
        assert_eq!(offices(&room, "end").await, ["15BB"]);
        assert_eq!(offices(&room, "new").await, ["20BB"]);
    }

    /// Boxes that a hand-over would name.
    async fn open_boxes(room: &Room) -> Vec<String> {
        let open = super::super::shift::open_items(&room.db).await.unwrap();
        open.items.into_iter().filter(|i| i.kind == "box").map(|i| i.id).collect()
    }

    async fn sounded(room: &Room) -> i64 {
        let rings = "SELECT COUNT(*) FROM alert WHERE rang > 0";
        sqlx::query_scalar(rings).fetch_one(&room.db.pool).await.unwrap()
    }

    /// A word of the box of `GATE` comes at a time.
    async fn comes(room: &Room, kind: &str, body: Value, at: i64, retained: bool) {
        let topic = format!("gatewatch/v1/{}/{}/{kind}", GATE.0, GATE.1);
        let mut one = Arrived::unheard(&topic, body.to_string().into_bytes());
        (one.at, one.retained) = (UtcMillis(at), retained);
        ingest::store(room, &[one]).await.unwrap();
    }

    /// Says something of its own sequence, by its own clock.
    async fn reports(room: &Room, seq: i64, at: i64, clock_ms: i64) {
        let mut body = message::tests::body(&format!("E{seq}"), seq, 1, 1);
        body["type"] = "gatewatch.event.gate_out.v1".into();
        body["time"] = UtcMillis(at + clock_ms).to_rfc3339().into();
        comes(room, "event", body, at, false).await;
    }

    #[tokio::test]
    async fn a_box_whose_status_does_not_come_through_is_there_while_it_says_anything() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        comes(&room, "status", json!({}), NOW, false).await;
        for n in 1..30 {
            reports(&room, n, NOW + n * 60_000, 0).await;
            tell(&room, at(NOW + n * 60_000 + 59_000)).await.unwrap();
        }
        assert!(told(&room, "*").await.is_empty());
        // Of its cameras it says something all the time, however quiet the gate is.
        let last = NOW + 60 * 60_000;
        comes(&room, "camera/gate/state", json!({"state": "running", "time": UtcMillis(last)}), last + 9, false).await;
        tell(&room, at(last + LIMIT + SAYS_EVERY_MS - 1)).await.unwrap();
        assert!(told(&room, "*").await.is_empty());
        tell(&room, at(last + LIMIT + SAYS_EVERY_MS)).await.unwrap();
        assert_eq!(told(&room, "*").await[0].at_ms, last, "and is missed once it says nothing");
    }

    #[tokio::test]
    async fn the_last_will_of_a_box_whose_status_the_desk_may_not_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        comes(&room, "state", json!({"online": true, "time": UtcMillis(NOW - 900_000)}), NOW, true).await;
        reports(&room, 1, NOW + 5_000, 0).await;
        comes(&room, "state", json!({"online": false}), NOW + 9_000, false).await;
        tell(&room, at(NOW + 9_000 + LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await.iter().map(|a| a.at_ms).collect::<Vec<_>>(), [NOW + 9_000]);
    }

    #[tokio::test]
    async fn an_outage_of_a_box_without_a_status_whose_clock_is_behind_ends_when_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let behind = -1_800_000;
        let online = |at: i64| json!({"online": true, "time": UtcMillis(at + behind)});
        comes(&room, "state", online(NOW - 900_000), NOW - 900_000, false).await;
        reports(&room, 1, NOW - 9_000, behind).await;
        comes(&room, "state", json!({"online": false}), NOW, false).await;
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "new");
        // What lies at the broker ends nothing; what it says itself does.
        let later = NOW + 2 * LIMIT;
        comes(&room, "state", online(NOW - 900_000), later, true).await;
        comes(&room, "state", json!({"online": false}), later + 1, false).await;
        tell(&room, at(later + 2_000)).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "new");
        comes(&room, "state", online(later + 5_000), later + 5_000, false).await;
        reports(&room, 2, later + 6_000, behind).await;
        for n in 0..9 {
            tell(&room, at(later + 7_000 + n * LIMIT)).await.unwrap();
        }
        let all = told(&room, "*").await;
        assert_eq!((all.len(), all[0].phase.as_str()), (1, "end"));
        assert_eq!(message::parsed(&all[0].body)["data"]["dwell_ms"], 2 * LIMIT + 5_000);
    }

    #[tokio::test]
    async fn a_line_that_takes_a_whole_office_sounds_once_and_is_one_situation() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let ids: Vec<String> = (0..40).map(|n| format!("gate-{n}")).collect();
        for id in &ids {
            set(&room, ("15BB", id), false, NOW, NOW - 9_000).await;
        }
        set(&room, ("20BB", "gate-0"), false, NOW, NOW - 9_000).await;
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        let all = told(&room, "*").await;
        let groups: std::collections::BTreeSet<&str> = all.iter().map(|a| a.group_key.as_str()).collect();
        assert_eq!((all.len(), groups.len(), sounded(&room).await), (41, 2, 2), "{groups:?}");
        // More of them a moment later.
        set(&room, ("15BB", "late"), false, NOW + 20_000, NOW).await;
        tell(&room, at(NOW + LIMIT + 20_000)).await.unwrap();
        assert_eq!(sounded(&room).await, 2);
        // Nobody looks: they go up together.
        let mut tx = room.db.write().await.unwrap();
        let up = NOW + LIMIT + 600_000;
        let mut loud = 0;
        for row in &all {
            loud += i64::from(may_sound(&mut tx, row, up).await.unwrap());
        }
        assert_eq!(loud, 2, "one of each office");
        let other = AlertRow { rule: "gate_out".into(), ..all[0].clone() };
        assert!(may_sound(&mut tx, &other, up).await.unwrap());
    }

    #[tokio::test]
    async fn a_box_whose_line_flutters_sounds_once_in_ten_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let mut at_ms = NOW;
        for (wait, sounds) in [(LIMIT, 1), (4 * 60_000, 1), (7 * 60_000, 2)] {
            at_ms += wait;
            set(&room, GATE, false, at_ms - LIMIT, at_ms - LIMIT - 1).await;
            tell(&room, at(at_ms)).await.unwrap();
            assert_eq!(sounded(&room).await, sounds, "{wait}");
            set(&room, GATE, true, at_ms + 1, at_ms + 2).await;
            tell(&room, at(at_ms + 3)).await.unwrap();
        }
        assert_eq!(told(&room, "*").await.len(), 3, "each is told");
    }

    #[tokio::test]
    async fn a_box_that_is_put_out_of_use_is_waited_for_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        set(&room, GATE, false, NOW, NOW - 9_000).await;
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        let mut tx = room.db.write().await.unwrap();
        tx.box_gone(GATE.0, GATE.1, NOW + 2 * LIMIT).await.unwrap();
        tx.commit().await.unwrap();
        for n in 3..6 {
            tell(&room, at(NOW + n * LIMIT)).await.unwrap();
        }
        let row = told(&room, "*").await.remove(0);
        let body = message::parsed(&row.body);
        assert_eq!((row.phase.as_str(), &body["data"]["away"]["gone"]), ("end", &json!(true)));
        assert_eq!(body["data"]["dwell_ms"], 2 * LIMIT);
        let known = room.db.boxes(&Scope::all()).await.unwrap().remove(0);
        assert_eq!((known.is_away_since(), known.gone_ms), (None, Some(NOW + 2 * LIMIT)));
        assert!(!known.is_there() && !known.is_used());
        assert!(!open_boxes(&room).await.contains(&"gate-01".to_owned()), "nor is it handed over");
        let mut tx = room.db.write().await.unwrap();
        tx.camera_state(GATE.0, GATE.1, "gate", r#"{"state": "lost"}"#, None, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let open = super::super::shift::open_items(&room.db).await.unwrap();
        assert!(open.items.iter().all(|i| i.kind != "camera"), "nor are its cameras: {open:?}");
        // It says something again: then it is one like any other.
        set(&room, GATE, true, NOW + 7 * LIMIT, NOW + 7 * LIMIT).await;
        set(&room, GATE, false, NOW + 8 * LIMIT, NOW + 8 * LIMIT - 1).await;
        tell(&room, at(NOW + 9 * LIMIT)).await.unwrap();
        assert_eq!(told(&room, "*").await.len(), 2);
    }

    #[tokio::test]
    async fn an_alert_says_when_the_box_was_last_heard_and_whether_it_is_known_when_it_went() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let away = async |box_id: &str| {
            let row = told(&room, "*").await.into_iter().find(|a| a.box_id == box_id).unwrap();
            message::parsed(&row.body)["data"]["away"].clone()
        };
        set(&room, ("15BB", "near"), false, NOW, NOW - 50_000).await;
        // The desk was away itself: it hears hours later what the broker kept for it.
        set(&room, ("15BB", "far"), false, NOW, NOW - 3 * 3_600_000).await;
        tell(&room, at(NOW + LIMIT)).await.unwrap();
        let (near, far) = (away("near").await, away("far").await);
        assert_eq!((&near["exact"], &far["exact"]), (&json!(true), &json!(false)));
        assert_eq!(far["last"], UtcMillis(NOW - 3 * 3_600_000).to_rfc3339());
    }

    #[tokio::test]
    async fn a_box_that_is_heard_after_the_clock_went_back_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let heard = async |at: Option<i64>, now: i64| {
            let mut tx = room.db.write().await.unwrap();
            tx.boxes_seen(&BTreeMap::from([(GATE, at)]), now, now).await.unwrap();
            tx.commit().await.unwrap();
            room.db.presences().await.unwrap()[0].heard_ms
        };
        assert_eq!(heard(Some(NOW), NOW).await, Some(NOW));
        assert_eq!(heard(Some(NOW - 5), NOW + 5).await, Some(NOW), "a worker that is behind");
        for behind in [5, STEP_MS] {
            assert_eq!(
                heard(Some(NOW - 3_600_000), NOW - behind).await,
                Some(NOW),
                "its clock is, and it is sent again"
            );
        }
        let mut tx = room.db.write().await.unwrap();
        tx.box_gone(GATE.0, GATE.1, NOW).await.unwrap();
        tx.commit().await.unwrap();
        heard(Some(NOW - 3_600_000), NOW - 5).await;
        let gone = async || room.db.presences().await.unwrap()[0].gone_ms;
        assert_eq!(gone().await, Some(NOW), "nor is it in use by that");
        assert_eq!(heard(None, NOW - 3_600_000).await, Some(NOW));
        assert_eq!(heard(Some(NOW - 3_600_000), NOW - 3_600_000).await, Some(NOW - 3_600_000));
        assert_eq!(gone().await, None);
    }

    #[tokio::test]
    async fn a_state_counts_from_when_it_was_said_and_an_older_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let says = async |online: bool, (since, at): (i64, i64), now: i64| {
            let mut tx = room.db.write().await.unwrap();
            tx.boxes_seen(&BTreeMap::from([(GATE, None)]), NOW, now).await.unwrap();
            tx.box_online(GATE.0, GATE.1, online, (since, at), now).await.unwrap();
            tx.commit().await.unwrap();
            let p = room.db.presences().await.unwrap().remove(0);
            (p.online, p.changed_ms)
        };
        let at = |at: i64| (at, at);
        assert_eq!(says(false, at(NOW + 10), NOW + 500).await, (0, NOW + 10));
        assert_eq!(says(true, at(NOW + 30), NOW + 600).await, (1, NOW + 30));
        assert_eq!(says(false, at(NOW + 20), NOW + 700).await, (1, NOW + 30), "another worker was slower");
        assert_eq!(says(false, at(NOW + 800), NOW + 800).await, (0, NOW + 800));
        // The desk was away meanwhile: it came late, and says itself since when.
        assert_eq!(says(true, (NOW + 850, NOW + 900), NOW + 900).await, (1, NOW + 850));
        assert_eq!(says(false, at(NOW + 950), NOW + 950).await, (0, NOW + 950));
        assert_eq!(says(true, (NOW + 1, NOW + 990), NOW + 990).await, (1, NOW + 950), "not before it was otherwise");
        let back = NOW - 3_600_000;
        assert_eq!(says(false, at(back), back).await, (0, back), "the clock went back");
    }
}
