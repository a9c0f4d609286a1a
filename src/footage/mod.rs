//! Footage: what the cameras send, on disk as they sent it, found again by time.
//!
//! ```text
//! ingest -> queue (bounded) -> writer (own thread) -> segment files     index: rows in store/footage
//!              full: newest dropped, counted           | opened, closed ->  ^   | asked by
//!                                                                           |   v
//!                                  quota: what goes, who may record --------'  clip: one MP4 of any time, any byte range
//! ```
//!
//! **Invariants**
//! * Pictures are never encoded anew, nothing of an access unit is left out, their order and times are the stream's.
//! * Ingest never waits for the disk or the index; the writer never waits for the index.
//! * A segment file is readable up to its last whole fragment, whenever the power fails. What is lost is what was not
//!   yet written (up to 1 s, or one group of reordered pictures) or not yet durable (up to 2 s more).
//! * What a hold lies on is not deleted; choosing and taking out of reach are one statement of the database.
//!
//! **Layout**: `{footage.dir}/{camera}/{UTC day}/{camera}_{UTC start}.mp4`.

mod boxes;
pub mod clip;
mod fragment;
pub mod gaps;
pub mod mask_desk;
pub mod mask_history;
pub mod masked;
mod nal;
mod notices;
mod params;
mod queue;
pub mod quota;
pub mod read;
pub mod reconcile;
mod segment;
mod state;
mod steward;
mod stills;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;

pub use clip::ClipPlan;
pub use gaps::Gap;
pub use notices::NoticeTarget;
pub use queue::Tap;
pub use quota::{Allowed, Looked, Quota};
pub use state::RecordStatus;

use crate::camera::{CameraId, CameraStatus, Frame, decode_stills};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::config::{CameraConfig, FootageConfig, StoreConfig};
use crate::event::message::{CaptureTimes, FootageRef};
use crate::store::{EventRange, Segment, Store, StoreError};
use boxes::TICKS_PER_S;
use state::RecordState;
use steward::ClockWatch;
use writer::Writer;

/// The longest clip, milliseconds.
pub const MAX_CLIP_MS: i64 = 6 * 3_600_000;

/// The recorder of a box. What it gives to cameras it does not keep: writers end when their cameras do.
pub struct Footage {
    store: Store,
    root: PathBuf,
    config: FootageConfig,
    states: Vec<Arc<RecordState>>,
    /// What the last look at the room found; `None` = it could not, or there was none yet.
    looked: std::sync::Mutex<Option<Looked>>,
    clock: std::sync::Mutex<ClockWatch>,
    writers: std::sync::Mutex<Vec<JoinHandle<()>>>,
    index: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Files without rows are still being taken in.
    reading: Arc<AtomicBool>,
    /// Why they were not.
    unread: Arc<OnceLock<String>>,
    /// Folders that could not be read at the start, and why.
    unreadable: Vec<String>,
}

/// Where ingest gives the units of each recorded camera.
pub type Taps = HashMap<CameraId, Arc<Tap>>;

/// Footage of a time, as the index has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// Camera.
    pub camera: CameraId,
    /// What was asked.
    pub asked: Span,
    /// First and last picture found, `null` when there is none.
    pub found: Option<Span>,
    /// Nothing is missing of what was asked.
    pub complete: bool,
    /// More is still to come.
    pub growing: bool,
    /// What is missing, and why.
    pub gaps: Vec<Gap>,
    /// Files, in order.
    pub segments: Vec<Segment>,
}

/// A time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// From.
    pub from: UtcMillis,
    /// To.
    pub to: UtcMillis,
}

/// The folder of footage that a configuration means.
#[must_use]
pub fn folder(config: &FootageConfig, store: &StoreConfig) -> PathBuf {
    config.dir.clone().unwrap_or_else(|| store.dir.join("footage"))
}

/// Whether a camera is recorded.
#[must_use]
pub fn is_recorded(config: &FootageConfig, camera: &CameraConfig) -> bool {
    config.record && camera.record
}

/// What of a camera's footage belongs to an event.
#[must_use]
pub fn of_event(config: &FootageConfig, camera: &CameraId, capture: &CaptureTimes) -> FootageRef {
    let last = capture.end.unwrap_or(capture.best).max(capture.start);
    FootageRef {
        camera: camera.clone(),
        from: capture.start.plus_ms(-i64::from(config.pre_roll_s) * 1000),
        to: last.plus_ms(i64::from(config.post_roll_s) * 1000),
    }
}

impl Footage {
    /// Reconciles index and files, and starts a writer for each camera of `cameras`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When folder or database cannot be used.
    pub async fn start(
        store: Store,
        root: PathBuf,
        config: FootageConfig,
        cameras: &[CameraId],
    ) -> Result<(Arc<Self>, Taps), StoreError> {
        std::fs::create_dir_all(&root).map_err(|e| StoreError::io("create", &root, e))?;
        let started = crate::clock::precise_now();
        let found = reconcile::reconcile(&store, &root, utc_now()).await?;
        let took_ms = (crate::clock::precise_now() - started).as_millis();
        tracing::info!(
            rows = found.rows,
            files = found.files,
            completed = found.completed,
            empty = found.empty,
            damaged = found.damaged,
            missing = found.missing,
            orphans = found.orphans.len(),
            unreadable = found.unreadable.len(),
            took_ms,
            "footage open"
        );
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let (mut states, mut writers, mut taps) = (Vec::new(), Vec::new(), Taps::new());
        for camera in cameras {
            let (tap, units, dropped) = queue::queue(queue::MAX_BYTES);
            let state = Arc::new(RecordState::new(camera.clone(), dropped));
            let ended = store.footage_until(camera).await?;
            let writer = Writer {
                camera: camera.clone(),
                root: root.clone(),
                segment_ticks: i64::from(config.segment_s) * i64::from(TICKS_PER_S),
                state: Arc::clone(&state),
                work: writer::Work::after(ended),
                units,
                index: told.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("rec-{camera}"));
            let thread = thread.spawn(move || writer.run()).map_err(|e| StoreError::io("write into", &root, e))?;
            states.push(state);
            writers.push(thread);
            taps.insert(camera.clone(), Arc::new(tap));
        }
        drop(told);
        let (into, folder) = (store.clone(), root.clone());
        let reading = Arc::new(AtomicBool::new(!found.orphans.is_empty()));
        let unread = Arc::<OnceLock<String>>::default();
        let (read, why, orphans) = (Arc::clone(&reading), Arc::clone(&unread), found.orphans);
        let index = tokio::spawn(async move {
            let adopting = async {
                if let Err(error) = reconcile::adopt(&into, &folder, orphans).await {
                    tracing::error!(%error, "video files without index rows could not be taken in; the next start tries again");
                    why.get_or_init(|| error.to_string());
                }
                read.store(false, Ordering::Relaxed);
            };
            let keeping = async {
                while let Some(news) = heard.recv().await {
                    steward::index(&into, &news).await;
                }
            };
            tokio::join!(adopting, keeping);
        });
        let (writers, index) = (std::sync::Mutex::new(writers), tokio::sync::Mutex::new(Some(index)));
        let (looked, clock, unreadable) = (std::sync::Mutex::default(), std::sync::Mutex::default(), found.unreadable);
        let this = Self { store, root, config, states, looked, clock, writers, index, reading, unread, unreadable };
        Ok((Arc::new(this), taps))
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether files that the index did not know are still being read: what it lacks may be there.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Relaxed)
    }

    /// Whether a camera is recorded.
    #[must_use]
    pub fn records(&self, camera: &CameraId) -> bool {
        self.states.iter().any(|s| s.camera == *camera)
    }

    /// What is recorded of this camera comes by a stream of its own: its state is told with the recording's.
    pub fn follow(&self, camera: &CameraId, status: tokio::sync::watch::Receiver<CameraStatus>) {
        if let Some(state) = self.states.iter().find(|s| s.camera == *camera) {
            state.follow(status);
        }
    }

    /// How each recording stands.
    #[must_use]
    pub fn statuses(&self) -> Vec<RecordStatus> {
        self.states.iter().map(|s| s.status()).collect()
    }

    /// What of a camera's footage belongs to an event; `None` when the camera is not recorded.
    #[must_use]
    pub fn of_event(&self, camera: &CameraId, capture: &CaptureTimes) -> Option<FootageRef> {
        self.records(camera).then(|| of_event(&self.config, camera, capture))
    }

    /// What an event wants kept; `None` when no event of this id has footage here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn event_range(&self, id: &str) -> Result<Option<EventRange>, StoreError> {
        self.store.footage_event(id).await
    }

    /// One look at the room on the disk; see [`Quota::look`].
    ///
    /// # Errors
    /// When the database or the disk cannot be asked.
    pub async fn look(&self, now: UtcMillis) -> Result<Looked, StoreError> {
        let may_expire = self.may_expire(now);
        let quota = Quota { store: &self.store, root: &self.root, config: &self.config, may_expire };
        let looked = quota.look(now).await;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked.as_ref().ok().cloned();
        let looked = looked?;
        for state in &self.states {
            state.allow(match &looked.allowed {
                Allowed::All => true,
                Allowed::Only(cameras) => cameras.contains(&state.camera),
                Allowed::Nobody => false,
            });
        }
        Ok(looked)
    }

    /// Whether the clock tells how old video is: neither was it set ahead lately, nor is it doubted by the store.
    fn may_expire(&self, now: UtcMillis) -> bool {
        let steady = self.clock.lock().unwrap_or_else(PoisonError::into_inner).is_steady(now, mono_now());
        steady && self.store.may_forget(now)
    }

    /// What the last look found; `None` when it could not look, or has not yet.
    #[must_use]
    pub fn looked(&self) -> Option<Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there is of a camera between two times.
    ///
    /// # Errors
    /// When the database or a file that is being written cannot be read.
    pub async fn manifest(&self, camera: &CameraId, span: Span, now: UtcMillis) -> Result<Manifest, StoreError> {
        let mut segments = self.store.segments(camera, span.from, span.to).await?;
        let gone = self.store.footage_gone(camera, span.from, span.to).await?;
        let growing = span.to > now || segments.iter().any(|s| s.state == "writing");
        self.measure_open(&mut segments).await?;
        // The segment around its end may reach into the time only as far as told.
        segments.retain(|s| s.to >= span.from && s.pictures > 0);
        let gaps = gaps::gaps(&segments, &gone, span.from, span.to, growing);
        let found = segments.first().zip(segments.last()).map(|(first, last)| Span { from: first.from, to: last.to });
        let growing = gaps.last().is_some_and(|g| g.reason == "not_yet");
        Ok(Manifest { camera: camera.clone(), asked: span, found, complete: gaps.is_empty(), growing, gaps, segments })
    }

    /// What is in the files that are being written.
    async fn measure_open(&self, segments: &mut [Segment]) -> Result<(), StoreError> {
        let open: Vec<_> = segments.iter_mut().filter(|s| s.state == "writing").collect();
        for segment in open {
            let path = self.root.join(&segment.path);
            let read = tokio::task::spawn_blocking(move || read::segment(&path)).await;
            let read = read.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
            let Ok(map) = read else { continue };
            segment.bytes = map.whole_bytes;
            segment.pictures = map.fragments.iter().map(|f| f.pictures.len() as u64).sum();
            (segment.from, segment.to) = map.span().unwrap_or((segment.from, segment.to));
        }
        Ok(())
    }

    /// The clip of a manifest; `None` when there is no footage.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub async fn clip(&self, manifest: &Manifest) -> Result<Option<ClipPlan>, StoreError> {
        let (root, segments, span) = (self.root.clone(), manifest.segments.clone(), manifest.asked);
        let plan = tokio::task::spawn_blocking(move || clip::plan(&root, &segments, span.from, span.to));
        let plan = plan.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        plan.map_err(|e| StoreError::io("read the video in", &self.root, e))
    }

    /// At most `count` decoded keyframes of a manifest's time.
    ///
    /// # Errors
    /// A sentence for people: what could not be read or decoded.
    pub async fn stills(&self, manifest: &Manifest, count: usize) -> Result<Vec<Frame>, String> {
        let (root, segments, span) = (self.root.clone(), manifest.segments.clone(), manifest.asked);
        let camera = manifest.camera.clone();
        let decode = move || {
            let units = stills::keyframes(&root, &segments, (span.from, span.to), count).map_err(|e| e.to_string())?;
            decode_stills(&units, &camera).map_err(|e| e.to_string())
        };
        tokio::task::spawn_blocking(decode).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }

    /// Waits until every writer has ended and its last segment stands in the index. Their cameras must be stopped.
    pub async fn finish(&self) {
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || writers.into_iter().filter_map(|w| w.join().err()).count());
        if !matches!(joined.await, Ok(0)) {
            tracing::error!("a writer of footage ended badly");
        }
        if let Some(index) = self.index.lock().await.take()
            && index.await.is_err()
        {
            tracing::error!("the index of footage ended badly");
        }
    }
}
