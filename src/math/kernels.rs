//! Which kernels this processor runs, and the functions that the rest of the crate calls.
//!
//! The choice is made once; a hot loop takes the function pointer out of [`kernels`] before it starts.

use std::sync::LazyLock;

use super::scalar;

/// One set of kernels. All sets compute the same within rounding; the integer kernel is exact in each.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// `portable`, `avx2`, `avx512` or `avx512-vnni`.
    pub name: &'static str,
    /// Sum of `a[i] * b[i]`.
    pub dot: fn(&[f32], &[f32]) -> f32,
    /// Sum of `(a[i] - b[i])^2`.
    pub l2_squared: fn(&[f32], &[f32]) -> f32,
    /// Exact sum of `a[i] * b[i]` for up to 65,792 components.
    pub dot_u8_i8: fn(&[u8], &[i8]) -> i32,
}

static ACTIVE: LazyLock<Kernels> = LazyLock::new(|| *variants().last().expect("the portable kernels are always there"));

/// The fastest kernels that this processor has.
pub fn kernels() -> &'static Kernels {
    &ACTIVE
}

/// Every set of kernels that this processor can run, slowest first.
pub fn variants() -> Vec<Kernels> {
    #[allow(unused_mut)]
    let mut all = vec![Kernels {
        name: "portable",
        dot: scalar::dot,
        l2_squared: scalar::l2_squared,
        dot_u8_i8: scalar::dot_u8_i8,
    }];
    #[cfg(target_arch = "x86_64")]
    x86::push(&mut all);
    all
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The sets of x86-64. The wrappers are private to this module and handed out only after the checks in `push`.

    use super::Kernels;
    use crate::math::{avx2, avx512};

    pub(super) fn push(all: &mut Vec<Kernels>) {
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            return;
        }
        all.push(Kernels { name: "avx2", dot: dot_avx2, l2_squared: l2_avx2, dot_u8_i8: codes_avx2 });
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")) {
            return;
        }
        all.push(Kernels { name: "avx512", dot: dot_avx512, l2_squared: l2_avx512, dot_u8_i8: codes_avx2 });
        if is_x86_feature_detected!("avx512vnni") {
            all.push(Kernels { name: "avx512-vnni", dot: dot_avx512, l2_squared: l2_avx512, dot_u8_i8: codes_vnni });
        }
    }

    macro_rules! checked {
        ($name:ident, $inner:path, $left:ty, $right:ty, $out:ty) => {
            fn $name(a: &[$left], b: &[$right]) -> $out {
                // SAFETY: `push` hands this function out only where the processor has the features of the inner one.
                unsafe { $inner(a, b) }
            }
        };
    }
    checked!(dot_avx2, avx2::dot, f32, f32, f32);
    checked!(l2_avx2, avx2::l2_squared, f32, f32, f32);
    checked!(codes_avx2, avx2::dot_u8_i8, u8, i8, i32);
    checked!(dot_avx512, avx512::dot, f32, f32, f32);
    checked!(l2_avx512, avx512::l2_squared, f32, f32, f32);
    checked!(codes_vnni, avx512::dot_u8_i8, u8, i8, i32);
}

/// Dot product of two vectors of equal length (of the shorter length, if they differ).
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    (ACTIVE.dot)(a, b)
}

/// Squared Euclidean distance of two vectors of equal length (of the shorter length, if they differ).
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    (ACTIVE.l2_squared)(a, b)
}

/// Exact dot product of 8-bit codes: no step saturates, and up to 65,792 components of any value fit 32 bits
/// (65,792 x 255 x 128 < 2^31).
pub fn dot_u8_i8(a: &[u8], b: &[i8]) -> i32 {
    (ACTIVE.dot_u8_i8)(a, b)
}
