//! Errors of the store.

use crate::disk::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// An operation on a key-value file failed.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The failed action.
        action: &'static str,
        /// The cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// Stored bytes are damaged.
    #[error("{path}: damaged: {what}", path = path.display())]
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// The damage and its position.
        what: String,
    },
    /// A file that belongs to another collection or data directory, or is older than the files around it.
    #[error("{path}: {what}", path = path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The mismatch and the remedy.
        what: String,
    },
    /// A stored format of another version.
    #[error("{path}: {what}", path = path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// The version found and the supported version.
        what: String,
    },
    /// Writing has stopped after a disk failure.
    #[error("{path}: writing has stopped: {why}", path = path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// The failure.
        why: String,
    },
    /// A limit of the format is exceeded.
    #[error("{what}: at most {limit}")]
    TooLarge {
        /// The limited quantity.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The call violates a rule of the store; nothing was changed.
    #[error("{path}: {what}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The rule.
        what: String,
    },
}

impl Error {
    pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), what: what.into() }
    }

    pub(super) fn foreign(path: &Path, what: impl Into<String>) -> Self {
        Self::Foreign { path: path.into(), what: what.into() }
    }

    pub(super) fn refused(path: &Path, what: impl Into<String>) -> Self {
        Self::Refused { path: path.into(), what: what.into() }
    }

    pub(super) fn database(path: &Path, action: &'static str, source: impl Into<redb::Error>) -> Self {
        Self::Database { path: path.into(), action, source: Box::new(source.into()) }
    }

    /// Returns whether the file does not exist.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Disk(disk::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Returns the kind of the error. (redb's error is non-exhaustive, hence the one `_`.)
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(error) => error.kind(),
            Self::Database { source, .. } => match &**source {
                redb::Error::Io(error) => ErrorKind::of_io(error),
                redb::Error::DatabaseAlreadyOpen => ErrorKind::Busy,
                redb::Error::Corrupted(_) | redb::Error::TableDoesNotExist(_) => ErrorKind::Corrupt,
                redb::Error::UpgradeRequired(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TypeDefinitionChanged { .. } => ErrorKind::Incompatible,
                redb::Error::ValueTooLarge(_) => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::Corrupt { .. } | Self::Foreign { .. } => ErrorKind::Corrupt,
            Self::Incompatible { .. } => ErrorKind::Incompatible,
            Self::Stopped { .. } => ErrorKind::Stopped,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Refused { .. } => ErrorKind::Internal,
        }
    }
}
