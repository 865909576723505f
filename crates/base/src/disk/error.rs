//! Errors of file access, with the file and the position.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the disk layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operating system's error.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The attempted action: `open`, `write`, `sync`.
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Damaged content.
    #[error("{path}: damaged at byte {offset}: {what}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Offset of the damage.
        offset: u64,
        /// Description of the damage.
        what: String,
    },
    /// An intact file of another format version.
    #[error("{path}: has format version {found}; this program reads version {expected}", path = path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// Format version of the file.
        found: u32,
        /// Format version that this program reads.
        expected: u32,
    },
    /// Another process (or another part of this one) holds the folder's lock.
    #[error(
        "{path}: another process has this directory open; stop it, or connect to its server with --server",
        path = path.display()
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

/// Classification of the errors of `disk` and `store`, by what a caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Stored bytes are damaged.
    Corrupt,
    /// Stored bytes have another format version.
    Incompatible,
    /// Disk, quota, memory or open files are exhausted.
    Exhausted,
    /// Another holder has the lock.
    Busy,
    /// The disk failed earlier: the file rejects writes until it is reopened.
    Stopped,
    /// A failure of the machine or the program.
    Internal,
}

impl ErrorKind {
    /// Returns the kind of an operating system's error.
    pub fn of_io(error: &io::Error) -> Self {
        const TOO_MANY_OPEN_FILES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
        let exhausted = matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::OutOfMemory
        ) || error.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code));
        match error.kind() {
            _ if exhausted => Self::Exhausted,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt,
            _ => Self::Internal,
        }
    }
}

impl Error {
    /// Creates an [`Io`](Self::Io) error.
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// Creates a [`Corrupt`](Self::Corrupt) error.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), offset, what: what.into() }
    }

    /// Returns the kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Incompatible { .. } => ErrorKind::Incompatible,
            Self::Busy { .. } => ErrorKind::Busy,
        }
    }
}
