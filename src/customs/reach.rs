//! What a new fact may change: times at areas whose events are to be linked anew, events and declarations it names, and what
//! tips may be about. Pure; which events there are is the store's knowledge.

use super::register::{Fact, RegisterSnapshot};
use super::{Booking, DeclKey, Observation, Visit};
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
    let mut out = Reach { handles: fact.handles(), ..Reach::default() };
    match fact {
        Fact::Booking(new) => {
            // A moved booking changes the events of its old place too.
            for booking in before.booking(&new.id).map(AsRef::as_ref).into_iter().chain([new]) {
                out.windows.push(around_booking(booking, config));
                out.handles.extend(super::fact::Keyed::handles(booking));
            }
            out.declarations.extend(new.decl_keys.iter().map(|d| d.key.clone()));
            out.seen(fact.handles(), after, config);
        }
        Fact::Observation(seen) => out.windows.extend(around_reading(seen, after, config)),
        Fact::Visit(new) => {
            for visit in before.visit(&new.id).map(AsRef::as_ref).into_iter().chain([new]) {
                out.windows.extend(stays(visit, config));
            }
            out.seen(fact.handles(), after, config);
        }
        Fact::Declaration(new) => {
            out.declarations.push(new.key().clone());
            for handle in fact.handles() {
                let found = after.found(&handle);
                out.windows.extend(found.bookings.iter().map(|b| around_booking(b, config)));
                out.windows.extend(found.visits.iter().flat_map(|v| stays(v, config)));
            }
            out.seen(fact.handles(), after, config);
        }
        Fact::Bind(binding) => {
            out.events.extend(binding.event_id.clone());
            out.declarations.push(binding.decl_no.key.clone());
            let from = binding.from.unwrap_or(binding.at);
            let to = binding.to.unwrap_or(from.plus_ms(86_400_000));
            out.windows.extend(binding.area.clone().map(|area| (area, from, to)));
            let visit = binding.visit_id.as_ref().and_then(|id| after.visit(id));
            out.windows.extend(visit.iter().flat_map(|v| stays(v, config)));
            if let Some(wrong) = binding.supersedes.as_ref().and_then(|id| after.binding(id)) {
                let earlier = reach(&Fact::Bind(wrong.as_ref().clone()), after, after, config);
                out.windows.extend(earlier.windows);
                out.events.extend(earlier.events);
                out.declarations.extend(earlier.declarations);
            }
            out.seen(fact.handles(), after, config);
        }
        Fact::Stop(_) | Fact::Tip(_) => {}
    }
    out
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
