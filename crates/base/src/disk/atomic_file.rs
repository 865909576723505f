//! Atomic file creation: write under a temporary name, sync, rename.
//!
//! A crash or an error at any step leaves the old state plus at most an unreferenced `*.tmp` file, which the
//! next start removes. An error after the rename (the folder's sync) leaves the complete new file.

use super::{Error, Fs, private_file};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the write buffer, bytes.
const BUFFER: usize = 1 << 20;

/// Counter that makes the temporary file names of a process unique.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes the file `dir/name` atomically: it appears complete and durable, or not at all.
///
/// # Errors
/// Errors of `write`, or [`Error::Io`]; the temporary file is then removed.
pub fn publish<E: From<Error>>(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut FileWriter) -> Result<(), E>,
) -> Result<(), E> {
    let mut atomic_file = AtomicFile::create(fs.clone(), dir, name)?;
    write(atomic_file.writer())?;
    Ok(atomic_file.publish()?)
}

/// Unpublished file, for writers that live longer than one call; see [`publish`]. Dropping it removes the file.
pub struct AtomicFile {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    target: PathBuf,
    writer: FileWriter,
    renamed: bool,
}

impl AtomicFile {
    /// Creates the temporary file of `dir/name`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(fs: Arc<dyn Fs>, dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(format!("{name}.{}.tmp", NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed)));
        let file = fs.create(&path).map_err(|source| Error::io(&path, "create", source))?;
        let writer = FileWriter {
            path,
            file,
            buffer: Vec::with_capacity(BUFFER),
            position: 0,
            section: 0,
            hasher: crc32fast::Hasher::new(),
        };
        Ok(Self { fs, dir: dir.into(), target: dir.join(name), writer, renamed: false })
    }

    /// Returns the writer of the content.
    pub fn writer(&mut self) -> &mut FileWriter {
        &mut self.writer
    }

    /// Syncs the file and renames it to its final name.
    ///
    /// # Errors
    /// [`Error::Io`]: the file was not published, unless only the folder's sync failed.
    pub fn publish(mut self) -> Result<(), Error> {
        self.writer.flush_buffer().map_err(|source| Error::io(&self.target, "write", source))?;
        self.writer.file.sync().map_err(|source| Error::io(&self.target, "sync", source))?;
        self.fs
            .rename(&self.writer.path, &self.target)
            .map_err(|source| Error::io(&self.target, "rename into place", source))?;
        self.renamed = true;
        self.fs.sync_dir(&self.dir).map_err(|source| Error::io(&self.dir, "sync the folder", source))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: the next start removes a remaining file.
            let _ = self.fs.remove(&self.writer.path);
        }
    }
}

/// Position of a section in its file, and the CRC-32 of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionMark {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32 (IEEE) of the bytes.
    pub crc: u32,
}

/// Sequential file writer that counts bytes and hashes the current section.
pub struct FileWriter {
    path: PathBuf,
    file: Box<dyn super::FsFile>,
    buffer: Vec<u8>,
    position: u64,
    section: u64,
    hasher: crc32fast::Hasher,
}

impl FileWriter {
    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the path of the temporary file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all(bytes).map_err(|source| Error::io(&self.path, "write", source))
    }

    /// Writes zeros up to the next multiple of `alignment` (not 0).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pad_to(&mut self, alignment: u64) -> Result<(), Error> {
        const ZEROS: [u8; 256] = [0; 256];
        let mut missing = self.position.next_multiple_of(alignment) - self.position;
        while missing > 0 {
            let step = missing.min(ZEROS.len() as u64);
            self.put(&ZEROS[..step as usize])?;
            missing -= step;
        }
        Ok(())
    }

    /// Pads to `alignment` and starts a section with a new checksum. Returns the offset of the section.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start_section(&mut self, alignment: u64) -> Result<u64, Error> {
        self.pad_to(alignment)?;
        self.section = self.position;
        self.hasher = crc32fast::Hasher::new();
        Ok(self.section)
    }

    /// Returns offset, length and checksum of the bytes since [`start_section`](Self::start_section).
    pub fn section(&self) -> SectionMark {
        SectionMark { offset: self.section, length: self.position - self.section, crc: self.crc() }
    }

    /// Returns the CRC-32 of the current section so far.
    pub fn crc(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    /// Overwrites bytes written before, for example a header known only at the end. Does not update checksums.
    ///
    /// # Errors
    /// [`Error::Io`], also if the range was not written before.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let inside = offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.position);
        let patched = if inside {
            self.flush_buffer().and_then(|()| self.file.overwrite(offset, bytes))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a patch beyond the end"))
        };
        patched.map_err(|source| Error::io(&self.path, "write", source))
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush_buffer()?;
        }
        if bytes.len() >= BUFFER {
            self.file.append(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.hasher.update(bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_buffer()
    }
}

/// Temporary file for bytes to copy into another file later. Never published; removed on drop.
pub struct SpillFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    length: u64,
}

impl SpillFile {
    /// Creates `dir/<name>.<n>.tmp`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(format!("{name}.{}.tmp", NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed)));
        let file = private_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|source| Error::io(&path, "create", source))?;
        Ok(Self { path, file, buffer: Vec::new(), length: 0 })
    }

    /// Returns the bytes put so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether nothing was put.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Copies the content into `writer`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn copy_into(mut self, writer: &mut FileWriter) -> Result<(), Error> {
        self.read_back(BUFFER, |chunk| writer.put(chunk).map(|()| true)).map(|_| ())
    }

    /// Passes the content to `take` in pieces of `piece` bytes (the last may be shorter) until it returns false.
    /// Returns whether `take` accepted every piece. Do not put more bytes afterwards.
    ///
    /// # Errors
    /// [`Error::Io`], or the error of `take`.
    pub fn read_back<E: From<Error>>(
        &mut self,
        piece: usize,
        mut take: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let piece = piece.max(1);
        self.flush()?;
        let mut chunk = vec![0; (BUFFER / piece).max(1) * piece];
        self.file.seek(SeekFrom::Start(0)).map_err(|source| Error::io(&self.path, "read", source))?;
        let mut left = self.length;
        while left > 0 {
            let step = left.min(chunk.len() as u64) as usize;
            self.file.read_exact(&mut chunk[..step]).map_err(|source| Error::io(&self.path, "read", source))?;
            for piece in chunk[..step].chunks(piece) {
                if !take(piece)? {
                    return Ok(false);
                }
            }
            left -= step as u64;
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.buffer).map_err(|source| Error::io(&self.path, "write", source))?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // Best effort: the next start removes a remaining file.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::crash_fs::{CrashFs, Plan, Unsynced};
    use super::super::{ErrorKind, list_files, real_fs};
    use super::*;

    fn write(fs: &CrashFs, dir: &Path, content: &[u8]) -> Result<(), Error> {
        let mut atomic_file = AtomicFile::create(Arc::new(fs.clone()), dir, "file")?;
        atomic_file.writer().put(&content[..1])?;
        atomic_file.writer().put(&content[1..])?;
        atomic_file.writer().patch(0, &content[..1])?;
        atomic_file.publish()
    }

    #[test]
    fn a_crash_at_any_moment_leaves_the_old_or_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let fs = CrashFs::new(dir.path(), Plan::Nothing);
        write(&fs, dir.path(), b"old").unwrap();
        let old = fs.now();
        write(&fs, dir.path(), b"newer").unwrap();
        assert_eq!(fs.syncs(), 4, "each time the file's and the folder's");
        for moment in old..=fs.now() {
            for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..9).map(Unsynced::Torn)) {
                let image = tempfile::tempdir().unwrap();
                fs.image(moment, unsynced, image.path());
                let found = std::fs::read(image.path().join("file")).unwrap();
                let acknowledged = moment == fs.now();
                assert!(
                    found == b"newer" || (found == b"old" && !acknowledged),
                    "crash at {moment}, {unsynced:?}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_failed_sync_or_a_full_disk_is_an_error_and_leaves_no_new_file() {
        for (plan, kind) in [(Plan::FailSync(0), ErrorKind::Internal), (Plan::FullAfter(4), ErrorKind::Exhausted)] {
            let dir = tempfile::tempdir().unwrap();
            let fs = CrashFs::new(dir.path(), Plan::Nothing);
            write(&fs, dir.path(), b"old").unwrap();
            fs.restart(plan);
            let error = write(&fs, dir.path(), b"newer").unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("file"), "{error}");
            assert_eq!(list_files(dir.path()).unwrap(), ["file"], "{plan:?}");
            let image = tempfile::tempdir().unwrap();
            fs.image(fs.now(), Unsynced::Kept, image.path());
            assert_eq!(std::fs::read(image.path().join("file")).unwrap(), b"old");
        }
    }

    #[test]
    fn the_real_file_system_publishes_sections_and_removes_temporary_files() {
        let dir = tempfile::tempdir().unwrap();
        publish::<Error>(&real_fs(), dir.path(), "a", |writer| {
            writer.put(b"head")?;
            assert_eq!(writer.start_section(64)?, 64);
            writer.put(&[7; 3 << 20])?;
            let mark = writer.section();
            assert_eq!(mark, SectionMark { offset: 64, length: 3 << 20, crc: crc32fast::hash(&vec![7; 3 << 20]) });
            writer.patch(0, b"HEAD")
        })
        .unwrap();
        let bytes = std::fs::read(dir.path().join("a")).unwrap();
        assert_eq!((&bytes[..5], bytes.len()), (&b"HEAD\0"[..], 64 + (3 << 20)));

        let failed = publish::<Error>(&real_fs(), dir.path(), "b", |writer| writer.patch(1, b"beyond"));
        assert!(failed.is_err());
        let mut spill_file = SpillFile::create(dir.path(), "s").unwrap();
        spill_file.put(&[1; 10]).unwrap();
        publish::<Error>(&real_fs(), dir.path(), "c", |writer| spill_file.copy_into(writer)).unwrap();
        assert_eq!(std::fs::read(dir.path().join("c")).unwrap(), [1; 10]);
        assert_eq!(list_files(dir.path()).unwrap(), ["a", "c"], "no temporary file stays");
    }
}
