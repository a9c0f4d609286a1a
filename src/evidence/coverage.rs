//! What the box really analysed of an asked time, as it was known when that was asked. The store's intervals go on growing, are
//! joined when they are old and forgotten one day, so the account of a request is put down beside the store when it is
//! first made, and taken from there for every further copy of its bundle.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

use super::custody::write_whole;
use super::manifest::{Analysed, Asked};
use crate::clock::UtcMillis;
use crate::coverage::answer::fold;
use crate::coverage::{Interval, Span};
use crate::rules::AreaId;
use crate::store::{Archive, StoreError};

/// In the store's folder.
const FOLDER: &str = "evidence";

/// The account of the times that the request at entry `n` asks for: of each camera, then of its areas and lines.
///
/// # Errors
/// When the store cannot be read, or the account not be put down.
pub async fn of(archive: &mut Archive, n: i64, asked: &[Asked]) -> anyhow::Result<Vec<Analysed>> {
    let path = archive.dir().join(FOLDER).join(format!("{n}-coverage.json"));
    let mut known = put_down(&path)?;
    let before = known.len();
    for asked in asked {
        if !known.iter().any(|a| a.asked == *asked) {
            known.extend(account(archive, asked).await?);
        }
    }
    if known.len() > before {
        let put = || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            write_whole(&path, &serde_json::to_vec(&known)?)
        };
        put().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(asked.iter().flat_map(|asked| known.iter().filter(|a| a.asked == *asked).cloned()).collect())
}

fn put_down(path: &Path) -> anyhow::Result<Vec<Analysed>> {
    match fs::read(path) {
        Ok(bytes) => {
            let damaged = || format!("{} is damaged; remove it, and the bundle says what is known now", path.display());
            serde_json::from_slice(&bytes).with_context(damaged)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn account(archive: &mut Archive, asked: &Asked) -> Result<Vec<Analysed>, StoreError> {
    let span = Span { from: asked.from, to: asked.to };
    let (intervals, until) = archive.coverage(&asked.camera, span).await?;
    let areas: BTreeSet<AreaId> = intervals.iter().flat_map(|i| i.areas.keys().cloned()).collect();
    let each = std::iter::once(None).chain(areas.into_iter().map(Some));
    Ok(each.map(|area| analysed(&intervals, until, asked, area)).collect())
}

fn analysed(intervals: &[Interval], until: Option<UtcMillis>, asked: &Asked, area: Option<AreaId>) -> Analysed {
    let seen = fold(intervals, area.as_ref(), Span { from: asked.from, to: asked.to }, until);
    Analysed {
        asked: asked.clone(),
        area: area.map(|a| a.0),
        watched_ms: seen.watched_ms(),
        blind_ms: seen.blind_ms(),
        watched: seen.watched,
        blind: seen.blind,
    }
}
