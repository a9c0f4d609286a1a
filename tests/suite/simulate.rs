//! The simulated cameras as the agent sees them: over real RTSP sockets, through the agent's own camera part, in good
//! order and in everything that goes wrong on command.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewatch::camera::{
    CameraHandle, CameraState, CameraStatus, Codec, Frame, FrameSink, OwnedI420, RetryPolicy, spawn_with,
};
use gatewatch::clock::{TimeSource, UtcMillis};
use gatewatch::config::{CameraConfig, Secret, SecretSource};
use gatewatch::simulate::{Misbehaviour, PictureSource, ServerOptions, SimCamera, SimError, SimKind, SimServer};
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::support::{rtsp_server, wait_for};

/// Bits of wall clock milliseconds that a picture shows: a day and more does not matter, 65 s do.
const BITS: usize = 16;
const DARK: u8 = 40;
const BRIGHT: u8 = 210;

/// The lowest bits of its time as blocks of light in the upper half, bars that move below.
struct Bars;

impl PictureSource for Bars {
    fn size(&self) -> (u32, u32) {
        (320, 240)
    }

    fn picture(&mut self, seconds: f64, utc: UtcMillis, size: (u32, u32)) -> Vec<u8> {
        let (w, h) = (size.0 as usize, size.1 as usize);
        let moved = (seconds * 40.0) as usize;
        let luma = |x: usize, y: usize| {
            let bright =
                if y < h / 2 { (utc.0 >> (x * BITS / w)) & 1 == 1 } else { ((x + moved) / 20).is_multiple_of(2) };
            if bright { BRIGHT } else { DARK }
        };
        let mut picture: Vec<u8> = (0..w * h).map(|i| luma(i % w, i / w)).collect();
        picture.resize(OwnedI420::bytes(w, h), 128);
        picture
    }
}

/// What a frame showed, without its pixels.
#[derive(Debug, Clone)]
struct Shown {
    frame: Frame,
    /// The time that the blocks spell; `None` where a block is neither dark nor bright.
    drawn_ms: Option<i64>,
    mean: u8,
}

#[derive(Default)]
struct Seen(Mutex<Vec<Shown>>);

impl FrameSink for Seen {
    fn frame(&self, frame: Frame) {
        let (drawn_ms, mean) = (read_time(&frame), mean_luma(&frame));
        let frame = Frame { planes: Arc::new(OwnedI420::filled(2, 2, 0, 0, 0)), ..frame };
        self.0.lock().unwrap().push(Shown { frame, drawn_ms, mean });
    }
}

impl Seen {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn all(&self) -> Vec<Shown> {
        self.0.lock().unwrap().clone()
    }
    fn last(&self) -> Option<Shown> {
        self.0.lock().unwrap().last().cloned()
    }
    fn wait_more(&self, more: usize) {
        let goal = self.count() + more;
        wait_for(&format!("{goal} frames"), || (self.count() >= goal).then_some(()));
    }
    /// The first frame from now on that is as wanted.
    fn wait_one(&self, what: &str, good: impl Fn(&Shown) -> bool) -> Shown {
        let from = self.count();
        wait_for(what, || self.all().into_iter().skip(from).find(|s| good(s)))
    }
}

fn read_time(frame: &Frame) -> Option<i64> {
    let (luma, stride) = frame.planes.plane(0);
    let (w, h) = (frame.width as usize, frame.height as usize);
    let mut ms = 0;
    for bit in 0..BITS {
        let p = luma[h / 4 * stride + (2 * bit + 1) * w / (2 * BITS)];
        match p {
            ..=80 => {}
            170.. => ms |= 1 << bit,
            _ => return None,
        }
    }
    Some(ms)
}

fn mean_luma(frame: &Frame) -> u8 {
    let (data, stride) = frame.planes.plane(0);
    let (w, h) = (frame.width as usize, frame.height as usize);
    let sum: u64 = (0..h).flat_map(|y| &data[y * stride..y * stride + w]).map(|&p| u64::from(p)).sum();
    u8::try_from(sum / (w * h) as u64).unwrap()
}

/// Shown time minus the frame's own time, milliseconds.
fn time_error(shown: &Shown) -> i64 {
    let span = 1 << BITS;
    let difference = (shown.drawn_ms.unwrap() - shown.frame.time.utc.0).rem_euclid(span);
    if difference > span / 2 { difference - span } else { difference }
}

fn drawn(name: &str, codec: Codec) -> SimCamera {
    let kind = SimKind::Drawn { source: Box::new(Bars), codec, fps: 20, bitrate_kbit: 1000, gop: 20 };
    SimCamera { name: name.into(), kind }
}

fn lane() -> SimServer {
    SimServer::start(vec![drawn("lane", Codec::H264)], ServerOptions::default()).unwrap()
}

/// Patient: a machine that builds something else meanwhile is no camera that stalls.
fn config(url: &str) -> CameraConfig {
    toml::from_str(&format!("id = \"cam-1\"\nurl = \"{url}\"\nstall_timeout_ms = 30000\n")).unwrap()
}

/// For stalls on purpose.
fn impatient(url: &str) -> CameraConfig {
    CameraConfig { stall_timeout_ms: 3000, ..config(url) }
}

fn watch_with(camera: CameraConfig) -> (CameraHandle, Arc<Seen>) {
    // Shown when a test fails: why a camera was lost.
    let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
    let seen = Arc::new(Seen::default());
    let ms = Duration::from_millis;
    let retry = RetryPolicy { first: ms(100), cap: ms(300), refused: ms(500), good_after: ms(1000) };
    (spawn_with(camera, seen.clone(), retry).unwrap(), seen)
}

fn watch(url: &str) -> (CameraHandle, Arc<Seen>) {
    watch_with(config(url))
}

fn wait_state(handle: &CameraHandle, state: CameraState) -> CameraStatus {
    wait_for(&format!("state {state:?}"), || Some(handle.status()).filter(|s| s.state == state))
}

/// Frames come, of the right size, showing what was drawn, with the true time of each.
fn pictures_arrive(codec: Codec) {
    let server = SimServer::start(vec![drawn("lane", codec)], ServerOptions::default()).unwrap();
    let (handle, seen) = watch(&server.url("lane"));
    let ntp = |s: &Shown| s.frame.time.source == TimeSource::RtcpNtp;
    wait_for("20 frames with NTP time", || (seen.all().iter().filter(|s| ntp(s)).count() >= 20).then_some(()));
    let status = handle.status();
    assert_eq!((status.state, status.codec, status.reconnects), (CameraState::Running, Some(codec), 0), "{status:?}");
    let frames = seen.all();
    assert!(frames.iter().all(|s| (s.frame.width, s.frame.height) == (320, 240)));
    // A viewer may come into the middle of a group of 20: from the next keyframe on every frame shows its time.
    let unread = frames.iter().rposition(|s| s.drawn_ms.is_none()).map_or(0, |i| i + 1);
    assert!(unread <= 20, "frame {unread} does not show its time");
    let frames = &frames[unread..];
    let errors: Vec<i64> = frames.iter().filter(|s| ntp(s)).map(time_error).collect();
    println!("{codec:?}: drawn minus reported time, ms: {errors:?}");
    assert!(errors.iter().all(|e| e.abs() <= 150), "{errors:?}");
    // One picture after the other, by their own times.
    let late: Vec<i64> =
        frames.windows(2).map(|p| (p[1].drawn_ms.unwrap() - p[0].drawn_ms.unwrap()).rem_euclid(65536)).collect();
    assert!(late.iter().all(|&ms| ms % 50 <= 5 || ms % 50 >= 45), "on the grid of 20 a second: {late:?}");
    assert!(late.iter().filter(|&&ms| ms > 0).count() + 2 >= late.len(), "{late:?}");
    assert!(server.stats("lane").unwrap().pictures >= frames.len() as u64);
    handle.stop();
}

#[test]
fn h264_shows_what_was_drawn_when() {
    pictures_arrive(Codec::H264);
}

#[test]
fn h265_shows_what_was_drawn_when() {
    pictures_arrive(Codec::H265);
}

#[test]
fn two_viewers_share_and_are_counted() {
    let server = lane();
    let stats = || server.stats("lane").unwrap();
    assert_eq!(stats().clients, 0);
    let (first, seen_first) = watch(&server.url("lane"));
    seen_first.wait_more(5);
    let (second, seen_second) = watch(&server.url("lane"));
    seen_second.wait_more(5);
    assert_eq!(stats().clients, 2);
    first.stop();
    wait_for("one viewer", || (stats().clients == 1).then_some(()));
    seen_second.wait_more(5);
    second.stop();
    wait_for("no viewer", || (stats().clients == 0).then_some(()));
    // Nobody watches: nothing is drawn, the scene's time goes on.
    wait_for("a pause", || {
        let before = stats().pictures;
        std::thread::sleep(Duration::from_millis(1500));
        (stats().pictures == before).then_some(())
    });
    let (third, seen_third) = watch(&server.url("lane"));
    seen_third.wait_more(5);
    third.stop();
}

#[test]
fn a_stall_is_seen_and_ends() {
    let server = lane();
    let (handle, seen) = watch_with(impatient(&server.url("lane")));
    seen.wait_more(5);
    server.misbehave("lane", &Misbehaviour::Stall { ms: 5000 }).unwrap();
    wait_state(&handle, CameraState::Stalled);
    wait_state(&handle, CameraState::Running);
    seen.wait_more(5);
    handle.stop();
}

#[test]
fn a_cut_camera_is_lost_and_found_again() {
    let server = lane();
    let (handle, seen) = watch(&server.url("lane"));
    seen.wait_more(5);
    server.misbehave("lane", &Misbehaviour::Cut { ms: 1000 }).unwrap();
    wait_state(&handle, CameraState::Lost);
    wait_state(&handle, CameraState::Running);
    seen.wait_more(5);
    assert!(handle.status().reconnects >= 1);
    handle.stop();
}

#[test]
fn an_ended_stream_can_be_opened_again() {
    let server = lane();
    let (handle, seen) = watch(&server.url("lane"));
    seen.wait_more(5);
    server.misbehave("lane", &Misbehaviour::EndOfStream).unwrap();
    wait_state(&handle, CameraState::Lost);
    wait_state(&handle, CameraState::Running);
    seen.wait_more(5);
    handle.stop();
}

#[test]
fn a_new_size_comes_within_the_connection() {
    for codec in [Codec::H264, Codec::H265] {
        let server = SimServer::start(vec![drawn("lane", codec)], ServerOptions::default()).unwrap();
        let (handle, seen) = watch(&server.url("lane"));
        seen.wait_more(5);
        server.misbehave("lane", &Misbehaviour::ChangeResolution { width: 640, height: 360 }).unwrap();
        seen.wait_one("the new size", |s| (s.frame.width, s.frame.height) == (640, 360) && s.drawn_ms.is_some());
        seen.wait_more(5);
        assert_eq!(handle.status().reconnects, 0, "{codec:?}");
        handle.stop();
    }
}

#[test]
fn a_new_coding_is_found_at_the_next_connection() {
    let server = lane();
    let (handle, seen) = watch(&server.url("lane"));
    seen.wait_more(5);
    server.misbehave("lane", &Misbehaviour::ChangeCodec { codec: Codec::H265 }).unwrap();
    wait_for("H.265", || Some(handle.status()).filter(|s| s.codec == Some(Codec::H265)));
    seen.wait_more(5);
    assert!(handle.status().reconnects >= 1);
    handle.stop();
}

#[test]
fn a_refused_password_is_said_and_asked_again() {
    let credentials = Some(("duty".to_owned(), Secret::new("right-password-7".into())));
    let server =
        SimServer::start(vec![drawn("lane", Codec::H264)], ServerOptions { credentials, ..Default::default() })
            .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let mut camera = config(&server.url("lane"));
    camera.username = Some("duty".into());
    camera.password = SecretSource { file: Some(file.clone()), env: None };

    std::fs::write(&file, "wrong-password-3").unwrap();
    let (handle, seen) = watch_with(camera.clone());
    wait_state(&handle, CameraState::Refused);
    assert_eq!(seen.count(), 0);
    handle.stop();

    std::fs::write(&file, "right-password-7").unwrap();
    let (handle, seen) = watch_with(camera);
    seen.wait_more(5);
    server.misbehave("lane", &Misbehaviour::RefusePassword { ms: 1500 }).unwrap();
    wait_state(&handle, CameraState::Refused);
    wait_state(&handle, CameraState::Running);
    seen.wait_more(5);
    handle.stop();
}

#[test]
fn damaged_packets_do_not_end_a_camera() {
    for codec in [Codec::H264, Codec::H265] {
        let server = SimServer::start(vec![drawn("lane", codec)], ServerOptions::default()).unwrap();
        let (handle, seen) = watch(&server.url("lane"));
        seen.wait_more(5);
        server.misbehave("lane", &Misbehaviour::CorruptPackets { ms: 2000 }).unwrap();
        wait_for("damage", || (server.stats("lane").unwrap().corrupted >= 20).then_some(()));
        let settled = wait_for("the end of the damage", || {
            let before = server.stats("lane").unwrap();
            wait_for("more pictures", || (server.stats("lane").unwrap().pictures > before.pictures + 5).then_some(()));
            let now = server.stats("lane").unwrap();
            (now.corrupted == before.corrupted).then_some(now)
        });
        assert!(settled.corrupted >= 20);
        seen.wait_one("a whole picture again", |s| s.drawn_ms.is_some());
        assert_eq!(handle.status().reconnects, 0, "{codec:?}");
        handle.stop();
    }
}

#[test]
fn a_spoiled_picture_is_seen_as_such() {
    let server = lane();
    let (handle, seen) = watch(&server.url("lane"));
    seen.wait_one("light", |s| s.mean > 80);
    server.misbehave("lane", &Misbehaviour::Cover { ms: 1000 }).unwrap();
    seen.wait_one("darkness", |s| s.mean < 30);
    seen.wait_one("light again", |s| s.mean > 80 && s.drawn_ms.is_some());
    server.misbehave("lane", &Misbehaviour::Freeze { ms: 1500 }).unwrap();
    // Twenty pictures a second: fifteen of one time are no accident.
    wait_for("a still picture", || {
        let all = seen.all();
        let last = all.last()?.drawn_ms?;
        (all.iter().rev().take_while(|s| s.drawn_ms == Some(last)).count() >= 15).then_some(())
    });
    let still = seen.last().unwrap().drawn_ms;
    seen.wait_one("time goes on", |s| s.drawn_ms.is_some() && s.drawn_ms != still);
    assert_eq!(handle.status().reconnects, 0);
    handle.stop();
}

#[test]
fn over_tls_with_a_trusted_certificate() {
    let dir = tempfile::tempdir().unwrap();
    if !rtsp_server::make_certificate(dir.path()) {
        println!("skipped: this machine has no openssl");
        return;
    }
    let tls = Some((dir.path().join("cert.pem"), dir.path().join("key.pem")));
    let server =
        SimServer::start(vec![drawn("lane", Codec::H264)], ServerOptions { tls, ..Default::default() }).unwrap();
    assert!(server.url("lane").starts_with("rtsps://127.0.0.1:"));
    let mut camera = config(&server.url("lane"));
    camera.ca_file = Some(dir.path().join("cert.pem"));
    let (handle, seen) = watch_with(camera);
    seen.wait_more(5);
    handle.stop();
}

/// Two seconds of 20 pictures a second, each brighter than the one before, with reordered pictures.
fn make_clip(path: &Path, coder: &str) {
    gst::init().unwrap();
    let mux = match path.extension().and_then(|e| e.to_str()) {
        Some("ts") => "mpegtsmux",
        Some("mkv") => "matroskamux",
        _ => "mp4mux",
    };
    let launch = format!(
        "appsrc name=in format=time caps=video/x-raw,format=I420,width=320,height=240,framerate=20/1 ! {coder} ! {mux} \
         ! filesink location={}",
        path.display()
    );
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for i in 0..40u64 {
        let mut picture = vec![30 + 5 * i as u8; OwnedI420::bytes(320, 240)];
        picture[320 * 240..].fill(128);
        let mut buffer = gst::Buffer::from_mut_slice(picture);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(50 * i));
        buffer.get_mut().unwrap().set_duration(gst::ClockTime::from_mseconds(50));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Eos, gst::MessageType::Error])
        .expect("the clip is written");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

fn file(path: PathBuf) -> SimServer {
    SimServer::start(vec![SimCamera { name: "clip".into(), kind: SimKind::File { path } }], ServerOptions::default())
        .unwrap()
}

/// Served in real time, over and over: every picture, in order, with times that rise evenly over the loops.
fn loops(name: &str, coder: &str, codec: Codec) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    make_clip(&path, coder);
    let server = file(path);
    let (handle, seen) = watch(&server.url("clip"));
    let ntp = |s: &Shown| s.frame.time.source == TimeSource::RtcpNtp;
    wait_for("two passes with NTP time", || (seen.all().iter().filter(|s| ntp(s)).count() >= 85).then_some(()));
    let status = handle.status();
    handle.stop();
    assert_eq!((status.codec, status.reconnects), (Some(codec), 0), "{status:?}");
    let frames = seen.all();
    // Each picture is 5 brighter than the one before, the first one follows the last.
    let light: Vec<u8> = frames.iter().map(|s| s.mean).collect();
    let follows = |p: &[u8]| if p[0] >= 223 { p[1].abs_diff(30) <= 2 } else { p[1].abs_diff(p[0] + 5) <= 2 };
    let breaks: Vec<&[u8]> = light.windows(2).filter(|p| !follows(p)).collect();
    assert!(breaks.is_empty(), "a picture is missing or out of order: {breaks:?} in {light:?}");
    // How late the first pictures were is known after the next ones.
    let mono: Vec<i64> = frames[20..].windows(2).map(|p| p[1].frame.time.mono.since(p[0].frame.time.mono)).collect();
    assert!(mono.iter().all(|ms| (47..=53).contains(ms)), "uneven on the box's clock: {mono:?}");
    let utc: Vec<i64> = frames
        .windows(2)
        .filter(|p| ntp(&p[0]) && ntp(&p[1]))
        .map(|p| p[1].frame.time.utc.since(p[0].frame.time.utc))
        .collect();
    assert!(utc.iter().all(|ms| (45..=55).contains(ms)), "uneven on the camera's clock: {utc:?}");
}

#[test]
fn an_h264_file_with_reordered_pictures_is_looped() {
    loops("a.mp4", "x264enc bframes=2 b-adapt=false key-int-max=20 ! h264parse", Codec::H264);
}

#[test]
fn an_h265_file_is_looped() {
    loops("a.mp4", "x265enc log-level=none tune=zerolatency key-int-max=20 ! h265parse", Codec::H265);
}

#[test]
fn a_transport_stream_is_looped() {
    loops("a.ts", "x264enc tune=zerolatency key-int-max=20 ! h264parse", Codec::H264);
}

#[test]
fn a_recording_freezes_and_stalls_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    make_clip(&path, "x264enc bframes=2 b-adapt=false key-int-max=20 ! h264parse");
    let server = file(path);
    let (handle, seen) = watch_with(impatient(&server.url("clip")));
    seen.wait_more(10);
    server.misbehave("clip", &Misbehaviour::Freeze { ms: 2000 }).unwrap();
    wait_for("a still picture", || {
        let all = seen.all();
        let last = all.last()?.mean;
        (all.iter().rev().take_while(|s| s.mean.abs_diff(last) <= 1).count() >= 15).then_some(())
    });
    let still = seen.last().unwrap().mean;
    seen.wait_one("it moves again", |s| s.mean.abs_diff(still) > 8);
    server.misbehave("clip", &Misbehaviour::Stall { ms: 4500 }).unwrap();
    wait_state(&handle, CameraState::Stalled);
    wait_state(&handle, CameraState::Running);
    seen.wait_more(5);
    let error = server.misbehave("clip", &Misbehaviour::Blur { ms: 10 }).unwrap_err();
    assert!(error.to_string().contains("as it is"), "{error}");
    handle.stop();
}

#[test]
fn real_clips_are_served() {
    let Some(assets) = std::env::var_os("GATEWATCH_ASSETS").map(PathBuf::from) else {
        println!("skipped: GATEWATCH_ASSETS is not set");
        return;
    };
    for (name, size) in [("car-detection.mp4", (768, 432)), ("person-bicycle-car-detection-7sec.mp4", (768, 432))] {
        let server = file(assets.join("videos").join(name));
        let (handle, seen) = watch(&server.url("clip"));
        // The shorter one has 84 pictures: it comes round.
        wait_for(name, || (seen.count() >= 100).then_some(()));
        assert!(seen.all().iter().all(|s| (s.frame.width, s.frame.height) == size), "{name}");
        assert_eq!(handle.status().reconnects, 0, "{name}");
        handle.stop();
    }
}

#[test]
fn what_cannot_be_served_is_said_before_serving() {
    let dir = tempfile::tempdir().unwrap();
    let start = |camera: SimCamera| SimServer::start(vec![camera], ServerOptions::default()).err().unwrap();
    let as_file = |path: PathBuf| SimCamera { name: "clip".into(), kind: SimKind::File { path } };
    let error = start(as_file(dir.path().join("nowhere.mp4")));
    assert!(matches!(&error, SimError::Misconfigured(m) if m.contains("nowhere.mp4")), "{error}");
    let foreign = dir.path().join("foreign.mkv");
    make_clip(&foreign, "jpegenc");
    let asked = std::time::Instant::now();
    let error = start(as_file(foreign));
    let named = |m: &str| m.contains("foreign.mkv") && m.contains("image/jpeg");
    assert!(matches!(&error, SimError::Misconfigured(m) if named(m)), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(5), "said after {:?}", asked.elapsed());
    let error = start(drawn("Lane 1", Codec::H264));
    assert!(matches!(&error, SimError::Misconfigured(m) if m.contains("Lane 1")), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error =
        SimServer::start(vec![drawn("lane", Codec::H264)], ServerOptions { port, ..Default::default() }).err().unwrap();
    assert!(matches!(&error, SimError::Bind { address, .. } if address.contains(&port.to_string())), "{error}");

    let server = lane();
    let error = server.misbehave("bay", &Misbehaviour::EndOfStream).unwrap_err();
    assert!(error.to_string().contains("lane"), "{error}");
    assert!(server.misbehave("lane", &Misbehaviour::ChangeResolution { width: 641, height: 360 }).is_err());
}
