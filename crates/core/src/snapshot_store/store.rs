//! Named files that are written once and read once, sequentially, in a directory or an object store.

use super::Error;
use super::directory::{Directory, FileWriter};
#[cfg(feature = "object-store")]
use super::remote::{Remote, RemoteReader, RemoteWriter, SCHEMES};
use super::stored_file::StoredFile;
use std::fs::File;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

/// Snapshot storage in a directory or a bucket (or a folder of a bucket).
pub struct SnapshotStore {
    backend: Backend,
    location: String,
}

enum Backend {
    Directory(Directory),
    #[cfg(feature = "object-store")]
    Remote(Remote),
}

impl SnapshotStore {
    /// Opens a directory (created if missing) or a URL. Object stores, available with the feature `object-store`, take
    /// their settings from the environment: `AWS_...`, `GOOGLE_...`, `AZURE_...`. Does not connect to the store yet.
    ///
    /// # Errors
    /// [`Error::Location`].
    pub fn open(location: &str) -> Result<Self, Error> {
        let invalid = |why: String| Error::Location { location: without_secrets(location), why };
        if location.is_empty() {
            return Err(invalid("give a directory or a URL".into()));
        }
        let backend = match location.contains("://") {
            true => of_url(location),
            false => Directory::open(PathBuf::from(location)).map(Backend::Directory),
        };
        Ok(Self { backend: backend.map_err(invalid)?, location: without_secrets(location) })
    }

    /// Returns the directory or URL, without secrets.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Lists the files by name, without subfolders.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self) -> Result<Vec<StoredFile>, Error> {
        let mut files = match &self.backend {
            Backend::Directory(directory) => directory.list().map_err(|error| self.failed("list", "", error))?,
            #[cfg(feature = "object-store")]
            Backend::Remote(remote) => remote.list().map_err(|error| self.failed("list", "", error))?,
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Starts a file. It becomes visible only when finished, and complete.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn write(&self, name: &str) -> Result<Upload<'_>, Error> {
        let writer = match &self.backend {
            Backend::Directory(directory) => {
                Writer::File(directory.write(name).map_err(|error| self.failed("write", name, error))?, PhantomData)
            }
            #[cfg(feature = "object-store")]
            Backend::Remote(remote) => {
                Writer::Remote(remote.write(name).map_err(|error| self.failed("write", name, error))?)
            }
        };
        Ok(Upload { store: self, name: name.to_owned(), writer })
    }

    /// Opens a file. Returns a reader and the length in bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Store`].
    pub fn read(&self, name: &str) -> Result<(Download<'_>, u64), Error> {
        match &self.backend {
            Backend::Directory(directory) => match directory.read(name) {
                Ok((file, bytes)) => Ok((Download(Reader::File(file, PhantomData)), bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing { name: name.to_owned() }),
                Err(error) => Err(self.failed("read", name, error)),
            },
            #[cfg(feature = "object-store")]
            Backend::Remote(remote) => match remote.read(name) {
                Ok((reader, bytes)) => Ok((Download(Reader::Remote(reader)), bytes)),
                Err(object_store::Error::NotFound { .. }) => Err(Error::Missing { name: name.to_owned() }),
                Err(error) => Err(self.failed("read", name, error)),
            },
        }
    }

    fn failed(
        &self,
        action: &'static str,
        name: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Store { location: self.location.clone(), name: name.to_owned(), action, source: source.into() }
    }
}

impl std::fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotStore({})", self.location)
    }
}

#[cfg(feature = "object-store")]
fn of_url(location: &str) -> Result<Backend, String> {
    let url = url::Url::parse(location).map_err(|error| error.to_string())?;
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| "not the path of a directory here".to_owned())?;
        return Directory::open(path).map(Backend::Directory);
    }
    if !SCHEMES.contains(&url.scheme()) {
        return Err(format!("supported are a directory, and URLs of file, {}", SCHEMES.join(", ")));
    }
    Remote::open(&url).map(Backend::Remote)
}

#[cfg(not(feature = "object-store"))]
fn of_url(location: &str) -> Result<Backend, String> {
    match location.strip_prefix("file://") {
        // A host or an escape needs a URL parser.
        Some(path) if path.starts_with('/') && !path.contains('%') => {
            Directory::open(PathBuf::from(path)).map(Backend::Directory)
        }
        Some(_) => Err("not the path of a directory here; name the directory itself".into()),
        None => Err("this program was built without object stores: name a directory, or build with the feature \
                     `cloud` (`cargo build --release --features cloud`)"
            .into()),
    }
}

/// Returns a location without user, password and query of its URL.
fn without_secrets(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else { return location.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// An unfinished file. Dropping it discards the content.
pub struct Upload<'d> {
    store: &'d SnapshotStore,
    name: String,
    writer: Writer<'d>,
}

enum Writer<'d> {
    File(FileWriter, PhantomData<&'d ()>),
    #[cfg(feature = "object-store")]
    Remote(RemoteWriter<'d>),
}

impl Upload<'_> {
    /// Finishes the file. On success it is visible, complete and durable.
    ///
    /// # Errors
    /// [`Error::Store`]: the file was not stored.
    pub fn finish(self) -> Result<(), Error> {
        let Self { store, name, writer } = self;
        match writer {
            Writer::File(writer, _) => writer.finish().map_err(|error| store.failed("write", &name, error)),
            #[cfg(feature = "object-store")]
            Writer::Remote(writer) => writer.finish().map_err(|error| store.failed("write", &name, error)),
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Writer::File(writer, _) => writer.write(bytes),
            #[cfg(feature = "object-store")]
            Writer::Remote(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file being read.
pub struct Download<'d>(Reader<'d>);

enum Reader<'d> {
    File(File, PhantomData<&'d ()>),
    #[cfg(feature = "object-store")]
    Remote(RemoteReader<'d>),
}

impl Read for Download<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Reader::File(file, _) => file.read(into),
            #[cfg(feature = "object-store")]
            Reader::Remote(reader) => reader.read(into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;
    use crate::snapshot_store::ErrorKind;

    #[test]
    fn finished_files_are_stored_and_dropped_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let location = dir.path().join("new/here");
        let store = SnapshotStore::open(location.to_str().unwrap()).unwrap();
        let long: Vec<u8> = (0..(48 << 20) + 5).map(|at| (at % 251) as u8).collect();
        let mut upload = store.write("a").unwrap();
        upload.write_all(&long).unwrap();
        assert!(store.list().unwrap().is_empty(), "not before it is complete");
        upload.finish().unwrap();
        let mut dropped = store.write("b").unwrap();
        dropped.write_all(b"x").unwrap();
        drop(dropped);
        assert_eq!(store.list().unwrap(), [StoredFile { name: "a".into(), bytes: long.len() as u64 }]);
        let (mut download, bytes) = store.read("a").unwrap();
        let mut read = Vec::new();
        download.read_to_end(&mut read).unwrap();
        assert!(read == long && bytes == long.len() as u64);
        assert_eq!(store.read("b").map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(&location).unwrap().count(), 1, "a dropped upload leaves no file");
        let url = format!("file://{}", location.display());
        assert_eq!(SnapshotStore::open(&url).unwrap().list().unwrap().len(), 1);
    }

    #[test]
    fn files_of_interrupted_processes_are_removed_and_files_being_written_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = || SnapshotStore::open(dir.path().to_str().unwrap()).unwrap();
        let store = open();
        let mut interrupted = store.write("1-2-x.nearness.tar").unwrap();
        interrupted.write_all(b"half").unwrap();
        // Simulates a killed process: the file stays, its lock is released.
        match interrupted.writer {
            Writer::File(writer, _) => writer.interrupt(),
            #[cfg(feature = "object-store")]
            Writer::Remote(_) => panic!("a directory has files"),
        }
        std::fs::write(dir.path().join("notes#1"), b"the user's").unwrap();
        let names = || disk::list_files(dir.path()).unwrap();
        assert_eq!(names(), ["1-2-x.nearness.tar#1", "notes#1"]);
        let mut writing = store.write("1-2-x.nearness.tar").unwrap();
        writing.write_all(b"whole").unwrap();
        let other = open();
        assert_eq!(names(), ["1-2-x.nearness.tar#2", "notes#1"], "the file being written stays");
        assert!(other.list().unwrap().is_empty());
        writing.finish().unwrap();
        assert_eq!(names(), ["1-2-x.nearness.tar", "notes#1"]);
        assert_eq!(disk::mode_for_others(&dir.path().join("1-2-x.nearness.tar")).unwrap(), None);
    }

    #[test]
    fn names_do_not_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("outside"), b"x").unwrap();
        let store = SnapshotStore::open(dir.path().join("snapshots").to_str().unwrap()).unwrap();
        let absolute = dir.path().join("outside");
        for name in ["", ".", "..", "../outside", "a/../../outside", "a/b", absolute.to_str().unwrap()] {
            assert!(store.write(name).is_err(), "{name}");
            assert_eq!(store.read(name).map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is written beside the directory");
    }

    #[test]
    fn invalid_locations_are_refused_and_secrets_are_not_shown() {
        for invalid in ["", "http://example.org/x", "memory://x", "ftp://a/b", "s3://", "file://host/x"] {
            let error = SnapshotStore::open(invalid).map(|_| ()).expect_err(invalid);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!(without_secrets("s3://user:secret@bucket/x?token=secret"), "s3://bucket/x");
        assert_eq!(without_secrets("/a/b"), "/a/b");
    }
}
