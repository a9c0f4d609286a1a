//! Looks at all parts every second and says how they are: health for `/readyz`, gauges for Prometheus, camera states and the
//! box's status for MQTT. Beside it the hourly clean-up of store and register.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::camera_health::HealthBoard;
use super::clearance::Clearance;
use super::coverage::CoverageKeeper;
use super::degraded::Degraded;
use super::links::StatusText;
use super::status::Reporter;
use super::worker::DETECTOR_FAILED;
use crate::camera::health::{ActiveCondition, Now};
use crate::camera::{CameraHandle, CameraId, CameraState, CameraStatus};
use crate::clock::{mono_now, utc_now};
use crate::customs::FactKind;
use crate::footage::Footage;
use crate::mqtt::DeliveryStatus;
use crate::store::Store;
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{self, Metrics};

const EVERY: Duration = Duration::from_secs(1);
/// First clean-up after the start, and then every so often.
const TEND_FIRST: Duration = Duration::from_secs(60);
const TEND_EVERY: Duration = Duration::from_secs(3600);
/// Declarations stay known at least this long after they were last heard of: goods may wait for weeks.
const DECLARATIONS_KEPT_DAYS: i64 = 90;
/// The broker takes events but gives no facts.
const NO_FACTS: &str = "connected, but declarations and bookings cannot come in: the broker must allow the client id \
    that ends in `-in`, and this user to read `in/#`";
const DAY_MS: i64 = 86_400_000;

/// The state of every camera now.
#[must_use]
pub fn statuses(handles: &[CameraHandle]) -> BTreeMap<CameraId, CameraStatus> {
    handles.iter().map(CameraHandle::status).map(|s| (s.camera.clone(), s)).collect()
}

/// Health of the box as one JSON object, made when asked.
#[must_use]
pub fn status_text(
    store: &Store,
    handles: Arc<Vec<CameraHandle>>,
    clearance: Arc<Clearance>,
    footage: Arc<Footage>,
) -> StatusText {
    let store = store.clone();
    // Weak: whoever stops the agent must be the last to hold the cameras.
    let handles = Arc::downgrade(&handles);
    Arc::new(move || {
        let (store, clearance) = (store.clone(), Arc::clone(&clearance));
        let cameras = handles.upgrade().map(|h| statuses(&h)).unwrap_or_default();
        let recordings = footage.statuses();
        Box::pin(async move {
            let outbox = match store.outbox_stats().await {
                Ok(s) => {
                    json!({"rows": s.rows, "bytes": s.bytes, "oldest_age_ms": s.oldest_age_ms, "dropped": s.dropped})
                }
                Err(error) => json!({"error": error.to_string()}),
            };
            let register = clearance.register().snapshot();
            let (declarations, bookings) = register.counts();
            json!({
                "time": utc_now(), "epoch": store.epoch(), "session": store.session(),
                "cameras": cameras.values().collect::<Vec<_>>(), "outbox": outbox,
                "footage": recordings,
                "register": {"declarations": declarations, "bookings": bookings, "last_feed": register.last_feed,
                    "visits": register.count_of(FactKind::Visit), "observations": register.count_of(FactKind::Observation),
                    "tips": register.count_of(FactKind::Tip)},
            })
        })
    })
}

/// Watches until stopped.
pub struct Watcher {
    /// Outbox and clean-up.
    pub store: Store,
    /// Where parts are reported.
    pub health: Arc<Health>,
    /// Analysis workers; cameras are dealt to them in turn.
    pub workers: usize,
    /// Cameras.
    pub handles: Arc<Vec<CameraHandle>>,
    /// Delivery.
    pub delivery: watch::Receiver<DeliveryStatus>,
    /// Age of the feed.
    pub clearance: Arc<Clearance>,
    /// What was watched.
    pub coverage: Arc<CoverageKeeper>,
    /// Camera states, for MQTT and the workers.
    pub cameras: watch::Sender<BTreeMap<CameraId, CameraStatus>>,
    /// Kept small while nobody scrapes.
    pub metrics: Metrics,
    /// What was said of failing detectors.
    pub degraded: Degraded,
    /// What lasts at the cameras.
    pub board: HealthBoard,
    /// What the box says of itself.
    pub reporter: Reporter,
}

impl Watcher {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = stop.cancelled() => return,
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let mut cameras = statuses(&self.handles);
        self.look_at_analysis(&mut cameras);
        let now = utc_now();
        for status in cameras.values_mut() {
            status.coverage = self.coverage.summary(&status.camera, now);
        }
        for status in cameras.values_mut() {
            status.conditions = self.board.active(&status.camera);
            status.reduced = self.board.reduced(&status.camera);
        }
        self.say_degraded(&cameras).await;
        for status in cameras.values() {
            let (level, text) = camera_health(status);
            self.health.set(&format!("camera/{}", status.camera), level, text);
            if let Some(ms) = status.clock_offset_ms {
                ::metrics::gauge!(metrics::CLOCK_OFFSET, "camera" => status.camera.0.clone()).set(ms as f64 / 1000.0);
            }
        }
        self.cameras.send_replace(cameras);
        self.look_at_delivery();
        let outbox = self.store.outbox_stats().await.ok();
        if let Some(stats) = outbox {
            gauge(metrics::OUTBOX_MESSAGES, stats.rows as f64);
            gauge(metrics::OUTBOX_BYTES, stats.bytes as f64);
        }
        self.reporter.report(&self.cameras.borrow(), outbox);
        if let Some(heard) = self.clearance.register().snapshot().last_feed {
            gauge(metrics::FEED_AGE, utc_now().since(heard).max(0) as f64 / 1000.0);
        }
        self.metrics.upkeep();
    }

    /// Says with the state of a camera when its worker has no detector.
    fn look_at_analysis(&self, cameras: &mut BTreeMap<CameraId, CameraStatus>) {
        let parts = self.health.readiness().parts;
        for (i, handle) in self.handles.iter().enumerate() {
            let part = parts.get(&format!("analysis/{}", i % self.workers.max(1)));
            let failed = part.filter(|p| p.level == Level::Failed && p.message.starts_with(DETECTOR_FAILED));
            if let Some(status) = cameras.get_mut(&handle.status().camera) {
                status.not_analysed = failed.map(|p| p.message.clone());
            }
        }
    }

    /// Records that the detector fails or works again. What cannot be recorded now is said at the next look.
    async fn say_degraded(&mut self, cameras: &BTreeMap<CameraId, CameraStatus>) {
        let failed = || cameras.values().filter(|c| c.not_analysed.is_some());
        let ids: Vec<CameraId> = failed().map(|c| c.camera.clone()).collect();
        let reason = failed().find_map(|c| c.not_analysed.clone()).unwrap_or_default();
        let Some(notice) = self.degraded.look(&ids, &reason, Now { mono: mono_now(), utc: utc_now() }) else { return };
        match self.store.record_notices(vec![notice.clone()]).await {
            Ok(_) => self.degraded.recorded(&notice),
            Err(error) => tracing::error!(%error, "the state of the detector could not be recorded; trying again"),
        }
    }

    fn look_at_delivery(&self) {
        let status = self.delivery.borrow();
        // Without the broker the box still watches and keeps everything: not failed.
        let (level, text) = match (&status.reason, status.connected, status.taking_facts) {
            (Some(reason), connected, _) => (if connected { Level::Ok } else { Level::Degraded }, reason.clone()),
            (None, true, true) => (Level::Ok, "connected".to_owned()),
            (None, true, false) => (Level::Degraded, NO_FACTS.to_owned()),
            (None, false, _) => (Level::Degraded, "not connected".to_owned()),
        };
        self.health.set("mqtt", level, text);
        gauge(metrics::MQTT_UP, f64::from(u8::from(status.connected)));
    }
}

/// Cleans up now and then, beside everything else: never returns.
pub async fn tend(store: Store, clearance: Arc<Clearance>, keep_messages_days: u32) {
    let keep_ms = i64::from(keep_messages_days) * DAY_MS;
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + TEND_FIRST, TEND_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now = utc_now();
        if !store.may_forget(now) {
            tracing::warn!("the clock is more than a week ahead of the last message: nothing is cleaned up yet");
            continue;
        }
        match store.prune(now).await {
            Ok(done) => tracing::info!(?done, "store cleaned up"),
            Err(error) => tracing::error!(%error, "the store could not be cleaned up"),
        }
        match clearance.end_visits(now).await {
            Ok(visits) if visits > 0 => tracing::info!(visits, "visits that nobody saw end are closed"),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "visits that are over could not be closed"),
        }
        let declarations_before = now.plus_ms(-keep_ms.max(DECLARATIONS_KEPT_DAYS * DAY_MS));
        match clearance.forget(now.plus_ms(-keep_ms), declarations_before).await {
            Ok(facts) => tracing::info!(facts, "register cleaned up"),
            Err(error) => tracing::error!(%error, "the register could not be cleaned up"),
        }
    }
}

fn gauge(name: &'static str, value: f64) {
    ::metrics::gauge!(name).set(value);
}

fn camera_health(status: &CameraStatus) -> (Level, String) {
    let reason = || status.reason.clone().unwrap_or_else(|| format!("{:?}", status.state).to_lowercase());
    match status.state {
        CameraState::Running if status.conditions.is_empty() => (Level::Ok, "pictures arrive".into()),
        CameraState::Running => {
            let since = |c: &ActiveCondition| format!("{} since {}", c.condition, c.since.to_rfc3339());
            let all: Vec<String> = status.conditions.iter().map(since).collect();
            (Level::Degraded, format!("pictures arrive; {}", all.join(", ")))
        }
        CameraState::Connecting => (Level::Degraded, reason()),
        CameraState::Stalled | CameraState::Refused | CameraState::Lost | CameraState::Stopped => {
            (Level::Failed, reason())
        }
    }
}
