//! Dwell: a track stayed longer than the limit. New at the first sight inside at or past the limit, end at leaving.
//! Time in the area counts from the first sight inside, on the frames' monotonic clock.

use super::draft::{Draft, Keys, Open};
use super::presence::{Sight, Standing};
use super::{EndReason, RuleKind};

/// State of the rule for one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Dwell {
    open: Option<Open>,
}

impl Dwell {
    /// Takes how the track stands now; `counts` says that it is confirmed and of a class that counts.
    pub fn step(
        &mut self,
        standing: &Standing,
        now: Sight,
        counts: bool,
        limit_ms: i64,
        keys: &mut Keys,
    ) -> Option<Draft> {
        match (standing, self.open) {
            (Standing::Inside { entered, seen: true }, None) if counts && now.mono.since(entered.mono) >= limit_ms => {
                let (open, draft) = Open::begin(keys.next(), RuleKind::Dwell, *entered, now);
                self.open = Some(open);
                Some(draft)
            }
            (Standing::Left(stay), Some(open)) => {
                self.open = None;
                Some(open.left(RuleKind::Dwell, stay, now))
            }
            _ => None,
        }
    }

    /// The track, camera or process is over while the situation lasts.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Option<Draft> {
        self.open.take().map(|open| open.cut(RuleKind::Dwell, last, reason))
    }
}
