//! One open collection: its record, its truth, and the view that queries see.
//!
//! A view is immutable as a list: sealed segments, frozen ones on their way to be sealed, and the one
//! that grows. Jobs swap whole views; rows die in place. A query takes the view once and never waits for a job.

use super::activity::Meters;
use super::canary;
use super::growing::{Growing, NewRow};
use super::map::Changes;
use super::sealed::Sealed;
use super::turn::{FolderUse, InUse, Turn};
use super::write::{Counters, Writer};
use super::{CollectionInfo, CollectionState, EmbedderPin, Error, IndexSettings, PreviousGeneration, SegmentInfo};
use crate::disk::Fs;
use crate::embed::{Embedder, Fingerprint, Model, Registry, Tap};
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

/// The model folder that a restored collection has in its own, when the server knows no such embedder.
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
    /// A growing segment is sealed when its vectors and payloads take this much, however few its rows.
    pub(super) seal_bytes: usize,
    /// The jobs that write files in `dir`.
    pub(super) folder_use: FolderUse,
    /// Merges, graph builds and compactions.
    pub(super) jobs: Turn,
    /// Whether the last background job merged: then a graph that no merge will make comes next.
    pub(super) merged_last: AtomicBool,
    /// Measurements of graphs: beside the jobs, so that no merge waits for one.
    pub(super) measuring: Turn,
    /// For those who watch.
    pub(super) changes: Arc<Changes>,
    /// Only one seal at a time.
    pub(super) sealing: Mutex<()>,
    pub(super) next_segment: AtomicU64,
    /// Set when it is deleted: jobs stop, late writers are refused.
    pub(super) gone: AtomicBool,
    pub(super) meters: Arc<Meters>,
    /// Queries that were answered since it was opened.
    pub(super) answered: AtomicU64,
    /// Whether the last merge, or the last graph in the background, failed.
    pub(super) improving_fails: AtomicBool,
    /// What became of segment files that no transaction named when it was opened.
    orphans: Vec<String>,
    lineage: Mutex<Lineage>,
    /// Writers share it from the moment that they embed; whoever makes the next generation present has it alone.
    pub(super) generation: RwLock<()>,
    /// What its segments carry, so that they are not taken for those of another collection.
    pub(super) identity: Identity,
    /// Damage in any segment of the process that was looked at here.
    damage_seen: AtomicU64,
    /// Counts up when damage of this collection is noted.
    damage_noted: AtomicU64,
}

/// What to do about a damaged segment.
const REMEDY: &str = "nearness repair removes what is damaged and keeps the rest";

/// Readings that are repeated because damage was found meanwhile, of a collection that is known to be damaged.
const DAMAGED_TRIES: u32 = 3;

/// Which generation of its collection this is.
#[derive(Clone, Debug)]
pub(super) struct Lineage {
    pub(super) generation: u32,
    /// The generation before, while it is kept.
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

/// The embedder a collection is pinned to; `loaded` is empty while this process does not have it.
pub(super) struct Pinned {
    pub(super) pin: EmbedderPin,
    pub(super) loaded: OnceLock<(Arc<dyn Embedder>, Tap)>,
    /// Why the one that is there is refused.
    pub(super) refused: OnceLock<String>,
}

impl Pinned {
    /// Takes an embedder of this name and fingerprint, if it still gives the same vectors.
    fn meet(&self, collection: &CollectionName, truth: &Truth, embedder: &Arc<dyn Embedder>) -> Result<(), Error> {
        let Ok(tap) = embedder.tap(&self.pin.tap) else { return Ok(()) };
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

/// What queries search.
#[derive(Clone)]
pub(super) struct View {
    pub(super) sealed: Vec<Arc<Sealed>>,
    /// Oldest first.
    pub(super) frozen: Vec<Arc<Growing>>,
    pub(super) growing: Arc<Growing>,
    /// How often a segment was added to which points move that older views have elsewhere.
    pub(super) additions: u64,
    /// Segments that are damaged, those of which some rows are still used among them: while there are any, only points that
    /// are found elsewhere are answered.
    pub(super) lost: Vec<Lost>,
}

/// A sealed segment that is damaged: what is wrong with it, its file and where in it. Either all of it is out of use, or it is
/// in the view, and the damaged rows are hidden.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) segment: SegmentId,
    pub(super) what: String,
}

/// Where a live point is.
pub(super) enum Place {
    Growing(Arc<Growing>, u32),
    Sealed(Arc<Sealed>, Ordinal),
}

impl View {
    /// Growing segments, newest first.
    pub(super) fn growing_newest_first(&self) -> impl Iterator<Item = &Arc<Growing>> {
        std::iter::once(&self.growing).chain(self.frozen.iter().rev())
    }

    /// The live point of that id.
    pub(super) fn locate(&self, id: &PointId) -> Option<Place> {
        for growing in self.growing_newest_first() {
            if let Some(&row) = growing.read().by_id.get(id) {
                return Some(Place::Growing(growing.clone(), row));
            }
        }
        self.sealed.iter().rev().find_map(|sealed| Some(Place::Sealed(sealed.clone(), sealed.find(id.as_str())?)))
    }

    /// Refuses what would be answered in part.
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
    /// Opens what the truth names in `dir`: maps segments and graphs, reads growing points into memory.
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
        // Of a collection that was not closed there may be more than one segment's rows.
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

    /// Takes its embedder from a model that was installed, when it misses it.
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

    /// The view of this moment.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `read` gives while no damage is found on its way. Rows that are found damaged are hidden, and it is done again:
    /// then it is refused, or leaves them out if it may. Not under the commit lock.
    pub(super) fn noting_damage<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let known = self.note_damage();
            let found = read();
            tries += 1;
            // A scrub may go on finding more, which changes nothing for what is damaged already.
            let enough = tries >= DAMAGED_TRIES && !self.view().lost.is_empty();
            if self.note_damage() == known || enough {
                return found;
            }
        }
    }

    /// Hides what was found damaged since. Returns a number that is another one whenever there was something.
    pub(super) fn note_damage(&self) -> u64 {
        if damage_found() != self.damage_seen.load(Ordering::Acquire) {
            let held = self.writer.hold();
            self.note_damage_held(&held);
        }
        self.damage_noted.load(Ordering::Acquire)
    }

    /// The same, under the commit lock.
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

    /// Stops using what is damaged of a segment whose check failed with `error`.
    pub(super) fn quarantine(&self, segment: &Segment, error: &dyn std::fmt::Display) {
        match segment.loss() {
            Loss::Nothing => {
                tracing::warn!(collection = %self.name, segment = %segment.id(), %error, "a segment is damaged where it costs no rows");
            }
            Loss::Rows => _ = self.note_damage(),
            Loss::Segment => self.lose(segment.id(), error),
        }
    }

    /// Takes a segment that was found damaged out of the view, so that nothing is answered or copied from it.
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

    /// Swaps the view. Only under the writer's commit lock, so that no two changes of it are lost.
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

    /// It is deleted or replaced. Under the commit lock: later writers, and those that wait for a seal, are refused. Its database
    /// is closed, whoever still reads from its segments, so that the folder can be opened again.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.truth.close();
        self.writer.wake();
        self.changes.end();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// For a job that writes files in the folder, as long as it lasts.
    ///
    /// # Errors
    /// `NotFound` when the collection was deleted or replaced: the folder may belong to another by now.
    pub(super) fn use_folder(&self) -> Result<InUse, Error> {
        // Before the look: whoever waits for the folder to be free has ended the collection first.
        let in_use = self.folder_use.begin();
        if self.is_gone() { Err(Error::UnknownCollection(self.name.to_string())) } else { Ok(in_use) }
    }

    /// The fingerprint of its embedder.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.embedder.as_ref().map(|pinned| pinned.pin.fingerprint)
    }

    /// A number for the next segment.
    pub(super) fn take_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// Its state as reported.
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

/// What is known of a collection that could not be opened.
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

/// The embedder that came with a restored collection and that nobody else has.
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

/// Opens a segment of a collection: its header must hold, its dimension be the collection's, and its content tag the one that
/// was recorded, if one was.
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

/// Whether a segment that does not open is damaged or gone. Otherwise the machine is at fault, or this program, which may
/// be older than the file: nothing is known of its content.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } => true,
        Error::Store(error) => error.kind() == crate::store::ErrorKind::Corrupt || error.is_missing_file(),
        _ => false,
    }
}

/// What the graph of a segment must have been built on.
pub(super) fn expected(segment: &Segment, metric: Metric) -> Expected {
    Expected { rows: segment.rows(), dimension: segment.dimension(), metric, tag: segment.tag() }
}

/// The file of a segment's graph.
pub(super) fn graph_path(dir: &Path, segment: SegmentId, generation: u32) -> PathBuf {
    dir.join(segment.graph_file(generation))
}

fn graph_params(settings: IndexSettings) -> Result<GraphParams, Error> {
    // One seed for all: a graph is a function of its vectors and settings.
    const SEED: u64 = 1;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(GraphParams::new(settings.m, settings.ef_construction, SEED, threads)?)
}

fn new_growing(dimension: u32, metric: Metric, settings: IndexSettings) -> Result<Growing, Error> {
    Ok(Growing::new(dimension, metric, graph_params(settings)?, settings.seal_rows))
}
