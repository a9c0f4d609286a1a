//! Enter: a track is in the area. New once it has settled inside (start = first sight inside), end at leaving.

use super::RuleKind;
use super::held::Terms;
use crate::config::RuleConfig;

/// Being inside is the whole condition.
pub(super) fn terms(config: &RuleConfig) -> Terms {
    Terms { rule: RuleKind::Enter, severity: config.severity, after_ms: 0 }
}
