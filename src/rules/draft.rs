//! What a rule says about one track at one area, before the engine adds who and where.

use super::presence::{Sight, Stay};
use super::{EndReason, Phase, RuleKind};
use crate::clock::UtcMillis;
use crate::geometry::CrossDirection;

/// An [`AreaEvent`](super::AreaEvent) without track, label and area.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub key: u64,
    pub rule: RuleKind,
    pub phase: Phase,
    pub start: UtcMillis,
    /// The frame the report is about.
    pub at: Sight,
    pub end: Option<(UtcMillis, EndReason)>,
    pub dwell_ms: Option<i64>,
    pub direction: Option<CrossDirection>,
}

/// Numbers situations, unique in the process' life of one engine.
#[derive(Debug, Default)]
pub(super) struct Keys(u64);

impl Keys {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A situation that lasts: reported as new, not yet as ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    key: u64,
    entered: Sight,
}

impl Open {
    /// Begins a lasting situation and its first report.
    pub fn begin(key: u64, rule: RuleKind, entered: Sight, now: Sight) -> (Self, Draft) {
        let draft = Draft {
            key,
            rule,
            phase: Phase::New,
            start: entered.utc,
            at: now,
            end: None,
            dwell_ms: Some(now.mono.since(entered.mono)),
            direction: None,
        };
        (Self { key, entered }, draft)
    }

    /// Its last report: seen to leave, or mixed up with another object.
    pub fn left(self, rule: RuleKind, stay: &Stay, now: Sight) -> Draft {
        let reason = if stay.jumped { EndReason::TrackLost } else { EndReason::Observed };
        self.end(rule, stay.left, now, reason)
    }

    /// Its last report when nobody saw the end: at the last sight.
    pub fn cut(self, rule: RuleKind, last: Sight, reason: EndReason) -> Draft {
        self.end(rule, last, last, reason)
    }

    fn end(self, rule: RuleKind, end: Sight, at: Sight, reason: EndReason) -> Draft {
        Draft {
            key: self.key,
            rule,
            phase: Phase::End,
            start: self.entered.utc,
            at,
            end: Some((end.utc, reason)),
            dwell_ms: Some(end.mono.since(self.entered.mono)),
            direction: None,
        }
    }
}
