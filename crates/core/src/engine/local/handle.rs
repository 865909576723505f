//! Collections that open on first use and close when idle.
//!
//! A [`Handle`] stays in the list of collections while its collection opens and closes. A call holds the collection by
//! its `Arc`; only a collection without other owners closes, under the lock that openers take (`lazy.rs`). What a
//! closed collection reports is the state in which it was closed.

use super::Inner;
use super::lazy::{Lazy, Present, Removal};
use crate::api::{CollectionInfo, Error, ErrorKind};
use crate::collection::embedder_pin::Lineage;
use crate::collection::open::{closed, summary_of, unopened};
use crate::collection::state::{Collection, Names};
use crate::store::{CollectionRecord, Entry, Summary, check_value};
use crate::types::CollectionName;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Time after which a collection is opened again that the machine, not its content, kept from opening.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Wait for a renaming between its transaction and the change of the list.
const RENAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A collection of the list, open or closed.
pub(super) struct Handle {
    names: RwLock<Arc<Names>>,
    /// Its folder.
    dir: PathBuf,
    pub(super) lazy: Lazy<Collection, Arc<Closed>>,
    /// Milliseconds from the start of the engine to the last call, plus 1; 0 before the first.
    used: AtomicU64,
    /// Last visits of the background threads.
    pub(super) visits: Mutex<Visits>,
    /// Its summary in the catalog.
    saved: Mutex<Option<Summary>>,
}

/// When the background threads last opened a closed collection.
#[derive(Default)]
pub(super) struct Visits {
    pub(super) pending: Option<Instant>,
    pub(super) scrub: Option<Instant>,
}

/// What is known of a closed collection.
#[derive(Default)]
pub(super) struct Closed {
    /// Its state when it was closed; none if that was before the start.
    info: Option<CollectionInfo>,
    /// Its state according to the catalog.
    recorded: Option<Recorded>,
    /// Whether background jobs were due.
    pending: bool,
    failure: Option<Failure>,
    /// Queries answered since the start.
    queries: u64,
    /// Whether its graphs have been verified since the start.
    audited: bool,
    /// Check value of its files, once it is closed.
    files: OnceLock<u32>,
}

/// A summary in the catalog.
struct Recorded {
    info: CollectionInfo,
    summary: Summary,
    /// Whether the files are those of the summary.
    valid: OnceLock<bool>,
}

/// Why a collection could not be opened: in the problems of the state.
#[derive(Clone)]
struct Failure {
    /// Time of the next attempt; none if the content is the cause.
    retry: Option<Instant>,
}

impl Closed {
    /// Returns the description of a collection that is about to close. `None` if it has to stay open: damage, stopped
    /// writes and moved files are reported until the next start. Unless `forced`, one with pending jobs stays open, too.
    fn of(collection: &Collection, forced: bool) -> Option<Self> {
        collection.note_damage();
        let pending = collection.has_pending_jobs();
        if !collection.may_close() || pending && !forced {
            return None;
        }
        Some(Self {
            info: Some(collection.stats()),
            pending,
            queries: collection.answered.load(Ordering::Relaxed),
            audited: collection.audited.load(Ordering::Relaxed),
            ..Self::default()
        })
    }

    /// Returns the description after a failed opening.
    fn failed(&self, record: Option<&CollectionRecord>, name: CollectionName, error: &Error) -> Self {
        // Content does not change by itself. Everything else may: too many open files, or a disk that comes back.
        let retry = (error.kind() != ErrorKind::Corrupt).then(|| Instant::now() + RETRY_PAUSE);
        let info = Some(unopened(record, name, &error.to_string()));
        let (queries, audited) = (self.queries, self.audited);
        Self { info, failure: Some(Failure { retry }), queries, audited, ..Self::default() }
    }

    fn may_retry(&self) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.retry.is_some_and(|at| Instant::now() >= at))
    }

    /// Returns the last state, and whether background jobs were due; none if the state is unknown.
    fn known(&self, dir: &Path) -> Option<(&CollectionInfo, bool)> {
        if let Some(info) = &self.info {
            return Some((info, self.pending));
        }
        let recorded = self.recorded.as_ref()?;
        let valid = recorded.valid.get_or_init(|| check_value(dir) == Some(recorded.summary.files));
        valid.then_some((&recorded.info, recorded.summary.pending))
    }

    /// Returns the summary for the catalog, if it was open since the start.
    fn summary(&self) -> Option<Summary> {
        Some(summary_of(self.info.as_ref()?, self.pending, *self.files.get()?))
    }
}

impl Handle {
    /// A collection in the catalog, closed.
    pub(super) fn closed(entry: &Entry, dir: PathBuf, summary: Option<Summary>) -> Self {
        let recorded =
            summary.clone().map(|summary| Recorded { info: closed(entry, &summary), summary, valid: OnceLock::new() });
        let names = Names { name: entry.record.name.clone(), aliases: Vec::new() };
        let lazy = Lazy::closed(Arc::new(Closed { recorded, ..Closed::default() }));
        Self { saved: Mutex::new(summary), ..Self::with(names, dir, lazy) }
    }

    /// A collection whose record cannot be read.
    pub(super) fn unreadable(name: CollectionName, error: &Error) -> Self {
        let closed = Closed::default().failed(None, name.clone(), error);
        Self::with(Names { name, aliases: Vec::new() }, PathBuf::new(), Lazy::closed(Arc::new(closed)))
    }

    /// A collection that could not be opened.
    pub(super) fn failed(record: &CollectionRecord, dir: &Path, error: &Error) -> Self {
        let name = record.name.clone();
        let closed = Closed::default().failed(Some(record), name.clone(), error);
        Self::with(Names { name, aliases: Vec::new() }, dir.into(), Lazy::closed(Arc::new(closed)))
    }

    /// An open collection.
    pub(super) fn open(collection: Collection) -> Self {
        let names = Names::clone(&collection.names());
        let dir = collection.dir.clone();
        Self::with(names, dir, Lazy::open(Arc::new(collection)))
    }

    fn with(names: Names, dir: PathBuf, lazy: Lazy<Collection, Arc<Closed>>) -> Self {
        let used = AtomicU64::new(0);
        Self { names: RwLock::new(Arc::new(names)), dir, lazy, used, visits: Mutex::default(), saved: Mutex::default() }
    }

    pub(super) fn names(&self) -> Arc<Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the names, also of the open collection. One that opens meanwhile takes them from here.
    pub(super) fn set_names(&self, names: Names) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names.clone());
        if let Some(collection) = self.opened() {
            collection.set_names(names);
        }
    }

    /// Returns the collection if it is open.
    pub(super) fn opened(&self) -> Option<Arc<Collection>> {
        match self.lazy.present() {
            Present::Open(collection) => Some(collection),
            Present::Closed(_) | Present::Removed => None,
        }
    }

    /// Returns the state, without opening a closed collection; none if it is unknown. `resident` also counts the pages
    /// in memory.
    pub(super) fn info(&self, resident: bool) -> Option<CollectionInfo> {
        match self.lazy.present() {
            Present::Open(collection) if resident => Some(collection.info()),
            Present::Open(collection) => Some(collection.stats()),
            Present::Closed(closed) => {
                let names = self.names();
                let (name, aliases) = (names.name.clone(), names.aliases.clone());
                let info = closed.known(&self.dir)?.0.clone();
                Some(CollectionInfo { name, aliases, queries: closed.queries, ..info })
            }
            Present::Removed => None,
        }
    }

    /// Excludes openers of a collection that could not be opened, to remove it.
    ///
    /// # Errors
    /// `Unavailable` if another call has opened it meanwhile.
    pub(super) fn begin_removal(&self) -> Result<Removal<'_>, Error> {
        let what = || format!("the collection {:?} was opened meanwhile; retry", self.names().name.as_str());
        self.lazy.begin_removal().ok_or_else(|| Error::Unavailable(what()))
    }

    /// Returns the error of a collection that could not be opened.
    pub(super) fn failure(&self) -> Option<Error> {
        match self.lazy.present() {
            Present::Closed(closed) if closed.failure.is_some() => Some(self.damaged(&closed)),
            _ => None,
        }
    }

    fn damaged(&self, closed: &Closed) -> Error {
        let problems = closed.info.as_ref().map_or_else(String::new, |info| info.problems.join("; "));
        let what = format!("the collection {:?} could not be opened: {problems}", self.names().name.as_str());
        Error::Damaged { what }
    }

    /// Whether a closed collection has to be opened by a background thread: its state is unknown, or jobs are due.
    pub(super) fn is_pending(&self) -> bool {
        match self.lazy.present() {
            Present::Closed(closed) => {
                closed.failure.is_none() && closed.known(&self.dir).is_none_or(|(_, pending)| pending)
            }
            Present::Open(_) | Present::Removed => false,
        }
    }

    /// Records a call.
    pub(super) fn touch(&self, started: Instant) {
        self.used.store(started.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    /// Whether the last call was at least `time` ago.
    fn is_idle(&self, started: Instant, time: Duration) -> bool {
        match self.used.load(Ordering::Relaxed) {
            0 => true,
            used => started.elapsed().as_millis() as u64 >= used - 1 + time.as_millis() as u64,
        }
    }
}

impl Inner {
    /// Returns all collections, by name.
    pub(super) fn handles(&self) -> Vec<Arc<Handle>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns the collections whose names come after `after`, by name.
    pub(super) fn handles_after(&self, after: Option<&CollectionName>) -> Vec<(CollectionName, Arc<Handle>)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        slots.range((from, Bound::Unbounded)).map(|(name, handle)| (name.clone(), handle.clone())).collect()
    }

    /// Returns the handle of the collection with a name or an alias.
    pub(super) fn handle(&self, name: &CollectionName) -> Result<Arc<Handle>, Error> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(name).cloned().ok_or_else(|| Error::UnknownCollection(name.to_string()))
    }

    /// Adds a collection to the list, or replaces it.
    pub(super) fn insert(&self, name: CollectionName, handle: Handle) {
        handle.touch(self.started);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(handle));
    }

    /// Returns the state of a collection; opens one whose state is unknown. `None` if it was removed.
    pub(super) fn info(&self, handle: &Handle) -> Option<CollectionInfo> {
        if let Some(info) = handle.info(true) {
            return Some(info);
        }
        match self.open(handle) {
            Ok(collection) => {
                let info = collection?.info();
                self.close_if_idle(handle);
                Some(info)
            }
            // The state has the error now.
            Err(_) => handle.info(true),
        }
    }

    /// Returns a collection for a call; opens it if necessary. It stays open while the result lives.
    pub(super) fn get(&self, name: &CollectionName) -> Result<Arc<Collection>, Error> {
        loop {
            let handle = self.handle(name)?;
            if let Some(collection) = self.open(&handle)? {
                handle.touch(self.started);
                return Ok(collection);
            }
            // It was removed after it was found.
            std::thread::yield_now();
        }
    }

    /// Returns a collection if it is open, for a background thread.
    pub(super) fn opened(&self, name: &CollectionName) -> Option<Arc<Collection>> {
        self.handle(name).ok()?.opened()
    }

    pub(super) fn open_collections(&self) -> Vec<Arc<Collection>> {
        self.handles().iter().filter_map(|handle| handle.opened()).collect()
    }

    /// Returns the names of the open collections.
    pub(super) fn open_names(&self) -> Vec<CollectionName> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter(|(_, handle)| handle.lazy.is_open()).map(|(name, _)| name.clone()).collect()
    }

    /// Opens a collection, unless it is open; `None` if it was removed. Does not count as a call.
    ///
    /// # Errors
    /// `Corrupt` with the reason.
    pub(super) fn open(&self, handle: &Handle) -> Result<Option<Arc<Collection>>, Error> {
        let mut opens = false;
        let collection = handle.lazy.get_or_open(
            |closed| {
                opens = true;
                self.open_closed(handle, closed)
            },
            // A renaming either sees the open collection, or has set the names of the handle.
            |collection| collection.set_names(Names::clone(&handle.names())),
        )?;
        if let Some(collection) = collection.as_ref().filter(|_| opens) {
            // A model may have been installed meanwhile.
            self.models.registry().models().iter().for_each(|model| collection.bind_embedder(model));
            if collection.has_pending_jobs() {
                self.notify(true);
            }
        }
        Ok(collection)
    }

    fn open_closed(&self, handle: &Handle, closed: &Arc<Closed>) -> Result<Collection, (Arc<Closed>, Error)> {
        if !closed.may_retry() {
            return Err((closed.clone(), handle.damaged(closed)));
        }
        self.make_room();
        let mut record = None;
        let mut open = || {
            let entry = self.entry_of(handle)?;
            record = Some(entry.record.clone());
            self.open_entry(&entry)
        };
        let opened = match open() {
            // Too many open files or mappings, perhaps.
            Err(error) if error.kind() != ErrorKind::Corrupt && self.close_least_used(self.open_names().len() / 2) => {
                tracing::warn!(collection = %handle.names().name, %error, "closed idle collections to open another one");
                open()
            }
            done => done,
        };
        match opened {
            Ok(collection) => {
                collection.answered.store(closed.queries, Ordering::Relaxed);
                collection.audited.store(closed.audited, Ordering::Relaxed);
                Ok(collection)
            }
            Err(error) => {
                let name = handle.names().name.clone();
                tracing::error!(collection = %name, %error, "a collection cannot be opened");
                let closed = Arc::new(closed.failed(record.as_ref(), name, &error));
                let error = handle.damaged(&closed);
                Err((closed, error))
            }
        }
    }

    /// Returns the catalog entry of a closed collection.
    fn entry_of(&self, handle: &Handle) -> Result<Entry, Error> {
        let deadline = Instant::now() + RENAME_TIMEOUT;
        loop {
            // Between the transaction of a renaming and the change of the list, the entry with this name is missing or
            // is that of another collection.
            let name = handle.names().name.clone();
            if let Some(entry) = self.catalog.entry(name.as_str())?
                && self.catalog.dir_of(&entry) == handle.dir
            {
                return Ok(entry);
            }
            if self.stopping() || Instant::now() > deadline {
                return Err(Error::Unavailable(format!("the record of the collection {:?} changes", name.as_str())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Opens a collection, and records its identity if the catalog has none.
    fn open_entry(&self, entry: &Entry) -> Result<Collection, Error> {
        let home = self.catalog.collection_dir(entry);
        let registry = self.models.registry();
        let collection = Collection::open(&self.fs, &entry.record, &home, &registry, self.meters.clone())?;
        collection.set_lineage(Lineage::of(entry));
        if entry.identity.is_none() && collection.db.is_owned() {
            let name = entry.record.name.to_string();
            match self.catalog.identify(&[(name, entry.folder, collection.identity)]) {
                Err(error) if error.kind() == crate::store::ErrorKind::Exhausted => {
                    tracing::warn!(%error, "the identity of a collection could not be recorded; the next opening records it");
                }
                done => done?,
            }
        }
        Ok(collection)
    }

    /// Makes room for another open collection.
    pub(super) fn make_room(&self) {
        self.close_least_used(self.max_open.saturating_sub(1));
    }

    /// Closes the least recently used collections, so that at most `most` stay open, and those in use. Returns whether
    /// any was closed.
    pub(super) fn close_least_used(&self, most: usize) -> bool {
        let mut open: Vec<_> = self.handles().into_iter().filter(|handle| handle.lazy.is_open()).collect();
        if open.len() <= most {
            return false;
        }
        open.sort_by_key(|handle| handle.used.load(Ordering::Relaxed));
        let before = open.len();
        let mut count = before;
        // Those with pending jobs last: they are opened again for these.
        for forced in [false, true] {
            for handle in &open {
                if count <= most {
                    return true;
                }
                count -= usize::from(self.close(handle, forced));
            }
        }
        count < before
    }

    /// Closes an unused collection. Returns whether it was closed.
    fn close(&self, handle: &Handle, forced: bool) -> bool {
        handle.lazy.close_unused(
            |collection| Closed::of(collection, forced).map(Arc::new),
            |collection, closed| {
                drop(collection);
                // Before another opening, which changes the files.
                if let Some(files) = check_value(&handle.dir) {
                    _ = closed.files.set(files);
                }
            },
        )
    }

    /// Closes a collection unless it was used lately or has pending jobs. Returns whether it was closed.
    pub(super) fn close_if_idle(&self, handle: &Handle) -> bool {
        handle.lazy.is_open() && handle.is_idle(self.started, self.idle_time) && self.close(handle, false)
    }

    /// Records the states of collections closed since the last call. They are a cache: an error is logged.
    pub(super) fn record_closed(&self) {
        let mut summaries = Vec::new();
        for handle in self.handles() {
            if let Present::Closed(closed) = handle.lazy.present()
                && let Some(summary) = closed.summary()
            {
                let mut saved = handle.saved.lock().unwrap_or_else(PoisonError::into_inner);
                if saved.as_ref().is_none_or(|saved| summary.replaces(saved)) {
                    *saved = Some(summary.clone());
                    summaries.push((handle.dir.clone(), summary));
                }
            }
        }
        if summaries.is_empty() {
            return;
        }
        if let Err(error) = self.catalog.record_summaries(&summaries) {
            tracing::debug!(%error, "the states of closed collections could not be recorded; the next start opens them");
        }
    }

    /// Closes all collections and records their states, when no call and no thread uses them any more.
    pub(super) fn close_all(&self) {
        for handle in self.handles() {
            self.close(&handle, true);
        }
        self.record_closed();
    }
}
