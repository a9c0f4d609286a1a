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
/// Beside it, with a time: the masks of a run that could not read it, until one can.
const RUN: &str = "privacy-masks.run-";
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

impl Eras {
    /// Adds the masks of a run that could not read the history: it came after all that is in it, whatever its clock said. What is in
    /// it already was added by a start that did not come to its end.
    fn merge(&mut self, run: Self) {
        for (camera, more) in run.cameras {
            let eras = self.cameras.entry(camera).or_default();
            let more: Vec<Era> = more.into_iter().filter(|era| !eras.contains(era)).collect();
            eras.extend(more);
        }
    }
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
    /// masks count as those of all the time before. Never in the way of the agent: where a file is damaged, it is put aside
    /// and a new one begun; where one cannot be read, all are left alone, and the masks of now are noted beside them; in both
    /// cases old footage is for nobody without a reason. Where it cannot be written, the next start notes the change.
    #[must_use]
    pub fn note(dir: &Path, cameras: &[CameraConfig], config: &str, now: UtcMillis) -> Self {
        // Of writes that a power cut or a full disk cut off.
        runs(dir, ".tmp").iter().for_each(|(_, tmp)| drop(std::fs::remove_file(tmp)));
        let runs = runs(dir, ".json");
        let (mut is_lost, mut may_write) = (false, true);
        let mut load = |path: &Path| {
            load(path).inspect_err(|error| (is_lost, may_write) = (true, put_aside(error, now) && may_write)).ok()
        };
        let before = load(&path(dir));
        let mut eras = before.clone().unwrap_or_default();
        runs.iter().filter_map(|(_, run)| load(run)).for_each(|run| eras.merge(run));
        if !may_write {
            eras = Eras::default();
        }
        if is_lost {
            eras.known_since = Some(now);
        }
        let mut history = Self { eras, configured: ids(cameras) };
        history.add(cameras, config, now);
        let noted = if !may_write {
            // What is in force now must be known once the files are read again; after what earlier runs left, whatever the clock says.
            let number = runs.last().map_or(now.0, |(last, _)| now.0.max(last + 1));
            history.write(&dir.join(format!("{RUN}{number}.json")))
        } else if runs.is_empty() && before.as_ref() == Some(&history.eras) {
            Ok(())
        } else {
            // They are in the history then, or aside.
            let gone = |()| runs.iter().for_each(|(_, run)| drop(std::fs::remove_file(run)));
            history.write(&path(dir)).map(gone)
        };
        if let Err(error) = noted {
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

    fn write(&self, file: &Path) -> io::Result<()> {
        write_whole(file, &serde_json::to_vec_pretty(&self.eras)?)
    }

    /// The history as it stands. For who only reads.
    ///
    /// # Errors
    /// When a file of it is there and damaged, or cannot be read.
    pub fn read(dir: &Path, cameras: &[CameraConfig]) -> Result<Self, HistoryError> {
        let mut eras = load(&path(dir))?;
        for (_, run) in runs(dir, ".json") {
            eras.merge(load(&run)?);
        }
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
            only; let the agent's user read the file, then restart the agent");
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

/// What is in a file of it; nothing where there is none.
fn load(path: &Path) -> Result<Eras, HistoryError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| HistoryError::Damaged { path: path.to_owned(), source })
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Eras::default()),
        Err(source) => Err(HistoryError::Unreadable { path: path.to_owned(), source }),
    }
}

/// What runs left that could not read the history, with their numbers and in their order.
fn runs(dir: &Path, end: &str) -> Vec<(i64, PathBuf)> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(RUN)?.strip_suffix(end)?.parse().ok();
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let mut runs: Vec<(i64, PathBuf)> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
    runs.sort_unstable();
    runs
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
        // What was in force meanwhile is remembered, though it is taken away now.
        let now = note(&[], 120);
        assert_eq!((now.known_since(), widths(&now, 113, 115), widths(&now, 90, 91)), (None, vec![0.5], vec![0.25]));
        assert_eq!(now.ever(&CameraId("c".into())).map(|m| m.len()), Some(2));
        assert_eq!(MaskHistory::read(dir.path(), &[camera(&[])]).unwrap(), now);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "all is in one file again");
    }

    #[test]
    fn what_a_write_left_is_nothing_and_a_damaged_file_of_a_run_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let note =
            |masks: &[f32], day: i64| MaskHistory::note(dir.path(), &[camera(masks)], "00", UtcMillis(day * DAY));
        let before = note(&[0.25], 100);
        let at = |name: &str| dir.path().join(name);
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        std::fs::write(at("privacy-masks.run-7.tmp"), b"").unwrap();
        assert_eq!(MaskHistory::read(dir.path(), &[camera(&[])]).unwrap(), before);
        assert_eq!((note(&[0.25], 105), names()), (before, vec![FILE.into()]));

        std::fs::write(at("privacy-masks.run-1.json"), b"{").unwrap();
        assert!(matches!(MaskHistory::read(dir.path(), &[]), Err(HistoryError::Damaged { .. })));
        for day in [130, 140] {
            let now = note(&[], day);
            assert_eq!(now.known_since(), Some(UtcMillis(130 * DAY)), "on day {day}");
            assert_eq!(now.ever(&CameraId("c".into())).map(|m| m.len()), Some(1));
            assert_eq!(MaskHistory::read(dir.path(), &[camera(&[])]).unwrap(), now);
        }
        let aside = format!("privacy-masks.run-1.damaged-{}.json", 130 * DAY);
        assert_eq!(std::fs::read(at(&aside)).unwrap(), b"{");

        // Both are bad; of the run beside them nothing is lost.
        let run = MaskHistory::note(tempfile::tempdir().unwrap().path(), &[camera(&[0.75])], "00", UtcMillis(0));
        run.write(&at("privacy-masks.run-2.json")).unwrap();
        std::fs::write(path(dir.path()), b"{").unwrap();
        let now = note(&[], 150);
        assert_eq!(now.ever(&CameraId("c".into())).map(|m| m.len()), Some(1));
        assert_eq!(names().len(), 3, "the history and what is aside: {:?}", names());
    }

    #[test]
    fn a_clock_that_was_set_back_between_runs_that_could_not_read_uncovers_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let note =
            |masks: &[f32], day: i64| MaskHistory::note(dir.path(), &[camera(masks)], "00", UtcMillis(day * DAY));
        note(&[0.25], 200);
        let (file, kept) = (path(dir.path()), dir.path().join("kept"));
        std::fs::rename(&file, &kept).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        note(&[0.5], 300);
        note(&[], 250);
        std::fs::rename(&kept, &file).unwrap();
        let run = runs(dir.path(), ".json")[0].1.clone();
        let first = std::fs::read(&run).unwrap();
        let now = note(&[], 260);
        assert_eq!(now.known_since(), None);
        assert_eq!((widths(&now, 260, 290), widths(&now, 310, 320)), (vec![0.25, 0.5], vec![]));
        // A start that could not remove it.
        std::fs::write(&run, first).unwrap();
        assert_eq!(note(&[], 270), now);
    }
}
