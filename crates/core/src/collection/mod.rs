//! One open collection: its state, writes, reads, and background jobs.
//!
//! | file | contents |
//! | --- | --- |
//! | `open.rs` | an open collection: its record, its database, and the view that queries read |
//! | `embed_input.rs`, `embedder_probe.rs` | embedding of texts and images; reference vectors that detect a changed embedder |
//! | `commit.rs` | writes: group commit, visibility |
//! | `search.rs`, `select.rs`, `read.rs` | queries; evaluation of filters; reads by id |
//! | `chunking.rs`, `group_by.rs` | splitting of long texts into overlapping blocks; grouping of hits |
//! | `explain.rs` | why a point is, or is not, among the hits |
//! | `compaction/`, `bulk.rs` | flush, merges, graph builds; bulk load that bypasses the growing segment |
//! | `calibrate.rs`, `recall.rs` | calibration of graphs in the background; recall measurement of a live collection |
//! | `reembed.rs` | generations: re-embedding with another embedder while serving, and rollback |
//! | `check.rs`, `model_folder.rs` | verification of all checksums; loading of an installed model |
//! | `layout/`, `change_feed.rs` | 2-D/3-D layouts of the collection; the change feed |
//! | `job_lock.rs`, `job_memory.rs`, `meters.rs` | mutual exclusion, memory budget and counters of background jobs |

mod bulk;
pub(crate) mod calibrate;
pub(crate) mod change_feed;
pub(crate) mod check;
pub mod chunking;
pub(crate) mod commit;
pub(crate) mod compaction;
mod embed_input;
pub(crate) mod embedder_probe;
mod explain;
mod group_by;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
pub(crate) mod job_lock;
mod job_memory;
pub mod layout;
pub(crate) mod meters;
pub(crate) mod model_folder;
pub(crate) mod open;
mod read;
pub(crate) mod recall;
pub(crate) mod reembed;
pub(crate) mod search;
mod select;

pub use bulk::{BulkOutcome, OnConflict, OnRefused, Refused};
pub use change_feed::{Feed, News};
pub use check::check_directory;
pub use chunking::Blocks;
pub use embed_input::{IMAGE_FIELD, TEXT_FIELD, image_from_base64, image_to_base64};

// Paths of callers that are not moved yet.
pub use crate::api::*;
pub use crate::engine::*;
pub use crate::snapshot;
pub use chunking as blocks;
pub mod filter {
    //! Old path of `payload`.
    pub use crate::api::{Filter, Number, Range, Scalar};
    #[cfg(fuzzing)]
    pub use crate::payload::fuzzing;
}
pub mod map {
    //! Old path of `layout`.
    pub use super::change_feed::{Feed, News};
    pub use super::layout::*;
}
