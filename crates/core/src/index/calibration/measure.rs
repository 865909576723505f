//! Measurement of a graph: the recall of held-out rows on a graph of the same settings that is built without them.
//!
//! Up to [`SUBSET_ROWS`] rows, that graph covers all other rows. For a larger segment it covers as many random rows.
//! The additional misses of the larger graph are estimated from stored rows, queried on both graphs: the miss (1 -
//! recall) grows by about the same factor. (From 15,000 to 58,000 rows of 16 and 32 independent components this
//! predicts the recall of k = 10 within 0.02, mostly on the safe side; it underestimates that of k = 1.) The cost is
//! one build of the smaller graph, and scans of [`BUDGET`] multiplications.
//!
//! Rejected alternative to the build: queries with rows of the graph itself, with their nodes bypassed and their
//! neighbours linked again. Averaged over data sets it can be made correct, but on one set of 20,000 rows its recall
//! was 0.02 too high.

use super::answers::{Accept, STEPS, SampleQuery, Subject};
use super::table::{Fit, MARGIN};
use super::{Calibration, Curve, CurvePoint};
use crate::index::hnsw::{self, Expected, Graph};
use crate::index::{Error, GraphParams, Rows};
use crate::math::Components;
use crate::types::{Metric, Ordinal};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::path::Path;

/// Number of held-out rows: live rows / `HELD_OUT_ONE_IN`, clamped to `HELD_OUT`.
const HELD_OUT_ONE_IN: usize = 10;
const HELD_OUT: (usize, usize) = (100, 1_000);
/// Maximum rows, and maximum components, of the graph without the held-out rows.
const SUBSET_ROWS: usize = 1 << 20;
const SUBSET_COMPONENTS: usize = 1 << 27;
/// Number of stored rows to query: as many as a scan of [`BUDGET`] multiplications (seconds) allows, clamped to
/// `STORED`.
const STORED: (usize, usize) = (100, 500);
const BUDGET: u64 = 60_000_000_000;
/// Limits of the ratio (miss of the larger graph) / (miss of the smaller graph).
const GROWTH: (f64, f64) = (1.0, 20.0);
/// Lower bound of a miss in that ratio.
const MIN_MISS: f64 = 1e-4;

/// Minimum rows of a subset that only memory makes smaller than the segment: fewer rows cannot support a guarantee for
/// a much larger graph.
const MIN_SUBSET_ROWS: usize = 1 << 14;

/// Memory of a measurement in bytes, beyond the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureBytes {
    /// With the smallest subset.
    pub min: u64,
    /// With all rows, or with the largest subset.
    pub max: u64,
}

/// Returns the memory of [`measure`] for `rows` rows with `live` accepted ones. For each row of the subset: its vector
/// in f32 and its norm, the build memory of its graph, and the bytes of the graph. Once: 4 bytes for each row of the
/// segment, and the held-out rows.
pub fn measure_bytes(rows: u64, live: u64, dimension: usize, metric: Metric, m: u32) -> MeasureBytes {
    let max = usize::try_from(live).unwrap_or(usize::MAX).min(max_subset_rows(dimension));
    let bytes = |subset| 4 * rows + subset_bytes(subset, dimension, metric, m);
    MeasureBytes { min: bytes(max.min(MIN_SUBSET_ROWS)), max: bytes(max) }
}

fn max_subset_rows(dimension: usize) -> usize {
    SUBSET_ROWS.min(SUBSET_COMPONENTS / dimension.max(1)).max(2 * HELD_OUT.0)
}

fn subset_bytes(rows: usize, dimension: usize, metric: Metric, m: u32) -> u64 {
    let (rows, vector) = (rows as u64, 4 * dimension as u64 + 4);
    let queries = 2 * (HELD_OUT.1 + STORED.1) as u64 * vector;
    let graph = hnsw::build_bytes(rows, dimension, metric, m, false) + hnsw::file_bytes(rows, dimension, metric, m);
    graph.saturating_add(rows * (vector + 4)).saturating_add(queries)
}

/// Returns the number of rows of the largest subset within `memory` bytes.
fn subset_within(memory: u64, rows: Rows<'_>, m: u32) -> usize {
    let memory = memory.saturating_sub(4 * rows.len() as u64);
    let (mut low, mut high) = (0, max_subset_rows(rows.dimension));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if subset_bytes(middle, rows.dimension, rows.metric, m) <= memory {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// Measures `graph`, which was built on `rows` with `params`, over the accepted rows, on a subset that takes at most
/// `memory` bytes (see [`measure_bytes`]). The same seed and memory select the same rows. `progress` receives (steps
/// done, all steps) and returns false to cancel. Returns None for fewer than 200 rows.
///
/// # Errors
/// [`Error::Cancelled`]; those of the build.
pub fn measure(
    rows: Rows<'_>,
    graph: &Graph,
    accept: Accept<'_>,
    params: GraphParams,
    memory: u64,
    seed: u64,
    progress: &(dyn Fn(u64, u64) -> bool + Sync),
) -> Result<Option<Calibration>, Error> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let live = (0..rows.len()).filter(|&row| accept(Ordinal(row as u32))).count();
    let held_count = (live / HELD_OUT_ONE_IN).clamp(HELD_OUT.0, HELD_OUT.1);
    if live < 2 * HELD_OUT.0 || rows.dimension == 0 {
        return Ok(None);
    }
    let max = max_subset_rows(rows.dimension).min(subset_within(memory, rows, params.m)).max(2 * HELD_OUT.0);
    let whole = live - held_count <= max;
    let drawn = if whole { live } else { held_count + max };
    let (held, selected) = draw(rows.len(), drawn, held_count, &mut rng, accept);
    let scan = (rows.len() * rows.dimension) as u64;
    let stored_count = (BUDGET / scan.max(1)).clamp(STORED.0 as u64, STORED.1 as u64) as usize;
    // By position in the subset, so that both graphs can be queried with the same rows.
    let sampled = sample_rows(selected.len() as u32, stored_count, &mut rng, |_| true);
    let stored: Vec<SampleQuery> = sampled.iter().map(|at| own(rows, selected[at.0 as usize])).collect();

    let build_steps = selected.len();
    let total = (build_steps + (held.len() + stored.len() * if whole { 1 } else { 2 }) * STEPS) as u64;
    let subset = Subset::of(rows, &selected);
    let subset_graph = subset.graph(params, &|done, _| progress(done, total))?;
    let mut done = build_steps as u64;
    let mut step = |count: usize| {
        done += count as u64;
        if progress(done.min(total), total) { Ok(()) } else { Err(Error::Cancelled { done, total }) }
    };
    let small = Subject { rows: subset.rows(), graph: &subset_graph, accept: &|_| true };
    let large = Subject { rows, graph, accept };
    let held: Vec<SampleQuery> =
        held.iter().map(|&row| SampleQuery { vector: rows.row(row).to_floats().into_owned(), own: None }).collect();
    let damaged = |what| Error::Corrupt { path: graph.path().into(), what };
    let samples = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let mut new = small.curves(&held, &mut step)?;
    let of_stored = large.curves(&stored, &mut step)?;
    if !whole {
        let stored_small: Vec<SampleQuery> = sampled.iter().map(|&at| own(small.rows, at)).collect();
        enlarge(&mut new, &of_stored, &small.curves(&stored_small, &mut step)?).map_err(damaged)?;
    }
    Calibration::new(samples, new, of_stored).map(Some).map_err(damaged)
}

/// Returns a stored row as a query.
fn own(rows: Rows<'_>, row: Ordinal) -> SampleQuery {
    SampleQuery { vector: rows.row(row).to_floats().into_owned(), own: Some(row) }
}

/// Extrapolates recall from a subset to all rows: at each `ef` the miss grows by the same factor as for the same stored
/// rows from the `small` graph to the `large` one. The error names the invalid curve.
fn enlarge(new: &mut [Curve], large: &[Curve], small: &[Curve]) -> Result<(), String> {
    let (large, small) = (Fit::of(large)?, Fit::of(small)?);
    for Curve { k, points } in new {
        for CurvePoint { ef, recall, error } in points {
            let (l, s) = (large.at(f64::from(*ef), *k), small.at(f64::from(*ef), *k));
            let miss = |recall: f64| (1.0 - recall).max(MIN_MISS);
            let growth = (miss(l.0) / miss(s.0)).clamp(GROWTH.0, GROWTH.1);
            let missed = ((1.0 - f64::from(*recall)) * growth).min(1.0);
            // Count only the large graph's error of the growth: the rows are the same, so the errors are correlated.
            let unsure = missed * (l.0 - l.1) / MARGIN / miss(l.0);
            *recall = (1.0 - missed) as f32;
            *error = (f64::from(*error) * growth).hypot(unsure).min(1.0) as f32;
        }
    }
    Ok(())
}

/// Rows copied out of a segment.
struct Subset<'a> {
    vectors: Vec<f32>,
    norms: Vec<f32>,
    of: Rows<'a>,
}

impl<'a> Subset<'a> {
    fn of(of: Rows<'a>, rows: &[Ordinal]) -> Self {
        let mut vectors = Vec::with_capacity(rows.len() * of.dimension);
        rows.iter().for_each(|&row| vectors.extend_from_slice(&of.row(row).to_floats()));
        Self { vectors, norms: rows.iter().map(|&row| of.norm(row)).collect(), of }
    }

    fn rows(&self) -> Rows<'_> {
        Rows { vectors: Components::F32(&self.vectors), norms: &self.norms, ..self.of }
    }

    /// Builds a graph over the rows, in memory.
    fn graph(&self, params: GraphParams, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<Graph, Error> {
        let path = Path::new("the graph without the held-out rows");
        let rows = self.rows();
        let mut bytes = Vec::new();
        hnsw::build(rows, params, None, progress)?
            .write_to(&mut bytes, 0)
            .map_err(|source| crate::disk::Error::io(path, "write", source))?;
        let expected =
            Expected { rows: rows.len() as u32, dimension: rows.dimension as u32, metric: rows.metric, tag: 0 };
        Graph::from_bytes(bytes, path, expected)
    }
}

/// Draws `drawn` accepted rows of `0..rows` at random: the first `held` separately (unordered), the others ascending.
fn draw(
    rows: usize,
    drawn: usize,
    held: usize,
    rng: &mut Xoshiro256PlusPlus,
    accept: Accept<'_>,
) -> (Vec<Ordinal>, Vec<Ordinal>) {
    let mut all: Vec<Ordinal> = (0..rows).map(|row| Ordinal(row as u32)).filter(|&row| accept(row)).collect();
    let drawn = drawn.min(all.len());
    let held = held.min(drawn);
    // Fisher-Yates shuffle, as far as needed.
    let shuffled = if drawn == all.len() { held } else { drawn };
    for at in 0..shuffled {
        let other = rng.random_range(at..all.len());
        all.swap(at, other);
    }
    all.truncate(drawn);
    let mut selected = all.split_off(held);
    selected.sort_unstable();
    (all, selected)
}

/// Draws `count` different accepted rows of `0..rows` at random; fewer if there are fewer (or almost none is accepted).
pub fn sample_rows(
    rows: u32,
    count: usize,
    rng: &mut Xoshiro256PlusPlus,
    accept: impl Fn(Ordinal) -> bool,
) -> Vec<Ordinal> {
    let mut chosen = std::collections::BTreeSet::new();
    let mut order = Vec::with_capacity(count.min(rows as usize));
    // 20 draws per row are enough unless most rows are rejected.
    for _ in 0..count.saturating_mul(20) {
        if order.len() >= count || rows == 0 {
            break;
        }
        let row = Ordinal(rng.random_range(0..rows));
        if accept(row) && chosen.insert(row) {
            order.push(row);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_miss_grows_by_the_factor_of_the_same_stored_rows() {
        let curves = |recall: f32| {
            let point = |ef| CurvePoint { ef, recall, error: 0.001 };
            vec![Curve { k: 10, points: vec![point(10), point(40)] }]
        };
        let mut new = curves(0.9);
        enlarge(&mut new, &curves(0.8), &curves(0.95)).unwrap();
        // The larger graph misses four times as much.
        assert!(new[0].points.iter().all(|point| (point.recall - 0.6).abs() < 0.01), "{new:?}");
        // The growth is at least 1, even if the stored rows show less.
        let mut new = curves(0.9);
        enlarge(&mut new, &curves(0.95), &curves(0.8)).unwrap();
        assert!(new[0].points.iter().all(|point| (point.recall - 0.9).abs() < 1e-6), "{new:?}");
    }
}
