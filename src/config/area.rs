//! Areas and lines of a camera: kinds, shapes, who counts. Their rules are in `rule`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::{
    BayConfig, DwellConfig, GateOutConfig, InspectionConfig, ObjectConfig, OccupancyConfig, OpenedConfig,
    RestrictedConfig, RuleConfig, StoppedConfig, TailgatingConfig, UnbookedConfig, WrongWayConfig,
};
use crate::geometry::{Line, Polygon};
use crate::rules::AreaId;
use crate::vision::Label;

/// Kind of an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AreaKind {
    /// Where vehicles drive.
    Lane,
    /// Where a vehicle stands to be inspected.
    InspectionBay,
    /// Where goods are sampled.
    SamplingTable,
    /// Scanner.
    ScannerLane,
    /// Where nobody may be.
    RestrictedArea,
    /// Where vehicles wait.
    Yard,
    /// Detections with their foot in it are dropped before tracking. Has no rules.
    IgnoreMask,
    /// Blacked out in everything that leaves the box or is shown; what has its foot in it is not followed. Has no rules.
    PrivacyMask,
}

impl AreaKind {
    /// Name as in the configuration and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::InspectionBay => "inspection_bay",
            Self::SamplingTable => "sampling_table",
            Self::ScannerLane => "scanner_lane",
            Self::RestrictedArea => "restricted_area",
            Self::Yard => "yard",
            Self::IgnoreMask => "ignore_mask",
            Self::PrivacyMask => "privacy_mask",
        }
    }

    /// A mask has no rules and is not looked at.
    #[must_use]
    pub fn is_mask(self) -> bool {
        matches!(self, Self::IgnoreMask | Self::PrivacyMask)
    }
}

/// A polygon with its rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AreaConfig {
    /// Id, unique in the box; bookings name it.
    pub id: AreaId,
    /// Name for people; the id when empty.
    #[serde(default)]
    pub name: String,
    /// Kind.
    pub kind: AreaKind,
    /// At least three corners, fractions of the picture.
    pub polygon: Polygon,
    /// Classes that count; empty = all.
    #[serde(default)]
    pub classes: Vec<Label>,
    /// Which sizes and scores count, by class.
    #[serde(default, rename = "filter")]
    pub filters: Vec<FilterConfig>,
    /// A foot point must be in (or out) this long to have entered (or left).
    #[serde(default = "default_settle_ms")]
    #[schemars(range(max = 60_000))]
    pub settle_ms: u32,
    /// Report what is in the area, from entering to leaving.
    #[serde(default)]
    pub enter: Option<RuleConfig>,
    /// Report leaving.
    #[serde(default)]
    pub exit: Option<RuleConfig>,
    /// Report staying.
    #[serde(default)]
    pub dwell: Option<DwellConfig>,
    /// Report being in the area while it is closed.
    #[serde(default)]
    pub restricted: Option<RestrictedConfig>,
    /// Report too many at once.
    #[serde(default)]
    pub occupancy: Option<OccupancyConfig>,
    /// Report vehicles that stand still, also those never seen moving.
    #[serde(default)]
    pub stopped: Option<StoppedConfig>,
    /// Report the bay as occupied and as empty again.
    #[serde(default)]
    pub bay: Option<BayConfig>,
    /// Report an occupied bay without a booking; needs `bay`.
    #[serde(default)]
    pub unbooked: Option<UnbookedConfig>,
    /// Report people in the area while no inspection is open there.
    #[serde(default)]
    pub person_without_inspection: Option<InspectionConfig>,
    /// Report an opened container or vehicle while no inspection is open in the area.
    #[serde(default)]
    pub opened_without_inspection: Option<OpenedConfig>,
    /// Report a thing that was put down and stays.
    #[serde(default)]
    pub object_left: Option<ObjectConfig>,
    /// Report a thing that stood in the area and is gone.
    #[serde(default)]
    pub object_removed: Option<ObjectConfig>,
}

fn default_settle_ms() -> u32 {
    400
}

impl AreaConfig {
    /// An area without a name and without rules; every class counts.
    #[must_use]
    pub fn plain(id: AreaId, kind: AreaKind, polygon: Polygon) -> Self {
        Self {
            id,
            name: String::new(),
            kind,
            polygon,
            classes: Vec::new(),
            filters: Vec::new(),
            settle_ms: default_settle_ms(),
            enter: None,
            exit: None,
            dwell: None,
            restricted: None,
            occupancy: None,
            stopped: None,
            bay: None,
            unbooked: None,
            person_without_inspection: None,
            opened_without_inspection: None,
            object_left: None,
            object_removed: None,
        }
    }

    /// Rules that name their classes, with those: none of them known to the model means that the rule is silent.
    #[must_use]
    pub fn rules_of_classes(&self) -> Vec<(&'static str, &[Label])> {
        let optional = [
            ("stopped", self.stopped.as_ref().map(|r| &r.classes)),
            ("occupancy", self.occupancy.as_ref().map(|r| &r.classes)),
            ("bay", self.bay.as_ref().map(|r| &r.classes)),
            ("person_without_inspection", self.person_without_inspection.as_ref().map(|r| &r.classes)),
            ("opened_without_inspection", self.opened_without_inspection.as_ref().map(|r| &r.classes)),
            ("object_left", self.object_left.as_ref().map(|r| &r.classes)),
            ("object_removed", self.object_removed.as_ref().map(|r| &r.classes)),
            ("classes", Some(&self.classes)),
        ];
        optional.into_iter().filter_map(|(name, classes)| Some((name, classes?.as_slice()))).collect()
    }

    /// Whether any of its rules could report something, with a model that knows these classes (all, where that is not known).
    #[must_use]
    pub fn can_report(&self, known: Option<&[Label]>) -> bool {
        let knows = |classes: &[Label]| are_known(classes, known);
        let by_area = self.enter.is_some() || self.exit.is_some() || self.dwell.is_some() || self.restricted.is_some();
        let mut by_rule = self.rules_of_classes().into_iter().filter(|(name, _)| *name != "classes");
        by_area && knows(&self.classes)
            || by_rule.any(|(name, classes)| match name {
                "occupancy" if classes.is_empty() => knows(&self.classes),
                _ => knows(classes),
            })
    }

    /// The highest severity that one of its rules may report, 0 without rules.
    #[must_use]
    pub fn highest_severity(&self) -> u8 {
        let severities = [
            self.enter.as_ref().map(|r| r.severity),
            self.exit.as_ref().map(|r| r.severity),
            self.dwell.as_ref().map(|r| r.severity),
            self.restricted.as_ref().map(|r| r.severity),
            self.occupancy.as_ref().map(|r| r.severity),
            self.stopped.as_ref().map(|r| r.severity),
            self.bay.as_ref().map(|r| r.severity.max(r.wrong_vehicle_severity)),
            self.unbooked.as_ref().map(|r| r.severity),
            self.person_without_inspection.as_ref().map(|r| r.severity),
            self.opened_without_inspection.as_ref().map(|r| r.severity),
            self.object_left.as_ref().map(|r| r.severity),
            self.object_removed.as_ref().map(|r| r.severity),
        ];
        severities.into_iter().flatten().max().unwrap_or(0)
    }

    /// Whether any rule is set.
    #[must_use]
    pub fn has_rule(&self) -> bool {
        self.enter.is_some()
            || self.exit.is_some()
            || self.dwell.is_some()
            || self.restricted.is_some()
            || self.occupancy.is_some()
            || self.stopped.is_some()
            || self.bay.is_some()
            || self.unbooked.is_some()
            || self.person_without_inspection.is_some()
            || self.opened_without_inspection.is_some()
            || self.object_left.is_some()
            || self.object_removed.is_some()
    }
}

/// What counts of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// Class it is about; all without it. A thing must pass every filter that is about it.
    #[serde(default)]
    pub class: Option<Label>,
    /// Lowest score, as the median of a track's last ten.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: f32,
    /// Lowest height of the box, fraction of the picture's.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_height: f32,
    /// Greatest height of the box, fraction of the picture's.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_height: f32,
}

fn one() -> f32 {
    1.0
}

/// Kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Any line.
    #[default]
    Line,
    /// Where a barrier opens and closes.
    BarrierLine,
}

impl LineKind {
    /// Name as in the configuration and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::BarrierLine => "barrier_line",
        }
    }
}

/// A directed line with its rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Id, unique in the box; bookings may name it.
    pub id: AreaId,
    /// Name for people; the id when empty.
    #[serde(default)]
    pub name: String,
    /// Kind.
    #[serde(default)]
    pub kind: LineKind,
    /// From, to: fractions of the picture.
    pub points: Line,
    /// Which crossings count.
    #[serde(default)]
    pub direction: LineDirection,
    /// Classes that count; empty = all.
    #[serde(default)]
    pub classes: Vec<Label>,
    /// Which sizes and scores count, by class.
    #[serde(default, rename = "filter")]
    pub filters: Vec<FilterConfig>,
    /// Of a crossing: 1 information, 2 notice, 3 serious, 4 critical.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Area whose bookings the crossing belongs to; the line's own id when missing.
    #[serde(default)]
    pub area: Option<AreaId>,
    /// Report crossings against `direction`, which must then be one way.
    #[serde(default)]
    pub wrong_way: Option<WrongWayConfig>,
    /// Report a second thing on one opening.
    #[serde(default)]
    pub tailgating: Option<TailgatingConfig>,
    /// Crossings in `direction` leave the supervised area: compare with the declarations. People count only where `classes`
    /// names them; otherwise theirs are plain crossings.
    #[serde(default)]
    pub gate_out: Option<GateOutConfig>,
}

/// Whether a model that knows `known` (all, where that is not known) knows any of these classes; none named means all.
#[must_use]
pub fn are_known(classes: &[Label], known: Option<&[Label]>) -> bool {
    classes.is_empty() || known.is_none_or(|known| classes.iter().any(|class| known.contains(class)))
}

impl LineConfig {
    /// The highest severity that one of its rules may report.
    #[must_use]
    pub fn highest_severity(&self) -> u8 {
        let more = [
            self.wrong_way.as_ref().map(|r| r.severity),
            self.tailgating.as_ref().map(|r| r.severity),
            self.gate_out.as_ref().map(|r| r.not_released_severity.max(r.unchecked_severity)),
        ];
        more.into_iter().flatten().fold(self.severity, u8::max)
    }

    /// A line without a name where every crossing of every class counts.
    #[must_use]
    pub fn plain(id: AreaId, points: Line, severity: u8) -> Self {
        Self {
            id,
            name: String::new(),
            kind: LineKind::default(),
            points,
            direction: LineDirection::default(),
            classes: Vec::new(),
            filters: Vec::new(),
            severity,
            area: None,
            wrong_way: None,
            tailgating: None,
            gate_out: None,
        }
    }
}

/// Which crossings count, seen when walking from the first point to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineDirection {
    /// From the left side to the right.
    LeftToRight,
    /// From the right side to the left.
    RightToLeft,
    /// Both.
    #[default]
    Both,
}

impl LineDirection {
    /// Name as in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeftToRight => "left_to_right",
            Self::RightToLeft => "right_to_left",
            Self::Both => "both",
        }
    }
}
