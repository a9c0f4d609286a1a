//! Gate and decoder together, with real coded pictures.

use std::sync::Mutex;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::*;
use crate::camera::{AccessUnit, CameraId, Frame, elements};
use crate::clock::{FrameTime, MonoMillis};
use crate::config::DecodeMode;

#[derive(Default)]
struct Seen(Mutex<Vec<Frame>>);

impl FrameSink for Seen {
    fn frame(&self, frame: Frame) {
        self.0.lock().unwrap().push(frame);
    }
}

/// Forty pictures, a keyframe every ten, 40 ms apart, starting at `start_ms`.
fn units(codec: Codec, start_ms: i64) -> Vec<Received> {
    let coder = match codec {
        Codec::H264 => "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse",
        Codec::H265 => "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h265parse",
    };
    coded(coder, start_ms)
}

fn coded(coder: &str, start_ms: i64) -> Vec<Received> {
    elements::init().unwrap();
    let text = format!(
        "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 \
         ! {coder} config-interval=-1"
    );
    let head = gst::parse::bin_from_description(&text, true).unwrap();
    let sink = elements::unit_sink(0, false);
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([head.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
    head.link(&sink).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut units = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        units.push(received(&sample, start_ms + 40 * i64::try_from(units.len()).unwrap()));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    units
}

fn received(sample: &gst::Sample, ms: i64) -> Received {
    let raw = elements::read_unit(sample).unwrap();
    let time = FrameTime::arrived(ms);
    let pts_ns = u64::try_from(ms).unwrap() * 1_000_000;
    let unit = AccessUnit { data: raw.data, codec: raw.codec, keyframe: raw.keyframe, pts_ns, time };
    Received { unit, discontinuity: false, clock_offset_ms: None }
}

fn pump() -> (Pump, Arc<Seen>) {
    pump_with(DecodeMode::Always, Arc::default())
}

fn pump_with(decode: DecodeMode, attention: Arc<Attention>) -> (Pump, Arc<Seen>) {
    let camera: CameraConfig = toml::from_str("id = \"cam-1\"\nurl = \"rtsp://cam\"").unwrap();
    let seen = Arc::new(Seen::default());
    let report = Arc::new(Report::new(CameraId("cam-1".into())));
    let shared =
        Shared { report, sink: seen.clone(), attention, in_turn_until: Arc::default(), number: Arc::default() };
    (Pump::new(&CameraConfig { decode, ..camera }, shared), seen)
}

#[test]
fn who_is_not_looked_at_in_time_hurries_until_the_camera_is_as_far_as_its_stream() {
    let (mut pump, _seen) = pump_with(DecodeMode::Adaptive, Arc::default());
    let until = |pump: &Pump| pump.shared.in_turn_until.load(Ordering::Relaxed);
    assert_eq!(until(&pump), NONE_HELD);
    // As the thread of the frames does.
    pump.shared.in_turn_until.store(HURRY, Ordering::Relaxed);
    pump.gate.catch_up();
    for received in &units(Codec::H264, 0)[..3] {
        pump.feed(received).unwrap();
        assert!(!pump.gate.is_catching_up() || until(&pump) == HURRY, "no frame waits for its turn");
    }
    let start = mono_now();
    while until(&pump) == HURRY {
        assert!(mono_now().since(start) < 20_000, "the decoder stands");
        pump.turn().unwrap();
        std::thread::yield_now();
    }
}

/// Feeds at the decoder's pace and waits until a frame with the time of the last unit came out.
fn feed(pump: &mut Pump, seen: &Seen, units: &[Received]) {
    for received in units {
        let start = mono_now();
        while pump.live.as_ref().is_some_and(|l| !l.decoder.has_room()) {
            assert!(mono_now().since(start) < 20_000, "the decoder stands");
            std::thread::yield_now();
        }
        pump.feed(received).unwrap();
    }
    let (last, start) = (units.last().unwrap().unit.time, mono_now());
    while seen.0.lock().unwrap().last().is_none_or(|f| f.time != last) {
        assert!(mono_now().since(start) < 20_000, "the last frame does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_frame_has_the_time_of_its_unit_over_a_change_of_coding() {
    let (mut pump, seen) = pump();
    let (h264, h265) = (units(Codec::H264, 0), units(Codec::H265, 10_000));
    feed(&mut pump, &seen, &h264);
    feed(&mut pump, &seen, &h265);
    let frames = seen.0.lock().unwrap();
    let want: Vec<i64> = h264.iter().chain(&h265).map(|r| r.unit.time.mono.0).collect();
    assert_eq!(frames.iter().map(|f| f.time.mono.0).collect::<Vec<_>>(), want);
    assert!(frames.iter().enumerate().all(|(i, f)| f.number == i as u64));
}

#[test]
fn a_camera_whose_time_steps_back_goes_on_at_its_next_keyframe() {
    let (mut pump, seen) = pump();
    let (before, mut after) = (units(Codec::H264, 100_000), units(Codec::H264, 98_500));
    // The box's time goes on all the while.
    for received in &mut after {
        received.unit.time = FrameTime::arrived(received.unit.time.mono.0 + 10_000);
    }
    feed(&mut pump, &seen, &before);
    feed(&mut pump, &seen, &after);
    let frames = seen.0.lock().unwrap();
    let want: Vec<i64> = before.iter().chain(&after).map(|r| r.unit.time.mono.0).collect();
    assert_eq!(frames.iter().map(|f| f.time.mono.0).collect::<Vec<_>>(), want);
}

/// Repeats the forty pictures until the camera idles, then shows that waking up brings every held picture.
#[test]
fn an_idle_camera_that_wakes_up_misses_nothing() {
    for codec in [Codec::H264, Codec::H265] {
        let attention = Arc::new(Attention::default());
        let (mut pump, seen) = pump_with(DecodeMode::Adaptive, Arc::clone(&attention));
        let one = units(codec, 0);
        let mut rounds = 0_i64;
        let mut round = |pump: &mut Pump, count: usize| {
            rounds += 1;
            let at = |r: &Received| {
                let (mut r, ms) = (r.clone(), r.unit.time.mono.0 + rounds * 10_000);
                r.unit.time.mono = MonoMillis(ms);
                r.unit.pts_ns = u64::try_from(ms).unwrap() * 1_000_000;
                r
            };
            let stream: Vec<Received> = one.iter().take(count).map(at).collect();
            for received in &stream {
                let start = mono_now();
                while pump.live.as_ref().is_some_and(|l| !l.decoder.has_room()) {
                    assert!(mono_now().since(start) < 20_000, "the decoder stands");
                    std::thread::yield_now();
                }
                pump.feed(received).unwrap();
            }
            rounds * 10_000
        };
        let start = mono_now();
        while !attention.is_idle() {
            pump.gate.trust_sizes();
            assert!(mono_now().since(start) < 60_000, "it never idles");
            round(&mut pump, 40);
            std::thread::sleep(Duration::from_millis(100));
        }
        let begin = round(&mut pump, 29);
        attention.ask(MonoMillis(mono_now().0 + 60_000), "track");
        // The next unit wakes it; the decoder takes the rest as it can.
        let last = one[29].clone();
        let ms = begin + last.unit.time.mono.0;
        let mut last = last;
        last.unit.time.mono = MonoMillis(ms);
        last.unit.pts_ns = u64::try_from(ms).unwrap() * 1_000_000;
        pump.feed(&last).unwrap();
        let times = || -> Vec<i64> {
            let seen = seen.0.lock().unwrap();
            seen.iter().map(|f| f.time.mono.0 - begin).filter(|t| *t >= 0).collect()
        };
        let start = mono_now();
        while times().last() != Some(&(29 * 40)) {
            assert!(mono_now().since(start) < 20_000, "the last frame does not come: {:?}", times());
            pump.turn().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let want: Vec<i64> = [0, 10].into_iter().chain(20..30).map(|i| i * 40).collect();
        assert_eq!(times(), want, "keyframes, and the whole group it woke in");
    }
}

/// The stream's H.264 parameter sets without the optional part, which says how far pictures are reordered.
fn without_usability_information(unit: &[u8]) -> Vec<u8> {
    let at = unit.windows(5).position(|w| w[..4] == [0, 0, 1, 0x67] || w == [0, 0, 0, 1, 0x67]).unwrap();
    let start = at + unit[at..].iter().position(|&b| b == 0x67).unwrap() + 1;
    let end = start + unit[start..].windows(3).position(|w| w == [0, 0, 1]).unwrap();
    let bit = |i: usize| (unit[start + i / 8] >> (7 - i % 8)) & 1;
    // Exponential-Golomb: as many bits as zeros went before.
    let skip = |i: usize| i + 2 * (i..).position(|k| bit(k) == 1).unwrap() + 1;
    // Profile, constraints, level; then set, frame number bits, order type and its bits, reference frames.
    let after_references = (0..5).fold(24, |i, _| skip(i));
    let after_size = skip(skip(after_references + 1));
    let (frames_only, cropped) = (after_size, after_size + 2);
    assert!(bit(frames_only) == 1 && bit(cropped) == 0, "not the simple parameter set this test expects");
    let last = cropped + 1;
    let mut set: Vec<u8> = unit[start..=start + (last + 1) / 8].to_vec();
    set[last / 8] &= !(0x80 >> (last % 8));
    let stop = last + 1;
    set[stop / 8] = (set[stop / 8] & !(0xff >> (stop % 8))) | (0x80 >> (stop % 8));
    [&unit[..start], &set, &unit[end..]].concat()
}

#[test]
fn a_camera_that_does_not_say_how_it_reorders_is_not_held_back() {
    let (mut pump, seen) = pump();
    let reordered =
        "x264enc bframes=1 b-adapt=false speed-preset=ultrafast key-int-max=10 ! video/x-h264,profile=main ! h264parse";
    let mut stream = coded(reordered, 0);
    for received in stream.iter_mut().filter(|r| r.unit.keyframe) {
        received.unit.data = without_usability_information(&received.unit.data).into();
    }
    // One picture waits for the one shown before it, one is lost while the decoder learns of that.
    for (fed, received) in stream.iter().enumerate() {
        pump.feed(received).unwrap();
        let start = mono_now();
        while seen.0.lock().unwrap().len() + 2 < fed {
            assert!(mono_now().since(start) < 20_000, "after {fed} units the decoder holds pictures back");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn broken_units_cost_pictures_but_not_the_camera() {
    let (mut pump, seen) = pump();
    let mut stream = units(Codec::H264, 0);
    assert!(stream[10].unit.keyframe && stream[30].unit.keyframe);
    for i in [3, 4, 10, 11] {
        let len = stream[i].unit.data.len();
        stream[i].unit.data = (0..len).map(|k| u8::try_from(k * 7 % 251).unwrap()).collect();
    }
    feed(&mut pump, &seen, &stream);
    let frames = seen.0.lock().unwrap();
    let times: Vec<i64> = frames.iter().map(|f| f.time.mono.0).collect();
    assert!((30..40).all(|i| times.contains(&(i * 40))), "the last group is whole: {times:?}");
    assert!(!times.contains(&(10 * 40)), "a broken keyframe gives no picture: {times:?}");
    let counted = pump.shared.report.undecodable_so_far();
    assert_eq!(counted as usize + times.len(), 40, "what was lost is counted");
}
