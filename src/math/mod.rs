//! Kernels on slices of numbers.
