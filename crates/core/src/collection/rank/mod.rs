//! What is done with the candidates of a query before they become hits; queries by examples.
//!
//! ```text
//! candidates ──► rerank ──► formula ──► threshold ──► diversity ──► groups, offset
//! ```
//!
//! A ranked query is a query like others: it returns the best candidates after these stages, as many as requested.
//!
//! | file | contents |
//! | --- | --- |
//! | `recommend.rs` | queries by examples |
//! | `rerank.rs` | order by the exact score of another query |
//! | `formula.rs` | scores from formulas |
//! | `diversity.rs` | maximal marginal relevance |
//! | `explain.rs` | explanation of ranked queries |

mod diversity;
mod explain;
mod formula;
#[cfg(test)]
mod formula_tests;
mod recommend;
mod rerank;
#[cfg(test)]
mod tests;

pub(crate) use recommend::BestScore;

use super::resolve::{ResolvedCall, ResolvedQuery};
use super::search::{Candidate, Scope};
use super::state::Collection;
use super::view::View;
use crate::api::{Error, Formula, SearchParams, SearchStats};
use crate::types::PointId;
use std::collections::HashSet;
use std::sync::Arc;

/// A query whose candidates are ranked again.
pub(crate) struct RankedQuery {
    pub(crate) query: ResolvedQuery,
    pub(crate) stages: Arc<Stages>,
}

/// How candidates are ranked. The numbers are those of candidates.
pub(crate) struct Stages {
    pub(crate) rerank: Option<(ResolvedQuery, usize)>,
    pub(crate) formula: Option<(Arc<Formula>, usize)>,
    /// Weight of the diversity.
    pub(crate) diversity: Option<(f32, usize)>,
}

impl RankedQuery {
    /// Returns the query whose scores the candidates have, before a formula.
    pub(super) fn scored_query(&self) -> &ResolvedQuery {
        self.stages.rerank.as_ref().map_or(&self.query, |(query, _)| query)
    }
}

impl Stages {
    /// Returns the number of candidates to search for, for `k` hits.
    pub(crate) fn candidates(&self, k: usize) -> usize {
        let rerank = self.rerank.as_ref().map(|(_, candidates)| *candidates);
        let diversity = self.diversity.map(|(_, candidates)| candidates);
        let formula = self.formula.as_ref().map(|(_, candidates)| *candidates);
        rerank.or(formula).or(diversity).unwrap_or(k).max(k)
    }

    /// Whether scores are not those of the query.
    fn changes_scores(&self) -> bool {
        self.rerank.is_some() || self.formula.is_some()
    }
}

impl Collection {
    /// Adds the stages of the parameters to the queries of a call.
    pub(super) fn with_stages(
        &self,
        view: &View,
        call: ResolvedCall,
        params: &SearchParams,
    ) -> Result<ResolvedCall, Error> {
        if params.rerank.is_none() && params.formula.is_none() && params.diversity.is_none() {
            return Ok(call);
        }
        if params.diversity.is_some() {
            self.ensure_vectors("params.diversity")?;
        }
        let rerank = params.rerank.as_ref().map(|rerank| -> Result<_, Error> {
            let resolved = self.resolve(view, std::slice::from_ref(&rerank.query), None);
            let query = resolved.map_err(of_rerank)?.queries.pop();
            let query = query.ok_or_else(|| Error::invalid("params.rerank.query", "is missing"))?;
            Ok((query, params.ranked(rerank.candidates)))
        });
        let stages = Arc::new(Stages {
            rerank: rerank.transpose()?,
            formula: params.formula.as_ref().map(|formula| (formula.clone(), params.ranked(formula.candidates))),
            diversity: params.diversity.map(|given| (given.weight, params.ranked(given.candidates))),
        });
        let ranked = |query| ResolvedQuery::Ranked(Box::new(RankedQuery { query, stages: stages.clone() }));
        Ok(ResolvedCall { queries: call.queries.into_iter().map(ranked).collect(), ..call })
    }

    /// Returns the score for a distance of a ranked candidate.
    pub(super) fn ranked_score(&self, ranked: &RankedQuery, distance: f32) -> f32 {
        if ranked.stages.formula.is_some() {
            return -distance;
        }
        self.score(ranked.scored_query(), distance)
    }

    /// Returns the best candidates after all stages.
    pub(super) fn ranked_candidates<'v>(
        &self,
        view: &'v View,
        ranked: &RankedQuery,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let stages = &*ranked.stages;
        let mut candidates = self.candidates_to_rank(view, ranked, scope, stats)?;
        if let Some((query, _)) = &stages.rerank {
            self.rerank(view, query, &mut candidates)?;
            stats.distances_computed += if query.is_vector() { candidates.len() as u64 } else { 0 };
        }
        if let Some((formula, count)) = &stages.formula {
            candidates.truncate((*count).max(scope.k));
            let score = |distance| self.score(ranked.scored_query(), distance);
            self.rank_by_formula(&formula.expression, &mut candidates, &score)?;
        }
        candidates.retain(|candidate| {
            scope.score_threshold.is_none_or(|min| self.ranked_score(ranked, candidate.distance) >= min)
        });
        if let Some((weight, count)) = stages.diversity {
            candidates.truncate(count.max(scope.k));
            candidates = self.diverse(ranked, candidates, scope.k, weight, stats)?;
        }
        candidates.truncate(scope.k);
        Ok(candidates)
    }

    /// Returns the candidates of the query, before the stages.
    fn candidates_to_rank<'v>(
        &self,
        view: &'v View,
        ranked: &RankedQuery,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let mut excluded: HashSet<&PointId> = HashSet::new();
        if let Some((query, _)) = &ranked.stages.rerank {
            query.for_each_excluded(&mut |id| _ = excluded.insert(id));
        }
        let k = ranked.stages.candidates(scope.k);
        let score_threshold = scope.score_threshold.filter(|_| !ranked.stages.changes_scores());
        let wider = Scope { k: k + excluded.len(), score_threshold, ..scope };
        let mut candidates = self.candidates(view, &ranked.query, wider, stats)?;
        candidates.retain(|candidate| !excluded.contains(&candidate.id));
        candidates.truncate(k);
        Ok(candidates)
    }
}

/// Names the field of the parameters in an error of the query to order by.
fn of_rerank(error: Error) -> Error {
    let name = |field: String| format!("params.rerank.{field}");
    match error {
        Error::Invalid { field, why } => Error::Invalid { field: name(field), why },
        Error::Embed { field, source } => Error::Embed { field: name(field), source },
        other => other,
    }
}
