//! What belongs to a request: messages, pictures, segments, holds and earlier requests, as the box had them when it was
//! written down. Reads the store; writing the bundle is in `export.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{Entry, Kind, Sum};
use super::manifest::{
    Analysed, Asked, CustodyRecord, EventRecord, Footage, MessageRecord, Missing, ModelDigest, Range, Role,
};
use super::proof::{self, Proof};
use super::request::{Action, Request, Selection};
use super::statement::SignedHead;
use super::{coverage, footage};
use crate::camera::Codec;
use crate::clock::UtcMillis;
use crate::geometry::Polygon;
use crate::store::{Archive, ArchivedMessage, ArchivedSegment, HoldItem, StoreError};

/// What an export knows beside the store.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Name for people.
    pub name: String,
    /// IANA time zone.
    pub time_zone: String,
    /// Folder of the footage.
    pub footage: PathBuf,
    /// Privacy masks of every camera of the configuration, fractions of the picture.
    pub masks: HashMap<String, Vec<Polygon>>,
    /// Before this moment nobody knows them; `None`: those of all the time are known.
    pub masks_known_since: Option<UtcMillis>,
    /// Why nobody knows any, where that is so.
    pub masks_unknown: Option<String>,
}

impl Site {
    /// The privacy masks over what a camera showed then, or why nobody knows them.
    fn masks_of(&self, camera: &str, at: UtcMillis) -> Result<&[Polygon], String> {
        if let Some(why) = &self.masks_unknown {
            return Err(why.clone());
        }
        let Some(masks) = self.masks.get(camera) else {
            return Err(format!("the configuration has no camera {camera}, so its privacy masks are not known"));
        };
        match self.masks_known_since.filter(|since| at < *since) {
            Some(since) => Err(format!(
                "this is of {}, and the box knows privacy masks since {} only: its history of them was damaged then",
                at.to_rfc3339(),
                since.to_rfc3339()
            )),
            None => Ok(masks),
        }
    }
}

/// What a file is made of.
#[derive(Debug, Clone)]
pub enum Content {
    /// A copy of this file.
    File(PathBuf),
    /// This picture with the privacy masks of a camera.
    Masked(PathBuf, String),
    /// This segment, encoded anew with the privacy masks of a camera.
    MaskedClip(MaskedClip),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A segment to be masked.
#[derive(Debug, Clone)]
pub struct MaskedClip {
    /// Below the folder of the footage.
    pub path: String,
    /// Its coding.
    pub codec: Codec,
    /// Whose masks.
    pub camera: String,
}

/// A file of the bundle to be.
#[derive(Debug, Clone)]
pub struct Part {
    /// Path in the bundle.
    pub path: String,
    /// What is in it.
    pub content: Content,
    /// What its digest was when it was recorded; `None` for what is made now.
    pub recorded: Option<Sum>,
    /// What it is.
    pub role: Role,
    /// The original that it was made from.
    pub parent: Option<Sum>,
}

/// All that belongs to a request.
#[derive(Debug, Default)]
pub struct Collected {
    /// Camera times.
    pub asked: Vec<Asked>,
    /// What footage there is.
    pub footage: Vec<Footage>,
    /// What was analysed of it.
    pub coverage: Vec<Analysed>,
    /// Events.
    pub events: Vec<EventRecord>,
    /// Messages about the tip.
    pub notices: Vec<MessageRecord>,
    /// Models of the events.
    pub models: BTreeSet<ModelDigest>,
    /// Configurations of the events.
    pub config_digests: BTreeSet<String>,
    /// What is not there.
    pub missing: Vec<Missing>,
    /// Custody log.
    pub custody: Vec<CustodyRecord>,
    /// Files.
    pub parts: Vec<Part>,
    /// Part of the chain.
    pub proof: Proof,
}

/// Collects what `selection` asks for, as it was at entry `n`.
pub struct Collector<'a> {
    /// The store.
    pub archive: &'a mut Archive,
    /// What else is known.
    pub site: &'a Site,
    /// The request's entry: what is younger does not exist for it.
    pub entry: &'a Entry,
    /// The signed head after it.
    pub as_of: &'a SignedHead,
    /// Also masked copies.
    pub masked: bool,
    /// What is found.
    pub out: Collected,
    /// Entries that the bundle speaks of.
    wanted: BTreeSet<i64>,
    /// Deletions in the times asked for.
    deletions: Vec<Entry>,
}

impl<'a> Collector<'a> {
    /// A collector that has found nothing yet.
    pub fn new(
        archive: &'a mut Archive,
        site: &'a Site,
        entry: &'a Entry,
        as_of: &'a SignedHead,
        masked: bool,
    ) -> Self {
        let (out, wanted, deletions) = (Collected::default(), BTreeSet::new(), Vec::new());
        Self { archive, site, entry, as_of, masked, out, wanted, deletions }
    }

    /// Collects everything.
    ///
    /// # Errors
    /// When the store cannot be read, or what is asked for does not exist.
    pub async fn run(mut self, selection: &Selection) -> anyhow::Result<Collected> {
        let mut events = match selection {
            Selection::Window { cameras, from, to } => {
                for camera in cameras {
                    self.out.asked.push(Asked { camera: camera.clone(), from: *from, to: *to });
                }
                self.events_of_asked().await?
            }
            Selection::Event { event, .. } => vec![event.clone()],
            Selection::Tip { tip } => self.tip(tip).await?,
        };
        // In an order that later messages of these events do not change.
        events.sort();
        for id in &events {
            self.event(id).await?;
        }
        self.out.events.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
        if let Selection::Event { event, before_ms, after_ms } = selection {
            let found = self.out.events.first();
            let found = found.ok_or_else(|| anyhow::anyhow!("the store has no event {event}"))?;
            let last = found.messages.iter().map(|m| m.time).max().unwrap_or(found.start);
            let (from, to) = (found.start.plus_ms(-before_ms), found.end.unwrap_or(last).plus_ms(*after_ms));
            self.out.asked.push(Asked { camera: found.camera.clone(), from, to });
        }
        for asked in &mut self.out.asked {
            // What lies ahead is no gap.
            asked.to = asked.to.min(self.entry.at).max(asked.from);
        }
        self.out.asked.sort();
        self.out.asked.dedup();
        self.find_deletions().await?;
        self.footage().await?;
        self.out.coverage = coverage::of(self.archive, self.entry.n, &self.out.asked).await?;
        self.custody(selection).await?;
        self.prove().await?;
        Ok(self.out)
    }

    /// What the box published about a tip, else its holds; gives the events.
    async fn tip(&mut self, tip: &str) -> anyhow::Result<Vec<String>> {
        let about = self.archive.messages_of_tip(tip).await?;
        let mut events: Vec<String> = Vec::new();
        let n = self.entry.n;
        for message in about.iter().filter(|m| existed(m, n)) {
            let json: Value = serde_json::from_str(&message.payload).unwrap_or_default();
            events.extend(ids_of(&json["data"]["events"]));
            self.out.asked.extend(ranges_of(&json["data"]["ranges"]));
            let record = self.message(message, &json);
            self.out.notices.push(record);
        }
        for hold in self.holds().await?.into_values().filter(|h| h.tip_id.as_deref() == Some(tip)) {
            self.out.asked.push(Asked { camera: hold.camera, from: hold.from, to: hold.to });
            events.extend(hold.event_id);
        }
        if self.out.asked.is_empty() && self.out.notices.is_empty() {
            anyhow::bail!("the store knows no tip {tip}: no hold and no message names it");
        }
        let found = self.events_of_asked().await?;
        // A window of a tip has other events too; those the tip names come whatever their time.
        for id in found {
            if !events.contains(&id) {
                events.push(id);
            }
        }
        let mut seen = BTreeSet::new();
        events.retain(|id| seen.insert(id.clone()));
        Ok(events)
    }

    async fn events_of_asked(&mut self) -> Result<Vec<String>, StoreError> {
        let mut events = Vec::new();
        for asked in self.out.asked.clone() {
            events.extend(self.archive.events_between(&asked.camera, asked.from, asked.to, self.entry.n).await?);
            for id in self.archive.events_over(&asked.camera, asked.from, asked.to, self.entry.n).await? {
                if !events.contains(&id) && self.lasted_into(&id, &asked).await? {
                    events.push(id);
                }
            }
        }
        let mut seen = BTreeSet::new();
        events.retain(|id| seen.insert(id.clone()));
        Ok(events)
    }

    /// Whether an event lasted into a time, by its messages up to the request.
    async fn lasted_into(&mut self, id: &str, asked: &Asked) -> Result<bool, StoreError> {
        let messages = self.archive.messages_of(id).await?;
        let mut time: Option<(UtcMillis, Option<UtcMillis>)> = None;
        for message in messages.iter().filter(|m| existed(m, self.entry.n)) {
            let json: Value = serde_json::from_str(&message.payload).unwrap_or_default();
            let capture = &json["data"]["capture"];
            let Some(start) = time_of(&capture["start"]) else { continue };
            time = Some((time.map_or(start, |(first, _)| first.min(start)), time_of(&capture["end"])));
        }
        Ok(time.is_some_and(|(start, end)| start <= asked.to && end.is_none_or(|end| end >= asked.from)))
    }

    /// The holds as they stood.
    async fn holds(&mut self) -> Result<BTreeMap<String, HoldItem>, StoreError> {
        let entries = self.archive.entries_by_kind(Kind::Hold, self.entry.n).await?;
        let items = entries.into_iter().filter_map(|e| Some((e.reference, serde_json::from_str(&e.item?).ok()?)));
        Ok(items.collect())
    }

    async fn event(&mut self, id: &str) -> anyhow::Result<()> {
        let messages = self.archive.messages_of(id).await?;
        let mut record: Option<EventRecord> = None;
        let n = self.entry.n;
        for message in messages.iter().filter(|m| existed(m, n)) {
            let json: Value = serde_json::from_str(&message.payload).unwrap_or_default();
            let mut made = self.message(message, &json);
            self.pictures(message, &json, &mut made).await?;
            let r = record.get_or_insert_with(|| new_event(id, &json));
            update_event(r, &json);
            r.messages.push(made);
            self.out.models.extend(model_of(&json));
            self.out.config_digests.extend(json["data"]["config_digest"].as_str().map(str::to_owned));
        }
        if let Some(record) = record {
            if let Some(first) = record.messages.first().filter(|m| m.revision > 1) {
                let what = format!("messages 1 to {} of event {id}", first.revision - 1);
                self.out.missing.push(Missing { what, why: "pruned: older than store.keep_messages_days".into() });
            }
            self.out.events.push(record);
        }
        Ok(())
    }

    fn message(&mut self, m: &ArchivedMessage, json: &Value) -> MessageRecord {
        let path = format!("messages/{:010}-{}-{}.json", m.seq, m.event_id, m.revision);
        self.out.parts.push(Part {
            path: path.clone(),
            content: Content::Bytes(m.payload.clone().into_bytes()),
            recorded: None,
            role: Role::Message,
            parent: None,
        });
        self.wanted.extend(m.chain_n);
        MessageRecord {
            id: m.event_id.clone(),
            revision: m.revision,
            seq: m.seq,
            kind: m.kind.clone(),
            time: time_of(&json["data"]["capture"]["best"]).or(time_of(&json["time"])).unwrap_or(UtcMillis(0)),
            chain_n: m.chain_n,
            file: path,
            clean: None,
            annotated: None,
        }
    }

    async fn pictures(&mut self, m: &ArchivedMessage, json: &Value, record: &mut MessageRecord) -> anyhow::Result<()> {
        let snapshot = &json["data"]["snapshot"];
        let sum = |key: &str| snapshot[key].as_str().and_then(|s| Sum::parse(s).ok());
        // A later message may name the picture of an earlier one; it is in the bundle once, with that.
        let (Some(clean), Some(annotated)) = (sum("clean_sha256"), sum("sha256")) else { return Ok(()) };
        let name = format!("{}-{}.jpg", m.event_id, m.revision);
        let Some(row) = self.archive.picture(m.seq).await? else {
            if !self.out.parts.iter().any(|p| p.recorded == Some(clean)) {
                let why = "pruned: older than store.keep_pictures_days".into();
                self.out.missing.push(Missing { what: format!("originals/pictures/{name}"), why });
            }
            return Ok(());
        };
        let (clean_file, annotated_file) =
            (self.archive.dir().join(&row.clean_path), self.archive.dir().join(&row.annotated_path));
        let original = format!("originals/pictures/{name}");
        if self.add(&original, &clean_file, clean, Role::Original, None) {
            record.clean = Some(original);
            let camera = json["data"]["camera"]["id"].as_str().unwrap_or_default().to_owned();
            if self.must_mask(&camera, record.time, &format!("masked/{name}")) {
                let content = Content::Masked(clean_file, camera);
                let (path, role) = (format!("masked/{name}"), Role::Derivative);
                self.out.parts.push(Part { path, content, recorded: None, role, parent: Some(clean) });
            }
        }
        let path = format!("annotated/{name}");
        if self.add(&path, &annotated_file, annotated, Role::Derivative, Some(clean)) {
            record.annotated = Some(path);
        }
        Ok(())
    }

    /// Adds a file of the box, if it is there.
    fn add(&mut self, path: &str, file: &Path, recorded: Sum, role: Role, parent: Option<Sum>) -> bool {
        if !file.is_file() {
            let why = "the file is gone from the box".into();
            self.out.missing.push(Missing { what: path.into(), why });
            return false;
        }
        let content = Content::File(file.into());
        self.out.parts.push(Part { path: path.into(), content, recorded: Some(recorded), role, parent });
        true
    }

    /// Once for each camera, over all its times.
    async fn find_deletions(&mut self) -> Result<(), StoreError> {
        let mut spans = BTreeMap::<&str, (UtcMillis, UtcMillis)>::new();
        for Asked { camera, from, to } in &self.out.asked {
            let span = spans.entry(camera).or_insert((*from, *to));
            *span = (span.0.min(*from), span.1.max(*to));
        }
        for (camera, (from, to)) in spans {
            self.deletions.extend(self.archive.deletions(camera, from, to, self.entry.n).await?);
        }
        Ok(())
    }

    async fn footage(&mut self) -> anyhow::Result<()> {
        for asked in self.out.asked.clone() {
            let mut segments = self.archive.segments(&asked.camera, asked.from, asked.to).await?;
            segments.retain(|s| s.chain_n.is_none_or(|n| n <= self.entry.n) && s.item.start < self.entry.at);
            for s in &mut segments {
                let path = segment_path(&s.item.path)?;
                self.wanted.extend(s.chain_n);
                let known = self.out.parts.iter().any(|p| p.path == path);
                let file = self.site.footage.join(&s.item.path);
                let added = !s.gone && !known && self.add(&path, &file, s.item.sha256, Role::Original, None);
                s.gone = s.gone || !(known || added);
                if added {
                    self.masked_clip(s);
                }
            }
            let name = |s: &ArchivedSegment| segment_path(&s.item.path).unwrap_or_default();
            let why = footage::Missed {
                deleted: deleted(&self.deletions, &asked.camera),
                unfinished: self.archive.unfinished(&asked.camera, self.entry.n, self.entry.at).await?,
            };
            self.out.footage.extend(footage::answer(&asked, &segments, &why, name));
        }
        Ok(())
    }

    /// Whether there is to be a masked copy, at `path`, of what `camera` showed then. Says where there is none because nobody
    /// knows the masks.
    fn must_mask(&mut self, camera: &str, at: UtcMillis, path: &str) -> bool {
        if !self.masked {
            return false;
        }
        match self.site.masks_of(camera, at) {
            Ok(masks) => !masks.is_empty(),
            Err(why) => {
                self.out.missing.push(Missing { what: path.into(), why });
                false
            }
        }
    }

    /// Also a copy for those who may not see all of it.
    fn masked_clip(&mut self, segment: &ArchivedSegment) {
        let item = &segment.item;
        if !self.must_mask(&item.camera, item.start, &format!("masked/footage/{}", item.path)) {
            return;
        }
        let codec = if item.codec == "h265" { Codec::H265 } else { Codec::H264 };
        let clip = MaskedClip { path: item.path.clone(), codec, camera: item.camera.clone() };
        self.out.parts.push(Part {
            path: format!("masked/footage/{}", item.path),
            content: Content::MaskedClip(clip),
            recorded: None,
            role: Role::Derivative,
            parent: Some(item.sha256),
        });
    }

    /// Holds on, deletions of and requests for any of this, up to the request itself.
    async fn custody(&mut self, selection: &Selection) -> anyhow::Result<()> {
        let mut log = Vec::new();
        for kind in [Kind::Hold, Kind::SegmentDeleted, Kind::Custody] {
            let entries = match kind {
                Kind::SegmentDeleted => std::mem::take(&mut self.deletions),
                _ => self.archive.entries_by_kind(kind, self.entry.n).await?,
            };
            for entry in entries {
                let Some(item) = entry.item.as_deref().and_then(|t| serde_json::from_str::<Value>(t).ok()) else {
                    continue;
                };
                if self.concerns(kind, &item, selection, &log) || entry.n == self.entry.n {
                    self.wanted.insert(entry.n);
                    log.push(CustodyRecord { n: entry.n, at: entry.at, kind, item });
                }
            }
        }
        log.sort_by_key(|r| r.n);
        self.out.custody = log;
        Ok(())
    }

    fn concerns(&self, kind: Kind, item: &Value, selection: &Selection, log: &[CustodyRecord]) -> bool {
        let overlaps = |camera: &Value, from: &Value, to: &Value| {
            let (Some(from), Some(to)) = (time_of(from), time_of(to)) else { return false };
            self.out.asked.iter().any(|a| camera.as_str() == Some(&a.camera) && from < a.to && to > a.from)
        };
        match kind {
            Kind::Hold => overlaps(&item["camera"], &item["from"], &item["to"]),
            Kind::SegmentDeleted => overlaps(&item["camera"], &item["start"], &item["end"]),
            _ => {
                serde_json::from_value::<Request>(item.clone()).is_ok_and(|r| self.request_concerns(&r, selection, log))
            }
        }
    }

    fn request_concerns(&self, request: &Request, selection: &Selection, log: &[CustodyRecord]) -> bool {
        match &request.action {
            Action::Export { selection: s, .. } => match s {
                Selection::Window { cameras, from, to } => {
                    self.out.asked.iter().any(|a| cameras.contains(&a.camera) && *from < a.to && *to > a.from)
                }
                Selection::Event { event, .. } => self.out.events.iter().any(|e| e.id == *event),
                Selection::Tip { .. } => s == selection,
            },
            Action::Repeat { of } => log.iter().any(|r| r.n == *of),
            Action::Exported { request, .. } => log.iter().any(|r| r.item["id"] == request.as_str()),
            Action::ViewOriginal { camera, from, to } => {
                self.out.asked.iter().any(|a| a.camera == *camera && *from < a.to && *to > a.from)
            }
            Action::RotateKey => false,
        }
    }

    async fn prove(&mut self) -> anyhow::Result<()> {
        for entry in proof::anchors(self.archive, self.entry.n).await? {
            self.wanted.insert(entry.n);
        }
        self.out.proof = proof::collect(self.archive, &self.wanted, self.as_of).await?;
        Ok(())
    }
}

/// Where a segment is in the bundle. Its path comes from an index that somebody may have written into.
fn segment_path(path: &str) -> anyhow::Result<String> {
    let good = path.split('/').all(|level| !level.is_empty() && level != ".." && level != "." && !level.contains('\\'));
    anyhow::ensure!(good, "the footage index names the path {path:?}, which leads out of its folder");
    Ok(format!("originals/footage/{path}"))
}

/// Was it there when entry `n` was written?
fn existed(message: &ArchivedMessage, n: i64) -> bool {
    message.chain_n.is_none_or(|m| m <= n)
}

/// Times of a camera that the box deleted.
fn deleted(entries: &[Entry], camera: &str) -> Vec<Range> {
    let read = |e: &Entry| -> Option<Range> {
        let item: Value = serde_json::from_str(e.item.as_deref()?).ok()?;
        let range = Range { from: time_of(&item["start"])?, to: time_of(&item["end"])? };
        (item["camera"] == camera).then_some(range)
    };
    entries.iter().filter_map(read).collect()
}

fn time_of(value: &Value) -> Option<UtcMillis> {
    UtcMillis::parse_rfc3339(value.as_str()?).ok()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn model_of(json: &Value) -> Option<ModelDigest> {
    let model = &json["data"]["model"];
    Some(ModelDigest { name: model["name"].as_str()?.into(), sha256: model["sha256"].as_str()?.into() })
}

fn new_event(id: &str, json: &Value) -> EventRecord {
    let d = &json["data"];
    EventRecord {
        id: id.into(),
        camera: text(&d["camera"]["id"]),
        camera_name: text(&d["camera"]["name"]),
        area: text(&d["area"]["id"]),
        area_name: text(&d["area"]["name"]),
        rule: text(&d["rule"]),
        severity: 0,
        start: time_of(&d["capture"]["start"]).or(time_of(&json["time"])).unwrap_or(UtcMillis(0)),
        end: None,
        time_source: text(&d["capture"]["time_source"]),
        uncertainty_ms: d["capture"]["uncertainty_ms"].as_u64().unwrap_or(0),
        clock_offset_ms: d["capture"]["clock_offset_ms"].as_i64(),
        link: Value::Null,
        messages: Vec::new(),
    }
}

fn update_event(record: &mut EventRecord, json: &Value) {
    let d = &json["data"];
    record.severity = record.severity.max(d["severity"].as_u64().unwrap_or(0));
    record.end = time_of(&d["capture"]["end"]).or(record.end);
    if !d["link"].is_null() {
        record.link = d["link"].clone();
    }
}

/// Event ids of a correlation: texts, or objects with an `id`.
fn ids_of(events: &Value) -> Vec<String> {
    let each = events.as_array().into_iter().flatten();
    each.filter_map(|e| e.as_str().or_else(|| e["id"].as_str()).or_else(|| e["event_id"].as_str()))
        .map(str::to_owned)
        .collect()
}

fn ranges_of(ranges: &Value) -> Vec<Asked> {
    let each = ranges.as_array().into_iter().flatten();
    each.filter_map(|r| {
        Some(Asked { camera: r["camera"].as_str()?.into(), from: time_of(&r["from"])?, to: time_of(&r["to"])? })
    })
    .collect()
}
