//! Brings clips into the store of objects: of grave events once their time is over, and of everything that is held. One clip at a time,
//! one part of it in memory, no faster than configured, as everybody may have it: with privacy masks. Who asks for a masked clip waits
//! at most until the one that was begun for the store is made, never for its way there. What is done stands in the box's store, so
//! after a power cut the clip that was on its way begins again, and no other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::evidence::Evidence;
use crate::clock::{MonoMillis, mono_now, utc_now};
use crate::config::FootageStoreConfig;
use crate::evidence::chain::Sum;
use crate::footage::mask_desk::{MaskDesk, MaskError, Privacy};
use crate::footage::{ClipPlan, Footage, Gap, Manifest, Span};
use crate::geometry::Polygon;
use crate::mqtt::Backoff;
use crate::objects::clip::{self, ClipGap, ClipName, ClipNote, Digests};
use crate::objects::{Objects, ObjectsError, PART_BYTES};
use crate::store::{DueClip, Gone, Store, StoreError};
use crate::telemetry::health::{Health, Level};
use crate::telemetry::metrics::{CLIPS_FAILED, CLIPS_STORED_BYTES, CLIPS_WAITING};

/// Between two looks at what is due.
const EVERY: Duration = Duration::from_secs(5);
/// Waits after the store refused: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// After the end of a clip's time, milliseconds.
const SETTLE_MS: i64 = 2000;
/// Clips looked up at once, beside those that are left alone.
const AT_ONCE: usize = 20;
/// What is left alone is tried again after this, milliseconds.
const ASIDE_MS: i64 = 600_000;
/// A clip whose last video is not complete this long after its end is taken as it is, milliseconds.
const PATIENCE_MS: i64 = 600_000;
/// So many clips one after the other that the store does not take: it is the store.
const NOT_TAKEN: usize = 2;
/// Why there is no footage, where there will never be any again. All else may come back: a disk that is mounted, files that are read.
const GONE: [&str; 3] = ["expired", "quota", "reserve"];
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
    /// Clips that are left alone, why, and until when.
    pub aside: HashMap<ClipName, (Aside, MonoMillis)>,
    /// The store, since it answered and until it fails.
    pub objects: Option<Arc<Objects>>,
}

/// Why a clip is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// It cannot be made, or the store takes others and not this one: somebody should look.
    Fault,
    /// The store did not take it, and perhaps takes nothing now.
    Refused,
    /// Its footage is not there, perhaps for now.
    Lacking,
}

/// Why a clip is not in the store now.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Objects(#[from] ObjectsError),
    #[error("{0}")]
    Store(#[from] StoreError),
    /// This clip alone cannot be made.
    #[error("{0}")]
    Clip(String),
    /// The store answers and does not take this clip.
    #[error("{0}")]
    NotTaken(ObjectsError),
}

/// What became of one.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Stored,
    /// There will never be one.
    Never(&'static str),
    /// Not yet.
    Later,
    /// Not while a masked clip is made for somebody else.
    Busy,
    /// Its footage is not there now.
    Lacking,
    /// Not by this run: nobody knows its masks, perhaps since their history could only not be read when the box started.
    NextRun,
}

impl Uploader {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut failed = None;
        loop {
            let wait = match stop.run_until_cancelled(self.round()).await {
                None => return,
                Some(Ok((waiting, go_on))) => {
                    backoff.reset();
                    failed = None;
                    self.say(waiting, None);
                    if go_on { Duration::ZERO } else { EVERY }
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
        let aside = |why| self.aside.values().filter(|(aside, _)| *aside == why).count();
        let faults = aside(Aside::Fault) + aside(Aside::Refused);
        let (level, text) = match (failed, faults, aside(Aside::Lacking)) {
            (Some(why), ..) => (Level::Degraded, format!("{waiting} clips wait for the store: {why}")),
            (None, 0, 0) => (Level::Ok, format!("{waiting} clips wait for the store")),
            // Nobody can do anything about a time that was not recorded.
            (None, 0, n) => (Level::Ok, format!("{waiting} clips wait for the store; of {n} there is no footage now")),
            (None, n, _) => {
                (Level::Degraded, format!("{n} clips cannot be made or are not taken, as the log of the box says"))
            }
        };
        self.health.set(PART, level, text);
    }

    /// Deals with what is due up to the first clip that is brought: what comes next is asked anew, since holds may have come. How many
    /// clips wait, and whether to go on at once: one was brought, or of more than can be looked up at once some are out of the way.
    async fn round(&mut self) -> Result<(u64, bool), (u64, Failed)> {
        let limit = AT_ONCE + self.aside.len();
        let due = self.store.due_clips(utc_now(), self.config.min_severity, SETTLE_MS, limit).await;
        let (mut due, mut waiting) = due.map_err(|e| (0, e.into()))?;
        let is_all = due.len() < limit;
        if is_all {
            let named: HashSet<&ClipName> = due.iter().map(|d| &d.name).collect();
            self.aside.retain(|name, _| named.contains(name));
        }
        let now = mono_now();
        due.retain(|d| self.aside.get(&d.name).is_none_or(|(_, until)| *until <= now));
        if due.is_empty() && self.objects.is_some() {
            return Ok((waiting, false));
        }
        let objects = self.reach().await.map_err(|e| (waiting, e.into()))?;
        let (mut not_taken, mut busy, mut moved) = (0, false, false);
        for clip in due {
            let span = Span { from: clip.name.from, to: clip.name.to };
            if busy && self.masks.privacy(&clip.camera, span) == Privacy::Masked {
                continue;
            }
            let became = self.bring(&objects, &clip).await;
            let why_not = match became {
                Ok(Became::Stored) => None,
                Ok(Became::Never(why)) => {
                    tracing::warn!(why, camera = %clip.camera, clip = clip.name.stem(), "there will be no clip in the store");
                    Some(why)
                }
                Ok(Became::Later) => continue,
                Ok(Became::Busy) => {
                    busy = true;
                    continue;
                }
                Ok(became) => {
                    self.leave(clip, became);
                    moved = true;
                    continue;
                }
                Err(Failed::Clip(why)) => {
                    tracing::error!(why, camera = %clip.camera, clip = clip.name.stem(), "a clip for the store cannot be made");
                    metrics::counter!(CLIPS_FAILED, "reason" => "clip").increment(1);
                    self.put_aside(clip.name, Aside::Fault);
                    moved = true;
                    continue;
                }
                Err(Failed::NotTaken(error)) => {
                    tracing::error!(%error, camera = %clip.camera, clip = clip.name.stem(), "the store does not take a clip");
                    metrics::counter!(CLIPS_FAILED, "reason" => "store").increment(1);
                    let again = self.aside.get(&clip.name).is_some_and(|(why, _)| *why == Aside::Fault);
                    self.put_aside(clip.name, if again { Aside::Fault } else { Aside::Refused });
                    moved = true;
                    not_taken += 1;
                    if not_taken == NOT_TAKEN {
                        return Err((waiting, error.into()));
                    }
                    continue;
                }
                Err(error) => {
                    if matches!(error, Failed::Objects(_)) {
                        metrics::counter!(CLIPS_FAILED, "reason" => "store").increment(1);
                        self.objects = None;
                    }
                    return Err((waiting, error));
                }
            };
            self.aside.remove(&clip.name);
            self.store.clip_dealt_with(&clip.name, why_not).await.map_err(|e| (waiting, e.into()))?;
            waiting = waiting.saturating_sub(1);
            if why_not.is_none() {
                self.taken_again();
                return Ok((waiting, true));
            }
            moved = true;
        }
        Ok((waiting, moved && !is_all))
    }

    /// What cannot be brought now, though nothing failed.
    fn leave(&mut self, clip: DueClip, became: Became) {
        let (camera, stem, known) = (&clip.camera, clip.name.stem(), self.aside.contains_key(&clip.name));
        if became == Became::NextRun {
            tracing::warn!(%camera, clip = stem, "no clip for the store: its privacy masks are not known; tried again after the next start");
            self.aside.insert(clip.name, (Aside::Fault, MonoMillis(i64::MAX)));
        } else {
            if !known {
                tracing::warn!(%camera, clip = stem, "no clip for the store: its footage is not there now; trying again");
            }
            self.put_aside(clip.name, Aside::Lacking);
        }
    }

    fn put_aside(&mut self, name: ClipName, why: Aside) {
        self.aside.insert(name, (why, MonoMillis(mono_now().0 + ASIDE_MS)));
    }

    /// A store that took nothing takes clips again: no clip was at fault, and those that it refused are due at once, the oldest
    /// first. Which of them it refuses again, is.
    fn taken_again(&mut self) {
        let refused = |(why, _): &&mut (Aside, MonoMillis)| *why == Aside::Refused;
        if self.aside.values_mut().filter(refused).count() >= NOT_TAKEN {
            self.aside.values_mut().filter(refused).for_each(|aside| *aside = (Aside::Fault, mono_now()));
        }
    }

    /// The store. It is asked something when it is opened, so that a wrong key is told before there is a clip.
    async fn reach(&mut self) -> Result<Arc<Objects>, ObjectsError> {
        if let Some(objects) = &self.objects {
            return Ok(Arc::clone(objects));
        }
        let objects = Objects::open(&self.config.objects(), Some(self.config.max_bytes_per_s)).await?;
        objects.has("gatewatch").await?;
        Ok(Arc::clone(self.objects.insert(Arc::new(objects))))
    }

    /// The box is asked before the store: most of what is not brought needs no line.
    async fn bring(&self, objects: &Objects, due: &DueClip) -> Result<Became, Failed> {
        let (name, camera) = (&due.name, &due.camera);
        let manifest = self.footage.manifest(camera, Span { from: name.from, to: name.to }, utc_now()).await?;
        let may_come = (manifest.growing && utc_now().since(name.to) < PATIENCE_MS) || self.footage.is_reading();
        if !manifest.complete && may_come {
            return Ok(Became::Later);
        }
        // A file that cannot be read is this clip's trouble alone.
        let plan = self.footage.clip(&manifest).await.map_err(|e| Failed::Clip(e.to_string()))?;
        let Some(plan) = plan else { return self.without(&manifest).await };
        let Some(masks) = self.masks.masks(camera, Span { from: plan.from, to: plan.to }) else {
            return Ok(Became::NextRun);
        };
        let origin = self.store.origin();
        let folder = clip::folder(&origin.office, &origin.box_id, &camera.0, name.from);
        let stem = format!("{folder}/{}", name.stem());
        // The last run may have ended between the store's word and ours.
        if objects.has(&format!("{stem}.json")).await? {
            return Ok(Became::Stored);
        }
        let made = Made { due, manifest: &manifest, plan, masks };
        match self.put(objects, &stem, made).await {
            // Only a store that still answers refuses this clip; otherwise it is away.
            Err(Failed::Objects(_)) if objects.has(&format!("{stem}.json")).await? => Ok(Became::Stored),
            Err(Failed::Objects(error)) => Err(Failed::NotTaken(error)),
            put => put,
        }
    }

    /// A clip without footage: gone for good, where some of its time was deleted and nothing else may come back.
    async fn without(&self, manifest: &Manifest) -> Result<Became, Failed> {
        let gone = self.store.footage_gone(&manifest.camera, manifest.asked.from, manifest.asked.to).await?;
        let is_over = |g: &Gone| g.at.is_some() && GONE.contains(&g.why.as_str());
        let never = manifest.segments.is_empty() && !gone.is_empty() && gone.iter().all(is_over);
        Ok(if never { Became::Never("no_footage") } else { Became::Lacking })
    }

    /// As everybody gets it over HTTP.
    async fn put(&self, objects: &Objects, stem: &str, made: Made<'_>) -> Result<Became, Failed> {
        let Made { due, manifest, plan, masks } = made;
        let digest = clip::masks_digest(&masks);
        let copy = match masks {
            none if none.is_empty() => None,
            masks => match self.masks.once(plan.clone(), masks).await {
                Ok(copy) => Some(copy),
                Err(MaskError::Busy) => return Ok(Became::Busy),
                Err(MaskError::Failed(why)) => return Err(Failed::Clip(why)),
            },
        };
        let plan = copy.as_ref().map_or(plan, |copy| copy.plan.clone());
        let sent = send(objects, &format!("{stem}.mp4"), Arc::new(plan.clone())).await;
        // Its files go with it.
        tokio::task::spawn_blocking(move || drop(copy));
        let note = self.note(due, manifest, &plan, digest, sent?);
        let text = serde_json::to_vec_pretty(&note).map_err(|e| Failed::Clip(e.to_string()))?;
        objects.put(&format!("{stem}.json"), text.into()).await?;
        metrics::counter!(CLIPS_STORED_BYTES).increment(note.bytes);
        let (bytes, masked, place) = (note.bytes, note.masks.is_some(), objects.place());
        tracing::info!(clip = stem, bytes, masked, place, "clip stored");
        Ok(Became::Stored)
    }

    fn note(
        &self,
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
            origin: self.store.origin(),
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

/// A clip that is to be put there.
struct Made<'a> {
    due: &'a DueClip,
    manifest: &'a Manifest,
    plan: ClipPlan,
    masks: Vec<Polygon>,
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

#[cfg(test)]
#[path = "uploader_tests.rs"]
mod tests;
