//! Puts an event message together from what the rules, the track, the frame and the register say. When to send one
//! is the business of `lifecycle`.

use super::message::{AreaRef, CameraRef, CaptureTimes, EventData, ModelRef, ObjectRef, PathRef, Sequence};
use super::sights::Sight;
use super::{EventId, EventMessage, Zone};
use crate::clock::UtcMillis;
use crate::config::{CameraConfig, SiteConfig};
use crate::customs::{LinkOutcome, LinkVerdict};
use crate::geometry::{Point, Polygon, Rect};
use crate::rules::{AreaEvent, AreaId, RuleKind};

/// Foot points in a message at most.
const MAX_PATH: usize = 64;

/// What is the same in all messages of a camera.
#[derive(Debug, Clone)]
pub(super) struct Composer {
    pub site: SiteConfig,
    pub camera: CameraConfig,
    pub zone: Zone,
    pub alert_severity: u8,
    pub model: ModelRef,
    pub config_digest: String,
}

impl Composer {
    /// Area whose bookings an event belongs to: a line may name another than itself.
    pub fn booked_area(&self, id: &AreaId) -> AreaId {
        let line = self.camera.lines.iter().find(|l| l.id == *id);
        line.and_then(|l| l.area.clone()).unwrap_or_else(|| id.clone())
    }

    /// The first message of an event.
    pub fn first(
        &self,
        id: EventId,
        event: &AreaEvent,
        sight: &Sight,
        link: LinkOutcome,
        now: UtcMillis,
    ) -> EventMessage {
        let area = self.area(&event.area);
        EventMessage {
            specversion: "1.0".into(),
            id,
            source: format!("/office/{}/box/{}", self.site.office, self.site.box_id),
            kind: self.kind(event.rule, event.severity),
            subject: subject(&link, &area.id),
            time: now,
            datacontenttype: "application/json".into(),
            data: EventData {
                revision: 1,
                phase: event.phase,
                severity: event.severity,
                rule: event.rule,
                office: self.site.office.clone(),
                box_id: self.site.box_id.clone(),
                camera: self.camera(sight),
                area,
                capture: capture(event, sight),
                duty_day: self.zone.duty_day(event.start),
                dwell_ms: event.dwell_ms.map(|ms| ms.max(0)),
                direction: event.direction,
                check: event.check.clone(),
                count: event.count,
                suppressed: event.suppressed,
                rate_limited: 0,
                implausible_jump: event.jumped,
                end_reason: event.end_reason,
                object: object(sight),
                link,
                snapshot: None,
                snapshot_missing: None,
                footage: None,
                model: self.model.clone(),
                config_digest: self.config_digest.clone(),
                sequence: Sequence { epoch: 0, seq: 0, historical: false },
            },
        }
    }

    fn camera(&self, sight: &Sight) -> CameraRef {
        CameraRef {
            id: self.camera.id.clone(),
            name: named(&self.camera.name, &self.camera.id.0),
            width: sight.size.0,
            height: sight.size.1,
        }
    }

    fn area(&self, id: &AreaId) -> AreaRef {
        if let Some(area) = self.camera.areas.iter().find(|a| a.id == *id) {
            let (name, outline) = (named(&area.name, &id.0), area.polygon.clone());
            return AreaRef { id: id.clone(), name, kind: area.kind.as_str().into(), outline };
        }
        let line = self.camera.lines.iter().find(|l| l.id == *id);
        AreaRef {
            id: id.clone(),
            name: named(line.map_or("", |l| &l.name), &id.0),
            kind: line.map_or("line", |l| l.kind.as_str()).into(),
            outline: Polygon(line.map_or_else(Vec::new, |l| vec![l.points.from, l.points.to])),
        }
    }

    /// Severity by the rule, or more for an open tip, with the type that goes with it.
    pub fn grade(&self, message: &mut EventMessage, severity: u8) {
        message.data.severity = graded(severity, &message.data.link);
        message.kind = self.kind(message.data.rule, message.data.severity);
    }

    /// `type` of the message: an alert from the configured severity.
    pub fn kind(&self, rule: RuleKind, severity: u8) -> String {
        let class = if severity >= self.alert_severity { "alert" } else { "event" };
        format!("gatewatch.{class}.{}.v1", rule.as_str())
    }
}

/// Severity of an event that belongs to open tips: at least theirs.
#[must_use]
pub(crate) fn graded(severity: u8, link: &LinkOutcome) -> u8 {
    link.tips.iter().map(|t| t.severity).max().map_or(severity, |tip| tip.max(severity))
}

/// `decl/{key}` of the first link when the verdict is `linked`, else `area/{area}`.
pub(crate) fn subject(link: &LinkOutcome, area: &AreaId) -> String {
    match (link.verdict, link.links.first()) {
        (LinkVerdict::Linked, Some(first)) => format!("decl/{}", first.decl_key),
        _ => format!("area/{area}"),
    }
}

/// Box, score and path of a sight.
pub(super) fn object(sight: &Sight) -> ObjectRef {
    let (w, h) = (sight.size.0.max(1) as f32, sight.size.1.max(1) as f32);
    let box_px = sight.track.rect.intersection(&Rect { x0: 0.0, y0: 0.0, x1: w, y1: h });
    ObjectRef {
        track_id: sight.track.id,
        label: sight.track.label.clone(),
        score: sight.track.score.clamp(0.0, 1.0),
        box_px,
        box_frac: box_px.scaled(1.0 / w, 1.0 / h),
        path: path(sight),
    }
}

/// The latest foot points in fractions of the picture, oldest first.
pub(super) fn path(sight: &Sight) -> Vec<PathRef> {
    let (w, h) = (sight.size.0.max(1) as f32, sight.size.1.max(1) as f32);
    let points = &sight.track.path;
    let skip = points.len().saturating_sub(MAX_PATH);
    let fraction = |p: Point| Point { x: p.x / w, y: p.y / h };
    points.iter().skip(skip).map(|p| PathRef { t: p.utc, p: fraction(p.foot) }).collect()
}

fn capture(event: &AreaEvent, sight: &Sight) -> CaptureTimes {
    CaptureTimes {
        start: event.start,
        best: sight.time.utc,
        end: event.end,
        time_source: sight.time.source,
        uncertainty_ms: sight.time.uncertainty_ms,
        clock_offset_ms: sight.time.clock_offset_ms,
    }
}

fn named(name: &str, id: &str) -> String {
    if name.is_empty() { id.into() } else { name.into() }
}
