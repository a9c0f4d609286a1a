//! Delivery: keeps a connection to the broker and empties the outbox through it, at least once, lowest lane first.
//! Here is the long life (retry, wait, status); one connection's life is in `session.rs`, its accounting in `window.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{self, Identity, Problem, ProblemKind};
use super::inbound::InboundHandler;
use super::intake::Intake;
use super::outbox::OutboxSource;
use super::session::{Carried, Session};
use super::status::BoxStatus;
use crate::camera::{CameraId, CameraStatus};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::config::MqttConfig;

/// First wait after a lost connection, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The same after refused credentials: brokers lock out who knocks too often.
const RETRY_REFUSED: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));

/// What the box says of itself, retained at the broker.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Payload of the birth topic: versions, cameras, model, configuration digest, epoch, session.
    pub birth: serde_json::Value,
    /// Latest state of every camera; published when something but the counters changed.
    pub cameras: watch::Receiver<BTreeMap<CameraId, CameraStatus>>,
    /// Latest status of the box, once there is one; published every minute, and soon when something turned.
    pub status: watch::Receiver<Option<BoxStatus>>,
}

/// Health of delivery, for `/readyz`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeliveryStatus {
    /// The broker accepted us.
    pub connected: bool,
    /// Since when that is so.
    pub since: UtcMillis,
    /// What is wrong and what to do; `None` when all is well.
    pub reason: Option<String>,
    /// The same for programs, as in `ProblemKind::as_str`.
    pub problem: Option<&'static str>,
    /// Declarations and bookings can come in; they have a connection of their own.
    pub taking_facts: bool,
    /// Publishes without acknowledgement yet.
    pub in_flight: usize,
    /// Messages the broker refused, waiting for another try.
    pub held: usize,
    /// Outbox messages acknowledged since the start.
    pub acked_total: u64,
    /// The same, a second, over the last seconds.
    pub acked_per_s: f64,
    /// Messages that can never be sent, since the start.
    pub undeliverable_total: u64,
    /// Connections made since the start.
    pub connects_total: u64,
}

impl DeliveryStatus {
    fn at_start() -> Self {
        Self {
            connected: false,
            since: utc_now(),
            reason: Some("not connected yet".into()),
            problem: None,
            taking_facts: false,
            in_flight: 0,
            held: 0,
            acked_total: 0,
            acked_per_s: 0.0,
            undeliverable_total: 0,
            connects_total: 0,
        }
    }
}

/// The delivery worker.
pub struct Delivery<S, H> {
    // injected
    pub(super) config: MqttConfig,
    pub(super) who: Identity,
    pub(super) source: Arc<S>,
    pub(super) handler: Arc<H>,
    pub(super) presence: Presence,
    // in
    /// Facts can come in.
    pub(super) taking: watch::Receiver<bool>,
    // out
    pub(super) status: watch::Sender<DeliveryStatus>,
    taking_tx: watch::Sender<bool>,
}

impl<S: OutboxSource, H: InboundHandler> Delivery<S, H> {
    /// A worker that has not begun; the receiver shows its health.
    pub fn new(
        config: MqttConfig,
        who: Identity,
        source: Arc<S>,
        handler: Arc<H>,
        presence: Presence,
    ) -> (Self, watch::Receiver<DeliveryStatus>) {
        let (status, seen) = watch::channel(DeliveryStatus::at_start());
        let (taking_tx, taking) = watch::channel(false);
        (Self { config, who, source, handler, presence, status, taking, taking_tx }, seen)
    }

    /// Delivers until `stop`, then says goodbye (bounded to some seconds) and returns. A broker that is not there
    /// is waited for.
    pub async fn run(self, stop: CancellationToken) {
        let intake = Intake {
            config: self.config.clone(),
            who: self.who.clone(),
            handler: Arc::clone(&self.handler),
            ready: self.taking_tx.clone(),
        };
        tokio::join!(self.deliver(&stop), intake.run(stop.clone()), self.follow_intake(&stop));
    }

    /// Shows in the status whether facts can come in.
    async fn follow_intake(&self, stop: &CancellationToken) {
        let mut taking = self.taking.clone();
        loop {
            let now = *taking.borrow_and_update();
            self.status.send_if_modified(|s| std::mem::replace(&mut s.taking_facts, now) != now);
            tokio::select! {
                changed = taking.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn deliver(&self, stop: &CancellationToken) {
        let mut waits = Backoff::new(RETRY.0, RETRY.1);
        let mut refused_waits = Backoff::new(RETRY_REFUSED.0, RETRY_REFUSED.1);
        let mut carried = Carried::default();
        while !stop.is_cancelled() {
            let problem = match self.run_once(stop, &mut carried).await {
                Ok(()) => break,
                Err(Ended { problem, worked }) => {
                    if worked {
                        waits.reset();
                        refused_waits.reset();
                    }
                    problem
                }
            };
            let rarely =
                matches!(problem.kind, ProblemKind::Refused | ProblemKind::Configuration | ProblemKind::NotTrusted);
            let wait = if rarely { refused_waits.wait() } else { waits.wait() };
            self.report(&problem, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => break,
            }
        }
        self.status.send_modify(|s| {
            *s = DeliveryStatus { connected: false, since: utc_now(), reason: Some("stopped".into()), ..s.clone() };
        });
    }

    /// One connection with a client and event loop of its own. With a used one, unacknowledged messages vanish
    /// or old notifications appear (rumqttc 0.25); so every connection begins at the oldest undelivered row.
    async fn run_once(&self, stop: &CancellationToken, carried: &mut Carried) -> Result<(), Ended> {
        let options = connect::box_options(&self.config, &self.who).map_err(Ended::before)?;
        Session::new(self, options, carried).run(stop).await
    }

    fn report(&self, problem: &Problem, wait: Duration) {
        metrics::counter!("gatewatch_mqtt_problems_total", "kind" => problem.kind.as_str()).increment(1);
        tracing::warn!(kind = problem.kind.as_str(), reason = %problem, retry_in_ms = wait.as_millis() as u64, "no broker");
        self.status.send_modify(|s| {
            if s.connected {
                s.since = utc_now();
            }
            s.connected = false;
            s.reason = Some(problem.to_string());
            s.problem = Some(problem.kind.as_str());
            s.in_flight = 0;
            s.acked_per_s = 0.0;
        });
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Why.
    pub problem: Problem,
    /// Something was acknowledged on it, so the next wait may be short.
    pub worked: bool,
}

impl Ended {
    fn before(problem: Problem) -> Self {
        Self { problem, worked: false }
    }
}

/// Acknowledgements a second, over windows of two seconds.
#[derive(Debug)]
pub(super) struct Rate {
    since: crate::clock::MonoMillis,
    count: u64,
    pub per_s: f64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { since: mono_now(), count: 0, per_s: 0.0 }
    }

    pub(super) fn add(&mut self, n: u64) {
        self.count += n;
        let ms = mono_now().since(self.since);
        if ms >= 2000 {
            self.per_s = self.count as f64 * 1000.0 / ms as f64;
            self.since = mono_now();
            self.count = 0;
        }
    }
}
