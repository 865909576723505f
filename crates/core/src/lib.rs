//! The embedded vector database of nearness.
//!
//! The modules, lowest first: [`store`] and [`index`], which do not know each other, [`depot`] and [`map`], then [`collection`],
//! which joins them with the embedders; its [`LocalEngine`](collection::LocalEngine) is the database.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod collection;
pub mod depot;
pub mod index;
pub mod map;
pub mod store;

pub(crate) use nearness_base::{disk, sync, types};
pub(crate) use nearness_embed as embed;
pub(crate) use nearness_math as math;

/// A folder for what is only looked at: in memory where there is such a file system, so that syncs cost nothing.
#[cfg(test)]
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

// What the tests share names the crate as the tests of the program do.
#[cfg(test)]
extern crate self as nearness;
