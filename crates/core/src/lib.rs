//! The embedded vector database of nearness.
//!
//! | module | contents |
//! | --- | --- |
//! | [`api`] | public data types, errors, limits |
//! | [`store`] | durable storage: catalog, collection databases, segment files |
//! | [`index`] | nearest-neighbour indexes: exact, growing, HNSW |
//! | [`snapshot_store`] | storage of snapshots: a directory or an object store |
//! | [`layout`] | 2-D/3-D layouts of vectors: PCA, t-SNE, UMAP |
//! | [`payload`] | evaluation of filters, payload indexes |
//! | `segment` | growing and sealed segments |
//! | [`collection`] | one collection: writes, flush, compaction, search |
//! | [`snapshot`] | snapshots: create, restore, verify |
//! | [`engine`] | the collections of a data directory, background threads, models |
//!
//! A module imports only modules above it in this table.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod api;
pub mod collection;
pub mod engine;
pub mod index;
pub mod layout;
pub mod payload;
mod segment;
pub mod snapshot;
pub mod snapshot_store;
pub mod store;

pub(crate) use nearness_base::{disk, sync, types};
pub(crate) use nearness_embed as embed;
pub(crate) use nearness_math as math;

/// Creates a temporary folder for tests without durability checks: in memory if possible, so that syncs are free.
#[cfg(test)]
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

// Shared test code uses the crate name `nearness`, as in the integration tests.
#[cfg(test)]
extern crate self as nearness;
