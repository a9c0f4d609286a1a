//! The agent: the parts of a box put together, started in the order of the flow backwards and stopped in its order.

mod analysis;
pub mod api;
pub mod api_areas;
pub mod api_coverage;
pub mod api_footage;
pub mod api_masked;
pub mod api_register;
pub mod budget;
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
mod page;
pub mod relink;
pub mod restart;
mod shared;
pub mod status;
pub mod tips;
mod uploader;
pub mod watch;
pub mod windows;
pub mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::sync::watch as tokio_watch;
use tokio_util::sync::CancellationToken;

use crate::camera::{CameraHandle, CameraId};
use crate::clock::utc_now;
use crate::config::Config;
use crate::event::message::ModelRef;
use crate::ids::IdSource;
use crate::mqtt::{BoxStatus, Delivery, DeliveryStatus, Identity, Presence, Topics};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::vision::detector::Detect;
use analysis::{Analysis, load_detectors};
use links::Handler;
use shared::Shared;

/// At an orderly stop a store that refuses gets this long before what is not written is given up, with an error each.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left in the outbox at an orderly stop is given this long; the rest is sent after the next start.
const DRAIN: Duration = Duration::from_secs(3);

/// A running agent.
pub struct Agent {
    /// The store, for reports.
    pub store: Store,
    /// Topics of the box.
    pub topics: Topics,
    /// State of delivery.
    pub delivery: tokio_watch::Receiver<DeliveryStatus>,
    /// The HTTP address, if there is one.
    pub http: Option<SocketAddr>,
    /// What the detector is, for people.
    pub detector: String,

    shared: Shared,
    analysis: Analysis,
    stop_delivery: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
    delivering: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// Starts all parts. Cameras, broker and model may be absent; store and configuration may not. `file`: where the
    /// configuration was read, into which the page may write areas.
    ///
    /// # Errors
    /// Says which part cannot start and what to do.
    pub async fn start(config: Config, file: Option<PathBuf>, metrics: Metrics) -> anyhow::Result<Self> {
        crate::install_crypto();
        let detectors = load_detectors(&config).await?;
        let (model, detector) = (detectors[0].model().clone(), detectors[0].description());
        if let Some(known) = detectors[0].known() {
            lane::warn_of_unknown_classes(&config.cameras, &known);
        }
        crate::telemetry::metrics::build_info(&model.name);
        let (shared, taps) = Shared::open(config).await?;
        let analysis = Analysis::start(&shared, detectors, &taps)?;
        drop(taps);
        let mut tasks = tokio::task::JoinSet::new();
        shared.tend(&mut tasks, &analysis.cameras);

        let (handles, clearance) = (Arc::clone(&analysis.handles), Arc::clone(&shared.clearance));
        let status = watch::status_text(&shared.store, handles, clearance, Arc::clone(&shared.footage));
        let (reporter, said) = reporter(&shared, &analysis);
        let (delivery, delivery_status) = delivery(&shared, &model, &analysis, &status, said).await?;
        let stop_delivery = CancellationToken::new();
        let delivering = tokio::spawn(delivery.run(stop_delivery.clone()));
        shared.look_again(&mut tasks, &delivery_status);
        let watcher = watcher(&shared, &analysis, &delivery_status, &metrics, reporter).await?;
        let stop = shared.stop.clone();
        tasks.spawn(async move { watcher.run(stop).await });
        let http = serve_http(&shared, &metrics, status, file, &mut tasks).await?;
        Ok(Self {
            store: shared.store.clone(),
            topics: shared.topics.clone(),
            delivery: delivery_status,
            http,
            detector,
            shared,
            analysis,
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
        let Analysis { handles, recorders, mailboxes, workers, keeper, camera_health, .. } = self.analysis;
        for mailbox in &mailboxes {
            mailbox.close();
        }
        let Shared { stop, give_up, evidence, footage, .. } = self.shared;
        // Workers wait for the keeper, the keeper for the store: with a store that refuses that would be for ever.
        let patience = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            give_up.cancel();
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
            if keeper.join().is_err() {
                tracing::error!("the keeper ended badly");
            }
        });
        joined.await?;
        patience.abort();
        while self.tasks.join_next().await.is_some() {}
        if let Some(handles) = Arc::into_inner(handles) {
            let all = handles.into_iter().chain(recorders);
            tokio::task::spawn_blocking(move || all.for_each(CameraHandle::stop)).await?;
        }
        // A camera left behind keeps its writer; its file is completed by the next start then.
        if tokio::time::timeout(PATIENCE, footage.finish()).await.is_err() {
            tracing::warn!("the last video files are not completed; the next start does that");
        }
        // Nothing is written any more: what the box knew at its stop, the last video too, is said elsewhere.
        evidence.publish().await;
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

/// What keeps the connection to the broker, and what it says of itself.
async fn delivery(
    shared: &Shared,
    model: &ModelRef,
    analysis: &Analysis,
    status: &links::StatusText,
    said: tokio_watch::Receiver<Option<BoxStatus>>,
) -> anyhow::Result<(Delivery<Store, Handler>, tokio_watch::Receiver<DeliveryStatus>)> {
    let (config, store) = (&shared.config, &shared.store);
    let handler = Handler {
        clearance: Arc::clone(&shared.clearance),
        coverage: Arc::clone(&shared.coverage),
        store: store.clone(),
        status: Arc::clone(status),
        tips: shared.tip_desk(),
        cameras: analysis.handles.iter().map(|h| (h.status().camera, Arc::clone(h.attention()))).collect(),
        onvif: onvif(config),
    };
    let mut birth = birth(config, store, model);
    birth["evidence"] = shared.evidence.birth().await?;
    let presence = Presence { birth, cameras: analysis.cameras.clone(), status: said };
    let who = Identity {
        topics: shared.topics.clone(),
        client_id: format!("gatewatch-{}-{}", config.site.office, config.site.box_id),
        epoch: store.epoch(),
        session: store.session().to_string(),
    };
    Ok(Delivery::new(config.mqtt.clone(), who, Arc::new(store.clone()), Arc::new(handler), presence))
}

/// What the box says of itself, from the watcher to delivery.
fn reporter(shared: &Shared, analysis: &Analysis) -> (status::Reporter, tokio_watch::Receiver<Option<BoxStatus>>) {
    let (out, said) = tokio_watch::channel(None);
    let reporter = status::Reporter {
        store: shared.store.clone(),
        health: Arc::clone(&shared.health),
        footage: Arc::clone(&shared.footage),
        model: analysis.model.clone(),
        out,
    };
    (reporter, said)
}

async fn watcher(
    shared: &Shared,
    analysis: &Analysis,
    delivery: &tokio_watch::Receiver<DeliveryStatus>,
    metrics: &Metrics,
    reporter: status::Reporter,
) -> anyhow::Result<watch::Watcher> {
    Ok(watch::Watcher {
        workers: analysis.mailboxes.len(),
        store: shared.store.clone(),
        health: Arc::clone(&shared.health),
        handles: Arc::clone(&analysis.handles),
        delivery: delivery.clone(),
        clearance: Arc::clone(&shared.clearance),
        coverage: Arc::clone(&shared.coverage),
        cameras: analysis.cameras_in.clone(),
        metrics: metrics.clone(),
        degraded: degraded(&shared.store, &shared.topics, shared.config.events.alert_severity).await?,
        board: analysis.board.clone(),
        reporter,
    })
}

/// Cameras that publish what their own readers read, by topic prefix.
fn onvif(config: &Config) -> Vec<(String, CameraId)> {
    let each = config.cameras.iter();
    each.filter_map(|c| Some((c.onvif_topic.clone()?.trim_end_matches('/').to_owned(), c.id.clone()))).collect()
}

/// A failing detector of the last run may still fail.
async fn degraded(store: &Store, topics: &Topics, alert_severity: u8) -> anyhow::Result<degraded::Degraded> {
    let mut lasting = Vec::new();
    for kind in degraded::kinds() {
        lasting.extend(store.open_notices(&kind).await?);
    }
    Ok(degraded::Degraded::new(topics.clone(), alert_severity, IdSource::random(), &lasting))
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

async fn serve_http(
    shared: &Shared,
    metrics: &Metrics,
    status: links::StatusText,
    file: Option<PathBuf>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(listen) = shared.config.http.listen else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("http.listen {listen} cannot be used; choose another address"))?;
    let addr = listener.local_addr()?;
    let metrics = metrics.clone();
    let state = api::ApiState {
        health: Arc::clone(&shared.health),
        metrics: Arc::new(move || metrics.render()),
        status,
        register: Arc::clone(&shared.clearance) as Arc<dyn api::RegisterSink>,
        coverage: Arc::clone(&shared.coverage) as Arc<dyn api_coverage::CoverageSource>,
        footage: Some(Arc::clone(&shared.footage)),
        annotator: Some(Arc::clone(&shared.annotator)),
        sheets: Arc::default(),
        masks: Some(Arc::clone(&shared.masks)),
        views: Some(Arc::new(shared.evidence.clone())),
        tips: Some(shared.tip_desk()),
        windows: Some(Arc::clone(&shared.windows)),
        running: Some(Arc::new(api_areas::Running { config: shared.config.clone(), file })),
        drawing: Arc::default(),
        token: shared.config.http.token.resolve().map_err(|e| anyhow::anyhow!("http.token: {e}"))?,
    };
    let stop = shared.stop.clone();
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
