//! Outlines, boxes, paths and arrows over a picture.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke, Transform,
};

use crate::geometry::{CrossDirection, Line, Point};

/// Something drawn that is laid over a part of a picture, transparent where nothing is. What is drawn on it is given in
/// pixels of the picture; what falls outside is left out.
pub(super) struct Layer {
    pixmap: Pixmap,
    /// Its upper left corner, both even: two by two pixels share their colour.
    origin: (u32, u32),
    /// Width of the picture, pixels.
    picture_width: u32,
}

impl Layer {
    /// Over `left, top, right, bottom` of a picture of this size; `None` where that is outside.
    pub fn new([left, top, right, bottom]: [f32; 4], (width, height): (usize, usize)) -> Option<Self> {
        let even = |size: usize| size.next_multiple_of(2) as u32;
        let (width, height) = (width as u32, height as u32);
        let (columns, rows) = (even(width as usize), even(height as usize));
        // What is negative or no number is 0.
        let within = |at: f32, most: u32| at.clamp(0.0, most as f32);
        let origin = (within(left, columns).floor() as u32 & !1, within(top, rows).floor() as u32 & !1);
        let right = even(within(right, columns).ceil() as usize);
        let bottom = even(within(bottom, rows).ceil() as usize);
        let pixmap = Pixmap::new(right.checked_sub(origin.0)?, bottom.checked_sub(origin.1)?)?;
        Some(Self { pixmap, origin, picture_width: width })
    }

    /// Over all of a picture of this size.
    pub fn whole((width, height): (usize, usize)) -> Option<Self> {
        Self::new([0.0, 0.0, width as f32, height as f32], (width, height))
    }

    /// Its upper left corner in the picture, pixels, both even.
    pub fn origin(&self) -> (u32, u32) {
        self.origin
    }

    /// Pixels in a row, an even number.
    pub fn columns(&self) -> usize {
        self.pixmap.width() as usize
    }

    /// Rows, an even number.
    pub fn height(&self) -> usize {
        self.pixmap.height() as usize
    }

    /// Row by row.
    pub fn pixels(&self) -> &[PremultipliedColorU8] {
        self.pixmap.pixels()
    }

    /// Width of the picture under it, pixels.
    pub fn picture_width(&self) -> f32 {
        self.picture_width as f32
    }

    /// One pixel of the picture, unless it is outside.
    pub fn pixel(&mut self, x: i32, y: i32) -> Option<&mut PremultipliedColorU8> {
        let x = u32::try_from(x).ok()?.checked_sub(self.origin.0).filter(|x| *x < self.pixmap.width())?;
        let y = u32::try_from(y).ok()?.checked_sub(self.origin.1)?;
        let at = y as usize * self.columns() + x as usize;
        self.pixmap.pixels_mut().get_mut(at)
    }

    fn place(&self) -> Transform {
        Transform::from_translate(-(self.origin.0 as f32), -(self.origin.1 as f32))
    }
}

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
pub(super) fn fill(layer: &mut Layer, [x, y, w, h]: [f32; 4], color: Color) {
    let place = layer.place();
    if let Some(rect) = Rect::from_xywh(x, y, w, h) {
        layer.pixmap.fill_rect(rect, &paint(color), place, None);
    }
}

/// Pixels around an area that are blackened with it: colours are shared by two, and a soft edge would show half of one.
const COVER_EDGE: f32 = 4.0;

/// Blackens an area; nothing of it can be seen any more.
pub(super) fn cover(layer: &mut Layer, points: &[Point]) {
    let black = Paint { anti_alias: false, ..paint(Color::BLACK) };
    let place = layer.place();
    if let Some(path) = trace(points, true) {
        layer.pixmap.fill_path(&path, &black, FillRule::EvenOdd, place, None);
        let edge = Stroke { width: COVER_EDGE, line_join: LineJoin::Round, ..Stroke::default() };
        layer.pixmap.stroke_path(&path, &black, &edge, place, None);
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
pub(super) fn polyline(layer: &mut Layer, points: &[Point], closed: bool, width: f32, color: Color) {
    let Some(path) = trace(points, closed) else { return };
    let (edge, place) = (Color::from_rgba8(0, 0, 0, 170), layer.place());
    for (width, color) in [(width * 2.0, edge), (width, color)] {
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        layer.pixmap.stroke_path(&path, &paint(color), &stroke, place, None);
    }
}

/// A filled circle with a dark edge.
pub(super) fn dot(layer: &mut Layer, at: Point, radius: f32, color: Color) {
    let place = layer.place();
    for (radius, color) in [(radius * 1.4, Color::from_rgba8(0, 0, 0, 170)), (radius, color)] {
        if let Some(path) = PathBuilder::from_circle(at.x, at.y, radius) {
            layer.pixmap.fill_path(&path, &paint(color), FillRule::Winding, place, None);
        }
    }
}

/// A line with an arrow across its middle that shows which way it was crossed.
pub(super) fn crossed_line(layer: &mut Layer, line: Line, direction: Option<CrossDirection>, width: f32, color: Color) {
    polyline(layer, &[line.from, line.to], false, width, color);
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
    polyline(layer, &[at(-shaft, 0.0), at(shaft, 0.0)], false, width, color);
    polyline(layer, &[at(shaft - head, -head), at(shaft, 0.0), at(shaft - head, head)], false, width, color);
}
