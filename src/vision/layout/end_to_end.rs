//! Models that suppress themselves and write a row per box: corners, score, class; or class, score, corners.

use super::RawBox;
use crate::geometry::Rect;

pub(super) fn decode(data: &[f32], class_first: bool, floor: f32, out: &mut Vec<RawBox>) -> usize {
    let mut bad = 0;
    for v in data.chunks_exact(6) {
        let (corners, score, class) = if class_first { (&v[2..6], v[1], v[0]) } else { (&v[..4], v[4], v[5]) };
        if !score.is_finite() || !class.is_finite() {
            bad += 1;
        } else if score >= floor && class >= 0.0 {
            let rect = Rect::from([corners[0], corners[1], corners[2], corners[3]]);
            out.push(RawBox { class: class as usize, score, rect });
        }
    }
    bad
}
