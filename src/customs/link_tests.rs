//! Tests of `link.rs`: a table of cases, and properties over random registers.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::customs::Declaration;
use crate::customs::register::{Fact, Register};

/// Minutes after an arbitrary hour.
fn at(min: i64) -> UtcMillis {
    UtcMillis(1_770_000_000_000 + min * 60_000)
}

/// Booking of `bay-1` from minute to minute, with the declarations given by their last digit.
fn booking(id: &str, from: i64, to: i64, decls: &[u8], state: &str) -> Fact {
    let keys: Vec<String> = decls.iter().map(|d| format!("1000000123{d}")).collect();
    let json = json!({"id": id, "version": 1, "area": "bay-1", "decl_keys": keys, "state": state,
        "start": at(from).to_rfc3339(), "end": at(to).to_rfc3339()});
    Fact::Booking(Booking::from_json(json.to_string().as_bytes()).unwrap().value)
}

fn bay() -> AreaId {
    AreaId("bay-1".into())
}

fn link_at(
    r: &RegisterSnapshot,
    start: UtcMillis,
    end: Option<UtcMillis>,
    uncertainty_ms: u32,
    now: UtcMillis,
) -> LinkOutcome {
    let area = bay();
    let sought = Sought { area: &area, start, end, uncertainty_ms, event: None, others: &[] };
    link(r, &sought, now, &RegisterConfig::default())
}

/// Links an event from minute to minute over these bookings; the feed was heard at minute 0.
fn run(facts: Vec<Fact>, from: i64, to: Option<i64>, uncertainty_s: u32) -> LinkOutcome {
    let register = Register::restore(facts, Some(at(0)));
    let now = at(to.unwrap_or(from));
    link_at(&register.snapshot(), at(from), to.map(at), uncertainty_s * 1000, now)
}

fn summary(o: &LinkOutcome) -> String {
    let links: Vec<_> = o
        .links
        .iter()
        .map(|l| format!("{}:{}@{:.2}", l.booking_id.as_deref().unwrap_or("-"), &l.decl_key.0[10..], l.confidence))
        .collect();
    format!("{:?} {}", o.verdict, links.join(" "))
}

/// Name, bookings, start, end, ..., what comes out.
type Case = (&'static str, Vec<Fact>, i64, Option<i64>, u32, &'static str);

#[test]
fn cases() {
    let a = || booking("A", 60, 120, &[1], "planned");
    let b = || booking("B", 120, 180, &[2], "planned");
    let overlap = || booking("C", 90, 150, &[3], "planned");
    let table: Vec<Case> = vec![
        ("no booking", vec![], 70, None, 0, "Unlinked "),
        ("alone", vec![a()], 70, None, 0, "Linked A:1@0.80"),
        ("first moment", vec![a()], 60, None, 0, "Linked A:1@0.80"),
        ("last moment is outside", vec![a()], 120, None, 0, "Proposed A:1@0.40"),
        ("grace before", vec![a()], 46, None, 0, "Proposed A:1@0.40"),
        ("too early", vec![a()], 44, None, 0, "Unlinked "),
        ("grace after", vec![a()], 149, None, 0, "Proposed A:1@0.40"),
        ("grace is half-open too", vec![a()], 150, None, 0, "Unlinked "),
        ("came early and waited", vec![a()], 50, Some(65), 0, "Linked A:1@0.80"),
        ("overlap", vec![a(), overlap()], 100, None, 0, "Ambiguous A:1@0.45 C:3@0.45"),
        ("overlap, but still before it", vec![a(), overlap()], 70, None, 0, "Linked A:1@0.80"),
        ("border: first of B", vec![a(), b()], 120, None, 0, "Linked B:2@0.80"),
        ("border: last of A", vec![a(), b()], 119, None, 0, "Linked A:1@0.80"),
        ("border: overstays into B", vec![a(), b()], 110, Some(130), 0, "Linked A:1@0.80"),
        ("border within uncertainty", vec![a(), b()], 119, None, 90, "Ambiguous A:1@0.45 B:2@0.45"),
        ("uncertainty reaches the window", vec![a()], 59, None, 90, "Linked A:1@0.80"),
        (
            "several declarations of one booking",
            vec![booking("A", 60, 120, &[1, 2, 3], "active")],
            70,
            None,
            0,
            "Linked A:1@0.80 A:2@0.80 A:3@0.80",
        ),
        ("cancelled", vec![booking("A", 60, 120, &[1], "cancelled")], 70, None, 0, "Unlinked "),
        (
            "cancelled does not compete",
            vec![a(), booking("X", 60, 120, &[9], "cancelled")],
            70,
            None,
            0,
            "Linked A:1@0.80",
        ),
        (
            "two bookings of the same goods",
            vec![a(), booking("A2", 60, 120, &[1], "planned")],
            70,
            None,
            0,
            "Linked A:1@0.80",
        ),
        (
            "between two graces",
            vec![a(), booking("D", 140, 180, &[4], "planned")],
            130,
            None,
            0,
            "Ambiguous A:1@0.40 D:4@0.40",
        ),
    ];
    for (name, facts, from, to, uncertainty_s, expected) in table {
        assert_eq!(summary(&run(facts, from, to, uncertainty_s)), expected, "{name}");
    }
}

/// Takes facts as the box does and links an event of `bay-1` in minutes 70 to 75.
fn seen(facts: &[(&str, serde_json::Value)]) -> LinkOutcome {
    let register = Register::restore(vec![], Some(at(70)));
    for (kind, body) in facts {
        let kind = crate::customs::FactKind::parse(kind).unwrap();
        let fact = Fact::from_json(kind, body.to_string().as_bytes()).unwrap().value;
        let rehearsed = register.rehearse(vec![fact], at(70), &RegisterConfig::default());
        let all = rehearsed.given.into_iter().map(|(fact, _)| fact).chain(rehearsed.derived);
        register.apply_all(all.collect(), Some(at(70)));
    }
    link_at(&register.snapshot(), at(70), Some(at(75)), 0, at(75))
}

fn read(kind: &str, raw: &str, confidence: f64) -> (&'static str, serde_json::Value) {
    let id = format!("o-{raw}");
    let at = at(71).to_rfc3339();
    ("observation", json!({"id": id, "kind": kind, "raw": raw, "area": "bay-1", "at": at, "confidence": confidence}))
}

fn booked(id: &str, area: &str, decl: u8, more: serde_json::Value) -> (&'static str, serde_json::Value) {
    let mut body = json!({"id": id, "version": 1, "area": area, "decl_keys": [format!("1000000123{decl}")],
        "start": at(60).to_rfc3339(), "end": at(120).to_rfc3339()});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("booking", body)
}

fn declared(decl: u8, more: serde_json::Value) -> (&'static str, serde_json::Value) {
    let mut body = json!({"decl_no": format!("1000000123{decl}"), "version": 1});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("declaration", body)
}

/// Verdict, rule, then each link with its confidence.
fn weighed(facts: &[(&str, serde_json::Value)]) -> String {
    let o = seen(facts);
    let links = o.links.iter().map(|l| format!("{}@{:.2}", &l.decl_key.0[10..], l.confidence));
    format!("{:?} {:?} {}", o.verdict, o.rule, links.collect::<Vec<_>>().join(" "))
}

#[test]
fn ways_by_themselves_have_the_weights_of_the_configuration() {
    let has = || declared(1, json!({"containers": ["CSQU3054383"], "seals": ["VN123456"]}));
    for (name, facts, expected) in [
        ("container", vec![has(), read("container", "CSQU 305438 3", 0.95)], "Linked Margin 1@0.95"),
        ("read less surely", vec![has(), read("container", "CSQU3054383", 0.5)], "Linked Margin 1@0.85"),
        ("put right", vec![has(), read("container", "C5QU3O54383", 0.95)], "Proposed NotSure 1@0.75"),
        (
            "check digit fails: never by itself",
            vec![declared(1, json!({"containers": ["CSQU3054384"]})), read("container", "CSQU3054384", 0.99)],
            "Unlinked None ",
        ),
        ("seal", vec![has(), read("seal", "vn-123456", 1.0)], "Linked Margin 1@0.90"),
        (
            "seal of two declarations",
            vec![has(), declared(2, json!({"seals": ["VN123456"]})), read("seal", "VN123456", 1.0)],
            "Unlinked None ",
        ),
        (
            "plate of a vehicle booked elsewhere",
            vec![booked("b", "bay-2", 1, json!({"plates": ["51C12345"]})), read("plate_head", "51C-123.45", 0.9)],
            "Linked Margin 1@0.85",
        ),
        ("unknown plate", vec![read("plate_head", "51C-123.45", 0.9)], "Unlinked None "),
    ] {
        assert_eq!(weighed(&facts), expected, "{name}");
    }
}

#[test]
fn independent_ways_add_up_and_dependent_ones_do_not() {
    let here = |more| booked("b", "bay-1", 1, more);
    let container = read("container", "CSQU3054383", 0.95);
    let both = [here(json!({"containers": ["CSQU3054383"]})), container.clone()];
    assert_eq!(weighed(&both), "Linked Margin 1@0.98", "0.99, capped without an officer");
    let near = [here(json!({"plates": ["51C12345"]})), read("plate_head", "5IC12345", 0.9)];
    assert_eq!(weighed(&near), "Linked Margin 1@0.91", "1 - 0.2 * 0.45");
    let stay = json!([{"area": "bay-1", "at": at(70).to_rfc3339(), "until": at(75).to_rfc3339()}]);
    let visit = json!({"id": "v", "version": 1, "in_at": at(50).to_rfc3339(), "booking_id": "b", "stays": stay});
    assert_eq!(weighed(&[here(json!({})), ("visit", visit.clone())]), "Linked Margin 1@0.80", "the booking opened it");
    let own = {
        let mut own = visit;
        own["booking_id"] = serde_json::Value::Null;
        own["decl_keys"] = json!(["10000001231"]);
        own["confidence"] = 0.5.into();
        own
    };
    assert_eq!(weighed(&[here(json!({})), ("visit", own)]), "Linked Margin 1@0.89", "1 - 0.2 * 0.55");
}

#[test]
fn what_contradicts_is_never_resolved_in_silence() {
    let other = booked("c", "bay-2", 2, json!({"plates": ["51C12345"]}));
    let plate = [booked("b", "bay-1", 1, json!({})), other, read("plate_head", "51C12345", 0.9)];
    assert_eq!(weighed(&plate), "Ambiguous TooClose 2@0.85 1@0.80");
    let unknown =
        [booked("b", "bay-1", 1, json!({"containers": ["CSQU3054383"]})), read("container", "MSKU0000080", 0.99)];
    assert_eq!(weighed(&unknown), "Proposed UnknownContainer 1@0.40");
    assert_eq!(seen(&unknown).contradiction.unwrap().booked, ["CSQU3054383"]);
    let known = [unknown[0].clone(), declared(2, json!({"containers": ["MSKU0000080"]})), unknown[1].clone()];
    assert_eq!(weighed(&known), "Linked ContainerOverBooking 2@0.95");
    let bind = |id: &str, decl: u8| {
        let (from, to) = (at(60).to_rfc3339(), at(90).to_rfc3339());
        let body = json!({"id": id, "decl_no": format!("1000000123{decl}"), "officer": "17", "at": from, "area": "bay-1",
            "from": from, "to": to});
        ("bind", body)
    };
    let officer = [known[0].clone(), known[1].clone(), known[2].clone(), bind("x", 3)];
    assert_eq!(weighed(&officer), "Linked Officer 3@0.99");
    let two = [officer[3].clone(), bind("y", 4)];
    assert_eq!(weighed(&two), "Ambiguous OfficersDisagree 3@0.99 4@0.99");
}

#[test]
fn an_unlinked_event_says_so_and_a_stale_feed_is_said() {
    let out = run(vec![], 70, None, 0);
    assert!(out.reason.contains("no booking of bay-1 covers this time"), "{}", out.reason);
    assert_eq!((out.feed_age_s, out.feed_stale), (Some(70 * 60), true));
    assert!(out.reason.contains("stale (last heard 4200 s ago)"), "{}", out.reason);
    let fresh = Register::restore(vec![], Some(at(65)));
    let out = link_at(&fresh.snapshot(), at(70), None, 0, at(70));
    assert_eq!((out.feed_age_s, out.feed_stale), (Some(300), false));
    let never = link_at(&RegisterSnapshot::default(), at(70), None, 0, at(70));
    assert!(never.feed_stale && never.feed_age_s.is_none() && never.reason.contains("never heard"));
}

#[test]
fn what_the_declaration_says_is_on_the_link() {
    let json = json!({"decl_no": "100000012312", "version": 1, "channel": 3, "containers": ["CSQU3054383"],
        "cancelled_at": "2026-03-02T10:17:45+07:00"});
    let decl = Declaration::from_json(json.to_string().as_bytes()).unwrap().value;
    let out = run(vec![booking("A", 60, 120, &[1, 2], "planned"), Fact::Declaration(decl)], 70, None, 0);
    let known = &out.links[0];
    assert_eq!((known.channel, known.amend_no, known.declaration_known), (Some(3), Some(2), true));
    assert_eq!(
        (known.containers.as_slice(), known.scope),
        (["CSQU3054383".to_owned()].as_slice(), LinkScope::Container)
    );
    assert_eq!(out.links[1].scope, LinkScope::Vehicle);
    assert!(known.reason.contains("the declaration is cancelled"), "{}", known.reason);
    assert!(!out.links[1].declaration_known && out.links[1].channel.is_none());
}

#[test]
fn at_most_five_groups_are_named() {
    let facts = (0..8).map(|i| booking(&format!("b{i}"), 60, 120, &[i], "planned")).collect();
    let out = run(facts, 70, None, 0);
    assert_eq!((out.verdict, out.links.len()), (LinkVerdict::Ambiguous, 5));
    assert!(out.reason.starts_with("8 candidates"), "{}", out.reason);
}

#[test]
fn whatever_was_booked_the_outcome_stays_small() {
    let keys: Vec<String> = (0..900).map(|i| format!("1000000{i:04}")).collect();
    // Check digits make container numbers; one valid number, many times over, is enough here.
    let json = json!({"id": "A", "version": 1, "area": "bay-1", "decl_keys": keys, "state": "planned",
        "containers": ["CSQU3054383"], "start": at(60).to_rfc3339(), "end": at(120).to_rfc3339()});
    let fact = Fact::Booking(Booking::from_json(json.to_string().as_bytes()).unwrap().value);
    let out = run(vec![fact], 70, None, 0);
    assert_eq!((out.verdict, out.links.len()), (LinkVerdict::Linked, MAX_LINKS));
    assert!(out.reason.contains("60 of 900 declarations named here"), "{}", out.reason);
    assert!(serde_json::to_string(&out).unwrap().len() < 32_000);
}

#[test]
fn a_word_from_the_future_does_not_make_the_feed_fresh() {
    let ahead = Register::restore(vec![], Some(at(90)));
    let out = link_at(&ahead.snapshot(), at(70), None, 0, at(70));
    assert_eq!((out.feed_age_s, out.feed_stale), (None, true));
}

proptest! {
    #[test]
    fn verdict_and_links_always_agree(
        bookings in prop::collection::vec((0..200_i64, 1..60_i64, 0..9_u8, prop::bool::ANY), 0..8),
        from in 0..220_i64, len in 0..60_i64, uncertainty_s in 0..120_u32,
    ) {
        let facts = bookings.iter().enumerate().map(|(i, (s, l, d, live))| {
            booking(&format!("b{i}"), *s, s + l, &[*d], if *live { "planned" } else { "cancelled" })
        }).collect();
        let out = run(facts, from, Some(from + len), uncertainty_s);
        prop_assert_eq!(out.verdict == LinkVerdict::Unlinked, out.links.is_empty());
        prop_assert!(out.links.is_sorted_by(|a, b| a.confidence >= b.confidence));
        prop_assert!(out.links.iter().all(|l| l.state == state_of(out.verdict, false)));
        let c = ConfidenceConfig::default();
        if out.verdict == LinkVerdict::Linked {
            prop_assert!(out.links.iter().all(|l| l.confidence >= c.link_min));
        }
        for l in &out.links {
            let i: usize = l.booking_id.as_ref().unwrap()[1..].parse().unwrap();
            prop_assert!(bookings[i].3, "a cancelled booking never links");
        }
    }
}
