//! Collects access units into one fragment: bytes with lengths, and times. Decode times are the presentation times in
//! rising order, so reordered pictures (B-frames) keep the very times the stream gave them. Pure.

use super::boxes::{self, NO_OFFSET, Sample, Stamp, TICKS_PER_S};
use super::nal;
use crate::camera::AccessUnit;
use crate::clock::{FrameTime, TimeSource, UtcMillis};

/// Duration of the very first picture until the next one says better, ticks.
const FIRST_GUESS: u32 = TICKS_PER_S / 25;

/// Units of one fragment to be.
#[derive(Default)]
pub(super) struct Draft {
    rows: Vec<Row>,
    payload: Vec<u8>,
    stamp: Option<FrameTime>,
}

struct Row {
    bytes: u32,
    ticks: i64,
    keyframe: bool,
    utc: UtcMillis,
}

/// A finished fragment.
pub(super) struct Fragment {
    pub head: Vec<u8>,
    pub payload: Vec<u8>,
    pub pictures: u32,
    pub first: UtcMillis,
    pub last: UtcMillis,
    /// Of the last picture, ticks: the guess for the next fragment.
    pub step: u32,
}

/// The stream's own time in ticks; exact for what came over RTP.
pub(super) fn ticks(pts_ns: u64) -> i64 {
    let ticks = (u128::from(pts_ns) * u128::from(TICKS_PER_S) + 500_000_000) / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

impl Draft {
    pub fn push(&mut self, unit: &AccessUnit) {
        let bytes = nal::append_with_lengths(&unit.data, &mut self.payload);
        self.stamp.get_or_insert(unit.time);
        self.rows.push(Row {
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            ticks: ticks(unit.pts_ns),
            keyframe: unit.keyframe,
            utc: unit.time.utc,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn pictures(&self) -> u64 {
        self.rows.len() as u64
    }

    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// From the earliest to the latest presentation time, ticks.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((self.rows.iter().map(|r| r.ticks).min()?, self.rows.iter().map(|r| r.ticks).max()?))
    }

    /// Puts the boxes together. `origin` is the tick that is 0 in the file, `step` the distance of pictures so far.
    pub fn finish(self, number: u32, session: u64, origin: i64, step: Option<u32>) -> Option<Fragment> {
        let mut order: Vec<i64> = self.rows.iter().map(|r| r.ticks).collect();
        order.sort_unstable();
        let first_ticks = *order.first()?;
        let usual = usual_step(&order).or(step).unwrap_or(FIRST_GUESS);
        let samples: Vec<Sample> = self.rows.iter().enumerate().map(|(i, row)| row.sample(&order, i, usual)).collect();
        let time = self.stamp?;
        let stamp = Stamp {
            source: source_code(time.source),
            uncertainty_ms: time.uncertainty_ms,
            clock_offset_ms: time.clock_offset_ms.map_or(NO_OFFSET, |ms| i32::try_from(ms).unwrap_or(i32::MAX)),
            session,
            ticks: first_ticks,
        };
        let start = u64::try_from(first_ticks - origin).unwrap_or(0);
        let utc = || self.rows.iter().map(|r| r.utc);
        Some(Fragment {
            head: boxes::fragment_head(number, start, &samples, &stamp),
            pictures: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            first: utc().min()?,
            last: utc().max()?,
            step: usual,
            payload: self.payload,
        })
    }
}

impl Row {
    fn sample(&self, order: &[i64], i: usize, usual: u32) -> Sample {
        let duration = order.get(i + 1).map_or(usual, |next| u32::try_from(next - order[i]).unwrap_or(usual));
        let shown_after = i32::try_from(self.ticks - order[i]).unwrap_or(0);
        Sample { bytes: self.bytes, duration, shown_after, keyframe: self.keyframe, utc_ms: self.utc.0 }
    }
}

/// The median distance of pictures.
fn usual_step(order: &[i64]) -> Option<u32> {
    let mut steps: Vec<i64> = order.windows(2).map(|w| w[1] - w[0]).filter(|s| *s > 0).collect();
    let middle = steps.len().checked_sub(1)? / 2;
    u32::try_from(*steps.select_nth_unstable(middle).1).ok()
}

/// How files name a source of time.
pub(super) fn source_code(source: TimeSource) -> u8 {
    match source {
        TimeSource::RtcpNtp => 0,
        TimeSource::Arrival => 1,
        TimeSource::File => 2,
    }
}

/// And back.
pub(super) fn source_of(code: u8) -> TimeSource {
    match code {
        0 => TimeSource::RtcpNtp,
        2 => TimeSource::File,
        _ => TimeSource::Arrival,
    }
}
