//! Maximal marginal relevance (Carbonell and Goldstein 1998): hits that are relevant and differ from each other.
//!
//! The vectors stay where they are: each selection compares one of them with the remaining candidates.

use super::RankedQuery;
use crate::api::{Error, Fields, SearchStats};
use crate::collection::resolve::ResolvedQuery;
use crate::collection::search::Candidate;
use crate::collection::state::Collection;
use crate::math;
use crate::types::Metric;

/// How similarities and relevances are scaled.
struct Scale {
    metric: Metric,
    /// Largest norm of a candidate, for dot products; the farthest distance, for L2.
    reach: f64,
}

impl Scale {
    /// Returns the similarity of two candidates, at most 1.
    fn similarity(&self, distance: f32) -> f64 {
        let distance = f64::from(distance);
        match self.metric {
            Metric::Cosine => 1.0 - distance,
            Metric::Dot => -ratio(distance, self.reach * self.reach),
            Metric::L2 => 1.0 - ratio(distance, 2.0 * self.reach),
        }
    }

    /// Returns the similarity of a candidate and a query vector with this norm.
    fn relevance(&self, distance: f32, norm: f64) -> f64 {
        match self.metric {
            Metric::Dot => -ratio(f64::from(distance), self.reach * norm),
            Metric::Cosine | Metric::L2 => self.similarity(distance),
        }
    }
}

/// Returns a quotient; 0 for a divisor of 0.
fn ratio(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}

impl Collection {
    /// Selects `k` of the candidates, which are sorted, in the order of their selection.
    pub(super) fn diverse<'v>(
        &self,
        ranked: &RankedQuery,
        mut left: Vec<Candidate<'v>>,
        k: usize,
        weight: f32,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let Some(best) = left.first() else { return Ok(left) };
        let vector = match ranked.scored_query() {
            ResolvedQuery::Vector(query) if ranked.stages.formula.is_none() => Some(query.vector.as_slice()),
            _ => None,
        };
        let reach = match (self.metric, vector) {
            (Metric::Cosine, _) => 1.0,
            (Metric::Dot, _) => left.iter().try_fold(0.0_f64, |norm, candidate| {
                Ok::<_, Error>(norm.max(f64::from(math::norm(&self.vector_of(candidate)?))))
            })?,
            (Metric::L2, Some(_)) => left.iter().map(|one| f64::from(one.distance)).fold(0.0, f64::max),
            (Metric::L2, None) => {
                let vector = self.vector_of(best)?;
                let distances = if vector.is_empty() { Vec::new() } else { self.distances_from(&vector, &left)? };
                distances.into_iter().flatten().map(f64::from).fold(0.0, f64::max)
            }
        };
        let scale = Scale { metric: self.metric, reach };
        let norm = vector.map(|vector| f64::from(math::norm(vector)));
        let scores: Vec<f64> = left.iter().map(|one| f64::from(self.ranked_score(ranked, one.distance))).collect();
        let (high, low) = (scores.first().copied().unwrap_or(0.0), scores.last().copied().unwrap_or(0.0));
        let mut relevances: Vec<f64> = match norm {
            Some(norm) => left.iter().map(|one| scale.relevance(one.distance, norm)).collect(),
            None if high > low => scores.iter().map(|score| (score - low) / (high - low)).collect(),
            None => vec![1.0; scores.len()],
        };
        let weight = f64::from(weight);
        let mut similarities = vec![0.0_f64; left.len()];
        let mut selected: Vec<Candidate<'v>> = Vec::with_capacity(k.min(left.len()));
        while selected.len() < k && !left.is_empty() {
            let value = |at: usize| (1.0 - weight) * relevances[at] - weight * similarities[at];
            // The first of equal ones, which is the nearest.
            let at = (1..left.len()).fold(0, |best, at| if value(at) > value(best) { at } else { best });
            let next = left.remove(at);
            relevances.remove(at);
            similarities.remove(at);
            if selected.len() + 1 < k && weight > 0.0 {
                let vector = self.vector_of(&next)?;
                let distances = match vector.is_empty() {
                    true => vec![None; left.len()],
                    false => self.distances_from(&vector, &left)?,
                };
                stats.distances_computed += distances.len() as u64;
                for (known, distance) in similarities.iter_mut().zip(distances) {
                    // A candidate without a vector is like no other.
                    let similarity = distance.map_or(0.0, |distance| scale.similarity(distance));
                    *known = if selected.is_empty() { similarity } else { known.max(similarity) };
                }
            }
            selected.push(next);
        }
        Ok(selected)
    }

    fn vector_of(&self, candidate: &Candidate<'_>) -> Result<Vec<f32>, Error> {
        let point = self.point_of(candidate, Fields { payload: false, vector: true })?;
        Ok(point.vector.unwrap_or_default())
    }
}
