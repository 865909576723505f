//! The points of a layout: all points of a collection, or an even sample.
//!
//! Points are taken in the order of a hash of their id. The choice therefore does not depend on segments, later writes
//! only fill their own positions, and every prefix of a layout is a sample of it.

use crate::api::Error;
use crate::collection::search::{SegmentRef, sources};
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::layout::Vectors;
use crate::math;
use crate::payload::RowSet;
use crate::types::{Metric, Ordinal, PointId};
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The points of a layout, in order.
pub(crate) struct Chosen<'a> {
    pub(crate) collection: &'a Collection,
    pub(crate) sources: Vec<SegmentRef<'a>>,
    /// Number of live points of the collection that are not expired.
    pub(crate) total: u64,
    pub(crate) points: Vec<ChosenPoint>,
}

/// A point of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChosenPoint {
    hash: u64,
    source: u32,
    row: u32,
}

/// FNV-1a, then the finalizer of splitmix64 (Steele, Lea & Flood 2014): all bits depend on all bytes.
pub(crate) fn hash(id: &str, seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    let mut hash = id.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

impl<'a> Chosen<'a> {
    /// Selects the points of a view with the `limit` smallest hashes.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn of(collection: &'a Collection, view: &'a Arc<View>, limit: usize, seed: u64) -> Result<Self, Error> {
        let expired = collection.expired(view)?;
        // Of each source, with its expired rows.
        let (sources, expired): (Vec<SegmentRef<'a>>, Vec<Option<&RowSet>>) =
            sources(view, expired.as_deref(), 1).into_iter().map(|part| (part.source, part.selected)).unzip();
        let hidden = |source: usize, row: u32| expired[source].is_some_and(|rows| rows.contains(row));
        let mut heap: BinaryHeap<ChosenPoint> = BinaryHeap::new();
        let mut total = 0;
        let mut take = |source: usize, row: u32, id: &str| {
            total += 1;
            let point = ChosenPoint { hash: hash(id, seed), source: source as u32, row };
            if heap.len() < limit {
                heap.push(point);
            } else if let Some(mut largest) = heap.peek_mut()
                && point < *largest
            {
                *largest = point;
            }
        };
        for (at, source) in sources.iter().enumerate() {
            match source {
                SegmentRef::Sealed(sealed) => {
                    let live = |row: &u32| sealed.is_live(Ordinal(*row)) && !hidden(at, *row);
                    for row in (0..sealed.segment.rows()).filter(live) {
                        take(at, row, sealed.segment.point_id(Ordinal(row)));
                    }
                }
                SegmentRef::Growing(growing) => {
                    let table = growing.read();
                    let shown = |row: u32| table.has_vector(row) && !hidden(at, row);
                    for (id, &row) in table.by_id.iter().filter(|(_, row)| shown(**row)) {
                        take(at, row, id.as_str());
                    }
                }
            }
        }
        let mut points = heap.into_sorted_vec();
        // A point replaced meanwhile is there twice; the source of the newer version comes later.
        let mut chosen = Self { collection, sources, total, points: Vec::new() };
        for at in 0..points.len().saturating_sub(1) {
            let (this, next) = (points[at], points[at + 1]);
            if this.hash == next.hash && chosen.id_of(this) == chosen.id_of(next) {
                points[at].source = u32::MAX;
            }
        }
        points.retain(|point| point.source != u32::MAX && chosen.id_of(*point).is_some());
        // Check the vectors now, since later reads cannot fail.
        for point in &points {
            if let SegmentRef::Sealed(sealed) = &chosen.sources[point.source as usize] {
                sealed.ensure_vectors(point.row..point.row + 1)?;
            }
        }
        chosen.points = points;
        view.ensure_intact(&collection.name())?;
        Ok(chosen)
    }

    fn id_of(&self, point: ChosenPoint) -> Option<PointId> {
        match &self.sources[point.source as usize] {
            SegmentRef::Sealed(sealed) => PointId::new(sealed.segment.point_id(Ordinal(point.row))).ok(),
            SegmentRef::Growing(growing) => growing.read().ids.get(point.row as usize).cloned(),
        }
    }

    /// Returns the ids in layout order.
    pub(crate) fn ids(&self) -> Vec<PointId> {
        self.points.iter().filter_map(|&point| self.id_of(point)).collect()
    }

    /// Whether points were left out.
    pub(crate) fn is_sample(&self) -> bool {
        (self.points.len() as u64) < self.total
    }

    pub(crate) fn position(&self, point: usize) -> (&SegmentRef<'a>, Ordinal) {
        let ChosenPoint { source, row, .. } = self.points[point];
        (&self.sources[source as usize], Ordinal(row))
    }

    /// Returns the stored vector of a point.
    pub(crate) fn stored(&self, point: usize) -> Vec<f32> {
        match self.position(point) {
            (SegmentRef::Sealed(sealed), row) => sealed.segment.vector(row).into_owned(),
            (SegmentRef::Growing(growing), row) => {
                growing.read().vector(row.0, self.collection.dimension as usize).to_vec()
            }
        }
    }

    /// Returns a checksum of each point's vector.
    pub(crate) fn prints(&self) -> Vec<u32> {
        use rayon::prelude::*;
        (0..self.points.len())
            .into_par_iter()
            .map(|point| crc32fast::hash(bytemuck::cast_slice(&self.stored(point))))
            .collect()
    }

    /// Returns, for each source, the layout index of each row, or `u32::MAX`.
    pub(crate) fn points_of_rows(&self) -> Vec<Vec<u32>> {
        let mut positions: Vec<Vec<u32>> = self.sources.iter().map(|source| vec![u32::MAX; rows_of(source)]).collect();
        for (at, point) in self.points.iter().enumerate() {
            if let Some(position) = positions[point.source as usize].get_mut(point.row as usize) {
                *position = at as u32;
            }
        }
        positions
    }

    /// Returns the rows of each source that are in the layout.
    pub(crate) fn selected(&self) -> Vec<RowSet> {
        let mut words: Vec<Vec<u64>> =
            self.sources.iter().map(|source| vec![0; rows_of(source).div_ceil(64)]).collect();
        for point in &self.points {
            if let Some(word) = words[point.source as usize].get_mut(point.row as usize / 64) {
                *word |= 1 << (point.row % 64);
            }
        }
        words.into_iter().map(RowSet::new).collect()
    }
}

fn rows_of(source: &SegmentRef<'_>) -> usize {
    match source {
        SegmentRef::Sealed(sealed) => sealed.segment.rows() as usize,
        SegmentRef::Growing(growing) => growing.rows_held() as usize,
    }
}

/// Vectors as the metric compares them: of unit length under cosine.
impl Vectors for Chosen<'_> {
    fn len(&self) -> usize {
        self.points.len()
    }
    fn width(&self) -> usize {
        self.collection.dimension as usize
    }
    fn copy(&self, point: usize, out: &mut [f32]) {
        match self.position(point) {
            // Intact when selected. If it was damaged since, it reads as zeros.
            (SegmentRef::Sealed(sealed), row) => {
                let vector = sealed.segment.vector(row);
                if vector.len() == out.len() {
                    out.copy_from_slice(&vector);
                } else {
                    out.fill(0.0);
                }
            }
            (SegmentRef::Growing(growing), row) => {
                out.copy_from_slice(growing.read().vector(row.0, self.collection.dimension as usize));
            }
        }
        if self.collection.metric == Metric::Cosine {
            math::normalize(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_spread_evenly() {
        let all: Vec<u64> = (0..4_000).map(|at| hash(&format!("p{at}"), 0)).collect();
        for bit in 0..64 {
            let set = all.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((1_800..2_200).contains(&set), "bit {bit}: {set} of 4,000");
        }
        assert_ne!(hash("a", 0), hash("a", 1));
    }
}
