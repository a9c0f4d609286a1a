//! What was really watched: intervals of each camera in which its pictures were analysed, the reason of every gap between
//! them, and the answer to "did anything happen there?". Values in, values out: no clock, no store, no threads. The agent's
//! `agent/coverage` feeds the recorder, `store/coverage` keeps what it says.
//!
//! All times are rounded inwards: an interval begins and ends with a picture that was analysed, so that no answer ever
//! claims a moment that nobody looked at.

pub mod answer;
pub mod areas;
pub mod compact;
pub mod recorder;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Blind, Coverage, Happened, Verdict, Watched};
pub use recorder::{Recorder, Situation};

use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::config::DecodeMode;
use crate::rules::AreaId;

/// Pictures that may be missing in a row, in analysis intervals.
const TOLERATED_INTERVALS: f64 = 3.0;
/// A pause up to this is no gap, milliseconds: what is of interest at a gate takes longer.
const TOLERATED_LEAST_MS: i64 = 1000;
/// The same while only keyframes are decoded: cameras have them up to ten seconds apart.
const TOLERATED_KEYFRAMES_MS: i64 = 15_000;

/// Why nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlindReason {
    /// The camera could not be reached, refused us, or its stream ended.
    Signal,
    /// Connected, but no pictures came.
    Stall,
    /// Pictures came and could not be decoded.
    Decode,
    /// Pictures were decoded and not looked at in time.
    Overload,
    /// There was no working model.
    ModelFailed,
    /// The clock jumped: nothing is known of the time jumped over.
    Clock,
    /// The agent did not run, or had not begun to analyse.
    Restart,
    /// More than half of the area lies under privacy masks.
    Privacy,
    /// More than half of the area lies under ignore masks.
    Ignored,
    /// More than half of the area lay outside of what the detector was shown.
    OutOfSight,
    /// None of its rules could have said anything: it has none, or the model knows none of their classes.
    NoRule,
    /// The camera had no such area or line.
    NotConfigured,
    /// It was watched, and of what was seen something was not said: more than `events.max_per_minute`.
    KeptBack,
    /// Pictures were analysed and showed nothing that counts: covered, frozen, moved, defocused, too dark or too bright, as
    /// the camera's own health says.
    Health,
    /// Nothing was written down about this time, or what was is forgotten.
    NoRecord,
    /// It has not been yet.
    NotYet,
}

impl BlindReason {
    /// Name as in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Stall => "stall",
            Self::Decode => "decode",
            Self::Overload => "overload",
            Self::ModelFailed => "model_failed",
            Self::Clock => "clock",
            Self::Restart => "restart",
            Self::Privacy => "privacy",
            Self::Ignored => "ignored",
            Self::OutOfSight => "out_of_sight",
            Self::NoRule => "no_rule",
            Self::NotConfigured => "not_configured",
            Self::KeptBack => "kept_back",
            Self::Health => "health",
            Self::NoRecord => "no_record",
            Self::NotYet => "not_yet",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

/// From one moment to another, `to` not before `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Begin.
    pub from: UtcMillis,
    /// End.
    pub to: UtcMillis,
}

impl Span {
    /// Milliseconds.
    #[must_use]
    pub fn ms(&self) -> i64 {
        self.to.since(self.from)
    }

    /// The common part, if it is longer than nothing.
    #[must_use]
    pub fn clipped(&self, to: &Self) -> Option<Self> {
        let span = Self { from: self.from.max(to.from), to: self.to.min(to.to) };
        (span.ms() > 0).then_some(span)
    }
}

/// How an interval was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Pictures were analysed.
    Watched {
        /// Longest time between two of them, milliseconds.
        interval_ms: i64,
        /// How many.
        pictures: u64,
    },
    /// None were.
    Blind(BlindReason),
}

/// How well one area or line was seen while its camera was watched.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AreaView {
    /// It was not, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<BlindReason>,
    /// Part of it that was not looked at, 0..1.
    #[serde(default)]
    pub unseen: f32,
}

/// The areas and lines of a camera.
pub type AreaViews = BTreeMap<AreaId, AreaView>;

/// One interval of one camera, as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Whose.
    pub camera: CameraId,
    /// Run of the agent; with `number` the identity of the interval.
    pub session: i64,
    /// Counts the intervals of a camera in a session.
    pub number: i64,
    /// When.
    pub span: Span,
    /// How.
    pub look: Look,
    /// Areas as they were then.
    pub areas: Arc<AreaViews>,
}

/// The longest pauses between two analysed pictures that are no gap, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerated {
    /// For whatever reason.
    pub any_ms: i64,
    /// While units came and were left out on purpose.
    pub lull_ms: i64,
}

impl Tolerated {
    /// What is tolerated of a camera.
    #[must_use]
    pub fn of(fps: f32, decode: DecodeMode) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "fps is 0.1..=60")]
        let intervals = (TOLERATED_INTERVALS * 1000.0 / f64::from(fps)).ceil() as i64;
        let any_ms = intervals.max(TOLERATED_LEAST_MS);
        let lull_ms = match decode {
            DecodeMode::Always => any_ms,
            DecodeMode::Keyframes | DecodeMode::Adaptive => any_ms.max(TOLERATED_KEYFRAMES_MS),
        };
        Self { any_ms, lull_ms }
    }
}

/// What a camera's state says of its coverage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoverageSummary {
    /// Its pictures are analysed now.
    pub watched: bool,
    /// Since when that is so.
    pub since: UtcMillis,
    /// Why not, when not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<BlindReason>,
    /// Longest time between two analysed pictures since then, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<i64>,
    /// Part of the last hour that was watched, 0..1, rounded down to hundredths.
    pub last_hour: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tolerated_follows_the_rate_and_the_mode() {
        let of = |fps, decode| (Tolerated::of(fps, decode).any_ms, Tolerated::of(fps, decode).lull_ms);
        assert_eq!(of(5.0, DecodeMode::Always), (1000, 1000));
        assert_eq!(of(0.5, DecodeMode::Always), (6000, 6000));
        assert_eq!(of(5.0, DecodeMode::Keyframes), (1000, 15_000));
    }

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for reason in [BlindReason::Signal, BlindReason::ModelFailed, BlindReason::KeptBack, BlindReason::OutOfSight] {
            assert_eq!(BlindReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(BlindReason::parse("tired"), None);
    }
}
