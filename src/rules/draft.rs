//! What a rule says about one track at one area, before the engine adds who and where.

use super::presence::{Sight, Stay};
use super::{EndReason, Phase, RuleKind};
use crate::clock::UtcMillis;
use crate::customs::Check;
use crate::geometry::CrossDirection;

/// An [`AreaEvent`](super::AreaEvent) without track, label and area.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub key: u64,
    pub rule: RuleKind,
    pub severity: u8,
    pub phase: Phase,
    pub start: UtcMillis,
    /// The frame the report is about.
    pub at: Sight,
    pub end: Option<(UtcMillis, EndReason)>,
    pub dwell_ms: Option<i64>,
    pub direction: Option<CrossDirection>,
    pub check: Option<Check>,
    pub count: Option<u32>,
}

impl Draft {
    /// Something that happened at `first` and is certain at `now`.
    pub fn instant(key: u64, rule: RuleKind, severity: u8, first: Sight, now: Sight) -> Self {
        Self {
            key,
            rule,
            severity,
            phase: Phase::New,
            start: first.utc,
            at: now,
            end: Some((first.utc, EndReason::Observed)),
            dwell_ms: None,
            direction: None,
            check: None,
            count: None,
        }
    }
}

/// When what began at `start` and lasted `dwell_ms` ended. The wall clock may have been set back meanwhile, to before the
/// begin: then the end is on the clock that the begin is of.
pub(super) fn ended(start: UtcMillis, end: UtcMillis, dwell_ms: i64) -> UtcMillis {
    if end < start { start.plus_ms(dwell_ms) } else { end }
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
    rule: RuleKind,
    severity: u8,
    since: Sight,
}

impl Open {
    /// Begins a lasting situation that holds since `since`, with its first report.
    pub fn begin(key: u64, rule: RuleKind, severity: u8, since: Sight, now: Sight) -> (Self, Draft) {
        let open = Self { key, rule, severity, since };
        (open, open.draft(Phase::New, now))
    }

    /// Something about it that matters has changed. It becomes no less severe: who does not know any more has not heard
    /// better.
    pub fn update(&mut self, severity: u8, now: Sight) -> Draft {
        self.severity = self.severity.max(severity);
        self.draft(Phase::Update, now)
    }

    /// Its last report: the object was seen to leave, or was mixed up with another.
    pub fn left(self, stay: &Stay, now: Sight) -> Draft {
        let reason = if stay.jumped { EndReason::TrackLost } else { EndReason::Observed };
        self.end(stay.left, now, reason)
    }

    /// Its last report: over since `end`, never before it began.
    pub fn end(self, end: Sight, now: Sight, reason: EndReason) -> Draft {
        let end = if end.mono < self.since.mono { self.since } else { end };
        let dwell_ms = end.mono.since(self.since.mono);
        Draft {
            end: Some((ended(self.since.utc, end.utc, dwell_ms), reason)),
            dwell_ms: Some(dwell_ms),
            ..self.draft(Phase::End, now)
        }
    }

    fn draft(self, phase: Phase, now: Sight) -> Draft {
        Draft {
            key: self.key,
            rule: self.rule,
            severity: self.severity,
            phase,
            start: self.since.utc,
            at: now,
            end: None,
            dwell_ms: Some(now.mono.since(self.since.mono)),
            direction: None,
            check: None,
            count: None,
        }
    }
}
