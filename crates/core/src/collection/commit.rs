//! The commit of a batch of writes: plan, persist, apply.

use super::apply::{Applied, Transaction};
use super::commit_queue::CommitState;
use super::plan::{Skipped, WriteKind, WriteRequest};
use super::state::Collection;
use super::view::RowLocation;
use crate::api::{Deleted, Error, PayloadsUpdated, Upserted};
use crate::segment::sealed::Sealed;
use crate::sync::{Arc, MutexGuard};
use crate::types::PointId;
use std::borrow::Cow;

/// A point to write, validated and encoded: its vector has the collection's dimension and precision, its payload is
/// JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PreparedPoint {
    pub(crate) id: PointId,
    pub(crate) vector: Vec<f32>,
    /// Payload and vectors of fields (`store/body.rs`).
    pub(crate) body: Box<[u8]>,
}

/// Relative distance up to which two vectors may be embeddings of the same input: networks sum in another order in
/// another batch, and 8-bit collections round the sums.
const EMBEDDED_TOLERANCE: f64 = 0.01;

/// Comparison of a point with the stored point of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Bitwise equal vector, and equal payload and fields.
    Same,
    /// Equal payload and fields, and a vector that may be an embedding of the same input.
    Close,
    /// Anything else.
    Other,
}

/// Result of a write.
pub(crate) enum WriteResult {
    Upserted(Upserted),
    Deleted(Deleted),
    Updated(PayloadsUpdated),
}

impl WriteResult {
    /// Returns the result of an upsert.
    ///
    /// # Errors
    /// `Unavailable` for another operation.
    pub(crate) fn upserted(self) -> Result<Upserted, Error> {
        match self {
            Self::Upserted(upserted) => Ok(upserted),
            _ => Err(Error::Unavailable("an upsert returned the result of another request".into())),
        }
    }

    /// Returns the result of a delete.
    ///
    /// # Errors
    /// As [`upserted`](Self::upserted).
    pub(crate) fn deleted(self) -> Result<Deleted, Error> {
        match self {
            Self::Deleted(deleted) => Ok(deleted),
            _ => Err(Error::Unavailable("a delete returned the result of another request".into())),
        }
    }

    /// Returns the result of an update of payloads.
    ///
    /// # Errors
    /// As [`upserted`](Self::upserted).
    pub(crate) fn updated(self) -> Result<PayloadsUpdated, Error> {
        match self {
            Self::Updated(updated) => Ok(updated),
            _ => Err(Error::Unavailable("an update returned the result of another request".into())),
        }
    }
}

impl Collection {
    /// Commits requests in order, in one transaction, and makes them visible. A refused request takes no sequence
    /// number. Also returns the segments that no record names any more.
    pub(super) fn commit(
        &self,
        state: &mut MutexGuard<'_, CommitState>,
        requests: Vec<WriteRequest>,
    ) -> (Vec<Result<WriteResult, Error>>, Vec<Arc<Sealed>>) {
        let refused = |error: &dyn Fn() -> Option<Error>, requests: usize| {
            ((0..requests).filter_map(|_| error().map(Err)).collect(), Vec::new())
        };
        if self.is_removed() {
            return refused(&|| Some(Error::UnknownCollection(self.name().to_string())), requests.len());
        }
        self.note_damage_held(state);
        let view = self.view();
        if view.ensure_intact(&self.name()).is_err() {
            // The damaged segment may have an older version of a written point.
            return refused(&|| view.ensure_intact(&self.name()).err(), requests.len());
        }
        let mut transaction = Transaction::begin(self, view.clone(), self.commit_queue.sequence(), state.next_key);
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            let kind = request.kind();
            results.push(transaction.plan(request).map(|(operation, skipped)| {
                let sequence = transaction.sequence() + 1;
                let applied = transaction.apply(sequence, operation);
                self.write_result(kind, sequence, applied, skipped)
            }));
        }
        state.next_key = transaction.next_key();
        match transaction.persist() {
            Ok(()) => {
                let removed = transaction.publish();
                (results, removed)
            }
            Err(Error::Write(error)) => {
                (results.into_iter().map(|result| result.and(Err(Error::Write(error.clone())))).collect(), Vec::new())
            }
            Err(_) => refused(&|| view.ensure_intact(&self.name()).err(), results.len()),
        }
    }

    fn write_result(&self, kind: WriteKind, sequence: u64, applied: Applied, skipped: Skipped) -> WriteResult {
        let Applied { inserted, replaced, unchanged, deleted, updated, missing } = applied;
        match kind {
            WriteKind::Delete => WriteResult::Deleted(Deleted { sequence, deleted, missing }),
            WriteKind::UpdatePayload => WriteResult::Updated(PayloadsUpdated {
                sequence,
                updated,
                unchanged: skipped.unchanged,
                missing: skipped.items.missing,
            }),
            WriteKind::Upsert => WriteResult::Upserted(Upserted {
                sequence,
                inserted,
                replaced,
                unchanged,
                removed: deleted,
                fingerprint: self.fingerprint(),
                skipped: skipped.items,
            }),
        }
    }

    /// Returns the error for a point whose id belongs to another point.
    pub(crate) fn point_taken(&self, id: &PointId) -> Error {
        Error::PointTaken { collection: self.name().to_string(), id: id.to_string() }
    }

    /// Compares an item with a stored point, whose body is `updated` if that is given.
    pub(crate) fn compare(&self, location: &RowLocation, updated: Option<&[u8]>, point: &PreparedPoint) -> Likeness {
        match location {
            RowLocation::Growing(growing, row) => {
                let table = growing.read();
                let vector = table.vector(*row, self.dimension as usize);
                self.likeness(vector, updated.unwrap_or(&table.bodies[*row as usize]), point)
            }
            RowLocation::Sealed(sealed, row) => {
                let body = updated.map_or_else(|| sealed.body(*row), Cow::Borrowed);
                self.likeness(&sealed.segment.vector(*row), &body, point)
            }
        }
    }

    pub(super) fn likeness(&self, vector: &[f32], body: &[u8], point: &PreparedPoint) -> Likeness {
        if body != &*point.body || vector.len() != point.vector.len() {
            return Likeness::Other;
        }
        let pairs = || vector.iter().zip(&point.vector);
        if pairs().all(|(old, new)| old.to_bits() == new.to_bits()) {
            return Likeness::Same;
        }
        let square = |sum: f64, x: f32| sum + f64::from(x) * f64::from(x);
        let apart = pairs().map(|(old, new)| old - new).fold(0.0, square).sqrt();
        let length = vector.iter().copied().fold(0.0, square).sqrt();
        let tolerance = if self.embedder.is_some() { EMBEDDED_TOLERANCE } else { 0.0 };
        if apart <= tolerance * length { Likeness::Close } else { Likeness::Other }
    }
}
