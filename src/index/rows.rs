//! What an index searches and what it finds.

use crate::math::{self, Components, Vector};
use crate::types::{Metric, Neighbor, Ordinal};

/// The vectors of one segment, row by row, borrowed from wherever they live.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `rows x dimension` components, row after row.
    pub vectors: Components<'a>,
    /// Euclidean norm of each row; its length is the number of rows.
    pub norms: &'a [f32],
    /// Components of a row.
    pub dimension: usize,
    /// How near is measured.
    pub metric: Metric,
}

impl<'a> Rows<'a> {
    /// How many rows there are (the fewer, should vectors and norms disagree).
    pub fn len(&self) -> usize {
        self.vectors.len().checked_div(self.dimension).unwrap_or(0).min(self.norms.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector of a row; empty for a row that does not exist.
    #[inline(always)]
    pub fn row(&self, row: Ordinal) -> Vector<'a> {
        self.vectors.vector(self.dimension, row.0 as usize)
    }

    /// Rows `from..until`, as many of them as there are.
    pub fn part(&self, from: usize, until: usize) -> Self {
        let until = until.min(self.len());
        let norms = self.norms.get(from..until).unwrap_or(&[]);
        Self { vectors: self.vectors.vectors(self.dimension, from, until), norms, ..*self }
    }

    /// The norm of a row; 0 for a row that does not exist.
    #[inline]
    pub fn norm(&self, row: Ordinal) -> f32 {
        self.norms.get(row.0 as usize).copied().unwrap_or(0.0)
    }
}

/// What a search found, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Nearest first; the distance is the [`Metric`]'s (cosine: 1 - cos; dot: -dot; L2: Euclidean, not squared).
    pub neighbors: Vec<Neighbor>,
    /// Distances computed, on codes and on full vectors.
    pub distances: u64,
}

/// The metric's distance of a row and a query from their dot product or squared distance and their norms.
///
/// Never NaN: what cannot be computed (an overflow, a damaged row) is infinitely far. A vector without direction is
/// at cosine distance 1 from everything.
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
        Metric::Cosine => cosine(a.dot(b, kernels), a_norm, b_norm),
    };
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// 1 - cos; the product of the norms is formed in `f64`, where it cannot overflow.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn cosine(dot: f32, a_norm: f32, b_norm: f32) -> f32 {
    let norms = f64::from(a_norm) * f64::from(b_norm);
    if norms > 0.0 { (1.0 - f64::from(dot) / norms) as f32 } else { 1.0 }
}
