//! An independent receiver with a client of its own: for the live page and for the demo's report, which must not rely
//! on what the agent says about itself. It removes duplicates and counts; showing is in `desk/`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event};
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::connect::{self, Problem};
use super::stats::{LiveStats, Tally};
use super::topics::{self, ParsedTopic, TopicKind, Topics};
use crate::camera::CameraId;
use crate::config::MqttConfig;
use crate::event::message::Sequence;
use crate::event::{EventId, EventMessage};
use crate::store::OutboxDropped;

/// Messages a slow reader may be behind before it loses the oldest (and is told so by the channel).
const BEHIND: usize = 1024;

/// One message, typed.
#[derive(Debug, Clone)]
pub enum SeenMessage {
    /// An event or alert not seen before.
    Event {
        /// Parsed.
        message: Box<EventMessage>,
        /// Where it came.
        topic: String,
        /// As it came.
        raw: Bytes,
    },
    /// A box says that messages will not arrive.
    Dropped {
        /// Box.
        box_id: String,
        /// Which, as sequence numbers.
        report: Box<OutboxDropped>,
    },
    /// A message about the box itself not seen before: a camera's health, a detector that fails, footage.
    Notice {
        /// Box.
        box_id: String,
        /// As published.
        body: serde_json::Value,
    },
    /// An annotated picture.
    Snapshot {
        /// Of which event.
        event_id: EventId,
        /// As it came.
        jpeg: Bytes,
        /// SHA-256 of `jpeg`, hex.
        sha256: String,
    },
    /// State of a box.
    State {
        /// Box.
        box_id: String,
        /// `{"online": …}`
        body: serde_json::Value,
    },
    /// Birth of a box.
    Birth {
        /// Box.
        box_id: String,
        /// As published.
        body: serde_json::Value,
    },
    /// How a box is.
    Status {
        /// Box.
        box_id: String,
        /// `BoxStatus` as JSON.
        body: serde_json::Value,
    },
    /// State of a camera.
    Camera {
        /// Box.
        box_id: String,
        /// Camera.
        camera: CameraId,
        /// `CameraStatus` as JSON.
        body: serde_json::Value,
    },
}

/// A running subscriber; stops when dropped.
#[derive(Debug)]
pub struct Subscriber {
    messages: broadcast::Sender<Arc<SeenMessage>>,
    tally: Arc<Mutex<Tally>>,
    connected: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber {
    /// Subscribes to everything under `config.topic_prefix`, and again after every loss of the connection.
    ///
    /// # Errors
    /// When address, credentials or certificates cannot be used. A broker that is not there is waited for.
    pub fn start(config: MqttConfig, client_id: &str) -> Result<Self, Problem> {
        connect::plain_options(&config, client_id)?;
        let (messages, _) = broadcast::channel(BEHIND);
        let (connected_tx, connected) = watch::channel(false);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let worker = Reader {
            config,
            client_id: client_id.into(),
            messages: messages.clone(),
            tally: tally.clone(),
            connected: connected_tx,
        };
        let task = tokio::spawn(worker.run());
        Ok(Self { messages, tally, connected, task })
    }

    /// Messages from now on. A reader that falls behind loses the oldest and is told how many.
    #[must_use]
    pub fn messages(&self) -> broadcast::Receiver<Arc<SeenMessage>> {
        self.messages.subscribe()
    }

    /// Whether the broker accepted the subscription.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> LiveStats {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).stats()
    }
}

/// What a message is, before it is read as such.
/// As much of a message as tells what it is.
#[derive(serde::Deserialize)]
struct Envelope {
    source: String,
    #[serde(rename = "type")]
    kind: String,
    data: EnvelopeData,
}

#[derive(serde::Deserialize)]
struct EnvelopeData {
    /// Only events in areas have one.
    rule: Option<serde::de::IgnoredAny>,
    sequence: Sequence,
}

/// As much of a correlation as is counted.
#[derive(serde::Deserialize)]
struct Correlated {
    source: String,
    data: CorrelatedData,
}

#[derive(serde::Deserialize)]
struct CorrelatedData {
    sequence: Sequence,
}

struct Reader {
    config: MqttConfig,
    client_id: String,
    messages: broadcast::Sender<Arc<SeenMessage>>,
    tally: Arc<Mutex<Tally>>,
    connected: watch::Sender<bool>,
}

impl Reader {
    async fn run(self) {
        let mut waits = Backoff::new(Duration::from_millis(300), Duration::from_secs(10));
        loop {
            let was = match self.run_once(&mut waits).await {
                Ok(never) => match never {},
                Err(problem) => problem,
            };
            self.connected.send_replace(false);
            let wait = waits.wait();
            tracing::warn!(reason = %was, retry_in_ms = wait.as_millis() as u64, "subscriber has no broker");
            tokio::time::sleep(wait).await;
        }
    }

    async fn run_once(&self, waits: &mut Backoff) -> Result<std::convert::Infallible, Problem> {
        let mut options = connect::plain_options(&self.config, &self.client_id)?;
        options.set_manual_acks(false);
        let (client, mut events) = AsyncClient::new(options, 16);
        let explain = |e: &ConnectionError| connect::explain(e, &self.config.url, *self.connected.borrow());
        loop {
            match events.poll().await.map_err(|e| explain(&e))? {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let all = Topics::everything(&self.config.topic_prefix);
                    if let Err(e) = client.try_subscribe(all, QoS::AtLeastOnce) {
                        tracing::error!(error = %e, "cannot subscribe");
                    }
                }
                Event::Incoming(Packet::SubAck(_)) => {
                    waits.reset();
                    self.connected.send_replace(true);
                }
                Event::Incoming(Packet::Publish(publish)) => self.take(&publish),
                _ => {}
            }
        }
    }

    fn take(&self, publish: &Publish) {
        let topic = String::from_utf8_lossy(&publish.topic);
        let Some(parsed) = topics::parse(&self.config.topic_prefix, &topic) else { return };
        match self.typed(parsed, &topic, &publish.payload) {
            Ok(Some(message)) => {
                // Fails only when nobody reads now.
                let _ = self.messages.send(Arc::new(message));
            }
            Ok(None) => {}
            Err(error) => {
                self.tally().unreadable();
                tracing::warn!(%topic, %error, "message cannot be read");
            }
        }
    }

    fn typed(&self, parsed: ParsedTopic, topic: &str, payload: &Bytes) -> serde_json::Result<Option<SeenMessage>> {
        let Some(box_id) = parsed.box_id else { return Ok(None) };
        let body = || serde_json::from_slice(payload);
        Ok(match parsed.kind {
            TopicKind::Event | TopicKind::Alert | TopicKind::Chain => {
                let envelope: Envelope = serde_json::from_slice(payload)?;
                if envelope.kind.ends_with(".outbox_dropped.v1") {
                    let report: Box<OutboxDropped> = Box::new(serde_json::from_slice(payload)?);
                    let new = self.tally().dropped(&report);
                    return Ok(new.then(|| SeenMessage::Dropped { box_id, report }));
                }
                if envelope.data.rule.is_none() {
                    let new = self.tally().notice(envelope.source, envelope.data.sequence);
                    return if new { Ok(Some(SeenMessage::Notice { box_id, body: body()? })) } else { Ok(None) };
                }
                let message: Box<EventMessage> = Box::new(serde_json::from_slice(payload)?);
                let new = self.tally().event(&message);
                new.then(|| SeenMessage::Event { message, topic: topic.into(), raw: payload.clone() })
            }
            TopicKind::Correlation => {
                let envelope: Correlated = serde_json::from_slice(payload)?;
                let new = self.tally().notice(envelope.source, envelope.data.sequence);
                new.then(body).transpose()?.map(|body| SeenMessage::Notice { box_id, body })
            }
            TopicKind::Snapshot(event_id) => {
                let sha256 = hex::encode(Sha256::digest(payload));
                self.tally().picture(event_id, sha256.clone());
                Some(SeenMessage::Snapshot { event_id, jpeg: payload.clone(), sha256 })
            }
            TopicKind::State => Some(SeenMessage::State { box_id, body: body()? }),
            TopicKind::Birth => Some(SeenMessage::Birth { box_id, body: body()? }),
            TopicKind::Status => Some(SeenMessage::Status { box_id, body: body()? }),
            TopicKind::CameraState(camera) => Some(SeenMessage::Camera { box_id, camera, body: body()? }),
            TopicKind::Command(_) | TopicKind::In(_) => None,
        })
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
