//! Visits that follow from readings: who came in, with what, where it went, and when it was seen to leave. Pure: a
//! reading and the register give the visits that change, as new versions.
//!
//! * Readings of one vehicle belong together by their `passage`, else by camera or area and direction within
//!   `register.passage_s`.
//! * A vehicle that comes in again has a new visit; the earlier one ends unseen (`closed_unseen`), as does one that is
//!   older than `register.visit_timeout_s`.
//! * Another tractor on the same trailer or container is a swap: the visit goes on, the tractor is a dated part.
//! * A container on the trailer of another visit was loaded over: it leaves its visit, and the other one names that as
//!   the one its goods came from.
//! * A tractor that leaves alone only uncouples: trailer and containers are still there.

use std::sync::Arc;

use super::clue::container_weight;
use super::container::CheckState;
use super::observation::{Observation, ObservationKind, Passing};
use super::plate;
use super::register::RegisterSnapshot;
use super::visit::{MAX_ENTRIES, Part, Stay, Visit, VisitPart, VisitState};
use crate::clock::UtcMillis;
use crate::config::{ConfidenceConfig, RegisterConfig};

/// Stays of one area are one while they are not further apart, milliseconds.
const STAY_GAP_MS: i64 = 600_000;

/// The visits that a reading changes or opens. Readings that may be wrong (a container whose check digit does not fit, a
/// seal) change none.
pub(super) fn follow(register: &RegisterSnapshot, seen: &Observation, config: &RegisterConfig) -> Vec<Visit> {
    let Some(part) = part_of(seen) else { return Vec::new() };
    let timeout_ms = i64::from(config.visit_timeout_s) * 1000;
    let known = of_value(register, seen, part, timeout_ms);
    let together = of_passage(register, seen, i64::from(config.passage_s) * 1000);
    let read = Read { seen, part, confidence: &config.confidence };
    let mut changed = match seen.passing {
        Some(Passing::In) => read.come_in(known, together, register.visit(&format!("{OWN}{}", seen.id))),
        Some(Passing::Out) => read.go_out(known, together),
        None => read.inside(known, together),
    };
    changed.retain(is_own);
    changed
}

/// Ids of the visits that the box itself makes begin so. Visits that are sent to it are the sender's to change: a version
/// of the box would stand against the sender's next one.
const OWN: &str = "v-";

fn is_own(visit: &Visit) -> bool {
    visit.id.starts_with(OWN)
}

fn part_of(seen: &Observation) -> Option<Part> {
    match seen.kind {
        ObservationKind::PlateHead => Some(Part::Head),
        ObservationKind::PlateTrailer => Some(Part::Trailer),
        ObservationKind::Plate if plate::kind(&seen.norm) == plate::PlateKind::Trailer => Some(Part::Trailer),
        ObservationKind::Plate => Some(Part::Head),
        ObservationKind::Container if seen.check != Some(CheckState::Fails) => Some(Part::Container),
        ObservationKind::Container | ObservationKind::Seal => None,
    }
}

/// The visit that has this very part at the time.
fn of_value(register: &RegisterSnapshot, seen: &Observation, part: Part, timeout_ms: i64) -> Option<Arc<Visit>> {
    let handle = match part {
        Part::Container => format!("container:{}", seen.norm),
        Part::Head | Part::Trailer => super::fact::plate_handle(&seen.norm),
    };
    let found = register.found(&handle).visits;
    let has = |v: &&&Arc<Visit>| v.state == VisitState::Open && v.covers(seen.at, timeout_ms) && holds(v, part, seen);
    found.iter().filter(has).max_by_key(|v| v.in_at).map(|v| Arc::clone(v))
}

fn holds(visit: &Visit, part: Part, seen: &Observation) -> bool {
    match part {
        Part::Head => visit.head_plate.as_deref().is_some_and(|p| plate::same(p, &seen.norm)),
        Part::Trailer => visit.trailer_plate.as_deref().is_some_and(|p| plate::same(p, &seen.norm)),
        Part::Container => visit.containers.contains(&seen.norm),
    }
}

/// The visit that another reading of the same passing vehicle led to.
fn of_passage(register: &RegisterSnapshot, seen: &Observation, within_ms: i64) -> Option<Arc<Visit>> {
    let handle = match (&seen.passage, &seen.area, &seen.camera) {
        (Some(passage), ..) => format!("passage:{passage}"),
        (None, Some(area), _) => format!("area:{area}"),
        (None, None, camera) => format!("camera:{}", camera.as_ref()?),
    };
    let near = |o: &&&Arc<Observation>| {
        let close = seen.passage.is_some() || (o.at.since(seen.at).abs() <= within_ms && o.passage.is_none());
        o.id != seen.id && o.passing == seen.passing && close
    };
    let found = register.found(&handle).observations;
    let others = found.iter().filter(near);
    others.filter_map(|o| naming(register, o)).max_by_key(|v| v.in_at)
}

/// The visit one of whose parts this reading is.
fn naming(register: &RegisterSnapshot, seen: &Observation) -> Option<Arc<Visit>> {
    let handle = if seen.kind == ObservationKind::Container {
        format!("container:{}", seen.norm)
    } else {
        super::fact::plate_handle(&seen.norm)
    };
    let visits = register.found(&handle).visits;
    let by = |v: &&&Arc<Visit>| v.parts.iter().any(|p| p.observation.as_deref() == Some(&seen.id));
    let latest = || visits.iter().filter(|v| v.state != VisitState::ClosedUnseen).max_by_key(|v| v.in_at);
    visits.iter().find(by).or_else(latest).map(|v| Arc::clone(v))
}

/// A reading of a part, and what a reading is worth.
struct Read<'a> {
    seen: &'a Observation,
    part: Part,
    confidence: &'a ConfidenceConfig,
}

impl Read<'_> {
    /// `opened`: the visit that this very reading opened before it was corrected.
    fn come_in(
        &self,
        known: Option<Arc<Visit>>,
        together: Option<Arc<Visit>>,
        opened: Option<&Arc<Visit>>,
    ) -> Vec<Visit> {
        // The rest of a vehicle that is just coming in, unless that place is taken by another one.
        let (goes_on, next) = match (together.filter(|v| v.state == VisitState::Open && self.fits(v)), opened) {
            (Some(visit), _) if self.holds(&visit) => return Vec::new(),
            (Some(visit), _) => (Some(visit.id.clone()), self.joined(&without(&visit, &self.seen.id))),
            (None, Some(opened)) => (Some(opened.id.clone()), self.joined(&without(opened, &self.seen.id))),
            (None, None) => (None, self.opened()),
        };
        let ended = known.filter(|k| goes_on.as_ref() != Some(&k.id)).map(|old| unseen(&old));
        ended.into_iter().chain([next]).collect()
    }

    /// Room for this part: a vehicle has one tractor and one trailer, and at most a few containers.
    fn fits(&self, visit: &Visit) -> bool {
        match self.part {
            Part::Head => visit.head_plate.is_none() || self.holds(visit),
            Part::Trailer => visit.trailer_plate.is_none() || self.holds(visit),
            Part::Container => visit.containers.len() < 4,
        }
    }

    fn holds(&self, visit: &Visit) -> bool {
        holds(visit, self.part, self.seen)
    }

    fn go_out(&self, known: Option<Arc<Visit>>, together: Option<Arc<Visit>>) -> Vec<Visit> {
        let (seen, part) = (self.seen, self.part);
        let Some(visit) = known else {
            // Another tractor takes it out: what else was read says whose it is.
            let swapped = together.filter(|v| part == Part::Head && v.state != VisitState::ClosedUnseen);
            return swapped.map(|v| self.joined(&v)).into_iter().collect();
        };
        let mut next = newer(&visit);
        let alone = part == Part::Head && (visit.trailer_plate.is_some() || !visit.containers.is_empty());
        if alone && together.is_none_or(|t| t.id != visit.id) {
            next.head_plate = None;
            note(&mut next, part, seen, true);
        } else {
            next.out_at = Some(seen.at);
            next.state = VisitState::Closed;
        }
        vec![next]
    }

    fn inside(&self, known: Option<Arc<Visit>>, together: Option<Arc<Visit>>) -> Vec<Visit> {
        match (known, together) {
            (Some(own), Some(other))
                if own.id != other.id && self.part == Part::Container && other.state == VisitState::Open =>
            {
                self.loaded_over(&own, &other)
            }
            (Some(own), _) => vec![stayed(newer(&own), self.seen)],
            // Another tractor on a trailer or container of the site.
            (None, Some(visit)) if self.part == Part::Head && visit.state == VisitState::Open => {
                vec![stayed(self.joined(&visit), self.seen)]
            }
            _ => Vec::new(),
        }
    }

    /// A container of one visit on the vehicle of another.
    fn loaded_over(&self, own: &Visit, other: &Visit) -> Vec<Visit> {
        let mut left = newer(own);
        left.containers.retain(|c| *c != self.seen.norm);
        note(&mut left, Part::Container, self.seen, true);
        let mut takes = self.joined(other);
        takes.from_visit = Some(own.id.clone());
        takes.confidence = takes.confidence.min(own.confidence);
        vec![left, stayed(takes, self.seen)]
    }

    fn opened(&self) -> Visit {
        self.joined(&Visit {
            id: format!("{OWN}{}", self.seen.id),
            version: 0,
            in_at: self.seen.at,
            out_at: None,
            state: VisitState::Open,
            head_plate: None,
            trailer_plate: None,
            containers: Vec::new(),
            decl_keys: Vec::new(),
            booking_id: None,
            from_visit: None,
            confidence: self.seen.confidence,
            parts: Vec::new(),
            stays: Vec::new(),
        })
    }

    fn joined(&self, visit: &Visit) -> Visit {
        let mut next = newer(visit);
        let value = self.seen.norm.clone();
        match self.part {
            Part::Head => next.head_plate = Some(value),
            Part::Trailer => next.trailer_plate = Some(value),
            Part::Container => {
                next.containers.push(value);
                // It names the goods: the visit is no surer of them.
                next.confidence = next.confidence.min(container_weight(self.seen, self.confidence).0);
            }
        }
        next.in_at = next.in_at.min(self.seen.at);
        note(&mut next, self.part, self.seen, false);
        next
    }
}

/// Without what this reading said earlier.
fn without(visit: &Visit, observation: &str) -> Visit {
    let mut out = visit.clone();
    let said = |p: &VisitPart| p.observation.as_deref() == Some(observation);
    out.containers.retain(|c| !visit.parts.iter().any(|p| said(p) && p.part == Part::Container && p.value == *c));
    out.parts.retain(|p| !said(p));
    out
}

fn stayed(mut visit: Visit, seen: &Observation) -> Visit {
    let Some(area) = &seen.area else { return visit };
    match visit.stays.last_mut().filter(|s| s.area == *area && near(s, seen.at)) {
        Some(stay) => stay.until = stay.until.max(Some(seen.at)),
        None => visit.stays.push(Stay { area: area.clone(), at: seen.at, until: None }),
    }
    visit.stays.drain(..visit.stays.len().saturating_sub(MAX_ENTRIES));
    visit
}

fn near(stay: &Stay, at: UtcMillis) -> bool {
    at.since(stay.until.unwrap_or(stay.at)) <= STAY_GAP_MS
}

fn unseen(visit: &Visit) -> Visit {
    Visit { state: VisitState::ClosedUnseen, ..newer(visit) }
}

fn newer(visit: &Visit) -> Visit {
    Visit { version: visit.version + 1, ..visit.clone() }
}

fn note(visit: &mut Visit, part: Part, seen: &Observation, left: bool) {
    let observation = Some(seen.id.clone());
    visit.parts.push(VisitPart { at: seen.at, part, value: seen.norm.clone(), left, observation });
    visit.parts.drain(..visit.parts.len().saturating_sub(MAX_ENTRIES));
}

/// Visits that nobody saw end in time, as they are from now on.
pub(crate) fn timed_out(register: &RegisterSnapshot, now: UtcMillis, config: &RegisterConfig) -> Vec<Visit> {
    let timeout_ms = i64::from(config.visit_timeout_s) * 1000;
    let over = |v: &&Arc<Visit>| is_own(v) && v.state == VisitState::Open && now.since(v.in_at) >= timeout_ms;
    register.visits().filter(over).map(|v| unseen(v)).collect()
}

#[cfg(test)]
#[path = "visits_tests.rs"]
mod tests;
