//! A picture in the colours of JPEG, from a frame to the encoder: never turned into RGB, which would cost two conversions
//! and a buffer almost three times as large. Only what is drawn over it has red, green and blue.

use tiny_skia::{ColorU8, PremultipliedColorU8};
use turbojpeg::{Subsamp, YuvImage};

use super::shapes::Layer;
use crate::camera::{Frame, PixelLayout};

/// Full range BT.601 (ITU-T T.871), a sample of each colour difference for two by two pixels.
#[derive(Clone)]
pub(super) struct Picture {
    width: usize,
    height: usize,
    /// Y, Cb and Cr one after the other; Y has an even number of columns and rows.
    planes: Vec<u8>,
}

/// To full range BT.601, fixed point: luma 1 = 2^16, what colour differences add 1 = 2^14.
struct Matrix {
    black: u8,
    /// Half of the factor: it is more than 1, and has 16 bits.
    luma_half: u16,
    luma_of: [i16; 2],
    cb_of: [i16; 2],
    cr_of: [i16; 2],
}

impl Matrix {
    /// From the definition of both spaces (ITU-R BT.601 and BT.709: `kr` and `kb`).
    fn of(frame: &Frame) -> Self {
        let (kr, kb) = (0.299, 0.114);
        let kg = 1.0 - kr - kb;
        let (fr, fb) = if frame.bt709 { (0.2126, 0.0722) } else { (kr, kb) };
        let fg = 1.0 - fr - fb;
        // What Cb and Cr of the frame add to red, green and blue, in halves of the range.
        let red = [0.0, 2.0 * (1.0 - fr)];
        let green = [-2.0 * fb * (1.0 - fb) / fg, -2.0 * fr * (1.0 - fr) / fg];
        let blue = [2.0 * (1.0 - fb), 0.0];
        let (luma_range, chroma_range) = if frame.full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        let fixed = |f: f64| (f * chroma_range * f64::from(1 << 14)).round() as i16;
        let luma = |i: usize| kr * red[i] + kg * green[i] + kb * blue[i];
        let (cb, cr) =
            (|i: usize| (blue[i] - luma(i)) / (2.0 * (1.0 - kb)), |i: usize| (red[i] - luma(i)) / (2.0 * (1.0 - kr)));
        Self {
            black: if frame.full_range { 0 } else { 16 },
            luma_half: (luma_range * f64::from(1 << 15)).round() as u16,
            luma_of: [fixed(luma(0)), fixed(luma(1))],
            cb_of: [fixed(cb(0)), fixed(cb(1))],
            cr_of: [fixed(cr(0)), fixed(cr(1))],
        }
    }
}

/// A sixteen-bit product that vector units have; the loops below are written for them.
#[inline]
fn high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

/// 32 times what two colour differences (less 128) add, each times its factor.
#[inline]
fn mixed(cb: i16, cr: i16, of: [i16; 2]) -> i16 {
    high(cb << 7, of[0]) + high(cr << 7, of[1])
}

#[inline]
fn byte(value: i16) -> u8 {
    value.clamp(0, 255) as u8
}

impl Picture {
    /// Of one colour: black.
    pub fn black(width: usize, height: usize) -> Self {
        let mut picture = Self { width, height, planes: Vec::new() };
        let luma = picture.columns() * picture.rows();
        picture.planes = vec![0; luma];
        picture.planes.resize(luma * 3 / 2, 128);
        picture
    }

    /// The frame; `None` when it is empty or its planes are shorter than its size says.
    pub fn of(frame: &Frame) -> Option<Self> {
        Self::in_memory(frame, Vec::new())
    }

    /// [`Picture::of`] in memory that was used before.
    pub fn in_memory(frame: &Frame, planes: Vec<u8>) -> Option<Self> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        if width == 0 || height == 0 {
            return None;
        }
        let mut picture = Self { width, height, planes };
        let (columns, rows) = (picture.columns(), picture.rows());
        // All of it is written below.
        picture.planes.resize(columns * rows * 3 / 2, 0);
        let matrix = Matrix::of(frame);
        let (luma, stride) = frame.planes.plane(0);
        let [ys, cbs, crs] = picture.split();
        let half = columns / 2;
        let (mut u, mut v, mut add) = (vec![0_i16; half], vec![0_i16; half], vec![0_i16; columns]);
        let chroma_rows = cbs.chunks_exact_mut(half).zip(crs.chunks_exact_mut(half));
        for (row, (two, (cb, cr))) in ys.chunks_exact_mut(2 * columns).zip(chroma_rows).enumerate() {
            differences(frame, row, &mut u, &mut v)?;
            for ((out, u), v) in cb.iter_mut().zip(&u).zip(&v) {
                *out = byte(((mixed(*u, *v, matrix.cb_of) + 16) >> 5) + 128);
            }
            for ((out, u), v) in cr.iter_mut().zip(&u).zip(&v) {
                *out = byte(((mixed(*u, *v, matrix.cr_of) + 16) >> 5) + 128);
            }
            for ((pair, u), v) in add.chunks_exact_mut(2).zip(&u).zip(&v) {
                pair.fill(mixed(*u, *v, matrix.luma_of) * 2);
            }
            for (i, out) in two.chunks_exact_mut(columns).enumerate() {
                // The row that makes their number even shows the last one again.
                let y = (2 * row + i).min(height - 1);
                let from = luma.get(y * stride..y * stride + width)?;
                for ((out, y), add) in out.iter_mut().zip(from).zip(&add) {
                    let y = u16::from(y.saturating_sub(matrix.black)) << 7;
                    let y = ((u32::from(y) * u32::from(matrix.luma_half)) >> 16) as i16;
                    *out = byte((y + add + 32) >> 6);
                }
                if columns > width {
                    out[width] = out[width - 1];
                }
            }
        }
        Some(picture)
    }

    /// Pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Left, top, right and bottom.
    pub fn all(&self) -> [f32; 4] {
        [0.0, 0.0, self.width as f32, self.height as f32]
    }

    fn columns(&self) -> usize {
        self.width.next_multiple_of(2)
    }

    fn rows(&self) -> usize {
        self.height.next_multiple_of(2)
    }

    fn split(&mut self) -> [&mut [u8]; 3] {
        let luma = self.columns() * self.rows();
        let (ys, chroma) = self.planes.split_at_mut(luma);
        let (cbs, crs) = chroma.split_at_mut(luma / 4);
        [ys, cbs, crs]
    }

    /// For the encoder.
    pub fn yuv(&self) -> YuvImage<&[u8]> {
        YuvImage { pixels: &self.planes, width: self.width, align: 1, height: self.height, subsamp: Subsamp::Sub2x2 }
    }

    /// The same picture under `room` rows of one colour, an even number, in memory that was used before.
    pub fn with_room_above(&self, room: usize, colour: ColorU8, mut planes: Vec<u8>) -> Self {
        debug_assert!(room.is_multiple_of(2));
        let (luma, above) = (self.columns() * self.rows(), self.columns() * room);
        planes.clear();
        planes.reserve_exact((luma + above) * 3 / 2);
        let (ys, chroma) = self.planes.split_at(luma);
        let (cbs, crs) = chroma.split_at(luma / 4);
        let pixel = colour.premultiply();
        let (mut cb, mut cr) = (128, 128);
        blend_chroma(&mut cb, &mut cr, [pixel; 4]);
        for (plane, room, with) in [(ys, above, blend_luma(0, pixel)), (cbs, above / 4, cb), (crs, above / 4, cr)] {
            planes.resize(planes.len() + room, with);
            planes.extend_from_slice(plane);
        }
        Self { width: self.width, height: self.height + room, planes }
    }

    /// Its memory, for another picture.
    pub fn into_memory(self) -> Vec<u8> {
        self.planes
    }

    /// Puts a whole picture with its upper left corner there, at even numbers; what would be outside is left out.
    pub fn put(&mut self, other: &Self, (x, y): (usize, usize)) {
        debug_assert!(x.is_multiple_of(2) && y.is_multiple_of(2));
        let (columns, rows) = (self.columns(), self.rows());
        let (from_columns, luma) = (other.columns(), other.columns() * other.rows());
        let (ys, chroma) = other.planes.split_at(luma);
        let (cbs, crs) = chroma.split_at(luma / 4);
        for ((to, from), part) in self.split().into_iter().zip([ys, cbs, crs]).zip([1, 2, 2]) {
            let (x, y, width) =
                (x.min(columns) / part, y / part, (from_columns / part).min((columns / part).saturating_sub(x / part)));
            let rows = to.chunks_exact_mut(columns / part).take(rows / part).skip(y);
            for (to, from) in rows.zip(from.chunks_exact(from_columns / part)) {
                to[x..x + width].copy_from_slice(&from[..width]);
            }
        }
    }

    /// The same picture in another size; best when it gets smaller. `None` when that has no pixels.
    pub fn scaled(&self, width: usize, height: usize) -> Option<Self> {
        if width == 0 || height == 0 {
            return None;
        }
        let mut scaled = Self { width, height, planes: Vec::new() };
        let (from, to) = ((self.columns(), self.rows()), (scaled.columns(), scaled.rows()));
        let mut begin = 0;
        for part in [1, 2, 2] {
            let size = |(w, h): (usize, usize)| Some((u32::try_from(w / part).ok()?, u32::try_from(h / part).ok()?));
            let ((w, h), (new_w, new_h)) = (size(from)?, size(to)?);
            let end = begin + w as usize * h as usize;
            let plane: image::ImageBuffer<image::Luma<u8>, &[u8]> =
                image::ImageBuffer::from_raw(w, h, self.planes.get(begin..end)?)?;
            // Far smaller, whole pixels may be averaged; else that is uneven.
            let (far, filter) = (2 * new_w <= w && 2 * new_h <= h, image::imageops::FilterType::Triangle);
            let small = if far {
                image::imageops::thumbnail(&plane, new_w, new_h)
            } else {
                image::imageops::resize(&plane, new_w, new_h, filter)
            };
            scaled.planes.extend(small.into_raw());
            begin = end;
        }
        Some(scaled)
    }

    /// Draws over `left, top, right, bottom` of what is under its first `below` rows, an even number: see [`Layer::in_bands`].
    pub fn draw(&mut self, within: [f32; 4], below: usize, draw: impl Fn(&mut Layer)) {
        let size = (self.width, self.height.saturating_sub(below));
        Layer::in_bands(within, size, draw, |band| self.lay(band, below));
    }

    /// Draws a layer over it, moved down by `below` pixels, an even number.
    pub fn lay(&mut self, layer: &Layer, below: usize) {
        debug_assert!(below.is_multiple_of(2));
        let (columns, rows) = (self.columns(), self.rows());
        let (left, top) = layer.origin();
        let (left, top) = (left as usize, top as usize + below);
        let wide = layer.columns();
        let [ys, cbs, crs] = self.split();
        for (i, two) in layer.pixels().chunks_exact(2 * wide).enumerate() {
            let y = top + 2 * i;
            if y + 2 > rows {
                break;
            }
            let (upper, lower) = two.split_at(wide);
            let (over, under) = ys[y * columns..(y + 2) * columns].split_at_mut(columns);
            let begin = y / 2 * (columns / 2) + left / 2;
            // Most of a layer is empty.
            let wide = wide.min(columns - left);
            for first in (0..wide).step_by(RUN) {
                let run = first..(first + RUN).min(wide);
                let (upper, lower) = (&upper[run.clone()], &lower[run]);
                if is_empty(upper) && is_empty(lower) {
                    continue;
                }
                for (b, (a, c)) in (first / 2..).zip(upper.chunks_exact(2).zip(lower.chunks_exact(2))) {
                    let block = [a[0], a[1], c[0], c[1]];
                    if is_empty(&block) {
                        continue;
                    }
                    let x = left + 2 * b;
                    for (luma, p) in over[x..x + 2].iter_mut().zip(a) {
                        *luma = blend_luma(*luma, *p);
                    }
                    for (luma, p) in under[x..x + 2].iter_mut().zip(c) {
                        *luma = blend_luma(*luma, *p);
                    }
                    blend_chroma(&mut cbs[begin + b], &mut crs[begin + b], block);
                }
            }
        }
    }
}

/// Pixels of a row that are looked at together, an even number.
const RUN: usize = 64;

/// Whether nothing was drawn there; without a branch for each, which vector units have not.
fn is_empty(pixels: &[PremultipliedColorU8]) -> bool {
    pixels.iter().fold(0, |all, p| all | p.alpha()) == 0
}

/// U and V of one chroma row, less 128; the sample that makes their number even is there in 4:2:0 anyway.
fn differences(frame: &Frame, row: usize, u: &mut [i16], v: &mut [i16]) -> Option<()> {
    let half = u.len();
    let (first, stride) = frame.planes.plane(1);
    let less = |sample: u8| i16::from(sample) - 128;
    match frame.layout {
        PixelLayout::I420 => {
            let (second, v_stride) = frame.planes.plane(2);
            let (us, vs) = (first.get(row * stride..row * stride + half)?, second.get(row * v_stride..)?.get(..half)?);
            u.iter_mut().zip(us).for_each(|(to, from)| *to = less(*from));
            v.iter_mut().zip(vs).for_each(|(to, from)| *to = less(*from));
        }
        PixelLayout::Nv12 => {
            let both = first.get(row * stride..row * stride + 2 * half)?;
            for ((u, v), both) in u.iter_mut().zip(v).zip(both.chunks_exact(2)) {
                (*u, *v) = (less(both[0]), less(both[1]));
            }
        }
    }
    Some(())
}

/// 2^16 times the luma of a colour (ITU-T T.871).
fn luma(red: u32, green: u32, blue: u32) -> u32 {
    19_595 * red + 38_470 * green + 7_471 * blue
}

fn blend_luma(under: u8, over: PremultipliedColorU8) -> u8 {
    let over_luma = luma(over.red().into(), over.green().into(), over.blue().into());
    let kept = u32::from(under) * u32::from(255 - over.alpha());
    ((kept * 65_536 / 255 + over_luma + 32_768) >> 16).min(255) as u8
}

/// One sample of each colour difference under four pixels, which count alike.
fn blend_chroma(cb: &mut u8, cr: &mut u8, block: [PremultipliedColorU8; 4]) {
    let sum = |of: fn(PremultipliedColorU8) -> u8| block.iter().map(|p| i32::from(of(*p))).sum::<i32>();
    let (red, green, blue) =
        (sum(PremultipliedColorU8::red), sum(PremultipliedColorU8::green), sum(PremultipliedColorU8::blue));
    let kept = 4 * 255 - sum(PremultipliedColorU8::alpha);
    // Of the sum of four, hence 2^18 = 1.
    let over_cb = -11_059 * red - 21_709 * green + 32_768 * blue;
    let over_cr = 32_768 * red - 27_439 * green - 5_329 * blue;
    for (sample, over) in [(cb, over_cb), (cr, over_cr)] {
        let under = (i32::from(*sample) - 128) * kept;
        let mixed = (under * 257 + over + (1 << 17)) >> 18;
        *sample = (mixed + 128).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::camera::{CameraId, FramePlanes};
    use crate::clock::{FrameTime, MonoMillis, UtcMillis};

    /// Rows with 3 bytes of padding that must never show.
    struct Padded {
        planes: Vec<(Vec<u8>, usize)>,
    }

    impl FramePlanes for Padded {
        fn plane(&self, i: usize) -> (&[u8], usize) {
            (&self.planes[i].0, self.planes[i].1)
        }
    }

    fn plane(rows: usize, row: &[u8]) -> (Vec<u8>, usize) {
        let padded: Vec<u8> = row.iter().copied().chain([7, 7, 7]).collect();
        (padded.repeat(rows), padded.len())
    }

    fn frame(layout: PixelLayout, bt709: bool, planes: Vec<(Vec<u8>, usize)>) -> Frame {
        let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
        let planes = Arc::new(Padded { planes });
        Frame { layout, bt709, ..Frame::made(CameraId("c".into()), time, (3, 3), planes) }
    }

    /// One colour, as the definition of its space has it: red, green and blue of 0..=255.
    fn rgb(frame: &Frame, [y, u, v]: [u8; 3]) -> [f64; 3] {
        let (kr, kb) = if frame.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let (black, luma, chroma) = if frame.full_range { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
        let y = (f64::from(y) - black) / luma;
        let (u, v) = ((f64::from(u) - 128.0) / chroma, (f64::from(v) - 128.0) / chroma);
        let (red, blue) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let green = (y - kr * red - kb * blue) / (1.0 - kr - kb);
        [red, green, blue].map(|c| c * 255.0)
    }

    #[test]
    fn every_space_gives_the_same_colours() {
        for (bt709, full_range) in [(false, false), (true, false), (false, true), (true, true)] {
            for colour in
                [[90, 128, 128], [120, 100, 140], [81, 90, 200], [150, 160, 70], [235, 128, 128], [16, 128, 128]]
            {
                let [y, u, v] = colour;
                let planes = vec![plane(3, &[y; 3]), plane(2, &[u; 2]), plane(2, &[v; 2])];
                let frame = Frame { full_range, ..frame(PixelLayout::I420, bt709, planes) };
                let mut picture = Picture::of(&frame).unwrap();
                let [ys, cbs, crs] = picture.split();
                let (y, cb, cr) = (f64::from(ys[5]), f64::from(cbs[1]) - 128.0, f64::from(crs[1]) - 128.0);
                let found = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
                let wanted = rgb(&frame, colour);
                let near = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 2.5);
                assert!(near, "{bt709} {full_range} {colour:?}: {found:?}, not {wanted:?}");
            }
        }
    }

    #[test]
    fn both_layouts_give_the_same_picture_at_odd_sizes_with_padded_rows() {
        let luma = plane(3, &[63, 63, 235]);
        let i420 = vec![luma.clone(), plane(2, &[102, 128]), plane(2, &[240, 128])];
        let nv12 = vec![luma, plane(2, &[102, 240, 128, 128])];
        let found = Picture::of(&frame(PixelLayout::I420, true, i420)).unwrap();
        assert_eq!(found.planes, Picture::of(&frame(PixelLayout::Nv12, true, nv12)).unwrap().planes);
        assert_eq!(found.planes[..16].chunks(4).map(|row| row[3] == row[2]).collect::<Vec<_>>(), [true; 4]);
    }

    #[test]
    fn planes_shorter_than_the_picture_are_refused() {
        let planes = vec![plane(2, &[81; 3]), plane(2, &[90; 2]), plane(2, &[240; 2])];
        assert!(Picture::of(&frame(PixelLayout::I420, false, planes)).is_none());
    }

    #[test]
    fn what_is_drawn_has_its_colour_and_the_rest_keeps_its_own() {
        let planes = vec![plane(3, &[120; 3]), plane(2, &[128; 2]), plane(2, &[128; 2])];
        let before = Picture::of(&frame(PixelLayout::I420, false, planes)).unwrap();
        let mut picture = before.clone();
        let mut layer = Layer::new([0.0, 0.0, 3.0, 2.0], (3, 3)).unwrap();
        crate::event::annotate::shapes::fill(
            &mut layer,
            [0.0, 0.0, 2.0, 2.0],
            tiny_skia::Color::from_rgba8(255, 0, 0, 255),
        );
        picture.lay(&layer, 0);
        // Red is Y 76, Cb 85, Cr 255.
        let grey = before.planes[0];
        assert_eq!(
            picture.planes[..16],
            [76, 76, grey, grey, 76, 76, grey, grey, grey, grey, grey, grey, grey, grey, grey, grey]
        );
        assert_eq!(picture.planes[16..], [85, 128, 128, 128, 255, 128, 128, 128]);
    }

    #[test]
    fn half_of_a_colour_is_mixed() {
        let mut picture = Picture::black(2, 2);
        picture.planes = vec![100, 100, 100, 100, 128, 128];
        let mut layer = Layer::new([0.0, 0.0, 2.0, 2.0], (2, 2)).unwrap();
        crate::event::annotate::shapes::fill(
            &mut layer,
            [0.0, 0.0, 2.0, 2.0],
            tiny_skia::Color::from_rgba8(255, 255, 255, 128),
        );
        picture.lay(&layer, 0);
        assert!(picture.planes[..4].iter().all(|y| y.abs_diff(178) <= 1), "{:?}", picture.planes);
        assert_eq!(picture.planes[4..], [128, 128]);
    }

    #[test]
    fn pictures_are_put_under_room_and_beside_each_other() {
        let mut one = Picture::black(2, 2);
        one.planes = vec![9, 9, 9, 9, 60, 70];
        let roomy = one.with_room_above(2, ColorU8::from_rgba(0, 0, 0, 255), vec![3; 40]);
        let red = one.with_room_above(2, ColorU8::from_rgba(255, 0, 0, 255), Vec::new());
        assert_eq!(red.planes, [76, 76, 76, 76, 9, 9, 9, 9, 85, 60, 255, 70]);
        assert_eq!((roomy.width(), roomy.height()), (2, 4));
        assert_eq!(roomy.planes, [0, 0, 0, 0, 9, 9, 9, 9, 128, 60, 128, 70]);
        let mut sheet = Picture::black(4, 2);
        sheet.put(&one, (2, 0));
        assert_eq!(sheet.planes, [0, 0, 9, 9, 0, 0, 9, 9, 128, 60, 128, 70]);
        sheet.put(&roomy, (2, 0));
        assert_eq!(sheet.planes[..8], [0, 0, 0, 0, 0, 0, 0, 0]);
        let smaller = Picture::black(8, 6).scaled(3, 3).unwrap();
        assert_eq!(smaller.planes.len(), 4 * 4 * 3 / 2);
    }
}
