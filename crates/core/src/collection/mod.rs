//! Collections: where store, index and embedders are joined into the engine.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `engine.rs` | the [`Engine`] trait and the domain's words |
//! | `error.rs` | what it answers when it cannot do as asked |
//! | `limits.rs` | what is refused, and the limit that the refusal names |
//! | `local.rs`, `local/` | [`LocalEngine`]: the collections of one data directory, and the threads that look after them |
//! | `open.rs` | one open collection: record, truth, and the view that queries see |
//! | `growing.rs`, `sealed.rs` | its two kinds of segment |
//! | `growing_recall.rs` | what recall a growing segment's graph reaches, measured while it grows |
//! | `filter/` | conditions on payloads, and which rows match them |
//! | `embedding.rs` | from text and image to a checked vector |
//! | `write.rs` | the life of a write: group commit, visibility |
//! | `query.rs`, `effort.rs`, `read.rs` | the life of a query; from the accuracy asked for to an `ef`; reading by id |
//! | `blocks.rs`, `group.rs` | long texts as overlapping blocks; each group of hits once, with its best |
//! | `scan.rs` | exact scans in pieces, shared by all cores |
//! | `map/` | layouts of a collection, and what is written to it told as it happens |
//! | `stop.rs` | whether anybody still waits for what a call computes |
//! | `turn.rs` | mutual exclusion of a collection's jobs |
//! | `job_memory.rs` | the memory budget of background jobs |
//! | `response_budget.rs` | the size limit of an answer, checked while it is filled |
//! | `explain.rs` | why a point is, or is not, among the hits |
//! | `calibrate.rs`, `recall.rs` | measuring graphs behind the queries; measuring a live collection |
//! | `canary.rs` | whether an embedder still gives the vectors that it gave |
//! | `check.rs`, `repair.rs` | every checksum compared; indexes made anew, what is lost taken out |
//! | `reembed.rs` | generations: a collection made anew by another embedder while it serves, and back |
//! | `models.rs` | models installed, trained and deleted while the server runs |
//! | `snapshot/` | a collection with its embedder in one file, and back |
//! | `seal.rs`, `bulk.rs` | sealing, merging, building graphs; loading past the growing segment |

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

/// Is told of a job's progress: done of how many. Returning false cancels it.
pub type Observe<'a> = &'a (dyn Fn(Job, u64, u64) -> bool + Sync);

/// What a long job is doing, for its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Items are read, embedded and written.
    Loading,
    /// Points are embedded anew.
    Embedding,
    /// Rows are copied into a merged segment.
    Merging,
    /// A graph is built.
    Indexing,
    /// A graph's recall is measured.
    Calibrating,
    /// Bytes of a snapshot are written or read.
    Copying,
    /// What a snapshot holds, or what was restored of it, is checked.
    Checking,
}
