//! Picture files: written whole or not at all, named by event and revision. No database here.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::StoreError;
use crate::clock::UtcMillis;

/// Folder under the store's.
const FOLDER: &str = "pictures";
const TMP: &str = "tmp";

/// A written picture.
pub(super) struct Written {
    /// Relative to the store's folder.
    pub path: String,
    /// Hex.
    pub sha256: String,
}

/// `pictures/YYYY/MM/DD` of the UTC day.
pub(super) fn day_folder(at: UtcMillis) -> String {
    let date = at.to_rfc3339();
    // Times before year 0 or after 9999 do not occur: capture times come from clocks, checked at ingest.
    format!("{FOLDER}/{}", date.get(..10).unwrap_or("0000-00-00").replace('-', "/"))
}

/// Writes the files of one message into the folder of its day. When this returns they survive a power cut.
pub(super) fn write_all(dir: &Path, at: UtcMillis, files: &[(String, &[u8])]) -> Result<Vec<Written>, StoreError> {
    let day = day_folder(at);
    let folder = dir.join(&day);
    make_folder(dir, &folder)?;
    let mut out = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        write_one(&folder, name, bytes)?;
        out.push(Written { path: format!("{day}/{name}"), sha256: hex::encode(Sha256::digest(bytes)) });
    }
    sync_folder(&folder)?;
    Ok(out)
}

fn write_one(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let tmp = folder.join(format!("{name}.{TMP}"));
    let target = folder.join(name);
    let write = || {
        let mut file = File::create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| {
        // Best effort: what stays is cleaned at the next start.
        let _ = fs::remove_file(&tmp);
        StoreError::io("write", &target, e)
    })?;
    fs::rename(&tmp, &target).map_err(|e| StoreError::io("rename to", &target, e))
}

/// Makes the missing folders below `root` and makes their names durable.
fn make_folder(root: &Path, folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
    for parent in folder.ancestors().skip(1).take_while(|p| p.starts_with(root)) {
        sync_folder(parent)?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| StoreError::io("sync", folder, e))
}

/// Removes what a crash left half written. Returns how many files.
pub(super) fn clean_tmp(dir: &Path) -> Result<usize, StoreError> {
    let mut removed = 0;
    let mut todo: Vec<PathBuf> = vec![dir.join(FOLDER)];
    while let Some(folder) = todo.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(|e| StoreError::io("read", &folder, e))?,
        };
        for entry in entries {
            let path = entry.map_err(|e| StoreError::io("read", &folder, e))?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == TMP) {
                fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", path, e)),
        _ => Ok(()),
    }
}
