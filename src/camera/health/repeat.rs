//! Frozen in front of the coder: a recorder that repeats the last picture of a camera, or a sensor that hangs behind a
//! coder that does not. The pictures are coded anew and differ by what coding does to them, as those of a quiet camera
//! do. But a keyframe depends on nothing before it, and a coder has few ways to code one picture: soon two keyframes are
//! the same in every fourth row. Two exposures of a sensor never are.
//!
//! So the pixels of keyframes are compared, each with the two before it: a recording that is played over and over repeats
//! itself later. A camera whose keyframes never differed shows a drawn picture, and nothing is said of it here.

use std::collections::VecDeque;

use crate::clock::MonoMillis;

/// A keyframe begins a run when it is the same as one of so many before it, and belongs to it when it is the same as one
/// of these.
const NEAR: usize = 2;
const FAR: usize = 8;
/// So many others, one after the other, end a run: rate control may find one more way to code the same picture.
const OTHERS: u32 = 2;
/// Keyframes that were the same as one before, until that is believed.
const LEAST: u32 = 2;
/// A camera lives after so many keyframes that were like no other.
const ALIVE: u32 = 10;

/// How long keyframes have repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatReading {
    /// From the first one that came again to the last that was one of the same, milliseconds.
    pub still_ms: i64,
    /// From the first one until now, milliseconds.
    pub ago_ms: i64,
    /// Keyframes that were the same as one before.
    pub repeats: u32,
}

#[derive(Debug)]
struct Run {
    since: MonoMillis,
    latest: MonoMillis,
    repeats: u32,
    others: u32,
}

/// One per camera.
#[derive(Debug, Default)]
pub struct RepeatWatch {
    recent: VecDeque<(MonoMillis, u64)>,
    /// Keyframes like no other outside of a run.
    fresh: u32,
    run: Option<Run>,
}

impl RepeatWatch {
    /// Takes the fingerprint of a keyframe's pixels.
    pub fn keyframe(&mut self, at: MonoMillis, fingerprint: u64) {
        // A decoder that begins anew is given the last keyframe a second time.
        if self.recent.back().is_some_and(|(last, _)| *last == at) {
            return;
        }
        let back = if self.run.is_some() { FAR } else { NEAR };
        let same = self.recent.iter().rev().take(back).find(|(_, f)| *f == fingerprint).map(|(at, _)| *at);
        match (&mut self.run, same) {
            (Some(run), Some(_)) => {
                (run.latest, run.others) = (at, 0);
                run.repeats += 1;
            }
            (Some(run), None) => {
                run.others += 1;
                if run.others >= OTHERS {
                    self.run = None;
                }
            }
            (None, Some(since)) => self.run = Some(Run { since, latest: at, repeats: 1, others: 0 }),
            (None, None) => self.fresh = self.fresh.saturating_add(1),
        }
        if self.recent.len() == FAR {
            self.recent.pop_front();
        }
        self.recent.push_back((at, fingerprint));
    }

    /// What repeats itself now.
    pub fn reading(&self, now: MonoMillis) -> Option<RepeatReading> {
        let run = self.run.as_ref().filter(|r| r.repeats >= LEAST && self.fresh >= ALIVE)?;
        let Run { since, latest, repeats, .. } = *run;
        Some(RepeatReading { still_ms: latest.since(since), ago_ms: now.since(since), repeats })
    }

    /// The stream is another one.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keyframes two seconds apart.
    fn play(watch: &mut RepeatWatch, from: i64, prints: &[u64]) -> Option<RepeatReading> {
        let mut now = MonoMillis(0);
        for (i, print) in (from..).zip(prints) {
            now = MonoMillis(i * 2000);
            watch.keyframe(now, *print);
        }
        watch.reading(now)
    }

    fn alive() -> RepeatWatch {
        let mut watch = RepeatWatch::default();
        assert_eq!(play(&mut watch, 0, &(0..20).collect::<Vec<_>>()), None);
        watch
    }

    #[test]
    fn one_picture_coded_in_two_or_three_ways_is_one_picture() {
        let mut watch = alive();
        assert_eq!(play(&mut watch, 20, &[101, 101]), None, "once is not enough");
        let reading = play(&mut watch, 22, &[102, 102, 101, 103, 101, 102]).unwrap();
        assert_eq!((reading.still_ms, reading.repeats), (14_000, 5));
    }

    #[test]
    fn two_new_keyframes_end_it() {
        let mut watch = alive();
        assert!(play(&mut watch, 20, &[101, 101, 101, 102]).is_some());
        assert_eq!(play(&mut watch, 24, &[103]), None);
        assert_eq!(play(&mut watch, 25, &[104, 105, 106]), None);
    }

    #[test]
    fn a_recording_played_over_and_over_is_not_one_picture() {
        let mut watch = alive();
        let round: Vec<u64> = (0..30).map(|i| 100 + i % 3).collect();
        assert_eq!(play(&mut watch, 20, &round), None);
    }

    #[test]
    fn a_keyframe_decoded_twice_is_one() {
        let mut watch = alive();
        for i in 20..40 {
            watch.keyframe(MonoMillis(i * 2000), i as u64);
            watch.keyframe(MonoMillis(i * 2000), i as u64);
        }
        assert_eq!(watch.reading(MonoMillis(80_000)), None);
    }

    #[test]
    fn a_drawn_picture_never_lived() {
        let mut watch = RepeatWatch::default();
        assert_eq!(play(&mut watch, 0, &[7; 40]), None);
    }
}
