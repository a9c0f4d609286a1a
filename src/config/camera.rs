//! Cameras as they are configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AreaConfig, AreaKind, LineConfig, SecretSource, TimeOfWeek};
use crate::camera::CameraId;
use crate::geometry::Polygon;

/// One camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Id, unique in the box.
    pub id: CameraId,
    /// Name for people; the id when empty.
    #[serde(default)]
    pub name: String,
    /// `rtsp://` or `rtsps://` address without user name and password.
    pub url: String,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: SecretSource,
    /// How RTP travels.
    #[serde(default)]
    pub transport: Transport,
    /// PEM file of the authority that signed an `rtsps` camera's certificate; system authorities else.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What the decoder sees.
    #[serde(default)]
    pub decode: DecodeMode,
    /// When an `adaptive` camera is decoded in full whatever it shows, from the first keyframe in it on: the hours of a gate that
    /// is never still.
    #[serde(default)]
    pub awake: Vec<TimeOfWeek>,
    /// GStreamer decoder element; `None` = hardware where the machine has it, `avdec_*` else.
    #[serde(default)]
    pub decoder: Option<String>,
    /// No picture for this long = stalled.
    #[serde(default = "default_stall_timeout_ms")]
    #[schemars(range(min = 500, max = 600_000))]
    pub stall_timeout_ms: u32,
    /// Record it, where `footage.record` does.
    #[serde(default = "default_record")]
    pub record: bool,
    /// Another stream of the same camera to record instead, where the analysed one is a small sub-stream; user name,
    /// password, transport and `ca_file` are the same.
    #[serde(default)]
    pub record_url: Option<String>,
    /// MQTT topic prefix of the camera itself, where it reads plates and publishes them as ONVIF events.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[^+#/][^+#]*$"))]
    pub onvif_topic: Option<String>,
    /// Conditions of this camera that are not reported, beside those of `health.off`.
    #[serde(default)]
    pub health_off: Vec<crate::camera::health::Condition>,
    /// Areas.
    #[serde(default, rename = "area")]
    pub areas: Vec<AreaConfig>,
    /// Lines.
    #[serde(default, rename = "line")]
    pub lines: Vec<LineConfig>,
}

impl CameraConfig {
    /// What of its picture never leaves the box, fractions of the picture: one answer for pictures, sheets and clips.
    #[must_use]
    pub fn privacy_masks(&self) -> Vec<Polygon> {
        let masks = self.areas.iter().filter(|a| a.kind == AreaKind::PrivacyMask);
        masks.map(|a| a.polygon.clone()).collect()
    }
}

fn default_stall_timeout_ms() -> u32 {
    10_000
}

fn default_record() -> bool {
    true
}

/// How RTP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// What the decoder sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecodeMode {
    /// Every frame.
    #[default]
    Always,
    /// Keyframes only while nothing stirs, nothing moving is followed, no booking is due, no inspection open and it is none of the times of `awake`;
    /// then every frame, from the last keyframe on.
    Adaptive,
    /// Keyframes only: cheap, and as slow as the camera's keyframe interval. A camera whose keyframes do not show all of its picture
    /// (intra refresh) is decoded in full.
    Keyframes,
}
