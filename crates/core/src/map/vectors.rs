//! The vectors of a layout, wherever they live: mapped files, memory, a slice.

/// Finite vectors of one width.
pub trait Vectors: Sync {
    /// How many.
    fn len(&self) -> usize;
    /// Components of each.
    fn width(&self) -> usize;
    /// Copies the vector of a point below [`len`](Self::len) to `out`, which has [`width`](Self::width) components.
    fn copy(&self, point: usize, out: &mut [f32]);
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Row by row, `width` components each.
impl Vectors for (&[f32], usize) {
    fn len(&self) -> usize {
        self.0.len().checked_div(self.1).unwrap_or(0)
    }
    fn width(&self) -> usize {
        self.1
    }
    fn copy(&self, point: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.0[point * self.1..][..self.1]);
    }
}
