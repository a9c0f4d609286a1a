//! A clip: whole fragments of the segments of a time, from a keyframe to the end of the last group of pictures, put behind
//! one head as one MP4 file. Nothing is encoded or copied together beforehand: a plan says what stands where, so any
//! range of the clip's bytes can be read. Of each fragment only four numbers change: its place in time and order.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::boxes::{self, IndexEntry, TICKS_PER_S};
use super::nal;
use super::params::ParameterSets;
use super::read::{self, FragmentMap, PatchPlaces};
use crate::camera::Codec;
use crate::clock::UtcMillis;
use crate::store::Segment;

/// Fragments in the index at the head of a clip; longer clips have none.
const MAX_INDEX: usize = 60_000;

/// What a clip consists of.
#[derive(Debug, Clone)]
pub struct ClipPlan {
    head: Vec<u8>,
    pieces: Vec<Piece>,
    /// Bytes of the whole clip.
    pub bytes: u64,
    /// Names this very content.
    pub etag: String,
    /// Capture time of its first picture.
    pub from: UtcMillis,
    /// Capture time of its last picture.
    pub to: UtcMillis,
    /// Pictures in it.
    pub pictures: u64,
    /// Coding.
    pub codec: Codec,
    /// Times left out because the camera used another coding then: a clip has one.
    pub left_out: Vec<(UtcMillis, UtcMillis)>,
}

/// One fragment and where it comes.
#[derive(Debug, Clone)]
struct Piece {
    file: PathBuf,
    at: u64,
    bytes: u64,
    /// Where it starts in the clip.
    clip_at: u64,
    patches: PatchPlaces,
    number: u32,
    description: u32,
    start: u64,
    /// When its first picture is shown.
    media_time: u64,
}

/// A fragment chosen, with its segment.
struct Chosen<'a> {
    segment: &'a Segment,
    sets: usize,
    fragment: FragmentMap,
}

/// Plans the clip of `from` to `to` out of `segments`, which are in order; `None` when they hold no picture of that time.
///
/// # Errors
/// When a segment cannot be read.
pub fn plan(root: &Path, segments: &[Segment], from: UtcMillis, to: UtcMillis) -> io::Result<Option<ClipPlan>> {
    let mut sets: Vec<ParameterSets> = Vec::new();
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for segment in segments {
        let path = root.join(&segment.path);
        let map = match read::segment(&path) {
            // Deleted since the index was asked: a gap like any other.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let Some(own) = first_sets(&path, &map.fragments, segment.codec)? else { continue };
        if sets.first().is_some_and(|first: &ParameterSets| first.codec != own.codec) {
            left_out.push((segment.from, segment.to));
            continue;
        }
        let known = sets.iter().position(|s| *s == own);
        let index = known.unwrap_or(sets.len());
        if known.is_none() {
            sets.push(own);
        }
        chosen.extend(map.fragments.into_iter().map(|fragment| Chosen { segment, sets: index, fragment }));
    }
    let chosen = within(chosen, from, to);
    Ok(assemble(root, &sets, &chosen).map(|plan| ClipPlan { left_out, ..plan }))
}

/// Parameter sets of a segment, from its first picture.
fn first_sets(path: &Path, fragments: &[FragmentMap], codec: Codec) -> io::Result<Option<ParameterSets>> {
    let Some(picture) = fragments.first().and_then(|f| f.pictures.first()) else { return Ok(None) };
    let mut bytes = vec![0; picture.bytes as usize];
    File::open(path)?.read_exact_at(&mut bytes, picture.at)?;
    Ok(nal::to_annex_b(&bytes).and_then(|unit| ParameterSets::of(&unit, codec)))
}

/// From the last keyframe at or before `from` to the last picture before the first keyframe after `to`.
fn within(mut chosen: Vec<Chosen<'_>>, from: UtcMillis, to: UtcMillis) -> Vec<Chosen<'_>> {
    let end = chosen.iter().position(|c| c.fragment.keyframe && c.fragment.first > to).unwrap_or(chosen.len());
    let next = chosen.get(end).map(|c| &c.fragment);
    let shown_until = end.checked_sub(1).and_then(|i| chosen.get(i)).map(|c| shown_until(&c.fragment, next));
    chosen.truncate(end);
    let before = chosen.iter().rposition(|c| c.fragment.keyframe && c.fragment.first <= from);
    let start = before.or_else(|| chosen.iter().position(|c| c.fragment.keyframe)).unwrap_or(chosen.len());
    let chosen = chosen.split_off(start);
    // All of it may lie before the time: the last group of pictures in front of a gap.
    let reaches = shown_until.is_some_and(|t| t > from) || chosen.iter().any(|c| c.fragment.last >= from);
    if reaches { chosen } else { Vec::new() }
}

/// How long the last picture of a fragment is the one that is seen: up to the next picture of the connection.
fn shown_until(fragment: &FragmentMap, next: Option<&FragmentMap>) -> UtcMillis {
    match next.filter(|n| n.session == fragment.session) {
        Some(next) => next.first.max(fragment.last),
        None => {
            let step = fragment.duration.checked_div(fragment.pictures.len() as u64).unwrap_or(0);
            fragment.last.plus_ms(i64::try_from(step * 1000 / u64::from(TICKS_PER_S)).unwrap_or(0))
        }
    }
}

fn assemble(root: &Path, sets: &[ParameterSets], chosen: &[Chosen<'_>]) -> Option<ClipPlan> {
    let (first, last) = (chosen.first()?, chosen.last()?);
    let starts = places(chosen);
    let total = starts.last()? + last.fragment.duration;
    let used: Vec<usize> = used_sets(chosen);
    let descriptions: Vec<&ParameterSets> = used.iter().filter_map(|&i| sets.get(i)).collect();
    let mut head = boxes::init(&descriptions, Some(total));
    if chosen.len() <= MAX_INDEX {
        head.extend(boxes::index(&entries(chosen, &starts, total), 0));
    }
    let mut digest = Sha256::new();
    digest.update(&head);
    let mut clip_at = head.len() as u64;
    let mut pieces = Vec::with_capacity(chosen.len());
    for (i, (c, start)) in chosen.iter().zip(&starts).enumerate() {
        let f = &c.fragment;
        let shown_after = f.pictures.first().map_or(0, |p| p.shown - f.session_ticks);
        digest.update(c.segment.path.as_bytes());
        digest.update(f.at.to_be_bytes());
        pieces.push(Piece {
            file: root.join(&c.segment.path),
            at: f.at,
            bytes: f.bytes,
            clip_at,
            patches: f.patches,
            number: u32::try_from(i + 1).unwrap_or(u32::MAX),
            description: u32::try_from(used.iter().position(|u| *u == c.sets)? + 1).unwrap_or(1),
            start: *start,
            media_time: start.saturating_add_signed(shown_after),
        });
        clip_at += f.bytes;
    }
    let etag = hex::encode(digest.finalize()).chars().take(32).collect();
    let (from, codec) = (first.fragment.first, first.segment.codec);
    let to = chosen.iter().map(|c| c.fragment.last).max()?;
    let pictures = chosen.iter().map(|c| c.fragment.pictures.len() as u64).sum();
    Some(ClipPlan { head, pieces, bytes: clip_at, etag, from, to, pictures, codec, left_out: Vec::new() })
}

fn used_sets(chosen: &[Chosen<'_>]) -> Vec<usize> {
    let mut used: Vec<usize> = Vec::new();
    for c in chosen {
        if !used.contains(&c.sets) {
            used.push(c.sets);
        }
    }
    used
}

/// Where each fragment starts in the clip, ticks. Within a connection as the camera counted; over a gap as long as the
/// gap was.
fn places(chosen: &[Chosen<'_>]) -> Vec<u64> {
    let mut starts: Vec<u64> = Vec::with_capacity(chosen.len());
    let mut previous: Option<&FragmentMap> = None;
    for f in chosen.iter().map(|c| &c.fragment) {
        let start = match (previous, starts.last()) {
            (Some(p), Some(&at)) => {
                let end = at + p.duration;
                if p.session == f.session && f.session_ticks >= p.session_ticks {
                    at + u64::try_from(f.session_ticks - p.session_ticks).unwrap_or(0)
                } else {
                    let gap_ms = u64::try_from(f.first.since(p.last)).unwrap_or(0);
                    end.max(at + last_shown(p) + gap_ms * u64::from(TICKS_PER_S) / 1000)
                }
            }
            _ => 0,
        };
        starts.push(start);
        previous = Some(f);
    }
    starts
}

/// From the start of a fragment to its latest picture.
fn last_shown(f: &FragmentMap) -> u64 {
    let last = f.pictures.iter().map(|p| p.shown).max().unwrap_or(f.session_ticks);
    u64::try_from(last - f.session_ticks).unwrap_or(0)
}

fn entries(chosen: &[Chosen<'_>], starts: &[u64], total: u64) -> Vec<IndexEntry> {
    let next = starts.iter().skip(1).copied().chain([total]);
    let each = chosen.iter().zip(starts).zip(next).map(|((c, start), next)| IndexEntry {
        bytes: u32::try_from(c.fragment.bytes).unwrap_or(u32::MAX),
        duration: u32::try_from(next.saturating_sub(*start)).unwrap_or(u32::MAX),
        keyframe: c.fragment.keyframe,
    });
    each.collect()
}

impl ClipPlan {
    /// How many parts it is read in.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.pieces.len() + 1
    }

    /// The first part that holds byte `at`.
    #[must_use]
    pub fn part_of(&self, at: u64) -> usize {
        self.pieces.partition_point(|p| p.clip_at <= at)
    }

    /// Where a part starts.
    #[must_use]
    pub fn start_of(&self, part: usize) -> u64 {
        part.checked_sub(1).and_then(|i| self.pieces.get(i)).map_or(0, |p| p.clip_at)
    }

    /// The bytes of one part that lie in `range` of the clip.
    ///
    /// # Errors
    /// When its segment cannot be read any more.
    pub fn read(&self, part: usize, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let (at, bytes) = match part.checked_sub(1) {
            None => (0, self.head.clone()),
            Some(i) => match self.pieces.get(i) {
                Some(piece) => (piece.clip_at, piece.read()?),
                None => return Ok(Vec::new()),
            },
        };
        let end = at + bytes.len() as u64;
        let (from, to) = (range.start.clamp(at, end), range.end.clamp(at, end));
        let cut = |x: u64| usize::try_from(x - at).unwrap_or(usize::MAX);
        Ok(bytes.get(cut(from)..cut(to)).unwrap_or_default().to_vec())
    }

    /// All of it in order.
    #[must_use]
    pub fn reader(&self) -> ClipReader<'_> {
        ClipReader { plan: self, part: 0, rest: io::Cursor::default() }
    }

    /// All of it in memory, for what is short.
    ///
    /// # Errors
    /// As [`ClipPlan::read`].
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        for part in 0..self.parts() {
            out.extend(self.read(part, &(0..self.bytes))?);
        }
        Ok(out)
    }
}

/// Reads a clip part by part.
pub struct ClipReader<'a> {
    plan: &'a ClipPlan,
    part: usize,
    rest: io::Cursor<Vec<u8>>,
}

impl io::Read for ClipReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.rest.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.part >= self.plan.parts() {
                return Ok(count);
            }
            self.rest = io::Cursor::new(self.plan.read(self.part, &(0..self.plan.bytes))?);
            self.part += 1;
        }
    }
}

impl Piece {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
        File::open(&self.file)?.read_exact_at(&mut bytes, self.at)?;
        let mut put = |at: u64, value: &[u8]| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(place) = at.checked_add(value.len()).and_then(|end| bytes.get_mut(at..end)) {
                place.copy_from_slice(value);
            }
        };
        put(self.patches.number, &self.number.to_be_bytes());
        put(self.patches.description, &self.description.to_be_bytes());
        put(self.patches.start, &self.start.to_be_bytes());
        put(self.patches.media_time, &self.media_time.to_be_bytes());
        Ok(bytes)
    }
}
