//! The keeper: draws the pictures of findings and records them. From here on nothing is lost: a finding leaves this
//! thread only when message, pictures and outbox rows survive a power cut.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::nudges::Nudges;
use crate::camera::Frame;
use crate::event::annotate::{AnnotateError, Annotated, Base};
use crate::event::message::SnapshotRef;
use crate::event::{Annotator, EventId, EventMessage, Finding};
use crate::footage::Footage;
use crate::mqtt::Topics;
use crate::rules::Phase;
use crate::store::{LANE_ALERT, LANE_CRITICAL, LANE_EVENT, NewMessage, Pictures, Recorded, Store};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{EVENTS, LINKS};

/// Findings waiting for the keeper; full = the workers wait (block), and frames are lost instead.
pub const QUEUE: usize = 64;
/// Findings recorded in one transaction at most: one fsync for a burst.
const BATCH: usize = 16;
/// Pause before a store that refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

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
        let mut kept = KeptPictures::default();
        let mut next = None;
        while let Some(first) = next.take().or_else(|| self.findings.recv().ok()) {
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
            let messages: Vec<NewMessage> = batch.into_iter().map(|f| self.prepare(f, &mut base, &kept)).collect();
            drop(base);
            self.record(messages, &mut kept);
        }
    }

    fn prepare(&self, finding: Finding, base: &mut Option<Base>, kept: &KeptPictures) -> NewMessage {
        let mut event = finding.event;
        event.data.footage = self.footage.of_event(&event.data.camera.id, &event.data.capture);
        let pictures = finding.frame.as_ref().and_then(|frame| match self.draw(frame, base, &event) {
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

    fn draw(&self, frame: &Frame, base: &mut Option<Base>, event: &EventMessage) -> Result<Annotated, AnnotateError> {
        let known = base.take().filter(|b| b.is_of(frame));
        let made = known.map_or_else(|| self.annotator.base(frame), Ok)?;
        self.annotator.draw_on(base.insert(made), event)
    }

    fn record(&self, messages: Vec<NewMessage>, kept: &mut KeptPictures) {
        loop {
            match self.runtime.block_on(self.store.record_all(messages.clone())) {
                Ok(recorded) => {
                    self.health.set("store", Level::Ok, "writing");
                    for r in &recorded {
                        announce(r);
                        self.nudges.event(&r.event);
                        kept.remember(&r.event);
                    }
                    return;
                }
                Err(error) => {
                    self.health.set("store", Level::Failed, format!("events cannot be written: {error}"));
                    tracing::error!(waiting = messages.len(), %error, "events cannot be written; trying again");
                }
            }
            if self.stop.is_cancelled() {
                for m in &messages {
                    tracing::error!(event = %m.event.id, rule = m.event.data.rule.as_str(), "event lost at stop");
                }
                return;
            }
            // Ends early when the agent stops, for one last try.
            let wait = async { tokio::time::timeout(RETRY, self.stop.cancelled()).await };
            let _ = self.runtime.block_on(wait);
        }
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
