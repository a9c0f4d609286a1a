//! What is missing of a time that was asked for, and why. Pure: the index's rows in, gaps out.

use serde::Serialize;

use crate::clock::UtcMillis;
use crate::store::{GapReason, Gone, Segment};

/// Less than this between what was asked and what was found is no gap, milliseconds: pictures come at intervals.
const TOLERANCE_MS: i64 = 1500;
/// A gap that the writer measured itself is told from here on.
const MEASURED_MS: i64 = 500;
/// Pictures of one connection are never further apart than this.
const LONGEST_STEP_MS: i64 = 10_000;

/// A time without footage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// From.
    pub from: UtcMillis,
    /// To.
    pub to: UtcMillis,
    /// `not_recorded`, `not_yet`, `restart`, `no_pictures`, `disk_behind`, `write_error`, `no_space`, `expired`, `quota`,
    /// `reserve`, `missing`, `other_coding`.
    pub reason: String,
}

/// Gaps of `from` to `to`. `segments`: those that overlap it, in order, with the times that are really in them.
/// `growing`: the end is still to come.
#[must_use]
pub fn gaps(segments: &[Segment], gone: &[Gone], from: UtcMillis, to: UtcMillis, growing: bool) -> Vec<Gap> {
    let mut out = Vec::new();
    let mut covered = from;
    let mut previous: Option<&Segment> = None;
    for segment in segments {
        if is_gap(previous, covered, segment, gone) {
            let reason = reason(covered, segment.from, gone, Some(segment));
            out.push(Gap { from: covered.min(segment.from), to: segment.from, reason });
        }
        covered = covered.max(segment.to);
        previous = Some(segment);
    }
    if to.since(covered) > TOLERANCE_MS {
        let reason = if growing { "not_yet".to_owned() } else { reason(covered, to, gone, None) };
        out.push(Gap { from: covered, to, reason });
    }
    out
}

fn is_gap(previous: Option<&Segment>, covered: UtcMillis, next: &Segment, gone: &[Gone]) -> bool {
    let distance = next.from.since(covered);
    if previous.is_none() {
        return distance > TOLERANCE_MS;
    }
    // The agent was not running, however short the times make it: never as if nothing were missing.
    if next.gap_reason == Some(GapReason::Restart) {
        return true;
    }
    let measured = next.gap_before_ms.unwrap_or(distance);
    let joined = measured == 0 && distance <= LONGEST_STEP_MS && !gone.iter().any(|g| overlaps(g, covered, next.from));
    !joined && (distance > TOLERANCE_MS || measured.min(distance) >= MEASURED_MS)
}

fn overlaps(gone: &Gone, from: UtcMillis, to: UtcMillis) -> bool {
    gone.from < to && gone.to > from
}

fn reason(from: UtcMillis, to: UtcMillis, gone: &[Gone], next: Option<&Segment>) -> String {
    if let Some(gone) = gone.iter().find(|g| overlaps(g, from, to)) {
        return gone.why.clone();
    }
    let told = next.and_then(|s| s.gap_reason).and_then(|r| serde_json::to_value(r).ok());
    told.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_else(|| "not_recorded".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{CameraId, Codec};
    use crate::clock::TimeSource;
    use crate::store::SegmentClass;

    fn segment(from: i64, to: i64, gap: Option<i64>, reason: Option<GapReason>) -> Segment {
        Segment {
            id: from,
            camera: CameraId("bay".into()),
            path: format!("{from}.mp4"),
            state: "kept".into(),
            class: SegmentClass::Ring,
            held: false,
            codec: Codec::H264,
            width: 640,
            height: 360,
            from: UtcMillis(from),
            to: UtcMillis(to),
            time_source: TimeSource::Arrival,
            uncertainty_ms: 500,
            clock_offset_ms: None,
            gap_before_ms: gap,
            gap_reason: reason,
            dropped: 0,
            bytes: 1,
            pictures: 1,
            sha256: None,
        }
    }

    fn told(segments: &[Segment], gone: &[Gone], from: i64, to: i64) -> Vec<(i64, i64, String)> {
        let found = gaps(segments, gone, UtcMillis(from), UtcMillis(to), false);
        found.into_iter().map(|g| (g.from.0, g.to.0, g.reason)).collect()
    }

    fn gap(from: i64, to: i64, reason: &str) -> (i64, i64, String) {
        (from, to, reason.to_owned())
    }

    #[test]
    fn segments_of_one_connection_have_no_gap_between_them() {
        let all = [segment(0, 9960, None, None), segment(10_000, 19_960, Some(0), None)];
        assert_eq!(told(&all, &[], 500, 19_000), []);
        // Pictures two seconds apart.
        let slow = [segment(0, 8000, None, None), segment(10_000, 20_000, Some(0), None)];
        assert_eq!(told(&slow, &[], 0, 20_000), []);
    }

    #[test]
    fn a_gap_says_why() {
        let all = [segment(0, 9960, None, None), segment(15_000, 19_960, Some(5000), Some(GapReason::Restart))];
        assert_eq!(told(&all, &[], 0, 19_000), [gap(9960, 15_000, "restart")]);
        assert_eq!(told(&[], &[], 0, 19_000), [gap(0, 19_000, "not_recorded")]);
        assert_eq!(told(&all[1..], &[], 0, 30_000), [gap(0, 15_000, "restart"), gap(19_960, 30_000, "not_recorded")]);
    }

    #[test]
    fn a_restart_is_told_even_where_times_hide_it() {
        // The first run's clock was mapped a little ahead: its end lies behind the second's start.
        let all = [segment(0, 9960, None, None), segment(9800, 19_960, Some(1), Some(GapReason::Restart))];
        assert_eq!(told(&all, &[], 0, 19_900), [gap(9800, 9800, "restart")]);
    }

    #[test]
    fn what_was_deleted_is_another_answer_than_never_recorded() {
        let all = [segment(0, 9960, None, None), segment(20_000, 29_960, Some(0), None)];
        let gone =
            [Gone { from: UtcMillis(10_000), to: UtcMillis(19_960), at: Some(UtcMillis(50_000)), why: "quota".into() }];
        assert_eq!(told(&all, &gone, 0, 29_000), [gap(9960, 20_000, "quota")]);
    }

    #[test]
    fn what_is_still_to_come_is_no_loss() {
        let found = gaps(&[segment(0, 9000, None, None)], &[], UtcMillis(0), UtcMillis(20_000), true);
        assert_eq!(found[0].reason, "not_yet");
    }
}
