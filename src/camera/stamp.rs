//! Capture time of each picture: the camera's clock where it is known and near ours, arrival else. Pure logic: the
//! clocks are read by the caller.

use std::collections::VecDeque;

use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};

/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// A camera clock further away than this is wrong, and the box decides.
const MAX_OFFSET_MS: i64 = 2000;
/// Arrival says little: encoder, network and buffers lie between.
const ARRIVAL_UNCERTAINTY_MS: u32 = 500;
/// Even a good clock has the exposure, the encoder's tick and the NTP error of the camera.
const NTP_UNCERTAINTY_MS: i64 = 50;
/// Offsets remembered for the median.
const WINDOW: usize = 101;

/// Gives access units their [`FrameTime`]; one per connection.
#[derive(Debug, Default)]
pub struct CaptureClock {
    offsets: VecDeque<i64>,
}

impl CaptureClock {
    /// Stamps one picture. `ntp_ns`: camera clock in nanoseconds since 1900, if known. `mono` and `box_utc`: when it
    /// arrived, on the two clocks of the box.
    pub fn stamp(&mut self, ntp_ns: Option<u64>, mono: MonoMillis, box_utc: UtcMillis) -> FrameTime {
        let camera = ntp_ns.map(ntp_to_utc);
        let offset = camera.map(|utc| self.offset(utc.since(box_utc)));
        match (camera, offset) {
            (Some(utc), Some(ms)) if ms.abs() <= MAX_OFFSET_MS => FrameTime {
                utc,
                mono,
                source: TimeSource::RtcpNtp,
                uncertainty_ms: u32::try_from(ms.abs().max(NTP_UNCERTAINTY_MS)).unwrap_or(u32::MAX),
                clock_offset_ms: offset,
            },
            _ => FrameTime {
                utc: box_utc,
                mono,
                source: TimeSource::Arrival,
                uncertainty_ms: ARRIVAL_UNCERTAINTY_MS,
                clock_offset_ms: offset,
            },
        }
    }

    /// Median of the window after adding `sample`.
    fn offset(&mut self, sample: i64) -> i64 {
        if self.offsets.len() == WINDOW {
            self.offsets.pop_front();
        }
        self.offsets.push_back(sample);
        let mut sorted: Vec<i64> = self.offsets.iter().copied().collect();
        let middle = sorted.len() / 2;
        *sorted.select_nth_unstable(middle).1
    }
}

fn ntp_to_utc(ntp_ns: u64) -> UtcMillis {
    let ms = i64::try_from(ntp_ns / 1_000_000).unwrap_or(i64::MAX);
    UtcMillis(ms - NTP_TO_UNIX_S * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcMillis = UtcMillis(1_770_000_000_000);

    fn ntp(utc: UtcMillis) -> Option<u64> {
        Some(u64::try_from(utc.0 + NTP_TO_UNIX_S * 1000).unwrap() * 1_000_000)
    }

    #[test]
    fn without_a_sender_report_arrival_counts() {
        let t = CaptureClock::default().stamp(None, MonoMillis(5), NOW);
        assert_eq!((t.utc, t.source, t.uncertainty_ms, t.clock_offset_ms), (NOW, TimeSource::Arrival, 500, None));
    }

    #[test]
    fn a_near_camera_clock_is_believed() {
        let t = CaptureClock::default().stamp(ntp(NOW.plus_ms(-120)), MonoMillis(5), NOW);
        assert_eq!((t.utc, t.source), (NOW.plus_ms(-120), TimeSource::RtcpNtp));
        assert_eq!((t.uncertainty_ms, t.clock_offset_ms), (120, Some(-120)));
    }

    #[test]
    fn a_wrong_camera_clock_is_said_but_not_used() {
        let t = CaptureClock::default().stamp(ntp(NOW.plus_ms(3_600_000)), MonoMillis(5), NOW);
        assert_eq!((t.utc, t.source), (NOW, TimeSource::Arrival));
        assert_eq!(t.clock_offset_ms, Some(3_600_000));
    }

    #[test]
    fn one_late_picture_does_not_move_the_median() {
        let mut clock = CaptureClock::default();
        for _ in 0..10 {
            clock.stamp(ntp(NOW.plus_ms(-50)), MonoMillis(5), NOW);
        }
        let t = clock.stamp(ntp(NOW.plus_ms(-9000)), MonoMillis(5), NOW);
        assert_eq!((t.source, t.clock_offset_ms), (TimeSource::RtcpNtp, Some(-50)));
    }
}
