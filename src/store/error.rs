//! What can go wrong with the store, by what the caller does about it.

use std::path::{Path, PathBuf};

/// Every message names the file or folder and the next step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("store {dir} is in use by another gatewatch; stop that one or set another `store.dir`", dir = dir.display())]
    Locked {
        /// The store's folder.
        dir: PathBuf,
    },
    /// No room. Nothing of the failed step was recorded; it can be tried again.
    #[error("no room left for {path}: free space on that disk or lower `store.keep_pictures_days`", path = path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// The database is damaged or no database. It is left as it is.
    #[error(
        "database {path} is damaged ({what}); it was not changed. Move it away (keep it for repair) to start anew; an old copy in its place would give numbers out twice",
        path = path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Made by a newer version.
    #[error("database {path} does not fit this version of gatewatch ({what}); use the version that wrote it or a newer one", path = path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}; check owner and permissions", path = path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// `create`, `write`, `read`…
        action: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// The database refused a statement.
    #[error("database {path}: {source}", path = path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Cause.
        source: sqlx::Error,
    },
    /// Something recorded cannot be read back by this version.
    #[error("database {path}: {what}", path = path.display())]
    Content {
        /// The database.
        path: PathBuf,
        /// Which row and why.
        what: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            return Self::Full { path: path.into() };
        }
        Self::Io { path: path.into(), action, source }
    }

    /// By SQLite's primary result code: <https://www.sqlite.org/rescode.html>.
    pub(super) fn sql(path: &Path, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
        match code.map(|c| c & 0xff) {
            Some(11 | 26) => Self::Corrupt { path: path.into(), what: source.to_string() },
            Some(13) => Self::Full { path: path.into() },
            Some(8 | 14) => {
                let why = std::io::Error::new(std::io::ErrorKind::PermissionDenied, source.to_string());
                Self::Io { path: path.into(), action: "write", source: why }
            }
            _ => Self::Database { path: path.into(), source },
        }
    }
}
