//! The desk under load, run by hand: 200 boxes, 50 alerts a second, in the middle a backlog of 20,000 messages, 30 open
//! consoles; on both databases. Nothing may be lost; how long an alert takes to a page is printed. The boxes, the broker and
//! the consoles run on the same machine and take their part of it.
//!
//! ```sh
//! GATEWATCH_LOAD_S=600 cargo test --test suite desk_load -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `GATEWATCH_LOAD_P95_MS=1000` makes more than that, over the whole time, a failure.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gatewatch::clock::UtcMillis;
use gatewatch::config::MqttConfig;
use gatewatch::desk::config::DatabaseConfig;
use gatewatch::mqtt::connect::plain_options;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::desk::{Browser, Room, alert, body_of, flushing_postgres};

const BOXES: usize = 200;
const A_SECOND: u32 = 50;
const BACKLOG: usize = 20_000;
const CONSOLES: usize = 30;

/// Makes the messages of all boxes, each with its next number.
struct Boxes {
    template: Value,
    next: Vec<i64>,
}

impl Boxes {
    fn new() -> Self {
        Self { template: body_of(&alert("15BB", "x", 1, 2, None)), next: vec![1; BOXES] }
    }

    /// An alert of box `n`; `late`: it happened a day ago.
    fn alert(&mut self, n: usize, late: bool) -> (String, String, Vec<u8>) {
        let (office, name) = (format!("1{}BB", n % 10), format!("gate-{n:03}"));
        let (id, now) = (ulid::Ulid::generate().to_string(), gatewatch::clock::utc_now());
        let at = if late { UtcMillis(now.0 - 86_400_000) } else { now }.to_rfc3339();
        let mut body = self.template.clone();
        body["id"] = json!(id);
        body["source"] = json!(format!("/office/{office}/box/{name}"));
        body["time"] = json!(at);
        let data = &mut body["data"];
        (data["office"], data["box"]) = (json!(office), json!(name));
        data["severity"] = json!(2 + n % 3);
        data["capture"] = json!({"start": at, "best": at, "end": null, "time_source": "rtcp_ntp"});
        data["sequence"] = json!({"epoch": 7, "seq": self.next[n], "historical": late});
        self.next[n] += 1;
        (id, format!("gatewatch/v1/{office}/{name}/alert"), body.to_string().into_bytes())
    }
}

/// A client that publishes; counts what the broker took.
struct Publisher {
    client: AsyncClient,
    acked: Arc<Mutex<usize>>,
}

impl Publisher {
    fn new(room: &Room, id: &str) -> Self {
        let config = MqttConfig { url: room.broker.url(), ..MqttConfig::default() };
        let mut options = plain_options(&config, id).unwrap();
        options.set_manual_acks(false);
        let (client, mut events) = AsyncClient::new(options, 100);
        let acked = Arc::<Mutex<usize>>::default();
        let counted = Arc::clone(&acked);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::PubAck(_)) = event {
                    *counted.lock().unwrap() += 1;
                }
            }
        });
        Self { client, acked }
    }

    async fn send(&self, topic: String, body: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, body).await.unwrap();
    }

    async fn until_acked(&self, wanted: usize) {
        let deadline = Instant::now() + Duration::from_secs(300);
        while *self.acked.lock().unwrap() < wanted {
            assert!(Instant::now() < deadline, "the broker took {} of {wanted}", *self.acked.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// When live alerts were sent, and how long each took to each console.
#[derive(Default)]
struct Times {
    sent: HashMap<String, Instant>,
    /// When sent, how long.
    seen: Vec<(Instant, Duration)>,
    refreshes: usize,
}

type Shared = Arc<Mutex<Times>>;

/// One open page: takes changes, and its list anew when told to.
async fn console(mut person: Browser, times: Shared, stop: CancellationToken) -> usize {
    let mut known = HashSet::new();
    while !stop.is_cancelled() {
        let request = person.client.get(format!("{}/alerts/stream?view=open", person.base));
        let answer = request.header("cookie", person.cookie_header()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut events, mut text) = (answer.bytes_stream(), String::new());
        let mut refresh_at: Option<tokio::time::Instant> = None;
        loop {
            let due = refresh_at.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
            let chunk = tokio::select! {
                c = events.next() => c,
                () = stop.cancelled() => None,
                () = tokio::time::sleep_until(due) => {
                    refresh_at = None;
                    let page = person.get("/alerts?view=open&similar=show").await.text;
                    note(&times, &mut known, page.split("id=\"a-").skip(1).filter_map(|r| r.split('"').next()));
                    continue;
                }
            };
            let Some(Ok(chunk)) = chunk else { break };
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if event.contains("event: refresh") {
                    times.lock().unwrap().refreshes += usize::from(refresh_at.is_none());
                    // As the page's script does: not all in the same moment.
                    let wait = Duration::from_millis(2000 + rand::random_range(0..3000));
                    refresh_at.get_or_insert(tokio::time::Instant::now() + wait);
                } else if let Some(id) = event.split("\"id\":\"").nth(1).and_then(|r| r.split('"').next()) {
                    note(&times, &mut known, [id].into_iter());
                }
            }
        }
    }
    known.len()
}

fn note<'a>(times: &Shared, known: &mut HashSet<String>, ids: impl Iterator<Item = &'a str>) {
    let now = Instant::now();
    let mut times = times.lock().unwrap();
    for id in ids {
        let Some(sent) = times.sent.get(id).copied() else { continue };
        if known.insert(id.to_owned()) {
            times.seen.push((sent, now - sent));
        }
    }
}

/// An alert that a console never showed (its list is the newest 150) counts as one that took for ever.
fn figures(name: &str, times: &Times, from: Instant, to: Instant) -> Option<Duration> {
    let within = |at: &Instant| *at >= from && *at < to;
    let mut all: Vec<Duration> = times.seen.iter().filter(|(at, _)| within(at)).map(|(_, took)| *took).collect();
    all.sort();
    let wanted = times.sent.values().filter(|at| within(at)).count() * CONSOLES;
    let at = |q: f64| all.get(((wanted as f64 - 1.0) * q).round() as usize).copied();
    let words = |q| at(q).map_or("never".into(), |took| format!("{} ms", took.as_millis()));
    println!(
        "  {name:<28} {:>7} of {wanted:>7} sights   p50 {:>8}   p95 {:>8}   p99 {:>8}   longest {:>8}",
        all.len(),
        words(0.5),
        words(0.95),
        words(0.99),
        all.last().map_or(0, |d| d.as_millis())
    );
    at(0.95)
}

async fn count(database: &DatabaseConfig, room: &Room, select: &'static str) -> i64 {
    use sqlx::Connection;
    match &database.url {
        Some(url) => {
            let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query_scalar(select).fetch_one(&mut conn).await.unwrap()
        }
        None => {
            let settings = sqlx::sqlite::SqliteConnectOptions::new().filename(room.dir.path().join("desk.db"));
            let mut conn = sqlx::SqliteConnection::connect_with(&settings.read_only(true)).await.unwrap();
            sqlx::query_scalar(select).fetch_one(&mut conn).await.unwrap()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load; run by hand"]
async fn two_hundred_boxes_on_sqlite() {
    load("SQLite", DatabaseConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of load; run by hand"]
async fn two_hundred_boxes_on_postgresql() {
    if let Some((_server, database)) = flushing_postgres() {
        load("PostgreSQL", database).await;
    }
}

async fn load(name: &str, database: DatabaseConfig) {
    let seconds = std::env::var("GATEWATCH_LOAD_S").ok().and_then(|s| s.parse().ok()).unwrap_or(120_u32);
    let room = Room::start(database.clone(), |c| c.mqtt.gap_after_s = 60).await;
    let mut admin = room.administrator().await;
    let officer = room.account(&mut admin, "an", "officer", "*").await;
    let (times, stop) = (Shared::default(), CancellationToken::new());
    let consoles: Vec<_> =
        (0..CONSOLES).map(|_| tokio::spawn(console(officer.twin(), times.clone(), stop.clone()))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "{name}: {BOXES} boxes, {A_SECOND} alerts/s for {seconds} s, backlog of {BACKLOG} after {} s, {CONSOLES} consoles; load {}",
        seconds / 2,
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );

    let boxes = Arc::new(tokio::sync::Mutex::new(Boxes::new()));
    let backlog = tokio::spawn(send_backlog(
        Publisher::new(&room, "backlog"),
        boxes.clone(),
        Duration::from_secs(u64::from(seconds) / 2),
    ));
    let live = Publisher::new(&room, "live");
    let started = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / A_SECOND);
    let total = (seconds * A_SECOND) as usize;
    for i in 0..total {
        pace.tick().await;
        let (id, topic, body) = boxes.lock().await.alert(i % BOXES, false);
        times.lock().unwrap().sent.insert(id, Instant::now());
        live.send(topic, body).await;
    }
    let ended = Instant::now();
    live.until_acked(total).await;
    let (burst, burst_taken) = backlog.await.unwrap();
    let wanted = (total + BACKLOG) as i64;
    let mut stored = 0;
    for _ in 0..1200 {
        stored = count(&database, &room, "SELECT COUNT(*) FROM message").await;
        if stored == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let drained = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    stop.cancel();
    let mut seen = Vec::new();
    for one in consoles {
        seen.push(one.await.unwrap());
    }
    let sum = async |s: &'static str| count(&database, &room, s).await;
    let (alerts, gaps, clashes) = (
        sum("SELECT COUNT(*) FROM alert").await,
        sum("SELECT COUNT(*) FROM gap").await,
        sum("SELECT COUNT(*) FROM clash").await,
    );
    let took = ended - started;
    println!(
        "  sent {wanted} in {:.1} s, stored {stored}, alerts {alerts}, holes {gaps}, clashes {clashes}",
        took.as_secs_f64()
    );
    println!(
        "  the broker took the backlog in {:.1} s; everything was stored {:.1} s after the last alert",
        burst_taken.as_secs_f64(),
        (drained - ended).as_secs_f64()
    );
    println!(
        "  live alerts seen by each console: {} to {} of {total}; lists taken anew: {}; load {}",
        seen.iter().min().unwrap(),
        seen.iter().max().unwrap(),
        times.lock().unwrap().refreshes,
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
    let p95 = {
        let all = times.lock().unwrap();
        figures("before the backlog", &all, started, burst);
        figures("from the backlog's beginning", &all, burst, ended);
        figures("all", &all, started, ended)
    };
    assert_eq!((stored, alerts, gaps, clashes), (wanted, wanted, 0, 0), "nothing lost, nothing doubled");
    if let Some(limit) = std::env::var("GATEWATCH_LOAD_P95_MS").ok().and_then(|s| s.parse().ok()) {
        assert!(p95.is_some_and(|p95| p95 <= Duration::from_millis(limit)), "{p95:?}");
    }
    room.desk.stop().await;
}

/// After a while, everything at once; gives when it began and how long the broker took.
async fn send_backlog(
    publisher: Publisher,
    boxes: Arc<tokio::sync::Mutex<Boxes>>,
    after: Duration,
) -> (Instant, Duration) {
    tokio::time::sleep(after).await;
    let began = Instant::now();
    for i in 0..BACKLOG {
        let (_, topic, body) = boxes.lock().await.alert(i % BOXES, true);
        publisher.send(topic, body).await;
    }
    publisher.until_acked(BACKLOG).await;
    (began, began.elapsed())
}
