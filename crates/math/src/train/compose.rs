//! Composed inputs of several rows: the words of a context (CBOW), or a word and its n-grams (subwords).
//!
//! A composed input is the mean of its rows, stored in a separate matrix. A training step updates it like any input;
//! the change is then added to each of the rows. A weighted input is the sum of its rows, each multiplied element-wise
//! by a row of position weights; its change updates both the rows and the weights.

use super::shared_matrix::{Line, SharedMatrix};
use super::simd::{self, Loop, Simd};

/// A few composed inputs: current values, and values before the step.
pub struct Composed {
    pub(super) now: SharedMatrix,
    pub(super) before: SharedMatrix,
}

impl Composed {
    /// Allocates `slots` inputs.
    pub fn new(slots: usize, dimension: usize) -> Self {
        Self { now: SharedMatrix::zeros(slots, dimension), before: SharedMatrix::zeros(slots, dimension) }
    }

    /// Returns the inputs for a step: row `slot` is input `slot`.
    pub fn inputs(&self) -> &SharedMatrix {
        &self.now
    }

    /// Sets input `slot` to the mean of `rows`.
    ///
    /// # Panics
    /// If a row or the slot is out of range, or the dimensions differ.
    pub fn gather(&mut self, slot: u32, from: &SharedMatrix, rows: &[u32]) {
        self.check(slot, from, rows);
        let (now, before) = (self.line(&self.now, slot), self.line(&self.before, slot));
        let scale = 1.0 / rows.len().max(1) as f32;
        // SAFETY: all rows are inside (checked above); the scratch rows are this thread's own.
        unsafe { simd::run(Gather { now, before, from: from.base(), lines: from.lines_per_row, rows, scale }) }
    }

    /// Adds the change of input `slot` since the gather to each of `rows`.
    ///
    /// # Panics
    /// As [`gather`](Self::gather).
    pub fn scatter(&self, slot: u32, onto: &SharedMatrix, rows: &[u32]) {
        self.check(slot, onto, rows);
        let (now, before) = (self.line(&self.now, slot), self.line(&self.before, slot));
        // SAFETY: all rows are inside (checked above); the scratch rows are this thread's own.
        unsafe { simd::run(Scatter { now, before, onto: onto.base(), lines: onto.lines_per_row, rows }) }
    }

    /// Sets input `slot` to the sum of `rows`, each multiplied element-wise by its row of `factors`.
    ///
    /// # Panics
    /// As [`gather`](Self::gather), or if `factor_rows` and `rows` differ in length.
    pub fn gather_weighted(
        &mut self,
        slot: u32,
        (from, rows): (&SharedMatrix, &[u32]),
        (factors, factor_rows): (&SharedMatrix, &[u32]),
    ) {
        assert_eq!(rows.len(), factor_rows.len(), "a factor for each row");
        self.check(slot, from, rows);
        self.check(slot, factors, factor_rows);
        let (now, before) = (self.line(&self.now, slot), self.line(&self.before, slot));
        let (from, factors, lines) = (from.base(), factors.base(), from.lines_per_row);
        // SAFETY: all rows are inside (checked above); the scratch rows are this thread's own.
        unsafe { simd::run(GatherWeighted { now, before, from, factors, lines, rows, factor_rows }) }
    }

    /// Propagates the change of input `slot` since the gather to `rows` and, scaled by `rate`, to the factors.
    ///
    /// # Panics
    /// As [`gather_weighted`](Self::gather_weighted).
    pub fn scatter_weighted(
        &self,
        slot: u32,
        (onto, rows): (&SharedMatrix, &[u32]),
        (factors, factor_rows): (&SharedMatrix, &[u32]),
        rate: f32,
    ) {
        assert_eq!(rows.len(), factor_rows.len(), "a factor for each row");
        self.check(slot, onto, rows);
        self.check(slot, factors, factor_rows);
        let (now, before) = (self.line(&self.now, slot), self.line(&self.before, slot));
        let (onto, factors, lines) = (onto.base(), factors.base(), onto.lines_per_row);
        // SAFETY: all rows are inside (checked above); the scratch rows are this thread's own.
        unsafe { simd::run(ScatterWeighted { now, before, onto, factors, lines, rows, factor_rows, rate }) }
    }

    fn check(&self, slot: u32, other: &SharedMatrix, rows: &[u32]) {
        assert!((slot as usize) < self.now.rows, "a slot outside the scratch");
        assert_eq!(self.now.dimension, other.dimension, "both matrices have one dimension");
        assert!(rows.iter().all(|&row| (row as usize) < other.rows), "a row outside the matrix");
    }

    fn line(&self, of: &SharedMatrix, slot: u32) -> *mut Line {
        // SAFETY: the slot is inside (checked by the callers).
        unsafe { of.base().add(slot as usize * of.lines_per_row) }
    }
}

struct Gather<'a> {
    now: *mut Line,
    before: *mut Line,
    from: *mut Line,
    lines: usize,
    rows: &'a [u32],
    scale: f32,
}

impl Loop for Gather<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            let scale = S::splat(self.scale);
            for j in 0..self.lines {
                let mut sum = S::zero();
                for &row in self.rows {
                    sum = S::load(self.from.add(row as usize * self.lines + j)).mul_add(scale, sum);
                }
                sum.store(self.now.add(j));
                sum.store(self.before.add(j));
            }
        }
    }
}

struct Scatter<'a> {
    now: *mut Line,
    before: *mut Line,
    onto: *mut Line,
    lines: usize,
    rows: &'a [u32],
}

impl Loop for Scatter<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            for j in 0..self.lines {
                let change = S::splat(-1.0).mul_add(S::load(self.before.add(j)), S::load(self.now.add(j)));
                for &row in self.rows {
                    let line = self.onto.add(row as usize * self.lines + j);
                    S::splat(1.0).mul_add(S::load(line), change).store(line);
                }
            }
        }
    }
}

struct GatherWeighted<'a> {
    now: *mut Line,
    before: *mut Line,
    from: *mut Line,
    factors: *mut Line,
    lines: usize,
    rows: &'a [u32],
    factor_rows: &'a [u32],
}

impl Loop for GatherWeighted<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            for j in 0..self.lines {
                let mut sum = S::zero();
                for (&row, &factor) in self.rows.iter().zip(self.factor_rows) {
                    let factor = S::load(self.factors.add(factor as usize * self.lines + j));
                    sum = S::load(self.from.add(row as usize * self.lines + j)).mul_add(factor, sum);
                }
                sum.store(self.now.add(j));
                sum.store(self.before.add(j));
            }
        }
    }
}

struct ScatterWeighted<'a> {
    now: *mut Line,
    before: *mut Line,
    onto: *mut Line,
    factors: *mut Line,
    lines: usize,
    rows: &'a [u32],
    factor_rows: &'a [u32],
    rate: f32,
}

impl Loop for ScatterWeighted<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: rows lie inside their matrices, and a row has `lines` lines.
        unsafe {
            let rate = S::splat(self.rate);
            for j in 0..self.lines {
                let change = S::splat(-1.0).mul_add(S::load(self.before.add(j)), S::load(self.now.add(j)));
                let scaled = change.mul_add(rate, S::zero());
                for (&row, &factor) in self.rows.iter().zip(self.factor_rows) {
                    let line = self.onto.add(row as usize * self.lines + j);
                    let factors = self.factors.add(factor as usize * self.lines + j);
                    let (old, factor) = (S::load(line), S::load(factors));
                    change.mul_add(factor, old).store(line);
                    scaled.mul_add(old, factor).store(factors);
                }
            }
        }
    }
}
