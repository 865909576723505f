//! Vectors of 16 floats: AVX-512, AVX2 or portable code, selected at run time.

use super::shared_matrix::{LANES, Line};

/// Loop that is generic over [`Simd`].
pub(crate) trait Loop {
    /// # Safety
    /// As documented by the loop; the processor supports `S`.
    unsafe fn run<S: Simd>(self);
}

/// Runs a loop with the widest registers of this processor.
///
/// # Safety
/// As documented by the loop.
pub(crate) unsafe fn run(work: impl Loop) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature; the caller guarantees the rest.
            return unsafe { x86::avx512(work) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the features; the caller guarantees the rest.
            return unsafe { x86::avx2(work) };
        }
    }
    // SAFETY: portable code needs no feature; the caller guarantees the rest.
    unsafe { work.run::<Portable>() }
}

/// Vector of 16 floats.
pub(crate) trait Simd: Copy {
    /// Whether the processor has registers for 16 accumulators of this type plus operands.
    const HAS_32_REGISTERS: bool;
    /// Returns all zeros.
    unsafe fn zero() -> Self;
    /// Returns `value` in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// Loads a line.
    unsafe fn load(line: *const Line) -> Self;
    /// Stores to a line.
    unsafe fn store(self, line: *mut Line);
    /// Loads 16 floats, unaligned.
    unsafe fn read(from: *const f32) -> Self;
    /// Stores 16 floats, unaligned.
    unsafe fn write(self, to: *mut f32);
    /// `self * factor + term`.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `self / sqrt(squares)`.
    unsafe fn div_sqrt(self, squares: Self) -> Self;
    /// Sum of the 16 lanes.
    unsafe fn sum(self) -> f32;
}

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Simd for Portable {
    const HAS_32_REGISTERS: bool = false;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(line: *const Line) -> Self {
        // SAFETY: the caller passes a line inside the matrix.
        Self(unsafe { (*line).0 })
    }
    #[inline(always)]
    unsafe fn store(self, line: *mut Line) {
        // SAFETY: the caller passes a line inside the matrix.
        unsafe { line.write(Line(self.0)) }
    }
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        // SAFETY: the caller passes the first of 16 floats.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        // SAFETY: the caller passes the first of 16 writable floats.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn mul_add(mut self, factor: Self, term: Self) -> Self {
        for i in 0..LANES {
            self.0[i] = self.0[i] * factor.0[i] + term.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn div_sqrt(mut self, squares: Self) -> Self {
        for i in 0..LANES {
            self.0[i] /= squares.0[i].sqrt();
        }
        self
    }
    #[inline(always)]
    unsafe fn sum(mut self) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                self.0[i] += self.0[i + half];
            }
        }
        self.0[0]
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! [`Simd`] with 512-bit and 256-bit registers.

    use super::{Line, Loop, Simd};
    use std::arch::x86_64::*;

    /// # Safety
    /// As documented by the loop; the processor has AVX-512F.
    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(crate) unsafe fn avx512(work: impl Loop) {
        // SAFETY: the caller guarantees it.
        unsafe { work.run::<Zmm>() }
    }

    /// # Safety
    /// As documented by the loop; the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(crate) unsafe fn avx2(work: impl Loop) {
        // SAFETY: the caller guarantees it.
        unsafe { work.run::<Ymm>() }
    }

    #[derive(Clone, Copy)]
    struct Zmm(__m512);

    // SAFETY (all of this implementation): called only inside `avx512`; lines are aligned to 64 bytes.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Zmm {
        const HAS_32_REGISTERS: bool = true;
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(line: *const Line) -> Self {
            unsafe { Self(_mm512_load_ps(line.cast())) }
        }
        #[inline(always)]
        unsafe fn store(self, line: *mut Line) {
            unsafe { _mm512_store_ps(line.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn read(from: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(from)) }
        }
        #[inline(always)]
        unsafe fn write(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
        }
        #[inline(always)]
        unsafe fn div_sqrt(self, squares: Self) -> Self {
            unsafe { Self(_mm512_div_ps(self.0, _mm512_sqrt_ps(squares.0))) }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }

    #[derive(Clone, Copy)]
    struct Ymm(__m256, __m256);

    // SAFETY (all of this implementation): called only inside `avx2`; lines are aligned to 64 bytes.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Ymm {
        const HAS_32_REGISTERS: bool = false;
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(line: *const Line) -> Self {
            unsafe { Self(_mm256_load_ps(line.cast()), _mm256_load_ps(line.cast::<f32>().add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, line: *mut Line) {
            unsafe {
                _mm256_store_ps(line.cast(), self.0);
                _mm256_store_ps(line.cast::<f32>().add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn read(from: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn write(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, term.0), _mm256_fmadd_ps(self.1, factor.1, term.1)) }
        }
        #[inline(always)]
        unsafe fn div_sqrt(self, squares: Self) -> Self {
            unsafe {
                Self(_mm256_div_ps(self.0, _mm256_sqrt_ps(squares.0)), _mm256_div_ps(self.1, _mm256_sqrt_ps(squares.1)))
            }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let eight = _mm256_add_ps(self.0, self.1);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }
}
