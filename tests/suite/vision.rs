//! The detector with real models, against boxes that an independent decoder found (tests/data/vision_golden.py).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gatewatch::camera::{CameraId, Frame, OwnedI420, PixelLayout};
use gatewatch::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use gatewatch::config::DetectorConfig;
use gatewatch::geometry::Rect;
use gatewatch::vision::detector::{Detect, Detector};
use gatewatch::vision::regions::Region;
use gatewatch::vision::{Detection, labels, runtime};

#[derive(serde::Deserialize)]
struct Golden {
    model: String,
    picture: String,
    boxes: Vec<(usize, f32, f32, f32, f32, f32)>,
}

/// The assets, when they and the runtime are here; says so when not.
fn assets() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("GATEWATCH_ASSETS") else {
        eprintln!("skipped: GATEWATCH_ASSETS is not set");
        return None;
    };
    if let Err(e) = runtime::init(None) {
        eprintln!("skipped: {e}");
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

/// Each golden box above `floor` must be found again: the worst overlap and the worst difference of scores. A box whose
/// sides are all within a pixel and a half counts as overlapping: on a thing of twenty pixels, that is an IoU of 0.9.
fn compare(golden: &Golden, found: &[Detection], floor: f32) -> (f32, f32, usize) {
    let names = labels::coco(80).unwrap();
    let strong = golden.boxes.iter().filter(|b| b.1 > floor);
    strong.fold((1.0, 0.0, 0), |(worst, off, n), &(class, score, x0, y0, x1, y1)| {
        let rect = Rect { x0, y0, x1, y1 };
        let same = found.iter().filter(|d| d.label.as_str() == names[class]);
        let best = same.max_by(|a, b| a.rect.iou(&rect).total_cmp(&b.rect.iou(&rect)));
        let (iou, diff) = best.map_or((0.0, 1.0), |d| (d.rect.iou(&rect), (d.score - score).abs()));
        let side = best.map_or(f32::MAX, |d| {
            let (a, b) = (<[f32; 4]>::from(d.rect), <[f32; 4]>::from(rect));
            (0..4).map(|i| (a[i] - b[i]).abs()).fold(0.0, f32::max)
        });
        eprintln!(
            "  {:12} {score:.3}: IoU {iou:.4}, sides {side:.2} px, score off by {diff:.4} {rect:?}",
            names[class]
        );
        let iou = if side <= 1.5 { iou.max(0.95) } else { iou };
        (f32::min(worst, iou), f32::max(off, diff), n + 1)
    })
}

#[test]
fn real_models_find_what_an_independent_decoder_finds() {
    let Some(assets) = assets() else { return };
    let golden: Vec<Golden> = serde_json::from_str(include_str!("../data/vision_golden.json")).unwrap();
    let mut compared = 0;
    for g in &golden {
        let mut detector = Detector::load(&config(&assets, &g.model), 0.1).unwrap();
        let frame = camera_view(&assets.join(&g.picture));
        let found = detector.detect(&frame, &[Region::whole(frame.width, frame.height)]).unwrap();
        eprintln!("{} {}", g.model, g.picture);
        let (iou, score, n) = compare(g, &found, 0.3);
        assert!(iou >= 0.95 && score <= 0.03, "{} {}: IoU {iou}, score off by {score}", g.model, g.picture);
        let extra = found.iter().filter(|d| d.score > 0.35).count();
        assert!(extra <= g.boxes.len(), "{} {}: {extra} boxes, golden {}", g.model, g.picture, g.boxes.len());
        compared += n;
    }
    assert!(compared > 20, "only {compared} boxes compared");
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
        eprintln!("{model}: {found:?}");
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
            let start = Instant::now();
            assert!(!detector.detect(&frame, &whole).unwrap().is_empty());
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    eprintln!("detect: median {:.2} ms, least {:.2} ms", times[20], times[0]);
}
