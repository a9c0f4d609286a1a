//! What comes in: declarations, bookings and commands. A message is acknowledged to the broker only after its handler
//! has kept it. What declarations and bookings mean is in `customs/`, where they are kept in `store/`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::topics::{Inbound, ParsedTopic, TopicKind, Topics};
use crate::clock::{UtcMillis, utc_now};

/// Whom a declaration or booking was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This box.
    Box,
    /// All boxes of the office.
    Office,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// It is wrong and will be wrong next time; logged, counted, acknowledged.
    #[error("{0}")]
    Invalid(String),
    /// We cannot keep it now (store busy or full); tried again before it is acknowledged.
    #[error("{0}")]
    NotNow(String),
}

/// Takes what comes in. A trait because tests look at what arrives.
pub trait InboundHandler: Send + Sync + 'static {
    /// Keeps a declaration or booking; returns after it is safely written. `said`: when it came from its sender; `None`
    /// when the broker repeats what it retained, which says nothing about the sender now.
    ///
    /// # Errors
    /// See [`InboundError`].
    fn take(
        &self,
        what: Inbound,
        scope: Scope,
        said: Option<UtcMillis>,
        body: Value,
    ) -> impl Future<Output = Result<(), InboundError>> + Send;

    /// Topics of others that the box listens to beside its own, e.g. those of cameras with readers of their own.
    fn further_topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keeps what came on one of them.
    ///
    /// # Errors
    /// See [`InboundError`].
    fn further(&self, _topic: &str, _payload: &[u8]) -> impl Future<Output = Result<(), InboundError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Runs a command (`cmd/{name}`); the result goes into the reply. `ping` is answered before it comes here.
    ///
    /// # Errors
    /// Says what the payload must be, or which commands there are.
    fn command(&self, name: &str, payload: &[u8]) -> impl Future<Output = Result<Value, InboundError>> + Send;
}

/// Answer to a command, published by the delivery loop so that all publishes keep one order.
#[derive(Debug)]
pub(crate) struct Reply {
    pub topic: String,
    pub correlation: Option<Bytes>,
    pub payload: Bytes,
}

/// Handles publishes one after the other on its own task, so that a slow store never holds up acknowledgements of
/// what we send. The broker has at most its `receive maximum` unacknowledged, which bounds the queue.
pub(crate) struct Worker<H> {
    // injected
    pub topics: Topics,
    pub handler: Arc<H>,
    pub client: AsyncClient,
    // in
    pub publishes: mpsc::Receiver<Publish>,
    // out
    pub replies: mpsc::Sender<Reply>,
}

impl<H: InboundHandler> Worker<H> {
    /// Runs until the connection is thrown away.
    pub(crate) async fn run(mut self) {
        while let Some(publish) = self.publishes.recv().await {
            self.handle(&publish).await;
            // Fails only when the connection is gone; then the broker sends a fact again, see `intake.rs`.
            if self.client.ack(&publish).await.is_err() {
                return;
            }
        }
    }

    async fn handle(&self, publish: &Publish) {
        let topic = String::from_utf8_lossy(&publish.topic);
        match self.topics.parse_own(&topic) {
            Some(ParsedTopic { kind: TopicKind::In(what), box_id, .. }) => {
                let scope = if box_id.is_some() { Scope::Box } else { Scope::Office };
                self.fact(what, scope, publish).await;
            }
            // A retained command would run again on every connection.
            Some(ParsedTopic { kind: TopicKind::Command(name), .. }) if publish.retain => {
                count("command", "retained");
                tracing::warn!(name, "retained command ignored; publish commands without the retain flag");
            }
            Some(ParsedTopic { kind: TopicKind::Command(name), .. }) => self.command(&name, publish).await,
            _ => self.further(&topic, publish).await,
        }
    }

    async fn further(&self, topic: &str, publish: &Publish) {
        let mut waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.handler.further(topic, &publish.payload).await {
                Ok(()) => return count("other", "taken"),
                Err(InboundError::Invalid(why)) => return self.refuse("other", publish, &why).await,
                Err(InboundError::NotNow(why)) => {
                    count("other", "waiting");
                    tracing::warn!(why, "cannot keep an inbound message now; trying again");
                    tokio::time::sleep(waits.wait()).await;
                }
            }
        }
    }

    async fn fact(&self, what: Inbound, scope: Scope, publish: &Publish) {
        let body = match serde_json::from_slice::<Value>(&publish.payload) {
            Ok(body) => body,
            Err(e) => return self.refuse(what.as_str(), publish, &format!("not JSON: {e}")).await,
        };
        let said = (!publish.retain).then(utc_now);
        let mut waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.handler.take(what, scope, said, body.clone()).await {
                Ok(()) => {
                    count(what.as_str(), "taken");
                    return self.reply(publish, &json!({"ok": true})).await;
                }
                Err(InboundError::Invalid(why)) => return self.refuse(what.as_str(), publish, &why).await,
                Err(InboundError::NotNow(why)) => {
                    count(what.as_str(), "waiting");
                    tracing::warn!(kind = what.as_str(), why, "cannot keep an inbound message now; trying again");
                    tokio::time::sleep(waits.wait()).await;
                }
            }
        }
    }

    async fn refuse(&self, kind: &'static str, publish: &Publish, why: &str) {
        count(kind, "invalid");
        tracing::warn!(kind, why, bytes = publish.payload.len(), "inbound message refused");
        self.reply(publish, &json!({"ok": false, "error": why})).await;
    }

    async fn command(&self, name: &str, publish: &Publish) {
        let answer = self.run_command(name, &publish.payload).await;
        let body = match answer {
            Ok(result) => {
                count("command", "done");
                json!({"ok": true, "result": result})
            }
            Err(why) => {
                count("command", "failed");
                tracing::warn!(name, why, "command failed");
                json!({"ok": false, "error": why})
            }
        };
        self.reply(publish, &body).await;
    }

    async fn run_command(&self, name: &str, payload: &[u8]) -> Result<Value, String> {
        match name {
            "ping" => Ok(json!("pong")),
            _ => self.handler.command(name, payload).await.map_err(|e| e.to_string()),
        }
    }

    async fn reply(&self, request: &Publish, body: &Value) {
        let Some(properties) = &request.properties else { return };
        let Some(topic) = properties.response_topic.clone() else { return };
        if !may_reply_to(&topic, &self.topics) {
            count("command", "bad_response_topic");
            tracing::warn!(topic, "response topic refused: it has wildcards or is one the box itself speaks on");
            return;
        }
        let payload = Bytes::from(body.to_string());
        let reply = Reply { topic, correlation: properties.correlation_data.clone(), payload };
        // Fails only when the connection is gone, and with it the one who asked.
        let _ = self.replies.send(reply).await;
    }
}

/// A requester must not make the box write events or states: its own topics are closed, but for `reply/…`.
fn may_reply_to(topic: &str, own: &Topics) -> bool {
    let base = format!("{}/", own.base());
    let own_topic = topic.strip_prefix(&base).is_some_and(|rest| !rest.starts_with("reply/"));
    !topic.is_empty() && !topic.contains(['+', '#', '\0']) && !own_topic && !topic.starts_with('$')
}

fn count(kind: &'static str, result: &'static str) {
    metrics::counter!("gatewatch_mqtt_inbound_total", "kind" => kind, "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_never_go_to_the_boxs_own_topics() {
        let own = Topics::new("gatewatch/v1", "15BB", "gate-01");
        for (topic, allowed) in [
            ("desk/7/replies", true),
            ("gatewatch/v1/15BB/gate-01/reply/7", true),
            ("gatewatch/v1/15BB/gate-01/alert", false),
            ("a/+/b", false),
            ("$SYS/x", false),
            ("", false),
        ] {
            assert_eq!(may_reply_to(topic, &own), allowed, "{topic}");
        }
    }
}
