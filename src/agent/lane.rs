//! One camera's way from a frame to findings: regions, detector, tracker, rules, life of events. Only the camera's
//! analysis worker (or `replay`) touches it. No clock and no I/O of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget::{Allowance, Demand, Looked, Meter};
use crate::camera::{Attention, Frame, TRACK};
use crate::clock::{MonoMillis, UtcMillis};
use crate::config::{
    AnalysisConfig, AreaConfig, CameraConfig, Config, DecodeMode, FilterConfig, LineConfig, RegisterConfig, are_known,
    vehicles,
};
use crate::coverage::AreaViews;
use crate::coverage::areas::views;
use crate::customs::{Booking, BookingState, Checks, RegisterSnapshot, link};
use crate::event::lifecycle::{Lifecycle, LifecycleContext, Linker, Moment, RegisterView};
use crate::event::message::ModelRef;
use crate::event::zone::UnknownZone;
use crate::event::{Finding, Zone};
use crate::geometry::{Line, Polygon, Rect};
use crate::ids::IdSource;
use crate::rules::{AreaId, AreaRules, EndReason, Masks, Schedule};
use crate::track::{Rest, Track, Tracker};
use crate::vision::Label;
use crate::vision::detector::{Detect, DetectorError};
use crate::vision::motion::Motion;
use crate::vision::regions::{PlanLimits, Region, bounds_of, plan};

/// Severity that is looked at last when something must be given up.
const CRITICAL: u8 = 4;
/// Share of the configured interval that a picture may come early and is due.
const EARLY: f32 = 0.1;
/// Every picture is asked for so long after the last reason, milliseconds.
const ATTENTION_MS: i64 = 3000;
/// A vehicle is expected from so long before the start of its booking to so long after, milliseconds.
const DUE_BEFORE_MS: i64 = 120_000;
const DUE_AFTER_MS: i64 = 600_000;

/// What all lanes of a process share.
#[derive(Debug, Clone)]
pub struct LaneContext {
    /// The configuration in force.
    pub config: Config,
    /// Its digest, 16 hex digits.
    pub config_digest: String,
    /// The model that detects.
    pub model: ModelRef,
    /// Size of the model's input, pixels.
    pub input: (u32, u32),
}

/// State of one camera's analysis.
pub struct Lane {
    // injected
    camera: CameraConfig,
    register: RegisterConfig,
    /// Between two looks as configured, milliseconds.
    interval_ms: f32,
    /// Some rule has severity 4.
    critical: bool,
    analysis: AnalysisConfig,
    /// Classes of the model; `None` while none was there.
    known: Option<Vec<Label>>,
    input: (u32, u32),
    /// What is cut off is looked at more widely from this score on.
    wide_score: f32,
    watched: Vec<Rect>,

    // own state
    regions: Regions,
    /// How the areas are seen in these regions.
    areas: Arc<AreaViews>,
    /// How often and how wide its worker lets it look.
    allowed: Allowance,
    tracker: Tracker,
    masks: Masks,
    rules: AreaRules,
    lifecycle: Lifecycle,
    rest: Rest,
    motion: Motion,
    /// The camera's, where its decoding is adaptive; and whether it idled at the last picture.
    attention: Option<Arc<Attention>>,
    idled: bool,
    /// When the camera is wanted in full whatever it shows; `None` without such times.
    awake: Option<Schedule>,
    /// Why every picture is needed.
    needs: Option<&'static str>,
    last: Option<(MonoMillis, UtcMillis)>,
    /// Pixels of the last frame.
    size: Option<(u32, u32)>,
    /// Share of the last picture that its largest tracked thing covers.
    filled: f32,
    /// Regions that the last picture asked for beside the planned ones.
    asked_wider: usize,
}

/// Room around what is cut off by a region, fraction of its larger side: about as much again may be hidden.
const CUT_ROOM: f32 = 0.6;
/// Around what is known whole but does not fit, which moves on until the next picture: small detectors find both ends of what
/// fills some two thirds of a region, and of a truck that fills five sixths of it the trailer alone.
const WHOLE_ROOM: f32 = 0.35;
/// What is known moves on until the next picture by so much of its larger side at most.
const MOVED: f32 = 0.2;
/// Where its foot may be is taken wider by this, of its width: its whole should be known before it arrives.
const FOOT_ROOM: f32 = 0.5;
/// Boxes end up to this far from the border that cuts them off, pixels.
const NEAR: f32 = 2.0;
/// Regions looked at beside the planned ones, for what is larger than those.
const MAX_WIDER: usize = 2;

/// Regions for the picture size they were planned for.
#[derive(Default)]
struct Regions {
    size: (u32, u32),
    /// All that are looked at: the planned ones, then those of the next picture alone, around what the planned ones cut off.
    /// A thing's foot is the middle of its box, and that of a part is somewhere else.
    all: Vec<Region>,
    planned: usize,
}

impl Regions {
    /// As boxes in fractions of the picture.
    fn fractions(&self) -> Vec<Rect> {
        let (w, h) = (self.size.0.max(1) as f32, self.size.1.max(1) as f32);
        self.planned().iter().map(|r| r.rect().scaled(1.0 / w, 1.0 / h)).collect()
    }
}

impl Regions {
    fn planned(&self) -> &[Region] {
        &self.all[..self.planned]
    }

    /// How many there are beside the planned ones.
    fn wider(&self) -> usize {
        self.all.len() - self.planned
    }

    /// Looks wider at what a planned region sees a part of: boxes that it cuts off, and things found whole that reach
    /// out of it. Only where that may matter: whose foot is nowhere near anything `watched` (boxes in fractions), whatever is hidden of
    /// it, is nobody that a rule asks about.
    fn widen(&mut self, cut: &[Rect], tracks: &[Track], watched: &[Rect], limits: &PlanLimits) {
        let known = tracks.iter().filter(|t| t.matched && self.reaches_out(&t.rect));
        let cut = cut.iter().filter(|r| self.reaches_out(r));
        let boxes = cut.map(|r| (*r, CUT_ROOM)).chain(known.map(|t| (t.rect, WHOLE_ROOM)));
        let (w, h) = (self.size.0.max(1) as f32, self.size.1.max(1) as f32);
        let watched: Vec<Rect> = watched.iter().map(|b| b.scaled(w, h)).collect();
        let boxes = boxes.filter(|(r, _)| watched.iter().any(|b| touch(b, &self.feet(r))));
        let fractions = |(r, room): (Rect, f32)| {
            let room = r.width().max(r.height()) * room;
            let wide = Rect { x0: r.x0 - room, y0: r.y0 - room, x1: r.x1 + room, y1: r.y1 + room };
            let wide = Rect { x0: wide.x0.max(0.0), y0: wide.y0.max(0.0), x1: wide.x1.min(w), y1: wide.y1.min(h) };
            Rect { x0: wide.x0 / w, y0: wide.y0 / h, x1: wide.x1 / w, y1: wide.y1 / h }
        };
        let boxes: Vec<Rect> = boxes.map(fractions).collect();
        let limits = PlanLimits { margin: 0.0, max_regions: MAX_WIDER, ..*limits };
        self.all.truncate(self.planned);
        if !boxes.is_empty() {
            self.all.extend(plan(&boxes, &limits));
        }
    }

    /// Where the foot of a thing may be that planned regions see parts of: as far as they see it, with as much hidden as may be.
    fn feet(&self, r: &Rect) -> Rect {
        let (w, h, side) = (self.size.0 as f32, self.size.1 as f32, r.width().max(r.height()));
        let (hidden, moved) = (side * CUT_ROOM, side * MOVED);
        let beside = moved + r.width() * FOOT_ROOM;
        let behind = |is_cut: bool| if is_cut { hidden } else { 0.0 };
        let mut feet = vec![r.foot()];
        for b in self.planned().iter().map(Region::rect) {
            let part = b.intersection(r);
            if part.area() > 0.0 {
                let whole = Rect {
                    x0: part.x0 - behind(b.x0 > 0.0 && part.x0 <= b.x0 + NEAR),
                    y0: part.y0,
                    x1: part.x1 + behind(b.x1 < w && part.x1 >= b.x1 - NEAR),
                    y1: part.y1 + behind(b.y1 < h && part.y1 >= b.y1 - NEAR),
                };
                feet.extend([part.foot(), whole.foot()]);
            }
        }
        let Rect { x0, y0, x1, y1 } = Rect::around(&feet).unwrap_or(*r);
        Rect { x0: x0 - beside, y0: y0 - moved, x1: x1 + beside, y1: y1 + moved }
    }

    /// Some planned region sees a part of it, and none sees all.
    fn reaches_out(&self, r: &Rect) -> bool {
        let (mut touched, mut whole) = (false, false);
        for region in self.planned() {
            let b = region.rect();
            let (w, h) = (self.size.0 as f32, self.size.1 as f32);
            touched |= b.intersection(r).area() > 0.0;
            whole |= (b.x0 <= 0.0 || r.x0 > b.x0 + NEAR)
                && (b.y0 <= 0.0 || r.y0 > b.y0 + NEAR)
                && (b.x1 >= w || r.x1 < b.x1 - NEAR)
                && (b.y1 >= h || r.y1 < b.y1 - NEAR);
        }
        touched && !whole
    }
}

impl Lane {
    /// A lane that has seen nothing.
    ///
    /// # Errors
    /// When the site's time zone does not exist.
    pub fn new(context: &LaneContext, camera: &CameraConfig, ids: &IdSource) -> Result<Self, UnknownZone> {
        let config = &context.config;
        let interval_ms = (1000.0 / config.analysis.fps).round();
        let zone = Zone::new(&config.site.time_zone)?;
        let severities = camera.areas.iter().map(AreaConfig::highest_severity);
        let critical = severities.chain(camera.lines.iter().map(LineConfig::highest_severity)).any(|s| s >= CRITICAL);
        Ok(Self {
            camera: camera.clone(),
            register: config.register.clone(),
            interval_ms,
            critical,
            allowed: Allowance { interval_ms, wider: true },
            analysis: config.analysis.clone(),
            input: context.input,
            wide_score: config.detector.min_score,
            watched: watched(camera),
            regions: Regions::default(),
            areas: Arc::new(views(camera, None, None)),
            known: None,
            tracker: Tracker::new(config.tracker.clone(), ids.clone()).with_minimum(&config.detector),
            masks: Masks::new(camera),
            rules: AreaRules::new(camera, &zone, &config.events),
            lifecycle: Lifecycle::new(LifecycleContext {
                site: config.site.clone(),
                camera: camera.clone(),
                events: config.events.clone(),
                model: context.model.clone(),
                config_digest: context.config_digest.clone(),
                ids: ids.clone(),
            })?,
            // A second without a picture may be the one in which something critical happens.
            rest: Rest::new(!critical),
            motion: Motion::default(),
            attention: None,
            idled: false,
            awake: (!camera.awake.is_empty()).then(|| Schedule::new(zone, &camera.awake)),
            needs: None,
            last: None,
            size: None,
            filled: 0.0,
            asked_wider: 0,
        })
    }

    /// Whom to ask for every picture of the camera.
    #[must_use]
    pub fn with_attention(self, attention: Arc<Attention>) -> Self {
        Self { attention: Some(attention).filter(|_| self.camera.decode == DecodeMode::Adaptive), ..self }
    }

    /// Asks for every picture of the camera, if the last one that was analysed gave a reason. `now` is the box's
    /// monotonic clock: a picture may be analysed late.
    pub fn ask_for_attention(&self, now: MonoMillis) {
        if let (Some(attention), Some(reason)) = (&self.attention, self.needs) {
            attention.ask(MonoMillis(now.0 + ATTENTION_MS), reason);
        }
    }

    /// The camera it serves.
    #[must_use]
    pub fn camera(&self) -> &CameraConfig {
        &self.camera
    }

    /// How well its areas and lines were seen in the last analysed picture.
    #[must_use]
    pub fn areas(&self) -> &Arc<AreaViews> {
        &self.areas
    }

    /// Areas and lines of which something was kept back up to the last analysed picture and is not said, and since when.
    /// What is over by then is named once.
    pub fn take_unsaid(&mut self) -> BTreeMap<AreaId, UtcMillis> {
        self.lifecycle.take_unsaid()
    }

    /// How often and how wide it looks from now on.
    pub fn allow(&mut self, allowed: Allowance) {
        self.allowed = allowed;
    }

    /// What `meter` saw of it, as what it asks for. `now` on the box's monotonic clock, `at` by the wall.
    #[must_use]
    pub fn demand(&self, meter: &Meter, register: &RegisterSnapshot, now: MonoMillis, at: UtcMillis) -> Demand {
        let tipped = || expected(&self.camera, register, at, i64::MAX).any(|b| self.is_tipped(b, register, at));
        meter.demand(self.interval_ms, self.critical || tipped(), now)
    }

    /// Events about these goods are of severity 4 whatever the rules say.
    fn is_tipped(&self, booking: &Booking, register: &RegisterSnapshot, at: UtcMillis) -> bool {
        register.tip_severity(booking, at, &self.register) >= CRITICAL
    }

    /// Regions of the next picture.
    #[must_use]
    pub fn regions(&self) -> Looked {
        Looked { planned: self.regions.planned, wider: self.regions.wider() }
    }

    /// How many regions the last picture asked for around what the planned ones cut off, allowed or not.
    #[must_use]
    pub fn asked_wider(&self) -> usize {
        self.asked_wider
    }

    /// Whether a frame of this time is to be analysed, by the configured rate. A tenth of that interval early is on
    /// time: cameras jitter, and waiting for the next picture would halve the rate.
    #[must_use]
    pub fn is_due(&self, at: MonoMillis) -> bool {
        self.is_after(at, self.interval_ms)
    }

    /// Whether it may be, by the rate its worker allows.
    #[must_use]
    pub fn is_allowed(&self, at: MonoMillis) -> bool {
        self.is_after(at, self.allowed.interval_ms)
    }

    fn is_after(&self, at: MonoMillis, interval_ms: f32) -> bool {
        self.last.is_none_or(|(last, _)| {
            let gone = at.since(last);
            gone as f32 >= interval_ms - self.interval_ms * EARLY || gone < 0
        })
    }

    /// Events that last now.
    #[must_use]
    pub fn open_events(&self) -> usize {
        self.lifecycle.open_events()
    }

    /// Share of the last picture that its largest tracked thing covers, 0..1: a truck in front of the lens is no fault.
    #[must_use]
    pub fn filled(&self) -> f32 {
        self.filled
    }

    /// What was followed in the last analysed picture.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        self.tracker.tracks()
    }

    /// Nothing was analysed since the start or the last loss: there is nothing to close.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.last.is_none()
    }

    /// Analyses one frame; `now` is the box's wall clock, written into the messages.
    ///
    /// # Errors
    /// When the model fails on this frame; tracks and events stay as they were.
    pub fn analyse(
        &mut self,
        frame: &Frame,
        detector: &mut dyn Detect,
        register: &RegisterSnapshot,
        now: UtcMillis,
    ) -> Result<Vec<Finding>, DetectorError> {
        detector.ready()?;
        self.follow(detector);
        let size = (frame.width, frame.height);
        if self.regions.size != size {
            let all = self.plan(size);
            self.regions = Regions { size, planned: all.len(), all };
            self.areas = Arc::new(views(&self.camera, Some(&self.regions.fractions()), self.known.as_deref()));
        }
        let mut detections = detector.detect(frame, &self.regions.all)?;
        let cut: Vec<Rect> =
            detections.iter().filter(|d| d.cut && d.score >= self.wide_score).map(|d| d.rect).collect();
        tracing::trace!(camera = %self.camera.id, regions = ?self.regions.all, ?detections, "looked");
        // Nothing fails from here on: what ends now is said.
        let mut findings = Vec::new();
        if self.size.replace(size).is_some_and(|known| known != size) {
            // Boxes are in pixels of the old size: nothing can be followed from one to the other.
            findings = self.close(EndReason::CameraLost, register, now);
            self.tracker.clear();
        }
        self.masks.apply(size, &mut detections);
        if let Some(attention) = &self.attention {
            let idle = attention.is_idle();
            let idled = std::mem::replace(&mut self.idled, idle);
            // The first picture after an idle time has a long pause in front of it too.
            self.tracker.set_sparse(idle || idled);
        }
        self.motion.take(frame);
        let unchanged = |rect: &Rect, since| !self.motion.changed(rect, size, since);
        let tracks = self.tracker.update_where(frame.time, &detections, unchanged);
        let limits = limits(size, self.input, &self.analysis);
        self.regions.widen(&cut, tracks, &self.watched, &limits);
        self.asked_wider = self.regions.wider();
        if !self.allowed.wider {
            self.regions.all.truncate(self.regions.planned);
        }
        self.filled = largest(tracks, size);
        if self.attention.is_some() {
            let changed = |rect: &Rect, since| self.motion.changed(rect, size, since);
            let stirs = self.rest.stirs(frame.time.mono, tracks, changed).then_some(TRACK);
            self.needs = stirs
                .or_else(|| due(&self.camera, register, frame.time.utc).then_some("booking"))
                .or_else(|| inspected(&self.camera, register, frame.time.utc, &self.register).then_some("inspection"))
                .or_else(|| self.awake.as_ref().is_some_and(|a| a.holds(frame.time.utc)).then_some("schedule"));
        }
        let (now_of_frame, uncertainty_ms) = (frame.time.utc, frame.time.uncertainty_ms);
        let checks = Checks { register, config: &self.register, now: now_of_frame, uncertainty_ms };
        let area_events = self.rules.update(size, frame.time, tracks, &checks);
        self.lifecycle.exchange(self.rules.exchanged());
        self.last = Some((frame.time.mono, frame.time.utc));
        let moment = Moment { frame, tracks, received: frame.time.mono, now };
        let linker = linker(register, frame.time.utc, &self.register);
        let view = RegisterView { link: &linker, version: register.version };
        findings.extend(self.lifecycle.step(&moment, area_events, &view));
        Ok(findings)
    }

    /// The model may be another one than before, with an input of another size.
    fn follow(&mut self, detector: &dyn Detect) {
        self.lifecycle.set_model(detector.model());
        if self.known.is_none()
            && let Some(known) = detector.known()
        {
            self.known = Some(known);
            // Of which areas something can be said is worked out anew.
            self.regions = Regions::default();
        }
        if self.input != detector.input_size() {
            self.input = detector.input_size();
            self.regions = Regions::default();
        }
    }

    fn plan(&self, frame: (u32, u32)) -> Vec<Region> {
        let limits = limits(frame, self.input, &self.analysis);
        let planned = plan(&self.watched, &limits);
        tracing::info!(camera = %self.camera.id, ?frame, regions = planned.len(), "regions planned");
        planned
    }

    /// The camera was lost or the agent stops: ends every lasting event, and what was seen before is no past of what is seen
    /// after. Once for each loss: again there is nothing to close before the next picture.
    pub fn close(&mut self, reason: EndReason, register: &RegisterSnapshot, now: UtcMillis) -> Vec<Finding> {
        let Some((mono, utc)) = self.last.take() else { return Vec::new() };
        let checks = Checks { register, config: &self.register, now: utc, uncertainty_ms: 0 };
        let area_events = self.rules.close_all(reason, &checks);
        let linker = linker(register, utc, &self.register);
        let view = RegisterView { link: &linker, version: register.version };
        self.lifecycle.close(area_events, &view, mono, now)
    }
}

/// A point in common, of a line's box without height too.
fn touch(a: &Rect, b: &Rect) -> bool {
    a.x0 <= b.x1 && b.x0 <= a.x1 && a.y0 <= b.y1 && b.y0 <= a.y1
}

fn limits(frame: (u32, u32), input: (u32, u32), analysis: &AnalysisConfig) -> PlanLimits {
    PlanLimits { frame, input, margin: analysis.region_margin, max_regions: analysis.max_regions as usize }
}

/// Whether a vehicle is expected in one of the camera's areas about now.
fn due(camera: &CameraConfig, register: &RegisterSnapshot, now: UtcMillis) -> bool {
    expected(camera, register, now, DUE_AFTER_MS).next().is_some()
}

/// Whether an inspection is open in one of the camera's areas: goods are handled there.
fn inspected(camera: &CameraConfig, register: &RegisterSnapshot, now: UtcMillis, config: &RegisterConfig) -> bool {
    camera.areas.iter().flat_map(|a| register.bookings_of(&a.id)).any(|b| b.is_inspected(now, config))
}

/// Open bookings of the camera's areas from shortly before their start to `after_ms` after it, or their end.
fn expected<'a>(
    camera: &'a CameraConfig,
    register: &'a RegisterSnapshot,
    now: UtcMillis,
    after_ms: i64,
) -> impl Iterator<Item = &'a Booking> {
    let of_areas = camera.areas.iter().flat_map(|a| register.bookings_of(&a.id)).map(Arc::as_ref);
    of_areas.filter(move |b| {
        let open = matches!(b.state, BookingState::Planned | BookingState::Active);
        open && now <= b.end && (-DUE_BEFORE_MS..after_ms).contains(&now.since(b.start))
    })
}

fn largest(tracks: &[Track], size: (u32, u32)) -> f32 {
    let (w, h) = (size.0 as f32, size.1 as f32);
    let share = |t: &Track| {
        let side = |low: f32, high: f32, most: f32| (high.min(most) - low.max(0.0)).max(0.0) / most.max(1.0);
        side(t.rect.x0, t.rect.x1, w) * side(t.rect.y0, t.rect.y1, h)
    };
    tracks.iter().map(share).fold(0.0, f32::max)
}

/// Says in the log which rules can never report because the model knows none of their classes, and which classes it lacks
/// beside others: they may be misspelt.
pub fn warn_of_unknown_classes(cameras: &[CameraConfig], known: &[Label]) {
    for camera in cameras {
        for silent in silent_rules(camera, known) {
            tracing::warn!(camera = %camera.id, "the model knows no class of this rule, it is silent: {silent}");
        }
        for lacking in unknown_classes(camera, known) {
            tracing::warn!(camera = %camera.id, "the model does not know this, correct it or leave it out: {lacking}");
        }
    }
}

/// Classes listed beside others that the model lacks, with their places, and those of filters. What a rule has without any named
/// is nobody's mistake.
fn unknown_classes(camera: &CameraConfig, known: &[Label]) -> Vec<String> {
    let unknown = |classes: &[Label]| {
        let unknown = classes.iter().filter(|class| !known.contains(class)).map(Label::as_str);
        unknown.collect::<Vec<_>>().join(", ")
    };
    let listed = |place: String, classes: &[Label]| {
        let partly = are_known(classes, Some(known)) && classes != vehicles();
        Some(unknown(classes)).filter(|found| partly && !found.is_empty()).map(|found| format!("{place}: {found}"))
    };
    let filtered = |place: String, filters: &[FilterConfig]| {
        let classes: Vec<Label> = filters.iter().filter_map(|f| f.class.clone()).collect();
        Some(unknown(&classes)).filter(|found| !found.is_empty()).map(|found| format!("{place}, filter: {found}"))
    };
    let areas = camera.areas.iter().flat_map(|a| {
        let rules = a.rules_of_classes().into_iter();
        let rules = rules.filter_map(|(rule, classes)| listed(format!("area {}, {rule}", a.id), classes));
        rules.chain(filtered(format!("area {}", a.id), &a.filters)).collect::<Vec<_>>()
    });
    let lines = camera.lines.iter().flat_map(|l| {
        listed(format!("line {}, classes", l.id), &l.classes)
            .into_iter()
            .chain(filtered(format!("line {}", l.id), &l.filters))
    });
    areas.chain(lines).collect()
}

fn silent_rules(camera: &CameraConfig, known: &[Label]) -> Vec<String> {
    let none = |classes: &[Label]| !are_known(classes, Some(known));
    let listed = |classes: &[Label]| classes.iter().map(Label::as_str).collect::<Vec<_>>().join(", ");
    let areas = camera.areas.iter().flat_map(|a| {
        let silent = a.rules_of_classes().into_iter().filter(|(_, classes)| none(classes));
        silent.map(|(rule, classes)| format!("area {}, {rule}: {}", a.id, listed(classes)))
    });
    let lines = camera.lines.iter().filter(|l| none(&l.classes));
    areas.chain(lines.map(|l| format!("line {}, classes: {}", l.id, listed(&l.classes)))).collect()
}

/// Boxes around everything the rules look at, in fractions; masks are not looked at.
fn watched(camera: &CameraConfig) -> Vec<Rect> {
    let areas: Vec<Polygon> = camera.areas.iter().filter(|a| !a.kind.is_mask()).map(|a| a.polygon.clone()).collect();
    let lines: Vec<Line> = camera.lines.iter().map(|l| l.points).collect();
    bounds_of(&areas, &lines)
}

fn linker<'a>(register: &'a RegisterSnapshot, at: UtcMillis, config: &'a RegisterConfig) -> Box<Linker<'a>> {
    Box::new(move |sought| link(register, sought, at, config))
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
