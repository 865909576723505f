//! Filters: conditions on payloads, the index that answers them for many rows at once, and the choice of a search's way.
//!
//! ```text
//! Filter ── matches(payload) ───────────────► the oracle, and the answer for rows that no index covers
//!    └───── PayloadIndex::select ──► rows ──► & live ──► Selected ──► plan: compare those, or walk the graph past the rest
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `condition.rs` | [`Filter`] and its limits |
//! | `number.rs` | [`Number`]: integers and floats in one exact order |
//! | `matches.rs` | what it means that a payload matches, and the fields of a payload |
//! | `builder.rs` | gathers the fields of many payloads by field and value |
//! | `file.rs` | `PayloadIndex`: the bytes of an index, and what they say |
//! | `select.rs` | the rows that match, by index where it can and by payload where it must |
//! | `selected.rs` | `Selected`: the live rows of one segment that match |
//! | `segments.rs` | what a sealed and a growing segment keep for it |
//! | `plan.rs` | the few are compared, the many searched by graph |
//!
//! An index is a cache of payloads: damaged or missing, it is made anew. It never changes what an answer is.

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
