//! The desk's connection: one session that the broker keeps while the desk is away, and an acknowledgement only when
//! the desk says that it has stored what came. What the messages mean is in `desk/ingest.rs`.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::connect::{self, Problem, ProblemKind};
use crate::clock::{UtcMillis, utc_now};
use crate::config::MqttConfig;

/// Messages the broker may send before the earlier ones are acknowledged: two batches of `desk/ingest`, so that one comes in
/// while the other is stored.
const RECEIVE_MAXIMUM: u16 = 512;
/// Messages read and not yet stored. More than [`RECEIVE_MAXIMUM`] and than a broker sends that ignores it (the embedded
/// one 100), so that reading never waits for the database: it could not send acknowledgements meanwhile.
const WAITING: usize = 1024;

/// One message with what acknowledges it.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Where it came.
    pub topic: String,
    /// As it came.
    pub payload: Bytes,
    /// Comes back from whoever was asked.
    pub correlation: Option<Bytes>,
    /// It lay at the broker, for who knows how long.
    pub retained: bool,
    /// When it came here.
    pub at: UtcMillis,
    publish: Publish,
    client: AsyncClient,
}

impl Arrived {
    /// It is stored: the broker may forget it. When the connection is gone it comes again.
    pub(crate) fn acknowledge(&self) {
        if let Err(error) = self.client.try_ack(&self.publish) {
            tracing::debug!(%error, "acknowledgement not sent; the message comes again");
        }
    }
}

/// What the desk listens to.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    /// Broker.
    pub config: MqttConfig,
    /// Name of the session.
    pub client_id: String,
    /// Seconds the broker keeps it.
    pub session_s: u32,
    /// Topics of which each message counts: the broker keeps them while the desk is away.
    pub filters: Vec<String>,
    /// Topics it can do without: where the broker refuses one, alerts still come, and the log says what is missing.
    pub also: Vec<String>,
    /// Topics of which only the newest counts (QoS 0): it keeps none.
    pub glances: Vec<String>,
}

impl Listening {
    /// Whether the broker lets the desk hear what it cannot do without; what it refuses is logged by name.
    fn is_granted(&self, codes: &[SubscribeReasonCode]) -> bool {
        let all = self.filters.iter().chain(&self.also).chain(&self.glances).enumerate();
        let given = |n: usize| matches!(codes.get(n), Some(SubscribeReasonCode::Success(_)));
        let mut granted = true;
        for (n, topic) in all.filter(|(n, _)| !given(*n)) {
            let (code, lacks) = (codes.get(n), self.lacks(n));
            if n < self.filters.len() {
                granted = false;
                tracing::error!(topic, ?code, "the broker refused a subscription: {lacks}; allow this user to read it");
            } else {
                tracing::warn!(topic, ?code, "the broker refused a subscription: {lacks}; allow this user to read it");
            }
        }
        granted
    }

    /// What comes of it that the broker refuses the topic with this number.
    fn lacks(&self, n: usize) -> &'static str {
        if n < self.filters.len() {
            "alerts will not arrive"
        } else if n < self.filters.len() + self.also.len() {
            "pages lack what is said there"
        } else {
            "pages lack what is said there, and that boxes are away is told less surely"
        }
    }
}

/// Keeps the connection until its receiver is gone. A broker that is not there is waited for.
pub(crate) async fn listen(what: Listening, arrived: mpsc::Sender<Arrived>, connected: watch::Sender<bool>) {
    let mut waits = Backoff::new(Duration::from_millis(300), Duration::from_secs(15));
    while !arrived.is_closed() {
        let problem = run_once(&what, &arrived, &connected).await;
        if connected.send_replace(false) {
            waits.reset();
        }
        let wait = waits.wait();
        tracing::warn!(kind = problem.kind.as_str(), reason = %problem, retry_in_ms = wait.as_millis() as u64, "the desk has no broker");
        tokio::time::sleep(wait).await;
    }
}

/// The queue between connection and database.
pub(crate) fn queue() -> (mpsc::Sender<Arrived>, mpsc::Receiver<Arrived>) {
    mpsc::channel(WAITING)
}

#[expect(clippy::collapsible_match, reason = "a guard that sends is not seen to send")]
async fn run_once(what: &Listening, arrived: &mpsc::Sender<Arrived>, connected: &watch::Sender<bool>) -> Problem {
    let mut options = match connect::kept_options(&what.config, &what.client_id, what.session_s) {
        Ok(options) => options,
        Err(problem) => return problem,
    };
    options.set_receive_maximum(Some(RECEIVE_MAXIMUM));
    let (client, mut events) = AsyncClient::new(options, WAITING);
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(e) => return connect::explain(&e, &what.config.url, *connected.borrow()),
        };
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let kept = what.filters.iter().chain(&what.also).map(|t| Filter::new(t.clone(), QoS::AtLeastOnce));
                let filters = kept.chain(what.glances.iter().map(|t| Filter::new(t.clone(), QoS::AtMostOnce)));
                if let Err(e) = client.try_subscribe_many(filters) {
                    return Problem::new(ProblemKind::Lost, e.to_string());
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                connected.send_replace(what.is_granted(&ack.return_codes));
            }
            Event::Incoming(Packet::Publish(publish)) => {
                if arrived.send(taken(publish, &client)).await.is_err() {
                    return Problem::new(ProblemKind::Lost, "the desk is stopping");
                }
            }
            _ => {}
        }
    }
}

fn taken(publish: Publish, client: &AsyncClient) -> Arrived {
    Arrived {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.clone(),
        correlation: publish.properties.as_ref().and_then(|p| p.correlation_data.clone()),
        retained: publish.retain,
        at: utc_now(),
        publish,
        client: client.clone(),
    }
}

#[cfg(test)]
impl Arrived {
    /// A message of a connection that is gone: acknowledging it reaches nobody.
    pub(crate) fn unheard(topic: &str, payload: Vec<u8>) -> Self {
        let options = connect::kept_options(&MqttConfig::default(), "test", 60).unwrap();
        let (client, _) = AsyncClient::new(options, 1);
        taken(Publish::new(topic.to_owned(), QoS::AtLeastOnce, payload, None), &client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_that_may_not_be_read_keep_no_alert_away() {
        use SubscribeReasonCode::{NotAuthorized, Success};
        let listening = Listening {
            config: MqttConfig::default(),
            client_id: "desk".into(),
            session_s: 60,
            filters: vec!["alert".into()],
            also: vec!["in/declaration".into()],
            glances: vec!["status".into()],
        };
        let given = Success(QoS::AtLeastOnce);
        assert!(listening.is_granted(&[given; 3]) && listening.is_granted(&[given, NotAuthorized, NotAuthorized]));
        assert!(!listening.is_granted(&[NotAuthorized, given, given]) && !listening.is_granted(&[]));
        let says = [0, 1, 2].map(|n| listening.lacks(n).contains("away is told less surely"));
        assert_eq!(says, [false, false, true], "boxes are heard by their status above all");
    }
}
