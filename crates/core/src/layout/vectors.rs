//! Access to the vectors of a layout, in mapped files, memory or a slice.

/// Finite vectors of one width.
pub trait Vectors: Sync {
    /// Number of vectors.
    fn len(&self) -> usize;
    /// Components per vector.
    fn width(&self) -> usize;
    /// Copies the vector of `point` (below [`len`](Self::len)) to `out`, which has [`width`](Self::width) components.
    fn copy(&self, point: usize, out: &mut [f32]);
    /// Returns whether there are no vectors.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Row-major vectors of `width` components each.
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
