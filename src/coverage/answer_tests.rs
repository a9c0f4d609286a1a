//! Tests of the folding: intervals against a moment-by-moment count.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::coverage::{AreaView, AreaViews};

fn interval(number: i64, from: i64, to: i64, look: Look, areas: &Arc<AreaViews>) -> Interval {
    let span = Span { from: UtcMillis(from), to: UtcMillis(to) };
    Interval { camera: CameraId("c".into()), session: 1, number, span, look, areas: Arc::clone(areas) }
}

fn watched() -> Look {
    Look::Watched { interval_ms: 200, pictures: 3 }
}

fn views(blind: Option<BlindReason>) -> Arc<AreaViews> {
    Arc::new(AreaViews::from([(AreaId("bay".into()), AreaView { blind, unseen: 0.1 })]))
}

fn span(from: i64, to: i64) -> Span {
    Span { from: UtcMillis(from), to: UtcMillis(to) }
}

#[test]
fn the_time_asked_about_is_answered_to_its_ends() {
    let views = views(None);
    let all = [
        interval(1, 100, 500, watched(), &views),
        interval(2, 500, 700, Look::Blind(BlindReason::Signal), &views),
        interval(3, 700, 900, watched(), &views),
    ];
    let bay = AreaId("bay".into());
    let told = fold(&all, Some(&bay), span(0, 2000), Some(UtcMillis(900)));
    let watched: Vec<Span> = told.watched.iter().map(|w| w.span).collect();
    assert_eq!(watched, [span(100, 500), span(700, 900)]);
    let blind: Vec<(Span, BlindReason)> = told.blind.iter().map(|b| (b.span, b.reason)).collect();
    assert_eq!(
        blind,
        [
            (span(0, 100), BlindReason::NoRecord),
            (span(500, 700), BlindReason::Signal),
            (span(900, 2000), BlindReason::NotYet)
        ]
    );
    let whole = fold(&all, Some(&bay), span(150, 450), Some(UtcMillis(900)));
    let answer = |seen: Coverage| Answer::new(CameraId("c".into()), Some(bay.clone()), span(150, 450), vec![], seen);
    assert_eq!((answer(whole).answer, answer(told).answer), (Verdict::No, Verdict::Blind));
    let other = fold(&all, Some(&AreaId("yard".into())), span(0, 900), None);
    assert!(other.watched.is_empty() && other.blind[1].reason == BlindReason::NotConfigured, "{other:?}");
}

#[test]
fn a_masked_area_is_blind_while_the_camera_is_watched() {
    let all = [interval(1, 0, 100, watched(), &views(Some(BlindReason::Privacy)))];
    let told = fold(&all, Some(&AreaId("bay".into())), span(0, 100), None);
    assert_eq!(told.blind, [Blind { span: span(0, 100), reason: BlindReason::Privacy }]);
    assert_eq!(fold(&all, None, span(0, 100), None).watched.len(), 1, "the camera as a whole is watched");
}

#[test]
fn a_gap_is_not_hidden_by_what_was_watched_before_under_a_clock_that_was_ahead() {
    let views = views(None);
    let all = [
        interval(1, 1000, 2000, watched(), &views),
        interval(2, 500, 1200, watched(), &views),
        interval(3, 1200, 1800, Look::Blind(BlindReason::Signal), &views),
    ];
    let told = fold(&all, None, span(500, 2000), Some(UtcMillis(2000)));
    assert_eq!(told.blind, [Blind { span: span(1200, 1800), reason: BlindReason::Signal }]);
    assert_eq!(told.watched.iter().map(|w| w.span).collect::<Vec<_>>(), [span(500, 1200), span(1800, 2000)]);
    let told = fold(&all, None, span(500, 2000), Some(UtcMillis(1800)));
    assert_eq!(told.blind[1], Blind { span: span(1800, 2000), reason: BlindReason::NotYet }, "by the clock of now");
}

proptest! {
    #[test]
    fn every_moment_is_told_once_and_the_later_word_wins(
        parts in prop::collection::vec((0i64..60, 0i64..40, 0u8..3), 0..14), from in 0i64..40, ms in 1i64..60,
    ) {
        let views = views(None);
        let looks = [watched(), Look::Blind(BlindReason::Signal), Look::Blind(BlindReason::Stall)];
        let all: Vec<Interval> = parts.iter().enumerate()
            .map(|(n, (from, ms, look))| interval(n as i64, *from, from + ms, looks[usize::from(*look)], &views)).collect();
        let asked = span(from, from + ms);
        let told = fold(&all, None, asked, None);
        for t in from..from + ms {
            let holds = |s: &Span| s.from.0 <= t && t < s.to.0;
            let here: Vec<&Interval> = all.iter().filter(|i| holds(&i.span)).collect();
            let expected = match here.last() {
                None => Some(BlindReason::NoRecord),
                Some(Interval { look: Look::Blind(reason), .. }) => Some(*reason),
                Some(_) => None,
            };
            prop_assert_eq!(told.watched.iter().filter(|w| holds(&w.span)).count(), usize::from(expected.is_none()));
            let blind: Vec<BlindReason> = told.blind.iter().filter(|b| holds(&b.span)).map(|b| b.reason).collect();
            prop_assert_eq!(blind, expected.into_iter().collect::<Vec<_>>());
        }
        prop_assert!(told.watched.windows(2).all(|w| w[0].span.to < w[1].span.from));
    }
}
