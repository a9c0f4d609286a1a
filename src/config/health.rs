//! Limits of camera health: what counts as wrong, for how long it must hold, and what is not reported.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::camera::health::Condition;

/// Camera health. Each condition is an event that begins, is updated and ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Conditions that are not reported, of any camera; `health_off` of a camera adds to them.
    pub off: Vec<Condition>,
    /// Pictures looked at a second and camera.
    #[schemars(range(min = 0.2, max = 5.0))]
    pub pictures_per_second: f32,
    /// An open condition is told again after so many seconds.
    #[schemars(range(min = 10, max = 86_400))]
    pub update_every_s: u32,
    /// What is gone for this long is over, milliseconds; longer for what keeps coming back.
    #[schemars(range(min = 500, max = 600_000))]
    pub recover_ms: u32,
    /// A camera must be lost for this long.
    #[schemars(range(max = 600_000))]
    pub lost_ms: u32,
    /// No picture for this long on a standing connection = `stalled`.
    #[schemars(range(min = 1000, max = 600_000))]
    pub stalled_ms: u32,
    /// Nothing new in the pictures for this long over two keyframes, or the same keyframe for half as long = `frozen`.
    #[schemars(range(min = 2000, max = 3_600_000))]
    pub frozen_ms: u32,
    /// The same for a camera whose pictures never showed any noise.
    #[schemars(range(min = 10_000, max = 86_400_000))]
    pub frozen_still_ms: u32,
    /// `covered`, `defocused` and `moved` must hold for this long.
    #[schemars(range(min = 1000, max = 600_000))]
    pub picture_ms: u32,
    /// `too_dark` and `too_bright` must hold for this long.
    #[schemars(range(min = 1000, max = 600_000))]
    pub light_ms: u32,
    /// Mean brightness of a picture that is too dark, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dark_level: f32,
    /// Share of white pixels in a picture that is too bright, 0..1.
    #[schemars(range(min = 0.05, max = 1.0))]
    pub bright_share: f32,
    /// Sharpness below this share of the usual = `defocused`.
    #[schemars(range(min = 0.1, max = 0.95))]
    pub sharpness: f32,
    /// A view shifted by more than this share of the picture = `moved`.
    #[schemars(range(min = 0.015, max = 0.25))]
    pub shift_share: f32,
    /// Pictures a second below this share of the usual = `low_frame_rate`.
    #[schemars(range(min = 0.05, max = 0.95))]
    pub rate_share: f32,
    /// Share of pictures that cannot be decoded = `decode_errors`.
    #[schemars(range(min = 0.005, max = 1.0))]
    pub decode_error_share: f32,
    /// A camera clock further off than this …
    #[schemars(range(min = 100, max = 86_400_000))]
    pub clock_offset_ms: u32,
    /// … for so many seconds = `clock_suspect`.
    #[schemars(range(min = 1, max = 86_400))]
    pub clock_offset_for_s: u32,
    /// A step of the camera's clock of at least this = `clock_jump`.
    #[schemars(range(min = 500, max = 86_400_000))]
    pub clock_jump_ms: u32,
    /// A camera clock that runs away by this much in an hour = `clock_drift`.
    #[schemars(range(min = 50, max = 3_600_000))]
    pub clock_drift_ms_per_hour: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            off: Vec::new(),
            pictures_per_second: 2.0,
            update_every_s: 600,
            recover_ms: 5000,
            lost_ms: 3000,
            stalled_ms: 5000,
            frozen_ms: 8000,
            frozen_still_ms: 600_000,
            picture_ms: 4000,
            light_ms: 6000,
            dark_level: 0.04,
            bright_share: 0.5,
            sharpness: 0.55,
            shift_share: 0.02,
            rate_share: 0.5,
            decode_error_share: 0.05,
            clock_offset_ms: 2000,
            clock_offset_for_s: 60,
            clock_jump_ms: 1000,
            clock_drift_ms_per_hour: 300,
        }
    }
}
