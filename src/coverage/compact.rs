//! Old intervals in fewer rows. Never claims more than before: what was watched only for moments between two gaps becomes
//! part of the gap, what was watched stays as it is.

use super::{Interval, Look};

/// Watched for less than this between two gaps is not worth a row when it is old, milliseconds.
const MOMENT_MS: i64 = 10_000;

/// What becomes of old intervals.
#[derive(Debug, Default, PartialEq)]
pub struct Compacted {
    /// Changed, to be written again.
    pub changed: Vec<Interval>,
    /// Part of another now, to be removed.
    pub gone: Vec<Interval>,
}

/// Joins neighbours of one camera, given in the order they were written.
#[must_use]
pub fn compact(intervals: Vec<Interval>) -> Compacted {
    let mut out = Compacted::default();
    let mut kept: Vec<(Interval, bool)> = Vec::new();
    let mut rest = intervals.into_iter().peekable();
    while let Some(next) = rest.next() {
        let between = |after: Option<&Interval>| {
            let blind = |i: &Interval| matches!(i.look, Look::Blind(_));
            kept.last().is_some_and(|(i, _)| blind(i) && i.span.to == next.span.from)
                && after.is_some_and(|i| blind(i) && i.span.from == next.span.to)
        };
        let moment = matches!(next.look, Look::Watched { .. }) && next.span.ms() < MOMENT_MS && between(rest.peek());
        match kept.last_mut().and_then(|(before, changed)| Some((joined(before, &next, moment)?, before, changed))) {
            Some((both, before, changed)) => {
                (*before, *changed) = (both, true);
                out.gone.push(next);
            }
            None => kept.push((next, false)),
        }
    }
    out.changed = kept.into_iter().filter(|(_, changed)| *changed).map(|(i, _)| i).collect();
    out
}

/// Both as one, where they say the same and touch. `moment`: the second is too short to be told.
fn joined(before: &Interval, next: &Interval, moment: bool) -> Option<Interval> {
    let touch = before.span.to == next.span.from && before.camera == next.camera && before.areas == next.areas;
    let look = match (before.look, next.look) {
        (Look::Blind(a), Look::Blind(b)) if a == b => before.look,
        (Look::Blind(_), Look::Watched { .. }) if moment => before.look,
        (Look::Watched { interval_ms: a, pictures: n }, Look::Watched { interval_ms: b, pictures: m }) => {
            Look::Watched { interval_ms: a.max(b), pictures: n + m }
        }
        _ => return None,
    };
    let mut both = before.clone();
    (both.span.to, both.look) = (next.span.to, look);
    touch.then_some(both)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::camera::CameraId;
    use crate::clock::UtcMillis;
    use crate::coverage::answer::fold;
    use crate::coverage::{AreaViews, BlindReason, Span};

    fn intervals(parts: &[(i64, Option<BlindReason>)]) -> Vec<Interval> {
        let mut at = 0;
        let each = parts.iter().enumerate().map(|(n, (ms, reason))| {
            let span = Span { from: UtcMillis(at), to: UtcMillis(at + ms) };
            at += ms;
            let watched = Look::Watched { interval_ms: 200, pictures: 5 };
            let look = reason.map_or(watched, Look::Blind);
            let (camera, areas) = (CameraId("c".into()), Arc::new(AreaViews::new()));
            Interval { camera, session: 1, number: n as i64 + 1, span, look, areas }
        });
        each.collect()
    }

    fn apply(before: &[Interval], done: &Compacted) -> Vec<Interval> {
        let gone = |i: &Interval| done.gone.iter().any(|g| g.number == i.number);
        let now = |i: &Interval| done.changed.iter().find(|c| c.number == i.number).unwrap_or(i).clone();
        before.iter().filter(|i| !gone(i)).map(now).collect()
    }

    #[test]
    fn a_flapping_camera_becomes_one_gap_and_long_watches_stay() {
        let (s, o) = (Some(BlindReason::Signal), Some(BlindReason::Overload));
        let before =
            intervals(&[(60_000, None), (5000, s), (900, None), (5000, s), (90_000, None), (1000, o), (500, None)]);
        let after = apply(&before, &compact(before.clone()));
        let told: Vec<(i64, bool)> =
            after.iter().map(|i| (i.span.ms(), matches!(i.look, Look::Watched { .. }))).collect();
        assert_eq!(told, [(60_000, true), (10_900, false), (90_000, true), (1000, false), (500, true)]);
    }

    proptest! {
        #[test]
        fn old_intervals_never_claim_more_than_before(parts in prop::collection::vec((1i64..20_000, 0u8..4), 1..40)) {
            let reasons = [None, Some(BlindReason::Signal), Some(BlindReason::Stall), None];
            let parts: Vec<_> = parts.into_iter().map(|(ms, k)| (ms, reasons[usize::from(k)])).collect();
            let before = intervals(&parts);
            let after = apply(&before, &compact(before.clone()));
            let all = Span { from: UtcMillis(0), to: before.last().unwrap().span.to };
            let (a, b) = (fold(&before, None, all, None), fold(&after, None, all, None));
            let ms = |c: &crate::coverage::Coverage| c.watched.iter().map(|w| w.span.ms()).sum::<i64>();
            prop_assert!(ms(&b) <= ms(&a));
            for w in &b.watched {
                prop_assert!(a.watched.iter().any(|v| v.span.from <= w.span.from && v.span.to >= w.span.to));
            }
            // What was watched for long is still told.
            for v in a.watched.iter().filter(|v| v.span.ms() >= MOMENT_MS) {
                prop_assert!(b.watched.iter().any(|w| v.span.from >= w.span.from && v.span.to <= w.span.to));
            }
            let blind = |c: &crate::coverage::Coverage| c.blind.iter().map(|w| w.span.ms()).sum::<i64>();
            prop_assert_eq!(ms(&b) + blind(&b), all.ms());
        }
    }
}
