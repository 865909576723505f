//! The memory budget of background jobs: merges, graph builds and recall measurements.
//!
//! Before a job starts, it reserves its maximum memory. Jobs that do not fit beside the running ones wait in FIFO
//! order. A job that does not fit even alone is refused; its caller shrinks or postpones it. This keeps deferrable jobs
//! from getting the process killed.

use crate::disk::{self, MemoryStatus};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, sleep};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

/// Jobs together use 1 / `SHARE` of the memory limit, unless the operator configures a number.
const SHARE: u64 = 2;
/// No job uses the last 1 / `RESERVE` of the memory limit, kept for requests and growing segments.
const RESERVE: u64 = 8;
/// Vectors and payloads of one growing segment use 1 / `GROWING_SHARE` of the memory limit.
const GROWING_SHARE: u64 = 32;
/// Minimum and maximum of that size, bytes.
const GROWING_BYTES: (u64, u64) = (4 << 20, 128 << 20);
/// Jobs up to this size, bytes, run even if memory is short; otherwise small segments would accumulate.
pub(super) const MIN_CAPACITY: u64 = 1 << 20;
/// Interval of checks for free memory.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the memory status of the machine.
type Probe = Box<dyn Fn() -> Option<MemoryStatus> + Send + Sync>;

/// A memory budget shared by all collections of an engine.
pub(crate) struct JobMemory {
    /// Bytes set by the operator; 0 for a share of the limit.
    configured: AtomicU64,
    probe: Probe,
    state: Mutex<State>,
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    reserved: u64,
    next_ticket: u64,
    /// Tickets of the waiting jobs, in FIFO order.
    waiting: VecDeque<u64>,
}

/// Memory reserved by a running job; released on drop.
pub(crate) struct Reserved<'m> {
    memory: &'m JobMemory,
    bytes: u64,
}

/// Reason why a job may not start.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// The caller cancelled while the job waited.
    Cancelled,
    /// The job needs more than the capacity, even alone.
    TooLittle {
        /// Bytes that all jobs together may use now.
        capacity: u64,
    },
}

impl Default for JobMemory {
    fn default() -> Self {
        Self::of(Box::new(disk::memory_status))
    }
}

impl JobMemory {
    fn of(probe: Probe) -> Self {
        Self { configured: AtomicU64::new(0), probe, state: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Sets the total bytes of all jobs; 0 for a share of the memory limit.
    pub(crate) fn configure(&self, bytes: u64) {
        self.configured.store(bytes, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the configured or default total, and the free memory without the reserve.
    fn bounds(&self) -> (u64, u64) {
        let status = (self.probe)();
        let configured = self.configured.load(Ordering::Relaxed);
        let share = match (configured, status) {
            (0, None) => u64::MAX,
            (0, Some(status)) => status.limit / SHARE,
            (bytes, _) => bytes,
        };
        let free = status.map_or(u64::MAX, |status| status.available.saturating_sub(status.limit / RESERVE));
        (share.max(MIN_CAPACITY), free.max(MIN_CAPACITY))
    }

    /// Returns the bytes that one job could use if it ran alone.
    pub(crate) fn capacity(&self) -> u64 {
        let reserved = self.reserved();
        let (share, free) = self.bounds();
        // The running jobs use at most what they have reserved.
        share.min(free.saturating_add(reserved))
    }

    /// Returns the bytes reserved by running jobs.
    pub(crate) fn reserved(&self) -> u64 {
        self.state().reserved
    }

    /// Returns the number of refused jobs.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns whether memory is so short that the reserve is in use.
    pub(crate) fn is_short(&self) -> bool {
        self.bounds().1 <= MIN_CAPACITY
    }

    /// Returns the size of vectors and payloads at which a growing segment is sealed, bytes.
    pub(crate) fn flush_bytes(&self) -> usize {
        let (min, max) = GROWING_BYTES;
        let bytes = (self.probe)().map_or(max, |status| (status.limit / GROWING_SHARE).clamp(min, max));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Reserves `max` bytes once the job is first in the queue and they are free. If no other job runs, reserves what
    /// is available, but at least `min`. Calls `go_on` while waiting, and stops if it returns false.
    pub(crate) fn reserve(&self, min: u64, max: u64, go_on: &dyn Fn() -> bool) -> Result<Reserved<'_>, Refused> {
        let ticket = {
            let mut state = self.state();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push_back(ticket);
            ticket
        };
        let leave = |state: &mut State| state.waiting.retain(|&other| other != ticket);
        loop {
            {
                let mut state = self.state();
                if state.waiting.front() == Some(&ticket) {
                    let (share, free) = self.bounds();
                    let (capacity, alone) = (share.min(free), state.reserved == 0);
                    let bytes = if alone { max.min(capacity) } else { max };
                    if bytes >= min && state.reserved.saturating_add(bytes) <= capacity {
                        leave(&mut state);
                        state.reserved += bytes;
                        return Ok(Reserved { memory: self, bytes });
                    }
                    if alone || min > share {
                        leave(&mut state);
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        return Err(Refused::TooLittle { capacity });
                    }
                }
            }
            if !go_on() {
                leave(&mut self.state());
                return Err(Refused::Cancelled);
            }
            sleep(RETRY_INTERVAL);
        }
    }
}

impl Reserved<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.reserved = state.reserved.saturating_sub(self.bytes);
    }
}

/// Describes the shortage and its remedy.
pub(crate) fn too_little(what: &str, needed: u64, capacity: u64) -> String {
    const MIB: u64 = 1 << 20;
    format!(
        "{what} needs {} MiB of memory and background jobs may use {} MiB now; raise --background-memory, or the memory limit of the server",
        needed.div_ceil(MIB),
        capacity / MIB
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    const MIB: u64 = 1 << 20;

    /// Returns a budget for a machine with this limit and available memory.
    pub(crate) fn memory_of(limit: u64, available: &Arc<AtomicU64>) -> JobMemory {
        let available = available.clone();
        JobMemory::of(Box::new(move || Some(MemoryStatus { limit, available: available.load(Ordering::Relaxed) })))
    }

    const GO_ON: &dyn Fn() -> bool = &|| true;

    #[test]
    fn jobs_use_half_of_the_limit_and_leave_an_eighth_free() {
        let available = Arc::new(AtomicU64::new(800 * MIB));
        let memory = memory_of(800 * MIB, &available);
        assert_eq!(memory.capacity(), 400 * MIB);
        available.store(300 * MIB, Ordering::Relaxed);
        assert_eq!(memory.capacity(), 200 * MIB);
        memory.configure(150 * MIB);
        assert_eq!(memory.capacity(), 150 * MIB);
        available.store(90 * MIB, Ordering::Relaxed);
        assert_eq!((memory.capacity(), memory.is_short()), (MIN_CAPACITY, true));
        assert!(
            memory.reserve(MIN_CAPACITY, MIN_CAPACITY, GO_ON).is_ok()
                && memory.reserve(MIN_CAPACITY + 1, MIN_CAPACITY + 1, GO_ON).is_err()
        );
        assert_eq!(memory.flush_bytes() as u64, 25 * MIB);
        assert_eq!(JobMemory::of(Box::new(|| None)).capacity(), u64::MAX);
    }

    #[test]
    fn a_job_that_exceeds_the_capacity_is_refused_and_counted() {
        let available = Arc::new(AtomicU64::new(800 * MIB));
        let memory = memory_of(800 * MIB, &available);
        let refused = memory.reserve(401 * MIB, 401 * MIB, GO_ON).err();
        assert_eq!(refused, Some(Refused::TooLittle { capacity: 400 * MIB }));
        assert_eq!((memory.refused(), memory.reserved()), (1, 0));
        let all = memory.reserve(400 * MIB, 400 * MIB, GO_ON).unwrap();
        assert_eq!(memory.reserved(), 400 * MIB);
        assert_eq!(memory.reserve(1, 1, &|| false).err(), Some(Refused::Cancelled));
        // A job that can never fit does not wait for the others.
        assert!(matches!(memory.reserve(401 * MIB, 401 * MIB, GO_ON), Err(Refused::TooLittle { .. })));
        drop(all);
        assert!(memory.reserve(400 * MIB, 400 * MIB, &|| false).is_ok());
    }

    #[test]
    fn a_job_alone_takes_the_available_memory_above_its_minimum() {
        let available = Arc::new(AtomicU64::new(300 * MIB));
        let memory = memory_of(800 * MIB, &available);
        let bytes = |min: u64, max: u64| memory.reserve(min, max, &|| false).map(|reserved| reserved.bytes());
        assert_eq!(bytes(50 * MIB, 900 * MIB), Ok(200 * MIB));
        assert_eq!(bytes(50 * MIB, 60 * MIB), Ok(60 * MIB));
        assert_eq!(bytes(201 * MIB, 900 * MIB), Err(Refused::TooLittle { capacity: 200 * MIB }));
        let other = memory.reserve(MIB, MIB, GO_ON).unwrap();
        assert_eq!(bytes(50 * MIB, 900 * MIB), Err(Refused::Cancelled), "it waits until it is alone");
        drop(other);
    }

    #[test]
    fn jobs_start_in_the_order_of_their_requests() {
        let available = Arc::new(AtomicU64::new(800 * MIB));
        let memory = memory_of(800 * MIB, &available);
        let first = memory.reserve(300 * MIB, 300 * MIB, GO_ON).unwrap();
        let (begun, order) = mpsc::channel();
        std::thread::scope(|scope| {
            // The second job would fit beside the first, but the one queued before it goes first.
            for (number, bytes) in [(1, 350 * MIB), (2, 100 * MIB)] {
                let (memory, begun) = (&memory, begun.clone());
                scope.spawn(move || {
                    let _mine = memory.reserve(bytes, bytes, GO_ON).unwrap();
                    begun.send(number).unwrap();
                });
                let requested = std::time::Instant::now();
                while memory.state().waiting.len() < number {
                    assert!(requested.elapsed() < Duration::from_secs(10), "job {number} does not wait");
                    std::thread::yield_now();
                }
            }
            assert!(order.try_recv().is_err());
            drop(first);
        });
        let order: Vec<usize> = order.try_iter().collect();
        assert_eq!((order[0], order.len(), memory.reserved()), (1, 2, 0));
    }
}
