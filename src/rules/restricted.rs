//! Restricted area: a track is inside while the area is closed. New when it is inside in closed time, end at leaving or
//! when the closed time ends (reason `resolved`). Several at once, or soon after each other, are one event (`group`).

use super::RuleKind;
use super::held::Terms;
use crate::config::RestrictedConfig;

/// Severity and kind; the condition is [`Schedule::holds`](super::Schedule::holds).
pub(super) fn terms(config: &RestrictedConfig) -> Terms {
    Terms { rule: RuleKind::Restricted, severity: config.severity, after_ms: 0 }
}
