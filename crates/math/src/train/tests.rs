//! Tests of the training kernels.
#![allow(clippy::undocumented_unsafe_blocks)] // kernels called with rows inside the matrices, features checked

#[cfg(target_arch = "x86_64")]
use super::simd::x86;
use super::simd::{Loop, Portable};
use super::*;

fn filled(rows: usize, dimension: usize, seed: u32) -> SharedMatrix {
    let mut matrix = SharedMatrix::zeros(rows, dimension);
    let mut state = seed;
    matrix.fill(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    });
    matrix
}

fn number(matrix: &mut SharedMatrix, row: u32, index: usize) -> &mut f32 {
    let lines = matrix.lines_per_row;
    &mut matrix.lines[row as usize * lines + index / LANES].get_mut().0[index % LANES]
}

/// Checks the update of each kernel against every partial derivative of the loss, by central differences.
#[test]
fn a_step_follows_the_gradient_of_the_loss() {
    type Kernel = unsafe fn(Step<'_>);
    let mut kernels: Vec<(&str, Kernel)> = vec![("portable", |step| unsafe { step.run::<Portable>() })];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            kernels.push(("avx2", |step| unsafe { x86::avx2(step) }));
        }
        if is_x86_feature_detected!("avx512f") {
            kernels.push(("avx512", |step| unsafe { x86::avx512(step) }));
        }
    }
    for (name, kernel) in kernels {
        for dimension in [1, 15, 16, 37] {
            for targets in [&[2_u32][..], &[5, 0, 3], &[1, 2, 3, 4, 5, 0], &[0, 1, 2, 3, 4, 5, 6, 7]] {
                check(name, kernel, dimension, targets, 0.0);
                check(name, kernel, dimension, targets, 1.5);
            }
        }
    }

    #[track_caller]
    fn check(name: &str, kernel: Kernel, dimension: usize, targets: &[u32], shift: f32) {
        let window = Window { inputs: &[0, 2, 5], targets, shift };
        let (mut input, mut output) = (filled(6, dimension, 1), filled(8, dimension, 2));
        let rate = 1e-3; // small: updates of more than GROUP targets are exact only to first order in the rate
        let (before_in, before_out) = (input.to_rows(), output.to_rows());
        {
            let mut errors = vec![0.0; window.inputs.len() * targets.len()];
            let (input, output, lines) = (input.base(), output.base(), input.lines_per_row);
            unsafe { kernel(Step { input, output, lines, window, rate, errors: &mut errors }) };
        }
        let (after_in, after_out) = (input.to_rows(), output.to_rows());
        let (mut input, mut output) = (filled(6, dimension, 1), filled(8, dimension, 2));
        let nudge = 1e-2;
        for side in 0..2 {
            for row in 0..if side == 0 { 6 } else { 8_u32 } {
                for index in 0..dimension {
                    let mut sides = [0.0; 2];
                    for (sign, value) in [1.0, -1.0].into_iter().zip(&mut sides) {
                        let cell = number(if side == 0 { &mut input } else { &mut output }, row, index);
                        let saved = *cell;
                        *cell += sign * nudge;
                        *value = loss(&input, &output, window);
                        *number(if side == 0 { &mut input } else { &mut output }, row, index) = saved;
                    }
                    let derivative = (sides[0] - sides[1]) / (2.0 * f64::from(nudge));
                    let at = row as usize * dimension + index;
                    let (before, after) =
                        if side == 0 { (before_in[at], after_in[at]) } else { (before_out[at], after_out[at]) };
                    let moved = f64::from(after - before) / f64::from(rate);
                    assert!(
                        (moved + derivative).abs() < 2e-3 + 2e-2 * derivative.abs(),
                        "{name}, dimension {dimension}, {targets:?}, side {side}, row {row}, column {index}: \
                         moved {moved}, derivative {derivative}"
                    );
                }
            }
        }
    }
}

#[test]
fn padding_stays_zero_and_rows_come_back() {
    let mut matrix = filled(3, 17, 9);
    let rows = matrix.to_rows();
    assert_eq!(rows.len(), 51);
    assert_eq!(rows[17], matrix.number(1, 0));
    assert!(matrix.lines[1].get_mut().0[1..].iter().all(|&padding| padding == 0.0));
}

#[test]
fn the_sigmoid_is_one() {
    for i in -2000..=2000 {
        let x = i as f32 * 0.05;
        let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(sigmoid(x)) - exact).abs() < 1e-6, "sigmoid({x}) = {}", sigmoid(x));
    }
    assert!(sigmoid(1e30) > 0.999_999 && sigmoid(-1e30) < 1e-6);
}

#[test]
fn products_are_those_of_the_definition() {
    let (mut left, mut right) = (filled(5, 7, 3), filled(4, 7, 4));
    let (left, right) = (left.to_rows(), right.to_rows());
    let mut out = vec![f32::NAN; 20];
    multiply(&left, 5, &right, 4, 7, &mut out);
    for i in 0..5 {
        for j in 0..4 {
            let expected: f32 = (0..7).map(|k| left[i * 7 + k] * right[j * 7 + k]).sum();
            assert!((out[i * 4 + j] - expected).abs() < 1e-6);
        }
    }
    let mut row = vec![0.0; 4];
    dot_rows(&left[..7], &right, &mut row);
    assert!(row.iter().zip(&out).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
#[should_panic(expected = "outside the matrix")]
fn a_row_outside_the_matrix_is_refused() {
    let (input, output) = (filled(2, 4, 1), filled(2, 4, 2));
    step(&input, &output, Window { inputs: &[2], targets: &[0], shift: 0.0 }, 0.1, &mut Vec::new());
}

#[test]
fn a_composed_input_is_the_mean_and_propagates_its_change() {
    for dimension in [1, 16, 37] {
        let (mut from, mut output) = (filled(6, dimension, 1), filled(4, dimension, 2));
        let before = from.to_rows();
        let mut composed = Composed::new(2, dimension);
        let parts: [&[u32]; 2] = [&[0, 3, 5], &[4]];
        for (index, rows) in (0..).zip(parts) {
            composed.gather(index, &from, rows);
            for i in 0..dimension {
                let mean =
                    rows.iter().map(|&row| before[row as usize * dimension + i]).sum::<f32>() / rows.len() as f32;
                assert!((composed.inputs().number(index, i) - mean).abs() < 1e-6);
            }
        }
        let window = Window { inputs: &[0, 1], targets: &[1, 2], shift: 0.0 };
        step(composed.inputs(), &output, window, 0.1, &mut Vec::new());
        (0..).zip(parts).for_each(|(index, rows)| composed.scatter(index, &from, rows));
        let after = from.to_rows();
        for row in 0..6 {
            let index = parts.iter().position(|rows| rows.contains(&row));
            for i in 0..dimension {
                let at = row as usize * dimension + i;
                let change = index.map_or(0.0, |index| {
                    let (now, then) = (&composed.now, &composed.before);
                    now.number(index as u32, i) - then.number(index as u32, i)
                });
                assert!((after[at] - before[at] - change).abs() < 1e-6, "row {row}, {i}");
                assert!(index.is_none() || dimension == 1 || change != 0.0);
            }
        }
        assert_ne!(output.to_rows(), filled(4, dimension, 2).to_rows(), "the step had an effect");
    }
}

#[test]
fn a_weighted_input_is_a_sum_of_products_and_its_change_reaches_both() {
    for dimension in [1, 16, 37] {
        let (mut from, mut factors) = (filled(6, dimension, 1), filled(3, dimension, 2));
        let (rows, factor_rows, rate) = ([0_u32, 3, 5], [2_u32, 0, 1], 0.3_f32);
        let (before, before_factors) = (from.to_rows(), factors.to_rows());
        let mut composed = Composed::new(1, dimension);
        composed.gather_weighted(0, (&from, &rows), (&factors, &factor_rows));
        for i in 0..dimension {
            let of = |n: usize| {
                before[rows[n] as usize * dimension + i] * before_factors[factor_rows[n] as usize * dimension + i]
            };
            assert!((composed.inputs().number(0, i) - (of(0) + of(1) + of(2))).abs() < 1e-6);
        }
        let output = filled(4, dimension, 4);
        step(composed.inputs(), &output, Window { inputs: &[0], targets: &[1, 2], shift: 0.5 }, 0.1, &mut Vec::new());
        composed.scatter_weighted(0, (&from, &rows), (&factors, &factor_rows), rate);
        let (after, after_factors) = (from.to_rows(), factors.to_rows());
        for row in 0..6_usize {
            let n = rows.iter().position(|&other| other as usize == row);
            for i in 0..dimension {
                let change = composed.now.number(0, i) - composed.before.number(0, i);
                let at = row * dimension + i;
                let Some(n) = n else {
                    assert_eq!(after[at], before[at]);
                    continue;
                };
                let index = factor_rows[n] as usize * dimension + i;
                assert!((after[at] - before[at] - change * before_factors[index]).abs() < 1e-6);
                assert!((after_factors[index] - before_factors[index] - rate * change * before[at]).abs() < 1e-6);
                assert!(dimension == 1 || change != 0.0);
            }
        }
    }
}

#[test]
fn rows_are_copied_and_set() {
    let mut matrix = filled(3, 37, 5);
    let (mut row, mut other) = (vec![0.0; 37], vec![0.0; 37]);
    matrix.copy_row(1, &mut row);
    assert_eq!(row, matrix.to_rows()[37..74]);
    matrix.set_row(2, &row);
    matrix.copy_row(2, &mut other);
    assert_eq!(row, other);
    assert!(matrix.lines[8].get_mut().0[5..].iter().all(|&padding| padding == 0.0));
}
