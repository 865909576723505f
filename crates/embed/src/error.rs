//! What can go wrong when something is embedded, or a model is trained, read or written.

use crate::disk;
use std::path::PathBuf;

/// An embedder's error. A variant says what happened and to what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No embedder of that name is loaded.
    #[error("there is no embedder named {name:?}; known: {known}")]
    UnknownEmbedder {
        /// As asked.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The embedder has no such tap.
    #[error("the embedder {embedder:?} has no tap named {tap:?}; known: {known}")]
    UnknownTap {
        /// Which embedder.
        embedder: String,
        /// As asked.
        tap: String,
        /// The taps there are.
        known: String,
    },
    /// Text for an image embedder, or the reverse.
    #[error("the embedder {embedder:?} reads {expected}, not {found}")]
    Modality {
        /// Which embedder.
        embedder: String,
        /// What it reads.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// No word of the text is in the vocabulary.
    #[error("no word of the text is in the vocabulary of {embedder:?}: {words}")]
    OutOfVocabulary {
        /// Which embedder.
        embedder: String,
        /// The unknown words (the first of them, when there are many).
        words: String,
    },
    /// The input is too large, empty, broken, or has nothing to embed.
    #[error("{0}")]
    InvalidInput(String),
    /// A model or data file whose bytes are not what they should be.
    #[error("{path}: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A training was cancelled by its observer.
    #[error("the training was cancelled before its end")]
    Cancelled,
    /// The net could not be computed.
    #[error("the net could not be computed: {0}")]
    Compute(String),
    /// A model folder of a kind that this program was built without.
    #[error("{path}: this is a model of the family {what:?}; the program was built without the cargo feature {feature:?} that reads it", path = path.display())]
    NotBuilt {
        /// The folder.
        path: PathBuf,
        /// Which family.
        what: &'static str,
        /// What is missing.
        feature: &'static str,
    },
    /// A model file could not be written.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// A file that could not be read or written.
    #[error("{path}: cannot be read or written", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's input is wrong.
    InvalidInput,
    /// There is no such thing.
    NotFound,
    /// Text of which no word is known (a special case of wrong input, reported with its own reason).
    OutOfVocabulary,
    /// Stored bytes are damaged.
    Corrupt,
    /// Nobody wants the result any more.
    Cancelled,
    /// This build of the program does not read such models.
    Unsupported,
    /// The disk, the quota, memory or the open files are at their limit.
    Exhausted,
    /// The machine failed.
    Internal,
}

impl Error {
    /// Its kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownEmbedder { .. } => ErrorKind::NotFound,
            Self::UnknownTap { .. } | Self::Modality { .. } | Self::InvalidInput(_) => ErrorKind::InvalidInput,
            Self::OutOfVocabulary { .. } => ErrorKind::OutOfVocabulary,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::NotBuilt { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } if disk::ErrorKind::of_io(source) == disk::ErrorKind::Exhausted => {
                ErrorKind::Exhausted
            }
            Self::Disk(error) if error.kind() == disk::ErrorKind::Exhausted => ErrorKind::Exhausted,
            Self::Io { .. } | Self::Disk(_) | Self::Compute(_) => ErrorKind::Internal,
        }
    }
}
