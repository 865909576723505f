//! Progress of long jobs.

/// Progress callback: (job, done, total). Returns false to cancel the job.
pub type Observe<'a> = &'a (dyn Fn(Job, u64, u64) -> bool + Sync);

/// The current phase of a long job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Reading, embedding and writing items.
    Loading,
    /// Embedding points again.
    Embedding,
    /// Copying rows into a merged segment.
    Merging,
    /// Building a graph.
    Indexing,
    /// Measuring a graph's recall.
    Calibrating,
    /// Writing or reading the bytes of a snapshot.
    Copying,
    /// Verifying a snapshot, or the data restored from one.
    Checking,
}
