//! Database of one collection: its growing points, its segments and their deleted rows.
//!
//! One key-value file. It is authoritative: files that no transaction in it records do not belong to the collection.
//! Tables:
//!
//! ```text
//! growing   key u64 -> record (truth/point.rs)     points not yet in a segment, oldest first
//! segments  id u64 -> 14 bytes                     sealed segments: graph generation and content tag
//! removed   id u64 -> ()                           removed segments, until their files are gone
//! deleted   (segment u64, row u32) -> ()           deleted rows
//! calibrations  (segment u64, generation u32) -> bytes   recall measurements of a graph; a cache
//! reference_vectors      index u32 -> point                       embedder outputs for some inputs, from the creation
//! meta      name -> u64                            sequence, next_key, next_segment, format
//! identity  name -> 16 bytes                       directory, collection: the owner of the file
//! ```
//!
//! An open removes an unrecorded segment file only if it is a leftover: its id is in `removed`, or the file
//! `<id>.uncommitted` shows that it was never recorded. It moves any other to `orphans/`. If the id was not assigned
//! yet, this file is older than the segments, and the open fails.
//!
//! `CollectionDb` is `Send + Sync`. Reads see the last commit and never wait; commits wait for one another and for the disk.

pub(crate) mod point_record;
mod sweep;
#[cfg(test)]
mod tests;

use crate::disk::{self, Fs};
use crate::store::Error;
use crate::store::identity::{self, CollectionDir, Owner};
use crate::store::kv::db::Kv;
use crate::store::segment::SegmentId;
use crate::types::Identity;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

const GROWING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("growing");
const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");
const DELETED: TableDefinition<'_, (u64, u32), ()> = TableDefinition::new("deleted");
const CALIBRATIONS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("calibrations");
const CANARIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("canaries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");

const SEQUENCE: &str = "sequence";
const NEXT_KEY: &str = "next_key";
const NEXT_SEGMENT: &str = "next_segment";
const FORMAT: &str = "format";
const DIRECTORY: &str = "directory";
const COLLECTION: &str = "collection";

/// Version of the tables.
const VERSION: u64 = 2;
/// Version of tables without identities; the first commit upgrades them to [`VERSION`].
const ANONYMOUS: u64 = 1;
/// Version of a value in `segments`.
const SEGMENT_VERSION: u8 = 2;
/// Version of a value in `segments` without a content tag.
const UNTAGGED: u8 = 1;
/// Name of the file in the collection's folder.
const FILE: &str = "points.redb";
/// Size of redb's cache; the callers hold the points in memory themselves.
const CACHE_BYTES: usize = 32 << 20;

/// One step of a [`commit`](CollectionDb::commit).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// Adds a growing point. Keys ascend: `key` is at least [`CollectionDb::next_key`].
    AddGrowing {
        /// The key.
        key: u64,
        /// The id, 1 to [`MAX_ID_BYTES`](crate::types::MAX_ID_BYTES) bytes.
        id: &'a str,
        /// The vector, 1 to [`MAX_DIMENSION`](crate::types::MAX_DIMENSION) components.
        vector: &'a [f32],
        /// The payload.
        payload: &'a [u8],
    },
    /// Removes a replaced or deleted growing point. A missing point is no error.
    RemoveGrowing {
        /// The key.
        key: u64,
    },
    /// Removes the growing points that were flushed: all with `from <= key < until`.
    RemoveGrowingRange {
        /// The first key.
        from: u64,
        /// The key after the last.
        until: u64,
    },
    /// Deletes a row of a segment. A deleted row is no error, an unknown segment is.
    DeleteRow {
        /// The segment.
        segment: SegmentId,
        /// The row.
        row: u32,
    },
    /// Makes a published segment visible; its id must be unused.
    AddSegment {
        /// The segment.
        segment: SegmentId,
        /// Generation of the graph file, if there is one.
        graph_generation: Option<u32>,
        /// The content tag of its file.
        tag: u64,
    },
    /// Sets the content tag of a segment whose record has none.
    SetTag {
        /// The segment.
        segment: SegmentId,
        /// The content tag of its file.
        tag: u64,
    },
    /// Replaces the graph file of a segment, or removes it.
    SetGraph {
        /// The segment.
        segment: SegmentId,
        /// Generation of the new graph file, if there is one.
        graph_generation: Option<u32>,
    },
    /// Sets the recall calibration of the segment's current graph; `SetGraph` removes it.
    SetCalibration {
        /// The segment.
        segment: SegmentId,
        /// The generation of the graph file.
        graph_generation: u32,
        /// The encoded calibration; opaque here.
        record: &'a [u8],
    },
    /// Removes a segment with its deletions and its calibration. The caller may remove the files afterwards. An open
    /// removes them until [`CollectionDb::settle`] has recorded that they are gone.
    RemoveSegment {
        /// The segment.
        segment: SegmentId,
    },
    /// Adds a reference vector: the embedder's output for an input when the collection was created.
    AddReferenceVector {
        /// Its index.
        index: u32,
        /// Kind of the input.
        kind: &'a str,
        /// The output of the embedder.
        vector: &'a [f32],
        /// The input.
        input: &'a [u8],
    },
    /// Sets the sequence number of this write.
    Sequence(u64),
}

/// Visitor of growing points: key, id, vector, payload.
pub type Visit<'v> = dyn FnMut(u64, &str, &[f32], &[u8]) -> Result<(), Error> + 'v;

/// Record of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// The id.
    pub id: SegmentId,
    /// The generation of the graph file, if there is one.
    pub graph_generation: Option<u32>,
    /// The content tag of the file; none in a record of a version without tags.
    pub tag: Option<u64>,
    /// The deleted rows, ascending.
    pub deleted: Vec<u32>,
    /// The recall calibration of the graph, if there is one.
    pub calibration: Option<Vec<u8>>,
}

/// A stored reference vector of the embedder.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceVector {
    /// Kind of the input.
    pub kind: String,
    /// The output of the embedder.
    pub vector: Vec<f32>,
    /// The input.
    pub input: Vec<u8>,
}

/// Database of a collection; see the module docs.
pub struct CollectionDb {
    fs: Arc<dyn Fs>,
    kv: Kv,
    dir: PathBuf,
    /// The owner, as stored or as the next commit will store it.
    owner: OnceLock<Owner>,
    /// Whether `owner` is in the file.
    owned: AtomicBool,
    /// Ids in the table `removed` whose files are durably gone: the next commit deletes them from the table.
    settled: Mutex<Vec<SegmentId>>,
}

impl CollectionDb {
    /// Name of the file in the collection's folder.
    pub const FILE: &str = FILE;

    /// Opens the database in a collection's folder.
    ///
    /// # Errors
    /// `Busy` if it is open elsewhere, `Incompatible`, `Corrupt` (also for a missing or empty file).
    pub fn open(fs: &Arc<dyn Fs>, collection_dir: &Path) -> Result<Self, Error> {
        let kv = Kv::open(fs, &collection_dir.join(FILE), CACHE_BYTES)?;
        Self::prepare(fs, kv, collection_dir, None)
    }

    /// Opens the database in a collection's folder read-only: nothing on disk changes, and commits are not allowed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(fs: &Arc<dyn Fs>, collection_dir: &Path) -> Result<Self, Error> {
        let kv = Kv::look(fs, &collection_dir.join(FILE))?;
        Self::prepare(fs, kv, collection_dir, None)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.kv.path()
    }

    /// Creates an empty database for `owner` in a new folder, durably.
    ///
    /// # Errors
    /// Any disk error.
    pub fn create(fs: &Arc<dyn Fs>, collection_dir: &Path, owner: Owner) -> Result<Self, Error> {
        disk::create_folder(fs.as_ref(), collection_dir)?;
        let kv = Kv::create(fs, &collection_dir.join(FILE), CACHE_BYTES)?;
        Self::prepare(fs, kv, collection_dir, Some(owner))
    }

    /// Creates missing tables, for `owner` if there is one; checks the version of existing ones.
    fn prepare(fs: &Arc<dyn Fs>, kv: Kv, dir: &Path, owner: Option<Owner>) -> Result<Self, Error> {
        let db = Self {
            fs: fs.clone(),
            kv,
            dir: dir.into(),
            owner: owner.map_or_else(OnceLock::new, OnceLock::from),
            owned: AtomicBool::new(false),
            settled: Mutex::default(),
        };
        if db.ready()? {
            if let Some(owner) = db.read_owner()? {
                db.owned.store(true, Ordering::Release);
                db.owner.get_or_init(|| owner);
            }
            return Ok(db);
        }
        db.kv.write(|transaction| {
            transaction.open_table(GROWING).map_err(db.kv.failed("make a table"))?;
            transaction.open_table(SEGMENTS).map_err(db.kv.failed("make a table"))?;
            transaction.open_table(DELETED).map_err(db.kv.failed("make a table"))?;
            transaction.open_table(CALIBRATIONS).map_err(db.kv.failed("make a table"))?;
            let mut meta = transaction.open_table(META).map_err(db.kv.failed("make a table"))?;
            meta.insert(FORMAT, ANONYMOUS).map_err(db.kv.failed("write"))?;
            owner.map_or(Ok(()), |owner| db.write_owner(transaction, &mut meta, owner))
        })?;
        db.owned.store(owner.is_some(), Ordering::Release);
        Ok(db)
    }

    /// Returns whether the tables exist (one transaction creates them all).
    fn ready(&self) -> Result<bool, Error> {
        let there = self.kv.read(|read| match read.open_table(META) {
            Ok(_) => Ok(true),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(self.kv.failed("open a table")(error)),
        })?;
        if !there {
            return Ok(false);
        }
        match self.meta(FORMAT)? {
            VERSION | ANONYMOUS => Ok(true),
            found => {
                let what = format!("has format version {found}; this program reads versions {ANONYMOUS} and {VERSION}");
                Err(Error::Incompatible { path: self.kv.path().into(), what })
            }
        }
    }

    fn read_owner(&self) -> Result<Option<Owner>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(IDENTITY) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let identity = |name: &'static str| -> Result<Identity, Error> {
                let value = table.get(name).map_err(self.kv.failed("read"))?;
                let bytes = value.and_then(|value| value.value().try_into().ok());
                let wrong = || Error::corrupt(self.kv.path(), format!("the identity of its {name} is not 16 bytes"));
                bytes.map(Identity).ok_or_else(wrong)
            };
            Ok(Some(Owner { directory: identity(DIRECTORY)?, collection: identity(COLLECTION)? }))
        })
    }

    fn write_owner(
        &self,
        transaction: &WriteTransaction,
        meta: &mut Table<'_, &'static str, u64>,
        owner: Owner,
    ) -> Result<(), Error> {
        let failed = |error| self.kv.failed("write")(error);
        let mut table = transaction.open_table(IDENTITY).map_err(self.kv.failed("make a table"))?;
        table.insert(DIRECTORY, owner.directory.0.as_slice()).map_err(failed)?;
        table.insert(COLLECTION, owner.collection.0.as_slice()).map_err(failed)?;
        meta.insert(FORMAT, VERSION).map_err(failed)?;
        Ok(())
    }

    /// Returns the owner, once it is known.
    pub fn owner(&self) -> Option<Owner> {
        self.owner.get().copied()
    }

    /// Returns whether the identities are in the file. The first commit stores those of a file without.
    pub fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Acquire)
    }

    /// Returns the identity of the collection, once [`claim`](Self::claim) has compared or assigned it.
    pub fn identity(&self) -> Option<Identity> {
        self.owner().map(|owner| owner.collection)
    }

    /// Compares the identities with those in the catalogue. Assigns identities to a file of a version without; its next
    /// commit stores them. Returns the identity of the collection.
    ///
    /// # Errors
    /// `Corrupt` (`Foreign`) for a file of another collection or data directory, or one from before it had identities.
    pub fn claim(&self, dir: &CollectionDir) -> Result<Identity, Error> {
        const REMEDY: &str = "the two files do not belong together; restore both from the same backup";
        let catalog = dir.catalog.display();
        match (self.owner(), dir.collection) {
            (Some(owner), Some(recorded)) if owner.collection != recorded => {
                let found = owner.collection;
                let what =
                    format!("has the identity {found}, but {catalog} records {recorded} for this collection; {REMEDY}");
                Err(Error::foreign(self.path(), what))
            }
            (Some(owner), _) if owner.directory != dir.directory => {
                let (found, ours) = (owner.directory, dir.directory);
                let what = format!("belongs to the data directory {found}, but {catalog} to {ours}; {REMEDY}");
                Err(Error::foreign(self.path(), what))
            }
            (Some(owner), _) => Ok(owner.collection),
            (None, Some(recorded)) => {
                let what = format!("has no identity, but {catalog} records {recorded} for this collection; {REMEDY}");
                Err(Error::foreign(self.path(), what))
            }
            (None, None) => {
                let collection = identity::random(self.path())?;
                let owner = Owner { directory: dir.directory, collection };
                Ok(self.owner.get_or_init(|| owner).collection)
            }
        }
    }

    /// Returns whether it records a segment or holds a growing point.
    pub(super) fn holds_points(&self) -> Result<bool, Error> {
        self.kv.read(|read| {
            let growing = read.open_table(GROWING).map_err(self.kv.failed("open a table"))?;
            let segments = read.open_table(SEGMENTS).map_err(self.kv.failed("open a table"))?;
            let empty = [growing.is_empty(), segments.is_empty()];
            empty.into_iter().try_fold(false, |holds, empty| Ok(holds | !empty.map_err(self.kv.failed("read"))?))
        })
    }

    /// Applies all changes in order in one transaction, durable (fsync) on return; on error, none of them. Blocks while
    /// another commit runs. After a disk failure, all further commits fail until the file is reopened.
    ///
    /// # Errors
    /// `Internal` (`Refused`) for a change that violates the rules of [`Change`]; `Exhausted` for a full disk;
    /// `Internal`.
    pub fn commit(&self, changes: &[Change<'_>]) -> Result<(), Error> {
        let settled = std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner));
        let unstored = self.owner().filter(|_| !self.is_owned());
        let done = self.kv.write(|transaction| {
            let mut tables = Tables {
                kv: &self.kv,
                growing: transaction.open_table(GROWING).map_err(self.kv.failed("open a table"))?,
                segments: transaction.open_table(SEGMENTS).map_err(self.kv.failed("open a table"))?,
                deleted: transaction.open_table(DELETED).map_err(self.kv.failed("open a table"))?,
                calibrations: transaction.open_table(CALIBRATIONS).map_err(self.kv.failed("open a table"))?,
                transaction,
                meta: transaction.open_table(META).map_err(self.kv.failed("open a table"))?,
                next_key: None,
                record: Vec::new(),
            };
            if let Some(owner) = unstored {
                self.write_owner(transaction, &mut tables.meta, owner)?;
            }
            if !settled.is_empty() {
                let mut removed = transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
                for segment in &settled {
                    removed.remove(segment.0).map_err(self.kv.failed("write"))?;
                }
            }
            for change in changes {
                tables.apply(change)?;
            }
            tables.finish()
        });
        match done {
            Ok(()) if unstored.is_some() => self.owned.store(true, Ordering::Release),
            Ok(()) => {}
            Err(_) => self.settle(settled),
        }
        done
    }

    /// Records that the files of removed segments are durably gone; the next commit stores it.
    pub fn settle(&self, segments: impl IntoIterator<Item = SegmentId>) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(segments);
    }

    fn removed(&self) -> Result<BTreeSet<SegmentId>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(REMOVED) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let ids = table.iter().map_err(self.kv.failed("read"))?;
            ids.map(|entry| Ok(SegmentId(entry.map_err(self.kv.failed("read"))?.0.value()))).collect()
        })
    }

    /// Returns the embedder's reference vectors by index; empty if none are stored.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn reference_vectors(&self) -> Result<Vec<ReferenceVector>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(CANARIES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let mut all = Vec::new();
            for entry in table.iter().map_err(self.kv.failed("read"))? {
                let (index, value) = entry.map_err(self.kv.failed("read"))?;
                let mut vector = Vec::new();
                let wrong =
                    |what| Error::corrupt(self.kv.path(), format!("the reference vector {}: {what}", index.value()));
                let (kind, input) = point_record::decode(value.value(), &mut vector).map_err(wrong)?;
                all.push(ReferenceVector { kind: kind.into(), input: input.into(), vector });
            }
            Ok(all)
        })
    }

    /// Returns the last [`Change::Sequence`]; 0 before the first.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn sequence(&self) -> Result<u64, Error> {
        self.meta(SEQUENCE)
    }

    /// Returns the highest growing key ever used, plus 1.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn next_key(&self) -> Result<u64, Error> {
        self.meta(NEXT_KEY)
    }

    /// Returns the highest segment id ever committed, plus 1; at least 1.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn next_segment(&self) -> Result<SegmentId, Error> {
        Ok(SegmentId(self.meta(NEXT_SEGMENT)?.max(1)))
    }

    /// Returns the sealed segments by id.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn segments(&self) -> Result<Vec<SegmentRecord>, Error> {
        self.kv.read(|read| self.read_segments(read))
    }

    fn read_segments(&self, read: &ReadTransaction) -> Result<Vec<SegmentRecord>, Error> {
        let segments = read.open_table(SEGMENTS).map_err(self.kv.failed("open a table"))?;
        let deleted = read.open_table(DELETED).map_err(self.kv.failed("open a table"))?;
        let mut all: Vec<SegmentRecord> = Vec::new();
        for entry in segments.iter().map_err(self.kv.failed("read"))? {
            let (id, value) = entry.map_err(self.kv.failed("read"))?;
            let id = SegmentId(id.value());
            let (graph_generation, tag) = decode_segment(value.value())
                .ok_or_else(|| Error::corrupt(self.kv.path(), format!("the record of segment {id}")))?;
            all.push(SegmentRecord { id, graph_generation, tag, deleted: Vec::new(), calibration: None });
        }
        for entry in deleted.iter().map_err(self.kv.failed("read"))? {
            let (segment, row) = entry.map_err(self.kv.failed("read"))?.0.value();
            let at = all.binary_search_by_key(&segment, |record| record.id.0).map_err(|_| {
                Error::corrupt(self.kv.path(), format!("a dead row of segment {segment:016x}, which is not there"))
            })?;
            all[at].deleted.push(row);
        }
        let calibrations = match read.open_table(CALIBRATIONS) {
            Ok(table) => table,
            // Written by a version without calibrations.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(all),
            Err(error) => return Err(self.kv.failed("open a table")(error)),
        };
        for record in &mut all {
            let Some(generation) = record.graph_generation else { continue };
            let found = calibrations.get((record.id.0, generation)).map_err(self.kv.failed("read"))?;
            record.calibration = found.map(|value| value.value().to_vec());
        }
        Ok(all)
    }

    /// Visits the growing points in key order: key, id, vector, payload. Stops at the first error.
    ///
    /// # Errors
    /// Errors of the visitor, `Corrupt` for a damaged record (with its key), `Internal`.
    pub fn growing(&self, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.growing_or_damaged(visit, &mut |key, what| {
            Err(Error::corrupt(self.kv.path(), format!("the growing point {key}: {what}")))
        })
    }

    /// Like [`growing`](Self::growing), but calls `damaged` for each unreadable record, with its key and the reason.
    ///
    /// # Errors
    /// Errors of the visitors, `Internal`.
    pub fn growing_or_damaged(
        &self,
        visit: &mut Visit<'_>,
        damaged: &mut dyn FnMut(u64, String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.kv.read(|read| {
            let table = read.open_table(GROWING).map_err(self.kv.failed("open a table"))?;
            let mut vector = Vec::new();
            for entry in table.iter().map_err(self.kv.failed("read"))? {
                let (key, record) = entry.map_err(self.kv.failed("read"))?;
                let key = key.value();
                match point_record::decode(record.value(), &mut vector) {
                    Ok((id, payload)) => visit(key, id, &vector, payload)?,
                    Err(what) => damaged(key, what.to_string())?,
                }
            }
            Ok(())
        })
    }

    fn meta(&self, name: &'static str) -> Result<u64, Error> {
        self.kv.read(|read| {
            let table = read.open_table(META).map_err(self.kv.failed("open a table"))?;
            Ok(table.get(name).map_err(self.kv.failed("read"))?.map_or(0, |value| value.value()))
        })
    }

    /// Stops all writing until the file is reopened.
    pub fn stop(&self, why: &str) {
        self.kv.stop(why);
    }

    /// Closes the file, so that it can be reopened. Later reads and writes fail.
    pub fn close(&self) {
        self.kv.close();
    }

    /// Returns why writing has stopped, if it has.
    pub fn stopped(&self) -> Option<String> {
        self.kv.stopped()
    }
}

/// The tables of one transaction.
struct Tables<'t> {
    kv: &'t Kv,
    transaction: &'t WriteTransaction,
    growing: Table<'t, u64, &'static [u8]>,
    segments: Table<'t, u64, &'static [u8]>,
    deleted: Table<'t, (u64, u32), ()>,
    calibrations: Table<'t, (u64, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    /// `next_key` as advanced by this transaction; written once at the end.
    next_key: Option<u64>,
    record: Vec<u8>,
}

impl Tables<'_> {
    fn apply(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let kv = self.kv;
        match *change {
            Change::AddGrowing { key, id, vector, payload } => self.add_growing(key, id, vector, payload),
            Change::RemoveGrowing { key } => {
                self.growing.remove(key).map_err(kv.failed("write"))?;
                Ok(())
            }
            Change::RemoveGrowingRange { from, until } if from < until => {
                self.growing.retain_in(from..until, |_, _| false).map_err(kv.failed("write"))
            }
            Change::RemoveGrowingRange { .. } => Ok(()),
            Change::DeleteRow { segment, row } => {
                self.expect(segment)?;
                self.deleted.insert((segment.0, row), ()).map_err(kv.failed("write"))?;
                Ok(())
            }
            Change::AddSegment { segment, graph_generation, tag } => {
                let next = self.get(NEXT_SEGMENT)?;
                if self.segments.get(segment.0).map_err(kv.failed("read"))?.is_some() || segment.0 == u64::MAX {
                    return Err(Error::refused(kv.path(), format!("segment {segment} is there already")));
                }
                self.put_segment(segment, graph_generation, Some(tag))?;
                self.set(NEXT_SEGMENT, next.max(segment.0 + 1))
            }
            Change::SetGraph { segment, graph_generation } => {
                let (_, tag) = self.expect(segment)?;
                self.put_segment(segment, graph_generation, tag)?;
                self.forget_calibrations(segment)
            }
            Change::SetTag { segment, tag } => {
                let (graph_generation, before) = self.expect(segment)?;
                if let Some(before) = before.filter(|before| *before != tag) {
                    let what = format!("the tag {tag:016x} of segment {segment}, whose tag is {before:016x}");
                    return Err(Error::refused(kv.path(), what));
                }
                self.put_segment(segment, graph_generation, Some(tag))
            }
            Change::SetCalibration { segment, graph_generation, record } => {
                let (graph, _) = self.expect(segment)?;
                if graph != Some(graph_generation) {
                    let what = format!(
                        "a calibration of graph {graph_generation} of segment {segment}, whose graph is {graph:?}"
                    );
                    return Err(Error::refused(kv.path(), what));
                }
                self.calibrations.insert((segment.0, graph_generation), record).map_err(kv.failed("write"))?;
                Ok(())
            }
            Change::RemoveSegment { segment } => {
                self.expect(segment)?;
                self.forget_calibrations(segment)?;
                self.segments.remove(segment.0).map_err(kv.failed("write"))?;
                let mut removed = self.transaction.open_table(REMOVED).map_err(kv.failed("open a table"))?;
                removed.insert(segment.0, ()).map_err(kv.failed("write"))?;
                self.deleted
                    .retain_in((segment.0, 0)..=(segment.0, u32::MAX), |_, ()| false)
                    .map_err(kv.failed("write"))
            }
            Change::AddReferenceVector { index, kind, vector, input } => {
                self.record.clear();
                point_record::encode(&mut self.record, kind, vector, input)
                    .map_err(|what| Error::refused(kv.path(), format!("the reference vector {index}: {what}")))?;
                // The table is created on demand: most collections have no reference vectors.
                let mut reference_vectors = self.transaction.open_table(CANARIES).map_err(kv.failed("open a table"))?;
                reference_vectors.insert(index, self.record.as_slice()).map_err(kv.failed("write"))?;
                Ok(())
            }
            Change::Sequence(sequence) => self.set(SEQUENCE, sequence),
        }
    }

    fn add_growing(&mut self, key: u64, id: &str, vector: &[f32], payload: &[u8]) -> Result<(), Error> {
        let next = match self.next_key {
            Some(next) => next,
            None => self.get(NEXT_KEY)?,
        };
        if key < next || key == u64::MAX {
            return Err(Error::refused(self.kv.path(), format!("the growing key {key}: the next free one is {next}")));
        }
        self.next_key = Some(key + 1);
        point_record::encode(&mut self.record, id, vector, payload)
            .map_err(|what| Error::refused(self.kv.path(), what))?;
        self.growing.insert(key, self.record.as_slice()).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        match self.next_key {
            Some(next) => self.set(NEXT_KEY, next),
            None => Ok(()),
        }
    }

    fn forget_calibrations(&mut self, segment: SegmentId) -> Result<(), Error> {
        self.calibrations
            .retain_in((segment.0, 0)..=(segment.0, u32::MAX), |_, _| false)
            .map_err(self.kv.failed("write"))
    }

    fn put_segment(&mut self, id: SegmentId, graph_generation: Option<u32>, tag: Option<u64>) -> Result<(), Error> {
        let record = encode_segment(graph_generation, tag);
        self.segments.insert(id.0, record.as_slice()).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Returns graph generation and content tag of a segment, or an error if it does not exist.
    fn expect(&self, segment: SegmentId) -> Result<(Option<u32>, Option<u64>), Error> {
        match self.segments.get(segment.0).map_err(self.kv.failed("read"))? {
            Some(value) => decode_segment(value.value())
                .ok_or_else(|| Error::corrupt(self.kv.path(), format!("the record of segment {segment}"))),
            None => Err(Error::refused(self.kv.path(), format!("there is no segment {segment}"))),
        }
    }

    fn get(&self, name: &'static str) -> Result<u64, Error> {
        Ok(self.meta.get(name).map_err(self.kv.failed("read"))?.map_or(0, |value| value.value()))
    }

    fn set(&mut self, name: &'static str, value: u64) -> Result<(), Error> {
        self.meta.insert(name, value).map_err(self.kv.failed("write"))?;
        Ok(())
    }
}

/// Encodes the version, whether there is a graph, its generation, and the content tag (little-endian). Without a tag:
/// version 1.
fn encode_segment(graph_generation: Option<u32>, tag: Option<u64>) -> Vec<u8> {
    let version = if tag.is_some() { SEGMENT_VERSION } else { UNTAGGED };
    let mut bytes = vec![version, u8::from(graph_generation.is_some())];
    bytes.extend_from_slice(&graph_generation.unwrap_or(0).to_le_bytes());
    bytes.extend(tag.iter().flat_map(|tag| tag.to_le_bytes()));
    bytes
}

/// Decodes the generation of the graph, and the content tag.
fn decode_segment(bytes: &[u8]) -> Option<(Option<u32>, Option<u64>)> {
    let ([version, graph, generation @ ..], tag) = bytes.split_first_chunk::<6>()?;
    let tag = match (*version, tag) {
        (UNTAGGED, []) => None,
        (SEGMENT_VERSION, tag) => Some(u64::from_le_bytes(tag.try_into().ok()?)),
        _ => return None,
    };
    match (graph, u32::from_le_bytes(*generation)) {
        (0, 0) => Some((None, tag)),
        (1, generation) => Some((Some(generation), tag)),
        _ => None,
    }
}
