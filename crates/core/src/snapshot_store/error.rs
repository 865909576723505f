//! Errors of a snapshot store.

use crate::disk;
use std::error::Error as StdError;
use std::io;

/// An error of a snapshot store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The location is not a directory or a supported URL.
    #[error("{location:?} is not a snapshot location: {why}")]
    Location {
        /// The location, as given.
        location: String,
        /// Description of the problem.
        why: String,
    },
    /// No file has this name.
    #[error("there is no snapshot {name:?}")]
    Missing {
        /// The requested name.
        name: String,
    },
    /// The directory or the object store failed.
    #[error("cannot {action} {name:?} in {location}: {source}")]
    Store {
        /// The location.
        location: String,
        /// Name of the file.
        name: String,
        /// The attempted action: `read`, `write`, `list`.
        action: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Classification of an [`Error`], by what a caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The location is invalid.
    InvalidInput,
    /// The file does not exist.
    NotFound,
    /// The disk or the quota of the store is full.
    Exhausted,
    /// The store is unreachable or rejects the request.
    Unavailable,
}

impl Error {
    /// Returns the kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Location { .. } => ErrorKind::InvalidInput,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Store { source, .. } if is_full(source.as_ref()) => ErrorKind::Exhausted,
            Self::Store { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Returns whether an error is caused by a full disk or quota. The source chain of an I/O error skips the error that it
/// wraps, so this function also follows [`io::Error::get_ref`].
pub(crate) fn is_full(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if disk::ErrorKind::of_io(io) == disk::ErrorKind::Exhausted {
                return true;
            }
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of a library with the disk's error as its source.
    #[derive(Debug, thiserror::Error)]
    #[error("generic")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_full_disk_is_detected_at_any_depth_of_the_source_chain() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let store = |source: io::Error| Error::Store {
            location: "/snapshots".into(),
            name: "s".into(),
            action: "write",
            source: Box::new(io::Error::other(Outer(source))),
        };
        assert_eq!(store(full()).kind(), ErrorKind::Exhausted);
        assert_eq!(store(io::Error::other(full())).kind(), ErrorKind::Exhausted);
        assert_eq!(store(io::ErrorKind::PermissionDenied.into()).kind(), ErrorKind::Unavailable);
    }
}
