//! Frozen or only still? A camera that looks at an empty yard sends nearly the same picture, but never quite: its sensor
//! has noise, and each keyframe is coded from a new exposure. A frozen encoder repeats what it sent before.
//!
//! A picture is *new* by its least difference to the pictures of the last seconds. How new the pictures of this camera
//! are when it lives is learnt. Between keyframes a coder may leave a still picture out altogether, so nothing is said
//! before two keyframes brought nothing new. A camera that never showed any noise (a drawn picture, a coder that smooths
//! everything away) cannot be judged like that; it is called frozen only after a very long time without any change.

use std::collections::VecDeque;

use super::luma::Luma;
use crate::clock::MonoMillis;

/// Pictures compared with, a second apart.
const KEPT: usize = 12;
const APART_MS: i64 = 1000;
/// How new a picture is when the camera lives is the newest of so long.
const WINDOW_MS: i64 = 10_000;
/// Newness below this share of the usual is none, but levels between these are the limits.
const SHARE: f32 = 0.25;
const LEAST: f32 = 0.02;
const MOST: f32 = 0.06;
/// A camera whose pictures are this new shows that it lives.
const ALIVE: f32 = 0.08;
/// Windows until that is believed.
const WINDOWS: u32 = 3;
/// Keyframes that must have brought nothing new.
const KEYFRAMES: u64 = 2;

/// How long nothing new came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StillReading {
    /// Least difference to the pictures before, levels.
    pub newness: f32,
    /// What counts as none.
    pub limit: f32,
    /// Nothing new for so long.
    pub still_ms: i64,
    /// The camera showed before that its pictures differ.
    pub was_alive: bool,
    /// Enough keyframes came since.
    pub proven: bool,
}

/// One per camera.
#[derive(Debug, Default)]
pub struct StillWatch {
    kept: VecDeque<(MonoMillis, Luma)>,
    usual: f32,
    windows: u32,
    window: Option<(MonoMillis, f32)>,
    still: Option<(MonoMillis, u64)>,
}

impl StillWatch {
    /// Looks at the next picture. `keyframes`: how many came so far.
    pub fn look(&mut self, now: MonoMillis, luma: &Luma, keyframes: u64) -> Option<StillReading> {
        let newness = self.kept.iter().map(|(_, before)| luma.differs(before)).min_by(f32::total_cmp);
        if self.kept.back().is_none_or(|(at, _)| now.since(*at) >= APART_MS) {
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back((now, luma.clone()));
        }
        let newness = newness?;
        let limit = (self.usual * SHARE).clamp(LEAST, MOST);
        if newness > limit {
            self.still = None;
            self.learn(now, newness);
        } else {
            self.window = None;
            self.still.get_or_insert((now, keyframes));
        }
        let (still_ms, proven) =
            self.still.map_or((0, false), |(since, then)| (now.since(since), keyframes >= then + KEYFRAMES));
        let was_alive = self.windows >= WINDOWS && self.usual >= ALIVE;
        Some(StillReading { newness, limit, still_ms, was_alive, proven })
    }

    /// The stream is another one: nothing is known of it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn learn(&mut self, now: MonoMillis, newness: f32) {
        let (since, most) = *self.window.get_or_insert((now, newness));
        let most = most.max(newness);
        self.window = Some((since, most));
        if now.since(since) < WINDOW_MS {
            return;
        }
        // Traffic makes pictures newer than noise does: the quiet windows tell.
        let share = if most < self.usual || self.windows == 0 { 0.5 } else { 0.02 };
        self.usual = if self.windows == 0 { most } else { self.usual + (most - self.usual) * share };
        self.windows += 1;
        self.window = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::health::luma::{HEIGHT, TILES_X, TILES_Y, Tile, WIDTH};
    use crate::simulate::space::Rng;

    fn noisy(seed: u64, strength: f32) -> Luma {
        let mut rng = Rng(seed * 7919 + 1);
        let light = (0..WIDTH * HEIGHT).map(|i| 100.0 + (i % 40) as f32 + strength * rng.range(-1.0, 1.0)).collect();
        Luma { light, tiles: vec![Tile::default(); TILES_X * TILES_Y] }
    }

    /// Pictures half a second apart, a keyframe every second.
    fn play(watch: &mut StillWatch, looks: std::ops::Range<i64>, picture: impl Fn(i64) -> Luma) -> StillReading {
        let mut last = None;
        for i in looks {
            last = watch.look(MonoMillis(i * 500), &picture(i), u64::try_from(i / 2).unwrap());
        }
        last.expect("more than one picture")
    }

    #[test]
    fn a_camera_with_noise_is_alive_and_a_repeated_picture_is_not() {
        let mut watch = StillWatch::default();
        let alive = play(&mut watch, 0..120, |i| noisy(i as u64, 0.8));
        assert!(alive.was_alive && alive.still_ms == 0, "{alive:?}");
        let frozen = play(&mut watch, 120..140, |_| noisy(5, 0.8));
        assert!(frozen.proven && frozen.still_ms >= 8000, "{frozen:?}");
        assert_eq!(play(&mut watch, 140..142, |i| noisy(i as u64, 0.8)).still_ms, 0);
    }

    #[test]
    fn a_repeating_round_of_pictures_is_frozen_too() {
        let mut watch = StillWatch::default();
        play(&mut watch, 0..120, |i| noisy(i as u64, 0.8));
        // A group of pictures coded from one exposure: the same few pictures again and again.
        let frozen = play(&mut watch, 120..150, |i| noisy(900 + (i % 3) as u64, 0.8));
        assert!(frozen.still_ms >= 8000, "{frozen:?}");
    }

    #[test]
    fn between_keyframes_nothing_is_proven() {
        let mut watch = StillWatch::default();
        play(&mut watch, 0..120, |i| noisy(i as u64, 0.8));
        let mut last = None;
        for i in 120..160 {
            last = watch.look(MonoMillis(i * 500), &noisy(5, 0.8), 60);
        }
        assert!(!last.unwrap().proven);
    }

    #[test]
    fn a_drawn_picture_never_showed_life() {
        let mut watch = StillWatch::default();
        let drawn = play(&mut watch, 0..200, |_| noisy(5, 0.0));
        assert!(!drawn.was_alive && drawn.proven, "{drawn:?}");
    }
}
