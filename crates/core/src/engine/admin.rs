//! The [`Admin`] trait: collections, maintenance and models.

use super::ModelInfo;
use crate::api::{Activity, AliasAction, CheckReport, CollectionInfo, CollectionSpec, Error, Field, Ttl};
use crate::embed::Fingerprint;
use crate::types::CollectionName;

/// Callback for each collection of a list, with its name in the order of the list. Returning false ends the list.
pub type VisitCollection<'a> = dyn FnMut(&CollectionName, CollectionInfo) -> Result<bool, Error> + 'a;

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
    fn collections(&self) -> Result<Vec<CollectionInfo>, Error> {
        let mut infos = Vec::new();
        self.visit_collections(None, &mut |_, info| {
            infos.push(info);
            Ok(true)
        })?;
        Ok(infos)
    }
    /// Calls `visit` with each collection whose name comes after `after`, in the order of the names, until it returns
    /// false. The name passed is that of this order; a collection renamed meanwhile may have another one by then.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`, and those of `visit`.
    fn visit_collections(&self, after: Option<&CollectionName>, visit: &mut VisitCollection<'_>) -> Result<(), Error>;
    /// Like [`collections`](Self::collections), without waiting for the disk: leaves out resident bytes, and collections
    /// whose state is not known yet. For metrics.
    ///
    /// # Errors
    /// Those of [`collections`](Self::collections).
    fn known_collections(&self) -> Result<Vec<CollectionInfo>, Error> {
        self.collections()
    }
    /// Deletes a collection and returns the number of its points.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error>;
    /// Adds a field to a collection that serves. Its indexes are built in the background, or by the first query. Points
    /// have no vector in a new vector field.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if there is a field with this name; `InvalidInput` naming the limit.
    fn add_field(&self, name: &CollectionName, field: Field) -> Result<CollectionInfo, Error>;
    /// Drops a field and its indexes. Payloads stay; the vectors of a vector field are removed from the points by the next
    /// merge of their segment.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` naming the fields if there is none with this name.
    fn drop_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error>;
    /// Sets or removes the expiry of the points of a collection that serves. Reads follow it immediately.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit.
    fn set_ttl(&self, name: &CollectionName, ttl: Option<Ttl>) -> Result<CollectionInfo, Error>;
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
    /// Returns the name of the collection that an alias refers to; any other name unchanged, whether it exists or not.
    fn resolve(&self, name: &CollectionName) -> CollectionName;
    /// Changes aliases and names of collections: all actions, in order, or none. Durable on return. Returns the
    /// collections with another name or other aliases.
    ///
    /// ```
    /// use nearness_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let database = Database::open(folder.path())?;
    /// let name = |name: &str| CollectionName::new(name);
    /// database.create_collection(&CollectionSpec::vectors(name("books-1")?, 2))?;
    /// database.create_collection(&CollectionSpec::vectors(name("books-2")?, 2))?;
    /// let create = |number: &str| -> Result<AliasAction, Box<dyn std::error::Error>> {
    ///     Ok(AliasAction::Create { alias: name("books")?, collection: name(number)? })
    /// };
    /// database.update_aliases(&[create("books-1")?])?;
    /// // Readers of "books" see one collection or the other.
    /// database.update_aliases(&[AliasAction::Delete { alias: name("books")? }, create("books-2")?])?;
    /// assert_eq!(database.collection(&name("books")?)?.name, name("books-2")?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`; `InvalidInput` for an empty or too long list, and for a renaming of a collection by
    /// its alias; `Exhausted` for too many aliases; `Corrupt` for a renaming of a collection that could not be opened.
    fn update_aliases(&self, actions: &[AliasAction]) -> Result<Vec<CollectionInfo>, Error>;
}
