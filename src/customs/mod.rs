//! What customs knows: declarations, bookings, visits, bindings, stop orders, readings and tips, and how an event is linked
//! to them. Pure values here; persistence is in `store/`, transport in `mqtt/` and `agent/api.rs`.

pub mod binding;
pub mod booking;
pub mod check;
mod clue;
pub mod container;
pub mod correlation;
pub mod declaration;
pub mod fact;
pub mod feed;
mod fields;
pub mod link;
pub mod observation;
pub mod onvif;
pub mod plate;
pub mod reach;
pub mod register;
mod shelf;
pub mod tip;
pub mod visit;
pub(crate) mod visits;
mod weigh;

pub use binding::{BindAction, Binding, StopOrder};
pub use booking::{Booking, BookingState};
pub use check::{Answer, Check, Checks, Question};
pub use container::ContainerNo;
pub use declaration::{DeclNumber, Declaration, Direction};
pub use fact::{Fact, FactKind};
pub use fields::{MessageError, Parsed, Problem};
pub use link::{Sought, link};
pub use observation::{Observation, ObservationKind};
pub use register::{Outcome, Register, RegisterSnapshot};
pub use tip::{Tip, TipState};
pub use visit::{Visit, VisitState};

use serde::{Deserialize, Serialize};

/// First 11 digits of a declaration number: its identity for life. The 12th is an amendment counter and never part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct DeclKey(#[schemars(regex(pattern = r"^[0-9]{11}$"))] pub String);

impl std::fmt::Display for DeclKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a link was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkMethod {
    /// An officer bound it.
    Officer,
    /// A container number was read.
    ContainerOcr,
    /// A seal number was read.
    Seal,
    /// A plate was read.
    PlateOcr,
    /// The event lies in a booking of its area.
    Booking,
    /// Inherited along a visit.
    Visit,
}

impl LinkMethod {
    /// Name as in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::ContainerOcr => "container_ocr",
            Self::Seal => "seal",
            Self::PlateOcr => "plate_ocr",
            Self::Booking => "booking",
            Self::Visit => "visit",
        }
    }
}

/// What a link holds together: all declarations of one container, or all on one vehicle.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LinkScope {
    /// Goods that are known by their container.
    Container,
    /// Goods without a known container.
    #[default]
    Vehicle,
}

/// How sure a link is, after all candidates were weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Best candidate, far enough above the next.
    Linked,
    /// One candidate, not sure enough.
    Proposed,
    /// Several candidates that none can decide between.
    Ambiguous,
    /// An officer said so.
    Confirmed,
}

/// How an event stands to declarations as a whole. `Unlinked` says so explicitly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkVerdict {
    /// One candidate group won, or an officer bound it.
    Linked,
    /// One candidate group, not sure enough.
    Proposed,
    /// Several that fit.
    Ambiguous,
    /// Nothing says whose it is.
    Unlinked,
}

/// By which rule a link was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkRule {
    /// Nothing to decide about.
    #[default]
    None,
    /// An officer's binding goes before everything.
    Officer,
    /// Officers bound it to different goods.
    OfficersDisagree,
    /// A container number whose check digit fits goes before a booking that says otherwise.
    ContainerOverBooking,
    /// Sure enough, and far enough above the next.
    Margin,
    /// One candidate, not sure enough.
    NotSure,
    /// Several candidates too close to each other.
    TooClose,
    /// A container was read that nobody knows, and booking, plate or visit stand for another one.
    UnknownContainer,
}

/// What was read contradicts what was booked. Never resolved in silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Contradiction {
    /// The booking.
    pub booking_id: String,
    /// Containers it is for, normalised; at most 20.
    pub booked: Vec<String>,
    /// The container that was read, normalised.
    pub seen: String,
    /// The reading.
    pub observation_id: String,
}

/// An open tip that an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TipRef {
    /// Tip.
    pub id: String,
    /// Severity that its events have at least.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
}

/// One declaration an event belongs or may belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Link {
    /// Which declaration.
    pub decl_key: DeclKey,
    /// Amendment counter (12th character) where known.
    pub amend_no: Option<u8>,
    /// By what; the surest way where there are several.
    pub method: LinkMethod,
    /// All ways that name it, surest first.
    #[serde(default)]
    pub methods: Vec<LinkMethod>,
    /// What says so: `booking:…`, `observation:…`, `visit:…`, `binding:…`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The container that was read, where one was.
    #[serde(default)]
    pub container: Option<String>,
    /// What it holds together.
    #[serde(default)]
    pub scope: LinkScope,
    /// 0..1.
    pub confidence: f32,
    /// After weighing.
    pub state: LinkState,
    /// The booking that made it.
    pub booking_id: Option<String>,
    /// Containers of that booking or declaration, normalised.
    pub containers: Vec<String>,
    /// Channel of the declaration now: 1 green, 2 yellow, 3 red; `None` when not known.
    pub channel: Option<u8>,
    /// The declaration itself is known to the register (a booking may name one that never arrived).
    pub declaration_known: bool,
    /// One sentence: why this confidence.
    pub reason: String,
}

/// Everything an event says about declarations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LinkOutcome {
    /// The result as a whole.
    pub verdict: LinkVerdict,
    /// By which rule.
    #[serde(default)]
    pub rule: LinkRule,
    /// Candidates, best group first. At most 5 groups; those of one group do not compete.
    pub links: Vec<Link>,
    /// What was read contradicts the booking.
    #[serde(default)]
    pub contradiction: Option<Contradiction>,
    /// Open tips it belongs to; the severity of the event is at least theirs.
    #[serde(default)]
    pub tips: Vec<TipRef>,
    /// One sentence: how it was decided, also for `unlinked`.
    pub reason: String,
    /// Age of the last word from the clearance feed in seconds; `None` when none ever came.
    pub feed_age_s: Option<i64>,
    /// The feed is older than the configured age: "no booking" may be ours not knowing.
    pub feed_stale: bool,
}
