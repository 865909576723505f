//! Distance keys of nodes to a query: 32 bits, smaller is nearer. On codes a key is the exact integer distance, on
//! floats the bits of a non-negative distance, which have the same order as the number.

use crate::index::Rows;
use crate::math::codes::{CodeQuery, CodeRows};
use crate::math::{self, Kernels};
use crate::types::{Metric, Ordinal};

/// Distance keys of nodes to one query.
pub(super) trait Scorer {
    /// Computes the key of each node; `u32::MAX` if it does not exist. `out` is as long as `nodes`.
    fn keys(&self, nodes: &[u32], out: &mut [u32]);
    /// Prefetches the memory that [`keys`](Self::keys) reads.
    fn prefetch(&self, node: u32);

    /// Returns the key of one node.
    fn key(&self, node: u32) -> u32 {
        let mut key = [0];
        self.keys(&[node], &mut key);
        key[0]
    }
}

/// Distances on codes; nodes are rows.
#[derive(Clone, Copy)]
pub(super) struct CodeScorer<'a> {
    pub(super) rows: CodeRows<'a>,
    pub(super) query: CodeQuery<'a>,
    pub(super) kernels: &'a Kernels,
}

impl Scorer for CodeScorer<'_> {
    #[inline(always)]
    fn keys(&self, nodes: &[u32], out: &mut [u32]) {
        (self.kernels.code_distances)(self.rows, nodes, self.query, out);
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        if let Some(row) = self.rows.get(node) {
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
    /// Returns whether the vector of a row may be read; if not, the row is infinitely far.
    pub(super) check: &'a dyn Fn(Ordinal) -> bool,
}

impl FloatScorer<'_> {
    fn key_of(&self, row: Ordinal) -> u32 {
        if !(self.check)(row) {
            return f32::INFINITY.to_bits();
        }
        let vector = self.rows.row(row);
        let key = match self.rows.metric {
            Metric::L2 => vector.l2_squared(self.point, self.kernels),
            Metric::Cosine => 2.0 - vector.dot(self.point, self.kernels) / self.rows.norm(row),
            Metric::Dot => 2.0 - vector.dot(self.point, self.kernels) / self.max_norm / self.max_norm,
        };
        if key.is_nan() { f32::INFINITY.to_bits() } else { key.max(0.0).to_bits() }
    }
}

impl Scorer for FloatScorer<'_> {
    fn keys(&self, nodes: &[u32], out: &mut [u32]) {
        out.iter_mut().zip(nodes).for_each(|(out, &node)| *out = self.key_of(Ordinal(node)));
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        self.rows.row(Ordinal(node)).prefetch(8);
    }
}

/// Scorer of the nodes of an upper level, which have their own numbers.
pub(super) struct OnLevel<'a, S> {
    /// The row of each node.
    pub(super) rows: &'a [u32],
    pub(super) inner: S,
}

impl<S> OnLevel<'_, S> {
    /// Returns the row of a node; an invalid row for an invalid node.
    fn row_of(&self, node: u32) -> u32 {
        self.rows.get(node as usize).copied().unwrap_or(u32::MAX)
    }
}

impl<S: Scorer> Scorer for OnLevel<'_, S> {
    fn keys(&self, nodes: &[u32], out: &mut [u32]) {
        const BATCH: usize = 64;
        for (nodes, out) in nodes.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows = [0; BATCH];
            rows.iter_mut().zip(nodes).for_each(|(row, &node)| *row = self.row_of(node));
            self.inner.keys(&rows[..nodes.len()], out);
        }
    }

    #[inline]
    fn prefetch(&self, node: u32) {
        self.inner.prefetch(self.row_of(node));
    }
}
