//! Database of one collection: its growing points, its segments and their deleted rows.
//!
//! One key-value file. It is authoritative: files that no transaction in it records do not belong to the collection.
//! Tables:
//!
//! ```text
//! growing   key u64 -> record (point_record.rs)    points not yet in a segment, oldest first
//! segments  id u64 -> 14 bytes                     sealed segments: graph generation and content tag
//! removed   id u64 -> ()                           removed segments, until their files are deleted
//! deleted   (segment u64, row u32) -> ()           deleted rows
//! payloads  (segment u64, row u32) -> bytes        updated payloads, which replace those in the file
//! calibrations  (segment u64, generation u32) -> bytes   recall measurements of a graph; a cache
//! canaries  index u32 -> point                     reference vectors: embedder outputs at creation
//! meta      name -> u64                            sequence, next_key, next_segment, format
//! identity  name -> 16 bytes                       directory, collection: the owner of the file
//! ```
//!
//! Opening removes an unrecorded segment file only if it is a leftover: its id is in `removed`, or the file
//! `<id>.uncommitted` shows that it was never recorded. It moves any other to `orphans/`. If the id was not assigned
//! yet, this file is older than the segments, and opening fails.
//!
//! `CollectionDb` is `Send + Sync`. Reads see the last commit and never wait; commits wait for one another and for the
//! disk.

mod manifest;
pub(crate) mod point_record;
mod sweep;
#[cfg(test)]
mod tests;
mod write_buffer;

pub use manifest::SegmentRecord;
pub use write_buffer::Visit;

use crate::disk::{self, Fs};
use crate::store::Error;
use crate::store::identity::{self, CollectionDir, Owner};
use crate::store::kv::db::Kv;
use crate::store::segment::SegmentId;
use crate::types::Identity;
use manifest::Manifest;
use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use write_buffer::WriteBuffer;

const CANARIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("canaries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");

const SEQUENCE: &str = "sequence";
const NEXT_KEY: &str = "next_key";
const NEXT_SEGMENT: &str = "next_segment";
const FORMAT: &str = "format";
const DIRECTORY: &str = "directory";
const COLLECTION: &str = "collection";

/// Version of the tables.
const VERSION: u64 = 2;
/// Version of tables with an updated payload, now or before: a program that does not read them must not open the file.
const WITH_PAYLOADS: u64 = 3;
/// Version of tables without identities; the first commit upgrades them to [`VERSION`].
const ANONYMOUS: u64 = 1;
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
        /// Its [body](crate::store::body): the payload, and the vectors of its fields.
        body: &'a [u8],
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
    /// Deletes a row of a segment, with its updated payload. A deleted row is no error, an unknown segment is.
    DeleteRow {
        /// The segment.
        segment: SegmentId,
        /// The row.
        row: u32,
    },
    /// Replaces the payload of a live row of a segment. [`DeleteRow`](Self::DeleteRow) and
    /// [`RemoveSegment`](Self::RemoveSegment) remove it.
    SetPayload {
        /// The segment.
        segment: SegmentId,
        /// The row.
        row: u32,
        /// The new payload.
        payload: &'a [u8],
    },
    /// Removes the deletions and the updated payloads of rows that a segment does not have.
    RemoveExcessRows {
        /// The segment.
        segment: SegmentId,
        /// The number of its rows.
        rows: u32,
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
    /// Removes a segment with its deletions, its updated payloads and its calibration. The caller may remove the files afterwards. An open
    /// removes them until [`CollectionDb::settle`] has recorded their deletion.
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
    /// Ids in the table `removed` whose files are durably deleted: the next commit deletes them from the table.
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
    pub fn open_read_only(fs: &Arc<dyn Fs>, collection_dir: &Path) -> Result<Self, Error> {
        let kv = Kv::open_read_only(fs, &collection_dir.join(FILE))?;
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
            Manifest::open(&db.kv, transaction)?;
            WriteBuffer::open(&db.kv, transaction)?;
            let mut meta = transaction.open_table(META).map_err(db.kv.failed("create a table"))?;
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
            WITH_PAYLOADS | VERSION | ANONYMOUS => Ok(true),
            found => {
                let what =
                    format!("has format version {found}; this program reads versions {ANONYMOUS} to {WITH_PAYLOADS}");
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
                let corrupt = || Error::corrupt(self.kv.path(), format!("the identity of its {name} is not 16 bytes"));
                bytes.map(Identity).ok_or_else(corrupt)
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
        let mut table = transaction.open_table(IDENTITY).map_err(self.kv.failed("create a table"))?;
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
            let growing = read.open_table(write_buffer::GROWING).map_err(self.kv.failed("open a table"))?;
            let segments = read.open_table(manifest::SEGMENTS).map_err(self.kv.failed("open a table"))?;
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
            let mut commit = Commit {
                kv: &self.kv,
                transaction,
                manifest: Manifest::open(&self.kv, transaction)?,
                write_buffer: WriteBuffer::open(&self.kv, transaction)?,
                meta: transaction.open_table(META).map_err(self.kv.failed("open a table"))?,
                next_key: None,
            };
            if let Some(owner) = unstored {
                self.write_owner(transaction, &mut commit.meta, owner)?;
            }
            commit.manifest.settle(&settled)?;
            for change in changes {
                commit.apply(change)?;
            }
            commit.finish()
        });
        match done {
            Ok(()) if unstored.is_some() => self.owned.store(true, Ordering::Release),
            Ok(()) => {}
            Err(_) => self.settle(settled),
        }
        done
    }

    /// Records that the files of removed segments are durably deleted; the next commit stores it.
    pub fn settle(&self, segments: impl IntoIterator<Item = SegmentId>) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(segments);
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
                let corrupt =
                    |what| Error::corrupt(self.kv.path(), format!("the reference vector {}: {what}", index.value()));
                let (kind, input) = point_record::decode(value.value(), &mut vector).map_err(corrupt)?;
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
        self.kv.read(|read| manifest::read(&self.kv, read))
    }

    /// Visits the growing points in key order: key, id, vector, body. Stops at the first error.
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
        self.kv.read(|read| write_buffer::visit(&self.kv, read, visit, damaged))
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

/// A transaction of the database.
struct Commit<'t> {
    kv: &'t Kv,
    transaction: &'t WriteTransaction,
    manifest: Manifest<'t>,
    write_buffer: WriteBuffer<'t>,
    meta: Table<'t, &'static str, u64>,
    /// `next_key` as advanced by this transaction; written once at the end.
    next_key: Option<u64>,
}

impl Commit<'_> {
    fn apply(&mut self, change: &Change<'_>) -> Result<(), Error> {
        match *change {
            Change::AddGrowing { key, id, vector, body } => {
                self.use_key(key)?;
                self.write_buffer.add(key, id, vector, body)
            }
            Change::RemoveGrowing { key } => self.write_buffer.remove(key),
            Change::RemoveGrowingRange { from, until } => self.write_buffer.remove_range(from, until),
            Change::DeleteRow { segment, row } => self.manifest.delete_row(segment, row),
            Change::SetPayload { segment, row, payload } => {
                if self.get(FORMAT)? != WITH_PAYLOADS {
                    self.set(FORMAT, WITH_PAYLOADS)?;
                }
                self.manifest.set_payload(segment, row, payload)
            }
            Change::RemoveExcessRows { segment, rows } => self.manifest.remove_rows_from(segment, rows),
            Change::AddSegment { segment, graph_generation, tag } => {
                self.manifest.add_segment(segment, graph_generation, tag)?;
                let next = self.get(NEXT_SEGMENT)?;
                self.set(NEXT_SEGMENT, next.max(segment.0 + 1))
            }
            Change::SetGraph { segment, graph_generation } => self.manifest.set_graph(segment, graph_generation),
            Change::SetTag { segment, tag } => self.manifest.set_tag(segment, tag),
            Change::SetCalibration { segment, graph_generation, record } => {
                self.manifest.set_calibration(segment, graph_generation, record)
            }
            Change::RemoveSegment { segment } => self.manifest.remove_segment(segment),
            Change::AddReferenceVector { index, kind, vector, input } => {
                let mut record = Vec::new();
                point_record::encode(&mut record, kind, vector, input)
                    .map_err(|what| Error::refused(self.kv.path(), format!("the reference vector {index}: {what}")))?;
                // The table is created on demand: most collections have no reference vectors.
                let mut table = self.transaction.open_table(CANARIES).map_err(self.kv.failed("open a table"))?;
                table.insert(index, record.as_slice()).map_err(self.kv.failed("write"))?;
                Ok(())
            }
            Change::Sequence(sequence) => self.set(SEQUENCE, sequence),
        }
    }

    /// Marks a key of a growing point as used.
    fn use_key(&mut self, key: u64) -> Result<(), Error> {
        let next = match self.next_key {
            Some(next) => next,
            None => self.get(NEXT_KEY)?,
        };
        if key < next || key == u64::MAX {
            return Err(Error::refused(self.kv.path(), format!("the growing key {key}: the next free one is {next}")));
        }
        self.next_key = Some(key + 1);
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        match self.next_key {
            Some(next) => self.set(NEXT_KEY, next),
            None => Ok(()),
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
