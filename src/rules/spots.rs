//! Where things of some classes stand still in an area, remembered by place: a thing that is lost behind something and
//! found again at its place is the same, whatever its track is called.

use super::EndReason;
use super::crowd::{Crowd, Picture, Present};
use super::presence::Sight;
use crate::geometry::Rect;
use crate::track::TrackId;
use crate::vision::Label;

/// Overlap of boxes from which a thing is at its place.
const SAME_PLACE: f32 = 0.4;
/// A thing is away from its place when it is seen elsewhere for so long, milliseconds: its box may shrink for a moment.
const AWAY_MS: i64 = 400;
/// So long a break leaves what was seen before it valid, milliseconds.
const MEMORY_MS: i64 = 600_000;
/// Fraction of a place that must be covered by something else to conclude nothing.
const COVERED: f32 = 0.3;

/// A thing at its place.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Unique in its list, over changes of the track.
    pub number: u64,
    pub track: TrackId,
    pub label: Label,
    pub rect: Rect,
    pub score: f32,
    pub since: Sight,
    /// Latest sight of it there.
    pub last: Sight,
    /// It stood there before anybody looked: its place was never seen without it.
    pub at_start: bool,
    /// Since when the place is seen without it.
    clear: Option<Sight>,
    /// Since when its track is seen elsewhere.
    away: Option<Sight>,
    /// Something else covers the place, or did when it was last seen there: its track may have gone along with that.
    hidden: bool,
}

/// Whether what was seen before still says something: the camera may have been lost meanwhile. Times step back a little when a
/// camera connects anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Option<((u32, u32), Sight)>);

impl Memory {
    /// Takes that a frame is looked at. Void after a long break, and when the picture has another size.
    pub fn is_void(&mut self, picture: &Picture, now: Sight) -> bool {
        let before = self.0.replace((picture.size, now));
        before.is_some_and(|(size, at)| size != picture.size || now.mono.since(at.mono).abs() > MEMORY_MS)
    }
}

/// What became of a spot that is no more.
#[derive(Debug, Clone)]
pub(super) struct Vanished {
    pub spot: Spot,
    /// When it left its place, or was last seen there.
    pub at: Sight,
    /// `Observed` when it was seen to move away.
    pub reason: EndReason,
}

/// All spots of one rule at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Spots {
    numbers: u64,
    pub list: Vec<Spot>,
}

impl Spots {
    /// Takes who is there after a frame (of the rule's classes) and everything seen in it. Answers the spots that are over:
    /// moved away, or seen without their thing for `clear_ms`. `at_start`: whether what stands at a place stood there first.
    pub fn see(
        &mut self,
        crowd: &Crowd,
        picture: &Picture,
        now: Sight,
        clear_ms: i64,
        at_start: impl Fn(&Rect) -> bool,
    ) -> Vec<Vanished> {
        for present in crowd.present.iter().filter(|p| p.seen) {
            self.take(present, now, &at_start);
        }
        let mut over = Vec::new();
        let mut i = 0;
        while i < self.list.len() {
            match self.list[i].judge(crowd, picture, now, clear_ms) {
                Some((at, reason)) => over.push(Vanished { spot: self.list.remove(i), at, reason }),
                None => i += 1,
            }
        }
        over
    }

    /// Nobody looks for a while: what was just being missed is looked for anew.
    pub fn pause(&mut self) {
        self.list.iter_mut().for_each(|s| (s.clear, s.away) = (None, None));
    }

    fn take(&mut self, present: &Present, now: Sight, at_start: &impl Fn(&Rect) -> bool) {
        // The place counts before the name: tracks are lost, found and mixed up.
        let here = |s: &Spot| s.label == present.label && s.rect.iou(&present.rect) >= SAME_PLACE;
        let at_place = self.list.iter().position(here);
        let known = at_place.or_else(|| self.list.iter().position(|s| s.track == present.track));
        match (known.map(|i| &mut self.list[i]), present.still_since) {
            (Some(spot), _) if at_place.is_some() => {
                (spot.track, spot.score) = (present.track, present.score);
                spot.is_there(now);
            }
            (None, Some(still)) => {
                let since = if still.mono < present.entered.mono { present.entered } else { still };
                self.numbers += 1;
                self.list.push(Spot {
                    number: self.numbers,
                    track: present.track,
                    label: present.label.clone(),
                    rect: present.rect,
                    score: present.score,
                    since,
                    last: now,
                    at_start: at_start(&present.rect),
                    clear: None,
                    away: None,
                    hidden: false,
                });
            }
            _ => {}
        }
    }
}

impl Spot {
    fn is_there(&mut self, now: Sight) {
        (self.last, self.clear, self.away, self.hidden) = (now, None, None, false);
    }

    /// When and how it went, once that is certain.
    fn judge(&mut self, crowd: &Crowd, picture: &Picture, now: Sight, clear_ms: i64) -> Option<(Sight, EndReason)> {
        // What is still in its place is there, whatever the vote of its track calls it by now.
        if picture.boxes.iter().any(|(track, r)| *track == self.track && r.iou(&self.rect) >= SAME_PLACE) {
            self.is_there(now);
        }
        if self.last == now {
            return None;
        }
        let covers = |(track, rect): &(TrackId, Rect)| {
            *track != self.track && rect.intersection(&self.rect).area() > COVERED * self.rect.area()
        };
        if picture.boxes.iter().any(covers) {
            (self.clear, self.hidden) = (None, true);
            return None;
        }
        if !self.hidden
            && let Some(over) = self.seen_to_go(crowd, now)
        {
            return Some(over);
        }
        let clear = *self.clear.get_or_insert(now);
        (now.mono.since(clear.mono) >= clear_ms).then_some((self.last, EndReason::TrackLost))
    }

    /// Its track left the area, or is in another place of it.
    fn seen_to_go(&mut self, crowd: &Crowd, now: Sight) -> Option<(Sight, EndReason)> {
        if let Some(gone) = crowd.gone.iter().find(|g| g.track == self.track && g.reason == EndReason::Observed) {
            return Some((gone.at, EndReason::Observed));
        }
        let moved = |p: &Present| p.track == self.track && p.label == self.label && p.rect.iou(&self.rect) < SAME_PLACE;
        if !crowd.present.iter().any(|p| p.seen && moved(p)) {
            self.away = None;
            return None;
        }
        let away = *self.away.get_or_insert(now);
        (now.mono.since(away.mono) >= AWAY_MS).then_some((self.last, EndReason::Observed))
    }
}
