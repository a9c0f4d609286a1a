//! Outlines, boxes, paths and arrows on a picture.

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

use crate::geometry::{CrossDirection, Line, Point};

/// A colour without transparency.
pub(super) fn color(red: u8, green: u8, blue: u8) -> Color {
    Color::from_rgba8(red, green, blue, 255)
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color);
    paint
}

/// Fills a rectangle given by left, top, width and height.
pub(super) fn fill(pixmap: &mut Pixmap, [x, y, w, h]: [f32; 4], color: Color) {
    if let Some(rect) = Rect::from_xywh(x, y, w, h) {
        pixmap.fill_rect(rect, &paint(color), Transform::identity(), None);
    }
}

/// Pixels around an area that are blackened with it: colours are shared by two, and a soft edge would show half of one.
const COVER_EDGE: f32 = 4.0;

/// Blackens an area; nothing of it can be seen any more.
pub(super) fn cover(pixmap: &mut Pixmap, points: &[Point]) {
    let black = Paint { anti_alias: false, ..paint(Color::BLACK) };
    if let Some(path) = trace(points, true) {
        pixmap.fill_path(&path, &black, FillRule::EvenOdd, Transform::identity(), None);
        let edge = Stroke { width: COVER_EDGE, line_join: LineJoin::Round, ..Stroke::default() };
        pixmap.stroke_path(&path, &black, &edge, Transform::identity(), None);
    }
}

fn trace(points: &[Point], closed: bool) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    path.move_to(points.first()?.x, points.first()?.y);
    points.iter().skip(1).for_each(|p| path.line_to(p.x, p.y));
    if closed {
        path.close();
    }
    path.finish()
}

/// A line through all points, with a dark edge that shows it on bright and dark ground alike.
pub(super) fn polyline(pixmap: &mut Pixmap, points: &[Point], closed: bool, width: f32, color: Color) {
    let Some(path) = trace(points, closed) else { return };
    let edge = Color::from_rgba8(0, 0, 0, 170);
    for (width, color) in [(width * 2.0, edge), (width, color)] {
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        pixmap.stroke_path(&path, &paint(color), &stroke, Transform::identity(), None);
    }
}

/// A closed outline filled lightly.
pub(super) fn area(pixmap: &mut Pixmap, points: &[Point], width: f32, color: Color) {
    if let Some(path) = trace(points, true) {
        let mut light = color;
        light.set_alpha(0.12);
        pixmap.fill_path(&path, &paint(light), FillRule::EvenOdd, Transform::identity(), None);
    }
    polyline(pixmap, points, true, width, color);
}

/// A filled circle with a dark edge.
pub(super) fn dot(pixmap: &mut Pixmap, at: Point, radius: f32, color: Color) {
    for (radius, color) in [(radius * 1.4, Color::from_rgba8(0, 0, 0, 170)), (radius, color)] {
        if let Some(path) = PathBuilder::from_circle(at.x, at.y, radius) {
            pixmap.fill_path(&path, &paint(color), FillRule::Winding, Transform::identity(), None);
        }
    }
}

/// A line with an arrow across its middle that shows which way it was crossed.
pub(super) fn crossed_line(
    pixmap: &mut Pixmap,
    line: Line,
    direction: Option<CrossDirection>,
    width: f32,
    color: Color,
) {
    polyline(pixmap, &[line.from, line.to], false, width, color);
    let (dx, dy) = (line.to.x - line.from.x, line.to.y - line.from.y);
    let length = dx.hypot(dy);
    let sign = match direction {
        // Right of the walk, with y down, is (-dy, dx).
        Some(CrossDirection::LeftToRight) => 1.0,
        Some(CrossDirection::RightToLeft) => -1.0,
        None => return,
    };
    if length <= 0.0 {
        return;
    }
    let (along, across) = ((dx / length, dy / length), (-dy / length * sign, dx / length * sign));
    let middle = Point { x: f32::midpoint(line.from.x, line.to.x), y: f32::midpoint(line.from.y, line.to.y) };
    let at =
        |a: f32, b: f32| Point { x: middle.x + across.0 * a + along.0 * b, y: middle.y + across.1 * a + along.1 * b };
    let (shaft, head) = (width * 14.0, width * 6.0);
    polyline(pixmap, &[at(-shaft, 0.0), at(shaft, 0.0)], false, width, color);
    polyline(pixmap, &[at(shaft - head, -head), at(shaft, 0.0), at(shaft - head, head)], false, width, color);
}
