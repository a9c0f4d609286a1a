//! Evidence in a running agent: the chain checked at start, its head signed and published now and then, and requests for
//! evidence taken. Without a usable key the box goes on and says so; events are still chained.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::utc_now;
use crate::evidence::custody;
use crate::evidence::keys::{PublicKey, Signature};
use crate::evidence::request::Request;
use crate::evidence::signer::Signer;
use crate::ids::IdSource;
use crate::mqtt::Topics;
use crate::store::{Archive, ChainCheck, LANE_CRITICAL, NewNotice, Store, StoreError};
use crate::telemetry::health::{Health, Level};

/// Entries checked at start; the whole chain is checked by `gatewatch evidence check`.
const TAIL: i64 = 10_000;
/// How often requests are looked for.
const LOOK: Duration = Duration::from_millis(500);
const PART: &str = "evidence";

/// What the agent holds of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Evidence {
    store: Store,
    topics: Topics,
    health: Arc<Health>,
    signer: Option<Arc<Signer>>,
}

impl Evidence {
    /// Checks the end of the chain, takes up the key, publishes the head.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn start(store: Store, topics: Topics, health: Arc<Health>) -> Result<Self, StoreError> {
        let mut this = Self { store, topics, health, signer: None };
        this.check_tail().await?;
        match Signer::start(this.store.clone(), this.topics.chain()).await {
            Ok(signer) => {
                if signer.unvouched() {
                    let id = signer.public().id();
                    tracing::error!(
                        key = id,
                        "the box's key was lost or replaced: no earlier key vouches for the one in force"
                    );
                    this.alert("key_lost", json!({"key": signer.public()})).await?;
                }
                this.signer = Some(Arc::new(signer));
            }
            Err(error) => {
                this.health.set(PART, Level::Degraded, format!("nothing can be signed: {error}"));
                tracing::error!(%error, "the box cannot sign its chain");
                this.alert("not_signing", json!({"reason": error.to_string()})).await?;
            }
        }
        this.publish().await;
        Ok(this)
    }

    /// What the birth message says: the public key, and where the chain ends.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn birth(&self) -> Result<Value, StoreError> {
        let last = self.store.chain_last().await?;
        let key = self.signer.as_ref().map(|s| s.public());
        Ok(json!({"key_id": key.map(|k| k.id()), "public_key": key.map(|k| k.to_pem()), "chain": last}))
    }

    /// Signs a text with the box's key; `None` while it cannot sign.
    #[must_use]
    pub fn sign(&self, text: &str) -> Option<(PublicKey, Signature)> {
        self.signer.as_ref().map(|signer| signer.sign(text))
    }

    async fn check_tail(&self) -> Result<(), StoreError> {
        let mut archive = Archive::open(self.store.dir()).await?;
        let last = archive.last_n().await?;
        let found = archive.check_chain(last - TAIL).await?;
        archive.close().await?;
        if found.faults.is_empty() {
            self.health.set(PART, Level::Ok, format!("chain whole up to entry {last}"));
            tracing::info!(entries = found.entries, last, "the end of the chain is whole");
            return Ok(());
        }
        self.broken(&found).await
    }

    /// The chain stays as it is, for those who must find out what happened; new entries continue it.
    async fn broken(&self, found: &ChainCheck) -> Result<(), StoreError> {
        for fault in &found.faults {
            tracing::error!(fault, "the chain of evidence is broken");
        }
        self.health.set(PART, Level::Degraded, format!("the chain is broken: {}", found.faults[0]));
        let last = found.last.map(|(n, sha256)| json!({"n": n, "sha256": sha256}));
        self.alert("chain_broken", json!({"faults": found.faults, "last": last})).await
    }

    async fn alert(&self, what: &str, data: Value) -> Result<(), StoreError> {
        let now = utc_now();
        let notice = NewNotice {
            id: IdSource::random().next_id(now).to_string(),
            revision: 1,
            kind: format!("gatewatch.alert.{what}.v1"),
            subject: "chain".into(),
            severity: 4,
            at: now,
            open: false,
            topic: self.topics.alert(),
            lane: LANE_CRITICAL,
            data,
        };
        self.store.record_notices(vec![notice]).await.map(|_| ())
    }

    /// Writes into the chain that somebody asked for something, and signs its end.
    ///
    /// # Errors
    /// A sentence for technicians: why that cannot be done.
    pub async fn note(&self, request: &Request) -> Result<(), String> {
        let Some(signer) = &self.signer else { return Err("the box has no key that it can use".into()) };
        signer.handle(request).await.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Publishes the head of the chain, if it has grown.
    pub async fn publish(&self) {
        let Some(signer) = &self.signer else { return };
        match signer.publish().await {
            Ok(Some(head)) => tracing::debug!(n = head.head.n, "head of the chain published"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the head of the chain could not be published"),
        }
    }

    /// Takes requests and publishes heads until `stop`.
    pub async fn tend(self, publish_every: Duration, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let first = tokio::time::Instant::now() + publish_every;
        let mut publish = tokio::time::interval_at(first, publish_every);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {
                    if let Some(signer) = &self.signer
                        && custody::serve_waiting(signer, self.store.dir()).await > 0
                    {
                        self.publish().await;
                    }
                }
                _ = publish.tick() => self.publish().await,
            }
        }
    }
}
