//! What the last run left open: events that lasted when the process ended get their last message before anything new
//! is said, so that none is left hanging and none is doubled.

use super::keeper::new_message;
use crate::clock::{UtcMillis, utc_now};
use crate::event::EventMessage;
use crate::mqtt::Topics;
use crate::rules::{EndReason, Phase};
use crate::store::{Store, StoreError};

/// Ends every event the store holds open; returns how many.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn close_open_events(store: &Store, topics: &Topics, alert_severity: u8) -> Result<usize, StoreError> {
    let open = store.open_events().await?;
    let count = open.len();
    let ends = open.into_iter().map(|e| new_message(ended(e, utc_now()), None, topics, alert_severity, None));
    store.record_all(ends.collect()).await?;
    if count > 0 {
        tracing::warn!(count, "events of the last run were open and are ended at their last written sight");
    }
    Ok(count)
}

/// The last message of an event, by what was written down of it.
fn ended(mut event: EventMessage, now: UtcMillis) -> EventMessage {
    let data = &mut event.data;
    let last_sight = data.object.path.last().map_or(data.capture.best, |p| p.t).max(data.capture.start);
    data.revision += 1;
    data.phase = Phase::End;
    data.capture.end = Some(last_sight);
    data.end_reason = Some(EndReason::Restart);
    // Both times are the camera's; the monotonic clock of the last run is gone.
    data.dwell_ms = data.dwell_ms.map(|known| known.max(last_sight.since(data.capture.start)));
    event.time = now;
    event
}
