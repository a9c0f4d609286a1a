//! The seams between delivery and the rest of the box: the store as delivery's source of work, and the handler of what
//! comes in over MQTT.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::{Applied, FactKind, SinkError};
use super::clearance::Clearance;
use crate::clock::{UtcMillis, utc_now};
use crate::mqtt::{Inbound, InboundError, InboundHandler, OutboxError, OutboxItem, OutboxSource, Scope};
use crate::store::Store;

impl OutboxSource for Store {
    async fn next(&self, limit: usize, in_flight: &[i64]) -> Result<Vec<OutboxItem>, OutboxError> {
        let items = self.outbox_next(limit, in_flight).await.map_err(|e| OutboxError(e.to_string()))?;
        let each = items.into_iter().map(|i| OutboxItem {
            id: i.id,
            lane: i.lane,
            topic: i.topic,
            payload: i.payload,
            content_type: i.content_type,
            user_properties: i.user_properties,
        });
        Ok(each.collect())
    }

    async fn delivered(&self, ids: &[i64]) -> Result<(), OutboxError> {
        self.mark_delivered(ids, utc_now()).await.map_err(|e| OutboxError(e.to_string()))
    }

    async fn undeliverable(&self, id: i64, why: &str) -> Result<(), OutboxError> {
        Self::undeliverable(self, id, why).await.map_err(|e| OutboxError(e.to_string()))
    }

    async fn wait_for_work(&self) {
        Self::wait_for_work(self).await;
    }
}

/// Health of the box as JSON, for `cmd/status` and `GET /api/status`.
pub type StatusText = Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Value> + Send + Sync>;

/// Takes what comes in over MQTT.
pub struct Handler {
    /// Declarations and bookings.
    pub clearance: Arc<Clearance>,
    /// For resync.
    pub store: Store,
    /// For `cmd/status`.
    pub status: StatusText,
}

impl InboundHandler for Handler {
    async fn take(
        &self,
        what: Inbound,
        _scope: Scope,
        said: Option<UtcMillis>,
        body: Value,
    ) -> Result<(), InboundError> {
        let kind = match what {
            Inbound::Declaration => FactKind::Declaration,
            Inbound::Booking => FactKind::Booking,
        };
        let answers = self.clearance.take_json(kind, &[body], said).await;
        match answers.and_then(|mut all| all.pop().unwrap_or(Ok(Applied::Unchanged))) {
            Ok(_) => Ok(()),
            Err(SinkError::Unavailable(why)) => Err(InboundError::NotNow(why)),
            Err(SinkError::Invalid(fields)) => {
                let texts: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
                Err(InboundError::Invalid(texts.join("; ")))
            }
        }
    }

    async fn resync(&self, from_seq: i64, to_seq: Option<i64>, epoch: Option<i64>) -> Result<Value, InboundError> {
        let reply = self.store.resync(from_seq, to_seq, epoch.unwrap_or(self.store.epoch())).await;
        reply.map(|r| json!(r)).map_err(|e| InboundError::NotNow(e.to_string()))
    }

    async fn status(&self) -> Value {
        (self.status)().await
    }
}
