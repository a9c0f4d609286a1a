//! Keyframes spread over a time, read back out of segments, for thumbnails and contact sheets. Decoding is `camera/`'s.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::nal;
use super::read::{self, FragmentMap, PictureMap};
use crate::camera::{AccessUnit, Codec};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::store::Segment;

/// At most `count` keyframes of `from` to `to`, evenly spread; with one, the last at or before `to`.
///
/// # Errors
/// When a segment cannot be read.
pub fn keyframes(
    root: &Path,
    segments: &[Segment],
    (from, to): (UtcMillis, UtcMillis),
    count: usize,
) -> io::Result<Vec<AccessUnit>> {
    let mut all: Vec<(PathBuf, FragmentMap)> = Vec::new();
    let codec = segments.first().map_or(Codec::H264, |s| s.codec);
    for segment in segments.iter().filter(|s| s.codec == codec) {
        let path = root.join(&segment.path);
        let map = match read::segment(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        all.extend(map.fragments.into_iter().filter(|f| f.keyframe).map(|f| (path.clone(), f)));
    }
    // The picture that was seen at `from` is that of the keyframe before it.
    let start = all.iter().rposition(|(_, f)| key(f).is_some_and(|p| p.utc <= from)).unwrap_or(0);
    let end = all.iter().position(|(_, f)| key(f).is_some_and(|p| p.utc > to)).unwrap_or(all.len());
    let range = all.get(start..end.max(start)).unwrap_or_default();
    let chosen = match (count, range.len()) {
        (_, 0) | (0, _) => Vec::new(),
        (1, n) => vec![n - 1],
        (count, n) if count >= n => (0..n).collect(),
        (count, n) => (0..count).map(|i| i * (n - 1) / (count - 1)).collect(),
    };
    chosen.into_iter().filter_map(|i| range.get(i)).map(|(path, f)| unit(path, f, codec)).collect()
}

fn key(fragment: &FragmentMap) -> Option<&PictureMap> {
    fragment.pictures.first()
}

fn unit(path: &Path, fragment: &FragmentMap, codec: Codec) -> io::Result<AccessUnit> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
    let picture = key(fragment).ok_or_else(missing)?;
    let mut bytes = vec![0; picture.bytes as usize];
    File::open(path)?.read_exact_at(&mut bytes, picture.at)?;
    let time = FrameTime {
        utc: picture.utc,
        mono: MonoMillis(0),
        source: fragment.time_source,
        uncertainty_ms: fragment.uncertainty_ms,
        clock_offset_ms: fragment.clock_offset_ms,
    };
    let data = nal::to_annex_b(&bytes).ok_or_else(missing)?.into();
    Ok(AccessUnit { data, codec, keyframe: true, pts_ns: 0, time })
}
