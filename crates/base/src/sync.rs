//! Locks and atomics of what several threads change: those of std; with the feature `interleavings` those of a scheduler that
//! tries orders of the threads' steps (shuttle; Burckhardt et al. 2010, "A Randomized Scheduler with Probabilistic Guarantees of
//! Finding Bugs"), for the tests in `crates/core/src/collection/interleavings.rs`.

#[cfg(not(feature = "interleavings"))]
pub use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic},
    thread::sleep,
};

#[cfg(feature = "interleavings")]
pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic};

/// Time does not pass there: the others have their turns.
#[cfg(feature = "interleavings")]
pub fn sleep(_: std::time::Duration) {
    shuttle::thread::yield_now();
}

/// Runs it in many orders, by chance and by PCT. What fails is printed with its schedule, for `shuttle::replay`.
#[cfg(feature = "interleavings")]
pub fn try_orders(run: fn()) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    const RUNS: usize = 1_500;
    /// Changes of thread that a bug may need.
    const DEPTH: usize = 4;
    let mut config = shuttle::Config::new();
    // Of each thread, bytes: the key-value store takes more than shuttle gives by itself.
    config.stack_size = 1 << 20;
    shuttle::Runner::new(RandomScheduler::new(RUNS), config.clone()).run(run);
    shuttle::Runner::new(PctScheduler::new(DEPTH, RUNS), config).run(run);
}

/// Threads of that scheduler.
#[cfg(feature = "interleavings")]
pub use shuttle::thread;
