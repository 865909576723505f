//! The sealed graph: HNSW (Malkov & Yashunin 2018) over 8-bit codes, flat, immutable, in one file that is searched
//! where it lies.
//!
//! ```text
//! rows -> quantize -> build (many threads) -> repair -> Built -> write_to -> one file
//!                                                                            |
//! query -> codes -> walk down the upper levels -> walk level 0 -> re-rank <- Graph (view of the bytes)
//!                                                                  on the full vectors
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `layout.rs` | the bytes of the file, once, with their limits |
//! | `build.rs` | rows to a graph, by many threads |
//! | `select.rs` | which candidates become links (Algorithm 4) |
//! | `twins.rs` | rows of identical codes become one node |
//! | `tightness.rs` | how far distances of codes can be trusted |
//! | `remove.rs` | level 0 without some of its rows |
//! | `reuse.rs` | the links of an older graph, kept in a new one |
//! | `repair.rs` | whatever the entry does not reach is linked |
//! | `walk.rs` | the search of one level (Algorithm 2), for building and for searching |
//! | `score.rs` | distances to a query, on codes or on floats |
//! | `file.rs` | writes the file and opens it: the only place that meets bytes from outside |
//! | `place.rs` | where it lies on disk: published, mapped |
//! | `view.rs` | the sections of an opened file as slices |
//! | `search.rs` | a query's way through an opened graph |
//! | `verify.rs` | checks everything that opening does not |
//!
//! Invariants: a graph file holds codes and links, never vectors; links that lead nowhere are ignored, so that damage
//! costs recall and never a crash; the same rows, parameters and seed with one thread give the same bytes.

mod build;
mod file;
mod layout;
mod place;
mod remove;
mod repair;
mod reuse;
mod score;
mod search;
mod select;
mod tightness;
mod twins;
mod verify;
mod view;
mod walk;

pub use build::{Built, build, build_bytes, file_bytes};
pub use file::{Expected, Graph};
pub use layout::MAX_ROWS;
pub use reuse::Reuse;
pub use search::Matching;

#[cfg(test)]
mod tests;
