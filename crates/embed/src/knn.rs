//! Exact nearest-neighbour search over many vectors, and the share of neighbours with the same class: the quality
//! of an embedder's vectors for search.

use crate::{
    math::gemm::{Matrix, multiply},
    math::{TopK, normalize},
    types::{Neighbor, Ordinal},
};
use rayon::prelude::*;

/// Number of neighbours.
pub const NEIGHBOURS: usize = 10;
/// Queries and rows per matrix product.
const QUERY_BLOCK: usize = 64;
const ROW_BLOCK: usize = 1_024;

/// For each query, the [`NEIGHBOURS`] rows with the highest dot product with its row, excluding the row itself. Exact
/// scan on all cores; ties by row number. `rows` are vectors of `dimension` numbers; use unit vectors for cosine
/// similarity.
///
/// # Panics
/// If a query is not a row.
pub fn nearest(rows: &[f32], dimension: usize, queries: &[u32]) -> Vec<Vec<u32>> {
    nearest_among(rows, rows.len() / dimension, dimension, queries, NEIGHBOURS)
}

/// As [`nearest`], but the `k` nearest of the first `among` rows.
///
/// # Panics
/// If a query is not a row, or there are fewer rows than `among`.
pub(super) fn nearest_among(rows: &[f32], among: usize, dimension: usize, queries: &[u32], k: usize) -> Vec<Vec<u32>> {
    let searched = &rows[..among * dimension];
    let lists: Vec<Vec<Vec<u32>>> = queries
        .par_chunks(QUERY_BLOCK)
        .map(|queries| {
            let query_rows: Vec<f32> =
                queries.iter().flat_map(|&query| &rows[query as usize * dimension..][..dimension]).copied().collect();
            let mut top = vec![TopK::new(k); queries.len()];
            let mut scores = vec![0.0; queries.len() * ROW_BLOCK];
            for (block, rows) in searched.chunks(ROW_BLOCK * dimension).enumerate() {
                let n = rows.len() / dimension;
                let left = Matrix::new(&query_rows, queries.len(), dimension);
                multiply(&mut scores, left, Matrix::new(rows, n, dimension).transposed(), false);
                for ((&query, top), scores) in queries.iter().zip(&mut top).zip(scores.chunks_exact(n)) {
                    for (row, score) in ((block * ROW_BLOCK) as u32..).zip(scores) {
                        if row != query && -score <= top.worst() {
                            top.push(Neighbor { row: Ordinal(row), distance: -score });
                        }
                    }
                }
            }
            top.into_iter().map(|top| top.into_sorted().into_iter().map(|found| found.row.0).collect()).collect()
        })
        .collect();
    lists.concat()
}

/// Mean over all rows of: the share of the [`NEIGHBOURS`] rows by cosine, excluding the row itself, that have the
/// row's label. None for fewer than two rows. Ties go to the earlier row.
pub(super) fn same_class(mut rows: Vec<f32>, width: usize, labels: &[u16]) -> Option<f64> {
    if labels.len() < 2 {
        return None;
    }
    rows.par_chunks_exact_mut(width).for_each(|row| {
        normalize(row);
    });
    let all: Vec<u32> = (0..labels.len() as u32).collect();
    let (mut same, mut seen) = (0, 0);
    for (label, found) in labels.iter().zip(nearest(&rows, width, &all)) {
        same += found.iter().filter(|&&other| labels[other as usize] == *label).count();
        seen += found.len();
    }
    Some(same as f64 / seen as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::sampling::Random;

    #[test]
    fn the_nearest_are_those_of_the_highest_product() {
        let dimension = 5;
        let mut random = Random::new(3, 1);
        let rows: Vec<f32> = (0..2_500 * dimension).map(|_| random.unit() - 0.5).collect();
        let row = |n: u32| &rows[n as usize * dimension..][..dimension];
        let queries: Vec<u32> = (0..70).map(|n| n * 35).collect();
        for (&query, found) in queries.iter().zip(nearest(&rows, dimension, &queries)) {
            let score = |n: u32| row(query).iter().zip(row(n)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let mut all: Vec<u32> = (0..2_500).filter(|&n| n != query).collect();
            all.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
            assert_eq!(found, all[..NEIGHBOURS], "{query}");
        }
        assert!(nearest(&rows[..dimension], dimension, &[0])[0].is_empty());
    }

    #[test]
    fn near_rows_of_the_same_class_are_counted() {
        let ring = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let rows: Vec<f32> = (0..24).flat_map(|i| ring(if i < 12 { i as f32 } else { 90.0 + i as f32 })).collect();
        let labels: Vec<u16> = (0..24).map(|i| u16::from(i >= 12)).collect();
        assert_eq!(same_class(rows.clone(), 2, &labels), Some(1.0));
        let mixed: Vec<u16> = (0..24).map(|i| i % 2).collect();
        let found = same_class(rows, 2, &mixed).unwrap();
        // Of the 11 other rows in its half, 5 have an image's label; the farthest of the 11 is excluded.
        assert!((0.4..0.5).contains(&found), "{found}");
        assert_eq!(same_class(vec![1.0, 0.0], 2, &[3]), None);
        assert_eq!(same_class(vec![0.0; 4], 2, &[3, 3]), Some(1.0), "zeros are near to nothing, and to each other");
    }
}
