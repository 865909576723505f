//! The nearest neighbours of each point of a layout, by the collection's index; for a sample, also the exact ones.

use super::project::LayoutJob;
use super::request::LayoutPhase;
use super::sample::Chosen;
use crate::api::{CancellationToken, Error, Job};
use crate::collection::search::SegmentRef;
use crate::layout::{NO_NEIGHBOR, Neighbors};
use crate::payload::RowSet;
use crate::segment::scan::scan;
use crate::segment::search_budget::SearchBudget;
use crate::types::{Neighbor, Ordinal};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Neighbours per point.
const NEAREST: usize = 30;
/// Candidates kept by their search (ef).
const EF: u32 = 48;
/// Points per task.
const BATCH: usize = 64;
/// Points whose exact neighbours are computed.
const SAMPLE: usize = 256;
/// Exact neighbours per point.
pub(crate) const TRUE_NEAREST: usize = 10;

/// Maps rows to layout indices.
struct Rows<'a> {
    chosen: &'a Chosen<'a>,
    positions: Vec<Vec<u32>>,
    /// If the layout is a sample: the rows in it.
    selected: Option<Vec<RowSet>>,
}

impl<'a> Rows<'a> {
    fn of(chosen: &'a Chosen<'a>) -> Self {
        let selected = chosen.is_sample().then(|| chosen.selected());
        Self { chosen, positions: chosen.points_of_rows(), selected }
    }

    /// Returns the layout index of a row; `None` if it is not in the layout.
    fn position(&self, source: usize, row: Ordinal) -> Option<u32> {
        self.positions[source].get(row.0 as usize).copied().filter(|&position| position != NO_NEIGHBOR)
    }

    /// Returns the `k` nearest other points, nearest first: by the index, or exactly by a scan.
    fn nearest(&self, point: usize, k: usize, exactly: bool) -> Result<Vec<(f32, u32)>, Error> {
        let (collection, vector) = (self.chosen.collection, self.chosen.stored(point));
        let budget = if exactly { SearchBudget::Exact } else { SearchBudget::Ef(EF.max(k as u32 + 1)) };
        let mut found: Vec<(f32, u32)> = Vec::with_capacity(2 * k);
        for (at, source) in self.chosen.sources.iter().enumerate() {
            let bound = if found.len() > k { found[k].0 } else { f32::INFINITY };
            let neighbors: Vec<Neighbor> = match source {
                SegmentRef::Sealed(sealed) if exactly => {
                    let accept = |row| self.position(at, row).is_some();
                    let verify = |rows| sealed.ensure_vectors(rows);
                    scan(sealed.rows(collection.metric), &vector, k + 1, bound, &accept, &verify)?.neighbors
                }
                _ => {
                    let selected = self.selected.as_ref().map(|selected| &selected[at]);
                    if selected.is_some_and(|selected| selected.count() == 0) {
                        continue;
                    }
                    collection.search_source(source, &vector, k + 1, k + 1, budget, bound, selected)?.neighbors
                }
            };
            let positions = neighbors.iter().filter_map(|near| Some((near.distance, self.position(at, near.row)?)));
            found.extend(positions.filter(|(_, position)| *position as usize != point));
            found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        found.truncate(k);
        Ok(found)
    }
}

impl LayoutJob<'_> {
    /// Returns the nearest neighbours of all points.
    pub(crate) fn neighbors(&self, chosen: &Chosen<'_>) -> Result<Neighbors, Error> {
        self.graphs(chosen)?;
        let (n, rows) = (chosen.points.len(), Rows::of(chosen));
        let k = NEAREST.min(n.saturating_sub(1)).max(1);
        let mut neighbors = Neighbors { k, points: vec![NO_NEIGHBOR; n * k], distances: vec![0.0; n * k] };
        let done = AtomicUsize::new(0);
        let stop = CancellationToken::current();
        let batches = neighbors.points.par_chunks_mut(k * BATCH).zip(neighbors.distances.par_chunks_mut(k * BATCH));
        batches.enumerate().try_for_each(|(batch, (points, distances))| {
            let each = points.chunks_exact_mut(k).zip(distances.chunks_exact_mut(k)).enumerate();
            for (at, (points, distances)) in each {
                let found = stop.run(|| rows.nearest(batch * BATCH + at, k, false))?;
                for ((point, distance), (near, position)) in points.iter_mut().zip(distances).zip(found) {
                    (*point, *distance) = (position, near);
                }
            }
            let done = done.fetch_add(points.len() / k, Ordering::Relaxed) + points.len() / k;
            self.progress(LayoutPhase::Neighbors, done as f32 / n as f32, None)
        })?;
        Ok(neighbors)
    }

    /// Builds missing graphs, because scans for every point would take longer. If that fails, scans are used.
    fn graphs(&self, chosen: &Chosen<'_>) -> Result<(), Error> {
        let lacks_graph =
            |source: &SegmentRef<'_>| matches!(source, SegmentRef::Sealed(sealed) if sealed.needs_graph());
        if !chosen.sources.iter().any(lacks_graph) {
            return Ok(());
        }
        let observe = |job: Job, done: u64, total: u64| {
            let share = if job == Job::Indexing { done as f32 / total.max(1) as f32 } else { 0.0 };
            self.progress(LayoutPhase::Indexing, share.clamp(0.0, 1.0), None).is_ok()
        };
        let built = chosen.collection.build_missing_graphs(&observe);
        self.progress(LayoutPhase::Indexing, 1.0, None)?;
        if let Err(error) = built {
            tracing::warn!(collection = %chosen.collection.name(), %error, "a graph for a layout could not be built; the points are scanned");
        }
        Ok(())
    }

    /// Returns sampled points, each with its exact nearest neighbours in the layout; empty if there are too few points.
    pub(crate) fn true_neighbors(&self, chosen: &Chosen<'_>) -> Result<Vec<(u32, Vec<u32>)>, Error> {
        let n = chosen.points.len();
        if n < TRUE_NEAREST + 2 {
            return Ok(Vec::new());
        }
        let (rows, stop) = (Rows::of(chosen), CancellationToken::current());
        let done = AtomicUsize::new(0);
        let sample = SAMPLE.min(n);
        let one = |at: usize| {
            // Points are in hash order, so any of them are a sample.
            let found = stop.run(|| rows.nearest(at, TRUE_NEAREST, true))?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            self.progress(LayoutPhase::Measuring, done as f32 / sample as f32, None)?;
            Ok((at as u32, found.into_iter().map(|(_, position)| position).collect()))
        };
        (0..sample).into_par_iter().map(one).collect()
    }
}
