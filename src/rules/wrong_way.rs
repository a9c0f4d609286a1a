//! Wrong way: a line was crossed against its direction. Reported instead of the crossing.

use super::RuleKind;
use super::draft::{Draft, Keys};
use super::line_cross::Crossing;
use super::presence::Sight;
use crate::config::WrongWayConfig;

/// The report of a crossing that does not count forwards.
pub(super) fn report(crossing: &Crossing, now: Sight, config: &WrongWayConfig, keys: &mut Keys) -> Draft {
    Draft {
        direction: Some(crossing.direction),
        ..Draft::instant(keys.next(), RuleKind::WrongWay, config.severity, crossing.at, now)
    }
}
