//! The exact scan: every accepted row is compared. The oracle of all other searches, and the answer while a graph is
//! being built.

use super::rows;
use super::{Found, Rows};
use crate::math::{self, TopK};
use crate::types::{Metric, Neighbor, Ordinal};

/// Rows ahead of the scan whose memory is asked for: accepted rows may be far apart, where the hardware does not look.
const AHEAD: usize = 4;
/// Cache lines of a row that are asked for; the hardware follows from there.
const LINES: usize = 4;

/// The `k` nearest accepted rows.
///
/// `query` has `rows.dimension` components; with another length nothing is found. A distance that overflows counts as
/// infinite. Time: one pass over the accepted rows, at about the speed of memory.
pub fn search(rows: Rows<'_>, query: &[f32], k: usize, accept: impl Fn(Ordinal) -> bool) -> Found {
    if query.len() != rows.dimension || k == 0 {
        return Found::default();
    }
    let kernels = math::kernels();
    let query_norm = math::norm(query);
    let mut top = TopK::new(k.min(rows.len()));
    let mut distances = 0_u64;
    for (row, vector) in rows.vectors.chunks_exact(rows.dimension.max(1)).take(rows.len()).enumerate() {
        #[allow(clippy::cast_possible_truncation)]
        let ordinal = Ordinal(row as u32);
        if !accept(ordinal) {
            continue;
        }
        let ahead = (row + AHEAD) * rows.dimension;
        math::prefetch_slice(rows.vectors.get(ahead..ahead + rows.dimension).unwrap_or(&[]), LINES);
        distances += 1;
        // Squared distances are compared, and only what is kept is rooted: the order is the same.
        let distance = match rows.metric {
            Metric::L2 => (kernels.l2_squared)(vector, query),
            metric => rows::distance(metric, vector, rows.norms[row], query, query_norm, kernels),
        };
        if distance <= top.worst() || distance.is_nan() {
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

/// The `k` nearest of the rows that an iterator gives; rows that do not exist are infinitely far. As [`search`], for
/// rows that are few among many.
pub fn search_rows(rows: Rows<'_>, query: &[f32], k: usize, given: impl Iterator<Item = Ordinal> + Clone) -> Found {
    if query.len() != rows.dimension || k == 0 {
        return Found::default();
    }
    let query_norm = math::norm(query);
    let mut top = TopK::new(k.min(rows.len()));
    let mut ahead = given.clone().skip(AHEAD);
    let mut distances = 0_u64;
    for row in given {
        if let Some(row) = ahead.next() {
            math::prefetch_slice(rows.row(row), LINES);
        }
        distances += 1;
        top.push(Neighbor { row, distance: distance(rows, row, query, query_norm) });
    }
    Found { neighbors: top.into_sorted(), distances }
}

/// The metric's distance of a row and a query whose norm is `query_norm`. Never NaN: what overflows is infinitely far.
pub fn distance(rows: Rows<'_>, row: Ordinal, query: &[f32], query_norm: f32) -> f32 {
    rows::distance(rows.metric, rows.row(row), rows.norm(row), query, query_norm, math::kernels())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::samples::Sample;

    #[test]
    fn finds_what_sorting_every_distance_finds() {
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
    fn distances_are_the_metrics() {
        let rows = |metric| Rows { vectors: &[3.0, 4.0, 0.0, 0.0], norms: &[5.0, 0.0], dimension: 2, metric };
        let at = |metric| {
            search(rows(metric), &[0.0, 2.0], 2, |_| true).neighbors.iter().map(|n| n.distance).collect::<Vec<_>>()
        };
        assert_eq!(at(Metric::Cosine), [0.2, 1.0]);
        assert_eq!(at(Metric::Dot), [-8.0, 0.0]);
        assert_eq!(at(Metric::L2), [2.0, 13.0_f32.sqrt()]);
    }

    #[test]
    fn hostile_inputs_find_nothing_or_the_infinitely_far() {
        let huge = [3e38_f32, 3e38];
        for metric in Metric::ALL {
            let rows = Rows { vectors: &huge, norms: &[f32::INFINITY], dimension: 2, metric };
            for query in [[f32::NAN, 1.0], [f32::INFINITY, 0.0], [-3e38, 3e38]] {
                assert!(search(rows, &query, 5, |_| true).neighbors.iter().all(|n| !n.distance.is_nan()));
            }
            assert_eq!(search(rows, &[1.0], 5, |_| true), Found::default());
            assert!(search(rows, &[1.0, 1.0], 0, |_| true).neighbors.is_empty());
            let empty = Rows { vectors: &[], norms: &[], dimension: 2, metric };
            assert!(search(empty, &[1.0, 1.0], 3, |_| true).neighbors.is_empty());
            let none = Rows { vectors: &huge, norms: &[1.0], dimension: 0, metric };
            assert!(search(none, &[], 3, |_| true).neighbors.is_empty());
        }
    }
}
