//! NAL units of an Annex B access unit: where they lie, which are parameter sets, and the form with lengths that MP4
//! holds. Every byte of every unit is kept, in order; only start codes become lengths. What a camera's ingest needs to
//! know of them lives in `camera/nal.rs`.

use memchr::memmem;

use crate::camera::Codec;

/// A parameter set, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetKind {
    /// H.265 only.
    Video,
    Sequence,
    Picture,
}

/// The NAL units, without start codes and without the zero bytes that pad them (ITU-T H.264 B.1.1: a unit never ends
/// in a zero byte).
pub(super) fn units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut codes = memmem::find_iter(annex_b, &[0, 0, 1]).peekable();
    std::iter::from_fn(move || {
        loop {
            let start = codes.next()? + 3;
            let end = codes.peek().copied().unwrap_or(annex_b.len());
            let unit = trimmed(annex_b.get(start..end)?);
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    })
}

fn trimmed(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    &unit[..end]
}

/// Which parameter set a unit is, if it is one.
pub(super) fn set_kind(unit: &[u8], codec: Codec) -> Option<SetKind> {
    let first = *unit.first()?;
    match codec {
        Codec::H264 => match first & 0x1f {
            7 => Some(SetKind::Sequence),
            8 => Some(SetKind::Picture),
            _ => None,
        },
        Codec::H265 => match (first >> 1) & 0x3f {
            32 => Some(SetKind::Video),
            33 => Some(SetKind::Sequence),
            34 => Some(SetKind::Picture),
            _ => None,
        },
    }
}

/// Appends the units with a length of four bytes in front of each; returns how many bytes that were.
pub(super) fn append_with_lengths(annex_b: &[u8], out: &mut Vec<u8>) -> usize {
    let before = out.len();
    for unit in units(annex_b) {
        out.extend_from_slice(&u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out.len() - before
}

/// The other way: a sample of a file as Annex B. `None` when its lengths do not fit.
pub(super) fn to_annex_b(sample: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(sample.len() + 16);
    let mut rest = sample;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(tail.get(..length)?);
        rest = &tail[length..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn start_codes_of_both_lengths_and_padding_are_no_part_of_units() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 0, 4];
        let found: Vec<&[u8]> = units(&stream).collect();
        assert_eq!(found, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 4]]);
        assert_eq!(units(&[0, 0, 1]).count(), 0);
        assert_eq!(units(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn parameter_sets_are_known_by_their_first_byte() {
        assert_eq!(set_kind(&[0x67], Codec::H264), Some(SetKind::Sequence));
        assert_eq!(set_kind(&[0x65], Codec::H264), None);
        assert_eq!(set_kind(&[0x40, 1], Codec::H265), Some(SetKind::Video));
        assert_eq!(set_kind(&[0x44, 1], Codec::H265), Some(SetKind::Picture));
        assert_eq!(set_kind(&[], Codec::H265), None);
    }

    proptest! {
        #[test]
        fn units_survive_the_way_into_a_file_and_back(payloads in prop::collection::vec(prop::collection::vec(1u8..=255, 1..40), 1..6)) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| [&[0, 0, 0, 1][..], p].concat()).collect();
            let mut sample = Vec::new();
            prop_assert_eq!(append_with_lengths(&stream, &mut sample), sample.len());
            prop_assert_eq!(to_annex_b(&sample), Some(stream));
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(0u8..4, 0..64)) {
            let mut out = Vec::new();
            append_with_lengths(&bytes, &mut out);
            prop_assert!(to_annex_b(&out).is_some());
            let _ = to_annex_b(&bytes);
        }
    }
}
