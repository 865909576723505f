//! The engine of one node: the collections of one data directory, and the background threads.
//!
//! A collection opens on first use and closes when idle (`handle.rs`).
//!
//! Seven threads run in the background: the flusher flushes full segments (fast, writers may wait for it), the compactor
//! merges segments and builds graphs (slow), the measurer calibrates the graphs (merges do not wait for it), the
//! indexer inserts growing points into graphs, the scrubber verifies checksums of stored bytes, the expirer deletes
//! expired points, and the closer closes idle collections and opens those with pending jobs.

mod closer;
mod expiry;
mod fields;
mod generations;
mod handle;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod lazy;
#[cfg(test)]
mod lazy_tests;
#[cfg(test)]
mod many_tests;
mod model_host;
mod names;
mod options;
mod scrub;
mod start;
mod workers;
mod writes;

pub use options::OpenOptions;

use crate::api::{
    Activity, AliasAction, AnalyzedToken, Answer, CancellationToken, CheckReport, CollectionInfo, CollectionSpec,
    Error, Explanation, Facet, Field, FieldReport, Fields, Filter, Item, Job, Observe, OrderBy, OrderedPage, Page,
    Point, Query, RecallParams, RecallReport, SearchParams, SortPosition, Sources, TextField, Ttl, VectorSource,
    check_facet, check_page, limits, validate_fields,
};
use crate::collection::change_feed::ChangeFeed;
use crate::collection::check::relative_to;
use crate::collection::commit::WriteResult;
use crate::collection::embedder_pin::Lineage;
use crate::collection::job_lock::FolderUse;
use crate::collection::layout::{LayoutCache, LayoutKey, LayoutParams, LocatedPoints, ObserveLayout};
use crate::collection::meters::Meters;
use crate::collection::plan::WriteRequest;
use crate::collection::state::Collection;
use crate::collection::{BulkOutcome, OnConflict, OnRefused, TEXT_FIELD};
use crate::disk::{self, Fs};
use crate::embed::{Fingerprint, Modality, Registry};
use crate::engine::models::{ModelInfo, Models};
use crate::engine::{Admin, Generations, Layouts, Reads, Snapshots, VisitCollection};
use crate::snapshot::{self, SnapshotInfo, SnapshotName, Staging};
use crate::snapshot_store::SnapshotStore;
use crate::store::{Catalog, Changed, CollectionRecord, Entry};
use crate::types::{CollectionName, PointId};
use handle::Handle;
use names::Slots;
use options::EngineSettings;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Inner {
    fs: Arc<dyn Fs>,
    catalog: Catalog,
    models: Models,
    meters: Arc<Meters>,
    maps: LayoutCache,
    slots: RwLock<Slots>,
    /// Serializes creation, deletion and replacement of collections.
    changing: Mutex<()>,
    /// Folders of replaced collections, with the jobs that still write in them.
    retired: Mutex<Vec<(PathBuf, FolderUse)>>,
    stop: AtomicBool,
    work: Mutex<Work>,
    wake: Condvar,
    /// Read rate of the scrubber, bytes per second; 0 disables it.
    scrub_rate: u64,
    started: Instant,
    /// Time without a call after which a collection closes.
    idle_time: Duration,
    /// Number of open collections above which the least recently used ones close.
    max_open: usize,
}

/// Wake-up flags of the background threads: there may be work.
#[derive(Default)]
struct Work {
    flush: bool,
    run_compaction: bool,
    measure: bool,
    expire: bool,
}

/// The database in one data directory. Dropping it stops the background threads; acknowledged writes are durable.
pub struct Database {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
    /// Store for snapshots.
    snapshot_store: Option<SnapshotStore>,
}

impl Database {
    /// Opens or creates a database of vectors: a data directory, which is locked. For embedders, a snapshot store and
    /// limits, see [`options`](Self::options).
    ///
    /// ```
    /// use nearness_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let name = CollectionName::new("colors")?;
    /// {
    ///     let database = Database::open(folder.path())?;
    ///     database.create_collection(&CollectionSpec::vectors(name.clone(), 3))?;
    ///     database.upsert(&name, vec![Item::vector(PointId::new("red")?, vec![1.0, 0.0, 0.0])])?;
    /// }
    /// // A write is durable when it returns.
    /// let database = Database::open(folder.path())?;
    /// assert_eq!(database.count(&name, None)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::options().open(path)
    }

    /// Returns the default options for opening a database.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    fn start(
        fs: &Arc<dyn Fs>,
        data_dir: &Path,
        registry: Registry,
        meters: Arc<Meters>,
        snapshot_store: Option<SnapshotStore>,
        settings: EngineSettings,
    ) -> Result<Self, Error> {
        let catalog = Catalog::open(fs, data_dir)?;
        let models = Models::open(fs, data_dir, registry)?;
        let slots = Slots::new(start::list(&catalog)?, catalog.aliases()?);
        let EngineSettings { scrub_rate, idle_time, max_open } = settings;
        let inner = Arc::new(Inner {
            fs: fs.clone(),
            catalog,
            models,
            meters,
            maps: LayoutCache::default(),
            slots: RwLock::new(slots),
            changing: Mutex::new(()),
            retired: Mutex::default(),
            stop: AtomicBool::new(false),
            work: Mutex::new(Work { flush: true, run_compaction: true, measure: true, expire: true }),
            wake: Condvar::new(),
            scrub_rate,
            started: Instant::now(),
            idle_time,
            max_open,
        });
        let threads = [
            ("sealer", Inner::run_sealer as fn(&Inner)),
            ("compactor", Inner::run_compactor),
            ("measurer", Inner::run_measurer),
            ("indexer", Inner::run_indexer),
            ("scrubber", Inner::run_scrubber),
            ("expirer", Inner::run_expirer),
            ("closer", Inner::run_closer),
        ]
        .into_iter()
        .map(|(name, run)| {
            let inner = inner.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || run(&inner))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Exhausted(format!("a background thread could not be started: {error}")))?;
        Ok(Self { inner, threads, snapshot_store })
    }

    /// Loads items directly into sealed segments with their graphs; see [`BulkOutcome`]. With [`OnConflict::Keep`], an
    /// item that would change a point is refused with [`Error::PointTaken`] or [`Error::PointAgain`]. `observe`
    /// receives progress and may return false to cancel.
    ///
    /// # Errors
    /// Those of `on_refused`, and errors that stop the load. Segments already published are kept.
    pub fn bulk_load(
        &self,
        name: &CollectionName,
        items: &mut dyn Iterator<Item = Item>,
        on_conflict: OnConflict,
        on_refused: OnRefused<'_>,
        observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
    ) -> Result<BulkOutcome, Error> {
        let collection = self.inner.get(name)?;
        let outcome = collection.bulk_load(items, on_conflict, on_refused, observe);
        collection.note_damage();
        disk::trim_malloc();
        self.inner.notify(true);
        outcome
    }

    /// Like [`Admin::compact`], with progress.
    ///
    /// # Errors
    /// Those of [`Admin::compact`].
    pub fn compact_observed(
        &self,
        name: &CollectionName,
        observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
    ) -> Result<CollectionInfo, Error> {
        let collection = self.inner.get(name)?;
        collection.compact(observe)?;
        Ok(collection.info())
    }

    /// Builds missing payload indexes and graphs, and calibrates the graphs, without merging.
    ///
    /// # Errors
    /// `NotFound`, or the error that stopped the work.
    pub fn build_indexes(
        &self,
        name: &CollectionName,
        observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
    ) -> Result<(), Error> {
        self.inner.get(name)?.build_indexes(observe)
    }

    fn write(
        &self,
        name: &CollectionName,
        op: impl FnOnce(&Collection) -> Result<WriteRequest, Error>,
    ) -> Result<WriteResult, Error> {
        loop {
            let collection = self.inner.get(name)?;
            let _stays = collection.generation.read().unwrap_or_else(PoisonError::into_inner);
            // If it is removed, either the next generation is installed or the collection is deleted.
            if !collection.is_removed() {
                return self.inner.write_to(&collection, op(&collection)?);
            }
            std::thread::yield_now();
        }
    }

    /// Returns the texts of a collection's points, in the order of their ids.
    fn texts(&self, name: &CollectionName) -> Result<impl Iterator<Item = Result<String, Error>> + '_, Error> {
        const PAGE: usize = 1_000;
        let collection = self.inner.get(name)?;
        let (mut after, mut more) = (None::<PointId>, true);
        let pages = std::iter::from_fn(move || {
            if !std::mem::take(&mut more) {
                return None;
            }
            let fields = Fields { payload: true, vector: false };
            let page = collection.noting_damage(|| collection.scroll(after.as_ref(), PAGE, fields, None));
            Some(page.map(|page| {
                more = page.more;
                after = page.points.last().map(|point| point.id.clone());
                page.points
            }))
        });
        Ok(pages.flat_map(|page| match page {
            Ok(points) => {
                let text = |point: Point| Some(Ok(point.payload?.get(TEXT_FIELD)?.as_str()?.to_owned()));
                points.into_iter().filter_map(text).collect()
            }
            Err(error) => vec![Err(error)],
        }))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.notify(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread had panicked");
            }
        }
        self.inner.close_all();
    }
}

impl Inner {
    fn write_to(&self, collection: &Collection, op: WriteRequest) -> Result<WriteResult, Error> {
        let outcome = collection.write(op);
        collection.note_damage();
        let view = collection.view();
        let rewrite = view.sealed.iter().any(|sealed| sealed.needs_compaction())
            || view.largest_overlay(collection.rewrite_overlay_bytes()).is_some();
        if rewrite || !view.unflushed.is_empty() {
            self.notify(rewrite);
        }
        outcome
    }

    /// Checks that a collection with this name may be created or, with `replace`, replaced.
    fn check_capacity(&self, name: &CollectionName, replace: bool) -> Result<(), Error> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.is_alias(name) {
            return Err(Error::AliasExists(name.to_string()));
        }
        match slots.contains_key(name) {
            true if replace => Ok(()),
            true => Err(Error::CollectionExists(name.to_string())),
            false if slots.len() >= limits::MAX_COLLECTIONS => Err(Error::Exhausted(format!(
                "name: {:?} exceeds the limit of {} collections; delete one first",
                name.as_str(),
                limits::MAX_COLLECTIONS
            ))),
            false => Ok(()),
        }
    }

    fn restore(
        &self,
        snapshot_store: &SnapshotStore,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        self.check_capacity(target, replace)?;
        let observe = |job, done, total| !self.stopping() && observe(job, done, total);
        let registry = self.models.registry();
        let (fs, meters) = (&self.fs, self.meters.clone());
        let staging = Staging { fs, registry: &registry, meters, snapshot, observe: &observe };
        let (record, prepared, collection) = staging.run(snapshot_store, &self.catalog, target)?;

        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_capacity(target, replace)?;
        self.has_embedder(&record, prepared.dir())?;
        // Writers of the replaced collection wait here, and then fail because it is removed.
        let handle = self.handle(target).ok();
        let before = handle.as_ref().and_then(|_| self.get(target).ok());
        let removal = handle.as_ref().filter(|_| before.is_none()).map(|handle| handle.begin_removal()).transpose()?;
        let held = before.as_ref().map(|collection| collection.commit_queue.lock());
        if before.is_none() {
            self.catalog.set_foreign_aside(target.as_str())?;
        }
        let folders = self.catalog.adopt(&record, prepared).inspect_err(|_| self.stop_if_unknown(before.as_deref()))?;
        let info = self.install(before.as_deref(), collection);
        drop((removal, held, changing));
        self.discard(target, folders);
        Ok(info)
    }

    /// Returns the catalogue entry of a collection.
    fn entry(&self, name: &CollectionName) -> Result<Entry, Error> {
        self.catalog.entry(name.as_str())?.ok_or_else(|| Error::UnknownCollection(name.to_string()))
    }

    /// Stops writes after a failed change of the catalogue. The change may take effect at the next start, and would
    /// then discard later writes.
    fn stop_if_unknown(&self, collection: Option<&Collection>) {
        if let (Some(why), Some(collection)) = (self.catalog.stopped(), collection) {
            collection.db.stop(&format!("it is unknown whether the collection was deleted or replaced: {why}"));
        }
    }

    fn notify(&self, run_compaction: bool) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.flush = true;
        work.run_compaction |= run_compaction;
        work.measure |= run_compaction;
        self.wake.notify_all();
    }

    fn notify_measurer(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).measure = true;
        self.wake.notify_all();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Reads for Database {
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        loop {
            if let Some(info) = self.inner.info(&*self.inner.handle(name)?) {
                return Ok(info);
            }
            std::thread::yield_now();
        }
    }

    fn sequence(&self, name: &CollectionName) -> Result<u64, Error> {
        Ok(self.inner.get(name)?.commit_queue.sequence())
    }

    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error> {
        limits::batch("ids", ids.len(), limits::MAX_BATCH)?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.get(ids, fields))
    }

    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error> {
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        check_page(limit)?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.scroll(after, limit as usize, fields, filter))
    }

    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error> {
        let collection = self.inner.get(name)?;
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        collection.noting_damage(|| {
            let (view, selection) = collection.view_and_selection(filter)?;
            view.ensure_intact(name)?;
            Ok(selection.map_or_else(|| collection.steady(|view| view.live()), |selection| selection.count))
        })
    }

    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        let collection = self.inner.get(name)?;
        let answers = collection.search(queries, params)?;
        collection.answered.fetch_add(answers.len() as u64, Ordering::Relaxed);
        Ok(answers)
    }

    fn analyze(&self, name: &CollectionName, field: &str, text: &str) -> Result<Vec<AnalyzedToken>, Error> {
        self.inner.analyze(name, field, text)
    }

    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error> {
        self.inner.get(name)?.explain(query, params, id)
    }

    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error> {
        self.inner.get(name)?.unknown_fields(filter)
    }

    fn facet(&self, name: &CollectionName, field: &str, limit: u32, filter: Option<&Filter>) -> Result<Facet, Error> {
        check_facet(field, limit)?;
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.facet(field, limit as usize, filter))
    }

    fn describe_fields(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<FieldReport, Error> {
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.describe_fields(filter))
    }

    fn scroll_ordered(
        &self,
        name: &CollectionName,
        order: &OrderBy,
        after: Option<&SortPosition>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<OrderedPage, Error> {
        order.check()?;
        check_page(limit)?;
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.scroll_ordered(order, after, limit as usize, fields, filter))
    }

    fn sample(
        &self,
        name: &CollectionName,
        limit: u32,
        seed: u64,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Vec<Point>, Error> {
        check_page(limit)?;
        filter.map_or(Ok(()), |filter| filter.check("filter"))?;
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.sample(limit as usize, seed, fields, filter))
    }

    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error> {
        let report = self.inner.get(name)?.measure_recall(params)?;
        if report.recalibrating {
            self.inner.notify(true);
        }
        Ok(report)
    }
}

impl Admin for Database {
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error> {
        let settings = limits::spec(spec)?;
        let _changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (dimension, embedder, embeds_texts) = match &spec.space {
            VectorSource::None => (0, None, false),
            VectorSource::Plain { dimension } => (*dimension, None, false),
            VectorSource::Embedded { embedder, output } => {
                let (dimension, pin) = self.inner.pin(embedder, output)?;
                let fingerprint = Fingerprint(pin.fingerprint);
                let registry = self.inner.models.registry();
                let found = registry.by_fingerprint(&pin.name, &fingerprint);
                (dimension, Some(pin), found.is_some_and(|embedder| embedder.reads(Modality::Text)))
            }
        };
        self.inner.check_capacity(&spec.name, false)?;
        let record = CollectionRecord {
            name: spec.name.clone(),
            dimension,
            metric: spec.metric,
            embedder,
            m: settings.m,
            ef_construction: settings.ef_construction,
            ef_search: settings.ef_search,
            seal_rows: settings.seal_rows,
            precision: settings.precision,
            text_fields: match (&spec.text_fields, embeds_texts) {
                (Some(fields), _) => fields.clone(),
                (None, true) => vec![TextField::of_embedded_texts()],
                (None, false) => Vec::new(),
            },
            vector_fields: Vec::new(),
            next_field: 1,
            optional_vectors: spec.optional_vectors || dimension == 0,
            ttl: spec.ttl.clone(),
            tenant: spec.tenant.clone(),
        };
        let mut record = record;
        spec.vector_fields.iter().for_each(|field| record.add_vector_field(field.clone()));
        validate_fields(&record.text_fields, &record.vector_fields)?;
        let inner = &self.inner;
        inner.make_room();
        let dir = inner.catalog.create(&record)?;
        let opened = Collection::open(&inner.fs, &record, &dir, &inner.models.registry(), inner.meters.clone());
        match opened {
            Ok(collection) => {
                let info = collection.info();
                inner.insert(spec.name.clone(), Handle::open(collection));
                if spec.ttl.is_some() {
                    inner.notify_expirer();
                }
                Ok(info)
            }
            Err(error) => {
                // The new collection is unusable: remove it, or else list it as damaged.
                match inner.catalog.remove(spec.name.as_str()) {
                    Ok(folders) => inner.discard(&spec.name, folders),
                    Err(_) => inner.insert(spec.name.clone(), Handle::failed(&record, &dir.path, &error)),
                }
                Err(error)
            }
        }
    }

    fn visit_collections(&self, after: Option<&CollectionName>, visit: &mut VisitCollection<'_>) -> Result<(), Error> {
        let stop = CancellationToken::current();
        for (name, handle) in self.inner.handles_after(after) {
            stop.check()?;
            let Some(info) = self.inner.info(&handle) else { continue };
            if !visit(&name, info)? {
                break;
            }
        }
        Ok(())
    }

    fn known_collections(&self) -> Result<Vec<CollectionInfo>, Error> {
        Ok(self.inner.handles().iter().filter_map(|handle| handle.info(false)).collect())
    }

    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error> {
        let changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.resolve(name) != *name {
            let why = "is an alias, which is deleted by UpdateAliases; to delete a collection, give its own name";
            return Err(Error::invalid("name", why));
        }
        let handle = self.inner.handle(name)?;
        // A damaged collection can be deleted, too.
        let open = match self.inner.get(name) {
            Ok(collection) => Some(collection),
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let removal = if open.is_none() { Some(handle.begin_removal()?) } else { None };
        if open.is_none() {
            self.inner.catalog.set_foreign_aside(name.as_str())?;
        }
        let points = open.as_ref().map_or(0, |collection| collection.view().live());
        let held = open.as_ref().map(|collection| collection.commit_queue.lock());
        let removed = self.inner.catalog.remove(name.as_str());
        let folders = removed.inspect_err(|_| self.inner.stop_if_unknown(open.as_deref()))?;
        if let Some(collection) = &open {
            collection.end();
        }
        drop(held);
        self.inner.slots.write().unwrap_or_else(PoisonError::into_inner).remove_with_aliases(name);
        handle.lazy.remove();
        drop((removal, changing));
        self.inner.discard(name, folders);
        Ok(points)
    }

    fn resolve(&self, name: &CollectionName) -> CollectionName {
        self.resolve_name(name)
    }

    fn update_aliases(&self, actions: &[AliasAction]) -> Result<Vec<CollectionInfo>, Error> {
        self.change_names(actions)
    }

    fn add_field(&self, name: &CollectionName, field: Field) -> Result<CollectionInfo, Error> {
        self.inner.add_field(name, field)
    }

    fn drop_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error> {
        self.inner.drop_field(name, field)
    }

    fn set_ttl(&self, name: &CollectionName, ttl: Option<Ttl>) -> Result<CollectionInfo, Error> {
        self.inner.set_ttl(name, ttl)
    }

    fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        let stop = CancellationToken::current();
        let compacted = self.compact_observed(name, &|_, _, _| !self.inner.stopping() && !stop.is_cancelled());
        if compacted.is_err() {
            // The compactor continues the work.
            self.inner.notify(true);
        }
        compacted
    }

    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error> {
        let mut report = self.inner.get(name)?.check()?;
        relative_to(&mut report, self.inner.catalog.path().parent().unwrap_or(Path::new("")));
        self.inner.notify(true);
        Ok(report)
    }

    fn activity(&self) -> Activity {
        let orphans = self.inner.catalog.orphans().map_or(0, |orphans| orphans.len() as u64);
        let open_collections = self.inner.open_names().len() as u64;
        Activity { orphans, open_collections, ..self.inner.meters.activity() }
    }

    fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        Ok(self.inner.list_models()?.0)
    }

    fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (listed, all) = self.inner.list_models()?;
        if !all {
            let what =
                "the record of a collection cannot be read, and it may need the model; delete that collection first";
            return Err(Error::Damaged { what: what.into() });
        }
        // If a restart left two models with the same embedder, delete the installed one.
        let found = listed.iter().rev().find(|info| info.fingerprint() == *fingerprint);
        self.inner.models.delete(found.ok_or_else(|| Error::UnknownModel(fingerprint.to_string()))?)
    }
}

impl Generations for Database {
    fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        output: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        self.inner.reembed(name, embedder, output, sources, observe)
    }

    fn rollback(&self, name: &CollectionName, observe: Observe<'_>) -> Result<CollectionInfo, Error> {
        let inner = &self.inner;
        let before = inner.get(name)?;
        let name = &before.name();
        let previous = inner.entry(name)?.previous.ok_or_else(|| Error::NoPrevious { collection: name.to_string() })?;
        let home = inner.catalog.collection_dir(&previous);
        inner.await_folder(&home.path)?;
        let registry = inner.models.registry();
        let next = Collection::open(&inner.fs, &previous.record, &home, &registry, inner.meters.clone())?;
        if previous.identity.is_none() && next.db.is_owned() {
            inner.catalog.identify(&[(name.to_string(), previous.folder, next.identity)])?;
        }
        inner.switch_generation(&before, next, Sources::Proved, observe, |name| {
            Ok(inner.catalog.go_back(name.as_str())?)
        })
    }

    fn delete_previous_generation(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        let inner = &self.inner;
        let changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = inner.get(name)?;
        let name = &collection.name();
        if collection.lineage().previous.is_none() {
            return Err(Error::NoPrevious { collection: name.to_string() });
        }
        let Changed { entry, obsolete } = inner.catalog.forget_previous(name.as_str())?;
        entry.iter().for_each(|entry| collection.set_lineage(Lineage::of(entry)));
        drop(changing);
        inner.discard(name, obsolete);
        Ok(collection.info())
    }
}

impl Snapshots for Database {
    fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let snapshot_store = self.snapshot_store.as_ref().ok_or(Error::NoSnapshotStore)?;
        let collection = self.inner.get(name)?;
        collection.note_damage();
        collection.snapshot(snapshot_store, &|job, done, total| !self.inner.stopping() && observe(job, done, total))
    }

    fn snapshots(&self) -> Result<Vec<snapshot::Listed>, Error> {
        snapshot::list(self.snapshot_store.as_ref().ok_or(Error::NoSnapshotStore)?)
    }

    fn snapshot(&self, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
        snapshot::describe(self.snapshot_store.as_ref().ok_or(Error::NoSnapshotStore)?, snapshot)
    }

    fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        snapshot::verify(self.snapshot_store.as_ref().ok_or(Error::NoSnapshotStore)?, snapshot, observe)
    }

    fn restore_snapshot(
        &self,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let snapshot_store = self.snapshot_store.as_ref().ok_or(Error::NoSnapshotStore)?;
        self.inner.restore(snapshot_store, snapshot, target, replace, observe)
    }
}

impl Layouts for Database {
    fn compute_layout(
        &self,
        name: &CollectionName,
        params: &LayoutParams,
        observe: ObserveLayout<'_>,
    ) -> Result<(), Error> {
        let collection = self.inner.get(name)?;
        collection.note_damage();
        let result =
            collection.compute_layout(&self.inner.maps, params, &|part| !self.inner.stopping() && observe(part));
        collection.note_damage();
        result
    }

    fn locate_queries(&self, name: &CollectionName, choice: LayoutKey, queries: &[Query]) -> Result<Vec<f32>, Error> {
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.locate_queries(&self.inner.maps, choice, queries))
    }

    fn located_points(
        &self,
        name: &CollectionName,
        choice: LayoutKey,
        ids: &[PointId],
        fields: &[String],
    ) -> Result<LocatedPoints, Error> {
        let collection = self.inner.get(name)?;
        collection.noting_damage(|| collection.locate_points(&self.inner.maps, choice, ids, fields))
    }

    fn watch(&self, name: &CollectionName) -> Result<Box<dyn ChangeFeed>, Error> {
        Ok(Box::new(self.inner.get(name)?.watch()))
    }
}
