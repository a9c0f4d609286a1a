//! What the index of footage says: its rows as values. How they are written is `footage_keep`, how they are found
//! `footage_find`; files are `footage/`'s business.

use serde::{Deserialize, Serialize};

use crate::camera::{CameraId, Codec};
use crate::clock::{FrameTime, TimeSource, UtcMillis};

/// No segment is longer, and rows of what is gone are not joined to more, milliseconds: whoever searches by start looks no
/// further back.
pub(super) const LONGEST_MS: i64 = 3_600_000;
/// A hold that lies on the segment `s`.
pub(super) const HELD: &str = "EXISTS (SELECT 1 FROM hold h WHERE h.released_ms IS NULL AND h.camera = s.camera
                               AND h.from_ms <= s.end_ms AND h.to_ms >= s.start_ms)";

/// Why nothing was recorded in front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The agent was not running.
    Restart,
    /// The camera sent nothing, or its time jumped.
    NoPictures,
    /// The disk was too slow; pictures were dropped.
    DiskBehind,
    /// The disk refused.
    WriteError,
    /// No room: recording was stopped.
    NoSpace,
}

/// A segment was begun.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentOpened {
    /// Camera.
    pub camera: CameraId,
    /// Below the folder of footage.
    pub path: String,
    /// Coding.
    pub codec: Codec,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Capture time of the first picture.
    pub first: UtcMillis,
    /// The same with its source.
    pub time: FrameTime,
    /// Milliseconds without footage in front; `None` when nothing is known of what was before.
    pub gap_before_ms: Option<i64>,
    /// Why.
    pub gap_reason: Option<GapReason>,
    /// Pictures dropped in front because the disk was behind.
    pub dropped: u64,
}

/// A segment is complete and durable.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentClosed {
    /// Below the folder of footage.
    pub path: String,
    /// Capture time of the earliest picture.
    pub first: UtcMillis,
    /// End of the latest picture.
    pub end: UtcMillis,
    /// Of the file.
    pub bytes: u64,
    /// In it.
    pub pictures: u64,
    /// Of the file, hex.
    pub sha256: String,
}

/// A file that a crash left open, or that has no row.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentFound {
    /// What it is.
    pub opened: SegmentOpened,
    /// What is in it.
    pub closed: SegmentClosed,
}

/// What a segment is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SegmentClass {
    /// Because everything is recorded.
    Ring,
    /// For an event.
    Event,
}

impl SegmentClass {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Event => "event",
        }
    }
}

/// A row of the index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segment {
    /// Row.
    #[serde(skip)]
    pub id: i64,
    /// Camera.
    pub camera: CameraId,
    /// Below the folder of footage.
    pub path: String,
    /// `writing`, `kept`, `damaged`.
    pub state: String,
    /// What it is kept for.
    pub class: SegmentClass,
    /// A hold lies on it: it is not deleted.
    pub held: bool,
    /// Coding.
    pub codec: Codec,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Capture time of the first picture.
    pub from: UtcMillis,
    /// End of the last one; of one being written as far as told.
    pub to: UtcMillis,
    /// Whose clock.
    pub time_source: TimeSource,
    /// Half-width of the interval in which the true time lies, milliseconds.
    pub uncertainty_ms: u32,
    /// Camera clock minus box clock.
    pub clock_offset_ms: Option<i64>,
    /// Milliseconds without footage in front; `null`: nothing is known of what was before.
    pub gap_before_ms: Option<i64>,
    /// Why.
    pub gap_reason: Option<GapReason>,
    /// Pictures dropped in front because the disk was behind.
    pub dropped: u64,
    /// Of the file.
    pub bytes: u64,
    /// In it.
    pub pictures: u64,
    /// Of the file, hex; `null` while it is written.
    pub sha256: Option<String>,
}

/// Footage that was there once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// First picture.
    pub from: UtcMillis,
    /// End of the last picture.
    pub to: UtcMillis,
    /// When it went; `None`: it is chosen to go, and comes back where that was cut off.
    pub at: Option<UtcMillis>,
    /// `expired`, `quota`, `reserve` or `missing`.
    pub why: String,
}

/// What an event wants kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRange {
    /// Camera.
    pub camera: CameraId,
    /// With the time before it.
    pub from: UtcMillis,
    /// With the time after it; of an event that lasts, after its latest sight.
    pub to: UtcMillis,
    /// Nothing more will be added.
    pub ended: bool,
}

/// A file to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Row.
    pub id: i64,
    /// Camera.
    pub camera: CameraId,
    /// Below the folder of footage.
    pub path: String,
    /// First picture.
    pub from: UtcMillis,
    /// Last picture.
    pub to: UtcMillis,
    /// Of the file.
    pub bytes: u64,
}

/// Bytes by class; what is held counts as held only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FootageBytes {
    /// Kept because everything is recorded.
    pub ring: u64,
    /// Kept for events.
    pub event: u64,
    /// Under a hold.
    pub held: u64,
    /// Files.
    pub segments: u64,
    /// First picture of what is kept because everything is recorded, where something is.
    pub ring_since: Option<UtcMillis>,
    /// First picture of what is kept for events.
    pub event_since: Option<UtcMillis>,
    /// First picture of what is held.
    pub held_since: Option<UtcMillis>,
}

#[derive(sqlx::FromRow)]
pub(super) struct DoomedRow {
    id: i64,
    camera: String,
    path: String,
    start_ms: i64,
    end_ms: i64,
    bytes: i64,
}

impl DoomedRow {
    pub(super) fn doomed(self) -> Doomed {
        Doomed {
            id: self.id,
            camera: CameraId(self.camera),
            path: self.path,
            from: UtcMillis(self.start_ms),
            to: UtcMillis(self.end_ms),
            bytes: u64::try_from(self.bytes).unwrap_or(0),
        }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct SegmentRow {
    id: i64,
    camera: String,
    path: String,
    state: String,
    class: String,
    codec: String,
    width: u32,
    height: u32,
    start_ms: i64,
    end_ms: i64,
    time_source: String,
    uncertainty_ms: u32,
    clock_offset_ms: Option<i64>,
    gap_before_ms: Option<i64>,
    gap_reason: Option<String>,
    dropped: i64,
    bytes: i64,
    pictures: i64,
    sha256: Option<String>,
    held: bool,
}

impl SegmentRow {
    pub(super) fn segment(self) -> Segment {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Segment {
            id: self.id,
            camera: CameraId(self.camera),
            path: self.path,
            state: self.state,
            class: if self.class == "event" { SegmentClass::Event } else { SegmentClass::Ring },
            held: self.held,
            codec: read(&self.codec).unwrap_or(Codec::H264),
            width: self.width,
            height: self.height,
            from: UtcMillis(self.start_ms),
            to: UtcMillis(self.end_ms),
            time_source: read(&self.time_source).unwrap_or(TimeSource::Arrival),
            uncertainty_ms: self.uncertainty_ms,
            clock_offset_ms: self.clock_offset_ms,
            gap_before_ms: self.gap_before_ms,
            gap_reason: self.gap_reason.as_deref().and_then(read),
            dropped: count(self.dropped),
            bytes: count(self.bytes),
            pictures: count(self.pictures),
            sha256: self.sha256,
        }
    }
}

/// The name a unit enum has in messages.
pub(super) fn text_of<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
