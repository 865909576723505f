//! How near a node is to a query: a key of 32 bits, smaller is nearer. On codes it is the exact integer distance, on
//! floats the bits of a distance that is not negative, whose order is that of the number.

use crate::index::Rows;
use crate::index::quantize;
use crate::math::{self, Kernels};
use crate::types::{Metric, Ordinal};

/// Keys of nodes.
pub(super) trait Scorer {
    /// The key of a node; `u32::MAX` for a node that does not exist.
    fn key(&self, node: u32) -> u32;
    /// Asks for the memory that [`key`](Self::key) reads.
    fn prefetch(&self, node: u32);
}

/// Distances on codes; nodes are rows.
#[derive(Clone, Copy)]
pub(super) struct CodeScorer<'a> {
    pub(super) codes: &'a [u8],
    pub(super) stride: usize,
    /// Bytes that are compared, at most `stride`.
    pub(super) compared: usize,
    /// Code - 128 of the query, `compared` of them.
    pub(super) query: &'a [i8],
    /// Sum of the squared codes of the query.
    pub(super) norm: u32,
    pub(super) dot: fn(&[u8], &[i8]) -> i32,
}

/// The exact squared distance of codes, in wrapping arithmetic: see `quantize.rs`.
#[inline(always)]
#[allow(clippy::cast_sign_loss)]
pub(super) fn code_distance(norm_term: u32, query_norm: u32, dot: i32) -> u32 {
    norm_term.wrapping_add(query_norm).wrapping_sub((dot as u32).wrapping_mul(2))
}

impl Scorer for CodeScorer<'_> {
    #[inline(always)]
    fn key(&self, node: u32) -> u32 {
        let start = node as usize * self.stride;
        let Some(row) = self.codes.get(start..start + self.stride) else { return u32::MAX };
        let dot = (self.dot)(&row[..self.compared], self.query);
        code_distance(quantize::norm_term(row), self.norm, dot)
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        let start = node as usize * self.stride;
        if let Some(row) = self.codes.get(start..start + self.stride) {
            math::prefetch_slice(row, usize::MAX);
        }
    }
}

/// Distances on the full vectors, for a query outside the range of the codes; nodes are rows.
#[derive(Clone, Copy)]
pub(super) struct FloatScorer<'a> {
    pub(super) rows: Rows<'a>,
    /// The query in the graph's space.
    pub(super) point: &'a [f32],
    pub(super) max_norm: f32,
    pub(super) kernels: &'a Kernels,
}

impl Scorer for FloatScorer<'_> {
    #[inline]
    fn key(&self, node: u32) -> u32 {
        let row = self.rows.row(Ordinal(node));
        let key = match self.rows.metric {
            Metric::L2 => (self.kernels.l2_squared)(row, self.point),
            Metric::Cosine => 2.0 - (self.kernels.dot)(row, self.point) / self.rows.norm(Ordinal(node)),
            Metric::Dot => 2.0 - (self.kernels.dot)(row, self.point) / self.max_norm / self.max_norm,
        };
        if key.is_nan() { f32::INFINITY.to_bits() } else { key.max(0.0).to_bits() }
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        math::prefetch_slice(self.rows.row(Ordinal(node)), 8);
    }
}

/// A scorer of rows seen from an upper level, whose nodes are numbered by themselves.
pub(super) struct OnLevel<'a, S> {
    /// The row of each node.
    pub(super) rows: &'a [u32],
    pub(super) inner: S,
}

impl<S: Scorer> Scorer for OnLevel<'_, S> {
    #[inline]
    fn key(&self, node: u32) -> u32 {
        self.rows.get(node as usize).map_or(u32::MAX, |&row| self.inner.key(row))
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        if let Some(&row) = self.rows.get(node as usize) {
            self.inner.prefetch(row);
        }
    }
}
