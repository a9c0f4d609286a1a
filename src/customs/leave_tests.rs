//! May this vehicle leave: what was read, visits, orders and other vehicles together.

use serde_json::{Value, json};

use super::*;
use crate::customs::{Fact, FactKind, Register, Sought};

const BOX_1: &str = "CSQU3054383";
const BOX_2: &str = "MSKU0000080";
const PLATE: &str = "51C12345";

/// Minutes after an arbitrary hour.
fn at(min: i64) -> UtcMillis {
    UtcMillis(1_770_000_000_000 + min * 60_000)
}

/// A gate `out` whose feed was heard last when the last fact came.
struct Site {
    register: Register,
    config: RegisterConfig,
}

impl Site {
    fn new() -> Self {
        Self { register: Register::default(), config: RegisterConfig::default() }
    }

    fn take(&self, min: i64, kind: &str, body: &Value) {
        let kind = FactKind::parse(kind).unwrap();
        let fact = Fact::from_json(kind, body.to_string().as_bytes()).unwrap().value;
        let rehearsed = self.register.rehearse(vec![fact], at(min), &self.config);
        let all = rehearsed.given.into_iter().map(|(fact, _)| fact).chain(rehearsed.derived);
        self.register.apply_all(all.collect(), Some(at(min)));
    }

    fn declared(&self, last: u8, more: Value) {
        let mut body = json!({"decl_no": format!("1000000123{last}"), "version": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.take(0, "declaration", &body);
    }

    fn cleared(&self, last: u8, containers: &[&str]) {
        self.declared(last, json!({"containers": containers, "cleared_at": at(0).to_rfc3339()}));
    }

    fn read(&self, min: i64, kind: &str, raw: &str, more: Value) {
        let mut body = json!({"id": format!("{raw}-{min}"), "kind": kind, "raw": raw, "area": "out", "confidence": 0.97,
            "at": at(min).to_rfc3339()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.take(min, "observation", &body);
    }

    /// A visit as the gate system sends it, from minute 1.
    fn visit(&self, id: &str, in_min: i64, more: Value) {
        let mut body = json!({"id": id, "version": 1, "in_at": at(in_min).to_rfc3339(), "confidence": 0.95});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.take(in_min, "visit", &body);
    }

    fn checks<T>(&self, min: i64, ask: impl FnOnce(&Checks<'_>) -> T) -> T {
        let snapshot = self.register.snapshot();
        ask(&Checks { register: &snapshot, config: &self.config, now: at(min), uncertainty_ms: 0 })
    }

    /// A crossing in minute `min` after others.
    fn leave_after(&self, min: i64, others: &[UtcMillis]) -> Check {
        self.checks(min, |c| c.may_leave(&AreaId("out".into()), at(min), others))
    }

    fn leave(&self, min: i64) -> Answer {
        self.leave_after(min, &[]).answer
    }

    /// Verdict and declarations of an event at the gate.
    fn link(&self, min: i64) -> String {
        let (area, t) = (AreaId("out".into()), at(min));
        let sought = Sought { area: &area, start: t, end: Some(t), uncertainty_ms: 0, event: None, others: &[] };
        let out = link(&self.register.snapshot(), &sought, t, &self.config);
        let keys: Vec<_> = out.links.iter().map(|l| format!("{}@{:.2}", &l.decl_key.0[10..], l.confidence)).collect();
        format!("{:?} {}", out.verdict, keys.join(" "))
    }
}

#[test]
fn a_stop_for_any_container_on_the_vehicle_forbids() {
    let stop = json!({"id": "S", "decl_no": "10000001231", "from": at(0).to_rfc3339(), "container": BOX_2});
    let site = Site::new();
    site.cleared(1, &[BOX_1, BOX_2]);
    site.take(0, "stop", &stop);
    site.read(5, "container", BOX_1, json!({}));
    assert_eq!(site.leave(5), Answer::Yes, "the other container is stopped");
    site.read(5, "container", BOX_2, json!({}));
    assert_eq!(site.leave(5), Answer::No, "the second one read");
    let site = Site::new();
    site.cleared(1, &[BOX_1, BOX_2]);
    site.take(0, "stop", &stop);
    site.visit("V", 1, json!({"head_plate": PLATE, "containers": [BOX_1, BOX_2]}));
    site.read(5, "container", BOX_1, json!({}));
    site.read(5, "plate_head", PLATE, json!({}));
    assert_eq!(site.leave(5), Answer::No, "of its visit");
}

#[test]
fn the_last_of_many_declarations_of_a_container_forbids() {
    let site = Site::new();
    for i in 0..100 {
        let mark = if i == 99 { "registered_at" } else { "cleared_at" };
        let body =
            json!({"decl_no": format!("1000000{i:04}"), "version": 1, "containers": [BOX_1], mark: at(0).to_rfc3339()});
        site.take(0, "declaration", &body);
    }
    site.read(5, "container", BOX_1, json!({}));
    assert_eq!(site.leave(5), Answer::No);
}

#[test]
fn a_reading_lets_one_vehicle_out_not_the_one_behind() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.read(5, "container", BOX_1, json!({}));
    let first = at(5).plus_ms(3000);
    assert_eq!(site.checks(5, |c| c.may_leave(&AreaId("out".into()), first, &[first])).answer, Answer::Yes);
    let second = at(5).plus_ms(25_000);
    let check = site.checks(6, |c| c.may_leave(&AreaId("out".into()), second, &[first, second]));
    assert_eq!(check.answer, Answer::Unknown, "{:?}", check.basis);
    let twin = first.plus_ms(300);
    let check = site.checks(6, |c| c.may_leave(&AreaId("out".into()), twin, &[first, twin]));
    assert_eq!(check.answer, Answer::Yes, "one vehicle seen as two: {:?}", check.basis);
    let behind = at(5).plus_ms(-20_000);
    let check = site.checks(6, |c| c.may_leave(&AreaId("out".into()), behind, &[behind, at(5).plus_ms(-5000)]));
    assert_eq!(
        check.answer,
        Answer::Unknown,
        "a reader behind the line saw the one that came after: {:?}",
        check.basis
    );
}

#[test]
fn a_plate_lets_no_other_container_out() {
    let booking = json!({"id": "b", "version": 1, "area": "bay-2", "decl_keys": ["10000001231"], "plates": [PLATE],
        "containers": [BOX_1], "start": at(0).to_rfc3339(), "end": at(60).to_rfc3339()});
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.take(0, "booking", &booking);
    site.read(5, "plate_head", PLATE, json!({}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::Yes, "Linked 1@0.85".into()));
    site.read(5, "container", BOX_2, json!({}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::Unknown, "Proposed 1@0.40".into()), "nobody knows it");
    site.declared(2, json!({"containers": [BOX_2]}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::No, "Ambiguous 2@0.95 1@0.85".into()), "the container is there");
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.cleared(2, &[BOX_2]);
    site.take(0, "booking", &booking);
    site.read(5, "plate_head", PLATE, json!({}));
    site.read(5, "container", BOX_2, json!({}));
    assert_eq!(site.leave(5), Answer::Unknown, "it may carry both");
    site.read(5, "container", BOX_1, json!({}));
    assert_eq!(site.link(5), "Ambiguous 1@0.98 2@0.95", "both were read");
}

#[test]
fn an_earlier_visit_does_not_speak_for_a_later_one() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    let came = |min: i64| json!({"passing": "in", "area": "gate", "passage": format!("in-{min}")});
    site.read(0, "plate_head", PLATE, came(0));
    site.read(0, "container", BOX_1, came(0));
    site.read(360, "plate_head", PLATE, came(360));
    site.read(420, "plate_head", PLATE, json!({}));
    assert_eq!((site.leave(420), site.link(420)), (Answer::Unknown, "Unlinked ".into()));
}

#[test]
fn a_tractor_names_the_goods_only_while_it_pulls_them() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    let came = json!({"passing": "in", "area": "gate", "passage": "in"});
    site.read(0, "plate_head", PLATE, came.clone());
    site.read(0, "plate_trailer", "15RM01234", came.clone());
    site.read(0, "container", BOX_1, came);
    site.read(30, "plate_head", PLATE, json!({}));
    assert_eq!(site.link(30), "Linked 1@0.85");
    let swapped = json!({"area": "bay-1", "passage": "p"});
    site.read(60, "plate_trailer", "15RM01234", swapped.clone());
    site.read(60, "plate_head", "29C99999", swapped);
    site.read(90, "plate_head", PLATE, json!({}));
    assert_eq!((site.leave(90), site.link(90)), (Answer::Unknown, "Unlinked ".into()), "it pulls something else");
    site.read(120, "plate_head", "29C99999", json!({}));
    assert_eq!(site.link(120), "Linked 1@0.85");
    assert_eq!(site.link(30), "Linked 1@0.85", "what was true stays true");
}

#[test]
fn a_container_that_comes_back_is_not_its_last_load() {
    let site = Site::new();
    let long_ago = at(-20 * 24 * 60).to_rfc3339();
    site.declared(1, json!({"containers": [BOX_1], "cleared_at": long_ago, "passed_kvgs_at": long_ago}));
    site.read(5, "container", BOX_1, json!({}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::Unknown, "Proposed 1@0.40".into()));
    site.declared(2, json!({"containers": [BOX_1]}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::No, "Linked 2@0.95".into()));
    let booked = json!({"id": "b", "version": 1, "area": "out", "decl_keys": ["10000001231"],
        "start": at(90).to_rfc3339(), "end": at(100).to_rfc3339()});
    site.take(95, "booking", &booked);
    assert_eq!(site.leave(95), Answer::Unknown, "who booked gone goods is asked");
}

#[test]
fn a_stop_holds_though_the_feed_is_silent() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.read(5, "container", BOX_1, json!({"at": at(25).to_rfc3339()}));
    assert_eq!(site.leave(25), Answer::Unknown, "stale");
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.take(0, "stop", &json!({"id": "S", "decl_no": "10000001231", "from": at(0).to_rfc3339()}));
    site.read(5, "container", BOX_1, json!({"at": at(25).to_rfc3339()}));
    let check = site.leave_after(25, &[]);
    assert_eq!(check.answer, Answer::No);
    assert!(check.basis[0].contains("order S") && check.basis[0].contains("stale"), "{:?}", check.basis);
}

#[test]
fn only_a_booking_of_the_bay_itself_is_one() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.read(5, "container", BOX_1, json!({}));
    let booked = || site.checks(5, |c| c.booked(&AreaId("out".into()))).answer;
    assert_eq!(booked(), Answer::No, "its goods are known, a booking there is not");
    let booking = |area: &str| {
        json!({"id": area, "version": 1, "area": area, "decl_keys": ["10000001231"], "plates": [PLATE],
            "start": at(0).to_rfc3339(), "end": at(60).to_rfc3339()})
    };
    site.take(5, "booking", &booking("bay-2"));
    site.read(5, "plate_head", PLATE, json!({}));
    assert_eq!(booked(), Answer::No, "booked elsewhere");
    site.take(5, "booking", &booking("out"));
    assert_eq!(booked(), Answer::Yes);
}

#[test]
fn what_an_officer_said_of_a_visit_holds_at_the_gate() {
    let site = Site::new();
    site.cleared(1, &[]);
    site.visit("V-77", 1, json!({"head_plate": PLATE, "decl_keys": ["10000001231"]}));
    site.read(5, "plate_head", PLATE, json!({}));
    assert_eq!(site.link(5), "Linked 1@0.85");
    let bind =
        json!({"id": "x", "decl_no": "10000001232", "officer": "17", "at": at(3).to_rfc3339(), "visit_id": "V-77"});
    site.take(5, "bind", &bind);
    assert_eq!((site.leave(5), site.link(5)), (Answer::Unknown, "Linked 2@0.99".into()));
}

#[test]
fn a_declaration_an_officer_ruled_out_forbids_nothing() {
    let site = Site::new();
    site.cleared(1, &[]);
    site.declared(2, json!({}));
    let booked = json!({"id": "b", "version": 1, "area": "out", "decl_keys": ["10000001231", "10000001232"],
        "start": at(0).to_rfc3339(), "end": at(60).to_rfc3339()});
    site.take(5, "booking", &booked);
    assert_eq!(site.leave(5), Answer::No);
    let bind = json!({"id": "x", "decl_no": "10000001232", "officer": "17", "at": at(0).to_rfc3339(), "area": "out",
        "action": "reject"});
    site.take(5, "bind", &bind);
    assert_eq!(site.leave(5), Answer::Yes);
}

#[test]
fn what_may_only_be_proposed_is_not_linked_by_a_detour() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    let came = json!({"passing": "in", "area": "gate", "passage": "in"});
    site.read(0, "plate_head", PLATE, came.clone());
    site.read(0, "container", "C5QU3O54383", came);
    site.read(30, "plate_head", PLATE, json!({}));
    assert_eq!(site.link(30), "Proposed 1@0.75", "its container number was put right");
}

#[test]
fn an_officers_word_lets_no_stopped_container_out() {
    let site = Site::new();
    site.cleared(1, &[BOX_1]);
    site.cleared(2, &[BOX_2]);
    site.take(0, "stop", &json!({"id": "S", "decl_no": "10000001232", "from": at(0).to_rfc3339()}));
    site.take(
        1,
        "bind",
        &json!({"id": "B", "decl_no": "10000001231", "officer": "1703", "at": at(1).to_rfc3339(), "plate": PLATE}),
    );
    site.read(5, "plate_head", PLATE, json!({}));
    assert_eq!((site.leave(5), site.link(5)), (Answer::Yes, "Linked 1@0.99".into()));
    site.read(5, "container", BOX_2, json!({}));
    assert_eq!(
        (site.leave(5), site.link(5)),
        (Answer::No, "Linked 1@0.99".into()),
        "it was surely read, and is stopped"
    );
    site.take(
        5,
        "bind",
        &json!({"id": "R", "decl_no": "10000001232", "officer": "1703", "at": at(5).to_rfc3339(),
        "action": "reject", "container": BOX_2}),
    );
    assert_eq!(site.leave(5), Answer::Yes, "an officer says that it is not of these goods");
}

#[test]
fn a_tip_that_names_only_what_carries_the_goods_reaches_the_event() {
    let tips = |site: &Site| {
        let (area, t) = (AreaId("bay-1".into()), at(5));
        let sought = Sought { area: &area, start: t, end: Some(t), uncertainty_ms: 0, event: None, others: &[] };
        let tips = link(&site.register.snapshot(), &sought, t, &site.config).tips;
        tips.into_iter().map(|t| (t.id, t.severity)).collect::<Vec<_>>()
    };
    for (named, booked) in [("containers", BOX_1), ("plates", PLATE)] {
        let site = Site::new();
        let booking = json!({"id": "b", "version": 1, "area": "bay-1", "decl_keys": ["10000001231"], named: [booked],
            "start": at(0).to_rfc3339(), "end": at(60).to_rfc3339()});
        site.take(0, "booking", &booking);
        assert_eq!(tips(&site), []);
        site.take(
            1,
            "tip",
            &json!({"id": "T", "version": 1, "issued_at": at(1).to_rfc3339(), "reason": "risky", "severity": 4, named: [booked]}),
        );
        assert_eq!(tips(&site), [("T".to_owned(), 4)], "{named}");
    }
    let site = Site::new();
    site.declared(1, json!({"containers": [BOX_1]}));
    let stays = json!([{"area": "bay-1", "at": at(3).to_rfc3339(), "until": at(9).to_rfc3339()}]);
    site.visit("V", 1, json!({"head_plate": PLATE, "containers": [BOX_1], "stays": stays}));
    site.take(
        1,
        "tip",
        &json!({"id": "T", "version": 1, "issued_at": at(1).to_rfc3339(), "reason": "risky", "severity": 4, "plates": [PLATE]}),
    );
    assert_eq!(tips(&site), [("T".to_owned(), 4)], "of its visit");
}
