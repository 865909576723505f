//! Last states of closed collections, so that they can be listed without opening them.

use super::{Catalog, Error, folder_number};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folder number -> JSON of a [`Summary`]. A cache. Absent in directories of older versions.
pub(super) const SUMMARIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("summaries");

/// The state in which a collection was closed. This is the stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// [`check_value`] of the folder after it was closed. The summary is valid while it is the same.
    pub files: u32,
    /// Whether background jobs were due.
    pub pending: bool,
    /// Sequence number of the last write.
    pub sequence: u64,
    /// Live points.
    pub points: u64,
    /// Live points outside of segments.
    pub growing_points: u64,
    /// Bytes that are mapped while it is open.
    pub mapped_bytes: u64,
    /// The sealed segments.
    pub segments: Vec<SegmentSummary>,
}

impl Summary {
    /// Whether this summary replaces an `earlier` one: the files changed, or no jobs are due any more. A collection that is
    /// closed before the background threads have examined it counts as pending, whatever the earlier summary says.
    pub fn replaces(&self, earlier: &Self) -> bool {
        self.files != earlier.files || earlier.pending && !self.pending
    }
}

/// A sealed segment of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// Number of the segment.
    pub id: u64,
    /// Rows, including deleted ones.
    pub rows: u64,
    /// Deleted rows.
    pub deleted_rows: u64,
    /// Whether it has a graph.
    pub graph: bool,
    /// Bytes of the vector file.
    pub vector_bytes: u64,
    /// Bytes of the graph file.
    pub graph_bytes: u64,
}

/// Returns a check value of the names, sizes and modification times of the files in a folder; `None` if it cannot be
/// read. Reads no file.
pub fn check_value(folder: &Path) -> Option<u32> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let meta = entry.metadata().ok()?;
        let modified = meta.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        files.push((entry.file_name().to_string_lossy().into_owned(), meta.len(), modified.as_nanos()));
    }
    files.sort_unstable();
    let mut hasher = crc32fast::Hasher::new();
    for (name, length, modified) in files {
        hasher.update(format!("{name}/{length}/{modified}/").as_bytes());
    }
    Some(hasher.finalize())
}

impl Catalog {
    /// Returns the summaries, by folder. Leaves out unreadable ones.
    ///
    /// # Errors
    /// `Internal`.
    pub fn summaries(&self) -> Result<BTreeMap<PathBuf, Summary>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(SUMMARIES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let mut summaries = BTreeMap::new();
            for entry in table.iter().map_err(self.kv.failed("read"))? {
                let (number, json) = entry.map_err(self.kv.failed("read"))?;
                if let Ok(summary) = serde_json::from_slice(json.value()) {
                    summaries.insert(self.folder_of(number.value()), summary);
                }
            }
            Ok(summaries)
        })
    }

    /// Records summaries of closed collections, by folder, in one transaction.
    ///
    /// # Errors
    /// Any disk error.
    pub fn record_summaries(&self, summaries: &[(PathBuf, Summary)]) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(SUMMARIES).map_err(self.kv.failed("open a table"))?;
            for (folder, summary) in summaries {
                let number = folder.file_name().and_then(|name| name.to_str()).and_then(folder_number);
                if let (Some(number), Ok(json)) = (number, serde_json::to_vec(summary)) {
                    table.insert(number, json.as_slice()).map_err(self.kv.failed("write"))?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create, open, remove};
    use super::*;

    #[test]
    fn a_summary_is_kept_until_its_collection_is_removed_and_invalid_after_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(dir.path()).unwrap();
        assert_eq!(catalog.summaries().unwrap(), BTreeMap::new());
        let (a, b) = (create(&catalog, "a"), create(&catalog, "b"));
        let segment = SegmentSummary { id: 3, rows: 5, deleted_rows: 1, graph: true, vector_bytes: 7, graph_bytes: 8 };
        let files = check_value(&a).unwrap();
        let summary = |points| Summary {
            files,
            pending: true,
            sequence: 9,
            points,
            growing_points: 1,
            mapped_bytes: 15,
            segments: vec![segment.clone()],
        };
        catalog.record_summaries(&[(a.clone(), summary(4)), (b.clone(), summary(5))]).unwrap();
        catalog.record_summaries(&[(a.clone(), summary(6))]).unwrap();
        drop(catalog);
        let catalog = open(dir.path()).unwrap();
        assert_eq!(catalog.summaries().unwrap(), [(a.clone(), summary(6)), (b, summary(5))].into());
        let done = || Summary { pending: false, ..summary(6) };
        assert!(!done().replaces(&done()) && !summary(6).replaces(&done()) && done().replaces(&summary(6)));
        assert!(summary(6).replaces(&Summary { files: files.wrapping_add(1), ..done() }));
        remove(&catalog, "b");
        assert_eq!(catalog.summaries().unwrap(), [(a.clone(), summary(6))].into());

        assert_eq!(check_value(&a), Some(files));
        std::fs::write(a.join("other"), "").unwrap();
        let with_another = check_value(&a);
        assert_ne!(with_another, Some(files));
        std::fs::write(a.join("other"), "longer").unwrap();
        assert_ne!(check_value(&a), with_another);
        std::fs::remove_file(a.join("other")).unwrap();
        assert_eq!(check_value(&a), Some(files));
        assert_eq!(check_value(&a.join("missing")), None);
    }
}
