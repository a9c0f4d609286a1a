//! A simulated camera: scripted scenes drawn, coded and served over RTSP, that misbehaves on command.

mod clip;
mod feed;
mod media;
mod misbehave;
mod server;
mod stage;

pub use feed::PictureSource;
pub use misbehave::{COMMANDS, Misbehaviour, parse_command};
pub use server::{CameraStats, ServerOptions, SimCamera, SimError, SimKind, SimServer};
