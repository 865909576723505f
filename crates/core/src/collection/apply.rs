//! Application of operations: staged, persisted in one transaction, then made visible.
//!
//! ```text
//! WriteRequest ── plan ──► Operation ── apply(sequence) ──► Transaction ── persist ──► disk ── publish ──► memory
//! ```
//!
//! An [`Operation`] is plain data: vectors are prepared and ids resolved; it needs no embedding and no search. Its
//! sequence number comes from the caller; the local writer supplies consecutive ones. The same operations applied to
//! the same state give the same state.

use super::commit::{Likeness, PreparedPoint};
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::Error;
use crate::segment::growing::NewRow;
use crate::segment::sealed::Sealed;
use crate::store::{Change, body};
use crate::types::{Ordinal, PointId};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Instant;

/// One atomic change of a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Operation {
    /// Whether to delete all points, before all other changes.
    pub(crate) delete_all: bool,
    /// Points to delete, before the upserts.
    pub(crate) deletes: Vec<PointId>,
    /// Points to insert or to replace, in this order.
    pub(crate) upserts: Vec<PreparedPoint>,
    /// New payloads of existing points, after the upserts.
    pub(crate) payloads: Vec<(PointId, Arc<[u8]>)>,
}

/// Effects of an [`Operation`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) inserted: u64,
    pub(crate) replaced: u64,
    /// Replaced points whose vector and payload did not change.
    pub(crate) unchanged: u64,
    pub(crate) deleted: u64,
    /// Points whose payload was replaced.
    pub(crate) updated: u64,
    /// Ids to delete or to update without a point.
    pub(crate) missing: Vec<PointId>,
}

/// A sealed row with a new payload.
pub(super) struct UpdatedRow {
    sealed: Arc<Sealed>,
    row: Ordinal,
    pub(super) payload: Arc<[u8]>,
}

impl UpdatedRow {
    /// Returns the payload with the vectors of the fields.
    pub(super) fn body(&self) -> Box<[u8]> {
        body::join(&self.payload, body::fields(self.sealed.segment.body(self.row)))
    }
}

/// Operations staged for one commit. Dropped before [`publish`](Self::publish), it changes nothing in memory. Used
/// under the commit lock.
pub(crate) struct Transaction<'c> {
    pub(super) collection: &'c Collection,
    pub(super) view: Arc<View>,
    /// Ids changed so far: the index in `inserted`, or `None` if deleted.
    pub(super) relocated: FxHashMap<PointId, Option<usize>>,
    /// New rows; `None` for a row superseded within the transaction.
    pub(super) inserted: Vec<Option<NewRow>>,
    /// New payloads of sealed rows, which stay live.
    pub(super) updated: FxHashMap<PointId, UpdatedRow>,
    /// Stored rows that are deleted or replaced.
    tombstones: Vec<RowLocation>,
    /// The view before all points were deleted; `view` is then empty.
    cleared: Option<Arc<View>>,
    sequence: u64,
    first_key: u64,
    next_key: u64,
}

impl<'c> Transaction<'c> {
    /// Begins a transaction after `sequence`; `next_key` is the key of its first new row.
    pub(crate) fn begin(collection: &'c Collection, view: Arc<View>, sequence: u64, next_key: u64) -> Self {
        Self {
            collection,
            view,
            relocated: FxHashMap::default(),
            inserted: Vec::new(),
            updated: FxHashMap::default(),
            tombstones: Vec::new(),
            cleared: None,
            sequence,
            first_key: next_key,
            next_key,
        }
    }

    /// Returns the sequence number of the last operation.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the key of the next new row.
    pub(crate) fn next_key(&self) -> u64 {
        self.next_key
    }

    /// Stages an operation with its sequence number, which is greater than that of the one before.
    pub(crate) fn apply(&mut self, sequence: u64, operation: Operation) -> Applied {
        debug_assert!(sequence > self.sequence);
        self.sequence = sequence;
        let mut applied = Applied::default();
        if operation.delete_all {
            applied.deleted = self.clear();
        }
        for id in operation.deletes {
            if self.supersede(&id, None) {
                applied.deleted += 1;
            } else {
                applied.missing.push(id);
            }
        }
        for point in operation.upserts {
            let known = self.tombstones.len();
            let updated = self.updated.get(&point.id).map(UpdatedRow::body);
            if self.supersede(&point.id, Some(self.inserted.len())) {
                applied.replaced += 1;
                let same =
                    |old: &RowLocation| self.collection.compare(old, updated.as_deref(), &point) == Likeness::Same;
                applied.unchanged += u64::from(self.tombstones.get(known).is_some_and(same));
            } else {
                applied.inserted += 1;
            }
            let PreparedPoint { id, vector, body } = point;
            self.inserted.push(Some(NewRow { key: self.next_key, id, vector, body }));
            self.next_key += 1;
        }
        for (id, payload) in operation.payloads {
            if self.set_payload(&id, payload) {
                applied.updated += 1;
            } else {
                applied.missing.push(id);
            }
        }
        applied
    }

    /// Deletes all points, stored and staged. Returns their number.
    fn clear(&mut self) -> u64 {
        let staged = self.inserted.drain(..).flatten().count() as u64;
        let deleted = self.view.live() + staged - std::mem::take(&mut self.tombstones).len() as u64;
        self.relocated.clear();
        self.updated.clear();
        let empty = Arc::new(self.view.without_points());
        let before = std::mem::replace(&mut self.view, empty);
        self.cleared.get_or_insert(before);
        deleted
    }

    /// Replaces the payload of a point. Returns whether there is one.
    ///
    /// A sealed row keeps its place: only its payload is stored. A growing row is replaced by a copy, like the row of
    /// any other write, so that rows of a growing segment never change: a flush, a snapshot and a query read them
    /// without a lock on writers.
    fn set_payload(&mut self, id: &PointId, payload: Arc<[u8]>) -> bool {
        if let Some(&successor) = self.relocated.get(id) {
            let row = successor.and_then(|index| self.inserted[index].as_mut());
            return row.map(|row| row.body = body::join(&payload, body::fields(&row.body))).is_some();
        }
        match self.view.locate(id) {
            Some(RowLocation::Sealed(sealed, row)) => {
                self.updated.insert(id.clone(), UpdatedRow { sealed, row, payload });
            }
            Some(RowLocation::Growing(growing, row)) => {
                let (vector, body) = {
                    let table = growing.read();
                    let vector = table.vector(row, self.collection.dimension as usize).to_vec();
                    (vector, body::join(&payload, body::fields(&table.bodies[row as usize])))
                };
                self.supersede(id, Some(self.inserted.len()));
                let (key, id) = (self.next_key, id.clone());
                self.inserted.push(Some(NewRow { key, id, vector, body }));
                self.next_key += 1;
            }
            None => return false,
        }
        true
    }

    /// Replaces the current version of a point with a new row, or deletes it. Returns whether there was one.
    fn supersede(&mut self, id: &PointId, successor: Option<usize>) -> bool {
        self.updated.remove(id);
        match self.relocated.insert(id.clone(), successor) {
            Some(Some(index)) => self.inserted[index] = None,
            Some(None) => return false,
            None => match self.view.locate(id) {
                Some(location) => self.tombstones.push(location),
                None => return false,
            },
        }
        true
    }

    /// Makes the staged operations durable, in one transaction of the database.
    ///
    /// # Errors
    /// `Corrupt` if a segment was found damaged meanwhile, because an id that could not be read may be among the
    /// written ones; any disk error.
    pub(crate) fn persist(&self) -> Result<(), Error> {
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.inserted.len() + self.tombstones.len() + 1);
        if let Some(cleared) = &self.cleared {
            changes.extend(cleared.sealed.iter().map(|sealed| Change::RemoveSegment { segment: sealed.segment.id() }));
            changes.push(Change::RemoveGrowingRange { from: 0, until: self.first_key });
        }
        changes.extend(self.inserted.iter().flatten().map(|row| Change::AddGrowing {
            key: row.key,
            id: row.id.as_str(),
            vector: &row.vector,
            body: &row.body,
        }));
        changes.extend(self.updated.values().map(|updated| Change::SetPayload {
            segment: updated.sealed.segment.id(),
            row: updated.row.0,
            payload: &updated.payload,
        }));
        changes.extend(self.tombstones.iter().map(|location| match location {
            RowLocation::Growing(growing, row) => Change::RemoveGrowing { key: growing.read().keys[*row as usize] },
            RowLocation::Sealed(sealed, row) => Change::DeleteRow { segment: sealed.segment.id(), row: row.0 },
        }));
        changes.push(Change::Sequence(self.sequence));
        self.view.ensure_intact(&self.collection.name())?;
        let begun = Instant::now();
        let durable = self.collection.db.commit(&changes);
        self.collection.meters.committed(begun.elapsed());
        durable.map_err(|error| Error::Write(Arc::new(error)))
    }

    /// Makes the persisted operations visible to queries and publishes them in the change feed. Returns the segments
    /// that no record names any more.
    pub(crate) fn publish(self) -> Vec<Arc<Sealed>> {
        let Self { collection, view, relocated, inserted, updated, tombstones, cleared, sequence, .. } = self;
        let inserted: Vec<NewRow> = inserted.into_iter().flatten().collect();
        let listed = cleared.is_none() && collection.changes.has_subscribers();
        let changed = listed.then(|| {
            // Deleted points are still in the view; deleting an unknown id changes nothing.
            let deleted = relocated.iter().filter(|(id, successor)| successor.is_none() && view.locate(id).is_some());
            let written = inserted.iter().map(|row| &row.id).chain(updated.keys());
            written.chain(deleted.map(|(id, _)| id)).cloned().collect()
        });
        // New rows first: a concurrent query may see both versions of a point, never none.
        collection.commit_queue.change(|| {
            view.growing.append(inserted);
            if cleared.is_some() {
                collection.change_view(|current| current.clone_from(&view));
            }
            for sealed in &view.sealed {
                let of = updated.values().filter(|updated| Arc::ptr_eq(&updated.sealed, sealed));
                let mut payloads = of.map(|updated| (updated.row.0, updated.payload.clone())).peekable();
                if payloads.peek().is_some() {
                    sealed.update_payloads(payloads);
                }
            }
            for location in tombstones {
                match location {
                    RowLocation::Growing(growing, row) => growing.mark_deleted(&[row]),
                    RowLocation::Sealed(sealed, row) => sealed.delete(row),
                }
            }
        });
        collection.commit_queue.set_sequence(sequence);
        collection.changes.publish(changed, sequence);
        cleared.map_or_else(Vec::new, |cleared| cleared.sealed.clone())
    }
}
