//! Why a point is, or is not, among the nearest: filtered out, gone, farther than the k-th, or missed by a graph.
//!
//! The search itself is run as asked, then a scan counts the points that are truly nearer, and where a graph missed the
//! point it is searched again with more candidates until it is found.

use super::effort::Effort;
use super::limits::{self, MAX_EF};
use super::open::{Collection, Place, View};
use super::query::Source;
use super::{Error, Explanation, Query, Reason, Residence, SearchParams};
use crate::index::exact;
use crate::math;
use crate::types::{Ordinal, PointId};
use rayon::prelude::*;

impl Collection {
    pub(super) fn explain(&self, query: &Query, params: &SearchParams, id: &PointId) -> Result<Explanation, Error> {
        let effort = limits::search(params, self.settings.ef_search)?;
        limits::query("query", query)?;
        let view = self.view();
        let resolved = self.resolve(&view, std::slice::from_ref(query))?.remove(0);
        let mut told = Explanation::of(Reason::UnknownPoint);
        let Some(place) = view.locate(id) else {
            told.reason = if has_dead_row(&view, id) { Reason::Deleted } else { Reason::UnknownPoint };
            return Ok(told);
        };
        let (source, row) = match &place {
            Place::Growing(growing, row) => (Source::Growing(growing), Ordinal(*row)),
            Place::Sealed(sealed, row) => (Source::Sealed(sealed), *row),
        };
        let norm = math::norm(&resolved.vector);
        let distance = self.distances(&source, |rows| exact::distance(rows, row, &resolved.vector, norm));
        told.distance = Some(distance);
        told.score = Some(self.metric.score(distance));
        told.residence = Some(match &place {
            Place::Growing(..) => Residence::Growing,
            Place::Sealed(sealed, row) => Residence::Sealed { segment: sealed.segment.id().0, row: row.0 },
        });
        if resolved.exclude.contains(id) {
            told.reason = Reason::Excluded;
            return Ok(told);
        }
        // A payload filter would be asked here, before the search: what it refuses has no rank.
        let k = params.k as usize + resolved.exclude.len();
        let found = self.search_source(&source, &resolved.vector, k, effort, f32::INFINITY)?;
        told.ef_used = found.ef.unwrap_or(0);
        told.true_rank = Some(1 + self.nearer(&view, &resolved.vector, &resolved.exclude, distance, id));
        // The threshold is judged apart: it would hide the rank.
        let unbounded = SearchParams { score_threshold: None, ..*params };
        let hits = self.answer(&view, &resolved, &unbounded, effort, std::time::Duration::ZERO)?.hits;
        told.kth_distance = hits.get(params.k as usize - 1).map(|hit| hit.distance);
        told.rank = hits.iter().position(|hit| hit.point.id == *id).map(|place| place as u32 + 1);
        let too_far = params.score_threshold.is_some_and(|least| self.metric.score(distance) < least);
        told.reason = match (told.rank, told.true_rank) {
            (Some(_), _) if too_far => Reason::BelowThreshold,
            (Some(_), _) => Reason::Hit,
            (None, Some(rank)) if rank > u64::from(params.k) => Reason::Beaten,
            (None, _) => Reason::MissedByGraph,
        };
        if told.reason == Reason::MissedByGraph {
            told.ef_needed = self.ef_needed(&source, &resolved.vector, k, row, told.ef_used)?;
        }
        Ok(told)
    }

    /// Live points that come before `id` at `distance`, by distance and then by id, over all segments.
    fn nearer(&self, view: &View, query: &[f32], exclude: &[PointId], distance: f32, id: &PointId) -> u64 {
        let norm = math::norm(query);
        let before = |other: f32, name: &dyn Fn() -> Option<PointId>| match other.total_cmp(&distance) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => name().is_some_and(|name| name < *id),
            std::cmp::Ordering::Greater => false,
        };
        let mut count = 0;
        for sealed in &view.sealed {
            let rows = sealed.rows(self.metric);
            let name = |row| PointId::new(sealed.segment.point_id(row)).ok();
            count += (0..sealed.segment.rows())
                .into_par_iter()
                .map(Ordinal)
                .filter(|&row| sealed.is_live(row))
                .filter(|&row| before(exact::distance(rows, row, query, norm), &|| name(row)))
                .count();
        }
        for growing in view.growing_newest_first() {
            let table = growing.read();
            let rows = growing.rows(&table);
            count += table
                .by_id
                .iter()
                .filter(|&(name, &row)| {
                    before(exact::distance(rows, Ordinal(row), query, norm), &|| Some(name.clone()))
                })
                .count();
        }
        let excluded = exclude.iter().collect::<std::collections::BTreeSet<_>>().into_iter().filter(|other| {
            view.locate(other).is_some_and(|place| {
                let (source, row) = match &place {
                    Place::Growing(growing, row) => (Source::Growing(growing), Ordinal(*row)),
                    Place::Sealed(sealed, row) => (Source::Sealed(sealed), *row),
                };
                let other_distance = self.distances(&source, |rows| exact::distance(rows, row, query, norm));
                before(other_distance, &|| Some((*other).clone()))
            })
        });
        (count as u64).saturating_sub(excluded.count() as u64)
    }

    /// The least `ef` at which the graph of its segment finds the row: doubled until it does, then halved in between.
    /// None if only a scan finds it.
    fn ef_needed(
        &self,
        source: &Source<'_>,
        query: &[f32],
        k: usize,
        row: Ordinal,
        from: u32,
    ) -> Result<Option<u32>, Error> {
        let finds = |ef: u32| -> Result<bool, Error> {
            let found = self.search_source(source, query, k, Effort::Ef(ef), f32::INFINITY)?;
            Ok(found.neighbors.iter().any(|neighbor| neighbor.row == row))
        };
        let (mut missed, mut found) = (from.max(k as u32), from.max(k as u32));
        loop {
            if found >= MAX_EF {
                return Ok(None);
            }
            found = found.saturating_mul(2).min(MAX_EF);
            if finds(found)? {
                break;
            }
            missed = found;
        }
        while found - missed > 1 {
            let middle = missed + (found - missed) / 2;
            if finds(middle)? { found = middle } else { missed = middle }
        }
        Ok(Some(found))
    }
}

impl Explanation {
    fn of(reason: Reason) -> Self {
        Self {
            reason,
            rank: None,
            true_rank: None,
            distance: None,
            score: None,
            kth_distance: None,
            residence: None,
            ef_used: 0,
            ef_needed: None,
        }
    }
}

/// Whether a dead row of that id is still in a segment: until a merge drops it, a deleted point can be told from one that
/// never was.
fn has_dead_row(view: &View, id: &PointId) -> bool {
    view.sealed.iter().any(|sealed| sealed.segment.find(id.as_str()).is_some())
        || view.growing_newest_first().any(|growing| growing.read().ids.contains(id))
}
