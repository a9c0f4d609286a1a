//! Picture files by digest, whole or not at all: the name of a file is the SHA-256 of what is in it.

use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;

use super::db::DbError;

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
