//! The types that most programs use: `use nearness_core::prelude::*`, or `nearness::prelude::*`.

pub use crate::api::{
    Accuracy, Answer, CollectionInfo, CollectionSpec, CollectionState, Deleted, Error, ErrorKind, Explanation, Fields,
    Filter, Hit, IndexSettings, Item, Job, Page, Payload, Point, Query, Range, Reason, RecallParams, RecallReport,
    Scalar, SearchParams, Source, Sources, Space, Upserted,
};
pub use crate::collection::layout::{MapChoice, MapParams, MapPart};
pub use crate::collection::{Blocks, BulkOutcome, OnConflict, Refused};
pub use crate::embed::{Embedder, Fingerprint, Input, Registry};
pub use crate::engine::{
    Admin, Database, Engine, Generations, Layouts, Lesson, ModelInfo, OpenOptions, Reads, Snapshots, Training, Writes,
};
pub use crate::snapshot::{SnapshotInfo, SnapshotName};
pub use crate::snapshot_store::Depot;
pub use crate::types::{CollectionName, Metric, PointId, Precision};
