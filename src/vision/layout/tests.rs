//! Tests of recognising and reading outputs, on made-up numbers worked out by hand.

use super::*;
use crate::config::LayoutChoice;
use crate::vision::sidecar::{Activation, Anchors, Background, BoxUnits, OutputNames, SideCar};

const INPUT: InputSpec = InputSpec { width: 64, height: 32, channels_last: false };
const CELLS: usize = 32 + 8 + 2;

fn output(name: &'static str, shape: &[usize], numbers: &[(usize, f32)]) -> Output<'static> {
    let mut data = vec![0.0; shape.iter().product()];
    numbers.iter().for_each(|(i, v)| data[*i] = *v);
    Output { name, shape: shape.to_vec(), data: Cow::Owned(data) }
}

fn read_with(said: &SideCar, outputs: &[Output<'_>], more: &[&str]) -> Result<Reading, String> {
    let more: Vec<String> = more.iter().map(|n| (*n).to_owned()).collect();
    Reading::recognise(said, &Seen { outputs, input: INPUT, more_inputs: &more, description: "" })
}

fn read(outputs: &[Output<'_>]) -> Result<Reading, String> {
    read_with(&SideCar::default(), outputs, &[])
}

/// The only box above 0.3.
fn only(reading: &Reading, outputs: &[Output<'_>]) -> RawBox {
    let mut found = Vec::new();
    assert_eq!(reading.decode(outputs, 0.3, &mut found), 0);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn assert_box(found: &RawBox, class: usize, score: f32, rect: [f32; 4]) {
    let near = (found.score - score).abs() < 1e-4 && found.class == class;
    assert!(near && found.rect.iou(&Rect::from(rect)) > 0.999, "{found:?} is not {class} {score} {rect:?}");
}

#[test]
fn rows_are_told_apart_by_shape() {
    let of = |shape: &[usize]| read(&[output("output", shape, &[])]).ok().map(|r| r.layout);
    assert_eq!(of(&[1, CELLS, 12]), Some(Layout::Yolox));
    assert_eq!(of(&[1, 12, CELLS]), Some(Layout::Yolov8));
    assert_eq!(of(&[1, 3 * CELLS, 85]), Some(Layout::Yolov5));
    assert_eq!(of(&[1, 300, 6]), Some(Layout::EndToEnd));
    assert_eq!(of(&[1, CELLS + 1, 33]), Some(Layout::NanoDetPlus), "a fourth stride of one cell");
    assert_eq!(of(&[1, 85, 2, 4]), Some(Layout::FastestDet));
    assert_eq!(of(&[1, 300, 7]), None);
    let asked = SideCar { layout: Some(LayoutChoice::Yolov8), ..SideCar::default() };
    let message = read_with(&asked, &[output("o", &[1, CELLS, 12], &[])], &[]).unwrap_err();
    assert!(message.contains("not those of YOLOv8/11") && message.contains("`layout`"), "{message}");
}

#[test]
fn yolox_cells_are_decoded_with_their_stride_and_bad_numbers_counted() {
    let mut data = vec![0.0; CELLS * 7];
    // Cell (1, 2) of stride 16: after the 32 cells of stride 8, row 1 of width 4.
    data[38 * 7..39 * 7].copy_from_slice(&[0.5, 0.25, 2f32.ln(), 0.0, 0.9, 0.1, 0.8]);
    data[0..7].copy_from_slice(&[0.0, 0.0, 200.0, 0.0, 0.9, 0.9, 0.0]);
    data[7..14].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.9, 0.0]);
    let outputs = [Output { name: "output", shape: vec![1, CELLS, 7], data: Cow::Owned(data) }];
    let reading = read(&outputs).unwrap();
    let mut out = Vec::new();
    assert_eq!(reading.decode(&outputs, 0.3, &mut out), 2);
    assert_eq!((reading.classes, out.len()), (Some(2), 1));
    assert_box(&out[0], 1, 0.72, [24.0, 12.0, 56.0, 28.0]);
}

#[test]
fn a_box_whose_classes_are_no_numbers_is_counted_and_not_taken_for_nothing() {
    let mut data = vec![0.0; CELLS * 7];
    data[0..7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 0.9, f32::NAN, f32::NAN]);
    data[7..14].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 0.9, 0.1, f32::NAN]);
    data[14..21].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 0.1, f32::NAN, 0.9]);
    let grid = [Output { name: "output", shape: vec![1, CELLS, 7], data: Cow::Owned(data) }];
    let map = [output("758", &[1, 7, 2, 4], &[(7, 0.81), (5 * 8 + 7, f32::NAN), (6 * 8 + 7, f32::NAN)])];
    for (outputs, bad) in [(grid, 2), (map, 1)] {
        let mut out = Vec::new();
        assert_eq!(read(&outputs).unwrap().decode(&outputs, 0.3, &mut out), bad, "{}", outputs[0].name);
        assert_eq!(out, []);
    }
}

#[test]
fn yolov8_columns_are_decoded_by_their_best_class() {
    let column = [20.0, 10.0, 8.0, 4.0, 0.3, 0.6];
    let mut numbers: Vec<_> = column.iter().enumerate().map(|(row, v)| (row * CELLS + 5, *v)).collect();
    numbers.push((5 * CELLS + 6, f32::INFINITY));
    let outputs = [output("output0", &[1, 6, CELLS], &numbers)];
    let mut out = Vec::new();
    assert_eq!(read(&outputs).unwrap().decode(&outputs, 0.5, &mut out), 1);
    assert_eq!(out, vec![RawBox { class: 1, score: 0.6, rect: Rect::from([16.0, 8.0, 24.0, 12.0]) }]);
}

#[test]
fn rows_of_paddle_begin_with_the_class() {
    let numbers = [(6, 2.0), (7, 0.8), (8, 4.0), (9, 6.0), (10, 40.0), (11, 30.0), (12, -1.0), (13, 0.9)];
    let outputs = [output("nms_0", &[3, 6], &numbers), output("nms_1", &[1], &[(0, 3.0)])];
    let reading = read_with(&SideCar::default(), &outputs, &["scale_factor"]).unwrap();
    assert_eq!(reading.layout, Layout::Paddle);
    assert_box(&only(&reading, &outputs), 2, 0.8, [4.0, 6.0, 40.0, 30.0]);
}

#[test]
fn labels_boxes_and_scores_are_read_squeezed_or_not() {
    for batch in [&[][..], &[1]] {
        let shape = |rest: &[usize]| [batch, rest].concat();
        let boxes: Vec<_> = [8.0, 4.0, 24.0, 20.0].into_iter().enumerate().map(|(i, v)| (4 + i, v)).collect();
        let outputs = [
            output("labels", &shape(&[2]), &[(1, 7.0)]),
            output("boxes", &shape(&[2, 4]), &boxes),
            output("scores", &shape(&[2]), &[(1, 0.9)]),
        ];
        let reading = read_with(&SideCar::default(), &outputs, &["orig_target_sizes"]).unwrap();
        assert_eq!((reading.layout, reading.layout.is_suppressed()), (Layout::Detr, true));
        assert_box(&only(&reading, &outputs), 7, 0.9, [8.0, 4.0, 24.0, 20.0]);
        let message = read(&outputs).unwrap_err();
        assert!(message.contains("`box_units`"), "without sizes the unit is asked for: {message}");
        let said =
            SideCar { box_units: Some(BoxUnits::Pixels), background: Some(Background::First), ..SideCar::default() };
        assert_eq!(only(&read_with(&said, &outputs, &[]).unwrap(), &outputs).class, 6);
    }
}

#[test]
fn logits_of_queries_are_read_by_the_number_of_their_classes() {
    let boxes: Vec<_> = [0.5, 0.5, 0.25, 0.5].into_iter().enumerate().collect();
    let expected = [24.0, 8.0, 40.0, 24.0];
    let query = |classes: usize, at: usize| {
        let mut scores = vec![-6.0; 2 * classes];
        scores[at] = 1.0;
        let logits = Output { name: "logits", shape: vec![1, 2, classes], data: Cow::Owned(scores) };
        vec![logits, output("pred_boxes", &[1, 2, 4], &boxes)]
    };
    let outputs = query(80, 5);
    let reading = read(&outputs).unwrap();
    assert_eq!((reading.activation(), reading.classes), (Activation::Sigmoid, Some(80)));
    assert_box(&only(&reading, &outputs), 5, 0.731_06, expected);
    let mut outputs = query(92, 8);
    outputs[0].data.to_mut()[92 + 91] = 9.0;
    let reading = read(&outputs).unwrap();
    assert_eq!((reading.activation(), reading.background()), (Activation::Softmax, Background::Last));
    // One logit of 1 and 91 of -6: 1 / (1 + 91·e^-7).
    assert_box(&only(&reading, &outputs), 8, 0.923_38, expected);
    let mut outputs = query(91, 3);
    outputs[0].name = "labels";
    outputs[1].name = "dets";
    let reading = read(&outputs).unwrap();
    assert_eq!((reading.background(), reading.classes), (Background::First, Some(90)));
    assert_box(&only(&reading, &outputs), 2, 0.731_06, expected);
    assert_eq!(reading.preparation(&SideCar::default(), &INPUT, false).unwrap().mean, [0.485, 0.456, 0.406]);
}

/// Classes and distances of NanoDet and PicoDet; the box stands in cell (1, 1) of stride 16.
fn levels(count: usize) -> Vec<Output<'static>> {
    let strides = [8, 16, 32, 64];
    let cells = |s: u32| INPUT.cells(&[s]);
    let names = [["cls_8", "cls_16", "cls_32", "cls_64"], ["dis_8", "dis_16", "dis_32", "dis_64"]];
    let mut all = Vec::new();
    for (i, &s) in strides.iter().enumerate().take(count) {
        let hit = if s == 16 { vec![(5 * 3 + 2, 0.8)] } else { vec![] };
        all.push(output(names[0][i], &[1, cells(s), 3], &hit));
    }
    for (i, &s) in strides.iter().enumerate().take(count) {
        // One stride to every side: all weight on the second of eight bins.
        let hit: Vec<_> = (0..4).map(|side| (5 * 32 + side * 8 + 1, 60.0)).collect();
        all.push(output(names[1][i], &[1, cells(s), 32], if s == 16 { &hit } else { &[] }));
    }
    all
}

#[test]
fn distances_are_taken_from_the_centre_each_family_has() {
    let (nanodet, picodet) = (levels(3), levels(4));
    let reading = read(&nanodet).unwrap();
    assert_eq!(reading.layout, Layout::NanoDet);
    assert_box(&only(&reading, &nanodet), 2, 0.8, [7.5, 7.5, 39.5, 39.5]);
    let reading = read(&picodet).unwrap();
    assert_eq!(reading.layout, Layout::PicoDet);
    assert_box(&only(&reading, &picodet), 2, 0.8, [8.0, 8.0, 40.0, 40.0]);
    let row = (32 + 5) * 35;
    let mut numbers = vec![(row + 2, 0.8)];
    numbers.extend((0..4).map(|side| (row + 3 + side * 8 + 1, 60.0)));
    let plus = [output("output", &[1, CELLS + 1, 35], &numbers)];
    let reading = read(&plus).unwrap();
    assert_eq!((reading.layout, reading.classes), (Layout::NanoDetPlus, Some(3)));
    assert_box(&only(&reading, &plus), 2, 0.8, [0.0, 0.0, 32.0, 32.0]);
}

#[test]
fn fastestdet_weighs_objectness_and_class() {
    // Cell (3, 1) of a map of 4x2; tanh and sigmoid of 0.
    let numbers = [(7, 0.81), (6 * 8 + 7, 0.64)];
    let outputs = [output("758", &[1, 7, 2, 4], &numbers)];
    let reading = read(&outputs).unwrap();
    let score = 0.81f32.powf(0.6) * 0.64f32.powf(0.4);
    assert_box(&only(&reading, &outputs), 1, score, [32.0, 8.0, 64.0, 24.0]);
}

#[test]
fn ssd_with_suppression_counts_its_boxes_from_one() {
    let boxes: Vec<_> = [0.25, 0.5, 0.75, 1.0, 0.0, 0.0, 1.0, 1.0].into_iter().enumerate().collect();
    let outputs = [
        output("detection_boxes:0", &[1, 2, 4], &boxes),
        output("detection_classes:0", &[1, 2], &[(0, 3.0), (1, 1.0)]),
        output("detection_scores:0", &[1, 2], &[(0, 0.7), (1, 0.6)]),
        output("num_detections:0", &[1], &[(0, 1.0)]),
    ];
    let reading = read(&outputs).unwrap();
    assert_eq!(reading.layout, Layout::SsdSuppressed);
    assert_box(&only(&reading, &outputs), 2, 0.7, [32.0, 8.0, 64.0, 24.0]);
    assert!(reading.preparation(&SideCar::default(), &INPUT, true).is_ok(), "grey levels need no scale");
    let message = reading.preparation(&SideCar::default(), &INPUT, false).unwrap_err();
    assert!(message.contains("`scale`"), "{message}");
}

#[test]
fn ssd_without_suppression_asks_for_what_the_graph_does_not_tell() {
    let boxes: Vec<_> = [0.5, 0.25, 0.0, 0.0].into_iter().enumerate().map(|(i, v)| (4 + i, v)).collect();
    let outputs = [
        output("loc", &[8 * 2, 4], &boxes),
        output("conf", &[8 * 2, 2], &[(3, 0.9)]),
        output("landms", &[8 * 2, 8], &[]),
    ];
    let message = read(&outputs).unwrap_err();
    assert!(message.contains("`[anchors]`") && message.contains("`box_units`"), "{message}");
    let anchors =
        |sizes: usize| Anchors { strides: vec![16], sizes: vec![vec![[16.0, 8.0]; sizes]], variances: [0.1, 0.2] };
    let said = |sizes| SideCar {
        anchors: Some(anchors(sizes)),
        names: Some(vec!["plate".into()]),
        outputs: Some(OutputNames { scores: Some("conf".into()), ..OutputNames::default() }),
        ..SideCar::default()
    };
    let message = read_with(&said(3), &outputs, &[]).unwrap_err();
    assert!(message.contains("16 boxes") && message.contains("makes 24"), "{message}");
    let reading = read_with(&said(2), &outputs, &[]).unwrap();
    assert_eq!((reading.background(), reading.classes), (Background::First, Some(1)));
    // The second prior of cell (0, 0): centre (8, 8), moved by 0.05 of 16 and 0.025 of 8.
    assert_box(&only(&reading, &outputs), 0, 0.9, [0.8, 4.2, 16.8, 12.2]);
    let message = reading.preparation(&said(2), &INPUT, false).unwrap_err();
    assert!(message.contains("`colors`"), "{message}");
}
