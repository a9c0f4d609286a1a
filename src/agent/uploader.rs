//! Brings clips into the store of objects: of grave events once their time is over, and of everything that is held. One clip at a time,
//! one part of it in memory, no faster than configured, as everybody may have it: with privacy masks. Nobody waits for it. What is
//! done stands in the box's store, so after a power cut the clip that was on its way begins again, and no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::evidence::Evidence;
use crate::clock::{MonoMillis, mono_now, utc_now};
use crate::config::FootageStoreConfig;
use crate::evidence::chain::Sum;
use crate::evidence::statement::Origin;
use crate::footage::mask_desk::{MaskDesk, MaskError, Privacy};
use crate::footage::{ClipPlan, Footage, Gap, Manifest, Span};
use crate::mqtt::Backoff;
use crate::objects::clip::{self, ClipGap, ClipName, ClipNote, Digests};
use crate::objects::{Objects, ObjectsError, PART_BYTES};
use crate::store::{DueClip, Store, StoreError};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{CLIPS_FAILED, CLIPS_STORED_BYTES, CLIPS_WAITING};

/// Between two looks at what is due.
const EVERY: Duration = Duration::from_secs(5);
/// Waits after the store refused: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// After the end of a clip's time, milliseconds.
const SETTLE_MS: i64 = 2000;
/// Clips looked up at once.
const AT_ONCE: usize = 20;
/// A clip that cannot be made is tried again after this, milliseconds.
const ASIDE_MS: i64 = 600_000;
/// A clip whose last video is not complete this long after its end is taken as it is, milliseconds.
const PATIENCE_MS: i64 = 600_000;
const PART: &str = "clips";

/// See the module.
pub(super) struct Uploader {
    // injected
    pub store: Store,
    pub footage: Arc<Footage>,
    pub masks: Arc<MaskDesk>,
    pub evidence: Evidence,
    pub health: Arc<Health>,
    pub config: FootageStoreConfig,
    // own state
    /// Clips that could not be made, and until when they are left alone.
    pub aside: HashMap<ClipName, MonoMillis>,
    /// Clips that the store did not take, and how often: the others go first, or one that it never takes would keep them from it.
    pub not_taken: HashMap<ClipName, u32>,
    /// The store answered once.
    pub reached: bool,
}

/// Why a clip is not in the store now.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Objects(#[from] ObjectsError),
    #[error("{0}")]
    Store(#[from] StoreError),
    /// This clip alone.
    #[error("{0}")]
    Clip(String),
}

/// What became of one.
enum Became {
    Stored,
    /// There will never be one.
    Never(&'static str),
    /// Not yet.
    Later,
}

impl Uploader {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut failed = None;
        loop {
            let wait = match stop.run_until_cancelled(self.round()).await {
                None => return,
                Some(Ok((waiting, brought))) => {
                    backoff.reset();
                    failed = None;
                    self.say(waiting, None);
                    if brought { Duration::ZERO } else { EVERY }
                }
                Some(Err((waiting, error))) => {
                    let text = error.to_string();
                    if failed.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "clips do not reach the store; trying again");
                    }
                    self.say(waiting, Some(&text));
                    failed = Some(text);
                    backoff.wait()
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    fn say(&self, waiting: u64, failed: Option<&str>) {
        metrics::gauge!(CLIPS_WAITING).set(waiting as f64);
        let (level, text) = match (failed, self.aside.len()) {
            (Some(why), _) => (Level::Degraded, format!("{waiting} clips wait for the store: {why}")),
            (None, 0) => (Level::Ok, format!("{waiting} clips wait for the store")),
            (None, n) => (Level::Degraded, format!("{n} clips cannot be made; the log of the box says why")),
        };
        self.health.set(PART, level, text);
    }

    /// Deals with some of what is due. How many clips wait, and whether any was brought.
    async fn round(&mut self) -> Result<(u64, bool), (u64, Failed)> {
        let now = mono_now();
        self.aside.retain(|_, until| *until > now);
        let limit = AT_ONCE + self.aside.len() + self.not_taken.len();
        let due = self.store.due_clips(utc_now(), self.config.min_severity, SETTLE_MS, limit).await;
        let (due, waiting) = due.map_err(|e| (0, e.into()))?;
        let mut due: Vec<DueClip> = due.into_iter().filter(|d| !self.aside.contains_key(&d.name)).collect();
        due.sort_by_key(|d| self.not_taken.get(&d.name).copied());
        if due.is_empty() && self.reached {
            return Ok((waiting, false));
        }
        let objects = self.reach().await.map_err(|e| (waiting, e.into()))?;
        let mut brought = 0;
        for clip in due {
            let why_not = match self.bring(&objects, &clip).await {
                Ok(Became::Stored) => None,
                Ok(Became::Never(why)) => {
                    tracing::warn!(why, camera = %clip.camera, clip = clip.name.stem(), "there will be no clip in the store");
                    Some(why)
                }
                Ok(Became::Later) => continue,
                Err(Failed::Clip(why)) => {
                    tracing::error!(why, camera = %clip.camera, clip = clip.name.stem(), "a clip for the store cannot be made");
                    metrics::counter!(CLIPS_FAILED, "reason" => "clip").increment(1);
                    self.aside.insert(clip.name, MonoMillis(mono_now().0 + ASIDE_MS));
                    continue;
                }
                Err(error) => {
                    metrics::counter!(CLIPS_FAILED, "reason" => "store").increment(1);
                    *self.not_taken.entry(clip.name).or_default() += 1;
                    return Err((waiting - brought, error));
                }
            };
            self.not_taken.remove(&clip.name);
            self.store.clip_dealt_with(&clip.name, why_not).await.map_err(|e| (waiting - brought, e.into()))?;
            brought = waiting.min(brought + 1);
            metrics::gauge!(CLIPS_WAITING).set((waiting - brought) as f64);
        }
        Ok((waiting - brought, brought > 0))
    }

    /// The store. It is asked something at the first time, so that a wrong key is told before there is a clip.
    async fn reach(&mut self) -> Result<Objects, ObjectsError> {
        let objects = Objects::open(&self.config.objects(), Some(self.config.max_bytes_per_s))?;
        if !self.reached {
            objects.has("gatewatch").await?;
            self.reached = true;
        }
        Ok(objects)
    }

    async fn bring(&self, objects: &Objects, due: &DueClip) -> Result<Became, Failed> {
        let (name, camera) = (&due.name, &due.camera);
        let origin = self.store.origin();
        let folder = clip::folder(&origin.office, &origin.box_id, &camera.0, name.from);
        let stem = format!("{folder}/{}", name.stem());
        // The last run may have ended between the store's word and ours.
        if objects.has(&format!("{stem}.json")).await? {
            return Ok(Became::Stored);
        }
        let span = Span { from: name.from, to: name.to };
        let manifest = self.footage.manifest(camera, span, utc_now()).await?;
        if manifest.growing && utc_now().since(name.to) < PATIENCE_MS {
            return Ok(Became::Later);
        }
        // A file that cannot be read is this clip's trouble alone.
        let plan = self.footage.clip(&manifest).await.map_err(|e| Failed::Clip(e.to_string()))?;
        let Some(plan) = plan else { return Ok(Became::Never("no_footage")) };
        // As everybody gets it over HTTP.
        let given = Span { from: plan.from, to: plan.to };
        let (masks, copy) = match self.masks.privacy(camera, given) {
            Privacy::Unknown => return Ok(Became::Never("masks_unknown")),
            Privacy::Open => (None, None),
            Privacy::Masked => {
                let masks = self.masks.masks(camera, given).unwrap_or_default();
                match self.masks.clip(camera, plan.clone()).await {
                    Ok(copy) => (clip::masks_digest(&masks), Some(copy)),
                    Err(MaskError::Busy) => return Ok(Became::Later),
                    Err(MaskError::Failed(why)) => return Err(Failed::Clip(why)),
                }
            }
        };
        let plan = copy.as_ref().map_or(plan, |copy| copy.plan.clone());
        let digests = send(objects, &format!("{stem}.mp4"), Arc::new(plan.clone())).await?;
        let note = self.note(origin, due, &manifest, &plan, masks, digests);
        let text = serde_json::to_vec_pretty(&note).map_err(|e| Failed::Clip(e.to_string()))?;
        objects.put(&format!("{stem}.json"), text.into()).await?;
        metrics::counter!(CLIPS_STORED_BYTES).increment(note.bytes);
        tracing::info!(
            clip = stem,
            bytes = note.bytes,
            masked = note.masks.is_some(),
            place = objects.place(),
            "clip stored"
        );
        Ok(Became::Stored)
    }

    fn note(
        &self,
        origin: Origin,
        due: &DueClip,
        manifest: &Manifest,
        plan: &ClipPlan,
        masks: Option<Sum>,
        digests: Digests,
    ) -> ClipNote {
        let gap = |g: &Gap| ClipGap { from: g.from, to: g.to, reason: g.reason.clone() };
        let left_out = plan.left_out.iter();
        let left_out = left_out.map(|(from, to)| ClipGap { from: *from, to: *to, reason: "other_coding".into() });
        let (bytes, sha256, blocks) = digests.done();
        let mut note = ClipNote {
            origin,
            camera: due.camera.0.clone(),
            kind: due.name.kind,
            id: due.name.id.clone(),
            from: due.name.from,
            to: due.name.to,
            first: plan.from,
            last: plan.to,
            gaps: manifest.gaps.iter().map(gap).chain(left_out).collect(),
            masks,
            bytes,
            sha256,
            blocks,
            at: utc_now(),
            key: None,
            signature: None,
        };
        let signed = self.evidence.sign(&note.statement());
        (note.key, note.signature) = signed.map_or((None, None), |(key, signature)| (Some(key), Some(signature)));
        note
    }
}

/// Where a clip is read on.
#[derive(Default)]
struct Cursor {
    part: usize,
    rest: Vec<u8>,
    digests: Digests,
}

impl Cursor {
    /// The next [`PART_BYTES`], fewer at the end, none behind it. Reads the disk.
    fn next(&mut self, plan: &ClipPlan) -> std::io::Result<Bytes> {
        while self.rest.len() < PART_BYTES && self.part < plan.parts() {
            self.rest.extend(plan.read(self.part, &(0..plan.bytes))?);
            self.part += 1;
        }
        let rest = self.rest.split_off(self.rest.len().min(PART_BYTES));
        let bytes = std::mem::replace(&mut self.rest, rest);
        self.digests.add(&bytes);
        Ok(bytes.into())
    }
}

async fn send(objects: &Objects, name: &str, plan: Arc<ClipPlan>) -> Result<Digests, Failed> {
    let (mut cursor, first) = read(Cursor::default(), &plan).await?;
    if plan.bytes <= PART_BYTES as u64 {
        objects.put(name, first).await?;
        return Ok(cursor.digests);
    }
    let mut parts = objects.begin(name).await?;
    let mut bytes = first;
    while !bytes.is_empty() {
        parts.put(bytes).await?;
        (cursor, bytes) = match read(cursor, &plan).await {
            Ok(read) => read,
            Err(error) => {
                parts.abort().await;
                return Err(error);
            }
        };
    }
    parts.complete().await?;
    Ok(cursor.digests)
}

async fn read(mut cursor: Cursor, plan: &Arc<ClipPlan>) -> Result<(Cursor, Bytes), Failed> {
    let plan = Arc::clone(plan);
    let read = tokio::task::spawn_blocking(move || cursor.next(&plan).map(|bytes| (cursor, bytes))).await;
    let read = read.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    // A file that was deleted meanwhile, most likely: the next try says so.
    read.map_err(|e| Failed::Clip(e.to_string()))
}
