//! Which collections there are: one small key-value file in the data directory, and a folder for each collection.
//!
//! A folder number is never used twice. A folder that no record names is removed at open only if it is a leftover:
//!
//! ```text
//! in the making   the file `uncommitted` in it, from before its first point until a record names it
//! removed         its number in the table `removed`, from the transaction that ends its record until the folder is gone
//! never named     no points in it: its creation did not commit
//! ```
//!
//! Any other is moved to `orphans/`, or the open is refused; see `orphan.rs`.

#[cfg(test)]
mod tests;

use super::identity::{self, CollectionDir, Owner};
use super::kv::Kv;
use super::orphan::{self, Content, Fate, Unnamed};
use super::record::{self, CollectionRecord, Entry};
use super::truth::Truth;
use super::{Error, folder_number};
use crate::disk::{self, DirLock, Fs};
use crate::types::Identity;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Collection name -> JSON of its record.
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");
/// Counters by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Identities by name, 16 bytes each.
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");
/// Numbers of folders whose record has ended, until they are gone.
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");
/// In [`META`]: the first folder number never used.
const NEXT_FOLDER: &str = "next_folder";
/// In [`IDENTITY`]: that of the data directory.
const DIRECTORY: &str = "directory";

const FILE: &str = "catalogue.redb";
const FOLDER: &str = "collections";
const CACHE_BYTES: usize = 1 << 20;

/// The collections of a data directory. Holds the directory's lock. Calls that write block for a sync of the disk.
pub struct Catalogue {
    fs: Arc<dyn Fs>,
    kv: Kv,
    folder: PathBuf,
    orphans: PathBuf,
    identity: Identity,
    /// Numbers in the table `removed` whose folders are durably gone: the next transaction takes them out of it.
    settled: Mutex<Vec<u64>>,
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
    /// Takes the data directory's lock and opens its catalogue (or creates both). Removes leftovers and moves orphans aside. An
    /// open after a clean end writes nothing.
    ///
    /// # Errors
    /// `Busy` when another process has the directory; `Corrupt` for a damaged catalogue, for one that is older than the
    /// folders or belongs to others, and when there are collections but no catalogue. Nothing is removed then.
    pub fn open(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let folder = data_dir.join(FOLDER);
        let missing = disk::file_len(&path)?.is_none_or(|length| length == 0);
        if missing {
            disk::create_folder(fs.as_ref(), data_dir)?;
        }
        let lock = DirLock::take(data_dir)?;
        warn_of_others(data_dir)?;
        // Both folders were durable before there was a catalogue.
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
        let catalogue = Self::with(fs, kv, data_dir, identity, lock);
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
        let kv = Kv::look(fs, &path)?;
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

    /// Files and folders that were moved aside because no record named them.
    ///
    /// # Errors
    /// `Internal` when the folder cannot be read.
    pub fn orphans(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.orphans.is_dir() {
            return Ok(Vec::new());
        }
        let names = disk::list_folders(&self.orphans)?.into_iter().chain(disk::list_files(&self.orphans)?);
        Ok(names.map(|name| self.orphans.join(name)).collect())
    }

    /// Folders that no record names; none while a record cannot be read, since it may name any of them.
    ///
    /// # Errors
    /// `Busy` when one of them is open; `Corrupt`, `Internal`.
    pub fn unnamed(&self) -> Result<Vec<Unnamed>, Error> {
        let mut named = Vec::new();
        for (_, entry) in self.list()? {
            match entry {
                Ok(entry) => named.extend(self.dirs_of(&entry)),
                Err(_) => return Ok(Vec::new()),
            }
        }
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let (removed, next) = (self.removed()?, self.next_folder()?);
        let mut unnamed = Vec::new();
        for name in disk::list_folders(&self.folder)? {
            let path = self.folder.join(&name);
            let Some(number) = folder_number(&name).filter(|_| !named.contains(&path)) else { continue };
            let content = orphan::content(&self.fs, &path)?;
            let (fate, what) = self.fate_of(number, next, removed.contains(&number), &content);
            unnamed.push(Unnamed { path, fate, what });
        }
        Ok(unnamed)
    }

    fn fate_of(&self, number: u64, next: u64, removed: bool, content: &Content) -> (Fate, String) {
        const REMEDY: &str = "restore the catalogue that belongs to it, or move the folder out of the data directory";
        let catalogue = self.kv.path().display();
        match (&content.points, content.owner) {
            (Some(points), Some(owner)) if owner.directory != self.identity => {
                let (theirs, ours) = (owner.directory, self.identity);
                let what = format!(
                    "holds {points} of the data directory {theirs}, but {catalogue} is of the data directory {ours}; {REMEDY}"
                );
                (Fate::Refuse, what)
            }
            _ if removed => (Fate::Remove, "its collection was removed".into()),
            (points, _) if number > next || number == next && points.is_some() => {
                let what = format!(
                    "is folder {number}, but the next folder of {catalogue} is {next}: the catalogue is older than the data; {REMEDY}"
                );
                (Fate::Refuse, what)
            }
            (None, _) => (Fate::Remove, "no record names it, and it holds no points".into()),
            (Some(_), _) if content.uncommitted => (Fate::Remove, "its creation was not completed".into()),
            (Some(points), _) => (Fate::SetAside, format!("no record of {catalogue} names it, and it holds {points}")),
        }
    }

    /// Removes leftovers and moves orphans aside.
    fn sweep(&self) -> Result<(), Error> {
        let unnamed = self.unnamed()?;
        if let Some(Unnamed { path, what, .. }) = unnamed.iter().find(|unnamed| unnamed.fate == Fate::Refuse) {
            return Err(Error::foreign(path, what.clone()));
        }
        let mut gone = false;
        for unnamed in &unnamed {
            match unnamed.fate {
                Fate::Remove => {
                    tracing::info!(folder = %unnamed.path.display(), why = unnamed.what, "removed a leftover folder");
                    remove_marked(self.fs.as_ref(), &unnamed.path)?;
                    gone = true;
                }
                Fate::SetAside | Fate::Refuse => {
                    let name = unnamed.path.file_name().unwrap_or_default().to_string_lossy();
                    orphan::set_aside(self.fs.as_ref(), unnamed, &self.orphans, &name)?;
                }
            }
        }
        if gone {
            disk::sync_folder(self.fs.as_ref(), &self.folder)?;
        }
        self.settle(self.removed()?.into_iter().filter(|number| !self.folder_of(*number).exists()));
        for (_, entry) in self.list()? {
            // A crash came between the record and the end of the mark.
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
            tracing::warn!(path = %marker.display(), %error, "could not remove a mark; it is removed at the next start");
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

    /// Writes in one transaction, and takes out of `removed` what is gone.
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
            // A create that failed may have left this folder behind, with an empty truth at most.
            self.remove_empty(&folder)?;
            drop(Truth::create(&self.fs, &folder, owner)?);
            meta.insert(NEXT_FOLDER, number + 1).map_err(self.kv.failed("write"))?;
            let entry = Entry::first(record.clone(), number, Some(owner.collection));
            table.insert(name, record::encode(&entry).as_slice()).map_err(self.kv.failed("write"))?;
            Ok(self.collection_dir(&entry))
        })
    }

    fn new_owner(&self) -> Result<Owner, Error> {
        Ok(Owner { directory: self.identity, collection: identity::random(self.kv.path())? })
    }

    /// Removes a folder that holds no points, if there is one.
    fn remove_empty(&self, folder: &Path) -> Result<(), Error> {
        if folder.is_dir()
            && let Some(points) = orphan::content(&self.fs, folder)?.points
        {
            return Err(Error::foreign(folder, format!("no record names it, and it holds {points}: move it away")));
        }
        Ok(disk::remove_folder(self.fs.as_ref(), folder)?)
    }

    /// Makes a folder that no record names yet, with an empty truth inside; it is removed at the next open unless it is
    /// [adopted](Self::adopt).
    ///
    /// # Errors
    /// What the disk refuses.
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
            catalogue: self.kv.path().into(),
        };
        self.remove_empty(&dir.path)?;
        let prepared = Prepared { fs: self.fs.clone(), number, identity: owner.collection, dir, adopted: false };
        let path = prepared.dir();
        disk::create_folder(self.fs.as_ref(), path)?;
        let marker = path.join(orphan::MARKER);
        // Durable with the name of the truth, before there is a point.
        self.fs.create(&marker).map_err(|source| disk::Error::io(&marker, "create", source))?;
        drop(Truth::create(&self.fs, path, owner)?);
        Ok(prepared)
    }

    /// Records the identities of collections that had none: by name and number of the folder.
    ///
    /// # Errors
    /// What the disk refuses.
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

    /// Gives a collection that folder, durably, in place of those that it had, if it had any; they are returned, to
    /// be removed by [`discard`](Self::discard).
    ///
    /// # Errors
    /// What the disk refuses. The collection is what it was then.
    pub fn adopt(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Vec<PathBuf>, Error> {
        let name = record.name.as_str();
        // A transaction that fails may be there after a restart all the same: the folder stays until it is swept.
        prepared.adopted = true;
        let entry = Entry::first(record.clone(), prepared.number, Some(prepared.identity));
        let gone = self.change(name, |_| Ok(Some(entry)))?.gone;
        self.unmark(prepared.dir());
        Ok(gone)
    }

    /// Makes that folder the next generation of a collection, durably; the one that it had is kept beside it, and none
    /// before that.
    ///
    /// # Errors
    /// `Internal` (`Refused`) when there is no such collection; what the disk refuses. The collection is what it was then.
    pub fn succeed(&self, record: &CollectionRecord, mut prepared: Prepared) -> Result<Changed, Error> {
        let name = record.name.as_str();
        prepared.adopted = true;
        let first = Entry::first(record.clone(), prepared.number, Some(prepared.identity));
        let changed = self.change(name, |before| {
            let mut before = before.ok_or_else(|| self.missing(name))?;
            let older = before.previous.take().map_or(0, |older| older.generation);
            let generation = older.max(before.generation).saturating_add(1);
            Ok(Some(Entry { generation, previous: Some(Box::new(before)), ..first }))
        })?;
        self.unmark(prepared.dir());
        Ok(changed)
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
        let (entry, gone) = self.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let json = table.get(name).map_err(self.kv.failed("read"))?.map(|json| json.value().to_vec());
            // Which folders a record names that cannot be read is not known: what holds points in them is moved aside.
            let before = json.as_ref().and_then(|json| self.decode(name, json).ok());
            let after = change(before.clone())?;
            match &after {
                Some(after) => {
                    _ = table.insert(name, record::encode(after).as_slice()).map_err(self.kv.failed("write"))?
                }
                None => _ = table.remove(name).map_err(self.kv.failed("write"))?,
            }
            let named = after.as_ref().map_or_else(Vec::new, Entry::folders);
            let gone = before.as_ref().map_or_else(Vec::new, Entry::folders).into_iter();
            let gone: Vec<u64> = gone.filter(|number| !named.contains(number)).collect();
            if !gone.is_empty() {
                let mut removed = transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
                for number in &gone {
                    removed.insert(number, ()).map_err(self.kv.failed("write"))?;
                }
            }
            Ok((after, gone))
        })?;
        Ok(Changed { entry, gone: gone.into_iter().map(|number| self.folder_of(number)).collect() })
    }

    /// Where the files of a generation are.
    pub fn dir_of(&self, entry: &Entry) -> PathBuf {
        self.folder_of(entry.folder)
    }

    /// The same, with what the catalogue records of it.
    pub fn collection_dir(&self, entry: &Entry) -> CollectionDir {
        CollectionDir {
            path: self.dir_of(entry),
            orphans: self.orphans.clone(),
            directory: self.identity,
            collection: entry.identity,
            catalogue: self.kv.path().into(),
        }
    }

    fn dirs_of(&self, entry: &Entry) -> Vec<PathBuf> {
        entry.folders().into_iter().map(|number| self.folder_of(number)).collect()
    }

    /// Removes a folder whose record has ended, durably.
    ///
    /// # Errors
    /// What the disk refuses; it is removed at the next open then.
    pub fn discard(&self, folder: &Path) -> Result<(), Error> {
        disk::remove_folder(self.fs.as_ref(), folder)?;
        disk::sync_folder(self.fs.as_ref(), &self.folder)?;
        self.settle(folder.file_name().and_then(|name| name.to_str()).and_then(folder_number));
        Ok(())
    }

    /// Moves aside the folders of a collection that is not open if they hold another one, before it is removed or replaced.
    ///
    /// # Errors
    /// `Internal`.
    pub fn set_foreign_aside(&self, name: &str) -> Result<(), Error> {
        // Which folders a record names that cannot be read is not known.
        let Ok(Some(entry)) = self.entry(name) else { return Ok(()) };
        for generation in std::iter::once(&entry).chain(entry.previous.as_deref()) {
            let path = self.dir_of(generation);
            let owner = if path.is_dir() { orphan::content(&self.fs, &path)?.owner } else { None };
            let Some(owner) = owner else { continue };
            if owner.directory != self.identity || generation.identity.is_some_and(|own| own != owner.collection) {
                let what =
                    format!("the collection {name:?} was removed, and this is the folder of {}", owner.collection);
                let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let orphan = Unnamed { path, fate: Fate::SetAside, what };
                orphan::set_aside(self.fs.as_ref(), &orphan, &self.orphans, &folder)?;
            }
        }
        Ok(())
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

/// Removes a folder, and its mark after all other files: a crash leaves it marked.
fn remove_marked(fs: &dyn Fs, folder: &Path) -> Result<(), Error> {
    if folder.is_dir() {
        for name in disk::list_files(folder)?.iter().filter(|name| *name != orphan::MARKER) {
            disk::remove_file(fs, &folder.join(name))?;
        }
    }
    Ok(disk::remove_folder(fs, folder)?)
}

/// A folder in the making. Dropped before a record names it, it is removed.
pub struct Prepared {
    fs: Arc<dyn Fs>,
    number: u64,
    identity: Identity,
    dir: CollectionDir,
    adopted: bool,
}

impl Prepared {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// The same, with its identity.
    pub fn collection_dir(&self) -> &CollectionDir {
        &self.dir
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.adopted
            && let Err(error) = remove_marked(self.fs.as_ref(), &self.dir.path)
        {
            tracing::warn!(folder = %self.dir.path.display(), %error, "could not remove an unused folder; it is removed at the next start");
        }
    }
}
