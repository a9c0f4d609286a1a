//! Who watches which clip or page now: a player asks for one clip in many pieces, a page that shows how things are is taken
//! anew by itself, and the audit names it once in a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::{MonoMillis, mono_now};

/// After this it counts as looked at again, milliseconds.
const AGAIN_MS: i64 = 10 * 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<HashMap<(String, String), MonoMillis>>);

impl Watched {
    /// Whether this look is written down already.
    pub(crate) fn knows(&self, account: &str, what: &str) -> bool {
        let now = mono_now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, at| now.since(*at) < AGAIN_MS);
        all.contains_key(&(account.to_owned(), what.to_owned()))
    }

    /// It was written down.
    pub(crate) fn note(&self, account: &str, what: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((account.to_owned(), what.to_owned()), mono_now());
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
}
