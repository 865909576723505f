//! Snapshots: a collection and its embedder as of one sequence number, in one file.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `manifest.rs` | what is in a snapshot, and the JSON that says it |
//! | `format.rs` | the bytes of the file: written and read once, front to back |
//! | `create.rs` | the state is noted under the commit lock, and written without it |
//! | `selftest.rs` | queries with their exact answers |
//! | `restore.rs` | into a new folder, checked before a record names it |
//! | `kept.rs` | the snapshots of a depot: list, describe, verify |

mod create;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod kept;
mod manifest;
mod restore;
mod selftest;

pub use kept::{describe, list, verify};
pub use manifest::{Listed, SnapshotInfo, SnapshotName};
pub(super) use restore::Staging;
