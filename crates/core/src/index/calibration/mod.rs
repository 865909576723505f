//! How much recall a graph reaches at which `ef`: measured, kept as a table, asked for by target.
//!
//! ```text
//! live rows -> rows held out, a graph over the others -> exact answers against the graph's (measure.rs)
//!                                                             |
//!        the least ef that promises a target recall <- Calibration (table.rs) <-> bytes (record.rs)
//! ```
//!
//! A stored row is a poor query to measure with: the graph leads to it, and from it to its neighbours. On data of 64
//! independent components, where new queries reach a recall of 0.47, stored rows reach 0.8, and so do points made up
//! between them. That is why rows are held out, and a graph of the same settings is built without them.
//!
//! | file | what |
//! | --- | --- |
//! | `table.rs` | [`Calibration`]: recall and its confidence by `ef` and `k`, made monotone, read in between |
//! | `measure.rs` | measures a graph: held-out rows, and stored ones for comparison |
//! | `answers.rs` | many queries answered together: one shared exact scan, and the recall of a graph |
//! | `record.rs` | the table as bytes, checked when they are read |
//!
//! A table is a cache: without one nothing is promised, and it can be measured anew at any time.

mod answers;
mod measure;
mod record;
mod table;
#[cfg(test)]
mod tests;

pub use measure::{MeasureBytes, measure, measure_bytes, sample_rows};
pub use table::{Calibration, Curve, CurvePoint};
