//! What the store answers when it cannot do as asked.

use crate::disk::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The store's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file refused.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The key-value file refused.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
    /// Stored bytes that are not what they should be.
    #[error("{path}: damaged: {what}", path = path.display())]
    Corrupt {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A file that belongs to another collection or data directory, or is older than the files around it.
    #[error("{path}: {what}", path = path.display())]
    Foreign {
        /// Which file or folder.
        path: PathBuf,
        /// What it does not belong to, and what to do.
        what: String,
    },
    /// Stored bytes of another version.
    #[error("{path}: {what}", path = path.display())]
    Incompatible {
        /// Which file.
        path: PathBuf,
        /// Which version, and which we read.
        what: String,
    },
    /// The disk failed before.
    #[error("{path}: writing has stopped: {why}", path = path.display())]
    Stopped {
        /// Which file.
        path: PathBuf,
        /// How it failed.
        why: String,
    },
    /// More than a format can hold.
    #[error("{what}: at most {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much it can hold.
        limit: u64,
    },
    /// The caller asked for what the store's rules forbid: nothing was changed.
    #[error("{path}: {what}", path = path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Which rule.
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

    /// Whether there is no such file.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Disk(disk::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Its kind. (redb's error is open-ended, hence the one `_`.)
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
