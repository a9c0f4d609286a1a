//! Since when a track stands still. A thing never seen moving stands still since its first sight. Movement is measured
//! in sizes of its box, so that near and far things are judged alike.

use std::collections::VecDeque;

use super::presence::Sight;
use crate::geometry::Rect;

/// Box sizes by which a standing thing's foot may tremble; also how much its box may grow or shrink.
const TREMBLE: f32 = 0.12;
/// Within this many box sizes of its place it is at its place, to date coming and going.
const PLACE: f32 = 0.05;
/// A thing that stays at one place this long, milliseconds, stands there.
const STANDS_AFTER_MS: i64 = 1000;
/// Sights kept of a thing that moves; older ones are of other places anyway.
const HISTORY: usize = 64;

/// State of one track.
#[derive(Debug, Clone)]
pub(super) struct Still {
    state: State,
    /// When it last began to move away from where it stood.
    went: Sight,
}

#[derive(Debug, Clone)]
enum State {
    /// Near where it is now since the oldest of these.
    Moving(VecDeque<(Sight, Rect)>),
    /// At `place` since `since`; `going` is the first sight away from it since it was last at it.
    Standing { since: Sight, place: Rect, going: Option<Sight> },
}

impl Still {
    /// A thing first seen here.
    pub fn new(first: Sight, rect: Rect) -> Self {
        Self { state: State::Moving(VecDeque::from([(first, rect)])), went: first }
    }

    /// Takes the next sight.
    pub fn see(&mut self, now: Sight, rect: Rect) {
        match &mut self.state {
            State::Standing { place, going, .. } => {
                let away = distance(place, &rect);
                if away > TREMBLE {
                    self.went = going.unwrap_or(now);
                    self.state = State::Moving(VecDeque::from([(now, rect)]));
                } else if away > PLACE {
                    going.get_or_insert(now);
                } else {
                    *going = None;
                }
            }
            State::Moving(history) => {
                while history.front().is_some_and(|(_, r)| distance(&rect, r) > TREMBLE) {
                    history.pop_front();
                }
                if history.len() == HISTORY {
                    // The oldest one says since when.
                    history.remove(1);
                }
                history.push_back((now, rect));
                if let Some(standing) = stands(history, now, &rect) {
                    self.state = standing;
                }
            }
        }
    }

    /// Since when it stands where it is; `None` while it moves or has only just stopped.
    pub fn since(&self) -> Option<Sight> {
        match self.state {
            State::Standing { since, .. } => Some(since),
            State::Moving(_) => None,
        }
    }

    /// When it last began to move away from where it stood; its first sight when it never stood.
    pub fn went(&self) -> Sight {
        self.went
    }
}

fn stands(history: &VecDeque<(Sight, Rect)>, now: Sight, rect: &Rect) -> Option<State> {
    let here: Vec<_> = history.iter().filter(|(_, r)| distance(rect, r) <= PLACE).collect();
    let since = here.first()?.0;
    if now.mono.since(since.mono) < STANDS_AFTER_MS {
        return None;
    }
    let mean = |side: fn(&Rect) -> f32| here.iter().map(|(_, r)| side(r)).sum::<f32>() / here.len() as f32;
    let place = Rect { x0: mean(|r| r.x0), y0: mean(|r| r.y0), x1: mean(|r| r.x1), y1: mean(|r| r.y1) };
    Some(State::Standing { since, place, going: None })
}

/// How far two boxes are apart, in sizes: the way of the foot, or how much the size changed.
fn distance(a: &Rect, b: &Rect) -> f32 {
    let size = |r: &Rect| r.width().max(r.height()).max(1.0);
    let (p, q) = (a.foot(), b.foot());
    let larger = size(a).max(size(b));
    ((p.x - q.x).hypot(p.y - q.y) / larger).max(1.0 - size(a).min(size(b)) / larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonoMillis, UtcMillis};

    fn at(i: i64, interval_ms: i64) -> Sight {
        Sight { utc: UtcMillis(i * interval_ms), mono: MonoMillis(i * interval_ms) }
    }

    fn truck(x: f32) -> Rect {
        Rect { x0: x, y0: 100.0, x1: x + 200.0, y1: 200.0 }
    }

    fn walk(xs: &[f32], interval_ms: i64) -> Still {
        let mut still = Still::new(at(0, interval_ms), truck(xs[0]));
        for (i, x) in xs.iter().enumerate().skip(1) {
            still.see(at(i as i64, interval_ms), truck(*x));
        }
        still
    }

    #[test]
    fn never_seen_moving_stands_since_its_first_sight() {
        let still = walk(&[300.0; 20], 200);
        assert_eq!(still.since(), Some(at(0, 200)));
    }

    #[test]
    fn a_stop_is_dated_to_its_first_sight_at_the_place_whatever_the_frame_rate() {
        for interval in [40, 200, 1000] {
            // 300 pixels a second until 6 s, then still.
            let end = usize::try_from(12_000 / interval).unwrap();
            let xs: Vec<f32> = (0..end).map(|i| (i as f32 * interval as f32 / 1000.0).min(6.0) * 300.0).collect();
            let since = walk(&xs, interval).since().expect("it stands");
            assert!((since.mono.0 - 6000).abs() <= interval.max(40), "{} at {interval} ms", since.mono.0);
        }
    }

    #[test]
    fn trembling_is_standing_and_creeping_is_not() {
        let mut xs: Vec<f32> = (0..60).map(|i| 300.0 + [0.0, 6.0, -6.0, 3.0][i % 4]).collect();
        assert_eq!(walk(&xs, 200).since(), Some(at(0, 200)));
        xs = (0..60).map(|i| 300.0 + i as f32 * 6.0).collect();
        let still = walk(&xs, 200);
        let long = still.since().map_or(0, |s| at(59, 200).mono.since(s.mono));
        assert!(long < 1500, "30 pixels a second: {long} ms at one place");
    }

    #[test]
    fn going_is_dated_to_the_first_sight_away() {
        let mut xs = vec![300.0; 20];
        xs.extend((1..10).map(|i| 300.0 + i as f32 * 14.0));
        let still = walk(&xs, 200);
        assert_eq!(still.since(), None);
        assert_eq!(still.went(), at(20, 200), "the first sight more than a twentieth of its size away");
    }
}
