//! The last sight of every track with its frame, for events that become certain only after the object is gone.

use std::collections::{BTreeMap, VecDeque};

use crate::camera::Frame;
use crate::rules::AreaEvent;
use crate::track::{Track, TrackId};

/// Frames older than the present one kept at most: each is a decoder buffer, some decoders have few.
const OLD_FRAMES: usize = 2;

/// A track as last matched, and the frame of that match unless it had to be given back.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub track: Track,
    pub size: (u32, u32),
    pub time: crate::clock::FrameTime,
    pub frame: Option<Frame>,
}

impl Sight {
    /// A thing that is not tracked any more, at the place an event names, in the picture of now.
    pub fn at_place(event: &AreaEvent, frame: &Frame) -> Self {
        let track = Track {
            id: event.track,
            label: event.label.clone(),
            rect: event.rect,
            score: event.score,
            median_score: event.score,
            matched: false,
            held: false,
            confirmed: true,
            first_seen: event.mono,
            last_seen: event.mono,
            first_seen_utc: event.start,
            last_seen_utc: event.at,
            path: VecDeque::new(),
        };
        Self { track, size: (frame.width, frame.height), time: frame.time, frame: Some(frame.clone()) }
    }
}

/// Last sights by track.
#[derive(Debug, Default)]
pub(super) struct Sights(BTreeMap<TrackId, Sight>);

impl Sights {
    /// Takes what was matched in this frame.
    pub fn see(&mut self, frame: &Frame, tracks: &[Track]) {
        for track in tracks.iter().filter(|t| t.matched) {
            let sight = Sight {
                track: track.clone(),
                size: (frame.width, frame.height),
                time: frame.time,
                frame: Some(frame.clone()),
            };
            self.0.insert(track.id, sight);
        }
        self.give_back(frame.number);
    }

    /// The last sight of a track, if it was ever matched and not forgotten.
    pub fn of(&self, id: TrackId) -> Option<&Sight> {
        self.0.get(&id)
    }

    /// Forgets tracks that are no longer followed.
    pub fn keep_only(&mut self, tracks: &[Track]) {
        self.0.retain(|id, _| tracks.iter().any(|t| t.id == *id));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn give_back(&mut self, present: u64) {
        let mut old: Vec<u64> =
            self.0.values().filter_map(|s| s.frame.as_ref()).map(|f| f.number).filter(|n| *n != present).collect();
        old.sort_unstable();
        old.dedup();
        let keep_from = old.len().saturating_sub(OLD_FRAMES);
        let Some(oldest_kept) = old.get(keep_from).copied() else { return };
        for sight in self.0.values_mut() {
            if sight.frame.as_ref().is_some_and(|f| f.number < oldest_kept) {
                sight.frame = None;
            }
        }
    }
}
