//! Reading messages from the clearance side field by field, so that every error names the field, its value and what
//! is allowed, and all errors of a message come at once.
//!
//! Unknown fields are tolerated (the clearance side may be newer than the box) but never silent: they come back in
//! [`Parsed::notes`], and the caller logs them.

use serde_json::{Map, Value};

use super::container::{ContainerNo, normalise};
use super::declaration::{DeclNumber, NUMBER_FORM};
use crate::clock::UtcMillis;
use crate::rules::AreaId;

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Field, e.g. `decl_keys[1]`.
    pub field: String,
    /// Its value as written (shortened), or `missing`.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} (allowed: {})", self.field, self.value, self.allowed)
    }
}

/// Why a message was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// Fields are missing or wrong; all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<Problem>),
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// What was odd but did not matter: unknown fields, check digits that do not fit. One sentence each.
    pub notes: Vec<String>,
}

/// Parses bytes to an object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, MessageError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(MessageError::NotAnObject(shorten(&other.to_string()))),
        Err(e) => Err(MessageError::NotAnObject(e.to_string())),
    }
}

/// Takes fields out of an object and collects what is wrong.
pub(super) struct Fields {
    map: Map<String, Value>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Fields {
    pub(super) fn new(map: Map<String, Value>) -> Self {
        Self { map, problems: Vec::new(), notes: Vec::new() }
    }

    /// The field, `None` when missing or null.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|v| !v.is_null())
    }

    pub(super) fn wrong(&mut self, field: &str, value: Option<&Value>, allowed: &str) {
        let value = value.map_or_else(|| "missing".into(), |v| shorten(&v.to_string()));
        self.problems.push(Problem { field: field.into(), value, allowed: allowed.into() });
    }

    /// A compulsory field; `read` gives `None` when the value is not allowed.
    pub(super) fn need<T>(&mut self, field: &str, allowed: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(field);
        let out = value.as_ref().and_then(read);
        if out.is_none() {
            self.wrong(field, value.as_ref(), allowed);
        }
        out
    }

    /// A field that may be missing.
    pub(super) fn maybe<T>(&mut self, field: &str, allowed: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(field)?;
        let out = read(&value);
        if out.is_none() {
            self.wrong(field, Some(&value), allowed);
        }
        out
    }

    /// A list, empty when missing. Each element is read on its own.
    pub(super) fn list<T>(&mut self, field: &str, allowed: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let items = match self.take(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(field, Some(&other), &format!("a list; each {allowed}"));
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match read(item) {
                Some(v) => out.push(v),
                None => self.wrong(&format!("{field}[{i}]"), Some(item), allowed),
            }
        }
        out
    }

    /// Normalised container numbers. A check digit that does not fit is noted, not refused: the clearance system holds
    /// typing errors too, and refusing the declaration would lose the link.
    pub(super) fn containers(&mut self) -> Vec<String> {
        let found = self.list("containers", "a container number like CSQU3054383", container_text);
        for c in &found {
            if let ContainerNo::WrongCheckDigit { text, expected } = c {
                self.notes.push(format!("containers: {text} kept as written, its check digit should be {expected}"));
            }
        }
        found.into_iter().map(|c| c.as_str().to_owned()).collect()
    }

    /// A list of declaration numbers.
    pub(super) fn numbers(&mut self, field: &str) -> Vec<DeclNumber> {
        self.list(field, NUMBER_FORM, DeclNumber::from_json)
    }

    /// One container number, normalised.
    pub(super) fn container(&mut self, field: &str) -> Option<String> {
        self.maybe(field, "a container number like CSQU3054383", |v| container_text(v).map(|c| c.as_str().to_owned()))
    }

    /// One plate, normalised.
    pub(super) fn plate(&mut self, field: &str) -> Option<String> {
        self.maybe(field, PLATE_FORM, plate_text)
    }

    /// A field that may be missing and is left out when it may not.
    pub(super) fn maybe_text(&mut self, field: &str) -> Option<String> {
        self.maybe(field, TEXT_FORM, text)
    }

    /// A field that may be missing, read by serde.
    pub(super) fn maybe_as<T: serde::de::DeserializeOwned>(&mut self, field: &str, allowed: &str) -> Option<T> {
        self.maybe(field, allowed, |v| serde_json::from_value(v.clone()).ok())
    }

    /// Normalised seal numbers.
    pub(super) fn seals(&mut self) -> Vec<String> {
        self.list("seals", "a seal number of 2 to 30 letters and digits", |v| {
            let norm = normalise(v.as_str()?);
            (2..=30).contains(&norm.chars().count()).then_some(norm)
        })
    }

    /// Normalised plates. Opaque: Chinese, Lao and Cambodian plates are normal at land gates.
    pub(super) fn plates(&mut self) -> Vec<String> {
        self.list("plates", PLATE_FORM, plate_text)
    }

    /// The value, or everything that was wrong.
    pub(super) fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<Parsed<T>, MessageError> {
        if !self.problems.is_empty() {
            return Err(MessageError::Fields(self.problems));
        }
        for field in self.map.keys() {
            self.notes.push(format!("{}: not a field of this message, ignored", shorten(field)));
        }
        let value = build().expect("every compulsory field was read or named as a problem");
        Ok(Parsed { value, notes: self.notes })
    }
}

pub(super) fn container_text(v: &Value) -> Option<ContainerNo> {
    let text = v.as_str()?;
    (4..=20).contains(&normalise(text).chars().count()).then(|| ContainerNo::parse(text))
}

pub(super) fn plate_text(v: &Value) -> Option<String> {
    let norm = normalise(v.as_str()?);
    (2..=16).contains(&norm.chars().count()).then_some(norm)
}

/// An area id of a box.
pub(super) fn area_id(v: &Value) -> Option<AreaId> {
    local_id(v).map(AreaId)
}

/// Id of an area or camera: up to 32 of a-z 0-9 -.
pub(super) fn local_id(v: &Value) -> Option<String> {
    let s = v.as_str()?;
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let form = (1..=32).contains(&s.len()) && ok(s.as_bytes()[0]) && s.bytes().all(|b| ok(b) || b == b'-');
    form.then(|| s.to_owned())
}

/// 0..=1.
pub(super) fn fraction(v: &Value) -> Option<f32> {
    let n = v.as_f64().or_else(|| v.as_str()?.trim().parse().ok())?;
    #[expect(clippy::cast_possible_truncation, reason = "0..=1")]
    (0.0..=1.0).contains(&n).then_some(n as f32)
}

/// Non-empty text of at most 100 characters, trimmed.
pub(super) fn text(v: &Value) -> Option<String> {
    let t = v.as_str()?.trim();
    (!t.is_empty() && t.chars().count() <= 100).then(|| t.to_owned())
}

/// A time with offset. Years 1970 to 9999.
pub(super) fn time(v: &Value) -> Option<UtcMillis> {
    UtcMillis::parse_rfc3339(v.as_str()?.trim()).ok().filter(|t| t.0 >= 0)
}

/// Zero or more; a number or its digits.
pub(super) fn count(v: &Value) -> Option<i64> {
    v.as_i64().or_else(|| v.as_str()?.trim().parse().ok()).filter(|n| *n >= 0)
}

pub(super) const TEXT_FORM: &str = "text of 1 to 100 characters";
pub(super) const ID_FORM: &str = "an id: up to 32 of a-z 0-9 -";
pub(super) const FRACTION_FORM: &str = "a number from 0 to 1";
const PLATE_FORM: &str = "a plate of 2 to 16 letters and digits";
pub(super) const TIME_FORM: &str = "a time with offset like 2026-03-02T10:17:45+07:00";
pub(super) const VERSION_FORM: &str = "a whole number from 0, higher = newer";

fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((i, _)) => format!("{}…", &text[..i]),
        None => text.to_owned(),
    }
}
