//! What an officer says belongs together, and orders to stop goods at the exit. Nothing is ever overwritten: a binding
//! that was wrong is superseded by another one with a reason, and both stay visible.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::declaration::{DeclNumber, NUMBER_FORM};
use super::fact::{FactKind, Handle, Keyed, plate_handle};
use super::fields::{
    Fields, ID_FORM, MessageError, Parsed, TEXT_FORM, TIME_FORM, VERSION_FORM, area_id, count, object, text, time,
};
use crate::clock::UtcMillis;
use crate::rules::AreaId;

/// What the officer says of the declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BindAction {
    /// It belongs to it.
    #[default]
    Bind,
    /// It does not.
    Reject,
}

/// An officer's binding: the message on `in/bind`. It names what is bound: an event, a visit, a container, a plate, or
/// an area for a time.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "decl_no", "officer", "at"]))]
pub struct Binding {
    /// Id, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower; 1 when missing.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Which declaration.
    pub decl_no: DeclNumber,
    /// Bound or rejected.
    pub action: BindAction,
    /// Who, as the console knows the officer (a service number, no name).
    pub officer: String,
    /// When the officer said so.
    pub at: UtcMillis,
    /// An event, by its id.
    pub event_id: Option<String>,
    /// A visit, by its id.
    pub visit_id: Option<String>,
    /// A container, wherever it is seen from `from` to `to`.
    pub container: Option<String>,
    /// A plate, wherever it is seen from `from` to `to`.
    pub plate: Option<String>,
    /// An area, for events from `from` to `to`.
    pub area: Option<AreaId>,
    /// First moment it is about; `at` when missing, of a container 30 days before.
    pub from: Option<UtcMillis>,
    /// First moment after it; without it a plate or area is bound for 24 hours, a container for 30 days.
    pub to: Option<UtcMillis>,
    /// The binding that this one corrects; needs a reason.
    pub supersedes: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// A plate or an area is bound this long where the officer gives no end: a plate is not a vehicle.
const OPEN_ENDED_MS: i64 = 86_400_000;

/// A container is bound this long before and after the officer said so, where no times are given: it is used again.
const CONTAINER_MS: i64 = 30 * 86_400_000;

impl Binding {
    /// Reads the message on `in/bind`.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn from_json(bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::from_object(object(bytes)?)
    }

    pub(super) fn from_object(map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        let mut f = Fields::new(map);
        let id = f.need("id", TEXT_FORM, text);
        let version = f.maybe("version", VERSION_FORM, count);
        let decl_no = f.need("decl_no", NUMBER_FORM, DeclNumber::from_json);
        let action = f.maybe_as("action", "bind or reject");
        let officer = f.need("officer", TEXT_FORM, text);
        let at = f.need("at", TIME_FORM, time);
        let (event_id, visit_id) = (f.maybe_text("event_id"), f.maybe_text("visit_id"));
        let (container, plate) = (f.container("container"), f.plate("plate"));
        let area = f.maybe("area", ID_FORM, area_id);
        let (from, to) = (f.maybe("from", TIME_FORM, time), f.maybe("to", TIME_FORM, time));
        let (supersedes, reason) = (f.maybe_text("supersedes"), f.maybe_text("reason"));
        let named = [event_id.is_some(), visit_id.is_some(), container.is_some(), plate.is_some(), area.is_some()];
        if named.iter().filter(|n| **n).count() != 1 {
            f.wrong("event_id", None, "exactly one of event_id, visit_id, container, plate and area");
        }
        if supersedes.is_some() && reason.is_none() {
            f.wrong("reason", None, "why the earlier binding was wrong: text of 1 to 100 characters");
        }
        if supersedes.is_some() && supersedes == id {
            let own = supersedes.clone().map(Value::from);
            let allowed = "the id of another binding; what is said anew under its own id needs a higher version only";
            f.wrong("supersedes", own.as_ref(), allowed);
        }
        f.finish(|| {
            Some(Self {
                id: id?,
                version: version.unwrap_or(1),
                decl_no: decl_no?,
                action: action.unwrap_or_default(),
                officer: officer?,
                at: at?,
                event_id,
                visit_id,
                container,
                plate,
                area,
                from,
                to,
                supersedes,
                reason,
            })
        })
    }

    /// Whether it is about something that lasted from `start` to `until`. An event or a visit is what it is at any time; a
    /// plate or an area only for a while, and a container until it is used for other goods.
    #[must_use]
    pub fn is_about(&self, start: UtcMillis, until: UtcMillis) -> bool {
        if self.event_id.is_some() || self.visit_id.is_some() {
            return true;
        }
        let (from, open_ended) = match self.container {
            // Bound at its inspection, it was the same one when it came in.
            Some(_) => (self.from.unwrap_or(self.at.plus_ms(-CONTAINER_MS)), self.at.plus_ms(CONTAINER_MS)),
            None => (self.from.unwrap_or(self.at), self.from.unwrap_or(self.at).plus_ms(OPEN_ENDED_MS)),
        };
        from <= until && start < self.to.unwrap_or(open_ended)
    }
}

impl Keyed for Binding {
    const KIND: FactKind = FactKind::Bind;

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let named = |sort: &str, value: Option<&String>| value.map(|v| format!("{sort}:{v}"));
        let all = [
            Some(format!("decl:{}", self.decl_no.key)),
            named("event", self.event_id.as_ref()),
            named("visit", self.visit_id.as_ref()),
            named("container", self.container.as_ref()),
            self.plate.as_deref().map(plate_handle),
            named("area", self.area.as_ref().map(|a| &a.0)),
            named("binding", self.supersedes.as_ref()),
        ];
        all.into_iter().flatten().collect()
    }
}

/// An order to stop goods at the supervised area (dừng đưa hàng qua khu vực giám sát): the message on `in/stop`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "decl_no", "from"]))]
pub struct StopOrder {
    /// Id, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower; 1 when missing. An order is lifted by a higher version with `to`.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Which declaration.
    pub decl_no: DeclNumber,
    /// Only this container of it; all when missing.
    pub container: Option<String>,
    /// First moment.
    pub from: UtcMillis,
    /// First moment after it; in force until further notice when missing.
    pub to: Option<UtcMillis>,
    /// Who ordered it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The tip behind it.
    pub tip_id: Option<String>,
}

impl StopOrder {
    /// Reads the message on `in/stop`.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn from_json(bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::from_object(object(bytes)?)
    }

    pub(super) fn from_object(map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        let mut f = Fields::new(map);
        let id = f.need("id", TEXT_FORM, text);
        let version = f.maybe("version", VERSION_FORM, count);
        let decl_no = f.need("decl_no", NUMBER_FORM, DeclNumber::from_json);
        let container = f.container("container");
        let from = f.need("from", TIME_FORM, time);
        let to = f.maybe("to", TIME_FORM, time);
        let (by, reason, tip_id) = (f.maybe_text("by"), f.maybe_text("reason"), f.maybe_text("tip_id"));
        f.finish(|| {
            Some(Self {
                id: id?,
                version: version.unwrap_or(1),
                decl_no: decl_no?,
                container,
                from: from?,
                to,
                by,
                reason,
                tip_id,
            })
        })
    }

    /// In force at `at` for goods in these containers (empty = not known: then it holds for all of them).
    #[must_use]
    pub fn holds(&self, at: UtcMillis, containers: &[String]) -> bool {
        let now = self.from <= at && self.to.is_none_or(|to| at < to);
        now && self.container.as_ref().is_none_or(|c| containers.is_empty() || containers.contains(c))
    }
}

impl Keyed for StopOrder {
    const KIND: FactKind = FactKind::Stop;

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        vec![format!("decl:{}", self.decl_no.key)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_names_one_thing_and_a_correction_its_reason() {
        let read = |more: &str| {
            let json = format!(
                r#"{{"id": "b", "decl_no": "10000001234", "officer": "17", "at": "2026-03-02T10:00:00Z"{more}}}"#
            );
            Binding::from_json(json.as_bytes()).map(|p| p.value).map_err(|e| e.to_string())
        };
        assert!(read(r#", "area": "bay-1""#).is_ok());
        assert!(read("").unwrap_err().contains("exactly one of event_id"));
        assert!(read(r#", "area": "bay-1", "plate": "51C12345""#).unwrap_err().contains("exactly one of"));
        assert!(read(r#", "area": "bay-1", "supersedes": "a""#).unwrap_err().contains("reason: missing"));
        let bound = read(r#", "plate": "51c-123.45""#).unwrap();
        assert_eq!(bound.plate.as_deref(), Some("51C12345"));
        let at = |h: i64| bound.at.plus_ms(h * 3_600_000);
        let boxed = read(r#", "container": "CSQU3054383""#).unwrap();
        assert!(boxed.is_about(at(-24), at(-24)) && boxed.is_about(at(24 * 29), at(24 * 29)));
        assert!(!boxed.is_about(at(24 * 31), at(24 * 31)), "a container is used again");
        let until = read(r#", "container": "CSQU3054383", "to": "2026-03-02T12:00:00Z""#).unwrap();
        assert!(until.is_about(at(1), at(1)) && !until.is_about(at(3), at(3)));
        assert!(bound.is_about(at(23), at(23)) && !bound.is_about(at(24), at(25)) && !bound.is_about(at(-2), at(-1)));
    }

    #[test]
    fn a_stop_holds_from_its_first_moment_to_its_last() {
        let json = br#"{"id": "s", "decl_no": "10000001234", "from": "2026-03-02T10:00:00Z",
            "to": "2026-03-02T11:00:00Z", "container": "CSQU3054383"}"#;
        let stop = StopOrder::from_json(json).unwrap().value;
        let at = |t: &str| UtcMillis::parse_rfc3339(t).unwrap();
        assert!(stop.holds(at("2026-03-02T10:00:00Z"), &[]));
        assert!(!stop.holds(at("2026-03-02T11:00:00Z"), &[]), "half open");
        assert!(!stop.holds(at("2026-03-02T10:30:00Z"), &["MSKU0000080".into()]), "another container of it");
    }
}
