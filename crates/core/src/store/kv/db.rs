//! Access to the key-value files (redb).
//!
//! A file is verified before use and not modified before the first transaction. Commits are durable. Damage is an
//! error, not a panic. A disk failure ends all writing, unless the disk was only full.
//!
//! Measured in `benches/results/2026-11-24-kv-choice/README.md`.
//!
//! After a failed commit the open file is no longer written to, because its state on disk is unknown. If the disk
//! was full (a write failed, no sync did), the commit has no effect, and the file is reopened when there is room. If a
//! sync failed, the file is not reopened: the page cache may hold pages that are not on disk.

use super::backend::{Cause, KvFile};
use crate::disk::{self, ErrorKind, Fs};
use crate::store::Error;
use redb::{Database, ReadTransaction, WriteTransaction};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// File size from which a commit also stores the state for redb's quick repair, which costs one more sync per commit.
/// Below it, the walk over all pages after a crash takes a few tenths of a second at most.
const QUICK_REPAIR_BYTES: u64 = 192 << 20;
/// Free disk space below which a file that ran out of space is not reopened.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// An open key-value file.
pub(in crate::store) struct Kv {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    cache: usize,
    state: Mutex<State>,
}

enum State {
    Open(Arc<Open>),
    /// The disk was full; the next write reopens the file.
    Full,
    /// Reason for which nothing is written until the collection is reopened.
    Stopped(String),
}

struct Open {
    database: Database,
    cause: Arc<Cause>,
    file: KvFile,
    /// Whether writes to the file are forbidden.
    read_only: bool,
}

impl Kv {
    /// Opens an existing file. `cache` is in bytes.
    ///
    /// # Errors
    /// `Corrupt` for a missing, empty or damaged file: opening reads every page and verifies its checksum.
    pub(in crate::store) fn open(fs: &Arc<dyn Fs>, path: &Path, cache: usize) -> Result<Self, Error> {
        if disk::file_len(path)?.is_none_or(|length| length == 0) {
            return Err(Error::corrupt(path, "missing or empty"));
        }
        let open = Open::new(fs.as_ref(), path, cache, false)?;
        Ok(Self::with(fs, path, cache, open))
    }

    /// Opens an existing file read-only: writes of redb stay in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(in crate::store) fn open_read_only(fs: &Arc<dyn Fs>, path: &Path) -> Result<Self, Error> {
        if disk::file_len(path)?.is_none_or(|length| length == 0) {
            return Err(Error::corrupt(path, "missing or empty"));
        }
        /// redb cache of a short read-only open.
        const CACHE_BYTES: usize = 1 << 20;
        let open = Open::new(fs.as_ref(), path, CACHE_BYTES, true)?;
        Ok(Self::with(fs, path, CACHE_BYTES, open))
    }

    /// Creates an empty file. It is complete and durable before it gets its name, because a partial file cannot be
    /// distinguished from a damaged one.
    pub(in crate::store) fn create(fs: &Arc<dyn Fs>, path: &Path, cache: usize) -> Result<Self, Error> {
        let draft = path.with_extension("redb.tmp");
        let dir = path.parent().unwrap_or(Path::new("."));
        disk::remove_file(fs.as_ref(), &draft)?;
        let created = Open::new(fs.as_ref(), &draft, cache, false)?;
        created.file.write_through().map_err(|source| disk::Error::io(&draft, "write", source))?;
        drop(created);
        let file = open_file(fs.as_ref(), &draft)?;
        file.sync().map_err(|source| disk::Error::io(&draft, "make durable", source))?;
        drop(file);
        fs.rename(&draft, path).map_err(|source| disk::Error::io(path, "rename into place", source))?;
        disk::sync_folder(fs.as_ref(), dir)?;
        let open = Open::new(fs.as_ref(), path, cache, false)?;
        Ok(Self::with(fs, path, cache, open))
    }

    fn with(fs: &Arc<dyn Fs>, path: &Path, cache: usize, open: Open) -> Self {
        Self { fs: fs.clone(), path: path.into(), cache, state: Mutex::new(State::Open(Arc::new(open))) }
    }

    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why writing has stopped, if it has.
    pub(in crate::store) fn stopped(&self) -> Option<String> {
        match &*self.state() {
            State::Stopped(why) => Some(why.clone()),
            State::Open(_) | State::Full => None,
        }
    }

    /// Stops all writing until the file is reopened.
    pub(in crate::store) fn stop(&self, why: &str) {
        tracing::error!(path = %self.path.display(), why, "writing has stopped");
        *self.state() = State::Stopped(why.into());
    }

    /// Closes the file. Later reads and writes fail. The file lock is released when the last running transaction ends.
    pub(in crate::store) fn close(&self) {
        let open = std::mem::replace(&mut *self.state(), State::Stopped("it was closed".into()));
        drop(open);
    }

    fn current(&self) -> Result<Arc<Open>, Error> {
        let mut state = self.state();
        match &*state {
            State::Open(open) => return Ok(open.clone()),
            State::Stopped(why) => return Err(Error::Stopped { path: self.path.clone(), why: why.clone() }),
            State::Full => {}
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if disk::free_bytes(dir)? < MIN_FREE_BYTES {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(disk::Error::io(&self.path, "write", full).into());
        }
        let open = Arc::new(Open::new(self.fs.as_ref(), &self.path, self.cache, false)?);
        tracing::info!(path = %self.path.display(), "reopened after the disk was full");
        *state = State::Open(open.clone());
        Ok(open)
    }

    /// Runs `body` in one transaction. On success it is durable; on error nothing has changed. Blocks while another
    /// write runs. The module docs describe what follows a failure.
    pub(in crate::store) fn write<T>(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let open = self.current()?;
        let result = catch_unwind(AssertUnwindSafe(|| self.transaction(&open, body)))
            .unwrap_or_else(|_| Err(Error::corrupt(&self.path, PANICKED)));
        if let Err(error) = &result {
            self.failed_with(&open, error);
        }
        result
    }

    fn transaction<T>(
        &self,
        open: &Open,
        body: impl FnOnce(&WriteTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !open.read_only {
            open.file.write_through().map_err(|source| disk::Error::io(&self.path, "write", source))?;
        }
        let mut transaction = open.database.begin_write().map_err(self.failed("begin a write"))?;
        if disk::file_len(&self.path)?.is_some_and(|length| length >= QUICK_REPAIR_BYTES) {
            transaction.set_quick_repair(true);
        }
        match body(&transaction) {
            Ok(done) => {
                transaction.commit().map_err(self.failed("commit"))?;
                Ok(done)
            }
            Err(error) => {
                // The first error is more informative than one of the rollback.
                drop(transaction.abort());
                Err(error)
            }
        }
    }

    /// Changes the state if the disk has failed.
    fn failed_with(&self, open: &Arc<Open>, error: &Error) {
        let Some(failure) = open.cause.failure() else { return };
        let mut state = self.state();
        if !matches!(&*state, State::Open(current) if Arc::ptr_eq(current, open)) {
            return;
        }
        if !failure.sync && error.kind() == ErrorKind::Exhausted {
            tracing::warn!(path = %self.path.display(), %error, "the disk is full");
            *state = State::Full;
        } else {
            let why = format!("{error}; nothing is written until it is reopened");
            tracing::error!(path = %self.path.display(), why, "writing has stopped");
            *state = State::Stopped(why);
        }
    }

    /// Runs `body` on the last commit.
    pub(in crate::store) fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        use redb::ReadableDatabase;
        let open = self.current()?;
        let read = || body(&open.database.begin_read().map_err(self.failed("begin a read"))?);
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(Error::corrupt(&self.path, PANICKED)))
    }

    /// Returns a function for `map_err` that adds the path and the failed action.
    pub(in crate::store) fn failed<E: Into<redb::Error>>(&self, action: &'static str) -> impl Fn(E) -> Error {
        move |source| Error::database(&self.path, action, source)
    }
}

const PANICKED: &str = "the key-value library panicked on its content";

impl Open {
    /// Opens the file, reads every page and verifies its checksum, without writing to the file. The state after a crash
    /// is valid: redb returns to the last complete commit.
    ///
    /// redb verifies before it follows any page number. A damaged one names up to 4 GiB, which redb would allocate.
    ///
    /// # Errors
    /// `Corrupt`, `Incompatible`, `Busy` if the file is open elsewhere.
    fn new(fs: &dyn Fs, path: &Path, cache: usize, read_only: bool) -> Result<Self, Error> {
        let cause = Arc::new(Cause::default());
        let file = KvFile::held_back(open_file(fs, path)?, cause.clone())
            .map_err(|source| disk::Error::io(path, "read", source))?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache).set_check_integrity_on_open(true);
        let backend = file.clone();
        match catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend))) {
            Ok(Ok(database)) => Ok(Self { database, cause, file, read_only }),
            Ok(Err(error)) => Err(Error::database(path, "open", error)),
            Err(_) => Err(Error::corrupt(path, PANICKED)),
        }
    }
}

/// Attempts to take a lock, and the pause between two. A child process holds the inherited lock from fork to exec.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

fn open_file(fs: &dyn Fs, path: &Path) -> Result<Box<dyn disk::FsRandom>, Error> {
    for _ in 0..LOCK_TRIES {
        match fs.open(path) {
            Err(source) if source.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(LOCK_PAUSE),
            opened => return opened.map_err(|source| disk::Error::io(path, "open", source).into()),
        }
    }
    Err(disk::Error::Busy { path: path.into() }.into())
}
