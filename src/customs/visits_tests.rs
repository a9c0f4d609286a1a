//! Tests of `visits.rs`: readings in, visits out, through the register as the box does it.

use serde_json::{Value, json};

use super::*;
use crate::customs::register::{Fact, Register};

const TRAILER: &str = "15RM01234";
const BOX: &str = "CSQU3054383";

struct Site {
    register: Register,
    config: RegisterConfig,
    count: usize,
}

impl Site {
    fn new() -> Self {
        Self { register: Register::default(), config: RegisterConfig::default(), count: 0 }
    }

    /// A reading in minute `min`, with further fields.
    fn read(&mut self, min: i64, kind: &str, raw: &str, more: Value) {
        self.count += 1;
        let mut json = json!({"id": format!("o{}", self.count), "kind": kind, "raw": raw, "area": "gate",
            "at": at(min).to_rfc3339()});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let seen = Observation::from_json(json.to_string().as_bytes()).unwrap().value;
        let rehearsed = self.register.rehearse(vec![Fact::Observation(seen)], at(min), &self.config);
        let facts = rehearsed.given.into_iter().map(|(fact, _)| fact).chain(rehearsed.derived).collect();
        self.register.apply_all(facts, Some(at(min)));
    }

    /// The three parts of a vehicle within a few seconds.
    fn enter(&mut self, min: i64, head: &str) {
        let more = json!({"passing": "in", "passage": format!("in-{min}")});
        self.read(min, "plate_head", head, more.clone());
        self.read(min, "plate_trailer", TRAILER, more.clone());
        self.read(min, "container", BOX, more);
    }

    /// State, tractor, trailer, containers; by time of coming in.
    fn visits(&self) -> Vec<String> {
        let snapshot = self.register.snapshot();
        let mut all: Vec<_> = snapshot.visits().cloned().collect();
        all.sort_by_key(|v| (v.in_at, v.id.clone()));
        let text = |v: &Arc<Visit>| {
            let plate = |p: &Option<String>| p.clone().unwrap_or_else(|| "-".into());
            format!("{:?} {} {} {}", v.state, plate(&v.head_plate), plate(&v.trailer_plate), v.containers.join("+"))
        };
        all.iter().map(text).collect()
    }
}

fn at(min: i64) -> UtcMillis {
    UtcMillis(1_770_000_000_000 + min * 60_000)
}

#[test]
fn a_triple_comes_in_goes_to_a_bay_and_leaves() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    assert_eq!(site.visits(), ["Open 51C12345 15RM01234 CSQU3054383"]);
    site.read(30, "container", BOX, json!({"area": "bay-1"}));
    site.read(35, "container", BOX, json!({"area": "bay-1"}));
    let stay = site.register.snapshot().visits().next().unwrap().stays[0].clone();
    assert_eq!((stay.area.0.as_str(), stay.at, stay.until), ("bay-1", at(30), Some(at(35))));
    site.read(60, "plate_trailer", TRAILER, json!({"passing": "out"}));
    assert_eq!(site.visits(), ["Closed 51C12345 15RM01234 CSQU3054383"]);
}

#[test]
fn who_comes_back_has_a_new_visit() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    site.read(60, "container", BOX, json!({"passing": "out"}));
    site.enter(300, "51C12345");
    assert_eq!(
        site.visits(),
        ["Closed 51C12345 15RM01234 CSQU3054383", "Open 51C12345 15RM01234 CSQU3054383"],
        "seen to leave"
    );
    site.enter(600, "51C12345");
    assert_eq!(site.visits()[1], "ClosedUnseen 51C12345 15RM01234 CSQU3054383", "not seen to leave");
    assert_eq!(site.visits().len(), 3);
}

#[test]
fn nobody_saw_it_leave_for_a_day() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    let over = |min| timed_out(&site.register.snapshot(), at(min), &site.config);
    assert!(over(24 * 60 - 1).is_empty());
    let ended = over(24 * 60);
    assert_eq!((ended.len(), ended[0].state), (1, VisitState::ClosedUnseen));
}

#[test]
fn another_tractor_is_a_dated_part_of_the_same_visit() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    let together = json!({"area": "bay-1", "passage": "p"});
    site.read(90, "plate_trailer", TRAILER, together.clone());
    site.read(90, "plate_head", "29C99999", together);
    assert_eq!(site.visits(), ["Open 29C99999 15RM01234 CSQU3054383"]);
    let heads: Vec<_> = {
        let snapshot = site.register.snapshot();
        let visit = snapshot.visits().next().unwrap();
        visit.parts.iter().filter(|p| p.part == Part::Head).map(|p| (p.value.clone(), p.at)).collect()
    };
    assert_eq!(heads, [("51C12345".to_owned(), at(0)), ("29C99999".to_owned(), at(90))]);
}

#[test]
fn a_tractor_that_leaves_alone_leaves_the_rest() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    site.read(60, "plate_head", "51C12345", json!({"passing": "out"}));
    assert_eq!(site.visits(), ["Open - 15RM01234 CSQU3054383"]);
    let out = json!({"passing": "out", "passage": "last"});
    site.read(120, "plate_trailer", TRAILER, out.clone());
    site.read(120, "plate_head", "29C99999", out);
    assert_eq!(site.visits(), ["Closed 29C99999 15RM01234 CSQU3054383"], "with another tractor");
}

#[test]
fn a_container_loaded_over_goes_with_the_other_vehicle() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    site.read(10, "plate_trailer", "29R55555", json!({"passing": "in"}));
    let together = json!({"area": "bay-1", "passage": "p"});
    site.read(90, "plate_trailer", "29R55555", together.clone());
    site.read(91, "container", BOX, together);
    assert_eq!(site.visits(), ["Open 51C12345 15RM01234 ", "Open - 29R55555 CSQU3054383"]);
    let snapshot = site.register.snapshot();
    let takes = snapshot.visits().find(|v| v.trailer_plate.as_deref() == Some("29R55555")).unwrap();
    let gave = snapshot.visits().find(|v| v.trailer_plate.as_deref() == Some(TRAILER)).unwrap();
    assert_eq!(takes.from_visit.as_ref(), Some(&gave.id));
    assert_eq!((gave.containers_at(at(80)), gave.containers_at(at(95))), (vec![BOX.to_owned()], vec![]));
}

#[test]
fn a_visit_that_was_sent_stays_the_senders() {
    let mut site = Site::new();
    let sent = |version: i64, out: Value| {
        let json = json!({"id": "V-77", "version": version, "in_at": at(0).to_rfc3339(), "head_plate": "51C12345", "out_at": out});
        Fact::Visit(Visit::from_json(json.to_string().as_bytes()).unwrap().value)
    };
    site.register.apply_all(vec![sent(4, Value::Null)], Some(at(0)));
    site.read(30, "plate_head", "51C12345", json!({"area": "bay-1"}));
    assert!(timed_out(&site.register.snapshot(), at(48 * 60), &site.config).is_empty());
    let outcome = site.register.apply(sent(5, json!(at(60).to_rfc3339())), at(60));
    assert_eq!(outcome, crate::customs::Outcome::Applied, "no version of the box stands against it");
    assert_eq!(site.visits(), ["Closed 51C12345 - "]);
}

#[test]
fn a_corrected_reading_goes_on_with_its_visit() {
    let mut site = Site::new();
    site.enter(0, "51C12345");
    site.read(0, "container", "MSKU0000080", json!({"passing": "in", "passage": "in-0"}));
    assert_eq!(site.visits(), ["Open 51C12345 15RM01234 CSQU3054383+MSKU0000080"]);
    let corrected = json!({"id": "o1", "version": 2, "passing": "in", "passage": "other"});
    site.read(0, "plate_head", "51C12346", corrected);
    assert_eq!(
        site.visits(),
        ["Open 51C12346 15RM01234 CSQU3054383+MSKU0000080"],
        "not a second visit, not from the beginning"
    );
}

#[test]
fn a_misread_container_opens_no_visit() {
    let mut site = Site::new();
    site.read(0, "container", "CSQU3054384", json!({"passing": "in"}));
    site.read(0, "seal", "VN123456", json!({"passing": "in"}));
    assert!(site.visits().is_empty());
}
