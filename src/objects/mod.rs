//! A store of objects outside the box, in which clips outlive it: S3-compatible, or a folder. The agent writes it, the desk reads
//! it. What lies there under which name is `clip.rs`; when what is sent, `agent/uploader.rs`.

pub mod clip;
mod line;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, Error, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};

use crate::config::{ObjectsConfig, ObjectsPlace};
use line::{Line, Pace};

/// Part of a large object: the least that S3 takes, and all of one size, which some stores ask for.
pub const PART_BYTES: usize = 5 << 20;
/// A read that takes longer is given up.
const READ: Duration = Duration::from_secs(30);
/// Characters of what a store answers that are worth showing.
const MAX_TEXT: usize = 200;

/// Why the store is of no use now. A sentence for technicians, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    /// The configuration cannot be used on this machine: key and why.
    #[error("{0}: {1}")]
    Configuration(&'static str, String),
    /// It knows us, or not, and does not let us.
    #[error("{0} refuses the access; check `access_key`, `secret_key` and what that key may do")]
    Refused(String),
    /// There is no such bucket or folder.
    #[error("{0} is not there; make the bucket or mount the folder, or correct `url`")]
    Missing(String),
    /// An object has more bytes than anything of ours.
    #[error("{0}: {1} has more than {2} bytes")]
    TooLarge(String, String, u64),
    /// Anything else.
    #[error("{0} does not do it: {1}; check `endpoint`, the network and the store itself")]
    Trouble(String, String),
}

/// The store in use.
#[derive(Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Below it lies everything.
    prefix: Path,
    /// As people call it.
    place: String,
    /// Of a folder; a line has its own.
    pace: Pace,
    folder: Option<PathBuf>,
}

impl Objects {
    /// Opens the store; of S3 nothing is asked yet. `bytes_per_s`: what may be sent.
    ///
    /// # Errors
    /// When keys, authority or folder are not there.
    pub async fn open(config: &ObjectsConfig, bytes_per_s: Option<u64>) -> Result<Self, ObjectsError> {
        let (place, config) = (config.url.clone(), config.clone());
        blocking(&place, move || Self::opened(&config, bytes_per_s)).await?
    }

    fn opened(config: &ObjectsConfig, bytes_per_s: Option<u64>) -> Result<Self, ObjectsError> {
        let bad = |key: &'static str| move |why: String| ObjectsError::Configuration(key, why);
        let place = config.url.clone();
        match config.place().map_err(bad("url"))? {
            ObjectsPlace::Folder(dir) => {
                // Never made here: of a disk that is not mounted that would fill the one below.
                if !dir.is_dir() {
                    return Err(ObjectsError::Missing(place));
                }
                let store = LocalFileSystem::new_with_prefix(&dir).map_err(|e| explained(&place, &e))?.with_fsync(true);
                let (prefix, pace) = (Path::default(), Pace::new(bytes_per_s));
                Ok(Self { store: Arc::new(store), prefix, place, pace, folder: Some(dir) })
            }
            ObjectsPlace::Bucket { bucket, prefix } => {
                let secret = |source: &crate::config::SecretSource, key| {
                    let value = source.resolve().map_err(bad(key))?;
                    value.ok_or_else(|| bad(key)("give `file` or `env`".to_owned()))
                };
                let line = Line::new(config.ca_file.as_deref(), Pace::new(bytes_per_s)).map_err(bad("ca_file"))?;
                // Who waits long and how often is decided by the callers.
                let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
                let retry = RetryConfig { backoff, max_retries: 1, retry_timeout: Duration::from_secs(10) };
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(config.region.as_deref().unwrap_or("us-east-1"))
                    .with_access_key_id(secret(&config.access_key, "access_key")?.expose())
                    .with_secret_access_key(secret(&config.secret_key, "secret_key")?.expose())
                    .with_allow_http(config.allow_http)
                    .with_retry(retry)
                    .with_http_connector(line);
                if let Some(endpoint) = &config.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let store = builder.build().map_err(|e| explained(&place, &e))?;
                let (prefix, pace) = (Path::from(prefix), Pace::new(None));
                Ok(Self { store: Arc::new(store), prefix, place, pace, folder: None })
            }
        }
    }

    /// As people call it.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn has(&self, name: &str) -> Result<bool, ObjectsError> {
        let path = self.path(name);
        Ok(self.ask(async { self.store.head(&path).await }).await?.is_some())
    }

    /// A small object as a whole; `None`: it is not there.
    ///
    /// # Errors
    /// When the store cannot be asked, or the object has more than `limit` bytes.
    pub async fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, ObjectsError> {
        let path = self.path(name);
        let Some(result) = self.ask(async { self.store.get(&path).await }).await? else { return Ok(None) };
        if result.meta.size > limit {
            return Err(ObjectsError::TooLarge(self.place.clone(), name.to_owned(), limit));
        }
        self.in_time(result.bytes()).await.map(Some)
    }

    /// Some bytes of an object; fewer where it ends before; `None`: it is not there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, ObjectsError> {
        let path = self.path(name);
        self.ask(async { self.store.get_range(&path, range).await }).await
    }

    /// Names of the objects in a folder, `limit` at most, in no order.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn names(&self, folder: &str, limit: usize) -> Result<Vec<String>, ObjectsError> {
        let prefix = self.path(folder);
        let all = self.store.list(Some(&prefix)).take(limit).try_collect::<Vec<_>>();
        let all = self.ask(all).await?.unwrap_or_default();
        if all.is_empty() {
            self.there().await?;
        }
        Ok(all.into_iter().filter_map(|o| o.location.filename().map(str::to_owned)).collect())
    }

    /// Writes an object of at most [`PART_BYTES`] in one go; it is there as a whole or not.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectsError> {
        self.pace.take(bytes.len()).await;
        self.there().await?;
        let done = self.store.put(&self.path(name), bytes.into()).await;
        done.map(drop).map_err(|e| explained(&self.place, &e))
    }

    /// Begins an object that is written in parts of [`PART_BYTES`]; it is there when it is complete.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn begin(&self, name: &str) -> Result<Parts<'_>, ObjectsError> {
        self.there().await?;
        let upload = self.store.put_multipart(&self.path(name)).await.map_err(|e| explained(&self.place, &e))?;
        Ok(Parts { objects: self, upload })
    }

    /// A folder that was taken away, which may be a disk, is no empty one, and is not made anew on the disk below; a bucket
    /// says so itself.
    async fn there(&self) -> Result<(), ObjectsError> {
        let Some(dir) = self.folder.clone() else { return Ok(()) };
        let there = blocking(&self.place, move || dir.is_dir()).await?;
        if there { Ok(()) } else { Err(ObjectsError::Missing(self.place.clone())) }
    }

    /// `None` for what is not there, though the store is.
    async fn ask<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, ObjectsError> {
        let found = async {
            match work.await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        let found = self.in_time(found).await?;
        if found.is_none() {
            self.there().await?;
        }
        Ok(found)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, ObjectsError> {
        let done = tokio::time::timeout(READ, work).await.map_err(|_| silent(&self.place))?;
        done.map_err(|e| explained(&self.place, &e))
    }
}

/// An object on its way.
#[derive(Debug)]
pub struct Parts<'a> {
    objects: &'a Objects,
    upload: Box<dyn MultipartUpload>,
}

impl Parts<'_> {
    /// The next part.
    ///
    /// # Errors
    /// When the store does not take it; nothing of the object stays then, if the store can still be told.
    pub async fn put(&mut self, bytes: Bytes) -> Result<(), ObjectsError> {
        self.objects.pace.take(bytes.len()).await;
        let done = self.upload.put_part(bytes.into()).await;
        self.checked(done).await
    }

    /// All parts are there.
    ///
    /// # Errors
    /// As [`Parts::put`].
    pub async fn complete(mut self) -> Result<(), ObjectsError> {
        let done = self.upload.complete().await.map(drop);
        self.checked(done).await
    }

    /// Takes back what was sent.
    pub async fn abort(mut self) {
        // What stays is for the bucket's own clean-up.
        let _ = tokio::time::timeout(READ, self.upload.abort()).await;
    }

    async fn checked(&mut self, done: Result<(), Error>) -> Result<(), ObjectsError> {
        if done.is_err() {
            let _ = tokio::time::timeout(READ, self.upload.abort()).await;
        }
        done.map_err(|e| explained(&self.objects.place, &e))
    }
}

/// What hangs where a share does not answer.
async fn blocking<T: Send + 'static>(
    place: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ObjectsError> {
    let done = tokio::time::timeout(READ, tokio::task::spawn_blocking(work)).await.map_err(|_| silent(place))?;
    Ok(done.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())))
}

fn silent(place: &str) -> ObjectsError {
    ObjectsError::Trouble(place.to_owned(), "no answer in time".to_owned())
}

fn explained(place: &str, error: &Error) -> ObjectsError {
    let place = place.to_owned();
    match error {
        Error::NotFound { .. } => ObjectsError::Missing(place),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ObjectsError::Refused(place),
        other => {
            let mut inner: &dyn std::error::Error = other;
            while let Some(source) = inner.source() {
                inner = source;
            }
            let text: String = inner.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            ObjectsError::Trouble(place, text.chars().take(MAX_TEXT).collect())
        }
    }
}
