//! What a new fact may change: times at areas whose events are to be linked anew, events and declarations it names, and what
//! tips may be about. Pure; which events there are is the store's knowledge.

use super::fact::Keyed;
use super::register::{Fact, RegisterSnapshot};
use super::{Binding, Booking, DeclKey, Observation, Visit};
use crate::clock::UtcMillis;
use crate::config::RegisterConfig;
use crate::rules::AreaId;

/// What a fact reaches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach {
    /// Areas and times.
    pub windows: Vec<(AreaId, UtcMillis, UtcMillis)>,
    /// Events by id.
    pub events: Vec<String>,
    /// Declarations whose events it changes.
    pub declarations: Vec<DeclKey>,
    /// What it can be found by, and what it was found by before.
    pub handles: Vec<String>,
}

/// What `fact` reaches, seen from the register before and after it was applied.
#[must_use]
pub fn reach(fact: &Fact, before: &RegisterSnapshot, after: &RegisterSnapshot, config: &RegisterConfig) -> Reach {
    // What was corrected changes what it was found by before, too.
    let mut handles = fact.handles();
    handles.extend(handles_before(fact, before));
    let mut out = Reach { handles: handles.clone(), ..Reach::default() };
    match fact {
        Fact::Booking(new) => {
            // A moved booking changes the events of its old place too.
            for booking in before.booking(&new.id).map(AsRef::as_ref).into_iter().chain([new]) {
                out.windows.push(around_booking(booking, config));
            }
            out.declarations.extend(new.decl_keys.iter().map(|d| d.key.clone()));
            out.seen(handles, after, config);
        }
        Fact::Observation(new) => {
            for seen in before.observation(&new.id).map(AsRef::as_ref).into_iter().chain([new]) {
                out.windows.extend(around_reading(seen, after, config));
            }
        }
        Fact::Visit(new) => {
            for visit in before.visit(&new.id).map(AsRef::as_ref).into_iter().chain([new]) {
                out.windows.extend(stays(visit, config));
            }
            out.seen(handles, after, config);
        }
        Fact::Declaration(new) => {
            out.declarations.push(new.key().clone());
            for handle in &handles {
                let found = after.found(handle);
                out.windows.extend(found.bookings.iter().map(|b| around_booking(b, config)));
                out.windows.extend(found.visits.iter().flat_map(|v| stays(v, config)));
            }
            out.seen(handles, after, config);
        }
        Fact::Bind(binding) => {
            out.events.extend(binding.event_id.clone());
            out.declarations.push(binding.decl_no.key.clone());
            let from = binding.from.unwrap_or(binding.at);
            let to = binding.to.unwrap_or(from.plus_ms(86_400_000));
            out.windows.extend(binding.area.clone().map(|area| (area, from, to)));
            let visit = binding.visit_id.as_ref().and_then(|id| after.visit(id));
            out.windows.extend(visit.iter().flat_map(|v| stays(v, config)));
            // Its plates and containers may have been read where it did not stay.
            handles.extend(visit.iter().flat_map(|v| v.handles()));
            if let Some(wrong) = binding.supersedes.as_ref().and_then(|id| after.binding(id)) {
                // What that one corrected was looked at when it came; and who corrects in a circle must find an end.
                let wrong = Binding { supersedes: None, ..wrong.as_ref().clone() };
                let earlier = reach(&Fact::Bind(wrong), after, after, config);
                out.windows.extend(earlier.windows);
                out.events.extend(earlier.events);
                out.declarations.extend(earlier.declarations);
            }
            out.seen(handles, after, config);
        }
        Fact::Stop(_) | Fact::Tip(_) => {}
    }
    out
}

/// What the version in force before could be found by.
fn handles_before(fact: &Fact, before: &RegisterSnapshot) -> Vec<String> {
    let handles = match fact {
        Fact::Booking(new) => before.booking(&new.id).map(|b| b.handles()),
        Fact::Observation(new) => before.observation(&new.id).map(|o| o.handles()),
        Fact::Visit(new) => before.visit(&new.id).map(|v| v.handles()),
        Fact::Declaration(new) => before.declaration(new.key()).map(|d| d.handles()),
        Fact::Bind(_) | Fact::Stop(_) | Fact::Tip(_) => None,
    };
    handles.unwrap_or_default()
}

impl Reach {
    /// Where what these handles name was read.
    fn seen(&mut self, handles: Vec<String>, register: &RegisterSnapshot, config: &RegisterConfig) {
        for handle in handles.into_iter().filter(|h| !h.starts_with("area:") && !h.starts_with("decl:")) {
            for seen in register.found(&handle).observations {
                self.windows.extend(around_reading(seen, register, config));
            }
        }
    }
}

fn around_booking(b: &Booking, config: &RegisterConfig) -> (AreaId, UtcMillis, UtcMillis) {
    let (from, until) = b.with_grace(config);
    (b.area.clone(), from, until)
}

fn around_reading(
    seen: &Observation,
    register: &RegisterSnapshot,
    config: &RegisterConfig,
) -> Vec<(AreaId, UtcMillis, UtcMillis)> {
    let slack = i64::from(config.observation_window_s) * 1000 + i64::from(seen.uncertainty_ms);
    let areas = match (&seen.area, &seen.camera) {
        (Some(area), _) => vec![area.clone()],
        (None, Some(camera)) => register.areas_of(camera),
        (None, None) => Vec::new(),
    };
    areas.into_iter().map(|area| (area, seen.at.plus_ms(-slack), seen.at.plus_ms(slack))).collect()
}

fn stays(visit: &Visit, config: &RegisterConfig) -> Vec<(AreaId, UtcMillis, UtcMillis)> {
    let slack = i64::from(config.observation_window_s) * 1000;
    let each = visit.stays.iter();
    each.map(|s| (s.area.clone(), s.at.plus_ms(-slack), s.until.unwrap_or(s.at).plus_ms(slack))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::customs::register::{FactKind, Register};

    const BOX: &str = "CSQU3054383";

    fn at(min: i64) -> UtcMillis {
        UtcMillis(1_770_000_000_000 + min * 60_000)
    }

    struct Site(Register, RegisterConfig);

    impl Site {
        fn new() -> Self {
            Self(Register::default(), RegisterConfig::default())
        }

        /// The areas whose events a fact reaches.
        fn take(&self, kind: FactKind, body: &Value) -> Vec<String> {
            let fact = Fact::from_json(kind, body.to_string().as_bytes()).unwrap().value;
            let before = self.0.snapshot();
            self.0.apply_all(vec![fact.clone()], Some(at(0)));
            let reached = reach(&fact, &before, &self.0.snapshot(), &self.1);
            let mut areas: Vec<String> = reached.windows.into_iter().map(|(area, ..)| area.0).collect();
            areas.sort();
            areas.dedup();
            areas
        }

        fn read(&self, id: &str, version: i64, (kind, raw): (&str, &str), area: &str) -> Vec<String> {
            let body = json!({"id": id, "version": version, "kind": kind, "raw": raw, "area": area, "confidence": 0.97, "at": at(5).to_rfc3339()});
            self.take(FactKind::Observation, &body)
        }
    }

    fn visit(version: i64, plate: &str) -> Value {
        json!({"id": "V", "version": version, "in_at": at(0).to_rfc3339(), "confidence": 0.9, "head_plate": plate,
            "decl_keys": ["10000001231"]})
    }

    #[test]
    fn a_correction_reaches_what_was_linked_by_what_was_wrong() {
        let site = Site::new();
        site.read("1", 1, ("plate_head", "51C12345"), "gate");
        site.read("2", 1, ("plate_head", "15C99999"), "exit");
        assert_eq!(site.take(FactKind::Visit, &visit(1, "51C12345")), ["gate"]);
        assert_eq!(site.take(FactKind::Visit, &visit(2, "15C99999")), ["exit", "gate"]);
        let declared = |version: i64, containers: Value| json!({"decl_no": "10000001231", "version": version, "containers": containers});
        site.read("3", 1, ("container", BOX), "yard");
        assert_eq!(site.take(FactKind::Declaration, &declared(1, json!([BOX]))), ["yard"]);
        assert_eq!(site.take(FactKind::Declaration, &declared(2, json!([]))), ["yard"]);
        assert_eq!(site.read("3", 2, ("container", BOX), "bay-1"), ["bay-1", "yard"]);
    }

    #[test]
    fn a_bound_visit_reaches_where_its_plates_and_containers_were_read() {
        let site = Site::new();
        site.read("1", 1, ("plate_head", "51C12345"), "exit");
        site.take(FactKind::Visit, &visit(1, "51C12345"));
        let bind =
            json!({"id": "B", "decl_no": "10000001232", "officer": "1", "at": at(9).to_rfc3339(), "visit_id": "V"});
        assert_eq!(site.take(FactKind::Bind, &bind), ["exit"]);
    }

    #[test]
    fn corrections_in_a_circle_find_an_end() {
        let site = Site::new();
        let bind = |id: &str, version: i64, supersedes: &str| {
            json!({"id": id, "version": version, "decl_no": "10000001231", "officer": "1", "at": at(9).to_rfc3339(),
                "area": "bay-1", "supersedes": supersedes, "reason": "typed wrong"})
        };
        site.take(FactKind::Bind, &bind("X", 1, "none"));
        site.take(FactKind::Bind, &bind("Y", 1, "X"));
        assert_eq!(site.take(FactKind::Bind, &bind("X", 2, "Y")), ["bay-1"]);
        let own = Fact::from_json(FactKind::Bind, bind("Z", 1, "Z").to_string().as_bytes()).unwrap_err().to_string();
        assert!(own.contains("supersedes") && own.contains("another binding"), "{own}");
    }
}
