//! Collections: the engine, which combines storage, indexes and embedders.
//!
//! | file | contents |
//! | --- | --- |
//! | `engine.rs` | the [`Engine`] trait, the public interface, with its types |
//! | `error.rs` | the error type |
//! | `limits.rs` | limits, defaults and input validation |
//! | `local.rs`, `local/` | [`LocalEngine`]: the collections of one data directory, and the background threads |
//! | `open.rs` | an open collection: its record, its database, and the view that queries read |
//! | `growing.rs`, `sealed.rs` | the two kinds of segment |
//! | `growing_recall.rs` | recall of a growing segment's graph, measured while it grows |
//! | `filter/` | conditions on payloads, and the rows that match them |
//! | `embedding.rs` | embedding of texts and images, and validation of the vectors |
//! | `write.rs` | writes: group commit, visibility |
//! | `query.rs`, `effort.rs`, `read.rs` | queries; the choice of `ef` for a requested accuracy; reads by id |
//! | `blocks.rs`, `group.rs` | splitting of long texts into overlapping blocks; grouping of hits |
//! | `scan.rs` | exact scans in pieces, parallel on all cores |
//! | `map/` | 2-D/3-D layouts, and the change feed |
//! | `stop.rs` | cancellation of a call whose client has gone |
//! | `turn.rs` | mutual exclusion of a collection's jobs |
//! | `job_memory.rs` | the memory budget of background jobs |
//! | `response_budget.rs` | the size limit of an answer, checked while it is filled |
//! | `explain.rs` | why a point is, or is not, among the hits |
//! | `calibrate.rs`, `recall.rs` | calibration of graphs in the background; recall measurement of a live collection |
//! | `canary.rs` | reference vectors that detect a changed embedder |
//! | `check.rs`, `repair.rs` | verification of all checksums; rebuild of indexes and removal of lost rows |
//! | `reembed.rs` | generations: re-embedding with another embedder while serving, and rollback |
//! | `models.rs` | models: installed, trained and deleted at run time |
//! | `snapshot/` | snapshots: a collection with its embedder in one file, and restore |
//! | `seal.rs`, `bulk.rs` | sealing, merging, graph builds; bulk load that bypasses the growing segment |

mod activity;
pub mod blocks;
mod bulk;
mod calibrate;
mod canary;
mod check;
#[cfg(test)]
mod crash_tests;
mod effort;
mod embedding;
mod engine;
mod error;
mod explain;
pub mod filter;
mod group;
mod growing;
mod growing_recall;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod job_memory;
pub mod limits;
mod local;
pub mod map;
mod models;
mod open;
mod query;
mod read;
mod recall;
mod reembed;
mod repair;
mod response_budget;
mod scan;
mod seal;
mod sealed;
pub mod snapshot;
mod stop;
mod turn;
mod write;

pub use activity::{Activity, BOUNDS_MICROS, Durations, Scrub};
pub use blocks::Blocks;
pub use bulk::{BulkOutcome, OnConflict, OnRefused, Refused};
pub use check::check_directory;
pub use embedding::{IMAGE_FIELD, TEXT_FIELD, image_from_base64, image_to_base64};
pub use engine::*;
pub use error::{Error, ErrorKind};
pub use filter::Filter;
pub use local::LocalEngine;
pub use models::{DIGIT_FILES, Lesson, ModelInfo, ObserveTraining, TrainStep, Training, Upload};
pub use repair::{LostUnnamed, Repaired, repair_directory};
pub use response_budget::{Budget, Meter};
pub use stop::Stop;
use write::Outcome;

/// Progress callback: (job, done, total). Returns false to cancel the job.
pub type Observe<'a> = &'a (dyn Fn(Job, u64, u64) -> bool + Sync);

/// The current phase of a long job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Reading, embedding and writing items.
    Loading,
    /// Embedding points again.
    Embedding,
    /// Copying rows into a merged segment.
    Merging,
    /// Building a graph.
    Indexing,
    /// Measuring a graph's recall.
    Calibrating,
    /// Writing or reading the bytes of a snapshot.
    Copying,
    /// Verifying a snapshot, or the data restored from one.
    Checking,
}
