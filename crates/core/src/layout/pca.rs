//! Principal components: the directions of largest variance.
//!
//! The method is subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4) on an even sample of the vectors,
//! without the covariance matrix, which would be large for wide vectors.

use super::Vectors;
use crate::math::gemm::{Matrix, multiply};
use crate::math::{dot, norm};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// Total number of components in the sample: 64 MiB.
const SAMPLE: usize = 1 << 24;
/// Maximum number of vectors in the sample.
const MAX_ROWS: usize = 10_000;
/// Additional directions of the iteration (oversampling), for the accuracy of the last requested ones.
const OVERSAMPLE: usize = 7;
/// Steps of the iteration.
const STEPS: usize = 16;
/// Seed of the initial directions.
const SEED: u64 = 0x6d61_7073;
/// Vectors per batch of a projection.
const BATCH: usize = 256;

/// Principal components and the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    width: usize,
    dimensions: usize,
    mean: Vec<f32>,
    /// `dimensions x width`, unit vectors; zeros if the vectors vary in fewer directions.
    axes: Vec<f32>,
}

impl Pca {
    /// Computes the `dimensions` directions of largest variance. Vectors may be as long as 1e18.
    pub fn fit(vectors: &dyn Vectors, dimensions: usize) -> Self {
        let (n, width) = (vectors.len(), vectors.width());
        let rows = n.min(MAX_ROWS).min((SAMPLE / width.max(1)).max(2 * (dimensions + OVERSAMPLE)));
        let mut sample = vec![0.0_f32; rows * width];
        sample.par_chunks_mut(width.max(1)).enumerate().for_each(|(at, row)| vectors.copy(at * n / rows, row));
        let mut mean = vec![0.0_f64; width];
        for row in sample.chunks_exact(width.max(1)) {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x));
        }
        #[allow(clippy::cast_possible_truncation)]
        let mean: Vec<f32> = mean.into_iter().map(|sum| (sum / rows.max(1) as f64) as f32).collect();
        let mut largest = 0.0_f32;
        for row in sample.chunks_exact_mut(width.max(1)) {
            row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
            largest = row.iter().fold(largest, |largest, x| largest.max(x.abs()));
        }
        let mut axes = vec![0.0; dimensions * width];
        if largest > 0.0 && largest.is_finite() {
            sample.iter_mut().for_each(|x| *x /= largest);
            let found = directions(&sample, rows, width, dimensions.min(width).min(rows));
            axes[..found.len()].copy_from_slice(&found);
        }
        Self { width, dimensions, mean, axes }
    }

    /// Coordinates per point.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Projects one vector; overwrites `vector`.
    pub fn position(&self, vector: &mut [f32], out: &mut [f32]) {
        vector.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x -= mean);
        for (out, axis) in out.iter_mut().zip(self.axes.chunks_exact(self.width.max(1))) {
            *out = dot(axis, vector);
        }
    }

    /// Projects all vectors to `dimensions` coordinates each.
    pub fn positions(&self, vectors: &dyn Vectors) -> Vec<f32> {
        let mut positions = vec![0.0; vectors.len() * self.dimensions];
        positions.par_chunks_mut(BATCH * self.dimensions).enumerate().for_each(|(batch, positions)| {
            let mut vector = vec![0.0; self.width];
            for (at, position) in positions.chunks_exact_mut(self.dimensions).enumerate() {
                vectors.copy(batch * BATCH + at, &mut vector);
                self.position(&mut vector, position);
            }
        });
        positions
    }
}

/// Returns the directions of largest variance of centred rows, largest first.
fn directions(rows: &[f32], n: usize, width: usize, wanted: usize) -> Vec<f32> {
    let followed = (wanted + OVERSAMPLE).min(width).min(n);
    let rows = Matrix::new(rows, n, width);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut basis: Vec<f32> = (0..followed * width).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut along = vec![0.0; n * followed];
    for _ in 0..STEPS {
        orthonormalize(&mut basis, width);
        multiply(&mut along, rows, Matrix::new(&basis, followed, width).transposed(), false);
        multiply(&mut basis, Matrix::new(&along, n, followed).transposed(), rows, false);
    }
    orthonormalize(&mut basis, width);
    multiply(&mut along, rows, Matrix::new(&basis, followed, width).transposed(), false);
    let variance = |axis: usize| along.iter().skip(axis).step_by(followed).map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let mut order: Vec<(f64, usize)> = (0..followed).map(|axis| (variance(axis), axis)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut found = Vec::with_capacity(wanted * width);
    for &(_, axis) in order.iter().take(wanted) {
        let axis = &basis[axis * width..][..width];
        // Of the two possible signs, always the same: the component of largest magnitude is positive.
        let largest = axis.iter().fold(0.0_f32, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
        found.extend(axis.iter().map(|x| x * if largest < 0.0 { -1.0 } else { 1.0 }));
    }
    found
}

/// Gram-Schmidt, run twice, which suffices; a direction that depends linearly on previous ones becomes zero.
fn orthonormalize(rows: &mut [f32], width: usize) {
    for row in 0..rows.len() / width {
        let (before, rest) = rows.split_at_mut(row * width);
        let row = &mut rest[..width];
        let length = norm(row);
        for _ in 0..2 {
            for other in before.chunks_exact(width) {
                let along = dot(other, row);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let left = norm(row);
        let scale = if left > 1e-6 * length && left > 0.0 { 1.0 / left } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates rows that vary most along one synthetic direction, less along a second, hardly elsewhere.
    fn rows(n: usize, width: usize, scale: f32) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut rows = Vec::new();
        for _ in 0..n {
            let (a, b) = (rng.random_range(-10.0..10.0), rng.random_range(-3.0..3.0));
            rows.extend((0..width).map(|i| {
                let first = if i % 2 == 0 { 1.0 } else { -1.0 };
                scale * (100.0 + a * first + b * if i < width / 2 { 1.0 } else { -1.0 } + rng.random_range(-0.1..0.1))
            }));
        }
        rows
    }

    #[test]
    fn the_directions_are_those_of_largest_variance() {
        for scale in [1.0, 1e15, 1e-15] {
            let rows = rows(500, 40, scale);
            let pca = Pca::fit(&(rows.as_slice(), 40), 2);
            let unit = 1.0 / 40.0_f32.sqrt();
            let first = pca.axes[..40].iter().enumerate().map(|(i, x)| if i % 2 == 0 { x * unit } else { -x * unit });
            assert!(first.sum::<f32>().abs() > 0.999, "{scale}: {:?}", pca.axes);
            let second = pca.axes[40..].iter().enumerate().map(|(i, x)| if i < 20 { x * unit } else { -x * unit });
            assert!(second.sum::<f32>().abs() > 0.99, "{scale}");
            let positions = pca.positions(&(rows.as_slice(), 40));
            let spread =
                |axis: usize| positions.iter().skip(axis).step_by(2).map(|x| (x / scale).abs()).fold(0.0, f32::max);
            assert!((spread(0) / 63.0 - 1.0).abs() < 0.1 && (spread(1) / 19.0 - 1.0).abs() < 0.1, "{scale}");
            assert_eq!(pca, Pca::fit(&(rows.as_slice(), 40), 2));
        }
    }

    #[test]
    fn vectors_with_fewer_directions_have_zeros_in_the_others() {
        let line = [1.0_f32, 2.0, 3.0, 7.0];
        let positions = Pca::fit(&(line.as_slice(), 1), 3).positions(&(line.as_slice(), 1));
        assert!(positions.chunks(3).all(|position| position[0] != 0.0 && position[1..] == [0.0, 0.0]), "{positions:?}");
        let same = [5.0_f32; 12];
        assert_eq!(Pca::fit(&(same.as_slice(), 4), 2).positions(&(same.as_slice(), 4)), [0.0; 6]);
        let none: [f32; 0] = [];
        assert!(Pca::fit(&(none.as_slice(), 4), 2).positions(&(none.as_slice(), 4)).is_empty());
    }
}
