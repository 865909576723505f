//! Planning of upserts with a condition, and of updates of vectors.

use super::apply::{Operation, Transaction};
use super::commit::PreparedPoint;
use super::plan::Skipped;
use super::read::parse;
use crate::api::{Error, WriteCondition, WriteMode, limits};
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
            let before = match written.get(&point.id) {
                Some(&at) => Some(Cow::Borrowed(&*upserts[at].payload)),
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
                point.payload = self.with_fields(&point, &before)?;
            }
            written.insert(point.id.clone(), upserts.len());
            upserts.push(point);
        }
        Ok((Operation { upserts, ..Operation::default() }, skipped))
    }

    /// Returns the stored payload with the fields of an item: a text or image that it was embedded from.
    fn with_fields(&self, point: &PreparedPoint, before: &[u8]) -> Result<Box<[u8]>, Error> {
        let fields = parse(&self.collection.name(), &point.id, &point.payload)?;
        if fields.is_empty() {
            return Ok(before.into());
        }
        let mut payload = parse(&self.collection.name(), &point.id, before)?;
        payload.extend(fields);
        limits::payload(&format!("the payload of the point {:?}", point.id.as_str()), &payload)
    }

    /// Whether a point exists after the operations staged so far.
    fn exists(&self, id: &PointId) -> bool {
        match self.relocated.get(id) {
            Some(successor) => successor.is_some(),
            None => self.view.locate(id).is_some(),
        }
    }
}
