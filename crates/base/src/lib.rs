//! What all crates of nearness share: types, locks, files and memory maps.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod disk;
pub mod sync;
pub mod types;
