//! Runs every rule of one camera over its tracks, frame by frame. The rules themselves are one file each.

use std::collections::BTreeMap;

use super::draft::{Draft, Keys};
use super::dwell::Dwell;
use super::enter::Enter;
use super::line_cross::{self, LineCross};
use super::presence::{Presence, Sight, Standing};
use super::{AreaEvent, AreaId, EndReason, exit, motion};
use crate::clock::FrameTime;
use crate::config::{AreaConfig, CameraConfig, LineConfig};
use crate::geometry::{Point, Rect};
use crate::track::{Track, TrackId};
use crate::vision::Label;

/// All rules of one camera with their state.
#[derive(Debug)]
pub struct AreaRules {
    areas: Vec<AreaConfig>,
    lines: Vec<LineConfig>,

    keys: Keys,
    /// Ordered, so that the same frames give the same events in the same order.
    tracks: BTreeMap<TrackId, Followed>,
}

/// One track with its state at every area and line.
#[derive(Debug)]
struct Followed {
    label: Label,
    /// A track once confirmed stays so.
    confirmed: bool,
    rect: Rect,
    last: Sight,
    areas: Vec<AtArea>,
    lines: Vec<LineCross>,
}

#[derive(Debug, Clone, Default)]
struct AtArea {
    presence: Presence,
    enter: Enter,
    dwell: Dwell,
}

impl AreaRules {
    /// The rules of this camera, nothing seen yet.
    #[must_use]
    pub fn new(camera: &CameraConfig) -> Self {
        Self {
            areas: camera.areas.clone(),
            lines: camera.lines.clone(),
            keys: Keys::default(),
            tracks: BTreeMap::new(),
        }
    }

    /// Takes all tracks the tracker still follows after a frame of `size` pixels. Only tracks matched in this frame
    /// move; a track that is no longer among them is over. Unconfirmed tracks are watched too, so that a stay counts
    /// from its first sight, but nothing is said of them until they are confirmed.
    pub fn update(&mut self, size: (u32, u32), time: FrameTime, tracks: &[Track]) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        let over: Vec<TrackId> =
            self.tracks.keys().filter(|id| !tracks.iter().any(|t| t.id == **id)).copied().collect();
        for id in over {
            events.extend(self.track_ended(id));
        }
        let now = Sight { utc: time.utc, mono: time.mono };
        for track in tracks.iter().filter(|t| t.matched) {
            self.see(size, now, track, &mut events);
        }
        events
    }

    /// The track is over: what lasts ends at its last sight with [`EndReason::TrackLost`]. Calling it for a track
    /// that is not followed does nothing.
    pub fn track_ended(&mut self, id: TrackId) -> Vec<AreaEvent> {
        self.tracks.remove(&id).map_or_else(Vec::new, |f| self.close(id, f, EndReason::TrackLost))
    }

    /// The camera or the process stops: everything that lasts ends at its last sight, and nothing is followed on.
    pub fn close_all(&mut self, reason: EndReason) -> Vec<AreaEvent> {
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_iter().flat_map(|(id, followed)| self.close(id, followed, reason)).collect()
    }

    fn see(&mut self, (width, height): (u32, u32), now: Sight, track: &Track, events: &mut Vec<AreaEvent>) {
        let (areas, lines) = (self.areas.len(), self.lines.len());
        let followed = self.tracks.entry(track.id).or_insert_with(|| Followed::new(track, now, areas, lines));
        let dt_ms = now.mono.since(followed.last.mono);
        let jumped = motion::implausible(&followed.rect, &track.rect, dt_ms);
        followed.take(track, now);
        let foot = track.rect.foot();
        let foot = Point { x: foot.x / width.max(1) as f32, y: foot.y / height.max(1) as f32 };
        for (area, state) in self.areas.iter().zip(&mut followed.areas) {
            let inside = area.polygon.contains(foot);
            let standing = state.presence.see(now, inside, jumped, area.settle_ms);
            let counts = followed.confirmed && counts(&area.classes, &track.label);
            let drafts = state.judge(area, &standing, now, counts, &mut self.keys);
            events.extend(drafts.into_iter().map(|d| event(d, &area.id, track.id, &track.label)));
        }
        for (line, state) in self.lines.iter().zip(&mut followed.lines) {
            let Some(crossing) = state.see(&line.points, foot, now, jumped) else { continue };
            if followed.confirmed && counts(&line.classes, &track.label) {
                let draft = line_cross::report(crossing, line.direction, now, &mut self.keys);
                events.extend(draft.map(|d| event(d, &line.id, track.id, &track.label)));
            }
        }
    }

    fn close(&mut self, id: TrackId, mut followed: Followed, reason: EndReason) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        let (last, label) = (followed.last, followed.label);
        for (area, state) in self.areas.iter().zip(&mut followed.areas) {
            let mut drafts = Vec::new();
            if let Some(stay) = state.presence.over() {
                let counts = followed.confirmed && counts(&area.classes, &label);
                drafts = state.judge(area, &Standing::Left(stay), last, counts, &mut self.keys);
            }
            drafts.extend(state.enter.cut(last, reason));
            drafts.extend(state.dwell.cut(last, reason));
            events.extend(drafts.into_iter().map(|d| event(d, &area.id, id, &label)));
        }
        for (line, state) in self.lines.iter().zip(&mut followed.lines) {
            let Some(crossing) = state.settle() else { continue };
            if followed.confirmed && counts(&line.classes, &label) {
                let draft = line_cross::report(crossing, line.direction, last, &mut self.keys);
                events.extend(draft.map(|d| event(d, &line.id, id, &label)));
            }
        }
        events
    }
}

impl Followed {
    fn new(track: &Track, now: Sight, areas: usize, lines: usize) -> Self {
        Self {
            label: track.label.clone(),
            confirmed: track.confirmed,
            rect: track.rect,
            last: now,
            areas: vec![AtArea::default(); areas],
            lines: vec![LineCross::default(); lines],
        }
    }

    fn take(&mut self, track: &Track, now: Sight) {
        self.label = track.label.clone();
        self.confirmed |= track.confirmed;
        self.rect = track.rect;
        self.last = now;
    }
}

impl AtArea {
    fn judge(
        &mut self,
        area: &AreaConfig,
        standing: &Standing,
        now: Sight,
        counts: bool,
        keys: &mut Keys,
    ) -> Vec<Draft> {
        let mut drafts = Vec::new();
        if area.enter.is_some() {
            drafts.extend(self.enter.step(standing, now, counts, keys));
        }
        if let Some(dwell) = &area.dwell {
            let limit_ms = (dwell.limit_s * 1000.0).round() as i64;
            drafts.extend(self.dwell.step(standing, now, counts, limit_ms, keys));
        }
        if area.exit.is_some() {
            drafts.extend(exit::step(standing, now, counts, keys));
        }
        drafts
    }
}

fn counts(classes: &[Label], label: &Label) -> bool {
    classes.is_empty() || classes.contains(label)
}

fn event(draft: Draft, area: &AreaId, track: TrackId, label: &Label) -> AreaEvent {
    AreaEvent {
        key: draft.key,
        rule: draft.rule,
        area: area.clone(),
        track,
        label: label.clone(),
        phase: draft.phase,
        start: draft.start,
        at: draft.at.utc,
        end: draft.end.map(|(utc, _)| utc),
        end_reason: draft.end.map(|(_, reason)| reason),
        dwell_ms: draft.dwell_ms,
        direction: draft.direction,
        mono: draft.at.mono,
    }
}
