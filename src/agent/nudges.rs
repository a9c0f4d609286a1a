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
    /// Facts being kept now.
    busy: AtomicUsize,
    /// When the last one was done, on the monotonic clock.
    last_fact: AtomicI64,
    /// Tips whose holds are being placed.
    placing: AtomicUsize,
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
        if links.events.len().max(links.declarations.len()) > MAX_NAMES {
            *links = Touched { all: true, ..Touched::default() };
        }
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
                self.placing.store(1, Ordering::SeqCst);
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

    /// A fact is being kept while the guard lives.
    #[must_use]
    pub fn keeping(&self) -> Keeping<'_> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Keeping(self)
    }

    /// Nothing came in for `quiet_ms`, nothing is being kept, and no tip waits for its holds.
    #[must_use]
    pub fn is_quiet(&self, quiet_ms: i64) -> bool {
        let tips = lock(&self.tips);
        let waiting = *tips != TipsTouched::default() || self.placing.load(Ordering::SeqCst) > 0;
        let since = mono_now().0 - self.last_fact.load(Ordering::SeqCst);
        !waiting && self.busy.load(Ordering::SeqCst) == 0 && since >= quiet_ms
    }
}

/// A fact is being kept.
pub struct Keeping<'a>(&'a Nudges);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.0.last_fact.store(mono_now().0, Ordering::SeqCst);
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
