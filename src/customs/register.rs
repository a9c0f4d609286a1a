//! The register: what is known now of declarations, bookings, visits, bindings, stop orders, readings and tips. Writers
//! apply one message (or a batch) at a time; readers take an immutable snapshot without waiting. What cannot be read
//! never reaches it; keeping it over restarts is the store's work.
//!
//! **Bounds in memory**, the oldest arrival goes first and stays in the store: 50,000 declarations, 50,000 bookings,
//! 20,000 visits, 20,000 bindings, 20,000 stop orders, 20,000 readings, 5,000 tips.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::fact::Keyed;
pub use super::fact::{Fact, FactKind};
use super::shelf::{Put, Shelf};
use super::visits;
use super::{Binding, Booking, DeclKey, Declaration, Observation, StopOrder, Tip, Visit};
use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::config::RegisterConfig;
use crate::rules::AreaId;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// New, or newer than what was known.
    Applied,
    /// Exactly what was known already.
    Duplicate,
    /// Older than what is known: kept in the store's history, not applied.
    Stale {
        /// Version in force.
        have: i64,
    },
    /// The version in force with other content. The first one stays in force; this one must be kept and a person told.
    Conflict,
}

/// What was known at one moment. Never changes once made.
#[derive(Debug, Clone)]
pub struct RegisterSnapshot {
    /// Grows by one or more with every change.
    pub version: u64,
    /// Last word from the clearance side, whether or not it changed anything.
    pub last_feed: Option<UtcMillis>,
    declarations: Shelf<Declaration>,
    bookings: Shelf<Booking>,
    visits: Shelf<Visit>,
    bindings: Shelf<Binding>,
    stops: Shelf<StopOrder>,
    observations: Shelf<Observation>,
    tips: Shelf<Tip>,
    /// Bookings ordered by start, then id.
    by_area: Arc<HashMap<AreaId, Vec<Arc<Booking>>>>,
    /// Which camera sees an area or line of the box.
    cameras: Arc<HashMap<AreaId, CameraId>>,
    /// Cameras of one area only: a reading that names the camera alone is about that.
    single: Arc<HashSet<CameraId>>,
}

impl Default for RegisterSnapshot {
    fn default() -> Self {
        Self {
            version: 0,
            last_feed: None,
            declarations: Shelf::new(50_000),
            bookings: Shelf::new(50_000),
            visits: Shelf::new(20_000),
            bindings: Shelf::new(20_000),
            stops: Shelf::new(20_000),
            observations: Shelf::new(20_000),
            tips: Shelf::new(5_000),
            by_area: Arc::default(),
            cameras: Arc::default(),
            single: Arc::default(),
        }
    }
}

impl RegisterSnapshot {
    /// A declaration by key.
    #[must_use]
    pub fn declaration(&self, key: &DeclKey) -> Option<&Arc<Declaration>> {
        self.declarations.get(&key.0)
    }

    /// A booking by id.
    #[must_use]
    pub fn booking(&self, id: &str) -> Option<&Arc<Booking>> {
        self.bookings.get(id)
    }

    /// Bookings of an area, cancelled ones too, ordered by start.
    #[must_use]
    pub fn bookings_of(&self, area: &AreaId) -> &[Arc<Booking>] {
        self.by_area.get(area).map_or(&[], Vec::as_slice)
    }

    /// All bookings, any order.
    pub fn bookings(&self) -> impl Iterator<Item = &Arc<Booking>> {
        self.bookings.iter()
    }

    /// A visit by id.
    #[must_use]
    pub fn visit(&self, id: &str) -> Option<&Arc<Visit>> {
        self.visits.get(id)
    }

    /// All visits, any order.
    pub fn visits(&self) -> impl Iterator<Item = &Arc<Visit>> {
        self.visits.iter()
    }

    /// A reading by id.
    #[must_use]
    pub fn observation(&self, id: &str) -> Option<&Arc<Observation>> {
        self.observations.get(id)
    }

    /// A binding by id.
    #[must_use]
    pub fn binding(&self, id: &str) -> Option<&Arc<Binding>> {
        self.bindings.get(id)
    }

    /// A tip by id.
    #[must_use]
    pub fn tip(&self, id: &str) -> Option<&Arc<Tip>> {
        self.tips.get(id)
    }

    /// All tips, any order.
    pub fn tips(&self) -> impl Iterator<Item = &Arc<Tip>> {
        self.tips.iter()
    }

    /// Tips about a handle such as `decl:10000001234`.
    pub(super) fn tips_by<'a>(&'a self, handle: &str) -> impl Iterator<Item = &'a Arc<Tip>> + use<'a> {
        self.tips.found(handle)
    }

    /// Highest severity that open tips about a booking's goods ask for; 0 without any.
    #[must_use]
    pub fn tip_severity(&self, booking: &Booking, now: UtcMillis, config: &RegisterConfig) -> u8 {
        let open = booking.handles().into_iter().flat_map(|handle| self.tips_by(&handle));
        let open = open.filter(|t| t.is_open(now, config.tip_days));
        open.map(|t| t.severity.unwrap_or(config.tip_severity)).max().unwrap_or(0)
    }

    /// Whether another binding corrected this one.
    #[must_use]
    pub fn is_superseded(&self, binding: &Binding) -> bool {
        self.bindings.found(&format!("binding:{}", binding.id)).next().is_some()
    }

    /// Facts that can be found by a handle such as `container:CSQU3054383`.
    #[must_use]
    pub fn found(&self, handle: &str) -> Found<'_> {
        Found {
            declarations: self.declarations.found(handle).collect(),
            bookings: self.bookings.found(handle).collect(),
            visits: self.visits.found(handle).collect(),
            bindings: self.bindings.found(handle).collect(),
            stops: self.stops.found(handle).collect(),
            observations: self.observations.found(handle).collect(),
            tips: self.tips.found(handle).collect(),
        }
    }

    /// All readings, any order.
    pub fn observations(&self) -> impl Iterator<Item = &Arc<Observation>> {
        self.observations.iter()
    }

    /// Areas that a camera's readings are about: only when it sees one alone.
    pub(super) fn areas_of(&self, camera: &CameraId) -> Vec<AreaId> {
        let seen = self.cameras.iter().filter(|(_, c)| *c == camera && self.single.contains(*c));
        seen.map(|(area, _)| area.clone()).collect()
    }

    /// The camera that sees an area or line.
    #[must_use]
    pub fn camera_of(&self, area: &AreaId) -> Option<&CameraId> {
        self.cameras.get(area)
    }

    /// Where readings for an area may have been made: the area itself, and its camera where that sees no other one.
    pub(super) fn observations_at<'a>(&'a self, area: &AreaId) -> impl Iterator<Item = &'a Arc<Observation>> + use<'a> {
        let camera = self.camera_of(area).filter(|c| self.single.contains(*c)).map(|c| format!("camera:{c}"));
        let of_camera: Vec<_> = camera.iter().flat_map(|handle| self.observations.found(handle)).collect();
        self.observations.found(&format!("area:{area}")).chain(of_camera)
    }

    /// Whether containers of this owner (four letters) are known from declarations.
    #[must_use]
    pub fn knows_owner(&self, owner: &str) -> bool {
        self.declarations.iter().any(|d| d.containers.iter().any(|c| c.starts_with(owner)))
    }

    /// Number of declarations and of bookings.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.declarations.len(), self.bookings.len())
    }

    /// Number of facts of every kind.
    #[must_use]
    pub fn count_of(&self, kind: FactKind) -> usize {
        match kind {
            FactKind::Declaration => self.declarations.len(),
            FactKind::Booking => self.bookings.len(),
            FactKind::Visit => self.visits.len(),
            FactKind::Bind => self.bindings.len(),
            FactKind::Stop => self.stops.len(),
            FactKind::Observation => self.observations.len(),
            FactKind::Tip => self.tips.len(),
        }
    }

    /// Adds to a fact what the box itself knows: earlier channels of a declaration.
    pub(crate) fn complete(&self, fact: &mut Fact, heard: UtcMillis) {
        if let Fact::Declaration(new) = fact
            && let Some(known) = self.declaration(new.key())
            && known.version < new.version
        {
            new.remember_channels(known, heard);
        }
    }

    pub(crate) fn apply(&mut self, fact: Fact) -> Outcome {
        let version = &mut self.version;
        match fact {
            Fact::Declaration(new) => take(&mut self.declarations, new, version).0,
            Fact::Booking(new) => self.apply_booking(new),
            Fact::Visit(new) => take(&mut self.visits, new, version).0,
            Fact::Bind(new) => take(&mut self.bindings, new, version).0,
            Fact::Stop(new) => take(&mut self.stops, new, version).0,
            Fact::Observation(new) => take(&mut self.observations, new, version).0,
            Fact::Tip(new) => take(&mut self.tips, new, version).0,
        }
    }

    fn apply_booking(&mut self, new: Booking) -> Outcome {
        let id = new.id.clone();
        let (outcome, put) = take(&mut self.bookings, new, &mut self.version);
        if let Some(put) = put {
            let index = Arc::make_mut(&mut self.by_area);
            // A booking may move to another area or time, so the old entry is taken out first.
            for old in put.replaced.iter().chain(&put.evicted) {
                if let Some(list) = index.get_mut(&old.area) {
                    list.retain(|b| b.id != old.id);
                }
            }
            if let Some(new) = self.bookings.get(&id) {
                let list = index.entry(new.area.clone()).or_default();
                let at = list.partition_point(|b| (b.start, &b.id) < (new.start, &new.id));
                list.insert(at, Arc::clone(new));
            }
        }
        outcome
    }
}

/// Facts found by one handle, by kind.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Declarations.
    pub declarations: Vec<&'a Arc<Declaration>>,
    /// Bookings.
    pub bookings: Vec<&'a Arc<Booking>>,
    /// Visits.
    pub visits: Vec<&'a Arc<Visit>>,
    /// Bindings.
    pub bindings: Vec<&'a Arc<Binding>>,
    /// Stop orders.
    pub stops: Vec<&'a Arc<StopOrder>>,
    /// Readings.
    pub observations: Vec<&'a Arc<Observation>>,
    /// Tips.
    pub tips: Vec<&'a Arc<Tip>>,
}

/// Puts a fact on its shelf when its version says so.
fn take<T: Keyed>(shelf: &mut Shelf<T>, new: T, version: &mut u64) -> (Outcome, Option<Put<T>>) {
    let known = shelf.get(new.key());
    let outcome = known.map_or(Outcome::Applied, |k| weigh(new.version(), k.version(), || new.same_facts(k)));
    if outcome != Outcome::Applied {
        return (outcome, None);
    }
    *version += 1;
    (outcome, Some(shelf.put(Arc::new(new))))
}

/// What becomes of a fact where `known`, of the same kind and key, is in force.
pub(crate) fn against(new: &Fact, known: &Fact) -> Outcome {
    weigh(new.version(), known.version(), || new.said() == known.said())
}

fn weigh(new: i64, have: i64, same: impl FnOnce() -> bool) -> Outcome {
    match new.cmp(&have) {
        std::cmp::Ordering::Greater => Outcome::Applied,
        std::cmp::Ordering::Less => Outcome::Stale { have },
        std::cmp::Ordering::Equal if same() => Outcome::Duplicate,
        std::cmp::Ordering::Equal => Outcome::Conflict,
    }
}

/// What would become of facts.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// The facts given, complete, and what became of each.
    pub given: Vec<(Fact, Outcome)>,
    /// What follows from them: visits.
    pub derived: Vec<Fact>,
}

/// The one register of a box. Writers queue on a lock; readers never do.
#[derive(Debug, Default)]
pub struct Register {
    writing: Mutex<()>,
    current: ArcSwap<RegisterSnapshot>,
}

impl Register {
    /// A register as the store kept it. Facts that lost (stale, conflict) are not among them.
    #[must_use]
    pub fn restore(facts: Vec<Fact>, last_feed: Option<UtcMillis>) -> Self {
        let mut snapshot = RegisterSnapshot { last_feed, ..RegisterSnapshot::default() };
        for fact in facts {
            snapshot.apply(fact);
        }
        Self { writing: Mutex::default(), current: ArcSwap::from_pointee(snapshot) }
    }

    /// Which camera sees which area, and which cameras see one area only: readings often name the camera alone.
    pub fn set_places(&self, cameras: HashMap<AreaId, CameraId>, single: HashSet<CameraId>) {
        self.publish(None, |next| (next.cameras, next.single) = (Arc::new(cameras), Arc::new(single)));
    }

    /// What is known now. Cheap; hold it as long as one decision takes.
    #[must_use]
    pub fn snapshot(&self) -> Arc<RegisterSnapshot> {
        self.current.load_full()
    }

    /// Applies one fact heard at `now`.
    pub fn apply(&self, fact: Fact, now: UtcMillis) -> Outcome {
        self.apply_all(vec![fact], Some(now))[0]
    }

    /// Applies many facts and shows them to readers at once. Outcomes are in the order given. Every publication copies
    /// the maps that changed, so give what came together together. `heard`: when the clearance side said so; `None`
    /// when it is only an old word again.
    pub fn apply_all(&self, facts: Vec<Fact>, heard: Option<UtcMillis>) -> Vec<Outcome> {
        self.publish(heard, |next| facts.into_iter().map(|f| next.apply(f)).collect())
    }

    /// Forgets all and knows these facts instead: old ones were taken out of the store.
    pub fn replace(&self, facts: Vec<Fact>) {
        self.publish(None, |next| {
            let (cameras, single) = (Arc::clone(&next.cameras), Arc::clone(&next.single));
            let fresh = RegisterSnapshot { last_feed: next.last_feed, cameras, single, ..RegisterSnapshot::default() };
            let version = next.version + 1;
            *next = fresh;
            for fact in facts {
                next.apply(fact);
            }
            next.version = version;
        });
    }

    /// What [`Self::apply_all`] would answer now, without applying: facts are kept in the store before they count. Facts
    /// come back with what the box adds to them, and with the visits that follow from readings among them.
    #[must_use]
    pub fn rehearse(&self, facts: Vec<Fact>, heard: UtcMillis, config: &RegisterConfig) -> Rehearsal {
        let mut next = RegisterSnapshot::clone(&self.current.load());
        let mut out = Rehearsal::default();
        for mut fact in facts {
            next.complete(&mut fact, heard);
            if let Fact::Observation(reading) = &mut fact {
                reading.settle(|owner| config.knows_owner(owner) || next.knows_owner(owner));
            }
            let outcome = next.apply(fact.clone());
            if let (Outcome::Applied, Fact::Observation(reading)) = (outcome, &fact) {
                for visit in visits::follow(&next, reading, config) {
                    if next.apply(Fact::Visit(visit.clone())) == Outcome::Applied {
                        out.derived.push(Fact::Visit(visit));
                    }
                }
            }
            out.given.push((fact, outcome));
        }
        out
    }

    fn publish<T>(&self, heard: Option<UtcMillis>, change: impl FnOnce(&mut RegisterSnapshot) -> T) -> T {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = RegisterSnapshot::clone(&self.current.load());
        let out = change(&mut next);
        next.last_feed = heard.or(next.last_feed);
        self.current.store(Arc::new(next));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn decl(key: u64, version: i64, channel: u8) -> Fact {
        let json = json!({"decl_no": key, "version": version, "channel": channel});
        Fact::Declaration(Declaration::from_json(json.to_string().as_bytes()).unwrap().value)
    }

    fn booking(id: &str, version: i64, area: &str, hour: u32) -> Fact {
        let json = json!({"id": id, "version": version, "area": area, "decl_keys": ["10000001234"],
            "start": format!("2026-03-02T{hour:02}:00:00Z"), "end": format!("2026-03-02T{hour:02}:30:00Z")});
        Fact::Booking(Booking::from_json(json.to_string().as_bytes()).unwrap().value)
    }

    #[test]
    fn versions_decide() {
        let r = Register::default();
        let key = DeclKey("10000001234".into());
        let channel = || r.snapshot().declaration(&key).unwrap().channel;
        assert_eq!(r.apply(decl(100_000_012_340, 2, 1), UtcMillis(5)), Outcome::Applied);
        assert_eq!(r.apply(decl(100_000_012_340, 2, 1), UtcMillis(6)), Outcome::Duplicate);
        assert_eq!(r.apply(decl(100_000_012_340, 2, 3), UtcMillis(7)), Outcome::Conflict);
        assert_eq!(r.apply(decl(100_000_012_340, 1, 3), UtcMillis(8)), Outcome::Stale { have: 2 });
        assert_eq!(channel(), Some(1), "neither conflict nor stale is applied");
        assert_eq!(r.snapshot().version, 1);
        assert_eq!(
            r.apply(decl(100_000_012_341, 3, 3), UtcMillis(9)),
            Outcome::Applied,
            "an amendment is the same one"
        );
        assert_eq!((channel(), r.snapshot().counts()), (Some(3), (1, 0)));
        assert_eq!(r.snapshot().last_feed, Some(UtcMillis(9)));
    }

    #[test]
    fn a_moved_booking_leaves_its_old_area() {
        let r = Register::default();
        r.apply(booking("b", 1, "bay-1", 9), UtcMillis(1));
        let before = r.snapshot();
        r.apply(booking("b", 2, "bay-2", 8), UtcMillis(2));
        assert_eq!(before.bookings_of(&AreaId("bay-1".into())).len(), 1, "a snapshot never changes");
        assert!(r.snapshot().bookings_of(&AreaId("bay-1".into())).is_empty());
        assert_eq!(r.snapshot().bookings_of(&AreaId("bay-2".into())).len(), 1);
    }

    proptest! {
        /// Whatever the order of arrival (and however often), the highest version of each booking is in force.
        #[test]
        fn order_of_arrival_does_not_matter(msgs in prop::collection::vec((0..4_u8, 0..6_i64), 1..40)) {
            let r = Register::default();
            for (id, v) in &msgs {
                let hour = u32::try_from(*v).unwrap() + 1;
                r.apply(booking(&format!("b{id}"), *v, &format!("bay-{}", v % 3), hour), UtcMillis(1));
            }
            let snap = r.snapshot();
            let mut indexed = 0;
            for bay in 0..3 {
                let list = snap.bookings_of(&AreaId(format!("bay-{bay}")));
                prop_assert!(list.is_sorted_by_key(|b| b.start));
                indexed += list.len();
            }
            prop_assert_eq!(indexed, snap.counts().1, "index and map agree");
            for id in 0..4_u8 {
                let best = msgs.iter().filter(|m| m.0 == id).map(|m| m.1).max();
                prop_assert_eq!(snap.booking(&format!("b{id}")).map(|b| b.version), best);
            }
        }
    }
}
