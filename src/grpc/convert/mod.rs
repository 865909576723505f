//! Conversion between protobuf messages and types of the engine.
//!
//! | file | contents |
//! | --- | --- |
//! | `from_proto.rs` | conversion and validation of requests; errors name the path of the invalid field |
//! | `to_proto.rs` | conversion of responses |
//! | `aliases.rs` | conversion of changes of names |
//! | `columns.rs` | conversion of columns: many vectors in one field |
//! | `filter.rs` | conversion of filters |
//! | `formula.rs` | conversion of formulas |
//! | `fusion.rs` | conversion of keyword queries, fusions and text fields |
//! | `vectors.rs` | conversion of vector fields and the vectors in them |
//! | `ranking.rs` | conversion of what is done with the candidates of a query |
//! | `recommend.rs` | conversion of queries by examples |
//! | `summaries.rs` | conversion of facets and statistics of fields |
//! | `training.rs` | conversion of training settings |
//! | `updates.rs` | conversion of updates of payloads and vectors |
//! | `payload.rs` | conversion between JSON objects and `google.protobuf.Struct` |

pub(super) mod aliases;
pub(super) mod columns;
pub(super) mod filter;
mod formula;
pub(super) mod from_proto;
pub(super) mod fusion;
pub mod payload;
mod ranking;
mod recommend;
pub(super) mod summaries;
pub(super) mod to_proto;
pub(super) mod training;
pub(super) mod updates;
pub(super) mod vectors;
