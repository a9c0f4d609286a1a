//! Keeps the coverage of all cameras: takes in what the workers analysed and what the cameras do, and writes it down every
//! few seconds. What an interval is, is in `coverage/`; the rows are in `store/coverage`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::worker::Cameras;
use crate::camera::{CameraId, CameraStatus, Frame};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::config::Config;
use crate::coverage::areas::views;
use crate::coverage::{Answer, AreaViews, CoverageSummary, Interval, Look, Recorder, Situation, Span, Tolerated};
use crate::rules::AreaId;
use crate::store::{Store, StoreError};
use crate::telemetry::rate::Limiter;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two writes: after a power cut so many seconds of watching are not known of, and count as not watched.
const WRITE_EVERY: u32 = 5;
const HOUR_MS: i64 = 3_600_000;
/// Longest time that can be asked about, days.
const MAX_DAYS: i64 = 400;

/// The coverage of a box. Shared by workers, the watcher and who asks.
pub struct CoverageKeeper {
    store: Store,
    recorders: Mutex<BTreeMap<CameraId, Recorder>>,
    /// Which camera has an area or line.
    places: BTreeMap<AreaId, CameraId>,
    /// One write at a time, so that an older state never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The question is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The store does not answer.
    #[error("coverage cannot be read now: {0}")]
    Store(#[from] StoreError),
}

/// What is asked, as it comes over HTTP and MQTT.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Camera; may be left out when the area is given.
    pub camera: Option<CameraId>,
    /// Area or line; without it all that the camera sees.
    pub area: Option<AreaId>,
    /// Begin, RFC 3339.
    pub from: Option<String>,
    /// End, RFC 3339; now when left out.
    pub to: Option<String>,
}

impl CoverageKeeper {
    /// Takes up where the last run of the agent stopped writing: from there on nobody watched.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn start(store: Store, config: &Config) -> Result<Self, StoreError> {
        let (now, last) = (utc_now(), store.last_coverage().await?);
        let mut recorders = BTreeMap::new();
        for camera in &config.cameras {
            let from = last.get(&camera.id).copied().unwrap_or(now).min(now);
            let areas = Arc::new(views(camera, None));
            let tolerated = Tolerated::of(config.analysis.fps, camera.decode);
            let mut recorder = Recorder::new(camera.id.clone(), store.session(), tolerated, areas, from);
            let hour = Span { from: now.plus_ms(-HOUR_MS), to: now };
            let known = store.intervals(&camera.id, hour).await?;
            recorder.remember(known.iter().filter(|i| matches!(i.look, Look::Watched { .. })).map(|i| i.span));
            recorders.insert(camera.id.clone(), recorder);
        }
        let places = config.cameras.iter().flat_map(|c| {
            let areas = c.areas.iter().map(|a| &a.id).chain(c.lines.iter().map(|l| &l.id));
            areas.map(|id| (id.clone(), c.id.clone()))
        });
        let (places, writing) = (places.collect(), tokio::sync::Mutex::new(()));
        let keeper = Self { store, recorders: Mutex::new(recorders), places, writing };
        // The gap since the last run is known from the first moment, whatever happens next.
        keeper.look(&BTreeMap::new());
        keeper.write().await?;
        Ok(keeper)
    }

    /// A picture of a camera was analysed, with these areas in view. Of the areas in `unsaid` something was kept back since
    /// those times and is not said.
    pub fn analysed(&self, frame: &Frame, areas: &Arc<AreaViews>, unsaid: &BTreeMap<AreaId, UtcMillis>) {
        if let Some(recorder) = self.lock().get_mut(&frame.camera) {
            recorder.analysed(&frame.time, frame.lull, areas);
            recorder.kept_back(unsaid);
        }
    }

    /// What the state of a camera says of its coverage.
    #[must_use]
    pub fn summary(&self, camera: &CameraId, now: UtcMillis) -> Option<CoverageSummary> {
        self.lock().get(camera).map(|r| r.summary(now))
    }

    /// Looks at the cameras and writes until stopped; then once more, for what the workers did last.
    pub async fn run(self: Arc<Self>, cameras: Cameras, stop: CancellationToken) {
        let (mut every, failures) = (tokio::time::interval(LOOK_EVERY), Limiter::per_second());
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            let stopped = stop.run_until_cancelled(every.tick()).await.is_none();
            self.look(&cameras.borrow().clone());
            looks = (looks + 1) % WRITE_EVERY;
            if (stopped || looks == 0)
                && let Err(error) = self.write().await
                && let Some(more) = failures.pass()
            {
                tracing::error!(%error, more, "what was watched cannot be written down; trying again");
            }
            if stopped {
                return;
            }
        }
    }

    /// Answers "did anything happen there?".
    ///
    /// # Errors
    /// When the question is wrong or the store does not answer.
    pub async fn ask(&self, question: &Question) -> Result<Answer, AskError> {
        let (camera, area, asked) = self.understand(question, utc_now())?;
        // The newest seconds too.
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "an answer about coverage lacks the newest seconds");
        }
        Ok(self.store.answer(&camera, area.as_ref(), asked).await?)
    }

    fn understand(&self, q: &Question, now: UtcMillis) -> Result<(CameraId, Option<AreaId>, Span), AskError> {
        let wrong = |what: String| AskError::Invalid(what);
        // A plus sign in a query means a space.
        let plus = |text: &str| text.replace(' ', "+");
        let time =
            |name: &str, text: &str| UtcMillis::parse_rfc3339(&plus(text)).map_err(|e| wrong(format!("{name}: {e}")));
        let from = q.from.as_deref().ok_or_else(|| wrong("from: missing, e.g. 2026-03-02T10:00:00+07:00".into()))?;
        let from = time("from", from)?;
        let to = q.to.as_deref().map_or(Ok(now), |to| time("to", to))?;
        if to <= from {
            return Err(wrong(format!("to ({}) is not after from ({})", to.to_rfc3339(), from.to_rfc3339())));
        }
        if to.since(from) > MAX_DAYS * 24 * HOUR_MS {
            return Err(wrong(format!("more than {MAX_DAYS} days at once; ask for less")));
        }
        let camera = match (&q.camera, &q.area) {
            (Some(camera), _) => camera.clone(),
            (None, Some(area)) => {
                let known = || self.places.keys().map(|a| a.0.as_str()).collect::<Vec<_>>().join(", ");
                let found = self.places.get(area).cloned();
                found.ok_or_else(|| wrong(format!("area: no camera has {area} now; there are: {}", known())))?
            }
            (None, None) => return Err(wrong("camera or area: one of them is needed".into())),
        };
        Ok((camera, q.area.clone(), Span { from, to }))
    }

    fn look(&self, cameras: &BTreeMap<CameraId, CameraStatus>) {
        let (now, mono) = (utc_now(), mono_now());
        for (camera, recorder) in self.lock().iter_mut() {
            recorder.look(now, mono, &cameras.get(camera).map_or(UNKNOWN, situation));
        }
    }

    async fn write(&self) -> Result<(), StoreError> {
        let _one = self.writing.lock().await;
        let unsaved: Vec<Vec<Interval>> = self.lock().values().map(Recorder::unsaved).collect();
        self.store.record_coverage(&unsaved.concat()).await?;
        for (recorder, saved) in self.lock().values_mut().zip(&unsaved) {
            recorder.saved(saved);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CameraId, Recorder>> {
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Before a camera has said anything.
const UNKNOWN: Situation =
    Situation { state: crate::camera::CameraState::Connecting, received: 0, decoded: 0, model_failed: false };

fn situation(status: &CameraStatus) -> Situation {
    Situation {
        state: status.state,
        received: status.received,
        decoded: status.decoded,
        model_failed: status.not_analysed.is_some(),
    }
}
