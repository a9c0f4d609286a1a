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

/// Bytes in flight on any line: one second of 2 Mbit/s, and one picture.
const LEAST_BYTES: usize = 256 * 1024;
/// And on the fastest: a line that turns slow must get rid of them before something urgent is sent.
const MOST_BYTES: usize = 1024 * 1024;
/// The line is measured over at least this long.
const MEASURED_MS: i64 = 250;
/// What is answered within this time, milliseconds, was sent on a line that takes at least five times as much as was in flight.
const FAST_MS: i64 = 100;
/// And that is believed so long.
const REMEMBERED_MS: i64 = 2_000;

/// How many bytes may be in flight, however few messages they are: what is more urgent waits behind them. Half a second
/// of what the line took lately. With the least alone a fast line stands still again and again: a full window sends nothing
/// that would carry our system's acknowledgements, and a broker with Nagle's algorithm (Mosquitto as installed) keeps its own
/// back until it has them. An outbox empties four to five times as fast with this.
#[derive(Debug)]
pub(crate) struct Pace {
    since: MonoMillis,
    answered: usize,
    limit: usize,
}

impl Pace {
    /// Nothing is known of the line yet.
    pub(crate) fn new(now: MonoMillis) -> Self {
        Self { since: now, answered: 0, limit: LEAST_BYTES }
    }

    /// A publish of so many bytes, queued at that time, was answered. Fast answers let more out at once, as TCP begins; the
    /// measure follows.
    pub(crate) fn answered(&mut self, bytes: usize, queued: MonoMillis, now: MonoMillis) {
        let ms = now.since(self.since);
        if ms >= MEASURED_MS {
            let half_a_second = self.answered * 500 / usize::try_from(ms).unwrap_or(usize::MAX);
            *self = Self { since: now, answered: 0, limit: half_a_second.clamp(LEAST_BYTES, MOST_BYTES) };
        }
        self.answered += bytes;
        if now.since(queued) < FAST_MS {
            self.limit = (self.limit + bytes).min(MOST_BYTES);
        }
    }

    /// With so many in flight nothing more is sent. What the line took some time ago says nothing of it now.
    pub(crate) fn limit(&self, now: MonoMillis) -> usize {
        if now.since(self.since) > REMEMBERED_MS { LEAST_BYTES } else { self.limit }
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

    #[test]
    fn a_fast_line_has_more_in_flight_and_one_that_turns_slow_less() {
        let mut pace = Pace::new(MonoMillis(0));
        let limit = |pace: &Pace, at: i64| pace.limit(MonoMillis(at));
        assert_eq!(limit(&pace, 0), LEAST_BYTES);
        // 100 kB every 50 ms are 2 MB a second.
        (0..=5).for_each(|i| pace.answered(100_000, MonoMillis(i * 50 - 200), MonoMillis(i * 50)));
        assert_eq!(limit(&pace, 250), 500_000 * 500 / 250);
        // 10 kB every 50 ms.
        (6..=15).for_each(|i| pace.answered(10_000, MonoMillis(0), MonoMillis(i * 50)));
        assert_eq!(limit(&pace, 750), LEAST_BYTES);
        (16..=100).for_each(|i| pace.answered(10_000_000, MonoMillis(0), MonoMillis(i * 50)));
        assert_eq!(limit(&pace, 5_000), MOST_BYTES);
        assert_eq!(limit(&pace, 3_600_000), LEAST_BYTES, "that was an hour ago");
        pace.answered(1, MonoMillis(0), MonoMillis(3_600_000));
        assert_eq!(limit(&pace, 3_600_000), LEAST_BYTES, "little in an hour");
        // Whatever is answered at once makes room for as much again.
        (1..=10).for_each(|i| pace.answered(100_000, MonoMillis(3_600_000 + i), MonoMillis(3_600_001 + i)));
        assert_eq!(limit(&pace, 3_600_011), MOST_BYTES);
    }
}
