//! The sealed graph: HNSW (Malkov & Yashunin 2018) over 8-bit codes, flat and immutable, in one file that is searched
//! without copying.
//!
//! ```text
//! rows -> quantize -> build (many threads) -> repair -> Built -> write_to -> one file
//!                                                                              |
//! query -> codes -> descend the upper levels -> search level 0 -> re-rank <- Graph (view of the bytes)
//!                                                                    on the full vectors
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `layout.rs` | byte layout of the file, with its limits |
//! | `build.rs` | parallel build of a graph from rows |
//! | `select_neighbors.rs` | neighbour selection (Algorithm 4) |
//! | `duplicates.rs` | one node for rows of identical codes |
//! | `code_error_bound.rs` | lower bound of true distances by code distances |
//! | `bypass.rs` | level 0 without deleted rows |
//! | `reuse.rs` | links of an older graph, kept in a new one |
//! | `connectivity.rs` | links to nodes that the entry does not reach |
//! | `beam_search.rs` | search of one level (Algorithm 2), for building and for searching |
//! | `scorer.rs` | distances to a query, on codes or on floats |
//! | `file.rs` | writing and opening of the file: the only code that parses external bytes |
//! | `storage.rs` | publication and mapping of the file |
//! | `view.rs` | sections of an opened file as slices |
//! | `search.rs` | query execution on an opened graph |
//! | `verify.rs` | checks of everything that opening does not check |
//!
//! Invariants: a graph file holds codes and links, never vectors; invalid links are ignored, so that damage costs
//! recall and never a crash; the same rows, parameters and seed with one thread give the same bytes.

mod beam_search;
mod build;
mod bypass;
mod code_error_bound;
mod connectivity;
mod duplicates;
mod file;
mod layout;
mod reuse;
mod scorer;
mod search;
mod select_neighbors;
mod storage;
mod verify;
mod view;

pub use build::{Built, build, build_bytes, file_bytes};
pub use file::{Expected, Graph};
pub use layout::MAX_ROWS;
pub use reuse::Reuse;
pub use search::Matching;

#[cfg(test)]
mod tests;
