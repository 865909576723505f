//! What changes a data directory, as a trait: the real file system, and in tests one that fails and loses what was not synced.
//!
//! Small on purpose: what goes through it decides whether a crash leaves the old or the new state. Reading published
//! files is not part of it, because they are mapped.

#[doc(hidden)] // for the tests of the crates above
pub mod double;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// A file system to publish files in.
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Makes an empty file, or empties the one that is there.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Gives a file another name in the same folder, in one step, replacing a file of that name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file or a folder into another folder of the same file system, in one step.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::AlreadyExists`] when `to` exists.
    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, in any folder; a second file with its bytes where file systems know no such names.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::AlreadyExists`] when there is a file of that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and everything in it.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file that is read and written anywhere, for this holder alone; makes an empty one where there is none.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::WouldBlock`] when it is open elsewhere.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsRandom>>;
}

/// A file that is being written.
pub trait FsFile: Send + Sync {
    /// Writes at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites bytes that were written before.
    ///
    /// # Errors
    /// What the operating system says.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the operating system says. The content is then unknown: throw the file away.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read and written anywhere.
pub trait FsRandom: Send + Sync + std::fmt::Debug {
    /// Its bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads all of `out` from `offset` on.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Cuts it, or lengthens it by zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the operating system says. What is on the disk is then unknown.
    fn sync(&self) -> io::Result<()>;
    /// Lets others open it; nothing is read or written afterwards.
    ///
    /// # Errors
    /// What the operating system says.
    fn release(&self) -> io::Result<()>;
}

/// Options for files that only their owner may read and write: mode 0600 where one is created.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Creates a folder and those above it that are missing, with mode 0700. An existing one is no error.
///
/// # Errors
/// What the operating system says.
pub fn create_private_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// [`RealFs`] to share.
pub fn real_fs() -> Arc<dyn Fs> {
    Arc::new(RealFs)
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(private_file().write(true).create(true).truncate(true).open(path)?))
    }

    #[allow(clippy::disallowed_methods)] // the one place that renames; everyone else publishes
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[allow(clippy::disallowed_methods)] // its callers sync both folders
    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The holder of the directory's lock is the only one that creates names in it.
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match std::fs::hard_link(from, to) {
            Err(error) if is_no_place_for_links(&error) => {
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

/// Whether a file system refuses second names as such, or between its parts.
fn is_no_place_for_links(error: &io::Error) -> bool {
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
