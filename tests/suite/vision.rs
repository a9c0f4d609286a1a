//! The detector with real models: what is recognised of them, and what a site can say about one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatewatch::camera::{CameraId, Frame, OwnedI420};
use gatewatch::clock::{FrameTime, MonoMillis, UtcMillis};
use gatewatch::config::DetectorConfig;
use gatewatch::vision::detector::{Detect, Detector};
use gatewatch::vision::regions::Region;
use gatewatch::vision::runtime;

/// The assets, when they are here; says so when not. The runtime must be.
pub fn assets() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("GATEWATCH_ASSETS") else {
        println!("skipped: GATEWATCH_ASSETS is not set");
        return None;
    };
    with_runtime();
    Some(folder.into())
}

/// Loads ONNX Runtime: without it no test of the detector says anything.
pub fn with_runtime() {
    runtime::init(None).expect("`make deps` puts ONNX Runtime in place");
}

pub fn config(assets: &Path, model: &str) -> DetectorConfig {
    let mut config = DetectorConfig { model: assets.join(format!("models/{model}.onnx")), ..DetectorConfig::default() };
    config.rename.clear();
    config
}

/// What the graph of `plate_mnet` does not tell.
pub const PLATE: &str = "names = [\"plate\"]\ncolors = \"bgr\"\nscale = 1.0\nmean = [104.0, 117.0, 123.0]\n[anchors]\n\
    strides = [8, 16, 32]\nsizes = [[[24, 24], [48, 48]], [[96, 96], [192, 192]], [[384, 384], [512, 512]]]\n";

/// A copy of a model with a side-car beside it.
pub fn with_side_car(assets: &Path, model: &str, text: &str) -> (tempfile::TempDir, DetectorConfig) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(format!("{model}.onnx"));
    std::fs::copy(assets.join(format!("models/{model}.onnx")), &copy).unwrap();
    std::fs::write(copy.with_extension("toml"), text).unwrap();
    (dir, DetectorConfig { model: copy, ..config(assets, model) })
}

/// The picture as a camera would deliver it: BT.601 studio range, chroma halved. Its planes one after the other.
pub fn planes(path: &Path) -> (u32, u32, Vec<u8>) {
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
    (width, height, data)
}

pub fn frame((width, height, data): (u32, u32, Vec<u8>)) -> Frame {
    let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
    let planes = Arc::new(OwnedI420::new(width, height, data).unwrap());
    let camera = CameraId("test".into());
    Frame::made(camera, time, (width, height), planes)
}

#[test]
fn every_detector_among_the_assets_is_recognised() {
    let Some(assets) = assets() else { return };
    let models = [
        ("yolox_nano_416", "YOLOX", "416x416 BGR channels first, picture letterbox_top_left"),
        ("nanodet_m_416", "NanoDet ", "416x416 BGR channels first, picture stretch"),
        ("fastestdet_352", "FastestDet", "352x352 BGR channels first, picture stretch"),
        ("yolov5n_from_tflite_fp16", "YOLOv5", "640x640 RGB channels last, picture letterbox"),
        ("yolov8n_int8", "YOLOv8", "640x640 RGB channels first, picture letterbox"),
        ("yolo11n_int8", "YOLOv8", "320x320 RGB channels first, picture letterbox"),
        ("yolo26n_int8", "end-to-end", "640x640 RGB channels first, picture letterbox"),
        ("deimv2_atto_coco_int8", "DETR family (labels", "320x320 RGB channels first, picture stretch"),
    ];
    for (model, layout, input) in models {
        let description = Detector::load(&config(&assets, model), 0.3).unwrap().description();
        assert!(description.contains(&format!("layout {layout}")), "{description}");
        assert!(description.contains(&format!("input {input}")), "{description}");
        assert!(description.contains("80 classes: person, bicycle, car"), "{description}");
    }
}

#[test]
fn what_is_no_detector_or_not_told_is_refused_with_the_key_to_set() {
    let Some(assets) = assets() else { return };
    for (model, key) in [("plate_mnet", "`[anchors]`"), ("ppocr_en_PP-OCRv3_det", "`layout`")] {
        let message = Detector::load(&config(&assets, model), 0.1).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(&format!("{model}.toml")), "{message}");
    }
}

#[test]
fn a_side_car_tells_what_the_graph_does_not() {
    let Some(assets) = assets() else { return };
    let (dir, config) = with_side_car(&assets, "plate_mnet", PLATE);
    let detector = Detector::load(&config, 0.3).unwrap();
    let description = detector.description();
    assert!(
        description.contains("SSD without suppression") && description.ends_with("1 classes: plate"),
        "{description}"
    );
    let told = |what: &str| detector.told().iter().find(|t| t.what == what).map(|t| (t.value.clone(), t.by)).unwrap();
    assert_eq!(told("mean"), ("[104, 117, 123]".to_owned(), "side-car"));
    assert_eq!(told("resize"), ("stretch".to_owned(), "usual in its family"));
    assert!(told("scores").0.contains("background first"), "{:?}", told("scores"));
    std::fs::write(dir.path().join("plate_mnet.toml"), PLATE.replace("colors", "colour")).unwrap();
    let message = Detector::load(&config, 0.3).unwrap_err().to_string();
    assert!(message.contains("plate_mnet.toml:2:1: colour: unknown key; did you mean `colors`?"), "{message}");
}

#[test]
fn a_model_of_another_digest_is_refused() {
    let Some(assets) = assets() else { return };
    let wrong = DetectorConfig { model_sha256: Some("0".repeat(64)), ..config(&assets, "yolox_nano_416") };
    let message = Detector::load(&wrong, 0.3).unwrap_err().to_string();
    let own = "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14";
    assert!(message.contains(own) && message.contains("detector.model_sha256"), "{message}");
    assert!(Detector::load(&DetectorConfig { model_sha256: Some(own.into()), ..wrong }, 0.3).is_ok());
}

#[test]
fn a_provider_the_library_lacks_is_replaced_by_the_processor() {
    let Some(assets) = assets() else { return };
    let cuda = DetectorConfig {
        execution_provider: gatewatch::config::ExecutionProvider::Cuda,
        ..config(&assets, "yolox_nano_416")
    };
    let mut detector = Detector::load(&cuda, 0.3).unwrap();
    let frame = frame(planes(&assets.join("labelled/coco128/images/000000000247.jpg")));
    assert!(!detector.detect(&frame, &[Region::whole(frame.width, frame.height)]).unwrap().is_empty());
    assert!(["cpu", "cuda"].contains(&detector.provider()), "{}", detector.provider());
}
