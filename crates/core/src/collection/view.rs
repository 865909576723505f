//! The view that queries read: an immutable list of sealed segments, full ones waiting to be flushed, and the growing
//! one.

use crate::api::Error;
use crate::segment::growing::Growing;
use crate::segment::sealed::Sealed;
use crate::store::SegmentId;
use crate::sync::Arc;
use crate::types::{CollectionName, Ordinal, PointId};

/// Remedy for a damaged segment, for error messages.
pub(super) const REMEDY: &str = "nearness repair removes the damaged rows and keeps the rest";

/// The segments that queries search.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// Full growing segments that wait to be flushed (immutable memtables), oldest first.
    pub(crate) unflushed: Vec<Arc<Growing>>,
    pub(crate) growing: Arc<Growing>,
    /// Count of added segments that may hold points which older views have elsewhere.
    pub(crate) additions: u64,
    /// Damaged segments, including those with some rows still in use. While there are any, reads fail unless the point
    /// is found elsewhere or partial results are allowed.
    pub(crate) damaged: Vec<QuarantinedSegment>,
}

/// A damaged sealed segment, with the damage, its file and its position. It is either quarantined, or still in the
/// view with its damaged rows hidden.
#[derive(Clone, Debug)]
pub(crate) struct QuarantinedSegment {
    pub(crate) segment: SegmentId,
    pub(crate) what: String,
}

/// Location of a live point.
pub(crate) enum RowLocation {
    Growing(Arc<Growing>, u32),
    Sealed(Arc<Sealed>, Ordinal),
}

impl View {
    /// Returns the view after all points were deleted.
    pub(crate) fn without_points(&self) -> Self {
        Self {
            sealed: Vec::new(),
            unflushed: Vec::new(),
            growing: Arc::new(self.growing.without_rows()),
            additions: self.additions + 1,
            damaged: self.damaged.clone(),
        }
    }

    /// Returns the growing segments, newest first.
    pub(crate) fn growing_newest_first(&self) -> impl Iterator<Item = &Arc<Growing>> {
        std::iter::once(&self.growing).chain(self.unflushed.iter().rev())
    }

    /// Returns the location of the live point with this id.
    pub(crate) fn locate(&self, id: &PointId) -> Option<RowLocation> {
        for growing in self.growing_newest_first() {
            if let Some(&row) = growing.read().by_id.get(id) {
                return Some(RowLocation::Growing(growing.clone(), row));
            }
        }
        self.sealed.iter().rev().find_map(|sealed| Some(RowLocation::Sealed(sealed.clone(), sealed.find(id.as_str())?)))
    }

    /// Fails with `Damaged` when any segment is damaged, because the result could be partial.
    pub(crate) fn ensure_intact(&self, collection: &CollectionName) -> Result<(), Error> {
        if let Some(QuarantinedSegment { segment, what }) = self.damaged.first() {
            let what = format!(
                "segment {} of the collection {:?} is damaged ({what}); {REMEDY}",
                segment.0,
                collection.as_str()
            );
            return Err(Error::Damaged { what });
        }
        self.sealed.iter().find(|sealed| sealed.has_new_damage()).map_or(Ok(()), |sealed| Err(sealed.damage()))
    }

    /// Returns the memory that updated payloads use, bytes.
    pub(crate) fn overlay_bytes(&self) -> usize {
        self.sealed.iter().map(|sealed| sealed.updates().bytes()).sum()
    }

    /// Returns the segment with the most bytes of updated payloads, if all together use more than `limit`.
    pub(crate) fn largest_overlay(&self, limit: usize) -> Option<&Arc<Sealed>> {
        let most = || self.sealed.iter().max_by_key(|sealed| sealed.updates().bytes());
        if self.overlay_bytes() > limit { most() } else { None }
    }

    pub(crate) fn live(&self) -> u64 {
        let growing: u64 = self.growing_newest_first().map(|growing| growing.live()).sum();
        growing + self.sealed.iter().map(|sealed| u64::from(sealed.live_rows())).sum::<u64>()
    }
}
