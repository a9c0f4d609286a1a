//! The tracker over a real sequence: ids against ground truth.

use std::collections::BTreeMap;

use gatewatch::clock::{FrameTime, MonoMillis, UtcMillis};
use gatewatch::config::TrackerConfig;
use gatewatch::geometry::Rect;
use gatewatch::ids::IdSource;
use gatewatch::simulate::light::{Hour, Light};
use gatewatch::simulate::mesh::Kind;
use gatewatch::simulate::scene::{Mount, Script};
use gatewatch::simulate::space::V3;
use gatewatch::simulate::{Renderer, Scene};
use gatewatch::track::{TrackId, Tracker};
use gatewatch::vision::Detection;

/// Lines `frame, id, left, top, width, height, score` by frame.
fn boxes(text: &str) -> BTreeMap<i64, Vec<(i64, Rect, f32)>> {
    let mut frames: BTreeMap<i64, Vec<(i64, Rect, f32)>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let n: Vec<f32> = line.split(',').map(|v| v.trim().parse().unwrap()).collect();
        let rect = Rect { x0: n[2], y0: n[3], x1: n[2] + n[4], y1: n[3] + n[5] };
        frames.entry(n[0] as i64).or_default().push((n[1] as i64, rect, n[6]));
    }
    frames
}

/// Identity F1: ground truth ids against track ids, one to one, by the frames in which they overlap by half. The
/// greedy choice of partners can only make it smaller.
fn idf1(truth: &BTreeMap<i64, Vec<(i64, Rect, f32)>>, tracks: &BTreeMap<i64, Vec<(TrackId, Rect)>>) -> f32 {
    let mut together: BTreeMap<(i64, TrackId), usize> = BTreeMap::new();
    for (frame, known) in truth {
        for (id, rect, _) in known {
            for (track, r) in tracks.get(frame).into_iter().flatten().filter(|(_, r)| r.iou(rect) >= 0.5) {
                assert!(r.area() > 0.0);
                *together.entry((*id, *track)).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<_> = together.into_iter().collect();
    pairs.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let (mut ids, mut used, mut hits) = (Vec::new(), Vec::new(), 0);
    for ((id, track), n) in pairs {
        if !ids.contains(&id) && !used.contains(&track) {
            ids.push(id);
            used.push(track);
            hits += n;
        }
    }
    let all = truth.values().map(Vec::len).sum::<usize>() + tracks.values().map(Vec::len).sum::<usize>();
    2.0 * hits as f32 / all as f32
}

fn run(detections: &BTreeMap<i64, Vec<(i64, Rect, f32)>>, every: i64) -> BTreeMap<i64, Vec<(TrackId, Rect)>> {
    let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::counted(1));
    let mut out = BTreeMap::new();
    for (&frame, found) in detections.iter().filter(|(f, _)| (*f - 1) % every == 0) {
        let time = FrameTime::of_file(UtcMillis(frame * 40), MonoMillis(frame * 40));
        // The detector of that sequence writes scores up to 100 and beyond.
        let detection = |d: &(i64, Rect, f32)| Detection::whole("person".into(), (d.2 / 50.0).clamp(0.0, 1.0), d.1);
        let found: Vec<Detection> = found.iter().map(detection).collect();
        let live = tracker.update(time, &found).iter().filter(|t| t.matched);
        out.insert(frame, live.map(|t| (t.id, t.rect)).collect());
    }
    out
}

#[test]
fn pedestrians_of_a_real_street_keep_their_ids() {
    let Some(folder) = std::env::var_os("GATEWATCH_ASSETS") else {
        println!("skipped: GATEWATCH_ASSETS is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("mot/TUD-Campus");
    let truth = boxes(&std::fs::read_to_string(folder.join("gt/gt.txt")).unwrap());
    let found = boxes(&std::fs::read_to_string(folder.join("det/det.txt")).unwrap());
    // At full rate what ByteTrack has on these boxes (`benches/tracking`).
    for (every, bound) in [(1, 0.543), (5, 0.6)] {
        let truth = truth.iter().filter(|(f, _)| (*f - 1) % every == 0).map(|(f, b)| (*f, b.clone())).collect();
        let tracks = run(&found, every);
        let score = idf1(&truth, &tracks);
        println!("every {every}: IDF1 {score:.3}");
        assert!(score > bound, "IDF1 {score} at every {every}. frame");
        assert_eq!(tracks, run(&found, every), "same input, same tracks");
    }
}

/// A motorcycle passes behind a container, hidden for so long.
struct Passage {
    hidden_ms: i64,
    ids: Vec<TrackId>,
}

/// Five pictures a second with the true boxes, except what is hidden.
fn pass_behind_a_container(metres_a_second: f32) -> Passage {
    let script = |kind: Kind, keys: Vec<(f32, f32, f32)>| Script {
        kind,
        colour: [0.7, 0.2, 0.2],
        second: [0.3; 3],
        keys,
        open: Vec::new(),
        rest: 0.0,
    };
    let seconds = 36.0 / metres_a_second;
    let scene = Scene {
        mount: Mount { eye: V3(0.0, 0.0, 9.0), yaw: 0.0, pitch: 0.32, fov: 1.25 },
        light: Light::of(Hour::Day, 3.6, Vec::new()),
        rain: false,
        props: Vec::new(),
        markings: Vec::new(),
        paved: [-60.0, -30.0, 60.0, 60.0],
        scripts: vec![
            script(Kind::Container, vec![(0.0, 0.0, 27.0), (100.0, 0.0, 27.0)]),
            script(Kind::TwoWheeler, vec![(0.0, -18.0, 29.5), (seconds, 18.0, 29.5)]),
        ],
        period: 100_000.0,
        zones: Vec::new(),
        seed: 1,
    };
    let mut renderer = Renderer::new(scene, (960, 540)).unwrap();
    let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::counted(1));
    let (mut seen_at, mut hidden_ms, mut ids) = (None, 0, Vec::new());
    for ms in (0..(seconds * 1000.0) as i64).step_by(200) {
        let truth = renderer.truth(ms as f64 / 1000.0, UtcMillis(ms));
        let seen = truth.objects.iter().filter(|o| o.occluded < 0.7);
        let found: Vec<Detection> = seen.map(|o| Detection::whole(o.label.as_str().into(), 0.9, o.rect)).collect();
        if found.iter().any(|d| d.label.as_str() == "two_wheeler") {
            hidden_ms = hidden_ms.max(ms - seen_at.unwrap_or(ms) - 200);
            seen_at = Some(ms);
        }
        let time = FrameTime::of_file(UtcMillis(ms), MonoMillis(ms));
        let tracks = tracker.update(time, &found).iter();
        ids.extend(tracks.filter(|t| t.matched && t.label.as_str() == "two_wheeler").map(|t| t.id));
    }
    ids.dedup();
    Passage { hidden_ms, ids }
}

#[test]
fn two_seconds_behind_a_container_in_the_simulator_keep_the_id() {
    let all: Vec<Passage> = (4..=24).map(|v| pass_behind_a_container(v as f32 * 0.25)).collect();
    let hidden: Vec<(i64, usize)> = all.iter().map(|p| (p.hidden_ms, p.ids.len())).collect();
    println!("hidden for, number of ids: {hidden:?}");
    let about_two = all.iter().filter(|p| (1800..=2400).contains(&p.hidden_ms));
    assert!(about_two.clone().count() >= 2, "{hidden:?}");
    assert!(about_two.clone().all(|p| p.ids.len() == 1), "{hidden:?}");
    assert!(all.iter().any(|p| p.hidden_ms > 4000 && p.ids.len() > 1), "longer is another one: {hidden:?}");
}
