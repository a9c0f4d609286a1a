//! The tracker: detections of frame after frame into tracks. Strong detections are given to tracks first, then weak ones
//! continue what is still unmatched; each time by the best assignment as a whole. Values in, values out; same input,
//! same output. The motion model is in `kalman`, the assignment in `assign`.

use std::collections::{BTreeMap, VecDeque};

use super::assign::assign;
use super::kalman::{Motion, size};
use super::{PathPoint, Track, TrackId};
use crate::clock::{FrameTime, MonoMillis};
use crate::config::{DetectorConfig, TrackerConfig};
use crate::geometry::Rect;
use crate::ids::IdSource;
use crate::vision::{Detection, Label};

/// Points kept of a path.
const PATH: usize = 64;
/// Scores kept for the median.
const SCORES: usize = 10;
/// Overlap from which a pair is judged by it; below, by distance.
const IOU_GATE: f32 = 0.15;
/// Overlap that a detection of another class needs, and a weak one.
const OTHER_IOU: f32 = 0.4;
const WEAK_IOU: f32 = 0.5;
/// Two tracks that overlap so much are one thing.
const SAME_IOU: f32 = 0.8;
/// Long vehicles, whose cab or trailer detectors see once more.
const ARTICULATED: [&str; 2] = ["truck", "bus"];
/// So much of a part's box is inside the whole's, and its score so much lower: one in front of another is seen well, one behind it looks out.
const PART_INSIDE: f32 = 0.9;
const PART_SCORE: f32 = 1.5;
/// A box that overlaps the first at a place so much is still there; what stood for so many boxes is looked for there for so long
/// after it was seen there last, milliseconds: what drives past in front of it spoils its boxes.
const STILL_IOU: f32 = 0.85;
const STILL_HITS: u32 = 10;
const PLACE_MS: i64 = 2000;
/// Unless it moves, by more of its size a second than this: then whoever is seen at its place is somebody else.
const PLACE_SPEED: f32 = 0.3;
/// What stands where no pixel has changed since it was seen is there, for so long without being found again, milliseconds: a
/// detector loses what it nearly does not see.
const HELD_MS: i64 = 60_000;
/// What was matched less often is not held.
const HELD_HITS: u32 = 3;
/// A track not believed yet is given up after this, milliseconds.
const DOUBTFUL_MS: i64 = 1000;
/// No track is given up before so many frames could have shown it, however far apart they are.
const FRAMES_MISSED: f32 = 2.5;
/// Frames further apart than this are a break and say nothing about the camera's pace, milliseconds.
const BREAK_MS: i64 = 30_000;

/// What a detection and a track need to be the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// Some overlap, or a short way; more overlap for another class.
    Usual,
    /// Much overlap with what was matched in the frame before, or stands: where a thing is only guessed to be, something weak
    /// is found soon, and leads its track away.
    Weak,
    /// The same, and the same class.
    WeakSameClass,
}

/// A track with what only the tracker needs.
#[derive(Debug)]
struct State {
    motion: Motion,
    /// Box of the latest match: what a track that ended is remembered by.
    seen: Rect,
    hits: u32,
    scores: VecDeque<f32>,
    votes: Vec<(Label, f32)>,
    place: Place,
    /// It was there then: matched, or held.
    there: MonoMillis,
}

/// Where a thing stands, or stood.
#[derive(Debug)]
struct Place {
    rect: Rect,
    hits: u32,
    last: MonoMillis,
}

impl Place {
    fn see(&mut self, rect: &Rect, at: MonoMillis, pace_ms: f32) {
        if self.rect.iou(rect) >= STILL_IOU {
            (self.hits, self.last) = (self.hits + 1, at);
        } else if !self.counts(at, pace_ms) {
            *self = Self { rect: *rect, hits: 1, last: at };
        }
    }

    /// Whether the thing may be there again; `pace_ms` is between frames.
    fn counts(&self, at: MonoMillis, pace_ms: f32) -> bool {
        let memory = PLACE_MS.max((FRAMES_MISSED * pace_ms) as i64);
        self.hits >= STILL_HITS && at.since(self.last) <= memory
    }
}

/// Follows the objects of one camera.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    /// Lowest score of a start: of most classes, and of some.
    minimum: (f32, BTreeMap<Label, f32>),
    ids: IdSource,
    now: Option<FrameTime>,
    /// Usual time between frames, milliseconds; 0 = not known.
    pace_ms: f32,
    /// From the frame before to this one.
    step_ms: i64,
    /// Frames are far apart because nobody asked for more.
    sparse: bool,
    /// Parallel: `states[i]` belongs to `tracks[i]`.
    tracks: Vec<Track>,
    states: Vec<State>,
    ended: Vec<Track>,
}

impl Tracker {
    /// No tracks yet.
    #[must_use]
    pub fn new(config: TrackerConfig, ids: IdSource) -> Self {
        let (tracks, states, ended) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            config,
            minimum: (0.0, BTreeMap::new()),
            ids,
            now: None,
            pace_ms: 0.0,
            step_ms: 0,
            sparse: false,
            tracks,
            states,
            ended,
        }
    }

    /// What a detection needs to start a track: the score configured for its class, else `detector.min_score` and
    /// `tracker.start_score`. Weaker ones may still continue a track.
    #[must_use]
    pub fn with_minimum(self, detector: &DetectorConfig) -> Self {
        Self { minimum: (detector.min_score, detector.class_min_score.clone()), ..self }
    }

    /// Whether frames are far apart on purpose from here on: then a pause that is no break is no reason to give a track up.
    pub fn set_sparse(&mut self, sparse: bool) {
        self.sparse = sparse;
    }

    /// Takes in the detections of one frame. Answers all live tracks, those without a match predicted to this frame.
    ///
    /// A frame no later than the one before is taken as of the same moment; one far earlier (the camera started anew)
    /// ends all tracks.
    pub fn update(&mut self, time: FrameTime, detections: &[Detection]) -> &[Track] {
        self.update_where(time, detections, |_, _| false)
    }

    /// The same, where it is known whether no pixel of a box has changed after a moment: what stood there then still does.
    pub fn update_where(
        &mut self,
        time: FrameTime,
        detections: &[Detection],
        unchanged: impl Fn(&Rect, MonoMillis) -> bool,
    ) -> &[Track] {
        self.ended.clear();
        let time = self.advance(time, unchanged);
        let counted = (0..detections.len()).filter(|&d| detections[d].score >= self.config.low_score);
        let (strong, weak): (Vec<usize>, Vec<usize>) = counted.partition(|&d| self.is_strong(&detections[d]));
        let names = first_names(detections, &strong);
        let believed: Vec<usize> = (0..self.tracks.len()).filter(|&i| self.tracks[i].confirmed).collect();
        let doubtful: Vec<usize> = (0..self.tracks.len()).filter(|&i| !self.tracks[i].confirmed).collect();
        let mut left = self.associate(&time, detections, &believed, strong, Terms::Usual);
        // A second name continues what is known by it, but makes nothing believed.
        left.retain(|d| names.contains(d));
        let left = self.associate(&time, detections, &doubtful, left, Terms::Usual);
        // The rear of a bus that was called a car before all of it showed is no car that goes on.
        let part = |&d: &usize| {
            names
                .iter()
                .any(|&n| is_part(&detections[d], &detections[n].label, detections[n].score, &detections[n].rect))
        };
        let (parts, weak): (Vec<usize>, Vec<usize>) = weak.into_iter().partition(part);
        self.associate(&time, detections, &believed, weak, Terms::Weak);
        self.associate(&time, detections, &believed, parts, Terms::WeakSameClass);
        for d in left {
            self.start(&time, &detections[d]);
        }
        self.remove_duplicates();
        &self.tracks
    }

    /// All live tracks, as of the last update.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Forgets everything: the next frame has nothing to do with those before.
    pub fn clear(&mut self) {
        self.tracks.clear();
        self.states.clear();
        self.ended.clear();
        self.now = None;
    }

    /// The tracks that the last update ended, as they were last seen: box, score and path are of their latest match.
    #[must_use]
    pub fn ended(&self) -> &[Track] {
        &self.ended
    }

    /// Ends what was not seen for too long, predicts the rest to `time`; the time to use for this frame.
    fn advance(&mut self, time: FrameTime, unchanged: impl Fn(&Rect, MonoMillis) -> bool) -> FrameTime {
        let before = self.now.unwrap_or(time);
        let passed = time.mono.since(before.mono);
        if passed < -i64::from(self.config.lost_after_ms) {
            self.end_where(|_, _| true);
            self.now = Some(time);
            return time;
        }
        let time = if passed < 0 { before } else { time };
        self.learn_pace(passed);
        self.step_ms = passed.max(0);
        for (track, state) in self.tracks.iter_mut().zip(&mut self.states) {
            let still = state.hits >= HELD_HITS && state.motion.speed() < PLACE_SPEED * size(&state.seen);
            let lately = time.mono.since(track.last_seen) <= HELD_MS;
            let stood = track.confirmed && !track.matched && still && lately;
            track.held = stood && unchanged(&state.seen, MonoMillis(track.last_seen.0 + 1));
            state.there = if track.held { time.mono } else { state.there };
        }
        self.end_where(|there, limit| time.mono.since(there) > limit);
        let dt = self.step_ms as f32 / 1000.0;
        for (track, state) in self.tracks.iter_mut().zip(&mut self.states) {
            if track.held {
                track.rect = state.seen;
            } else {
                state.motion.predict(dt, track.matched);
                track.rect = state.motion.rect();
            }
            track.matched = false;
        }
        self.now = Some(time);
        time
    }

    fn learn_pace(&mut self, passed: i64) {
        if (1..BREAK_MS).contains(&passed) {
            let passed = passed as f32;
            self.pace_ms = if self.pace_ms == 0.0 { passed } else { self.pace_ms + 0.3 * (passed - self.pace_ms) };
        }
    }

    /// Ends tracks; the closure is given when this track was there last, and the time after which it is over then, milliseconds.
    fn end_where(&mut self, over: impl Fn(MonoMillis, i64) -> bool) {
        let on_purpose = self.sparse && self.step_ms < BREAK_MS;
        let pace_ms = if on_purpose { self.pace_ms.max(self.step_ms as f32) } else { self.pace_ms };
        let frames = (FRAMES_MISSED * pace_ms) as i64;
        let lost_after = i64::from(self.config.lost_after_ms).max(frames);
        let doubtful = lost_after.min(DOUBTFUL_MS.max(i64::from(self.config.confirm_ms)).max(frames));
        for i in (0..self.tracks.len()).rev() {
            let limit = if self.tracks[i].confirmed { lost_after } else { doubtful };
            if over(self.states[i].there, limit) {
                self.end(i);
            }
        }
    }

    fn end(&mut self, i: usize) {
        let state = self.states.remove(i);
        let track = self.tracks.remove(i);
        self.ended.push(Track { rect: state.seen, ..track });
    }

    fn is_strong(&self, detection: &Detection) -> bool {
        let (most, some) = &self.minimum;
        detection.score >= *some.get(&detection.label).unwrap_or(&most.max(self.config.start_score))
    }

    /// Gives detections to the unmatched ones of `tracks`; the detections left over.
    fn associate(
        &mut self,
        time: &FrameTime,
        detections: &[Detection],
        tracks: &[usize],
        offered: Vec<usize>,
        terms: Terms,
    ) -> Vec<usize> {
        let open: Vec<usize> = tracks.iter().copied().filter(|&i| !self.tracks[i].matched).collect();
        let row = |&t: &usize| offered.iter().map(|&d| self.similarity(time, t, &detections[d], terms)).collect();
        let pairs = assign(&open.iter().map(row).collect::<Vec<Vec<f32>>>());
        for &(t, d) in &pairs {
            self.matched(open[t], time, &detections[offered[d]]);
        }
        let free = |k: &usize| !pairs.iter().any(|p| p.1 == *k);
        (0..offered.len()).filter(free).map(|k| offered[k]).collect()
    }

    /// 0 = cannot be the same thing, up to 1. Overlap first; for boxes that moved further than their size between two
    /// frames, the distance in sizes, within what a thing can move in the time since it was last seen: from where it is
    /// guessed to be, or, when it has turned or stopped, from where it was.
    fn similarity(&self, time: &FrameTime, t: usize, d: &Detection, terms: Terms) -> f32 {
        let (track, place) = (&self.tracks[t], &self.states[t].place);
        let guessed = track.rect.iou(&d.rect);
        let is_still = self.states[t].motion.speed() < PLACE_SPEED * size(&track.rect);
        let stands = is_still && (track.held || place.counts(time.mono, self.pace_ms));
        let iou = if stands { guessed.max(place.rect.iou(&d.rect)) } else { guessed };
        let same_class = track.label == d.label;
        let since_ms = time.mono.since(self.states[t].there).max(0);
        let is_fresh = since_ms <= self.step_ms;
        let weak = terms != Terms::Usual;
        if weak && !is_fresh && !stands || terms == Terms::WeakSameClass && !same_class {
            return 0.0;
        }
        if weak || !same_class {
            let least = if weak { WEAK_IOU } else { OTHER_IOU };
            let weight = if same_class { 1.0 } else { 0.5 };
            return if iou >= least { iou * weight } else { 0.0 };
        }
        if iou >= IOU_GATE {
            return iou;
        }
        // Who is seen beside a thing that did not move is somebody else.
        if track.held {
            return 0.0;
        }
        let (a, b) = (size(&track.rect), size(&d.rect));
        if a.max(b) > 1.6 * a.min(b) {
            return 0.0;
        }
        let is_new = self.states[t].hits < 3;
        let (pace, most) = if is_new { (2.5, 2.0) } else { (1.0, 1.5) };
        // Of a thing that was hidden for a while the old place says nothing, and others are about.
        let size = f32::midpoint(a, b);
        let side = if is_fresh { f32::midpoint(pace_size(&track.rect), pace_size(&d.rect)) } else { size };
        let reach = (0.3 * size + pace * side * since_ms as f32 / 1000.0).min(most * side);
        let q = d.rect.center();
        let from = |r: &Rect| (r.center().x - q.x).hypot(r.center().y - q.y);
        let guessed = from(&track.rect);
        let distance = if is_fresh { guessed.min(from(&self.states[t].seen)) } else { guessed };
        (IOU_GATE * (1.0 - distance / reach)).max(0.0)
    }

    fn matched(&mut self, i: usize, time: &FrameTime, d: &Detection) {
        let pace_ms = self.pace_ms;
        let (track, state) = (&mut self.tracks[i], &mut self.states[i]);
        state.motion.update(&d.rect, d.score);
        state.hits += 1;
        state.see(d);
        state.place.see(&d.rect, time.mono, pace_ms);
        track.rect = state.motion.rect();
        state.seen = track.rect;
        state.there = time.mono;
        track.label = state.label();
        track.score = d.score;
        track.median_score = state.median();
        (track.matched, track.held) = (true, false);
        track.last_seen = time.mono;
        track.last_seen_utc = time.utc;
        let age = track.last_seen.since(track.first_seen);
        track.confirmed |= state.hits >= 2 && age >= i64::from(self.config.confirm_ms);
        track.path.push_back(PathPoint { utc: time.utc, foot: track.rect.foot() });
        thin(&mut track.path);
    }

    /// A new track, unless the thing has one already under another class, or it is a part of one.
    fn start(&mut self, time: &FrameTime, d: &Detection) {
        let known = |t: &Track| t.matched && (t.rect.iou(&d.rect) > SAME_IOU || is_part(d, &t.label, t.score, &t.rect));
        if self.tracks.iter().any(known) {
            return;
        }
        let motion = Motion::new(&d.rect);
        let place = Place { rect: d.rect, hits: 1, last: time.mono };
        let mut state = State {
            motion,
            seen: d.rect,
            hits: 1,
            scores: VecDeque::new(),
            votes: Vec::new(),
            place,
            there: time.mono,
        };
        state.see(d);
        self.states.push(state);
        self.tracks.push(Track {
            id: TrackId(self.ids.next_id(time.utc)),
            label: d.label.clone(),
            rect: d.rect,
            score: d.score,
            median_score: d.score,
            matched: true,
            held: false,
            confirmed: false,
            first_seen: time.mono,
            last_seen: time.mono,
            first_seen_utc: time.utc,
            last_seen_utc: time.utc,
            path: VecDeque::from([PathPoint { utc: time.utc, foot: d.rect.foot() }]),
        });
    }

    /// Of two tracks on one thing the younger goes. Two of one class are two things when the younger is believed (one is
    /// behind the other) or both were matched.
    fn remove_duplicates(&mut self) {
        let mut i = self.tracks.len();
        while i > 0 {
            i -= 1;
            let b = &self.tracks[i];
            let same = |a: &Track| {
                let guess = !b.confirmed && !b.matched;
                (guess || a.label != b.label) && a.matched && a.rect.iou(&b.rect) > SAME_IOU
            };
            // Tracks are kept in the order they started.
            if self.tracks[..i].iter().any(same) {
                self.end(i);
            }
        }
    }
}

/// Without those whose box is there under another class that is believed more. (Two things of one class may well stand one behind
/// the other.)
fn first_names(detections: &[Detection], strong: &[usize]) -> Vec<usize> {
    let mut ranked = strong.to_vec();
    ranked.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score));
    let mut names: Vec<usize> = Vec::with_capacity(ranked.len());
    for d in ranked {
        let this = &detections[d];
        let same = |&n: &usize| detections[n].label != this.label && detections[n].rect.iou(&this.rect) > SAME_IOU;
        if !names.iter().any(same) {
            names.push(d);
        }
    }
    names
}

/// Whether `d` is a part of a thing of this label, score and box.
fn is_part(d: &Detection, label: &Label, score: f32, rect: &Rect) -> bool {
    let inside = rect.intersection(&d.rect).area() >= PART_INSIDE * d.rect.area();
    inside && d.label == *label && ARTICULATED.contains(&d.label.as_str()) && score >= PART_SCORE * d.score
}

impl State {
    fn see(&mut self, d: &Detection) {
        if self.scores.len() == SCORES {
            self.scores.pop_front();
        }
        self.scores.push_back(d.score);
        match self.votes.iter_mut().find(|v| v.0 == d.label) {
            Some(vote) => vote.1 += d.score,
            None => self.votes.push((d.label.clone(), d.score)),
        }
    }

    fn label(&self) -> Label {
        let most = self.votes.iter().reduce(|a, b| if b.1 > a.1 { b } else { a });
        most.expect("a track starts with a vote").0.clone()
    }

    fn median(&self) -> f32 {
        let mut scores: Vec<f32> = self.scores.iter().copied().collect();
        scores.sort_by(f32::total_cmp);
        f32::midpoint(scores[(scores.len() - 1) / 2], scores[scores.len() / 2])
    }
}

/// The size that pace is measured in: a walking person is slim, but as fast as tall.
fn pace_size(r: &Rect) -> f32 {
    size(r).max(0.8 * r.height())
}

/// Drops every second point but the first and the latest when there are too many.
fn thin(path: &mut VecDeque<PathPoint>) {
    if path.len() > PATH {
        let last = path.len() - 1;
        let mut i = 0;
        path.retain(|_| {
            i += 1;
            (i - 1) % 2 == 0 || i - 1 == last
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonoMillis, UtcMillis};

    fn time(ms: i64) -> FrameTime {
        FrameTime::of_file(UtcMillis(1_000_000 + ms), MonoMillis(ms))
    }

    fn seen(label: &str, x: f32, score: f32) -> Detection {
        Detection::whole(label.into(), score, Rect::from([x, 100.0, x + 60.0, 220.0]))
    }

    fn tracker() -> Tracker {
        Tracker::new(TrackerConfig::default(), IdSource::counted(1))
    }

    fn confirmed(t: &[Track]) -> Vec<TrackId> {
        t.iter().filter(|t| t.confirmed).map(|t| t.id).collect()
    }

    #[test]
    fn a_truck_within_a_truck_is_its_cab_unless_it_is_seen_well_or_looks_out() {
        let tracks = |label: &str, score: f32, inner: [f32; 4]| {
            let mut t = tracker();
            let boxes = [(0.8, [100.0, 100.0, 500.0, 220.0]), (score, inner)];
            let seen = boxes.map(|(score, r)| Detection::whole(label.into(), score, Rect::from(r)));
            (0..10).map(|i| t.update(time(i * 200), &seen).len()).last()
        };
        let (cab, out) = ([380.0, 110.0, 495.0, 218.0], [380.0, 60.0, 495.0, 218.0]);
        assert_eq!(
            [tracks("truck", 0.5, cab), tracks("truck", 0.6, cab), tracks("truck", 0.5, out)],
            [1, 2, 2].map(Some)
        );
        assert_eq!(tracks("person", 0.5, cab), Some(2), "people have no parts");
    }

    #[test]
    fn what_is_seen_under_two_names_at_one_place_is_what_it_is_more_likely() {
        let mut t = tracker();
        // The wrong name is a little stronger at first; then both are there, the right one stronger.
        t.update(time(0), &[seen("two_wheeler", 80.0, 0.42)]);
        for i in 1..8 {
            let x = 100.0 + i as f32 * 10.0;
            t.update(time(i * 200), &[seen("person", x, 0.64), seen("two_wheeler", x + 1.0, 0.5)]);
        }
        let labels: Vec<_> = t.tracks().iter().filter(|t| t.confirmed).map(|t| t.label.to_string()).collect();
        assert_eq!(labels, ["person"]);
    }

    #[test]
    fn the_rear_of_a_bus_that_was_a_car_at_first_does_not_go_on_as_one() {
        let mut t = tracker();
        let at = |label: &str, score: f32, [x0, y0, x1, y1]: [u16; 4]| {
            Detection::whole(label.into(), score, Rect::from([x0, y0, x1, y1].map(f32::from)))
        };
        let shows = [at("car", 0.56, [252, 201, 299, 291]), at("car", 0.54, [252, 200, 319, 292])];
        t.update(time(0), &shows[..1]);
        t.update(time(200), &[at("bus", 0.84, [66, 197, 315, 300]), shows[1].clone()]);
        t.update(time(400), &[at("car", 0.45, [255, 199, 340, 294]), at("bus", 0.82, [23, 199, 337, 299])]);
        // As it was seen: the whole bus, and its rear with a low score.
        let drives = [
            ([50, 197, 350, 300], 0.20, [111, 210, 335, 281]),
            ([67, 196, 374, 300], 0.21, [114, 207, 360, 283]),
            ([86, 197, 392, 298], 0.14, [196, 196, 389, 290]),
            ([106, 196, 413, 299], 0.15, [161, 209, 397, 281]),
            ([126, 192, 432, 301], 0.15, [148, 207, 356, 283]),
            ([148, 192, 449, 298], 0.12, [163, 204, 376, 286]),
            ([168, 192, 475, 300], 0.10, [190, 205, 395, 285]),
            ([189, 192, 495, 300], 0.10, [211, 204, 414, 284]),
        ];
        for (i, (whole, score, rear)) in (3..).zip(drives) {
            t.update(time(i * 200), &[at("bus", 0.81, whole), at("bus", score, rear)]);
        }
        let seen: Vec<_> = t.tracks().iter().filter(|t| t.matched).map(|t| t.label.to_string()).collect();
        assert_eq!(seen, ["bus"], "{:?}", t.tracks());
    }

    #[test]
    fn a_name_that_may_not_start_a_track_takes_none_from_one_that_may() {
        let detector = DetectorConfig {
            min_score: 0.4,
            class_min_score: BTreeMap::from([("truck".into(), 0.7)]),
            ..DetectorConfig::default()
        };
        let mut t = tracker().with_minimum(&detector);
        for i in 0..10 {
            t.update(time(i * 200), &[seen("car", 100.0, 0.55), seen("truck", 101.0, 0.6)]);
        }
        let labels: Vec<_> = t.tracks().iter().filter(|t| t.confirmed).map(|t| t.label.to_string()).collect();
        assert_eq!(labels, ["car"]);
    }

    #[test]
    fn a_name_that_counts_for_nothing_itself_takes_none_from_another() {
        let mut t = tracker();
        let at = |label: &str, x: f32, score: f32| {
            Detection::whole(label.into(), score, Rect::from([x, 100.0, x + 200.0, 200.0]))
        };
        t.update(time(0), &[at("truck", 100.0, 0.8), at("bus", 120.0, 0.7), at("car", 140.0, 0.6)]);
        let labels: Vec<_> = t.tracks().iter().map(|t| t.label.to_string()).collect();
        assert_eq!(labels, ["truck", "car"]);
    }

    #[test]
    fn who_is_known_as_a_person_stays_one_when_a_second_name_is_stronger() {
        let mut t = tracker();
        (0..15).for_each(|i| _ = t.update(time(i * 200), &[seen("person", 100.0, 0.7)]));
        for i in 15..40 {
            t.update(time(i * 200), &[seen("person", 100.0, 0.7), seen("two_wheeler", 101.0, 0.75)]);
        }
        let labels: Vec<_> = t.tracks().iter().map(|t| t.label.to_string()).collect();
        assert_eq!(labels, ["person"]);
    }

    #[test]
    fn who_is_seen_where_somebody_stood_who_has_walked_off_is_somebody_else() {
        let person = |x: f32| Detection::whole("person".into(), 0.8, Rect::from([x, 100.0, x + 50.0, 250.0]));
        for behind in [0.0, 10.0, 25.0] {
            let mut t = tracker();
            let id = (0..20).map(|i| t.update(time(i * 200), &[person(200.0)])[0].id).last().unwrap();
            for i in 1..8 {
                let walks = 200.0 + 20.0 * i as f32;
                // Who stood behind is found once half of him shows.
                let found = [person(walks), person(200.0 - behind)];
                t.update(time((19 + i) * 200), if walks < 230.0 { &found[..1] } else { &found });
            }
            let walked = t.tracks().iter().find(|t| t.matched && t.rect.x0 > 300.0).map(|t| t.id);
            assert_eq!(walked, Some(id), "{behind}: {:?}", t.tracks());
        }
    }

    #[test]
    fn what_stands_keeps_its_name_when_something_drives_past_in_front_of_it() {
        let mut t = tracker();
        let standing = Rect::from([556.0, 243.0, 678.0, 295.0]);
        let other = Rect::from([424.0, 245.0, 540.0, 295.0]);
        let car = |score: u16, r: Rect| Detection::whole("car".into(), f32::from(score) / 100.0, r);
        let stand = [car(88, standing), car(86, other)];
        let id = (0..20).map(|i| t.update(time(i * 200), &stand)[0].id).last().unwrap();
        // What the detector made of it when a car of the same colour drove past both: hundredths of the score, and pixels.
        #[rustfmt::skip]
        let past: [&[(u16, [u16; 4])]; 19] = [
            &[(88, [556, 243, 678, 295]), (87, [300, 271, 436, 328]), (86, [424, 245, 539, 295])],
            &[(89, [556, 243, 678, 295]), (86, [325, 272, 458, 328]), (82, [421, 245, 538, 294]), (34, [351, 257, 508, 313])],
            &[(88, [556, 243, 677, 295]), (81, [349, 270, 482, 328]), (70, [418, 244, 539, 295]), (61, [352, 259, 519, 320]), (46, [373, 249, 538, 303])],
            &[(88, [556, 243, 678, 295]), (77, [373, 251, 510, 328]), (52, [387, 245, 540, 300]), (28, [448, 247, 540, 293])],
            &[(88, [556, 243, 678, 295]), (82, [396, 242, 533, 329])],
            &[(88, [556, 244, 678, 295]), (79, [420, 244, 552, 328])],
            &[(87, [556, 244, 677, 294]), (82, [428, 244, 573, 328])],
            &[(81, [554, 244, 677, 293]), (79, [456, 247, 599, 328]), (47, [425, 244, 518, 293]), (25, [518, 245, 655, 307])],
            &[(77, [488, 267, 620, 327]), (67, [552, 243, 677, 293]), (66, [426, 245, 521, 293]), (53, [457, 254, 638, 324]), (35, [417, 243, 593, 312]), (35, [504, 244, 671, 310])],
            &[(82, [424, 245, 539, 294]), (77, [510, 242, 660, 330]), (31, [527, 244, 679, 301])],
            &[(85, [424, 245, 538, 295]), (85, [536, 241, 676, 330])],
            &[(87, [424, 245, 540, 295]), (87, [553, 241, 694, 329])],
            &[(87, [424, 245, 540, 295]), (86, [560, 242, 709, 329])],
            &[(87, [424, 245, 540, 295]), (80, [597, 249, 739, 327]), (59, [553, 242, 706, 299]), (41, [558, 245, 641, 292])],
            &[(87, [424, 245, 539, 295]), (87, [621, 263, 763, 328]), (73, [556, 243, 681, 294]), (71, [620, 253, 703, 325]), (49, [544, 240, 731, 318]), (23, [578, 250, 750, 332])],
            &[(88, [647, 269, 788, 329]), (87, [423, 245, 539, 295]), (81, [556, 243, 680, 294]), (32, [560, 249, 706, 315])],
            &[(88, [556, 244, 683, 295]), (87, [424, 245, 539, 295]), (86, [665, 271, 811, 328])],
            &[(89, [691, 269, 836, 328]), (89, [556, 243, 679, 295]), (87, [424, 245, 540, 295])],
            &[(91, [710, 268, 860, 330]), (89, [556, 243, 678, 295]), (87, [424, 245, 540, 295])],
        ];
        for (i, boxes) in (20..).zip(past) {
            let seen: Vec<Detection> = boxes.iter().map(|(s, r)| car(*s, Rect::from(r.map(f32::from)))).collect();
            t.update(time(i * 200), &seen);
        }
        let there = |t: &&Track| t.matched && t.rect.iou(&standing) > 0.8;
        assert_eq!(t.tracks().iter().filter(there).map(|t| t.id).collect::<Vec<_>>(), [id], "{:?}", t.tracks());
    }

    #[test]
    fn a_class_may_need_more_or_less_to_start_a_track() {
        let class_min_score = BTreeMap::from([("truck".into(), 0.7), ("person".into(), 0.3)]);
        let detector = DetectorConfig { min_score: 0.5, class_min_score, ..DetectorConfig::default() };
        let mut t = tracker().with_minimum(&detector);
        let scene = |score: f32| ["truck", "person", "car"].map(|l| seen(l, 100.0 + 200.0 * l.len() as f32, score));
        let mut live = |ms: i64, score: f32| -> Vec<String> {
            t.update(time(ms), &scene(score)).iter().filter(|t| t.matched).map(|t| t.label.to_string()).collect()
        };
        assert_eq!(live(0, 0.32), ["person"]);
        assert_eq!(live(200, 0.6), ["person", "car"], "0.5 for most, though tracks start from 0.4");
        assert_eq!(live(400, 0.75), ["person", "car", "truck"]);
        assert_eq!(live(900, 0.75).len(), 3);
        assert_eq!(live(1100, 0.15), ["person", "car", "truck"], "a weak one continues what is believed");
    }

    #[test]
    fn crossing_objects_keep_their_ids() {
        let mut t = tracker();
        let at = |i: i64| (i as f32 * 10.0, 400.0 - i as f32 * 10.0);
        let ids: Vec<Vec<TrackId>> = (0..40)
            .map(|i| {
                let (a, b) = at(i);
                let mut all = vec![seen("person", a, 0.9), seen("person", b, 0.9)];
                if (a - b).abs() < 15.0 {
                    all.pop();
                }
                let mut tracks = t.update(time(i * 100), &all).to_vec();
                tracks.sort_by(|p, q| p.rect.x0.total_cmp(&q.rect.x0));
                confirmed(&tracks)
            })
            .collect();
        assert_eq!(ids[10].len(), 2);
        assert_eq!(ids[39], vec![ids[10][1], ids[10][0]], "left and right have changed places, ids went along");
    }

    #[test]
    fn two_seconds_behind_something_keep_the_id_and_four_end_it() {
        for (gap, kept) in [(2000, true), (4000, false)] {
            let mut t = tracker();
            for i in 0..10 {
                t.update(time(i * 200), &[seen("person", i as f32 * 12.0, 0.8)]);
            }
            let id = t.update(time(2000), &[seen("person", 120.0, 0.8)])[0].id;
            for ms in (2200..2000 + gap).step_by(200) {
                assert!(t.update(time(ms), &[]).iter().all(|t| !t.matched));
            }
            let x = 120.0 + gap as f32 * 0.06;
            let after = t.update(time(2000 + gap), &[seen("person", x, 0.8)]);
            assert_eq!(after[0].id == id, kept);
        }
    }

    #[test]
    fn a_pause_on_purpose_ends_no_track() {
        for (sparse, kept) in [(false, false), (true, true)] {
            let mut t = tracker();
            let before = (0..10).map(|i| confirmed(t.update(time(i * 200), &[seen("truck", 100.0, 0.9)]))).last();
            t.set_sparse(sparse);
            let after = confirmed(t.update(time(1800 + 6000), &[seen("truck", 102.0, 0.9)]));
            assert_eq!(before == Some(after), kept, "sparse: {sparse}");
        }
    }

    #[test]
    fn a_break_ends_all_tracks_however_far_apart_frames_are_on_purpose() {
        let mut t = tracker();
        let before = (0..10).map(|i| confirmed(t.update(time(i * 200), &[seen("truck", 100.0, 0.9)]))).last().unwrap();
        t.set_sparse(true);
        t.update(time(3_600_000), &[seen("truck", 102.0, 0.9)]);
        assert_eq!(t.ended().iter().map(|t| t.id).collect::<Vec<_>>(), before);
        assert_ne!(t.tracks()[0].id, before[0]);
    }

    #[test]
    fn an_ended_track_is_where_it_was_last_seen() {
        let mut t = tracker();
        for i in 0..10 {
            t.update(time(i * 200), &[seen("person", i as f32 * 12.0, 0.8)]);
        }
        let last = t.update(time(2000), &[seen("person", 120.0, 0.8)])[0].clone();
        for ms in (2200..=5000).step_by(200) {
            let live = t.update(time(ms), &[]);
            assert!(live[0].rect.x0 > last.rect.x0, "a live track is predicted");
        }
        assert!(t.update(time(5200), &[]).is_empty());
        assert_eq!(t.ended(), [Track { matched: false, ..last }]);
    }

    #[test]
    fn fast_objects_at_two_frames_a_second_are_one_track() {
        let mut t = tracker();
        for i in 0..8 {
            let tracks = t.update(time(i * 500), &[seen("car", i as f32 * 85.0, 0.8)]);
            assert_eq!(tracks.len(), 1, "frame {i}");
        }
        assert!(t.update(time(4000), &[])[0].confirmed);
    }

    #[test]
    fn a_walking_person_is_one_track_at_two_and_a_half_frames_a_second_with_swinging_legs_and_turns() {
        let mut t = tracker();
        let mut x: f32 = 0.0;
        for i in 0..40 {
            // 1.4 m/s of a person 1.7 m tall and 120 pixels high; turns at once.
            x += if (i / 12) % 2 == 0 { 40.0 } else { -40.0 };
            let w = [30.0, 66.0, 44.0][i as usize % 3];
            let rect = Rect::from([x - w / 2.0, 100.0, x + w / 2.0, 220.0]);
            let tracks = t.update(time(i * 400), &[Detection::whole("person".into(), 0.8, rect)]);
            assert_eq!(tracks.len(), 1, "frame {i}");
        }
    }

    #[test]
    fn weak_detections_continue_tracks_but_start_none() {
        let mut t = tracker();
        assert!(t.update(time(0), &[seen("car", 0.0, 0.2)]).is_empty());
        for i in 0..5 {
            t.update(time(i * 200), &[seen("car", 0.0, 0.8)]);
        }
        assert!(t.update(time(1000), &[seen("car", 2.0, 0.2)])[0].matched);
        assert!(!t.update(time(1200), &[seen("car", 24.0, 0.2)])[0].matched, "too far off");
        assert!(!t.update(time(1400), &[seen("car", 2.0, 0.2)])[0].matched, "it is only guessed to be there");
        assert!(t.update(time(1600), &[seen("car", 2.0, 0.8)])[0].matched);
        for i in 9..20 {
            t.update(time(i * 200), &[seen("car", 0.0, 0.8)]);
        }
        t.update(time(4000), &[]);
        assert!(t.update(time(4200), &[seen("car", 2.0, 0.2)])[0].matched, "it stood for long enough");
        let mut sparse = tracker();
        (0..12).for_each(|i| {
            sparse.update(time(i * 4000), &[seen("car", 0.0, 0.8)]);
        });
        sparse.update(time(48_000), &[]);
        assert!(sparse.update(time(52_000), &[seen("car", 2.0, 0.2)])[0].matched, "nor is one frame of few much");
    }

    #[test]
    fn what_stood_is_there_while_no_pixel_of_it_changes_for_a_minute_at_most() {
        let lost_at = |unchanged: fn(i64) -> bool| {
            let mut t = tracker();
            (0..15).for_each(|i| {
                t.update(time(i * 200), &[seen("person", 100.0, 0.8)]);
            });
            // Seen at 2.8 s last.
            let mut still_there = |i: i64| {
                let tracks = t.update_where(time(i * 200), &[], |rect, since| {
                    assert!(rect.iou(&seen("person", 100.0, 0.8).rect) > 0.95 && since == MonoMillis(2801));
                    unchanged(i * 200)
                });
                !tracks.is_empty()
            };
            (15..400).find(|i| !still_there(*i)).map_or(0, |i| i * 200)
        };
        assert_eq!([lost_at(|_| false), lost_at(|ms| ms < 10_000), lost_at(|_| true)], [6000, 13_000, 66_000]);
        // Who comes up beside it is another one, and what is found again when the pixels change is the same.
        let mut t = tracker();
        (0..15).for_each(|i| {
            t.update(time(i * 200), &[seen("person", 100.0, 0.8)]);
        });
        let id = t.tracks()[0].id;
        (15..100).for_each(|i| {
            t.update_where(time(i * 200), &[], |_, _| true);
        });
        let both = t.update_where(time(20_000), &[seen("person", 180.0, 0.8)], |_, _| true);
        assert_eq!(both.iter().map(|t| (t.id == id, t.matched)).collect::<Vec<_>>(), [(true, false), (false, true)]);
        let found = t.update_where(time(20_200), &[seen("person", 104.0, 0.8)], |_, _| false);
        assert!(found.iter().any(|t| t.id == id && t.matched));
        // Who walks is not held.
        let mut t = tracker();
        (0..15).for_each(|i| {
            t.update(time(i * 200), &[seen("person", 100.0 + i as f32 * 20.0, 0.8)]);
        });
        assert!((15..40).any(|i| t.update_where(time(i * 200), &[], |_, _| true).is_empty()));
    }

    #[test]
    fn the_label_is_voted_and_a_second_class_on_the_same_thing_starts_nothing() {
        let mut t = tracker();
        for i in 0..6 {
            let tracks = t.update(time(i * 200), &[seen("truck", 0.0, 0.8), seen("car", 1.0, 0.5)]);
            assert_eq!((tracks.len(), tracks[0].label.as_str()), (1, "truck"));
        }
        assert_eq!(t.update(time(1200), &[seen("car", 0.0, 0.6)])[0].label.as_str(), "truck");
    }

    #[test]
    fn jumps_of_time_end_tracks_or_change_nothing() {
        let mut t = tracker();
        for i in 0..5 {
            t.update(time(i * 200), &[seen("car", 0.0, 0.8)]);
        }
        let id = t.update(time(700), &[seen("car", 0.0, 0.8)])[0].id;
        assert_eq!(t.update(time(800), &[seen("car", 0.0, 0.8)])[0].id, id);
        assert_eq!(t.update(time(600), &[seen("car", 0.0, 0.8)])[0].last_seen, MonoMillis(800), "a little back is now");
        assert_ne!(t.update(time(900_000), &[seen("car", 0.0, 0.8)])[0].id, id);
        assert_eq!(t.ended().iter().map(|t| t.id).collect::<Vec<_>>(), vec![id]);
        assert_eq!(t.update(time(0), &[]).len(), 0, "back to the start: the camera is a new one");
    }

    #[test]
    fn paths_stay_short_and_keep_their_ends() {
        let mut t = tracker();
        for i in 0..300 {
            t.update(time(i * 100), &[seen("car", i as f32, 0.8)]);
        }
        let path = &t.update(time(30_000), &[])[0].path;
        assert!(path.len() <= PATH && path.len() > PATH / 3);
        assert_eq!(path.front().unwrap().utc, time(0).utc);
        assert_eq!(path.back().unwrap().utc, time(29_900).utc);
    }
}
