//! The [`Admin`] trait: collections, maintenance and models.

use super::ModelInfo;
use crate::api::{Activity, CheckReport, CollectionInfo, CollectionSpec, Error, TextField};
use crate::embed::Fingerprint;
use crate::types::CollectionName;

/// Administration: collections, maintenance and models. Models are added through a [`ModelHost`](super::ModelHost).
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
    /// Adds a text field to a collection that serves. Its indexes are built in the background, or by the first query.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if there is a field with this name; `InvalidInput` naming the limit.
    fn add_text_field(&self, name: &CollectionName, field: TextField) -> Result<CollectionInfo, Error>;
    /// Drops a text field and its indexes. Payloads stay.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` naming the fields if there is none with this name.
    fn drop_text_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error>;
    /// Flushes the growing segment, merges segments, and waits until every segment large enough has a calibrated graph.
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
    /// Returns all models, in the order in which they were added.
    ///
    /// # Errors
    /// `Internal`; `Unavailable` if the engine's models are fixed.
    fn models(&self) -> Result<Vec<ModelInfo>, Error>;
    /// Deletes an installed model, given the fingerprint of its first embedder.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the model was not installed, or a collection is pinned to it; `Corrupt` if the pins
    /// cannot be read.
    fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error>;
}
