//! Area rules: what tracks did at areas and lines. Values in, values out; time is the frames' own.

mod area;
#[cfg(test)]
mod area_tests;
mod bay;
mod crowd;
mod draft;
mod dwell;
mod engine;
#[cfg(test)]
mod engine_tests;
mod enter;
mod exit;
pub(crate) mod gate_out;
mod ground;
mod group;
mod held;
mod inspection;
mod line;
mod line_cross;
#[cfg(test)]
mod line_tests;
mod mask;
mod motion;
mod object_left;
mod object_removed;
mod occupancy;
mod presence;
mod restricted;
mod schedule;
mod spots;
#[cfg(test)]
mod stage;
mod still;
mod stopped;
mod tailgating;
mod wrong_way;

pub use engine::AreaRules;
pub use mask::Masks;
pub use schedule::Schedule;

use serde::{Deserialize, Serialize};

use crate::clock::{MonoMillis, UtcMillis};
use crate::customs::Check;
use crate::geometry::{CrossDirection, Point, Rect};
use crate::track::TrackId;
use crate::vision::Label;

/// Identity of an area or line, same form as a camera id, unique in a box.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct AreaId(#[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))] pub String);

impl std::fmt::Display for AreaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A track is in the area: new at entering, end at leaving.
    Enter,
    /// A track left the area: an instant.
    Exit,
    /// A track stayed in the area longer than the limit: new at the limit, end at leaving.
    Dwell,
    /// A track crossed a line: an instant.
    LineCross,
    /// A track crossed a line against its direction: an instant.
    WrongWay,
    /// A track crossed a line shortly after another: an instant.
    Tailgating,
    /// A track left the supervised area and may: an instant.
    GateOut,
    /// A track left the supervised area before release or in spite of a stop: an instant.
    GateOutNotReleased,
    /// A track left the supervised area and nobody knows whether it may: an instant.
    GateOutUnchecked,
    /// Tracks are in an area while it is closed.
    Restricted,
    /// Too many tracks are in an area.
    Occupancy,
    /// A vehicle stands still in an area.
    Stopped,
    /// A vehicle is in a bay.
    BayOccupied,
    /// The last vehicle has left a bay: an instant.
    BayEmpty,
    /// A bay is occupied and not booked.
    BayUnbooked,
    /// The vehicle in a bay is another one than the booked one, by the container that was read.
    BayWrongVehicle,
    /// People are in an area while no inspection is open.
    PersonWithoutInspection,
    /// Something was opened in an area while no inspection is open.
    OpenedWithoutInspection,
    /// A thing was put down in an area and stays.
    ObjectLeft,
    /// A thing that stood in an area is gone: an instant.
    ObjectRemoved,
}

impl RuleKind {
    /// Name as in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Dwell => "dwell",
            Self::LineCross => "line_cross",
            Self::WrongWay => "wrong_way",
            Self::Tailgating => "tailgating",
            Self::GateOut => "gate_out",
            Self::GateOutNotReleased => "gate_out_not_released",
            Self::GateOutUnchecked => "gate_out_unchecked",
            Self::Restricted => "restricted",
            Self::Occupancy => "occupancy",
            Self::Stopped => "stopped",
            Self::BayOccupied => "bay_occupied",
            Self::BayEmpty => "bay_empty",
            Self::BayUnbooked => "bay_unbooked",
            Self::BayWrongVehicle => "bay_wrong_vehicle",
            Self::PersonWithoutInspection => "person_without_inspection",
            Self::OpenedWithoutInspection => "opened_without_inspection",
            Self::ObjectLeft => "object_left",
            Self::ObjectRemoved => "object_removed",
        }
    }

    /// All rules.
    pub const ALL: [Self; 20] = [
        Self::Enter,
        Self::Exit,
        Self::Dwell,
        Self::LineCross,
        Self::WrongWay,
        Self::Tailgating,
        Self::GateOut,
        Self::GateOutNotReleased,
        Self::GateOutUnchecked,
        Self::Restricted,
        Self::Occupancy,
        Self::Stopped,
        Self::BayOccupied,
        Self::BayEmpty,
        Self::BayUnbooked,
        Self::BayWrongVehicle,
        Self::PersonWithoutInspection,
        Self::OpenedWithoutInspection,
        Self::ObjectLeft,
        Self::ObjectRemoved,
    ];
}

/// Gives a remembered track its other name, where it is one of two that exchanged theirs; whether it was.
pub(crate) fn renamed(track: &mut TrackId, (a, b): (TrackId, TrackId)) -> bool {
    let other = match *track {
        t if t == a => b,
        t if t == b => a,
        _ => return false,
    };
    *track = other;
    true
}

/// Seconds of the configuration as milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "the configuration's ranges are far below")]
fn seconds(s: f64) -> i64 {
    (s * 1000.0).round() as i64
}

/// Where a box of a picture of `size` pixels stands, in fractions. A box that is cut off by the picture's edge stands
/// within the edge, so that areas reaching to the edge hold it.
fn foot_fraction(rect: &Rect, size: (u32, u32)) -> Point {
    let within = |v: f32, of: u32| (v / of.max(1) as f32).clamp(1e-4, 1.0 - 1e-4);
    let foot = rect.foot();
    Point { x: within(foot.x, size.0), y: within(foot.y, size.1) }
}

/// Where an event stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// First message.
    New,
    /// Something that matters changed.
    Update,
    /// Last message.
    End,
}

/// Why an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The thing the rule watches is over, seen by the camera.
    Observed,
    /// The track was lost inside the area; the end time is the last sight of it.
    TrackLost,
    /// The camera was lost or stalled; the end time is the last sight.
    CameraLost,
    /// The agent was stopped or started again; the end time is the last sight written down.
    Restart,
    /// What made it worth reporting is over, though the thing may still be there: the closed time ended, a booking
    /// arrived, an inspection was opened.
    Resolved,
}

/// What a rule reports about one track at one area. `key` is the same over all phases of one situation.
#[derive(Debug, Clone, PartialEq)]
pub struct AreaEvent {
    /// Same for all phases of one situation, unique in this process.
    pub key: u64,
    /// Which rule.
    pub rule: RuleKind,
    /// 1 information, 2 notice, 3 serious, 4 critical.
    pub severity: u8,
    /// At which area or line.
    pub area: AreaId,
    /// Who; of several the one that the picture shows.
    pub track: TrackId,
    /// Class of the track now.
    pub label: Label,
    /// Its latest box, pixels.
    pub rect: Rect,
    /// Score of that box.
    pub score: f32,
    /// Where in its life.
    pub phase: Phase,
    /// An update that is not worth a message of its own: it goes with the next one.
    pub quiet: bool,
    /// When it began (entered; for `Dwell` when the track entered, not when the limit was reached).
    pub start: UtcMillis,
    /// The frame this report is about.
    pub at: UtcMillis,
    /// Set on the last report; equals `start` for an instant.
    pub end: Option<UtcMillis>,
    /// Why it ended; only with `end`.
    pub end_reason: Option<EndReason>,
    /// How long it has lasted, by the monotonic clock of the frames. `None` for lines.
    pub dwell_ms: Option<i64>,
    /// For lines.
    pub direction: Option<CrossDirection>,
    /// What customs answered, where the rule asks.
    pub check: Option<Check>,
    /// Greatest number of things at once, where the rule counts.
    pub count: Option<u32>,
    /// Repeats of the same situation that were folded into this event so far.
    pub suppressed: u32,
    /// The track has jumped further than the thing can have moved: it may be two things mixed up.
    pub jumped: bool,
    /// Of a crossing: when its line was crossed lately, this time included.
    pub crossed: Vec<UtcMillis>,
    /// Monotonic twin of `at`.
    pub mono: MonoMillis,
}
