//! Keyword queries, and queries that fuse the hits of several others.

use super::limits::{self, MAX_K};
use super::{Accuracy, Error, Filter, Path, Query};
use std::sync::Arc;

/// Maximum queries of a fusion.
pub const MAX_FUSED: usize = 16;
/// Maximum levels of fusions.
pub const MAX_FUSION_DEPTH: usize = 3;
/// Maximum queries of a fusion and those inside it, together.
pub const MAX_FUSED_IN_ALL: usize = 64;
/// Maximum distinct terms of a keyword query.
pub const MAX_KEYWORDS: usize = 1_024;
/// Maximum length of the text of a keyword query, bytes.
pub const MAX_KEYWORDS_BYTES: usize = 1 << 20;
/// Maximum filters of the fused queries of one call, together.
pub const MAX_FUSED_FILTERS: usize = 64;
/// Candidates that a fused query contributes, unless it has a limit: at least this number.
pub const MIN_CANDIDATES: u32 = 100;
/// Constant of reciprocal rank fusion, unless the request sets another.
pub const RRF_K: f32 = 60.0;
/// Weight of the keywords in a hybrid query, unless the request sets another.
pub const KEYWORD_WEIGHT: f32 = 0.8;

/// Which terms of a keyword query a point must contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeywordOperator {
    /// At least one.
    #[default]
    Any,
    /// All.
    All,
}

/// Words to find in a text field. Hits are ranked by BM25; their distance is the negated score.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keywords {
    /// The words. The analyzer of the field turns them into terms; a term counts as often as it occurs.
    pub text: String,
    /// Name of the text field; empty if the collection has one only.
    pub field: String,
    /// Which terms a point must contain.
    pub operator: KeywordOperator,
}

impl Keywords {
    /// Any of these words, in the only text field of the collection.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), field: String::new(), operator: KeywordOperator::Any }
    }

    /// Sets the text field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Sets which terms a point must contain.
    pub const fn operator(mut self, operator: KeywordOperator) -> Self {
        self.operator = operator;
        self
    }

    fn validate(&self, field: &str) -> Result<(), Error> {
        match self.text.len() {
            0 => Err(Error::invalid(format!("{field}.text"), "is empty")),
            1..=MAX_KEYWORDS_BYTES => Ok(()),
            bytes => {
                let what = format!("must be 1 to {MAX_KEYWORDS_BYTES} bytes, got {bytes}");
                Err(Error::invalid(format!("{field}.text"), what))
            }
        }
    }
}

/// How fused scores are computed from the ranks or scores of each query.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FusionMethod {
    /// Reciprocal rank fusion: the sum of weight / (k + rank), with ranks from 1 (Cormack, Clarke and Büttcher,
    /// "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods", 2009).
    ReciprocalRank {
        /// The constant, above 0; usually 60.
        k: f32,
    },
    /// The weighted mean of scores scaled to 0..1 between the lowest and the highest candidate of each query. A point
    /// that is no candidate of a query has 0 there.
    MinMax,
    /// The weighted mean of scores scaled to 0..1 between three standard deviations below and above the mean of the
    /// candidates of each query (distribution-based score fusion). A point that is no candidate of a query has 0 there.
    Distribution,
    /// The weighted mean of scores scaled to 0..1 between the lowest possible score and the highest candidate of each
    /// query (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023, section 4). Each
    /// point that is a candidate of any query has its true score in all of them.
    Convex,
}

impl Default for FusionMethod {
    fn default() -> Self {
        Self::ReciprocalRank { k: RRF_K }
    }
}

/// A query whose hits are fused with those of others.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SubQuery {
    /// The query.
    pub query: Query,
    /// Its weight, 0 to 1,000,000.
    pub weight: f32,
    /// Number of its hits that are fused, at most 10,000; 0 for the larger of 100 and twice the k of the request.
    pub limit: u32,
    /// Condition on payloads, in addition to that of the request.
    pub filter: Option<Arc<Filter>>,
    /// Accuracy of the search; none for that of the request. An exact request is exact everywhere.
    pub accuracy: Option<Accuracy>,
    /// Minimum score of a hit of this query.
    pub score_threshold: Option<f32>,
}

impl SubQuery {
    /// A query with weight 1.
    pub const fn new(query: Query) -> Self {
        Self { query, weight: 1.0, limit: 0, filter: None, accuracy: None, score_threshold: None }
    }

    /// Sets the weight.
    pub const fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the number of hits that are fused.
    pub const fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Sets a condition on payloads.
    pub fn filter(mut self, filter: impl Into<Arc<Filter>>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Sets the accuracy of the search.
    pub const fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = Some(accuracy);
        self
    }

    /// Sets the minimum score of a hit.
    pub const fn score_threshold(mut self, score: f32) -> Self {
        self.score_threshold = Some(score);
        self
    }
}

/// Queries whose hits are fused. Hits are ranked by the fused score; their distance is the negated score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fusion {
    /// The queries, 1 to 16. They may be fusions themselves, three levels in all.
    pub queries: Vec<SubQuery>,
    /// How scores are fused.
    pub method: FusionMethod,
}

impl Fusion {
    /// Reciprocal rank fusion of these queries.
    pub fn new(queries: impl Into<Vec<SubQuery>>) -> Self {
        Self { queries: queries.into(), method: FusionMethod::default() }
    }

    /// Sets how scores are fused.
    pub const fn method(mut self, method: FusionMethod) -> Self {
        self.method = method;
        self
    }

    fn validate(&self, field: &str, depth: usize) -> Result<(), Error> {
        if depth == MAX_FUSION_DEPTH {
            return Err(Error::invalid(field, format!("fusions are nested more than {MAX_FUSION_DEPTH} levels deep")));
        }
        if !(1..=MAX_FUSED).contains(&self.queries.len()) {
            let what = format!("must have 1 to {MAX_FUSED} queries, got {}", self.queries.len());
            return Err(Error::invalid(format!("{field}.queries"), what));
        }
        if let FusionMethod::ReciprocalRank { k } = self.method
            && !(k > 0.0 && k.is_finite())
        {
            return Err(Error::invalid(format!("{field}.rrf.k"), format!("must be above 0, got {k}")));
        }
        for (index, part) in self.queries.iter().enumerate() {
            let root = format!("{field}.queries[{index}]");
            let invalid = |name: &str, what: String| Err(Error::invalid(format!("{root}.{name}"), what));
            if !(0.0..=1e6).contains(&part.weight) {
                return invalid("weight", format!("must be 0 to 1000000, got {}", part.weight));
            }
            if part.limit > MAX_K {
                return invalid("limit", format!("must be at most {MAX_K}, got {}", part.limit));
            }
            if part.score_threshold.is_some_and(f32::is_nan) {
                return invalid("score_threshold", "is NaN".into());
            }
            part.filter.as_ref().map_or(Ok(()), |filter| filter.check(&format!("{root}.filter")))?;
            validate_at(&format!("{root}.query"), &part.query, depth + 1)?;
        }
        Ok(())
    }
}

/// A text to find by its meaning and by its words: the convex combination of a search for its vector and a keyword
/// query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hybrid {
    /// The text.
    pub text: String,
    /// Name of the text field; empty if the collection has one only.
    pub field: String,
    /// Weight of the keywords, 0 to 1; the vector has the rest. None for the default.
    pub keyword_weight: Option<f32>,
}

impl Hybrid {
    /// A text, with default weights, in the only text field of the collection.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), field: String::new(), keyword_weight: None }
    }

    /// Sets the text field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// Sets the weight of the keywords.
    pub const fn keyword_weight(mut self, weight: f32) -> Self {
        self.keyword_weight = Some(weight);
        self
    }

    /// Returns the fusion that the query stands for.
    pub fn fusion(&self) -> Fusion {
        let keywords = self.keyword_weight.unwrap_or(KEYWORD_WEIGHT);
        Fusion::new([
            SubQuery::new(Query::Text(self.text.clone())).weight(1.0 - keywords),
            SubQuery::new(Query::Keywords(Keywords::new(self.text.clone()).field(self.field.clone()))).weight(keywords),
        ])
        .method(FusionMethod::Convex)
    }

    fn validate(&self, field: &str) -> Result<(), Error> {
        match self.keyword_weight {
            Some(weight) if !(0.0..=1.0).contains(&weight) => {
                Err(Error::invalid(format!("{field}.keyword_weight"), format!("must be 0 to 1, got {weight}")))
            }
            _ => Keywords::new(self.text.as_str()).validate(field),
        }
    }
}

/// Checks a query, without the collection.
pub(crate) fn validate(field: &str, query: &Query) -> Result<(), Error> {
    validate_at(field, query, 0)?;
    match fused(query) {
        0..=MAX_FUSED_IN_ALL => Ok(()),
        queries => {
            let what = format!("has {queries} queries on all levels, at most {MAX_FUSED_IN_ALL}");
            Err(Error::invalid(format!("{field}.fusion"), what))
        }
    }
}

/// Returns the number of queries inside a query.
fn fused(query: &Query) -> usize {
    match query {
        Query::Fusion(fusion) => fusion.queries.iter().map(|part| 1 + fused(&part.query)).sum(),
        Query::Hybrid(_) => 2,
        _ => 0,
    }
}

/// Checks a query; `depth` is the number of fusions around it.
fn validate_at(field: &str, query: &Query, depth: usize) -> Result<(), Error> {
    match query {
        Query::Arithmetic { plus, minus } => limits::arithmetic(field, plus.len() + minus.len()),
        Query::Recommend(recommend) => recommend.validate(&format!("{field}.recommend")),
        Query::Keywords(keywords) => keywords.validate(&format!("{field}.keywords")),
        Query::Hybrid(hybrid) => hybrid.validate(&format!("{field}.hybrid")),
        Query::Fusion(fusion) => fusion.validate(&format!("{field}.fusion"), depth),
        Query::Vector(_) | Query::Text(_) | Query::Image(_) | Query::Id(_) | Query::Field(_) => Ok(()),
    }
}

/// What one query of a fusion contributed to an answer, in the order of the queries; queries of nested fusions follow
/// their fusion.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartStats {
    /// Position in the fusion, such as `queries[1]`.
    pub query: String,
    /// Number of candidates.
    pub candidates: u32,
    /// Search path.
    pub path: Path,
    /// Size of the candidate list of graph searches; 0 if there were none.
    pub ef_used: u32,
    /// Expected recall of the candidates; none if a graph was used that is not calibrated yet.
    pub expected_recall: Option<f32>,
}

/// Rank and score of an explained point in one query of a fusion, or in the only query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartExplanation {
    /// Position in the fusion, such as `queries[1]`; empty for the only query.
    pub query: String,
    /// Rank among the candidates of the query, from 1; none if the point is not one of them.
    pub rank: Option<u32>,
    /// Number of candidates.
    pub candidates: u32,
    /// Score of the point; none if the query cannot score it.
    pub score: Option<f32>,
    /// Contribution to the fused score.
    pub contribution: Option<f32>,
    /// Terms of a keyword query.
    pub terms: Vec<TermExplanation>,
}

/// What a term of a keyword query contributed to the score of a point.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TermExplanation {
    /// The term, as the analyzer returns it.
    pub term: String,
    /// Number of live points with the term.
    pub points: u64,
    /// Occurrences in the point.
    pub frequency: u32,
    /// Limit of the contribution: boost times inverse document frequency times (k1 + 1).
    pub weight: f32,
    /// Contribution to the score.
    pub contribution: f32,
}
