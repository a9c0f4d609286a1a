//! How many new events a camera may make: a camera that goes mad must not flood the duty room. Critical events always
//! pass; what is kept back is counted and said with the next event.

use std::collections::VecDeque;

use crate::clock::MonoMillis;

/// Severity that no limit holds back.
pub(super) const CRITICAL: u8 = 4;

const MINUTE_MS: i64 = 60_000;

/// New events of the last minute.
#[derive(Debug)]
pub(super) struct Rate {
    per_minute: usize,
    passed: VecDeque<MonoMillis>,
    kept_back: u32,
}

impl Rate {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute as usize, passed: VecDeque::new(), kept_back: 0 }
    }

    /// Whether a new event may pass; counted either way. A critical one counts too: the lesser ones wait for it.
    pub fn allows(&mut self, now: MonoMillis, severity: u8) -> bool {
        // Time that went backwards is another camera's: those before count no more.
        self.passed.retain(|t| (0..MINUTE_MS).contains(&now.since(*t)));
        let allowed = severity >= CRITICAL || self.passed.len() < self.per_minute;
        if allowed {
            self.passed.push_back(now);
        } else {
            self.kept_back = self.kept_back.saturating_add(1);
        }
        allowed
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
        assert_eq!((rate.take_kept_back(), rate.take_kept_back()), (3, 0));
        assert!(!rate.allows(MonoMillis(60_000), 3), "three are still within the minute: two and the critical one");
        assert!(rate.allows(MonoMillis(62_000), 3));
    }
}
