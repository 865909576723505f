//! Argmax of a slice, and the k nearest of a stream of rows: a bounded heap with the worst neighbor on top.

use std::collections::BinaryHeap;

use crate::types::Neighbor;

/// Returns the index of the largest number; the last one among equals, 0 for an empty slice.
pub fn argmax(numbers: &[f32]) -> usize {
    (0..numbers.len()).max_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap_or(0)
}

/// The `k` smallest [`Neighbor`]s pushed so far; ties are ordered by row.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<Neighbor>,
}

impl TopK {
    /// Creates an empty heap. Memory grows with its content, not with `k`.
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k.min(1024)) }
    }

    /// Keeps the neighbor if it is among the `k` nearest so far. A NaN distance counts as infinite.
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

    /// Returns the largest kept distance: farther neighbors are rejected. Infinite until `k` neighbors are kept.
    #[inline]
    pub fn worst(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::INFINITY
        } else {
            self.heap.peek().map_or(f32::NEG_INFINITY, |n| n.distance)
        }
    }

    /// Returns the number of kept neighbors.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Returns true if no neighbor is kept.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Returns the kept neighbors, nearest first.
    pub fn into_sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec()
    }
}
