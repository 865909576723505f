//! Planning of updates of payloads, and the memory limit of their overlays.
//!
//! The plan computes and checks the new payload of every point before anything is written. The updated payloads of
//! sealed rows stay in memory until a merge writes them: a segment is rewritten early when all overlays of the
//! collection use half of their limit, and an update beyond the limit is refused until then.

use crate::api::{CancellationToken, Error, PayloadUpdate, PointSelection, limits};
use crate::collection::apply::{Operation, Transaction};
use crate::collection::plan::Skipped;
use crate::collection::read::parse;
use crate::collection::state::Collection;
use crate::collection::view::RowLocation;
use crate::segment::overlay::Updates;
use crate::store::body;
use crate::types::{CollectionName, PointId};
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::sync::Arc;

/// Maximum payloads computed between two checks for cancellation.
const STEP: usize = 1_024;
/// Bytes of payloads from which a step ends earlier, before and added by the update.
const STEP_BYTES: usize = 8 << 20;

impl Collection {
    /// Returns the maximum memory of the overlays, bytes: as much as a growing segment.
    fn max_overlay_bytes(&self) -> usize {
        self.flush_bytes
    }

    /// Returns the memory of the overlays from which segments are rewritten, bytes.
    pub(crate) fn rewrite_overlay_bytes(&self) -> usize {
        self.max_overlay_bytes() / 2
    }
}

impl Transaction<'_> {
    /// Returns the operation that updates payloads.
    ///
    /// # Errors
    /// See [`plan`](Self::plan).
    pub(super) fn plan_payloads(
        &self,
        points: PointSelection,
        update: &PayloadUpdate,
    ) -> Result<(Operation, Skipped), Error> {
        let ids = match points {
            PointSelection::Ids(mut ids) => {
                let mut seen = FxHashSet::default();
                ids.retain(|id| seen.insert(id.clone()));
                ids
            }
            PointSelection::Matching { filter, allow_unknown_fields } => {
                self.matching(&filter, allow_unknown_fields, "updated")?
            }
        };
        let max_bytes = limits::MAX_UPDATE_BYTES.min(self.collection.rewrite_overlay_bytes());
        let (stop, mut skipped, mut bytes) = (CancellationToken::current(), Skipped::default(), 0);
        let mut payloads = Vec::new();
        let (mut ids, max_added) = (ids.into_iter().peekable(), update.bytes());
        while ids.peek().is_some() {
            stop.check()?;
            let (mut found, mut step_bytes) = (Vec::new(), 0);
            while found.len() < STEP
                && step_bytes < STEP_BYTES
                && let Some(id) = ids.next()
            {
                match self.payload_of(&id)? {
                    Some(payload) => {
                        step_bytes += payload.len() + max_added;
                        found.push((id, payload));
                    }
                    None => skipped.items.missing.push(id),
                }
            }
            // The name is read here: other threads lock nothing.
            let name = self.collection.name();
            let updated = found.par_iter().map(|(id, before)| updated_payload(&name, id, before, update));
            let updated = updated.collect::<Result<Vec<_>, _>>()?;
            for ((id, _), updated) in found.into_iter().zip(updated) {
                let Some(payload) = updated else {
                    skipped.unchanged += 1;
                    continue;
                };
                bytes += Updates::bytes_of(&payload);
                payloads.push((id, Arc::from(payload)));
            }
            if bytes > max_bytes {
                let why = format!(
                    "the new payloads have more than {max_bytes} bytes; nothing was updated: update fewer points per \
                     request"
                );
                return Err(Error::invalid("update", why));
            }
        }
        let staged: usize = self.updated.values().map(|updated| Updates::bytes_of(&updated.payload)).sum();
        let (used, max) = (self.view.overlay_bytes() + staged, self.collection.max_overlay_bytes());
        if used + bytes > max {
            return Err(Error::Exhausted(format!(
                "nothing was updated: {used} bytes of updated payloads wait for a merge, at most {max} may; retry \
                 when a compaction has run"
            )));
        }
        Ok((Operation { payloads, ..Operation::default() }, skipped))
    }

    /// Returns the payload of a point that is not expired, after the operations staged so far.
    ///
    /// # Errors
    /// `Damaged` if it is unreadable.
    pub(super) fn payload_of(&self, id: &PointId) -> Result<Option<Cow<'_, [u8]>>, Error> {
        let Some(payload) = self.any_payload_of(id)? else { return Ok(None) };
        Ok(match self.collection.expired_filter() {
            Some(filter) if filter.matches(id, &parse(&self.collection.name(), id, &payload)?) => None,
            _ => Some(payload),
        })
    }

    fn any_payload_of(&self, id: &PointId) -> Result<Option<Cow<'_, [u8]>>, Error> {
        if let Some(successor) = self.relocated.get(id) {
            let row = successor.and_then(|index| self.inserted[index].as_ref());
            return Ok(row.map(|row| Cow::Borrowed(body::payload(&row.body))));
        }
        if let Some(updated) = self.updated.get(id) {
            return Ok(Some(Cow::Borrowed(&updated.payload)));
        }
        match self.view.locate(id) {
            None => Ok(None),
            Some(RowLocation::Growing(growing, row)) => Ok(Some(Cow::Owned(growing.read().payload(row).to_vec()))),
            Some(RowLocation::Sealed(sealed, row)) if sealed.payload_is_sound(row) => {
                Ok(Some(Cow::Owned(sealed.payload(row).into_owned())))
            }
            Some(RowLocation::Sealed(sealed, _)) => Err(sealed.damage()),
        }
    }
}

/// Returns the new payload of a point; `None` if it does not change.
fn updated_payload(
    collection: &CollectionName,
    id: &PointId,
    before: &[u8],
    update: &PayloadUpdate,
) -> Result<Option<Box<[u8]>>, Error> {
    let mut payload = parse(collection, id, before)?;
    let field = || format!("the payload of the point {:?}", id.as_str());
    update.apply(&mut payload).map_err(|why| Error::invalid(field(), why))?;
    let after = limits::payload(&field(), &payload)?;
    Ok((*after != *before).then_some(after))
}

#[cfg(test)]
mod tests;
