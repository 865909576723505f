//! What an engine has done since it was opened, counted without locks.

use super::job_memory::JobMemory;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`], microseconds; one more bucket has no bound.
pub const BOUNDS_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// How long something took, each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How often, by bucket: those above the bound before and not above its own.
    pub counts: [u64; BOUNDS_MICROS.len() + 1],
    /// All together.
    pub sum: Duration,
}

/// What an engine has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Transactions of writers, from their begin to the end of their fsync.
    pub commits: Durations,
    /// Growing segments that were sealed.
    pub seals: u64,
    /// Merges of segments.
    pub merges: u64,
    /// Graphs that were built for segments that had none.
    pub graphs: u64,
    /// Graphs whose recall was measured.
    pub calibrations: u64,
    /// Background jobs that did not begin for want of memory. Each try counts.
    pub jobs_refused: u64,
    /// Bytes of memory that the background jobs at work have reserved.
    pub job_memory_reserved: u64,
    /// Bytes of memory that all of them together may use now.
    pub job_memory_capacity: u64,
    /// Files and folders in `orphans/` of the data directory.
    pub orphans: u64,
    /// What the scrubber has done.
    pub scrub: Scrub,
}

/// What the scrubber has done since the engine was opened, and where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes read and compared with their checksums.
    pub bytes: u64,
    /// Damaged blocks of segments found, by it or by a reader; a segment without blocks and a graph count as one.
    pub damaged_blocks: u64,
    /// Passes over all collections completed.
    pub passes: u64,
    /// When the last one ended, seconds since 1970; 0 before the first has.
    pub last_pass: u64,
    /// Bytes of the present pass that are done.
    pub position: u64,
    /// Bytes of the present pass, as counted when it began.
    pub total: u64,
}

/// The counters behind an [`Activity`], and the memory budget of jobs; one for all collections of an engine.
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
    /// With that budget.
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

/// Counts one.
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
