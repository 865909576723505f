//! A place with named files that are written once, front to back, and read front to back.

use super::Error;
use crate::disk;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt};
use url::Url;

/// What is sent at once. Stores take 10,000 pieces of one file.
const PIECE: usize = 16 << 20;
/// Pieces under way.
const PIECES: usize = 2;
/// Schemes of places; `file` is a directory.
const SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];
/// Environment variables that are the object stores' begin so.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A directory or a bucket (or a folder in one).
pub struct Depot {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    place: String,
    runtime: Option<Runtime>,
}

impl Depot {
    /// The place of that directory (made where there is none) or URL. Object stores take their settings from the
    /// environment: `AWS_...`, `GOOGLE_...`, `AZURE_...`. They are not asked yet.
    ///
    /// # Errors
    /// [`Error::Place`].
    pub fn open(place: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Place { place: shown(place), why };
        let (store, folder) = if place.contains("://") {
            let url = Url::parse(place).map_err(|error| wrong(error.to_string()))?;
            if !SCHEMES.contains(&url.scheme()) {
                return Err(wrong(format!("known are a directory, and URLs of {}", SCHEMES.join(", "))));
            }
            if url.scheme() == "file" {
                let path = url.to_file_path().map_err(|()| wrong("not the path of a directory here".into()))?;
                (directory(&path).map_err(wrong)?, Path::default())
            } else {
                let ours = |name: &str| VARIABLES.iter().any(|start| name.starts_with(start));
                // A variable that is not UTF-8 is none of theirs.
                let variables = std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                    .filter(|(name, _)| ours(name));
                let (store, folder) =
                    object_store::parse_url_opts(&url, variables).map_err(|error| wrong(error.to_string()))?;
                (Arc::from(store), folder)
            }
        } else if place.is_empty() {
            return Err(wrong("give a directory or a URL".into()));
        } else {
            (directory(std::path::Path::new(place)).map_err(wrong)?, Path::default())
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("depot")
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { store, folder, place: shown(place), runtime: Some(runtime) })
    }

    /// The directory or URL, without what is secret in it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is kept here, by name; folders are not looked into.
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

    /// Begins a file. It appears whole when it is finished, or not at all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn write(&self, name: &str) -> Result<Upload<'_>, Error> {
        let upload = self.wait(self.store.put_multipart(&self.path(name)));
        let upload = upload.map_err(|error| self.failed("write", name, error))?;
        let writer = WriteMultipart::new_with_chunk_size(upload, PIECE);
        Ok(Upload { depot: self, name: name.to_owned(), writer: Some(writer) })
    }

    /// Opens a file; its bytes, and how many.
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
        // Taken only when the depot is dropped.
        self.runtime.as_ref().expect("a depot that is not dropped").block_on(work)
    }

    fn failed(&self, action: &'static str, name: &str, error: object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } if action == "read" => Error::Missing { name: name.to_owned() },
            error => Error::Store { place: self.place.clone(), name: name.to_owned(), action, source: error.into() },
        }
    }
}

impl Drop for Depot {
    fn drop(&mut self) {
        // May be on an asynchronous thread, where waiting for it is forbidden.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({})", self.place)
    }
}

fn directory(path: &std::path::Path) -> Result<Arc<dyn ObjectStore>, String> {
    disk::create_folder(&disk::RealFs, path).map_err(|error| error.to_string())?;
    // Durable when it is acknowledged, as everything is here.
    LocalFileSystem::new_with_prefix(path)
        .map(|store| Arc::new(store.with_fsync(true)) as Arc<dyn ObjectStore>)
        .map_err(|error| error.to_string())
}

/// A place without user, password and query of its URL.
fn shown(place: &str) -> String {
    match Url::parse(place) {
        Ok(mut url) if place.contains("://") => {
            // Of a URL that has none, nothing is to be taken.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        _ => place.to_owned(),
    }
}

/// A file in the making. Dropped before it is finished, it is given up.
pub struct Upload<'d> {
    depot: &'d Depot,
    name: String,
    writer: Option<WriteMultipart>,
}

impl Upload<'_> {
    /// Ends the file: it is there, whole and durable, when this returns.
    ///
    /// # Errors
    /// [`Error::Store`]: it is not there.
    pub fn finish(mut self) -> Result<(), Error> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let done = self.depot.wait(writer.finish());
        done.map(drop).map_err(|error| self.depot.failed("write", &self.name, error))
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(writer) = self.writer.as_mut() else { return Err(io::Error::other("the file is ended")) };
        // One piece at most, so that no more than a few are in memory.
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

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = self.depot.wait(writer.abort())
        {
            tracing::warn!(place = self.depot.place, name = self.name, %error, "pieces of a snapshot that was given up stay behind");
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
    use super::super::ErrorKind;
    use super::*;

    #[test]
    fn what_is_finished_is_kept_and_what_is_given_up_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("new/here");
        let depot = Depot::open(place.to_str().unwrap()).unwrap();
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
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "nothing stays of what was given up");
        let url = format!("file://{}", place.display());
        assert_eq!(Depot::open(&url).unwrap().list().unwrap().len(), 1);
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
