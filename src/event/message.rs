//! The event as CloudEvents 1.0 structured JSON. Published schema: `config/schema/event.schema.json`.

use serde::{Deserialize, Serialize};

use super::EventId;
use crate::camera::CameraId;
use crate::clock::{TimeSource, UtcMillis};
use crate::customs::{Check, LinkOutcome};
use crate::geometry::{CrossDirection, Point, Polygon, Rect};
use crate::rules::{AreaId, EndReason, Phase, RuleKind};
use crate::track::TrackId;
use crate::vision::Label;

/// CloudEvents 1.0 envelope (structured mode, `application/cloudevents+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventMessage {
    /// Always `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Same over all phases of one event.
    pub id: EventId,
    /// `/office/{office}/box/{box}`.
    #[schemars(regex(pattern = r"^/office/[0-9A-Z]{4}/box/[a-z0-9][a-z0-9-]{0,31}$"))]
    pub source: String,
    /// `gatewatch.event.{rule}.v1`, or `gatewatch.alert.{rule}.v1` from the alert severity up.
    #[serde(rename = "type")]
    #[schemars(regex(
        pattern = r"^gatewatch\.(event|alert)\.(enter|exit|dwell|line_cross|wrong_way|tailgating|gate_out|gate_out_not_released|gate_out_unchecked|restricted|occupancy|stopped|bay_occupied|bay_empty|bay_unbooked|bay_wrong_vehicle|person_without_inspection|opened_without_inspection|object_left|object_removed)\.v1$"
    ))]
    pub kind: String,
    /// `decl/{key}` of the first link when the verdict is `linked`, else `area/{area}`.
    #[schemars(regex(pattern = r"^(decl/[0-9]{11}|area/[a-z0-9][a-z0-9-]{0,31})$"))]
    pub subject: String,
    /// When the message was made.
    pub time: UtcMillis,
    /// Always `application/json`.
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: String,
    /// What happened.
    pub data: EventData,
}

/// What happened, where, when, to which declaration, and how sure all of it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventData {
    /// 1 for the first message of an event, then one more each.
    #[schemars(range(min = 1))]
    pub revision: u32,
    /// Where in its life.
    pub phase: Phase,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Rule that made it.
    pub rule: RuleKind,
    /// Office code, four characters.
    #[schemars(regex(pattern = r"^[0-9A-Z]{4}$"))]
    pub office: String,
    /// Box id.
    #[serde(rename = "box")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub box_id: String,
    /// Camera.
    pub camera: CameraRef,
    /// Area or line.
    pub area: AreaRef,
    /// Times of the event.
    pub capture: CaptureTimes,
    /// Local date of (start − 08:00) in the site's time zone: the duty day.
    #[schemars(extend("format" = "date"))]
    pub duty_day: String,
    /// Whole milliseconds it has lasted so far: in the area, stopped, occupied. Of an instant that ends a stay (`exit`,
    /// `bay_empty`, `object_removed`) how long that was.
    #[schemars(range(min = 0))]
    pub dwell_ms: Option<i64>,
    /// For line crossings.
    pub direction: Option<CrossDirection>,
    /// What customs answered, for rules that ask.
    #[serde(default)]
    pub check: Option<Check>,
    /// Greatest number of things at once, for rules that count.
    #[serde(default)]
    pub count: Option<u32>,
    /// Repeats of the same situation that were folded into this event so far.
    #[serde(default)]
    pub suppressed: u32,
    /// Events of this camera that the rate limit kept back since the last new one.
    #[serde(default)]
    pub rate_limited: u32,
    /// The track has jumped further than the thing can have moved: two things may have been mixed up, and what is said
    /// of it from before the jump may be of another one.
    #[serde(default)]
    pub implausible_jump: bool,
    /// Why it ended; only with phase `end` or an instant. An instant (exit, line crossing) is one message with phase
    /// `new` whose `capture.end` is set: an event with `capture.end` is closed, whatever its phase.
    pub end_reason: Option<EndReason>,
    /// The object.
    pub object: ObjectRef,
    /// Declarations, and how sure.
    pub link: LinkOutcome,
    /// The kept picture; `None` when none could be kept (said in `snapshot_missing`).
    pub snapshot: Option<SnapshotRef>,
    /// Why there is no picture.
    pub snapshot_missing: Option<String>,
    /// The video of it, kept on the box; absent where the camera is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footage: Option<FootageRef>,
    /// Model that found it.
    pub model: ModelRef,
    /// First 16 hex digits of the SHA-256 of the configuration in force.
    #[schemars(regex(pattern = r"^[0-9a-f]{16}$"))]
    pub config_digest: String,
    /// Place in the box's stream of messages.
    pub sequence: Sequence,
}

/// A camera as messages name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CameraRef {
    /// Id.
    pub id: CameraId,
    /// Name for people.
    pub name: String,
    /// Pixels of the analysed picture.
    pub width: u32,
    /// Pixels of the analysed picture.
    pub height: u32,
}

/// An area or line as messages name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AreaRef {
    /// Id.
    pub id: AreaId,
    /// Name for people.
    pub name: String,
    /// Kind as in the configuration, e.g. `inspection_bay`.
    pub kind: String,
    /// Outline in fractions of the picture: a polygon, or the two ends of a line.
    pub outline: Polygon,
}

/// Times of an event with their source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CaptureTimes {
    /// When it began.
    pub start: UtcMillis,
    /// Capture time of the frame that boxes and picture come from.
    pub best: UtcMillis,
    /// When it ended; equals `start` for an instant; `None` while it lasts.
    pub end: Option<UtcMillis>,
    /// Whose clock.
    pub time_source: TimeSource,
    /// Half-width, milliseconds.
    pub uncertainty_ms: u32,
    /// Camera clock minus box clock.
    pub clock_offset_ms: Option<i64>,
}

/// The tracked object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ObjectRef {
    /// Track.
    pub track_id: TrackId,
    /// Class.
    pub label: Label,
    /// Score in the frame of `capture.best`, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
    /// Box in pixels of the frame of `capture.best`.
    pub box_px: Rect,
    /// The same in fractions of the picture.
    pub box_frac: Rect,
    /// Foot points so far, oldest first, fractions of the picture.
    #[schemars(length(max = 64))]
    pub path: Vec<PathRef>,
}

/// One point of a path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PathRef {
    /// When.
    pub t: UtcMillis,
    /// Where, fractions of the picture.
    pub p: Point,
}

/// The published picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotRef {
    /// MQTT topic of the annotated JPEG.
    pub topic: String,
    /// SHA-256 of the annotated JPEG, hex.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the clean JPEG kept on the box, hex.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub clean_sha256: String,
}

/// Video of an event, to be asked for from the box: `GET /api/events/{id}/clip`, or `/api/footage` with these. While the
/// event lasts the clip grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FootageRef {
    /// Recorded camera.
    pub camera: CameraId,
    /// Begin of the event less the time kept before it.
    pub from: UtcMillis,
    /// Its end, or its latest sight, and the time kept after it.
    pub to: UtcMillis,
}

/// The detector model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelRef {
    /// File name without folder.
    pub name: String,
    /// SHA-256 of the file, hex.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// Place in the box's stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sequence {
    /// Incarnation of the box's store; a new one only when the store was lost.
    pub epoch: i64,
    /// 1, 2, 3 … without holes within an epoch.
    pub seq: i64,
    /// The message describes something older than the live limit when sent (queued while offline, or a replay).
    pub historical: bool,
}
