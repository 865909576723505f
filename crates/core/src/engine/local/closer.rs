//! The closer: closes idle collections, and opens closed ones with pending jobs, one after another.

use super::Inner;
use super::handle::Handle;
use crate::disk;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Longest interval between two looks for idle collections.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest interval, and the interval while collections with an unknown state are opened.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Pause after each opening, so that requests go first.
const OPEN_PAUSE: Duration = Duration::from_millis(2);
/// Minimum time between two openings of a collection for its pending jobs. They may be postponed for lack of memory.
const PENDING_PAUSE: Duration = Duration::from_secs(60);

impl Inner {
    pub(crate) fn run_closer(&self) {
        // Low priority: queries and writes go first.
        disk::lower_thread_priority();
        let interval = (self.idle_time / 4).clamp(MIN_INTERVAL, MAX_INTERVAL);
        while !self.stopping() {
            let mut closed = 0;
            for handle in self.handles() {
                if self.stopping() {
                    return;
                }
                closed += usize::from(self.close_if_idle(&handle));
                closed += usize::from(self.visit(&handle));
            }
            if closed > 0 {
                disk::trim_malloc();
            }
            // A thread may have used those that an opener tried to close.
            self.close_least_used(self.max_open);
            self.record_closed();
            self.pause(interval);
        }
    }

    /// Opens a closed collection if its state is unknown or it has pending jobs; closes it again if there are none.
    /// Returns whether it was closed again.
    fn visit(&self, handle: &Handle) -> bool {
        if !handle.is_pending() || self.open_names().len() >= self.max_open {
            return false;
        }
        {
            let mut visits = handle.visits.lock().unwrap_or_else(PoisonError::into_inner);
            if visits.pending.is_some_and(|at| at.elapsed() < PENDING_PAUSE) {
                return false;
            }
            visits.pending = Some(Instant::now());
        }
        // An error is in the state of the collection.
        drop(self.open(handle));
        let closed = self.close_if_idle(handle);
        self.pause(OPEN_PAUSE);
        closed
    }
}
