//! The [`Engine`] trait, the public interface of the database.
//!
//! `grpc` uses only this trait, so that a single node and a cluster look alike. Calls block; run them off the async
//! threads.

use super::{ModelInfo, ObserveTraining, Training, Upload};
use crate::api::{
    Activity, Answer, CheckReport, CollectionInfo, CollectionSpec, Deleted, Error, Explanation, Fields, Filter, Item,
    Observe, Page, Point, Query, RecallParams, RecallReport, SearchParams, Sources, Upserted, limits,
};
use crate::collection::Blocks;
use crate::collection::change_feed::Feed;
use crate::collection::layout::{MapChoice, MapParams, Placed, Tell};
use crate::embed::{Fingerprint, Registry};
use crate::snapshot::{self, SnapshotInfo, SnapshotName};
use crate::types::{CollectionName, PointId};
use std::sync::Arc;

/// The database. Every call validates its whole input before it changes anything; see [`Error`].
pub trait Engine: Send + Sync {
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
    /// Returns counters of the work done since the engine was opened.
    fn activity(&self) -> Activity;

    /// Creates an empty collection.
    ///
    /// # Errors
    /// `AlreadyExists`, or `InvalidInput` for a setting out of range.
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error>;
    /// Returns the state of a collection, even if it could not be opened.
    ///
    /// # Errors
    /// `NotFound`.
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error>;
    /// Returns the sequence number of the last acknowledged write; reads see all writes up to it.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the collection could not be opened.
    fn sequence(&self, name: &CollectionName) -> Result<u64, Error>;
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

    /// Builds the next generation of a collection with another embedder, from the texts and images stored in the
    /// payloads, while the current generation serves reads and writes. Then switches to it and keeps the previous
    /// generation. After an error nothing has changed. Engines without disk storage have one generation.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for plain vectors, or naming the embedder, the tap, or a point that cannot be
    /// embedded; `Conflict` for points whose source is uncertain, or while the current embedder is not loaded;
    /// `Unavailable` if `observe` returns false, or if writes arrive too fast to catch up.
    fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        tap: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let _ = (embedder, tap, sources, observe);
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
    fn drop_previous(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        Err(Error::NoPrevious { collection: name.to_string() })
    }

    /// Reads every byte of a collection's files. A damaged segment is quarantined; a damaged graph is rebuilt.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the collection could not be opened.
    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error>;

    /// Adds or replaces points. Atomic; durable and visible on return.
    ///
    /// # Errors
    /// `InvalidInput` naming the item and the limit; `Conflict` if the pinned embedder is not loaded.
    fn upsert(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error>;
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
    /// Like [`upsert`](Self::upsert), but refuses the whole batch if an item has the id of a point with another vector
    /// or payload.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert); `AlreadyExists` naming the first conflicting id.
    fn upsert_keeping(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error>;
    /// Upserts the blocks of `texts`, already split; removes all other blocks of these texts in the same write.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert).
    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error>;
    /// Validates and embeds one item without writing it, so that a stream can refuse items one by one. The source of
    /// the returned item is a vector ([`Source::Embedded`] if it was embedded), and its payload is the one to be
    /// stored.
    ///
    /// # Errors
    /// Those of [`upsert`](Self::upsert).
    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error>;
    /// Deletes points by id; returns the ids without a point.
    ///
    /// # Errors
    /// `NotFound` for the collection.
    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error>;
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
    /// Returns the points with these ids, in that order; none for an id without a point. The list ends early if the
    /// [`Budget`](crate::api::Budget) of the call has no room for the next point.
    ///
    /// # Errors
    /// `NotFound` for the collection; `ResponseTooLarge` if the first point exceeds the budget.
    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error>;
    /// Returns points in the order of their ids, starting after `after`; with a filter, only those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a limit out of range or a malformed filter.
    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error>;
    /// Counts the live points; with a filter, those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a malformed filter.
    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error>;
    /// Returns the nearest points to each query. Validates all queries before it runs the first. If the
    /// [`Budget`](crate::api::Budget) of the call has no room for all answers, the list ends after the last that fits;
    /// if the first does not fit, that answer is cut (see [`Answer::next_offset`]) and the only one.
    ///
    /// # Errors
    /// `InvalidInput` naming the query and the limit; `ResponseTooLarge` if the first hit exceeds the budget.
    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error>;
    /// Explains why a point is, or is not, among the hits of a query. A point that does not exist is a [`Reason`], not
    /// an error.
    ///
    /// # Errors
    /// Those of [`search`](Self::search).
    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error>;
    /// Writes a snapshot of the current state; writes continue meanwhile. Engines without a snapshot store return
    /// [`Error::NoDepot`].
    ///
    /// # Errors
    /// `NotFound` for the collection; `Conflict` if no snapshot store is configured or the embedder is not loaded;
    /// `Corrupt` for a damaged segment; `Unavailable` if the store does not respond or `observe` returns false.
    fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (name, observe);
        Err(Error::NoDepot)
    }
    /// Returns all snapshots, oldest first.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    fn snapshots(&self) -> Result<Vec<snapshot::Listed>, Error> {
        Err(Error::NoDepot)
    }
    /// Returns the contents of a snapshot's manifest.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Conflict`, `Unavailable`.
    fn snapshot(&self, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
        let _ = snapshot;
        Err(Error::NoDepot)
    }
    /// Reads every byte of a snapshot and verifies its checksums.
    ///
    /// # Errors
    /// Those of [`snapshot`](Self::snapshot).
    fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (snapshot, observe);
        Err(Error::NoDepot)
    }
    /// Restores a snapshot as the collection `target`: a new one or, with `replace`, instead of an existing one. The
    /// collection becomes visible once it is complete and verified; after an error nothing has changed.
    ///
    /// # Errors
    /// `AlreadyExists` without `replace`; those of [`verify_snapshot`](Self::verify_snapshot); `Conflict` if the
    /// embedder is neither loaded nor in the snapshot; `Exhausted` if there is no room.
    fn restore_snapshot(
        &self,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let _ = (snapshot, target, replace, observe);
        Err(Error::NoDepot)
    }
    /// Streams the layout of a collection as it improves. Uses the cached layout, updated with later writes, if there
    /// is one. Engines without layouts return [`Error::NoMap`].
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit; `Abandoned` if `tell` returns false.
    fn project(&self, name: &CollectionName, params: &MapParams, tell: Tell<'_>) -> Result<(), Error> {
        let _ = (params, tell);
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Returns the positions of queries on the cached layout, `dimensions` coordinates each, computed from the
    /// positions of their nearest points.
    ///
    /// # Errors
    /// Those of [`search`](Self::search); `Conflict` if no layout is cached.
    fn place(&self, name: &CollectionName, choice: MapChoice, queries: &[Query]) -> Result<Vec<f32>, Error> {
        let _ = (choice, queries);
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Returns a feed of the points written from now on.
    ///
    /// # Errors
    /// `NotFound`.
    fn watch(&self, name: &CollectionName) -> Result<Feed, Error> {
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Returns points by id, with their positions on the cached layout and the values of some payload fields.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` naming the limit.
    fn placed(
        &self,
        name: &CollectionName,
        choice: MapChoice,
        ids: &[PointId],
        fields: &[String],
    ) -> Result<Placed, Error> {
        let _ = (choice, ids, fields);
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Returns the fields of a filter that no point has, which are usually misspelt. Omits fields that the engine
    /// cannot check.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error>;
    /// Measures recall on sampled points. If it has drifted from the calibration tables, the graphs are calibrated
    /// again in the background.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit.
    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error>;
}
