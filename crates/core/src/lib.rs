//! The embedded vector database of nearness.
//!
//! Modules, lowest first: [`store`] and [`index`], which are independent of each other, [`depot`] and [`map`], then
//! [`collection`], which combines them with the embedders. The database is its
//! [`LocalEngine`](collection::LocalEngine).

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod collection;
pub mod depot;
pub mod index;
pub mod map;
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
