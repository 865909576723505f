//! Planning of writes: resolves a request to an [`Operation`], against the stored points and the operations before it.

use super::apply::{Operation, Transaction};
use super::chunking;
use super::commit::{Likeness, PreparedPoint};
use super::read::parse;
use crate::api::{CancellationToken, Error, Filter, limits};
use crate::payload;
use crate::types::PointId;
use rustc_hash::FxHashSet;

/// A write as requested.
pub(crate) enum WriteRequest {
    Upsert(Vec<PreparedPoint>),
    /// An upsert that fails as a whole if it would change a point.
    UpsertKeeping(Vec<PreparedPoint>),
    /// An upsert that also deletes the other blocks of these texts.
    UpsertInstead(Vec<PreparedPoint>, Vec<PointId>),
    Delete(Vec<PointId>),
    /// Deletes the points that match at the time of the commit.
    DeleteMatching {
        filter: Filter,
        /// Whether the filter may name a field that no point has.
        allow_unknown_fields: bool,
        /// Cancels the search for the points; nothing is deleted then.
        stop: CancellationToken,
    },
}

impl WriteRequest {
    /// Whether its result is that of a delete.
    pub(super) fn is_delete(&self) -> bool {
        matches!(self, Self::Delete(_) | Self::DeleteMatching { .. })
    }
}

impl Transaction<'_> {
    /// Returns the operation that executes a request after those already applied.
    ///
    /// # Errors
    /// `AlreadyExists` for an upsert that would change a point it must keep; `InvalidInput` for a filter that matches
    /// too many points, or names an unknown field; `Corrupt` for an unreadable payload.
    pub(super) fn plan(&self, request: WriteRequest) -> Result<Operation, Error> {
        match request {
            WriteRequest::Upsert(upserts) => Ok(Operation { deletes: Vec::new(), upserts }),
            WriteRequest::UpsertKeeping(upserts) => match self.conflict(&upserts) {
                Some(id) => Err(self.collection.point_taken(id)),
                None => Ok(Operation { deletes: Vec::new(), upserts }),
            },
            WriteRequest::UpsertInstead(upserts, texts) => {
                let mut deletes = self.blocks_of(&texts)?;
                let fresh: FxHashSet<&PointId> = upserts.iter().map(|point| &point.id).collect();
                deletes.retain(|id| !fresh.contains(id));
                Ok(Operation { deletes, upserts })
            }
            WriteRequest::Delete(deletes) => Ok(Operation { deletes, upserts: Vec::new() }),
            WriteRequest::DeleteMatching { filter, allow_unknown_fields, stop } => stop.run(|| {
                let deletes = self.matching(&filter)?;
                if !deletes.is_empty() && !allow_unknown_fields {
                    self.check_fields(&filter, deletes.len())?;
                }
                Ok(Operation { deletes, upserts: Vec::new() })
            }),
        }
    }

    /// Returns the id of the first point that an upsert would change.
    fn conflict<'p>(&self, upserts: &'p [PreparedPoint]) -> Option<&'p PointId> {
        let changes = |point: &&PreparedPoint| match self.relocated.get(&point.id) {
            Some(successor) => successor
                .and_then(|index| self.inserted[index].as_ref())
                .is_some_and(|row| self.collection.likeness(&row.vector, &row.payload, point) == Likeness::Other),
            None => self
                .view
                .locate(&point.id)
                .is_some_and(|location| self.collection.compare(&location, point) == Likeness::Other),
        };
        upserts.iter().find(changes).map(|point| &point.id)
    }

    /// Returns the ids of matching points: stored ones that this commit has not changed, and those that it has written
    /// so far. Under the commit lock, so that nothing changes meanwhile.
    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, Error> {
        let (collection, view) = (self.collection, &*self.view);
        let selection = collection.select(view, filter)?;
        if selection.count > limits::MAX_DELETE_MATCHES {
            let (found, max) = (selection.count, limits::MAX_DELETE_MATCHES);
            return Err(Error::invalid(
                "filter",
                format!("matches {found} points; at most {max} are deleted per request"),
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
        ids.retain(|id| !self.relocated.contains_key(id));
        for row in self.inserted.iter().flatten() {
            if filter.matches(&parse(&collection.name(), &row.id, &row.payload)?) {
                ids.push(row.id.clone());
            }
        }
        Ok(ids)
    }

    /// Fails if the filter names a field that no point has, since it would delete `matches` points. Under the commit
    /// lock.
    fn check_fields(&self, filter: &Filter, matches: usize) -> Result<(), Error> {
        let (collection, view) = (self.collection, &*self.view);
        let mut written = Vec::new();
        for row in self.inserted.iter().flatten() {
            written.push(parse(&collection.name(), &row.id, &row.payload)?);
        }
        for field in filter.fields() {
            if !written.iter().any(|payload| payload::has_field(payload, field))
                && !collection.has_field(view, field)?
            {
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
    fn blocks_of(&self, texts: &[PointId]) -> Result<Vec<PointId>, Error> {
        let (collection, view) = (self.collection, &*self.view);
        let selection = collection.select(view, &chunking::candidates(texts.iter()))?;
        let texts: FxHashSet<&str> = texts.iter().map(PointId::as_str).collect();
        // Checks the id first: any number of points may name a text in a field of their own.
        let is_block = |id: &PointId, payload: &[u8]| -> Result<bool, Error> {
            Ok(chunking::parent_by_id(id).is_some_and(|parent| texts.contains(parent))
                && chunking::parent_of(id, &parse(&collection.name(), id, payload)?).is_some())
        };
        let mut ids = Vec::new();
        let mut selected = selection.segments.iter();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            for row in selected.next().into_iter().flat_map(|of| of.rows()) {
                let (id, payload) = (&table.ids[row.0 as usize], &table.payloads[row.0 as usize]);
                if !self.relocated.contains_key(id) && is_block(id, payload)? {
                    ids.push(id.clone());
                }
            }
        }
        for (sealed, of) in view.sealed.iter().zip(selected) {
            for row in of.rows() {
                // A damaged id cannot be named; a check of the files reports it.
                let Ok(id) = PointId::new(sealed.segment.point_id(row)) else { continue };
                if !self.relocated.contains_key(&id) && is_block(&id, sealed.segment.payload(row))? {
                    ids.push(id);
                }
            }
        }
        for row in self.inserted.iter().flatten() {
            if is_block(&row.id, &row.payload)? {
                ids.push(row.id.clone());
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
            payload: Box::from(&br#"{"n":1,"empty":[]}"#[..]),
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
