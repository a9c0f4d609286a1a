//! NanoDet, NanoDet-Plus and PicoDet: class scores of every cell, and for each side of its box a distribution over
//! distances, whose mean is the distance in strides.

use super::scores::Scores;
use super::{InputSpec, RawBox};
use crate::geometry::Rect;

/// One stride's cells.
pub(super) struct Level<'a> {
    pub(super) stride: u32,
    /// A row of scores per cell, and the step from one row to the next.
    pub(super) classes: (&'a [f32], usize),
    /// A row of four distributions per cell, and the step.
    pub(super) distances: (&'a [f32], usize),
}

/// The shape that all levels share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) classes: usize,
    pub(super) bins: usize,
    /// Where the centre of a cell lies from its corner, as a part of the stride, less as many pixels.
    pub(super) centre: (f32, f32),
    pub(super) scores: Scores,
}

impl Form {
    pub(super) fn decode(&self, level: &Level<'_>, input: &InputSpec, floor: f32, out: &mut Vec<RawBox>) -> usize {
        let (columns, _) = input.grid(level.stride);
        let stride = level.stride as f32;
        let offset = self.centre.0 * stride - self.centre.1;
        let classes = level.classes.0.chunks(level.classes.1);
        let mut bad = 0;
        for (cell, (scores, sides)) in classes.zip(level.distances.0.chunks(level.distances.1)).enumerate() {
            let (Some(scores), Some(sides)) = (scores.get(..self.classes), sides.get(..4 * self.bins)) else { break };
            match self.scores.best(scores.iter().copied(), floor) {
                Ok(Some((class, score))) => {
                    let x = (cell % columns) as f32 * stride + offset;
                    let y = (cell / columns) as f32 * stride + offset;
                    let far = |side: usize| mean(&sides[side * self.bins..(side + 1) * self.bins]) * stride;
                    let rect = Rect { x0: x - far(0), y0: y - far(1), x1: x + far(2), y1: y + far(3) };
                    out.push(RawBox { class, score, rect });
                }
                Ok(None) => {}
                Err(()) => bad += 1,
            }
        }
        bad
    }
}

/// Mean of a distribution given by its logits over 0, 1, 2...
fn mean(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |v: &f32| (v - most).exp();
    let sum: f32 = logits.iter().map(weight).sum();
    logits.iter().enumerate().map(|(i, v)| i as f32 * weight(v)).sum::<f32>() / sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_distribution_is_between_its_peaks() {
        assert!((mean(&[0.0, 0.0, 0.0]) - 1.0).abs() < 1e-6);
        assert!((mean(&[-100.0, 50.0, 50.0, -100.0]) - 1.5).abs() < 1e-6);
    }
}
