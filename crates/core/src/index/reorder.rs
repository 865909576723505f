//! Row order by proximity, so that neighbours lie close together in memory.
//!
//! Recursive bisection: 2-means on a sample divides the rows in two, down to a few dozen rows. Of two halves, the one
//! nearer to the preceding rows comes first. Graphs profit twice: from memory locality (Coleman et al. 2022, "Graph
//! reordering for cache-efficient near neighbor search"), and in their links, which depend on the insertion order
//! (Elliott and Clark 2024, "The impacts of data, ordering, and intrinsic dimensionality on recall in HNSW").

use super::Rows;
use crate::math;
use crate::types::{Metric, Ordinal};
use rayon::prelude::*;

/// Maximum rows of a leaf, which is not divided further: their codes fill at most one page of memory.
const LEAF: usize = 32;
/// Sample size of 2-means: rows / `SAMPLED_ONE_IN`, clamped to `SAMPLE`.
const SAMPLED_ONE_IN: usize = 16;
const SAMPLE: (usize, usize) = (16, 256);
/// Iterations of 2-means.
const STEPS: usize = 3;
/// Minimum share of the smaller half: 1 / `SMALLER_ONE_IN` of the rows; otherwise the rows are halved evenly.
const SMALLER_ONE_IN: usize = 8;
/// Minimum rows that are divided in parallel.
const SHARED: usize = 4_096;

/// A row of one of several sources.
pub type SourceRow = (u32, Ordinal);

/// Sorts rows of `sources` by proximity. The same rows in the same order give the same result. Returns false, with the
/// rows in any order, as soon as `go_on` returns false.
pub fn reorder_by_proximity(sources: &[Rows<'_>], rows: &mut [SourceRow], go_on: &(dyn Fn() -> bool + Sync)) -> bool {
    let dimension = sources.first().map_or(0, |source| source.dimension);
    Divider { sources, dimension, go_on }.divide(rows, None)
}

struct Divider<'a> {
    sources: &'a [Rows<'a>],
    dimension: usize,
    go_on: &'a (dyn Fn() -> bool + Sync),
}

/// The centres of two halves.
type Centres = [Vec<f32>; 2];

impl Divider<'_> {
    fn divide(&self, rows: &mut [SourceRow], before: Option<&[f32]>) -> bool {
        if rows.len() <= LEAF {
            return true;
        }
        if !(self.go_on)() {
            return false;
        }
        let mut centres = self.centres(rows);
        if before.is_some_and(|before| squared(before, &centres[1]) < squared(before, &centres[0])) {
            centres.swap(0, 1);
        }
        let first = self.part(rows, &centres);
        let (left, right) = rows.split_at_mut(first);
        let [left_centre, _] = &centres;
        let shared = left.len() + right.len() >= SHARED;
        let mut first = || self.divide(left, before);
        let mut second = || self.divide(right, Some(left_centre));
        let (left, right) = if shared { rayon::join(first, second) } else { (first(), second()) };
        left && right
    }

    /// Runs 2-means on a sample, starting from two of its rows that are far apart.
    fn centres(&self, rows: &[SourceRow]) -> Centres {
        let count = (rows.len() / SAMPLED_ONE_IN).clamp(SAMPLE.0, SAMPLE.1);
        let sample: Vec<Vec<f32>> = (0..count).map(|at| self.point(rows[at * rows.len() / count])).collect();
        let farthest = |from: &[f32]| {
            sample.iter().max_by(|a, b| squared(from, a).total_cmp(&squared(from, b))).cloned().unwrap_or_default()
        };
        let one = farthest(&sample[0]);
        let mut centres = [farthest(&one), one];
        for _ in 0..STEPS {
            let mut sums = [vec![0.0; self.dimension], vec![0.0; self.dimension]];
            let mut counts = [0.0_f32; 2];
            for point in &sample {
                let half = usize::from(squared(point, &centres[1]) < squared(point, &centres[0]));
                counts[half] += 1.0;
                sums[half].iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
            }
            if counts.contains(&0.0) {
                break;
            }
            for (sum, count) in sums.iter_mut().zip(counts) {
                sum.iter_mut().for_each(|x| *x /= count);
            }
            centres = sums;
        }
        centres
    }

    /// Moves the rows nearer to the first centre to the front, keeping their order; returns their number.
    fn part(&self, rows: &mut [SourceRow], centres: &Centres) -> usize {
        let [one, other] = centres;
        let towards: Vec<f32> = other.iter().zip(one).map(|(b, a)| b - a).collect();
        let kernels = math::kernels();
        let middle = ((kernels.dot)(other, other) - (kernels.dot)(one, one)) / 2.0;
        let projection = |&row: &SourceRow| {
            let (source, factor) = self.source(row);
            let projection = source.row(row.1).dot(&towards, kernels) * factor;
            // Sort NaN last.
            (if projection.is_nan() { f32::INFINITY } else { projection }, row)
        };
        let placed: Vec<(f32, SourceRow)> = match rows.len() >= SHARED {
            true => rows.par_iter().map(projection).collect(),
            false => rows.iter().map(projection).collect(),
        };
        let halves = |first: &dyn Fn(usize, f32) -> bool| {
            placed.iter().enumerate().partition::<Vec<_>, _>(|&(at, &(projection, _))| first(at, projection))
        };
        let (mut left, mut right) = halves(&|_, projection| projection <= middle);
        if left.len().min(right.len()) * SMALLER_ONE_IN < rows.len() {
            let mut order: Vec<usize> = (0..placed.len()).collect();
            order
                .select_nth_unstable_by(placed.len() / 2, |&a, &b| placed[a].0.total_cmp(&placed[b].0).then(a.cmp(&b)));
            let mut is_left = vec![false; placed.len()];
            order[..placed.len() / 2].iter().for_each(|&at| is_left[at] = true);
            (left, right) = halves(&|at, _| is_left[at]);
        }
        let first = left.len();
        let in_order = left.into_iter().chain(right).map(|(_, &(_, row))| row);
        rows.iter_mut().zip(in_order).for_each(|(to, row)| *to = row);
        first
    }

    /// Returns the source of a row and the factor for its components: 1 / norm under cosine, where only directions
    /// matter.
    fn source(&self, (source, row): SourceRow) -> (&Rows<'_>, f32) {
        let source = &self.sources[source as usize];
        let norm = source.norm(row);
        (source, if source.metric == Metric::Cosine && norm > 0.0 { 1.0 / norm } else { 1.0 })
    }

    fn point(&self, row: SourceRow) -> Vec<f32> {
        let (source, factor) = self.source(row);
        let mut point = source.row(row.1).to_floats().into_owned();
        point.iter_mut().for_each(|x| *x *= factor);
        point
    }
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    (math::kernels().l2_squared)(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::exact;
    use crate::index::test_data::Sample;

    fn all(rows: usize) -> Vec<SourceRow> {
        (0..rows as u32).map(|row| (0, Ordinal(row))).collect()
    }

    #[test]
    fn near_rows_come_together_under_each_metric() {
        for metric in Metric::ALL {
            let sample = Sample::clustered(4_000, 24, metric, 5);
            let rows = sample.rows();
            let mut order = all(rows.len());
            assert!(reorder_by_proximity(&[rows], &mut order, &|| true));
            let mut position = vec![usize::MAX; rows.len()];
            order.iter().enumerate().for_each(|(at, (_, row))| position[row.0 as usize] = at);
            assert!(position.iter().all(|&at| at < rows.len()), "every row once");
            if metric == Metric::Dot {
                // The row with the greatest dot product need not be near.
                continue;
            }
            // By chance, 1/30 of the rows would be this close.
            let close = (0..rows.len()).step_by(40).filter(|&row| {
                let query = rows.row(Ordinal(row as u32)).to_floats();
                let nearest = exact::search(rows, &query, 2, |_| true).neighbors[1].row.0 as usize;
                position[row].abs_diff(position[nearest]) <= LEAF * 2
            });
            let close = close.count();
            assert!(close >= 60, "{metric:?}: the nearest row is close by for {close} of 100");
        }
    }

    #[test]
    fn several_sources_are_ordered_as_one() {
        let sample = Sample::clustered(3_000, 16, Metric::L2, 6);
        let rows = sample.rows();
        let mut whole = all(rows.len());
        assert!(reorder_by_proximity(&[rows], &mut whole, &|| true));
        let parts = [rows.part(0, 1_000), rows.part(1_000, 3_000)];
        let part_of = |row: u32| if row < 1_000 { (0, Ordinal(row)) } else { (1, Ordinal(row - 1_000)) };
        let mut parted: Vec<SourceRow> = (0..3_000).map(part_of).collect();
        assert!(reorder_by_proximity(&parts, &mut parted, &|| true));
        let whole: Vec<SourceRow> = whole.into_iter().map(|(_, row)| part_of(row.0)).collect();
        assert_eq!(parted, whole);
    }

    #[test]
    fn equal_rows_and_rows_of_nan_terminate() {
        let (dimension, count) = (4, 10_000);
        for x in [1.0, 0.0, f32::NAN, f32::INFINITY] {
            let vectors = vec![x; dimension * count];
            let norms: Vec<f32> = vectors.chunks_exact(dimension).map(math::norm).collect();
            for metric in Metric::ALL {
                let vectors = math::Components::F32(&vectors);
                let rows = Rows { vectors, norms: &norms, dimension, metric };
                let mut order = all(count);
                assert!(reorder_by_proximity(&[rows], &mut order, &|| true));
                order.sort_unstable();
                assert_eq!(order, all(count));
            }
        }
        assert!(reorder_by_proximity(&[], &mut [], &|| true));
    }

    #[test]
    fn a_cancelled_reordering_returns_false() {
        let sample = Sample::clustered(1_000, 8, Metric::L2, 7);
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let go_on = || calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3;
        let mut order = all(1_000);
        assert!(!reorder_by_proximity(&[sample.rows()], &mut order, &go_on));
    }
}
