//! Layouts of a collection in two or three dimensions, cached and updated.
//!
//! | file | contents |
//! | --- | --- |
//! | `request.rs` | requests, results and limits |
//! | `sample.rs` | the points of a layout: all, or an even sample |
//! | `cache.rs` | layouts and their cache |
//! | `project.rs` | the computation of a layout, or its update from the cache |
//! | `knn_graph.rs` | the nearest neighbours of each point, by the index |
//! | `interpolate.rs` | the coordinates of queries and of newly written points |

mod cache;
mod interpolate;
mod knn_graph;
mod project;
mod request;
mod sample;

pub(crate) use cache::LayoutCache;
pub use request::*;
pub(super) use sample::hash as id_hash;
