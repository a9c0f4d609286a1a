//! The box's signer: which key is in force, how it came into force, and what is done with it. One at a time, by whoever has
//! the store open. Key files are in `keys.rs`, the texts in `statement.rs`.

use std::sync::{Arc, PoisonError, RwLock};

use super::chain::{Entry, Kind};
use super::keys::{BoxKey, KeyError, KeyFolder, PublicKey, Signature};
use super::request::{Action, Request, Who};
use super::statement::{KeyItem, SignedHead};
use crate::clock::utc_now;
use crate::store::{Store, StoreError, remember_head};

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request itself is wrong.
    #[error("{0}")]
    Request(String),
}

/// Signs for the box.
#[derive(Debug)]
pub struct Signer {
    // injected
    store: Store,
    folder: KeyFolder,
    /// Where heads are published.
    topic: String,
    // own state
    key: RwLock<Arc<BoxKey>>,
    /// The key before this one was lost, so nobody vouches for the one in force.
    unvouched: bool,
}

impl Signer {
    /// Takes up the key of the store's folder; makes it at the first start. A rotation that was cut off is ended or undone. A key
    /// that was lost is replaced by a new one, which the chain then says.
    ///
    /// # Errors
    /// When the key file or the store cannot be used.
    pub async fn start(store: Store, topic: String) -> Result<Self, SignError> {
        let folder = KeyFolder::of_store(store.dir());
        let known = store.chain_keys().await?.last().map(|k| k.key);
        // The hand-over is in the chain before the file takes its place.
        if let Some(next) = folder.next()? {
            if Some(next.public()) == known { folder.adopt_next()? } else { folder.drop_next()? }
        }
        let current = folder.current()?;
        let in_force = current.as_ref().map(BoxKey::public);
        let unvouched = known.is_some() && in_force != known;
        let key = match current {
            Some(key) if Some(key.public()) == known => key,
            Some(key) => {
                record_first(&store, &key, known).await?;
                key
            }
            None => {
                let key = folder.make_next()?;
                record_first(&store, &key, known).await?;
                folder.adopt_next()?;
                key
            }
        };
        Ok(Self { store, folder, topic, key: RwLock::new(Arc::new(key)), unvouched })
    }

    fn key(&self) -> Arc<BoxKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public half of the key in force.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key().public()
    }

    /// Signs a text whose first line says what it is.
    #[must_use]
    pub fn sign(&self, text: &str) -> (PublicKey, Signature) {
        let key = self.key();
        (key.public(), key.sign(text))
    }

    /// The key before this one was lost.
    #[must_use]
    pub fn unvouched(&self) -> bool {
        self.unvouched
    }

    /// Signs and publishes the end of the chain, if there is news.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn publish(&self) -> Result<Option<SignedHead>, SignError> {
        let head = self.store.publish_head(&self.key(), &self.topic).await?;
        if let Some(head) = &head {
            remember_head(&self.store, head).await?;
        }
        Ok(head)
    }

    /// Writes a request into the chain, does what it asks of the box, and signs the end of the chain. The same request again
    /// gives the same answer.
    ///
    /// # Errors
    /// When it is wrong, or the store or the key file cannot be used.
    pub async fn handle(&self, request: &Request) -> Result<(Entry, SignedHead), SignError> {
        request.check().map_err(SignError::Request)?;
        let item = serde_json::to_string(request).map_err(|e| SignError::Request(e.to_string()))?;
        let entry = self.store.chain_append_once(Kind::Custody, &request.id, &item).await?;
        let who = &request.who;
        if request.action == Action::RotateKey {
            let done =
                self.store.chain_keys().await?.last().is_some_and(|k| k.at >= entry.at && k.reason == who.reason);
            if !done {
                self.rotate(who).await?;
            }
        }
        let head = self.store.sign_head(&self.key()).await?;
        tracing::info!(n = entry.n, operator = who.operator, reason = who.reason, id = request.id, "evidence request");
        Ok((entry, head))
    }

    /// A new key, vouched for by the old one, whose private half is then gone.
    async fn rotate(&self, who: &Who) -> Result<(), SignError> {
        let old = self.key();
        let new = self.folder.make_next()?;
        let (at, origin) = (utc_now(), self.store.origin());
        let text = KeyItem::statement(&origin, new.public(), Some(old.public()), at);
        let item = KeyItem {
            key: new.public(),
            previous: Some(old.public()),
            at,
            operator: who.operator.clone(),
            reason: who.reason.clone(),
            signature: new.sign(&text),
            previous_signature: Some(old.sign(&text)),
        };
        append_key(&self.store, &item).await?;
        self.folder.adopt_next()?;
        tracing::warn!(old = old.public().id(), new = new.public().id(), "the key of the box was changed");
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}

/// The first key, or one that takes over without the old one's word.
async fn record_first(store: &Store, key: &BoxKey, previous: Option<PublicKey>) -> Result<(), SignError> {
    let at = utc_now();
    let text = KeyItem::statement(&store.origin(), key.public(), previous, at);
    let reason = if previous.is_none() { "first start" } else { "the key file was lost or replaced" };
    let item = KeyItem {
        key: key.public(),
        previous,
        at,
        operator: "box".into(),
        reason: reason.into(),
        signature: key.sign(&text),
        previous_signature: None,
    };
    append_key(store, &item).await
}

async fn append_key(store: &Store, item: &KeyItem) -> Result<(), SignError> {
    let text = serde_json::to_string(item).map_err(|e| SignError::Request(e.to_string()))?;
    store.chain_append_once(Kind::Key, &item.key.id(), &text).await?;
    Ok(())
}
