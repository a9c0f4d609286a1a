//! When a camera is tried again: pure logic, the waiting is the supervisor's.

use std::time::Duration;

use super::CameraError;

/// Times between tries. `Default` is for the field; tests shorten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Wait after a refused password: cameras lock out who asks too often.
    pub refused: Duration,
    /// A connection that gave pictures this long starts again from `first`.
    pub good_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            refused: Duration::from_secs(300),
            good_after: Duration::from_secs(60),
        }
    }
}

/// Growing waits with jitter, so that forty cameras behind one switch do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    next: Duration,
}

impl Backoff {
    /// Starts at `policy.first`.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, next: policy.first }
    }

    /// How long to wait after `error` ended a life that gave pictures for `good`. `jitter` is 0..1.
    pub fn delay(&mut self, error: &CameraError, good: Duration, jitter: f64) -> Duration {
        if good >= self.policy.good_after {
            self.next = self.policy.first;
        }
        let spread = 0.75 + 0.5 * jitter.clamp(0.0, 1.0);
        if matches!(error, CameraError::Refused(_)) {
            // Never sooner than the policy says: lock-out counters are exact.
            return self.policy.refused.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0));
        }
        let wait = self.next;
        self.next = (self.next * 2).min(self.policy.cap);
        wait.mul_f64(spread).min(self.policy.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended() -> CameraError {
        CameraError::Ended("rtsp://cam".into())
    }

    #[test]
    fn waits_grow_to_the_cap_and_start_again_after_a_good_minute() {
        let mut backoff = Backoff::new(RetryPolicy::default());
        let waits: Vec<u64> = (0..8).map(|_| backoff.delay(&ended(), Duration::ZERO, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.delay(&ended(), Duration::from_secs(61), 0.5).as_secs(), 1);
    }

    #[test]
    fn a_refusal_waits_at_least_five_minutes() {
        let mut backoff = Backoff::new(RetryPolicy::default());
        for jitter in [0.0, 0.3, 1.0] {
            assert!(backoff.delay(&CameraError::Refused(String::new()), Duration::ZERO, jitter).as_secs() >= 300);
        }
    }

    #[test]
    fn jitter_spreads_a_quarter_each_way() {
        let policy = RetryPolicy::default();
        assert_eq!(Backoff::new(policy).delay(&ended(), Duration::ZERO, 0.0).as_millis(), 750);
        assert_eq!(Backoff::new(policy).delay(&ended(), Duration::ZERO, 1.0).as_millis(), 1250);
    }
}
