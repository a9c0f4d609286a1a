//! A few messages sent by a client of its own, acknowledged one and all: how the demo plays the clearance side. The
//! box's own messages go through `deliver`.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming};

use super::connect::{Problem, ProblemKind, plain_options};
use crate::config::MqttConfig;

/// The broker must have acknowledged everything within this.
const LIMIT: Duration = Duration::from_secs(15);

/// Publishes with QoS 1 and returns when the broker acknowledged every message.
///
/// # Errors
/// When the broker cannot be used or does not acknowledge in time; some messages may have been sent.
pub async fn publish_all(
    config: &MqttConfig,
    client_id: &str,
    messages: Vec<(String, Vec<u8>)>,
) -> Result<(), Problem> {
    let wanted = messages.len();
    let (client, mut events) = AsyncClient::new(plain_options(config, client_id)?, wanted.max(1));
    for (topic, payload) in messages {
        let queued = client.publish(topic, QoS::AtLeastOnce, false, payload).await;
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
