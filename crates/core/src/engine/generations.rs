//! The [`Generations`] trait: re-embedding of a collection with another embedder.

use crate::api::{CollectionInfo, Error, Observe, Sources};
use crate::types::CollectionName;

/// Generations of a collection. The default methods are those of an engine with one generation.
pub trait Generations: Send + Sync {
    /// Builds the next generation of a collection with another embedder, from the texts and images stored in the
    /// payloads, while the current generation serves reads and writes. Then switches to it and keeps the previous
    /// generation. After an error nothing has changed. Engines without disk storage have one generation.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for plain vectors, or naming the embedder, the output, or a point that cannot be
    /// embedded; `Conflict` for points whose source is uncertain, or while the current embedder is not loaded;
    /// `Unavailable` if `observe` returns false, or if writes arrive too fast to catch up.
    fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        output: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let _ = (embedder, output, sources, observe);
        Err(Error::NoPrevious { collection: name.to_string() })
    }
    /// Switches back to the previous generation, with everything written since, and keeps the current one.
    ///
    /// # Errors
    /// `Conflict` if no other generation is kept, or its embedder is not loaded; those of [`reembed`](Self::reembed).
    fn rollback(&self, name: &CollectionName, observe: Observe<'_>) -> Result<CollectionInfo, Error> {
        let _ = observe;
        Err(Error::NoPrevious { collection: name.to_string() })
    }
    /// Removes the previous generation.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if no other generation is kept.
    fn delete_previous_generation(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        Err(Error::NoPrevious { collection: name.to_string() })
    }
}
