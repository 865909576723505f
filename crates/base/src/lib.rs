//! Types, locks, files and memory maps that all crates of nearness share.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod disk;
pub mod sync;
pub mod types;
