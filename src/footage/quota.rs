//! How much is kept: what goes, in which order, and when recording must stop. One look every few seconds; the time comes
//! from the caller. Holds are obeyed by the store's statement that chooses, so nothing here can delete what is held.
//!
//! 1. Too old for its class. 2. Over the bytes of its class: the oldest of it. 3. Less room on the disk than the reserve:
//!    the oldest of the ring, then the oldest of events. Where nothing may go, recording stops: first of cameras where nothing
//!    lasts that matters, at half the reserve of all. That is what keeps the disk free for events.
//!
//! The oldest is what was recorded first, whatever its date says: with a clock that is behind, all that was recorded before
//! lies in the future. By age nothing goes while the clock is doubted.
//!
//! A file that cannot be deleted keeps no other from being deleted, nor recording from being stopped; it is chosen anew by
//! the next look.
//!
//! Where a hold source was ever heard, but not for a quarter of an hour or not since the start, whoever holds something may
//! be unable to say so: what is newer than its last word less 24 hours is not deleted, except when the disk is nearly full,
//! and then the box says so. Otherwise all holds but those of the last minutes are known here, and nothing of this applies.

use std::path::Path;

use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::config::FootageConfig;
use crate::store::{Doomed, FootageBytes, SegmentClass, Store, StoreError};
use crate::telemetry::metrics::{FOOTAGE_BYTES, FOOTAGE_DELETED, FOOTAGE_FREE};

/// Files deleted in one step.
const BATCH: u32 = 500;
/// What ended less than this before now is not touched: events about it may still come.
const FRESH_MS: i64 = 60_000;
/// A hold source heard this lately has said all it has to say. The word is renewed every quarter of a minute while the box is
/// in touch, except while tips are streaming in.
const IN_STEP_MS: i64 = 900_000;
/// What starts so much after now was recorded under another clock. A camera whose clock is a little ahead is not that.
const AHEAD_MS: i64 = 3_600_000;
/// Nothing starts after it.
const NEVER: UtcMillis = UtcMillis(i64::MAX);
/// A hold on its way may reach back so far from the last word.
const HOLD_REACH_MS: i64 = 86_400_000;
const DAY_MS: i64 = 86_400_000;

/// Who may record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Allowed {
    /// Every camera.
    #[default]
    All,
    /// Those where an event lasts or a hold reaches into the future.
    Only(Vec<CameraId>),
    /// None.
    Nobody,
}

/// What a look found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Kept after it.
    pub bytes: FootageBytes,
    /// Free on the disk after it.
    pub free_bytes: u64,
    /// Of the whole disk.
    pub disk_bytes: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Who may record.
    pub allowed: Allowed,
    /// Deleted although a hold might have come for it.
    pub past_silent_holds: bool,
    /// Why something is not deleted that should be.
    pub failed: Option<String>,
    /// Sentences for the duty room; empty = all is well.
    pub warnings: Vec<String>,
}

/// Looks after the room.
pub struct Quota<'a> {
    /// Index.
    pub store: &'a Store,
    /// Folder of footage.
    pub root: &'a Path,
    /// Limits.
    pub config: &'a FootageConfig,
    /// The clock tells how old something is.
    pub may_expire: bool,
}

/// What may go: what ends before the first, and what starts after the second.
type Reach = (UtcMillis, UtcMillis);

/// What was deleted in one go.
#[derive(Default)]
struct Deleted {
    files: u64,
    bytes: u64,
    /// Chosen, and still there.
    stuck: Vec<Doomed>,
    failed: Option<StoreError>,
}

impl Looked {
    /// Counts it; returns files and bytes.
    fn count(&mut self, deleted: Deleted) -> (u64, u64) {
        self.deleted += deleted.files;
        self.failed = self.failed.take().or(deleted.failed.map(|e| e.to_string()));
        (deleted.files, deleted.bytes)
    }
}

impl Quota<'_> {
    /// One look at `now`: deletes what must go and says who may record.
    ///
    /// # Errors
    /// When the database or the disk cannot be asked.
    pub async fn look(&self, now: UtcMillis) -> Result<Looked, StoreError> {
        let fresh = now.plus_ms(-FRESH_MS - i64::from(self.config.pre_roll_s) * 1000);
        let silent = self.store.holds_silent_since(now, IN_STEP_MS).await?;
        let guarded = silent.map_or(fresh, |heard| fresh.min(heard.plus_ms(-HOLD_REACH_MS)));
        // A hold on its way may be for what lies in the future too.
        let quiet = (guarded, if guarded < fresh { NEVER } else { now.plus_ms(AHEAD_MS) });
        let mut out = Looked { bytes: self.store.footage_bytes().await?, ..Looked::default() };
        for (class, days, max_bytes) in [
            (SegmentClass::Ring, self.config.ring_days, self.config.ring_max_bytes),
            (SegmentClass::Event, self.config.event_days, self.config.event_max_bytes),
        ] {
            let mut freed = 0;
            if self.may_expire {
                let old = now.plus_ms(-i64::from(days) * DAY_MS).min(guarded);
                freed = out.count(self.delete(class, (old, NEVER), None, "expired", now).await).1;
            }
            let has = if class == SegmentClass::Ring { out.bytes.ring } else { out.bytes.event };
            if let Some(over) = has.saturating_sub(freed).checked_sub(max_bytes + 1) {
                out.count(self.delete(class, quiet, Some(over + 1), "quota", now).await);
            }
        }
        self.keep_reserve(&mut out, (quiet, (fresh, now.plus_ms(AHEAD_MS))), now).await?;
        if out.deleted > 0 {
            out.bytes = self.store.footage_bytes().await?;
        }
        self.judge(&mut out, now);
        publish(&out);
        Ok(out)
    }

    /// Makes room down to the last file that may go.
    async fn keep_reserve(
        &self,
        out: &mut Looked,
        (quiet, all): (Reach, Reach),
        now: UtcMillis,
    ) -> Result<(), StoreError> {
        for (reach, past_holds) in [(quiet, false), (all, true)] {
            for class in [SegmentClass::Ring, SegmentClass::Event] {
                (out.free_bytes, out.disk_bytes) = self.room()?;
                let Some(lacking) = self.config.reserve_bytes.checked_sub(out.free_bytes + 1) else { return Ok(()) };
                let wanted = lacking + self.config.reserve_bytes / 10;
                let (files, _) = out.count(self.delete(class, reach, Some(wanted), "reserve", now).await);
                out.past_silent_holds |= past_holds && quiet != all && files > 0;
            }
        }
        (out.free_bytes, out.disk_bytes) = self.room()?;
        if out.free_bytes < self.config.reserve_bytes / 2 {
            out.allowed = Allowed::Nobody;
        } else if out.free_bytes < self.config.reserve_bytes {
            out.allowed = Allowed::Only(self.store.cameras_that_matter(now).await?);
        }
        Ok(())
    }

    fn judge(&self, out: &mut Looked, now: UtcMillis) {
        if let Some(why) = &out.failed {
            out.warnings.push(format!("video that should go cannot be deleted: {why}"));
        }
        let (reserve, free) = (self.config.reserve_bytes, out.free_bytes);
        match &out.allowed {
            Allowed::All if free < reserve.saturating_mul(2) => {
                out.warnings.push(format!("{free} bytes are free, recording stops below {reserve}"));
            }
            Allowed::All => {}
            Allowed::Only(_) => out.warnings.push(format!(
                "{free} bytes are free and nothing may be deleted: only cameras where an event lasts are recorded"
            )),
            Allowed::Nobody => {
                out.warnings.push(format!("{free} bytes are free and nothing may be deleted: recording is stopped"));
            }
        }
        let held = out.bytes.held;
        if held > self.config.held_max_bytes / 10 * 9 {
            out.warnings
                .push(format!("{held} bytes are held, {} are foreseen; release holds", self.config.held_max_bytes));
        }
        let oldest = now.plus_ms(-i64::from(self.config.held_days) * DAY_MS);
        if let Some(since) = out.bytes.held_since.filter(|since| *since < oldest) {
            out.warnings.push(format!("video of {} is still held; review its hold", since.to_rfc3339()));
        }
        if out.past_silent_holds {
            out.warnings.push("video was deleted while nothing is heard of holds: one may be on its way".to_owned());
        }
    }

    /// Deletes the oldest of a class.
    async fn delete(
        &self,
        class: SegmentClass,
        reach: Reach,
        bytes: Option<u64>,
        why: &'static str,
        now: UtcMillis,
    ) -> Deleted {
        let mut done = Deleted::default();
        // What cannot be deleted stays chosen until the end, so that the next is chosen in its place. Not for ever: a disk
        // that refuses everything is asked again by the next look.
        while bytes.is_none_or(|b| done.bytes < b) && done.stuck.len() < BATCH as usize {
            let wanted = bytes.map(|b| b - done.bytes);
            match self.delete_batch(&mut done, (class, reach, wanted), why, now).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    done.failed = Some(error);
                    break;
                }
            }
        }
        if !done.stuck.is_empty()
            && let Err(error) = self.store.segments_not_gone(&done.stuck).await
        {
            done.failed = Some(error);
        }
        if let Some(error) = &done.failed {
            tracing::error!(%error, why, ?class, stuck = done.stuck.len(), "video that should go cannot be deleted");
        }
        if done.files > 0 {
            tracing::info!(files = done.files, bytes = done.bytes, why, ?class, "video deleted");
        }
        done
    }

    /// Whether there was something to delete.
    async fn delete_batch(
        &self,
        done: &mut Deleted,
        (class, (before, after), wanted): (SegmentClass, Reach, Option<u64>),
        why: &'static str,
        now: UtcMillis,
    ) -> Result<bool, StoreError> {
        let doomed = self.store.doom_segments(class, before, after, wanted, BATCH).await?;
        if doomed.is_empty() {
            return Ok(false);
        }
        let (gone, stuck, failed) = self.unlink(doomed).await;
        done.stuck.extend(stuck);
        done.failed = done.failed.take().or(failed);
        self.store.segments_gone(&gone, why, now).await?;
        let bytes: u64 = gone.iter().map(|d| d.bytes).sum();
        metrics::counter!(FOOTAGE_DELETED, "reason" => why).increment(bytes);
        (done.files, done.bytes) = (done.files + gone.len() as u64, done.bytes + bytes);
        Ok(true)
    }

    /// What is gone, what is not, and the first reason why not.
    async fn unlink(&self, doomed: Vec<Doomed>) -> (Vec<Doomed>, Vec<Doomed>, Option<StoreError>) {
        let root = self.root.to_owned();
        let unlink = move || {
            let mut failed = None;
            let (gone, stuck) = doomed.into_iter().partition(|d| {
                let path = root.join(&d.path);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        failed.get_or_insert(StoreError::io("remove", &path, e));
                        return false;
                    }
                    // The day's folder goes with its last file.
                    _ => drop(path.parent().map(std::fs::remove_dir)),
                }
                true
            });
            (gone, stuck, failed)
        };
        tokio::task::spawn_blocking(unlink).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }

    /// Bytes free for us, and of the whole disk.
    fn room(&self) -> Result<(u64, u64), StoreError> {
        let disk =
            rustix::fs::statvfs(self.root).map_err(|e| StoreError::io("ask the disk of", self.root, e.into()))?;
        Ok((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
    }
}

fn publish(looked: &Looked) {
    let bytes = &looked.bytes;
    for (class, count) in [("ring", bytes.ring), ("event", bytes.event), ("held", bytes.held)] {
        metrics::gauge!(FOOTAGE_BYTES, "class" => class).set(count as f64);
    }
    metrics::gauge!(FOOTAGE_FREE).set(looked.free_bytes as f64);
}
