//! Evaluation of filters on payloads, and the index that evaluates them for many rows together.
//!
//! ```text
//! Filter ── matches(payload) ───────────────► the definition, and the evaluation of rows without an index
//!    └───── PayloadIndex::select ──► rows ──► & live ──► Selected ──► plan: compare them, or search the graph
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `matches.rs` | the definition of a match, and the fields of a payload |
//! | `geo.rs` | points within areas on the earth |
//! | `builder.rs` | the builder of an index |
//! | `index.rs` | `PayloadIndex`: the file format of an index, and its accessors |
//! | `select.rs` | evaluation of a filter, by index where possible, else by payload |
//! | `field_values.rs` | the values of one field with the rows of each, in order: facets, ordered scrolls |
//! | `field_stats.rs` | statistics of all fields |
//! | `row_set.rs` | `RowSet`: the live matching rows of one segment |
//!
//! An index is a cache of payloads: it is rebuilt when damaged or missing, and never changes a result.

pub(crate) mod builder;
pub(crate) mod field_stats;
pub(crate) mod field_values;
#[cfg(fuzzing)]
pub mod fuzzing;
mod geo;
pub(crate) mod index;
pub(crate) mod matches;
mod row_set;
mod select;
#[cfg(test)]
mod tests;

pub(crate) use matches::{has_field, meters_from, number_at, scalar, strings_at, tenant_at, time_at, value_at};
pub(crate) use row_set::{RowSet, Selection, Selections};
pub(crate) use select::{NO_WORDS, RowAccess, WithWords};
