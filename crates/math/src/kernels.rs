//! Selection of the kernels for this processor, and the functions that call them.
//!
//! The selection happens once; a hot loop reads the function pointer from [`kernels`] before it starts.

use std::sync::LazyLock;

use half::f16;

use super::codes::{self, CodeQuery, CodeRows};
use super::scalar;

/// One set of kernels. All sets agree within rounding; the integer kernel is exact in each.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::type_complexity)]
pub struct Kernels {
    /// `portable`, `avx2`, `avx512` or `avx512-vnni`.
    pub name: &'static str,
    /// Sum of `a[i] * b[i]`.
    pub dot: fn(&[f32], &[f32]) -> f32,
    /// Sum of `(a[i] - b[i])^2`.
    pub l2_squared: fn(&[f32], &[f32]) -> f32,
    /// Sum of `scale a[i] * b[i]` for half-precision `a`.
    pub dot_f16: fn(&[f16], f32, &[f32]) -> f32,
    /// Sum of `(scale a[i] - b[i])^2` for half-precision `a`.
    pub l2_f16: fn(&[f16], f32, &[f32]) -> f32,
    /// Sum of `scale a[i] * b[i]` for unsigned bytes `a`.
    pub dot_u8: fn(&[u8], f32, &[f32]) -> f32,
    /// Sum of `(scale a[i] - b[i])^2` for unsigned bytes `a`.
    pub l2_u8: fn(&[u8], f32, &[f32]) -> f32,
    /// Sum of `scale a[i] * b[i]` for signed bytes `a`.
    pub dot_i8: fn(&[i8], f32, &[f32]) -> f32,
    /// Sum of `(scale a[i] - b[i])^2` for signed bytes `a`.
    pub l2_i8: fn(&[i8], f32, &[f32]) -> f32,
    /// Exact sum of `a[i] * b[i]` for up to 65,792 components.
    pub dot_u8_i8: fn(&[u8], &[i8]) -> i32,
    /// Squared distances of the given code rows to a query; `u32::MAX` for a row that does not exist. The output slice
    /// has one element per given row.
    pub code_distances: fn(CodeRows<'_>, &[u32], CodeQuery<'_>, &mut [u32]),
    /// `256 (high . row) + low . row` for each row of a matrix of `high.len()` columns, a multiple of 64.
    pub products: fn(&[u8], &[u8], &[i8], &mut [f32]),
    /// Quantizes numbers to 65,536 uniform steps between minimum and maximum, as high and low bytes:
    /// `min + step * (256 high + low)`. Returns minimum and step; None if a number or the range is not finite.
    pub split: fn(&[f32], &mut [u8], &mut [u8]) -> Option<(f32, f32)>,
}

static ACTIVE: LazyLock<Kernels> = LazyLock::new(|| *variants().last().expect("the portable kernels always exist"));

/// Returns the fastest kernels that this processor supports.
pub fn kernels() -> &'static Kernels {
    &ACTIVE
}

/// Returns every set of kernels that this processor supports, slowest first.
pub fn variants() -> Vec<Kernels> {
    #[allow(unused_mut)]
    let mut all = vec![Kernels {
        name: "portable",
        dot: |a, b| scalar::dot(a, 1.0, b),
        l2_squared: |a, b| scalar::l2_squared(a, 1.0, b),
        dot_f16: scalar::dot,
        l2_f16: scalar::l2_squared,
        dot_u8: scalar::dot,
        l2_u8: scalar::l2_squared,
        dot_i8: scalar::dot,
        l2_i8: scalar::l2_squared,
        dot_u8_i8: scalar::dot_u8_i8,
        code_distances: |rows, which, query, out| codes::distances_by(scalar::dot_u8_i8, rows, which, query, out),
        products: |high, low, matrix, out| codes::products_by(scalar::dot_u8_i8, high, low, matrix, out),
        split: codes::split,
    }];
    #[cfg(target_arch = "x86_64")]
    x86::push(&mut all);
    all
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Kernel sets of x86-64. The wrappers are private to this module; `push` publishes them after its feature checks.

    use half::f16;

    use super::Kernels;
    use crate::codes::{self, CodeQuery, CodeRows};
    use crate::{avx2, avx512};

    pub(super) fn push(all: &mut Vec<Kernels>) {
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")) {
            return;
        }
        let avx2 = Kernels {
            name: "avx2",
            dot: |a, b| dot_avx2(a, 1.0, b),
            l2_squared: |a, b| l2_avx2(a, 1.0, b),
            dot_f16: dot_f16_avx2,
            l2_f16: l2_f16_avx2,
            dot_u8: dot_u8_avx2,
            l2_u8: l2_u8_avx2,
            dot_i8: dot_i8_avx2,
            l2_i8: l2_i8_avx2,
            dot_u8_i8: codes_avx2,
            code_distances: |rows, which, query, out| codes::distances_by(codes_avx2, rows, which, query, out),
            products: |high, low, matrix, out| codes::products_by(codes_avx2, high, low, matrix, out),
            split: codes::split,
        };
        all.push(avx2);
        if !(is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl"))
        {
            return;
        }
        let avx512 = Kernels {
            name: "avx512",
            dot: |a, b| dot_avx512(a, 1.0, b),
            l2_squared: |a, b| l2_avx512(a, 1.0, b),
            dot_f16: dot_f16_avx512,
            l2_f16: l2_f16_avx512,
            dot_u8: dot_u8_avx512,
            l2_u8: l2_u8_avx512,
            dot_i8: dot_i8_avx512,
            l2_i8: l2_i8_avx512,
            split: split_avx512,
            ..avx2
        };
        all.push(avx512);
        if is_x86_feature_detected!("avx512vnni") {
            all.push(Kernels {
                name: "avx512-vnni",
                dot_u8_i8: codes_vnni,
                code_distances: distances_vnni,
                products: products_vnni,
                ..avx512
            });
        }
    }

    macro_rules! checked {
        ($name:ident, $inner:path, ($($argument:ident: $type:ty),+) $(-> $out:ty)?) => {
            fn $name($($argument: $type),+) $(-> $out)? {
                // SAFETY: `push` publishes this function only if the processor has the features of the inner one.
                unsafe { $inner($($argument),+) }
            }
        };
    }
    checked!(dot_avx2, avx2::dot, (a: &[f32], scale: f32, b: &[f32]) -> f32);
    checked!(l2_avx2, avx2::l2_squared, (a: &[f32], scale: f32, b: &[f32]) -> f32);
    checked!(dot_f16_avx2, avx2::dot_f16, (a: &[f16], scale: f32, b: &[f32]) -> f32);
    checked!(l2_f16_avx2, avx2::l2_squared_f16, (a: &[f16], scale: f32, b: &[f32]) -> f32);
    checked!(dot_u8_avx2, avx2::dot_u8, (a: &[u8], scale: f32, b: &[f32]) -> f32);
    checked!(l2_u8_avx2, avx2::l2_squared_u8, (a: &[u8], scale: f32, b: &[f32]) -> f32);
    checked!(dot_i8_avx2, avx2::dot_i8, (a: &[i8], scale: f32, b: &[f32]) -> f32);
    checked!(l2_i8_avx2, avx2::l2_squared_i8, (a: &[i8], scale: f32, b: &[f32]) -> f32);
    checked!(dot_avx512, avx512::dot, (a: &[f32], scale: f32, b: &[f32]) -> f32);
    checked!(l2_avx512, avx512::l2_squared, (a: &[f32], scale: f32, b: &[f32]) -> f32);
    checked!(dot_f16_avx512, avx512::dot_f16, (a: &[f16], scale: f32, b: &[f32]) -> f32);
    checked!(l2_f16_avx512, avx512::l2_squared_f16, (a: &[f16], scale: f32, b: &[f32]) -> f32);
    checked!(dot_u8_avx512, avx512::dot_u8, (a: &[u8], scale: f32, b: &[f32]) -> f32);
    checked!(l2_u8_avx512, avx512::l2_squared_u8, (a: &[u8], scale: f32, b: &[f32]) -> f32);
    checked!(dot_i8_avx512, avx512::dot_i8, (a: &[i8], scale: f32, b: &[f32]) -> f32);
    checked!(l2_i8_avx512, avx512::l2_squared_i8, (a: &[i8], scale: f32, b: &[f32]) -> f32);
    checked!(codes_avx2, avx2::dot_u8_i8, (a: &[u8], b: &[i8]) -> i32);
    checked!(split_avx512, avx512::split, (x: &[f32], high: &mut [u8], low: &mut [u8]) -> Option<(f32, f32)>);
    checked!(distances_vnni, avx512::code_distances, (rows: CodeRows<'_>, which: &[u32], query: CodeQuery<'_>, out: &mut [u32]));
    checked!(products_vnni, avx512::products, (high: &[u8], low: &[u8], matrix: &[i8], out: &mut [f32]));
    checked!(codes_vnni, avx512::dot_u8_i8, (a: &[u8], b: &[i8]) -> i32);
}

/// Returns the dot product of two vectors of equal length (of the shorter length, if they differ).
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    (ACTIVE.dot)(a, b)
}

/// Returns the squared Euclidean distance of two vectors of equal length (of the shorter length, if they differ).
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    (ACTIVE.l2_squared)(a, b)
}

/// Returns the exact dot product of 8-bit codes: no step saturates, and up to 65,792 components of any value fit 32
/// bits (65,792 x 255 x 128 < 2^31).
pub fn dot_u8_i8(a: &[u8], b: &[i8]) -> i32 {
    (ACTIVE.dot_u8_i8)(a, b)
}
