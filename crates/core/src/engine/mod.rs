//! The engine: the collections of a data directory, background threads, models.
//!
//! | file | contents |
//! | --- | --- |
//! | `interface.rs` | the [`Engine`] trait, the interface of the database: the six traits below |
//! | `reads.rs`, `writes.rs` | points and queries of a collection |
//! | `admin.rs` | collections, maintenance, models |
//! | `generations.rs`, `snapshots.rs`, `layouts.rs` | re-embedding, backups, 2-D/3-D layouts |
//! | `local/` | [`Database`]: the collections of one data directory, and the background threads |
//! | `model_host.rs` | the [`ModelHost`] trait: embedders, uploads and training in this process |
//! | `models.rs` | models: installed, trained and deleted at run time |
//! | `repair.rs` | rebuild of indexes and removal of lost rows |

mod admin;
#[cfg(test)]
pub(crate) mod crash_tests;
mod generations;
mod interface;
mod layouts;
mod local;
mod model_host;
mod models;
mod reads;
mod repair;
mod snapshots;
mod writes;

pub use admin::{Admin, VisitCollection};
pub use generations::Generations;
pub use interface::Engine;
pub use layouts::Layouts;
pub use local::{Database, OpenOptions};
pub use model_host::{ModelHost, Node};
pub use models::{ModelInfo, ObserveTraining, TrainStep, Trainer, Training, Upload};
pub use reads::Reads;
pub use repair::{LostUnnamed, Repaired, repair_directory};
pub use snapshots::Snapshots;
pub use writes::Writes;
