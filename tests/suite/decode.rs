//! Adaptive decoding from end to end: two cameras on one stream, one decoded in full and one adaptively, must tell the
//! same at the same times.

use gatewatch::camera::Codec;
use gatewatch::clock::UtcMillis;
use gatewatch::config::{CameraConfig, DecodeMode};
use gatewatch::event::EventMessage;
use gatewatch::rules::{Phase, RuleKind};
use gatewatch::simulate::{Scene, SceneSource, ServerOptions, SimCamera, SimKind, SimServer};
use gatewatch::telemetry::metrics::{DECODE_WAKES, FRAMES_DECODED, FRAMES_RECEIVED};

use crate::agent::ONE;
use crate::support::gate::{Gate, SIZE, area, bay, bay_polygon, camera, own_model};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::until;

/// Seconds from truck to truck.
const PERIOD: f32 = 25.0;
/// Both are analysed five times a second, and a held picture may be passed over while the decoder catches up.
const TOLERATED_MS: i64 = 600;

/// A truck every [`PERIOD`], in view for some four seconds; nothing else moves.
fn rare_truck() -> Scene {
    let mut scene = bay();
    scene.scripts.truncate(1);
    scene.scripts[0].keys = vec![(0.0, -30.0, 17.4), (18.0, -30.0, 17.4), (24.0, 30.0, 17.4), (25.0, 30.0, 17.4)];
    scene.period = PERIOD;
    scene
}

/// Keyframes four seconds apart, as cameras come out of the box, and bits enough that sizes may rise.
fn serve(scene: Scene) -> SimServer {
    let (source, _truth) = SceneSource::new(scene, SIZE).unwrap();
    let kind = SimKind::Drawn { source: Box::new(source), codec: Codec::H264, fps: 10, bitrate_kbit: 8000, gop: 40 };
    SimServer::start(vec![SimCamera { name: "bay".into(), kind }], ServerOptions::default()).unwrap()
}

fn watched(id: &str, url: String, decode: DecodeMode) -> CameraConfig {
    CameraConfig { decode, areas: vec![area(&format!("{id}-bay"), bay_polygon(), 60.0)], ..camera(id, url) }
}

/// Start of the first entry of each truck.
fn entries(events: &[EventMessage], camera: &str) -> Vec<UtcMillis> {
    let mut starts: Vec<UtcMillis> = events
        .iter()
        .filter(|e| e.data.camera.id.0 == camera && e.data.rule == RuleKind::Enter && e.data.phase == Phase::New)
        .map(|e| e.data.capture.start)
        .collect();
    starts.sort();
    let half_ms = (PERIOD * 500.0) as i64;
    starts.dedup_by(|later, first| later.since(*first) < half_ms);
    starts
}

/// A counter of one camera in the text of `/metrics`.
fn counter(metrics: &str, name: &str, camera: &str) -> f64 {
    let label = format!("camera=\"{camera}\"");
    let lines = metrics.lines().filter(|l| l.starts_with(name) && l.contains(&label));
    lines.filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_camera_tells_what_one_that_is_decoded_in_full_tells() {
    let _alone = ONE.lock().await;
    let broker = Mosquitto::open();
    let desk = Listener::start(broker.url(), "desk").await;
    let server = serve(rare_truck());
    let cameras = [("full", DecodeMode::Always), ("idle", DecodeMode::Adaptive)];
    let cameras = cameras.map(|(id, decode)| watched(id, server.url("bay"), decode));
    let mut gate = Gate::new(own_model(), broker.url(), cameras.into());
    gate.start();
    gate.until_ready().await;
    let told = async || {
        let events = desk.events();
        let (full, idle) = (entries(&events, "full"), entries(&events, "idle"));
        (full.len() >= 3 && idle.len() >= 3).then_some((full, idle))
    };
    let (full, idle) = until("three trucks at both cameras", told).await;
    for (full, idle) in full.iter().zip(&idle).take(3) {
        assert!(full.since(*idle).abs() <= TOLERATED_MS, "one truck, entered at {full:?} and {idle:?}");
    }
    // Whether it idles depends on what the encoder makes of the drawn noise; that it misses nothing must not.
    let metrics = gate.get("/metrics").await.unwrap().1;
    let share = |c: &str| counter(&metrics, FRAMES_DECODED, c) / counter(&metrics, FRAMES_RECEIVED, c);
    let woke = counter(&metrics, DECODE_WAKES, "idle");
    println!("decoded: full {:.3}, adaptive {:.3}; woke {woke} times", share("full"), share("idle"));
    assert!(share("full") > 0.9 && share("idle") > 0.0, "{} and {}", share("full"), share("idle"));
    assert!(gate.terminate().success());
}
