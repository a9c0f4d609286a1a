//! What is in flight on one connection. Values in, values out: the event loop of the client names packet ids only
//! when it writes a publish, so publishes are kept in the order they were queued until their id is known.

use std::collections::{HashMap, VecDeque};

use crate::clock::MonoMillis;

/// A publish waiting for its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// What it was.
    pub what: What,
    /// Length of its body.
    pub bytes: usize,
    /// When it was queued.
    pub at: MonoMillis,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A row of the outbox.
    Outbox {
        /// Row.
        id: i64,
        /// Its lane.
        lane: u8,
    },
    /// Birth, state, camera state.
    Presence,
    /// How the box is.
    Status,
    /// The last message of a graceful stop.
    Farewell,
    /// Answer to a command.
    Reply,
}

/// Publishes queued, numbered and not yet acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Window {
    unnumbered: VecDeque<Sent>,
    numbered: HashMap<u16, Sent>,
}

impl Window {
    /// A publish was handed to the client.
    pub(crate) fn queued(&mut self, what: What, bytes: usize, at: MonoMillis) {
        self.unnumbered.push_back(Sent { what, bytes, at });
    }

    /// The client wrote the oldest queued publish with this packet id.
    pub(crate) fn numbered(&mut self, pkid: u16) {
        if let Some(sent) = self.unnumbered.pop_front() {
            self.numbered.insert(pkid, sent);
        }
    }

    /// The broker answered for this packet id.
    pub(crate) fn answered(&mut self, pkid: u16) -> Option<Sent> {
        self.numbered.remove(&pkid)
    }

    /// Everything not yet answered.
    pub(crate) fn len(&self) -> usize {
        self.unnumbered.len() + self.numbered.len()
    }

    /// Bytes of everything not yet answered.
    pub(crate) fn bytes(&self) -> usize {
        self.all().map(|s| s.bytes).sum()
    }

    /// Rows of the outbox not yet answered.
    pub(crate) fn rows(&self) -> impl Iterator<Item = i64> + '_ {
        self.all().filter_map(|s| match s.what {
            What::Outbox { id, .. } => Some(id),
            _ => None,
        })
    }

    /// When the oldest of what is in flight was queued.
    pub(crate) fn oldest(&self) -> Option<MonoMillis> {
        self.all().map(|s| s.at).min()
    }

    fn all(&self) -> impl Iterator<Item = &Sent> + '_ {
        self.unnumbered.iter().chain(self.numbered.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_are_given_in_the_order_of_queueing_and_may_be_answered_in_any() {
        let mut w = Window::default();
        for id in 1..=3 {
            w.queued(What::Outbox { id, lane: 0 }, 100, MonoMillis(id * 10));
        }
        w.numbered(7);
        w.numbered(8);
        assert_eq!(w.answered(8).map(|s| s.what), Some(What::Outbox { id: 2, lane: 0 }));
        assert_eq!(w.answered(8), None, "a second answer changes nothing");
        let mut rows: Vec<i64> = w.rows().collect();
        rows.sort_unstable();
        assert_eq!((rows, w.len(), w.bytes(), w.oldest()), (vec![1, 3], 2, 200, Some(MonoMillis(10))));
    }
}
