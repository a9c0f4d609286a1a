//! A scene as the pictures of a camera, with the truth of the last minutes kept beside.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::feed::PictureSource;
use super::render::Renderer;
use super::scene::Scene;
use super::truth::TruthFrame;
use crate::camera::OwnedI420;
use crate::clock::UtcMillis;

/// Truth frames kept: three minutes at ten pictures a second.
const KEPT: usize = 1800;

/// Truth of what was drawn last, shared with whoever compares.
#[derive(Debug, Clone, Default)]
pub struct TruthLog(Arc<Mutex<VecDeque<TruthFrame>>>);

impl TruthLog {
    /// All kept frames, oldest first.
    #[must_use]
    pub fn frames(&self) -> Vec<TruthFrame> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, frame: TruthFrame) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() >= KEPT {
            frames.pop_front();
        }
        frames.push_back(frame);
    }
}

/// Draws a scene for a served camera.
pub struct DrawnScene {
    scene: Scene,
    size: (u32, u32),
    renderer: Renderer,
    truth: TruthLog,
}

impl DrawnScene {
    /// Prepares a scene in this size.
    ///
    /// # Errors
    /// When the size cannot be drawn.
    pub fn new(scene: Scene, size: (u32, u32)) -> Result<Self, String> {
        let renderer = Renderer::new(scene.clone(), size)?;
        Ok(Self { scene, size, renderer, truth: TruthLog::default() })
    }

    /// The truth of what is drawn from now on.
    #[must_use]
    pub fn truth(&self) -> TruthLog {
        self.truth.clone()
    }
}

impl PictureSource for DrawnScene {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn picture(&mut self, seconds: f64, utc: UtcMillis, size: (u32, u32)) -> Vec<u8> {
        if self.renderer.size() != size {
            match Renderer::new(self.scene.clone(), size) {
                Ok(renderer) => self.renderer = renderer,
                Err(error) => {
                    tracing::error!(%error, "the scene cannot be drawn in this size");
                    return vec![128; OwnedI420::bytes(size.0 as usize, size.1 as usize)];
                }
            }
        }
        self.truth.push(self.renderer.draw(seconds, utc));
        self.renderer.i420()
    }
}
