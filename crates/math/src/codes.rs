//! Kernels of 8-bit codes: distances from many code rows to one query, and products of a small matrix and a vector.
//!
//! A code row is `stride` bytes, a multiple of 64: codes, zero padding, and in the last 4 bytes the norm term
//! `sum c^2 - 256 sum c` (u32, wrapping). With q' = q - 128 as signed bytes, `|c - q|^2 = norm term + |q|^2 - 2 c.q'`,
//! exact in wrapping 32-bit arithmetic: the true value is below 2^32 for up to 65,792 codes. The query is zero at the
//! padding and the norm term.

/// Length of the norm term at the end of a code row, bytes.
pub const NORM_BYTES: usize = 4;

/// Contiguous code rows.
#[derive(Clone, Copy, Debug)]
pub struct CodeRows<'a> {
    /// `rows x stride` bytes.
    pub bytes: &'a [u8],
    /// Length of a row in bytes: a multiple of 64, at least 64.
    pub stride: usize,
}

/// Query that is compared with code rows.
#[derive(Clone, Copy, Debug)]
pub struct CodeQuery<'a> {
    /// `stride` values: code - 128, then zero padding.
    pub codes: &'a [i8],
    /// Sum of the squares of the codes.
    pub norm: u32,
}

impl<'a> CodeRows<'a> {
    /// Returns a row, or None if it does not exist.
    #[inline(always)]
    pub fn get(&self, row: u32) -> Option<&'a [u8]> {
        let start = row as usize * self.stride;
        self.bytes.get(start..start + self.stride)
    }
}

/// Returns the norm term of a code row: its last 4 bytes.
#[inline(always)]
pub fn norm_term(row: &[u8]) -> u32 {
    row.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Returns the squared distance, from the parts of the identity in the module docs.
#[inline(always)]
#[allow(clippy::cast_sign_loss)]
pub fn squared_distance(norm_term: u32, query_norm: u32, dot: i32) -> u32 {
    norm_term.wrapping_add(query_norm).wrapping_sub((dot as u32).wrapping_mul(2))
}

/// Computes the squared distances of the rows `which` with any one-row kernel; `u32::MAX` for a row that does not
/// exist.
pub(super) fn distances_by(
    dot: fn(&[u8], &[i8]) -> i32,
    rows: CodeRows<'_>,
    which: &[u32],
    query: CodeQuery<'_>,
    out: &mut [u32],
) {
    for (out, &row) in out.iter_mut().zip(which) {
        *out =
            rows.get(row).map_or(u32::MAX, |row| squared_distance(norm_term(row), query.norm, dot(row, query.codes)));
    }
}

/// Computes `256 (high . row) + low . row` for each row of a matrix, with any one-row kernel.
pub(super) fn products_by(dot: fn(&[u8], &[i8]) -> i32, high: &[u8], low: &[u8], matrix: &[i8], out: &mut [f32]) {
    for (row, out) in matrix.chunks_exact(high.len().max(1)).zip(out) {
        *out = dot(high, row) as f32 * 256.0 + dot(low, row) as f32;
    }
}

/// Quantizes numbers to 65,536 uniform steps between minimum and maximum: each is about
/// `min + step * (256 high + low)`. Returns minimum and step; None if a number or the range is not finite.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn split(numbers: &[f32], high: &mut [u8], low: &mut [u8]) -> Option<(f32, f32)> {
    const LANES: usize = 16;
    let (mut min, mut max, mut bad) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0.0_f32; LANES]);
    for chunk in numbers.chunks(LANES) {
        for (lane, &x) in chunk.iter().enumerate() {
            min[lane] = if x < min[lane] { x } else { min[lane] };
            max[lane] = if x > max[lane] { x } else { max[lane] };
            // Zero for finite numbers, NaN for all others.
            bad[lane] += x * 0.0;
        }
    }
    let min = min.into_iter().fold(f32::INFINITY, f32::min);
    let step = steps(min, max.into_iter().fold(f32::NEG_INFINITY, f32::max))?;
    if bad.into_iter().sum::<f32>() != 0.0 {
        return None;
    }
    let inverse = 1.0 / step;
    for ((&x, high), low) in numbers.iter().zip(high).zip(low) {
        let code = ((x - min) * inverse + 0.5).min(65_535.0) as u16;
        (*high, *low) = ((code >> 8) as u8, code as u8);
    }
    Some((min, step))
}

/// Returns the step size for 65,536 values from `min` to `max`; None if it is not finite.
pub(super) fn steps(min: f32, max: f32) -> Option<f32> {
    let step = ((max - min) / 65_535.0).max(f32::MIN_POSITIVE);
    (min.is_finite() && step.is_finite()).then_some(step)
}
