//! End-to-end models: corners, score and class, already suppressed.

use super::RawBox;
use crate::geometry::Rect;

pub(super) fn decode(data: &[f32], floor: f32, out: &mut Vec<RawBox>) -> usize {
    let mut bad = 0;
    for v in data.chunks_exact(6) {
        if !v[4].is_finite() || !v[5].is_finite() || v[5] < 0.0 {
            bad += 1;
        } else if v[4] >= floor {
            out.push(RawBox { class: v[5] as usize, score: v[4], rect: Rect::from([v[0], v[1], v[2], v[3]]) });
        }
    }
    bad
}
