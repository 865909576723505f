//! The largest of some numbers; the k nearest of a stream of rows: a bounded heap whose top is the worst that is kept.

use std::collections::BinaryHeap;

use crate::types::Neighbor;

/// The place of the largest number, the last of several; 0 for none.
pub fn largest(numbers: &[f32]) -> usize {
    (0..numbers.len()).max_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap_or(0)
}

/// Keeps the `k` smallest [`Neighbor`]s it is shown; equal distances are ordered by row.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<Neighbor>,
}

impl TopK {
    /// An empty one. Memory grows with what is kept, not with `k`.
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k.min(1024)) }
    }

    /// Keeps the neighbor if it is among the `k` nearest so far. A distance that is NaN counts as infinite.
    #[inline]
    pub fn push(&mut self, neighbor: Neighbor) {
        let neighbor =
            if neighbor.distance.is_nan() { Neighbor { distance: f32::INFINITY, ..neighbor } } else { neighbor };
        if self.heap.len() < self.k {
            self.heap.push(neighbor);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && neighbor < *worst
        {
            *worst = neighbor;
        }
    }

    /// The distance of the worst that is kept: nothing farther can enter. Infinite until `k` are kept.
    #[inline]
    pub fn worst(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::INFINITY
        } else {
            self.heap.peek().map_or(f32::NEG_INFINITY, |n| n.distance)
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if none is kept.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// What was kept, nearest first.
    pub fn into_sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec()
    }
}
