//! What a camera tells about itself: the status snapshot, its change notification, and its metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::{AccessUnit, CameraError, CameraId, CameraState, CameraStatus, Frame};
use crate::telemetry::metrics::{FRAMES_DECODED, FRAMES_DROPPED, FRAMES_RECEIVED, STREAM_RECONNECTS, STREAM_UP};

/// Shared by the threads of one camera and its handle.
pub(super) struct Report {
    camera: CameraId,
    status: watch::Sender<CameraStatus>,
    received: AtomicU64,
    decoded: AtomicU64,
    undecodable: AtomicU64,
    metrics: Metrics,
}

struct Metrics {
    received: metrics::Counter,
    decoded: metrics::Counter,
    errors: metrics::Counter,
    up: metrics::Gauge,
}

impl Report {
    pub fn new(camera: CameraId) -> Self {
        let label = camera.0.clone();
        let metrics = Metrics {
            received: metrics::counter!(FRAMES_RECEIVED, "camera" => label.clone()),
            decoded: metrics::counter!(FRAMES_DECODED, "camera" => label.clone()),
            errors: metrics::counter!("gatewatch_decode_errors_total", "camera" => label.clone()),
            up: metrics::gauge!(STREAM_UP, "camera" => label),
        };
        metrics.up.set(0.0);
        let status = CameraStatus {
            camera: camera.clone(),
            state: CameraState::Connecting,
            reason: None,
            not_analysed: None,
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
        Self { camera, status: watch::Sender::new(status), received, decoded, undecodable: AtomicU64::new(0), metrics }
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

    pub fn subscribe(&self) -> watch::Receiver<CameraStatus> {
        self.status.subscribe()
    }

    pub fn received(&self, unit: &AccessUnit) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.metrics.received.increment(1);
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

    pub fn dropped(&self, reason: &'static str) {
        metrics::counter!(FRAMES_DROPPED, "camera" => self.camera.0.clone(), "reason" => reason).increment(1);
    }

    /// Units that became no picture.
    pub fn undecodable(&self, count: u64) {
        if count > 0 {
            self.undecodable.fetch_add(count, Ordering::Relaxed);
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
        tracing::debug!(camera = %self.camera, count, "broken pictures");
    }

    pub fn decoder(&self, element: &str) {
        tracing::info!(camera = %self.camera, decoder = element, "decoder chosen");
        self.status.send_modify(|s| s.decoder = Some(element.to_owned()));
    }

    pub fn failed(&self, error: &CameraError) {
        self.metrics.up.set(0.0);
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
        self.status.send_modify(|s| {
            s.state = CameraState::Stopped;
            s.reason = None;
        });
    }
}
