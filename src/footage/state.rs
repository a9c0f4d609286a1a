//! How the recording of one camera stands: written by its writer, read by the steward, the API and health.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::camera::{CameraId, CameraState, CameraStatus};
use crate::clock::{MonoMillis, UtcMillis, mono_now};
use crate::telemetry::metrics::{FOOTAGE_BYTES_WRITTEN, FOOTAGE_LOST};

/// A stream of its own that is not received for so long is a problem: cameras start anew in less.
const DOWN_MS: i64 = 20_000;

/// Recording of one camera at one moment, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordStatus {
    /// Camera.
    pub camera: CameraId,
    /// Pictures are being written.
    pub recording: bool,
    /// End of what is written so far.
    pub until: Option<UtcMillis>,
    /// Why nothing is written, while something is wrong.
    pub problem: Option<String>,
    /// Pictures that came and were not recorded since the start of the agent.
    pub lost: u64,
}

/// Shared by the writer of a camera and everybody who looks.
pub(super) struct RecordState {
    pub camera: CameraId,
    allowed: AtomicBool,
    lost: AtomicU64,
    /// Dropped by the queue; the writer hears of them later.
    pub queue_dropped: Arc<AtomicU64>,
    now: Mutex<Now>,
    stream: Mutex<Option<Stream>>,
    written: metrics::Counter,
}

/// The stream that is recorded, where it is another than the analysed one, which is watched elsewhere.
struct Stream {
    status: watch::Receiver<CameraStatus>,
    down_since: Option<MonoMillis>,
}

#[derive(Default)]
struct Now {
    recording: bool,
    until: Option<UtcMillis>,
    problem: Option<String>,
    bytes_seen: u64,
}

impl RecordState {
    pub fn new(camera: CameraId, queue_dropped: Arc<AtomicU64>) -> Self {
        let written = metrics::counter!(FOOTAGE_BYTES_WRITTEN, "camera" => camera.0.clone());
        Self {
            camera,
            allowed: AtomicBool::new(true),
            lost: AtomicU64::new(0),
            queue_dropped,
            now: Mutex::default(),
            stream: Mutex::default(),
            written,
        }
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for it.
    pub fn may_record(&self) -> bool {
        self.allowed.load(Ordering::Relaxed)
    }

    pub fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    /// A segment was begun.
    pub fn recording(&self, from: UtcMillis) {
        let mut now = self.now();
        (now.recording, now.until, now.bytes_seen) = (true, Some(from), 0);
    }

    /// The open segment has so many bytes and goes so far.
    pub fn wrote(&self, bytes: u64, until: Option<UtcMillis>) {
        let mut now = self.now();
        self.written.increment(bytes.saturating_sub(now.bytes_seen));
        now.bytes_seen = bytes;
        now.until = until.or(now.until);
        now.problem = None;
    }

    /// The segment is over.
    pub fn ended(&self) {
        self.now().recording = false;
    }

    pub fn failed(&self, why: &str) {
        let mut now = self.now();
        (now.recording, now.problem) = (false, Some(why.to_owned()));
    }

    /// Units that came and are not in any file.
    pub fn lost(&self, reason: &'static str, count: u64) {
        if reason != "waiting_for_keyframe" {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
        metrics::counter!(FOOTAGE_LOST, "camera" => self.camera.0.clone(), "reason" => reason).increment(count);
    }

    /// The writer learned of what the queue dropped: counted already, not yet a metric.
    pub fn heard_of_dropped(&self, count: u64) {
        metrics::counter!(FOOTAGE_LOST, "camera" => self.camera.0.clone(), "reason" => "disk_behind").increment(count);
    }

    /// What is recorded comes by a stream of its own.
    pub fn follow(&self, status: watch::Receiver<CameraStatus>) {
        let stream = Stream { status, down_since: None };
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    fn stream_problem(&self, now: MonoMillis) -> Option<String> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = stream.as_mut()?;
        let status = stream.status.borrow();
        if status.state == CameraState::Running {
            stream.down_since = None;
            return None;
        }
        // Between two tries it is connecting: that is no better.
        let since = *stream.down_since.get_or_insert(now);
        let why = status.reason.as_deref().unwrap_or("it does not answer");
        (now.since(since) >= DOWN_MS).then(|| format!("the stream to record is not received: {why}"))
    }

    pub fn status(&self) -> RecordStatus {
        let stream_problem = self.stream_problem(mono_now());
        let now = self.now();
        // What the queue dropped counts at once, and not again when the writer hears of it.
        let lost = self.lost.load(Ordering::Relaxed) + self.queue_dropped.load(Ordering::Relaxed);
        RecordStatus {
            camera: self.camera.clone(),
            recording: now.recording,
            until: now.until,
            problem: now.problem.clone().or(stream_problem),
            lost,
        }
    }
}
