//! How the parts of the agent are: what `/livez` and `/readyz` answer. Parts report; nothing here looks at them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;

use crate::clock::{MonoMillis, mono_now};

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Does its work.
    Ok,
    /// Does its work in part, or is starting; the agent as a whole is still of use.
    Degraded,
    /// Does not do its work: a person should look.
    Failed,
}

/// One part as it last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// How it is.
    pub level: Level,
    /// One sentence for the technician: what is wrong and what to do. No secrets.
    pub message: String,
}

/// All parts and loops of the process. Shared; every method takes a short lock.
#[derive(Debug, Default)]
pub struct Health {
    parts: Mutex<BTreeMap<String, Part>>,
    loops: Mutex<BTreeMap<String, Loop>>,
}

#[derive(Debug)]
struct Loop {
    last: MonoMillis,
    max_silence_ms: i64,
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// No part has failed.
    pub ready: bool,
    /// The worst of all parts.
    pub level: Level,
    /// All parts by name, e.g. `camera/bay-1`.
    pub parts: BTreeMap<String, Part>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Health {
    /// A part says how it is.
    pub fn set(&self, part: &str, level: Level, message: impl Into<String>) {
        let now = Part { level, message: message.into() };
        let before = lock(&self.parts).insert(part.to_owned(), now.clone());
        if before.is_none_or(|b| b.level != now.level) {
            tracing::info!(part, level = ?now.level, "{}", now.message);
        }
    }

    /// A part is no longer there.
    pub fn forget(&self, part: &str) {
        lock(&self.parts).remove(part);
    }

    /// A loop that must turn says that it does. Silence of more than `max_silence_ms` makes the process not live.
    pub fn tick(&self, name: &str, max_silence_ms: i64) {
        self.tick_at(name, max_silence_ms, mono_now());
    }

    fn tick_at(&self, name: &str, max_silence_ms: i64, now: MonoMillis) {
        lock(&self.loops).insert(name.to_owned(), Loop { last: now, max_silence_ms });
    }

    /// A loop ended on purpose.
    pub fn ended(&self, name: &str) {
        lock(&self.loops).remove(name);
    }

    /// Loops that have stopped turning, each with its silence in milliseconds.
    #[must_use]
    pub fn stuck(&self) -> Vec<(String, i64)> {
        self.stuck_at(mono_now())
    }

    fn stuck_at(&self, now: MonoMillis) -> Vec<(String, i64)> {
        let loops = lock(&self.loops);
        let silent = loops.iter().filter(|(_, l)| now.since(l.last) > l.max_silence_ms);
        silent.map(|(name, l)| (name.clone(), now.since(l.last))).collect()
    }

    /// How all parts are. Nothing reported yet = not ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let parts = lock(&self.parts).clone();
        let level = parts.values().map(|p| p.level).max().unwrap_or(Level::Failed);
        Readiness { ready: level != Level::Failed, level, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_stuck_after_its_own_limit_only_and_not_after_its_end() {
        let health = Health::default();
        health.tick_at("deliver", 1000, MonoMillis(0));
        health.tick_at("keeper", 5000, MonoMillis(0));
        assert!(health.stuck_at(MonoMillis(1000)).is_empty());
        assert_eq!(health.stuck_at(MonoMillis(1001)), [("deliver".to_owned(), 1001)]);
        health.ended("deliver");
        assert!(health.stuck_at(MonoMillis(1001)).is_empty());
    }

    #[test]
    fn the_worst_part_decides() {
        let health = Health::default();
        assert!(!health.readiness().ready, "nothing has started yet");
        health.set("store", Level::Ok, "");
        health.set("mqtt", Level::Degraded, "connecting");
        assert_eq!((health.readiness().ready, health.readiness().level), (true, Level::Degraded));
        health.set("mqtt", Level::Failed, "refused the password");
        assert!(!health.readiness().ready);
        health.forget("mqtt");
        assert_eq!(health.readiness().level, Level::Ok);
    }
}
