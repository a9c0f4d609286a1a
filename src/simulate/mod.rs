//! Scripted scenes of a border gate, drawn by our own code with ground truth for every frame: for the demo's cameras,
//! the tests' truth and the training of small models.

pub mod dataset;
mod ground;
pub mod light;
pub mod mesh;
pub mod render;
pub mod scenarios;
pub mod scene;
pub mod space;
pub mod truth;

pub use render::Renderer;
pub use scenarios::Scenario;
pub use scene::Scene;
pub use truth::{TruthFrame, TruthObject};
