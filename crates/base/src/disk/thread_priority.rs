//! Lowered scheduling priority for background threads.

/// Increment of the thread's `nice` value.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the calling thread's priority (nice +10), permanently. Threads that it starts afterwards inherit the
/// priority. Does nothing on systems other than Linux.
pub fn lower_thread_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is touched; 0 is the calling thread. A refusal leaves the priority unchanged; the kernel clamps
    // the value.
    unsafe {
        let before = libc::getpriority(libc::PRIO_PROCESS, 0);
        let _ = libc::setpriority(libc::PRIO_PROCESS, 0, before + NICE);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn nice() -> i32 {
        // SAFETY: no memory is touched; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn a_thread_and_its_children_have_lower_priority() {
        let before = nice();
        let inside = std::thread::spawn(|| {
            lower_thread_priority();
            let child = std::thread::scope(|scope| scope.spawn(nice).join().unwrap());
            (nice(), child)
        });
        let (own, child) = inside.join().unwrap();
        assert!(own == (before + NICE).min(19) && child == own, "{before}: {own} {child}");
        assert_eq!(nice(), before);
    }
}
