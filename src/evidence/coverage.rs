//! What the box really analysed of an asked time, as it was known when that was asked. The store's intervals go on growing, are
//! joined when they are old and forgotten one day, so the account of a request is put down beside the store when it is
//! first made, and taken from there for every further copy of its bundle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

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
    let known = put_down(&path)?;
    let mut all = Vec::new();
    for asked in asked {
        let before = all.len();
        all.extend(known.iter().flatten().filter(|a| a.asked == *asked).cloned());
        if all.len() == before {
            all.extend(account(archive, asked).await?);
        }
    }
    if known.is_none() {
        put(&path, &all).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(all)
}

fn put_down(path: &Path) -> anyhow::Result<Option<Vec<Analysed>>> {
    match fs::read(path) {
        Ok(bytes) => {
            let damaged = || format!("{} is damaged; remove it, and the bundle says what is known now", path.display());
            Ok(Some(serde_json::from_slice(&bytes).with_context(damaged)?))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whole or not at all.
fn put(path: &Path, all: &[Analysed]) -> std::io::Result<()> {
    let folder: PathBuf = path.parent().map(Into::into).unwrap_or_default();
    fs::create_dir_all(&folder)?;
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(&serde_json::to_vec(all)?)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    File::open(folder)?.sync_all()
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
        watched_ms: seen.watched.iter().map(|w| w.span.ms()).sum(),
        blind_ms: seen.blind.iter().map(|b| b.span.ms()).sum(),
        watched: seen.watched,
        blind: seen.blind,
    }
}
