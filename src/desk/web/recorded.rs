//! What a box has of a time: stretches and gaps with their reasons out of its manifests, and how much of each part of the
//! time that is.

use serde_json::Value;

use super::span::Span;
use crate::desk::message::{moment, text};

/// A time without video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub from: i64,
    pub to: i64,
    /// As boxes call it.
    pub reason: String,
}

/// How much of a time there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    Complete,
    Partial,
    None,
}

impl Amount {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }

    /// For those who see no colours.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Complete => "●",
            Self::Partial => "◐",
            Self::None => "○",
        }
    }
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Oldest first, none touching another one of the same reason.
    pub gaps: Vec<Gap>,
    /// Times that a hold lies on.
    pub held: Vec<(i64, i64)>,
    /// Anything at all.
    pub any: bool,
    /// More is to come.
    pub growing: bool,
}

fn time(value: &Value, place: &str) -> Option<i64> {
    moment(value, place).map(|t| t.0)
}

impl Recorded {
    /// Out of the manifests of pieces that follow each other.
    pub(crate) fn read(manifests: &[Value]) -> Self {
        let mut all = Self::default();
        for m in manifests {
            all.any |= m["found"].is_object();
            all.growing |= m["growing"] == true;
            for gap in m["gaps"].as_array().into_iter().flatten() {
                let (Some(from), Some(to)) = (time(gap, "/from"), time(gap, "/to")) else { continue };
                let reason = text(gap, "/reason").unwrap_or_default();
                match all.gaps.last_mut() {
                    Some(last) if last.reason == reason && last.to >= from => last.to = last.to.max(to),
                    _ => all.gaps.push(Gap { from, to, reason }),
                }
            }
            for segment in m["segments"].as_array().into_iter().flatten().filter(|s| s["held"] == true) {
                let (Some(from), Some(to)) = (time(segment, "/from"), time(segment, "/to")) else { continue };
                match all.held.last_mut() {
                    // Files follow each other within a picture.
                    Some(last) if last.1 + 1000 >= from => last.1 = last.1.max(to),
                    _ => all.held.push((from, to)),
                }
            }
        }
        all
    }

    fn within(&self, span: Span) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(move |g| g.from < span.to && span.from < g.to)
    }

    /// How much of a part there is.
    pub(crate) fn amount(&self, span: Span) -> Amount {
        let lacking: i64 = self.within(span).map(|g| g.to.min(span.to) - g.from.max(span.from)).sum();
        match lacking {
            _ if !self.any => Amount::None,
            0 => Amount::Complete,
            ms if ms >= span.length() => Amount::None,
            _ => Amount::Partial,
        }
    }

    /// Why not all of it, each reason once.
    pub(crate) fn reasons(&self, span: Span) -> Vec<&str> {
        let mut reasons: Vec<&str> = Vec::new();
        for gap in self.within(span) {
            if !reasons.contains(&gap.reason.as_str()) {
                reasons.push(&gap.reason);
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UtcMillis;
    use serde_json::json;

    fn at(s: i64) -> String {
        UtcMillis(s * 1000).to_rfc3339()
    }

    fn gap(from: i64, to: i64, reason: &str) -> Value {
        json!({"from": at(from), "to": at(to), "reason": reason})
    }

    #[test]
    fn manifests_that_follow_each_other_are_one_time() {
        let file = |from, to, held| json!({"from": at(from), "to": at(to), "held": held});
        let first = json!({"found": {}, "growing": false, "gaps": [gap(0, 10, "expired"), gap(90, 100, "restart")],
            "segments": [file(10, 40, true), file(40, 70, true), file(70, 90, false)]});
        let second = json!({"found": null, "growing": true, "gaps": [gap(100, 150, "restart"), gap(150, 200, "not_yet")], "segments": []});
        let c = Recorded::read(&[first, second]);
        assert_eq!(c.gaps.len(), 3, "a gap over the border is one: {c:?}");
        assert_eq!((c.held.as_slice(), c.any, c.growing), (&[(10_000, 70_000)][..], true, true));
        let amount = |from: i64, to: i64| c.amount(Span { from: from * 1000, to: to * 1000 });
        assert_eq!((amount(0, 10), amount(10, 90), amount(80, 100)), (Amount::None, Amount::Complete, Amount::Partial));
        assert_eq!(c.reasons(Span { from: 80_000, to: 200_000 }), ["restart", "not_yet"]);
        assert_eq!(
            Recorded::default().amount(Span { from: 0, to: 1000 }),
            Amount::None,
            "a box that says nothing has nothing"
        );
    }
}
