//! Dwell: a track stayed longer than the limit. New at the first sight inside at or past the limit, end at leaving.
//! Time in the area counts from the first sight inside, on the frames' monotonic clock.

use super::held::Terms;
use super::{RuleKind, seconds};
use crate::config::DwellConfig;

/// Being inside is the condition, for as long as the limit.
pub(super) fn terms(config: &DwellConfig) -> Terms {
    Terms { rule: RuleKind::Dwell, severity: config.severity, after_ms: seconds(config.limit_s) }
}
