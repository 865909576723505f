//! What a file refused, which file, and where in it.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the disk layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What was tried: `open`, `write`, `make durable`.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Bytes that are not what they should be.
    #[error("{path}: damaged at byte {offset}: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A whole file of another format version.
    #[error("{path}: has format version {found}; this program reads version {expected}", path = path.display())]
    Incompatible {
        /// Which file.
        path: PathBuf,
        /// The file's version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// Another process (or another part of this one) holds the folder.
    #[error(
        "{path}: another process has this directory open, perhaps a server: stop it, or ask the server (--server)",
        path = path.display()
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

/// What a caller can do about an error of `disk` or `store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Stored bytes are damaged.
    Corrupt,
    /// Stored bytes of another version.
    Incompatible,
    /// The disk, the quota, memory or the open files are at their limit.
    Exhausted,
    /// Someone else holds it.
    Busy,
    /// The disk failed before: nothing is written until the file is opened anew.
    Stopped,
    /// The machine or the program failed.
    Internal,
}

impl ErrorKind {
    /// The kind of an operating system's error.
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
    /// An operating system's error, with the file it came from.
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// Wrong bytes at `offset`.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), offset, what: what.into() }
    }

    /// Its kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Incompatible { .. } => ErrorKind::Incompatible,
            Self::Busy { .. } => ErrorKind::Busy,
        }
    }
}
