//! Where delivery takes its work from. The SQLite outbox implements it in `store/`; tests use one in memory.

use std::future::Future;

use bytes::Bytes;

/// One message to deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    /// Row; smaller is older.
    pub id: i64,
    /// 0 first. An item of a lower lane goes before all items of higher lanes.
    pub lane: u8,
    /// Full topic.
    pub topic: String,
    /// Body.
    pub payload: Bytes,
    /// MQTT content type, e.g. `application/cloudevents+json`.
    pub content_type: &'static str,
    /// MQTT user properties.
    pub user_properties: Vec<(String, String)>,
}

/// The outbox could not be read or written; tried again after a wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutboxError(pub String);

/// Source of work for delivery. A trait because tests deliver from memory.
pub trait OutboxSource: Send + Sync + 'static {
    /// At most `limit` undelivered items, lowest lane first, oldest first within a lane, without those in `in_flight`.
    ///
    /// # Errors
    /// When the store cannot be read now.
    fn next(
        &self,
        limit: usize,
        in_flight: &[i64],
    ) -> impl Future<Output = Result<Vec<OutboxItem>, OutboxError>> + Send;

    /// The broker acknowledged these. Idempotent.
    ///
    /// # Errors
    /// When the store cannot be written now; the items will be sent again.
    fn delivered(&self, ids: &[i64]) -> impl Future<Output = Result<(), OutboxError>> + Send;

    /// This one can never be sent (too large, impossible topic): take it out of the way and keep the reason.
    ///
    /// # Errors
    /// When the store cannot be written now.
    fn undeliverable(&self, id: i64, why: &str) -> impl Future<Output = Result<(), OutboxError>> + Send;

    /// Resolves when there may be new work. May resolve too often; must not miss work added after the last `next`.
    fn wait_for_work(&self) -> impl Future<Output = ()> + Send;
}
