//! Where snapshots are kept: a directory, or a bucket of an object store. Names in, bytes in and out; what they mean is
//! not known here.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `error.rs` | [`Error`] |
//! | `place.rs` | [`Depot`]: lists, [`Upload`], [`Download`] |
//!
//! Calls block. The store's own work runs on a thread of the depot, so that they may come from any thread but an
//! asynchronous one.

mod error;
mod place;

pub(crate) use error::is_full;
pub use error::{Error, ErrorKind};
pub use place::{Depot, Download, Kept, Upload};
