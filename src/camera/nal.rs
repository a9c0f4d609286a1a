//! What the head of an Annex B unit holds: enough to tell a picture from mere parameter sets, and where the unit's
//! delimiter lies. Pure; reads no further than the first slice.

use super::Codec;

/// Kind of a NAL unit, as far as anybody here cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A part of a coded picture.
    Slice,
    /// Access unit delimiter.
    Delimiter,
    /// Parameter sets, supplemental information and the rest.
    Other,
}

/// True when the unit holds a coded picture, not only what belongs to the next one.
pub(crate) fn has_picture(unit: &[u8], codec: Codec) -> bool {
    nals(unit, codec).any(|(_, kind)| kind == Kind::Slice)
}

/// Where the access unit delimiter starts when parameter sets lie in front of it, which no stream may have.
pub(crate) fn late_delimiter(unit: &[u8], codec: Codec) -> Option<usize> {
    let mut head = nals(unit, codec).take_while(|(_, kind)| *kind != Kind::Slice);
    head.find(|(_, kind)| *kind == Kind::Delimiter).map(|(at, _)| at).filter(|&at| at > 0)
}

/// Offset of each start code of three bytes.
fn starts(unit: &[u8]) -> impl Iterator<Item = usize> + '_ {
    memchr::memmem::find_iter(unit, &[0, 0, 1])
}

/// Offset of each start code, and what follows it.
fn nals(unit: &[u8], codec: Codec) -> impl Iterator<Item = (usize, Kind)> + '_ {
    starts(unit).filter_map(move |at| {
        // A fourth byte of zero in front belongs to the start code.
        let start = if at > 0 && unit[at - 1] == 0 { at - 1 } else { at };
        Some((start, kind(*unit.get(at + 3)?, codec)))
    })
}

/// The NAL units of an Annex B unit, without start codes and without the zeros that may follow them; none is empty.
pub(super) fn units(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = starts(unit).skip(1).chain([unit.len()]);
    starts(unit).zip(ends).filter_map(move |(at, end)| {
        let nal = &unit[at + 3..end];
        // The last byte of a NAL unit is never zero (ITU-T H.264 7.4.1).
        let end = nal.iter().rposition(|b| *b != 0)?;
        Some(&nal[..=end])
    })
}

/// Whether a NAL unit is a sequence parameter set.
pub(super) fn is_sequence_set(nal: &[u8], codec: Codec) -> bool {
    nal.first().is_some_and(|header| match codec {
        Codec::H264 => header & 0x1f == 7,
        Codec::H265 => (header >> 1) & 0x3f == 33,
    })
}

fn kind(header: u8, codec: Codec) -> Kind {
    match codec {
        Codec::H264 => match header & 0x1f {
            1..=5 => Kind::Slice,
            9 => Kind::Delimiter,
            _ => Kind::Other,
        },
        Codec::H265 => match (header >> 1) & 0x3f {
            0..=31 => Kind::Slice,
            35 => Kind::Delimiter,
            _ => Kind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of the given first bytes, each with a start code of four bytes.
    fn unit(headers: &[u8]) -> Vec<u8> {
        headers.iter().flat_map(|&h| [0, 0, 0, 1, h, 0xaa, 0xbb]).collect()
    }

    #[test]
    fn parameter_sets_are_no_picture() {
        assert!(!has_picture(&unit(&[0x67, 0x68]), Codec::H264));
        assert!(!has_picture(&unit(&[9, 0x67, 0x68, 6]), Codec::H264));
        assert!(has_picture(&unit(&[9, 0x67, 0x68, 6, 0x65]), Codec::H264));
        assert!(has_picture(&unit(&[0x41]), Codec::H264));
        assert!(!has_picture(&unit(&[0x40, 0x42, 0x44, 0x46]), Codec::H265));
        assert!(has_picture(&unit(&[0x40, 0x42, 0x44, 0x26]), Codec::H265));
        assert!(!has_picture(&[], Codec::H264));
    }

    #[test]
    fn units_come_without_what_separates_them() {
        let stream = [0, 0, 0, 1, 9, 16, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 0, 0, 3, 1, 7, 0, 0, 0, 1];
        assert_eq!(units(&stream).collect::<Vec<_>>(), [&[9, 16][..], &[0x67, 1], &[0x65, 0, 0, 3, 1, 7]]);
        assert_eq!(units(&[0, 0]).count() + units(&[]).count(), 0);
    }

    #[test]
    fn a_delimiter_behind_parameter_sets_is_found() {
        assert_eq!(late_delimiter(&unit(&[0x67, 0x68, 9, 0x67, 0x65]), Codec::H264), Some(14));
        assert_eq!(late_delimiter(&unit(&[9, 0x67, 0x68, 0x65]), Codec::H264), None);
        assert_eq!(late_delimiter(&unit(&[0x67, 0x65]), Codec::H264), None);
        assert_eq!(late_delimiter(&unit(&[0x65, 9]), Codec::H264), None);
        assert_eq!(late_delimiter(&unit(&[0x42, 0x46, 0x26]), Codec::H265), Some(7));
    }
}
