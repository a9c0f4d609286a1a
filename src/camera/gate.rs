//! The decode gate: which access units the decoder sees, and when. Pure logic. Decoding is the dominant cost of a camera,
//! so this is where the performance is. An idle camera is decoded at keyframes only, and what came since the last one is
//! held; when something stirs, or somebody asks for attention, the held units follow, so that nothing that happened in
//! them is missed and every time stays exact.

use std::collections::VecDeque;
use std::sync::Arc;

use super::effort::Effort;
use super::stir::{Sizes, TOGETHER};
use super::{AccessUnit, Attention, Idled, Lull};
use crate::clock::MonoMillis;
use crate::config::DecodeMode;

/// A camera stays awake for so long after the last reason, milliseconds.
const AWAKE_MS: i64 = 5000;
/// Held at most, milliseconds and bytes. A camera whose keyframes are further apart is looked at this often: what is held
/// is decoded, since nothing after it can be without it.
const HELD_MS: i64 = 12_000;
const HELD_BYTES: usize = 16 << 20;
/// A keyframe waits no longer than this for what may have begun in front of it, milliseconds.
const DOUBT_MS: i64 = 1000;
/// Units that may wait for the decoder while it catches up, bytes.
const READY_BYTES: usize = 48 << 20;

/// What became of the unit offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes to the decoder, after what is ready before it.
    Decode,
    /// It is held: it goes to the decoder when the camera wakes before the next keyframe; a keyframe at the latest a second later.
    Hold,
    /// It does not, for this reason.
    Skip(SkipReason),
}

/// Why a unit is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It refers to pictures the decoder does not have.
    WaitingForKeyframe,
    /// The mode wants keyframes only.
    NotAKeyframe,
    /// It was held, and nothing stirred.
    Idle,
}

impl SkipReason {
    /// Label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WaitingForKeyframe => "waiting_for_keyframe",
            Self::NotAKeyframe => "keyframes_only",
            Self::Idle => "idle",
        }
    }
}

/// The reason of a lane that follows something moving.
pub const TRACK: &str = "track";

/// The reason of a camera whose keyframes refer to other pictures: it is not left idle.
pub const PIECEWISE: &str = "piecewise";

/// Why a camera woke up, a label of metrics: `stirs`, `long_group`, `unproven`, `piecewise`, or what attention was asked for.
pub type WakeReason = &'static str;

/// Decides unit by unit; one per camera and connection.
#[derive(Debug)]
pub struct Gate {
    mode: DecodeMode,
    attention: Arc<Attention>,
    waiting: bool,
    /// Awake until then; always, in a mode that never idles.
    awake_until: Option<MonoMillis>,
    effort: Effort,
    sizes: Sizes,
    flow: Flow,
    /// The sizes of this stream have told of something that was tracked, and have missed nothing since. An encoder of which they
    /// tell nothing never proves itself, and its camera never idles.
    proven: bool,
    /// Of the last keyframe. Who has proven itself and comes back coded as before has done so.
    coding: Option<u64>,
    /// A keyframe of this connection showed a part of the picture only: others may, and cannot be looked at alone.
    piecewise: bool,
    held: Held,
    /// A keyframe among what is held, while something may have begun in front of it.
    doubt: Option<Doubt>,
    ready: Waiting,
    /// The decoder is behind on purpose: it was given what was held.
    catching_up: bool,
    /// Held units that were never needed, since the last look.
    idled: u64,
    woke: Option<WakeReason>,
}

/// A keyframe that waits until it is known whether what is held in front of it is needed.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Units in front of it.
    before: usize,
    /// Units to come until it is known.
    left: usize,
    /// When it began to wait, on the box's clock: it is looked at in time also where units come slowly, or none.
    since: MonoMillis,
    /// Longest time between two units up to it, milliseconds.
    silent_ms: i64,
}

/// A unit, and what idling did to it.
pub type Ready = (AccessUnit, Idled);

/// What an idle camera keeps, in order, and its size in bytes.
#[derive(Debug, Default)]
struct Held {
    units: Vec<AccessUnit>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, unit: AccessUnit) {
        self.bytes += unit.data.len();
        self.units.push(unit);
    }

    fn take(&mut self) -> Vec<AccessUnit> {
        self.bytes = 0;
        std::mem::take(&mut self.units)
    }

    /// The first so many go.
    fn forget(&mut self, first: usize) {
        let gone: usize = self.units.drain(..first).map(|u| u.data.len()).sum();
        self.bytes -= gone;
    }

    fn span_ms(&self) -> i64 {
        let ends = self.units.first().zip(self.units.last());
        ends.map_or(0, |(first, last)| last.time.mono.since(first.time.mono))
    }
}

/// What waits for the decoder, in order, and its size in bytes.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Ready>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, ready: Ready) {
        self.bytes += ready.0.data.len();
        self.queue.push_back(ready);
    }

    fn pop(&mut self) -> Option<Ready> {
        let ready = self.queue.pop_front()?;
        self.bytes -= ready.0.data.len();
        Some(ready)
    }

    fn put_back(&mut self, ready: Ready) {
        self.bytes += ready.0.data.len();
        self.queue.push_front(ready);
    }

    fn take(&mut self) -> VecDeque<Ready> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

/// What is known of the stream since the unit that was decoded last.
#[derive(Debug, Default)]
struct Flow {
    /// That unit, while nothing is missing since.
    decoded: Option<MonoMillis>,
    /// The latest unit.
    latest: Option<MonoMillis>,
    /// Longest time between two units, milliseconds.
    silent_ms: i64,
    skipped: bool,
}

impl Flow {
    fn see(&mut self, unit: MonoMillis) {
        let step = self.latest.replace(unit).map_or(0, |before| unit.since(before));
        self.silent_ms = self.silent_ms.max(step);
    }

    /// The unit is decoded; what was left out in front of it.
    fn decode(&mut self, unit: MonoMillis) -> Option<Lull> {
        let before = self.decoded.replace(unit).filter(|_| self.skipped);
        self.skipped = false;
        let silent_ms = std::mem::take(&mut self.silent_ms);
        before.map(|since| Lull { since, silent_ms })
    }
}

impl Gate {
    /// A closed gate: it opens at the first keyframe. It asks `attention`, and tells it when the camera idles.
    #[must_use]
    pub fn new(mode: DecodeMode, attention: Arc<Attention>) -> Self {
        attention.set_idle(false);
        Self {
            mode,
            attention,
            waiting: true,
            awake_until: None,
            effort: Effort::default(),
            sizes: Sizes::default(),
            flow: Flow::default(),
            proven: false,
            coding: None,
            piecewise: false,
            held: Held::default(),
            doubt: None,
            ready: Waiting::default(),
            catching_up: false,
            idled: 0,
            woke: None,
        }
    }

    /// Decides about the next unit; `now` is the box's monotonic clock. What is to be decoded comes out of
    /// [`Gate::take_ready`].
    pub fn offer(&mut self, unit: &AccessUnit, now: MonoMillis) -> Decision {
        let stirs = match self.mode {
            DecodeMode::Adaptive => self.stirs(unit),
            DecodeMode::Keyframes if unit.keyframe => self.stirs(unit),
            DecodeMode::Always | DecodeMode::Keyframes => false,
        };
        self.flow.see(unit.time.mono);
        if unit.keyframe {
            self.waiting = false;
        } else if self.waiting {
            return Decision::Skip(SkipReason::WaitingForKeyframe);
        }
        match self.mode {
            DecodeMode::Always => self.decode(unit),
            DecodeMode::Keyframes if unit.keyframe || self.piecewise => self.decode(unit),
            DecodeMode::Keyframes => {
                self.flow.skipped = true;
                Decision::Skip(SkipReason::NotAKeyframe)
            }
            DecodeMode::Adaptive => self.adapt(unit, now, stirs),
        }
    }

    /// Keyframes cost what they cost, but hold what is needed to read the others: nothing before the first counts.
    fn stirs(&mut self, unit: &AccessUnit) -> bool {
        let effort = self.effort.of(unit);
        if unit.keyframe {
            if self.effort.refers() && !std::mem::replace(&mut self.piecewise, true) {
                self.woke = Some(PIECEWISE);
            }
            let coding = self.effort.coding();
            let changed = self.coding.is_some() && self.coding != coding;
            self.coding = coding;
            self.proven = coding.is_some() && self.attention.proven() == coding || self.proven && !changed;
        }
        !unit.keyframe && !self.waiting && self.sizes.take(effort)
    }

    fn adapt(&mut self, unit: &AccessUnit, now: MonoMillis, stirs: bool) -> Decision {
        let wanted = self.attention.wanted(now);
        if wanted == Some(TRACK) && !unit.keyframe {
            self.prove(stirs);
        }
        let reason = wanted.or(self.piecewise.then_some(PIECEWISE)).or(stirs.then_some("stirs"));
        let reason = reason.or((!self.proven).then_some("unproven"));
        if let Some(reason) = reason {
            self.wake(now, reason);
        }
        let awake = self.awake_until.is_some_and(|until| now < until) || self.catching_up;
        if self.doubt.is_some_and(|d| d.left == 0 || unit.keyframe) {
            self.settle();
        }
        self.settle_late(now);
        if unit.keyframe && !awake && self.sizes.suspects() && !self.held.units.is_empty() {
            let silent_ms = std::mem::take(&mut self.flow.silent_ms);
            self.doubt = Some(Doubt { before: self.held.units.len(), left: TOGETHER, since: now, silent_ms });
            self.held.push(unit.clone());
            return Decision::Hold;
        }
        if unit.keyframe {
            // Without what is held, decoding goes on here.
            self.idled += self.held.take().len() as u64;
        }
        if awake || unit.keyframe {
            if !awake {
                self.sleep();
            }
            return self.decode(unit);
        }
        self.sleep();
        self.flow.skipped = true;
        self.held.push(unit.clone());
        if let Some(doubt) = &mut self.doubt {
            doubt.left -= 1;
        }
        if self.holds_too_much() {
            self.settle();
        }
        if self.holds_too_much() {
            self.woke = Some("long_group");
            self.release(false);
        }
        Decision::Hold
    }

    fn holds_too_much(&self) -> bool {
        self.held.span_ms() > HELD_MS || self.held.bytes > HELD_BYTES
    }

    /// Nothing stirred: the keyframe that waited is decoded, without what is held in front of it.
    fn settle(&mut self) {
        let Some(doubt) = self.doubt.take() else { return };
        self.held.forget(doubt.before);
        self.idled += doubt.before as u64;
        let Some(keyframe) = self.held.units.first().cloned() else { return };
        self.held.forget(1);
        let silent_since_ms = std::mem::replace(&mut self.flow.silent_ms, doubt.silent_ms);
        self.decode(&keyframe);
        self.flow.silent_ms = silent_since_ms;
        self.flow.skipped = !self.held.units.is_empty();
    }

    /// A keyframe that has waited long enough is decoded, whether units come or not. To be called now and then.
    pub fn settle_late(&mut self, now: MonoMillis) {
        if self.doubt.is_some_and(|d| now.since(d.since) > DOUBT_MS) {
            self.settle();
        }
    }

    /// Something moving is followed: did the sizes say so?
    fn prove(&mut self, stirs: bool) {
        if stirs && self.sizes.learnt() {
            self.proven = true;
        } else if !stirs && self.attention.is_idle() {
            self.proven = false;
        } else {
            return;
        }
        self.attention.set_proven(self.coding.filter(|_| self.proven));
    }

    fn wake(&mut self, now: MonoMillis, reason: WakeReason) {
        if self.awake_until.is_none() {
            self.woke = self.woke.filter(|r| *r == PIECEWISE).or(Some(reason));
            self.attention.set_idle(false);
            self.release(true);
        }
        self.awake_until = Some(MonoMillis(now.0 + AWAKE_MS));
    }

    fn sleep(&mut self) {
        if self.awake_until.take().is_some() || !self.attention.is_idle() {
            self.attention.set_idle(true);
        }
    }

    /// What is held goes to the decoder. `held`: the camera wakes for it.
    fn release(&mut self, held: bool) {
        if let Some(doubt) = self.doubt.take() {
            self.flow.silent_ms = self.flow.silent_ms.max(doubt.silent_ms);
        }
        for unit in self.held.take() {
            self.flow.skipped = false;
            self.flow.decode(unit.time.mono);
            self.ready.push((unit, Idled { lull: None, held }));
            self.catching_up = true;
        }
    }

    fn decode(&mut self, unit: &AccessUnit) -> Decision {
        let lull = self.flow.decode(unit.time.mono);
        self.ready.push((unit.clone(), Idled { lull, held: false }));
        Decision::Decode
    }

    /// The next unit for the decoder. One that it does not take is given back with [`Gate::put_back`].
    pub fn take_ready(&mut self) -> Option<Ready> {
        self.ready.pop()
    }

    /// The decoder has taken in all it was given. Before that a camera is not as far as its stream, though nothing is
    /// ready: the next unit would find no room, and one that is not waited for is given up with all up to a keyframe.
    pub fn drained(&mut self) {
        self.catching_up &= !self.ready.queue.is_empty();
    }

    /// The decoder is full. How many units are given up for that: none while it catches up and there is room to wait;
    /// else all, and the gate waits for a keyframe.
    pub fn put_back(&mut self, ready: Ready) -> u64 {
        if self.catching_up && self.ready.bytes + ready.0.data.len() <= READY_BYTES {
            self.ready.put_back(ready);
            return 0;
        }
        self.lost() + 1
    }

    /// Units are missing before the next one.
    pub fn gap(&mut self) {
        self.settle();
        self.waiting = true;
        self.sizes.gap();
        // Where keyframes alone are wanted, a missing unit that is none is no loss; a longer hole shows in its time.
        if self.mode != DecodeMode::Keyframes {
            self.flow.decoded = None;
        }
    }

    /// The decoder lost its references, or is another one: nothing goes to it before the next keyframe. How many units
    /// waited for it.
    pub fn lost(&mut self) -> u64 {
        self.doubt = None;
        self.gap();
        self.flow.decoded = None;
        self.catching_up = false;
        (self.ready.take().len() + self.held.take().len()) as u64
    }

    /// The decoder was given what was held, and is not through with it.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    /// Held units that nobody needed, since the last call.
    pub fn take_idled(&mut self) -> u64 {
        std::mem::take(&mut self.idled)
    }

    /// As if it had been given what was held.
    #[cfg(test)]
    pub fn catch_up(&mut self) {
        self.catching_up = true;
    }

    /// As if the sizes had told of something.
    #[cfg(test)]
    pub fn trust_sizes(&mut self) {
        self.proven = true;
    }

    /// Why the camera woke up, if it did since the last call.
    pub fn take_woke(&mut self) -> Option<WakeReason> {
        self.woke.take()
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
