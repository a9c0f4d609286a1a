//! Delivery, inbound messages and the broker against a real Mosquitto and the embedded broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::config::{MqttConfig, SecretSource};
use gatewatch::event::message::ModelRef;
use gatewatch::mqtt::status::{Analysis, ClockState, DetectorState};
use gatewatch::mqtt::{
    BoxStatus, Delivery, DeliveryStatus, EmbeddedBroker, Identity, Inbound, InboundError, InboundHandler, OutboxError,
    OutboxItem, OutboxSource, Presence, Scope, Topics,
};
use gatewatch::telemetry::health::Level;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::until;

const LIMIT: Duration = Duration::from_secs(60);

// ---- an outbox in memory ----------------------------------------------------------------------------------------

#[derive(Default)]
struct MemoryOutbox {
    rows: Mutex<BTreeMap<(u8, i64), OutboxItem>>,
    undeliverable: Mutex<Vec<(i64, String)>>,
    delivered: Mutex<Vec<i64>>,
    /// Rows that were given out, and those that were to be marked.
    given: Mutex<BTreeSet<i64>>,
    asked: Mutex<Vec<i64>>,
    /// Marking waits until this is over.
    stuck: watch::Sender<bool>,
    /// Comes in while work is asked for the first time, too late to be answered.
    late: Mutex<Vec<OutboxItem>>,
    /// A slow disk: reading and marking take so long. Marking for ever, when there is no end of it.
    reading: Duration,
    marking: Duration,
    work: Notify,
}

fn item(id: i64, lane: u8, topic: &str, payload: Vec<u8>) -> OutboxItem {
    OutboxItem {
        id,
        lane,
        topic: topic.into(),
        payload: payload.into(),
        content_type: "application/octet-stream",
        user_properties: vec![("lane".into(), lane.to_string())],
    }
}

impl MemoryOutbox {
    fn add(&self, id: i64, lane: u8, topic: &str, payload: Vec<u8>) {
        self.rows.lock().unwrap().insert((lane, id), item(id, lane, topic, payload));
        self.work.notify_one();
    }

    /// At once, with one word of it.
    fn add_all(&self, ids: RangeInclusive<i64>) {
        let items = ids.map(|id| ((1, id), item(id, 1, &topics().event(), id.to_string().into_bytes())));
        self.rows.lock().unwrap().extend(items);
        self.work.notify_one();
    }

    /// There was no room for them, and nobody says so.
    fn drop_rows(&self, ids: &RangeInclusive<i64>) {
        self.rows.lock().unwrap().retain(|(_, id), _| !ids.contains(id));
    }

    /// Time went by.
    fn turn_historical(&self) {
        let historical = || ("historical".into(), "true".into());
        self.rows.lock().unwrap().values_mut().for_each(|row| row.user_properties.push(historical()));
    }

    async fn until_given(&self, id: i64) {
        until("a row to be read", async || self.given.lock().unwrap().contains(&id).then_some(())).await;
    }

    fn left(&self) -> usize {
        self.rows.lock().unwrap().len()
    }
}

impl OutboxSource for MemoryOutbox {
    async fn next(&self, limit: usize, in_flight: &[i64]) -> Result<Vec<OutboxItem>, OutboxError> {
        tokio::time::sleep(self.reading).await;
        let mut rows = self.rows.lock().unwrap();
        let items: Vec<_> = rows.values().filter(|r| !in_flight.contains(&r.id)).take(limit).cloned().collect();
        self.given.lock().unwrap().extend(items.iter().map(|i| i.id));
        for late in self.late.lock().unwrap().drain(..) {
            rows.insert((late.lane, late.id), late);
            self.work.notify_one();
        }
        Ok(items)
    }
    async fn delivered(&self, ids: &[i64]) -> Result<(), OutboxError> {
        self.asked.lock().unwrap().extend(ids);
        let mut stuck = self.stuck.subscribe();
        let _ = stuck.wait_for(|stuck| !*stuck).await;
        tokio::time::sleep(self.marking).await;
        self.rows.lock().unwrap().retain(|(_, id), _| !ids.contains(id));
        self.delivered.lock().unwrap().extend(ids);
        Ok(())
    }
    async fn undeliverable(&self, id: i64, why: &str) -> Result<(), OutboxError> {
        self.rows.lock().unwrap().retain(|(_, x), _| *x != id);
        self.undeliverable.lock().unwrap().push((id, why.into()));
        Ok(())
    }
    async fn wait_for_work(&self) {
        self.work.notified().await;
    }
}

#[derive(Default)]
struct Inbox {
    taken: Mutex<Vec<(Inbound, Scope, Value)>>,
    /// Facts that were said to be new, not repeated by the broker.
    fresh: Mutex<usize>,
    refuse_first: Mutex<u32>,
}

impl InboundHandler for Inbox {
    async fn take(
        &self,
        what: Inbound,
        scope: Scope,
        said: Option<UtcMillis>,
        body: Value,
    ) -> Result<(), InboundError> {
        let mut refuse = self.refuse_first.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return Err(InboundError::NotNow("store busy".into()));
        }
        if body.get("bad").is_some() {
            return Err(InboundError::Invalid("bad is set".into()));
        }
        self.taken.lock().unwrap().push((what, scope, body));
        *self.fresh.lock().unwrap() += usize::from(said.is_some());
        Ok(())
    }
    async fn command(&self, name: &str, payload: &[u8]) -> Result<Value, InboundError> {
        match name {
            "echo" => {
                serde_json::from_slice(payload).map_err(|e| InboundError::Invalid(format!("echo wants JSON: {e}")))
            }
            "long" => Ok(json!("x".repeat(2_000_000))),
            _ => Err(InboundError::Invalid(format!("unknown command {name:?}; there are: echo, ping"))),
        }
    }
}

// ---- the thing under test ---------------------------------------------------------------------------------------

struct Rig {
    outbox: Arc<MemoryOutbox>,
    inbox: Arc<Inbox>,
    status: watch::Receiver<DeliveryStatus>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn topics() -> Topics {
    Topics::new("gatewatch/v1", "15BB", "gate-01")
}

fn deliver(config: MqttConfig, outbox: Arc<MemoryOutbox>) -> Rig {
    let (_, status) = watch::channel(None);
    deliver_saying(config, outbox, status)
}

/// With what the box says of itself.
fn deliver_saying(config: MqttConfig, outbox: Arc<MemoryOutbox>, status: watch::Receiver<Option<BoxStatus>>) -> Rig {
    let who = Identity { topics: topics(), client_id: "gw-15BB-gate-01".into(), epoch: 7, session: "s1".into() };
    let (_, cameras) = watch::channel(BTreeMap::new());
    let presence = Presence { birth: json!({"version": "test"}), cameras, status };
    let inbox = Arc::new(Inbox::default());
    let (delivery, status) = Delivery::new(config, who, outbox.clone(), inbox.clone(), presence);
    let stop = CancellationToken::new();
    let task = tokio::spawn(delivery.run(stop.clone()));
    Rig { outbox, inbox, status, stop, task }
}

impl Rig {
    async fn until(&mut self, what: &str, good: impl FnMut(&DeliveryStatus) -> bool) -> DeliveryStatus {
        let found = tokio::time::timeout(LIMIT, self.status.wait_for(good)).await.map(|s| s.unwrap().clone());
        found.unwrap_or_else(|_| panic!("not in time: {what}; status {:?}", self.status.borrow()))
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

fn config(url: String) -> MqttConfig {
    MqttConfig { url, window: 32, ..MqttConfig::default() }
}

/// A client of our own; every publish it gets comes out of the channel. Subscribes to `filter` on each connection.
async fn listener(url: &str, id: &str, filter: &str) -> (AsyncClient, mpsc::UnboundedReceiver<Publish>) {
    let addr: SocketAddr = url.trim_start_matches("mqtt://").parse().unwrap();
    let mut options = MqttOptions::new(id, addr.ip().to_string(), addr.port());
    options.set_max_packet_size(Some(4_000_000));
    let (client, mut events) = AsyncClient::new(options, 64);
    let (tx, rx) = mpsc::unbounded_channel();
    let (ready_tx, mut ready) = mpsc::channel(4);
    let (again, filter) = (client.clone(), filter.to_owned());
    tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => again.try_subscribe(&filter, QoS::AtLeastOnce).unwrap(),
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready_tx.try_send(())),
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    if tx.send(p).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    tokio::time::timeout(LIMIT, ready.recv()).await.unwrap().unwrap();
    (client, rx)
}

async fn next(rx: &mut mpsc::UnboundedReceiver<Publish>) -> Publish {
    tokio::time::timeout(LIMIT, rx.recv()).await.expect("a message in time").unwrap()
}

fn number(p: &Publish) -> i64 {
    std::str::from_utf8(&p.payload).unwrap().parse().unwrap()
}

async fn two_thousand_once_and_in_order(url: String) {
    let (_client, mut rx) = listener(&url, "watch", "gatewatch/v1/15BB/gate-01/event/#").await;
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 1..=2000 {
        let lane = u8::try_from(id % 3).unwrap();
        outbox.add(id, lane, &format!("gatewatch/v1/15BB/gate-01/event/{lane}"), id.to_string().into_bytes());
    }
    let mut rig = deliver(config(url), outbox);
    let mut lanes: HashMap<String, Vec<i64>> = HashMap::new();
    for _ in 0..2000 {
        let p = next(&mut rx).await;
        lanes.entry(String::from_utf8(p.topic.to_vec()).unwrap()).or_default().push(number(&p));
    }
    assert_eq!(lanes.values().map(Vec::len).sum::<usize>(), 2000);
    for ids in lanes.values() {
        assert!(ids.windows(2).all(|w| w[0] < w[1]), "in order, none twice");
    }
    rig.until("all acknowledged", |s| s.acked_total == 2000).await;
    assert_eq!(rig.outbox.left(), 0);
    assert!(rx.try_recv().is_err(), "nothing more");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_2000_once_and_in_order_over_mosquitto() {
    let broker = Mosquitto::open();
    two_thousand_once_and_in_order(broker.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_2000_once_and_in_order_over_the_embedded_broker() {
    let broker = EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).unwrap();
    two_thousand_once_and_in_order(broker.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_loses_nothing() {
    let mut broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", "gatewatch/v1/+/+/event").await;
    let outbox = Arc::new(MemoryOutbox::default());
    let topic = topics().event();
    let mut rig = deliver(config(broker.url()), outbox.clone());
    rig.until("connected", |s| s.connected).await;
    let mut seen: HashMap<i64, u32> = HashMap::new();
    let mut died_with: Vec<i64> = Vec::new();
    for round in 0..2 {
        for id in round * 3000 + 1..=(round + 1) * 3000 {
            outbox.add(id, 1, &topic, id.to_string().into_bytes());
        }
        rig.until("half way", |s| s.acked_total > round as u64 * 3000 + 300).await;
        broker.kill();
        rig.until("lost", |s| !s.connected).await;
        died_with.extend(rig.outbox.delivered.lock().unwrap().iter());
        assert!(rig.outbox.left() > 0, "it was in the middle");
        broker.restart();
        rig.until("again", |s| s.connected && s.reason.is_none()).await;
    }
    rig.until("all acknowledged", |s| s.in_flight == 0 && s.acked_total >= 6000).await;
    assert_eq!(rig.outbox.left(), 0);
    assert_eq!(rig.outbox.delivered.lock().unwrap().len(), 6000, "each row marked once");
    while let Ok(p) = rx.try_recv() {
        *seen.entry(number(&p)).or_default() += 1;
    }
    // The dying broker takes messages with it after their PUBACK (it holds QoS 1 in memory), but never without one.
    let lost: Vec<i64> = (1..=6000).filter(|id| !seen.contains_key(id) && !died_with.contains(id)).collect();
    assert!(lost.is_empty(), "never acknowledged by a broker that died, and never came: {lost:?}");
    assert!(seen.values().all(|n| *n <= 3), "duplicates are resends only");
    rig.end().await;
}

/// Passes bytes on until told to cut all connections it has.
async fn cuttable(to: u16) -> (u16, watch::Sender<u32>) {
    let (cut, seen) = watch::channel(0);
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut a, _)) = door.accept().await {
            let mut cut = seen.clone();
            cut.mark_unchanged();
            tokio::spawn(async move {
                let mut b = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut a, &mut b) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    });
    (port, cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_again_and_again_loses_nothing_and_repeats_only_what_was_in_flight() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", "gatewatch/v1/+/+/event").await;
    let (port, cut) = cuttable(broker.port).await;
    let outbox = Arc::new(MemoryOutbox::default());
    let mut rig = deliver(config(format!("mqtt://127.0.0.1:{port}")), outbox.clone());
    for round in 0..3 {
        rig.until("connected", |s| s.connected).await;
        for id in round * 2000 + 1..=(round + 1) * 2000 {
            outbox.add(id, 1, &topics().event(), id.to_string().into_bytes());
        }
        let before = rig.status.borrow().acked_total;
        rig.until("flows", |s| s.acked_total > before + 300).await;
        cut.send_modify(|n| *n += 1);
        rig.until("lost", |s| !s.connected).await;
        assert!(outbox.left() > 0, "it was in the middle");
    }
    rig.until("all", |s| s.acked_total == 6000).await;
    let mut seen: HashMap<i64, u32> = HashMap::new();
    while seen.len() < 6000 {
        *seen.entry(number(&next(&mut rx).await)).or_default() += 1;
    }
    let repeated: u32 = seen.values().map(|n| n - 1).sum();
    println!("6000 messages, 3 cuts, {repeated} repeated");
    assert!(repeated <= 3 * 32, "{repeated} repeated, the window is 32");
    rig.end().await;
}

/// What the line between box and broker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// What the broker says does not come through yet.
    Held,
    /// No connection lasts.
    Cut,
}

async fn line_to(broker: u16) -> (String, watch::Sender<Line>) {
    let (told, seen) = watch::channel(Line::Open);
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", door.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((a, _)) = door.accept().await {
            let (line, mut cut) = (seen.clone(), seen.clone());
            tokio::spawn(async move {
                let b = tokio::net::TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
                let ((mut box_says, to_box), (broker_says, mut to_broker)) = (a.into_split(), b.into_split());
                tokio::select! {
                    _ = tokio::io::copy(&mut box_says, &mut to_broker) => {}
                    _ = pass_while_open(broker_says, to_box, line) => {}
                    _ = cut.wait_for(|line| *line == Line::Cut) => {}
                }
            });
        }
    });
    (url, told)
}

async fn pass_while_open(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut line: watch::Receiver<Line>,
) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let n = from.read(&mut bytes).await?;
        if n == 0 {
            return Ok(());
        }
        let _ = line.wait_for(|line| *line == Line::Open).await;
        to.write_all(&bytes[..n]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_marked_is_not_sent_again_on_the_next_connection() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let (url, line) = line_to(broker.port).await;
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.stuck.send_replace(true);
    outbox.add_all(1..=1);
    let mut rig = deliver(config(url), outbox.clone());
    rig.until("connected", |s| s.connected).await;
    until("the acknowledgement", async || (outbox.asked.lock().unwrap().len() == 1).then_some(())).await;
    line.send_replace(Line::Cut);
    rig.until("lost", |s| !s.connected).await;
    line.send_replace(Line::Open);
    outbox.add_all(2..=2);
    let came = [number(&next(&mut rx).await), number(&next(&mut rx).await)];
    outbox.stuck.send_replace(false);
    rig.until("marked", |s| s.acked_total == 2).await;
    rig.end().await;
    assert_eq!((came, rx.try_recv().ok()), ([1, 2], None));
    assert_eq!((outbox.left(), &*outbox.delivered.lock().unwrap()), (0, &vec![1, 2]));
}

/// A delivery with a window of four on a line that takes nothing, which has read so many rows.
async fn read_ahead(broker: &Mosquitto, rows: i64) -> (Rig, watch::Sender<Line>) {
    let (url, line) = line_to(broker.port).await;
    let mut rig = deliver(MqttConfig { window: 4, ..config(url) }, Arc::default());
    rig.until("connected", |s| s.connected).await;
    line.send_replace(Line::Held);
    rig.outbox.add_all(1..=rows);
    rig.outbox.until_given(rows).await;
    (rig, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_full_outbox_dropped_are_not_sent_though_they_were_read_ahead() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let (mut rig, line) = read_ahead(&broker, 20).await;
    let outbox = rig.outbox.clone();
    outbox.drop_rows(&(11..=16));
    // The store says in a message of its own what it dropped.
    outbox.add(99, 0, &topics().event(), b"99".to_vec());
    line.send_replace(Line::Open);
    rig.until("all", |s| s.acked_total == 15).await;
    rig.end().await;
    let mut came = Vec::new();
    while came.len() < 15 {
        came.push(number(&next(&mut rx).await));
    }
    let report = came.iter().position(|id| *id == 99).unwrap();
    assert!(report <= 4, "before all that is not in flight: {came:?}");
    came.remove(report);
    assert_eq!((came, rx.try_recv().ok()), ((1..=10).chain(17..=20).collect(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_long_ago_is_read_again_before_it_is_sent() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let (mut rig, line) = read_ahead(&broker, 10).await;
    let outbox = rig.outbox.clone();
    let read = Instant::now();
    outbox.turn_historical();
    outbox.drop_rows(&(10..=10));
    until("a slow line", async || (read.elapsed() > Duration::from_secs(6)).then_some(())).await;
    line.send_replace(Line::Open);
    rig.until("all", |s| s.acked_total == 9).await;
    rig.end().await;
    let mut came = Vec::new();
    while came.len() < 9 {
        let p = next(&mut rx).await;
        let properties = p.properties.clone().unwrap().user_properties;
        came.push((number(&p), properties.iter().any(|(key, _)| key == "historical")));
    }
    assert!(came.iter().map(|(id, _)| *id).eq(1..=9), "{came:?}");
    // What was in flight has been sent as it was.
    assert!(!came[0].1 && came[4..].iter().all(|(_, historical)| *historical), "{came:?}");
    assert_eq!(rx.try_recv().ok(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_absent_at_start_is_waited_for() {
    let port = free_port();
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add(1, 0, &topics().event(), b"1".to_vec());
    let mut rig = deliver(config(format!("mqtt://127.0.0.1:{port}")), outbox);
    let s = rig.until("said", |s| s.problem == Some("unreachable")).await;
    assert!(s.reason.unwrap().contains("mqtt.url"));
    let _broker = Mosquitto::start_with(port, "allow_anonymous true", |_| {});
    rig.until("delivered", |s| s.acked_total == 1).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_overtakes_a_backlog() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", "gatewatch/v1/15BB/gate-01/#").await;
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 1..=5000 {
        outbox.add(id, 2, &topics().event(), id.to_string().into_bytes());
    }
    let mut rig = deliver(config(broker.url()), outbox.clone());
    rig.until("backlog flows", |s| s.acked_total > 200).await;
    let at = rig.status.borrow().acked_total;
    outbox.add(9999, 0, &topics().alert(), b"9999".to_vec());
    rig.until("alert", |_| outbox.delivered.lock().unwrap().contains(&9999)).await;
    let place = outbox.delivered.lock().unwrap().iter().position(|id| *id == 9999).unwrap();
    assert!(place < usize::try_from(at).unwrap() + 600, "alert was message {place}, added at {at}");
    while number_or_zero(&next(&mut rx).await) != 9999 {}
    rig.until("all", |s| s.acked_total == 5001).await;
    rig.end().await;
}

fn number_or_zero(p: &Publish) -> i64 {
    std::str::from_utf8(&p.payload).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_alert_does_not_wait_behind_a_window_full_of_pictures() {
    let broker = Mosquitto::open();
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 1..=64 {
        outbox.add(id, 2, &topics().event(), vec![0; 500_000]);
    }
    // It is made when the first pictures are on their way to the client.
    outbox.late.lock().unwrap().push(item(99, 0, &topics().alert(), b"99".to_vec()));
    let (_client, mut rx) = listener(&broker.url(), "watch", "gatewatch/v1/15BB/gate-01/+").await;
    let mut rig = deliver(config(broker.url()), outbox);
    let mut before = 0;
    loop {
        let p = next(&mut rx).await;
        match p.topic == topics().alert().as_bytes() {
            true => break,
            false => before += usize::from(p.topic == topics().event().as_bytes()),
        }
    }
    assert!(before <= 1, "{before} pictures went before the alert");
    rig.until("all", |s| s.acked_total == 65).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_more_urgent_goes_first_however_much_it_is() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 1..=64 {
        outbox.add(id, 3, &topics().event(), id.to_string().into_bytes());
    }
    // It comes while the backlog is read, and is more than is read at once.
    let urgent = (101..=200).map(|id| item(id, 0, &topics().event(), id.to_string().into_bytes()));
    outbox.late.lock().unwrap().extend(urgent);
    let rig = deliver(config(broker.url()), outbox);
    let mut came = Vec::new();
    while came.len() < 164 {
        came.push(number(&next(&mut rx).await));
    }
    // Of the backlog no more goes before than was asked for at once.
    let before = came.iter().position(|id| *id > 100).unwrap();
    assert!(before <= 8, "{came:?}");
    let backlog = (1..=64).collect::<Vec<i64>>();
    let want: Vec<i64> =
        backlog[..before].iter().copied().chain(101..=200).chain(backlog[before..].iter().copied()).collect();
    assert_eq!(came, want);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn word_of_new_work_that_never_ends_does_not_hold_up_what_is_there() {
    let broker = Mosquitto::open();
    let outbox = Arc::new(MemoryOutbox { reading: Duration::from_millis(20), ..MemoryOutbox::default() });
    let mut rig = deliver(config(broker.url()), outbox.clone());
    let adding = tokio::spawn(async move {
        for id in 1.. {
            outbox.add(id, 1, &topics().event(), id.to_string().into_bytes());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    rig.until("some", |s| s.acked_total >= 200).await;
    adding.abort();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_marked_is_not_sent_again() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let outbox = Arc::new(MemoryOutbox { marking: Duration::from_millis(200), ..MemoryOutbox::default() });
    for id in 1..=600 {
        outbox.add(id, 1, &topics().event(), id.to_string().into_bytes());
    }
    let mut rig = deliver(config(broker.url()), outbox);
    rig.until("all", |s| s.acked_total == 600).await;
    rig.end().await;
    let mut came = Vec::new();
    while came.last() != Some(&600) {
        came.push(number(&next(&mut rx).await));
    }
    assert_eq!(came, (1..=600).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_marks_is_not_sent_from_for_ever_and_does_not_hold_up_the_stop() {
    let broker = Mosquitto::open();
    let (_client, mut rx) = listener(&broker.url(), "watch", &topics().event()).await;
    let outbox = Arc::new(MemoryOutbox { marking: Duration::MAX, ..MemoryOutbox::default() });
    for id in 1..=2000 {
        outbox.add(id, 1, &topics().event(), id.to_string().into_bytes());
    }
    let rig = deliver(config(broker.url()), outbox);
    let mut came = 0;
    while came < 512 {
        next(&mut rx).await;
        came += 1;
    }
    rig.end().await;
    // What was in flight at that moment; the last message of the box ends it.
    let (_client, mut states) = listener(&broker.url(), "after", &topics().state()).await;
    let state: Value = serde_json::from_slice(&next(&mut states).await.payload).unwrap();
    assert_eq!(state["online"], false, "{state}");
    while rx.try_recv().is_ok() {
        came += 1;
    }
    assert!(came <= 512 + 32, "{came} were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_message_is_set_aside_and_others_go_on() {
    // The broker's own limit (50 kB) is lower than ours and is respected too.
    let broker = Mosquitto::start("allow_anonymous true\nmax_packet_size 50000");
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add(1, 0, &topics().event(), vec![0; 2_000_000]);
    outbox.add(2, 0, &topics().event(), vec![0; 60_000]);
    outbox.add(3, 0, &topics().event(), vec![0; 40_000]);
    outbox.add(4, 0, "bad/+/topic", b"x".to_vec());
    let mut rig = deliver(config(broker.url()), outbox.clone());
    let s = rig.until("the good one", |s| s.acked_total == 1 && s.undeliverable_total == 3).await;
    assert_eq!((s.connects_total, outbox.left()), (1, 0));
    let aside = outbox.undeliverable.lock().unwrap().clone();
    assert_eq!(aside.iter().map(|x| x.0).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(aside[1].1.contains("50000"), "{aside:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_receive_maximum_is_kept() {
    let broker = Mosquitto::start("allow_anonymous true\nmax_inflight_messages 3");
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 1..=300 {
        outbox.add(id, 1, &topics().event(), id.to_string().into_bytes());
    }
    let mut rig = deliver(config(broker.url()), outbox);
    let s = rig.until("all", |s| s.acked_total == 300).await;
    assert_eq!(s.connects_total, 1, "no protocol error on the way");
    rig.end().await;
}

fn password_file(dir: &Path) {
    let out = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(dir.join("pw")).args(["gate", "right"]).status();
    assert!(out.unwrap().success());
}

fn secret(text: &str) -> (tempfile::NamedTempFile, SecretSource) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{text}").unwrap();
    let source = SecretSource { file: Some(file.path().into()), env: None };
    (file, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_as_such_and_the_right_one_works() {
    let broker = Mosquitto::start_with(free_port(), "allow_anonymous false\npassword_file DIR/pw", password_file);
    let (_file, wrong) = secret("wrong-secret");
    let refused = MqttConfig { username: Some("gate".into()), password: wrong, ..config(broker.url()) };
    let mut rig = deliver(refused, Arc::default());
    let s = rig.until("refused", |s| s.problem == Some("refused")).await;
    let reason = s.reason.unwrap();
    assert!(reason.contains("mqtt.password") && !reason.contains("wrong-secret"), "{reason}");
    rig.end().await;
    let (_file, right) = secret("right");
    let mut rig =
        deliver(MqttConfig { username: Some("gate".into()), password: right, ..config(broker.url()) }, Arc::default());
    rig.until("accepted", |s| s.connected).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_is_not_delivery_and_does_not_stop_the_others() {
    let acl = "allow_anonymous true\nacl_file DIR/acl";
    let broker = Mosquitto::start_with(free_port(), acl, |dir| {
        std::fs::write(dir.join("acl"), "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/15BB/gate-01/alert\n")
            .unwrap();
    });
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add(1, 0, &topics().alert(), b"1".to_vec());
    outbox.add(2, 1, &topics().event(), b"2".to_vec());
    let mut rig = deliver(config(broker.url()), outbox.clone());
    let s = rig.until("said", |s| s.acked_total == 1 && s.problem == Some("rejected")).await;
    assert!(s.reason.unwrap().contains("may publish"));
    assert_eq!(*outbox.delivered.lock().unwrap(), [2]);
    assert_eq!(outbox.left(), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_after_its_wait_once_the_broker_takes_it() {
    let acl = "allow_anonymous true\nacl_file DIR/acl\nmax_queued_messages 1000";
    let mut broker = Mosquitto::start_with(free_port(), acl, |dir| {
        std::fs::write(dir.join("acl"), "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/15BB/gate-01/alert\n")
            .unwrap();
    });
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add(1, 0, &topics().alert(), b"1".to_vec());
    outbox.add(2, 1, &topics().event(), b"2".to_vec());
    let mut rig = deliver(config(broker.url()), outbox.clone());
    rig.until("refused", |s| s.held == 1 && s.acked_total == 1).await;
    broker.kill();
    rig.until("lost", |s| !s.connected).await;
    std::fs::write(broker.dir.path().join("acl"), "topic readwrite gatewatch/#\n").unwrap();
    broker.restart();
    let s = rig.until("taken", |s| s.acked_total == 2 && s.held == 0 && s.reason.is_none()).await;
    assert_eq!((s.problem, outbox.left()), (None, 0));
    assert_eq!(*outbox.delivered.lock().unwrap(), [2, 1]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_refused_for_ever_do_not_hold_up_the_messages() {
    // With none queued at all it drops a client that it refuses something while more is under way.
    let acl = "allow_anonymous true\nacl_file DIR/acl\nmax_queued_messages 1000";
    let broker = Mosquitto::start_with(free_port(), acl, |dir| {
        std::fs::write(
            dir.join("acl"),
            "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/15BB/gate-01/snapshot/x\n",
        )
        .unwrap();
    });
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 0..200 {
        outbox.add(2 * id, 1, "gatewatch/v1/15BB/gate-01/snapshot/x", b"jpeg".to_vec());
        outbox.add(2 * id + 1, 1, &topics().alert(), id.to_string().into_bytes());
    }
    let mut rig = deliver(config(broker.url()), outbox.clone());
    rig.until("all messages", |s| s.acked_total == 200).await;
    assert_eq!(outbox.left(), 200, "no picture was");
    // However many wait by now.
    outbox.add(999, 0, &topics().alert(), b"999".to_vec());
    let begin = Instant::now();
    rig.until("a new one", |s| s.acked_total == 201).await;
    println!("a new alert beside 200 refused pictures: {:?}", begin.elapsed());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_some_messages_those_that_the_broker_took_are_known() {
    use gatewatch::mqtt::publish::{Outward, publish_outward};
    // With none queued at all it drops a client that it refuses something while more is under way.
    let extra = "allow_anonymous true\nacl_file DIR/acl\nmax_queued_messages 1000";
    let broker = Mosquitto::start_with(free_port(), extra, |dir| {
        std::fs::write(dir.join("acl"), "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/20BB/in/tip\n").unwrap();
    });
    // More than the broker takes at once, so that packet ids come again.
    let office = |n: usize| if n % 5 == 3 { "20BB" } else { "15BB" };
    let message = |n| Outward { topic: format!("gatewatch/v1/{}/in/tip", office(n)), ..Outward::default() };
    let done = publish_outward(&config(broker.url()), "desk-out", (0..150).map(message).collect()).await;
    assert!(done.accepted.iter().copied().eq((0..150).filter(|n| office(*n) == "15BB")), "{:?}", done.accepted);
    assert!(done.refused.iter().copied().eq((0..150).filter(|n| office(*n) == "20BB")), "{:?}", done.refused);
    let problem = done.problem.unwrap();
    assert_eq!(problem.kind.as_str(), "rejected");
    assert!(problem.text.contains("gatewatch/v1/20BB/in/tip"), "{problem}");
    let facts = vec![("gatewatch/v1/20BB/in/tip".to_owned(), Vec::new())];
    assert!(gatewatch::mqtt::publish::publish_all(&config(broker.url()), "feed", facts).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn birth_and_state_are_retained_and_a_graceful_stop_says_offline() {
    let broker = Mosquitto::open();
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    let (_c, mut births) = listener(&broker.url(), "late-1", &topics().birth()).await;
    let birth: Value = serde_json::from_slice(&next(&mut births).await.payload).unwrap();
    assert_eq!(birth["version"], "test");
    let (_c, mut states) = listener(&broker.url(), "late-2", &topics().state()).await;
    let mut on: Value = serde_json::from_slice(&next(&mut states).await.payload).unwrap();
    let came = UtcMillis::parse_rfc3339(on["time"].take().as_str().unwrap()).unwrap();
    assert!((0..60_000).contains(&utc_now().since(came)), "{came:?}");
    assert_eq!(on, json!({"online": true, "epoch": 7, "session": "s1", "time": null}));
    rig.end().await;
    let off: Value = serde_json::from_slice(&next(&mut states).await.payload).unwrap();
    assert_eq!(off["online"], false);
}

/// What a box says of itself of which little is known.
fn status() -> BoxStatus {
    BoxStatus {
        time: UtcMillis(0),
        epoch: 7,
        session: 1,
        version: "test".into(),
        uptime_s: 1,
        level: Level::Ok,
        outbox: None,
        storage: None,
        database_writable: Some(true),
        clock: ClockState { synchronised: None, synchronised_at: None, cameras_offset_ms: None, cameras: 0 },
        detector: DetectorState { state: Analysis::Running, model: ModelRef { name: "m".into(), sha256: "0".into() } },
        overloaded: Vec::new(),
        parts: Vec::new(),
        parts_more: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_retained_and_comes_soon_when_something_turned() {
    let broker = Mosquitto::open();
    let (said, status_rx) = watch::channel(None);
    let mut rig = deliver_saying(config(broker.url()), Arc::default(), status_rx);
    rig.until("connected", |s| s.connected).await;
    // Nothing is said before something is known.
    said.send_replace(Some(status()));
    let (_c, mut heard) = listener(&broker.url(), "desk", &topics().status()).await;
    let first: Value = serde_json::from_slice(&next(&mut heard).await.payload).unwrap();
    assert_eq!((&first["version"], &first["database_writable"]), (&json!("test"), &json!(true)));
    said.send_replace(Some(BoxStatus { uptime_s: 2, database_writable: Some(false), ..status() }));
    let turned: Value = serde_json::from_slice(&next(&mut heard).await.payload).unwrap();
    assert_eq!((&turned["uptime_s"], &turned["database_writable"]), (&json!(2), &json!(false)));
    let (_c, mut late) = listener(&broker.url(), "late", &topics().status()).await;
    let kept = next(&mut late).await;
    assert!(kept.retain && serde_json::from_slice::<Value>(&kept.payload).unwrap() == turned);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_refused_holds_nothing_up() {
    let acl = "allow_anonymous true\nacl_file DIR/acl\nmax_queued_messages 1000";
    let broker = Mosquitto::start_with(free_port(), acl, |dir| {
        std::fs::write(dir.join("acl"), "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/15BB/gate-01/status\n")
            .unwrap();
    });
    let outbox = Arc::new(MemoryOutbox::default());
    for id in 0..200 {
        outbox.add(id, 1, &topics().alert(), id.to_string().into_bytes());
    }
    let (said, status_rx) = watch::channel(Some(status()));
    let mut rig = deliver_saying(config(broker.url()), outbox.clone(), status_rx);
    rig.until("all messages", |s| s.acked_total == 200 && s.connected).await;
    // Nor is it tried again with each turn: this broker closes the connection each time.
    let connects = rig.until("connected", |s| s.connected).await.connects_total;
    said.send_replace(Some(BoxStatus { database_writable: Some(false), ..status() }));
    outbox.add(999, 0, &topics().alert(), b"999".to_vec());
    let s = rig.until("a new one", |s| s.acked_total == 201).await;
    assert_eq!((s.connects_total, outbox.left()), (connects, 0));
    rig.end().await;
}

/// A status, long before the next one would be due.
async fn at_once(heard: &mut mpsc::UnboundedReceiver<Publish>) -> Publish {
    let soon = tokio::time::timeout(Duration::from_secs(20), heard.recv());
    soon.await.expect("at once, not in a minute").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_not_answered_comes_at_once_on_the_next_connection() {
    let broker = Mosquitto::open();
    let (_c, mut heard) = listener(&broker.url(), "desk", &topics().status()).await;
    let (url, line) = line_to(broker.port).await;
    let (said, status_rx) = watch::channel(None);
    let mut rig = deliver_saying(config(url), Arc::default(), status_rx);
    rig.until("connected", |s| s.connected).await;
    line.send_replace(Line::Held);
    said.send_replace(Some(status()));
    at_once(&mut heard).await;
    line.send_replace(Line::Cut);
    rig.until("lost", |s| !s.connected).await;
    line.send_replace(Line::Open);
    at_once(&mut heard).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_refused_is_tried_at_once_on_the_next_connection() {
    let acl = "allow_anonymous true\nacl_file DIR/acl\nmax_queued_messages 1000";
    let mut broker = Mosquitto::start_with(free_port(), acl, |dir| {
        std::fs::write(dir.join("acl"), "topic readwrite gatewatch/#\ntopic deny gatewatch/v1/15BB/gate-01/status\n")
            .unwrap();
    });
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add_all(1..=1);
    let (_said, status_rx) = watch::channel(Some(status()));
    let mut rig = deliver_saying(config(broker.url()), outbox, status_rx);
    // It is sent after the status, and answered after it.
    rig.until("a message", |s| s.acked_total == 1).await;
    broker.kill();
    rig.until("lost", |s| !s.connected).await;
    std::fs::write(broker.dir.path().join("acl"), "topic readwrite gatewatch/#\n").unwrap();
    broker.restart();
    let (_c, mut heard) = listener(&broker.url(), "desk", &topics().status()).await;
    at_once(&mut heard).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_will_is_published_when_the_socket_dies() {
    let broker = Mosquitto::open();
    let (_c, mut states) = listener(&broker.url(), "watch", &topics().state()).await;
    let mut rig = deliver(MqttConfig { will_delay_s: 1, ..config(broker.url()) }, Arc::default());
    rig.until("connected", |s| s.connected).await;
    let on: Value = serde_json::from_slice(&next(&mut states).await.payload).unwrap();
    assert_eq!(on["online"], true);
    // Aborting drops the socket without DISCONNECT, as a killed process does.
    rig.task.abort();
    let off: Value = serde_json::from_slice(&next(&mut states).await.payload).unwrap();
    assert_eq!(off, json!({"online": false, "epoch": 7, "session": "s1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_answered_with_their_correlation_data() {
    let broker = Mosquitto::open();
    let (client, mut answers) = listener(&broker.url(), "desk", "desk/replies").await;
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    for (name, body, want) in [
        ("echo", r#"{"cameras": 2}"#, json!({"ok": true, "result": {"cameras": 2}})),
        ("ping", "", json!({"ok": true, "result": "pong"})),
    ] {
        assert_eq!(ask(&client, &mut answers, name, body).await, want);
    }
    let no = ask(&client, &mut answers, "reboot", "{}").await;
    assert!(no["ok"] == false && no["error"].as_str().unwrap().contains("echo, ping"));
    let no = ask(&client, &mut answers, "echo", "not json").await;
    assert!(no["ok"] == false && no["error"].as_str().unwrap().contains("wants JSON"));
    let no = ask(&client, &mut answers, "long", "").await;
    assert!(no["ok"] == false && no["error"].as_str().unwrap().contains("too large: ask for less"), "{no}");
    assert_eq!(ask(&client, &mut answers, "ping", "").await["result"], "pong");
    assert_eq!(rig.status.borrow().connects_total, 1, "on the same connection");
    rig.end().await;
}

async fn ask(client: &AsyncClient, answers: &mut mpsc::UnboundedReceiver<Publish>, name: &str, body: &str) -> Value {
    let properties = PublishProperties {
        response_topic: Some("desk/replies".into()),
        correlation_data: Some(format!("nr-{name}").into_bytes().into()),
        ..Default::default()
    };
    let topic = topics().command(name);
    client.publish_with_properties(topic, QoS::AtLeastOnce, false, body.to_owned(), properties).await.unwrap();
    let answer = next(answers).await;
    let correlation = answer.properties.unwrap().correlation_data.unwrap();
    assert_eq!(&*correlation, format!("nr-{name}").as_bytes());
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_and_bookings_reach_the_handler_for_box_and_office() {
    let broker = Mosquitto::open();
    let (client, _rx) = listener(&broker.url(), "clearance", "nothing").await;
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    *rig.inbox.refuse_first.lock().unwrap() = 2;
    let (base, office) = (topics().base(), "gatewatch/v1/15BB");
    for (topic, body) in [
        (format!("{base}/in/declaration"), r#"{"n":1}"#),
        (format!("{base}/in/booking"), "{broken"),
        (format!("{base}/in/booking"), r#"{"bad":1}"#),
        (format!("{office}/in/booking"), r#"{"n":2}"#),
    ] {
        client.publish(topic, QoS::AtLeastOnce, false, body).await.unwrap();
    }
    let inbox = rig.inbox.clone();
    inbox.until(2).await;
    assert_eq!(
        *inbox.taken.lock().unwrap(),
        [(Inbound::Declaration, Scope::Box, json!({"n": 1})), (Inbound::Booking, Scope::Office, json!({"n": 2}))]
    );
    rig.end().await;
}

impl Inbox {
    async fn until(&self, count: usize) {
        let all = async {
            while self.taken.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = tokio::time::timeout(LIMIT, all).await;
        assert!(done.is_ok(), "{} facts of {count}", self.taken.lock().unwrap().len());
    }

    fn numbers(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.taken.lock().unwrap().iter().filter_map(|(_, _, b)| b["n"].as_i64()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_sent_while_the_box_is_away_wait_for_it() {
    let broker = Mosquitto::open();
    let (client, _rx) = listener(&broker.url(), "clearance", "nothing").await;
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    rig.end().await;
    let topic = format!("{}/in/booking", topics().base());
    for n in 1..=20 {
        client.publish(topic.clone(), QoS::AtLeastOnce, false, format!("{{\"n\":{n}}}")).await.unwrap();
    }
    let rig = deliver(config(broker.url()), Arc::default());
    rig.inbox.until(20).await;
    assert_eq!(rig.inbox.numbers(), (1..=20).collect::<Vec<_>>());
    assert_eq!(*rig.inbox.fresh.lock().unwrap(), 20, "new to the box, though late");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_fact_says_nothing_about_its_sender_now() {
    let broker = Mosquitto::open();
    let (client, _rx) = listener(&broker.url(), "clearance", "nothing").await;
    let topic = format!("{}/in/booking", topics().base());
    client.publish(topic, QoS::AtLeastOnce, true, r#"{"n":1}"#).await.unwrap();
    // On one connection the broker takes publishes in order: what comes after shows that it has the first.
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    rig.inbox.until(1).await;
    assert_eq!(*rig.inbox.fresh.lock().unwrap(), 0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_morning_of_facts_at_once_is_taken_whole() {
    let embedded = EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let mosquitto = Mosquitto::open();
    for url in [embedded.url(), mosquitto.url()] {
        let mut rig = deliver(config(url.clone()), Arc::default());
        rig.until("connected", |s| s.connected).await;
        let topic = format!("{}/in/declaration", topics().base());
        let facts = (1..=600).map(|n| (topic.clone(), format!("{{\"n\":{n}}}").into_bytes())).collect();
        gatewatch::mqtt::publish::publish_all(&config(url.clone()), "clearance", facts).await.unwrap();
        rig.inbox.until(600).await;
        assert_eq!(rig.inbox.numbers(), (1..=600).collect::<Vec<_>>(), "{url}");
        rig.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_facts_that_want_answers_does_not_stop_the_intake() {
    let broker = Mosquitto::open();
    let (client, _rx) = listener(&broker.url(), "clearance", "nothing").await;
    let mut rig = deliver(config(broker.url()), Arc::default());
    rig.until("connected", |s| s.connected).await;
    let topic = format!("{}/in/booking", topics().base());
    let properties = PublishProperties { response_topic: Some("desk/replies".into()), ..Default::default() };
    for _ in 0..5000 {
        client
            .publish_with_properties(topic.clone(), QoS::AtMostOnce, false, r#"{"flood":1}"#, properties.clone())
            .await
            .unwrap();
    }
    client.publish(topic, QoS::AtLeastOnce, false, r#"{"n":1}"#).await.unwrap();
    let after = async {
        while rig.inbox.numbers().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let taken = || rig.inbox.taken.lock().unwrap().len();
    assert!(tokio::time::timeout(LIMIT, after).await.is_ok(), "stands still after {} facts", taken());
    rig.end().await;
}

// ---- TLS --------------------------------------------------------------------------------------------------------

fn openssl(dir: &Path, args: &str) {
    let args = args.replace("DIR", dir.to_str().unwrap());
    let ok = Command::new("openssl").args(args.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(ok.unwrap().success(), "openssl {args}");
}

/// An authority (`ca.pem`) and what it signed for this machine (`s.pem`, `s.key`).
pub fn certificates(dir: &Path) {
    openssl(dir, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout DIR/ca.key -out DIR/ca.pem");
    openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout DIR/s.key -out DIR/s.csr");
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(
        dir,
        "x509 -req -in DIR/s.csr -CA DIR/ca.pem -CAkey DIR/ca.key -CAcreateserial -days 2 -extfile DIR/ext -out DIR/s.pem",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_own_authority_works_and_a_foreign_one_is_said() {
    let tls = "allow_anonymous true\ncertfile DIR/s.pem\nkeyfile DIR/s.key";
    let broker = Mosquitto::start_with(free_port(), tls, certificates);
    let url = format!("mqtts://127.0.0.1:{}", broker.port);
    let ca: PathBuf = broker.dir.path().join("ca.pem");
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.add(1, 0, &topics().event(), b"1".to_vec());
    let mut rig = deliver(MqttConfig { ca_file: Some(ca), ..config(url.clone()) }, outbox);
    rig.until("over TLS", |s| s.acked_total == 1).await;
    rig.end().await;

    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    let mut rig = deliver(MqttConfig { ca_file: Some(other.path().join("ca.pem")), ..config(url) }, Arc::default());
    let s = rig.until("not trusted", |s| s.problem == Some("not_trusted")).await;
    assert!(s.reason.unwrap().contains("mqtt.ca_file"));
    rig.end().await;
}

// ---- the live page ----------------------------------------------------------------------------------------------

fn event_json(seq: u64, lane: &str, sha256: &str, link: Value) -> Value {
    let id = ulid::Ulid::from_parts(1_700_000_000_000, u128::from(seq)).to_string();
    let at = utc_now().to_rfc3339();
    let severity = if lane == "alert" { 4 } else { 1 + seq % 2 };
    json!({
        "specversion": "1.0", "id": id, "source": "/office/15BB/box/gate-01", "type": "gatewatch.event.dwell.v1",
        "subject": "area/bay-1", "time": at, "datacontenttype": "application/json",
        "data": {
            "revision": 1, "phase": "new", "severity": severity, "rule": "dwell", "office": "15BB", "box": "gate-01",
            "camera": {"id": "bay-1", "name": "Bãi kiểm hoá 1", "width": 1280, "height": 720},
            "area": {"id": "bay-1", "name": "Ô kiểm hoá số 1", "kind": "inspection_bay", "outline": []},
            "capture": {"start": at, "best": at, "end": null, "time_source": "arrival", "uncertainty_ms": 500,
                "clock_offset_ms": null},
            "duty_day": "2026-03-02", "dwell_ms": 61_000, "direction": null, "end_reason": null,
            "object": {"track_id": id, "label": "truck", "score": 0.91, "box_px": [1.0, 1.0, 9.0, 9.0],
                "box_frac": [0.1, 0.1, 0.2, 0.2], "path": []},
            "link": link,
            "snapshot": {"topic": format!("gatewatch/v1/15BB/gate-01/snapshot/{id}"), "sha256": sha256, "bytes": 1,
                "clean_sha256": "00"},
            "snapshot_missing": null, "model": {"name": "m", "sha256": "00"}, "config_digest": "00",
            "sequence": {"epoch": 1, "seq": seq, "historical": false}
        }
    })
}

fn link_json(verdict: &str, keys: &[&str]) -> Value {
    let links: Vec<Value> = keys
        .iter()
        .enumerate()
        .map(|(i, k)| {
            json!({"decl_key": k, "amend_no": null, "method": "booking", "confidence": 0.9, "state": "linked",
                "booking_id": "b", "containers": ["MSKU1234565"], "channel": i % 3 + 1, "declaration_known": true,
                "reason": "in the booked window"})
        })
        .collect();
    json!({"verdict": verdict, "links": links, "reason": "r", "feed_age_s": 4, "feed_stale": false})
}

/// Set `GATEWATCH_PAGE_HOLD_S` to look at the page with a browser, `GATEWATCH_ASSETS` to see real pictures.
#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_shows_each_event_once_with_its_own_picture() {
    use sha2::Digest;
    let broker = Mosquitto::open();
    let subscriber = Arc::new(gatewatch::mqtt::Subscriber::start(config(broker.url()), "page").unwrap());
    let mut up = subscriber.connected();
    tokio::time::timeout(LIMIT, up.wait_for(|c| *c)).await.unwrap().unwrap();
    let desk = gatewatch::desk::LiveDesk::start("127.0.0.1:0".parse().unwrap(), subscriber).await.unwrap();
    gatewatch::install_crypto();
    let mut page = reqwest::get(format!("{}live", desk.url())).await.unwrap();
    let (client, _rx) = listener(&broker.url(), "box", "nothing").await;
    let say = |topic: String, body: Vec<u8>| client.publish(topic, QoS::AtLeastOnce, false, body);
    say(topics().state(), br#"{"online":true}"#.to_vec()).await.unwrap();
    let links =
        [("linked", vec!["10512345678"]), ("ambiguous", vec!["10512345679", "30598765432"]), ("unlinked", vec![])];
    for seq in 1..=3_u64 {
        let (verdict, keys) = &links[usize::try_from(seq).unwrap() - 1];
        let file = std::env::var("GATEWATCH_ASSETS").ok().map(|d| {
            format!(
                "{d}/labelled/coco128/images/000000000{}.jpg",
                ["110", "508", "575"][usize::try_from(seq).unwrap() - 1]
            )
        });
        let jpeg = file.and_then(|f| std::fs::read(f).ok()).unwrap_or_else(|| vec![u8::try_from(seq).unwrap(); 50]);
        let sha = hex::encode(sha2::Sha256::digest(&jpeg));
        let named = if seq == 3 { "0".repeat(64) } else { sha };
        let lane = if seq == 2 { "alert" } else { "event" };
        let event = event_json(seq, lane, &named, link_json(verdict, keys));
        let id = event["id"].as_str().unwrap();
        say(format!("{}/snapshot/{id}", topics().base()), jpeg).await.unwrap();
        for _ in 0..2 {
            say(format!("{}/{lane}", topics().base()), event.to_string().into_bytes()).await.unwrap();
        }
    }
    let counted = async {
        while desk.stats().duplicates < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, counted).await.unwrap();
    let stats = desk.stats();
    assert_eq!((stats.unique_events, stats.event_messages, stats.gaps), (3, 3, 0));
    assert_eq!((stats.pictures_ok, stats.pictures_mismatch, stats.pictures_missing), (2, 1, 1));
    assert_eq!(stats.links_by_method["booking"], 3);
    let mut text = String::new();
    while text.matches("event: change").count() < 4 {
        let chunk = tokio::time::timeout(LIMIT, page.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("\"picture\":\"mismatch\"") && text.contains("\"picture\":\"ok\""), "{text}");
    gatewatch::install_crypto();
    let strange = reqwest::Client::new().get(desk.url()).header("host", "evil.example").send().await.unwrap();
    assert_eq!(strange.status(), 403);
    if let Ok(hold) = std::env::var("GATEWATCH_PAGE_HOLD_S") {
        println!("PAGE {}", desk.url());
        tokio::time::sleep(Duration::from_secs(hold.parse().unwrap())).await;
    }
}
