//! Facts from the clearance side on their way in, whichever way they came: MQTT, HTTP or a file. Each is kept in the
//! store before the register shows it, so that an acknowledged fact survives a power cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Applied, BookingQuery, FieldError, RegisterSink, SinkError};
use crate::clock::{UtcMillis, utc_now};
use crate::customs::feed::{FeedError, read_feed};
use crate::customs::register::Fact;
use crate::customs::{Booking, Declaration, MessageError, Outcome, Parsed, Register};
use crate::rules::AreaId;
use crate::store::Store;

/// How often the feed file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(5);

/// Register and store, kept in step.
pub struct Clearance {
    register: Arc<Register>,
    store: Store,
    /// One writer: outcomes are decided, kept and applied in one order.
    writing: tokio::sync::Mutex<()>,
}

impl Clearance {
    /// Loads what the store knows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store) -> Result<Self, crate::store::StoreError> {
        let (facts, last_feed) = store.load_register().await?;
        let register = Arc::new(Register::restore(facts, last_feed));
        Ok(Self { register, store, writing: tokio::sync::Mutex::new(()) })
    }

    /// The register, for readers.
    #[must_use]
    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// Keeps facts, then shows them. Outcomes are in the order given.
    ///
    /// # Errors
    /// When the store refuses; then none counts.
    pub async fn take(&self, facts: Vec<Fact>) -> Result<Vec<Outcome>, crate::store::StoreError> {
        let _one_writer = self.writing.lock().await;
        let now = utc_now();
        let outcomes = self.register.rehearse(&facts);
        let kept: Vec<(Fact, Outcome)> = facts.iter().cloned().zip(outcomes).collect();
        self.store.save_facts(&kept, now).await?;
        let outcomes = self.register.apply_all(facts, now);
        for (fact, _) in kept.iter().filter(|(_, o)| *o == Outcome::Conflict) {
            let (kind, key, version) = name(fact);
            tracing::error!(
                kind,
                key,
                version,
                "same version with other content: the first stays in force, the other \
                is kept beside it; ask the sender for a higher version"
            );
        }
        Ok(outcomes)
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
        let outcomes = self.take(file.facts).await?;
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

    async fn take_one(&self, fact: Fact) -> Result<Applied, SinkError> {
        let outcomes = self.take(vec![fact]).await.map_err(|e| SinkError::Unavailable(e.to_string()))?;
        match outcomes.first() {
            Some(Outcome::Applied) => Ok(Applied::Stored),
            Some(Outcome::Stale { .. }) => Ok(Applied::Older),
            Some(Outcome::Conflict) => Err(SinkError::Invalid(vec![FieldError {
                field: "version".into(),
                message: "this version is known with other content; both are kept, the first stays in force: send a \
                    higher version"
                    .into(),
            }])),
            Some(Outcome::Duplicate) | None => Ok(Applied::Unchanged),
        }
    }

    /// Reads and keeps one fact given as JSON.
    ///
    /// # Errors
    /// [`SinkError::Invalid`] names the fields, [`SinkError::Unavailable`] means the store refuses now.
    pub async fn take_json(&self, kind: FactKind, item: &Value) -> Result<Applied, SinkError> {
        let bytes = item.to_string();
        let fact = match kind {
            FactKind::Declaration => noted(Declaration::from_json(bytes.as_bytes()))?.map(Fact::Declaration),
            FactKind::Booking => noted(Booking::from_json(bytes.as_bytes()))?.map(Fact::Booking),
        };
        match fact {
            Some(fact) => self.take_one(fact).await,
            None => Ok(Applied::Unchanged),
        }
    }
}

/// What a JSON fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// A declaration.
    Declaration,
    /// A booking.
    Booking,
}

fn name(fact: &Fact) -> (&'static str, String, i64) {
    match fact {
        Fact::Declaration(d) => ("declaration", d.key().to_string(), d.version),
        Fact::Booking(b) => ("booking", b.id.clone(), b.version),
    }
}

fn noted<T>(parsed: Result<Parsed<T>, MessageError>) -> Result<Option<T>, SinkError> {
    match parsed {
        Ok(parsed) => {
            for note in &parsed.notes {
                tracing::warn!("message from the clearance side: {note}");
            }
            Ok(Some(parsed.value))
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
    fn declaration(&self, item: Value) -> BoxFuture<'_, Result<Applied, SinkError>> {
        Box::pin(async move { self.take_json(FactKind::Declaration, &item).await })
    }

    fn booking(&self, item: Value) -> BoxFuture<'_, Result<Applied, SinkError>> {
        Box::pin(async move { self.take_json(FactKind::Booking, &item).await })
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
