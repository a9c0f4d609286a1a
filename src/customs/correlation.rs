//! What the box found about a tip: the message on `correlation`, and the arithmetic of its ranges. The search itself is in
//! `agent/correlate.rs`.

use serde::{Deserialize, Serialize};

use super::DeclKey;
use crate::clock::UtcMillis;
use crate::event::message::Sequence;

/// How much of a time there is footage of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Footage {
    /// All of it.
    Complete,
    /// With gaps.
    Partial,
    /// Nothing; a result too.
    None,
}

/// Where a tip stands, with what the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The box watches.
    Open,
    /// Settled by the duty room.
    Settled,
    /// Withdrawn by the duty room.
    Withdrawn,
    /// Its time is over.
    Expired,
}

/// A time without footage, or in which nobody watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Gap {
    /// First moment.
    pub from: UtcMillis,
    /// First moment after it.
    pub to: UtcMillis,
    /// Why.
    pub why: String,
}

/// A time at one camera that the tip is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FootageRange {
    /// Camera.
    pub camera: String,
    /// First moment.
    pub from: UtcMillis,
    /// First moment after it; may lie ahead.
    pub to: UtcMillis,
    /// How much of it there is, up to now.
    pub footage: Footage,
    /// Times without footage, at most 50.
    pub gaps: Vec<Gap>,
    /// Why there is nothing, when there is nothing.
    pub why: Option<String>,
    /// Times in which pictures were not analysed, as far as known, at most 50: "nothing happened" and "nobody watched"
    /// are different answers.
    pub unwatched: Vec<Gap>,
    /// The hold on it.
    pub hold_id: Option<String>,
    /// What led to it: `event:…`, `booking:…`, `observation:…`, `visit:…`, `window`; at most 20.
    pub because: Vec<String>,
}

/// An event the tip is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FoundEvent {
    /// Event.
    pub id: String,
    /// Number of its latest message in the box's stream; `cmd/resync` sends it again.
    pub seq: i64,
    /// Camera.
    pub camera: String,
    /// Area or line.
    pub area: String,
    /// Rule.
    pub rule: String,
    /// The highest severity so far.
    pub severity: u8,
    /// When it began.
    pub start: UtcMillis,
    /// When it ended; null while it lasts.
    pub end: Option<UtcMillis>,
    /// How it was found: a link method, or `observation`, `visit`, `window`.
    pub by: String,
    /// State of the link.
    pub state: Option<String>,
    /// Confidence of the link.
    pub confidence: Option<f64>,
    /// Topic of its picture.
    pub picture_topic: Option<String>,
    /// SHA-256 of its annotated picture.
    pub picture_sha256: Option<String>,
}

/// Something that may belong to the tip; for a person to decide. Nothing is held for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Candidate {
    /// `observation:…` or `event:…`.
    pub what: String,
    /// Camera, where known.
    pub camera: Option<String>,
    /// When.
    pub at: UtcMillis,
    /// Why it is one.
    pub why: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Correlation {
    /// Tip.
    pub tip_id: String,
    /// Version of the tip that was answered.
    pub tip_version: i64,
    /// Where it stands.
    pub state: Standing,
    /// Declaration.
    pub decl_key: Option<DeclKey>,
    /// Containers looked for: the tip's, and those of its declaration.
    pub containers: Vec<String>,
    /// Plates looked for: the tip's, and those of its declaration and bookings.
    pub plates: Vec<String>,
    /// Looked back to here.
    pub from: UtcMillis,
    /// Looked until here.
    pub to: UtcMillis,
    /// When.
    pub run_at: UtcMillis,
    /// All ranges together; `none` also when there is no range.
    pub footage: Footage,
    /// Times at cameras, by camera and time.
    pub ranges: Vec<FootageRange>,
    /// Events, oldest first, at most 200.
    pub events: Vec<FoundEvent>,
    /// How many there are.
    pub events_total: usize,
    /// Bookings found, at most 100.
    pub bookings: Vec<String>,
    /// Visits found, at most 100.
    pub visits: Vec<String>,
    /// Readings found, at most 100.
    pub observations: Vec<String>,
    /// What may belong to it too, at most 50.
    pub candidates: Vec<Candidate>,
    /// What a person should know about the search.
    pub notes: Vec<String>,
}

/// The CloudEvents message on `correlation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CorrelationMessage {
    /// Always `1.0`.
    pub specversion: String,
    /// ULID, the same over all revisions about one tip.
    pub id: String,
    /// `/office/{office}/box/{box}`.
    pub source: String,
    /// Always `gatewatch.correlation.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `tip/{id}`.
    pub subject: String,
    /// When the message was made.
    pub time: UtcMillis,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// What was found.
    pub data: CorrelationData,
}

/// What was found, with what every message of a box has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CorrelationData {
    /// The correlation.
    #[serde(flatten)]
    pub found: Correlation,
    /// 1 for the first, then one more whenever something changed. The highest counts; each is complete.
    pub revision: u32,
    /// Severity.
    pub severity: u8,
    /// Office code.
    pub office: String,
    /// Box id.
    #[serde(rename = "box")]
    pub box_id: String,
    /// Place in the box's stream.
    pub sequence: Sequence,
}

/// CloudEvents type of the message.
pub const KIND: &str = "gatewatch.correlation.v1";

/// A moment or time at a camera, with what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Camera.
    pub camera: String,
    /// First moment.
    pub from: UtcMillis,
    /// Last moment.
    pub to: UtcMillis,
    /// What led to it.
    pub because: String,
}

/// Ranges nearer to each other are one, milliseconds.
const NEAR_MS: i64 = 120_000;
/// Between two segments a moment may be missing, milliseconds.
const SEAM_MS: i64 = 2_000;
/// What led to a range, and gaps in one, at most.
const MAX_BECAUSE: usize = 20;
const MAX_GAPS: usize = 50;

/// Ranges around spots: some before the first and after the last moment, merged where they are near.
#[must_use]
pub fn ranges(mut spots: Vec<Spot>, before_ms: i64, after_ms: i64) -> Vec<FootageRange> {
    spots.sort_by(|a, b| (&a.camera, a.from, a.to).cmp(&(&b.camera, b.from, b.to)));
    let mut out: Vec<FootageRange> = Vec::new();
    for spot in spots {
        let (from, to) = (spot.from.plus_ms(-before_ms), spot.to.plus_ms(after_ms));
        match out.last_mut().filter(|r| r.camera == spot.camera && from.since(r.to) < NEAR_MS) {
            Some(range) => {
                range.to = range.to.max(to);
                if range.because.len() < MAX_BECAUSE && !range.because.contains(&spot.because) {
                    range.because.push(spot.because);
                }
            }
            None => out.push(FootageRange {
                camera: spot.camera,
                from,
                to,
                footage: Footage::None,
                gaps: Vec::new(),
                why: None,
                unwatched: Vec::new(),
                hold_id: None,
                because: vec![spot.because],
            }),
        }
    }
    out
}

/// Times of `from..to` that no piece covers. Pieces are ordered by their start.
#[must_use]
pub fn uncovered(from: UtcMillis, to: UtcMillis, pieces: &[(UtcMillis, UtcMillis)]) -> Vec<(UtcMillis, UtcMillis)> {
    let mut gaps = Vec::new();
    let mut reached = from;
    for (start, end) in pieces {
        if start.since(reached) > SEAM_MS && *start < to {
            gaps.push((reached, *start));
        }
        reached = reached.max(*end);
    }
    if to.since(reached) > SEAM_MS {
        gaps.push((reached, to));
    }
    gaps
}

impl FootageRange {
    /// Says what there is, by the gaps with their reasons.
    pub fn judge(&mut self, until: UtcMillis, gaps: Vec<Gap>) {
        let all_missing = matches!(gaps.as_slice(), [one] if one.from <= self.from && one.to >= until);
        self.footage = match (gaps.is_empty(), all_missing) {
            (true, _) => Footage::Complete,
            (false, true) => Footage::None,
            (false, false) => Footage::Partial,
        };
        self.why = gaps.first().filter(|_| all_missing).map(|g| g.why.clone());
        self.gaps = gaps;
        self.gaps.truncate(MAX_GAPS);
    }
}

/// What all ranges make together.
#[must_use]
pub fn together(ranges: &[FootageRange]) -> Footage {
    let is = |f: Footage| move |r: &FootageRange| r.footage == f;
    if ranges.iter().all(is(Footage::None)) {
        Footage::None
    } else if ranges.iter().all(is(Footage::Complete)) {
        Footage::Complete
    } else {
        Footage::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn t(s: i64) -> UtcMillis {
        UtcMillis(1_770_000_000_000 + s * 1000)
    }

    fn spot(camera: &str, from: i64, to: i64, because: &str) -> Spot {
        Spot { camera: camera.into(), from: t(from), to: t(to), because: because.into() }
    }

    #[test]
    fn near_ranges_of_one_camera_are_one() {
        let spots = vec![
            spot("b", 0, 10, "e3"),
            spot("a", 1000, 1010, "e2"),
            spot("a", 0, 20, "e1"),
            spot("a", 3000, 3000, "e4"),
        ];
        let found = ranges(spots, 300_000, 600_000);
        let text: Vec<_> = found
            .iter()
            .map(|r| {
                format!(
                    "{} {} {} {}",
                    r.camera,
                    r.from.since(t(0)) / 1000,
                    r.to.since(t(0)) / 1000,
                    r.because.join("+")
                )
            })
            .collect();
        assert_eq!(text, ["a -300 1610 e1+e2", "a 2700 3600 e4", "b -300 610 e3"]);
    }

    #[test]
    fn what_is_missing_is_named_and_seams_do_not_count() {
        let pieces = [(t(0), t(60)), (t(61), t(120)), (t(200), t(260))];
        assert_eq!(uncovered(t(10), t(250), &pieces), [(t(120), t(200))]);
        assert_eq!(uncovered(t(10), t(110), &pieces), []);
        assert_eq!(uncovered(t(300), t(400), &pieces), [(t(300), t(400))]);
        assert_eq!(uncovered(t(-10), t(270), &[]), [(t(-10), t(270))]);
    }

    proptest! {
        #[test]
        fn gaps_and_pieces_fill_the_time(mut pieces in prop::collection::vec((0..500_i64, 3..60_i64), 0..12)) {
            pieces.sort_unstable();
            let list: Vec<_> = pieces.iter().map(|(s, l)| (t(*s), t(s + l))).collect();
            let gaps = uncovered(t(0), t(600), &list);
            for s in 0..600 {
                let covered = list.iter().any(|(a, b)| *a <= t(s) && t(s) < *b);
                let missing = gaps.iter().any(|(a, b)| *a <= t(s) && t(s) < *b);
                prop_assert!(!(covered && missing), "{s} is both");
            }
        }
    }
}
