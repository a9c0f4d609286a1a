//! Suppression: of several boxes on one thing the best stays, per class, within a region and across regions.

use crate::geometry::Rect;

/// A cut box loses against a whole one that covers at least this much of it.
const CUT_COVERED: f32 = 0.6;
/// A part of a vehicle is about as high as the whole: this much of its height.
const CUT_HEIGHT: f32 = 0.7;
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

/// How boxes of one class are suppressed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Overlap (IoU) above which the weaker box goes.
    pub iou: f32,
    /// Overlap for some classes, by index.
    pub by_class: Vec<Option<f32>>,
    /// The model suppresses within a region itself; only boxes of different regions are compared.
    pub across_regions_only: bool,
    /// Index of the class of people, who stand in front of things without being a part of them.
    pub person: Option<usize>,
}

impl Limits {
    fn of(&self, class: usize) -> f32 {
        self.by_class.get(class).copied().flatten().unwrap_or(self.iou)
    }
}

/// Keeps the best of overlapping boxes of one class, best first: within a region by score alone, since all its boxes saw
/// the same; between regions a whole box beats a cut one.
pub fn suppress(boxes: &mut Vec<Candidate>, limits: &Limits) {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes.truncate(MOST);
    if !limits.across_regions_only {
        keep_unbeaten(boxes, |k, b| k.region == b.region && k.rect.iou(&b.rect) > limits.of(b.class));
    }
    boxes.sort_by_key(|b| b.cut);
    keep_unbeaten(boxes, |k, b| {
        let covered = || k.rect.intersection(&b.rect).area() >= CUT_COVERED * b.rect.area();
        k.region != b.region && (k.rect.iou(&b.rect) > limits.of(b.class) || (b.cut && covered()))
    });
    drop_parts(boxes, limits.person);
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// The half of a truck may look like a car: what is cut goes where another region saw a whole thing of its height there,
/// whatever its class. Whole ones come first.
fn drop_parts(boxes: &mut Vec<Candidate>, person: Option<usize>) {
    let (whole, cut): (Vec<_>, Vec<_>) = boxes.iter().copied().partition(|b| !b.cut);
    let is_part = |b: &Candidate| {
        let of = |k: &Candidate| {
            let covered = k.rect.intersection(&b.rect).area() >= CUT_COVERED * b.rect.area();
            k.region != b.region && covered && b.rect.height() >= CUT_HEIGHT * k.rect.height()
        };
        Some(b.class) != person && whole.iter().filter(|k| Some(k.class) != person).any(of)
    };
    let left = cut.into_iter().filter(|b| !is_part(b));
    *boxes = whole.iter().copied().chain(left).collect();
}

/// Keeps in the order given what no kept one of its class beats.
fn keep_unbeaten(boxes: &mut Vec<Candidate>, beats: impl Fn(&Candidate, &Candidate) -> bool) {
    let mut kept: Vec<Candidate> = Vec::with_capacity(boxes.len().min(300));
    for b in boxes.iter() {
        if !kept.iter().any(|k| k.class == b.class && beats(k, b)) {
            kept.push(*b);
        }
    }
    *boxes = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { iou: 0.6, by_class: Vec::new(), across_regions_only: false, person: Some(2) };

    fn at(x: f32, score: f32, class: usize, region: usize, cut: bool) -> Candidate {
        Candidate { class, score, rect: Rect::from([x, 0.0, x + 100.0, 100.0]), region, cut }
    }

    #[test]
    fn within_a_region_a_weak_whole_box_does_not_take_a_strong_cut_one_away() {
        let mut boxes = vec![at(0.0, 0.7, 0, 0, true), at(8.0, 0.2, 0, 0, false)];
        suppress(&mut boxes, &LIMITS);
        assert_eq!(boxes.iter().map(|b| b.score).collect::<Vec<_>>(), [0.7]);
    }

    #[test]
    fn the_weaker_box_of_a_class_goes_and_other_classes_stay() {
        let mut boxes = vec![at(5.0, 0.5, 0, 0, false), at(0.0, 0.9, 0, 0, false), at(5.0, 0.4, 1, 0, false)];
        suppress(&mut boxes, &LIMITS);
        assert_eq!(boxes.iter().map(|b| b.score).collect::<Vec<_>>(), [0.9, 0.4]);
    }

    #[test]
    fn a_box_cut_by_its_region_loses_against_the_whole_one() {
        let part = Candidate { rect: Rect::from([0.0, 0.0, 40.0, 100.0]), ..at(0.0, 0.95, 0, 1, true) };
        let mut boxes = vec![part, at(0.0, 0.6, 0, 0, false)];
        suppress(&mut boxes, &LIMITS);
        assert_eq!(boxes, vec![at(0.0, 0.6, 0, 0, false)]);
    }

    #[test]
    fn half_a_truck_is_no_car_beside_the_whole_truck_but_a_person_is_one() {
        let half = |class: usize, height: f32| Candidate {
            rect: Rect::from([0.0, 100.0 - height, 40.0, 100.0]),
            ..at(0.0, 0.9, class, 1, true)
        };
        let mut boxes = vec![half(1, 95.0), half(1, 50.0), half(2, 90.0), at(0.0, 0.6, 0, 0, false)];
        suppress(&mut boxes, &LIMITS);
        let kept: Vec<_> = boxes.iter().map(|b| (b.class, b.rect.height())).collect();
        assert_eq!(kept, [(1, 50.0), (2, 90.0), (0, 100.0)]);
    }

    #[test]
    fn a_class_may_have_its_own_limit_and_a_model_may_have_suppressed_already() {
        let pair = vec![at(0.0, 0.9, 0, 0, false), at(40.0, 0.5, 0, 0, false)];
        let mut boxes = pair.clone();
        suppress(&mut boxes, &Limits { by_class: vec![Some(0.3)], ..LIMITS });
        assert_eq!(boxes.len(), 1, "IoU 0.43");
        let own = Limits { iou: 0.3, across_regions_only: true, ..LIMITS };
        let mut boxes = pair.clone();
        suppress(&mut boxes, &own);
        assert_eq!(boxes, pair);
        boxes[1].region = 1;
        suppress(&mut boxes, &own);
        assert_eq!(boxes, pair[..1]);
    }
}
