//! The DETR family: a fixed number of queries, each with a box and scores. As the training code writes them (logits and
//! boxes), or already read (labels, boxes, scores).

use super::RawBox;
use super::scores::Scores;
use super::ssd::BoxReader;

/// Labels, boxes and scores; `first` is the number of the first class.
pub(super) fn read(
    (labels, boxes, scores): (&[f32], &[f32], &[f32]),
    reader: &BoxReader,
    first: f32,
    floor: f32,
    out: &mut Vec<RawBox>,
) -> usize {
    let mut bad = 0;
    for ((label, numbers), &score) in labels.iter().zip(boxes.chunks_exact(4)).zip(scores) {
        let class = label - first;
        if !score.is_finite() || !class.is_finite() {
            bad += 1;
        } else if score >= floor && class >= 0.0 {
            out.push(RawBox { class: class as usize, score, rect: reader.rect(numbers) });
        }
    }
    bad
}

/// Scores of every class and a box a query.
pub(super) fn logits(
    (scores, classes): (&[f32], usize),
    boxes: &[f32],
    reader: &BoxReader,
    kind: Scores,
    floor: f32,
    out: &mut Vec<RawBox>,
) -> usize {
    let mut bad = 0;
    for (scores, numbers) in scores.chunks_exact(classes.max(1)).zip(boxes.chunks_exact(4)) {
        match kind.best(scores.iter().copied(), floor) {
            Ok(Some((class, score))) => out.push(RawBox { class, score, rect: reader.rect(numbers) }),
            Ok(None) => {}
            Err(()) => bad += 1,
        }
    }
    bad
}
