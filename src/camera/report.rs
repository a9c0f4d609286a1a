//! What a camera tells about itself: the status snapshot, its change notification, and its metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::watch;

use super::gate::{PIECEWISE, SkipReason, WakeReason};
use super::{AccessUnit, CameraError, CameraId, CameraState, CameraStatus, Frame};
use crate::telemetry::metrics::{
    DECODE_IDLE, DECODE_WAKES, FRAMES_DECODED, FRAMES_DROPPED, FRAMES_RECEIVED, STREAM_RECONNECTS, STREAM_UP,
};

/// Shared by the threads of one camera and its handle.
pub(super) struct Report {
    camera: CameraId,
    status: watch::Sender<CameraStatus>,
    received: AtomicU64,
    decoded: AtomicU64,
    undecodable: AtomicU64,
    broken: AtomicU64,
    keyframes: AtomicU64,
    unreferenced: AtomicU64,
    /// `i64::MIN` = not known.
    clock_offset_ms: AtomicI64,
    metrics: Metrics,
}

/// What health needs beside the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Keyframes received.
    pub keyframes: u64,
    /// Units and pictures that were broken.
    pub broken: u64,
    /// Units skipped because what they refer to is not there.
    pub unreferenced: u64,
    /// Camera clock minus box clock at the newest picture, not smoothed.
    pub clock_offset_ms: Option<i64>,
}

struct Metrics {
    received: metrics::Counter,
    decoded: metrics::Counter,
    errors: metrics::Counter,
    up: metrics::Gauge,
    idle: metrics::Gauge,
}

impl Report {
    pub fn new(camera: CameraId) -> Self {
        let label = camera.0.clone();
        let metrics = Metrics {
            received: metrics::counter!(FRAMES_RECEIVED, "camera" => label.clone()),
            decoded: metrics::counter!(FRAMES_DECODED, "camera" => label.clone()),
            errors: metrics::counter!("gatewatch_decode_errors_total", "camera" => label.clone()),
            up: metrics::gauge!(STREAM_UP, "camera" => label.clone()),
            idle: metrics::gauge!(DECODE_IDLE, "camera" => label),
        };
        metrics.up.set(0.0);
        let status = CameraStatus {
            camera: camera.clone(),
            state: CameraState::Connecting,
            reason: None,
            not_analysed: None,
            reduced: None,
            conditions: Vec::new(),
            codec: None,
            width: 0,
            height: 0,
            decoder: None,
            received: 0,
            decoded: 0,
            reconnects: 0,
            time_source: None,
            clock_offset_ms: None,
            coverage: None,
        };
        let (received, decoded) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            camera,
            status: watch::Sender::new(status),
            received,
            decoded,
            undecodable: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            keyframes: AtomicU64::new(0),
            unreferenced: AtomicU64::new(0),
            clock_offset_ms: AtomicI64::new(i64::MIN),
            metrics,
        }
    }

    pub fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// Snapshot with the counters of this moment.
    pub fn status(&self) -> CameraStatus {
        let mut status = self.status.borrow().clone();
        status.received = self.received.load(Ordering::Relaxed);
        status.decoded = self.decoded.load(Ordering::Relaxed);
        status
    }

    /// Counters of this moment that are not published.
    pub fn vitals(&self) -> Vitals {
        let offset = self.clock_offset_ms.load(Ordering::Relaxed);
        Vitals {
            keyframes: self.keyframes.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
            unreferenced: self.unreferenced.load(Ordering::Relaxed),
            clock_offset_ms: (offset != i64::MIN).then_some(offset),
        }
    }

    /// The camera's clock beside the box's, at a picture.
    pub fn clock_offset(&self, ms: Option<i64>) {
        self.clock_offset_ms.store(ms.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    pub fn subscribe(&self) -> watch::Receiver<CameraStatus> {
        self.status.subscribe()
    }

    pub fn received(&self, unit: &AccessUnit) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.metrics.received.increment(1);
        self.keyframes.fetch_add(u64::from(unit.keyframe), Ordering::Relaxed);
        // A clock that drifts by some milliseconds is not news; the snapshot still follows it.
        self.status.send_if_modified(|s| {
            s.clock_offset_ms = unit.time.clock_offset_ms;
            let news = s.codec != Some(unit.codec) || s.time_source != Some(unit.time.source);
            s.codec = Some(unit.codec);
            s.time_source = Some(unit.time.source);
            news
        });
    }

    pub fn decoded(&self, frame: &Frame) {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.metrics.decoded.increment(1);
        self.status.send_if_modified(|s| {
            let news = (s.width, s.height) != (frame.width, frame.height) || s.state != CameraState::Running;
            if news {
                tracing::info!(camera = %self.camera, width = frame.width, height = frame.height, "pictures arrive");
                self.metrics.up.set(1.0);
            }
            (s.width, s.height) = (frame.width, frame.height);
            s.state = CameraState::Running;
            s.reason = None;
            news
        });
    }

    /// Units arrive and nobody decodes them: that is all there is to see of this camera.
    pub fn recorded_only(&self) {
        self.status.send_if_modified(|s| {
            let news = s.state != CameraState::Running;
            if news {
                tracing::info!(camera = %self.camera, "video to record arrives");
                self.metrics.up.set(1.0);
                (s.state, s.reason) = (CameraState::Running, None);
            }
            news
        });
    }

    /// Pictures decoded so far.
    pub fn pictures(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    pub fn dropped(&self, reason: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        if reason == SkipReason::WaitingForKeyframe.label() {
            self.unreferenced.fetch_add(count, Ordering::Relaxed);
        }
        metrics::counter!(FRAMES_DROPPED, "camera" => self.camera.0.clone(), "reason" => reason).increment(count);
    }

    /// Whether it is decoded at keyframes only, as its gate decided.
    pub fn idles(&self, idle: bool) {
        self.metrics.idle.set(f64::from(u8::from(idle)));
    }

    /// An idle camera is decoded in full again, or one is not left idle.
    pub fn woke(&self, reason: WakeReason) {
        if reason == PIECEWISE {
            tracing::warn!(camera = %self.camera, "its keyframes refer to other pictures (intra refresh) and do not show all of it: it is decoded in full; \
                set it to whole keyframes to have it idle");
        }
        tracing::debug!(camera = %self.camera, reason, "idle camera woke up");
        metrics::counter!(DECODE_WAKES, "camera" => self.camera.0.clone(), "reason" => reason).increment(1);
    }

    /// Units that became no picture.
    pub fn undecodable(&self, count: u64) {
        if count > 0 {
            self.undecodable.fetch_add(count, Ordering::Relaxed);
            self.broken.fetch_add(count, Ordering::Relaxed);
            metrics::counter!(FRAMES_DROPPED, "camera" => self.camera.0.clone(), "reason" => "undecodable")
                .increment(count);
        }
    }

    #[cfg(test)]
    pub fn undecodable_so_far(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    pub fn decode_errors(&self, count: u64) {
        self.metrics.errors.increment(count);
        self.broken.fetch_add(count, Ordering::Relaxed);
        tracing::debug!(camera = %self.camera, count, "broken pictures");
    }

    pub fn decoder(&self, element: &str) {
        tracing::info!(camera = %self.camera, decoder = element, "decoder chosen");
        self.status.send_modify(|s| s.decoder = Some(element.to_owned()));
    }

    pub fn failed(&self, error: &CameraError) {
        self.metrics.up.set(0.0);
        self.metrics.idle.set(0.0);
        self.clock_offset(None);
        self.status.send_modify(|s| {
            s.state = error.state();
            s.reason = Some(error.to_string());
            s.time_source = None;
            s.clock_offset_ms = None;
        });
    }

    pub fn reconnecting(&self, cause: &'static str) {
        metrics::counter!(STREAM_RECONNECTS, "camera" => self.camera.0.clone(), "cause" => cause).increment(1);
        self.status.send_modify(|s| s.reconnects += 1);
    }

    pub fn stopped(&self) {
        self.metrics.up.set(0.0);
        self.metrics.idle.set(0.0);
        self.status.send_modify(|s| {
            s.state = CameraState::Stopped;
            s.reason = None;
        });
    }
}
