//! The lock-free counters behind an [`Activity`].

use super::job_memory::JobMemory;
use crate::api::{Activity, BOUNDS_MICROS, Clock, Durations, Scrub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counters behind an [`Activity`], the memory budget of jobs and the clock; shared by all collections of an engine.
#[derive(Default)]
pub(crate) struct Meters {
    commits: [AtomicU64; BOUNDS_MICROS.len() + 1],
    commit_micros: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) graphs: AtomicU64,
    pub(crate) calibrations: AtomicU64,
    pub(crate) memory: JobMemory,
    pub(crate) clock: Clock,
    pub(crate) scrubbed: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) scrub_passes: AtomicU64,
    pub(crate) scrub_last_pass: AtomicU64,
    pub(crate) scrub_position: AtomicU64,
    pub(crate) scrub_total: AtomicU64,
}

impl Meters {
    /// Creates meters with the given memory budget.
    #[cfg(test)]
    pub(crate) fn of(memory: JobMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    pub(crate) fn committed(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.commits[bucket].fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn activity(&self) -> Activity {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Activity {
            commits: Durations {
                counts: std::array::from_fn(|bucket| read(&self.commits[bucket])),
                sum: Duration::from_micros(read(&self.commit_micros)),
            },
            flushes: read(&self.flushes),
            merges: read(&self.merges),
            graphs: read(&self.graphs),
            calibrations: read(&self.calibrations),
            jobs_refused: self.memory.refused(),
            job_memory_reserved: self.memory.reserved(),
            job_memory_capacity: self.memory.capacity(),
            orphans: 0,
            open_collections: 0,
            scrub: Scrub {
                bytes: read(&self.scrubbed),
                damaged_blocks: read(&self.damaged),
                passes: read(&self.scrub_passes),
                last_pass: read(&self.scrub_last_pass),
                position: read(&self.scrub_position),
                total: read(&self.scrub_total),
            },
        }
    }
}

/// Increments a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let meters = Meters::default();
        for micros in [0, 100, 101, 2_500_000, 2_500_001] {
            meters.committed(Duration::from_micros(micros));
        }
        let commits = meters.activity().commits;
        assert_eq!(commits.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(commits.sum, Duration::from_micros(5_000_202));
    }
}
