//! Each group once, with its best point: the blocks of one text, for example.
//!
//! A group is the points that have the same value in a field of their payload; one without that field is a group of its
//! own. The search is asked for more points until it has found enough groups, or there are no more points.

use super::effort::Effort;
use super::filter::{self, Selection};
use super::open::{Collection, View};
use super::query::Resolved;
use super::{Answer, Error, Fields, SearchParams};
use std::collections::HashSet;

/// Points that are asked for at first, for each group; and how many times as many, each time they were too few.
const MORE: u32 = 4;

impl Collection {
    /// The nearest groups by `field`.
    pub(super) fn answer_grouped(
        &self,
        view: &View,
        query: &Resolved,
        params: &SearchParams,
        effort: Effort,
        selection: Option<&Selection>,
        field: &str,
    ) -> Result<Answer, Error> {
        let mut k = params.k;
        let mut before: Option<Answer> = None;
        loop {
            k = k.saturating_mul(MORE);
            let fields = Fields { payload: true, ..params.fields };
            let asked = SearchParams { k, fields, group_by: None, ..params.clone() };
            let mut answer = self.answer(view, query, &asked, effort, selection)?;
            // What it cost, all rounds together.
            if let Some(before) = before.take() {
                answer.stats.distances_computed += before.stats.distances_computed;
                answer.stats.growing_distances += before.stats.growing_distances;
                answer.stats.search_time += before.stats.search_time;
            }
            let all = answer.hits.len() < k as usize;
            let mut seen: HashSet<String> = HashSet::new();
            answer.hits.retain(|hit| {
                let payload = hit.point.payload.as_ref();
                payload
                    .and_then(|payload| filter::value_at(payload, field))
                    .is_none_or(|value| seen.insert(value.to_string()))
            });
            if all || answer.hits.len() >= params.k as usize {
                answer.hits.truncate(params.k as usize);
                if !params.fields.payload {
                    answer.hits.iter_mut().for_each(|hit| hit.point.payload = None);
                }
                return Ok(answer);
            }
            before = Some(answer);
        }
    }
}
