//! Boxes that are away: each outage is one alert of the desk's own, raised when it has lasted long enough and ended when the
//! box is back. Whether a box is there its retained state says, which the broker turns when it loses the box; and where the
//! broker does not notice, the silence of a box that says every minute how it is. What is known of it: `db/outages.rs`.
//!
//! **Limits**
//! * A desk without its broker says nothing of boxes: its own link is the trouble then, and pages show that. Nor before it
//!   has had its broker for as long as a box may be away, so that it hears first what they say.
//! * Messages that are taken and not stored yet may be the sign that is missed: silence counts up to the oldest of them only.
//! * A box that never said how it is has no silence.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::alert::Entry;
use super::db::outages::Presence;
use super::db::{DbError, Tx};
use super::room::{LEASE_MS, Room, digest, new_id};
use super::{duty, message};
use crate::clock::{UtcMillis, utc_now};

/// How often the desk looks.
const EVERY: Duration = Duration::from_secs(2);
/// A box says how it is this often: so long it says nothing anyway.
const SAYS_EVERY_MS: i64 = 60_000;
/// It sounds.
const SEVERITY: i64 = 3;

/// By what a look judges.
#[derive(Debug, Clone, Copy)]
struct Look {
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
            heard_to: if storing > 0 { storing.min(now) } else { now },
            linked_since: linked_since.0,
            offline_ms,
            silent_ms: offline_ms.max(unknown_ms) + SAYS_EVERY_MS,
        }
    }
}

/// What a look finds out about a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Away for long enough. `silent`: without the broker having noticed.
    Away { since: i64, silent: bool },
    /// Back since then.
    Back { at: i64 },
}

fn turn(p: &Presence, look: Look) -> Option<Turn> {
    match p.from_ms {
        Some(from) => back(p, from).map(|at| Turn::Back { at }),
        None => away(p, look),
    }
}

/// The first sign of it after it went away, as far as that is known.
fn back(p: &Presence, from: i64) -> Option<i64> {
    let signs = [Some(p.changed_ms), p.heard_ms].into_iter().flatten();
    if p.online == 0 { None } else { signs.filter(|at| *at > from).min() }
}

fn away(p: &Presence, look: Look) -> Option<Turn> {
    let silent = p.online != 0;
    if silent && p.reports == 0 {
        return None;
    }
    // Of a box that was not heard since the desk keeps this, it is known only that something of it lay at the broker.
    let (since, may) = if silent {
        (p.heard_ms.unwrap_or(p.seen_ms).max(p.changed_ms), look.silent_ms)
    } else {
        (p.changed_ms, look.offline_ms)
    };
    let lasts = look.heard_to - since.max(look.linked_since);
    (lasts >= may).then_some(Turn::Away { since, silent })
}

/// Looks until the desk stops.
pub(crate) async fn watch(room: Arc<Room>) {
    let mut each = tokio::time::interval(EVERY);
    each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut link = room.connected.clone();
    let mut linked_since = None;
    loop {
        each.tick().await;
        let turned = link.has_changed().unwrap_or(false);
        let there = *link.borrow_and_update();
        linked_since = linked(there, turned, linked_since, utc_now());
        let Some(since) = linked_since else { continue };
        if let Err(error) = look_once(&room, since).await {
            tracing::warn!(%error, "it cannot be looked which boxes are away");
        }
    }
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
    let now = utc_now().0;
    tell(room, Look::new(room, linked_since, now), now).await
}

/// Raises and ends what is due.
async fn tell(room: &Room, look: Look, now: i64) -> Result<(), DbError> {
    // Another office's boxes may be known from before: nothing is heard of them any more.
    let offices = &room.config.mqtt.offices;
    let listened = |p: &Presence| offices.is_empty() || offices.contains(&p.office);
    let mut due = room.db.presences().await?;
    due.retain(|p| listened(p) && turn(p, look).is_some());
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = room.db.write().await?;
    for known in due {
        // Read inside the transaction: it may have said something meanwhile, or another worker have told it.
        let Some(p) = tx.presence(&known.office, &known.box_id).await? else { continue };
        match (turn(&p, look), &p.alert_id) {
            (Some(Turn::Away { since, silent }), None) => begin(room, &mut tx, &p, since, silent, now).await?,
            (Some(Turn::Back { at }), Some(alert)) => end(&mut tx, &p, alert, at, now).await?,
            _ => {}
        }
    }
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}

async fn begin(room: &Room, tx: &mut Tx, p: &Presence, since: i64, silent: bool, now: i64) -> Result<(), DbError> {
    let id = format!("away-{}", &digest(format!("{} {} {since}", p.office, p.box_id))[..24]);
    tracing::error!(office = p.office, box_id = p.box_id, silent, away_ms = now - since, "a box is away");
    let at = UtcMillis(since).to_rfc3339();
    let body = json!({
        "specversion": "1.0", "id": id, "source": format!("/office/{}/box/{}", p.office, p.box_id),
        "type": "gatewatch.alert.box_away.v1", "subject": "box", "time": UtcMillis(now).to_rfc3339(),
        "data": {"revision": 1, "phase": "new", "severity": SEVERITY, "office": p.office, "box": p.box_id, "at": at,
            "duty_day": room.zone.duty_day(UtcMillis(now)), "capture": {"start": at, "end": null},
            "away": {"why": if silent { "silent" } else { "offline" }},
            "sequence": {"epoch": 0, "seq": 1, "historical": false}}
    });
    duty::raise(room, tx, &p.office, &p.box_id, &body, now).await?;
    tx.begin_outage(p, &id, since).await
}

/// The alert says that it is over and how long it lasted; what people decided about it stays, and somebody must look at it
/// still who did not.
async fn end(tx: &mut Tx, p: &Presence, alert: &str, at: i64, now: i64) -> Result<(), DbError> {
    tx.end_outage(alert, at).await?;
    tracing::info!(office = p.office, box_id = p.box_id, "a box is back");
    let Some(mut row) = tx.alert(alert).await? else { return Ok(()) };
    let mut body: Value = message::parsed(&row.body);
    body["time"] = UtcMillis(now).to_rfc3339().into();
    body["data"]["revision"] = (row.revision + 1).into();
    body["data"]["phase"] = "end".into();
    body["data"]["capture"]["end"] = UtcMillis(at).to_rfc3339().into();
    body["data"]["dwell_ms"] = (at - p.from_ms.unwrap_or(at)).into();
    if let Ok(own) = message::read(body.to_string().as_bytes(), &p.office, &p.box_id) {
        message::describe(&mut row, &own);
        tx.change_alert(&row).await?;
    }
    let entry = Entry { action: "box_back", reason: String::new(), note: String::new() };
    tx.add_alert_action(&new_id(now), alert, now, "", &entry).await?;
    tx.touch(alert, false).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::desk::db::Scope;
    use crate::desk::db::alerts::{AlertRow, Wanted};

    const NOW: i64 = 1_772_420_000_000;
    const LIMIT: i64 = 120_000;

    fn presence(online: i64, changed_ms: i64, heard_ms: Option<i64>) -> Presence {
        Presence {
            office: "15BB".into(),
            box_id: "gate-01".into(),
            online,
            changed_ms,
            seen_ms: changed_ms,
            heard_ms,
            reports: 1,
            alert_id: None,
            from_ms: None,
        }
    }

    fn at(heard_to: i64) -> Look {
        Look { heard_to, linked_since: NOW - 3_600_000, offline_ms: LIMIT, silent_ms: LIMIT + SAYS_EVERY_MS }
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
        assert_eq!(turn(&offline, at(NOW + LIMIT - 1)), None);
        assert_eq!(turn(&offline, at(NOW + LIMIT)), Some(Turn::Away { since: NOW, silent: false }));
        // It says something every minute: a minute without a word is nothing.
        let silent = presence(1, NOW - 900_000, Some(NOW));
        assert_eq!(turn(&silent, at(NOW + LIMIT + 59_999)), None);
        assert_eq!(turn(&silent, at(NOW + LIMIT + 60_000)), Some(Turn::Away { since: NOW, silent: true }));
        let old = Presence { reports: 0, ..silent.clone() };
        assert_eq!(turn(&old, at(NOW + 100 * LIMIT)), None, "of a kind that does not say how it is");
        // Online again, and not a word since.
        let came = presence(1, NOW, Some(NOW - 900_000));
        assert_eq!(turn(&came, at(NOW + 60_000)), None);
        assert_eq!(turn(&came, at(NOW + 2 * LIMIT)), Some(Turn::Away { since: NOW, silent: true }));
        let never = Presence { seen_ms: NOW, ..presence(1, NOW - 900_000, None) };
        assert_eq!(turn(&never, at(NOW + 2 * LIMIT)), Some(Turn::Away { since: NOW, silent: true }));
    }

    #[test]
    fn a_box_is_back_when_it_is_online_and_gave_a_sign_since() {
        let since = |p: Presence| turn(&Presence { from_ms: Some(NOW), ..p }, at(NOW + LIMIT));
        assert_eq!(since(presence(0, NOW, Some(NOW + 7))), None, "the broker says that it is gone");
        assert_eq!(since(presence(1, NOW, Some(NOW))), None);
        assert_eq!(since(presence(1, NOW - 5, None)), None);
        assert_eq!(since(presence(1, NOW - 5, Some(NOW + 7))), Some(Turn::Back { at: NOW + 7 }));
        assert_eq!(since(presence(1, NOW + 4, Some(NOW + 90_000))), Some(Turn::Back { at: NOW + 4 }));
    }

    #[test]
    fn while_the_desk_has_no_broker_and_just_after_nothing_is_said_of_boxes() {
        let at = |linked_since, heard_to| Look { linked_since, ..at(heard_to) };
        for p in [presence(0, NOW - 900_000, None), presence(1, NOW - 900_000, Some(NOW - 900_000))] {
            assert_eq!(turn(&p, at(NOW, NOW + LIMIT - 1)), None, "{p:?}");
            assert!(turn(&p, at(NOW, NOW + LIMIT + SAYS_EVERY_MS)).is_some(), "{p:?}");
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
        tx.boxes_seen(&BTreeMap::from([((office, box_id), Some(heard_ms))]), heard_ms).await.unwrap();
        tx.box_online(office, box_id, online, changed_ms).await.unwrap();
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
        tell(&room, at(NOW + LIMIT - 1), NOW + LIMIT - 1).await.unwrap();
        assert!(told(&room, "*").await.is_empty());
        tell(&room, at(NOW + LIMIT), NOW + LIMIT).await.unwrap();
        let row = told(&room, "15BB").await.remove(0);
        assert_eq!((row.rule.as_str(), row.severity, row.state.as_str()), ("box_away", 3, "new"));
        assert_eq!((row.at_ms, row.opened_ms, row.historical), (NOW, NOW + LIMIT, 0));
        let rings = "SELECT COUNT(*) FROM alert WHERE rang = touched AND rang > 0";
        let rings: i64 = sqlx::query_scalar(rings).fetch_one(&room.db.pool).await.unwrap();
        assert_eq!(rings, 1, "it sounds");
        assert!(told(&room, "20BB").await.is_empty(), "another office");

        // Somebody takes it on, the desk starts anew, another worker looks: nothing is told again.
        sqlx::query("UPDATE alert SET state = 'acked', version = version + 1").execute(&room.db.pool).await.unwrap();
        let again = super::super::web::tests::room(dir.path()).await;
        let look = Look { linked_since: NOW + 2 * LIMIT, ..at(NOW + 9 * LIMIT) };
        for room in [&room, &again] {
            tell(room, look, NOW + 9 * LIMIT).await.unwrap();
        }
        assert_eq!(told(&room, "*").await, [AlertRow { state: "acked".into(), version: 2, ..row.clone() }]);

        let back = NOW + 10 * LIMIT;
        set(&room, GATE, true, back, back + 3).await;
        tell(&again, at(back + 2_000), back + 2_000).await.unwrap();
        tell(&room, at(back + 2_000), back + 2_000).await.unwrap();
        let ended = told(&room, "*").await;
        let body = message::parsed(&ended[0].body);
        assert_eq!((ended.len(), ended[0].phase.as_str(), ended[0].state.as_str()), (1, "end", "acked"));
        assert_eq!(body["data"]["dwell_ms"], 10 * LIMIT);
        let did = room.db.alert_history(&row.id).await.unwrap();
        assert_eq!(did.iter().map(|d| d.action.as_str()).collect::<Vec<_>>(), ["box_back"]);

        // The next outage is another alert.
        let gone = back + 20 * LIMIT;
        set(&room, GATE, false, gone, back + 3).await;
        tell(&room, at(gone + LIMIT), gone + LIMIT).await.unwrap();
        assert_eq!(told(&room, "*").await.len(), 2);
    }

    #[tokio::test]
    async fn who_is_silent_may_still_be_found_offline_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = super::super::web::tests::room(dir.path()).await;
        let (late, later) = (NOW + 2 * LIMIT, NOW + 4 * LIMIT);
        set(&room, GATE, true, NOW - 900_000, NOW).await;
        tell(&room, at(late), late).await.unwrap();
        let body = message::parsed(&told(&room, "*").await[0].body);
        assert_eq!(body["data"]["away"]["why"], "silent");
        set(&room, GATE, false, later, NOW).await;
        tell(&room, at(later + LIMIT), later + LIMIT).await.unwrap();
        assert_eq!(told(&room, "*").await.len(), 1);
        // What lay at the broker and is heard anew is no sign of life.
        let mut tx = room.db.write().await.unwrap();
        tx.boxes_seen(&BTreeMap::from([(GATE, None)]), later + LIMIT).await.unwrap();
        tx.commit().await.unwrap();
        tell(&room, at(later + LIMIT), later + LIMIT).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "new");
        set(&room, GATE, true, later + 2 * LIMIT, later + 2 * LIMIT).await;
        tell(&room, at(later + 2 * LIMIT), later + 2 * LIMIT).await.unwrap();
        assert_eq!(told(&room, "*").await[0].phase, "end");
    }

    #[tokio::test]
    async fn a_desk_that_does_not_listen_to_an_office_any_more_says_nothing_of_its_boxes() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = Arc::into_inner(super::super::web::tests::room(dir.path()).await).unwrap();
        room.config.mqtt.offices = vec!["15BB".into()];
        set(&room, GATE, false, NOW, NOW).await;
        set(&room, ("20BB", "gate-01"), false, NOW, NOW).await;
        tell(&room, at(NOW + LIMIT), NOW + LIMIT).await.unwrap();
        let offices: Vec<String> = told(&room, "*").await.into_iter().map(|a| a.office).collect();
        assert_eq!(offices, ["15BB"]);
    }
}
