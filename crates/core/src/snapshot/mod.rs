//! Snapshots: a collection and its embedder as of one sequence number, in one file.
//!
//! | file | contents |
//! | --- | --- |
//! | `manifest.rs` | the manifest and its JSON |
//! | `updates.rs` | the part with the updated payloads of a segment |
//! | `framing.rs` | lengths of the entries of the file |
//! | `tar_format.rs` | the file format, written and read sequentially |
//! | `create.rs` | capture under the commit lock, writing without it |
//! | `selftest.rs` | queries with exact answers, compared after a restore |
//! | `restore.rs` | restore into a new folder, checked before a record names it |
//! | `catalog.rs` | the snapshots of a store: list, describe, verify |

mod catalog;
mod create;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod manifest;
mod restore;
mod selftest;
mod tar_format;
mod updates;

pub use catalog::{describe, list, verify};
pub use manifest::{Listed, SnapshotInfo, SnapshotName};
pub(crate) use restore::Staging;
