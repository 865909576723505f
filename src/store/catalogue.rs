//! Which collections there are: one small key-value file in the data directory, and a folder for each collection.
//!
//! A folder is made, with an empty truth inside, before a transaction names it, and removed after a transaction has
//! forgotten it; folders that no record names are swept at open. Folder numbers are never used twice.

use super::Error;
use super::folder_number;
use super::kv::Kv;
use super::record::{self, CollectionRecord, Entry};
use super::truth::Truth;
use crate::disk::{self, DirLock, Fs};
use redb::{ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    fs: Arc<dyn Fs>,
    kv: Kv,
    folder: PathBuf,
    _lock: DirLock,
}

/// What a change of the catalogue left.
#[derive(Debug)]
pub struct Changed {
    /// What is known of the collection now; none when it was removed.
    pub entry: Option<Entry>,
    /// Folders that nothing names any more, to be removed by [`Catalogue::discard`].
    pub gone: Vec<PathBuf>,
}

/// A collection's name, and what is known of it, or why its record cannot be read.
pub type Listed = (String, Result<Entry, Error>);

impl Catalogue {
    /// Takes the data directory's lock, opens its catalogue (or makes both), and sweeps folders that nothing names.
    ///
    /// # Errors
    /// `Busy` when another process has the directory; `Corrupt` for a damaged catalogue, or when there are collections
    /// but no catalogue (nothing is swept then).
    pub fn open(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<Self, Error> {
        disk::create_folder(fs.as_ref(), data_dir)?;
        let lock = DirLock::take(data_dir)?;
        let folder = data_dir.join(FOLDER);
        disk::create_folder(fs.as_ref(), &folder)?;
        let path = data_dir.join(FILE);
        let catalogue = if disk::file_len(&path)?.is_none_or(|length| length == 0) {
            let found = disk::list_folders(&folder)?;
            if !found.is_empty() {
                let what = format!("missing or empty, but {} holds {} folders", folder.display(), found.len());
                return Err(Error::corrupt(&path, what));
            }
            Self { fs: fs.clone(), kv: Kv::create(fs, &path, CACHE_BYTES)?, folder, _lock: lock }
        } else {
            Self { fs: fs.clone(), kv: Kv::open(fs, &path, CACHE_BYTES)?, folder, _lock: lock }
        };
        let kv = &catalogue.kv;
        kv.write(|transaction| {
            transaction.open_table(COLLECTIONS).map_err(kv.failed("open a table"))?;
            transaction.open_table(META).map_err(kv.failed("open a table"))?;
            Ok(())
        })?;
        catalogue.sweep()?;
        Ok(catalogue)
    }

    /// Opens a catalogue that is there, to look at it: nothing on the disk changes.
    ///
    /// # Errors
    /// `Busy` when another process has the directory; `Corrupt` for a catalogue that is missing or damaged.
    pub fn inspect(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        if disk::file_len(&path)?.is_none() {
            return Err(Error::corrupt(&path, "missing: this is no data directory"));
        }
        let lock = DirLock::take(data_dir)?;
        let kv = Kv::look(fs.as_ref(), &path)?;
        Ok(Self { fs: fs.clone(), kv, folder: data_dir.join(FOLDER), _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.kv.path()
    }

    /// Removes folders that no record names; none while a record cannot be read, since it may name any of them.
    fn sweep(&self) -> Result<(), Error> {
        let mut named = Vec::new();
        for (_, entry) in self.list()? {
            match entry {
                Ok(entry) => named.extend(self.dirs_of(&entry)),
                Err(_) => return Ok(()),
            }
        }
        for name in disk::list_folders(&self.folder)? {
            let path = self.folder.join(&name);
            if folder_number(&name).is_some() && !named.contains(&path) {
                disk::remove_folder(self.fs.as_ref(), &path)?;
            }
        }
        Ok(())
    }

    /// All collections by name.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`: of the whole file. That of a record is in its entry.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(COLLECTIONS) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let mut all = Vec::new();
            for entry in table.iter().map_err(self.kv.failed("read"))? {
                let (name, json) = entry.map_err(self.kv.failed("read"))?;
                all.push((name.value().to_owned(), self.decode(name.value(), json.value())));
            }
            Ok(all)
        })
    }

    /// What is known of one collection; none when there is none of that name.
    ///
    /// # Errors
    /// `Corrupt`, `Incompatible`, `Internal`.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.kv.read(|read| {
            let table = read.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let json = table.get(name).map_err(self.kv.failed("read"))?;
            json.map(|json| self.decode(name, json.value())).transpose()
        })
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
            disk::remove_folder(self.fs.as_ref(), &folder)?;
            drop(Truth::create(&self.fs, &folder)?);
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            let json = record::encode(&Entry::first(record.clone(), number));
            table.insert(name, json.as_slice()).map_err(self.kv.failed("write"))?;
            Ok(folder)
        })
    }

    /// Makes a folder that no record names yet, with an empty truth inside; it is swept at the next open unless it is
    /// [adopted](Self::adopt).
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn prepare(&self) -> Result<Prepared, Error> {
        let number = self.kv.write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(self.kv.failed("open a table"))?;
            let number = meta.get(NEXT_FOLDER).map_err(self.kv.failed("read"))?.map_or(0, |number| number.value());
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            Ok(number)
        })?;
        let prepared = Prepared { fs: self.fs.clone(), number, dir: self.folder_of(number), adopted: false };
        disk::remove_folder(self.fs.as_ref(), &prepared.dir)?;
        drop(Truth::create(&self.fs, &prepared.dir)?);
        Ok(prepared)
    }

    /// Gives a collection that folder, durably, in place of those that it had, if it had any; they are returned, to
    /// be removed by [`discard`](Self::discard).
    ///
    /// # Errors
    /// What the disk refuses. The collection is what it was then.
    pub fn adopt(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Vec<PathBuf>, Error> {
        let name = record.name.as_str();
        // A transaction that fails may be there after a restart all the same: the folder stays until it is swept.
        prepared.adopted = true;
        let number = prepared.number;
        Ok(self.change(name, |_| Ok(Some(Entry::first(record.clone(), number))))?.gone)
    }

    /// Makes that folder the next generation of a collection, durably; the one that it had is kept beside it, and none
    /// before that.
    ///
    /// # Errors
    /// `Internal` (`Refused`) when there is no such collection; what the disk refuses. The collection is what it was then.
    pub fn succeed(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Changed, Error> {
        let name = record.name.as_str();
        prepared.adopted = true;
        let number = prepared.number;
        self.change(name, |before| {
            let mut before = before.ok_or_else(|| self.missing(name))?;
            let older = before.previous.take().map_or(0, |older| older.generation);
            let generation = older.max(before.generation).saturating_add(1);
            let next = Entry { generation, previous: Some(Box::new(before)), ..Entry::first(record.clone(), number) };
            Ok(Some(next))
        })
    }

    /// Makes the generation before the present one again, durably; the present one is kept beside it.
    ///
    /// # Errors
    /// As [`succeed`](Self::succeed); `Refused` too when there is no generation before.
    pub fn go_back(&self, name: &str) -> Result<Changed, Error> {
        self.change(name, |before| {
            let mut before = before.ok_or_else(|| self.missing(name))?;
            let mut older = before.previous.take().ok_or_else(|| self.missing(name))?;
            older.previous = Some(Box::new(before));
            Ok(Some(*older))
        })
    }

    /// Forgets the generation before, durably.
    ///
    /// # Errors
    /// As [`succeed`](Self::succeed).
    pub fn forget_previous(&self, name: &str) -> Result<Changed, Error> {
        self.change(name, |before| {
            let before = before.ok_or_else(|| self.missing(name))?;
            Ok(Some(Entry { previous: None, ..before }))
        })
    }

    fn missing(&self, name: &str) -> Error {
        Error::refused(self.kv.path(), format!("there is no such generation of a collection named {name:?}"))
    }

    /// Makes of a collection's entry another one, or none, in a transaction.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(Option<Entry>) -> Result<Option<Entry>, Error>,
    ) -> Result<Changed, Error> {
        let (before, entry) = self.kv.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let json = table.get(name).map_err(self.kv.failed("read"))?.map(|json| json.value().to_vec());
            // The folders of a record that cannot be read are swept at the next open.
            let before = json.as_ref().and_then(|json| self.decode(name, json).ok());
            let after = change(before.clone())?;
            match &after {
                Some(after) => {
                    _ = table.insert(name, record::encode(after).as_slice()).map_err(self.kv.failed("write"))?
                }
                None => _ = table.remove(name).map_err(self.kv.failed("write"))?,
            }
            Ok((before, after))
        })?;
        let dirs = |entry: &Option<Entry>| entry.as_ref().map_or_else(Vec::new, |entry| self.dirs_of(entry));
        let (mut gone, named) = (dirs(&before), dirs(&entry));
        gone.retain(|dir| !named.contains(dir));
        Ok(Changed { entry, gone })
    }

    /// Where the files of a generation are.
    pub fn dir_of(&self, entry: &Entry) -> PathBuf {
        self.folder_of(entry.folder)
    }

    fn dirs_of(&self, entry: &Entry) -> Vec<PathBuf> {
        std::iter::once(entry).chain(entry.previous.as_deref()).map(|entry| self.dir_of(entry)).collect()
    }

    /// Removes a folder that no record names any more.
    ///
    /// # Errors
    /// What the disk refuses; it is swept at the next open then.
    pub fn discard(&self, folder: &Path) -> Result<(), Error> {
        Ok(disk::remove_folder(self.fs.as_ref(), folder)?)
    }

    /// Why nothing is written any more, if so: then what the last write did may be there after a restart, or not.
    pub fn stopped(&self) -> Option<String> {
        self.kv.stopped()
    }

    /// Forgets a collection, durably; its folders are returned, to be removed by [`discard`](Self::discard). One that is not
    /// there is no error.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn remove(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        Ok(self.change(name, |_| Ok(None))?.gone)
    }

    fn decode(&self, name: &str, json: &[u8]) -> Result<Entry, Error> {
        record::decode(self.kv.path(), name, json)
    }

    fn folder_of(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}"))
    }
}

/// A folder in the making. Dropped before a record names it, it is removed.
pub struct Prepared {
    fs: Arc<dyn Fs>,
    number: u64,
    dir: PathBuf,
    adopted: bool,
}

impl Prepared {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.adopted {
            // Best effort: what stays is swept at the next open.
            let _ = disk::remove_folder(self.fs.as_ref(), &self.dir);
        }
    }
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

    fn open(dir: &Path) -> Result<Catalogue, Error> {
        Catalogue::open(&disk::real_fs(), dir)
    }

    fn listed(catalogue: &Catalogue) -> Vec<(CollectionRecord, PathBuf)> {
        let entries = catalogue.list().unwrap().into_iter().map(|(_, entry)| entry.unwrap());
        entries.map(|entry| (entry.record.clone(), catalogue.dir_of(&entry))).collect()
    }

    fn remove(catalogue: &Catalogue, name: &str) {
        catalogue.remove(name).unwrap().into_iter().for_each(|folder| catalogue.discard(&folder).unwrap());
    }

    #[test]
    fn collections_survive_a_reopen_and_orphans_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = open(dir.path()).unwrap();
        let a = catalogue.create(&record("a")).unwrap();
        let b = catalogue.create(&record("b")).unwrap();
        assert_eq!(catalogue.create(&record("a")).unwrap_err().kind(), ErrorKind::Internal);
        assert!(matches!(open(dir.path()).map(|_| ()), Err(error) if error.kind() == ErrorKind::Busy));
        drop(catalogue);

        let orphan = dir.path().join(FOLDER).join("00000000000000ff");
        let foreign = dir.path().join(FOLDER).join("lost+found");
        for folder in [&orphan, &foreign] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("x.vectors"), b"x").unwrap();
        }
        let catalogue = open(dir.path()).unwrap();
        assert!(!orphan.exists() && foreign.exists());
        assert_eq!(listed(&catalogue), [(record("a"), a.clone()), (record("b"), b.clone())]);

        remove(&catalogue, "a");
        remove(&catalogue, "a");
        assert!(!a.exists() && b.exists());
        let again = catalogue.create(&record("a")).unwrap();
        assert_ne!(again, a, "a folder number is never used twice");
        drop(catalogue);
        let names: Vec<_> = listed(&open(dir.path()).unwrap());
        assert_eq!(names, [(record("a"), again), (record("b"), b)]);
    }

    #[test]
    fn generations_follow_each_other_and_their_folders_go_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = open(dir.path()).unwrap();
        let first = catalogue.create(&record("a")).unwrap();
        let entry = || catalogue.list().unwrap().pop().unwrap().1.unwrap();
        let numbers = || (entry().generation, entry().previous.map(|previous| previous.generation));
        assert!(catalogue.go_back("a").is_err() && catalogue.go_back("none").is_err());
        assert!(catalogue.forget_previous("a").unwrap().gone.is_empty());
        let wider = CollectionRecord { dimension: 7, ..record("a") };
        let prepared = catalogue.prepare().unwrap();
        let second = prepared.dir().to_path_buf();
        let changed = catalogue.succeed(&wider, prepared).unwrap();
        assert!(changed.gone.is_empty() && changed.entry == Some(entry()));
        assert_eq!((numbers(), entry().record.dimension), ((2, Some(1)), 7));
        catalogue.go_back("a").unwrap();
        assert_eq!((numbers(), entry().record.dimension, catalogue.dir_of(&entry())), ((1, Some(2)), 3, first.clone()));
        // The number of a generation that was gone back from is not used again.
        let prepared = catalogue.prepare().unwrap();
        let third = prepared.dir().to_path_buf();
        assert_eq!(catalogue.succeed(&wider, prepared).unwrap().gone, std::slice::from_ref(&second));
        assert_eq!(numbers(), (3, Some(1)));
        drop(catalogue);
        let catalogue = open(dir.path()).unwrap();
        assert!(first.exists() && third.exists() && !second.exists(), "the second is swept");
        assert_eq!(catalogue.forget_previous("a").unwrap().gone, std::slice::from_ref(&first));
        let prepared = catalogue.prepare().unwrap();
        let fourth = prepared.dir().to_path_buf();
        catalogue.succeed(&wider, prepared).unwrap();
        assert_eq!(catalogue.adopt(&record("a"), catalogue.prepare().unwrap()).unwrap(), [fourth, third]);
        catalogue.succeed(&wider, catalogue.prepare().unwrap()).unwrap();
        assert_eq!(catalogue.remove("a").unwrap().len(), 2);
        assert!(catalogue.succeed(&wider, catalogue.prepare().unwrap()).is_err());
        assert!(catalogue.list().unwrap().is_empty());
    }

    #[test]
    fn a_lost_catalogue_is_an_error_and_nothing_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap().create(&record("a")).unwrap();
        let file = dir.path().join(FILE);
        std::fs::write(&file, b"").unwrap();
        assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        std::fs::write(&file, b"not a database at all, but long enough to be looked at").unwrap();
        assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(folder.join("points.redb").exists());
    }

    #[test]
    fn a_record_that_cannot_be_read_stops_neither_the_others_nor_is_its_folder_swept() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = open(dir.path()).unwrap();
        let (a, b) = (catalogue.create(&record("a")).unwrap(), catalogue.create(&record("b")).unwrap());
        catalogue
            .kv
            .write(|transaction| {
                let mut table = transaction.open_table(COLLECTIONS).unwrap();
                table.insert("a", &b"{\"version\": 99}"[..]).unwrap();
                Ok(())
            })
            .unwrap();
        drop(catalogue);
        let catalogue = open(dir.path()).unwrap();
        let all = catalogue.list().unwrap();
        assert_eq!(all[0].0, "a");
        assert_eq!(all[0].1.as_ref().unwrap_err().kind(), ErrorKind::Incompatible);
        assert_eq!(catalogue.dir_of(all[1].1.as_ref().unwrap()), b);
        assert!(a.exists() && b.exists());
        remove(&catalogue, "a");
        drop(catalogue);
        drop(open(dir.path()).unwrap());
        assert!(!a.exists() && b.exists(), "forgotten, it is swept");
    }
}
