//! What a depot answers when it cannot do as asked.

use crate::disk;
use std::error::Error as StdError;
use std::io;

/// An error of a depot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a place that snapshots can be kept in.
    #[error("{place:?} is no place for snapshots: {why}")]
    Place {
        /// As given.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing of that name is kept.
    #[error("there is no snapshot {name:?}")]
    Missing {
        /// As asked.
        name: String,
    },
    /// The directory or the object store refused.
    #[error("cannot {action} {name:?} in {place}: {source}")]
    Store {
        /// Where.
        place: String,
        /// Of what.
        name: String,
        /// What was tried: `read`, `write`, `list`.
        action: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The place is wrong.
    InvalidInput,
    /// There is no such thing.
    NotFound,
    /// The disk or the quota of the store is full.
    Exhausted,
    /// The store does not answer, or refuses.
    Unavailable,
}

impl Error {
    /// Its kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Place { .. } => ErrorKind::InvalidInput,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Store { source, .. } if is_full(source.as_ref()) => ErrorKind::Exhausted,
            Self::Store { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Whether an error comes from a disk or a quota that is full. An I/O error hides what it wraps: [`io::Error::get_ref`] shows it.
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

    #[test]
    fn a_full_disk_is_seen_however_deep_its_error_lies() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let store = |source: io::Error| Error::Store {
            place: "/snapshots".into(),
            name: "s".into(),
            action: "write",
            source: Box::new(io::Error::other(object_store::Error::Generic { store: "local", source: source.into() })),
        };
        assert_eq!(store(full()).kind(), ErrorKind::Exhausted);
        assert_eq!(store(io::Error::other(full())).kind(), ErrorKind::Exhausted);
        assert_eq!(store(io::ErrorKind::PermissionDenied.into()).kind(), ErrorKind::Unavailable);
    }
}
