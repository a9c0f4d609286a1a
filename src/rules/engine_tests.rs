//! The engine with every rule, over scripted tracks.

use super::{AreaEvent, AreaRules, EndReason, Phase, RuleKind};
use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use crate::config::{CameraConfig, EventsConfig, RegisterConfig};
use crate::customs::{Checks, RegisterSnapshot};
use crate::event::Zone;
use crate::geometry::{CrossDirection, Rect};
use crate::track::{Track, TrackId};

const SIZE: (u32, u32) = (1000, 500);
const T0: i64 = 1_770_000_000_000;

/// One area over x 0.4..0.6 with every rule, one line at x = 0.8 walked upwards, areas for trucks and persons.
fn camera() -> CameraConfig {
    serde_json::from_value(serde_json::json!({
        "id": "cam-1", "url": "rtsp://camera.invalid/1",
        "area": [{
            "id": "bay-1", "kind": "inspection_bay", "settle_ms": 400, "classes": ["truck", "person"],
            "polygon": [[0.4, 0.0], [0.6, 0.0], [0.6, 1.0], [0.4, 1.0]],
            "enter": {"severity": 1}, "exit": {"severity": 1}, "dwell": {"limit_s": 10.0, "severity": 3}
        }],
        "line": [{"id": "gate", "points": [[0.8, 1.0], [0.8, 0.0]], "severity": 2}]
    }))
    .expect("a valid camera")
}

fn rules() -> AreaRules {
    AreaRules::new(&camera(), &Zone::new("Asia/Ho_Chi_Minh").unwrap(), &EventsConfig::default())
}

/// A frame seen by the rules of a box that knows nothing of declarations.
fn update(rules: &mut AreaRules, time: FrameTime, tracks: &[Track]) -> Vec<AreaEvent> {
    ask_nobody(time.utc, |checks| rules.update(SIZE, time, tracks, checks))
}

fn close_all(rules: &mut AreaRules, reason: EndReason) -> Vec<AreaEvent> {
    ask_nobody(UtcMillis(T0), |checks| rules.close_all(reason, checks))
}

fn ask_nobody<T>(now: UtcMillis, judge: impl FnOnce(&Checks<'_>) -> T) -> T {
    let (register, config) = (RegisterSnapshot::default(), RegisterConfig::default());
    judge(&Checks { register: &register, config: &config, now, uncertainty_ms: 40 })
}

/// Feeds one track by its foot's x in pixels, one entry a frame; `None` = not matched in that frame.
struct Scene {
    rules: AreaRules,
    interval_ms: i64,
    frame: i64,
    label: &'static str,
    size: f32,
    /// By which the wall clock is set mid-way, milliseconds.
    step_ms: i64,
}

impl Scene {
    fn new(interval_ms: i64) -> Self {
        Self { rules: rules(), interval_ms, frame: 0, label: "truck", size: 200.0, step_ms: 3_600_000 }
    }

    fn track(&self, x: f32, matched: bool, confirmed: bool) -> Track {
        let ms = self.frame * self.interval_ms;
        let half = self.size / 2.0;
        Track {
            id: TrackId(ulid::Ulid::from_parts(1, 1)),
            label: self.label.into(),
            rect: Rect { x0: x - half, y0: 100.0, x1: x + half, y1: 250.0 },
            score: 0.9,
            median_score: 0.9,
            matched,
            held: false,
            confirmed,
            first_seen: MonoMillis(0),
            last_seen: MonoMillis(ms),
            first_seen_utc: UtcMillis(T0),
            last_seen_utc: UtcMillis(T0 + ms),
            path: std::collections::VecDeque::new(),
        }
    }

    fn time(&self) -> FrameTime {
        let ms = self.frame * self.interval_ms;
        // The wall clock is stepped by an hour mid-way in every scene: durations must not notice.
        let step = if self.frame >= 20 { self.step_ms } else { 0 };
        FrameTime {
            utc: UtcMillis(T0 + ms + step),
            mono: MonoMillis(ms),
            source: TimeSource::RtcpNtp,
            uncertainty_ms: 40,
            clock_offset_ms: None,
        }
    }

    fn see(&mut self, x: Option<f32>) -> Vec<AreaEvent> {
        let track = self.track(x.unwrap_or(500.0), x.is_some(), self.frame * self.interval_ms >= 400);
        let time = self.time();
        let events = update(&mut self.rules, time, &[track]);
        self.frame += 1;
        events
    }

    fn walk(&mut self, xs: impl IntoIterator<Item = f32>) -> Vec<AreaEvent> {
        xs.into_iter().flat_map(|x| self.see(Some(x))).collect()
    }

    fn lost(&mut self) -> Vec<AreaEvent> {
        let time = self.time();
        let events = update(&mut self.rules, time, &[]);
        self.frame += 1;
        events
    }
}

fn brief(events: &[AreaEvent]) -> Vec<(RuleKind, Phase)> {
    events.iter().map(|e| (e.rule, e.phase)).collect()
}

#[test]
fn driving_in_and_out_gives_enter_end_and_exit_with_measured_times() {
    let mut scene = Scene::new(200);
    let events = scene.walk([300., 350., 390., 450., 500., 550., 590., 650., 700., 750.]);
    assert_eq!(
        brief(&events),
        [(RuleKind::Enter, Phase::New), (RuleKind::Enter, Phase::End), (RuleKind::Exit, Phase::New)]
    );
    assert_eq!(events[0].start, UtcMillis(T0 + 600), "first sight inside, not the end of settling");
    assert_eq!(events[1].key, events[0].key);
    assert_eq!(events[1].end, Some(UtcMillis(T0 + 1400)));
    assert_eq!(events[1].dwell_ms, Some(800));
    assert_eq!(events[1].end_reason, Some(EndReason::Observed));
    assert_eq!((events[2].start, events[2].end), (UtcMillis(T0 + 1400), Some(UtcMillis(T0 + 1400))));
    assert_eq!(events[2].end_reason, Some(EndReason::Observed));
}

#[test]
fn a_vehicle_that_stands_inside_at_start_raises_its_enter_from_its_first_sight() {
    let mut scene = Scene::new(200);
    let events = scene.walk([500.0; 5]);
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::New)]);
    assert_eq!(events[0].start, UtcMillis(T0), "also the sights before it was confirmed count");
}

#[test]
fn what_lasts_while_the_wall_clock_is_set_back_ends_after_it_began() {
    let mut scene = Scene { step_ms: -3_600_000, ..Scene::new(200) };
    let events = scene.walk([500.0; 60].into_iter().chain([700.0; 4]));
    let ends: Vec<_> = events.iter().filter(|e| e.phase == Phase::End).collect();
    assert_eq!(ends.len(), 2, "{:?}", brief(&events));
    for end in ends {
        assert_eq!((end.start, end.end, end.dwell_ms), (UtcMillis(T0), Some(UtcMillis(T0 + 12_000)), Some(12_000)));
    }
}

#[test]
fn dwell_is_measured_on_the_monotonic_clock_to_one_interval() {
    for interval in [40, 200, 333, 2000] {
        let mut scene = Scene::new(interval);
        let frames = usize::try_from(10_000 / interval + 2).unwrap();
        let events = scene.walk(std::iter::repeat_n(500.0, frames));
        let dwell = events.iter().find(|e| e.rule == RuleKind::Dwell).expect("the limit was reached");
        let measured = dwell.dwell_ms.unwrap();
        assert!((10_000..10_000 + interval).contains(&measured), "{measured} ms at {interval} ms a frame");
        assert_eq!(dwell.start, UtcMillis(T0));
        let end = scene.walk([620.0; 12]);
        let end = end.iter().find(|e| e.rule == RuleKind::Dwell).expect("it left");
        assert_eq!((end.key, end.phase), (dwell.key, Phase::End));
        assert_eq!(end.dwell_ms, Some(i64::try_from(frames).unwrap() * interval));
    }
}

#[test]
fn a_foot_that_trembles_on_the_border_is_one_stay() {
    let mut scene = Scene::new(200);
    scene.walk([500.0; 4]);
    let events = scene.walk((0..30).map(|i| if i % 3 == 0 { 597.0 } else { 603.0 }));
    assert!(events.iter().all(|e| e.rule != RuleKind::Enter && e.rule != RuleKind::Exit), "{events:?}");
    let mut outside = Scene::new(200);
    assert_eq!(outside.walk((0..30).map(|i| if i % 3 == 0 { 403.0 } else { 397.0 })), []);
}

#[test]
fn an_occlusion_inside_neither_ends_nor_restarts_the_stay() {
    let mut scene = Scene::new(200);
    assert_eq!(brief(&scene.walk([500.0; 4])), [(RuleKind::Enter, Phase::New)]);
    for _ in 0..14 {
        assert_eq!(scene.see(None), []);
    }
    let events = scene.walk([500.0, 500.0, 500.0, 700.0, 700.0, 700.0]);
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::End), (RuleKind::Exit, Phase::New)]);
    assert_eq!(events[0].dwell_ms, Some(21 * 200));
}

#[test]
fn a_track_lost_inside_ends_at_its_last_sight() {
    let mut scene = Scene::new(200);
    scene.walk([500.0; 6]);
    scene.see(None);
    let events = scene.lost();
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::End)]);
    assert_eq!(events[0].end, Some(UtcMillis(T0 + 1000)));
    assert_eq!(events[0].end_reason, Some(EndReason::TrackLost));
    assert_eq!(events[0].dwell_ms, Some(1000));
    assert_eq!(scene.lost(), [], "said once");
}

#[test]
fn a_track_that_vanishes_right_after_leaving_was_seen_to_leave() {
    let mut scene = Scene::new(200);
    scene.walk([500.0, 500.0, 500.0, 500.0, 610.0]);
    let events = scene.lost();
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::End), (RuleKind::Exit, Phase::New)]);
    assert!(events.iter().all(|e| e.end_reason == Some(EndReason::Observed)));
}

#[test]
fn closing_ends_everything_with_the_reason_given() {
    let mut scene = Scene::new(200);
    scene.walk([500.0; 60]);
    let events = close_all(&mut scene.rules, EndReason::CameraLost);
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::End), (RuleKind::Dwell, Phase::End)]);
    assert!(events.iter().all(|e| e.end_reason == Some(EndReason::CameraLost)));
    assert_eq!(close_all(&mut scene.rules, EndReason::Restart), []);
}

#[test]
fn classes_that_do_not_count_are_silent_until_the_vote_turns() {
    let mut scene = Scene::new(200);
    scene.label = "car";
    assert_eq!(scene.walk([500.0; 10]), []);
    scene.label = "truck";
    let events = scene.walk([500.0]);
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::New)]);
    assert_eq!(events[0].start, UtcMillis(T0));
}

#[test]
fn unconfirmed_tracks_are_never_reported() {
    let mut rules = rules();
    let mut scene = Scene::new(200);
    for _ in 0..10 {
        let track = scene.track(500.0, true, false);
        assert_eq!(update(&mut rules, scene.time(), &[track]), []);
        scene.frame += 1;
    }
    assert_eq!(close_all(&mut rules, EndReason::Restart), []);
}

#[test]
fn a_line_is_crossed_once_with_its_direction_and_the_time_at_which_it_was_reached() {
    let mut scene = Scene::new(200);
    let events = scene.walk([700., 740., 780., 820., 860., 900.]);
    assert_eq!(brief(&events), [(RuleKind::LineCross, Phase::New)]);
    assert_eq!(events[0].direction, Some(CrossDirection::LeftToRight));
    assert_eq!((events[0].start, events[0].end), (UtcMillis(T0 + 500), Some(UtcMillis(T0 + 500))));
    assert_eq!(events[0].dwell_ms, None);
}

#[test]
fn leaving_the_picture_right_behind_the_line_still_counts() {
    let mut scene = Scene::new(200);
    assert_eq!(scene.walk([700., 740., 780., 820.]), []);
    assert_eq!(brief(&scene.lost()), [(RuleKind::LineCross, Phase::New)]);
}

#[test]
fn an_implausible_jump_neither_crosses_nor_exits() {
    let mut scene = Scene::new(200);
    scene.size = 60.0;
    scene.walk([500.0; 5]);
    let events = scene.walk([900.0; 5]);
    assert_eq!(brief(&events), [(RuleKind::Enter, Phase::End)]);
    assert_eq!(events[0].end_reason, Some(EndReason::TrackLost));
    assert_eq!(events[0].end, Some(UtcMillis(T0 + 800)), "the last sight inside");
}

#[test]
fn at_one_frame_in_two_seconds_stays_and_crossings_are_found() {
    let mut scene = Scene::new(2000);
    let events = scene.walk([300., 500., 500., 500., 700., 850., 950.]);
    assert_eq!(
        brief(&events),
        [
            (RuleKind::Enter, Phase::New),
            (RuleKind::Enter, Phase::End),
            (RuleKind::Exit, Phase::New),
            (RuleKind::LineCross, Phase::New)
        ]
    );
    assert_eq!(events[1].dwell_ms, Some(6000));
}
