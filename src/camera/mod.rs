//! Cameras: from an RTSP address to decoded frames, and the health of each. The only part that speaks GStreamer,
//! beside the simulator and the footage writer.

mod attention;
mod decoder;
mod effort;
mod elements;
mod error;
mod file;
pub mod frame;
mod gate;
mod h265;
pub mod health;
mod ingest;
mod mailbox;
pub(crate) mod nal;
mod picture;
mod pump;
mod recode;
mod report;
mod retry;
mod stamp;
mod still;
mod stir;
mod supervisor;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::FrameTime;
pub use attention::Attention;
pub use decoder::look_up_decoder;
pub use error::{CameraError, shown_url};
pub use file::FileSource;
pub use frame::{Frame, FramePlanes, Idled, Lull, OwnedI420, PixelLayout};
pub use gate::{Decision, Gate, SkipReason, TRACK, WakeReason};
pub use mailbox::Mailbox;
pub use recode::{Recoded, Recoder, Stencil, can_recode, recoder_name};
pub use report::Vitals;
pub use retry::RetryPolicy;
pub use still::decode_stills;
pub use supervisor::{CameraHandle, spawn, spawn_recorded, spawn_recorder, spawn_with};

/// Identity of a configured camera: 1..=32 of `a-z 0-9 -`, unique in a box. Safe in topics, file names and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct CameraId(#[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))] pub String);

impl std::fmt::Display for CameraId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Video coding of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// ITU-T H.264 (AVC).
    H264,
    /// ITU-T H.265 (HEVC).
    H265,
}

/// One encoded picture as the camera sent it: the currency of ingest.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// Annex B byte stream, parameter sets in front of every keyframe.
    pub data: Bytes,
    /// Coding.
    pub codec: Codec,
    /// Decodable on its own.
    pub keyframe: bool,
    /// Presentation time in the pipeline's running time, nanoseconds.
    pub pts_ns: u64,
    /// Capture time.
    pub time: FrameTime,
}

/// What a camera is doing, as published in `camera/{id}/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// First connection, or waiting for the next try.
    Connecting,
    /// Pictures arrive.
    Running,
    /// Connected, but no picture came within the stall timeout.
    Stalled,
    /// The camera refused the user name or password. Retried rarely: many cameras lock out.
    Refused,
    /// Lost: unreachable, connection cut, end of stream, unsupported stream, or certificate not trusted.
    Lost,
    /// Stopped by us.
    Stopped,
}

/// How a camera is looked at while its box has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reduced {
    /// Between two analysed pictures, milliseconds.
    pub interval_ms: u32,
    /// Not around what the planned regions cut off.
    pub planned_regions_only: bool,
}

/// Health of one camera at one moment; a snapshot, cheap to clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CameraStatus {
    /// Which camera.
    pub camera: CameraId,
    /// What it is doing.
    pub state: CameraState,
    /// One sentence for the technician: why, and what to do. No secrets.
    pub reason: Option<String>,
    /// Why its pictures are not analysed, beginning with `detector_failed`; absent while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_analysed: Option<String>,
    /// How it is looked at less than configured, while its box has too much to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced: Option<Reduced>,
    /// What is wrong with it, as long as it lasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<health::ActiveCondition>,
    /// Coding of the running stream.
    pub codec: Option<Codec>,
    /// Size of the decoded picture in pixels.
    pub width: u32,
    /// Size of the decoded picture in pixels.
    pub height: u32,
    /// Decoder element in use, e.g. `avdec_h264`.
    pub decoder: Option<String>,
    /// Access units received since the process started.
    pub received: u64,
    /// Frames that came out of the decoder.
    pub decoded: u64,
    /// Connections after the first one.
    pub reconnects: u64,
    /// Where capture times come from now.
    pub time_source: Option<crate::clock::TimeSource>,
    /// Camera clock minus box clock, median of the last samples.
    pub clock_offset_ms: Option<i64>,
    /// Whether its pictures are analysed, since when, and how much of the last hour was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<crate::coverage::CoverageSummary>,
}

/// Where access units go beside the decoder, as the camera sent them. A trait because the recorder lives in `footage/`.
/// Called on the camera's thread: it must not block.
pub trait UnitSink: Send + Sync {
    /// Takes one unit. `discontinuity`: units are missing in front of it.
    fn unit(&self, unit: &AccessUnit, discontinuity: bool);
}

/// Where decoded frames go. Called on the camera's decoder thread: [`FrameSink::frame`] must not block, or units are
/// dropped behind it.
pub trait FrameSink: Send + Sync {
    /// Takes one frame.
    fn frame(&self, frame: Frame);

    /// Takes one frame of the past, after the one before it was looked at, waiting for that at most `limit`: what an idle
    /// camera held comes faster than it was taken. `false` when that was in vain; the frame is taken all the same.
    fn frame_in_turn(&self, frame: Frame, limit: std::time::Duration) -> bool {
        let _ = limit;
        self.frame(frame);
        true
    }
}
