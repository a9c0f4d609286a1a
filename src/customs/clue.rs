//! Clues: everything that says whose goods an event is about, one by one, each by its own way and with its own
//! confidence. Weighing them against each other is in `weigh.rs`, the decision in `link.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::container::CheckState;
use super::fact::plate_handle;
use super::link::{Span, touches};
use super::observation::{Observation, ObservationKind};
use super::{
    BindAction, Binding, Booking, BookingState, DeclKey, DeclNumber, Declaration, LinkMethod, RegisterSnapshot, Visit,
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
    /// Visits the clues rest on, with what was read that names each: an officer may have bound them.
    visits: BTreeMap<String, Option<String>>,
}

/// What is asked about.
pub(super) struct Scene<'a> {
    pub register: &'a RegisterSnapshot,
    pub config: &'a RegisterConfig,
    pub area: &'a AreaId,
    pub event: Option<&'a str>,
    /// When it happened, and when others crossed here: see [`super::Sought::others`].
    pub at: UtcMillis,
    pub others: &'a [UtcMillis],
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
            let near = self.span.from.plus_ms(-slack) <= seen.at && seen.at <= self.span.until.plus_ms(slack);
            if near && !self.is_of_another(seen.at) {
                readings.push(seen);
            }
        }
        for seen in &readings {
            self.read(seen, &mut out);
        }
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let here = self.register.found(&format!("area:{}", self.area)).visits;
        for visit in here.into_iter().filter(|v| self.was_here(v)) {
            let mut inherited = self.inherited(visit, timeout_ms);
            // It was here because a plate was read, and that plate named its goods: one reading, not two.
            if let Some(Some(root)) = out.visits.get(&visit.id) {
                inherited.iter_mut().filter(|c| c.root == "visit").for_each(|c| c.root.clone_from(root));
            }
            out.all.extend(inherited);
            out.visits.entry(visit.id.clone()).or_default();
        }
        for visit in out.visits.clone().into_keys() {
            self.bound(&format!("visit:{visit}"), &mut out);
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

    /// Somebody else crossed between the reading and this crossing: it is of that one.
    fn is_of_another(&self, read: UtcMillis) -> bool {
        let (from, to) = (read.min(self.at), read.max(self.at));
        self.others.iter().any(|o| from < *o && *o < to && o.since(self.at).abs() > SAME_CROSSING_MS)
    }

    fn read(&self, seen: &Observation, out: &mut Clues) {
        match seen.kind {
            ObservationKind::Container => self.container(seen, out),
            ObservationKind::Seal => self.seal(seen, out),
            _ => self.plate(seen, out),
        }
    }

    fn container(&self, seen: &Observation, out: &mut Clues) {
        let (mut confidence, mut how) = container_weight(seen, &self.config.confidence);
        if seen.check == Some(CheckState::Ok) {
            out.sure.push((seen.norm.clone(), seen.id.clone()));
        }
        if seen.check.is_some_and(|check| check != CheckState::Fails) {
            out.read.insert(format!("container:{}", seen.norm));
        }
        let (keys, has_passed) = self.declared(&seen.norm, out);
        if keys.is_empty() {
            return;
        }
        if has_passed {
            confidence = confidence.min(self.config.confidence.booking_grace);
            how = "but the goods declared in it passed the supervised area long before";
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
    /// A container is used again: goods that passed long ago count only where nothing else is known (true).
    fn declared(&self, container: &str, out: &mut Clues) -> (Vec<DeclNumber>, bool) {
        let found = self.register.found(&format!("container:{container}"));
        let (passed, declared): (Vec<&Arc<Declaration>>, Vec<&Arc<Declaration>>) =
            found.declarations.iter().copied().partition(|d| self.has_passed(d));
        let mut keys: Vec<DeclNumber> = declared.iter().map(|d| d.decl_no.clone()).collect();
        let booked = found.bookings.iter().filter(|b| self.is_around(b));
        keys.extend(booked.flat_map(|b| b.decl_keys.iter().cloned()));
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let visiting = found.visits.iter().filter(|v| v.covers(self.span.from, timeout_ms));
        let with = visiting.filter(|v| v.containers_at(self.span.until).iter().any(|c| c == container));
        for visit in latest(with.map(|v| (v.in_at, *v)).collect()) {
            keys.extend(visit.decl_keys.iter().cloned());
            out.visits.entry(visit.id.clone()).or_default();
        }
        let nothing_else = keys.is_empty() && !passed.is_empty();
        if nothing_else {
            keys.extend(passed.iter().map(|d| d.decl_no.clone()));
        }
        (unique(keys), nothing_else)
    }

    /// Its goods passed the supervised area so long before that what is seen now is something else.
    pub(super) fn has_passed(&self, declaration: &Declaration) -> bool {
        passed_before(declaration, self.span.from, self.config).is_some()
    }

    fn is_around(&self, booking: &Booking) -> bool {
        is_around(booking, self.span, self.config)
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
        let covering = found.visits.into_iter().filter(|v| v.covers(seen.at, timeout_ms));
        let has = |v: &&Arc<Visit>| {
            v.plates_at(seen.at).into_iter().find(|(p, _)| plate::same(p, &seen.norm)).map(|(_, since)| since)
        };
        for visit in latest(covering.filter_map(|v| Some((has(&v)?, v))).collect()) {
            out.all.extend(self.by_visit(seen, c.plate, "the visiting vehicle", visit));
            out.visits.insert(visit.id.clone(), Some(handle.clone()));
            exact = true;
        }
        if !exact {
            self.near_plate(seen, c, out);
        }
        out.read.insert(handle);
    }

    fn near_plate(&self, seen: &Observation, c: &ConfidenceConfig, out: &mut Clues) {
        let near = |plate: &str| plate::distance(plate, &seen.norm) <= c.plate_distance;
        let here = self.register.bookings_of(self.area).iter().filter(|b| self.is_around(b));
        for booking in here.filter(|b| b.plates.iter().any(|p| near(p))) {
            out.all.push(self.by_plate(
                seen,
                c.plate_near,
                "nearly that of the booked vehicle",
                Goods::Booked(booking),
            ));
        }
        let timeout_ms = i64::from(self.config.visit_timeout_s) * 1000;
        let mut there: BTreeMap<&str, Vec<(UtcMillis, &Arc<Visit>)>> = BTreeMap::new();
        for visit in self.register.visits().filter(|v| v.covers(seen.at, timeout_ms)) {
            for (plate, since) in visit.plates_at(seen.at).into_iter().filter(|(p, _)| near(p)) {
                there.entry(plate).or_default().push((since, visit));
            }
        }
        let visits: BTreeMap<&str, _> = there.into_values().flat_map(latest).map(|v| (v.id.as_str(), v)).collect();
        for visit in visits.into_values() {
            out.all.extend(self.by_visit(seen, c.plate_near, "nearly that of the visiting vehicle", visit));
        }
    }

    fn by_visit(&self, seen: &Observation, confidence: f32, whose: &str, visit: &Arc<Visit>) -> Option<Clue> {
        let keys = self.goods_of(visit);
        // The plate says which visit, and that is no surer of its goods than what it rests on.
        let confidence = confidence.min(visit.confidence);
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
            keys.extend(found.iter().filter(|d| !self.has_passed(d)).map(|d| d.decl_no.clone()));
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
/// Times of coming in so close together may be one, milliseconds.
const SAME_ENTRY_MS: i64 = 600_000;
/// Crossings so close together may be one vehicle that was seen as two, milliseconds.
const SAME_CROSSING_MS: i64 = 1000;

/// What a container that was read weighs, and how that is said.
pub(super) fn container_weight(seen: &Observation, c: &ConfidenceConfig) -> (f32, &'static str) {
    match seen.check {
        Some(CheckState::Ok) if seen.confidence >= c.container_sure => (c.container, "its check digit fits"),
        Some(CheckState::Ok) => (c.container_low, "its check digit fits, the reader is not sure"),
        Some(CheckState::Corrected) => (c.container_corrected, "put right by its check digit"),
        Some(CheckState::Fails) | None => (c.container_unchecked, "its check digit does not fit"),
    }
}

/// When its goods passed the supervised area, if that is further back than a vehicle stays on the site.
pub(super) fn passed_before(declaration: &Declaration, at: UtcMillis, config: &RegisterConfig) -> Option<UtcMillis> {
    let stay_ms = i64::from(config.visit_timeout_s) * 1000;
    declaration.passed_kvgs_at.filter(|passed| passed.plus_ms(stay_ms) < at)
}

/// Of visits that one vehicle or container belongs to since these times the latest: it is on the site once. What began
/// about the same time may be one coming in that was told twice, by the gate system and by readings.
fn latest(visits: Vec<(UtcMillis, &Arc<Visit>)>) -> Vec<&Arc<Visit>> {
    let last = visits.iter().map(|(since, _)| *since).max();
    let is_last = |since: UtcMillis| last.is_some_and(|last| last.since(since) <= SAME_ENTRY_MS);
    visits.into_iter().filter(|(since, _)| is_last(*since)).map(|(_, visit)| visit).collect()
}

enum Goods<'a> {
    Booked(&'a Arc<Booking>),
    Visiting(&'a Arc<Visit>, Vec<DeclNumber>),
}

impl Clue {
    /// Containers known to be on the vehicle: read there, or of its visit. Those that were only declared or booked are not.
    pub(super) fn aboard(&self) -> &[String] {
        match self.method {
            LinkMethod::ContainerOcr | LinkMethod::Visit => &self.containers,
            LinkMethod::PlateOcr if self.booking.is_none() => &self.containers,
            _ => &[],
        }
    }

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

/// Whether a booking is about a time, its grace times included.
pub(super) fn is_around(booking: &Booking, span: Span, config: &RegisterConfig) -> bool {
    let (from, until) = booking.with_grace(config);
    booking.state != BookingState::Cancelled && touches(from, until, span.from, span.until)
}

/// Moments of a span, for those who compare.
pub(super) fn span(start: UtcMillis, end: Option<UtcMillis>, uncertainty_ms: u32, now: UtcMillis) -> Span {
    let u = i64::from(uncertainty_ms);
    let until = end.unwrap_or(now).max(start).plus_ms(u);
    Span { from: start.plus_ms(-u), start_until: start.plus_ms(u), until }
}
