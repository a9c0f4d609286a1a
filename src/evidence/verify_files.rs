//! The files of a bundle against its manifest: all there, none else, in order, unchanged.

use std::collections::HashMap;
use std::io::{self, Read, Seek};

use super::chain::Sum;
use super::export::{MANIFEST, PUBLIC_KEY, SIGNATURE, SIGNED};
use super::manifest::{Manifest, MessageRecord};
use super::verify::{FaultKind, Faults};
use super::zip::Reader;

/// The files that the manifest cannot name, in their order at the end.
const LAST: [&str; 4] = [MANIFEST, SIGNED, SIGNATURE, PUBLIC_KEY];

/// What is in the container.
#[derive(Debug)]
pub struct Found {
    /// Names in their order.
    names: Vec<String>,
    sums: HashMap<String, (Sum, u64)>,
}

impl Found {
    /// Takes the digest of every file.
    ///
    /// # Errors
    /// When the bundle cannot be read.
    pub fn read(
        reader: &mut Reader<impl Read + Seek>,
        faults: &mut Faults,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Self> {
        let mut found = Self { names: Vec::new(), sums: HashMap::new() };
        for item in reader.items().to_vec() {
            let (sum, fits) = reader.digest(&item, progress)?;
            if !fits {
                let text = format!("{} does not fit its size or checksum in the container", item.name);
                faults.add(FaultKind::Container, &item.name, text);
            }
            if found.sums.insert(item.name.clone(), (sum, item.size)).is_some() {
                faults.add(FaultKind::FileAdded, &item.name, format!("{} is in the bundle twice", item.name));
            }
            found.names.push(item.name);
        }
        Ok(found)
    }

    /// How many files.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The digest of a file.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<Sum> {
        self.sums.get(name).map(|(sum, _)| *sum)
    }
}

/// Holds the files against the manifest.
pub fn against_manifest(found: &Found, manifest: &Manifest, faults: &mut Faults) {
    for file in &manifest.files {
        match found.sums.get(&file.path) {
            None => faults.add(FaultKind::FileMissing, &file.path, format!("{} is missing", file.path)),
            Some((sum, bytes)) if *sum != file.sha256 || *bytes != file.bytes => {
                faults.add(FaultKind::FileChanged, &file.path, format!("{} was changed", file.path));
            }
            Some(_) => {}
        }
    }
    let named = |name: &str| LAST.contains(&name) || manifest.files.iter().any(|f| f.path == name);
    for name in found.names.iter().filter(|n| !named(n)) {
        faults.add(FaultKind::FileAdded, name, format!("{name} was added: the manifest does not name it"));
    }
    let wanted = manifest.files.iter().map(|f| f.path.as_str()).chain(LAST);
    let there = |name: &&str| found.sums.contains_key(*name);
    if !found.names.iter().map(String::as_str).filter(|n| named(n)).eq(wanted.filter(there)) {
        faults.add(FaultKind::Swapped, "container", "the files of the bundle are not in their order");
    }
    check_parents(manifest, faults);
}

/// A derivative names an original that is here, or that the bundle says is missing.
fn check_parents(manifest: &Manifest, faults: &mut Faults) {
    for file in &manifest.files {
        let Some(parent) = file.parent_sha256 else { continue };
        let here = manifest.files.iter().any(|f| f.sha256 == parent);
        if !here && manifest.missing.is_empty() {
            let text = format!("the original of {} is not in the bundle, and nothing says why", file.path);
            faults.add(FaultKind::FileMissing, &file.path, text);
        }
    }
}

/// The pictures of a message are those whose digests it names; the message itself is held against the chain.
pub fn check_pictures(found: &Found, m: &MessageRecord, message: &[u8], faults: &mut Faults) {
    let json: serde_json::Value = serde_json::from_slice(message).unwrap_or_default();
    let snapshot = &json["data"]["snapshot"];
    for (file, key) in [(&m.clean, "clean_sha256"), (&m.annotated, "sha256")] {
        let Some(sum) = file.as_deref().and_then(|f| found.sum(f)) else { continue };
        if snapshot[key] != sum.to_string() {
            let file = file.as_deref().unwrap_or_default();
            let text = format!("{file} is not the picture that message {}/{} names", m.id, m.revision);
            faults.add(FaultKind::FileChanged, file, text);
        }
    }
}
