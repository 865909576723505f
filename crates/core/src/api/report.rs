//! Reports: file checks, recall measurements, explanations.

use super::{Accuracy, PartExplanation};
use crate::types::PointId;
use std::time::Duration;

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
    /// Path of the file, relative to the data directory.
    pub file: String,
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

/// Parameters of a recall measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
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

impl Default for RecallParams {
    fn default() -> Self {
        Self { samples: 200, k: 10, accuracy: Accuracy::Default, seed: 0 }
    }
}

impl RecallParams {
    /// Sets the number of points to sample.
    pub const fn samples(mut self, samples: u32) -> Self {
        self.samples = samples;
        self
    }

    /// Sets the number of neighbours per sampled point.
    pub const fn k(mut self, k: u32) -> Self {
        self.k = k;
        self
    }

    /// Sets the accuracy of the searches.
    pub const fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }

    /// Sets the seed of the sample.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
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
    /// Results per sealed segment.
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

/// Reason why a point is, or is not, among the hits.
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
    /// It is one of the `k` nearest, but the graph search missed it, or the approximate search of a sparse field.
    MissedByGraph,
    /// Its payload does not match the filter.
    Filtered,
    /// It contains no term of the query, or not all of them if all are required.
    NoTerms,
    /// It has no vector in the field of the query.
    NoVector,
}

/// Location of a live point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointLocation {
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

/// Result of `Reads::explain`. Fields that do not apply to the reason are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Reason why the point is, or is not, a hit.
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
    pub residence: Option<PointLocation>,
    /// Size of the candidate list in its segment; 0 if that was scanned.
    pub ef_used: u32,
    /// If the graph search missed the point: the smallest `ef` that finds it; none if only a scan does.
    pub ef_needed: Option<u32>,
    /// Points that the graph search of its segment expanded, in order, at most the last 64; none if the segment was
    /// scanned.
    pub walked: Vec<PointId>,
    /// Rank and score in each query of a fusion, the terms of a keyword query, the score for each example of a
    /// recommendation by the best score, or the rank and score among the candidates that are ranked again; empty for a
    /// query of a vector.
    pub parts: Vec<PartExplanation>,
    /// Value of the formula for the point, candidate or not.
    pub formula: Option<f32>,
}
