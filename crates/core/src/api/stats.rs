//! Counters of the work done since an engine was opened.

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
    pub flushes: u64,
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
    /// Collections that are open: used lately, or with background jobs.
    pub open_collections: u64,
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
