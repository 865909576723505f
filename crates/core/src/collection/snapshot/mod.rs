//! Snapshots: a collection and its embedder as of one sequence number, in one file.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `manifest.rs` | the manifest and its JSON |
//! | `format.rs` | the file format, written and read sequentially |
//! | `create.rs` | capture under the commit lock, writing without it |
//! | `selftest.rs` | queries with exact answers, compared after a restore |
//! | `restore.rs` | restore into a new folder, checked before a record names it |
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
