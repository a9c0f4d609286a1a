//! One camera's analysis with a made-up detector.

use super::*;
use crate::camera::{AccessUnit, Codec, Gate, OwnedI420};
use crate::clock::{FrameTime, TimeSource};
use crate::config::TimeOfWeek;
use crate::customs::{Fact, Register, Tip};
use crate::event::EventId;
use crate::rules::{Phase, RuleKind};
use crate::vision::Detection;

/// A truck in the middle of every picture; fails when told.
struct Truck {
    fails: bool,
    model: ModelRef,
}

impl Detect for Truck {
    fn detect(&mut self, frame: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        if self.fails {
            return Err(DetectorError::Inference("told to".into()));
        }
        let (w, h) = (frame.width as f32, frame.height as f32);
        let rect = Rect { x0: 0.3 * w, y0: 0.3 * h, x1: 0.7 * w, y1: 0.7 * h };
        Ok(vec![Detection::whole("truck".into(), 0.9, rect)])
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

fn frame(at_ms: i64, (width, height): (u32, u32)) -> Frame {
    let time = FrameTime {
        utc: UtcMillis(1_770_000_000_000 + at_ms),
        mono: MonoMillis(at_ms),
        source: TimeSource::Arrival,
        uncertainty_ms: 500,
        clock_offset_ms: None,
    };
    let planes = Arc::new(OwnedI420::filled(width, height, 100, 128, 128));
    let camera = crate::camera::CameraId("c".into());
    Frame::made(camera, time, (width, height), planes)
}

/// All of a picture, or its middle.
const ALL: [[f32; 2]; 4] = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
const MIDDLE: [[f32; 2]; 4] = [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]];

fn model() -> ModelRef {
    ModelRef { name: "m.onnx".into(), sha256: "0".repeat(64) }
}

/// A camera with one inspection bay and these rules of it, on a box of its own.
fn bay(decode: &str, polygon: [[f32; 2]; 4], rules: serde_json::Value) -> (CameraConfig, LaneContext) {
    let mut area = serde_json::json!({"id": "bay", "kind": "inspection_bay", "polygon": polygon});
    let serde_json::Value::Object(rules) = rules else { panic!("rules are an object") };
    area.as_object_mut().expect("an object").extend(rules);
    let camera = serde_json::json!({"id": "c", "url": "rtsp://camera.invalid/1", "decode": decode, "area": [area]});
    let camera: CameraConfig = serde_json::from_value(camera).expect("a valid camera");
    let config = Config { cameras: vec![camera.clone()], ..Config::default() };
    (camera, LaneContext { config, config_digest: "0".repeat(16), model: model(), input: (416, 416) })
}

#[test]
fn events_end_with_the_picture_size_even_when_the_detector_fails_on_the_first_picture_of_the_new_one() {
    let (camera, context) = bay("always", ALL, serde_json::json!({"enter": {"severity": 1}}));
    let mut detector = Truck { fails: false, model: model() };
    let mut lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
    let register = Register::default().snapshot();
    let mut at_ms = 0;
    let mut see = |lane: &mut Lane, detector: &mut Truck, size| {
        at_ms += 200;
        let frame = frame(at_ms, size);
        lane.analyse(&frame, detector, &register, frame.time.utc)
    };
    let told: Vec<Finding> =
        (0..10).flat_map(|_| see(&mut lane, &mut detector, (320, 180)).expect("a picture")).collect();
    let first: Vec<EventId> = told.iter().filter(|f| f.event.data.phase == Phase::New).map(|f| f.event.id).collect();
    assert_eq!((first.len(), lane.open_events()), (1, 1));
    detector.fails = true;
    assert!(see(&mut lane, &mut detector, (640, 360)).is_err());
    assert_eq!(lane.open_events(), 1, "nothing is ended that is not said");
    detector.fails = false;
    let told = see(&mut lane, &mut detector, (640, 360)).expect("a picture");
    let ended: Vec<EventId> = told.iter().filter(|f| f.event.data.phase == Phase::End).map(|f| f.event.id).collect();
    assert_eq!(ended, first);
}

#[test]
fn the_first_picture_after_an_idle_time_continues_the_tracks_and_one_after_a_loss_none() {
    let (camera, context) = bay("adaptive", ALL, serde_json::json!({}));
    let mut detector = Truck { fails: false, model: model() };
    let attention = Arc::new(Attention::default());
    let lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
    let mut lane = lane.with_attention(Arc::clone(&attention));
    let register = Register::default().snapshot();
    let mut see = |lane: &mut Lane, at_ms: i64| {
        let frame = frame(at_ms, (320, 180));
        lane.analyse(&frame, &mut detector, &register, frame.time.utc).expect("a picture");
        lane.tracks()[0].id
    };
    let id = (0..10).map(|i| see(&mut lane, 200 * i)).last().expect("a track");
    attention.set_idle(true);
    assert_eq!(see(&mut lane, 7800), id);
    attention.set_idle(false);
    assert_eq!(see(&mut lane, 27_800), id, "the pause before this picture was on purpose too");
    assert_eq!(see(&mut lane, 28_000), id);
    assert!(!lane.is_lost());
    lane.close(EndReason::CameraLost, &register, UtcMillis(1_770_000_020_000));
    assert!(lane.is_lost(), "closed once for one loss");
}

/// Finds people where it is told to.
struct Told {
    model: ModelRef,
    people: Vec<Rect>,
}

impl Detect for Told {
    fn detect(&mut self, _: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        Ok(self.people.iter().map(|r| Detection::whole("person".into(), 0.9, *r)).collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

/// Gate, attention and lane of one camera: what the gate lets through is looked at, and the lane asks as its worker has it do.
/// A second has 25 units, of one size whatever they show, and every fourth second a keyframe.
struct Wired {
    lane: Lane,
    attention: Arc<Attention>,
    gate: Gate,
    detector: Told,
    /// What is to be seen, whether it is found or not.
    bright: Vec<Rect>,
    now_ms: i64,
}

impl Wired {
    fn new(severity: u8) -> Self {
        Self::awake(severity, &[])
    }

    /// With times at which it is wanted in full.
    fn awake(severity: u8, times: &[TimeOfWeek]) -> Self {
        let (mut camera, context) = bay("adaptive", ALL, serde_json::json!({"enter": {"severity": severity}}));
        camera.awake = times.to_vec();
        let attention = Arc::new(Attention::default());
        let mut gate = Gate::new(camera.decode, Arc::clone(&attention));
        gate.trust_sizes();
        let lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
        Self {
            lane: lane.with_attention(Arc::clone(&attention)),
            attention,
            gate,
            detector: Told { model: model(), people: Vec::new() },
            bright: Vec::new(),
            now_ms: 0,
        }
    }

    /// A grey picture with what is to be seen.
    fn picture(&self, at_ms: i64) -> Frame {
        let (w, h) = (320, 180);
        let bright =
            |x: f32, y: f32| self.bright.iter().any(|r| (r.x0..r.x1).contains(&x) && (r.y0..r.y1).contains(&y));
        let level = |i: usize| if bright((i % w) as f32, (i / w) as f32) { 130 } else { 100 };
        let mut data: Vec<u8> = (0..w * h).map(level).collect();
        data.resize(OwnedI420::bytes(w, h), 128);
        Frame {
            planes: Arc::new(OwnedI420::new(320, 180, data).expect("a packed picture")),
            ..frame(at_ms, (320, 180))
        }
    }

    /// How many units of so many seconds were decoded in them, and why the camera woke.
    fn play(&mut self, seconds: i64) -> (usize, Option<&'static str>) {
        let (mut decoded, mut woke) = (0, None);
        for _ in 0..25 * seconds {
            let (keyframe, now) = (self.now_ms % 4000 == 0, MonoMillis(self.now_ms));
            let time = frame(self.now_ms, (320, 180)).time;
            let slice: Vec<u8> = [0, 0, 1, 2, 1].into_iter().chain([1; 295]).collect();
            let unit = AccessUnit { data: slice.into(), codec: Codec::H265, keyframe, pts_ns: 0, time };
            self.gate.offer(&unit, now);
            woke = woke.or(self.gate.take_woke());
            while let Some((unit, _)) = self.gate.take_ready() {
                decoded += 1;
                self.look(unit.time.mono.0, now);
            }
            self.gate.drained();
            self.now_ms += 40;
        }
        (decoded, woke)
    }

    fn look(&mut self, at_ms: i64, now: MonoMillis) {
        let frame = self.picture(at_ms);
        if self.lane.is_due(frame.time.mono) {
            let register = Register::default().snapshot();
            self.lane.analyse(&frame, &mut self.detector, &register, frame.time.utc).expect("a picture");
            self.lane.ask_for_attention(now);
        }
    }
}

const STANDING: Rect = Rect { x0: 40.0, y0: 60.0, x1: 60.0, y1: 120.0 };
const COMING: Rect = Rect { x0: 200.0, y0: 60.0, x1: 220.0, y1: 120.0 };

#[test]
fn who_rests_lets_the_camera_idle_who_comes_wakes_its_gate_and_what_flickers_on_the_same_pixels_does_not() {
    let mut wired = Wired::new(2);
    (wired.bright, wired.detector.people) = (vec![STANDING], vec![STANDING]);
    // He is new, and followed until he has stood for ten seconds; then three of attention and five of the gate.
    assert_eq!(wired.play(12), (300, Some(TRACK)));
    wired.play(8);
    assert!(wired.attention.is_idle());
    wired.detector.people.push(COMING);
    assert_eq!(wired.play(8), (2, None), "found anew in two keyframes, on pixels that stayed as they were");
    wired.detector.people.pop();
    wired.play(20);
    assert!(wired.attention.is_idle());
    // Now somebody does come. A keyframe shows him: the first unit after it wakes the camera, and nothing of it is lost.
    wired.bright.push(COMING);
    wired.detector.people.push(COMING);
    assert_eq!(wired.play(4), (100, Some(TRACK)));
    assert!(!wired.attention.is_idle());
    // The sizes did not tell of him; were they trusted still, the camera would idle once he rests too.
    wired.gate.trust_sizes();
    wired.play(20);
    assert!(wired.attention.is_idle());
    assert_eq!(wired.play(8), (2, None));
}

#[test]
fn at_its_times_a_camera_is_decoded_in_full_whatever_it_shows() {
    // It begins at 09:40 at the gate.
    let minute = TimeOfWeek { days: Vec::new(), from: "09:41".into(), to: "09:42".into() };
    let mut wired = Wired::awake(2, &[minute]);
    wired.play(56);
    assert!(wired.attention.is_idle());
    assert_eq!(wired.play(8).1, Some("schedule"), "from the keyframe at 09:41 on");
    assert_eq!(wired.play(40), (1000, None));
    wired.play(30);
    assert!(wired.attention.is_idle());
}

#[test]
fn at_a_place_of_severity_four_who_is_found_anew_wakes_the_gate_whatever_the_pixels_say() {
    let mut wired = Wired::new(4);
    wired.play(12);
    assert!(wired.attention.is_idle(), "nobody was found");
    wired.detector.people.push(COMING);
    assert_eq!(wired.play(4), (100, Some(TRACK)));
}

/// A long truck that drives to the right, seen by each region as far as that goes.
struct Convoy {
    model: ModelRef,
    /// Regions of the last picture.
    looked: usize,
}

impl Convoy {
    const LENGTH: f32 = 900.0;

    /// Its middle at a time, pixels.
    fn middle(at: MonoMillis) -> f32 {
        at.0 as f32 * 0.2
    }
}

impl Detect for Convoy {
    fn detect(&mut self, frame: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        self.looked = regions.len();
        let middle = Self::middle(frame.time.mono);
        let truck = Rect { x0: middle - Self::LENGTH / 2.0, y0: 400.0, x1: middle + Self::LENGTH / 2.0, y1: 600.0 };
        let frame = Region::whole(frame.width, frame.height).rect();
        let truck = truck.intersection(&frame);
        let parts = regions.iter().map(|r| r.rect().intersection(&truck)).filter(|part| part.area() > 0.0);
        let largest = parts.max_by(|a, b| a.area().total_cmp(&b.area()));
        let cut =
            |part: Rect| Detection { cut: part.area() < truck.area(), ..Detection::whole("truck".into(), 0.9, part) };
        Ok(largest.map(cut).into_iter().collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

#[test]
fn a_truck_longer_than_the_region_enters_and_leaves_with_its_whole_length() {
    let (camera, context) =
        bay("always", MIDDLE, serde_json::json!({"enter": {"severity": 1}, "exit": {"severity": 1}}));
    let mut lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
    let register = Register::default().snapshot();
    let mut detector = Convoy { model: model(), looked: 0 };
    let (mut told, mut looked) = (Vec::new(), Vec::new());
    for at_ms in (0..12_000).step_by(200) {
        let frame = frame(at_ms, (1920, 1080));
        let findings = lane.analyse(&frame, &mut detector, &register, frame.time.utc).expect("a picture");
        told.extend(findings.into_iter().map(|f| f.event.data));
        looked.push(detector.looked);
    }
    // The area is from 768 to 1152 pixels, which the truck's middle passes at 3840 and 5760 ms.
    let start = told.iter().find(|d| d.rule == RuleKind::Enter).expect("it entered").capture.start;
    let exit = told.iter().find(|d| d.rule == RuleKind::Exit).expect("it left").capture.start;
    let off = [start, exit]
        .map(|at| at.0 - 1_770_000_000_000)
        .into_iter()
        .zip([3840, 5760])
        .map(|(at, due)| (at - due).abs());
    assert!(off.clone().all(|off| off <= 200), "{:?}", off.collect::<Vec<_>>());
    assert_eq!((looked.first(), looked.iter().max(), looked.last()), (Some(&1), Some(&2), Some(&1)), "{looked:?}");
}

/// A person at a place, seen by the planned region as far as that goes.
struct Bystander {
    model: ModelRef,
    rect: Rect,
    looked: usize,
}

impl Detect for Bystander {
    fn detect(&mut self, _: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        self.looked = regions.len();
        Ok(vec![Detection { cut: true, ..Detection::whole("person".into(), 0.9, self.rect) }])
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

#[test]
fn what_is_cut_off_is_looked_at_only_where_it_may_reach_an_area_and_the_worker_lets_it() {
    let (camera, context) = bay("always", MIDDLE, serde_json::json!({"enter": {"severity": 1}}));
    let register = Register::default().snapshot();
    // The region begins 58 pixels left of the area, at 710, and above it.
    let look = |rect: Rect, wider: bool| {
        let mut lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
        lane.allow(Allowance { wider, interval_ms: 200.0 });
        let mut detector = Bystander { model: model(), rect, looked: 0 };
        for at_ms in [0, 200] {
            let frame = frame(at_ms, (1920, 1080));
            lane.analyse(&frame, &mut detector, &register, frame.time.utc).expect("a picture");
        }
        assert_eq!((lane.regions().planned, lane.regions().wider), (1, if wider { lane.asked_wider() } else { 0 }));
        (detector.looked, lane.asked_wider())
    };
    let far = Rect { x0: 710.0, y0: 300.0, x1: 730.0, y1: 340.0 };
    let near = Rect { x0: 710.0, y0: 440.0, x1: 750.0, y1: 540.0 };
    // His head is beside the area, his foot is not, however much of him is hidden.
    let beside = Rect { x0: 710.0, y0: 440.0, x1: 725.0, y1: 540.0 };
    assert_eq!([look(far, true), look(beside, true), look(near, true)], [(1, 0), (1, 0), (2, 1)]);
    assert_eq!(look(near, false), (1, 1), "what would be looked at is known");
}

#[test]
fn a_camera_is_looked_at_as_often_as_its_worker_lets_it_and_a_tip_of_severity_four_makes_it_critical() {
    let (camera, context) = bay("always", ALL, serde_json::json!({}));
    let mut detector = Truck { fails: false, model: model() };
    let mut lane = Lane::new(&context, &camera, &IdSource::random()).expect("a known zone");
    lane.allow(Allowance { wider: true, interval_ms: 222.0 });
    let register = Register::default();
    let first = frame(0, (320, 180));
    lane.analyse(&first, &mut detector, &register.snapshot(), first.time.utc).expect("a picture");
    let looked = |at: i64| (lane.is_due(MonoMillis(at)), lane.is_allowed(MonoMillis(at)));
    assert_eq!([looked(160), looked(200), looked(240)], [(false, false), (true, false), (true, true)]);

    let at = UtcMillis(1_770_000_000_000);
    let critical =
        |register: &Register, at| lane.demand(&Meter::default(), &register.snapshot(), MonoMillis(0), at).critical;
    let booking = serde_json::json!({"id": "B-1", "version": 1, "area": "bay", "decl_keys": ["10000001234"],
        "start": at.to_rfc3339(), "end": at.plus_ms(3_600_000).to_rfc3339(), "state": "planned"});
    let tip = serde_json::json!({"id": "T-1", "version": 1, "issued_at": at.to_rfc3339(), "decl_no": "10000001234",
        "state": "open", "severity": 4});
    let booking = Booking::from_json(booking.to_string().as_bytes()).expect("a valid booking").value;
    register.apply(Fact::Booking(booking), at);
    assert!(!critical(&register, at));
    register.apply(Fact::Tip(Tip::from_json(tip.to_string().as_bytes()).expect("a valid tip").value), at);
    assert_eq!([critical(&register, at), critical(&register, at.plus_ms(3_600_001))], [true, false]);
}

#[test]
fn rules_of_classes_that_the_model_lacks_are_named() {
    let camera: CameraConfig = serde_json::from_value(serde_json::json!({
        "id": "c", "url": "rtsp://camera.invalid/1",
        "area": [{"id": "bay", "kind": "inspection_bay", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]],
            "bay": {}, "occupancy": {"limit": 1}, "opened_without_inspection": {"classes": ["open_door", "open_box"]}}],
        "line": [{"id": "gate", "points": [[0.1, 0.1], [0.9, 0.9]], "severity": 1, "classes": ["train"]}]
    }))
    .expect("a valid camera");
    assert_eq!(
        silent_rules(&camera, &["truck".into(), "person".into()]),
        ["area bay, opened_without_inspection: open_door, open_box", "line gate, classes: train"]
    );
}

#[test]
fn classes_that_the_model_lacks_beside_others_are_named_with_their_place() {
    let camera: CameraConfig = serde_json::from_value(serde_json::json!({
        "id": "c", "url": "rtsp://camera.invalid/1",
        "area": [{"id": "bay", "kind": "inspection_bay", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]],
            "classes": ["person", "truk", "truck"], "bay": {}, "filter": [{"class": "vann"}, {"class": "truck"}],
            "opened_without_inspection": {"classes": ["open_door", "truck"]}, "object_left": {"after_s": 9, "classes": ["bag"]}}],
        "line": [{"id": "gate", "points": [[0.1, 0.1], [0.9, 0.9]], "severity": 1, "classes": ["truck", "trian"],
            "filter": [{"class": "trian"}]}]
    }))
    .expect("a valid camera");
    assert_eq!(
        unknown_classes(&camera, &["truck".into(), "person".into()]),
        [
            "area bay, opened_without_inspection: open_door",
            "area bay, classes: truk",
            "area bay, filter: vann",
            "line gate, classes: trian",
            "line gate, filter: trian"
        ],
        "not those of a rule that has the usual classes, nor of one that is silent as a whole"
    );
}

#[test]
fn an_open_inspection_keeps_its_camera_awake_to_its_end() {
    let (camera, _) = bay("adaptive", ALL, serde_json::json!({}));
    let (at, config) = (UtcMillis(1_770_000_000_000), RegisterConfig::default());
    let awake = |state: &str, after_h: i64| {
        let register = Register::default();
        let booking = serde_json::json!({"id": "B-1", "version": 1, "area": "bay", "decl_keys": ["10000001234"],
            "start": at.to_rfc3339(), "end": at.plus_ms(3 * 3_600_000).to_rfc3339(), "state": state});
        let booking = Booking::from_json(booking.to_string().as_bytes()).expect("a valid booking").value;
        register.apply(Fact::Booking(booking), at);
        inspected(&camera, &register.snapshot(), at.plus_ms(after_h * 3_600_000), &config)
    };
    assert_eq!([awake("active", 2), awake("planned", 2), awake("active", 4)], [true, false, false]);
}
