//! Whether somebody needs every picture of a camera: what the analysis, the bookings and people say to its decode gate.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::MonoMillis;

/// One camera's; shared by its gate and everybody who may ask for it. Without a word from anybody the gate decides alone.
#[derive(Debug, Default)]
pub struct Attention(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    asked: Option<(MonoMillis, &'static str)>,
    idle: bool,
    proven: Option<u64>,
}

impl Attention {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every picture is needed until `until`, for `reason`, a label of metrics. What was asked for longer stays.
    pub fn ask(&self, until: MonoMillis, reason: &'static str) {
        let mut state = self.state();
        if state.asked.is_none_or(|(known, _)| until > known) {
            state.asked = Some((until, reason));
        }
    }

    /// Why every picture is needed at `now`; `None` when nobody asks.
    #[must_use]
    pub fn wanted(&self, now: MonoMillis) -> Option<&'static str> {
        self.state().asked.filter(|(until, _)| now < *until).map(|(_, reason)| reason)
    }

    /// Whether the camera is looked at now and then only.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state().idle
    }

    /// The coding whose sizes have told of movement, on this connection or one before.
    pub(crate) fn proven(&self) -> Option<u64> {
        self.state().proven
    }

    pub(crate) fn set_proven(&self, coding: Option<u64>) {
        self.state().proven = coding;
    }

    pub(crate) fn set_idle(&self, idle: bool) {
        self.state().idle = idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wish_counts_and_ends() {
        let attention = Attention::default();
        assert_eq!(attention.wanted(MonoMillis(0)), None);
        attention.ask(MonoMillis(5000), "booking");
        attention.ask(MonoMillis(3000), "track");
        assert_eq!(attention.wanted(MonoMillis(4999)), Some("booking"));
        assert_eq!(attention.wanted(MonoMillis(5000)), None);
    }
}
