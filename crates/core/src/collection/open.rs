//! An open collection: its record, its database, and the view that queries read.
//!
//! A view is an immutable list of sealed segments, frozen ones waiting to be sealed, and the growing one. Jobs replace
//! whole views; rows are marked deleted in place. A query takes one view and never waits for a job.

use super::activity::Meters;
use super::canary;
use super::growing::{Growing, NewRow};
use super::map::Changes;
use super::sealed::Sealed;
use super::turn::{FolderUse, InUse, Turn};
use super::write::{Counters, Writer};
use super::{CollectionInfo, CollectionState, EmbedderPin, Error, IndexSettings, PreviousGeneration, SegmentInfo};
use crate::disk::Fs;
use crate::embed::{Embedder, Fingerprint, Model, OutputLayer, Registry};
use crate::index::GraphParams;
use crate::index::calibration::Calibration;
use crate::index::graph::{Expected, Graph};
use crate::store::{
    Change, CollectionDir, CollectionRecord, EmbedderRecord, Entry, Loss, Segment, SegmentId, Truth, damage_found,
};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, RwLock};
use crate::types::{CollectionName, Identity, Metric, Ordinal, PointId};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

/// Folder of the embedder that a restored collection brings along when the server does not have it.
pub(super) const EMBEDDER_FOLDER: &str = "embedder";

/// An open collection.
pub(super) struct Collection {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) name: CollectionName,
    pub(super) dir: PathBuf,
    pub(super) dimension: u32,
    pub(super) metric: Metric,
    pub(super) settings: IndexSettings,
    pub(super) embedder: Option<Pinned>,
    pub(super) truth: Truth,
    view: RwLock<Arc<View>>,
    pub(super) writer: Writer,
    /// Seals a growing segment once its vectors and payloads take this many bytes, even below the row limit.
    pub(super) seal_bytes: usize,
    /// Jobs that write files in `dir`.
    pub(super) folder_use: FolderUse,
    /// Merges, graph builds and compactions.
    pub(super) jobs: Turn,
    /// Whether the last background job was a merge. If so, a graph outside the next merge is built first.
    pub(super) merged_last: AtomicBool,
    /// Graph calibration. Separate from `jobs`, so that merges do not wait for it.
    pub(super) measuring: Turn,
    /// The change feed.
    pub(super) changes: Arc<Changes>,
    /// Allows one seal at a time.
    pub(super) sealing: Mutex<()>,
    pub(super) next_segment: AtomicU64,
    /// Set when the collection is deleted or replaced: jobs stop and writes are refused.
    pub(super) gone: AtomicBool,
    pub(super) meters: Arc<Meters>,
    /// Queries answered since it was opened.
    pub(super) answered: AtomicU64,
    /// Whether the last merge or background graph build failed.
    pub(super) improving_fails: AtomicBool,
    /// Segment files that no transaction named when the collection was opened, and what was done with each.
    orphans: Vec<String>,
    lineage: Mutex<Lineage>,
    /// Writers hold it shared from the embedding on; the switch to the next generation holds it exclusively.
    pub(super) generation: RwLock<()>,
    /// Identity written to its segments, so that segments of another collection are recognized.
    pub(super) identity: Identity,
    /// Value of the process-wide damage counter at the last check of this collection.
    damage_seen: AtomicU64,
    /// Incremented when damage of this collection is noted.
    damage_noted: AtomicU64,
}

/// Remedy for a damaged segment, for error messages.
const REMEDY: &str = "nearness repair removes what is damaged and keeps the rest";

/// Most attempts of a read that finds new damage, for a collection already known to be damaged.
const DAMAGED_TRIES: u32 = 3;

/// Generation of the collection.
#[derive(Clone, Debug)]
pub(super) struct Lineage {
    pub(super) generation: u32,
    /// The previous generation, if kept.
    pub(super) previous: Option<PreviousGeneration>,
}

impl Lineage {
    pub(super) fn of(entry: &Entry) -> Self {
        let previous = entry.previous.as_ref().and_then(|previous| {
            let embedder = previous.record.embedder.as_ref().map(pin_of)?;
            Some(PreviousGeneration { generation: previous.generation, embedder })
        });
        Self { generation: entry.generation, previous }
    }
}

fn pin_of(record: &EmbedderRecord) -> EmbedderPin {
    EmbedderPin { name: record.name.clone(), tap: record.tap.clone(), fingerprint: Fingerprint(record.fingerprint) }
}

/// The embedder that a collection is pinned to; `loaded` is empty while the process does not have it.
pub(super) struct Pinned {
    pub(super) pin: EmbedderPin,
    pub(super) loaded: OnceLock<(Arc<dyn Embedder>, OutputLayer)>,
    /// Reason for refusing the embedder.
    pub(super) refused: OnceLock<String>,
}

impl Pinned {
    /// Binds an embedder of this name and fingerprint, if it still produces the reference vectors.
    fn meet(&self, collection: &CollectionName, truth: &Truth, embedder: &Arc<dyn Embedder>) -> Result<(), Error> {
        let Ok(tap) = embedder.output_layer(&self.pin.tap) else { return Ok(()) };
        match canary::watch(truth, embedder.as_ref(), tap)? {
            Ok(()) => drop(self.loaded.set((embedder.clone(), tap.clone()))),
            Err(why) => {
                tracing::error!(%collection, embedder = %self.pin.name, why, "the embedder is refused");
                let _ = self.refused.set(why);
            }
        }
        Ok(())
    }
}

/// The segments that queries search.
#[derive(Clone)]
pub(super) struct View {
    pub(super) sealed: Vec<Arc<Sealed>>,
    /// Oldest first.
    pub(super) frozen: Vec<Arc<Growing>>,
    pub(super) growing: Arc<Growing>,
    /// Count of added segments that may hold points which older views have elsewhere.
    pub(super) additions: u64,
    /// Damaged segments, including those with some rows still in use. While there are any, reads fail unless the point
    /// is found elsewhere or partial results are allowed.
    pub(super) lost: Vec<Lost>,
}

/// A damaged sealed segment: what is wrong, in which file and where. It is either quarantined, or still in the view
/// with its damaged rows hidden.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) segment: SegmentId,
    pub(super) what: String,
}

/// Location of a live point.
pub(super) enum Place {
    Growing(Arc<Growing>, u32),
    Sealed(Arc<Sealed>, Ordinal),
}

impl View {
    /// Returns the growing segments, newest first.
    pub(super) fn growing_newest_first(&self) -> impl Iterator<Item = &Arc<Growing>> {
        std::iter::once(&self.growing).chain(self.frozen.iter().rev())
    }

    /// Returns the location of the live point with this id.
    pub(super) fn locate(&self, id: &PointId) -> Option<Place> {
        for growing in self.growing_newest_first() {
            if let Some(&row) = growing.read().by_id.get(id) {
                return Some(Place::Growing(growing.clone(), row));
            }
        }
        self.sealed.iter().rev().find_map(|sealed| Some(Place::Sealed(sealed.clone(), sealed.find(id.as_str())?)))
    }

    /// Fails with `Damaged` when any segment is damaged, because the result could be partial.
    pub(super) fn whole(&self, collection: &CollectionName) -> Result<(), Error> {
        if let Some(Lost { segment, what }) = self.lost.first() {
            let what = format!(
                "segment {} of the collection {:?} is damaged ({what}); {REMEDY}",
                segment.0,
                collection.as_str()
            );
            return Err(Error::Damaged { what });
        }
        self.sealed.iter().find(|sealed| sealed.has_new_damage()).map_or(Ok(()), |sealed| Err(sealed.damage()))
    }

    pub(super) fn live(&self) -> u64 {
        let growing: u64 = self.growing_newest_first().map(|growing| growing.live()).sum();
        growing + self.sealed.iter().map(|sealed| u64::from(sealed.live_rows())).sum::<u64>()
    }
}

impl Collection {
    /// Opens the collection recorded in the database in `dir`: maps segments and graphs, reads growing points into
    /// memory.
    pub(super) fn open(
        fs: &Arc<dyn Fs>,
        record: &CollectionRecord,
        home: &CollectionDir,
        registry: &Registry,
        meters: Arc<Meters>,
    ) -> Result<Self, Error> {
        let name = record.name.clone();
        let settings = settings_of(record);
        let dir = home.path.as_path();
        let truth = Truth::open(fs, dir)?;
        let identity = truth.claim(home)?;
        let orphans = truth.sweep(&home.orphans)?;
        let (mut sealed, mut lost, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for found in truth.segments()? {
            let segment = match open_segment(dir, found.id, record.dimension, found.tag) {
                Ok(segment) => segment,
                Err(error) if !is_lost(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(collection = %name, segment = %found.id, %error, "a segment cannot be used");
                    lost.push(Lost { segment: found.id, what: error.to_string() });
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
            let opened = Sealed::new(segment, graph, &found.deleted);
            if let Some(bytes) = found.calibration.filter(|_| opened.graph().is_some()) {
                match Calibration::from_bytes(&bytes) {
                    Ok(table) => opened.set_calibration(Some(table)),
                    Err(what) => {
                        tracing::error!(collection = %name, segment = %found.id, what, "a calibration is damaged; it is measured anew");
                    }
                }
            }
            if let Some(generation) = found.graph_generation {
                opened.generation.store(generation, Ordering::Relaxed);
            }
            sealed.push(Arc::new(opened));
        }
        if !truth.is_owned() || !tags.is_empty() {
            match truth.commit(&tags) {
                Err(error) if error.kind() == crate::store::ErrorKind::Exhausted => {
                    tracing::warn!(collection = %name, %error, "the identity of a collection could not be stored; the next write stores it");
                }
                done => done?,
            }
        }
        let seal_bytes = meters.memory.seal_bytes();
        let params = graph_params(settings)?;
        let fresh = || Arc::new(Growing::new(record.dimension, record.metric, params, settings.seal_rows));
        // After a crash there may be rows for more than one growing segment.
        let (mut growing, mut frozen) = (fresh(), Vec::new());
        let mut freeze_if_full = |growing: &mut Arc<Growing>| {
            if growing.is_full(settings.seal_rows, seal_bytes) {
                growing.frozen_at.get_or_init(Instant::now);
                frozen.push(std::mem::replace(growing, fresh()));
            }
        };
        let mut unfit = None;
        truth.growing(&mut |key, id, vector, payload| {
            match PointId::new(id) {
                Ok(id) if vector.len() == record.dimension as usize => {
                    growing.append([NewRow { key, id, vector: vector.to_vec(), payload: Box::from(payload) }]);
                    freeze_if_full(&mut growing);
                }
                Ok(_) | Err(_) => _ = unfit.get_or_insert(key),
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
            let embedder = known.or_else(|| kept_embedder(dir, &pinned.name, &fingerprint));
            let pinned = Pinned { pin: pin_of(pinned), loaded: OnceLock::new(), refused: OnceLock::new() };
            embedder.map_or(Ok(()), |embedder| pinned.meet(&name, &truth, &embedder)).map(|()| pinned)
        });
        let embedder = embedder.transpose()?;
        let writer = Writer::new(truth.sequence()?, truth.next_key()?);
        let next_segment = AtomicU64::new(truth.next_segment()?.0);
        Ok(Self {
            fs: fs.clone(),
            name,
            dir: dir.into(),
            identity,
            dimension: record.dimension,
            metric: record.metric,
            settings,
            embedder,
            truth,
            view: RwLock::new(Arc::new(View { sealed, frozen, growing, additions: 0, lost })),
            writer,
            seal_bytes,
            folder_use: FolderUse::default(),
            jobs: Turn::default(),
            merged_last: AtomicBool::new(false),
            measuring: Turn::default(),
            changes: Arc::default(),
            sealing: Mutex::new(()),
            next_segment,
            gone: AtomicBool::new(false),
            meters,
            answered: AtomicU64::new(0),
            improving_fails: AtomicBool::new(false),
            orphans,
            lineage: Mutex::new(Lineage { generation: 1, previous: None }),
            generation: RwLock::new(()),
            damage_seen: AtomicU64::new(0),
            damage_noted: AtomicU64::new(0),
        })
    }

    /// Binds the embedder of a newly installed model, if the collection lacks it.
    pub(super) fn offer(&self, model: &Model) {
        let Some(pinned) = &self.embedder else { return };
        let same =
            |one: &&Arc<dyn Embedder>| one.name() == pinned.pin.name && one.fingerprint() == pinned.pin.fingerprint;
        let Some(embedder) = model.embedders.iter().find(same).filter(|_| pinned.loaded.get().is_none()) else {
            return;
        };
        if let Err(error) = pinned.meet(&self.name, &self.truth, embedder) {
            tracing::error!(collection = %self.name, %error, "the embedder could not be compared with what it gave before");
        }
    }

    pub(super) fn lineage(&self) -> Lineage {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_lineage(&self, lineage: Lineage) {
        *self.lineage.lock().unwrap_or_else(PoisonError::into_inner) = lineage;
    }

    /// Returns the current view.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `read` until it finds no new damage. After each run the damaged rows are hidden; the next run then fails,
    /// or leaves them out if partial results are allowed. Not to be called under the commit lock.
    pub(super) fn noting_damage<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let known = self.note_damage();
            let found = read();
            tries += 1;
            // A scrub may keep finding damage; a collection already known to be damaged does not wait for its end.
            let enough = tries >= DAMAGED_TRIES && !self.view().lost.is_empty();
            if self.note_damage() == known || enough {
                return found;
            }
        }
    }

    /// Hides newly found damage. The returned number changes whenever there was any.
    pub(super) fn note_damage(&self) -> u64 {
        if damage_found() != self.damage_seen.load(Ordering::Acquire) {
            let held = self.writer.hold();
            self.note_damage_held(&held);
        }
        self.damage_noted.load(Ordering::Acquire)
    }

    /// Like [`note_damage`](Self::note_damage), under the commit lock.
    pub(super) fn note_damage_held(&self, _held: &MutexGuard<'_, Counters>) {
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
                tracing::error!(collection = %self.name, segment = %id, what, "a segment is damaged");
            }
            self.change_view(|view| {
                if let Some(what) = what {
                    view.lost.retain(|lost| lost.segment != id);
                    view.lost.push(Lost { segment: id, what });
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
    pub(super) fn quarantine(&self, segment: &Segment, error: &dyn std::fmt::Display) {
        match segment.loss() {
            Loss::Nothing => {
                tracing::warn!(collection = %self.name, segment = %segment.id(), %error, "a segment is damaged where it costs no rows");
            }
            Loss::Rows => _ = self.note_damage(),
            Loss::Segment => self.lose(segment.id(), error),
        }
    }

    /// Removes a damaged segment from the view, so that nothing is read or copied from it.
    pub(super) fn lose(&self, segment: SegmentId, error: &dyn std::fmt::Display) {
        tracing::error!(collection = %self.name, %segment, %error, "a segment is damaged and not used any more");
        let _held = self.writer.hold();
        self.change_view(|view| {
            let before = view.sealed.len();
            view.sealed.retain(|sealed| sealed.segment.id() != segment);
            if view.sealed.len() < before {
                view.lost.retain(|lost| lost.segment != segment);
                view.lost.push(Lost { segment, what: error.to_string() });
            }
        });
    }

    /// Replaces the view. Only under the commit lock, so that no concurrent change is lost.
    pub(super) fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut slot = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&slot);
        change(&mut view);
        *slot = Arc::new(view);
    }

    pub(super) fn new_growing(&self) -> Result<Growing, Error> {
        new_growing(self.dimension, self.metric, self.settings)
    }

    pub(super) fn graph_params(&self) -> Result<GraphParams, Error> {
        graph_params(self.settings)
    }

    /// Marks the collection as deleted or replaced. Under the commit lock: later writes, and those waiting for a seal,
    /// are refused. Closes the database even while segments are still read, so that the folder can be opened again.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.truth.close();
        self.writer.wake();
        self.changes.end();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Registers a job that writes files in the folder, until the result is dropped.
    ///
    /// # Errors
    /// `NotFound` when the collection was deleted or replaced: the folder may already belong to another one.
    pub(super) fn use_folder(&self) -> Result<InUse, Error> {
        // Before the check: a thread that waits for the folder to become free has set `gone` first.
        let in_use = self.folder_use.begin();
        if self.is_gone() { Err(Error::UnknownCollection(self.name.to_string())) } else { Ok(in_use) }
    }

    /// Returns the fingerprint of its embedder.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.embedder.as_ref().map(|pinned| pinned.pin.fingerprint)
    }

    /// Returns the number of a new segment.
    pub(super) fn take_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns its state, for the API.
    pub(super) fn info(&self) -> CollectionInfo {
        let view = self.view();
        let stopped = self.truth.stopped();
        let refused = self.embedder.iter().filter_map(|pinned| pinned.refused.get());
        let refused = refused.map(|why| format!("its embedder is refused: {why}"));
        let mut mapped_bytes = 0;
        let mut resident_bytes = 0;
        let segments = view
            .sealed
            .iter()
            .map(|sealed| {
                let graph = sealed.graph();
                let graph_bytes = graph.as_ref().map_or(0, |graph| graph.mapped_bytes());
                let (payload_bytes, payload_resident) = sealed.payloads.mapped();
                mapped_bytes += sealed.segment.mapped_bytes() + graph_bytes + payload_bytes;
                resident_bytes += sealed.segment.resident_bytes()
                    + payload_resident
                    + graph.as_ref().map_or(0, |graph| graph.resident_bytes());
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
            name: self.name.clone(),
            dimension: self.dimension,
            metric: self.metric,
            embedder: self.embedder.as_ref().map(|pinned| pinned.pin.clone()),
            generation: lineage.generation,
            previous: lineage.previous,
            index: self.settings,
            points: view.live(),
            growing_points: view.growing_newest_first().map(|growing| growing.live()).sum(),
            deleted_rows: segments.iter().map(|segment| segment.deleted_rows).sum(),
            segments,
            mapped_bytes,
            resident_bytes,
            sequence: self.writer.sequence(),
            state: match (view.lost.is_empty(), &stopped) {
                (false, _) => CollectionState::Damaged,
                (true, Some(_)) => CollectionState::ReadOnly,
                (true, None) => CollectionState::Serving,
            },
            queries: self.answered.load(Ordering::Relaxed),
            problems: {
                let deferred = view.sealed.iter().flat_map(|sealed| sealed.deferred());
                let lost = view.lost.iter().map(|lost| format!("{}; {REMEDY}", lost.what));
                lost.chain(stopped).chain(refused).chain(deferred).chain(self.orphans.iter().cloned()).collect()
            },
        }
    }
}

/// Returns what is known of a collection that failed to open.
pub(super) fn unopened(record: Option<&CollectionRecord>, name: CollectionName, why: &str) -> CollectionInfo {
    CollectionInfo {
        name,
        dimension: record.map_or(0, |record| record.dimension),
        metric: record.map_or(Metric::Cosine, |record| record.metric),
        embedder: None,
        generation: 1,
        previous: None,
        index: record.map_or_else(IndexSettings::default, settings_of),
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

/// Loads the embedder that came with a restored collection.
fn kept_embedder(dir: &Path, name: &str, fingerprint: &Fingerprint) -> Option<Arc<dyn Embedder>> {
    let folder = dir.join(EMBEDDER_FOLDER);
    if !folder.is_dir() {
        return None;
    }
    let mut kept = Registry::default();
    if let Err(error) = kept.add_folder(&folder) {
        tracing::error!(folder = %folder.display(), %error, "the embedder kept with a collection cannot be used");
    }
    kept.by_fingerprint(name, fingerprint).cloned()
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
pub(super) fn open_segment(dir: &Path, id: SegmentId, dimension: u32, tag: Option<u64>) -> Result<Segment, Error> {
    let segment = Segment::open(dir, id)?;
    if let Some(tag) = tag.filter(|tag| *tag != segment.tag()) {
        let what = format!(
            "{}: has the content tag {:016x}, but {} records {tag:016x} for it: it is the file of another collection, or of another state of this one",
            segment.path().display(),
            segment.tag(),
            dir.join(Truth::FILE).display()
        );
        return Err(Error::Damaged { what });
    }
    if segment.dimension() != dimension {
        let what = format!("{}: has dimension {}, not {dimension}", segment.path().display(), segment.dimension());
        return Err(Error::Damaged { what });
    }
    Ok(segment)
}

/// Whether a segment that does not open is damaged or missing. Otherwise the machine failed, or this program is older
/// than the file format, and the content may be intact.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } => true,
        Error::Store(error) => error.kind() == crate::store::ErrorKind::Corrupt || error.is_missing_file(),
        _ => false,
    }
}

/// Returns the properties that the graph of a segment must have been built on.
pub(super) fn expected(segment: &Segment, metric: Metric) -> Expected {
    Expected { rows: segment.rows(), dimension: segment.dimension(), metric, tag: segment.tag() }
}

/// Returns the path of a segment's graph file.
pub(super) fn graph_path(dir: &Path, segment: SegmentId, generation: u32) -> PathBuf {
    dir.join(segment.graph_file(generation))
}

fn graph_params(settings: IndexSettings) -> Result<GraphParams, Error> {
    // A constant seed makes a graph a function of its vectors and settings.
    const SEED: u64 = 1;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(GraphParams::new(settings.m, settings.ef_construction, SEED, threads)?)
}

fn new_growing(dimension: u32, metric: Metric, settings: IndexSettings) -> Result<Growing, Error> {
    Ok(Growing::new(dimension, metric, graph_params(settings)?, settings.seal_rows))
}
