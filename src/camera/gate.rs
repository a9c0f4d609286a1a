//! The decode gate: which access units the decoder sees. Pure logic. Decoding is the dominant cost of a camera, so this
//! is where the performance is. The gate is offered every unit in order and hears of gaps, which is all that a mode
//! which buffers the group of pictures and replays it needs.

use super::AccessUnit;
use crate::config::DecodeMode;

/// What to do with the unit offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Give it to the decoder.
    Decode,
    /// Do not, for this reason.
    Skip(SkipReason),
}

/// Why a unit is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It refers to pictures the decoder does not have.
    WaitingForKeyframe,
    /// The mode wants keyframes only.
    NotAKeyframe,
}

impl SkipReason {
    /// Label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WaitingForKeyframe => "waiting_for_keyframe",
            Self::NotAKeyframe => "keyframes_only",
        }
    }
}

/// Decides unit by unit; one per camera and connection.
#[derive(Debug)]
pub struct Gate {
    mode: DecodeMode,
    waiting: bool,
    passed: u64,
    skipped: u64,
}

impl Gate {
    /// A closed gate: it opens at the first keyframe.
    #[must_use]
    pub fn new(mode: DecodeMode) -> Self {
        Self { mode, waiting: true, passed: 0, skipped: 0 }
    }

    /// Decides about the next unit.
    pub fn offer(&mut self, unit: &AccessUnit) -> Decision {
        let decision = self.decide(unit.keyframe);
        match decision {
            Decision::Decode => self.passed += 1,
            Decision::Skip(_) => self.skipped += 1,
        }
        decision
    }

    /// Units are missing before the next one, or the decoder lost its references.
    pub fn discontinuity(&mut self) {
        self.waiting = true;
    }

    /// Units let through since the start.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Units skipped since the start.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn decide(&mut self, keyframe: bool) -> Decision {
        if keyframe {
            self.waiting = false;
            Decision::Decode
        } else if self.waiting {
            Decision::Skip(SkipReason::WaitingForKeyframe)
        } else {
            match self.mode {
                DecodeMode::EveryFrame => Decision::Decode,
                DecodeMode::KeyframesOnly => Decision::Skip(SkipReason::NotAKeyframe),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Codec;
    use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};

    fn unit(keyframe: bool) -> AccessUnit {
        let time = FrameTime {
            utc: UtcMillis(0),
            mono: MonoMillis(0),
            source: TimeSource::Arrival,
            uncertainty_ms: 500,
            clock_offset_ms: None,
        };
        AccessUnit { data: bytes::Bytes::new(), codec: Codec::H264, keyframe, pts_ns: 0, time }
    }

    /// `K` keyframe, `p` predicted, `!` gap; the answer has `.` for skipped ones.
    fn run(mode: DecodeMode, units: &str) -> (String, Gate) {
        let mut gate = Gate::new(mode);
        let mut out = String::new();
        for c in units.chars() {
            if c == '!' {
                gate.discontinuity();
            } else {
                let passes = gate.offer(&unit(c == 'K')) == Decision::Decode;
                out.push(if passes { c } else { '.' });
            }
        }
        (out, gate)
    }

    #[test]
    fn every_frame_starts_at_a_keyframe() {
        let (out, gate) = run(DecodeMode::EveryFrame, "ppKppKp");
        assert_eq!(out, "..KppKp");
        assert_eq!((gate.passed(), gate.skipped()), (5, 2));
    }

    #[test]
    fn after_a_gap_it_waits_for_a_keyframe() {
        assert_eq!(run(DecodeMode::EveryFrame, "Kp!ppKp!Kp").0, "Kp..KpKp");
    }

    #[test]
    fn keyframes_only_skips_the_rest() {
        let (out, gate) = run(DecodeMode::KeyframesOnly, "pKppKp!pK");
        assert_eq!(out, ".K..K..K");
        assert_eq!((gate.passed(), gate.skipped()), (3, 5));
    }
}
