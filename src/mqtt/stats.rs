//! What an independent receiver saw, counted: the demo's report and the page's counters. Values in, values out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde::Serialize;

use crate::event::message::Sequence;
use crate::event::{EventId, EventMessage};
use crate::store::OutboxDropped;

/// Pairs remembered for matching pictures with events; older ones are forgotten, so memory stays bounded.
const REMEMBERED: usize = 20_000;

/// Counts of what was seen. Duplicates are messages with a sequence number seen before.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LiveStats {
    /// Messages by `rule/phase`, without duplicates.
    pub events_by_rule_phase: BTreeMap<String, u64>,
    /// Event messages, without duplicates.
    pub event_messages: u64,
    /// Messages about boxes themselves, without duplicates.
    pub notices: u64,
    /// Different event ids.
    pub unique_events: u64,
    /// Messages seen again.
    pub duplicates: u64,
    /// Sequence numbers missing between the first and the last seen.
    pub gaps: u64,
    /// Pictures whose SHA-256 is the one an event names.
    pub pictures_ok: u64,
    /// Pictures of a known event that no message of it names.
    pub pictures_mismatch: u64,
    /// Pictures whose event was not seen yet.
    pub pictures_without_event: u64,
    /// Pictures that events name and that did not come.
    pub pictures_missing: u64,
    /// First messages by verdict of their link.
    pub links_by_verdict: BTreeMap<String, u64>,
    /// Links of first messages by method.
    pub links_by_method: BTreeMap<String, u64>,
    /// Messages that the boxes said will not arrive.
    pub dropped: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
}

/// Gathers [`LiveStats`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: LiveStats,
    ids: HashSet<EventId>,
    streams: HashMap<(String, i64), Stream>,
    named: PairSet,
    came: PairSet,
}

/// Sequence numbers of one box and epoch.
#[derive(Debug, Default)]
struct Stream {
    first: i64,
    last: i64,
    missing: BTreeSet<i64>,
}

/// Event and digest, oldest forgotten first.
#[derive(Debug, Default)]
struct PairSet {
    set: HashSet<(EventId, String)>,
    order: VecDeque<(EventId, String)>,
}

impl PairSet {
    fn insert(&mut self, pair: (EventId, String)) -> bool {
        if !self.set.insert(pair.clone()) {
            return false;
        }
        self.order.push_back(pair);
        if self.order.len() > REMEMBERED
            && let Some(old) = self.order.pop_front()
        {
            self.set.remove(&old);
        }
        true
    }
}

impl Tally {
    /// Counts an event; `false` when it was seen before.
    pub(crate) fn event(&mut self, e: &EventMessage) -> bool {
        let key = (e.source.clone(), e.data.sequence.epoch);
        if !self.streams.entry(key).or_default().is_new(e.data.sequence.seq) {
            self.done.duplicates += 1;
            return false;
        }
        self.done.event_messages += 1;
        let phase = name(&e.data.phase);
        *self.done.events_by_rule_phase.entry(format!("{}/{phase}", e.data.rule.as_str())).or_default() += 1;
        if self.ids.insert(e.id) {
            self.done.unique_events += 1;
            *self.done.links_by_verdict.entry(name(&e.data.link.verdict)).or_default() += 1;
            for link in &e.data.link.links {
                *self.done.links_by_method.entry(link.method.as_str().to_owned()).or_default() += 1;
            }
        }
        if let Some(s) = &e.data.snapshot {
            self.named.insert((e.id, s.sha256.clone()));
        }
        true
    }

    /// Counts a report of what will not arrive; `false` when it was seen before.
    pub(crate) fn dropped(&mut self, report: &OutboxDropped) -> bool {
        let key = (report.source.clone(), report.data.sequence.epoch);
        if !self.streams.entry(key).or_default().is_new(report.data.sequence.seq) {
            self.done.duplicates += 1;
            return false;
        }
        self.done.dropped += report.data.messages;
        true
    }

    /// Counts a message about a box itself; `false` when it was seen before.
    pub(crate) fn notice(&mut self, source: String, sequence: Sequence) -> bool {
        let new = self.streams.entry((source, sequence.epoch)).or_default().is_new(sequence.seq);
        if new {
            self.done.notices += 1;
        } else {
            self.done.duplicates += 1;
        }
        new
    }

    /// Counts a picture with the digest of the bytes that came.
    pub(crate) fn picture(&mut self, event: EventId, sha256: String) {
        self.came.insert((event, sha256));
    }

    /// Counts a message that could not be read.
    pub(crate) fn unreadable(&mut self) {
        self.done.unreadable += 1;
    }

    /// The counts now. Pictures are matched here, since a picture may come before its event.
    pub(crate) fn stats(&self) -> LiveStats {
        let mut s = self.done.clone();
        s.gaps = self.streams.values().map(|x| x.missing.len() as u64).sum();
        for pair in &self.came.set {
            if self.named.set.contains(pair) {
                s.pictures_ok += 1;
            } else if self.ids.contains(&pair.0) {
                s.pictures_mismatch += 1;
            } else {
                s.pictures_without_event += 1;
            }
        }
        s.pictures_missing = self.named.set.difference(&self.came.set).count() as u64;
        s
    }
}

impl Stream {
    fn is_new(&mut self, seq: i64) -> bool {
        if self.first == 0 {
            (self.first, self.last) = (seq, seq);
            return true;
        }
        if seq > self.last {
            // A jump beyond this is no gap one could list; it is counted up to here.
            self.missing.extend((self.last + 1..seq).take(100_000));
            self.last = seq;
            return true;
        }
        if seq < self.first {
            self.missing.extend((seq + 1..self.first).take(100_000));
            self.first = seq;
            return true;
        }
        self.missing.remove(&seq)
    }
}

fn name<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_counts_gaps_until_they_are_filled_and_knows_duplicates() {
        let mut s = Stream::default();
        assert!(s.is_new(5) && s.is_new(6) && s.is_new(9));
        assert_eq!(s.missing.len(), 2);
        assert!(!s.is_new(6), "seen");
        assert!(s.is_new(7), "late");
        assert_eq!(s.missing.iter().copied().collect::<Vec<_>>(), [8]);
        assert!(s.is_new(3), "alerts overtake, so the first seen need not be the first sent");
        assert_eq!(s.missing.iter().copied().collect::<Vec<_>>(), [4, 8]);
    }

    #[test]
    fn a_picture_may_come_before_its_event() {
        let mut t = Tally::default();
        let id = EventId(ulid::Ulid::from_parts(1, 1));
        t.picture(id, "aa".into());
        assert_eq!(t.stats().pictures_without_event, 1);
        t.ids.insert(id);
        assert_eq!(t.stats().pictures_mismatch, 1);
        t.named.insert((id, "aa".into()));
        let s = t.stats();
        assert_eq!((s.pictures_ok, s.pictures_mismatch, s.pictures_missing), (1, 0, 0));
    }
}
