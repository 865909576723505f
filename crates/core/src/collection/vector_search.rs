//! Queries on vector fields: dense ones by columns and graphs, sparse ones by indexes, multi-vectors by a scan.

use super::resolve::{ResolvedField, ResolvedQuery, ResolvedTarget};
use super::search::{Candidate, Scope, SegmentRef, SourceFound, Tally, all_sources, keep_nearest, name_candidates};
use super::state::Collection;
use super::view::View;
use crate::api::{CancellationToken, Error, SearchStats};
use crate::index::sparse::{SparseIndex, SparseQuery};
use crate::index::{Found, exact};
use crate::math::{self, TopK};
use crate::payload::RowSet;
use crate::segment::columns::{Column, IndexedVectors};
use crate::segment::plan;
use crate::segment::scan::{scan, scan_by, scan_selected};
use crate::segment::sealed::Sealed;
use crate::segment::search_budget::SearchBudget;
use crate::store::body::{self, EncodedVector};
use crate::types::{Metric, Ordinal};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// Vectors of a stored multi-vector that are multiplied with the query at once.
const MULTI_BLOCK: usize = 64;

impl ResolvedField {
    /// Returns the metric of the distances and scores.
    pub(super) fn metric(&self) -> Metric {
        match self.target {
            ResolvedTarget::Dense(_) => self.field.spec.metric,
            // The negated score.
            ResolvedTarget::Sparse(_) | ResolvedTarget::Multi(_) => Metric::Dot,
        }
    }

    /// Returns the distance for a score.
    pub(super) fn distance_of(&self, score: f32) -> f32 {
        match self.metric() {
            Metric::Cosine => 1.0 - score,
            Metric::Dot | Metric::L2 => -score,
        }
    }

    /// Returns the lowest possible score; none if it has no limit.
    pub(super) fn lowest_score(&self) -> Option<f32> {
        let cosine = self.field.spec.metric == Metric::Cosine;
        match &self.target {
            ResolvedTarget::Dense(_) => cosine.then_some(-1.0),
            ResolvedTarget::Multi(query) => {
                cosine.then_some(-((query.len() / self.field.spec.dimension as usize) as f32))
            }
            ResolvedTarget::Sparse(query) => query.is_nonnegative().then_some(0.0),
        }
    }

    /// Returns the distance to a stored vector; none for a sparse one that shares no index with the query.
    ///
    /// # Errors
    /// A message that describes the damage.
    pub(super) fn distance(&self, stored: EncodedVector<'_>) -> Result<Option<f32>, String> {
        let dimension = self.field.spec.dimension;
        match &self.target {
            ResolvedTarget::Dense(query) => {
                let mut vector = Vec::with_capacity(query.len());
                stored.append_dense(dimension, &mut vector)?;
                let norms = [math::norm(&vector)];
                let rows = crate::index::Rows {
                    vectors: math::Components::F32(&vector),
                    norms: &norms,
                    dimension: query.len(),
                    metric: self.field.spec.metric,
                };
                Ok(Some(exact::distance(rows, Ordinal(0), query, math::norm(query))))
            }
            ResolvedTarget::Sparse(query) => {
                let (mut sum, mut shares) = (0.0_f64, false);
                stored.for_each_component(|index, value| {
                    let product = f64::from(query.at(index)) * f64::from(value);
                    shares |= product != 0.0;
                    sum += product;
                })?;
                Ok(shares.then_some(-sum as f32))
            }
            ResolvedTarget::Multi(query) => {
                let (inner, columns) = (dimension as usize, query.len() / dimension as usize);
                let (mut vectors, mut products) = (Vec::new(), vec![0.0; MULTI_BLOCK * columns]);
                stored.append_multi(dimension, &mut vectors)?;
                let cosine = self.field.spec.metric == Metric::Cosine;
                let mut best = vec![f32::NEG_INFINITY; columns];
                for block in vectors.chunks(MULTI_BLOCK * inner) {
                    let rows = block.len() / inner;
                    let products = &mut products[..rows * columns];
                    math::train::multiply(block, rows, query, columns, inner, products);
                    for (vector, products) in block.chunks_exact(inner).zip(products.chunks_exact(columns)) {
                        let scale = if cosine { math::norm(vector).recip() } else { 1.0 };
                        best.iter_mut().zip(products).for_each(|(best, product)| *best = best.max(product * scale));
                    }
                }
                Ok(Some(-best.iter().sum::<f32>()))
            }
        }
    }
}

impl Collection {
    /// Returns at most `scope.k` candidates above the threshold, best first, without excluded points.
    pub(super) fn field_candidates<'v>(
        &self,
        view: &'v View,
        query: &ResolvedField,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let k = scope.k + query.exclude.len();
        let stop = CancellationToken::current();
        let mut tally = Tally::new(scope, stats);
        let mut candidates: Vec<Candidate<'v>> = Vec::new();
        let parts = all_sources(view, scope.selection, k);
        for part in parts.iter().filter(|part| part.selected.is_none_or(|selected| selected.count() > 0)) {
            stop.check()?;
            let bound = if candidates.len() < k { f32::INFINITY } else { candidates[k - 1].distance };
            let found = match &part.source {
                SegmentRef::Sealed(sealed) => {
                    self.search_sealed_field(sealed, query, k, scope.budget, bound, part.selected)?
                }
                SegmentRef::Growing(growing) => {
                    let found = match &query.target {
                        ResolvedTarget::Dense(vector) => {
                            growing.scan_column(&query.field, vector, k, bound, part.selected)?
                        }
                        _ => growing.scan_bodies(&query.field, k, part.selected, &|stored| query.distance(stored))?,
                    };
                    SourceFound::exact(found)
                }
            };
            tally.add(part, &found);
            name_candidates(part.source, &found.neighbors, &mut candidates)?;
            keep_nearest(&mut candidates, k);
        }
        tally.finish(view);
        let metric = query.metric();
        candidates.retain(|candidate| !query.exclude.contains(&candidate.id));
        candidates.truncate(scope.k);
        candidates.retain(|candidate| scope.score_threshold.is_none_or(|min| metric.score(candidate.distance) >= min));
        Ok(candidates)
    }

    fn search_sealed_field(
        &self,
        sealed: &Arc<Sealed>,
        query: &ResolvedField,
        k: usize,
        budget: SearchBudget,
        bound: f32,
        selected: Option<&RowSet>,
    ) -> Result<SourceFound, Error> {
        let ResolvedTarget::Dense(vector) = &query.target else {
            let few = selected.is_some_and(|selected| plan::compares_in_full(selected.count()));
            if let ResolvedTarget::Sparse(sparse) = &query.target
                && sparse.is_indexable()
                && !few
                && let Some(index) = sealed.sparse_index(&query.field, self.index_build_bytes())?
            {
                return self.search_sparse(sealed, query, sparse, &index, k, budget, selected);
            }
            return self.scan_bodies(sealed, query, k, selected);
        };
        let Some(column) = column(sealed, &query.field)? else { return self.scan_bodies(sealed, query, k, selected) };
        let own = selected.and_then(|selected| column.selected(selected));
        let of_column = own.as_ref().or(selected);
        match search_column(sealed, &column, query.field.spec.metric, vector, k, budget, bound, of_column) {
            Err(Error::Damaged { .. }) => {
                // Built again by the next query or in the background, and not here, where the thread may be one of many
                // that answer a batch and would wait for them.
                sealed.discard_column(&query.field, &column);
                self.scan_bodies(sealed, query, k, selected)
            }
            found => found,
        }
    }

    /// Compares the vectors in the bodies of a sealed segment.
    fn scan_bodies(
        &self,
        sealed: &Sealed,
        query: &ResolvedField,
        k: usize,
        selected: Option<&RowSet>,
    ) -> Result<SourceFound, Error> {
        let rows = selected.map_or(0..sealed.segment.rows(), RowSet::range);
        let found = scan_by(rows, k, &|row| {
            if !sealed.is_live(row) || selected.is_some_and(|selected| !selected.contains(row.0)) {
                return Ok(None);
            }
            query.field.distance_sealed(sealed, row, &|stored| query.distance(stored))
        })?;
        Ok(SourceFound::exact(found))
    }

    /// Opens or builds the indexes of fields that a query reads. Called by one thread for all queries of a call: a thread
    /// that builds an index on all cores must not wait for one that waits for this index.
    pub(super) fn prepare_query(&self, view: &View, query: &ResolvedQuery) -> Result<(), Error> {
        match query {
            ResolvedQuery::Vector(_) | ResolvedQuery::BestScore(_) => Ok(()),
            ResolvedQuery::Keywords(query) => {
                let mut sealed = view.sealed.iter();
                sealed.try_for_each(|sealed| sealed.text(&query.field, self.index_build_bytes()).map(drop))
            }
            ResolvedQuery::Field(query) => view.sealed.iter().try_for_each(|sealed| match &query.target {
                ResolvedTarget::Dense(_) => column(sealed, &query.field).map(drop),
                ResolvedTarget::Sparse(_) => sealed.sparse_index(&query.field, self.index_build_bytes()).map(drop),
                ResolvedTarget::Multi(_) => Ok(()),
            }),
            ResolvedQuery::Fusion(query) => {
                query.parts.iter().try_for_each(|part| self.prepare_query(view, &part.query))
            }
            ResolvedQuery::Ranked(query) => {
                let rerank = query.stages.rerank.as_ref().map(|(query, _)| query);
                std::iter::once(&query.query).chain(rerank).try_for_each(|query| self.prepare_query(view, query))
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn search_sparse(
        &self,
        sealed: &Sealed,
        query: &ResolvedField,
        sparse: &SparseQuery,
        index: &SparseIndex,
        k: usize,
        budget: SearchBudget,
        selected: Option<&RowSet>,
    ) -> Result<SourceFound, Error> {
        let stop = CancellationToken::current();
        let allowed = |row: u32| sealed.is_live(Ordinal(row)) && selected.is_none_or(|selected| selected.contains(row));
        let exact = |row: u32| {
            let distance = query.field.distance_sealed(sealed, Ordinal(row), &|stored| query.distance(stored))?;
            Ok::<f32, Error>(distance.map_or(0.0, |distance| -distance))
        };
        let rows = u64::from(sealed.segment.rows());
        let among = selected.map_or(u64::from(sealed.live_rows()), RowSet::count).max(1);
        let unfiltered = (k as u64).saturating_mul(rows).div_ceil(among);
        let components = (sparse.components() as u64).saturating_mul(rows);
        let long = components > index.components() / 2;
        // Queries that are longer than rows were not measured, and recall falls with the length.
        let table = sealed.sparse_calibration(&query.field).filter(|_| components <= index.components());
        let (omitted, recall) = budget.on_sparse(table.as_deref(), unfiltered, long).unwrap_or((0.0, 1.0));
        let mut top = TopK::new(k);
        let compared = index.search(sparse, &mut top, &allowed, &exact, &|| stop.is_cancelled(), k, omitted)?;
        stop.check()?;
        let found = Found { neighbors: top.into_sorted(), distances: compared };
        Ok(SourceFound { recall: Some(recall), ..SourceFound::exact(found) })
    }

    /// Whether a candidate has a vector in the field of a query.
    pub(super) fn has_field_vector(&self, query: &ResolvedField, candidate: &Candidate<'_>) -> bool {
        let number = query.field.spec.number;
        match candidate.source {
            SegmentRef::Sealed(sealed) => body::vector_of(sealed.segment.body(candidate.row), number).is_some(),
            SegmentRef::Growing(growing) => {
                body::vector_of(&growing.read().bodies[candidate.row.0 as usize], number).is_some()
            }
        }
    }

    /// Returns the score of a candidate; none if it has no vector in the field, or shares
    /// no index with a sparse query.
    pub(super) fn field_score(&self, query: &ResolvedField, candidate: &Candidate<'_>) -> Result<Option<f32>, Error> {
        let distance = match candidate.source {
            SegmentRef::Sealed(sealed) => {
                query.field.distance_sealed(sealed, candidate.row, &|stored| query.distance(stored))?
            }
            SegmentRef::Growing(growing) => {
                query.field.distance_growing(&growing.read(), candidate.row, &|stored| query.distance(stored))?
            }
        };
        Ok(distance.map(|distance| query.metric().score(distance)))
    }
}

/// Returns the column of a dense field, opened or built; none if its file cannot be kept: the disk is full, or the segment
/// was merged since the view of the query, and its files removed.
///
/// # Errors
/// `Damaged` for a damaged row; `Abandoned`.
fn column(sealed: &Sealed, field: &IndexedVectors) -> Result<Option<Arc<Column>>, Error> {
    match sealed.column(field) {
        Ok(column) => Ok(Some(column)),
        Err(error @ (Error::Abandoned | Error::Damaged { .. })) => Err(error),
        Err(error) => {
            let path = sealed.segment.path().display();
            tracing::debug!(%path, %error, "the vectors of a field are read from the points");
            Ok(None)
        }
    }
}

/// Returns the `k` nearest live rows of the segment, or of the `selected` rows of the column, as rows of the segment.
///
/// # Errors
/// `Damaged` for a damaged column; `Abandoned`.
#[allow(clippy::too_many_arguments)]
fn search_column(
    sealed: &Sealed,
    column: &Column,
    metric: Metric,
    query: &[f32],
    k: usize,
    budget: SearchBudget,
    bound: f32,
    selected: Option<&RowSet>,
) -> Result<SourceFound, Error> {
    let rows = column.vectors(metric);
    if rows.is_empty() {
        return Ok(SourceFound::exact(Found::default()));
    }
    let accept = |row: Ordinal| sealed.is_live(column.row_of(row));
    let damage = || Error::Damaged { what: format!("{}: damaged", column.segment.path().display()) };
    let is_small = selected.is_some_and(|selected| plan::compares_in_full(selected.count()));
    let (calibration, components) = (column.calibration(), rows.vectors.len());
    let ef = column
        .graph()
        .and_then(|graph| Some((graph, budget.on_graph(calibration.as_deref(), components, k as u32)?)))
        .filter(|_| !is_small);
    let (mut found, ef, recall) = match ef {
        Some((graph, ef)) => {
            let scanned = ef as usize > rows.len() / 2;
            let recall = if scanned { Some(1.0) } else { calibration.map(|table| table.expected(ef, k as u32)) };
            let damaged = Cell::new(false);
            let check = |row| {
                let sound = column.segment.vector_is_sound(row);
                damaged.set(damaged.get() | !sound);
                sound
            };
            let among = selected.map(RowSet::matching);
            let found = graph.search_checked(rows, query, k, ef as usize, bound, among, &accept, &check);
            if damaged.get() {
                return Err(damage());
            }
            (found, Some(ef), recall)
        }
        None => {
            let verify = |rows: Range<u32>| match column.segment.unsound_vector(rows) {
                Some(_) => Err(damage()),
                None => Ok(()),
            };
            let found = match selected {
                None => scan(rows, query, k, bound, &accept, &verify),
                Some(selected) => scan_selected(rows, query, k, selected, &verify),
            }?;
            (found, None, Some(1.0))
        }
    };
    found.neighbors.iter_mut().for_each(|neighbor| neighbor.row = column.row_of(neighbor.row));
    Ok(SourceFound { neighbors: found.neighbors, distances: found.distances, ef, recall })
}
