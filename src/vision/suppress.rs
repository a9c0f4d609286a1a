//! Suppression: of several boxes on one thing the best stays, per class, within a region and across regions.

use crate::geometry::Rect;

/// A cut box loses against a whole one that covers at least this much of it.
const CUT_COVERED: f32 = 0.6;
/// Boxes looked at; a broken model that reports everything must not stop the camera.
const MOST: usize = 3000;

/// A box in frame pixels before suppression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Index of the class after renaming.
    pub class: usize,
    /// 0..1.
    pub score: f32,
    /// Frame pixels.
    pub rect: Rect,
    /// Which region saw it.
    pub region: usize,
    /// It touches a border of its region that is not one of the frame: probably only a part.
    pub cut: bool,
}

/// Keeps the best of overlapping boxes of one class, best first. Whole boxes beat cut ones of other regions.
pub fn suppress(boxes: &mut Vec<Candidate>, iou: f32) {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes.truncate(MOST);
    boxes.sort_by_key(|b| b.cut);
    let mut kept: Vec<Candidate> = Vec::with_capacity(boxes.len().min(300));
    for b in boxes.iter() {
        if !kept.iter().any(|k| k.class == b.class && beats(k, b, iou)) {
            kept.push(*b);
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    *boxes = kept;
}

fn beats(kept: &Candidate, b: &Candidate, iou: f32) -> bool {
    let elsewhere = b.cut && kept.region != b.region;
    let covered = || kept.rect.intersection(&b.rect).area() >= CUT_COVERED * b.rect.area();
    kept.rect.iou(&b.rect) > iou || (elsewhere && covered())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, score: f32, class: usize, region: usize, cut: bool) -> Candidate {
        Candidate { class, score, rect: Rect::from([x, 0.0, x + 100.0, 100.0]), region, cut }
    }

    #[test]
    fn the_weaker_box_of_a_class_goes_and_other_classes_stay() {
        let mut boxes = vec![at(5.0, 0.5, 0, 0, false), at(0.0, 0.9, 0, 0, false), at(5.0, 0.4, 1, 0, false)];
        suppress(&mut boxes, 0.6);
        assert_eq!(boxes.iter().map(|b| b.score).collect::<Vec<_>>(), [0.9, 0.4]);
    }

    #[test]
    fn a_box_cut_by_its_region_loses_against_the_whole_one() {
        let part = Candidate { rect: Rect::from([0.0, 0.0, 40.0, 100.0]), ..at(0.0, 0.95, 0, 1, true) };
        let mut boxes = vec![part, at(0.0, 0.6, 0, 0, false)];
        suppress(&mut boxes, 0.6);
        assert_eq!(boxes, vec![at(0.0, 0.6, 0, 0, false)]);
    }
}
