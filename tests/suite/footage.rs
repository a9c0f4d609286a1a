//! Footage end to end: what is recorded is what was sent, also for readers that are not ours; crashes, full and slow disks,
//! quotas over a day at compressed time.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewatch::camera::{AccessUnit, CameraId, Codec, UnitSink};
use gatewatch::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis, utc_now};
use gatewatch::config::{AreaConfig, AreaKind, CameraConfig, FootageConfig, StoreConfig};
use gatewatch::footage::mask_desk::{MaskDesk, MaskError, Privacy};
use gatewatch::footage::mask_history::MaskHistory;
use gatewatch::footage::{Allowed, ClipPlan, Footage, Manifest, Span, Taps, read, reconcile};
use gatewatch::geometry::{Point, Polygon};
use gatewatch::rules::AreaId;
use gatewatch::store::{NewHold, Store, StoreOptions};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::gate::{self, Gate};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::{until, wait_for};

/// 2026-03-02T03:17:45.212Z.
const START: i64 = 1_772_421_465_212;
const SPS: &str = "67640028acd940780227e5c044000003000400000300c83c60c658";
const PPS: &str = "68ebe3cb22c0";

fn camera() -> CameraId {
    CameraId("bay".into())
}

async fn open_store(dir: &Path) -> Store {
    let options = StoreOptions {
        config: StoreConfig { dir: dir.join("store"), ..StoreConfig::default() },
        live_limit_ms: 1_800_000,
        office: "15BB".into(),
        box_id: "gate-01".into(),
        alert_topic: "gatewatch/v1/15BB/gate-01/alert".into(),
    };
    Store::open(options).await.unwrap()
}

/// The units of these tests are of a fixed day long ago: the clean-up must not find them too old while a test runs.
fn config(segment_s: u32) -> FootageConfig {
    FootageConfig { segment_s, reserve_bytes: 1_000_000, ring_days: 3650, event_days: 3650, ..FootageConfig::default() }
}

async fn open(dir: &Path, config: FootageConfig, cameras: &[CameraId]) -> (Store, Arc<Footage>, Taps) {
    let store = open_store(dir).await;
    let (footage, taps) = Footage::start(store.clone(), dir.join("footage"), config, cameras).await.unwrap();
    (store, footage, taps)
}

fn time(utc: i64) -> FrameTime {
    FrameTime {
        utc: UtcMillis(utc),
        mono: MonoMillis(utc),
        source: TimeSource::RtcpNtp,
        uncertainty_ms: 50,
        clock_offset_ms: Some(-12),
    }
}

/// A unit of nothing that a decoder could show, but of the right form: `bytes` of payload that tell `number`.
fn unit(number: i64, step_ms: i64, gop: i64, bytes: usize) -> AccessUnit {
    let keyframe = number % gop == 0;
    let mut data = Vec::with_capacity(bytes + 80);
    if keyframe {
        for set in [SPS, PPS] {
            data.extend([0, 0, 0, 1]);
            data.extend(hex::decode(set).unwrap());
        }
    }
    data.extend([0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
    data.extend(number.to_be_bytes().map(|b| b | 0x80));
    data.resize(data.len() + bytes, 0x55);
    let ms = number * step_ms;
    AccessUnit {
        data: data.into(),
        codec: Codec::H264,
        keyframe,
        pts_ns: u64::try_from(ms).unwrap() * 1_000_000,
        time: time(START + ms),
    }
}

/// Units of a coder, 25 a second, captured from [`START`] on.
fn coded(coder: &str, pictures: u32) -> Vec<AccessUnit> {
    gst::init().unwrap();
    let codec = if coder.contains("x265") { Codec::H265 } else { Codec::H264 };
    let (parser, caps) = match codec {
        Codec::H264 => ("h264parse", "video/x-h264"),
        Codec::H265 => ("h265parse", "video/x-h265"),
    };
    let text = format!(
        "videotestsrc num-buffers={pictures} ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {coder} \
         ! {parser} config-interval=-1 ! {caps},stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Bin>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut units, mut first) = (Vec::new(), None);
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().unwrap();
        let pts = buffer.pts().unwrap().nseconds();
        let zero: u64 = *first.get_or_insert(pts);
        let ms = i64::try_from(pts / 1_000_000).unwrap() - i64::try_from(zero / 1_000_000).unwrap();
        units.push(AccessUnit {
            data: buffer.map_readable().unwrap().as_slice().to_vec().into(),
            codec,
            keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            pts_ns: pts,
            time: time(START + ms),
        });
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(units.len(), pictures as usize);
    units
}

/// Gives units as fast as they are written, so that none is dropped.
async fn record(footage: &Footage, taps: &Taps, camera: &CameraId, units: impl IntoIterator<Item = AccessUnit>) {
    feed(taps, camera, units).await;
    assert!(footage.statuses().iter().all(|s| s.lost == 0), "{:?}", footage.statuses());
}

async fn feed(taps: &Taps, camera: &CameraId, units: impl IntoIterator<Item = AccessUnit>) {
    let tap = &taps[camera];
    for unit in units {
        while tap.waiting_bytes() > 4 << 20 || tap.waiting_units() > 1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tap.unit(&unit, false);
    }
}

async fn manifest(footage: &Footage, from: i64, to: i64) -> Manifest {
    let span = Span { from: UtcMillis(from), to: UtcMillis(to) };
    footage.manifest(&camera(), span, utc_now()).await.unwrap()
}

async fn clip(footage: &Footage, from: i64, to: i64) -> Option<ClipPlan> {
    footage.clip(&manifest(footage, from, to).await).await.unwrap()
}

/// The NAL units of a picture with their lengths, as MP4 has them.
fn with_lengths(annex_b: &[u8]) -> Vec<u8> {
    let starts: Vec<usize> = annex_b.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i).collect();
    let mut out = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(annex_b.len());
        let mut nal = &annex_b[start + 3..end];
        while let [head @ .., 0] = nal {
            nal = head;
        }
        out.extend(u32::try_from(nal.len()).unwrap().to_be_bytes());
        out.extend_from_slice(nal);
    }
    out
}

/// Bytes and presentation times (90 kHz, from the first shown picture) of a file's pictures, in order of decoding.
fn pictures_of(path: &Path) -> Vec<(Vec<u8>, i64)> {
    let (map, file) = (read::segment(path).unwrap(), std::fs::read(path).unwrap());
    assert_eq!(map.whole_bytes, map.file_bytes, "all of it is read");
    let place = |f: &read::FragmentMap| i64::try_from(f.start_ticks).unwrap() - f.session_ticks;
    let each = map.fragments.iter().flat_map(|f| f.pictures.iter().map(move |p| (p, place(f))));
    let cut = |p: &read::PictureMap| file[p.at as usize..p.at as usize + p.bytes as usize].to_vec();
    let all: Vec<_> = each.map(|(p, place)| (cut(p), p.shown + place)).collect();
    let zero = all.iter().map(|(_, t)| *t).min().unwrap();
    all.into_iter().map(|(bytes, t)| (bytes, t - zero)).collect()
}

fn expected(units: &[AccessUnit]) -> Vec<(Vec<u8>, i64)> {
    let tick = |u: &AccessUnit| ((u128::from(u.pts_ns) * 9 + 50_000) / 100_000) as i64;
    let zero = units.iter().map(tick).min().unwrap();
    units.iter().map(|u| (with_lengths(&u.data), tick(u) - zero)).collect()
}

/// What `ffprobe` finds: presentation times in seconds and keyframes of the packets, and how many frames can be decoded.
/// `None` where it is not installed.
fn ffprobe(path: &Path) -> Option<(Vec<(f64, bool)>, usize)> {
    let run = |what: &[&str]| {
        let done = Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(what).arg(path).output().ok()?;
        assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Value>(&done.stdout).ok()
    };
    let packets = run(&["-show_packets"])?;
    let number = |v: &Value| v.as_str().unwrap().parse::<f64>().unwrap();
    let each = packets["packets"].as_array().unwrap().iter();
    let packets = each.map(|p| (number(&p["pts_time"]), p["flags"].as_str().unwrap().starts_with('K'))).collect();
    let frames = run(&["-count_frames", "-show_streams"])?;
    Some((packets, frames["streams"][0]["nb_read_frames"].as_str().unwrap().parse().unwrap()))
}

/// The same by GStreamer's demultiplexer and decoder: presentation times of decoded pictures.
pub fn gst_times(path: &Path) -> Vec<u64> {
    gst::init().unwrap();
    let text = format!("filesrc location={} ! decodebin ! videoconvert ! appsink name=out sync=false", path.display());
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Bin>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut out = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        out.push(sample.buffer().unwrap().pts().unwrap().nseconds());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    out
}

/// Encoders that reorder pictures or do not, and how many pictures each makes.
const CODERS: [(&str, u32); 3] = [
    ("x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25", 150),
    ("x264enc bframes=3 b-adapt=false b-pyramid=true speed-preset=veryfast key-int-max=25", 150),
    ("x265enc speed-preset=ultrafast key-int-max=25 option-string=\"bframes=3\"", 100),
];

#[tokio::test(flavor = "multi_thread")]
async fn clips_are_what_was_sent_for_every_reader() {
    for (coder, count) in CODERS {
        let dir = tempfile::tempdir().unwrap();
        let (store, footage, taps) = open(dir.path(), config(5), &[camera()]).await;
        let units = coded(coder, count);
        record(&footage, &taps, &camera(), units.iter().cloned()).await;
        drop(taps);
        footage.finish().await;
        let plan = clip(&footage, START, START + 60_000).await.expect("there is footage");
        let path = dir.path().join("clip.mp4");
        std::fs::write(&path, plan.read_all().unwrap()).unwrap();
        assert_eq!(plan.bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!(pictures_of(&path), expected(&units), "{coder}: bytes and times, every NAL unit in order");
        let mut shown: Vec<i64> = expected(&units).iter().map(|(_, t)| *t).collect();
        if let Some((packets, decoded)) = ffprobe(&path) {
            assert_eq!((packets.len(), decoded), (units.len(), units.len()), "{coder}");
            let zero = packets.iter().map(|p| p.0).fold(f64::MAX, f64::min);
            for (packet, (ticks, unit)) in packets.iter().zip(shown.iter().zip(&units)) {
                assert!((packet.0 - zero - *ticks as f64 / 90_000.0).abs() < 1e-5, "{coder}: {packet:?} {ticks}");
                assert_eq!(packet.1, unit.keyframe, "{coder}");
            }
        } else {
            println!("ffprobe is not installed: read with GStreamer only");
        }
        shown.sort_unstable();
        let times = gst_times(&path);
        assert_eq!(times.len(), shown.len(), "{coder}: GStreamer shows every picture");
        for (found, ticks) in times.iter().map(|t| t - times[0]).zip(&shown) {
            let want = u64::try_from(*ticks).unwrap() * 100_000 / 9;
            assert!(found.abs_diff(want) < 20_000, "{coder}: {found} {want}");
        }
        let sei: u8 = if units[0].codec == Codec::H264 { 6 } else { 39 << 1 };
        let code = [0, 0, 1, sei];
        assert!(units[0].data.windows(4).any(|w| w == code), "{coder} sends SEI");
        store.close().await.unwrap();
    }
}

/// One segment file of two seconds of moving pictures, as the recorder writes it.
pub fn a_segment() -> &'static [u8] {
    static SEGMENT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let record = async || {
        let dir = tempfile::tempdir().unwrap();
        let (store, footage, taps) = open(dir.path(), config(30), &[camera()]).await;
        let coder = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25";
        record(&footage, &taps, &camera(), coded(coder, 50)).await;
        drop(taps);
        footage.finish().await;
        let path = store.segment_paths().await.unwrap().remove(0).0;
        std::fs::read(footage.root().join(path)).unwrap()
    };
    SEGMENT.get_or_init(|| {
        let work = move || tokio::runtime::Runtime::new().unwrap().block_on(record());
        std::thread::spawn(work).join().unwrap()
    })
}

/// The pictures of a file as planes of luminance with their width, and their times in nanoseconds.
pub fn luminance(path: &Path) -> Vec<(u64, usize, Vec<u8>)> {
    gst::init().unwrap();
    let text = format!(
        "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Bin>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut out = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let width = sample.caps().unwrap().structure(0).unwrap().get::<i32>("width").unwrap();
        let buffer = sample.buffer().unwrap();
        let pixels = buffer.map_readable().unwrap().as_slice().to_vec();
        out.push((buffer.pts().unwrap().nseconds(), usize::try_from(width).unwrap(), pixels));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    out
}

/// A mask over the left third, and a desk for it.
fn mask_desk(dir: &Path) -> Arc<MaskDesk> {
    let mut masked = gate::camera("bay", "rtsp://127.0.0.1/none".into());
    masked.areas = vec![privacy_mask(1.0 / 3.0)];
    let history = masks_of(dir, &[masked, gate::camera("open", String::new())], START);
    Arc::new(MaskDesk::new(dir.join("masked"), 1_000_000, history))
}

fn masks_of(dir: &Path, cameras: &[CameraConfig], from: i64) -> Arc<MaskHistory> {
    Arc::new(MaskHistory::note(dir, cameras, "00", UtcMillis(from)))
}

fn privacy_mask(width: f32) -> AreaConfig {
    let corners = [[0.0, 0.0], [width, 0.0], [width, 1.0], [0.0, 1.0]].map(Point::from).to_vec();
    AreaConfig::plain(AreaId("window".into()), AreaKind::PrivacyMask, Polygon(corners))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_clip_has_every_picture_at_its_time_and_nothing_under_the_mask() {
    for (coder, count) in CODERS {
        let dir = tempfile::tempdir().unwrap();
        let (store, footage, taps) = open(dir.path(), config(2), &[camera()]).await;
        // Four seconds, a gap of ten, two seconds: over several files.
        let mut units = coded(coder, count);
        for unit in units.iter_mut().skip(100) {
            unit.pts_ns += 10_000_000_000;
            unit.time.utc = unit.time.utc.plus_ms(10_000);
        }
        record(&footage, &taps, &camera(), units.iter().cloned()).await;
        drop(taps);
        footage.finish().await;
        let plan = clip(&footage, START, START + 60_000).await.expect("there is footage");
        let original = dir.path().join("original.mp4");
        std::fs::write(&original, plan.read_all().unwrap()).unwrap();
        let desk = mask_desk(dir.path());
        let started = Instant::now();
        let made = desk.clip(&camera(), plan.clone()).await.unwrap();
        println!("{coder}: {} pictures of 320x240 masked in {:?}", made.plan.pictures, started.elapsed());
        assert_eq!((made.plan.from, made.plan.to, made.plan.codec), (plan.from, plan.to, Codec::H264), "{coder}");
        let path = dir.path().join("masked.mp4");
        std::fs::write(&path, made.plan.read_all().unwrap()).unwrap();
        let (before, after) = (luminance(&original), luminance(&path));
        assert_eq!((after.len(), made.plan.pictures), (before.len(), plan.pictures), "{coder}");
        for ((t0, width, old), (t1, _, new)) in before.iter().zip(&after) {
            let (t0, t1) = (t0 - before[0].0, t1 - after[0].0);
            assert!(t0.abs_diff(t1) < 20_000, "{coder}: {t0} {t1}");
            let mut changed = 0;
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                let x = i % width;
                // Two pixels beside the edge belong to the mask, blocks of the coder bleed over it.
                if x < width / 3 {
                    assert!(*new < 40, "{coder}: {new} at column {x}");
                } else if x > width / 3 + 16 {
                    changed += usize::from(old.abs_diff(*new) > 60);
                }
            }
            assert!(changed < old.len() / 50, "{coder}: {changed} pixels beside the mask are not the original's");
        }
        if let Some((packets, decoded)) = ffprobe(&path) {
            assert_eq!((packets.len(), decoded), (before.len(), before.len()), "{coder}");
        }
        let utc = |path: &Path| -> Vec<UtcMillis> {
            let mut all: Vec<_> =
                read::segment(path).unwrap().fragments.iter().flat_map(|f| f.pictures.clone()).collect();
            all.sort_by_key(|p| p.utc);
            all.iter().map(|p| p.utc).collect()
        };
        assert_eq!(utc(&path), utc(&original), "{coder}: each picture has its capture time");
        // The same again is the same copy, which goes with the last who holds it.
        let again = desk.clip(&camera(), plan).await.unwrap();
        assert!(Arc::ptr_eq(&made, &again));
        drop((made, again, desk));
        assert_eq!(walk(&dir.path().join("masked")), 0, "nothing is left behind");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_copies_are_bounded_and_leave_the_reserve_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, footage, taps) = open(dir.path(), config(2), &[camera()]).await;
    record(&footage, &taps, &camera(), coded("x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25", 250))
        .await;
    drop(taps);
    footage.finish().await;
    let desk = mask_desk(dir.path());
    let span = |from| Span { from: UtcMillis(from), to: UtcMillis(from + 60_000) };
    let privacy = ["bay", "open", "renamed"].map(|id| desk.privacy(&CameraId(id.into()), span(START)));
    assert_eq!(privacy, [Privacy::Masked, Privacy::Open, Privacy::Unknown]);
    // The mask is taken away a week later: what was recorded under it stays masked.
    const WEEK: i64 = 7 * 86_400_000;
    let bare = masks_of(dir.path(), &[gate::camera("bay", "rtsp://127.0.0.1/none".into())], START + WEEK);
    let later = Arc::new(MaskDesk::new(dir.path().join("later"), 1_000_000, bare));
    let privacy = [START, START + 2 * WEEK].map(|from| later.privacy(&camera(), span(from)));
    assert_eq!(privacy, [Privacy::Masked, Privacy::Open]);
    let masks = desk.masks(&camera(), span(START)).unwrap();
    // Ten at once: one is made, four wait, the others are sent away.
    let mut asked = tokio::task::JoinSet::new();
    for i in 0..10i64 {
        let (desk, plan) = (Arc::clone(&desk), clip(&footage, START + i * 1000, START + i * 1000).await.unwrap());
        asked.spawn(async move { desk.clip(&camera(), plan).await.map(|m| m.plan.pictures) });
    }
    let (mut made, mut busy) = (0, 0);
    while let Some(done) = asked.join_next().await {
        match done.unwrap() {
            Ok(pictures) => made += usize::from(pictures > 0),
            Err(MaskError::Busy) => {
                busy += 1;
                // A copy that nobody watches waits for none of those.
                let once = desk.once(clip(&footage, START, START).await.unwrap(), masks.clone()).await;
                assert!(busy > 1 || matches!(once, Err(MaskError::Busy)), "{once:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made, busy), (5, 5));
    assert!(walk(&dir.path().join("masked")) <= 4, "only some are kept");
    // Who loses patience and asks again finds the copy that was begun for them.
    let plan = clip(&footage, START + 1000, START + 8000).await.unwrap();
    let camera = camera();
    let impatient = tokio::time::timeout(Duration::from_millis(1), desk.clip(&camera, plan.clone()));
    assert!(impatient.await.is_err(), "a copy takes longer");
    let made = desk.clip(&camera, plan.clone()).await.unwrap();
    assert!(Arc::ptr_eq(&made, &desk.clip(&camera, plan).await.unwrap()));
    let folders = std::fs::read_dir(dir.path().join("masked")).unwrap().map(|e| e.unwrap().file_name());
    let newest = folders.map(|n| n.to_string_lossy().parse::<u32>().unwrap()).max();
    assert_eq!(newest, Some(5), "the sixth, made once");
    // Copies that nobody watches put none of those out, and stay no longer than they are read.
    let kept = walk(&dir.path().join("masked"));
    for i in 0..4 {
        let plan = clip(&footage, START + i * 1000, START + i * 1000 + 500).await.unwrap();
        assert!(desk.once(plan, masks.clone()).await.unwrap().plan.pictures > 0);
    }
    assert_eq!(walk(&dir.path().join("masked")), kept);
    let plan = clip(&footage, START + 1000, START + 8000).await.unwrap();
    assert!(Arc::ptr_eq(&made, &desk.clip(&camera, plan).await.unwrap()));
    // A disk that is nearly full.
    let plan = clip(&footage, START, START + 5000).await.unwrap();
    let mut masked = gate::camera("bay", "rtsp://127.0.0.1/none".into());
    masked.areas = vec![privacy_mask(0.5)];
    let full =
        Arc::new(MaskDesk::new(dir.path().join("full"), u64::MAX, masks_of(dir.path(), &[masked], START + 2 * WEEK)));
    let refused = full.clip(&camera, plan).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("no room"), "{refused}");
    assert_eq!(walk(&dir.path().join("full")), 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_says_what_is_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (store, footage, taps) = open(dir.path(), config(5), &[camera()]).await;
    // 30 s, then 7 s of nothing, then 10 s; pictures 100 ms apart, keyframes every second.
    let units = (0..300).chain(370..470).map(|n| unit(n, 100, 10, 300));
    record(&footage, &taps, &camera(), units).await;
    drop(taps);
    footage.finish().await;
    let found = manifest(&footage, START, START + 47_000).await;
    let gaps: Vec<_> = found.gaps.iter().map(|g| (g.from.0 - START, g.to.0 - START, g.reason.as_str())).collect();
    assert_eq!(gaps, [(30_000, 37_000, "no_pictures")]);
    assert_eq!(found.segments.iter().map(|s| s.pictures).sum::<u64>(), 400);
    assert_eq!(found.segments.len(), 8, "5 s each");
    for s in &found.segments {
        let path = footage.root().join(&s.path);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(s.bytes, file.len() as u64);
        assert_eq!(s.sha256.as_deref(), Some(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&file)).as_str()));
        assert_eq!((s.time_source, s.clock_offset_ms, s.state.as_str()), (TimeSource::RtcpNtp, Some(-12), "kept"));
        let map = read::segment(&path).unwrap();
        assert_eq!(map.span().unwrap(), (s.from, s.to));
        assert!(map.fragments[0].keyframe, "cut at keyframes");
    }
    assert_eq!(found.segments[0].gap_before_ms, None, "nothing is known of what was before");
    assert_eq!(found.segments[6].gap_before_ms, Some(7000));
    // The clip goes over the gap, and its times say so.
    let plan = clip(&footage, START + 28_500, START + 38_500).await.unwrap();
    let path = dir.path().join("clip.mp4");
    std::fs::write(&path, plan.read_all().unwrap()).unwrap();
    let all: Vec<AccessUnit> = (280..300).chain(370..390).map(|n| unit(n, 100, 10, 300)).collect();
    assert_eq!(pictures_of(&path), expected(&all));
    assert_eq!((plan.from.0, plan.to.0, plan.pictures), (START + 28_000, START + 38_900, 40));
    store.close().await.unwrap();
}

#[test]
fn any_cut_is_the_units_between_keyframes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let count = 240;
    let (_store, footage) = runtime.block_on(async {
        let (store, footage, taps) = open(dir.path(), config(5), &[camera()]).await;
        record(&footage, &taps, &camera(), (0..count).map(|n| unit(n, 100, 7, 60))).await;
        drop(taps);
        footage.finish().await;
        (store, footage)
    });
    // A moment between the last picture of a group and the next keyframe shows that picture.
    for from in (0..count * 100).step_by(50) {
        let plan = runtime.block_on(clip(&footage, START + from, START + from + 10));
        let plan = plan.unwrap_or_else(|| panic!("no clip of the moment at {from} ms"));
        assert_eq!(plan.from.0 - START, from / 700 * 700, "the keyframe before {from} ms");
    }
    assert!(runtime.block_on(clip(&footage, START + count * 100 + 50, START + count * 100 + 60)).is_none());
    let path = dir.path().join("clip.mp4");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 48, ..ProptestConfig::default() });
    let ranges = (0i64..=(count - 1) * 100, 0i64..6000, any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let property = |(from, length, a, b): (i64, i64, prop::sample::Index, prop::sample::Index)| {
        let to = from + length;
        let plan = runtime.block_on(clip(&footage, START + from, START + to)).unwrap();
        let whole = plan.read_all().unwrap();
        std::fs::write(&path, &whole).unwrap();
        // From the keyframe at or before to the last picture before the first keyframe after.
        let first = from / 100 / 7 * 7;
        let end = ((to / 100).min(count - 1) / 7 + 1) * 7;
        let want: Vec<AccessUnit> = (first..end.min(count)).map(|n| unit(n, 100, 7, 60)).collect();
        prop_assert_eq!(pictures_of(&path), expected(&want));
        // Any range of bytes is that range of the whole.
        let (a, b) = (a.index(whole.len()) as u64, b.index(whole.len()) as u64);
        let range = a.min(b)..a.max(b) + 1;
        let mut bytes = Vec::new();
        for part in plan.part_of(range.start)..plan.parts() {
            bytes.extend(plan.read(part, &range).unwrap());
        }
        prop_assert_eq!(&bytes[..], &whole[range.start as usize..range.end as usize]);
        Ok(())
    };
    runner.run(&ranges, property).unwrap();
}

/// The index as it is on disk, for what only others may write.
async fn database(dir: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("store/gatewatch.db"));
    options.busy_timeout(Duration::from_secs(30)).connect().await.unwrap()
}

async fn hold(dir: &Path, id: &str, camera: &str, from: i64, to: i64) {
    let insert = "INSERT INTO hold (id, camera, from_ms, to_ms, reason, placed_by, placed_ms) VALUES (?, ?, ?, ?, 'tip', 'x', 0)";
    let insert = sqlx::query(insert).bind(id).bind(camera).bind(from).bind(to);
    insert.execute(&mut database(dir).await).await.unwrap();
}

/// Every row names a file that is whole, with its digest; every file has a row. Returns how many.
async fn check_whole(store: &Store, root: &Path) -> usize {
    let rows = store.segment_paths().await.unwrap();
    for (path, state, bytes) in &rows {
        let map = read::segment(&root.join(path)).unwrap();
        assert!(!map.fragments.is_empty() && map.whole_bytes == map.file_bytes, "{path} is readable to its end");
        assert_eq!((state.as_str(), *bytes), ("kept", map.file_bytes), "{path}");
    }
    let cameras: Vec<_> = rows.iter().map(|r| r.0.split('/').next().unwrap().to_owned()).collect();
    for camera in cameras.iter().collect::<std::collections::BTreeSet<_>>() {
        let all =
            store.segments(&CameraId(camera.clone()), UtcMillis(START), UtcMillis(START + 3_000_000)).await.unwrap();
        for s in all {
            assert_eq!(s.sha256, Some(reconcile::digest(&root.join(&s.path)).unwrap()), "{}", s.path);
        }
    }
    rows.len()
}

/// Where a disk in memory is, so that a day of video takes no day.
fn quick_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The child of [`fifty_kills_leave_no_unreadable_segment`]: records until it is killed. Run by name only.
#[test]
#[ignore = "a child process of another test"]
fn child_records_until_killed() {
    let Ok(dir) = std::env::var("GATEWATCH_TEST_FOOTAGE") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = open_store(Path::new(&dir)).await;
        let from = store.footage_until(&camera()).await.unwrap().map_or(0, |t| (t.0 - START + 99) / 100 + 20);
        let (footage, taps) =
            Footage::start(store, Path::new(&dir).join("footage"), config(5), &[camera()]).await.unwrap();
        println!("recording");
        record(&footage, &taps, &camera(), (from..).map(|n| unit(n, 100, 10, 4000))).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_leave_no_unreadable_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut segments, mut completed) = (0, 0);
    for round in 0..50u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "footage::child_records_until_killed", "--ignored", "--nocapture"])
            .env("GATEWATCH_TEST_FOOTAGE", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.any(|l| l.unwrap().contains("recording")), "the child started");
        tokio::time::sleep(Duration::from_millis(20 + round * 37 % 230)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open_store(dir.path()).await;
        let found = reconcile::reconcile(&store, &dir.path().join("footage"), utc_now()).await.unwrap();
        assert_eq!((found.damaged, found.missing), (0, 0), "round {round}: {found:?}");
        reconcile::adopt(&store, &dir.path().join("footage"), found.orphans.clone()).await.unwrap();
        completed += found.completed;
        segments = check_whole(&store, &dir.path().join("footage")).await;
        store.close().await.unwrap();
    }
    println!("50 kills: {segments} segments, all whole; {completed} completed at the start after a kill");
    assert!(segments >= 25 && completed >= 10, "{segments} {completed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_four_cameras_under_a_small_quota_keeps_what_is_held() {
    let dir = quick_dir();
    let cameras: Vec<CameraId> = (1..=4).map(|n| CameraId(format!("cam-{n}"))).collect();
    let quota = FootageConfig { ring_max_bytes: 40_000_000, ..config(60) };
    let (store, footage, taps) = open(dir.path(), quota, &cameras).await;
    let started = Instant::now();
    // One picture a second, 1.3 kB: 24 h of four cameras are 450 MB under a quota of 40 MB.
    let held = (START + 2 * 3_600_000, START + 2 * 3_600_000 + 600_000);
    let (mut most, mut deleted) = (0, 0);
    for hour in 0..24i64 {
        for minute in 0..60 {
            for camera in &cameras {
                let from = hour * 3600 + minute * 60;
                record(&footage, &taps, camera, (from..from + 60).map(|n| unit(n, 1000, 10, 1300))).await;
            }
        }
        until("the index to follow", async || {
            // The last minute of the hour is still being written.
            for camera in &cameras {
                let newest = store.footage_until(camera).await.unwrap()?;
                (newest.0 >= START + (hour + 1) * 3_600_000 - 60_000).then_some(())?;
            }
            Some(())
        })
        .await;
        if hour == 2 {
            hold(dir.path(), "h1", "cam-2", held.0, held.1).await;
        }
        let now = UtcMillis(START + (hour + 1) * 3_600_000);
        let looked = footage.look(now).await.unwrap();
        most = most.max(looked.bytes.ring);
        deleted += looked.deleted;
    }
    drop(taps);
    footage.finish().await;
    let looked = footage.look(UtcMillis(START + 24 * 3_600_000)).await.unwrap();
    assert!(most <= 40_000_000 && looked.bytes.ring <= 40_000_000, "{most} {looked:?}");
    assert!(deleted > 4000, "{deleted}");
    let files = walk(footage.root());
    assert_eq!(files as u64, looked.bytes.segments, "files are what the index says");
    let camera = &cameras[1];
    let span = Span { from: UtcMillis(held.0), to: UtcMillis(held.1) };
    let found = footage.manifest(camera, span, utc_now()).await.unwrap();
    assert!(found.complete && found.segments.iter().all(|s| s.held), "{:?}", found.gaps);
    let plan = footage.clip(&found).await.unwrap().unwrap();
    assert!(plan.pictures >= 600, "the held ten minutes are whole: {}", plan.pictures);
    let around = Span { from: UtcMillis(held.0 - 1_200_000), to: UtcMillis(held.1 + 1_200_000) };
    let around = footage.manifest(camera, around, utc_now()).await.unwrap();
    let reasons: Vec<_> = around.gaps.iter().map(|g| g.reason.as_str()).collect();
    assert_eq!(reasons, ["quota", "quota"], "what went says so");
    println!(
        "24 h x 4 cameras in {:.0} s: {deleted} segments deleted, at most {most} bytes of 40000000 in the ring, {} held \
         bytes untouched, {} segments kept",
        started.elapsed().as_secs_f64(),
        looked.bytes.held,
        looked.bytes.segments
    );
    store.close().await.unwrap();
}

/// A picture a second in the first minute of each hour.
fn a_minute_an_hour(hours: i64) -> impl Iterator<Item = AccessUnit> {
    (0..hours).flat_map(|hour| (hour * 3600..hour * 3600 + 60).map(|n| unit(n, 1000, 10, 300)))
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_touch_with_who_places_holds_nothing_young_is_deleted() {
    const HOUR: i64 = 3_600_000;
    let dir = quick_dir();
    // A quota of nearly nothing: all that may go goes.
    let quota = FootageConfig { ring_max_bytes: 1, ..config(60) };
    let (store, footage, taps) = open(dir.path(), quota.clone(), &[camera()]).await;
    record(&footage, &taps, &camera(), a_minute_an_hour(60)).await;
    drop(taps);
    footage.finish().await;
    let first =
        async || manifest(&footage, START, START + 60 * HOUR).await.segments.first().map(|s| (s.from.0 - START) / HOUR);
    let all = store.footage_bytes().await.unwrap();
    assert_eq!(all.segments, 60, "{all:?}");
    let hour = |at: Option<UtcMillis>| at.map(|at| (at.0 - START) / HOUR);
    assert_eq!(hour(all.ring_since), Some(0), "{all:?}");
    // The last word of holds came at 50 h, in an earlier run; it is 62 h now: what is younger than 26 h stays.
    let (heard, now) = (UtcMillis(START + 50 * HOUR), UtcMillis(START + 62 * HOUR));
    let earlier = "INSERT INTO moment (name, at_ms) VALUES ('holds_synced', ?)";
    sqlx::query(earlier).bind(heard.0).execute(&mut database(dir.path()).await).await.unwrap();
    let looked = footage.look(now).await.unwrap();
    assert!(looked.deleted > 0 && !looked.past_silent_holds, "{looked:?}");
    assert_eq!((looked.deleted, first().await), (26, Some(26)));
    assert_eq!(hour(looked.bytes.ring_since), Some(26), "from here on all is there");
    assert_eq!(footage.looked(), Some(looked));
    // A few minutes after that word too, as long as this run has not heard for itself.
    assert_eq!(footage.look(heard.plus_ms(60_000)).await.unwrap().deleted, 0);
    // Days later nothing more goes.
    let looked = footage.look(now.plus_ms(90 * HOUR)).await.unwrap();
    assert_eq!((looked.deleted, looked.past_silent_holds), (0, false), "{looked:?}");
    // A disk that is nearly full goes before a hold that may come, and the box says so; what is held stays.
    let held = NewHold {
        id: None,
        camera: "bay".into(),
        from: UtcMillis(START + 30 * HOUR),
        to: UtcMillis(START + 31 * HOUR),
        reason: "tip".into(),
        tip_id: None,
        by: "x".into(),
    };
    store.place_holds(&[held]).await.unwrap();
    let (root, tight) = (footage.root().to_owned(), FootageConfig { reserve_bytes: 1 << 60, ..quota });
    let before = store.footage_bytes().await.unwrap();
    let full = gatewatch::footage::Quota { store: &store, root: &root, config: &tight, may_expire: true };
    let looked = full.look(now.plus_ms(91 * HOUR)).await.unwrap();
    assert!(looked.past_silent_holds && looked.deleted > 0, "{looked:?}");
    assert!(looked.warnings.iter().any(|w| w.contains("nothing is heard of holds")), "{:?}", looked.warnings);
    assert!(looked.bytes.held > 0 && looked.bytes.segments < before.segments, "{looked:?}");
    let left = manifest(&footage, START, START + 60 * HOUR).await;
    assert!(!left.segments.is_empty() && left.segments.iter().all(|s| s.held), "what is held and nothing else");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_touch_with_who_places_holds_the_quota_is_kept() {
    const HOUR: i64 = 3_600_000;
    let dir = quick_dir();
    let quota = FootageConfig { ring_max_bytes: 1, ..config(60) };
    let (store, footage, taps) = open(dir.path(), quota, &[camera()]).await;
    record(&footage, &taps, &camera(), a_minute_an_hour(10)).await;
    drop(taps);
    footage.finish().await;
    let now = UtcMillis(START + 11 * HOUR);
    // A clock that was a year ahead leaves nothing behind.
    store.mark_holds_synced(now.plus_ms(365 * 24 * HOUR)).await.unwrap();
    let marked = now.plus_ms(-60_000);
    store.mark_holds_synced(marked).await.unwrap();
    assert_eq!(store.holds_synced_at().await.unwrap(), Some(marked));
    let late = footage.look(marked.plus_ms(16 * 60_000)).await.unwrap();
    assert_eq!((late.deleted, late.bytes.segments), (0, 10), "a quarter of an hour without a word: {late:?}");
    let looked = footage.look(now).await.unwrap();
    assert_eq!((looked.deleted, looked.past_silent_holds), (10, false), "{looked:?}");
    assert_eq!((looked.bytes.segments, looked.warnings.len()), (0, 0), "{looked:?}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_first_goes_first_whatever_its_date_says() {
    const DAY: i64 = 86_400_000;
    let dir = quick_dir();
    let (store, footage, taps) = open(dir.path(), config(60), &[camera()]).await;
    // Ten files, and then ten by a clock that was set thirty days back.
    let dated = |unit: AccessUnit, ms: i64| AccessUnit { time: time(unit.time.utc.0 + ms), ..unit };
    record(&footage, &taps, &camera(), a_minute_an_hour(10).map(|u| dated(u, 30 * DAY))).await;
    record(&footage, &taps, &camera(), a_minute_an_hour(10)).await;
    drop(taps);
    footage.finish().await;
    let all = store.footage_bytes().await.unwrap();
    assert_eq!(all.segments, 20, "{all:?}");
    let look = async |quota: u64, reserve_bytes: u64, now: i64| {
        let limits = FootageConfig { ring_max_bytes: quota, reserve_bytes, ..config(60) };
        let quota =
            gatewatch::footage::Quota { store: &store, root: footage.root(), config: &limits, may_expire: true };
        quota.look(UtcMillis(now)).await.unwrap();
        let of = async |from: i64| manifest(&footage, from, from + DAY).await.segments.len();
        (of(START + 30 * DAY).await, of(START).await)
    };
    let (each, now) = (all.ring / 20, START + DAY);
    assert_eq!(look(17 * each + each / 2, 1, now).await, (7, 10), "the oldest are those of the future");
    // Once the clock is right, those that were recorded last look older than all others.
    assert_eq!(look(14 * each + each / 2, 1, START + 31 * DAY).await, (4, 10));
    assert_eq!(look(1 << 40, 1 << 60, now).await, (0, 0), "a full disk takes those of the future too");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_age_nothing_goes_while_the_clock_is_doubted() {
    const DAY: i64 = 86_400_000;
    let dir = quick_dir();
    let limits = FootageConfig { ring_days: 1, event_days: 1, ..config(60) };
    let (store, footage, taps) = open(dir.path(), limits.clone(), &[camera()]).await;
    record(&footage, &taps, &camera(), a_minute_an_hour(10)).await;
    drop(taps);
    footage.finish().await;
    // Two looks a moment apart, and between them somebody sets the clock.
    let now = UtcMillis(START + DAY / 2);
    assert_eq!(footage.look(now).await.unwrap().deleted, 0);
    assert_eq!(footage.look(now.plus_ms(40 * DAY)).await.unwrap().deleted, 0, "recorded a moment ago, for all we know");
    let notice = gatewatch::store::NewNotice {
        id: "01JZX3V7Q8M4T9K2B6C5D1E0FA".into(),
        revision: 1,
        kind: "gatewatch.event.camera_dark.v1".into(),
        subject: "camera/bay".into(),
        severity: 2,
        at: utc_now(),
        open: false,
        topic: "t".into(),
        lane: 2,
        data: serde_json::json!({}),
    };
    store.record_notices(vec![notice]).await.unwrap();
    store.close().await.unwrap();
    drop((store, footage));
    // The next run begins far ahead of the last message.
    let (store, footage, _) = open(dir.path(), limits.clone(), &[camera()]).await;
    assert_eq!(footage.look(utc_now().plus_ms(80 * 365 * DAY)).await.unwrap().deleted, 0);
    assert_eq!(footage.look(utc_now()).await.unwrap().deleted, 10, "a clock that nothing speaks against");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_deleted_keeps_no_other() {
    let dir = quick_dir();
    let (store, footage, taps) = open(dir.path(), config(60), &[camera()]).await;
    record(&footage, &taps, &camera(), a_minute_an_hour(10)).await;
    drop(taps);
    footage.finish().await;
    let now = UtcMillis(START + 11 * 3_600_000);
    let look = async |limits: FootageConfig| {
        let quota =
            gatewatch::footage::Quota { store: &store, root: footage.root(), config: &limits, may_expire: true };
        quota.look(now).await.unwrap()
    };
    let segments = async || manifest(&footage, START, now.0).await.segments;
    // A folder where the oldest file was: nothing can be deleted there as a file.
    let before = segments().await;
    let oldest = footage.root().join(&before[0].path);
    std::fs::rename(&oldest, dir.path().join("aside")).unwrap();
    std::fs::create_dir(&oldest).unwrap();
    let bytes = store.footage_bytes().await.unwrap().ring;
    let looked = look(FootageConfig { ring_max_bytes: bytes - 1, ..config(60) }).await;
    assert_eq!((looked.deleted, looked.bytes.segments), (1, 9), "the next goes in its place: {looked:?}");
    let said = looked.failed.clone().unwrap();
    assert!(said.contains(&before[0].path) && looked.warnings.iter().any(|w| w.contains(&said)), "{looked:?}");
    let left = segments().await;
    assert_eq!((&left[0].path, left[0].state.as_str()), (&before[0].path, "kept"), "it is there, so it is said to be");
    assert_eq!(left[1].path, before[2].path);
    let looked = look(FootageConfig { reserve_bytes: 1 << 60, ..config(60) }).await;
    assert_eq!((looked.deleted, looked.allowed), (8, Allowed::Nobody), "recording is stopped nevertheless");
    std::fs::remove_dir(&oldest).unwrap();
    std::fs::rename(dir.path().join("aside"), &oldest).unwrap();
    let looked = look(FootageConfig { ring_max_bytes: 1, ..config(60) }).await;
    assert_eq!((looked.deleted, looked.bytes.segments, looked.failed), (1, 0, None));
    store.close().await.unwrap();
}

fn walk(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.map(|p| if p.is_dir() { walk(&p) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_behind_costs_pictures_and_never_ingest() {
    let dir = quick_dir();
    let (store, footage, taps) = open(dir.path(), config(5), &[camera()]).await;
    // Far more at once than any disk takes: 200 MB where 16 MiB may wait.
    let burst: Vec<AccessUnit> = (0..100).map(|n| unit(n, 100, 10, 2_000_000)).collect();
    let mut slowest = Duration::ZERO;
    for unit in &burst {
        let started = Instant::now();
        taps[&camera()].unit(unit, false);
        slowest = slowest.max(started.elapsed());
    }
    let lost = footage.statuses()[0].lost;
    assert!(lost > 0, "the queue is bounded");
    until("room in the queue", async || (taps[&camera()].waiting_units() == 0).then_some(())).await;
    for n in 100..160 {
        taps[&camera()].unit(&unit(n, 100, 10, 1000), false);
    }
    drop(taps);
    footage.finish().await;
    let found = manifest(&footage, START, START + 15_900).await;
    let recorded: u64 = found.segments.iter().map(|s| s.pictures).sum();
    let dropped: u64 = found.segments.iter().map(|s| s.dropped).sum();
    assert_eq!((recorded + lost, dropped), (160, lost), "every picture is recorded or counted");
    assert!(found.gaps.iter().any(|g| g.reason == "disk_behind"), "{:?}", found.gaps);
    println!("slowest hand-over to the recorder {slowest:?}; {lost} of 160 pictures dropped and counted");
    store.close().await.unwrap();
}

/// A file system of its own and small; `None` where nobody may make one.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(dir.path()).stderr(Stdio::null());
        let mounted = mount.status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(dir))
    }
}

impl SmallDisk {
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_recording_and_not_events() {
    let Some(disk) = SmallDisk::new(24_000_000) else {
        println!("not run: only root may mount a small disk");
        return;
    };
    let dir = disk.0.path();
    let limits = FootageConfig { reserve_bytes: 8_000_000, ..config(5) };
    let (store, footage, taps) = open(dir, limits, &[camera()]).await;
    // Nothing may be deleted.
    hold(dir, "h1", "bay", START, START + 3_600_000).await;
    let (mut warned, mut n) = (false, 0);
    let stopped = loop {
        record(&footage, &taps, &camera(), (n..n + 50).map(|n| unit(n, 100, 10, 5000))).await;
        n += 50;
        until("the writer", async || (taps[&camera()].waiting_units() == 0).then_some(())).await;
        let looked = footage.look(UtcMillis(START + n * 100 + 120_000)).await.unwrap();
        warned |= looked.allowed == Allowed::All && !looked.warnings.is_empty();
        if looked.allowed != Allowed::All {
            break looked;
        }
        assert!(n < 20_000, "{looked:?}");
    };
    assert!(warned, "the warning comes before the stop");
    assert_eq!(stopped.deleted, 0, "held is never deleted");
    assert_eq!(stopped.allowed, Allowed::Only(vec![camera()]), "a hold reaches into this time: it goes on");
    let later = footage.look(UtcMillis(START + 7_200_000)).await.unwrap();
    assert_eq!(later.allowed, Allowed::Only(vec![]), "two hours later nothing of it matters");
    let before = footage.statuses()[0].lost;
    let tap = &taps[&camera()];
    (n..n + 50).for_each(|n| tap.unit(&unit(n, 100, 10, 5000), false));
    until("the refusal", async || (footage.statuses()[0].lost >= before + 50).then_some(())).await;
    let event: gatewatch::event::EventMessage = serde_json::from_value(
        serde_json::from_str::<Value>(include_str!("../data/event_visit.json")).unwrap()[0].clone(),
    )
    .unwrap();
    let message = gatewatch::store::NewMessage {
        event,
        pictures: None,
        topic: "t".into(),
        snapshot_topic: "s".into(),
        lane: 2,
        received: None,
    };
    assert_eq!(store.record(message).await.unwrap().sequence.seq, 1, "events have the reserve");
    drop(taps);
    footage.finish().await;
    assert!(check_whole(&store, footage.root()).await > 10);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_runs_full_under_the_writer_leaves_whole_segments() {
    let Some(disk) = SmallDisk::new(6_000_000) else {
        println!("not run: only root may mount a small disk");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path()).await;
    let root = disk.0.path().to_owned();
    let (footage, taps) = Footage::start(store.clone(), root.clone(), config(5), &[camera()]).await.unwrap();
    // Nobody looks after the room: the disk itself says no.
    feed(&taps, &camera(), (0..2000).map(|n| unit(n, 100, 10, 5000))).await;
    let met_all =
        async || (taps[&camera()].waiting_units() == 0).then(|| footage.statuses()[0].problem.clone()).flatten();
    until("the writer to meet the end", met_all).await;
    std::fs::read_dir(root.join("bay")).unwrap().for_each(|day| {
        let files = std::fs::read_dir(day.unwrap().path()).unwrap().map(|f| f.unwrap().path());
        std::fs::remove_file(files.min().unwrap()).unwrap();
    });
    feed(&taps, &camera(), (2000..2100).map(|n| unit(n, 100, 10, 5000))).await;
    drop(taps);
    footage.finish().await;
    let found = reconcile::reconcile(&store, &root, utc_now()).await.unwrap();
    assert_eq!((found.damaged, found.missing, found.orphans.len()), (0, 1, 0), "{found:?}");
    assert!(check_whole(&store, &root).await > 2);
    let span = Span { from: UtcMillis(START + 150_000), to: UtcMillis(START + 210_000) };
    let manifest = footage.manifest(&camera(), span, utc_now()).await.unwrap();
    assert!(manifest.gaps.iter().any(|g| g.reason == "write_error"), "{:?}", manifest.gaps);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_segments_are_reconciled_in_seconds() {
    let dir = quick_dir();
    let store = open_store(dir.path()).await;
    let rows = 100_000;
    // Of each camera and day a folder, of each minute a file of one byte.
    let insert = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
        INSERT INTO segment (camera, stream, path, state, class, codec, width, height, start_ms, end_ms, time_source,
            uncertainty_ms, dropped, bytes, pictures, sha256)
        SELECT 'cam-' || (i % 4), 'main', 'cam-' || (i % 4) || '/day-' || (i / 4000) || '/' || i || '.mp4', 'kept', 'ring',
            'h264', 640, 360, ?2 + i / 4 * 60000, ?2 + i / 4 * 60000 + 60000, 'arrival', 500, 0, 1, 1500, '' FROM n";
    sqlx::query(insert).bind(rows).bind(START).execute(&mut database(dir.path()).await).await.unwrap();
    let root = dir.path().join("footage");
    for i in 0..rows {
        let folder = root.join(format!("cam-{}/day-{}", i % 4, i / 4000));
        if i % 4000 < 4 {
            std::fs::create_dir_all(&folder).unwrap();
        }
        match i {
            7..17 => {}
            20 => std::fs::write(folder.join("20.mp4"), "xx").unwrap(),
            _ => std::fs::write(folder.join(format!("{i}.mp4")), "x").unwrap(),
        }
    }
    std::fs::write(root.join("cam-1/day-3/stray.mp4"), "").unwrap();
    let started = Instant::now();
    let found = reconcile::reconcile(&store, &root, utc_now()).await.unwrap();
    let took = started.elapsed();
    assert_eq!((found.rows, found.files), (100_000, 99_991));
    assert_eq!(
        (found.missing, found.damaged, found.orphans.len()),
        (11, 0, 1),
        "a file without a picture is as good as none"
    );
    println!("100,000 rows and files reconciled in {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let started = Instant::now();
    let bytes = store.footage_bytes().await.unwrap();
    println!("bytes by class over 100,000 rows in {:?}", started.elapsed());
    assert_eq!(bytes.segments, 99_989);
    store.close().await.unwrap();
}

/// CPU seconds of a process's threads, and of those the recorder's.
fn cpu(pid: u32) -> (f64, f64) {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let (mut all, mut recorder) = (0.0, 0.0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let spent = read(task.path().join("schedstat"));
        let seconds = spent.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9;
        all += seconds;
        if read(task.path().join("comm")).starts_with("rec-") {
            recorder += seconds;
        }
    }
    (all, recorder)
}

async fn fetch(gate: &Gate, path: &str, range: Option<&str>) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    gatewatch::install_crypto();
    let mut request = reqwest::Client::new().get(format!("http://{}{path}", gate.config.http.listen.unwrap()));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_its_clip_at_once_and_after_a_kill() {
    let _alone = super::agent::ONE.lock().await;
    let camera_server = gate::serve(gate::bay(), Codec::H264, gatewatch::simulate::ServerOptions::default());
    let broker = Mosquitto::open();
    let listener = Listener::start(broker.url(), "footage-test").await;
    let mut camera = gate::camera("bay", camera_server.url("bay"));
    camera.areas = vec![gate::area("bay", gate::bay_polygon(), 2.0)];
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![camera]);
    gate.config.footage.segment_s = 5;
    gate.start();
    let event = listener.until_event("an event with footage", |e| e.data.footage.is_some()).await;
    let (code, headers, body) = fetch(&gate, &format!("/api/events/{}/clip", event.id), None).await;
    assert_eq!(code, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(
        (&headers["content-type"], &headers["accept-ranges"]),
        (&"video/mp4".parse().unwrap(), &"bytes".parse().unwrap())
    );
    let path = gate.dir.path().join("clip.mp4");
    std::fs::write(&path, &body).unwrap();
    let first = gst_times(&path).len();
    assert!(first > 0, "it can be played while it grows");
    if let Some((packets, frames)) = ffprobe(&path) {
        assert_eq!(packets.len(), frames);
    }
    let status: Value = serde_json::from_slice(&fetch(&gate, "/api/status", None).await.2).unwrap();
    let pid = wait_for("the agent's process", || gate.pid());
    let (all, recorder) = cpu(pid);
    println!("CPU: {all:.2} s of the agent, of it {recorder:.4} s of the recorder: {:.2} %", 100.0 * recorder / all);
    assert_eq!(status["footage"][0]["recording"], true, "{status}");

    // A power cut; what was durable is there afterwards, and the gap is told.
    gate.kill();
    gate.start();
    gate.until_ready().await;
    until("recording again", async || {
        let status: Value = serde_json::from_slice(&fetch(&gate, "/api/status", None).await.2).ok()?;
        status["footage"][0]["until"].is_string().then_some(())
    })
    .await;
    let from = event.data.footage.as_ref().unwrap().from;
    let found: Value = until("both runs", async || {
        // Each time to the end: the first picture's time may be a little ahead of ours.
        let query = format!("camera=bay&from={}&to={}", from.to_rfc3339(), utc_now().to_rfc3339());
        let found: Value =
            serde_json::from_slice(&fetch(&gate, &format!("/api/footage/manifest?{query}"), None).await.2).ok()?;
        found["gaps"].as_array()?.iter().any(|g| g["reason"] == "restart").then_some(found)
    })
    .await;
    let segments = found["segments"].as_array().unwrap();
    assert!(segments.iter().all(|s| s["state"] != "damaged"), "{found:#}");
    // Closed time: the same bytes each time, in one piece and in parts.
    let to = segments.iter().rfind(|s| s["state"] == "kept").unwrap()["from"].as_str().unwrap().to_owned();
    let closed = format!("/api/footage?camera=bay&from={}&to={to}", from.to_rfc3339());
    let (code, headers, whole) = fetch(&gate, &closed, None).await;
    assert_eq!(code, 200);
    let middle = whole.len() / 2;
    let mut parts = Vec::new();
    for range in [format!("bytes=0-{}", middle - 1), format!("bytes={middle}-")] {
        let (code, own, part) = fetch(&gate, &closed, Some(&range)).await;
        assert_eq!((code, &own["etag"]), (206, &headers["etag"]), "{range}");
        parts.extend(part);
    }
    assert!(parts == whole, "ranges are the whole");
    assert_eq!(fetch(&gate, &closed, Some("bytes=999999999-")).await.0, 416);
    let (code, _, sheet) = fetch(&gate, &format!("/api/events/{}/sheet?count=4&columns=2", event.id), None).await;
    assert_eq!((code, &sheet[..2]), (200, &[0xff, 0xd8][..]), "a JPEG");
    let none = "/api/footage?camera=bay&from=2020-01-01T00:00:00Z&to=2020-01-01T00:01:00Z";
    let (code, _, body) = fetch(&gate, none, None).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code, &body["error"], &body["gaps"][0]["reason"]), (404, &"no_footage".into(), &"not_recorded".into()));
    for bad in ["camera=bay&from=x&to=y", "camera=bay", "camera=bay&from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z"]
    {
        assert_eq!(fetch(&gate, &format!("/api/footage?{bad}"), None).await.0, 400, "{bad}");
    }
    let mut text = String::new();
    write!(text, "{}", gate.log()).unwrap();
    assert!(text.contains("footage open"), "the start says what was reconciled");
    assert!(gate.terminate().success());
}
