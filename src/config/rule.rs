//! Settings of the rules. Default severities are those of the event catalogue of a gate: 1 information, 2 notice,
//! 3 serious, 4 critical.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vision::Label;

/// A rule without further settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// Staying too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DwellConfig {
    /// Longest stay without a report, seconds.
    #[schemars(range(min = 0.5, max = 604_800.0))]
    pub limit_s: f64,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// Being in an area while it is closed. What is inside when the closed time begins is reported from then on; when it
/// ends, the event ends with reason `resolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestrictedConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// When the area is closed, in the site's time zone; always without any.
    #[serde(default)]
    pub closed: Vec<TimeOfWeek>,
}

/// A time of the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeOfWeek {
    /// Days on which it begins; every day without any.
    #[serde(default)]
    pub days: Vec<Weekday>,
    /// Local time `HH:MM` at which it begins.
    #[serde(default = "midnight")]
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// Local time `HH:MM` at which it ends, on the next day when it is before `from`; `24:00` is the end of the day.
    #[serde(default = "end_of_day")]
    #[schemars(regex(pattern = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
    pub to: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// Too many in an area at once. One event for the area, updated when the number grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OccupancyConfig {
    /// More than this is reported.
    #[schemars(range(max = 1000))]
    pub limit: u32,
    /// It must last this long, seconds.
    #[serde(default = "two_seconds")]
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub after_s: f64,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "notice")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Classes counted; those of the area without any.
    #[serde(default)]
    pub classes: Vec<Label>,
}

/// Standing still in an area, however long the thing has been there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoppedConfig {
    /// Standing still this long is reported, seconds.
    #[schemars(range(min = 1.0, max = 604_800.0))]
    pub after_s: f64,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "notice")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Classes that count.
    #[serde(default = "vehicles")]
    pub classes: Vec<Label>,
}

/// Use of a bay: `bay_occupied` while a vehicle is in it, `bay_empty` when the last one has left. One event for the
/// bay, however many boxes the vehicle is seen as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BayConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "information")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// A vehicle must be in it this long, seconds.
    #[serde(default = "three_seconds")]
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub after_s: f64,
    /// A vehicle that was lost in the bay without being seen to leave keeps it occupied this long, seconds.
    #[serde(default = "ten_seconds")]
    #[schemars(range(min = 0.0, max = 600.0))]
    pub lost_s: f64,
    /// Severity when the vehicle is not the booked one, by a container number whose check digit fits.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub wrong_vehicle_severity: u8,
    /// Classes that count.
    #[serde(default = "vehicles")]
    pub classes: Vec<Label>,
}

/// An occupied bay that no booking covers. With a stale clearance feed nobody knows: then severity 1 at most, and
/// `check.answer` is `unknown`. A booking that arrives ends the event with reason `resolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnbookedConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "notice")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// People in an area without an inspection. An inspection is open while a booking of the area is `active`. With a
/// stale clearance feed nobody knows: then severity 2 at most, and `check.answer` is `unknown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectionConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// It must last this long, seconds.
    #[serde(default = "two_seconds")]
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub after_s: f64,
    /// Classes that count.
    #[serde(default = "people")]
    pub classes: Vec<Label>,
}

/// Something opened without an inspection. Needs a model with a class for the open state; the model delivered with
/// gatewatch has none. Open inspections and stale feeds as for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenedConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "critical")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// It must last this long, seconds.
    #[serde(default = "two_seconds")]
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub after_s: f64,
    /// Classes of the model that mean open, such as an open door.
    #[schemars(length(min = 1))]
    pub classes: Vec<Label>,
}

/// Things that stand still in an area. Only classes that the model knows can be watched. What stood there at the start
/// was not left, but can be removed. While something else covers the place, nothing is concluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectConfig {
    /// A left thing must have stood still this long, a removed one have been gone this long, seconds.
    #[schemars(range(min = 1.0, max = 604_800.0))]
    pub after_s: f64,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Classes that count.
    #[schemars(length(min = 1))]
    pub classes: Vec<Label>,
}

/// Crossing against the line's direction; reported instead of the crossing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WrongWayConfig {
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// A second thing that crosses the line the same way shortly after another; reported beside its crossing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TailgatingConfig {
    /// Shortest time between two crossings that each had an opening of their own, seconds.
    #[schemars(range(min = 0.1, max = 600.0))]
    pub within_s: f64,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    #[serde(default = "serious")]
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// A vehicle leaves: the crossing is compared with the declarations of the line's bookings and reported as `gate_out`
/// (all may leave, with the line's severity), `gate_out_not_released` or `gate_out_unchecked` (not known).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateOutConfig {
    /// Of leaving before release or in spite of a stop.
    #[serde(default = "critical")]
    #[schemars(range(min = 1, max = 4))]
    pub not_released_severity: u8,
    /// Of leaving while nobody knows: no or no sure declaration, or a stale clearance feed.
    #[serde(default = "notice")]
    #[schemars(range(min = 1, max = 4))]
    pub unchecked_severity: u8,
}

fn information() -> u8 {
    1
}

fn notice() -> u8 {
    2
}

fn serious() -> u8 {
    3
}

fn critical() -> u8 {
    4
}

fn two_seconds() -> f64 {
    2.0
}

fn three_seconds() -> f64 {
    3.0
}

fn ten_seconds() -> f64 {
    10.0
}

fn midnight() -> String {
    "00:00".into()
}

fn end_of_day() -> String {
    "24:00".into()
}

/// Classes that a rule about vehicles has without any named.
pub(crate) fn vehicles() -> Vec<Label> {
    ["truck", "bus", "car"].map(Label::from).into()
}

fn people() -> Vec<Label> {
    vec!["person".into()]
}
