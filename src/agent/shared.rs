//! What all parts of a box share: configuration, topics, store and all that is kept in it, and the two signals that end
//! them. Opened first: what the last run left open is ended here, before anything new is said.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api_register::TipDesk;
use super::clearance::Clearance;
use super::correlate::Correlator;
use super::coverage::CoverageKeeper;
use super::evidence::Evidence;
use super::relink::Relinker;
use super::tips::{self, Interests, TipRunner};
use super::uploader::Uploader;
use super::windows::Windows;
use super::worker::Cameras;
use super::{camera_health, restart, status, watch as watching};
use crate::clock::utc_now;
use crate::config::{Config, FootageStoreConfig};
use crate::event::Annotator;
use crate::event::health::HealthSender;
use crate::footage::mask_desk::MaskDesk;
use crate::footage::mask_history::MaskHistory;
use crate::footage::{self, Footage, NoticeTarget, Taps};
use crate::mqtt::{DeliveryStatus, Topics};
use crate::store::{Store, StoreOptions};
use crate::telemetry::health::{Health, Level};

/// See the module.
pub(super) struct Shared {
    pub config: Config,
    pub topics: Topics,
    pub health: Arc<Health>,
    pub store: Store,
    pub evidence: Evidence,
    pub clearance: Arc<Clearance>,
    pub coverage: Arc<CoverageKeeper>,
    pub footage: Arc<Footage>,
    pub annotator: Arc<Annotator>,
    /// What of old and new pictures is for everybody.
    pub masks: Arc<MaskDesk>,
    pub windows: Arc<Windows>,
    /// Ends everything but delivery.
    pub stop: CancellationToken,
    /// Ends the patience with a store that refuses.
    pub give_up: CancellationToken,
}

impl Shared {
    /// Opens the store and what is kept in it; also gives the way of each camera's video to its recorder.
    ///
    /// # Errors
    /// Says what cannot be opened and what to do.
    pub async fn open(config: Config) -> anyhow::Result<(Self, Taps)> {
        let health = Arc::new(Health::default());
        let topics = Topics::new(&config.mqtt.topic_prefix, &config.site.office, &config.site.box_id);
        let annotator = Arc::new(Annotator::new(&config.pictures, &config.site, &config.cameras)?);
        let store = Store::open(StoreOptions::of(&config, topics.alert())).await?;
        health.set("store", Level::Ok, "open");
        let masks = Arc::new(MaskHistory::note(&config.store.dir, &config.cameras, &config.digest(), utc_now()));
        let masks = Arc::new(MaskDesk::new(config.store.dir.join("masked"), config.footage.reserve_bytes, masks));
        let evidence = Evidence::start(store.clone(), topics.clone(), Arc::clone(&health)).await?;
        restart::close_open_events(&store, &topics, config.events.alert_severity).await?;
        camera_health::close_open_conditions(&store, &health_sender(&config, &topics)).await?;
        let coverage = Arc::new(CoverageKeeper::start(store.clone(), &config).await?);
        let clearance = Arc::new(Clearance::load(store.clone()).await?.for_box(&config, topics.alert()));
        let (footage, taps) = start_footage(&config, &store).await?;
        let windows = Arc::new(Windows::new(&config.cameras, Arc::clone(&annotator)));
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let shared = Self {
            config,
            topics,
            health,
            store,
            evidence,
            clearance,
            coverage,
            footage,
            annotator,
            masks,
            windows,
            stop,
            give_up,
        };
        Ok((shared, taps))
    }

    /// Who makes messages about cameras.
    pub fn health_sender(&self) -> HealthSender {
        health_sender(&self.config, &self.topics)
    }

    /// Starts what keeps store, register, footage, coverage and chain in order beside everything else.
    pub fn tend(&self, tasks: &mut JoinSet<()>, cameras: &Cameras) {
        if let Some(path) = self.config.register.file.clone() {
            let (clearance, stop) = (Arc::clone(&self.clearance), self.stop.clone());
            tasks.spawn(async move { clearance.follow_file(path, stop).await });
        }
        let target = NoticeTarget { topic: self.topics.alert() };
        tasks.spawn(Arc::clone(&self.footage).tend(Arc::clone(&self.health), target, self.stop.clone()));
        if let Some(config) = self.config.footage.store.clone() {
            tasks.spawn(self.uploader(config).run(self.stop.clone()));
        }
        tasks.spawn(Arc::clone(&self.coverage).run(cameras.clone(), self.stop.clone()));
        let heads_every = std::time::Duration::from_secs(u64::from(self.config.evidence.publish_head_every_s));
        tasks.spawn(self.evidence.clone().tend(heads_every, self.stop.clone()));
        let days = self.config.store.keep_messages_days;
        let tend = watching::tend(self.store.clone(), Arc::clone(&self.clearance), days);
        tasks.spawn(self.until_stopped(tend));
        tasks.spawn(self.until_stopped(status::try_database(self.store.clone(), Arc::clone(&self.health))));
    }

    /// Starts those who look again when facts or events changed something: links of ended events, and tips.
    pub fn look_again(&self, tasks: &mut JoinSet<()>, delivery: &watch::Receiver<DeliveryStatus>) {
        let (nudges, register) = (self.clearance.nudges(), self.clearance.register());
        let relinker = Relinker {
            store: self.store.clone(),
            register: Arc::clone(register),
            config: self.config.clone(),
            topics: self.topics.clone(),
            nudges: Arc::clone(nudges),
        };
        let tips = TipRunner {
            correlator: Correlator { store: self.store.clone(), config: Arc::new(self.config.clone()) },
            register: Arc::clone(register),
            topics: self.topics.clone(),
            nudges: Arc::clone(nudges),
            interests: Interests::default(),
        };
        let synced = tips::note_synced(self.store.clone(), Arc::clone(nudges), delivery.clone());
        tasks.spawn(self.until_stopped(relinker.run()));
        tasks.spawn(self.until_stopped(tips.run()));
        tasks.spawn(self.until_stopped(synced));
    }

    fn uploader(&self, config: FootageStoreConfig) -> Uploader {
        Uploader {
            store: self.store.clone(),
            footage: Arc::clone(&self.footage),
            masks: Arc::clone(&self.masks),
            evidence: self.evidence.clone(),
            health: Arc::clone(&self.health),
            config,
            aside: HashMap::new(),
            objects: None,
        }
    }

    /// What holds and tips are asked of.
    pub fn tip_desk(&self) -> TipDesk {
        TipDesk {
            store: self.store.clone(),
            register: Arc::clone(self.clearance.register()),
            cameras: self.config.cameras.iter().map(|c| c.id.0.clone()).collect(),
            tip_days: self.config.register.tip_days,
        }
    }

    fn until_stopped<T>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().run_until_cancelled_owned(work).map(|_| ())
    }
}

fn health_sender(config: &Config, topics: &Topics) -> HealthSender {
    HealthSender { topics: topics.clone(), alert_severity: config.events.alert_severity }
}

/// Also where nothing is recorded now: what was recorded before can still be asked for, and goes in its time.
async fn start_footage(config: &Config, store: &Store) -> anyhow::Result<(Arc<Footage>, Taps)> {
    let recorded = config.cameras.iter().filter(|c| footage::is_recorded(&config.footage, c)).map(|c| c.id.clone());
    let (root, cameras) = (footage::folder(&config.footage, &config.store), recorded.collect::<Vec<_>>());
    Ok(Footage::start(store.clone(), root, config.footage.clone(), &cameras).await?)
}
