//! What changed and is to be looked at again: events whose links may be others now, tips that may have more to say. Filled
//! by those who record, emptied by `relink` and `tips`. Bounded: areas, not events, are counted, and too many names become
//! "look at all".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::{UtcMillis, mono_now};
use crate::customs::reach::Reach;
use crate::customs::{DeclKey, Fact};
use crate::event::EventMessage;
use crate::rules::AreaId;

/// Names kept of one sort, at most.
const MAX_NAMES: usize = 20_000;

/// Shared by those who record and those who look again.
#[derive(Debug, Default)]
pub struct Nudges {
    links: Mutex<Touched>,
    tips: Mutex<TipsTouched>,
    link_work: Notify,
    tip_work: Notify,
    /// Facts of any kind.
    facts: Traffic,
    /// Tips among them.
    tips_in: Traffic,
    /// Tips whose holds are being placed.
    placing: AtomicUsize,
}

/// What comes in.
#[derive(Debug, Default)]
struct Traffic {
    /// Being kept now.
    busy: AtomicUsize,
    /// When the last one was done, on the monotonic clock.
    last: AtomicI64,
}

impl Traffic {
    fn is_quiet(&self, quiet_ms: i64) -> bool {
        self.busy.load(Ordering::SeqCst) == 0 && mono_now().0 - self.last.load(Ordering::SeqCst) >= quiet_ms
    }
}

/// Events to link anew.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Touched {
    /// Areas, and the time to look at in each.
    pub windows: BTreeMap<AreaId, (UtcMillis, UtcMillis)>,
    /// Events by id.
    pub events: BTreeSet<String>,
    /// Declarations whose events are meant.
    pub declarations: BTreeSet<DeclKey>,
    /// All events that are young enough.
    pub all: bool,
}

impl Touched {
    /// Too many names become "look at all".
    fn bound(&mut self) {
        if self.events.len().max(self.declarations.len()) > MAX_NAMES {
            *self = Self { all: true, ..Self::default() };
        }
    }
}

/// Tips to run again.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct TipsTouched {
    /// Tips by id.
    pub tips: BTreeSet<String>,
    /// What changed; tips about it are meant.
    pub handles: BTreeSet<String>,
    /// All open ones.
    pub all: bool,
}

impl TipsTouched {
    /// A tip may wait for its holds. What else changed only makes the answers to known ones richer.
    fn waits(&self) -> bool {
        self.all || !self.tips.is_empty()
    }
}

impl Nudges {
    /// A fact was applied and reaches this far.
    pub fn fact(&self, fact: &Fact, reach: Reach) {
        let mut links = lock(&self.links);
        for (area, from, to) in reach.windows {
            let window = links.windows.entry(area).or_insert((from, to));
            *window = (window.0.min(from), window.1.max(to));
        }
        links.events.extend(reach.events);
        links.declarations.extend(reach.declarations);
        links.bound();
        drop(links);
        let mut tips = lock(&self.tips);
        if let Fact::Tip(tip) = fact {
            tips.tips.insert(tip.id.clone());
        }
        tips.handles.extend(reach.handles.into_iter().filter(|h| !h.starts_with("area:")));
        tips.all |= tips.handles.len() > MAX_NAMES;
        drop(tips);
        self.link_work.notify_one();
        self.tip_work.notify_one();
    }

    /// An event was recorded.
    pub fn event(&self, event: &EventMessage) {
        let link = &event.data.link;
        if link.links.is_empty() && link.tips.is_empty() {
            return;
        }
        let mut tips = lock(&self.tips);
        tips.tips.extend(link.tips.iter().map(|t| t.id.clone()));
        tips.handles.extend(link.links.iter().map(|l| format!("decl:{}", l.decl_key)));
        tips.all |= tips.handles.len() > MAX_NAMES;
        drop(tips);
        self.tip_work.notify_one();
    }

    /// An event that is over was recorded. Facts that came while it was being written found no such event to look at.
    pub fn ended(&self, event: &EventMessage) {
        let mut links = lock(&self.links);
        links.events.insert(event.id.to_string());
        links.bound();
        drop(links);
        self.link_work.notify_one();
    }

    /// Everything that is young enough is to be linked anew: the last run may have ended before it could.
    pub fn all_links(&self) {
        lock(&self.links).all = true;
        self.link_work.notify_one();
    }

    /// Every open tip is to be run again.
    pub fn all_tips(&self) {
        lock(&self.tips).all = true;
        self.tip_work.notify_one();
    }

    /// Takes what there is to link; waits until there is something.
    pub async fn take_links(&self) -> Touched {
        loop {
            let touched = std::mem::take(&mut *lock(&self.links));
            if touched != Touched::default() {
                return touched;
            }
            self.link_work.notified().await;
        }
    }

    /// Takes the tips to run; waits until there are some.
    pub async fn take_tips(&self) -> TipsTouched {
        loop {
            let touched = {
                let mut tips = lock(&self.tips);
                self.placing.store(usize::from(tips.waits()), Ordering::SeqCst);
                std::mem::take(&mut *tips)
            };
            if touched != TipsTouched::default() {
                return touched;
            }
            self.placing.store(0, Ordering::SeqCst);
            self.tip_work.notified().await;
        }
    }

    /// The tips taken are done.
    pub fn tips_done(&self) {
        self.placing.store(0, Ordering::SeqCst);
    }

    /// Facts are being kept while the guard lives; `tips`: some of them are tips.
    #[must_use]
    pub fn keeping(&self, tips: bool) -> Keeping<'_> {
        let all: Vec<&Traffic> = if tips { vec![&self.facts, &self.tips_in] } else { vec![&self.facts] };
        for traffic in &all {
            traffic.busy.fetch_add(1, Ordering::SeqCst);
        }
        Keeping(all)
    }

    /// No fact came in for `quiet_ms`, none is being kept, and no tip waits for its holds.
    #[must_use]
    pub fn is_quiet(&self, quiet_ms: i64) -> bool {
        self.facts.is_quiet(quiet_ms) && self.tips_are_quiet(quiet_ms)
    }

    /// The same of tips alone, whatever else streams in.
    #[must_use]
    pub fn tips_are_quiet(&self, quiet_ms: i64) -> bool {
        let tips = lock(&self.tips);
        !tips.waits() && self.placing.load(Ordering::SeqCst) == 0 && self.tips_in.is_quiet(quiet_ms)
    }
}

/// Facts are being kept.
pub struct Keeping<'a>(Vec<&'a Traffic>);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        for traffic in &self.0 {
            traffic.last.store(mono_now().0, Ordering::SeqCst);
            traffic.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_never_rests_hides_tips_no_more_than_it_must() {
        let nudges = Nudges::default();
        let quiet = || (nudges.is_quiet(0), nudges.tips_are_quiet(0));
        assert_eq!(quiet(), (true, true));
        let feed = nudges.keeping(false);
        lock(&nudges.tips).handles.insert("decl:1".into());
        assert_eq!(quiet(), (false, true), "declarations are no tips");
        drop(feed);
        assert_eq!(quiet(), (true, true));
        let tip = nudges.keeping(true);
        assert_eq!(quiet(), (false, false));
        drop(tip);
        assert_eq!((nudges.is_quiet(60_000), nudges.tips_are_quiet(60_000)), (false, false), "a moment ago");
        lock(&nudges.tips).tips.insert("T-1".into());
        assert_eq!(quiet(), (false, false), "it waits for its holds");
    }

    #[tokio::test]
    async fn a_tip_that_is_taken_is_not_quiet_until_it_is_done() {
        let nudges = Nudges::default();
        lock(&nudges.tips).tips.insert("T-1".into());
        nudges.take_tips().await;
        assert!(!nudges.tips_are_quiet(0));
        nudges.tips_done();
        lock(&nudges.tips).handles.insert("decl:1".into());
        nudges.take_tips().await;
        assert!(nudges.tips_are_quiet(0), "an answer that grows holds nothing up");
    }
}
