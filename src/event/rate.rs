//! How many new events a camera may make: a camera that goes mad must not flood the duty room. Critical events always
//! pass, lesser ones keep no greater one back; what is kept back is counted and said with the next event.

use std::collections::VecDeque;

use crate::clock::MonoMillis;

/// Severity that no limit holds back.
const CRITICAL: u8 = 4;

const MINUTE_MS: i64 = 60_000;

/// New events of the last minute.
#[derive(Debug)]
pub(super) struct Rate {
    per_minute: usize,
    /// When, and their severities.
    passed: VecDeque<(MonoMillis, u8)>,
    kept_back: u32,
}

impl Rate {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute as usize, passed: VecDeque::new(), kept_back: 0 }
    }

    /// Whether a new event may pass, and is counted then. Those of its severity and greater ones count against it: people
    /// who walk about keep no truck back that leaves.
    pub fn allows(&mut self, now: MonoMillis, severity: u8) -> bool {
        // Time that went backwards is another camera's: those before count no more.
        self.passed.retain(|(t, _)| (0..MINUTE_MS).contains(&now.since(*t)));
        let before = self.passed.iter().filter(|(_, s)| *s >= severity).count();
        let allowed = severity >= CRITICAL || before < self.per_minute;
        if allowed {
            self.passed.push_back((now, severity));
        }
        allowed
    }

    /// One did not pass.
    pub fn keep_back(&mut self) {
        self.kept_back = self.kept_back.saturating_add(1);
    }

    /// How many were kept back since the last call.
    pub fn take_kept_back(&mut self) -> u32 {
        std::mem::take(&mut self.kept_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_kept_back_and_counted_but_nothing_critical() {
        let mut rate = Rate::new(3);
        let passed: Vec<bool> = (0..6).map(|i| rate.allows(MonoMillis(i * 1000), 3)).collect();
        assert_eq!(passed, [true, true, true, false, false, false]);
        assert!(rate.allows(MonoMillis(6000), 4));
        rate.keep_back();
        assert_eq!((rate.take_kept_back(), rate.take_kept_back()), (1, 0));
        assert!(!rate.allows(MonoMillis(60_000), 3), "three are still within the minute: two and the critical one");
        assert!(rate.allows(MonoMillis(62_000), 3));
    }

    #[test]
    fn lesser_events_take_no_room_from_greater_ones() {
        let mut rate = Rate::new(2);
        let passed: Vec<bool> = [1, 1, 1, 2, 2, 2, 1].into_iter().map(|s| rate.allows(MonoMillis(0), s)).collect();
        assert_eq!(passed, [true, true, false, true, true, false, false]);
    }
}
