//! The agent: the parts of a box put together, started in the order of the flow backwards and stopped in its order.

pub mod api;
pub mod api_coverage;
pub mod api_footage;
pub mod api_register;
pub mod camera_health;
pub mod clearance;
pub mod correlate;
pub mod coverage;
pub mod degraded;
pub mod evidence;
pub mod keeper;
pub mod lane;
pub mod links;
pub mod nudges;
pub mod relink;
pub mod restart;
pub mod tips;
pub mod watch;
pub mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::watch as tokio_watch;
use tokio_util::sync::CancellationToken;

use crate::camera::{self, CameraHandle, CameraId, CameraStatus, FrameSink, Mailbox, UnitSink};
use crate::clock::utc_now;
use crate::config::{CameraConfig, Config};
use crate::event::health::{HealthLog, HealthSender};
use crate::event::message::ModelRef;
use crate::event::{Annotator, Finding};
use crate::footage::{self, Footage, NoticeTarget, Taps};
use crate::ids::IdSource;
use crate::mqtt::{Delivery, DeliveryStatus, Identity, Presence, Topics};
use crate::store::{Store, StoreOptions};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::Metrics;
use crate::vision::detector::Detect;
use crate::vision::standby::Standby;
use api_register::TipDesk;
use camera_health::{CameraHealth, HealthBoard, PictureTap};
use clearance::Clearance;
use correlate::Correlator;
use coverage::CoverageKeeper;
use evidence::Evidence;
use keeper::Keeper;
use lane::{Lane, LaneContext};
use links::Handler;
use relink::Relinker;
use tips::{Interests, TipRunner};
use worker::{KeeperGone, Worker};

/// At an orderly stop a store that refuses gets this long before what is not written is given up, with an error each.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left in the outbox at an orderly stop is given this long; the rest is sent after the next start.
const DRAIN: Duration = Duration::from_secs(3);

/// A running agent.
pub struct Agent {
    /// The store, for reports.
    pub store: Store,
    /// Register and its door.
    pub clearance: Arc<Clearance>,
    /// Health of all parts.
    pub health: Arc<Health>,
    /// Topics of the box.
    pub topics: Topics,
    /// State of all cameras.
    pub cameras: tokio_watch::Receiver<BTreeMap<CameraId, CameraStatus>>,
    /// State of delivery.
    pub delivery: tokio_watch::Receiver<DeliveryStatus>,
    /// The HTTP address, if there is one.
    pub http: Option<SocketAddr>,
    /// What the detector is, for people.
    pub detector: String,

    /// Recorded video.
    pub footage: Arc<Footage>,

    handles: Arc<Vec<CameraHandle>>,
    /// Streams that are only recorded.
    recorders: Vec<CameraHandle>,
    mailboxes: Vec<Arc<Mailbox>>,
    workers: Vec<JoinHandle<Result<(), KeeperGone>>>,
    keeper: JoinHandle<()>,
    evidence: Evidence,
    camera_health: JoinHandle<()>,
    /// Ends everything but delivery.
    stop: CancellationToken,
    /// Ends the keeper's patience with a store that refuses.
    give_up: CancellationToken,
    stop_delivery: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
    delivering: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// Starts all parts. Cameras, broker and model may be absent; store and configuration may not.
    ///
    /// # Errors
    /// Says which part cannot start and what to do.
    pub async fn start(config: Config, metrics: Metrics) -> anyhow::Result<Self> {
        crate::install_crypto();
        let health = Arc::new(Health::default());
        let topics = Topics::new(&config.mqtt.topic_prefix, &config.site.office, &config.site.box_id);
        let detectors = load_detectors(&config).await?;
        let model = detectors[0].model().clone();
        let description = detectors[0].description();
        if let Some(known) = detectors[0].classes() {
            lane::warn_of_silent_rules(&config.cameras, &known);
        }
        crate::telemetry::metrics::build_info(&model.name);
        let annotator = Arc::new(Annotator::new(&config.pictures, &config.site, &config.cameras)?);
        let store = open_store(&config, &topics).await?;
        health.set("store", Level::Ok, "open");
        let evidence = Evidence::start(store.clone(), topics.clone(), Arc::clone(&health)).await?;
        restart::close_open_events(&store, &topics, config.events.alert_severity).await?;
        let coverage = Arc::new(CoverageKeeper::start(store.clone(), &config).await?);
        let sender = HealthSender { topics: topics.clone(), alert_severity: config.events.alert_severity };
        camera_health::close_open_conditions(&store, &sender).await?;
        let degraded = degraded(&store, &topics, config.events.alert_severity).await?;
        let clearance = Arc::new(Clearance::load(store.clone()).await?.for_box(&config, topics.alert()));
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(path) = config.register.file.clone() {
            let (clearance, stop) = (Arc::clone(&clearance), stop.clone());
            tasks.spawn(async move { clearance.follow_file(path, stop).await });
        }

        let (footage, taps) = start_footage(&config, &store).await?;
        let target = NoticeTarget { topic: topics.alert() };
        tasks.spawn(Arc::clone(&footage).tend(Arc::clone(&health), target, stop.clone()));

        let (findings_in, findings) = std::sync::mpsc::sync_channel::<Finding>(keeper::QUEUE);
        let keeper = Keeper {
            store: store.clone(),
            annotator: Arc::clone(&annotator),
            topics: topics.clone(),
            alert_severity: config.events.alert_severity,
            footage: Arc::clone(&footage),
            nudges: Arc::clone(clearance.nudges()),
            health: Arc::clone(&health),
            runtime: tokio::runtime::Handle::current(),
            stop: give_up.clone(),
            findings,
        };
        let keeper = named("keeper".into(), move || keeper.run())?;
        let mailboxes = mailboxes(&config, detectors.len());
        let (looks, board) = (looks(&config, &mailboxes), HealthBoard::default());
        let handles = Arc::new(spawn_cameras(&config, &looks, &taps)?);
        let recorders = spawn_recorders(&config, &taps)?;
        drop(taps);
        let (cameras_in, cameras) = tokio_watch::channel(watch::statuses(&handles));
        let context = LaneContext {
            config_digest: config.digest().chars().take(16).collect(),
            model: model.clone(),
            input: detectors[0].input_size(),
            config: config.clone(),
        };
        let parts = WorkerParts {
            context: &context,
            clearance: &clearance,
            coverage: &coverage,
            health: &health,
            cameras: &cameras,
            board: &board,
        };
        let workers = parts.start(detectors, &mailboxes, &findings_in)?;
        drop(findings_in);
        tasks.spawn(Arc::clone(&coverage).run(cameras.clone(), stop.clone()));
        let camera_health = CameraHealth {
            store: store.clone(),
            health: Arc::clone(&health),
            runtime: tokio::runtime::Handle::current(),
            handles: Arc::downgrade(&handles),
            board: board.clone(),
            stop: stop.clone(),
            give_up: give_up.clone(),
            cameras: camera_health::watched(&config, &looks),
            log: HealthLog::new(sender, IdSource::random(), context.config_digest.clone()),
            waiting: Vec::new(),
        };
        let camera_health = camera_health.start().context("cannot start the thread health")?;

        let status = watch::status_text(&store, Arc::clone(&handles), Arc::clone(&clearance), Arc::clone(&footage));
        let desk = tip_desk(&config, &store, &clearance);
        let handler = Handler {
            clearance: Arc::clone(&clearance),
            coverage: Arc::clone(&coverage),
            store: store.clone(),
            status: Arc::clone(&status),
            tips: desk.clone(),
            onvif: onvif(&config),
        };
        let mut birth = birth(&config, &store, &model);
        birth["evidence"] = evidence.birth().await?;
        let presence = Presence { birth, cameras: cameras.clone() };
        let (delivery, delivery_status) = delivery(&config, &topics, handler, presence);
        let stop_delivery = CancellationToken::new();
        let delivering = tokio::spawn(delivery.run(stop_delivery.clone()));
        let watcher = watch::Watcher {
            workers: mailboxes.len(),
            store: store.clone(),
            health: Arc::clone(&health),
            handles: Arc::clone(&handles),
            delivery: delivery_status.clone(),
            clearance: Arc::clone(&clearance),
            coverage: Arc::clone(&coverage),
            cameras: cameras_in,
            metrics: metrics.clone(),
            degraded,
            board,
        };
        look_again(&config, &store, &topics, &clearance, &delivery_status, &stop, &mut tasks);
        let tend = watch::tend(store.clone(), Arc::clone(&clearance), config.store.keep_messages_days);
        tasks.spawn(stop.clone().run_until_cancelled_owned(tend).map(|_| ()));
        let watching = stop.clone();
        tasks.spawn(async move { watcher.run(watching).await });
        let heads_every = Duration::from_secs(u64::from(config.evidence.publish_head_every_s));
        tasks.spawn(evidence.clone().tend(heads_every, stop.clone()));
        let parts = ApiParts {
            health: &health,
            status,
            clearance: &clearance,
            coverage: &coverage,
            footage: Arc::clone(&footage),
            annotator,
            tips: desk,
        };
        let http = serve_http(&config, &metrics, &stop, &mut tasks, parts).await?;
        Ok(Self {
            store,
            clearance,
            health,
            topics,
            cameras,
            delivery: delivery_status,
            http,
            evidence,
            detector: description,
            footage,
            handles,
            recorders,
            mailboxes,
            workers,
            keeper,
            camera_health,
            stop,
            give_up,
            stop_delivery,
            tasks,
            delivering,
        })
    }

    /// Stops in the order of the flow: analysis (which ends lasting events), keeper, cameras, delivery. Returns the
    /// store, for a last look; close it.
    ///
    /// # Errors
    /// When a part ended badly; what was recorded is safe.
    pub async fn stop(mut self) -> anyhow::Result<Store> {
        for mailbox in &self.mailboxes {
            mailbox.close();
        }
        let (workers, keeper, camera_health) = (self.workers, self.keeper, self.camera_health);
        let (stop, give_up) = (self.stop.clone(), self.give_up.clone());
        // Workers wait for the keeper, the keeper for the store: with a store that refuses that would be for ever.
        let patience = self.give_up.clone();
        let patience = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            patience.cancel();
        });
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                if !matches!(worker.join(), Ok(Ok(()))) {
                    tracing::error!("an analysis worker ended badly");
                }
            }
            stop.cancel();
            if camera_health.join().is_err() {
                tracing::error!("the thread for camera health ended badly");
            }
            give_up.cancel();
            if keeper.join().is_err() {
                tracing::error!("the keeper ended badly");
            }
        });
        joined.await?;
        patience.abort();
        drop(self.cameras);
        while self.tasks.join_next().await.is_some() {}
        // Nothing is recorded any more: what the box knew at its stop is said elsewhere.
        self.evidence.publish().await;
        if let Some(handles) = Arc::into_inner(self.handles) {
            let all = handles.into_iter().chain(self.recorders);
            tokio::task::spawn_blocking(move || all.for_each(CameraHandle::stop)).await?;
        }
        // A camera left behind keeps its writer; its file is completed by the next start then.
        if tokio::time::timeout(PATIENCE, self.footage.finish()).await.is_err() {
            tracing::warn!("the last video files are not completed; the next start does that");
        }
        let drained = async {
            while self.delivery.borrow().connected && self.store.outbox_stats().await.is_ok_and(|s| s.rows > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("messages are left in the outbox; they are sent after the next start");
        }
        self.stop_delivery.cancel();
        self.delivering.await?;
        Ok(self.store)
    }
}

fn named<T: Send + 'static>(name: String, run: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.clone()).spawn(run).with_context(|| format!("cannot start the thread {name}"))
}

/// What keeps the connection to the broker, and what it says of itself.
fn delivery(
    config: &Config,
    topics: &Topics,
    handler: Handler,
    presence: Presence,
) -> (Delivery<Store, Handler>, tokio_watch::Receiver<DeliveryStatus>) {
    let store = handler.store.clone();
    let who = Identity {
        topics: topics.clone(),
        client_id: format!("gatewatch-{}-{}", config.site.office, config.site.box_id),
        epoch: store.epoch(),
        session: store.session().to_string(),
    };
    Delivery::new(config.mqtt.clone(), who, Arc::new(store), Arc::new(handler), presence)
}

/// One detector a worker: `run` needs the session for itself.
async fn load_detectors(config: &Config) -> anyhow::Result<Vec<Standby>> {
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

async fn open_store(config: &Config, topics: &Topics) -> anyhow::Result<Store> {
    let options = StoreOptions {
        config: config.store.clone(),
        live_limit_ms: i64::from(config.events.live_limit_s) * 1000,
        office: config.site.office.clone(),
        box_id: config.site.box_id.clone(),
        alert_topic: topics.alert(),
    };
    Ok(Store::open(options).await?)
}

fn tip_desk(config: &Config, store: &Store, clearance: &Clearance) -> TipDesk {
    TipDesk {
        store: store.clone(),
        register: Arc::clone(clearance.register()),
        cameras: config.cameras.iter().map(|c| c.id.0.clone()).collect(),
        tip_days: config.register.tip_days,
    }
}

/// Cameras that publish what their own readers read, by topic prefix.
fn onvif(config: &Config) -> Vec<(String, CameraId)> {
    let each = config.cameras.iter();
    each.filter_map(|c| Some((c.onvif_topic.clone()?.trim_end_matches('/').to_owned(), c.id.clone()))).collect()
}

/// Starts those who look again when facts or events changed something: links of ended events, and tips.
fn look_again(
    config: &Config,
    store: &Store,
    topics: &Topics,
    clearance: &Clearance,
    delivery: &tokio_watch::Receiver<DeliveryStatus>,
    stop: &CancellationToken,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let (nudges, register) = (clearance.nudges(), clearance.register());
    let relinker = Relinker {
        store: store.clone(),
        register: Arc::clone(register),
        config: config.clone(),
        topics: topics.clone(),
        nudges: Arc::clone(nudges),
    };
    let tips = TipRunner {
        correlator: Correlator { store: store.clone(), config: Arc::new(config.clone()) },
        register: Arc::clone(register),
        topics: topics.clone(),
        nudges: Arc::clone(nudges),
        interests: Interests::default(),
    };
    let synced = tips::note_synced(store.clone(), Arc::clone(nudges), delivery.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(relinker.run()).map(|_| ()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(tips.run()).map(|_| ()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(synced).map(|_| ()));
}

/// A failing detector of the last run may still fail.
async fn degraded(store: &Store, topics: &Topics, alert_severity: u8) -> anyhow::Result<degraded::Degraded> {
    let mut lasting = Vec::new();
    for kind in degraded::kinds() {
        lasting.extend(store.open_notices(&kind).await?);
    }
    Ok(degraded::Degraded::new(topics.clone(), alert_severity, IdSource::random(), &lasting))
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
fn spawn_recorders(config: &Config, taps: &Taps) -> anyhow::Result<Vec<CameraHandle>> {
    let each = config.cameras.iter().filter_map(|c| {
        let (url, tap) = (c.record_url.clone()?, Arc::clone(taps.get(&c.id)?));
        // A name of its own in logs and metrics; no configured id has a dot.
        let main = CameraConfig { id: CameraId(format!("{}.main", c.id)), url, ..c.clone() };
        Some(camera::spawn_recorder(main, tap).with_context(|| format!("main stream of camera {}", c.id)))
    });
    each.collect()
}

/// Also where nothing is recorded now: what was recorded before can still be asked for, and goes in its time.
async fn start_footage(config: &Config, store: &Store) -> anyhow::Result<(Arc<Footage>, Taps)> {
    let recorded = config.cameras.iter().filter(|c| footage::is_recorded(&config.footage, c)).map(|c| c.id.clone());
    let (root, cameras) = (footage::folder(&config.footage, &config.store), recorded.collect::<Vec<_>>());
    Ok(Footage::start(store.clone(), root, config.footage.clone(), &cameras).await?)
}

struct WorkerParts<'a> {
    context: &'a LaneContext,
    clearance: &'a Arc<Clearance>,
    coverage: &'a Arc<CoverageKeeper>,
    health: &'a Arc<Health>,
    cameras: &'a worker::Cameras,
    board: &'a HealthBoard,
}

impl WorkerParts<'_> {
    fn start(
        &self,
        detectors: Vec<Standby>,
        mailboxes: &[Arc<Mailbox>],
        findings: &std::sync::mpsc::SyncSender<Finding>,
    ) -> anyhow::Result<Vec<JoinHandle<Result<(), KeeperGone>>>> {
        let count = detectors.len();
        let mut threads = Vec::with_capacity(count);
        for (i, detector) in detectors.into_iter().enumerate() {
            let cameras = self.context.config.cameras.iter().skip(i).step_by(count);
            let lanes = cameras.map(|c| Lane::new(self.context, c, &IdSource::random())).collect::<Result<_, _>>()?;
            let name = format!("analysis/{i}");
            let worker = Worker {
                detector,
                lanes,
                register: Arc::clone(self.clearance.register()),
                cameras: self.cameras.clone(),
                coverage: Arc::clone(self.coverage),
                board: self.board.clone(),
                health: Arc::clone(self.health),
                name: name.clone(),
                mailbox: Arc::clone(&mailboxes[i]),
                absent: true,
                findings: findings.clone(),
            };
            threads.push(named(name, move || worker.run())?);
        }
        Ok(threads)
    }
}

fn birth(config: &Config, store: &Store, model: &ModelRef) -> serde_json::Value {
    let cameras: Vec<_> = config
        .cameras
        .iter()
        .map(|c| {
            let areas: Vec<_> = c.areas.iter().map(|a| json!({"id": a.id, "name": a.name, "kind": a.kind})).collect();
            let lines: Vec<_> = c.lines.iter().map(|l| json!({"id": l.id, "name": l.name})).collect();
            json!({"id": c.id, "name": c.name, "areas": areas, "lines": lines})
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"), "office": config.site.office, "box": config.site.box_id,
        "name": config.site.name, "time": utc_now(), "epoch": store.epoch(), "session": store.session(),
        "config_digest": config.digest(), "model": model, "cameras": cameras,
    })
}

/// What the HTTP API answers from.
struct ApiParts<'a> {
    health: &'a Arc<Health>,
    status: links::StatusText,
    clearance: &'a Arc<Clearance>,
    coverage: &'a Arc<CoverageKeeper>,
    footage: Arc<Footage>,
    annotator: Arc<Annotator>,
    tips: TipDesk,
}

async fn serve_http(
    config: &Config,
    metrics: &Metrics,
    stop: &CancellationToken,
    tasks: &mut tokio::task::JoinSet<()>,
    parts: ApiParts<'_>,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(listen) = config.http.listen else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("http.listen {listen} cannot be used; choose another address"))?;
    let addr = listener.local_addr()?;
    let metrics = metrics.clone();
    let state = api::ApiState {
        health: Arc::clone(parts.health),
        metrics: Arc::new(move || metrics.render()),
        status: parts.status,
        register: Arc::clone(parts.clearance) as Arc<dyn api::RegisterSink>,
        coverage: Arc::clone(parts.coverage) as Arc<dyn api_coverage::CoverageSource>,
        footage: Some(parts.footage),
        annotator: Some(parts.annotator),
        sheets: Arc::default(),
        tips: Some(parts.tips),
        token: config.http.token.resolve().map_err(|e| anyhow::anyhow!("http.token: {e}"))?,
    };
    let stop = stop.clone();
    tasks.spawn(async move {
        let serving = axum::serve(listener, api::router(state));
        tokio::select! {
            done = async { serving.await } => {
                if let Err(error) = done {
                    tracing::error!(%error, "the HTTP server ended");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(Some(addr))
}

#[cfg(test)]
mod cases_tests;
