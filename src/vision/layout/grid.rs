//! Layouts with a row per box and an objectness: YOLOX (offsets to a grid) and YOLOv5 (boxes as they are).

use super::{InputSpec, RawBox, centred};

pub(super) fn yolox(row: usize, data: &[f32], input: &InputSpec, floor: f32, out: &mut Vec<RawBox>) -> usize {
    let mut rows = data.chunks_exact(row);
    let mut bad = 0;
    for stride in [8u32, 16, 32] {
        let (columns, lines) = input.grid(stride);
        let s = stride as f32;
        for (cell, values) in (0..columns * lines).zip(rows.by_ref()) {
            let (gx, gy) = ((cell % columns) as f32, (cell / columns) as f32);
            match best(values, floor) {
                Ok(Some((class, score))) => {
                    let (w, h) = (values[2].exp() * s, values[3].exp() * s);
                    let rect = centred((values[0] + gx) * s, (values[1] + gy) * s, w, h);
                    out.push(RawBox { class, score, rect });
                }
                Ok(None) => {}
                Err(()) => bad += 1,
            }
        }
    }
    bad
}

pub(super) fn yolov5(row: usize, data: &[f32], input: &InputSpec, floor: f32, out: &mut Vec<RawBox>) -> usize {
    let mut bad = 0;
    // Exports that came through TensorFlow keep its fractions of the input.
    let (sx, sy) = if input.channels_last { (input.width as f32, input.height as f32) } else { (1.0, 1.0) };
    for values in data.chunks_exact(row) {
        match best(values, floor) {
            Ok(Some((class, score))) => {
                let rect = centred(values[0] * sx, values[1] * sy, values[2] * sx, values[3] * sy);
                out.push(RawBox { class, score, rect });
            }
            Ok(None) => {}
            Err(()) => bad += 1,
        }
    }
    bad
}

/// Best class and objectness times its score; `Err` when they are not numbers.
fn best(values: &[f32], floor: f32) -> Result<Option<(usize, f32)>, ()> {
    let objectness = values[4];
    if objectness < floor {
        return Ok(None);
    }
    let scores = values[5..].iter().copied().enumerate();
    if scores.clone().any(|(_, s)| s.is_nan()) {
        return Err(());
    }
    let (class, score) = scores.fold((0, f32::MIN), |best, s| if s.1 > best.1 { s } else { best });
    let score = score * objectness;
    if score.is_finite() { Ok((score >= floor).then_some((class, score))) } else { Err(()) }
}
