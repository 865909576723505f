//! Bulk load: items written directly into sealed segments, which are published with their graphs.
//!
//! An interrupted load keeps the segments published so far. Repeating it with the same ids leads to the same final
//! state. Items equal to the stored point in vector and payload are not written again.

use super::commit::{Likeness, WriteResult};
use super::compaction::common_ids;
use super::embed_input::Absent;
use super::plan::WriteRequest;
use super::state::Collection;
use super::uncommitted::{FIRST_GENERATION, UncommittedSegment};
use crate::api::{Error, Item, Job, Observe};
use crate::index::hnsw::Graph;
use crate::index::reorder::SourceRow;
use crate::segment::sealed::{GRAPH_FROM_ROWS, Sealed};
use crate::store::{Change, Segment, SegmentWriter};
use crate::types::{Ordinal, PointId};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Items validated and embedded per step.
const CHUNK: usize = 2_048;

/// Result of a bulk load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Items that are now in the collection: written, or stored before.
    pub loaded: u64,
    /// Loaded items that replaced an older point of the collection, or an earlier item of the same load.
    pub replaced: u64,
    /// Loaded items equal to the stored point in vector and payload; they were not written again.
    pub unchanged: u64,
    /// Items refused and skipped.
    pub refused: u64,
}

/// An item that cannot be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Position among the items of the load, from 0.
    pub index: u64,
    /// Id of the item.
    pub id: &'a PointId,
}

/// Callback for an item that cannot be loaded: `Continue` skips it, `Break` ends the load and keeps the items before
/// it, `Err` ends the load with that error. Called in item order.
pub type OnRefused<'a> = &'a mut dyn FnMut(Refused<'_>, Error) -> Result<ControlFlow<()>, Error>;

/// Policy for an item whose id belongs to a point with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// The item replaces the point.
    Replace,
    /// The point is kept and the item is refused.
    Keep,
}

impl Collection {
    pub(crate) fn bulk_load(
        &self,
        items: &mut dyn Iterator<Item = Item>,
        on_conflict: OnConflict,
        on_refused: OnRefused<'_>,
        observe: Observe<'_>,
    ) -> Result<BulkOutcome, Error> {
        let mut outcome = BulkOutcome::default();
        loop {
            let more = self.bulk_segment(items, on_conflict, on_refused, observe, &mut outcome)?;
            if !more {
                return Ok(outcome);
            }
        }
    }

    /// Fills, builds and publishes one segment. Returns whether more items may follow.
    fn bulk_segment(
        &self,
        items: &mut dyn Iterator<Item = Item>,
        on_conflict: OnConflict,
        on_refused: OnRefused<'_>,
        observe: Observe<'_>,
        outcome: &mut BulkOutcome,
    ) -> Result<bool, Error> {
        let _folder = self.use_folder()?;
        // For items with a vector, and for those without.
        let mut writers: [Option<(SegmentWriter, UncommittedSegment<'_>)>; 2] = [None, None];
        // The row limit of a graph that can be built.
        let max_rows = self.max_rows().max(GRAPH_FROM_ROWS.into());
        // Hash of the last content of each id, with a random key, to detect repeated items.
        let mut ids: HashMap<PointId, u64> = HashMap::new();
        let hasher = RandomState::new();
        // Repeated ids with their last item, written after the segment.
        let mut again: HashMap<PointId, super::commit::PreparedPoint> = HashMap::new();
        let mut more = true;
        while more && (ids.len() as u64) < max_rows && again.len() < CHUNK {
            let chunk: Vec<Item> = items.take(CHUNK).collect();
            more = chunk.len() == CHUNK;
            let names: Vec<PointId> = chunk.iter().map(|item| item.id.clone()).collect();
            let root = |_: usize| "item".to_owned();
            let view = self.view();
            for (prepared, id) in self.prepare_each(chunk, &root).into_iter().zip(names) {
                let stamped = prepared.and_then(|mut item| self.stamp("item", &mut item).map(|()| item));
                let checked = stamped.and_then(|item| self.ready("item", &item, Absent::Refused)).and_then(|ready| {
                    let content = hasher.hash_one((bytemuck::cast_slice::<f32, u8>(&ready.vector), &ready.body));
                    let likeness = match ids.get(&id) {
                        Some(&before) if before == content => Some(Likeness::Same),
                        Some(_) if on_conflict == OnConflict::Keep => {
                            return Err(Error::PointAgain { id: id.to_string() });
                        }
                        Some(_) => Some(Likeness::Other),
                        None => view.locate(&id).map(|location| self.compare(&location, None, &ready)),
                    };
                    match likeness {
                        Some(Likeness::Other) if on_conflict == OnConflict::Keep => Err(self.point_taken(&id)),
                        likeness => Ok((ready, content, likeness)),
                    }
                });
                let (ready, content, likeness) = match checked {
                    Ok(checked) => checked,
                    Err(error) => {
                        let index = outcome.loaded + outcome.refused;
                        outcome.refused += 1;
                        match on_refused(Refused { index, id: &id }, error)? {
                            ControlFlow::Continue(()) => continue,
                            ControlFlow::Break(()) => {
                                more = false;
                                break;
                            }
                        }
                    }
                };
                match likeness {
                    Some(Likeness::Same) => outcome.unchanged += 1,
                    _ if ids.insert(id.clone(), content).is_some() => {
                        outcome.replaced += u64::from(again.insert(id, ready).is_some());
                    }
                    _ => {
                        let slot = &mut writers[usize::from(ready.vector.is_empty())];
                        let (writer, _) = match slot {
                            Some(open) => open,
                            None => slot.insert(self.segment_writer(ready.vector.len() as u32)?),
                        };
                        writer.append(id.as_str(), &ready.vector, &ready.body)?;
                    }
                }
                outcome.loaded += 1;
            }
            if !observe(Job::Loading, outcome.loaded, 0) {
                return Err(Error::Unavailable("the load was cancelled".into()));
            }
        }
        for (writer, mark) in writers.into_iter().flatten() {
            let new = self.ordered((writer.finish()?, mark), observe)?;
            let graph = self.graph_of(&new.0, observe)?;
            // Before the segment is searched, which would wait for them.
            let indexed = Sealed::new(new.0.clone(), None, &[]);
            self.prepare_texts(&indexed, observe);
            self.prepare_columns(&indexed, &[], &[], observe);
            outcome.replaced += self.publish_bulk(new, graph, observe)?;
        }
        if !again.is_empty()
            && let WriteResult::Upserted(upserted) = self.write(WriteRequest::Upsert(again.into_values().collect()))?
        {
            outcome.replaced += upserted.replaced;
        }
        Ok(more)
    }

    /// Rewrites the segment with the points of a tenant together, and near points together if it has enough rows for a
    /// graph.
    fn ordered<'c>(
        &'c self,
        new: (Segment, UncommittedSegment<'c>),
        observe: Observe<'_>,
    ) -> Result<(Segment, UncommittedSegment<'c>), Error> {
        if self.tenant.is_none() && (new.0.dimension() == 0 || new.0.rows() < GRAPH_FROM_ROWS) {
            return Ok(new);
        }
        let mut rows: Vec<SourceRow> = (0..new.0.rows()).map(|row| (0, Ordinal(row))).collect();
        self.write_in_order(&[&new.0], &[], &mut rows, observe)
    }
}

impl Collection {
    /// Publishes a segment written by a bulk load. Deletes points with the same ids elsewhere in the same transaction,
    /// and returns their number.
    pub(crate) fn publish_bulk(
        &self,
        (segment, mark): (Segment, UncommittedSegment<'_>),
        graph: Option<Graph>,
        observe: Observe<'_>,
    ) -> Result<u64, Error> {
        let held = self.commit_queue.lock();
        if self.is_removed() {
            return Err(Error::UnknownCollection(self.name().to_string()));
        }
        let view = self.view();
        view.ensure_intact(&self.name())?;
        let mut changes = vec![Change::AddSegment {
            segment: segment.id(),
            graph_generation: graph.as_ref().map(|_| FIRST_GENERATION),
            tag: segment.tag(),
        }];
        let mut dead_growing = Vec::new();
        let mut dead_sealed = Vec::new();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            let rows: Vec<u32> =
                table.by_id.iter().filter(|(id, _)| segment.find(id.as_str()).is_some()).map(|(_, &row)| row).collect();
            changes.extend(rows.iter().map(|&row| Change::RemoveGrowing { key: table.keys[row as usize] }));
            drop(table);
            dead_growing.push((growing.clone(), rows));
        }
        for sealed in &view.sealed {
            for (_, row) in common_ids(&segment, &sealed.segment).filter(|&(_, row)| sealed.is_live(row)) {
                changes.push(Change::DeleteRow { segment: sealed.segment.id(), row: row.0 });
                dead_sealed.push((sealed.clone(), row));
            }
        }
        // An id that could not be read meanwhile may be among the replaced ones.
        view.ensure_intact(&self.name())?;
        let sequence = self.commit_queue.sequence() + 1;
        changes.push(Change::Sequence(sequence));
        self.commit_segments([mark], &changes)?;
        let added = Arc::new(Sealed::new(segment, graph.map(|graph| (FIRST_GENERATION, graph)), &[]));
        let replaced = dead_sealed.len() + dead_growing.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        self.commit_queue.change(|| {
            self.change_view(|view| {
                view.additions += 1;
                view.sealed.push(added.clone());
            });
            dead_growing.into_iter().for_each(|(growing, rows)| growing.mark_deleted(&rows));
            dead_sealed.into_iter().for_each(|(sealed, row)| sealed.delete(row));
        });
        self.commit_queue.set_sequence(sequence);
        self.changes.publish(None, sequence);
        drop(held);
        added.prepare_payloads();
        self.prepare_texts(&added, observe);
        Ok(replaced as u64)
    }
}
