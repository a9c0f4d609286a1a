//! Leaving the supervised area: a crossing compared with the declarations of the line's bookings. One report, by what
//! customs answers: allowed, not released (or stopped), or not known.

use super::RuleKind;
use super::draft::{Draft, Keys};
use super::line_cross::Crossing;
use super::presence::Sight;
use crate::config::{GateOutConfig, LineConfig};
use crate::customs::{Answer, Check};
use crate::vision::Label;

/// Who walks out: no consignment.
const ON_FOOT: &str = "person";

/// Whether such a thing leaves the supervised area. People do not, unless the line names them.
pub(crate) fn concerns(line: &LineConfig, label: &Label) -> bool {
    line.classes.contains(label) || label.as_str() != ON_FOOT
}

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
