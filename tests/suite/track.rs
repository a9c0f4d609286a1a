//! The tracker over a real sequence: ids against ground truth.

use std::collections::BTreeMap;

use gatewatch::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use gatewatch::config::TrackerConfig;
use gatewatch::geometry::Rect;
use gatewatch::ids::IdSource;
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
        let time = FrameTime {
            utc: UtcMillis(frame * 40),
            mono: MonoMillis(frame * 40),
            source: TimeSource::File,
            uncertainty_ms: 0,
            clock_offset_ms: None,
        };
        // The detector of that sequence writes scores up to 100 and beyond.
        let detection =
            |d: &(i64, Rect, f32)| Detection { label: "person".into(), score: (d.2 / 50.0).clamp(0.0, 1.0), rect: d.1 };
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
    for (every, bound) in [(1, 0.55), (5, 0.6)] {
        let truth = truth.iter().filter(|(f, _)| (*f - 1) % every == 0).map(|(f, b)| (*f, b.clone())).collect();
        let tracks = run(&found, every);
        let score = idf1(&truth, &tracks);
        println!("every {every}: IDF1 {score:.3}");
        assert!(score > bound, "IDF1 {score} at every {every}. frame");
        assert_eq!(tracks, run(&found, every), "same input, same tracks");
    }
}
