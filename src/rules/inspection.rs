//! People in an area, or something opened there, while no inspection is open: new when it has lasted, end at leaving or
//! when an inspection is opened (reason `resolved`). When nobody knows whether one is open, that is said, with a lower
//! severity; several at once, or soon after each other, are one event (`group`).

use super::draft::{Draft, Keys};
use super::held::{Condition, Held, Onset, Terms};
use super::presence::{Sight, Standing};
use super::{EndReason, RuleKind, seconds};
use crate::config::{InspectionConfig, OpenedConfig};
use crate::customs::{Answer, Check};

/// Highest severity while nobody knows.
const UNKNOWN_SEVERITY: u8 = 2;

/// Of people in the area.
pub(super) fn person_terms(config: &InspectionConfig) -> Terms {
    let (severity, after_ms) = (config.severity, seconds(config.after_s));
    Terms { rule: RuleKind::PersonWithoutInspection, severity, after_ms }
}

/// Of something opened.
pub(super) fn opened_terms(config: &OpenedConfig) -> Terms {
    let (severity, after_ms) = (config.severity, seconds(config.after_s));
    Terms { rule: RuleKind::OpenedWithoutInspection, severity, after_ms }
}

/// State for one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct WithoutInspection {
    held: Held,
    onset: Onset,
}

impl WithoutInspection {
    /// Takes how the track stands now and whether an inspection is open in the area.
    pub fn step(
        &mut self,
        standing: &Standing,
        now: Sight,
        counts: bool,
        terms: Terms,
        inspection: &Check,
        keys: &mut Keys,
    ) -> Option<Draft> {
        let condition: Condition = self.onset.see(standing, inspection.answer != Answer::Yes, now);
        let severity = match inspection.answer {
            Answer::Unknown => terms.severity.min(UNKNOWN_SEVERITY),
            Answer::Yes | Answer::No => terms.severity,
        };
        let terms = Terms { severity, ..terms };
        self.held.step(standing, now, counts, terms, (&condition, Some(inspection)), keys)
    }

    /// The track, camera or process is over while the situation lasts.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Option<Draft> {
        self.held.cut(last, reason)
    }
}
