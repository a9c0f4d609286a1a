//! How often somebody may try to sign in: after some failures each further one has to wait, twice as long every time.
//! By account and by address, so that neither one account nor many can be tried through. In memory only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::{MonoMillis, mono_now};

/// Failures without a wait.
const FREE: u32 = 5;
/// Longest wait, milliseconds.
const LONGEST_MS: i64 = 15 * 60_000;
/// Failures are forgotten after this, milliseconds.
const FORGET_MS: i64 = 60 * 60_000;
/// Names and addresses remembered at most; then those that may try again are forgotten first.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: MonoMillis,
    until: MonoMillis,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, Failures>>);

impl Throttle {
    /// Seconds that all of these have to wait; `None` = go on.
    pub(crate) fn wait_s(&self, keys: &[String]) -> Option<i64> {
        let now = mono_now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys.iter().filter_map(|k| known.get(k)).map(|f| f.until.since(now)).filter(|ms| *ms > 0);
        waits.max().map(|ms| (ms + 999) / 1000)
    }

    /// A wrong password.
    pub(crate) fn failed(&self, keys: &[String]) {
        let now = mono_now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > REMEMBERED {
            known.retain(|_, f| f.until.since(now) > 0);
        }
        for key in keys {
            let old = known.get(key).filter(|f| now.since(f.last) < FORGET_MS).map_or(0, |f| f.count);
            known.insert(
                key.clone(),
                Failures { count: old + 1, last: now, until: MonoMillis(now.0 + wait_ms(old + 1)) },
            );
        }
    }

    /// The right password.
    pub(crate) fn succeeded(&self, keys: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            known.remove(key);
        }
    }
}

/// What the `count`th failure costs.
fn wait_ms(count: u32) -> i64 {
    let over = count.saturating_sub(FREE);
    if over == 0 { 0 } else { (1000_i64 << over.min(20)).min(LONGEST_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_begin_after_some_failures_and_double() {
        assert_eq!([5, 6, 7, 8, 40].map(wait_ms), [0, 2000, 4000, 8000, LONGEST_MS]);
        let (throttle, key) = (Throttle::default(), vec!["name an".to_owned()]);
        (0..FREE).for_each(|_| throttle.failed(&key));
        assert_eq!(throttle.wait_s(&key), None);
        throttle.failed(&key);
        assert!(throttle.wait_s(&key).is_some_and(|s| (1..=2).contains(&s)));
        assert_eq!(throttle.wait_s(&["name binh".to_owned()]), None);
        throttle.succeeded(&key);
        assert_eq!(throttle.wait_s(&key), None);
    }
}
