//! Limits on the freed memory that the allocator keeps, so that a long-running server holds only the memory in use.

/// Size from which an allocation gets its own mapping, which freeing returns to the system immediately; bytes. Smaller
/// values return more memory, and cost a system call and page faults per allocation.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: i32 = 1 << 20;

/// Limits the number of glibc's arenas and fixes its mmap threshold. Call it before threads start. By default glibc
/// keeps up to eight arenas per core, each at its peak size, and raises the threshold so that large allocations also go
/// into arenas: under the load of `tests/soak.rs`, memory grows without these limits and is constant with them
/// (`benches/results/2026-11-27-server`). Does nothing if `MALLOC_ARENA_MAX` or `MALLOC_MMAP_THRESHOLD_` is set, or
/// with another allocator.
pub fn limit_malloc_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let set = |name| std::env::var_os(name).is_some();
        if set("MALLOC_ARENA_MAX") || set("MALLOC_MMAP_THRESHOLD_") {
            return;
        }
        let arenas = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 64)) as i32;
        // SAFETY: both only set parameters of malloc, under its own lock. A refusal leaves them unchanged.
        unsafe {
            let _ = libc::mallopt(libc::M_ARENA_MAX, arenas);
            let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        }
    }
}

/// Returns freed memory to the system. An arena keeps free pages between live allocations: many of them after a load
/// of small points. Takes milliseconds.
pub fn trim_malloc() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim releases only pages without bytes in use, under malloc's own locks.
    unsafe {
        let _ = libc::malloc_trim(0);
    }
}
