//! Explanation of why a point is, or is not, among the nearest: filtered, deleted, farther than the k-th, or missed by
//! a graph.
//!
//! Runs the search as requested, then counts the nearer points by a scan. If a graph missed the point, searches again
//! with more candidates until the point is found.

use super::explain_parts::Located;
use super::resolve::{Resolved, ResolvedQuery};
use super::search::{self, Part, SegmentRef};
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::limits::MAX_EF;
use crate::api::{CancellationToken, Error, Explanation, PointLocation, Query, Reason, SearchParams, validate_query};
use crate::index::exact;
use crate::math;
use crate::payload::RowSet;
use crate::segment::search_budget::{self, SearchBudget};
use crate::types::{Ordinal, PointId};
use rayon::prelude::*;

/// Rows compared between two checks for cancellation.
const PIECE: u32 = 1 << 16;
/// Maximum expanded points returned; the last ones.
const WALKED: usize = 64;

impl Collection {
    pub(crate) fn explain(&self, query: &Query, params: &SearchParams, id: &PointId) -> Result<Explanation, Error> {
        self.noting_damage(|| self.explain_once(query, params, id))
    }

    fn explain_once(&self, query: &Query, params: &SearchParams, id: &PointId) -> Result<Explanation, Error> {
        let budget = search_budget::validate(params, self.settings.ef_search)?;
        validate_query("query", query)?;
        if params.group_by.is_some() {
            return Err(Error::invalid("params.group_by", "cannot be explained: points are, not groups"));
        }
        let view = self.view();
        let resolved = self.resolve(&view, std::slice::from_ref(query), params.filter.as_deref())?;
        let resolved = self.with_stages(&view, resolved, params)?;
        let (view, selections) = self.view_and_selections(params.filter.as_deref(), &resolved.filters)?;
        view.ensure_intact(&self.name())?;
        let mut explanation = Explanation::of(Reason::UnknownPoint);
        let Some(location) = view.locate(id).filter(|location| !self.hides(id, location)) else {
            view.ensure_intact(&self.name())?;
            explanation.reason = if has_dead_row(&view, id) { Reason::Deleted } else { Reason::UnknownPoint };
            return Ok(explanation);
        };
        let (source, row) = SegmentRef::of(&location);
        explanation.residence = Some(match &location {
            RowLocation::Growing(..) => PointLocation::Growing,
            RowLocation::Sealed(sealed, row) => PointLocation::Sealed { segment: sealed.segment.id().0, row: row.0 },
        });
        let selected = selections.of_call.as_ref().is_none_or(|selection| selection.contains(&view, source, row));
        let mut excluded = false;
        let Some(query) = resolved.queries.first() else { return Ok(explanation) };
        query.for_each_excluded(&mut |other| excluded |= other == id);
        let resolved = match query {
            ResolvedQuery::Vector(query) => query,
            ResolvedQuery::Keywords(_)
            | ResolvedQuery::Fusion(_)
            | ResolvedQuery::Field(_)
            | ResolvedQuery::BestScore(_)
            | ResolvedQuery::Ranked(_) => {
                let found = Located { id, source, row };
                return self.explain_parts(
                    &view,
                    query,
                    params,
                    budget,
                    &selections,
                    &found,
                    explanation,
                    (excluded, selected),
                );
            }
        };
        if !self.has_vector(&source, row) {
            explanation.reason = Reason::NoVector;
            return Ok(explanation);
        }
        if let SegmentRef::Sealed(sealed) = &source {
            sealed.ensure_vectors(row.0..row.0 + 1)?;
        }
        let norm = math::norm(&resolved.vector);
        let distance = self.distances(&source, |rows| exact::distance(rows, row, &resolved.vector, norm));
        explanation.distance = Some(distance);
        explanation.score = Some(self.metric.score(distance));
        if excluded || !selected {
            explanation.reason = if excluded { Reason::Excluded } else { Reason::Filtered };
            return Ok(explanation);
        }
        let k = params.k as usize + resolved.exclude.len();
        let sources = search::sources(&view, selections.of_call.as_ref(), k);
        let selected = sources.iter().find(|part| part.source.is(&source)).and_then(|part| part.selected);
        let mut ef = None;
        let candidates = self.search_parts(&sources, &resolved.vector, k, budget, &mut |part, found| {
            ef = if part.source.is(&source) { found.ef } else { ef };
        })?;
        explanation.ef_used = ef.unwrap_or(0);
        explanation.walked = ef.map_or_else(Vec::new, |ef| self.walked(&source, &resolved.vector, k, ef, selected));
        explanation.true_rank = Some(1 + self.nearer(&sources, resolved, distance, id, &view)?);
        // The threshold is applied separately, because it would hide the rank.
        let hits = candidates.iter().filter(|candidate| !resolved.exclude.contains(&candidate.id));
        let hits: Vec<_> = hits.take(params.k as usize).collect();
        explanation.kth_distance = hits.get(params.k as usize - 1).map(|hit| hit.distance);
        explanation.rank = hits.iter().position(|hit| hit.id == *id).map(|index| index as u32 + 1);
        let too_far = params.score_threshold.is_some_and(|min| self.metric.score(distance) < min);
        explanation.reason = match (explanation.rank, explanation.true_rank) {
            (Some(_), _) if too_far => Reason::BelowThreshold,
            (Some(_), _) => Reason::Hit,
            (None, Some(rank)) if rank > u64::from(params.k) => Reason::Beaten,
            // Which points at the distance of the k-th are hits is unspecified.
            _ if explanation.kth_distance == Some(distance) => Reason::Beaten,
            (None, _) => Reason::MissedByGraph,
        };
        if explanation.reason == Reason::MissedByGraph {
            explanation.ef_needed = ef_needed(k, budget, &|ef| {
                let budget = SearchBudget::Ef(ef);
                let found = self.search_parts(&sources, &resolved.vector, k, budget, &mut |_, _| {})?;
                Ok(found.iter().any(|candidate| candidate.id == *id))
            })?;
        }
        Ok(explanation)
    }

    /// Returns the points that the graph search of a sealed segment expands on the bottom level, at most the last
    /// [`WALKED`].
    fn walked(
        &self,
        source: &SegmentRef<'_>,
        query: &[f32],
        k: usize,
        ef: u32,
        selected: Option<&RowSet>,
    ) -> Vec<PointId> {
        let SegmentRef::Sealed(sealed) = source else { return Vec::new() };
        let Some(graph) = sealed.graph() else { return Vec::new() };
        let (rows, ef) = (sealed.rows(self.metric), ef as usize);
        let path = match selected {
            Some(selected) => graph.trace_among(rows, query, k, ef, selected.matching()),
            None => graph.trace(rows, query, k, ef, |row| sealed.is_live(row)),
        };
        let last = &path[path.len().saturating_sub(WALKED)..];
        last.iter().filter_map(|&row| PointId::new(sealed.segment.point_id(row)).ok()).collect()
    }

    /// Counts the points that the query may find and that sort before (`distance`, `id`).
    fn nearer(
        &self,
        sources: &[Part<'_, '_>],
        query: &Resolved,
        distance: f32,
        id: &PointId,
        view: &View,
    ) -> Result<u64, Error> {
        let Resolved { vector: query, exclude } = query;
        let norm = math::norm(query);
        let before = |other: f32, name: &dyn Fn() -> Option<PointId>| match other.total_cmp(&distance) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => name().is_some_and(|name| name < *id),
            std::cmp::Ordering::Greater => false,
        };
        let stop = CancellationToken::current();
        let mut count = 0;
        for Part { source, selected, .. } in sources {
            stop.check()?;
            let wanted = |row: Ordinal| selected.is_none_or(|selected| selected.contains(row.0));
            count += match source {
                SegmentRef::Sealed(sealed) => {
                    let rows = sealed.rows(self.metric);
                    let name = |row| PointId::new(sealed.segment.point_id(row)).ok();
                    let nearer = |&row: &Ordinal| {
                        let counts = sealed.is_live(row) && wanted(row);
                        counts && before(exact::distance(rows, row, query, norm), &|| name(row))
                    };
                    let of_piece = |from: u32| {
                        stop.check()?;
                        let until = sealed.segment.rows().min(from.saturating_add(PIECE));
                        sealed.ensure_vectors(from..until)?;
                        Ok((from..until).map(Ordinal).filter(nearer).count())
                    };
                    let pieces = (0..sealed.segment.rows()).into_par_iter().step_by(PIECE as usize);
                    pieces.map(of_piece).sum::<Result<usize, Error>>()?
                }
                SegmentRef::Growing(growing) => {
                    let table = growing.read();
                    let rows = growing.rows(&table);
                    let near = |&(name, &row): &(&PointId, &u32)| {
                        wanted(Ordinal(row))
                            && before(exact::distance(rows, Ordinal(row), query, norm), &|| Some(name.clone()))
                    };
                    table.by_id.iter().filter(|(_, row)| table.has_vector(**row)).filter(near).count()
                }
            };
        }
        let excluded = exclude.iter().collect::<std::collections::BTreeSet<_>>().into_iter().filter(|other| {
            view.locate(other).is_some_and(|location| {
                let (source, row) = SegmentRef::of(&location);
                let other_distance = self.distances(&source, |rows| exact::distance(rows, row, query, norm));
                let selected = sources.iter().find(|part| part.source.is(&source)).and_then(|part| part.selected);
                selected.is_none_or(|selected| selected.contains(row.0))
                    && before(other_distance, &|| Some((*other).clone()))
            })
        });
        Ok((count as u64).saturating_sub(excluded.count() as u64))
    }
}

/// Returns the smallest `ef` with which a search finds the point, by doubling and then bisection; none if only a scan
/// finds it. The caller has seen a search for `k` points with `budget` miss it.
pub(super) fn ef_needed(
    k: usize,
    budget: SearchBudget,
    finds: &dyn Fn(u32) -> Result<bool, Error>,
) -> Result<Option<u32>, Error> {
    let min_ef = k as u32;
    let mut missed = match budget {
        SearchBudget::Ef(ef) => ef.max(min_ef),
        _ if finds(min_ef)? => return Ok(Some(min_ef)),
        _ => min_ef,
    };
    let mut found = missed;
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
            walked: Vec::new(),
            parts: Vec::new(),
            formula: None,
        }
    }
}

/// Returns whether a segment still has a deleted row with this id. Until a merge drops that row, a deleted point can be
/// distinguished from one that never existed.
fn has_dead_row(view: &View, id: &PointId) -> bool {
    view.sealed.iter().any(|sealed| sealed.segment.find(id.as_str()).is_some())
        || view.growing_newest_first().any(|growing| growing.read().ids.contains(id))
}
