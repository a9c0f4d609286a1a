//! At most one log line a second for what may happen thousands of times, with the number of those left out.

use std::sync::Mutex;
use std::time::Duration;

use crate::clock::{MonoMillis, mono_now};

/// Lets one through per interval and counts the others. Usable as a `static`.
///
/// ```
/// # use gatewatch::telemetry::rate::Limiter;
/// static DROPPED: Limiter = Limiter::per_second();
/// if let Some(left_out) = DROPPED.pass() {
///     tracing::warn!(left_out, "frame dropped");
/// }
/// ```
#[derive(Debug)]
pub struct Limiter {
    every_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<MonoMillis>,
    left_out: u64,
}

impl Limiter {
    /// One a second.
    #[must_use]
    pub const fn per_second() -> Self {
        Self::every(Duration::from_secs(1))
    }

    /// One per interval.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self { every_ms: interval.as_millis() as i64, state: Mutex::new(State { last: None, left_out: 0 }) }
    }

    /// `Some(number left out since the last one)` when this one may be logged.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(mono_now())
    }

    /// As [`Self::pass`], at a given time.
    pub fn pass_at(&self, now: MonoMillis) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| now.since(last) < self.every_ms) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_passes_and_says_how_many_did_not() {
        let limiter = Limiter::per_second();
        let passed: Vec<_> = (0..=20).map(|i| limiter.pass_at(MonoMillis(i * 100))).collect();
        assert_eq!((passed[0], passed[10], passed[20]), (Some(0), Some(9), Some(9)));
        assert_eq!(passed.iter().flatten().count(), 3);
    }
}
