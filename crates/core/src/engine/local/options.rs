//! Options for opening a database.

use super::Database;
use crate::api::{Clock, Error};
use crate::collection::meters::Meters;
use crate::disk::{self, Fs};
use crate::embed::Registry;
use crate::snapshot_store::SnapshotStore;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Default time without a call after which a collection closes.
const DEFAULT_IDLE_TIME: Duration = Duration::from_secs(600);
/// Default number of open collections above which idle ones close.
const DEFAULT_MAX_OPEN: usize = 1_024;

/// Settings of the background threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineSettings {
    pub(super) scrub_rate: u64,
    pub(super) idle_time: Duration,
    pub(super) max_open: usize,
}

/// Options for opening a [`Database`], as [`std::fs::OpenOptions`] has them for a file.
///
/// ```
/// use nearness_core::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// // The embedders in the library, and at most 1 GiB for merges and graph builds.
/// let registry = Registry::with_defaults()?;
/// let database = Database::options().embedders(registry).job_memory(1 << 30).open(path)?;
/// assert!(database.collections()?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use]
pub struct OpenOptions {
    embedders: Registry,
    job_memory: Option<u64>,
    scrub_rate: u64,
    idle_time: Option<Duration>,
    max_open: Option<usize>,
    file_system: Option<Arc<dyn Fs>>,
    snapshots: Option<SnapshotStore>,
    clock: Clock,
}

impl OpenOptions {
    /// Sets the embedders. The models installed in the data directory are added to them. The default is none: vectors
    /// only.
    pub fn embedders(mut self, registry: Registry) -> Self {
        self.embedders = registry;
        self
    }

    /// Limits the memory that background jobs (merges, graph builds and recall measurements) use together, bytes. The
    /// default is half of the process's memory limit.
    pub fn job_memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.job_memory = bytes.into();
        self
    }

    /// Sets the rate at which stored bytes are verified in the background, bytes per second; 0, the default, disables
    /// it.
    pub fn scrub_rate(mut self, bytes_per_second: u64) -> Self {
        self.scrub_rate = bytes_per_second;
        self
    }

    /// Sets the time without a call after which a collection closes, to be opened again by the next call; the default is
    /// 10 minutes.
    pub fn idle_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.idle_time = time.into();
        self
    }

    /// Sets the number of open collections from which the least recently used ones close, except those in use; at least
    /// 1. The default is 1,024.
    pub fn max_open_collections(mut self, number: impl Into<Option<usize>>) -> Self {
        self.max_open = number.into();
        self
    }

    /// Sets the store for snapshots. Without one, [`Snapshots`](crate::engine::Snapshots) return
    /// [`Error::NoSnapshotStore`].
    pub fn snapshots(mut self, store: impl Into<Option<SnapshotStore>>) -> Self {
        self.snapshots = store.into();
        self
    }

    /// Sets the clock that the expiry of points reads; the default is that of the operating system.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the file system; the default is that of the operating system.
    pub fn file_system(mut self, fs: &Arc<dyn Fs>) -> Self {
        self.file_system = Some(fs.clone());
        self
    }

    /// Opens or creates the data directory and locks it. Opens no collection: each opens on first use, and its vectors and
    /// graphs are then memory-mapped, not read.
    ///
    /// # Errors
    /// `Unavailable` if another process has the directory open; `Corrupt` or `Internal` if its catalogue cannot be
    /// read. A damaged collection does not affect the others: its operations return `Corrupt`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database, Error> {
        let mut meters = Meters::default();
        meters.clock = self.clock;
        meters.memory.configure(self.job_memory.unwrap_or(0));
        let fs = self.file_system.unwrap_or_else(disk::real_fs);
        let settings = EngineSettings {
            scrub_rate: self.scrub_rate,
            idle_time: self.idle_time.unwrap_or(DEFAULT_IDLE_TIME),
            max_open: self.max_open.unwrap_or(DEFAULT_MAX_OPEN).max(1),
        };
        Database::start(&fs, path.as_ref(), self.embedders, Arc::new(meters), self.snapshots, settings)
    }
}
