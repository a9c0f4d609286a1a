//! How many alerts are open: counted at most once a second for all open pages of a scope, since every change of every
//! alert shows it on every page.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::db::{Db, DbError, Scope};
use crate::clock::{MonoMillis, mono_now};

/// A count is good for this long, milliseconds.
pub(crate) const GOOD_MS: i64 = 1000;

/// State, severity, how many.
pub(crate) type Counts = Arc<Vec<(String, i64, i64)>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<HashMap<String, (MonoMillis, Counts)>>);

impl Tally {
    /// Numbers that are at most [`GOOD_MS`] old. One question to the database at a time; who comes meanwhile waits for it.
    pub(crate) async fn counts(&self, db: &Db, scope: &Scope) -> Result<Counts, DbError> {
        let mut kept = self.0.lock().await;
        let now = mono_now();
        if let Some((_, counts)) = kept.get(&scope.0).filter(|(at, _)| now.since(*at) < GOOD_MS) {
            return Ok(Arc::clone(counts));
        }
        let counts = Arc::new(db.alert_counts(scope).await?);
        kept.retain(|_, (at, _)| now.since(*at) < 60 * GOOD_MS);
        // As old as when it was asked for: what changed meanwhile may be missing in it.
        kept.insert(scope.0.clone(), (now, Arc::clone(&counts)));
        Ok(counts)
    }
}
