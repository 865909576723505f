//! The [`Engine`] trait, the interface of the database: six traits by use.
//!
//! `grpc` uses only these traits, so that a cluster could replace a single node. Calls block; run them off the async
//! threads.

use super::{Admin, Generations, Layouts, Reads, Snapshots, Writes};

/// The database. Every call validates its whole input before it changes anything; see [`Error`](crate::api::Error).
///
/// Implemented by every type that implements the six traits. Arguments and results are plain data, except for progress
/// callbacks and the feed of [`Layouts::watch`]. A callback receives plain data (for most jobs
/// [`Job`](crate::api::Job), done, total); returning false cancels the job. Over a network, its calls map to a stream
/// of progress messages, and its false to cancellation; a feed maps to a stream of batches.
pub trait Engine: Reads + Writes + Admin + Generations + Snapshots + Layouts {}

impl<T: Reads + Writes + Admin + Generations + Snapshots + Layouts> Engine for T {}
