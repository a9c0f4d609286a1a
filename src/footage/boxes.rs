//! The boxes of fragmented MP4 (ISO/IEC 14496-12) as this recorder writes them: one track of video, 90 kHz, fragments of
//! `uuid prft moof mdat`. Pure: values in, bytes out. What is in a fragment is decided in `fragment`, reading is `read`.

use super::params::ParameterSets;
use crate::camera::Codec;

/// Ticks of a second: the clock of RTP video, so that times are kept exactly.
pub const TICKS_PER_S: u32 = 90_000;
/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// Of the box with the capture time of each picture; random, ours.
pub(super) const TIMES_UUID: [u8; 16] =
    [0x9d, 0x3c, 0x4b, 0x71, 0x0e, 0x62, 0x4f, 0xa8, 0x8c, 0x15, 0x67, 0x61, 0x74, 0x65, 0x77, 0x01];
/// Nobody knows how far the camera's clock is from ours.
pub(super) const NO_OFFSET: i32 = i32::MIN;
/// Flags of a picture that is decodable on its own, and of one that is not.
pub(super) const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

/// One picture in a fragment, in order of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub bytes: u32,
    pub duration: u32,
    /// When it is shown less when it is decoded, ticks.
    pub shown_after: i32,
    pub keyframe: bool,
    pub utc_ms: i64,
}

/// What the `uuid` box says for all pictures of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// 0 RTCP, 1 arrival, 2 file.
    pub source: u8,
    pub uncertainty_ms: u32,
    /// [`NO_OFFSET`] when not known.
    pub clock_offset_ms: i32,
    /// The connection to the camera: within one, `ticks` go on.
    pub session: u64,
    /// Decode time of the first picture on the connection's own clock.
    pub ticks: i64,
}

/// A box: length, name, body.
pub(super) fn boxed(name: &[u8; 4], body: &[&[u8]]) -> Vec<u8> {
    let length = 8 + body.iter().map(|b| b.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(name);
    body.iter().for_each(|b| out.extend_from_slice(b));
    out
}

/// A box with version and flags.
fn full(name: &[u8; 4], version: u8, flags: u32, body: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    boxed(name, &[&[&head[..]], body].concat())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `ftyp` and `moov`. `descriptions`: one for each set of parameter sets that fragments name, from 1. `length_ticks` is
/// for a file that is complete.
pub(super) fn init(descriptions: &[&ParameterSets], length_ticks: Option<u64>) -> Vec<u8> {
    let ftyp = boxed(b"ftyp", &[b"isom", &[0, 0, 2, 0], b"isom", b"iso6", b"mp41"]);
    let Some(first) = descriptions.first() else { return ftyp };
    let mvhd = full(
        b"mvhd",
        0,
        0,
        &[
            &words(&[0, 0, TICKS_PER_S, 0, 0x1_0000, 0x0100_0000, 0, 0]),
            &words(&MATRIX),
            &words(&[0, 0, 0, 0, 0, 0, 2]),
        ],
    );
    let trex = full(b"trex", 0, 0, &[&words(&[1, 1, 0, 0, 0])]);
    let mehd = length_ticks.map(|t| full(b"mehd", 1, 0, &[&t.to_be_bytes()])).unwrap_or_default();
    let mvex = boxed(b"mvex", &[&mehd, &trex]);
    let moov = boxed(b"moov", &[&mvhd, &track(first, descriptions), &mvex]);
    [ftyp, moov].concat()
}

fn track(first: &ParameterSets, descriptions: &[&ParameterSets]) -> Vec<u8> {
    let tkhd = full(
        b"tkhd",
        0,
        3,
        &[&words(&[0, 0, 1, 0, 0, 0, 0, 0, 0]), &words(&MATRIX), &words(&[first.width << 16, first.height << 16])],
    );
    let mdhd = full(b"mdhd", 0, 0, &[&words(&[0, 0, TICKS_PER_S, 0]), &[0x55, 0xc4, 0, 0]]);
    let hdlr = full(b"hdlr", 0, 0, &[&words(&[0]), b"vide", &words(&[0, 0, 0]), b"gatewatch\0"]);
    let vmhd = full(b"vmhd", 0, 1, &[&[0; 8]]);
    let url = full(b"url ", 0, 1, &[]);
    let dref = full(b"dref", 0, 0, &[&words(&[1]), &url]);
    let entries: Vec<Vec<u8>> = descriptions.iter().map(|d| sample_entry(d)).collect();
    let count = words(&[u32::try_from(entries.len()).unwrap_or(u32::MAX)]);
    let stsd = full(b"stsd", 0, 0, &[&count, &entries.concat()]);
    let empty = [
        full(b"stts", 0, 0, &[&words(&[0])]),
        full(b"stsc", 0, 0, &[&words(&[0])]),
        full(b"stsz", 0, 0, &[&words(&[0, 0])]),
        full(b"stco", 0, 0, &[&words(&[0])]),
    ];
    let stbl = boxed(b"stbl", &[&stsd, &empty.concat()]);
    let minf = boxed(b"minf", &[&vmhd, &boxed(b"dinf", &[&dref]), &stbl]);
    boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &hdlr, &minf])])
}

fn sample_entry(sets: &ParameterSets) -> Vec<u8> {
    let (entry, record) = match sets.codec {
        Codec::H264 => (b"avc1", b"avcC"),
        Codec::H265 => (b"hvc1", b"hvcC"),
    };
    let half = |v: u32| u16::try_from(v).unwrap_or(u16::MAX).to_be_bytes();
    boxed(
        entry,
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 16],
            &half(sets.width),
            &half(sets.height),
            &words(&[0x48_0000, 0x48_0000, 0]),
            &[0, 1],
            &[0; 32],
            &[0, 0x18, 0xff, 0xff],
            &boxed(record, &[&sets.record()]),
        ],
    )
}

/// Everything of a fragment in front of its pictures' bytes.
pub(super) fn fragment_head(number: u32, start_ticks: u64, samples: &[Sample], stamp: &Stamp) -> Vec<u8> {
    let first_utc = samples.first().map_or(0, |s| s.utc_ms);
    let first_shown = samples.first().map_or(0, |s| i64::from(s.shown_after));
    let mut out = times(samples, stamp);
    out.extend(full(
        b"prft",
        1,
        0,
        &[&words(&[1]), &ntp(first_utc).to_be_bytes(), &start_ticks.saturating_add_signed(first_shown).to_be_bytes()],
    ));
    let mfhd = full(b"mfhd", 0, 0, &[&words(&[number])]);
    // Offsets count from the `moof`; the sample description is named, so that a clip may have several.
    let tfhd = full(b"tfhd", 0, 0x02_0002, &[&words(&[1, 1])]);
    let tfdt = full(b"tfdt", 1, 0, &[&start_ticks.to_be_bytes()]);
    let trun_bytes = 20 + 16 * samples.len();
    let moof_bytes = 8 + mfhd.len() + 8 + tfhd.len() + tfdt.len() + trun_bytes;
    let mut rows = words(&[u32::try_from(samples.len()).unwrap_or(u32::MAX)]);
    rows.extend(u32::try_from(moof_bytes + 8).unwrap_or(u32::MAX).to_be_bytes());
    for s in samples {
        rows.extend(words(&[s.duration, s.bytes, if s.keyframe { SYNC } else { NOT_SYNC }]));
        rows.extend(s.shown_after.to_be_bytes());
    }
    let trun = full(b"trun", 1, 0xf01, &[&rows]);
    out.extend(boxed(b"moof", &[&mfhd, &boxed(b"traf", &[&tfhd, &tfdt, &trun])]));
    let payload: u64 = samples.iter().map(|s| u64::from(s.bytes)).sum();
    out.extend(u32::try_from(payload + 8).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(b"mdat");
    out
}

/// Capture times: UTC milliseconds of each picture in order of decoding.
fn times(samples: &[Sample], stamp: &Stamp) -> Vec<u8> {
    let each: Vec<u8> = samples.iter().flat_map(|s| s.utc_ms.to_be_bytes()).collect();
    boxed(
        b"uuid",
        &[
            &TIMES_UUID,
            &[1, stamp.source, 0, 0],
            &stamp.uncertainty_ms.to_be_bytes(),
            &stamp.clock_offset_ms.to_be_bytes(),
            &stamp.session.to_be_bytes(),
            &stamp.ticks.to_be_bytes(),
            &words(&[u32::try_from(samples.len()).unwrap_or(u32::MAX)]),
            &each,
        ],
    )
}

/// NTP time: seconds since 1900 and their binary fraction.
fn ntp(utc_ms: i64) -> u64 {
    let seconds = u64::try_from(utc_ms.div_euclid(1000) + NTP_TO_UNIX_S).unwrap_or(0);
    let fraction = (u64::try_from(utc_ms.rem_euclid(1000)).unwrap_or(0) << 32) / 1000;
    (seconds << 32) | fraction
}

/// One entry of the index of a clip.
pub(super) struct IndexEntry {
    pub bytes: u32,
    pub duration: u32,
    pub keyframe: bool,
}

/// `sidx`: where each fragment lies, so that players seek without reading all. `first_ticks`: when the first picture is
/// shown.
pub(super) fn index(entries: &[IndexEntry], first_ticks: u64) -> Vec<u8> {
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    let mut rows = Vec::with_capacity(entries.len() * 12);
    for e in entries.iter().take(usize::from(count)) {
        rows.extend(words(&[e.bytes & 0x7fff_ffff, e.duration, if e.keyframe { 0x9000_0000 } else { 0 }]));
    }
    full(
        b"sidx",
        1,
        0,
        &[
            &words(&[1, TICKS_PER_S]),
            &first_ticks.to_be_bytes(),
            &0u64.to_be_bytes(),
            &[0, 0],
            &count.to_be_bytes(),
            &rows,
        ],
    )
}
