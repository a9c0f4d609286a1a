//! The event message: what the box tells the world, and the life of an event from first message to last.

pub mod annotate;
pub(crate) mod compose;
pub mod health;
pub mod lifecycle;
pub mod message;
mod rate;
pub mod schema;
mod sights;
pub mod zone;

pub use annotate::{Annotated, Annotator};
pub use lifecycle::{Lifecycle, LifecycleContext, Moment, RegisterView};
pub use message::{EventData, EventMessage};
pub use zone::Zone;

use serde::{Deserialize, Serialize};

/// Identity of an event: one ULID over all its phases. Also the CloudEvents `id`; messages of one event are told
/// apart by `data.revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct EventId(#[schemars(with = "String")] pub ulid::Ulid);

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An event message together with the very frame its boxes came from: what analysis hands to the keeper.
/// `frame` is `None` when nothing new is to be drawn (an end, a change while the object is hidden): box, score and
/// `capture.best` then still describe the picture of the event's earlier message, and its snapshot stays valid.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The message, complete but for `sequence` and `snapshot`, which the keeper fills in.
    pub event: EventMessage,
    /// The picture to keep, clean and annotated.
    pub frame: Option<crate::camera::Frame>,
    /// When the frame had been received, on the monotonic clock, for the latency figures.
    pub received: crate::clock::MonoMillis,
}
