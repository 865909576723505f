//! nearness turns words, blocks of text and handwritten digits into vectors with embedders that it
//! trains itself, keeps the vectors in a memory-mapped store, and answers over gRPC what is near.
//!
//! The layers, lowest first; `tests/tidy.rs` checks that none imports upwards:
//! [`types`], [`math`] and [`disk`], then [`store`], [`index`], [`embed`] and [`map`], then [`collection`]
//! (the engine), [`guard`] (who may do what) and [`web`] (the page's files), then [`grpc`] and [`cli`].

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

// What the tests share names the crate as they do.
#[cfg(test)]
extern crate self as nearness;

pub mod cli;
pub mod collection;
pub mod depot;
pub mod disk;
pub mod embed;
pub mod grpc;
pub mod guard;
pub mod index;
pub mod map;
pub mod math;
pub mod store;
mod sync;
pub mod types;
pub mod web;
