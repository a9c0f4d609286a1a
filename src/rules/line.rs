//! One line with its rules: what becomes of a crossing.

use super::draft::{Draft, Keys};
use super::line_cross::{self, Crossing};
use super::presence::Sight;
use super::tailgating::Tailgating;
use super::{AreaId, gate_out, wrong_way};
use crate::clock::UtcMillis;
use crate::config::LineConfig;
use crate::customs::Checks;
use crate::track::TrackId;
use crate::vision::Label;

/// Crossings remembered: more than pass within the time that readings are looked for.
const MAX_CROSSINGS: usize = 200;

/// A line as configured, with what crossed it last.
#[derive(Debug)]
pub(super) struct GateLine {
    pub config: LineConfig,
    tailgating: Tailgating,
    /// When vehicles crossed it lately, either way.
    pub crossed: Vec<UtcMillis>,
}

impl GateLine {
    pub fn new(config: &LineConfig) -> Self {
        Self { config: config.clone(), tailgating: Tailgating::default(), crossed: Vec::new() }
    }

    /// A crossing is reported once, as what it is: against the direction, out of the supervised area, or plain; and
    /// once more if it followed another one too soon.
    pub fn judge(
        &mut self,
        crossing: &Crossing,
        (track, label): (TrackId, &Label),
        now: Sight,
        checks: &Checks<'_>,
        keys: &mut Keys,
    ) -> Vec<Draft> {
        let line = &self.config;
        // Who walks over the line is not what a number was read of.
        if gate_out::concerns(line, label) {
            self.crossed.drain(..self.crossed.len().saturating_sub(MAX_CROSSINGS - 1));
            self.crossed.push(crossing.at.utc);
        }
        if !crossing.is(line.direction) {
            let rule = line.wrong_way.as_ref();
            return rule.map(|rule| wrong_way::report(crossing, now, rule, keys)).into_iter().collect();
        }
        let mut drafts = vec![match &line.gate_out {
            Some(rule) if gate_out::concerns(line, label) => {
                let may_leave = checks.may_leave(&self.booked(), crossing.at.utc, &self.crossed);
                gate_out::report(crossing, now, (line, rule), may_leave, keys)
            }
            _ => line_cross::report(crossing, now, line, keys),
        }];
        if let Some(rule) = &line.tailgating {
            drafts.extend(self.tailgating.step(crossing, track, now, rule, keys));
        }
        drafts
    }

    /// These two tracks exchanged their names.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        self.tailgating.exchange(names);
    }

    /// The camera was lost: who crossed before is no predecessor of who crosses after.
    pub fn forget(&mut self) {
        self.tailgating = Tailgating::default();
    }

    fn booked(&self) -> AreaId {
        self.config.area.clone().unwrap_or_else(|| self.config.id.clone())
    }
}
