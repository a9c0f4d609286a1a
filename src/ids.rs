//! Where ULIDs come from: random in the agent, counted in `replay`, so that the same file gives the same output.

use crate::clock::UtcMillis;

/// Makes ULIDs for tracks and events.
#[derive(Debug, Clone)]
pub struct IdSource {
    /// `None` = random.
    counter: Option<u128>,
}

impl IdSource {
    /// Unique over restarts and boxes: 48 bits of time, 80 random bits.
    #[must_use]
    pub fn random() -> Self {
        Self { counter: None }
    }

    /// The same ids in every run: time, then `stream` and a count instead of random bits.
    #[must_use]
    pub fn counted(stream: u16) -> Self {
        Self { counter: Some(u128::from(stream) << 64) }
    }

    /// The next id for something that happened at `at`.
    pub fn next_id(&mut self, at: UtcMillis) -> ulid::Ulid {
        let ms = u64::try_from(at.0).unwrap_or(0);
        let low = match &mut self.counter {
            None => rand::random(),
            Some(n) => {
                *n += 1;
                *n
            }
        };
        ulid::Ulid::from_parts(ms, low)
    }
}
