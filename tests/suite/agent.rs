//! The agent from end to end with real parts: cameras over RTSP, ONNX Runtime, SQLite, Mosquitto, and the program as a
//! process of its own that can be killed. One test at a time: each needs the machine for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use gatewatch::camera::Codec;
use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::config::{MqttConfig, Secret, SecretSource};
use gatewatch::customs::{LinkMethod, LinkVerdict};
use gatewatch::desk::config::DatabaseConfig;
use gatewatch::event::EventMessage;
use gatewatch::event::schema::event_schema;
use gatewatch::geometry::{Point, Polygon};
use gatewatch::mqtt::publish::publish_all;
use gatewatch::rules::{EndReason, Phase, RuleKind};
use gatewatch::simulate::record::{Recording, record};
use gatewatch::simulate::{Renderer, Scene, ServerOptions, SimServer, TruthFrame};
use gatewatch::store::{Archive, Store, StoreOptions};
use gatewatch::telemetry::metrics::FRAMES_ANALYSED;
use serde_json::{Value, json};
use sha2::Digest;
use sqlx::Connection;
use tokio::sync::Mutex;

use crate::support::desk::Room;
use crate::support::gate::{Door, Gate, SIZE, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::listener::Listener;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::{until, wait_for};

/// One box under test at a time.
pub static ONE: Mutex<()> = Mutex::const_new(());

// ---- the clearance side -----------------------------------------------------------------------------------------

async fn publish(url: String, messages: Vec<(&str, Value)>) {
    let config = MqttConfig { url, ..MqttConfig::default() };
    let messages = messages.into_iter().map(|(topic, body)| (topic.to_owned(), body.to_string().into_bytes()));
    publish_all(&config, "clearance", messages.collect()).await.unwrap();
}

/// A declaration and its booking of `bay-1` for an hour, begun a minute ago.
async fn book(url: String, number: &str) {
    let now = utc_now();
    let declaration = json!({"decl_no": number, "version": 1, "direction": "import", "office": "15BB",
        "type_code": "A11", "channel": 3, "registered_at": now.plus_ms(-3_600_000)});
    let booking = json!({"id": format!("booking-{number}"), "version": 1, "area": "bay-1", "decl_keys": [number],
        "start": now.plus_ms(-60_000), "end": now.plus_ms(3_600_000), "state": "planned"});
    let base = "gatewatch/v1/15BB/gate-01/in";
    publish(url, vec![(&format!("{base}/declaration"), declaration), (&format!("{base}/booking"), booking)]).await;
}

fn keys(event: &EventMessage) -> BTreeSet<&str> {
    event.data.link.links.iter().map(|l| l.decl_key.0.as_str()).collect()
}

/// The last message of an event: the end of a lasting one, or an instant.
fn is_final(event: &EventMessage) -> bool {
    event.data.phase == Phase::End || event.data.capture.end.is_some()
}

/// Every event has the revisions 1, 2, 3 …; once it is final it stays so, and only its links may change.
fn assert_lives_are_whole(events: &[EventMessage]) {
    let mut lives = BTreeMap::<_, BTreeMap<u32, &EventMessage>>::new();
    for event in events {
        let doubled = lives.entry(event.id).or_default().insert(event.data.revision, event);
        assert!(doubled.is_none(), "two messages with id {} and revision {}", event.id, event.data.revision);
    }
    for (id, life) in &lives {
        let told: Vec<_> = life.values().map(|e| (e.data.revision, e.data.phase, is_final(e))).collect();
        assert!(told.iter().zip(1..).all(|(t, n)| t.0 == n), "{id}: {told:?}");
        assert!(told.iter().enumerate().all(|(i, t)| (t.1 == Phase::New) == (i == 0)), "{id}: {told:?}");
        assert!(told.is_sorted_by_key(|t| t.2) && told.last().is_some_and(|t| t.2), "{id}: {told:?}");
    }
}

fn assert_valid(events: &[Value]) {
    let validator = jsonschema::validator_for(&event_schema()).unwrap();
    for event in events {
        let problems: Vec<String> = validator.iter_errors(event).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{event}");
    }
}

// ---- the main job -----------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_the_bay_is_told_with_its_declaration_and_picture() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let mut watched = camera("bay", server.url("bay"));
    watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
    let mut gate = Gate::new(model, broker.url(), vec![watched]);
    gate.start();
    gate.until_ready().await;

    let first = desk.until_event("an enter", |e| e.data.rule == RuleKind::Enter).await;
    assert_eq!((first.data.link.verdict, first.data.phase), (LinkVerdict::Unlinked, Phase::New), "no booking yet");
    assert!(first.data.link.links.is_empty() && first.subject == "area/bay-1", "{first:?}");

    book(broker.url(), "101234567890").await;
    gate.until_registered("declarations", 1).await;
    gate.until_registered("bookings", 1).await;
    let linked = |e: &EventMessage| e.data.link.verdict == LinkVerdict::Linked;
    let later = desk.until_event("an event linked after its beginning", |e| linked(e) && e.data.revision > 1).await;
    assert_eq!(keys(&later), BTreeSet::from(["10123456789"]));
    assert_eq!((later.data.link.links[0].method, later.subject.as_str()), (LinkMethod::Booking, "decl/10123456789"));
    assert!(later.data.link.links[0].declaration_known);
    let dwell = desk.until_event("a linked dwell", |e| linked(e) && e.data.rule == RuleKind::Dwell).await;
    assert!(dwell.data.dwell_ms.is_some_and(|ms| ms >= 3000), "{dwell:?}");

    book(broker.url(), "302222222220").await;
    gate.until_registered("declarations", 2).await;
    gate.until_registered("bookings", 2).await;
    let both = BTreeSet::from(["10123456789", "30222222222"]);
    let ambiguous = |e: &EventMessage| e.data.link.verdict == LinkVerdict::Ambiguous && keys(e) == both;
    desk.until_event("two bookings that overlap", ambiguous).await;

    the_surroundings_are_as_documented(&gate, &broker).await;
    assert!(gate.terminate().success());
    until("the state offline", async || desk.states("gate-01").last().filter(|s| s["online"] == false).cloned()).await;
    let (events, stats) = (desk.events(), desk.stats());
    println!("{stats:?}");
    assert_lives_are_whole(&events);
    assert!(events.iter().any(|e| e.data.end_reason == Some(EndReason::Restart)), "the stop ended what lasted");
    assert_valid(&desk.raw_events());
    assert_eq!((stats.gaps, stats.duplicates, stats.unreadable), (0, 0, 0), "{stats:?}");
    assert!(stats.pictures_ok > 0, "{stats:?}");
    assert_eq!((stats.pictures_missing, stats.pictures_mismatch, stats.pictures_without_event), (0, 0, 0), "{stats:?}");
    assert_eq!(events.iter().map(|e| e.data.sequence.seq).chain(desk.notice_seqs()).min(), Some(1));
    let heads = desk.notices("head");
    assert!(heads.len() >= 2, "the head of the chain is published at the start and at the stop: {heads:?}");
    assert_valid_against("chain_head", &heads);
}

fn assert_valid_against(schema: &str, messages: &[Value]) {
    let schema = std::fs::read(format!("config/schema/{schema}.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    for message in messages {
        assert!(schema.is_valid(message), "{message}");
    }
}

/// What a late subscriber and an operator find.
async fn the_surroundings_are_as_documented(gate: &Gate, broker: &Mosquitto) {
    let late = Listener::start(broker.url(), "late").await;
    let found = async || (!late.births().is_empty() && !late.states("gate-01").is_empty()).then(|| late.camera("bay"));
    let camera = until("retained messages", async || found().await.flatten()).await;
    assert_eq!((&camera["state"], &camera["width"]), (&json!("running"), &json!(SIZE.0)));
    assert_eq!(late.states("gate-01").last().unwrap()["online"], true);
    assert_eq!(late.births()[0]["cameras"][0]["areas"][0]["id"], "bay-1");
    let (_, metrics) = gate.get("/metrics").await.unwrap();
    let analysed = metrics.lines().find_map(|l| l.strip_prefix(&format!("{FRAMES_ANALYSED}{{camera=\"bay\"}} ")));
    assert!(analysed.unwrap().parse::<u64>().unwrap() > 10, "{analysed:?}");
    let (code, status) = gate.get("/api/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status["register"]["bookings"]), (200, &json!(2)), "{status}");
    assert!(status["cameras"][0]["decoded"].as_u64().unwrap() > 10, "{status}");
}

// ---- power cut, broker cut --------------------------------------------------------------------------------------

/// A truck that drives to and fro, so that something happens all the time.
fn shuttle() -> Scene {
    let mut scene = bay();
    scene.scripts.truncate(1);
    scene.scripts[0].keys =
        (0_u8..=12).map(|i| (f32::from(i) * 4.0, if i % 2 == 0 { -7.0 } else { 7.0 }, 17.4)).collect();
    scene
}

/// Upright strips across the bay, each an area.
fn strips() -> Vec<gatewatch::config::AreaConfig> {
    let bounds = gatewatch::geometry::Rect::around(&bay_polygon().0).unwrap();
    let at = |i: u8| bounds.x0 + (bounds.x1 - bounds.x0) * f32::from(i) / 6.0;
    let strip = |i: u8| {
        let p = |x: f32, y: f32| Point { x, y };
        Polygon(vec![p(at(i), 0.1), p(at(i + 1), 0.1), p(at(i + 1), 1.0), p(at(i), 1.0)])
    };
    (0..6).map(|i| area(&format!("strip-{i}"), strip(i), 0.5)).collect()
}

/// Returns when everything the broker has for the listener has arrived there.
async fn flush(broker: &Mosquitto, desk: &Listener, mark: u32) {
    publish(broker.url(), vec![("gatewatch/v1/15BB/marker/state", json!({"mark": mark}))]).await;
    until("the marker", async || desk.states("marker").iter().any(|s| s["mark"] == mark).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_by_power_cuts_and_broker_cuts() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let mut broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    // The agent comes through a door, so that it meets a new broker only when the listener is there: what a broker
    // without persistence acknowledges while nobody listens is nobody's.
    let door = Door::to(broker.port).await;
    let server = serve(shuttle(), Codec::H264, ServerOptions::default());
    let mut watched = camera("bay", server.url("bay"));
    watched.areas = strips();
    let mut gate = Gate::new(model, door.url(), vec![watched]);

    door.shut();
    broker.kill();
    gate.start();
    wait_until_waiting(&gate, 8).await;
    gate.kill();
    gate.start();
    wait_until_waiting(&gate, 16).await;
    broker.restart();
    desk.until_connected(true).await;
    door.open();
    let seen = async |least: usize| until("more events", async || (desk.events().len() >= least).then_some(())).await;
    seen(20).await;
    // What waited is said as soon as it can be.
    let waited = |s: &Value| s["outbox"]["waiting"].as_u64().is_some_and(|n| n >= 8);
    let said = until("a status", async || desk.statuses("gate-01").into_iter().next()).await;
    assert!(waited(&said), "{said}");

    door.shut();
    flush(&broker, &desk, 1).await;
    broker.kill();
    desk.until_connected(false).await;
    wait_until_waiting(&gate, 6).await;
    broker.restart();
    desk.until_connected(true).await;
    door.open();
    seen(desk.events().len() + 10).await;

    until("an event that lasts", async || lasting(&desk.events()).then_some(())).await;
    gate.kill();
    gate.start();
    let told = desk.events().len();
    seen(told + 10).await;
    assert!(gate.terminate().success());
    flush(&broker, &desk, 2).await;
    nothing_is_missing(&gate, &desk).await;
}

async fn wait_until_waiting(gate: &Gate, least: u64) {
    until("messages that wait", async || gate.waiting().await.filter(|rows| *rows >= least)).await;
}

fn lasting(events: &[EventMessage]) -> bool {
    let over: BTreeSet<_> = events.iter().filter(|e| is_final(e)).map(|e| e.id).collect();
    events.iter().any(|e| !over.contains(&e.id))
}

async fn nothing_is_missing(gate: &Gate, desk: &Listener) {
    let options = StoreOptions::of(&gate.config, "unused".into());
    let store = Store::open(options).await.unwrap();
    let last = store.resync(i64::MAX, None, store.epoch()).await.unwrap().last_seq.unwrap();
    let left = store.outbox_stats().await.unwrap();
    let (events, stats) = (desk.events(), desk.stats());
    println!("stored {last}, left {}, sessions {}, {stats:?}", left.rows, store.session());
    assert_eq!((left.rows, left.dropped), (0, 0));
    let came: BTreeSet<i64> = events.iter().map(|e| e.data.sequence.seq).chain(desk.notice_seqs()).collect();
    let missing: Vec<i64> = (1..=last).filter(|seq| !came.contains(seq)).collect();
    assert!(missing.is_empty() && came.len() == usize::try_from(last).unwrap(), "missing: {missing:?}");
    assert!(events.iter().all(|e| e.data.sequence.epoch == store.epoch()));
    assert_lives_are_whole(&events);
    assert!(store.open_events().await.unwrap().is_empty());
    let restarted = events.iter().filter(|e| e.data.end_reason == Some(EndReason::Restart)).count();
    assert!(restarted >= 1, "the cuts interrupted something");
    assert_eq!((stats.pictures_missing, stats.pictures_mismatch, stats.unreadable), (0, 0, 0), "{stats:?}");
    assert_eq!(store.session(), 4, "three starts of the agent and this one");
    store.close().await.unwrap();
    let chain = Archive::open(store.dir()).await.unwrap().check_chain(1).await.unwrap();
    assert!(chain.faults.is_empty() && chain.messages >= u64::try_from(last).unwrap(), "{chain:?}");
}

/// A bay where something goes to and fro, and who listens. The agent is not started; broker and camera live as long as the
/// first value.
async fn busy_bay() -> ((Mosquitto, SimServer), Listener, Gate) {
    let broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    let server = serve(shuttle(), Codec::H264, ServerOptions::default());
    let mut watched = camera("bay", server.url("bay"));
    watched.areas = strips();
    let gate = Gate::new(own_model(), broker.url(), vec![watched]);
    ((broker, server), desk, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_for_some_seconds_around_the_stop_loses_nothing() {
    let _alone = ONE.lock().await;
    let (_parts, desk, mut gate) = busy_bay().await;
    gate.start();
    until("an event that lasts", async || lasting(&desk.events()).then_some(())).await;
    let url = format!("sqlite:{}", gate.config.store.dir.join("gatewatch.db").display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON message BEGIN SELECT RAISE(ABORT, 'refused for a test'); END";
    sqlx::query(refuse).execute(&mut db).await.unwrap();
    let refusals = |log: &str| log.matches("events cannot be written; trying again").count();
    until("a refusal", async || (refusals(&gate.log()) > 0).then_some(())).await;
    gate.ask_to_end();
    let asked = refusals(&gate.log());
    let more = |log: &str| refusals(log) > asked + 2 || log.contains("event lost at stop");
    until("refusals at the stop", async || more(&gate.log()).then_some(())).await;
    sqlx::query("DROP TRIGGER refuse").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    // Asked once only: a second signal ends it at once.
    assert!(gate.ended().success());
    assert!(!gate.log().contains("lost at stop"));
    until("the state offline", async || desk.states("gate-01").last().filter(|s| s["online"] == false).cloned()).await;
    let store = Store::open(StoreOptions::of(&gate.config, "unused".into())).await.unwrap();
    assert!(store.open_events().await.unwrap().is_empty(), "what lasted was ended");
    assert_lives_are_whole(&desk.events());
}

// ---- one bad camera ---------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn bad_cameras_are_named_and_do_not_hold_up_the_good_one_and_no_password_is_logged() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    let server = serve(shuttle(), Codec::H265, ServerOptions::default());
    let credentials = Some(("duty".to_owned(), Secret::new("right-password-7".to_owned())));
    let locked = serve(bay(), Codec::H264, ServerOptions { credentials, ..ServerOptions::default() });
    let mut good = camera("good", server.url("bay"));
    good.areas = strips();
    let dark = camera("dark", format!("rtsp://127.0.0.1:{}/none", free_port()));
    let mut refused = camera("refused", locked.url("bay"));
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("password");
    std::fs::write(&file, "wrong-password-4711\n").unwrap();
    refused.username = Some("duty".into());
    refused.password = SecretSource { file: Some(file), env: None };
    let mut gate = Gate::new(model, broker.url(), vec![dark, good, refused]);
    gate.start();

    let event = desk.until_event("an event of the good camera", |_| true).await;
    assert_eq!(event.data.camera.id.0, "good");
    let state = async |camera: &str, wanted: &str| {
        let told = async || desk.camera(camera).filter(|s| s["state"] == wanted);
        until(&format!("{camera} is {wanted}"), told).await
    };
    state("good", "running").await;
    let reason = state("refused", "refused").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("password"), "{reason}");
    let reason = state("dark", "lost").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("cannot reach"), "{reason}");
    let (code, ready) = until("/readyz", async || gate.get("/readyz").await).await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(code, 503, "{ready}");
    let level = |part: &str| ready["parts"][part]["level"].as_str().unwrap().to_owned();
    assert_eq!([level("camera/dark"), level("camera/refused"), level("camera/good")], ["failed", "failed", "ok"]);
    let seen = desk.events().len();
    desk.until_event("the good one goes on", |e| e.data.sequence.seq > i64::try_from(seen).unwrap()).await;
    assert!(gate.terminate().success());
    let log = gate.log();
    assert!(log.contains("refuse") && !log.contains("password-4711"), "a password is in the log");
    assert!(desk.events().iter().all(|e| e.data.camera.id.0 == "good"));
}

// ---- no detector ------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn without_a_detector_the_box_goes_on_says_so_and_looks_again() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let (parts, desk, mut gate) = busy_bay().await;
    let room = Room::start(DatabaseConfig::default(), |c| {
        // The listener is called `desk` already.
        (c.mqtt.url, c.mqtt.client_id) = (parts.0.url(), "room".into());
    })
    .await;
    let mut admin = room.administrator().await;
    let mut technician = room.account(&mut admin, "ky", "technician", "*").await;
    let later = gate.dir.path().join("later.onnx");
    gate.config.detector.model.clone_from(&later);
    gate.start();

    let said = async || desk.camera("bay").filter(|s| s["state"] == "running" && s["not_analysed"].is_string());
    let state = until("a camera that runs and is not analysed", said).await;
    let why = state["not_analysed"].as_str().unwrap();
    assert!(why.starts_with("detector_failed: ") && why.contains("later.onnx"), "{why}");
    // A machine that is busy elsewhere may make the pictures come late for a moment, which is said of the camera too.
    let levels = async || {
        let (code, ready) = gate.get("/readyz").await?;
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let part = |name: &str| ready["parts"][name]["level"].as_str().map(str::to_owned);
        let all = (code, part("analysis/0")?, part("camera/bay")?, part("mqtt")?);
        (all == (503, "failed".into(), "ok".into(), "ok".into())).then_some(())
    };
    until("a box in which only the analysis failed", levels).await;

    let failed = || desk.notices("detector_failed");
    until("the message about it", async || failed().pop()).await;
    let devices = technician.sees("/devices", "LỖI: không phân tích được hình").await;
    assert!(devices.has("<code>analysis/0</code>") && devices.has("later.onnx"), "{}", devices.text);
    // What lasts is the same failure after a restart.
    assert!(gate.terminate().success());
    gate.start();
    until("the camera again", async || desk.camera("bay").filter(|s| s["state"] == "running")).await;

    std::fs::copy(&model, &later).unwrap();
    let event = desk.until_event("an event once the model is there", |_| true).await;
    let digest = hex::encode(sha2::Sha256::digest(std::fs::read(&model).unwrap()));
    assert_eq!((event.data.model.name.as_str(), &event.data.model.sha256), ("later.onnx", &digest));
    until("a camera that is analysed", async || desk.camera("bay").filter(|s| s["not_analysed"].is_null())).await;
    until("the end of the failure", async || failed().into_iter().find(|m| m["data"]["phase"] == "end")).await;
    // Its disk is looked at some seconds after its start.
    let devices = technician.sees("/devices", "đủ chỗ").await;
    assert!(devices.has(&digest[..12]) && devices.has("đang phân tích"), "{}", devices.text);
    let told = failed();
    assert_valid_against("detector_failed", &told);
    let brief: Vec<_> = told.iter().map(|m| (&m["id"], &m["data"]["revision"], &m["data"]["phase"])).collect();
    assert_eq!(brief, [(brief[0].0, &json!(1), &json!("new")), (brief[0].0, &json!(2), &json!("end"))]);
    assert!(gate.terminate().success());
    assert!(gate.log().contains("detector_failed"));
    let said = desk.statuses("gate-01");
    assert!(said.iter().any(|s| s["detector"]["state"] == "running" && s["database_writable"] == true), "{said:?}");
    assert_valid_against("box_status", &said);
    technician.sees("/devices", "đây là lần báo cuối").await;
    room.desk.stop().await;
}

// ---- what the agent cannot do without ---------------------------------------------------------------------------

/// Starts the agent, which must give up by itself; returns what it said of it.
fn gives_up(mut command: Command) -> String {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || std::io::read_to_string(&mut pipe).unwrap());
    let status = wait_for("the agent gives up", || child.try_wait().unwrap());
    let said = said.join().unwrap();
    assert!(status.code().is_some_and(|c| c != 0), "{status}: {said}");
    let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("gatewatch: ")).collect();
    assert_eq!(errors.len(), 1, "one sentence: {said}");
    assert!(said.trim_end().ends_with(errors[0]) && !said.contains("panicked"), "{said}");
    println!("{}", errors[0]);
    errors[0].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_font_or_store_it_ends_with_a_sentence() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let mut watched = camera("bay", format!("rtsp://127.0.0.1:{}/none", free_port()));
    watched.areas = strips();
    let gate = || Gate::new(model.clone(), format!("mqtt://127.0.0.1:{}", free_port()), vec![watched.clone()]);
    let names = |said: &str, words: &[&str]| {
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    };
    let mut broken = gate();
    broken.config.pictures.font = Some("/nowhere/font.ttf".into());
    names(&gives_up(broken.command("agent")), &["/nowhere/font.ttf", "pictures.font", "fonts-dejavu-core"]);

    let second = gate();
    let options = StoreOptions::of(&second.config, "unused".into());
    let held = Store::open(options).await.unwrap();
    names(&gives_up(second.command("agent")), &[&second.config.store.dir.display().to_string(), "in use", "store.dir"]);
    held.close().await.unwrap();
}

// ---- replay and demo --------------------------------------------------------------------------------------------

fn replay(gate: &Gate, video: &Path, start: UtcMillis) -> Vec<u8> {
    let mut command = gate.command("replay");
    let out = command.arg(video).args(["--start", &start.to_rfc3339()]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_same_each_time_and_tells_what_the_scene_shows() {
    let _alone = ONE.lock().await;
    let model = own_model();
    let mut watched = camera("bay", "rtsp://127.0.0.1/unused".into());
    watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
    let gate = Gate::new(model, "mqtt://127.0.0.1".into(), vec![watched]);
    let (video, truth) = (gate.dir.path().join("bay.mp4"), gate.dir.path().join("bay.jsonl"));
    let start = UtcMillis::parse_rfc3339("2026-03-02T03:00:00Z").unwrap();
    let order = Recording { seconds: 14, fps: 10, codec: Codec::H264, start };
    record(Renderer::new(bay(), SIZE).unwrap(), order, &video, Some(&truth)).unwrap();

    let told = replay(&gate, &video, start);
    assert_eq!(told, replay(&gate, &video, start), "byte for byte");
    let lines: Vec<Value> =
        told.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_valid(&lines);
    let events: Vec<EventMessage> = lines.into_iter().map(|l| serde_json::from_value(l).unwrap()).collect();
    assert_lives_are_whole(&events);
    let enters = events.iter().filter(|e| e.data.rule == RuleKind::Enter && e.data.phase == Phase::New);
    let enters: Vec<_> = enters.map(|e| (e.data.object.label.as_str(), e.data.capture.start)).collect();
    let truth = std::fs::read_to_string(truth).unwrap();
    let frames = truth.lines().map(|l| serde_json::from_str::<TruthFrame>(l).unwrap());
    let mut real = frames.flat_map(|f| f.happened.into_iter().map(move |h| (f.utc, h)));
    let (at, _) = real.find(|(_, h)| h.what == "enter" && h.area == "bay-1" && h.label == "truck").unwrap();
    println!("the truck enters {at:?}; told: {enters:?}");
    assert!(!enters.is_empty());
    let near = enters.iter().any(|(label, t)| *label == "truck" && t.since(at).abs() <= 1000);
    assert!(near, "the truck enters at {at:?}; told: {enters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_does_the_main_job_and_says_so() {
    let _alone = ONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewatch"));
    command.args(["demo", "--seconds", "20", "--page-port", "0", "--dir"]).arg(dir.path().join("demo"));
    let out = command.arg("--report").arg(&report).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!((&report["main_job_done"], &report["problems"]), (&json!(true), &json!([])), "{report}");
    for camera in ["lane", "bay", "sampling"] {
        assert!(report["cameras"][camera]["analysed"].as_u64().unwrap() > 10, "{report}");
    }
    let (stored, seen) = (&report["stored"], &report["independent_subscriber"]);
    assert_eq!(stored["messages"], seen["event_messages"]);
    assert!(stored["frame_to_acked"]["p50_ms"].as_i64().unwrap() > 0, "{report}");
    assert!(seen["pictures_ok"].as_u64().unwrap() > 0 && seen["links_by_method"]["booking"].as_u64().unwrap() > 0);
    println!("{report}");
}
