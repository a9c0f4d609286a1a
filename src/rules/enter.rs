//! Enter: a track is in the area. New once it has settled inside (start = first sight inside), end at leaving.

use super::draft::{Draft, Keys, Open};
use super::presence::{Sight, Standing};
use super::{EndReason, RuleKind};

/// State of the rule for one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Enter {
    open: Option<Open>,
}

impl Enter {
    /// Takes how the track stands now; `counts` says that it is confirmed and of a class that counts.
    pub fn step(&mut self, standing: &Standing, now: Sight, counts: bool, keys: &mut Keys) -> Option<Draft> {
        match (standing, self.open) {
            (Standing::Inside { entered, seen: true }, None) if counts => {
                let (open, draft) = Open::begin(keys.next(), RuleKind::Enter, *entered, now);
                self.open = Some(open);
                Some(draft)
            }
            (Standing::Left(stay), Some(open)) => {
                self.open = None;
                Some(open.left(RuleKind::Enter, stay, now))
            }
            _ => None,
        }
    }

    /// The track, camera or process is over while the situation lasts.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Option<Draft> {
        self.open.take().map(|open| open.cut(RuleKind::Enter, last, reason))
    }
}
