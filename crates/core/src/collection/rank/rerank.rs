//! Order by the exact score of another query.

use crate::api::{CancellationToken, Error};
use crate::collection::keywords::KeywordSearch;
use crate::collection::resolve::{Resolved, ResolvedQuery};
use crate::collection::search::{Candidate, SegmentRef, sort_nearest};
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::index::exact;
use crate::math;

impl Collection {
    /// Orders candidates by their distance to a query, which becomes theirs. Drops those that have none.
    pub(super) fn rerank(
        &self,
        view: &View,
        query: &ResolvedQuery,
        candidates: &mut Vec<Candidate<'_>>,
    ) -> Result<(), Error> {
        let mut distances = self.distances_to(view, query, candidates)?.into_iter();
        candidates.retain_mut(|candidate| {
            let distance = distances.next().flatten();
            candidate.distance = distance.unwrap_or(candidate.distance);
            distance.is_some()
        });
        sort_nearest(candidates);
        Ok(())
    }

    /// Returns the exact distance of each candidate to a query that is no fusion; none without a vector that the query
    /// compares.
    pub(in crate::collection) fn distances_to(
        &self,
        view: &View,
        query: &ResolvedQuery,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<f32>>, Error> {
        match query {
            ResolvedQuery::Vector(Resolved { vector, .. }) => self.distances_from(vector, candidates),
            ResolvedQuery::Keywords(query) => {
                let scores = KeywordSearch::prepare(self, view, query)?.scores(candidates);
                Ok(scores.into_iter().map(|score| Some(-score)).collect())
            }
            ResolvedQuery::Field(query) => {
                let stop = CancellationToken::current();
                let distance = |candidate: &Candidate<'_>| {
                    stop.check()?;
                    Ok(self.field_score(query, candidate)?.map(|score| query.distance_of(score)))
                };
                candidates.iter().map(distance).collect()
            }
            ResolvedQuery::BestScore(query) => self.best_score_distances(query, candidates),
            ResolvedQuery::Fusion(_) | ResolvedQuery::Ranked(_) => {
                Err(Error::invalid("params.rerank.query", "has no score of one point"))
            }
        }
    }

    /// Returns the exact distance of each candidate to a vector; none for one without a vector.
    pub(super) fn distances_from(
        &self,
        vector: &[f32],
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<f32>>, Error> {
        let (stop, norm) = (CancellationToken::current(), math::norm(vector));
        let distance = |Candidate { source, row, .. }: &Candidate<'_>| {
            stop.check()?;
            if !self.has_vector(source, *row) {
                return Ok(None);
            }
            if let SegmentRef::Sealed(sealed) = source {
                sealed.ensure_vectors(row.0..row.0 + 1)?;
            }
            Ok(Some(self.distances(source, |rows| exact::distance(rows, *row, vector, norm))))
        };
        candidates.iter().map(distance).collect()
    }
}
