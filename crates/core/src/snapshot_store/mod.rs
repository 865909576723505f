//! Storage of snapshots: a directory, or a bucket of an object store.
//!
//! A store maps names to bytes and does not interpret them.
//!
//! | file | contents |
//! | --- | --- |
//! | `error.rs` | [`Error`] |
//! | `store.rs` | [`SnapshotStore`]: lists, [`Upload`], [`Download`] |
//! | `stored_file.rs` | [`StoredFile`]: an entry of the list |
//! | `directory.rs` | files in a directory |
//! | `remote.rs` | files in an object store; with the feature `object-store` |
//!
//! Calls block. I/O of the object store runs on a thread of the store, so calls are valid from any thread except those
//! of an async runtime.

mod directory;
mod error;
#[cfg(feature = "object-store")]
mod remote;
mod store;
mod stored_file;

pub(crate) use error::is_full;
pub use error::{Error, ErrorKind};
pub use store::{Download, SnapshotStore, Upload};
pub use stored_file::StoredFile;
