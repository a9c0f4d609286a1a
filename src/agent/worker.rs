//! An analysis worker: a thread that owns one detector and the lanes of its cameras. Takes the newest frame of each
//! camera, hands findings to the keeper and waits when the keeper is behind: frames may be lost, findings may not.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::lane::Lane;
use crate::camera::{CameraHandle, CameraId, CameraState, Frame, Mailbox};
use crate::clock::{MonoMillis, mono_now, utc_now};
use crate::customs::Register;
use crate::event::Finding;
use crate::rules::EndReason;
use crate::telemetry::health::Part;
use crate::telemetry::rate::OncePerSecond;
use crate::vision::Detect;

/// How long a wait for a frame lasts at most, so that lost cameras and the stop are noticed.
const TICK: Duration = Duration::from_millis(200);

/// Cameras' states, as the supervisor shows them.
pub type Cameras = Arc<dyn Fn(&CameraId) -> Option<CameraState> + Send + Sync>;

/// Everything a worker needs; `run` ends when the mailbox is closed.
pub struct Worker<D> {
    // injected
    /// The model, owned by this thread.
    pub detector: D,
    /// The cameras it serves.
    pub lanes: Vec<Lane>,
    /// What customs knows.
    pub register: Arc<Register>,
    /// Looks up a camera's state.
    pub cameras: Cameras,
    /// Shown in `/readyz`.
    pub health: Part,
    // in
    /// Newest frames.
    pub mailbox: Arc<Mailbox>,
    // out
    /// To the keeper; full = wait.
    pub findings: SyncSender<Finding>,
}

/// The keeper is gone: nothing can be kept any more.
#[derive(Debug, thiserror::Error)]
#[error("the keeper has stopped")]
pub struct KeeperGone;

impl<D: Detect> Worker<D> {
    /// Works until the mailbox is closed, then ends every lasting event.
    ///
    /// # Errors
    /// When the keeper is gone before the worker.
    pub fn run(mut self) -> Result<(), KeeperGone> {
        let mut failures = OncePerSecond::default();
        while !self.mailbox.is_closed() {
            if let Some(frame) = self.mailbox.take(TICK) {
                self.analyse(&frame, &mut failures)?;
            }
            self.close_lost()?;
        }
        for i in 0..self.lanes.len() {
            self.close(i, EndReason::Restart)?;
        }
        Ok(())
    }

    fn analyse(&mut self, frame: &Frame, failures: &mut OncePerSecond) -> Result<(), KeeperGone> {
        let Some(lane) = self.lanes.iter_mut().find(|l| l.camera().id == frame.camera) else { return Ok(()) };
        if !lane.is_due(frame.time.mono) {
            return Ok(());
        }
        let register = self.register.snapshot();
        match lane.analyse(frame, &mut self.detector, &register, utc_now()) {
            Ok(findings) => {
                self.health.ok();
                count_analysed(&frame.camera, frame.time.mono);
                send(&self.findings, findings)
            }
            Err(error) => {
                metrics::counter!("gatewatch_frames_dropped_total", "camera" => frame.camera.0.clone(),
                    "reason" => "detector_failed")
                .increment(1);
                self.health.degraded(&format!("the detector fails: {error}"));
                if let Some(count) = failures.take() {
                    tracing::error!(camera = %frame.camera, %error, count, "the detector failed on a frame");
                }
                Ok(())
            }
        }
    }

    /// Ends the events of cameras that are not running any more.
    fn close_lost(&mut self) -> Result<(), KeeperGone> {
        for i in 0..self.lanes.len() {
            let id = &self.lanes[i].camera().id;
            let gone = (self.cameras)(id).is_some_and(|s| !matches!(s, CameraState::Running | CameraState::Connecting));
            if gone && self.lanes[i].open_events() > 0 {
                self.close(i, EndReason::CameraLost)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, lane: usize, reason: EndReason) -> Result<(), KeeperGone> {
        let findings = self.lanes[lane].close(reason, &self.register.snapshot(), utc_now());
        send(&self.findings, findings)
    }
}

fn count_analysed(camera: &CameraId, taken: MonoMillis) {
    metrics::counter!("gatewatch_frames_analysed_total", "camera" => camera.0.clone()).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "ages are far below 2^52 ms")]
    let age_s = mono_now().since(taken).max(0) as f64 / 1000.0;
    metrics::histogram!("gatewatch_frame_age_seconds", "camera" => camera.0.clone()).record(age_s);
}

fn send(to: &SyncSender<Finding>, findings: Vec<Finding>) -> Result<(), KeeperGone> {
    for finding in findings {
        to.send(finding).map_err(|_| KeeperGone)?;
    }
    Ok(())
}

/// The state of a camera by its handle.
#[must_use]
pub fn states_of(handles: &Arc<Vec<CameraHandle>>) -> Cameras {
    let handles = Arc::clone(handles);
    Arc::new(move |id| handles.iter().map(CameraHandle::status).find(|s| s.camera == *id).map(|s| s.state))
}
