//! What is asked of a map and what is told of it, with the limits.

use crate::collection::Error;
use crate::collection::filter::check_path;
use crate::map::Method;
use crate::types::PointId;
use std::time::Duration;

/// Most points of a layout.
pub const MAX_MAP_POINTS: u32 = 200_000;
/// Points of a layout at most, where the request does not say.
pub const DEFAULT_MAP_POINTS: u32 = 100_000;
/// Most fields of the payload that come with the points.
pub const MAX_MAP_FIELDS: usize = 8;
/// Texts that come with the points are cut here, bytes.
pub const MAX_MAP_TEXT: usize = 256;

/// Which layout of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapChoice {
    /// 2 or 3.
    pub dimensions: u32,
    /// How it is made. None: when one is made, t-SNE in 2 dimensions and UMAP in 3, after PCA; of those that are kept, the last.
    pub method: Option<Method>,
}

/// How a layout is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapParams {
    /// Which.
    pub choice: MapChoice,
    /// Paths whose values come with the points.
    pub fields: Vec<String>,
    /// Points at most.
    pub limit: u32,
    /// Make it anew.
    pub fresh: bool,
    /// Of the sample and of the method.
    pub seed: u64,
}

/// The values of the payload that come with points: for each field, a value for each point. Objects, lists and what is missing
/// are null, texts are cut at [`MAX_MAP_TEXT`].
pub type FieldValues = Vec<Vec<serde_json::Value>>;

/// A part of a map, as it becomes known.
#[derive(Clone, Debug, PartialEq)]
pub enum MapPart {
    /// The first part.
    Start {
        /// Points of the collection.
        total: u64,
        /// Of them, in the layout.
        points: u32,
        /// Writes up to this one are seen.
        sequence: u64,
    },
    /// Some points, beginning with the one at `offset`.
    Points {
        /// Place of the first in the layout.
        offset: u32,
        /// Their ids.
        ids: Vec<PointId>,
        /// What was asked for of their payloads.
        fields: FieldValues,
    },
    /// The places of all points.
    Frame {
        /// 0 for PCA, then growing.
        round: u32,
        /// `dimensions` numbers a point.
        places: Vec<f32>,
        /// Whether this is how the layout stays, so that nobody may miss it.
        last: bool,
    },
    /// How far the work is.
    Progress(MapProgress),
    /// The last part.
    End(MapEnd),
}

/// How far a layout is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapProgress {
    /// What is being done.
    pub phase: MapPhase,
    /// Of it, 0 to 1.
    pub done: f32,
    /// To the end of all phases, as far as can be told.
    pub left: Option<Duration>,
}

/// A phase of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapPhase {
    /// A segment gets its graph first.
    Indexing,
    /// Each point is asked for its nearest ones.
    Neighbors,
    /// The layout improves.
    Layout,
    /// The layout is measured.
    Measuring,
    /// Another layout is being made.
    Waiting,
}

/// What became of a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapEnd {
    /// How the last frame was made.
    pub method: Method,
    /// How long that took.
    pub time: Duration,
    /// Share of each point's 10 true nearest points that are among its 10 nearest in the layout, when it was made.
    pub neighbors_kept: Option<f32>,
    /// Whether it had been made before.
    pub from_cache: bool,
}

/// Is given the parts of a map. Returning false ends the work.
pub type Tell<'a> = &'a (dyn Fn(MapPart) -> bool + Sync);

/// Points that were written, with their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    /// Those that are there.
    pub ids: Vec<PointId>,
    /// What was asked for of their payloads.
    pub fields: FieldValues,
    /// `dimensions` numbers each; empty while no layout is kept.
    pub places: Vec<f32>,
    /// Those that are not.
    pub gone: Vec<PointId>,
}

impl MapChoice {
    pub(super) fn check(self) -> Result<(), Error> {
        if !(2..=3).contains(&self.dimensions) {
            return Err(Error::invalid("dimensions", format!("must be 2 or 3, got {}", self.dimensions)));
        }
        if self.dimensions == 3 && self.method == Some(Method::Tsne) {
            return Err(Error::invalid("method", "t-SNE lays out 2 dimensions; take UMAP for 3"));
        }
        Ok(())
    }

    pub(super) fn width(self) -> usize {
        self.dimensions as usize
    }
}

impl MapParams {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.choice.check()?;
        check_fields(&self.fields)?;
        if !(1..=MAX_MAP_POINTS).contains(&self.limit) {
            let why = format!("must be 1 to {MAX_MAP_POINTS}, got {}", self.limit);
            return Err(Error::invalid("limit", why));
        }
        Ok(())
    }
}

pub(super) fn check_fields(fields: &[String]) -> Result<(), Error> {
    if fields.len() > MAX_MAP_FIELDS {
        let why = format!("must hold at most {MAX_MAP_FIELDS} paths, got {}", fields.len());
        return Err(Error::invalid("payload_fields", why));
    }
    for (place, field) in fields.iter().enumerate() {
        check_path(&format!("payload_fields[{place}]"), field)?;
    }
    Ok(())
}
