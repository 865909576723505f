//! Graph over mutable rows: `hnsw_rs` behind checks for its known failures.
//!
//! `hnsw_rs` 0.3.5 panics, exits the process or deadlocks on inputs that this file prevents: M of 1 or above 255,
//! invalid dimensions, NaN, k above ef, two concurrent first inserts. Its filtered search may return nothing, so this
//! file filters the results itself: it searches with a growing `ef`, and finally scans all indexed rows. Every call
//! into it is fenced by `catch_unwind`.
//!
//! All metrics are reduced to squared Euclidean distance. The dot product needs one more component for this,
//! `sqrt(M^2 - norm^2)` (Bachrach et al. 2014, section 3), with M fixed by the first row. A row of a larger norm is not
//! indexed, and its owner scans it exactly.
//!
//! The graph returns candidates only. Distances are computed on the owner's vectors, as everywhere else, because under
//! cosine the graph holds rounded unit vectors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use hnsw_rs::prelude::{Distance, Hnsw};

use super::{Error, Found, GraphParams, Rows, exact};
use crate::math::{self, TopK};
use crate::types::{MAX_DIMENSION, Metric, Neighbor, Ordinal};

/// Maximum number of levels in `hnsw_rs`.
const LEVELS: usize = 16;
/// M of the dot product, as a multiple of the first row's norm.
const HEADROOM: f32 = 4.0;
/// Growth factor of `ef` after a search with too few accepted rows.
const WIDEN: usize = 4;

thread_local! {
    static DISTANCES: Cell<u64> = const { Cell::new(0) };
}

/// Squared Euclidean distance on the kernels of `math`, with a counter.
struct SquaredL2;

impl Distance<f32> for SquaredL2 {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        DISTANCES.set(DISTANCES.get() + 1);
        let distance = math::l2_squared(a, b);
        if distance.is_nan() { f32::MAX } else { distance }
    }
}

/// Graph that grows by one row at a time and can be searched meanwhile. Rows are never removed: the caller's `accept`
/// hides them.
pub struct GrowingIndex {
    dimension: usize,
    metric: Metric,
    capacity: usize,
    graph: Hnsw<'static, f32, SquaredL2>,
    /// M of the dot product, set by the first row.
    max_norm: OnceLock<f32>,
    /// Held during the first insert: `hnsw_rs` loses one of two concurrent first rows.
    first: Mutex<()>,
    reserved: AtomicUsize,
    len: AtomicUsize,
}

impl std::fmt::Debug for GrowingIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingIndex").field("metric", &self.metric).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl GrowingIndex {
    /// Maximum capacity: with more rows, a sealed graph is several times faster and smaller.
    pub const MAX_CAPACITY: usize = 1 << 20;

    /// Creates an empty index for up to `capacity` rows.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] naming the limit.
    pub fn new(dimension: usize, metric: Metric, params: GraphParams, capacity: usize) -> Result<Self, Error> {
        params.check()?;
        let within = |name, got: usize, max: u64| {
            if got >= 1 && got as u64 <= max {
                Ok(())
            } else {
                Err(Error::InvalidParams { name, min: 1, max, got: got as u64 })
            }
        };
        within("dimension", dimension, MAX_DIMENSION.into())?;
        within("capacity", capacity, Self::MAX_CAPACITY as u64)?;
        let graph =
            fenced(|| Hnsw::new(params.m as usize, capacity, LEVELS, params.ef_construction as usize, SquaredL2))?;
        Ok(Self {
            dimension,
            metric,
            capacity,
            graph,
            max_norm: OnceLock::new(),
            first: Mutex::new(()),
            reserved: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
        })
    }

    /// Adds a row. Returns false if it cannot be indexed and its owner must scan it: the index is full or, for the dot
    /// product, the norm is above M.
    ///
    /// Any number of threads may insert and search concurrently. The same row must not be added twice.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::NoDirection`]; [`Error::Hnsw`] if `hnsw_rs` panicked.
    pub fn insert(&self, row: Ordinal, vector: &[f32]) -> Result<bool, Error> {
        self.check(vector)?;
        let norm = math::norm(vector);
        if !norm.is_finite() {
            return if self.metric == Metric::Cosine {
                Err(Error::NoDirection { metric: self.metric })
            } else {
                Ok(false)
            };
        }
        if self.metric == Metric::Dot && self.max_norm.get().is_none() && norm == 0.0 {
            return Ok(false);
        }
        let max_norm = *self.max_norm.get_or_init(|| norm * HEADROOM);
        if self.metric == Metric::Dot && (norm > max_norm || !max_norm.is_finite()) {
            return Ok(false);
        }
        let mut point = vector.to_vec();
        match self.metric {
            Metric::Cosine if !math::normalize(&mut point) => return Err(Error::NoDirection { metric: self.metric }),
            Metric::Dot => point.push(beyond(max_norm, norm)),
            Metric::Cosine | Metric::L2 => {}
        }
        if self.reserved.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
            return Ok(false);
        }
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that finds the index empty keeps the lock during its insert; all others release it immediately.
        let first = (self.len.load(Ordering::Acquire) == 0).then_some(first);
        fenced(|| self.graph.insert_slice((&point, row.0 as usize)))?;
        self.len.fetch_add(1, Ordering::Release);
        drop(first);
        Ok(true)
    }

    /// Returns the `k` nearest accepted rows; fewer only if fewer accepted rows are indexed. `rows` are the inserted
    /// vectors, by row; a row missing from them is infinitely far.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NotFinite`], [`Error::NoDirection`]; [`Error::Hnsw`] if `hnsw_rs` panicked.
    pub fn search(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        accept: impl Fn(Ordinal) -> bool,
    ) -> Result<Found, Error> {
        self.check(query)?;
        let len = self.len();
        let k = k.min(len);
        if k == 0 {
            return Ok(Found::default());
        }
        let mut point = query.to_vec();
        let directed = self.metric == Metric::L2 || math::normalize(&mut point);
        if !directed && self.metric == Metric::Cosine {
            return Err(Error::NoDirection { metric: self.metric });
        }
        // Under the dot product a query without direction is equally near to every row: any order is right, so scan.
        if !directed {
            return self.scan(rows, query, k, &accept, 0);
        }
        if self.metric == Metric::Dot {
            let max_norm = self.max_norm.get().copied().unwrap_or(1.0);
            point.iter_mut().for_each(|x| *x *= max_norm);
            point.push(0.0);
        }
        let query_norm = math::norm(query);
        let mut ef = ef.max(k).min(len);
        let mut distances = 0;
        loop {
            let before = DISTANCES.get();
            let found = fenced(|| self.graph.search(&point, ef, ef))?;
            distances += DISTANCES.get().wrapping_sub(before);
            let mut top = TopK::new(k);
            for neighbour in found {
                let Ok(row) = u32::try_from(neighbour.d_id) else { continue };
                let row = Ordinal(row);
                if accept(row) {
                    top.push(Neighbor { row, distance: exact::distance(rows, row, query, query_norm) });
                    distances += 1;
                }
            }
            if top.len() >= k {
                return Ok(Found { neighbors: top.into_sorted(), distances });
            }
            // Above half of all rows a scan costs no more.
            if ef > len / 2 {
                return self.scan(rows, query, k, &accept, distances);
            }
            ef = ef.saturating_mul(WIDEN).min(len);
        }
    }

    /// Number of indexed rows.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// True if no row is indexed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares every accepted row of the graph, linked or not.
    fn scan(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        accept: &impl Fn(Ordinal) -> bool,
        distances: u64,
    ) -> Result<Found, Error> {
        let query_norm = math::norm(query);
        fenced(|| {
            let (mut top, mut distances) = (TopK::new(k), distances);
            let points = self.graph.get_point_indexation();
            for level in 0..LEVELS {
                // One read lock per level, never nested: a waiting writer would block a second one forever.
                for point in points.get_layer_iterator(level) {
                    let Ok(row) = u32::try_from(point.get_origin_id()) else { continue };
                    let row = Ordinal(row);
                    if accept(row) {
                        top.push(Neighbor { row, distance: exact::distance(rows, row, query, query_norm) });
                        distances += 1;
                    }
                }
            }
            Found { neighbors: top.into_sorted(), distances }
        })
    }

    fn check(&self, vector: &[f32]) -> Result<(), Error> {
        if vector.len() != self.dimension {
            return Err(Error::Dimension { expected: self.dimension, got: vector.len() });
        }
        match vector.iter().position(|x| !x.is_finite()) {
            Some(component) => Err(Error::NotFinite { component }),
            None => Ok(()),
        }
    }
}

/// `sqrt(max^2 - norm^2)`.
#[allow(clippy::cast_possible_truncation)]
fn beyond(max: f32, norm: f32) -> f32 {
    (f64::from(max).powi(2) - f64::from(norm).powi(2)).max(0.0).sqrt() as f32
}

/// Runs a call into `hnsw_rs` and converts a panic to an error.
fn fenced<T>(call: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        Error::Hnsw(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::test_data::Sample;

    fn filled(sample: &Sample, rows: u32) -> GrowingIndex {
        let all = sample.rows();
        let params = GraphParams::new(16, 100, 1, 1).unwrap();
        let index = GrowingIndex::new(all.dimension, all.metric, params, rows as usize).unwrap();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let row = Ordinal(next.fetch_add(1, Ordering::Relaxed) as u32);
                        if row.0 >= rows {
                            break;
                        }
                        index.insert(row, &all.row(row).to_floats()).unwrap();
                        // Search concurrently with the inserts.
                        if row.0.is_multiple_of(64) {
                            index.search(all, &all.row(row).to_floats(), 5, 20, |_| true).unwrap();
                        }
                    }
                });
            }
        });
        index
    }

    #[test]
    fn recall_has_a_floor_for_every_metric() {
        for metric in Metric::ALL {
            for sample in [Sample::clustered(2000, 24, metric, 11), Sample::with_duplicates(2000, 24, metric, 11)] {
                let index = filled(&sample, 2000);
                // Rows whose norm is above M are not indexed.
                let indexed: std::collections::HashSet<u32> = index
                    .search(sample.rows(), &sample.rows().row(Ordinal(0)).to_floats(), 2000, 2000, |_| true)
                    .unwrap()
                    .neighbors
                    .iter()
                    .map(|n| n.row.0)
                    .collect();
                assert_eq!(indexed.len(), index.len());
                assert!(index.len() > 1500, "{metric}: {}", index.len());
                let (mut hits, mut compared) = (0, 0);
                for query in sample.queries(100) {
                    let db = exact::search(sample.rows(), &query, 10, |row| indexed.contains(&row.0)).neighbors;
                    let found = index.search(sample.rows(), &query, 10, 100, |_| true).unwrap();
                    assert_eq!(found.neighbors.len(), 10);
                    compared += found.distances;
                    let norm = math::norm(&query);
                    let same = |n: &Neighbor| n.distance == exact::distance(sample.rows(), n.row, &query, norm);
                    assert!(found.neighbors.iter().all(same), "{metric}: the distances of a scan, to the bit");
                    hits += found.neighbors.iter().filter(|n| n.distance <= db[9].distance).count();
                }
                assert!(hits >= 960, "{metric}: {hits} of 1000");
                assert!(compared < 100 * 1900, "{metric}: the graph was not used: {compared}");
            }
        }
    }

    #[test]
    fn a_filtered_search_returns_enough_rows() {
        for metric in Metric::ALL {
            let sample = Sample::with_duplicates(600, 8, metric, 4);
            let index = filled(&sample, 600);
            for query in sample.queries(10) {
                for every in [1, 2, 10, 50, 300] {
                    let accept = |row: Ordinal| row.0 % every == 1 % every;
                    let held = index.search(sample.rows(), &query, 600, 600, accept).unwrap().neighbors.len();
                    let found = index.search(sample.rows(), &query, 10, 10, accept).unwrap();
                    assert_eq!(found.neighbors.len(), 10.min(held), "{metric} every {every}");
                    assert!(found.neighbors.iter().all(|n| accept(n.row)));
                }
            }
        }
    }

    #[test]
    fn identical_rows_are_all_found() {
        let sample = Sample::of([1.0, 2.0, 3.0].repeat(500), 3, Metric::Cosine, vec![]);
        let index = filled(&sample, 500);
        assert_eq!(index.search(sample.rows(), &[1.0, 2.0, 3.0], 400, 10, |_| true).unwrap().neighbors.len(), 400);
    }

    #[test]
    fn hostile_inputs_are_errors() {
        let params = GraphParams::new(8, 50, 1, 1).unwrap();
        for (m, ef) in [(0, 50), (1, 50), (256, 50), (8, 0), (8, u32::MAX)] {
            let bad = GraphParams { m, ef_construction: ef, ..params };
            assert!(matches!(GrowingIndex::new(4, Metric::L2, bad, 10), Err(Error::InvalidParams { .. })));
        }
        for (dimension, capacity) in [(0, 10), (70_000, 10), (4, 0), (4, usize::MAX)] {
            assert!(GrowingIndex::new(dimension, Metric::L2, params, capacity).is_err());
        }
        for metric in Metric::ALL {
            let index = GrowingIndex::new(2, metric, params, 4).unwrap();
            let all = [0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 1.0, 3.0, 1.0, 4.0, 1.0, 5.0];
            let sample = Sample::of(all.to_vec(), 2, metric, vec![]);
            assert!(index.search(sample.rows(), &[1.0, 0.0], 3, 3, |_| true).unwrap().neighbors.is_empty());
            for bad in [vec![], vec![1.0], vec![1.0; 3], vec![f32::NAN, 0.0], vec![0.0, f32::INFINITY]] {
                assert!(index.insert(Ordinal(0), &bad).is_err());
                assert!(index.search(sample.rows(), &bad, 1, 1, |_| true).is_err());
            }
            assert_eq!(index.insert(Ordinal(0), &[0.0, 0.0]).is_err(), metric == Metric::Cosine);
            let before = index.len();
            for row in 1..=5 {
                index.insert(Ordinal(row), &[1.0, row as f32]).unwrap();
            }
            assert_eq!(index.len(), 4, "{metric}: {before} before; full is full");
            for (k, ef) in [(0, 0), (1, 0), (4, 1), (usize::MAX, 1), (1, usize::MAX)] {
                let found = index.search(sample.rows(), &[1.0, 1.0], k, ef, |_| true).unwrap();
                assert_eq!(found.neighbors.len(), k.min(4));
            }
            assert!(index.search(sample.rows(), &[1.0, 1.0], 2, 2, |_| false).unwrap().neighbors.is_empty());
            assert_eq!(index.search(sample.rows(), &[0.0, 0.0], 1, 1, |_| true).is_err(), metric == Metric::Cosine);
            assert_eq!(
                index.search(sample.rows(), &[3e38, 3e38], 1, 1, |_| true).unwrap().neighbors.len(),
                1,
                "{metric}"
            );
        }
    }

    #[test]
    fn a_longer_row_stays_in_the_tail() {
        let index = GrowingIndex::new(2, Metric::Dot, GraphParams::new(8, 50, 1, 1).unwrap(), 100).unwrap();
        let sample = Sample::of(vec![0.0, 0.0, 1.0, 0.0, 0.0, 4.0, 0.0, 4.1, 3e38, 3e38], 2, Metric::Dot, vec![]);
        assert!(!index.insert(Ordinal(0), &[0.0, 0.0]).unwrap(), "no norm to derive M from");
        assert!(index.insert(Ordinal(1), &[1.0, 0.0]).unwrap());
        assert!(index.insert(Ordinal(2), &[0.0, 4.0]).unwrap());
        assert!(!index.insert(Ordinal(3), &[0.0, 4.1]).unwrap());
        assert!(!index.insert(Ordinal(4), &[3e38, 3e38]).unwrap());
        let found = index.search(sample.rows(), &[0.0, 1.0], 5, 5, |_| true).unwrap();
        assert_eq!(found.neighbors, [(2, -4.0), (1, 0.0)].map(|(r, distance)| Neighbor { row: Ordinal(r), distance }));
    }
}
