//! AVX-512 kernels: 16 lanes, masked tails, and VNNI (`vpdpbusd`) for 8-bit codes.
//!
//! The functions are safe to *call* only where the processor has the named features; `kernels.rs` checks that once.

use std::arch::x86_64::*;

/// Sum of `a[i] * b[i]`.
#[target_feature(enable = "avx512f")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut s = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (lane, sum) in s.iter_mut().enumerate() {
            // SAFETY: i + 64 <= n and lane < 4, so the 16 floats at i + 16 * lane lie in both slices.
            let (x, y) = unsafe { (_mm512_loadu_ps(pa.add(i + 16 * lane)), _mm512_loadu_ps(pb.add(i + 16 * lane))) };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
        i += 64;
    }
    while i < n {
        let mask = tail16(n - i);
        // SAFETY: the mask keeps only lanes below n; masked lanes are not read.
        let (x, y) = unsafe { (_mm512_maskz_loadu_ps(mask, pa.add(i)), _mm512_maskz_loadu_ps(mask, pb.add(i))) };
        s[(i / 16) % 4] = _mm512_fmadd_ps(x, y, s[(i / 16) % 4]);
        i += 16;
    }
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])))
}

/// Sum of `(a[i] - b[i])^2`.
#[target_feature(enable = "avx512f")]
pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let mut s = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (lane, sum) in s.iter_mut().enumerate() {
            // SAFETY: i + 64 <= n and lane < 4, so the 16 floats at i + 16 * lane lie in both slices.
            let (x, y) = unsafe { (_mm512_loadu_ps(pa.add(i + 16 * lane)), _mm512_loadu_ps(pb.add(i + 16 * lane))) };
            let difference = _mm512_sub_ps(x, y);
            *sum = _mm512_fmadd_ps(difference, difference, *sum);
        }
        i += 64;
    }
    while i < n {
        let mask = tail16(n - i);
        // SAFETY: the mask keeps only lanes below n; masked lanes are not read.
        let (x, y) = unsafe { (_mm512_maskz_loadu_ps(mask, pa.add(i)), _mm512_maskz_loadu_ps(mask, pb.add(i))) };
        let difference = _mm512_sub_ps(x, y);
        s[(i / 16) % 4] = _mm512_fmadd_ps(difference, difference, s[(i / 16) % 4]);
        i += 16;
    }
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])))
}

/// Exact sum of `a[i] * b[i]`: `vpdpbusd` adds four products at a time into 32 bits and does not saturate.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot_u8_i8(a: &[u8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    let (pa, pb) = (a.as_ptr(), b.as_ptr());
    let (mut s0, mut s1) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let mut i = 0;
    while i + 128 <= n {
        // SAFETY: i + 128 <= n, so two loads of 64 bytes lie in each slice.
        let (x0, x1, y0, y1) = unsafe {
            (
                _mm512_loadu_si512(pa.add(i).cast()),
                _mm512_loadu_si512(pa.add(i + 64).cast()),
                _mm512_loadu_si512(pb.add(i).cast()),
                _mm512_loadu_si512(pb.add(i + 64).cast()),
            )
        };
        s0 = _mm512_dpbusd_epi32(s0, x0, y0);
        s1 = _mm512_dpbusd_epi32(s1, x1, y1);
        i += 128;
    }
    while i < n {
        let mask = if n - i >= 64 { u64::MAX } else { (1_u64 << (n - i)) - 1 };
        // SAFETY: the mask keeps only bytes below n; masked bytes are not read.
        let (x, y) =
            unsafe { (_mm512_maskz_loadu_epi8(mask, pa.add(i).cast()), _mm512_maskz_loadu_epi8(mask, pb.add(i))) };
        s0 = _mm512_dpbusd_epi32(s0, x, y);
        i += 64;
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1))
}

/// The mask of the first `left` of 16 lanes.
fn tail16(left: usize) -> u16 {
    if left >= 16 { u16::MAX } else { (1_u16 << left) - 1 }
}
