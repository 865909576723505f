//! The commit queue of a collection: group commit.
//!
//! Writers queue their request and take the commit lock in turn. The holder commits the whole queue in one durable
//! transaction (one fsync for many writers), applies it to memory, and stores every writer's result. The others find
//! theirs when they get the lock.

use super::commit::WriteResult;
use super::plan::WriteRequest;
use super::state::Collection;
use super::view::View;
use crate::api::{CancellationToken, Error};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Maximum full growing segments before writers wait for a flush.
const MAX_UNFLUSHED: usize = 2;
/// Timeout of writers that wait for a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Lock-free read attempts before taking the commit lock.
pub(crate) const LOCK_FREE_READS: u32 = 3;

struct Pending {
    request: Mutex<Option<WriteRequest>>,
    result: Mutex<Option<Result<WriteResult, Error>>>,
}

/// The write path of a collection.
pub(crate) struct CommitQueue {
    queue: Mutex<Vec<Arc<Pending>>>,
    commit: Mutex<CommitState>,
    sequence: AtomicU64,
    /// Sequence lock: odd while a commit changes memory (Lameter 2005, "Effective Synchronization on Linux/NUMA
    /// Systems": seqlocks).
    changes: AtomicU64,
    /// Notified, under the commit lock, when a flush ended or failed.
    flush_done: Condvar,
}

/// State under the commit lock: the next numbers. The lock also covers every change of the view.
pub(crate) struct CommitState {
    pub(super) next_key: u64,
    /// Error of the last flush; `None` if it succeeded.
    flush_error: Option<Arc<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values under these locks are replaced whole, never left half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CommitQueue {
    pub(crate) fn new(sequence: u64, next_key: u64) -> Self {
        Self {
            queue: Mutex::default(),
            commit: Mutex::new(CommitState { next_key, flush_error: None }),
            sequence: AtomicU64::new(sequence),
            changes: AtomicU64::new(0),
            flush_done: Condvar::new(),
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Locks out all writers: the holder may change database and view.
    pub(crate) fn lock(&self) -> MutexGuard<'_, CommitState> {
        lock(&self.commit)
    }

    /// Returns the number for [`changed_since`](Self::changed_since).
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether a commit has changed memory since `before`, or is doing so.
    pub(crate) fn changed_since(&self, before: u64) -> bool {
        fence(Ordering::Acquire);
        !before.is_multiple_of(2) || before != self.changes.load(Ordering::Relaxed)
    }

    /// Changes memory: adds new versions and deletes old ones. Under the commit lock.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let done = change();
        self.changes.fetch_add(1, Ordering::Release);
        done
    }

    /// Sets the sequence number. Under the commit lock.
    pub(crate) fn set_sequence(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Release);
    }

    /// Ends a flush and wakes the waiting writers, with the error if it failed. Takes the commit lock, so that no
    /// writer misses it between its check and its wait.
    pub(crate) fn flush_ended(&self, failed: Option<Arc<Error>>) {
        self.lock().flush_error = failed;
        self.flush_done.notify_all();
    }

    /// Wakes the writers that wait for a flush. Under the commit lock.
    pub(crate) fn wake(&self) {
        self.flush_done.notify_all();
    }
}

impl Collection {
    /// Executes one write, durable and visible on return. Waits while too many full segments are not flushed yet.
    pub(crate) fn write(&self, request: WriteRequest) -> Result<WriteResult, Error> {
        let pending = Arc::new(Pending { request: Mutex::new(Some(request)), result: Mutex::new(None) });
        lock(&self.commit_queue.queue).push(pending.clone());
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut state = self.commit_queue.lock();
        loop {
            if let Some(result) = lock(&pending.result).take() {
                return result;
            }
            if self.is_removed() || self.view().unflushed.len() < MAX_UNFLUSHED {
                break;
            }
            if let Some(error) = state.flush_error.clone() {
                lock(&self.commit_queue.queue).retain(|other| !Arc::ptr_eq(other, &pending));
                return Err(Error::Flush(error));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                lock(&self.commit_queue.queue).retain(|other| !Arc::ptr_eq(other, &pending));
                return Err(Error::Unavailable(format!(
                    "nothing was written: {MAX_UNFLUSHED} segments of {:?} have waited to be flushed for {} s; see the server's log",
                    self.name().as_str(),
                    FLUSH_TIMEOUT.as_secs()
                )));
            }
            state = self.commit_queue.flush_done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let batch = std::mem::take(&mut *lock(&self.commit_queue.queue));
        let requests: Vec<WriteRequest> = batch.iter().filter_map(|pending| lock(&pending.request).take()).collect();
        // The commit serves all writers: it is not cancelled when its own client disconnects. Only the reads of one
        // request, before its changes, are.
        let (results, removed) = CancellationToken::default().run(|| self.commit(&mut state, requests));
        for (pending, result) in batch.iter().zip(results) {
            *lock(&pending.result) = Some(result);
        }
        if self.view().growing.is_full(self.settings.seal_rows, self.flush_bytes) {
            self.rotate_growing(&state)?;
        }
        drop(state);
        if !removed.is_empty()
            && let Ok(_folder) = self.use_folder()
        {
            self.remove_files(&removed);
        }
        let result = lock(&pending.result).take();
        result.unwrap_or_else(|| Err(Error::Unavailable("the write was not executed".into())))
    }

    /// Runs `read` without concurrent changes of the view or its rows: it sees exactly one version of a point that is
    /// being replaced.
    pub(crate) fn steady<T>(&self, read: impl Fn(&Arc<View>) -> T) -> T {
        for _ in 0..LOCK_FREE_READS {
            let before = self.commit_queue.changes();
            let found = read(&self.view());
            if !self.commit_queue.changed_since(before) {
                return found;
            }
        }
        let _held = self.commit_queue.lock();
        read(&self.view())
    }

    /// Replaces the growing segment with an empty one, unless it is empty; the full one waits to be flushed. The guard
    /// proves that the commit lock is held.
    pub(crate) fn rotate_growing(&self, _held: &MutexGuard<'_, CommitState>) -> Result<(), Error> {
        if self.view().growing.rows_held() == 0 {
            return Ok(());
        }
        let fresh = Arc::new(self.new_growing()?);
        self.change_view(|view| {
            view.additions += 1;
            view.growing.rotated_at.get_or_init(Instant::now);
            view.unflushed.push(std::mem::replace(&mut view.growing, fresh));
        });
        Ok(())
    }
}
