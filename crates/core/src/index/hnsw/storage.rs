//! Graph file on disk: atomic publication, and mapping.

use std::path::Path;
use std::sync::Arc;

use super::build::Built;
use super::file::{Expected, Graph};
use crate::disk::{self, Fs, Mapping};
use crate::index::Error;

/// A mapping as the bytes of a graph.
struct Mapped(Arc<Mapping>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Built {
    /// Writes the graph to `path`, atomically and durably. `tag` is the content tag of the graph's vectors.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn publish(&self, fs: &Arc<dyn Fs>, path: &Path, tag: u64) -> Result<(), Error> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::Corrupt { path: path.into(), what: "this is not the path of a file".into() });
        };
        disk::publish(fs, dir, name, |writer| {
            let target = writer.path().to_owned();
            self.write_to(writer, tag).map_err(|source| disk::Error::io(&target, "write", source))
        })?;
        Ok(())
    }
}

impl Graph {
    /// Maps the graph at `path`. Reads its header only; see [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Corrupt`], [`Error::Incompatible`].
    pub fn open(path: &Path, expected: Expected) -> Result<Self, Error> {
        let mapping = Mapping::open(path)?;
        // A search accesses nodes in random order: read-ahead would only waste memory.
        mapping.advise_random();
        let mut graph = Self::from_bytes(Mapped(mapping.clone()), path, expected)?;
        graph.mapping = Some(mapping);
        Ok(graph)
    }

    /// Number of mapped bytes that are in memory now.
    pub fn resident_bytes(&self) -> u64 {
        self.mapping.as_ref().map_or_else(|| self.mapped_bytes(), |mapping| mapping.resident_bytes())
    }
}
