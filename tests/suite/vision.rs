//! The detector with real models, against boxes that an independent decoder found (tests/data/vision_golden.py).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatewatch::camera::{CameraId, Frame, OwnedI420, PixelLayout};
use gatewatch::clock::{self, FrameTime, MonoMillis, TimeSource, UtcMillis};
use gatewatch::config::DetectorConfig;
use gatewatch::geometry::Rect;
use gatewatch::vision::detector::{Detect, Detector};
use gatewatch::vision::regions::Region;
use gatewatch::vision::{Detection, labels, runtime};

#[derive(serde::Deserialize)]
struct Golden {
    model: String,
    picture: String,
    boxes: Vec<GoldenBox>,
}

/// Class, score, left, top, right, bottom.
type GoldenBox = (usize, f32, f32, f32, f32, f32);

/// The assets, when they and the runtime are here; says so when not.
fn assets() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("GATEWATCH_ASSETS") else {
        println!("skipped: GATEWATCH_ASSETS is not set");
        return None;
    };
    if let Err(e) = runtime::init(None) {
        println!("skipped: {e}");
        return None;
    }
    Some(folder.into())
}

fn config(assets: &Path, model: &str) -> DetectorConfig {
    let mut config = DetectorConfig { model: assets.join(format!("models/{model}.onnx")), ..DetectorConfig::default() };
    config.rename.clear();
    config
}

/// The picture as a camera would deliver it: BT.601 studio range, chroma halved.
fn camera_view(path: &Path) -> Frame {
    let rgb = image::open(path).unwrap().to_rgb8();
    let (width, height) = (rgb.width() / 2 * 2, rgb.height() / 2 * 2);
    let at = |x: u32, y: u32| rgb.get_pixel(x, y).0.map(f32::from);
    let mut data = Vec::with_capacity(OwnedI420::bytes(width as usize, height as usize));
    for y in 0..height {
        for x in 0..width {
            let [r, g, b] = at(x, y);
            data.push((16.5 + 0.256_788 * r + 0.504_129 * g + 0.097_906 * b) as u8);
        }
    }
    for [cr, cg, cb] in [[-0.148_223, -0.290_993, 0.439_216], [0.439_216, -0.367_788, -0.071_427]] {
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let [r, g, b] = at(x, y);
                data.push((128.5 + cr * r + cg * g + cb * b) as u8);
            }
        }
    }
    let time = FrameTime {
        utc: UtcMillis(0),
        mono: MonoMillis(0),
        source: TimeSource::File,
        uncertainty_ms: 0,
        clock_offset_ms: None,
    };
    let planes = Arc::new(OwnedI420::new(width, height, data).unwrap());
    let camera = CameraId("test".into());
    Frame { camera, number: 0, time, width, height, layout: PixelLayout::I420, bt709: false, planes }
}

/// A golden box beside the detection of its class that overlaps it most.
struct Pair {
    score: f32,
    least_side: f32,
    /// 0 when nothing of its class was found.
    iou: f32,
    score_off: f32,
    /// The side that is furthest off, pixels.
    side_off: f32,
}

fn pair(&(class, score, x0, y0, x1, y1): &GoldenBox, found: &[Detection]) -> Pair {
    let rect = Rect { x0, y0, x1, y1 };
    let name = &labels::coco(80).unwrap()[class];
    let same = found.iter().filter(|d| d.label.as_str() == name);
    let best = same.max_by(|a, b| a.rect.iou(&rect).total_cmp(&b.rect.iou(&rect)));
    let sides = |d: &Detection| {
        let (a, b) = (<[f32; 4]>::from(d.rect), <[f32; 4]>::from(rect));
        (0..4).map(|i| (a[i] - b[i]).abs()).fold(0.0, f32::max)
    };
    let (iou, score_off) = best.map_or((0.0, 1.0), |d| (d.rect.iou(&rect), (d.score - score).abs()));
    let side_off = best.map_or(f32::MAX, sides);
    let pair = Pair { score, least_side: (x1 - x0).min(y1 - y0), iou, score_off, side_off };
    println!("  {name:12} {score:.3}: IoU {iou:.4}, sides {side_off:.2} px, score off by {score_off:.4} {rect:?}");
    pair
}

/// All golden boxes of some models, each with what was found for it.
fn pairs(assets: &Path, of: impl Fn(&str) -> bool) -> Vec<(String, Pair)> {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("../data/vision_golden.json")).unwrap();
    let mut all = Vec::new();
    for g in golden.iter().filter(|g| of(&g.model)) {
        let mut detector = Detector::load(&config(assets, &g.model), 0.1).unwrap();
        let frame = camera_view(&assets.join(&g.picture));
        let found = detector.detect(&frame, &[Region::whole(frame.width, frame.height)]).unwrap();
        println!("{} {}", g.model, g.picture);
        let strong = found.iter().filter(|d| d.score > 0.35).count();
        let name = format!("{} {}", g.model, g.picture);
        if g.model.ends_with("_int8") {
            assert!(strong <= g.boxes.len() + 1, "{name}: {strong} boxes, golden {}", g.boxes.len());
        } else {
            assert!(strong <= g.boxes.len(), "{name}: {strong} boxes, golden {}", g.boxes.len());
        }
        all.extend(g.boxes.iter().map(|b| (name.clone(), pair(b, &found))));
    }
    all
}

/// Small boxes are judged by their sides: on a thing of twenty pixels, one pixel is an IoU of 0.9.
#[test]
fn a_float_model_finds_what_an_independent_decoder_finds() {
    let Some(assets) = assets() else { return };
    let all = pairs(&assets, |model| !model.ends_with("_int8"));
    let judged: Vec<_> = all.iter().filter(|(_, p)| p.score > 0.3).collect();
    for (name, p) in &judged {
        assert!(p.score_off <= 0.02, "{name}: score {} off by {}", p.score, p.score_off);
        let placed = if p.least_side >= 24.0 { p.iou >= 0.95 } else { p.side_off <= 1.5 };
        assert!(placed, "{name}: score {}, IoU {}, sides off by {}", p.score, p.iou, p.side_off);
    }
    assert!(judged.len() >= 40, "only {} boxes compared", judged.len());
}

/// Quantised graphs amplify the rounding of the picture: moving every pixel of the input by one grey level moves their
/// own boxes down to an IoU of 0.72. So what is plainly there must be found, and how numbers become boxes is compared on
/// equal numbers in `vision_decode`.
#[test]
fn quantised_models_find_what_is_plainly_there() {
    let Some(assets) = assets() else { return };
    let all = pairs(&assets, |model| model.ends_with("_int8"));
    let judged: Vec<_> = all.iter().filter(|(_, p)| p.score >= 0.5 && p.least_side >= 32.0).collect();
    for (name, p) in &judged {
        assert!(p.iou >= 0.7, "{name}: score {}, IoU {}", p.score, p.iou);
    }
    assert!(judged.len() >= 40, "only {} boxes compared", judged.len());
}

#[test]
fn what_is_no_known_detector_is_refused_with_its_outputs() {
    let Some(assets) = assets() else { return };
    for (model, named) in [("nanodet_m_416", "dis_pred_stride_8"), ("fastestdet_352", "758")] {
        let message = Detector::load(&config(&assets, model), 0.1).unwrap_err().to_string();
        assert!(message.contains(named) && message.contains("detector.layout"), "{message}");
    }
}

#[test]
fn other_layouts_are_recognised_and_find_the_same_things() {
    let Some(assets) = assets() else { return };
    let frame = camera_view(&assets.join("labelled/coco128/images/000000000247.jpg"));
    for (model, layout) in [("yolov5n_from_tflite_fp16", "YOLOv5"), ("yolo26n_int8", "end-to-end")] {
        let mut detector = Detector::load(&config(&assets, model), 0.3).unwrap();
        assert!(detector.description().contains(layout), "{}", detector.description());
        let found = detector.detect(&frame, &[Region::whole(frame.width, frame.height)]).unwrap();
        println!("{model}: {found:?}");
        assert!(!found.is_empty());
    }
}

#[test]
fn latency_is_reported() {
    let Some(assets) = assets() else { return };
    let mut detector = Detector::load(&config(&assets, "yolox_nano_416"), 0.1).unwrap();
    let frame = camera_view(&assets.join("labelled/coco128/images/000000000247.jpg"));
    let whole = [Region::whole(frame.width, frame.height)];
    let mut times: Vec<f64> = (0..40)
        .map(|_| {
            let start = clock::precise_now();
            assert!(!detector.detect(&frame, &whole).unwrap().is_empty());
            (clock::precise_now() - start).as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("detect: median {:.2} ms, least {:.2} ms", times[20], times[0]);
}
