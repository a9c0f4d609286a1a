//! Camera health, live: a tap takes a small grey picture a few times a second where frames pass, a thread looks at
//! pictures, streams and clocks of all cameras and records what begins and ends. Works whether there is a detector or not,
//! and never holds up a frame.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::budget::Allowance;
use crate::camera::health::luma::fingerprint;
use crate::camera::health::{ActiveCondition, HealthMonitor, Luma, Now, StreamView};
use crate::camera::{CameraHandle, CameraId, CameraStatus, Frame, FrameSink, Reduced};
use crate::clock::{MonoMillis, mono_now, precise_now, utc_now};
use crate::config::Config;
use crate::event::health::{HealthCamera, HealthLog, HealthMessage, HealthSender, KIND_PREFIXES};
use crate::rules::Phase;
use crate::store::{NewNotice, Store, StoreError};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{CAMERA_CONDITION, CAMERA_CONDITIONS, HEALTH_LOOK};

/// How often streams and clocks are looked at, and pictures fetched.
const EVERY: Duration = Duration::from_millis(250);
/// Pictures kept for the thread; more are only left when it is stuck.
const KEPT: usize = 4;
/// A thread that has not turned for this long is stuck.
const STUCK_MS: i64 = 60_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the parts tell each other about the health of cameras. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct HealthBoard(Arc<Mutex<BTreeMap<CameraId, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    active: Vec<ActiveCondition>,
    filled: Option<(MonoMillis, f32)>,
    reduced: Option<Reduced>,
}

impl HealthBoard {
    /// A worker analysed a picture: the largest tracked thing covers this share of it.
    pub fn filled(&self, camera: &CameraId, at: MonoMillis, share: f32) {
        lock(&self.0).entry(camera.clone()).or_default().filled = Some((at, share));
    }

    /// A worker looks at the camera less than configured; `None`: it does not.
    pub fn allowed(&self, camera: &CameraId, allowed: Option<Allowance>) {
        let reduced = allowed.map(|a| Reduced {
            // Small steps are no news.
            interval_ms: (a.interval_ms / 100.0).ceil() as u32 * 100,
            planned_regions_only: !a.wider,
        });
        lock(&self.0).entry(camera.clone()).or_default().reduced = reduced;
    }

    /// How a camera is looked at less than configured, if it is.
    #[must_use]
    pub fn reduced(&self, camera: &CameraId) -> Option<Reduced> {
        lock(&self.0).get(camera).and_then(|e| e.reduced)
    }

    /// What lasts at a camera now.
    #[must_use]
    pub fn active(&self, camera: &CameraId) -> Vec<ActiveCondition> {
        lock(&self.0).get(camera).map(|e| e.active.clone()).unwrap_or_default()
    }

    fn exchange(&self, camera: &CameraId, active: Vec<ActiveCondition>) -> Option<(MonoMillis, f32)> {
        let mut board = lock(&self.0);
        let entry = board.entry(camera.clone()).or_default();
        entry.active = active;
        entry.filled
    }
}

/// Passes frames on and looks at some of them.
pub struct PictureTap {
    next: Arc<dyn FrameSink>,
    every_ms: i64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    pictures: Looks<Luma>,
    /// Fingerprints.
    keyframes: Looks<u64>,
}

/// The newest of what was taken of pictures.
#[derive(Debug)]
struct Looks<T> {
    last: Option<MonoMillis>,
    taken: Vec<(MonoMillis, T)>,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self { last: None, taken: Vec::new() }
    }
}

impl<T> Looks<T> {
    /// A tenth early is on time, as for the analysis; time that went back is another stream.
    fn is_due(&self, at: MonoMillis, every_ms: i64) -> bool {
        let gone = |last: MonoMillis| at.since(last);
        self.last.is_none_or(|last| gone(last) * 10 >= every_ms * 9 || gone(last) < 0)
    }

    fn keep(&mut self, at: MonoMillis, what: T) {
        self.last = Some(at);
        if self.taken.len() == KEPT {
            self.taken.remove(0);
        }
        self.taken.push((at, what));
    }
}

impl PictureTap {
    /// Frames go on to `next`.
    #[must_use]
    pub fn new(next: Arc<dyn FrameSink>, pictures_per_second: f32) -> Self {
        let every_ms = (1000.0 / pictures_per_second.max(0.01)) as i64;
        Self { next, every_ms, taken: Mutex::default() }
    }

    /// Hands what was taken to the monitor.
    fn tell(&self, monitor: &mut HealthMonitor, keyframes: u64) {
        let mut taken = lock(&self.taken);
        let prints = std::mem::take(&mut taken.keyframes.taken);
        let pictures = std::mem::take(&mut taken.pictures.taken);
        drop(taken);
        prints.into_iter().for_each(|(at, print)| monitor.keyframe(at, print));
        pictures.iter().for_each(|(at, luma)| monitor.picture(*at, luma, keyframes));
    }
}

impl FrameSink for PictureTap {
    fn frame(&self, frame: Frame) {
        // The analysis first: it waits for nothing here.
        self.next.frame(frame.clone());
        self.look(&frame);
    }

    fn frame_in_turn(&self, frame: Frame, limit: Duration) -> bool {
        let in_time = self.next.frame_in_turn(frame.clone(), limit);
        self.look(&frame);
        in_time
    }
}

impl PictureTap {
    fn look(&self, frame: &Frame) {
        let at = frame.time.mono;
        let (picture_due, keyframe_due) = {
            let taken = lock(&self.taken);
            (taken.pictures.is_due(at, self.every_ms), taken.keyframes.is_due(at, self.every_ms))
        };
        let print_due = frame.keyframe && keyframe_due;
        if !picture_due && !print_due {
            return;
        }
        let begin = precise_now();
        // Made without the lock: the health thread would wait for it.
        let luma = picture_due.then(|| Luma::of(frame)).flatten();
        let print = print_due.then(|| fingerprint(frame)).flatten();
        let mut taken = lock(&self.taken);
        if let Some(luma) = luma {
            taken.pictures.keep(at, luma);
        }
        if let Some(print) = print {
            taken.keyframes.keep(at, print);
        }
        drop(taken);
        metrics::histogram!(HEALTH_LOOK, "part" => "take").record((precise_now() - begin).as_secs_f64());
    }
}

/// One camera under watch.
pub struct Watched {
    /// As messages name it.
    pub camera: HealthCamera,
    /// Its pictures.
    pub tap: Arc<PictureTap>,
    /// What is known of it.
    pub monitor: HealthMonitor,
}

/// Everything the thread needs.
pub struct CameraHealth {
    // injected
    /// Where messages are kept.
    pub store: Store,
    /// Shown in `/readyz` and `/livez`.
    pub health: Arc<Health>,
    /// Runs the store's futures.
    pub runtime: Handle,
    /// In the order of `cameras`. Weak: whoever stops the agent must be the last to hold them.
    pub handles: Weak<Vec<CameraHandle>>,
    /// What the parts tell each other.
    pub board: HealthBoard,
    /// Ends the thread.
    pub stop: CancellationToken,
    /// Ends its patience with a store that refuses, after `stop`.
    pub give_up: CancellationToken,
    // own state
    /// The cameras.
    pub cameras: Vec<Watched>,
    /// Makes the messages.
    pub log: HealthLog,
    /// Messages that are not recorded yet, in order.
    pub waiting: Vec<NewNotice>,
}

impl CameraHealth {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("health".into()).spawn(move || self.run())
    }

    /// Looks until stopped, then ends what lasts.
    fn run(mut self) {
        while !self.stop.is_cancelled() {
            self.health.tick("health", STUCK_MS);
            self.look();
            self.record();
            let wait = async { tokio::time::timeout(EVERY, self.stop.cancelled()).await };
            // Either way the loop says what comes next.
            let _ = self.runtime.block_on(wait);
        }
        self.close();
        self.health.ended("health");
    }

    fn look(&mut self) {
        let Some(handles) = self.handles.upgrade() else { return };
        for (watched, handle) in self.cameras.iter_mut().zip(handles.iter()) {
            let begin = precise_now();
            let view = view(&handle.status(), handle);
            watched.tap.tell(&mut watched.monitor, view.keyframes);
            let now = Now { mono: mono_now(), utc: utc_now() };
            let changes = watched.monitor.look(now, &view);
            let filled = self.board.exchange(&watched.camera.id, watched.monitor.active());
            if let Some((at, share)) = filled {
                watched.monitor.filled(at, share);
            }
            for change in changes {
                let offset = view.clock_offset_ms;
                self.waiting.push(self.log.notice(&watched.camera, change, offset));
            }
            metrics::histogram!(HEALTH_LOOK, "part" => "look").record((precise_now() - begin).as_secs_f64());
        }
    }

    /// What cannot be recorded now stays in front of what comes later.
    fn record(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.runtime.block_on(self.store.record_notices(self.waiting.clone())) {
            Ok(_) => self.waiting.drain(..).for_each(|n| announce(&n)),
            Err(error) => {
                self.health.set("store", Level::Failed, format!("health of cameras cannot be written: {error}"));
                tracing::error!(waiting = self.waiting.len(), %error, "health of cameras cannot be written; trying again");
            }
        }
    }

    fn close(&mut self) {
        let now = Now { mono: mono_now(), utc: utc_now() };
        for watched in &mut self.cameras {
            for change in watched.monitor.close(now) {
                self.waiting.push(self.log.notice(&watched.camera, change, None));
            }
        }
        loop {
            self.record();
            if self.waiting.is_empty() || self.give_up.is_cancelled() {
                break;
            }
            std::thread::sleep(EVERY);
        }
        for lost in &self.waiting {
            tracing::error!(id = lost.id, kind = lost.kind, "a message about a camera's health is lost at stop");
        }
    }
}

fn view(status: &CameraStatus, handle: &CameraHandle) -> StreamView {
    let vitals = handle.vitals();
    StreamView {
        state: status.state,
        reason: status.reason.clone(),
        codec: status.codec,
        width: status.width,
        height: status.height,
        received: status.received,
        keyframes: vitals.keyframes,
        broken: vitals.broken,
        unreferenced: vitals.unreferenced,
        clock_offset_ms: vitals.clock_offset_ms,
    }
}

/// One line in the log, and the counts.
fn announce(notice: &NewNotice) {
    let (data, camera) = (&notice.data, notice.subject.trim_start_matches("camera/").to_owned());
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let condition = text("condition");
    tracing::info!(%camera, condition, phase = text("phase"), duration_ms = data["duration_ms"].as_i64(),
        reason = text("reason"), id = notice.id, "camera health");
    if data["phase"] == serde_json::json!(Phase::New) {
        metrics::counter!(CAMERA_CONDITIONS, "camera" => camera.clone(), "condition" => condition.clone()).increment(1);
    }
    let lasts = if notice.open { 1.0 } else { 0.0 };
    metrics::gauge!(CAMERA_CONDITION, "camera" => camera, "condition" => condition).set(lasts);
}

/// One monitor a camera, with the switches of its configuration.
#[must_use]
pub fn watched(config: &Config, taps: &[Arc<PictureTap>]) -> Vec<Watched> {
    let each = config.cameras.iter().zip(taps).map(|(c, tap)| {
        let name = if c.name.is_empty() { c.id.0.clone() } else { c.name.clone() };
        let monitor = HealthMonitor::new(config.health.clone(), &c.health_off);
        Watched { camera: HealthCamera { id: c.id.clone(), name }, tap: Arc::clone(tap), monitor }
    });
    each.collect()
}

/// Ends the conditions that the last run left open; returns how many. One that this version cannot read is named in the log
/// and no longer held open.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn close_open_conditions(store: &Store, sender: &HealthSender) -> Result<usize, StoreError> {
    let mut ends = Vec::new();
    for prefix in KIND_PREFIXES {
        for message in store.open_notices(prefix).await? {
            let id = message["id"].as_str().unwrap_or_default().to_owned();
            match serde_json::from_value::<HealthMessage>(message) {
                Ok(last) => ends.push(sender.ended_by_restart(last)),
                Err(error) => {
                    tracing::error!(id, %error, "a camera's open condition of another version cannot be ended");
                    store.forget_notice(&id).await?;
                }
            }
        }
    }
    let count = ends.len();
    store.record_notices(ends).await?;
    if count > 0 {
        tracing::warn!(count, "conditions of cameras were open and are ended at their last written sight");
    }
    Ok(count)
}
