//! The live matching rows of a segment as a bit set, for a test per visited row.

use crate::index::hnsw::Matching;
use crate::math;
use crate::types::Ordinal;
use roaring::RoaringBitmap;
use std::ops::Range;

/// The live matching rows of one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    words: Vec<u64>,
    count: u64,
}

/// The matches in a view: growing segments newest first, then sealed ones.
pub(crate) struct Selection {
    pub(crate) segments: Vec<RowSet>,
    /// Number of matches in all segments.
    pub(crate) count: u64,
}

/// The matches of the filters of a call in one view.
#[derive(Default)]
pub(crate) struct Selections {
    /// Of the filter of the call; none without one.
    pub(crate) of_call: Option<Selection>,
    /// Of the filters of fused queries.
    pub(crate) of_parts: Vec<Selection>,
}

impl Selection {
    /// Creates it from the matches in the segments.
    pub(crate) fn new(segments: Vec<RowSet>) -> Self {
        let count = segments.iter().map(RowSet::count).sum();
        Self { segments, count }
    }

    /// Returns the matches that are not among those of another selection in the same view.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let minus = |(index, rows): (usize, &RowSet)| match other.segments.get(index) {
            Some(other) if other.count > 0 => rows.minus(other),
            _ => rows.clone(),
        };
        Self::new(self.segments.iter().enumerate().map(minus).collect())
    }
}

impl RowSet {
    /// Creates it from the set bits.
    pub(crate) fn new(words: Vec<u64>) -> Self {
        let count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Self { words, count }
    }

    /// Returns their number.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether it contains a row.
    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Returns all rows, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Ordinal> + Clone + '_ {
        self.rows_of_words(0..self.words.len())
    }

    /// Returns the number of 64-row words, for [`rows_of_words`](Self::rows_of_words).
    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// Returns the rows of a range of words, ascending.
    pub(crate) fn rows_of_words(&self, words: Range<usize>) -> impl Iterator<Item = Ordinal> + Clone + '_ {
        let first = words.start as u32 * 64;
        math::ones(self.words.get(words).unwrap_or_default()).map(move |index| Ordinal(first + index))
    }

    /// Returns the rows of a range of words as a set of its own, in which the first of these rows is row 0.
    pub(crate) fn part(&self, words: Range<usize>) -> Self {
        let words = words.start.min(self.words.len())..words.end.min(self.words.len());
        Self::new(self.words[words].to_vec())
    }

    /// Returns the rows that are not in the other set.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        Self::new(self.words.iter().zip(others).map(|(word, other)| word & !other).collect())
    }

    /// Divides it into the rows that are not in a list, and those that are.
    pub(crate) fn without(&self, rows: impl Iterator<Item = u32>) -> (Self, Self) {
        let (mut rest, mut taken) = (self.words.clone(), vec![0; self.words.len()]);
        for row in rows.filter(|row| self.contains(*row)) {
            let (word, bit) = (row as usize / 64, 1 << (row % 64));
            rest[word] &= !bit;
            taken[word] |= bit;
        }
        (Self::new(rest), Self::new(taken))
    }

    /// Returns the rows as a bitmap.
    pub(super) fn bitmap(&self) -> RoaringBitmap {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        RoaringBitmap::from_lsb0_bytes(0, &bytes)
    }

    /// Returns the form that graphs take.
    pub(crate) fn matching(&self) -> Matching<'_> {
        Matching { bits: &self.words, count: self.count as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_rows() {
        let selected = RowSet::new(vec![1 << 63 | 5, 0, 2]);
        assert_eq!(selected.rows().map(|row| row.0).collect::<Vec<_>>(), [0, 2, 63, 129]);
        assert_eq!(selected.rows_of_words(1..3).map(|row| row.0).collect::<Vec<_>>(), [129]);
        assert_eq!(selected.count(), 4);
        assert!(selected.contains(129) && !selected.contains(128) && !selected.contains(100_000));
        let (rest, taken) = selected.without([2, 3, 129, 100_000].into_iter());
        assert_eq!(rest.rows().map(|row| row.0).collect::<Vec<_>>(), [0, 63]);
        assert_eq!(taken.rows().map(|row| row.0).collect::<Vec<_>>(), [2, 129]);
        let left = selected.minus(&RowSet::new(vec![4]));
        assert_eq!(left.rows().map(|row| row.0).collect::<Vec<_>>(), [0, 63, 129]);
        assert_eq!(taken.minus(&selected).count(), 0);
        let both = Selection::new(vec![selected.clone(), taken.clone()]);
        let rest = both.minus(&Selection::new(vec![taken, RowSet::default()]));
        assert_eq!((rest.count, rest.segments[1].count()), (4, 2));
    }
}
