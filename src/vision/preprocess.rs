//! From the planes of a frame straight into the input tensor: crop, scale, colour and normalise a region in one pass
//! over its rows. No RGB picture exists in between, and after the first frame nothing is allocated.
//!
//! Each output row mixes its source rows, then its columns. Up to a step of two pixels the mix is bilinear; beyond it
//! every source pixel counts (area average), so that small things do not vanish. Whole numbers all the way to the colour:
//! eight samples of 16 bits fit where four floats do, and the loops over a row are such that the compiler vectorises them.

use super::letterbox::Letterbox;
use crate::camera::{Frame, PixelLayout};

/// Adding and taking away this leaves the nearest whole number of anything in 0..=255 (half to even), without a call.
const WHOLE: f32 = 8_388_608.0;
/// A row's weights add up to this.
const ONE_ROW: u16 = u16::MAX;
/// The two weights of a column add up to this: products with 16 bits stay within 31.
const ONE_COLUMN: i32 = 1 << 15;
/// What a grey level of 1 is after the mix of rows.
const LEVEL: f32 = 257.0;

/// How a model wants its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelFormat {
    /// Red first; blue first otherwise.
    pub rgb: bool,
    /// `[1, H, W, 3]` instead of `[1, 3, H, W]`.
    pub channels_last: bool,
    /// Subtracted from each channel (in tensor order), 0..=255.
    pub mean: [f32; 3],
    /// Then multiplied.
    pub scale: [f32; 3],
    /// Grey of the padding, 0..=255, before both.
    pub padding: f32,
}

/// One axis of one plane: output sample `o` looks at `origin + (o + 0.5) * step` in a row whose samples `low..=high`
/// exist.
#[derive(Debug, Clone, Copy)]
struct Axis {
    origin: f32,
    step: f32,
    low: usize,
    high: usize,
    outputs: usize,
}

impl Axis {
    fn luma(start: u32, length: u32, outputs: u32) -> Self {
        let (start, length, outputs) = (start as usize, length as usize, outputs as usize);
        let step = length as f32 / outputs as f32;
        Self { origin: start as f32, step, low: start, high: start + length - 1, outputs }
    }

    /// The same stretch of the picture in a plane of half the resolution.
    fn chroma(self) -> Self {
        Self { origin: self.origin / 2.0, step: self.step / 2.0, low: self.low / 2, high: self.high / 2, ..self }
    }

    /// Every sample counts, not only the two nearest ones.
    fn is_wide(&self) -> bool {
        self.step > 2.0
    }

    fn samples(&self) -> usize {
        self.high - self.low + 1
    }
}

/// Which rows make up each output row.
#[derive(Debug, Default)]
struct Rows {
    /// Rows mixed for each output.
    count: usize,
    /// First row of each output.
    first: Vec<usize>,
    /// `count` weights for each output, sum [`ONE_ROW`].
    weights: Vec<u16>,
}

impl Rows {
    fn set(&mut self, axis: Axis) {
        let wide = axis.is_wide();
        self.count = if wide { axis.step.ceil() as usize + 1 } else { 2 }.min(axis.samples());
        self.first.clear();
        self.weights.clear();
        for o in 0..axis.outputs {
            let middle = axis.origin + (o as f32 + 0.5) * axis.step;
            let reach = if wide { axis.step / 2.0 } else { 1.0 };
            let lowest = if wide { middle - reach } else { middle - 0.5 };
            let first = (lowest.floor().max(0.0) as usize).clamp(axis.low, axis.high + 1 - self.count);
            self.first.push(first);
            let share = |k: usize| weight((first + k) as f32, middle, reach, wide);
            let sum: f32 = (0..self.count).map(share).sum();
            let start = self.weights.len();
            // At a border where nothing is in reach: the nearest, to which all the rest are clamped.
            let scale = if sum > 1e-6 { f32::from(ONE_ROW) / sum } else { 0.0 };
            self.weights.extend((0..self.count).map(|k| (share(k) * scale) as u16));
            complete(&mut self.weights[start..]);
        }
    }

    fn of(&self, o: usize) -> (usize, &[u16]) {
        (self.first[o], &self.weights[o * self.count..(o + 1) * self.count])
    }
}

/// Share of the sample at `i` (covering `i..i+1`): its overlap with the window, or its bilinear weight.
fn weight(i: f32, middle: f32, reach: f32, wide: bool) -> f32 {
    if wide {
        ((i + 1.0).min(middle + reach) - i.max(middle - reach)).max(0.0)
    } else {
        (1.0 - (i + 0.5 - middle).abs()).max(0.0)
    }
}

/// What rounding left over goes to the greatest weight, the first one if all are 0: the sum is exact, so that no mix
/// exceeds 16 bits.
fn complete(weights: &mut [u16]) {
    let left = ONE_ROW - weights.iter().sum::<u16>();
    let greatest = weights.iter().max().copied();
    if let Some(weight) = weights.iter_mut().find(|w| Some(**w) == greatest) {
        *weight += left;
    }
}

/// Where the columns of each output lie in a row that begins with the region's first.
#[derive(Debug, Default)]
struct Columns {
    /// Of two columns the first, and their weights. Of a wide mix the column in which each output begins, and how much of
    /// it belongs to the one before, out of 65536; with one more for the end of the last.
    places: Vec<(u32, [i32; 2])>,
    wide: bool,
    /// What a grey level of 1 is after the mix.
    level: f32,
}

impl Columns {
    fn set(&mut self, axis: Axis) {
        self.wide = axis.is_wide();
        self.places.clear();
        let last = axis.samples() - 1;
        let origin = axis.origin - axis.low as f32;
        if self.wide {
            self.level = LEVEL * axis.step;
            self.places.extend((0..=axis.outputs).map(|o| {
                let edge = (origin + o as f32 * axis.step).clamp(0.0, (last + 1) as f32);
                let column = (edge as usize).min(last);
                (column as u32, [((edge - column as f32) * 65_536.0) as i32, 0])
            }));
        } else {
            self.level = LEVEL * ONE_COLUMN as f32;
            self.places.extend((0..axis.outputs).map(|o| {
                let at = (origin + (o as f32 + 0.5) * axis.step - 0.5).clamp(0.0, last as f32);
                let column = (at as usize).min(last.saturating_sub(1));
                let second = ((at - column as f32) * ONE_COLUMN as f32).round() as i32;
                (column as u32, [ONE_COLUMN - second, second])
            }));
        }
    }

    /// Mixes every `STRIDE`th number of a row, from `offset` on; there are at least `STRIDE` more than the region has.
    fn mix<const STRIDE: usize>(&self, row: &[u16], offset: usize, sums: &mut Vec<u32>, out: &mut [i32]) {
        let row = &row[offset..];
        if !self.wide {
            for (value, &(column, [first, second])) in out.iter_mut().zip(&self.places) {
                let at = column as usize * STRIDE;
                *value = i32::from(row[at]) * first + i32::from(row[at + STRIDE]) * second;
            }
            return;
        }
        // Differences of running sums: one addition a sample, however many samples an output has.
        let mut sum = 0_u32;
        sums.clear();
        sums.extend(row.iter().step_by(STRIDE).map(|m| {
            let before = sum;
            sum = sum.wrapping_add(u32::from(*m));
            before
        }));
        let mut edges = self.places.iter().map(|&(column, [part, _])| {
            let within = (u64::from(row[column as usize * STRIDE]) * part as u64) >> 16;
            sums[column as usize].wrapping_add(within as u32)
        });
        let mut begin = edges.next().unwrap_or_default();
        for (value, end) in out.iter_mut().zip(edges) {
            *value = end.wrapping_sub(begin) as i32;
            begin = end;
        }
    }
}

/// Buffers of the pass, reused from frame to frame.
#[derive(Debug, Default)]
pub struct Preprocessor {
    luma_x: Columns,
    luma_y: Rows,
    chroma_x: Columns,
    chroma_y: Rows,
    mixed: Vec<u16>,
    sums: Vec<u32>,
    y: Vec<i32>,
    u: Vec<i32>,
    v: Vec<i32>,
}

impl Preprocessor {
    /// Fills `tensor` (3 x input height x input width) from the region of the frame that `letterbox` names.
    ///
    /// # Errors
    /// When the frame's planes are shorter than its size says, the region lies outside it, or the tensor has another
    /// length.
    pub fn fill(
        &mut self,
        frame: &Frame,
        letterbox: &Letterbox,
        format: &PixelFormat,
        tensor: &mut [f32],
    ) -> Result<(), String> {
        check(frame, letterbox, tensor.len())?;
        self.prepare(letterbox);
        let colours = [0, 1, 2].map(|channel| self.colour(frame, format, channel));
        let (top, rows) = (letterbox.offset.1 as usize, letterbox.inner.1 as usize);
        for row in 0..letterbox.input.1 as usize {
            let inside = (top..top + rows).contains(&row);
            if inside {
                self.mix_row(frame, letterbox, row - top);
            }
            let picture =
                if inside { (self.y.as_slice(), self.u.as_slice(), self.v.as_slice()) } else { Default::default() };
            for (channel, colour) in colours.iter().enumerate() {
                write_row(channel, row, letterbox, format.channels_last, colour, picture, tensor);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, lb: &Letterbox) {
        let across = Axis::luma(lb.region.x, lb.region.width, lb.inner.0);
        let down = Axis::luma(lb.region.y, lb.region.height, lb.inner.1);
        self.luma_x.set(across);
        self.luma_y.set(down);
        self.chroma_x.set(across.chroma());
        self.chroma_y.set(down.chroma());
        for row in [&mut self.y, &mut self.u, &mut self.v] {
            row.resize(lb.inner.0 as usize, 0);
        }
    }

    /// Mixes output row `o` of the picture.
    fn mix_row(&mut self, frame: &Frame, lb: &Letterbox, o: usize) {
        let region = lb.region;
        let luma = (region.x as usize)..(region.x + region.width) as usize;
        let chroma = (region.x as usize / 2)..((region.x + region.width - 1) as usize / 2 + 1);
        let (of_luma, of_chroma) = (self.luma_y.of(o), self.chroma_y.of(o));
        let (mixed, sums) = (&mut self.mixed, &mut self.sums);
        mix_rows(frame.planes.plane(0), luma, of_luma, mixed);
        self.luma_x.mix::<1>(mixed, 0, sums, &mut self.y);
        match frame.layout {
            PixelLayout::I420 => {
                mix_rows(frame.planes.plane(1), chroma.clone(), of_chroma, mixed);
                self.chroma_x.mix::<1>(mixed, 0, sums, &mut self.u);
                mix_rows(frame.planes.plane(2), chroma, of_chroma, mixed);
                self.chroma_x.mix::<1>(mixed, 0, sums, &mut self.v);
            }
            PixelLayout::Nv12 => {
                mix_rows(frame.planes.plane(1), chroma.start * 2..chroma.end * 2, of_chroma, mixed);
                self.chroma_x.mix::<2>(mixed, 0, sums, &mut self.u);
                self.chroma_x.mix::<2>(mixed, 1, sums, &mut self.v);
            }
        }
    }

    /// How a channel of the tensor is made of mixed Y, U and V.
    fn colour(&self, frame: &Frame, format: &PixelFormat, channel: usize) -> Colour {
        let studio: [f32; 4] = if frame.bt709 {
            [1.792_741, 0.213_249, 0.532_909, 2.112_402]
        } else {
            [1.596_027, 0.391_762, 0.812_968, 2.017_232]
        };
        // Luma of 219 and chroma of 224 steps in studio range, 255 in full range.
        let (gain, black, chroma) = if frame.full_range { (1.0, 0.0, 224.0 / 255.0) } else { (1.164_384, 16.0, 1.0) };
        let [rv, gu, gv, bu] = studio.map(|k| k * chroma);
        let [u, v] = [[0.0, rv], [-gu, -gv], [bu, 0.0]][if format.rgb { channel } else { 2 - channel }];
        let (mean, scale) = (format.mean[channel], format.scale[channel]);
        Colour {
            y: gain / self.luma_x.level,
            u: u / self.chroma_x.level,
            v: v / self.chroma_x.level,
            zero: -gain * black - (u + v) * 128.0,
            mean,
            scale,
            padding: (format.padding - mean) * scale,
        }
    }
}

/// YUV to one colour, in whole grey levels like the pictures that models are trained on, and normalised.
#[derive(Debug, Clone, Copy)]
struct Colour {
    y: f32,
    u: f32,
    v: f32,
    zero: f32,
    mean: f32,
    scale: f32,
    /// Normalised too.
    padding: f32,
}

impl Colour {
    fn of(&self, y: i32, u: i32, v: i32) -> f32 {
        let level = self.y * y as f32 + self.u * u as f32 + self.v * v as f32 + self.zero;
        (whole(level) - self.mean) * self.scale
    }
}

fn whole(value: f32) -> f32 {
    (value.clamp(0.0, 255.0) + WHOLE) - WHOLE
}

/// One channel of one row of the tensor; where there is no picture, padding.
fn write_row(
    channel: usize,
    row: usize,
    lb: &Letterbox,
    channels_last: bool,
    colour: &Colour,
    (ys, us, vs): (&[i32], &[i32], &[i32]),
    tensor: &mut [f32],
) {
    let (width, height, left) = (lb.input.0 as usize, lb.input.1 as usize, lb.offset.0 as usize);
    let levels = ys.iter().zip(us).zip(vs).map(|((y, u), v)| colour.of(*y, *u, *v));
    if channels_last {
        let out = &mut tensor[row * width * 3..(row + 1) * width * 3];
        out.iter_mut().skip(channel).step_by(3).for_each(|o| *o = colour.padding);
        out.iter_mut().skip(left * 3 + channel).step_by(3).zip(levels).for_each(|(o, level)| *o = level);
        return;
    }
    let start = (channel * height + row) * width;
    let (before, out) = tensor[start..start + width].split_at_mut(left);
    let (out, after) = out.split_at_mut(ys.len());
    before.fill(colour.padding);
    after.fill(colour.padding);
    out.iter_mut().zip(levels).for_each(|(o, level)| *o = level);
}

/// The weighted sum of some rows of a plane, bytes `columns` of each, and two zeros.
fn mix_rows(
    (plane, stride): (&[u8], usize),
    columns: std::ops::Range<usize>,
    (first, weights): (usize, &[u16]),
    mixed: &mut Vec<u16>,
) {
    let n = columns.len();
    mixed.clear();
    mixed.resize(n + 2, 0);
    let row = |k: usize| &plane[(first + k) * stride..][columns.clone()];
    // Two at once: half the reading and writing of what is mixed so far.
    let mut pairs = weights.chunks_exact(2).enumerate();
    for (k, pair) in pairs.by_ref() {
        let (a, b) = (row(2 * k), row(2 * k + 1));
        let (of_a, of_b) = (pair[0], pair[1]);
        for ((m, &a), &b) in mixed.iter_mut().zip(a).zip(b) {
            *m += share(a, of_a) + share(b, of_b);
        }
    }
    if let Some(&of_last) = weights.chunks_exact(2).remainder().first() {
        for (m, &s) in mixed.iter_mut().zip(row(weights.len() - 1)) {
            *m += share(s, of_last);
        }
    }
}

/// A part of a sample, in [`LEVEL`]s. In this form the compiler sees a product of 16 bits whose upper half is wanted.
fn share(sample: u8, weight: u16) -> u16 {
    let sample = u16::from_be_bytes([sample, sample]);
    ((u32::from(sample) * u32::from(weight)) >> 16) as u16
}

fn check(frame: &Frame, lb: &Letterbox, tensor: usize) -> Result<(), String> {
    let (w, h) = (frame.width as usize, frame.height as usize);
    let r = lb.region;
    let inside = r.width > 0 && r.height > 0 && r.x + r.width <= frame.width && r.y + r.height <= frame.height;
    if !inside {
        return Err(format!("region {r:?} lies outside the {w}x{h} frame"));
    }
    if tensor != 3 * lb.input.0 as usize * lb.input.1 as usize {
        return Err(format!("tensor of {tensor} numbers does not fit an input of {:?}", lb.input));
    }
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let planes: &[(usize, usize)] = match frame.layout {
        PixelLayout::I420 => &[(w, h), (cw, ch), (cw, ch)],
        PixelLayout::Nv12 => &[(w, h), (cw * 2, ch)],
    };
    for (i, &(row, rows)) in planes.iter().enumerate() {
        let (data, stride) = frame.planes.plane(i);
        if stride < row || data.len() < stride * (rows - 1) + row {
            return Err(format!("plane {i} of a {w}x{h} frame has {} bytes, stride {stride}: too short", data.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::camera::{CameraId, FramePlanes, OwnedI420};
    use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
    use crate::vision::letterbox::Placement;
    use crate::vision::regions::Region;
    use proptest::prelude::*;

    const BGR: PixelFormat =
        PixelFormat { rgb: false, channels_last: false, mean: [0.0; 3], scale: [1.0; 3], padding: 114.0 };

    /// Three planes with rows longer than the picture.
    struct Padded(Vec<(Vec<u8>, usize)>);

    impl FramePlanes for Padded {
        fn plane(&self, i: usize) -> (&[u8], usize) {
            (&self.0[i].0, self.0[i].1)
        }
    }

    fn frame(width: u32, height: u32, layout: PixelLayout, planes: Arc<dyn FramePlanes>) -> Frame {
        let time = FrameTime {
            utc: UtcMillis(0),
            mono: MonoMillis(0),
            source: TimeSource::File,
            uncertainty_ms: 0,
            clock_offset_ms: None,
        };
        Frame { layout, ..Frame::made(CameraId("a".into()), time, (width, height), planes) }
    }

    /// A picture of noise, as I420 or NV12, rows padded by 5 bytes.
    fn noise(width: usize, height: usize, layout: PixelLayout, seed: u32) -> Frame {
        let value = |plane: usize, x: usize, y: usize| {
            let n =
                (x as u32).wrapping_mul(2_654_435_761) ^ (y as u32).wrapping_mul(40_503) ^ (plane as u32 * 977) ^ seed;
            (n.wrapping_mul(2_246_822_519) >> 24) as u8
        };
        let plane = |w: usize, h: usize, f: &dyn Fn(usize, usize) -> u8| {
            let row = |y: usize| (0..w + 5).map(move |x| if x < w { f(x, y) } else { 255 });
            ((0..h).flat_map(row).collect::<Vec<u8>>(), w + 5)
        };
        let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
        let luma = plane(width, height, &|x, y| value(0, x, y));
        let planes = match layout {
            PixelLayout::I420 => {
                vec![luma, plane(cw, ch, &|x, y| value(1, x, y)), plane(cw, ch, &|x, y| value(2, x, y))]
            }
            PixelLayout::Nv12 => vec![luma, plane(cw * 2, ch, &|x, y| value(1 + x % 2, x / 2, y))],
        };
        frame(width as u32, height as u32, layout, Arc::new(Padded(planes)))
    }

    /// One output number of a plane, written out plainly: the bilinear or area mix around (x, y), clamped to the crop.
    fn sample(f: &Frame, plane: usize, crop: Region, (x, y): (f32, f32), step: (f32, f32), half: bool) -> f32 {
        let part =
            |start: u32, len: u32| if half { (start / 2, (start + len - 1) / 2) } else { (start, start + len - 1) };
        let ((x0, x1), (y0, y1)) = (part(crop.x, crop.width), part(crop.y, crop.height));
        let share = |i: u32, middle: f32, step: f32| {
            let i = i as f32;
            if step > 2.0 {
                ((i + 1.0).min(middle + step / 2.0) - i.max(middle - step / 2.0)).max(0.0)
            } else {
                (1.0 - (i + 0.5 - middle).abs()).max(0.0)
            }
        };
        let (mut sum, mut all) = (0.0, 0.0);
        for yy in y0..=y1 {
            for xx in x0..=x1 {
                let w = share(xx, x, step.0) * share(yy, y, step.1);
                let (index, at) = match (f.layout, plane) {
                    (PixelLayout::Nv12, 1 | 2) => (1, xx as usize * 2 + plane - 1),
                    _ => (plane, xx as usize),
                };
                let (data, stride) = f.planes.plane(index);
                sum += w * f32::from(data[yy as usize * stride + at]);
                all += w;
            }
        }
        sum / all
    }

    /// Blue, green and red, from the share that red and blue have in the luma of the standard: ITU-R BT.601-7 and
    /// BT.709-6, part 3.
    fn bgr(f: &Frame, crop: Region, (x, y): (f32, f32), step: (f32, f32)) -> [f32; 3] {
        let (hx, hy, hs) = (x / 2.0, y / 2.0, (step.0 / 2.0, step.1 / 2.0));
        let (kr, kb) = if f.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let (black, white, chroma) = if f.full_range { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
        let luma = (sample(f, 0, crop, (x, y), step, false) - black) * 255.0 / white;
        let [cb, cr] = [1, 2].map(|plane| (sample(f, plane, crop, (hx, hy), hs, true) - 128.0) * 255.0 / chroma);
        let (red, blue) = (luma + 2.0 * (1.0 - kr) * cr, luma + 2.0 * (1.0 - kb) * cb);
        let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
        [blue, green, red].map(|v| v.clamp(0.0, 255.0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_tensor_equals_a_plain_reference(
            (w, h, cx, cy) in (12u32..70, 12u32..70, 0u32..4, 0u32..4),
            side in 4u32..24, nv12: bool, bt709: bool, full_range: bool, seed: u32,
        ) {
            let layout = if nv12 { PixelLayout::Nv12 } else { PixelLayout::I420 };
            let f = Frame { bt709, full_range, ..noise(w as usize, h as usize, layout, seed) };
            let crop = Region { x: cx * 2, y: cy * 2, width: w - cx * 2, height: h - cy * 2 };
            let lb = Letterbox::new(crop, (side, side), Placement::Center);
            let mut tensor = vec![0.0; 3 * (side * side) as usize];
            Preprocessor::default().fill(&f, &lb, &BGR, &mut tensor).unwrap();
            let step = lb.step();
            for oy in 0..lb.inner.1 {
                for ox in 0..lb.inner.0 {
                    let at = (crop.x as f32 + (ox as f32 + 0.5) * step.0, crop.y as f32 + (oy as f32 + 0.5) * step.1);
                    let first = ((oy + lb.offset.1) * side + ox + lb.offset.0) as usize;
                    let got = [0, 1, 2].map(|channel| tensor[first + channel * (side * side) as usize]);
                    let want = bgr(&f, crop, at, step);
                    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1.1);
                    prop_assert!(near, "({ox},{oy}) of {lb:?}: {got:?} is not {want:?}");
                }
            }
            let padded = tensor.iter().filter(|v| **v == BGR.padding).count() as u32;
            prop_assert!(padded >= 3 * (side * side - lb.inner.0 * lb.inner.1));
        }
    }

    #[test]
    fn colours_come_in_the_order_and_range_asked_for() {
        // Pure red in BT.601 studio range.
        let red = frame(8, 8, PixelLayout::I420, Arc::new(OwnedI420::filled(8, 8, 81, 90, 240)));
        let lb = Letterbox::new(Region::whole(8, 8), (2, 2), Placement::TopLeft);
        let mut tensor = vec![0.0; 12];
        let rgb = PixelFormat { rgb: true, channels_last: true, scale: [1.0 / 255.0; 3], ..BGR };
        Preprocessor::default().fill(&red, &lb, &rgb, &mut tensor).unwrap();
        assert!(tensor[0] > 0.98 && tensor[1] < 0.02 && tensor[2] < 0.02, "{tensor:?}");
        Preprocessor::default().fill(&red, &lb, &BGR, &mut tensor).unwrap();
        assert!(tensor[0] < 4.0 && tensor[11] > 250.0, "{tensor:?}");
    }

    #[test]
    fn short_planes_and_regions_outside_are_refused() {
        let f = frame(16, 16, PixelLayout::I420, Arc::new(OwnedI420::filled(8, 8, 0, 0, 0)));
        let lb = Letterbox::new(Region::whole(16, 16), (4, 4), Placement::TopLeft);
        let mut tensor = vec![0.0; 48];
        assert!(Preprocessor::default().fill(&f, &lb, &BGR, &mut tensor).unwrap_err().contains("too short"));
        let lb = Letterbox::new(Region { x: 8, ..Region::whole(16, 16) }, (4, 4), Placement::TopLeft);
        assert!(Preprocessor::default().fill(&f, &lb, &BGR, &mut tensor).unwrap_err().contains("outside"));
    }
}
