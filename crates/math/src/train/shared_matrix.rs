//! Matrices of `f32` rows, aligned to cache lines, that threads may update without locks.
//!
//! # Races
//! "Hogwild" (Niu, Recht, Re, Wright 2011): threads read and write rows of a [`SharedMatrix`] concurrently, on purpose.
//! A lost or partial update of a row is noise of the size of one gradient step, which stochastic gradient descent
//! tolerates. Relaxed atomics would declare these races to the compiler, but they compile to scalar moves and make
//! training several times slower; so the kernels use raw pointers. Assumptions: the machine reads and writes aligned
//! `f32` lanes whole (true of x86-64 and AArch64), no reference to the numbers exists while they are shared, and no
//! branch, index or length depends on a number that is read.

use std::cell::UnsafeCell;

/// `f32`s per cache line; rows are zero-padded to whole lines.
pub(crate) const LANES: usize = 16;
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(super) [f32; LANES]);

/// Matrix of `f32` rows that threads may update concurrently through [`step`](super::step); see the module docs on races.
pub struct SharedMatrix {
    pub(super) lines: Box<[UnsafeCell<Line>]>,
    pub(super) rows: usize,
    pub(super) dimension: usize,
    pub(super) lines_per_row: usize,
}

// SAFETY: only the kernels of this module access the cells, through raw pointers; concurrent use loses updates but
// nothing else (module documentation), and `&mut self` methods have exclusive access.
unsafe impl Sync for SharedMatrix {}

impl SharedMatrix {
    /// Creates a zero matrix of `rows` x `dimension`.
    pub fn zeros(rows: usize, dimension: usize) -> Self {
        let lines_per_row = dimension.div_ceil(LANES);
        let lines = (0..rows * lines_per_row).map(|_| UnsafeCell::new(Line([0.0; LANES]))).collect();
        Self { lines, rows, dimension, lines_per_row }
    }

    /// Sets every number of the matrix, in row-major order.
    pub fn fill(&mut self, mut value: impl FnMut() -> f32) {
        let (dimension, lines_per_row) = (self.dimension, self.lines_per_row);
        for row in self.lines.chunks_exact_mut(lines_per_row.max(1)) {
            for place in 0..dimension {
                row[place / LANES].get_mut().0[place % LANES] = value();
            }
        }
    }

    /// Returns the numbers in row-major order, without padding.
    pub fn to_rows(&mut self) -> Vec<f32> {
        let mut rows = Vec::with_capacity(self.rows * self.dimension);
        for row in self.lines.chunks_exact_mut(self.lines_per_row.max(1)) {
            let mut left = self.dimension;
            for line in row {
                let take = left.min(LANES);
                rows.extend_from_slice(&line.get_mut().0[..take]);
                left -= take;
            }
        }
        rows
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers per row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Copies a row; concurrent updates may be partly included.
    ///
    /// # Panics
    /// If the row is out of range, or `out` does not have the dimension.
    pub fn copy_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.dimension, "a row of the matrix");
        // SAFETY: the row is in range, and its lines hold at least `dimension` numbers; for the race see the module
        // docs.
        unsafe {
            let from = self.base().add(row * self.lines_per_row).cast::<f32>();
            std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), self.dimension);
        }
    }

    /// Sets a row.
    ///
    /// # Panics
    /// If the row is out of range, or `numbers` does not have the dimension.
    pub fn set_row(&mut self, row: usize, numbers: &[f32]) {
        assert!(row < self.rows && numbers.len() == self.dimension, "a row of the matrix");
        for (line, part) in self.lines[row * self.lines_per_row..].iter_mut().zip(numbers.chunks(LANES)) {
            line.get_mut().0[..part.len()].copy_from_slice(part);
        }
    }

    /// Prefetches a row; does nothing if it is out of range.
    #[inline]
    pub fn prefetch(&self, row: u32) {
        #[cfg(target_arch = "x86_64")]
        if (row as usize) < self.rows {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in 0..self.lines_per_row {
                // SAFETY: a prefetch has no visible effect, and the row is inside the matrix.
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(self.base().add(row as usize * self.lines_per_row + line).cast())
                };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = row;
    }

    /// Pointer to the first line, valid for reads and writes of all lines (they are `UnsafeCell`s).
    pub(super) fn base(&self) -> *mut Line {
        self.lines.as_ptr().cast_mut().cast()
    }

    /// Returns one number; for the loss and for tests.
    pub(super) fn number(&self, row: u32, place: usize) -> f32 {
        assert!((row as usize) < self.rows && place < self.dimension);
        let line = row as usize * self.lines_per_row + place / LANES;
        // SAFETY: in bounds by the assertion; for the race see the module docs.
        unsafe { (*self.lines[line].get().cast_const().cast::<[f32; LANES]>())[place % LANES] }
    }
}
