//! AVX-512 kernels: 16 lanes, masked tails, and VNNI (`vpdpbusd`) for 8-bit codes.
//!
//! The functions are safe to *call* only where the processor has the named features; `kernels.rs` checks that once.

use std::arch::x86_64::*;

use half::f16;

use super::codes::{self, CodeQuery, CodeRows};

/// Dot product and squared distance of components of one type and floats. `$load` loads up to 16 components, selected
/// by a mask, as floats.
macro_rules! against_floats {
    ($type:ty, $load:expr, $dot:ident, $l2_squared:ident) => {
        /// Returns the sum of `scale a[i] * b[i]`.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) fn $dot(a: &[$type], scale: f32, b: &[f32]) -> f32 {
            let scale = _mm512_set1_ps(scale);
            against_floats!(@sum $load, a, b, scale, |x, y, sum| _mm512_fmadd_ps(x, y, sum))
        }

        /// Returns the sum of `(scale a[i] - b[i])^2`.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) fn $l2_squared(a: &[$type], scale: f32, b: &[f32]) -> f32 {
            let scale = _mm512_set1_ps(scale);
            against_floats!(@sum $load, a, b, scale, |x, y, sum| {
                let difference = _mm512_sub_ps(x, y);
                _mm512_fmadd_ps(difference, difference, sum)
            })
        }
    };
    (@sum $load:expr, $a:ident, $b:ident, $scale:ident, |$x:ident, $y:ident, $sum:ident| $step:expr) => {{
        let n = $a.len().min($b.len());
        let mut sums = [_mm512_setzero_ps(); 4];
        // SAFETY: the mask keeps only lanes below n; masked lanes are not read.
        let add = |from: usize, mask: u16, $sum: __m512| unsafe {
            let $x = _mm512_mul_ps($load(mask, $a.as_ptr().add(from)), $scale);
            let $y = _mm512_maskz_loadu_ps(mask, $b.as_ptr().add(from));
            $step
        };
        let mut at = 0;
        while at + 64 <= n {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum = add(at + 16 * lane, u16::MAX, *sum);
            }
            at += 64;
        }
        while at < n {
            let lane = (at / 16) % 4;
            sums[lane] = add(at, tail16(n - at), sums[lane]);
            at += 16;
        }
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
    }};
}

against_floats!(f32, |mask, at: *const f32| _mm512_maskz_loadu_ps(mask, at), dot, l2_squared);
against_floats!(
    f16,
    |mask, at: *const f16| _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, at.cast())),
    dot_f16,
    l2_squared_f16
);
against_floats!(
    u8,
    |mask, at: *const u8| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, at.cast()))),
    dot_u8,
    l2_squared_u8
);
against_floats!(
    i8,
    |mask, at: *const i8| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, at))),
    dot_i8,
    l2_squared_i8
);

/// Returns the exact sum of `a[i] * b[i]`: `vpdpbusd` adds four products at a time into 32 bits and does not saturate.
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

/// Returns the mask of the first `left` of 16 lanes.
fn tail16(left: usize) -> u16 {
    if left >= 16 { u16::MAX } else { (1_u16 << left) - 1 }
}

/// Returns the sums of the 32-bit lanes of each of four registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m128i {
    let half = |x| _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
    let ab = _mm256_hadd_epi32(half(a), half(b));
    let cd = _mm256_hadd_epi32(half(c), half(d));
    let quarters = _mm256_hadd_epi32(ab, cd);
    _mm_add_epi32(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256::<1>(quarters))
}

/// Computes the squared distances of code rows of `LINES` lines, four rows at a time; the query stays in registers.
///
/// # Safety
/// Every row of `which` exists in `rows`, whose stride is `64 * LINES`; the query has `64 * LINES` codes; `out` is as
/// long as `which`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]
unsafe fn distances_of<const LINES: usize>(rows: &[u8], which: &[u32], query: CodeQuery<'_>, out: &mut [u32]) {
    // SAFETY: the query has 64 * LINES codes.
    let q: [__m512i; LINES] =
        std::array::from_fn(|line| unsafe { _mm512_loadu_si512(query.codes.as_ptr().add(64 * line).cast()) });
    let of = |row: u32| {
        // SAFETY: the row exists, so its LINES lines lie in `rows`; the last 4 bytes of the last line are its norm
        // term.
        unsafe {
            let at = rows.as_ptr().add(row as usize * 64 * LINES);
            let mut sum = _mm512_setzero_si512();
            for (line, &q) in q.iter().enumerate() {
                sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(at.add(64 * line).cast()), q);
            }
            (sum, at.add(64 * LINES - 4).cast::<i32>().read_unaligned())
        }
    };
    let norm = _mm_set1_epi32(query.norm as i32);
    let (fours, rest) = which.as_chunks::<4>();
    let (fours_out, rest_out) = out.as_chunks_mut::<4>();
    for (four, out) in fours.iter().zip(fours_out) {
        let [a, b, c, d] = four.map(of);
        let dots = sums(a.0, b.0, c.0, d.0);
        let terms = _mm_setr_epi32(a.1, b.1, c.1, d.1);
        let distances = _mm_sub_epi32(_mm_add_epi32(terms, norm), _mm_add_epi32(dots, dots));
        // SAFETY: `out` has four numbers.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), distances) };
    }
    for (&row, out) in rest.iter().zip(rest_out) {
        let (sum, term) = of(row);
        *out = codes::squared_distance(term as u32, query.norm, _mm512_reduce_add_epi32(sum));
    }
}

/// Computes the squared distances of code rows to a query; `u32::MAX` for a row that does not exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn code_distances(rows: CodeRows<'_>, which: &[u32], query: CodeQuery<'_>, out: &mut [u32]) {
    let there = rows.bytes.len() / rows.stride.max(1);
    let out = &mut out[..which.len()];
    if query.codes.len() == rows.stride && which.iter().all(|&row| (row as usize) < there) {
        // SAFETY: all rows exist, the query has `stride` codes, and `out` has one element per row.
        unsafe {
            match rows.stride {
                64 => return distances_of::<1>(rows.bytes, which, query, out),
                128 => return distances_of::<2>(rows.bytes, which, query, out),
                192 => return distances_of::<3>(rows.bytes, which, query, out),
                256 => return distances_of::<4>(rows.bytes, which, query, out),
                _ => {}
            }
        }
    }
    for (out, &row) in out.iter_mut().zip(which) {
        *out = rows.get(row).map_or(u32::MAX, |row| {
            codes::squared_distance(codes::norm_term(row), query.norm, dot_u8_i8(row, query.codes))
        });
    }
}

/// Computes `256 (high . row) + low . row` for each row of a matrix of `high.len()` columns, four rows at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn products(high: &[u8], low: &[u8], matrix: &[i8], out: &mut [f32]) {
    let width = high.len().min(low.len());
    if width == 0 || !width.is_multiple_of(64) {
        return codes::products_by(super::scalar::dot_u8_i8, high, low, matrix, out);
    }
    for (rows, out) in matrix.chunks(4 * width).zip(out.chunks_mut(4)) {
        let there = (rows.len() / width).min(out.len());
        let (mut of_high, mut of_low) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
        for at in (0..width).step_by(64) {
            // SAFETY: at + 64 <= width, which both slices have; only complete rows of `rows` are read.
            unsafe {
                let x = _mm512_loadu_si512(high.as_ptr().add(at).cast());
                let y = _mm512_loadu_si512(low.as_ptr().add(at).cast());
                for row in 0..4 {
                    // Missing rows at the end read the first row; the result is not used.
                    let from = if row < there { row * width } else { 0 };
                    let m = if there > 0 { _mm512_loadu_si512(rows.as_ptr().add(from + at).cast()) } else { x };
                    of_high[row] = _mm512_dpbusd_epi32(of_high[row], x, m);
                    of_low[row] = _mm512_dpbusd_epi32(of_low[row], y, m);
                }
            }
        }
        let (mut h, mut l) = ([0_i32; 4], [0_i32; 4]);
        // SAFETY: both arrays have 16 bytes.
        unsafe {
            _mm_storeu_si128(h.as_mut_ptr().cast(), sums(of_high[0], of_high[1], of_high[2], of_high[3]));
            _mm_storeu_si128(l.as_mut_ptr().cast(), sums(of_low[0], of_low[1], of_low[2], of_low[3]));
        }
        for (row, out) in out.iter_mut().take(there).enumerate() {
            *out = h[row] as f32 * 256.0 + l[row] as f32;
        }
    }
}

/// See `codes::split`.
#[target_feature(enable = "avx512f")]
pub(super) fn split(numbers: &[f32], high: &mut [u8], low: &mut [u8]) -> Option<(f32, f32)> {
    let n = numbers.len().min(high.len()).min(low.len());
    let (mut min, mut max) = (_mm512_set1_ps(f32::INFINITY), _mm512_set1_ps(f32::NEG_INFINITY));
    let mut bad = _mm512_setzero_ps();
    let load = |at: usize| {
        // SAFETY: the mask keeps only lanes below n; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(tail16(n - at), numbers.as_ptr().add(at)) }
    };
    for at in (0..n).step_by(16) {
        let (mask, x) = (tail16(n - at), load(at));
        min = _mm512_mask_min_ps(min, mask, min, x);
        max = _mm512_mask_max_ps(max, mask, max, x);
        // Zero for finite numbers, NaN for all others.
        bad = _mm512_add_ps(bad, _mm512_sub_ps(x, x));
    }
    let min = _mm512_reduce_min_ps(min);
    let step = codes::steps(min, _mm512_reduce_max_ps(max))?;
    if _mm512_reduce_add_ps(bad) != 0.0 {
        return None;
    }
    let (from, inverse) = (_mm512_set1_ps(min), _mm512_set1_ps(1.0 / step));
    for at in (0..n).step_by(16) {
        let mask = tail16(n - at);
        let code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(load(at), from), inverse));
        let code = _mm512_min_epi32(code, _mm512_set1_epi32(65_535));
        // SAFETY: masked lanes are not written; those below n lie in both slices.
        unsafe {
            _mm512_mask_cvtepi32_storeu_epi8(high.as_mut_ptr().add(at).cast(), mask, _mm512_srli_epi32::<8>(code));
            _mm512_mask_cvtepi32_storeu_epi8(low.as_mut_ptr().add(at).cast(), mask, code);
        }
    }
    Some((min, step))
}
