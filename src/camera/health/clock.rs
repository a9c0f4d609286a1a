//! The camera's clock against the box's: a step, a clock that is far off or was never set, one that runs away. The box's
//! own steps are taken out, so that no camera is blamed for them.

use std::collections::VecDeque;

use super::{Condition, Figure, Sight};
use crate::clock::{MonoMillis, UtcMillis};
use crate::config::HealthConfig;

/// Offsets are taken so far apart.
const SAMPLE_MS: i64 = 1000;
/// So many offsets near each other make a new level.
const LEVEL: usize = 3;
/// And near means this.
const NEAR_MS: i64 = 250;
/// A step of the box's wall clock against its monotonic one.
const BOX_STEP_MS: i64 = 400;
/// Drift is judged over this time, from points so far apart, and over at least half of it.
const DRIFT_MS: i64 = 3_600_000;
const POINT_MS: i64 = 60_000;
/// A clock further off than a day, or before this moment (2020), was never set.
const DAY_MS: i64 = 86_400_000;
const FIRST_MS: i64 = 1_577_836_800_000;

/// A step of the camera's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Camera clock minus box clock before.
    pub before_ms: i64,
    /// And after.
    pub after_ms: i64,
}

/// One camera's clock checks.
#[derive(Debug, Default)]
pub struct ClockWatch {
    recent: VecDeque<i64>,
    sampled: Option<MonoMillis>,
    level: Option<i64>,
    box_zero: Option<i64>,
    points: VecDeque<(MonoMillis, i64)>,
}

impl ClockWatch {
    /// Looks at the offset of the newest picture; `None` while the camera's clock is not known.
    pub fn look(
        &mut self,
        now: MonoMillis,
        utc: UtcMillis,
        offset: Option<i64>,
        limits: &HealthConfig,
    ) -> (Vec<Sight>, Option<Jump>) {
        self.take_out_box_steps(now, utc);
        let Some(offset) = offset else {
            self.recent.clear();
            return ([Condition::ClockSuspect, Condition::ClockDrift].map(Sight::unknown).into(), None);
        };
        let jump = self.sample(now, offset, limits);
        (vec![self.suspect(utc, limits), self.drift(limits)], jump)
    }

    fn take_out_box_steps(&mut self, now: MonoMillis, utc: UtcMillis) {
        let zero = utc.0 - now.0;
        let step = zero - self.box_zero.replace(zero).unwrap_or(zero);
        if step.abs() >= BOX_STEP_MS {
            tracing::warn!(step_ms = step, "the box's own clock made a step");
            // The box went forward, so the camera seems to have gone back.
            self.level = self.level.map(|level| level - step);
            self.recent.clear();
            self.points.clear();
        }
    }

    fn sample(&mut self, now: MonoMillis, offset: i64, limits: &HealthConfig) -> Option<Jump> {
        if self.sampled.is_some_and(|at| now.since(at) < SAMPLE_MS) {
            return None;
        }
        self.sampled = Some(now);
        if self.recent.len() == LEVEL {
            self.recent.pop_front();
        }
        self.recent.push_back(offset);
        if self.points.back().is_none_or(|(at, _)| now.since(*at) >= POINT_MS) {
            self.points.retain(|(at, _)| now.since(*at) <= DRIFT_MS);
            self.points.push_back((now, offset));
        }
        let (least, most) = (self.recent.iter().min()?, self.recent.iter().max()?);
        if self.recent.len() < LEVEL || most - least > NEAR_MS {
            return None;
        }
        let after_ms = i64::midpoint(*least, *most);
        let before_ms = self.level.replace(after_ms)?;
        if (after_ms - before_ms).abs() < i64::from(limits.clock_jump_ms) {
            return None;
        }
        self.points.clear();
        Some(Jump { before_ms, after_ms })
    }

    fn suspect(&self, utc: UtcMillis, limits: &HealthConfig) -> Sight {
        let Some(level) = self.level else { return Sight::unknown(Condition::ClockSuspect) };
        let seen = level.abs() > i64::from(limits.clock_offset_ms);
        let mut sight = Sight::of(Condition::ClockSuspect, Some(seen));
        if seen {
            let unset = utc.0 + level < FIRST_MS || level > DAY_MS;
            sight.reason = if unset {
                "the camera's clock is not set; give it a time server. Events use the box's clock meanwhile".into()
            } else {
                format!(
                    "the camera's clock is {level} ms off; give it a time server. Events use the box's clock meanwhile"
                )
            };
            sight.figures = vec![Figure::against("offset_ms", level as f64, f64::from(limits.clock_offset_ms), "ms")];
        }
        sight
    }

    /// Slope of the offsets by least squares.
    fn drift(&self, limits: &HealthConfig) -> Sight {
        let span_ms = match (self.points.front(), self.points.back()) {
            (Some((first, _)), Some((last, _))) => last.since(*first),
            _ => 0,
        };
        if span_ms < DRIFT_MS / 2 {
            return Sight::unknown(Condition::ClockDrift);
        }
        let n = self.points.len() as f64;
        let hours = |at: &MonoMillis| at.0 as f64 / 3_600_000.0;
        let (mean_t, mean_o) =
            self.points.iter().fold((0.0, 0.0), |s, (t, o)| (s.0 + hours(t) / n, s.1 + *o as f64 / n));
        let (up, down) = self.points.iter().fold((0.0, 0.0), |s, (t, o)| {
            let dt = hours(t) - mean_t;
            (s.0 + dt * (*o as f64 - mean_o), s.1 + dt * dt)
        });
        let slope = up / down;
        let limit = f64::from(limits.clock_drift_ms_per_hour);
        let seen = match slope.abs() {
            s if s >= limit => Some(true),
            s if s < limit * 0.7 => Some(false),
            _ => None,
        };
        let mut sight = Sight::of(Condition::ClockDrift, seen);
        if seen == Some(true) {
            sight.reason = format!("the camera's clock runs away by {slope:.0} ms an hour; give it a time server");
            sight.figures = vec![Figure::against("drift", slope, limit, "ms/h")];
        }
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_770_000_000_000;

    /// One look a second; `offset` by seconds.
    fn play(
        watch: &mut ClockWatch,
        seconds: std::ops::Range<i64>,
        box_step: i64,
        offset: impl Fn(i64) -> i64,
    ) -> (Vec<(i64, Jump)>, Vec<Condition>) {
        let limits = HealthConfig::default();
        let (mut jumps, mut seen) = (Vec::new(), Vec::new());
        for s in seconds {
            let utc = UtcMillis(START + s * 1000 + box_step);
            let (sights, jump) = watch.look(MonoMillis(s * 1000), utc, Some(offset(s)), &limits);
            jumps.extend(jump.map(|j| (s, j)));
            seen = sights.into_iter().filter(|s| s.seen == Some(true)).map(|s| s.condition).collect();
        }
        (jumps, seen)
    }

    #[test]
    fn a_step_is_told_once_with_both_offsets() {
        let mut watch = ClockWatch::default();
        let jitter = |s: i64| (s * 37) % 80;
        let (jumps, seen) = play(&mut watch, 0..120, 0, |s| jitter(s) + if s < 60 { 0 } else { 30_000 });
        let [(at, jump)] = jumps[..] else { panic!("{jumps:?}") };
        assert!((60..=63).contains(&at) && jump.before_ms < 100 && jump.after_ms >= 30_000, "{at} {jump:?}");
        assert_eq!(seen, [Condition::ClockSuspect]);
    }

    #[test]
    fn the_boxs_own_step_is_no_cameras_fault() {
        let mut watch = ClockWatch::default();
        play(&mut watch, 0..60, 0, |_| 20);
        let (jumps, _) = play(&mut watch, 60..120, 1500, |_| 20 - 1500);
        assert_eq!(jumps, []);
    }

    #[test]
    fn drift_is_seen_and_jitter_is_not() {
        let jitter = |s: i64| (s * 7919) % 120 - 60;
        let (jumps, seen) = play(&mut ClockWatch::default(), 0..7200, 0, |s| jitter(s) + s / 9);
        assert_eq!((jumps.len(), seen), (0, vec![Condition::ClockDrift]));
        assert_eq!(play(&mut ClockWatch::default(), 0..7200, 0, jitter).1, []);
    }

    #[test]
    fn a_clock_that_was_never_set_is_said_so() {
        let mut watch = ClockWatch::default();
        play(&mut watch, 0..10, 0, |_| -START);
        let sight = watch.suspect(UtcMillis(START), &HealthConfig::default());
        assert!(sight.reason.contains("not set"), "{}", sight.reason);
    }
}
