//! Tips: a declaration, container or plate that the duty room looks into, or simply a time at some cameras. What the box
//! finds about one is in `agent/correlate.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::declaration::{DeclNumber, NUMBER_FORM};
use super::fact::{FactKind, Handle, Keyed, handles, plate_handle};
use super::fields::{
    Fields, ID_FORM, MessageError, Parsed, TEXT_FORM, TIME_FORM, VERSION_FORM, count, local_id, object, text, time,
};
use crate::camera::CameraId;
use crate::clock::UtcMillis;

/// Where a tip stands, as the duty room says. It also ends by itself at `expires_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TipState {
    /// Being looked into: the box watches.
    #[default]
    Open,
    /// The result is established.
    Settled,
    /// Taken back.
    Withdrawn,
}

/// One tip: the message on `in/tip`. It names a declaration, containers, plates, or cameras for a time.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "version", "issued_at"]))]
pub struct Tip {
    /// Id, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower; a tip is settled by a higher version with that state.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// When the duty room issued it.
    pub issued_at: UtcMillis,
    /// Where it stands.
    pub state: TipState,
    /// Watching ends then; 30 days (`register.tip_days`) after `issued_at` when missing.
    pub expires_at: Option<UtcMillis>,
    /// Declaration.
    pub decl_no: Option<DeclNumber>,
    /// Containers, normalised.
    pub containers: Vec<String>,
    /// Plates, normalised.
    pub plates: Vec<String>,
    /// Cameras, for a tip about a time only; all when empty.
    pub cameras: Vec<CameraId>,
    /// Look back to here; two hours before registration when missing.
    pub from: Option<UtcMillis>,
    /// Look until here; until now and on when missing.
    pub to: Option<UtcMillis>,
    /// Severity that events of the tip get at least, 1..=4; `register.tip_severity` when missing.
    #[schemars(range(min = 1, max = 4))]
    pub severity: Option<u8>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// A tip that names nothing but a time covers at most this much: it holds footage of whole cameras.
pub const MAX_BARE_MS: i64 = 24 * 3_600_000;

impl Tip {
    /// Reads the message on `in/tip`.
    ///
    /// # Errors
    /// Every field that is missing or wrong, with its value and what is allowed.
    pub fn from_json(bytes: &[u8]) -> Result<Parsed<Self>, MessageError> {
        Self::from_object(object(bytes)?)
    }

    pub(super) fn from_object(map: Map<String, Value>) -> Result<Parsed<Self>, MessageError> {
        let mut f = Fields::new(map);
        let id = f.need("id", TEXT_FORM, text);
        let version = f.need("version", VERSION_FORM, count);
        let issued_at = f.need("issued_at", TIME_FORM, time);
        let state = f.maybe_as("state", "open, settled or withdrawn");
        let expires_at = f.maybe("expires_at", TIME_FORM, time);
        let decl_no = f.maybe("decl_no", NUMBER_FORM, DeclNumber::from_json);
        let (containers, plates) = (f.containers(), f.plates());
        let cameras = f.list("cameras", ID_FORM, |v| local_id(v).map(CameraId));
        let (from, to) = (f.maybe("from", TIME_FORM, time), f.maybe("to", TIME_FORM, time));
        let severity = f.maybe("severity", "1 to 4", severity);
        let reason = f.maybe_text("reason");
        if let (Some(from), Some(to)) = (from, to)
            && to <= from
        {
            f.wrong("to", None, &format!("a time after from ({})", from.to_rfc3339()));
        }
        if decl_no.is_none() && containers.is_empty() && plates.is_empty() {
            let short = from.zip(to).is_some_and(|(from, to)| to.since(from) <= MAX_BARE_MS);
            if !short {
                f.wrong("decl_no", None, "a declaration, containers or plates; or from and to, at most 24 hours apart");
            }
        }
        f.finish(|| {
            Some(Self {
                id: id?,
                version: version?,
                issued_at: issued_at?,
                state: state.unwrap_or_default(),
                expires_at,
                decl_no,
                containers,
                plates,
                cameras,
                from,
                to,
                severity,
                reason,
            })
        })
    }

    /// When it ends by itself.
    #[must_use]
    pub fn ends(&self, days: u32) -> UtcMillis {
        self.expires_at.unwrap_or(self.issued_at.plus_ms(i64::from(days) * 86_400_000))
    }

    /// Whether the box watches for it at `at`.
    #[must_use]
    pub fn is_open(&self, at: UtcMillis, days: u32) -> bool {
        self.state == TipState::Open && at < self.ends(days)
    }

    /// Whether it is about nothing but a time.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.decl_no.is_none() && self.containers.is_empty() && self.plates.is_empty()
    }
}

impl Keyed for Tip {
    const KIND: FactKind = FactKind::Tip;

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let mut out = handles("container", &self.containers);
        out.extend(self.plates.iter().map(|p| plate_handle(p)));
        out.extend(self.decl_no.iter().map(|d| format!("decl:{}", d.key)));
        out
    }
}

fn severity(v: &Value) -> Option<u8> {
    count(v).and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=4).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_names_something_or_a_short_time() {
        let read = |more: &str| {
            let json = format!(r#"{{"id": "t", "version": 1, "issued_at": "2026-03-02T10:00:00Z"{more}}}"#);
            Tip::from_json(json.as_bytes()).map(|p| p.value).map_err(|e| e.to_string())
        };
        assert!(read(r#", "decl_no": 100000012345"#).is_ok());
        assert!(read(r#", "plates": ["51C-123.45"]"#).is_ok());
        assert!(read("").unwrap_err().contains("a declaration, containers or plates"));
        let window = |to: &str| format!(r#", "from": "2026-03-01T10:00:00Z", "to": "{to}""#);
        assert!(read(&window("2026-03-02T10:00:00Z")).is_ok());
        assert!(read(&window("2026-03-02T10:00:01Z")).unwrap_err().contains("at most 24 hours"));
        assert!(read(&window("2026-03-01T09:00:00Z")).unwrap_err().contains("a time after from"));
    }

    #[test]
    fn a_tip_is_open_until_it_is_settled_withdrawn_or_expired() {
        let read = |more: &str| {
            let json = format!(
                r#"{{"id": "t", "version": 1, "issued_at": "2026-03-02T10:00:00Z", "decl_no": "10000001234"{more}}}"#
            );
            Tip::from_json(json.as_bytes()).unwrap().value
        };
        let day = |n: i64| UtcMillis::parse_rfc3339("2026-03-02T10:00:00Z").unwrap().plus_ms(n * 86_400_000);
        assert!(read("").is_open(day(29), 30) && !read("").is_open(day(30), 30));
        assert!(!read(r#", "expires_at": "2026-03-03T10:00:00Z""#).is_open(day(1), 30));
        assert!(!read(r#", "state": "settled""#).is_open(day(0), 30));
        assert!(!read(r#", "state": "withdrawn""#).is_open(day(0), 30));
    }
}
