//! Norms of vectors, with sums in `f64`: the square of any finite `f32` fits, so only the result can overflow.

/// Returns the sum of squares, in `f64`.
fn sum_of_squares(a: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let mut chunks = a.chunks_exact(8);
    for chunk in chunks.by_ref() {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Returns the Euclidean norm. For finite vectors it overflows only if the norm itself exceeds `f32::MAX`.
#[allow(clippy::cast_possible_truncation)]
pub fn norm(a: &[f32]) -> f32 {
    sum_of_squares(a).sqrt() as f32
}

/// Scales a vector to norm 1. Returns false and leaves the vector unchanged if the norm is zero or not finite.
#[allow(clippy::cast_possible_truncation)]
pub fn normalize(a: &mut [f32]) -> bool {
    let norm = sum_of_squares(a).sqrt();
    if norm == 0.0 || !norm.is_finite() {
        return false;
    }
    for x in a {
        *x = (f64::from(*x) / norm) as f32;
    }
    true
}
