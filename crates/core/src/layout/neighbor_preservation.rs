//! Quality of a layout: the share of each point's nearest neighbours that are also nearest neighbours in the layout.
//!
//! The measure is "kNN" of Kobak & Berens 2019, "The art of using t-SNE for single-cell transcriptomics".

use rayon::prelude::*;

/// Returns the share, 0 to 1; None for an empty sample. `sample` has points with their `k` true nearest neighbours;
/// `positions` has `dimensions` coordinates per point. Time: one pass over all points per sampled point.
pub fn neighbors_kept(positions: &[f32], dimensions: usize, sample: &[(u32, Vec<u32>)]) -> Option<f32> {
    let (preserved, of) = sample
        .par_iter()
        .map(|(point, db)| {
            let near = nearest(positions, dimensions, *point as usize, db.len());
            (db.iter().filter(|other| near.contains(other)).count(), db.len())
        })
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    (of > 0).then(|| preserved as f32 / of as f32)
}

/// Returns the `k` nearest neighbours of a point in a layout.
fn nearest(positions: &[f32], dimensions: usize, point: usize, k: usize) -> Vec<u32> {
    let here = &positions[point * dimensions..][..dimensions];
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(k + 1);
    for (at, position) in positions.chunks_exact(dimensions).enumerate() {
        let apart: f32 = here.iter().zip(position).map(|(a, b)| (a - b) * (a - b)).sum();
        if at == point || (top.len() == k && top.last().is_some_and(|last| last.0 <= apart)) {
            continue;
        }
        let position = top.partition_point(|other| other.0 <= apart);
        top.insert(position, (apart, at as u32));
        top.truncate(k);
    }
    top.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_counted() {
        let line: Vec<f32> = (0..10).flat_map(|i| [i as f32, 0.0]).collect();
        let sample = vec![(0, vec![1, 2]), (5, vec![4, 6]), (9, vec![8, 0])];
        assert_eq!(neighbors_kept(&line, 2, &sample), Some(5.0 / 6.0));
        assert_eq!(neighbors_kept(&line, 2, &[]), None);
        assert_eq!(nearest(&line, 2, 3, 100).len(), 9);
    }
}
