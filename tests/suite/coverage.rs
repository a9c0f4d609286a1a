//! What was watched, from end to end: a camera that is cut, an agent that is killed, and the answer to "did anything happen
//! there?"; and the same from the store alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatewatch::camera::{CameraId, Codec};
use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::config::{AreaConfig, AreaKind, StoreConfig};
use gatewatch::coverage::{Answer, AreaView, AreaViews, BlindReason, Interval, Look, Span, Verdict};
use gatewatch::geometry::{Point, Polygon};
use gatewatch::rules::AreaId;
use gatewatch::simulate::{Misbehaviour, ServerOptions};
use gatewatch::store::{Store, StoreOptions};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};

use crate::support::gate::{Gate, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::until;

/// Written every five seconds; twice that on a busy machine.
const HEARTBEAT_MS: i64 = 10_000;

fn corner(id: &str, kind: AreaKind) -> AreaConfig {
    let p = |x: f32, y: f32| Point { x, y };
    AreaConfig::plain(AreaId(id.into()), kind, Polygon(vec![p(0.0, 0.0), p(0.12, 0.0), p(0.12, 0.12), p(0.0, 0.12)]))
}

async fn ask(gate: &Gate, query: &str) -> Option<Answer> {
    let (code, text) = gate.get(&format!("/api/coverage?{query}")).await?;
    assert_eq!(code, 200, "{text}");
    Some(serde_json::from_str(&text).unwrap())
}

/// Asks about the bay until the answer is good.
async fn until_told(gate: &Gate, what: &str, from: UtcMillis, good: impl Fn(&Answer) -> bool) -> Answer {
    let query = format!("area=bay-1&from={}", from.to_rfc3339());
    until(what, async || ask(gate, &query).await.filter(|a| good(a))).await
}

fn gaps(answer: &Answer, reason: BlindReason) -> Vec<Span> {
    answer.blind.iter().filter(|b| b.reason == reason).map(|b| b.span).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_camera_and_a_killed_agent_leave_gaps_with_their_reasons() {
    let _alone = super::agent::ONE.lock().await;
    let broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let mut watched = camera("bay", server.url("bay"));
    let (mask, masked) = (corner("house", AreaKind::PrivacyMask), corner("garden", AreaKind::Yard));
    let unruled = AreaConfig::plain(AreaId("unruled".into()), AreaKind::Yard, corner_right());
    watched.areas = vec![area("bay-1", bay_polygon(), 3.0), mask, masked, area("sky", corner_right(), 3.0), unruled];
    let mut gate = Gate::new(own_model(), broker.url(), vec![watched]);
    let began = utc_now();
    gate.start();
    gate.until_ready().await;
    until_told(&gate, "some seconds watched", began, |a| a.watched.iter().any(|w| w.span.ms() > 3000)).await;

    let cut = utc_now();
    server.misbehave("bay", &Misbehaviour::Cut { ms: 4000 }).unwrap();
    let in_gap = |s: &Value| s["coverage"]["reason"] == "signal" && s["coverage"]["watched"] == false;
    until("the state says so", async || desk.camera("bay").filter(|s| in_gap(s))).await;
    let back = |a: &Answer| a.watched.last().is_some_and(|w| w.span.ms() > 2000 && w.span.from > cut);
    let told = until_told(&gate, "watched again", began, back).await;
    let signal = gaps(&told, BlindReason::Signal).into_iter().max_by_key(Span::ms).expect("a gap");
    assert!(signal.from <= cut.plus_ms(1500) && signal.to >= cut.plus_ms(4000), "cut {cut:?}: {told:?}");

    let written = utc_now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let killed = utc_now();
    gate.kill();
    let started = utc_now();
    gate.start();
    let back = |a: &Answer| a.watched.last().is_some_and(|w| w.span.ms() > 2000 && w.span.from > started);
    let told = until_told(&gate, "watched after the kill", began, back).await;
    let restart = *gaps(&told, BlindReason::Restart).last().unwrap();
    assert!(restart.from <= killed && restart.to >= started, "killed {killed:?}, started {started:?}: {told:?}");
    assert!(restart.from >= written.plus_ms(-HEARTBEAT_MS), "what was written before the kill is known: {told:?}");
    assert!(gaps(&told, BlindReason::Signal).contains(&signal), "the gap before the kill is known as before: {told:?}");
    println!("cut {cut:?}, killed {killed:?}, started {started:?}\n{}", serde_json::to_string_pretty(&told).unwrap());

    assert_eq!(told.answer, Verdict::Yes, "the truck came");
    let seen: BTreeSet<_> = desk.events().iter().map(|e| e.id).collect();
    assert!(told.events.iter().any(|e| seen.contains(&e.id)), "{:?}", told.events);
    assert_eq!(told.watched_ms + told.blind_ms, told.to.since(told.from));
    the_other_answers(&gate, &told, signal).await;
    masked_in_what_leaves_the_box_only(&gate, &desk);
    let over_mqtt = command(&broker, json!({"area": "bay-1", "from": signal.from, "to": signal.to})).await;
    assert_eq!((&over_mqtt["ok"], &over_mqtt["result"]["blind"][0]["reason"]), (&json!(true), &json!("signal")));
    let wrong = command(&broker, json!({"area": "bay-9", "from": signal.from})).await;
    assert!(wrong["ok"] == false && wrong["error"].as_str().unwrap().contains("bay-1"), "{wrong}");
    let state =
        until("a watched state", async || desk.camera("bay").filter(|s| s["coverage"]["watched"] == true)).await;
    assert!(state["coverage"]["since"].is_string() && state["coverage"]["interval_ms"].is_u64(), "{state}");
    assert!(gate.terminate().success());
}

fn corner_right() -> Polygon {
    let p = |x: f32, y: f32| Point { x, y };
    Polygon(vec![p(0.9, 0.0), p(1.0, 0.0), p(1.0, 0.08), p(0.9, 0.08)])
}

/// The house is black in every published picture and as it was in every kept one.
fn masked_in_what_leaves_the_box_only(gate: &Gate, desk: &Listener) {
    let published = desk.pictures();
    let kept = files_below(&gate.config.store.dir.join("pictures"));
    let clean: Vec<_> = kept.iter().filter(|f| f.to_string_lossy().ends_with("-clean.jpg")).collect();
    assert!(!published.is_empty() && !clean.is_empty());
    let light = |p: &image::Rgb<u8>| p.0.iter().map(|v| u32::from(*v)).sum::<u32>();
    for jpeg in published {
        let shown = image::load_from_memory(&jpeg).unwrap().to_rgb8();
        // The picture stands under a bar with words, in its own shape.
        let height = shown.width() * crate::support::gate::SIZE.1 / crate::support::gate::SIZE.0;
        let (top, side) = (shown.height() - height, shown.width() / 20);
        let seen = (0..side)
            .flat_map(|y| (0..side).map(move |x| (x, y)))
            .find(|(x, y)| light(shown.get_pixel(*x, top + 2 + y)) > 90);
        assert_eq!(seen, None, "of {}x{}", shown.width(), shown.height());
    }
    for file in clean {
        let whole = image::open(file).unwrap().to_rgb8();
        assert!(light(whole.get_pixel(10, 10)) > 90, "{}", file.display());
    }
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { files_below(&p) } else { vec![p] }).collect()
}

/// Blind in the gap, no where nothing happened, blind under a privacy mask, and clear words for wrong questions.
async fn the_other_answers(gate: &Gate, told: &Answer, gap: Span) {
    let of = |area: &str, span: Span| {
        format!("camera=bay&area={area}&from={}&to={}", span.from.to_rfc3339(), span.to.to_rfc3339())
    };
    let blind = ask(gate, &of("sky", gap)).await.unwrap();
    assert_eq!((blind.answer, blind.watched_ms), (Verdict::Blind, 0), "{blind:?}");
    let longest = told.watched.iter().max_by_key(|w| w.span.ms()).unwrap().span;
    let quiet = ask(gate, &of("sky", longest)).await.unwrap();
    assert_eq!((quiet.answer, quiet.blind_ms, quiet.events.len()), (Verdict::No, 0, 0), "{quiet:?}");
    let masked = ask(gate, &of("garden", longest)).await.unwrap();
    assert_eq!((masked.answer, masked.blind[0].reason), (Verdict::Blind, BlindReason::Privacy));
    let unruled = ask(gate, &of("unruled", longest)).await.unwrap();
    assert_eq!((unruled.answer, unruled.blind[0].reason), (Verdict::Blind, BlindReason::NoRule));
    for (query, word) in [
        ("from=2026-03-02T00:00:00Z", "camera or area"),
        ("area=bay-1", "from"),
        ("area=bay-1&from=today", "today"),
        ("area=bay-1&from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "not after"),
        ("area=bay-1&form=2026-03-02T00:00:00Z", "`camera`, `area`, `from` and `to`"),
    ] {
        let (code, text) = gate.get(&format!("/api/coverage?{query}")).await.unwrap();
        assert!(code == 400 && text.contains(word), "{query}: {code} {text}");
    }
}

/// Runs `cmd/coverage` over MQTT.
async fn command(broker: &Mosquitto, body: Value) -> Value {
    let mut options = MqttOptions::new("asker", "127.0.0.1", broker.port);
    options.set_max_packet_size(Some(1_000_000));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("desk/coverage", QoS::AtLeastOnce).await.unwrap();
    let answer = async {
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) => {
                    let response_topic = Some("desk/coverage".into());
                    let properties = PublishProperties { response_topic, ..Default::default() };
                    let topic = "gatewatch/v1/15BB/gate-01/cmd/coverage";
                    let asked =
                        client.publish_with_properties(topic, QoS::AtLeastOnce, false, body.to_string(), properties);
                    asked.await.unwrap();
                }
                Event::Incoming(Packet::Publish(p)) => return serde_json::from_slice(&p.payload).unwrap(),
                _ => {}
            }
        }
    };
    tokio::time::timeout(crate::support::LIMIT, answer).await.expect("an answer to cmd/coverage")
}

// ---- the store alone --------------------------------------------------------------------------------------------

async fn open(dir: &Path) -> Store {
    let config =
        StoreConfig { dir: dir.into(), keep_messages_days: 30, keep_pictures_days: 60, ..StoreConfig::default() };
    let alert_topic = "unused".into();
    let options =
        StoreOptions { config, live_limit_ms: 1, office: "15BB".into(), box_id: "gate-01".into(), alert_topic };
    Store::open(options).await.unwrap()
}

#[tokio::test]
async fn old_intervals_become_fewer_and_are_forgotten_with_the_pictures() {
    const DAY_MS: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (now, camera) = (utc_now(), CameraId("bay".into()));
    let areas = Arc::new(AreaViews::from([(AreaId("bay-1".into()), AreaView::default())]));
    // A camera that came and went every second, 70, 40 and 1 day ago; a long watch at each end.
    let mut intervals = Vec::new();
    for (days, first) in [(70, 1), (40, 2001), (1, 4001)] {
        let mut at = now.plus_ms(-days * DAY_MS);
        for n in 0..1202 {
            let long = n == 0 || n == 1201;
            let ms = if long { 3_600_000 } else { 500 };
            let look = match n % 2 {
                0 if n > 0 => Look::Watched { interval_ms: 200, pictures: 3 },
                1 if n < 1201 => Look::Blind(BlindReason::Signal),
                _ => Look::Watched { interval_ms: 200, pictures: 18_000 },
            };
            let span = Span { from: at, to: at.plus_ms(ms) };
            intervals.push(Interval {
                camera: camera.clone(),
                session: 1,
                number: first + n,
                span,
                look,
                areas: Arc::clone(&areas),
            });
            at = span.to;
        }
    }
    store.record_coverage(&intervals).await.unwrap();
    store.record_coverage(&intervals[..5]).await.unwrap();
    let all = Span { from: now.plus_ms(-100 * DAY_MS), to: now };
    let count = async || store.intervals(&camera, all).await.unwrap().len();
    assert_eq!(count().await, intervals.len(), "written twice is there once");
    let bay = AreaId("bay-1".into());
    let month_old = Span { from: now.plus_ms(-41 * DAY_MS), to: now.plus_ms(-39 * DAY_MS) };
    let before = store.coverage_between(&camera, Some(&bay), month_old).await.unwrap();
    let done = store.prune(now).await.unwrap();
    println!("{done:?}, {} left", count().await);
    // A batch may end in the middle of the flapping.
    assert!((1202 + 3..1202 + 20).contains(&count().await), "{} left", count().await);
    let after = store.coverage_between(&camera, Some(&bay), month_old).await.unwrap();
    let long = |c: &gatewatch::coverage::Coverage| {
        c.watched.iter().filter(|w| w.span.ms() > 60_000).map(|w| w.span).collect::<Vec<_>>()
    };
    assert_eq!(long(&after), long(&before), "the long watches are told as before");
    assert!(after.watched.len() < 10 && before.watched.len() > 500);
    let forgotten = Span { from: now.plus_ms(-71 * DAY_MS), to: now.plus_ms(-69 * DAY_MS) };
    let told = store.coverage_between(&camera, Some(&bay), forgotten).await.unwrap();
    assert_eq!(told.blind.iter().map(|b| b.reason).collect::<Vec<_>>(), [BlindReason::NoRecord]);
    assert_eq!(store.answer(&CameraId("other".into()), None, all).await.unwrap().answer, Verdict::Blind);
}

#[tokio::test]
async fn an_event_over_which_the_clock_was_set_back_is_found_under_either_clock() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(super::store::options(dir.path())).await.unwrap();
    // It began at 0, at 10 minutes the clock was set back by an hour, it ended 5 minutes later.
    let (began, id) = (utc_now(), ulid::Ulid::generate());
    let minutes = |n: i64| began.plus_ms(n * 60_000);
    let mut end = super::store::event_of(id, 2, "end", began);
    (end.data.capture.end, end.data.dwell_ms, end.time) = (Some(minutes(15)), Some(15 * 60_000), minutes(-45));
    for event in [super::store::event_of(id, 1, "new", began), end] {
        store.record(super::store::message(event, 2, None)).await.unwrap();
    }
    let found = async |from: i64, to: i64| {
        let asked = Span { from: minutes(from), to: minutes(to) };
        store.answer(&CameraId("cam-1".into()), None, asked).await.unwrap().events.len()
    };
    assert_eq!((found(1, 9).await, found(-55, -50).await, found(-75, -65).await, found(16, 20).await), (1, 1, 0, 0));
}

#[tokio::test]
async fn where_events_are_forgotten_nobody_says_that_there_was_none() {
    const DAY_MS: i64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { dir: dir.path().into(), keep_pictures_days: 7, ..StoreConfig::default() };
    let options = StoreOptions { config, ..super::store::options(dir.path()) };
    let store = Store::open(options).await.unwrap();
    let (now, camera) = (utc_now(), CameraId("cam-1".into()));
    let day = |n: i64| now.plus_ms((n - 21) * DAY_MS);
    let areas = Arc::new(AreaViews::from([(AreaId("bay-1".into()), AreaView::default())]));
    let (span, look) = (Span { from: day(1), to: now }, Look::Watched { interval_ms: 200, pictures: 9_000_000 });
    let watched = Interval { camera: camera.clone(), session: 1, number: 1, span, look, areas };
    store.record_coverage(&[watched]).await.unwrap();
    let at = day(2).plus_ms(DAY_MS / 2);
    store
        .record(super::store::message(super::store::event_of(ulid::Ulid::generate(), 1, "end", at), 2, None))
        .await
        .unwrap();
    let answer = async |from: i64, to: i64| {
        let asked = Span { from: day(from), to: day(to) };
        let told = store.answer(&camera, Some(&AreaId("bay-1".into())), asked).await.unwrap();
        let read = gatewatch::store::Archive::open(dir.path()).await.unwrap().coverage("cam-1", asked).await.unwrap().0;
        let kept: i64 = read.iter().filter_map(|i| i.span.clipped(&asked)).map(|s| s.ms()).sum();
        assert_eq!(kept, told.watched_ms, "an account of evidence says the same");
        (told.answer, told.blind.first().map(|b| b.reason))
    };
    assert_eq!(answer(2, 3).await, (Verdict::Yes, None));
    store.prune(now).await.unwrap();
    assert_eq!(answer(2, 3).await, (Verdict::Blind, Some(BlindReason::NoRecord)));
    assert_eq!(answer(4, 5).await, (Verdict::No, None), "nothing of it is forgotten");
}
