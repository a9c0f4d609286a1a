//! Rules about areas over scripted tracks: exact times, at several frame rates.

use serde_json::{Value, json};

use super::stage::{Stage, T0, actor, brief};
use super::{EndReason, Phase, RuleKind};
use crate::customs::Answer;

const POLYGON: [[f32; 2]; 4] = [[0.4, 0.2], [0.8, 0.2], [0.8, 0.9], [0.4, 0.9]];

/// A stage with the area `bay-1` over x 400..800 with these rules.
fn stage(rules: Value, interval_ms: i64) -> Stage {
    let mut area = json!({"id": "bay-1", "kind": "inspection_bay", "polygon": POLYGON, "settle_ms": 400});
    for (key, value) in rules.as_object().unwrap() {
        area[key] = value.clone();
    }
    Stage::new(&json!([area]), &json!([]), interval_ms)
}

/// In at 1 s, at its place from 2 s, off at 20 s, out at 21 s.
const VISIT: [(i64, f32, f32); 4] =
    [(0, 200.0, 400.0), (2000, 600.0, 400.0), (20_000, 600.0, 400.0), (22_000, 1000.0, 400.0)];

fn booking(state: &str, version: i64) -> Value {
    json!({"bookings": [{"id": "b", "version": version, "area": "bay-1", "decl_keys": ["10000001234"],
        "start": "2026-02-02T09:00:00+07:00", "end": "2026-02-02T11:00:00+07:00", "state": state}]})
}

#[test]
fn a_stopped_vehicle_is_dated_from_its_stop_to_its_going() {
    for interval in [100, 200, 1000] {
        let mut s = stage(json!({"stopped": {"after_s": 5.0}}), interval);
        s.actors.push(actor(1, "truck", &VISIT));
        let events = s.play(25_000);
        assert_eq!(events.len(), 2, "{:?}", brief(&events));
        assert_eq!((events[0].rule, events[0].phase, events[0].severity), (RuleKind::Stopped, Phase::New, 2));
        assert!((events[0].start.0 - T0 - 2000).abs() <= interval, "{:?} at {interval}", brief(&events));
        let said = events[0].at.0 - T0;
        assert!((7000 - interval..=7000 + interval).contains(&said), "said at {said} at {interval}");
        let end = events[1].end.unwrap().0 - T0;
        assert!((20_000..=20_000 + 2 * interval).contains(&end), "{end} at {interval}");
        assert_eq!(events[1].end_reason, Some(EndReason::Observed));
    }
}

#[test]
fn a_vehicle_never_seen_moving_is_reported_as_stopped_since_its_first_sight() {
    let mut s = stage(json!({"stopped": {"after_s": 5.0}}), 200);
    s.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]));
    s.actors.push(actor(2, "person", &[(0, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    assert_eq!(brief(&s.play(30_000)), ["stopped new 0.."], "people are no vehicles");
}

#[test]
fn slow_traffic_is_not_stopped() {
    let mut s = stage(json!({"stopped": {"after_s": 3.0}}), 200);
    s.actors.push(actor(1, "truck", &[(0, 420.0, 400.0), (20_000, 780.0, 400.0)]));
    assert_eq!(brief(&s.play(20_000)), Vec::<String>::new(), "a tenth of its length a second");
}

#[test]
fn a_closed_area_reports_who_is_inside_from_the_closing_on_and_ends_with_the_opening() {
    // Closed from 09:41 to 09:42, a minute after the start.
    let closed = json!([{"days": ["mon"], "from": "09:41", "to": "09:42"}]);
    let mut s = stage(json!({"restricted": {"closed": closed}}), 500);
    s.actors.push(actor(1, "person", &[(0, 600.0, 400.0), (200_000, 600.0, 400.0)]));
    s.actors.push(actor(2, "person", &[(0, 200.0, 400.0), (200_000, 200.0, 400.0)]));
    let events = s.play(150_000);
    assert_eq!(brief(&events), ["restricted new 60000..", "restricted end 60000..120000 resolved"]);
    assert_eq!((events[0].severity, events[1].dwell_ms), (3, Some(60_000)));
}

#[test]
fn several_intruders_at_once_or_soon_after_are_one_event_that_counts_them() {
    let mut s = stage(json!({"restricted": {}}), 200);
    let visit = |id, from: i64, to: i64| {
        let keys = [(from, 200.0, 400.0), (from + 1000, 500.0, 400.0), (to, 500.0, 400.0), (to + 1000, 200.0, 400.0)];
        actor(id, "person", &keys)
    };
    // Two overlapping, the third 5 s after the second left (within the gap), the fourth long after.
    s.actors = vec![visit(1, 0, 10_000), visit(2, 5000, 15_000), visit(3, 20_000, 30_000), visit(4, 60_000, 70_000)];
    let events = s.play(90_000);
    let loud: Vec<_> = events.iter().filter(|e| !e.quiet).cloned().collect();
    assert_eq!(loud.len(), 4, "{:?}", brief(&events));
    assert_eq!(brief(&loud)[0], "restricted new 800..");
    let end = &loud[1];
    assert_eq!((end.phase, end.suppressed, end.key), (Phase::End, 2, loud[0].key));
    assert_eq!(end.end_reason, Some(EndReason::Observed));
    let (start, left) = (end.start.0 - T0, end.end.unwrap().0 - T0);
    assert!(start == 800 && (30_000..=30_600).contains(&left), "{start} {left}");
    assert_eq!(end.dwell_ms, Some(left - start), "over all of them");
    assert_eq!((loud[2].phase, loud[2].suppressed), (Phase::New, 0), "a minute later is another situation");
}

#[test]
fn the_shown_track_of_a_group_is_always_one_that_is_there() {
    let mut s = stage(json!({"restricted": {}}), 200);
    s.actors.push(actor(1, "person", &[(0, 500.0, 400.0), (5000, 500.0, 400.0), (6000, 200.0, 400.0)]));
    s.actors.push(actor(2, "person", &[(2000, 600.0, 400.0), (20_000, 600.0, 400.0)]));
    let events = s.play(15_000);
    let last = events.last().unwrap();
    assert!(last.quiet && last.phase == Phase::Update, "{:?}", brief(&events));
    assert_eq!(last.track.0, ulid::Ulid::from_parts(1, 2));
}

#[test]
fn too_many_is_one_event_that_grows_and_ends_with_the_one_that_leaves() {
    let mut s = stage(json!({"occupancy": {"limit": 1, "after_s": 2.0, "classes": ["truck"]}}), 200);
    s.actors.push(actor(1, "truck", &[(0, 450.0, 400.0), (60_000, 450.0, 400.0)]));
    s.actors.push(actor(2, "truck", &[(4000, 550.0, 400.0), (30_000, 550.0, 400.0), (31_000, 200.0, 400.0)]));
    s.actors.push(actor(3, "truck", &[(10_000, 650.0, 400.0), (20_000, 650.0, 400.0), (21_000, 1000.0, 400.0)]));
    s.actors.push(actor(4, "person", &[(0, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    let events = s.play(80_000);
    assert_eq!(brief(&events)[..2], ["occupancy new 4000..", "occupancy update 4000.."]);
    assert_eq!(events.iter().map(|e| e.count).collect::<Vec<_>>(), [Some(2), Some(3), Some(3)]);
    assert_eq!(events[0].at.0 - T0, 6000, "after two seconds");
    let end = events[2].end.unwrap().0 - T0;
    assert!(events[2].phase == Phase::End && (30_400..=30_600).contains(&end), "{end}");
}

#[test]
fn a_crowd_that_outlasts_who_made_it_too_many_is_one_event_to_its_end() {
    let mut s = stage(json!({"occupancy": {"limit": 2, "after_s": 30.0, "classes": ["truck"]}}), 200);
    let drive = |id, x: f32, from: i64, to: i64| {
        actor(id, "truck", &[(from, 200.0, 400.0), (from + 1000, x, 400.0), (to, x, 400.0), (to + 1000, 200.0, 400.0)])
    };
    // The third comes at 5 s, the fourth at 15 s; the third leaves again long before the thirty seconds are over.
    s.actors = vec![drive(1, 650.0, 0, 90_000), drive(2, 600.0, 1000, 60_000), drive(3, 550.0, 5000, 17_000)];
    s.actors.push(drive(4, 500.0, 15_000, 80_000));
    let events = s.play(140_000);
    assert_eq!(events.iter().map(|e| e.phase).collect::<Vec<_>>(), [Phase::New, Phase::End], "{:?}", brief(&events));
    let (new, end) = (&events[0], &events[1]);
    assert!((5400..=6000).contains(&(new.start.0 - T0)), "{:?}", brief(&events));
    assert_eq!((new.track.0.random(), new.label.as_str(), new.key), (4, "truck", end.key), "named by one who is there");
    assert!((60_000..62_000).contains(&(end.end.unwrap().0 - T0)), "{:?}", brief(&events));
}

#[test]
fn a_bay_is_occupied_and_empty_once_though_the_vehicle_is_two_boxes_and_is_lost_for_a_while() {
    let mut s = stage(json!({"bay": {"after_s": 3.0, "lost_s": 10.0}}), 200);
    s.actors.push(actor(1, "truck", &VISIT));
    let mut cab = actor(2, "car", &VISIT);
    cab.size = (60.0, 50.0);
    // The truck is hidden until its track is over, and comes back under another name.
    s.actors[0].hidden = 8000..60_000;
    cab.hidden = 8000..60_000;
    s.actors.push(cab);
    s.actors.push(actor(3, "truck", &[(14_000, 600.0, 400.0), (20_000, 600.0, 400.0), (22_000, 1000.0, 400.0)]));
    let events = s.play(30_000);
    assert_eq!(
        brief(&events),
        ["bay_occupied new 1000..", "bay_occupied end 1000..21000 observed", "bay_empty new 21000..21000 observed"]
    );
    assert_eq!(events[2].dwell_ms, Some(20_000));
    assert!(events.iter().all(|e| e.severity == 1));
}

#[test]
fn a_vehicle_lost_in_the_bay_ends_the_occupation_at_its_last_sight_without_saying_that_it_left() {
    let mut s = stage(json!({"bay": {"lost_s": 10.0}}), 200);
    s.actors.push(actor(1, "truck", &VISIT));
    s.actors[0].hidden = 8000..60_000;
    let events = s.play(30_000);
    assert_eq!(brief(&events), ["bay_occupied new 1000..", "bay_occupied end 1000..7800 tracklost"]);
    assert_eq!(events[1].at.0 - T0, 17_800, "ten seconds after the last sight");
}

#[test]
fn driving_through_a_bay_is_not_occupying_it() {
    let mut s = stage(json!({"bay": {"after_s": 3.0}}), 200);
    s.actors.push(actor(1, "truck", &[(0, 200.0, 400.0), (4000, 1000.0, 400.0)]));
    assert_eq!(brief(&s.play(10_000)), Vec::<String>::new());
}

#[test]
fn an_unbooked_bay_is_resolved_by_a_booking_that_arrives() {
    let mut s = stage(json!({"bay": {}, "unbooked": {}}), 200);
    s.actors.push(actor(1, "truck", &VISIT));
    s.feed(9000, &booking("planned", 1));
    let events = s.play(12_000);
    let lines = ["bay_occupied new 1000..", "bay_unbooked new 1000..", "bay_unbooked end 1000..9000 resolved"];
    assert_eq!(brief(&events), lines);
    assert_eq!((events[1].severity, events[1].check.as_ref().unwrap().answer), (2, Answer::No));
    assert_eq!(events[2].check.as_ref().unwrap().answer, Answer::Yes);
}

fn book(id: &str, from: &str, until: &str) -> Value {
    json!({"id": id, "version": 1, "area": "bay-1", "decl_keys": ["10000001234"], "start": format!("2026-02-02T{from}+07:00"),
        "end": format!("2026-02-02T{until}+07:00")})
}

#[test]
fn who_stays_longer_than_booked_and_its_grace_is_unbooked_since_then() {
    let mut s = stage(json!({"bay": {}, "unbooked": {}}), 10_000);
    // It comes at 09:40, is booked until 09:41 and may stay half an hour longer; another booking covers a minute later on.
    let bookings = [book("a", "09:00:00", "09:41:00"), book("b", "10:30:00", "10:31:00")];
    s.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (9_000_000, 600.0, 400.0)]));
    for ms in (0..9_000_000).step_by(300_000) {
        s.feed(ms, &json!({"bookings": bookings}));
    }
    let events = s.play(9_000_000);
    let said = [
        "bay_occupied new 0..",
        "bay_unbooked new 1870000..",
        "bay_unbooked end 1870000..2100000 resolved",
        "bay_unbooked new 4870000..",
    ];
    assert_eq!(brief(&events), said, "the half hour is over at 31:00, the quarter before the next begins at 35:00");
}

#[test]
fn who_stays_is_judged_by_what_was_read_since_it_came() {
    let mut s = stage(json!({"bay": {}}), 200);
    let drive = |id, from: i64, to: i64, x: f32| {
        actor(id, "truck", &[(from, 200.0, 400.0), (from + 1000, x, 400.0), (to, x, 400.0), (to + 1500, 1000.0, 400.0)])
    };
    s.actors = vec![drive(1, 0, 300_000, 500.0), drive(2, 200_000, 600_000, 700.0)];
    let mut booked = booking("planned", 1);
    booked["bookings"][0]["containers"] = json!(["CSQU3054383"]);
    s.feed(0, &booked);
    let read = json!({"observations": [{"id": "o", "kind": "container", "raw": "MSKU 000008 0", "area": "bay-1",
        "at": "2026-02-02T09:40:10+07:00", "confidence": 0.97}]});
    s.feed(10_000, &read);
    let events: Vec<_> = s.play(400_000).into_iter().filter(|e| e.rule == RuleKind::BayWrongVehicle).collect();
    let end = events.last().unwrap();
    assert_eq!(events.len(), 2, "{:?}", brief(&events));
    assert_eq!((end.phase, end.end_reason), (Phase::End, Some(EndReason::Observed)), "the wrong one has left");
    assert!((300_000..301_500).contains(&(end.end.unwrap().0 - T0)), "{:?}", brief(&events));
}

#[test]
fn a_booked_bay_is_only_occupied() {
    let mut s = stage(json!({"bay": {}, "unbooked": {}}), 200);
    s.feed(0, &booking("planned", 1));
    s.actors.push(actor(1, "truck", &VISIT));
    assert_eq!(brief(&s.play(15_000)), ["bay_occupied new 1000.."]);
}

#[test]
fn a_silent_feed_makes_the_answer_unknown_and_the_severity_low_and_news_raise_it() {
    let mut s = stage(json!({"bay": {}, "unbooked": {"severity": 3}}), 1000);
    // The feed was last heard at the start, ten minutes are the limit.
    s.actors.push(actor(1, "truck", &[(630_000, 600.0, 400.0), (900_000, 600.0, 400.0)]));
    s.feed(700_000, &json!({}));
    let events = s.play(720_000);
    let unbooked: Vec<_> = events.iter().filter(|e| e.rule == RuleKind::BayUnbooked).collect();
    let said: Vec<_> = unbooked.iter().map(|e| (e.phase, e.severity, e.check.as_ref().unwrap().answer)).collect();
    assert_eq!(said, [(Phase::New, 1, Answer::Unknown), (Phase::Update, 3, Answer::No)]);
}

#[test]
fn people_in_a_bay_without_an_open_inspection_are_reported_until_it_is_opened() {
    let mut s = stage(json!({"person_without_inspection": {}}), 200);
    s.actors.push(actor(1, "person", &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]));
    s.actors.push(actor(2, "truck", &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]));
    s.feed(0, &booking("planned", 1));
    s.feed(8000, &booking("active", 2));
    s.feed(20_000, &booking("done", 3));
    let events = s.play(30_000);
    assert_eq!(
        brief(&events),
        [
            "person_without_inspection new 0..",
            "person_without_inspection end 0..8000 resolved",
            "person_without_inspection new 20000.."
        ]
    );
    assert_eq!((events[0].severity, events[0].at.0 - T0), (3, 2000));
}

#[test]
fn an_opened_container_is_critical_and_needs_its_class() {
    let mut s = stage(json!({"opened_without_inspection": {"classes": ["open_door"]}}), 200);
    s.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]));
    s.actors.push(actor(2, "open_door", &[(5000, 650.0, 400.0), (20_000, 650.0, 400.0)]));
    let events = s.play(40_000);
    let lines = ["opened_without_inspection new 5000..", "opened_without_inspection end 5000..20000 tracklost"];
    assert_eq!((brief(&events), events[0].severity), (lines.map(String::from).to_vec(), 4));
    let mut during = stage(json!({"opened_without_inspection": {"classes": ["open_door"]}}), 200);
    during.actors = s.actors.clone();
    during.feed(0, &booking("active", 1));
    assert_eq!(brief(&during.play(40_000)), Vec::<String>::new());
}

#[test]
fn a_second_container_that_is_opened_beside_the_first_is_another_event() {
    let mut s = stage(json!({"opened_without_inspection": {"classes": ["open_door"]}}), 200);
    let door = |id, x: f32, from: i64, to: i64| {
        let mut door = actor(id, "open_door", &[(from, x, 400.0), (to, x, 400.0)]);
        door.size = (40.0, 80.0);
        door
    };
    // Both doors of one container; one of them is lost and found again; the other container three metres further on.
    s.actors = vec![door(1, 480.0, 5000, 20_000), door(2, 530.0, 6000, 40_000), door(3, 480.0, 25_000, 40_000)];
    s.actors.push(door(4, 640.0, 8000, 30_000));
    let events: Vec<_> = s.play(70_000).into_iter().filter(|e| !e.quiet).collect();
    let said: Vec<_> = events.iter().map(|e| (e.phase, e.severity, e.suppressed, e.start.0 - T0)).collect();
    let new = |start| (Phase::New, 4, 0, start);
    let end = |count, start| (Phase::End, 4, count, start);
    assert_eq!(said, [new(5000), new(8000), end(0, 8000), end(2, 5000)], "{:?}", brief(&events));
    assert_eq!((events[0].key, events[1].key), (events[3].key, events[2].key));
}

#[test]
fn a_group_shows_who_is_there_though_two_of_it_exchanged_their_names() {
    let mut s = stage(json!({"restricted": {}, "settle_ms": 0}), 200);
    let walk = [(0, 450.0, 400.0), (20_000, 450.0, 400.0), (20_600, 350.0, 400.0), (60_000, 350.0, 400.0)];
    s.actors.push(actor(1, "person", &walk));
    s.actors.push(actor(2, "truck", &[(0, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    s.exchanged = Some((10_000, 1, 2));
    let events = s.play(40_000);
    let shown = |e: &super::AreaEvent| (e.track.0.random(), e.label.to_string(), e.jumped);
    assert_eq!(shown(&events[0]), (1, "person".into(), false));
    // The person, called 2 by now, has left.
    let last = events.last().unwrap();
    assert!(last.quiet && shown(last) == (1, "truck".into(), true), "{:?}", brief(&events));
    let ends = s.lose();
    assert_eq!(ends.iter().map(shown).collect::<Vec<_>>(), [(1, "truck".into(), true)], "{:?}", brief(&ends));
}

#[test]
fn what_customs_say_while_nobody_is_there_is_said_with_who_comes_back() {
    let mut s = stage(json!({"opened_without_inspection": {"classes": ["open_door"]}}), 200);
    // The feed was last heard at the start, ten minutes are the limit.
    let door = |id, from: i64, to: i64| actor(id, "open_door", &[(from, 650.0, 400.0), (to, 650.0, 400.0)]);
    s.actors = vec![door(1, 630_000, 635_000), door(2, 642_000, 660_000), door(3, 646_000, 650_000)];
    s.feed(639_000, &json!({}));
    let events = s.play(680_000);
    let loud: Vec<_> = events.iter().filter(|e| !e.quiet).collect();
    let answer = |e: &super::AreaEvent| e.check.as_ref().map(|c| c.answer);
    let said: Vec<_> = loud.iter().map(|&e| (e.phase, e.severity, answer(e))).collect();
    let (unknown, no) = (Some(Answer::Unknown), Some(Answer::No));
    assert_eq!(said, [(Phase::New, 2, unknown), (Phase::Update, 4, no), (Phase::End, 4, None)], "{:?}", brief(&events));
    assert_eq!(loud[1].dwell_ms, Some(loud[1].at.since(loud[1].start)), "of the group, not of who came back");
    let quiet: Vec<_> = events.iter().filter(|e| e.quiet).map(answer).collect();
    assert!(!quiet.is_empty() && quiet.iter().all(|a| *a == no), "{:?}", brief(&events));
}

#[test]
fn who_leaves_while_the_edge_cuts_its_box_off_is_reported() {
    let rules = json!({"exit": {"severity": 1}, "bay": {}, "filter": [{"min_height": 0.15}]});
    let mut s = stage(rules, 200);
    s.actors.push(actor(1, "truck", &VISIT));
    s.actors[0].cut = Some((21_000, 40.0));
    let events = s.play(30_000);
    let rules: Vec<_> = events.iter().map(|e| (e.rule, e.phase, e.end_reason)).collect();
    let observed = Some(EndReason::Observed);
    let mut want = vec![
        (RuleKind::BayOccupied, Phase::New, None),
        (RuleKind::Exit, Phase::New, observed),
        (RuleKind::BayOccupied, Phase::End, observed),
        (RuleKind::BayEmpty, Phase::New, observed),
    ];
    want.sort_by_key(|w| w.0.as_str());
    let mut rules = rules;
    rules.sort_by_key(|w| w.0.as_str());
    assert_eq!(rules, want, "{:?}", brief(&events));
}

#[test]
fn who_is_cut_off_before_its_foot_leaves_has_left() {
    let rules = json!({"exit": {"severity": 1}, "bay": {}, "filter": [{"min_height": 0.15}]});
    let mut s = stage(rules, 200);
    s.actors.push(actor(1, "truck", &VISIT));
    // The last sight inside is at 20.8 s.
    s.actors[0].cut = Some((20_400, 40.0));
    let events = s.play(30_000);
    let said: Vec<_> = events.iter().map(|e| (e.rule, e.end_reason)).collect();
    let observed = Some(EndReason::Observed);
    for rule in [RuleKind::Exit, RuleKind::BayEmpty] {
        assert!(said.contains(&(rule, observed)), "{rule:?}: {:?}", brief(&events));
    }
    let mut small = stage(json!({"exit": {"severity": 1}, "filter": [{"min_height": 0.15}]}), 200);
    small.actors.push(actor(1, "truck", &VISIT));
    small.actors[0].cut = Some((0, 40.0));
    assert_eq!(brief(&small.play(30_000)), Vec::<String>::new(), "it never counted");
}

#[test]
fn a_thing_that_stood_behind_something_when_the_camera_came_was_not_left() {
    let mut s = stage(json!({"object_left": {"after_s": 5.0, "classes": ["container"]}}), 200);
    // A truck in front of a container; it drives off, and later another container is put down where it stood.
    s.actors.push(actor(9, "truck", &[(0, 500.0, 420.0), (20_000, 500.0, 420.0), (22_000, 1000.0, 420.0)]));
    let mut hidden = actor(1, "container", &[(0, 500.0, 410.0), (40_000, 500.0, 410.0)]);
    hidden.hidden = 0..20_600;
    s.actors.push(hidden);
    s.actors.push(actor(2, "container", &[(60_000, 510.0, 415.0), (90_000, 510.0, 415.0)]));
    assert_eq!(brief(&s.play(80_000)), ["object_left new 60000.."]);
}

#[test]
fn a_thing_whose_vote_turns_has_not_been_removed() {
    for other in ["truck", "bus"] {
        let rule = json!({"after_s": 5.0, "classes": ["container", "truck"]});
        let mut s = stage(json!({"object_removed": rule}), 200);
        s.actors.push(actor(1, "container", &[(0, 500.0, 400.0), (60_000, 500.0, 400.0)]));
        s.play(20_000);
        s.actors[0].label = other;
        let events: Vec<_> = s.play(40_000).into_iter().filter(|e| e.label.as_str() == "container").collect();
        assert_eq!(brief(&events), Vec::<String>::new(), "{other}");
    }
}

#[test]
fn a_thing_put_down_is_reported_until_it_is_gone_and_one_that_was_there_is_not() {
    let mut s = stage(json!({"object_left": {"after_s": 10.0, "classes": ["container"]}}), 200);
    s.actors.push(actor(1, "container", &[(0, 500.0, 250.0), (200_000, 500.0, 250.0)]));
    s.actors.push(actor(2, "container", &[(5000, 700.0, 400.0), (40_000, 700.0, 400.0)]));
    let events = s.play(60_000);
    assert_eq!(brief(&events), ["object_left new 5000..", "object_left end 5000..40000 tracklost"]);
    assert_eq!((events[0].severity, events[0].at.0 - T0), (3, 15_000));
}

#[test]
fn a_left_thing_that_changes_its_track_behind_a_truck_stays_one_event() {
    let mut s = stage(json!({"object_left": {"after_s": 5.0, "classes": ["container"]}}), 200);
    s.actors.push(actor(2, "container", &[(5000, 700.0, 400.0), (20_000, 700.0, 400.0)]));
    s.actors.push(actor(9, "truck", &[(18_000, 690.0, 405.0), (40_000, 690.0, 405.0)]));
    s.actors.push(actor(3, "container", &[(40_200, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    assert_eq!(brief(&s.play(60_000)), ["object_left new 5000.."]);
}

#[test]
fn a_thing_that_is_gone_is_reported_with_where_it_was_but_not_while_its_place_is_covered() {
    let mut s = stage(json!({"object_removed": {"after_s": 5.0, "classes": ["container"]}}), 200);
    s.actors.push(actor(1, "container", &[(0, 500.0, 400.0), (30_000, 500.0, 400.0)]));
    // A truck stands before it from 25 s to 60 s.
    s.actors.push(actor(9, "truck", &[(25_000, 500.0, 410.0), (60_000, 500.0, 410.0)]));
    assert_eq!(brief(&s.play(59_000)), Vec::<String>::new(), "nobody can see whether it is there");
    let events = s.play(80_000);
    assert_eq!(brief(&events), ["object_removed new 30000..30000 observed"]);
    assert_eq!((events[0].label.as_str(), events[0].rect.x0, events[0].dwell_ms), ("container", 420.0, Some(30_000)));
}

#[test]
fn a_thing_carried_away_in_sight_is_reported_at_once() {
    let mut s = stage(json!({"object_removed": {"after_s": 5.0, "classes": ["container"]}}), 200);
    let keys = [(0, 500.0, 400.0), (20_000, 500.0, 400.0), (22_000, 760.0, 400.0), (24_000, 760.0, 400.0)];
    s.actors.push(actor(1, "container", &keys));
    let events = s.play(23_000);
    assert_eq!(events.len(), 1, "{:?}", brief(&events));
    let start = events[0].start.0 - T0;
    assert!((20_000..=20_800).contains(&start), "{start}");
}

#[test]
fn a_truck_that_takes_the_track_of_a_thing_along_has_not_taken_the_thing() {
    let mut s = stage(
        json!({
            "object_removed": {"after_s": 5.0, "classes": ["container"]},
            "object_left": {"after_s": 5.0, "classes": ["container"]}
        }),
        200,
    );
    s.actors.push(actor(9, "truck", &[(16_000, 100.0, 410.0), (24_000, 900.0, 410.0), (26_000, 1100.0, 410.0)]));
    s.actors.push(actor(1, "container", &[(0, 500.0, 400.0), (20_000, 500.0, 400.0), (26_000, 1100.0, 400.0)]));
    s.actors.push(actor(3, "container", &[(23_000, 500.0, 400.0), (60_000, 500.0, 400.0)]));
    assert_eq!(brief(&s.play(60_000)), Vec::<String>::new());
}

#[test]
fn losing_the_camera_ends_every_lasting_situation_once_and_only_things_at_their_places_are_remembered() {
    let rules = json!({
        "restricted": {}, "stopped": {"after_s": 5.0}, "occupancy": {"limit": 0}, "bay": {}, "unbooked": {},
        "person_without_inspection": {}, "object_left": {"after_s": 5.0, "classes": ["container"]},
        "object_removed": {"after_s": 5.0, "classes": ["container"]}
    });
    let mut s = stage(rules, 200);
    s.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]));
    s.actors.push(actor(2, "person", &[(0, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    s.actors.push(actor(3, "container", &[(5000, 500.0, 300.0), (60_000, 500.0, 300.0)]));
    let begun: Vec<_> = s.play(20_000).into_iter().filter(|e| e.phase == Phase::New).collect();
    let lasting = [
        "restricted",
        "stopped",
        "occupancy",
        "bay_occupied",
        "bay_unbooked",
        "person_without_inspection",
        "object_left",
    ];
    let names =
        |events: &[super::AreaEvent]| events.iter().map(|e| e.rule.as_str()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&begun), std::collections::BTreeSet::from(lasting));
    let ends = s.lose();
    assert_eq!(names(&ends), names(&begun));
    assert_eq!(ends.len(), begun.len(), "{:?}", brief(&ends));
    for end in &ends {
        assert_eq!(
            (end.phase, end.end_reason, end.end.unwrap().0 - T0),
            (Phase::End, Some(EndReason::CameraLost), 19_800)
        );
        assert!(begun.iter().any(|b| b.key == end.key));
    }
    assert_eq!(s.lose(), []);
    let again: Vec<_> = s.play(40_000).into_iter().filter(|e| e.phase == Phase::New).collect();
    let (left, others): (Vec<_>, Vec<_>) = again.into_iter().partition(|e| e.rule == RuleKind::ObjectLeft);
    let is_new = |e: &super::AreaEvent| !begun.iter().any(|b| b.key == e.key);
    assert!(others.iter().all(|e| is_new(e) && e.start.0 - T0 >= 20_000), "{:?}", brief(&others));
    assert_eq!(brief(&left), ["object_left new 5000.."], "it still stands where it was put down");
    assert!(is_new(&left[0]));
}

#[test]
fn what_happens_to_things_while_the_camera_is_lost_is_told_when_it_is_back() {
    let rule = json!({"after_s": 5.0, "classes": ["container"]});
    let mut s = stage(json!({"object_left": rule, "object_removed": rule}), 200);
    s.actors.push(actor(1, "container", &[(0, 600.0, 250.0), (11_000, 600.0, 250.0)]));
    s.actors.push(actor(2, "container", &[(12_000, 700.0, 400.0), (60_000, 700.0, 400.0)]));
    // One is put down just before, and has not stood for long enough.
    s.actors.push(actor(3, "container", &[(8000, 500.0, 400.0), (60_000, 500.0, 400.0)]));
    assert_eq!(brief(&s.play(10_000)), Vec::<String>::new());
    assert_eq!(s.lose(), []);
    s.skip(14_000);
    let mut told = brief(&s.play(14_600));
    // A camera that connects anew may step back.
    s.skip(14_100);
    told.extend(brief(&s.play(40_000)));
    told.sort();
    assert_eq!(told, ["object_left new 14000..", "object_left new 8000..", "object_removed new 9800..9800 observed"]);
    // After hours nothing is known.
    assert_eq!(s.lose().len(), 2);
    s.skip(4_000_000);
    s.actors = vec![actor(4, "container", &[(4_000_000, 500.0, 400.0), (4_060_000, 500.0, 400.0)])];
    assert_eq!(brief(&s.play(4_060_000)), Vec::<String>::new());
}

#[test]
fn a_truck_that_is_called_a_container_at_first_was_not_left_there() {
    let mut s = stage(json!({"object_left": {"after_s": 5.0, "classes": ["container"]}}), 200);
    let keys = [(4000, 900.0, 400.0), (7000, 700.0, 400.0), (60_000, 700.0, 400.0)];
    s.actors.push(actor(1, "container", &keys));
    s.play(7600);
    s.actors[0].label = "truck";
    assert_eq!(brief(&s.play(30_000)), Vec::<String>::new());
}

#[test]
fn who_came_to_a_stand_outside_has_left_though_the_camera_is_lost_then() {
    let mut s = stage(json!({"exit": {"severity": 1}, "settle_ms": 5000}), 200);
    s.actors.push(actor(
        1,
        "truck",
        &[(0, 600.0, 400.0), (10_000, 600.0, 400.0), (12_000, 200.0, 400.0), (60_000, 200.0, 400.0)],
    ));
    assert_eq!(brief(&s.play(15_000)), Vec::<String>::new());
    let lost: Vec<_> = s.lose().iter().map(|e| e.rule.as_str()).collect();
    assert_eq!(lost, ["exit"]);
}

#[test]
fn a_box_that_shrinks_for_a_moment_is_no_removed_thing() {
    let mut s = stage(json!({"object_removed": {"after_s": 5.0, "classes": ["container"]}}), 200);
    s.actors.push(actor(1, "container", &[(0, 500.0, 400.0), (60_000, 500.0, 400.0)]));
    assert_eq!(brief(&s.play(20_000)), Vec::<String>::new());
    s.actors[0].cut = Some((0, 30.0));
    assert_eq!(brief(&s.play(20_400)), Vec::<String>::new());
    s.actors[0].cut = None;
    assert_eq!(brief(&s.play(40_000)), Vec::<String>::new());
}

#[test]
fn a_vehicle_whose_vote_turns_still_occupies_its_bay_and_leaves_it() {
    let mut s = stage(json!({"bay": {"classes": ["truck"]}, "exit": {"severity": 1}, "classes": ["truck"]}), 200);
    s.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (40_000, 600.0, 400.0), (44_000, 1000.0, 400.0)]));
    assert_eq!(brief(&s.play(10_000)), ["bay_occupied new 0.."]);
    s.actors[0].label = "bus";
    assert_eq!(brief(&s.play(39_000)), Vec::<String>::new());
    let rules: Vec<_> = s.play(60_000).iter().map(|e| (e.rule.as_str(), e.phase)).collect();
    assert_eq!(rules, [("exit", Phase::New), ("bay_occupied", Phase::End), ("bay_empty", Phase::New)]);
    // What was called so for a moment only was a mistake.
    let mut short = stage(json!({"bay": {"classes": ["truck"]}}), 200);
    short.actors.push(actor(1, "truck", &[(0, 600.0, 400.0), (40_000, 600.0, 400.0)]));
    short.play(1000);
    short.actors[0].label = "person";
    assert_eq!(brief(&short.play(40_000)), Vec::<String>::new());
}

#[test]
fn an_area_that_is_too_full_again_soon_is_one_event() {
    let mut s = stage(json!({"occupancy": {"limit": 0}}), 200);
    let visit = |id, from: i64| actor(id, "truck", &[(from, 600.0, 400.0), (from + 5000, 600.0, 400.0)]);
    s.actors = vec![visit(1, 0), visit(2, 12_000), visit(3, 24_000)];
    let loud: Vec<_> = s.play(120_000).into_iter().filter(|e| !e.quiet).collect();
    assert_eq!(loud.iter().map(|e| (e.phase, e.suppressed)).collect::<Vec<_>>(), [(Phase::New, 0), (Phase::End, 2)]);
    assert_eq!((loud[1].end.unwrap().0 - T0, loud[1].count), (29_000, Some(1)));
}

#[test]
fn what_is_known_to_be_serious_stays_so_when_the_feed_falls_silent() {
    let mut s = stage(json!({"person_without_inspection": {"severity": 4}}), 1000);
    s.feed(0, &booking("planned", 1));
    s.actors.push(actor(1, "person", &[(500_000, 600.0, 400.0), (900_000, 600.0, 400.0)]));
    let said: Vec<_> = s.play(800_000).iter().map(|e| (e.severity, e.check.as_ref().unwrap().answer)).collect();
    assert_eq!(said, [(4, Answer::No), (4, Answer::Unknown)]);
}

#[test]
fn filters_leave_out_what_is_too_small_or_too_unsure_for_its_class() {
    let filters = json!([{"class": "person", "min_score": 0.6}, {"min_height": 0.1, "max_height": 0.5}]);
    let mut s = stage(json!({"enter": {"severity": 1}, "filter": filters}), 200);
    let still = |id, label| actor(id, label, &[(0, 600.0, 400.0), (60_000, 600.0, 400.0)]);
    let (mut unsure, mut small) = (still(1, "person"), still(2, "truck"));
    unsure.score = 0.5;
    small.size = (40.0, 30.0);
    s.actors = vec![unsure, small, still(3, "person"), still(4, "truck")];
    s.actors[3].score = 0.5;
    let events = s.play(5000);
    let tracks: Vec<_> = events.iter().map(|e| e.track.0.random()).collect();
    assert_eq!(tracks, [3, 4], "{:?}", brief(&events));
}

#[test]
fn a_jump_is_marked_on_what_follows_and_believed_by_nobody() {
    let mut s = stage(json!({"enter": {"severity": 1}, "exit": {"severity": 1}}), 200);
    let mut mixed =
        actor(1, "person", &[(0, 600.0, 400.0), (5000, 600.0, 400.0), (5001, 100.0, 100.0), (9000, 100.0, 100.0)]);
    mixed.size = (20.0, 60.0);
    s.actors.push(mixed);
    let events = s.play(9000);
    assert_eq!(brief(&events), ["enter new 0..", "enter end 0..5000 tracklost"]);
    assert_eq!(events.iter().map(|e| e.jumped).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn exchanged_names_are_noticed_marked_and_change_nothing_else() {
    let rules = json!({"stopped": {"after_s": 5.0}, "person_without_inspection": {}, "settle_ms": 0,
        "object_left": {"after_s": 5.0, "classes": ["container"]}});
    let mut s = stage(rules, 200);
    s.actors.push(actor(1, "truck", &VISIT));
    s.actors.push(actor(2, "person", &[(9000, 620.0, 410.0), (15_000, 620.0, 410.0), (18_000, 300.0, 410.0)]));
    s.actors.push(actor(3, "container", &[(3000, 720.0, 300.0), (60_000, 720.0, 300.0)]));
    s.exchanged = Some((12_000, 1, 2));
    let events = s.play(16_000);
    assert_eq!(
        brief(&events),
        ["stopped new 2000..", "object_left new 3000..", "person_without_inspection new 9000.."]
    );
    let late = s.play(30_000);
    let ends: Vec<_> = late.iter().map(|e| (e.rule, e.phase, e.jumped)).collect();
    assert_eq!(
        ends,
        [(RuleKind::Stopped, Phase::End, true), (RuleKind::PersonWithoutInspection, Phase::End, true)],
        "{:?}",
        brief(&late)
    );
    assert!((16_000..18_000).contains(&(late[1].end.unwrap().0 - T0)), "{:?}", brief(&late));
    assert!((20_000..=20_600).contains(&(late[0].end.unwrap().0 - T0)), "{:?}", brief(&late));
}

#[test]
fn a_box_cut_off_by_the_lower_edge_stands_in_an_area_that_reaches_it() {
    let area = json!([{"id": "a", "kind": "lane", "polygon": [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]],
        "enter": {"severity": 1}}]);
    let mut s = Stage::new(&area, &json!([]), 200);
    s.actors.push(actor(1, "truck", &[(0, 500.0, 500.0), (9000, 500.0, 500.0)]));
    assert_eq!(brief(&s.play(3000)), ["enter new 0.."]);
}
