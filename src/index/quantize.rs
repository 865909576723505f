//! The graph's space: every metric reduced to Euclidean distance, and vectors to 8-bit codes of one uniform scale.
//!
//! | metric | a row becomes | a query becomes |
//! | --- | --- | --- |
//! | L2 | itself | itself |
//! | cosine | its unit vector | its unit vector |
//! | dot | itself and 16 components `sqrt((M^2 - norm^2) / 16)` | itself scaled to norm M, and 16 zeros |
//!
//! M is the largest norm; the reduction of the dot product is Bachrach et al. 2014, section 3, with the one component
//! spread over 16 equal ones, which keeps the distances and narrows the range that the codes must cover.
//!
//! A code row is `stride` bytes, a multiple of 64: the codes (`offset + scale * code` is the component), zeros, and in
//! its last 8 bytes the group of its twins and its norm term, both `u32`:
//!
//! ```text
//! | c0 c1 ... c(width-1) | 0 ... 0 | twin group (0: none) | sum c^2 - 256 sum c |
//! ```
//!
//! With q' = q - 128 as signed bytes, |c - q|^2 = (sum c^2 - 256 sum c) + |q|^2 - 2 c.q', exactly, in wrapping 32 bits:
//! the true value is below 2^32 for up to 65,792 components.

use std::ops::Range;

use super::Rows;
use crate::math;
use crate::types::{Metric, Ordinal};

/// Components that the reduction of the dot product adds.
const EXTRA: usize = 16;
/// Bytes at the end of a code row that are not codes.
const TAIL: usize = 8;
/// Values sampled for the quantiles of the range.
const SAMPLE: usize = 200_000;

/// How vectors become codes: what a graph file keeps of it is `offset`, `scale` and `max_norm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantizer {
    pub(super) metric: Metric,
    pub(super) dimension: usize,
    /// The component of code 0.
    pub(super) offset: f32,
    /// The step between codes; above 0.
    pub(super) scale: f32,
    /// The largest norm, for the dot product; otherwise 1.
    pub(super) max_norm: f32,
}

/// A query in the graph's space.
pub(super) struct Query {
    /// The components (without the extra zeros of the dot product, which never matter to a float distance).
    pub(super) point: Vec<f32>,
    /// Code - 128, padded with zeros to whole lines.
    pub(super) codes: Vec<i8>,
    /// Sum of the squared codes.
    pub(super) norm: u32,
    /// False if clamping to the range of the codes moved the query so far that distances to codes mislead.
    pub(super) fits: bool,
}

impl Quantizer {
    /// Codes of a row.
    pub(super) fn width(&self) -> usize {
        Self::width_of(self.metric, self.dimension)
    }

    /// Codes of a row of that metric and dimension.
    pub(super) fn width_of(metric: Metric, dimension: usize) -> usize {
        if metric == Metric::Dot { dimension + EXTRA } else { dimension }
    }

    /// Bytes of a row, codes and tail.
    pub(super) fn stride(&self) -> usize {
        Self::stride_of(self.metric, self.dimension)
    }

    /// Bytes of a row of that metric and dimension.
    pub(super) fn stride_of(metric: Metric, dimension: usize) -> usize {
        (Self::width_of(metric, dimension) + TAIL).next_multiple_of(64)
    }

    /// Bytes of a row that a distance reads; the query has zeros where these are not codes.
    pub(super) fn compared(&self) -> usize {
        self.width().next_multiple_of(64)
    }

    /// Chooses the range: all values, unless a few lie so far out that they would coarsen the rest.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn fit(rows: Rows<'_>) -> Self {
        let mut this = Self { metric: rows.metric, dimension: rows.dimension, offset: 0.0, scale: 1.0, max_norm: 1.0 };
        if this.metric == Metric::Dot {
            let largest = rows.norms.iter().copied().filter(|n| n.is_finite()).fold(0.0, f32::max);
            this.max_norm = if largest > 0.0 { largest } else { 1.0 };
        }
        let total = rows.len() * this.width();
        let every = (total / SAMPLE).max(1);
        // A step that shares no factor with the width visits every component.
        let every = (every..).find(|step| gcd(*step, this.width().max(1)) == 1).unwrap_or(1);
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        let mut sample = Vec::with_capacity(total.min(SAMPLE + this.width()));
        let mut point = vec![0.0_f32; this.width()];
        let mut next = 0_usize;
        for row in 0..rows.len() {
            this.project(rows.row(Ordinal(row as u32)), rows.norms[row], &mut point);
            for &x in &point {
                low = if x < low { x } else { low };
                high = if x > high && x < f32::INFINITY { x } else { high };
            }
            while next < point.len() {
                if point[next].is_finite() {
                    sample.push(point[next]);
                }
                next += every;
            }
            next -= point.len();
        }
        if sample.is_empty() || !low.is_finite() || !high.is_finite() {
            return this;
        }
        sample.sort_unstable_by(f32::total_cmp);
        let quantile = |q: f64| f64::from(sample[((sample.len() - 1) as f64 * q) as usize]);
        let (mut low, mut high) = (f64::from(low), f64::from(high));
        let (from, to) = (quantile(0.0005), quantile(0.9995));
        if to > from && high - low > 2.0 * (to - from) {
            let margin = 0.25 * (to - from);
            (low, high) = (low.max(from - margin), high.min(to + margin));
        }
        if this.metric == Metric::Dot {
            // The extra components of a query are 0, which must have a code.
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        let scale = ((high - low) / 255.0) as f32;
        this.offset = low as f32;
        this.scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        this
    }

    /// Writes the row's point in the graph's space to `out`, which has `width` components.
    #[allow(clippy::cast_possible_truncation)]
    fn project(&self, vector: &[f32], norm: f32, out: &mut [f32]) {
        let (head, extra) = out.split_at_mut(self.dimension.min(out.len()));
        let factor = match self.metric {
            Metric::Cosine if norm > 0.0 => 1.0 / f64::from(norm),
            Metric::Cosine => 0.0,
            Metric::Dot | Metric::L2 => 1.0,
        };
        if factor == 1.0 {
            head.copy_from_slice(&vector[..head.len()]);
        } else {
            for (to, &x) in head.iter_mut().zip(vector) {
                *to = (f64::from(x) * factor) as f32;
            }
        }
        if !extra.is_empty() {
            let missing = f64::from(self.max_norm).powi(2) - f64::from(norm).powi(2);
            extra.fill((missing.max(0.0) / extra.len() as f64).sqrt() as f32);
        }
    }

    /// Encodes the rows of a range into `out`, which holds exactly their code rows.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn encode_rows(&self, rows: Rows<'_>, range: Range<usize>, out: &mut [u8]) {
        let (width, stride) = (self.width(), self.stride());
        let mut point = vec![0.0_f32; width];
        let inverse = 1.0 / self.scale;
        for (row, out) in range.zip(out.chunks_exact_mut(stride)) {
            self.project(rows.row(Ordinal(row as u32)), rows.norms[row], &mut point);
            for (code, &x) in out.iter_mut().zip(&point) {
                // A cast from float to integer saturates, and makes 0 of NaN.
                *code = ((x - self.offset) * inverse + 0.5) as u8;
            }
            let (mut squares, mut sum) = (0_u32, 0_u32);
            for &code in &out[..width] {
                squares = squares.wrapping_add(u32::from(code) * u32::from(code));
                sum += u32::from(code);
            }
            out[width..].fill(0);
            out[stride - 4..].copy_from_slice(&squares.wrapping_sub(sum.wrapping_mul(256)).to_le_bytes());
        }
    }

    /// A query of `dimension` components in the graph's space. None if it has no place there: it is not finite, or has
    /// no direction although the metric needs one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]
    pub(super) fn query(&self, query: &[f32]) -> Option<Query> {
        let mut point = query.to_vec();
        if self.metric != Metric::L2 {
            if !math::normalize(&mut point) {
                return None;
            }
            if self.metric == Metric::Dot {
                point.iter_mut().for_each(|x| *x *= self.max_norm);
            }
        }
        if !point.iter().all(|x| x.is_finite()) {
            return None;
        }
        let mut codes = vec![0_i8; self.compared()];
        let (mut norm, mut moved) = (0_u32, 0.0_f64);
        let zeros = std::iter::repeat_n(&0.0_f32, self.width() - self.dimension);
        for (to, &x) in codes.iter_mut().zip(point.iter().chain(zeros)) {
            let position = (f64::from(x) - f64::from(self.offset)) / f64::from(self.scale);
            let clamped = position.clamp(0.0, 255.0);
            moved += (position - clamped).powi(2);
            let code = (clamped + 0.5) as u8;
            norm = norm.wrapping_add(u32::from(code) * u32::from(code));
            *to = (code ^ 0x80) as i8;
        }
        // Rounding moves a point by 1/12 squared step a component; three times that is where clamping starts to matter.
        let fits = moved <= 0.25 * self.width() as f64;
        Some(Query { point, codes, norm, fits })
    }
}

/// The twin group of a code row (0: none). `row` has at least 8 bytes.
pub(super) fn group(row: &[u8]) -> u32 {
    tail(row, 8)
}

/// The norm term of a code row. `row` has at least 8 bytes.
pub(super) fn norm_term(row: &[u8]) -> u32 {
    tail(row, 4)
}

/// Names the twin group of a code row.
pub(super) fn set_group(row: &mut [u8], group: u32) {
    let at = row.len() - 8;
    row[at..at + 4].copy_from_slice(&group.to_le_bytes());
}

#[inline(always)]
fn tail(row: &[u8], from_end: usize) -> u32 {
    let at = row.len() - from_end;
    u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::samples::Sample;

    /// The integer distance of a row and a query, by the identity of the module's text and by subtraction.
    fn both(q: &Quantizer, row: &[u8], query: &Query) -> (u32, u64) {
        let dot = math::dot_u8_i8(&row[..q.compared()], &query.codes);
        let fast = norm_term(row).wrapping_add(query.norm).wrapping_sub((dot as u32).wrapping_mul(2));
        let slow =
            row[..q.width()].iter().zip(&query.codes).map(|(&c, &x)| (i64::from(c) - i64::from(x) - 128).pow(2) as u64);
        (fast, slow.sum())
    }

    #[test]
    fn the_identity_is_exact() {
        for metric in Metric::ALL {
            for dimension in [1, 7, 56, 57, 64, 100, 128, 784] {
                let sample = Sample::clustered(40, dimension, metric, 1);
                let q = Quantizer::fit(sample.rows());
                let mut codes = vec![1_u8; 40 * q.stride()];
                q.encode_rows(sample.rows(), 0..40, &mut codes);
                for query in sample.queries(5) {
                    let query = q.query(&query).unwrap();
                    for row in codes.chunks_exact_mut(q.stride()) {
                        set_group(row, 77);
                        assert_eq!(group(row), 77);
                        let (fast, slow) = both(&q, row, &query);
                        assert_eq!(u64::from(fast), slow, "{metric} {dimension}");
                    }
                }
            }
        }
        // The extremes at the largest dimension: 0 against 255.
        let vectors = [vec![0.0_f32; 65_536], vec![255.0_f32; 65_536]].concat();
        let sample = Sample::of(vectors, 65_536, Metric::L2, vec![]);
        let q = Quantizer::fit(sample.rows());
        let mut codes = vec![0_u8; 2 * q.stride()];
        q.encode_rows(sample.rows(), 0..2, &mut codes);
        let query = q.query(&[0.0; 65_536]).unwrap();
        assert_eq!(both(&q, &codes[q.stride()..], &query), (65_536 * 255 * 255, 65_536 * 255 * 255));
    }

    #[test]
    fn code_distances_follow_the_metric() {
        for metric in Metric::ALL {
            let sample = Sample::clustered(200, 24, metric, 5);
            let q = Quantizer::fit(sample.rows());
            let mut codes = vec![0_u8; 200 * q.stride()];
            q.encode_rows(sample.rows(), 0..200, &mut codes);
            for query in sample.queries(20) {
                let truth = crate::index::exact::search(sample.rows(), &query, 10, |_| true).neighbors;
                let query = q.query(&query).unwrap();
                let mut order: Vec<(u32, u32)> =
                    codes.chunks_exact(q.stride()).zip(0..).map(|(row, at)| (both(&q, row, &query).0, at)).collect();
                order.sort_unstable();
                let near: Vec<u32> = order[..20].iter().map(|o| o.1).collect();
                let hits = truth.iter().filter(|n| near.contains(&n.row.0)).count();
                assert!(hits >= 9, "{metric}: {hits} of the 10 nearest are among the 20 nearest codes");
            }
        }
    }

    #[test]
    fn outliers_do_not_coarsen_the_rest_and_far_queries_are_noticed() {
        let mut vectors = Sample::clustered(2000, 16, Metric::L2, 2).vectors;
        vectors[5] = 1e9;
        vectors[6] = f32::NAN;
        let sample = Sample::of(vectors, 16, Metric::L2, vec![]);
        let q = Quantizer::fit(sample.rows());
        assert!(q.scale < 1.0, "{q:?}");
        assert!(q.query(sample.rows().row(Ordinal(9))).unwrap().fits);
        assert!(!q.query(&[1e6; 16]).unwrap().fits);
        assert!(q.query(&[f32::NAN; 16]).is_none());
        let cosine = Quantizer { metric: Metric::Cosine, ..q };
        assert!(cosine.query(&[0.0; 16]).is_none());
    }

    #[test]
    fn a_constant_or_empty_set_has_a_range() {
        for vectors in [vec![], vec![7.5_f32; 32], vec![f32::NAN; 32]] {
            let sample = Sample::of(vectors, 8, Metric::L2, vec![]);
            let q = Quantizer::fit(sample.rows());
            assert!(q.scale > 0.0 && q.scale.is_finite() && q.offset.is_finite());
        }
    }
}
