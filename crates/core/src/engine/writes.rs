//! The [`Writes`] trait: upserts, updates and deletes.

use crate::api::{
    Deleted, Error, Filter, Item, PayloadUpdate, PayloadsUpdated, PointSelection, Upserted, WriteCondition, limits,
};
use crate::collection::Blocks;
use crate::types::{CollectionName, PointId};

/// Writes to one collection. Every call validates its whole input before it changes anything.
pub trait Writes: Send + Sync {
    /// Adds or replaces points. Atomic; durable and visible on return.
    ///
    /// # Errors
    /// `InvalidInput` naming the item and the limit; `Conflict` if the pinned embedder is not loaded.
    fn upsert(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error> {
        self.upsert_if(name, items, &WriteCondition::default())
    }
    /// Like [`upsert`](Self::upsert), but writes only the items whose point fulfils the condition when the write is
    /// executed; returns the ids of the others. Items are written in their order, and each sees those before it.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert); with [`WriteMode::Keep`](crate::api::WriteMode::Keep) also `AlreadyExists`
    /// naming the first item that would change a point.
    fn upsert_if(&self, name: &CollectionName, items: Vec<Item>, condition: &WriteCondition)
    -> Result<Upserted, Error>;
    /// Replaces the vectors of existing points and keeps their payloads, except that a text or image to embed is stored
    /// in the payload as by [`upsert`](Self::upsert). The payloads of the items are set field by field. Returns ids
    /// without a point as [`missing`](crate::api::SkippedItems::missing).
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert); `InvalidInput` for a point whose payload would exceed a limit.
    fn update_vectors(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error>;
    /// Like [`upsert`](Self::upsert), but splits texts into blocks; removes the previous blocks of these texts in the
    /// same write.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert), and `InvalidInput` for items that cannot be split.
    fn upsert_blocks(&self, name: &CollectionName, items: Vec<Item>, blocks: Blocks) -> Result<Upserted, Error> {
        limits::batch("items", items.len(), limits::MAX_BATCH)?;
        let texts: Vec<PointId> = items.iter().map(|item| item.id.clone()).collect();
        self.upsert_instead(name, blocks.all(items)?, &texts)
    }
    /// Upserts the blocks of `texts`, already split; removes all other blocks of these texts in the same write.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert).
    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error>;
    /// Validates and embeds one item without writing it, so that a stream can refuse items one by one. The source of
    /// the returned item is a vector ([`PointInput::Embedded`](crate::api::PointInput::Embedded) if it was embedded),
    /// and its payload is the one to be stored.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert).
    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error>;
    /// Deletes points by id; returns the ids without a point.
    ///
    /// # Errors
    /// `NotFound` for the collection.
    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error>;
    /// Deletes all points, in one transaction that does not depend on their number. The collection keeps its settings
    /// and its sequence numbers.
    ///
    /// # Errors
    /// `NotFound` for the collection.
    fn delete_all_points(&self, name: &CollectionName) -> Result<Deleted, Error>;
    /// Deletes the points that match when the write is executed, in one transaction.
    ///
    /// # Errors
    /// `InvalidInput` for a filter that is malformed or that matches more points than one transaction can delete;
    /// without `allow_unknown_fields` also for a filter that matches points and names a field that no point has,
    /// because a misspelt field under `not` matches every point.
    fn delete_matching(
        &self,
        name: &CollectionName,
        filter: &Filter,
        allow_unknown_fields: bool,
    ) -> Result<Deleted, Error>;
    /// Changes the payloads of points and keeps their vectors, in one write. Graphs are not changed. The new payload of
    /// a sealed point is kept in memory until the next merge of its segment.
    ///
    /// # Errors
    /// `InvalidInput` for an invalid update; for a filter as in [`delete_matching`](Self::delete_matching); for a point
    /// whose payload would exceed a limit, or has a value that is not an object where the update sets a field below it.
    /// `Exhausted` while too many updated payloads wait for a merge; retry later.
    fn update_payload(
        &self,
        name: &CollectionName,
        points: &PointSelection,
        update: &PayloadUpdate,
    ) -> Result<PayloadsUpdated, Error>;
}
