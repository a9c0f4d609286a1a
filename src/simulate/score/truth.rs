//! What really happened in a drill, worked out afterwards from the whole script by plain intervals: nothing here
//! follows frame by frame as the rules do.

use std::collections::BTreeMap;

use super::drills::{Drill, START};
use crate::config::{AreaConfig, LineConfig, LineDirection};
use crate::geometry::{CrossDirection, Point, Rect};
use crate::rules::RuleKind;
use crate::simulate::Renderer;
use crate::vision::Label;

/// Picture size of the drills.
pub const SIZE: (u32, u32) = (960, 540);
/// Samples of the script a second.
const RATE: u32 = 20;
/// Slower than this, metres a second, is standing.
const STANDING: f32 = 0.02;

/// One thing at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Thing.
    pub id: u32,
    /// Class.
    pub label: Label,
    /// Pixels, clipped.
    pub rect: Rect,
    /// Foot of the whole box, fractions.
    pub foot: Point,
    /// Metres.
    pub at: (f32, f32),
    /// Fraction hidden.
    pub occluded: f32,
}

/// One moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Seconds since the start.
    pub t: f64,
    /// Everything in the picture.
    pub objects: Vec<Seen>,
}

/// One event that should be reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Rule.
    pub rule: RuleKind,
    /// Area or line.
    pub area: String,
    /// Seconds.
    pub start: f64,
    /// Seconds; equals `start` for an instant.
    pub end: f64,
    /// When it could be said at the earliest.
    pub due: f64,
}

type Interval = (f64, f64);

/// The whole script at 20 moments a second.
///
/// # Errors
/// When the scene cannot be prepared for drawing.
pub fn samples(drill: &Drill) -> Result<Vec<Sample>, String> {
    let mut renderer = Renderer::new(drill.scene.clone(), SIZE)?;
    let moment = |i: u32| sample_at(&mut renderer, drill, f64::from(i) / f64::from(RATE));
    Ok((0..drill.seconds * RATE).map(moment).collect())
}

/// One moment. Open doors of a truck are a thing of their own, as a model with a class for them would see.
pub(super) fn sample_at(renderer: &mut Renderer, drill: &Drill, t: f64) -> Sample {
    let actors: BTreeMap<u32, _> = drill.scene.actors(t).into_iter().map(|a| (a.id, a)).collect();
    let mut objects = Vec::new();
    for o in renderer.truth(t, START).objects {
        let Some(actor) = actors.get(&o.id) else { continue };
        let foot = Point { x: o.foot.x / SIZE.0 as f32, y: o.foot.y / SIZE.1 as f32 };
        let seen =
            Seen { id: o.id, label: o.label.as_str().into(), rect: o.rect, foot, at: actor.at, occluded: o.occluded };
        if actor.open > 0.5 {
            objects.push(doors(&seen));
        }
        objects.push(seen);
    }
    Sample { t, objects }
}

fn doors(truck: &Seen) -> Seen {
    let r = truck.rect;
    let (half, top) = (r.width() / 8.0, r.y1 - r.height() / 2.0);
    let middle = r.center().x;
    let rect = Rect { x0: middle - half, y0: top, x1: middle + half, y1: r.y1 };
    Seen { id: truck.id + 1000, label: "open_doors".into(), rect, ..truck.clone() }
}

/// Every event that should be reported.
#[must_use]
pub fn truth(drill: &Drill, samples: &[Sample]) -> Vec<Happened> {
    let mut all = Vec::new();
    for area in &drill.camera.areas {
        all.extend(of_area(drill, area, samples));
    }
    for line in &drill.camera.lines {
        all.extend(of_line(drill, line, samples));
    }
    all.sort_by(|a, b| a.start.total_cmp(&b.start));
    all
}

/// A thing's stays in an area.
struct Stay {
    id: u32,
    label: Label,
    inside: Interval,
    /// It was there and outside afterwards; else it vanished.
    left: bool,
}

fn stays(area: &AreaConfig, samples: &[Sample]) -> Vec<Stay> {
    let mut open: BTreeMap<u32, Stay> = BTreeMap::new();
    let mut done: Vec<Stay> = Vec::new();
    for sample in samples {
        for o in &sample.objects {
            if area.polygon.contains(o.foot) {
                let fresh = || Stay { id: o.id, label: o.label.clone(), inside: (sample.t, sample.t), left: false };
                open.entry(o.id).or_insert_with(fresh).inside.1 = sample.t;
            } else if let Some(stay) = open.remove(&o.id) {
                done.push(Stay { inside: (stay.inside.0, sample.t), left: true, ..stay });
            }
        }
        let here = |id: &u32| sample.objects.iter().any(|o| o.id == *id);
        let vanished: Vec<u32> = open.keys().filter(|id| !here(id)).copied().collect();
        done.extend(vanished.iter().filter_map(|id| open.remove(id)));
    }
    done.extend(open.into_values());
    done.retain(|s| s.inside.1 - s.inside.0 >= f64::from(area.settle_ms) / 1000.0);
    done.sort_by(|a, b| a.inside.0.total_cmp(&b.inside.0));
    done
}

fn of(stays: &[Stay], classes: &[Label]) -> Vec<Interval> {
    stays.iter().filter(|s| classes.is_empty() || classes.contains(&s.label)).map(|s| s.inside).collect()
}

/// Touching intervals, and those at most `gap` apart, as one.
fn union(mut list: Vec<Interval>, gap: f64) -> Vec<Interval> {
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out: Vec<Interval> = Vec::new();
    for (from, to) in list {
        match out.last_mut() {
            Some(last) if from - last.1 <= gap => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

fn within(list: &[Interval], windows: &[Interval]) -> Vec<Interval> {
    let cut = |a: &Interval| {
        let a = *a;
        windows.iter().map(move |w| (a.0.max(w.0), a.1.min(w.1))).filter(|i| i.1 > i.0)
    };
    list.iter().flat_map(cut).collect()
}

/// The times at which none of the windows holds.
fn outside(windows: &[Interval], end: f64) -> Vec<Interval> {
    let mut out = Vec::new();
    let mut from = 0.0;
    for w in windows {
        out.push((from, w.0));
        from = w.1;
    }
    out.push((from, end));
    out.retain(|i| i.1 > i.0);
    out
}

/// Times at which more than `limit` of the intervals hold.
fn crowded(list: &[Interval], limit: usize, samples: &[Sample]) -> Vec<Interval> {
    let over = |t: f64| list.iter().filter(|i| i.0 <= t && t < i.1).count() > limit;
    let step = 1.0 / f64::from(RATE);
    let moments = samples.iter().filter(|s| over(s.t)).map(|s| (s.t, s.t + step)).collect();
    union(moments, step / 2.0)
}

/// When each thing stood still.
fn standing(id: u32, samples: &[Sample]) -> Vec<Interval> {
    let place = |s: &Sample| s.objects.iter().find(|o| o.id == id).map(|o| o.at);
    let pairs = samples.windows(2).filter_map(|w| {
        let (a, b) = (place(&w[0])?, place(&w[1])?);
        let speed = (b.0 - a.0).hypot(b.1 - a.1) * RATE as f32;
        (speed < STANDING).then_some((w[0].t, w[1].t))
    });
    union(pairs.collect(), 0.01)
}

/// What a rule of an area should tell: when it held, and how long before it is due, seconds.
type Due = (RuleKind, Vec<Interval>, f64);

fn of_area(drill: &Drill, area: &AreaConfig, samples: &[Sample]) -> Vec<Happened> {
    let stays = stays(area, samples);
    let mut due = of_presence(drill, area, &stays, samples);
    due.extend(of_bay(drill, area, &stays));
    due.extend(of_inspection(drill, area, &stays));
    due.extend(of_objects(drill, area, &stays, samples));
    let name = &area.id.0;
    let long = due.into_iter().flat_map(|(rule, held, after)| {
        let long = held.into_iter().filter(move |i| i.1 - i.0 >= after);
        long.map(move |i| Happened { rule, area: name.clone(), start: i.0, end: i.1, due: i.0 + after })
    });
    let wrong = area.bay.as_ref().zip(drill.windows.wrong).and_then(|(rule, at)| {
        let (start, end) = union(of(&stays, &rule.classes), 0.0).into_iter().find(|i| i.0 <= at && at <= i.1)?;
        Some(Happened { rule: RuleKind::BayWrongVehicle, area: name.clone(), start, end, due: at })
    });
    long.chain(wrong).collect()
}

fn of_presence(drill: &Drill, area: &AreaConfig, stays: &[Stay], samples: &[Sample]) -> Vec<Due> {
    let counted = of(stays, &area.classes);
    let mut all = Vec::new();
    if area.enter.is_some() {
        all.push((RuleKind::Enter, counted.clone(), 0.0));
    }
    if area.exit.is_some() {
        let left = stays.iter().filter(|s| s.left).map(|s| (s.inside.1, s.inside.1));
        all.push((RuleKind::Exit, left.collect(), 0.0));
    }
    if let Some(rule) = &area.dwell {
        all.push((RuleKind::Dwell, counted.clone(), rule.limit_s));
    }
    if area.restricted.is_some() {
        all.push((RuleKind::Restricted, union(within(&counted, &drill.windows.closed), 10.0), 0.0));
    }
    if let Some(rule) = &area.occupancy {
        all.push((RuleKind::Occupancy, crowded(&counted, rule.limit as usize, samples), rule.after_s));
    }
    if let Some(rule) = &area.stopped {
        all.push((RuleKind::Stopped, stood(stays, &rule.classes, samples), rule.after_s));
    }
    all
}

fn of_bay(drill: &Drill, area: &AreaConfig, stays: &[Stay]) -> Vec<Due> {
    let Some(rule) = &area.bay else { return Vec::new() };
    let used = union(of(stays, &rule.classes), 0.0);
    let used: Vec<Interval> = used.into_iter().filter(|i| i.1 - i.0 >= rule.after_s).collect();
    let left = used.iter().map(|i| (i.1, i.1)).collect();
    let mut all = vec![(RuleKind::BayOccupied, used.clone(), rule.after_s), (RuleKind::BayEmpty, left, 0.0)];
    if area.unbooked.is_some() {
        let free = outside(&drill.windows.booked, f64::from(drill.seconds));
        // From the begin of a use on it is said when the use is; what was booked before is said at once.
        let unbooked = within(&used, &free).into_iter();
        let (first, later) = unbooked.partition(|i| used.iter().any(|u| u.0 == i.0));
        all.push((RuleKind::BayUnbooked, first, rule.after_s));
        all.push((RuleKind::BayUnbooked, later, 0.0));
    }
    all
}

fn of_inspection(drill: &Drill, area: &AreaConfig, stays: &[Stay]) -> Vec<Due> {
    let free = outside(&drill.windows.inspection, f64::from(drill.seconds));
    let without = |classes: &[Label]| union(within(&of(stays, classes), &free), 10.0);
    let person = area.person_without_inspection.as_ref();
    let opened = area.opened_without_inspection.as_ref();
    let person = person.map(|r| (RuleKind::PersonWithoutInspection, without(&r.classes), r.after_s));
    person
        .into_iter()
        .chain(opened.map(|r| (RuleKind::OpenedWithoutInspection, without(&r.classes), r.after_s)))
        .collect()
}

fn of_objects(drill: &Drill, area: &AreaConfig, stays: &[Stay], samples: &[Sample]) -> Vec<Due> {
    let mut all = Vec::new();
    if let Some(rule) = &area.object_left {
        let new = stood(stays, &rule.classes, samples).into_iter().filter(|i| i.0 > 2.0);
        all.push((RuleKind::ObjectLeft, new.collect(), rule.after_s));
    }
    if let Some(rule) = &area.object_removed {
        let end = f64::from(drill.seconds);
        let stood = stood(stays, &rule.classes, samples).into_iter();
        let gone = stood.filter(|i| i.1 - i.0 >= rule.after_s && end - i.1 > rule.after_s).map(|i| (i.1, i.1));
        all.push((RuleKind::ObjectRemoved, gone.collect(), 0.0));
    }
    all
}

/// When things of these classes stood still inside.
fn stood(stays: &[Stay], classes: &[Label], samples: &[Sample]) -> Vec<Interval> {
    let things = stays.iter().filter(|s| classes.contains(&s.label));
    things.flat_map(|s| within(&standing(s.id, samples), &[s.inside])).collect()
}

fn of_line(drill: &Drill, line: &LineConfig, samples: &[Sample]) -> Vec<Happened> {
    let mut crossings: Vec<(f64, CrossDirection)> = Vec::new();
    let mut last: BTreeMap<u32, Point> = BTreeMap::new();
    for sample in samples {
        for o in &sample.objects {
            let before = last.insert(o.id, o.foot);
            let crossed = before.and_then(|b| line.points.crossed_by(b, o.foot));
            crossings.extend(crossed.map(|d| (sample.t, d)));
        }
    }
    let instant = |rule: RuleKind, t: f64| Happened { rule, area: line.id.0.clone(), start: t, end: t, due: t };
    let forward = |d: CrossDirection| match line.direction {
        LineDirection::Both => true,
        LineDirection::LeftToRight => d == CrossDirection::LeftToRight,
        LineDirection::RightToLeft => d == CrossDirection::RightToLeft,
    };
    let mut all = Vec::new();
    let mut before: Option<f64> = None;
    for (t, direction) in crossings {
        if !forward(direction) {
            all.extend(line.wrong_way.as_ref().map(|_| instant(RuleKind::WrongWay, t)));
            continue;
        }
        let leaving = drill.windows.leaving.iter().find(|w| w.0 <= t && t < w.1).map(|w| w.2);
        all.push(instant(leaving.unwrap_or(RuleKind::LineCross), t));
        if let (Some(rule), Some(b)) = (&line.tailgating, before)
            && t - b <= rule.within_s
        {
            all.push(instant(RuleKind::Tailgating, t));
        }
        before = Some(t);
    }
    all
}
