//! Facts from the clearance side on their way in, whichever way they came: MQTT, HTTP or a file. Each is kept in the
//! store before the register shows it, so that an acknowledged fact survives a power cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::api::{Answers, Applied, BookingQuery, FactKind, FieldError, RegisterSink, SinkError};
use super::nudges::Nudges;
use super::relink::places;
use crate::clock::{UtcMillis, utc_now};
use crate::config::{Config, RegisterConfig};
use crate::customs::feed::{FeedError, read_feed};
use crate::customs::reach::reach;
use crate::customs::register::Fact;
use crate::customs::{MessageError, Outcome, Parsed, Register, visits};
use crate::rules::AreaId;
use crate::store::{LANE_ALERT, NewNotice, Store, StoreError};

/// How often the feed file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(5);

/// Register and store, kept in step.
pub struct Clearance {
    register: Arc<Register>,
    store: Store,
    config: RegisterConfig,
    /// Where alarms go; none = only into the log.
    alert_topic: Option<String>,
    nudges: Arc<Nudges>,
    /// One writer: outcomes are decided, kept and applied in one order.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Clearance {
    /// Loads what the store knows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let (facts, last_feed) = store.load_register().await?;
        let register = Arc::new(Register::restore(facts, last_feed));
        let config = RegisterConfig::default();
        Ok(Self { register, store, config, alert_topic: None, nudges: Arc::default(), writing: Arc::default() })
    }

    /// The same for the cameras and weights of a box, which says alarms on a topic.
    #[must_use]
    pub fn for_box(mut self, config: &Config, alert_topic: String) -> Self {
        let (cameras, single) = places(config);
        self.register.set_places(cameras, single);
        self.config = config.register.clone();
        self.alert_topic = Some(alert_topic);
        self
    }

    /// What facts changed, for those who look again.
    #[must_use]
    pub fn nudges(&self) -> &Arc<Nudges> {
        &self.nudges
    }

    /// The register, for readers.
    #[must_use]
    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// Keeps facts, then shows them. Outcomes are in the order given. `said`: when the clearance side said so; `None`
    /// when it is an old word again (retained by the broker), which does not make the feed fresh.
    ///
    /// # Errors
    /// When the store refuses; then none counts.
    pub async fn take(&self, facts: Vec<Fact>, said: Option<UtcMillis>) -> Result<Vec<Outcome>, StoreError> {
        let keep = Keep {
            register: Arc::clone(&self.register),
            store: self.store.clone(),
            config: self.config.clone(),
            alert_topic: self.alert_topic.clone(),
            nudges: Arc::clone(&self.nudges),
        };
        let writing = Arc::clone(&self.writing);
        // On a task of its own: a caller that goes away in the middle must not leave store and register apart.
        let done = tokio::spawn(async move {
            let _one_writer = writing.lock().await;
            let _keeping = keep.nudges.keeping(facts.iter().any(|fact| matches!(fact, Fact::Tip(_))));
            keep.facts(facts, said).await
        });
        done.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }

    /// Ends visits that nobody saw end in time; returns how many.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn end_visits(&self, now: UtcMillis) -> Result<usize, StoreError> {
        let over = visits::timed_out(&self.register.snapshot(), now, &self.config);
        let count = over.len();
        self.take(over.into_iter().map(Fact::Visit).collect(), None).await?;
        Ok(count)
    }

    /// Forgets bookings and declarations that are long over.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn forget(&self, bookings_before: UtcMillis, declarations_before: UtcMillis) -> Result<u64, StoreError> {
        let _one_writer = self.writing.lock().await;
        let gone = self.store.prune_facts(bookings_before, declarations_before).await?;
        if gone > 0 {
            self.register.replace(self.store.load_register().await?.0);
        }
        Ok(gone)
    }
    /// Takes a feed file: good rows count, bad ones are logged with their place.
    ///
    /// # Errors
    /// When the file as a whole cannot be taken, or the store refuses.
    pub async fn take_file(&self, path: &Path) -> anyhow::Result<usize> {
        let path = path.to_owned();
        let file = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_feed(&path)).await?.map_err(|e: FeedError| e)?
        };
        for problem in &file.problems {
            tracing::warn!(file = %path.display(), "row not taken: {problem}");
        }
        let rows = file.facts.len();
        let written = tokio::fs::metadata(&path).await?.modified()?.duration_since(SystemTime::UNIX_EPOCH)?;
        let said = UtcMillis(i64::try_from(written.as_millis()).unwrap_or(0));
        let heard = said_by_feed(&file.facts, said);
        let outcomes = self.take(file.facts, heard).await?;
        let applied = outcomes.iter().filter(|o| **o == Outcome::Applied).count();
        tracing::info!(file = %path.display(), rows, applied, bad = file.problems.len(), "feed file read");
        Ok(applied)
    }

    /// Reads the feed file at start and whenever it changes.
    pub async fn follow_file(&self, path: PathBuf, stop: CancellationToken) {
        let mut seen: Option<(SystemTime, u64)> = None;
        loop {
            let now = std::fs::metadata(&path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
            if now.is_some() && now != seen {
                match self.take_file(&path).await {
                    Ok(_) => seen = now,
                    Err(error) => tracing::warn!(file = %path.display(), "feed file not taken: {error:#}"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(FILE_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads facts given as JSON and keeps those that can be read, together. Answers are in the order given.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`]: the store refuses now, none is kept. Of one item: [`SinkError::Invalid`].
    pub async fn take_json(&self, kind: FactKind, items: &[Value], said: Option<UtcMillis>) -> Answers {
        let read: Vec<Result<Fact, SinkError>> = items.iter().map(|item| read_fact(kind, item)).collect();
        let good: Vec<Fact> = read.iter().filter_map(|r| r.as_ref().ok().cloned()).collect();
        let heard = said.and_then(|said| said_by_feed(&good, said));
        let outcomes = self.take(good, heard).await.map_err(|e| SinkError::Unavailable(e.to_string()))?;
        let mut outcomes = outcomes.into_iter();
        let answer =
            |fact: Result<Fact, SinkError>| fact.and_then(|_| outcomes.next().map_or(Ok(Applied::Unchanged), applied));
        Ok(read.into_iter().map(answer).collect())
    }
}

/// When the feed said what is newest among these; `said`: when they came. Only declarations and bookings tell that the feed is alive:
/// a camera's reading or an officer's word does not, nor a stop order, which duty rooms send too, and nothing that could not be
/// understood. What waited somewhere is as old as when it was fetched.
fn said_by_feed(facts: &[Fact], said: UtcMillis) -> Option<UtcMillis> {
    let each = facts.iter().filter_map(|fact| match fact {
        Fact::Declaration(d) => Some(d.fetched_at.map_or(said, |fetched| fetched.min(said))),
        Fact::Booking(_) => Some(said),
        _ => None,
    });
    each.max()
}

/// What keeping facts needs, on a task of its own.
struct Keep {
    register: Arc<Register>,
    store: Store,
    config: RegisterConfig,
    alert_topic: Option<String>,
    nudges: Arc<Nudges>,
}

impl Keep {
    /// Decides, keeps, shows, and tells what it reaches.
    async fn facts(&self, facts: Vec<Fact>, said: Option<UtcMillis>) -> Result<Vec<Outcome>, StoreError> {
        let now = utc_now();
        let before = self.register.snapshot();
        // Never later than now, and never earlier than a later word, unless that one came from a clock gone wrong.
        let last = before.last_feed.filter(|last| *last <= now);
        let heard = said.map(|said| said.min(now).max(last.unwrap_or(said.min(now))));
        let rehearsal = self.register.rehearse(facts, heard.unwrap_or(now), &self.config);
        let derived = rehearsal.derived.into_iter().map(|fact| (fact, Outcome::Applied));
        let kept: Vec<(Fact, Outcome)> = rehearsal.given.iter().cloned().chain(derived).collect();
        self.store.save_facts(&kept, now, heard).await?;
        let mut outcomes = self.register.apply_all(kept.iter().map(|(fact, _)| fact.clone()).collect(), heard);
        outcomes.truncate(rehearsal.given.len());
        let after = self.register.snapshot();
        for (fact, _) in kept.iter().filter(|(_, o)| *o == Outcome::Applied) {
            self.nudges.fact(fact, reach(fact, &before, &after, &self.config));
        }
        for (fact, _) in kept.iter().filter(|(_, o)| *o == Outcome::Conflict) {
            self.alarm(fact, now).await?;
        }
        Ok(outcomes)
    }

    /// The same version with other content is kept beside the first, and people are told; the same one again says nothing
    /// new.
    async fn alarm(&self, fact: &Fact, now: UtcMillis) -> Result<(), StoreError> {
        let (kind, key, version) = (fact.kind().as_str(), fact.key(), fact.version());
        tracing::error!(
            kind,
            key,
            version,
            "same version with other content: the first stays in force, the other is kept beside it; ask the sender for a \
             higher version"
        );
        let Some(topic) = self.alert_topic.clone() else { return Ok(()) };
        let digest = Sha256::digest(format!("{kind}/{key}/{version}/{}", fact.to_value()));
        let id = ulid::Ulid(u128::from_be_bytes(digest[..16].try_into().expect("16 of 32 bytes")));
        let notice = NewNotice {
            id: id.to_string(),
            revision: 1,
            kind: "gatewatch.alert.fact_conflict.v1".into(),
            subject: format!("{kind}/{key}"),
            severity: 3,
            at: now,
            open: false,
            topic,
            lane: LANE_ALERT,
            data: json!({"kind": kind, "key": key, "version": version, "refused": fact.to_value(),
                "what_to_do": "send a higher version; the first content stays in force"}),
        };
        self.store.record_notices(vec![notice]).await?;
        Ok(())
    }
}

fn applied(outcome: Outcome) -> Result<Applied, SinkError> {
    match outcome {
        Outcome::Applied => Ok(Applied::Stored),
        Outcome::Stale { .. } => Ok(Applied::Older),
        Outcome::Conflict => Err(SinkError::Invalid(vec![FieldError {
            field: "version".into(),
            message: "this version is known with other content; both are kept, the first stays in force: send a \
                higher version"
                .into(),
        }])),
        Outcome::Duplicate => Ok(Applied::Unchanged),
    }
}

fn read_fact(kind: FactKind, item: &Value) -> Result<Fact, SinkError> {
    noted(Fact::from_json(kind, item.to_string().as_bytes()))
}

fn noted<T>(parsed: Result<Parsed<T>, MessageError>) -> Result<T, SinkError> {
    match parsed {
        Ok(parsed) => {
            for note in &parsed.notes {
                tracing::warn!("message from the clearance side: {note}");
            }
            Ok(parsed.value)
        }
        Err(MessageError::NotAnObject(what)) => Err(SinkError::Invalid(vec![FieldError {
            field: String::new(),
            message: format!("not an object: {what}"),
        }])),
        Err(MessageError::Fields(problems)) => Err(SinkError::Invalid(
            problems
                .into_iter()
                .map(|p| FieldError { message: format!("{} (allowed: {})", p.value, p.allowed), field: p.field })
                .collect(),
        )),
    }
}

impl RegisterSink for Clearance {
    fn take(&self, kind: FactKind, items: Vec<Value>) -> BoxFuture<'_, Answers> {
        Box::pin(async move { self.take_json(kind, &items, Some(utc_now())).await })
    }

    fn bookings(&self, query: BookingQuery) -> BoxFuture<'_, Result<Value, SinkError>> {
        Box::pin(async move {
            let at = query.at.as_deref().map(UtcMillis::parse_rfc3339).transpose();
            let at = at.map_err(|message| SinkError::Invalid(vec![FieldError { field: "at".into(), message }]))?;
            let snapshot = self.register.snapshot();
            let bookings: Vec<Value> = match query.area {
                Some(area) => snapshot.bookings_of(&AreaId(area)).iter().map(|b| json!(b.as_ref())).collect(),
                None => snapshot.bookings().map(|b| json!(b.as_ref())).collect(),
            };
            let covers = |b: &Value| {
                let time = |k: &str| b[k].as_str().and_then(|t| UtcMillis::parse_rfc3339(t).ok());
                at.is_none_or(|at| time("start").is_some_and(|s| s <= at) && time("end").is_some_and(|e| at < e))
            };
            Ok(Value::Array(bookings.into_iter().filter(covers).collect()))
        })
    }
}
