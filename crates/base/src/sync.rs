//! Locks and atomics of shared state: those of std, or, with the feature `interleavings`, those of the randomized
//! scheduler shuttle (Burckhardt et al. 2010, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"),
//! for the tests in `crates/core/src/collection/interleavings.rs`.

#[cfg(not(feature = "interleavings"))]
pub use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic},
    thread::sleep,
};

#[cfg(feature = "interleavings")]
pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic};

/// Yields to the other threads, because the scheduler does not simulate time.
#[cfg(feature = "interleavings")]
pub fn sleep(_: std::time::Duration) {
    shuttle::thread::yield_now();
}

/// Runs `run` under many thread interleavings, chosen at random and by PCT. A failure prints its schedule, for
/// `shuttle::replay`.
#[cfg(feature = "interleavings")]
pub fn try_orders(run: fn()) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    const RUNS: usize = 1_500;
    /// Bug depth of PCT: context switches that a bug may need.
    const DEPTH: usize = 4;
    let mut config = shuttle::Config::new();
    // Stack bytes per thread: the key-value store needs more than shuttle's default.
    config.stack_size = 1 << 20;
    shuttle::Runner::new(RandomScheduler::new(RUNS), config.clone()).run(run);
    shuttle::Runner::new(PctScheduler::new(DEPTH, RUNS), config).run(run);
}

/// Threads of the shuttle scheduler.
#[cfg(feature = "interleavings")]
pub use shuttle::thread;
