//! Who watches which clip or page now: a player asks for one clip in many pieces, a page that shows how things are is taken
//! anew by itself, and the audit names it once in a while. And which alerts lists showed to whom just now: the small pictures on
//! their cards belong to them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::{MonoMillis, mono_now};

/// After this it counts as looked at again, milliseconds.
const AGAIN_MS: i64 = 10 * 60_000;
/// Alerts of one account that are kept in mind, at most: a dozen lists. The oldest go first.
const MAX_SHOWN: usize = 2000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    looks: Mutex<HashMap<(String, String), MonoMillis>>,
    shown: Mutex<Shown>,
}

impl Watched {
    /// Whether this look is written down already.
    pub(crate) fn knows(&self, account: &str, what: &str) -> bool {
        let now = mono_now();
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, at| now.since(*at) < AGAIN_MS);
        all.contains_key(&(account.to_owned(), what.to_owned()))
    }

    /// It was written down.
    pub(crate) fn note(&self, account: &str, what: &str) {
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((account.to_owned(), what.to_owned()), mono_now());
    }

    /// Cards of these alerts are shown to him, and that is written down.
    pub(crate) fn shows<'a>(&self, account: &str, alerts: impl IntoIterator<Item = &'a str>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.add(account, alerts, mono_now());
    }

    /// A page of his is open still that shows these alerts, as far as they were shown.
    pub(crate) fn still_shows<'a>(&self, account: &str, alerts: impl IntoIterator<Item = &'a str>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.renew(account, alerts, mono_now());
    }

    /// Whether a card of the alert was shown to him just now.
    pub(crate) fn showed(&self, account: &str, alert: &str) -> bool {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.has(account, alert, mono_now())
    }
}

/// When which alerts were shown, by account.
#[derive(Debug, Default)]
struct Shown(HashMap<String, HashMap<String, MonoMillis>>);

impl Shown {
    fn add<'a>(&mut self, account: &str, alerts: impl IntoIterator<Item = &'a str>, now: MonoMillis) {
        self.forget(now);
        let own = self.0.entry(account.to_owned()).or_default();
        own.extend(alerts.into_iter().map(|alert| (alert.to_owned(), now)));
        while own.len() > MAX_SHOWN {
            let Some(oldest) = own.iter().min_by_key(|(_, at)| at.0).map(|(alert, _)| alert.clone()) else { return };
            own.remove(&oldest);
        }
    }

    fn renew<'a>(&mut self, account: &str, alerts: impl IntoIterator<Item = &'a str>, now: MonoMillis) {
        self.forget(now);
        let Some(own) = self.0.get_mut(account) else { return };
        for alert in alerts {
            own.entry(alert.to_owned()).and_modify(|at| *at = now);
        }
    }

    fn has(&self, account: &str, alert: &str, now: MonoMillis) -> bool {
        self.0.get(account).and_then(|own| own.get(alert)).is_some_and(|at| now.since(*at) < AGAIN_MS)
    }

    fn forget(&mut self, now: MonoMillis) {
        for own in self.0.values_mut() {
            own.retain(|_, at| now.since(*at) < AGAIN_MS);
        }
        self.0.retain(|_, own| !own.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_clip_are_one_look_of_each_person() {
        let w = Watched::default();
        assert!(!w.knows("an", "1"));
        w.note("an", "1");
        assert!(w.knows("an", "1") && !w.knows("an", "2") && !w.knows("binh", "1"));
    }

    #[test]
    fn what_a_list_showed_is_known_of_that_person_for_ten_minutes_or_as_long_as_the_page_is_open() {
        let mut shown = Shown::default();
        let at = MonoMillis;
        shown.add("an", ["1", "2"], at(0));
        assert!(shown.has("an", "1", at(AGAIN_MS - 1)) && !shown.has("an", "1", at(AGAIN_MS)));
        assert!(!shown.has("an", "3", at(1)) && !shown.has("binh", "1", at(1)));
        // The page that is open shows the one alone; what was never shown is not by that.
        shown.renew("an", ["1", "3"], at(300_000));
        shown.renew("binh", ["1"], at(300_000));
        let has = |alert| shown.has("an", alert, at(AGAIN_MS));
        assert_eq!(["1", "2", "3"].map(has), [true, false, false]);
        assert!(!shown.has("binh", "1", at(300_000)));
        shown.renew("an", ["2"], at(AGAIN_MS));
        assert!(!shown.has("an", "2", at(AGAIN_MS)), "too late");
        let many: Vec<String> = (0..MAX_SHOWN).map(|n| format!("n{n}")).collect();
        shown.add("an", many.iter().map(String::as_str), at(AGAIN_MS));
        assert!(!shown.has("an", "1", at(AGAIN_MS)) && shown.has("an", "n0", at(AGAIN_MS)), "the oldest goes");
        assert_eq!(shown.0["an"].len(), MAX_SHOWN);
    }
}
