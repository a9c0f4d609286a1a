//! At start: what the index says against what lies on the disk. Sizes are compared, not contents, so that 100,000 files take
//! seconds; what a crash left open is read, cut to its last whole fragment and completed.
//!
//! | row | file | becomes |
//! | --- | --- | --- |
//! | writing | some pictures | kept, with the digest of what is whole |
//! | writing | no picture | both removed |
//! | kept | another size | damaged: the digest of before stays, so that the difference can be proved |
//! | kept, damaged | none | lost |
//! | chosen for deletion | there | chosen anew, unless a hold came since |
//! | none | ours | taken into the index, in the background: all of it must be read |
//! | none | without a picture | removed |
//! | any | in a folder that cannot be read | what it is: nobody knows what is there |

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::nal;
use super::params::ParameterSets;
use super::read::{self, SegmentMap};
use super::segment::{camera_by_name, start_by_name};
use crate::camera::Codec;
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::store::{SegmentClosed, SegmentFound, SegmentOpened, Store, StoreError};

/// Rows written in one transaction.
const BATCH: usize = 500;
/// A file smaller than this without a picture holds nothing but a head.
const MERE_HEAD: u64 = 4096;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Rows looked at.
    pub rows: usize,
    /// Files looked at.
    pub files: usize,
    /// Left open by a crash, completed.
    pub completed: usize,
    /// Without a picture, removed.
    pub empty: usize,
    /// Of another size than recorded.
    pub damaged: usize,
    /// Not there.
    pub missing: usize,
    /// Without a row: to be taken in by [`adopt`].
    pub orphans: Vec<String>,
    /// Folders that cannot be read, and why.
    pub unreadable: Vec<String>,
}

/// What is to be done about the difference.
#[derive(Default)]
struct Difference {
    found: Vec<SegmentFound>,
    discard: Vec<String>,
    missing: Vec<String>,
    damaged: Vec<(String, UtcMillis, UtcMillis)>,
    orphans: Vec<String>,
}

/// Compares index and files, and mends what can be mended at once. No segment may be written meanwhile.
///
/// # Errors
/// When the database or the folder cannot be used.
pub async fn reconcile(store: &Store, root: &Path, now: UtcMillis) -> Result<Reconciled, StoreError> {
    store.undo_half_deleted().await?;
    let rows = store.segment_paths().await?;
    let folder = root.to_owned();
    let work = move || -> io::Result<(usize, usize, Difference, Vec<String>)> {
        let found = files_below(&folder)?;
        let counts = (rows.len(), found.files.len());
        let unreadable = found.unreadable.iter().map(|(path, why)| format!("{}: {why}", folder.join(path).display()));
        let unreadable = unreadable.collect();
        Ok((counts.0, counts.1, compare(&folder, rows, found), unreadable))
    };
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    let (rows, files, difference, unreadable) = done.map_err(|e| StoreError::io("read", root, e))?;
    for batch in difference.found.chunks(BATCH) {
        store.segments_found(batch).await?;
    }
    for path in &difference.discard {
        store.segment_discarded(path).await?;
    }
    for (path, first, last) in &difference.damaged {
        store.segment_damaged(path, *first, *last).await?;
    }
    for batch in difference.missing.chunks(BATCH) {
        store.segments_missing(batch, now).await?;
    }
    Ok(Reconciled {
        rows,
        files,
        completed: difference.found.len(),
        empty: difference.discard.len(),
        damaged: difference.damaged.len(),
        missing: difference.missing.len(),
        orphans: difference.orphans,
        unreadable,
    })
}

/// Takes files without a row into the index; returns how many. Reads all of them, so it is done beside everything else.
///
/// # Errors
/// When the database cannot be written.
pub async fn adopt(store: &Store, root: &Path, orphans: Vec<String>) -> Result<usize, StoreError> {
    let mut adopted = 0;
    for path in orphans {
        let root = root.to_owned();
        let read = tokio::task::spawn_blocking(move || recover(&root, &path));
        match read.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())) {
            Ok(Some(found)) => {
                store.segments_found(&[found]).await?;
                adopted += 1;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a video file without an index row cannot be read; it is left alone"),
        }
    }
    Ok(adopted)
}

/// Of every file system of Linux, at the root of a disk, and for nobody but root.
const LOST_AND_FOUND: &str = "lost+found";

/// What lies on the disk, all paths below the folder of footage.
#[derive(Default)]
struct OnDisk {
    /// `{camera}/{day}/{file}.mp4` with sizes.
    files: HashMap<String, u64>,
    /// Folders that could not be read to their end, and why.
    unreadable: Vec<(PathBuf, io::Error)>,
}

/// One damaged folder is no reason to record nothing: it is told, and left alone.
fn files_below(root: &Path) -> io::Result<OnDisk> {
    let mut out = OnDisk::default();
    let mut todo = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = todo.pop() {
        match read_folder(root, &folder, depth, &mut out.files) {
            Ok(folders) => todo.extend(folders.into_iter().map(|f| (f, depth + 1))),
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                tracing::error!(folder = %root.join(&folder).display(), %error, "a folder of video cannot be read");
                out.unreadable.push((folder, error));
            }
        }
    }
    Ok(out)
}

/// Adds the files of a folder; returns its folders.
fn read_folder(root: &Path, folder: &Path, depth: usize, files: &mut HashMap<String, u64>) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let (kind, relative) = (entry.file_type()?, folder.join(entry.file_name()));
        if kind.is_dir() && depth < 2 && relative != Path::new(LOST_AND_FOUND) {
            folders.push(relative);
        } else if kind.is_file() && depth == 2 && relative.extension().is_some_and(|e| e == "mp4") {
            files.insert(relative.to_string_lossy().into_owned(), entry.metadata()?.len());
        }
    }
    Ok(folders)
}

fn compare(root: &Path, rows: Vec<(String, String, u64)>, found: OnDisk) -> Difference {
    let OnDisk { mut files, unreadable } = found;
    let mut out = Difference::default();
    for (path, state, bytes) in rows {
        let size = files.remove(&path);
        if unreadable.iter().any(|(folder, _)| Path::new(&path).starts_with(folder)) {
            continue;
        }
        let Some(size) = size else {
            if state == "writing" {
                out.discard.push(path)
            } else {
                out.missing.push(path)
            }
            continue;
        };
        if state == "writing" {
            match recover(root, &path) {
                Ok(Some(found)) => out.found.push(found),
                Ok(None) => out.discard.push(path),
                Err(error) => tracing::error!(path, %error, "a video file that a crash left open cannot be read"),
            }
        } else if state == "kept" && size != bytes {
            match whole_time(&root.join(&path)) {
                Some((first, last)) => out.damaged.push((path, first, last)),
                None => out.missing.push(path),
            }
        }
    }
    out.orphans = files.into_keys().collect();
    // The youngest first, as the index wants them; a name that tells no time is of nobody knows when.
    out.orphans.sort_by_key(|path| std::cmp::Reverse((start_by_name(path), path.clone())));
    out
}

fn whole_time(path: &Path) -> Option<(UtcMillis, UtcMillis)> {
    read::segment(path).ok()?.span()
}

/// Cuts a file to what is whole and reads all that a row needs. `None` when there is no picture in it: then it is removed
/// if it is ours.
fn recover(root: &Path, relative: &str) -> io::Result<Option<SegmentFound>> {
    let path = root.join(relative);
    let map = read::segment(&path)?;
    if map.fragments.is_empty() {
        if map.file_bytes <= MERE_HEAD || !map.init.is_empty() {
            fs::remove_file(&path)?;
        } else {
            tracing::warn!(path = %path.display(), "not a video file of this program; it is left alone");
        }
        return Ok(None);
    }
    if map.whole_bytes < map.file_bytes {
        let file = File::options().write(true).open(&path)?;
        file.set_len(map.whole_bytes)?;
        file.sync_all()?;
    }
    let sha256 = digest(&path)?;
    Ok(describe(&path, relative, &map, sha256))
}

fn describe(path: &Path, relative: &str, map: &SegmentMap, sha256: String) -> Option<SegmentFound> {
    let first = map.fragments.first()?;
    let picture = first.pictures.first()?;
    let codec = if contains(&map.init, b"hvc1") { Codec::H265 } else { Codec::H264 };
    let mut bytes = vec![0; picture.bytes as usize];
    let mut file = File::open(path).ok()?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(picture.at)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    let sets = nal::to_annex_b(&bytes).and_then(|unit| ParameterSets::of(&unit, codec));
    let (width, height) = sets.map_or((0, 0), |s| (s.width, s.height));
    let (from, to) = map.span()?;
    let time = FrameTime {
        utc: from,
        mono: MonoMillis(0),
        source: first.time_source,
        uncertainty_ms: first.uncertainty_ms,
        clock_offset_ms: first.clock_offset_ms,
    };
    let opened = SegmentOpened {
        camera: camera_by_name(relative)?,
        path: relative.to_owned(),
        codec,
        width,
        height,
        first: start_by_name(relative).unwrap_or(from),
        time,
        gap_before_ms: None,
        gap_reason: None,
        dropped: 0,
    };
    let pictures = map.fragments.iter().map(|f| f.pictures.len() as u64).sum();
    let closed =
        SegmentClosed { path: relative.to_owned(), first: from, end: to, bytes: map.whole_bytes, pictures, sha256 };
    Some(SegmentFound { opened, closed })
}

fn contains(bytes: &[u8], name: &[u8; 4]) -> bool {
    memchr::memmem::find(bytes, name).is_some()
}

/// SHA-256 of a file, hex.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_read_is_left_alone_with_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        // Root reads every folder, but nobody one whose path is too long: that of the day is.
        let mut root = dir.path().join("video");
        while root.as_os_str().len() < 4060 {
            let left = 4060 - root.as_os_str().len();
            root.push("x".repeat(left.saturating_sub(1).clamp(1, 200)));
        }
        let bay = "b".repeat(30);
        fs::create_dir_all(root.join(&bay)).unwrap();
        let camera = File::open(root.join(&bay)).unwrap();
        rustix::fs::mkdirat(&camera, "2026-03-02", rustix::fs::Mode::RWXU).unwrap();
        fs::create_dir_all(root.join("lost+found/#1")).unwrap();
        fs::write(root.join("lost+found/#1/x.mp4"), "x").unwrap();
        let found = files_below(&root).unwrap();
        assert!(found.files.is_empty(), "{:?}", found.files);
        let folders: Vec<_> = found.unreadable.iter().map(|(folder, _)| folder.clone()).collect();
        assert_eq!(folders, [Path::new(&bay).join("2026-03-02")]);
        let row = |path: String, state: &str| (path, state.to_owned(), 9);
        let rows = vec![
            row(format!("{bay}/2026-03-02/a.mp4"), "kept"),
            row(format!("{bay}/2026-03-02/b.mp4"), "writing"),
            row(format!("{bay}/2026-03-03/c.mp4"), "kept"),
        ];
        let difference = compare(&root, rows, found);
        assert_eq!(difference.missing, [format!("{bay}/2026-03-03/c.mp4")]);
        assert!(difference.discard.is_empty() && difference.damaged.is_empty());
        assert!(files_below(&root.join("none")).is_err(), "without its folder nothing is recorded");
    }
}
