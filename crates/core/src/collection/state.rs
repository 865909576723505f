//! The state of an open collection.
//!
//! Jobs replace whole views; rows are marked deleted in place. A query takes one view and never waits for a job.

use super::change_feed::ChangeLog;
use super::commit_queue::{CommitQueue, CommitState};
use super::embedder_pin::{EmbedderBinding, Lineage};
use super::expiry::Expiry;
use super::job_lock::{FolderUse, InUse, JobLock};
use super::meters::Meters;
use super::view::{QuarantinedSegment, REMEDY, View};
use crate::api::{CollectionInfo, CollectionState, Error, IndexSettings, SegmentInfo};
use crate::disk::Fs;
use crate::embed::Fingerprint;
use crate::index::GraphParams;
use crate::segment::columns::IndexedVectors;
use crate::segment::growing::Growing;
use crate::segment::sealed::Sealed;
use crate::segment::text_index::IndexedField;
use crate::store::{CollectionDb, Loss, Segment, SegmentId, damage_found};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, RwLock};
use crate::types::{CollectionName, Identity, Metric};
use std::path::PathBuf;
use std::sync::PoisonError;

/// Names of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) name: CollectionName,
    /// In byte order.
    pub(crate) aliases: Vec<CollectionName>,
}

impl Names {
    /// Returns the names of a collection without aliases.
    pub(super) fn new(name: CollectionName) -> RwLock<Arc<Self>> {
        RwLock::new(Arc::new(Self { name, aliases: Vec::new() }))
    }
}

/// An open collection.
pub(crate) struct Collection {
    pub(crate) fs: Arc<dyn Fs>,
    pub(super) names: RwLock<Arc<Names>>,
    pub(crate) dir: PathBuf,
    /// 0 for a collection without vectors of its own.
    pub(crate) dimension: u32,
    /// Whether points may have no vector.
    pub(crate) optional_vectors: bool,
    /// Path of the tenant of a point in its payload, by which segments are ordered.
    pub(crate) tenant: Option<String>,
    pub(crate) metric: Metric,
    pub(crate) settings: IndexSettings,
    pub(crate) embedder: Option<EmbedderBinding>,
    pub(crate) db: CollectionDb,
    pub(super) view: RwLock<Arc<View>>,
    pub(crate) commit_queue: CommitQueue,
    /// A growing segment is flushed once its vectors and payloads take this many bytes, even below the row limit.
    pub(crate) flush_bytes: usize,
    /// Jobs that write files in `dir`.
    pub(crate) folder_use: FolderUse,
    /// Merges, graph builds and compactions.
    pub(crate) jobs: JobLock,
    /// Whether the last background job was a merge. If so, a graph outside the next merge is built first.
    pub(crate) last_was_merge: AtomicBool,
    /// Graph calibration. Separate from `jobs`, so that merges do not wait for it.
    pub(crate) measuring: JobLock,
    /// The change feed.
    pub(crate) changes: Arc<ChangeLog>,
    /// Allows one flush at a time.
    pub(crate) flushing: Mutex<()>,
    pub(crate) next_segment: AtomicU64,
    /// Set when the collection is deleted or replaced: jobs stop and writes are refused.
    pub(crate) removed: AtomicBool,
    pub(crate) meters: Arc<Meters>,
    /// Queries answered since the start of the engine.
    pub(crate) answered: AtomicU64,
    /// Whether its graphs have been verified since the start of the engine.
    pub(crate) audited: AtomicBool,
    /// Whether the last merge or background graph build failed.
    pub(crate) compaction_fails: AtomicBool,
    /// Segment files that no transaction named at the opening of the collection, each with the action taken.
    pub(super) orphans: Vec<String>,
    pub(super) lineage: Mutex<Lineage>,
    /// Writers hold it shared from the embedding on; the switch to the next generation holds it exclusively.
    pub(crate) generation: RwLock<()>,
    /// Identity written to its segments, so that segments of another collection are recognized.
    pub(crate) identity: Identity,
    /// Value of the process-wide damage counter at the last check of this collection.
    pub(super) damage_seen: AtomicU64,
    /// Incremented when damage of this collection is noted.
    pub(super) damage_noted: AtomicU64,
    pub(super) text_fields: RwLock<Arc<Vec<Arc<IndexedField>>>>,
    pub(super) vector_fields: RwLock<Arc<Vec<Arc<IndexedVectors>>>>,
    /// Number of the next vector field.
    pub(crate) next_field: AtomicU32,
    pub(super) expiry: Expiry,
}

/// Maximum attempts of a read that finds new damage, for a collection already known to be damaged.
const MAX_DAMAGED_READS: u32 = 3;

impl Collection {
    /// Returns its present names.
    pub(crate) fn names(&self) -> Arc<Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns its present name. It may change at any time.
    pub(crate) fn name(&self) -> CollectionName {
        self.names().name.clone()
    }

    pub(crate) fn set_names(&self, names: Names) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }

    pub(crate) fn lineage(&self) -> Lineage {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_lineage(&self, lineage: Lineage) {
        *self.lineage.lock().unwrap_or_else(PoisonError::into_inner) = lineage;
    }

    /// Returns the current view.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `read` until it finds no new damage. After each run the damaged rows are hidden; the next run then fails,
    /// or leaves them out if partial results are allowed. Not to be called under the commit lock.
    pub(crate) fn noting_damage<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let known = self.note_damage();
            let found = read();
            tries += 1;
            // A scrub may keep finding damage; a collection already known to be damaged does not wait for its end.
            let tried_enough = tries >= MAX_DAMAGED_READS && !self.view().damaged.is_empty();
            if self.note_damage() == known || tried_enough {
                return found;
            }
        }
    }

    /// Hides newly found damage. The returned number changes whenever there was any.
    pub(crate) fn note_damage(&self) -> u64 {
        if damage_found() != self.damage_seen.load(Ordering::Acquire) {
            let held = self.commit_queue.lock();
            self.note_damage_held(&held);
        }
        self.damage_noted.load(Ordering::Acquire)
    }

    /// Like [`note_damage`](Self::note_damage), under the commit lock.
    pub(crate) fn note_damage_held(&self, _held: &MutexGuard<'_, CommitState>) {
        let seen = damage_found();
        if seen == self.damage_seen.load(Ordering::Acquire) {
            return;
        }
        let damaged: Vec<Arc<Sealed>> =
            self.view().sealed.iter().filter(|sealed| sealed.has_new_damage()).cloned().collect();
        for sealed in &damaged {
            let id = sealed.segment.id();
            let what = sealed.segment.describe_damage();
            if let Some(what) = &what {
                tracing::error!(collection = %self.name(), segment = %id, what, "a segment is damaged");
            }
            self.change_view(|view| {
                if let Some(what) = what {
                    view.damaged.retain(|other| other.segment != id);
                    view.damaged.push(QuarantinedSegment { segment: id, what });
                }
                if sealed.segment.is_lost() {
                    view.sealed.retain(|other| other.segment.id() != id);
                }
            });
            let blocks = sealed.hide_damage();
            self.meters.damaged.fetch_add(blocks, Ordering::Relaxed);
        }
        if !damaged.is_empty() {
            self.damage_noted.fetch_add(1, Ordering::AcqRel);
        }
        self.damage_seen.store(seen, Ordering::Release);
    }

    /// Quarantines the damaged part of a segment whose check failed with `error`.
    pub(crate) fn quarantine(&self, segment: &Segment, error: &dyn std::fmt::Display) {
        match segment.loss() {
            Loss::Nothing => {
                tracing::warn!(collection = %self.name(), segment = %segment.id(), %error, "a segment is damaged, but no row is lost");
            }
            Loss::Rows => _ = self.note_damage(),
            Loss::Segment => self.quarantine_segment(segment.id(), error),
        }
    }

    /// Removes a damaged segment from the view, so that nothing is read or copied from it.
    pub(crate) fn quarantine_segment(&self, segment: SegmentId, error: &dyn std::fmt::Display) {
        tracing::error!(collection = %self.name(), %segment, %error, "quarantined a damaged segment");
        let _held = self.commit_queue.lock();
        self.change_view(|view| {
            let before = view.sealed.len();
            view.sealed.retain(|sealed| sealed.segment.id() != segment);
            if view.sealed.len() < before {
                view.damaged.retain(|other| other.segment != segment);
                view.damaged.push(QuarantinedSegment { segment, what: error.to_string() });
            }
        });
    }

    /// Replaces the view. Only under the commit lock, so that no concurrent change is lost.
    pub(crate) fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut slot = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&slot);
        change(&mut view);
        *slot = Arc::new(view);
    }

    pub(crate) fn new_growing(&self) -> Result<Growing, Error> {
        new_growing(self.dimension, self.metric, self.settings)
    }

    pub(crate) fn graph_params(&self) -> Result<GraphParams, Error> {
        graph_params(self.settings)
    }

    /// Marks the collection as deleted or replaced. Under the commit lock: later writes, and those waiting for a flush,
    /// are refused. Closes the database even while segments are still read, so that the folder can be opened again.
    pub(crate) fn end(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.db.close();
        self.commit_queue.wake();
        self.changes.end();
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Registers a job that writes files in the folder, until the result is dropped.
    ///
    /// # Errors
    /// `NotFound` when the collection was deleted or replaced: the folder may already belong to another one.
    pub(crate) fn use_folder(&self) -> Result<InUse, Error> {
        // Before the check: a thread that waits for the folder to become free has set `removed` first.
        let in_use = self.folder_use.begin();
        if self.is_removed() { Err(Error::UnknownCollection(self.name().to_string())) } else { Ok(in_use) }
    }

    /// Returns the fingerprint of its embedder.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.embedder.as_ref().map(|pinned| pinned.pin.fingerprint)
    }

    /// Returns the number of a new segment.
    pub(crate) fn take_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns its state, for the API.
    pub(crate) fn info(&self) -> CollectionInfo {
        let resident = |sealed: &Sealed| {
            sealed.segment.resident_bytes()
                + sealed.payloads.resident_bytes()
                + sealed.texts.resident_bytes()
                + sealed.columns.resident_bytes()
                + sealed.graph().map_or(0, |graph| graph.resident_bytes())
        };
        let resident_bytes = self.view().sealed.iter().map(|sealed| resident(sealed)).sum();
        CollectionInfo { resident_bytes, ..self.stats() }
    }

    /// Returns its state without the resident bytes, which take a walk over the pages of all mappings.
    pub(crate) fn stats(&self) -> CollectionInfo {
        let (view, names) = (self.view(), self.names());
        let stopped = self.db.stopped();
        let refused = self.embedder.iter().filter_map(|pinned| pinned.refused.get());
        let refused = refused.map(|why| format!("its embedder is refused: {why}"));
        let mut mapped_bytes = 0;
        let segments = view
            .sealed
            .iter()
            .map(|sealed| {
                let graph = sealed.graph();
                let graph_bytes = graph.as_ref().map_or(0, |graph| graph.mapped_bytes());
                mapped_bytes += sealed.segment.mapped_bytes()
                    + graph_bytes
                    + sealed.payloads.mapped_bytes()
                    + sealed.texts.mapped_bytes()
                    + sealed.columns.mapped_bytes();
                SegmentInfo {
                    id: sealed.segment.id().0,
                    rows: sealed.segment.rows().into(),
                    deleted_rows: sealed.deleted_rows().into(),
                    graph: graph.is_some(),
                    vector_bytes: sealed.segment.mapped_bytes(),
                    graph_bytes,
                }
            })
            .collect::<Vec<_>>();
        let lineage = self.lineage();
        CollectionInfo {
            name: names.name.clone(),
            aliases: names.aliases.clone(),
            dimension: self.dimension,
            optional_vectors: self.optional_vectors,
            metric: self.metric,
            embedder: self.embedder.as_ref().map(|pinned| pinned.pin.clone()),
            generation: lineage.generation,
            previous: lineage.previous,
            index: self.settings,
            text_fields: self.text_fields().iter().map(|field| field.spec.clone()).collect(),
            vector_fields: self.vector_fields().iter().map(|field| field.spec.clone()).collect(),
            ttl: self.ttl().as_deref().cloned(),
            tenant: self.tenant.clone(),
            points: view.live(),
            growing_points: view.growing_newest_first().map(|growing| growing.live()).sum(),
            deleted_rows: segments.iter().map(|segment| segment.deleted_rows).sum(),
            segments,
            mapped_bytes,
            resident_bytes: 0,
            sequence: self.commit_queue.sequence(),
            state: match (view.damaged.is_empty(), &stopped) {
                (false, _) => CollectionState::Damaged,
                (true, Some(_)) => CollectionState::ReadOnly,
                (true, None) => CollectionState::Serving,
            },
            queries: self.answered.load(Ordering::Relaxed),
            problems: {
                let deferred = view.sealed.iter().flat_map(|sealed| sealed.deferred());
                let damaged = view.damaged.iter().map(|segment| format!("{}; {REMEDY}", segment.what));
                damaged.chain(stopped).chain(refused).chain(deferred).chain(self.orphans.iter().cloned()).collect()
            },
        }
    }
}

pub(super) fn graph_params(settings: IndexSettings) -> Result<GraphParams, Error> {
    // A constant seed makes a graph a function of its vectors and settings.
    const SEED: u64 = 1;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(GraphParams::new(settings.m, settings.ef_construction, SEED, threads)?)
}

fn new_growing(dimension: u32, metric: Metric, settings: IndexSettings) -> Result<Growing, Error> {
    Ok(Growing::new(dimension, metric, graph_params(settings)?, settings.seal_rows))
}
