//! The types that most programs use: `use nearness_core::prelude::*`, or `nearness::prelude::*`.

pub use crate::api::{
    Accuracy, AliasAction, AnalyzedToken, AnalyzerConfig, Answer, Bounds, Clock, CollectionInfo, CollectionSpec,
    CollectionState, Decay, DecayShape, Deleted, Diversity, Error, ErrorKind, Explanation, Expression, Facet, Field,
    FieldQuery, FieldReport, FieldStats, FieldTarget, FieldVector, FieldVectors, Fields, Filter, Formula, Fusion,
    FusionMethod, GeoBox, GeoPoint, GeoPolygon, Hit, Hybrid, IndexSettings, Item, Job, KeywordOperator, Keywords,
    Language, OrderBy, OrderedPage, Page, Payload, Point, PointInput, Query, Range, Reason, RecallParams, RecallReport,
    Recommend, RecommendStrategy, RecommendTerm, Rerank, Scalar, SearchParams, Sources, SparseVector, SubQuery,
    TextField, TextMatch, TextMatchKind, Timestamp, Ttl, Upserted, ValueCount, VectorField, VectorKind, VectorSource,
};
pub use crate::collection::layout::{LayoutKey, LayoutParams, LayoutPart};
pub use crate::collection::{Blocks, BulkOutcome, OnConflict, Refused};
pub use crate::embed::{Embedder, Fingerprint, Input, Registry};
pub use crate::engine::{
    Admin, Database, Engine, Generations, Layouts, ModelHost, ModelInfo, OpenOptions, Reads, Snapshots, Trainer,
    Training, Writes,
};
pub use crate::snapshot::{SnapshotInfo, SnapshotName};
pub use crate::snapshot_store::SnapshotStore;
pub use crate::types::{CollectionName, Metric, PointId, Precision};
