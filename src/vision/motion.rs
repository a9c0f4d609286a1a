//! Where a camera's picture changed lately, by its brightness on a coarse grid. A detector flickers: what it finds anew on
//! pixels that have not changed was there before, and did not come.

use crate::camera::Frame;
use crate::camera::health::luma::{HEIGHT, WIDTH, light};
use crate::clock::MonoMillis;
use crate::geometry::Rect;

/// A picture is compared with one that was taken up to so long before it, milliseconds: what creeps has moved on by then.
const APART_MS: i64 = 2_000;
/// A cell has changed when its brightness is off by more than this, levels of 256: keyframes are coded anew, and
const LEVELS: f32 = 4.0;
/// by so many times what half of the cells are off by: the noise of the sensor, a cloud.
const NOISE: f32 = 5.0;
/// When half of the picture is off by this, nothing is known of any part of it: a light was switched on, the camera moved.
const ALL: f32 = 8.0;
/// So many cells of a box make a change of it, and one of a box that has few.
const CELLS: usize = 2;
const FEW_CELLS: usize = 8;

/// The changes in one camera's picture.
#[derive(Debug, Default)]
pub struct Motion {
    /// What pictures are compared with, and when it was taken; none before the first picture.
    reference: Option<(MonoMillis, Vec<f32>)>,
    /// When each cell was seen changed last, row by row; empty before the first picture.
    changed: Vec<Option<MonoMillis>>,
}

impl Motion {
    /// Takes the next picture of the camera. Everything in the first one is a change, and in one that cannot be read.
    pub fn take(&mut self, frame: &Frame) {
        self.take_light(frame.time.mono, light(frame));
    }

    fn take_light(&mut self, now: MonoMillis, seen: Option<Vec<f32>>) {
        let (Some((at, before)), Some(seen)) = (&self.reference, &seen) else {
            self.changed = vec![Some(now); WIDTH * HEIGHT];
            self.reference = seen.map(|s| (now, s));
            return;
        };
        let off: Vec<f32> = seen.iter().zip(before).map(|(a, b)| (a - b).abs()).collect();
        let mut sorted = off.clone();
        let (_, half, _) = sorted.select_nth_unstable_by(off.len() / 2, f32::total_cmp);
        let limit = if *half > ALL { f32::NEG_INFINITY } else { LEVELS + NOISE * *half };
        for (cell, _) in self.changed.iter_mut().zip(&off).filter(|(_, off)| **off > limit) {
            *cell = Some(now);
        }
        if now.since(*at) >= APART_MS || now < *at {
            self.reference = Some((now, seen.clone()));
        }
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
        let lately = |i: &usize| self.changed[*i].is_some_and(|at| at >= since);
        down.flat_map(of_row).filter(lately).take(enough).count() == enough
    }
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

    #[test]
    fn what_comes_or_creeps_is_a_change_where_it_is_and_noise_is_none() {
        for noise in [0.0, 2.0, 8.0] {
            let mut motion = Motion::default();
            assert!(motion.changed(&at(10, 10), SIZE, MonoMillis(0)), "nothing is known");
            (0..50).for_each(|i| motion.take_light(MonoMillis(i * 200), Some(picture(i as u32, noise, None))));
            let quiet = (0..WIDTH - 4)
                .step_by(4)
                .all(|x| (0..HEIGHT - 8).step_by(8).all(|y| !motion.changed(&at(x, y), SIZE, MonoMillis(1))));
            assert!(quiet, "noise {noise}");
            let contrast = 12.0 + 4.0 * noise;
            motion.take_light(MonoMillis(10_000), Some(picture(99, noise, Some((40, 30, contrast)))));
            assert!(motion.changed(&at(40, 30), SIZE, MonoMillis(10_000)));
            assert!(motion.changed(&at(38, 28), SIZE, MonoMillis(10_000)), "a box that is a little off");
            assert!(!motion.changed(&at(60, 30), SIZE, MonoMillis(10_000)));
            // It stays: a change of then, not of now.
            (51..150).for_each(|i| {
                let seen = picture(i as u32, noise, Some((40, 30, contrast)));
                motion.take_light(MonoMillis(i * 200), Some(seen));
            });
            assert!(!motion.changed(&at(40, 30), SIZE, MonoMillis(20_000)), "noise {noise}");
            // It creeps: a cell in four seconds.
            (150..250).for_each(|i| {
                let seen = picture(i as u32, noise, Some((40 + (i as usize - 150) / 20, 30, contrast)));
                motion.take_light(MonoMillis(i * 200), Some(seen));
            });
            assert!(motion.changed(&at(44, 30), SIZE, MonoMillis(46_000)));
        }
    }

    #[test]
    fn a_light_that_is_switched_on_and_a_picture_that_cannot_be_read_change_everything() {
        let mut motion = Motion::default();
        (0..20).for_each(|i| motion.take_light(MonoMillis(i * 200), Some(picture(i as u32, 1.0, None))));
        assert!(!motion.changed(&at(5, 5), SIZE, MonoMillis(3_000)));
        let lit = picture(77, 1.0, None).iter().map(|v| v + 40.0).collect();
        motion.take_light(MonoMillis(4_000), Some(lit));
        assert!(motion.changed(&at(5, 5), SIZE, MonoMillis(4_000)));
        motion.take_light(MonoMillis(9_000), None);
        assert!(motion.changed(&at(5, 5), SIZE, MonoMillis(9_000)));
        assert!(
            motion.changed(&Rect { x0: -50.0, y0: 2000.0, x1: -1.0, y1: 3000.0 }, SIZE, MonoMillis(9_000)),
            "outside"
        );
    }
}
