//! Catalog of the collections: a small key-value file in the data directory. Each collection has a folder.
//!
//! A folder number is never reused. Opening removes a folder without a record only if it is a leftover:
//!
//! ```text
//! unfinished   has the file `uncommitted`, from before the first point until a record contains the folder
//! removed      its number is in the table `removed`, from the removal of its record until the folder is deleted
//! unrecorded   holds no points: its creation did not commit
//! ```
//!
//! It moves any other to `orphans/`, or fails; see `orphan.rs`.

mod names;
mod summaries;
#[cfg(test)]
mod tests;

pub use summaries::{SegmentSummary, Summary, check_value};

use crate::disk::{self, DirLock, Fs};
use crate::store::collection_db::CollectionDb;
use crate::store::identity::{self, CollectionDir, Owner};
use crate::store::kv::db::Kv;
use crate::store::orphan::{self, Content, OrphanAction, OrphanFile};
use crate::store::record::{self, CollectionRecord, Entry};
use crate::store::{Error, folder_number};
use crate::types::{Identity, Ttl};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use summaries::SUMMARIES;

/// Collection name -> JSON of its record.
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");
/// Counters by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Identities by name, 16 bytes each.
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");
/// Numbers of folders whose record was removed, until the folders are deleted.
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");
/// In [`META`]: the lowest unused folder number.
const NEXT_FOLDER: &str = "next_folder";
/// In [`IDENTITY`]: the identity of the data directory.
const DIRECTORY: &str = "directory";

const FILE: &str = "catalogue.redb";
const FOLDER: &str = "collections";
const CACHE_BYTES: usize = 1 << 20;

/// The collections of a data directory. Holds the lock of the directory. Calls that write block for a disk sync.
pub struct Catalog {
    fs: Arc<dyn Fs>,
    kv: Kv,
    folder: PathBuf,
    orphans: PathBuf,
    identity: Identity,
    /// Numbers in the table `removed` of durably deleted folders: the next transaction deletes them from the table.
    settled: Mutex<Vec<u64>>,
    _lock: DirLock,
}

/// Result of a change to the catalogue.
#[derive(Debug)]
pub struct Changed {
    /// The new entry of the collection; none after its removal.
    pub entry: Option<Entry>,
    /// Folders without a record, to be removed by [`Catalog::discard`].
    pub obsolete: Vec<PathBuf>,
}

/// Name of a collection and its entry, or the error of an unreadable record.
pub type Listed = (String, Result<Entry, Error>);

impl Catalog {
    /// Takes the lock of the data directory and opens its catalogue; creates both if they are missing. Removes
    /// leftovers and moves orphans to `orphans/`. Writes nothing after a clean shutdown.
    ///
    /// # Errors
    /// `Busy` if another process has the directory open; `Corrupt` for a catalogue that is damaged, older than the
    /// folders, or of another data directory, and if there are collections but no catalogue. Nothing is removed then.
    pub fn open(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let folder = data_dir.join(FOLDER);
        let missing = disk::file_len(&path)?.is_none_or(|length| length == 0);
        if missing {
            disk::create_folder(fs.as_ref(), data_dir)?;
        }
        let lock = DirLock::take(data_dir)?;
        warn_of_others(data_dir)?;
        // Both folders are durable before the catalogue is created.
        if missing || !folder.is_dir() {
            disk::create_folder(fs.as_ref(), &folder)?;
        }
        let kv = if missing {
            let found = disk::list_folders(&folder)?;
            if !found.is_empty() {
                let what = format!("missing or empty, but {} holds {} folders", folder.display(), found.len());
                return Err(Error::corrupt(&path, what));
            }
            Kv::create(fs, &path, CACHE_BYTES)?
        } else {
            Kv::open(fs, &path, CACHE_BYTES)?
        };
        let identity = match read_identity(&kv)? {
            Some(identity) => identity,
            None => {
                let identity = identity::random(&path)?;
                kv.write(|transaction| {
                    transaction.open_table(COLLECTIONS).map_err(kv.failed("open a table"))?;
                    transaction.open_table(META).map_err(kv.failed("open a table"))?;
                    let mut table = transaction.open_table(IDENTITY).map_err(kv.failed("open a table"))?;
                    table.insert(DIRECTORY, identity.0.as_slice()).map_err(kv.failed("write"))?;
                    Ok(())
                })?;
                identity
            }
        };
        let catalog = Self::with(fs, kv, data_dir, identity, lock);
        catalog.sweep()?;
        Ok(catalog)
    }

    /// Opens an existing catalogue read-only: nothing on disk changes.
    ///
    /// # Errors
    /// `Busy` if another process has the directory open; `Corrupt` for a missing or damaged catalogue.
    pub fn inspect(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        if disk::file_len(&path)?.is_none() {
            return Err(Error::corrupt(&path, "missing: this is not a data directory"));
        }
        let lock = DirLock::take(data_dir)?;
        let kv = Kv::open_read_only(fs, &path)?;
        let identity = match read_identity(&kv)? {
            Some(identity) => identity,
            None => identity::random(&path)?,
        };
        Ok(Self::with(fs, kv, data_dir, identity, lock))
    }

    fn with(fs: &Arc<dyn Fs>, kv: Kv, data_dir: &Path, identity: Identity, lock: DirLock) -> Self {
        let (folder, orphans) = (data_dir.join(FOLDER), data_dir.join(orphan::FOLDER));
        Self { fs: fs.clone(), kv, folder, orphans, identity, settled: Mutex::default(), _lock: lock }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.kv.path()
    }

    /// Lists the files and folders in `orphans/`.
    ///
    /// # Errors
    /// `Internal` if the folder cannot be read.
    pub fn orphans(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.orphans.is_dir() {
            return Ok(Vec::new());
        }
        let names = disk::list_folders(&self.orphans)?.into_iter().chain(disk::list_files(&self.orphans)?);
        Ok(names.map(|name| self.orphans.join(name)).collect())
    }

    /// Lists the folders without a record. If any record is unreadable, which may name any of them, lists only those that
    /// prove that the catalog belongs to other or to older data.
    ///
    /// # Errors
    /// `Busy` if one of them is open; `Corrupt`, `Internal`.
    pub fn unnamed(&self) -> Result<Vec<OrphanFile>, Error> {
        let (mut named, mut all_readable) = (BTreeSet::new(), true);
        for (_, entry) in self.list()? {
            match entry {
                Ok(entry) => named.extend(entry.folders()),
                Err(_) => all_readable = false,
            }
        }
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let (removed, next) = (self.removed()?, self.next_folder()?);
        let mut unnamed = Vec::new();
        for name in disk::list_folders(&self.folder)? {
            let Some(number) = folder_number(&name).filter(|number| !named.contains(number)) else { continue };
            let path = self.folder.join(&name);
            let content = orphan::content(&self.fs, &path)?;
            let (fate, what) = self.fate_of(number, next, removed.contains(&number), &content);
            if all_readable || fate == OrphanAction::Refuse {
                unnamed.push(OrphanFile { path, fate, what });
            }
        }
        Ok(unnamed)
    }

    fn fate_of(&self, number: u64, next: u64, removed: bool, content: &Content) -> (OrphanAction, String) {
        const REMEDY: &str = "restore the catalog that belongs to it, or move the folder out of the data directory";
        let catalog = self.kv.path().display();
        match (&content.points, content.owner) {
            (Some(points), Some(owner)) if owner.directory != self.identity => {
                let (theirs, ours) = (owner.directory, self.identity);
                let what = format!(
                    "holds {points} of the data directory {theirs}, but {catalog} is of the data directory {ours}; {REMEDY}"
                );
                (OrphanAction::Refuse, what)
            }
            _ if removed => (OrphanAction::Remove, "its collection was removed".into()),
            (points, _) if number > next || number == next && points.is_some() => {
                let what = format!(
                    "is folder {number}, but the next folder of {catalog} is {next}: the catalog is older than the data; {REMEDY}"
                );
                (OrphanAction::Refuse, what)
            }
            (None, _) => (OrphanAction::Remove, "no record names it, and it holds no points".into()),
            (Some(_), _) if content.uncommitted => (OrphanAction::Remove, "its creation was not completed".into()),
            (Some(points), _) => {
                (OrphanAction::SetAside, format!("no record of {catalog} names it, and it holds {points}"))
            }
        }
    }

    /// Removes leftovers and moves orphans to `orphans/`.
    fn sweep(&self) -> Result<(), Error> {
        let unnamed = self.unnamed()?;
        if let Some(OrphanFile { path, what, .. }) = unnamed.iter().find(|unnamed| unnamed.fate == OrphanAction::Refuse)
        {
            return Err(Error::foreign(path, what.clone()));
        }
        let mut any_removed = false;
        for unnamed in &unnamed {
            match unnamed.fate {
                OrphanAction::Remove => {
                    tracing::info!(folder = %unnamed.path.display(), why = unnamed.what, "removed a leftover folder");
                    remove_marked(self.fs.as_ref(), &unnamed.path)?;
                    any_removed = true;
                }
                OrphanAction::SetAside | OrphanAction::Refuse => {
                    let name = unnamed.path.file_name().unwrap_or_default().to_string_lossy();
                    orphan::set_aside(self.fs.as_ref(), unnamed, &self.orphans, &name)?;
                }
            }
        }
        if any_removed {
            disk::sync_folder(self.fs.as_ref(), &self.folder)?;
        }
        self.settle(self.removed()?.into_iter().filter(|number| !self.folder_of(*number).exists()));
        for (_, entry) in self.list()? {
            // A crash between writing the record and removing the mark leaves the mark.
            entry.iter().for_each(|entry| self.unmark(&self.dir_of(entry)));
        }
        let orphans = self.orphans()?;
        if !orphans.is_empty() {
            tracing::warn!(
                folder = %self.orphans.display(), entries = orphans.len(),
                "no record names what is in this folder; restore the files that belong to it, or remove it"
            );
        }
        Ok(())
    }

    fn unmark(&self, folder: &Path) {
        let marker = folder.join(orphan::MARKER);
        if marker.exists()
            && let Err(error) = disk::remove_file(self.fs.as_ref(), &marker)
        {
            tracing::warn!(path = %marker.display(), %error, "could not remove a mark; the next start removes it");
        }
    }

    fn removed(&self) -> Result<BTreeSet<u64>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(REMOVED) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let numbers = table.iter().map_err(self.kv.failed("read"))?;
            numbers.map(|entry| Ok(entry.map_err(self.kv.failed("read"))?.0.value())).collect()
        })
    }

    fn next_folder(&self) -> Result<u64, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(META) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            Ok(table.get(NEXT_FOLDER).map_err(self.kv.failed("read"))?.map_or(0, |number| number.value()))
        })
    }

    fn settle(&self, numbers: impl IntoIterator<Item = u64>) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
    }

    /// Runs `body` in one transaction, which also deletes settled numbers from `removed`.
    fn write<T>(&self, body: impl FnOnce(&WriteTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let settled = std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner));
        let done = self.kv.write(|transaction| {
            if !settled.is_empty() {
                let mut removed = transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
                for number in &settled {
                    removed.remove(number).map_err(self.kv.failed("write"))?;
                }
            }
            body(transaction)
        });
        if done.is_err() {
            self.settle(settled);
        }
        done
    }

    /// Lists all collections by name.
    ///
    /// # Errors
    /// `Corrupt`, `Internal` for the whole file. The error of a single record is in its list entry.
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

    /// Returns the entry of a collection; none if it does not exist.
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

    /// Creates a collection, durably; returns its folder, which holds an empty database.
    ///
    /// # Errors
    /// `Internal` (`Refused`) if the name is taken; any disk error. No record is written then.
    pub fn create(&self, record: &CollectionRecord) -> Result<CollectionDir, Error> {
        let owner = self.new_owner()?;
        self.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let mut meta = transaction.open_table(META).map_err(self.kv.failed("open a table"))?;
            let name = record.name.as_str();
            if table.get(name).map_err(self.kv.failed("read"))?.is_some() {
                return Err(Error::refused(self.kv.path(), format!("there is a collection named {name:?}")));
            }
            let number = meta.get(NEXT_FOLDER).map_err(self.kv.failed("read"))?.map_or(0, |number| number.value());
            let folder = self.folder_of(number);
            // A failed creation may have left this folder, at most with an empty database.
            self.remove_empty(&folder)?;
            drop(CollectionDb::create(&self.fs, &folder, owner)?);
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            let entry = Entry::first(record.clone(), number, Some(owner.collection));
            table.insert(name, record::encode(&entry).as_slice()).map_err(self.kv.failed("write"))?;
            Ok(self.collection_dir(&entry))
        })
    }

    fn new_owner(&self) -> Result<Owner, Error> {
        Ok(Owner { directory: self.identity, collection: identity::random(self.kv.path())? })
    }

    /// Removes a folder, if it exists; fails if it holds points.
    fn remove_empty(&self, folder: &Path) -> Result<(), Error> {
        if folder.is_dir()
            && let Some(points) = orphan::content(&self.fs, folder)?.points
        {
            return Err(Error::foreign(folder, format!("no record names it, and it holds {points}: move it away")));
        }
        Ok(disk::remove_folder(self.fs.as_ref(), folder)?)
    }

    /// Creates a folder with an empty database and without a record. The next open removes it unless it is
    /// [adopted](Self::adopt).
    ///
    /// # Errors
    /// Any disk error.
    pub fn prepare(&self) -> Result<Prepared, Error> {
        let owner = self.new_owner()?;
        let number = self.write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(self.kv.failed("open a table"))?;
            let number = meta.get(NEXT_FOLDER).map_err(self.kv.failed("read"))?.map_or(0, |number| number.value());
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            Ok(number)
        })?;
        let dir = CollectionDir {
            path: self.folder_of(number),
            orphans: self.orphans.clone(),
            directory: self.identity,
            collection: Some(owner.collection),
            catalog: self.kv.path().into(),
        };
        self.remove_empty(&dir.path)?;
        let prepared = Prepared { fs: self.fs.clone(), number, identity: owner.collection, dir, adopted: false };
        let path = prepared.dir();
        disk::create_folder(self.fs.as_ref(), path)?;
        let marker = path.join(orphan::MARKER);
        // Made durable together with the name of the database, before the first point.
        self.fs.create(&marker).map_err(|source| disk::Error::io(&marker, "create", source))?;
        drop(CollectionDb::create(&self.fs, path, owner)?);
        Ok(prepared)
    }

    /// Records identities of collections that have none, by name and folder number.
    ///
    /// # Errors
    /// Any disk error.
    pub fn identify(&self, found: &[(String, u64, Identity)]) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            for (name, folder, identity) in found {
                let json = table.get(name.as_str()).map_err(self.kv.failed("read"))?.map(|json| json.value().to_vec());
                let Some(mut entry) = json.and_then(|json| self.decode(name, &json).ok()) else { continue };
                let previous = entry.previous.as_deref_mut().map(|previous| (previous.folder, &mut previous.identity));
                for (_, slot) in [Some((entry.folder, &mut entry.identity)), previous]
                    .into_iter()
                    .flatten()
                    .filter(|(number, slot)| number == folder && slot.is_none())
                {
                    *slot = Some(*identity);
                }
                table.insert(name.as_str(), record::encode(&entry).as_slice()).map_err(self.kv.failed("write"))?;
            }
            Ok(())
        })
    }

    /// Makes `prepared` the folder of a collection, durably, and creates the collection if it is missing. Returns its
    /// former folders, to be removed by [`discard`](Self::discard).
    ///
    /// # Errors
    /// Any disk error. The collection is then unchanged.
    pub fn adopt(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Vec<PathBuf>, Error> {
        let name = record.name.as_str();
        // A failed transaction may still be present after a restart: leave the folder to the next sweep.
        prepared.adopted = true;
        let entry = Entry::first(record.clone(), prepared.number, Some(prepared.identity));
        let obsolete = self.change(name, |_| Ok(Some(entry)))?.obsolete;
        self.unmark(prepared.dir());
        Ok(obsolete)
    }

    /// Makes `prepared` the next generation of a collection, durably. Keeps the current generation as the previous one,
    /// and removes an older one.
    ///
    /// # Errors
    /// `Internal` (`Refused`) if the collection does not exist; any disk error. The collection is then unchanged.
    pub fn succeed(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Changed, Error> {
        let name = record.name.as_str();
        prepared.adopted = true;
        let first = Entry::first(record.clone(), prepared.number, Some(prepared.identity));
        let changed = self.change(name, |before| {
            let mut before = before.ok_or_else(|| self.missing(name))?;
            let older = before.previous.take().map_or(0, |older| older.generation);
            let generation = older.max(before.generation).saturating_add(1);
            let mut next = Entry { generation, previous: None, ..first };
            next.record.copy_fields(&before.record);
            next.record.ttl.clone_from(&before.record.ttl);
            next.previous = Some(Box::new(before));
            Ok(Some(next))
        })?;
        self.unmark(prepared.dir());
        Ok(changed)
    }

    /// Swaps the current and the previous generation, durably.
    ///
    /// # Errors
    /// Those of [`succeed`](Self::succeed); also `Refused` if there is no previous generation.
    pub fn go_back(&self, name: &str) -> Result<Changed, Error> {
        self.change(name, |before| {
            let mut before = before.ok_or_else(|| self.missing(name))?;
            let mut older = before.previous.take().ok_or_else(|| self.missing(name))?;
            older.previous = Some(Box::new(before));
            Ok(Some(*older))
        })
    }

    /// Replaces the fields of a collection by those of `record`, in both generations, durably.
    ///
    /// # Errors
    /// Those of [`succeed`](Self::succeed).
    pub fn set_fields(&self, record: &CollectionRecord) -> Result<Changed, Error> {
        self.set(record.name.as_str(), |before| before.copy_fields(record))
    }

    /// Replaces the expiry of the points of a collection, in both generations, durably.
    ///
    /// # Errors
    /// Those of [`succeed`](Self::succeed).
    pub fn set_ttl(&self, name: &str, ttl: Option<&Ttl>) -> Result<Changed, Error> {
        self.set(name, |record| record.ttl = ttl.cloned())
    }

    /// Changes a setting of a collection, in both generations.
    fn set(&self, name: &str, set: impl Fn(&mut CollectionRecord)) -> Result<Changed, Error> {
        self.change(name, |before| {
            let mut entry = before.ok_or_else(|| self.missing(name))?;
            set(&mut entry.record);
            if let Some(previous) = &mut entry.previous {
                set(&mut previous.record);
            }
            Ok(Some(entry))
        })
    }

    /// Removes the previous generation from the record, durably.
    ///
    /// # Errors
    /// Those of [`succeed`](Self::succeed).
    pub fn forget_previous(&self, name: &str) -> Result<Changed, Error> {
        self.change(name, |before| {
            let before = before.ok_or_else(|| self.missing(name))?;
            Ok(Some(Entry { previous: None, ..before }))
        })
    }

    fn missing(&self, name: &str) -> Error {
        Error::refused(self.kv.path(), format!("there is no such generation of a collection named {name:?}"))
    }

    /// Replaces or removes the entry of a collection in one transaction.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(Option<Entry>) -> Result<Option<Entry>, Error>,
    ) -> Result<Changed, Error> {
        let (entry, obsolete) = self.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let json = table.get(name).map_err(self.kv.failed("read"))?.map(|json| json.value().to_vec());
            // The folders of an unreadable record are unknown: the next open moves those with points to `orphans/`.
            let before = json.as_ref().and_then(|json| self.decode(name, json).ok());
            let after = change(before.clone())?;
            match &after {
                Some(after) => {
                    _ = table.insert(name, record::encode(after).as_slice()).map_err(self.kv.failed("write"))?
                }
                None => {
                    table.remove(name).map_err(self.kv.failed("write"))?;
                    self.remove_aliases(transaction, name)?;
                }
            }
            let named = after.as_ref().map_or_else(Vec::new, Entry::folders);
            let obsolete = before.as_ref().map_or_else(Vec::new, Entry::folders).into_iter();
            let obsolete: Vec<u64> = obsolete.filter(|number| !named.contains(number)).collect();
            if !obsolete.is_empty() {
                let mut removed = transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
                let mut summaries = transaction.open_table(SUMMARIES).map_err(self.kv.failed("open a table"))?;
                for number in &obsolete {
                    removed.insert(number, ()).map_err(self.kv.failed("write"))?;
                    summaries.remove(number).map_err(self.kv.failed("write"))?;
                }
            }
            Ok((after, obsolete))
        })?;
        Ok(Changed { entry, obsolete: obsolete.into_iter().map(|number| self.folder_of(number)).collect() })
    }

    /// Returns the folder of a generation.
    pub fn dir_of(&self, entry: &Entry) -> PathBuf {
        self.folder_of(entry.folder)
    }

    /// Returns the folder of a generation with its data from the catalogue.
    pub fn collection_dir(&self, entry: &Entry) -> CollectionDir {
        CollectionDir {
            path: self.dir_of(entry),
            orphans: self.orphans.clone(),
            directory: self.identity,
            collection: entry.identity,
            catalog: self.kv.path().into(),
        }
    }

    /// Removes a folder whose record was removed, durably.
    ///
    /// # Errors
    /// Any disk error; the next open removes the folder then.
    pub fn discard(&self, folder: &Path) -> Result<(), Error> {
        disk::remove_folder(self.fs.as_ref(), folder)?;
        disk::sync_folder(self.fs.as_ref(), &self.folder)?;
        self.settle(folder.file_name().and_then(|name| name.to_str()).and_then(folder_number));
        Ok(())
    }

    /// Moves folders of a closed collection to `orphans/` if they hold another collection. Call before the collection
    /// is removed or replaced.
    ///
    /// # Errors
    /// `Internal`.
    pub fn set_foreign_aside(&self, name: &str) -> Result<(), Error> {
        // The folders of an unreadable record are unknown.
        let Ok(Some(entry)) = self.entry(name) else { return Ok(()) };
        for generation in std::iter::once(&entry).chain(entry.previous.as_deref()) {
            let path = self.dir_of(generation);
            let owner = if path.is_dir() { orphan::content(&self.fs, &path)?.owner } else { None };
            let Some(owner) = owner else { continue };
            if owner.directory != self.identity || generation.identity.is_some_and(|own| own != owner.collection) {
                let what =
                    format!("the collection {name:?} was removed, and this is the folder of {}", owner.collection);
                let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let orphan = OrphanFile { path, fate: OrphanAction::SetAside, what };
                orphan::set_aside(self.fs.as_ref(), &orphan, &self.orphans, &folder)?;
            }
        }
        Ok(())
    }

    /// Returns why writing has stopped, if it has. The last write may then be present or absent after a restart.
    pub fn stopped(&self) -> Option<String> {
        self.kv.stopped()
    }

    /// Removes the record of a collection and its aliases, durably. Returns its folders, to be removed by [`discard`](Self::discard). A
    /// missing collection is no error.
    ///
    /// # Errors
    /// Any disk error.
    pub fn remove(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        Ok(self.change(name, |_| Ok(None))?.obsolete)
    }

    fn decode(&self, name: &str, json: &[u8]) -> Result<Entry, Error> {
        record::decode(self.kv.path(), name, json)
    }

    fn folder_of(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}"))
    }
}

/// Logs a warning if other users of the machine can read the data directory.
fn warn_of_others(data_dir: &Path) -> Result<(), Error> {
    if let Some(mode) = disk::mode_for_others(data_dir)? {
        tracing::warn!(
            folder = %data_dir.display(), mode = format!("{mode:04o}"),
            "other users can open the data directory; run chmod -R go-rwx on it"
        );
    }
    Ok(())
}

fn read_identity(kv: &Kv) -> Result<Option<Identity>, Error> {
    kv.read(|read| {
        let table = match read.open_table(IDENTITY) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(kv.failed("open a table")(error)),
        };
        let Some(value) = table.get(DIRECTORY).map_err(kv.failed("read"))? else { return Ok(None) };
        let bytes = value.value().try_into();
        bytes.map(|bytes| Some(Identity(bytes))).map_err(|_| Error::corrupt(kv.path(), "the identity is not 16 bytes"))
    })
}

/// Removes a folder, its mark last: after a crash the folder is still marked.
fn remove_marked(fs: &dyn Fs, folder: &Path) -> Result<(), Error> {
    if folder.is_dir() {
        for name in disk::list_files(folder)?.iter().filter(|name| *name != orphan::MARKER) {
            disk::remove_file(fs, &folder.join(name))?;
        }
    }
    Ok(disk::remove_folder(fs, folder)?)
}

/// A folder without a record. Drop removes it unless a record was written.
pub struct Prepared {
    fs: Arc<dyn Fs>,
    number: u64,
    identity: Identity,
    dir: CollectionDir,
    adopted: bool,
}

impl Prepared {
    /// Returns the path.
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Returns the folder with its identity.
    pub fn collection_dir(&self) -> &CollectionDir {
        &self.dir
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.adopted
            && let Err(error) = remove_marked(self.fs.as_ref(), &self.dir.path)
        {
            tracing::warn!(folder = %self.dir.path.display(), %error, "could not remove an unused folder; the next start removes it");
        }
    }
}
