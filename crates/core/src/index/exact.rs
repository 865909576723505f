//! Exact scan of all accepted rows: the reference for all other searches, and the fallback while a graph is being
//! built.

use super::{Found, Rows, rows};
use crate::math::{self, TopK};
use crate::types::{Metric, Neighbor, Ordinal};

/// Number of rows to prefetch ahead: accepted rows may be far apart, where the hardware does not prefetch.
const AHEAD: u32 = 4;
/// Cache lines of a row to prefetch; the hardware prefetches the rest.
const LINES: usize = 4;

/// Returns the `k` nearest accepted rows.
///
/// `query` must have `rows.dimension` components; with another length the result is empty. A distance that overflows
/// counts as infinite. Time: one pass over the accepted rows, at about memory bandwidth.
pub fn search(rows: Rows<'_>, query: &[f32], k: usize, accept: impl Fn(Ordinal) -> bool) -> Found {
    search_within(rows, query, k, f32::INFINITY, accept)
}

/// [`search`] without the rows that are certainly farther than `bound`: may return fewer than `k`. Callers that have
/// `k` rows already pass the distance of the last one.
pub fn search_within(rows: Rows<'_>, query: &[f32], k: usize, bound: f32, accept: impl Fn(Ordinal) -> bool) -> Found {
    if query.len() != rows.dimension || k == 0 {
        return Found::default();
    }
    let kernels = math::kernels();
    let query_norm = math::norm(query);
    let mut top = TopK::new(k.min(rows.len()));
    // Slightly above the square, so that rounding does not drop rows at the bound.
    let bound = if rows.metric == Metric::L2 { bound * bound * (1.0 + 4.0 * f32::EPSILON) } else { bound };
    let mut distances = 0_u64;
    #[allow(clippy::cast_possible_truncation)]
    for ordinal in (0..rows.len() as u32).map(Ordinal) {
        if !accept(ordinal) {
            continue;
        }
        rows.row(Ordinal(ordinal.0.saturating_add(AHEAD))).prefetch(LINES);
        distances += 1;
        // Compare squared distances and take the roots of the results only: the order is the same.
        let distance = match rows.metric {
            Metric::L2 => rows.row(ordinal).l2_squared(query, kernels),
            metric => rows::distance(metric, rows.row(ordinal), rows.norm(ordinal), query, query_norm, kernels),
        };
        if distance <= top.worst().min(bound) || distance.is_nan() {
            top.push(Neighbor { row: ordinal, distance });
        }
    }
    let mut neighbors = top.into_sorted();
    if rows.metric == Metric::L2 {
        for neighbor in &mut neighbors {
            neighbor.distance = neighbor.distance.sqrt();
        }
        neighbors.sort_unstable();
    }
    Found { neighbors, distances }
}

/// [`search`] over the rows of an iterator, for a small subset of the rows. Rows that do not exist are infinitely far.
pub fn search_rows(rows: Rows<'_>, query: &[f32], k: usize, given: impl Iterator<Item = Ordinal> + Clone) -> Found {
    if query.len() != rows.dimension || k == 0 {
        return Found::default();
    }
    let query_norm = math::norm(query);
    let mut top = TopK::new(k.min(rows.len()));
    let mut ahead = given.clone().skip(AHEAD as usize);
    let mut distances = 0_u64;
    for row in given {
        if let Some(row) = ahead.next() {
            rows.row(row).prefetch(LINES);
        }
        distances += 1;
        top.push(Neighbor { row, distance: distance(rows, row, query, query_norm) });
    }
    Found { neighbors: top.into_sorted(), distances }
}

/// Returns the metric's distance of a row and a query of norm `query_norm`. Never NaN: an overflow gives infinity.
pub fn distance(rows: Rows<'_>, row: Ordinal, query: &[f32], query_norm: f32) -> f32 {
    rows::distance(rows.metric, rows.row(row), rows.norm(row), query, query_norm, math::kernels())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::test_data::Sample;
    use crate::math::Components;

    #[test]
    fn a_search_agrees_with_sorting_all_distances() {
        for metric in Metric::ALL {
            let sample = Sample::clustered(300, 17, metric, 3);
            for query in sample.queries(10) {
                let norm = math::norm(&query);
                let accept = |row: Ordinal| !row.0.is_multiple_of(3);
                let mut all: Vec<Neighbor> = (0..300)
                    .map(Ordinal)
                    .filter(|&row| accept(row))
                    .map(|row| Neighbor { row, distance: distance(sample.rows(), row, &query, norm) })
                    .collect();
                all.sort_unstable();
                all.truncate(7);
                let found = search(sample.rows(), &query, 7, accept);
                assert_eq!(found.neighbors, all, "{metric}");
                assert_eq!(found.distances, 200);
                let given = (0..300).map(Ordinal).filter(|&row| accept(row));
                assert_eq!(search_rows(sample.rows(), &query, 7, given), found, "{metric}");
                assert!(search_rows(sample.rows(), &query, 7, std::iter::empty()).neighbors.is_empty());
                assert!(search_rows(sample.rows(), &query[1..], 7, std::iter::once(Ordinal(0))).neighbors.is_empty());
            }
        }
    }

    #[test]
    fn a_bound_leaves_out_farther_rows_only() {
        for metric in Metric::ALL {
            let sample = Sample::clustered(300, 17, metric, 4);
            for query in sample.queries(20) {
                let all = search(sample.rows(), &query, 20, |_| true).neighbors;
                for at in [0, 7, 19] {
                    let bound = all[at].distance;
                    let within = search_within(sample.rows(), &query, 20, bound, |_| true).neighbors;
                    assert_eq!(within[..=at], all[..=at], "{metric}");
                    let slack = bound.abs() * 1e-6;
                    assert!(within.iter().all(|neighbor| neighbor.distance <= bound + slack), "{metric}");
                }
            }
        }
    }

    #[test]
    fn distances_are_those_of_the_metric() {
        let rows =
            |metric| Rows { vectors: Components::F32(&[3.0, 4.0, 0.0, 0.0]), norms: &[5.0, 0.0], dimension: 2, metric };
        let at = |metric| {
            search(rows(metric), &[0.0, 2.0], 2, |_| true).neighbors.iter().map(|n| n.distance).collect::<Vec<_>>()
        };
        assert_eq!(at(Metric::Cosine), [0.2, 1.0]);
        assert_eq!(at(Metric::Dot), [-8.0, 0.0]);
        assert_eq!(at(Metric::L2), [2.0, 13.0_f32.sqrt()]);
    }

    #[test]
    fn hostile_inputs_find_nothing_or_rows_at_infinity() {
        let huge = [3e38_f32, 3e38];
        for metric in Metric::ALL {
            let rows = Rows { vectors: Components::F32(&huge), norms: &[f32::INFINITY], dimension: 2, metric };
            for query in [[f32::NAN, 1.0], [f32::INFINITY, 0.0], [-3e38, 3e38]] {
                assert!(search(rows, &query, 5, |_| true).neighbors.iter().all(|n| !n.distance.is_nan()));
            }
            assert_eq!(search(rows, &[1.0], 5, |_| true), Found::default());
            assert!(search(rows, &[1.0, 1.0], 0, |_| true).neighbors.is_empty());
            let empty = Rows { vectors: Components::F32(&[]), norms: &[], dimension: 2, metric };
            assert!(search(empty, &[1.0, 1.0], 3, |_| true).neighbors.is_empty());
            let none = Rows { vectors: Components::F32(&huge), norms: &[1.0], dimension: 0, metric };
            assert!(search(none, &[], 3, |_| true).neighbors.is_empty());
        }
    }
}
