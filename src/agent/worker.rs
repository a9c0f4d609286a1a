//! An analysis worker: a thread that owns one detector and the lanes of its cameras. Takes the newest frame of each
//! camera, hands findings to the keeper and waits when the keeper is behind: frames may be lost, findings may not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::watch;

use super::budget::{self, Hold, Meter, Stage};
use super::camera_health::HealthBoard;
use super::coverage::CoverageKeeper;
use super::lane::Lane;
use super::windows::Windows;
use crate::camera::{CameraId, CameraState, CameraStatus, Frame, Mailbox};
use crate::clock::{MonoMillis, mono_now, precise_now, utc_now};
use crate::customs::Register;
use crate::event::Finding;
use crate::event::message::ModelRef;
use crate::rules::EndReason;
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{ANALYSIS_INTERVAL, ANALYSIS_LOAD, FRAME_AGE, FRAMES_ANALYSED, FRAMES_DROPPED};
use crate::telemetry::rate::Limiter;
use crate::vision::detector::Detect;

/// How long a wait for a frame lasts at most, and how often it is looked whether a camera is lost, milliseconds.
const TICK_MS: i64 = 200;

/// A worker that has not turned for this long is stuck: an inference that never returns, a store that cannot write.
const STUCK_MS: i64 = 60_000;

/// A running camera of which no picture was analysed for so long is lost for its events: packets without pictures.
const BLIND_MS: i64 = 60_000;

/// A camera that is said not to run while its pictures are looked at has come back; that is said once a second,
/// milliseconds.
const STALE_MS: i64 = 2000;

/// How often the worker's time is dealt out anew, milliseconds.
const DEAL_EVERY_MS: i64 = 2000;

/// How health and the states of cameras begin to say that nobody looks at the pictures.
pub const DETECTOR_FAILED: &str = "detector_failed";

/// How health begins to say that cameras are looked at less than configured.
const OVERLOADED: &str = "overloaded";

/// What all cameras do now.
pub type Cameras = watch::Receiver<BTreeMap<CameraId, CameraStatus>>;

/// Everything a worker needs; `run` ends when the mailbox is closed.
pub struct Worker<D> {
    // injected
    /// The model, owned by this thread.
    pub detector: D,
    /// The cameras it serves.
    pub lanes: Vec<Lane>,
    /// What customs knows.
    pub register: Arc<Register>,
    /// Which cameras are running.
    pub cameras: Cameras,
    /// Told of every analysed picture, and before it of what was found in it.
    pub coverage: Arc<CoverageKeeper>,
    /// Hears how much of the picture a thing fills.
    pub board: HealthBoard,
    /// Shows pictures to people who look.
    pub windows: Arc<Windows>,
    /// Shown in `/readyz` and `/livez`.
    pub health: Arc<Health>,
    /// Its name there, e.g. `analysis/0`.
    pub name: String,
    // in
    /// Newest frames.
    pub mailbox: Arc<Mailbox>,
    // own state
    /// There was no detector at the last look. True before the first.
    pub absent: bool,
    /// What its cameras cost and get.
    pub budget: Budget,
    // out
    /// Which model is in use: it may come after the start.
    pub model: watch::Sender<ModelRef>,
    /// To the keeper; full = wait.
    pub findings: SyncSender<Finding>,
}

/// How a worker's time is dealt out among its cameras.
#[derive(Debug, Default)]
pub struct Budget {
    /// In the order of the lanes.
    meters: Vec<Meter>,
    hold: Hold,
    dealt: Option<MonoMillis>,
    /// What is said when it is not enough for all.
    overloaded: Option<String>,
    /// The last picture could not be analysed.
    failing: bool,
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
        let failures = Limiter::per_second();
        self.budget.meters = vec![Meter::default(); self.lanes.len()];
        self.health.tick(&self.name, STUCK_MS);
        let (tick, mut ticked) = (Duration::from_millis(TICK_MS.unsigned_abs()), mono_now());
        while !self.mailbox.is_closed() {
            self.look_at_detector()?;
            if let Some(frame) = self.mailbox.take(tick) {
                self.analyse(&frame, &failures)?;
            }
            let now = mono_now();
            self.deal_out(now);
            // Not after every picture: nothing of it changes that fast.
            if now.since(ticked) >= TICK_MS {
                ticked = now;
                self.health.tick(&self.name, STUCK_MS);
                self.close_lost(now)?;
            }
        }
        for i in 0..self.lanes.len() {
            self.close(i, EndReason::Restart)?;
        }
        self.health.ended(&self.name);
        Ok(())
    }

    fn analyse(&mut self, frame: &Frame, failures: &Limiter) -> Result<(), KeeperGone> {
        let mut lanes = self.lanes.iter_mut().zip(&mut self.budget.meters);
        let Some((lane, meter)) = lanes.find(|(l, _)| l.camera().id == frame.camera) else { return Ok(()) };
        meter.came(frame.time.mono, frame.number);
        // What an idle camera held is looked at in full: it is what the camera was woken for.
        if !lane.is_due(frame.time.mono) || !(frame.held || lane.is_allowed(frame.time.mono)) {
            return Ok(());
        }
        let register = self.register.snapshot();
        let (begin, looked) = (precise_now(), lane.regions());
        match lane.analyse(frame, &mut self.detector, &register, utc_now()) {
            Ok(findings) => {
                let took_ms = (precise_now() - begin).as_secs_f32() * 1000.0;
                meter.looked(mono_now(), took_ms, looked, lane.asked_wider());
                let recovered = std::mem::take(&mut self.budget.failing);
                count_analysed(&frame.camera, frame.time.mono);
                self.board.filled(&frame.camera, frame.time.mono, lane.filled());
                lane.ask_for_attention(mono_now());
                self.windows.show(frame, lane.tracks());
                let (areas, unsaid) = (Arc::clone(lane.areas()), lane.take_unsaid());
                self.send(findings)?;
                // After the findings: what is claimed as watched has said what it saw.
                self.coverage.analysed(frame, &areas, &unsaid);
                if recovered {
                    self.say_well();
                }
                Ok(())
            }
            Err(error) => {
                // Areas can be drawn without a detector.
                self.windows.show(frame, &[]);
                metrics::counter!(FRAMES_DROPPED, "camera" => frame.camera.0.clone(),
                    "reason" => "detector_failed")
                .increment(1);
                self.budget.failing = true;
                self.health.set(&self.name, Level::Failed, format!("{DETECTOR_FAILED}: {error}"));
                if let Some(more) = failures.pass() {
                    tracing::error!(camera = %frame.camera, %error, more, "the detector failed on a frame");
                }
                Ok(())
            }
        }
    }

    /// Deals its time out among its cameras, now and then.
    fn deal_out(&mut self, now: MonoMillis) {
        if self.budget.dealt.is_some_and(|last| now.since(last) < DEAL_EVERY_MS) {
            return;
        }
        self.budget.dealt = Some(now);
        let (register, at) = (self.register.snapshot(), utc_now());
        let lanes = self.lanes.iter().zip(&self.budget.meters);
        let demands: Vec<_> = lanes.map(|(l, m)| l.demand(m, &register, now, at)).collect();
        let configured = budget::allot_all(&demands);
        let wanted = budget::load(&demands, &configured);
        let (stage, allowances) = self.budget.hold.allot(&demands, now);
        for ((lane, allowed), configured) in self.lanes.iter_mut().zip(allowances).zip(configured) {
            let camera = &lane.camera().id;
            metrics::gauge!(ANALYSIS_INTERVAL, "camera" => camera.0.clone())
                .set(f64::from(allowed.interval_ms) / 1000.0);
            self.board.allowed(camera, Some(allowed).filter(|a| *a != configured));
            lane.allow(allowed);
        }
        metrics::gauge!(ANALYSIS_LOAD, "worker" => self.name.clone()).set(f64::from(wanted));
        let text = || format!("{OVERLOADED}: {:.0} % of its time is asked for; {}", wanted * 100.0, stage.text());
        let overloaded = (stage > Stage::Full).then(text);
        if overloaded.is_some() != self.budget.overloaded.is_some() {
            tracing::warn!(worker = self.name, wanted, stage = stage.text(), "how often cameras are looked at");
        }
        self.budget.overloaded = overloaded;
        if !self.absent && !self.budget.failing {
            self.say_well();
        }
    }

    /// Says how it is while it has a detector that works.
    fn say_well(&self) {
        match &self.budget.overloaded {
            None => self.health.set(&self.name, Level::Ok, "analysing"),
            Some(why) => self.health.set(&self.name, Level::Degraded, why.clone()),
        }
    }

    /// Without a detector the cameras are as good as lost: what lasts is ended, and health says why. Tries again what is
    /// due, whether frames come or not.
    fn look_at_detector(&mut self) -> Result<(), KeeperGone> {
        match (self.detector.ready(), self.absent) {
            (Ok(()), false) => {}
            (Ok(()), true) => {
                (self.absent, self.budget.failing) = (false, false);
                self.model.send_replace(self.detector.model().clone());
                self.say_well();
            }
            (Err(error), was) => {
                self.health.set(&self.name, Level::Failed, format!("{DETECTOR_FAILED}: {error}"));
                self.absent = true;
                let lanes = if was { 0 } else { self.lanes.len() };
                for i in 0..lanes {
                    self.close(i, EndReason::CameraLost)?;
                }
            }
        }
        Ok(())
    }

    /// Closes the lanes of cameras that are not running any more, or whose pictures do not come.
    fn close_lost(&mut self, now: MonoMillis) -> Result<(), KeeperGone> {
        for i in 0..self.lanes.len() {
            let lane = &self.lanes[i];
            // By when it was looked at: a picture may be late.
            let Some(last) = self.budget.meters[i].last_looked().filter(|_| !lane.is_lost()) else { continue };
            let state = self.cameras.borrow().get(&lane.camera().id).map(|s| s.state);
            let unseen_ms = now.since(last);
            let lost = unseen_ms > STALE_MS
                && state.is_some_and(|s| !matches!(s, CameraState::Running | CameraState::Connecting));
            if lost || unseen_ms > BLIND_MS.max(2 * i64::from(lane.camera().stall_timeout_ms)) {
                self.close(i, EndReason::CameraLost)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, lane: usize, reason: EndReason) -> Result<(), KeeperGone> {
        let findings = self.lanes[lane].close(reason, &self.register.snapshot(), utc_now());
        self.send(findings)
    }

    fn send(&self, findings: Vec<Finding>) -> Result<(), KeeperGone> {
        self.coverage.found(findings.len());
        findings.into_iter().try_for_each(|finding| self.findings.send(finding).map_err(|_| KeeperGone))
    }
}

fn count_analysed(camera: &CameraId, taken: MonoMillis) {
    metrics::counter!(FRAMES_ANALYSED, "camera" => camera.0.clone()).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "ages are far below 2^52 ms")]
    let age_s = mono_now().since(taken).max(0) as f64 / 1000.0;
    metrics::histogram!(FRAME_AGE, "camera" => camera.0.clone()).record(age_s);
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
