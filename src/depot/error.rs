//! What a depot answers when it cannot do as asked.

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
    /// The store does not answer, or refuses.
    Unavailable,
}

impl Error {
    /// Its kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Place { .. } => ErrorKind::InvalidInput,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Store { .. } => ErrorKind::Unavailable,
        }
    }
}
