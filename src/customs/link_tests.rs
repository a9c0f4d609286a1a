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
    let sought = Sought { area: &area, start, end, uncertainty_ms, event: None };
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
