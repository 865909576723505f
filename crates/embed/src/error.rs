//! Errors of embedding, and of training, reading and writing models.

use crate::disk;
use std::path::PathBuf;

/// An embedder's error. Each variant names the cause and the object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No embedder with that name is loaded.
    #[error("there is no embedder named {name:?}; known: {known}")]
    UnknownEmbedder {
        /// The requested name.
        name: String,
        /// The available names.
        known: String,
    },
    /// The embedder has no such output layer.
    #[error("the embedder {embedder:?} has no output layer named {layer:?}; known: {known}")]
    UnknownOutputLayer {
        /// The embedder.
        embedder: String,
        /// The requested output layer.
        layer: String,
        /// The available output layers.
        known: String,
    },
    /// Two model folders have an embedder of the same name.
    #[error("{other} and {folder}: both have an embedder named {name:?}; give only one of them, or create the other under another name (--name)", other = other.display(), folder = folder.display())]
    NameTaken {
        /// The name.
        name: String,
        /// The folder that is refused.
        folder: PathBuf,
        /// The folder that has the name.
        other: PathBuf,
    },
    /// Text for an image embedder, or the reverse.
    #[error("the embedder {embedder:?} reads {expected}, not {found}")]
    Modality {
        /// The embedder.
        embedder: String,
        /// The modality it reads.
        expected: &'static str,
        /// The modality of the input.
        found: &'static str,
    },
    /// No word of the text is in the vocabulary.
    #[error("no word of the text is in the vocabulary of {embedder:?}: {words}")]
    OutOfVocabulary {
        /// The embedder.
        embedder: String,
        /// The unknown words (only the first ones if there are many).
        words: String,
    },
    /// The input is too large, empty, damaged, or has nothing to embed.
    #[error("{0}")]
    InvalidInput(String),
    /// A model or data file with invalid contents.
    #[error("{path}: {what}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The defect and its position.
        what: String,
    },
    /// The observer cancelled the training.
    #[error("the training was cancelled before its end")]
    Cancelled,
    /// The net could not be computed.
    #[error("the net could not be computed: {0}")]
    Compute(String),
    /// A model folder of a family that this build does not include.
    #[error("{path}: this is a model of the family {what:?}; the program was built without the cargo feature {feature:?} that reads it", path = path.display())]
    NotBuilt {
        /// The folder.
        path: PathBuf,
        /// The family.
        what: &'static str,
        /// The missing cargo feature.
        feature: &'static str,
    },
    /// A model file could not be written.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// A file that could not be read or written.
    #[error("{path}: cannot be read or written", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Category of an [`Error`], by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Invalid input from the caller.
    InvalidInput,
    /// The named object does not exist.
    NotFound,
    /// Text without a known word (invalid input with its own reason).
    OutOfVocabulary,
    /// Stored data is damaged.
    Corrupt,
    /// The call was cancelled.
    Cancelled,
    /// This build does not support the model.
    Unsupported,
    /// Out of disk space, quota, memory or file descriptors.
    Exhausted,
    /// I/O or compute failure.
    Internal,
}

impl Error {
    /// The kind of the error. The match is exhaustive, so a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownEmbedder { .. } => ErrorKind::NotFound,
            Self::UnknownOutputLayer { .. }
            | Self::NameTaken { .. }
            | Self::Modality { .. }
            | Self::InvalidInput(_) => ErrorKind::InvalidInput,
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
