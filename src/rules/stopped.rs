//! Stopped: a vehicle stands still in an area, however it came there: also one that stood there before anybody looked.
//! New when it has stood for the configured time (start = since when it stands), end when it moves on or leaves.

use super::held::{Condition, Terms};
use super::still::Still;
use super::{EndReason, RuleKind, seconds};
use crate::config::StoppedConfig;

/// Severity and time.
pub(super) fn terms(config: &StoppedConfig) -> Terms {
    Terms { rule: RuleKind::Stopped, severity: config.severity, after_ms: seconds(config.after_s) }
}

/// Standing still is the condition.
pub(super) fn condition(still: &Still) -> Condition {
    match still.since() {
        Some(since) => Condition::Since(since),
        None => Condition::Over(still.went(), EndReason::Observed),
    }
}
