//! Camera health from end to end: drawn cameras over RTSP that misbehave, the agent as a process, Mosquitto. No model is
//! there, since health must work without one. One test at a time: each needs the machine for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use gatewatch::camera::health::luma::fingerprint;
use gatewatch::camera::health::{Condition, HealthMonitor, Luma, Now, StreamView};
use gatewatch::camera::{CameraId, CameraState, Codec, FileSource};
use gatewatch::clock::{MonoMillis, UtcMillis};
use gatewatch::config::Config;
use gatewatch::event::health::HealthMessage;
use gatewatch::rules::Phase;
use gatewatch::simulate::light::Hour;
use gatewatch::simulate::{Misbehaviour, PictureSource, Scenario, Scene, SceneSource, ServerOptions, SimServer};
use gstreamer::prelude::*;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::support::gate::{Gate, bay, camera, serve};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::until;

static ONE: Mutex<()> = Mutex::const_new(());

struct Bench {
    gate: Gate,
    server: SimServer,
    desk: Listener,
    _broker: Mosquitto,
}

impl Bench {
    async fn start(id: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::before(bay(), id, change).await
    }

    async fn before(scene: Scene, id: &str, change: impl FnOnce(&mut Config)) -> Self {
        let broker = Mosquitto::open();
        let server = serve(scene, Codec::H264, ServerOptions::default());
        let desk = Listener::start(broker.url(), id).await;
        let mut gate = Gate::new("absent.onnx".into(), broker.url(), vec![camera("bay", server.url("bay"))]);
        (gate.config.health.recover_ms, gate.config.health.lost_ms) = (2000, 1000);
        change(&mut gate.config);
        gate.start();
        Self { gate, server, desk, _broker: broker }
    }

    /// Waits until this process has decoded so many pictures: enough to know the view.
    async fn decoded(&self, pictures: u64) {
        // A slow machine draws slowly: one wait for each part.
        for part in 1..=pictures.div_ceil(40) {
            let wanted = (part * 40).min(pictures);
            until(&format!("{wanted} pictures"), async || {
                let status: Value = serde_json::from_str(&self.gate.get("/api/status").await?.1).ok()?;
                status["cameras"][0]["decoded"].as_u64().filter(|n| *n >= wanted)
            })
            .await;
        }
    }

    fn misbehave(&self, what: &Misbehaviour) {
        self.server.misbehave("bay", what).unwrap();
    }

    fn told(&self, condition: &str) -> Vec<Value> {
        self.desk.notices(&format!("camera_{condition}"))
    }

    async fn until_told(&self, condition: &str, phase: &str) -> Value {
        let found = || self.told(condition).into_iter().rev().find(|m| m["data"]["phase"] == phase);
        until(&format!("{condition} {phase}"), async || found()).await
    }

    /// What the broker took before the agent ended may still be on its way.
    async fn until_all_is_over(&self) {
        until("the last messages", async || {
            let mut last = BTreeMap::new();
            for message in all(self) {
                last.insert(message["id"].to_string(), message["data"]["capture"]["end"].is_null());
            }
            last.values().all(|lasts| !lasts).then_some(())
        })
        .await;
    }

    /// A condition comes and goes, and is in the camera's state meanwhile.
    async fn comes_and_goes(&self, condition: &str, what: &Misbehaviour) {
        self.misbehave(what);
        self.until_told(condition, "new").await;
        let active = |state: &Value| {
            state["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["condition"] == condition))
        };
        until("the camera's state", async || self.desk.camera("bay").filter(active)).await;
        let (_, ready) = self.gate.get("/readyz").await.unwrap();
        // A camera without pictures says there why it has none.
        assert!(ready.contains(condition) || !ready.contains("pictures arrive"), "{ready}");
        let end = self.until_told(condition, "end").await;
        assert_eq!(end["data"]["end_reason"], "recovered", "{end}");
    }
}

/// Every condition has the revisions 1, 2, 3 …, begins once and ends once; the messages are those of the schema.
fn assert_lives_are_whole(messages: &[Value]) -> BTreeMap<String, Vec<(String, String)>> {
    let schema = serde_json::to_value(schemars::schema_for!(HealthMessage)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut lives = BTreeMap::<String, Vec<HealthMessage>>::new();
    for message in messages {
        let problems: Vec<String> = validator.iter_errors(message).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{message}");
        let read: HealthMessage = serde_json::from_value(message.clone()).unwrap();
        lives.entry(read.id.clone()).or_default().push(read);
    }
    let mut brief = BTreeMap::<String, Vec<(String, String)>>::new();
    for life in lives.values() {
        let revisions: Vec<u32> = life.iter().map(|m| m.data.revision).collect();
        assert_eq!(revisions, (1..=u32::try_from(life.len()).unwrap()).collect::<Vec<_>>(), "{life:?}");
        let over: Vec<bool> = life.iter().map(|m| m.data.told.capture.end.is_some()).collect();
        assert!(over.iter().rev().enumerate().all(|(i, over)| *over == (i == 0)), "ends once, at the end: {life:?}");
        let last = &life[life.len() - 1].data.told;
        let why =
            last.end_reason.map_or("instant".into(), |r| serde_json::to_value(r).unwrap().as_str().unwrap().into());
        brief.entry(last.condition.as_str().into()).or_default().push((last.camera.id.0.clone(), why));
    }
    brief
}

fn all(bench: &Bench) -> Vec<Value> {
    let conditions = gatewatch::camera::health::Condition::ALL;
    conditions.iter().flat_map(|c| bench.told(c.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_a_camera_is_told_once_and_ended_once() {
    let _one = ONE.lock().await;
    let mut bench = Bench::start("health", |_| {}).await;
    // Forty seconds: the view is known, and that the camera is alive.
    bench.decoded(320).await;
    bench.comes_and_goes("covered", &Misbehaviour::Cover { ms: 15_000 }).await;
    bench.comes_and_goes("signal_lost", &Misbehaviour::Cut { ms: 10_000 }).await;
    until("the camera again", async || bench.desk.camera("bay").filter(|s| s["state"] == "running")).await;
    bench.comes_and_goes("stalled", &Misbehaviour::Stall { ms: 12_000 }).await;
    until("the camera again", async || bench.desk.camera("bay").filter(|s| s["state"] == "running")).await;
    bench.misbehave(&Misbehaviour::ChangeResolution { width: 480, height: 270 });
    let changed = bench.until_told("picture_changed", "new").await;
    assert!(changed["data"]["reason"].as_str().unwrap().contains("480x270"), "{changed}");
    until("the camera's clock", async || bench.desk.camera("bay").filter(|s| s["clock_offset_ms"].is_i64())).await;
    bench.misbehave(&Misbehaviour::Clock { off_ms: 30_000 });
    let jump = bench.until_told("clock_jump", "new").await;
    let step = jump["data"]["figures"][0]["value"].as_f64().unwrap();
    assert!((step - 30_000.0).abs() < 1000.0, "{jump}");
    assert!(bench.gate.terminate().success());
    bench.until_all_is_over().await;
    let lives = assert_lives_are_whole(&all(&bench));
    for condition in ["covered", "stalled", "picture_changed", "clock_jump"] {
        assert_eq!(lives.get(condition).map(Vec::len), Some(1), "{condition}: {lives:?}");
    }
    // A loaded machine draws too few pictures a second, and a camera that stalls is lost in the end: true alarms both.
    let others = ["moved", "defocused", "too_dark", "too_bright", "clock_drift"];
    let wrong: BTreeSet<_> = lives.keys().filter(|c| others.contains(&c.as_str())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_lasts_over_a_restart_is_ended_once_whether_the_agent_was_asked_or_killed() {
    let _one = ONE.lock().await;
    let mut bench = Bench::start("health-restart", |config| {
        config.cameras[0].health_off = vec![Condition::LowFrameRate];
    })
    .await;
    bench.decoded(120).await;
    bench.misbehave(&Misbehaviour::Cover { ms: 30_000 });
    bench.until_told("covered", "new").await;
    assert!(bench.gate.terminate().success());
    let end = bench.until_told("covered", "end").await;
    assert_eq!(end["data"]["end_reason"], "restart");

    bench.gate.start();
    // The new run must learn the view, not the cover.
    bench.misbehave(&Misbehaviour::Cover { ms: 0 });
    until("the camera again", async || bench.gate.get("/readyz").await).await;
    bench.decoded(120).await;
    bench.misbehave(&Misbehaviour::Cut { ms: 20_000 });
    bench.until_told("signal_lost", "new").await;
    bench.gate.kill();
    bench.gate.start();
    let end = bench.until_told("signal_lost", "end").await;
    assert_eq!(end["data"]["end_reason"], "restart", "{end}");
    bench.decoded(20).await;
    assert!(bench.gate.terminate().success());
    bench.until_all_is_over().await;
    let lives = assert_lives_are_whole(&all(&bench));
    assert_eq!(lives["covered"].len(), 1, "{lives:?}");
    assert!(lives["signal_lost"].iter().any(|(_, why)| why == "restart"), "{lives:?}");
}

/// The bay at night, and nothing moves.
fn still_night() -> Scene {
    let mut night = Scenario::Bay.scene(7, Hour::Night, false);
    night.scripts.clear();
    night
}

#[tokio::test(flavor = "multi_thread")]
async fn a_still_night_is_not_frozen() {
    let _one = ONE.lock().await;
    let mut bench = Bench::before(still_night(), "health-frozen", |config| {
        config.cameras[0].health_off = vec![Condition::LowFrameRate];
    })
    .await;
    // A minute.
    bench.decoded(480).await;
    assert_eq!(bench.told("frozen"), Vec::<Value>::new());
    assert!(bench.gate.terminate().success());
}

/// Codes twenty seconds of the still night and a minute of its last picture, eight pictures a second. Not live: rate
/// control goes by the times of pictures, and those of a busy machine are not even.
#[test]
fn a_picture_that_hangs_in_front_of_the_coder_is_frozen() {
    const LIVE: i64 = 160;
    const ALL: i64 = 640;
    let (dir, size) = (tempfile::tempdir().unwrap(), (320, 180));
    let (raw, coded) = (dir.path().join("night.yuv"), dir.path().join("night.mkv"));
    let (mut source, _truth) = SceneSource::new(still_night(), size).unwrap();
    let mut pictures = std::fs::File::create(&raw).unwrap();
    let mut last = Vec::new();
    for i in 0..ALL {
        if i < LIVE {
            last = source.picture(i as f64 / 8.0, UtcMillis(i * 125), size);
        }
        pictures.write_all(&last).unwrap();
    }
    gstreamer::init().unwrap();
    let text = format!(
        "filesrc location={} ! rawvideoparse format=i420 width=320 height=180 framerate=8/1 \
         ! x264enc threads=1 bitrate=500 key-int-max=8 tune=zerolatency speed-preset=ultrafast ! h264parse \
         ! matroskamux ! filesink location={}",
        raw.display(),
        coded.display()
    );
    let pipeline = gstreamer::parse::launch(&text).unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let ended = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gstreamer::ClockTime::from_seconds(120), &ended);
    pipeline.set_state(gstreamer::State::Null).unwrap();
    assert!(matches!(message.unwrap().view(), gstreamer::MessageView::Eos(_)));

    let mut monitor = HealthMonitor::new(Config::default().health, &[]);
    let mut view = StreamView { state: CameraState::Running, clock_offset_ms: Some(0), ..StreamView::default() };
    let (mut told, mut count) = (Vec::new(), 0);
    for frame in FileSource::open(&coded, CameraId("night".into()), UtcMillis(0)).unwrap() {
        let frame = frame.unwrap();
        let (mono, utc) = (MonoMillis(count * 125), UtcMillis(count * 125));
        view.received += 1;
        view.keyframes += u64::from(frame.keyframe);
        if frame.keyframe {
            monitor.keyframe(mono, fingerprint(&frame).unwrap());
        }
        if count % 4 == 0 {
            monitor.picture(mono, &Luma::of(&frame).unwrap(), view.keyframes);
        }
        let frozen = monitor.look(Now { mono, utc }, &view).into_iter().filter(|c| c.condition == Condition::Frozen);
        told.extend(frozen.map(|c| (count, c.phase)));
        count += 1;
    }
    assert_eq!(count, ALL);
    // As soon as rate control has settled on one way to code it, and that has lasted. It may leave that way for a while.
    assert!(told.iter().all(|(at, _)| *at > LIVE), "{told:?}");
    assert!(matches!((told.first(), told.last()), (Some((_, Phase::New)), Some((_, Phase::New)))), "{told:?}");
}

#[test]
fn the_scripted_cases_of_a_scene_are_noticed_and_its_weather_is_not() {
    use gatewatch::simulate::health::{Tracked, faults, harmless, judge, judge_harmless, play};
    let limits = gatewatch::config::HealthConfig::default();
    let ends = [", bay, day", "packets, bay", "late, bay", "away, bay", "keyframes only, bay"];
    let ours = |name: &str| ends.iter().any(|end| name.ends_with(end));
    let mut played = 0;
    for case in faults().unwrap().into_iter().filter(|c| ours(&c.name)) {
        let (said, _) = play(case.script, &limits).unwrap();
        let outcome = judge(&case.truth, &said);
        assert!(outcome.clean(), "{}: {outcome:?}", case.name);
        played += 1;
    }
    assert!(played >= 16, "{played} cases");
    let quiet = [
        "night at once, bay",
        "rain begins, bay",
        "headlamps into the lens, bay",
        "truck passes slowly, day",
        "truck stops for minutes, keyframes only, day",
        "one odd keyframe, bay",
    ];
    for case in harmless(Tracked::Truly).unwrap().into_iter().filter(|c| quiet.contains(&c.name.as_str())) {
        let (said, _) = play(case.script, &limits).unwrap();
        assert_eq!(judge_harmless(&said), [], "{}", case.name);
    }
}
