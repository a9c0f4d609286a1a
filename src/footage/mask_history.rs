//! Which privacy masks were in force when. Footage outlives configurations: a mask that is drawn anew or taken away still
//! covers what was recorded under it, and one that is new covers what was recorded before. Kept in one file beside the store,
//! a line of history a camera and change, noted at each start of the agent.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Span;
use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::config::CameraConfig;
use crate::evidence::custody::write_whole;
use crate::geometry::Polygon;

/// In the store's folder.
const FILE: &str = "privacy-masks.json";
/// Masks count this long before and after they were in force, too, milliseconds: clocks are set.
const SLACK_MS: i64 = 86_400_000;

/// The masks of one camera from a moment on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Era {
    from: UtcMillis,
    /// Digest of the configuration that had them first, 16 hex digits.
    config: String,
    masks: Vec<Polygon>,
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Eras {
    /// Before this moment nobody knows: the file was damaged then.
    known_since: Option<UtcMillis>,
    /// Of all cameras there ever were, in the order of their changes; the last is in force.
    cameras: BTreeMap<CameraId, Vec<Era>>,
}

/// Why there is no history, though there is a file of it.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// What is in it is no history.
    #[error("the history of privacy masks {path} is damaged: {source}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// It is there and nobody knows what is in it.
    #[error("the history of privacy masks {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HistoryError {
    /// The same for those who are handed a bundle: without paths of the box.
    #[must_use]
    pub fn for_others(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "the box's history of privacy masks is damaged, so they are not known",
            Self::Unreadable { .. } => "the box's history of privacy masks cannot be read, so they are not known",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaskHistory {
    eras: Eras,
    /// Cameras of the configuration.
    configured: Vec<CameraId>,
}

impl MaskHistory {
    /// Reads the history of the store in `dir` and adds what the configuration changes. For a camera that is not in it, its
    /// masks count as those of all the time before. Never in the way of the agent: where the file is damaged, it is put aside
    /// and a new one begun; where it cannot be read, it is left alone; in both cases old footage is for nobody without a
    /// reason. Where it cannot be written, the next start notes the change.
    #[must_use]
    pub fn note(dir: &Path, cameras: &[CameraConfig], config: &str, now: UtcMillis) -> Self {
        let (mut history, may_write) = match Self::read(dir, cameras) {
            Ok(history) => (history, true),
            Err(error) => {
                let eras = Eras { known_since: Some(now), ..Eras::default() };
                (Self { eras, configured: ids(cameras) }, put_aside(&error, now))
            }
        };
        let before = history.eras.clone();
        history.add(cameras, config, now);
        if may_write
            && history.eras != before
            && let Err(error) = history.write(dir)
        {
            tracing::error!(%error, "which privacy masks are in force since now cannot be noted; trying again at the next start");
        }
        history
    }

    fn add(&mut self, cameras: &[CameraConfig], config: &str, now: UtcMillis) {
        for camera in cameras {
            let (masks, eras) = (camera.privacy_masks(), self.eras.cameras.entry(camera.id.clone()).or_default());
            if eras.last().is_none_or(|last| last.masks != masks) {
                eras.push(Era { from: now, config: config.into(), masks });
            }
        }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        write_whole(&path(dir), &serde_json::to_vec_pretty(&self.eras)?)
    }

    /// The history as it stands. For who only reads.
    ///
    /// # Errors
    /// When the file is there and damaged, or cannot be read.
    pub fn read(dir: &Path, cameras: &[CameraConfig]) -> Result<Self, HistoryError> {
        let path = path(dir);
        let eras = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| HistoryError::Damaged { path, source })?,
            Err(e) if e.kind() == ErrorKind::NotFound => Eras::default(),
            Err(source) => return Err(HistoryError::Unreadable { path, source }),
        };
        Ok(Self { eras, configured: ids(cameras) })
    }

    /// Some camera has, or had, masks.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.eras.cameras.values().flatten().any(|era| !era.masks.is_empty())
    }

    /// Before this moment nobody knows the masks of any camera; `None`: those of all the time are known.
    #[must_use]
    pub fn known_since(&self) -> Option<UtcMillis> {
        self.eras.known_since
    }

    /// All masks that a camera has or had since they are known, each once. `None`: the configuration does not have it.
    #[must_use]
    pub fn ever(&self, camera: &CameraId) -> Option<Vec<Polygon>> {
        let mut masks = Vec::new();
        self.eras.cameras.get(camera).into_iter().flatten().for_each(|era| add_new(&mut masks, &era.masks));
        self.configured.contains(camera).then_some(masks)
    }

    /// What no picture of this time shows to everybody: the masks in force then and those in force now, each once. `None`: nobody
    /// knows, since the configuration does not have the camera or the history was lost.
    #[must_use]
    pub fn of(&self, camera: &CameraId, span: Span) -> Option<Vec<Polygon>> {
        let is_lost = self.known_since().is_some_and(|since| span.from < since);
        if is_lost || !self.configured.contains(camera) {
            return None;
        }
        let eras = self.eras.cameras.get(camera).map_or(&[][..], Vec::as_slice);
        let mut masks = Vec::new();
        for (i, era) in eras.iter().enumerate() {
            let next = eras.get(i + 1).map(|e| e.from);
            // A clock that was set back between two changes leaves the time between them in doubt: both count.
            let from = if i == 0 { UtcMillis(i64::MIN) } else { era.from.min(next.unwrap_or(era.from)) };
            let until = next.map_or(UtcMillis(i64::MAX), |next| next.max(era.from));
            let counts =
                from.0.saturating_sub(SLACK_MS) <= span.to.0 && span.from.0 <= until.0.saturating_add(SLACK_MS);
            if counts || next.is_none() {
                add_new(&mut masks, &era.masks);
            }
        }
        Some(masks)
    }
}

/// Keeps a damaged file under another name, beside the one that is to replace it: were it moved, a box that is switched off
/// before there is a new one would find none and believe that there never were masks. A file that cannot be read may be whole,
/// and is not to be replaced. Says whether a new one may be written.
fn put_aside(error: &HistoryError, now: UtcMillis) -> bool {
    let HistoryError::Damaged { path, .. } = error else {
        tracing::error!(%error, "old footage may have had privacy masks that only this file knows: it is given as the original \
            only, and changes of masks are not noted; let the agent's user read the file, then restart the agent");
        return false;
    };
    let aside = path.with_extension(format!("damaged-{}.json", now.0));
    match std::fs::hard_link(path, &aside).or_else(|_| std::fs::copy(path, &aside).map(|_| ())) {
        Ok(()) => {
            tracing::error!(%error, aside = %aside.display(), "old footage may have had privacy masks that only this file knew: \
                footage of before now is given as the original only. The file is kept aside and a new one begun; if a backup has \
                a good one, stop the agent, put that in its place, start the agent");
            true
        }
        Err(cannot) => {
            tracing::error!(%error, %cannot, aside = %aside.display(), "old footage is given as the original only, and changes of \
                privacy masks are not noted, since the damaged file cannot be kept aside; let the agent's user write in that folder, then \
                restart the agent");
            false
        }
    }
}

/// Adds those that are not there yet.
fn add_new(masks: &mut Vec<Polygon>, more: &[Polygon]) {
    for mask in more {
        if !masks.contains(mask) {
            masks.push(mask.clone());
        }
    }
}

fn ids(cameras: &[CameraConfig]) -> Vec<CameraId> {
    cameras.iter().map(|c| c.id.clone()).collect()
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn camera(masks: &[f32]) -> CameraConfig {
        let mask = |(i, x): (usize, &f32)| {
            serde_json::json!({"id": format!("m{i}"), "kind": "privacy_mask",
                "polygon": [[0.0, 0.0], [x, 0.0], [x, 1.0]]})
        };
        let areas: Vec<_> = masks.iter().enumerate().map(mask).collect();
        serde_json::from_value(serde_json::json!({"id": "c", "url": "rtsp://camera.invalid/1", "area": areas})).unwrap()
    }

    fn widths(history: &MaskHistory, from: i64, to: i64) -> Vec<f32> {
        let span = Span { from: UtcMillis(from * DAY), to: UtcMillis(to * DAY) };
        history.of(&CameraId("c".into()), span).unwrap().iter().map(|m| m.0[1].x).collect()
    }

    #[test]
    fn old_footage_keeps_its_masks_and_gets_the_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let note =
            |masks: &[f32], day: i64| MaskHistory::note(dir.path(), &[camera(masks)], "00", UtcMillis(day * DAY));
        assert_eq!(widths(&note(&[0.25], 100), 0, 1), [0.25], "also what was recorded before anybody noted masks");
        note(&[0.25], 105);
        note(&[], 110);
        let now = note(&[0.5], 120);
        assert_eq!(widths(&now, 100, 101), [0.25, 0.5]);
        assert_eq!(widths(&now, 113, 115), [0.5], "there was none");
        assert_eq!(widths(&now, 125, 126), [0.5]);
        assert_eq!(widths(&now, 90, 130), [0.25, 0.5]);
        assert_eq!(MaskHistory::read(dir.path(), &[camera(&[0.5])]).unwrap(), now);
        let other = MaskHistory::read(dir.path(), &[]).unwrap();
        assert_eq!(other.of(&CameraId("c".into()), Span { from: UtcMillis(0), to: UtcMillis(1) }), None);
    }

    #[test]
    fn a_clock_that_was_set_back_uncovers_nothing_and_what_is_lost_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let note =
            |masks: &[f32], day: i64| MaskHistory::note(dir.path(), &[camera(masks)], "00", UtcMillis(day * DAY));
        note(&[0.25], 200);
        note(&[0.5], 300);
        let now = note(&[], 250);
        assert_eq!(widths(&now, 260, 290), [0.25, 0.5]);
        assert_eq!(widths(&now, 310, 320), [] as [f32; 0]);
        std::fs::write(path(dir.path()), b"{").unwrap();
        for day in [400, 410] {
            let lost = note(&[0.75], day);
            let of = |from: i64| {
                lost.of(&CameraId("c".into()), Span { from: UtcMillis(from * DAY), to: UtcMillis((from + 1) * DAY) })
            };
            assert_eq!((of(390), of(400).map(|m| m.len())), (None, Some(1)), "on day {day}");
            assert_eq!(lost.known_since(), Some(UtcMillis(400 * DAY)));
            assert_eq!(lost.ever(&CameraId("c".into())).map(|m| m.len()), Some(1));
        }
        let aside = path(dir.path()).with_extension(format!("damaged-{}.json", 400 * DAY));
        assert_eq!(std::fs::read(aside).unwrap(), b"{", "kept, once");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        // A folder that is not there.
        let nowhere = MaskHistory::note(&dir.path().join("none"), &[camera(&[0.5])], "00", UtcMillis(0));
        assert_eq!(widths(&nowhere, 0, 1), [0.5]);
    }
    #[test]
    fn a_file_that_cannot_be_read_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let note =
            |masks: &[f32], day: i64| MaskHistory::note(dir.path(), &[camera(masks)], "00", UtcMillis(day * DAY));
        note(&[0.25], 100);
        let (file, kept) = (path(dir.path()), dir.path().join("kept"));
        std::fs::rename(&file, &kept).unwrap();
        // Nobody can read it, not even root.
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let unread = MaskHistory::read(dir.path(), &[]).unwrap_err();
        assert!(matches!(&unread, HistoryError::Unreadable { path, .. } if *path == file), "{unread}");
        assert_eq!(note(&[0.5], 110).known_since(), Some(UtcMillis(110 * DAY)));
        assert!(std::fs::symlink_metadata(&file).unwrap().is_symlink(), "nothing is written over it");
        std::fs::rename(&kept, &file).unwrap();
        let now = note(&[0.5], 120);
        assert_eq!((now.known_since(), widths(&now, 90, 91)), (None, vec![0.25, 0.5]));
        assert_eq!(now.ever(&CameraId("c".into())).map(|m| m.len()), Some(2));
    }
}
