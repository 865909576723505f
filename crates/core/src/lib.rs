//! The embedded vector database of nearness: it stores vectors with payloads in one data directory, indexes them, and
//! finds the nearest ones to a query, in the caller's process.
//!
//! Start with [`Database::open`](prelude::Database::open). Its operations are the methods of six traits: [`Reads`],
//! [`Writes`], [`Admin`], [`Generations`], [`Snapshots`] and [`Layouts`](prelude::Layouts). Import [`prelude`] to have
//! them all. Calls block; any number of threads may call concurrently.
//!
//! [`Reads`]: prelude::Reads
//! [`Writes`]: prelude::Writes
//! [`Admin`]: prelude::Admin
//! [`Generations`]: prelude::Generations
//! [`Snapshots`]: prelude::Snapshots
//!
//! # Concepts
//!
//! - A **collection** holds points, all with vectors of one dimension, and one [`Metric`](prelude::Metric) to
//!   compare them. [`CollectionSpec`](prelude::CollectionSpec) describes a new one.
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
//! use nearness_core::prelude::*;
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
//! | module | contents |
//! | --- | --- |
//! | [`api`] | public data types, errors, limits |
//! | [`store`] | durable storage: catalog, collection databases, segment files |
//! | [`index`] | nearest-neighbor indexes: exact, growing, HNSW; inverted indexes |
//! | [`text`] | analysis of texts for keyword search |
//! | [`snapshot_store`] | storage of snapshots: a directory or an object store |
//! | [`layout`] | 2-D/3-D layouts of vectors: PCA, t-SNE, UMAP |
//! | [`payload`] | evaluation of filters, payload indexes |
//! | `segment` | growing and sealed segments |
//! | [`collection`] | one collection: writes, flush, compaction, search |
//! | [`snapshot`] | snapshots: create, restore, verify |
//! | [`engine`] | the collections of a data directory, background threads, models |
//! | [`prelude`] | the types that most programs use |
//!
//! A module imports only modules above it in this table.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod api;
pub mod collection;
pub mod engine;
pub mod index;
pub mod layout;
pub mod payload;
pub mod prelude;
mod segment;
pub mod snapshot;
pub mod snapshot_store;
pub mod store;
pub mod text;

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
