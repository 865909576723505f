//! Activation functions of neural networks: GELU, quick GELU, ReLU, and softmax of a row.
//!
//! Each loop is written once, without branches, so that the compiler vectorises it, and compiled for AVX-512, AVX2 and
//! portable code, selected at run time. Errors are below 4e-7 for results of about 1.

/// Lanes of sums and maxima, the same on every processor, so that results are the same.
const LANES: usize = 16;

macro_rules! chosen {
    ($(#[$about:meta])* $name:ident, $inner:ident) => {
        $(#[$about])*
        pub fn $name(x: &mut [f32]) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                unsafe fn avx512(x: &mut [f32]) {
                    $inner(x);
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2(x: &mut [f32]) {
                    $inner(x);
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has these features.
                    return unsafe { avx512(x) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has these features.
                    return unsafe { avx2(x) };
                }
            }
            $inner(x);
        }
    };
}

chosen!(
    /// GELU: replaces each x by x * Phi(x), Phi the standard normal distribution function.
    gelu,
    gelu_plain
);
chosen!(
    /// Quick GELU: replaces each x by x / (1 + e^(-1.702 x)), an approximation of GELU (Hendrycks, Gimpel 2016, section
    /// 2).
    quick_gelu,
    quick_gelu_plain
);
chosen!(
    /// ReLU: replaces each negative x by 0.
    relu,
    relu_plain
);
chosen!(
    /// Softmax: replaces each x by e^x / sum of all e^x. Minus infinity becomes almost 0.
    softmax,
    softmax_plain
);

/// Returns e^x for x <= 0; 0 below -87.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    // x = 2^(whole + part), with part between -0.5 and 0.5.
    let x = x.max(-87.0) * std::f32::consts::LOG2_E;
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x + ROUND;
    let part = x - (shifted - ROUND);
    // Taylor series of 2^part = e^(part ln 2) to the sixth power; relative error below 2e-7.
    let t = part * std::f32::consts::LN_2;
    let power =
        1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t * (1.0 / 720.0))))));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    power * f32::from_bits(exponent)
}

#[inline(always)]
fn gelu_plain(x: &mut [f32]) {
    for x in x {
        // Error function by Abramowitz, Stegun 7.1.26: error below 1.5e-7.
        let z = *x * std::f32::consts::FRAC_1_SQRT_2;
        let size = z.abs();
        let t = 1.0 / (1.0 + 0.327_591_1 * size);
        let series = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
        let beyond = series * exp_of_negative(-size * size);
        let share = 0.5 * beyond;
        *x *= if z < 0.0 { share } else { 1.0 - share };
    }
}

#[inline(always)]
fn quick_gelu_plain(x: &mut [f32]) {
    for x in x {
        let z = 1.702 * *x;
        let small = exp_of_negative(-z.abs());
        let share = 1.0 / (1.0 + small);
        *x *= if z < 0.0 { small * share } else { share };
    }
}

#[inline(always)]
fn relu_plain(x: &mut [f32]) {
    for x in x {
        // NaN stays NaN.
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

#[inline(always)]
fn softmax_plain(x: &mut [f32]) {
    let mut max = [f32::NEG_INFINITY; LANES];
    let (lanes, rest) = x.as_chunks::<LANES>();
    for lane in lanes {
        max.iter_mut().zip(lane).for_each(|(max, &x)| *max = if x > *max { x } else { *max });
    }
    let max = max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; LANES];
    let (lanes, rest) = x.as_chunks_mut::<LANES>();
    for lane in lanes {
        for (sum, x) in sums.iter_mut().zip(lane) {
            *x = exp_of_negative(*x - max);
            *sum += *x;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for x in rest {
        *x = exp_of_negative(*x - max);
        sum += *x;
    }
    let share = 1.0 / sum;
    x.iter_mut().for_each(|x| *x *= share);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error function by its series, for |x| up to 4; beyond, it is 1 within 2e-8.
    fn erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut sum, mut term) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_is_x_times_the_normal_distribution_function() {
        let xs: Vec<f32> = (-1_200..=1_200).map(|i| i as f32 / 100.0).chain([0.0, -50.0, 50.0, -1e4, 1e4]).collect();
        for length in [1, 15, 16, 17, xs.len()] {
            let mut got = xs[xs.len() - length..].to_vec();
            gelu(&mut got);
            for (x, got) in xs[xs.len() - length..].iter().map(|&x| f64::from(x)).zip(got) {
                let expected = x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt()));
                assert!(
                    (f64::from(got) - expected).abs() < 4e-7 * (1.0 + x.abs()),
                    "gelu({x}) = {got}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn quick_gelu_and_relu_agree_with_their_formulas() {
        let xs: Vec<f32> = (-1_200..=1_200).map(|i| i as f32 / 100.0).chain([0.0, -50.0, 50.0, -1e4, 1e4]).collect();
        for length in [1, 15, 16, 17, xs.len()] {
            let (mut quick, mut ramp) = (xs[xs.len() - length..].to_vec(), xs[xs.len() - length..].to_vec());
            quick_gelu(&mut quick);
            relu(&mut ramp);
            for ((x, quick), ramp) in xs[xs.len() - length..].iter().zip(quick).zip(ramp) {
                let exact = f64::from(*x) / (1.0 + (-1.702 * f64::from(*x)).exp());
                assert!(
                    (f64::from(quick) - exact).abs() < 4e-7 * (1.0 + f64::from(x.abs())),
                    "{x}: {quick}, not {exact}"
                );
                assert_eq!(ramp, x.max(0.0));
            }
        }
        let mut strange = [f32::NAN, f32::NEG_INFINITY];
        relu(&mut strange);
        assert!(strange[0].is_nan() && strange[1] == 0.0);
    }

    #[test]
    fn softmax_sums_to_one_and_agrees_with_its_formula() {
        for length in [1, 5, 16, 33, 200] {
            let x: Vec<f32> = (0..length).map(|i| ((i * 37) % 101) as f32 / 5.0 - 90.0).collect();
            let max = x.iter().copied().fold(f32::MIN, f32::max);
            let exact: Vec<f64> = x.iter().map(|&x| f64::from(x - max).exp()).collect();
            let sum: f64 = exact.iter().sum();
            let mut got = x.clone();
            softmax(&mut got);
            for (got, exact) in got.iter().zip(&exact) {
                assert!((f64::from(*got) - exact / sum).abs() < 4e-7, "{got} {}", exact / sum);
            }
        }
        let mut masked = [1.0, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        softmax(&mut masked);
        assert!((masked[0] - 0.5).abs() < 1e-6 && masked[1] < 1e-37, "{masked:?}");
    }
}
