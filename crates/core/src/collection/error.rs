//! What the engine answers when it cannot do as asked.

use crate::types::InvalidName;
use crate::{depot, embed, index, store};

/// The engine's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No collection of that name.
    #[error("there is no collection named {0:?}")]
    UnknownCollection(String),
    /// A collection of that name exists.
    #[error("a collection named {0:?} exists already")]
    CollectionExists(String),
    /// No model has this fingerprint.
    #[error("there is no model with the fingerprint {0}")]
    UnknownModel(String),
    /// The model is there already.
    #[error("the model {name:?} with the fingerprint {fingerprint} is there already")]
    ModelExists {
        /// The name of its first embedder.
        name: String,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A model that cannot be deleted.
    #[error("the model {name:?} cannot be deleted: {why}")]
    ModelStays {
        /// The name of its first embedder.
        name: String,
        /// Because.
        why: String,
    },
    /// The caller may not touch this collection, whether it exists or not.
    #[error("the caller may not touch this collection")]
    Forbidden,
    /// Models stand for all collections, and the caller may not touch all.
    #[error(
        "the caller may not change the models: they are shared by all collections, and the caller may touch only some"
    )]
    ForbiddenModels,
    /// No point of that id.
    #[error("the collection {collection:?} has no point {id:?}")]
    UnknownPoint {
        /// Which collection.
        collection: String,
        /// Which id.
        id: String,
    },
    /// An item whose id belongs to another point, which was to be kept.
    #[error("the collection {collection:?} has another point with the id {id:?}, which would be replaced")]
    PointTaken {
        /// Which collection.
        collection: String,
        /// Which id.
        id: String,
    },
    /// An item whose id an item before it has, with other content, where points are kept.
    #[error("the id {id:?} came before in this load, with another vector or payload")]
    PointAgain {
        /// Which id.
        id: String,
    },
    /// A field of the request is wrong: `field` is its path in the request (`items[3].vector`), `why` names the limit.
    #[error("{field}: {why}")]
    Invalid {
        /// Path of the field.
        field: String,
        /// What is wrong, and the limit.
        why: String,
    },
    /// A name that is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Embedding failed; `field` names the item.
    #[error("{field}: {source}")]
    Embed {
        /// Path of the field.
        field: String,
        /// Why.
        source: embed::Error,
    },
    /// The collection's embedder is not loaded, or another one has its name.
    #[error("the collection {collection:?} is pinned to the embedder {embedder:?} with fingerprint {pinned}; {loaded}")]
    Fingerprint {
        /// Which collection.
        collection: String,
        /// Name of the embedder.
        embedder: String,
        /// The pinned fingerprint.
        pinned: String,
        /// What is loaded instead.
        loaded: String,
    },
    /// Points that keep no source, or one that does not give their vector.
    #[error(
        "{count} points of the collection {collection:?} cannot be embedded anew, for example {}: the field {field:?} of their payload is missing, or the present embedder makes another vector from it; write them again by {reads}, or delete them. Nothing was changed",
        quoted(.ids)
    )]
    UncertainSource {
        /// Which collection.
        collection: String,
        /// How many points.
        count: u64,
        /// The ids of the first of them.
        ids: Vec<String>,
        /// What the next embedder reads.
        reads: &'static str,
        /// Where it would be.
        field: &'static str,
    },
    /// There is no generation before the present one, or it is not kept any more.
    #[error("the collection {collection:?} keeps no generation before the present one")]
    NoPrevious {
        /// Which collection.
        collection: String,
    },
    /// Stored bytes are not what was written.
    #[error("damaged: {what}")]
    Damaged {
        /// What, and where.
        what: String,
    },
    /// A snapshot that is not what was written, or is none.
    #[error("the snapshot {snapshot:?} is damaged: {what}")]
    SnapshotDamaged {
        /// Its name.
        snapshot: String,
        /// Where in it, and what.
        what: String,
    },
    /// A snapshot that this server cannot take as things are.
    #[error("the snapshot {snapshot:?} cannot be restored here: {why}")]
    SnapshotRefused {
        /// Its name.
        snapshot: String,
        /// Why, and what to do.
        why: String,
    },
    /// The server was not told where to keep snapshots.
    #[error(
        "no place for snapshots is configured: start the server with --snapshots and a directory or the URL of an object store"
    )]
    NoDepot,
    /// No layout of the collection is kept.
    #[error("no map of the collection {collection:?} is kept; ask for one first (Map.Project)")]
    NoMap {
        /// Which collection.
        collection: String,
    },
    /// Where snapshots are kept, something failed.
    #[error(transparent)]
    Depot(#[from] depot::Error),
    /// A limit of this process or machine is reached.
    #[error("{0}")]
    Exhausted(String),
    /// The answer would be larger than the limit of the call.
    #[error("{0}")]
    ResponseTooLarge(String),
    /// The calls that are being answered hold all memory that they may hold.
    #[error("{0}")]
    Overloaded(String),
    /// The engine is stopping, or a background job failed in a way that a restart mends.
    #[error("{0}")]
    Unavailable(String),
    /// The call was given up before its end; it changed nothing.
    #[error("nobody waits for the answer any more: the deadline passed, or the client left")]
    Abandoned,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] store::Error),
    /// A write could not be made durable; nothing of it is visible. (After a failed sync it may be there after a
    /// restart, whole.) Shared by all writers of one group commit.
    #[error("the write is not acknowledged: {0}")]
    Write(std::sync::Arc<store::Error>),
    /// Frozen segments wait, and could not be sealed.
    #[error("nothing was written: a segment could not be sealed: {0}")]
    Seal(std::sync::Arc<Error>),
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(#[from] index::Error),
}

/// `"a", "b"`
fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ")
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    InvalidInput,
    /// Text of which no word is known.
    OutOfVocabulary,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    AlreadyExists,
    /// The state does not allow it (another embedder).
    Conflict,
    /// The caller may not.
    Forbidden,
    /// Stored bytes are damaged.
    Corrupt,
    /// A limit is reached; less, or later.
    Exhausted,
    /// Not now.
    Unavailable,
    /// Nobody waits for the answer.
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
            // Another build of the program would read it.
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
    /// A wrong field.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), why: why.into() }
    }

    /// Its kind; exhaustive, so that a new variant must choose one.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownCollection(_) | Self::UnknownPoint { .. } | Self::UnknownModel(_) => ErrorKind::NotFound,
            Self::CollectionExists(_)
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
            Self::SnapshotRefused { .. } | Self::NoDepot | Self::NoMap { .. } => ErrorKind::Conflict,
            Self::Depot(error) => match error.kind() {
                depot::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
                depot::ErrorKind::NotFound => ErrorKind::NotFound,
                depot::ErrorKind::Exhausted => ErrorKind::Exhausted,
                depot::ErrorKind::Unavailable => ErrorKind::Unavailable,
            },
            Self::Exhausted(_) | Self::ResponseTooLarge(_) | Self::Overloaded(_) => ErrorKind::Exhausted,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Abandoned => ErrorKind::Abandoned,
            Self::Store(error) => of_store(error),
            Self::Write(error) => of_store(error),
            Self::Seal(error) => error.kind(),
            Self::Index(error) => of_index(error),
        }
    }

    /// The request's field that is wrong, where there is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } | Self::Embed { field, .. } => Some(field),
            _ => None,
        }
    }
}
