//! What the steps cost that every picture or every event goes through, one by one: `cargo bench --bench micro`. A check for
//! those who change one of them; what a camera costs as a whole is measured by `make bench`.

use std::sync::Arc;

use divan::{Bencher, black_box, counter::BytesCount};
use gatewatch::camera::{CameraId, Frame, OwnedI420};
use gatewatch::clock::{FrameTime, MonoMillis, UtcMillis, utc_now};
use gatewatch::config::{PicturesConfig, SiteConfig, StoreConfig, TrackerConfig};
use gatewatch::event::EventMessage;
use gatewatch::event::annotate::Annotator;
use gatewatch::geometry::{Point, Polygon, Rect};
use gatewatch::ids::IdSource;
use gatewatch::store::{NewMessage, Pictures, Store, StoreOptions};
use gatewatch::track::Tracker;
use gatewatch::vision::letterbox::{Letterbox, Placement};
use gatewatch::vision::preprocess::{PixelFormat, Preprocessor};
use gatewatch::vision::regions::Region;
use gatewatch::vision::suppress::{Candidate, Limits, suppress};
use gatewatch::vision::{Detection, Label};

fn main() {
    divan::main();
}

/// Numbers that look random and are the same every time.
struct Noise(u64);

impl Noise {
    /// 0..1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() * 255.0) as u8).collect()
    }
}

/// A picture of a 1080p camera.
fn frame() -> Frame {
    let (width, height) = (1920, 1080);
    let data = Noise(1).bytes(OwnedI420::bytes(1920, 1080));
    let planes = Arc::new(OwnedI420::new(width, height, data).expect("as long as it must be"));
    Frame::made(CameraId("cam-1".into()), FrameTime::of_file(utc_now(), MonoMillis(0)), (width, height), planes)
}

// ---- pictures -----------------------------------------------------------------------------------------------------

/// A square region of this side into the input of the default detector.
#[divan::bench(args = [416, 640, 1080])]
fn preprocess(bencher: Bencher, side: u32) {
    let (frame, format) = (frame(), bgr());
    let letterbox = Letterbox::new(Region { x: 0, y: 0, width: side, height: side }, (416, 416), Placement::TopLeft);
    let (mut pass, mut tensor) = (Preprocessor::default(), vec![0.0; 3 * 416 * 416]);
    bencher
        .counter(BytesCount::new(side * side * 3 / 2))
        .bench_local(|| pass.fill(&frame, &letterbox, &format, black_box(&mut tensor)));
}

fn bgr() -> PixelFormat {
    PixelFormat { rgb: false, channels_last: false, mean: [0.0; 3], scale: [1.0; 3], padding: 114.0 }
}

/// The floor of [`preprocess`]: the same bytes copied once.
#[divan::bench(args = [416, 640, 1080])]
fn copy_of_the_region(bencher: Bencher, side: usize) {
    let from = Noise(2).bytes(side * side * 3 / 2);
    let mut to = vec![0; from.len()];
    bencher.counter(BytesCount::new(from.len())).bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
}

/// Both pictures of an event of a 1080p camera, as JPEG.
#[divan::bench]
fn annotate(bencher: Bencher) {
    let (frame, event) = (frame(), event());
    let site: SiteConfig = toml::from_str("office = '15BB'\nbox = 'gate-01'").expect("a site");
    let annotator = Annotator::new(&PicturesConfig::default(), &site, &[]).expect("a font that writes Vietnamese");
    bencher.bench_local(|| annotator.draw(black_box(&frame), black_box(&event)));
}

// ---- boxes, tracks, areas -----------------------------------------------------------------------------------------

/// So many boxes of a quarter as many things.
#[divan::bench(args = [40, 400, 3000])]
fn suppression(bencher: Bencher, boxes: usize) {
    let mut noise = Noise(3);
    let candidates: Vec<Candidate> = (0..boxes)
        .map(|i| {
            let (thing, jitter) = ((i / 4) as f32, noise.next() * 4.0);
            let (x, y) = (thing * 37.0 % 1800.0 + jitter, thing * 91.0 % 1000.0 + jitter);
            let rect = Rect { x0: x, y0: y, x1: x + 80.0, y1: y + 60.0 };
            Candidate { class: i / 4 % 7, score: noise.next(), rect, region: i % 3, cut: i % 11 == 0 }
        })
        .collect();
    let limits = Limits { iou: 0.65, person: Some(0), ..Limits::default() };
    bencher.with_inputs(|| candidates.clone()).bench_local_values(|mut boxes| {
        suppress(&mut boxes, &limits);
        boxes
    });
}

/// One picture with so many things that move.
#[divan::bench(args = [5, 30, 100])]
fn tracking(bencher: Bencher, things: usize) {
    let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::counted(1));
    let label = Label("truck".into());
    let mut step = 0_i64;
    bencher.bench_local(|| {
        step += 1;
        let seen: Vec<Detection> = (0..things)
            .map(|i| {
                let (x, y) = ((i % 10 * 190) as f32 + (step % 40) as f32, (i / 10 * 105) as f32);
                Detection::whole(label.clone(), 0.8, Rect { x0: x, y0: y, x1: x + 90.0, y1: y + 70.0 })
            })
            .collect();
        let time = FrameTime::of_file(UtcMillis(step * 200), MonoMillis(step * 200));
        tracker.update(time, black_box(&seen)).len()
    });
}

/// Whether a point lies in an area of so many corners.
#[divan::bench(args = [4, 12, 64])]
fn polygon(bencher: Bencher, corners: usize) {
    let corner = |i: usize| {
        let angle = i as f32 / corners as f32 * std::f32::consts::TAU;
        Point { x: 0.5 + 0.4 * angle.cos(), y: 0.5 + 0.4 * angle.sin() }
    };
    let area = Polygon((0..corners).map(corner).collect());
    bencher.bench_local(|| black_box(&area).contains(black_box(Point { x: 0.3, y: 0.6 })));
}

// ---- events -------------------------------------------------------------------------------------------------------

fn event() -> EventMessage {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/event_visit.json");
    let text = std::fs::read_to_string(path).expect("tests/data/event_visit.json");
    serde_json::from_str::<Vec<EventMessage>>(&text).expect("events of this version").remove(0)
}

#[divan::bench]
fn event_to_json(bencher: Bencher) {
    let event = event();
    bencher.bench_local(|| serde_json::to_vec(black_box(&event)));
}

#[divan::bench]
fn event_from_json(bencher: Bencher) {
    let text = serde_json::to_vec(&event()).expect("an event is JSON");
    bencher.bench_local(|| serde_json::from_slice::<EventMessage>(black_box(&text)));
}

/// A store in a folder of its own, and the runtime it lives on.
fn store() -> (tempfile::TempDir, tokio::runtime::Runtime, Store) {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = StoreOptions {
        config: StoreConfig { dir: dir.path().into(), ..StoreConfig::default() },
        live_limit_ms: 1_800_000,
        office: "15BB".into(),
        box_id: "gate-01".into(),
        alert_topic: "gatewatch/v1/15BB/gate-01/alert".into(),
    };
    let store = runtime.block_on(Store::open(options)).expect("an empty folder can be used");
    (dir, runtime, store)
}

/// So many new events with a picture of 60 kB each.
fn messages(n: usize, noise: &mut Noise) -> Vec<NewMessage> {
    let picture = bytes::Bytes::from(noise.bytes(60_000));
    let one = |_| {
        let mut event = event();
        event.id = gatewatch::event::EventId(ulid::Ulid::generate());
        NewMessage {
            snapshot_topic: format!("gatewatch/v1/15BB/gate-01/snapshot/{}", event.id),
            event,
            pictures: Some(Pictures { clean: picture.clone(), annotated: picture.clone() }),
            topic: "gatewatch/v1/15BB/gate-01/event".into(),
            lane: 2,
            received: None,
        }
    };
    (0..n).map(one).collect()
}

/// So many events written down in one transaction, pictures on the disk.
#[divan::bench(args = [1, 16], sample_count = 20)]
fn record(bencher: Bencher, events: usize) {
    let (_dir, runtime, store) = store();
    let mut noise = Noise(4);
    bencher
        .with_inputs(|| messages(events, &mut noise))
        .bench_local_values(|new| runtime.block_on(store.record_all(new)).expect("written"));
}

/// Sixteen publishes taken out of an outbox of a thousand.
#[divan::bench(sample_count = 50)]
fn outbox_next(bencher: Bencher) {
    let (_dir, runtime, store) = store();
    let mut noise = Noise(5);
    for _ in 0..10 {
        runtime.block_on(store.record_all(messages(50, &mut noise))).expect("written");
    }
    bencher.bench_local(|| runtime.block_on(store.outbox_next(16, &[1, 2, 3])).expect("read").len());
}
