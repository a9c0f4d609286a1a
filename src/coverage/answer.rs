//! From intervals as they were written to what may be said about a time: what was watched, what was not and why, and
//! whether anything happened.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BlindReason, Interval, Look, Span};
use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::event::EventId;
use crate::rules::{AreaId, RuleKind};

/// A time in which pictures were analysed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// When.
    #[serde(flatten)]
    pub span: Span,
    /// Longest time between two analysed pictures, milliseconds: what was shorter may have been missed.
    pub interval_ms: i64,
    /// Greatest part of the area that was not looked at (masks), 0..1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen: f32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(v: &f32) -> bool {
    *v == 0.0
}

/// A time in which none were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blind {
    /// When.
    #[serde(flatten)]
    pub span: Span,
    /// Why.
    pub reason: BlindReason,
}

/// The whole of a time, each moment in one of both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage {
    /// Watched, in order.
    pub watched: Vec<Watched>,
    /// Not watched, in order.
    pub blind: Vec<Blind>,
}

impl Coverage {
    /// Watched, milliseconds in all.
    #[must_use]
    pub fn watched_ms(&self) -> i64 {
        self.watched.iter().map(|w| w.span.ms()).sum()
    }

    /// Not watched, milliseconds in all.
    #[must_use]
    pub fn blind_ms(&self) -> i64 {
        self.blind.iter().map(|b| b.span.ms()).sum()
    }
}

/// Whether anything happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes: there are events. There may have been more while nobody looked, if there are blind times too.
    Yes,
    /// No: the whole time was watched and no rule reported anything.
    No,
    /// It cannot be said: nothing was reported, and part of the time was not watched.
    Blind,
}

/// An event of that place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happened {
    /// Id, equal in all its messages.
    pub id: EventId,
    /// Area or line.
    pub area: AreaId,
    /// What.
    pub rule: RuleKind,
    /// 1 to 4.
    pub severity: u8,
    /// When it began.
    pub start: UtcMillis,
    /// When it ended; `null` while it lasts.
    pub end: Option<UtcMillis>,
}

/// The answer to "did anything happen there, from then to then?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Camera.
    pub camera: CameraId,
    /// Area or line; `null` = all that the camera sees.
    pub area: Option<AreaId>,
    /// Begin of the time asked about.
    pub from: UtcMillis,
    /// Its end.
    pub to: UtcMillis,
    /// In a word.
    pub answer: Verdict,
    /// What happened, by begin.
    pub events: Vec<Happened>,
    /// There are more events than are listed.
    #[serde(default)]
    pub more_events: bool,
    /// When pictures were analysed.
    pub watched: Vec<Watched>,
    /// When not, and why.
    pub blind: Vec<Blind>,
    /// Watched part of the time asked about, milliseconds.
    pub watched_ms: i64,
    /// Part of it that was not watched, milliseconds.
    pub blind_ms: i64,
}

impl Answer {
    /// Puts together what is known.
    #[must_use]
    pub fn new(camera: CameraId, area: Option<AreaId>, asked: Span, events: Vec<Happened>, seen: Coverage) -> Self {
        let answer = match (events.is_empty(), seen.blind.is_empty()) {
            (false, _) => Verdict::Yes,
            (true, true) => Verdict::No,
            (true, false) => Verdict::Blind,
        };
        Self {
            camera,
            area,
            from: asked.from,
            to: asked.to,
            answer,
            events,
            more_events: false,
            watched_ms: seen.watched_ms(),
            blind_ms: seen.blind_ms(),
            watched: seen.watched,
            blind: seen.blind,
        }
    }
}

/// What one interval says of an area, or of the camera as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Watched { interval_ms: i64, unseen: f32 },
    Blind(BlindReason),
}

impl Said {
    fn of(interval: &Interval, area: Option<&AreaId>) -> Self {
        let view = match area {
            // What was not said may be of any of them.
            None => {
                interval.areas.values().find(|v| v.blind == Some(BlindReason::KeptBack)).copied().unwrap_or_default()
            }
            Some(area) => match interval.areas.get(area) {
                None => return Self::Blind(BlindReason::NotConfigured),
                Some(view) => *view,
            },
        };
        match (view.blind, interval.look) {
            (Some(reason), _) | (None, Look::Blind(reason)) => Self::Blind(reason),
            (None, Look::Watched { interval_ms, .. }) => Self::Watched { interval_ms, unseen: view.unseen },
        }
    }
}

/// Folds the intervals of one camera, in any order, into what may be said about `asked`. Nothing is known from `until`
/// on, whatever was watched under a clock that was ahead. Where intervals overlap, the clock was set back, or it turned out
/// that what was watched is worth nothing: the later word is the true one.
#[must_use]
pub fn fold(intervals: &[Interval], area: Option<&AreaId>, asked: Span, until: Option<UtcMillis>) -> Coverage {
    let mut sorted: Vec<&Interval> = intervals.iter().collect();
    sorted.sort_by_key(|i| (i.session, i.number));
    let known = Span { to: until.map_or(asked.to, |until| until.min(asked.to)), ..asked };
    let part = |i: &&Interval| Some((i.span.clipped(&known)?, Said::of(i, area)));
    let said: Vec<(Span, Said)> = sorted.iter().filter_map(part).collect();
    let mut marks: Vec<(UtcMillis, bool, usize)> =
        said.iter().enumerate().flat_map(|(i, (s, _))| [(s.from, true, i), (s.to, false, i)]).collect();
    marks.sort_unstable();
    let mut fold = Fold { said: &said, until, done: Coverage::default() };
    let (mut at, mut active) = (asked.from, BTreeSet::new());
    for (mark, begins, i) in marks {
        fold.add(Span { from: at, to: mark }, &active);
        at = mark;
        if begins {
            active.insert(i);
        } else {
            active.remove(&i);
        }
    }
    fold.add(Span { from: at, to: asked.to }, &active);
    fold.done
}

struct Fold<'a> {
    said: &'a [(Span, Said)],
    until: Option<UtcMillis>,
    done: Coverage,
}

impl Fold<'_> {
    /// The next piece of time, in which the intervals `active` hold.
    fn add(&mut self, span: Span, active: &BTreeSet<usize>) {
        if span.ms() <= 0 {
            return;
        }
        match (active.last().map(|&i| self.said[i].1), self.until) {
            (Some(Said::Watched { interval_ms, unseen }), _) => self.watched(Watched { span, interval_ms, unseen }),
            (Some(Said::Blind(reason)), _) => self.blind(span, reason),
            (None, Some(until)) => {
                self.unknown(span.clipped(&Span { to: until, ..span }), BlindReason::NoRecord);
                self.unknown(span.clipped(&Span { from: until, ..span }), BlindReason::NotYet);
            }
            (None, None) => self.blind(span, BlindReason::NoRecord),
        }
    }

    fn watched(&mut self, next: Watched) {
        match self.done.watched.last_mut().filter(|w| w.span.to == next.span.from) {
            Some(before) => {
                before.span.to = next.span.to;
                before.interval_ms = before.interval_ms.max(next.interval_ms);
                before.unseen = before.unseen.max(next.unseen);
            }
            None => self.done.watched.push(next),
        }
    }

    fn blind(&mut self, span: Span, reason: BlindReason) {
        match self.done.blind.last_mut().filter(|b| b.span.to == span.from && b.reason == reason) {
            Some(before) => before.span.to = span.to,
            None => self.done.blind.push(Blind { span, reason }),
        }
    }

    fn unknown(&mut self, span: Option<Span>, reason: BlindReason) {
        if let Some(span) = span {
            self.blind(span, reason);
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
