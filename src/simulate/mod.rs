//! Simulated cameras: scripted scenes of a border gate drawn by our own code with ground truth for every frame, coded
//! and served over RTSP, misbehaving on command; and random pictures for training small models.

mod clip;
pub mod dataset;
mod feed;
mod ground;
pub mod health;
pub mod light;
mod media;
pub mod mesh;
mod misbehave;
pub mod record;
pub mod render;
pub mod scenarios;
pub mod scene;
pub mod score;
mod server;
pub mod source;
pub mod space;
mod stage;
pub mod truth;

pub use feed::PictureSource;
pub use misbehave::{COMMANDS, Misbehaviour, parse_command};
pub use render::Renderer;
pub use scenarios::Scenario;
pub use scene::Scene;
pub use server::{CameraStats, ServerOptions, SimCamera, SimError, SimKind, SimServer};
pub use source::{SceneSource, TruthLog};
pub use truth::{TruthFrame, TruthObject};
