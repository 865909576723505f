//! Bulk load: items go straight into sealed segments, past the growing one; each segment is published whole, with its graph.
//!
//! Interrupted, it leaves the segments published so far; repeated with the same ids, it ends in the same state.

use super::open::Collection;
use super::seal::{MAX_SEGMENT_ROWS, Observe, Uncommitted};
use super::sealed::GRAPH_FROM_ROWS;
use super::write::Op;
use super::{Error, Item, Job, Outcome};
use crate::index::order::SourceRow;
use crate::store::Segment;
use crate::types::{Ordinal, PointId};
use std::collections::{HashMap, HashSet};

/// Items prepared (checked, embedded) together.
const CHUNK: usize = 2_048;

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Points written.
    pub loaded: u64,
    /// Of them, points that replaced an older one (of the collection, or earlier in the same load).
    pub replaced: u64,
    /// Items refused and skipped.
    pub refused: u64,
}

/// Decides about an item that cannot be loaded: `Ok` skips it, `Err` ends the load with that error.
pub type OnRefused<'a> = &'a mut dyn FnMut(&PointId, Error) -> Result<(), Error>;

impl Collection {
    pub(super) fn bulk_load(
        &self,
        items: &mut dyn Iterator<Item = Item>,
        on_refused: OnRefused<'_>,
        observe: Observe<'_>,
    ) -> Result<BulkOutcome, Error> {
        let mut outcome = BulkOutcome::default();
        loop {
            let more = self.bulk_segment(items, on_refused, observe, &mut outcome)?;
            if !more {
                return Ok(outcome);
            }
        }
    }

    /// Fills, builds and publishes one segment. Returns whether items may be left.
    fn bulk_segment(
        &self,
        items: &mut dyn Iterator<Item = Item>,
        on_refused: OnRefused<'_>,
        observe: Observe<'_>,
        outcome: &mut BulkOutcome,
    ) -> Result<bool, Error> {
        let (mut writer, mark) = self.segment_writer()?;
        let mut ids: HashSet<PointId> = HashSet::new();
        // Ids that came again: their last item wins, written after the segment.
        let mut again: HashMap<PointId, super::write::ReadyItem> = HashMap::new();
        let mut more = true;
        while more && (ids.len() as u64) < MAX_SEGMENT_ROWS && again.len() < CHUNK {
            let chunk: Vec<Item> = items.take(CHUNK).collect();
            more = chunk.len() == CHUNK;
            let names: Vec<PointId> = chunk.iter().map(|item| item.id.clone()).collect();
            let root = |_: usize| "item".to_owned();
            for (prepared, id) in self.prepare_each(chunk, &root).into_iter().zip(names) {
                let ready = match prepared.and_then(|item| self.ready("item", item)) {
                    Ok(ready) => ready,
                    Err(error) => {
                        outcome.refused += 1;
                        on_refused(&id, error)?;
                        continue;
                    }
                };
                if ids.contains(&id) {
                    outcome.replaced += u64::from(again.insert(id, ready).is_some());
                } else {
                    writer.append(id.as_str(), &ready.vector, &ready.payload)?;
                    ids.insert(id);
                }
                outcome.loaded += 1;
            }
            if !observe(Job::Loading, outcome.loaded, 0) {
                return Err(Error::Unavailable("the load was cancelled".into()));
            }
        }
        if !ids.is_empty() {
            let new = self.ordered((writer.finish()?, mark), observe)?;
            let graph = self.graph_of(&new.0, None, observe)?;
            outcome.replaced += self.publish_bulk(new, graph)?;
        }
        if !again.is_empty()
            && let Outcome::Upserted(upserted) = self.write(Op::Upsert(again.into_values().collect()))?
        {
            outcome.replaced += upserted.replaced;
        }
        Ok(more)
    }

    /// The same points with near ones together, where there are enough of them for a graph.
    fn ordered<'c>(
        &'c self,
        new: (Segment, Uncommitted<'c>),
        observe: Observe<'_>,
    ) -> Result<(Segment, Uncommitted<'c>), Error> {
        if new.0.rows() < GRAPH_FROM_ROWS {
            return Ok(new);
        }
        let mut rows: Vec<SourceRow> = (0..new.0.rows()).map(|row| (0, Ordinal(row))).collect();
        self.write_in_order(&[&new.0], &mut rows, observe)
    }
}
