//! The graph's space: every metric reduced to Euclidean distance, wide vectors to their principal components, and
//! components to 8-bit codes of one uniform scale.
//!
//! | metric | a row becomes | a query becomes |
//! | --- | --- | --- |
//! | L2 | itself | itself |
//! | cosine | its unit vector | its unit vector |
//! | dot | itself and 16 components `sqrt((M^2 - norm^2) / 16)` | itself scaled to norm M, and 16 zeros |
//!
//! M is the largest norm. The reduction of the dot product is that of Bachrach et al. 2014, section 3, with the one
//! component spread over 16 equal ones: distances stay the same, and the codes cover a narrower range.
//!
//! PCA with a residual follows (`pca.rs`) if fewer cache lines are accurate enough. A trial on a sample chooses the
//! number of lines: a search that reads 64 bytes per row costs far less than one that reads 800.
//!
//! A code row is `stride` bytes (`math::codes`): the codes (a component is `offset + scale * code`, the residual is
//! `scale * code`), zeros, and its norm term.

use std::ops::Range;
use std::sync::Arc;

use super::Rows;
use super::pca::{Projection, RESIDUAL_CORRELATION};
use crate::math::codes::NORM_BYTES;
use crate::math::gemm::{Matrix, multiply};
use crate::math::{self, TopK, Vector};
use crate::types::{Metric, Neighbor, Ordinal};

/// Components that the reduction of the dot product adds.
const EXTRA: usize = 16;
/// Rows sampled for the range of the codes and for PCA.
const SAMPLE: usize = 10_000;
/// Maximum numbers in that sample; limits it for wide rows.
const SAMPLE_NUMBERS: usize = 1 << 24;
/// Cache lines per row to try, fewest first. More than half of the lines of all components does not pay off.
const LINES: [usize; 6] = [1, 2, 3, 4, 6, 8];
/// Minimum number of sample rows per direction.
const ROWS_A_DIRECTION: usize = 4;
/// Maximum components for PCA: the covariance of more would take too much memory and time.
const MAX_REDUCED: usize = 4_096;
/// (Queries, compared rows) of the trial that chooses the number of lines.
const TRIAL: (usize, usize) = (48, 1 << 14);
/// Minimum recall of a trial: the share of a query's 10 nearest rows among its 20 nearest by reduced components.
const TRIAL_RECALL: f64 = 0.97;
/// (Nearest rows, nearest rows by reduced components) per query of a trial.
const TRIAL_NEAREST: (usize, usize) = (10, 20);
/// Rows projected together.
const BLOCK: usize = 256;

/// Mapping of vectors to codes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantizer {
    pub(super) metric: Metric,
    pub(super) dimension: usize,
    /// The component of code 0.
    pub(super) offset: f32,
    /// The step between codes; above 0.
    pub(super) scale: f32,
    /// The largest norm, for the dot product; otherwise 1.
    pub(super) max_norm: f32,
    /// PCA projection; None if all components are kept.
    pub(super) projection: Option<Arc<Projection>>,
}

/// A query in the graph's space.
pub(super) struct Query {
    /// All its components, without the extra zeros of the dot product, which do not affect float distances.
    pub(super) point: Vec<f32>,
    /// Code - 128, padded with zeros to whole lines.
    pub(super) codes: Vec<i8>,
    /// Sum of the squared codes.
    pub(super) norm: u32,
    /// False if clamping to the range of the codes moved the query so far that distances to codes mislead.
    pub(super) fits: bool,
}

impl Quantizer {
    /// Number of codes per row.
    pub(super) fn width(&self) -> usize {
        self.projection.as_ref().map_or_else(|| self.full_width(), |projection| projection.n_components() + 1)
    }

    /// Number of components per row before PCA.
    pub(super) fn full_width(&self) -> usize {
        Self::full_width_of(self.metric, self.dimension)
    }

    /// Number of components per row before PCA, for a metric and dimension.
    pub(super) fn full_width_of(metric: Metric, dimension: usize) -> usize {
        if metric == Metric::Dot { dimension + EXTRA } else { dimension }
    }

    /// Upper bound of the memory of [`fit`](Self::fit), in bytes: three copies of the sample (rows, centred rows,
    /// projections), the rows of the trial and their projections, and an `f32` covariance with twice its directions.
    pub(super) fn fit_bytes(rows: u64, width: usize) -> u64 {
        let numbers = |max: usize| rows.min(max as u64).saturating_mul(width as u64);
        let sample = numbers(SAMPLE.min(SAMPLE_NUMBERS / width.max(1)).max(1));
        let trial = numbers(TRIAL.1.min(4 * SAMPLE_NUMBERS / width.max(1)));
        let covariance = if width <= MAX_REDUCED { 3 * (width as u64).pow(2) } else { 0 };
        4 * (3 * sample + 2 * trial + covariance)
    }

    /// Bytes per code row.
    pub(super) fn stride(&self) -> usize {
        Self::stride_of(self.width())
    }

    /// Bytes of a code row with `width` codes.
    pub(super) fn stride_of(width: usize) -> usize {
        (width + NORM_BYTES).next_multiple_of(64)
    }

    /// Chooses the components and the range of the codes: all sampled values, unless a few outliers would coarsen the
    /// rest.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn fit(rows: Rows<'_>) -> Self {
        let mut this = Self {
            metric: rows.metric,
            dimension: rows.dimension,
            offset: 0.0,
            scale: 1.0,
            max_norm: 1.0,
            projection: None,
        };
        if this.metric == Metric::Dot {
            let largest = rows.norms.iter().copied().filter(|n| n.is_finite()).fold(0.0, f32::max);
            this.max_norm = if largest > 0.0 { largest } else { 1.0 };
        }
        let sample = this.sample(rows, SAMPLE.min(SAMPLE_NUMBERS / this.full_width().max(1)).max(1));
        let sampled = sample.len() / this.full_width().max(1);
        this.projection = this.fewer_components(rows, &sample).map(Arc::new);
        let mut values = match &this.projection {
            None => sample,
            Some(projection) => {
                let width = projection.n_components() + 1;
                let mut out = vec![0.0_f32; sample.len() / this.full_width() * width];
                projection.rows(&projection.as_floats(), &sample, &mut out);
                // The residual has no offset.
                out.chunks_exact_mut(width).for_each(|row| row[width - 1] = row[0]);
                out
            }
        };
        values.retain(|x| x.is_finite());
        values.sort_unstable_by(f32::total_cmp);
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else { return this };
        let quantile = |q: f64| f64::from(values[((values.len() - 1) as f64 * q) as usize]);
        // Rows outside the sample may lie a little further out.
        let room = if sampled < rows.len() { 0.05 * (f64::from(high) - f64::from(low)) } else { 0.0 };
        let (mut low, mut high) = (f64::from(low) - room, f64::from(high) + room);
        let (from, to) = (quantile(0.0005), quantile(0.9995));
        if to > from && high - low > 2.0 * (to - from) {
            let margin = 0.25 * (to - from);
            (low, high) = (low.max(from - margin), high.min(to + margin));
        }
        if this.metric == Metric::Dot && this.projection.is_none() {
            // The extra components of a query are 0, which must have a code.
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        let scale = ((high - low) / 255.0) as f32;
        this.offset = low as f32;
        this.scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        this
    }

    /// Samples at most `max` finite rows, evenly spread, as points in the graph's space before PCA.
    fn sample(&self, rows: Rows<'_>, max: usize) -> Vec<f32> {
        let width = self.full_width();
        let mut sample = Vec::with_capacity(max.min(rows.len()) * width);
        let mut point = vec![0.0_f32; width];
        for row in spread(rows.len(), max) {
            self.point(rows.row(Ordinal(row as u32)), rows.norms[row], &mut point);
            if point.iter().all(|x| x.is_finite()) {
                sample.extend_from_slice(&point);
            }
        }
        sample
    }

    /// Returns the projection with the fewest cache lines that passes the trial, at most half of the lines of all
    /// components.
    fn fewer_components(&self, rows: Rows<'_>, sample: &[f32]) -> Option<Projection> {
        let width = self.full_width();
        let all = Self::stride_of(width) / 64;
        let n_components = |lines: usize| lines * 64 - NORM_BYTES - 1;
        let pays_off =
            |lines: &usize| 2 * lines <= all && n_components(*lines) * ROWS_A_DIRECTION * width <= sample.len();
        let lines: Vec<usize> = LINES.into_iter().filter(pays_off).collect();
        if lines.is_empty() || width > MAX_REDUCED {
            return None;
        }
        let trial = Trial::new(self, rows);
        // Compute the directions for at most 4 tries together: an early success saves the larger ones.
        for tries in lines.chunks(4) {
            let largest = Projection::fit(sample.to_vec(), width, n_components(*tries.last()?))?;
            for lines in tries {
                let projection = largest.truncated(n_components(*lines));
                if projection.n_components() == n_components(*lines) && trial.recall(&projection) >= TRIAL_RECALL {
                    return Some(projection);
                }
            }
        }
        None
    }

    /// Writes the row's point in the graph's space, before PCA, to `out`.
    #[allow(clippy::cast_possible_truncation)]
    fn point(&self, vector: Vector<'_>, norm: f32, out: &mut [f32]) {
        let (head, extra) = out.split_at_mut(self.dimension.min(out.len()));
        let factor = match self.metric {
            Metric::Cosine if norm > 0.0 => 1.0 / f64::from(norm),
            Metric::Cosine => 0.0,
            Metric::Dot | Metric::L2 => 1.0,
        };
        vector.copy_to(head);
        if factor != 1.0 {
            head.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
        if !extra.is_empty() {
            let missing = f64::from(self.max_norm).powi(2) - f64::from(norm).powi(2);
            extra.fill((missing.max(0.0) / extra.len() as f64).sqrt() as f32);
        }
    }

    /// Encodes the rows of a range into `out`, which has exactly the size of their code rows.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn encode_rows(&self, rows: Rows<'_>, range: Range<usize>, out: &mut [u8]) {
        let (full, width, stride) = (self.full_width(), self.width(), self.stride());
        let inverse = 1.0 / self.scale;
        let basis = self.projection.as_ref().map(|projection| projection.as_floats());
        let mut points = vec![0.0_f32; BLOCK * full];
        let mut reduced = vec![0.0_f32; if basis.is_some() { BLOCK * width } else { 0 }];
        for (block, out) in out.chunks_mut(BLOCK * stride).enumerate() {
            let from = range.start + block * BLOCK;
            let count = out.len() / stride;
            for (row, point) in (from..from + count).zip(points.chunks_exact_mut(full)) {
                self.point(rows.row(Ordinal(row as u32)), rows.norms[row], point);
            }
            let values = match (&self.projection, &basis) {
                (Some(projection), Some(basis)) => {
                    projection.rows(basis, &points[..count * full], &mut reduced);
                    reduced.chunks_exact_mut(width).for_each(|row| row[width - 1] += self.offset);
                    &reduced
                }
                _ => &points,
            };
            for (values, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
                for (code, &x) in out.iter_mut().zip(values) {
                    // A cast from float to integer saturates, and maps NaN to 0.
                    *code = ((x - self.offset) * inverse + 0.5) as u8;
                }
                let (mut squares, mut sum) = (0_u32, 0_u32);
                for &code in &out[..width] {
                    squares = squares.wrapping_add(u32::from(code) * u32::from(code));
                    sum += u32::from(code);
                }
                out[width..].fill(0);
                out[stride - NORM_BYTES..].copy_from_slice(&squares.wrapping_sub(sum.wrapping_mul(256)).to_le_bytes());
            }
        }
    }

    /// Maps a query of `dimension` components to the graph's space. Returns None if it is not finite, or has no
    /// direction although the metric needs one.
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
        let mut values = match &self.projection {
            Some(projection) => {
                point.resize(self.full_width(), 0.0);
                let mut values = projection.query(&point, math::kernels())?;
                point.truncate(self.dimension);
                values[projection.n_components()] += self.offset;
                values
            }
            None => point.clone(),
        };
        values.resize(self.width(), 0.0);
        let mut codes = vec![0_i8; self.stride()];
        let (mut norm, mut moved) = (0_u32, 0.0_f32);
        let inverse = 1.0 / self.scale;
        for (to, &x) in codes.iter_mut().zip(&values) {
            let position = (x - self.offset) * inverse;
            let clamped = position.clamp(0.0, 255.0);
            moved += (position - clamped) * (position - clamped);
            let code = (clamped + 0.5) as u8;
            norm = norm.wrapping_add(u32::from(code) * u32::from(code));
            *to = (code ^ 0x80) as i8;
        }
        // Rounding moves a point by 1/12 squared step per component; clamping matters from three times that.
        let fits = moved <= 0.25 * self.width() as f32;
        (!moved.is_nan()).then_some(Query { point, codes, norm, fits })
    }

    /// Converts a code row to a query: its codes - 128, its residual times the correlation, then zeros. Returns the sum
    /// of the squared codes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
    pub(super) fn row_as_query(&self, row: &[u8], out: &mut [i8]) -> u32 {
        let width = self.width();
        let mut norm = 0_u32;
        let mut set = |to: &mut i8, code: u8| {
            *to = (code ^ 0x80) as i8;
            norm = norm.wrapping_add(u32::from(code) * u32::from(code));
        };
        let plain = if self.projection.is_some() { width - 1 } else { width };
        out.iter_mut().zip(&row[..plain]).for_each(|(to, &code)| set(to, code));
        if plain < width {
            set(&mut out[plain], (f32::from(row[plain]) * RESIDUAL_CORRELATION + 0.5) as u8);
        }
        out[width..].fill(0);
        norm
    }

    /// Returns the key of the codes, or a greater one, at a metric's distance from a query of norm `query_norm`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn key_at(&self, distance: f32, query_norm: f32, code_error_bound: f32) -> u32 {
        // The cast saturates: an infinite distance has the greatest key.
        (self.squared(distance, query_norm).max(0.0) / (code_error_bound * self.scale * self.scale)) as u32
    }

    /// Converts a metric's distance from a query of norm `query_norm` to a squared distance in the graph's space.
    pub(super) fn squared(&self, distance: f32, query_norm: f32) -> f32 {
        match self.metric {
            Metric::L2 => distance * distance,
            Metric::Cosine => 2.0 * distance,
            Metric::Dot => 2.0 * self.max_norm * (self.max_norm + distance / query_norm),
        }
    }
}

/// Returns at most `max` of `count` positions, evenly spread.
fn spread(count: usize, max: usize) -> impl Iterator<Item = usize> {
    let max = max.min(count);
    (0..max).map(move |i| (i as u128 * count as u128 / max as u128) as usize)
}

/// Trial of projections: sampled queries and rows, and the true nearest rows of each query.
struct Trial {
    width: usize,
    queries: Vec<f32>,
    rows: Vec<f32>,
    nearest: Vec<Vec<Ordinal>>,
}

impl Trial {
    fn new(quantizer: &Quantizer, rows: Rows<'_>) -> Self {
        let width = quantizer.full_width();
        let rows = quantizer.sample(rows, TRIAL.1.min(4 * SAMPLE_NUMBERS / width.max(1)));
        let count = rows.len() / width.max(1);
        // Every query is one of the rows, and its own nearest row, which `recall` leaves out.
        let queries = spread(count, TRIAL.0).flat_map(|row| rows[row * width..(row + 1) * width].to_vec()).collect();
        let mut this = Self { width, queries, rows, nearest: Vec::new() };
        this.nearest = this.nearest_by(&this.queries, &this.rows, width, TRIAL_NEAREST.0 + 1);
        this
    }

    /// Finds the `k` nearest rows of each query, by the squared distance of points of `width` numbers.
    fn nearest_by(&self, queries: &[f32], rows: &[f32], width: usize, k: usize) -> Vec<Vec<Ordinal>> {
        let count = queries.len() / width;
        let mut tops = vec![TopK::new(k); count];
        let mut dots = vec![0.0_f32; BLOCK * count];
        for (block, rows) in rows.chunks(BLOCK * width).enumerate() {
            let here = rows.len() / width;
            let queries = Matrix::new(queries, count, width).transposed();
            multiply(&mut dots, Matrix::new(rows, here, width), queries, false);
            for (at, (row, dots)) in rows.chunks_exact(width).zip(dots.chunks_exact(count)).enumerate() {
                let norm = math::dot(row, row);
                let row = Ordinal((block * BLOCK + at) as u32);
                for (top, dot) in tops.iter_mut().zip(dots) {
                    // Without the query's own norm, which is the same for all rows.
                    let distance = norm - 2.0 * dot;
                    if distance < top.worst() {
                        top.push(Neighbor { row, distance });
                    }
                }
            }
        }
        tops.into_iter().map(|top| top.into_sorted().into_iter().map(|neighbor| neighbor.row).collect()).collect()
    }

    /// Returns the share of the nearest rows that are among the nearest by reduced components, without the query
    /// itself.
    fn recall(&self, projection: &Projection) -> f64 {
        let width = projection.n_components() + 1;
        let basis = projection.as_floats();
        let project = |points: &[f32]| {
            let mut out = vec![0.0_f32; points.len() / self.width * width];
            for (points, out) in points.chunks(BLOCK * self.width).zip(out.chunks_mut(BLOCK * width)) {
                projection.rows(&basis, points, out);
            }
            out
        };
        let (mut queries, rows) = (project(&self.queries), project(&self.rows));
        queries.chunks_exact_mut(width).for_each(|query| query[width - 1] *= RESIDUAL_CORRELATION);
        let found = self.nearest_by(&queries, &rows, width, TRIAL_NEAREST.1 + 1);
        let (mut right, mut all) = (0, 0);
        for (db, found) in self.nearest.iter().zip(&found) {
            right += db.iter().skip(1).filter(|row| found.contains(row)).count();
            all += db.len().saturating_sub(1);
        }
        if all == 0 { 0.0 } else { right as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::test_data::Sample;
    use crate::math::codes::{norm_term, squared_distance};

    /// Returns the integer distance of a row and a query, by the norm terms of `math::codes` and by subtraction.
    fn both(q: &Quantizer, row: &[u8], query: &Query) -> (u32, u64) {
        let fast = squared_distance(norm_term(row), query.norm, math::dot_u8_i8(row, &query.codes));
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
                    for row in codes.chunks_exact(q.stride()) {
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
                let db = crate::index::exact::search(sample.rows(), &query, 10, |_| true).neighbors;
                let query = q.query(&query).unwrap();
                let mut order: Vec<(u32, u32)> =
                    codes.chunks_exact(q.stride()).zip(0..).map(|(row, at)| (both(&q, row, &query).0, at)).collect();
                order.sort_unstable();
                let near: Vec<u32> = order[..20].iter().map(|o| o.1).collect();
                let hits = db.iter().filter(|n| near.contains(&n.row.0)).count();
                assert!(hits >= 9, "{metric}: {hits} of the 10 nearest are among the 20 nearest codes");
            }
        }
    }

    #[test]
    fn components_are_omitted_only_where_few_suffice() {
        for metric in Metric::ALL {
            // 8 latent dimensions with a little noise.
            let sample = Sample::clustered(3000, 300, metric, 6);
            assert_eq!(Quantizer::fit(sample.rows()).stride(), 64, "{metric}");
        }
        // Noise in every direction: no principal components.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let vectors = (0..2000 * 300).map(|_| noise()).collect();
        let q = Quantizer::fit(Sample::of(vectors, 300, Metric::L2, vec![]).rows());
        assert!(q.projection.is_none() && q.stride() == 320);
        // Narrow rows are not reduced.
        assert!(Quantizer::fit(Sample::clustered(500, 60, Metric::L2, 6).rows()).projection.is_none());
    }

    #[test]
    fn a_row_as_a_query_is_the_query_of_its_vector() {
        for dimension in [20, 300] {
            let sample = Sample::clustered(800, dimension, Metric::L2, 3);
            let q = Quantizer::fit(sample.rows());
            let mut codes = vec![0_u8; 800 * q.stride()];
            q.encode_rows(sample.rows(), 0..800, &mut codes);
            for (row, code) in codes.chunks_exact(q.stride()).enumerate() {
                let mut out = vec![1_i8; q.stride()];
                let norm = q.row_as_query(code, &mut out);
                let query = q.query(&sample.rows().row(Ordinal(row as u32)).to_floats()).unwrap();
                let apart = out.iter().zip(&query.codes).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max();
                assert!(apart <= Some(1), "{row}: {out:?} {:?}", query.codes);
                let sum: u32 = query.codes[..q.width()].iter().map(|&c| (i32::from(c) + 128).pow(2) as u32).sum();
                assert_eq!(sum, query.norm);
                assert!(norm.abs_diff(query.norm) < 1200, "{norm} {}", query.norm);
            }
        }
    }

    #[test]
    fn squared_distances_are_those_of_the_space() {
        for metric in Metric::ALL {
            let sample = Sample::clustered(100, 30, metric, 3);
            let q = Quantizer::fit(sample.rows());
            for query in sample.queries(10) {
                let norm = math::norm(&query);
                let point = q.query(&query).unwrap().point;
                let mut row_point = vec![0.0; q.full_width()];
                for row in 0..100 {
                    q.point(sample.rows().row(Ordinal(row)), sample.rows().norm(Ordinal(row)), &mut row_point);
                    let extra: f32 = row_point[30..].iter().map(|x| x * x).sum();
                    let direct = math::l2_squared(&point, &row_point[..30]) + extra;
                    let by_metric =
                        q.squared(crate::index::exact::distance(sample.rows(), Ordinal(row), &query, norm), norm);
                    assert!((direct - by_metric).abs() < 1e-3 * direct.max(1.0), "{metric}: {direct} {by_metric}");
                }
            }
        }
    }

    #[test]
    fn outliers_do_not_coarsen_the_rest_and_far_queries_are_detected() {
        let mut vectors = Sample::clustered(2000, 16, Metric::L2, 2).vectors;
        vectors[5] = 1e9;
        vectors[6] = f32::NAN;
        let sample = Sample::of(vectors, 16, Metric::L2, vec![]);
        let q = Quantizer::fit(sample.rows());
        assert!(q.scale < 1.0, "{q:?}");
        assert!(q.query(&sample.rows().row(Ordinal(9)).to_floats()).unwrap().fits);
        assert!(!q.query(&[1e6; 16]).unwrap().fits);
        assert!(q.query(&[f32::NAN; 16]).is_none());
        let cosine = Quantizer { metric: Metric::Cosine, ..q.clone() };
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
