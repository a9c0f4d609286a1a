//! A simulated camera of a border gate: scripted scenes drawn by our own code with ground truth for every frame, coded
//! and served over RTSP, that misbehaves on command. The demo's cameras, the tests' truth, and pictures for training.

mod clip;
pub mod dataset;
pub mod drawn;
mod feed;
mod ground;
pub mod light;
mod media;
pub mod mesh;
mod misbehave;
pub mod render;
pub mod scenarios;
pub mod scene;
mod server;
pub mod space;
mod stage;
pub mod truth;

pub use drawn::{DrawnScene, TruthLog};
pub use feed::PictureSource;
pub use misbehave::{COMMANDS, Misbehaviour, parse_command};
pub use render::Renderer;
pub use scenarios::Scenario;
pub use scene::Scene;
pub use server::{CameraStats, ServerOptions, SimCamera, SimError, SimKind, SimServer};
pub use truth::{TruthFrame, TruthObject};
