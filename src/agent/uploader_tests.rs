//! What the uploader does with clips that cannot be brought now, and in what order, with a folder as the store.

use std::path::PathBuf;

use super::*;
use crate::agent::cases_tests::blank;
use crate::agent::keeper::new_message;
use crate::camera::{AccessUnit, CameraId, Codec, UnitSink as _};
use crate::clock::{FrameTime, TimeSource, UtcMillis};
use crate::config::Config;
use crate::event::message::FootageRef;
use crate::footage::Looked;
use crate::footage::mask_history::MaskHistory;
use crate::mqtt::Topics;
use crate::store::{DATABASE, Doomed, NewHold, SegmentClass, SegmentClosed, SegmentOpened, StoreOptions};

const SETS: [&str; 2] = ["67640028acd940780227e5c044000003000400000300c83c60c658", "68ebe3cb22c0"];
const HOUR_MS: i64 = 3_600_000;

/// A box that recorded half a minute an hour ago.
struct Gate {
    dir: tempfile::TempDir,
    uploader: Uploader,
    /// When the video begins.
    from: i64,
}

/// A picture of nothing, in the right form; ten a second, a keyframe each second.
fn unit(number: i64, from: i64) -> AccessUnit {
    let keyframe = number % 10 == 0;
    let mut data: Vec<u8> = Vec::new();
    for set in SETS.iter().filter(|_| keyframe) {
        data.extend([0, 0, 0, 1]);
        data.extend(hex::decode(set).unwrap());
    }
    data.extend([0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
    data.extend(number.to_be_bytes().map(|b| b | 0x80));
    let utc = UtcMillis(from + number * 100);
    let source = TimeSource::Arrival;
    let time = FrameTime { utc, mono: MonoMillis(utc.0), source, uncertainty_ms: 50, clock_offset_ms: None };
    let pts_ns = u64::try_from(number).unwrap() * 100_000_000;
    AccessUnit { data: data.into(), codec: Codec::H264, keyframe, pts_ns, time }
}

impl Gate {
    /// With video of `camera`, and `bay` in the configuration.
    async fn new(camera: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bay = serde_json::json!({"id": "bay", "url": "rtsp://camera.invalid/1"});
        let mut config = Config { cameras: vec![serde_json::from_value(bay).unwrap()], ..Config::default() };
        config.store.dir = dir.path().join("box");
        let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
        let store = Store::open(StoreOptions::of(&config, topics.alert())).await.unwrap();
        let camera = CameraId(camera.into());
        let root = dir.path().join("footage");
        let cameras = [camera.clone()];
        let (footage, taps) = Footage::start(store.clone(), root, config.footage.clone(), &cameras).await.unwrap();
        let from = utc_now().0 - HOUR_MS;
        (0..300).for_each(|n| taps[&camera].unit(&unit(n, from), false));
        drop(taps);
        footage.finish().await;
        let health = Arc::<Health>::default();
        let masks = MaskHistory::note(&config.store.dir, &config.cameras, "00", UtcMillis(from - HOUR_MS));
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let uploader = Uploader {
            store: store.clone(),
            footage,
            masks: Arc::new(MaskDesk::new(config.store.dir.join("masked"), 0, Arc::new(masks))),
            evidence: Evidence::start(store, topics, Arc::clone(&health)).await.unwrap(),
            health,
            config: FootageStoreConfig {
                url: format!("file://{}", outside.display()),
                max_bytes_per_s: 1 << 30,
                ..FootageStoreConfig::default()
            },
            aside: HashMap::new(),
            objects: None,
        };
        Self { dir, uploader, from }
    }

    fn store(&self) -> &Store {
        &self.uploader.store
    }

    /// Holds a second that begins `at_s` seconds into the video.
    async fn hold(&self, id: &str, camera: &str, at_s: i64) {
        let from = UtcMillis(self.from + at_s * 1000);
        let hold = NewHold {
            id: Some(id.into()),
            camera: camera.into(),
            from,
            to: from.plus_ms(1000),
            reason: "x".into(),
            tip_id: None,
            by: "x".into(),
        };
        self.store().place_holds(&[hold]).await.unwrap();
    }

    /// An event of severity 4 from `at_s` to `to_s`, as the keeper records it.
    async fn event(&self, event: &mut crate::event::EventMessage, at_s: i64, to_s: i64) {
        let (from, to) = (UtcMillis(self.from + at_s * 1000), UtcMillis(self.from + to_s * 1000));
        event.data.severity = 4;
        event.data.footage = Some(FootageRef { camera: CameraId("bay".into()), from, to });
        let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
        self.store().record(new_message(event.clone(), None, &topics, 3, None)).await.unwrap();
    }

    /// Video that was recorded once, from `at_s` to `to_s`, and is chosen to go.
    async fn doomed(&self, path: &str, at_s: i64, to_s: i64) -> Vec<Doomed> {
        let (from, to) = (self.from + at_s * 1000, self.from + to_s * 1000);
        let opened = SegmentOpened {
            camera: CameraId("bay".into()),
            path: path.into(),
            codec: Codec::H264,
            width: 640,
            height: 360,
            first: UtcMillis(from),
            time: unit(0, from).time,
            gap_before_ms: None,
            gap_reason: None,
            dropped: 0,
        };
        self.store().segment_opened(&opened).await.unwrap();
        let (path, first, sha256) = (opened.path, opened.first, "00".repeat(32));
        let closed = SegmentClosed { path, first, end: UtcMillis(to), bytes: 9, pictures: 9, sha256 };
        self.store().segment_closed(&closed).await.unwrap();
        self.store()
            .doom_segments(SegmentClass::Ring, UtcMillis(self.from), UtcMillis(i64::MAX), None, 9)
            .await
            .unwrap()
    }

    /// Where the clips of holds will lie, in the order of what is due.
    async fn places(&self) -> Vec<PathBuf> {
        let due = self.store().due_clips(utc_now(), 3, SETTLE_MS, 100).await.unwrap().0;
        let first = self.next().await.1;
        let folder = first.parent().unwrap();
        due.iter().map(|due| folder.join(format!("{}.mp4", due.name.stem()))).collect()
    }

    /// Ids of the clips that are due, in order.
    async fn due(&self) -> Vec<String> {
        let due = self.store().due_clips(utc_now(), 3, SETTLE_MS, 100).await.unwrap().0;
        due.into_iter().map(|d| d.name.id).collect()
    }

    /// The id of what is due next, and where it will lie.
    async fn next(&self) -> (String, PathBuf) {
        let due = self.store().due_clips(utc_now(), 3, SETTLE_MS, 1).await.unwrap().0.remove(0);
        let origin = self.store().origin();
        let folder = clip::folder(&origin.office, &origin.box_id, &due.camera.0, due.name.from);
        (due.name.id.clone(), self.outside().join(folder).join(format!("{}.mp4", due.name.stem())))
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As if all that is aside had waited long enough.
    fn later(&mut self) {
        self.uploader.aside.values_mut().filter(|(_, until)| until.0 < i64::MAX).for_each(|a| a.1 = MonoMillis(0));
    }

    fn part(&self) -> (Level, String) {
        let part = self.uploader.health.readiness().parts[PART].clone();
        (part.level, part.message)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_now_may_come_back_and_what_was_deleted_does_not() {
    let mut gate = Gate::new("bay").await;
    gate.hold("h", "bay", 5).await;
    gate.hold("never", "bay", -600).await;
    let (here, away) = (gate.path("footage"), gate.path("not-mounted"));
    std::fs::rename(&here, &away).unwrap();
    assert_eq!(gate.uploader.round().await.unwrap(), (2, false));
    assert_eq!(gate.due().await, ["never", "h"], "neither is given up");
    gate.uploader.say(2, None);
    assert_eq!(gate.part(), (Level::Ok, "2 clips wait for the store; of 2 there is no footage now".into()));
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(gate.uploader.round().await.unwrap(), (2, false), "left alone for a while");
    gate.later();
    assert_eq!(gate.uploader.round().await.unwrap(), (1, true));
    assert_eq!(gate.due().await, ["never"]);

    // Recorded once. Some of it is only chosen to go, some was deleted, some is missing.
    gate.store().release_hold("never", "x", "x").await.unwrap();
    let doomed = gate.doomed("bay/old.mp4", -700, -600).await;
    gate.hold("gone", "bay", -650).await;
    let later = gate.doomed("bay/later.mp4", -600, -500).await;
    gate.hold("both", "bay", -600).await;
    assert_eq!(gate.uploader.round().await.unwrap(), (2, false));
    assert_eq!(gate.due().await, ["gone", "both"], "the files may still be there");
    gate.store().segments_gone(&doomed, "expired", utc_now()).await.unwrap();
    gate.store().segments_gone(&later, "missing", utc_now()).await.unwrap();
    gate.later();
    assert_eq!(gate.uploader.round().await.unwrap(), (1, false));
    assert_eq!(gate.due().await, ["both"], "what was deleted is given up");
}

#[tokio::test]
async fn files_that_could_not_be_taken_in_are_told_and_waited_for_no_longer() {
    let gate = Gate::new("bay").await;
    let database = gate.path("box").join(DATABASE);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut sql = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let mut forget = async |trigger: &'static str| {
        sqlx::raw_sql(trigger).execute(&mut sql).await.unwrap();
        let config = Config::default().footage;
        let started = Footage::start(gate.store().clone(), gate.path("footage"), config, &[]).await;
        let footage = started.unwrap().0;
        assert!(footage.is_reading(), "nothing was waited for since");
        footage.finish().await;
        assert!(!footage.is_reading());
        footage.tell_health(&gate.uploader.health, Ok(&Looked::default()));
        gate.uploader.health.readiness().parts["footage"].clone()
    };
    let refuse =
        "DELETE FROM segment; CREATE TRIGGER no BEFORE INSERT ON segment BEGIN SELECT RAISE(FAIL, 'full'); END";
    let told = forget(refuse).await;
    assert!(told.level == Level::Degraded && told.message.contains("not in the index"), "{told:?}");
    assert_eq!(forget("DROP TRIGGER no").await.level, Level::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_cannot_be_brought_none_is_in_the_way_of_what_comes_next() {
    let mut gate = Gate::new("bay").await;
    let many = AT_ONCE as i64 + 5;
    for i in 0..many {
        gate.hold(&format!("never-{i}"), "bay", i - 900).await;
    }
    gate.hold("h", "bay", 5).await;
    let all = many as u64 + 1;
    assert_eq!(gate.uploader.round().await.unwrap(), (all, true), "on at once");
    assert_eq!(gate.uploader.round().await.unwrap(), (all - 1, true));
    assert_eq!(gate.due().await.len(), many as usize);
    assert_eq!(gate.uploader.round().await.unwrap(), (all - 1, false));
    gate.later();
    assert_eq!(gate.uploader.round().await.unwrap(), (all - 1, false), "all of them once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_refused_that_took_nothing_comes_first_when_it_takes_again() {
    let mut gate = Gate::new("bay").await;
    for (id, at) in [("h0", 2), ("h1", 4), ("h2", 6), ("h3", 8)] {
        gate.hold(id, "bay", at).await;
    }
    // It answers, and takes nothing: a folder of its name is in the way of each.
    let places = gate.places().await;
    places.iter().for_each(|clip| std::fs::create_dir_all(clip.join("x")).unwrap());
    for refused in [2, 4] {
        assert!(matches!(gate.uploader.round().await.unwrap_err(), (4, Failed::Objects(_))));
        assert!(gate.uploader.aside.values().filter(|(why, _)| *why == Aside::Refused).count() == refused);
    }
    gate.hold("h4", "bay", 10).await;
    // It takes again, but for one.
    places.iter().skip(1).for_each(|clip| std::fs::remove_dir_all(clip).unwrap());
    assert_eq!(gate.uploader.round().await.unwrap(), (4, true));
    assert_eq!(gate.due().await, ["h0", "h1", "h2", "h3"], "what nobody refused shows it");
    for left in [vec!["h0", "h2", "h3"], vec!["h0", "h3"], vec!["h0"]] {
        assert!(gate.uploader.round().await.unwrap().1);
        assert_eq!(gate.due().await, left);
    }
    assert_eq!(gate.uploader.round().await.unwrap(), (1, false), "that one has its own fault");
    gate.later();
    std::fs::remove_dir_all(&places[0]).unwrap();
    assert_eq!(gate.uploader.round().await.unwrap(), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_masks_nobody_knows_brings_nothing_in_this_run_and_is_not_given_up() {
    let mut gate = Gate::new("renamed").await;
    gate.hold("h", "renamed", 5).await;
    for _ in 0..2 {
        assert_eq!(gate.uploader.round().await.unwrap(), (1, false));
        gate.later();
    }
    assert_eq!(gate.due().await, ["h"], "the next start tries again");
    assert_eq!(std::fs::read_dir(gate.outside()).unwrap().count(), 0);
    gate.uploader.say(1, None);
    assert_eq!(gate.part().0, Level::Degraded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_that_the_store_refuses_is_left_alone_and_slows_no_other() {
    let mut gate = Gate::new("bay").await;
    for (id, at) in [("h0", 2), ("h1", 4), ("h2", 6), ("h3", 8)] {
        gate.hold(id, "bay", at).await;
    }
    // A folder of its name is in the way.
    let (id, first) = gate.next().await;
    assert_eq!(id, "h0");
    std::fs::create_dir_all(first.join("x")).unwrap();
    assert_eq!(gate.uploader.round().await.unwrap(), (3, true));
    assert_eq!(gate.due().await, ["h0", "h2", "h3"]);
    gate.uploader.say(3, None);
    let text = "1 clips cannot be made or are not taken, as the log of the box says";
    assert_eq!(gate.part(), (Level::Degraded, text.into()));
    assert_eq!(gate.uploader.round().await.unwrap(), (2, true));
    gate.later();
    // Nothing is taken any more: that is the store, and the next round comes later.
    let origin = gate.store().origin();
    let folder = first.parent().unwrap();
    assert!(folder.starts_with(gate.outside().join(origin.office)));
    let due = gate.store().due_clips(utc_now(), 3, SETTLE_MS, 9).await.unwrap().0;
    let last = folder.join(format!("{}.mp4", due[1].name.stem()));
    std::fs::create_dir_all(last.join("x")).unwrap();
    let (waiting, error) = gate.uploader.round().await.unwrap_err();
    assert!(waiting == 2 && matches!(error, Failed::Objects(_)), "{error}");
    assert_eq!(gate.uploader.round().await.unwrap(), (2, false), "both are left alone");
    for clip in [first, last] {
        std::fs::remove_dir_all(clip).unwrap();
    }
    gate.later();
    assert_eq!(gate.uploader.round().await.unwrap(), (1, true));
    assert_eq!(gate.uploader.round().await.unwrap(), (0, true));
    gate.uploader.say(0, None);
    assert_eq!(gate.part(), (Level::Ok, "0 clips wait for the store".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_holds_come_first_and_then_the_oldest() {
    let mut gate = Gate::new("bay").await;
    let mut event = blank("bay-1", UtcMillis(gate.from), UtcMillis(gate.from + 1000), 500);
    gate.event(&mut event, 1, 3).await;
    gate.hold("late", "bay", 20).await;
    gate.hold("early", "bay", 10).await;
    let (here, away) = (gate.outside(), gate.path("taken-away"));
    std::fs::rename(&here, &away).unwrap();
    for _ in 0..5 {
        let (waiting, error) = gate.uploader.round().await.unwrap_err();
        assert!(waiting == 3 && error.to_string().contains("mount the folder"), "{error}");
    }
    assert!(gate.uploader.aside.is_empty(), "no clip's fault");
    std::fs::rename(&away, &here).unwrap();
    let id = event.id.to_string();
    for left in [vec!["late", &id], vec![&id], vec![]] {
        assert!(gate.uploader.round().await.unwrap().1);
        assert_eq!(gate.due().await, left);
    }
    // Taken away between two clips.
    gate.hold("again", "bay", 15).await;
    std::fs::rename(&here, &away).unwrap();
    assert!(gate.uploader.round().await.is_err() && gate.uploader.aside.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_grows_after_its_clip_was_brought_is_brought_as_it_is_then() {
    let mut gate = Gate::new("bay").await;
    let mut event = blank("bay-1", UtcMillis(gate.from), UtcMillis(gate.from + 1000), 500);
    gate.event(&mut event, 1, 3).await;
    assert_eq!(gate.uploader.round().await.unwrap(), (0, true));
    event.data.revision += 1;
    gate.event(&mut event, 1, 3).await;
    assert!(gate.due().await.is_empty(), "the same time");
    event.data.revision += 1;
    gate.event(&mut event, 1, 9).await;
    assert_eq!(gate.uploader.round().await.unwrap(), (0, true));
    assert!(gate.due().await.is_empty());
}
