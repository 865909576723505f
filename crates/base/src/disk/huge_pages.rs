//! Large arrays on huge pages, which reduce TLB misses under random access.

/// Minimum size for the huge-page advice, bytes.
const MIN_HUGE_BYTES: usize = 4 << 20;

/// Returns an empty vector with room for `capacity` elements, whose memory the system may back with huge pages.
pub fn vec_with_capacity<T>(capacity: usize) -> Vec<T> {
    let vec = Vec::<T>::with_capacity(capacity);
    #[cfg(target_os = "linux")]
    if capacity.saturating_mul(size_of::<T>()) >= MIN_HUGE_BYTES {
        // SAFETY: sysconf has no preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0).max(1);
        let begin = (vec.as_ptr() as usize).next_multiple_of(page);
        let end = (vec.as_ptr() as usize + vec.capacity() * size_of::<T>()) / page * page;
        if begin < end {
            // SAFETY: whole pages inside the vector's own allocation, and advice that changes no content. A refusal
            // changes nothing that is observable.
            let _ = unsafe { libc::madvise(begin as *mut _, end - begin, libc::MADV_HUGEPAGE) };
        }
    }
    vec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_with_capacity_works_like_any_other() {
        for capacity in [0, 1, MIN_HUGE_BYTES, 3 * MIN_HUGE_BYTES + 17] {
            let mut vec = vec_with_capacity::<u8>(capacity);
            assert!(vec.is_empty() && vec.capacity() >= capacity);
            vec.resize(capacity, 7);
            assert!(vec.iter().all(|&x| x == 7));
        }
        assert!(vec_with_capacity::<u64>(MIN_HUGE_BYTES / 8).capacity() >= MIN_HUGE_BYTES / 8);
    }
}
