//! A clip with privacy masks burnt in: decoded, blackened and encoded anew in H.264, in files of the same form as segments, with
//! the same pictures and times as far as they can be decoded. A copy for those who may not see the original; never evidence.
//! Who gets it, and how many are made at once, is in `mask_desk`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::boxes::{self, TICKS_PER_S};
use super::clip::{self, ClipPlan};
use super::fragment::{Draft, ticks};
use super::nal;
use super::params::ParameterSets;
use super::read;
use crate::camera::{AccessUnit, CameraError, CameraId, Codec, Recoded, Recoder, Stencil, can_recode};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::event::annotate::covered;
use crate::geometry::Polygon;
use crate::store::{Segment, SegmentClass};

/// Largest masked copy, bytes.
pub const MAX_BYTES: u64 = 1 << 30;
/// Of a process's niceness, which is 0: what is left over by analysis.
pub const NICENESS: i32 = 15;
/// The one connection that all of a copy's pictures have: the times of the clip are its clock.
const SESSION: u64 = 1;

/// A masked clip. Its files go with the last who holds it.
#[derive(Debug)]
pub struct Masked {
    /// How it is read.
    pub plan: ClipPlan,
    folder: PathBuf,
}

impl Drop for Masked {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The clip of one whole segment file.
///
/// # Errors
/// When the file cannot be read, or holds no picture.
pub fn clip_of_file(root: &Path, path: &str, codec: Codec) -> io::Result<ClipPlan> {
    let all = [segment(path, codec)];
    let plan = clip::plan(root, &all, UtcMillis(i64::MIN), UtcMillis(i64::MAX))?;
    plan.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("{path} holds no picture")))
}

/// Makes the masked copy of `original` in `folder`, which must be its own. `go_on` is asked before each fragment: an error
/// ends it, and nothing stays.
///
/// # Errors
/// When something cannot be read, decoded or written, or `go_on` says no.
pub fn make(
    original: &ClipPlan,
    masks: &[Polygon],
    folder: &Path,
    go_on: &dyn Fn() -> io::Result<()>,
) -> io::Result<Masked> {
    fs::create_dir_all(folder)?;
    // From here on the folder goes with this.
    let mut made = Masked { plan: original.clone(), folder: folder.into() };
    let masks = masks.to_vec();
    let stencil: Stencil = Arc::new(move |width, height| covered(width, height, &masks));
    let recoder = Recoder::start(original.codec, stencil).map_err(failed)?;
    let mut out = Out::new(folder);
    for part in 1..original.parts() {
        go_on()?;
        let bytes = original.read(part, &(0..u64::MAX))?;
        let map = read::fragment(&bytes).ok_or_else(|| damaged("a fragment of the clip cannot be read"))?;
        for picture in &map.pictures {
            let sample = usize::try_from(picture.at).ok().and_then(|at| bytes.get(at..at + picture.bytes as usize));
            let unit = sample.and_then(nal::to_annex_b).ok_or_else(|| damaged("a picture cannot be read"))?;
            let at = i64::try_from(map.start_ticks).unwrap_or(0) + picture.shown - map.session_ticks;
            let pts_ns = nanoseconds(at);
            out.expect(pts_ns, time(picture.utc, &map));
            let done = recoder.push(unit, picture.keyframe, pts_ns).map_err(failed)?;
            done.into_iter().try_for_each(|unit| out.put(unit))?;
        }
    }
    let rest = recoder.finish().map_err(failed)?;
    rest.into_iter().try_for_each(|unit| out.put(unit))?;
    let files = out.finish()?;
    let segments: Vec<Segment> = files.iter().map(|name| segment(name, Codec::H264)).collect();
    let plan = clip::plan(folder, &segments, UtcMillis(i64::MIN), UtcMillis(i64::MAX))?;
    made.plan = plan.ok_or_else(|| damaged("none of its pictures can be decoded"))?;
    made.plan.left_out.clone_from(&original.left_out);
    if made.plan.pictures != original.pictures {
        let (made, of) = (made.plan.pictures, original.pictures);
        tracing::warn!(made, of, "not every picture of a masked clip could be decoded");
    }
    Ok(made)
}

/// [`ErrorKind::InvalidData`] and [`ErrorKind::Unsupported`] stay as they are whenever it is tried.
fn failed(error: CameraError) -> io::Error {
    let kind = match error {
        CameraError::Undecodable(_) => ErrorKind::InvalidData,
        _ if !can_recode() => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn nanoseconds(ticks: i64) -> u64 {
    let ns = u128::from(u64::try_from(ticks).unwrap_or(0)) * 1_000_000_000;
    u64::try_from((ns + u128::from(TICKS_PER_S) / 2) / u128::from(TICKS_PER_S)).unwrap_or(u64::MAX)
}

fn time(utc: UtcMillis, fragment: &read::FragmentMap) -> FrameTime {
    FrameTime {
        utc,
        mono: MonoMillis(0),
        source: fragment.time_source,
        uncertainty_ms: fragment.uncertainty_ms,
        clock_offset_ms: fragment.clock_offset_ms,
    }
}

/// The files of a copy while it is made.
struct Out {
    folder: PathBuf,
    /// Times of the pictures in the recoder, by what they were pushed with.
    times: HashMap<u64, FrameTime>,
    files: Vec<String>,
    open: Option<Open>,
    draft: Draft,
    bytes: u64,
}

/// One file: pictures of one size.
struct Open {
    file: File,
    sets: ParameterSets,
    origin: i64,
    number: u32,
    step: Option<u32>,
}

impl Out {
    fn new(folder: &Path) -> Self {
        let (files, draft) = (Vec::new(), Draft::default());
        Self { folder: folder.into(), times: HashMap::new(), files, open: None, draft, bytes: 0 }
    }

    fn expect(&mut self, pts_ns: u64, time: FrameTime) {
        self.times.insert(pts_ns, time);
    }

    fn put(&mut self, unit: Recoded) -> io::Result<()> {
        let time =
            self.times.remove(&unit.pts_ns).ok_or_else(|| damaged("the encoder changed the time of a picture"))?;
        let Recoded { data, keyframe, pts_ns } = unit;
        let unit = AccessUnit { data, codec: Codec::H264, keyframe, pts_ns, time };
        let at = ticks(pts_ns);
        let full = self.draft.span().is_some_and(|(first, last)| at > last && at - first >= i64::from(TICKS_PER_S));
        if keyframe || full {
            self.flush()?;
        }
        if keyframe {
            self.at_keyframe(&unit, at)?;
        }
        if self.open.is_some() {
            self.draft.push(&unit);
        }
        Ok(())
    }

    /// A new file where the pictures have another size.
    fn at_keyframe(&mut self, unit: &AccessUnit, origin: i64) -> io::Result<()> {
        let sets =
            ParameterSets::of(&unit.data, Codec::H264).ok_or_else(|| damaged("the encoder gave no parameters"))?;
        if self.open.as_ref().is_some_and(|open| open.sets == sets) {
            return Ok(());
        }
        let name = format!("{}.mp4", self.files.len() + 1);
        let file = File::create_new(self.folder.join(&name))?;
        self.files.push(name);
        let init = boxes::init(&[&sets], None);
        self.open = Some(Open { file, sets, origin, number: 0, step: None });
        self.write(&[&init])
    }

    fn flush(&mut self) -> io::Result<()> {
        let draft = std::mem::take(&mut self.draft);
        let Some(open) = self.open.as_mut().filter(|_| !draft.is_empty()) else { return Ok(()) };
        open.number += 1;
        let Some(fragment) = draft.finish(open.number, SESSION, open.origin, open.step) else { return Ok(()) };
        open.step = Some(fragment.step);
        self.write(&[&fragment.head, &fragment.payload])
    }

    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        for part in parts {
            self.bytes += part.len() as u64;
            if self.bytes > MAX_BYTES {
                return Err(io::Error::new(ErrorKind::FileTooLarge, "the masked copy would be larger than 1 GiB"));
            }
            open.file.write_all(part)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<String>> {
        self.flush()?;
        Ok(self.files)
    }
}

/// A file as the planner wants to see it: it reads everything else in the file itself.
fn segment(path: &str, codec: Codec) -> Segment {
    Segment {
        id: 0,
        camera: CameraId(String::new()),
        path: path.into(),
        state: "kept".into(),
        class: SegmentClass::Ring,
        held: false,
        codec,
        width: 0,
        height: 0,
        from: UtcMillis(0),
        to: UtcMillis(0),
        time_source: crate::clock::TimeSource::File,
        uncertainty_ms: 0,
        clock_offset_ms: None,
        gap_before_ms: None,
        gap_reason: None,
        dropped: 0,
        bytes: 0,
        pictures: 0,
        sha256: None,
    }
}
