//! Capture time of each picture: the camera's clock where it is known and near ours, arrival else. Pure logic: the
//! clocks are read by the caller.

use std::collections::VecDeque;

use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};

/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;
/// A camera clock further away than this is wrong, and the box decides.
const MAX_OFFSET_MS: i64 = 2000;
/// So much further away one that was believed must be, and so much nearer one that was not: a clock at the border would
/// move the times of events to and fro.
const BELIEF_MS: i64 = 500;
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
    /// Whether the camera's clock was right so far; `None` before its first word.
    believed: Option<bool>,
}

impl CaptureClock {
    /// Stamps one picture. `ntp_ns`: camera clock in nanoseconds since 1900, if known. `mono` and `box_utc`: when it
    /// arrived, on the two clocks of the box.
    pub fn stamp(&mut self, ntp_ns: Option<u64>, mono: MonoMillis, box_utc: UtcMillis) -> FrameTime {
        let camera = ntp_ns.map(ntp_to_utc);
        let offset = camera.map(|utc| self.offset(utc.since(box_utc)));
        match (camera, offset) {
            // The picture's own offset too: after a step of the camera's clock the median still tells of the time before.
            (Some(utc), Some(ms)) if self.believes(ms) && (utc.since(box_utc) - ms).abs() <= MAX_OFFSET_MS => {
                FrameTime {
                    utc,
                    mono,
                    source: TimeSource::RtcpNtp,
                    uncertainty_ms: u32::try_from(ms.abs().max(NTP_UNCERTAINTY_MS)).unwrap_or(u32::MAX),
                    clock_offset_ms: offset,
                }
            }
            _ => FrameTime {
                utc: box_utc,
                mono,
                source: TimeSource::Arrival,
                uncertainty_ms: ARRIVAL_UNCERTAINTY_MS,
                clock_offset_ms: offset,
            },
        }
    }

    /// Whether a clock so far away is right.
    fn believes(&mut self, offset_ms: i64) -> bool {
        let limit_ms = match self.believed {
            None => MAX_OFFSET_MS,
            Some(true) => MAX_OFFSET_MS + BELIEF_MS,
            Some(false) => MAX_OFFSET_MS - BELIEF_MS,
        };
        *self.believed.insert(offset_ms.abs() <= limit_ms)
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

/// Half of the time over which the least delay is looked for.
const HALF_WINDOW_NS: i64 = 2_000_000_000;
/// The clocks drift by less than this from picture to picture; a correction beyond it would bend their distances.
const SLEW_NS: i64 = 1_000_000;
/// A correction beyond this is no drift: the camera's time jumped, or the first picture came late.
const JUMP_NS: i64 = 500_000_000;
/// A picture this much later than the others is not late: the camera's time jumped back.
const RESTART_NS: i64 = 10_000_000_000;

/// Places the camera's own picture times, which count from anywhere, on the box's monotonic clock: the picture that
/// was delayed least tells how the two lie. One per connection.
#[derive(Debug, Default)]
pub struct ArrivalClock {
    /// Box time of the camera's time 0.
    base_ns: Option<i64>,
    /// Least of arrival minus camera time, in this half of the window and in the one before.
    least_ns: [Option<i64>; 2],
    half_since_ns: i64,
    /// The latest of the camera's times.
    latest_ns: i64,
}

impl ArrivalClock {
    /// Box time of the picture of `pts_ns`, which arrived at `arrived_ns`.
    pub fn place(&mut self, pts_ns: i64, keyframe: bool, arrived_ns: i64) -> i64 {
        let delay = arrived_ns - pts_ns;
        // Reordered pictures lie behind others that came before them, keyframes never.
        let stepped_back = keyframe && pts_ns + JUMP_NS < self.latest_ns;
        if stepped_back || self.base_ns.is_none_or(|base| delay - base > RESTART_NS) {
            let (base_ns, half_since_ns) = (Some(delay), arrived_ns);
            *self = Self { base_ns, least_ns: [None, None], half_since_ns, latest_ns: pts_ns };
        }
        self.latest_ns = self.latest_ns.max(pts_ns);
        if arrived_ns - self.half_since_ns >= HALF_WINDOW_NS {
            self.least_ns = [None, self.least_ns[0]];
            self.half_since_ns = arrived_ns;
        }
        let half = self.least_ns[0].map_or(delay, |least| least.min(delay));
        self.least_ns[0] = Some(half);
        let target = self.least_ns[1].map_or(half, |before| before.min(half));
        let base = self.base_ns.unwrap_or(target);
        let step = target - base;
        let base = if step.abs() > JUMP_NS { target } else { base + step.clamp(-SLEW_NS, SLEW_NS) };
        self.base_ns = Some(base);
        pts_ns + base
    }
}

/// Camera clock minus box clock for a picture of this camera time, which arrived at `box_utc`.
pub(super) fn offset_ms(ntp_ns: u64, box_utc: UtcMillis) -> i64 {
    ntp_to_utc(ntp_ns).since(box_utc)
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
    fn a_camera_clock_that_steps_is_not_believed_from_the_first_picture_on() {
        let mut clock = CaptureClock::default();
        for _ in 0..60 {
            clock.stamp(ntp(NOW.plus_ms(-50)), MonoMillis(5), NOW);
        }
        for _ in 0..120 {
            let t = clock.stamp(ntp(NOW.plus_ms(3_600_000)), MonoMillis(5), NOW);
            assert_eq!((t.source, t.utc), (TimeSource::Arrival, NOW));
        }
        let back = clock.stamp(ntp(NOW.plus_ms(-50)), MonoMillis(5), NOW);
        assert_eq!(back.source, TimeSource::Arrival, "believed again when most pictures are near");
    }

    #[test]
    fn a_clock_at_the_border_of_belief_does_not_flicker() {
        let mut clock = CaptureClock::default();
        let mut sources = Vec::new();
        for i in 0..200 {
            let off = if i % 2 == 0 { 1995 } else { 2005 };
            sources.push(clock.stamp(ntp(NOW.plus_ms(off)), MonoMillis(5), NOW).source);
        }
        assert!(sources.windows(2).filter(|w| w[0] != w[1]).count() <= 1);
        let mut settled = |off: i64| (0..120).map(|_| clock.stamp(ntp(NOW.plus_ms(off)), MonoMillis(5), NOW)).last();
        assert_eq!(settled(2600).unwrap().source, TimeSource::Arrival);
        assert_eq!(settled(1600).unwrap().source, TimeSource::Arrival, "not believed again before it is well within");
        assert_eq!(settled(1400).unwrap().source, TimeSource::RtcpNtp);
    }

    #[test]
    fn one_late_picture_does_not_move_the_median() {
        let mut clock = CaptureClock::default();
        for _ in 0..10 {
            clock.stamp(ntp(NOW.plus_ms(-50)), MonoMillis(5), NOW);
        }
        let t = clock.stamp(ntp(NOW.plus_ms(-9000)), MonoMillis(5), NOW);
        assert_eq!((t.source, t.clock_offset_ms), (TimeSource::Arrival, Some(-50)));
        let t = clock.stamp(ntp(NOW.plus_ms(-60)), MonoMillis(5), NOW);
        assert_eq!((t.source, t.clock_offset_ms), (TimeSource::RtcpNtp, Some(-50)));
    }

    const MS: i64 = 1_000_000;

    /// Pictures of 20 a second; each arrives after its delay.
    fn placed(clock: &mut ArrivalClock, from: i64, delays_ms: &[i64]) -> Vec<i64> {
        let places = delays_ms.iter().zip(from..);
        places.map(|(delay, i)| clock.place(50 * i * MS, false, (1000 + 50 * i + delay) * MS) / MS).collect()
    }

    #[test]
    fn late_pictures_do_not_bend_the_distances() {
        let delays: Vec<i64> = (0..400).map(|i| 20 + [0, 70, 5, 90, 0, 33, 180][i % 7]).collect();
        let at = placed(&mut ArrivalClock::default(), 0, &delays);
        assert!(at.windows(2).all(|p| (49..=51).contains(&(p[1] - p[0]))), "{at:?}");
        assert_eq!(at[399], 1000 + 50 * 399 + 20);
    }

    #[test]
    fn reordered_pictures_keep_their_own_times() {
        let mut clock = ArrivalClock::default();
        for i in 0..200 {
            // Three pictures arrive as 2, 0, 1, each 50 ms after the one before.
            let shown = 3 * (i / 3) + [2, 0, 1][usize::try_from(i % 3).unwrap()];
            let at = clock.place(50 * shown * MS, false, (1000 + 50 * i) * MS);
            assert!((at / MS - (900 + 50 * shown)).abs() <= if i < 150 { 101 } else { 1 }, "picture {i} at {at}");
        }
    }

    #[test]
    fn a_slow_clock_of_the_camera_is_followed() {
        let mut clock = ArrivalClock::default();
        // A tenth of a millisecond each picture: far worse than any clock.
        let last = (0..2000).map(|i| clock.place(50 * i * MS, i % 20 == 0, 50 * i * MS + i * MS / 10)).last().unwrap();
        assert!((last - (50 * 1999 * MS + 199 * MS)).abs() < 10 * MS, "{last}");
    }

    #[test]
    fn jumps_of_the_cameras_time_are_followed() {
        let mut clock = ArrivalClock::default();
        placed(&mut clock, 0, &[20; 50]);
        assert_eq!(clock.place(9_000_000 * MS, false, 4000 * MS) / MS, 4000, "forwards");
        assert_eq!(clock.place(0, false, 4050 * MS) / MS, 4050, "back");
        assert_eq!(clock.place(50 * MS, false, 4100 * MS) / MS, 4100);
    }

    #[test]
    fn a_small_step_back_of_the_cameras_time_at_a_keyframe_is_followed() {
        let mut clock = ArrivalClock::default();
        placed(&mut clock, 0, &[20; 100]);
        // Picture 100 says that it is picture 40.
        assert_eq!(clock.place(2000 * MS, true, 6020 * MS) / MS, 6020);
        assert_eq!(clock.place(2050 * MS, false, 6070 * MS) / MS, 6070);
    }

    #[test]
    fn after_a_silence_the_burst_keeps_its_times() {
        let mut clock = ArrivalClock::default();
        placed(&mut clock, 0, &[20; 100]);
        let burst: Vec<i64> = (0..60).map(|i| 3000 - 50 * i).collect();
        let at = placed(&mut clock, 100, &burst);
        assert!(at.iter().zip(100..).all(|(&at, i)| (at - (1020 + 50 * i)).abs() <= 1), "{at:?}");
    }
}
