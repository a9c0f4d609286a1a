//! Area rules: what tracks did at areas and lines. Values in, values out; time is the frames' own.

mod draft;
mod dwell;
mod engine;
#[cfg(test)]
mod engine_tests;
mod enter;
mod exit;
mod line_cross;
mod motion;
mod presence;

pub use engine::AreaRules;

use serde::{Deserialize, Serialize};

use crate::clock::{MonoMillis, UtcMillis};
use crate::geometry::CrossDirection;
use crate::track::TrackId;
use crate::vision::Label;

/// Identity of an area or line, same form as a camera id, unique in a box.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct AreaId(#[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))] pub String);

impl std::fmt::Display for AreaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A track is in the area: new at entering, end at leaving.
    Enter,
    /// A track left the area: an instant.
    Exit,
    /// A track stayed in the area longer than the limit: new at the limit, end at leaving.
    Dwell,
    /// A track crossed a line: an instant.
    LineCross,
}

impl RuleKind {
    /// Name as in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Dwell => "dwell",
            Self::LineCross => "line_cross",
        }
    }
}

/// Where an event stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// First message.
    New,
    /// Something that matters changed.
    Update,
    /// Last message.
    End,
}

/// Why an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The thing the rule watches is over, seen by the camera.
    Observed,
    /// The track was lost inside the area; the end time is the last sight of it.
    TrackLost,
    /// The camera was lost or stalled; the end time is the last sight.
    CameraLost,
    /// The agent was stopped or started again; the end time is the last sight written down.
    Restart,
}

/// What a rule reports about one track at one area. `key` is the same over all phases of one situation.
#[derive(Debug, Clone, PartialEq)]
pub struct AreaEvent {
    /// Same for all phases of one situation, unique in this process.
    pub key: u64,
    /// Which rule.
    pub rule: RuleKind,
    /// At which area or line.
    pub area: AreaId,
    /// Who.
    pub track: TrackId,
    /// Class of the track now.
    pub label: Label,
    /// Where in its life.
    pub phase: Phase,
    /// When it began (entered; for `Dwell` when the track entered, not when the limit was reached).
    pub start: UtcMillis,
    /// The frame this report is about.
    pub at: UtcMillis,
    /// Set on the last report; equals `start` for an instant.
    pub end: Option<UtcMillis>,
    /// Why it ended; only with `end`.
    pub end_reason: Option<EndReason>,
    /// Time in the area so far, by the monotonic clock of the frames. `None` for lines.
    pub dwell_ms: Option<i64>,
    /// For lines.
    pub direction: Option<CrossDirection>,
    /// Monotonic twin of `at`.
    pub mono: MonoMillis,
}
