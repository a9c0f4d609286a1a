//! What a camera sees now, for people who look: the newest analysed picture with what is followed in it. Kept only while
//! somebody asks, so that nobody looking costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;

use crate::camera::{CameraId, Frame};
use crate::clock::{MonoMillis, UtcMillis, mono_now};
use crate::config::CameraConfig;
use crate::event::Annotator;
use crate::event::annotate::AnnotateError;
use crate::track::Track;

/// Somebody who asked looks for so long, milliseconds.
const LOOKING_MS: i64 = 15_000;
/// An older picture is not what the camera sees now, milliseconds: idle cameras are decoded at keyframes only.
const FRESH_MS: i64 = 10_000;
/// How long somebody waits for the first.
const WAIT: Duration = Duration::from_secs(10);
/// No picture is drawn anew within this, whoever asks, milliseconds.
const EVERY_MS: i64 = 900;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No such camera.
    #[error("the configuration has no camera {0}")]
    Unknown(CameraId),
    /// None is analysed.
    #[error("no picture of camera {0} was analysed in the last seconds; its state says why")]
    Dark(CameraId),
    /// It cannot be drawn.
    #[error(transparent)]
    Draw(#[from] AnnotateError),
}

/// A picture and what is followed in it.
struct Glimpse {
    frame: Frame,
    tracks: Vec<Track>,
}

/// A JPEG that was drawn a moment ago.
#[derive(Clone)]
pub struct Drawing {
    /// JPEG.
    pub jpeg: Bytes,
    /// Capture time of the picture.
    pub captured: UtcMillis,
    at: MonoMillis,
}

/// One camera's.
struct Window {
    camera: CameraConfig,
    /// Somebody looks until then, on the monotonic clock.
    wanted_until: AtomicI64,
    newest: watch::Sender<Option<Arc<Glimpse>>>,
    /// With what is known drawn on it, and without.
    drawn: [tokio::sync::Mutex<Option<Drawing>>; 2],
}

/// All cameras'.
pub struct Windows {
    annotator: Arc<Annotator>,
    windows: HashMap<CameraId, Window>,
}

impl Windows {
    /// Nobody looks yet.
    #[must_use]
    pub fn new(cameras: &[CameraConfig], annotator: Arc<Annotator>) -> Self {
        let window = |camera: &CameraConfig| Window {
            camera: camera.clone(),
            wanted_until: AtomicI64::new(i64::MIN),
            newest: watch::Sender::new(None),
            drawn: Default::default(),
        };
        Self { annotator, windows: cameras.iter().map(|c| (c.id.clone(), window(c))).collect() }
    }

    /// A picture was analysed, or could not be.
    pub fn show(&self, frame: &Frame, tracks: &[Track]) {
        let Some(window) = self.windows.get(&frame.camera) else { return };
        if mono_now().0 < window.wanted_until.load(Ordering::Relaxed) {
            window.newest.send_replace(Some(Arc::new(Glimpse { frame: frame.clone(), tracks: tracks.to_vec() })));
        } else if window.newest.borrow().is_some() {
            // The decoder wants its memory back.
            window.newest.send_replace(None);
        }
    }

    /// What the camera sees now, as a JPEG with its privacy masks; `notes`: areas, lines and what is followed too.
    ///
    /// # Errors
    /// When there is no such camera, or no picture of it.
    pub async fn look(&self, camera: &CameraId, notes: bool) -> Result<Drawing, LookError> {
        let window = self.windows.get(camera).ok_or_else(|| LookError::Unknown(camera.clone()))?;
        window.wanted_until.store(mono_now().0 + LOOKING_MS, Ordering::Relaxed);
        let mut drawn = window.drawn[usize::from(notes)].lock().await;
        if let Some(known) = drawn.as_ref().filter(|known| mono_now().since(known.at) < EVERY_MS) {
            return Ok(known.clone());
        }
        let mut newest = window.newest.subscribe();
        let fresh =
            |seen: &Option<Arc<Glimpse>>| seen.as_ref().is_some_and(|s| mono_now().since(s.frame.time.mono) < FRESH_MS);
        let seen = tokio::time::timeout(WAIT, newest.wait_for(fresh)).await.ok().and_then(Result::ok);
        let seen = seen.and_then(|seen| seen.clone()).ok_or_else(|| LookError::Dark(camera.clone()))?;
        let captured = seen.frame.time.utc;
        let (annotator, config) = (Arc::clone(&self.annotator), window.camera.clone());
        let draw = move || {
            let notes = notes.then_some(&seen.tracks[..]);
            annotator.view(&seen.frame, &config, notes)
        };
        let jpeg = tokio::task::spawn_blocking(draw).await;
        let jpeg = jpeg.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
        let made = Drawing { jpeg: jpeg.into(), captured, at: mono_now() };
        Ok(drawn.insert(made).clone())
    }
}
