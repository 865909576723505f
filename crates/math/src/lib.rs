//! Numeric kernels on slices: dot products, distances, norms, top-k. No I/O.
//!
//! Each kernel has up to three variants; the first use selects one by the features of the processor:
//!
//! | file | contents |
//! | --- | --- |
//! | `scalar.rs` | portable variant, written for the compiler to vectorise; also the `f64` reference of the tests |
//! | `avx2.rs` | AVX2 + FMA, 8 lanes |
//! | `avx512.rs` | AVX-512 F + BW, 16 lanes, and VNNI for 8-bit codes |
//! | `activation.rs` | activation functions: GELU, ReLU and softmax |
//! | `bits.rs` | iterator over set bits |
//! | `codes.rs` | layout of 8-bit code rows, and their distances in portable code |
//! | `convolution.rs` | 3x3 convolutions over images, forward and backward |
//! | `components.rs` | lossless compact storage of vectors |
//! | `kernels.rs` | selection of the variant, and the functions for other modules |
//! | `norm.rs` | norms, with sums in `f64` so that no finite vector overflows |
//! | `prefetch.rs` | prefetch hints |
//! | `gemm.rs` | matrix products |
//! | `symmetric.rs` | eigenvectors of a symmetric matrix |
//! | `train/` | inner loops of word-vector training |
//! | `topk.rs` | argmax; the k nearest of a stream of rows |
//!
//! Kernels of two slices use the shorter length, so that no input causes an out-of-bounds read.

pub(crate) use nearness_base::types;

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bits;
pub mod codes;
mod components;
pub mod convolution;
pub mod gemm;
mod kernels;
mod norm;
mod prefetch;
mod scalar;
pub mod symmetric;
mod topk;
pub mod train;

pub use activation::{gelu, quick_gelu, relu, softmax};
pub use bits::{Ones, ones};
pub use components::{Components, Element, Vector, round_to};
pub use kernels::{Kernels, dot, dot_u8_i8, kernels, l2_squared, variants};
pub use norm::{norm, normalize};
pub use prefetch::{prefetch, prefetch_slice};
pub use topk::{TopK, argmax};

#[cfg(test)]
mod tests;
