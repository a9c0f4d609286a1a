//! Whether one track is in one area: hysteresis in time over foot points. What is reported about it is the business
//! of the rules (`enter`, `exit`, `dwell`).

use crate::clock::{MonoMillis, UtcMillis};

/// One moment at which a track was really seen, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sight {
    /// Wall clock of the frame.
    pub utc: UtcMillis,
    /// Monotonic twin.
    pub mono: MonoMillis,
}

impl Sight {
    /// The moment `ms` before it, by the monotonic clock.
    pub fn earlier(self, ms: i64) -> Self {
        Self { utc: self.utc.plus_ms(-ms), mono: MonoMillis(self.mono.0 - ms) }
    }
}

/// How a track stands to an area after a sight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// Not in it, or not long enough.
    Outside,
    /// In it since `entered`; `seen` is false while the foot is out but not yet long enough to have left.
    Inside {
        /// First sight inside.
        entered: Sight,
        /// The foot is inside in this very frame.
        seen: bool,
    },
    /// It has left; said once.
    Left(Stay),
}

/// A stay that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stay {
    /// First sight inside.
    pub entered: Sight,
    /// First sight outside. The true moments lie at most one frame interval before each of the two, so their
    /// difference is the true dwell to within one interval.
    pub left: Sight,
    /// The foot point jumped further than the thing can have moved: the tracker has mixed up two objects, and
    /// nobody saw this one leave. Then `left` is the last sight inside.
    pub jumped: bool,
}

/// State of one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Presence {
    /// First sight inside, once it counts as inside.
    entered: Option<Sight>,
    /// Since when it is seen on the other side than it counts as.
    turning: Option<Turn>,
    /// Latest sight inside.
    last_inside: Option<Sight>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    first: Sight,
    jumped: bool,
}

impl Presence {
    /// Takes one sight; `inside` says where the foot is, `jumped` that it came there by an implausible movement.
    pub fn see(&mut self, sight: Sight, inside: bool, jumped: bool, settle_ms: u32) -> Standing {
        if inside {
            self.last_inside = Some(sight);
        }
        if inside == self.entered.is_some() {
            self.turning = None;
            return self.standing(inside);
        }
        let turn = *self.turning.get_or_insert(Turn { first: sight, jumped });
        if sight.mono.since(turn.first.mono) < i64::from(settle_ms) {
            return self.standing(inside);
        }
        self.turning = None;
        match self.entered.take() {
            None => {
                self.entered = Some(turn.first);
                self.standing(inside)
            }
            Some(entered) => Standing::Left(self.stay(entered, turn)),
        }
    }

    /// The track is over: a foot last seen outside has left, though not for as long as it takes to settle (things that
    /// drive out of the picture are seen outside only briefly). `None` when it was inside or never in.
    pub fn over(&mut self) -> Option<Stay> {
        let turn = self.turning.take()?;
        let entered = self.entered.take()?;
        Some(self.stay(entered, turn))
    }

    /// It counts as inside and is seen outside.
    pub fn is_leaving(&self) -> bool {
        self.entered.is_some() && self.turning.is_some()
    }

    /// First sight inside, while it counts as inside.
    pub fn entered(&self) -> Option<Sight> {
        self.entered
    }

    fn stay(&self, entered: Sight, turn: Turn) -> Stay {
        let left = if turn.jumped { self.last_inside.unwrap_or(turn.first) } else { turn.first };
        Stay { entered, left, jumped: turn.jumped }
    }

    fn standing(&self, seen: bool) -> Standing {
        self.entered.map_or(Standing::Outside, |entered| Standing::Inside { entered, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Sight {
        Sight { utc: UtcMillis(1_000_000 + ms), mono: MonoMillis(ms) }
    }

    #[test]
    fn entering_counts_from_the_first_sight_inside() {
        let mut p = Presence::default();
        assert_eq!(p.see(at(0), false, false, 400), Standing::Outside);
        assert_eq!(p.see(at(200), true, false, 400), Standing::Outside);
        assert_eq!(p.see(at(400), true, false, 400), Standing::Outside);
        assert_eq!(p.see(at(600), true, false, 400), Standing::Inside { entered: at(200), seen: true });
    }

    #[test]
    fn jitter_shorter_than_settling_changes_nothing() {
        let mut p = Presence::default();
        for i in 0..50 {
            assert_eq!(p.see(at(i * 200), i % 2 == 0, false, 400), Standing::Outside, "flicker {i} never settles");
        }
        let mut p = Presence::default();
        p.see(at(0), true, false, 0);
        for i in 1..50 {
            let standing = p.see(at(i * 200), i % 2 == 0, false, 400);
            assert_eq!(standing, Standing::Inside { entered: at(0), seen: i % 2 == 0 });
        }
    }

    #[test]
    fn leaving_counts_from_the_first_sight_outside() {
        let mut p = Presence::default();
        p.see(at(0), true, false, 0);
        p.see(at(5000), true, false, 400);
        p.see(at(5200), false, false, 400);
        let left = p.see(at(5600), false, false, 400);
        assert_eq!(left, Standing::Left(Stay { entered: at(0), left: at(5200), jumped: false }));
        assert_eq!(p.see(at(5800), false, false, 400), Standing::Outside);
    }

    #[test]
    fn a_track_that_ends_while_leaving_has_left() {
        let mut p = Presence::default();
        p.see(at(0), true, false, 0);
        p.see(at(1000), false, false, 400);
        assert_eq!(p.over(), Some(Stay { entered: at(0), left: at(1000), jumped: false }));
        let mut inside = Presence::default();
        inside.see(at(0), true, false, 0);
        assert_eq!(inside.over(), None);
    }

    #[test]
    fn a_jump_out_ends_at_the_last_sight_inside() {
        let mut p = Presence::default();
        p.see(at(0), true, false, 0);
        p.see(at(800), true, false, 400);
        p.see(at(1000), false, true, 400);
        let left = p.see(at(1400), false, false, 400);
        assert_eq!(left, Standing::Left(Stay { entered: at(0), left: at(800), jumped: true }));
    }
}
