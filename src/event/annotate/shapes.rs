//! Outlines, boxes, paths and arrows over a picture.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke, Transform,
};

use crate::geometry::{CrossDirection, Line, Point};

/// Rows of a band: with as many columns as a picture has they stay in the cache of a core, and below what the allocator asks
/// of the system each time anew.
const BAND: f32 = 64.0;

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

    /// Draws over `left, top, right, bottom` of a picture of this size with little memory: in bands, from above. `draw` is given
    /// one after the other and draws all of it every time, `done` takes each when it is drawn.
    pub fn in_bands(
        [left, top, right, bottom]: [f32; 4],
        size: (usize, usize),
        draw: impl Fn(&mut Self),
        mut done: impl FnMut(&Self),
    ) {
        let bottom = bottom.min(size.1 as f32);
        let Some(mut band) = Self::new([left, top, right, bottom.min(top.max(0.0) + BAND)], size) else { return };
        loop {
            draw(&mut band);
            done(&band);
            band.origin.1 += band.pixmap.height();
            if band.origin.1 as f32 >= bottom {
                return;
            }
            band.pixmap.fill(Color::TRANSPARENT);
        }
    }

    /// Whether nothing between these rows of the picture is on it.
    pub fn misses(&self, top: f32, bottom: f32) -> bool {
        let (above, below) = (self.origin.1 as f32, (self.origin.1 + self.pixmap.height()) as f32);
        bottom < above || top > below
    }

    /// Its upper left corner in the picture, pixels, both even.
    pub fn origin(&self) -> (u32, u32) {
        self.origin
    }

    /// Pixels in a row, an even number.
    pub fn columns(&self) -> usize {
        self.pixmap.width() as usize
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
    // Round joins and ends reach no further than half of the wider line.
    if layer.misses(path.bounds().top() - width, path.bounds().bottom() + width) {
        return;
    }
    let (edge, place) = (Color::from_rgba8(0, 0, 0, 170), layer.place());
    for (width, color) in [(width * 2.0, edge), (width, color)] {
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        layer.pixmap.stroke_path(&path, &paint(color), &stroke, place, None);
    }
}

/// A filled circle with a dark edge.
pub(super) fn dot(layer: &mut Layer, at: Point, radius: f32, color: Color) {
    if layer.misses(at.y - 1.4 * radius, at.y + 1.4 * radius) {
        return;
    }
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

#[cfg(test)]
mod tests {
    use super::super::picture::Picture;
    use super::*;

    /// Lines over edges and borders of bands, thin and wide, a dot on a border, a field of words.
    fn drawn(layer: &mut Layer) {
        let corners = [[20.5, 3.0], [300.0, 60.0], [310.0, 199.0], [-4.0, 130.5]].map(Point::from);
        polyline(layer, &corners, true, 3.0, color(64, 224, 255));
        polyline(layer, &[[30.0, 62.0], [200.0, 66.0]].map(Point::from), false, 5.0, color(255, 240, 120));
        dot(layer, Point { x: 100.0, y: 128.0 }, 6.0, color(255, 112, 104));
        fill(layer, [210.3, 120.0, 60.0, 14.5], color(255, 214, 64));
        let line = Line { from: Point { x: 40.0, y: 180.0 }, to: Point { x: 250.0, y: 90.0 } };
        crossed_line(layer, line, Some(CrossDirection::LeftToRight), 2.5, color(64, 224, 255));
    }

    #[test]
    fn what_is_drawn_in_bands_is_what_is_drawn_at_once() {
        for below in [0, 40] {
            let size = (321, 201);
            let (mut at_once, mut bands) = (Picture::black(321, 201 + below), Picture::black(321, 201 + below));
            let mut layer = Layer::whole(size).unwrap();
            drawn(&mut layer);
            at_once.lay(&layer, below);
            bands.draw([0.0, 0.0, 321.0, 201.0], below, drawn);
            let both = at_once.yuv().pixels.iter().zip(bands.yuv().pixels);
            let apart: Vec<u8> = both.map(|(a, b)| a.abs_diff(*b)).collect();
            // A line cut at a border has its soft edge computed anew: a few pixels, a few grey levels.
            assert!(apart.iter().all(|d| *d <= 24), "{:?} grey levels apart", apart.iter().max());
            let other = apart.iter().filter(|d| **d > 2).count();
            assert!(other * 1000 < apart.len(), "{other} of {} pixels are others", apart.len());
            assert!(bands.yuv().pixels.iter().any(|y| *y > 200));
        }
    }
}
