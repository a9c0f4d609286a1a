//! A small grey picture for health checks, taken from a frame's Y plane where it lies: brightness on a coarse grid, and
//! how steep the edges are at the picture's own resolution. Some hundred thousand reads, no copy of the frame.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::camera::Frame;

/// Columns of the grey picture.
pub const WIDTH: usize = 160;
/// Rows of the grey picture.
pub const HEIGHT: usize = 90;
/// Columns of tiles.
pub const TILES_X: usize = 16;
/// Rows of tiles.
pub const TILES_Y: usize = 9;
/// Reads across and down for one value of the grey picture: enough to average out noise.
const TAPS: usize = 4;
/// Lines looked at for edges in each row of tiles.
const LINES: usize = 5;
/// Edges are looked for among so many steps of the picture's width, at most.
const FINE_STEPS: usize = 640;
/// A far difference below this is no edge, levels.
const EDGE: f32 = 20.0;

/// Of each so many rows one is in the fingerprint of a picture.
const PRINTED_ROWS: usize = 4;

/// A number for the brightness of a picture in every fourth row: the same for the same, another for others, but for a
/// chance of one in 10^19. `None` when its plane is smaller than it says.
#[must_use]
pub fn fingerprint(frame: &Frame) -> Option<u64> {
    let (plane, stride) = frame.planes.plane(0);
    let width = frame.width as usize;
    let mut hasher = DefaultHasher::new();
    for row in (0..frame.height as usize).step_by(PRINTED_ROWS) {
        plane.get(row * stride..)?.get(..width)?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// [`Luma::light`] alone, which takes a fraction of the time, in place of what `out` held. Whether the frame could be read:
/// else `out` is as it was.
#[must_use]
pub fn light_of(frame: &Frame, out: &mut Vec<f32>) -> bool {
    let Some(view) = View::of(frame) else { return false };
    view.light(out);
    true
}

/// What one tile says of its edges.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tile {
    /// Rise within one step over rise within many, 0..1; 0 when there is no edge. The same whatever light and contrast.
    pub steepness: f32,
    /// Lines of the tile that have an edge, 0..1.
    pub edges: f32,
}

/// See the module. Levels are 0..=255 whatever range the camera uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Luma {
    /// `WIDTH * HEIGHT` levels, row by row.
    pub light: Vec<f32>,
    /// `TILES_X * TILES_Y` tiles, row by row.
    pub tiles: Vec<Tile>,
}

impl Luma {
    /// Looks at a frame; `None` when its plane is smaller than it says, or it has next to no pixels.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        let view = View::of(frame)?;
        let mut light = Vec::with_capacity(WIDTH * HEIGHT);
        view.light(&mut light);
        Some(Self { light, tiles: view.tiles() })
    }

    /// Mean level.
    #[must_use]
    pub fn mean(&self) -> f32 {
        self.light.iter().sum::<f32>() / self.light.len() as f32
    }

    /// Standard deviation of the levels.
    #[must_use]
    pub fn spread(&self) -> f32 {
        let mean = self.mean();
        (self.light.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / self.light.len() as f32).sqrt()
    }

    /// Share of the picture at or above a level.
    #[must_use]
    pub fn share_from(&self, level: f32) -> f32 {
        self.light.iter().filter(|v| **v >= level).count() as f32 / self.light.len() as f32
    }

    /// Share of tiles with edges.
    #[must_use]
    pub fn busy(&self) -> f32 {
        self.tiles.iter().filter(|t| t.edges >= 0.4).count() as f32 / self.tiles.len() as f32
    }

    /// Mean absolute difference of the levels.
    #[must_use]
    pub fn differs(&self, other: &Self) -> f32 {
        let sum: f32 = self.light.iter().zip(&other.light).map(|(a, b)| (a - b).abs()).sum();
        sum / self.light.len() as f32
    }
}

struct View<'a> {
    plane: &'a [u8],
    stride: usize,
    w: usize,
    h: usize,
    zero: f32,
    scale: f32,
}

impl<'a> View<'a> {
    fn of(frame: &'a Frame) -> Option<Self> {
        let (plane, stride) = frame.planes.plane(0);
        let (w, h) = (frame.width as usize, frame.height as usize);
        if w < TILES_X * 2 || h < TILES_Y * 2 || stride < w || plane.len() < stride * (h - 1) + w {
            return None;
        }
        let (zero, scale) = if frame.full_range { (0.0, 1.0) } else { (16.0, 255.0 / 219.0) };
        Some(Self { plane, stride, w, h, zero, scale })
    }

    fn level(&self, sum: u32, count: usize) -> f32 {
        ((sum as f32 / count as f32 - self.zero) * self.scale).clamp(0.0, 255.0)
    }

    /// `TAPS` places spread over part `i` of `parts` of `len` pixels.
    fn taps(i: usize, parts: usize, len: usize) -> [usize; TAPS] {
        let (start, end) = (i * len / parts, ((i + 1) * len / parts).max(i * len / parts + 1));
        std::array::from_fn(|k| (start + (2 * k + 1) * (end - start) / (2 * TAPS)).min(len - 1))
    }

    fn light(&self, out: &mut Vec<f32>) {
        let columns: [[usize; TAPS]; WIDTH] = std::array::from_fn(|x| Self::taps(x, WIDTH, self.w));
        out.clear();
        for y in 0..HEIGHT {
            let rows = Self::taps(y, HEIGHT, self.h).map(|row| &self.plane[row * self.stride..][..self.w]);
            out.extend(columns.iter().map(|c| {
                let sum: u32 = rows.iter().map(|row| c.iter().map(|&x| u32::from(row[x])).sum::<u32>()).sum();
                self.level(sum, TAPS * TAPS)
            }));
        }
    }

    fn tiles(&self) -> Vec<Tile> {
        let step = (self.w / FINE_STEPS).max(1);
        let steps = self.w / step;
        let far = (steps / 27).max(4);
        let mut line = Vec::with_capacity(steps);
        let mut tiles = Vec::with_capacity(TILES_X * TILES_Y);
        for tile_y in 0..TILES_Y {
            // Near and far rises of the lines with an edge, and how many those are, by column of tiles.
            let mut sums = [(0.0f32, 0.0f32, 0usize); TILES_X];
            for k in 0..LINES {
                let y = ((tile_y * LINES + k) * 2 + 1) * self.h / (TILES_Y * LINES * 2);
                self.line(y.min(self.h - 2), step, &mut line);
                for (x, sum) in sums.iter_mut().enumerate() {
                    let part = &line[x * steps / TILES_X..((x + 1) * steps / TILES_X + far).min(steps)];
                    let (near, wide) = (rise(part, 1), rise(part, far));
                    if wide >= EDGE {
                        *sum = (sum.0 + near, sum.1 + wide, sum.2 + 1);
                    }
                }
            }
            tiles.extend(sums.map(|(near, wide, lines)| Tile {
                steepness: if lines > 0 { near / wide } else { 0.0 },
                edges: lines as f32 / LINES as f32,
            }));
        }
        tiles
    }

    /// Two rows at `y`, averaged over `step` pixels.
    fn line(&self, y: usize, step: usize, into: &mut Vec<f32>) {
        let rows = [0, 1].map(|k| &self.plane[(y + k) * self.stride..][..self.w]);
        into.clear();
        into.extend(rows[0].chunks_exact(step).zip(rows[1].chunks_exact(step)).map(|(a, b)| {
            let sum: u32 = a.iter().chain(b).map(|v| u32::from(*v)).sum();
            self.level(sum, 2 * step)
        }));
    }
}

/// Greatest difference between values `apart` places apart.
fn rise(line: &[f32], apart: usize) -> f32 {
    line.iter().zip(line.iter().skip(apart)).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::camera::{CameraId, FramePlanes, OwnedI420};
    use crate::clock::FrameTime;

    pub(crate) fn frame(width: u32, height: u32, planes: Arc<dyn FramePlanes>) -> Frame {
        let time = FrameTime::arrived(0);
        Frame::made(CameraId("c".into()), time, (width, height), planes)
    }

    fn drawn(w: u32, h: u32, level: impl Fn(u32, u32) -> u8) -> Luma {
        let mut data: Vec<u8> = (0..w * h).map(|i| level(i % w, i / w)).collect();
        data.resize(OwnedI420::bytes(w as usize, h as usize), 128);
        Luma::of(&frame(w, h, Arc::new(OwnedI420::new(w, h, data).unwrap()))).unwrap()
    }

    #[test]
    fn levels_are_of_full_range_and_in_their_places() {
        let luma = drawn(1280, 720, |x, _| if x < 640 { 16 } else { 235 });
        assert_eq!((luma.light[0], luma.light[WIDTH - 1]), (0.0, 255.0));
        assert!((luma.mean() - 127.5).abs() < 0.1 && (luma.share_from(250.0) - 0.5).abs() < 0.01);
    }

    #[test]
    fn steepness_knows_sharp_from_soft_whatever_the_contrast() {
        let ramp = |soft: i64, contrast: i64| {
            move |x: u32, _: u32| {
                let turning = 80 - (i64::from(x % 160) - 80).abs();
                let at = (turning - 40).clamp(-soft, soft) + soft;
                u8::try_from(60 + contrast * at / (2 * soft)).unwrap()
            }
        };
        let steep = |soft, contrast| {
            let luma = drawn(1280, 720, ramp(soft, contrast));
            luma.tiles.iter().map(|t| t.steepness).sum::<f32>() / luma.tiles.len() as f32
        };
        let (sharp, soft) = (steep(1, 140), steep(16, 140));
        assert!(sharp > 2.5 * soft, "{sharp} {soft}");
        assert!((steep(1, 50) - sharp).abs() < 0.1, "contrast does not count");
    }

    #[test]
    fn a_fingerprint_knows_one_pixel_of_its_rows_and_no_padding() {
        struct Padded(Vec<u8>, usize);
        impl FramePlanes for Padded {
            fn plane(&self, _: usize) -> (&[u8], usize) {
                (&self.0, self.1)
            }
        }
        let print = |stride: usize, padding: u8, odd: u8| {
            let level = |i: usize| if i % stride < 64 { (i % stride) as u8 } else { padding };
            let mut plane: Vec<u8> = (0..stride * 32).map(level).collect();
            plane[8 * stride + 5] = odd;
            fingerprint(&frame(64, 32, Arc::new(Padded(plane, stride)))).unwrap()
        };
        assert_eq!(print(64, 0, 7), print(80, 9, 7));
        assert_ne!(print(64, 0, 7), print(64, 0, 8));
        assert_eq!(fingerprint(&frame(64, 64, Arc::new(Padded(vec![0; 64 * 32], 64)))), None);
    }

    #[test]
    fn strange_sizes_are_looked_at_or_refused_but_never_panic() {
        for (w, h) in [(32, 18), (34, 20), (161, 91), (641, 359), (2560, 64)] {
            assert_eq!(drawn(w, h, |x, y| (x * 7 + y * 3) as u8).light.len(), WIDTH * HEIGHT);
        }
        struct Short;
        impl FramePlanes for Short {
            fn plane(&self, _: usize) -> (&[u8], usize) {
                (&[0; 100], 1920)
            }
        }
        assert_eq!(Luma::of(&frame(1920, 1080, Arc::new(Short))), None);
        let mut light = vec![7.0];
        assert!(!light_of(&frame(1920, 1080, Arc::new(Short)), &mut light) && light == [7.0]);
        assert!(light_of(&frame(64, 36, Arc::new(OwnedI420::filled(64, 36, 235, 128, 128))), &mut light));
        assert!(
            light.len() == WIDTH * HEIGHT && light.iter().all(|level| *level == 255.0),
            "in place of what was there"
        );
    }
}
