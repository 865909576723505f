//! Matrix products on `f32` slices, with all bounds checked before the kernel runs.
//!
//! This is the only file that uses the crate `gemm-f32`, which selects AVX-512, AVX2 or portable code at run time. A
//! product runs on the calling thread. Callers split work over threads themselves, so the order of additions, and
//! therefore every bit of the result, is independent of the number of threads.

/// View of a slice as a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Creates a row-major matrix of `rows` x `columns` numbers.
    ///
    /// # Panics
    /// If the slice is shorter than `rows * columns`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        let cells = rows.checked_mul(columns).expect("a matrix that fits memory");
        assert!(data.len() >= cells, "{rows} x {columns} numbers needed, {} given", data.len());
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Creates a row-major matrix of `rows` x `columns` numbers, with row starts `stride` apart.
    ///
    /// # Panics
    /// If the slice is too short, or the rows overlap.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns, "rows of {columns} numbers, {stride} apart");
        let cells = rows.saturating_sub(1).checked_mul(stride).and_then(|cells| cells.checked_add(columns));
        let cells = if rows == 0 { 0 } else { cells.expect("a matrix that fits memory") };
        assert!(data.len() >= cells, "{rows} rows of {stride} numbers needed, {} given", data.len());
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Returns the transposed view, without a copy.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Computes `out = a b`, or `out += a b` if `accumulate`; `out` is row-major.
///
/// # Panics
/// If the inner sizes differ, or `out` is shorter than the rows of `a` times the columns of `b`.
pub fn multiply(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "inner sizes of a matrix product");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(out.len() >= m * n, "{m} x {n} numbers to write, room for {}", out.len());
    // The kernel is faster with contiguous output columns: compute the transposed product, unless there is one column.
    let (a, b, m, n, column_stride, row_stride) =
        if n > 1 { (b.transposed(), a.transposed(), n, m, n, 1) } else { (a, b, m, n, 1, n) };
    // SAFETY: `Matrix::new` checked that both operands lie within their slices (transposing only exchanges
    // the strides), the assertion above that the result lies within `out`; `out` is borrowed mutably, so it
    // overlaps neither. All strides fit isize because they are at most slice lengths.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            out.as_mut_ptr(),
            column_stride as isize,
            row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers: every order of additions gives the same sum.
    fn numbers(n: usize, salt: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + salt * 13) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn every_layout_agrees_with_the_schoolbook_product() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (20, 25, 64), (7, 1, 9), (1, 33, 4), (17, 40, 1)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let mut expected = vec![1.0; m * n];
            for row in 0..m {
                for column in 0..n {
                    expected[row * n + column] += (0..k).map(|i| a[row * k + i] * b[i * n + column]).sum::<f32>();
                }
            }
            let transpose = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|i| x[(i % rows) * columns + i / rows]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            for (left, right) in [
                (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
                (Matrix::new(&at, k, m).transposed(), Matrix::new(&b, k, n)),
                (Matrix::new(&a, m, k), Matrix::new(&bt, n, k).transposed()),
            ] {
                let mut out = vec![1.0; m * n];
                multiply(&mut out, left, right, true);
                assert_eq!(out, expected, "{m} x {k} x {n}");
                multiply(&mut out, left, right, false);
                assert!(out.iter().zip(&expected).all(|(x, y)| x + 1.0 == *y), "{m} x {k} x {n} without adding");
            }
        }
    }

    #[test]
    fn columns_of_wider_rows_are_a_matrix() {
        let (wide, b) = (numbers(7 * 9, 3), numbers(4 * 5, 4));
        let narrow: Vec<f32> = (0..7).flat_map(|row| wide[row * 9 + 2..row * 9 + 6].to_vec()).collect();
        let (mut got, mut expected) = (vec![0.0; 35], vec![0.0; 35]);
        multiply(&mut got, Matrix::strided(&wide[2..], 7, 4, 9), Matrix::new(&b, 4, 5), false);
        multiply(&mut expected, Matrix::new(&narrow, 7, 4), Matrix::new(&b, 4, 5), false);
        assert_eq!(got, expected);
    }

    #[test]
    #[should_panic(expected = "numbers needed")]
    fn a_slice_too_short_for_the_stride_is_refused() {
        let _ = Matrix::strided(&[0.0; 20], 3, 3, 9);
    }

    #[test]
    #[should_panic(expected = "numbers needed")]
    fn a_short_operand_is_refused() {
        let _ = Matrix::new(&[0.0; 5], 2, 3);
    }

    #[test]
    #[should_panic(expected = "numbers to write")]
    fn a_short_result_is_refused() {
        let data = [0.0; 6];
        multiply(&mut [0.0; 3], Matrix::new(&data, 2, 3), Matrix::new(&data, 3, 2), false);
    }
}
