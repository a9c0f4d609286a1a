//! A detector that may fail while the rest of the box goes on: at the start (no file, wrong digest, no library) and at run
//! (a session that fails again and again). It is loaded anew after growing waits, and says meanwhile why there is none.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::detector::{Detect, Detector, DetectorError};
use super::regions::Region;
use super::{Detection, Label, runtime};
use crate::camera::Frame;
use crate::clock::{MonoMillis, mono_now};
use crate::config::DetectorConfig;
use crate::event::message::ModelRef;

/// Runs that may fail in a row before the session is given up.
const FAILURES: u32 = 5;
/// First and longest wait before the next try to load, milliseconds.
const WAITS_MS: (i64, i64) = (2_000, 60_000);
/// Input planned for while no model has said its own, pixels.
const USUAL_INPUT: (u32, u32) = (416, 416);

type Load<D> = Box<dyn FnMut() -> Result<D, DetectorError> + Send>;

/// A detector, or why there is none and when the next try is due.
pub struct Standby<D = Detector> {
    // injected
    load: Load<D>,
    now: fn() -> MonoMillis,
    // own state
    detector: Option<D>,
    model: ModelRef,
    failures: u32,
    wait_ms: i64,
    next: MonoMillis,
    why: String,
}

impl Standby {
    /// Loads the configured model now if it can be loaded. `floor` is the lowest score reported.
    #[must_use]
    pub fn start(config: &DetectorConfig, floor: f32) -> Self {
        let model = model_ref(&config.model, &std::fs::read(&config.model).unwrap_or_default());
        let config = config.clone();
        let load = move || {
            runtime::init(config.runtime_library.as_deref())?;
            Detector::load(&config, floor)
        };
        Self::new(Box::new(load), model, mono_now)
    }

    /// What it is, for people: the model recognised, or why there is none.
    #[must_use]
    pub fn description(&self) -> String {
        self.detector.as_ref().map_or_else(|| format!("no detector: {}", self.why), Detector::description)
    }
}

impl<D: Detect> Standby<D> {
    fn new(load: Load<D>, model: ModelRef, now: fn() -> MonoMillis) -> Self {
        let mut standby = Self {
            load,
            now,
            detector: None,
            model,
            failures: 0,
            wait_ms: WAITS_MS.0,
            next: now(),
            why: String::new(),
        };
        standby.try_load();
        standby
    }

    fn try_load(&mut self) {
        match (self.load)() {
            Ok(detector) => {
                self.model = detector.model().clone();
                self.detector = Some(detector);
                (self.failures, self.wait_ms) = (0, WAITS_MS.0);
            }
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &DetectorError) {
        tracing::error!(%error, retry_ms = self.wait_ms, "detector_failed: pictures are not analysed");
        self.why = error.to_string();
        self.detector = None;
        self.next = MonoMillis((self.now)().0.saturating_add(self.wait_ms));
        self.wait_ms = (self.wait_ms * 2).min(WAITS_MS.1);
    }
}

impl<D: Detect> Detect for Standby<D> {
    fn known(&self) -> Option<Vec<Label>> {
        self.detector.as_ref().and_then(Detect::known)
    }

    fn detect(&mut self, frame: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        self.ready()?;
        let Some(detector) = &mut self.detector else { return Err(DetectorError::Absent(self.why.clone())) };
        let found = detector.detect(frame, regions);
        match &found {
            Ok(_) => self.failures = 0,
            // A bad frame is no fault of the model.
            Err(DetectorError::Frame(_)) => {}
            Err(error) => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    self.give_up(error);
                }
            }
        }
        found
    }

    fn input_size(&self) -> (u32, u32) {
        self.detector.as_ref().map_or(USUAL_INPUT, Detect::input_size)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }

    fn ready(&mut self) -> Result<(), DetectorError> {
        if self.detector.is_none() && (self.now)().since(self.next) >= 0 {
            self.try_load();
        }
        match &mut self.detector {
            Some(detector) => detector.ready(),
            None => Err(DetectorError::Absent(self.why.clone())),
        }
    }
}

/// File name and digest of a model.
pub(super) fn model_ref(path: &Path, bytes: &[u8]) -> ModelRef {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    ModelRef { name, sha256: hex::encode(Sha256::digest(bytes)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

    use super::*;
    use crate::camera::{CameraId, OwnedI420};
    use crate::clock::{FrameTime, UtcMillis};

    static NOW: AtomicI64 = AtomicI64::new(0);

    fn now() -> MonoMillis {
        MonoMillis(NOW.load(Ordering::SeqCst))
    }

    /// Works while `broken` is 0.
    struct Scripted {
        broken: Arc<AtomicU32>,
        model: ModelRef,
    }

    impl Detect for Scripted {
        fn detect(&mut self, _: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
            match self.broken.load(Ordering::SeqCst) {
                0 => Ok(Vec::new()),
                1 => Err(DetectorError::Frame("short".into())),
                _ => Err(DetectorError::Inference("out of memory".into())),
            }
        }

        fn input_size(&self) -> (u32, u32) {
            (320, 320)
        }

        fn model(&self) -> &ModelRef {
            &self.model
        }
    }

    fn frame() -> Frame {
        let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
        let planes = Arc::new(OwnedI420::filled(8, 8, 0, 128, 128));
        Frame::made(CameraId("a".into()), time, (8, 8), planes)
    }

    #[test]
    fn a_missing_model_is_tried_again_and_a_failing_session_is_given_up() {
        let (absent, broken) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
        let (loads, parts) = (Arc::new(AtomicU32::new(0)), (Arc::clone(&absent), Arc::clone(&broken)));
        let counted = Arc::clone(&loads);
        let load = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let model = ModelRef { name: "new".into(), sha256: String::new() };
            match parts.0.load(Ordering::SeqCst) {
                0 => Ok(Scripted { broken: Arc::clone(&parts.1), model }),
                _ => Err(DetectorError::Runtime("not found".into())),
            }
        };
        let first = ModelRef { name: "first".into(), sha256: String::new() };
        let mut standby = Standby::new(Box::new(load), first, now);
        let look = |standby: &mut Standby<Scripted>| standby.detect(&frame(), &[]);
        assert!(look(&mut standby).unwrap_err().to_string().contains("not found"));
        assert_eq!((loads.load(Ordering::SeqCst), standby.model().name.as_str()), (1, "first"), "not due yet");
        NOW.store(2_000, Ordering::SeqCst);
        assert!(standby.ready().is_err());
        NOW.store(5_999, Ordering::SeqCst);
        assert!(standby.ready().is_err());
        assert_eq!(loads.load(Ordering::SeqCst), 2, "the wait doubles");
        absent.store(0, Ordering::SeqCst);
        NOW.store(6_000, Ordering::SeqCst);
        assert!(look(&mut standby).is_ok());
        assert_eq!((standby.model().name.as_str(), standby.input_size()), ("new", (320, 320)));

        broken.store(1, Ordering::SeqCst);
        for _ in 0..2 * FAILURES {
            assert!(look(&mut standby).is_err());
        }
        assert!(standby.ready().is_ok(), "bad frames are not the model's fault");
        broken.store(2, Ordering::SeqCst);
        for _ in 0..FAILURES {
            assert!(matches!(look(&mut standby), Err(DetectorError::Inference(_))));
        }
        assert!(matches!(look(&mut standby), Err(DetectorError::Absent(why)) if why.contains("out of memory")));
        broken.store(0, Ordering::SeqCst);
        NOW.store(8_000, Ordering::SeqCst);
        assert!(look(&mut standby).is_ok(), "loaded anew");
    }
}
