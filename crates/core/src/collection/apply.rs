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
use crate::store::Change;
use crate::types::PointId;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Instant;

/// One atomic change of a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Operation {
    /// Points to delete, before the upserts.
    pub(crate) deletes: Vec<PointId>,
    /// Points to insert or to replace, in this order.
    pub(crate) upserts: Vec<PreparedPoint>,
}

/// Effects of an [`Operation`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) inserted: u64,
    pub(crate) replaced: u64,
    /// Replaced points whose vector and payload did not change.
    pub(crate) unchanged: u64,
    pub(crate) deleted: u64,
    /// Ids to delete without a point.
    pub(crate) missing: Vec<PointId>,
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
    /// Stored rows that are deleted or replaced.
    tombstones: Vec<RowLocation>,
    sequence: u64,
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
            tombstones: Vec::new(),
            sequence,
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
        for id in operation.deletes {
            if self.supersede(&id, None) {
                applied.deleted += 1;
            } else {
                applied.missing.push(id);
            }
        }
        for point in operation.upserts {
            let known = self.tombstones.len();
            if self.supersede(&point.id, Some(self.inserted.len())) {
                applied.replaced += 1;
                let same = |old: &RowLocation| self.collection.compare(old, &point) == Likeness::Same;
                applied.unchanged += u64::from(self.tombstones.get(known).is_some_and(same));
            } else {
                applied.inserted += 1;
            }
            let PreparedPoint { id, vector, payload } = point;
            self.inserted.push(Some(NewRow { key: self.next_key, id, vector, payload }));
            self.next_key += 1;
        }
        applied
    }

    /// Replaces the current version of a point with a new row, or deletes it. Returns whether there was one.
    fn supersede(&mut self, id: &PointId, successor: Option<usize>) -> bool {
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
        changes.extend(self.inserted.iter().flatten().map(|row| Change::AddGrowing {
            key: row.key,
            id: row.id.as_str(),
            vector: &row.vector,
            payload: &row.payload,
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

    /// Makes the persisted operations visible to queries and publishes them in the change feed.
    pub(crate) fn publish(self) {
        let Self { collection, view, relocated, inserted, tombstones, sequence, .. } = self;
        let inserted: Vec<NewRow> = inserted.into_iter().flatten().collect();
        let changed = collection.changes.has_subscribers().then(|| {
            // Deleted points are still in the view; deleting an unknown id changes nothing.
            let deleted = relocated.iter().filter(|(id, successor)| successor.is_none() && view.locate(id).is_some());
            inserted.iter().map(|row| row.id.clone()).chain(deleted.map(|(id, _)| id.clone())).collect()
        });
        // New rows first: a concurrent query may see both versions of a point, never none.
        collection.commit_queue.change(|| {
            view.growing.append(inserted);
            for location in tombstones {
                match location {
                    RowLocation::Growing(growing, row) => growing.mark_deleted(&[row]),
                    RowLocation::Sealed(sealed, row) => sealed.delete(row),
                }
            }
        });
        collection.commit_queue.set_sequence(sequence);
        collection.changes.publish(changed, sequence);
    }
}
