//! Opening of a collection: maps segments and graphs, reads growing points into memory.

use super::commit_queue::CommitQueue;
use super::embedder_pin::{EmbedderBinding, Lineage, pin_of, restored_embedder};
use super::expiry::Expiry;
use super::job_lock::{FolderUse, JobLock};
use super::meters::Meters;
use super::state::{Collection, Names, graph_params};
use super::view::{QuarantinedSegment, View};
use crate::api::{CollectionInfo, CollectionState, Error, IndexSettings, SegmentInfo};
use crate::disk::Fs;
use crate::embed::{Fingerprint, Registry};
use crate::index::calibration::Calibration;
use crate::index::hnsw::{Expected, Graph};
use crate::segment::columns::IndexedVectors;
use crate::segment::growing::{Growing, NewRow};
use crate::segment::sealed::Sealed;
use crate::segment::text_index::IndexedField;
use crate::store::{
    Change, CollectionDb, CollectionDir, CollectionRecord, Entry, Segment, SegmentId, SegmentSummary, Summary,
};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, RwLock};
use crate::types::{CollectionName, Metric, PointId};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

impl Collection {
    /// Opens the collection recorded in the database in `dir`: maps segments and graphs, reads growing points into
    /// memory.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        record: &CollectionRecord,
        home: &CollectionDir,
        registry: &Registry,
        meters: Arc<Meters>,
    ) -> Result<Self, Error> {
        let name = record.name.clone();
        let settings = settings_of(record);
        let dir = home.path.as_path();
        let db = CollectionDb::open(fs, dir)?;
        let identity = db.claim(home)?;
        let orphans = db.sweep(&home.orphans)?;
        let (mut sealed, mut damaged, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for found in db.segments()? {
            let segment = match open_segment(dir, found.id, record.dimension, found.tag) {
                Ok(segment) => segment,
                Err(error) if !is_damage(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(collection = %name, segment = %found.id, %error, "a segment cannot be used");
                    damaged.push(QuarantinedSegment { segment: found.id, what: error.to_string() });
                    continue;
                }
            };
            if found.tag.is_none() {
                tags.push(Change::SetTag { segment: found.id, tag: segment.tag() });
            }
            let graph = found.graph_generation.and_then(|generation| {
                let path = graph_path(dir, found.id, generation);
                match Graph::open(&path, expected(&segment, record.metric)) {
                    Ok(graph) => Some((generation, graph)),
                    Err(error) => {
                        tracing::error!(collection = %name, path = %path.display(), %error, "a graph cannot be used; its segment is scanned until it is rebuilt");
                        None
                    }
                }
            });
            let (id, rows) = (found.id, segment.rows());
            if let Some((row, _)) = found.payloads.iter().find(|(row, _)| *row >= rows) {
                let what = format!("{}: a payload of row {row} of segment {id}, which has {rows} rows", dir.display());
                return Err(Error::Damaged { what });
            }
            let opened = Sealed::new(segment, graph, &found.deleted);
            opened.update_payloads(found.payloads.into_iter().map(|(row, payload)| (row, payload.into())));
            if let Some(bytes) = found.calibration.filter(|_| opened.graph().is_some()) {
                match Calibration::from_bytes(&bytes) {
                    Ok(table) => opened.set_calibration(Some(table)),
                    Err(what) => {
                        tracing::error!(collection = %name, segment = %found.id, what, "a calibration is damaged; the graph is calibrated again");
                    }
                }
            }
            if let Some(generation) = found.graph_generation {
                opened.generation.store(generation, Ordering::Relaxed);
            }
            sealed.push(Arc::new(opened));
        }
        if !db.is_owned() || !tags.is_empty() {
            match db.commit(&tags) {
                Err(error) if error.kind() == crate::store::ErrorKind::Exhausted => {
                    tracing::warn!(collection = %name, %error, "the identity of a collection could not be stored; the next write stores it");
                }
                done => done?,
            }
        }
        let flush_bytes = meters.memory.flush_bytes();
        let params = graph_params(settings)?;
        let fresh = || Arc::new(Growing::new(record.dimension, record.metric, params, settings.seal_rows));
        // After a crash there may be rows for more than one growing segment.
        let (mut growing, mut unflushed) = (fresh(), Vec::new());
        let mut rotate_if_full = |growing: &mut Arc<Growing>| {
            if growing.is_full(settings.seal_rows, flush_bytes) {
                growing.rotated_at.get_or_init(Instant::now);
                unflushed.push(std::mem::replace(growing, fresh()));
            }
        };
        let mut unfit = None;
        db.growing(&mut |key, id, vector, body| {
            match fitting(id, vector, record.dimension) {
                Some(id) => {
                    growing.append([NewRow { key, id, vector: vector.to_vec(), body: Box::from(body) }]);
                    rotate_if_full(&mut growing);
                }
                None => _ = unfit.get_or_insert(key),
            }
            Ok(())
        })?;
        if let Some(key) = unfit {
            let what = format!("{}: the growing point {key} does not fit its collection", dir.display());
            return Err(Error::Damaged { what });
        }
        let embedder = record.embedder.as_ref().map(|pinned| {
            let fingerprint = Fingerprint(pinned.fingerprint);
            let known = registry.by_fingerprint(&pinned.name, &fingerprint).cloned();
            let embedder = known.or_else(|| restored_embedder(dir, &pinned.name, &fingerprint));
            let pinned = EmbedderBinding { pin: pin_of(pinned), loaded: OnceLock::new(), refused: OnceLock::new() };
            embedder.map_or(Ok(()), |embedder| pinned.try_bind(&name, &db, &embedder)).map(|()| pinned)
        });
        let embedder = embedder.transpose()?;
        let commit_queue = CommitQueue::new(db.sequence()?, db.next_key()?);
        let next_segment = AtomicU64::new(db.next_segment()?.0);
        let fields = record.text_fields.iter().map(|field| Arc::new(IndexedField::new(field.clone()))).collect();
        let vectors = record.vector_fields.iter().map(|field| Arc::new(IndexedVectors::new(field.clone()))).collect();
        let opened = Self {
            fs: fs.clone(),
            names: Names::new(name),
            dir: dir.into(),
            identity,
            dimension: record.dimension,
            metric: record.metric,
            settings,
            embedder,
            db,
            view: RwLock::new(Arc::new(View { sealed, unflushed, growing, additions: 0, damaged })),
            commit_queue,
            flush_bytes,
            folder_use: FolderUse::default(),
            jobs: JobLock::default(),
            last_was_merge: AtomicBool::new(false),
            measuring: JobLock::default(),
            changes: Arc::default(),
            flushing: Mutex::new(()),
            next_segment,
            removed: AtomicBool::new(false),
            meters,
            answered: AtomicU64::new(0),
            compaction_fails: AtomicBool::new(false),
            audited: AtomicBool::new(false),
            orphans,
            lineage: Mutex::new(Lineage { generation: 1, previous: None }),
            generation: RwLock::new(()),
            damage_seen: AtomicU64::new(0),
            damage_noted: AtomicU64::new(0),
            text_fields: RwLock::new(Arc::new(fields)),
            optional_vectors: record.optional_vectors,
            tenant: record.tenant.clone(),
            vector_fields: RwLock::new(Arc::new(vectors)),
            next_field: AtomicU32::new(record.next_field),
            expiry: Expiry::new(record.ttl.clone()),
        };
        let fields = opened.text_fields();
        opened.remove_text_files(|name| !fields.iter().any(|field| field.owns_file(name)));
        opened.remove_obsolete_columns();
        Ok(opened)
    }
}

/// Returns the state in which a collection was closed, according to the catalog.
pub(crate) fn closed(entry: &Entry, summary: &Summary) -> CollectionInfo {
    let record = &entry.record;
    let lineage = Lineage::of(entry);
    let segment = |segment: &SegmentSummary| SegmentInfo {
        id: segment.id,
        rows: segment.rows,
        deleted_rows: segment.deleted_rows,
        graph: segment.graph,
        vector_bytes: segment.vector_bytes,
        graph_bytes: segment.graph_bytes,
    };
    CollectionInfo {
        embedder: record.embedder.as_ref().map(pin_of),
        generation: lineage.generation,
        previous: lineage.previous,
        points: summary.points,
        growing_points: summary.growing_points,
        deleted_rows: summary.segments.iter().map(|segment| segment.deleted_rows).sum(),
        segments: summary.segments.iter().map(segment).collect(),
        mapped_bytes: summary.mapped_bytes,
        sequence: summary.sequence,
        state: CollectionState::Serving,
        problems: Vec::new(),
        ..unopened(Some(record), record.name.clone(), "")
    }
}

/// Returns the summary of a state, for the catalog.
pub(crate) fn summary_of(info: &CollectionInfo, pending: bool, files: u32) -> Summary {
    let segment = |segment: &SegmentInfo| SegmentSummary {
        id: segment.id,
        rows: segment.rows,
        deleted_rows: segment.deleted_rows,
        graph: segment.graph,
        vector_bytes: segment.vector_bytes,
        graph_bytes: segment.graph_bytes,
    };
    Summary {
        files,
        pending,
        sequence: info.sequence,
        points: info.points,
        growing_points: info.growing_points,
        mapped_bytes: info.mapped_bytes,
        segments: info.segments.iter().map(segment).collect(),
    }
}

/// Returns the known state of a collection that failed to open.
pub(crate) fn unopened(record: Option<&CollectionRecord>, name: CollectionName, why: &str) -> CollectionInfo {
    CollectionInfo {
        name,
        aliases: Vec::new(),
        dimension: record.map_or(0, |record| record.dimension),
        optional_vectors: record.is_some_and(|record| record.optional_vectors),
        metric: record.map_or(Metric::Cosine, |record| record.metric),
        embedder: None,
        generation: 1,
        previous: None,
        index: record.map_or_else(IndexSettings::default, settings_of),
        text_fields: record.map_or_else(Vec::new, |record| record.text_fields.clone()),
        vector_fields: record.map_or_else(Vec::new, |record| record.vector_fields.clone()),
        ttl: record.and_then(|record| record.ttl.clone()),
        tenant: record.and_then(|record| record.tenant.clone()),
        points: 0,
        growing_points: 0,
        deleted_rows: 0,
        segments: Vec::new(),
        mapped_bytes: 0,
        resident_bytes: 0,
        sequence: 0,
        queries: 0,
        state: CollectionState::Unavailable,
        problems: vec![why.into()],
    }
}

fn settings_of(record: &CollectionRecord) -> IndexSettings {
    IndexSettings {
        m: record.m,
        ef_construction: record.ef_construction,
        ef_search: record.ef_search,
        seal_rows: record.seal_rows,
        precision: record.precision,
    }
}

/// Opens a segment of a collection. Checks its header, its dimension, and the recorded content tag, if any.
pub(crate) fn open_segment(dir: &Path, id: SegmentId, dimension: u32, tag: Option<u64>) -> Result<Segment, Error> {
    let segment = Segment::open(dir, id)?;
    if let Some(tag) = tag.filter(|tag| *tag != segment.tag()) {
        let what = format!(
            "{}: has the content tag {:016x}, but {} records {tag:016x} for it: it is the file of another collection, or of another state of this one",
            segment.path().display(),
            segment.tag(),
            dir.join(CollectionDb::FILE).display()
        );
        return Err(Error::Damaged { what });
    }
    if segment.dimension() != dimension && segment.dimension() != 0 {
        let what = format!("{}: has dimension {}, not {dimension}", segment.path().display(), segment.dimension());
        return Err(Error::Damaged { what });
    }
    Ok(segment)
}

/// Whether a segment that does not open is damaged or missing. Otherwise the machine failed, or this program is older
/// than the file format, and the content may be intact.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } => true,
        Error::Store(error) => error.kind() == crate::store::ErrorKind::Corrupt || error.is_missing_file(),
        _ => false,
    }
}

/// Returns the properties that the graph of a segment must have been built on.
pub(crate) fn expected(segment: &Segment, metric: Metric) -> Expected {
    Expected { rows: segment.rows(), dimension: segment.dimension(), metric, tag: segment.tag() }
}

/// Returns the path of a segment's graph file.
pub(crate) fn graph_path(dir: &Path, segment: SegmentId, generation: u32) -> PathBuf {
    dir.join(segment.graph_file(generation))
}

/// Returns the id of a stored growing point, unless the point does not fit a collection of this dimension. A point without
/// a vector fits.
pub(crate) fn fitting(id: &str, vector: &[f32], dimension: u32) -> Option<PointId> {
    let fits = vector.is_empty() || vector.len() == dimension as usize;
    PointId::new(id).ok().filter(|_| fits)
}
