//! The [`Admin`] trait: collections, maintenance, embedders and models.

use super::{ModelInfo, ObserveTraining, Training, Upload};
use crate::api::{Activity, CheckReport, CollectionInfo, CollectionSpec, Error};
use crate::embed::{Fingerprint, Registry};
use crate::types::CollectionName;
use std::sync::Arc;

/// Administration: collections, maintenance, embedders and models.
pub trait Admin: Send + Sync {
    /// Creates an empty collection.
    ///
    /// # Errors
    /// `AlreadyExists`, or `InvalidInput` for a setting out of range.
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error>;
    /// Returns all collections by name, including those that could not be opened.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    fn collections(&self) -> Result<Vec<CollectionInfo>, Error>;
    /// Deletes a collection and returns the number of its points.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error>;
    /// Seals the growing segment, merges segments, and waits until every segment large enough has a calibrated graph.
    ///
    /// # Errors
    /// `NotFound`, or the error that stopped the work.
    fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error>;
    /// Reads every byte of a collection's files. A damaged segment is quarantined; a damaged graph is rebuilt.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the collection could not be opened.
    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error>;
    /// Returns counters of the work done since the engine was opened.
    fn activity(&self) -> Activity;
    /// Returns the embedders of this process.
    fn embedders(&self) -> Arc<Registry>;
    /// Returns all models, in the order in which they were added.
    ///
    /// # Errors
    /// `Internal`; `Unavailable` if the engine's models are fixed.
    fn models(&self) -> Result<Vec<ModelInfo>, Error>;
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
    /// `NotFound` for the collection; `InvalidInput` for wrong settings or files; `Abandoned` if `observe` returns
    /// false; those of [`install_model`](Self::install_model).
    fn train_model(
        &self,
        training: &Training,
        upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error>;
    /// Deletes an installed model, given the fingerprint of its first embedder.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the model was not installed, or a collection is pinned to it; `Corrupt` if the pins
    /// cannot be read.
    fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error>;
}
