//! Recorded video of a running box: what the duty room is told when it is not recorded, streams recorded beside the analysed
//! one, and what a camera with privacy masks gives away. Real cameras over RTSP, a real broker, real disks.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatewatch::camera::Codec;
use gatewatch::clock::utc_now;
use gatewatch::config::{AreaConfig, AreaKind, SecretSource};
use gatewatch::geometry::{Point, Polygon};
use gatewatch::rules::AreaId;
use serde_json::Value;

use crate::footage::{SmallDisk, gst_times, luminance};
use crate::support::gate::{self, Gate};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::rtsp_server::{H264, Options, Server};
use crate::support::until;

/// A main stream: another coding, size and rate than the stream that is analysed.
const MAIN: &str = "( videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=15/1 \
     ! x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=-1 )";
/// Noise, which no encoder makes small: a megabyte a second and more.
const NOISE: &str = "( videotestsrc is-live=true pattern=snow ! video/x-raw,width=640,height=480,framerate=10/1 \
     ! x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=16 key-int-max=10 ! h264parse \
     ! rtph264pay name=pay0 pt=96 config-interval=-1 )";
/// A notice of a recording ends a minute after the last loss; with the look after that, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

async fn until_long<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(value) = condition().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("waited {PATIENCE:?} in vain for: {what}");
}

async fn get(
    gate: &Gate,
    path: &str,
    token: Option<&str>,
    range: Option<&str>,
) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    gatewatch::install_crypto();
    let mut request = reqwest::Client::new().get(format!("http://{}{path}", gate.config.http.listen.unwrap()));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

async fn json(gate: &Gate, path: &str, token: Option<&str>) -> Value {
    serde_json::from_slice(&get(gate, path, token, None).await.2).unwrap()
}

/// The last minutes of a camera.
fn lately(camera: &str) -> String {
    let now = utc_now();
    format!("camera={camera}&from={}&to={}", now.plus_ms(-300_000).to_rfc3339(), now.to_rfc3339())
}

/// The notices of one subject: of one id from `new` to `end`, counted without holes, and of the published form.
fn lives(listener: &Listener, what: &str, subject: &str) -> Vec<Value> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema/footage_notice.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut all = listener.notices(what);
    all.retain(|m| m["subject"] == subject);
    for message in &all {
        let problems: Vec<String> = validator.iter_errors(message).map(|e| e.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{message}");
    }
    for life in all.chunk_by(|a, b| a["id"] == b["id"]) {
        for (i, message) in life.iter().enumerate() {
            assert_eq!(message["data"]["revision"], i + 1, "{life:?}");
            assert_eq!(message["data"]["phase"] == "new", i == 0, "{life:?}");
            assert_eq!(message["data"]["phase"] == "end", !message["data"]["capture"]["end"].is_null(), "{life:?}");
            assert!(message["data"]["phase"] != "end" || i + 1 == life.len(), "{life:?}");
        }
    }
    all
}

fn phase(messages: &[Value], phase: &str) -> Option<Value> {
    messages.iter().find(|m| m["data"]["phase"] == phase).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_stream_is_recorded_beside_the_analysed_one_and_its_loss_is_told() {
    let _alone = super::agent::ONE.lock().await;
    let (sub, main) = (Server::start(H264, Options::default()), Server::start(MAIN, Options::default()));
    let broker = Mosquitto::open();
    let listener = Listener::start(broker.url(), "main-stream").await;
    let mut camera = gate::camera("bay", sub.url());
    camera.record_url = Some(main.url());
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![camera]);
    gate.config.footage.segment_s = 5;
    gate.start();
    let found = until("a finished file of the main stream", async || {
        let (_, body) = gate.get(&format!("/api/footage/manifest?{}", lately("bay"))).await?;
        let found: Value = serde_json::from_str(&body).ok()?;
        found["segments"].as_array()?.iter().any(|s| s["state"] == "kept").then_some(found)
    })
    .await;
    for segment in found["segments"].as_array().unwrap() {
        assert_eq!(
            (&segment["codec"], &segment["width"], &segment["height"]),
            (&"h265".into(), &640.into(), &360.into())
        );
    }
    let analysed = until("the analysed stream", async || {
        listener.camera("bay").filter(|c| c["state"] == "running" && c["width"] == 320)
    })
    .await;
    assert_eq!(analysed["codec"], "h264", "{analysed}");
    let (code, headers, body) = get(&gate, &format!("/api/footage?{}", lately("bay")), None, None).await;
    assert_eq!((code, &headers["gatewatch-footage-masked"]), (200, &"false".parse().unwrap()));
    let path = gate.dir.path().join("clip.mp4");
    std::fs::write(&path, body).unwrap();
    assert!(gst_times(&path).len() > 5, "it can be played");
    assert!(lives(&listener, "footage_recording", "camera/bay").is_empty(), "nothing is wrong yet");

    // The main stream goes, the analysed one stays.
    let port = main.port;
    drop(main);
    let told =
        until_long("the word of it", async || phase(&lives(&listener, "footage_recording", "camera/bay"), "new")).await;
    let problem = told["data"]["problem"].as_str().unwrap();
    assert!(problem.contains("the stream to record is not received"), "{problem}");
    assert_eq!((&told["data"]["severity"], &told["data"]["camera"]), (&3.into(), &"bay".into()));
    assert_eq!(listener.camera("bay").unwrap()["state"], "running", "the analysis goes on");
    let ready = gate.get("/readyz").await.unwrap().1;
    assert!(ready.contains("camera bay is not recorded"), "{ready}");

    let _main = Server::start(MAIN, Options { port, ..Options::default() });
    until_long("its end", async || phase(&lives(&listener, "footage_recording", "camera/bay"), "end")).await;
    // Known as such once a file begins behind it.
    until("the gap with its reason", async || {
        let found = json(&gate, &format!("/api/footage/manifest?{}", lately("bay")), None).await;
        found["gaps"].as_array()?.iter().any(|g| g["reason"] == "no_pictures").then_some(())
    })
    .await;
    assert!(gate.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_runs_out_is_told_before_and_when_recording_stops_and_when_it_goes_on() {
    let _alone = super::agent::ONE.lock().await;
    let Some(disk) = SmallDisk::new(60_000_000) else {
        println!("not run: only root may mount a small disk");
        return;
    };
    let camera_server = Server::start(H264, Options::default());
    let broker = Mosquitto::open();
    let listener = Listener::start(broker.url(), "room").await;
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![gate::camera("bay", camera_server.url())]);
    gate.config.footage.segment_s = 5;
    gate.config.footage.dir = Some(disk.path().join("video"));
    gate.config.footage.reserve_bytes = 20_000_000;
    gate.start();
    until("recording", async || {
        let status: Value = serde_json::from_str(&gate.get("/api/status").await?.1).ok()?;
        (status["footage"][0]["recording"] == true).then_some(())
    })
    .await;
    // Somebody else's file: first less than twice the reserve is left, then less than half of it.
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0u8; 25_000_000]).unwrap();
    let room = async |wanted: &str| phase(&lives(&listener, "footage_storage", "footage"), wanted);
    let warned = until_long("the warning", async || room("new").await).await;
    assert_eq!((&warned["data"]["severity"], &warned["data"]["recording"]), (&2.into(), &"all".into()), "{warned}");
    assert!(warned["data"]["warnings"][0].as_str().unwrap().contains("recording stops below 20000000"), "{warned}");
    std::fs::write(&filler, vec![0u8; 52_000_000]).unwrap();
    let stopped = until_long("the stop", async || room("update").await).await;
    assert_eq!(
        (&stopped["data"]["severity"], &stopped["data"]["recording"]),
        (&3.into(), &"stopped".into()),
        "{stopped}"
    );
    let lost = until_long("the camera that is not recorded", async || {
        phase(&lives(&listener, "footage_recording", "camera/bay"), "new")
    })
    .await;
    assert!(lost["data"]["lost_pictures"].as_u64().unwrap() > 0, "{lost}");
    let ready = gate.get("/readyz").await.unwrap().1;
    assert!(ready.contains("recording is stopped"), "{ready}");
    assert_eq!(listener.camera("bay").unwrap()["state"], "running", "the analysis goes on");

    std::fs::remove_file(&filler).unwrap();
    let over = until_long("the end", async || room("end").await).await;
    assert_eq!(
        (&over["id"], &over["data"]["recording"]),
        (&warned["id"], &"all".into()),
        "one notice from begin to end"
    );
    until_long("the end of the camera's", async || phase(&lives(&listener, "footage_recording", "camera/bay"), "end"))
        .await;
    let found = json(&gate, &format!("/api/footage/manifest?{}", lately("bay")), None).await;
    assert!(found["gaps"].as_array().unwrap().iter().any(|g| g["reason"] == "no_space"), "{found:#}");
    assert!(gate.terminate().success());
}

/// A disk of its own that can be made to hang.
struct Frozen {
    dir: tempfile::TempDir,
    _image: tempfile::NamedTempFile,
}

impl Frozen {
    fn new() -> Option<Self> {
        let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        image.as_file().set_len(2 << 30).unwrap();
        let run = |program: &str, args: &[&str], path: &Path| {
            let mut command = Command::new(program);
            command.args(args).arg(image.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if path.exists() && program == "mount" {
                command.arg(path);
            }
            command.status().is_ok_and(|s| s.success())
        };
        let mounted = run("mkfs.ext4", &["-q", "-F"], dir.path()) && run("mount", &["-o", "loop"], dir.path());
        mounted.then_some(Self { dir, _image: image })
    }

    fn freeze(&self, how: &str) -> bool {
        let mut freeze = Command::new("fsfreeze");
        freeze.arg(how).arg(self.dir.path()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.freeze("--unfreeze");
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_told_and_nothing_else_waits_for_it() {
    let _alone = super::agent::ONE.lock().await;
    let Some(disk) = Frozen::new() else {
        println!("not run: only root may mount a disk that can hang");
        return;
    };
    let camera_server = Server::start(NOISE, Options::default());
    let broker = Mosquitto::open();
    let listener = Listener::start(broker.url(), "slow-disk").await;
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![gate::camera("bay", camera_server.url())]);
    gate.config.footage.segment_s = 5;
    gate.config.footage.dir = Some(disk.dir.path().join("video"));
    gate.config.footage.reserve_bytes = 10_000_000;
    gate.start();
    until("recording", async || {
        let status: Value = serde_json::from_str(&gate.get("/api/status").await?.1).ok()?;
        (status["footage"][0]["recording"] == true).then_some(())
    })
    .await;
    if !disk.freeze("--freeze") {
        println!("not run: the disk cannot be made to hang");
        return;
    }
    let told =
        until_long("the word of it", async || phase(&lives(&listener, "footage_recording", "camera/bay"), "new")).await;
    assert!(told["data"]["lost_pictures"].as_u64().unwrap() > 0, "{told}");
    // Pictures are analysed and the box answers while its disk for video hangs.
    let decoded = async || {
        let status: Value = serde_json::from_str(&gate.get("/api/status").await?.1).ok()?;
        status["cameras"][0]["decoded"].as_u64()
    };
    let before = until("the status", decoded).await;
    until("more pictures", async || (decoded().await? > before + 20).then_some(())).await;
    assert!(disk.freeze("--unfreeze"));
    until_long("the end", async || phase(&lives(&listener, "footage_recording", "camera/bay"), "end")).await;
    let found = json(&gate, &format!("/api/footage/manifest?{}", lately("bay")), None).await;
    assert!(found["gaps"].as_array().unwrap().iter().any(|g| g["reason"] == "disk_behind"), "{found:#}");
    assert!(gate.terminate().success());
}

/// The upper fifth of the picture.
pub fn sky() -> AreaConfig {
    let corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.2], [0.0, 0.2]].map(Point::from).to_vec();
    AreaConfig::plain(AreaId("neighbours".into()), AreaKind::PrivacyMask, Polygon(corners))
}

/// What the chain says of originals that somebody saw.
fn views(gate: &Gate) -> Vec<String> {
    let mut log = Command::new(env!("CARGO_BIN_EXE_gatewatch"));
    log.args(["evidence", "log", "--config"]).arg(gate.dir.path().join("gatewatch.toml"));
    let log = String::from_utf8(log.output().unwrap().stdout).unwrap();
    log.lines().filter(|l| l.contains("view_original")).map(str::to_owned).collect()
}

/// Whether every picture is black in its upper fifth, and whether none is.
pub fn black_sky(body: &[u8], gate: &Gate) -> (bool, bool) {
    let path = gate.dir.path().join("seen.mp4");
    std::fs::write(&path, body).unwrap();
    let pictures = luminance(&path);
    assert!(!pictures.is_empty(), "it can be played");
    let black: Vec<bool> = pictures
        .iter()
        .map(|(_, width, pixels)| pixels[..pixels.len() / width / 5 * width].iter().all(|p| *p < 40))
        .collect();
    (black.iter().all(|b| *b), black.iter().all(|b| !*b))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_privacy_masks_gives_its_original_only_by_name_and_for_a_reason() {
    let _alone = super::agent::ONE.lock().await;
    let camera_server = gate::serve(gate::bay(), Codec::H264, gatewatch::simulate::ServerOptions::default());
    let broker = Mosquitto::open();
    let listener = Listener::start(broker.url(), "masks").await;
    let mut camera = gate::camera("bay", camera_server.url("bay"));
    camera.areas = vec![gate::area("bay", gate::bay_polygon(), 2.0), sky()];
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![camera]);
    gate.config.footage.segment_s = 5;
    let token_file = gate.dir.path().join("token");
    std::fs::write(&token_file, "let-me-in").unwrap();
    gate.config.http.token = SecretSource { file: Some(token_file), env: None };
    gate.start();
    let event = listener.until_event("an event with footage", |e| e.data.footage.is_some()).await;
    let token = Some("let-me-in");
    let clip = format!("/api/events/{}/clip", event.id);
    assert_eq!(get(&gate, &clip, None, None).await.0, 401);
    let (code, headers, body) = get(&gate, &clip, token, None).await;
    assert_eq!(code, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(&headers["gatewatch-footage-masked"], "true");
    assert_eq!(black_sky(&body, &gate), (true, false), "masked unless asked otherwise");

    // A time that is over: the same copy in one piece and in parts.
    let found = until("a finished file", async || {
        let found = json(&gate, &format!("/api/footage/manifest?{}", lately("bay")), token).await;
        let mut segments = found["segments"].as_array()?.iter().filter(|s| s["state"] == "kept");
        segments.next_back().cloned()
    })
    .await;
    let time = |key: &str| found[key].as_str().unwrap().to_owned();
    let query = format!("camera=bay&from={}&to={}", time("from"), time("from"));
    let (code, whole_headers, whole) = get(&gate, &format!("/api/footage?{query}"), token, None).await;
    assert_eq!((code, &whole_headers["gatewatch-footage-masked"]), (200, &"true".parse().unwrap()));
    assert_eq!(black_sky(&whole, &gate), (true, false));
    let (code, headers, part) = get(&gate, &format!("/api/footage?{query}"), token, Some("bytes=100-299")).await;
    assert_eq!((code, &part[..]), (206, &whole[100..300]));
    assert_eq!(headers["etag"], whole_headers["etag"]);

    // The original: with a person and a reason, both written down once however many parts are fetched.
    let original = format!("/api/footage?{query}&original=true");
    for (more, missing) in
        [("", "`operator`"), ("&operator=Tran+B", "`reason`"), ("&operator=Tran+B&reason=why", "`reason`")]
    {
        let (code, _, body) = get(&gate, &format!("{original}{more}"), token, None).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(code == 400 && body.contains(missing), "{more}: {code} {body}");
    }
    let original = format!("{original}&operator=Tran+B&reason=case+31/2026");
    let (code, headers, body) = get(&gate, &original, token, None).await;
    assert_eq!((code, &headers["gatewatch-footage-masked"]), (200, &"false".parse().unwrap()));
    assert_eq!(black_sky(&body, &gate), (false, true), "as the camera sent it");
    assert_eq!(get(&gate, &original, token, Some("bytes=0-99")).await.0, 206);
    let seen = views(&gate);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let named = ["Tran B", "case 31/2026", "\"camera\":\"bay\""].iter().all(|text| seen[0].contains(text));
    assert!(named, "{seen:?}");

    let long = "/api/footage?camera=bay&from=2026-03-02T03:00:00Z&to=2026-03-02T03:11:00Z";
    let (code, _, body) = get(&gate, long, token, None).await;
    assert!(code == 400 && String::from_utf8_lossy(&body).contains("at most 10 minutes"));
    assert_eq!(get(&gate, &format!("{clip}?orginal=true"), token, None).await.0, 400, "a typing error is told");
    assert!(gate.terminate().success());
    let copies = gate.config.store.dir.join("masked");
    assert_eq!(std::fs::read_dir(copies).unwrap().count(), 0, "copies go with the agent");

    // The camera got another name: nobody knows any more what was masked.
    "bay-new".clone_into(&mut gate.config.cameras[0].id.0);
    gate.start();
    gate.until_ready().await;
    let sheet = format!("/api/events/{}/sheet?count=1", event.id);
    let by_time = format!("/api/footage?{query}");
    let sheet_by_time = format!("/api/footage/sheet?{query}");
    for path in [&clip, &by_time, &sheet, &sheet_by_time] {
        let (code, _, body) = get(&gate, path, token, None).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(code == 403 && body.contains("masks_unknown"), "{path}: {code} {body}");
    }
    let (code, headers, body) = get(&gate, &original, token, None).await;
    assert_eq!((code, &headers["gatewatch-footage-masked"]), (200, &"false".parse().unwrap()));
    assert_eq!(black_sky(&body, &gate), (false, true), "as the camera sent it");
    assert_eq!(get(&gate, &format!("{sheet}&original=true"), token, None).await.0, 400, "nobody and no reason");
    let named = format!("{sheet}&original=true&operator=Tran+B&reason=case+31/2026");
    assert_eq!(get(&gate, &named, token, None).await.0, 200);
    assert_eq!(views(&gate).len(), 3, "the clip again after the start, and the sheet's time");
    assert!(gate.terminate().success());
    "bay".clone_into(&mut gate.config.cameras[0].id.0);

    // Without a token nobody is known to be allowed more.
    gate.config.http.token = SecretSource::default();
    gate.start();
    gate.until_ready().await;
    let (code, _, body) = get(&gate, &original, None, None).await;
    assert!(code == 403 && String::from_utf8_lossy(&body).contains("http.token"), "{code}");
    assert!(gate.terminate().success());
}
