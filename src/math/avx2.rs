//! AVX2 + FMA kernels: 8 lanes, four independent sums to hide the latency of a fused multiply-add.
//!
//! The functions are safe to *call* only where the processor has AVX2 and FMA; `kernels.rs` checks that once.

use std::arch::x86_64::*;

/// Sum of `a[i] * b[i]`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut s = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i + 32 <= n {
        for (lane, sum) in s.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n and lane < 4, so the 8 floats at i + 8 * lane lie in both slices.
            let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i + 8 * lane)), _mm256_loadu_ps(pb.add(i + 8 * lane))) };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
        i += 32;
    }
    while i + 8 <= n {
        // SAFETY: i + 8 <= n.
        let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i))) };
        s[0] = _mm256_fmadd_ps(x, y, s[0]);
        i += 8;
    }
    let mut sum = fold(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    for (x, y) in a[i..n].iter().zip(&b[i..n]) {
        sum += x * y;
    }
    sum
}

/// Sum of `(a[i] - b[i])^2`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut s = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i + 32 <= n {
        for (lane, sum) in s.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n and lane < 4, so the 8 floats at i + 8 * lane lie in both slices.
            let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i + 8 * lane)), _mm256_loadu_ps(pb.add(i + 8 * lane))) };
            let difference = _mm256_sub_ps(x, y);
            *sum = _mm256_fmadd_ps(difference, difference, *sum);
        }
        i += 32;
    }
    while i + 8 <= n {
        // SAFETY: i + 8 <= n.
        let (x, y) = unsafe { (_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i))) };
        let difference = _mm256_sub_ps(x, y);
        s[0] = _mm256_fmadd_ps(difference, difference, s[0]);
        i += 8;
    }
    let mut sum = fold(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
    for (x, y) in a[i..n].iter().zip(&b[i..n]) {
        sum += (x - y) * (x - y);
    }
    sum
}

/// Exact sum of `a[i] * b[i]`. Both sides are widened to 16 bits first: `maddubs` would saturate.
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

/// Sum of the 8 lanes.
#[target_feature(enable = "avx2")]
fn fold(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}
