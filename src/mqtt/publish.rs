//! A few messages sent by a client of its own, acknowledged one and all: how the demo plays the clearance side. The
//! box's own messages go through `deliver`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, PublishProperties};
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

/// What became of messages that were to be published.
#[derive(Debug, Default)]
pub struct Published {
    /// Those that the broker took, by their place among all of them.
    pub accepted: BTreeSet<usize>,
    /// Those that it will not have.
    pub refused: BTreeSet<usize>,
    /// Why it did not take all.
    pub problem: Option<Problem>,
}

/// Publishes with QoS 1 and returns when the broker acknowledged every message.
///
/// # Errors
/// When the broker cannot be used, refuses a message or does not acknowledge in time; some messages may have been sent.
pub async fn publish_all(
    config: &MqttConfig,
    client_id: &str,
    messages: Vec<(String, Vec<u8>)>,
) -> Result<(), Problem> {
    let plain = |(topic, payload)| Outward { topic, payload, ..Outward::default() };
    let done = publish_outward(config, client_id, messages.into_iter().map(plain).collect()).await;
    done.problem.map_or(Ok(()), Err)
}

/// As [`publish_all`], for messages that ask for an answer; says which of them were taken.
pub async fn publish_outward(config: &MqttConfig, client_id: &str, messages: Vec<Outward>) -> Published {
    let mut published = Published::default();
    let sending = send(config, client_id, messages, &mut published);
    let done = tokio::time::timeout(LIMIT, sending).await;
    let late =
        || Problem::new(ProblemKind::Lost, format!("the broker did not acknowledge within {} s", LIMIT.as_secs()));
    if let Err(problem) = done.unwrap_or_else(|_| Err(late())) {
        published.problem = Some(problem);
    }
    published
}

/// What is refused is a problem, and does not keep the others from being sent.
async fn send(
    config: &MqttConfig,
    client_id: &str,
    messages: Vec<Outward>,
    published: &mut Published,
) -> Result<(), Problem> {
    let (client, mut events) = AsyncClient::new(plain_options(config, client_id)?, messages.len().max(1));
    let topics: Vec<String> = messages.iter().map(|m| m.topic.clone()).collect();
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
    // They get their packet ids in the order given; acknowledgements come in any.
    let (mut places, mut in_flight, mut answered) = (0..topics.len(), HashMap::new(), 0);
    while answered < topics.len() {
        match events.poll().await.map_err(|e| Problem::new(ProblemKind::Lost, e.to_string()))? {
            Event::Outgoing(Outgoing::Publish(pkid)) => in_flight.extend(places.next().map(|place| (pkid, place))),
            Event::Incoming(Incoming::PubAck(ack)) => {
                let Some(place) = in_flight.remove(&ack.pkid) else { continue };
                answered += 1;
                if matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    published.accepted.insert(place);
                } else {
                    published.refused.insert(place);
                    published.problem.get_or_insert_with(|| refusal(&topics[place], ack.reason));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn refusal(topic: &str, reason: PubAckReason) -> Problem {
    let text = format!("the broker refused a message on {topic} ({reason:?}): check that this user may publish there");
    Problem::new(ProblemKind::Rejected, text)
}
