//! Cameras over real RTSP sockets, and recorded files: from the wire to frames, and through everything that goes wrong.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewatch::camera::{
    CameraError, CameraHandle, CameraId, CameraState, CameraStatus, Codec, FileSource, Frame, FrameSink, RetryPolicy,
    spawn_with,
};
use gatewatch::clock::{TimeSource, UtcMillis, utc_now};
use gatewatch::config::{CameraConfig, SecretSource};

use crate::support::rtsp_server::{self as server, Options, PASSWORD, Server, USER};
use crate::support::wait_for;

/// Keeps what arrived, without the pixels of older frames.
#[derive(Default)]
struct Seen(Mutex<Vec<Frame>>);

impl FrameSink for Seen {
    fn frame(&self, frame: Frame) {
        let mut frames = self.0.lock().unwrap();
        let full = frames.len() >= 2000;
        assert!(!full, "more frames than any test waits for");
        frames.push(Frame {
            planes: Arc::new(gatewatch::camera::OwnedI420::filled(2, 2, mean_luma(&frame), 0, 0)),
            ..frame
        });
    }
}

impl Seen {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn frames(&self) -> Vec<Frame> {
        self.0.lock().unwrap().clone()
    }
}

/// Touches every luma row through its stride.
fn mean_luma(frame: &Frame) -> u8 {
    let (data, stride) = frame.planes.plane(0);
    let (w, h) = (frame.width as usize, frame.height as usize);
    let sum: u64 = (0..h).flat_map(|y| &data[y * stride..y * stride + w]).map(|&p| u64::from(p)).sum();
    u8::try_from(sum / (w * h) as u64).unwrap()
}

fn config(url: &str) -> CameraConfig {
    let text = format!("id = \"cam-1\"\nurl = \"{url}\"\nstall_timeout_ms = 3000\n");
    toml::from_str(&text).unwrap()
}

fn quick() -> RetryPolicy {
    let ms = Duration::from_millis;
    RetryPolicy { first: ms(100), cap: ms(300), refused: Duration::from_secs(60), good_after: ms(1000) }
}

fn start(camera: CameraConfig) -> (CameraHandle, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (spawn_with(camera, seen.clone(), quick()).unwrap(), seen)
}

fn wait_state(handle: &CameraHandle, state: CameraState) -> CameraStatus {
    wait_for(&format!("state {state:?}"), || Some(handle.status()).filter(|s| s.state == state))
}

fn wait_frames(seen: &Seen, more: usize) {
    let goal = seen.count() + more;
    wait_for(&format!("{goal} frames"), || (seen.count() >= goal).then_some(()));
}

fn frames_arrive(launch: &str, codec: Codec) {
    let server = Server::start(launch, Options::default());
    let (handle, seen) = start(config(&server.url()));
    wait_frames(&seen, 30);
    let status = handle.status();
    assert_eq!((status.state, status.codec, status.reason.clone()), (CameraState::Running, Some(codec), None));
    assert_eq!((status.width, status.height), (320, 240));
    assert!(status.received >= 30 && status.decoded >= 30, "{status:?}");
    handle.stop();
    let frames = seen.frames();
    for (i, pair) in frames.windows(2).enumerate() {
        assert_eq!(pair[1].number, pair[0].number + 1);
        let step = pair[1].time.mono.since(pair[0].time.mono);
        assert!((1..=1000).contains(&step), "step {step} ms after frame {i}");
    }
    // Bars and snow: neither black nor white.
    let luma = frames[10].planes.plane(0).0[0];
    assert!((40..=200).contains(&luma), "mean luma {luma}");
}

#[test]
fn h264_frames_arrive() {
    frames_arrive(server::H264, Codec::H264);
}

#[test]
fn h265_frames_arrive() {
    frames_arrive(server::H265, Codec::H265);
}

#[test]
fn the_video_is_found_beside_sound() {
    frames_arrive(server::WITH_AUDIO, Codec::H264);
}

#[test]
fn datagrams_and_keyframes_only() {
    let server = Server::start(server::H264, Options::default());
    let mut camera = config(&server.url());
    camera.transport = gatewatch::config::Transport::Udp;
    camera.decode = gatewatch::config::DecodeMode::Keyframes;
    let (handle, seen) = start(camera);
    wait_frames(&seen, 4);
    let status = handle.status();
    handle.stop();
    assert!(status.received >= 25, "a keyframe every ten units: {status:?}");
    // Twenty units a second, so half a second from keyframe to keyframe.
    let steps: Vec<i64> = seen.frames().windows(2).map(|p| p[1].time.mono.since(p[0].time.mono)).collect();
    assert!(steps.iter().all(|ms| (300..2500).contains(ms)), "{steps:?}");
}

#[test]
fn capture_time_comes_from_sender_reports() {
    let server = Server::start(server::H264, Options::default());
    let (handle, seen) = start(config(&server.url()));
    let ntp = |f: &Frame| f.time.source == TimeSource::RtcpNtp;
    let (frame, now) =
        wait_for("a frame with NTP time", || seen.frames().last().cloned().filter(ntp).map(|f| (f, utc_now())));
    assert!(frame.time.utc.since(now).abs() < 1000, "{frame:?}, box {now:?}");
    assert!(frame.time.clock_offset_ms.unwrap().abs() < 1000, "{frame:?}");
    let status = handle.status();
    assert_eq!(status.time_source, Some(TimeSource::RtcpNtp));
    handle.stop();
}

fn with_password(mut camera: CameraConfig, dir: &Path, password: &str) -> CameraConfig {
    let file = dir.join("password");
    std::fs::write(&file, password).unwrap();
    camera.username = Some(USER.into());
    camera.password = SecretSource { file: Some(file), env: None };
    camera
}

#[test]
fn a_wrong_password_is_refused_and_not_printed() {
    let server = Server::start(server::H264, Options { password: true, ..Options::default() });
    let dir = tempfile::tempdir().unwrap();
    let (handle, seen) = start(with_password(config(&server.url()), dir.path(), "wrong-password-3"));
    let status = wait_state(&handle, CameraState::Refused);
    let reason = status.reason.unwrap();
    assert!(reason.contains("password") && !reason.contains("wrong-password-3"), "{reason}");
    assert_eq!((seen.count(), status.reconnects), (0, 0));
    let before = std::time::Instant::now();
    handle.stop();
    assert!(before.elapsed() < Duration::from_secs(3), "the wait for the next try must end at once");
}

#[test]
fn the_right_password_opens() {
    let server = Server::start(server::H264, Options { password: true, ..Options::default() });
    let dir = tempfile::tempdir().unwrap();
    let (handle, seen) = start(with_password(config(&server.url()), dir.path(), PASSWORD));
    wait_frames(&seen, 3);
    handle.stop();
}

#[test]
fn a_server_that_dies_is_found_again() {
    let server = Server::start(server::H264, Options::default());
    let port = server.port;
    let (handle, seen) = start(config(&server.url()));
    let mut changes = handle.subscribe();
    wait_frames(&seen, 5);
    drop(server);
    let lost = wait_state(&handle, CameraState::Lost);
    assert!(lost.reason.is_some(), "{lost:?}");
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let _server = Server::start(server::H264, Options { port, ..Options::default() });
    wait_state(&handle, CameraState::Running);
    wait_frames(&seen, 5);
    assert!(handle.status().reconnects >= 1);
    handle.stop();
    let numbers: Vec<u64> = seen.frames().iter().map(|f| f.number).collect();
    assert!(numbers.windows(2).all(|p| p[1] == p[0] + 1), "numbers go on over connections");
}

#[test]
fn a_silent_server_is_stalled() {
    let server = Server::start(server::H264, Options::default());
    let (handle, seen) = start(config(&server.url()));
    wait_frames(&seen, 5);
    server.fall_silent();
    let status = wait_state(&handle, CameraState::Stalled);
    assert!(status.reason.unwrap().contains("3000 ms"));
    handle.stop();
}

#[test]
fn nobody_there_is_lost_and_tried_again() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let (handle, _) = start(config(&format!("rtsp://127.0.0.1:{port}/live")));
    let status = wait_for("two tries", || Some(handle.status()).filter(|s| s.reconnects >= 2));
    assert_eq!(status.state, CameraState::Lost);
    assert!(status.reason.unwrap().contains("cannot reach"));
    handle.stop();
}

#[test]
fn a_new_picture_size_needs_no_reconnect() {
    let server = Server::start(server::H264, Options::default());
    let (handle, seen) = start(config(&server.url()));
    wait_frames(&seen, 5);
    server.set_size(640, 480);
    wait_for("the new size", || seen.frames().last().filter(|f| (f.width, f.height) == (640, 480)).map(|_| ()));
    wait_frames(&seen, 5);
    let status = handle.status();
    assert_eq!((status.width, status.height, status.reconnects), (640, 480, 0));
    handle.stop();
}

#[test]
fn other_codings_are_said_to_be_unsupported() {
    for (launch, word) in [(server::MJPEG, "JPEG"), (server::ONLY_AUDIO, "no video")] {
        let server = Server::start(launch, Options::default());
        let (handle, _) = start(config(&server.url()));
        let status = wait_state(&handle, CameraState::Lost);
        let reason = status.reason.unwrap();
        assert!(reason.contains("unsupported") && reason.contains(word), "{reason}");
        handle.stop();
    }
}

#[test]
fn a_certificate_must_be_trusted() {
    let dir = tempfile::tempdir().unwrap();
    if !server::make_certificate(dir.path()) {
        println!("skipped: this machine has no openssl");
        return;
    }
    let server = Server::start(server::H264, Options { tls: Some(dir.path()), ..Options::default() });
    let url = server.url().replace("rtsp://", "rtsps://");
    let (handle, seen) = start(config(&url));
    let status = wait_state(&handle, CameraState::Lost);
    assert!(status.reason.unwrap().contains("not trusted"));
    assert_eq!(seen.count(), 0);
    handle.stop();

    let mut camera = config(&url);
    camera.ca_file = Some(dir.path().join("cert.pem"));
    let (handle, seen) = start(camera);
    wait_frames(&seen, 3);
    handle.stop();
}

#[test]
fn a_secret_that_is_not_there_yet_is_said_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(server::H264, Options { password: true, ..Options::default() });
    let mut camera = config(&server.url());
    camera.username = Some(USER.into());
    let file = dir.path().join("password");
    camera.password = SecretSource { file: Some(file.clone()), env: None };
    camera.decoder = Some("nosuchdec".into());
    let (handle, seen) = start(camera);
    let status = wait_state(&handle, CameraState::Lost);
    let reason = status.reason.unwrap();
    assert!(reason.contains("cam-1") && reason.contains(file.to_str().unwrap()), "{reason}");
    std::fs::write(&file, PASSWORD).unwrap();
    // Decoded with another decoder than the one that is not on this machine.
    wait_frames(&seen, 3);
    handle.stop();
}

#[test]
fn what_no_retry_can_mend_is_said_at_once() {
    let error = spawn_with(config("http://u:p@cam/x"), Arc::new(Seen::default()), quick()).err().unwrap();
    assert!(matches!(&error, CameraError::Misconfigured(m) if m.contains("http://cam/x")), "{error}");
}

fn read(path: &Path) -> Vec<Frame> {
    let source = FileSource::open(path, CameraId("cam-1".into()), UtcMillis(1_000_000)).unwrap();
    source
        .map(|f| f.unwrap())
        .map(|f| Frame { planes: Arc::new(gatewatch::camera::OwnedI420::filled(2, 2, mean_luma(&f), 0, 0)), ..f })
        .collect()
}

#[test]
fn recorded_files_give_every_frame_in_every_run() {
    let Some(assets) = std::env::var_os("GATEWATCH_ASSETS").map(PathBuf::from) else {
        println!("skipped: GATEWATCH_ASSETS is not set");
        return;
    };
    let clips = [
        ("car-detection.mp4", 377, 768, 432),
        ("london-street-roadworks_TestV4.mp4", 151, 1280, 720),
        ("night_dhaka-traffic_night.mp4", 370, 898, 506),
        ("person-bicycle-car-detection-7sec.mp4", 84, 768, 432),
        ("towncentre_c_126f.mp4", 126, 1920, 1080),
    ];
    for (name, count, width, height) in clips {
        let frames = read(&assets.join("videos").join(name));
        assert_eq!(frames.len(), count, "{name}");
        assert!(frames.iter().all(|f| (f.width, f.height) == (width, height)), "{name}");
        assert_eq!((frames[0].time.utc, frames[0].time.source), (UtcMillis(1_000_000), TimeSource::File), "{name}");
        assert!(frames.windows(2).all(|p| p[1].time.mono > p[0].time.mono), "{name}: times must rise");
    }
    let key = |f: &Frame| (f.number, f.time.utc, f.time.mono, f.planes.plane(0).0[0]);
    let path = assets.join("videos/car-detection.mp4");
    let (a, b) = (read(&path), read(&path));
    assert_eq!(a.iter().map(key).collect::<Vec<_>>(), b.iter().map(key).collect::<Vec<_>>());
}

#[test]
fn a_file_without_pictures_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.mp4");
    std::fs::write(&path, "these are no pictures, only words; ".repeat(100)).unwrap();
    let mut source = FileSource::open(&path, CameraId("cam-1".into()), UtcMillis(0)).unwrap();
    let error = source.next().unwrap().unwrap_err();
    assert!(matches!(&error, CameraError::Unsupported(m) if m.contains("notes.mp4")), "{error}");
    assert!(source.next().is_none());
}
