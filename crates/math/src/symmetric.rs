//! Eigenvalues and eigenvectors of a symmetric matrix.

/// Returns the eigenvalues of the symmetric `matrix` of `n` rows, and its unit eigenvectors as rows in the same order,
/// by Jacobi rotations (Golub, Van Loan, "Matrix Computations", section 8.5); about 10 n^3 operations.
///
/// # Panics
/// If the matrix does not have n x n numbers.
pub fn eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    const SWEEPS: usize = 60;
    assert_eq!(matrix.len(), n * n, "n x n numbers");
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let size: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        if !off.is_finite() || off <= 1e-24 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for rows in [&mut a, &mut vectors] {
                    let (before, after) = rows.split_at_mut(q * n);
                    for (x, y) in before[p * n..][..n].iter_mut().zip(&mut after[..n]) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_and_eigenvectors_reproduce_the_matrix() {
        for n in [1, 2, 7, 40] {
            let mut matrix = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    let value = ((i * 31 + j * 17) as f64).sin() + if i == j { i as f64 } else { 0.0 };
                    (matrix[i * n + j], matrix[j * n + i]) = (value, value);
                }
            }
            let (values, vectors) = eigen(&matrix, n);
            for i in 0..n {
                for j in 0..n {
                    let of = |k: usize| values[k] * vectors[k * n + i] * vectors[k * n + j];
                    assert!(((0..n).map(of).sum::<f64>() - matrix[i * n + j]).abs() < 1e-9);
                    let dot: f64 = (0..n).map(|k| vectors[i * n + k] * vectors[j * n + k]).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-9);
                }
            }
        }
        assert_eq!(eigen(&[2.0, 0.0, 0.0, 3.0], 2).0, [2.0, 3.0]);
        assert_eq!(eigen(&[0.0; 9], 3).0, [0.0; 3]);
    }
}
