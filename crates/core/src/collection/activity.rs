//! Lock-free counters of the work done since an engine was opened.

use super::job_memory::JobMemory;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`], microseconds; one more bucket has no bound.
pub const BOUNDS_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// Histogram of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Counts per bucket. A bucket contains the durations above the previous bound, up to and including its own.
    pub counts: [u64; BOUNDS_MICROS.len() + 1],
    /// Sum of all durations.
    pub sum: Duration,
}

/// Work done since an engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Write transactions, from their start to the end of their fsync.
    pub commits: Durations,
    /// Growing segments sealed.
    pub seals: u64,
    /// Merges of segments.
    pub merges: u64,
    /// Graphs built for segments without one.
    pub graphs: u64,
    /// Graphs calibrated.
    pub calibrations: u64,
    /// Background jobs not started for lack of memory; every attempt counts.
    pub jobs_refused: u64,
    /// Bytes of memory reserved by the running background jobs.
    pub job_memory_reserved: u64,
    /// Bytes of memory that all background jobs together may use now.
    pub job_memory_capacity: u64,
    /// Files and folders in `orphans/` of the data directory.
    pub orphans: u64,
    /// Work of the scrubber.
    pub scrub: Scrub,
}

/// Work and progress of the scrubber since the engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes read and verified against their checksums.
    pub bytes: u64,
    /// Damaged blocks of segments, found by the scrubber or by a reader; a segment without blocks and a graph count as
    /// one.
    pub damaged_blocks: u64,
    /// Completed passes over all collections.
    pub passes: u64,
    /// End of the last pass, seconds since 1970; 0 before the first.
    pub last_pass: u64,
    /// Bytes of the current pass that are done.
    pub position: u64,
    /// Total bytes of the current pass, counted when it began.
    pub total: u64,
}

/// The counters behind an [`Activity`], and the memory budget of jobs; shared by all collections of an engine.
#[derive(Default)]
pub(super) struct Meters {
    commits: [AtomicU64; BOUNDS_MICROS.len() + 1],
    commit_micros: AtomicU64,
    pub(super) seals: AtomicU64,
    pub(super) merges: AtomicU64,
    pub(super) graphs: AtomicU64,
    pub(super) calibrations: AtomicU64,
    pub(super) memory: JobMemory,
    pub(super) scrubbed: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) scrub_passes: AtomicU64,
    pub(super) scrub_last_pass: AtomicU64,
    pub(super) scrub_position: AtomicU64,
    pub(super) scrub_total: AtomicU64,
}

impl Meters {
    /// Creates meters with the given memory budget.
    #[cfg(test)]
    pub(super) fn of(memory: JobMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    pub(super) fn committed(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.commits[bucket].fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn activity(&self) -> Activity {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Activity {
            commits: Durations {
                counts: std::array::from_fn(|bucket| read(&self.commits[bucket])),
                sum: Duration::from_micros(read(&self.commit_micros)),
            },
            seals: read(&self.seals),
            merges: read(&self.merges),
            graphs: read(&self.graphs),
            calibrations: read(&self.calibrations),
            jobs_refused: self.memory.refused(),
            job_memory_reserved: self.memory.reserved(),
            job_memory_capacity: self.memory.capacity(),
            orphans: 0,
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
pub(super) fn count(counter: &AtomicU64) {
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
