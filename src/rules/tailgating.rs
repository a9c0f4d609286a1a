//! Tailgating: a second thing crosses a line the same way shortly after another, on one opening. No barrier is wired:
//! an opening is the time after a crossing. Reported beside the crossing itself; the same track twice is not tailgating.

use super::draft::{Draft, Keys};
use super::line_cross::Crossing;
use super::presence::Sight;
use super::{RuleKind, renamed, seconds};
use crate::config::TailgatingConfig;
use crate::geometry::CrossDirection;
use crate::track::TrackId;

/// State of one line: the latest crossing each way.
#[derive(Debug, Clone, Default)]
pub(super) struct Tailgating {
    left_to_right: Option<(Sight, TrackId)>,
    right_to_left: Option<(Sight, TrackId)>,
}

impl Tailgating {
    /// These two tracks exchanged their names: who crossed last is called by the other one from now on.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        for (_, track) in [&mut self.left_to_right, &mut self.right_to_left].into_iter().flatten() {
            renamed(track, names);
        }
    }

    /// Takes a crossing that counts.
    pub fn step(
        &mut self,
        crossing: &Crossing,
        track: TrackId,
        now: Sight,
        config: &TailgatingConfig,
        keys: &mut Keys,
    ) -> Option<Draft> {
        let before = match crossing.direction {
            CrossDirection::LeftToRight => &mut self.left_to_right,
            CrossDirection::RightToLeft => &mut self.right_to_left,
        };
        // Crossings become certain out of order when one thing stops right behind the line.
        let close = |(at, other): &(Sight, TrackId)| {
            *other != track && crossing.at.mono.since(at.mono).abs() <= seconds(config.within_s)
        };
        let follows = before.as_ref().is_some_and(close);
        if before.is_none_or(|(at, _)| at.mono <= crossing.at.mono) {
            *before = Some((crossing.at, track));
        }
        follows.then(|| Draft {
            direction: Some(crossing.direction),
            ..Draft::instant(keys.next(), RuleKind::Tailgating, config.severity, crossing.at, now)
        })
    }
}
