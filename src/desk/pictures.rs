//! Picture files by digest, whole or not at all: the name of a file is the SHA-256 of what is in it. A picture whose file cannot
//! be written waits in the database: no alert waits for a folder that is full, may not be written or does not answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;

use super::db::{DbError, within};
use super::room::Room;
use crate::clock::utc_now;

/// How often pictures that wait are tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// A try is over within this, or begins anew.
const BROUGHT_WITHIN: Duration = Duration::from_secs(300);
/// Pictures tried again at once, the newest first.
const AT_ONCE: i64 = 200;
/// Bytes of the file that shows whether the folder can be written: more than a disk keeps beside what it calls full.
const TRIAL: usize = 256 * 1024;

/// Whether pictures can be written, as far as the last try showed.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    broken: AtomicBool,
}

impl Folder {
    pub(crate) fn works(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }

    /// From now on pictures are put aside without a try, until [`bring_in`] finds that they can be written.
    pub(crate) fn broke(&self, why: &dyn std::fmt::Display) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%why, "pictures cannot be written and wait in the database; free or repair the folder `pictures` in `desk.dir`");
        }
    }
}

/// Writes what waits in the database into its files as soon as that is possible, until the desk stops.
pub(crate) async fn bring_in(room: Arc<Room>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        if let Err(error) = within(BROUGHT_WITHIN, bring_in_once(&room)).await {
            tracing::warn!(%error, "pictures that wait cannot be written yet; trying again");
        }
    }
}

/// Also what another worker put aside: its folder may be another one than this worker's.
pub(super) async fn bring_in_once(room: &Room) -> Result<(), DbError> {
    let dir = &room.config.desk.dir;
    let waiting = room.db.pictures_aside(AT_ONCE).await?;
    if waiting.is_empty() && room.pictures.works() {
        return Ok(());
    }
    can_write(dir).await.inspect_err(|error| room.pictures.broke(error))?;
    let mut all = Ok(());
    for (event, sha256) in waiting {
        // One folder of many may be another's: the rest does not wait for it.
        match bring_in_one(room, &event, &sha256).await {
            Err(error @ DbError::Picture { .. }) => all = Err(error),
            other => other?,
        }
    }
    all?;
    if room.pictures.broken.swap(false, Ordering::Relaxed) {
        tracing::info!("pictures can be written again");
    }
    Ok(())
}

async fn bring_in_one(room: &Room, event: &str, sha256: &str) -> Result<(), DbError> {
    let Some(content) = room.db.picture_aside(event, sha256).await? else { return Ok(()) };
    let jpeg = STANDARD.decode(content).unwrap_or_default();
    write(&room.config.desk.dir, sha256, &jpeg).await?;
    let mut tx = room.db.write().await?;
    tx.keep_picture(event, sha256, i64::try_from(jpeg.len()).unwrap_or(i64::MAX), utc_now().0).await?;
    tx.forget_aside(event, sha256).await?;
    tx.touch(event, false).await?;
    tx.commit().await?;
    room.hub.nudge();
    Ok(())
}

/// What a picture is kept as in the database.
pub(crate) fn as_text(jpeg: &[u8]) -> String {
    STANDARD.encode(jpeg)
}

async fn can_write(dir: &Path) -> Result<(), DbError> {
    let path = dir.join("pictures").join("trial.tmp");
    let failed = |source| DbError::Picture { path: path.display().to_string(), source };
    tokio::fs::create_dir_all(dir.join("pictures")).await.map_err(failed)?;
    let tried = tokio::fs::write(&path, vec![0; TRIAL]).await;
    // One that cannot be removed is written over the next time.
    let _ = tokio::fs::remove_file(&path).await;
    tried.map_err(failed)
}

/// Where the picture with this digest is. `sha256` must be 64 hexadecimal digits, see [`is_digest`].
pub(crate) fn path(dir: &Path, sha256: &str) -> PathBuf {
    dir.join("pictures").join(sha256.get(..2).unwrap_or("xx")).join(format!("{sha256}.jpg"))
}

/// 64 hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Writes a picture unless it is there already.
pub(crate) async fn write(dir: &Path, sha256: &str, jpeg: &[u8]) -> Result<(), DbError> {
    let path = path(dir, sha256);
    let failed = |source| DbError::Picture { path: path.display().to_string(), source };
    if tokio::fs::try_exists(&path).await.map_err(failed)? {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(dir);
    let is_new = !tokio::fs::try_exists(folder).await.map_err(failed)?;
    tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    let half = path.with_extension("tmp");
    let mut file = tokio::fs::File::create(&half).await.map_err(failed)?;
    file.write_all(jpeg).await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    tokio::fs::rename(&half, &path).await.map_err(failed)?;
    // The broker forgets it next, so its name must be on the disk too, and that of a folder made for it.
    let above = folder.ancestors().skip(1).take(2).filter(|_| is_new);
    for named_in in std::iter::once(folder).chain(above) {
        tokio::fs::File::open(named_in).await.map_err(failed)?.sync_all().await.map_err(failed)?;
    }
    Ok(())
}
