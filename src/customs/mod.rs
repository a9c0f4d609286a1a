//! What customs knows: declaration numbers, declarations, bookings, and how an event is linked to them.
//! Pure values here; persistence is in `store/`, transport in `mqtt/` and `agent/api.rs`.

pub mod booking;
pub mod check;
pub mod container;
pub mod declaration;
pub mod feed;
mod fields;
pub mod link;
pub mod register;

pub use booking::{Booking, BookingState};
pub use check::{Answer, Check, Checks, Question};
pub use container::ContainerNo;
pub use declaration::{DeclNumber, Declaration, Direction};
pub use fields::{MessageError, Parsed, Problem};
pub use link::link;
pub use register::{Outcome, Register, RegisterSnapshot};

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
    /// The event lies in a booking of its area.
    Booking,
}

impl LinkMethod {
    /// Name as in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booking => "booking",
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
}

/// How an event stands to declarations as a whole. `Unlinked` says so explicitly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkVerdict {
    /// One candidate group won.
    Linked,
    /// One candidate group, not sure enough.
    Proposed,
    /// Several that fit.
    Ambiguous,
    /// No booking covers this area and time.
    Unlinked,
}

/// One declaration an event belongs or may belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Link {
    /// Which declaration.
    pub decl_key: DeclKey,
    /// Amendment counter (12th character) where known.
    pub amend_no: Option<u8>,
    /// By what.
    pub method: LinkMethod,
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
    /// Candidates, best first; all of one group share the confidence. At most 5 groups.
    pub links: Vec<Link>,
    /// One sentence: how it was decided, also for `unlinked`.
    pub reason: String,
    /// Age of the last word from the clearance feed in seconds; `None` when none ever came.
    pub feed_age_s: Option<i64>,
    /// The feed is older than the configured age: "no booking" may be ours not knowing.
    pub feed_stale: bool,
}
