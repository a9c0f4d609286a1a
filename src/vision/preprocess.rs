//! From the planes of a frame straight into the input tensor: crop, scale, colour and normalise a region in one pass
//! over its rows. No RGB picture exists in between, and after the first frame nothing is allocated.
//!
//! Each output row mixes its source rows (a loop the compiler vectorises), then its columns. Up to a step of two
//! pixels the mix is bilinear; beyond it every source pixel counts (area average), so that small things do not vanish.

use super::letterbox::Letterbox;
use crate::camera::{Frame, PixelLayout};

/// Adding and taking away this leaves the nearest whole number of anything in 0..=255 (half to even), without a call.
const WHOLE: f32 = 8_388_608.0;

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

/// Which source samples make up each output sample of one axis.
#[derive(Debug, Default)]
struct Taps {
    /// Samples mixed for each output.
    count: usize,
    /// First source sample of each output.
    first: Vec<usize>,
    /// `count` weights for each output, sum 1.
    weights: Vec<f32>,
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
}

impl Taps {
    fn set(&mut self, axis: Axis) {
        let span = axis.high - axis.low + 1;
        let wide = axis.step > 2.0;
        self.count = if wide { axis.step.ceil() as usize + 1 } else { 2 }.min(span);
        self.first.clear();
        self.weights.clear();
        for o in 0..axis.outputs {
            let middle = axis.origin + (o as f32 + 0.5) * axis.step;
            let reach = if wide { axis.step / 2.0 } else { 1.0 };
            let lowest = if wide { middle - reach } else { middle - 0.5 };
            let first = (lowest.floor().max(0.0) as usize).clamp(axis.low, axis.high + 1 - self.count);
            self.first.push(first);
            let start = self.weights.len();
            for k in 0..self.count {
                self.weights.push(weight((first + k) as f32, middle, reach, wide));
            }
            normalise(&mut self.weights[start..]);
        }
    }

    fn of(&self, o: usize) -> (usize, &[f32]) {
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

/// Sum 1; at a border where nothing is in reach, the nearest sample (all the rest are clamped to it).
fn normalise(weights: &mut [f32]) {
    let sum: f32 = weights.iter().sum();
    if sum > 1e-6 {
        weights.iter_mut().for_each(|w| *w /= sum);
    } else if let Some(first) = weights.first_mut() {
        *first = 1.0;
    }
}

/// Buffers of the pass, reused from frame to frame.
#[derive(Debug, Default)]
pub struct Preprocessor {
    luma_x: Taps,
    luma_y: Taps,
    chroma_x: Taps,
    chroma_y: Taps,
    mixed: Vec<f32>,
    y: Vec<f32>,
    u: Vec<f32>,
    v: Vec<f32>,
    rgb: [Vec<f32>; 3],
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
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has what the function is compiled for.
            #[allow(unsafe_code)]
            unsafe {
                self.rows_avx2(frame, letterbox, format, tensor);
            }
            return Ok(());
        }
        self.rows(frame, letterbox, format, tensor);
        Ok(())
    }

    /// [`Preprocessor::rows`], compiled for processors with AVX2: the same sums in the same order, two thirds of the time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn rows_avx2(&mut self, frame: &Frame, letterbox: &Letterbox, format: &PixelFormat, tensor: &mut [f32]) {
        self.rows(frame, letterbox, format, tensor);
    }

    /// All rows of the tensor. What it calls is part of it, so that it is compiled for the same processor.
    #[inline(always)]
    fn rows(&mut self, frame: &Frame, letterbox: &Letterbox, format: &PixelFormat, tensor: &mut [f32]) {
        let inner_rows = letterbox.inner.1 as usize;
        let top = letterbox.offset.1 as usize;
        for row in 0..letterbox.input.1 as usize {
            if row < top || row >= top + inner_rows {
                self.rgb.iter_mut().for_each(|c| c.fill(format.padding));
            } else {
                self.mix_row(frame, letterbox, row - top, format.padding);
            }
            self.write_row(row, letterbox, format, tensor);
        }
    }

    fn prepare(&mut self, lb: &Letterbox) {
        let across = Axis::luma(lb.region.x, lb.region.width, lb.inner.0);
        let down = Axis::luma(lb.region.y, lb.region.height, lb.inner.1);
        self.luma_x.set(across);
        self.luma_y.set(down);
        self.chroma_x.set(across.chroma());
        self.chroma_y.set(down.chroma());
        for row in [&mut self.y, &mut self.u, &mut self.v] {
            row.resize(lb.inner.0 as usize, 0.0);
        }
        for row in &mut self.rgb {
            row.resize(lb.input.0 as usize, 0.0);
        }
    }

    /// Reads output row `o` of the picture into `rgb`, 0..=255, padding left and right included.
    #[inline(always)]
    fn mix_row(&mut self, frame: &Frame, lb: &Letterbox, o: usize, padding: f32) {
        let region = lb.region;
        let luma = (region.x as usize)..(region.x + region.width) as usize;
        let chroma = (region.x as usize / 2)..((region.x + region.width - 1) as usize / 2 + 1);
        let (taps_y, taps_c) = (self.luma_y.of(o), self.chroma_y.of(o));
        mix_rows(frame.planes.plane(0), luma.clone(), taps_y, &mut self.mixed);
        mix_columns(&self.mixed, luma.start, (1, 0), &self.luma_x, &mut self.y);
        match frame.layout {
            PixelLayout::I420 => {
                mix_rows(frame.planes.plane(1), chroma.clone(), taps_c, &mut self.mixed);
                mix_columns(&self.mixed, chroma.start, (1, 0), &self.chroma_x, &mut self.u);
                mix_rows(frame.planes.plane(2), chroma.clone(), taps_c, &mut self.mixed);
                mix_columns(&self.mixed, chroma.start, (1, 0), &self.chroma_x, &mut self.v);
            }
            PixelLayout::Nv12 => {
                mix_rows(frame.planes.plane(1), chroma.start * 2..chroma.end * 2, taps_c, &mut self.mixed);
                mix_columns(&self.mixed, chroma.start, (2, 0), &self.chroma_x, &mut self.u);
                mix_columns(&self.mixed, chroma.start, (2, 1), &self.chroma_x, &mut self.v);
            }
        }
        self.colour(frame, lb.offset.0 as usize, padding);
    }

    /// YUV to RGB, in whole grey levels like the pictures that models are trained on.
    #[inline(always)]
    fn colour(&mut self, frame: &Frame, left: usize, padding: f32) {
        let studio: [f32; 4] = if frame.bt709 {
            [1.792_741, 0.213_249, 0.532_909, 2.112_402]
        } else {
            [1.596_027, 0.391_762, 0.812_968, 2.017_232]
        };
        // Luma of 219 and chroma of 224 steps in studio range, 255 in full range.
        let (gain, black, chroma) = if frame.full_range { (1.0, 0.0, 224.0 / 255.0) } else { (1.164_384, 16.0, 1.0) };
        let [rv, gu, gv, bu] = studio.map(|k| k * chroma);
        let n = self.y.len();
        let [r, g, b] = &mut self.rgb;
        for row in [&mut *r, &mut *g, &mut *b] {
            row[..left].fill(padding);
            row[left + n..].fill(padding);
        }
        let (r, g, b) = (&mut r[left..left + n], &mut g[left..left + n], &mut b[left..left + n]);
        let (ys, us, vs) = (&self.y[..n], &self.u[..n], &self.v[..n]);
        for i in 0..n {
            let y = gain * (ys[i] - black);
            let (u, v) = (us[i] - 128.0, vs[i] - 128.0);
            r[i] = whole(y + rv * v);
            g[i] = whole(y - gu * u - gv * v);
            b[i] = whole(y + bu * u);
        }
    }

    #[inline(always)]
    fn write_row(&self, row: usize, lb: &Letterbox, format: &PixelFormat, tensor: &mut [f32]) {
        let (width, height) = (lb.input.0 as usize, lb.input.1 as usize);
        for channel in 0..3 {
            let source = &self.rgb[if format.rgb { channel } else { 2 - channel }];
            let (mean, scale) = (format.mean[channel], format.scale[channel]);
            if format.channels_last {
                let out = tensor[row * width * 3..(row + 1) * width * 3].iter_mut().skip(channel).step_by(3);
                out.zip(source).for_each(|(o, s)| *o = (s - mean) * scale);
            } else {
                let start = (channel * height + row) * width;
                let out = tensor[start..start + width].iter_mut();
                out.zip(source).for_each(|(o, s)| *o = (s - mean) * scale);
            }
        }
    }
}

#[inline(always)]
fn whole(value: f32) -> f32 {
    (value.clamp(0.0, 255.0) + WHOLE) - WHOLE
}

/// The weighted sum of some rows of a plane, bytes `columns` of each.
#[inline(always)]
fn mix_rows(
    (plane, stride): (&[u8], usize),
    columns: std::ops::Range<usize>,
    (first, weights): (usize, &[f32]),
    mixed: &mut Vec<f32>,
) {
    let row = |k: usize| &plane[(first + k) * stride + columns.start..(first + k) * stride + columns.end];
    mixed.resize(columns.len(), 0.0);
    // Two rows at a time: each pass costs reading and writing all of `mixed`.
    for (k, pair) in (0..).step_by(2).zip(weights.chunks(2)) {
        let rows = row(k).iter().zip(if pair.len() == 2 { row(k + 1) } else { row(k) });
        let (w, v) = (pair[0], pair.get(1).copied().unwrap_or(0.0));
        let mixed = mixed.iter_mut().zip(rows);
        if k == 0 {
            mixed.for_each(|(m, (&s, &t))| *m = w * f32::from(s) + v * f32::from(t));
        } else {
            mixed.for_each(|(m, (&s, &t))| *m = *m + w * f32::from(s) + v * f32::from(t));
        }
    }
}

/// The weighted sum of columns; sample `i` of the plane lies at `(i - start) * stride + offset`.
#[inline(always)]
fn mix_columns(mixed: &[f32], start: usize, (stride, offset): (usize, usize), taps: &Taps, out: &mut [f32]) {
    match (stride, taps.count) {
        (1, 2) => mix_neighbours::<2>(mixed, start, taps, out),
        (1, 3) => mix_neighbours::<3>(mixed, start, taps, out),
        (1, 4) => mix_neighbours::<4>(mixed, start, taps, out),
        (1, 5) => mix_neighbours::<5>(mixed, start, taps, out),
        _ => {
            for (o, value) in out.iter_mut().enumerate() {
                let (first, weights) = taps.of(o);
                let samples = mixed[(first - start) * stride + offset..].iter().step_by(stride);
                *value = samples.zip(weights).map(|(s, w)| s * w).sum();
            }
        }
    }
}

/// The usual numbers of taps, without a loop for each output.
#[inline(always)]
fn mix_neighbours<const N: usize>(mixed: &[f32], start: usize, taps: &Taps, out: &mut [f32]) {
    let (weights, _) = taps.weights.as_chunks::<N>();
    for ((value, &first), weights) in out.iter_mut().zip(&taps.first).zip(weights) {
        let samples = &mixed[first - start..first - start + N];
        *value = samples.iter().zip(weights).map(|(s, w)| s * w).sum();
    }
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
    use crate::clock::{FrameTime, MonoMillis, UtcMillis};
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
        let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
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
                    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 0.51);
                    prop_assert!(near, "({ox},{oy}) of {lb:?}: {got:?} is not {want:?}");
                }
            }
            let padded = tensor.iter().filter(|v| **v == BGR.padding).count() as u32;
            prop_assert!(padded >= 3 * (side * side - lb.inner.0 * lb.inner.1));
        }

        #[test]
        fn every_processor_gives_the_same_numbers(
            (w, h, cx, cy) in (150u32..400, 150u32..400, 0u32..40, 0u32..40),
            side in 60u32..180, nv12: bool, channels_last: bool, seed: u32,
        ) {
            let layout = if nv12 { PixelLayout::Nv12 } else { PixelLayout::I420 };
            let f = noise(w as usize, h as usize, layout, seed);
            let crop = Region { x: cx, y: cy, width: w - 2 * cx, height: h - 2 * cy };
            let lb = Letterbox::new(crop, (side, side), Placement::Center);
            let format = PixelFormat { channels_last, mean: [103.5, 116.3, 123.7], scale: [0.017; 3], ..BGR };
            let [mut here, mut anywhere] = [(); 2].map(|()| vec![0.0; 3 * (side * side) as usize]);
            let mut preprocessor = Preprocessor::default();
            preprocessor.fill(&f, &lb, &format, &mut here).unwrap();
            preprocessor.rows(&f, &lb, &format, &mut anywhere);
            prop_assert!(here.iter().zip(&anywhere).all(|(a, b)| a.to_bits() == b.to_bits()), "{lb:?}");
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
