//! nearness is a vector database: it maps words, texts and handwritten digits to vectors with embedders that it
//! trains itself, keeps the vectors in a memory-mapped store, and serves nearest-neighbour queries over gRPC.
//!
//! The layers, lowest first; `tests/tidy.rs` checks that no layer imports a higher one: [`types`], [`math`] and
//! [`disk`], then [`store`], [`index`], [`embed`] and [`map`], then [`collection`] (the engine), [`auth`]
//! (authentication and authorization) and [`web`] (the page's files), then [`grpc`] and [`cli`].

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod auth;
pub mod cli;
pub mod grpc;
pub mod training;
pub mod web;

pub use nearness_base::{disk, types};
pub use nearness_core::{api, collection, engine, index, layout, payload, snapshot, snapshot_store, store};
pub use nearness_embed as embed;
pub use nearness_math as math;
