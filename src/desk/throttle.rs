//! How often somebody may try to sign in: after some failures each further one has to wait, twice as long every time.
//! By account and by address, so that neither one account nor many can be tried through. A try counts as a failure until it
//! turns out right, so that many at once are no way round. In memory only.

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
    /// Begins a try, which counts as failed from now on; or says how many seconds one of these has to wait before.
    pub(crate) fn begin(&self, keys: &[String]) -> Result<(), i64> {
        let now = mono_now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys.iter().filter_map(|k| known.get(k)).map(|f| f.until.since(now)).filter(|ms| *ms > 0);
        if let Some(ms) = waits.max() {
            return Err((ms + 999) / 1000);
        }
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
        Ok(())
    }

    /// The password was right. The account begins anew; of the address only this one try is taken back, so that nobody tries
    /// others' accounts with his own in between.
    pub(crate) fn succeeded(&self, account: &str, address: &str) {
        let now = mono_now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(account);
        if let Some(of) = known.get_mut(address) {
            *of = Failures { count: of.count.saturating_sub(1), until: now, ..*of };
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
        let begun = (0..100).filter(|_| throttle.begin(&key).is_ok()).count();
        assert_eq!(begun, FREE as usize + 1, "however many at once");
        assert!(throttle.begin(&key).is_err_and(|s| (1..=2).contains(&s)));
        assert_eq!(throttle.begin(&["name binh".to_owned()]), Ok(()));
        throttle.succeeded("name an", "address a");
        assert_eq!(throttle.begin(&key), Ok(()));
    }

    #[test]
    fn his_own_account_gives_nobody_more_tries_at_others() {
        let throttle = Throttle::default();
        let of = |name: &str| [format!("name {name}"), "address a".to_owned()];
        let mut guessed = 0;
        for n in 0..100 {
            guessed += usize::from(throttle.begin(&of(&format!("other-{n}"))).is_ok());
            if throttle.begin(&of("own")).is_ok() {
                throttle.succeeded("name own", "address a");
            }
        }
        assert_eq!(guessed, FREE as usize + 1);
    }
}
