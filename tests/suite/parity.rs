//! Boxes and tensors against an independent decoder (tests/data/parity/make_golden.py) on the same decoded pictures, for
//! every detector among the assets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatewatch::geometry::Rect;
use gatewatch::vision::detector::{Detect, Detector};
use gatewatch::vision::regions::Region;
use gatewatch::vision::{Detection, labels, runtime};
use sha2::{Digest, Sha256};

use crate::vision::{PLATE, assets, config, frame, planes, with_side_car};

const MODELS: [&str; 9] = [
    "yolox_nano_416",
    "nanodet_m_416",
    "fastestdet_352",
    "yolov5n_from_tflite_fp16",
    "yolov8n_int8",
    "yolo11n_int8",
    "yolo26n_int8",
    "deimv2_atto_coco_int8",
    "plate_mnet",
];
/// Every so many pictures, sorted by name.
const EVERY: usize = 5;

#[derive(serde::Deserialize)]
struct Golden {
    /// Version of ONNX Runtime.
    runtime: String,
    /// What one grey level is in each channel of the tensor.
    grey: [f32; 3],
    pictures: BTreeMap<String, Picture>,
}

/// Class, score, left, top, right, bottom.
type GoldenBox = (usize, f32, f32, f32, f32, f32);

#[derive(serde::Deserialize)]
struct Picture {
    planes: String,
    boxes: Vec<GoldenBox>,
    /// Number k of the tensor is its element k * 7919.
    #[serde(default)]
    tensor: Vec<f32>,
}

/// Golden boxes of a model, and what they need to be comparable; says why when they are not.
fn golden(model: &str) -> Option<Golden> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/parity/{model}.json"));
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if !model.ends_with("_int8") {
        return Some(golden);
    }
    // Quantised graphs turn any other rounding, of another kernel too, into boxes moved by pixels.
    let library = runtime::init(None).map(|p| p.canonicalize().unwrap_or(p)).unwrap();
    if !library.to_string_lossy().ends_with(&golden.runtime) {
        println!("skipped {model}: golden boxes are of ONNX Runtime {}, not {}", golden.runtime, library.display());
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    let same_kernels = std::arch::is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let same_kernels = false;
    if !same_kernels {
        println!("skipped {model}: golden boxes are of a processor with AVX512-VNNI");
    }
    same_kernels.then_some(golden)
}

fn pictures(assets: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(assets.join("labelled/coco128/images")).unwrap();
    let mut all: Vec<_> = folder.map(|e| e.unwrap().path()).collect();
    all.sort();
    all.into_iter().step_by(EVERY).collect()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// What was found for a golden box: overlap and the distance of scores.
fn nearest<'a>(name: &str, rect: Rect, found: &'a [Detection]) -> (f32, Option<&'a Detection>) {
    let same = found.iter().filter(|d| d.label.as_str() == name);
    let best = same.max_by(|a, b| a.rect.iou(&rect).total_cmp(&b.rect.iou(&rect)));
    (best.map_or(0.0, |d| d.rect.iou(&rect)), best)
}

/// Differences of one picture, and how many boxes were compared. A golden box stands for one found box only.
fn compare(boxes: &[GoldenBox], found: &[Detection], names: &[String]) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let judged = boxes.iter().filter(|b| b.1 > 0.3);
    for &(class, score, x0, y0, x1, y1) in judged.clone() {
        let rect = Rect { x0, y0, x1, y1 };
        let (iou, best) = nearest(&names[class], rect, found);
        let off = best.map_or(1.0, |d| (d.score - score).abs());
        if iou < 0.99 || off > 0.01 {
            wrong.push(format!("class {class} score {score} {rect:?}: IoU {iou:.4}, score off by {off:.4}"));
        }
    }
    let mut left: Vec<&GoldenBox> = boxes.iter().collect();
    for d in found.iter().filter(|d| d.score > 0.3) {
        let is = |b: &GoldenBox| {
            let rect = Rect { x0: b.2, y0: b.3, x1: b.4, y1: b.5 };
            names[b.0] == d.label.as_str() && d.rect.iou(&rect) >= 0.99 && (d.score - b.1).abs() <= 0.01
        };
        match left.iter().position(|b| is(b)) {
            Some(at) => {
                left.swap_remove(at);
            }
            None => wrong.push(format!("extra {} {:.3} {:?}", d.label, d.score, d.rect)),
        }
    }
    (judged.count(), wrong)
}

#[test]
fn boxes_and_tensors_are_those_of_an_independent_decoder() {
    let Some(assets) = assets() else { return };
    let views: Vec<_> = pictures(&assets).iter().map(|p| (name(p), planes(p))).collect();
    if let Some(folder) = std::env::var_os("GATEWATCH_PLANES").map(PathBuf::from) {
        for (name, (w, h, data)) in &views {
            std::fs::write(folder.join(format!("{name}_{w}x{h}.i420")), data).unwrap();
        }
    }
    let mut wrong = Vec::new();
    for model in MODELS {
        let Some(golden) = golden(model) else { continue };
        assert_eq!(golden.pictures.len(), views.len(), "{model}: make the golden boxes anew");
        let (_dir, names, configuration) = match model {
            "plate_mnet" => {
                let (dir, configuration) = with_side_car(&assets, model, PLATE);
                (Some(dir), vec!["plate".to_owned()], configuration)
            }
            _ => (None, labels::coco(80).unwrap(), config(&assets, model)),
        };
        let mut detector = Detector::load(&configuration, 0.2).unwrap();
        let mut count = 0;
        let mut differing = Vec::new();
        for (name, view) in &views {
            let expected = &golden.pictures[name];
            let digest = hex::encode(Sha256::digest(&view.2));
            assert_eq!(digest[..16], expected.planes, "{name}: the picture is decoded differently, make them anew");
            let frame = frame(view.clone());
            let whole = Region::whole(frame.width, frame.height);
            assert_tensor(model, detector.prepare(&frame, whole).unwrap(), expected, golden.grey);
            let found = detector.detect(&frame, &[whole]).unwrap();
            let (compared, differs) = compare(&expected.boxes, &found, &names);
            count += compared;
            differing.extend(differs.into_iter().map(|d| format!("{model} {name}: {d}")));
        }
        println!("{model}: {count} boxes compared, {} differ", differing.len());
        // These are pictures of streets and rooms: few plates are large enough.
        let least = if model == "plate_mnet" { 1 } else { 30 };
        assert!(count >= least, "{model}: only {count} boxes compared");
        wrong.extend(differing);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Within rounding to whole grey levels of a tensor made with OpenCV.
fn assert_tensor(model: &str, tensor: &[f32], expected: &Picture, grey: [f32; 3]) {
    let level = grey.into_iter().fold(f32::MAX, f32::min);
    for (k, want) in expected.tensor.iter().enumerate() {
        let got = tensor[k * 7919 % tensor.len()];
        let off = (got - want).abs() / level;
        // The finest channel's level, against at most half of the coarsest's and the decimals of the file.
        assert!(off <= 0.55, "{model}: number {k} is {got}, not {want}: {off} grey levels");
    }
}
