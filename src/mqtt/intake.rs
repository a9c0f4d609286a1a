//! Declarations and bookings on their way in, on a connection of their own whose session the broker keeps: what is sent
//! while the box is away waits at the broker, and what was not yet kept when the connection broke comes again. What they
//! mean is the handler's business; commands come over the delivery's connection and are never kept for later.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{self, Identity, Problem, ProblemKind};
use super::inbound::{InboundHandler, Reply, Worker};
use crate::config::MqttConfig;
use crate::telemetry::rate::Limiter;

/// The broker keeps what comes in for a box that is away this long: a weekend and a lorry with spare parts.
const SESSION_EXPIRY_S: u32 = 7 * 86_400;
/// Facts read from the connection and not yet kept. More than any broker sends without an acknowledgement (the embedded
/// one 100, whatever we ask for), so that reading never waits for the store.
const WAITING: usize = 256;
/// Answers given to the client and not yet on the wire. When full, an answer is dropped and counted: reading must not wait for
/// answers, which go out only while it goes on.
const ANSWERS: usize = 1024;
/// First wait after a lost connection, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Keeps the connection and hands facts to the handler, one after the other.
pub(super) struct Intake<H> {
    // injected
    pub config: MqttConfig,
    pub who: Identity,
    pub handler: Arc<H>,
    // out
    /// The subscriptions are in force.
    pub ready: watch::Sender<bool>,
}

impl<H: InboundHandler> Intake<H> {
    /// Runs until `stop`. A broker that is not there is waited for.
    pub async fn run(self, stop: CancellationToken) {
        let mut waits = Backoff::new(RETRY.0, RETRY.1);
        while !stop.is_cancelled() {
            let problem = tokio::select! {
                problem = self.run_once() => problem,
                () = stop.cancelled() => return,
            };
            if self.ready.send_replace(false) {
                waits.reset();
            }
            let wait = waits.wait();
            tracing::warn!(kind = problem.kind.as_str(), reason = %problem, retry_in_ms = wait.as_millis() as u64, "declarations and bookings cannot come in over MQTT");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One connection; returns why it ended.
    async fn run_once(&self) -> Problem {
        let options = match connect::kept_options(&self.config, &format!("{}-in", self.who.client_id), SESSION_EXPIRY_S)
        {
            Ok(options) => options,
            Err(problem) => return problem,
        };
        // Room for all answers beside all acknowledgements: neither waits for the other.
        let (client, mut events) = AsyncClient::new(options, ANSWERS + WAITING);
        let (publishes_tx, publishes) = mpsc::channel(WAITING);
        let (replies, answers) = mpsc::channel(WAITING);
        let (topics, handler) = (self.who.topics.clone(), Arc::clone(&self.handler));
        // Aborted when the connection is thrown away; a fact in work is kept or comes again.
        let mut tasks = JoinSet::new();
        tasks.spawn(Worker { topics, handler, client: client.clone(), publishes, replies }.run());
        let room = Arc::new(Semaphore::new(ANSWERS));
        tasks.spawn(answer(client.clone(), answers, Arc::clone(&room)));
        let mut answered = 0_u32;
        loop {
            let event = match events.poll().await {
                Ok(event) => event,
                Err(e) => return connect::explain(&e, &self.config.url, *self.ready.borrow()),
            };
            match event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let filters = self.who.topics.facts().into_iter().map(|t| Filter::new(t, QoS::AtLeastOnce));
                    if let Err(e) = client.try_subscribe_many(filters) {
                        return Problem::new(ProblemKind::Lost, e.to_string());
                    }
                    // Apart, so that a broker that allows facts but not these still brings facts.
                    let further = self.handler.further_topics();
                    let filters = further.into_iter().map(|t| Filter::new(t, QoS::AtLeastOnce));
                    let filters: Vec<Filter> = filters.collect();
                    if !filters.is_empty()
                        && let Err(e) = client.try_subscribe_many(filters)
                    {
                        return Problem::new(ProblemKind::Lost, e.to_string());
                    }
                }
                Event::Incoming(Packet::SubAck(ack)) => {
                    use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode::Success;
                    let granted = ack.return_codes.iter().all(|c| matches!(c, Success(_)));
                    answered += 1;
                    if answered > 1 {
                        if !granted {
                            tracing::error!(codes = ?ack.return_codes, "the broker refused what cameras publish of their own: their plates will not arrive; allow this user to read it");
                        }
                        continue;
                    }
                    if !granted {
                        tracing::error!(codes = ?ack.return_codes, "the broker refused a subscription: declarations or bookings will not arrive; allow this user to read them");
                    }
                    self.ready.send_replace(granted);
                }
                Event::Incoming(Packet::Publish(publish)) => match publishes_tx.send(publish).await {
                    Ok(()) => {}
                    Err(_) => return Problem::new(ProblemKind::Lost, "the part that keeps facts ended"),
                },
                Event::Outgoing(Outgoing::Publish(_)) => room.add_permits(1),
                _ => {}
            }
        }
    }
}

/// Publishes answers to whoever asked for one. Never waits for the client: whoever hands in answers would wait too, and with it
/// the reading that makes room.
async fn answer(client: AsyncClient, mut answers: mpsc::Receiver<Reply>, room: Arc<Semaphore>) {
    static DROPPED: Limiter = Limiter::per_second();
    while let Some(reply) = answers.recv().await {
        let Ok(place) = room.try_acquire() else {
            metrics::counter!("gatewatch_mqtt_inbound_total", "kind" => "answer", "result" => "dropped").increment(1);
            if let Some(more) = DROPPED.pass() {
                tracing::warn!(
                    topic = reply.topic,
                    more,
                    "facts come faster than answers go out: an answer is dropped, the fact is kept"
                );
            }
            continue;
        };
        // Given back when it is on the wire.
        place.forget();
        let properties = PublishProperties {
            content_type: Some("application/json".into()),
            correlation_data: reply.correlation,
            ..Default::default()
        };
        let sent = client.try_publish_with_properties(reply.topic, QoS::AtLeastOnce, false, reply.payload, properties);
        if sent.is_err() {
            return;
        }
    }
}
