//! Mutual exclusion of the jobs of one collection; requests go before background threads. A background thread never
//! waits for the lock: it serves another collection meanwhile.

use crate::api::{CancellationToken, Error};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, TryLockError, sleep};
use std::time::Duration;

/// Polling interval of a request that waits for a job.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// A lock for one kind of job in one collection.
#[derive(Default)]
pub(crate) struct JobLock {
    one: Mutex<()>,
    /// Number of waiting requests.
    asked: AtomicU32,
}

impl JobLock {
    /// Tries to lock for a background thread. `None` while a request holds the lock or waits for it.
    pub(crate) fn behind_requests(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_asked() {
            return None;
        }
        match self.one.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a request waits for the lock.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Locks for a request, after the running job.
    ///
    /// # Errors
    /// As [`CancellationToken::check`], when the request is cancelled.
    pub(crate) fn of_request(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let stop = CancellationToken::current();
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

/// Count of the jobs that write files in a collection's folder. The folder is reopened only at 0, because file names
/// would clash.
#[derive(Clone, Default)]
pub(crate) struct FolderUse(Arc<AtomicU32>);

/// A registered job; dropping it ends the registration.
pub(crate) struct InUse(Arc<AtomicU32>);

impl FolderUse {
    pub(crate) fn begin(&self) -> InUse {
        self.0.fetch_add(1, Ordering::SeqCst);
        InUse(self.0.clone())
    }

    pub(crate) fn is_free(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_request_goes_before_the_background() {
        let turn = JobLock::default();
        let first = turn.behind_requests().unwrap();
        assert!(turn.behind_requests().is_none(), "one at a time");
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
            let _next = loop {
                match turn.behind_requests() {
                    Some(next) => break next,
                    None => std::thread::yield_now(),
                }
            };
            assert!(requested.load(Ordering::SeqCst), "the background was let in first");
        });
    }

    #[test]
    fn a_folder_is_free_when_the_last_job_in_it_has_ended() {
        let folder = FolderUse::default();
        assert!(folder.is_free());
        let (one, two) = (folder.begin(), folder.clone().begin());
        drop(one);
        assert!(!folder.is_free());
        drop(two);
        assert!(folder.is_free());
    }
}
