//! The life of a query inside a collection: resolve, search every segment, merge, fetch.

use super::filter::{Selected, Selection, plan};
use super::growing::Growing;
use super::open::{Collection, Place, View};
use super::sealed::Sealed;
use super::{Answer, Error, Fields, Hit, Path, Query, SearchParams, SearchStats, limits};
use crate::embed::Input;
use crate::index::{Found, Rows, exact};
use crate::math;
use crate::types::{Metric, Neighbor, Ordinal, PointId};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A scan of more components than this is shared by all cores.
const PARALLEL_SCAN: usize = 1 << 23;

/// A query as a vector, with the points to leave out of its answer.
struct Resolved {
    vector: Vec<f32>,
    exclude: Vec<PointId>,
}

enum Source<'a> {
    Growing(&'a Arc<Growing>),
    Sealed(&'a Arc<Sealed>),
}

struct Candidate<'a> {
    distance: f32,
    id: PointId,
    source: &'a Source<'a>,
    row: Ordinal,
}

impl Collection {
    pub(super) fn search(&self, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        limits::batch("queries", queries.len(), limits::MAX_QUERIES)?;
        let ef = limits::search(params, self.settings.ef_search)?;
        params.filter.as_ref().map_or(Ok(()), |filter| filter.check("params.filter"))?;
        for (place, query) in queries.iter().enumerate() {
            limits::query(&field(place, queries.len()), query)?;
        }
        let view = self.view();
        let start = Instant::now();
        let resolved = self.resolve(&view, queries)?;
        let embed_time = start.elapsed() / queries.len() as u32;
        // Once for all queries; its time is part of each search.
        let start = Instant::now();
        let (view, selection) = match &params.filter {
            None => (view, None),
            Some(filter) => self.view_and_selection(filter).map(|(view, selection)| (view, Some(selection)))?,
        };
        let select_time = start.elapsed();
        let answer = |query: &Resolved| {
            let mut answer = self.answer(&view, query, params, ef, selection.as_ref())?;
            answer.stats.embed_time = embed_time;
            answer.stats.search_time += select_time;
            Ok(answer)
        };
        match resolved.as_slice() {
            [one] => Ok(vec![answer(one)?]),
            many => many.par_iter().map(answer).collect(),
        }
    }

    /// All queries as checked vectors. Texts and images are embedded together.
    fn resolve(&self, view: &View, queries: &[Query]) -> Result<Vec<Resolved>, Error> {
        let name = |place: usize, part: &str| format!("{}.{part}", field(place, queries.len()));
        let mut inputs = Vec::new();
        let mut names = Vec::new();
        for (place, query) in queries.iter().enumerate() {
            match query {
                Query::Text(text) => {
                    inputs.push(Input::Text(text));
                    names.push(name(place, "text"));
                }
                Query::Image(bytes) => {
                    inputs.push(Input::Image(bytes));
                    names.push(name(place, "image"));
                }
                Query::Vector(_) | Query::Id(_) | Query::Arithmetic { .. } => {}
            }
        }
        let mut embedded = self.embed(&inputs, |place| names[place].clone())?.into_iter();
        let mut resolved = Vec::with_capacity(queries.len());
        for (place, query) in queries.iter().enumerate() {
            resolved.push(match query {
                Query::Vector(vector) => {
                    limits::vector(&name(place, "vector"), vector, self.dimension, self.metric)?;
                    Resolved { vector: vector.clone(), exclude: Vec::new() }
                }
                Query::Text(_) | Query::Image(_) => {
                    Resolved { vector: embedded.next().unwrap_or_default(), exclude: Vec::new() }
                }
                Query::Id(id) => Resolved { vector: self.stored_vector(view, id)?, exclude: vec![id.clone()] },
                Query::Arithmetic { plus, minus } => self.arithmetic(view, &name(place, "arithmetic"), plus, minus)?,
            });
        }
        Ok(resolved)
    }

    fn stored_vector(&self, view: &View, id: &PointId) -> Result<Vec<f32>, Error> {
        match view.locate(id) {
            Some(Place::Growing(growing, row)) => Ok(growing.read().vector(row, self.dimension as usize).to_vec()),
            Some(Place::Sealed(sealed, row)) => Ok(sealed.segment.vector(row).to_vec()),
            None => Err(Error::UnknownPoint { collection: self.name.to_string(), id: id.to_string() }),
        }
    }

    /// Plus terms less minus terms: unit vectors under cosine, plain ones otherwise.
    fn arithmetic(&self, view: &View, field: &str, plus: &[String], minus: &[String]) -> Result<Resolved, Error> {
        let mut sum = vec![0.0_f32; self.dimension as usize];
        let mut exclude = Vec::new();
        for (part, terms, sign) in [("plus", plus, 1.0), ("minus", minus, -1.0)] {
            for (place, term) in terms.iter().enumerate() {
                let term_field = format!("{field}.{part}[{place}]");
                let id = PointId::new(term.as_str()).ok();
                let mut vector = match id.as_ref().filter(|id| view.locate(id).is_some()) {
                    Some(id) => self.stored_vector(view, id)?,
                    None if self.embedder.is_none() => {
                        return Err(Error::invalid(
                            term_field,
                            format!("{term:?} is no stored point, and the collection has no embedder"),
                        ));
                    }
                    None => self.embed(&[Input::Text(term)], |_| term_field.clone())?.pop().unwrap_or_default(),
                };
                if self.metric == Metric::Cosine {
                    math::normalize(&mut vector);
                }
                sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += sign * x);
                exclude.extend(id);
            }
        }
        limits::vector(field, &sum, self.dimension, self.metric)?;
        Ok(Resolved { vector: sum, exclude })
    }

    fn answer(
        &self,
        view: &View,
        query: &Resolved,
        params: &SearchParams,
        ef: Option<u32>,
        selection: Option<&Selection>,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let sources: Vec<Source<'_>> =
            view.growing_newest_first().map(Source::Growing).chain(view.sealed.iter().map(Source::Sealed)).collect();
        // Excluded points may take places of their own.
        let k = params.k as usize + query.exclude.len();
        let ef = ef.map(|ef| ef.max(k as u32));
        let mut stats = SearchStats {
            path: Path::Exact,
            ef_used: 0,
            distances_computed: 0,
            growing_distances: 0,
            segments_by_graph: 0,
            segments_by_scan: 0,
            filter_matches: selection.map(|selection| selection.count),
            embed_time: Duration::ZERO,
            search_time: Duration::ZERO,
            fingerprint: self.fingerprint(),
        };
        let mut growing_by_graph = false;
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let selected = selection.map(|selection| &selection.segments[place]);
            if selected.is_some_and(|selected| selected.count() == 0) {
                continue;
            }
            let neighbors = match source {
                Source::Growing(growing) => {
                    let found = growing.search(&query.vector, k, ef, selected)?;
                    growing_by_graph |= found.by_graph;
                    stats.growing_distances += found.distances;
                    stats.distances_computed += found.distances;
                    found.neighbors
                }
                Source::Sealed(sealed) => {
                    let rows = sealed.rows(self.metric);
                    let walks = |ef: &u32| {
                        selected.is_none_or(|selected| !plan::compares(selected.count(), rows.len() as u64, *ef))
                    };
                    let found = match (ef.filter(walks), sealed.graph(), selected) {
                        (Some(ef), Some(graph), selected) => {
                            stats.segments_by_graph += 1;
                            let ef = ef as usize;
                            match selected {
                                None => graph.search(rows, &query.vector, k, ef, |row| sealed.is_live(row)),
                                Some(selected) => {
                                    graph.search(rows, &query.vector, k, ef, |row| selected.contains(row.0))
                                }
                            }
                        }
                        (_, _, None) => {
                            stats.segments_by_scan += 1;
                            scan(rows, &query.vector, k, &|row| sealed.is_live(row))
                        }
                        (_, _, Some(selected)) => {
                            stats.segments_by_scan += 1;
                            scan_selected(rows, &query.vector, k, selected)
                        }
                    };
                    stats.distances_computed += found.distances;
                    found.neighbors
                }
            };
            self.name_candidates(source, &neighbors, &mut candidates);
        }
        stats.path = match (growing_by_graph || stats.segments_by_graph > 0, stats.segments_by_scan) {
            (false, _) if selection.is_some() => Path::FilterScan,
            (false, _) => Path::Exact,
            (true, 0) => Path::Graph,
            (true, _) => Path::Mixed,
        };
        if matches!(stats.path, Path::Graph | Path::Mixed) {
            stats.ef_used = ef.unwrap_or(0);
        }
        candidates.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id)));
        let mut seen: HashSet<&PointId> = query.exclude.iter().collect();
        let chosen: Vec<&Candidate<'_>> = candidates
            .iter()
            .filter(|candidate| seen.insert(&candidate.id))
            .take(params.k as usize)
            .filter(|candidate| {
                params.score_threshold.is_none_or(|least| self.metric.score(candidate.distance) >= least)
            })
            .collect();
        let hits = chosen.into_iter().map(|candidate| self.hit(candidate, params.fields)).collect::<Result<_, _>>()?;
        stats.search_time = start.elapsed();
        Ok(Answer { hits, stats })
    }

    fn name_candidates<'a>(&self, source: &'a Source<'a>, found: &[Neighbor], candidates: &mut Vec<Candidate<'a>>) {
        let mut push = |neighbor: &Neighbor, id: PointId| {
            candidates.push(Candidate { distance: neighbor.distance, id, source, row: neighbor.row });
        };
        match source {
            Source::Growing(growing) => {
                let table = growing.read();
                found.iter().for_each(|neighbor| push(neighbor, table.ids[neighbor.row.0 as usize].clone()));
            }
            Source::Sealed(sealed) => {
                for neighbor in found {
                    // A row whose id is damaged cannot be named; a check of the files reports it.
                    if let Ok(id) = PointId::new(sealed.segment.point_id(neighbor.row)) {
                        push(neighbor, id);
                    }
                }
            }
        }
    }

    fn hit(&self, candidate: &Candidate<'_>, fields: Fields) -> Result<Hit, Error> {
        let place = match candidate.source {
            Source::Growing(growing) => Place::Growing((*growing).clone(), candidate.row.0),
            Source::Sealed(sealed) => Place::Sealed((*sealed).clone(), candidate.row),
        };
        let point = self.point(candidate.id.clone(), &place, fields)?;
        Ok(Hit { point, distance: candidate.distance, score: self.metric.score(candidate.distance) })
    }
}

/// An exact scan, shared by all cores when it is long.
fn scan(rows: Rows<'_>, query: &[f32], k: usize, accept: &(dyn Fn(Ordinal) -> bool + Sync)) -> Found {
    let n = rows.norms.len();
    if rows.vectors.len() < PARALLEL_SCAN {
        return exact::search(rows, query, k, accept);
    }
    let step = n.div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Found> = (0..n)
        .into_par_iter()
        .step_by(step)
        .map(|from| {
            let until = n.min(from + step);
            let part = Rows {
                vectors: &rows.vectors[from * rows.dimension..until * rows.dimension],
                norms: &rows.norms[from..until],
                ..rows
            };
            let mut found = exact::search(part, query, k, |row| accept(Ordinal(row.0 + from as u32)));
            found.neighbors.iter_mut().for_each(|neighbor| neighbor.row.0 += from as u32);
            found
        })
        .collect();
    nearest_of(&parts, k)
}

/// An exact scan of the selected rows, shared by all cores when it is long.
fn scan_selected(rows: Rows<'_>, query: &[f32], k: usize, selected: &Selected) -> Found {
    if selected.count() as usize * rows.dimension < PARALLEL_SCAN {
        return exact::search_rows(rows, query, k, selected.rows());
    }
    let step = selected.words().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Found> = (0..selected.words())
        .into_par_iter()
        .step_by(step)
        .map(|from| {
            let until = selected.words().min(from + step);
            exact::search_rows(rows, query, k, selected.rows_of_words(from..until))
        })
        .collect();
    nearest_of(&parts, k)
}

/// The `k` nearest of what the parts of a scan found.
fn nearest_of(parts: &[Found], k: usize) -> Found {
    let mut neighbors: Vec<Neighbor> = parts.iter().flat_map(|part| part.neighbors.iter().copied()).collect();
    neighbors.sort_unstable();
    neighbors.truncate(k);
    Found { neighbors, distances: parts.iter().map(|part| part.distances).sum() }
}

/// `query` for one, `queries[i]` for one of several.
fn field(place: usize, count: usize) -> String {
    if count == 1 { "query".into() } else { format!("queries[{place}]") }
}
