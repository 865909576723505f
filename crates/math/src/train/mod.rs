//! Training kernels of word vectors: lock-free shared matrices, one step of skip-gram with negative sampling on a whole
//! window, and products for search and evaluation.
//!
//! A window has a few input words and a few target words: the true word, then negatives that all inputs of the window
//! share. Its scores and gradients are therefore small matrix products over rows that stay in the L1 cache (Ji, Satish,
//! Li, Dubey 2016, "Parallelizing Word2Vec in Shared and Distributed Memory"). Every loop is generic over `Simd` and
//! compiled for AVX-512, AVX2 + FMA and portable code, selected at run time.
//!
//! Threads share matrices without locks: see `shared_matrix.rs`.

mod adagrad;
mod compose;
mod shared_matrix;
pub(super) mod simd;
#[cfg(test)]
mod tests;

pub use adagrad::{Adaptive, fit_product};
pub use compose::Composed;
pub(super) use shared_matrix::LANES;
pub use shared_matrix::{Hogwild, SharedMatrix};

use crate::gemm::{self, Matrix};
use shared_matrix::Line;
use simd::{Loop, Simd};

/// Targets per pass over the inputs: the true word and five negatives.
const GROUP: usize = 6;

/// Window of one step of skip-gram with negative sampling.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Rows of the input matrix: the context words.
    pub inputs: &'a [u32],
    /// Rows of the output matrix: the centre word, then the negatives.
    pub targets: &'a [u32],
    /// Subtracted from every score: the logarithm of the number of negatives for scores of noise-contrastive
    /// estimation, else 0.
    pub shift: f32,
}

/// Takes one descent step on the [`loss`] of the window with learning rate `rate`. `errors` is scratch space.
///
/// # Panics
/// If a row is outside its matrix, or the matrices differ in dimension.
pub fn step(input: &SharedMatrix, output: &SharedMatrix, window: Window<'_>, rate: f32, errors: &mut Vec<f32>) {
    assert_eq!(input.dimension, output.dimension, "both matrices have one dimension");
    assert!(window.inputs.iter().all(|&row| (row as usize) < input.rows), "an input row outside the matrix");
    assert!(window.targets.iter().all(|&row| (row as usize) < output.rows), "a target row outside the matrix");
    errors.clear();
    errors.resize(window.inputs.len() * window.targets.len(), 0.0);
    let (input, output, lines) = (input.base(), output.base(), input.lines_per_row);
    // SAFETY: rows are in bounds (asserted above).
    unsafe { simd::run(Step { input, output, lines, window, rate, errors }) }
}

/// Returns the loss of a window, summed over all pairs of input and target: -ln sigma(in . out) for the true target,
/// -ln sigma(-in . out) for a negative (Mikolov et al. 2013, equation 4, with shared negatives).
///
/// # Panics
/// If a row is outside its matrix.
pub fn loss(input: &SharedMatrix, output: &SharedMatrix, window: Window<'_>) -> f64 {
    let mut sum = 0.0;
    for &from in window.inputs {
        for (index, &to) in window.targets.iter().enumerate() {
            let score: f64 =
                (0..input.dimension).map(|i| f64::from(input.number(from, i)) * f64::from(output.number(to, i))).sum();
            let score = score - f64::from(window.shift);
            let margin = if index == 0 { score } else { -score };
            // ln(1 + e^-margin), computed without overflow.
            sum += (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
        }
    }
    sum
}

/// Computes the dot product of `query` with every row of `rows` (of the query's length) into `out`.
///
/// # Panics
/// If the lengths do not match.
pub fn dot_rows(query: &[f32], rows: &[f32], out: &mut [f32]) {
    assert_eq!(rows.len(), query.len() * out.len(), "rows of the query's dimension");
    multiply(query, 1, rows, out.len(), query.len(), out);
}

/// Computes `out[i][j]` = row i of `left` . row j of `right`, for rows of `inner` numbers.
///
/// # Panics
/// If the lengths do not match.
pub fn multiply(left: &[f32], n_left: usize, right: &[f32], n_right: usize, inner: usize, out: &mut [f32]) {
    assert_eq!(left.len(), n_left * inner, "left is n_left rows of inner numbers");
    assert_eq!(right.len(), n_right * inner, "right is n_right rows of inner numbers");
    assert_eq!(out.len(), n_left * n_right, "out is n_left rows of n_right numbers");
    if out.is_empty() || inner == 0 {
        return out.fill(0.0);
    }
    let (left, right) = (Matrix::new(left, n_left, inner), Matrix::new(right, n_right, inner));
    gemm::multiply(out, left, right.transposed(), false);
}

/// Arguments of a [`step`].
struct Step<'a> {
    input: *mut Line,
    output: *mut Line,
    lines: usize,
    window: Window<'a>,
    rate: f32,
    /// One error per pair of input and target.
    errors: &'a mut [f32],
}

impl Loop for Step<'_> {
    /// # Safety
    /// Every row of the window is inside its matrix, and the processor supports `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let targets = self.window.targets.len();
        let errors = std::mem::take(&mut self.errors);
        // SAFETY: guaranteed by the caller; groups are subranges of the targets.
        unsafe {
            let mut first = 0;
            while first < targets {
                match targets - first {
                    1 => self.scores::<S, 1>(first, errors),
                    2 => self.scores::<S, 2>(first, errors),
                    3 => self.scores::<S, 3>(first, errors),
                    4 => self.scores::<S, 4>(first, errors),
                    5 => self.scores::<S, 5>(first, errors),
                    _ => self.scores::<S, GROUP>(first, errors),
                }
                first += GROUP;
            }
            for error in errors.iter_mut() {
                *error = -self.rate * sigmoid(*error - self.window.shift);
            }
            for row in errors.chunks_exact_mut(targets.max(1)) {
                row[0] += self.rate;
            }
            let mut first = 0;
            while first < targets {
                match targets - first {
                    1 => self.update::<S, 1>(first, errors),
                    2 => self.update::<S, 2>(first, errors),
                    3 => self.update::<S, 3>(first, errors),
                    4 => self.update::<S, 4>(first, errors),
                    5 => self.update::<S, 5>(first, errors),
                    _ => self.update::<S, GROUP>(first, errors),
                }
                first += GROUP;
            }
        }
    }
}

impl Step<'_> {
    /// Pointers to the rows of `G` targets from `first` on.
    #[inline(always)]
    unsafe fn target_rows<const G: usize>(&self, first: usize) -> [*mut Line; G] {
        // SAFETY: the rows lie inside the output matrix.
        std::array::from_fn(|g| unsafe { self.output.add(self.window.targets[first + g] as usize * self.lines) })
    }

    /// Computes the dot products of all inputs with `G` targets from `first` on, into `scores`.
    #[inline(always)]
    unsafe fn scores<S: Simd, const G: usize>(&self, first: usize, scores: &mut [f32]) {
        let targets = self.window.targets.len();
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            let out = self.target_rows::<G>(first);
            for (m, &row) in self.window.inputs.iter().enumerate() {
                let input = self.input.add(row as usize * self.lines);
                let mut sums = [S::zero(); G];
                for j in 0..self.lines {
                    let a = S::load(input.add(j));
                    for g in 0..G {
                        sums[g] = S::load(out[g].add(j)).mul_add(a, sums[g]);
                    }
                }
                for g in 0..G {
                    scores[m * targets + first + g] = sums[g].sum();
                }
            }
        }
    }

    /// Applies both gradients in one pass, with one read and one write per line of every input and target row. Each
    /// further group of [`GROUP`] targets uses the inputs updated by the previous group, a difference of second order
    /// in the rate.
    #[inline(always)]
    unsafe fn update<S: Simd, const G: usize>(&self, first: usize, errors: &[f32]) {
        let targets = self.window.targets.len();
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            let out = self.target_rows::<G>(first);
            for j in 0..self.lines {
                let old: [S; G] = std::array::from_fn(|g| S::load(out[g].add(j)));
                let mut gradients = [S::zero(); G];
                for (m, &row) in self.window.inputs.iter().enumerate() {
                    let line = self.input.add(row as usize * self.lines + j);
                    let a = S::load(line);
                    let mut changed = a;
                    let row_errors = &errors[m * targets + first..][..G];
                    for g in 0..G {
                        let error = S::splat(row_errors[g]);
                        changed = error.mul_add(old[g], changed);
                        gradients[g] = error.mul_add(a, gradients[g]);
                    }
                    changed.store(line);
                }
                // Reload: the negatives may contain a word twice.
                for g in 0..G {
                    S::splat(1.0).mul_add(S::load(out[g].add(j)), gradients[g]).store(out[g].add(j));
                }
            }
        }
    }
}

/// Returns 1 / (1 + e^-x) to about 2e-7; no branches or tables, so that a loop over it vectorises.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let scaled = (-x).clamp(-80.0, 80.0) * std::f32::consts::LOG2_E;
    let whole = (scaled + ROUND) - ROUND;
    let t = (scaled - whole) * std::f32::consts::LN_2; // |t| <= ln 2 / 2
    // Taylor series of e^t to the sixth power.
    let series = 1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t / 720.0)))));
    // The clamp above keeps the exponent in range (and `as` turns a NaN into 0).
    let power = f32::from_bits((((whole as i32) + 127) << 23) as u32);
    1.0 / (1.0 + series * power)
}
