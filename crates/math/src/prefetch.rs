//! Prefetch hints; no reads, no failures, and no effect on processors other than x86-64.

const LINE: usize = 64;

/// Prefetches the cache line of `slice[at]`. Does nothing if `at` is out of range.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], at: usize) {
    if at >= slice.len() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no visible effect and cannot fault; the address lies in the slice.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().add(at).cast());
    }
}

/// Prefetches the cache lines of a slice, at most the first `max_lines`.
#[inline(always)]
pub fn prefetch_slice<T>(slice: &[T], max_lines: usize) {
    let size = size_of::<T>().max(1);
    let step = (LINE / size).max(1);
    for line in 0..slice.len().div_ceil(step).min(max_lines) {
        prefetch(slice, line * step);
    }
}
