//! Bookings: which declarations were given which area when. Windows are half-open: `[start, end)`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::declaration::{DeclNumber, NUMBER_FORM};
use super::fact::{FactKind, Handle, Keyed, handles, plate_handle};
use super::fields::{Fields, MessageError, Parsed, TIME_FORM, VERSION_FORM, area_id, count, object, text, time};
use crate::clock::UtcMillis;
use crate::config::RegisterConfig;
use crate::rules::AreaId;

/// Where a booking stands, as the clearance side says. Only `cancelled` changes linking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BookingState {
    /// To come.
    #[default]
    Planned,
    /// Being used.
    Active,
    /// Used.
    Done,
    /// Called off: as if it were not there.
    Cancelled,
}

/// One booking: the message on `in/booking`, and the row in the store.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "version", "area", "decl_keys", "start", "end"]))]
pub struct Booking {
    /// Id, unique for the clearance side, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower; the same with other content is a conflict.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Area of a box; areas the box does not have are kept and never match.
    pub area: AreaId,
    /// Declarations of the booking, at least one. They belong together and do not compete.
    #[schemars(length(min = 1))]
    pub decl_keys: Vec<DeclNumber>,
    /// Containers, normalised.
    pub containers: Vec<String>,
    /// Plates, normalised.
    pub plates: Vec<String>,
    /// First moment.
    pub start: UtcMillis,
    /// First moment after it.
    pub end: UtcMillis,
    /// Where it stands.
    pub state: BookingState,
}

impl Booking {
    /// From its grace before to its grace after, half open.
    #[must_use]
    pub fn with_grace(&self, config: &RegisterConfig) -> (UtcMillis, UtcMillis) {
        let (before, after) = (i64::from(config.grace_before_s), i64::from(config.grace_after_s));
        (self.start.plus_ms(-before * 1000), self.end.plus_ms(after * 1000))
    }

    /// Whether its inspection is open: `active`, from its grace before to its grace after.
    #[must_use]
    pub fn is_inspected(&self, now: UtcMillis, config: &RegisterConfig) -> bool {
        let (from, until) = self.with_grace(config);
        self.state == BookingState::Active && from <= now && now < until
    }

    /// Reads the message on `in/booking`.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn from_json(bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::from_object(object(bytes)?)
    }

    pub(super) fn from_object(map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        let end_given = map.get("end").cloned();
        let keys_given = map.get("decl_keys").cloned();
        let mut f = Fields::new(map);
        let id = f.need("id", "text of 1 to 100 characters", text);
        let version = f.need("version", VERSION_FORM, count);
        let area = f.need("area", "an area id: up to 32 of a-z 0-9 -", area_id);
        let decl_keys = f.list("decl_keys", NUMBER_FORM, DeclNumber::from_json);
        if keys_given.as_ref().is_none_or(|v| v.is_null() || v.as_array().is_some_and(Vec::is_empty)) {
            f.wrong("decl_keys", keys_given.as_ref(), "a list of at least one declaration number");
        }
        let (containers, plates) = (f.containers(), f.plates());
        let start = f.need("start", TIME_FORM, time);
        let end = f.need("end", TIME_FORM, time);
        if let (Some(s), Some(e)) = (start, end)
            && e <= s
        {
            f.wrong("end", end_given.as_ref(), &format!("a time after start ({})", s.to_rfc3339()));
        }
        let state = f.maybe("state", "planned, active, done or cancelled", |v| serde_json::from_value(v.clone()).ok());
        f.finish(|| {
            Some(Self {
                id: id?,
                version: version?,
                area: area?,
                decl_keys,
                containers,
                plates,
                start: start?,
                end: end?,
                state: state.unwrap_or_default(),
            })
        })
    }
}

impl Keyed for Booking {
    const KIND: FactKind = FactKind::Booking;

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let mut out = handles("container", &self.containers);
        out.extend(self.plates.iter().map(|p| plate_handle(p)));
        out.extend(self.decl_keys.iter().map(|d| format!("decl:{}", d.key)));
        out.push(format!("area:{}", self.area));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id": "b1", "version": 1, "area": "bay-1", "decl_keys": ["100000012340", 10000001235],
        "plates": ["15c-123.45"], "start": "2026-03-02T09:00:00+07:00", "end": "2026-03-02T10:00:00+07:00"}"#;

    #[test]
    fn a_booking_is_read_and_normalised() {
        let b = Booking::from_json(GOOD.as_bytes()).unwrap().value;
        assert_eq!(b.decl_keys[0].amend_no, Some(0));
        assert_eq!(b.decl_keys[1].key.0, "10000001235");
        assert_eq!(b.plates, ["15C12345"]);
        assert_eq!(b.end.since(b.start), 3_600_000);
        assert_eq!(b.state, BookingState::Planned);
        let again = Booking::from_json(&serde_json::to_vec(&b).unwrap()).unwrap().value;
        assert!(again.same_facts(&b));
    }

    #[test]
    fn wrong_bookings_say_what_is_allowed() {
        let cases = [
            ("\"bay-1\"", "\"Bay 1\"", "area: \"Bay 1\" (allowed: an area id"),
            ("T10:00", "T08:00", "(allowed: a time after start"),
            ("[\"100000012340\", 10000001235]", "[]", "decl_keys: [] (allowed: a list of at least one"),
            ("10000001235", "true", "decl_keys[1]: true (allowed: 11 or 12 digits"),
        ];
        for (from, to, expected) in cases {
            let err = Booking::from_json(GOOD.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
    }
}
