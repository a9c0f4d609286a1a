//! Two workers of one desk on one PostgreSQL: the broker deals messages out to them, nothing is doubled or lost, pages of
//! one show what the other took, and one goes on alone.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use gatewatch::desk::config::DatabaseConfig;
use gatewatch::desk::{Desk, DeskConfig};
use serde_json::Value;
use sqlx::Connection;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::desk::{Browser, Room, alert, postgres};
use crate::support::until;

/// Boxes and messages of each.
const BOXES: i64 = 8;
const EACH: i64 = 60;
const ALERTS: &str = "/alerts/stream?view=open";

fn id(office: usize, seq: i64) -> String {
    format!("01JC{office:04}{seq:018}")
}

fn office(n: usize) -> String {
    format!("1{n}BB")
}

/// Messages of all boxes, mixed.
fn messages(from: i64, to: i64) -> Vec<(String, Vec<u8>)> {
    let each = (from..=to).flat_map(|seq| (0..BOXES as usize).map(move |n| (n, seq)));
    each.map(|(n, seq)| alert(&office(n), &id(n, seq), seq, 2, None)).collect()
}

async fn one(url: &str, select: &'static str) -> i64 {
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(select).fetch_one(&mut conn).await.unwrap()
}

async fn until_stored(url: &str, wanted: i64) {
    let counted = async || Some(one(url, "SELECT COUNT(*) FROM message").await).filter(|n| *n == wanted);
    until(&format!("{wanted} messages"), counted).await;
}

fn share(config: &mut DeskConfig, client: &str) {
    config.mqtt.share = Some("duty".into());
    config.mqtt.client_id = client.into();
    config.mqtt.keep_alive_s = 1;
    // Nobody waits the minute that a configuration needs at least. No box says how it is after it came online, so that none is silent
    // however slow the machine is.
    config.alerts.box_away_after_s = 2;
}

/// A box that is there, or that the broker says is gone.
fn state(online: bool) -> (String, Vec<u8>) {
    ("gatewatch/v1/19BB/gate-01/state".into(), serde_json::json!({"online": online}).to_string().into_bytes())
}

/// It says how it is, by which it is heard.
fn status() -> (String, Vec<u8>) {
    ("gatewatch/v1/19BB/gate-01/status".into(), b"{}".to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_messages_and_nothing_is_doubled_or_lost() {
    let Some((_server, database)) = postgres() else { return };
    let url = database.url.clone().unwrap();
    let room = Room::start(database.clone(), |c| share(c, "desk-1")).await;
    let second = start_second(&room, database).await;
    let mut admin = room.administrator().await;
    let mut here = room.account(&mut admin, "an", "officer", "*").await;
    let mut there = here.twin();
    there.base = format!("http://{}", second.addr);
    let page = there.get("/alerts").await.expect_status(200);
    assert!(page.has("<span>an · Cán bộ trực</span>"), "one session for both workers: {}", page.text);
    let mut streams = vec![open_stream(&here, ALERTS).await, open_stream(&there, ALERTS).await];

    // Each worker alone holds a part: both take some.
    room.say(messages(1, EACH)).await;
    until_stored(&url, BOXES * EACH).await;
    let sum = |s: &'static str| one(&url, s);
    assert_eq!(sum("SELECT COUNT(*) FROM alert").await, BOXES * EACH);
    assert_eq!(
        (sum("SELECT COUNT(*) FROM clash").await, sum("SELECT COUNT(*) FROM gap").await),
        (0, 0),
        "in any order"
    );
    assert_eq!(sum("SELECT COUNT(*) FROM stream WHERE high = 60").await, BOXES);
    let worked = [room.desk.stored(), second.stored()];
    assert!(
        worked.iter().all(|n| *n > 0) && worked.iter().sum::<u64>() >= (BOXES * EACH) as u64,
        "both took some: {worked:?}"
    );
    assert_eq!(sum("SELECT COUNT(*) FROM lease WHERE name = 'duties'").await, 1, "one leads");

    // Facts of the clearance side are dealt out too: whoever takes one, all have it.
    let fact = |n: u64| {
        let body = serde_json::json!({"decl_no": 10_000_001_000 + n / 2, "version": n % 2 + 1, "channel": n % 2 + 1});
        ("gatewatch/v1/15BB/in/declaration".to_owned(), body.to_string().into_bytes())
    };
    room.say((0..80).map(fact).collect()).await;
    let newest = "SELECT COUNT(*) FROM fact WHERE state = 'current' AND version = 2";
    let kept = async || Some(one(&url, newest).await).filter(|n| *n == 40);
    until("the newest version of every fact", kept).await;
    let other = "SELECT COUNT(*) FROM fact WHERE state IN ('superseded', 'stale') AND version = 1";
    until("every older one beside it", async || Some(one(&url, other).await).filter(|n| *n == 40)).await;

    // A page of each worker hears what either of them took.
    let last: Vec<_> = (0..BOXES as usize).map(|n| alert(&office(n), &id(n, EACH + 1), EACH + 1, 3, None)).collect();
    room.say(last).await;
    for stream in &mut streams {
        for n in 0..BOXES as usize {
            stream.hears(&id(n, EACH + 1)).await;
        }
    }
    // A decision on one worker shows on the page of the other.
    here.get("/alerts").await;
    here.post(&format!("/alerts/{}/ack", id(0, EACH + 1)), &[]).await.expect_status(303);
    streams[1].hears("Đã xác nhận").await;

    // A box goes offline: both hear it, one tells it, and both say when it is back.
    room.say(vec![state(false), status()]).await;
    for stream in &mut streams {
        stream.hears("Trạm camera MẤT LIÊN LẠC").await;
        stream.hears("chưa trở lại").await;
    }
    room.say(vec![status()]).await;
    room.say(vec![state(true)]).await;
    for stream in &mut streams {
        stream.hears("có liên lạc lại lúc").await;
    }
    assert_eq!(sum("SELECT COUNT(*) FROM alert WHERE rule = 'box_away' AND phase = 'end'").await, 1);

    // A tip that is issued on one worker calls on a page of the other.
    let mut leader = room.account(&mut admin, "binh", "shift_leader", "*").await;
    let mut field = room.account(&mut admin, "cuong", "field", "15BB").await;
    field.base.clone_from(&there.base);
    let mut calls = open_stream(&field, "/tips/stream").await;
    calls.hears("\"count\":0").await;
    leader.get("/tips/new").await;
    let form = [("office", "15BB"), ("containers", "CSQU3054383"), ("subject", "x"), ("due", "02/03/2026 17:00")];
    let form = [&form[..], &[("suspicion", "value")]].concat();
    let tip = leader.post("/tips/new", &form).await.expect_status(303).to;
    leader.get(&tip).await;
    leader.post(&format!("{tip}/lead/issue"), &[]).await.expect_status(303);
    calls.hears(&tip).await;
    calls.hears("\"count\":1").await;
    assert!(field.get("/tips").await.expect_status(200).has(">1</a>"), "beside the menu's entry");

    // The one that leads goes away; the other takes everything, and leads.
    follows(&url, second, &mut here).await;
    room.say(messages(EACH + 2, EACH + 5)).await;
    let all = BOXES * (EACH + 5);
    // What was dealt to the one that is gone waits for it: the other asks the boxes for it, or it comes back.
    let database = DatabaseConfig { url: Some(url.clone()), ..DatabaseConfig::default() };
    let again = start_second(&room, database).await;
    until_stored(&url, all).await;
    let alerts = "SELECT COUNT(*) FROM alert WHERE rule <> 'box_away'";
    assert_eq!((sum("SELECT COUNT(*) FROM clash").await, sum(alerts).await), (0, all));
    assert_eq!(sum("SELECT COUNT(*) FROM box_outage").await, 1, "told once, by one of them");
    again.stop().await;
    room.desk.stop().await;
}

/// The second worker leads and is stopped; the first one follows it, and publishes.
async fn follows(url: &str, second: Desk, here: &mut Browser) {
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    // The holder keeps it as long as it renews it in time.
    let give = "UPDATE lease SET holder = 'desk-2', until_ms = $1 WHERE name = 'duties'";
    let until_ms = gatewatch::clock::utc_now().0 + 10_000;
    sqlx::query(give).bind(until_ms).execute(&mut conn).await.unwrap();
    let renewed = async || {
        Some(one(url, "SELECT COALESCE(MAX(until_ms), 0) FROM lease WHERE name = 'duties' AND holder = 'desk-2'").await)
    };
    until("the second worker to lead", async || renewed().await.filter(|at| *at > until_ms)).await;
    second.stop().await;
    let bind = format!("/alerts/{}/bind", id(0, EACH + 1));
    here.get(&format!("/alerts/{}", id(0, EACH + 1))).await.expect_status(200);
    here.post(&bind, &[("decl", "302222222220"), ("action", "bind")]).await.expect_status(303);
    let led = async || {
        Some(one(url, "SELECT COUNT(*) FROM lease WHERE name = 'duties' AND holder = 'desk-1'").await)
            .filter(|n| *n == 1)
    };
    until("the first worker to lead", led).await;
    let sent = "SELECT COUNT(*) FROM outgoing WHERE topic LIKE '%/in/bind' AND sent_ms IS NOT NULL";
    until("the order to be published", async || Some(one(url, sent).await).filter(|n| *n == 1)).await;
}

async fn start_second(room: &Room, database: DatabaseConfig) -> Desk {
    let mut config = DeskConfig { database, ..DeskConfig::default() };
    config.desk.dir = room.dir.path().into();
    config.mqtt.url = room.broker.url();
    config.mqtt.gap_after_s = 1;
    config.http.listen = ([127, 0, 0, 1], 0).into();
    share(&mut config, "desk-2");
    let desk = Desk::start(config).await.unwrap();
    assert!(desk.first_password.is_none());
    let mut connected = desk.connected();
    until("the second worker's subscriptions", async || connected.borrow_and_update().then_some(())).await;
    desk
}

/// An open alerts page.
struct Open {
    events: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

async fn open_stream(person: &Browser, path: &str) -> Open {
    let request = person.client.get(format!("{}{path}", person.base));
    let answer = request.header("cookie", person.cookie_header()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    Open { events: answer.bytes_stream().boxed(), text: String::new() }
}

impl Open {
    async fn hears(&mut self, what: &str) {
        let wait = async {
            while !self.text.contains(what) {
                self.text.push_str(&String::from_utf8_lossy(&self.events.next().await.unwrap().unwrap()));
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap_or_else(|_| panic!("the page never heard {what}"));
    }
}

#[test]
fn ids_are_ids() {
    assert_eq!(id(3, 7).len(), 26);
    let _: Value = serde_json::from_slice(&messages(1, 1)[0].1).unwrap();
}

/// A way to the database that can swallow what goes over it: neither side hears of that. Later connections are well.
struct Way {
    url: String,
    swallowed: Arc<Mutex<CancellationToken>>,
}

impl Way {
    async fn to(url: &str) -> Self {
        let (head, rest) = url.rsplit_once(':').unwrap();
        let (port, name) = rest.split_once('/').unwrap();
        let to = (Ipv4Addr::LOCALHOST, port.parse::<u16>().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("{head}:{}/{name}", listener.local_addr().unwrap().port());
        let swallowed = Arc::<Mutex<CancellationToken>>::default();
        let of_new = swallowed.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let swallowed = of_new.lock().unwrap().clone();
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        // Both stay open.
                        () = swallowed.cancelled() => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, swallowed }
    }

    fn swallow(&self) {
        std::mem::take(&mut *self.swallowed.lock().unwrap()).cancel();
    }
}

/// Asks each half second, for as long.
async fn within(limit_s: u64, what: &str, mut there: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !there().await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(limit_s), asked).await.is_ok(), "waited in vain for: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_within_a_transaction_holds_nobody_up_for_good() {
    let Some((_server, database)) = postgres() else { return };
    let url = database.url.clone().unwrap();
    let way = Way::to(&url).await;
    let room = Room::start(DatabaseConfig { url: Some(way.url.clone()), ..database }, |_| {}).await;
    let ready = async || reqwest::get(room.url("/readyz")).await.unwrap().status().as_u16();
    within(30, "the desk to be ready", async || ready().await == 200).await;
    // Another one writes for long, so that the desk waits in the middle of its transaction.
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    let write = "BEGIN; UPDATE counter SET value = value + 1 WHERE name = 'writer'";
    sqlx::raw_sql(write).execute(&mut other).await.unwrap();
    room.say(messages(1, 1)).await;
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    within(30, "the desk to wait", async || one(&url, waits).await > 0).await;
    way.swallow();
    // Now the row is the desk's, as far as the database knows, and the desk hears nothing of it.
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    within(40, "it to be said", async || ready().await == 503).await;
    let stored = "SELECT COUNT(*) FROM message";
    within(150, "all to be stored over new connections", async || one(&url, stored).await == BOXES).await;
    within(60, "the desk to be ready again", async || ready().await == 200).await;
    room.desk.stop().await;
}
