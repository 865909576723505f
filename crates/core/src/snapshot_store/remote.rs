//! Snapshot files in an object store: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! Calls block: I/O runs on a thread of the store.

use super::stored_file::StoredFile;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt};
use url::Url;

/// Part size of a multipart upload, bytes. Stores accept 10,000 parts per file.
const PART: usize = 16 << 20;
/// Parts in flight.
const PARTS: usize = 2;
/// URL schemes of object stores.
pub(super) const SCHEMES: [&str; 8] = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];
/// Prefixes of the environment variables that configure object stores.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A bucket, or a folder of a bucket.
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    runtime: Option<Runtime>,
}

impl Remote {
    /// Opens the store of a URL. Does not connect yet.
    pub(super) fn open(url: &Url) -> Result<Self, String> {
        let ours = |name: &str| VARIABLES.iter().any(|start| name.starts_with(start));
        // The stores use no variables that are not UTF-8.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| ours(name));
        let (store, folder) = object_store::parse_url_opts(url, variables).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("snapshots")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { store: Arc::from(store), folder, runtime: Some(runtime) })
    }

    /// Lists the files, without subfolders.
    pub(super) fn list(&self) -> object_store::Result<Vec<StoredFile>> {
        let objects = self.wait(self.store.list_with_delimiter(Some(&self.folder)))?.objects;
        let file = |object: object_store::ObjectMeta| {
            Some(StoredFile { name: object.location.filename()?.to_owned(), bytes: object.size })
        };
        Ok(objects.into_iter().filter_map(file).collect())
    }

    /// Starts a file.
    pub(super) fn write(&self, name: &str) -> object_store::Result<RemoteWriter<'_>> {
        let upload = self.wait(self.store.put_multipart(&self.path(name)))?;
        let writer = WriteMultipart::new_with_chunk_size(upload, PART);
        Ok(RemoteWriter { remote: self, name: name.to_owned(), writer: Some(writer) })
    }

    /// Opens a file. Returns it with its length in bytes.
    pub(super) fn read(&self, name: &str) -> object_store::Result<(RemoteReader<'_>, u64)> {
        let found = self.wait(self.store.get(&self.path(name)))?;
        let bytes = found.meta.size;
        Ok((RemoteReader { remote: self, stream: found.into_stream(), rest: Bytes::new() }, bytes))
    }

    fn path(&self, name: &str) -> Path {
        self.folder.clone().join(name)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        // None only after the drop of the store.
        self.runtime.as_ref().expect("a store that is not dropped").block_on(work)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The drop may run on an async thread, which must not block on the shutdown.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An unfinished file. Dropping it discards the content.
pub(super) struct RemoteWriter<'r> {
    remote: &'r Remote,
    name: String,
    writer: Option<WriteMultipart>,
}

impl RemoteWriter<'_> {
    pub(super) fn finish(mut self) -> object_store::Result<()> {
        match self.writer.take() {
            Some(writer) => self.remote.wait(writer.finish()).map(drop),
            None => Ok(()),
        }
    }
}

impl Write for RemoteWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(writer) = self.writer.as_mut() else { return Err(io::Error::other("the file is finished")) };
        // Takes at most one part per call, to bound the parts in memory.
        let bytes = &bytes[..bytes.len().min(PART)];
        self.remote
            .wait(async {
                writer.wait_for_capacity(PARTS).await?;
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

impl Drop for RemoteWriter<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = self.remote.wait(writer.abort())
        {
            tracing::warn!(name = self.name, %error, "could not remove the uploaded parts of an interrupted snapshot");
        }
    }
}

/// A file being read.
pub(super) struct RemoteReader<'r> {
    remote: &'r Remote,
    stream: Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>,
    rest: Bytes,
}

impl Read for RemoteReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.remote.wait(self.stream.next()) {
                Some(next) => self.rest = next.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(into.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
