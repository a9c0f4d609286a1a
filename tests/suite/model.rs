//! `gatewatch model` as a process, and graphs of other types than float32: open sizes, float16, uint8 (made by
//! tests/data/models/make_models.py), without assets.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use gatewatch::camera::OwnedI420;
use gatewatch::config::DetectorConfig;
use gatewatch::geometry::Rect;
use gatewatch::vision::detector::{Detect, Detector};
use gatewatch::vision::regions::Region;

use crate::support::gate::own_model;
use crate::vision::{frame, with_runtime};

/// A copy of a tiny graph in a folder of its own, where a side-car may be put.
fn tiny(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/models/{name}.onnx"));
    let to = dir.path().join(format!("{name}.onnx"));
    std::fs::copy(from, &to).unwrap();
    (dir, to)
}

/// What a model sees on a red picture of 320x192: class, score, box.
fn seen(model: &Path) -> (String, f32, Rect) {
    let mut detector =
        Detector::load(&DetectorConfig { model: model.into(), ..DetectorConfig::default() }, 0.2).unwrap();
    println!("{}", detector.description());
    let mut red = frame((8, 8, vec![0; OwnedI420::bytes(8, 8)]));
    (red.width, red.height) = (320, 192);
    red.planes = Arc::new(OwnedI420::filled(320, 192, 81, 90, 240));
    let found = detector.detect(&red, &[Region::whole(320, 192)]).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    (found[0].label.to_string(), found[0].score, found[0].rect)
}

fn is_upper_left_quarter(rect: &Rect) -> bool {
    rect.iou(&Rect::from([0.0, 0.0, 160.0, 96.0])) > 0.99
}

#[test]
fn a_half_precision_graph_of_open_size_takes_its_size_from_what_is_said() {
    with_runtime();
    let (dir, model) = tiny("half_rows");
    let (label, score, rect) = seen(&model);
    assert!(label == "container" && score > 0.99 && is_upper_left_quarter(&rect), "{label} {score} {rect:?}");
    // Twice as wide as the shape of the picture: half of the input is padding.
    std::fs::write(dir.path().join("half_rows.toml"), "input_size = [320, 96]\n").unwrap();
    let (_, score, rect) = seen(&model);
    assert!((score - 0.72).abs() < 0.02 && (rect.x1 - 160.0).abs() < 2.0, "half red, half grey: {score} {rect:?}");
    std::fs::write(dir.path().join("half_rows.toml"), "input_size = [320, 96]\nresize = \"stretch\"\n").unwrap();
    let (_, score, rect) = seen(&model);
    assert!(score > 0.99 && is_upper_left_quarter(&rect), "{score} {rect:?}");
    std::fs::write(dir.path().join("half_rows.toml"), "scale = 0.002\n").unwrap();
    let score = seen(&model).1;
    assert!((score - 0.508).abs() < 0.01, "254 times 0.002: {score}");
}

#[test]
fn a_graph_of_bytes_with_suppression_counts_its_boxes_and_classes() {
    with_runtime();
    let (dir, model) = tiny("bytes_ssd");
    let (label, score, rect) = seen(&model);
    assert!(label == "truck" && score > 0.99 && is_upper_left_quarter(&rect), "{label} {score} {rect:?}");
    let text = "names = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"lorry\"]\ninput_size = [64, 64]\n";
    std::fs::write(dir.path().join("bytes_ssd.toml"), text).unwrap();
    assert_eq!(seen(&model).0, "lorry", "the first name belongs to number 1");
    std::fs::write(dir.path().join("bytes_ssd.toml"), "colors = \"bgr\"\n").unwrap();
    let found = Detector::load(&DetectorConfig { model, ..DetectorConfig::default() }, 0.2).unwrap();
    assert!(found.description().contains("BGR channels last"), "{}", found.description());
}

fn gatewatch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatewatch")).arg("model").args(args).output().unwrap()
}

#[test]
fn inspect_says_what_is_known_and_by_whom_and_draws_what_it_sees() {
    with_runtime();
    let dir = tempfile::tempdir().unwrap();
    let (picture, out) = (dir.path().join("street.png"), dir.path().join("seen.jpg"));
    image::RgbImage::from_fn(200, 120, |x, y| image::Rgb([x as u8, y as u8, 90])).save(&picture).unwrap();
    let model = own_model();
    let args =
        ["inspect", &model.to_string_lossy(), "--picture", &picture.to_string_lossy(), "--out", &out.to_string_lossy()];
    let output = gatewatch(&args);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "computes  on cpu",
        "input     images [1, 3, 416, 416] float32",
        "layout    YOLOX (grid and stride)  (metadata)",
        "input     416x416, channels first  (graph)",
        "resize    letterbox_top_left  (usual in its family)",
        "classes   7: person, two_wheeler, car, bus, truck, container, forklift  (metadata)",
        "200x120",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    let drawn = image::open(&out).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (200, 120));
    let refused = gatewatch(&["inspect", "/nowhere/a.onnx"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("/nowhere/a.onnx"));
}

#[test]
fn bench_measures_each_number_of_threads_and_says_what_is_not_to_be_had() {
    with_runtime();
    let output = gatewatch(&["bench", &own_model().to_string_lossy(), "--threads", "1,2", "--runs", "3"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let lines: Vec<Vec<&str>> = said.lines().map(|l| l.split_whitespace().collect()).collect();
    for threads in ["1", "2"] {
        let line = lines.iter().find(|l| l.len() == 6 && l[0] == "cpu" && l[1] == threads).unwrap();
        let [median, low, high] = [2, 3, 4].map(|i| line[i].parse::<f64>().unwrap());
        assert!(0.0 < low && low <= median && median <= high, "{line:?}");
    }
    let mentioned = |name: &str| lines.iter().any(|l| l.first() == Some(&name));
    assert!(mentioned("openvino") && mentioned("cuda") && mentioned("tensorrt"), "{said}");
}
