//! Every output layout against an independent decoder (tests/data/vision_decode.py), on the same made-up numbers: from the
//! tensor to the boxes in the frame after suppression. No model, no assets.

use gatewatch::geometry::Rect;
use gatewatch::vision::layout::{InputSpec, Layout, Output, Reading, Seen};
use gatewatch::vision::letterbox::{Letterbox, Placement};
use gatewatch::vision::regions::Region;
use gatewatch::vision::sidecar::SideCar;
use gatewatch::vision::suppress::{Candidate, Limits, suppress};

const CLASSES: usize = 3;
const FLOOR: f32 = 0.25;
const STRIDES: [u32; 3] = [8, 16, 32];

#[derive(serde::Deserialize)]
struct Decoded {
    layout: String,
    input: u32,
    before: usize,
    boxes: Vec<(usize, f32, f32, f32, f32, f32)>,
}

/// The hash of the script.
fn v(index: usize, field: usize) -> u32 {
    let n = (index * 16 + field + 1) as u32;
    n.wrapping_mul(2_654_435_761).wrapping_mul(2_246_822_519) >> 16
}

fn pixels(k: usize) -> [f32; 4] {
    let centre = |a: usize| (v(k, a) % 6 * 48 + v(k, a + 1) % 8 + 20) as f32;
    [centre(0), centre(2), (40 + v(k, 4) % 16) as f32, (40 + v(k, 5) % 16) as f32]
}

/// Scores of the classes and the objectness; most boxes have none.
fn scores(k: usize) -> ([f32; CLASSES], f32) {
    if !v(k, 6).is_multiple_of(23) {
        return ([0.0; CLASSES], 0.0);
    }
    ([7, 8, 9].map(|f| v(k, f) as f32 / 65_536.0), 0.5 + v(k, 10) as f32 / 131_072.0)
}

fn yolox_row(k: usize) -> Vec<f32> {
    let offset = |f: usize| (v(k, f) % 256) as f32 / 64.0 - 2.0;
    let log = |f: usize| (v(k, f) % 256) as f32 / 128.0 + 0.5;
    let (each, objectness) = scores(k);
    [&[offset(0), offset(1), log(2), log(3), objectness], &each[..]].concat()
}

fn yolov5_row(k: usize, input: &InputSpec) -> Vec<f32> {
    let (each, objectness) = scores(k);
    let [x, y, w, h] = pixels(k);
    let (sx, sy) = if input.channels_last { (input.width as f32, input.height as f32) } else { (1.0, 1.0) };
    [&[x / sx, y / sy, w / sx, h / sy, objectness], &each[..]].concat()
}

fn end_to_end_row(k: usize) -> Vec<f32> {
    let [x, y, w, h] = pixels(k);
    let score = scores(k).0.into_iter().fold(0.0, f32::max);
    vec![x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0, score, (v(k, 11) % CLASSES as u32) as f32]
}

/// Shape and numbers of the made-up output.
fn output(layout: &str, input: &InputSpec) -> ([usize; 3], Vec<f32>) {
    let rows = |n: usize, row: &dyn Fn(usize) -> Vec<f32>| {
        let data: Vec<f32> = (0..n).flat_map(row).collect();
        ([1, n, data.len() / n], data)
    };
    match layout {
        "yolox" => rows(input.cells(&STRIDES), &yolox_row),
        "yolov5" => rows(3 * input.cells(&STRIDES), &|k| yolov5_row(k, input)),
        "end_to_end" => rows(300, &end_to_end_row),
        _ => {
            let number = |row: usize, k: usize| if row < 4 { pixels(k)[row] } else { scores(k).0[row - 4] };
            let n = input.cells(&STRIDES);
            let data = (0..4 + CLASSES).flat_map(|row| (0..n).map(move |k| number(row, k))).collect();
            ([1, 4 + CLASSES, n], data)
        }
    }
}

/// Boxes before suppression, and what is left after it.
fn decode(layout: &str, input: &InputSpec) -> (usize, Vec<Candidate>) {
    let (shape, data) = output(layout, input);
    let outputs = [Output { name: "output", shape: shape.to_vec(), data: data.into() }];
    let seen = Seen { outputs: &outputs, input: *input, more_inputs: &[], description: "" };
    let known = Reading::recognise(&SideCar::default(), &seen).unwrap();
    let placement = if known.layout == Layout::Yolox { Placement::TopLeft } else { Placement::Center };
    let letterbox = Letterbox::new(Region::whole(1280, 720), (input.width, input.height), placement);
    let mut raw = Vec::new();
    assert_eq!(known.decode(&outputs, FLOOR, &mut raw), 0, "all numbers are finite");
    let candidate = |r: &gatewatch::vision::layout::RawBox| Candidate {
        class: r.class,
        score: r.score,
        rect: letterbox.to_frame(&r.rect),
        region: 0,
        cut: false,
    };
    let mut boxes: Vec<Candidate> = raw.iter().map(candidate).collect();
    suppress(&mut boxes, &Limits { iou: 0.6, ..Limits::default() });
    (raw.len(), boxes)
}

#[test]
fn every_layout_is_decoded_as_an_independent_decoder_does() {
    let golden: Vec<Decoded> = serde_json::from_str(include_str!("../data/vision_decode.json")).unwrap();
    assert_eq!(golden.len(), 5);
    for g in &golden {
        for channels_last in [false, true] {
            let input = InputSpec { width: g.input, height: g.input, channels_last };
            let (before, boxes) = decode(&g.layout, &input);
            assert_eq!((before, boxes.len()), (g.before, g.boxes.len()), "{} {}", g.layout, g.input);
            for (found, &(class, score, x0, y0, x1, y1)) in boxes.iter().zip(&g.boxes) {
                let iou = found.rect.iou(&Rect { x0, y0, x1, y1 });
                let same = found.class == class && (found.score - score).abs() < 1e-4 && iou >= 0.995;
                assert!(same, "{} {}: {found:?} is not {class} {score} {x0} {y0} {x1} {y1}", g.layout, g.input);
            }
        }
    }
}
