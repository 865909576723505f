//! Input and output of a search: the vectors of a segment, and the rows found.

use crate::math::{self, Components, Vector};
use crate::types::{Metric, Neighbor, Ordinal};

/// Borrowed vectors of one segment, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `rows x dimension` components, row after row.
    pub vectors: Components<'a>,
    /// Euclidean norm of each row; its length is the number of rows.
    pub norms: &'a [f32],
    /// Components of a row.
    pub dimension: usize,
    /// Distance metric.
    pub metric: Metric,
}

impl<'a> Rows<'a> {
    /// Number of rows (the smaller count if vectors and norms disagree).
    pub fn len(&self) -> usize {
        self.vectors.len().checked_div(self.dimension).unwrap_or(0).min(self.norms.len())
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the vector of a row; empty if the row does not exist.
    #[inline(always)]
    pub fn row(&self, row: Ordinal) -> Vector<'a> {
        self.vectors.vector(self.dimension, row.0 as usize)
    }

    /// Returns rows `from..until`, clamped to the existing rows.
    pub fn part(&self, from: usize, until: usize) -> Self {
        let until = until.min(self.len());
        let norms = self.norms.get(from..until).unwrap_or(&[]);
        Self { vectors: self.vectors.vectors(self.dimension, from, until), norms, ..*self }
    }

    /// Returns the norm of a row; 0 if the row does not exist.
    #[inline]
    pub fn norm(&self, row: Ordinal) -> f32 {
        self.norms.get(row.0 as usize).copied().unwrap_or(0.0)
    }
}

/// Result of a search, and its cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Nearest first; the distance is the [`Metric`]'s (cosine: 1 - cos; dot: -dot; L2: Euclidean, not squared).
    pub neighbors: Vec<Neighbor>,
    /// Distances computed, on codes and on full vectors.
    pub distances: u64,
}

/// Computes the metric's distance of a row and a query from their dot product or squared distance and their norms.
///
/// Never NaN: an overflow or a damaged row gives infinity. A cosine distance is 0 to 2, exactly 0 for equal vectors and
/// exactly 2 for opposite ones; a vector without direction has distance 1 to every vector.
#[inline]
pub(super) fn distance(
    metric: Metric,
    a: Vector<'_>,
    a_norm: f32,
    b: &[f32],
    b_norm: f32,
    kernels: &math::Kernels,
) -> f32 {
    let distance = match metric {
        Metric::L2 => a.l2_squared(b, kernels).sqrt(),
        Metric::Dot => -a.dot(b, kernels),
        Metric::Cosine => cosine(a, a_norm, b, b_norm, kernels),
    };
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// 1 - cos. The product of the norms is computed in `f64`, where it cannot overflow.
///
/// Near 0 and 2 the rounding error of the 32-bit dot product is as large as the result, so the distance is computed
/// again from the components. For `a` equal or opposite to `b` all terms of the dot product have one sign, and no
/// kernel adds more than `n / 16 + 22` numbers sequentially: its relative error is below `(n / 8 + 30) u`, with
/// `u = 2^-24`, plus the products that underflow; two rounded norms add `2 u`. So equal and opposite vectors never take
/// the short path, and the short path returns values between 0 and 2.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn cosine(a: Vector<'_>, a_norm: f32, b: &[f32], b_norm: f32, kernels: &math::Kernels) -> f32 {
    const U: f64 = 1.0 / (1 << 24) as f64;
    // The smallest positive float: the maximum loss of an underflowing product.
    const UNDERFLOW: f64 = 1.5e-45;
    let norms = f64::from(a_norm) * f64::from(b_norm);
    if norms.is_nan() || norms <= 0.0 {
        return 1.0;
    }
    let n = b.len() as f64;
    let dot = f64::from(a.dot(b, kernels));
    let short = norms - norms * (n / 8.0 + 32.0) * U - n * UNDERFLOW;
    if dot.abs() < short { (1.0 - dot / norms) as f32 } else { a.cosine_distance(b) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Element;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Returns the distance, after a check that all sets of kernels agree.
    fn cosine_of(a: Vector<'_>, b: &[f32]) -> f32 {
        let (a_norm, b_norm) = (math::norm(&a.to_floats()), math::norm(b));
        let of = |kernels: &math::Kernels| distance(Metric::Cosine, a, a_norm, b, b_norm, kernels);
        let all: Vec<f32> = math::variants().iter().map(of).collect();
        assert!(all.iter().all(|x| (x - all[0]).abs() < 1e-5 && (0.0..=2.0).contains(x)), "{all:?}");
        all[0]
    }

    #[test]
    fn equal_vectors_are_at_0_and_opposite_ones_at_2_in_every_dimension_and_size() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
        for n in (1..200).chain([255, 384, 768, 1_024, 4_099, 65_536]) {
            for size in [1e-18_f32, 1e-6, 1.0, 3e5, 1e18] {
                let mut vector: Vec<f32> = (0..n).map(|_| rng.random_range(-0.2..1.0)).collect();
                let norm = math::norm(&vector);
                vector.iter_mut().for_each(|x| *x *= size / norm);
                let opposite: Vec<f32> = vector.iter().map(|x| -x).collect();
                for kernels in math::variants() {
                    let norm = math::norm(&vector);
                    let to = |b: &[f32]| distance(Metric::Cosine, Vector::F32(&vector), norm, b, norm, &kernels);
                    assert_eq!(to(&vector), 0.0, "{} of {n}, {size}", kernels.name);
                    assert_eq!(to(&opposite), 2.0, "{} of {n}, {size}", kernels.name);
                    assert_eq!(Metric::Cosine.score(to(&vector)), 1.0);
                    assert_eq!(Metric::Cosine.score(to(&opposite)), -1.0);
                }
            }
        }
    }

    #[test]
    fn near_vectors_have_the_same_distance_in_every_element_type() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(10);
        for element in Element::ALL {
            let vector: Vec<f32> = (0..100).map(|_| f32::from(rng.random_range(0_u8..100))).collect();
            let mut bytes = Vec::new();
            let scale = element.encode(&vector, &mut bytes).unwrap();
            let signed: Vec<i8> = bytes.iter().map(|&x| x.cast_signed()).collect();
            let halves: Vec<half::f16> = vector.iter().map(|&x| half::f16::from_f32(x)).collect();
            let stored = match element {
                Element::U8 => Vector::U8(&bytes),
                Element::I8 => Vector::I8(&signed, scale),
                Element::F16 => Vector::F16(&halves),
                Element::F32 => Vector::F32(&vector),
            };
            assert_eq!(cosine_of(stored, &vector), 0.0, "{element:?}");
            for step in [1e-5_f32, 1e-3, 1e-1] {
                let mut near = vector.clone();
                near[7] += step;
                let (got, floats) = (cosine_of(stored, &near), cosine_of(Vector::F32(&vector), &near));
                assert_eq!(got.to_bits(), floats.to_bits(), "{element:?} {step}");
            }
        }
    }

    #[test]
    fn near_vectors_keep_their_order_below_the_precision_of_32_bits() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let vector: Vec<f32> = (0..768).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut before = 0.0;
        for step in 1..30_u8 {
            let mut near = vector.clone();
            near[0] += f32::from(step) * 2e-4;
            let distance = cosine_of(Vector::F32(&vector), &near);
            assert!(distance > before, "{step}: {distance} {before}");
            before = distance;
        }
        // Parallel vectors have distance 0 up to rounding.
        let longer: Vec<f32> = vector.iter().map(|x| 3.0 * x).collect();
        let distance = cosine_of(Vector::F32(&vector), &longer);
        assert!(distance < 1e-12 && Metric::Cosine.score(distance) == 1.0, "{distance}");
    }
}
