//! What is done with the candidates of a query before they are returned, and its limits.

use super::limits::MAX_K;
use super::{Error, Query, SearchParams, validate_query};

/// Maximum hits per group.
pub const MAX_GROUP_SIZE: u32 = 100;
/// Candidates that are ranked, unless the request sets a number: at least this number.
pub const MIN_RANKED: u32 = 100;
/// Candidates that are ranked, unless the request sets a number: this number per hit.
pub const RANKED_PER_HIT: u32 = 4;

/// Varied hits by maximal marginal relevance (Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for
/// Reordering Documents and Producing Summaries", 1998): the hits are selected one by one, each the candidate with the
/// largest (1 - `weight`) * relevance - `weight` * similarity, where the similarity is that to the most similar hit so
/// far. They are returned in this order, with their own scores.
///
/// The similarity of two points is that of their full vectors: the cosine; the dot product divided by the square of the
/// largest norm of a candidate; or 1 - distance / (2 * farthest), where `farthest` is the largest distance of a
/// candidate to the query (without one vector to compare with, to the best candidate). The relevance is the similarity
/// to the vector of the query (of dot products, divided by its norm and by the largest norm of a candidate). For other
/// scores (of keywords, fusions, formulas), it is the score scaled to 0..1 between the worst and the best candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Diversity {
    /// Weight of the diversity, 0 to 1: 1 - lambda in the paper. With 0, the hits are the nearest.
    pub weight: f32,
    /// Number of candidates to select from, k to 10,000; 0 for the larger of 100 and 4 * k.
    pub candidates: u32,
}

impl Diversity {
    /// Diversity of this weight, among the default number of candidates.
    pub const fn new(weight: f32) -> Self {
        Self { weight, candidates: 0 }
    }

    /// Sets the number of candidates to select from.
    pub const fn candidates(mut self, candidates: u32) -> Self {
        self.candidates = candidates;
        self
    }
}

/// Another query, by whose exact score the candidates of a search are ordered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rerank {
    /// The query: any but a hybrid query or a fusion. Points that it excludes from its hits are no hits.
    pub query: Query,
    /// Number of candidates to order, k to 10,000; 0 for the larger of 100 and 4 * k.
    pub candidates: u32,
}

impl Rerank {
    /// Orders the default number of candidates by this query.
    pub const fn new(query: Query) -> Self {
        Self { query, candidates: 0 }
    }

    /// Sets the number of candidates to order.
    pub const fn candidates(mut self, candidates: u32) -> Self {
        self.candidates = candidates;
        self
    }
}

impl SearchParams {
    /// Checks the parameters that apply to the candidates of a search, and their combination.
    pub(crate) fn check_ranking(&self) -> Result<(), Error> {
        let (k, size) = (self.k, self.group_size);
        if size > MAX_GROUP_SIZE {
            let why = format!("must be 1 to {MAX_GROUP_SIZE}, or 0 for 1; got {size}");
            return Err(Error::invalid("params.group_size", why));
        }
        if size > 0 && self.group_by.is_none() {
            return Err(Error::invalid("params.group_size", "is for params.group_by only: set it, or leave this out"));
        }
        let hits = self.max_hits();
        if hits > MAX_K {
            let why = format!("times params.k ({k}) is at most {MAX_K}, got {size}, which is {hits} hits");
            return Err(Error::invalid("params.group_size", why));
        }
        if self.offset >= hits {
            let of = if size > 1 { "params.k times params.group_size" } else { "params.k" };
            return Err(Error::invalid("offset", format!("must be less than {of} ({hits}), got {}", self.offset)));
        }
        if let Some(rerank) = &self.rerank {
            self.check_candidates("rerank", rerank.candidates)?;
            if matches!(rerank.query, Query::Hybrid(_) | Query::Fusion(_)) {
                let why = "is a hybrid query or a fusion, whose scores depend on other points; give another query";
                return Err(Error::invalid("params.rerank.query", why));
            }
            validate_query("params.rerank.query", &rerank.query)?;
        }
        if let Some(formula) = &self.formula {
            self.check_candidates("formula", formula.candidates)?;
            formula.check()?;
        }
        if let Some(Diversity { weight, candidates }) = self.diversity {
            if !(0.0..=1.0).contains(&weight) {
                return Err(Error::invalid("params.diversity.weight", format!("must be 0 to 1, got {weight}")));
            }
            self.check_candidates("diversity", candidates)?;
            if self.group_by.is_some() {
                let why = "cannot be combined with params.group_by: groups would undo the selection; leave out one";
                return Err(Error::invalid("params.diversity", why));
            }
        }
        Ok(())
    }

    fn check_candidates(&self, stage: &str, candidates: u32) -> Result<(), Error> {
        let hits = self.max_hits();
        if candidates != 0 && !(hits..=MAX_K).contains(&candidates) {
            let why = format!("must be the number of hits ({hits}) to {MAX_K}, or 0 for the default; got {candidates}");
            return Err(Error::invalid(format!("params.{stage}.candidates"), why));
        }
        Ok(())
    }

    /// Returns the number of candidates to rank, given the requested one.
    pub(crate) fn ranked(&self, candidates: u32) -> usize {
        let hits = self.max_hits();
        let default = hits.saturating_mul(RANKED_PER_HIT).clamp(MIN_RANKED, MAX_K);
        if candidates == 0 { default } else { candidates }.max(hits) as usize
    }
}
