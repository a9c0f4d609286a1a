//! A worker with more to look at than time, and what it asks of its cameras.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::*;
use crate::agent::lane::LaneContext;
use crate::camera::{Attention, OwnedI420, TRACK};
use crate::clock::FrameTime;
use crate::config::{CameraConfig, Config, DecodeMode, StoreConfig};
use crate::event::Annotator;
use crate::event::message::ModelRef;
use crate::geometry::Rect;
use crate::ids::IdSource;
use crate::store::{Store, StoreOptions};
use crate::vision::Detection;
use crate::vision::detector::DetectorError;
use crate::vision::regions::Region;

/// Takes its time, and finds nothing.
struct Slow {
    model: ModelRef,
    /// What it looked at.
    seen: Looks,
}

const COST: Duration = Duration::from_millis(60);

impl Detect for Slow {
    fn detect(&mut self, frame: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        std::thread::sleep(COST);
        self.seen.lock().unwrap().push((frame.camera.clone(), frame.time.mono));
        Ok(Vec::new())
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

fn picture(camera: &CameraId, at: MonoMillis, number: u64) -> Frame {
    let time = FrameTime { utc: utc_now(), ..FrameTime::arrived(at.0) };
    let planes = Arc::new(OwnedI420::filled(320, 180, 100, 128, 128));
    Frame { number, ..Frame::made(camera.clone(), time, (320, 180), planes) }
}

/// What a worker looked at, by camera and time of the picture.
type Looks = Arc<Mutex<Vec<(CameraId, MonoMillis)>>>;

/// A running worker with these cameras: name, and severity of its only rule.
struct Busy {
    ids: Vec<CameraId>,
    seen: Looks,
    mailbox: Arc<Mailbox>,
    board: HealthBoard,
    thread: std::thread::JoinHandle<Result<(), KeeperGone>>,
    _dir: tempfile::TempDir,
}

impl Busy {
    async fn start(cameras: &[(&str, u8)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cameras: Vec<CameraConfig> = cameras.iter().map(|(id, severity)| camera(id, *severity)).collect();
        let ids = cameras.iter().map(|c| c.id.clone()).collect();
        let seen = Looks::default();
        let worker = worker(cameras, Slow { model: model(), seen: Arc::clone(&seen) }, dir.path()).await;
        let (mailbox, board) = (Arc::clone(&worker.mailbox), worker.board.clone());
        Self { ids, seen, mailbox, board, thread: std::thread::spawn(move || worker.run()), _dir: dir }
    }
}

fn model() -> ModelRef {
    ModelRef { name: "slow.onnx".into(), sha256: "0".repeat(64) }
}

/// With a closed yard, whose only rule has this severity.
fn camera(id: &str, severity: u8) -> CameraConfig {
    serde_json::from_value(serde_json::json!({"id": id, "url": "rtsp://camera.invalid/1", "area": [{
        "id": format!("{id}-yard"), "kind": "restricted_area", "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]],
        "restricted": {"severity": severity}}]}))
    .unwrap()
}

/// A worker that does not run yet, and whose findings nobody takes.
async fn worker<D: Detect>(cameras: Vec<CameraConfig>, detector: D, dir: &Path) -> Worker<D> {
    let ids: Vec<CameraId> = cameras.iter().map(|c| c.id.clone()).collect();
    let store = StoreConfig { dir: dir.into(), ..StoreConfig::default() };
    let config = Config { store, cameras, ..Config::default() };
    let store = Store::open(StoreOptions::of(&config, String::new())).await.unwrap();
    let (config_digest, input) = ("0".repeat(16), (416, 416));
    let context = LaneContext { config: config.clone(), config_digest, model: model(), input };
    let lanes = config.cameras.iter().map(|c| Lane::new(&context, c, &IdSource::random()).unwrap()).collect();
    let annotator = Arc::new(Annotator::new(&config.pictures, &config.site, &[]).unwrap());
    Worker {
        detector,
        lanes,
        register: Arc::default(),
        cameras: watch::channel(BTreeMap::new()).1,
        coverage: Arc::new(CoverageKeeper::start(store, &config).await.unwrap()),
        board: HealthBoard::default(),
        windows: Arc::new(Windows::new(&config.cameras, annotator)),
        health: Arc::default(),
        name: "analysis/0".into(),
        mailbox: Arc::new(Mailbox::new(&ids)),
        absent: true,
        budget: Budget::default(),
        model: watch::channel(model()).0,
        findings: sync_channel(1).0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_time_gives_up_rate_where_nothing_is_critical_and_nothing_that_was_held() {
    let Busy { ids, seen, mailbox, board, thread, _dir } =
        Busy::start(&[("c0", 2), ("c1", 2), ("c2", 2), ("c3", 2), ("gate", 4)]).await;

    // Every camera at 20 pictures a second, until the ordinary ones have been slowed down for a while; then one more that
    // woke up. How far they are slowed down depends on the machine.
    let send = |mailbox: Arc<Mailbox>, ids: Vec<CameraId>, board: HealthBoard| {
        let (mut number, mut slowed, mut least_ms) = (0, None, u32::MAX);
        loop {
            let now = mono_now();
            ids.iter().for_each(|id| mailbox.put(picture(id, now, number)));
            number += 1;
            if let Some(reduced) = board.reduced(&ids[0]) {
                slowed.get_or_insert(now);
                least_ms = least_ms.min(reduced.interval_ms);
            }
            match slowed {
                Some(since) if now.since(since) > 3000 => return (since, i64::from(least_ms)),
                None if number > 600 => panic!("nothing is slowed down"),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    };
    let (since, least_ms) = tokio::task::spawn_blocking({
        let (mailbox, ids, board) = (Arc::clone(&mailbox), ids.clone(), board.clone());
        move || send(mailbox, ids, board)
    })
    .await
    .unwrap();
    let (ordinary, critical) = (board.reduced(&ids[0]), board.reduced(&ids[4]));
    let last = ordinary.is_some_and(|r| r.planned_regions_only);
    assert!(critical.is_none() || last, "{ordinary:?} {critical:?}: severity 4 comes last");
    for id in &ids[..4] {
        let seen = seen.lock().unwrap();
        let looks: Vec<i64> = seen.iter().filter(|(c, at)| c == id && *at > since).map(|(_, at)| at.0).collect();
        // Told in whole tenths of a second, rounded up; a tenth of the configured interval early is on time.
        let least = looks.windows(2).map(|w| w[1] - w[0]).min();
        assert!(
            least.is_some_and(|least| least > least_ms - 120),
            "{looks:?}, but not more often than every {least_ms} ms"
        );
    }

    let woken = MonoMillis(mono_now().0 - 4000);
    tokio::task::spawn_blocking({
        let (mailbox, id) = (Arc::clone(&mailbox), ids[0].clone());
        move || {
            for i in 0..20 {
                let frame =
                    Frame { held: true, ..picture(&id, MonoMillis(woken.0 + i * 200), 1000 + i.cast_unsigned()) };
                assert!(mailbox.put_in_turn(frame, Duration::from_secs(20)));
            }
            // Taken, and looked at, when the next one is.
            assert!(mailbox.put_in_turn(picture(&id, mono_now(), 1020), Duration::from_secs(20)));
            assert!(mailbox.put_in_turn(picture(&id, mono_now(), 1021), Duration::from_secs(20)));
        }
    })
    .await
    .unwrap();
    let seen = seen.lock().unwrap().clone();
    let looked = |i: &i64| seen.contains(&(ids[0].clone(), MonoMillis(woken.0 + i * 200)));
    assert_eq!((0..20).filter(looked).count(), 20, "what the camera was woken for");
    mailbox.close();
    thread.join().unwrap().unwrap();
}

/// One person, or nobody.
struct Finds {
    model: ModelRef,
    person: Option<Rect>,
}

impl Detect for Finds {
    fn detect(&mut self, _: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        Ok(self.person.map(|r| Detection::whole("person".into(), 0.9, r)).into_iter().collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

#[tokio::test]
async fn a_picture_with_somebody_new_asks_for_every_picture_of_its_camera_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let adaptive = |id| CameraConfig { decode: DecodeMode::Adaptive, ..camera(id, 2) };
    let mut worker =
        worker(vec![adaptive("c0"), adaptive("c1")], Finds { model: model(), person: None }, dir.path()).await;
    let attention = [(); 2].map(|()| Arc::new(Attention::default()));
    let lanes = worker.lanes.into_iter().zip(&attention).map(|(l, a)| l.with_attention(Arc::clone(a)));
    worker.lanes = lanes.collect();
    worker.budget.meters = vec![Meter::default(); 2];
    let mut looks = |person: Option<Rect>, number: u64| {
        worker.detector.person = person;
        let at = MonoMillis(1000 * i64::try_from(number).unwrap());
        let frame = picture(&worker.lanes[1].camera().id, at, number);
        worker.analyse(&frame, &Limiter::per_second()).unwrap();
        attention.each_ref().map(|a| a.wanted(mono_now()))
    };
    assert_eq!(looks(None, 0), [None, None]);
    assert_eq!(looks(Some(Rect { x0: 100.0, y0: 40.0, x1: 120.0, y1: 90.0 }), 1), [None, Some(TRACK)]);
}
