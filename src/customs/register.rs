//! The register: declarations and bookings as known now. Writers apply one message (or a batch) at a time; readers take
//! an immutable snapshot without waiting. What cannot be read never reaches it (see `declaration.rs`, `booking.rs`);
//! keeping it over restarts is the store's work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::{Booking, DeclKey, Declaration};
use crate::clock::UtcMillis;
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

/// One fact from the clearance side.
#[derive(Debug, Clone)]
pub enum Fact {
    /// About a declaration.
    Declaration(Declaration),
    /// About a booking.
    Booking(Booking),
}

/// What was known at one moment. Never changes once made.
#[derive(Debug, Clone, Default)]
pub struct RegisterSnapshot {
    /// Grows by one or more with every change.
    pub version: u64,
    /// Last word from the clearance side, whether or not it changed anything.
    pub last_feed: Option<UtcMillis>,
    declarations: Arc<HashMap<DeclKey, Arc<Declaration>>>,
    bookings: Arc<HashMap<String, Arc<Booking>>>,
    /// Ordered by start, then id.
    by_area: Arc<HashMap<AreaId, Vec<Arc<Booking>>>>,
}

impl RegisterSnapshot {
    /// A declaration by key.
    #[must_use]
    pub fn declaration(&self, key: &DeclKey) -> Option<&Arc<Declaration>> {
        self.declarations.get(key)
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
        self.bookings.values()
    }

    /// Number of declarations and of bookings.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.declarations.len(), self.bookings.len())
    }

    fn apply(&mut self, fact: Fact) -> Outcome {
        match fact {
            Fact::Declaration(d) => self.apply_declaration(d),
            Fact::Booking(b) => self.apply_booking(b),
        }
    }

    fn apply_declaration(&mut self, new: Declaration) -> Outcome {
        let known = self.declarations.get(new.key());
        let outcome = known.map_or(Outcome::Applied, |k| weigh(new.version, k.version, || new.same_facts(k)));
        if outcome == Outcome::Applied {
            Arc::make_mut(&mut self.declarations).insert(new.key().clone(), Arc::new(new));
            self.version += 1;
        }
        outcome
    }

    fn apply_booking(&mut self, new: Booking) -> Outcome {
        let known = self.bookings.get(&new.id);
        let outcome = known.map_or(Outcome::Applied, |k| weigh(new.version, k.version, || new.same_facts(k)));
        if outcome == Outcome::Applied {
            let new = Arc::new(new);
            let old = Arc::make_mut(&mut self.bookings).insert(new.id.clone(), Arc::clone(&new));
            self.reindex(old.as_deref(), new);
            self.version += 1;
        }
        outcome
    }

    /// A booking may move to another area or time, so the old entry is taken out first.
    fn reindex(&mut self, old: Option<&Booking>, new: Arc<Booking>) {
        let index = Arc::make_mut(&mut self.by_area);
        if let Some(list) = old.and_then(|o| index.get_mut(&o.area)) {
            list.retain(|b| b.id != new.id);
        }
        let list = index.entry(new.area.clone()).or_default();
        let at = list.partition_point(|b| (b.start, &b.id) < (new.start, &new.id));
        list.insert(at, new);
    }
}

fn weigh(new: i64, have: i64, same: impl FnOnce() -> bool) -> Outcome {
    match new.cmp(&have) {
        std::cmp::Ordering::Greater => Outcome::Applied,
        std::cmp::Ordering::Less => Outcome::Stale { have },
        std::cmp::Ordering::Equal if same() => Outcome::Duplicate,
        std::cmp::Ordering::Equal => Outcome::Conflict,
    }
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
            let fresh = RegisterSnapshot { last_feed: next.last_feed, ..RegisterSnapshot::default() };
            let version = next.version + 1;
            *next = fresh;
            for fact in facts {
                next.apply(fact);
            }
            next.version = version;
        });
    }

    /// What [`Self::apply_all`] would answer now, without applying: facts are kept in the store before they count.
    #[must_use]
    pub fn rehearse(&self, facts: &[Fact]) -> Vec<Outcome> {
        let mut next = RegisterSnapshot::clone(&self.current.load());
        facts.iter().map(|f| next.apply(f.clone())).collect()
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
