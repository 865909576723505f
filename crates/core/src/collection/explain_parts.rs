//! Explanation of keyword queries and fusions: the terms, and the rank and score in each fused query.

use super::explain::ef_needed;
use super::keywords::KeywordSearch;
use super::resolve::{ResolvedFusion, ResolvedKeywords, ResolvedPart, ResolvedQuery};
use super::search::{Candidate, Scope, SegmentRef};
use super::state::Collection;
use super::view::View;
use crate::api::{
    Error, Explanation, KeywordOperator, PartExplanation, Reason, SearchParams, SearchStats, TermExplanation,
};
use crate::payload::Selections;
use crate::segment::search_budget::SearchBudget;
use crate::types::{Ordinal, PointId};

/// The point to explain.
#[derive(Clone, Copy)]
pub(super) struct Located<'a> {
    pub(super) id: &'a PointId,
    pub(super) source: SegmentRef<'a>,
    pub(super) row: Ordinal,
}

impl<'a> Located<'a> {
    fn candidate(&self) -> Candidate<'a> {
        Candidate { distance: 0.0, id: self.id.clone(), source: self.source, row: self.row }
    }
}

impl Collection {
    /// Completes the explanation of a keyword query or a fusion. `(excluded, selected)`: whether the query excludes the
    /// point, and whether it matches the filter.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn explain_parts(
        &self,
        view: &View,
        query: &ResolvedQuery,
        params: &SearchParams,
        budget: SearchBudget,
        selections: &Selections,
        point: &Located<'_>,
        mut explanation: Explanation,
        (excluded, selected): (bool, bool),
    ) -> Result<Explanation, Error> {
        let scope = Scope {
            k: params.k as usize,
            budget,
            selection: selections.of_call.as_ref(),
            of_parts: &selections.of_parts,
            score_threshold: None,
        };
        let (mut matches, mut shares_nothing) = (true, false);
        match query {
            ResolvedQuery::Vector(_) => {}
            ResolvedQuery::Field(query) => {
                let candidate = point.candidate();
                explanation.score = self.field_score(query, &candidate)?;
                matches = explanation.score.is_some();
                shares_nothing = !matches && self.has_field_vector(query, &candidate);
            }
            ResolvedQuery::BestScore(query) => {
                let (score, parts) = self.explain_best_score(query, &point.candidate())?;
                (explanation.score, explanation.parts) = (score, parts);
                matches = score.is_some();
            }
            ResolvedQuery::Ranked(query) => self.explain_ranked(view, query, scope, point, &mut explanation)?,
            ResolvedQuery::Keywords(query) => {
                let part = self.explain_keywords(view, query, point, "")?;
                matches = part.score.is_some();
                explanation.score = part.score;
                explanation.parts = vec![part];
            }
            ResolvedQuery::Fusion(query) => {
                explanation.parts = self.explain_fusion(view, query, scope, point)?;
                matches = explanation.parts.iter().any(|part| part.rank.is_some());
                let own = explanation.parts.iter().filter(|part| part.query.matches("queries").count() == 1);
                explanation.score = Some(own.filter_map(|part| part.contribution).sum());
            }
        }
        let mut stats = SearchStats::empty();
        let hits = self.candidates(view, query, scope, &mut stats)?;
        explanation.distance = match query {
            ResolvedQuery::Ranked(_) => explanation.distance,
            ResolvedQuery::Field(query) => explanation.score.map(|score| query.distance_of(score)),
            _ => explanation.score.map(|score| -score),
        };
        if let ResolvedQuery::Field(_) = query {
            explanation.ef_used = stats.ef_used;
        }
        explanation.kth_distance = hits.get(scope.k - 1).map(|hit| hit.distance);
        explanation.rank = hits.iter().position(|hit| hit.id == *point.id).map(|index| index as u32 + 1);
        if let ResolvedQuery::Keywords(_) | ResolvedQuery::Field(_) | ResolvedQuery::BestScore(_) = query
            && matches
            && selected
            && !excluded
        {
            let all = Scope { k: view.live().max(1) as usize, budget: SearchBudget::Exact, ..scope };
            let all = self.candidates(view, query, all, &mut SearchStats::empty())?;
            explanation.true_rank = all.iter().position(|hit| hit.id == *point.id).map(|index| index as u64 + 1);
        }
        let too_low = params.score_threshold.is_some_and(|min| explanation.score.is_some_and(|score| score < min));
        explanation.reason = match explanation.rank {
            _ if excluded => Reason::Excluded,
            _ if !selected => Reason::Filtered,
            Some(_) if too_low => Reason::BelowThreshold,
            Some(_) => Reason::Hit,
            None if !matches && matches!(query, ResolvedQuery::Keywords(_)) => Reason::NoTerms,
            None if !matches && shares_nothing => Reason::NoTerms,
            None if !matches && matches!(query, ResolvedQuery::Field(_) | ResolvedQuery::BestScore(_)) => {
                Reason::NoVector
            }
            None if explanation.true_rank.is_some_and(|rank| rank <= u64::from(params.k))
                && explanation.kth_distance != explanation.distance =>
            {
                Reason::MissedByGraph
            }
            None => Reason::Beaten,
        };
        if explanation.reason == Reason::MissedByGraph {
            explanation.ef_needed = ef_needed(scope.k, budget, &|ef| {
                let scope = Scope { budget: SearchBudget::Ef(ef), ..scope };
                let found = self.candidates(view, query, scope, &mut SearchStats::empty())?;
                Ok(found.iter().any(|candidate| candidate.id == *point.id))
            })?;
        }
        Ok(explanation)
    }

    /// Explains a keyword query without ranks.
    fn explain_keywords(
        &self,
        view: &View,
        query: &ResolvedKeywords,
        point: &Located<'_>,
        name: &str,
    ) -> Result<PartExplanation, Error> {
        let search = KeywordSearch::prepare(self, view, query)?;
        let (found, score) = search.score_terms(point.source, point.row.0);
        let matches = match query.operator {
            KeywordOperator::Any => found.iter().any(|(frequency, _)| *frequency > 0),
            KeywordOperator::All => !found.is_empty() && found.iter().all(|(frequency, _)| *frequency > 0),
        };
        let scorer = search.scorer();
        let terms = scorer.terms().iter().zip(scorer.weights()).zip(found);
        let terms = terms.map(|((term, weight), (frequency, contribution))| TermExplanation {
            term: term.term.to_string(),
            points: term.frequency,
            frequency,
            weight,
            contribution,
        });
        Ok(PartExplanation {
            query: name.into(),
            rank: None,
            candidates: 0,
            score: matches.then_some(score),
            contribution: None,
            terms: terms.collect(),
        })
    }

    /// Explains the queries of a fusion, each followed by the queries of its own.
    fn explain_fusion(
        &self,
        view: &View,
        query: &ResolvedFusion,
        scope: Scope<'_>,
        point: &Located<'_>,
    ) -> Result<Vec<PartExplanation>, Error> {
        let fused = self.fuse(view, query, scope, &mut SearchStats::empty())?;
        let index = fused.candidates.iter().position(|candidate| candidate.id == *point.id);
        let mut explained = Vec::new();
        for (part, found) in query.parts.iter().zip(&fused.parts) {
            let own = index.map(|index| found[index]);
            let score = match own.and_then(|own| own.score) {
                Some(score) => Some(score),
                None => self.score_in(view, part, scope, point)?,
            };
            let mut explanation = PartExplanation {
                query: part.name.clone(),
                rank: own.and_then(|own| own.rank),
                candidates: found.iter().filter(|one| one.rank.is_some()).count() as u32,
                score,
                contribution: own.map(|own| own.contribution),
                terms: Vec::new(),
            };
            match &part.query {
                ResolvedQuery::Vector(_)
                | ResolvedQuery::Field(_)
                | ResolvedQuery::BestScore(_)
                | ResolvedQuery::Ranked(_) => explained.push(explanation),
                ResolvedQuery::Keywords(query) => {
                    explanation.terms = self.explain_keywords(view, query, point, &part.name)?.terms;
                    explained.push(explanation);
                }
                ResolvedQuery::Fusion(query) => {
                    explained.push(explanation);
                    let scope = part.scope(scope, self.settings.ef_search);
                    explained.extend(self.explain_fusion(view, query, scope, point)?);
                }
            }
        }
        Ok(explained)
    }

    /// Returns the score of the point in a fused query that did not find it.
    fn score_in(
        &self,
        view: &View,
        part: &ResolvedPart,
        scope: Scope<'_>,
        point: &Located<'_>,
    ) -> Result<Option<f32>, Error> {
        Ok(self.scores(view, part, scope, &[point.candidate()])?.pop().flatten())
    }
}
