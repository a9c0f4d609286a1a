//! What goes wrong with a simulated camera on command: the list, the words for it, and what each does to a picture or
//! a packet. Pure: values in, values out. When and where it is applied is the feed's and the server's part.

use crate::camera::Codec;
use crate::clock::MonoMillis;

/// One thing that goes wrong. Times are milliseconds from the moment of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misbehaviour {
    /// The same picture again and again; packets go on.
    Freeze {
        /// For how long.
        ms: u64,
    },
    /// The connection stays, no packet comes.
    Stall {
        /// For how long.
        ms: u64,
    },
    /// Clients are cut off, and the camera is not found.
    Cut {
        /// For how long.
        ms: u64,
    },
    /// Bytes of the coded pictures are flipped.
    CorruptPackets {
        /// For how long.
        ms: u64,
    },
    /// Another picture size from the next picture on, within the running connection. Even numbers, 64..=4096.
    ChangeResolution {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The other coding: clients are cut and find it at the next connection.
    ChangeCodec {
        /// The new coding.
        codec: Codec,
    },
    /// Clients are cut, and every password is refused.
    RefusePassword {
        /// For how long.
        ms: u64,
    },
    /// Something dark hangs over the lens.
    Cover {
        /// For how long.
        ms: u64,
    },
    /// The lens is out of focus.
    Blur {
        /// For how long.
        ms: u64,
    },
    /// The light is gone: a fourteenth of it is left.
    Dark {
        /// For how long.
        ms: u64,
    },
    /// The exposure is far too long.
    Bright {
        /// For how long.
        ms: u64,
    },
    /// Only so many pictures a second.
    Slow {
        /// Pictures a second, 1 or more.
        fps: u32,
        /// For how long.
        ms: u64,
    },
    /// The camera's clock makes a step, and stays there: what its sender reports say is so far off.
    Clock {
        /// Milliseconds from the true time.
        off_ms: i64,
    },
    /// The camera's clock runs away from now on: too fast where it is above 0.
    Drift {
        /// Milliseconds an hour.
        ms_per_hour: i64,
    },
    /// The camera was knocked: the picture is moved by so many pixels from where it was mounted, and stays so.
    Shift {
        /// Pixels to the right.
        dx: i32,
        /// Pixels downwards.
        dy: i32,
    },
    /// The camera ends the stream in good order; it can be opened again.
    EndOfStream,
}

/// What [`parse_command`] understands, for the prompt.
pub const COMMANDS: &str = "freeze 5s | stall 5s | cut 5s | corrupt 5s | refuse 5s | cover 5s | blur 5s | \
     dark 5s | bright 5s | slow 1 5s | clock -30000 | drift 600 | size 640x360 | codec h264|h265 | shift 12 -8 | end";

/// Reads a line such as `lane freeze 5s`: camera, word, and what belongs to it. Times are `500ms`, `5s` or `2m`.
///
/// # Errors
/// Says what is wrong and what is understood.
pub fn parse_command(line: &str) -> Result<(String, Misbehaviour), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [camera, what, rest @ ..] = words.as_slice() else {
        return Err(format!("{line:?} is not `CAMERA COMMAND`; commands: {COMMANDS}"));
    };
    let wrong = |why: String| format!("{line:?}: {why}; commands: {COMMANDS}");
    let done = parse_words(what, rest).map_err(wrong)?;
    Ok(((*camera).to_owned(), done))
}

fn parse_words(what: &str, rest: &[&str]) -> Result<Misbehaviour, String> {
    match (what, rest) {
        ("freeze", [t]) => Ok(Misbehaviour::Freeze { ms: parse_ms(t)? }),
        ("stall", [t]) => Ok(Misbehaviour::Stall { ms: parse_ms(t)? }),
        ("cut", [t]) => Ok(Misbehaviour::Cut { ms: parse_ms(t)? }),
        ("corrupt", [t]) => Ok(Misbehaviour::CorruptPackets { ms: parse_ms(t)? }),
        ("refuse", [t]) => Ok(Misbehaviour::RefusePassword { ms: parse_ms(t)? }),
        ("cover", [t]) => Ok(Misbehaviour::Cover { ms: parse_ms(t)? }),
        ("blur", [t]) => Ok(Misbehaviour::Blur { ms: parse_ms(t)? }),
        ("dark", [t]) => Ok(Misbehaviour::Dark { ms: parse_ms(t)? }),
        ("bright", [t]) => Ok(Misbehaviour::Bright { ms: parse_ms(t)? }),
        ("slow", [fps, t]) => Ok(Misbehaviour::Slow { fps: number::<u32>(fps)?.max(1), ms: parse_ms(t)? }),
        ("clock", [ms]) => Ok(Misbehaviour::Clock { off_ms: number(ms)? }),
        ("drift", [ms]) => Ok(Misbehaviour::Drift { ms_per_hour: number(ms)? }),
        ("size", [size]) => {
            let (w, h) = size.split_once('x').ok_or_else(|| format!("{size:?} is not a size like 640x360"))?;
            Ok(Misbehaviour::ChangeResolution { width: number(w)?, height: number(h)? })
        }
        ("codec", ["h264"]) => Ok(Misbehaviour::ChangeCodec { codec: Codec::H264 }),
        ("codec", ["h265"]) => Ok(Misbehaviour::ChangeCodec { codec: Codec::H265 }),
        ("shift", [dx, dy]) => Ok(Misbehaviour::Shift { dx: number(dx)?, dy: number(dy)? }),
        ("end", []) => Ok(Misbehaviour::EndOfStream),
        (known, _) if COMMANDS.split(" | ").any(|c| c.split(' ').next() == Some(known)) => {
            Err(format!("{known:?} needs something else behind it"))
        }
        (unknown, _) => Err(format!("{unknown:?} is unknown")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

fn parse_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time like 500ms, 5s or 2m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// A picture size that the coders take.
///
/// # Errors
/// Says what is allowed.
pub(super) fn check_size(width: u32, height: u32) -> Result<(u32, u32), String> {
    let good = |n: u32| n.is_multiple_of(2) && (64..=4096).contains(&n);
    if good(width) && good(height) {
        Ok((width, height))
    } else {
        Err(format!("the size {width}x{height} is not two even numbers in 64..=4096"))
    }
}

/// How an open request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// 404: not there.
    Gone,
    /// 401, whatever the password.
    Refused,
}

/// What is wrong with one camera now: ends of what lasts, and what stays. All times on the monotonic clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    freeze: Option<MonoMillis>,
    stall: Option<MonoMillis>,
    gone: Option<MonoMillis>,
    refuse: Option<MonoMillis>,
    corrupt: Option<MonoMillis>,
    cover: Option<MonoMillis>,
    blur: Option<MonoMillis>,
    dark: Option<MonoMillis>,
    bright: Option<MonoMillis>,
    slow: Option<(u32, MonoMillis)>,
    /// Milliseconds that the camera's clock was set off by.
    clock_step_ms: i64,
    /// Since when it runs away, and how fast, milliseconds an hour.
    clock_drift: Option<(MonoMillis, i64)>,
    shift: (i32, i32),
    /// Asked picture size, where it is not the source's own.
    pub size: Option<(u32, u32)>,
}

impl Faults {
    /// Takes what lasts or stays in the picture and the stream. What changes the mount is the server's part.
    pub fn take(&mut self, what: &Misbehaviour, now: MonoMillis) {
        let until = |ms: &u64| Some(MonoMillis(now.0.saturating_add(i64::try_from(*ms).unwrap_or(i64::MAX))));
        match what {
            Misbehaviour::Freeze { ms } => self.freeze = until(ms),
            Misbehaviour::Stall { ms } => self.stall = until(ms),
            Misbehaviour::Cut { ms } => self.gone = until(ms),
            Misbehaviour::CorruptPackets { ms } => self.corrupt = until(ms),
            Misbehaviour::RefusePassword { ms } => self.refuse = until(ms),
            Misbehaviour::Cover { ms } => self.cover = until(ms),
            Misbehaviour::Blur { ms } => self.blur = until(ms),
            Misbehaviour::Dark { ms } => self.dark = until(ms),
            Misbehaviour::Bright { ms } => self.bright = until(ms),
            Misbehaviour::Slow { fps, ms } => self.slow = until(ms).map(|until| (*fps, until)),
            Misbehaviour::Clock { off_ms } => self.clock_step_ms = *off_ms,
            Misbehaviour::Drift { ms_per_hour } => self.clock_drift = Some((now, *ms_per_hour)),
            Misbehaviour::Shift { dx, dy } => self.shift = (*dx, *dy),
            Misbehaviour::ChangeResolution { width, height } => self.size = Some((*width, *height)),
            Misbehaviour::ChangeCodec { .. } | Misbehaviour::EndOfStream => {}
        }
    }

    /// Milliseconds that the camera's clock is off.
    pub fn clock_off_ms(&self, now: MonoMillis) -> i64 {
        let drifted =
            self.clock_drift.map_or(0, |(since, rate)| now.since(since).max(0).saturating_mul(rate) / 3_600_000);
        self.clock_step_ms.saturating_add(drifted)
    }

    pub fn frozen(&self, now: MonoMillis) -> bool {
        lasts(self.freeze, now)
    }

    pub fn silent(&self, now: MonoMillis) -> bool {
        lasts(self.stall, now)
    }

    pub fn corrupting(&self, now: MonoMillis) -> bool {
        lasts(self.corrupt, now)
    }

    /// Pictures a second, where it is fewer than usual.
    pub fn slowed(&self, now: MonoMillis) -> Option<u32> {
        self.slow.filter(|(_, until)| now < *until).map(|(fps, _)| fps)
    }

    pub fn door(&self, now: MonoMillis) -> Door {
        if lasts(self.gone, now) {
            Door::Gone
        } else if lasts(self.refuse, now) {
            Door::Refused
        } else {
            Door::Open
        }
    }

    /// Does to a packed I420 picture of even size what is wrong with the lens.
    pub fn spoil(&self, picture: &mut [u8], size: (u32, u32), now: MonoMillis) {
        if self.shift != (0, 0) {
            each_plane(picture, size, |plane, w, h, half| {
                let part = |n: i32| if half { n / 2 } else { n };
                shift_plane(plane, w, h, part(self.shift.0), part(self.shift.1));
            });
        }
        if lasts(self.blur, now) {
            let radius = (size.0 as usize / 50).max(2);
            each_plane(picture, size, |plane, w, h, half| {
                blur_plane(plane, w, h, if half { radius / 2 } else { radius })
            });
        }
        if lasts(self.dark, now) {
            each_plane(picture, size, |plane, _, _, half| scale_plane(plane, half, 1, 14));
        }
        if lasts(self.bright, now) {
            each_plane(picture, size, |plane, _, _, half| scale_plane(plane, half, 5, 1));
        }
        if lasts(self.cover, now) {
            each_plane(picture, size, |plane, _, _, half| cover_plane(plane, half));
        }
    }
}

fn lasts(until: Option<MonoMillis>, now: MonoMillis) -> bool {
    until.is_some_and(|until| now < until)
}

/// Calls `change(plane, width, height, is_chroma)` for Y, U and V.
fn each_plane(picture: &mut [u8], size: (u32, u32), mut change: impl FnMut(&mut [u8], usize, usize, bool)) {
    let (w, h) = (size.0 as usize, size.1 as usize);
    let (luma, chroma) = picture.split_at_mut(w * h);
    change(luma, w, h, false);
    for plane in chroma.chunks_exact_mut((w / 2) * (h / 2)) {
        change(plane, w / 2, h / 2, true);
    }
}

/// A little light gets through: a hundredth of the picture's contrast, no colour.
fn cover_plane(plane: &mut [u8], chroma: bool) {
    for p in plane {
        *p = if chroma { 128 } else { 18 + *p / 64 };
    }
}

/// Light times `up / down`, in studio range; colour likewise.
fn scale_plane(plane: &mut [u8], chroma: bool, up: i32, down: i32) {
    let (zero, least, most) = if chroma { (128, 16, 240) } else { (16, 16, 235) };
    for p in plane {
        let scaled = zero + (i32::from(*p) - zero) * up / down;
        *p = u8::try_from(scaled.clamp(least, most)).unwrap_or(*p);
    }
}

/// Moves the content; what came in from outside is the nearest edge.
fn shift_plane(plane: &mut [u8], w: usize, h: usize, dx: i32, dy: i32) {
    let from = |at: usize, by: i32, len: usize| {
        let at = i64::try_from(at).unwrap_or(0) - i64::from(by);
        usize::try_from(at.max(0)).unwrap_or(0).min(len - 1)
    };
    let old = plane.to_vec();
    for (y, row) in plane.chunks_exact_mut(w).enumerate().take(h) {
        let source = &old[from(y, dy, h) * w..][..w];
        for (x, p) in row.iter_mut().enumerate() {
            *p = source[from(x, dx, w)];
        }
    }
}

/// Mean of a square of side `2 * radius + 1`, rows first, then columns.
fn blur_plane(plane: &mut [u8], w: usize, h: usize, radius: usize) {
    let mut line = Vec::with_capacity(w.max(h));
    for y in 0..h {
        blur_line(plane, &mut line, y * w, 1, w, radius);
    }
    for x in 0..w {
        blur_line(plane, &mut line, x, w, h, radius);
    }
}

/// Running mean over `len` samples that lie `step` apart.
fn blur_line(plane: &mut [u8], line: &mut Vec<u8>, start: usize, step: usize, len: usize, radius: usize) {
    line.clear();
    line.extend((0..len).map(|i| plane[start + i * step]));
    let mut sum: u32 = line.iter().take(radius).map(|&p| u32::from(p)).sum();
    for i in 0..len {
        if let Some(&p) = line.get(i + radius) {
            sum += u32::from(p);
        }
        if i > radius {
            sum -= u32::from(line[i - radius - 1]);
        }
        let count = (i + radius + 1).min(len) - i.saturating_sub(radius);
        // A mean of bytes is a byte.
        plane[start + i * step] = u8::try_from(sum / u32::try_from(count).unwrap_or(1)).unwrap_or(u8::MAX);
    }
}

/// Flips bits in the middle of an RTP packet; headers of RTP and of the payload format stay, so that the decoder
/// and not the network part sees the damage.
pub(super) fn corrupt_packet(packet: &mut [u8], seed: u64) {
    const HEADERS: usize = 12 + 8;
    let Some(room) = packet.len().checked_sub(HEADERS).filter(|&n| n > 0) else { return };
    for i in 0..3u64 {
        let mixed = (seed.wrapping_mul(3).wrapping_add(i)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = HEADERS + usize::try_from(mixed >> 33).unwrap_or(0) % room;
        packet[at] ^= 1 << ((mixed >> 20) & 7) | 0x10;
    }
}

/// Moves the wall clock of an RTCP sender report (RFC 3550 §6.4.1: packet type 200, NTP time from byte 8 on).
pub(super) fn shift_report(packet: &mut [u8], off_ms: i64) {
    if packet.len() < 16 || packet[1] != 200 {
        return;
    }
    let Ok(ntp) = <[u8; 8]>::try_from(&packet[8..16]).map(u64::from_be_bytes) else { return };
    // 32.32 fixed point.
    let off = i64::try_from((i128::from(off_ms) << 32) / 1000).unwrap_or(0);
    packet[8..16].copy_from_slice(&ntp.wrapping_add_signed(off).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::OwnedI420;

    const SIZE: (u32, u32) = (64, 64);
    const NOW: MonoMillis = MonoMillis(1000);

    /// Left half dark, right half bright.
    fn halves() -> Vec<u8> {
        let luma = (0..64 * 64).map(|i| if i % 64 < 32 { 40 } else { 200 });
        luma.chain(std::iter::repeat_n(90, 2 * 32 * 32)).collect()
    }

    fn spoiled(what: Misbehaviour, at: MonoMillis) -> Vec<u8> {
        let mut faults = Faults::default();
        faults.take(&what, NOW);
        let mut picture = halves();
        faults.spoil(&mut picture, SIZE, at);
        assert_eq!(picture.len(), OwnedI420::bytes(64, 64));
        picture
    }

    #[test]
    fn commands_are_read() {
        let read = |s: &str| parse_command(s).unwrap();
        assert_eq!(read("lane freeze 5s"), ("lane".into(), Misbehaviour::Freeze { ms: 5000 }));
        assert_eq!(read(" bay-1  cut 250ms ").1, Misbehaviour::Cut { ms: 250 });
        assert_eq!(read("a refuse 2m").1, Misbehaviour::RefusePassword { ms: 120_000 });
        assert_eq!(read("a size 640x360").1, Misbehaviour::ChangeResolution { width: 640, height: 360 });
        assert_eq!(read("a codec h265").1, Misbehaviour::ChangeCodec { codec: Codec::H265 });
        assert_eq!(read("a shift 12 -8").1, Misbehaviour::Shift { dx: 12, dy: -8 });
        assert_eq!(read("a slow 2 5s").1, Misbehaviour::Slow { fps: 2, ms: 5000 });
        assert_eq!(read("a clock -30000").1, Misbehaviour::Clock { off_ms: -30_000 });
        assert_eq!(read("a drift 600").1, Misbehaviour::Drift { ms_per_hour: 600 });
        assert_eq!(read("a end").1, Misbehaviour::EndOfStream);
    }

    #[test]
    fn every_word_of_the_help_is_understood() {
        for command in COMMANDS.replace("h264|h265", "h264").split(" | ") {
            parse_command(&format!("cam {command}")).unwrap();
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("", "CAMERA"),
            ("lane", "CAMERA"),
            ("lane dance", "\"dance\" is unknown"),
            ("lane freeze", "needs something else"),
            ("lane freeze five", "\"five\" is not a time"),
            ("lane freeze 5", "\"5\" is not a time"),
            ("lane freeze 99999999999999999999s", "is not a time"),
            ("lane size 640", "is not a size"),
            ("lane shift 1 x", "\"x\" is not a whole number"),
        ] {
            let error = parse_command(line).unwrap_err();
            assert!(error.contains(word), "{line:?}: {error}");
        }
    }

    #[test]
    fn faults_end_when_their_time_is_over() {
        let mut faults = Faults::default();
        faults.take(&Misbehaviour::Stall { ms: 500 }, NOW);
        faults.take(&Misbehaviour::RefusePassword { ms: 500 }, NOW);
        assert!(faults.silent(MonoMillis(1499)) && !faults.silent(MonoMillis(1500)));
        assert_eq!((faults.door(NOW), faults.door(MonoMillis(1500))), (Door::Refused, Door::Open));
        faults.take(&Misbehaviour::Cut { ms: 100 }, NOW);
        assert_eq!((faults.door(NOW), faults.door(MonoMillis(1100))), (Door::Gone, Door::Refused));
        faults.take(&Misbehaviour::Freeze { ms: u64::MAX }, NOW);
        assert!(faults.frozen(MonoMillis(i64::MAX - 1)));
    }

    #[test]
    fn a_clock_that_runs_away_goes_on_from_where_it_was_set() {
        let mut faults = Faults::default();
        faults.take(&Misbehaviour::Clock { off_ms: 1500 }, NOW);
        faults.take(&Misbehaviour::Drift { ms_per_hour: -600 }, NOW);
        assert_eq!((faults.clock_off_ms(NOW), faults.clock_off_ms(MonoMillis(NOW.0 + 1_800_000))), (1500, 1200));
    }

    #[test]
    fn a_cover_is_dark_and_ends() {
        let picture = spoiled(Misbehaviour::Cover { ms: 10 }, NOW);
        assert!(picture[..64 * 64].iter().all(|&p| (16..=24).contains(&p)));
        assert!(picture[64 * 64..].iter().all(|&p| p == 128));
        assert_eq!(spoiled(Misbehaviour::Cover { ms: 10 }, MonoMillis(1010)), halves());
    }

    #[test]
    fn a_blur_keeps_the_light_and_takes_the_edge() {
        let picture = spoiled(Misbehaviour::Blur { ms: 10 }, NOW);
        let row = &picture[..64];
        assert_eq!((row[0], row[63]), (40, 200));
        assert!(row.windows(2).all(|p| p[0] <= p[1] && p[1] - p[0] < 60), "{row:?}");
        assert!(picture[64 * 64..].iter().all(|&p| p == 90));
    }

    #[test]
    fn dark_and_bright_leave_nothing_to_see() {
        let dark = spoiled(Misbehaviour::Dark { ms: 10 }, NOW);
        assert!(dark[..64 * 64].iter().all(|&p| (16..=30).contains(&p)));
        let bright = spoiled(Misbehaviour::Bright { ms: 10 }, NOW);
        assert_eq!((bright[0], bright[63]), (136, 235));
    }

    #[test]
    fn a_shift_moves_the_picture_and_stays() {
        let picture = spoiled(Misbehaviour::Shift { dx: 10, dy: -3 }, MonoMillis(i64::MAX));
        assert_eq!((picture[41], picture[42], picture[0]), (40, 200, 40));
        assert_eq!(spoiled(Misbehaviour::Shift { dx: -500, dy: 0 }, NOW)[0], 200);
    }

    #[test]
    fn a_sender_report_says_another_time() {
        let mut packet = [0x80, 200, 0, 6, 1, 2, 3, 4, 0, 0, 1, 0, 0x80, 0, 0, 0, 9, 9];
        shift_report(&mut packet, -1500);
        assert_eq!(packet[8..], [0, 0, 0, 0xff, 0, 0, 0, 0, 9, 9]);
        let mut other = [0x80, 201, 0, 6, 1, 2, 3, 4, 0, 0, 1, 0, 0x80, 0, 0, 0];
        shift_report(&mut other, -1500);
        assert_eq!(other[8..12], [0, 0, 1, 0], "a receiver report has no time");
    }

    #[test]
    fn damage_differs_from_packet_to_packet() {
        let damaged = |seed| {
            let mut packet = vec![7u8; 1200];
            corrupt_packet(&mut packet, seed);
            packet
        };
        let packets: std::collections::HashSet<Vec<u8>> = (0..20).map(damaged).collect();
        assert_eq!(packets.len(), 20);
        assert!(!packets.contains(&vec![7u8; 1200]));
    }

    proptest::proptest! {
        #[test]
        fn damage_leaves_the_headers(len in 0usize..200, seed: u64) {
            let mut packet = vec![7u8; len];
            corrupt_packet(&mut packet, seed);
            proptest::prop_assert!(packet.iter().take(20).all(|&b| b == 7));
            proptest::prop_assert_eq!(packet.len(), len);
        }
    }
}
