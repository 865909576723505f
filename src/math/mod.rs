//! Kernels on slices of numbers.

pub mod train;
