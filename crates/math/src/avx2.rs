//! AVX2 + FMA kernels: 8 lanes, four independent sums to hide the latency of fused multiply-add.
//!
//! The functions are safe to *call* only where the processor has AVX2, FMA and F16C; `kernels.rs` checks that once.

use std::arch::x86_64::*;

use half::f16;

/// Dot product and squared distance of components of one type and floats. `$load` loads 8 components as floats.
macro_rules! against_floats {
    ($type:ty, $features:literal, $load:expr, $dot:ident, $l2_squared:ident) => {
        /// Returns the sum of `scale a[i] * b[i]`.
        #[target_feature(enable = $features)]
        pub(super) fn $dot(a: &[$type], scale: f32, b: &[f32]) -> f32 {
            let scale = _mm256_set1_ps(scale);
            against_floats!(@sum $type, $load, a, b, scale, |x, y, sum| _mm256_fmadd_ps(x, y, sum))
        }

        /// Returns the sum of `(scale a[i] - b[i])^2`.
        #[target_feature(enable = $features)]
        pub(super) fn $l2_squared(a: &[$type], scale: f32, b: &[f32]) -> f32 {
            let scale = _mm256_set1_ps(scale);
            against_floats!(@sum $type, $load, a, b, scale, |x, y, sum| {
                let difference = _mm256_sub_ps(x, y);
                _mm256_fmadd_ps(difference, difference, sum)
            })
        }
    };
    (@sum $type:ty, $load:expr, $a:ident, $b:ident, $scale:ident, |$x:ident, $y:ident, $sum:ident| $step:expr) => {{
        let n = $a.len().min($b.len());
        let mut sums = [_mm256_setzero_ps(); 4];
        let mut at = 0;
        // SAFETY: called with from + 8 at most n, so 8 components lie in both slices.
        let add = |from: usize, $sum: __m256| unsafe {
            let $x = _mm256_mul_ps($load($a.as_ptr().add(from)), $scale);
            let $y = _mm256_loadu_ps($b.as_ptr().add(from));
            $step
        };
        while at + 32 <= n {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum = add(at + 8 * lane, *sum);
            }
            at += 32;
        }
        while at + 8 <= n {
            sums[0] = add(at, sums[0]);
            at += 8;
        }
        if at < n {
            // Pads the tail with zeros, which do not change the sum.
            let (mut x, mut y) = ([<$type>::default(); 8], [0.0_f32; 8]);
            x[..n - at].copy_from_slice(&$a[at..n]);
            y[..n - at].copy_from_slice(&$b[at..n]);
            // SAFETY: both arrays have 8 components.
            sums[1] = unsafe {
                let $x = _mm256_mul_ps($load(x.as_ptr()), $scale);
                let $y = _mm256_loadu_ps(y.as_ptr());
                let $sum = sums[1];
                $step
            };
        }
        fold(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])))
    }};
}

against_floats!(f32, "avx2,fma", |at: *const f32| _mm256_loadu_ps(at), dot, l2_squared);
against_floats!(
    f16,
    "avx2,fma,f16c",
    |at: *const f16| _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
    dot_f16,
    l2_squared_f16
);
against_floats!(
    u8,
    "avx2,fma",
    |at: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()))),
    dot_u8,
    l2_squared_u8
);
against_floats!(
    i8,
    "avx2,fma",
    |at: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()))),
    dot_i8,
    l2_squared_i8
);

/// Returns the exact sum of `a[i] * b[i]`. Widens both sides to 16 bits first: `maddubs` would saturate.
#[target_feature(enable = "avx2")]
pub(super) fn dot_u8_i8(a: &[u8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let (mut s0, mut s1) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let mut i = 0;
    while i + 32 <= n {
        // SAFETY: i + 32 <= n, so two loads of 16 bytes lie in each slice.
        let (x0, x1, y0, y1) = unsafe {
            (
                _mm_loadu_si128(pa.add(i).cast()),
                _mm_loadu_si128(pa.add(i + 16).cast()),
                _mm_loadu_si128(pb.add(i).cast()),
                _mm_loadu_si128(pb.add(i + 16).cast()),
            )
        };
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(_mm256_cvtepu8_epi16(x0), _mm256_cvtepi8_epi16(y0)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(_mm256_cvtepu8_epi16(x1), _mm256_cvtepi8_epi16(y1)));
        i += 32;
    }
    let s = _mm256_add_epi32(s0, s1);
    let s = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s));
    let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
    let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s));
    let mut sum = _mm_cvtsi128_si32(s);
    for (&x, &y) in a[i..n].iter().zip(&b[i..n]) {
        sum += i32::from(x) * i32::from(y);
    }
    sum
}

/// Returns the sum of the 8 lanes.
#[target_feature(enable = "avx2")]
fn fold(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}
