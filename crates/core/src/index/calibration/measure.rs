//! Measures a graph: what it reaches for rows that were held out while a graph of the same settings was built.
//!
//! Up to [`SUBSET_ROWS`] rows that graph is over all the others. Of a larger segment it is over as many rows by chance, and
//! what the larger graph misses more is read from stored rows, asked on both: missed shares grow by about the same factor.
//! (From 15,000 to 58,000 rows of 16 and 32 independent components that foretells the recall of k = 10 within 0.02, mostly
//! on the safe side; of k = 1 it says too little.) It costs one such build, and scans of [`BUDGET`] multiplications.
//!
//! What was tried instead of the build: rows asked on the graph itself, their nodes passed by and their neighbours linked anew.
//! In the mean over data sets that can be made right, but one set of 20,000 rows said 0.02 too much.

use super::answers::{Accept, Asked, STEPS, Subject};
use super::table::{Fit, MARGIN};
use super::{Calibration, Curve, CurvePoint};
use crate::index::graph::{self, Expected, Graph};
use crate::index::{Error, GraphParams, Rows};
use crate::math::Components;
use crate::types::{Metric, Ordinal};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::path::Path;

/// Rows that are held out: one in so many, within limits.
const HELD_OUT_ONE_IN: usize = 10;
const HELD_OUT: (usize, usize) = (100, 1_000);
/// Most rows, and most components, of the graph without them.
const SUBSET_ROWS: usize = 1 << 20;
const SUBSET_COMPONENTS: usize = 1 << 27;
/// Stored rows that are asked, within limits; fewer on a large segment, so that their scan has at most so many
/// multiplications: seconds.
const STORED: (usize, usize) = (100, 500);
const BUDGET: u64 = 60_000_000_000;
/// What the larger graph may miss, as a multiple of what the smaller one does.
const GROWTH: (f64, f64) = (1.0, 20.0);
/// What is missed at least, for that multiple.
const LEAST_MISS: f64 = 1e-4;

/// Fewest rows of a graph that is smaller than the measured one only for want of memory: what fewer show of so much larger a
/// graph is not worth a promise.
const LEAST_SUBSET_ROWS: usize = 1 << 14;

/// Bytes of memory that a measurement takes beyond the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureBytes {
    /// On the smallest sample that is measured.
    pub least: u64,
    /// On all rows, or on the largest sample.
    pub most: u64,
}

/// The memory that [`measure`] takes for `rows` rows, of which `live` are accepted. For each row of the subset: its vector in f32 and its
/// norm, what the build of its graph takes, and the graph's bytes. Once: 4 bytes for each row of the segment, and the held-out rows.
pub fn measure_bytes(rows: u64, live: u64, dimension: usize, metric: Metric, m: u32) -> MeasureBytes {
    let most = usize::try_from(live).unwrap_or(usize::MAX).min(most_subset_rows(dimension));
    let bytes = |subset| 4 * rows + subset_bytes(subset, dimension, metric, m);
    MeasureBytes { least: bytes(most.min(LEAST_SUBSET_ROWS)), most: bytes(most) }
}

fn most_subset_rows(dimension: usize) -> usize {
    SUBSET_ROWS.min(SUBSET_COMPONENTS / dimension.max(1)).max(2 * HELD_OUT.0)
}

fn subset_bytes(rows: usize, dimension: usize, metric: Metric, m: u32) -> u64 {
    let (rows, vector) = (rows as u64, 4 * dimension as u64 + 4);
    let asked = 2 * (HELD_OUT.1 + STORED.1) as u64 * vector;
    let graph = graph::build_bytes(rows, dimension, metric, m, false) + graph::file_bytes(rows, dimension, metric, m);
    graph.saturating_add(rows * (vector + 4)).saturating_add(asked)
}

/// The largest subset that takes no more than `memory`.
fn subset_within(memory: u64, rows: Rows<'_>, m: u32) -> usize {
    let memory = memory.saturating_sub(4 * rows.len() as u64);
    let (mut least, mut most) = (0, most_subset_rows(rows.dimension));
    while least < most {
        let middle = least + (most - least).div_ceil(2);
        if subset_bytes(middle, rows.dimension, rows.metric, m) <= memory {
            least = middle;
        } else {
            most = middle - 1;
        }
    }
    least
}

/// Measures `graph` over the accepted rows of `rows`, on which it was built with `params`, on a subset that takes at most
/// `memory` bytes (see [`measure_bytes`]). The same seed and memory draw the same rows. `progress` is told of steps done and of all steps; returning false cancels. None for fewer than 200 rows.
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
    let most = most_subset_rows(rows.dimension).min(subset_within(memory, rows, params.m)).max(2 * HELD_OUT.0);
    let whole = live - held_count <= most;
    let drawn = if whole { live } else { held_count + most };
    let (held, kept) = draw(rows.len(), drawn, held_count, &mut rng, accept);
    let scan = (rows.len() * rows.dimension) as u64;
    let stored_count = (BUDGET / scan.max(1)).clamp(STORED.0 as u64, STORED.1 as u64) as usize;
    // By their place in the subset, so that both graphs can be asked for the same rows.
    let places = sample_rows(kept.len() as u32, stored_count, &mut rng, |_| true);
    let stored: Vec<Asked> = places.iter().map(|place| own(rows, kept[place.0 as usize])).collect();

    let build_steps = kept.len();
    let total = (build_steps + (held.len() + stored.len() * if whole { 1 } else { 2 }) * STEPS) as u64;
    let subset = Subset::of(rows, &kept);
    let subset_graph = subset.graph(params, &|done, _| progress(done, total))?;
    let mut done = build_steps as u64;
    let mut step = |count: usize| {
        done += count as u64;
        if progress(done.min(total), total) { Ok(()) } else { Err(Error::Cancelled { done, total }) }
    };
    let small = Subject { rows: subset.rows(), graph: &subset_graph, accept: &|_| true };
    let large = Subject { rows, graph, accept };
    let held: Vec<Asked> =
        held.iter().map(|&row| Asked { vector: rows.row(row).to_floats().into_owned(), own: None }).collect();
    let damaged = |what| Error::Corrupt { path: graph.path().into(), what };
    let samples = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let mut new = small.curves(&held, &mut step)?;
    let of_stored = large.curves(&stored, &mut step)?;
    if !whole {
        let asked: Vec<Asked> = places.iter().map(|&place| own(small.rows, place)).collect();
        enlarge(&mut new, &of_stored, &small.curves(&asked, &mut step)?).map_err(damaged)?;
    }
    Calibration::new(samples, new, of_stored).map(Some).map_err(damaged)
}

/// A stored row as a query.
fn own(rows: Rows<'_>, row: Ordinal) -> Asked {
    Asked { vector: rows.row(row).to_floats().into_owned(), own: Some(row) }
}

/// From the recall on a subset to that on all rows: at each `ef` what is missed grows as it does for the same stored rows,
/// asked on the `large` graph and on the `small` one. An error says what curve is none.
fn enlarge(new: &mut [Curve], large: &[Curve], small: &[Curve]) -> Result<(), String> {
    let (large, small) = (Fit::of(large)?, Fit::of(small)?);
    for Curve { k, points } in new {
        for CurvePoint { ef, recall, error } in points {
            let (l, s) = (large.at(f64::from(*ef), *k), small.at(f64::from(*ef), *k));
            let miss = |recall: f64| (1.0 - recall).max(LEAST_MISS);
            let growth = (miss(l.0) / miss(s.0)).clamp(GROWTH.0, GROWTH.1);
            let missed = ((1.0 - f64::from(*recall)) * growth).min(1.0);
            // Of the growth only the large graph's error counts: the rows are the same, and much of it with them.
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

    /// A graph over them, in memory.
    fn graph(&self, params: GraphParams, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<Graph, Error> {
        let path = Path::new("the graph without the held-out rows");
        let rows = self.rows();
        let mut bytes = Vec::new();
        graph::build(rows, params, None, progress)?
            .write_to(&mut bytes, 0)
            .map_err(|source| crate::disk::Error::io(path, "write", source))?;
        let expected =
            Expected { rows: rows.len() as u32, dimension: rows.dimension as u32, metric: rows.metric, tag: 0 };
        Graph::from_bytes(bytes, path, expected)
    }
}

/// `drawn` accepted rows of `0..rows` by chance, the first `held` of them apart (in no order), the others ascending.
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
    // Fisher and Yates, as far as needed.
    let shuffled = if drawn == all.len() { held } else { drawn };
    for at in 0..shuffled {
        let other = rng.random_range(at..all.len());
        all.swap(at, other);
    }
    all.truncate(drawn);
    let mut kept = all.split_off(held);
    kept.sort_unstable();
    (all, kept)
}

/// `count` different accepted rows of `0..rows` by chance, fewer where there are fewer (or where nearly none is accepted).
pub fn sample_rows(
    rows: u32,
    count: usize,
    rng: &mut Xoshiro256PlusPlus,
    accept: impl Fn(Ordinal) -> bool,
) -> Vec<Ordinal> {
    let mut chosen = std::collections::BTreeSet::new();
    let mut order = Vec::with_capacity(count.min(rows as usize));
    // Twenty draws a row: enough unless most rows are refused.
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
    fn what_is_missed_grows_as_it_does_for_the_same_stored_rows() {
        let curves = |recall: f32| {
            let point = |ef| CurvePoint { ef, recall, error: 0.001 };
            vec![Curve { k: 10, points: vec![point(10), point(40)] }]
        };
        let mut new = curves(0.9);
        enlarge(&mut new, &curves(0.8), &curves(0.95)).unwrap();
        // The larger graph misses four times as much.
        assert!(new[0].points.iter().all(|point| (point.recall - 0.6).abs() < 0.01), "{new:?}");
        // Never less than on the subset, whatever chance says of the stored rows.
        let mut new = curves(0.9);
        enlarge(&mut new, &curves(0.95), &curves(0.8)).unwrap();
        assert!(new[0].points.iter().all(|point| (point.recall - 0.9).abs() < 1e-6), "{new:?}");
    }
}
