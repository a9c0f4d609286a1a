//! What the stream says: lost, stalled, slow, undecodable, another size or coding. From the states and counters of the
//! camera part.

use std::collections::VecDeque;

use super::{Condition, Figure, Sight, StreamView};
use crate::camera::{CameraState, Codec};
use crate::clock::MonoMillis;
use crate::config::HealthConfig;

/// Time over which pictures are counted for the rate.
const RATE_MS: i64 = 5000;
/// A stream must run for so long before its rate is judged: after connecting pictures come in a burst.
const SETTLE_MS: i64 = 10_000;
/// Without a picture for longer than this a stream does not run slowly, it stalls.
const SILENT_MS: i64 = 1500;
/// The usual rate follows this slowly.
const FOLLOW_MS: f64 = 300_000.0;
/// Time over which broken pictures are counted.
const ERRORS_MS: i64 = 10_000;
/// Fewer broken pictures than this are bad luck.
const FEWEST_ERRORS: u64 = 3;
/// A new size must stay for so long.
const CHANGED_MS: i64 = 1000;

/// Counters at a time.
#[derive(Debug, Clone, Copy)]
struct Count {
    at: MonoMillis,
    received: u64,
    broken: u64,
    unreferenced: u64,
}

/// What the pictures of the stream are.
pub type Shape = (Codec, u32, u32);

/// One camera's stream checks.
#[derive(Debug, Default)]
pub struct SignalWatch {
    counts: VecDeque<Count>,
    running_since: Option<MonoMillis>,
    last_unit: Option<(MonoMillis, u64)>,
    usual: Option<f64>,
    shape: Option<Shape>,
    next_shape: Option<(Shape, MonoMillis)>,
}

impl SignalWatch {
    /// Looks at the stream; the second value is a change of size or coding: before and now.
    pub fn look(
        &mut self,
        now: MonoMillis,
        view: &StreamView,
        limits: &HealthConfig,
    ) -> (Vec<Sight>, Option<(Shape, Shape)>) {
        let running = view.state == CameraState::Running;
        if !running {
            self.running_since = None;
            // A stall goes on where it began, also while the camera is asked again.
            if matches!(view.state, CameraState::Lost | CameraState::Refused | CameraState::Stopped) {
                self.last_unit = None;
            }
            self.counts.clear();
            let none = [Condition::LowFrameRate, Condition::DecodeErrors].map(Sight::unknown);
            return ([lost(view), self.stalled(now, view, limits)].into_iter().chain(none).collect(), None);
        }
        self.running_since.get_or_insert(now);
        self.count(now, view);
        let stalled = self.stalled(now, view, limits);
        let silent = self.last_unit.is_some_and(|(since, _)| now.since(since) > SILENT_MS);
        if stalled.seen == Some(true) {
            // What comes after it is a burst.
            self.running_since = Some(now);
            self.counts.clear();
        }
        let rate = if silent { Sight::unknown(Condition::LowFrameRate) } else { self.rate(now, limits) };
        (vec![lost(view), stalled, rate, self.errors(limits)], self.changed(now, view))
    }

    fn count(&mut self, now: MonoMillis, view: &StreamView) {
        while self.counts.front().is_some_and(|c| now.since(c.at) > ERRORS_MS) {
            self.counts.pop_front();
        }
        let (received, broken) = (view.received, view.broken);
        self.counts.push_back(Count { at: now, received, broken, unreferenced: view.unreferenced });
    }

    fn stalled(&mut self, now: MonoMillis, view: &StreamView, limits: &HealthConfig) -> Sight {
        let silent_ms = match self.last_unit {
            Some((since, received)) if received == view.received => now.since(since),
            _ => 0,
        };
        if silent_ms == 0 {
            self.last_unit = Some((now, view.received));
        }
        let seen = match view.state {
            CameraState::Stalled => Some(true),
            CameraState::Running => Some(silent_ms >= i64::from(limits.stalled_ms)),
            CameraState::Lost | CameraState::Refused => Some(false),
            CameraState::Connecting | CameraState::Stopped => None,
        };
        let mut sight = Sight::of(Condition::Stalled, seen);
        if seen == Some(true) {
            sight.reason = view.reason.clone().unwrap_or_else(|| {
                "the connection stands, but no picture comes; check the camera's encoder and the network".into()
            });
            sight.ago_ms = silent_ms;
            sight.figures = vec![Figure::against("silent_ms", silent_ms as f64, f64::from(limits.stalled_ms), "ms")];
        }
        sight
    }

    fn rate(&mut self, now: MonoMillis, limits: &HealthConfig) -> Sight {
        let settled = self.running_since.is_some_and(|since| now.since(since) >= SETTLE_MS);
        let first = self.counts.iter().find(|c| now.since(c.at) <= RATE_MS);
        let (Some(first), Some(last), true) = (first, self.counts.back(), settled) else {
            return Sight::unknown(Condition::LowFrameRate);
        };
        let span_ms = last.at.since(first.at);
        if span_ms < RATE_MS * 8 / 10 {
            return Sight::unknown(Condition::LowFrameRate);
        }
        let rate = (last.received.saturating_sub(first.received)) as f64 * 1000.0 / span_ms as f64;
        let usual = *self.usual.get_or_insert(rate);
        let limit = usual * f64::from(limits.rate_share);
        // Below one picture a second the count says nothing.
        let low = rate < limit && usual >= 1.0;
        if !low {
            let before = self.counts.iter().rev().nth(1).map_or(0, |c| now.since(c.at));
            self.usual = Some(usual + (rate - usual) * (before as f64 / FOLLOW_MS).clamp(0.0, 0.1));
        }
        let mut sight = Sight::of(Condition::LowFrameRate, Some(low));
        if low {
            sight.reason = format!(
                "{rate:.1} pictures a second instead of {usual:.1}; look at the network, and at exposure and load of the camera"
            );
            sight.figures = vec![Figure::against("rate", rate, limit, "1/s"), Figure::measured("usual", usual, "1/s")];
        }
        sight
    }

    fn errors(&self, limits: &HealthConfig) -> Sight {
        let (Some(first), Some(last)) = (self.counts.front(), self.counts.back()) else {
            return Sight::unknown(Condition::DecodeErrors);
        };
        let broken = last.broken.saturating_sub(first.broken);
        // What is skipped until the next keyframe is lost by the broken picture before it.
        let lost = broken + last.unreferenced.saturating_sub(first.unreferenced);
        let received = last.received.saturating_sub(first.received).max(1);
        let share = lost as f64 / received as f64;
        let seen = broken >= FEWEST_ERRORS && share >= f64::from(limits.decode_error_share);
        let mut sight = Sight::of(Condition::DecodeErrors, Some(seen));
        if seen {
            sight.reason = format!(
                "{lost} of {received} pictures could not be decoded; look for packet loss on the line, or lower the bit rate"
            );
            sight.figures = vec![Figure::against("lost", share, f64::from(limits.decode_error_share), "of pictures")];
        }
        sight
    }

    fn changed(&mut self, now: MonoMillis, view: &StreamView) -> Option<(Shape, Shape)> {
        let shape = (view.codec?, view.width, view.height);
        if shape.1 == 0 {
            return None;
        }
        let before = *self.shape.get_or_insert(shape);
        if before == shape {
            self.next_shape = None;
            return None;
        }
        match self.next_shape {
            Some((next, since)) if next == shape && now.since(since) >= CHANGED_MS => {
                (self.shape, self.next_shape) = (Some(shape), None);
                // Another stream has another rate.
                self.usual = None;
                self.running_since = Some(now);
                Some((before, shape))
            }
            Some((next, _)) if next == shape => None,
            _ => {
                self.next_shape = Some((shape, now));
                None
            }
        }
    }
}

fn lost(view: &StreamView) -> Sight {
    let seen = match view.state {
        CameraState::Lost | CameraState::Refused => Some(true),
        CameraState::Running | CameraState::Stalled => Some(false),
        CameraState::Connecting | CameraState::Stopped => None,
    };
    let mut sight = Sight::of(Condition::SignalLost, seen);
    if seen == Some(true) {
        sight.reason = view.reason.clone().unwrap_or_else(|| "the camera cannot be reached".into());
    }
    sight
}

/// A size and coding for people.
#[must_use]
pub fn shape_text(shape: Shape) -> String {
    format!("{} {}x{}", if shape.0 == Codec::H264 { "h264" } else { "h265" }, shape.1, shape.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(received: u64) -> StreamView {
        StreamView {
            state: CameraState::Running,
            codec: Some(Codec::H264),
            width: 640,
            height: 360,
            received,
            ..StreamView::default()
        }
    }

    /// Four looks a second at a stream whose counters the function gives.
    fn seen(watch: &mut SignalWatch, looks: std::ops::Range<u64>, at: impl Fn(u64) -> StreamView) -> Vec<Condition> {
        let limits = HealthConfig::default();
        let mut last = Vec::new();
        for i in looks {
            let (sights, _) = watch.look(MonoMillis(i64::try_from(i).unwrap() * 250), &at(i), &limits);
            last = sights.into_iter().filter(|s| s.seen == Some(true)).map(|s| s.condition).collect();
        }
        last
    }

    #[test]
    fn a_rate_is_low_against_the_streams_own() {
        let mut watch = SignalWatch::default();
        assert!(seen(&mut watch, 0..400, |i| view(i * 2)).is_empty(), "8 a second");
        assert_eq!(seen(&mut watch, 400..430, |i| view(800 + (i - 400) / 2)), [Condition::LowFrameRate], "2 a second");
        assert!(seen(&mut watch, 430..480, |i| view(815 + (i - 430) * 2)).is_empty());
    }

    #[test]
    fn silence_is_a_stall_before_the_camera_part_gives_up() {
        let mut watch = SignalWatch::default();
        seen(&mut watch, 0..80, |i| view(i * 2));
        assert!(seen(&mut watch, 80..90, |_| view(158)).is_empty());
        assert_eq!(seen(&mut watch, 90..103, |_| view(158)), [Condition::Stalled]);
    }

    #[test]
    fn a_stall_that_the_camera_part_notices_is_as_long_as_it_is() {
        let (mut watch, limits) = (SignalWatch::default(), HealthConfig::default());
        seen(&mut watch, 0..80, |i| view(i * 2));
        let stalled = StreamView { state: CameraState::Stalled, ..view(158) };
        seen(&mut watch, 80..120, |_| view(158));
        let (sights, _) = watch.look(MonoMillis(30_000), &stalled, &limits);
        let sight = sights.iter().find(|s| s.condition == Condition::Stalled).unwrap();
        assert_eq!((sight.figures[0].value, sight.ago_ms), (10_250.0, 10_250), "since the last picture at 19.75 s");
    }

    #[test]
    fn broken_pictures_count_with_what_they_take_along() {
        let mut watch = SignalWatch::default();
        let good = |i: u64| view(i * 5);
        assert!(seen(&mut watch, 0..80, good).is_empty());
        let broken = |i: u64| StreamView { broken: (i - 80) / 8, unreferenced: (i - 80) * 2, ..good(i) };
        assert_eq!(seen(&mut watch, 80..120, broken), [Condition::DecodeErrors]);
    }

    #[test]
    fn a_change_of_size_is_said_once_and_only_when_it_stays() {
        let mut watch = SignalWatch::default();
        let limits = HealthConfig::default();
        let mut said = Vec::new();
        for i in 0..100u64 {
            let (width, height) = if i < 40 || i == 20 { (640, 360) } else { (320, 180) };
            let look = StreamView { width, height, ..view(i) };
            said.extend(watch.look(MonoMillis(i64::try_from(i).unwrap() * 250), &look, &limits).1);
        }
        assert_eq!(said, [((Codec::H264, 640, 360), (Codec::H264, 320, 180))]);
    }
}
