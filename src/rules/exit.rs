//! Exit: a track left the area. An instant at the first sight outside.

use super::draft::{Draft, Keys};
use super::presence::{Sight, Standing};
use super::{EndReason, Phase, RuleKind};

/// Reports a leaving that was really seen; a track that jumped out was mixed up with another and did not leave.
pub(super) fn step(standing: &Standing, now: Sight, counts: bool, keys: &mut Keys) -> Option<Draft> {
    let Standing::Left(stay) = standing else { return None };
    (counts && !stay.jumped).then(|| Draft {
        key: keys.next(),
        rule: RuleKind::Exit,
        phase: Phase::New,
        start: stay.left.utc,
        at: now,
        end: Some((stay.left.utc, EndReason::Observed)),
        dwell_ms: Some(stay.left.mono.since(stay.entered.mono)),
        direction: None,
    })
}
