//! Reading points by id, and page by page in the order of their ids.

use super::filter::Selection;
use super::open::{Collection, Place, View};
use super::{Error, Fields, Filter, Page, Payload, Point};
use crate::types::PointId;
use std::collections::BTreeSet;
use std::ops::Bound;

impl Collection {
    /// The point at a place.
    pub(super) fn point(&self, id: PointId, place: &Place, fields: Fields) -> Result<Point, Error> {
        let (vector, payload) = match place {
            Place::Growing(growing, row) => {
                let table = growing.read();
                (
                    fields.vector.then(|| table.vector(*row, self.dimension as usize).to_vec()),
                    fields.payload.then(|| parse(&self.name, &id, &table.payloads[*row as usize])),
                )
            }
            Place::Sealed(sealed, row) => (
                fields.vector.then(|| sealed.segment.vector(*row).to_vec()),
                fields.payload.then(|| parse(&self.name, &id, sealed.segment.payload(*row))),
            ),
        };
        Ok(Point { id, vector, payload: payload.transpose()? })
    }

    pub(super) fn get(&self, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error> {
        let view = self.view();
        ids.iter().map(|id| view.locate(id).map(|place| self.point(id.clone(), &place, fields)).transpose()).collect()
    }

    pub(super) fn scroll(
        &self,
        after: Option<&PointId>,
        limit: usize,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error> {
        let view = self.view();
        let selection = filter.map(|filter| self.select(&view, filter)).transpose()?;
        // One more than asked tells whether points follow.
        let mut ids = first_ids(&view, selection.as_ref(), after, limit + 1);
        let more = ids.len() > limit;
        ids.truncate(limit);
        let points = ids
            .into_iter()
            .filter_map(|id| {
                let place = view.locate(&id)?;
                Some(self.point(id, &place, fields))
            })
            .collect::<Result<_, _>>()?;
        Ok(Page { points, more })
    }
}

/// The first `count` live ids after `after`, over all segments; with a selection, those in it.
fn first_ids(view: &View, selection: Option<&Selection>, after: Option<&PointId>, count: usize) -> Vec<PointId> {
    let mut selected = selection.map(|selection| selection.segments.iter());
    let mut next = move || selected.as_mut().and_then(Iterator::next);
    let mut ids: BTreeSet<PointId> = BTreeSet::new();
    let mut take = |id: PointId| {
        // Each segment gives its own in order: once one is beyond the count-th, so are the rest.
        if ids.len() >= count && ids.last().is_some_and(|last| *last <= id) {
            return false;
        }
        ids.insert(id);
        if ids.len() > count {
            ids.pop_last();
        }
        true
    };
    for growing in view.growing_newest_first() {
        let selected = next();
        let table = growing.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, &row) in table.by_id.range::<PointId, _>((from, Bound::Unbounded)) {
            if selected.is_some_and(|selected| !selected.contains(row)) {
                continue;
            }
            if !take(id.clone()) {
                break;
            }
        }
    }
    for sealed in &view.sealed {
        let selected = next();
        let segment = &sealed.segment;
        let sorted = segment.sorted();
        let start = after.map_or(0, |after| {
            sorted.partition_point(|&row| {
                segment.point_id(crate::types::Ordinal(row)).as_bytes() <= after.as_str().as_bytes()
            })
        });
        for &row in &sorted[start..] {
            let row = crate::types::Ordinal(row);
            if !sealed.is_live(row) || selected.is_some_and(|selected| !selected.contains(row.0)) {
                continue;
            }
            // A damaged id cannot be named and is left out here; a check of the files reports it.
            let Ok(id) = PointId::new(segment.point_id(row)) else { continue };
            if !take(id) {
                break;
            }
        }
    }
    ids.into_iter().collect()
}

/// A stored payload.
pub(super) fn parse(collection: &crate::types::CollectionName, id: &PointId, bytes: &[u8]) -> Result<Payload, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Damaged {
        what: format!("the payload of point {:?} in collection {:?}: {error}", id.as_str(), collection.as_str()),
    })
}
