//! Exit: a track left the area. An instant at the first sight outside.

use super::RuleKind;
use super::draft::{Draft, Keys};
use super::presence::{Sight, Standing};
use crate::config::RuleConfig;

/// Reports a leaving that was really seen; a track that jumped out was mixed up with another and did not leave.
pub(super) fn step(
    standing: &Standing,
    now: Sight,
    counts: bool,
    config: &RuleConfig,
    keys: &mut Keys,
) -> Option<Draft> {
    let Standing::Left(stay) = standing else { return None };
    (counts && !stay.jumped).then(|| Draft {
        dwell_ms: Some(stay.left.mono.since(stay.entered.mono)),
        ..Draft::instant(keys.next(), RuleKind::Exit, config.severity, stay.left, now)
    })
}
