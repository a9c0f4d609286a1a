//! The life of one connection to the broker: presence first, then the outbox through a bounded window, until an error
//! or the stop. The event loop is polled on its own task, since dropping a half-done poll can lose a packet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck, PubAckReason, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::ahead::Ahead;
use super::backoff::Backoff;
use super::connect::{Problem, ProblemKind, explain};
use super::deliver::{Delivery, Ended, Rate};
use super::inbound::{InboundHandler, Reply, Worker};
use super::outbox::{OutboxError, OutboxItem, OutboxSource};
use super::status_turns::{StatusDoubt, StatusTurns};
use super::window::{Pace, What, Window};
use crate::camera::{CameraId, CameraStatus};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::telemetry::metrics::{MQTT_ACK, MQTT_ACKED, MQTT_CONNECTS};

/// A broker that leaves a publish unanswered this long is treated as gone.
const ACK_TIMEOUT_MS: i64 = 60_000;
/// The connection for facts gets this long to be up before the box says that it is there.
const FACTS_FIRST: Duration = Duration::from_secs(3);
/// The goodbye must be through within this.
const FAREWELL: Duration = Duration::from_secs(3);
/// Room in the client's queue beside the window: presence, replies, subscriptions, acknowledgements.
const QUEUE_ROOM: usize = 512;
/// Bytes kept free under the packet limit for what `Publish::size` does not count.
const SIZE_MARGIN: usize = 16;
/// Rows read ahead of what the line takes, at once: they may be pictures, of which few are sent. At most twice as many wait.
const AHEAD: usize = 32;
/// Rows asked for after word of new work, which come before what was read ahead.
const URGENT: usize = 8;
/// With so many acknowledged and not yet marked, nothing more is sent: a store that cannot mark must not have the box
/// send for ever.
const MAX_UNMARKED: usize = 512;
/// Acknowledged rows are marked at once when there are so many, or none in flight; else after so long, milliseconds, or when
/// the connection is looked at next: a second later at most.
const MARK_ROWS: usize = 256;
const MARK_AFTER_MS: i64 = 25;
/// Silence, due messages and health are looked at this often.
const LOOK_EVERY_MS: i64 = 1000;
/// Camera counters alone are published this often at most.
const CAMERA_REFRESH_MS: i64 = 30_000;
/// Notifications taken in one go, so that their rows are marked in one transaction.
const BATCH: usize = 256;

/// What outlives a connection.
#[derive(Default)]
pub(super) struct Carried {
    refused: Refused,
    unmarked: Unmarked,
    status: StatusDoubt,
}

/// Rows that the broker acknowledged and that are not marked as delivered yet. A store that is slow or cannot mark now
/// must not have them sent again on the next connection.
#[derive(Default)]
struct Unmarked {
    acked: Vec<i64>,
    /// When the first of these was acknowledged.
    since: Option<MonoMillis>,
    /// Being marked.
    marking: Option<Task<Vec<i64>, ()>>,
}

impl Unmarked {
    fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.acked.iter().chain(self.marking.iter().flat_map(|m| &m.about)).copied()
    }

    fn len(&self) -> usize {
        self.acked.len() + self.marking.as_ref().map_or(0, |m| m.about.len())
    }

    /// Whether it is time to mark. While more is on its way, a few are marked together: each transaction costs a write that
    /// reaches the disk.
    fn is_due(&self, more_to_come: bool, now: MonoMillis) -> bool {
        let waited = self.since.is_some_and(|since| now.since(since) >= MARK_AFTER_MS);
        !self.acked.is_empty() && (!more_to_come || self.acked.len() >= MARK_ROWS || waited)
    }
}

/// Messages the broker refused: Mosquitto 2.0.11 closes the connection after the refusal, and the same message must not
/// come first again on the next one.
#[derive(Default)]
struct Refused {
    /// Rows and when they are tried again.
    held: HashMap<i64, MonoMillis>,
    /// Their waits, until acknowledged.
    waits: HashMap<i64, Backoff>,
    /// Refusals since something was taken.
    in_a_row: usize,
    /// What to tell about it.
    text: String,
}

pub(super) struct Session<'a, S, H> {
    // injected
    d: &'a Delivery<S, H>,
    client: AsyncClient,
    // own state
    carried: &'a mut Carried,
    window: Window,
    pace: Pace,
    limit: usize,
    max_packet: usize,
    /// Nothing that came since goes before it.
    ahead: Ahead,
    /// Being read.
    fetching: Option<Task<Asked, Answer>>,
    /// Work came that no reading has seen yet, and that may go before everything else.
    overtaken: bool,
    outbox_empty: bool,
    rate: Rate,
    worked: bool,
    last_ack: MonoMillis,
    looked: MonoMillis,
    said: BTreeMap<CameraId, (CameraStatus, MonoMillis)>,
    status_turns: StatusTurns,
    inbound_tx: mpsc::Sender<Publish>,
    // in
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    replies: mpsc::Receiver<Reply>,
    /// Event loop and inbound worker; aborted when the session is dropped.
    _tasks: JoinSet<()>,
}

impl<'a, S: OutboxSource, H: InboundHandler> Session<'a, S, H> {
    pub(super) fn new(d: &'a Delivery<S, H>, options: MqttOptions, carried: &'a mut Carried) -> Self {
        let limit = usize::from(d.config.window.max(1));
        let (client, event_loop) = AsyncClient::new(options, limit + QUEUE_ROOM);
        let (events_tx, events) = mpsc::channel(1024);
        let (inbound_tx, publishes) = mpsc::channel(256);
        let (replies_tx, replies) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(event_loop, events_tx));
        let (topics, handler) = (d.who.topics.clone(), d.handler.clone());
        let worker = Worker { topics, handler, client: client.clone(), publishes, replies: replies_tx };
        tasks.spawn(worker.run());
        Self {
            d,
            client,
            carried,
            window: Window::default(),
            pace: Pace::new(mono_now()),
            limit,
            max_packet: d.config.max_packet_bytes as usize,
            ahead: Ahead::default(),
            fetching: None,
            overtaken: false,
            outbox_empty: false,
            rate: Rate::new(),
            worked: false,
            last_ack: mono_now(),
            looked: mono_now(),
            said: BTreeMap::new(),
            status_turns: StatusTurns::default(),
            inbound_tx,
            events,
            replies,
            _tasks: tasks,
        }
    }

    /// Ends with `Ok` only after `stop`.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let ended = self.live(stop).await;
        self.carried.status.ended(&self.status_turns, mono_now());
        // However it ended: what was acknowledged must not be sent again.
        if let Err(reason) = self.mark_the_rest().await {
            tracing::warn!(%reason, "acknowledged messages could not be marked yet; tried again, and sent again only after a restart");
        }
        ended.map_err(|problem| Ended { problem, worked: self.worked })
    }

    async fn live(&mut self, stop: &CancellationToken) -> Result<(), Problem> {
        tokio::select! {
            connected = self.wait_for_connack() => connected?,
            () = stop.cancelled() => return Ok(()),
        }
        // Whoever sees the box connected may send it facts. Events do not wait long for that.
        let mut taking = self.d.taking.clone();
        let _ = tokio::time::timeout(FACTS_FIRST, taking.wait_for(|ready| *ready)).await;
        self.announce()?;
        let mut cameras = self.d.presence.cameras.clone();
        let mut cameras_open = true;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let source = self.d.source.clone();
        loop {
            self.fill().await?;
            self.begin_fetch();
            self.begin_marking();
            if mono_now().since(self.looked) >= LOOK_EVERY_MS {
                self.look_around()?;
            }
            tokio::select! {
                () = stop.cancelled() => return self.farewell().await,
                event = self.events.recv() => self.take_events(event)?,
                Some(reply) = self.replies.recv() => self.answer(reply)?,
                changed = cameras.changed(), if cameras_open => match changed {
                    Ok(()) => self.publish_cameras()?,
                    Err(_) => cameras_open = false,
                },
                answer = of(&mut self.fetching) => self.fetched(answer).await?,
                done = of(&mut self.carried.unmarked.marking) => self.marked(done)?,
                () = source.wait_for_work() => self.work_came(),
                _ = tick.tick() => {}
            }
        }
    }

    async fn wait_for_connack(&mut self) -> Result<(), Problem> {
        loop {
            match self.events.recv().await {
                Some(Ok(Event::Incoming(Packet::ConnAck(ack)))) => {
                    self.keep_limits(&ack);
                    return Ok(());
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(explain(&e, &self.d.config.url, false)),
                None => return Err(self.lost("the client ended")),
            }
        }
    }

    fn keep_limits(&mut self, ack: &ConnAck) {
        if let Some(p) = &ack.properties {
            let receive_max = usize::from(p.receive_max.unwrap_or(u16::MAX)).max(1);
            // One slot stays free where possible: the client stops reading its queue, acknowledgements of inbound
            // messages included, while the broker's maximum is in flight.
            self.limit = self.limit.min(receive_max.saturating_sub(1).max(1));
            self.max_packet = self.max_packet.min(p.max_packet_size.map_or(usize::MAX, |m| m as usize));
        }
    }

    /// Said when the subscriptions are in force, not before: who waits for it may then send facts and commands.
    fn connected(&mut self) {
        metrics::counter!(MQTT_CONNECTS).increment(1);
        tracing::info!(broker = self.d.config.url, window = self.limit, max_packet = self.max_packet, "connected");
        let refused = &self.carried.refused;
        let rejected = (!refused.held.is_empty()).then(|| refused.text.clone());
        self.d.status.send_modify(|s| {
            s.problem = rejected.as_ref().map(|_| ProblemKind::Rejected.as_str());
            (s.connected, s.since, s.reason) = (true, utc_now(), rejected);
            s.connects_total += 1;
        });
    }

    /// Subscriptions, birth, state, status and cameras: before any outbox item, so that a receiver knows the box first.
    fn announce(&mut self) -> Result<(), Problem> {
        let commands = self.d.who.topics.commands();
        self.client.try_subscribe(commands, QoS::AtLeastOnce).map_err(|e| self.lost(&e.to_string()))?;
        let topics = self.d.who.topics.clone();
        self.say(topics.birth(), self.d.presence.birth.to_string().into_bytes(), What::Presence)?;
        self.say(topics.state(), self.d.who.state_payload(true), What::Presence)?;
        self.publish_status()?;
        self.publish_cameras()
    }

    fn say(&mut self, topic: String, payload: Vec<u8>, what: What) -> Result<(), Problem> {
        self.publish(topic, true, payload.into(), as_json(), what)
    }

    fn publish(
        &mut self,
        topic: String,
        retain: bool,
        payload: Bytes,
        properties: PublishProperties,
        what: What,
    ) -> Result<(), Problem> {
        let bytes = payload.len();
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            .map_err(|e| self.lost(&format!("the client's queue takes no more: {e}")))?;
        self.window.queued(what, bytes, mono_now());
        Ok(())
    }

    fn publish_cameras(&mut self) -> Result<(), Problem> {
        let now = mono_now();
        let latest = self.d.presence.cameras.borrow().clone();
        for (id, status) in latest {
            let due = self.said.get(&id).is_none_or(|(old, at)| {
                differs(old, &status) || (*old != status && now.since(*at) >= CAMERA_REFRESH_MS)
            });
            if due {
                let payload = camera_payload(&status, utc_now()).map_err(|e| self.lost(&e.to_string()))?;
                self.say(self.d.who.topics.camera_state(&id), payload, What::Presence)?;
                self.said.insert(id, (status, now));
            }
        }
        Ok(())
    }

    fn publish_status(&mut self) -> Result<(), Problem> {
        let now = mono_now();
        let Some(status) = self.d.presence.status.borrow().clone() else { return Ok(()) };
        if self.carried.status.forbids(now) || !self.status_turns.is_due(&status, now) {
            return Ok(());
        }
        let payload = Bytes::from(serde_json::to_vec(&status).map_err(|e| self.lost(&e.to_string()))?);
        let (topic, properties) = (self.d.who.topics.status(), as_json());
        if let Some(why) = self.why_not(&topic, &payload, &properties) {
            tracing::warn!(why, "the status of the box cannot be sent; tried again in an hour");
            self.status_turns.put_off(now);
            return Ok(());
        }
        self.publish(topic, true, payload, properties, What::Status)?;
        self.status_turns.sent(status, now);
        Ok(())
    }

    /// Why a message can never be sent on this connection, or `None`.
    fn why_not(&self, topic: &str, payload: &Bytes, properties: &PublishProperties) -> Option<String> {
        let publish = Publish::new(topic, QoS::AtLeastOnce, payload.clone(), Some(properties.clone()));
        cannot_be_sent(topic, properties, publish.size(), self.max_packet)
    }

    /// Fills free slots from what was read ahead. After word of new work the outbox is asked first: a lower lane overtakes
    /// whatever is not yet sent.
    async fn fill(&mut self) -> Result<(), Problem> {
        // Said before anything is sent, not when the draw of `select!` comes to it.
        if self.d.source.wait_for_work().now_or_never().is_some() {
            self.work_came();
        }
        while !self.overtaken && self.has_room() {
            // Only now that it could be sent: on a slow line it would be read many times over.
            if self.ahead.is_old(mono_now()) {
                self.read_again();
            }
            let Some(item) = self.ahead.take() else { break };
            self.send(item).await?;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.window.len() + self.carried.refused.in_a_row < self.limit
            && self.window.bytes() < self.pace.limit(mono_now())
            && self.carried.unmarked.len() < MAX_UNMARKED
    }

    /// Something may be in the outbox that goes before what was read ahead.
    fn work_came(&mut self) {
        self.overtaken = true;
        self.read_again();
    }

    /// Forgets what was read ahead, and what is being read, which comes after it.
    fn read_again(&mut self) {
        self.outbox_empty = false;
        self.ahead.clear();
        if let Some(running) = &mut self.fetching {
            running.about.again = true;
        }
    }

    /// Reads ahead, beside what is sent: what was never refused, and only then, a few at a time, what was. However much
    /// is refused for ever, it holds nothing else up.
    fn begin_fetch(&mut self) {
        let due = if self.overtaken { self.has_room() } else { self.ahead.len() <= AHEAD };
        if self.fetching.is_some() || self.outbox_empty || !due {
            return;
        }
        let rows = if self.overtaken { URGENT } else { AHEAD };
        let mut busy: Vec<i64> = self.window.rows().collect();
        busy.extend(self.carried.unmarked.ids().chain(self.ahead.ids()));
        let refused: Vec<i64> = self.carried.refused.waits.keys().copied().collect();
        let held: Vec<i64> = self.carried.refused.held.keys().copied().collect();
        // Of those refused, so many at once.
        let retries = self.limit.saturating_sub(held.len());
        let source = self.d.source.clone();
        let task = tokio::spawn(async move {
            let without: Vec<i64> = busy.iter().chain(&refused).copied().collect();
            let mut items = source.next(rows, &without).await?;
            let retries = retries.min(rows.saturating_sub(items.len()));
            if refused.len() == held.len() || retries == 0 {
                let more = items.len() == rows;
                return Ok(Answer { items, more, gone: Vec::new() });
            }
            busy.extend(items.iter().map(|i| i.id).chain(held));
            let retried = source.next(retries, &busy).await?;
            let more = retried.len() == retries;
            items.extend(retried);
            // None of them is in the outbox any more: it was full, and dropped them.
            let gone = |id: &i64| !more && !busy.contains(id) && items.iter().all(|i| i.id != *id);
            let gone = refused.into_iter().filter(gone).collect();
            Ok(Answer { items, more, gone })
        });
        self.fetching = Some(Task { about: Asked { overtaken: self.overtaken, again: false }, task });
    }

    async fn fetched(&mut self, (asked, answer): (Asked, Result<Answer, OutboxError>)) -> Result<(), Problem> {
        let Answer { items, more, gone } = answer.map_err(outbox_problem)?;
        for id in gone {
            self.carried.refused.waits.remove(&id);
        }
        if asked.again && !asked.overtaken {
            // Read before the word came: asked anew.
            return Ok(());
        }
        self.ahead.read(items, mono_now());
        self.outbox_empty = !more && !asked.again;
        if asked.overtaken {
            self.overtaken = asked.again;
            // All that was said before it was asked is in it. However fast word comes, something is sent each time.
            while self.has_room()
                && let Some(item) = self.ahead.take()
            {
                self.send(item).await?;
            }
            if asked.again {
                self.ahead.clear();
            }
        }
        Ok(())
    }

    async fn send(&mut self, item: OutboxItem) -> Result<(), Problem> {
        let properties = PublishProperties {
            content_type: Some(item.content_type.to_owned()),
            user_properties: item.user_properties,
            ..Default::default()
        };
        if let Some(why) = self.why_not(&item.topic, &item.payload, &properties) {
            metrics::counter!("gatewatch_mqtt_undeliverable_total").increment(1);
            tracing::error!(id = item.id, topic = item.topic, why, "message can never be sent");
            self.d.status.send_modify(|s| s.undeliverable_total += 1);
            return self.d.source.undeliverable(item.id, &why).await.map_err(outbox_problem);
        }
        self.publish(item.topic, false, item.payload, properties, What::Outbox { id: item.id, lane: item.lane })
    }

    fn take_events(&mut self, first: Option<Result<Event, ConnectionError>>) -> Result<(), Problem> {
        let mut batch = VecDeque::from([first.ok_or_else(|| self.lost("the client ended"))?]);
        while batch.len() < BATCH
            && let Ok(event) = self.events.try_recv()
        {
            batch.push_back(event);
        }
        batch.into_iter().try_for_each(|event| match event {
            Ok(event) => self.take_event(event),
            Err(e) => Err(explain(&e, &self.d.config.url, true)),
        })
    }

    fn take_event(&mut self, event: Event) -> Result<(), Problem> {
        match event {
            Event::Outgoing(Outgoing::Publish(pkid)) => self.window.numbered(pkid),
            Event::Incoming(Packet::PubAck(ack)) => self.take_ack(&ack),
            Event::Incoming(Packet::Publish(publish)) => self.take_inbound(publish),
            Event::Incoming(Packet::SubAck(ack)) => {
                use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode::Success;
                if ack.return_codes.iter().any(|c| !matches!(c, Success(_))) {
                    tracing::error!(codes = ?ack.return_codes, "the broker refused a subscription: commands will not arrive; allow this user to read them");
                }
                self.connected();
            }
            _ => {}
        }
        Ok(())
    }

    fn take_ack(&mut self, ack: &PubAck) {
        let Some(sent) = self.window.answered(ack.pkid) else { return };
        self.last_ack = mono_now();
        self.pace.answered(sent.bytes, sent.at, self.last_ack);
        let good = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        match sent.what {
            What::Outbox { id, lane } if good => {
                self.carried.refused.waits.remove(&id);
                self.carried.refused.in_a_row = 0;
                self.carried.unmarked.acked.push(id);
                self.carried.unmarked.since.get_or_insert(self.last_ack);
                let lane = lane.to_string();
                metrics::counter!(MQTT_ACKED, "lane" => lane).increment(1);
                metrics::histogram!(MQTT_ACK).record(mono_now().since(sent.at) as f64 / 1000.0);
            }
            What::Outbox { id, .. } => self.hold(id, ack),
            What::Status if good => self.status_turns.taken(),
            What::Status => {
                self.status_turns.refused(self.last_ack);
                let topic = self.d.who.topics.status();
                tracing::warn!(reason = ?ack.reason, topic, "the broker refuses the status of the box: allow this user to publish it; tried again in an hour, or on the next connection");
            }
            _ if !good => {
                tracing::warn!(reason = ?ack.reason, what = ?sent.what, "the broker refused a message about the box");
            }
            _ => {}
        }
        metrics::gauge!("gatewatch_mqtt_in_flight").set(self.window.len() as f64);
    }

    /// A refusal is not delivery. The message waits; others go on, until as many in a row are refused as the window is
    /// wide: then one a second is tried.
    fn hold(&mut self, id: i64, ack: &PubAck) {
        metrics::counter!("gatewatch_mqtt_refused_total").increment(1);
        let refused = &mut self.carried.refused;
        refused.in_a_row += 1;
        let first = || Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let wait = refused.waits.entry(id).or_insert_with(first).wait();
        let until = MonoMillis(mono_now().0 + i64::try_from(wait.as_millis()).unwrap_or(60_000));
        refused.held.insert(id, until);
        let text = format!(
            "the broker refuses messages ({:?}): check that this user may publish under {} and its quotas",
            ack.reason,
            self.d.who.topics.base()
        );
        tracing::warn!(id, reason = ?ack.reason, retry_in_ms = wait.as_millis() as u64, "message refused by the broker");
        refused.text.clone_from(&text);
        self.d.status.send_modify(|s| {
            s.reason = Some(text);
            s.problem = Some(ProblemKind::Rejected.as_str());
        });
    }

    fn take_inbound(&mut self, publish: Publish) {
        // Commands only. Full when someone floods us; whoever sent one hears no answer and asks again.
        if self.inbound_tx.try_send(publish).is_err() {
            metrics::counter!("gatewatch_mqtt_inbound_total", "kind" => "any", "result" => "dropped").increment(1);
        }
    }

    fn answer(&mut self, reply: Reply) -> Result<(), Problem> {
        let properties = PublishProperties { correlation_data: reply.correlation, ..as_json() };
        let Some(why) = self.why_not(&reply.topic, &reply.payload, &properties) else {
            return self.publish(reply.topic, false, reply.payload, properties, What::Reply);
        };
        let short = Bytes::from_static(br#"{"ok":false,"error":"the answer is too large: ask for less"}"#);
        if self.why_not(&reply.topic, &short, &properties).is_some() {
            tracing::warn!(topic = reply.topic, why, "an answer cannot be sent, nor that it cannot");
            return Ok(());
        }
        tracing::warn!(topic = reply.topic, why, "an answer cannot be sent");
        self.publish(reply.topic, false, short, properties, What::Reply)
    }

    /// Marks what was acknowledged, beside what is sent, as many rows in a transaction as came during the one before, and no
    /// few of them alone.
    fn begin_marking(&mut self) {
        let unmarked = &mut self.carried.unmarked;
        if unmarked.marking.is_none() && unmarked.is_due(self.window.len() > 0, mono_now()) {
            unmarked.since = None;
            let (source, about) = (self.d.source.clone(), std::mem::take(&mut unmarked.acked));
            let ids = about.clone();
            let task = tokio::spawn(async move { source.delivered(&ids).await });
            unmarked.marking = Some(Task { about, task });
        }
    }

    fn marked(&mut self, (ids, done): (Vec<i64>, Result<(), OutboxError>)) -> Result<(), Problem> {
        if let Err(e) = done {
            self.carried.unmarked.acked.extend(ids);
            self.carried.unmarked.since.get_or_insert(mono_now());
            return Err(outbox_problem(e));
        }
        // Not before: a store that cannot mark would have the same messages sent again and again without a pause.
        self.worked = true;
        let n = ids.len() as u64;
        self.rate.add(n);
        let (rate, in_flight, held) = (self.rate.per_s, self.window.len(), self.carried.refused.held.len());
        self.d.status.send_modify(|s| {
            s.acked_total += n;
            (s.acked_per_s, s.in_flight, s.held) = (rate, in_flight, held);
        });
        Ok(())
    }

    /// Marks everything that was acknowledged, and waits for it, though not for ever: on a disk that hangs the box is to
    /// connect again, or to stop.
    async fn mark_the_rest(&mut self) -> Result<(), Problem> {
        // Nothing in flight will be answered on this connection.
        self.window = Window::default();
        let rest = async {
            loop {
                self.begin_marking();
                if self.carried.unmarked.marking.is_none() {
                    return Ok(());
                }
                let done = of(&mut self.carried.unmarked.marking).await;
                self.marked(done)?;
            }
        };
        let late = |_| Err(outbox_problem(OutboxError("it does not answer".into())));
        tokio::time::timeout(FAREWELL, rest).await.unwrap_or_else(late)
    }

    /// Once a second: silent broker, refused messages that are due, health, status, camera counters.
    fn look_around(&mut self) -> Result<(), Problem> {
        let now = mono_now();
        self.looked = now;
        // A slow line is not a dead one: what waits in our own queue counts from the last answer.
        let waiting_since = self.window.oldest().map(|at| MonoMillis(at.0.max(self.last_ack.0)));
        if waiting_since.is_some_and(|at| now.since(at) > ACK_TIMEOUT_MS) {
            return Err(self.lost("it has not acknowledged a message for 60 s"));
        }
        self.release_due(now);
        self.rate.add(0);
        let (rate, in_flight, held) = (self.rate.per_s, self.window.len(), self.carried.refused.held.len());
        self.d.status.send_if_modified(|s| {
            let changed = (s.acked_per_s, s.in_flight, s.held) != (rate, in_flight, held);
            (s.acked_per_s, s.in_flight, s.held) = (rate, in_flight, held);
            if held == 0 && s.problem == Some(ProblemKind::Rejected.as_str()) {
                (s.reason, s.problem) = (None, None);
            }
            changed
        });
        self.publish_status()?;
        self.publish_cameras()
    }

    /// Lets refused messages be taken again.
    fn release_due(&mut self, now: MonoMillis) {
        let refused = &mut self.carried.refused;
        refused.in_a_row = refused.in_a_row.min(self.limit - 1);
        let before = refused.held.len();
        refused.held.retain(|_, until| now.since(*until) < 0);
        if refused.held.len() != before {
            self.work_came();
        }
    }

    /// Graceful stop: what is in flight may still be acknowledged, the state turns to offline, then the disconnect.
    async fn farewell(&mut self) -> Result<(), Problem> {
        self.say(self.d.who.topics.state(), self.d.who.state_payload(false), What::Farewell)?;
        let all_answered = async {
            while self.window.len() > 0 {
                let event = self.events.recv().await;
                self.take_events(event)?;
            }
            Ok::<(), Problem>(())
        };
        if let Ok(result) = tokio::time::timeout(FAREWELL, all_answered).await {
            result?;
        }
        // Without this packet the broker would publish the last will.
        self.client.try_disconnect().map_err(|e| self.lost(&e.to_string()))?;
        let written = async {
            while let Some(Ok(event)) = self.events.recv().await {
                if event == Event::Outgoing(Outgoing::Disconnect) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, written).await;
        Ok(())
    }

    fn lost(&self, why: &str) -> Problem {
        Problem::new(ProblemKind::Lost, format!("connection to {} given up: {why}", self.d.config.url))
    }
}

/// A reading of the outbox.
struct Asked {
    /// It was begun after word of new work.
    overtaken: bool,
    /// Since then word came of what it may not have seen, or what was read before it was forgotten.
    again: bool,
}

/// What a reading found.
struct Answer {
    items: Vec<OutboxItem>,
    /// There may be more.
    more: bool,
    /// Rows refused once that are not there any more.
    gone: Vec<i64>,
}

/// Work of the outbox that goes on beside the connection, and what it is about.
struct Task<A, T> {
    about: A,
    task: JoinHandle<Result<T, OutboxError>>,
}

/// What came of a task, once it is done; never, while there is none. May be dropped and asked again.
async fn of<A, T>(task: &mut Option<Task<A, T>>) -> (A, Result<T, OutboxError>) {
    let Some(running) = task else { return std::future::pending().await };
    let done = match (&mut running.task).await {
        Ok(done) => done,
        // The runtime ends, and this with it.
        Err(e) if e.is_cancelled() => std::future::pending().await,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    };
    let about = task.take().expect("there is one").about;
    (about, done)
}

/// Runs the client's event loop until its first error.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = event_loop.poll().await;
        let last = event.is_err();
        if last {
            // What was read before the error, acknowledgements among it, is still in there.
            for read in std::mem::take(&mut event_loop.state.events) {
                if events.send(Ok(read)).await.is_err() {
                    return;
                }
            }
        }
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Payload of a camera's retained state: with when it is said, since the broker may keep it for a receiver that is away.
fn camera_payload(status: &CameraStatus, now: UtcMillis) -> serde_json::Result<Vec<u8>> {
    let mut said = serde_json::to_value(status)?;
    said["time"] = now.to_rfc3339().into();
    serde_json::to_vec(&said)
}

/// Something but the counters changed.
fn differs(old: &CameraStatus, new: &CameraStatus) -> bool {
    let mut same_counters = CameraStatus {
        received: new.received,
        decoded: new.decoded,
        clock_offset_ms: new.clock_offset_ms,
        ..old.clone()
    };
    if let (Some(old), Some(new)) = (&mut same_counters.coverage, new.coverage) {
        (old.interval_ms, old.last_hour) = (new.interval_ms, new.last_hour);
    }
    same_counters != *new
}

fn outbox_problem(e: OutboxError) -> Problem {
    Problem::new(ProblemKind::Outbox, format!("the outbox cannot be used: {e}"))
}

fn as_json() -> PublishProperties {
    PublishProperties { content_type: Some("application/json".into()), ..Default::default() }
}

/// Why a message of this size can never be sent, or `None`.
fn cannot_be_sent(topic: &str, properties: &PublishProperties, size: usize, max: usize) -> Option<String> {
    if size + SIZE_MARGIN > max {
        return Some(format!(
            "{size} bytes are more than the packet limit of {max} (mqtt.max_packet_bytes, or the broker's)"
        ));
    }
    if topic.is_empty() || topic.contains(['+', '#', '\0']) || topic.len() > usize::from(u16::MAX) {
        return Some(format!("{topic:?} is not a topic one can publish to"));
    }
    let too_long = |s: &String| s.len() > usize::from(u16::MAX);
    let bad = properties.user_properties.iter().any(|(k, v)| too_long(k) || too_long(v));
    bad.then(|| "a user property is longer than 65,535 bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cameras_state_says_when_it_is_said() {
        let status = serde_json::json!({"camera": "gate", "state": "running", "width": 0, "height": 0, "received": 7,
            "decoded": 0, "reconnects": 0});
        let status: CameraStatus = serde_json::from_value(status).unwrap();
        let said: serde_json::Value =
            serde_json::from_slice(&camera_payload(&status, UtcMillis(1000)).unwrap()).unwrap();
        assert_eq!((&said["time"], &said["received"]), (&"1970-01-01T00:00:01.000Z".into(), &7.into()));
        assert_eq!(serde_json::from_value::<CameraStatus>(said).unwrap(), status, "and nothing else is added");
    }
}
