//! The [`Engine`] trait, the public interface of the database, with its request and response types.
//!
//! `grpc` uses only this trait, so that a single node and a cluster look alike. Calls block; run them off the async
//! threads. It is one file because a trait cannot be split, and its types are read beside it.

use super::map::{Feed, MapChoice, MapParams, Placed, Tell};
use super::snapshot::{self, SnapshotInfo, SnapshotName};
use super::{Activity, Blocks, Error, Filter, ModelInfo, Observe, ObserveTraining, Training, Upload, limits};
use crate::embed::{Fingerprint, Registry};
use crate::types::{CollectionName, Metric, PointId, Precision};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A JSON object stored with a point.
pub type Payload = serde_json::Map<String, serde_json::Value>;

/// The input from which a point's vector is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A vector of the collection's dimension.
    Vector(Vec<f32>),
    /// Text for the collection's embedder.
    Text(String),
    /// An image for the collection's embedder: the bytes of a file, or raw pixels.
    Image(Vec<u8>),
    /// A vector made by the collection's embedder, with its input. If the collection has a different embedder by the
    /// time of the write, the input is embedded again.
    Embedded {
        /// The vector.
        vector: Vec<f32>,
        /// Fingerprint of the embedder.
        by: Fingerprint,
        /// Tap of the embedder.
        tap: &'static str,
        /// The text or image.
        source: Box<Source>,
    },
}

/// One point to upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Point id; an existing point with this id is replaced.
    pub id: PointId,
    /// Vector, or input to embed.
    pub source: Source,
    /// Payload stored with the point.
    pub payload: Payload,
}

/// Settings of a collection's index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// Maximum links per node on the upper layers (HNSW's M); 2 * `m` on the bottom layer.
    pub m: u32,
    /// Size of the candidate list while building.
    pub ef_construction: u32,
    /// Size of the candidate list while searching, unless the query sets it.
    pub ef_search: u32,
    /// Number of growing points at which a segment is sealed.
    pub seal_rows: u32,
    /// Storage format of vector components.
    pub precision: Precision,
}

/// Source of a collection's vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// Vectors supplied by the user.
    Plain {
        /// Number of components.
        dimension: u32,
    },
    /// Vectors made by an embedder of this process.
    Embedded {
        /// Name of the embedder.
        embedder: String,
        /// Name of the tap; empty for the embedder's default tap.
        tap: String,
    },
}

/// Parameters of a new collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSpec {
    /// Name of the collection.
    pub name: CollectionName,
    /// Source of its vectors.
    pub space: Space,
    /// Distance metric.
    pub metric: Metric,
    /// Index settings; a field that is 0 takes its default.
    pub index: IndexSettings,
}

/// The embedder that a collection is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderPin {
    /// Name of the embedder.
    pub name: String,
    /// Name of the tap.
    pub tap: String,
    /// Fingerprint at creation; another embedder of the same name is refused.
    pub fingerprint: Fingerprint,
}

/// The generation kept beside the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousGeneration {
    /// Generation number.
    pub generation: u32,
    /// Embedder of that generation.
    pub embedder: EmbedderPin,
}

/// The state of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Name of the collection.
    pub name: CollectionName,
    /// Components per vector.
    pub dimension: u32,
    /// Distance metric.
    pub metric: Metric,
    /// Pinned embedder; none for plain vectors.
    pub embedder: Option<EmbedderPin>,
    /// Generation number: the first is 1, and each re-embedding adds 1.
    pub generation: u32,
    /// The previously served generation, while it is kept.
    pub previous: Option<PreviousGeneration>,
    /// Index settings with defaults filled in.
    pub index: IndexSettings,
    /// Live points.
    pub points: u64,
    /// Live points not yet sealed.
    pub growing_points: u64,
    /// Deleted rows in sealed segments.
    pub deleted_rows: u64,
    /// Sealed segments.
    pub segments: Vec<SegmentInfo>,
    /// Bytes mapped.
    pub mapped_bytes: u64,
    /// Mapped bytes that are resident in memory.
    pub resident_bytes: u64,
    /// Sequence number of the last write.
    pub sequence: u64,
    /// Queries answered since the collection was opened.
    pub queries: u64,
    /// Operations that the collection supports now.
    pub state: CollectionState,
    /// Problems, each with its file; empty if there are none.
    pub problems: Vec<String>,
}

/// Result of a check of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Files read.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Problems found.
    pub findings: Vec<Finding>,
}

/// A problem found by a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Severity.
    pub damage: Damage,
    /// Name of the collection; empty for the catalogue.
    pub collection: String,
    /// Path of the file.
    pub file: PathBuf,
    /// Description of the problem, with its position in the file.
    pub what: String,
}

/// Severity of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Points, or the model that embeds them, are lost or may be lost.
    Data,
    /// An index or a measurement is damaged; it is rebuilt automatically.
    Cache,
    /// No record names the file; the next start removes it.
    Stray,
}

impl Damage {
    /// Returns the name of the severity.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Cache => "cache",
            Self::Stray => "stray",
        }
    }
}

/// Operations that a collection supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionState {
    /// All operations.
    Serving,
    /// Reads only: a disk failure stopped writes until the collection is reopened.
    ReadOnly,
    /// A sealed segment is damaged: points found elsewhere are returned, all other requests fail with `Corrupt`.
    Damaged,
    /// Deletion only: the collection could not be opened.
    Unavailable,
}

/// The state of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of the segment within the collection.
    pub id: u64,
    /// Rows, including deleted ones.
    pub rows: u64,
    /// Deleted rows.
    pub deleted_rows: u64,
    /// Whether the segment has a graph now.
    pub graph: bool,
    /// Bytes of the vector file.
    pub vector_bytes: u64,
    /// Bytes of the graph file.
    pub graph_bytes: u64,
}

/// Result of an upsert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upserted {
    /// Sequence number of the write, which is durable.
    pub sequence: u64,
    /// New points.
    pub inserted: u64,
    /// Points that replaced an existing one.
    pub replaced: u64,
    /// Replaced points whose vector and payload did not change.
    pub unchanged: u64,
    /// Blocks removed because their texts were split again.
    pub removed: u64,
    /// Fingerprint of the collection's embedder; none for plain vectors.
    pub fingerprint: Option<Fingerprint>,
}

/// Result of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Sequence number of the write, durable by now.
    pub sequence: u64,
    /// Points deleted.
    pub deleted: u64,
    /// Ids without a point.
    pub missing: Vec<PointId>,
}

/// Parts of a point to return besides its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Return the payload.
    pub payload: bool,
    /// Return the vector.
    pub vector: bool,
}

/// A stored point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Point id.
    pub id: PointId,
    /// The vector as it was written, if requested.
    pub vector: Option<Vec<f32>>,
    /// The payload, if requested.
    pub payload: Option<Payload>,
}

/// One page of a scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Points in the order of their ids.
    pub points: Vec<Point>,
    /// Whether more points follow.
    pub more: bool,
}

/// The target of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// A vector.
    Vector(Vec<f32>),
    /// Text to embed.
    Text(String),
    /// An image to embed.
    Image(Vec<u8>),
    /// A stored point; it is excluded from the hits.
    Id(PointId),
    /// Unit vectors of terms, added and subtracted. A term is the id of a stored point, or a text to embed. Terms are
    /// excluded from the hits.
    Arithmetic {
        /// Terms to add.
        plus: Vec<String>,
        /// Terms to subtract.
        minus: Vec<String>,
    },
}

/// Accuracy of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// The collection's `ef_search`, or k if that is larger.
    Default,
    /// Size of the candidate list (`ef`); at least k.
    Ef(u32),
    /// Brute force: compare with every point.
    Exact,
    /// Mean recall to reach, 0.5 to 1; each segment's `ef` comes from the calibration of its graph.
    TargetRecall(f32),
}

/// Parameters of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchParams {
    /// Number of hits.
    pub k: u32,
    /// Accuracy of the search.
    pub accuracy: Accuracy,
    /// Minimum score of a hit.
    pub score_threshold: Option<f32>,
    /// Parts of each point to return.
    pub fields: Fields,
    /// Condition on payloads; only matching points are returned.
    pub filter: Option<Arc<Filter>>,
    /// Payload field to group by: of the points with the same value, only the nearest is returned.
    pub group_by: Option<String>,
    /// Return partial results from the intact segments of a damaged collection, instead of an error.
    pub allow_partial: bool,
    /// Number of hits to skip, less than `k`: the [`next_offset`](Answer::next_offset) of an answer that ended early.
    pub offset: u32,
}

/// One hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The point.
    pub point: Point,
    /// Distance to the query; smaller is nearer.
    pub distance: f32,
    /// Score; larger is nearer.
    pub score: f32,
}

/// How the hits of an answer were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Every live point was compared.
    Exact,
    /// All sealed segments were searched by graph.
    Graph,
    /// Some segments were searched by graph, some scanned.
    Mixed,
    /// Only the points that match the filter were compared, all of them.
    FilterScan,
}

/// Cost of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchStats {
    /// How the hits were found.
    pub path: Path,
    /// Size of the candidate list; 0 if no graph was used. For a target recall, the maximum over the segments.
    pub ef_used: u32,
    /// Distances computed in total.
    pub distances_computed: u64,
    /// Distances computed to points not yet sealed.
    pub growing_distances: u64,
    /// Sealed segments searched by graph.
    pub segments_by_graph: u32,
    /// Sealed segments scanned.
    pub segments_by_scan: u32,
    /// Expected mean recall of this search, 0 to 1: the mean over segments weighted by live rows, where a scan counts
    /// as 1. None if a graph was used that is not calibrated yet.
    pub expected_recall: Option<f32>,
    /// Whether a target recall was requested and at least one of the graphs searched is not calibrated yet.
    pub recall_unmeasured: bool,
    /// Live points that match the filter; none without a filter.
    pub filter_matches: Option<u64>,
    /// Damaged segments whose damaged rows were left out.
    pub lost_segments: u32,
    /// Time to embed the query.
    pub embed_time: Duration,
    /// Time to search.
    pub search_time: Duration,
    /// Fingerprint of the collection's embedder.
    pub fingerprint: Option<Fingerprint>,
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Hits, nearest first.
    pub hits: Vec<Hit>,
    /// Cost of the answer.
    pub stats: SearchStats,
    /// Offset of the first hit that the [`Budget`](super::Budget) of the call has no room for; none if none is left
    /// out.
    pub next_offset: Option<u32>,
}

/// Parameters of a recall measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallParams {
    /// Number of points to sample, 1 to [`MAX_SAMPLES`](super::limits::MAX_SAMPLES).
    pub samples: u32,
    /// Number of neighbours per sampled point.
    pub k: u32,
    /// Accuracy of the searches.
    pub accuracy: Accuracy,
    /// Seed of the sample; 0 uses a seed that changes with every write.
    pub seed: u64,
}

/// Recall of a live collection, measured by searching for the neighbours of sampled points, without the points
/// themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct RecallReport {
    /// Points sampled; fewer than requested if the collection has fewer.
    pub samples: u32,
    /// Mean recall, 0 to 1. A stored point is an easier query than a new one.
    pub recall: f64,
    /// Lower end of the 95 % confidence interval.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
    /// Recall expected for stored points according to the calibration tables; none if one is missing.
    pub stored_expected: Option<f64>,
    /// Recall expected for queries that are not stored: the `expected_recall` of answers.
    pub expected: Option<f64>,
    /// Mean time of a search with the requested accuracy.
    pub search_time: Duration,
    /// Mean time of an exact search.
    pub exact_time: Duration,
    /// Whether the recall has drifted from the calibration tables, so that the graphs are being calibrated again.
    pub recalibrating: bool,
    /// Sealed segments.
    pub segments: Vec<SegmentRecall>,
}

/// Results for one sealed segment in a [`RecallReport`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentRecall {
    /// Number of the segment within the collection.
    pub segment: u64,
    /// Size of the candidate list in this segment; 0 if it was scanned.
    pub ef_used: u32,
    /// True neighbours found in this segment.
    pub found: u64,
    /// True neighbours in this segment.
    pub of: u64,
    /// Queries that the calibration used; 0 without a table.
    pub calibrated_on: u32,
    /// Recall expected for queries that are not stored.
    pub expected: Option<f32>,
}

/// Why a point is, or is not, among the hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a hit.
    Hit,
    /// There is no point with this id.
    UnknownPoint,
    /// The point was deleted; a deleted row of it still exists.
    Deleted,
    /// The query excludes it: it is the query point or a term of the query.
    Excluded,
    /// Its score is below the threshold.
    BelowThreshold,
    /// At least `k` points are nearer.
    Beaten,
    /// It is one of the `k` nearest, but the graph search missed it.
    MissedByGraph,
    /// Its payload does not match the filter.
    Filtered,
}

/// Location of a live point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// In the growing segment, not yet sealed.
    Growing,
    /// In a sealed segment.
    Sealed {
        /// Number of the segment.
        segment: u64,
        /// Row in the segment.
        row: u32,
    },
}

/// Result of [`Engine::explain`]. Fields that do not apply to the reason are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Why the point is, or is not, a hit.
    pub reason: Reason,
    /// Rank among the hits, from 1.
    pub rank: Option<u32>,
    /// Rank among all points that the query may return, from 1, found by a scan.
    pub true_rank: Option<u64>,
    /// Distance to the query.
    pub distance: Option<f32>,
    /// Score of the point.
    pub score: Option<f32>,
    /// Distance of the k-th hit.
    pub kth_distance: Option<f32>,
    /// Location of the point.
    pub residence: Option<Residence>,
    /// Size of the candidate list in its segment; 0 if that was scanned.
    pub ef_used: u32,
    /// If the graph search missed the point: the smallest `ef` that finds it; none if only a scan does.
    pub ef_needed: Option<u32>,
    /// Points that the graph search of its segment expanded, in order, at most the last 64; none if the segment was
    /// scanned.
    pub walked: Vec<PointId>,
}

/// Which source texts and images a re-embedding uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sources {
    /// Sources from which the current embedder reproduces the stored vector.
    Proved,
    /// The payload of each point as it is: for a collection whose embedder is lost.
    Trusted,
}

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
    /// [`Budget`](super::Budget) of the call has no room for the next point.
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
    /// [`Budget`](super::Budget) of the call has no room for all answers, the list ends after the last that fits; if
    /// the first does not fit, that answer is cut (see [`Answer::next_offset`]) and the only one.
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
