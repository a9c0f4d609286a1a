//! One situation is one event: of several tracks that break the same rule in the same area at once, or soon after each
//! other, the first makes the event, the others are counted in `suppressed`. It ends when the last of them is over and
//! nobody came back for a while; the end time is still that of the last one. What stands where it is, an opened container,
//! is a situation of its own place: another one beside it is another event. An area that is too full, and soon again, is one
//! situation.

use std::collections::BTreeMap;

use super::draft::ended;
use super::presence::Sight;
use super::{AreaEvent, EndReason, Phase, RuleKind, renamed};
use crate::clock::MonoMillis;
use crate::customs::Answer;
use crate::geometry::Rect;
use crate::track::TrackId;

/// Boxes whose middles are this many of the larger one's larger sides apart at most are of one thing that is open: both
/// doors of a container, or a door lost and found again. Containers stand further apart than one is high.
const ONE_THING: f32 = 1.0;

/// Whether tracks share one event of this rule. Rules about single vehicles do not: each vehicle matters.
fn is_grouped(rule: RuleKind) -> bool {
    matches!(
        rule,
        RuleKind::Restricted
            | RuleKind::PersonWithoutInspection
            | RuleKind::OpenedWithoutInspection
            | RuleKind::Occupancy
    )
}

/// All groups of one camera.
#[derive(Debug)]
pub(super) struct Groups {
    gap_ms: i64,
    /// By their begin.
    open: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    /// The first report, whose key all reports of the group have.
    first: AreaEvent,
    began: MonoMillis,
    /// Reports of the tracks that are in it now.
    members: BTreeMap<u64, AreaEvent>,
    suppressed: u32,
    /// The highest so far: who does not know any more has not heard better.
    severity: u8,
    /// The greatest so far.
    count: Option<u32>,
    answer: Option<Answer>,
    jumped: bool,
    /// The last member's end, on both clocks, while somebody may come back.
    over: Option<(AreaEvent, MonoMillis)>,
}

impl Groups {
    pub fn new(gap_ms: i64) -> Self {
        Self { gap_ms, open: Vec::new() }
    }

    /// Takes what the rules said after a frame; answers what is to be said.
    pub fn step(&mut self, events: Vec<AreaEvent>, now: Sight) -> Vec<AreaEvent> {
        let mut said: Vec<AreaEvent> = events.into_iter().filter_map(|e| self.take(e)).collect();
        let waiting =
            |g: &Group| g.over.as_ref().is_none_or(|(end, at)| !g.is_final(end) && now.mono.since(*at) < self.gap_ms);
        said.extend(self.open.extract_if(.., |g| !waiting(g)).filter_map(Group::finish));
        said
    }

    /// These two tracks exchanged their names, before the frame that is taken next: whom a report is about goes with the
    /// thing.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        self.open.iter_mut().for_each(|g| g.exchange(names));
    }

    /// The camera or the process is over, with these last reports of the rules.
    pub fn close(&mut self, events: Vec<AreaEvent>) -> Vec<AreaEvent> {
        let taken = events.into_iter().filter_map(|e| self.take(e));
        let mut said: Vec<AreaEvent> = taken.filter(|e| !e.quiet).collect();
        said.extend(std::mem::take(&mut self.open).into_iter().filter_map(Group::finish));
        said
    }

    fn take(&mut self, event: AreaEvent) -> Option<AreaEvent> {
        if !is_grouped(event.rule) {
            return Some(event);
        }
        if event.phase == Phase::New {
            if let Some(group) = self.open.iter_mut().find(|g| g.takes(&event)) {
                return Some(group.join(event));
            }
            self.open.push(Group::begin(&event));
            return Some(event);
        }
        let group = self.open.iter_mut().find(|g| g.members.contains_key(&event.key))?;
        if event.phase == Phase::Update { group.update(event) } else { group.leave(event) }
    }
}

impl Group {
    fn begin(event: &AreaEvent) -> Self {
        Self {
            first: event.clone(),
            began: began(event),
            members: BTreeMap::from([(event.key, event.clone())]),
            suppressed: 0,
            severity: event.severity,
            count: event.count,
            answer: event.check.as_ref().map(|c| c.answer),
            jumped: event.jumped,
            over: None,
        }
    }

    /// Whether a new report is of this situation.
    fn takes(&self, event: &AreaEvent) -> bool {
        if (self.first.rule, &self.first.area) != (event.rule, &event.area) {
            return false;
        }
        let mut reports = self.members.values().chain(self.over.as_ref().map(|(end, _)| end));
        event.rule != RuleKind::OpenedWithoutInspection || reports.any(|r| is_one_thing(&r.rect, &event.rect))
    }

    fn exchange(&mut self, names: (TrackId, TrackId)) {
        let over = self.over.as_mut().map(|(end, _)| end);
        for report in self.members.values_mut().chain(over).chain([&mut self.first]) {
            report.jumped |= renamed(&mut report.track, names);
            self.jumped |= report.jumped;
        }
    }

    /// Another track, or the same thing again.
    fn join(&mut self, event: AreaEvent) -> AreaEvent {
        self.suppressed += 1;
        self.jumped |= event.jumped;
        self.over = None;
        self.members.insert(event.key, event.clone());
        if self.is_news(&event) {
            self.first.track = event.track;
            return self.said(AreaEvent { phase: Phase::Update, ..event });
        }
        let shown = self.members.values().find(|m| m.track == self.first.track).unwrap_or(&event).clone();
        self.first.track = shown.track;
        self.said(AreaEvent { phase: Phase::Update, quiet: true, ..shown })
    }

    /// A change that matters is said once for all members.
    fn update(&mut self, event: AreaEvent) -> Option<AreaEvent> {
        self.is_news(&event).then(|| self.said(event))
    }

    /// Whether there are more than was said, or customs answer something else; from then on it is so for all members.
    fn is_news(&mut self, event: &AreaEvent) -> bool {
        let is_more = event.count > self.count;
        self.count = self.count.max(event.count);
        self.severity = self.severity.max(event.severity);
        let answer = event.check.as_ref().map(|c| c.answer);
        let news = std::mem::replace(&mut self.answer, answer) != answer;
        if news {
            for member in self.members.values_mut() {
                member.check.clone_from(&event.check);
                member.severity = event.severity;
            }
        }
        news || is_more
    }

    fn leave(&mut self, event: AreaEvent) -> Option<AreaEvent> {
        let member = self.members.remove(&event.key)?;
        self.jumped |= event.jumped;
        let Some(other) = self.members.values().next().cloned() else {
            let ended = MonoMillis(began(&member).0 + event.dwell_ms.unwrap_or(0));
            self.over = Some((event, ended));
            return None;
        };
        if member.track != self.first.track {
            return None;
        }
        self.first.track = other.track;
        Some(self.said(AreaEvent { phase: Phase::Update, quiet: true, ..other }))
    }

    /// Nobody can come back into a situation that is resolved, or when nobody looks.
    fn is_final(&self, end: &AreaEvent) -> bool {
        !matches!(end.end_reason, Some(EndReason::Observed | EndReason::TrackLost))
    }

    fn finish(mut self) -> Option<AreaEvent> {
        let (last, at) = self.over.take()?;
        let dwell_ms = at.since(self.began);
        let end = last.end.map(|end| ended(self.first.start, end, dwell_ms));
        Some(AreaEvent { dwell_ms: Some(dwell_ms), end, ..self.said(last) })
    }

    /// A member's report as the group's.
    fn said(&self, event: AreaEvent) -> AreaEvent {
        AreaEvent {
            key: self.first.key,
            start: self.first.start,
            dwell_ms: Some(event.mono.since(self.began)),
            suppressed: self.suppressed,
            severity: self.severity,
            count: self.count,
            jumped: self.jumped,
            ..event
        }
    }
}

/// Whether two boxes at different times are so near each other that they are of one thing, or of parts of it.
fn is_one_thing(a: &Rect, b: &Rect) -> bool {
    let size = |r: &Rect| r.width().max(r.height()).max(1.0);
    let (p, q) = (a.center(), b.center());
    (p.x - q.x).hypot(p.y - q.y) <= ONE_THING * size(a).max(size(b))
}

/// When a report's situation began.
fn began(event: &AreaEvent) -> MonoMillis {
    MonoMillis(event.mono.0 - event.dwell_ms.unwrap_or(0))
}
