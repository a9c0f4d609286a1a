//! From a frame to detections: which regions to look at, the tensor, the model, its output layout, suppression.
//! The only part that speaks ONNX Runtime.

pub mod detector;
pub mod labels;
pub mod layout;
pub mod letterbox;
pub mod motion;
pub mod picture;
pub mod preprocess;
pub mod regions;
pub mod runtime;
mod session;
pub mod sidecar;
mod spec;
pub mod standby;
pub mod suppress;
mod tensors;

pub use session::provider_name;
pub use spec::Told;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::geometry::Rect;

/// Name of an object class, e.g. `truck`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct Label(pub Arc<str>);

impl Label {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(s: &str) -> Self {
        Self(Arc::from(s))
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One box found in one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What it is.
    pub label: Label,
    /// Confidence, 0..1.
    pub score: f32,
    /// Pixels of the frame, clipped to it.
    pub rect: Rect,
    /// It ends at a border of its region that is not one of the frame: probably only a part of the thing.
    pub cut: bool,
}

impl Detection {
    /// One that no region cut off.
    #[must_use]
    pub fn whole(label: Label, score: f32, rect: Rect) -> Self {
        Self { label, score, rect, cut: false }
    }
}
