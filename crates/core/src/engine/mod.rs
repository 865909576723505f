//! The engine: the collections of a data directory, background threads, models.
//!
//! | file | contents |
//! | --- | --- |
//! | `engine.rs` | the [`Engine`] trait, the public interface |
//! | `local/` | [`LocalEngine`]: the collections of one data directory, and the background threads |
//! | `models.rs` | models: installed, trained and deleted at run time |
//! | `repair.rs` | rebuild of indexes and removal of lost rows |

#[cfg(test)]
pub(crate) mod crash_tests;
mod engine;
mod local;
mod models;
mod repair;

pub use engine::Engine;
pub use local::LocalEngine;
pub use models::{ModelInfo, ObserveTraining, TrainStep, Trainer, Training, Upload};
pub use repair::{LostUnnamed, Repaired, repair_directory};
