//! What finds near rows: an exact scan, a growing graph in memory, and a sealed graph in one immutable file.
//!
//! | file | what |
//! | --- | --- |
//! | `rows.rs` | what is searched ([`Rows`]) and what comes back ([`Found`]) |
//! | `exact.rs` | the scan of every row: the oracle that the others are measured against |
//! | `growing.rs` | rows that still change: the only file that names `hnsw_rs` |
//! | `order.rs` | rows in an order in which near ones come together |
//! | `quantize.rs` | the graph's space: every metric as Euclidean distance of 8-bit codes |
//! | `reduce.rs` | principal components: the few directions that tell near from far |
//! | `graph/` | the sealed graph: build, layout, view, search, verify |
//! | `calibration/` | which `ef` reaches which recall, measured on a graph |
//! | `params.rs` | how graphs are built, checked |
//!
//! An index is a cache of vectors that live elsewhere: a damaged file is an error, and never more than that.

pub mod calibration;
mod error;
pub mod exact;
pub mod graph;
mod growing;
pub mod order;
mod params;
mod quantize;
mod reduce;
mod rows;

pub use error::{Error, ErrorKind};
pub use growing::GrowingIndex;
pub use params::GraphParams;
pub use rows::{Found, Rows};

#[cfg(test)]
mod samples;
