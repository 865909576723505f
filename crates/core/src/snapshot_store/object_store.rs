//! Named files that are written once and read once, sequentially, in a directory or an object store.
//!
//! In a directory, a file is written as `<name>#<n>`, locked, and renamed when it is complete. Opening the directory
//! removes the `<name>#<n>` files of interrupted processes; a locked one belongs to a running writer and stays.

use super::Error;
use crate::disk::{self, Fs};
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt};
use url::Url;

/// Part size of a multipart upload, bytes. Stores accept 10,000 parts per file.
const PIECE: usize = 16 << 20;
/// Parts in flight.
const PIECES: usize = 2;
/// Size of the write buffer of a file, bytes.
const BUFFER: usize = 1 << 20;
/// File name suffix of snapshots.
const KIND: &str = ".nearness.tar";
/// URL schemes of locations; `file` is a directory.
const SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];
/// Prefixes of the environment variables that configure object stores.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Name of the file.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Snapshot storage in a directory or a bucket (or a folder of a bucket).
pub struct Depot {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// The directory, if the location is one.
    directory: Option<PathBuf>,
    location: String,
    runtime: Option<Runtime>,
}

impl Depot {
    /// Opens a directory (created if missing) or a URL. Object stores take their settings from the environment:
    /// `AWS_...`, `GOOGLE_...`, `AZURE_...`. Does not connect to the store yet.
    ///
    /// # Errors
    /// [`Error::Location`].
    pub fn open(location: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Location { location: shown(location), why };
        let mut local = None;
        let (store, folder) = if location.contains("://") {
            let url = Url::parse(location).map_err(|error| wrong(error.to_string()))?;
            if !SCHEMES.contains(&url.scheme()) {
                return Err(wrong(format!("known are a directory, and URLs of {}", SCHEMES.join(", "))));
            }
            if url.scheme() == "file" {
                let path = url.to_file_path().map_err(|()| wrong("not the path of a directory here".into()))?;
                let store = directory(&path).map_err(wrong)?;
                local = Some(path);
                (store, Path::default())
            } else {
                let ours = |name: &str| VARIABLES.iter().any(|start| name.starts_with(start));
                // The stores use no variables that are not UTF-8.
                let variables = std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                    .filter(|(name, _)| ours(name));
                let (store, folder) =
                    object_store::parse_url_opts(&url, variables).map_err(|error| wrong(error.to_string()))?;
                (Arc::from(store), folder)
            }
        } else if location.is_empty() {
            return Err(wrong("give a directory or a URL".into()));
        } else {
            local = Some(PathBuf::from(location));
            (directory(std::path::Path::new(location)).map_err(wrong)?, Path::default())
        };
        local.iter().for_each(|directory| remove_interrupted(directory));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("depot")
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { store, folder, directory: local, location: shown(location), runtime: Some(runtime) })
    }

    /// Returns the directory or URL, without secrets.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Lists the files by name, without subfolders.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self) -> Result<Vec<Kept>, Error> {
        let listed = self.wait(self.store.list_with_delimiter(Some(&self.folder)));
        let objects = listed.map_err(|error| self.failed("list", "", error))?.objects;
        let kept = |object: object_store::ObjectMeta| {
            Some(Kept { name: object.location.filename()?.to_owned(), bytes: object.size })
        };
        let mut all: Vec<Kept> = objects.into_iter().filter_map(kept).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Starts a file. It becomes visible only when finished, and complete.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn write(&self, name: &str) -> Result<Upload<'_>, Error> {
        if let Some(directory) = &self.directory {
            let (file, path) = begin_file(directory, name).map_err(|source| self.refused(name, source))?;
            let writer = Some(Writer::File(BufWriter::with_capacity(BUFFER, file), path));
            return Ok(Upload { depot: self, name: name.to_owned(), writer });
        }
        let upload = self.wait(self.store.put_multipart(&self.path(name)));
        let upload = upload.map_err(|error| self.failed("write", name, error))?;
        let writer = Writer::Store(WriteMultipart::new_with_chunk_size(upload, PIECE));
        Ok(Upload { depot: self, name: name.to_owned(), writer: Some(writer) })
    }

    /// Opens a file. Returns a reader and the length in bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Store`].
    pub fn read(&self, name: &str) -> Result<(Download<'_>, u64), Error> {
        let found = self.wait(self.store.get(&self.path(name))).map_err(|error| self.failed("read", name, error))?;
        let bytes = found.meta.size;
        let source = match found.payload {
            GetResultPayload::File(file, _) => Source::File(file),
            GetResultPayload::Stream(stream) => Source::Stream(stream, Bytes::new()),
        };
        Ok((Download { depot: self, source }, bytes))
    }

    fn path(&self, name: &str) -> Path {
        self.folder.clone().join(name)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        // None only after the drop of the depot.
        self.runtime.as_ref().expect("a depot that is not dropped").block_on(work)
    }

    /// Error of a write to a directory.
    fn refused(&self, name: &str, source: io::Error) -> Error {
        Error::Store { location: self.location.clone(), name: name.to_owned(), action: "write", source: source.into() }
    }

    fn failed(&self, action: &'static str, name: &str, error: object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } if action == "read" => Error::Missing { name: name.to_owned() },
            error => {
                Error::Store { location: self.location.clone(), name: name.to_owned(), action, source: error.into() }
            }
        }
    }
}

impl Drop for Depot {
    fn drop(&mut self) {
        // The drop may run on an async thread, which must not block on the shutdown.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({})", self.location)
    }
}

fn directory(path: &std::path::Path) -> Result<Arc<dyn ObjectStore>, String> {
    if path.exists() && !path.is_dir() {
        return Err("it is a file; name a directory".into());
    }
    disk::create_folder(&disk::RealFs, path).map_err(|error| error.to_string())?;
    // With fsync, an acknowledged write is durable, as everywhere in nearness.
    LocalFileSystem::new_with_prefix(path)
        .map(|store| Arc::new(store.with_fsync(true)) as Arc<dyn ObjectStore>)
        .map_err(|error| error.to_string())
}

/// Returns a location without user, password and query of its URL.
fn shown(location: &str) -> String {
    match Url::parse(location) {
        Ok(mut url) if location.contains("://") => {
            // These calls fail only for URLs that cannot have a user or password.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        _ => location.to_owned(),
    }
}

/// Creates a file in a directory under an unused name, and locks it. Returns the file and its path.
fn begin_file(directory: &std::path::Path, name: &str) -> io::Result<(File, PathBuf)> {
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
fn remove_interrupted(directory: &std::path::Path) {
    let names = disk::list_files(directory).unwrap_or_default();
    let unfinished = |name: &&String| {
        let parts = name.rsplit_once('#');
        parts.is_some_and(|(name, number)| name.ends_with(KIND) && number.parse::<u64>().is_ok())
    };
    for name in names.iter().filter(unfinished) {
        let path = directory.join(name);
        let removed = disk::private_file().write(true).open(&path).and_then(|file| {
            // Fails if the writing process still holds the lock.
            file.try_lock().map_err(io::Error::from)?;
            std::fs::remove_file(&path)
        });
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed an interrupted snapshot"),
            Err(error) => tracing::debug!(path = %path.display(), %error, "an unfinished snapshot stays"),
        }
    }
}

/// An unfinished file. Dropping it discards the content.
pub struct Upload<'d> {
    depot: &'d Depot,
    name: String,
    writer: Option<Writer>,
}

enum Writer {
    File(BufWriter<File>, PathBuf),
    Store(WriteMultipart),
}

impl Upload<'_> {
    /// Finishes the file. On success it is visible, complete and durable.
    ///
    /// # Errors
    /// [`Error::Store`]: the file was not stored.
    pub fn finish(mut self) -> Result<(), Error> {
        match self.writer.take() {
            Some(Writer::Store(writer)) => {
                let done = self.depot.wait(writer.finish());
                done.map(drop).map_err(|error| self.depot.failed("write", &self.name, error))
            }
            Some(Writer::File(writer, path)) => {
                let done = publish(writer, &path, &self.name);
                if done.is_err() {
                    remove_draft(&path);
                }
                done.map_err(|source| self.depot.refused(&self.name, source))
            }
            None => Ok(()),
        }
    }
}

/// Syncs a file and renames it to its final name.
fn publish(writer: BufWriter<File>, path: &std::path::Path, name: &str) -> io::Result<()> {
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    disk::RealFs.rename(path, &path.with_file_name(name))?;
    disk::RealFs.sync_dir(path.parent().unwrap_or(std::path::Path::new(".")))
}

fn remove_draft(path: &std::path::Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not remove an interrupted snapshot; the next start removes it");
        }
        _ => {}
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.writer.as_mut() {
            Some(Writer::File(writer, _)) => writer.write(bytes),
            Some(Writer::Store(writer)) => {
                // Takes at most one part per call, to bound the parts in memory.
                let bytes = &bytes[..bytes.len().min(PIECE)];
                self.depot
                    .wait(async {
                        writer.wait_for_capacity(PIECES).await?;
                        writer.write(bytes);
                        Ok::<_, object_store::Error>(())
                    })
                    .map_err(io::Error::other)?;
                Ok(bytes.len())
            }
            None => Err(io::Error::other("the file is ended")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        match self.writer.take() {
            Some(Writer::Store(writer)) => {
                if let Err(error) = self.depot.wait(writer.abort()) {
                    tracing::warn!(location = self.depot.location, name = self.name, %error, "pieces of a snapshot that was given up stay behind");
                }
            }
            Some(Writer::File(writer, path)) => {
                drop(writer.into_parts());
                remove_draft(&path);
            }
            None => {}
        }
    }
}

/// A file being read.
pub struct Download<'d> {
    depot: &'d Depot,
    source: Source,
}

enum Source {
    File(std::fs::File),
    Stream(Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>, Bytes),
}

impl Read for Download<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::File(file) => file.read(into),
            Source::Stream(stream, rest) => {
                while rest.is_empty() {
                    match self.depot.wait(stream.next()) {
                        Some(next) => *rest = next.map_err(io::Error::other)?,
                        None => return Ok(0),
                    }
                }
                let taken = rest.split_to(rest.len().min(into.len()));
                into[..taken.len()].copy_from_slice(&taken);
                Ok(taken.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot_store::ErrorKind;

    #[test]
    fn what_is_finished_is_kept_and_what_is_given_up_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let location = dir.path().join("new/here");
        let depot = Depot::open(location.to_str().unwrap()).unwrap();
        let long: Vec<u8> = (0..3 * PIECE + 5).map(|at| (at % 251) as u8).collect();
        let mut upload = depot.write("a").unwrap();
        upload.write_all(&long).unwrap();
        assert!(depot.list().unwrap().is_empty(), "not before it is whole");
        upload.finish().unwrap();
        let mut given_up = depot.write("b").unwrap();
        given_up.write_all(b"x").unwrap();
        drop(given_up);
        assert_eq!(depot.list().unwrap(), [Kept { name: "a".into(), bytes: long.len() as u64 }]);
        let (mut download, bytes) = depot.read("a").unwrap();
        let mut read = Vec::new();
        download.read_to_end(&mut read).unwrap();
        assert!(read == long && bytes == long.len() as u64);
        assert_eq!(depot.read("b").map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(&location).unwrap().count(), 1, "nothing stays of what was given up");
        let url = format!("file://{}", location.display());
        assert_eq!(Depot::open(&url).unwrap().list().unwrap().len(), 1);
    }

    #[test]
    fn what_an_interrupted_process_left_is_removed_and_what_is_being_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Depot::open(dir.path().to_str().unwrap()).unwrap();
        let depot = open();
        let mut interrupted = depot.write("1-2-x.nearness.tar").unwrap();
        interrupted.write_all(b"half").unwrap();
        let Some(Writer::File(writer, _)) = interrupted.writer.take() else { panic!("a directory has files") };
        // Simulates a killed process: the file stays, its lock is released.
        drop(writer.into_parts());
        drop(interrupted);
        std::fs::write(dir.path().join("notes#1"), b"the user's").unwrap();
        let names = || disk::list_files(dir.path()).unwrap();
        assert_eq!(names(), ["1-2-x.nearness.tar#1", "notes#1"]);
        let mut writing = depot.write("1-2-x.nearness.tar").unwrap();
        writing.write_all(b"whole").unwrap();
        let other = open();
        assert_eq!(names(), ["1-2-x.nearness.tar#2", "notes#1"], "the one that is written stays");
        assert!(other.list().unwrap().is_empty());
        writing.finish().unwrap();
        assert_eq!(names(), ["1-2-x.nearness.tar", "notes#1"]);
        assert_eq!(disk::mode_for_others(&dir.path().join("1-2-x.nearness.tar")).unwrap(), None);
    }

    #[test]
    fn places_that_are_none_are_refused_and_secrets_are_not_shown() {
        for wrong in ["", "http://example.org/x", "memory://x", "ftp://a/b", "s3://", "file://host/x"] {
            let error = Depot::open(wrong).map(|_| ()).expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!(shown("s3://user:secret@bucket/x?token=secret"), "s3://bucket/x");
        assert_eq!(shown("/a/b"), "/a/b");
    }
}
