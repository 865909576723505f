//! PCA (principal component analysis): the few directions of largest variance, so that a code row fits one or two cache
//! lines and near rows stay near.
//!
//! A reduced vector has `n_components` components of the centred vector and its residual: the length of the omitted
//! part. With residuals r and s of two vectors, `(r - c s)^2` replaces the omitted part of their squared distance, up
//! to a constant per query, if the residuals of near vectors have correlation c ([`RESIDUAL_CORRELATION`]). Reduction
//! before graph search follows LeanVec (Tepper et al. 2024, section 3); the directions are computed by subspace
//! iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4).
//!
//! The basis is stored in 8 bits, and rows and queries use the same 8-bit basis: rounding skews the basis slightly, but
//! adds no error between a row and a query.

use crate::math::gemm::{Matrix, multiply};
use crate::math::{self, Kernels};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Correlation of the residuals of near vectors. Measured: 0.2 to 0.5 on images and on synthetic data; results hardly
/// differ within this range.
pub(super) const RESIDUAL_CORRELATION: f32 = 0.4;
/// Columns of the basis are padded to a multiple of this.
const LANES: usize = 64;
/// Steps of the subspace iteration.
const STEPS: usize = 12;
/// Additional directions of the iteration (oversampling), so that the last wanted ones converge.
const OVERSAMPLE: usize = 16;
/// Seed of the first directions.
const SEED: u64 = 0x6e65_6172;

/// Projection onto principal components: 8-bit directions, and the mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Projection {
    /// Components of a vector.
    pub(super) width: usize,
    /// `n_components` rows of `width` steps, padded with zeros to a multiple of 64.
    pub(super) basis: Vec<i8>,
    /// Value of one step of the basis; above 0.
    pub(super) step: f32,
    /// The mean vector, `width` numbers.
    pub(super) mean: Vec<f32>,
    /// Projection of the mean onto each direction, `n_components` numbers.
    shift: Vec<f32>,
    /// The sum of the steps of each direction.
    sums: Vec<f32>,
}

impl Projection {
    /// Computes the `n_components` directions of largest variance of a sample of finite rows, or fewer if there are
    /// fewer. Returns None if the variance is zero or overflows `f32`.
    pub(super) fn fit(mut sample: Vec<f32>, width: usize, n_components: usize) -> Option<Self> {
        let rows = sample.len().checked_div(width).unwrap_or(0);
        let n_components = n_components.min(width).min(rows);
        if n_components == 0 {
            return None;
        }
        let mut mean = vec![0.0_f64; width];
        for row in sample.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / rows as f64);
        }
        #[allow(clippy::cast_possible_truncation)]
        let mean: Vec<f32> = mean.into_iter().map(|x| x as f32).collect();
        for row in sample.chunks_exact_mut(width) {
            row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
        }
        let mut covariance = vec![0.0_f32; width * width];
        let centred = Matrix::new(&sample, rows, width);
        multiply(&mut covariance, centred.transposed(), centred, false);
        let basis = directions(&covariance, width, n_components)?;
        let largest = basis.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let step = largest / 127.0;
        let wide = width.next_multiple_of(LANES);
        let mut steps = vec![0_i8; n_components * wide];
        for (to, from) in steps.chunks_exact_mut(wide).zip(basis.chunks_exact(width)) {
            #[allow(clippy::cast_possible_truncation)]
            to.iter_mut().zip(from).for_each(|(to, x)| *to = (x / step).round() as i8);
        }
        Self::new(width, steps, step, mean)
    }

    /// Creates a projection from its parts. Returns None if their sizes do not match or a number is invalid.
    pub(super) fn new(width: usize, basis: Vec<i8>, step: f32, mean: Vec<f32>) -> Option<Self> {
        let wide = width.next_multiple_of(LANES);
        let numbers = mean.iter().all(|x| x.is_finite()) && step.is_finite() && step > 0.0;
        if width == 0 || basis.is_empty() || !basis.len().is_multiple_of(wide) || mean.len() != width || !numbers {
            return None;
        }
        let sum = |row: &[i8]| row.iter().map(|&x| i32::from(x)).sum::<i32>() as f32;
        let sums = basis.chunks_exact(wide).map(sum).collect();
        let of_mean = |row: &[i8]| row.iter().zip(&mean).map(|(&b, &x)| f64::from(b) * f64::from(x)).sum::<f64>();
        #[allow(clippy::cast_possible_truncation)]
        let shift = basis.chunks_exact(wide).map(|row| (of_mean(row) * f64::from(step)) as f32).collect();
        Some(Self { width, basis, step, mean, shift, sums })
    }

    /// Returns the first `n_components` directions only.
    pub(super) fn truncated(&self, n_components: usize) -> Self {
        let mut this = self.clone();
        this.basis.truncate(n_components * self.wide());
        this.shift.truncate(n_components);
        this.sums.truncate(n_components);
        this
    }

    /// Number of directions.
    pub(super) fn n_components(&self) -> usize {
        self.shift.len()
    }

    fn wide(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Returns the basis as floats, `n_components x width`, for [`rows`](Self::rows).
    pub(super) fn as_floats(&self) -> Vec<f32> {
        let of_row = |row: &[i8]| row[..self.width].iter().map(|&x| f32::from(x) * self.step).collect::<Vec<_>>();
        self.basis.chunks_exact(self.wide()).flat_map(of_row).collect()
    }

    /// Projects rows of `width` numbers to `n_components` components and the residual. `basis` is the result of
    /// [`as_floats`](Self::as_floats), computed once for many calls.
    pub(super) fn rows(&self, basis: &[f32], rows: &[f32], out: &mut [f32]) {
        let (count, n_components) = (rows.len() / self.width, self.n_components());
        let mut components = vec![0.0_f32; count * n_components];
        let basis = Matrix::new(basis, n_components, self.width).transposed();
        multiply(&mut components, Matrix::new(rows, count, self.width), basis, false);
        let each = components.chunks_exact_mut(n_components).zip(rows.chunks_exact(self.width));
        for ((components, row), out) in each.zip(out.chunks_exact_mut(n_components + 1)) {
            components.iter_mut().zip(&self.shift).for_each(|(x, shift)| *x -= shift);
            out[..n_components].copy_from_slice(components);
            out[n_components] = self.residual(row, components);
        }
    }

    /// Projects one vector of `width` numbers to its components and `RESIDUAL_CORRELATION` times its residual. Returns
    /// None if a number is not finite.
    pub(super) fn query(&self, vector: &[f32], kernels: &Kernels) -> Option<Vec<f32>> {
        let wide = self.wide();
        let mut bytes = vec![0_u8; 2 * wide];
        let (high, low) = bytes.split_at_mut(wide);
        let (min, unit) = (kernels.split)(vector, high, low)?;
        let mut out = vec![0.0_f32; self.n_components() + 1];
        let components = &mut out[..self.shift.len()];
        (kernels.products)(high, low, &self.basis, components);
        for ((x, shift), sum) in components.iter_mut().zip(&self.shift).zip(&self.sums) {
            *x = self.step * (unit * *x + min * sum) - shift;
        }
        let residual = self.residual(vector, components);
        out[self.shift.len()] = RESIDUAL_CORRELATION * residual;
        Some(out)
    }

    /// Returns the length of the part of a vector that its components omit.
    fn residual(&self, vector: &[f32], components: &[f32]) -> f32 {
        (math::l2_squared(vector, &self.mean) - math::dot(components, components)).max(0.0).sqrt()
    }
}

/// Computes the eigenvectors of the largest eigenvalues of a covariance, largest first, one per row.
fn directions(covariance: &[f32], width: usize, n_components: usize) -> Option<Vec<f32>> {
    let followed = (n_components + OVERSAMPLE).min(width);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut basis: Vec<f32> = (0..followed * width).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut next = vec![0.0_f32; basis.len()];
    for _ in 0..STEPS {
        orthonormalize(&mut basis, width);
        multiply(&mut next, Matrix::new(&basis, followed, width), Matrix::new(covariance, width, width), false);
        std::mem::swap(&mut basis, &mut next);
    }
    orthonormalize(&mut basis, width);
    multiply(&mut next, Matrix::new(&basis, followed, width), Matrix::new(covariance, width, width), false);
    let rows = |i: usize| i * width..(i + 1) * width;
    let mut variances: Vec<(f32, usize)> =
        (0..followed).map(|i| (math::dot(&basis[rows(i)], &next[rows(i)]), i)).collect();
    variances.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let largest = variances.first()?.0;
    if !largest.is_finite() || largest <= 0.0 || variances.iter().any(|(variance, _)| variance.is_nan()) {
        return None;
    }
    Some(variances.iter().take(n_components).flat_map(|&(_, i)| basis[rows(i)].iter().copied()).collect())
}

/// Runs Gram-Schmidt twice, which is enough; a direction that depends on the previous ones becomes zero.
fn orthonormalize(rows: &mut [f32], width: usize) {
    for row in 0..rows.len() / width {
        let (before, rest) = rows.split_at_mut(row * width);
        let row = &mut rest[..width];
        let length = math::norm(row);
        for _ in 0..2 {
            for other in before.chunks_exact(width) {
                let along = math::dot(other, row);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let left = math::norm(row);
        let scale = if left > 1e-6 * length { 1.0 / left } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::test_data::Sample;
    use crate::types::Metric;

    #[test]
    fn few_components_preserve_the_distances_of_a_low_dimension() {
        // 8 latent dimensions and a little noise in 100.
        let sample = Sample::clustered(2000, 100, Metric::L2, 4);
        let projection = Projection::fit(sample.vectors.clone(), 100, 12).unwrap();
        assert_eq!((projection.n_components(), projection.width), (12, 100));
        let basis = projection.as_floats();
        for a in 0..12 {
            for b in 0..=a {
                let dot = math::dot(&basis[a * 100..][..100], &basis[b * 100..][..100]);
                assert!((dot - f32::from(u8::from(a == b))).abs() < 0.02, "{a} {b}: {dot}");
            }
        }
        let mut out = vec![0.0; 2000 * 13];
        projection.rows(&basis, &sample.vectors, &mut out);
        for i in 0..1999 {
            let exact = math::l2_squared(&sample.vectors[i * 100..][..100], &sample.vectors[(i + 1) * 100..][..100]);
            let reduced = math::l2_squared(&out[i * 13..][..12], &out[(i + 1) * 13..][..12]);
            assert!((reduced - exact).abs() < 0.1 * exact + 3.0, "{i}: {reduced} for {exact}");
        }
    }

    #[test]
    fn a_query_is_projected_as_a_row_is() {
        let sample = Sample::clustered(500, 70, Metric::L2, 2);
        let projection = Projection::fit(sample.vectors.clone(), 70, 9).unwrap();
        let basis = projection.as_floats();
        for kernels in math::variants() {
            for query in sample.queries(20) {
                let mut row = vec![0.0; 10];
                projection.rows(&basis, &query, &mut row);
                let as_query = projection.query(&query, &kernels).unwrap();
                for (a, b) in row[..9].iter().zip(&as_query) {
                    assert!((a - b).abs() < 0.01, "{}: {row:?} {as_query:?}", kernels.name);
                }
                assert!((row[9] * RESIDUAL_CORRELATION - as_query[9]).abs() < 0.05 * row[9] + 0.01);
            }
            assert!(projection.query(&[f32::NAN; 70], &kernels).is_none());
            assert!(projection.query(&[f32::INFINITY; 70], &kernels).is_none());
            let mut one = [0.5; 70];
            (one[3], one[4]) = (3e38, -3e38);
            assert!(projection.query(&one, &kernels).is_none());
        }
    }

    #[test]
    fn data_without_variance_has_no_projection() {
        assert!(Projection::fit(vec![], 5, 3).is_none());
        assert!(Projection::fit(vec![1.5; 50], 5, 3).is_none());
        assert!(Projection::fit(vec![3e38, 0.0, 0.0, 3e38], 2, 1).is_none());
        let line = Projection::fit(vec![1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 2, 2).unwrap();
        let mut out = [0.0; 3];
        line.rows(&line.as_floats(), &[4.0, 4.0], &mut out);
        assert!((out[0].abs() - 8.0_f32.sqrt()).abs() < 0.05, "{out:?}");
        assert!(Projection::new(3, vec![1; 64], 0.0, vec![0.0; 3]).is_none());
        assert!(Projection::new(3, vec![1; 65], 0.1, vec![0.0; 3]).is_none());
        assert!(Projection::new(3, vec![1; 64], 0.1, vec![f32::NAN; 3]).is_none());
    }
}
