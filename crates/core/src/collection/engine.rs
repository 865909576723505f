//! The [`Engine`] trait: everything that can be asked of the database, in the domain's own words.
//!
//! `grpc` sees only this trait, so that one node and many look alike. Calls block; run them off the async threads.
//! It is one file because a trait cannot be split, and its types are read beside it.

use super::map::{Feed, MapChoice, MapParams, Placed, Tell};
use super::snapshot::{self, SnapshotInfo, SnapshotName};
use super::{Activity, Blocks, Error, Filter, ModelInfo, Observe, ObserveTraining, Training, Upload, limits};
use crate::embed::{Fingerprint, Registry};
use crate::types::{CollectionName, Metric, PointId, Precision};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A JSON object that the user keeps beside a point.
pub type Payload = serde_json::Map<String, serde_json::Value>;

/// What a point is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A vector of the collection's dimension.
    Vector(Vec<f32>),
    /// Text for the collection's embedder.
    Text(String),
    /// An image for the collection's embedder: the bytes of a file, or raw pixels.
    Image(Vec<u8>),
    /// A vector that the collection's embedder made, and from what: a collection that has another embedder by now embeds that again.
    Embedded {
        /// The vector.
        vector: Vec<f32>,
        /// The embedder.
        by: Fingerprint,
        /// Its tap.
        tap: &'static str,
        /// The text or image.
        source: Box<Source>,
    },
}

/// One point to upsert.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name; a point of the same name is replaced.
    pub id: PointId,
    /// Its vector, or what to embed.
    pub source: Source,
    /// Kept beside it.
    pub payload: Payload,
}

/// Settings of a collection's index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// Links of a node on the upper layers; twice as many on the bottom layer.
    pub m: u32,
    /// Candidates kept while building.
    pub ef_construction: u32,
    /// Candidates kept while searching, when the query does not say.
    pub ef_search: u32,
    /// Growing points that are sealed into a segment.
    pub seal_rows: u32,
    /// What is kept of each component.
    pub precision: Precision,
}

/// What a collection's vectors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// Vectors that the user brings.
    Plain {
        /// Components.
        dimension: u32,
    },
    /// Vectors of an embedder of this process.
    Embedded {
        /// The embedder's name.
        embedder: String,
        /// Empty: its default tap.
        tap: String,
    },
}

/// What to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSpec {
    /// Its name.
    pub name: CollectionName,
    /// Its vectors.
    pub space: Space,
    /// How near is measured.
    pub metric: Metric,
    /// 0 in a field stands for its default.
    pub index: IndexSettings,
}

/// Which embedder a collection is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderPin {
    /// The embedder's name.
    pub name: String,
    /// The tap's name.
    pub tap: String,
    /// The fingerprint at creation; another embedder of the same name is refused.
    pub fingerprint: Fingerprint,
}

/// A generation that is kept beside the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousGeneration {
    /// Its number.
    pub generation: u32,
    /// Its embedder.
    pub embedder: EmbedderPin,
}

/// The state of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionInfo {
    /// Its name.
    pub name: CollectionName,
    /// Components of its vectors.
    pub dimension: u32,
    /// How near is measured.
    pub metric: Metric,
    /// Its embedder; none for plain vectors.
    pub embedder: Option<EmbedderPin>,
    /// Its number: the first is 1, and each re-embedding makes the next.
    pub generation: u32,
    /// The generation before, while it is kept.
    pub previous: Option<PreviousGeneration>,
    /// Its index settings, defaults filled in.
    pub index: IndexSettings,
    /// Live points.
    pub points: u64,
    /// Of them, not yet sealed.
    pub growing_points: u64,
    /// Dead rows in sealed segments.
    pub deleted_rows: u64,
    /// Its sealed segments.
    pub segments: Vec<SegmentInfo>,
    /// Bytes mapped.
    pub mapped_bytes: u64,
    /// Of them, in memory now.
    pub resident_bytes: u64,
    /// Sequence number of the last write.
    pub sequence: u64,
    /// Queries that were answered since it was opened.
    pub queries: u64,
    /// What can be asked of it.
    pub state: CollectionState,
    /// What is wrong, each with its file; none while all is well.
    pub problems: Vec<String>,
}

/// What a check of files found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub damage: Damage,
    /// The collection; empty for the catalogue.
    pub collection: String,
    /// Which file.
    pub file: PathBuf,
    /// What is wrong, and where in the file.
    pub what: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Points, or the model that embeds them, are, or may be, lost.
    Data,
    /// An index or a measurement, which is made anew by itself.
    Cache,
    /// A file that nothing names; it is removed at the next start.
    Stray,
}

impl Damage {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Cache => "cache",
            Self::Stray => "stray",
        }
    }
}

/// What can be asked of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionState {
    /// Everything.
    Serving,
    /// A failure of the disk ended writing, until it is opened anew; reads go on.
    ReadOnly,
    /// A sealed segment is damaged: points that are found elsewhere are answered, everything else is refused as `Corrupt`.
    Damaged,
    /// Nothing but its deletion: it could not be opened.
    Unavailable,
}

/// The state of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number within the collection.
    pub id: u64,
    /// Rows, dead ones among them.
    pub rows: u64,
    /// Dead rows.
    pub deleted_rows: u64,
    /// Whether it has a graph now.
    pub graph: bool,
    /// Bytes of its vector file.
    pub vector_bytes: u64,
    /// Bytes of its graph file.
    pub graph_bytes: u64,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upserted {
    /// Sequence number of the write, durable by now.
    pub sequence: u64,
    /// New points.
    pub inserted: u64,
    /// Points that replaced an older one.
    pub replaced: u64,
    /// Of those, points whose vector and payload are as before.
    pub unchanged: u64,
    /// Blocks of the same texts that are no more.
    pub removed: u64,
    /// The collection's embedder; none for plain vectors.
    pub fingerprint: Option<Fingerprint>,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Sequence number of the write, durable by now.
    pub sequence: u64,
    /// Points that were there.
    pub deleted: u64,
    /// Ids that were not.
    pub missing: Vec<PointId>,
}

/// Which parts of a point to fetch beside its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Its payload.
    pub payload: bool,
    /// Its vector.
    pub vector: bool,
}

/// A stored point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name.
    pub id: PointId,
    /// Its vector as it was given, when asked for.
    pub vector: Option<Vec<f32>>,
    /// Its payload, when asked for.
    pub payload: Option<Payload>,
}

/// One page of a scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Points in the order of their ids.
    pub points: Vec<Point>,
    /// Whether points follow after the last of these.
    pub more: bool,
}

/// What to be near to.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// A vector.
    Vector(Vec<f32>),
    /// Text to embed.
    Text(String),
    /// An image to embed.
    Image(Vec<u8>),
    /// A stored point, left out of its own answer.
    Id(PointId),
    /// Unit vectors of stored points, or of texts to embed, added and taken away; left out of the answer.
    Arithmetic {
        /// Added.
        plus: Vec<String>,
        /// Taken away.
        minus: Vec<String>,
    },
}

/// How hard to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accuracy {
    /// The collection's `ef_search` (raised to k).
    Default,
    /// Candidates kept; at least k.
    Ef(u32),
    /// Compare with every point.
    Exact,
    /// The mean recall to reach, 0.5 to 1: each segment's `ef` is read from what was measured of its graph.
    TargetRecall(f32),
}

/// How a search is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchParams {
    /// How many hits.
    pub k: u32,
    /// How hard to search.
    pub accuracy: Accuracy,
    /// Only hits with at least this score.
    pub score_threshold: Option<f32>,
    /// What each hit carries.
    pub fields: Fields,
    /// Only points whose payload matches.
    pub filter: Option<Arc<Filter>>,
    /// Of the points that have the same value in this field of their payload only the nearest.
    pub group_by: Option<String>,
    /// Answer from the sound segments of a damaged collection, instead of not at all.
    pub allow_partial: bool,
}

/// One hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The point.
    pub point: Point,
    /// Smaller is nearer.
    pub distance: f32,
    /// Larger is nearer.
    pub score: f32,
}

/// Which way an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Every live point was compared.
    Exact,
    /// All sealed segments by their graph.
    Graph,
    /// Some segments by graph, some by scan.
    Mixed,
    /// Only the points that match the filter were compared, each of them.
    FilterScan,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchStats {
    /// Which way.
    pub path: Path,
    /// 0 when no graph was used; the largest of the segments' where a recall was asked for.
    pub ef_used: u32,
    /// Distances computed, all together.
    pub distances_computed: u64,
    /// Of them, to points not yet sealed.
    pub growing_distances: u64,
    /// Sealed segments searched by graph.
    pub segments_by_graph: u32,
    /// Sealed segments scanned.
    pub segments_by_scan: u32,
    /// The mean recall to expect of such a search, 0 to 1: segments weighted by their live rows, a scan counts as 1.
    /// None when a graph was used of which nothing was measured yet.
    pub expected_recall: Option<f32>,
    /// A target recall was asked for, and at least one graph that was searched has not been measured yet.
    pub recall_unmeasured: bool,
    /// Live points that match the filter; none without one.
    pub filter_matches: Option<u64>,
    /// Damaged segments whose damaged rows were left out.
    pub lost_segments: u32,
    /// Embedding the query.
    pub embed_time: Duration,
    /// Searching.
    pub search_time: Duration,
    /// The collection's embedder.
    pub fingerprint: Option<Fingerprint>,
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Nearest first.
    pub hits: Vec<Hit>,
    /// What it cost.
    pub stats: SearchStats,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallParams {
    /// Points that are sampled, 1 to [`MAX_SAMPLES`](super::limits::MAX_SAMPLES).
    pub samples: u32,
    /// How many neighbours of each.
    pub k: u32,
    /// How hard to search.
    pub accuracy: Accuracy,
    /// Seed of the sample; 0 takes one that changes with every write.
    pub seed: u64,
}

/// The recall of a live collection: sampled points asked for their neighbours, themselves left out.
#[derive(Clone, Debug, PartialEq)]
pub struct RecallReport {
    /// Points that were sampled; fewer than asked where there are fewer.
    pub samples: u32,
    /// Their mean recall, 0 to 1. A stored point is an easier query than a new one.
    pub recall: f64,
    /// Lower end of the 95 % confidence interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What the tables say of stored points; none when one is missing.
    pub stored_expected: Option<f64>,
    /// What the tables promise for queries that are not stored: the answers' `expected_recall`.
    pub expected: Option<f64>,
    /// Mean time of a search as asked.
    pub search_time: Duration,
    /// Mean time of an exact one.
    pub exact_time: Duration,
    /// Whether the recall has drifted from the tables, so that they are being measured anew.
    pub recalibrating: bool,
    /// Sealed segments.
    pub segments: Vec<SegmentRecall>,
}

/// The part of a sealed segment in a [`RecallReport`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentRecall {
    /// Its number within the collection.
    pub segment: u64,
    /// Candidates kept in it; 0 when it was scanned.
    pub ef_used: u32,
    /// True neighbours in it that were found.
    pub found: u64,
    /// Of so many.
    pub of: u64,
    /// Queries that its table was measured with; 0 without a table.
    pub calibrated_on: u32,
    /// What its table promises for queries that are not stored.
    pub expected: Option<f32>,
}

/// Why a point is, or is not, among the hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is one of them.
    Hit,
    /// There is no such point.
    UnknownPoint,
    /// There was, and a dead row of it is still there.
    Deleted,
    /// The query leaves it out: it is the point, or a term, that was asked with.
    Excluded,
    /// Its score is below the threshold.
    BelowThreshold,
    /// At least `k` points are nearer.
    Beaten,
    /// It is one of the `k` nearest, but a graph did not lead to it.
    MissedByGraph,
    /// Its payload does not match the filter.
    Filtered,
}

/// Where a live point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// Not yet sealed.
    Growing,
    /// A row of a sealed segment.
    Sealed {
        /// The segment's number.
        segment: u64,
        /// Its row.
        row: u32,
    },
}

/// What [`Engine::explain`] tells. Fields are none where the reason makes them meaningless.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Why.
    pub reason: Reason,
    /// Its place among the hits, from 1.
    pub rank: Option<u32>,
    /// Its place among all points that may be found, from 1, by a scan.
    pub true_rank: Option<u64>,
    /// Its distance to the query.
    pub distance: Option<f32>,
    /// Its score.
    pub score: Option<f32>,
    /// Distance of the k-th hit.
    pub kth_distance: Option<f32>,
    /// Where it lives.
    pub residence: Option<Residence>,
    /// Candidates kept in its segment; 0 when that was scanned.
    pub ef_used: u32,
    /// Where a graph missed it: the least `ef` at which it is found; none if only a scan does.
    pub ef_needed: Option<u32>,
    /// The points whose neighbours the search of its segment's graph looked at, in order, at most the last 64; none
    /// where that was scanned.
    pub walked: Vec<PointId>,
}

/// Which sources of points are embedded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sources {
    /// Those from which the present embedder makes the stored vector.
    Proved,
    /// What each payload holds: for a collection whose embedder is lost.
    Trusted,
}

/// The database. Every call checks its input whole before it changes anything; see [`Error`].
pub trait Engine: Send + Sync {
    /// The embedders of this process.
    fn embedders(&self) -> Arc<Registry>;
    /// All models, in the order of their coming.
    ///
    /// # Errors
    /// `Internal`; `Unavailable` where models do not change.
    fn models(&self) -> Result<Vec<ModelInfo>, Error>;
    /// A place for the files of a model, or for those to train one on.
    ///
    /// # Errors
    /// `Exhausted`, `Internal`.
    fn upload(&self) -> Result<Upload, Error>;
    /// Makes an uploaded model folder durable and its embedders known, without names that the engine was opened with; collections
    /// that miss them can embed again.
    ///
    /// # Errors
    /// `InvalidInput` or `Corrupt` for files that are no model, `AlreadyExists`, `Exhausted`, `Internal`.
    fn install_model(&self, upload: Upload) -> Result<ModelInfo, Error>;
    /// Trains a model on uploaded files, or on a collection's texts, then does as [`install_model`](Self::install_model). It runs behind other work.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` for wrong settings or files; `Abandoned` when `observe` says false;
    /// those of [`install_model`](Self::install_model).
    fn train_model(
        &self,
        training: &Training,
        upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error>;
    /// Deletes an installed model, by the fingerprint of its first embedder.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for one that was not installed, or that a collection is pinned to; `Corrupt` when that cannot be told.
    fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error>;
    /// What it has done since it was opened.
    fn activity(&self) -> Activity;

    /// Makes a new, empty collection.
    ///
    /// # Errors
    /// `AlreadyExists`, or `InvalidInput` for a setting out of range.
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error>;
    /// The state of a collection, of one that could not be opened too.
    ///
    /// # Errors
    /// `NotFound`.
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error>;
    /// The sequence number up to which reads see all writes: that of the last acknowledged one.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for one that could not be opened.
    fn sequence(&self, name: &CollectionName) -> Result<u64, Error>;
    /// All collections by name, those that could not be opened among them.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    fn collections(&self) -> Result<Vec<CollectionInfo>, Error>;
    /// Removes a collection; returns the number of its points.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error>;
    /// Seals what grows, merges, and waits until every segment that should have a graph has it, measured.
    ///
    /// # Errors
    /// `NotFound`, or what stopped the work.
    fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error>;

    /// Makes the next generation of a collection by another embedder, from what the points keep of their sources, while the present
    /// one serves and is written to; then it takes its place, and the one before is kept. After an error everything is as before. Engines that keep nothing on disk have one generation.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for plain vectors, or naming the embedder, the tap, or a point that cannot be embedded; `Conflict` for points whose
    /// source is not certain, or while the present embedder is not loaded; `Unavailable` when `observe` says false, or writes come too fast.
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
    /// Makes the generation before the present one again, with everything that was written since; the other one is kept.
    ///
    /// # Errors
    /// `Conflict` when none is kept, or its embedder is not loaded; as [`reembed`](Self::reembed).
    fn rollback(&self, name: &CollectionName, observe: Observe<'_>) -> Result<CollectionInfo, Error> {
        let _ = observe;
        Err(Error::NoPrevious { collection: name.to_string() })
    }
    /// Removes the generation that is kept beside the present one.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when none is kept.
    fn drop_previous(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        Err(Error::NoPrevious { collection: name.to_string() })
    }

    /// Reads every byte of a collection's files. A segment that is damaged is not used from then on, a graph is made anew.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt` for a collection that could not be opened.
    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error>;

    /// Adds or replaces points. All or nothing; durable and visible when it returns.
    ///
    /// # Errors
    /// `InvalidInput` naming the item and the limit, `Conflict` when the pinned embedder is not loaded.
    fn upsert(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error>;
    /// The same for texts that are split into blocks; whatever blocks these texts had before are gone, in the same write.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert), and for what cannot be split.
    fn upsert_blocks(&self, name: &CollectionName, items: Vec<Item>, blocks: Blocks) -> Result<Upserted, Error> {
        limits::batch("items", items.len(), limits::MAX_BATCH)?;
        let texts: Vec<PointId> = items.iter().map(|item| item.id.clone()).collect();
        self.upsert_instead(name, blocks.all(items)?, &texts)
    }
    /// As [`upsert`](Self::upsert), but refuses the whole batch where it would change a point: where an item has the id of a
    /// point with another vector or payload.
    ///
    /// # Errors
    /// As there; `AlreadyExists` naming the first such id.
    fn upsert_keeping(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error>;
    /// [`upsert`](Self::upsert) of the blocks of `texts`, which are split already; other blocks of these texts are removed, in the
    /// same write.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error>;
    /// Checks and embeds one item without writing it: what a stream needs to refuse items one by one.
    /// The result is an item whose source is a vector ([`Source::Embedded`] where it was embedded), with the payload it will have.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error>;
    /// Removes points by id; those that are not there are listed.
    ///
    /// # Errors
    /// `NotFound` for the collection.
    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error>;
    /// Removes the points that match when their turn to be written comes: all of them in one transaction, or none.
    ///
    /// # Errors
    /// `InvalidInput` for a filter that is wrong or that matches more points than one transaction takes. Without
    /// `allow_unknown_fields` also for one that matches points and names a field that no point has: a misspelt field under
    /// `not` matches every point.
    fn delete_matching(
        &self,
        name: &CollectionName,
        filter: &Filter,
        allow_unknown_fields: bool,
    ) -> Result<Deleted, Error>;
    /// The named points, in that order; none for an id that is not there.
    ///
    /// # Errors
    /// `NotFound` for the collection.
    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error>;
    /// Points in the order of their ids, after `after`; with a filter, those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a limit out of range or a wrong filter.
    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error>;
    /// Live points; with a filter, those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a wrong filter.
    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error>;
    /// The nearest points to each query. All queries are checked before one runs.
    ///
    /// # Errors
    /// `InvalidInput` naming the query and the limit.
    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error>;
    /// Why a point is, or is not, among the hits of a query. A point that is not there is a reason, not an error.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error>;
    /// Writes a snapshot of this moment; writes go on meanwhile. Engines that keep none have no place for them.
    ///
    /// # Errors
    /// `NotFound` for the collection; `Conflict` when there is no place for snapshots or the embedder is not loaded;
    /// `Corrupt` for a damaged segment; `Unavailable` when the store does not answer or `observe` says false.
    fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (name, observe);
        Err(Error::NoDepot)
    }
    /// All snapshots, the oldest first.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    fn snapshots(&self) -> Result<Vec<snapshot::Listed>, Error> {
        Err(Error::NoDepot)
    }
    /// What the manifest of a snapshot says.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Conflict`, `Unavailable`.
    fn snapshot(&self, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
        let _ = snapshot;
        Err(Error::NoDepot)
    }
    /// Reads every byte of a snapshot and compares its checksums.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (snapshot, observe);
        Err(Error::NoDepot)
    }
    /// Makes the collection `target` from a snapshot: a new one, or with `replace` in place of one that is there. It is
    /// seen once it is whole and checked; after an error everything is as before.
    ///
    /// # Errors
    /// `AlreadyExists` without `replace`; as [`verify_snapshot`](Self::verify_snapshot); `Conflict` when the embedder is
    /// neither loaded nor in the snapshot; `Exhausted` when there is no room.
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
    /// Tells a layout of a collection, part by part as it improves: the one that is kept, with what was written since, or a new
    /// one. Engines that draw no maps keep none.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit; `Abandoned` when `tell` says false.
    fn project(&self, name: &CollectionName, params: &MapParams, tell: Tell<'_>) -> Result<(), Error> {
        let _ = (params, tell);
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Where queries lie on the layout that is kept, `dimensions` numbers each: among the places of their nearest points.
    ///
    /// # Errors
    /// As [`search`](Self::search); `Conflict` while no layout is kept.
    fn place(&self, name: &CollectionName, choice: MapChoice, queries: &[Query]) -> Result<Vec<f32>, Error> {
        let _ = (choice, queries);
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Tells which points are written from now on.
    ///
    /// # Errors
    /// `NotFound`.
    fn watch(&self, name: &CollectionName) -> Result<Feed, Error> {
        Err(Error::NoMap { collection: name.to_string() })
    }
    /// Points by id, with their places on the layout that is kept and the values of some fields of their payloads.
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
    /// The fields of a filter that no point has: misspelt ones, as a rule. A field is left out where the engine cannot tell.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error>;
    /// Measures recall on sampled points; when it has drifted from what was measured of the graphs, they are measured
    /// anew behind this call.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit.
    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error>;
}
