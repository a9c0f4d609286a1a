//! Visits: a vehicle's stay on the site, from gate in to gate out, as the triple of tractor, trailer and containers. The
//! triple may be formed anew on the way, so every part is dated. How visits follow from readings is in `visits.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::declaration::DeclNumber;
use super::fact::{FactKind, Handle, Keyed, handles, plate_handle};
use super::fields::{
    FRACTION_FORM, Fields, MessageError, Parsed, TEXT_FORM, TIME_FORM, VERSION_FORM, count, fraction, object, text,
    time,
};
use crate::clock::UtcMillis;
use crate::rules::AreaId;

/// Whether the vehicle is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VisitState {
    /// On the site.
    #[default]
    Open,
    /// Seen to leave.
    Closed,
    /// Nobody saw it leave: it came in again, or the time was up.
    ClosedUnseen,
}

/// Which part of the triple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Tractor, by its plate.
    Head,
    /// Trailer, by its plate.
    Trailer,
    /// Container.
    Container,
}

/// A part that joined or left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisitPart {
    /// When.
    pub at: UtcMillis,
    /// Which.
    pub part: Part,
    /// Its plate or number, normalised.
    pub value: String,
    /// It left the visit then (uncoupled, loaded over) instead of joining it.
    #[serde(default)]
    pub left: bool,
    /// The reading that says so.
    #[serde(default)]
    pub observation: Option<String>,
}

/// Where the vehicle was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stay {
    /// Area.
    pub area: AreaId,
    /// First known there.
    pub at: UtcMillis,
    /// Last known there; at `at` only when missing.
    #[serde(default)]
    pub until: Option<UtcMillis>,
}

/// One visit: the message on `in/visit`, and what the box makes of readings at the gate.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "version", "in_at"]))]
pub struct Visit {
    /// Id, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Seen to come in.
    pub in_at: UtcMillis,
    /// Seen to go out.
    pub out_at: Option<UtcMillis>,
    /// Whether it is still there.
    pub state: VisitState,
    /// Tractor now, normalised.
    pub head_plate: Option<String>,
    /// Trailer now, normalised.
    pub trailer_plate: Option<String>,
    /// Containers now, normalised.
    pub containers: Vec<String>,
    /// Declarations that the gate system names.
    pub decl_keys: Vec<DeclNumber>,
    /// The booking that opened it; a link by both counts once.
    pub booking_id: Option<String>,
    /// The visit its goods came from, when they were loaded over.
    pub from_visit: Option<String>,
    /// How sure the triple is, 0..1; links inherited from it are a hop weaker.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
    /// Parts that joined and left, oldest first.
    #[schemars(length(max = 100))]
    pub parts: Vec<VisitPart>,
    /// Where it was, oldest first.
    #[schemars(length(max = 100))]
    pub stays: Vec<Stay>,
}

/// Sure enough where the gate system says nothing else.
const DEFAULT_CONFIDENCE: f32 = 0.85;
/// Parts and stays kept of one visit; the oldest go first.
pub const MAX_ENTRIES: usize = 100;

impl Visit {
    /// Reads the message on `in/visit`.
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
        let in_at = f.need("in_at", TIME_FORM, time);
        let out_at = f.maybe("out_at", TIME_FORM, time);
        let state = f.maybe_as("state", "open, closed or closed_unseen");
        let (head_plate, trailer_plate) = (f.plate("head_plate"), f.plate("trailer_plate"));
        let (containers, decl_keys) = (f.containers(), f.numbers("decl_keys"));
        let (booking_id, from_visit) = (f.maybe_text("booking_id"), f.maybe_text("from_visit"));
        let confidence = f.maybe("confidence", FRACTION_FORM, fraction);
        let parts = f.list("parts", "an object with at, part (head, trailer or container) and value", part);
        let stays = f.list("stays", "an object with area, at and until", |v| serde_json::from_value(v.clone()).ok());
        let gone = if out_at.is_some() { VisitState::Closed } else { VisitState::Open };
        f.finish(|| {
            Some(Self {
                id: id?,
                version: version?,
                in_at: in_at?,
                out_at,
                state: state.unwrap_or(gone),
                head_plate,
                trailer_plate,
                containers,
                decl_keys,
                booking_id,
                from_visit,
                confidence: confidence.unwrap_or(DEFAULT_CONFIDENCE),
                parts: last(parts),
                stays: last(stays),
            })
        })
    }

    /// On the site at `at`, as far as anybody saw. A visit nobody saw end is over after `timeout_ms`.
    #[must_use]
    pub fn covers(&self, at: UtcMillis, timeout_ms: i64) -> bool {
        let until = self.out_at.unwrap_or(self.in_at.plus_ms(timeout_ms));
        self.in_at <= at && at <= until
    }

    /// Tractor and trailer at `at`, each with since when it is known to belong to the visit. The last one that joined by then
    /// counts; of what left, the very moment still does.
    #[must_use]
    pub fn plates_at(&self, at: UtcMillis) -> Vec<(&str, UtcMillis)> {
        let parts = [(Part::Head, &self.head_plate), (Part::Trailer, &self.trailer_plate)];
        let each = parts.into_iter().filter_map(|(which, now)| {
            let dated = || self.parts.iter().filter(|p| p.part == which);
            // Of equal times the later entry counts.
            match dated().filter(|p| p.at <= at).max_by_key(|p| p.at) {
                Some(p) => (!p.left || p.at == at).then_some((p.value.as_str(), p.at)),
                None => Some((dated().next().map(|p| &p.value).or(now.as_ref())?.as_str(), self.in_at)),
            }
        });
        each.collect()
    }

    /// The containers of the visit at `at`: those now, less what joined later, and what has left since.
    #[must_use]
    pub fn containers_at(&self, at: UtcMillis) -> Vec<String> {
        let mut there: Vec<String> = self.containers.clone();
        for part in self.parts.iter().rev().filter(|p| p.part == Part::Container && p.at > at) {
            if part.left {
                there.push(part.value.clone());
            } else {
                there.retain(|c| *c != part.value);
            }
        }
        there
    }

    /// Every value a part of it ever had.
    fn values(&self, which: Part, now: &[&String]) -> Vec<String> {
        let dated = self.parts.iter().filter(|p| p.part == which).map(|p| &p.value);
        let mut all: Vec<String> = now.iter().copied().chain(dated).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

fn part(v: &Value) -> Option<VisitPart> {
    let mut part: VisitPart = serde_json::from_value(v.clone()).ok()?;
    part.value = super::container::normalise(&part.value);
    (!part.value.is_empty()).then_some(part)
}

fn last<T>(mut list: Vec<T>) -> Vec<T> {
    list.drain(..list.len().saturating_sub(MAX_ENTRIES));
    list
}

impl Keyed for Visit {
    const KIND: FactKind = FactKind::Visit;

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let containers: Vec<&String> = self.containers.iter().collect();
        let heads: Vec<&String> = self.head_plate.iter().collect();
        let trailers: Vec<&String> = self.trailer_plate.iter().collect();
        let mut out = handles("container", &self.values(Part::Container, &containers));
        let plates = [self.values(Part::Head, &heads), self.values(Part::Trailer, &trailers)].concat();
        out.extend(plates.iter().map(|p| plate_handle(p)));
        out.extend(self.decl_keys.iter().map(|d| format!("decl:{}", d.key)));
        out.extend(self.stays.iter().map(|s| format!("area:{}", s.area)));
        out.sort();
        out.dedup();
        out
    }
}
