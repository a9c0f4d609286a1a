//! Reads what this recorder wrote, segments and clips: the head and where the fragments lie. Stops at the last whole fragment,
//! since a power cut may have left a part of one behind. Knows no other MP4 files, and never fails on strange bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::boxes::{NO_OFFSET, SYNC, TIMES_UUID};
use super::fragment::source_of;
use crate::clock::{TimeSource, UtcMillis};

/// Heads of fragments are some kilobytes; more is no file of ours.
const MAX_HEAD: u64 = 8 << 20;

/// A segment file as far as it is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentMap {
    /// `ftyp` and `moov` as they stand.
    pub init: Vec<u8>,
    /// In order.
    pub fragments: Vec<FragmentMap>,
    /// Bytes up to the end of the last whole fragment.
    pub whole_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl SegmentMap {
    /// Capture time of the earliest picture and the end of the latest.
    #[must_use]
    pub fn span(&self) -> Option<(UtcMillis, UtcMillis)> {
        let (first, last) =
            (self.fragments.iter().map(|f| f.first).min()?, self.fragments.iter().map(|f| f.last).max()?);
        let end = self.fragments.last()?;
        let step_ms = end.duration.checked_div(end.pictures.len() as u64)? / 90;
        Some((first, last.plus_ms(i64::try_from(step_ms).unwrap_or(0))))
    }
}

/// One fragment of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct FragmentMap {
    /// Where it starts in the file.
    pub at: u64,
    /// Its bytes, pictures included.
    pub bytes: u64,
    /// Begins with a picture that is decodable on its own.
    pub keyframe: bool,
    /// Capture time of its earliest picture.
    pub first: UtcMillis,
    /// Capture time of its latest picture.
    pub last: UtcMillis,
    /// Decode time of its first picture in the file, ticks.
    pub start_ticks: u64,
    /// Ticks of all its pictures.
    pub duration: u64,
    /// Its pictures in order of decoding.
    pub pictures: Vec<PictureMap>,
    /// The connection it came by.
    pub session: u64,
    /// Decode time of its first picture on the clock of the connection.
    pub session_ticks: i64,
    /// Where capture times come from.
    pub time_source: TimeSource,
    /// Half-width of the interval in which the true time lies.
    pub uncertainty_ms: u32,
    /// Camera clock minus box clock.
    pub clock_offset_ms: Option<i64>,
    /// Where numbers stand that a clip changes, from the start of the fragment.
    pub patches: PatchPlaces,
}

/// One picture of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureMap {
    /// Where its bytes start in the file.
    pub at: u64,
    /// Its bytes.
    pub bytes: u32,
    /// Decodable on its own.
    pub keyframe: bool,
    /// Capture time.
    pub utc: UtcMillis,
    /// When it is shown, ticks of the connection's clock.
    pub shown: i64,
}

/// Offsets from the start of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchPlaces {
    pub(super) number: u64,
    pub(super) description: u64,
    pub(super) start: u64,
    pub(super) media_time: u64,
}

/// Reads a segment file.
///
/// # Errors
/// When the file cannot be read. A file that is not ours has no fragments and an empty `init`.
pub fn segment(path: &Path) -> io::Result<SegmentMap> {
    let mut file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut reader = Reader { file: &mut file, file_bytes };
    let mut map = SegmentMap { init: Vec::new(), fragments: Vec::new(), whole_bytes: 0, file_bytes };
    let Some(init) = reader.init()? else { return Ok(map) };
    map.whole_bytes = init.len() as u64;
    map.init = init;
    if let Some((length, name)) = reader.header(map.whole_bytes)?
        && name == *b"sidx"
    {
        map.whole_bytes += length;
    }
    while let Some(fragment) = reader.fragment(map.whole_bytes)? {
        map.whole_bytes += fragment.bytes;
        map.fragments.push(fragment);
    }
    Ok(map)
}

/// One fragment by its bytes, with positions counted from its own start.
pub(super) fn fragment(bytes: &[u8]) -> Option<FragmentMap> {
    let mut head = 0usize;
    for _ in [b"uuid", b"prft", b"moof"] {
        head = head.checked_add(be32(bytes, head)? as usize)?;
    }
    parse_fragment(bytes.get(..head)?, 0, bytes.len() as u64)
}

struct Reader<'a> {
    file: &'a mut File,
    file_bytes: u64,
}

impl Reader<'_> {
    /// Length and name of the box at `at`; `None` when it is not whole.
    fn header(&mut self, at: u64) -> io::Result<Option<(u64, [u8; 4])>> {
        if at + 8 > self.file_bytes {
            return Ok(None);
        }
        let bytes = self.bytes(at, 8)?;
        let length = u64::from(be32(&bytes, 0).unwrap_or(0));
        let name = [bytes[4], bytes[5], bytes[6], bytes[7]];
        Ok((length >= 8 && at + length <= self.file_bytes).then_some((length, name)))
    }

    fn bytes(&mut self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        let mut out = vec![0; usize::try_from(count).unwrap_or(0)];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut out)?;
        Ok(out)
    }

    fn init(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((ftyp, name)) = self.header(0)? else { return Ok(None) };
        if name != *b"ftyp" || ftyp > MAX_HEAD {
            return Ok(None);
        }
        match self.header(ftyp)? {
            Some((moov, name)) if name == *b"moov" && moov <= MAX_HEAD => Ok(Some(self.bytes(0, ftyp + moov)?)),
            _ => Ok(None),
        }
    }

    /// `uuid prft moof mdat` at `at`.
    fn fragment(&mut self, at: u64) -> io::Result<Option<FragmentMap>> {
        let mut end = at;
        for expected in [b"uuid", b"prft", b"moof"] {
            match self.header(end)? {
                Some((length, name)) if name == *expected && length <= MAX_HEAD => end += length,
                _ => return Ok(None),
            }
        }
        match self.header(end)? {
            Some((length, name)) if name == *b"mdat" => {
                let head = self.bytes(at, end - at)?;
                Ok(parse_fragment(&head, at, end - at + length))
            }
            _ => Ok(None),
        }
    }
}

fn parse_fragment(head: &[u8], at: u64, bytes: u64) -> Option<FragmentMap> {
    let times_bytes = be32(head, 0)? as usize;
    let times = head.get(8..times_bytes)?;
    if times.get(..16)? != TIMES_UUID {
        return None;
    }
    let prft_bytes = be32(head, times_bytes)? as usize;
    let moof = times_bytes + prft_bytes;
    // Our own layout: mfhd of 16 bytes, traf with tfhd of 20 (version and flags, track, description), tfdt of 20, trun.
    let places = PatchPlaces {
        media_time: (times_bytes + 24) as u64,
        number: (moof + 20) as u64,
        description: (moof + 48) as u64,
        start: (moof + 64) as u64,
    };
    let (traf, tfdt, trun) = (moof + 24, moof + 52, moof + 72);
    let named = |at: usize, name: &[u8; 4]| head.get(at + 4..at + 8) == Some(name);
    if !(named(moof + 8, b"mfhd") && named(traf, b"traf") && named(tfdt, b"tfdt") && named(trun, b"trun")) {
        return None;
    }
    let start_ticks = be64(head, moof + 64)?;
    let count = be32(head, trun + 12)? as usize;
    let (session, session_ticks) = (be64(times, 28)?, be64(times, 36)?.cast_signed());
    let mut pictures = Vec::with_capacity(count.min(4096));
    let (mut position, mut decode) = (at + head.len() as u64 + 8, session_ticks);
    for i in 0..count {
        let row = trun + 20 + 16 * i;
        let (duration, size) = (be32(head, row)?, be32(head, row + 4)?);
        let shown_after = be32(head, row + 12)?.cast_signed();
        pictures.push(PictureMap {
            at: position,
            bytes: size,
            keyframe: be32(head, row + 8)? == SYNC,
            utc: UtcMillis(be64(times, 48 + 8 * i)?.cast_signed()),
            shown: decode + i64::from(shown_after),
        });
        position += u64::from(size);
        decode += i64::from(duration);
    }
    let offset = be32(times, 24)?.cast_signed();
    (position == at + bytes).then_some(())?;
    Some(FragmentMap {
        at,
        bytes,
        keyframe: pictures.first()?.keyframe,
        first: pictures.iter().map(|p| p.utc).min()?,
        last: pictures.iter().map(|p| p.utc).max()?,
        start_ticks,
        duration: u64::try_from(decode - session_ticks).ok()?,
        pictures,
        session,
        session_ticks,
        time_source: source_of(*times.get(17)?),
        uncertainty_ms: be32(times, 20)?,
        clock_offset_ms: (offset != NO_OFFSET).then(|| i64::from(offset)),
        patches: places,
    })
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
