//! Clues: everything that says whose goods an event is about, one by one, each by its own way and with its own
//! confidence. Weighing them against each other is in `weigh.rs`, the decision in `link.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::container::CheckState;
use super::fact::plate_handle;
use super::link::{Span, touches};
use super::observation::{Observation, ObservationKind};
use super::{
    BindAction, Binding, Booking, BookingState, DeclKey, DeclNumber, LinkMethod, RegisterSnapshot, Visit, VisitState,
    plate,
};
use crate::clock::UtcMillis;
use crate::config::{ConfidenceConfig, RegisterConfig};
use crate::rules::AreaId;

/// One reason to think of some goods.
#[derive(Debug, Clone)]
pub(super) struct Clue {
    /// Declarations of the goods.
    pub keys: Vec<DeclNumber>,
    /// Their containers, as far as known.
    pub containers: Vec<String>,
    /// The container that was read.
    pub read: Option<String>,
    pub method: LinkMethod,
    pub confidence: f32,
    pub booking: Option<Arc<Booking>>,
    /// Clues of one root say the same thing twice.
    pub root: String,
    /// `booking:…`, `observation:…`, `visit:…`, `binding:…`.
    pub source: String,
    /// The event lies in the booked window, not only near it.
    pub in_window: bool,
    pub reason: String,
}

/// All clues about an event.
#[derive(Debug, Default)]
pub(super) struct Clues {
    pub all: Vec<Clue>,
    /// Containers read with a check digit that fits, with the reading, whether or not anybody knows them.
    pub sure: Vec<(String, String)>,
    /// Handles of what was read: tips may be about them.
    pub read: BTreeSet<String>,
    /// Declarations an officer ruled out, with who.
    pub rejected: Vec<(DeclKey, String)>,
}

/// What is asked about.
pub(super) struct Scene<'a> {
    pub register: &'a RegisterSnapshot,
    pub config: &'a RegisterConfig,
    pub area: &'a AreaId,
    pub event: Option<&'a str>,
    pub span: Span,
}

impl Scene<'_> {
    /// Every clue but those of the area's own bookings, which are given.
    pub(super) fn gather(&self, bookings: Vec<Clue>) -> Clues {
        let mut out = Clues { all: bookings, ..Clues::default() };
        let window_ms = i64::from(self.config.observation_window_s) * 1000;
        let mut readings: Vec<&Arc<Observation>> = Vec::new();
        for seen in self.register.observations_at(self.area) {
            let slack = window_ms + i64::from(seen.uncertainty_ms);
            if self.span.from.plus_ms(-slack) <= seen.at && seen.at <= self.span.until.plus_ms(slack) {
                readings.push(seen);
            }
        }
        for seen in &readings {
            self.read(seen, &mut out);
        }
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let here = self.register.found(&format!("area:{}", self.area)).visits;
        for visit in here.into_iter().filter(|v| self.was_here(v)) {
            out.all.extend(self.inherited(visit, timeout_ms));
            self.bound(&format!("visit:{}", visit.id), &mut out);
        }
        for handle in out.read.clone() {
            self.bound(&handle, &mut out);
        }
        self.bound(&format!("area:{}", self.area), &mut out);
        if let Some(event) = self.event {
            self.bound(&format!("event:{event}"), &mut out);
        }
        out
    }

    fn read(&self, seen: &Observation, out: &mut Clues) {
        match seen.kind {
            ObservationKind::Container => self.container(seen, out),
            ObservationKind::Seal => self.seal(seen, out),
            _ => self.plate(seen, out),
        }
    }

    fn container(&self, seen: &Observation, out: &mut Clues) {
        let c = &self.config.confidence;
        let (confidence, how) = match seen.check {
            Some(CheckState::Ok) if seen.confidence >= c.container_sure => (c.container, "its check digit fits"),
            Some(CheckState::Ok) => (c.container_low, "its check digit fits, the reader is not sure"),
            Some(CheckState::Corrected) => (c.container_corrected, "put right by its check digit"),
            Some(CheckState::Fails) | None => (c.container_unchecked, "its check digit does not fit"),
        };
        if seen.check == Some(CheckState::Ok) {
            out.sure.push((seen.norm.clone(), seen.id.clone()));
        }
        if seen.check.is_some_and(|check| check != CheckState::Fails) {
            out.read.insert(format!("container:{}", seen.norm));
        }
        let keys = self.declared(&seen.norm);
        if keys.is_empty() {
            return;
        }
        out.all.push(Clue {
            keys,
            containers: vec![seen.norm.clone()],
            read: Some(seen.norm.clone()),
            root: format!("container:{}", seen.norm),
            reason: format!("container {} read at {}, {how}", seen.norm, seen.at.to_rfc3339()),
            ..Clue::of(LinkMethod::ContainerOcr, confidence, seen)
        });
    }

    /// Declarations that go with a container: those that name it, and those of bookings and visits around now that do.
    fn declared(&self, container: &str) -> Vec<DeclNumber> {
        let found = self.register.found(&format!("container:{container}"));
        let mut keys: Vec<DeclNumber> = found.declarations.iter().map(|d| d.decl_no.clone()).collect();
        let booked = found.bookings.iter().filter(|b| self.is_around(b));
        keys.extend(booked.flat_map(|b| b.decl_keys.iter().cloned()));
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let visiting = found.visits.iter().filter(|v| v.covers(self.span.from, timeout_ms));
        keys.extend(
            visiting
                .filter(|v| v.containers_at(self.span.until).iter().any(|c| c == container))
                .flat_map(|v| v.decl_keys.iter().cloned()),
        );
        unique(keys)
    }

    fn is_around(&self, booking: &Booking) -> bool {
        let (before, after) = (i64::from(self.config.grace_before_s), i64::from(self.config.grace_after_s));
        let (start, end) = (booking.start.plus_ms(-before * 1000), booking.end.plus_ms(after * 1000));
        booking.state != BookingState::Cancelled && touches(start, end, self.span.from, self.span.until)
    }

    fn seal(&self, seen: &Observation, out: &mut Clues) {
        let handle = format!("seal:{}", seen.norm);
        let found = self.register.found(&handle).declarations;
        if let [only] = found.as_slice() {
            out.all.push(Clue {
                keys: vec![only.decl_no.clone()],
                containers: only.containers.clone(),
                root: handle.clone(),
                reason: format!("seal {} read at {}, of this declaration alone", seen.norm, seen.at.to_rfc3339()),
                ..Clue::of(LinkMethod::Seal, self.config.confidence.seal, seen)
            });
        }
        out.read.insert(handle);
    }

    fn plate(&self, seen: &Observation, out: &mut Clues) {
        let c = &self.config.confidence;
        let handle = plate_handle(&seen.norm);
        let found = self.register.found(&handle);
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let mut exact = false;
        for booking in found.bookings.into_iter().filter(|b| self.is_around(b)) {
            out.all.push(self.by_plate(seen, c.plate, "the booked vehicle", Goods::Booked(booking)));
            exact = true;
        }
        for visit in found.visits.into_iter().filter(|v| v.covers(seen.at, timeout_ms)) {
            out.all.extend(self.by_visit(seen, c.plate, "the visiting vehicle", visit));
            exact = true;
        }
        if !exact {
            self.near_plate(seen, c, out);
        }
        out.read.insert(handle);
    }

    fn near_plate(&self, seen: &Observation, c: &ConfidenceConfig, out: &mut Clues) {
        let near = |plate: &String| plate::distance(plate, &seen.norm) <= c.plate_distance;
        let here = self.register.bookings_of(self.area).iter().filter(|b| self.is_around(b));
        for booking in here.filter(|b| b.plates.iter().any(near)) {
            out.all.push(self.by_plate(
                seen,
                c.plate_near,
                "nearly that of the booked vehicle",
                Goods::Booked(booking),
            ));
        }
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let there = |v: &&Arc<Visit>| v.state == VisitState::Open && v.covers(seen.at, timeout_ms);
        for visit in self.register.visits().filter(there) {
            if visit.head_plate.iter().chain(&visit.trailer_plate).any(near) {
                out.all.extend(self.by_visit(seen, c.plate_near, "nearly that of the visiting vehicle", visit));
            }
        }
    }

    fn by_visit(&self, seen: &Observation, confidence: f32, whose: &str, visit: &Arc<Visit>) -> Option<Clue> {
        let keys = self.goods_of(visit);
        (!keys.is_empty()).then(|| self.by_plate(seen, confidence, whose, Goods::Visiting(visit, keys)))
    }

    fn by_plate(&self, seen: &Observation, confidence: f32, whose: &str, goods: Goods<'_>) -> Clue {
        let (keys, containers, booking) = match goods {
            Goods::Booked(b) => (b.decl_keys.clone(), self.containers_of(b), Some(Arc::clone(b))),
            Goods::Visiting(v, keys) => (keys, v.containers_at(seen.at), None),
        };
        Clue {
            keys,
            containers,
            booking,
            root: plate_handle(&seen.norm),
            reason: format!("plate {} read at {}, {whose}", seen.norm, seen.at.to_rfc3339()),
            ..Clue::of(LinkMethod::PlateOcr, confidence, seen)
        }
    }

    /// Containers of a booking: its own, else those of its declarations.
    pub(super) fn containers_of(&self, booking: &Booking) -> Vec<String> {
        if !booking.containers.is_empty() {
            return booking.containers.clone();
        }
        let declared = booking.decl_keys.iter().filter_map(|d| self.register.declaration(&d.key));
        let all: BTreeSet<String> = declared.flat_map(|d| d.containers.iter().cloned()).collect();
        all.into_iter().collect()
    }

    fn was_here(&self, visit: &Visit) -> bool {
        let window_ms = i64::from(self.config.observation_window_s) * 1000;
        let here = visit.stays.iter().filter(|s| s.area == *self.area);
        here.into_iter().any(|s| {
            let until = s.until.unwrap_or(s.at);
            s.at.plus_ms(-window_ms) <= self.span.until && self.span.from <= until.plus_ms(window_ms)
        })
    }

    /// What an event inherits from the visit that was here. Goods without a container that were loaded over come from the
    /// visit before, a hop further; a container brings its declarations itself.
    fn inherited(&self, visit: &Arc<Visit>, timeout_ms: i64) -> Vec<Clue> {
        if !visit.covers(self.span.from, timeout_ms) && !visit.covers(self.span.until, timeout_ms) {
            return Vec::new();
        }
        let mut out = Vec::new();
        let (mut hop, mut next) = (1, Some(Arc::clone(visit)));
        while let Some(v) = next.filter(|_| hop <= MAX_HOPS) {
            let keys = self.goods_of(&v);
            if !keys.is_empty() {
                out.push(self.of_visit(&v, keys, hop));
            }
            let before = v.from_visit.as_ref().filter(|_| v.containers.is_empty());
            next = before.and_then(|id| self.register.visit(id)).map(Arc::clone);
            hop += 1;
        }
        out
    }

    fn of_visit(&self, visit: &Arc<Visit>, keys: Vec<DeclNumber>, hop: i32) -> Clue {
        let booking = visit.booking_id.as_ref().and_then(|id| self.register.booking(id)).map(Arc::clone);
        Clue {
            keys,
            containers: visit.containers_at(self.span.until),
            read: None,
            method: LinkMethod::Visit,
            confidence: visit.confidence * self.config.confidence.hop.powi(hop),
            // A visit that a booking opened says no more than that booking.
            root: if booking.is_some() { "booking".into() } else { "visit".into() },
            source: format!("visit:{}", visit.id),
            in_window: false,
            reason: format!("inherited from visit {}, {hop} hop(s)", visit.id),
            booking,
        }
    }

    /// Declarations of a visit: those it names, those of its containers, those of the booking that opened it.
    fn goods_of(&self, visit: &Visit) -> Vec<DeclNumber> {
        let mut keys = visit.decl_keys.clone();
        for container in visit.containers_at(self.span.until) {
            let found = self.register.found(&format!("container:{container}")).declarations;
            keys.extend(found.iter().map(|d| d.decl_no.clone()));
        }
        let booking = visit.booking_id.as_ref().and_then(|id| self.register.booking(id));
        keys.extend(booking.iter().flat_map(|b| b.decl_keys.iter().cloned()));
        unique(keys)
    }

    fn bound(&self, handle: &str, out: &mut Clues) {
        let bindings = self.register.found(handle).bindings;
        let said = bindings.into_iter().filter(|b| b.is_about(self.span.from, self.span.until));
        for binding in said.filter(|b| targets(b, handle) && !self.register.is_superseded(b)) {
            match binding.action {
                BindAction::Bind => out.all.push(self.officer(binding)),
                BindAction::Reject => out.rejected.push((binding.decl_no.key.clone(), binding.officer.clone())),
            }
        }
    }

    fn officer(&self, binding: &Binding) -> Clue {
        let known = self.register.declaration(&binding.decl_no.key);
        Clue {
            keys: vec![binding.decl_no.clone()],
            containers: known.map_or_else(Vec::new, |d| d.containers.clone()),
            read: None,
            method: LinkMethod::Officer,
            confidence: self.config.confidence.officer,
            booking: None,
            root: "officer".into(),
            source: format!("binding:{}", binding.id),
            in_window: false,
            reason: format!("bound by officer {} at {}", binding.officer, binding.at.to_rfc3339()),
        }
    }
}

/// Visits that goods are followed through, at most.
const MAX_HOPS: i32 = 4;

enum Goods<'a> {
    Booked(&'a Arc<Booking>),
    Visiting(&'a Arc<Visit>, Vec<DeclNumber>),
}

impl Clue {
    fn of(method: LinkMethod, confidence: f32, seen: &Observation) -> Self {
        Self {
            keys: Vec::new(),
            containers: Vec::new(),
            read: None,
            method,
            confidence,
            booking: None,
            root: String::new(),
            source: format!("observation:{}", seen.id),
            in_window: false,
            reason: String::new(),
        }
    }
}

/// Bindings are found by all they name; only the thing they bind counts here.
fn targets(binding: &Binding, handle: &str) -> bool {
    !handle.starts_with("decl:") && !handle.starts_with("binding:") && binding.supersedes.as_deref() != Some(handle)
}

fn unique(keys: Vec<DeclNumber>) -> Vec<DeclNumber> {
    let mut seen = BTreeSet::new();
    keys.into_iter().filter(|d| seen.insert(d.key.clone())).collect()
}

/// Moments of a span, for those who compare.
pub(super) fn span(start: UtcMillis, end: Option<UtcMillis>, uncertainty_ms: u32, now: UtcMillis) -> Span {
    let u = i64::from(uncertainty_ms);
    let until = end.unwrap_or(now).max(start).plus_ms(u);
    Span { from: start.plus_ms(-u), start_until: start.plus_ms(u), until }
}
