//! Recall calibration of a graph: the measured recall by `ef`, stored as a table and queried by target recall.
//!
//! ```text
//! live rows -> rows held out, a graph over the others -> exact answers against the graph's (measure.rs)
//!                                                             |
//!        the smallest ef for a target recall <- Calibration (table.rs) <-> bytes (record.rs)
//! ```
//!
//! Stored rows are poor queries for a measurement: the graph leads to them, and from them to their neighbours. On data
//! of 64 independent components, new queries reach a recall of 0.47, but stored rows reach 0.8, and so do points
//! interpolated between stored rows. Therefore rows are held out, and a graph of the same settings is built without
//! them.
//!
//! | file | contents |
//! | --- | --- |
//! | `table.rs` | [`Calibration`]: recall and its confidence by `ef` and `k`, made monotone, interpolated |
//! | `measure.rs` | measurement of a graph: held-out rows, and stored ones for comparison |
//! | `sparse.rs` | measurement of an index of sparse vectors |
//! | `answers.rs` | batched answers: one shared exact scan, and the recall of a graph |
//! | `record.rs` | the table as bytes, validated on read |
//!
//! A table is a cache: it can be measured again at any time. Without a table no recall is guaranteed.

mod answers;
mod measure;
mod record;
mod sparse;
mod table;
#[cfg(test)]
mod tests;

pub use measure::{MeasureBytes, measure, measure_bytes, sample_rows};
pub use sparse::{SparseSubject, covers, measure_bytes as measure_sparse_bytes, omitted_share};
pub use table::{Calibration, Curve, CurvePoint};
