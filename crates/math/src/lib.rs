//! Kernels on slices of numbers: dot products, distances, norms, the k nearest. No input or output.
//!
//! Every kernel exists three times and is chosen once, when first used, by what the processor can do:
//!
//! | file | what |
//! | --- | --- |
//! | `scalar.rs` | portable, written so that the compiler vectorises it; also the `f64` reference of the tests |
//! | `avx2.rs` | AVX2 + FMA, 8 lanes |
//! | `avx512.rs` | AVX-512 F + BW, 16 lanes, and VNNI for 8-bit codes |
//! | `activation.rs` | GELU, the ramp and softmax, between the layers of nets |
//! | `bits.rs` | the places of set bits |
//! | `codes.rs` | what 8-bit code rows are, and their distances without any of these |
//! | `convolution.rs` | convolutions of 3x3 over pictures, forward and backward |
//! | `components.rs` | vectors in the fewest bytes that hold them exactly |
//! | `kernels.rs` | the choice, and the functions the rest of the crate calls |
//! | `norm.rs` | norms, with sums in `f64` so that no finite vector overflows |
//! | `prefetch.rs` | a hint to load memory before it is needed |
//! | `gemm.rs` | matrix products of the digit net |
//! | `symmetric.rs` | eigenvectors of a symmetric matrix |
//! | `train/` | the inner loops of training word vectors |
//! | `topk.rs` | the largest number; the k nearest of a stream of rows |
//!
//! Kernels of two slices use the shorter length, so that no input reads out of bounds.

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
pub use topk::{TopK, largest};

#[cfg(test)]
mod tests;
