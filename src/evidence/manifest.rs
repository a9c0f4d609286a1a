//! `manifest.json` of a bundle: what was asked, what was found, what is missing, and every file with its digest. Published
//! schema: `config/schema/evidence_manifest.schema.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Kind, Sum};
use super::request::Request;
use super::statement::{Origin, SignedHead};
use crate::clock::UtcMillis;
use crate::coverage::{Blind, Watched};
use crate::store::SegmentItem;

/// What `schema` says.
pub const SCHEMA: &str = "gatewatch-evidence/1";

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Manifest {
    /// Always `gatewatch-evidence/1`.
    pub schema: String,
    /// Program that made it.
    pub made_by: String,
    /// Which box.
    #[serde(flatten)]
    pub origin: Origin,
    /// Name of the site for people.
    pub site: String,
    /// IANA time zone of the site; all times in this file are UTC.
    pub time_zone: String,
    /// Who asked for it, why, when, for what.
    pub request: RequestRecord,
    /// Camera times that were asked for, or follow from what was asked.
    pub asked: Vec<Asked>,
    /// What footage there is of them.
    pub footage: Vec<Footage>,
    /// What of them the box really analysed, and why not the rest, as it was known when this was asked.
    pub coverage: Vec<Analysed>,
    /// Events, oldest first.
    pub events: Vec<EventRecord>,
    /// Other messages, e.g. about the tip.
    pub notices: Vec<MessageRecord>,
    /// Detector models that found the events.
    pub models: Vec<ModelDigest>,
    /// Digests of the configurations in force then (first 16 hex digits).
    pub config_digests: Vec<String>,
    /// What should be here and is not.
    pub missing: Vec<Missing>,
    /// Who held, asked for, or deleted any of this, oldest first, ending with the request itself.
    pub custody: Vec<CustodyRecord>,
    /// The part of the chain that `chain.jsonl` holds.
    pub chain: ChainPart,
    /// Every file of the bundle but `manifest.json`, `signed.txt`, `signature.bin` and `public-key.pem`.
    pub files: Vec<FileRecord>,
}

/// The request in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RequestRecord {
    /// Its entry.
    pub n: i64,
    /// When it was written down.
    pub at: UtcMillis,
    /// Word for word.
    #[serde(flatten)]
    pub request: Request,
}

/// A time of a camera.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Asked {
    /// Camera.
    pub camera: String,
    /// First moment.
    pub from: UtcMillis,
    /// Last moment.
    pub to: UtcMillis,
}

/// How much of an asked time there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All of it.
    Complete,
    /// Some; see the gaps.
    Partial,
    /// Nothing.
    None,
}

/// Footage of one asked time and one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Footage {
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    /// `main` or `sub`; empty when nothing was found.
    pub stream: String,
    /// How much of it.
    pub verdict: Verdict,
    /// Where there are pictures.
    pub found: Vec<Range>,
    /// Where there are none.
    pub gaps: Vec<Gap>,
    /// Whose clock the times are of.
    pub time_sources: Vec<String>,
    /// Camera clock minus box clock, least and most, milliseconds; `None` where not known.
    pub clock_offset_ms: Option<(i64, i64)>,
    /// The segments, whole: each begins before or ends after what was asked by up to its length.
    pub segments: Vec<SegmentRecord>,
}

/// What was analysed of an asked time: of the camera as a whole, or of one area or line of it. Each moment is in one of both
/// lists; no event in a time that was watched means that no rule saw anything, in any other time it means nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Analysed {
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    /// Area or line; `None` = all that the camera sees.
    pub area: Option<String>,
    /// When pictures were analysed.
    pub watched: Vec<Watched>,
    /// When not, and why.
    pub blind: Vec<Blind>,
    /// Watched part of it, milliseconds.
    pub watched_ms: i64,
    /// The rest.
    pub blind_ms: i64,
}

/// A time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Range {
    /// First moment.
    pub from: UtcMillis,
    /// Last moment.
    pub to: UtcMillis,
}

/// A time without pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Gap {
    /// First moment.
    pub from: UtcMillis,
    /// Last moment.
    pub to: UtcMillis,
    /// `not_recorded`, `deleted` by the box, `lost`: it was recorded and its file is gone, or `unfinished`: it was still being
    /// written when this was asked; a later request has it.
    pub why: String,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SegmentRecord {
    /// What is known of it.
    #[serde(flatten)]
    pub item: SegmentItem,
    /// Its entry in the chain; `None` when it was never chained.
    pub chain_n: Option<i64>,
    /// In the bundle; `None` when it is missing.
    pub file: Option<String>,
}

/// An event with all its messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventRecord {
    /// ULID.
    pub id: String,
    /// Camera.
    pub camera: String,
    /// Its name.
    pub camera_name: String,
    /// Area or line.
    pub area: String,
    /// Its name.
    pub area_name: String,
    /// Rule.
    pub rule: String,
    /// Greatest of its messages.
    pub severity: u64,
    /// When it began.
    pub start: UtcMillis,
    /// When it ended; `None` when no message says so.
    pub end: Option<UtcMillis>,
    /// Whose clock.
    pub time_source: String,
    /// Half-width of these times.
    pub uncertainty_ms: u64,
    /// Camera clock minus box clock.
    pub clock_offset_ms: Option<i64>,
    /// Declarations, as the last message has them.
    pub link: Value,
    /// Messages, in order.
    pub messages: Vec<MessageRecord>,
}

/// A message of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MessageRecord {
    /// CloudEvents id.
    pub id: String,
    /// 1, 2, 3 …
    pub revision: u32,
    /// Place in the box's stream.
    pub seq: i64,
    /// CloudEvents type.
    pub kind: String,
    /// When its picture was taken, or what it tells happened.
    pub time: UtcMillis,
    /// Its entry; `None` when it is older than the chain.
    pub chain_n: Option<i64>,
    /// The message, word for word.
    pub file: String,
    /// The original picture.
    pub clean: Option<String>,
    /// The picture as published.
    pub annotated: Option<String>,
}

/// A detector model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelDigest {
    /// File name.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// An entry of the custody log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CustodyRecord {
    /// Entry.
    pub n: i64,
    /// When.
    pub at: UtcMillis,
    /// `custody`, `hold` or `segment_deleted`.
    pub kind: Kind,
    /// The item of the entry.
    pub item: Value,
}

/// What of the chain is in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChainPart {
    /// Unbroken runs of entries, first and last number; each ends at a signed head.
    pub runs: Vec<(i64, i64)>,
    /// The signed heads at their ends.
    pub heads: Vec<SignedHead>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// As the camera gave it.
    Original,
    /// Made from an original, see `parent_sha256`.
    Derivative,
    /// A message as recorded.
    Message,
    /// Entries of the chain.
    Chain,
    /// For people.
    Report,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileRecord {
    /// Path in the bundle.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Sum,
    /// What it is.
    pub role: Role,
    /// The original it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_sha256: Option<Sum>,
    /// How it was made from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
}
