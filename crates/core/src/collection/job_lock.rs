//! Mutual exclusion of the jobs of one collection; requests go before background threads. A background thread never
//! waits for the lock: it serves another collection meanwhile.

use crate::api::{CancellationToken, Error};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, TryLockError, sleep};
use std::time::Duration;

/// Retry interval of a request that waits for a job.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// A lock for one kind of job in one collection.
#[derive(Default)]
pub(crate) struct JobLock {
    one: Mutex<()>,
    /// Number of waiting requests.
    waiting_requests: AtomicU32,
}

impl JobLock {
    /// Tries to lock for a background thread. `None` while a request holds the lock or waits for it.
    pub(crate) fn behind_requests(&self) -> Option<MutexGuard<'_, ()>> {
        if self.has_waiting_request() {
            return None;
        }
        match self.one.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a request waits for the lock.
    pub(crate) fn has_waiting_request(&self) -> bool {
        self.waiting_requests.load(Ordering::Relaxed) > 0
    }

    /// Locks for a request, after the running job.
    ///
    /// # Errors
    /// As [`CancellationToken::check`], when the request is cancelled.
    pub(crate) fn of_request(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let stop = CancellationToken::current();
        self.waiting_requests.fetch_add(1, Ordering::Relaxed);
        let guard = loop {
            if let Err(error) = stop.check() {
                break Err(error);
            }
            match self.one.try_lock() {
                Ok(guard) => break Ok(guard),
                Err(TryLockError::Poisoned(guard)) => break Ok(guard.into_inner()),
                Err(TryLockError::WouldBlock) => sleep(RETRY_INTERVAL),
            }
        };
        self.waiting_requests.fetch_sub(1, Ordering::Relaxed);
        guard
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
    fn a_request_goes_before_background_jobs() {
        let lock = JobLock::default();
        let first = lock.behind_requests().unwrap();
        assert!(lock.behind_requests().is_none(), "one at a time");
        let requested = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _mine = lock.of_request().unwrap();
                requested.store(true, Ordering::SeqCst);
            });
            while !lock.has_waiting_request() {
                std::thread::yield_now();
            }
            drop(first);
            let _next = loop {
                match lock.behind_requests() {
                    Some(next) => break next,
                    None => std::thread::yield_now(),
                }
            };
            assert!(requested.load(Ordering::SeqCst), "the background job ran first");
        });
    }

    #[test]
    fn a_folder_is_free_once_its_last_job_has_ended() {
        let folder = FolderUse::default();
        assert!(folder.is_free());
        let (one, two) = (folder.begin(), folder.clone().begin());
        drop(one);
        assert!(!folder.is_free());
        drop(two);
        assert!(folder.is_free());
    }
}
