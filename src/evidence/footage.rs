//! How much of an asked time there is footage of: segments against the time, by stream.

use super::manifest::{Asked, Footage, Gap, Range, SegmentRecord, Verdict};
use crate::clock::UtcMillis;
use crate::store::ArchivedSegment;

/// Segments follow each other with less than this between them: the time of one picture at a slow rate.
const JOIN_MS: i64 = 1_500;

/// What is known of footage that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missed {
    /// Times of segments that the box deleted.
    pub deleted: Vec<Range>,
    /// Where segments begin that were not finished when this was asked.
    pub unfinished: Vec<UtcMillis>,
}

/// What there is of `asked`, one answer a stream; one with `none` when there is no stream at all. `file` names a segment in
/// the bundle.
#[must_use]
pub fn answer(
    asked: &Asked,
    segments: &[ArchivedSegment],
    missed: &Missed,
    file: impl Fn(&ArchivedSegment) -> String,
) -> Vec<Footage> {
    let mut streams: Vec<&str> = segments.iter().map(|s| s.item.stream.as_str()).collect();
    streams.dedup();
    if streams.is_empty() {
        streams.push("");
    }
    let each = streams.into_iter().map(|stream| {
        let of: Vec<&ArchivedSegment> = segments.iter().filter(|s| s.item.stream == stream).collect();
        of_stream(asked, stream, &of, missed, &file)
    });
    each.collect()
}

fn of_stream(
    asked: &Asked,
    stream: &str,
    segments: &[&ArchivedSegment],
    missed: &Missed,
    file: &impl Fn(&ArchivedSegment) -> String,
) -> Footage {
    let there: Vec<&ArchivedSegment> = segments.iter().copied().filter(|s| !s.gone).collect();
    let found = found(asked, &there);
    let gaps = gaps(asked, &found, segments, missed);
    let verdict = match (found.is_empty(), gaps.is_empty()) {
        (true, _) => Verdict::None,
        (false, true) => Verdict::Complete,
        (false, false) => Verdict::Partial,
    };
    let mut time_sources: Vec<String> = there.iter().map(|s| s.item.time_source.clone()).collect();
    time_sources.sort();
    time_sources.dedup();
    let offsets = || there.iter().filter_map(|s| s.item.clock_offset_ms);
    let record = |s: &&ArchivedSegment| SegmentRecord {
        item: s.item.clone(),
        chain_n: s.chain_n,
        file: (!s.gone).then(|| file(s)),
    };
    Footage {
        asked: asked.clone(),
        stream: stream.into(),
        verdict,
        found,
        gaps,
        time_sources,
        clock_offset_ms: offsets().min().zip(offsets().max()),
        segments: segments.iter().map(record).collect(),
    }
}

/// The parts of the time that segments cover, joined where they follow each other.
fn found(asked: &Asked, segments: &[&ArchivedSegment]) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for s in segments {
        let range = Range { from: s.item.start.max(asked.from), to: s.item.end.min(asked.to) };
        match out.last_mut() {
            Some(last) if range.from.since(last.to) <= JOIN_MS => last.to = last.to.max(range.to),
            _ => out.push(range),
        }
    }
    out
}

fn gaps(asked: &Asked, found: &[Range], segments: &[&ArchivedSegment], missed: &Missed) -> Vec<Gap> {
    let mut out = Vec::new();
    let mut at = asked.from;
    let end = Range { from: asked.to, to: asked.to };
    for range in found.iter().chain([&end]) {
        if range.from.since(at) > JOIN_MS {
            out.extend(explained(at, range.from, segments, missed));
        }
        at = at.max(range.to);
    }
    out
}

/// A gap with its reason; in two parts where video that was not finished begins in it, since that explains nothing before.
fn explained(from: UtcMillis, to: UtcMillis, segments: &[&ArchivedSegment], missed: &Missed) -> Vec<Gap> {
    let open = missed.unfinished.iter().copied().min().filter(|start| *start < to);
    let gap = |from, to, open| Gap { from, to, why: why(from, to, segments, missed, open).to_owned() };
    match open {
        Some(start) if start.since(from) > JOIN_MS => vec![gap(from, start, false), gap(start, to, true)],
        open => vec![gap(from, to, open.is_some())],
    }
}

/// The first reason that explains a part of it; what was deleted by whom is in the custody log. `open`: a segment that was
/// not finished had begun.
fn why(from: UtcMillis, to: UtcMillis, segments: &[&ArchivedSegment], missed: &Missed, open: bool) -> &'static str {
    let lost = segments.iter().any(|s| s.gone && s.item.start < to && s.item.end > from);
    match (missed.deleted.iter().any(|d| d.from < to && d.to > from), lost) {
        (true, _) => "deleted",
        (false, true) => "lost",
        // It goes on behind what was asked, since it was not finished.
        (false, false) if open => "unfinished",
        (false, false) => "not_recorded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::chain::Sum;
    use crate::store::SegmentItem;

    fn segment(start: i64, end: i64, gone: bool) -> ArchivedSegment {
        let item = SegmentItem {
            camera: "c".into(),
            stream: "main".into(),
            path: format!("c/{start}.mp4"),
            codec: "h264".into(),
            start: UtcMillis(start),
            end: UtcMillis(end),
            bytes: 1,
            pictures: 1,
            sha256: Sum::ZERO,
            gap_before_ms: Some(0),
            time_source: "rtcp_ntp".into(),
            clock_offset_ms: Some(start / 1000),
        };
        ArchivedSegment { item, chain_n: None, gone }
    }

    fn asked() -> Asked {
        Asked { camera: "c".into(), from: UtcMillis(10_000), to: UtcMillis(50_000) }
    }

    type Told = (Verdict, Vec<(i64, i64)>, Vec<(i64, i64, String)>);

    fn answers(segments: &[ArchivedSegment]) -> Told {
        let deleted = vec![Range { from: UtcMillis(45_000), to: UtcMillis(46_000) }];
        let missed = Missed { deleted, unfinished: Vec::new() };
        let mut all = answer(&asked(), segments, &missed, |s| s.item.path.clone());
        assert_eq!(all.len(), 1);
        let a = all.remove(0);
        let found = a.found.iter().map(|r| (r.from.0, r.to.0)).collect();
        (a.verdict, found, a.gaps.into_iter().map(|g| (g.from.0, g.to.0, g.why)).collect())
    }

    #[test]
    fn complete_partial_and_none() {
        let whole = [segment(0, 20_000, false), segment(20_040, 40_000, false), segment(40_000, 60_000, false)];
        assert_eq!(answers(&whole), (Verdict::Complete, vec![(10_000, 50_000)], vec![]));
        let holes = [segment(15_000, 20_000, false), segment(20_000, 30_000, true), segment(30_000, 45_000, false)];
        let gaps = vec![
            (10_000, 15_000, "not_recorded".to_owned()),
            (20_000, 30_000, "lost".to_owned()),
            (45_000, 50_000, "deleted".to_owned()),
        ];
        assert_eq!(answers(&holes), (Verdict::Partial, vec![(15_000, 20_000), (30_000, 45_000)], gaps));
        let nothing = vec![(10_000, 50_000, "deleted".to_owned())];
        assert_eq!(answers(&[]), (Verdict::None, vec![], nothing));
        let gone = answer(&asked(), &[segment(0, 60_000, true)], &Missed::default(), |s| s.item.path.clone());
        assert_eq!((gone[0].verdict, gone[0].segments[0].file.as_deref()), (Verdict::None, None));
        let begun = Missed { deleted: Vec::new(), unfinished: vec![UtcMillis(40_000)] };
        let young = answer(&asked(), &whole[..2], &begun, |s| s.item.path.clone());
        let gaps: Vec<_> = young[0].gaps.iter().map(|g| (g.from.0, g.to.0, g.why.as_str())).collect();
        assert_eq!(gaps, [(40_000, 50_000, "unfinished")]);
        // What was not recorded before the open file began is not excused by it.
        let late = answer(&asked(), &whole[..1], &begun, |s| s.item.path.clone());
        let gaps: Vec<_> = late[0].gaps.iter().map(|g| (g.from.0, g.to.0, g.why.as_str())).collect();
        assert_eq!(gaps, [(20_000, 40_000, "not_recorded"), (40_000, 50_000, "unfinished")]);
        let offsets = answer(&asked(), &whole, &Missed::default(), |s| s.item.path.clone())[0].clock_offset_ms;
        assert_eq!(offsets, Some((0, 40)));
    }
}
