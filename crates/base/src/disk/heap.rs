//! How much freed memory the allocator may keep: little, so that a server that works for months holds what it uses.

/// Allocations from this size on are mappings of their own, given back as soon as they are freed, bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 1 << 20;

/// Says so to the allocator, before there are threads. By itself glibc keeps up to eight heaps a core, each as large as it has ever been,
/// and large allocations in them once it has seen some: 235 MB after a minute of the load of `tests/soak.rs`, and growing, against 80 MB
/// that stay. Does nothing where `MALLOC_ARENA_MAX` or `MALLOC_MMAP_THRESHOLD_` is set, or with another allocator.
pub fn keep_little_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let set = |name| std::env::var_os(name).is_some();
        if set("MALLOC_ARENA_MAX") || set("MALLOC_MMAP_THRESHOLD_") {
            return;
        }
        let heaps = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 64)) as i32;
        // SAFETY: both only set parameters of malloc, under its own lock. A refusal leaves them as they were.
        unsafe {
            let _ = libc::mallopt(libc::M_ARENA_MAX, heaps);
            let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        }
    }
}

/// Returns freed memory to the system. A heap keeps the pages between allocations that live: after a load of small points that
/// is much. Takes milliseconds.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only gives up pages of which malloc uses no byte, under its own locks.
    unsafe {
        let _ = libc::malloc_trim(0);
    }
}
