//! Keys of recorded video: what is recorded, in pieces of what length, how much of it is kept and for how long.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FootageStoreConfig;

const GB: u64 = 1_000_000_000;

/// Recorded video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FootageConfig {
    /// Record the cameras, as they send it; single ones may be left out with their own `record`.
    pub record: bool,
    /// Folder of the video files; made if missing. `None` = `footage` in the store's folder. On another disk than the
    /// store where there is one.
    pub dir: Option<PathBuf>,
    /// Length of one file in seconds; it ends at the next keyframe.
    #[schemars(range(min = 5, max = 600))]
    pub segment_s: u32,
    /// Seconds kept before an event begins.
    #[schemars(range(max = 600))]
    pub pre_roll_s: u32,
    /// Seconds kept after it ended.
    #[schemars(range(max = 600))]
    pub post_roll_s: u32,
    /// Bytes kept free on the disk of the video, for everything else that lives there. At twice this the box warns; below
    /// it the oldest video goes, and where none may go, recording stops.
    #[schemars(range(min = 1_000_000))]
    pub reserve_bytes: u64,
    /// Bytes of video kept because everything is recorded.
    #[schemars(range(min = 1_000_000))]
    pub ring_max_bytes: u64,
    /// Days that it is kept.
    #[schemars(range(min = 1, max = 3650))]
    pub ring_days: u32,
    /// Bytes of video kept for events, with the time before and after.
    #[schemars(range(min = 1_000_000))]
    pub event_max_bytes: u64,
    /// Days that it is kept.
    #[schemars(range(min = 1, max = 3650))]
    pub event_days: u32,
    /// Video under a hold is never deleted: beyond so many bytes the box warns.
    #[schemars(range(min = 1_000_000))]
    pub held_max_bytes: u64,
    /// Beyond so many days of age of what is held the box warns.
    #[schemars(range(min = 1, max = 3650))]
    pub held_days: u32,
    /// Where clips are kept outside the box; nowhere without it.
    pub store: Option<FootageStoreConfig>,
}

impl Default for FootageConfig {
    fn default() -> Self {
        Self {
            record: true,
            dir: None,
            segment_s: 30,
            pre_roll_s: 10,
            post_roll_s: 10,
            reserve_bytes: 2 * GB,
            ring_max_bytes: 20 * GB,
            ring_days: 3,
            event_max_bytes: 20 * GB,
            event_days: 365,
            held_max_bytes: 50 * GB,
            held_days: 365,
            store: None,
        }
    }
}
