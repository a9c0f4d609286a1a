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

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaskHistory {
    eras: Eras,
    /// Cameras of the configuration.
    configured: Vec<CameraId>,
}

impl MaskHistory {
    /// Reads the history of the store in `dir` and adds what the configuration changes. For a camera that is not in it, its
    /// masks count as those of all the time before. Never in the way of the agent: where the file cannot be read, old footage
    /// is for nobody without a reason; where it cannot be written, the next start notes the change.
    #[must_use]
    pub fn note(dir: &Path, cameras: &[CameraConfig], config: &str, now: UtcMillis) -> Self {
        let mut history = Self::read(dir, cameras).unwrap_or_else(|error| {
            tracing::error!(%error, "old footage may have had privacy masks that only this file knew: it is given as the \
                original only");
            let eras = Eras { known_since: Some(now), ..Eras::default() };
            Self { eras, configured: ids(cameras) }
        });
        let before = history.eras.clone();
        for camera in cameras {
            let (masks, eras) = (camera.privacy_masks(), history.eras.cameras.entry(camera.id.clone()).or_default());
            if eras.last().is_none_or(|last| last.masks != masks) {
                eras.push(Era { from: now, config: config.into(), masks });
            }
        }
        if history.eras != before
            && let Err(error) = history.write(dir)
        {
            tracing::error!(%error, "which privacy masks are in force since now cannot be noted; trying again at the next start");
        }
        history
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        write_whole(&path(dir), &serde_json::to_vec_pretty(&self.eras)?)
    }

    /// The history as it stands. For who only reads.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(dir: &Path, cameras: &[CameraConfig]) -> io::Result<Self> {
        let path = path(dir);
        let eras = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| io::Error::new(ErrorKind::InvalidData, format!("{}: {e}", path.display())))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Eras::default(),
            Err(e) => return Err(e),
        };
        Ok(Self { eras, configured: ids(cameras) })
    }

    /// Some camera has, or had, masks.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.eras.cameras.values().flatten().any(|era| !era.masks.is_empty())
    }

    /// What no picture of this time shows to everybody: the masks in force then and those in force now, each once. `None`: nobody
    /// knows, since the configuration does not have the camera or the history was lost.
    #[must_use]
    pub fn of(&self, camera: &CameraId, span: Span) -> Option<Vec<Polygon>> {
        let is_lost = self.eras.known_since.is_some_and(|since| span.from < since);
        if is_lost || !self.configured.contains(camera) {
            return None;
        }
        let eras = self.eras.cameras.get(camera).map_or(&[][..], Vec::as_slice);
        let mut masks: Vec<Polygon> = Vec::new();
        for (i, era) in eras.iter().enumerate() {
            let next = eras.get(i + 1).map(|e| e.from);
            // A clock that was set back between two changes leaves the time between them in doubt: both count.
            let from = if i == 0 { UtcMillis(i64::MIN) } else { era.from.min(next.unwrap_or(era.from)) };
            let until = next.map_or(UtcMillis(i64::MAX), |next| next.max(era.from));
            let counts =
                from.0.saturating_sub(SLACK_MS) <= span.to.0 && span.from.0 <= until.0.saturating_add(SLACK_MS);
            if counts || next.is_none() {
                masks.extend(era.masks.iter().filter(|m| !masks.contains(m)).cloned().collect::<Vec<_>>());
            }
        }
        Some(masks)
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
        }
        // A folder that is not there.
        let nowhere = MaskHistory::note(&dir.path().join("none"), &[camera(&[0.5])], "00", UtcMillis(0));
        assert_eq!(widths(&nowhere, 0, 1), [0.5]);
    }
}
