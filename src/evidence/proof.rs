//! Which part of the chain a bundle needs: for every entry it speaks of, the unbroken run from the signed head before to the signed
//! head after. The rest of the chain stays on the box: it is about other events.

use std::collections::BTreeSet;

use super::chain::{Entry, Kind, Line};
use super::statement::SignedHead;
use crate::store::{Archive, StoreError};

/// Runs with their heads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Entries, oldest first.
    pub lines: Vec<Line>,
    /// First and last of each run.
    pub runs: Vec<(i64, i64)>,
    /// At the end of each run.
    pub heads: Vec<SignedHead>,
}

/// Collects the proof of the entries `wanted`, none of which is after the head `as_of`. Of the entries between them, which
/// are about other things, the digest is enough: their items stay on the box.
///
/// # Errors
/// When the store cannot be read.
pub async fn collect(archive: &mut Archive, wanted: &BTreeSet<i64>, as_of: &SignedHead) -> Result<Proof, StoreError> {
    let mut proof = Proof::default();
    for n in wanted {
        if proof.runs.last().is_some_and(|run| run.1 >= *n) {
            continue;
        }
        let end = archive.head_from(*n).await?.filter(|h| h.head.n <= as_of.head.n).unwrap_or_else(|| as_of.clone());
        let start = archive.head_before(*n).await?.map_or(1, |h| h.head.n + 1);
        match proof.runs.last_mut() {
            Some(run) if run.1 + 1 == start => run.1 = end.head.n,
            _ => proof.runs.push((start, end.head.n)),
        }
        proof.heads.push(end.clone());
        let run = archive.entries(start, end.head.n).await?;
        proof.lines.extend(run.into_iter().map(|mut entry| {
            let in_bundle = wanted.contains(&entry.n);
            if !in_bundle {
                entry.item = None;
            }
            Line { in_bundle, entry }
        }));
    }
    Ok(proof)
}

/// Which entries are about the box and its keys; every bundle has them.
///
/// # Errors
/// When the store cannot be read.
pub async fn anchors(archive: &mut Archive, up_to: i64) -> Result<Vec<Entry>, StoreError> {
    let mut entries = archive.entries_by_kind(Kind::Genesis, up_to).await?;
    entries.extend(archive.entries_by_kind(Kind::Key, up_to).await?);
    Ok(entries)
}
