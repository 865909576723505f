//! Whose turn a job is: one at a time, and requests before the threads in the background.

use super::{Error, Stop};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard, TryLockError, sleep};
use std::sync::PoisonError;
use std::time::Duration;

/// How often somebody asks whether the job before its own is done.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// The right to do a job of one kind in one collection.
#[derive(Default)]
pub(super) struct Turn {
    one: Mutex<()>,
    /// Requests that wait.
    asked: AtomicU32,
}

impl Turn {
    /// For a thread in the background: after all requests, since it would otherwise have the next turn at once.
    pub(super) fn behind_requests(&self) -> MutexGuard<'_, ()> {
        while self.is_asked() {
            sleep(TRY_AGAIN);
        }
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request waits for it.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// For a request: once the job before it is done.
    ///
    /// # Errors
    /// That of [`Stop::check`] when nobody waits for the request any more.
    pub(super) fn of_request(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let stop = Stop::current();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let turn = loop {
            if let Err(error) = stop.check() {
                break Err(error);
            }
            match self.one.try_lock() {
                Ok(turn) => break Ok(turn),
                Err(TryLockError::Poisoned(turn)) => break Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => sleep(TRY_AGAIN),
            }
        };
        self.asked.fetch_sub(1, Ordering::Relaxed);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_request_goes_before_the_background() {
        let turn = Turn::default();
        let first = turn.behind_requests();
        let requested = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _mine = turn.of_request().unwrap();
                requested.store(true, Ordering::SeqCst);
            });
            while !turn.is_asked() {
                std::thread::yield_now();
            }
            drop(first);
            let _next = turn.behind_requests();
            assert!(requested.load(Ordering::SeqCst), "the background was let in first");
        });
    }
}
