//! Declarations: the number and its identity, and the facts the clearance side sends about one. No status is invented:
//! the time marks of the clearance system are kept, and conclusions are drawn from them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::DeclKey;
use super::fact::{FactKind, Handle, Keyed, handles, plate_handle};
use super::fields::{Fields, MessageError, Parsed, TIME_FORM, VERSION_FORM, count, object, text, time};
use crate::clock::UtcMillis;

pub(super) const NUMBER_FORM: &str = "11 or 12 digits; spaces, dots and dashes do not matter";

/// A declaration number as someone gave it. Identity is the key alone: `PartialEq` is left out on purpose, since equality
/// on twelve digits is always a mistake.
#[derive(Debug, Clone)]
pub struct DeclNumber {
    /// First 11 digits.
    pub key: DeclKey,
    /// 12th digit; `None` when it was not given. Never guessed.
    pub amend_no: Option<u8>,
}

impl DeclNumber {
    /// Reads 11 or 12 digits after removing spaces, dots and dashes.
    ///
    /// # Errors
    /// A sentence with the text and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '\u{a0}' | '.' | '-')).collect();
        let fits = matches!(digits.len(), 11 | 12) && digits.bytes().all(|b| b.is_ascii_digit());
        if !fits {
            return Err(format!("{text:?} is not a declaration number ({NUMBER_FORM})"));
        }
        let amend_no = digits.as_bytes().get(11).map(|b| b - b'0');
        Ok(Self { key: DeclKey(digits[..11].to_owned()), amend_no })
    }

    /// From a JSON string or integer: other systems pass the number as an integer.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) => Self::parse(s).ok(),
            Value::Number(n) => Self::parse(&n.as_u64()?.to_string()).ok(),
            _ => None,
        }
    }
}

/// Twelve digits when known, else eleven and `·`.
impl std::fmt::Display for DeclNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.amend_no {
            Some(n) => write!(f, "{}{n}", self.key),
            None => write!(f, "{}·", self.key),
        }
    }
}

impl Serialize for DeclNumber {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.amend_no {
            Some(n) => s.serialize_str(&format!("{}{n}", self.key)),
            None => s.serialize_str(&self.key.0),
        }
    }
}

impl<'de> Deserialize<'de> for DeclNumber {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        Self::from_json(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not {NUMBER_FORM}")))
    }
}

impl schemars::JsonSchema for DeclNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeclNumber".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Declaration number: 11 or 12 digits; the first 11 are the identity, the 12th counts amendments.",
            "anyOf": [
                {"type": "string", "pattern": r"^[ .\-]*([0-9][ .\-]*){11,12}$"},
                {"type": "integer", "minimum": 10_000_000_000_i64, "maximum": 999_999_999_999_i64}
            ]
        })
    }
}

/// Which way the goods go, as the clearance system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the country.
    Import,
    /// Out of the country.
    Export,
    /// Through the country under control.
    Transit,
    /// Not said.
    #[default]
    Unknown,
}

impl Direction {
    /// A hint from the first two digits, for people only; the clearance system's word counts.
    #[must_use]
    pub fn hint(key: &DeclKey) -> Self {
        match key.0.get(..2) {
            Some("10") => Self::Import,
            Some("30") => Self::Export,
            _ => Self::Unknown,
        }
    }
}

/// One change of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelChange {
    /// When; when the box heard of it, where the sender does not say.
    pub at: UtcMillis,
    /// Channel before: 1 green, 2 yellow, 3 red.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3))]
    pub from: Option<u8>,
    /// Channel after.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3))]
    pub to: Option<u8>,
    /// Office that decided it.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Changes kept of one declaration; the oldest go first.
const MAX_CHANGES: usize = 50;

/// What the clearance side says about one declaration: the message on `in/declaration`, and the row in the store.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["decl_no", "version"]))]
pub struct Declaration {
    /// Number.
    pub decl_no: DeclNumber,
    /// Higher replaces lower; the same with other content is a conflict.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Which way.
    pub direction: Direction,
    /// Customs office, four characters.
    #[schemars(regex(pattern = r"^[0-9A-Za-z]{4}$"))]
    pub office: Option<String>,
    /// Type code (mã loại hình), e.g. `A11`.
    pub type_code: Option<String>,
    /// Channel now: 1 green, 2 yellow, 3 red.
    #[schemars(range(min = 1, max = 3))]
    pub channel: Option<u8>,
    /// Containers, normalised.
    pub containers: Vec<String>,
    /// Plates, normalised.
    pub plates: Vec<String>,
    /// Seals, normalised.
    pub seals: Vec<String>,
    /// Changes of the channel (chuyển luồng), oldest first. Where the sender gives none, the box keeps what it saw change.
    #[schemars(length(max = 50))]
    pub channel_history: Vec<ChannelChange>,
    /// Registered.
    pub registered_at: Option<UtcMillis>,
    /// Check finished.
    pub checked_at: Option<UtcMillis>,
    /// Goods released before clearance.
    pub released_at: Option<UtcMillis>,
    /// Taken for storage, still under control.
    pub stored_at: Option<UtcMillis>,
    /// Cleared.
    pub cleared_at: Option<UtcMillis>,
    /// Passed the supervised area: the official gate-out confirmation.
    pub passed_kvgs_at: Option<UtcMillis>,
    /// Cancelled.
    pub cancelled_at: Option<UtcMillis>,
    /// Ordered to be stopped at the supervised area (dừng đưa hàng qua khu vực giám sát).
    pub stopped_at: Option<UtcMillis>,
    /// That order was lifted; counts when it is not before `stopped_at`.
    pub stop_lifted_at: Option<UtcMillis>,
    /// Which system said so.
    pub source: Option<String>,
    /// When that system was asked.
    pub fetched_at: Option<UtcMillis>,
}

impl Declaration {
    /// Reads the message on `in/declaration`.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn from_json(bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::from_object(object(bytes)?)
    }

    pub(super) fn from_object(map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        let mut f = Fields::new(map);
        let decl_no = f.need("decl_no", NUMBER_FORM, DeclNumber::from_json);
        let version = f.need("version", VERSION_FORM, count);
        let direction =
            f.maybe("direction", "import, export, transit or unknown", |v| serde_json::from_value(v.clone()).ok());
        let office = f.maybe("office", "four letters and digits like 15BB", office_code);
        let type_code = f.maybe("type_code", "a type code like A11", text);
        let channel = f.maybe("channel", "1 (green), 2 (yellow) or 3 (red)", channel_code);
        let (containers, plates, seals) = (f.containers(), f.plates(), f.seals());
        let mut channel_history: Vec<ChannelChange> =
            f.list("channel_history", "an object with at, from, to, by and reason", |v| {
                serde_json::from_value(v.clone()).ok()
            });
        channel_history.drain(..channel_history.len().saturating_sub(MAX_CHANGES));
        let mut mark = |name: &str| f.maybe(name, TIME_FORM, time);
        let (registered_at, checked_at) = (mark("registered_at"), mark("checked_at"));
        let (released_at, stored_at) = (mark("released_at"), mark("stored_at"));
        let (cleared_at, passed_kvgs_at) = (mark("cleared_at"), mark("passed_kvgs_at"));
        let (cancelled_at, fetched_at) = (mark("cancelled_at"), mark("fetched_at"));
        let (stopped_at, stop_lifted_at) = (mark("stopped_at"), mark("stop_lifted_at"));
        let source = f.maybe("source", "text up to 100 characters", text);
        f.finish(|| {
            Some(Self {
                decl_no: decl_no?,
                version: version?,
                direction: direction.unwrap_or_default(),
                office,
                type_code,
                channel,
                containers,
                plates,
                seals,
                channel_history,
                registered_at,
                checked_at,
                released_at,
                stored_at,
                cleared_at,
                passed_kvgs_at,
                cancelled_at,
                stopped_at,
                stop_lifted_at,
                source,
                fetched_at,
            })
        })
    }

    /// Identity.
    #[must_use]
    pub fn key(&self) -> &DeclKey {
        &self.decl_no.key
    }

    /// Keeps what the earlier version knew of the channel, and the change that this one brings.
    pub(crate) fn remember_channels(&mut self, before: &Self, heard: UtcMillis) {
        if !self.channel_history.is_empty() {
            return;
        }
        self.channel_history.clone_from(&before.channel_history);
        if self.channel != before.channel {
            let at = self.fetched_at.unwrap_or(heard);
            self.channel_history.push(ChannelChange {
                at,
                from: before.channel,
                to: self.channel,
                by: None,
                reason: None,
            });
        }
        self.channel_history.drain(..self.channel_history.len().saturating_sub(MAX_CHANGES));
    }
}

impl Keyed for Declaration {
    const KIND: FactKind = FactKind::Declaration;
    /// Who fetched it when, and what the box itself adds.
    const ASIDE: &'static [&'static str] = &["fetched_at", "channel_history"];

    fn key(&self) -> &str {
        &self.decl_no.key.0
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let mut out = handles("container", &self.containers);
        out.extend(handles("seal", &self.seals));
        out.extend(self.plates.iter().map(|p| plate_handle(p)));
        out.push(format!("decl:{}", self.decl_no.key));
        out
    }
}

fn office_code(v: &Value) -> Option<String> {
    let code = v.as_str()?.trim().to_ascii_uppercase();
    (code.len() == 4 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

fn channel_code(v: &Value) -> Option<u8> {
    count(v).and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=3).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_as_people_write_them() {
        let n = DeclNumber::parse("1000.0001-234 5").unwrap();
        assert_eq!((n.key.0.as_str(), n.amend_no), ("10000001234", Some(5)));
        assert_eq!(n.to_string(), "100000012345");
        let short = DeclNumber::parse("10000001234").unwrap();
        assert_eq!((short.amend_no, short.to_string()), (None, "10000001234·".to_owned()));
        for bad in ["1000000123", "1000000123456", "1000000123a", "", "１００００００１２３４"] {
            assert!(DeclNumber::parse(bad).unwrap_err().contains("11 or 12 digits"), "{bad}");
        }
        assert_eq!(DeclNumber::from_json(&serde_json::json!(100_000_012_345_u64)).unwrap().amend_no, Some(5));
    }

    #[test]
    fn every_wrong_field_is_named_with_value_and_what_is_allowed() {
        let bad = br#"{"decl_no": "12", "version": -1, "channel": 4, "registered_at": "yesterday", "plates": ["?"]}"#;
        let text = Declaration::from_json(bad).unwrap_err().to_string();
        for part in [
            r#"decl_no: "12" (allowed: 11 or 12 digits"#,
            "version: -1 (allowed: a whole number",
            "channel: 4 (allowed: 1 (green)",
            r#"registered_at: "yesterday" (allowed: a time with offset"#,
            r#"plates[0]: "?" (allowed: a plate"#,
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
        let missing = Declaration::from_json(b"{}").unwrap_err().to_string();
        assert!(missing.contains("decl_no: missing") && missing.contains("version: missing"), "{missing}");
        assert!(Declaration::from_json(b"[1]").unwrap_err().to_string().contains("not a JSON object"));
    }

    #[test]
    fn unknown_fields_and_bad_check_digits_are_noted_not_refused() {
        let msg = br#"{"decl_no": 10000001234, "version": 1, "hs_code": "1", "containers": ["CSQU 3054384"]}"#;
        let parsed = Declaration::from_json(msg).unwrap();
        assert_eq!(parsed.value.containers, ["CSQU3054384"]);
        assert_eq!(parsed.notes.len(), 2, "{:?}", parsed.notes);
        assert!(parsed.notes[0].contains("should be 3") && parsed.notes[1].contains("hs_code"));
    }

    proptest! {
        #[test]
        fn separators_never_change_a_number(digits in "[0-9]{11,12}", seps in prop::collection::vec("[ .-]{0,2}", 12)) {
            let written: String = digits.chars().zip(&seps).flat_map(|(d, s)| s.chars().chain([d])).collect();
            let n = DeclNumber::parse(&written).unwrap();
            prop_assert_eq!(n.key.0, &digits[..11]);
            prop_assert_eq!(n.amend_no.is_some(), digits.len() == 12);
        }

        #[test]
        fn a_declaration_survives_its_own_json(key in "[0-9]{11,12}", v in 0..1000_i64, ch in prop::option::of(1..=3_u8)) {
            let json = serde_json::json!({"decl_no": key, "version": v, "channel": ch, "cleared_at": "2026-03-02T10:17:45+07:00"});
            let first = Declaration::from_json(json.to_string().as_bytes()).unwrap().value;
            let again = Declaration::from_json(&serde_json::to_vec(&first).unwrap()).unwrap();
            prop_assert!(again.notes.is_empty());
            prop_assert_eq!(serde_json::to_value(&first).unwrap(), serde_json::to_value(&again.value).unwrap());
        }
    }
}
