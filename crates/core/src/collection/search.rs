//! The execution of a query inside a collection: resolve, search every segment, merge, fetch.

use super::commit_queue::LOCK_FREE_READS;
use super::resolve::{Resolved, ResolvedCall, ResolvedQuery, field};
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::{
    Answer, Budget, CancellationToken, Error, Fields, Hit, Path, Point, Query, SearchParams, SearchStats, limits,
    validate_query,
};
use crate::index::{Found, Rows};
use crate::payload::{RowSet, Selection, Selections};
use crate::segment::growing::Growing;
use crate::segment::plan;
use crate::segment::scan::{scan, scan_selected};
use crate::segment::sealed::Sealed;
use crate::segment::search_budget::{self, ExpectedRecall, SearchBudget};
use crate::types::{CollectionName, Neighbor, Ordinal, PointId};
use rayon::prelude::*;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Single-core time of the remaining queries of a batch, estimated from the first, from which they are distributed over
/// all cores: waking other threads takes up to 1 ms on a busy machine.
const MIN_PARALLEL_TIME: Duration = Duration::from_millis(2);

/// A segment to search.
#[derive(Clone, Copy)]
pub(crate) enum SegmentRef<'a> {
    Growing(&'a Arc<Growing>),
    Sealed(&'a Arc<Sealed>),
}

impl<'a> SegmentRef<'a> {
    /// Returns the segment and row of a location.
    pub(crate) fn of(location: &'a RowLocation) -> (Self, Ordinal) {
        match location {
            RowLocation::Growing(growing, row) => (Self::Growing(growing), Ordinal(*row)),
            RowLocation::Sealed(sealed, row) => (Self::Sealed(sealed), *row),
        }
    }

    /// Returns a value that differs between segments in memory.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Growing(growing) => Arc::as_ptr(growing).addr(),
            Self::Sealed(sealed) => Arc::as_ptr(sealed).addr(),
        }
    }

    /// Whether both are the same segment.
    pub(crate) fn is(&self, other: &SegmentRef<'_>) -> bool {
        match (self, other) {
            (SegmentRef::Growing(a), SegmentRef::Growing(b)) => Arc::ptr_eq(a, b),
            (SegmentRef::Sealed(a), SegmentRef::Sealed(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A segment to search, its rows that match the filter, and the number of hits to search for.
pub(crate) struct Part<'v, 's> {
    pub(crate) source: SegmentRef<'v>,
    pub(crate) selected: Option<&'s RowSet>,
    /// `k` for the first part; for others the expected number plus two standard deviations, as in [`hits_among`].
    pub(crate) hits: usize,
}

/// Search result of one segment.
pub(crate) struct SourceFound {
    pub(crate) neighbors: Vec<Neighbor>,
    pub(super) distances: u64,
    /// Candidates kept (ef); none for a scan.
    pub(crate) ef: Option<u32>,
    /// Expected recall; none if not calibrated.
    pub(super) recall: Option<f32>,
}

impl SourceFound {
    /// The result of a search that compares all rows.
    pub(super) fn exact(found: Found) -> Self {
        Self { neighbors: found.neighbors, distances: found.distances, ef: None, recall: Some(1.0) }
    }
}

/// A possible hit.
#[derive(Clone)]
pub(crate) struct Candidate<'a> {
    /// For keyword queries and fusions, the negated score.
    pub(crate) distance: f32,
    pub(crate) id: PointId,
    pub(crate) source: SegmentRef<'a>,
    pub(crate) row: Ordinal,
}

/// How a query of a call, or a part of it, is searched.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    /// Number of candidates.
    pub(crate) k: usize,
    pub(crate) budget: SearchBudget,
    pub(crate) selection: Option<&'s Selection>,
    /// Matches of the filters of fused queries.
    pub(crate) of_parts: &'s [Selection],
    pub(crate) score_threshold: Option<f32>,
}

/// Selects hits from the candidates of a search, nearest first.
pub(crate) type Choose<'f, 'v> = &'f mut dyn FnMut(Vec<Candidate<'v>>) -> Result<Vec<Candidate<'v>>, Error>;

impl SearchParams {
    /// Fails if the answer would be partial and the caller does not allow that.
    fn answerable(&self, view: &View, collection: &CollectionName) -> Result<(), Error> {
        if self.allow_partial { Ok(()) } else { view.ensure_intact(collection) }
    }
}

impl Collection {
    pub(crate) fn search(&self, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        self.noting_damage(|| self.search_once(queries, params))
    }

    fn search_once(&self, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        limits::batch("queries", queries.len(), limits::MAX_QUERIES)?;
        let budget = search_budget::validate(params, self.settings.ef_search)?;
        for (index, query) in queries.iter().enumerate() {
            validate_query(&field(index, queries.len()), query)?;
        }
        let view = self.view();
        params.answerable(&view, &self.name())?;
        let start = Instant::now();
        let resolved = self.resolve(&view, queries, params.filter.as_deref())?;
        let resolved = self.with_stages(&view, resolved, params)?;
        let embeds = queries.iter().any(|query| !matches!(query, Query::Keywords(_) | Query::Field(_)));
        let embed_time = if embeds { start.elapsed() / queries.len() as u32 } else { Duration::ZERO };
        for _ in 0..LOCK_FREE_READS {
            let (view, answers) = self.answers(&resolved, params, budget, embed_time)?;
            // A point that was replaced meanwhile may be in a segment that this view lacks.
            if params.filter.is_some() || view.additions == self.view().additions {
                return Ok(answers);
            }
        }
        let _held = self.commit_queue.lock();
        Ok(self.answers(&resolved, params, budget, embed_time)?.1)
    }

    /// Answers the queries from the current view. The list ends with the last answer that fits into the response
    /// budget, or with the first query's answer, truncated.
    fn answers(
        &self,
        resolved: &ResolvedCall,
        params: &SearchParams,
        budget: SearchBudget,
        embed_time: Duration,
    ) -> Result<(Arc<View>, Vec<Answer>), Error> {
        // Once for all queries; its time is added to each search.
        let start = Instant::now();
        let (view, selections) = self.view_and_selections(params.filter.as_deref(), &resolved.filters)?;
        params.answerable(&view, &self.name())?;
        let select_time = start.elapsed();
        let (stop, response_budget) = (CancellationToken::current(), Budget::current());
        // An earlier view may have been answered before.
        response_budget.restart();
        let answer = |query: &ResolvedQuery| {
            // Possibly on another thread.
            let answer = || match &params.group_by {
                None => self.answer(&view, query, params, budget, &selections),
                Some(field) => self.answer_grouped(&view, query, params, budget, &selections, field),
            };
            response_budget.add_answer(query.fused())?;
            let mut answer = stop.run(|| response_budget.run(answer))?;
            answer.stats.embed_time = embed_time;
            answer.stats.search_time += select_time;
            Ok(answer)
        };
        // Returns none if the answer does not fit.
        let fitting = |query: &ResolvedQuery| match answer(query) {
            Ok(answer) => Ok(Some(answer).filter(|answer| answer.next_offset.is_none())),
            Err(Error::ResponseTooLarge(_)) => Ok(None),
            Err(error) => Err(error),
        };
        resolved.queries.iter().try_for_each(|query| self.prepare_query(&view, query))?;
        let Some((first, mut others)) = resolved.queries.split_first() else { return Ok((view, Vec::new())) };
        let (start, room) = (Instant::now(), response_budget.left());
        let mut answers = vec![answer(first)?];
        if answers[0].next_offset.is_some() {
            return Ok((view, answers));
        }
        if start.elapsed() * (others.len() as u32) < MIN_PARALLEL_TIME {
            for query in others {
                let Some(answer) = fitting(query)? else { break };
                answers.push(answer);
            }
            return Ok((view, answers));
        }
        // As many in parallel as probably fit into the response, so that few are computed in vain.
        let mut largest = room.saturating_sub(response_budget.left());
        while !others.is_empty() {
            let room = response_budget.left();
            let (now, later) = others.split_at((room / largest.max(1)).clamp(1, others.len()));
            let full = AtomicBool::new(false);
            let one = |query: &ResolvedQuery| {
                if full.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let answer = fitting(query)?;
                full.fetch_or(answer.is_none(), Ordering::Relaxed);
                Ok(answer)
            };
            let found = now.par_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
            answers.extend(found.into_iter().map_while(|answer| answer));
            if full.into_inner() {
                break;
            }
            largest = largest.max(room.saturating_sub(response_budget.left()).div_ceil(now.len()));
            others = later;
        }
        Ok((view, answers))
    }

    pub(crate) fn answer(
        &self,
        view: &View,
        query: &ResolvedQuery,
        params: &SearchParams,
        budget: SearchBudget,
        selections: &Selections,
    ) -> Result<Answer, Error> {
        self.answer_from(view, query, params, budget, selections, &mut Ok)
    }

    /// Returns the hits that `choose` selects from the nearest candidates. Only these are fetched.
    pub(crate) fn answer_from<'v>(
        &self,
        view: &'v View,
        query: &ResolvedQuery,
        params: &SearchParams,
        budget: SearchBudget,
        selections: &Selections,
        choose: Choose<'_, 'v>,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let selection = selections.of_call.as_ref();
        let mut stats = SearchStats {
            filter_matches: selection.map(|selection| selection.count),
            lost_segments: view.damaged.len() as u32,
            fingerprint: self.fingerprint(),
            ..SearchStats::empty()
        };
        let scope = Scope {
            k: params.k as usize,
            budget,
            selection,
            of_parts: &selections.of_parts,
            score_threshold: params.score_threshold,
        };
        let candidates = self.candidates(view, query, scope, &mut stats)?;
        let chosen = choose(candidates)?;
        let response_budget = Budget::current();
        let (mut hits, mut next_offset) = (Vec::new(), None);
        for (candidate, index) in chosen.iter().zip(0..).skip(params.offset as usize) {
            let point = self.point_of(candidate, params.fields)?;
            let hit = Hit { point, distance: candidate.distance, score: self.score(query, candidate.distance) };
            match response_budget.add(&hit.point) {
                Ok(()) => hits.push(hit),
                // End early, but never with nothing.
                Err(Error::ResponseTooLarge(_)) if !hits.is_empty() => {
                    next_offset = Some(index);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        stats.search_time = start.elapsed();
        Ok(Answer { hits, stats, next_offset })
    }

    /// Returns the score for a distance to this query.
    pub(crate) fn score(&self, query: &ResolvedQuery, distance: f32) -> f32 {
        match query {
            ResolvedQuery::Vector(_) => self.metric.score(distance),
            ResolvedQuery::Field(query) => query.metric().score(distance),
            ResolvedQuery::Keywords(_) | ResolvedQuery::Fusion(_) | ResolvedQuery::BestScore(_) => -distance,
            ResolvedQuery::Ranked(query) => self.ranked_score(query, distance),
        }
    }

    /// Returns at most `scope.k` candidates above the threshold, best first, without excluded points.
    pub(crate) fn candidates<'v>(
        &self,
        view: &'v View,
        query: &ResolvedQuery,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        match query {
            ResolvedQuery::Vector(query) => self.vector_candidates(view, query, scope, stats),
            ResolvedQuery::Keywords(query) => {
                stats.path = Path::Keywords;
                stats.expected_recall = Some(1.0).filter(|_| view.damaged.is_empty());
                self.keyword_candidates(view, query, scope)
            }
            ResolvedQuery::Fusion(query) => self.fused_candidates(view, query, scope, stats),
            ResolvedQuery::Field(query) => self.field_candidates(view, query, scope, stats),
            ResolvedQuery::BestScore(query) => self.best_score_candidates(view, query, scope, stats),
            ResolvedQuery::Ranked(query) => self.ranked_candidates(view, query, scope, stats),
        }
    }

    fn vector_candidates<'v>(
        &self,
        view: &'v View,
        query: &Resolved,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        // Excluded points may be among the nearest.
        let k = scope.k + query.exclude.len();
        let sources = sources(view, scope.selection, k);
        let mut tally = Tally::new(scope, stats);
        let mut candidates =
            self.search_parts(&sources, &query.vector, k, scope.budget, &mut |part, found| tally.add(part, found))?;
        tally.finish(view);
        candidates.retain(|candidate| !query.exclude.contains(&candidate.id));
        candidates.truncate(scope.k);
        candidates
            .retain(|candidate| scope.score_threshold.is_none_or(|min| self.metric.score(candidate.distance) >= min));
        Ok(candidates)
    }

    /// Returns the `k` nearest of all parts, searched in order. Calls `each` with the result of every part.
    ///
    /// A part after the first is searched for the number of hits expected from its share of the rows. If it has more
    /// hits than that, it is searched again for all `k`. A point that a write replaced in between is found neither in
    /// its old row, which is dead, nor in the growing segments, which were searched before the write. If there was a
    /// write, they are therefore searched again too.
    pub(crate) fn search_parts<'v>(
        &self,
        parts: &[Part<'v, '_>],
        query: &[f32],
        k: usize,
        budget: SearchBudget,
        each: &mut dyn FnMut(&Part<'v, '_>, &SourceFound),
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let stop = CancellationToken::current();
        let search = |part: &Part<'v, '_>, hits: usize, candidates: &mut Vec<Candidate<'v>>| -> Result<_, Error> {
            stop.check()?;
            let bound = if candidates.len() < k { f32::INFINITY } else { candidates[k - 1].distance };
            let hits = if bound == f32::INFINITY { k } else { hits };
            let budget = budget.of_part(hits, k);
            let found = self.search_source(&part.source, query, k, hits, budget, bound, part.selected)?;
            name_candidates(part.source, &found.neighbors, candidates)?;
            keep_nearest(candidates, k);
            Ok((found, hits))
        };
        let before = self.commit_queue.changes();
        let mut any_repeated = false;
        let mut candidates = Vec::new();
        let mut searched = Vec::with_capacity(parts.len());
        for part in parts.iter().filter(|part| part.selected.is_none_or(|selected| selected.count() > 0)) {
            let (found, hits) = search(part, part.hits, &mut candidates)?;
            searched.push((part, found, hits));
        }
        for (part, mut found, hits) in searched {
            let has = candidates.iter().filter(|candidate| candidate.source.is(&part.source)).count();
            let grows = matches!(part.source, SegmentRef::Growing(_)) && part.selected.is_none();
            if (found.ef.is_some() && has > hits) || (grows && any_repeated && self.commit_queue.changed_since(before))
            {
                any_repeated = true;
                let (again, _) = search(part, k, &mut candidates)?;
                found = SourceFound { distances: found.distances + again.distances, ..again };
            }
            each(part, &found);
        }
        Ok(candidates)
    }

    /// Returns the `k` nearest rows of one segment, or of its `selected` rows. The nearest `hits` are found with the
    /// recall that `budget` demands; rows farther than `bound` may be left out.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn search_source(
        &self,
        source: &SegmentRef<'_>,
        query: &[f32],
        k: usize,
        hits: usize,
        budget: SearchBudget,
        bound: f32,
        selected: Option<&RowSet>,
    ) -> Result<SourceFound, Error> {
        let hits = hits as u32;
        match source {
            SegmentRef::Growing(growing) => {
                let live = growing.live();
                // Expected rows up to the k-th match, if matches are spread evenly.
                let among = selected.map_or(k as u64, |selected| live * k as u64 / selected.count().max(1)).min(live);
                let among = u32::try_from(among).unwrap_or(u32::MAX).max(k as u32);
                let ef = budget.growing(growing, k as u32, among);
                let found = growing.search(query, k, ef, bound, selected)?;
                let (ef, recall) = match ef.filter(|_| found.by_graph) {
                    Some(ef) => (Some(ef), growing.calibration().map(|table| table.expected(ef, among))),
                    None => (None, Some(1.0)),
                };
                Ok(SourceFound { neighbors: found.neighbors, distances: found.distances, ef, recall })
            }
            SegmentRef::Sealed(sealed) => {
                let rows = sealed.rows(self.metric);
                let accept = |row| sealed.is_live(row);
                let is_small = selected.is_some_and(|selected| plan::compares_in_full(selected.count()));
                let (found, ef, recall) = match budget.sealed(sealed, hits).filter(|_| !is_small) {
                    Some((graph, ef)) => {
                        // From ef > rows / 2 the graph compares all rows.
                        let scanned = ef as usize > rows.len() / 2;
                        // Tables are measured without a filter. With one, `ef` matches are kept and all rows between
                        // them are visited, or their codes are scanned, so that recall is not lower.
                        let recall = match sealed.calibration() {
                            _ if scanned => Some(1.0),
                            table => table.map(|table| table.expected(ef, hits)),
                        };
                        let damaged = Cell::new(false);
                        let check = |row| {
                            let sound = sealed.segment.vector_is_sound(row);
                            if !sound && sealed.is_live(row) {
                                damaged.set(true);
                            }
                            sound
                        };
                        let among = selected.map(RowSet::matching);
                        let found = graph.search_checked(rows, query, k, ef as usize, bound, among, &accept, &check);
                        if damaged.get() {
                            return Err(sealed.damage());
                        }
                        (found, Some(ef), recall)
                    }
                    None => {
                        let verify = |rows| sealed.ensure_vectors(rows);
                        let found = match selected {
                            None => scan(rows, query, k, bound, &accept, &verify),
                            Some(selected) => scan_selected(rows, query, k, selected, &verify),
                        }?;
                        (found, None, Some(1.0))
                    }
                };
                Ok(SourceFound { neighbors: found.neighbors, distances: found.distances, ef, recall })
            }
        }
    }

    /// Calls `measure` with the rows of a segment.
    pub(crate) fn distances<T>(&self, source: &SegmentRef<'_>, measure: impl FnOnce(Rows<'_>) -> T) -> T {
        match source {
            SegmentRef::Growing(growing) => measure(growing.rows(&growing.read())),
            SegmentRef::Sealed(sealed) => measure(sealed.rows(self.metric)),
        }
    }

    /// Returns the point of a candidate.
    pub(crate) fn point_of(&self, candidate: &Candidate<'_>, fields: Fields) -> Result<Point, Error> {
        let location = match candidate.source {
            SegmentRef::Growing(growing) => RowLocation::Growing((*growing).clone(), candidate.row.0),
            SegmentRef::Sealed(sealed) => RowLocation::Sealed((*sealed).clone(), candidate.row),
        };
        self.point(candidate.id.clone(), &location, fields)
    }
}

/// Adds the rows found in a segment to the candidates, by id.
///
/// # Errors
/// `Damaged` for an id that cannot be read.
pub(super) fn name_candidates<'v>(
    source: SegmentRef<'v>,
    found: &[Neighbor],
    candidates: &mut Vec<Candidate<'v>>,
) -> Result<(), Error> {
    let mut push = |neighbor: &Neighbor, id: PointId| {
        candidates.push(Candidate { distance: neighbor.distance, id, source, row: neighbor.row });
    };
    match source {
        SegmentRef::Growing(growing) => {
            let table = growing.read();
            found.iter().for_each(|neighbor| push(neighbor, table.ids[neighbor.row.0 as usize].clone()));
        }
        SegmentRef::Sealed(sealed) => {
            for neighbor in found {
                push(neighbor, sealed.id_of(neighbor.row)?);
            }
        }
    }
    Ok(())
}

/// Returns the segments of a view with vectors in search order, each with its selection.
///
/// The largest comes first, because its hits bound the search of the others. Growing segments come last, the newest at
/// the end: a point that is replaced meanwhile appears there before its old row dies.
pub(crate) fn sources<'v, 's>(view: &'v View, selection: Option<&'s Selection>, k: usize) -> Vec<Part<'v, 's>> {
    let mut all = all_sources(view, selection, k);
    all.retain(|part| part.has_vectors());
    let rows: Vec<u64> = all.iter().map(Part::rows).collect();
    let total: u64 = rows.iter().sum();
    for (part, rows) in all.iter_mut().zip(rows).skip(1) {
        part.hits = hits_among(k, rows as f64 / total.max(1) as f64);
    }
    all
}

/// Returns all segments of a view in search order, each with its selection, to be searched for `k` hits.
pub(crate) fn all_sources<'v, 's>(view: &'v View, selection: Option<&'s Selection>, k: usize) -> Vec<Part<'v, 's>> {
    // A selection lists the growing segments first, newest at the front.
    let all = view.growing_newest_first().map(SegmentRef::Growing).chain(view.sealed.iter().map(SegmentRef::Sealed));
    let selected = |index: usize| selection.and_then(|selection| selection.segments.get(index));
    let mut all: Vec<_> =
        all.enumerate().map(|(index, source)| Part { source, selected: selected(index), hits: k }).collect();
    all.reverse();
    all.sort_by_key(|part| match &part.source {
        SegmentRef::Sealed(sealed) => (0, std::cmp::Reverse(sealed.live_rows())),
        SegmentRef::Growing(_) => (1, std::cmp::Reverse(0)),
    });
    all
}

/// Expected number of the `k` nearest in a part with this share of all rows, spread evenly: the mean plus two standard
/// deviations.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn hits_among(k: usize, share: f64) -> usize {
    let mean = k as f64 * share;
    let max = mean + 2.0 * (mean * (1.0 - share)).sqrt();
    (max.ceil() as usize).clamp(1, k.max(1))
}

impl Part<'_, '_> {
    /// Whether rows of the segment may have vectors of the collection.
    fn has_vectors(&self) -> bool {
        match &self.source {
            SegmentRef::Sealed(sealed) => sealed.has_vectors(),
            SegmentRef::Growing(growing) => growing.dimension > 0,
        }
    }

    /// Returns the number of rows that may be hits.
    fn rows(&self) -> u64 {
        match (self.selected, &self.source) {
            (Some(selected), _) => selected.count(),
            (None, SegmentRef::Growing(growing)) => growing.live(),
            (None, SegmentRef::Sealed(sealed)) => sealed.live_rows().into(),
        }
    }
}

/// Adds up the searches of the parts of a view.
pub(super) struct Tally<'s> {
    scope: Scope<'s>,
    stats: &'s mut SearchStats,
    by_graph: bool,
    expectation: ExpectedRecall,
}

impl<'s> Tally<'s> {
    pub(super) fn new(scope: Scope<'s>, stats: &'s mut SearchStats) -> Self {
        Self { scope, stats, by_graph: false, expectation: ExpectedRecall::default() }
    }

    /// Adds the search of one part.
    pub(super) fn add(&mut self, part: &Part<'_, '_>, found: &SourceFound) {
        let stats = &mut *self.stats;
        stats.distances_computed += found.distances;
        stats.ef_used = stats.ef_used.max(found.ef.unwrap_or(0));
        self.by_graph |= found.ef.is_some();
        match part.source {
            SegmentRef::Growing(_) => stats.growing_distances += found.distances,
            SegmentRef::Sealed(_) => {
                stats.segments_by_graph += u32::from(found.ef.is_some());
                stats.segments_by_scan += u32::from(found.ef.is_none());
            }
        }
        stats.recall_unmeasured |=
            matches!(self.scope.budget, SearchBudget::Target(_)) && found.ef.is_some() && found.recall.is_none();
        self.expectation.add(part.rows(), found.recall);
    }

    /// Sets the expected recall and the path.
    pub(super) fn finish(self, view: &View) {
        self.stats.expected_recall = self.expectation.recall().filter(|_| view.damaged.is_empty());
        self.stats.path = match (self.by_graph, self.stats.segments_by_scan) {
            (false, _) if self.scope.selection.is_some() => Path::FilterScan,
            (false, _) => Path::Exact,
            (true, 0) => Path::Graph,
            (true, _) => Path::Mixed,
        };
    }
}

/// Sorts candidates by distance, then id.
pub(super) fn sort_nearest(candidates: &mut [Candidate<'_>]) {
    candidates.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id)));
}

/// Sorts candidates, keeps the nearest of each id, and truncates to the `k` nearest.
pub(super) fn keep_nearest(candidates: &mut Vec<Candidate<'_>>, k: usize) {
    sort_nearest(candidates);
    let mut seen: HashSet<&PointId> = HashSet::with_capacity(candidates.len());
    let first: Vec<bool> = candidates.iter().map(|candidate| seen.insert(&candidate.id)).collect();
    let mut first = first.into_iter();
    candidates.retain(|_| first.next().unwrap_or(false));
    candidates.truncate(k);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Item, Payload, PointInput as Given};
    use crate::collection::commit::PreparedPoint;
    use crate::collection::plan::WriteRequest;
    use crate::collection::recall::tests::empty;

    /// Components of a point, each in 0..1, plus `offset`.
    fn vector(number: usize, offset: f32) -> Vec<f32> {
        (0..8).map(|index| ((number * 8 + index) * 2_654_435_761 % 10_007) as f32 / 10_007.0 + offset).collect()
    }

    #[test]
    fn a_point_replaced_between_the_passes_of_a_search_is_found() {
        let (dir, k) = (tempfile::tempdir().unwrap(), 100);
        let collection = empty(dir.path(), 8, 50_000);
        // Far points, then fewer near ones: the second segment has more than its share of the nearest.
        for (numbers, offset) in [(10_000..14_000, 100.0), (0..2_100, 0.0)] {
            let mut items = numbers.map(|number| Item {
                id: PointId::new(format!("p{number}")).unwrap(),
                source: Given::Vector(vector(number, offset)),
                payload: Payload::new(),
                vectors: Default::default(),
            });
            collection
                .bulk_load(
                    &mut items,
                    crate::collection::bulk::OnConflict::Replace,
                    &mut |_, error| Err(error),
                    &|_, _, _| true,
                )
                .unwrap();
        }
        let view = collection.view();
        let mut parts = sources(&view, None, k);
        assert_eq!(parts.len(), 3);
        // A single candidate leads to few of the others.
        parts[1].hits = 1;
        let (query, budget) = (vec![0.5; 8], SearchBudget::Ef(k as u32));
        let search = |part: &Part<'_, '_>, budget, bound| {
            collection.search_source(&part.source, &query, k, part.hits, budget, bound, None).unwrap().neighbors
        };
        let bound = search(&parts[0], budget, f32::INFINITY).last().unwrap().distance;
        let first_pass = search(&parts[1], budget.of_part(parts[1].hits, k), bound);
        let all = search(&parts[1], SearchBudget::Exact, f32::INFINITY);
        let SegmentRef::Sealed(near) = &parts[1].source else { panic!("the growing segment is last") };
        let missed: Vec<PointId> = all
            .iter()
            .filter(|neighbor| first_pass.iter().all(|found| found.row != neighbor.row))
            .map(|neighbor| near.id_of(neighbor.row).unwrap())
            .collect();
        assert!(!missed.is_empty(), "the first pass finds all of them");
        let mut written = false;
        let found = collection
            .search_parts(&parts, &query, k, budget, &mut |_, _| {
                // Called for the first segment, before the second is searched again.
                if !std::mem::replace(&mut written, true) {
                    let items = missed.iter().map(|id| PreparedPoint {
                        id: id.clone(),
                        vector: vector(id.as_str()[1..].parse().unwrap(), 0.0),
                        body: Box::from(&b"{}"[..]),
                    });
                    collection.write(WriteRequest::Upsert(items.collect())).unwrap();
                }
            })
            .unwrap();
        for id in &missed {
            assert!(found.iter().any(|candidate| candidate.id == *id), "{id} was stored all the time");
        }
    }
}
