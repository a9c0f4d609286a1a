//! Tips at work: holds first, then the correlation, and both again whenever something about an open tip changes. Also the one
//! who says that every tip sent to the box has its holds, before which nothing young may be deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::correlate::{Correlator, judge, standing};
use super::nudges::{Nudges, TipsTouched};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::customs::correlation::{Correlation, Footage, FootageRange, KIND, Standing};
use crate::customs::{Register, Tip};
use crate::ids::IdSource;
use crate::mqtt::{DeliveryStatus, Topics};
use crate::store::{Hold, HoldState, LANE_ALERT, NewHold, NewNotice, Store, StoreError};

/// What comes together is taken together.
const SETTLE: Duration = Duration::from_millis(50);
/// Open tips are looked at again this often: footage grows, tips expire.
const AGAIN: Duration = Duration::from_secs(60);
/// Pause after a store that refused.
const RETRY: Duration = Duration::from_secs(2);
/// Nothing came in for this long: the broker has nothing left, milliseconds.
const QUIET_MS: i64 = 3_000;
/// What the broker kept for the box has come in after this long, however much else comes in, milliseconds.
const BACKLOG_MS: i64 = 300_000;
/// That holds are in step is written this often at most, milliseconds.
const MARK_EVERY_MS: i64 = 15_000;
/// Who places the holds of tips.
const BY: &str = "tip";

/// Runs tips.
pub struct TipRunner {
    // injected
    /// Searches.
    pub correlator: Correlator,
    /// Facts.
    pub register: Arc<Register>,
    /// Where correlations go.
    pub topics: Topics,
    /// What changed.
    pub nudges: Arc<Nudges>,
    /// What each tip is about: filled by its last run.
    pub interests: Interests,
}

/// Which handles interest which tips.
#[derive(Debug, Default)]
pub struct Interests(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Interests {
    fn set(&self, tip: &str, handles: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, tips| {
            tips.remove(tip);
            !tips.is_empty()
        });
        for handle in handles {
            all.entry(handle).or_default().insert(tip.to_owned());
        }
    }

    fn of(&self, handles: &BTreeSet<String>) -> BTreeSet<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles.iter().filter_map(|h| all.get(h)).flatten().cloned().collect()
    }
}

impl TipRunner {
    /// Runs until dropped.
    pub async fn run(self) {
        self.nudges.all_tips();
        // However much else there is to look at: time alone changes tips and holds.
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + AGAIN, AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let touched = tokio::select! {
                biased;
                _ = again.tick() => TipsTouched { all: true, ..TipsTouched::default() },
                touched = self.nudges.take_tips() => touched,
            };
            tokio::time::sleep(SETTLE).await;
            while let Err(error) = self.look(&touched).await {
                tracing::error!(%error, "tips cannot be answered now; trying again");
                tokio::time::sleep(RETRY).await;
            }
            self.nudges.tips_done();
        }
    }

    /// Runs the tips that were touched.
    ///
    /// # Errors
    /// When the store refuses; the same call again does the rest.
    pub async fn look(&self, touched: &TipsTouched) -> Result<(), StoreError> {
        let register = self.register.snapshot();
        let (now, days) = (utc_now(), self.correlator.config.register.tip_days);
        if touched.all {
            self.look_at_holds(now).await?;
        }
        let mut ids = self.interests.of(&touched.handles);
        ids.extend(touched.tips.iter().cloned());
        if touched.all {
            ids.extend(register.tips().map(|t| t.id.clone()));
        }
        for id in ids {
            let Some(tip) = register.tip(&id) else { continue };
            // A closed tip is said to be closed once; what comes late for it is not looked for any more.
            let is_open = tip.is_open(now, days);
            let was_open = || async {
                let kept = self.correlator.store.correlation(&id).await?;
                Ok::<bool, StoreError>(
                    kept.is_some_and(|k| k.body["state"] == "open" || k.body["tip_version"] != tip.version),
                )
            };
            if is_open || was_open().await? || touched.tips.contains(&id) {
                self.answer(tip, now).await?;
            }
        }
        Ok(())
    }

    /// Holds of persons, as far as it was not known before how much they hold.
    async fn look_at_holds(&self, now: UtcMillis) -> Result<(), StoreError> {
        let store = &self.correlator.store;
        for hold in store.holds(None, false).await? {
            look_at_hold(store, &hold, now).await?;
        }
        Ok(())
    }

    /// Searches, holds, publishes what is new.
    async fn answer(&self, tip: &Tip, now: UtcMillis) -> Result<(), StoreError> {
        let register = self.register.snapshot();
        let mut found = self.correlator.find(tip, &register, now).await?;
        let open = standing(tip, now, self.correlator.config.register.tip_days) == Standing::Open;
        if open {
            self.hold(tip, &mut found, now).await?;
            self.interests.set(&tip.id, interests(&found));
        } else {
            self.interests.set(&tip.id, Vec::new());
            self.name_holds(tip, &mut found).await?;
        }
        self.publish(tip, &found).await
    }

    async fn hold(&self, tip: &Tip, found: &mut Correlation, now: UtcMillis) -> Result<(), StoreError> {
        let store = &self.correlator.store;
        let holds: Vec<NewHold> = found
            .ranges
            .iter()
            .map(|r| NewHold {
                id: None,
                camera: r.camera.clone(),
                from: r.from,
                to: r.to,
                reason: tip.reason.clone().unwrap_or_else(|| format!("tip {}", tip.id)),
                tip_id: Some(tip.id.clone()),
                by: BY.into(),
            })
            .collect();
        let ids = store.place_holds(&holds).await?;
        for (range, id) in found.ranges.iter_mut().zip(ids) {
            set_state(store, &id, range, now).await?;
            range.hold_id = Some(id);
        }
        Ok(())
    }

    async fn name_holds(&self, tip: &Tip, found: &mut Correlation) -> Result<(), StoreError> {
        let holds = self.correlator.store.holds(Some(&tip.id), true).await?;
        for range in &mut found.ranges {
            let of = |h: &&crate::store::Hold| h.camera == range.camera && h.from <= range.from && range.to <= h.to;
            range.hold_id = holds.iter().find(of).map(|h| h.id.clone());
        }
        Ok(())
    }

    async fn publish(&self, tip: &Tip, found: &Correlation) -> Result<(), StoreError> {
        let store = &self.correlator.store;
        let kept = store.correlation(&tip.id).await?;
        let body = serde_json::to_value(found).unwrap_or_default();
        if kept.as_ref().is_some_and(|k| said(&k.body) == said(&body)) {
            return Ok(());
        }
        let severity = tip.severity.unwrap_or(self.correlator.config.register.tip_severity);
        let notice = NewNotice {
            id: kept
                .as_ref()
                .map_or_else(|| IdSource::random().next_id(found.run_at).to_string(), |k| k.notice_id.clone()),
            revision: kept.as_ref().map_or(1, |k| k.revision + 1),
            kind: KIND.into(),
            subject: format!("tip/{}", tip.id),
            severity,
            at: found.run_at,
            // Kept in a table of its own, so that a long tip does not keep all messages from being cleaned up.
            open: false,
            topic: self.topics.correlation(),
            lane: LANE_ALERT,
            data: body,
        };
        let seq = store.record_correlation(&tip.id, &notice).await?;
        tracing::info!(tip = tip.id, seq, revision = notice.revision, state = ?found.state, events = found.events_total,
            ranges = found.ranges.len(), footage = ?found.footage, "tip answered");
        Ok(())
    }
}

/// How much of a range a hold on it holds. What lies ahead is looked at when it is over.
async fn set_state(store: &Store, hold: &str, range: &FootageRange, now: UtcMillis) -> Result<(), StoreError> {
    let state = match range.footage {
        _ if range.to > now => HoldState::Requested,
        Footage::Complete => HoldState::Applied,
        Footage::Partial => HoldState::Partly,
        Footage::None => HoldState::Failed,
    };
    let gaps: Vec<(UtcMillis, UtcMillis)> = range.gaps.iter().map(|g| (g.from, g.to)).collect();
    store.set_hold_state(hold, state, &gaps).await
}

/// Looks how much footage there is of a hold that a person placed, once: when its time is over and the files are complete.
///
/// # Errors
/// When the store refuses.
pub(super) async fn look_at_hold(store: &Store, hold: &Hold, now: UtcMillis) -> Result<(), StoreError> {
    let waits = hold.tip_id.is_none() && hold.state == HoldState::Requested && hold.to <= now;
    if !waits || store.is_being_written(&hold.camera, hold.to).await? {
        return Ok(());
    }
    let mut range = FootageRange {
        camera: hold.camera.clone(),
        from: hold.from,
        to: hold.to,
        footage: Footage::None,
        gaps: Vec::new(),
        why: None,
        unwatched: Vec::new(),
        hold_id: None,
        because: Vec::new(),
    };
    judge(store, &mut range, now).await?;
    set_state(store, &hold.id, &range, now).await
}

/// What an answer says, without when it was looked for.
fn said(body: &Value) -> Value {
    let mut body = body.clone();
    body["run_at"] = Value::Null;
    // Without an end of its own a tip looks until now.
    body["to"] = Value::Null;
    body["from"] = Value::Null;
    body
}

fn interests(found: &Correlation) -> Vec<String> {
    let mut out: Vec<String> = found.decl_key.iter().map(|k| format!("decl:{k}")).collect();
    out.extend(found.containers.iter().map(|c| format!("container:{c}")));
    out.extend(found.plates.iter().map(|p| format!("plate:{}", crate::customs::plate::folded(p))));
    out
}

/// Says when every tip and hold that was sent to the box has been taken. The broker keeps what comes for a box that is away
/// (a session of its own), and sends it as soon as the connection is up again; so once that is up and nothing came for some
/// seconds, and no tip waits for its holds, there is nothing left to come. From then on only tips count: a feed that never
/// rests must not make the box believe itself out of touch.
pub async fn note_synced(store: Store, nudges: Arc<Nudges>, delivery: watch::Receiver<DeliveryStatus>) {
    let (mut up_since, mut caught_up): (Option<MonoMillis>, bool) = (None, false);
    let mut marked: Option<MonoMillis> = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let taking = delivery.borrow().taking_facts;
        let now = mono_now();
        up_since = if taking { up_since.or(Some(now)) } else { None };
        let up_ms = up_since.map_or(0, |since| now.since(since));
        let all_quiet = up_ms >= QUIET_MS && nudges.is_quiet(QUIET_MS);
        caught_up = up_since.is_some() && (caught_up || all_quiet || up_ms >= BACKLOG_MS);
        // Not every second: each mark is a write that waits for the disk.
        let due = marked.is_none_or(|at| now.since(at) >= MARK_EVERY_MS);
        if !caught_up || !nudges.tips_are_quiet(QUIET_MS) || !due {
            continue;
        }
        match store.mark_holds_synced(utc_now()).await {
            Ok(()) => marked = Some(now),
            Err(error) => tracing::warn!(%error, "that holds are in step could not be written"),
        }
    }
}
