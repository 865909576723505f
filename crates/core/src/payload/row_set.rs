//! Rows of a segment as a bit set, for a test per visited row: the live matching rows of a filter.

use crate::index::hnsw::Matching;
use crate::math;
use crate::types::Ordinal;
use roaring::RoaringBitmap;
use std::ops::Range;

/// Rows of one segment. Stores the words from the first to the last row only, so that rows that lie close together
/// take little memory and time, whatever the size of the segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    /// Number of the first word: that of its bit 0 is row `64 * first`.
    first: usize,
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
        Self::at(0, words)
    }

    /// Creates it from the set bits, from this word on.
    fn at(first: usize, words: Vec<u64>) -> Self {
        let count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Self { first, words, count }
    }

    /// Creates it from ascending rows.
    pub(crate) fn of(rows: &RoaringBitmap) -> Self {
        let (Some(from), Some(until)) = (rows.min(), rows.max()) else { return Self::default() };
        let first = from as usize / 64;
        let mut words = vec![0_u64; until as usize / 64 + 1 - first];
        for row in rows {
            words[row as usize / 64 - first] |= 1 << (row % 64);
        }
        Self { first, words, count: rows.len() }
    }

    /// Returns their number.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether it contains a row.
    #[inline]
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.matching().contains(Ordinal(row))
    }

    /// Returns all rows, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Ordinal> + Clone + '_ {
        self.rows_of_words(self.words())
    }

    /// Returns the range of 64-row words that may have rows, for [`rows_of_words`](Self::rows_of_words).
    pub(crate) fn words(&self) -> Range<usize> {
        self.first..self.first + self.words.len()
    }

    /// Returns the range from the first to the last row.
    pub(crate) fn range(&self) -> Range<u32> {
        let last = self.words().rev().find_map(|word| self.rows_of_words(word..word + 1).last());
        self.rows().next().map_or(0, |row| row.0)..last.map_or(0, |row| row.0 + 1)
    }

    /// Returns the rows of a range of words, ascending.
    pub(crate) fn rows_of_words(&self, words: Range<usize>) -> impl Iterator<Item = Ordinal> + Clone + '_ {
        let (from, words) = self.slice(words);
        let from = from as u32 * 64;
        math::ones(words).map(move |index| Ordinal(from + index))
    }

    /// Returns the stored words of a range, with the number of the first one.
    fn slice(&self, words: Range<usize>) -> (usize, &[u64]) {
        let own = self.words();
        let (from, until) = (words.start.clamp(own.start, own.end), words.end.clamp(own.start, own.end));
        (from, self.words.get(from - self.first..until - self.first).unwrap_or_default())
    }

    /// Returns the rows of a range of words as a set of its own, in which the first of these rows is row 0.
    pub(crate) fn part(&self, words: Range<usize>) -> Self {
        let (from, own) = self.slice(words.clone());
        Self::at(from.saturating_sub(words.start), own.to_vec())
    }

    /// Returns the rows that are not in the other set.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.minus_words(|word| match word.checked_sub(other.first) {
            Some(word) => other.words.get(word).copied().unwrap_or(0),
            None => 0,
        })
    }

    /// Returns the rows whose bits are not set in the other words.
    pub(crate) fn minus_words(&self, other: impl Fn(usize) -> u64) -> Self {
        Self::at(self.first, (self.first..).zip(&self.words).map(|(at, word)| word & !other(at)).collect())
    }

    /// Divides it into the rows that are not in a list, and those that are.
    pub(crate) fn without(&self, rows: impl Iterator<Item = u32>) -> (Self, Self) {
        let taken: RoaringBitmap = rows.filter(|row| self.contains(*row)).collect();
        let taken = Self::of(&taken);
        (self.minus(&taken), taken)
    }

    /// Returns the rows as a bitmap.
    pub(crate) fn bitmap(&self) -> RoaringBitmap {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        RoaringBitmap::from_lsb0_bytes(self.first as u32 * 64, &bytes)
    }

    /// Returns the form that graphs take.
    #[inline]
    pub(crate) fn matching(&self) -> Matching<'_> {
        Matching { first_word: self.first, bits: &self.words, count: self.count as usize }
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
        assert_eq!(taken.words(), 0..3);
        let left = selected.minus(&RowSet::new(vec![4]));
        assert_eq!(left.rows().map(|row| row.0).collect::<Vec<_>>(), [0, 63, 129]);
        assert_eq!(taken.minus(&selected).count(), 0);
        let both = Selection::new(vec![selected.clone(), taken.clone()]);
        let rest = both.minus(&Selection::new(vec![taken, RowSet::default()]));
        assert_eq!((rest.count, rest.segments[1].count()), (4, 2));
    }

    #[test]
    fn any_rows_are_those_of_a_sorted_list() {
        let mut state = 7_u64;
        let mut random = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32 % below
        };
        let list = |set: &RowSet| set.rows().map(|row| row.0).collect::<Vec<_>>();
        for step in 0..400 {
            // Few words, far from row 0, so that sets overlap in part or not at all.
            let mut some = || -> Vec<u32> {
                let (from, length) = (random(1_000), 1 + random(300));
                (from..from + length).filter(|_| random(3) == 0).collect()
            };
            let (rows, others) = (some(), some());
            let set = RowSet::of(&rows.iter().copied().collect());
            let other = RowSet::of(&others.iter().copied().collect());
            assert_eq!((list(&set), set.count()), (rows.clone(), rows.len() as u64), "step {step}");
            assert!((0..1_400).all(|row| set.contains(row) == rows.contains(&row)), "step {step}");
            let range = rows.first().map_or(0..0, |first| *first..rows[rows.len() - 1] + 1);
            assert_eq!(set.range(), range, "step {step}");
            assert!(set.words().len() <= 6, "only the words of the rows are stored: {:?}", set.words());
            assert_eq!(set.bitmap().into_iter().collect::<Vec<_>>(), rows, "step {step}");
            let left: Vec<u32> = rows.iter().copied().filter(|row| !others.contains(row)).collect();
            let both: Vec<u32> = rows.iter().copied().filter(|row| others.contains(row)).collect();
            assert_eq!(list(&set.minus(&other)), left, "step {step}");
            let (rest, taken) = set.without(others.iter().copied());
            assert_eq!((list(&rest), list(&taken)), (left, both), "step {step}");
            let (from, until) = (random(12) as usize, 12 + random(12) as usize);
            let within = |row: &&u32| (from..until).contains(&(**row as usize / 64));
            let part: Vec<u32> = rows.iter().filter(within).map(|row| row - from as u32 * 64).collect();
            assert_eq!(list(&set.part(from..until)), part, "step {step}");
            assert_eq!(set.rows_of_words(from..until).count(), part.len(), "step {step}");
        }
    }
}
