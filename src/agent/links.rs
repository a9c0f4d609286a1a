//! The seams between delivery and the rest of the box: the store as delivery's source of work, and the handler of what
//! comes in over MQTT.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Applied, SinkError};
use super::api_register::TipDesk;
use super::clearance::Clearance;
use super::coverage::{AskError, CoverageKeeper, Question};
use crate::camera::{Attention, CameraId};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::customs::{Fact, onvif};
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
    /// For `cmd/hold` and `cmd/release`.
    pub tips: TipDesk,
    /// For `cmd/watch`.
    pub cameras: Vec<(CameraId, Arc<Attention>)>,
    /// Cameras whose own readers publish, by their topic prefix.
    pub onvif: Vec<(String, CameraId)>,
}

impl InboundHandler for Handler {
    async fn take(
        &self,
        what: Inbound,
        _scope: Scope,
        said: Option<UtcMillis>,
        body: Value,
    ) -> Result<(), InboundError> {
        let answers = self.clearance.take_json(what, &[body], said).await;
        match answers.and_then(|mut all| all.pop().unwrap_or(Ok(Applied::Unchanged))) {
            Ok(_) => Ok(()),
            Err(SinkError::Unavailable(why)) => Err(InboundError::NotNow(why)),
            Err(SinkError::Invalid(fields)) => {
                let texts: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
                Err(InboundError::Invalid(texts.join("; ")))
            }
        }
    }

    fn further_topics(&self) -> Vec<String> {
        let each = self.onvif.iter();
        each.map(|(prefix, _)| format!("{prefix}/{}/#", onvif::LICENSE_PLATE)).collect()
    }

    async fn further(&self, topic: &str, payload: &[u8]) -> Result<(), InboundError> {
        let of = |(prefix, _): &&(String, CameraId)| {
            topic
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with(&format!("/{}", onvif::LICENSE_PLATE)))
        };
        match self.onvif.iter().find(of) {
            Some((_, camera)) => self.plate(camera, topic, payload).await,
            None => Ok(()),
        }
    }

    async fn command(&self, name: &str, payload: &[u8]) -> Result<Value, InboundError> {
        match name {
            "status" => Ok((self.status)().await),
            "resync" => self.resync(&ResyncRange::read(payload)?).await,
            "coverage" => self.coverage(payload).await,
            "hold" => self.tips.hold(&parsed(payload)?).await.map_err(refused),
            "watch" => self.watch(payload),
            "release" => self.tips.release(&parsed(payload)?).await.map_err(refused),
            _ => Err(InboundError::Invalid(format!(
                "unknown command {name:?}; there are: coverage, hold, ping, release, resync, status, watch"
            ))),
        }
    }
}

fn parsed(payload: &[u8]) -> Result<Value, InboundError> {
    serde_json::from_slice(payload).map_err(|e| InboundError::Invalid(format!("not JSON: {e}")))
}

fn refused(error: SinkError) -> InboundError {
    match error {
        SinkError::Unavailable(why) => InboundError::NotNow(why),
        SinkError::Invalid(fields) => {
            let texts: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
            InboundError::Invalid(texts.join("; "))
        }
    }
}

/// `cmd/watch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchRequest {
    camera: String,
    seconds: u32,
}

/// Longest `cmd/watch`, seconds: who still looks asks again.
const MAX_WATCH_S: u32 = 3600;

impl Handler {
    /// Every picture of an adaptive camera is decoded for some time.
    fn watch(&self, payload: &[u8]) -> Result<Value, InboundError> {
        let wants = "watch wants {\"camera\": \"bay-1\", \"seconds\": 60}";
        let invalid = |what: String| InboundError::Invalid(format!("{wants}: {what}"));
        let request: WatchRequest = serde_json::from_slice(payload).map_err(|e| invalid(e.to_string()))?;
        if request.seconds == 0 || request.seconds > MAX_WATCH_S {
            return Err(invalid(format!("`seconds` must be 1 to {MAX_WATCH_S} (is {})", request.seconds)));
        }
        let camera = self.cameras.iter().find(|(id, _)| id.0 == request.camera);
        let Some((_, attention)) = camera else {
            let known: Vec<&str> = self.cameras.iter().map(|(id, _)| id.0.as_str()).collect();
            return Err(invalid(format!("no camera {:?}; there are: {}", request.camera, known.join(", "))));
        };
        attention.ask(MonoMillis(mono_now().0 + i64::from(request.seconds) * 1000), "command");
        Ok(json!({"camera": request.camera, "seconds": request.seconds}))
    }

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

    /// Takes a plate that a camera's own reader published.
    async fn plate(&self, camera: &CameraId, topic: &str, payload: &[u8]) -> Result<(), InboundError> {
        let read = onvif::read(camera, topic, payload).map_err(|e| InboundError::Invalid(e.to_string()))?;
        let Some(seen) = read else { return Ok(()) };
        let taken = self.clearance.take(vec![Fact::Observation(seen.value)], None).await;
        taken.map(|_| ()).map_err(|e| InboundError::NotNow(e.to_string()))
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
