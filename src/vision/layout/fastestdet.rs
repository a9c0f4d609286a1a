//! FastestDet: a map of cells, a plane per number; centres by tanh, sizes by sigmoid, both as parts of the map.

use super::scores::sigmoid;
use super::{InputSpec, RawBox, centred};

/// How much objectness and class weigh in the score.
const WEIGHTS: (f32, f32) = (0.6, 0.4);

pub(super) fn decode(
    shape: (usize, usize),
    data: &[f32],
    input: &InputSpec,
    floor: f32,
    out: &mut Vec<RawBox>,
) -> usize {
    let (rows, columns) = shape;
    let cells = rows * columns;
    let classes = (data.len() / cells.max(1)).saturating_sub(5);
    let (width, height) = (input.width as f32, input.height as f32);
    let mut bad = 0;
    for cell in 0..cells {
        let at = |plane: usize| data[plane * cells + cell];
        // What is no number stays the best, so that it is noticed.
        let better = |c: f32, best: f32| c > best || c.is_nan();
        let scores = (0..classes).map(|c| (c, at(5 + c)));
        let (class, best) = scores.fold((0, 0.0), |b: (usize, f32), c| if better(c.1, b.1) { c } else { b });
        let score = at(0).powf(WEIGHTS.0) * best.powf(WEIGHTS.1);
        if !score.is_finite() {
            bad += 1;
        } else if score >= floor {
            let x = ((cell % columns) as f32 + at(1).tanh()) / columns as f32;
            let y = ((cell / columns) as f32 + at(2).tanh()) / rows as f32;
            let rect = centred(x * width, y * height, sigmoid(at(3)) * width, sigmoid(at(4)) * height);
            out.push(RawBox { class, score, rect });
        }
    }
    bad
}
