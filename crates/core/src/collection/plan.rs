//! Planning of writes: resolves a request to an [`Operation`], against the stored points and the operations before it.

use super::apply::{Operation, Transaction, UpdatedRow};
use super::chunking;
use super::commit::{Likeness, PreparedPoint};
use super::read::parse;
use crate::api::{
    CancellationToken, Error, Filter, PayloadUpdate, PointSelection, SkippedItems, WriteCondition, limits,
};
use crate::payload::{self, Selection};
use crate::store::body;
use crate::types::PointId;
use rustc_hash::FxHashSet;

/// A write as requested.
pub(crate) enum WriteRequest {
    Upsert(Vec<PreparedPoint>),
    /// An upsert of the items whose point fulfils a condition.
    UpsertIf {
        points: Vec<PreparedPoint>,
        condition: WriteCondition,
        /// Whether a point keeps its payload, and only the fields of the item are set.
        keep_payloads: bool,
    },
    /// An upsert that also deletes the other blocks of these texts.
    UpsertInstead(Vec<PreparedPoint>, Vec<PointId>),
    Delete(Vec<PointId>),
    DeleteAll,
    /// Deletes the points that match at the time of the commit.
    DeleteMatching {
        filter: Filter,
        /// Whether the filter may name a field that no point has.
        allow_unknown_fields: bool,
        /// Cancels the search for the points; nothing is deleted then.
        stop: CancellationToken,
    },
    /// Deletes points that are expired at the time of the commit.
    DeleteExpired {
        /// Maximum number of points.
        max: usize,
    },
    /// Updates the payloads of points, by id or those that match at the time of the commit.
    UpdatePayload {
        points: PointSelection,
        update: PayloadUpdate,
        /// Cancels the search for the points and the computation of their payloads; nothing is changed then.
        stop: CancellationToken,
    },
}

/// Kind of a write, which determines its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    Upsert,
    Delete,
    UpdatePayload,
}

/// Parts of a request that its operation does not contain, because they change nothing.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Points whose payload would not change.
    pub(super) unchanged: u64,
    /// Items and ids without an effect.
    pub(super) items: SkippedItems,
}

impl WriteRequest {
    /// Returns its kind.
    pub(super) fn kind(&self) -> WriteKind {
        match self {
            Self::Upsert(_) | Self::UpsertIf { .. } | Self::UpsertInstead(..) => WriteKind::Upsert,
            Self::Delete(_) | Self::DeleteAll | Self::DeleteMatching { .. } | Self::DeleteExpired { .. } => {
                WriteKind::Delete
            }
            Self::UpdatePayload { .. } => WriteKind::UpdatePayload,
        }
    }
}

impl Transaction<'_> {
    /// Returns the operation that executes a request after those already applied, and what it leaves out.
    ///
    /// # Errors
    /// `AlreadyExists` for an upsert that would change a point it must keep; `InvalidInput` for a filter that matches
    /// too many points, or names an unknown field, or for a payload that would exceed a limit; `Exhausted` for an update
    /// that has to wait for a merge; `Corrupt` for an unreadable payload.
    pub(super) fn plan(&self, request: WriteRequest) -> Result<(Operation, Skipped), Error> {
        let operation = match request {
            WriteRequest::Upsert(upserts) => Operation { upserts, ..Operation::default() },
            WriteRequest::UpsertIf { points, condition, keep_payloads } => {
                return self.plan_upsert_if(points, &condition, keep_payloads);
            }
            WriteRequest::UpsertInstead(upserts, texts) => {
                let mut deletes = self.blocks_of(&texts)?;
                let fresh: FxHashSet<&PointId> = upserts.iter().map(|point| &point.id).collect();
                deletes.retain(|id| !fresh.contains(id));
                Operation { deletes, upserts, ..Operation::default() }
            }
            WriteRequest::Delete(deletes) => Operation { deletes, ..Operation::default() },
            WriteRequest::DeleteAll => Operation { delete_all: true, ..Operation::default() },
            WriteRequest::DeleteMatching { filter, allow_unknown_fields, stop } => stop.run(|| {
                let deletes = self.matching(&filter, allow_unknown_fields, "deleted")?;
                Ok::<_, Error>(Operation { deletes, ..Operation::default() })
            })?,
            WriteRequest::DeleteExpired { max } => {
                let deletes = match self.collection.expired(&self.view)? {
                    Some(expired) => self.ids_of(&expired, max)?,
                    None => Vec::new(),
                };
                Operation { deletes, ..Operation::default() }
            }
            WriteRequest::UpdatePayload { points, update, stop } => {
                return stop.run(|| self.plan_payloads(points, &update));
            }
        };
        Ok((operation, Skipped::default()))
    }

    /// Returns the id of the first point that an upsert would change.
    pub(super) fn conflict<'p>(&self, upserts: &'p [PreparedPoint]) -> Option<&'p PointId> {
        let changes = |point: &&PreparedPoint| match self.relocated.get(&point.id) {
            Some(successor) => successor
                .and_then(|index| self.inserted[index].as_ref())
                .is_some_and(|row| self.collection.likeness(&row.vector, &row.body, point) == Likeness::Other),
            None => self.view.locate(&point.id).is_some_and(|location| {
                // An expired point may be replaced.
                if self.collection.hides(&point.id, &location) {
                    return false;
                }
                let updated = self.updated.get(&point.id).map(UpdatedRow::body);
                self.collection.compare(&location, updated.as_deref(), point) == Likeness::Other
            }),
        };
        upserts.iter().find(changes).map(|point| &point.id)
    }

    /// Returns the ids of matching points: stored ones that this commit has not changed, and those that it has written
    /// so far. Under the commit lock, so that nothing changes meanwhile. `done` says what the request does with them.
    ///
    /// # Errors
    /// `InvalidInput` for too many points, or for a field that no point has, unless that is allowed.
    pub(super) fn matching(
        &self,
        filter: &Filter,
        allow_unknown_fields: bool,
        done: &str,
    ) -> Result<Vec<PointId>, Error> {
        let collection = self.collection;
        let selection = collection.visible(&self.view, Some(filter))?;
        if selection.count > limits::MAX_DELETE_MATCHES {
            let (found, max) = (selection.count, limits::MAX_DELETE_MATCHES);
            return Err(Error::invalid(
                "filter",
                format!("matches {found} points; at most {max} are {done} per request"),
            ));
        }
        let mut ids = self.ids_of(&selection, usize::MAX)?;
        for (id, payload) in self.staged() {
            if filter.matches(id, &parse(&collection.name(), id, payload)?) {
                ids.push(id.clone());
            }
        }
        if !ids.is_empty() && !allow_unknown_fields {
            self.check_fields(filter, ids.len(), done)?;
        }
        Ok(ids)
    }

    /// Returns the ids of at most `max` rows of a selection, without the points that this commit has changed.
    fn ids_of(&self, selection: &Selection, max: usize) -> Result<Vec<PointId>, Error> {
        let mut ids = Vec::with_capacity(max.min(selection.count as usize));
        let mut selected = selection.segments.iter();
        for growing in self.view.growing_newest_first() {
            let table = growing.read();
            let rows = selected.next().into_iter().flat_map(|of| of.rows()).take(max - ids.len());
            ids.extend(rows.map(|row| table.ids[row.0 as usize].clone()));
        }
        for (sealed, of) in self.view.sealed.iter().zip(selected) {
            for row in of.rows().take(max - ids.len()) {
                ids.push(sealed.id_of(row)?);
            }
        }
        ids.retain(|id| !self.relocated.contains_key(id) && !self.updated.contains_key(id));
        Ok(ids)
    }

    /// Returns the points that this commit has written so far, with their payloads.
    fn staged(&self) -> impl Iterator<Item = (&PointId, &[u8])> {
        let inserted = self.inserted.iter().flatten().map(|row| (&row.id, body::payload(&row.body)));
        inserted.chain(self.updated.iter().map(|(id, updated)| (id, &*updated.payload)))
    }

    /// Fails if the filter names a field that no point has, since it would change `matches` points. Under the commit
    /// lock.
    fn check_fields(&self, filter: &Filter, matches: usize, done: &str) -> Result<(), Error> {
        let (collection, view) = (self.collection, &*self.view);
        let mut written = Vec::new();
        for (id, payload) in self.staged() {
            written.push(parse(&collection.name(), id, payload)?);
        }
        for field in filter.fields() {
            if !written.iter().any(|payload| payload::has_field(payload, &field))
                && !collection.has_field(view, &field)?
            {
                return Err(Error::invalid(
                    "filter",
                    format!(
                        "no point has the field {field:?}, and {matches} points match: nothing was {done}; correct the \
                         field, or allow unknown fields (allow_unknown_fields, --allow-unknown-fields)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns the ids of the blocks of these texts, with the same rules as [`matching`](Self::matching).
    fn blocks_of(&self, texts: &[PointId]) -> Result<Vec<PointId>, Error> {
        let (collection, view) = (self.collection, &*self.view);
        let selection = collection.select(view, &chunking::candidates(texts.iter()))?;
        let texts: FxHashSet<&str> = texts.iter().map(PointId::as_str).collect();
        // Checks the id first: any number of points may name a text in a field of their own.
        let is_block = |id: &PointId, payload: &[u8]| -> Result<bool, Error> {
            Ok(chunking::parent_by_id(id).is_some_and(|parent| texts.contains(parent))
                && chunking::parent_of(id, &parse(&collection.name(), id, payload)?).is_some())
        };
        let changed = |id: &PointId| self.relocated.contains_key(id) || self.updated.contains_key(id);
        let mut ids = Vec::new();
        let mut selected = selection.segments.iter();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            for row in selected.next().into_iter().flat_map(|of| of.rows()) {
                let (id, payload) = (&table.ids[row.0 as usize], table.payload(row.0));
                if !changed(id) && is_block(id, payload)? {
                    ids.push(id.clone());
                }
            }
        }
        for (sealed, of) in view.sealed.iter().zip(selected) {
            for row in of.rows() {
                // A damaged id cannot be named; a check of the files reports it.
                let Ok(id) = PointId::new(sealed.segment.point_id(row)) else { continue };
                if !changed(&id) && is_block(&id, &sealed.payload(row))? {
                    ids.push(id);
                }
            }
        }
        for (id, payload) in self.staged() {
            if is_block(id, payload)? {
                ids.push(id.clone());
            }
        }
        if ids.len() as u64 > limits::MAX_DELETE_MATCHES {
            let (found, max) = (ids.len(), limits::MAX_DELETE_MATCHES);
            let why =
                format!("these texts have {found} blocks; at most {max} are replaced per request: write fewer texts");
            return Err(Error::invalid("items", why));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::commit::WriteResult;
    use crate::collection::recall::tests::empty;
    use std::sync::Arc;

    #[test]
    fn a_cancelled_delete_ends_while_it_reads_payloads() {
        let dir = tempfile::tempdir().unwrap();
        let collection = empty(dir.path(), 1, 50_000);
        let items = (0..3).map(|number| PreparedPoint {
            id: PointId::new(format!("p{number}")).unwrap(),
            vector: vec![number as f32],
            body: Box::from(&br#"{"n":1,"empty":[]}"#[..]),
        });
        collection.write(WriteRequest::Upsert(items.collect())).unwrap();
        let delete = |stop| {
            // No index holds a field without a value.
            let filter = Filter::Not(Box::new(Filter::exists("empty")));
            collection
                .write(WriteRequest::DeleteMatching { filter, allow_unknown_fields: false, stop })
                .and_then(WriteResult::deleted)
        };
        let waiting = Arc::new(());
        let left = CancellationToken::without(&waiting);
        drop(waiting);
        let sequence = collection.commit_queue.sequence();
        assert!(matches!(delete(left), Err(Error::Abandoned)));
        assert_eq!((collection.view().live(), collection.commit_queue.sequence()), (3, sequence));
        assert_eq!(delete(CancellationToken::default()).unwrap().deleted, 3);
    }
}
