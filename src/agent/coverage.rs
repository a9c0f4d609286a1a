//! Keeps the coverage of all cameras: takes in what the workers analysed and what the cameras do, and writes it down every
//! few seconds. What an interval is, is in `coverage/`; the rows are in `store/coverage`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::worker::Cameras;
use crate::camera::{CameraId, CameraStatus, Frame};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::config::Config;
use crate::coverage::areas::views;
use crate::coverage::recorder::AHEAD_MS;
use crate::coverage::{Answer, AreaViews, CoverageSummary, Interval, Recorder, Situation, Span, Tolerated};
use crate::rules::AreaId;
use crate::store::{Store, StoreError};
use crate::telemetry::rate::Limiter;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two writes: after a power cut so many seconds of watching are not known of, and count as not watched.
const WRITE_EVERY: u32 = 5;
/// Longest wait for events that are being recorded, before what was watched is written down with them.
const SETTLE: Duration = Duration::from_secs(2);
/// The same at the stop: longer than the keeper has patience.
const SETTLE_LAST: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
/// Longest time that can be asked about, days.
const MAX_DAYS: i64 = 400;

/// The coverage of a box. Shared by workers, the watcher and who asks.
pub struct CoverageKeeper {
    store: Store,
    recorders: Mutex<BTreeMap<CameraId, Recorder>>,
    /// When this run began.
    started: MonoMillis,
    /// Which camera has an area or line.
    places: BTreeMap<AreaId, CameraId>,
    /// One write at a time, so that an older state never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
    /// Findings of the workers so far.
    found: AtomicU64,
    /// What became of them.
    kept: watch::Sender<Kept>,
}

/// The box's clocks at one moment.
type Clocks = (UtcMillis, MonoMillis);

/// What the keeper did with the findings, which it takes in the order in which they were found.
#[derive(Debug, Default)]
struct Kept {
    recorded: u64,
    /// It records no more: what is not recorded is lost.
    ended: bool,
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

/// Why what was watched cannot be written down now.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("what was found in that time is not recorded")]
    Unrecorded,
    #[error(transparent)]
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
        Self::start_at(store, config, (utc_now(), mono_now())).await
    }

    async fn start_at(store: Store, config: &Config, clocks: Clocks) -> Result<Self, StoreError> {
        let (now, last) = (clocks.0, store.last_coverage().await?);
        let mut recorders = BTreeMap::new();
        for camera in &config.cameras {
            let from = last.get(&camera.id).map_or(now, |last| word_ends(*last, now));
            let areas = Arc::new(views(camera, None, None));
            let tolerated = Tolerated::of(config.analysis.fps, camera.decode);
            let mut recorder = Recorder::new(camera.id.clone(), store.session(), tolerated, areas, from);
            let hour = Span { from: now.plus_ms(-HOUR_MS), to: now };
            let known = store.coverage_between(&camera.id, None, hour).await?;
            let ahead = Span { from: now.plus_ms(AHEAD_MS), to: UtcMillis(i64::MAX) };
            let said = store.intervals(&camera.id, ahead).await?;
            recorder.doubt(said.iter().map(|i| i.span.to).filter(|to| *to > ahead.from).collect());
            recorder.remember(known.watched.iter().map(|w| w.span));
            recorders.insert(camera.id.clone(), recorder);
        }
        let places = config.cameras.iter().flat_map(|c| {
            let areas = c.areas.iter().map(|a| &a.id).chain(c.lines.iter().map(|l| &l.id));
            areas.map(|id| (id.clone(), c.id.clone()))
        });
        let keeper = Self {
            store,
            recorders: Mutex::new(recorders),
            started: clocks.1,
            places: places.collect(),
            writing: tokio::sync::Mutex::new(()),
            found: AtomicU64::new(0),
            kept: watch::Sender::default(),
        };
        // The gap since the last run is known from the first moment, whatever happens next.
        keeper.look(&BTreeMap::new(), clocks);
        keeper.put(&keeper.unsaved()).await?;
        Ok(keeper)
    }

    /// So many findings are about to be handed to the keeper. What is [analysed](Self::analysed) from here on is written
    /// down only when they are recorded: else a "no" could outlive an event that did not.
    pub fn found(&self, findings: usize) {
        self.found.fetch_add(findings as u64, Ordering::SeqCst);
    }

    /// The keeper has recorded so many of them.
    pub fn recorded(&self, findings: usize) {
        self.kept.send_modify(|k| k.recorded += if k.ended { 0 } else { findings as u64 });
    }

    /// The keeper has lost one, or has ended.
    pub fn keeper_ended(&self) {
        self.kept.send_modify(|k| k.ended = true);
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
            self.look(&cameras.borrow().clone(), (utc_now(), mono_now()));
            looks = (looks + 1) % WRITE_EVERY;
            if (stopped || looks == 0)
                && let Err(error) = self.write(if stopped { SETTLE_LAST } else { SETTLE }).await
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
        if let Err(error) = self.write(SETTLE).await {
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

    fn look(&self, cameras: &BTreeMap<CameraId, CameraStatus>, (now, mono): Clocks) {
        let began = now.plus_ms(-mono.since(self.started));
        for (camera, recorder) in self.lock().iter_mut() {
            recorder.began(began);
            recorder.look(now, mono, &cameras.get(camera).map_or(UNKNOWN, situation));
        }
    }

    async fn write(&self, patience: Duration) -> Result<(), WriteError> {
        let _one = self.writing.lock().await;
        let unsaved = self.unsaved();
        // Asked after the intervals were taken: what was found in them is among these.
        let found = self.found.load(Ordering::SeqCst);
        let mut kept = self.kept.subscribe();
        let kept = kept.wait_for(|k| k.ended || k.recorded >= found);
        match tokio::time::timeout(patience, kept).await {
            Ok(Ok(kept)) if kept.recorded >= found => {}
            _ => return Err(WriteError::Unrecorded),
        }
        Ok(self.put(&unsaved).await?)
    }

    fn unsaved(&self) -> Vec<Vec<Interval>> {
        self.lock().values().map(Recorder::unsaved).collect()
    }

    async fn put(&self, unsaved: &[Vec<Interval>]) -> Result<(), StoreError> {
        self.store.record_coverage(&unsaved.concat()).await?;
        for (recorder, saved) in self.lock().values_mut().zip(unsaved) {
            recorder.saved(saved);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CameraId, Recorder>> {
        self.recorders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when nobody watched, by the last interval of the run before. One that ends in the time to come was written under a
/// clock that was ahead, nobody knows by how much: of all of it nothing is known.
fn word_ends(last: Span, now: UtcMillis) -> UtcMillis {
    let trusted = last.to.since(now) <= AHEAD_MS;
    if trusted { last.to.min(now) } else { last.from.min(now) }
}

/// Before a camera has said anything.
const UNKNOWN: Situation = Situation {
    state: crate::camera::CameraState::Connecting,
    received: 0,
    decoded: 0,
    model_failed: false,
    unfit_since: None,
};

fn situation(status: &CameraStatus) -> Situation {
    let of_picture = status.conditions.iter().filter(|c| c.condition.is_of_picture());
    Situation {
        unfit_since: of_picture.map(|c| c.since).min(),
        state: status.state,
        received: status.received,
        decoded: status.decoded,
        model_failed: status.not_analysed.is_some(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::camera::OwnedI420;
    use crate::clock::FrameTime;
    use crate::config::StoreConfig;
    use crate::coverage::{BlindReason, Verdict};
    use crate::store::StoreOptions;

    /// A grey picture.
    pub fn grey(camera: CameraId, time: FrameTime) -> Frame {
        let planes = Arc::new(OwnedI420::filled(320, 180, 100, 128, 128));
        Frame::made(camera, time, (320, 180), planes)
    }

    /// A box with one camera.
    async fn opened(dir: &std::path::Path) -> (Config, Store) {
        let cameras = serde_json::json!([{"id": "cam-1", "url": "rtsp://camera.invalid/1"}]);
        let store = StoreConfig { dir: dir.into(), ..StoreConfig::default() };
        let config = Config { store, cameras: serde_json::from_value(cameras).unwrap(), ..Config::default() };
        let store = Store::open(StoreOptions::of(&config, String::new())).await.unwrap();
        (config, store)
    }

    #[tokio::test]
    async fn a_clock_that_was_once_ahead_hides_no_later_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (camera, now) = (CameraId("cam-1".into()), utc_now());
        let minutes = |n: i64| now.plus_ms(n * 60_000);
        let watched = |session, number, from, to| Interval {
            camera: camera.clone(),
            session,
            number,
            span: Span { from: minutes(from), to: minutes(to) },
            look: crate::coverage::Look::Watched { interval_ms: 200, pictures: 9 },
            areas: Arc::default(),
        };
        // An hour ahead at first, until a quarter of an hour from now; then right until twenty minutes ago.
        let before = [watched(-1, 1, -120, 15), watched(0, 1, -40, -20)];
        let store = opened(dir.path()).await.1;
        store.record_coverage(&before).await.unwrap();
        let ask = async |store: Store, config: &Config, from, to| {
            let keeper = CoverageKeeper::start(store, config).await.unwrap();
            let time = |n| Some(minutes(n).to_rfc3339());
            let question = Question { camera: Some(camera.clone()), area: None, from: time(from), to: time(to) };
            keeper.ask(&question).await.unwrap()
        };
        drop(store);
        let (config, store) = opened(dir.path()).await;
        let told = ask(store.clone(), &config, -30, 10).await;
        assert_eq!((told.answer, told.blind[0].reason), (Verdict::Blind, BlindReason::Restart), "{told:?}");
        assert_eq!((told.blind[0].span.from, told.watched_ms), (minutes(-20), 600_000), "{told:?}");
        assert_eq!(told.blind[1].reason, BlindReason::NotYet, "what is to come was watched by nobody: {told:?}");
        // The last run itself was ahead: nobody knows what time it was.
        store.record_coverage(&[watched(store.session() - 1, 9, -60, 30)]).await.unwrap();
        let told = ask(store, &config, -50, -5).await;
        assert_eq!((told.watched_ms, told.blind[0].reason), (0, BlindReason::Restart), "{told:?}");
    }

    #[tokio::test]
    async fn a_box_that_starts_with_its_clock_behind_takes_back_nothing_that_was_watched() {
        let dir = tempfile::tempdir().unwrap();
        let (config, store) = opened(dir.path()).await;
        let (camera, now) = (CameraId("cam-1".into()), utc_now());
        let minutes = |n: i64| now.plus_ms(n * 60_000);
        let interval = |session, from, to, look| Interval {
            camera: camera.clone(),
            session: store.session() + session,
            number: 1,
            span: Span { from: minutes(from), to: minutes(to) },
            look,
            areas: Arc::default(),
        };
        // Watched until ten minutes ago; then a start with the clock years behind, then this one.
        let watched = crate::coverage::Look::Watched { interval_ms: 200, pictures: 9 };
        let restart = crate::coverage::Look::Blind(BlindReason::Restart);
        let before = [interval(-2, -120, -10, watched), interval(-1, -3_000_001, -3_000_000, restart)];
        store.record_coverage(&before).await.unwrap();
        let behind = (minutes(-3_000_001), MonoMillis(0));
        let keeper = CoverageKeeper::start_at(store, &config, behind).await.unwrap();
        keeper.look(&BTreeMap::new(), (behind.0.plus_ms(30_000), MonoMillis(30_000)));
        keeper.write(SETTLE).await.unwrap();
        // The clock is set right a minute after the start.
        keeper.look(&BTreeMap::new(), (now, MonoMillis(60_000)));
        let time = |n| Some(minutes(n).to_rfc3339());
        let question = Question { camera: Some(camera.clone()), area: None, from: time(-120), to: time(0) };
        let told = keeper.ask(&question).await.unwrap();
        assert_eq!(told.watched_ms, 110 * 60_000, "{told:?}");
        let gaps: Vec<_> = told.blind.iter().map(|b| (b.span.from, b.span.to, b.reason)).collect();
        assert_eq!(gaps, [(minutes(-10), minutes(0), BlindReason::Restart)]);
    }

    #[tokio::test]
    async fn nothing_is_claimed_of_a_time_whose_events_are_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (config, store) = opened(dir.path()).await;
        let keeper = CoverageKeeper::start(store, &config).await.unwrap();
        let (camera, areas, began) = (CameraId("cam-1".into()), Arc::new(AreaViews::new()), utc_now());
        let see = |ms: i64| {
            let time = FrameTime { utc: began.plus_ms(ms), ..FrameTime::arrived(ms) };
            keeper.analysed(&grey(camera.clone(), time), &areas, &BTreeMap::new());
        };
        let told = async |from: i64, to: i64| {
            let time = |ms: i64| Some(began.plus_ms(ms).to_rfc3339());
            let question = Question { camera: Some(camera.clone()), area: None, from: time(from), to: time(to) };
            let answer = keeper.ask(&question).await.unwrap();
            (answer.answer, answer.blind.first().map(|b| b.reason))
        };
        (0..=5).for_each(|i| see(i * 200));
        assert_eq!(told(0, 1000).await, (Verdict::No, None));
        keeper.found(1);
        (6..=10).for_each(|i| see(i * 200));
        assert_eq!(told(0, 2000).await, (Verdict::Blind, Some(BlindReason::NotYet)), "it is not recorded yet");
        keeper.recorded(1);
        assert_eq!(told(0, 2000).await.0, Verdict::No, "it was of another time or place");
        keeper.found(2);
        (11..=15).for_each(|i| see(i * 200));
        keeper.keeper_ended();
        keeper.recorded(2);
        assert_eq!(told(0, 3000).await.0, Verdict::Blind, "what comes after a loss does not make up for it");
    }
}
