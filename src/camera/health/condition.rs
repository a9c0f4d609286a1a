//! The conditions a camera can be in, and the one machine that decides when a condition begins and ends. Values in,
//! values out: what is wrong is measured elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::MonoMillis;

/// What can be wrong with a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The camera cannot be reached, refuses us, or cut the stream.
    SignalLost,
    /// Connected, but no picture comes.
    Stalled,
    /// Pictures come, and it is the same one again and again.
    Frozen,
    /// Something hangs over the lens.
    Covered,
    /// The picture has lost its sharpness.
    Defocused,
    /// The camera looks somewhere else.
    Moved,
    /// Nothing can be seen: no light.
    TooDark,
    /// Nothing can be seen: washed out.
    TooBright,
    /// Far fewer pictures a second than this stream usually has.
    LowFrameRate,
    /// A share of the pictures cannot be decoded.
    DecodeErrors,
    /// The camera's clock is far from the box's.
    ClockSuspect,
    /// The camera's clock runs away from the box's.
    ClockDrift,
    /// The camera's clock made a step. An instant.
    ClockJump,
    /// Picture size or coding is another one. An instant.
    PictureChanged,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SignalLost,
        Self::Stalled,
        Self::Frozen,
        Self::Covered,
        Self::Defocused,
        Self::Moved,
        Self::TooDark,
        Self::TooBright,
        Self::LowFrameRate,
        Self::DecodeErrors,
        Self::ClockSuspect,
        Self::ClockDrift,
        Self::ClockJump,
        Self::PictureChanged,
    ];

    /// Its name in messages, metrics and the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignalLost => "signal_lost",
            Self::Stalled => "stalled",
            Self::Frozen => "frozen",
            Self::Covered => "covered",
            Self::Defocused => "defocused",
            Self::Moved => "moved",
            Self::TooDark => "too_dark",
            Self::TooBright => "too_bright",
            Self::LowFrameRate => "low_frame_rate",
            Self::DecodeErrors => "decode_errors",
            Self::ClockSuspect => "clock_suspect",
            Self::ClockDrift => "clock_drift",
            Self::ClockJump => "clock_jump",
            Self::PictureChanged => "picture_changed",
        }
    }

    /// 3 where nothing can be watched any more, or something else than was meant; 2 where watching is worse.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Self::SignalLost | Self::Stalled | Self::Frozen | Self::Covered | Self::Moved => 3,
            _ => 2,
        }
    }

    /// Measured on decoded pictures.
    #[must_use]
    pub fn is_of_picture(self) -> bool {
        use Condition::{Covered, Defocused, Frozen, Moved, TooBright, TooDark};
        matches!(self, Covered | Defocused | Frozen | Moved | TooBright | TooDark)
    }

    /// One message, no duration.
    #[must_use]
    pub fn is_instant(self) -> bool {
        matches!(self, Self::ClockJump | Self::PictureChanged)
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long something must hold, and be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Seen without a break for this long: it begins.
    pub on_ms: i64,
    /// Gone for this long: it ends.
    pub off_ms: i64,
}

/// What a step of the machine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As before.
    Same,
    /// It begins; first seen then.
    Begins(MonoMillis),
    /// It is over; first not seen any more then.
    Ends(MonoMillis),
}

/// What begins again within this time of its end flaps.
const FLAP_MS: i64 = 600_000;
/// Each return doubles the time that it must be gone, up to so many times.
const MAX_DOUBLINGS: u32 = 3;

/// One condition of one camera: hysteresis in time. A condition that comes and goes becomes one long event instead of
/// many short ones, because each return makes the end wait longer.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    seen_since: Option<MonoMillis>,
    gone_since: Option<MonoMillis>,
    open: bool,
    last_end: Option<MonoMillis>,
    returns: u32,
}

impl Hold {
    /// Begun and not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what is seen now; `None` = it cannot be judged now: what is open stays open, what was about to begin or to
    /// end starts to count anew.
    pub fn step(&mut self, now: MonoMillis, seen: Option<bool>, timing: Timing) -> Step {
        match seen {
            None => {
                (self.seen_since, self.gone_since) = (None, None);
                Step::Same
            }
            Some(true) => {
                self.gone_since = None;
                let since = *self.seen_since.get_or_insert(now);
                if self.open || now.since(since) < timing.on_ms {
                    return Step::Same;
                }
                self.open = true;
                let again = self.last_end.is_some_and(|end| since.since(end) < FLAP_MS);
                self.returns = if again { self.returns + 1 } else { 0 };
                Step::Begins(since)
            }
            Some(false) => {
                self.seen_since = None;
                if !self.open {
                    return Step::Same;
                }
                let since = *self.gone_since.get_or_insert(now);
                if now.since(since) < timing.off_ms << self.returns.min(MAX_DOUBLINGS) {
                    return Step::Same;
                }
                self.close(since);
                Step::Ends(since)
            }
        }
    }

    /// Ends it from outside.
    pub fn close(&mut self, at: MonoMillis) {
        self.open = false;
        (self.seen_since, self.gone_since) = (None, None);
        self.last_end = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { on_ms: 1000, off_ms: 2000 };

    fn play(hold: &mut Hold, seen: &[(i64, Option<bool>)]) -> Vec<(i64, Step)> {
        let steps = seen.iter().map(|(t, s)| (*t, hold.step(MonoMillis(*t), *s, TIMING)));
        steps.filter(|(_, s)| *s != Step::Same).collect()
    }

    #[test]
    fn it_begins_late_ends_late_and_knows_when_it_was() {
        let mut hold = Hold::default();
        let seen: Vec<_> = (0..80).map(|i| (i * 100, Some((10..40).contains(&i)))).collect();
        let told = play(&mut hold, &seen);
        assert_eq!(told, [(2000, Step::Begins(MonoMillis(1000))), (6000, Step::Ends(MonoMillis(4000)))]);
    }

    #[test]
    fn a_short_sight_and_a_short_gap_are_nothing() {
        let mut hold = Hold::default();
        let seen: Vec<_> = (0..60).map(|i| (i * 100, Some(i % 10 != 9 && i > 5))).collect();
        assert_eq!(play(&mut hold, &seen[..20]), [], "every tenth look breaks it");
        let seen: Vec<_> = (60..200).map(|i| (i * 100, Some(i % 15 != 0))).collect();
        assert_eq!(play(&mut hold, &seen).len(), 1, "gaps of one look do not end it");
    }

    #[test]
    fn what_cannot_be_judged_neither_begins_nor_ends() {
        let mut hold = Hold::default();
        play(&mut hold, &[(0, Some(true)), (900, None), (1500, Some(true))]);
        assert!(!hold.is_open(), "it counts anew after the gap");
        play(&mut hold, &[(2500, Some(true)), (2600, Some(false)), (4000, None), (9000, None)]);
        assert!(hold.is_open());
        assert_eq!(play(&mut hold, &[(9100, Some(false)), (11_100, Some(false))]).len(), 1);
    }

    #[test]
    fn what_flaps_becomes_one_long_event() {
        let mut hold = Hold::default();
        // Three seconds there, three seconds gone, for ten minutes.
        let seen: Vec<_> = (0..6000).map(|i| (i * 100, Some((i / 30) % 2 == 0))).collect();
        let told = play(&mut hold, &seen);
        let begins = told.iter().filter(|(_, s)| matches!(s, Step::Begins(_))).count();
        assert!(begins <= 3, "{told:?}");
    }
}
