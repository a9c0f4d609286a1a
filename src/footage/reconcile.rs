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

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

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
    let work = move || -> io::Result<(usize, usize, Difference)> {
        let files = files_below(&folder)?;
        let counts = (rows.len(), files.len());
        Ok((counts.0, counts.1, compare(&folder, rows, files)))
    };
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    let (rows, files, difference) = done.map_err(|e| StoreError::io("read", root, e))?;
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

/// `{camera}/{day}/{file}.mp4` with sizes.
fn files_below(root: &Path) -> io::Result<HashMap<String, u64>> {
    let mut out = HashMap::new();
    let mut todo = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = todo.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < 2 {
                todo.push((entry.path(), depth + 1));
            } else if kind.is_file() && depth == 2 && entry.path().extension().is_some_and(|e| e == "mp4") {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path);
                out.insert(relative.to_string_lossy().into_owned(), entry.metadata()?.len());
            }
        }
    }
    Ok(out)
}

fn compare(root: &Path, rows: Vec<(String, String, u64)>, mut files: HashMap<String, u64>) -> Difference {
    let mut out = Difference::default();
    for (path, state, bytes) in rows {
        let Some(size) = files.remove(&path) else {
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
    out.orphans.sort();
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
