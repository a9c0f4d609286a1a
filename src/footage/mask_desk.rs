//! Which cameras' video is for everybody, and the making of masked clips: one at a time and below everything else on the
//! processor, kept for a while for players that ask for parts, within bounds on the disk. Who may see an original is
//! decided by those who ask.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sha2::{Digest, Sha256};

use super::mask_history::MaskHistory;
use super::masked::{self, Masked};
use super::{ClipPlan, Span};
use crate::camera::{CameraId, can_recode};
use crate::clock::{MonoMillis, UtcMillis, mono_now, utc_now};
use crate::geometry::Polygon;

/// The longest masked clip, milliseconds: it takes about as long to make as a machine needs to decode and encode it.
pub const MAX_MASKED_MS: i64 = 600_000;
/// Who waits while another is made; the next is sent away.
const MAX_WAITING: usize = 4;
/// Kept for players that ask for parts.
const MAX_KEPT: usize = 4;
/// Bytes of all copies that people hold, beyond which none is begun: slow readers hold theirs however long they are
/// kept here. With the one being made it is at most half as much again, and with the one that nobody watches twice as much.
const MAX_HELD_BYTES: u64 = 2 * masked::MAX_BYTES;
/// Views of originals that are not written down again, and for how long.
const MAX_VIEWS: usize = 64;
const VIEW_MS: i64 = 600_000;

/// Why there is no masked clip.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// Others wait already, or have all the room that copies may take.
    #[error("other masked clips are being made or sent; ask again in some seconds")]
    Busy,
    /// It could not be made; the text is for the log and for technicians.
    #[error("{0}")]
    Failed(String),
}

/// One view of an original: who, why, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Name or number of the person.
    pub operator: String,
    /// For what.
    pub reason: String,
    /// Camera.
    pub camera: CameraId,
    /// Time asked.
    pub span: Span,
}

/// What of a camera's video is for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// All of it: the configuration has the camera, and no privacy mask of it is or was in force.
    Open,
    /// What its masks leave.
    Masked,
    /// Nothing: nobody knows what its masks were, since the configuration does not have the camera, or their history was lost.
    Unknown,
}

/// See the module.
pub struct MaskDesk {
    // injected
    dir: PathBuf,
    /// Bytes of the disk that are for events and not for copies.
    reserve_bytes: u64,
    /// Then and now.
    masks: Arc<MaskHistory>,
    // own state
    turn: tokio::sync::Mutex<()>,
    waiting: Arc<AtomicUsize>,
    made: AtomicU64,
    kept: Mutex<VecDeque<(String, Arc<Masked>)>>,
    /// Every copy that somebody may still hold, but for those that nobody watches: there is one of them at a time, and slow as
    /// its way to the store is, it takes no room from people.
    alive: Mutex<Vec<Weak<Masked>>>,
    views: Mutex<VecDeque<(View, MonoMillis)>>,
}

/// Takes one out of the count of those who wait.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the thread that the box stops.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl MaskDesk {
    /// Makes copies in `dir`, which it empties: what a last run left there is nobody's.
    #[must_use]
    pub fn new(dir: PathBuf, reserve_bytes: u64, masks: Arc<MaskHistory>) -> Self {
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "masked clips of the last run cannot be removed");
        }
        if masks.has_any() && !can_recode() {
            tracing::warn!(
                "clips of cameras with privacy masks cannot be made: x264enc of gstreamer1.0-plugins-ugly is missing"
            );
        }
        Self {
            dir,
            reserve_bytes,
            masks,
            turn: tokio::sync::Mutex::default(),
            waiting: Arc::default(),
            made: AtomicU64::default(),
            kept: Mutex::default(),
            alive: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// What is black in this camera's pictures of that time for everybody; `None` where nobody knows.
    #[must_use]
    pub fn masks(&self, camera: &CameraId, span: Span) -> Option<Vec<Polygon>> {
        self.masks.of(camera, span)
    }

    /// What of this camera's video of that time is for everybody.
    #[must_use]
    pub fn privacy(&self, camera: &CameraId, span: Span) -> Privacy {
        match self.masks(camera, span) {
            None => Privacy::Unknown,
            Some(masks) if masks.is_empty() => Privacy::Open,
            Some(_) => Privacy::Masked,
        }
    }

    /// Whether this view was noted a short while ago: a player asks for one clip in many parts.
    #[must_use]
    pub fn is_noted(&self, view: &View) -> bool {
        let now = mono_now();
        let mut views = lock(&self.views);
        views.retain(|(_, at)| now.since(*at) < VIEW_MS);
        views.iter().any(|(v, _)| v == view)
    }

    /// It is written down now.
    pub fn noted(&self, view: View) {
        let mut views = lock(&self.views);
        views.push_back((view, mono_now()));
        if views.len() > MAX_VIEWS {
            views.pop_front();
        }
    }

    /// The masked copy of a clip; made now, or a short while ago. Once asked for it is made to its end and kept, also when
    /// the asker has lost patience: it takes minutes, and who asks again finds it.
    ///
    /// # Errors
    /// When too many wait or hold copies, or it cannot be made.
    pub async fn clip(self: &Arc<Self>, camera: &CameraId, original: ClipPlan) -> Result<Arc<Masked>, MaskError> {
        let span = Span { from: original.from, to: original.to };
        let masks = self.masks(camera, span).filter(|masks| !masks.is_empty());
        let masks = masks.ok_or_else(|| MaskError::Failed(format!("no masks of camera {camera} are configured")))?;
        let key = key(&original, &masks);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let waiting = Waiting(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::Relaxed) > MAX_WAITING {
            return Err(MaskError::Busy);
        }
        let this = Arc::clone(self);
        let work = tokio::spawn(async move {
            let _waiting = waiting;
            this.in_turn(key, original, masks).await
        });
        work.await.unwrap_or_else(|error| Err(MaskError::Failed(error.to_string())))
    }

    /// A masked copy for one reader that nobody watches: begun only when no other is being made, neither kept nor in the place of one that
    /// is, and gone with the reader. Whoever asks meanwhile waits until it is whole.
    ///
    /// # Errors
    /// When another one is being made, when readers hold too many, or when it cannot be made.
    pub async fn once(&self, original: ClipPlan, masks: Vec<Polygon>) -> Result<Arc<Masked>, MaskError> {
        let key = key(&original, &masks);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let _turn = self.turn.try_lock().map_err(|_| MaskError::Busy)?;
        self.fresh(&key, original, masks).await
    }

    async fn in_turn(&self, key: String, original: ClipPlan, masks: Vec<Polygon>) -> Result<Arc<Masked>, MaskError> {
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let gone = self.forget(MAX_KEPT - 1);
        // Removing files may take its time; the new copy has their room when it is done.
        let gone = tokio::task::spawn_blocking(move || drop(gone)).await;
        gone.map_err(|error| MaskError::Failed(error.to_string()))?;
        let made = self.fresh(&key, original, masks).await?;
        lock(&self.alive).push(Arc::downgrade(&made));
        lock(&self.kept).push_back((key, Arc::clone(&made)));
        Ok(made)
    }

    async fn fresh(&self, key: &str, original: ClipPlan, masks: Vec<Polygon>) -> Result<Arc<Masked>, MaskError> {
        if self.held_bytes() > MAX_HELD_BYTES {
            return Err(MaskError::Busy);
        }
        let mut made = self.make(original, masks).await.map_err(|e| MaskError::Failed(e.to_string()))?;
        // The same content is encoded to other bytes the next time.
        made.plan.etag = format!("{}-{}", key.get(..32).unwrap_or(key), utc_now().0);
        Ok(Arc::new(made))
    }

    /// Bytes of all copies that are kept or still read.
    fn held_bytes(&self) -> u64 {
        let mut alive = lock(&self.alive);
        alive.retain(|copy| copy.strong_count() > 0);
        alive.iter().filter_map(Weak::upgrade).map(|copy| copy.plan.bytes).sum()
    }

    fn known(&self, key: &str) -> Option<Arc<Masked>> {
        let kept = lock(&self.kept);
        kept.iter().find(|(k, _)| k == key).map(|(_, made)| Arc::clone(made))
    }

    /// Down to `count`, the oldest first, and to half of what one copy may have: the new one has its room then. Gives what
    /// is not kept any more, to be dropped where files may be removed.
    fn forget(&self, count: usize) -> Vec<Arc<Masked>> {
        let mut kept = lock(&self.kept);
        let bytes = |kept: &VecDeque<(String, Arc<Masked>)>| kept.iter().map(|(_, m)| m.plan.bytes).sum::<u64>();
        let mut gone = Vec::new();
        while kept.len() > count || bytes(&kept) > masked::MAX_BYTES / 2 {
            gone.extend(kept.pop_front().map(|(_, copy)| copy));
        }
        gone
    }

    async fn make(&self, original: ClipPlan, masks: Vec<Polygon>) -> io::Result<Masked> {
        let folder = self.dir.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let (flag, dir, reserve) = (Arc::clone(&wanted.0), self.dir.clone(), self.reserve_bytes);
        let (done, result) = tokio::sync::oneshot::channel();
        let work = move || {
            if let Err(error) = rustix::process::setpriority_process(None, masked::NICENESS) {
                tracing::warn!(%error, "a masked clip is made with the priority of everything else");
            }
            let go_on = || room(&dir, reserve).and_then(|()| still_wanted(&flag));
            // The box stops: the copy goes at once.
            drop(done.send(masked::make(&original, &masks, &folder, &go_on)));
        };
        std::fs::create_dir_all(&self.dir)?;
        std::thread::Builder::new().name("mask".into()).spawn(work)?;
        let made = result.await.unwrap_or_else(|_| Err(io::Error::other("the thread that makes it ended badly")));
        drop(wanted);
        made
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names content and masks.
fn key(original: &ClipPlan, masks: &[Polygon]) -> String {
    let mut sha = Sha256::new();
    sha.update(original.etag.as_bytes());
    for point in masks.iter().flat_map(|m| &m.0) {
        sha.update(point.x.to_be_bytes());
        sha.update(point.y.to_be_bytes());
    }
    hex::encode(sha.finalize())
}

fn still_wanted(flag: &AtomicBool) -> io::Result<()> {
    if flag.load(Ordering::Relaxed) { Ok(()) } else { Err(io::Error::other("the box stops")) }
}

fn room(dir: &std::path::Path, reserve: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(dir)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) > reserve {
        return Ok(());
    }
    let text = "the disk has no room for copies: what is left of it is for events";
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// The last of a time that may be asked for in one masked clip.
#[must_use]
pub fn last_of(span: Span) -> Span {
    Span { from: span.from.max(UtcMillis(span.to.0.saturating_sub(MAX_MASKED_MS))), to: span.to }
}
