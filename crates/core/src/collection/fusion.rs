//! Fused queries: each is searched for its candidates, whose ranks or scores become one score per point.

use super::keywords::KeywordSearch;
use super::resolve::{Resolved, ResolvedFusion, ResolvedPart, ResolvedQuery};
use super::search::{Candidate, Scope, SegmentRef, sort_nearest};
use super::state::Collection;
use super::view::View;
use crate::api::{Accuracy, Error, FusionMethod, MIN_CANDIDATES, PartStats, Path, SearchStats};
use crate::index::exact;
use crate::math;
use crate::segment::search_budget::SearchBudget;
use crate::types::{Metric, Ordinal, PointId};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The candidates of fused queries, with their ranks and scores in each.
pub(super) struct Fused<'v> {
    pub(super) candidates: Vec<Candidate<'v>>,
    /// Per query, per candidate.
    pub(super) parts: Vec<Vec<FusedPart>>,
}

/// A candidate in one of the fused queries.
#[derive(Clone, Copy, Default)]
pub(super) struct FusedPart {
    /// Rank, from 1; none if it is no candidate of this query.
    pub(super) rank: Option<u32>,
    pub(super) score: Option<f32>,
    /// Contribution to the fused score.
    pub(super) contribution: f32,
}

impl Fused<'_> {
    /// Returns the fused score of a candidate.
    pub(super) fn score(&self, candidate: usize) -> f32 {
        self.parts.iter().map(|part| part[candidate].contribution).sum()
    }
}

impl Collection {
    /// Returns the candidates with the highest fused scores.
    pub(super) fn fused_candidates<'v>(
        &self,
        view: &'v View,
        query: &ResolvedFusion,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let fused = self.fuse(view, query, scope, stats)?;
        let mut excluded = HashSet::new();
        query.parts.iter().for_each(|part| part.query.for_each_excluded(&mut |id| _ = excluded.insert(id.clone())));
        let scores: Vec<f32> = (0..fused.candidates.len()).map(|candidate| fused.score(candidate)).collect();
        let mut candidates: Vec<Candidate<'_>> = fused
            .candidates
            .into_iter()
            .zip(scores)
            .filter(|(candidate, score)| {
                !excluded.contains(&candidate.id) && scope.score_threshold.is_none_or(|min| *score >= min)
            })
            .map(|(candidate, score)| Candidate { distance: -score, ..candidate })
            .collect();
        sort_nearest(&mut candidates);
        candidates.truncate(scope.k);
        Ok(candidates)
    }

    /// Searches the queries, and computes the contributions of their candidates.
    pub(super) fn fuse<'v>(
        &self,
        view: &'v View,
        query: &ResolvedFusion,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Fused<'v>, Error> {
        let mut fused = Fused { candidates: Vec::new(), parts: Vec::new() };
        let mut known: HashMap<PointId, usize> = HashMap::new();
        let (mut expected, mut total) = (Some(0.0), 0);
        for part in &query.parts {
            let part_scope = part.scope(scope, self.settings.ef_search);
            let mut part_stats = SearchStats::empty();
            let candidates = self.candidates(view, &part.query, part_scope, &mut part_stats)?;
            let count = candidates.len() as u32;
            total += count;
            expected = expected
                .zip(part_stats.expected_recall)
                .map(|(sum, recall)| sum + f64::from(count) * f64::from(recall));
            let mut found = vec![FusedPart::default(); fused.candidates.len()];
            for (rank, candidate) in (1..).zip(candidates) {
                let score = Some(self.score(&part.query, candidate.distance));
                let entry = FusedPart { rank: Some(rank), score, contribution: 0.0 };
                match known.get(&candidate.id) {
                    Some(&at) => found[at] = entry,
                    None => {
                        known.insert(candidate.id.clone(), fused.candidates.len());
                        fused.candidates.push(candidate);
                        found.push(entry);
                    }
                }
            }
            fused.parts.push(found);
            stats.add_part(&part.name, count, part_stats);
        }
        stats.path = Path::Fusion;
        let recall = expected.map(|sum| if total == 0 { 1.0 } else { (sum / f64::from(total)) as f32 });
        stats.expected_recall = recall.filter(|_| view.damaged.is_empty());
        let count = fused.candidates.len();
        fused.parts.iter_mut().for_each(|part| part.resize(count, FusedPart::default()));
        if query.method == FusionMethod::Convex {
            for (part, found) in query.parts.iter().zip(&mut fused.parts) {
                let missing: Vec<usize> = (0..count).filter(|&at| found[at].rank.is_none()).collect();
                let candidates: Vec<Candidate<'_>> = missing.iter().map(|&at| fused.candidates[at].clone()).collect();
                let scores = self.scores(view, part, scope, &candidates)?;
                missing.into_iter().zip(scores).for_each(|(at, score)| found[at].score = score);
            }
        }
        let weights: f32 = query.parts.iter().map(|part| part.weight).sum();
        for (part, found) in query.parts.iter().zip(&mut fused.parts) {
            contributions(query.method, part.weight, weights, self.lowest_score(&part.query), found);
        }
        Ok(fused)
    }

    /// Returns the lowest possible score of a query; none if it has no limit.
    fn lowest_score(&self, query: &ResolvedQuery) -> Option<f32> {
        match query {
            ResolvedQuery::Vector(_) => (self.metric == Metric::Cosine).then_some(-1.0),
            ResolvedQuery::Field(query) => query.lowest_score(),
            ResolvedQuery::Keywords(_) | ResolvedQuery::Fusion(_) => Some(0.0),
            ResolvedQuery::BestScore(_) => Some(-1.0),
            ResolvedQuery::Ranked(_) => None,
        }
    }

    /// Returns the score of each candidate in a part that it was not found by; none where the part cannot have it as a
    /// hit, or is a fusion.
    pub(super) fn scores(
        &self,
        view: &View,
        part: &ResolvedPart,
        scope: Scope<'_>,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<f32>>, Error> {
        let scores: Vec<Option<f32>> = match &part.query {
            ResolvedQuery::Vector(query) => {
                candidates.iter().map(|candidate| self.vector_score(query, candidate)).collect::<Result<_, Error>>()?
            }
            ResolvedQuery::Field(query) => {
                candidates.iter().map(|candidate| self.field_score(query, candidate)).collect::<Result<_, Error>>()?
            }
            ResolvedQuery::Keywords(query) => {
                KeywordSearch::prepare(self, view, query)?.scores(candidates).into_iter().map(Some).collect()
            }
            ResolvedQuery::BestScore(_) => {
                let distances = self.distances_to(view, &part.query, candidates)?;
                distances.into_iter().map(|distance| distance.map(|distance| -distance)).collect()
            }
            ResolvedQuery::Fusion(_) | ResolvedQuery::Ranked(_) => return Ok(vec![None; candidates.len()]),
        };
        let own = part.filter.and_then(|filter| scope.of_parts.get(filter));
        let may_be_hit = |candidate: &Candidate<'_>| {
            own.is_none_or(|selection| selection.contains(view, candidate.source, candidate.row))
        };
        let scores = candidates.iter().zip(scores);
        Ok(scores.map(|(candidate, score)| score.filter(|_| may_be_hit(candidate))).collect())
    }

    /// Whether a row has a vector of the collection.
    pub(super) fn has_vector(&self, source: &SegmentRef<'_>, row: Ordinal) -> bool {
        match source {
            SegmentRef::Sealed(sealed) => sealed.has_vectors(),
            SegmentRef::Growing(growing) => growing.dimension > 0 && growing.read().has_vector(row.0),
        }
    }

    /// Returns the score of a candidate; none if it has no vector.
    fn vector_score(&self, query: &Resolved, candidate: &Candidate<'_>) -> Result<Option<f32>, Error> {
        if !self.has_vector(&candidate.source, candidate.row) {
            return Ok(None);
        }
        if let SegmentRef::Sealed(sealed) = candidate.source {
            sealed.ensure_vectors(candidate.row.0..candidate.row.0 + 1)?;
        }
        let norm = math::norm(&query.vector);
        let distance =
            self.distances(&candidate.source, |rows| exact::distance(rows, candidate.row, &query.vector, norm));
        Ok(Some(self.metric.score(distance)))
    }
}

impl ResolvedPart {
    /// Returns how the part is searched within the scope of its fusion.
    pub(super) fn scope<'s>(&self, of_fusion: Scope<'s>, default_ef: u32) -> Scope<'s> {
        let k = match self.limit {
            0 => of_fusion.k.saturating_mul(2).max(MIN_CANDIDATES as usize),
            limit => limit as usize,
        };
        let budget = match (of_fusion.budget, self.accuracy) {
            (SearchBudget::Exact, _) | (_, Some(Accuracy::Exact)) => SearchBudget::Exact,
            (_, Some(Accuracy::Default)) => SearchBudget::Ef(default_ef),
            (_, Some(Accuracy::Ef(ef))) => SearchBudget::Ef(ef),
            (_, Some(Accuracy::TargetRecall(target))) => SearchBudget::Target(target),
            (budget, None) => budget,
        };
        let budget = match budget {
            SearchBudget::Ef(ef) => SearchBudget::Ef(ef.max(k as u32)),
            other => other,
        };
        let own = self.filter.and_then(|filter| of_fusion.of_parts.get(filter));
        Scope {
            k,
            budget,
            selection: own.or(of_fusion.selection),
            of_parts: of_fusion.of_parts,
            score_threshold: self.score_threshold,
        }
    }
}

/// Computes what one query contributes to the fused score of each candidate.
fn contributions(method: FusionMethod, weight: f32, weights: f32, lowest: Option<f32>, found: &mut [FusedPart]) {
    if let FusionMethod::ReciprocalRank { k } = method {
        for part in found {
            part.contribution = part.rank.map_or(0.0, |rank| weight / (k + rank as f32));
        }
        return;
    }
    let share = if weights > 0.0 { weight / weights } else { 0.0 };
    let ranked = |found: &[FusedPart]| -> Vec<f32> {
        found.iter().filter(|part| part.rank.is_some()).filter_map(|part| part.score).collect()
    };
    let min = |scores: &[f32]| scores.iter().copied().fold(f32::INFINITY, f32::min);
    let max = |scores: &[f32]| scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scores = ranked(found);
    // What equal scores count.
    let (low, high, equal) = match method {
        FusionMethod::Distribution => {
            let count = scores.len().max(1) as f64;
            let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / count;
            let variance = scores.iter().map(|score| (f64::from(*score) - mean).powi(2)).sum::<f64>() / count;
            let reach = 3.0 * variance.sqrt();
            ((mean - reach) as f32, (mean + reach) as f32, 0.5)
        }
        FusionMethod::Convex => {
            let all: Vec<f32> = found.iter().filter_map(|part| part.score).collect();
            (lowest.unwrap_or_else(|| min(&all)), max(&all), 1.0)
        }
        FusionMethod::MinMax | FusionMethod::ReciprocalRank { .. } => (min(&scores), max(&scores), 1.0),
    };
    for part in found {
        let counted = part.score.filter(|_| part.rank.is_some() || method == FusionMethod::Convex);
        let scaled = counted
            .map_or(0.0, |score| if high > low { ((score - low) / (high - low)).clamp(0.0, 1.0) } else { equal });
        part.contribution = share * scaled;
    }
}

impl SearchStats {
    /// Returns the stats of a query that has done nothing.
    pub(super) fn empty() -> Self {
        Self {
            path: Path::Exact,
            ef_used: 0,
            distances_computed: 0,
            growing_distances: 0,
            segments_by_graph: 0,
            segments_by_scan: 0,
            expected_recall: None,
            recall_unmeasured: false,
            filter_matches: None,
            lost_segments: 0,
            embed_time: Duration::ZERO,
            search_time: Duration::ZERO,
            fingerprint: None,
            parts: Vec::new(),
        }
    }

    /// Adds the cost of a fused query.
    pub(super) fn add_part(&mut self, name: &str, candidates: u32, part: Self) {
        self.ef_used = self.ef_used.max(part.ef_used);
        self.distances_computed += part.distances_computed;
        self.growing_distances += part.growing_distances;
        self.segments_by_graph += part.segments_by_graph;
        self.segments_by_scan += part.segments_by_scan;
        self.recall_unmeasured |= part.recall_unmeasured;
        self.parts.push(PartStats {
            query: name.into(),
            candidates,
            path: part.path,
            ef_used: part.ef_used,
            expected_recall: part.expected_recall,
        });
        self.parts.extend(part.parts);
    }
}
