//! From a tip back to what the cameras saw: events, bookings, visits, readings, and the footage of the times they lead to.
//! Everything is asked of the store, so it answers about times long before the present run. Placing holds and publishing
//! are in `tips.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::config::{Config, RegisterConfig};
use crate::coverage::{Blind, BlindReason, Span};
use crate::customs::correlation::{
    Candidate, Correlation, Footage, FootageRange, FoundEvent, Gap, Spot, Standing, ranges, together, uncovered,
};
use crate::customs::register::{Fact, FactKind};
use crate::customs::{
    Booking, BookingState, DeclKey, Declaration, Observation, RegisterSnapshot, Tip, TipState, Visit, plate,
};
use crate::store::{Store, StoreError, Traced};

/// Rows asked for of one sort, at most.
const MAX_ROWS: i64 = 2_000;
/// Named in one message, at most: it must fit into a packet.
const MAX_EVENTS: usize = 200;
const MAX_RANGES: usize = 200;
const MAX_NAMES: usize = 100;
const MAX_CANDIDATES: usize = 50;
const MAX_GAPS: usize = 50;
/// Without a declaration that says when it was registered, this far back, milliseconds.
const LOOK_BACK_MS: i64 = 30 * 86_400_000;
/// Registration is preceded by arrival, milliseconds.
const BEFORE_REGISTRATION_MS: i64 = 2 * 3_600_000;
/// What still lasts is asked for in steps of this, so that a tip is not published anew every minute, milliseconds.
const STEP_MS: i64 = 600_000;
/// The youngest footage is still being written, milliseconds.
const BEING_WRITTEN_MS: i64 = 60_000;

/// Searches for tips.
#[derive(Debug, Clone)]
pub struct Correlator {
    /// Where everything is found.
    pub store: Store,
    /// Weights, times, cameras.
    pub config: Arc<Config>,
}

/// What a search goes by.
struct Search<'a> {
    tip: &'a Tip,
    register: &'a RegisterSnapshot,
    config: &'a RegisterConfig,
    now: UtcMillis,
    from: UtcMillis,
    to: UtcMillis,
    declarations: Vec<Declaration>,
    keys: BTreeSet<DeclKey>,
    containers: BTreeSet<String>,
    plates: BTreeSet<String>,
    out: Hits,
}

#[derive(Default)]
struct Hits {
    spots: Vec<Spot>,
    events: BTreeMap<String, (Traced, String)>,
    bookings: BTreeSet<String>,
    visits: BTreeSet<String>,
    observations: BTreeSet<String>,
    candidates: Vec<Candidate>,
    notes: Vec<String>,
}

impl Correlator {
    /// What there is about a tip now. Ranges name no holds yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(
        &self,
        tip: &Tip,
        register: &RegisterSnapshot,
        now: UtcMillis,
    ) -> Result<Correlation, StoreError> {
        let mut search = self.begin(tip, register, now).await?;
        if tip.is_bare() {
            self.by_time(&mut search).await?;
        } else {
            self.by_links(&mut search).await?;
            self.by_bookings(&mut search).await?;
            self.by_readings(&mut search).await?;
            self.by_visits(&mut search).await?;
            if search.out.spots.is_empty() {
                search.near_misses();
            }
        }
        self.finish(search).await
    }

    async fn begin<'a>(
        &'a self,
        tip: &'a Tip,
        register: &'a RegisterSnapshot,
        now: UtcMillis,
    ) -> Result<Search<'a>, StoreError> {
        let mut containers: BTreeSet<String> = tip.containers.iter().cloned().collect();
        let mut plates: BTreeSet<String> = tip.plates.iter().cloned().collect();
        let named: Vec<String> = tip.decl_no.iter().map(|d| format!("decl:{}", d.key)).collect();
        let of_container: Vec<String> = containers.iter().map(|c| format!("container:{c}")).collect();
        let handles = if named.is_empty() { of_container } else { named };
        let found = self.store.facts_by(FactKind::Declaration, &handles, MAX_ROWS).await?;
        let declarations: Vec<Declaration> =
            found.into_iter().filter_map(|f| if let Fact::Declaration(d) = f { Some(d) } else { None }).collect();
        let mut keys: BTreeSet<DeclKey> = tip.decl_no.iter().map(|d| d.key.clone()).collect();
        if tip.decl_no.is_some() {
            containers.extend(declarations.iter().flat_map(|d| d.containers.iter().cloned()));
            plates.extend(declarations.iter().flat_map(|d| d.plates.iter().cloned()));
        }
        // A declaration of one container is about that container; of several it may be about another one.
        keys.extend(declarations.iter().filter(|d| d.containers.len() == 1).map(|d| d.key().clone()));
        let registered = declarations.iter().filter(|_| tip.decl_no.is_some()).filter_map(|d| d.registered_at).min();
        let back = registered.map_or(now.plus_ms(-LOOK_BACK_MS), |t| t.plus_ms(-BEFORE_REGISTRATION_MS));
        let (from, to) = (tip.from.unwrap_or(back), tip.to.unwrap_or(now));
        let out = Hits::default();
        let config = &self.config.register;
        Ok(Search { tip, register, config, now, from, to, declarations, keys, containers, plates, out })
    }

    /// Events by their links; those of declarations that only share a container are candidates.
    async fn by_links(&self, s: &mut Search<'_>) -> Result<(), StoreError> {
        for key in s.keys.clone() {
            for event in self.store.events_of(&key.0, (s.from, s.to), MAX_ROWS).await? {
                let by = event.method.clone();
                s.hit(event, by);
            }
        }
        let unsure: Vec<DeclKey> =
            s.declarations.iter().map(|d| d.key().clone()).filter(|k| !s.keys.contains(k)).collect();
        for key in unsure {
            for event in self.store.events_of(&key.0, (s.from, s.to), MAX_NAMES as i64).await? {
                let why = format!("declaration {key} has this container among others");
                s.candidate(format!("event:{}", event.event_id), Some(event.camera), UtcMillis(event.start_ms), why);
            }
        }
        Ok(())
    }

    async fn by_bookings(&self, s: &mut Search<'_>) -> Result<(), StoreError> {
        for fact in self.store.facts_by(FactKind::Booking, &s.handles(false), MAX_ROWS).await? {
            let Fact::Booking(booking) = fact else { continue };
            if booking.state != BookingState::Cancelled && booking.start <= s.to && s.from < booking.end {
                s.booked(&booking);
            }
        }
        Ok(())
    }

    async fn by_readings(&self, s: &mut Search<'_>) -> Result<(), StoreError> {
        let mut near: Vec<(Option<String>, Option<String>, UtcMillis)> = Vec::new();
        for fact in self.store.facts_by(FactKind::Observation, &s.handles(true), MAX_ROWS).await? {
            let Fact::Observation(seen) = fact else { continue };
            if seen.at < s.from || s.to < seen.at {
                continue;
            }
            s.read(&seen);
            let camera = seen.camera.as_ref().map(|c| c.0.clone());
            near.push((camera, seen.area.as_ref().map(|a| a.0.clone()), seen.at));
        }
        // Events beside a reading, also those that no link names.
        let slack = i64::from(s.config.observation_window_s) * 1000;
        near.truncate(MAX_NAMES);
        for (camera, area, at) in near {
            let span = (at.plus_ms(-slack), at.plus_ms(slack));
            let place = (camera.as_deref().filter(|_| area.is_none()), area.as_deref());
            for event in self.store.events_at(place, span, MAX_NAMES as i64).await? {
                s.hit(event, "observation".into());
            }
        }
        Ok(())
    }

    async fn by_visits(&self, s: &mut Search<'_>) -> Result<(), StoreError> {
        let timeout_ms = i64::from(s.config.visit_timeout_s) * 1000;
        for fact in self.store.facts_by(FactKind::Visit, &s.handles(true), MAX_ROWS).await? {
            let Fact::Visit(visit) = fact else { continue };
            let until = visit.out_at.unwrap_or(visit.in_at.plus_ms(timeout_ms));
            if visit.in_at <= s.to && s.from <= until {
                s.visited(&visit);
            }
        }
        Ok(())
    }

    /// A tip about nothing but a time: whole cameras.
    async fn by_time(&self, s: &mut Search<'_>) -> Result<(), StoreError> {
        let named = |id: &str| s.tip.cameras.is_empty() || s.tip.cameras.iter().any(|c| c.0 == id);
        let cameras: Vec<String> = self.config.cameras.iter().map(|c| c.id.0.clone()).filter(|id| named(id)).collect();
        for camera in cameras {
            for event in self.store.events_at((Some(&camera), None), (s.from, s.to), MAX_ROWS).await? {
                s.hit(event, "window".into());
            }
            s.out.spots.retain(|spot| spot.camera != camera);
            let (from, to) = (s.from, s.to);
            s.out.spots.push(Spot { camera, from, to, because: "window".into() });
        }
        Ok(())
    }

    async fn finish(&self, s: Search<'_>) -> Result<Correlation, StoreError> {
        let pad = i64::from(!s.tip.is_bare());
        let (before, after) =
            (i64::from(s.config.tip_before_s) * 1000 * pad, i64::from(s.config.tip_after_s) * 1000 * pad);
        let mut found = ranges(s.out.spots, before, after);
        let mut notes = s.out.notes;
        if found.len() > MAX_RANGES {
            notes.push(format!("{} ranges found, the first {MAX_RANGES} are named and held", found.len()));
            found.truncate(MAX_RANGES);
        }
        for range in &mut found {
            judge(&self.store, range, s.now).await?;
        }
        if let Some(key) = s.tip.decl_no.as_ref().map(|d| &d.key)
            && s.declarations.is_empty()
        {
            notes.push(format!("declaration {key} was never received; looked back {} days", LOOK_BACK_MS / 86_400_000));
        }
        let events_total = s.out.events.len();
        let mut events: Vec<(Traced, String)> = s.out.events.into_values().collect();
        events.sort_by(|a, b| (a.0.start_ms, &a.0.event_id).cmp(&(b.0.start_ms, &b.0.event_id)));
        let events = self.describe(events).await?;
        let names = |set: BTreeSet<String>| set.into_iter().take(MAX_NAMES).collect::<Vec<_>>();
        Ok(Correlation {
            tip_id: s.tip.id.clone(),
            tip_version: s.tip.version,
            state: standing(s.tip, s.now, s.config.tip_days),
            decl_key: s.tip.decl_no.as_ref().map(|d| d.key.clone()),
            containers: names(s.containers),
            plates: names(s.plates),
            from: s.from,
            to: s.to,
            run_at: s.now,
            footage: if found.is_empty() { Footage::None } else { together(&found) },
            ranges: found,
            events,
            events_total,
            bookings: names(s.out.bookings),
            visits: names(s.out.visits),
            observations: names(s.out.observations),
            candidates: s.out.candidates,
            notes,
        })
    }

    /// Events with their pictures.
    async fn describe(&self, mut events: Vec<(Traced, String)>) -> Result<Vec<FoundEvent>, StoreError> {
        if events.len() > MAX_EVENTS {
            events.drain(..events.len() - MAX_EVENTS);
        }
        let ids: Vec<String> = events.iter().map(|(e, _)| e.event_id.clone()).collect();
        let messages = self.store.latest_events(&ids).await?;
        let pictures: BTreeMap<String, (String, String)> = messages
            .into_iter()
            .filter_map(|m| m.data.snapshot.map(|s| (m.id.to_string(), (s.topic, s.sha256))))
            .collect();
        let one = |(e, by): (Traced, String)| {
            let picture = pictures.get(&e.event_id);
            let linked = !e.state.is_empty();
            FoundEvent {
                picture_topic: picture.map(|p| p.0.clone()),
                picture_sha256: picture.map(|p| p.1.clone()),
                id: e.event_id,
                seq: e.seq,
                camera: e.camera,
                area: e.area,
                rule: e.rule,
                severity: e.severity,
                start: UtcMillis(e.start_ms),
                end: e.end_ms.map(UtcMillis),
                by,
                confidence: linked.then_some(e.confidence),
                state: linked.then_some(e.state),
            }
        };
        Ok(events.into_iter().map(one).collect())
    }
}

impl Search<'_> {
    /// Handles of all that is looked for.
    fn handles(&self, with_plates: bool) -> Vec<String> {
        let mut out: Vec<String> = self.containers.iter().map(|c| format!("container:{c}")).collect();
        out.extend(self.keys.iter().map(|k| format!("decl:{k}")));
        let plates = self.plates.iter().filter(|_| with_plates || self.tip.decl_no.is_none());
        out.extend(plates.map(|p| format!("plate:{}", plate::folded(p))));
        out
    }

    fn hit(&mut self, event: Traced, by: String) {
        let lasts_until = ceil(self.now, STEP_MS);
        let (from, to) = (UtcMillis(event.start_ms), event.end_ms.map_or(lasts_until, UtcMillis));
        let because = format!("event:{}", event.event_id);
        self.spot(event.camera.clone(), from, to, because);
        self.out.events.entry(event.event_id.clone()).or_insert((event, by));
    }

    fn booked(&mut self, booking: &Booking) {
        self.out.bookings.insert(booking.id.clone());
        self.plates.extend(booking.plates.iter().cloned());
        let Some(camera) = self.register.camera_of(&booking.area) else {
            let note = format!("booking {}: area {} is not one of this box", booking.id, booking.area);
            self.out.notes.push(note);
            return;
        };
        if booking.start <= self.now {
            self.spot(camera.0.clone(), booking.start, booking.end, format!("booking:{}", booking.id));
        }
    }

    fn read(&mut self, seen: &Observation) {
        self.out.observations.insert(seen.id.clone());
        let of_area = seen.area.as_ref().and_then(|a| self.register.camera_of(a));
        if let Some(camera) = seen.camera.as_ref().or(of_area) {
            self.spot(camera.0.clone(), seen.at, seen.at, format!("observation:{}", seen.id));
        }
    }

    fn visited(&mut self, visit: &Visit) {
        self.out.visits.insert(visit.id.clone());
        for stay in &visit.stays {
            if let Some(camera) = self.register.camera_of(&stay.area) {
                let because = format!("visit:{}", visit.id);
                self.spot(camera.0.clone(), stay.at, stay.until.unwrap_or(stay.at), because);
            }
        }
    }

    /// A time at a camera, as far as the tip is about it.
    fn spot(&mut self, camera: String, from: UtcMillis, to: UtcMillis, because: String) {
        let (from, to) = (from.max(self.from), if self.tip.to.is_some() { to.min(self.to) } else { to });
        if from <= to {
            self.out.spots.push(Spot { camera, from, to, because });
        }
    }

    /// Nothing was found: readings that nearly fit are named, and nothing is held for them.
    fn near_misses(&mut self) {
        let wanted: Vec<String> = self.plates.iter().cloned().collect();
        let mut near = Vec::new();
        for seen in self.register.observations().filter(|o| o.is_plate() && self.from <= o.at && o.at <= self.to) {
            let best = wanted.iter().map(|p| (plate::distance(p, &seen.norm), p)).min_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((distance, wanted)) = best.filter(|b| b.0 <= self.config.confidence.plate_distance) {
                near.push((
                    Arc::clone(seen),
                    format!("plate {} is nearly {wanted} (distance {distance:.1})", seen.norm),
                ));
            }
        }
        for (seen, why) in near {
            let camera = seen.camera.as_ref().or(seen.area.as_ref().and_then(|a| self.register.camera_of(a)));
            self.candidate(format!("observation:{}", seen.id), camera.map(|c| c.0.clone()), seen.at, why);
        }
        self.out.notes.push("nothing found by link, booking, container, plate or visit".into());
    }

    fn candidate(&mut self, what: String, camera: Option<String>, at: UtcMillis, why: String) {
        if self.out.candidates.len() < MAX_CANDIDATES {
            self.out.candidates.push(Candidate { what, camera, at, why });
        }
    }
}

/// How much footage there is of a range, up to now.
pub(super) async fn judge(store: &Store, range: &mut FootageRange, now: UtcMillis) -> Result<(), StoreError> {
    let until = range.to.min(now);
    if until <= range.from {
        range.why = Some("it lies ahead".into());
        return Ok(());
    }
    let pieces = store.pieces(&range.camera, range.from, until).await?;
    let there = |state: &str| matches!(state, "kept" | "writing");
    let kept: Vec<(UtcMillis, UtcMillis)> =
        pieces.iter().filter(|p| there(&p.state)).map(|p| (UtcMillis(p.start_ms), UtcMillis(p.end_ms))).collect();
    let recorded = !pieces.is_empty() || store.was_recorded(&range.camera).await?;
    let mut missing = uncovered(range.from, until, &kept);
    let writing = |(from, to): &(UtcMillis, UtcMillis)| {
        *to == now && now.since(*from) <= BEING_WRITTEN_MS && kept.last().is_some_and(|(_, end)| end >= from)
    };
    missing.retain(|gap| !writing(gap));
    let why = |from: UtcMillis, to: UtcMillis| {
        let gone = pieces.iter().find(|p| !there(&p.state) && p.start_ms < to.0 && from.0 < p.end_ms);
        match (gone.map(|p| p.state.as_str()), recorded) {
            (Some("expired"), _) => "expired: deleted by age or room before the tip came",
            (Some(_), _) => "lost: the file is damaged or gone",
            (None, true) => "not recorded then",
            (None, false) => "this camera was never recorded",
        }
    };
    // What goes on is said to go on to the end, so that the answer is not another one every minute.
    let end = range.to;
    let going_on = |to: UtcMillis, lasts: bool| if lasts && now.since(to) < BEING_WRITTEN_MS * 2 { end } else { to };
    let gaps =
        missing.into_iter().map(|(from, to)| Gap { from, to: going_on(to, to == until), why: why(from, to).into() });
    range.judge(until, gaps.collect());
    let span = Span { from: range.from, to: until };
    let seen = store.coverage_between(&CameraId(range.camera.clone()), None, span).await?;
    // The newest seconds are not written down yet, which is no news.
    let blind = seen.blind.into_iter().filter(|b| b.reason != BlindReason::NotYet);
    // What is watched again is over, however short ago that was.
    let watched_until = seen.watched.last().map(|w| w.span.to);
    let lasts = |b: &Blind| watched_until.is_none_or(|t| t <= b.span.from);
    let gap = |b: Blind| Gap { to: going_on(b.span.to, lasts(&b)), from: b.span.from, why: b.reason.as_str().into() };
    range.unwatched = blind.take(MAX_GAPS).map(gap).collect();
    Ok(())
}

/// Where a tip stands at `now`.
#[must_use]
pub fn standing(tip: &Tip, now: UtcMillis, days: u32) -> Standing {
    match tip.state {
        TipState::Settled => Standing::Settled,
        TipState::Withdrawn => Standing::Withdrawn,
        TipState::Open if now < tip.ends(days) => Standing::Open,
        TipState::Open => Standing::Expired,
    }
}

fn ceil(at: UtcMillis, step_ms: i64) -> UtcMillis {
    UtcMillis((at.0 + step_ms - 1).div_euclid(step_ms) * step_ms)
}
