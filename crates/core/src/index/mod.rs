//! Indexes: an exact scan, a growing graph in memory, a sealed graph in one immutable file, and inverted indexes of texts.
//!
//! | file | contents |
//! | --- | --- |
//! | `rows.rs` | searched vectors ([`Rows`]) and search results ([`Found`]) |
//! | `exact.rs` | exact scan: the reference for all other searches |
//! | `growing.rs` | graph over mutable rows; the only file that names `hnsw_rs` |
//! | `reorder.rs` | row order by proximity |
//! | `quantize.rs` | the graph's space: every metric as Euclidean distance of 8-bit codes |
//! | `pca.rs` | PCA (principal component analysis) |
//! | `hnsw/` | the sealed graph: build, layout, view, search, verify |
//! | `inverted/` | inverted index: the rows of each term, and BM25 search |
//! | `sparse.rs` | index of sparse vectors |
//! | `header.rs` | header of the files of rebuildable indexes |
//! | `calibration/` | measured recall by `ef` |
//! | `params.rs` | build parameters of graphs, with their limits |
//!
//! An index is derived from vectors that are stored elsewhere: a damaged file causes an error, nothing worse.

pub mod calibration;
mod error;
pub mod exact;
mod growing;
pub(crate) mod header;
pub mod hnsw;
pub mod inverted;
mod params;
mod pca;
mod quantize;
pub mod reorder;
mod rows;
pub mod sparse;

pub use error::{Error, ErrorKind};
pub use growing::GrowingIndex;
pub use params::GraphParams;
pub use rows::{Found, Rows};

#[cfg(test)]
mod test_data;
