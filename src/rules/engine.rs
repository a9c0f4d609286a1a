//! Runs every rule of one camera over its tracks, frame by frame. The rules themselves are one file each.

use std::collections::BTreeMap;

use super::area::{Area, AtArea, Named, Names, Who, Whole, passes};
use super::crowd::{Crowd, Gone, Picture, Present};
use super::draft::{Draft, Keys};
use super::group::Groups;
use super::line::GateLine;
use super::line_cross::{Crossing, LineCross};
use super::presence::{Sight, Standing, Stay};
use super::still::Still;
use super::{AreaEvent, AreaId, EndReason, foot_fraction, motion};
use crate::clock::FrameTime;
use crate::config::{CameraConfig, EventsConfig};
use crate::customs::Checks;
use crate::event::Zone;
use crate::geometry::Rect;
use crate::track::{Track, TrackId};
use crate::vision::Label;

/// All rules of one camera with their state.
#[derive(Debug)]
pub struct AreaRules {
    areas: Vec<Area>,
    lines: Vec<GateLine>,

    keys: Keys,
    /// Ordered, so that the same frames give the same events in the same order.
    tracks: BTreeMap<TrackId, Followed>,
    /// Parallel to `areas`.
    wholes: Vec<Whole>,
    /// Who has gone from each area in this frame.
    gone: Vec<Vec<Gone>>,
    /// Tracks that ended in this frame.
    ended: BTreeMap<TrackId, Subject>,
    /// Tracks that exchanged their names in this frame.
    exchanged: Vec<(TrackId, TrackId)>,
    groups: Groups,
    last: Option<Sight>,
}

/// One track with its state at every area and line.
#[derive(Debug)]
struct Followed {
    subject: Subject,
    /// A track once confirmed stays so.
    confirmed: bool,
    last: Sight,
    still: Still,
    areas: Vec<AtArea>,
    lines: Vec<LineCross>,
    /// Of each line: its size and score counted at the latest sight, or at the first one beyond it.
    at_lines: Vec<bool>,
    /// Crossings, by their lines, that were certain before the track was believed: said once it is.
    early: Vec<(usize, Crossing)>,
}

/// Who a report is about.
#[derive(Debug, Clone)]
struct Subject {
    track: TrackId,
    label: Label,
    rect: Rect,
    score: f32,
    jumped: bool,
}

impl AreaRules {
    /// The rules of this camera, nothing seen yet. Schedules are of `zone`'s wall clock.
    #[must_use]
    pub fn new(camera: &CameraConfig, zone: &Zone, events: &EventsConfig) -> Self {
        let areas: Vec<Area> = camera.areas.iter().filter(|a| !a.kind.is_mask()).map(|a| Area::new(a, zone)).collect();
        Self {
            wholes: areas.iter().map(|_| Whole::default()).collect(),
            gone: vec![Vec::new(); areas.len()],
            areas,
            lines: camera.lines.iter().map(GateLine::new).collect(),
            keys: Keys::default(),
            tracks: BTreeMap::new(),
            ended: BTreeMap::new(),
            exchanged: Vec::new(),
            groups: Groups::new(i64::from(events.repeat_gap_s) * 1000),
            last: None,
        }
    }

    /// Takes all tracks the tracker still follows after a frame of `size` pixels. Only tracks matched in this frame
    /// move; a track that is no longer among them is over. Unconfirmed tracks are watched too, so that a stay counts
    /// from its first sight, but nothing is said of them until they are confirmed.
    pub fn update(
        &mut self,
        size: (u32, u32),
        time: FrameTime,
        tracks: &[Track],
        checks: &Checks<'_>,
    ) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        self.gone.iter_mut().for_each(Vec::clear);
        self.ended.clear();
        self.exchanged.clear();
        let over: Vec<TrackId> =
            self.tracks.keys().filter(|id| !tracks.iter().any(|t| t.id == **id)).copied().collect();
        for id in over {
            if let Some(followed) = self.tracks.remove(&id) {
                events.extend(self.close(followed, EndReason::TrackLost, checks));
            }
        }
        let now = Sight { utc: time.utc, mono: time.mono };
        self.last = Some(now);
        self.untangle(now, tracks);
        for track in tracks.iter().filter(|t| t.matched) {
            self.see(size, now, track, checks, &mut events);
        }
        self.judge_areas(size, now, tracks, checks, &mut events);
        self.groups.step(events, now)
    }

    /// The tracks that were found to have exchanged their names in the last frame, in pairs.
    #[must_use]
    pub fn exchanged(&self) -> &[(TrackId, TrackId)] {
        &self.exchanged
    }

    /// The camera or the process stops: everything that lasts ends at its last sight, and nothing is followed on.
    pub fn close_all(&mut self, reason: EndReason, checks: &Checks<'_>) -> Vec<AreaEvent> {
        self.ended.clear();
        let tracks = std::mem::take(&mut self.tracks);
        let mut events: Vec<AreaEvent> =
            tracks.into_values().flat_map(|followed| self.close(followed, reason, checks)).collect();
        if let Some(last) = self.last {
            for i in 0..self.areas.len() {
                let reports = self.wholes[i].cut(last, reason);
                events.extend(reports.into_iter().map(|(who, draft)| self.report(i, who, draft)));
            }
        }
        self.lines.iter_mut().for_each(GateLine::forget);
        self.groups.close(events)
    }

    /// Two tracks that each leap to where the other one was have exchanged their names: what is known of the things
    /// goes with the things, and is marked; what remembers who it was about follows.
    fn untangle(&mut self, now: Sight, tracks: &[Track]) {
        let leaps = |t: &&Track| t.matched && self.tracks.get(&t.id).is_some_and(|f| f.leaps_to(t, now));
        let mut leaping: Vec<&Track> = tracks.iter().filter(leaps).collect();
        while let Some(a) = leaping.pop() {
            let fits = |b: &&Track| {
                let (Some(of_a), Some(of_b)) = (self.tracks.get(&a.id), self.tracks.get(&b.id)) else { return false };
                !of_a.leaps_to(b, now) && !of_b.leaps_to(a, now)
            };
            let Some(at) = leaping.iter().position(fits) else { continue };
            let b = leaping.remove(at);
            if let (Some(mut of_a), Some(mut of_b)) = (self.tracks.remove(&a.id), self.tracks.remove(&b.id)) {
                (of_a.subject.track, of_b.subject.track) = (b.id, a.id);
                (of_a.subject.jumped, of_b.subject.jumped) = (true, true);
                self.tracks.insert(b.id, of_a);
                self.tracks.insert(a.id, of_b);
                self.exchanged.push((a.id, b.id));
            }
        }
        for names in &self.exchanged {
            self.lines.iter_mut().for_each(|l| l.exchange(*names));
            self.wholes.iter_mut().for_each(|w| w.exchange(*names));
            self.groups.exchange(*names);
        }
    }

    fn see(&mut self, size: (u32, u32), now: Sight, track: &Track, checks: &Checks<'_>, events: &mut Vec<AreaEvent>) {
        let (areas, lines) = (self.areas.len(), self.lines.len());
        let followed = self.tracks.entry(track.id).or_insert_with(|| Followed::new(track, now, areas, lines));
        let jumped = followed.take(track, now);
        let foot = foot_fraction(&track.rect, size);
        let subject = &followed.subject;
        for (i, (area, state)) in self.areas.iter().zip(&mut followed.areas).enumerate() {
            let inside = area.config.polygon.contains(foot);
            let standing = state.presence.see(now, inside, jumped, area.config.settle_ms);
            // Who has settled inside and counted does so until it has left: the picture's edge, or something in front, may
            // cut its box off meanwhile.
            let is_open = match standing {
                Standing::Outside => true,
                Standing::Inside { .. } => !(followed.confirmed && state.passes || state.presence.is_leaving()),
                Standing::Left(_) => false,
            };
            if is_open {
                state.passes = passes(&area.config.filters, track, size.1);
            }
            state.names.see(&subject.label, &standing, now);
            let counts = followed.confirmed && state.passes;
            if let (Standing::Left(stay), true) = (&standing, counts) {
                self.gone[i].push(subject.gone(stay, &state.names));
            }
            let who = Who { label: &subject.label, counts, still: &followed.still };
            let drafts = state.judge(area, &standing, now, who, checks, &mut self.keys);
            events.extend(drafts.into_iter().map(|d| event(d, &area.config.id, subject)));
        }
        for (i, (line, state)) in self.lines.iter_mut().zip(&mut followed.lines).enumerate() {
            // What has crossed counts as it did then: the picture's edge may cut its box off before that is certain.
            if !state.is_pending() {
                followed.at_lines[i] = passes(&line.config.filters, track, size.1);
            }
            let crossing = state.see(&line.config.points, foot, now, jumped).filter(|_| followed.at_lines[i]);
            followed.early.extend(crossing.map(|c| (i, c)));
        }
        if followed.confirmed {
            for (i, crossing) in std::mem::take(&mut followed.early) {
                events.extend(cross(&mut self.lines[i], &crossing, now, subject, checks, &mut self.keys));
            }
        }
    }

    /// Ends what lasts of one track.
    fn close(&mut self, mut followed: Followed, reason: EndReason, checks: &Checks<'_>) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        let (last, subject) = (followed.last, &followed.subject);
        // The foot of what stands trembles: seen beyond at last, and for no longer, it has not gone there. Unless it came to its
        // place after that.
        let stands = followed.still.since();
        let moves = |gone: Sight| stands.is_none_or(|since| since.mono >= gone.mono);
        for (i, (area, state)) in self.areas.iter().zip(&mut followed.areas).enumerate() {
            let counts = followed.confirmed && state.passes;
            let inside_since = state.presence.entered();
            let mut drafts = Vec::new();
            match state.presence.over().filter(|stay| moves(stay.left)) {
                Some(stay) => {
                    if counts {
                        self.gone[i].push(subject.gone(&stay, &state.names));
                    }
                    let who = Who { label: &subject.label, counts, still: &followed.still };
                    drafts = state.judge(area, &Standing::Left(stay), last, who, checks, &mut self.keys);
                }
                None => {
                    let gone = |entered| Gone {
                        track: subject.track,
                        label: subject.label.clone(),
                        names: state.names.kept().to_vec(),
                        entered,
                        at: last,
                        reason,
                    };
                    self.gone[i].extend(inside_since.filter(|_| counts).map(gone));
                }
            }
            drafts.extend(state.cut(last, reason));
            events.extend(drafts.into_iter().map(|d| event(d, &area.config.id, subject)));
        }
        for (i, (line, state)) in self.lines.iter_mut().zip(&mut followed.lines).enumerate() {
            let Some(crossing) = state.settle().filter(|c| moves(c.at)) else { continue };
            if followed.confirmed && followed.at_lines[i] {
                events.extend(cross(line, &crossing, last, subject, checks, &mut self.keys));
            }
        }
        self.ended.insert(subject.track, followed.subject);
        events
    }

    /// The rules about areas as a whole, when all tracks of the frame were seen.
    fn judge_areas(
        &mut self,
        size: (u32, u32),
        now: Sight,
        tracks: &[Track],
        checks: &Checks<'_>,
        events: &mut Vec<AreaEvent>,
    ) {
        let seen = self.tracks.values().filter(|f| f.last == now).map(|f| (f.subject.track, f.subject.rect));
        let held = tracks.iter().filter(|t| t.held).map(|t| (t.id, t.rect));
        let picture = Picture { size, boxes: seen.chain(held).collect() };
        for i in 0..self.areas.len() {
            let crowd = Crowd { present: self.present(i, now), gone: std::mem::take(&mut self.gone[i]) };
            let config = &self.areas[i].config;
            let reports = self.wholes[i].step(config, &crowd, &picture, now, checks, &mut self.keys);
            events.extend(reports.into_iter().map(|(who, draft)| self.report(i, who, draft)));
        }
    }

    fn present(&self, area: usize, now: Sight) -> Vec<Present> {
        let inside = |f: &Followed| {
            let state = &f.areas[area];
            let entered = state.presence.entered().filter(|_| f.confirmed && state.passes)?;
            Some(Present {
                track: f.subject.track,
                label: f.subject.label.clone(),
                names: state.names.kept().to_vec(),
                entered,
                still_since: f.still.since(),
                rect: f.subject.rect,
                score: f.subject.score,
                seen: f.last == now,
            })
        };
        self.tracks.values().filter_map(inside).collect()
    }

    /// A report about an area as a whole. Its track may be long over: what is known of an end is in the messages before it.
    fn report(&self, area: usize, who: Named, draft: Draft) -> AreaEvent {
        let subject = match who {
            Named::Thing { track, label, rect, score } => Subject { track, label, rect, score, jumped: false },
            Named::Track(id) => {
                let followed = self.tracks.get(&id).map(|f| &f.subject);
                let unknown =
                    || Subject { track: id, label: "".into(), rect: Rect::from([0.0; 4]), score: 0.0, jumped: false };
                followed.or_else(|| self.ended.get(&id)).cloned().unwrap_or_else(unknown)
            }
        };
        event(draft, &self.areas[area].config.id, &subject)
    }
}

impl Followed {
    fn new(track: &Track, now: Sight, areas: usize, lines: usize) -> Self {
        Self {
            subject: Subject {
                track: track.id,
                label: track.label.clone(),
                rect: track.rect,
                score: track.score,
                jumped: false,
            },
            confirmed: track.confirmed,
            last: now,
            still: Still::new(now, track.rect),
            areas: vec![AtArea::default(); areas],
            lines: vec![LineCross::default(); lines],
            at_lines: vec![false; lines],
            early: Vec::new(),
        }
    }

    /// Whether this sight cannot be of the same thing.
    fn leaps_to(&self, track: &Track, now: Sight) -> bool {
        let before = (&self.subject.rect, &self.subject.label);
        motion::implausible(before, (&track.rect, &track.label), now.mono.since(self.last.mono))
    }

    /// Takes a sight; whether it came there by an implausible movement.
    fn take(&mut self, track: &Track, now: Sight) -> bool {
        let jumped = self.leaps_to(track, now);
        self.subject.jumped |= jumped;
        self.subject.label = track.label.clone();
        (self.subject.rect, self.subject.score) = (track.rect, track.score);
        self.confirmed |= track.confirmed;
        if self.last != now {
            self.still.see(now, track.rect);
        }
        self.last = now;
        jumped
    }
}

impl Subject {
    fn gone(&self, stay: &Stay, names: &Names) -> Gone {
        let reason = if stay.jumped { EndReason::TrackLost } else { EndReason::Observed };
        Gone {
            track: self.track,
            label: self.label.clone(),
            names: names.kept().to_vec(),
            entered: stay.entered,
            at: stay.left,
            reason,
        }
    }
}

/// What becomes of one crossing of a track that is confirmed.
fn cross(
    line: &mut GateLine,
    crossing: &Crossing,
    now: Sight,
    subject: &Subject,
    checks: &Checks<'_>,
    keys: &mut Keys,
) -> Vec<AreaEvent> {
    let classes = &line.config.classes;
    if !classes.is_empty() && !classes.contains(&subject.label) {
        return Vec::new();
    }
    let drafts = line.judge(crossing, (subject.track, &subject.label), now, checks, keys);
    let crossed = |d| AreaEvent { crossed: line.crossed.clone(), ..event(d, &line.config.id, subject) };
    drafts.into_iter().map(crossed).collect()
}

fn event(draft: Draft, area: &AreaId, subject: &Subject) -> AreaEvent {
    AreaEvent {
        key: draft.key,
        rule: draft.rule,
        severity: draft.severity,
        area: area.clone(),
        track: subject.track,
        label: subject.label.clone(),
        rect: subject.rect,
        score: subject.score,
        phase: draft.phase,
        quiet: false,
        start: draft.start,
        at: draft.at.utc,
        end: draft.end.map(|(utc, _)| utc),
        end_reason: draft.end.map(|(_, reason)| reason),
        dwell_ms: draft.dwell_ms,
        direction: draft.direction,
        check: draft.check,
        count: draft.count,
        suppressed: 0,
        jumped: subject.jumped,
        crossed: Vec::new(),
        mono: draft.at.mono,
    }
}
