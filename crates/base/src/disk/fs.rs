//! Trait for all changes of a data directory: the real file system, and in tests one that fails and loses unsynced
//! writes.
//!
//! The trait is small on purpose: its calls decide whether a crash leaves the old or the new state. It does not cover
//! reading published files, which are mapped.

#[doc(hidden)] // for the tests of the crates above
pub mod crash_fs;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// File system that holds a data directory.
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Creates an empty file, or truncates an existing one.
    ///
    /// # Errors
    /// The operating system's error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Renames a file within its folder, atomically, replacing a file of the new name.
    ///
    /// # Errors
    /// The operating system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file or a folder into another folder of the same file system, atomically.
    ///
    /// # Errors
    /// The operating system's error; [`io::ErrorKind::AlreadyExists`] if `to` exists.
    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates a hard link to a file, in any folder; a copy of the file on file systems without hard links.
    ///
    /// # Errors
    /// The operating system's error; [`io::ErrorKind::AlreadyExists`] if `to` exists.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Syncs a folder, which makes the names in it durable.
    ///
    /// # Errors
    /// The operating system's error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a folder and its missing parents.
    ///
    /// # Errors
    /// The operating system's error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and everything in it.
    ///
    /// # Errors
    /// The operating system's error.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for random access, exclusively; creates an empty one if it is missing.
    ///
    /// # Errors
    /// The operating system's error; [`io::ErrorKind::WouldBlock`] if the file is open elsewhere.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsRandom>>;
}

/// File being written.
pub trait FsFile: Send + Sync {
    /// Appends bytes.
    ///
    /// # Errors
    /// The operating system's error.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites bytes written before.
    ///
    /// # Errors
    /// The operating system's error.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// The operating system's error. The content is then undefined: discard the file.
    fn sync(&mut self) -> io::Result<()>;
}

/// File with random access.
pub trait FsRandom: Send + Sync + std::fmt::Debug {
    /// Returns the length in bytes.
    ///
    /// # Errors
    /// The operating system's error.
    fn len(&self) -> io::Result<u64>;
    /// Returns whether the file is empty.
    ///
    /// # Errors
    /// The operating system's error.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// The operating system's error; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Truncates the file, or extends it with zeros.
    ///
    /// # Errors
    /// The operating system's error.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The operating system's error.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// The operating system's error. The content on the disk is then undefined.
    fn sync(&self) -> io::Result<()>;
    /// Releases the lock, so that others can open the file. No reads or writes may follow.
    ///
    /// # Errors
    /// The operating system's error.
    fn release(&self) -> io::Result<()>;
}

/// Returns open options that create files with mode 0600, accessible to their owner only.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Creates a folder and its missing parents, with mode 0700. An existing folder is no error.
///
/// # Errors
/// The operating system's error.
pub fn create_private_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// Returns a shared [`RealFs`].
pub fn real_fs() -> Arc<dyn Fs> {
    Arc::new(RealFs)
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(private_file().write(true).create(true).truncate(true).open(path)?))
    }

    #[allow(clippy::disallowed_methods)] // the only rename; all other code publishes
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[allow(clippy::disallowed_methods)] // the callers sync both folders
    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        // No race: only the process that holds the directory's lock creates names in it.
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match std::fs::hard_link(from, to) {
            Err(error) if is_unsupported_link(&error) => {
                let mut copy = private_file().write(true).create_new(true).open(to)?;
                io::copy(&mut File::open(from)?, &mut copy)?;
                copy.sync_all()
            }
            result => result,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_private_dirs(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsRandom>> {
        let file = private_file().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether the file system does not support hard links at all, or not between these folders.
fn is_unsupported_link(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

impl FsRandom for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn release(&self) -> io::Result<()> {
        self.unlock()
    }
}

impl FsFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.write_all(bytes)?;
        self.seek(SeekFrom::End(0)).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
