//! A few messages sent by a client of its own, acknowledged one and all: how the demo plays the clearance side. The
//! box's own messages go through `deliver`.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::v5::{AsyncClient, Event, Incoming};

use super::connect::{Problem, ProblemKind, plain_options};
use crate::config::MqttConfig;

/// The broker must have acknowledged everything within this.
const LIMIT: Duration = Duration::from_secs(15);

/// A message to publish, with where an answer goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outward {
    /// Topic.
    pub topic: String,
    /// Content.
    pub payload: Vec<u8>,
    /// Topic of the answer; `None` when none is wanted.
    pub reply_topic: Option<String>,
    /// Comes back with the answer.
    pub correlation: Option<Vec<u8>>,
}

/// Publishes with QoS 1 and returns when the broker acknowledged every message.
///
/// # Errors
/// When the broker cannot be used or does not acknowledge in time; some messages may have been sent.
pub async fn publish_all(
    config: &MqttConfig,
    client_id: &str,
    messages: Vec<(String, Vec<u8>)>,
) -> Result<(), Problem> {
    let plain = |(topic, payload)| Outward { topic, payload, ..Outward::default() };
    publish_outward(config, client_id, messages.into_iter().map(plain).collect()).await
}

/// As [`publish_all`], for messages that ask for an answer.
///
/// # Errors
/// When the broker cannot be used or does not acknowledge in time; some messages may have been sent.
pub async fn publish_outward(config: &MqttConfig, client_id: &str, messages: Vec<Outward>) -> Result<(), Problem> {
    let wanted = messages.len();
    let (client, mut events) = AsyncClient::new(plain_options(config, client_id)?, wanted.max(1));
    for m in messages {
        let properties = PublishProperties {
            content_type: Some("application/json".into()),
            response_topic: m.reply_topic,
            correlation_data: m.correlation.map(Bytes::from),
            ..Default::default()
        };
        let queued = client.publish_with_properties(m.topic, QoS::AtLeastOnce, false, m.payload, properties).await;
        queued.map_err(|e| Problem::new(ProblemKind::Configuration, e.to_string()))?;
    }
    let lost = |e: String| Problem::new(ProblemKind::Lost, e);
    let acknowledged = async {
        let mut acks = 0;
        while acks < wanted {
            if let Event::Incoming(Incoming::PubAck(_)) = events.poll().await.map_err(|e| lost(e.to_string()))? {
                acks += 1;
            }
        }
        Ok(())
    };
    let done = tokio::time::timeout(LIMIT, acknowledged).await;
    done.unwrap_or_else(|_| Err(lost(format!("the broker did not acknowledge within {} s", LIMIT.as_secs()))))
}
