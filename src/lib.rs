//! nearness is a vector database: it maps words, texts and images to vectors with embedders that it trains itself,
//! stores the vectors in memory-mapped segments with an index, and finds the nearest ones to a query. This crate is the
//! embedded database, the server (gRPC, a web page) and the program `nearness`. To use the database in your program,
//! import [`prelude`] and call [`Database::open`](prelude::Database::open). Without the default feature `server`, the
//! crate has no gRPC, async runtime or command line in its dependency tree:
//!
//! ```toml
//! nearness = { version = "0.1", default-features = false }
//! ```
//!
//! # Concepts
//!
//! - A **collection** holds points, all with vectors of one dimension, and one [`Metric`](prelude::Metric) by which
//!   they are compared. [`CollectionSpec`](prelude::CollectionSpec) describes a new one.
//! - A **point** has an id, a vector and a payload. [`Item`](prelude::Item) is a point to write.
//! - A **payload** is a JSON object. Its fields can be filtered by, grouped by and returned.
//! - A **segment** is a part of a collection. New points are in the growing segment; a full one is flushed to an
//!   immutable, memory-mapped file. Segments are merged in the background.
//! - An **index** is a graph (HNSW) over the vectors of a segment. It is built in the background, and until then the
//!   segment is scanned.
//! - An **embedder** maps texts or images to vectors. A collection of texts is pinned to one embedder.
//!   [`Registry`](prelude::Registry) holds those of the process, and a [`ModelHost`](prelude::ModelHost) trains and
//!   installs more.
//! - **Recall** is the share of the true nearest points that a search finds. A search can have a target recall:
//!   [`SearchParams::target_recall`](prelude::SearchParams::target_recall).
//! - A **filter** is a condition on payloads: [`Filter`](prelude::Filter). A filtered search still returns k points if
//!   k match.
//! - A **snapshot** is a copy of a collection and its embedder at one sequence number, in a directory or an object
//!   store: [`Snapshots`](prelude::Snapshots).
//!
//! # Example
//!
//! ```
//! use nearness::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let database = Database::open(path)?;
//! let colors = CollectionName::new("colors")?;
//! database.create_collection(&CollectionSpec::vectors(colors.clone(), 3).metric(Metric::L2))?;
//!
//! let color = |id: &str, rgb: [f32; 3], warm: bool| -> Result<Item, Error> {
//!     Ok(Item::vector(PointId::new(id)?, rgb).field("warm", warm))
//! };
//! database.upsert(&colors, vec![
//!     color("red", [1.0, 0.0, 0.0], true)?,
//!     color("orange", [1.0, 0.6, 0.0], true)?,
//!     color("purple", [0.7, 0.0, 0.7], false)?,
//! ])?;
//!
//! let pink = Query::Vector(vec![1.0, 0.2, 0.6]);
//! let params = SearchParams::new(1).filter(Filter::equals("warm", true));
//! let answers = database.search(&colors, &[pink], &params)?;
//! assert_eq!(answers[0].hits[0].point.id.as_str(), "red");
//! # Ok(())
//! # }
//! ```
//!
//! More programs are in the folder `examples/` of the repository.
//!
//! # Modules
//!
//! [`types`], [`disk`], [`math`] and [`embed`] come from lower crates; [`api`], [`store`], [`index`], [`layout`],
//! [`payload`], [`text`], [`collection`], [`snapshot`], [`snapshot_store`] and [`engine`] are the embedded database
//! (`nearness-core`); [`training`] trains its embedders. The feature `server` adds the modules `auth`, `grpc`, `web` and
//! `cli`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod grpc;
pub mod training;
#[cfg(feature = "server")]
pub mod web;

pub use nearness_base::{disk, types};
pub use nearness_core::{
    api, collection, engine, index, layout, payload, prelude, snapshot, snapshot_store, store, text,
};
pub use nearness_embed as embed;
pub use nearness_math as math;
