//! Health of a camera: is it there, does it show what it was hung up to show, does its clock run right? Plain values in
//! and out, no clock and no I/O: who feeds it is `agent/camera_health` (live) and `simulate/health` (compressed time).
//!
//! Measures say what is *seen* (`Sight`); one machine per condition (`condition::Hold`) makes of that what has begun
//! and what is over ([`HealthChange`]).

mod clock;
mod condition;
pub mod luma;
mod picture;
mod repeat;
mod scene;
mod signal;
mod still;

use std::collections::{BTreeMap, VecDeque};

pub use condition::{Condition, Hold, Step, Timing};
pub use luma::Luma;
use picture::{Around, PictureWatch};
use serde::{Deserialize, Serialize};
use signal::SignalWatch;

use super::{CameraState, Codec};
use crate::clock::{MonoMillis, UtcMillis};
use crate::config::HealthConfig;
use crate::rules::Phase;

/// A sight of the picture is worth something for so long, and so is the share of it that a thing fills; where pictures are far
/// apart, until a later one should have come.
const PICTURE_FRESH_MS: i64 = 5000;
/// But never for longer than this.
const PICTURE_OLD_MS: i64 = 60_000;
/// One odd picture is no alarm: so many must say the same, one after the other.
const PICTURES: u32 = 2;
/// An instant is told so many times within so long, milliseconds; what comes beyond is counted in the next that is told.
const INSTANTS: usize = 4;
const INSTANTS_MS: i64 = 600_000;

/// One measured value, and what it was held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Figure {
    /// What was measured, e.g. `sharpness`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// The limit it broke, where it is one of a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Unit of both.
    pub unit: String,
}

impl Figure {
    /// A value held against a limit.
    fn against(name: &str, value: impl Into<f64>, limit: impl Into<f64>, unit: &str) -> Self {
        Self { limit: Some(short(limit.into())), ..Self::measured(name, value, unit) }
    }

    /// A value alone.
    fn measured(name: &str, value: impl Into<f64>, unit: &str) -> Self {
        Self { name: name.into(), value: short(value.into()), limit: None, unit: unit.into() }
    }
}

/// Four digits behind the point are more than any of these measures is good for.
fn short(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// What is seen of one condition at one look.
#[derive(Debug, Clone, PartialEq)]
struct Sight {
    condition: Condition,
    /// `None` = cannot be judged now.
    seen: Option<bool>,
    /// It was so already this long before it could be said.
    ago_ms: i64,
    reason: String,
    figures: Vec<Figure>,
}

impl Sight {
    fn of(condition: Condition, seen: Option<bool>) -> Self {
        Self { condition, seen, ago_ms: 0, reason: String::new(), figures: Vec::new() }
    }

    fn unknown(condition: Condition) -> Self {
        Self::of(condition, None)
    }
}

/// What the camera part knows of a stream at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamView {
    /// What the camera does.
    pub state: CameraState,
    /// Why, for a technician.
    pub reason: Option<String>,
    /// Coding.
    pub codec: Option<Codec>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Units so far.
    pub received: u64,
    /// Keyframes so far.
    pub keyframes: u64,
    /// Units that could not be decoded so far.
    pub broken: u64,
    /// Units skipped so far because what they refer to was lost.
    pub unreferenced: u64,
    /// Camera clock minus box clock at the newest picture.
    pub clock_offset_ms: Option<i64>,
}

impl Default for StreamView {
    fn default() -> Self {
        Self {
            state: CameraState::Connecting,
            reason: None,
            codec: None,
            width: 0,
            height: 0,
            received: 0,
            keyframes: 0,
            broken: 0,
            unreferenced: 0,
            clock_offset_ms: None,
        }
    }
}

/// Why a condition is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthEnd {
    /// It is gone.
    Recovered,
    /// The agent stopped or was started anew; what still holds begins again.
    Restart,
}

/// Something to say of a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthChange {
    /// Which.
    pub condition: Condition,
    /// Where in its life; an instant is `New` with an end.
    pub phase: Phase,
    /// When it began, on the box's clock.
    pub start: UtcMillis,
    /// When it ended.
    pub end: Option<UtcMillis>,
    /// How long it has lasted, on the box's monotonic clock.
    pub duration_ms: i64,
    /// One sentence for the technician.
    pub reason: String,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Why it is over.
    pub end_reason: Option<HealthEnd>,
}

/// A condition that lasts, as camera states and `/readyz` name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ActiveCondition {
    /// Which.
    pub condition: Condition,
    /// Since when, on the box's clock.
    pub since: UtcMillis,
}

/// What a moment is on both clocks of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For durations.
    pub mono: MonoMillis,
    /// For people.
    pub utc: UtcMillis,
}

#[derive(Debug, Default)]
struct State {
    hold: Hold,
    open: Option<Open>,
    sight: Option<(MonoMillis, Sight)>,
    /// Sights one after the other that saw it.
    agreed: u32,
}

#[derive(Debug)]
struct Open {
    since: MonoMillis,
    start: UtcMillis,
    told: MonoMillis,
    reason: String,
    figures: Vec<Figure>,
}

/// Watches the health of one camera.
#[derive(Debug)]
pub struct HealthMonitor {
    limits: HealthConfig,
    off: Vec<Condition>,
    picture: PictureWatch,
    signal: SignalWatch,
    clock: clock::ClockWatch,
    states: BTreeMap<Condition, State>,
    instants: BTreeMap<Condition, Instants>,
    /// The latest picture, and the time from the one before to it.
    pictured: Option<(MonoMillis, i64)>,
    filled: Option<(MonoMillis, f32)>,
}

impl HealthMonitor {
    /// A monitor that has seen nothing; what is in `off` is not reported, beside what the limits switch off.
    #[must_use]
    pub fn new(limits: HealthConfig, off: &[Condition]) -> Self {
        let off = limits.off.iter().chain(off).copied().collect();
        let (picture, signal, clock) = Default::default();
        Self {
            limits,
            off,
            picture,
            signal,
            clock,
            states: BTreeMap::new(),
            instants: BTreeMap::new(),
            pictured: None,
            filled: None,
        }
    }

    /// The tracker says how much of the picture its largest thing covers, 0..1.
    pub fn filled(&mut self, now: MonoMillis, share: f32) {
        self.filled = Some((now, share));
    }

    /// Takes the pixels of a keyframe, as their fingerprint.
    pub fn keyframe(&mut self, at: MonoMillis, fingerprint: u64) {
        self.picture.keyframe(at, fingerprint);
    }

    /// Looks at a picture, a few times a second at most; `keyframes` as in [`StreamView`].
    pub fn picture(&mut self, now: MonoMillis, luma: &Luma, keyframes: u64) {
        self.pictured = Some((now, self.pictured.map_or(0, |(before, _)| now.since(before))));
        let fresh_ms = self.fresh_ms();
        let filled = self.filled.filter(|(at, _)| now.since(*at) <= fresh_ms).map(|(_, share)| share);
        let wrong = self.states.iter().any(|(c, s)| c.is_of_picture() && s.hold.is_open());
        let around = Around { keyframes, filled, wrong };
        for sight in self.picture.look(now, luma, around, &self.limits) {
            let state = self.states.entry(sight.condition).or_default();
            state.agreed = if sight.seen == Some(true) { state.agreed.saturating_add(1) } else { 0 };
            state.sight = Some((now, sight));
        }
    }

    /// How long what is known of a picture counts.
    fn fresh_ms(&self) -> i64 {
        let gap_ms = self.pictured.map_or(0, |(_, gap_ms)| gap_ms);
        (2 * gap_ms).clamp(PICTURE_FRESH_MS, PICTURE_OLD_MS)
    }

    /// Looks at the stream and says what has begun, goes on or is over. Call a few times a second.
    pub fn look(&mut self, now: Now, view: &StreamView) -> Vec<HealthChange> {
        let mut said = Vec::new();
        let (sights, changed) = self.signal.look(now.mono, view, &self.limits);
        if let Some((before, after)) = changed {
            self.picture.stream_changed();
            said.extend(self.instant(now, Condition::PictureChanged, changed_words(before, after)));
        }
        let offset = view.clock_offset_ms.filter(|_| view.state == CameraState::Running);
        let (clock_sights, jump) = self.clock.look(now.mono, now.utc, offset, &self.limits);
        if let Some(jump) = jump {
            said.extend(self.instant(now, Condition::ClockJump, jump_words(jump)));
        }
        for sight in sights.into_iter().chain(clock_sights) {
            let state = self.states.entry(sight.condition).or_default();
            state.sight = Some((now.mono, sight));
        }
        let running = view.state == CameraState::Running;
        for condition in Condition::ALL.into_iter().filter(|c| !c.is_instant()) {
            if !self.off.contains(&condition) {
                said.extend(self.step(now, condition, running));
            }
        }
        said
    }

    /// What lasts now, in the order of [`Condition::ALL`].
    #[must_use]
    pub fn active(&self) -> Vec<ActiveCondition> {
        let open = self.states.iter().filter_map(|(c, s)| s.open.as_ref().map(|o| (*c, o.start)));
        open.map(|(condition, since)| ActiveCondition { condition, since }).collect()
    }

    /// Ends everything that lasts, because the agent stops.
    pub fn close(&mut self, now: Now) -> Vec<HealthChange> {
        let open = self.states.iter_mut().filter_map(|(c, s)| s.open.take().map(|o| (*c, o)));
        open.map(|(condition, open)| ended(condition, open, now, now.mono, HealthEnd::Restart)).collect()
    }

    fn step(&mut self, now: Now, condition: Condition, running: bool) -> Option<HealthChange> {
        let mut timing = timing(condition, &self.limits);
        let fresh_ms = self.fresh_ms();
        let state = self.states.get_mut(&condition)?;
        // What is measured over many pictures, a frozen one, needs no second sight.
        if condition.is_of_picture() && condition != Condition::Frozen && state.agreed < PICTURES {
            timing.on_ms = i64::MAX;
        }
        let good = |at: MonoMillis| !condition.is_of_picture() || (running && now.mono.since(at) <= fresh_ms);
        let sight = state.sight.as_ref().filter(|(at, _)| good(*at)).map(|(_, s)| s);
        let step = state.hold.step(now.mono, sight.and_then(|s| s.seen), timing);
        match (step, sight, &mut state.open) {
            (Step::Begins(since), Some(sight), open) => {
                let since = MonoMillis(since.0.min(now.mono.0 - sight.ago_ms));
                let start = now.utc.plus_ms(-now.mono.since(since));
                let (reason, figures) = (sight.reason.clone(), sight.figures.clone());
                let new = Open { since, start, told: now.mono, reason, figures };
                let change = told(condition, Phase::New, &new, now);
                *open = Some(new);
                Some(change)
            }
            (Step::Ends(at), _, open) => open.take().map(|o| ended(condition, o, now, at, HealthEnd::Recovered)),
            (Step::Same, Some(sight), Some(open)) if sight.seen == Some(true) => {
                let late = now.mono.since(open.told) >= i64::from(self.limits.update_every_s) * 1000;
                // A lost camera that now refuses the password is news; a figure that wanders is not.
                let news = condition == Condition::SignalLost && sight.reason != open.reason;
                open.figures.clone_from(&sight.figures);
                if !late && !news {
                    return None;
                }
                open.reason.clone_from(&sight.reason);
                open.told = now.mono;
                Some(told(condition, Phase::Update, open, now))
            }
            _ => None,
        }
    }

    fn instant(
        &mut self,
        now: Now,
        condition: Condition,
        (reason, mut figures): (String, Vec<Figure>),
    ) -> Option<HealthChange> {
        if self.off.contains(&condition) {
            return None;
        }
        let left_out = self.instants.entry(condition).or_default().take(now.mono)?;
        if left_out > 0 {
            figures.push(Figure::measured("times_before", left_out, "times"));
        }
        Some(HealthChange {
            condition,
            phase: Phase::New,
            start: now.utc,
            end: Some(now.utc),
            duration_ms: 0,
            reason,
            figures,
            end_reason: None,
        })
    }
}

/// When one kind of instant was told lately, and how many were left out since.
#[derive(Debug, Default)]
struct Instants {
    told: VecDeque<MonoMillis>,
    left_out: u32,
}

impl Instants {
    /// Takes one that happens now. When it is to be told, how many were left out before it.
    fn take(&mut self, now: MonoMillis) -> Option<u32> {
        while self.told.front().is_some_and(|at| now.since(*at) >= INSTANTS_MS) {
            self.told.pop_front();
        }
        if self.told.len() >= INSTANTS {
            self.left_out += 1;
            return None;
        }
        self.told.push_back(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

fn told(condition: Condition, phase: Phase, open: &Open, now: Now) -> HealthChange {
    HealthChange {
        condition,
        phase,
        start: open.start,
        end: None,
        duration_ms: now.mono.since(open.since),
        reason: open.reason.clone(),
        figures: open.figures.clone(),
        end_reason: None,
    }
}

fn ended(condition: Condition, open: Open, now: Now, at: MonoMillis, why: HealthEnd) -> HealthChange {
    HealthChange {
        condition,
        phase: Phase::End,
        start: open.start,
        end: Some(now.utc.plus_ms(-now.mono.since(at))),
        duration_ms: at.since(open.since).max(0),
        reason: open.reason,
        figures: open.figures,
        end_reason: Some(why),
    }
}

fn timing(condition: Condition, limits: &HealthConfig) -> Timing {
    let on_ms = match condition {
        Condition::SignalLost => limits.lost_ms,
        // Counted where they are measured.
        Condition::Stalled | Condition::Frozen | Condition::ClockDrift => 0,
        Condition::Covered | Condition::Defocused | Condition::Moved => limits.picture_ms,
        Condition::TooDark | Condition::TooBright => limits.light_ms,
        Condition::LowFrameRate | Condition::DecodeErrors => 1000,
        Condition::ClockSuspect => limits.clock_offset_for_s.saturating_mul(1000),
        Condition::ClockJump | Condition::PictureChanged => 0,
    };
    Timing { on_ms: i64::from(on_ms), off_ms: i64::from(limits.recover_ms) }
}

fn changed_words(before: signal::Shape, after: signal::Shape) -> (String, Vec<Figure>) {
    let (was, is) = (signal::shape_text(before), signal::shape_text(after));
    let text = format!(
        "pictures are {is} now and were {was}; areas and lines still fit when only the number of pixels changed, check that \
         the camera shows the same view"
    );
    let figures = [("width", after.1, before.1), ("height", after.2, before.2)]
        .map(|(name, now, was)| Figure::against(name, f64::from(now), f64::from(was), "px"));
    (text, figures.into())
}

fn jump_words(jump: clock::Jump) -> (String, Vec<Figure>) {
    let step = jump.after_ms - jump.before_ms;
    let text = format!(
        "the camera's clock made a step of {step} ms: it was {} ms off and is {} ms off now; give it a time server",
        jump.before_ms, jump.after_ms
    );
    let figures =
        [("step_ms", step), ("offset_ms", jump.after_ms)].map(|(name, ms)| Figure::measured(name, ms as f64, "ms"));
    (text, figures.into())
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
