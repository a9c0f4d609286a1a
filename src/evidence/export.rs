//! Writes a bundle: what was collected, a manifest of it, a report for people, and the box's signature. Under a name of its
//! own until it is whole and on disk; nothing in it depends on when it is written, so the same request gives the same bytes.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::chain::{Entry, Kind, Sum};
use super::collect::{Collected, Collector, Content, MaskedClip, Part, Site};
use super::keys::BoxKey;
use super::manifest::{ChainPart, FileRecord, Manifest, Missing, RequestRecord, Role, SCHEMA};
use super::report;
use super::request::{Action, Request, Selection};
use super::statement::{BundleStatement, Origin, SignedHead};
use super::zip::Writer;
use crate::footage::masked::{self, Masked};
use crate::store::Archive;

/// The four files that the manifest cannot name.
pub const MANIFEST: &str = "manifest.json";
/// The statement that is signed.
pub const SIGNED: &str = "signed.txt";
/// The signature, 64 bytes.
pub const SIGNATURE: &str = "signature.bin";
/// Who signed, in PEM.
pub const PUBLIC_KEY: &str = "public-key.pem";
/// Entries of the chain, one a line.
pub const CHAIN: &str = "chain.jsonl";
/// What to do with all this, in both languages.
const README: &str = include_str!("bundle_readme.txt");

/// A bundle that is whole, under its working name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it is; [`Written::publish`] gives it its name.
    pub part: PathBuf,
    /// SHA-256 of the whole file.
    pub sha256: Sum,
    /// Its size.
    pub bytes: u64,
    /// Events in it.
    pub events: usize,
    /// Files in it.
    pub files: usize,
    /// What should be in it and is not.
    pub missing: Vec<Missing>,
}

impl Written {
    /// Gives the bundle its name. Never replaces a file.
    ///
    /// # Errors
    /// When there is one, or the disk says no.
    pub fn publish(&self, out: &Path) -> anyhow::Result<()> {
        if out.exists() {
            bail!("{} is there already; nothing is replaced, choose another name", out.display());
        }
        fs::rename(&self.part, out).with_context(|| format!("cannot name the bundle {}", out.display()))?;
        let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).context("cannot sync the folder of the bundle")
    }
}

/// Hears how far an export is: bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The working name of a bundle.
#[must_use]
pub fn part_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    out.with_file_name(name)
}

/// Makes the bundle of the export that entry `n` of the chain asks for, from the store in `dir`, signed with `key`.
///
/// # Errors
/// When there is no such entry, the store or a file cannot be read, or the disk is full; no bundle is there then.
pub async fn export(
    dir: &Path,
    site: &Site,
    key: &BoxKey,
    n: i64,
    out: &Path,
    progress: Progress<'_>,
) -> anyhow::Result<Written> {
    let mut archive = Archive::open(dir).await?;
    let (entry, request, selection, masked) = asked_by(&mut archive, n).await?;
    let as_of = archive.head_from(n).await?.context("the chain has no signed head after this request")?;
    if as_of.key != key.public() {
        bail!(
            "the box had key {} at entry {n} and has key {} now, so this bundle cannot be made again as it was; export anew",
            as_of.key.id(),
            key.public().id()
        );
    }
    let origin = origin(&mut archive).await?;
    let collected = Collector::new(&mut archive, site, &entry, &as_of, masked).run(&selection).await?;
    archive.close().await?;
    let part = part_path(out);
    let bundle = Bundle { site, origin, entry, request, as_of, key };
    let done = bundle.write(collected, &part, progress);
    if done.is_err() {
        // The reason is in the error; what stays would be overwritten next time anyway.
        let _ = fs::remove_file(&part);
    }
    done
}

/// The export that entry `n` asks for.
async fn asked_by(archive: &mut Archive, n: i64) -> anyhow::Result<(Entry, Request, Selection, bool)> {
    let entry = archive.entries(n, n).await?.pop().with_context(|| format!("the chain has no entry {n}"))?;
    let text = entry.item.as_deref().filter(|_| entry.kind == Kind::Custody);
    let request: Option<Request> = text.and_then(|t| serde_json::from_str(t).ok());
    match request {
        Some(request) => match request.action.clone() {
            Action::Export { selection, masked } => Ok((entry, request, selection, masked)),
            _ => bail!("entry {n} of the chain is no export; `gatewatch evidence log` lists the exports"),
        },
        None => bail!("entry {n} of the chain is no export; `gatewatch evidence log` lists the exports"),
    }
}

/// Whose store it is, by its first entry.
async fn origin(archive: &mut Archive) -> anyhow::Result<Origin> {
    let first = archive.entries(1, 1).await?.pop().context("the chain has no first entry")?;
    let item = first.item.context("the first entry of the chain has no item")?;
    serde_json::from_str(&item).context("the first entry of the chain")
}

struct Bundle<'a> {
    site: &'a Site,
    origin: Origin,
    entry: Entry,
    request: Request,
    as_of: SignedHead,
    key: &'a BoxKey,
}

impl Bundle<'_> {
    fn write(&self, collected: Collected, part: &Path, progress: Progress<'_>) -> anyhow::Result<Written> {
        let file = File::create(part).with_context(|| format!("cannot create {}", part.display()))?;
        let mut out = Out {
            zip: Writer::new(BufWriter::new(file)),
            files: Vec::new(),
            done: 0,
            all: total(&collected.parts, self.site),
            progress,
        };
        let mut manifest = self.manifest(&collected);
        for p in &collected.parts {
            if let Content::MaskedClip(clip) = &p.content {
                match masked_copy(clip, self.site, part) {
                    Ok(made) => out.masked_clip(p, clip, self.site, &made).with_context(|| p.path.clone())?,
                    // The original is there; a copy that can never be made is no reason to give nothing. Anything else
                    // may be otherwise next time, and a bundle is the same each time.
                    Err(error) => {
                        let why = never(&error).map(str::to_owned);
                        let why = why.ok_or(error).with_context(|| format!("cannot make {}", p.path))?;
                        out.shrink(clip, self.site, 0);
                        manifest.missing.push(Missing { what: p.path.clone(), why });
                    }
                }
                continue;
            }
            let record = out.part(p, self.site).with_context(|| format!("cannot put {} into the bundle", p.path))?;
            if p.recorded.is_some_and(|r| r != record.sha256) {
                let why = "it was changed on the box after it was recorded; the file as found is here, with a digest that is not the recorded one";
                manifest.missing.push(Missing { what: format!("{} as recorded", p.path), why: why.into() });
            }
        }
        let chain: String =
            collected.proof.lines.iter().map(|e| serde_json::to_string(e).unwrap_or_default() + "\n").collect();
        out.bytes(CHAIN, Role::Chain, chain.as_bytes())?;
        let pictures = |path: &str| picture(&collected.parts, path);
        out.bytes("report.html", Role::Report, report::html(&manifest, &pictures)?.as_bytes())?;
        out.bytes("README.txt", Role::Report, README.as_bytes())?;
        manifest.files = std::mem::take(&mut out.files);
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        let statement = self.statement(Sum::of(text.as_bytes())).text();
        out.bytes(MANIFEST, Role::Report, text.as_bytes())?;
        out.bytes(SIGNED, Role::Report, statement.as_bytes())?;
        out.bytes(SIGNATURE, Role::Report, &self.key.sign(&statement).0)?;
        out.bytes(PUBLIC_KEY, Role::Report, self.key.public().to_pem().as_bytes())?;
        let file = out.zip.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let (sha256, bytes) = digest(part)?;
        let (events, files) = (manifest.events.len(), manifest.files.len());
        Ok(Written { part: part.into(), sha256, bytes, events, files, missing: manifest.missing })
    }

    fn statement(&self, manifest: Sum) -> BundleStatement {
        BundleStatement {
            origin: self.origin.clone(),
            head: self.as_of.head.clone(),
            request: self.request.id.clone(),
            manifest,
            key: self.key.public(),
        }
    }

    fn manifest(&self, c: &Collected) -> Manifest {
        Manifest {
            schema: SCHEMA.into(),
            made_by: format!("gatewatch {}", env!("CARGO_PKG_VERSION")),
            origin: self.origin.clone(),
            site: self.site.name.clone(),
            time_zone: self.site.time_zone.clone(),
            request: RequestRecord { n: self.entry.n, at: self.entry.at, request: self.request.clone() },
            asked: c.asked.clone(),
            footage: c.footage.clone(),
            coverage: c.coverage.clone(),
            events: c.events.clone(),
            notices: c.notices.clone(),
            models: c.models.iter().cloned().collect(),
            config_digests: c.config_digests.iter().cloned().collect(),
            missing: c.missing.clone(),
            custody: c.custody.clone(),
            chain: ChainPart { runs: c.proof.runs.clone(), heads: c.proof.heads.clone() },
            files: Vec::new(),
        }
    }
}

/// The bundle while it is written.
struct Out<'a> {
    zip: Writer<BufWriter<File>>,
    files: Vec<FileRecord>,
    done: u64,
    all: u64,
    progress: Progress<'a>,
}

impl Out<'_> {
    fn part(&mut self, part: &Part, site: &Site) -> anyhow::Result<FileRecord> {
        let (bytes, sha256) = match &part.content {
            Content::File(path) => {
                let mut file = File::open(path)
                    .with_context(|| format!("{} is gone; place a hold and export again", path.display()))?;
                self.copy(&part.path, file.metadata()?.len(), &mut file)?
            }
            Content::Masked(path, camera) => {
                let masks = site.masks.get(camera).map_or(&[][..], Vec::as_slice);
                let made = crate::event::annotate::masked(&fs::read(path)?, masks)?;
                self.copy(&part.path, made.len() as u64, &mut made.as_slice())?
            }
            Content::Bytes(bytes) => self.copy(&part.path, bytes.len() as u64, &mut bytes.as_slice())?,
            Content::MaskedClip(clip) => bail!("{} is put there by other means", clip.path),
        };
        let made_by = match (&part.content, part.role) {
            (Content::Masked(_, camera), _) => Some(format!("privacy masks {} burnt in", masks_id(site, camera))),
            (_, Role::Derivative) => Some("boxes, area and words drawn on it by the box when it was recorded".into()),
            _ => None,
        };
        let record =
            FileRecord { path: part.path.clone(), bytes, sha256, role: part.role, parent_sha256: part.parent, made_by };
        self.files.push(record.clone());
        Ok(record)
    }

    /// A segment with masks.
    fn masked_clip(&mut self, part: &Part, clip: &MaskedClip, site: &Site, made: &Masked) -> std::io::Result<()> {
        let (bytes, sha256) = self.copy(&part.path, made.plan.bytes, &mut made.plan.reader())?;
        self.shrink(clip, site, bytes);
        let (masks, encoder) = (masks_id(site, &clip.camera), crate::camera::recoder_name());
        let made_by = format!("privacy masks {masks} burnt in, encoded anew by {encoder}");
        let (path, role) = (part.path.clone(), part.role);
        self.files.push(FileRecord { path, bytes, sha256, role, parent_sha256: part.parent, made_by: Some(made_by) });
        Ok(())
    }

    /// A masked copy was counted as large as its original and has `bytes`.
    fn shrink(&mut self, clip: &MaskedClip, site: &Site, bytes: u64) {
        let counted = fs::metadata(site.footage.join(&clip.path)).map_or(0, |m| m.len());
        self.all = (self.all + bytes).saturating_sub(counted);
    }

    fn bytes(&mut self, path: &str, role: Role, bytes: &[u8]) -> anyhow::Result<()> {
        let (bytes, sha256) = self.copy(path, bytes.len() as u64, &mut &*bytes)?;
        self.files.push(FileRecord { path: path.into(), bytes, sha256, role, parent_sha256: None, made_by: None });
        Ok(())
    }

    fn copy(&mut self, path: &str, size: u64, source: &mut dyn Read) -> std::io::Result<(u64, Sum)> {
        let (done, all, progress) = (&mut self.done, self.all, &mut self.progress);
        let sum = self.zip.add(path, size, source, &mut |n| {
            *done += n;
            progress((*done).min(all), all);
        })?;
        Ok((size, sum))
    }
}

/// Which masks: the first digits of the digest of their corners.
fn masks_id(site: &Site, camera: &str) -> String {
    let masks = serde_json::to_vec(&site.masks.get(camera)).unwrap_or_default();
    Sum::of(&masks).to_string().chars().take(16).collect()
}

/// Why a segment will never have a masked copy on this machine; `None` when the next try may go well.
fn never(error: &std::io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::InvalidData => Some("it cannot be masked: the video cannot be decoded"),
        ErrorKind::Unsupported => Some("it cannot be masked: this machine has no encoder (gstreamer1.0-plugins-ugly)"),
        ErrorKind::FileTooLarge => Some("it cannot be masked: the copy would be larger than 1 GiB"),
        _ => None,
    }
}

/// The masked copy of a segment, in a folder beside the bundle to be, whose working name nobody else uses.
fn masked_copy(clip: &MaskedClip, site: &Site, part: &Path) -> std::io::Result<Masked> {
    let mut name = part.file_name().unwrap_or_default().to_owned();
    name.push(".masked");
    let folder = part.with_file_name(name);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let masks = site.masks.get(&clip.camera).map_or(&[][..], Vec::as_slice);
    let original = masked::clip_of_file(&site.footage, &clip.path, clip.codec)?;
    masked::make(&original, masks, &folder, &|| Ok(()))
}

/// About how many bytes there are to write.
fn total(parts: &[Part], site: &Site) -> u64 {
    let size = |p: &Part| match &p.content {
        Content::MaskedClip(clip) => fs::metadata(site.footage.join(&clip.path)).map_or(0, |m| m.len()),
        Content::File(path) | Content::Masked(path, _) => fs::metadata(path).map_or(0, |m| m.len()),
        Content::Bytes(bytes) => bytes.len() as u64,
    };
    parts.iter().map(size).sum()
}

/// A picture that goes into the report.
fn picture(parts: &[Part], path: &str) -> Option<Vec<u8>> {
    match &parts.iter().find(|p| p.path == path)?.content {
        Content::File(file) => fs::read(file).ok(),
        _ => None,
    }
}

fn digest(path: &Path) -> anyhow::Result<(Sum, u64)> {
    use sha2::Digest;
    let mut sha = sha2::Sha256::new();
    let mut file = File::open(path)?;
    let bytes = std::io::copy(&mut file, &mut HashWriter(&mut sha))?;
    Ok((Sum(sha.finalize().into()), bytes))
}

struct HashWriter<'a>(&'a mut sha2::Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
