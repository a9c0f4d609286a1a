//! Links of ended events made anew when facts come late or are corrected: the change goes out as a new revision of the event,
//! never as a second event. Events that still last are linked anew by their camera's lane. What the rule asked customs then
//! (`data.check`) stays what it was: it tells what was known at that time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::keeper::new_message;
use super::nudges::{Nudges, Touched};
use crate::clock::{UtcMillis, utc_now};
use crate::config::{CameraConfig, Config};
use crate::customs::{Answer, Check, Link, LinkOutcome, LinkRule, Question, Register, RegisterSnapshot, Sought, link};
use crate::event::compose::subject;
use crate::event::lifecycle::{came, matters};
use crate::event::{EventId, EventMessage};
use crate::mqtt::Topics;
use crate::rules::{AreaId, Phase, RuleKind, gate_out};
use crate::store::{Store, StoreError};

/// Events read and recorded at a time.
const BATCH: usize = 50;
/// Facts that come together are taken together.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(100);
/// Pause after a store that refused.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// Links ended events anew.
pub struct Relinker {
    // injected
    /// Events.
    pub store: Store,
    /// Facts.
    pub register: Arc<Register>,
    /// Areas, lines and weights.
    pub config: Config,
    /// Topics of the box.
    pub topics: Topics,
    // in
    /// What to look at; also told what was recorded.
    pub nudges: Arc<Nudges>,
}

impl Relinker {
    /// Runs until dropped. Begins with everything that is young enough: the last run may have ended too early.
    pub async fn run(self) {
        self.nudges.all_links();
        loop {
            let touched = self.nudges.take_links().await;
            tokio::time::sleep(SETTLE).await;
            while let Err(error) = self.look(&touched).await {
                tracing::error!(%error, "ended events cannot be linked anew now; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn oldest(&self, now: UtcMillis) -> UtcMillis {
        now.plus_ms(-i64::from(self.config.register.relink_h) * 3_600_000)
    }

    /// Links what was touched anew; returns how many events changed.
    ///
    /// # Errors
    /// When the store refuses; what was not reached is reached by the same call again.
    pub async fn look(&self, touched: &Touched) -> Result<usize, StoreError> {
        let ids: Vec<String> = self.events(touched).await?.into_iter().collect();
        let mut changed = 0;
        for batch in ids.chunks(BATCH) {
            let register = self.register.snapshot();
            let mut revised = Vec::new();
            for event in self.store.ended_events(batch).await? {
                let others = self.others(&event).await?;
                revised.extend(self.revise(event, &others, &register));
            }
            let severity = self.config.events.alert_severity;
            let messages: Vec<_> =
                revised.into_iter().map(|e| new_message(e, None, &self.topics, severity, None)).collect();
            if messages.is_empty() {
                continue;
            }
            for recorded in self.store.record_all(messages).await? {
                changed += 1;
                self.nudges.event(&recorded.event);
                let link = &recorded.event.data.link;
                tracing::info!(event = %recorded.event.id, verdict = ?link.verdict, rule = ?link.rule, "linked anew");
            }
        }
        Ok(changed)
    }

    async fn events(&self, touched: &Touched) -> Result<BTreeSet<String>, StoreError> {
        let now = utc_now();
        let oldest = self.oldest(now);
        let mut ids: BTreeSet<String> = touched.events.clone();
        if touched.all {
            ids.extend(self.store.event_ids_at(None, (oldest, now)).await?);
        }
        for (booked, (from, to)) in &touched.windows {
            let span = ((*from).max(oldest), *to);
            for area in self.reported_as(booked).into_iter().filter(|_| span.0 <= span.1) {
                ids.extend(self.store.event_ids_at(Some(&area), span).await?);
            }
        }
        for key in &touched.declarations {
            ids.extend(self.store.event_ids_of(key, (oldest, now)).await?);
        }
        Ok(ids)
    }

    /// Areas and lines whose events belong to the bookings of an area.
    fn reported_as(&self, booked: &AreaId) -> Vec<AreaId> {
        let lines = self.config.cameras.iter().flat_map(|c| &c.lines);
        let lines = lines.filter(|l| l.area.as_ref() == Some(booked)).map(|l| l.id.clone());
        lines.chain([booked.clone()]).collect()
    }

    /// When vehicles crossed the line of a crossing around then.
    async fn others(&self, event: &EventMessage) -> Result<Vec<UtcMillis>, StoreError> {
        let mut lines = self.config.cameras.iter().flat_map(|c| &c.lines);
        let Some(line) = lines.find(|l| l.id == event.data.area.id) else { return Ok(Vec::new()) };
        let (at, window_ms) = (event.data.capture.start, i64::from(self.config.register.observation_window_s) * 1000);
        let ids = self.store.event_ids_at(Some(&line.id), (at.plus_ms(-window_ms), at.plus_ms(window_ms))).await?;
        let crossed = self.store.latest_events(&ids).await?.into_iter().map(|e| e.data);
        let of_vehicles = crossed.filter(|d| gate_out::concerns(line, &d.object.label));
        Ok(of_vehicles.map(|d| d.capture.start).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The next revision of an ended event, if its link is another one now; and what that reveals.
    fn revise(&self, event: EventMessage, others: &[UtcMillis], register: &RegisterSnapshot) -> Vec<EventMessage> {
        let Some(end) = event.data.capture.end else { return Vec::new() };
        let id = event.id.to_string();
        let camera = self.config.cameras.iter().find(|c| c.id == event.data.camera.id);
        let booked = booked_area(camera, &event.data.area.id);
        let start = came(event.data.rule, event.data.capture.start, event.data.dwell_ms);
        let uncertainty_ms = event.data.capture.uncertainty_ms;
        let sought = Sought { area: &booked, start, end: Some(end), uncertainty_ms, event: Some(&id), others };
        let mut fresh = link(register, &sought, utc_now(), &self.config.register);
        // A tip that came later does not make a past event more serious; the correlation names it.
        fresh.tips.clone_from(&event.data.link.tips);
        if !matters(&event.data.link, &fresh) || forgets(&event.data.link, &fresh, register) {
            return Vec::new();
        }
        let reveals = fresh.contradiction.is_some()
            && event.data.link.contradiction.is_none()
            && event.data.rule == RuleKind::BayOccupied;
        let wrong = reveals.then(|| self.wrong_vehicle(&event, camera, &fresh));
        [Some(revised(event, fresh)), wrong].into_iter().flatten().collect()
    }

    /// What the rule would have said, had the facts been there: an instant of its own, the same however often it is made.
    fn wrong_vehicle(&self, of: &EventMessage, camera: Option<&CameraConfig>, fresh: &LinkOutcome) -> EventMessage {
        let rule = RuleKind::BayWrongVehicle;
        let bay = camera.and_then(|c| c.areas.iter().find(|a| a.id == of.data.area.id)).and_then(|a| a.bay.as_ref());
        let severity = bay.map_or(3, |b| b.wrong_vehicle_severity);
        let class = if severity >= self.config.events.alert_severity { "alert" } else { "event" };
        let mut event = of.clone();
        event.id = EventId(derived_id(of, rule));
        event.kind = format!("gatewatch.{class}.{}.v1", rule.as_str());
        event.time = utc_now();
        event.subject = subject(fresh, &of.data.area.id);
        let data = &mut event.data;
        (data.revision, data.phase, data.rule, data.severity) = (1, Phase::New, rule, severity);
        data.check = Some(Check {
            question: Question::RightVehicle,
            answer: Answer::No,
            feed_age_s: fresh.feed_age_s,
            basis: vec![fresh.reason.clone()],
        });
        data.link = fresh.clone();
        event
    }
}

/// The new link names less, because what the old one rests on is not in memory any more. Of what an officer said nothing is
/// forgotten.
fn forgets(old: &LinkOutcome, fresh: &LinkOutcome, register: &RegisterSnapshot) -> bool {
    let is_named = |l: &Link| fresh.links.iter().any(|f| f.decl_key == l.decl_key && f.confidence >= l.confidence);
    if fresh.rule == LinkRule::Officer || old.links.iter().all(is_named) {
        return false;
    }
    let is_gone = |source: &String| match source.split_once(':') {
        Some(("observation", id)) => register.observation(id).is_none(),
        Some(("visit", id)) => register.visit(id).is_none(),
        _ => false,
    };
    old.links.iter().flat_map(|l| &l.sources).any(is_gone)
}

fn booked_area(camera: Option<&CameraConfig>, area: &AreaId) -> AreaId {
    let line = camera.and_then(|c| c.lines.iter().find(|l| l.id == *area));
    line.and_then(|l| l.area.clone()).unwrap_or_else(|| area.clone())
}

fn revised(mut event: EventMessage, fresh: LinkOutcome) -> EventMessage {
    event.subject = subject(&fresh, &event.data.area.id);
    event.time = utc_now();
    let data = &mut event.data;
    data.revision += 1;
    // An instant was closed from the first; a stay stays ended.
    data.phase = if data.phase == Phase::End { Phase::End } else { Phase::Update };
    data.link = fresh;
    event
}

fn derived_id(of: &EventMessage, rule: RuleKind) -> ulid::Ulid {
    let digest = Sha256::digest(format!("{}/{}", of.id, rule.as_str()));
    let low = u128::from_be_bytes(digest[..16].try_into().expect("16 of 32 bytes"));
    ulid::Ulid::from_parts(of.id.0.timestamp_ms(), low)
}

/// Which camera sees which area, and which cameras see only one.
#[must_use]
pub fn places(
    config: &Config,
) -> (std::collections::HashMap<AreaId, crate::camera::CameraId>, std::collections::HashSet<crate::camera::CameraId>) {
    let mut cameras = std::collections::HashMap::new();
    let mut single = std::collections::HashSet::new();
    for camera in &config.cameras {
        let mut booked: BTreeMap<AreaId, ()> = BTreeMap::new();
        for area in camera.areas.iter().filter(|a| !a.kind.is_mask()) {
            cameras.insert(area.id.clone(), camera.id.clone());
            booked.insert(area.id.clone(), ());
        }
        for line in &camera.lines {
            cameras.insert(line.id.clone(), camera.id.clone());
            booked.insert(line.area.clone().unwrap_or_else(|| line.id.clone()), ());
        }
        if booked.len() == 1 {
            single.insert(camera.id.clone());
        }
    }
    (cameras, single)
}
