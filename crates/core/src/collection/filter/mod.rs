//! Filters: conditions on payloads, the index that evaluates them for many rows at once, and the search plan.
//!
//! ```text
//! Filter ── matches(payload) ───────────────► the definition, and the evaluation of rows without an index
//!    └───── PayloadIndex::select ──► rows ──► & live ──► Selected ──► plan: compare them, or walk the graph
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `condition.rs` | [`Filter`] and its limits |
//! | `number.rs` | [`Number`]: integers and floats in one exact order |
//! | `matches.rs` | the definition of a match, and the fields of a payload |
//! | `builder.rs` | the builder of an index |
//! | `file.rs` | `PayloadIndex`: the file format of an index, and its accessors |
//! | `select.rs` | evaluation of a filter, by index where possible, else by payload |
//! | `selected.rs` | `Selected`: the live matching rows of one segment |
//! | `segments.rs` | the indexes of sealed and growing segments |
//! | `plan.rs` | the choice between a scan of the matches and a graph search |
//!
//! An index is a cache of payloads: it is rebuilt when damaged or missing, and never changes a result.

mod builder;
mod condition;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod matches;
mod number;
pub(super) mod plan;
mod segments;
mod select;
mod selected;
#[cfg(test)]
mod tests;

use builder::Builder;
pub(super) use condition::check_path;
pub use condition::{Filter, Range, Scalar};
use file::PayloadIndex;
pub(super) use matches::{has_field, value_at};
pub use number::Number;
pub(super) use segments::{GrowingPayloads, SealedPayloads, check_payloads};
pub(super) use selected::{Selected, Selection};
