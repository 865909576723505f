//! Grouping of hits: the best points of each group, for example of the blocks of one text.
//!
//! A group is the set of points with the same value in a payload field; a point without that field is its own group.
//! The search is repeated for more points until it has enough groups, or there are no more points. A group that has
//! fewer hits than requested by then is searched by itself.

use super::resolve::ResolvedQuery;
use super::search::{Candidate, Scope};
use super::state::Collection;
use super::view::View;
use crate::api::{Answer, CancellationToken, Error, Fields, Filter, SearchParams, SearchStats};
use crate::payload::{self, Selections};
use crate::segment::search_budget::SearchBudget;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Factor by which the number of candidates grows, both for the first search and for each repetition.
const GROWTH: u32 = 4;
const PAYLOAD: Fields = Fields { payload: true, vector: false };

/// A digest of the value that the points of a group share, because values may be long.
type Key = [u8; 32];

/// The best points of a group, best first.
struct Group<'v> {
    /// None for a point without the field.
    key: Option<Key>,
    members: Vec<Candidate<'v>>,
}

impl Group<'_> {
    fn is_full(&self, size: usize) -> bool {
        self.key.is_none() || self.members.len() >= size
    }
}

fn key(value: &Value) -> Key {
    Sha256::digest(value.to_string()).into()
}

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
        let size = params.group_size.max(1) as usize;
        // The groups of a ranked query are those of all candidates that it ranks.
        let mut k = match query {
            ResolvedQuery::Ranked(query) => query.stages.candidates(params.max_hits() as usize) as u32,
            _ => params.max_hits().saturating_mul(GROWTH),
        };
        let mut before: Option<Answer> = None;
        loop {
            let wider = SearchParams { k, ..params.clone() };
            let (mut complete, mut of_groups) = (false, SearchStats::empty());
            let mut answer = self.answer_from(view, query, &wider, budget, selections, &mut |nearest| {
                let all = nearest.len() < k as usize;
                let mut groups = self.groups(nearest, params.k as usize, size, field)?;
                complete = all || groups.len() == params.k as usize;
                if !complete {
                    return Ok(Vec::new());
                }
                if !all && !matches!(query, ResolvedQuery::Fusion(_) | ResolvedQuery::Ranked(_)) {
                    for group in groups.iter_mut().filter(|group| !group.is_full(size)) {
                        self.fill_group(view, query, params, budget, field, group, &mut of_groups)?;
                    }
                }
                // A search of a group may have found a better point.
                groups.sort_by(|a, b| {
                    let (a, b) = (&a.members[0], &b.members[0]);
                    a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id))
                });
                Ok(groups.into_iter().flat_map(|group| group.members).collect())
            })?;
            // The stats cover all rounds.
            for stats in before.take().map(|before| before.stats).into_iter().chain([of_groups]) {
                answer.stats.distances_computed += stats.distances_computed;
                answer.stats.growing_distances += stats.growing_distances;
                answer.stats.search_time += stats.search_time;
            }
            if complete {
                return Ok(answer);
            }
            before = Some(answer);
            k = k.saturating_mul(GROWTH);
        }
    }

    /// Returns the first `count` groups among candidates, with at most `size` of them each.
    fn groups<'v>(
        &self,
        nearest: Vec<Candidate<'v>>,
        count: usize,
        size: usize,
        field: &str,
    ) -> Result<Vec<Group<'v>>, Error> {
        let stop = CancellationToken::current();
        let mut groups: Vec<Group<'v>> = Vec::new();
        let mut known: HashMap<Key, usize> = HashMap::new();
        let mut full = 0;
        for candidate in nearest {
            if full == count {
                break;
            }
            stop.check()?;
            let key = self.group_value(&candidate, field)?.as_ref().map(key);
            let group = match key.and_then(|key| known.get(&key)) {
                Some(&at) if groups[at].members.len() < size => &mut groups[at],
                Some(_) => continue,
                None if groups.len() == count => continue,
                None => {
                    key.map(|key| known.insert(key, groups.len()));
                    groups.push(Group { key, members: Vec::new() });
                    let last = groups.len() - 1;
                    &mut groups[last]
                }
            };
            group.members.push(candidate);
            full += usize::from(group.is_full(size));
        }
        Ok(groups)
    }

    fn group_value(&self, candidate: &Candidate<'_>, field: &str) -> Result<Option<Value>, Error> {
        let point = self.point_of(candidate, PAYLOAD)?;
        Ok(point.payload.and_then(|payload| payload::value_at(&payload, field)))
    }

    /// Searches the points of one group.
    #[allow(clippy::too_many_arguments)]
    fn fill_group<'v>(
        &self,
        view: &'v View,
        query: &ResolvedQuery,
        params: &SearchParams,
        budget: SearchBudget,
        field: &str,
        group: &mut Group<'v>,
        stats: &mut SearchStats,
    ) -> Result<(), Error> {
        let (stop, size) = (CancellationToken::current(), params.group_size.max(1) as usize);
        // Updated meanwhile if there is none.
        let Some(value) = self.group_value(&group.members[0], field)? else { return Ok(()) };
        let key = key(&value);
        // May match other points too, such as those with the value later in a list.
        let filter = match payload::scalar(&value) {
            Some(value) => Filter::Equals { field: field.into(), value },
            None => Filter::exists(field),
        };
        let filter = match params.filter.as_deref().cloned() {
            Some(outer) => Filter::And(vec![outer, filter]),
            None => filter,
        };
        let selection = self.select(view, &filter)?;
        let mut k = size;
        loop {
            stop.check()?;
            k = k.saturating_mul(GROWTH as usize);
            let scope = Scope {
                k,
                budget,
                selection: Some(&selection),
                of_parts: &[],
                score_threshold: params.score_threshold,
            };
            let mut of_search = SearchStats::empty();
            let found = self.candidates(view, query, scope, &mut of_search)?;
            stats.distances_computed += of_search.distances_computed;
            stats.growing_distances += of_search.growing_distances;
            let all = found.len() < k;
            let mut members = Vec::new();
            for candidate in found {
                stop.check()?;
                if members.len() == size {
                    break;
                }
                if self.group_value(&candidate, field)?.as_ref().map(self::key) == Some(key) {
                    members.push(candidate);
                }
            }
            if all || members.len() == size {
                // A graph may have missed a point that the other search found.
                if members.len() > group.members.len() {
                    group.members = members;
                }
                return Ok(());
            }
        }
    }
}
