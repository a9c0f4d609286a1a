//! Observations: a plate, container or seal number that something read, whether a gate system, a camera with a reader of
//! its own, or a person. What a reading is worth is decided in `clue.rs`; what was read is kept as it was read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::container::{self, CheckState};
use super::fact::{FactKind, Handle, Keyed, plate_handle};
use super::fields::{
    FRACTION_FORM, Fields, ID_FORM, MessageError, Parsed, TEXT_FORM, TIME_FORM, VERSION_FORM, area_id, count, fraction,
    local_id, object, text, time,
};
use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::rules::AreaId;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObservationKind {
    /// Plate of the tractor, at its front.
    PlateHead,
    /// Plate of the trailer, at its rear.
    PlateTrailer,
    /// A plate, nobody knows whose.
    Plate,
    /// A container number.
    Container,
    /// A seal number.
    Seal,
}

/// Which way the vehicle was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Passing {
    /// Into the site.
    In,
    /// Out of the site.
    Out,
}

/// One reading: the message on `in/observation`. It says where: an area, a camera, or both.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["id", "at", "kind", "raw"]))]
pub struct Observation {
    /// Id, 1..=100 characters.
    pub id: String,
    /// Higher replaces lower; 1 when missing.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// When it was seen.
    pub at: UtcMillis,
    /// Half-width of that, milliseconds.
    pub uncertainty_ms: u32,
    /// What was read.
    pub kind: ObservationKind,
    /// As read.
    pub raw: String,
    /// What the box takes it for: normalised, a container number put right by its check digit. Made by the box.
    pub norm: String,
    /// What the check digit says, for containers. Made by the box.
    pub check: Option<CheckState>,
    /// How sure the reader is, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
    /// Camera of the box.
    pub camera: Option<CameraId>,
    /// Area or line of the box.
    pub area: Option<AreaId>,
    /// Which way, at a gate.
    pub passing: Option<Passing>,
    /// Readings of one vehicle as it passes have the same word here.
    pub passage: Option<String>,
    /// Country of a plate, two letters.
    #[schemars(regex(pattern = r"^[A-Z]{2}$"))]
    pub country: Option<String>,
    /// Who read it.
    pub source: Option<String>,
}

impl Observation {
    /// Reads the message on `in/observation`.
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
        let at = f.need("at", TIME_FORM, time);
        let uncertainty_ms = f.maybe("uncertainty_ms", "whole milliseconds from 0", milliseconds);
        let kind = f.need("kind", "plate_head, plate_trailer, plate, container or seal", |v| {
            serde_json::from_value(v.clone()).ok()
        });
        let raw = f.need("raw", "text of 2 to 40 characters with letters or digits", reading);
        let (norm, check) = (f.maybe_text("norm"), f.maybe_as("check", "ok, corrected or fails"));
        let confidence = f.maybe("confidence", FRACTION_FORM, fraction);
        let camera = f.maybe("camera", ID_FORM, |v| local_id(v).map(CameraId));
        let area = f.maybe("area", ID_FORM, area_id);
        if camera.is_none() && area.is_none() {
            f.wrong("area", None, "where it was read: an area or a camera of the box");
        }
        let passing = f.maybe_as("passing", "in or out");
        let (passage, source) = (f.maybe_text("passage"), f.maybe_text("source"));
        let country = f.maybe("country", "two letters like VN", country);
        f.finish(|| {
            let raw = raw?;
            Some(Self {
                id: id?,
                version: version.unwrap_or(1),
                at: at?,
                uncertainty_ms: uncertainty_ms.unwrap_or(0),
                kind: kind?,
                norm: norm.unwrap_or_else(|| container::normalise(&raw)),
                raw,
                check,
                confidence: confidence.unwrap_or(1.0),
                camera,
                area,
                passing,
                passage,
                country,
                source,
            })
        })
    }

    /// Takes the reading for a number; whoever sent it has no say in that.
    pub fn settle(&mut self, owner_known: impl Fn(&str) -> bool) {
        if self.kind == ObservationKind::Container {
            let reading = container::read(&self.raw, owner_known);
            (self.norm, self.check) = (reading.norm, Some(reading.check));
        } else {
            (self.norm, self.check) = (container::normalise(&self.raw), None);
        }
    }

    /// Whether it is a plate of any sort.
    #[must_use]
    pub fn is_plate(&self) -> bool {
        !matches!(self.kind, ObservationKind::Container | ObservationKind::Seal)
    }
}

impl Keyed for Observation {
    const KIND: FactKind = FactKind::Observation;
    const ASIDE: &'static [&'static str] = &["norm", "check"];

    fn key(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn handles(&self) -> Vec<Handle> {
        let what = match self.kind {
            ObservationKind::Container => format!("container:{}", self.norm),
            ObservationKind::Seal => format!("seal:{}", self.norm),
            _ => plate_handle(&self.norm),
        };
        let mut out = vec![what];
        out.extend(self.area.iter().map(|a| format!("area:{a}")));
        // Once is enough: an area belongs to a camera.
        out.extend(self.camera.iter().filter(|_| self.area.is_none()).map(|c| format!("camera:{c}")));
        out.extend(self.passage.iter().map(|p| format!("passage:{p}")));
        out
    }
}

fn milliseconds(v: &Value) -> Option<u32> {
    count(v).and_then(|n| u32::try_from(n).ok())
}

fn reading(v: &Value) -> Option<String> {
    let raw = v.as_str()?.trim();
    (raw.chars().count() <= 40 && container::normalise(raw).chars().count() >= 2).then(|| raw.to_owned())
}

fn country(v: &Value) -> Option<String> {
    let code = v.as_str()?.trim().to_ascii_uppercase();
    (code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase())).then_some(code)
}
