//! Locks and atomics of what several threads change: those of std; with the feature `interleavings` those of a scheduler that
//! tries orders of the threads' steps (shuttle; Burckhardt et al. 2010, "A Randomized Scheduler with Probabilistic Guarantees of
//! Finding Bugs"), for the tests in `src/collection/interleavings.rs`.

#[cfg(not(feature = "interleavings"))]
pub(crate) use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic},
    thread::sleep,
};

#[cfg(feature = "interleavings")]
pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError, atomic};

/// Time does not pass there: the others have their turns.
#[cfg(feature = "interleavings")]
pub(crate) fn sleep(_: std::time::Duration) {
    shuttle::thread::yield_now();
}
