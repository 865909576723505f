//! The [`ModelHost`] trait: the models loaded in this process.

use super::{Engine, ModelInfo, ObserveTraining, Training, Upload};
use crate::api::Error;
use crate::embed::Registry;
use std::sync::Arc;

/// The models loaded in this process.
///
/// Not part of [`Engine`]: embedders, uploads and trainers are in the memory and on the disk of one machine, while each
/// call of the engine could be one over a network.
pub trait ModelHost: Send + Sync {
    /// Returns the embedders of this process.
    fn embedders(&self) -> Arc<Registry>;
    /// Creates an upload for the files of a model, or for training data.
    ///
    /// # Errors
    /// `Exhausted`, `Internal`.
    fn upload(&self) -> Result<Upload, Error>;
    /// Makes an uploaded model folder durable and registers its embedders. Embedder names that the engine was opened
    /// with keep their embedders. Collections that lacked one of the new embedders can embed again.
    ///
    /// # Errors
    /// `InvalidInput` or `Corrupt` if the files are not a model; `AlreadyExists`, `Exhausted`, `Internal`.
    fn install_model(&self, upload: Upload) -> Result<ModelInfo, Error>;
    /// Trains a model on uploaded files or on a collection's texts, then installs it like
    /// [`install_model`](Self::install_model). Runs at low priority.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` for invalid settings or files; `Abandoned` if `observe` returns
    /// false; those of [`install_model`](Self::install_model).
    fn train_model(
        &self,
        training: &Training,
        upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error>;
}

/// An engine with the models of its process, as servers need it.
pub trait Node: Engine + ModelHost {}

impl<T: Engine + ModelHost> Node for T {}
