//! Work that may wait: a thread, and those that it starts, run when nothing more urgent does.

/// How much less of a processor such a thread gets: the scale of `nice`.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Puts the calling thread behind all others of the machine, for good. Threads that it starts afterwards inherit that. Where
/// the system has no priorities for threads, nothing changes.
pub fn run_behind_others() {
    #[cfg(target_os = "linux")]
    // SAFETY: no memory is touched; 0 is the calling thread. A refusal leaves the priority as it was; too much is cut off.
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
    fn a_thread_and_its_children_are_behind_and_others_are_not() {
        let before = nice();
        let inside = std::thread::spawn(|| {
            run_behind_others();
            let child = std::thread::scope(|scope| scope.spawn(nice).join().unwrap());
            (nice(), child)
        });
        let (own, child) = inside.join().unwrap();
        assert!(own == (before + NICE).min(19) && child == own, "{before}: {own} {child}");
        assert_eq!(nice(), before);
    }
}
