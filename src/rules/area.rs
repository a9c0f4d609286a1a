//! One area with its rules: the state of a track at it, and the state of the area as a whole.

use super::Schedule;
use super::bay::Bay;
use super::crowd::{Crowd, Picture};
use super::draft::{Draft, Keys};
use super::held::{Condition, Held, Onset, Terms};
use super::inspection::{self, WithoutInspection};
use super::object_left::ObjectLeft;
use super::object_removed::ObjectRemoved;
use super::occupancy::Occupancy;
use super::presence::{Presence, Sight, Standing};
use super::restricted;
use super::still::Still;
use super::{EndReason, dwell, enter, exit, stopped};
use crate::config::{AreaConfig, FilterConfig};
use crate::customs::Checks;
use crate::event::Zone;
use crate::geometry::Rect;
use crate::track::{Track, TrackId};
use crate::vision::Label;

/// An area as configured, with what follows from that.
#[derive(Debug)]
pub(super) struct Area {
    pub config: AreaConfig,
    schedule: Option<Schedule>,
}

impl Area {
    pub fn new(config: &AreaConfig, zone: &Zone) -> Self {
        let schedule = config.restricted.as_ref().map(|r| Schedule::new(zone.clone(), &r.closed));
        Self { config: config.clone(), schedule }
    }
}

/// Who stands there: the same for all rules of an area.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub label: &'a Label,
    /// Confirmed, and of a size and score that count.
    pub counts: bool,
    pub still: &'a Still,
}

impl Who<'_> {
    fn is_of(self, classes: &[Label], names: &Names) -> bool {
        self.counts && (classes.is_empty() || classes.contains(self.label) || names.are_of(classes))
    }
}

/// A thing that was called something for so long, milliseconds, remains that until it has left: votes turn.
const NAMED_MS: i64 = 2000;

/// What a thing was called during its stay.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    now: Option<(Label, Sight)>,
    kept: Vec<Label>,
}

impl Names {
    /// Takes what it is called now, and whether it is inside.
    pub fn see(&mut self, label: &Label, standing: &Standing, now: Sight) {
        match standing {
            Standing::Outside => *self = Self::default(),
            Standing::Left(_) => {}
            Standing::Inside { .. } => match &self.now {
                Some((name, since)) if name == label => {
                    if now.mono.since(since.mono) >= NAMED_MS && !self.kept.contains(label) {
                        self.kept.push(label.clone());
                    }
                }
                _ => self.now = Some((label.clone(), now)),
            },
        }
    }

    /// Those it was called long enough.
    pub fn kept(&self) -> &[Label] {
        &self.kept
    }

    fn are_of(&self, classes: &[Label]) -> bool {
        self.kept.iter().any(|name| classes.contains(name))
    }
}

/// Whether all filters about the track's class let it pass, in a picture of this height.
pub(super) fn passes(filters: &[FilterConfig], track: &Track, height: u32) -> bool {
    let share = track.rect.height() / height.max(1) as f32;
    filters
        .iter()
        .filter(|f| f.class.as_ref().is_none_or(|c| *c == track.label))
        .all(|f| track.median_score >= f.min_score && (f.min_height..=f.max_height).contains(&share))
}

/// State of one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct AtArea {
    pub presence: Presence,
    /// Its size and score counted at the latest sight before it began to leave.
    pub passes: bool,
    pub names: Names,
    enter: Held,
    dwell: Held,
    stopped: Held,
    restricted: Held,
    closed: Onset,
    person: WithoutInspection,
    opened: WithoutInspection,
}

impl AtArea {
    /// What all rules about single tracks say at one sight.
    pub fn judge(
        &mut self,
        area: &Area,
        standing: &Standing,
        now: Sight,
        who: Who<'_>,
        checks: &Checks<'_>,
        keys: &mut Keys,
    ) -> Vec<Draft> {
        let config = &area.config;
        let counts = who.is_of(&config.classes, &self.names);
        let inside = match standing {
            Standing::Inside { entered, .. } => Condition::Since(*entered),
            _ => Condition::Over(now, EndReason::Observed),
        };
        let mut drafts = Vec::new();
        let mut stay = |held: &mut Held, terms: Terms, condition: &Condition, counts: bool| {
            drafts.extend(held.step(standing, now, counts, terms, (condition, None), keys));
        };
        if let Some(rule) = &config.enter {
            stay(&mut self.enter, enter::terms(rule), &inside, counts);
        }
        if let Some(rule) = &config.dwell {
            stay(&mut self.dwell, dwell::terms(rule), &inside, counts);
        }
        if let Some(rule) = &config.stopped {
            stay(
                &mut self.stopped,
                stopped::terms(rule),
                &stopped::condition(who.still),
                who.is_of(&rule.classes, &self.names),
            );
        }
        if let (Some(rule), Some(schedule)) = (&config.restricted, &area.schedule) {
            let closed = self.closed.see(standing, schedule.holds(now.utc), now);
            stay(&mut self.restricted, restricted::terms(rule), &closed, counts);
        }
        drafts.extend(self.judge_inspection(config, standing, now, who, checks, keys));
        if let Some(rule) = &config.exit {
            drafts.extend(exit::step(standing, now, counts, rule, keys));
        }
        drafts
    }

    fn judge_inspection(
        &mut self,
        config: &AreaConfig,
        standing: &Standing,
        now: Sight,
        who: Who<'_>,
        checks: &Checks<'_>,
        keys: &mut Keys,
    ) -> Vec<Draft> {
        let (person, opened) = (&config.person_without_inspection, &config.opened_without_inspection);
        if (person.is_none() && opened.is_none()) || *standing == Standing::Outside {
            return Vec::new();
        }
        let inspection = checks.inspection_open(&config.id);
        let mut drafts = Vec::new();
        if let Some(rule) = person {
            let terms = inspection::person_terms(rule);
            let counts = who.is_of(&rule.classes, &self.names);
            drafts.extend(self.person.step(standing, now, counts, terms, &inspection, keys));
        }
        if let Some(rule) = opened {
            let terms = inspection::opened_terms(rule);
            // A state, no thing: what was open is closed once it is called otherwise.
            let counts = who.is_of(&rule.classes, &Names::default());
            drafts.extend(self.opened.step(standing, now, counts, terms, &inspection, keys));
        }
        drafts
    }

    /// The track, camera or process is over: what lasts ends at the last sight.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Vec<Draft> {
        let held = [&mut self.enter, &mut self.dwell, &mut self.stopped, &mut self.restricted];
        let mut drafts: Vec<Draft> = held.into_iter().filter_map(|h| h.cut(last, reason)).collect();
        drafts.extend(self.person.cut(last, reason));
        drafts.extend(self.opened.cut(last, reason));
        drafts
    }
}

/// Who a report about a whole area names.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// A track.
    Track(TrackId),
    /// A thing at its place, as it was last seen: its track may be long over.
    Thing { track: TrackId, label: Label, rect: Rect, score: f32 },
}

/// State of one area as a whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    occupancy: Occupancy,
    bay: Bay,
    left: ObjectLeft,
    removed: ObjectRemoved,
}

impl Whole {
    /// What the rules about the area say after a frame.
    pub fn step(
        &mut self,
        config: &AreaConfig,
        crowd: &Crowd,
        picture: &Picture,
        now: Sight,
        checks: &Checks<'_>,
        keys: &mut Keys,
    ) -> Vec<(Named, Draft)> {
        let mut reports = Vec::new();
        if let Some(rule) = &config.occupancy {
            let classes = if rule.classes.is_empty() { &config.classes } else { &rule.classes };
            let report = self.occupancy.step(&crowd.of(classes), now, rule, keys);
            reports.extend(report.map(|(track, draft)| (Named::Track(track), draft)));
        }
        if let Some(rule) = &config.bay {
            let booked = || checks.booked(&config.id);
            let rules = (rule, config.unbooked.as_ref());
            let right = |since| checks.right_vehicle(&config.id, since);
            let drafts = self.bay.step(&crowd.of(&rule.classes), now, rules, (&booked, &right), keys);
            reports.extend(drafts.into_iter().map(|(track, draft)| (Named::Track(track), draft)));
        }
        let mut things = Vec::new();
        if let Some(rule) = &config.object_left {
            things.extend(self.left.step(&crowd.called(&rule.classes), picture, now, rule, keys));
        }
        if let Some(rule) = &config.object_removed {
            things.extend(self.removed.step(&crowd.called(&rule.classes), picture, now, rule, keys));
        }
        reports.extend(things.into_iter().map(thing));
        reports
    }

    /// These two tracks exchanged their names. Things at their places are found again by their places.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        self.occupancy.exchange(names);
        self.bay.exchange(names);
    }

    /// The camera or the process is over since `last`.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Vec<(Named, Draft)> {
        let tracks = self.occupancy.cut(last, reason).into_iter().chain(self.bay.cut(last, last, reason));
        let mut reports: Vec<_> = tracks.map(|(track, draft)| (Named::Track(track), draft)).collect();
        reports.extend(self.left.cut(reason).into_iter().map(thing));
        self.removed.cut();
        reports
    }
}

fn thing((spot, draft): (super::spots::Spot, Draft)) -> (Named, Draft) {
    (Named::Thing { track: spot.track, label: spot.label, rect: spot.rect, score: spot.score }, draft)
}
