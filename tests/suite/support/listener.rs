//! Everything a subscriber of its own saw, kept in the order of arrival.

use std::sync::{Arc, Mutex};

use gatewatch::config::MqttConfig;
use gatewatch::event::EventMessage;
use gatewatch::mqtt::{LiveStats, SeenMessage, Subscriber};
use serde_json::Value;

use super::until;

pub struct Listener {
    subscriber: Subscriber,
    seen: Arc<Mutex<Vec<Arc<SeenMessage>>>>,
}

impl Listener {
    /// Returns when the broker accepted the subscription.
    pub async fn start(url: String, id: &str) -> Self {
        let subscriber = Subscriber::start(MqttConfig { url, ..MqttConfig::default() }, id).unwrap();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let (mut messages, into) = (subscriber.messages(), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok(message) = messages.recv().await {
                into.lock().unwrap().push(message);
            }
        });
        let listener = Self { subscriber, seen };
        listener.until_connected(true).await;
        listener
    }

    pub async fn until_connected(&self, wanted: bool) {
        let mut connected = self.subscriber.connected();
        let wait = tokio::time::timeout(super::LIMIT, connected.wait_for(|c| *c == wanted));
        wait.await.expect("in time").unwrap();
    }

    pub fn stats(&self) -> LiveStats {
        self.subscriber.stats()
    }

    /// Event messages without those that came again.
    pub fn events(&self) -> Vec<EventMessage> {
        self.all(|m| if let SeenMessage::Event { message, .. } = m { Some((**message).clone()) } else { None })
    }

    /// The same as they came.
    pub fn raw_events(&self) -> Vec<Value> {
        let raw = |m: &SeenMessage| if let SeenMessage::Event { raw, .. } = m { Some(raw.clone()) } else { None };
        self.all(raw).iter().map(|raw| serde_json::from_slice(raw).unwrap()).collect()
    }

    /// Messages about the box itself whose type ends with `what`, as they came.
    pub fn notices(&self, what: &str) -> Vec<Value> {
        let end = format!(".{what}.v1");
        self.all(|m| match m {
            SeenMessage::Notice { body, .. } if body["type"].as_str().is_some_and(|t| t.ends_with(&end)) => {
                Some(body.clone())
            }
            _ => None,
        })
    }

    /// Sequence numbers of all messages about the box itself.
    pub fn notice_seqs(&self) -> Vec<i64> {
        self.all(
            |m| if let SeenMessage::Notice { body, .. } = m { body["data"]["sequence"]["seq"].as_i64() } else { None },
        )
    }

    /// States of a box, oldest first.
    pub fn states(&self, of: &str) -> Vec<Value> {
        self.all(|m| match m {
            SeenMessage::State { box_id, body } if box_id == of => Some(body.clone()),
            _ => None,
        })
    }

    /// Published pictures, oldest first.
    pub fn pictures(&self) -> Vec<Vec<u8>> {
        self.all(|m| if let SeenMessage::Snapshot { jpeg, .. } = m { Some(jpeg.to_vec()) } else { None })
    }

    pub fn births(&self) -> Vec<Value> {
        self.all(|m| if let SeenMessage::Birth { body, .. } = m { Some(body.clone()) } else { None })
    }

    /// What a box said of itself, oldest first.
    pub fn statuses(&self, of: &str) -> Vec<Value> {
        self.all(|m| match m {
            SeenMessage::Status { box_id, body } if box_id == of => Some(body.clone()),
            _ => None,
        })
    }

    /// The newest state of a camera.
    pub fn camera(&self, of: &str) -> Option<Value> {
        let bodies = self.all(|m| match m {
            SeenMessage::Camera { camera, body, .. } if camera.0 == of => Some(body.clone()),
            _ => None,
        });
        bodies.last().cloned()
    }

    /// Waits for an event message, seen already or to come.
    pub async fn until_event(&self, what: &str, good: impl Fn(&EventMessage) -> bool) -> EventMessage {
        until(what, async || self.events().into_iter().find(|e| good(e))).await
    }

    fn all<T>(&self, pick: impl Fn(&SeenMessage) -> Option<T>) -> Vec<T> {
        self.seen.lock().unwrap().iter().filter_map(|m| pick(m)).collect()
    }
}
