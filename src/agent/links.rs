//! The seams between delivery and the rest of the box: the store as delivery's source of work, and the handler of what
//! comes in over MQTT.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Applied, FactKind, SinkError};
use super::clearance::Clearance;
use super::coverage::{AskError, CoverageKeeper, Question};
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
    /// For `cmd/coverage`.
    pub coverage: Arc<CoverageKeeper>,
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

    async fn command(&self, name: &str, payload: &[u8]) -> Result<Value, InboundError> {
        match name {
            "status" => Ok((self.status)().await),
            "resync" => self.resync(&ResyncRange::read(payload)?).await,
            "coverage" => self.coverage(payload).await,
            _ => Err(InboundError::Invalid(format!(
                "unknown command {name:?}; there are: resync, ping, status, coverage"
            ))),
        }
    }
}

impl Handler {
    async fn coverage(&self, payload: &[u8]) -> Result<Value, InboundError> {
        let wants = "coverage wants {\"area\": \"bay-1\", \"from\": \"2026-03-02T10:00:00+07:00\", \"to\": \"...\"}";
        let invalid = |what: String| InboundError::Invalid(format!("{wants}: {what}"));
        let question: Question = serde_json::from_slice(payload).map_err(|e| invalid(e.to_string()))?;
        match self.coverage.ask(&question).await {
            Ok(answer) => Ok(json!(answer)),
            Err(AskError::Invalid(what)) => Err(invalid(what)),
            Err(error @ AskError::Store(_)) => Err(InboundError::NotNow(error.to_string())),
        }
    }

    async fn resync(&self, range: &ResyncRange) -> Result<Value, InboundError> {
        let epoch = range.epoch.unwrap_or(self.store.epoch());
        let reply = self.store.resync(range.from_seq, range.to_seq, epoch).await;
        reply.map(|r| json!(r)).map_err(|e| InboundError::NotNow(e.to_string()))
    }
}

/// What `cmd/resync` asks for: the messages from `from_seq` to `to_seq` (or the newest) once more. `epoch`: the
/// incarnation of the store that the numbers belong to, if not the present.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResyncRange {
    from_seq: i64,
    #[serde(default)]
    to_seq: Option<i64>,
    #[serde(default)]
    epoch: Option<i64>,
}

impl ResyncRange {
    fn read(payload: &[u8]) -> Result<Self, InboundError> {
        let wants = "resync wants {\"from_seq\": 1, \"to_seq\": 99} (to_seq and epoch may be missing)";
        let invalid = |what: String| InboundError::Invalid(format!("{wants}: {what}"));
        let range: Self = serde_json::from_slice(payload).map_err(|e| invalid(e.to_string()))?;
        if range.from_seq < 1 {
            return Err(invalid(format!("from_seq is {}, want 1 or more", range.from_seq)));
        }
        match range.to_seq {
            Some(to) if to < range.from_seq => {
                Err(invalid(format!("to_seq {to} is before from_seq {}", range.from_seq)))
            }
            _ => Ok(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resync_range_must_go_forward() {
        let check = |text: &str| ResyncRange::read(text.as_bytes());
        assert!(check(r#"{"from_seq": 3}"#).is_ok());
        assert!(check(r#"{"from_seq": 0}"#).is_err());
        assert!(check(r#"{"from_seq": 3, "to_seq": 2}"#).is_err());
        assert!(check(r#"{"from": 3}"#).is_err());
    }
}
