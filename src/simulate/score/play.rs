//! A drill played through tracker, rules and life of events, as the agent does, with the true boxes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::drills::{Drill, START};
use super::facts::Facts;
use super::interval_ms;
use super::truth::{SIZE, Sample, Seen};
use crate::camera::{Frame, OwnedI420};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::config::{EventsConfig, RegisterConfig, SiteConfig, TrackerConfig};
use crate::customs::{Checks, Register, RegisterSnapshot, link};
use crate::event::lifecycle::{Linker, Moment, RegisterView};
use crate::event::message::ModelRef;
use crate::event::{EventMessage, Finding, Lifecycle, LifecycleContext, Zone};
use crate::geometry::Rect;
use crate::ids::IdSource;
use crate::rules::{AreaRules, EndReason};
use crate::simulate::space::Rng;
use crate::track::{Track, TrackId, Tracker};
use crate::vision::Detection;

/// Hidden by more than this a thing is not seen.
const HIDDEN: f32 = 0.7;
/// Seconds between two exchanges of names.
const SWAP_EVERY_S: (f32, f32) = (8.0, 20.0);
/// Seconds between two false boxes, and how long one stands.
const FALSE_EVERY_S: (f32, f32) = (20.0, 40.0);
const FALSE_FOR_S: (f32, f32) = (1.0, 2.0);
/// Share of the vehicles that are seen as two boxes all along.
const DOUBLED: f32 = 0.05;

/// How the boxes are spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoil {
    /// Only every nth picture is analysed.
    pub nth: u32,
    /// Boxes tremble by some 2 % of their size, one in twenty is missed, a false one stands for 1 to 2 s every half a minute,
    /// one vehicle in twenty is two boxes, scores vary.
    pub noise: bool,
    /// Now and then two tracks exchange their names.
    pub swaps: bool,
    /// Same seed, same spoiling.
    pub seed: u64,
}

/// What came of a drill.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// All messages, in order.
    pub messages: Vec<EventMessage>,
    /// Seconds at which two tracks exchanged their names.
    pub swaps: Vec<f64>,
}

struct Player<'a> {
    drill: &'a Drill,
    config: RegisterConfig,
    register: Register,
    facts: Facts<'a>,
    tracker: Tracker,
    rules: AreaRules,
    life: Lifecycle,
    planes: Arc<OwnedI420>,
    rng: Rng,
    spoil: Spoil,
    renamed: BTreeMap<TrackId, TrackId>,
    swaps: Vec<f64>,
    next_swap: f64,
    /// Of the drill's own swaps so many were done.
    forced: usize,
    /// The next false box, or the present one: from when, until when, where.
    ghost: (f64, f64, Rect),
}

/// Plays a drill. At the end the camera is lost.
///
/// # Errors
/// When a feed of the drill cannot be read.
pub fn play(drill: &Drill, samples: &[Sample], spoil: Spoil) -> anyhow::Result<Outcome> {
    let mut player = Player::new(drill, spoil)?;
    let step_s = interval_ms(spoil.nth) as f64 / 1000.0;
    let (mut messages, mut number) = (Vec::new(), 0_u64);
    for sample in samples {
        if sample.t + 1e-9 >= number as f64 * step_s {
            messages.extend(player.see(sample, number)?);
            number += 1;
        }
    }
    let swaps = std::mem::take(&mut player.swaps);
    messages.extend(player.close(number));
    Ok(Outcome { messages, swaps })
}

impl<'a> Player<'a> {
    fn new(drill: &'a Drill, spoil: Spoil) -> anyhow::Result<Self> {
        let (site, events) = (SiteConfig::default(), EventsConfig::default());
        let zone = Zone::new(&site.time_zone)?;
        let context = LifecycleContext {
            site,
            camera: drill.camera.clone(),
            events: events.clone(),
            model: ModelRef { name: "truth".into(), sha256: "0".repeat(64) },
            config_digest: "0".repeat(16),
            ids: IdSource::counted(2),
        };
        let register = Register::default();
        register.apply_all(Vec::new(), Some(START));
        let mut rng = Rng(spoil.seed);
        let (next_swap, ghost) = (f64::from(rng.range(SWAP_EVERY_S.0, SWAP_EVERY_S.1)), ghost(&mut rng, 0.0));
        Ok(Self {
            drill,
            config: RegisterConfig { grace_before_s: 0, grace_after_s: 0, ..RegisterConfig::default() },
            register,
            facts: Facts::of(drill),
            tracker: Tracker::new(TrackerConfig::default(), IdSource::counted(1)),
            rules: AreaRules::new(&drill.camera, &zone, &events),
            life: Lifecycle::new(context)?,
            planes: Arc::new(OwnedI420::filled(SIZE.0, SIZE.1, 120, 128, 128)),
            rng,
            spoil,
            renamed: BTreeMap::new(),
            swaps: Vec::new(),
            next_swap,
            forced: 0,
            ghost,
        })
    }

    fn see(&mut self, sample: &Sample, number: u64) -> anyhow::Result<Vec<EventMessage>> {
        self.facts.feed(&self.register, &self.config, sample.t)?;
        let frame = self.frame(sample.t, number);
        let detections = self.detections(sample);
        let mut tracks = self.tracker.update(frame.time, &detections).to_vec();
        if self.spoil.swaps {
            self.swap(sample.t, &mut tracks);
        }
        let register = self.register.snapshot();
        let checks = Checks { register: &register, config: &self.config, now: frame.time.utc, uncertainty_ms: 0 };
        let said = self.rules.update(SIZE, frame.time, &tracks, &checks);
        self.life.exchange(self.rules.exchanged());
        let linker = linker(&register, &self.config, frame.time.utc);
        let view = RegisterView { link: &linker, version: register.version };
        let moment = Moment { frame: &frame, tracks: &tracks, received: frame.time.mono, now: frame.time.utc };
        Ok(self.life.step(&moment, said, &view).into_iter().map(message).collect())
    }

    fn close(mut self, number: u64) -> Vec<EventMessage> {
        let now = START.plus_ms(i64::from(self.drill.seconds) * 1000);
        let register = self.register.snapshot();
        let checks = Checks { register: &register, config: &self.config, now, uncertainty_ms: 0 };
        let said = self.rules.close_all(EndReason::CameraLost, &checks);
        let linker = linker(&register, &self.config, now);
        let view = RegisterView { link: &linker, version: register.version };
        let received = MonoMillis(i64::try_from(number).unwrap_or(i64::MAX));
        self.life.close(said, &view, received, now).into_iter().map(message).collect()
    }

    fn frame(&self, t: f64, number: u64) -> Frame {
        Frame { number, ..Frame::made(self.drill.camera.id.clone(), time(t), (SIZE.0, SIZE.1), self.planes.clone()) }
    }

    fn detections(&mut self, sample: &Sample) -> Vec<Detection> {
        let visible = sample.objects.iter().filter(|o| o.occluded <= HIDDEN && o.rect.area() > 64.0);
        let mut found: Vec<Detection> = visible.map(|o| Detection::whole(o.label.clone(), 0.9, o.rect)).collect();
        if self.spoil.noise {
            let (drill, seed) = (self.drill.name, self.spoil.seed);
            let doubled = sample.objects.iter().filter(|o| o.occluded <= HIDDEN && is_doubled(drill, o, seed));
            found.extend(doubled.map(|o| Detection::whole(o.label.clone(), 0.9, front(&o.rect))));
            let rng = &mut self.rng;
            found.retain(|_| !rng.chance(0.05));
            for d in &mut found {
                d.rect = tremble(rng, d.rect);
                d.score = rng.range(0.45, 0.95);
            }
            if sample.t >= self.ghost.1 {
                self.ghost = ghost(rng, sample.t);
            }
            let (from, _, rect) = self.ghost;
            found.extend((sample.t >= from).then(|| Detection::whole("person".into(), 0.5, rect)));
        }
        found
    }

    /// Renames tracks; every now and then the names of two that are seen are exchanged.
    fn swap(&mut self, t: f64, tracks: &mut [Track]) {
        let seen: Vec<&Track> = tracks.iter().filter(|t| t.matched && t.confirmed).collect();
        let of = |class: &str| seen.iter().find(|t| t.label.as_str() == class).map(|t| t.id);
        let due = self.drill.swaps.get(self.forced).filter(|(at, _)| t >= *at);
        if let Some((a, b)) = due.and_then(|(_, [a, b])| of(a).zip(of(b))) {
            self.forced += 1;
            self.exchange(t, a, b);
        } else if t >= self.next_swap && seen.len() >= 2 {
            self.next_swap = t + f64::from(self.rng.range(SWAP_EVERY_S.0, SWAP_EVERY_S.1));
            let first = self.rng.below(seen.len());
            let other = (first + 1 + self.rng.below(seen.len() - 1)) % seen.len();
            let (a, b) = (seen[first].id, seen[other].id);
            self.exchange(t, a, b);
        }
        for track in tracks {
            track.id = self.renamed.get(&track.id).copied().unwrap_or(track.id);
        }
    }

    fn exchange(&mut self, t: f64, a: TrackId, b: TrackId) {
        self.swaps.push(t);
        let name = |id: &TrackId| self.renamed.get(id).copied().unwrap_or(*id);
        let (name_a, name_b) = (name(&a), name(&b));
        self.renamed.insert(a, name_b);
        self.renamed.insert(b, name_a);
    }
}

/// A false box after `t` seconds: from when, until when, where.
fn ghost(rng: &mut Rng, t: f64) -> (f64, f64, Rect) {
    let from = t + f64::from(rng.range(FALSE_EVERY_S.0, FALSE_EVERY_S.1));
    let until = from + f64::from(rng.range(FALSE_FOR_S.0, FALSE_FOR_S.1));
    let (x, y) = (rng.range(0.0, SIZE.0 as f32 - 60.0), rng.range(200.0, SIZE.1 as f32 - 80.0));
    (from, until, Rect { x0: x, y0: y, x1: x + 50.0, y1: y + 70.0 })
}

/// Whether a vehicle is seen as two boxes, all along. Each drill numbers its things from the start: its name is a part of
/// the draw, or the same numbers would be doubled in all.
fn is_doubled(drill: &str, o: &Seen, seed: u64) -> bool {
    let is_vehicle = matches!(o.label.as_str(), "car" | "bus" | "truck");
    let drawn = drill.bytes().map(u64::from).chain([u64::from(o.id)]);
    let mixed = drawn.fold(seed, |mixed, next| mixed.wrapping_mul(0x51_7C_C1).wrapping_add(next));
    is_vehicle && Rng(mixed).chance(DOUBLED)
}

/// The second box of such a vehicle: its cab.
fn front(r: &Rect) -> Rect {
    Rect { x0: r.x1 - 0.4 * r.width(), y0: r.y0 + 0.2 * r.height(), ..*r }
}

fn tremble(rng: &mut Rng, r: Rect) -> Rect {
    // The sum of three is bell-shaped enough, with a deviation of 0.02.
    let mut by = |size: f32| (0..3).map(|_| rng.range(-0.02, 0.02)).sum::<f32>() * size;
    let (w, h) = (r.width(), r.height());
    Rect { x0: r.x0 + by(w), y0: r.y0 + by(h), x1: r.x1 + by(w), y1: r.y1 + by(h) }
}

#[expect(clippy::cast_possible_truncation, reason = "drills last minutes")]
fn time(t: f64) -> FrameTime {
    let ms = (t * 1000.0).round() as i64;
    FrameTime::of_file(START.plus_ms(ms), MonoMillis(ms))
}

fn message(finding: Finding) -> EventMessage {
    finding.event
}

fn linker<'r>(register: &'r RegisterSnapshot, config: &'r RegisterConfig, now: UtcMillis) -> Box<Linker<'r>> {
    Box::new(move |sought| link(register, sought, now, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;

    #[test]
    fn one_vehicle_in_twenty_is_doubled_and_others_in_each_drill() {
        let rect = Rect { x0: 0.0, y0: 0.0, x1: 9.0, y1: 9.0 };
        let (foot, at) = (Point { x: 0.0, y: 0.0 }, (0.0, 0.0));
        let car = |id: u32| Seen { id, label: "car".into(), rect, foot, at, occluded: 0.0 };
        let doubled = |drill: &str| -> Vec<(u64, u32)> {
            let all = (0..100).flat_map(|seed| (1..=20).map(move |id| (seed, id)));
            all.filter(|(seed, id)| is_doubled(drill, &car(*id), *seed)).collect()
        };
        let (gate, bay) = (doubled("gate"), doubled("bay"));
        let share = |n: usize| n as f32 / 2000.0;
        assert!([&gate, &bay].iter().all(|d| (share(d.len()) - DOUBLED).abs() < 0.02), "{} {}", gate.len(), bay.len());
        let both = gate.iter().filter(|car| bay.contains(car)).count();
        assert!(share(both) < 0.02, "{both} of {} are doubled in both", gate.len());
    }
}
