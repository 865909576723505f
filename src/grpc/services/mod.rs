//! The services: one file each, and their shared parts.
//!
//! | file | contents |
//! | --- | --- |
//! | `collections.rs` `points.rs` `search.rs` `quality.rs` `map.rs` `embedders.rs` `training.rs` `snapshots.rs` | the services |
//! | `summaries.rs` | facets, fields, samples and ordered scrolls of the service `Points` |
//! | `upsert_stream.rs` | bidirectional streams of points |
//! | `progress.rs` | long jobs that stream their progress |
//! | `health.rs` | `grpc.health.v1` with the actual state of each service |

pub(super) mod collections;
pub(super) mod embedders;
pub(super) mod health;
pub(super) mod map;
pub(super) mod points;
pub(super) mod progress;
pub(super) mod quality;
pub(super) mod search;
pub(super) mod snapshots;
mod summaries;
pub(super) mod training;
pub(super) mod upsert_stream;
