//! How the key-value files (redb) are opened and written: durable commits, repair that stays short, no panic on damage.
//!
//! Measured in `benches/results/2026-11-24-kv-choice/README.md`.

use super::Error;
use crate::disk;
use redb::{Database, StorageBackend, WriteTransaction};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// From this file size on, a commit also stores what redb needs to open at once after a crash (one more sync a
/// commit). Below it, the walk over all pages after a crash takes a few tenths of a second at most.
const QUICK_REPAIR_BYTES: u64 = 192 << 20;

/// An open key-value file.
pub(super) struct Kv {
    path: PathBuf,
    database: Database,
}

impl Kv {
    /// Opens the file, or makes an empty one. `cache` is in bytes. Says whether it was there before.
    pub(super) fn open(path: &Path, cache: usize) -> Result<(Self, bool), Error> {
        let before = disk::file_len(path)?.is_some_and(|length| length > 0);
        let database = guarded(path, || redb::Database::builder().set_cache_size(cache).create(path))?;
        Ok((Self { path: path.into(), database }, before))
    }

    /// The same over any storage: tests crash it.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) fn open_on(path: &Path, storage: impl StorageBackend) -> Result<Self, Error> {
        let database = guarded(path, || redb::Database::builder().create_with_backend(storage))?;
        Ok(Self { path: path.into(), database })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `body` in one transaction: durable when this returns, or nothing changed. Blocks while another writes.
    /// After a failed commit redb refuses all further writes until the file is opened anew.
    pub(super) fn write<T>(&self, body: impl FnOnce(&WriteTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let mut transaction = self.database.begin_write().map_err(self.failed("begin a write"))?;
        if disk::file_len(&self.path)?.is_some_and(|length| length >= QUICK_REPAIR_BYTES) {
            transaction.set_quick_repair(true);
        }
        match body(&transaction) {
            Ok(done) => {
                transaction.commit().map_err(self.failed("commit"))?;
                Ok(done)
            }
            Err(error) => {
                transaction.abort().map_err(self.failed("take back a write"))?;
                Err(error)
            }
        }
    }

    /// A view of the last commit.
    pub(super) fn read(&self) -> Result<redb::ReadTransaction, Error> {
        use redb::ReadableDatabase;
        self.database.begin_read().map_err(self.failed("begin a read"))
    }

    /// For `map_err`: this file, and what was tried.
    pub(super) fn failed<E: Into<redb::Error>>(&self, action: &'static str) -> impl Fn(E) -> Error {
        move |source| Error::database(&self.path, action, source)
    }
}

/// redb may panic while it opens a damaged file; that is an error here.
fn guarded(path: &Path, open: impl FnOnce() -> Result<Database, redb::DatabaseError>) -> Result<Database, Error> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| Error::database(path, "open", error)),
        Err(_) => Err(Error::corrupt(path, "the key-value library gave up on its content")),
    }
}
