//! The decode gate, unit by unit.

use super::*;
use crate::camera::Codec;
use crate::clock::FrameTime;

/// One slice.
fn slice(bytes: usize) -> impl Iterator<Item = u8> {
    [0, 0, 1, 2, 1].into_iter().chain(std::iter::repeat(1)).take(bytes)
}

fn unit(keyframe: bool, ms: i64, bytes: usize) -> AccessUnit {
    coded(1, keyframe, ms, bytes)
}

/// Keyframes repeat the sequence parameter set of this coding, which tells nothing of quantisers: sizes count as they are.
fn coded(coding: u8, keyframe: bool, ms: i64, bytes: usize) -> AccessUnit {
    let time = FrameTime::arrived(ms);
    let set = [0, 0, 1, 0x42, 1, coding].into_iter().filter(|_| keyframe);
    let data: Vec<u8> = set.chain(slice(bytes)).collect();
    AccessUnit { data: data.into(), codec: Codec::H265, keyframe, pts_ns: 0, time }
}

/// A camera of 25 pictures a second and a decoder that takes everything at once.
struct Camera {
    gate: Gate,
    attention: Arc<Attention>,
    now: i64,
    /// Times of what was decoded, milliseconds.
    decoded: Vec<i64>,
    /// Where units were left out on purpose: from, to, longest silence.
    lulls: Vec<(i64, i64, i64)>,
}

impl Camera {
    fn new(mode: DecodeMode) -> Self {
        let attention = Arc::new(Attention::default());
        Self {
            gate: Gate::new(mode, Arc::clone(&attention)),
            attention,
            now: 0,
            decoded: Vec::new(),
            lulls: Vec::new(),
        }
    }

    /// `K` keyframe, `p` predicted, `q` a larger and `P` a large one, `!` gap; the answer has `.` for units that were not decoded
    /// (yet).
    fn play(&mut self, units: &str) -> String {
        let begin = self.now;
        for c in units.chars() {
            if c == '!' {
                self.gate.gap();
                continue;
            }
            let bytes = match c {
                'P' => 3000,
                'q' => 350,
                _ => 200,
            };
            self.gate.offer(&unit(c == 'K', self.now, bytes), MonoMillis(self.now));
            while let Some((unit, idled)) = self.gate.take_ready() {
                self.decoded.push(unit.time.mono.0);
                self.lulls.extend(idled.lull.map(|l| (l.since.0, unit.time.mono.0, l.silent_ms)));
            }
            self.gate.drained();
            self.now += 40;
        }
        let shown = units.chars().filter(|c| *c != '!').enumerate();
        shown.map(|(i, c)| if self.decoded.contains(&(begin + 40 * i as i64)) { c } else { '.' }).collect()
    }

    /// Awake until the sizes are known and five seconds have gone.
    fn asleep() -> Self {
        let mut camera = Self::new(DecodeMode::Adaptive);
        let group = format!("K{}", "p".repeat(49));
        camera.play(&group.repeat(4));
        assert!(!camera.attention.is_idle(), "nothing has shown yet that the sizes tell anything");
        camera.attention.ask(MonoMillis(camera.now + 1000), TRACK);
        camera.play(&format!("KPPPP{}", "p".repeat(45)));
        camera.play(&group.repeat(6));
        assert!(camera.attention.is_idle());
        camera.decoded.clear();
        camera.lulls.clear();
        camera
    }
}

fn play(mode: DecodeMode, units: &str) -> String {
    Camera::new(mode).play(units)
}

#[test]
fn always_starts_at_a_keyframe() {
    assert_eq!(play(DecodeMode::Always, "ppKppKp"), "..KppKp");
}

#[test]
fn after_a_gap_it_waits_for_a_keyframe() {
    assert_eq!(play(DecodeMode::Always, "Kp!ppKp!Kp"), "Kp..KpKp");
}

#[test]
fn keyframes_skips_the_rest() {
    assert_eq!(play(DecodeMode::Keyframes, "pKppKp!pK"), ".K..K..K");
}

#[test]
fn an_idle_camera_is_decoded_at_keyframes() {
    let mut camera = Camera::asleep();
    assert_eq!(camera.play("KppppKpppp"), "K....K....");
    assert!(camera.gate.take_idled() > 4);
}

#[test]
fn what_stirs_is_seen_from_the_last_keyframe_on() {
    let mut camera = Camera::asleep();
    assert_eq!(camera.play("KpppppppPPPpppKpp"), "KpppppppPPPpppKpp");
    assert!(camera.decoded.is_sorted(), "in order");
    assert_eq!(camera.gate.take_woke(), Some("stirs"));
    // Five quiet seconds later it idles again, at once, and at keyframes.
    let after = camera.play(&"p".repeat(150));
    let quiet = after.trim_start_matches('p');
    assert!((15..25).contains(&quiet.len()) && !quiet.contains('p'), "{after}");
    assert!(camera.attention.is_idle());
}

#[test]
fn who_asks_for_attention_gets_the_whole_group_and_what_follows() {
    let mut camera = Camera::asleep();
    assert_eq!(camera.play("Kppp"), "K...");
    camera.attention.ask(MonoMillis(camera.now + 1000), "track");
    assert_eq!(camera.play("ppp"), "ppp");
    assert!(camera.decoded.is_sorted() && camera.decoded.len() == 7, "{:?}", camera.decoded);
    assert_eq!(camera.gate.take_woke(), Some("track"));
    assert!(!camera.attention.is_idle());
    // The sizes had missed it: they are not trusted any more.
    camera.play(&"p".repeat(400));
    assert!(!camera.attention.is_idle());
}

#[test]
fn a_group_without_end_is_looked_at_now_and_then() {
    let mut camera = Camera::asleep();
    let shown = camera.play(&format!("K{}", "p".repeat(700)));
    // Two looks of twelve seconds each, whole; the rest is held.
    assert_eq!(shown.matches('p').count(), 604, "{shown}");
    assert!(shown[1..605].chars().all(|c| c == 'p'));
    assert!(camera.attention.is_idle());
}

#[test]
fn after_a_gap_nothing_is_decoded_that_refers_to_what_is_missing() {
    let mut camera = Camera::asleep();
    assert_eq!(camera.play("Kpp!pppPPPPPKp"), "K..........K.");
}

/// The next unit of the stream, as it comes out.
fn unit_after(camera: &mut Camera) -> Ready {
    camera.now += 40;
    camera.gate.offer(&unit(false, camera.now, 100), MonoMillis(camera.now));
    camera.gate.take_ready().unwrap()
}

#[test]
fn a_decoder_that_is_full_is_waited_for_only_while_it_catches_up() {
    let mut gate = Gate::new(DecodeMode::Always, Arc::default());
    gate.offer(&unit(true, 0, 100), MonoMillis(0));
    let first = gate.take_ready().unwrap();
    assert_eq!(gate.put_back(first), 1);
    let after = gate.offer(&unit(false, 40, 100), MonoMillis(40));
    assert_eq!(after, Decision::Skip(SkipReason::WaitingForKeyframe));

    let mut camera = Camera::asleep();
    camera.play("Kpp");
    camera.attention.ask(MonoMillis(camera.now + 1000), "track");
    camera.gate.offer(&unit(false, camera.now, 100), MonoMillis(camera.now));
    let first = camera.gate.take_ready().unwrap();
    let time = first.0.time;
    assert_eq!((camera.gate.put_back(first), camera.gate.is_catching_up()), (0, true));
    let (unit, idled) = camera.gate.take_ready().unwrap();
    assert_eq!((unit.time, idled.held), (time, true), "it comes first again");
    while camera.gate.take_ready().is_some() {}
    // The decoder has all of it, and is full.
    let next = unit_after(&mut camera);
    assert_eq!((camera.gate.put_back(next), camera.gate.is_catching_up()), (0, true), "it is waited for");
    camera.gate.take_ready().unwrap();
    camera.gate.drained();
    assert!(!camera.gate.is_catching_up());
    let next = unit_after(&mut camera);
    assert!(!next.1.held);
    assert_eq!(camera.gate.put_back(next), 1);
}

#[test]
fn what_is_left_out_on_purpose_is_told_from_what_is_missing() {
    // Of keyframes alone none is missing where another unit is.
    for (mode, left_out) in [(DecodeMode::Adaptive, 2), (DecodeMode::Keyframes, 3), (DecodeMode::Always, 0)] {
        let mut camera = if mode == DecodeMode::Adaptive { Camera::asleep() } else { Camera::new(mode) };
        let begin = camera.now;
        camera.play("KpppKppp");
        camera.now += 8000;
        camera.play("pKp!ppKp");
        let lulls = std::mem::take(&mut camera.lulls).into_iter().map(|(a, b, s)| (a - begin, b - begin, s));
        let told: Vec<_> = lulls.filter(|l| l.0 >= 0).collect();
        let all = [(0, 160, 40), (160, 8360, 8040), (8360, 8520, 40)];
        assert_eq!(told, all[..left_out], "{mode:?}");
        // What the decoder lost, or another decision than to leave units out, explains nothing.
        camera.gate.lost();
        camera.play("KK");
        assert_eq!(camera.lulls, [], "{mode:?}");
    }
}

#[test]
fn what_is_held_and_decoded_after_all_is_not_left_out() {
    let mut camera = Camera::asleep();
    camera.play("Kppp");
    camera.lulls.clear();
    camera.attention.ask(MonoMillis(camera.now + 1000), "track");
    assert_eq!(camera.play("pppKpp"), "pppKpp");
    assert_eq!(camera.lulls, []);
}

#[test]
fn what_begins_just_before_a_keyframe_is_seen_from_its_begin() {
    let mut camera = Camera::asleep();
    let begin = format!("K{}qqqqqK", "p".repeat(40));
    assert_eq!(camera.play(&begin), format!("K{}", ".".repeat(46)), "the second keyframe waits");
    assert_eq!(camera.play("qqq"), "...");
    let first = camera.decoded.len();
    assert_eq!(camera.play("qqq"), "qqq");
    assert_eq!(camera.decoded.len() - first, 46 + 3 + 3, "all that was held, from before the keyframe on");
    assert!(camera.decoded.is_sorted());
    assert_eq!(camera.gate.take_woke(), Some("stirs"));
}

#[test]
fn a_keyframe_that_waits_is_looked_at_when_nothing_stirred() {
    let mut camera = Camera::asleep();
    let begin = camera.now;
    assert_eq!(camera.play(&format!("K{}qqqK", "p".repeat(40))), format!("K{}", ".".repeat(44)));
    camera.play(&"p".repeat(14));
    let (second, left_out) = (begin + 44 * 40, camera.gate.take_idled());
    assert_eq!(camera.decoded, [begin, second]);
    assert_eq!(camera.lulls.last(), Some(&(begin, second, 40)));
    assert!(camera.attention.is_idle() && left_out >= 43, "{left_out}");
    // What followed it is held as ever.
    camera.attention.ask(MonoMillis(camera.now + 1000), "track");
    camera.play("p");
    assert_eq!(camera.decoded.len(), 2 + 14 + 1);

    // Units that are missing end the waiting at once.
    let mut camera = Camera::asleep();
    assert_eq!(camera.play(&format!("K{}qqqKp!pp", "p".repeat(40))), format!("K{}K...", ".".repeat(43)));
}

#[test]
fn a_camera_that_comes_back_coded_as_before_need_not_prove_itself_again() {
    let group = |coding: u8, gate: &mut Gate, from: i64| {
        for i in 0..50 * 12 {
            let now = from + 40 * i;
            gate.offer(&coded(coding, i % 50 == 0, now, 200), MonoMillis(now));
            while gate.take_ready().is_some() {}
            gate.drained();
        }
    };
    let camera = Camera::asleep();
    for (coding, idles) in [(1, true), (2, false), (1, true)] {
        let mut again = Gate::new(DecodeMode::Adaptive, Arc::clone(&camera.attention));
        assert!(!camera.attention.is_idle());
        group(coding, &mut again, camera.now + 1_000_000);
        assert_eq!(camera.attention.is_idle(), idles, "coding {coding}");
    }
    // Another coding on the same connection proves itself too.
    let mut again = Gate::new(DecodeMode::Adaptive, Arc::clone(&camera.attention));
    group(1, &mut again, camera.now);
    group(2, &mut again, camera.now + 24_000);
    assert!(!camera.attention.is_idle());
}

/// A camera that has been still for long, played from the units of a short recording; whether it idled, how many of how many units
/// were decoded, and why it woke.
fn played(mode: DecodeMode, units: &[AccessUnit]) -> (bool, usize, usize, Vec<WakeReason>) {
    let attention = Arc::new(Attention::default());
    let mut gate = Gate::new(mode, Arc::clone(&attention));
    gate.trust_sizes();
    let (mut idled, mut decoded, mut woke) = (false, 0, Vec::new());
    let of = 40 * units.len();
    for i in 0..of {
        let time = FrameTime::arrived(40 * i as i64);
        let unit = AccessUnit { time, ..units[i % units.len()].clone() };
        gate.offer(&unit, time.mono);
        decoded += std::iter::from_fn(|| gate.take_ready()).count();
        gate.drained();
        woke.extend(gate.take_woke());
        idled |= attention.is_idle();
    }
    (idled, decoded, of, woke)
}

#[test]
fn a_stream_that_renews_its_picture_piece_by_piece_is_decoded_in_full() {
    use crate::camera::effort::tests::noise;

    // Without the first group, in which the coder finds its rate.
    let of = |codec, options: &str| noise(codec, &format!("tune=zerolatency {options}")).split_off(25);
    let h265 = of(Codec::H265, "");
    // The coder at hand says of no picture in it that one may begin there, as others do: one is told to be such.
    let mut refreshed = h265[1..].to_vec();
    let sets = crate::camera::nal::units(&h265[0].data).filter(|nal| (nal[0] >> 1) & 0x3f >= 32);
    let mut first: Vec<u8> = sets.flat_map(|nal| [&[0, 0, 0, 1], nal].concat()).collect();
    first.extend_from_slice(&refreshed[0].data);
    (refreshed[0].data, refreshed[0].keyframe) = (first.into(), true);
    let h264 = (of(Codec::H264, ""), of(Codec::H264, "intra-refresh=true"));
    for (codec, (whole, refreshed)) in [(Codec::H264, h264), (Codec::H265, (h265, refreshed))] {
        assert!(refreshed[0].keyframe && whole[0].keyframe, "{codec:?} says where one may begin");
        for mode in [DecodeMode::Keyframes, DecodeMode::Adaptive] {
            let (idled, decoded, of, woke) = played(mode, &whole);
            assert!(decoded < of / 2 && !woke.contains(&PIECEWISE), "{codec:?} {mode:?}: {decoded} of {of}, {woke:?}");
            assert_eq!(idled, mode == DecodeMode::Adaptive);
            let (idled, decoded, of, woke) = played(mode, &refreshed);
            assert!(!idled && decoded > of - 30, "{codec:?} {mode:?}: {decoded} of {of}");
            assert_eq!(woke.iter().filter(|r| **r == PIECEWISE).count(), 1, "{woke:?}");
        }
    }
}

#[test]
fn a_keyframe_that_waits_is_looked_at_though_nothing_follows_it() {
    let mut camera = Camera::asleep();
    let begin = camera.now;
    camera.play(&format!("K{}qqqK", "p".repeat(40)));
    camera.gate.settle_late(MonoMillis(camera.now + 900));
    assert!(camera.gate.take_ready().is_none());
    camera.gate.settle_late(MonoMillis(camera.now + 1000));
    let (keyframe, idled) = camera.gate.take_ready().expect("it has waited for a second");
    assert_eq!(keyframe.time.mono.0, begin + 44 * 40);
    assert_eq!(idled.lull.map(|l| (l.since.0, l.silent_ms)), Some((begin, 40)));
}

#[test]
fn silence_after_a_keyframe_that_waits_is_not_silence_before_it() {
    let mut camera = Camera::asleep();
    let begin = camera.now;
    camera.play(&format!("K{}qqqKpp", "p".repeat(40)));
    camera.now += 3000;
    camera.play("ppp");
    let second = begin + 44 * 40;
    assert_eq!(camera.lulls.last(), Some(&(begin, second, 40)));
    let third = camera.now;
    camera.play("K");
    assert_eq!(camera.lulls.last(), Some(&(second, third, 3040)));
}
