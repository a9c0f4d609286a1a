//! Pure shapes: points, boxes, polygons and lines, and the tests between them. No I/O, no time.
//!
//! Areas and lines of the configuration are in fractions of the picture (0..1, origin top left, y down).
//! Boxes of detections and tracks are in pixels of the decoded picture.

use serde::{Deserialize, Serialize};

/// A point; the unit (pixels or fractions) is said by who holds it. Written as `[x, y]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "[f32; 2]", into = "[f32; 2]")]
#[schemars(with = "[f32; 2]")]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

impl From<[f32; 2]> for Point {
    fn from([x, y]: [f32; 2]) -> Self {
        Self { x, y }
    }
}

impl From<Point> for [f32; 2] {
    fn from(p: Point) -> Self {
        [p.x, p.y]
    }
}

/// An axis-parallel box by its two corners, `x0 <= x1`, `y0 <= y1`. Written as `[x0, y0, x1, y1]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
#[schemars(with = "[f32; 4]")]
pub struct Rect {
    /// Left.
    pub x0: f32,
    /// Top.
    pub y0: f32,
    /// Right.
    pub x1: f32,
    /// Bottom.
    pub y1: f32,
}

impl From<[f32; 4]> for Rect {
    fn from([x0, y0, x1, y1]: [f32; 4]) -> Self {
        Self { x0, y0, x1, y1 }
    }
}

impl From<Rect> for [f32; 4] {
    fn from(r: Rect) -> Self {
        [r.x0, r.y0, r.x1, r.y1]
    }
}

impl Rect {
    /// Width, never negative.
    #[must_use]
    pub fn width(&self) -> f32 {
        (self.x1 - self.x0).max(0.0)
    }

    /// Height, never negative.
    #[must_use]
    pub fn height(&self) -> f32 {
        (self.y1 - self.y0).max(0.0)
    }

    /// Width times height.
    #[must_use]
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// The middle.
    #[must_use]
    pub fn center(&self) -> Point {
        Point { x: f32::midpoint(self.x0, self.x1), y: f32::midpoint(self.y0, self.y1) }
    }

    /// Bottom centre: where the thing stands on the ground. Rules judge this point.
    #[must_use]
    pub fn foot(&self) -> Point {
        Point { x: f32::midpoint(self.x0, self.x1), y: self.y1 }
    }

    /// The common part, empty (zero area) if there is none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let x0 = self.x0.max(other.x0);
        let y0 = self.y0.max(other.y0);
        Self { x0, y0, x1: self.x1.min(other.x1).max(x0), y1: self.y1.min(other.y1).max(y0) }
    }

    /// Intersection over union, 0..1; 0 when both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let inter = self.intersection(other).area();
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// This box with every x multiplied by `sx` and every y by `sy`.
    #[must_use]
    pub fn scaled(&self, sx: f32, sy: f32) -> Self {
        Self { x0: self.x0 * sx, y0: self.y0 * sy, x1: self.x1 * sx, y1: self.y1 * sy }
    }

    /// The smallest box around all points; `None` without points.
    #[must_use]
    pub fn around(points: &[Point]) -> Option<Self> {
        let first = points.first()?;
        let start = Self { x0: first.x, y0: first.y, x1: first.x, y1: first.y };
        Some(points.iter().fold(start, |r, p| Self {
            x0: r.x0.min(p.x),
            y0: r.y0.min(p.y),
            x1: r.x1.max(p.x),
            y1: r.y1.max(p.y),
        }))
    }
}

/// A simple polygon by its corners, not repeated at the end; inside by the even-odd rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Polygon(pub Vec<Point>);

impl Polygon {
    /// Whether the point lies inside (even-odd rule; a point exactly on the border may count either way).
    #[must_use]
    pub fn contains(&self, p: Point) -> bool {
        let n = self.0.len();
        let mut inside = false;
        for i in 0..n {
            let (a, b) = (self.0[i], self.0[(i + 1) % n]);
            if (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x {
                inside = !inside;
            }
        }
        inside
    }

    /// Enclosed area by the shoelace formula, in the square of the points' unit.
    #[must_use]
    pub fn area(&self) -> f32 {
        let n = self.0.len();
        let twice: f32 = (0..n).map(|i| (self.0[i], self.0[(i + 1) % n])).map(|(a, b)| a.x * b.y - b.x * a.y).sum();
        twice.abs() / 2.0
    }

    /// Smallest box around it; `None` without corners.
    #[must_use]
    pub fn bounds(&self) -> Option<Rect> {
        Rect::around(&self.0)
    }
}

/// Which side of a directed line a movement went to, seen when walking from the first point to the second in the
/// picture as shown (y down).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrossDirection {
    /// From the left side to the right side.
    LeftToRight,
    /// From the right side to the left side.
    RightToLeft,
}

/// A directed line segment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "[Point; 2]", into = "[Point; 2]")]
#[schemars(with = "[Point; 2]")]
pub struct Line {
    /// Where the walk along the line starts.
    pub from: Point,
    /// Where it ends.
    pub to: Point,
}

impl From<[Point; 2]> for Line {
    fn from([from, to]: [Point; 2]) -> Self {
        Self { from, to }
    }
}

impl From<Line> for [Point; 2] {
    fn from(l: Line) -> Self {
        [l.from, l.to]
    }
}

impl Line {
    /// Signed area: negative on the left, positive on the right of the walk from `from` to `to` (y down).
    #[must_use]
    pub fn side(&self, p: Point) -> f32 {
        (self.to.x - self.from.x) * (p.y - self.from.y) - (self.to.y - self.from.y) * (p.x - self.from.x)
    }

    /// Distance from the endless line through both ends: negative on the left, positive on the right, in the unit of
    /// the points. 0 for everything when both ends are the same point.
    #[must_use]
    pub fn signed_distance(&self, p: Point) -> f32 {
        let length = (self.to.x - self.from.x).hypot(self.to.y - self.from.y);
        if length > 0.0 { self.side(p) / length } else { 0.0 }
    }

    /// Whether the movement from `a` to `b` crosses this segment, and which way. A movement that starts or ends
    /// exactly on the line crosses in neither direction: remember the last point beside the line to judge it
    /// (`rules::line_cross` does). Passing exactly through an end of the segment counts.
    #[must_use]
    pub fn crossed_by(&self, a: Point, b: Point) -> Option<CrossDirection> {
        let (from, to) = (self.side(a), self.side(b));
        let direction = if from < 0.0 && to > 0.0 {
            CrossDirection::LeftToRight
        } else if from > 0.0 && to < 0.0 {
            CrossDirection::RightToLeft
        } else {
            return None;
        };
        let path = Line { from: a, to: b };
        let (end_a, end_b) = (path.side(self.from), path.side(self.to));
        (end_a == 0.0 || end_b == 0.0 || (end_a > 0.0) != (end_b > 0.0)).then_some(direction)
    }

    /// Whether the nearest point of the endless line to `p` lies between the two ends.
    #[must_use]
    pub fn spans(&self, p: Point) -> bool {
        let (dx, dy) = (self.to.x - self.from.x, self.to.y - self.from.y);
        let along = (p.x - self.from.x) * dx + (p.y - self.from.y) * dy;
        (0.0..=dx * dx + dy * dy).contains(&along)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(x: f32, y: f32) -> Point {
        Point { x, y }
    }

    #[test]
    fn iou_of_half_overlapping_boxes_is_a_third() {
        let a = Rect::from([0.0, 0.0, 2.0, 1.0]);
        let b = Rect::from([1.0, 0.0, 3.0, 1.0]);
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.iou(&Rect::from([5.0, 5.0, 6.0, 6.0])), 0.0);
    }

    #[test]
    fn a_concave_polygon_excludes_its_notch() {
        let l = Polygon(vec![p(0., 0.), p(1., 0.), p(1., 1.), p(0.5, 0.2), p(0., 1.)]);
        assert!(l.contains(p(0.1, 0.5)));
        assert!(!l.contains(p(0.5, 0.6)));
    }

    #[test]
    fn a_line_is_crossed_only_within_its_ends_and_tells_the_direction() {
        // Walking up the picture: left is x smaller.
        let up = Line { from: p(0.5, 1.0), to: p(0.5, 0.5) };
        assert_eq!(up.crossed_by(p(0.4, 0.8), p(0.6, 0.8)), Some(CrossDirection::LeftToRight));
        assert_eq!(up.crossed_by(p(0.6, 0.8), p(0.4, 0.8)), Some(CrossDirection::RightToLeft));
        assert_eq!(up.crossed_by(p(0.4, 0.2), p(0.6, 0.2)), None, "above the upper end");
        assert_eq!(up.crossed_by(p(0.4, 0.8), p(0.45, 0.8)), None);
    }

    #[test]
    fn a_movement_that_touches_the_line_crosses_in_neither_direction() {
        let up = Line { from: p(0.5, 1.0), to: p(0.5, 0.5) };
        for x in [0.25, 0.75] {
            assert_eq!(up.crossed_by(p(x, 0.75), p(0.5, 0.75)), None, "ends on it, from {x}");
            assert_eq!(up.crossed_by(p(0.5, 0.75), p(x, 0.75)), None, "starts on it, to {x}");
        }
    }

    #[test]
    fn distance_is_in_the_unit_of_the_points() {
        let up = Line { from: p(0.5, 1.0), to: p(0.5, 0.5) };
        assert!((up.signed_distance(p(0.75, 0.1)) - 0.25).abs() < 1e-6);
        assert!((up.signed_distance(p(0.25, 0.1)) + 0.25).abs() < 1e-6);
        assert!(up.spans(p(0.0, 0.6)) && !up.spans(p(0.5, 0.4)));
        assert_eq!(Line { from: p(0.5, 0.5), to: p(0.5, 0.5) }.signed_distance(p(1.0, 0.0)), 0.0);
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        fn point() -> impl Strategy<Value = Point> {
            (0.0f32..1.0, 0.0f32..1.0).prop_map(|(x, y)| Point { x, y })
        }

        fn rect() -> impl Strategy<Value = Rect> {
            (point(), point()).prop_filter_map("empty", |(a, b)| Rect::around(&[a, b]).filter(|r| r.area() > 1e-6))
        }

        fn reversed(d: CrossDirection) -> CrossDirection {
            match d {
                CrossDirection::LeftToRight => CrossDirection::RightToLeft,
                CrossDirection::RightToLeft => CrossDirection::LeftToRight,
            }
        }

        proptest! {
            #[test]
            fn iou_is_symmetric_and_within_bounds(a in rect(), b in rect()) {
                let iou = a.iou(&b);
                prop_assert!((0.0..=1.0001).contains(&iou));
                prop_assert!((iou - b.iou(&a)).abs() < 1e-5);
                prop_assert!((a.iou(&a) - 1.0).abs() < 1e-5);
            }

            #[test]
            fn the_way_back_crosses_in_the_other_direction(f in point(), t in point(), a in point(), b in point()) {
                let line = Line { from: f, to: t };
                prop_assert_eq!(line.crossed_by(b, a), line.crossed_by(a, b).map(reversed));
            }

            #[test]
            fn walking_the_line_backwards_swaps_left_and_right(f in point(), t in point(), a in point(), b in point()) {
                let (line, back) = (Line { from: f, to: t }, Line { from: t, to: f });
                // Rounding may decide differently for points almost on the line; those are not the claim.
                prop_assume!(line.signed_distance(a).abs() > 1e-4 && line.signed_distance(b).abs() > 1e-4);
                let path = Line { from: a, to: b };
                prop_assume!(path.signed_distance(f).abs() > 1e-4 && path.signed_distance(t).abs() > 1e-4);
                prop_assert_eq!(back.crossed_by(a, b), line.crossed_by(a, b).map(reversed));
            }

            #[test]
            fn a_rectangle_as_polygon_contains_what_lies_between_its_sides(r in rect(), q in point()) {
                let polygon = Polygon(vec![p(r.x0, r.y0), p(r.x1, r.y0), p(r.x1, r.y1), p(r.x0, r.y1)]);
                let strictly_in = q.x > r.x0 && q.x < r.x1 && q.y > r.y0 && q.y < r.y1;
                let strictly_out = q.x < r.x0 || q.x > r.x1 || q.y < r.y0 || q.y > r.y1;
                prop_assert!(!strictly_in || polygon.contains(q));
                prop_assert!(!strictly_out || !polygon.contains(q));
                prop_assert!((polygon.area() - r.area()).abs() < 1e-5);
                prop_assert_eq!(polygon.bounds(), Some(r));
            }

            #[test]
            fn turning_the_order_of_corners_changes_nothing(corners in prop::collection::vec(point(), 3..8), q in point()) {
                let mut turned = corners.clone();
                turned.reverse();
                prop_assert_eq!(Polygon(corners).contains(q), Polygon(turned).contains(q));
            }
        }
    }
}
