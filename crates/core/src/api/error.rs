//! Errors of the engine.

use crate::types::InvalidName;
use crate::{embed, index, snapshot_store, store};

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no collection with this name.
    #[error("there is no collection named {0:?}")]
    UnknownCollection(String),
    /// A collection with this name exists.
    #[error("a collection named {0:?} exists already")]
    CollectionExists(String),
    /// A text field with this name exists.
    #[error("the collection {collection:?} has a text field {field:?} already: drop it first, or choose another name")]
    FieldExists {
        /// Name of the collection.
        collection: String,
        /// Name of the field.
        field: String,
    },
    /// There is no model with this fingerprint.
    #[error("there is no model with the fingerprint {0}")]
    UnknownModel(String),
    /// The model exists already.
    #[error("the model {name:?} with the fingerprint {fingerprint} exists already")]
    ModelExists {
        /// Name of its first embedder.
        name: String,
        /// Fingerprint of the model.
        fingerprint: String,
    },
    /// The model cannot be deleted.
    #[error("the model {name:?} cannot be deleted: {why}")]
    ModelStays {
        /// Name of its first embedder.
        name: String,
        /// Reason.
        why: String,
    },
    /// The caller may not access this collection, whether it exists or not.
    #[error("the caller may not access this collection")]
    Forbidden,
    /// The caller may not change models, which all collections share.
    #[error("the caller may not change the models: all collections share them, and the caller may access only some")]
    ForbiddenModels,
    /// There is no point with this id.
    #[error("the collection {collection:?} has no point {id:?}")]
    UnknownPoint {
        /// Name of the collection.
        collection: String,
        /// Id of the point.
        id: String,
    },
    /// A conflict under "keep": the item's id belongs to a stored point with other content.
    #[error("the collection {collection:?} has another point with the id {id:?}, which would be replaced")]
    PointTaken {
        /// Name of the collection.
        collection: String,
        /// Id of the item.
        id: String,
    },
    /// A conflict under "keep": an earlier item of the same load has this id and other content.
    #[error("the id {id:?} came before in this load, with another vector or payload")]
    PointAgain {
        /// Id of the item.
        id: String,
    },
    /// A field of the request is invalid.
    #[error("{field}: {why}")]
    Invalid {
        /// Path of the field in the request, such as `items[3].vector`.
        field: String,
        /// Description of the problem, with the limit.
        why: String,
    },
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Embedding failed.
    #[error("{field}: {source}")]
    Embed {
        /// Path of the field that names the item.
        field: String,
        /// Error of the embedder.
        source: embed::Error,
    },
    /// The collection's embedder is not loaded, or another embedder has its name.
    #[error("the collection {collection:?} is pinned to the embedder {embedder:?} with fingerprint {pinned}; {loaded}")]
    Fingerprint {
        /// Name of the collection.
        collection: String,
        /// Name of the embedder.
        embedder: String,
        /// The pinned fingerprint.
        pinned: String,
        /// Description of what is loaded instead.
        loaded: String,
    },
    /// The points store no source, or one that does not reproduce their vector.
    #[error(
        "{count} points of the collection {collection:?} cannot be embedded again, for example {}: the field {field:?} of their payload is missing, or the current embedder computes another vector from it; write them again by {reads}, or delete them. Nothing was changed",
        quoted(.ids)
    )]
    UncertainSource {
        /// Name of the collection.
        collection: String,
        /// Number of points.
        count: u64,
        /// Ids of the first of these points.
        ids: Vec<String>,
        /// Kind of input that the next embedder reads.
        reads: &'static str,
        /// Payload field that should hold the source.
        field: &'static str,
    },
    /// There is no previous generation, or it has been removed.
    #[error("the collection {collection:?} has no previous generation")]
    NoPrevious {
        /// Name of the collection.
        collection: String,
    },
    /// Stored bytes are corrupt.
    #[error("damaged: {what}")]
    Damaged {
        /// Description of the damage, with its position.
        what: String,
    },
    /// The snapshot is corrupt, or the object is not a snapshot.
    #[error("the snapshot {snapshot:?} is damaged: {what}")]
    SnapshotDamaged {
        /// Name of the snapshot.
        snapshot: String,
        /// Position and description of the damage.
        what: String,
    },
    /// The snapshot cannot be restored on this server in its current state.
    #[error("the snapshot {snapshot:?} cannot be restored here: {why}")]
    SnapshotRefused {
        /// Name of the snapshot.
        snapshot: String,
        /// Reason, and remedy.
        why: String,
    },
    /// No snapshot store is configured.
    #[error(
        "no snapshot store is configured: start the server with --snapshots and a directory or the URL of an object store"
    )]
    NoSnapshotStore,
    /// No layout of the collection is cached.
    #[error("no layout of the collection {collection:?} is cached; compute one first (Map.ComputeLayout)")]
    NoLayout {
        /// Name of the collection.
        collection: String,
    },
    /// The snapshot store failed.
    #[error(transparent)]
    SnapshotStore(#[from] snapshot_store::Error),
    /// A limit of this process or machine is reached.
    #[error("{0}")]
    Exhausted(String),
    /// The response would exceed the size limit of the call.
    #[error("{0}")]
    ResponseTooLarge(String),
    /// The calls in flight use all memory available to calls.
    #[error("{0}")]
    Overloaded(String),
    /// The engine is stopping, or a background job failed with an error that a restart clears.
    #[error("{0}")]
    Unavailable(String),
    /// The call was cancelled before its end; nothing was changed.
    #[error("the call was cancelled: its deadline passed, or the client disconnected")]
    Abandoned,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] store::Error),
    /// A write could not be made durable; no part of it is visible. (After a failed sync the whole write may be visible
    /// after a restart.) Shared by all writers of one group commit.
    #[error("the write is not acknowledged: {0}")]
    Write(std::sync::Arc<store::Error>),
    /// Full growing segments could not be flushed, so the write was refused.
    #[error("nothing was written: a segment could not be flushed: {0}")]
    Flush(std::sync::Arc<Error>),
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(#[from] index::Error),
    /// There is no alias with this name.
    #[error("there is no alias named {0:?}")]
    UnknownAlias(String),
    /// An alias with this name exists.
    #[error("an alias named {0:?} exists already")]
    AliasExists(String),
}

/// Formats ids as `"a", "b"`.
fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ")
}

/// Classes of [`Error`] by what a caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid.
    InvalidInput,
    /// The text has no word of the vocabulary.
    OutOfVocabulary,
    /// The object does not exist.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The current state does not allow the operation, for example because another embedder is loaded.
    Conflict,
    /// The caller is not authorized.
    Forbidden,
    /// Stored bytes are damaged.
    Corrupt,
    /// A limit is reached; retry with less, or later.
    Exhausted,
    /// Temporarily unavailable; retry later.
    Unavailable,
    /// The call was cancelled.
    Abandoned,
    /// The machine or the program failed.
    Internal,
}

fn of_index(error: &index::Error) -> ErrorKind {
    match error.kind() {
        index::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        index::ErrorKind::Cancelled => ErrorKind::Unavailable,
        index::ErrorKind::Rebuild => ErrorKind::Corrupt,
        index::ErrorKind::Io | index::ErrorKind::Internal => ErrorKind::Internal,
    }
}

impl From<embed::ErrorKind> for ErrorKind {
    fn from(kind: embed::ErrorKind) -> Self {
        match kind {
            embed::ErrorKind::InvalidInput => Self::InvalidInput,
            embed::ErrorKind::NotFound => Self::NotFound,
            embed::ErrorKind::OutOfVocabulary => Self::OutOfVocabulary,
            embed::ErrorKind::Corrupt => Self::Corrupt,
            embed::ErrorKind::Cancelled => Self::Abandoned,
            // Another build of the program could read it.
            embed::ErrorKind::Unsupported => Self::Conflict,
            embed::ErrorKind::Exhausted => Self::Exhausted,
            embed::ErrorKind::Internal => Self::Internal,
        }
    }
}

fn of_store(error: &store::Error) -> ErrorKind {
    match error.kind() {
        store::ErrorKind::Corrupt | store::ErrorKind::Incompatible => ErrorKind::Corrupt,
        store::ErrorKind::Exhausted => ErrorKind::Exhausted,
        store::ErrorKind::Busy | store::ErrorKind::Stopped => ErrorKind::Unavailable,
        store::ErrorKind::Internal => ErrorKind::Internal,
    }
}

impl Error {
    /// Creates an [`Error::Invalid`].
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), why: why.into() }
    }

    /// Returns the kind of the error. The match is exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownCollection(_) | Self::UnknownPoint { .. } | Self::UnknownModel(_) | Self::UnknownAlias(_) => {
                ErrorKind::NotFound
            }
            Self::CollectionExists(_)
            | Self::AliasExists(_)
            | Self::FieldExists { .. }
            | Self::ModelExists { .. }
            | Self::PointTaken { .. }
            | Self::PointAgain { .. } => ErrorKind::AlreadyExists,
            Self::Invalid { .. } | Self::Name(_) => ErrorKind::InvalidInput,
            Self::Embed { source, .. } => source.kind().into(),
            Self::Fingerprint { .. }
            | Self::UncertainSource { .. }
            | Self::NoPrevious { .. }
            | Self::ModelStays { .. } => ErrorKind::Conflict,
            Self::Forbidden | Self::ForbiddenModels => ErrorKind::Forbidden,
            Self::Damaged { .. } | Self::SnapshotDamaged { .. } => ErrorKind::Corrupt,
            Self::SnapshotRefused { .. } | Self::NoSnapshotStore | Self::NoLayout { .. } => ErrorKind::Conflict,
            Self::SnapshotStore(error) => match error.kind() {
                snapshot_store::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
                snapshot_store::ErrorKind::NotFound => ErrorKind::NotFound,
                snapshot_store::ErrorKind::Exhausted => ErrorKind::Exhausted,
                snapshot_store::ErrorKind::Unavailable => ErrorKind::Unavailable,
            },
            Self::Exhausted(_) | Self::ResponseTooLarge(_) | Self::Overloaded(_) => ErrorKind::Exhausted,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Abandoned => ErrorKind::Abandoned,
            Self::Store(error) => of_store(error),
            Self::Write(error) => of_store(error),
            Self::Flush(error) => error.kind(),
            Self::Index(error) => of_index(error),
        }
    }

    /// Returns the path of the invalid field, if the error names one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } | Self::Embed { field, .. } => Some(field),
            _ => None,
        }
    }
}
