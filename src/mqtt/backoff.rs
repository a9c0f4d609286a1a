//! Waits between tries: growing, with a ceiling, jittered so that boxes do not come back in step. No clock here.

use std::time::Duration;

/// Doubling wait with ±25 % jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first`, doubling up to `ceiling`.
    pub(crate) fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, next: first }
    }

    /// The wait before the next try; later ones are longer.
    pub(crate) fn wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.ceiling);
        base.mul_f64(0.75 + rand::random::<f64>() * 0.5)
    }

    /// Something worked: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_start_again_after_a_success() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for base in [100.0, 200.0, 400.0, 400.0] {
            let ms = b.wait().as_secs_f64() * 1000.0;
            assert!((base * 0.75..=base * 1.25).contains(&ms), "{ms} for {base}");
        }
        b.reset();
        assert!(b.wait() <= Duration::from_millis(125));
    }
}
