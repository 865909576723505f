//! What can go wrong in an index.

use std::path::PathBuf;

use crate::types::Metric;

/// The index's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The progress callback asked to stop.
    #[error("the build was cancelled after {done} of {total} rows")]
    Cancelled {
        /// Rows inserted.
        done: u64,
        /// Rows to insert.
        total: u64,
    },
    /// A parameter outside its limits.
    #[error("{name} must be {least} to {most}, got {got}")]
    InvalidParams {
        /// Which.
        name: &'static str,
        /// Smallest that is allowed.
        least: u64,
        /// Largest that is allowed.
        most: u64,
        /// What was given.
        got: u64,
    },
    /// A vector of another dimension.
    #[error("the vector has {got} components, the index has {expected}")]
    Dimension {
        /// Components of the index.
        expected: usize,
        /// Components of the vector.
        got: usize,
    },
    /// A component that is NaN or infinite.
    #[error("component {component} of the vector is not finite")]
    NotFinite {
        /// Which, from 0.
        component: usize,
    },
    /// A vector without direction, where the metric needs one.
    #[error("the {metric} metric needs a vector of a norm that is neither zero nor infinite")]
    NoDirection {
        /// The metric.
        metric: Metric,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// A file that is damaged: rebuild it from the vectors.
    #[error("{path}: damaged: {what}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A sound file that belongs to something else, or to another version: rebuild it from the vectors.
    #[error("{path}: does not fit: {what}", path = path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The growing index panicked inside; what it holds is still stored elsewhere.
    #[error("hnsw_rs failed: {0}")]
    Hnsw(String),
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Correct the input.
    InvalidInput,
    /// Nothing: it was asked for.
    Cancelled,
    /// Rebuild the index from the vectors.
    Rebuild,
    /// Look at the disk.
    Io,
    /// Report it.
    Internal,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::InvalidParams { .. } | Self::Dimension { .. } | Self::NotFinite { .. } | Self::NoDirection { .. } => {
                ErrorKind::InvalidInput
            }
            Self::Corrupt { .. } | Self::Incompatible { .. } => ErrorKind::Rebuild,
            Self::Disk(_) => ErrorKind::Io,
            Self::Hnsw(_) => ErrorKind::Internal,
        }
    }
}
