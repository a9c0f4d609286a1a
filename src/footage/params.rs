//! What the parameter sets of a stream say about it, and the decoder configuration records that an MP4 file carries
//! (`avcC`, `hvcC`: ISO/IEC 14496-15). Reads only the head of the sequence parameter set: profile and size.

use super::nal::{self, SetKind};
use crate::camera::Codec;

/// Parameter sets of a stream, as they stood in front of a keyframe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParameterSets {
    pub codec: Codec,
    pub video: Vec<Vec<u8>>,
    pub sequence: Vec<Vec<u8>>,
    pub picture: Vec<Vec<u8>>,
    pub width: u32,
    pub height: u32,
    /// Chroma format and bit depths less 8, for `hvcC` and high profiles of `avcC`.
    format: [u32; 3],
}

impl ParameterSets {
    /// Reads the sets of a keyframe's access unit; `None` when there are none, or none that can be read.
    pub fn of(annex_b: &[u8], codec: Codec) -> Option<Self> {
        let (mut video, mut sequence, mut picture) = (Vec::new(), Vec::new(), Vec::new());
        for unit in nal::units(annex_b) {
            let list: &mut Vec<Vec<u8>> = match nal::set_kind(unit, codec) {
                Some(SetKind::Video) => &mut video,
                Some(SetKind::Sequence) => &mut sequence,
                Some(SetKind::Picture) => &mut picture,
                None => continue,
            };
            if !list.iter().any(|known| known == unit) {
                list.push(unit.to_vec());
            }
        }
        let first = sequence.first().filter(|s| s.len() >= 4)?;
        let complete = !picture.is_empty() && (codec == Codec::H264 || !video.is_empty());
        let read = match codec {
            Codec::H264 => read_h264(first),
            Codec::H265 => read_h265(first),
        };
        let (width, height, format) = read.filter(|_| complete)?;
        Some(Self { codec, video, sequence, picture, width, height, format })
    }

    /// Body of the `avcC` or `hvcC` box.
    pub fn record(&self) -> Vec<u8> {
        match self.codec {
            Codec::H264 => self.avcc(),
            Codec::H265 => self.hvcc(),
        }
    }

    fn avcc(&self) -> Vec<u8> {
        let sps = &self.sequence[0];
        let mut out = vec![1, sps[1], sps[2], sps[3], 0xfc | 3];
        out.push(0xe0 | u8::try_from(self.sequence.len().min(31)).unwrap_or(31));
        self.sequence.iter().take(31).for_each(|set| push_set(&mut out, set));
        out.push(u8::try_from(self.picture.len()).unwrap_or(u8::MAX));
        self.picture.iter().take(255).for_each(|set| push_set(&mut out, set));
        if is_high(sps[1]) {
            let [chroma, luma_depth, chroma_depth] = self.format.map(|v| u8::try_from(v & 7).unwrap_or(0));
            out.extend([0xfc | (chroma & 3), 0xf8 | luma_depth, 0xf8 | chroma_depth, 0]);
        }
        out
    }

    fn hvcc(&self) -> Vec<u8> {
        // profile_tier_level follows the two bytes of the header and one byte of the set itself.
        let head = plain(&self.sequence[0]);
        let general = |i: usize| head.get(3 + i).copied().unwrap_or(0);
        let [chroma, luma_depth, chroma_depth] = self.format.map(|v| u8::try_from(v & 7).unwrap_or(0));
        let mut out = vec![1];
        out.extend((0..12).map(general));
        // No spatial segmentation, parallelism not said; frame rate not said; lengths of four bytes.
        out.extend([0xf0, 0, 0xfc, 0xfc | (chroma & 3), 0xf8 | luma_depth, 0xf8 | chroma_depth, 0, 0]);
        let layers = head.get(2).map_or(1, |b| ((b >> 1) & 7) + 1);
        let nested = head.get(2).is_some_and(|b| b & 1 == 1);
        out.push((layers << 3) | (u8::from(nested) << 2) | 3);
        out.push(3);
        for (kind, sets) in [(32u8, &self.video), (33, &self.sequence), (34, &self.picture)] {
            out.push(0x80 | kind);
            out.extend(u16::try_from(sets.len()).unwrap_or(u16::MAX).to_be_bytes());
            sets.iter().for_each(|set| push_set(&mut out, set));
        }
        out
    }
}

fn push_set(out: &mut Vec<u8>, set: &[u8]) {
    let length = u16::try_from(set.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(&set[..usize::from(length).min(set.len())]);
}

fn is_high(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134)
}

/// Without the bytes that keep start codes out of a unit.
fn plain(unit: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &b in unit {
        if zeros >= 2 && b == 3 {
            zeros = 0;
            continue;
        }
        zeros = if b == 0 { zeros + 1 } else { 0 };
        out.push(b);
    }
    out
}

/// Bits of a unit, with Exponential-Golomb numbers.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = (byte >> (7 - self.at % 8)) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some((value << 1) | self.bit()?))
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    fn signed_golomb(&mut self) -> Option<i64> {
        let k = i64::from(self.golomb()?);
        Some(if k % 2 == 1 { (k + 1) / 2 } else { -k / 2 })
    }
}

type Head = (u32, u32, [u32; 3]);

/// Size from an H.264 sequence parameter set (7.3.2.1.1).
fn read_h264(sps: &[u8]) -> Option<Head> {
    let bytes = plain(sps);
    let profile = *bytes.get(1)?;
    let mut b = Bits { bytes: &bytes, at: 32 };
    b.golomb()?;
    let mut format = [1, 0, 0];
    let mut separate = 0;
    if is_high(profile) {
        format[0] = b.golomb()?;
        if format[0] == 3 {
            separate = b.bit()?;
        }
        (format[1], format[2]) = (b.golomb()?, b.golomb()?);
        b.bit()?;
        if b.bit()? == 1 {
            skip_scaling(&mut b, if format[0] == 3 { 12 } else { 8 })?;
        }
    }
    b.golomb()?;
    match b.golomb()? {
        0 => {
            b.golomb()?;
        }
        1 => {
            b.bit()?;
            b.signed_golomb()?;
            b.signed_golomb()?;
            for _ in 0..b.golomb()?.min(255) {
                b.signed_golomb()?;
            }
        }
        _ => {}
    }
    b.golomb()?;
    b.bit()?;
    let (columns, rows) = (b.golomb()?.checked_add(1)?, b.golomb()?.checked_add(1)?);
    let frames_only = b.bit()?;
    if frames_only == 0 {
        b.bit()?;
    }
    b.bit()?;
    let chroma = if separate == 1 { 0 } else { format[0] };
    let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
    let unit_y = unit_y * (2 - frames_only);
    let size = (columns.checked_mul(16)?, rows.checked_mul(16)?.checked_mul(2 - frames_only)?);
    cropped(&mut b, size, (unit_x, unit_y)).map(|(w, h)| (w, h, format))
}

fn skip_scaling(b: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if b.bit()? == 0 {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + b.signed_golomb()? + 256) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Size from an H.265 sequence parameter set (7.3.2.2.1).
fn read_h265(sps: &[u8]) -> Option<Head> {
    let bytes = plain(sps);
    let layers = (*bytes.get(2)? >> 1) & 7;
    // Header, ids, then profile_tier_level: 88 bits and a level of 8.
    let mut b = Bits { bytes: &bytes, at: 24 + 96 };
    let mut present = [(0, 0); 8];
    for slot in present.iter_mut().take(usize::from(layers)) {
        *slot = (b.bit()?, b.bit()?);
    }
    if layers > 0 {
        b.skip(2 * (8 - usize::from(layers)));
    }
    for (profile, level) in present.iter().take(usize::from(layers)) {
        b.skip(usize::try_from(88 * profile + 8 * level).ok()?);
    }
    b.golomb()?;
    let mut format = [b.golomb()?, 0, 0];
    if format[0] == 3 {
        b.bit()?;
    }
    let size = (b.golomb()?, b.golomb()?);
    let units = (if matches!(format[0], 1 | 2) { 2 } else { 1 }, if format[0] == 1 { 2 } else { 1 });
    let (width, height) = cropped(&mut b, size, units)?;
    (format[1], format[2]) = (b.golomb()?, b.golomb()?);
    Some((width, height, format))
}

/// The shown size: what the window at this place in the set leaves.
fn cropped(b: &mut Bits<'_>, (width, height): (u32, u32), (unit_x, unit_y): (u32, u32)) -> Option<(u32, u32)> {
    let (mut across, mut down) = (0u32, 0u32);
    if b.bit()? == 1 {
        across = b.golomb()?.checked_add(b.golomb()?)?.checked_mul(unit_x)?;
        down = b.golomb()?.checked_add(b.golomb()?)?.checked_mul(unit_y)?;
    }
    let size = (width.checked_sub(across)?, height.checked_sub(down)?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1920x1080 of a common encoder, High profile.
    const SPS_1080: &str = "67640028acd940780227e5c044000003000400000300c83c60c658";
    const PPS: &str = "68ebe3cb22c0";
    /// 320x240 by x265 (Main).
    const VPS_265: &str = "40010c01ffff01600000030090000003000003003c959809";
    const SPS_265: &str = "42010101600000030090000003000003003ca00a080f165966924caf016808000003000800000300c840";
    const PPS_265: &str = "4401c172b46240";

    fn stream(sets: &[&str]) -> Vec<u8> {
        sets.iter().flat_map(|s| [vec![0, 0, 0, 1], hex::decode(s).unwrap()].concat()).collect()
    }

    #[test]
    fn h264_says_its_size_and_record() {
        let sets = ParameterSets::of(&stream(&[SPS_1080, PPS]), Codec::H264).unwrap();
        assert_eq!((sets.width, sets.height), (1920, 1080));
        let record = sets.record();
        assert_eq!(record[..6], [1, 0x64, 0, 0x28, 0xff, 0xe1]);
        assert_eq!(record[record.len() - 4..], [0xfd, 0xf8, 0xf8, 0]);
    }

    #[test]
    fn h265_says_its_size_and_record() {
        let sets = ParameterSets::of(&stream(&[VPS_265, SPS_265, PPS_265]), Codec::H265).unwrap();
        assert_eq!((sets.width, sets.height), (320, 240));
        let record = sets.record();
        assert_eq!(record[..13], [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c]);
        assert_eq!((record[21], record[22]), (0b0000_1111, 3));
    }

    #[test]
    fn without_all_sets_there_is_no_record() {
        assert!(ParameterSets::of(&stream(&[SPS_1080]), Codec::H264).is_none());
        assert!(ParameterSets::of(&stream(&[SPS_265, PPS_265]), Codec::H265).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for (codec, kind) in [(Codec::H264, 0x67u8), (Codec::H265, 0x42)] {
                let sps = [&[0, 0, 1, kind, 1][..], &bytes].concat();
                let all = [&sps[..], &stream(&[if codec == Codec::H264 { PPS } else { PPS_265 }, VPS_265])].concat();
                if let Some(sets) = ParameterSets::of(&all, codec) {
                    let _ = sets.record();
                }
            }
        }
    }
}
