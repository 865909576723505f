//! nearness turns words, blocks of text and handwritten digits into vectors with embedders that it
//! trains itself, keeps the vectors in a memory-mapped store, and answers over gRPC what is near.
//!
//! The layers, lowest first; `tests/tidy.rs` checks that none imports upwards:
//! [`types`], [`math`] and [`disk`], then [`store`], [`index`], [`embed`] and [`map`], then [`collection`]
//! (the engine), [`guard`] (who may do what) and [`web`] (the page's files), then [`grpc`] and [`cli`].

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod cli;
pub mod grpc;
pub mod guard;
pub mod web;

pub use nearness_base::{disk, types};
pub use nearness_core::{collection, depot, index, map, store};
pub use nearness_embed as embed;
pub use nearness_math as math;
