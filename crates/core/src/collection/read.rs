//! Reading points by id, and in pages ordered by id.

use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::{Budget, CancellationToken, Error, FieldVectors, Fields, Filter, Page, Payload, Point};
use crate::payload::Selection;
use crate::store::body;
use crate::sync::atomic::Ordering;
use crate::types::PointId;
use std::collections::BTreeMap;
use std::ops::Bound;

impl Collection {
    /// Returns the point at a location.
    pub(crate) fn point(&self, id: PointId, location: &RowLocation, fields: Fields) -> Result<Point, Error> {
        let has_fields = fields.vector && self.next_field.load(Ordering::Relaxed) > 1;
        let (vector, payload, vectors) = match location {
            RowLocation::Growing(growing, row) => {
                let table = growing.read();
                (
                    fields.vector.then(|| table.vector(*row, self.dimension as usize).to_vec()),
                    fields.payload.then(|| parse(&self.name(), &id, table.payload(*row))),
                    has_fields.then(|| self.field_vectors(&id, &table.bodies[*row as usize])),
                )
            }
            RowLocation::Sealed(sealed, row)
                if (fields.vector && !sealed.segment.vector_is_sound(*row))
                    || (fields.payload && !sealed.payload_is_sound(*row))
                    || (has_fields && !sealed.segment.payload_is_sound(*row)) =>
            {
                return Err(sealed.damage());
            }
            RowLocation::Sealed(sealed, row) => (
                fields.vector.then(|| sealed.segment.vector(*row).into_owned()),
                fields.payload.then(|| parse(&self.name(), &id, &sealed.payload(*row))),
                has_fields.then(|| self.field_vectors(&id, sealed.segment.body(*row))),
            ),
        };
        let vector = vector.filter(|vector| !vector.is_empty());
        Ok(Point { id, vector, payload: payload.transpose()?, vectors: vectors.transpose()?.unwrap_or_default() })
    }

    /// Returns the vectors of a body, by the names of their fields. Those of dropped fields are left out.
    fn field_vectors(&self, id: &PointId, body: &[u8]) -> Result<FieldVectors, Error> {
        let fields = self.vector_fields();
        let named = |(number, vector)| {
            let field = fields.iter().find(|field| field.spec.number == number)?;
            Some((field.spec.name.clone(), vector))
        };
        let damaged = |what| Error::Damaged {
            what: format!("the point {:?} in collection {:?}: {what}", id.as_str(), self.name().as_str()),
        };
        Ok(body::vectors(body).map_err(damaged)?.into_iter().filter_map(named).collect())
    }

    pub(crate) fn get(&self, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error> {
        let view = self.view();
        let (stop, budget) = (CancellationToken::current(), Budget::current());
        // Damage may have ended an earlier attempt.
        budget.restart();
        let mut points = Vec::new();
        for id in ids {
            stop.check()?;
            let Some(location) = self.locate(&view, id) else {
                // The point may be in a quarantined segment.
                view.ensure_intact(&self.name())?;
                points.push(None);
                continue;
            };
            let point = self.point(id.clone(), &location, fields)?;
            match budget.add(&point) {
                Ok(()) => points.push(Some(point)),
                // End early, but never with nothing.
                Err(Error::ResponseTooLarge(_)) if !points.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(points)
    }

    /// Returns the location of a live point that is not expired, in `view` or, while a write hides it, in a later view.
    pub(crate) fn locate(&self, view: &View, id: &PointId) -> Option<RowLocation> {
        let location = view.locate(id).or_else(|| self.steady(|view| view.locate(id)));
        location.filter(|location| !self.hides(id, location))
    }

    pub(crate) fn scroll(
        &self,
        after: Option<&PointId>,
        limit: usize,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error> {
        let (view, selection) = self.view_and_selection(filter)?;
        view.ensure_intact(&self.name())?;
        // One more than requested, to detect whether points follow.
        let mut first = match selection {
            Some(_) => first_points(&view, selection.as_ref(), after, limit + 1),
            None => self.steady(|view| first_points(view, None, after, limit + 1)),
        };
        let mut more = first.len() > limit;
        if more {
            first.pop_last();
        }
        // Points with unreadable ids may belong to this page.
        self.view().ensure_intact(&self.name())?;
        let mut reader = PageReader::new(fields);
        for (id, location) in first {
            if !reader.read(self, id, &location)? {
                more = true;
                break;
            }
        }
        Ok(Page { points: reader.points, more })
    }
}

/// Reads points until the budget of the response is used up.
pub(super) struct PageReader {
    pub(super) fields: Fields,
    stop: CancellationToken,
    budget: Budget,
    pub(super) points: Vec<Point>,
}

impl PageReader {
    pub(super) fn new(fields: Fields) -> Self {
        let budget = Budget::current();
        // Damage may have ended an earlier attempt.
        budget.restart();
        Self { fields, stop: CancellationToken::current(), budget, points: Vec::new() }
    }

    /// Reads one point. Returns false if the response has no room for it.
    ///
    /// # Errors
    /// Those of the budget if not even the first point fits; `Damaged`; `Abandoned`.
    pub(super) fn read(&mut self, collection: &Collection, id: PointId, location: &RowLocation) -> Result<bool, Error> {
        let point = collection.point(id, location, self.fields)?;
        self.add(point)
    }

    /// Adds a point. Returns false if the response has no room for it.
    ///
    /// # Errors
    /// Those of the budget if not even the first point fits; `Abandoned`.
    pub(super) fn add(&mut self, point: Point) -> Result<bool, Error> {
        self.stop.check()?;
        match self.budget.add(&point) {
            Ok(()) => self.points.push(point),
            Err(Error::ResponseTooLarge(_)) if !self.points.is_empty() => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Returns the first `count` live points after `after`, over all segments; with a selection, only those in it.
fn first_points(
    view: &View,
    selection: Option<&Selection>,
    after: Option<&PointId>,
    count: usize,
) -> BTreeMap<PointId, RowLocation> {
    let mut selected = selection.map(|selection| selection.segments.iter());
    let mut next = move || selected.as_mut().and_then(Iterator::next);
    let mut first: BTreeMap<PointId, RowLocation> = BTreeMap::new();
    // Returns whether the id is among the first. The newer of two versions of a point is inserted first.
    let mut take = |id: &PointId, location: RowLocation| {
        if first.len() >= count && first.last_key_value().is_some_and(|(last, _)| last <= id) {
            return false;
        }
        if !first.contains_key(id) {
            first.insert(id.clone(), location);
        }
        if first.len() > count {
            first.pop_last();
        }
        true
    };
    for growing in view.growing_newest_first() {
        let table = growing.read();
        let location = |row: u32| RowLocation::Growing(growing.clone(), row);
        if let Some(selected) = next() {
            for row in selected.rows().map(|row| row.0) {
                let id = &table.ids[row as usize];
                if after.is_none_or(|after| after < id) {
                    take(id, location(row));
                }
            }
            continue;
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, &row) in table.by_id.range::<PointId, _>((from, Bound::Unbounded)) {
            // Each segment yields its ids in order: once one is beyond the count-th, the rest are too.
            if !take(id, location(row)) {
                break;
            }
        }
    }
    for sealed in &view.sealed {
        let selected = next();
        let segment = &sealed.segment;
        if let Some(selected) = selected.filter(|selected| is_selective(selected.count(), count, segment.rows())) {
            for row in selected.rows() {
                let Ok(id) = PointId::new(segment.point_id(row)) else { continue };
                if after.is_none_or(|after| *after < id) {
                    take(&id, RowLocation::Sealed(sealed.clone(), row));
                }
            }
            continue;
        }
        for row in segment.in_order(after.map(PointId::as_str)) {
            if !selected.map_or_else(|| sealed.is_live(row), |selected| selected.contains(row.0)) {
                continue;
            }
            // A row skipped here has been noted as damaged.
            let Ok(id) = PointId::new(segment.point_id(row)) else { continue };
            if !take(&id, RowLocation::Sealed(sealed.clone(), row)) {
                break;
            }
        }
    }
    first
}

/// Whether to compare the ids of all `matches` of a segment with `rows` rows, instead of passing its rows in id order
/// until `count` of them match. The costs cross where `matches = sqrt(count x rows)`.
fn is_selective(matches: u64, count: usize, rows: u32) -> bool {
    u128::from(matches) * u128::from(matches) <= count as u128 * u128::from(rows)
}

/// Parses a stored payload.
pub(crate) fn parse(collection: &crate::types::CollectionName, id: &PointId, bytes: &[u8]) -> Result<Payload, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Damaged {
        what: format!("the payload of point {:?} in collection {:?}: {error}", id.as_str(), collection.as_str()),
    })
}
