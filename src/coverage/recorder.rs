//! Turns analysed pictures and the state of a camera into intervals, as they happen. One recorder a camera.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{AreaViews, BlindReason, CoverageSummary, Interval, Look, Span, Tolerated};
use crate::camera::{CameraId, CameraState, Lull};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::rules::AreaId;

/// After a reason that is sure, another that is only likely must hold this long, milliseconds: the first picture after a
/// reconnection needs a moment.
const SETTLE_MS: i64 = 5000;
/// So long after it is noticed a gap may turn out to be another one than it seemed, milliseconds.
const FIRST_SIGNS_MS: i64 = 2500;
/// Health looks at some of the pictures, by a clock that may differ from the camera's by 2.5 s: what it finds wrong was so up to
/// this long before, milliseconds, or as long as pictures were apart.
const UNSURE_MS: i64 = 3000;
/// Cameras whose clocks are believed may be ahead of ours by this, milliseconds, and a little.
pub const AHEAD_MS: i64 = 5000;
const HOUR_MS: i64 = 3_600_000;
/// Complete intervals kept in memory while they cannot be written.
const MAX_UNSAVED: usize = 4096;

/// What a camera does, as seen about once a second.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// What the camera says of itself.
    pub state: CameraState,
    /// Units received so far.
    pub received: u64,
    /// Pictures decoded so far.
    pub decoded: u64,
    /// Its worker has no working model.
    pub model_failed: bool,
    /// Since when its pictures show nothing that counts, by its own health.
    pub unfit_since: Option<UtcMillis>,
}

/// Why nothing is analysed, and whether that is known or only guessed while the camera counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cause {
    reason: BlindReason,
    sure: bool,
}

/// The intervals of one camera in the making.
#[derive(Debug)]
pub struct Recorder {
    // injected
    tolerated: Tolerated,
    // own state
    open: Interval,
    /// The areas as they are seen, whatever was kept back of them.
    seen: Arc<AreaViews>,
    /// The latest analysed picture.
    last: Option<(MonoMillis, UtcMillis)>,
    /// Why, if pictures fail to come now.
    likely: Cause,
    /// Whether the reason of the open gap is sure.
    sure: bool,
    /// Since when another reason than that of the open gap is likely.
    doubted: Option<MonoMillis>,
    counters: (u64, u64),
    /// Since when its pictures show nothing that counts: what is analysed is not watched.
    unfit_since: Option<UtcMillis>,
    /// How far pictures were apart in the latest watch that is complete, milliseconds.
    apart_ms: i64,
    /// Where words of earlier runs end that lie in the time to come.
    ahead: Vec<UtcMillis>,
    /// Complete gaps of this run in time of which those speak.
    contested: Vec<Interval>,
    /// No gap is of a time before: earlier runs were right about it.
    known: UtcMillis,
    /// Complete and not yet written.
    closed: Vec<Interval>,
    /// Highest number that was written.
    written: i64,
    /// Watched and complete, not older than an hour.
    hour: VecDeque<Span>,
}

impl Recorder {
    /// A recorder that has seen nothing. Blind since `from`: the last word of the run before, or now.
    #[must_use]
    pub fn new(camera: CameraId, session: i64, tolerated: Tolerated, areas: Arc<AreaViews>, from: UtcMillis) -> Self {
        let cause = Cause { reason: BlindReason::Restart, sure: true };
        let (span, look) = (Span { from, to: from }, Look::Blind(cause.reason));
        Self {
            tolerated,
            seen: Arc::clone(&areas),
            open: Interval { camera, session, number: 1, span, look, areas },
            last: None,
            likely: cause,
            sure: true,
            doubted: None,
            counters: (0, 0),
            unfit_since: None,
            apart_ms: 0,
            ahead: Vec::new(),
            contested: Vec::new(),
            known: UtcMillis(i64::MIN),
            closed: Vec::new(),
            written: 0,
            hour: VecDeque::new(),
        }
    }

    /// What was watched in the hour before the start, for the summary.
    pub fn remember(&mut self, watched: impl IntoIterator<Item = Span>) {
        self.hour.extend(watched);
    }

    /// Where words of earlier runs end that lie in the time to come: the clock was ahead then, or is behind now.
    pub fn doubt(&mut self, ends: Vec<UtcMillis>) {
        self.ahead = ends;
    }

    /// The run began at `at`, by what the clock says now. Where it was behind then and was set right, what earlier runs said was not
    /// of the time to come: no gap of this run is of a time before its end.
    pub fn began(&mut self, at: UtcMillis) {
        let Some(known) = self.ahead.iter().copied().filter(|end| end.since(at) <= AHEAD_MS).max() else { return };
        self.ahead.retain(|end| end.since(at) > AHEAD_MS);
        self.known = known.min(at);
        for gap in &mut self.contested {
            gap.span.from = gap.span.from.max(self.known.min(gap.span.to));
        }
        self.closed.retain(|i| self.contested.iter().all(|gap| gap.number != i.number));
        // Those without length too: they may be written longer.
        self.closed.extend(self.contested.iter().cloned());
        if matches!(self.open.look, Look::Blind(_)) {
            let span = &mut self.open.span;
            span.from = span.from.max(self.known);
            span.to = span.to.max(span.from);
        }
    }

    /// A picture was analysed, with these areas in view. `lull`: what was left out in front of it.
    pub fn analysed(&mut self, time: &FrameTime, lull: Option<Lull>, areas: &Arc<AreaViews>) {
        let step = self.last.map(|(mono, utc)| (time.mono.since(mono), time.utc.since(utc)));
        let tolerated_ms = self.last.map_or(0, |(mono, _)| self.tolerated_ms(mono, lull));
        self.last = Some((time.mono, time.utc));
        if self.unfit_since.is_some() {
            self.seen = Arc::clone(areas);
            if self.open.look != Look::Blind(BlindReason::Health) {
                self.turn(time.utc, Look::Blind(BlindReason::Health));
                (self.sure, self.doubted) = (true, None);
            }
            return;
        }
        let (Look::Watched { interval_ms, pictures }, Some((mono_ms, utc_ms))) = (&mut self.open.look, step) else {
            self.begin(time.utc, areas);
            return;
        };
        let pause_ms = mono_ms.max(utc_ms);
        let same_areas = Arc::ptr_eq(areas, &self.seen) || **areas == *self.seen;
        if utc_ms >= 0 && pause_ms <= tolerated_ms && same_areas {
            *interval_ms = pause_ms.max(*interval_ms);
            *pictures += 1;
            self.open.span.to = time.utc;
            return;
        }
        if utc_ms > 0 {
            let reason = match () {
                () if mono_ms > tolerated_ms => self.likely.reason,
                () if utc_ms > tolerated_ms => BlindReason::Clock,
                // The picture is another one than before.
                () => BlindReason::Signal,
            };
            let from = self.open.span.to;
            self.turn(from, Look::Blind(reason));
        }
        self.begin(time.utc, areas);
    }

    /// Of these areas something was seen since then, up to the picture analysed last, and is not said. Nobody may say of that
    /// time that nothing happened there.
    pub fn kept_back(&mut self, unsaid: &BTreeMap<AreaId, UtcMillis>) {
        if unsaid.is_empty() && Arc::ptr_eq(&self.open.areas, &self.seen) {
            return;
        }
        let to = self.open.span.to;
        let (before, with_new) = (Arc::clone(&self.open.areas), marked(&self.open.areas, unsaid));
        let new = unsaid.iter().filter(|(area, _)| before.get(*area) != with_new.get(*area)).map(|(_, since)| *since);
        self.split(new.min().unwrap_or(to), with_new);
        // What is no longer kept back was so up to this picture.
        self.split(to, marked(&self.seen, unsaid));
    }

    /// What is watched is seen like this since `from`.
    fn split(&mut self, from: UtcMillis, areas: Arc<AreaViews>) {
        let Look::Watched { interval_ms, .. } = self.open.look else { return };
        if *areas == *self.open.areas {
            return;
        }
        let to = self.open.span.to;
        self.open.span.to = from.clamp(self.open.span.from, to);
        self.turn(self.open.span.to, Look::Watched { interval_ms, pictures: 1 });
        (self.open.span.to, self.open.areas) = (to, areas);
    }

    /// How long a pause since the picture analysed at `last` is no gap. A long one is none where the stream went on all the
    /// while and all of it that was to be decoded was looked at.
    fn tolerated_ms(&self, last: MonoMillis, lull: Option<Lull>) -> i64 {
        let Tolerated { any_ms, lull_ms } = self.tolerated;
        let on_purpose = lull.is_some_and(|l| l.silent_ms <= any_ms && l.since.since(last) <= any_ms);
        if on_purpose { lull_ms } else { any_ms }
    }

    /// Looks at the camera; `now` and `mono` are the box's clocks.
    pub fn look(&mut self, now: UtcMillis, mono: MonoMillis, situation: &Situation) {
        self.likely = self.cause(situation);
        self.counters = (situation.received, situation.decoded);
        let earlier = situation.unfit_since.filter(|since| self.unfit_since.is_none_or(|known| *since < known));
        self.unfit_since = situation.unfit_since;
        if let (Look::Blind(reason), Some(since)) = (self.open.look, earlier) {
            self.disown_before(reason, since.plus_ms(-self.apart_ms.max(UNSURE_MS)));
        }
        match (self.open.look, situation.unfit_since) {
            (Look::Watched { interval_ms, .. }, Some(since)) => {
                self.disown(since.plus_ms(-interval_ms.max(UNSURE_MS)));
                self.extend(now);
            }
            (Look::Watched { .. }, None) => {
                let Some((last, utc)) = self.last else { return };
                // Where the reason is known there is nothing to wait for.
                let tolerated_ms = if self.likely.sure { self.tolerated.any_ms } else { self.tolerated.lull_ms };
                if mono.since(last) > tolerated_ms {
                    // The counters still tell of the time before.
                    let reason = if self.likely.sure { self.likely.reason } else { BlindReason::Stall };
                    self.turn(utc, Look::Blind(reason));
                    (self.sure, self.doubted) = (self.likely.sure, None);
                    self.extend(now);
                }
            }
            // Until the next picture may be expected it is still for that.
            (Look::Blind(BlindReason::Health), unfit)
                if !self.likely.sure
                    && (unfit.is_some()
                        || self.last.is_some_and(|(last, _)| mono.since(last) <= self.tolerated.lull_ms)) =>
            {
                self.extend(now);
            }
            (Look::Blind(reason), _) => {
                self.extend(now);
                self.reconsider(reason, now, mono);
            }
        }
        let before = now.plus_ms(-HOUR_MS);
        self.hour.retain(|s| s.to > before);
    }

    /// What has to be written: complete intervals, and the newest as far as it is known.
    #[must_use]
    pub fn unsaved(&self) -> Vec<Interval> {
        let all = self.closed.iter().chain([&self.open]);
        // An interval without length says nothing, unless it was written longer before.
        all.filter(|i| i.span.ms() > 0 || i.number <= self.written).cloned().collect()
    }

    /// These, as [`Recorder::unsaved`] gave them, are written.
    pub fn saved(&mut self, intervals: &[Interval]) {
        let same = intervals.iter().zip(&self.closed).take_while(|(a, b)| a == b).count();
        // One that was open then and is complete now stays.
        self.closed.drain(..same);
        self.written = intervals.iter().map(|i| i.number).fold(self.written, i64::max);
    }

    /// What the camera's state says of it.
    #[must_use]
    pub fn summary(&self, now: UtcMillis) -> CoverageSummary {
        let hour = Span { from: now.plus_ms(-HOUR_MS), to: now };
        let open = matches!(self.open.look, Look::Watched { .. }).then_some(self.open.span);
        let parts = self.hour.iter().copied().chain(open).filter_map(|s| s.clipped(&hour));
        #[expect(clippy::cast_precision_loss, reason = "an hour has few milliseconds")]
        let share = union_ms(parts.collect()) as f64 / HOUR_MS as f64;
        let (reason, interval_ms) = match self.open.look {
            Look::Watched { interval_ms, .. } => (None, Some(interval_ms)),
            Look::Blind(reason) => (Some(reason), None),
        };
        let (watched, since) = (reason.is_none(), self.open.span.from);
        CoverageSummary { watched, since, reason, interval_ms, last_hour: (share * 100.0).floor() / 100.0 }
    }

    fn begin(&mut self, at: UtcMillis, areas: &Arc<AreaViews>) {
        self.seen = Arc::clone(areas);
        self.turn(at, Look::Watched { interval_ms: 0, pictures: 1 });
    }

    /// Ends the open interval, a gap at `at`, and opens the next there.
    fn turn(&mut self, at: UtcMillis, look: Look) {
        let mut done = self.open.clone();
        match done.look {
            Look::Watched { interval_ms, .. } => {
                self.hour.push_back(done.span);
                self.apart_ms = interval_ms;
            }
            Look::Blind(_) => {
                done.span.to = at.max(done.span.from);
                self.contest(&done);
            }
        }
        let from = if matches!(look, Look::Blind(_)) { at.max(self.known) } else { at };
        self.open.number += 1;
        (self.open.span, self.open.look) = (Span { from, to: from }, look);
        self.open.areas = Arc::clone(&self.seen);
        if done.span.ms() > 0 || done.number <= self.written {
            self.closed.push(done);
        }
        if self.closed.len() > MAX_UNSAVED {
            // A store that refuses for so long: of these nothing will be known, which is true.
            self.closed.remove(0);
        }
    }

    /// Remembers a gap that may have to be taken back.
    fn contest(&mut self, gap: &Interval) {
        if self.contested.len() < MAX_UNSAVED && self.ahead.iter().any(|end| *end > gap.span.from) {
            self.contested.push(gap.clone());
        }
    }

    /// What was watched since then showed nothing that counts. What is written of it already is outdone by the later word.
    fn disown(&mut self, from: UtcMillis) {
        // Nothing was analysed after the last picture either: no time is left without a word.
        let from = from.min(self.open.span.to);
        let span = &mut self.open.span;
        span.to = from.clamp(span.from, span.to);
        self.hour.iter_mut().for_each(|s| s.to = from.clamp(s.from, s.to));
        self.turn(from, Look::Blind(BlindReason::Health));
        (self.sure, self.doubted) = (true, None);
    }

    /// The same of what was watched before the open gap, which goes on for its own reason.
    fn disown_before(&mut self, reason: BlindReason, from: UtcMillis) {
        let Span { from: began, to } = self.open.span;
        if from >= began {
            return;
        }
        let certainty = (self.sure, self.doubted);
        self.disown(from);
        self.turn(began, Look::Blind(reason));
        self.open.span.to = to;
        (self.sure, self.doubted) = certainty;
    }

    fn extend(&mut self, now: UtcMillis) {
        self.open.span.to = now.max(self.open.span.from);
    }

    /// A gap goes on: is its reason still the same?
    fn reconsider(&mut self, reason: BlindReason, now: UtcMillis, mono: MonoMillis) {
        let likely = self.likely;
        let is_new = self.open.span.ms() <= self.tolerated.lull_ms + FIRST_SIGNS_MS;
        if !self.sure && !likely.sure && reason == BlindReason::Stall && is_new {
            self.open.look = Look::Blind(likely.reason);
        } else if likely.reason == reason || (!self.sure && !likely.sure) {
            self.sure |= likely.reason == reason && likely.sure;
            self.doubted = None;
        } else if !self.sure && reason != BlindReason::Overload {
            // Missing pictures were the first sign of what is known now.
            self.open.look = Look::Blind(likely.reason);
            self.sure = true;
        } else if likely.sure || mono.since(*self.doubted.get_or_insert(mono)) >= SETTLE_MS {
            self.turn(now, Look::Blind(likely.reason));
            (self.sure, self.doubted) = (likely.sure, None);
        }
    }

    fn cause(&self, s: &Situation) -> Cause {
        let sure = |reason| Cause { reason, sure: true };
        let guess = |reason| Cause { reason, sure: false };
        match s.state {
            CameraState::Lost | CameraState::Refused | CameraState::Stopped => sure(BlindReason::Signal),
            CameraState::Stalled => sure(BlindReason::Stall),
            _ if s.model_failed => sure(BlindReason::ModelFailed),
            CameraState::Connecting if self.last.is_none() => sure(BlindReason::Restart),
            CameraState::Connecting => sure(BlindReason::Signal),
            CameraState::Running if s.decoded != self.counters.1 => guess(BlindReason::Overload),
            CameraState::Running if s.received != self.counters.0 => guess(BlindReason::Decode),
            CameraState::Running => guess(BlindReason::Stall),
        }
    }
}

/// The areas with those marked of which something was kept back.
fn marked(areas: &Arc<AreaViews>, unsaid: &BTreeMap<AreaId, UtcMillis>) -> Arc<AreaViews> {
    let mut areas = Arc::clone(areas);
    for area in unsaid.keys() {
        if let Some(view) = Arc::make_mut(&mut areas).get_mut(area).filter(|v| v.blind.is_none()) {
            view.blind = Some(BlindReason::KeptBack);
        }
    }
    areas
}

/// Length of all spans together, what is common counted once.
fn union_ms(mut spans: Vec<Span>) -> i64 {
    spans.sort_by_key(|s| s.from);
    let mut until = UtcMillis(i64::MIN);
    let mut sum = 0;
    for s in spans {
        let from = s.from.max(until);
        sum += s.to.since(from).max(0);
        until = until.max(s.to);
    }
    sum
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
