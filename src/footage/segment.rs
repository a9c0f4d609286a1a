//! One segment file being written: named, hashed while written, made durable every few seconds, cut off cleanly when a
//! write fails. Which units go into it is decided in `writer`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::boxes::{self, TICKS_PER_S};
use super::fragment::{Draft, Fragment};
use super::params::ParameterSets;
use crate::camera::CameraId;
use crate::clock::UtcMillis;

/// Video between two waits for the disk, ticks: what a power cut may cost beside the fragment being collected.
const SYNC_EVERY: i64 = 2 * TICKS_PER_S as i64;
/// Names tried when the clock stepped back and one is taken.
const MAX_NAMES: u32 = 1000;

/// An open segment.
pub(super) struct SegmentFile {
    file: File,
    /// Below the folder of footage.
    pub relative: String,
    path: PathBuf,
    hash: Sha256,
    number: u32,
    session: u64,
    origin: Option<i64>,
    step: Option<u32>,
    unsynced: i64,
    /// Once the disk refused to make it durable. Linux says so a single time: the next wait for the disk would succeed.
    is_unsure: bool,
    pub sets: ParameterSets,
    pub bytes: u64,
    pub pictures: u64,
    pub first: Option<UtcMillis>,
    pub last: Option<UtcMillis>,
}

impl SegmentFile {
    /// Makes the file of a segment that starts at `at`.
    pub fn create(
        root: &Path,
        camera: &CameraId,
        at: UtcMillis,
        session: u64,
        sets: ParameterSets,
    ) -> io::Result<Self> {
        let (relative, file) = create_file(root, camera, at)?;
        let path = root.join(&relative);
        let mut this = Self {
            file,
            relative,
            path,
            hash: Sha256::new(),
            number: 0,
            session,
            origin: None,
            step: None,
            unsynced: 0,
            is_unsure: false,
            bytes: 0,
            pictures: 0,
            first: None,
            last: None,
            sets,
        };
        let init = boxes::init(&[&this.sets], None);
        let written = this.write(&[&init]);
        written.inspect_err(|_| this.discard())?;
        Ok(this)
    }

    /// Writes what was collected.
    pub fn append(&mut self, draft: Draft) -> io::Result<()> {
        let Some((first_tick, last_tick)) = draft.span() else { return Ok(()) };
        let origin = *self.origin.get_or_insert(first_tick);
        self.number += 1;
        let Some(fragment) = draft.finish(self.number, self.session, origin, self.step) else { return Ok(()) };
        self.write(&[&fragment.head, &fragment.payload])?;
        self.count(&fragment);
        self.unsynced += last_tick - first_tick;
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.is_unsure = true)?;
        self.unsynced = 0;
        Ok(())
    }

    fn count(&mut self, fragment: &Fragment) {
        self.pictures += u64::from(fragment.pictures);
        self.first = Some(self.first.map_or(fragment.first, |t| t.min(fragment.first)));
        self.last = Some(self.last.map_or(fragment.last, |t| t.max(fragment.last)));
        self.step = Some(fragment.step);
    }

    /// All or nothing: after a failure the file ends where it ended before.
    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            if let Err(error) = self.file.write_all(part) {
                // Best effort: the reader stops at the last whole fragment anyway.
                let _ = self.file.set_len(self.bytes);
                return Err(error);
            }
        }
        for part in parts {
            self.hash.update(part);
            self.bytes += part.len() as u64;
        }
        Ok(())
    }

    /// Makes it durable; returns its SHA-256 in hex. Never where the disk once refused: that digest would vouch for what may
    /// not be there.
    pub fn close(self) -> io::Result<String> {
        self.file.sync_all()?;
        if self.is_unsure {
            return Err(io::Error::other("the disk refused some of it; check the disk"));
        }
        Ok(hex::encode(self.hash.finalize()))
    }

    /// Takes away a file that holds no picture.
    pub fn discard(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Distance of its pictures, ticks.
    pub fn step_ticks(&self) -> i64 {
        i64::from(self.step.unwrap_or(TICKS_PER_S / 25))
    }

    /// Distance of its pictures, milliseconds.
    pub fn step_ms(&self) -> i64 {
        self.step_ticks() * 1000 / i64::from(TICKS_PER_S)
    }

    /// Whether a picture at `at` ticks would make it longer than `limit`.
    pub fn is_over(&self, at: i64, limit: i64) -> bool {
        self.origin.is_some_and(|origin| at - origin >= limit)
    }
}

/// `{camera}/{day}/{camera}_{time}.mp4` below `root`.
fn create_file(root: &Path, camera: &CameraId, at: UtcMillis) -> io::Result<(String, File)> {
    let text = at.to_rfc3339();
    let day = text.get(..10).unwrap_or("0000-00-00");
    let stamp: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let folder = root.join(&camera.0).join(day);
    if !folder.is_dir() {
        fs::create_dir_all(&folder)?;
        for parent in folder.ancestors().skip(1).take_while(|p| p.starts_with(root)) {
            File::open(parent)?.sync_all()?;
        }
    }
    for n in 1..=MAX_NAMES {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let relative = format!("{camera}/{day}/{camera}_{stamp}{suffix}.mp4");
        match File::options().write(true).create_new(true).open(root.join(&relative)) {
            Ok(file) => {
                File::open(&folder)?.sync_all()?;
                return Ok((relative, file));
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{MAX_NAMES} segments of one camera start at {text}")))
}

/// Start of a segment by its name, for files that say nothing else.
pub(super) fn start_by_name(relative: &str) -> Option<UtcMillis> {
    let stamp = relative.rsplit_once('_')?.1.strip_suffix(".mp4")?;
    let stamp = stamp.split_once('-').map_or(stamp, |(stamp, _)| stamp);
    let (date, time) = stamp.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, rest) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    UtcMillis::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{rest}")).ok()
}

/// Camera of a segment by its place.
pub(super) fn camera_by_name(relative: &str) -> Option<CameraId> {
    Some(CameraId(relative.split_once('/')?.0.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Codec;

    #[test]
    fn a_file_that_once_did_not_reach_the_disk_is_never_said_to_be_whole() {
        let (dir, camera) = (tempfile::tempdir().unwrap(), CameraId("bay-1".into()));
        let sets = "0000000167640028acd940780227e5c044000003000400000300c83c60c6580000000168ebe3cb22c0";
        let sets = ParameterSets::of(&hex::decode(sets).unwrap(), Codec::H264).unwrap();
        let mut file = SegmentFile::create(dir.path(), &camera, UtcMillis(0), 1, sets).unwrap();
        // A device that takes everything and makes nothing durable, and then a disk that has forgotten that it failed.
        let disk = std::mem::replace(&mut file.file, File::options().write(true).open("/dev/null").unwrap());
        file.sync().unwrap_err();
        file.file = disk;
        let refused = file.close().unwrap_err();
        assert!(refused.to_string().contains("check the disk"), "{refused}");
    }

    #[test]
    fn names_say_camera_and_start_and_are_never_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (camera, at) = (CameraId("bay-1".into()), UtcMillis::parse_rfc3339("2026-03-02T03:17:45.212Z").unwrap());
        let (first, _) = create_file(dir.path(), &camera, at).unwrap();
        let (second, _) = create_file(dir.path(), &camera, at).unwrap();
        assert_eq!(first, "bay-1/2026-03-02/bay-1_20260302T031745.212Z.mp4");
        assert_eq!(second, "bay-1/2026-03-02/bay-1_20260302T031745.212Z-2.mp4");
        for name in [&first, &second] {
            assert_eq!((start_by_name(name), camera_by_name(name)), (Some(at), Some(camera.clone())));
        }
        assert_eq!(start_by_name("bay-1/x.mp4"), None);
    }
}
