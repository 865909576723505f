//! Explanation of ranked queries: the rank among the candidates, and the score after the stages.

use super::RankedQuery;
use crate::api::{Error, Explanation, PartExplanation, SearchStats};
use crate::collection::explain_parts::Located;
use crate::collection::resolve::ResolvedQuery;
use crate::collection::search::{Candidate, Scope};
use crate::collection::state::Collection;
use crate::collection::view::View;

impl Collection {
    /// Explains the scores of a point. `scope` has no threshold.
    pub(in crate::collection) fn explain_ranked(
        &self,
        view: &View,
        ranked: &RankedQuery,
        scope: Scope<'_>,
        point: &Located<'_>,
        explanation: &mut Explanation,
    ) -> Result<(), Error> {
        let candidates = self.candidates_to_rank(view, ranked, scope, &mut SearchStats::empty())?;
        let at = candidates.iter().position(|candidate| candidate.id == *point.id);
        let one = Candidate { distance: 0.0, id: point.id.clone(), source: point.source, row: point.row };
        let mut distance = match (at, &ranked.query) {
            (Some(at), _) => Some(candidates[at].distance),
            (None, ResolvedQuery::Fusion(_)) => None,
            (None, query) => self.distances_to(view, query, std::slice::from_ref(&one))?.pop().flatten(),
        };
        explanation.parts = vec![PartExplanation {
            query: "query".into(),
            rank: at.map(|at| at as u32 + 1),
            candidates: candidates.len() as u32,
            score: distance.map(|distance| self.score(&ranked.query, distance)),
            contribution: None,
            terms: Vec::new(),
        }];
        if let Some((query, _)) = &ranked.stages.rerank {
            distance = self.distances_to(view, query, std::slice::from_ref(&one))?.pop().flatten();
        }
        if let (Some((formula, _)), Some(before)) = (&ranked.stages.formula, distance) {
            let value = self.formula_value(&formula.expression, &one, self.score(ranked.scored_query(), before))?;
            explanation.formula = Some(value);
            distance = Some(-value);
        }
        explanation.distance = distance;
        explanation.score = distance.map(|distance| self.ranked_score(ranked, distance));
        Ok(())
    }
}
