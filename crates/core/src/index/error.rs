//! Errors of the indexes.

use std::path::PathBuf;

use crate::types::Metric;

/// Index error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The progress callback returned false.
    #[error("the build was cancelled after {done} of {total} rows")]
    Cancelled {
        /// Rows inserted.
        done: u64,
        /// Rows to insert.
        total: u64,
    },
    /// A parameter outside its limits.
    #[error("{name} must be {min} to {max}, got {got}")]
    InvalidParams {
        /// Name of the parameter.
        name: &'static str,
        /// Minimum.
        min: u64,
        /// Maximum.
        max: u64,
        /// Given value.
        got: u64,
    },
    /// A vector of another dimension than the index.
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
        /// Index of the component, from 0.
        component: usize,
    },
    /// A vector without a direction (its norm is zero or infinite), for a metric that needs one.
    #[error("the {metric} metric needs a vector of a norm that is neither zero nor infinite")]
    NoDirection {
        /// The metric.
        metric: Metric,
    },
    /// I/O error.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// A damaged file: rebuild it from the vectors.
    #[error("{path}: damaged: {what}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Damage and its location.
        what: String,
    },
    /// An intact file of other vectors or of another version: rebuild it from the vectors.
    #[error("{path}: does not fit: {what}", path = path.display())]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// Difference.
        what: String,
    },
    /// A panic inside `hnsw_rs`; the vectors are still stored elsewhere.
    #[error("hnsw_rs failed: {0}")]
    Hnsw(String),
}

/// Category of an [`Error`], by the action of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Correct the input.
    InvalidInput,
    /// None: the caller has cancelled.
    Cancelled,
    /// Rebuild the index from the vectors.
    Rebuild,
    /// Check the disk.
    Io,
    /// Report a bug.
    Internal,
}

impl Error {
    /// Returns the category of the error.
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
