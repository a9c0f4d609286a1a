//! Leaving the supervised area: a crossing compared with the declarations of the line's bookings. One report, by what
//! customs answers: allowed, not released (or stopped), or not known.

use super::RuleKind;
use super::draft::{Draft, Keys};
use super::line_cross::Crossing;
use super::presence::Sight;
use crate::config::{GateOutConfig, LineConfig};
use crate::customs::{Answer, Check};

/// The report of a crossing outwards.
pub(super) fn report(
    crossing: &Crossing,
    now: Sight,
    (line, config): (&LineConfig, &GateOutConfig),
    may_leave: Check,
    keys: &mut Keys,
) -> Draft {
    let (rule, severity) = match may_leave.answer {
        Answer::Yes => (RuleKind::GateOut, line.severity),
        Answer::No => (RuleKind::GateOutNotReleased, config.not_released_severity),
        Answer::Unknown => (RuleKind::GateOutUnchecked, config.unchecked_severity),
    };
    Draft {
        direction: Some(crossing.direction),
        check: Some(may_leave),
        ..Draft::instant(keys.next(), rule, severity, crossing.at, now)
    }
}
