//! Which areas and lines of a camera can be seen at all: what lies under masks, or outside of the regions shown to the
//! detector, is not, however many pictures are analysed; nor what no rule could say anything of.

use super::{AreaView, AreaViews, BlindReason};
use crate::config::{AreaConfig, AreaKind, CameraConfig, are_known};
use crate::geometry::{Line, Point, Polygon, Rect};
use crate::rules::AreaId;
use crate::vision::Label;

/// From this unseen part on an area counts as not seen.
const BLIND_SHARE: f32 = 0.5;
/// Points a side of the box around an area at which it is looked at.
const GRID: u8 = 32;

/// The areas and lines of a camera, as they are seen when the detector is shown `regions` (boxes in fractions of the
/// picture); without regions the whole picture. `known`: classes of the model, if it is known.
#[must_use]
pub fn views(camera: &CameraConfig, regions: Option<&[Rect]>, known: Option<&[Label]>) -> AreaViews {
    let masks = Masks::of(camera, regions);
    let watched = camera.areas.iter().filter(|a| !a.kind.is_mask());
    let areas = watched.map(|a| (a.id.clone(), points_in(&a.polygon), a.can_report(known)));
    let lines = camera.lines.iter().map(|l| (l.id.clone(), points_on(l.points), are_known(&l.classes, known)));
    let view = |(id, points, reports): (AreaId, Vec<Point>, bool)| {
        let view = masks.view(&points);
        (id, AreaView { blind: view.blind.or((!reports).then_some(BlindReason::NoRule)), ..view })
    };
    areas.chain(lines).map(view).collect()
}

struct Masks<'a> {
    privacy: Vec<&'a Polygon>,
    ignored: Vec<&'a Polygon>,
    regions: Option<&'a [Rect]>,
}

impl<'a> Masks<'a> {
    fn of(camera: &'a CameraConfig, regions: Option<&'a [Rect]>) -> Self {
        let masks = |kind: AreaKind| {
            let of_kind = move |a: &&AreaConfig| a.kind == kind;
            camera.areas.iter().filter(of_kind).map(|a| &a.polygon).collect()
        };
        Self { privacy: masks(AreaKind::PrivacyMask), ignored: masks(AreaKind::IgnoreMask), regions }
    }

    /// Why a point is not looked at.
    fn hides(&self, p: Point) -> Option<BlindReason> {
        let inside = |r: &Rect| (r.x0..=r.x1).contains(&p.x) && (r.y0..=r.y1).contains(&p.y);
        if self.privacy.iter().any(|m| m.contains(p)) {
            Some(BlindReason::Privacy)
        } else if self.ignored.iter().any(|m| m.contains(p)) {
            Some(BlindReason::Ignored)
        } else {
            self.regions.is_some_and(|all| !all.iter().any(inside)).then_some(BlindReason::OutOfSight)
        }
    }

    fn view(&self, points: &[Point]) -> AreaView {
        let hidden: Vec<BlindReason> = points.iter().filter_map(|p| self.hides(*p)).collect();
        let unseen = hidden.len() as f32 / points.len().max(1) as f32;
        let count = |reason: &BlindReason| hidden.iter().filter(|r| *r == reason).count();
        let most = hidden.iter().copied().max_by_key(count);
        // A region's edge lies on whole pixels and may cut off a sliver.
        let unseen = if unseen < 0.01 { 0.0 } else { (unseen * 100.0).round() / 100.0 };
        AreaView { blind: most.filter(|_| unseen > BLIND_SHARE), unseen }
    }
}

fn points_in(polygon: &Polygon) -> Vec<Point> {
    let Some(b) = polygon.bounds() else { return Vec::new() };
    let at = |i: u8| (f32::from(i) + 0.5) / f32::from(GRID);
    let point = |x: u8, y: u8| Point { x: b.x0 + at(x) * b.width(), y: b.y0 + at(y) * b.height() };
    (0..GRID).flat_map(|y| (0..GRID).map(move |x| point(x, y))).filter(|p| polygon.contains(*p)).collect()
}

fn points_on(line: Line) -> Vec<Point> {
    let (a, b) = (line.from, line.to);
    let at = |i: u8| (f32::from(i) + 0.5) / f32::from(GRID);
    (0..GRID).map(|i| Point { x: a.x + at(i) * (b.x - a.x), y: a.y + at(i) * (b.y - a.y) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraConfig {
        serde_json::from_value(serde_json::json!({
            "id": "c", "url": "rtsp://camera.invalid/1",
            "area": [
                {"id": "house", "kind": "privacy_mask", "polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]},
                {"id": "trees", "kind": "ignore_mask", "polygon": [[0.9, 0.0], [1.0, 0.0], [1.0, 1.0], [0.9, 1.0]]},
                {"id": "left", "kind": "yard", "polygon": [[0.1, 0.1], [0.4, 0.1], [0.4, 0.9], [0.1, 0.9]],
                    "enter": {"severity": 1}},
                {"id": "both", "kind": "lane", "polygon": [[0.4, 0.2], [0.8, 0.2], [0.8, 0.8], [0.4, 0.8]],
                    "bay": {}},
                {"id": "right", "kind": "lane", "polygon": [[0.6, 0.2], [0.8, 0.2], [0.7, 0.8]],
                    "opened_without_inspection": {"classes": ["open_door"]}, "occupancy": {"limit": 1, "classes": ["train"]}}
            ],
            "line": [{"id": "gate", "points": [[0.6, 0.5], [0.99, 0.5]], "severity": 1}]
        }))
        .unwrap()
    }

    #[test]
    fn areas_under_masks_are_blind_and_partly_masked_ones_say_so() {
        let views = views(&camera(), None, None);
        let of = |id: &str| views[&AreaId(id.into())];
        assert_eq!(views.len(), 4, "masks are no areas: {views:?}");
        assert_eq!((of("left").blind, of("left").unseen), (Some(BlindReason::Privacy), 1.0));
        assert_eq!(of("both").blind, None);
        assert!((of("both").unseen - 0.25).abs() < 0.04, "{views:?}");
        assert_eq!(of("right"), AreaView::default());
        assert!(of("gate").blind.is_none() && of("gate").unseen > 0.2, "{views:?}");
    }

    #[test]
    fn what_no_region_shows_is_out_of_sight() {
        let shown = [Rect::from([0.55, 0.0, 1.0, 1.0])];
        let views = views(&camera(), Some(&shown), None);
        let both = views[&AreaId("both".into())];
        assert!(both.blind.is_none() && both.unseen > 0.3, "{both:?}");
        let views = super::views(&camera(), Some(&[Rect::from([0.0, 0.0, 0.5, 1.0])]), None);
        assert_eq!(views[&AreaId("right".into())].blind, Some(BlindReason::OutOfSight));
    }

    #[test]
    fn an_area_of_which_no_rule_can_say_anything_is_blind() {
        let blind = |camera: &CameraConfig, known: &[&str]| {
            let known: Vec<Label> = known.iter().map(|class| Label::from(*class)).collect();
            let views = views(camera, None, Some(&known)).into_iter();
            let blind = views.filter(|(_, view)| view.blind == Some(BlindReason::NoRule));
            blind.map(|(id, _)| id.0).collect::<Vec<_>>()
        };
        assert_eq!(blind(&camera(), &["truck"]), ["right"]);
        assert_eq!(blind(&camera(), &["train"]), ["both"], "a bay counts trucks, buses and cars");
        let mut bare = camera();
        bare.areas.iter_mut().filter(|a| a.id.0 == "both").for_each(|a| a.bay = None);
        bare.lines[0].classes = vec!["train".into()];
        assert_eq!(blind(&bare, &["truck"]), ["both", "gate", "right"]);
    }
}
