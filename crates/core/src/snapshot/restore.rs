//! Restore of a snapshot: into a new folder, which is checked before a record names it.

use super::manifest::{Kind, Manifest, Part, SnapshotName};
use super::selftest::SelfTest;
use super::tar_format::Reader;
use super::updates;
use crate::api::{Damage, Error, Job, Observe, limits};
use crate::collection::check::check_folder;
use crate::collection::embedder_pin::EMBEDDER_FOLDER;
use crate::collection::embedder_probe;
use crate::collection::meters::Meters;
use crate::collection::state::Collection;
use crate::disk::{self, AtomicFile, Fs};
use crate::embed::{Fingerprint, Registry};
use crate::snapshot_store::SnapshotStore;
use crate::store::{Catalog, Change, CollectionDb, CollectionRecord, Prepared, Segment, body, decode_point};
use crate::types::{CollectionName, MAX_ID_BYTES, PointId};
use std::path::Path;
use std::sync::Arc;

/// Maximum bytes of a part in memory.
pub(super) const MAX_HELD_BYTES: u64 = 256 << 20;
/// Growing points per commit.
const COMMIT_POINTS: usize = 4_096;
/// Bytes of growing points per commit.
const COMMIT_BYTES: usize = 16 << 20;

/// Opens a snapshot of `store`, up to its parts. Also returns its length.
pub(crate) fn open<'d>(
    store: &'d SnapshotStore,
    snapshot: &SnapshotName,
) -> Result<(Reader<'d>, Manifest, u64), Error> {
    let (download, bytes) = store.read(snapshot.as_str())?;
    let (reader, manifest) = Reader::begin(snapshot, Box::new(download), bytes)?;
    Ok((reader, manifest, bytes))
}

/// A growing point of a snapshot.
pub(crate) struct GrowingPoint {
    id: PointId,
    vector: Vec<f32>,
    body: Vec<u8>,
}

/// A decoder of the growing points.
pub(crate) struct Points<'r> {
    record: &'r CollectionRecord,
    rest: Vec<u8>,
}

impl<'r> Points<'r> {
    pub(crate) fn new(record: &'r CollectionRecord) -> Self {
        Self { record, rest: Vec::new() }
    }

    /// Adds bytes. Calls back with the points that end in them.
    pub(crate) fn take(
        &mut self,
        piece: &[u8],
        visit: &mut dyn FnMut(GrowingPoint) -> Result<(), Error>,
    ) -> Result<(), Error> {
        const MAX_RECORD_BYTES: usize = 64
            + MAX_ID_BYTES
            + 4 * crate::types::MAX_DIMENSION as usize
            + limits::MAX_PAYLOAD_BYTES
            + body::MAX_FIELDS_BYTES;
        let damaged = |what: String| Error::Damaged { what: format!("a growing point: {what}") };
        self.rest.extend_from_slice(piece);
        let mut from = 0;
        while let Some((length, after)) = self.rest[from..].split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            if length > MAX_RECORD_BYTES {
                return Err(damaged(format!("{length} bytes, at most {MAX_RECORD_BYTES}")));
            }
            let Some(bytes) = after.get(..length) else { break };
            let mut vector = Vec::new();
            let (id, body) = decode_point(bytes, &mut vector).map_err(damaged)?;
            let id = PointId::new(id).map_err(|error| damaged(error.to_string()))?;
            if !(vector.is_empty() && self.record.optional_vectors) {
                limits::vector("vector", &vector, self.record.dimension, self.record.metric)?;
            }
            let body = body.to_vec();
            from += 4 + length;
            visit(GrowingPoint { id, vector, body })?;
        }
        self.rest.drain(..from);
        Ok(())
    }

    /// Fails if bytes are left.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::Damaged { what: format!("{left} bytes after the last growing point") }),
        }
    }
}

/// Context of a restore.
pub(crate) struct Staging<'s> {
    pub(crate) fs: &'s Arc<dyn Fs>,
    pub(crate) registry: &'s Registry,
    pub(crate) meters: Arc<Meters>,
    pub(crate) snapshot: &'s SnapshotName,
    pub(crate) observe: Observe<'s>,
}

impl Staging<'_> {
    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::SnapshotDamaged { snapshot: self.snapshot.to_string(), what: what.into() }
    }

    /// Maps errors of the content to a damaged snapshot; other errors, such as I/O, stay.
    fn blame(&self, error: Error) -> Error {
        match error.kind() {
            crate::api::ErrorKind::Corrupt | crate::api::ErrorKind::InvalidInput => self.damaged(error.to_string()),
            _ => error,
        }
    }

    /// Fails if the snapshot cannot be restored here, before anything is written. Returns whether the embedder's files
    /// are needed.
    fn admit(&self, manifest: &Manifest, data_dir: &Path) -> Result<bool, Error> {
        let needed: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
        let free = disk::free_bytes(data_dir).map_err(crate::store::Error::from)?;
        if needed > free {
            return Err(Error::Exhausted(format!(
                "the snapshot needs {needed} bytes, and {} has {free} left",
                data_dir.display()
            )));
        }
        let Some(embedder) = &manifest.record.embedder else { return Ok(false) };
        let known = self.registry.by_fingerprint(&embedder.name, &Fingerprint(embedder.fingerprint)).is_some();
        if !known && !manifest.carries_embedder() {
            let why = format!(
                "its embedder is {:?} with fingerprint {}, which is not loaded and not in the snapshot: start with --model and the folder of that model",
                embedder.name,
                Fingerprint(embedder.fingerprint)
            );
            return Err(Error::SnapshotRefused { snapshot: self.snapshot.to_string(), why });
        }
        Ok(!known)
    }

    /// Restores into a new folder. Returns the record of a collection named `target`, its folder, and the open
    /// collection.
    pub(crate) fn run(
        &self,
        store: &SnapshotStore,
        catalog: &Catalog,
        target: &CollectionName,
    ) -> Result<(CollectionRecord, Prepared, Collection), Error> {
        let (reader, manifest, _) = open(store, self.snapshot)?;
        let prepared = catalog.prepare()?;
        let with_embedder = self.admit(&manifest, prepared.dir())?;
        let (record, collection) = self.stage(reader, &manifest, &prepared, target, with_embedder)?;
        Ok((record, prepared, collection))
    }

    /// Writes all files into the folder, checks it, and opens it under the name `target`.
    fn stage(
        &self,
        mut reader: Reader<'_>,
        manifest: &Manifest,
        prepared: &Prepared,
        target: &CollectionName,
        with_embedder: bool,
    ) -> Result<(CollectionRecord, Collection), Error> {
        let dir = prepared.dir();
        let folder = dir.join(EMBEDDER_FOLDER);
        if with_embedder {
            disk::create_folder(self.fs.as_ref(), &folder).map_err(crate::store::Error::from)?;
        }
        let db = CollectionDb::open(self.fs, dir)?;
        let mut selftest = Vec::new();
        let mut held: Vec<(Part, Vec<u8>)> = Vec::new();
        for &part in &manifest.parts {
            match part.kind {
                Kind::Vectors(id) => self.file(&mut reader, part, dir, &id.vectors_file())?,
                Kind::Graph(id, generation) => self.file(&mut reader, part, dir, &id.graph_file(generation))?,
                Kind::Embedder(file) if with_embedder => self.file(&mut reader, part, &folder, file)?,
                Kind::Embedder(_) => reader.part(part, self.observe, &mut |_| Ok(()))?,
                Kind::Growing => self.growing(&mut reader, part, &manifest.record, &db)?,
                Kind::SelfTest => selftest = self.hold(&mut reader, part)?,
                Kind::Dead(_) | Kind::Updates(_) | Kind::Calibration(..) | Kind::Canaries => {
                    held.push((part, self.hold(&mut reader, part)?))
                }
            }
        }
        reader.end()?;
        self.commit(&db, dir, manifest, &held)?;
        drop(db);

        let record = CollectionRecord { name: target.clone(), ..manifest.record.clone() };
        (self.observe)(Job::Checking, 0, 2);
        let home = prepared.collection_dir();
        let report = check_folder(self.fs, &record, home)?;
        if let Some(finding) = report.findings.iter().find(|finding| finding.damage != Damage::Stray) {
            return Err(self.damaged(&finding.what));
        }
        let collection = Collection::open(self.fs, &record, home, self.registry, self.meters.clone())?;
        if let Some(pinned) = collection.embedder.as_ref().filter(|pinned| pinned.loaded.get().is_none()) {
            return Err(match pinned.refused.get() {
                Some(why) => Error::SnapshotRefused {
                    snapshot: self.snapshot.to_string(),
                    why: format!("of the embedder {:?}: {why}", pinned.pin.name),
                },
                None => self.damaged("its embedder is not the one that the collection is pinned to"),
            });
        }
        let points = collection.view().live();
        if points != manifest.points {
            return Err(self.damaged(format!("{points} points were restored, by its manifest {}", manifest.points)));
        }
        (self.observe)(Job::Checking, 1, 2);
        SelfTest::from_json(&selftest).and_then(|test| test.pass(&collection)).map_err(|what| self.damaged(what))?;
        Ok((record, collection))
    }

    fn file(&self, reader: &mut Reader<'_>, part: Part, dir: &Path, name: &str) -> Result<(), Error> {
        let mut draft = AtomicFile::create(self.fs.clone(), dir, name).map_err(crate::store::Error::from)?;
        reader.part(part, self.observe, &mut |piece| {
            Ok(draft.writer().put(piece).map_err(crate::store::Error::from)?)
        })?;
        Ok(draft.publish().map_err(crate::store::Error::from)?)
    }

    fn hold(&self, reader: &mut Reader<'_>, part: Part) -> Result<Vec<u8>, Error> {
        if part.bytes > MAX_HELD_BYTES {
            return Err(reader.damaged(format!("{} has {} bytes", part.kind.name(), part.bytes)));
        }
        let mut bytes = Vec::with_capacity(part.bytes as usize);
        reader.part(part, self.observe, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn growing(
        &self,
        reader: &mut Reader<'_>,
        part: Part,
        record: &CollectionRecord,
        db: &CollectionDb,
    ) -> Result<(), Error> {
        let mut points = Points::new(record);
        let (mut batch, mut bytes, mut next) = (Vec::<GrowingPoint>::new(), 0, 0);
        let mut flush = |batch: &mut Vec<GrowingPoint>| {
            let changes: Vec<Change<'_>> = batch
                .iter()
                .zip(next..)
                .map(|(GrowingPoint { id, vector, body }, key)| Change::AddGrowing {
                    key,
                    id: id.as_str(),
                    vector,
                    body,
                })
                .collect();
            db.commit(&changes)?;
            next += batch.len() as u64;
            batch.clear();
            Ok::<(), Error>(())
        };
        let taken = reader.part(part, self.observe, &mut |piece| {
            points.take(piece, &mut |point| {
                bytes += 4 * point.vector.len() + point.body.len();
                batch.push(point);
                if batch.len() >= COMMIT_POINTS || bytes >= COMMIT_BYTES {
                    bytes = 0;
                    flush(&mut batch)?;
                }
                Ok(())
            })
        });
        taken.and_then(|()| points.end()).map_err(|error| self.blame(error))?;
        if batch.is_empty() { Ok(()) } else { flush(&mut batch) }
    }

    /// Commits the segments, the reference vectors and the sequence number to the database.
    fn commit(
        &self,
        db: &CollectionDb,
        dir: &Path,
        manifest: &Manifest,
        held: &[(Part, Vec<u8>)],
    ) -> Result<(), Error> {
        let damaged = |what| self.damaged(format!("a reference vector: {what}"));
        let reference_vectors = held.iter().find(|(part, _)| part.kind == Kind::Canaries);
        let reference_vectors = reference_vectors
            .map_or(Ok(Vec::new()), |(_, bytes)| embedder_probe::from_bytes(bytes))
            .map_err(damaged)?;
        let mut changes = embedder_probe::changes(&reference_vectors);
        for Part { kind, .. } in &manifest.parts {
            match *kind {
                Kind::Vectors(segment) => {
                    let tag = Segment::open(dir, segment).map_err(|error| self.blame(error.into()))?.tag();
                    changes.push(Change::AddSegment { segment, graph_generation: None, tag });
                }
                Kind::Graph(segment, generation) => {
                    changes.push(Change::SetGraph { segment, graph_generation: Some(generation) });
                }
                _ => {}
            }
        }
        for (part, bytes) in held {
            match part.kind {
                Kind::Dead(segment) => {
                    let (rows, rest) = bytes.as_chunks::<4>();
                    if !rest.is_empty() {
                        return Err(self.damaged(format!("{} is cut", part.kind.name())));
                    }
                    let rows = rows.iter().map(|row| u32::from_le_bytes(*row));
                    changes.extend(rows.map(|row| Change::DeleteRow { segment, row }));
                }
                Kind::Updates(segment) => {
                    let updates =
                        updates::decode(bytes).map_err(|what| self.damaged(format!("{}: {what}", part.kind.name())))?;
                    changes.extend(updates.map(|(row, payload)| Change::SetPayload { segment, row, payload }));
                }
                Kind::Calibration(segment, graph_generation) => {
                    changes.push(Change::SetCalibration { segment, graph_generation, record: bytes });
                }
                _ => {}
            }
        }
        changes.push(Change::Sequence(manifest.sequence));
        Ok(db.commit(&changes)?)
    }
}
