//! Figures over recorded messages, for the demo's report and the health page.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::{Store, StoreError};
use crate::clock::UtcMillis;

/// Times of one message, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Latency {
    /// Which message.
    pub seq: i64,
    /// Frame received to committed, milliseconds; `None` when not known (recorded by an earlier process).
    pub stored_ms: Option<i64>,
    /// Frame received to acknowledged by the broker, milliseconds.
    pub acked_ms: Option<i64>,
}

/// How many messages of one sort.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct CountRow {
    /// Rule.
    pub rule: String,
    /// Phase.
    pub phase: String,
    /// Verdict of the link.
    pub verdict: String,
    /// Method of the first link; `None` when unlinked.
    pub method: Option<String>,
    /// Messages.
    pub count: i64,
}

impl Store {
    /// Times of the messages recorded since then.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latencies(&self, since: UtcMillis) -> Result<Vec<Latency>, StoreError> {
        let select = "SELECT seq, frame_to_stored_ms AS stored_ms, frame_to_acked_ms AS acked_ms FROM message
                      WHERE recorded_ms >= ? AND rule IS NOT NULL ORDER BY seq";
        let select = sqlx::query_as(select).bind(since.0);
        let mut rows: Vec<Latency> = select.fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))?;
        // Not acknowledged yet: known to this process only.
        let timing: HashMap<i64, i64> = {
            let timing = self.inner.timing.lock().unwrap_or_else(PoisonError::into_inner);
            timing.iter().map(|(seq, t)| (*seq, t.stored_ms)).collect()
        };
        for row in &mut rows {
            row.stored_ms = row.stored_ms.or_else(|| timing.get(&row.seq).copied());
        }
        Ok(rows)
    }

    /// Messages recorded since then by rule, phase, verdict and method.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn counts(&self, since: UtcMillis) -> Result<Vec<CountRow>, StoreError> {
        let select = "SELECT rule, phase, verdict, method, COUNT(*) AS count FROM message
                      WHERE recorded_ms >= ? AND rule IS NOT NULL GROUP BY rule, phase, verdict, method
                      ORDER BY rule, phase, verdict, method";
        sqlx::query_as(select).bind(since.0).fetch_all(&self.inner.readers).await.map_err(|e| self.sql(e))
    }
}
