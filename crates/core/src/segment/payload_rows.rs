//! The payloads of selected rows of a segment, of either kind: by index where possible, otherwise one by one.

use super::growing::Growing;
use super::overlay::Updates;
use super::payload_index::damaged;
use super::sealed::Sealed;
use crate::api::{CancellationToken, Error, Payload};
use crate::payload::RowSet;
use crate::payload::field_values::Source;
use crate::payload::index::PayloadIndex;
use crate::types::Ordinal;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// Maximum payloads parsed together.
const BATCH_ROWS: usize = 4_096;
/// Maximum bytes of payloads parsed together. One more payload may exceed it.
const BATCH_BYTES: usize = 4 << 20;

/// The payload indexes of one segment.
pub(crate) enum Indexes<'a> {
    /// With the updated payloads, which the index does not cover.
    Sealed(Arc<PayloadIndex>, &'a Updates),
    /// One per block of rows.
    Growing(Vec<Arc<PayloadIndex>>),
}

impl Indexes<'_> {
    /// Returns the sources of a field's values in selected rows of the segment, each with its first row.
    pub(crate) fn sources(&self, field: &str, selected: &RowSet) -> Vec<(u32, Source<'_>)> {
        match self {
            Self::Sealed(index, updates) => {
                let (stored, updated) = selected.without(updates.iter().map(|(row, _)| row));
                vec![(0, Source::of(index, field, stored)), (0, Source::Payloads(updated))]
            }
            Self::Growing(blocks) => {
                // A block is a number of whole words.
                let part = |from: u32, until: u32| selected.part(from as usize / 64..until as usize / 64);
                let mut first = 0;
                let mut sources = Vec::with_capacity(blocks.len() + 1);
                for index in blocks {
                    let until = first + index.rows();
                    sources.push((first, Source::of(index, field, part(first, until))));
                    first = until;
                }
                sources.push((first, Source::Payloads(part(first, u32::MAX))));
                sources
            }
        }
    }
}

/// A sealed segment with its updated payloads at one moment: later updates do not change them.
pub(crate) struct SealedRows<'a> {
    pub(crate) sealed: &'a Arc<Sealed>,
    pub(crate) updates: Arc<Updates>,
}

/// Rows with payloads.
pub(crate) trait PayloadRows {
    /// Returns the stored payload and the id of a row.
    ///
    /// # Errors
    /// `Damaged`.
    fn stored(&self, row: u32) -> Result<(Cow<'_, [u8]>, Cow<'_, str>), Error>;

    /// Returns the payload indexes.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    fn indexes(&self) -> Result<Indexes<'_>, Error>;

    /// Calls `read` with the payload of each row, in parallel, and `visit` with each result, in order.
    ///
    /// # Errors
    /// Those of `visit`; `Damaged` for an unreadable payload; `Abandoned`.
    fn each_payload<T: Send>(
        &self,
        rows: impl Iterator<Item = u32>,
        read: &(dyn Fn(Payload) -> T + Sync),
        visit: &mut dyn FnMut(u32, T) -> Result<(), Error>,
    ) -> Result<(), Error>
    where
        Self: Sized,
    {
        let stop = CancellationToken::current();
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            stop.check()?;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < BATCH_BYTES && batch.len() < BATCH_ROWS {
                let Some(row) = rows.next() else { break };
                let (payload, id) = self.stored(row)?;
                bytes += payload.len();
                batch.push((row, payload, id));
            }
            let parsed: Vec<(u32, T)> = batch
                .into_par_iter()
                .map(|(row, payload, id)| match serde_json::from_slice(&payload) {
                    Ok(payload) => Ok((row, read(payload))),
                    Err(error) => Err(damaged(&id, &error)),
                })
                .collect::<Result<_, _>>()?;
            parsed.into_iter().try_for_each(|(row, result)| visit(row, result))?;
        }
        Ok(())
    }
}

impl PayloadRows for SealedRows<'_> {
    fn stored(&self, row: u32) -> Result<(Cow<'_, [u8]>, Cow<'_, str>), Error> {
        let (segment, row) = (&self.sealed.segment, Ordinal(row));
        let payload: &[u8] = match self.updates.get(row.0) {
            Some(updated) => updated,
            None if !segment.payload_is_sound(row) => return Err(self.sealed.damage()),
            None => segment.payload(row),
        };
        Ok((payload.into(), segment.point_id(row).into()))
    }

    fn indexes(&self) -> Result<Indexes<'_>, Error> {
        Ok(Indexes::Sealed(self.sealed.payload_index()?, &self.updates))
    }
}

impl Sealed {
    /// Returns the rows that are live now.
    pub(crate) fn live_set(&self) -> RowSet {
        self.only_live(&RowSet::new(first_bits(self.segment.rows() as usize)))
    }
}

impl PayloadRows for Growing {
    fn stored(&self, row: u32) -> Result<(Cow<'_, [u8]>, Cow<'_, str>), Error> {
        // Copied, because a thread must not hold the table while it waits for others.
        let (table, row) = (self.read(), row as usize);
        Ok((table.payload(row as u32).to_vec().into(), table.ids[row].to_string().into()))
    }

    fn indexes(&self) -> Result<Indexes<'_>, Error> {
        Ok(Indexes::Growing(self.blocks()?))
    }
}

impl Growing {
    /// Returns the rows that are live now.
    pub(crate) fn live_set(&self) -> RowSet {
        let table = self.read();
        let mut words = vec![0_u64; table.dead.len().div_ceil(64)];
        for (row, _) in table.dead.iter().enumerate().filter(|(_, dead)| !**dead) {
            words[row / 64] |= 1 << (row % 64);
        }
        RowSet::new(words)
    }
}

/// Returns a bit set with the first `count` bits.
fn first_bits(count: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; count.div_ceil(64)];
    if let Some(last) = words.last_mut()
        && !count.is_multiple_of(64)
    {
        *last = (1 << (count % 64)) - 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_bits_are_set() {
        assert!(first_bits(0).is_empty());
        assert_eq!(first_bits(64), [u64::MAX]);
        assert_eq!(first_bits(66), [u64::MAX, 3]);
    }
}
