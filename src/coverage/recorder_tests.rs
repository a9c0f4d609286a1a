//! Tests of the recorder: what a camera does, second by second, against what is written of it.

use proptest::prelude::*;

use super::*;
use crate::clock::TimeSource;
use crate::coverage::answer::fold;
use crate::coverage::{AreaView, Coverage};
use crate::rules::AreaId;

const START: UtcMillis = UtcMillis(1_770_000_000_000);

fn at(ms: i64) -> FrameTime {
    skewed(ms, 0)
}

/// `ms` on the monotonic clock, with a wall clock that is `off` away.
fn skewed(ms: i64, off: i64) -> FrameTime {
    let (utc, mono) = (START.plus_ms(ms + off), MonoMillis(ms));
    FrameTime { utc, mono, source: TimeSource::Arrival, uncertainty_ms: 500, clock_offset_ms: None }
}

fn areas() -> Arc<AreaViews> {
    Arc::new(AreaViews::from([(AreaId("bay".into()), AreaView::default())]))
}

/// A camera, the box's clocks, and everything written.
struct Box {
    recorder: Recorder,
    areas: Arc<AreaViews>,
    written: Vec<Interval>,
    received: u64,
    decoded: u64,
    /// Health says that its pictures are worth nothing since then.
    unfit_since: Option<i64>,
}

impl Box {
    fn new() -> Self {
        Self::tolerating(1000)
    }

    fn tolerating(lull_ms: i64) -> Self {
        let areas = areas();
        let tolerated = Tolerated { any_ms: 1000, lull_ms };
        let recorder = Recorder::new(CameraId("c".into()), 1, tolerated, Arc::clone(&areas), START.plus_ms(-5000));
        Self { recorder, areas, written: Vec::new(), received: 0, decoded: 0, unfit_since: None }
    }

    fn analysed(&mut self, time: &FrameTime) {
        (self.received, self.decoded) = (self.received + 1, self.decoded + 1);
        self.recorder.analysed(time, None, &self.areas);
    }

    /// A picture before which units were left out since one at `since`, with none for so long at most.
    fn after_lull(&mut self, ms: i64, since: i64, silent_ms: i64) {
        (self.received, self.decoded) = (self.received + 1, self.decoded + 1);
        self.recorder.analysed(&at(ms), Some(Lull { since: MonoMillis(since), silent_ms }), &self.areas);
    }

    fn look(&mut self, ms: i64, state: CameraState) {
        self.look_with(ms, state, false);
    }

    fn look_with(&mut self, ms: i64, state: CameraState, model_failed: bool) {
        let unfit_since = self.unfit_since.map(|ms| START.plus_ms(ms));
        let situation = Situation { state, received: self.received, decoded: self.decoded, model_failed, unfit_since };
        self.recorder.look(START.plus_ms(ms), MonoMillis(ms), &situation);
    }

    /// As the keeper looks, with a wall clock that is `off` away.
    fn look_skewed(&mut self, ms: i64, off: i64, state: CameraState) {
        self.recorder.began(START.plus_ms(off));
        let (received, decoded) = (self.received, self.decoded);
        let situation = Situation { state, received, decoded, model_failed: false, unfit_since: None };
        self.recorder.look(START.plus_ms(ms + off), MonoMillis(ms), &situation);
    }

    /// Five pictures a second, and a look each second.
    fn run(&mut self, from_ms: i64, to_ms: i64) {
        for ms in (from_ms..to_ms).step_by(200) {
            self.analysed(&at(ms));
            if ms % 1000 == 0 {
                self.look(ms, CameraState::Running);
            }
        }
    }

    /// Writes, as the store does: what has the same number is replaced.
    fn write(&mut self) {
        let unsaved = self.recorder.unsaved();
        for interval in &unsaved {
            self.written.retain(|w| w.number != interval.number);
            self.written.push(interval.clone());
        }
        self.recorder.saved(&unsaved);
    }

    fn told(&mut self, from_ms: i64, to_ms: i64) -> Coverage {
        self.write();
        let asked = Span { from: START.plus_ms(from_ms), to: START.plus_ms(to_ms) };
        fold(&self.written, Some(&AreaId("bay".into())), asked, None)
    }
}

fn watched(c: &Coverage) -> Vec<(i64, i64)> {
    c.watched.iter().map(|w| (w.span.from.since(START), w.span.to.since(START))).collect()
}

fn blind(c: &Coverage) -> Vec<(i64, i64, BlindReason)> {
    c.blind.iter().map(|b| (b.span.from.since(START), b.span.to.since(START), b.reason)).collect()
}

#[test]
fn a_start_a_lost_camera_and_its_return() {
    let mut b = Box::new();
    b.look(0, CameraState::Connecting);
    b.run(1000, 10_000);
    b.look(11_000, CameraState::Running);
    b.write();
    b.look(12_000, CameraState::Lost);
    b.look(20_000, CameraState::Lost);
    b.run(21_000, 30_000);
    let told = b.told(-5000, 29_800);
    assert_eq!(watched(&told), [(1000, 9800), (21_000, 29_800)]);
    // The missing pictures were the first sign of the loss.
    assert_eq!(blind(&told), [(-5000, 1000, BlindReason::Restart), (9800, 21_000, BlindReason::Signal)]);
    assert_eq!(told.watched[0].interval_ms, 200);
    let summary = b.recorder.summary(START.plus_ms(29_800));
    assert!(summary.watched && summary.since == START.plus_ms(21_000), "{summary:?}");
    assert_eq!((summary.reason, summary.interval_ms, summary.last_hour), (None, Some(200), 0.0));
}

#[test]
fn reasons_follow_what_the_camera_and_the_model_do() {
    let mut b = Box::new();
    b.run(0, 5000);
    b.look_with(7000, CameraState::Running, true);
    b.look(9000, CameraState::Stalled);
    b.run(10_000, 15_000);
    // Pictures are decoded and not analysed.
    for ms in (15_000..20_000).step_by(1000) {
        (b.received, b.decoded) = (b.received + 20, b.decoded + 20);
        b.look(ms, CameraState::Running);
    }
    b.run(20_000, 25_000);
    for ms in (25_000..30_000).step_by(1000) {
        b.received += 20;
        b.look(ms, CameraState::Running);
    }
    let told = b.told(0, 29_000);
    let expected = [
        (4800, 9000, BlindReason::ModelFailed),
        (9000, 10_000, BlindReason::Stall),
        (14_800, 20_000, BlindReason::Overload),
        (24_800, 29_000, BlindReason::Decode),
    ];
    assert_eq!(blind(&told), expected);
}

#[test]
fn a_lost_camera_that_returns_without_being_analysed_is_not_lost_for_ever() {
    let mut b = Box::new();
    b.run(0, 5000);
    b.look(6000, CameraState::Lost);
    for ms in (10_000..20_000).step_by(1000) {
        (b.received, b.decoded) = (b.received + 20, b.decoded + 20);
        b.look(ms, CameraState::Running);
    }
    let told = b.told(0, 19_000);
    assert_eq!(blind(&told), [(4800, 15_000, BlindReason::Signal), (15_000, 19_000, BlindReason::Overload)]);
}

#[test]
fn a_loss_is_a_gap_where_keyframes_far_apart_are_none() {
    let mut b = Box::tolerating(15_000);
    b.run(0, 5000);
    b.look(6000, CameraState::Lost);
    b.run(12_000, 14_000);
    // Nobody looked in the time between, so only the pictures tell of it.
    b.analysed(&at(20_000));
    let told = b.told(0, 20_000);
    assert_eq!(watched(&told), [(0, 4800), (12_000, 13_800)]);
    assert_eq!(blind(&told)[0], (4800, 12_000, BlindReason::Signal));
}

#[test]
fn what_is_left_out_on_purpose_is_watched_and_what_is_missing_beside_it_is_not() {
    // Keyframes ten seconds apart, all looked at: no look, or a camera that seems to give nothing, makes a gap of it.
    let mut b = Box::tolerating(15_000);
    b.run(0, 1000);
    b.after_lull(10_800, 800, 40);
    b.look(15_000, CameraState::Running);
    b.after_lull(20_800, 10_800, 40);
    let told = b.told(0, 20_800);
    assert_eq!((watched(&told), told.watched[0].interval_ms), (vec![(0, 20_800)], 10_000));
    // One keyframe between was not looked at; the stream stood still; it is too long.
    for (since, silent_ms, at_ms) in [(26_800, 40, 30_800), (20_800, 8000, 30_800), (20_800, 40, 36_800)] {
        let mut b = Box::tolerating(15_000);
        b.run(18_000, 21_000);
        b.after_lull(at_ms, since, silent_ms);
        let told = b.told(18_000, at_ms);
        assert_eq!((watched(&told), told.blind_ms()), (vec![(18_000, 20_800)], at_ms - 20_800), "{since} {silent_ms}");
    }
}

#[test]
fn clocks_that_jump_are_not_believed() {
    let mut b = Box::new();
    b.run(0, 2000);
    b.analysed(&skewed(2000, 3_600_000));
    b.analysed(&skewed(2200, 3_600_000));
    b.analysed(&skewed(2400, 0));
    b.analysed(&skewed(2600, 0));
    let told = b.told(0, 3_700_000);
    assert_eq!(watched(&told), [(0, 1800), (2400, 2600), (3_602_000, 3_602_200)]);
    assert!(blind(&told).contains(&(2600, 3_602_000, BlindReason::Clock)), "{told:?}");
}

/// A box that began at zero with its clock behind, by which nobody watched since `from`. The run before watched from 200 s
/// before to three seconds before.
fn behind(from: i64) -> Box {
    let mut b = Box::new();
    let tolerated = Tolerated { any_ms: 1000, lull_ms: 1000 };
    b.recorder = Recorder::new(CameraId("c".into()), 1, tolerated, Arc::clone(&b.areas), START.plus_ms(from));
    b.recorder.doubt(vec![START.plus_ms(-3000), START.plus_ms(90_000_000)]);
    b.written.push(Interval {
        camera: CameraId("c".into()),
        session: 0,
        number: 1000,
        span: Span { from: START.plus_ms(-200_000), to: START.plus_ms(-3000) },
        look: Look::Watched { interval_ms: 200, pictures: 9 },
        areas: areas(),
    });
    b
}

const YEARS: i64 = -200_000_000_000;

#[test]
fn a_clock_that_was_behind_and_is_set_right_takes_back_nothing() {
    for (off, from) in [(YEARS, YEARS), (-60_000, -200_000)] {
        // Nothing is analysed before the clock is set.
        let mut b = behind(from);
        b.look_skewed(0, off, CameraState::Connecting);
        b.write();
        b.look_skewed(1000, off, CameraState::Lost);
        b.write();
        b.look_skewed(5000, 0, CameraState::Lost);
        b.run(8000, 10_000);
        let told = b.told(-200_000, 9800);
        assert_eq!(watched(&told), [(-200_000, -3000), (8000, 9800)], "{off}");
        assert_eq!(blind(&told), [(-3000, 8000, BlindReason::Signal)], "{off}");
        // Pictures are analysed, and the first after the clock was set comes before a look.
        let mut b = behind(from);
        b.look_skewed(0, off, CameraState::Connecting);
        b.write();
        for ms in (2000..=4000).step_by(200) {
            b.analysed(&skewed(ms, off));
        }
        b.look_skewed(4000, off, CameraState::Running);
        b.write();
        b.analysed(&at(4200));
        b.look_skewed(4200, 0, CameraState::Running);
        b.run(4400, 6000);
        let told = b.told(-200_000, 5800);
        assert_eq!(watched(&told), [(-200_000, -3000), (4200, 5800)], "{off}");
        assert_eq!(blind(&told), [(-3000, 4200, BlindReason::Clock)], "{off}");
        // The clock is set between two pictures, and the look comes first.
        let mut b = behind(from);
        b.analysed(&skewed(1000, off));
        b.look_skewed(1200, 0, CameraState::Running);
        b.look_skewed(3000, 0, CameraState::Lost);
        assert_eq!(blind(&b.told(-200_000, 3000)), [(-3000, 3000, BlindReason::Signal)], "{off}");
    }
}

#[test]
fn a_word_from_the_time_to_come_is_not_believed_while_the_clock_goes_on() {
    let mut b = behind(-200_000);
    for ms in (0..120_000).step_by(1000) {
        // Set by a second, which does not explain a minute.
        b.look_skewed(ms, if ms < 5000 { -60_000 } else { -59_000 }, CameraState::Connecting);
    }
    let told = b.told(-200_000, 60_000);
    assert_eq!(told.watched_ms(), 0, "{told:?}");
}

#[test]
fn other_areas_begin_another_interval() {
    let mut b = Box::new();
    b.run(0, 2000);
    b.areas = Arc::new(AreaViews::from([(
        AreaId("bay".into()),
        AreaView { blind: Some(BlindReason::Privacy), unseen: 1.0 },
    )]));
    b.run(2000, 4000);
    let told = b.told(0, 3800);
    assert_eq!(watched(&told), [(0, 1800)]);
    assert_eq!(blind(&told).last(), Some(&(2000, 3800, BlindReason::Privacy)));
}

#[test]
fn of_what_was_kept_back_nobody_says_that_nothing_happened() {
    let mut b = Box::new();
    let bay = AreaId("bay".into());
    b.areas =
        Arc::new(AreaViews::from([(bay.clone(), AreaView::default()), (AreaId("lane".into()), AreaView::default())]));
    b.run(0, 5000);
    b.write();
    // Said at 4800 to have begun at 4000 and to be kept back, until 8000.
    let unsaid = BTreeMap::from([(bay, START.plus_ms(4000))]);
    b.recorder.kept_back(&unsaid);
    for ms in (5000..8000).step_by(200) {
        b.analysed(&at(ms));
        b.recorder.kept_back(&unsaid);
        b.look(ms, CameraState::Running);
    }
    b.analysed(&at(8000));
    b.recorder.kept_back(&BTreeMap::new());
    b.run(8200, 10_000);
    b.look(10_000, CameraState::Lost);
    b.look(12_000, CameraState::Lost);
    let told = b.told(0, 12_000);
    assert_eq!((watched(&told), told.watched[0].interval_ms), (vec![(0, 4000), (8000, 9800)], 200));
    assert_eq!(blind(&told), [(4000, 8000, BlindReason::KeptBack), (9800, 12_000, BlindReason::Signal)]);
    let of = |area: Option<&str>| {
        let area = area.map(|a| AreaId(a.into()));
        fold(&b.written, area.as_ref(), Span { from: START, to: START.plus_ms(9800) }, None)
    };
    assert_eq!(watched(&of(Some("lane"))), [(0, 9800)]);
    assert_eq!(blind(&of(None)), [(4000, 8000, BlindReason::KeptBack)]);
    assert_eq!(b.recorder.summary(START.plus_ms(12_000)).reason, Some(BlindReason::Signal));
}

#[test]
fn what_was_analysed_of_a_covered_camera_is_not_watched() {
    let mut b = Box::new();
    // A gap, then covered since 12 s, which health says at 20 s; written all the while.
    b.run(0, 5000);
    b.write();
    b.look(6500, CameraState::Lost);
    b.run(8000, 20_000);
    b.write();
    b.unfit_since = Some(12_000);
    b.run(20_000, 30_000);
    let told = b.told(0, 29_000);
    assert_eq!(watched(&told), [(0, 4800), (8000, 9000)], "up to three seconds before it was noticed");
    assert_eq!(blind(&told), [(4800, 8000, BlindReason::Signal), (9000, 29_000, BlindReason::Health)]);
    let summary = b.recorder.summary(START.plus_ms(29_000));
    assert_eq!((summary.watched, summary.reason), (false, Some(BlindReason::Health)));
    // The connection is lost and comes back, and it is covered still; then it is not.
    b.look(31_000, CameraState::Lost);
    b.run(35_000, 40_000);
    b.unfit_since = None;
    b.look(40_000, CameraState::Running);
    b.run(40_000, 45_000);
    let told = b.told(29_000, 44_800);
    assert_eq!(watched(&told), [(40_000, 44_800)]);
    let reasons = [(29_000, 31_000, BlindReason::Health), (31_000, 35_000, BlindReason::Signal)];
    assert_eq!(blind(&told), [&reasons[..], &[(35_000, 40_000, BlindReason::Health)]].concat());
    assert_eq!(union_ms(b.recorder.hour.iter().copied().collect()), 5800, "of the hour too");
}

#[test]
fn what_health_finds_late_is_taken_back_over_gaps_and_far_pictures() {
    let mut b = Box::tolerating(15_000);
    b.run(0, 5000);
    b.look(6000, CameraState::Lost);
    b.run(8000, 10_000);
    for (at, since) in [(19_800, 9800), (29_800, 19_800)] {
        b.after_lull(at, since, 40);
    }
    b.write();
    // Pictures are ten seconds apart, so it may have been so since the one before.
    b.unfit_since = Some(12_000);
    b.look(30_000, CameraState::Running);
    let told = b.told(0, 30_000);
    assert_eq!(watched(&told), [(0, 2000)]);
    assert_eq!(blind(&told), [(2000, 30_000, BlindReason::Health)]);
    assert_eq!(union_ms(b.recorder.hour.iter().copied().collect()), 2000, "of the hour too");
}

#[test]
fn what_health_finds_while_a_gap_is_open_is_taken_back_too() {
    let mut b = Box::new();
    // Frozen since 12 s, which health says at 25 s, while pictures are decoded and not looked at in time.
    b.run(0, 20_000);
    for ms in (20_000..25_000).step_by(1000) {
        (b.received, b.decoded) = (b.received + 20, b.decoded + 20);
        b.look(ms, CameraState::Running);
    }
    b.write();
    b.unfit_since = Some(12_000);
    for ms in (25_000..30_000).step_by(1000) {
        (b.received, b.decoded) = (b.received + 20, b.decoded + 20);
        b.look(ms, CameraState::Running);
    }
    let told = b.told(0, 29_000);
    assert_eq!(watched(&told), [(0, 9000)]);
    let expected = [(9000, 19_800, BlindReason::Health), (19_800, 29_000, BlindReason::Overload)];
    assert_eq!(blind(&told), expected, "the gap has its own reason");
    assert_eq!(union_ms(b.recorder.hour.iter().copied().collect()), 9000, "of the hour too");
    // Another thing that is wrong began earlier still; then what began within the gap takes nothing back.
    b.unfit_since = Some(6000);
    b.look(30_000, CameraState::Running);
    assert_eq!(watched(&b.told(0, 30_000)), [(0, 3000)]);
    b.unfit_since = None;
    b.look(31_000, CameraState::Running);
    b.unfit_since = Some(25_000);
    b.look(32_000, CameraState::Running);
    assert_eq!(watched(&b.told(0, 32_000)), [(0, 3000)]);
}

#[test]
fn pictures_far_apart_before_a_gap_are_taken_back_as_far() {
    let mut b = Box::tolerating(15_000);
    b.run(0, 1000);
    b.after_lull(10_800, 800, 40);
    b.look(12_000, CameraState::Lost);
    b.unfit_since = Some(12_000);
    b.look(13_000, CameraState::Lost);
    assert_eq!(watched(&b.told(0, 13_000)), [(0, 2000)], "pictures were ten seconds apart");
}

#[test]
fn the_summary_counts_the_last_hour_down() {
    let mut b = Box::new();
    let hour = Span { from: START.plus_ms(-3_600_000), to: START };
    b.recorder.remember([hour]);
    let share = |b: &Box, ms: i64| b.recorder.summary(START.plus_ms(ms)).last_hour;
    assert_eq!((share(&b, 0), share(&b, 1_800_000)), (1.0, 0.5));
    b.run(0, 900_000);
    assert_eq!(share(&b, 900_000), 0.99, "rounded down: the newest picture is a little old");
}

proptest! {
    /// However pictures come, looks fall and writes happen: nothing is claimed that was not watched, nothing is forgotten,
    /// and a process that ends at any moment loses at most what was not written.
    #[test]
    fn only_what_was_watched_is_claimed(
        steps in prop::collection::vec((1i64..2600, any::<bool>(), 0u8..4), 1..80),
        killed in 0usize..80,
    ) {
        let mut b = Box::new();
        let (mut ms, mut pictures, mut at_kill) = (0, vec![], None);
        for (i, (step, analysed, what)) in steps.iter().enumerate() {
            ms += step;
            if *analysed {
                b.analysed(&at(ms));
                pictures.push(ms);
            }
            match what {
                0 => b.look(ms, CameraState::Running),
                1 => b.look(ms, CameraState::Lost),
                2 => b.write(),
                _ => {}
            }
            if i == killed {
                at_kill = Some(b.written.clone());
            }
        }
        let told = b.told(-5000, ms);
        let asked = Span { from: START.plus_ms(-5000), to: START.plus_ms(ms) };
        let at_kill = at_kill.map(|written| fold(&written, None, asked, None)).unwrap_or_default();
        for (from, to) in watched(&told).into_iter().chain(watched(&at_kill)) {
            let inside: Vec<i64> = pictures.iter().copied().filter(|p| (from..=to).contains(p)).collect();
            prop_assert!(inside.first() == Some(&from) && inside.last() == Some(&to), "{from}..{to}: {inside:?}");
            prop_assert!(inside.windows(2).all(|w| w[1] - w[0] <= 1000), "{inside:?}");
        }
        let sum: i64 = told.watched.iter().map(|w| w.span.ms()).chain(told.blind.iter().map(|b| b.span.ms())).sum();
        prop_assert_eq!(sum, ms + 5000);
        // Between looks pictures close enough to each other are never a gap.
        if steps.iter().all(|s| s.2 > 1) {
            for pair in pictures.windows(2).filter(|w| w[1] - w[0] <= 1000) {
                prop_assert!(watched(&told).iter().any(|(a, z)| *a <= pair[0] && *z >= pair[1]));
            }
        }
    }
}
