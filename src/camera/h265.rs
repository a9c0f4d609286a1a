//! The quantiser that a slice of H.265 begins with: its header and the parameter sets, read as far as that (ITU-T H.265 (08/2021)
//! 7.3). Pure. What cannot be read, since it is damaged or of another layer, gives nothing; streams of screen content may be misread. Nothing
//! that a stream says can panic here or make it large.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use h264_reader::rbsp::{BitRead, BitReader, ByteReader};

/// Of a NAL unit.
const HEADER_BYTES: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
/// Pictures that one can refer to on either side (`MaxDpbSize`, A.4.2).
const MAX_REFERENCES: u32 = 16;
/// 7.4.3.2.1.
const MAX_SHORT_SETS: u32 = 64;
const MAX_LONG_TERM: u32 = 33;
/// 7.4.2.4.4: kinds of NAL units that are parts of pictures; from 16 to 23 those that decoding can begin with, of which 19 and 20 IDR.
const SLICES: std::ops::RangeInclusive<u8> = 0..=9;
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=21;
const IDR: std::ops::RangeInclusive<u8> = 19..=20;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// The parameter sets of a stream so far.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sequences: BTreeMap<u32, Sequence>,
    pictures: BTreeMap<u32, Picture>,
}

/// What is read of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// For luma, where it has one of its own that can be read.
    pub quantiser: Option<i32>,
    /// It is known to be predicted from other pictures.
    pub refers: bool,
}

/// What slices need of a sequence parameter set.
#[derive(Debug)]
struct Sequence {
    separate_planes: bool,
    chroma: bool,
    /// Blocks of the picture.
    blocks: u32,
    order_bits: u32,
    short_sets: Vec<References>,
    /// Whether long-term pictures are referred to; for each that a slice may name by number, whether it is used.
    long_term: Option<Vec<bool>>,
    adaptive_offset: bool,
    temporal_vectors: bool,
}

/// What slices need of a picture parameter set.
#[derive(Debug)]
struct Picture {
    sequence: u32,
    dependent_slices: bool,
    output_flag: bool,
    extra_bits: u32,
    initial_cabac: bool,
    /// References by default, on either side.
    references: [u32; 2],
    quantiser: i32,
    weighted: bool,
    weighted_both: bool,
    lists_change: bool,
}

/// A short-term reference picture set: distances in display order and whether the picture itself uses them; earlier ones first,
/// nearest first.
#[derive(Debug, Default, Clone)]
struct References {
    before: Vec<(i64, bool)>,
    after: Vec<(i64, bool)>,
}

/// Bits of a NAL unit without its header and without emulation prevention.
struct Bits<'a>(BitReader<ByteReader<&'a [u8]>>);

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        self.0.read_bit("").ok()
    }

    /// At most 32.
    fn bits(&mut self, count: u32) -> Option<u32> {
        if count == 0 { Some(0) } else { self.0.read_var(count.min(32), "").ok() }
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        self.0.skip(count, "").ok()
    }

    /// ue(v), 9.2.
    fn number(&mut self) -> Option<u32> {
        self.0.read_ue("").ok()
    }

    fn number_to(&mut self, most: u32) -> Option<u32> {
        self.number().filter(|n| *n <= most)
    }

    /// se(v), 9.2.
    fn signed(&mut self) -> Option<i32> {
        self.0.read_se("").ok()
    }
}

impl Sets {
    /// What the NAL unit (header first) says as a slice of the base layer; `None` when it is none. Parameter sets are kept for
    /// later slices.
    pub fn read(&mut self, nal: &[u8]) -> Option<Slice> {
        let &[first, second, ..] = nal else { return None };
        let kind = (first >> 1) & 0x3f;
        if first & 1 != 0 || second >> 3 != 0 {
            return None; // of another layer
        }
        let mut bits = Bits(BitReader::new(ByteReader::skipping_bytes(nal, HEADER_BYTES)));
        match kind {
            SPS => self.sequences.extend(sequence(&mut bits)),
            PPS => self.pictures.extend(picture(&mut bits)),
            kind if SLICES.contains(&kind) || RANDOM_ACCESS.contains(&kind) => {
                let mut slice = Slice::default();
                slice.quantiser = self.quantiser(&mut bits, kind, &mut slice.refers);
                return Some(slice);
            }
            _ => {}
        }
        None
    }

    /// 7.3.6.1, to `slice_qp_delta`.
    fn quantiser(&self, b: &mut Bits<'_>, kind: u8, refers: &mut bool) -> Option<i32> {
        let first = b.flag()?;
        if RANDOM_ACCESS.contains(&kind) {
            b.skip(1)?;
        }
        let picture = self.pictures.get(&b.number()?)?;
        let sequence = self.sequences.get(&picture.sequence)?;
        if !first {
            if picture.dependent_slices && b.flag()? {
                return None;
            }
            b.skip(index_bits(sequence.blocks))?;
        }
        b.skip(picture.extra_bits)?;
        let (both, one) = match b.number()? {
            0 => (true, false),
            1 => (false, true),
            2 => (false, false),
            _ => return None,
        };
        *refers = both || one;
        b.skip(u32::from(picture.output_flag) + 2 * u32::from(sequence.separate_planes))?;
        let (mut used, mut temporal) = (0, false);
        if !IDR.contains(&kind) {
            used = sequence.referred(b)?;
            temporal = sequence.temporal_vectors && b.flag()?;
        }
        if sequence.adaptive_offset {
            b.skip(1 + u32::from(sequence.chroma))?;
        }
        if both || one {
            inter(b, picture, sequence.chroma, both, used, temporal)?;
        }
        Some(picture.quantiser.saturating_add(b.signed()?))
    }
}

/// What predicted slices (`both`: from both sides) say before their quantiser; `used`: `NumPicTotalCurr`.
fn inter(b: &mut Bits<'_>, picture: &Picture, chroma: bool, both: bool, used: u32, temporal: bool) -> Option<()> {
    let sides = if both { 2 } else { 1 };
    let mut references = picture.references;
    if b.flag()? {
        for side in &mut references[..sides] {
            *side = b.number_to(MAX_REFERENCES - 2)? + 1;
        }
    }
    if picture.lists_change && used > 1 {
        for side in &references[..sides] {
            if b.flag()? {
                b.skip(side * index_bits(used))?;
            }
        }
    }
    b.skip(u32::from(both) + u32::from(picture.initial_cabac))?;
    if temporal {
        let from_first = !both || b.flag()?;
        if references[usize::from(!from_first)] > 1 {
            b.number()?;
        }
    }
    if if both { picture.weighted_both } else { picture.weighted } {
        weights(b, &references[..sides], chroma)?;
    }
    b.number().map(drop)
}

/// 7.3.6.3.
fn weights(b: &mut Bits<'_>, references: &[u32], chroma: bool) -> Option<()> {
    b.number()?;
    if chroma {
        b.signed()?;
    }
    for &side in references {
        let flags = |b: &mut Bits<'_>| (0..side).map(|_| b.flag()).collect::<Option<Vec<bool>>>();
        let luma = flags(b)?;
        let colour = if chroma { flags(b)? } else { vec![false; luma.len()] };
        for (luma, colour) in luma.into_iter().zip(colour) {
            for _ in 0..2 * u8::from(luma) + 4 * u8::from(colour) {
                b.signed()?;
            }
        }
    }
    Some(())
}

impl Sequence {
    /// What a slice refers to, from `slice_pic_order_cnt_lsb` on: how many pictures it uses itself.
    fn referred(&self, b: &mut Bits<'_>) -> Option<u32> {
        b.skip(self.order_bits)?;
        let known = self.short_sets.len() as u32;
        let mut used = if b.flag()? {
            self.short_sets.get(b.bits(index_bits(known))? as usize)?.used()
        } else {
            short_set(b, known, known, &self.short_sets)?.used()
        };
        if let Some(listed) = &self.long_term {
            let named = if listed.is_empty() { 0 } else { b.number_to(MAX_LONG_TERM)? };
            let all = named + b.number_to(MAX_LONG_TERM)?;
            for n in 0..all {
                let is_used = if n < named {
                    *listed.get(b.bits(index_bits(listed.len() as u32))? as usize)?
                } else {
                    b.skip(self.order_bits)?;
                    b.flag()?
                };
                used += u32::from(is_used);
                if b.flag()? {
                    b.number()?;
                }
            }
        }
        Some(used)
    }
}

impl References {
    fn used(&self) -> u32 {
        self.before.iter().chain(&self.after).filter(|r| r.1).count() as u32
    }
}

/// 7.3.7 and 7.4.8: set number `index` of `count`, those before it being `earlier`.
fn short_set(b: &mut Bits<'_>, index: u32, count: u32, earlier: &[References]) -> Option<References> {
    if index > 0 && b.flag()? {
        return predicted_set(b, index, count, earlier);
    }
    let lengths = [b.number_to(MAX_REFERENCES)?, b.number_to(MAX_REFERENCES)?];
    let mut side = |length: u32, sign: i64| {
        let mut at = 0;
        let next = |_| {
            at += sign * (i64::from(b.number()?) + 1);
            Some((at, b.flag()?))
        };
        (0..length).map(next).collect::<Option<Vec<_>>>()
    };
    Some(References { before: side(lengths[0], -1)?, after: side(lengths[1], 1)? })
}

/// A set told by how it differs from an earlier one (7-61, 7-62).
fn predicted_set(b: &mut Bits<'_>, index: u32, count: u32, earlier: &[References]) -> Option<References> {
    let back = if index == count { b.number_to(MAX_SHORT_SETS)? + 1 } else { 1 };
    let from = earlier.get(index.checked_sub(back)? as usize)?;
    let minus = b.flag()?;
    let shift = (i64::from(b.number()?) + 1) * if minus { -1 } else { 1 };
    // Of each earlier one, and last of the picture that these refer to: whether it is used, and whether it is kept.
    let entries = from.before.len() + from.after.len() + 1;
    let told = (0..entries).map(|_| {
        let used = b.flag()?;
        Some((used, used || b.flag()?))
    });
    let told: Vec<(bool, bool)> = told.collect::<Option<_>>()?;
    let moved = |(at, told): (i64, &(bool, bool))| told.1.then_some((at + shift, told.0));
    let before: Vec<_> = from.before.iter().map(|r| r.0).zip(&told).map(moved).collect();
    let after: Vec<_> = from.after.iter().map(|r| r.0).zip(&told[from.before.len()..]).map(moved).collect();
    let itself = [moved((0, &told[entries - 1]))];
    let pick = |list: Vec<&Option<(i64, bool)>>, sign: i64| {
        list.into_iter().flatten().filter(|r| r.0 * sign > 0).copied().take(MAX_REFERENCES as usize).collect()
    };
    Some(References {
        before: pick(after.iter().rev().chain(&itself).chain(&before).collect(), -1),
        after: pick(before.iter().rev().chain(&itself).chain(&after).collect(), 1),
    })
}

/// 7.3.2.2, to `sps_temporal_mvp_enabled_flag`.
fn sequence(b: &mut Bits<'_>) -> Option<(u32, Sequence)> {
    b.skip(4)?;
    let sub_layers = b.bits(3)?;
    b.skip(1)?;
    profile(b, sub_layers)?;
    let id = b.number_to(15)?;
    let colours = b.number_to(3)?;
    let separate_planes = colours == 3 && b.flag()?;
    let (width, height) = (b.number_to(65_535)?, b.number_to(65_535)?);
    if b.flag()? {
        for _ in 0..4 {
            b.number()?;
        }
    }
    b.number()?;
    b.number()?;
    let order_bits = b.number_to(12)? + 4;
    let from = if b.flag()? { 0 } else { sub_layers };
    for _ in from..=sub_layers {
        for _ in 0..3 {
            b.number()?;
        }
    }
    let block = b.number_to(3)? + 3;
    let block = block + b.number_to(3)?;
    for _ in 0..4 {
        b.number()?;
    }
    if b.flag()? && b.flag()? {
        scaling_lists(b)?;
    }
    b.skip(1)?;
    let adaptive_offset = b.flag()?;
    if b.flag()? {
        b.skip(8)?;
        b.number()?;
        b.number()?;
        b.skip(1)?;
    }
    let count = b.number_to(MAX_SHORT_SETS)?;
    let mut short_sets = Vec::new();
    for index in 0..count {
        let set = short_set(b, index, count, &short_sets)?;
        short_sets.push(set);
    }
    let long_term = if b.flag()? {
        let count = b.number_to(MAX_LONG_TERM - 1)?;
        let used = (0..count).map(|_| b.skip(order_bits).and_then(|()| b.flag()));
        Some(used.collect::<Option<Vec<_>>>()?)
    } else {
        None
    };
    let blocks = width.div_ceil(1 << block).max(1) * height.div_ceil(1 << block).max(1);
    let chroma = colours != 0 && !separate_planes;
    let temporal_vectors = b.flag()?;
    Some((
        id,
        Sequence {
            separate_planes,
            chroma,
            blocks,
            order_bits,
            short_sets,
            long_term,
            adaptive_offset,
            temporal_vectors,
        },
    ))
}

/// 7.3.3: skipped.
fn profile(b: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    b.skip(96)?;
    let present = (0..sub_layers).map(|_| Some((b.flag()?, b.flag()?))).collect::<Option<Vec<_>>>()?;
    if sub_layers > 0 {
        b.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        b.skip(88 * u32::from(profile) + 8 * u32::from(level))?;
    }
    Some(())
}

/// 7.3.4: skipped.
fn scaling_lists(b: &mut Bits<'_>) -> Option<()> {
    for size in 0..4_u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !b.flag()? {
                b.number()?;
                continue;
            }
            for _ in 0..(16_u32 << (2 * size)).min(64) + u32::from(size > 1) {
                b.signed()?;
            }
        }
    }
    Some(())
}

/// 7.3.2.3, to `lists_modification_present_flag`.
fn picture(b: &mut Bits<'_>) -> Option<(u32, Picture)> {
    let id = b.number_to(63)?;
    let sequence = b.number_to(15)?;
    let (dependent_slices, output_flag, extra_bits) = (b.flag()?, b.flag()?, b.bits(3)?);
    b.skip(1)?;
    let initial_cabac = b.flag()?;
    let references = [b.number_to(MAX_REFERENCES - 2)? + 1, b.number_to(MAX_REFERENCES - 2)? + 1];
    let quantiser = 26_i32.saturating_add(b.signed()?);
    b.skip(2)?;
    if b.flag()? {
        b.number()?;
    }
    b.signed()?;
    b.signed()?;
    b.skip(1)?;
    let (weighted, weighted_both) = (b.flag()?, b.flag()?);
    b.skip(1)?;
    let (tiles, _wavefronts) = (b.flag()?, b.flag()?);
    if tiles {
        let lines = [b.number_to(1024)?, b.number_to(1024)?];
        if !b.flag()? {
            for _ in 0..lines[0] + lines[1] {
                b.number()?;
            }
        }
        b.skip(1)?;
    }
    b.skip(1)?;
    if b.flag()? {
        b.skip(1)?;
        if !b.flag()? {
            b.signed()?;
            b.signed()?;
        }
    }
    if b.flag()? {
        scaling_lists(b)?;
    }
    let lists_change = b.flag()?;
    Some((
        id,
        Picture {
            sequence,
            dependent_slices,
            output_flag,
            extra_bits,
            initial_cabac,
            references,
            quantiser,
            weighted,
            weighted_both,
            lists_change,
        },
    ))
}

/// Ceil(Log2(count)): bits of a number below `count`.
fn index_bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits written as in the standard.
    #[derive(Default)]
    struct Writer(String);

    impl Writer {
        fn u(&mut self, bits: usize, value: u32) {
            self.0 += &format!("{value:0bits$b}");
        }
        fn ue(&mut self, value: u32) {
            let text = format!("{:b}", value + 1);
            self.0 += &"0".repeat(text.len() - 1);
            self.0 += &text;
        }
        fn read<T>(&self, read: impl Fn(&mut Bits<'_>) -> Option<T>) -> Option<T> {
            let padded = format!("{}{}", self.0, "1".repeat(8 + 7 - self.0.len() % 8));
            let bytes =
                padded.as_bytes().chunks_exact(8).map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 2).unwrap());
            let nal: Vec<u8> = [2, 1].into_iter().chain(bytes).collect();
            read(&mut Bits(BitReader::new(ByteReader::skipping_bytes(&nal, HEADER_BYTES))))
        }
    }

    #[test]
    fn a_set_told_by_its_difference_is_what_the_standard_makes_of_it() {
        // Earlier: -1 used, -3 not, +2 used. Moved by -1: -2, -4, +1 and -1 itself.
        let earlier = References { before: vec![(-1, true), (-3, false)], after: vec![(2, true)] };
        let mut w = Writer::default();
        w.u(1, 1);
        w.u(1, 1);
        w.ue(0);
        // -1 used; -3 not used but kept; +2 dropped; itself used.
        w.u(1, 1);
        w.u(2, 0b01);
        w.u(2, 0b00);
        w.u(1, 1);
        let set = w.read(|b| short_set(b, 1, 2, std::slice::from_ref(&earlier))).unwrap();
        assert_eq!(set.before, [(-1, true), (-2, true), (-4, false)]);
        assert_eq!(set.after, []);
        assert_eq!(set.used(), 2);
    }

    #[test]
    fn a_set_told_by_itself_adds_its_distances_up() {
        let mut w = Writer::default();
        w.ue(2);
        w.ue(1);
        for (distance, used) in [(0, 1), (2, 0), (4, 1)] {
            w.ue(distance);
            w.u(1, used);
        }
        let set = w.read(|b| short_set(b, 0, 1, &[])).unwrap();
        assert_eq!(
            (set.before.as_slice(), set.after.as_slice()),
            ([(-1, true), (-4, false)].as_slice(), [(5, true)].as_slice())
        );
        let mut many = Writer::default();
        many.ue(17);
        many.ue(0);
        assert!(many.read(|b| short_set(b, 0, 1, &[])).is_none());
    }

    #[test]
    fn numbers_below_a_count_take_its_logarithm() {
        let bits: Vec<u32> = [0, 1, 2, 3, 4, 5, 8, 9].into_iter().map(index_bits).collect();
        assert_eq!(bits, [0, 0, 1, 2, 2, 3, 3, 4]);
    }
}
