//! Where a camera's picture changed lately, by its brightness on a coarse grid. A detector flickers: what it finds anew on
//! pixels that have not changed was there before, and did not come.

use crate::camera::Frame;
use crate::camera::health::luma::{HEIGHT, WIDTH, light_of};
use crate::clock::MonoMillis;
use crate::geometry::Rect;

/// A picture is compared with the one before it, or with one that was taken up to so long before it, milliseconds: what creeps has moved on
/// by then.
const APART_MS: i64 = 2_000;
/// A cell has changed when its brightness is off by more than this, levels of 256: keyframes are coded anew, and
const LEVELS: f32 = 4.0;
/// by so many times what half of the cells are off by: the noise of the sensor.
const SPREADS: f32 = 5.0;
/// When half of the cells are off by more than this, levels, somebody in dark clothes could hide in it: everything has changed.
const NOISE: f32 = 1.6;
/// And when the picture as a whole is lighter or darker by more than this, levels: a light was switched on, the camera moved. What is
/// less (clouds, the camera's exposure) is no change of any cell.
const DRIFT: f32 = 2.0;
/// So many cells of a box make a change of it, and one of a box that has few.
const CELLS: usize = 2;
const FEW_CELLS: usize = 8;

/// The changes in one camera's picture.
#[derive(Debug, Default)]
pub struct Motion {
    /// When the picture was taken that others are compared with; none before the first, and after one that cannot be read.
    since: Option<MonoMillis>,
    reference: Vec<f32>,
    /// When each cell was seen changed last, row by row; empty before the first picture.
    changed: Vec<MonoMillis>,
    // Kept, so that nothing is allocated for a picture.
    seen: Vec<f32>,
    off: Vec<f32>,
}

impl Motion {
    /// Takes the next picture of the camera. Everything in the first one is a change, and in one that cannot be read.
    pub fn take(&mut self, frame: &Frame) {
        let readable = light_of(frame, &mut self.seen);
        self.compare(frame.time.mono, readable);
    }

    /// Takes what was `seen`, if it could be read.
    fn compare(&mut self, now: MonoMillis, readable: bool) {
        let before = self.since.filter(|_| readable);
        match before.and_then(|_| self.limits()) {
            Some((drift, limit)) => {
                let cells = self.changed.iter_mut().zip(self.seen.iter().zip(&self.reference));
                cells.filter(|(_, (a, b))| (*a - *b - drift).abs() > limit).for_each(|(cell, _)| *cell = now);
            }
            None => {
                self.changed.clear();
                self.changed.resize(WIDTH * HEIGHT, now);
            }
        }
        if before.is_none_or(|at| now.since(at) >= APART_MS || now < at) {
            self.since = readable.then_some(now);
            std::mem::swap(&mut self.reference, &mut self.seen);
        }
    }

    /// How far the whole picture is off, levels, and how far a cell may be off besides. `None` when nothing can be told.
    fn limits(&mut self) -> Option<(f32, f32)> {
        self.off.clear();
        self.off.extend(self.seen.iter().zip(&self.reference).map(|(a, b)| a - b));
        let drift = median(&mut self.off)?;
        self.off.iter_mut().for_each(|off| *off = (*off - drift).abs());
        let noise = median(&mut self.off)?;
        (drift.abs() <= DRIFT && noise <= NOISE).then_some((drift, LEVELS + SPREADS * noise))
    }

    /// Whether the picture changed within this box since then. `rect` is in pixels of pictures of `size`.
    #[must_use]
    pub fn changed(&self, rect: &Rect, size: (u32, u32), since: MonoMillis) -> bool {
        if self.changed.is_empty() {
            return true;
        }
        let cells = |from: f32, to: f32, pixels: u32, parts: usize| {
            let cell = |at: f32| (at / pixels.max(1) as f32 * parts as f32) as usize;
            cell(from.max(0.0)).min(parts - 1)..=cell(to.max(0.0)).min(parts - 1)
        };
        let (across, down) = (cells(rect.x0, rect.x1, size.0, WIDTH), cells(rect.y0, rect.y1, size.1, HEIGHT));
        let all = across.clone().count() * down.clone().count();
        let enough = if all < FEW_CELLS { 1 } else { CELLS };
        let of_row = |y: usize| across.clone().map(move |x| y * WIDTH + x);
        let lately = |i: &usize| self.changed[*i] >= since;
        down.flat_map(of_row).filter(lately).take(enough).count() == enough
    }
}

/// Puts them into another order.
fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (1920, 1080);

    /// A grey picture with sensor noise, and something `contrast` brighter in a box of cells.
    fn picture(n: u32, noise: f32, bright: Option<(usize, usize, f32)>) -> Vec<f32> {
        let mut state = n.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..WIDTH * HEIGHT)
            .map(|i| {
                let (x, y) = (i % WIDTH, i / WIDTH);
                let inside =
                    |(bx, by, _): &(usize, usize, f32)| (*bx..bx + 4).contains(&x) && (*by..by + 8).contains(&y);
                100.0 + bright.filter(inside).map_or(0.0, |b| b.2) + noise * (random() + random() + random())
            })
            .collect()
    }

    /// The box of that thing, pixels.
    fn at(x: usize, y: usize) -> Rect {
        let (w, h) = (SIZE.0 as f32 / WIDTH as f32, SIZE.1 as f32 / HEIGHT as f32);
        Rect { x0: x as f32 * w, y0: y as f32 * h, x1: (x + 4) as f32 * w - 1.0, y1: (y + 8) as f32 * h - 1.0 }
    }

    /// Takes a picture at so many milliseconds; `None` cannot be read.
    fn take(motion: &mut Motion, ms: i64, seen: Option<Vec<f32>>) {
        let readable = seen.is_some();
        motion.seen = seen.unwrap_or_default();
        motion.compare(MonoMillis(ms), readable);
    }

    /// Of all boxes of a person's size side by side, how many changed since, as a share.
    fn share_changed(motion: &Motion, since: i64) -> f32 {
        let places = (0..WIDTH - 4).step_by(4).flat_map(|x| (0..HEIGHT - 8).step_by(8).map(move |y| at(x, y)));
        let changed: Vec<bool> = places.map(|place| motion.changed(&place, SIZE, MonoMillis(since))).collect();
        changed.iter().filter(|c| **c).count() as f32 / changed.len() as f32
    }

    #[test]
    fn what_comes_or_creeps_is_a_change_where_it_is_and_noise_is_none() {
        for noise in [0.0, 2.0] {
            let mut motion = Motion::default();
            assert!(motion.changed(&at(10, 10), SIZE, MonoMillis(0)), "nothing is known");
            (0..50).for_each(|i| take(&mut motion, i * 200, Some(picture(i as u32, noise, None))));
            assert_eq!(share_changed(&motion, 1), 0.0, "noise {noise}");
            let contrast = 12.0 + 4.0 * noise;
            take(&mut motion, 10_000, Some(picture(99, noise, Some((40, 30, contrast)))));
            assert!(motion.changed(&at(40, 30), SIZE, MonoMillis(10_000)));
            assert!(motion.changed(&at(38, 28), SIZE, MonoMillis(10_000)), "a box that is a little off");
            assert!(!motion.changed(&at(60, 30), SIZE, MonoMillis(10_000)));
            // It stays: a change of then, not of now.
            (51..150).for_each(|i| {
                take(&mut motion, i * 200, Some(picture(i as u32, noise, Some((40, 30, contrast)))));
            });
            assert!(!motion.changed(&at(40, 30), SIZE, MonoMillis(20_000)), "noise {noise}");
            // It creeps: a cell in four seconds.
            (150..250).for_each(|i| {
                let seen = picture(i as u32, noise, Some((40 + (i as usize - 150) / 20, 30, contrast)));
                take(&mut motion, i * 200, Some(seen));
            });
            assert!(motion.changed(&at(44, 30), SIZE, MonoMillis(46_000)));
        }
    }

    #[test]
    fn a_person_little_lighter_or_darker_than_a_quiet_picture_is_a_change_also_while_a_cloud_passes() {
        // Levels in two seconds: none, and just not too much to tell anything.
        for (drift, contrast) in [(0.0, 6.0), (0.0, -6.0), (1.7, 6.0), (1.7, -6.0), (-1.7, 6.0), (-1.7, -6.0)] {
            let mut motion = Motion::default();
            let seen = |ms: i64, thing: Option<(usize, usize, f32)>| {
                let seen = picture(ms as u32, 0.5, thing).into_iter();
                Some(seen.map(|level| level + drift * ms as f32 / 2000.0).collect())
            };
            (0..50).for_each(|i| take(&mut motion, i * 200, seen(i * 200, None)));
            assert_eq!(share_changed(&motion, 1), 0.0, "drift {drift}");
            take(&mut motion, 10_000, seen(10_000, Some((40, 30, contrast))));
            assert!(motion.changed(&at(40, 30), SIZE, MonoMillis(10_000)), "drift {drift}, contrast {contrast}");
            assert!(!motion.changed(&at(60, 30), SIZE, MonoMillis(10_000)), "drift {drift}, contrast {contrast}");
        }
    }

    #[test]
    fn where_somebody_could_hide_in_noise_or_in_a_fast_drift_everything_changes() {
        for (noise, drift, all) in [(8.0, 0.0, true), (0.5, 2.5, true), (0.5, -2.5, true), (2.0, 1.5, false)] {
            let mut motion = Motion::default();
            take(&mut motion, 0, Some(picture(0, noise, None)));
            let seen = picture(1, noise, None).iter().map(|level| level + drift).collect();
            take(&mut motion, 4000, Some(seen));
            assert_eq!(share_changed(&motion, 4000), if all { 1.0 } else { 0.0 }, "noise {noise}, drift {drift}");
        }
    }

    #[test]
    fn a_light_that_is_switched_on_and_a_picture_that_cannot_be_read_change_everything() {
        let mut motion = Motion::default();
        (0..20).for_each(|i| take(&mut motion, i * 200, Some(picture(i as u32, 1.0, None))));
        assert!(!motion.changed(&at(5, 5), SIZE, MonoMillis(3_000)));
        let lit = picture(77, 1.0, None).iter().map(|v| v + 40.0).collect();
        take(&mut motion, 4_000, Some(lit));
        assert!(motion.changed(&at(5, 5), SIZE, MonoMillis(4_000)));
        take(&mut motion, 9_000, None);
        assert!(motion.changed(&at(5, 5), SIZE, MonoMillis(9_000)));
        assert!(
            motion.changed(&Rect { x0: -50.0, y0: 2000.0, x1: -1.0, y1: 3000.0 }, SIZE, MonoMillis(9_000)),
            "outside"
        );
        take(&mut motion, 10_000, Some(picture(78, 1.0, None)));
        assert_eq!(share_changed(&motion, 10_000), 1.0, "compared with nothing");
        take(&mut motion, 10_200, Some(picture(79, 1.0, None)));
        assert_eq!(share_changed(&motion, 10_200), 0.0);
    }
}
