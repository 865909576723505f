//! Types of map requests and results, with their limits.

use crate::api::{Error, check_path};
use crate::layout::Method;
use crate::types::PointId;
use std::time::Duration;

/// Maximum points of a layout.
pub const MAX_LAYOUT_POINTS: u32 = 200_000;
/// Default limit of the points of a layout.
pub const DEFAULT_LAYOUT_POINTS: u32 = 100_000;
/// Maximum payload fields per point.
pub const MAX_MAP_FIELDS: usize = 8;
/// Length at which returned texts are truncated, in bytes.
pub const MAX_LAYOUT_TEXT: usize = 256;

/// The kind of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutKey {
    /// Dimensions: 2 or 3.
    pub dimensions: u32,
    /// Method. None: for a new layout, t-SNE in 2 dimensions and UMAP in 3, after PCA; for a cached one, the most
    /// recently used.
    pub method: Option<Method>,
}

/// Parameters of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutParams {
    /// The kind.
    pub choice: LayoutKey,
    /// Paths of the payload values to return.
    pub fields: Vec<String>,
    /// Maximum number of points.
    pub limit: u32,
    /// Whether to ignore the cache.
    pub fresh: bool,
    /// Seed of the sample and of the method.
    pub seed: u64,
}

impl Default for LayoutParams {
    fn default() -> Self {
        Self::new(2)
    }
}

impl LayoutParams {
    /// A layout in 2 or 3 dimensions.
    pub const fn new(dimensions: u32) -> Self {
        let choice = LayoutKey { dimensions, method: None };
        Self { choice, fields: Vec::new(), limit: DEFAULT_LAYOUT_POINTS, fresh: false, seed: 0 }
    }

    /// Sets the kind of the layout.
    pub const fn choice(mut self, choice: LayoutKey) -> Self {
        self.choice = choice;
        self
    }

    /// Sets the paths of the payload values to return.
    pub fn fields(mut self, fields: Vec<String>) -> Self {
        self.fields = fields;
        self
    }

    /// Sets the maximum number of points.
    pub const fn limit(mut self, points: u32) -> Self {
        self.limit = points;
        self
    }

    /// Sets whether to ignore the cache.
    pub const fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Sets the seed of the sample and of the method.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// Returned payload values: for each field, one value per point. Objects, lists and missing values are null; texts are
/// truncated at [`MAX_LAYOUT_TEXT`].
pub type FieldValues = Vec<Vec<serde_json::Value>>;

/// A part of a streamed map.
#[derive(Clone, Debug, PartialEq)]
pub enum LayoutPart {
    /// The first part.
    Start {
        /// Points of the collection.
        total: u64,
        /// Points in the layout.
        points: u32,
        /// Sequence number up to which writes are included.
        sequence: u64,
    },
    /// A range of points, starting at `offset`.
    Points {
        /// Layout index of the first one.
        offset: u32,
        /// Ids of the points.
        ids: Vec<PointId>,
        /// Requested payload values.
        fields: FieldValues,
    },
    /// The coordinates of all points.
    Frame {
        /// 0 for PCA, then growing.
        round: u32,
        /// `dimensions` numbers per point.
        coordinates: Vec<f32>,
        /// Whether these coordinates are final, so that the frame must not be dropped.
        last: bool,
    },
    /// Progress of the computation.
    Progress(LayoutProgress),
    /// The last part.
    End(LayoutSummary),
}

/// Progress of a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayoutProgress {
    /// Current phase.
    pub phase: LayoutPhase,
    /// Share of this phase done, 0 to 1.
    pub done: f32,
    /// Estimated time to the end of all phases, if known.
    pub left: Option<Duration>,
}

/// A phase of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutPhase {
    /// Building missing graphs.
    Indexing,
    /// Searching the neighbours of each point.
    Neighbors,
    /// Optimizing the layout.
    Layout,
    /// Measuring the layout.
    Measuring,
    /// Waiting for another layout.
    Waiting,
}

/// Summary of a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayoutSummary {
    /// Method of the last frame.
    pub method: Method,
    /// Time of the computation.
    pub time: Duration,
    /// Mean share of each point's 10 true neighbours among its 10 nearest in the layout, as of its computation.
    pub neighbors_kept: Option<f32>,
    /// Whether it came from the cache.
    pub from_cache: bool,
}

/// Callback for the parts of a map. Returns false to cancel.
pub type ObserveLayout<'a> = &'a (dyn Fn(LayoutPart) -> bool + Sync);

/// Written points with their coordinates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocatedPoints {
    /// Points that exist.
    pub ids: Vec<PointId>,
    /// Requested payload values.
    pub fields: FieldValues,
    /// `dimensions` numbers each; empty while no layout is cached.
    pub coordinates: Vec<f32>,
    /// Points that do not exist.
    pub removed: Vec<PointId>,
}

impl LayoutKey {
    pub(crate) fn check(self) -> Result<(), Error> {
        if !(2..=3).contains(&self.dimensions) {
            return Err(Error::invalid("dimensions", format!("must be 2 or 3, got {}", self.dimensions)));
        }
        if self.dimensions == 3 && self.method == Some(Method::Tsne) {
            return Err(Error::invalid("method", "t-SNE supports 2 dimensions; use UMAP for 3"));
        }
        Ok(())
    }

    pub(crate) fn width(self) -> usize {
        self.dimensions as usize
    }
}

impl LayoutParams {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.choice.check()?;
        check_fields(&self.fields)?;
        if !(1..=MAX_LAYOUT_POINTS).contains(&self.limit) {
            let why = format!("must be 1 to {MAX_LAYOUT_POINTS}, got {}", self.limit);
            return Err(Error::invalid("limit", why));
        }
        Ok(())
    }
}

pub(crate) fn check_fields(fields: &[String]) -> Result<(), Error> {
    if fields.len() > MAX_MAP_FIELDS {
        let why = format!("must hold at most {MAX_MAP_FIELDS} paths, got {}", fields.len());
        return Err(Error::invalid("payload_fields", why));
    }
    for (index, field) in fields.iter().enumerate() {
        check_path(&format!("payload_fields[{index}]"), field)?;
    }
    Ok(())
}
