//! Inverted index: the rows of each term, and BM25 search over them.
//!
//! ```text
//! (row, term frequencies) ──► Builder ──► file ──► InvertedIndex ──► Cursor per query term ──► top_k
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `bm25.rs` | the score: inverse document frequency, term saturation, lengths |
//! | `postings.rs` | blocks of 128 postings: compressed rows and frequencies, and a bound of the score |
//! | `builder.rs` | `Builder`: from the terms of rows to the bytes of a file |
//! | `file.rs` | `InvertedIndex`: the file format, its checks and accessors |
//! | `top_k.rs` | the best rows of a query: MaxScore over windows of rows |
//!
//! An index covers rows of one segment and is a cache of their texts: rebuilt when damaged or missing, it never changes
//! a result. Scores are sums of integers, so they depend neither on the order in which terms are added nor on segments.

mod bm25;
mod builder;
mod file;
mod postings;
#[cfg(test)]
mod tests;
mod top_k;

pub use bm25::{Bm25, QueryTerm, Scorer, TextStats};
pub use builder::{Builder, MAX_TERM_BYTES};
pub use file::InvertedIndex;
pub use top_k::{ScoredRow, TopRows};
