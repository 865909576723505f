//! Matrices of `f32` rows, aligned to cache lines, that threads may update without locks.
//!
//! # Races
//! "Hogwild" (Niu, Recht, Re, Wright 2011): threads read and write rows of a [`SharedMatrix`] concurrently, on purpose.
//! A lost or partial update of a row is noise of the size of one gradient step, which stochastic gradient descent
//! tolerates. Relaxed atomics would declare these races to the compiler, but they compile to scalar moves and make
//! training several times slower; so the kernels use raw pointers. Assumptions: the machine reads and writes aligned
//! `f32` lanes whole (true of x86-64 and AArch64), no reference to the numbers exists while they are shared, and no
//! branch, index or length depends on a number that is read.
//!
//! The matrix itself is not `Sync`: safe code uses it on one thread at a time. [`Hogwild`], which is `Sync`, is created
//! by an unsafe function, whose caller accepts the races.

use std::cell::UnsafeCell;
use std::ops::Deref;

/// `f32`s per cache line; rows are zero-padded to whole lines.
pub(crate) const LANES: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(super) [f32; LANES]);

/// Matrix of `f32` rows. The kernels update it through `&self`, so it is not `Sync`; see [`Hogwild`].
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<nearness_math::train::SharedMatrix>();
/// ```
pub struct SharedMatrix {
    pub(super) lines: Box<[UnsafeCell<Line>]>,
    pub(super) rows: usize,
    pub(super) dimension: usize,
    pub(super) lines_per_row: usize,
}

/// Types that [`Hogwild`] shares between threads: matrices of plain numbers.
pub trait Parameters: sealed::Sealed {}

impl Parameters for SharedMatrix {}

impl sealed::Sealed for SharedMatrix {}

pub(super) mod sealed {
    //! Only this module implements [`Parameters`](super::Parameters).

    /// A supertrait that other crates cannot name.
    pub trait Sealed {}
}

/// A reference that several threads may use concurrently, without locks.
#[derive(Debug)]
pub struct Hogwild<'a, T>(&'a T);

impl<'a, T: Parameters> Hogwild<'a, T> {
    /// Shares `parameters` between threads.
    ///
    /// # Safety
    /// While copies of the result are used by several threads, the numbers are accessed only through the functions of
    /// this module. Their concurrent accesses are data races, which the language does not define; the caller accepts
    /// the assumptions of the module documentation, and that any number may be stale or lose an update.
    pub unsafe fn new(parameters: &'a T) -> Self {
        Self(parameters)
    }
}

impl<T> Clone for Hogwild<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Hogwild<'_, T> {}

impl<T> Deref for Hogwild<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

// SAFETY: `new` is unsafe, and its caller accepts concurrent accesses. The numbers are plain `f32`s.
unsafe impl<T: Parameters> Sync for Hogwild<'_, T> {}
// SAFETY: as for `Sync`.
unsafe impl<T: Parameters> Send for Hogwild<'_, T> {}

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
            for column in 0..dimension {
                row[column / LANES].get_mut().0[column % LANES] = value();
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
    pub(super) fn number(&self, row: u32, column: usize) -> f32 {
        assert!((row as usize) < self.rows && column < self.dimension);
        let line = row as usize * self.lines_per_row + column / LANES;
        // SAFETY: in bounds by the assertion; for the race see the module docs.
        unsafe { (*self.lines[line].get().cast_const().cast::<[f32; LANES]>())[column % LANES] }
    }
}
