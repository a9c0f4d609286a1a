//! The keeper: draws the pictures of findings and records them. From here on nothing is lost: a finding leaves this
//! thread only when message, pictures and outbox rows survive a power cut.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::coverage::CoverageKeeper;
use super::nudges::Nudges;
use crate::camera::Frame;
use crate::event::annotate::{AnnotateError, Annotated, Base, Scratch};
use crate::event::message::SnapshotRef;
use crate::event::{Annotator, EventId, EventMessage, Finding};
use crate::footage::Footage;
use crate::mqtt::Topics;
use crate::rules::Phase;
use crate::store::{LANE_ALERT, LANE_CRITICAL, LANE_EVENT, NewMessage, Pictures, Recorded, Store, StoreError};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{EVENTS, LINKS};

/// Findings waiting for the keeper; full = the workers wait (block), and frames are lost instead.
pub const QUEUE: usize = 64;
/// Findings recorded in one transaction at most: one fsync for a burst.
const BATCH: usize = 16;
/// Memory of pictures is kept so long for the next finding.
const SCRATCH_KEPT: Duration = Duration::from_secs(2);
/// Pause before a store that refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// After so many refusals messages are recorded one by one, and without its picture when only that cannot be written.
const REFUSALS: u32 = 3;

/// Everything the keeper needs; `run` ends when all workers are gone.
pub struct Keeper {
    // injected
    /// Where messages are kept.
    pub store: Store,
    /// Draws.
    pub annotator: Arc<Annotator>,
    /// Topics of the box.
    pub topics: Topics,
    /// From this severity a message is an alert.
    pub alert_severity: u8,
    /// Says what of the recorded video belongs to an event.
    pub footage: Arc<Footage>,
    /// Told of what names declarations: a tip may be about them.
    pub nudges: Arc<Nudges>,
    /// Waits with what was watched until what was found in it is recorded.
    pub coverage: Arc<CoverageKeeper>,
    /// Shown in `/readyz`.
    pub health: Arc<Health>,
    /// Runs the store's futures.
    pub runtime: Handle,
    /// Set when the agent stops: a store that still refuses is given up then, with an error in the log.
    pub stop: CancellationToken,
    // in
    /// From the workers.
    pub findings: Receiver<Finding>,
}

impl Keeper {
    /// Records until every worker has gone.
    pub fn run(self) {
        let (mut kept, mut refusals, mut scratch) = (KeptPictures::default(), 0, Scratch::default());
        let mut next = None;
        while let Some(first) = next.take().or_else(|| self.wait(&mut scratch)) {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(finding) = self.findings.try_recv()
            {
                // A later message of the same event names the picture of the earlier one, once that is recorded.
                if batch.iter().any(|f| f.event.id == finding.event.id) {
                    next = Some(finding);
                    break;
                }
                batch.push(finding);
            }
            // Of one picture several findings come one after the other.
            let mut base = None;
            let prepared = batch.into_iter().map(|f| self.prepare(f, &mut base, &kept, &mut scratch));
            let messages: Vec<NewMessage> = prepared.collect();
            base.into_iter().for_each(|b| scratch.take_back(b));
            self.record(messages, &mut kept, &mut refusals);
        }
    }

    /// The next finding; `None` when no more come. Who waits long needs no memory for pictures.
    fn wait(&self, scratch: &mut Scratch) -> Option<Finding> {
        match self.findings.recv_timeout(SCRATCH_KEPT) {
            Err(RecvTimeoutError::Timeout) => {
                *scratch = Scratch::default();
                self.findings.recv().ok()
            }
            found => found.ok(),
        }
    }

    fn prepare(
        &self,
        finding: Finding,
        base: &mut Option<Base>,
        kept: &KeptPictures,
        scratch: &mut Scratch,
    ) -> NewMessage {
        let mut event = finding.event;
        event.data.footage = self.footage.of_event(&event.data.camera.id, &event.data.capture);
        let pictures = finding.frame.as_ref().and_then(|frame| match self.draw(frame, base, &event, scratch) {
            Ok(drawn) => Some(Pictures { clean: drawn.clean_jpeg, annotated: drawn.annotated_jpeg }),
            Err(error) => {
                tracing::error!(event = %event.id, camera = %event.data.camera.id, %error, "no picture could be drawn");
                event.data.snapshot_missing = Some(format!("the picture could not be drawn: {error}"));
                None
            }
        });
        if pictures.is_none() && event.data.snapshot.is_none() {
            // The message still describes the earlier picture.
            match kept.0.get(&event.id) {
                Some(Ok(snapshot)) => event.data.snapshot = Some(snapshot.clone()),
                Some(Err(why)) => {
                    event.data.snapshot_missing.get_or_insert_with(|| why.clone());
                }
                None => {}
            }
        }
        new_message(event, pictures, &self.topics, self.alert_severity, Some(finding.received))
    }

    fn draw(
        &self,
        frame: &Frame,
        base: &mut Option<Base>,
        event: &EventMessage,
        scratch: &mut Scratch,
    ) -> Result<Annotated, AnnotateError> {
        if let Some(other) = base.take_if(|b| !b.is_of(frame)) {
            scratch.take_back(other);
        }
        let made = base.take().map_or_else(|| self.annotator.base(frame, scratch), Ok)?;
        self.annotator.draw_on(base.insert(made), event, scratch)
    }

    fn record(&self, mut left: Vec<NewMessage>, kept: &mut KeptPictures, refusals: &mut u32) {
        while let Err(error) = self.try_to_record(&mut left, kept, refusals) {
            *refusals += 1;
            self.health.set("store", Level::Failed, format!("events cannot be written: {error}"));
            tracing::error!(waiting = left.len(), %error, "events cannot be written; trying again");
            if self.stop.is_cancelled() {
                for m in &left {
                    tracing::error!(event = %m.event.id, rule = m.event.data.rule.as_str(), "event lost at stop");
                }
                self.coverage.keeper_ended();
                return;
            }
            // Ends early when the agent stops, for one last try.
            let wait = async { tokio::time::timeout(RETRY, self.stop.cancelled()).await };
            let _ = self.runtime.block_on(wait);
        }
    }

    /// Records what is left: in one transaction, or one by one while a picture may be what is refused. What is recorded is
    /// taken out of `left`.
    fn try_to_record(
        &self,
        left: &mut Vec<NewMessage>,
        kept: &mut KeptPictures,
        refusals: &mut u32,
    ) -> Result<(), StoreError> {
        while !left.is_empty() {
            let all_at_once = *refusals < REFUSALS;
            let (recorded, refused) = if all_at_once {
                (self.runtime.block_on(self.store.record_all(left.clone()))?, None)
            } else {
                let (recorded, refused) = self.record_one(&left[0])?;
                (vec![recorded], refused)
            };
            if let Some(error) = refused {
                tracing::error!(event = %left[0].event.id, %error, "recorded without its picture");
                self.health.set("store", Level::Degraded, format!("pictures cannot be written: {error}"));
            } else {
                self.health.set("store", Level::Ok, "writing");
                // A message without a picture says nothing of the next one that has one.
                if all_at_once || left[0].pictures.is_some() {
                    *refusals = 0;
                }
            }
            left.drain(..recorded.len());
            self.coverage.recorded(recorded.len());
            for r in &recorded {
                announce(r);
                self.nudges.event(&r.event);
                if r.event.data.capture.end.is_some() {
                    self.nudges.ended(&r.event);
                }
                kept.remember(&r.event);
            }
        }
        Ok(())
    }

    /// Records one message; when only its picture cannot be written, without it, and gives the reason.
    fn record_one(&self, message: &NewMessage) -> Result<(Recorded, Option<StoreError>), StoreError> {
        let record = |m| self.runtime.block_on(self.store.record(m));
        let error = match record(message.clone()) {
            Err(error) if message.pictures.is_some() => error,
            done => return done.map(|recorded| (recorded, None)),
        };
        let mut bare = message.clone();
        bare.pictures = None;
        bare.event.data.snapshot_missing = Some(format!("the picture could not be kept: {error}"));
        Ok((record(bare)?, Some(error)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.coverage.keeper_ended();
    }
}

/// The newest picture of each lasting event, or why there is none.
#[derive(Default)]
struct KeptPictures(HashMap<EventId, Result<SnapshotRef, String>>);

impl KeptPictures {
    fn remember(&mut self, event: &EventMessage) {
        if event.data.phase == Phase::End || event.data.capture.end.is_some() {
            self.0.remove(&event.id);
        } else if let Some(snapshot) = &event.data.snapshot {
            self.0.insert(event.id, Ok(snapshot.clone()));
        } else if let Some(why) = &event.data.snapshot_missing {
            self.0.insert(event.id, Err(why.clone()));
        }
    }
}

/// The form in which a message is recorded.
#[must_use]
pub fn new_message(
    event: EventMessage,
    pictures: Option<Pictures>,
    topics: &Topics,
    alert_severity: u8,
    received: Option<crate::clock::MonoMillis>,
) -> NewMessage {
    let severity = event.data.severity;
    let is_alert = severity >= alert_severity;
    let lane = match severity {
        4.. => LANE_CRITICAL,
        _ if is_alert => LANE_ALERT,
        _ => LANE_EVENT,
    };
    let topic = if is_alert { topics.alert() } else { topics.event() };
    NewMessage { snapshot_topic: topics.snapshot(event.id), topic, event, pictures, lane, received }
}

/// One line per event in the log, and the counts.
fn announce(recorded: &Recorded) {
    let data = &recorded.event.data;
    let declarations: Vec<&str> = data.link.links.iter().map(|l| l.decl_key.0.as_str()).collect();
    tracing::info!(
        seq = recorded.sequence.seq, event = %recorded.event.id, camera = %data.camera.id, area = %data.area.id,
        rule = data.rule.as_str(), phase = ?data.phase, severity = data.severity, object = %data.object.label,
        link = ?data.link.verdict, declarations = declarations.join(","), dwell_ms = data.dwell_ms, "event"
    );
    metrics::counter!(EVENTS, "camera" => data.camera.id.0.clone(), "rule" => data.rule.as_str(),
        "phase" => format!("{:?}", data.phase).to_lowercase())
    .increment(1);
    for link in &data.link.links {
        metrics::counter!(LINKS, "method" => link.method.as_str(), "state" => format!("{:?}", link.state).to_lowercase())
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::agent::cases_tests::blank;
    use crate::agent::coverage::Question;
    use crate::agent::coverage::tests::grey;
    use crate::camera::CameraId;
    use crate::clock::{FrameTime, UtcMillis, mono_now, utc_now};
    use crate::config::{Config, StoreConfig};
    use crate::coverage::{AreaView, AreaViews, Verdict};
    use crate::rules::AreaId;
    use crate::store::{Part, StoreOptions};

    /// A box whose folder for today's pictures cannot be made.
    struct Gate {
        store: Store,
        coverage: Arc<CoverageKeeper>,
        findings: SyncSender<Finding>,
        keeper: std::thread::JoinHandle<()>,
        _dir: tempfile::TempDir,
    }

    impl Gate {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = StoreConfig { dir: dir.path().into(), ..StoreConfig::default() };
            let polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]];
            let area = serde_json::json!({"id": "bay-1", "kind": "inspection_bay", "polygon": polygon});
            let camera = serde_json::json!({"id": "cam-1", "url": "rtsp://camera.invalid/1", "area": [area]});
            let config = Config { store, cameras: vec![serde_json::from_value(camera).unwrap()], ..Config::default() };
            let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
            let store = Store::open(StoreOptions::of(&config, topics.alert())).await.unwrap();
            std::fs::create_dir(dir.path().join("pictures")).unwrap();
            std::fs::write(dir.path().join("pictures").join(&utc_now().to_rfc3339()[..4]), b"").unwrap();
            let root = dir.path().join("footage");
            let (footage, _) = Footage::start(store.clone(), root, config.footage.clone(), &[]).await.unwrap();
            let coverage = Arc::new(CoverageKeeper::start(store.clone(), &config).await.unwrap());
            let (findings, from_workers) = sync_channel(QUEUE);
            let keeper = Keeper {
                store: store.clone(),
                annotator: Arc::new(Annotator::new(&config.pictures, &config.site, &[]).unwrap()),
                topics,
                alert_severity: 2,
                footage,
                nudges: Arc::default(),
                coverage: Arc::clone(&coverage),
                health: Arc::default(),
                runtime: Handle::current(),
                stop: CancellationToken::new(),
                findings: from_workers,
            };
            let keeper = std::thread::spawn(move || keeper.run());
            Self { store, coverage, findings, keeper, _dir: dir }
        }

        /// A worker found something and has a picture of it.
        fn find(&self) {
            let time = FrameTime { utc: utc_now(), ..FrameTime::arrived(mono_now().0) };
            let event = blank("bay-1", time.utc, time.utc, 500);
            let frame = grey(CameraId("cam-1".into()), time);
            self.coverage.found(1);
            self.findings.send(Finding { event, frame: Some(frame), received: mono_now() }).unwrap();
        }

        /// A worker looked at a picture.
        fn see(&self, areas: &Arc<AreaViews>) -> UtcMillis {
            let time = FrameTime { utc: utc_now(), ..FrameTime::arrived(mono_now().0) };
            self.coverage.analysed(&grey(CameraId("cam-1".into()), time), areas, &BTreeMap::new());
            time.utc
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_an_event_is_not_recorded_nobody_says_that_there_was_none() {
        let gate = Gate::new().await;
        let areas = Arc::new(AreaViews::from([(AreaId("bay-1".into()), AreaView::default())]));
        let from = gate.see(&areas);
        gate.find();
        let to = loop {
            let to = gate.see(&areas);
            if to > from {
                break to;
            }
        };
        let area = Some(AreaId("bay-1".into()));
        let question = Question { camera: None, area, from: Some(from.to_rfc3339()), to: Some(to.to_rfc3339()) };
        let told = async {
            loop {
                match gate.coverage.ask(&question).await.unwrap().answer {
                    Verdict::Blind => {}
                    verdict => return verdict,
                }
            }
        };
        let told =
            tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is recorded without its picture");
        assert_eq!(told, Verdict::Yes);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_picture_that_cannot_be_written_does_not_keep_its_event_from_being_recorded() {
        let gate = Gate::new().await;
        (0..3).for_each(|_| gate.find());
        drop(gate.findings);
        let ended = tokio::task::spawn_blocking(move || gate.keeper.join());
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("all is recorded").unwrap().unwrap();
        let waiting = gate.store.outbox_next(10, &[]).await.unwrap();
        let parts: Vec<_> = waiting.iter().map(|i| (i.seq, i.part)).collect();
        assert_eq!(parts, [(1, Part::Message), (2, Part::Message), (3, Part::Message)]);
        for item in waiting {
            let told: EventMessage = serde_json::from_slice(&item.payload).unwrap();
            let why = told.data.snapshot_missing.unwrap();
            assert!(told.data.snapshot.is_none() && why.starts_with("the picture could not be kept: "), "{why}");
        }
    }
}
