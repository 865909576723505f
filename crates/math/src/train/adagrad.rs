//! AdaGrad (Duchi, Hazan, Singer 2011) on the product of two rows: the update of GloVe for a word pair.

use super::shared_matrix::{Line, Parameters, SharedMatrix, sealed::Sealed};
use super::simd::{self, Loop, Simd};

/// Matrix with a learning rate per element, which decreases with the sum of squared gradients.
pub struct Adaptive {
    /// The parameters.
    pub rows: SharedMatrix,
    /// Sums of squared gradients; positive.
    pub squares: SharedMatrix,
    /// One-row mask: 1 for trained components, 0 for fixed ones.
    learned: SharedMatrix,
}

impl Parameters for Adaptive {}
impl Sealed for Adaptive {}

impl Adaptive {
    /// Creates a zero matrix of `rows` x `dimension`; `learned` selects the trained components.
    pub fn zeros(rows: usize, dimension: usize, learned: impl Fn(usize) -> bool) -> Self {
        let mut squares = SharedMatrix::zeros(rows, dimension);
        // The padding too, to avoid a division by 0.
        squares.lines.iter_mut().for_each(|line| line.get_mut().0.fill(1.0));
        let mut mask = SharedMatrix::zeros(1, dimension);
        mask.set_row(0, &(0..dimension).map(|column| f32::from(u8::from(learned(column)))).collect::<Vec<_>>());
        Self { rows: SharedMatrix::zeros(rows, dimension), squares, learned: mask }
    }
}

/// Takes one descent step on weight / 2 (left . right - target)^2. Returns left . right - target.
///
/// # Panics
/// If a row is outside its matrix, or the matrices differ in dimension.
pub fn fit_product(
    (left, left_row): (&Adaptive, u32),
    (right, right_row): (&Adaptive, u32),
    target: f32,
    weight: f32,
    rate: f32,
) -> f32 {
    assert_eq!(left.rows.dimension, right.rows.dimension, "both matrices have one dimension");
    assert!((left_row as usize) < left.rows.rows && (right_row as usize) < right.rows.rows, "rows of the matrices");
    let mut difference = 0.0;
    let side = |of: &Adaptive, row: u32| {
        let first = row as usize * of.rows.lines_per_row;
        // SAFETY: the row is inside (asserted above).
        unsafe {
            Side { row: of.rows.base().add(first), squares: of.squares.base().add(first), mask: of.learned.base() }
        }
    };
    let (lines, left, right) = (left.rows.lines_per_row, side(left, left_row), side(right, right_row));
    // SAFETY: rows are in bounds (asserted above).
    unsafe { simd::run(Fit { left, right, lines, target, factor: weight * rate, difference: &mut difference }) }
    difference
}

struct Side {
    row: *mut Line,
    squares: *mut Line,
    mask: *mut Line,
}

struct Fit<'a> {
    left: Side,
    right: Side,
    lines: usize,
    target: f32,
    factor: f32,
    difference: &'a mut f32,
}

impl Loop for Fit<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: a row has `lines` lines.
        unsafe {
            let mut sum = S::zero();
            for j in 0..self.lines {
                sum = S::load(self.left.row.add(j)).mul_add(S::load(self.right.row.add(j)), sum);
            }
            let difference = sum.sum() - self.target;
            *self.difference = difference;
            if !difference.is_finite() {
                return;
            }
            let error = S::splat(self.factor * difference);
            for j in 0..self.lines {
                let (left, right) = (S::load(self.left.row.add(j)), S::load(self.right.row.add(j)));
                for (side, old, other) in [(&self.left, left, right), (&self.right, right, left)] {
                    let gradient = error.mul_add(other, S::zero()).mul_add(S::load(side.mask.add(j)), S::zero());
                    let squares = S::load(side.squares.add(j));
                    S::splat(-1.0).mul_add(gradient.div_sqrt(squares), old).store(side.row.add(j));
                    gradient.mul_add(gradient, squares).store(side.squares.add(j));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_reaches_its_target_and_fixed_components_stay() {
        for dimension in [3, 16, 37] {
            let mut left = Adaptive::zeros(2, dimension, |column| column + 1 != dimension);
            let mut right = Adaptive::zeros(3, dimension, |_| true);
            let values = |from: f32| (0..dimension).map(|i| from + 0.1 * (i as f32).sin()).collect::<Vec<_>>();
            left.rows.set_row(1, &values(0.2));
            right.rows.set_row(2, &values(-0.1));
            let first = fit_product((&left, 1), (&right, 2), 3.0, 1.0, 0.05);
            let expected: f32 = values(0.2).iter().zip(values(-0.1)).map(|(a, b)| a * b).sum::<f32>() - 3.0;
            assert!((first - expected).abs() < 1e-4, "{first} {expected}");
            // Expected result of the first step.
            let after = left.rows.to_rows();
            let moved = values(0.2)[0] - 0.05 * expected * values(-0.1)[0];
            assert!((after[dimension] - moved).abs() < 1e-5);
            let squares = left.squares.to_rows();
            assert!((squares[dimension] - (1.0 + (0.05 * expected * values(-0.1)[0]).powi(2))).abs() < 1e-5);
            let mut last = first;
            for _ in 0..2_000 {
                last = fit_product((&left, 1), (&right, 2), 3.0, 1.0, 0.05);
            }
            assert!(last.abs() < 0.01, "dimension {dimension}: {last}");
            let rows = left.rows.to_rows();
            assert_eq!(rows[2 * dimension - 1], values(0.2)[dimension - 1], "not learned");
            assert!(rows[..dimension].iter().all(|&x| x == 0.0), "another row");
        }
    }
}
