//! Line crossing: an instant with a direction. A track has crossed when its foot has moved through the segment and
//! stayed on the new side for a while, so that a foot that trembles on the line counts once, when it is really over.

use super::RuleKind;
use super::draft::{Draft, Keys};
use super::presence::Sight;
use crate::clock::MonoMillis;
use crate::config::{LineConfig, LineDirection};
use crate::geometry::{CrossDirection, Line, Point};

/// A foot must stay on the new side this long, milliseconds; lines have no setting of their own for it.
const SETTLE_MS: i64 = 400;

/// Closer than this to the line (fraction of the picture) counts as on it: a twentieth of a pixel at 1080p, well
/// above the rounding of `f32`.
const ON_LINE: f32 = 2.5e-5;

/// Between two sights at most this far apart, milliseconds, the foot is taken to have moved steadily, and to have crossed when
/// it reached the line so; over longer gaps nothing is known but the first sight beyond.
const STEADY_MS: i64 = 1500;

/// State of the rule for one track at one line.
#[derive(Debug, Clone, Default)]
pub(super) struct LineCross {
    /// The side it counts as standing on: the sign of the distance.
    settled: Option<bool>,
    /// Latest point beside the line.
    beside: Option<Mark>,
    /// Latest point on the line since `beside`.
    touching: Option<Mark>,
    /// It is seen on the other side.
    pending: Option<Pending>,
}

/// Where the foot was, and when.
#[derive(Debug, Clone, Copy)]
struct Mark {
    foot: Point,
    at: Sight,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    /// First sight on the other side.
    first: MonoMillis,
    /// When it reached the line.
    reached: Sight,
    /// The movement there went through the segment and was plausible.
    crossed: bool,
}

impl LineCross {
    /// Takes one sight of the foot, in fractions. `jumped`: it came there by an implausible movement, which settles a
    /// new side but never crosses.
    pub fn see(&mut self, line: &Line, foot: Point, now: Sight, jumped: bool) -> Option<Crossing> {
        let distance = line.signed_distance(foot);
        if distance.abs() < ON_LINE {
            self.touching = (!jumped).then_some(Mark { foot, at: now });
            self.beside = self.beside.filter(|_| !jumped);
            return None;
        }
        let right = distance > 0.0;
        let through = !jumped && self.went_through(line, foot);
        let reached = self.reached(line, distance, now);
        self.beside = Some(Mark { foot, at: now });
        self.touching = None;
        let settled = *self.settled.get_or_insert(right);
        if right == settled {
            self.pending = None;
            return None;
        }
        let pending = *self.pending.get_or_insert(Pending { first: now.mono, reached, crossed: through });
        if jumped {
            self.pending = Some(Pending { crossed: false, ..pending });
        }
        if now.mono.since(pending.first) < SETTLE_MS {
            return None;
        }
        self.settle()
    }

    /// It is seen on the other side, and has not settled there.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The track is over: a foot last seen on the other side has crossed, however short the sight (things leave the
    /// picture right behind a line).
    pub fn settle(&mut self) -> Option<Crossing> {
        let pending = self.pending.take()?;
        let to_right = !self.settled?;
        self.settled = Some(to_right);
        let direction = if to_right { CrossDirection::LeftToRight } else { CrossDirection::RightToLeft };
        pending.crossed.then_some(Crossing { at: pending.reached, direction })
    }

    /// Whether the way from the latest point beside the line to `foot` leads through the segment; over the point
    /// where it touched the line, if it did.
    fn went_through(&self, line: &Line, foot: Point) -> bool {
        match (self.beside, self.touching) {
            (Some(_), Some(touched)) => line.spans(touched.foot),
            (Some(before), None) => line.crossed_by(before.foot, foot).is_some(),
            (None, _) => false,
        }
    }

    /// When a foot that is `distance` beyond the line at `now` reached it.
    fn reached(&self, line: &Line, distance: f32, now: Sight) -> Sight {
        let Some(before) = self.touching.or(self.beside) else { return now };
        let gap = now.mono.since(before.at.mono);
        let (behind, beyond) = (line.signed_distance(before.foot).abs(), distance.abs());
        // A clock that was put right may have gone back.
        if !(0..=STEADY_MS).contains(&gap) || behind + beyond <= 0.0 {
            return now;
        }
        now.earlier((gap as f32 * beyond / (behind + beyond)).round() as i64)
    }
}

/// A foot has moved through a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crossing {
    /// When its foot reached the line, taken to have moved steadily from the last sight before it to the first beyond.
    pub at: Sight,
    /// Which way.
    pub direction: CrossDirection,
}

impl Crossing {
    /// Whether this way counts.
    pub fn is(&self, wanted: LineDirection) -> bool {
        match wanted {
            LineDirection::Both => true,
            LineDirection::LeftToRight => self.direction == CrossDirection::LeftToRight,
            LineDirection::RightToLeft => self.direction == CrossDirection::RightToLeft,
        }
    }
}

/// The report of a crossing that counts.
pub(super) fn report(crossing: &Crossing, now: Sight, line: &LineConfig, keys: &mut Keys) -> Draft {
    Draft {
        direction: Some(crossing.direction),
        ..Draft::instant(keys.next(), RuleKind::LineCross, line.severity, crossing.at, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonoMillis, UtcMillis};

    // Walking up the picture: left is x smaller.
    const UP: Line = Line { from: Point { x: 0.5, y: 1.0 }, to: Point { x: 0.5, y: 0.5 } };

    fn walk(steps: &[(f32, f32)], interval_ms: i64) -> Vec<(i64, CrossDirection)> {
        let mut state = LineCross::default();
        let mut found = Vec::new();
        for (i, &(x, y)) in steps.iter().enumerate() {
            let ms = i as i64 * interval_ms;
            let sight = Sight { utc: UtcMillis(ms), mono: MonoMillis(ms) };
            found.extend(state.see(&UP, Point { x, y }, sight, false));
        }
        found.extend(state.settle());
        found.into_iter().map(|c| (c.at.mono.0, c.direction)).collect()
    }

    #[test]
    fn a_crossing_is_dated_when_the_line_was_reached() {
        use CrossDirection::LeftToRight;
        assert_eq!(walk(&[(0.4, 0.8), (0.45, 0.8), (0.6, 0.8)], 300), [(400, LeftToRight)]);
        assert_eq!(walk(&[(0.4, 0.8), (0.5, 0.8), (0.6, 0.8)], 300), [(300, LeftToRight)], "it was seen on the line");
        assert_eq!(walk(&[(0.4, 0.8), (0.6, 0.8)], 1501), [(1501, LeftToRight)], "nobody knows how it moved");
        assert_eq!(walk(&[(0.4, 0.8), (0.6, 0.8), (0.7, 0.8)], -200), [(-200, LeftToRight)], "the clock went back");
    }

    #[test]
    fn a_jump_onto_the_line_is_no_way_through_it() {
        let mut state = LineCross::default();
        let steps = [(0.4, false), (0.5, true), (0.6, false), (0.6, false), (0.6, false)];
        for (i, (x, jumped)) in steps.into_iter().enumerate() {
            let ms = i as i64 * 300;
            let sight = Sight { utc: UtcMillis(ms), mono: MonoMillis(ms) };
            assert_eq!(state.see(&UP, Point { x, y: 0.8 }, sight, jumped), None);
        }
    }

    #[test]
    fn a_foot_that_stops_exactly_on_the_line_counts_when_it_goes_on_either_way() {
        use CrossDirection::{LeftToRight, RightToLeft};
        assert_eq!(walk(&[(0.4, 0.8), (0.5, 0.8), (0.5, 0.8), (0.6, 0.8)], 200), [(400, LeftToRight)]);
        assert_eq!(walk(&[(0.6, 0.8), (0.5, 0.8), (0.4, 0.8)], 200), [(200, RightToLeft)]);
        assert_eq!(walk(&[(0.4, 0.8), (0.5, 0.8), (0.4, 0.8)], 200), [], "touched and went back");
        assert_eq!(walk(&[(0.5, 0.8), (0.6, 0.8)], 200), [], "nobody saw where it came from");
    }

    #[test]
    fn going_around_an_end_is_not_crossing_but_coming_back_through_is() {
        assert_eq!(walk(&[(0.4, 0.4), (0.6, 0.4), (0.6, 0.4), (0.6, 0.4)], 200), []);
        assert_eq!(walk(&[(0.4, 0.4), (0.5, 0.4), (0.6, 0.4)], 200), [], "over the line's extension");
        let around_and_through = [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.6, 0.8), (0.4, 0.8)];
        assert_eq!(walk(&around_and_through, 200), [(700, CrossDirection::RightToLeft)]);
    }

    #[test]
    fn trembling_on_the_line_counts_once_when_it_is_over() {
        let mut steps = vec![(0.4, 0.8)];
        steps.extend((0..40).map(|i| (if i % 2 == 0 { 0.501 } else { 0.499 }, 0.8)));
        steps.extend([(0.51, 0.8), (0.55, 0.8), (0.6, 0.8)]);
        assert_eq!(walk(&steps, 200), [(40 * 200 + 18, CrossDirection::LeftToRight)]);
    }

    #[test]
    fn two_real_crossings_are_two() {
        let steps = [(0.4, 0.8), (0.6, 0.8), (0.6, 0.8), (0.6, 0.8), (0.4, 0.8), (0.4, 0.8), (0.4, 0.8)];
        let found = walk(&steps, 200);
        assert_eq!(found, [(100, CrossDirection::LeftToRight), (700, CrossDirection::RightToLeft)]);
    }

    #[test]
    fn one_frame_every_two_seconds_is_enough() {
        assert_eq!(walk(&[(0.4, 0.8), (0.6, 0.8), (0.7, 0.8)], 2000), [(2000, CrossDirection::LeftToRight)]);
    }
}
