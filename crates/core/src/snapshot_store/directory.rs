//! Snapshot files in a directory.
//!
//! A file is written as `<name>#<n>`, locked, and renamed when it is complete. Opening the directory removes the
//! `<name>#<n>` files of interrupted processes; a locked one belongs to a running writer and stays.

use super::stored_file::StoredFile;
use crate::disk::{self, Fs};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Size of the write buffer of a file, bytes.
const BUFFER: usize = 1 << 20;
/// File name suffix of snapshots.
const SUFFIX: &str = ".nearness.tar";

/// A directory of snapshot files.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Opens a directory, created if missing.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        if path.exists() && !path.is_dir() {
            return Err("it is a file; name a directory".into());
        }
        disk::create_folder(&disk::RealFs, &path).map_err(|error| error.to_string())?;
        remove_interrupted(&path);
        Ok(Self(path))
    }

    /// Lists the complete files by name, without subfolders.
    pub(super) fn list(&self) -> io::Result<Vec<StoredFile>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let metadata = match std::fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                // Removed since it was listed, or a link to nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
                && !is_numbered(&name)
            {
                files.push(StoredFile { name, bytes: metadata.len() });
            }
        }
        Ok(files)
    }

    /// Starts a file.
    pub(super) fn write(&self, name: &str) -> io::Result<FileWriter> {
        if !is_file_name(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is not that of a file in the directory"));
        }
        let (file, path) = begin_file(&self.0, name)?;
        Ok(FileWriter { writer: Some(BufWriter::with_capacity(BUFFER, file)), path, name: name.to_owned() })
    }

    /// Opens a file. Returns it with its length in bytes.
    pub(super) fn read(&self, name: &str) -> io::Result<(File, u64)> {
        if !is_file_name(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = File::open(self.0.join(name))?;
        let metadata = file.metadata()?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// An unfinished file. Dropping it removes the file.
pub(super) struct FileWriter {
    writer: Option<BufWriter<File>>,
    path: PathBuf,
    name: String,
}

impl FileWriter {
    /// Syncs the file and renames it to its final name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let done = self.publish(writer);
        if done.is_err() {
            remove_draft(&self.path);
        }
        done
    }

    fn publish(&self, writer: BufWriter<File>) -> io::Result<()> {
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        disk::RealFs.rename(&self.path, &self.path.with_file_name(&self.name))?;
        disk::RealFs.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

#[cfg(test)]
impl FileWriter {
    /// Leaves the file as a killed process does.
    pub(super) fn interrupt(mut self) {
        drop(self.writer.take().map(BufWriter::into_parts));
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or_else(|| Err(io::Error::other("the file is finished")), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts());
            remove_draft(&self.path);
        }
    }
}

/// Creates a file in a directory under an unused name, and locks it. Returns the file and its path.
fn begin_file(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let mut number = 1_u64;
    loop {
        let path = directory.join(format!("{name}#{number}"));
        match disk::private_file().write(true).create_new(true).open(&path) {
            Ok(file) => {
                // Without lock support, an interrupted file is indistinguishable from a file being written.
                let _ = file.try_lock();
                // Another process may have removed the file before the lock.
                if file.metadata()?.nlink() > 0 {
                    return Ok((file, path));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        number += 1;
    }
}

/// Removes the files of interrupted processes from a directory.
fn remove_interrupted(directory: &Path) {
    let names = disk::list_files(directory).unwrap_or_default();
    for name in names.iter().filter(|name| is_unfinished(name)) {
        let path = directory.join(name);
        let removed = disk::private_file().write(true).open(&path).and_then(|file| {
            // Fails if the writing process still holds the lock.
            file.try_lock().map_err(io::Error::from)?;
            std::fs::remove_file(&path)
        });
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed an interrupted snapshot"),
            Err(error) => tracing::debug!(path = %path.display(), %error, "kept an unfinished snapshot"),
        }
    }
}

/// Whether a file name is that of an unfinished snapshot.
fn is_unfinished(name: &str) -> bool {
    is_numbered(name) && name.rsplit_once('#').is_some_and(|(name, _)| name.ends_with(SUFFIX))
}

/// Whether a name is that of a file in the directory itself, not a path out of it or below it.
fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|last| last == name)
}

/// Whether a file name has the form of an unfinished file.
fn is_numbered(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u64>().is_ok())
}

fn remove_draft(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not remove an interrupted snapshot; the next start removes it");
        }
        _ => {}
    }
}
