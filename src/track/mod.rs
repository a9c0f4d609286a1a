//! Tracks: one object followed over frames. Values in, values out; time is the frames' own.

mod assign;
mod kalman;
mod rest;
pub mod tracker;

pub use rest::Rest;
pub use tracker::Tracker;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::{MonoMillis, UtcMillis};
use crate::geometry::{Point, Rect};
use crate::vision::Label;

/// Identity of a track: a ULID, so unique over restarts and boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct TrackId(#[schemars(with = "String")] pub ulid::Ulid);

impl std::fmt::Display for TrackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One past position of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathPoint {
    /// When.
    pub utc: UtcMillis,
    /// Foot point (bottom centre of the box), pixels.
    pub foot: Point,
}

/// One object followed over frames, as it stands after a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Identity.
    pub id: TrackId,
    /// Class by the votes of its detections, weighted by score.
    pub label: Label,
    /// Box in pixels of the latest frame (smoothed by the filter; predicted when `matched` is false).
    pub rect: Rect,
    /// Score of the latest matched detection, 0..1.
    pub score: f32,
    /// Median of the last ten scores.
    pub median_score: f32,
    /// A detection was matched in the latest frame.
    pub matched: bool,
    /// None was, and no pixel of it has changed since one was: it stands there.
    pub held: bool,
    /// Seen often enough to be believed. Rules look at confirmed tracks only.
    pub confirmed: bool,
    /// First and latest matched time.
    pub first_seen: MonoMillis,
    /// Latest matched time.
    pub last_seen: MonoMillis,
    /// Wall clock of `first_seen`.
    pub first_seen_utc: UtcMillis,
    /// Wall clock of `last_seen`.
    pub last_seen_utc: UtcMillis,
    /// Foot points, oldest first, thinned to at most 64.
    pub path: VecDeque<PathPoint>,
}
