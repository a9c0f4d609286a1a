//! A scene as a camera of the RTSP server, and the truth of what it showed lately.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::feed::PictureSource;
use super::render::Renderer;
use super::scene::Scene;
use super::truth::TruthFrame;
use crate::clock::UtcMillis;

/// Frames of truth kept; at 10 a second a minute. When full the oldest goes.
const KEPT: usize = 600;

/// What a camera showed lately, oldest first. Cheap to clone; all clones see the same frames.
#[derive(Clone, Default)]
pub struct TruthLog(Arc<Mutex<VecDeque<TruthFrame>>>);

impl TruthLog {
    fn push(&self, frame: TruthFrame) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() == KEPT {
            frames.pop_front();
        }
        frames.push_back(frame);
    }

    /// All frames kept, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<TruthFrame> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes the frames kept, oldest first, so that the next call has only newer ones.
    #[must_use]
    pub fn take(&self) -> Vec<TruthFrame> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// Draws a scene for [`SimServer`](super::SimServer).
pub struct SceneSource {
    renderer: Renderer,
    native: (u32, u32),
    truth: TruthLog,
}

impl SceneSource {
    /// A camera of this size in pixels, and its truth.
    ///
    /// # Errors
    /// When the size cannot be drawn, see [`Renderer::new`].
    pub fn new(scene: Scene, size: (u32, u32)) -> Result<(Self, TruthLog), String> {
        let truth = TruthLog::default();
        Ok((Self { renderer: Renderer::new(scene, size)?, native: size, truth: truth.clone() }, truth))
    }
}

impl PictureSource for SceneSource {
    fn size(&self) -> (u32, u32) {
        self.native
    }

    fn picture(&mut self, seconds: f64, utc: UtcMillis, size: (u32, u32)) -> Vec<u8> {
        if self.renderer.size() != size {
            match Renderer::new(self.renderer.scene().clone(), size) {
                Ok(renderer) => self.renderer = renderer,
                Err(why) => {
                    tracing::error!(%why, "a simulated camera shows black");
                    return vec![16; (size.0 * size.1 * 3 / 2) as usize];
                }
            }
        }
        self.truth.push(self.renderer.draw(seconds, utc));
        self.renderer.i420()
    }
}
