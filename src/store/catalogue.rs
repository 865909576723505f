//! Which collections there are: one small key-value file in the data directory, and a folder for each collection.
//!
//! A folder is made, with an empty truth inside, before a transaction names it, and removed after a transaction has
//! forgotten it; folders that no record names are swept at open. Folder numbers are never used twice.

use super::Error;
use super::kv::Kv;
use super::record::{self, CollectionRecord};
use super::truth::{self, Truth};
use crate::disk::{self, DirLock};
use redb::{ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};

/// Collection name -> JSON of its record.
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");
/// Counters by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// In [`META`]: the first folder number never used.
const NEXT_FOLDER: &str = "next_folder";

const FILE: &str = "catalogue.redb";
const FOLDER: &str = "collections";
const CACHE_BYTES: usize = 1 << 20;

/// The collections of a data directory. Holds the directory's lock. Calls that write block for a sync of the disk.
pub struct Catalogue {
    kv: Kv,
    folder: PathBuf,
    _lock: DirLock,
}

impl Catalogue {
    /// Takes the data directory's lock, opens its catalogue (or makes both), and sweeps folders that nothing names.
    ///
    /// # Errors
    /// `Busy` when another process has the directory; `Corrupt` when a named collection has no files, or when there are
    /// collections but no catalogue (nothing is swept then).
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        disk::create_folder(data_dir)?;
        let lock = DirLock::take(data_dir)?;
        let folder = data_dir.join(FOLDER);
        disk::create_folder(&folder)?;
        let path = data_dir.join(FILE);
        let found = disk::list_folders(&folder)?;
        if disk::file_len(&path)?.is_none_or(|length| length == 0) && !found.is_empty() {
            let what = format!("missing or empty, but {} holds {} folders", folder.display(), found.len());
            return Err(Error::corrupt(&path, what));
        }
        let (kv, before) = Kv::open(&path, CACHE_BYTES)?;
        if !before {
            disk::create_folder(&folder)?; // syncs the data directory: the new file's name is durable
        }
        kv.write(|transaction| {
            transaction.open_table(COLLECTIONS).map_err(kv.failed("open a table"))?;
            transaction.open_table(META).map_err(kv.failed("open a table"))?;
            Ok(())
        })?;
        let catalogue = Self { kv, folder, _lock: lock };
        let named = catalogue.list()?;
        for (record, path) in &named {
            if disk::file_len(&path.join(truth::FILE))?.is_none_or(|length| length == 0) {
                let what = format!("the collection {:?} has no {}", record.name.as_str(), truth::FILE);
                return Err(Error::corrupt(path, what));
            }
        }
        for name in found {
            let path = catalogue.folder.join(&name);
            if is_folder_name(&name) && !named.iter().any(|(_, named)| *named == path) {
                disk::remove_folder(&path)?;
            }
        }
        Ok(catalogue)
    }

    /// All collections by name, each with its folder.
    ///
    /// # Errors
    /// `Corrupt`, `Incompatible` (a record of a newer version), `Internal`.
    pub fn list(&self) -> Result<Vec<(CollectionRecord, PathBuf)>, Error> {
        let read = self.kv.read()?;
        let table = read.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
        let mut all = Vec::new();
        for entry in table.iter().map_err(self.kv.failed("read"))? {
            let (name, json) = entry.map_err(self.kv.failed("read"))?;
            all.push(self.decode(name.value(), json.value())?);
        }
        Ok(all)
    }

    /// One collection and its folder.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn get(&self, name: &str) -> Result<Option<(CollectionRecord, PathBuf)>, Error> {
        let read = self.kv.read()?;
        let table = read.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
        let json = table.get(name).map_err(self.kv.failed("read"))?;
        json.map(|json| self.decode(name, json.value())).transpose()
    }

    /// Makes a collection, durably; returns its folder, which holds an empty truth.
    ///
    /// # Errors
    /// `Internal` (`Refused`) when there is one of that name; what the disk refuses. Nothing is named then.
    pub fn create(&self, record: &CollectionRecord) -> Result<PathBuf, Error> {
        self.kv.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let mut meta = transaction.open_table(META).map_err(self.kv.failed("open a table"))?;
            let name = record.name.as_str();
            if table.get(name).map_err(self.kv.failed("read"))?.is_some() {
                return Err(Error::refused(self.kv.path(), format!("there is a collection named {name:?}")));
            }
            let number = meta.get(NEXT_FOLDER).map_err(self.kv.failed("read"))?.map_or(0, |number| number.value());
            let folder = self.folder_of(number);
            // A create that failed may have left this folder behind, with an empty truth at most.
            disk::remove_folder(&folder)?;
            disk::create_folder(&folder)?;
            drop(Truth::open(&folder)?);
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            table.insert(name, record::encode(record, number).as_slice()).map_err(self.kv.failed("write"))?;
            Ok(folder)
        })
    }

    /// Forgets a collection, durably, then removes its folder. One that is not there is no error. If the folder cannot
    /// be removed, the collection is gone all the same and the folder is swept at the next open.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let folder = self.kv.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let removed = table.remove(name).map_err(self.kv.failed("write"))?;
            removed.map(|json| self.decode(name, json.value())).transpose()
        })?;
        match folder {
            Some((_, folder)) => Ok(disk::remove_folder(&folder)?),
            None => Ok(()),
        }
    }

    fn decode(&self, name: &str, json: &[u8]) -> Result<(CollectionRecord, PathBuf), Error> {
        let (record, number) = record::decode(self.kv.path(), name, json)?;
        Ok((record, self.folder_of(number)))
    }

    fn folder_of(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}"))
    }
}

/// Whether we may have made that folder: what we did not make, we do not sweep.
fn is_folder_name(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::ErrorKind;
    use super::*;
    use crate::types::{CollectionName, Metric, Precision};

    fn record(name: &str) -> CollectionRecord {
        CollectionRecord {
            name: CollectionName::new(name).unwrap(),
            dimension: 3,
            metric: Metric::L2,
            embedder: None,
            m: 16,
            ef_construction: 200,
            ef_search: 64,
            seal_rows: 1000,
            precision: Precision::F32,
        }
    }

    #[test]
    fn collections_survive_a_reopen_and_orphans_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path()).unwrap();
        let a = catalogue.create(&record("a")).unwrap();
        let b = catalogue.create(&record("b")).unwrap();
        assert_eq!(catalogue.create(&record("a")).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(catalogue.get("a").unwrap(), Some((record("a"), a.clone())));
        assert_eq!(catalogue.get("c").unwrap(), None);
        assert!(matches!(Catalogue::open(dir.path()).map(|_| ()), Err(error) if error.kind() == ErrorKind::Busy));
        drop(catalogue);

        let orphan = dir.path().join(FOLDER).join("00000000000000ff");
        let foreign = dir.path().join(FOLDER).join("lost+found");
        for folder in [&orphan, &foreign] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("x.vectors"), b"x").unwrap();
        }
        let catalogue = Catalogue::open(dir.path()).unwrap();
        assert!(!orphan.exists() && foreign.exists());
        assert_eq!(catalogue.list().unwrap(), [(record("a"), a.clone()), (record("b"), b.clone())]);

        catalogue.remove("a").unwrap();
        catalogue.remove("a").unwrap();
        assert!(!a.exists() && b.exists());
        let again = catalogue.create(&record("a")).unwrap();
        assert_ne!(again, a, "a folder number is never used twice");
        drop(catalogue);
        let names: Vec<_> = Catalogue::open(dir.path()).unwrap().list().unwrap();
        assert_eq!(names, [(record("a"), again), (record("b"), b)]);
    }

    #[test]
    fn a_lost_catalogue_or_a_lost_collection_is_an_error_and_nothing_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Catalogue::open(dir.path()).unwrap().create(&record("a")).unwrap();
        let file = dir.path().join(FILE);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, b"").unwrap();
        assert_eq!(Catalogue::open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Catalogue::open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        std::fs::write(&file, b"not a database at all, but long enough to be looked at").unwrap();
        assert_eq!(Catalogue::open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(folder.join(truth::FILE).exists());

        std::fs::write(&file, bytes).unwrap();
        std::fs::remove_file(folder.join(truth::FILE)).unwrap();
        let error = Catalogue::open(dir.path()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("\"a\""), "{error}");
    }
}
