//! Queries, search parameters and answers.

use super::{
    Diversity, FieldQuery, Fields, Filter, Formula, Fusion, Hybrid, Keywords, PartStats, Point, Recommend, Rerank,
};
use crate::embed::Fingerprint;
use crate::types::PointId;
use std::sync::Arc;
use std::time::Duration;

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
    /// Examples to be similar to, or not. Points among them are excluded from the hits.
    Recommend(Recommend),
    /// Words to find in a text field.
    Keywords(Keywords),
    /// A text to find by its meaning and by its words.
    Hybrid(Hybrid),
    /// Queries whose hits are fused.
    Fusion(Box<Fusion>),
    /// A vector in a vector field.
    Field(FieldQuery),
}

/// Accuracy of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Accuracy {
    /// The collection's `ef_search`, or k if that is larger.
    #[default]
    Default,
    /// Size of the candidate list (`ef`); at least k.
    Ef(u32),
    /// Brute force: compare with every point.
    Exact,
    /// Mean recall to reach, 0.5 to 1; each segment's `ef` comes from the calibration of its graph.
    TargetRecall(f32),
}

/// Parameters of a search.
///
/// ```
/// use nearness_core::prelude::*;
///
/// let params = SearchParams::new(10).filter(Filter::equals("kind", "fruit")).target_recall(0.95);
/// assert_eq!((params.k, params.accuracy), (10, Accuracy::TargetRecall(0.95)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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
    /// Number of hits per group, 1 to 100, the nearest of each; 0 for 1. `k` is then the number of groups, and `k` times
    /// this number is at most 10,000.
    pub group_size: u32,
    /// Another query, by whose exact score the candidates are ordered.
    pub rerank: Option<Arc<Rerank>>,
    /// Formula for the scores of the candidates.
    pub formula: Option<Arc<Formula>>,
    /// Selection of varied hits among the candidates.
    pub diversity: Option<Diversity>,
    /// Return partial results from the intact segments of a damaged collection, instead of an error.
    pub allow_partial: bool,
    /// Number of hits to skip, less than [`max_hits`](Self::max_hits): the [`next_offset`](Answer::next_offset) of an answer that ended early.
    pub offset: u32,
}

impl Default for SearchParams {
    fn default() -> Self {
        Self::new(10)
    }
}

impl SearchParams {
    /// The `k` nearest points with default accuracy, without payloads and vectors.
    pub const fn new(k: u32) -> Self {
        Self {
            k,
            accuracy: Accuracy::Default,
            score_threshold: None,
            fields: Fields { payload: false, vector: false },
            filter: None,
            group_by: None,
            group_size: 0,
            rerank: None,
            formula: None,
            diversity: None,
            allow_partial: false,
            offset: 0,
        }
    }

    /// Sets the accuracy.
    pub const fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }

    /// Sets the mean recall to reach, 0.5 to 1: the share of the true nearest points among the hits. Each segment is
    /// searched with the `ef` from its calibration; a search of a sparse field leaves out as much as that allows. [`SearchStats::expected_recall`] is the recall to expect of an
    /// answer.
    ///
    /// ```
    /// use nearness_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let database = Database::open(folder.path())?;
    /// # let name = CollectionName::new("c")?;
    /// # database.create_collection(&CollectionSpec::vectors(name.clone(), 2))?;
    /// # database.upsert(&name, vec![Item::vector(PointId::new("a")?, [1.0, 0.0])])?;
    /// let params = SearchParams::new(10).target_recall(0.99);
    /// let answer = database.search(&name, &[Query::Vector(vec![0.6, 0.8])], &params)?.remove(0);
    /// assert!(answer.stats.expected_recall >= Some(0.99));
    /// # Ok(())
    /// # }
    /// ```
    pub const fn target_recall(self, recall: f32) -> Self {
        self.accuracy(Accuracy::TargetRecall(recall))
    }

    /// Compares with every point.
    pub const fn exact(self) -> Self {
        self.accuracy(Accuracy::Exact)
    }

    /// Sets the minimum score of a hit.
    pub const fn score_threshold(mut self, score: f32) -> Self {
        self.score_threshold = Some(score);
        self
    }

    /// Sets the parts of each point to return.
    pub const fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }

    /// Returns only points that match.
    pub fn filter(mut self, filter: impl Into<Arc<Filter>>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Returns only the nearest of the points with the same value of this payload field.
    pub fn group_by(mut self, field: impl Into<String>) -> Self {
        self.group_by = Some(field.into());
        self
    }

    /// Sets the number of hits per group. They are returned in the order of the groups, whose order is that of their
    /// best hits, and by rank inside each group. A group has this number of hits whenever it has as many points that
    /// match; groups of a fusion have those of its candidates.
    pub const fn group_size(mut self, hits: u32) -> Self {
        self.group_size = hits;
        self
    }

    /// Orders the candidates by the exact score of another query, which becomes the score of the hits.
    pub fn rerank(mut self, rerank: impl Into<Arc<Rerank>>) -> Self {
        self.rerank = Some(rerank.into());
        self
    }

    /// Orders the candidates by the value of a formula, which becomes the score of the hits.
    pub fn formula(mut self, formula: impl Into<Arc<Formula>>) -> Self {
        self.formula = Some(formula.into());
        self
    }

    /// Selects varied hits among the candidates.
    pub const fn diversity(mut self, diversity: Diversity) -> Self {
        self.diversity = Some(diversity);
        self
    }

    /// Returns the maximum number of hits: `k`, or that of all groups.
    pub const fn max_hits(&self) -> u32 {
        self.k.saturating_mul(if self.group_size == 0 { 1 } else { self.group_size })
    }

    /// Sets whether the intact segments of a damaged collection return partial results.
    pub const fn allow_partial(mut self, allow: bool) -> Self {
        self.allow_partial = allow;
        self
    }

    /// Sets the number of hits to skip.
    pub const fn offset(mut self, offset: u32) -> Self {
        self.offset = offset;
        self
    }
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

/// Search path of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Every live point was compared, or the index of a sparse field was searched.
    Exact,
    /// All sealed segments were searched by graph.
    Graph,
    /// Some segments were searched by graph, some scanned.
    Mixed,
    /// Only the points that match the filter were compared, all of them, or the index of a sparse field was searched.
    FilterScan,
    /// Keywords were looked up in inverted indexes; the result is exact.
    Keywords,
    /// The hits of several queries were fused.
    Fusion,
}

/// Cost of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchStats {
    /// Search path.
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
    /// as 1. None if a graph was used that is not calibrated yet. For a fusion: the expected share of the candidates of
    /// an exact search among those that were fused.
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
    /// The queries of a fusion; empty for other queries.
    pub parts: Vec<PartStats>,
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Hits, nearest first.
    pub hits: Vec<Hit>,
    /// Cost of the answer.
    pub stats: SearchStats,
    /// Offset of the first hit that exceeds the [`Budget`](super::Budget) of the call; none if all hits fit.
    pub next_offset: Option<u32>,
}
