//! Rules about lines over scripted tracks.

use serde_json::{Value, json};

use super::stage::{Stage, T0, actor, brief};
use super::{Phase, RuleKind};
use crate::customs::Answer;

/// A line at x = 500 walked upwards: going right is left to right.
fn stage(rules: Value) -> Stage {
    let mut line =
        json!({"id": "gate", "points": [[0.5, 1.0], [0.5, 0.0]], "severity": 1, "direction": "left_to_right"});
    for (key, value) in rules.as_object().unwrap() {
        line[key] = value.clone();
    }
    Stage::new(&json!([]), &json!([line]), 200)
}

/// Crosses at `at` milliseconds to the right, or to the left.
fn crossing(id: u64, at: i64, right: bool) -> super::stage::Actor {
    let (a, b) = if right { (100.0, 900.0) } else { (900.0, 100.0) };
    actor(id, "truck", &[(at - 2000, a, 400.0), (at + 2000, b, 400.0)])
}

#[test]
fn against_the_direction_is_wrong_way_and_not_a_crossing() {
    let mut s = stage(json!({"wrong_way": {}}));
    s.actors = vec![crossing(1, 5000, true), crossing(2, 15_000, false)];
    let events = s.play(20_000);
    assert_eq!(brief(&events), ["line_cross new 5000..5000 observed", "wrong_way new 15000..15000 observed"]);
    assert_eq!((events[0].severity, events[1].severity), (1, 3));
    let mut silent = stage(json!({}));
    silent.actors = vec![crossing(2, 15_000, false)];
    assert_eq!(brief(&silent.play(20_000)), Vec::<String>::new());
}

#[test]
fn a_second_vehicle_within_the_time_is_tailgating_beside_its_crossing() {
    let mut s = stage(json!({"tailgating": {"within_s": 4.0}}));
    // 3 s behind, 5 s behind that one, and one the other way shortly after.
    s.actors = vec![crossing(1, 5000, true), crossing(2, 8000, true), crossing(3, 13_000, true)];
    let events = s.play(20_000);
    let rules: Vec<_> = events.iter().map(|e| (e.rule, e.track.0.random())).collect();
    use RuleKind::{LineCross, Tailgating};
    assert_eq!(rules, [(LineCross, 1), (LineCross, 2), (Tailgating, 2), (LineCross, 3)]);
    assert_eq!((events[2].severity, events[2].start), (3, events[1].start));
}

#[test]
fn who_walks_over_the_line_takes_no_reading_from_the_vehicle_behind() {
    let mut s = stage(json!({"gate_out": {}}));
    let mut guard = crossing(1, 5000, true);
    guard.label = "person";
    s.actors = vec![guard, crossing(2, 12_000, true), crossing(3, 20_000, true)];
    let events = s.play(26_000);
    let crossed: Vec<_> = events.iter().map(|e| e.crossed.len()).collect();
    assert_eq!(crossed, [0, 1, 2], "{:?}", brief(&events));
    assert_eq!(events[1].crossed, [events[1].start]);
}

#[test]
fn a_second_vehicle_is_tailgating_though_both_exchange_their_names_in_between() {
    let mut s = stage(json!({"tailgating": {"within_s": 4.0}}));
    let mut second = crossing(2, 8000, true);
    second.label = "car";
    (second.size, s.exchanged) = ((80.0, 50.0), Some((6600, 1, 2)));
    s.actors = vec![crossing(1, 5000, true), second];
    let events = s.play(12_000);
    use RuleKind::{LineCross, Tailgating};
    let rules: Vec<_> = events.iter().map(|e| (e.rule, e.label.as_str())).collect();
    assert_eq!(rules, [(LineCross, "truck"), (LineCross, "car"), (Tailgating, "car")], "{:?}", brief(&events));
}

#[test]
fn what_crosses_before_it_is_believed_is_said_once_it_is() {
    // It is beyond the line from its second sight on, which is certain at 600 ms.
    let cross = |confirmed_ms| {
        let mut s = stage(json!({}));
        s.confirm_ms = confirmed_ms;
        s.actors = vec![actor(1, "truck", &[(0, 450.0, 400.0), (200, 520.0, 400.0), (3000, 900.0, 400.0)])];
        s.play(8000)
    };
    let events = cross(1600);
    assert_eq!(brief(&events), ["line_cross new 143..143 observed"]);
    assert_eq!(events[0].at.0 - T0, 1600, "as soon as it is believed");
    assert_eq!(brief(&cross(60_000)), Vec::<String>::new(), "what is never believed has not crossed");
}

#[test]
fn the_same_vehicle_and_the_other_direction_are_no_tailgating() {
    let mut s = stage(json!({"tailgating": {"within_s": 10.0}, "direction": "both"}));
    let keys = [
        (0, 300.0, 400.0),
        (1000, 700.0, 400.0),
        (2500, 700.0, 400.0),
        (3500, 300.0, 400.0),
        (5000, 300.0, 400.0),
        (6000, 700.0, 400.0),
        (8000, 700.0, 400.0),
    ];
    s.actors = vec![actor(1, "truck", &keys)];
    let events = s.play(9000);
    assert_eq!(events.len(), 3, "{:?}", brief(&events));
    assert!(events.iter().all(|e| e.rule == RuleKind::LineCross));
}

#[test]
fn leaving_is_compared_with_the_declarations_of_the_booking() {
    let declaration = |key: &str, more: Value| {
        let mut d = json!({"decl_no": key, "version": 1});
        for (name, value) in more.as_object().unwrap() {
            d[name] = value.clone();
        }
        d
    };
    let cleared = json!({"cleared_at": "2026-02-02T09:00:00+07:00"});
    let stopped = json!({"cleared_at": "2026-02-02T09:00:00+07:00", "stopped_at": "2026-02-02T09:39:00+07:00"});
    let cases = [
        (Some(cleared), RuleKind::GateOut, 1, Answer::Yes),
        (Some(stopped), RuleKind::GateOutNotReleased, 4, Answer::No),
        (Some(json!({})), RuleKind::GateOutNotReleased, 4, Answer::No),
        (None, RuleKind::GateOutUnchecked, 2, Answer::Unknown),
    ];
    for (facts, rule, severity, answer) in cases {
        let mut s = stage(json!({"gate_out": {}, "wrong_way": {}}));
        let booking = json!([{"id": "b", "version": 1, "area": "gate", "decl_keys": ["10000001234"],
            "start": "2026-02-02T09:00:00+07:00", "end": "2026-02-02T11:00:00+07:00"}]);
        let declarations: Vec<Value> = facts.into_iter().map(|f| declaration("10000001234", f)).collect();
        s.feed(0, &json!({"declarations": declarations, "bookings": booking}));
        s.actors = vec![crossing(1, 5000, true), crossing(2, 12_000, false)];
        let events = s.play(20_000);
        assert_eq!(events.iter().map(|e| e.rule).collect::<Vec<_>>(), [rule, RuleKind::WrongWay]);
        let check = events[0].check.as_ref().unwrap();
        assert_eq!((events[0].severity, check.answer, events[0].phase), (severity, answer, Phase::New));
        assert_eq!(events[0].end.map(|t| t.0 - T0), Some(5000), "an instant");
    }
}

#[test]
fn without_a_booking_or_with_a_silent_feed_leaving_is_unchecked() {
    let mut s = stage(json!({"gate_out": {}}));
    s.actors = vec![crossing(1, 5000, true)];
    let events = s.play(10_000);
    assert_eq!((events[0].rule, events[0].severity), (RuleKind::GateOutUnchecked, 2));
    let mut silent = stage(json!({"gate_out": {}}));
    silent.feed(
        0,
        &json!({"declarations": [{"decl_no": "10000001234", "version": 1}], "bookings": [{"id": "b",
        "version": 1, "area": "gate", "decl_keys": ["10000001234"], "start": "2026-02-02T09:00:00+07:00",
        "end": "2026-02-02T11:00:00+07:00"}]}),
    );
    silent.actors = vec![crossing(1, 700_000, true)];
    let events = silent.play(710_000);
    assert_eq!(events[0].rule, RuleKind::GateOutUnchecked, "unknown is never no");
}

#[test]
fn a_crossing_of_a_class_or_size_that_does_not_count_is_not_reported() {
    let mut s = stage(json!({"classes": ["truck"], "filter": [{"max_height": 0.3}]}));
    let (mut person, mut tall) = (crossing(1, 5000, true), crossing(2, 9000, true));
    person.label = "person";
    tall.size = (160.0, 200.0);
    s.actors = vec![person, tall, crossing(3, 13_000, true)];
    let events = s.play(20_000);
    assert_eq!(events.iter().map(|e| e.track.0.random()).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_box_that_the_edge_cuts_off_behind_the_line_has_crossed_it() {
    let mut s = stage(json!({"filter": [{"min_height": 0.2}]}));
    let mut truck = crossing(1, 5000, true);
    // The line is reached at 5000, the first sight beyond it is at 5200.
    (truck.size, truck.cut) = ((160.0, 150.0), Some((5400, 60.0)));
    let mut small = crossing(2, 15_000, true);
    (small.size, small.cut) = ((160.0, 60.0), None);
    s.actors = vec![truck, small];
    assert_eq!(brief(&s.play(20_000)), ["line_cross new 5000..5000 observed"]);
}

#[test]
fn what_waits_with_its_foot_trembling_over_the_line_has_not_crossed_it() {
    // The foot is 2 pixels before the line, and 3 beyond it in the last sight.
    let mut s = stage(json!({"gate_out": {}}));
    s.actors.push(actor(1, "truck", &[(0, 498.0, 400.0), (9_900, 498.0, 400.0), (10_000, 503.0, 400.0)]));
    assert_eq!(brief(&s.play(10_200)), Vec::<String>::new());
    assert_eq!(s.lose(), []);
    // Lost by the tracker, not by the camera.
    let mut s = stage(json!({"gate_out": {}}));
    s.actors.push(actor(1, "truck", &[(0, 498.0, 400.0), (9_900, 498.0, 400.0), (10_000, 503.0, 400.0)]));
    assert_eq!(brief(&s.play(20_000)), Vec::<String>::new());
    // Who drives over it in the last sight has.
    let mut s = stage(json!({"gate_out": {}}));
    s.actors.push(actor(1, "truck", &[(0, 300.0, 400.0), (8_000, 300.0, 400.0), (10_000, 520.0, 400.0)]));
    assert_eq!(s.play(10_200).len() + s.lose().len(), 1);
}

#[test]
fn who_walks_over_the_line_is_no_consignment_unless_the_line_says_so() {
    let rules = |classes: Value| {
        let mut s = stage(json!({"gate_out": {}, "classes": classes}));
        let mut walker = crossing(1, 5000, true);
        walker.label = "person";
        s.actors = vec![walker, crossing(2, 15_000, true)];
        s.play(20_000).iter().map(|e| e.rule).collect::<Vec<_>>()
    };
    use RuleKind::{GateOutUnchecked, LineCross};
    assert_eq!(rules(json!([])), [LineCross, GateOutUnchecked]);
    assert_eq!(rules(json!(["person", "truck"])), [GateOutUnchecked, GateOutUnchecked]);
}
