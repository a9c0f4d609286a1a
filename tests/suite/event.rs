//! From tracks to event messages and pictures: rules, life of events, schema and annotation together.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use gatewatch::camera::{CameraId, Frame, OwnedI420};
use gatewatch::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use gatewatch::config::{CameraConfig, EventsConfig, Language, PicturesConfig, RegisterConfig, SiteConfig};
use gatewatch::customs::{
    Answer, Check, Checks, DeclKey, Link, LinkMethod, LinkOutcome, LinkRule, LinkScope, LinkState, LinkVerdict,
    Question, RegisterSnapshot, Sought,
};
use gatewatch::event::message::ModelRef;
use gatewatch::event::schema::event_schema;
use gatewatch::event::{Annotator, EventMessage, Finding, Lifecycle, LifecycleContext, Moment, RegisterView, Zone};
use gatewatch::geometry::{Point, Rect};
use gatewatch::ids::IdSource;
use gatewatch::rules::{AreaEvent, AreaId, AreaRules, EndReason, Phase, RuleKind};
use gatewatch::track::{PathPoint, Track, TrackId};

use crate::support::generated_file;

/// 2026-03-02T10:17:45.000+07:00
const T0: i64 = 1_772_421_465_000;
const INTERVAL_MS: i64 = 200;

fn camera() -> CameraConfig {
    serde_json::from_value(serde_json::json!({
        "id": "bay-cam", "name": "Camera bãi kiểm hóa số 1", "url": "rtsp://camera.invalid/1",
        "area": [{
            "id": "bay-1", "name": "Ô kiểm hóa 1", "kind": "inspection_bay",
            "polygon": [[0.25, 0.35], [0.7, 0.35], [0.78, 0.95], [0.2, 0.95]],
            "enter": {"severity": 1}, "exit": {"severity": 2}, "dwell": {"limit_s": 2.0, "severity": 3}
        }],
        "line": [{
            "id": "gate", "name": "Vạch ra cổng", "points": [[0.85, 0.95], [0.85, 0.3]], "severity": 4, "area": "bay-1"
        }]
    }))
    .expect("a valid camera")
}

fn link(verdict: LinkVerdict) -> LinkOutcome {
    let state = match verdict {
        LinkVerdict::Linked => LinkState::Linked,
        LinkVerdict::Proposed => LinkState::Proposed,
        LinkVerdict::Ambiguous | LinkVerdict::Unlinked => LinkState::Ambiguous,
    };
    let one = |key: &str, confidence| Link {
        decl_key: DeclKey(key.into()),
        amend_no: Some(0),
        method: LinkMethod::Booking,
        methods: vec![LinkMethod::Booking],
        sources: vec![format!("booking:booking-{key}")],
        container: None,
        scope: LinkScope::Container,
        confidence,
        state,
        booking_id: Some(format!("booking-{key}")),
        containers: vec!["CSQU3054383".into()],
        channel: Some(3),
        declaration_known: true,
        reason: "the only booking of the area at this time".into(),
    };
    let links = match verdict {
        LinkVerdict::Unlinked => vec![],
        LinkVerdict::Ambiguous => vec![one("10000001234", 0.45), one("10000001245", 0.45)],
        LinkVerdict::Linked => vec![one("10000001234", 0.8)],
        LinkVerdict::Proposed => vec![one("10000001234", 0.4)],
    };
    LinkOutcome {
        verdict,
        rule: LinkRule::Margin,
        links,
        contradiction: None,
        tips: vec![],
        reason: "by booking".into(),
        feed_age_s: Some(35),
        feed_stale: false,
    }
}

/// One box driving; frames of one colour unless a picture is given.
struct Scene {
    rules: AreaRules,
    life: Lifecycle,
    planes: Arc<OwnedI420>,
    size: (u32, u32),
    number: u64,
    path: VecDeque<PathPoint>,
    version: u64,
    verdict: LinkVerdict,
    score: f32,
}

impl Scene {
    fn new(size: (u32, u32), planes: OwnedI420) -> Self {
        Self::build(size, planes, EventsConfig { update_every_s: 5, ..EventsConfig::default() })
    }

    fn with_events(events: EventsConfig) -> Self {
        Self::build((640, 360), OwnedI420::filled(640, 360, 120, 128, 128), events)
    }

    fn build(size: (u32, u32), planes: OwnedI420, events: EventsConfig) -> Self {
        let context = LifecycleContext {
            site: SiteConfig::default(),
            camera: camera(),
            events,
            model: ModelRef { name: "gate.onnx".into(), sha256: "0123456789abcdef".repeat(4) },
            config_digest: "00112233aabbccdd".into(),
            ids: IdSource::counted(1),
        };
        Self {
            rules: AreaRules::new(&camera(), &Zone::new("Asia/Ho_Chi_Minh").unwrap(), &EventsConfig::default()),
            life: Lifecycle::new(context).unwrap(),
            planes: Arc::new(planes),
            size,
            number: 0,
            path: VecDeque::new(),
            version: 1,
            verdict: LinkVerdict::Unlinked,
            score: 0.5,
        }
    }

    fn grey() -> Self {
        Self::new((640, 360), OwnedI420::filled(640, 360, 120, 128, 128))
    }

    fn frame(&self) -> Frame {
        let ms = i64::try_from(self.number).unwrap() * INTERVAL_MS;
        let time = FrameTime {
            utc: UtcMillis(T0 + ms),
            mono: MonoMillis(ms),
            source: TimeSource::RtcpNtp,
            uncertainty_ms: 40,
            clock_offset_ms: Some(-12),
        };
        let (width, height) = self.size;
        let planes = self.planes.clone();
        let camera = CameraId("bay-cam".into());
        Frame { number: self.number, ..Frame::made(camera, time, (width, height), planes) }
    }

    /// One frame with the box's foot at `x` (fraction), or without any track.
    fn see(&mut self, x: Option<f32>) -> Vec<Finding> {
        let frame = self.frame();
        let tracks: Vec<Track> = x.map(|x| self.track(&frame, x)).into_iter().collect();
        let area_events = ask_nobody(frame.time.utc, |c| self.rules.update(self.size, frame.time, &tracks, c));
        let verdict = self.verdict;
        let linker = move |_: &Sought<'_>| link(verdict);
        let register = RegisterView { link: &linker, version: self.version };
        let now = UtcMillis(frame.time.utc.0 + 80);
        let moment = Moment { frame: &frame, tracks: &tracks, received: frame.time.mono, now };
        self.number += 1;
        self.life.step(&moment, area_events, &register)
    }

    fn track(&mut self, frame: &Frame, x: f32) -> Track {
        let (w, h) = (self.size.0 as f32, self.size.1 as f32);
        let rect = Rect { x0: (x - 0.12) * w, y0: 0.4 * h, x1: (x + 0.12) * w, y1: 0.8 * h };
        self.path.push_back(PathPoint { utc: frame.time.utc, foot: rect.foot() });
        Track {
            id: TrackId(ulid::Ulid::from_parts(1, 1)),
            label: "truck".into(),
            rect,
            score: self.score,
            median_score: self.score,
            matched: true,
            held: false,
            confirmed: true,
            first_seen: MonoMillis(0),
            last_seen: frame.time.mono,
            first_seen_utc: UtcMillis(T0),
            last_seen_utc: frame.time.utc,
            path: self.path.clone(),
        }
    }

    fn walk(&mut self, xs: impl IntoIterator<Item = f32>) -> Vec<Finding> {
        xs.into_iter().flat_map(|x| self.see(Some(x))).collect()
    }

    fn close(&mut self, reason: EndReason) -> Vec<Finding> {
        let verdict = self.verdict;
        let linker = move |_: &Sought<'_>| link(verdict);
        let register = RegisterView { link: &linker, version: self.version };
        let area_events = ask_nobody(UtcMillis(T0), |c| self.rules.close_all(reason, c));
        self.life.close(area_events, &register, MonoMillis(0), UtcMillis(T0))
    }
}

/// The rules ask a register that knows nothing.
fn ask_nobody<T>(now: UtcMillis, judge: impl FnOnce(&Checks<'_>) -> T) -> T {
    let (register, config) = (RegisterSnapshot::default(), RegisterConfig::default());
    judge(&Checks { register: &register, config: &config, now, uncertainty_ms: 40 })
}

fn of(findings: &[Finding], rule: RuleKind) -> Vec<&Finding> {
    findings.iter().filter(|f| f.event.data.rule == rule).collect()
}

fn phases(findings: &[&Finding]) -> Vec<(Phase, u32)> {
    findings.iter().map(|f| (f.event.data.phase, f.event.data.revision)).collect()
}

/// In, stays past the limit, out over the line: every rule, every phase.
fn whole_life(verdict: LinkVerdict) -> Vec<Finding> {
    let mut scene = Scene::grey();
    scene.verdict = verdict;
    let mut findings = scene.walk([0.1, 0.15, 0.3, 0.4]);
    findings.extend(scene.walk([0.5; 40]));
    findings.extend(scene.walk([0.6, 0.7, 0.78, 0.82, 0.9, 0.93, 0.95]));
    findings.extend(scene.see(None));
    findings
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn same_as_file(path: &str, value: &serde_json::Value) {
    generated_file(path, &(serde_json::to_string_pretty(value).unwrap() + "\n"));
}

#[test]
fn the_published_schema_is_the_generated_one() {
    let schema = event_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    same_as_file("config/schema/event.schema.json", &schema);
}

#[test]
fn every_phase_and_verdict_is_valid_and_mistakes_are_not() {
    let validator = jsonschema::validator_for(&event_schema()).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for verdict in [LinkVerdict::Linked, LinkVerdict::Proposed, LinkVerdict::Ambiguous, LinkVerdict::Unlinked] {
        for finding in whole_life(verdict) {
            let mut event = finding.event;
            event.data.sequence.seq = 1;
            let value = serde_json::to_value(&event).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?} in {value:#}");
            let back: EventMessage = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&back).unwrap(), value, "there and back");
            seen.insert((event.data.rule, event.data.phase, verdict));
            for (pointer, wrong) in [
                ("/specversion", serde_json::json!("0.3")),
                ("/type", serde_json::json!("gatewatch.event.loiter.v1")),
                ("/data/severity", serde_json::json!(5)),
                ("/data/object/score", serde_json::json!(1.5)),
                ("/data/config_digest", serde_json::json!("xyz")),
                ("/data/camera", serde_json::json!({"id": "c", "name": "c", "width": 1, "height": 1, "extra": 1})),
            ] {
                let mut bad = value.clone();
                *bad.pointer_mut(pointer).unwrap() = wrong;
                assert!(!validator.is_valid(&bad), "{pointer} must be refused");
            }
        }
    }
    assert_eq!(seen.len(), 4 * (3 + 3 + 1 + 1), "enter and dwell in three phases, the instants in one: {seen:?}");
}

#[test]
fn the_messages_of_one_visit_are_the_golden_ones() {
    let messages: Vec<EventMessage> = whole_life(LinkVerdict::Linked).into_iter().map(|f| f.event).collect();
    same_as_file("tests/data/event_visit.json", &serde_json::to_value(&messages).unwrap());
}

#[test]
fn a_visit_has_one_id_over_its_phases_and_instants_are_closed_at_once() {
    let findings = whole_life(LinkVerdict::Linked);
    let enter = of(&findings, RuleKind::Enter);
    let revisions = phases(&enter);
    assert_eq!((revisions[0], revisions.last().unwrap().0), ((Phase::New, 1), Phase::End));
    assert!(revisions.windows(2).all(|w| w[1].1 == w[0].1 + 1), "{revisions:?}");
    assert!(enter.iter().all(|f| f.event.id == enter[0].event.id));
    assert_eq!(enter[0].event.kind, "gatewatch.event.enter.v1");
    assert_eq!(enter[0].event.subject, "decl/10000001234");
    assert_eq!(enter[0].event.data.duty_day, "2026-03-02");
    for rule in [RuleKind::Exit, RuleKind::LineCross] {
        let instant = of(&findings, rule);
        assert_eq!(phases(&instant), [(Phase::New, 1)], "{rule:?}");
        let data = &instant[0].event.data;
        assert_eq!(data.capture.end, Some(data.capture.start));
        assert_eq!(data.end_reason, Some(EndReason::Observed));
        assert!(instant[0].event.kind.starts_with("gatewatch.alert."));
    }
    let picture_times =
        findings.iter().filter_map(|f| f.frame.as_ref().map(|p| (p.time.utc, f.event.data.capture.best)));
    assert!(picture_times.clone().count() > 4);
    picture_times.for_each(|(frame, best)| assert_eq!(frame, best, "box and picture are of one frame"));
}

#[test]
fn an_event_stays_with_its_thing_when_two_tracks_exchange_their_names() {
    let mut scene = Scene::grey();
    let [truck, other] = [1, 2].map(|n| TrackId(ulid::Ulid::from_parts(1, n)));
    let mut told = Vec::new();
    for i in 0..60 {
        let frame = scene.frame();
        let (in_area, beside) = if i < 10 { (truck, other) } else { (other, truck) };
        let tracks = vec![
            Track { id: in_area, ..scene.track(&frame, 0.5) },
            Track {
                id: beside,
                label: "person".into(),
                rect: Rect::from([5.0, 20.0, 25.0, 80.0]),
                ..scene.track(&frame, 0.5)
            },
        ];
        let area_events = ask_nobody(frame.time.utc, |c| scene.rules.update(scene.size, frame.time, &tracks, c));
        scene.life.exchange(scene.rules.exchanged());
        let linker = |_: &Sought<'_>| link(LinkVerdict::Unlinked);
        let register = RegisterView { link: &linker, version: 1 };
        let moment = Moment { frame: &frame, tracks: &tracks, received: frame.time.mono, now: frame.time.utc };
        scene.number += 1;
        told.extend(scene.life.step(&moment, area_events, &register));
    }
    let enter = of(&told, RuleKind::Enter);
    let said: Vec<_> =
        enter.iter().map(|f| (f.event.data.object.label.as_str(), f.event.data.implausible_jump)).collect();
    assert!(said.len() > 1 && said[0] == ("truck", false), "{said:?}");
    assert!(said[1..].iter().all(|s| *s == ("truck", true)), "{said:?}");
    assert_eq!(enter.last().unwrap().event.data.object.track_id, other);
}

#[test]
fn who_leaves_is_linked_by_when_it_came() {
    let mut scene = Scene::grey();
    let asked = std::cell::RefCell::new(Vec::new());
    let mut went = Vec::new();
    for x in [0.1, 0.15, 0.3, 0.4, 0.5, 0.5, 0.5, 0.6, 0.7, 0.78, 0.82, 0.9, 0.93, 0.95] {
        let frame = scene.frame();
        let tracks = vec![scene.track(&frame, x)];
        let area_events = ask_nobody(frame.time.utc, |c| scene.rules.update(scene.size, frame.time, &tracks, c));
        let linker = |sought: &Sought<'_>| {
            let (start, end) = (sought.start, sought.end);
            asked.borrow_mut().push((start, end));
            link(LinkVerdict::Unlinked)
        };
        let register = RegisterView { link: &linker, version: 1 };
        let moment = Moment { frame: &frame, tracks: &tracks, received: frame.time.mono, now: frame.time.utc };
        scene.number += 1;
        went.extend(scene.life.step(&moment, area_events, &register));
    }
    let data = &of(&went, RuleKind::Exit)[0].event.data;
    let came = data.capture.start.plus_ms(-data.dwell_ms.unwrap());
    assert!(data.dwell_ms.unwrap() >= 4 * INTERVAL_MS, "{:?}", data.dwell_ms);
    assert!(asked.borrow().contains(&(came, Some(data.capture.start))), "{:?}", asked.borrow());
    assert!(!asked.borrow().contains(&(data.capture.start, Some(data.capture.start))), "not by the moment of leaving");
}

#[test]
fn a_link_that_changes_is_said_once_and_a_new_version_alone_is_not() {
    let mut scene = Scene::grey();
    scene.walk([0.5; 4]);
    scene.version += 1;
    assert!(scene.see(Some(0.5)).is_empty(), "a new version that changes nothing here");
    scene.version += 1;
    scene.verdict = LinkVerdict::Linked;
    let findings = scene.see(Some(0.5));
    assert_eq!(phases(&findings.iter().collect::<Vec<_>>()), [(Phase::Update, 2)]);
    assert_eq!(findings[0].event.subject, "decl/10000001234");
    assert!(findings[0].frame.is_some(), "a picture with the declaration on it");
    assert!(scene.see(Some(0.5)).is_empty());
}

#[test]
fn a_clearly_better_picture_is_an_update_but_not_at_once() {
    let mut scene = Scene::grey();
    scene.walk([0.5; 4]);
    scene.score = 0.9;
    let later = scene.walk([0.5; 16]);
    let updates: Vec<_> = of(&later, RuleKind::Enter);
    assert_eq!(phases(&updates), [(Phase::Update, 2)]);
    assert!((updates[0].event.data.object.score - 0.9).abs() < 1e-6);
    let sent_after = updates[0].event.data.capture.best.since(UtcMillis(T0 + 400));
    assert!(sent_after >= 3000, "{sent_after} ms");
}

#[test]
fn a_lost_camera_ends_every_lasting_event_at_the_last_sight() {
    let mut scene = Scene::grey();
    scene.walk([0.5; 12]);
    assert_eq!(scene.life.open_events(), 2);
    let findings = scene.close(EndReason::CameraLost);
    assert_eq!((findings.len(), scene.life.open_events()), (2, 0));
    for finding in &findings {
        let data = &finding.event.data;
        assert_eq!((data.phase, data.end_reason), (Phase::End, Some(EndReason::CameraLost)));
        assert_eq!(data.capture.end, Some(UtcMillis(T0 + 11 * INTERVAL_MS)));
        assert!(finding.frame.is_none());
    }
}

#[test]
fn a_crossing_certain_only_after_the_track_is_gone_shows_its_last_sight() {
    let mut scene = Scene::grey();
    scene.walk([0.72, 0.78, 0.82, 0.88]);
    let findings = scene.see(None);
    let crossing = of(&findings, RuleKind::LineCross);
    assert_eq!(phases(&crossing), [(Phase::New, 1)]);
    let frame = crossing[0].frame.as_ref().expect("the frame of the last sight");
    assert_eq!(frame.time.utc, crossing[0].event.data.capture.best);
    assert_eq!(frame.number, 3);
}

/// What a rule says, by hand: about the box at the middle in the first frame.
fn said(rule: RuleKind, phase: Phase, key: u64, at_ms: i64) -> AreaEvent {
    AreaEvent {
        key,
        rule,
        severity: 3,
        area: AreaId("bay-1".into()),
        track: TrackId(ulid::Ulid::from_parts(1, 1)),
        label: "truck".into(),
        rect: Rect { x0: 240.0, y0: 144.0, x1: 400.0, y1: 288.0 },
        score: 0.5,
        phase,
        quiet: false,
        start: UtcMillis(T0),
        at: UtcMillis(T0 + at_ms),
        end: (phase == Phase::End).then_some(UtcMillis(T0 + at_ms)),
        end_reason: (phase == Phase::End).then_some(EndReason::Observed),
        dwell_ms: Some(at_ms),
        direction: None,
        check: None,
        count: None,
        suppressed: 0,
        jumped: false,
        crossed: Vec::new(),
        mono: MonoMillis(at_ms),
    }
}

/// One frame with the box and these reports of the rules.
fn tell(scene: &mut Scene, events: Vec<AreaEvent>) -> Vec<Finding> {
    let frame = scene.frame();
    let tracks = vec![scene.track(&frame, 0.5)];
    let verdict = scene.verdict;
    let linker = move |_: &Sought<'_>| link(verdict);
    let register = RegisterView { link: &linker, version: scene.version };
    let moment = Moment { frame: &frame, tracks: &tracks, received: frame.time.mono, now: frame.time.utc };
    scene.number += 1;
    scene.life.step(&moment, events, &register)
}

fn assert_valid(findings: &[Finding]) {
    let validator = jsonschema::validator_for(&event_schema()).unwrap();
    for finding in findings {
        let mut event = finding.event.clone();
        event.data.sequence.seq = 1;
        let value = serde_json::to_value(&event).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {value:#}");
        assert_eq!(serde_json::from_value::<EventMessage>(value).unwrap(), event, "there and back");
    }
}

fn check(answer: Answer) -> Check {
    Check { question: Question::InspectionOpen, answer, feed_age_s: Some(700), basis: vec!["the feed is stale".into()] }
}

#[test]
fn the_messages_of_every_rule_are_valid_and_have_words_in_both_languages() {
    let mut texts = std::collections::BTreeSet::new();
    for rule in RuleKind::ALL {
        let mut scene = Scene::grey();
        let new = AreaEvent { check: Some(check(Answer::No)), count: Some(3), ..said(rule, Phase::New, 7, 0) };
        let mut findings = tell(&mut scene, vec![new]);
        findings.extend(tell(&mut scene, vec![AreaEvent { jumped: true, ..said(rule, Phase::End, 7, 200) }]));
        assert_eq!(phases(&findings.iter().collect::<Vec<_>>()), [(Phase::New, 1), (Phase::End, 2)], "{rule:?}");
        assert_valid(&findings);
        let data = &findings[1].event.data;
        assert!(data.implausible_jump && data.count == Some(3) && data.check.is_some());
        for language in [Language::Vi, Language::En] {
            let drawn = annotator(language, 500_000).draw(findings[0].frame.as_ref().unwrap(), &findings[0].event);
            texts.insert(drawn.unwrap().annotated_jpeg);
        }
    }
    assert_eq!(texts.len(), 2 * RuleKind::ALL.len(), "no two pictures say the same");
    let page = std::fs::read_to_string(repository().join("src/desk/page/app.js")).unwrap();
    for rule in RuleKind::ALL {
        let named = page.matches(&format!(" {}: \"", rule.as_str())).count();
        assert!(named >= 2, "{rule:?} on the page, in both languages");
    }
}

#[test]
fn a_new_answer_is_said_at_once_with_its_severity_and_moves_the_event_to_the_alerts() {
    let mut scene = Scene::grey();
    let unknown = AreaEvent {
        severity: 1,
        check: Some(check(Answer::Unknown)),
        ..said(RuleKind::PersonWithoutInspection, Phase::New, 7, 0)
    };
    let mut findings = tell(&mut scene, vec![unknown]);
    let no =
        AreaEvent { check: Some(check(Answer::No)), ..said(RuleKind::PersonWithoutInspection, Phase::Update, 7, 200) };
    findings.extend(tell(&mut scene, vec![no]));
    let kinds: Vec<_> = findings.iter().map(|f| (f.event.kind.as_str(), f.event.data.severity)).collect();
    let kind = |class: &str| format!("gatewatch.{class}.person_without_inspection.v1");
    assert_eq!(kinds, [(kind("event").as_str(), 1), (kind("alert").as_str(), 3)]);
    assert_eq!(findings[1].event.id, findings[0].event.id);
    assert!(findings[1].frame.is_some(), "with a picture of now");
    assert_valid(&findings);
}

#[test]
fn repeats_are_counted_quietly_and_said_with_the_next_message() {
    let mut scene = Scene::grey();
    let mut findings = tell(&mut scene, vec![said(RuleKind::Restricted, Phase::New, 7, 0)]);
    let more = AreaEvent { quiet: true, suppressed: 2, ..said(RuleKind::Restricted, Phase::Update, 7, 200) };
    assert!(tell(&mut scene, vec![more]).is_empty());
    findings
        .extend(tell(&mut scene, vec![AreaEvent { suppressed: 2, ..said(RuleKind::Restricted, Phase::End, 7, 400) }]));
    assert_eq!(findings.iter().map(|f| f.event.data.suppressed).collect::<Vec<_>>(), [0, 2]);
    assert_valid(&findings);
}

#[test]
fn the_rate_limit_keeps_back_whole_events_but_never_a_critical_one() {
    let mut scene = Scene::with_events(EventsConfig { max_per_minute: 2, ..EventsConfig::default() });
    let new = |key: u64, severity: u8| AreaEvent { severity, ..said(RuleKind::Restricted, Phase::New, key, 0) };
    let findings = tell(&mut scene, (0..5).map(|key| new(key, 3)).collect());
    assert_eq!((findings.len(), scene.life.open_events()), (2, 2));
    let findings = tell(&mut scene, vec![said(RuleKind::Restricted, Phase::End, 4, 200)]);
    assert!(findings.is_empty(), "what was never begun never ends");
    let raised = AreaEvent { severity: 4, ..said(RuleKind::Restricted, Phase::Update, 3, 400) };
    let findings = tell(&mut scene, vec![new(9, 4), raised]);
    let said: Vec<_> = findings.iter().map(|f| (f.event.data.phase, f.event.data.rate_limited)).collect();
    assert_eq!(said, [(Phase::New, 3), (Phase::New, 0)], "and what became critical begins late, but begins");
    assert_valid(&findings);
}

#[test]
fn what_lasts_and_was_kept_back_is_said_when_there_is_room() {
    let mut scene = Scene::with_events(EventsConfig { max_per_minute: 1, ..EventsConfig::default() });
    let new = |key: u64| AreaEvent { severity: 3, ..said(RuleKind::Restricted, Phase::New, key, 0) };
    assert_eq!(tell(&mut scene, vec![new(1), new(2), new(3)]).len(), 1);
    let over = said(RuleKind::Restricted, Phase::End, 3, 200);
    let more = AreaEvent { quiet: true, suppressed: 2, ..said(RuleKind::Restricted, Phase::Update, 2, 200) };
    assert!(tell(&mut scene, vec![over, more]).is_empty(), "what was never begun never ends");
    let mut late = Vec::new();
    while late.is_empty() && scene.number < 400 {
        late = tell(&mut scene, Vec::new()).into_iter().filter(|f| f.event.data.phase == Phase::New).collect();
    }
    assert_eq!((late.len(), scene.life.open_events()), (1, 2));
    let data = &late[0].event.data;
    assert_eq!(data.capture.start, UtcMillis(T0), "it began when it began");
    assert_eq!((data.suppressed, data.rate_limited), (2, 2));
    let lasted = data.dwell_ms.unwrap();
    assert!((60_000..61_000).contains(&lasted), "within a second of there being room: {lasted}");
    assert!(late[0].frame.is_some());
    assert_valid(&late);
}

#[test]
fn lesser_events_keep_no_greater_one_back() {
    let mut scene = Scene::with_events(EventsConfig { max_per_minute: 2, ..EventsConfig::default() });
    let instant = |key: u64, severity: u8| AreaEvent {
        severity,
        end: Some(UtcMillis(T0)),
        end_reason: Some(EndReason::Observed),
        ..said(RuleKind::Exit, Phase::New, key, 0)
    };
    let all = [1, 1, 1, 2, 2, 2, 3, 1].into_iter().enumerate();
    let findings = tell(&mut scene, all.map(|(i, severity)| instant(i as u64, severity)).collect());
    assert_eq!(findings.iter().map(|f| f.event.data.severity).collect::<Vec<_>>(), [1, 1, 2, 2, 3]);
}

#[test]
fn a_thing_long_gone_is_shown_at_its_place_in_the_picture_of_now() {
    let mut scene = Scene::grey();
    let gone = AreaEvent {
        track: TrackId(ulid::Ulid::from_parts(9, 9)),
        label: "container".into(),
        end: Some(UtcMillis(T0)),
        end_reason: Some(EndReason::Observed),
        ..said(RuleKind::ObjectRemoved, Phase::New, 7, 0)
    };
    let findings = tell(&mut scene, vec![gone]);
    let data = &findings[0].event.data;
    assert_eq!((data.object.label.as_str(), data.object.box_px.x0), ("container", 240.0));
    assert_eq!(findings[0].frame.as_ref().unwrap().number, 0);
    assert_eq!(scene.life.open_events(), 0);
    assert_valid(&findings);
}

#[test]
fn an_event_of_a_track_that_nobody_remembers_is_said_with_the_picture_of_now() {
    let mut scene = Scene::grey();
    let unknown = TrackId(ulid::Ulid::from_parts(9, 9));
    let findings = tell(&mut scene, vec![AreaEvent { track: unknown, ..said(RuleKind::Occupancy, Phase::New, 7, 0) }]);
    assert_eq!((findings.len(), scene.life.open_events()), (1, 1));
    assert!(findings[0].frame.is_some());
    assert_valid(&findings);
}

#[test]
fn what_is_certain_only_when_the_camera_is_lost_is_not_kept_back() {
    let mut scene = Scene::with_events(EventsConfig { max_per_minute: 1, ..EventsConfig::default() });
    let new = |key: u64| AreaEvent { severity: 3, ..said(RuleKind::Restricted, Phase::New, key, 0) };
    assert_eq!(tell(&mut scene, vec![new(1), new(2)]).len(), 1);
    let bay = || AreaId("bay-1".into());
    assert_eq!(scene.life.take_unsaid().keys().cloned().collect::<Vec<_>>(), [bay()]);
    let exit = AreaEvent {
        end: Some(UtcMillis(T0 + 200)),
        end_reason: Some(EndReason::Observed),
        ..said(RuleKind::Exit, Phase::New, 9, 200)
    };
    let over = [1, 2].map(|key| said(RuleKind::Restricted, Phase::End, key, 200));
    let linker = |_: &Sought<'_>| link(LinkVerdict::Unlinked);
    let register = RegisterView { link: &linker, version: 1 };
    let closing = [vec![exit], over.into()].concat();
    let last = scene.life.close(closing, &register, MonoMillis(200), UtcMillis(T0 + 200));
    let told: Vec<_> = last.iter().map(|f| (f.event.data.rule, f.event.data.phase)).collect();
    assert_eq!(told, [(RuleKind::Exit, Phase::New), (RuleKind::Restricted, Phase::End)]);
    assert!(scene.life.take_unsaid().is_empty(), "of the time after it nobody says anything");
    assert!(tell(&mut scene, vec![new(3)]).is_empty(), "and pictures count as before");
    assert_valid(&last);
}

#[test]
fn what_waits_to_be_said_stays_with_its_thing_when_names_are_exchanged() {
    let mut scene = Scene::with_events(EventsConfig { max_per_minute: 1, ..EventsConfig::default() });
    let other = TrackId(ulid::Ulid::from_parts(1, 2));
    let new = |key: u64| AreaEvent { severity: 3, ..said(RuleKind::Restricted, Phase::New, key, 0) };
    assert_eq!(tell(&mut scene, vec![new(1), AreaEvent { track: other, ..new(2) }]).len(), 1);
    scene.life.exchange(&[(other, TrackId(ulid::Ulid::from_parts(1, 1)))]);
    let mut late = Vec::new();
    while late.is_empty() && scene.number < 400 {
        late = tell(&mut scene, Vec::new()).into_iter().filter(|f| f.event.data.phase == Phase::New).collect();
    }
    let data = &late[0].event.data;
    assert_eq!((data.object.track_id, data.implausible_jump), (TrackId(ulid::Ulid::from_parts(1, 1)), true));
}

fn annotator(language: Language, max_published_bytes: u32) -> Annotator {
    let pictures = PicturesConfig { max_published_bytes, ..PicturesConfig::default() };
    Annotator::new(&pictures, &SiteConfig { language, ..SiteConfig::default() }, &[]).unwrap()
}

/// Studio-range BT.601 planes of a picture.
fn to_i420(picture: &image::RgbImage) -> OwnedI420 {
    let (w, h) = picture.dimensions();
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let yuv = |x: u32, y: u32| {
        let [r, g, b] = picture.get_pixel(x.min(w - 1), y.min(h - 1)).0.map(f32::from);
        let luma = 16.0 + 0.257 * r + 0.504 * g + 0.098 * b;
        (luma, 128.0 - 0.148 * r - 0.291 * g + 0.439 * b, 128.0 + 0.439 * r - 0.368 * g - 0.071 * b)
    };
    let mut data: Vec<u8> = (0..h).flat_map(|y| (0..w).map(move |x| yuv(x, y).0 as u8)).collect();
    data.extend((0..ch).flat_map(|y| (0..cw).map(move |x| yuv(2 * x, 2 * y).1 as u8)));
    data.extend((0..ch).flat_map(|y| (0..cw).map(move |x| yuv(2 * x, 2 * y).2 as u8)));
    OwnedI420::new(w, h, data).unwrap()
}

fn noise(width: u32, height: u32) -> OwnedI420 {
    let mut state = 1u32;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    OwnedI420::new(width, height, bytes.take(OwnedI420::bytes(width as usize, height as usize)).collect()).unwrap()
}

#[test]
fn the_annotated_picture_holds_its_limit_and_the_clean_one_its_size() {
    let mut scene = Scene::new((960, 540), noise(960, 540));
    let findings = scene.walk([0.5; 4]);
    let (frame, event) = (findings[0].frame.as_ref().unwrap(), &findings[0].event);
    for limit in [60_000, 200_000] {
        let pictures = annotator(Language::Vi, limit).draw(frame, event).unwrap();
        assert!(pictures.annotated_jpeg.len() <= limit as usize, "{} > {limit}", pictures.annotated_jpeg.len());
        let clean = image::load_from_memory(&pictures.clean_jpeg).unwrap();
        assert_eq!((clean.width(), clean.height()), (960, 540));
        image::load_from_memory(&pictures.annotated_jpeg).unwrap();
    }
}

#[test]
fn box_and_outline_are_drawn_where_the_message_says() {
    let mut scene = Scene::grey();
    let findings = scene.walk([0.5; 4]);
    let (frame, event) = (findings[0].frame.as_ref().unwrap(), &findings[0].event);
    let pictures = annotator(Language::En, 500_000).draw(frame, event).unwrap();
    let clean = image::load_from_memory(&pictures.clean_jpeg).unwrap().to_rgb8();
    let drawn = image::load_from_memory(&pictures.annotated_jpeg).unwrap().to_rgb8();
    let bar = drawn.height() - clean.height();
    assert!(bar > 40 && bar < 120, "{bar}");
    let differs = |p: Point| {
        let (x, y) = ((p.x * 640.0) as u32, (p.y * 360.0) as u32);
        let (a, b) = (clean.get_pixel(x, y).0, drawn.get_pixel(x, y + bar).0);
        a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>() > 40
    };
    let area_corner = Point { x: 0.475, y: 0.35 };
    let box_side = Point { x: event.data.object.box_frac.x0, y: 0.6 };
    assert!(differs(area_corner) && differs(box_side));
    assert!(!differs(Point { x: 0.05, y: 0.5 }), "the rest is left alone");
}

#[test]
fn a_privacy_mask_blackens_the_published_picture_and_not_the_kept_one() {
    let mut camera = camera();
    let mask = serde_json::json!({"id": "booth", "kind": "privacy_mask",
        "polygon": [[0.0, 0.0], [0.15, 0.0], [0.15, 0.2], [0.0, 0.2]]});
    camera.areas.push(serde_json::from_value(mask).unwrap());
    let annotator = Annotator::new(&PicturesConfig::default(), &SiteConfig::default(), &[camera]).unwrap();
    let mut scene = Scene::grey();
    let findings = scene.walk([0.5; 4]);
    let pictures = annotator.draw(findings[0].frame.as_ref().unwrap(), &findings[0].event).unwrap();
    let clean = image::load_from_memory(&pictures.clean_jpeg).unwrap().to_rgb8();
    let drawn = image::load_from_memory(&pictures.annotated_jpeg).unwrap().to_rgb8();
    let bar = drawn.height() - clean.height();
    let light = |p: &image::Rgb<u8>| p.0.iter().map(|v| u32::from(*v)).sum::<u32>();
    assert!(light(drawn.get_pixel(20, bar + 20)) < 30 && light(clean.get_pixel(20, 20)) > 200);
    assert!(light(drawn.get_pixel(20, bar + 120)) > 200, "only the mask");
    let (w, h) = (clean.width() * 15 / 100, clean.height() * 20 / 100);
    let shown =
        (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).find(|(x, y)| light(drawn.get_pixel(*x, bar + y)) > 60);
    assert_eq!(shown, None, "up to the edge");
}

/// Writes annotated pictures of a real photo for people to look at.
#[test]
fn pictures_to_look_at() {
    let (Some(assets), Some(out)) = (std::env::var_os("GATEWATCH_ASSETS"), std::env::var_os("GATEWATCH_PICTURES"))
    else {
        println!("skipped: GATEWATCH_ASSETS and GATEWATCH_PICTURES are not both set");
        return;
    };
    let photo = PathBuf::from(assets).join("labelled/coco128/images/000000000061.jpg");
    let photo = image::open(photo).unwrap();
    for (w, h, verdict, language) in [
        (960, 540, LinkVerdict::Linked, Language::Vi),
        (1920, 1080, LinkVerdict::Ambiguous, Language::Vi),
        (640, 360, LinkVerdict::Unlinked, Language::En),
    ] {
        let filled = photo.resize_to_fill(w, h, image::imageops::FilterType::Triangle).to_rgb8();
        let mut scene = Scene::new((w, h), to_i420(&filled));
        scene.verdict = verdict;
        let mut findings = scene.walk(std::iter::repeat_n(0.5, 14));
        findings.extend(scene.walk([0.6, 0.7, 0.78, 0.82, 0.9, 0.93, 0.95]));
        for finding in findings {
            let Some(frame) = &finding.frame else { continue };
            let pictures = annotator(language, 524_288).draw(frame, &finding.event).unwrap();
            let name = format!("{w}-{}.jpg", finding.event.data.rule.as_str());
            std::fs::write(PathBuf::from(&out).join(name), pictures.annotated_jpeg).unwrap();
        }
    }
}

#[test]
fn the_topics_document_names_every_topic_and_the_schema() {
    let text = std::fs::read_to_string(repository().join("config/schema/asyncapi.yaml")).unwrap();
    let base = "gatewatch/v1/{office}/{box}";
    let topics = ["state", "birth", "camera/{camera}/state", "event", "alert", "snapshot/{event_id}", "cmd/{name}"];
    for topic in topics.into_iter().chain(["in/declaration", "in/booking"]) {
        assert!(text.contains(&format!("address: {base}/{topic}\n")), "{topic} is missing");
    }
    assert!(text.contains("./event.schema.json"));
}
