//! Planning of upserts with a condition, and of updates of vectors.

use super::apply::{Operation, Transaction};
use super::commit::PreparedPoint;
use super::plan::Skipped;
use super::read::parse;
use super::view::RowLocation;
use crate::api::{Error, MAX_FIELDS_BYTES, WriteCondition, WriteMode, limits};
use crate::store::body;
use crate::types::PointId;
use rustc_hash::FxHashMap;
use std::borrow::Cow;

impl Transaction<'_> {
    /// Returns the operation that writes the items whose point fulfils the condition. With `keep_payloads`, a point
    /// keeps its payload, and only the fields of the item are set. An item sees the items before it.
    ///
    /// # Errors
    /// See [`plan`](Self::plan).
    pub(super) fn plan_upsert_if(
        &self,
        points: Vec<PreparedPoint>,
        condition: &WriteCondition,
        keep_payloads: bool,
    ) -> Result<(Operation, Skipped), Error> {
        if condition.mode == WriteMode::Keep
            && let Some(id) = self.conflict(&points)
        {
            return Err(self.collection.point_taken(id));
        }
        let (mut upserts, mut skipped) = (Vec::<PreparedPoint>::with_capacity(points.len()), Skipped::default());
        // Position of the last version of each id in `upserts`.
        let mut written: FxHashMap<PointId, usize> = FxHashMap::default();
        for mut point in points {
            let staged = written.get(&point.id).map(|&at| &upserts[at]);
            let before = match staged {
                Some(staged) => Some(Cow::Borrowed(body::payload(&staged.body))),
                // Reads no payload unless it is needed.
                None if condition.only_if.is_none() && !keep_payloads && self.collection.ttl().is_none() => {
                    self.exists(&point.id).then_some(Cow::Borrowed(&b"{}"[..]))
                }
                None => self.payload_of(&point.id)?,
            };
            let skips = match (&before, condition.mode) {
                (Some(_), WriteMode::Insert) => Some(&mut skipped.items.existing),
                (None, WriteMode::Update) => Some(&mut skipped.items.missing),
                (Some(before), _) => match &condition.only_if {
                    Some(filter) if !filter.matches(&point.id, &parse(&self.collection.name(), &point.id, before)?) => {
                        Some(&mut skipped.items.unmatched)
                    }
                    _ => None,
                },
                (None, _) => None,
            };
            if let Some(skips) = skips {
                skips.push(point.id);
                continue;
            }
            if keep_payloads && let Some(before) = before {
                let payload = self.with_fields(&point, &before)?;
                let (vector, stored) = match staged {
                    Some(staged) => (staged.vector.clone(), staged.body.clone()),
                    None => self.vector_and_body_of(&point.id)?,
                };
                if point.vector.is_empty() {
                    point.vector = vector;
                }
                point.body = body::overlay(&payload, &stored, &point.body);
                let (bytes, max) = (body::fields(&point.body).len(), MAX_FIELDS_BYTES);
                if bytes > max {
                    let what = format!("its vectors would take {bytes} bytes, at most {max} are allowed");
                    return Err(Error::invalid(format!("the point {:?}", point.id.as_str()), what));
                }
            }
            written.insert(point.id.clone(), upserts.len());
            upserts.push(point);
        }
        Ok((Operation { upserts, ..Operation::default() }, skipped))
    }

    /// Returns the stored payload with the fields of an item: a text or image that it was embedded from.
    fn with_fields(&self, point: &PreparedPoint, before: &[u8]) -> Result<Box<[u8]>, Error> {
        let fields = parse(&self.collection.name(), &point.id, body::payload(&point.body))?;
        if fields.is_empty() {
            return Ok(before.into());
        }
        let mut payload = parse(&self.collection.name(), &point.id, before)?;
        payload.extend(fields);
        limits::payload(&format!("the payload of the point {:?}", point.id.as_str()), &payload)
    }

    /// Returns the vector and the body of a point after the operations staged so far; nothing if there is none.
    fn vector_and_body_of(&self, id: &PointId) -> Result<(Vec<f32>, Box<[u8]>), Error> {
        let dimension = self.collection.dimension as usize;
        if let Some(successor) = self.relocated.get(id) {
            let row = successor.and_then(|index| self.inserted[index].as_ref());
            return Ok(row.map_or_else(Default::default, |row| (row.vector.clone(), row.body.clone())));
        }
        match self.view.locate(id) {
            None => Ok(Default::default()),
            Some(RowLocation::Growing(growing, row)) => {
                let table = growing.read();
                Ok((table.vector(row, dimension).to_vec(), table.bodies[row as usize].clone()))
            }
            Some(RowLocation::Sealed(sealed, row)) => {
                let segment = &sealed.segment;
                if !segment.vector_is_sound(row) || !segment.payload_is_sound(row) {
                    return Err(sealed.damage());
                }
                Ok((segment.vector(row).into_owned(), Box::from(segment.body(row))))
            }
        }
    }

    /// Whether a point exists after the operations staged so far.
    fn exists(&self, id: &PointId) -> bool {
        match self.relocated.get(id) {
            Some(successor) => successor.is_some(),
            None => self.view.locate(id).is_some(),
        }
    }
}
