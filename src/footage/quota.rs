//! How much is kept: what goes, in which order, and when recording must stop. One look every few seconds; the time comes
//! from the caller. Holds are obeyed by the store's statement that chooses, so nothing here can delete what is held.
//!
//! 1. Too old for its class. 2. Over the bytes of its class: the oldest of it. 3. Less room on the disk than the reserve:
//!    the oldest of the ring, then the oldest of events. Where nothing may go, recording stops: first of cameras where nothing
//!    lasts that matters, at half the reserve of all. That is what keeps the disk free for events.
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
        let mut out = Looked { bytes: self.store.footage_bytes().await?, ..Looked::default() };
        for (class, days, max_bytes) in [
            (SegmentClass::Ring, self.config.ring_days, self.config.ring_max_bytes),
            (SegmentClass::Event, self.config.event_days, self.config.event_max_bytes),
        ] {
            let old = now.plus_ms(-i64::from(days) * DAY_MS).min(guarded);
            let (files, freed) = self.delete(class, old, None, "expired", now).await?;
            let has = if class == SegmentClass::Ring { out.bytes.ring } else { out.bytes.event };
            out.deleted += files;
            if let Some(over) = has.saturating_sub(freed).checked_sub(max_bytes + 1) {
                out.deleted += self.delete(class, guarded, Some(over + 1), "quota", now).await?.0;
            }
        }
        self.keep_reserve(&mut out, (guarded, fresh), now).await?;
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
        (guarded, fresh): (UtcMillis, UtcMillis),
        now: UtcMillis,
    ) -> Result<(), StoreError> {
        for (before, past_holds) in [(guarded, false), (fresh, true)] {
            for class in [SegmentClass::Ring, SegmentClass::Event] {
                (out.free_bytes, out.disk_bytes) = self.room()?;
                let Some(lacking) = self.config.reserve_bytes.checked_sub(out.free_bytes + 1) else { return Ok(()) };
                let wanted = lacking + self.config.reserve_bytes / 10;
                let (files, _) = self.delete(class, before, Some(wanted), "reserve", now).await?;
                out.deleted += files;
                out.past_silent_holds |= past_holds && guarded < fresh && files > 0;
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

    /// Deletes the oldest of a class; returns files and bytes.
    async fn delete(
        &self,
        class: SegmentClass,
        ends_before: UtcMillis,
        bytes: Option<u64>,
        why: &'static str,
        now: UtcMillis,
    ) -> Result<(u64, u64), StoreError> {
        let (mut files, mut freed) = (0, 0);
        loop {
            let wanted = bytes.map(|b| b.saturating_sub(freed));
            if wanted == Some(0) {
                break;
            }
            let doomed = self.store.doom_segments(class, ends_before, wanted, BATCH).await?;
            if doomed.is_empty() {
                break;
            }
            self.unlink(&doomed).await?;
            self.store.segments_gone(&doomed, why, now).await?;
            let batch: u64 = doomed.iter().map(|d| d.bytes).sum();
            metrics::counter!(FOOTAGE_DELETED, "reason" => why).increment(batch);
            (files, freed) = (files + doomed.len() as u64, freed + batch);
        }
        if files > 0 {
            tracing::info!(files, bytes = freed, why, ?class, "video deleted");
        }
        Ok((files, freed))
    }

    async fn unlink(&self, doomed: &[Doomed]) -> Result<(), StoreError> {
        let paths: Vec<_> = doomed.iter().map(|d| self.root.join(&d.path)).collect();
        let unlink = move || {
            for path in paths {
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StoreError::io("remove", &path, e));
                    }
                    // The day's folder goes with its last file.
                    _ => drop(path.parent().map(std::fs::remove_dir)),
                }
            }
            Ok(())
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
