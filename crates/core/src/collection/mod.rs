//! One open collection: its state, writes, reads, and background jobs.
//!
//! | file | contents |
//! | --- | --- |
//! | `state.rs`, `view.rs` | an open collection; the segments that queries read |
//! | `open.rs`, `embedder_pin.rs` | opening of a collection; the embedder that it is pinned to |
//! | `embed_input.rs`, `embedder_probe.rs` | embedding of texts and images; reference vectors that detect changes |
//! | `commit_queue.rs`, `commit.rs` | group commit: requests of many writers in one transaction |
//! | `plan.rs`, `apply.rs` | a request becomes an operation; operations are staged, persisted, made visible |
//! | `upsert_if.rs` | planning of upserts with a condition, and of updates of vectors |
//! | `update_payload/` | planning of updates of payloads, and the memory limit of their overlays |
//! | `search.rs`, `select.rs`, `read.rs` | queries; evaluation of filters; reads by id |
//! | `summaries.rs` | facets, statistics of fields, ordered scrolls, samples |
//! | `resolve.rs`, `keywords.rs`, `fusion.rs` | queries become vectors and terms; BM25 over all segments; fused queries |
//! | `rank/` | what is done with the candidates of a query before they become hits |
//! | `text_fields.rs`, `vector_fields.rs` | the fields of a collection |
//! | `vector_search.rs` | queries on vector fields |
//! | `expiry.rs` | expired points: hidden from reads, deleted in the background |
//! | `chunking.rs`, `group_by.rs` | splitting of long texts into overlapping blocks; grouping of hits |
//! | `explain.rs`, `explain_parts.rs` | why a point is, or is not, among the hits |
//! | `flush.rs`, `compaction/` | growing segments become sealed; merges and graph builds |
//! | `tenants.rs` | the order of rows by tenant |
//! | `bulk.rs`, `uncommitted.rs` | bulk load that bypasses the growing segment; new segments before their transaction |
//! | `calibrate.rs`, `recall.rs` | calibration of graphs in the background; recall measurement of a live collection |
//! | `reembed.rs` | generations: re-embedding with another embedder while serving, and rollback |
//! | `check.rs`, `model_folder.rs` | verification of all checksums; loading of an installed model |
//! | `layout/`, `change_feed.rs` | 2-D/3-D layouts of the collection; the change feed |
//! | `idle.rs` | whether an idle collection may close |
//! | `job_lock.rs`, `job_memory.rs`, `meters.rs` | mutual exclusion, memory budget and counters of background jobs |

mod apply;
mod bulk;
pub(crate) mod calibrate;
pub(crate) mod change_feed;
pub(crate) mod check;
pub mod chunking;
pub(crate) mod commit;
pub(crate) mod commit_queue;
pub(crate) mod compaction;
pub(crate) mod embed_input;
pub(crate) mod embedder_pin;
pub(crate) mod embedder_probe;
mod expiry;
#[cfg(test)]
mod expiry_tests;
mod explain;
mod explain_parts;
pub(crate) mod flush;
mod fusion;
mod group_by;
mod idle;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
pub(crate) mod job_lock;
mod job_memory;
#[cfg(test)]
mod keyword_tests;
mod keywords;
pub mod layout;
pub(crate) mod meters;
pub(crate) mod model_folder;
pub(crate) mod open;
pub(crate) mod plan;
mod rank;
mod read;
pub(crate) mod recall;
pub(crate) mod reembed;
pub(crate) mod resolve;
pub(crate) mod search;
mod select;
pub(crate) mod state;
mod summaries;
#[cfg(test)]
mod tenant_tests;
mod tenants;
mod text_fields;
pub(crate) mod uncommitted;
mod update_payload;
mod upsert_if;
mod vector_fields;
mod vector_search;
#[cfg(test)]
mod vector_tests;
pub(crate) mod view;

pub use bulk::{BulkOutcome, OnConflict, OnRefused, Refused};
pub use change_feed::{ChangeBatch, ChangeFeed};
pub use check::check_directory;
pub use chunking::Blocks;
pub use embed_input::{IMAGE_FIELD, TEXT_FIELD, image_from_base64, image_to_base64};
