//! Who may see which clip of a camera with privacy masks, and the making of masked ones: one at a time and below everything
//! else on the processor, kept for a while for players that ask for parts, within bounds on the disk.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::masked::{self, Masked};
use super::{ClipPlan, Span};
use crate::camera::{CameraId, can_recode};
use crate::clock::{MonoMillis, UtcMillis, mono_now};
use crate::config::{AreaKind, CameraConfig};
use crate::geometry::Polygon;

/// The longest masked clip, milliseconds: it takes about as long to make as a machine needs to decode and encode it.
pub const MAX_MASKED_MS: i64 = 600_000;
/// Who waits while another is made; the next is sent away.
const MAX_WAITING: usize = 4;
/// Kept for players that ask for parts.
const MAX_KEPT: usize = 4;
/// Of a process's niceness, which is 0: what is left over by analysis.
const NICENESS: i32 = 15;
/// Views of originals that are not written down again, and for how long.
const MAX_VIEWS: usize = 64;
const VIEW_MS: i64 = 600_000;

/// Why there is no masked clip.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// Others wait already.
    #[error("other masked clips are being made; ask again in some seconds")]
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

/// See the module.
pub struct MaskDesk {
    // injected
    dir: PathBuf,
    /// Bytes of the disk that are for events and not for copies.
    reserve_bytes: u64,
    masks: HashMap<CameraId, Vec<Polygon>>,
    // own state
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    made: AtomicU64,
    kept: Mutex<VecDeque<(String, Arc<Masked>)>>,
    views: Mutex<VecDeque<(View, MonoMillis)>>,
}

/// Takes one out of the count of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the thread that nobody wants it any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The privacy masks of a camera, fractions of the picture.
#[must_use]
pub fn privacy_masks(camera: &CameraConfig) -> Vec<Polygon> {
    let masks = camera.areas.iter().filter(|a| a.kind == AreaKind::PrivacyMask);
    masks.map(|a| a.polygon.clone()).collect()
}

impl MaskDesk {
    /// Makes copies in `dir`, which it empties: what a last run left there is nobody's.
    #[must_use]
    pub fn new(dir: PathBuf, reserve_bytes: u64, cameras: &[CameraConfig]) -> Self {
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "masked clips of the last run cannot be removed");
        }
        let masks = cameras.iter().map(|c| (c.id.clone(), privacy_masks(c))).filter(|(_, m)| !m.is_empty());
        let masks: HashMap<_, _> = masks.collect();
        if !masks.is_empty() && !can_recode() {
            tracing::warn!(
                "clips of cameras with privacy masks cannot be made: x264enc of gstreamer1.0-plugins-ugly is missing"
            );
        }
        Self {
            dir,
            reserve_bytes,
            masks,
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::default(),
            made: AtomicU64::default(),
            kept: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// Whether something of this camera's picture is not for everybody.
    #[must_use]
    pub fn masks(&self, camera: &CameraId) -> bool {
        self.masks.contains_key(camera)
    }

    /// Whether this view was noted a short while ago: a player asks for one clip in many parts.
    #[must_use]
    pub fn is_noted(&self, view: &View) -> bool {
        let now = mono_now();
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|(_, at)| now.since(*at) < VIEW_MS);
        views.iter().any(|(v, _)| v == view)
    }

    /// It is written down now.
    pub fn noted(&self, view: View) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.push_back((view, mono_now()));
        if views.len() > MAX_VIEWS {
            views.pop_front();
        }
    }

    /// The masked copy of a clip; made now, or a short while ago.
    ///
    /// # Errors
    /// When too many wait, or it cannot be made.
    pub async fn clip(&self, camera: &CameraId, original: ClipPlan) -> Result<Arc<Masked>, MaskError> {
        let masks = self.masks.get(camera).cloned().unwrap_or_default();
        let key = key(&original, &masks);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) > MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(MaskError::Busy);
        }
        let _waiting = Waiting(&self.waiting);
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        self.forget(MAX_KEPT - 1);
        let mut made = self.make(original, masks).await.map_err(|e| MaskError::Failed(e.to_string()))?;
        made.plan.etag = key.chars().take(32).collect();
        let made = Arc::new(made);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push_back((key, Arc::clone(&made)));
        Ok(made)
    }

    fn known(&self, key: &str) -> Option<Arc<Masked>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(k, _)| k == key).map(|(_, made)| Arc::clone(made))
    }

    /// Down to `count`, the oldest first, and to half of what one copy may have: the new one has its room then.
    fn forget(&self, count: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |kept: &VecDeque<(String, Arc<Masked>)>| kept.iter().map(|(_, m)| m.plan.bytes).sum::<u64>();
        while kept.len() > count || bytes(&kept) > masked::MAX_BYTES / 2 {
            kept.pop_front();
        }
    }

    async fn make(&self, original: ClipPlan, masks: Vec<Polygon>) -> io::Result<Masked> {
        let folder = self.dir.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let (flag, dir, reserve) = (Arc::clone(&wanted.0), self.dir.clone(), self.reserve_bytes);
        let (done, result) = tokio::sync::oneshot::channel();
        let work = move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::warn!(%error, "a masked clip is made with the priority of everything else");
            }
            let go_on = || room(&dir, reserve).and_then(|()| still_wanted(&flag));
            // Nobody there any more: the copy goes at once.
            drop(done.send(masked::make(&original, &masks, &folder, &go_on)));
        };
        std::fs::create_dir_all(&self.dir)?;
        std::thread::Builder::new().name("mask".into()).spawn(work)?;
        let made = result.await.unwrap_or_else(|_| Err(io::Error::other("the thread that makes it ended badly")));
        drop(wanted);
        made
    }
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
    if flag.load(Ordering::Relaxed) { Ok(()) } else { Err(io::Error::other("nobody waits for it any more")) }
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
