//! YOLOv8 and YOLO11: a column per box, a row per number, so the best class is found row by row.

use super::{RawBox, centred};

pub(super) fn decode(rows: usize, boxes: usize, data: &[f32], floor: f32, out: &mut Vec<RawBox>) -> usize {
    let mut best = vec![(0usize, 0.0f32); boxes];
    for class in 0..rows.saturating_sub(4) {
        let scores = &data[(4 + class) * boxes..(5 + class) * boxes];
        for (b, &s) in best.iter_mut().zip(scores) {
            if s > b.1 || s.is_nan() {
                *b = (class, s);
            }
        }
    }
    let mut bad = 0;
    for (i, (class, score)) in best.into_iter().enumerate().filter(|(_, (_, s))| *s >= floor || s.is_nan()) {
        if score.is_finite() {
            let at = |row: usize| data[row * boxes + i];
            out.push(RawBox { class, score, rect: centred(at(0), at(1), at(2), at(3)) });
        } else {
            bad += 1;
        }
    }
    bad
}
