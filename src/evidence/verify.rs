//! Checks a bundle: no agent, no database, no network. Names every fault it finds instead of stopping at the first, since which
//! ones come together says what was done. Files and signature here and in `verify_files.rs`, chain and messages in
//! `verify_chain.rs`.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use serde::Serialize;

use super::chain::{Line, Sum};
use super::export::{CHAIN, MANIFEST, PUBLIC_KEY, SIGNATURE, SIGNED};
use super::keys::PublicKey;
use super::manifest::{Manifest, SCHEMA};
use super::statement::{BundleStatement, Origin, SignedHead};
use super::verify_chain::ChainView;
use super::verify_coverage;
use super::verify_files::{self, Found};
use super::zip::Reader;

/// Headers of the container that are named one by one.
const MAX_HEADERS: usize = 3;
/// Largest text that is read into memory.
const MAX_TEXT: u64 = 256 << 20;

/// What sort of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The ZIP file itself.
    Container,
    /// A file's content.
    FileChanged,
    /// A file that should be there.
    FileMissing,
    /// A file that should not.
    FileAdded,
    /// The manifest is not the one that was signed, or not readable.
    ManifestChanged,
    /// The signature is not that of the key over `signed.txt`.
    Signature,
    /// The signer is not the key given, or not the box's.
    ForeignKey,
    /// A key came into force without the word of the one before.
    HandOver,
    /// A message of the bundle's events is not there.
    EventDropped,
    /// Two things stand in each other's place.
    Swapped,
    /// A time was changed.
    TimeShifted,
    /// A message is not the one that was recorded.
    MessageChanged,
    /// Footage is not the one that was recorded.
    SegmentChanged,
    /// The account of what was analysed has holes.
    CoverageChanged,
    /// The custody log is not the one of the chain.
    CustodyChanged,
    /// The chain.
    Chain,
    /// A signed head does not fit.
    Head,
    /// The box published something else.
    Published,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Sort.
    pub kind: FaultKind,
    /// File, event or entry.
    pub subject: String,
    /// A sentence.
    pub text: String,
}

/// What is known from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The box's key.
    pub key: Option<PublicKey>,
    /// Heads that the box published, with whose they are.
    pub heads: Vec<(Origin, SignedHead)>,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Nothing is wrong.
    pub good: bool,
    /// Whose bundle, as it says itself.
    pub origin: Option<Origin>,
    /// Who signed it.
    pub key: Option<PublicKey>,
    /// The signer was compared with a key from elsewhere.
    pub key_compared: bool,
    /// Published heads that are in the bundle's part of the chain and agree.
    pub heads_compared: usize,
    /// Files checked.
    pub files: usize,
    /// Events.
    pub events: usize,
    /// Messages held against the chain.
    pub messages: usize,
    /// Entries of the chain.
    pub entries: usize,
    /// What the bundle says is missing.
    pub missing: Vec<String>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What a reader should know though it is no fault.
    pub notes: Vec<String>,
}

/// Collects faults.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One more.
    pub fn add(&mut self, kind: FaultKind, subject: impl Into<String>, text: impl Into<String>) {
        let fault = Fault { kind, subject: subject.into(), text: text.into() };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }
}

/// Checks a bundle; `progress` hears of bytes read.
///
/// # Errors
/// When the file cannot be read; a file that is no bundle is a fault, not an error.
pub fn verify(path: &Path, known: &Known, progress: &mut dyn FnMut(u64)) -> io::Result<Checked> {
    let mut faults = Faults::default();
    let mut checked = empty();
    let whole = Reader::open(BufReader::new(File::open(path)?))
        .and_then(|mut reader| check(&mut reader, known, &mut faults, &mut checked, progress));
    match whole {
        Ok(()) => {}
        // Also in the middle: a changed size makes files too large or too short.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            faults.add(FaultKind::Container, "container", e.to_string());
        }
        Err(e) => return Err(e),
    }
    checked.faults = faults.0;
    // What was done to the contents says more than that they were packed anew.
    checked.faults.sort_by_key(|fault| fault.kind == FaultKind::Container);
    checked.good = checked.faults.is_empty();
    Ok(checked)
}

fn empty() -> Checked {
    Checked {
        good: false,
        origin: None,
        key: None,
        key_compared: false,
        heads_compared: 0,
        files: 0,
        events: 0,
        messages: 0,
        entries: 0,
        missing: Vec::new(),
        faults: Vec::new(),
        notes: Vec::new(),
    }
}

fn check(
    reader: &mut Reader<impl Read + Seek>,
    known: &Known,
    faults: &mut Faults,
    checked: &mut Checked,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    for fault in reader.faults().iter().take(MAX_HEADERS) {
        faults.add(FaultKind::Container, "container", fault.clone());
    }
    if let Some(more) = reader.faults().len().checked_sub(MAX_HEADERS + 1) {
        let text = format!("{} more headers of the container are not as written: it was packed anew", more + 1);
        faults.add(FaultKind::Container, "container", text);
    }
    let found = Found::read(reader, faults, progress)?;
    let manifest_text = text(reader, MANIFEST, faults)?;
    let statement = signed_statement(reader, faults, checked)?;
    let chain_text = text(reader, CHAIN, faults)?.unwrap_or_default();
    checked.files = found.count();
    let Some(manifest_text) = manifest_text else { return Ok(()) };
    let manifest: Manifest = match serde_json::from_str(&manifest_text) {
        Ok(manifest) => manifest,
        Err(e) => {
            faults.add(FaultKind::ManifestChanged, MANIFEST, format!("the manifest cannot be read: {e}"));
            return Ok(());
        }
    };
    if let Some(statement) = &statement {
        check_manifest(&manifest, &manifest_text, statement, faults);
    }
    verify_files::against_manifest(&found, &manifest, faults);
    verify_coverage::check(&manifest, faults);
    let lines = chain_lines(&chain_text, faults);
    let chain = ChainView::new(&lines, &manifest, faults);
    check_messages(reader, &found, &manifest, &chain, faults)?;
    chain.check_segments(&found, faults);
    chain.check_custody(faults);
    chain.check_dropped(faults);
    let keys = chain.keys(faults);
    chain.check_heads(&keys, statement.as_ref(), faults);
    checked.heads_compared = chain.check_published(&known.heads, faults);
    if let Some(statement) = &statement {
        checked.key_compared = known.key.is_some();
        keys.check_signer(statement.key, known.key, faults, &mut checked.notes);
    }
    checked.origin = Some(manifest.origin.clone());
    checked.events = manifest.events.len();
    checked.messages = manifest.events.iter().map(|e| e.messages.len()).sum::<usize>() + manifest.notices.len();
    checked.entries = lines.len();
    checked.missing = manifest.missing.iter().map(|m| format!("{}: {}", m.what, m.why)).collect();
    Ok(())
}

/// A text of the bundle; `None` with a fault when it is not there.
fn text(reader: &mut Reader<impl Read + Seek>, name: &str, faults: &mut Faults) -> io::Result<Option<String>> {
    let Some(item) = reader.items().iter().find(|i| i.name == name).cloned() else {
        faults.add(FaultKind::FileMissing, name, format!("{name} is missing"));
        return Ok(None);
    };
    let bytes = reader.read(&item, MAX_TEXT)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => {
            faults.add(FaultKind::FileChanged, name, format!("{name} is no text any more"));
            Ok(None)
        }
    }
}

/// `signed.txt`, with its signature and the key beside it checked.
fn signed_statement(
    reader: &mut Reader<impl Read + Seek>,
    faults: &mut Faults,
    checked: &mut Checked,
) -> io::Result<Option<BundleStatement>> {
    let signed = text(reader, SIGNED, faults)?;
    let pem = text(reader, PUBLIC_KEY, faults)?;
    let signature = match reader.items().iter().find(|i| i.name == SIGNATURE).cloned() {
        Some(item) => reader.read(&item, MAX_TEXT)?,
        None => {
            faults.add(FaultKind::FileMissing, SIGNATURE, format!("{SIGNATURE} is missing: the bundle is not signed"));
            Vec::new()
        }
    };
    let Some(signed) = signed else { return Ok(None) };
    let Some(statement) = BundleStatement::parse(&signed) else {
        faults.add(FaultKind::Signature, SIGNED, format!("{SIGNED} was changed: it is not the statement of a bundle"));
        return Ok(None);
    };
    if !statement.key.verify(&signed, &signature) {
        let text = format!(
            "the signature is not that of key {} over {SIGNED}: one of the two was changed",
            statement.key.id()
        );
        faults.add(FaultKind::Signature, SIGNATURE, text);
    }
    if pem.is_some_and(|pem| pem != statement.key.to_pem()) {
        faults.add(FaultKind::FileChanged, PUBLIC_KEY, format!("{PUBLIC_KEY} is not the key that {SIGNED} names"));
    }
    checked.key = Some(statement.key);
    Ok(Some(statement))
}

fn check_manifest(manifest: &Manifest, text: &str, statement: &BundleStatement, faults: &mut Faults) {
    if Sum::of(text.as_bytes()) != statement.manifest {
        faults.add(FaultKind::ManifestChanged, MANIFEST, "the manifest is not the one that was signed");
    }
    if manifest.schema != SCHEMA {
        let text = format!("the manifest is of schema {:?}; this program knows {SCHEMA}", manifest.schema);
        faults.add(FaultKind::ManifestChanged, MANIFEST, text);
    }
    if manifest.origin != statement.origin || manifest.request.request.id != statement.request {
        let text = format!("the manifest is of another box or request than {SIGNED}");
        faults.add(FaultKind::ManifestChanged, MANIFEST, text);
    }
}

fn chain_lines(text: &str, faults: &mut Faults) -> Vec<Line> {
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(e) => faults.add(FaultKind::Chain, CHAIN, format!("line {} of {CHAIN} cannot be read: {e}", i + 1)),
        }
    }
    lines
}

fn check_messages(
    reader: &mut Reader<impl Read + Seek>,
    found: &Found,
    manifest: &Manifest,
    chain: &ChainView<'_>,
    faults: &mut Faults,
) -> io::Result<()> {
    let of_events = manifest.events.iter().flat_map(|e| e.messages.iter().map(move |m| (Some(e), m)));
    for (event, message) in of_events.chain(manifest.notices.iter().map(|m| (None, m))) {
        // A file that is not there is a fault already.
        let Some(item) = reader.items().iter().find(|i| i.name == message.file).cloned() else { continue };
        let bytes = reader.read(&item, MAX_TEXT)?;
        chain.check_message(event, message, &bytes, faults);
        verify_files::check_pictures(found, message, &bytes, faults);
    }
    Ok(())
}
