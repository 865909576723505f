//! The execution of a write inside a collection: group commit, then visibility.
//!
//! Writers queue their operation and take the commit lock in turn. The holder commits the whole queue in one durable
//! transaction (one fsync for many writers), applies it to memory, and stores every writer's outcome. The others find
//! theirs when they get the lock.

use super::growing::NewRow;
use super::open::{Collection, Place, View};
use super::read::parse;
use super::{Deleted, Error, Filter, Stop, Upserted, blocks, filter, limits};
use crate::store::Change;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::types::PointId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Most frozen segments before writers wait for a seal.
const MAX_FROZEN: usize = 2;
/// Timeout of writers that wait for a seal.
const SEAL_PATIENCE: Duration = Duration::from_secs(60);
/// Lock-free read attempts before taking the commit lock.
pub(super) const STEADY_TRIES: u32 = 3;

/// A point, validated and encoded for writing.
pub(super) struct ReadyItem {
    pub(super) id: PointId,
    pub(super) vector: Vec<f32>,
    pub(super) payload: Box<[u8]>,
}

/// Relative distance up to which two vectors may be embeddings of the same input: networks sum in another order in
/// another batch, and 8-bit collections round the sums.
const EMBEDDED_TOLERANCE: f64 = 0.01;

/// Comparison of an item with the stored point of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Bitwise equal vector, and equal payload.
    Same,
    /// Equal payload, and a vector that may be an embedding of the same input.
    Close,
    /// Different vector or payload.
    Other,
}

/// One atomic operation.
pub(super) enum Op {
    Upsert(Vec<ReadyItem>),
    /// An upsert that fails as a whole if it would change a point.
    UpsertKeeping(Vec<ReadyItem>),
    /// An upsert that also deletes the other blocks of these texts.
    UpsertInstead(Vec<ReadyItem>, Vec<PointId>),
    Delete(Vec<PointId>),
    /// Deletes the points that match at the time of the commit.
    DeleteMatching {
        filter: Filter,
        /// Whether the filter may name a field that no point has.
        allow_unknown_fields: bool,
        /// Cancels the search for the points; nothing is deleted then.
        stop: Stop,
    },
}

/// Result of an operation.
pub(super) enum Outcome {
    Upserted(Upserted),
    Deleted(Deleted),
}

impl Outcome {
    /// Returns the result of an upsert.
    ///
    /// # Errors
    /// `Unavailable` for another operation.
    pub(super) fn upserted(self) -> Result<Upserted, Error> {
        match self {
            Self::Upserted(upserted) => Ok(upserted),
            Self::Deleted(_) => Err(Error::Unavailable("an upsert got a delete's outcome".into())),
        }
    }

    /// Returns the result of a delete.
    ///
    /// # Errors
    /// As [`upserted`](Self::upserted).
    pub(super) fn deleted(self) -> Result<Deleted, Error> {
        match self {
            Self::Deleted(deleted) => Ok(deleted),
            Self::Upserted(_) => Err(Error::Unavailable("a delete got an upsert's outcome".into())),
        }
    }
}

/// Ids changed by a commit: the index among its new rows, or `None` if deleted.
type Moved = FxHashMap<PointId, Option<usize>>;

struct Pending {
    op: Mutex<Option<Op>>,
    outcome: Mutex<Option<Result<Outcome, Error>>>,
}

/// The write path of a collection.
pub(super) struct Writer {
    queue: Mutex<Vec<Arc<Pending>>>,
    commit: Mutex<Counters>,
    sequence: AtomicU64,
    /// Sequence lock: odd while a commit changes memory (Lameter 2005, "Effective Synchronization on Linux/NUMA
    /// Systems": seqlocks).
    changes: AtomicU64,
    /// Notified, under the commit lock, when a seal ended or failed.
    sealed: Condvar,
}

/// State under the commit lock: the next numbers. The lock also covers every change of the view.
pub(super) struct Counters {
    next_key: u64,
    /// Error of the last seal; `None` if it succeeded.
    unsealed: Option<Arc<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values under these locks are replaced whole, never left half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) fn new(sequence: u64, next_key: u64) -> Self {
        Self {
            queue: Mutex::default(),
            commit: Mutex::new(Counters { next_key, unsealed: None }),
            sequence: AtomicU64::new(sequence),
            changes: AtomicU64::new(0),
            sealed: Condvar::new(),
        }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Locks out all writers: the holder may change database and view.
    pub(super) fn hold(&self) -> MutexGuard<'_, Counters> {
        lock(&self.commit)
    }

    /// Returns the number for [`changed_since`](Self::changed_since).
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether a commit has changed memory since `before`, or is doing so.
    pub(super) fn changed_since(&self, before: u64) -> bool {
        fence(Ordering::Acquire);
        !before.is_multiple_of(2) || before != self.changes.load(Ordering::Relaxed)
    }

    /// Changes memory: adds new versions and deletes old ones. Under the commit lock.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let done = change();
        self.changes.fetch_add(1, Ordering::Release);
        done
    }

    /// Sets the sequence number. Under the commit lock.
    pub(super) fn set_sequence(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Release);
    }

    /// Ends a seal and wakes the waiting writers, with the error if it failed. Takes the commit lock, so that no writer
    /// misses it between its check and its wait.
    pub(super) fn seal_ended(&self, failed: Option<Arc<Error>>) {
        self.hold().unsealed = failed;
        self.sealed.notify_all();
    }

    /// Wakes the writers that wait for a seal. Under the commit lock.
    pub(super) fn wake(&self) {
        self.sealed.notify_all();
    }
}

impl Collection {
    /// Writes one operation, durable and visible on return. Waits while too many segments are frozen.
    pub(super) fn write(&self, op: Op) -> Result<Outcome, Error> {
        let pending = Arc::new(Pending { op: Mutex::new(Some(op)), outcome: Mutex::new(None) });
        lock(&self.writer.queue).push(pending.clone());
        let deadline = Instant::now() + SEAL_PATIENCE;
        let mut counters = self.writer.hold();
        loop {
            if let Some(outcome) = lock(&pending.outcome).take() {
                return outcome;
            }
            if self.is_gone() || self.view().frozen.len() < MAX_FROZEN {
                break;
            }
            if let Some(error) = counters.unsealed.clone() {
                lock(&self.writer.queue).retain(|other| !Arc::ptr_eq(other, &pending));
                return Err(Error::Seal(error));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                lock(&self.writer.queue).retain(|other| !Arc::ptr_eq(other, &pending));
                return Err(Error::Unavailable(format!(
                    "nothing was written: {MAX_FROZEN} segments of {:?} wait to be sealed since {} s; see the server's log",
                    self.name.as_str(),
                    SEAL_PATIENCE.as_secs()
                )));
            }
            counters = self.writer.sealed.wait_timeout(counters, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let batch = std::mem::take(&mut *lock(&self.writer.queue));
        let ops: Vec<Op> = batch.iter().filter_map(|pending| lock(&pending.op).take()).collect();
        // The commit serves all writers: it is not cancelled when its own client leaves. Only what one operation reads
        // before it changes anything is.
        let outcomes = Stop::default().run(|| self.commit(&mut counters, ops));
        for (pending, outcome) in batch.iter().zip(outcomes) {
            *lock(&pending.outcome) = Some(outcome);
        }
        if self.view().growing.is_full(self.settings.seal_rows, self.seal_bytes) {
            self.freeze(&counters)?;
        }
        let outcome = lock(&pending.outcome).take();
        outcome.unwrap_or_else(|| Err(Error::Unavailable("the write was not taken up".into())))
    }

    /// Commits operations in order, in one transaction, and makes them visible.
    fn commit(&self, counters: &mut MutexGuard<'_, Counters>, ops: Vec<Op>) -> Vec<Result<Outcome, Error>> {
        if self.is_gone() {
            return ops.iter().map(|_| Err(Error::UnknownCollection(self.name.to_string()))).collect();
        }
        self.note_damage_held(counters);
        let view = self.view();
        if view.whole(&self.name).is_err() {
            // The damaged segment may have an older version of a written point.
            return ops.iter().filter_map(|_| view.whole(&self.name).err().map(Err)).collect();
        }
        let mut born: Vec<Option<NewRow>> = Vec::new();
        let mut deaths: Vec<Place> = Vec::new();
        let mut moved = Moved::default();
        let mut sequence = self.writer.sequence();
        let mut outcomes: Vec<Result<Outcome, Error>> = Vec::with_capacity(ops.len());
        for op in ops {
            sequence += 1;
            let end = |id: &PointId,
                       moved: &mut Moved,
                       born: &mut Vec<_>,
                       deaths: &mut Vec<Place>,
                       successor: Option<usize>|
             -> bool {
                match moved.insert(id.clone(), successor) {
                    Some(Some(place)) => born[place] = None,
                    Some(None) => return false,
                    None => match view.locate(id) {
                        Some(place) => deaths.push(place),
                        None => return false,
                    },
                }
                true
            };
            let stale = match &op {
                Op::UpsertInstead(_, texts) => Some(self.blocks_of(&view, texts, &moved, &born)),
                Op::Upsert(_) | Op::UpsertKeeping(_) | Op::Delete(_) | Op::DeleteMatching { .. } => None,
            };
            let taken = match &op {
                Op::UpsertKeeping(items) => self.taken(&view, items, &moved, &born),
                _ => None,
            };
            match op {
                Op::UpsertInstead(..) if matches!(stale, Some(Err(_))) => {
                    // Nothing is written: the next operation gets its sequence number.
                    sequence -= 1;
                    outcomes.extend(stale.and_then(Result::err).map(Err));
                }
                Op::UpsertKeeping(_) if taken.is_some() => {
                    sequence -= 1;
                    outcomes.extend(taken.map(Err));
                }
                Op::Upsert(items) | Op::UpsertKeeping(items) | Op::UpsertInstead(items, _) => {
                    let (mut inserted, mut replaced, mut unchanged, mut removed) = (0, 0, 0, 0);
                    if let Some(Ok(mut stale)) = stale {
                        let fresh: FxHashSet<&PointId> = items.iter().map(|item| &item.id).collect();
                        stale.retain(|id| !fresh.contains(id));
                        removed =
                            stale.iter().filter(|id| end(id, &mut moved, &mut born, &mut deaths, None)).count() as u64;
                    }
                    for item in items {
                        let place = born.len();
                        let known = deaths.len();
                        if end(&item.id, &mut moved, &mut born, &mut deaths, Some(place)) {
                            replaced += 1;
                            let same = |old: &Place| self.compare(old, &item) == Likeness::Same;
                            unchanged += u64::from(deaths.get(known).is_some_and(same));
                        } else {
                            inserted += 1;
                        }
                        let key = counters.next_key;
                        counters.next_key += 1;
                        born.push(Some(NewRow { key, id: item.id, vector: item.vector, payload: item.payload }));
                    }
                    outcomes.push(Ok(Outcome::Upserted(Upserted {
                        sequence,
                        inserted,
                        replaced,
                        unchanged,
                        removed,
                        fingerprint: self.fingerprint(),
                    })));
                }
                Op::Delete(ids) => {
                    let missing: Vec<PointId> =
                        ids.iter().filter(|id| !end(id, &mut moved, &mut born, &mut deaths, None)).cloned().collect();
                    let deleted = (ids.len() - missing.len()) as u64;
                    outcomes.push(Ok(Outcome::Deleted(Deleted { sequence, deleted, missing })));
                }
                Op::DeleteMatching { filter, allow_unknown_fields, stop } => match stop.run(|| {
                    let ids = self.matching(&view, &filter, &moved, &born)?;
                    if !ids.is_empty() && !allow_unknown_fields {
                        self.knows_fields(&view, &filter, &born, ids.len())?;
                    }
                    Ok(ids)
                }) {
                    Ok(ids) => {
                        let deleted =
                            ids.iter().filter(|id| end(id, &mut moved, &mut born, &mut deaths, None)).count() as u64;
                        outcomes.push(Ok(Outcome::Deleted(Deleted { sequence, deleted, missing: Vec::new() })));
                    }
                    Err(error) => {
                        // Nothing is written: the next operation gets its sequence number.
                        sequence -= 1;
                        outcomes.push(Err(error));
                    }
                },
            }
        }
        let born: Vec<NewRow> = born.into_iter().flatten().collect();
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(born.len() + deaths.len() + 1);
        for row in &born {
            changes.push(Change::AddGrowing {
                key: row.key,
                id: row.id.as_str(),
                vector: &row.vector,
                payload: &row.payload,
            });
        }
        for death in &deaths {
            changes.push(match death {
                Place::Growing(growing, row) => Change::RemoveGrowing { key: growing.read().keys[*row as usize] },
                Place::Sealed(sealed, row) => Change::DeleteRow { segment: sealed.segment.id(), row: row.0 },
            });
        }
        changes.push(Change::Sequence(sequence));
        if view.whole(&self.name).is_err() {
            // An id that could not be read meanwhile may be among the written ones.
            return outcomes.iter().filter_map(|_| view.whole(&self.name).err().map(Err)).collect();
        }
        let begun = Instant::now();
        let durable = self.truth.commit(&changes);
        self.meters.committed(begun.elapsed());
        if let Err(error) = durable {
            let error = Arc::new(error);
            return outcomes.into_iter().map(|outcome| outcome.and(Err(Error::Write(error.clone())))).collect();
        }
        let told = self.changes.watched().then(|| {
            // The deleted points are still there; an id that was not there before is no change.
            let dead = moved.iter().filter(|(id, successor)| successor.is_none() && view.locate(id).is_some());
            born.iter().map(|row| row.id.clone()).chain(dead.map(|(id, _)| id.clone())).collect()
        });
        // New rows first: a concurrent query may see both versions of a point, never none.
        self.writer.change(|| {
            view.growing.append(born);
            for death in deaths {
                match death {
                    Place::Growing(growing, row) => growing.kill(&[row]),
                    Place::Sealed(sealed, row) => sealed.delete(row),
                }
            }
        });
        self.writer.set_sequence(sequence);
        self.changes.tell(told, sequence);
        outcomes
    }

    /// Returns an error for the first item that would change a point.
    fn taken(&self, view: &View, items: &[ReadyItem], moved: &Moved, born: &[Option<NewRow>]) -> Option<Error> {
        let changes = |item: &&ReadyItem| match moved.get(&item.id) {
            Some(successor) => successor
                .and_then(|place| born[place].as_ref())
                .is_some_and(|row| self.likeness(&row.vector, &row.payload, item) == Likeness::Other),
            None => view.locate(&item.id).is_some_and(|place| self.compare(&place, item) == Likeness::Other),
        };
        items.iter().find(changes).map(|item| self.point_taken(&item.id))
    }

    /// Returns the error for an item whose id belongs to another point.
    pub(super) fn point_taken(&self, id: &PointId) -> Error {
        Error::PointTaken { collection: self.name.to_string(), id: id.to_string() }
    }

    /// Compares an item with a stored point.
    pub(super) fn compare(&self, place: &Place, item: &ReadyItem) -> Likeness {
        match place {
            Place::Growing(growing, row) => {
                let table = growing.read();
                let vector = table.vector(*row, self.dimension as usize);
                self.likeness(vector, &table.payloads[*row as usize], item)
            }
            Place::Sealed(sealed, row) => {
                self.likeness(&sealed.segment.vector(*row), sealed.segment.payload(*row), item)
            }
        }
    }

    fn likeness(&self, vector: &[f32], payload: &[u8], item: &ReadyItem) -> Likeness {
        if payload != &*item.payload || vector.len() != item.vector.len() {
            return Likeness::Other;
        }
        let pairs = || vector.iter().zip(&item.vector);
        if pairs().all(|(old, new)| old.to_bits() == new.to_bits()) {
            return Likeness::Same;
        }
        let square = |sum: f64, x: f32| sum + f64::from(x) * f64::from(x);
        let apart = pairs().map(|(old, new)| old - new).fold(0.0, square).sqrt();
        let length = vector.iter().copied().fold(0.0, square).sqrt();
        let tolerance = if self.embedder.is_some() { EMBEDDED_TOLERANCE } else { 0.0 };
        if apart <= tolerance * length { Likeness::Close } else { Likeness::Other }
    }

    /// Returns the ids of matching points: stored ones that this commit has not changed, and those that it has written
    /// so far. Under the commit lock, so that nothing changes meanwhile.
    fn matching(
        &self,
        view: &View,
        filter: &Filter,
        moved: &Moved,
        born: &[Option<NewRow>],
    ) -> Result<Vec<PointId>, Error> {
        let selection = self.select(view, filter)?;
        if selection.count > limits::MAX_DELETE_MATCHES {
            let (found, most) = (selection.count, limits::MAX_DELETE_MATCHES);
            return Err(Error::invalid(
                "filter",
                format!("matches {found} points; at most {most} are deleted at once"),
            ));
        }
        let mut ids = Vec::with_capacity(selection.count as usize);
        let mut selected = selection.segments.iter();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            ids.extend(
                selected.next().into_iter().flat_map(|of| of.rows()).map(|row| table.ids[row.0 as usize].clone()),
            );
        }
        for (sealed, of) in view.sealed.iter().zip(selected) {
            for row in of.rows() {
                ids.push(sealed.id_of(row)?);
            }
        }
        ids.retain(|id| !moved.contains_key(id));
        for row in born.iter().flatten() {
            if filter.matches(&parse(&self.name, &row.id, &row.payload)?) {
                ids.push(row.id.clone());
            }
        }
        Ok(ids)
    }

    /// Fails if the filter names a field that no point has, since it would delete `matches` points. Under the commit
    /// lock.
    fn knows_fields(&self, view: &View, filter: &Filter, born: &[Option<NewRow>], matches: usize) -> Result<(), Error> {
        let mut written = Vec::new();
        for row in born.iter().flatten() {
            written.push(parse(&self.name, &row.id, &row.payload)?);
        }
        for field in filter.fields() {
            if !written.iter().any(|payload| filter::has_field(payload, field)) && !self.has_field(view, field)? {
                return Err(Error::invalid(
                    "filter",
                    format!(
                        "no point has the field {field:?}, and {matches} points match: nothing was deleted; correct the \
                         field, or allow unknown fields (allow_unknown_fields, --allow-unknown-fields)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns the ids of the blocks of these texts, with the same rules as [`matching`](Self::matching).
    fn blocks_of(
        &self,
        view: &View,
        texts: &[PointId],
        moved: &Moved,
        born: &[Option<NewRow>],
    ) -> Result<Vec<PointId>, Error> {
        let selection = self.select(view, &blocks::candidates(texts.iter()))?;
        let texts: FxHashSet<&str> = texts.iter().map(PointId::as_str).collect();
        // Checks the id first: any number of points may name a text in a field of their own.
        let is_block = |id: &PointId, payload: &[u8]| -> Result<bool, Error> {
            Ok(blocks::parent_by_id(id).is_some_and(|parent| texts.contains(parent))
                && blocks::parent_of(id, &parse(&self.name, id, payload)?).is_some())
        };
        let mut ids = Vec::new();
        let mut selected = selection.segments.iter();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            for row in selected.next().into_iter().flat_map(|of| of.rows()) {
                let (id, payload) = (&table.ids[row.0 as usize], &table.payloads[row.0 as usize]);
                if !moved.contains_key(id) && is_block(id, payload)? {
                    ids.push(id.clone());
                }
            }
        }
        for (sealed, of) in view.sealed.iter().zip(selected) {
            for row in of.rows() {
                // A damaged id cannot be named; a check of the files reports it.
                let Ok(id) = PointId::new(sealed.segment.point_id(row)) else { continue };
                if !moved.contains_key(&id) && is_block(&id, sealed.segment.payload(row))? {
                    ids.push(id);
                }
            }
        }
        for row in born.iter().flatten() {
            if is_block(&row.id, &row.payload)? {
                ids.push(row.id.clone());
            }
        }
        if ids.len() as u64 > limits::MAX_DELETE_MATCHES {
            let (found, most) = (ids.len(), limits::MAX_DELETE_MATCHES);
            let why =
                format!("these texts have {found} blocks; at most {most} are replaced at once: write fewer texts");
            return Err(Error::invalid("items", why));
        }
        Ok(ids)
    }

    /// Runs `read` without concurrent changes of the view or its rows: it sees exactly one version of a point that is
    /// being replaced.
    pub(super) fn steady<T>(&self, read: impl Fn(&View) -> T) -> T {
        for _ in 0..STEADY_TRIES {
            let before = self.writer.changes();
            let found = read(&self.view());
            if !self.writer.changed_since(before) {
                return found;
            }
        }
        let _held = self.writer.hold();
        read(&self.view())
    }

    /// Freezes the growing segment, unless it is empty. The guard proves that the commit lock is held.
    pub(super) fn freeze(&self, _held: &MutexGuard<'_, Counters>) -> Result<(), Error> {
        if self.view().growing.rows_held() == 0 {
            return Ok(());
        }
        let fresh = Arc::new(self.new_growing()?);
        self.change_view(|view| {
            view.additions += 1;
            view.growing.frozen_at.get_or_init(Instant::now);
            view.frozen.push(std::mem::replace(&mut view.growing, fresh));
        });
        Ok(())
    }
}
