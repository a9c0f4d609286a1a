//! A store of objects outside the box, in which clips outlive it: S3-compatible, or a folder. The agent writes it, the desk reads
//! it. What lies there under which name is `clip.rs`; when what is sent, `agent/uploader.rs`.

pub mod clip;
mod line;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, Error, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::sync::Semaphore;

use crate::config::{ObjectsConfig, ObjectsPlace};
use line::{Line, Pace};

/// Part of a large object: the least that S3 takes, and all of one size, which some stores ask for.
pub const PART_BYTES: usize = 5 << 20;
/// A read that takes longer is given up.
const READ: Duration = Duration::from_secs(30);
/// A write into a folder that takes longer is given up. Of a bucket the line knows when it is dead.
const WRITE: Duration = Duration::from_secs(120);
/// What is done at one folder at once, by whomever in this process. A share whose server is gone never answers, and nothing
/// ends the thread that asked: so many may hang, and not those that everything else needs.
const AT_ONCE: usize = 4;
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
    folder: Option<Folder>,
}

#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    /// The same for all that is opened at this folder: what hangs outlives it.
    gate: Arc<Semaphore>,
}

impl Folder {
    fn new(dir: PathBuf) -> Self {
        static GATES: LazyLock<Mutex<HashMap<PathBuf, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(dir.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        Self { gate: Arc::clone(gate), dir }
    }
}

impl Objects {
    /// Opens the store; of S3 nothing is asked yet. `bytes_per_s`: what may be sent.
    ///
    /// # Errors
    /// When keys, authority or folder are not there.
    pub async fn open(config: &ObjectsConfig, bytes_per_s: Option<u64>) -> Result<Self, ObjectsError> {
        let (place, config) = (config.url.clone(), config.clone());
        let folder = match config.place() {
            Ok(ObjectsPlace::Folder(dir)) => Some(Folder::new(dir)),
            _ => None,
        };
        let opened = blocking(move || Self::opened(&config, bytes_per_s));
        in_time(folder.as_ref(), READ, opened).await.ok_or_else(|| silent(&place))?
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
                Ok(Self { store: Arc::new(store), prefix, place, pace, folder: Some(Folder::new(dir)) })
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

    /// What work needs that goes on alone.
    fn at(&self, name: &str) -> (Arc<dyn ObjectStore>, Path) {
        (Arc::clone(&self.store), Path::from(format!("{}/{name}", self.prefix)))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn has(&self, name: &str) -> Result<bool, ObjectsError> {
        let (store, path) = self.at(name);
        Ok(self.ask(async move { store.head(&path).await }).await?.is_some())
    }

    /// A small object as a whole; `None`: it is not there.
    ///
    /// # Errors
    /// When the store cannot be asked, or the object has more than `limit` bytes.
    pub async fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, ObjectsError> {
        let (store, path) = self.at(name);
        let read = async move {
            let result = store.get(&path).await?;
            if result.meta.size > limit { Ok(None) } else { result.bytes().await.map(Some) }
        };
        let too_large = || ObjectsError::TooLarge(self.place.clone(), name.to_owned(), limit);
        self.ask(read).await?.map(|bytes| bytes.ok_or_else(too_large)).transpose()
    }

    /// Some bytes of an object; fewer where it ends before; `None`: it is not there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, ObjectsError> {
        let (store, path) = self.at(name);
        self.ask(async move { store.get_range(&path, range).await }).await
    }

    /// Names of the objects in a folder, `limit` at most, in no order.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn names(&self, folder: &str, limit: usize) -> Result<Vec<String>, ObjectsError> {
        let (store, prefix) = self.at(folder);
        let all = async move { store.list(Some(&prefix)).take(limit).try_collect::<Vec<_>>().await };
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
        let (store, path) = self.at(name);
        self.write(async move { store.put(&path, bytes.into()).await.map(drop) }).await
    }

    /// Begins an object that is written in parts of [`PART_BYTES`]; it is there when it is complete.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn begin(&self, name: &str) -> Result<Parts<'_>, ObjectsError> {
        self.there().await?;
        let (store, path) = self.at(name);
        let upload = self.write(async move { store.put_multipart(&path).await }).await?;
        Ok(Parts { objects: self, upload: Arc::new(tokio::sync::Mutex::new(upload)) })
    }

    /// A folder that was taken away, which may be a disk, is no empty one, and is not made anew on the disk below; a bucket
    /// says so itself.
    async fn there(&self) -> Result<(), ObjectsError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let dir = folder.dir.clone();
        let there = in_time(Some(folder), READ, blocking(move || dir.is_dir())).await;
        if there.ok_or_else(|| silent(&self.place))? { Ok(()) } else { Err(ObjectsError::Missing(self.place.clone())) }
    }

    /// `None` for what is not there, though the store is.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Option<T>, ObjectsError> {
        let found = async {
            match work.await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        let found = self.within(READ, found).await?;
        if found.is_none() {
            self.there().await?;
        }
        Ok(found)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, ObjectsError> {
        self.within(if self.folder.is_some() { WRITE } else { Duration::MAX }, work).await
    }

    async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, ObjectsError> {
        let done = in_time(self.folder.as_ref(), limit, work).await;
        done.ok_or_else(|| silent(&self.place))?.map_err(|e| explained(&self.place, &e))
    }
}

/// An object on its way.
#[derive(Debug)]
pub struct Parts<'a> {
    objects: &'a Objects,
    upload: Arc<tokio::sync::Mutex<Box<dyn MultipartUpload>>>,
}

impl Parts<'_> {
    /// The next part.
    ///
    /// # Errors
    /// When the store does not take it; nothing of the object stays then, if the store can still be told.
    pub async fn put(&mut self, bytes: Bytes) -> Result<(), ObjectsError> {
        self.objects.pace.take(bytes.len()).await;
        let upload = Arc::clone(&self.upload);
        let part = async move {
            let part = upload.lock().await.put_part(bytes.into());
            part.await
        };
        let done = self.objects.write(part).await;
        self.checked(done).await
    }

    /// All parts are there.
    ///
    /// # Errors
    /// As [`Parts::put`].
    pub async fn complete(self) -> Result<(), ObjectsError> {
        let upload = Arc::clone(&self.upload);
        let done = self.objects.write(async move { upload.lock().await.complete().await.map(drop) }).await;
        self.checked(done).await
    }

    /// Takes back what was sent.
    pub async fn abort(self) {
        self.take_back().await;
    }

    async fn take_back(&self) {
        let upload = Arc::clone(&self.upload);
        // What stays is for the bucket's own clean-up.
        let _ = self.objects.within(READ, async move { upload.lock().await.abort().await }).await;
    }

    async fn checked(&self, done: Result<(), ObjectsError>) -> Result<(), ObjectsError> {
        if done.is_err() {
            self.take_back().await;
        }
        done
    }
}

/// `None`: not done within `limit`. At a folder it goes on alone then, and nobody else gets its place before it is done.
async fn in_time<T: Send + 'static>(
    folder: Option<&Folder>,
    limit: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let Some(folder) = folder else { return tokio::time::timeout(limit, work).await.ok() };
    let apart = async {
        let place = Arc::clone(&folder.gate).acquire_owned().await.expect("a gate is never closed");
        let work = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        work.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    };
    tokio::time::timeout(limit, apart).await.ok()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_hangs_leaves_the_threads_that_others_need() {
        let (answer, asked) = std::sync::mpsc::channel::<()>();
        let asked = Arc::new(Mutex::new(asked));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(AT_ONCE + 1).build().unwrap();
        let try_it = |limit_ms| {
            let asked = Arc::clone(&asked);
            // Ends when the share answers, which is when nobody is left to send.
            let hang = blocking(move || asked.lock().unwrap().recv().unwrap_or(()));
            // Opened anew each time, as by somebody who tries again and again.
            async move { in_time(Some(&Folder::new("/srv/hangs".into())), Duration::from_millis(limit_ms), hang).await }
        };
        runtime.block_on(async {
            for _ in 0..3 * AT_ONCE {
                assert_eq!(try_it(20).await, None);
            }
            let other = tokio::time::timeout(Duration::from_secs(5), blocking(|| ())).await;
            assert!(other.is_ok(), "a thread is left");
            drop(answer);
            assert_eq!(try_it(5000).await, Some(()), "a share that is back is used again");
        });
    }
}
