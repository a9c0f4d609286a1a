//! The life of events: which messages one area event becomes, from first to last, and when.
//!
//! One id over all messages of an event, revisions from 1 without holes. An instant (exit, line crossing) is one
//! message with phase `new` whose `capture.end` is set. A lasting event is updated only when something that matters
//! changed: its link, a clearly better picture, or nothing for `update_every_s`. One that the rate limit keeps back waits
//! until there is room, for as long as it lasts.

use std::collections::BTreeMap;

use super::compose::{self, Composer, graded};
use super::message::ModelRef;
use super::rate::Rate;
use super::sights::{Sight, Sights};
use super::zone::UnknownZone;
use super::{EventId, EventMessage, Finding, Zone};
use crate::camera::Frame;
use crate::clock::{MonoMillis, UtcMillis};
use crate::config::{CameraConfig, EventsConfig, SiteConfig};
use crate::customs::{LinkOutcome, Sought};
use crate::ids::IdSource;
use crate::rules::{AreaEvent, AreaId, EndReason, Phase, RuleKind, renamed};
use crate::track::{Track, TrackId};

/// A picture is clearly better from this many times score × area.
const BETTER: f32 = 1.5;
/// Milliseconds between a message and the next one for a better picture alone.
const BETTER_EVERY_MS: i64 = 3000;

/// What the life of a camera's events needs to know once.
#[derive(Debug, Clone)]
pub struct LifecycleContext {
    /// Office, box, time zone.
    pub site: SiteConfig,
    /// The camera with its areas and lines.
    pub camera: CameraConfig,
    /// When to update, what is an alert.
    pub events: EventsConfig,
    /// The detector model.
    pub model: ModelRef,
    /// First 16 hex digits of the SHA-256 of the configuration.
    pub config_digest: String,
    /// Where event ids come from.
    pub ids: IdSource,
}

/// From what is sought to declarations.
pub type Linker<'a> = dyn Fn(&Sought<'_>) -> LinkOutcome + 'a;

/// What was kept back is tried again this often, milliseconds.
const TRY_EVERY_MS: i64 = 1000;

/// The register as it stands now.
#[derive(Clone, Copy)]
pub struct RegisterView<'a> {
    /// Links one event. Pure for one version.
    pub link: &'a Linker<'a>,
    /// Changes whenever declarations or bookings did; lasting events are linked anew then.
    pub version: u64,
}

/// One analysed frame.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The picture.
    pub frame: &'a Frame,
    /// All tracks after it, as given to the rules.
    pub tracks: &'a [Track],
    /// When the frame had been received.
    pub received: MonoMillis,
    /// The box's wall clock, for the `time` of messages.
    pub now: UtcMillis,
}

/// The events of one camera.
#[derive(Debug)]
pub struct Lifecycle {
    composer: Composer,
    update_every_ms: i64,
    ids: IdSource,

    sights: Sights,
    rate: Rate,
    /// By the rules' key; ordered, so that the same input gives the same output.
    open: BTreeMap<u64, OpenEvent>,
    /// Lasting events that were kept back, by the rules' key, with their latest sights without a picture.
    waiting: BTreeMap<u64, (AreaEvent, Sight)>,
    /// When they were last tried.
    tried: Option<MonoMillis>,
    /// Where events were not said, and since when.
    unsaid: BTreeMap<AreaId, UtcMillis>,
}

/// A lasting event: what was said last, and what decides about the next message.
#[derive(Debug)]
struct OpenEvent {
    message: EventMessage,
    /// As the rule says, without what tips make of it.
    severity: u8,
    booked: AreaId,
    track: TrackId,
    started: MonoMillis,
    last_sent: MonoMillis,
    picture_rank: f32,
    register_version: u64,
}

impl Lifecycle {
    /// No events yet.
    ///
    /// # Errors
    /// When the site's time zone does not exist.
    pub fn new(context: LifecycleContext) -> Result<Self, UnknownZone> {
        let zone = Zone::new(&context.site.time_zone)?;
        Ok(Self {
            update_every_ms: i64::from(context.events.update_every_s) * 1000,
            ids: context.ids,
            composer: Composer {
                site: context.site,
                camera: context.camera,
                zone,
                alert_severity: context.events.alert_severity,
                model: context.model,
                config_digest: context.config_digest,
            },
            sights: Sights::default(),
            rate: Rate::new(context.events.max_per_minute),
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tried: None,
            unsaid: BTreeMap::new(),
        })
    }

    /// The model that detects from now on; open events tell of it with their next message.
    pub fn set_model(&mut self, model: &ModelRef) {
        if self.composer.model != *model {
            self.composer.model = model.clone();
        }
    }

    /// Tracks that exchanged their names, before the frame in which they did is taken: what an event is about goes with the
    /// thing, and is marked.
    pub fn exchange(&mut self, names: &[(TrackId, TrackId)]) {
        let exchanged = |track: &mut TrackId| names.iter().any(|pair| renamed(track, *pair));
        for open in self.open.values_mut() {
            open.message.data.implausible_jump |= exchanged(&mut open.track);
        }
        for (event, _) in self.waiting.values_mut() {
            event.jumped |= exchanged(&mut event.track);
        }
    }

    /// Takes a frame and what the rules said about it. Findings are complete but for sequence and snapshot.
    pub fn step(
        &mut self,
        moment: &Moment<'_>,
        area_events: Vec<AreaEvent>,
        register: &RegisterView<'_>,
    ) -> Vec<Finding> {
        self.sights.see(moment.frame, moment.tracks);
        // First, so that those who come now do not take their room.
        let mut findings = self.take_up(moment, register);
        findings.extend(self.take(area_events, register, moment.received, moment.now, Some(moment.frame)));
        let mut open = std::mem::take(&mut self.open);
        findings.extend(open.values_mut().filter_map(|e| self.update(e, moment, register)));
        self.open = open;
        self.sights.keep_only(moment.tracks);
        findings
    }

    /// Takes what [`AreaRules::close_all`](crate::rules::AreaRules::close_all) said when the camera was lost or the
    /// agent stops: every lasting event gets its last message.
    pub fn close(
        &mut self,
        area_events: Vec<AreaEvent>,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
    ) -> Vec<Finding> {
        // What is certain only now, a leaving or a crossing, are a few: none is kept back, since no picture comes of which it
        // could be said that something was. What waited was named up to the last one.
        let rate = std::mem::replace(&mut self.rate, Rate::new(u32::MAX));
        let unsaid = std::mem::take(&mut self.unsaid);
        let findings = self.take(area_events, register, received, now, None);
        (self.rate, self.unsaid) = (rate, unsaid);
        self.sights.clear();
        self.waiting.clear();
        findings
    }

    /// Where something that the rules reported was not said since the last call, and since when: of these areas and lines
    /// nobody may say that nothing happened.
    pub fn take_unsaid(&mut self) -> BTreeMap<AreaId, UtcMillis> {
        let mut unsaid = std::mem::take(&mut self.unsaid);
        for (event, _) in self.waiting.values() {
            note_unsaid(&mut unsaid, event);
        }
        unsaid
    }

    /// How many events last now.
    #[must_use]
    pub fn open_events(&self) -> usize {
        self.open.len()
    }

    fn take(
        &mut self,
        area_events: Vec<AreaEvent>,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
        frame: Option<&Frame>,
    ) -> Vec<Finding> {
        let each = area_events.into_iter().filter_map(|event| match event.phase {
            Phase::New => self.begin(&event, register, received, now, frame),
            Phase::Update if event.quiet => self.note(&event),
            Phase::Update => self.change(&event, register, received, now),
            Phase::End => self.end(&event, register, received, now),
        });
        each.collect()
    }

    fn begin(
        &mut self,
        event: &AreaEvent,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
        frame: Option<&Frame>,
    ) -> Option<Finding> {
        // A thing that is gone is shown at its place, in the picture of now.
        let gone = frame.filter(|_| event.rule == RuleKind::ObjectRemoved).map(|f| Sight::at_place(event, f));
        let sight = gone.or_else(|| self.sights.of(event.track).cloned());
        let Some(sight) = sight.or_else(|| frame.map(|f| Sight::at_place(event, f))) else {
            // Only at a close, without a picture: rules speak of tracks they saw matched, and `step` saw the same.
            tracing::error!(area = %event.area, rule = event.rule.as_str(), "an event of a track never seen is lost");
            note_unsaid(&mut self.unsaid, event);
            return None;
        };
        let said = self.first(event, &sight, register, received, now);
        if said.is_none() {
            tracing::warn!(camera = %self.composer.camera.id, area = %event.area, rule = event.rule.as_str(),
                severity = event.severity, "too many new events in a minute: this one is kept back");
            self.rate.keep_back();
            note_unsaid(&mut self.unsaid, event);
            if event.end.is_none() {
                self.waiting.insert(event.key, (event.clone(), Sight { frame: None, ..sight }));
            }
        }
        said
    }

    /// Says what was kept back, where there is room by now. Tried once in a while only: each try is a link of its own.
    fn take_up(&mut self, moment: &Moment<'_>, register: &RegisterView<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let now = moment.frame.time.mono;
        if self.waiting.is_empty() || self.tried.is_some_and(|t| (0..TRY_EVERY_MS).contains(&now.since(t))) {
            return findings;
        }
        self.tried = Some(now);
        for (key, (mut event, mut sight)) in std::mem::take(&mut self.waiting) {
            let time = moment.frame.time;
            let since_ms = time.mono.since(event.mono);
            event.dwell_ms = event.dwell_ms.map(|ms| ms + since_ms);
            (event.mono, event.at) = (time.mono, time.utc);
            let latest = self.sights.of(event.track).cloned();
            if let Some(said) =
                self.first(&event, latest.as_ref().unwrap_or(&sight), register, moment.received, moment.now)
            {
                findings.push(said);
                continue;
            }
            if let Some(latest) = latest {
                sight = Sight { frame: None, ..latest };
            }
            self.waiting.insert(key, (event, sight));
        }
        findings
    }

    /// The first message of an event, if it may be said.
    fn first(
        &mut self,
        event: &AreaEvent,
        sight: &Sight,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
    ) -> Option<Finding> {
        let booked = self.composer.booked_area(&event.area);
        // An exit is an instant, but who leaves belongs to the booking it came in under.
        let came = came(event.rule, event.start, event.dwell_ms);
        let uncertainty_ms = sight.time.uncertainty_ms;
        let others = &event.crossed;
        let sought = Sought { area: &booked, start: came, end: event.end, uncertainty_ms, event: None, others };
        let link = (register.link)(&sought);
        if !self.rate.allows(event.mono, graded(event.severity, &link)) {
            return None;
        }
        let id = EventId(self.ids.next_id(event.start));
        let mut message = self.composer.first(id, event, sight, link, now);
        message.data.phase = Phase::New;
        message.data.rate_limited = self.rate.take_kept_back();
        self.composer.grade(&mut message, event.severity);
        let frame = sight.frame.clone();
        if frame.is_none() {
            message.data.snapshot_missing =
                Some("the picture of the last sight was given back before this was certain".into());
        }
        if event.end.is_none() {
            let open = OpenEvent {
                message: message.clone(),
                severity: event.severity,
                booked,
                track: event.track,
                started: MonoMillis(event.mono.0 - event.dwell_ms.unwrap_or(0)),
                last_sent: event.mono,
                picture_rank: rank(sight),
                register_version: register.version,
            };
            self.open.insert(event.key, open);
        }
        Some(Finding { event: message, frame, received })
    }

    /// Something that goes with the next message.
    fn note(&mut self, event: &AreaEvent) -> Option<Finding> {
        if let Some(open) = self.open.get_mut(&event.key) {
            open.note(event);
        } else if let Some((kept, _)) = self.waiting.get_mut(&event.key) {
            *kept = AreaEvent { phase: Phase::New, quiet: false, ..event.clone() };
        }
        None
    }

    /// A change that matters: said at once, with a picture where the object is seen.
    fn change(
        &mut self,
        event: &AreaEvent,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
    ) -> Option<Finding> {
        let Some(open) = self.open.get_mut(&event.key) else {
            // Kept back as something lesser: what has become greater may be said.
            let (_, sight) = self.waiting.remove(&event.key)?;
            let event = AreaEvent { phase: Phase::New, ..event.clone() };
            let latest = self.sights.of(event.track).cloned().unwrap_or(sight);
            let said = self.first(&event, &latest, register, received, now);
            if said.is_none() {
                self.waiting.insert(event.key, (event, Sight { frame: None, ..latest }));
            }
            return said;
        };
        open.note(event);
        open.relink(register);
        open.severity = event.severity;
        let data = &mut open.message.data;
        data.phase = Phase::Update;
        data.dwell_ms = event.dwell_ms.map(|ms| ms.max(0));
        let sight = self.sights.of(event.track).filter(|s| s.time.mono == event.mono);
        if let Some(sight) = sight {
            open.show(sight);
        }
        self.composer.grade(&mut open.message, open.severity);
        open.last_sent = event.mono;
        let frame = sight.and_then(|s| s.frame.clone());
        Some(Finding { event: open.next(now), frame, received })
    }

    fn end(
        &mut self,
        event: &AreaEvent,
        register: &RegisterView<'_>,
        received: MonoMillis,
        now: UtcMillis,
    ) -> Option<Finding> {
        if self.waiting.remove(&event.key).is_some() {
            note_unsaid(&mut self.unsaid, event);
        }
        let mut open = self.open.remove(&event.key)?;
        open.note(event);
        let data = &mut open.message.data;
        data.phase = Phase::End;
        data.capture.end = event.end;
        data.end_reason = event.end_reason.or(Some(EndReason::Observed));
        data.dwell_ms = event.dwell_ms.map(|ms| ms.max(0));
        if let Some(sight) = self.sights.of(event.track) {
            data.object.path = compose::path(sight);
        }
        let id = open.message.id.to_string();
        let (area, uncertainty_ms) = (&open.booked, data.capture.uncertainty_ms);
        let (start, end, others) = (event.start, event.end, &[][..]);
        let sought = Sought { area, start, end, uncertainty_ms, event: Some(&id), others };
        data.link = (register.link)(&sought);
        self.composer.grade(&mut open.message, open.severity);
        Some(Finding { event: open.next(now), frame: None, received })
    }

    /// The next message of a lasting event, if there is something to say after this frame.
    fn update(&self, open: &mut OpenEvent, moment: &Moment<'_>, register: &RegisterView<'_>) -> Option<Finding> {
        let time = moment.frame.time;
        let since = time.mono.since(open.last_sent);
        let due = since >= self.update_every_ms;
        let relinked = due || open.register_version != register.version;
        let link_changed = relinked && open.relink(register);
        let sight = self.sights.of(open.track).filter(|s| s.time.mono == time.mono);
        let better = sight.is_some_and(|s| since >= BETTER_EVERY_MS && rank(s) > BETTER * open.picture_rank);
        if !(due || link_changed || better) {
            return None;
        }
        let data = &mut open.message.data;
        data.phase = Phase::Update;
        data.dwell_ms = Some(time.mono.since(open.started).max(0));
        if let Some(sight) = sight {
            open.show(sight);
        }
        open.last_sent = time.mono;
        self.composer.grade(&mut open.message, open.severity);
        let frame = sight.map(|_| moment.frame.clone());
        Some(Finding { event: open.next(moment.now), frame, received: moment.received })
    }
}

impl OpenEvent {
    /// What the rules count and mark, and whom the next picture is of.
    fn note(&mut self, event: &AreaEvent) {
        self.track = event.track;
        let data = &mut self.message.data;
        data.suppressed = event.suppressed;
        data.implausible_jump |= event.jumped;
        data.count = event.count.or(data.count);
        if let Some(check) = &event.check {
            data.check = Some(check.clone());
        }
    }

    /// Links anew; whether what matters changed (the age of the feed alone does not).
    fn relink(&mut self, register: &RegisterView<'_>) -> bool {
        self.register_version = register.version;
        let data = &mut self.message.data;
        let id = self.message.id.to_string();
        let (area, start, uncertainty_ms) = (&self.booked, data.capture.start, data.capture.uncertainty_ms);
        let link = (register.link)(&Sought { area, start, end: None, uncertainty_ms, event: Some(&id), others: &[] });
        let changed = matters(&data.link, &link);
        data.link = link;
        changed
    }

    /// Box, score, path and best time from a new picture.
    fn show(&mut self, sight: &Sight) {
        let data = &mut self.message.data;
        data.object = compose::object(sight);
        (data.camera.width, data.camera.height) = sight.size;
        let capture = &mut data.capture;
        capture.best = sight.time.utc;
        capture.time_source = sight.time.source;
        capture.uncertainty_ms = sight.time.uncertainty_ms;
        capture.clock_offset_ms = sight.time.clock_offset_ms;
        data.snapshot_missing = None;
        self.picture_rank = rank(sight);
    }

    /// The message as it stands, as the next revision.
    fn next(&mut self, now: UtcMillis) -> EventMessage {
        self.message.data.revision += 1;
        self.message.time = now;
        self.message.subject = compose::subject(&self.message.data.link, &self.message.data.area.id);
        self.message.clone()
    }
}

/// Whether a link changed in what matters: the age of the feed and words alone do not.
#[must_use]
pub fn matters(old: &LinkOutcome, new: &LinkOutcome) -> bool {
    (old.verdict, &old.links, &old.tips, &old.contradiction) != (new.verdict, &new.links, &new.tips, &new.contradiction)
}

/// When what an event is about came: what leaves belongs to the booking it came in under.
#[must_use]
pub fn came(rule: RuleKind, start: UtcMillis, dwell_ms: Option<i64>) -> UtcMillis {
    match rule {
        RuleKind::Exit | RuleKind::BayEmpty => start.plus_ms(-dwell_ms.unwrap_or(0)),
        _ => start,
    }
}

fn note_unsaid(unsaid: &mut BTreeMap<AreaId, UtcMillis>, event: &AreaEvent) {
    let since = unsaid.entry(event.area.clone()).or_insert(event.start);
    *since = event.start.min(*since);
}

fn rank(sight: &Sight) -> f32 {
    sight.track.score * sight.track.rect.area()
}
