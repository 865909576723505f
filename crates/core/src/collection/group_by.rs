//! Grouping of hits: the best point of each group, for example of the blocks of one text.
//!
//! A group is the set of points with the same value in a payload field; a point without that field is its own group.
//! The search is repeated for more points until it has enough groups, or there are no more points.

use super::resolve::ResolvedQuery;
use super::state::Collection;
use super::view::View;
use crate::api::{Answer, CancellationToken, Error, Fields, SearchParams};
use crate::payload::{self, Selections};
use crate::segment::search_budget::SearchBudget;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Factor by which k grows, both for the first search (per group) and for each repetition.
const GROWTH: u32 = 4;
const PAYLOAD: Fields = Fields { payload: true, vector: false };

impl Collection {
    /// Returns the nearest groups by `field`.
    pub(crate) fn answer_grouped(
        &self,
        view: &View,
        query: &ResolvedQuery,
        params: &SearchParams,
        budget: SearchBudget,
        selections: &Selections,
        field: &str,
    ) -> Result<Answer, Error> {
        let mut k = params.k;
        let mut before: Option<Answer> = None;
        let stop = CancellationToken::current();
        loop {
            k = k.saturating_mul(GROWTH);
            let wider = SearchParams { k, group_by: None, ..params.clone() };
            let mut complete = false;
            let mut answer = self.answer_from(view, query, &wider, budget, selections, &mut |mut nearest| {
                let all = nearest.len() < k as usize;
                let mut groups: HashSet<[u8; 32]> = HashSet::new();
                let mut failed = None;
                let mut left = params.k;
                nearest.retain(|candidate| {
                    if left == 0 || failed.is_some() {
                        return false;
                    }
                    let group = stop.check().and_then(|()| self.point_of(candidate, PAYLOAD));
                    let first = match group {
                        // A digest per value, because values may be long.
                        Ok(point) => point
                            .payload
                            .and_then(|payload| payload::value_at(&payload, field))
                            .is_none_or(|value| groups.insert(Sha256::digest(value.to_string()).into())),
                        Err(error) => {
                            failed = Some(error);
                            false
                        }
                    };
                    left -= u32::from(first);
                    first
                });
                failed.map_or(Ok(()), Err)?;
                complete = all || left == 0;
                Ok(if complete { nearest } else { Vec::new() })
            })?;
            // The stats cover all rounds.
            if let Some(before) = before.take() {
                answer.stats.distances_computed += before.stats.distances_computed;
                answer.stats.growing_distances += before.stats.growing_distances;
                answer.stats.search_time += before.stats.search_time;
            }
            if complete {
                return Ok(answer);
            }
            before = Some(answer);
        }
    }
}
