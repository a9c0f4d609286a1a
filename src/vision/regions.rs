//! Where to look: from inspection areas (fractions of the picture) to regions in frame pixels. Pure planning; the crop
//! itself happens in `preprocess`, the mapping in `letterbox`.
//!
//! A region is a square around an area with room, never smaller than the network input (a smaller crop would only be
//! blown up) unless the frame is. Areas close together share a region: each region costs one inference.

use crate::geometry::{Line, Polygon, Rect};

/// Two regions are one when their common part is at least this much of the smaller.
const MERGE_OVERLAP: f32 = 0.5;
/// From this share of the frame a region becomes the whole frame: the rest costs nothing and helps the tracker.
const WHOLE_FRAME_SHARE: f32 = 0.8;

/// A part of a frame in whole pixels, inside the frame, left and top even (chroma is shared by 2x2 pixels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// Left.
    pub x: u32,
    /// Top.
    pub y: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl Region {
    /// The whole of a frame of this size.
    #[must_use]
    pub fn whole(width: u32, height: u32) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// As a box in frame pixels.
    #[must_use]
    pub fn rect(&self) -> Rect {
        let (x, y) = (self.x as f32, self.y as f32);
        Rect { x0: x, y0: y, x1: x + self.width as f32, y1: y + self.height as f32 }
    }
}

/// What the planner needs to know.
#[derive(Debug, Clone, Copy)]
pub struct PlanLimits {
    /// Frame size in pixels.
    pub frame: (u32, u32),
    /// Size of the network input in pixels.
    pub input: (u32, u32),
    /// Room on each side of an area, as a fraction of its larger side.
    pub margin: f32,
    /// Regions at most, at least 1.
    pub max_regions: usize,
}

/// Boxes around polygons and lines, in fractions; empty shapes are left out.
#[must_use]
pub fn bounds_of(areas: &[Polygon], lines: &[Line]) -> Vec<Rect> {
    let areas = areas.iter().filter_map(Polygon::bounds);
    let lines = lines.iter().filter_map(|l| Rect::around(&[l.from, l.to]));
    areas.chain(lines).collect()
}

/// Regions that cover every area (boxes in fractions of the picture), at most `max_regions` of them. Without areas:
/// the whole frame.
#[must_use]
pub fn plan(areas: &[Rect], limits: &PlanLimits) -> Vec<Region> {
    let (fw, fh) = size_f32(limits.frame);
    let whole = Region::whole(limits.frame.0, limits.frame.1);
    let mut boxes: Vec<Rect> =
        areas.iter().map(|a| with_room(&a.scaled(fw, fh), limits.margin)).map(|b| squared(&b, limits)).collect();
    if boxes.is_empty() {
        return vec![whole];
    }
    while let Some((i, j)) = pair_to_merge(&boxes, limits.max_regions.max(1)) {
        let other = boxes.swap_remove(j);
        boxes[i] = squared(&union(&boxes[i], &other), limits);
    }
    if boxes.iter().any(|b| b.area() >= WHOLE_FRAME_SHARE * fw * fh) {
        return vec![whole];
    }
    boxes.sort_by(|a, b| a.y0.total_cmp(&b.y0).then(a.x0.total_cmp(&b.x0)));
    boxes.iter().map(|b| in_pixels(b, limits.frame)).collect()
}

fn size_f32((w, h): (u32, u32)) -> (f32, f32) {
    (w as f32, h as f32)
}

fn with_room(b: &Rect, margin: f32) -> Rect {
    let room = b.width().max(b.height()) * margin;
    Rect { x0: b.x0 - room, y0: b.y0 - room, x1: b.x1 + room, y1: b.y1 + room }
}

fn union(a: &Rect, b: &Rect) -> Rect {
    Rect { x0: a.x0.min(b.x0), y0: a.y0.min(b.y0), x1: a.x1.max(b.x1), y1: a.y1.max(b.y1) }
}

/// The square around `b`, at least as large as the input, moved (and where it must, cut) into the frame.
fn squared(b: &Rect, limits: &PlanLimits) -> Rect {
    let (fw, fh) = size_f32(limits.frame);
    let (iw, ih) = size_f32(limits.input);
    let side = b.width().max(b.height()).max(iw).max(ih);
    let (w, h) = (side.min(fw), side.min(fh));
    let c = b.center();
    let x0 = (c.x - w / 2.0).clamp(0.0, fw - w);
    let y0 = (c.y - h / 2.0).clamp(0.0, fh - h);
    Rect { x0, y0, x1: x0 + w, y1: y0 + h }
}

/// Two regions that overlap much; else, while there are too many, the two whose union wastes least.
fn pair_to_merge(boxes: &[Rect], max_regions: usize) -> Option<(usize, usize)> {
    let pairs = || (0..boxes.len()).flat_map(|i| (i + 1..boxes.len()).map(move |j| (i, j)));
    let overlap = |&(i, j): &(usize, usize)| {
        let smaller = boxes[i].area().min(boxes[j].area()).max(1.0);
        boxes[i].intersection(&boxes[j]).area() / smaller
    };
    let waste = |&(i, j): &(usize, usize)| union(&boxes[i], &boxes[j]).area() - boxes[i].area() - boxes[j].area();
    pairs()
        .find(|p| overlap(p) >= MERGE_OVERLAP)
        .or_else(|| (boxes.len() > max_regions).then(|| pairs().min_by(|a, b| waste(a).total_cmp(&waste(b)))).flatten())
}

/// Rounded outwards to whole pixels, left and top to even ones.
fn in_pixels(b: &Rect, frame: (u32, u32)) -> Region {
    let (x, y) = (b.x0 as u32 & !1, b.y0 as u32 & !1);
    let width = (b.x1.ceil() as u32).min(frame.0).saturating_sub(x).max(1);
    let height = (b.y1.ceil() as u32).min(frame.1).saturating_sub(y).max(1);
    Region { x, y, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(max_regions: usize) -> PlanLimits {
        PlanLimits { frame: (1920, 1080), input: (416, 416), margin: 0.15, max_regions }
    }

    #[test]
    fn a_small_area_gets_a_square_of_input_size_inside_the_frame() {
        let plan = plan(&[Rect::from([0.98, 0.0, 1.0, 0.02])], &limits(4));
        assert_eq!(plan, vec![Region { x: 1504, y: 0, width: 416, height: 416 }]);
    }

    #[test]
    fn no_areas_and_a_nearly_covered_frame_mean_the_whole_frame() {
        let whole = vec![Region::whole(1920, 1080)];
        assert_eq!(plan(&[], &limits(4)), whole);
        assert_eq!(plan(&[Rect::from([0.1, 0.1, 0.9, 0.9])], &limits(4)), whole);
    }

    #[test]
    fn distant_areas_stay_apart_until_there_are_too_many() {
        let areas = [Rect::from([0.0, 0.0, 0.1, 0.1]), Rect::from([0.9, 0.9, 1.0, 1.0])];
        assert_eq!(plan(&areas, &limits(4)).len(), 2);
        assert_eq!(plan(&areas, &limits(1)).len(), 1);
        let near = [Rect::from([0.40, 0.4, 0.45, 0.5]), Rect::from([0.46, 0.4, 0.50, 0.5])];
        assert_eq!(plan(&near, &limits(4)).len(), 1);
    }

    #[test]
    fn a_frame_below_the_input_size_is_one_region() {
        let small = PlanLimits { frame: (320, 240), ..limits(4) };
        assert_eq!(plan(&[Rect::from([0.0, 0.0, 0.1, 0.1])], &small), vec![Region::whole(320, 240)]);
    }

    proptest! {
        #[test]
        fn every_area_is_covered_within_the_limits(
            corners in prop::collection::vec((0.0f32..0.9, 0.0f32..0.9, 0.01f32..0.5, 0.01f32..0.5), 1..9),
            max in 1usize..5, fw in 64u32..2000, fh in 64u32..2000,
        ) {
            let areas: Vec<Rect> = corners.iter()
                .map(|&(x, y, w, h)| Rect { x0: x, y0: y, x1: (x + w).min(1.0), y1: (y + h).min(1.0) }).collect();
            let limits = PlanLimits { frame: (fw, fh), ..limits(max) };
            let regions = plan(&areas, &limits);
            prop_assert!(regions.len() <= max);
            for r in &regions {
                prop_assert!(r.width > 0 && r.height > 0 && r.x + r.width <= fw && r.y + r.height <= fh);
            }
            for a in &areas {
                let px = a.scaled(fw as f32, fh as f32);
                let covered = regions.iter().any(|r| r.rect().intersection(&px).area() >= px.area() * 0.999 - 0.5);
                prop_assert!(covered, "{px:?} not in {regions:?}");
            }
        }
    }
}
