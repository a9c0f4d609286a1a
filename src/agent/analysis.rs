//! From cameras to findings on disk: cameras, workers, keeper and the health of cameras, each on threads of their own.
//! Started against the flow, so that nobody sends to somebody who is not there yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::watch as tokio_watch;

use super::camera_health::{CameraHealth, HealthBoard, PictureTap, watched};
use super::keeper::{self, Keeper};
use super::lane::{Lane, LaneContext};
use super::shared::Shared;
use super::watch;
use super::worker::{Budget, Cameras, KeeperGone, Worker};
use crate::camera::{self, CameraHandle, CameraId, CameraStatus, FrameSink, Mailbox, UnitSink};
use crate::config::{CameraConfig, Config};
use crate::event::Finding;
use crate::event::health::HealthLog;
use crate::event::message::ModelRef;
use crate::footage::{Footage, Taps};
use crate::ids::IdSource;
use crate::vision::detector::Detect;
use crate::vision::standby::Standby;

/// The running threads, and what the other parts hear of them.
pub(super) struct Analysis {
    pub handles: Arc<Vec<CameraHandle>>,
    /// Streams that are only recorded.
    pub recorders: Vec<CameraHandle>,
    pub mailboxes: Vec<Arc<Mailbox>>,
    pub workers: Vec<JoinHandle<Result<(), KeeperGone>>>,
    pub keeper: JoinHandle<()>,
    pub camera_health: JoinHandle<()>,
    pub board: HealthBoard,
    pub cameras: Cameras,
    /// The model in use.
    pub model: tokio_watch::Receiver<ModelRef>,
    /// Fills `cameras`; for the watcher.
    pub cameras_in: tokio_watch::Sender<BTreeMap<CameraId, CameraStatus>>,
}

impl Analysis {
    /// Starts all threads. Cameras and model may be absent.
    ///
    /// # Errors
    /// When the system gives no thread, or a camera is configured as none can be.
    pub fn start(shared: &Shared, detectors: Vec<Standby>, taps: &Taps) -> anyhow::Result<Self> {
        let config = &shared.config;
        let (findings_in, findings) = sync_channel::<Finding>(keeper::QUEUE);
        let keeper = keeper_of(shared, findings);
        let keeper = named("keeper".into(), move || keeper.run())?;
        let mailboxes = mailboxes(config, detectors.len());
        let (looks, board) = (looks(config, &mailboxes), HealthBoard::default());
        let handles = Arc::new(spawn_cameras(config, &looks, taps)?);
        let recorders = spawn_recorders(config, taps, &shared.footage)?;
        let (cameras_in, cameras) = tokio_watch::channel(watch::statuses(&handles));
        let context = LaneContext {
            config_digest: config.digest().chars().take(16).collect(),
            model: detectors[0].model().clone(),
            input: detectors[0].input_size(),
            config: config.clone(),
        };
        let (model_in, model) = tokio_watch::channel(context.model.clone());
        let parts = WorkerParts {
            context: &context,
            shared,
            cameras: &cameras,
            board: &board,
            handles: &handles,
            model: &model_in,
        };
        let workers = parts.start(detectors, &mailboxes, &findings_in)?;
        let camera_health = CameraHealth {
            store: shared.store.clone(),
            health: Arc::clone(&shared.health),
            runtime: tokio::runtime::Handle::current(),
            handles: Arc::downgrade(&handles),
            board: board.clone(),
            stop: shared.stop.clone(),
            give_up: shared.give_up.clone(),
            cameras: watched(config, &looks),
            log: HealthLog::new(shared.health_sender(), IdSource::random(), context.config_digest.clone()),
            waiting: Vec::new(),
        };
        let camera_health = camera_health.start().context("cannot start the thread health")?;
        Ok(Self { handles, recorders, mailboxes, workers, keeper, camera_health, board, cameras, model, cameras_in })
    }
}

fn keeper_of(shared: &Shared, findings: std::sync::mpsc::Receiver<Finding>) -> Keeper {
    Keeper {
        store: shared.store.clone(),
        annotator: Arc::clone(&shared.annotator),
        topics: shared.topics.clone(),
        alert_severity: shared.config.events.alert_severity,
        footage: Arc::clone(&shared.footage),
        nudges: Arc::clone(shared.clearance.nudges()),
        coverage: Arc::clone(&shared.coverage),
        health: Arc::clone(&shared.health),
        runtime: tokio::runtime::Handle::current(),
        stop: shared.give_up.clone(),
        findings,
    }
}

fn named<T: Send + 'static>(name: String, run: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.clone()).spawn(run).with_context(|| format!("cannot start the thread {name}"))
}

/// One detector a worker: `run` needs the session for itself.
pub(super) async fn load_detectors(config: &Config) -> anyhow::Result<Vec<Standby>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = match config.detector.workers {
        0 => cores,
        n => n as usize,
    };
    let count = wanted.clamp(1, config.cameras.len().max(1));
    let (detector, floor) = (config.detector.clone(), config.tracker.low_score);
    let load = move || (0..count).map(|_| Standby::start(&detector, floor)).collect();
    Ok(tokio::task::spawn_blocking(load).await?)
}

/// Cameras are dealt to workers in turn.
fn mailboxes(config: &Config, workers: usize) -> Vec<Arc<Mailbox>> {
    let ids =
        |w: usize| -> Vec<CameraId> { config.cameras.iter().skip(w).step_by(workers).map(|c| c.id.clone()).collect() };
    (0..workers).map(|w| Arc::new(Mailbox::new(&ids(w)))).collect()
}

/// Frames go to the mailbox of the camera's worker, and health looks at some of them on the way.
fn looks(config: &Config, mailboxes: &[Arc<Mailbox>]) -> Vec<Arc<PictureTap>> {
    let rate = config.health.pictures_per_second;
    let tap = |i: usize| PictureTap::new(Arc::clone(&mailboxes[i % mailboxes.len()]) as Arc<dyn FrameSink>, rate);
    (0..config.cameras.len()).map(|i| Arc::new(tap(i))).collect()
}

fn spawn_cameras(config: &Config, looks: &[Arc<PictureTap>], taps: &Taps) -> anyhow::Result<Vec<CameraHandle>> {
    let each = config.cameras.iter().zip(looks).map(|(c, look)| {
        let frames = Arc::clone(look) as Arc<dyn FrameSink>;
        let tap = taps.get(&c.id).filter(|_| c.record_url.is_none()).map(|t| Arc::clone(t) as Arc<dyn UnitSink>);
        camera::spawn_recorded(c.clone(), frames, tap).with_context(|| format!("camera {}", c.id))
    });
    each.collect()
}

/// Main streams that are recorded beside the sub-streams that are analysed.
fn spawn_recorders(config: &Config, taps: &Taps, footage: &Footage) -> anyhow::Result<Vec<CameraHandle>> {
    let each = config.cameras.iter().filter_map(|c| {
        let (url, tap) = (c.record_url.clone()?, Arc::clone(taps.get(&c.id)?));
        // A name of its own in logs and metrics; no configured id has a dot.
        let main = CameraConfig { id: CameraId(format!("{}.main", c.id)), url, ..c.clone() };
        let spawned = camera::spawn_recorder(main, tap).with_context(|| format!("main stream of camera {}", c.id));
        // The state of the analysed stream is published; that of this one shows in the state of the recording.
        Some(spawned.inspect(|handle| footage.follow(&c.id, handle.subscribe())))
    });
    each.collect()
}

struct WorkerParts<'a> {
    context: &'a LaneContext,
    shared: &'a Shared,
    cameras: &'a Cameras,
    board: &'a HealthBoard,
    handles: &'a [CameraHandle],
    model: &'a tokio_watch::Sender<ModelRef>,
}

impl WorkerParts<'_> {
    fn start(
        &self,
        detectors: Vec<Standby>,
        mailboxes: &[Arc<Mailbox>],
        findings: &SyncSender<Finding>,
    ) -> anyhow::Result<Vec<JoinHandle<Result<(), KeeperGone>>>> {
        let count = detectors.len();
        let mut threads = Vec::with_capacity(count);
        for (i, detector) in detectors.into_iter().enumerate() {
            let cameras = self.context.config.cameras.iter().zip(self.handles).skip(i).step_by(count);
            let lanes = cameras.map(|(camera, handle)| {
                let lane = Lane::new(self.context, camera, &IdSource::random())?;
                Ok::<_, anyhow::Error>(lane.with_attention(Arc::clone(handle.attention())))
            });
            let lanes = lanes.collect::<Result<_, _>>()?;
            let name = format!("analysis/{i}");
            let worker = Worker {
                detector,
                lanes,
                register: Arc::clone(self.shared.clearance.register()),
                cameras: self.cameras.clone(),
                coverage: Arc::clone(&self.shared.coverage),
                board: self.board.clone(),
                windows: Arc::clone(&self.shared.windows),
                health: Arc::clone(&self.shared.health),
                name: name.clone(),
                mailbox: Arc::clone(&mailboxes[i]),
                absent: true,
                budget: Budget::default(),
                model: self.model.clone(),
                findings: findings.clone(),
            };
            threads.push(named(name, move || worker.run())?);
        }
        Ok(threads)
    }
}
