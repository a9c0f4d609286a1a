//! One fact of any kind: what it is, by which key and version it is known, and what it can be found by. What a kind
//! holds is in a file of its own.

use serde_json::{Map, Value};

use super::fields::{MessageError, Parsed, object};
use super::{Binding, Booking, Declaration, Observation, StopOrder, Tip, Visit};

/// What a fact is about; also the last level of its topic and its kind in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactKind {
    /// A declaration.
    Declaration,
    /// A booking of an area.
    Booking,
    /// A vehicle's stay on the site.
    Visit,
    /// An officer's word on what belongs together.
    Bind,
    /// An order to stop goods at the exit.
    Stop,
    /// A plate, container or seal number that was read.
    Observation,
    /// A tip.
    Tip,
}

impl FactKind {
    /// All kinds, in the order in which a file of facts is taken.
    pub const ALL: [Self; 7] =
        [Self::Declaration, Self::Booking, Self::Visit, Self::Bind, Self::Stop, Self::Observation, Self::Tip];

    /// Name in topics, in the store and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declaration => "declaration",
            Self::Booking => "booking",
            Self::Visit => "visit",
            Self::Bind => "bind",
            Self::Stop => "stop",
            Self::Observation => "observation",
            Self::Tip => "tip",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Name of a list of them, in feed files and paths.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Declaration => "declarations",
            Self::Booking => "bookings",
            Self::Visit => "visits",
            Self::Bind => "bindings",
            Self::Stop => "stops",
            Self::Observation => "observations",
            Self::Tip => "tips",
        }
    }
}

/// One fact from the clearance side, a gate system, a camera or an officer.
#[derive(Debug, Clone)]
pub enum Fact {
    /// About a declaration.
    Declaration(Declaration),
    /// About a booking.
    Booking(Booking),
    /// About a visit.
    Visit(Visit),
    /// A binding.
    Bind(Binding),
    /// A stop order.
    Stop(StopOrder),
    /// Something read.
    Observation(Observation),
    /// A tip.
    Tip(Tip),
}

/// What a fact is found by: `decl:…`, `container:…`, `plate:…`, `seal:…`, `area:…`, `camera:…`, `event:…`, `visit:…`,
/// `passage:…`. The same words index the register in memory and the facts in the store.
pub type Handle = String;

/// What every kind of fact has.
pub trait Keyed: serde::Serialize {
    /// Which kind.
    const KIND: FactKind;
    /// Fields that say nothing about the thing itself: two facts that differ in them only are the same.
    const ASIDE: &'static [&'static str] = &[];

    /// Identity within its kind.
    fn key(&self) -> &str;
    /// Higher replaces lower.
    fn version(&self) -> i64;
    /// What it can be found by.
    fn handles(&self) -> Vec<Handle>;

    /// Whether this says the same as another fact of its key and version.
    fn same_facts(&self, other: &Self) -> bool {
        self.without_aside() == other.without_aside()
    }

    /// What it says of the thing itself.
    fn without_aside(&self) -> Value {
        let mut said = serde_json::to_value(self).unwrap_or_default();
        for field in Self::ASIDE {
            said[field] = Value::Null;
        }
        said
    }
}

/// Does the same with whichever fact it is.
macro_rules! each {
    ($fact:expr, $f:ident => $do:expr) => {
        match $fact {
            Fact::Declaration($f) => $do,
            Fact::Booking($f) => $do,
            Fact::Visit($f) => $do,
            Fact::Bind($f) => $do,
            Fact::Stop($f) => $do,
            Fact::Observation($f) => $do,
            Fact::Tip($f) => $do,
        }
    };
}

impl Fact {
    /// Reads a message of this kind.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn read(kind: FactKind, map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        fn wrap<T>(parsed: Parsed<T>, fact: impl FnOnce(T) -> Fact) -> Parsed<Fact> {
            Parsed { value: fact(parsed.value), notes: parsed.notes }
        }
        Ok(match kind {
            FactKind::Declaration => wrap(Declaration::from_object(map)?, Self::Declaration),
            FactKind::Booking => wrap(Booking::from_object(map)?, Self::Booking),
            FactKind::Visit => wrap(Visit::from_object(map)?, Self::Visit),
            FactKind::Bind => wrap(Binding::from_object(map)?, Self::Bind),
            FactKind::Stop => wrap(StopOrder::from_object(map)?, Self::Stop),
            FactKind::Observation => wrap(Observation::from_object(map)?, Self::Observation),
            FactKind::Tip => wrap(Tip::from_object(map)?, Self::Tip),
        })
    }

    /// Reads bytes, as the store keeps them.
    ///
    /// # Errors
    /// As [`Fact::read`], or when it is no JSON object.
    pub fn from_json(kind: FactKind, bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::read(kind, object(bytes)?)
    }

    /// Which kind.
    #[must_use]
    pub fn kind(&self) -> FactKind {
        fn kind<T: Keyed>(_: &T) -> FactKind {
            T::KIND
        }
        each!(self, f => kind(f))
    }

    /// Identity within its kind.
    #[must_use]
    pub fn key(&self) -> &str {
        each!(self, f => Keyed::key(f))
    }

    /// Higher replaces lower.
    #[must_use]
    pub fn version(&self) -> i64 {
        each!(self, f => f.version())
    }

    /// What it can be found by.
    #[must_use]
    pub fn handles(&self) -> Vec<Handle> {
        each!(self, f => f.handles())
    }

    /// As it is sent and kept.
    #[must_use]
    pub fn to_value(&self) -> Value {
        each!(self, f => serde_json::to_value(f).unwrap_or_default())
    }

    /// What it says of the thing itself, without [`Keyed::ASIDE`].
    pub(crate) fn said(&self) -> Value {
        each!(self, f => f.without_aside())
    }
}

/// Handles of several values of one sort.
pub(super) fn handles<'a>(sort: &str, values: impl IntoIterator<Item = &'a String>) -> Vec<Handle> {
    values.into_iter().map(|v| format!("{sort}:{v}")).collect()
}

/// Handle of a plate: `Đ` and `D` are one.
pub(super) fn plate_handle(norm: &str) -> Handle {
    format!("plate:{}", super::plate::folded(norm))
}
