//! Storage of snapshots: a directory, or a bucket of an object store.
//!
//! A depot maps names to bytes and does not interpret them.
//!
//! | file | contents |
//! | --- | --- |
//! | `error.rs` | [`Error`] |
//! | `object_store.rs` | [`Depot`]: lists, [`Upload`], [`Download`] |
//!
//! Calls block. I/O of the object store runs on a thread of the depot, so calls are valid from any thread except those
//! of an async runtime.

mod error;
mod object_store;

pub(crate) use error::is_full;
pub use error::{Error, ErrorKind};
pub use object_store::{Depot, Download, Kept, Upload};
