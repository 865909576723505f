//! Segments of a collection: the growing one in memory, and sealed ones in files.
//!
//! | file | contents |
//! | --- | --- |
//! | `growing.rs`, `sealed.rs` | the two kinds of segment |
//! | `growing_calibration.rs` | recall of a growing segment's graph, measured while it grows |
//! | `overlay.rs` | payloads of sealed rows that were updated later |
//! | `payload_index.rs` | payload indexes of segments |
//! | `payload_rows.rs` | the payloads of selected rows |
//! | `text_index.rs` | inverted indexes of segments |
//! | `columns.rs` | vectors of vector fields |
//! | `index_files.rs` | checks of index files |
//! | `plan.rs` | the choice between a scan of the matches and a graph search |
//! | `scan.rs` | exact scans in pieces, parallel on all cores |
//! | `search_budget.rs` | the choice of `ef` for a requested accuracy |

pub(crate) mod columns;
pub(crate) mod growing;
mod growing_calibration;
pub(crate) mod index_files;
pub(crate) mod overlay;
mod payload_index;
pub(crate) mod payload_rows;
pub(crate) mod plan;
pub(crate) mod scan;
pub(crate) mod sealed;
pub(crate) mod search_budget;
pub(crate) mod text_index;

pub(crate) use payload_index::{GrowingPayloads, SealedPayloads};
