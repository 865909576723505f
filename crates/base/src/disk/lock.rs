//! Exclusive lock on the `LOCK` file of a data directory: one process per directory.
//!
//! The operating system releases the lock when the process ends, for any reason; the existence of the file is
//! irrelevant.

use super::{Error, private_file};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Name of the lock file.
const NAME: &str = "LOCK";

/// Exclusive lock of a data directory, released on drop.
#[derive(Debug)]
pub struct DirLock(#[allow(dead_code)] File); // closing the file releases the lock

impl DirLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process holds the lock, [`Error::Io`].
    pub fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let file = private_file()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| Error::io(&path, "open", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path }),
            Err(TryLockError::Error(source)) => Err(Error::io(&path, "lock", source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ErrorKind;
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy);
        assert!(refused.to_string().contains("LOCK"), "{refused}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
