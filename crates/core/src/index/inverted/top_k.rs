//! The best rows of a query.
//!
//! MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995) over windows of rows, with the
//! block bounds of Ding and Suel ("Faster top-k document retrieval using block-max indexes", 2011). In each window the
//! terms are ordered by the most that they can contribute. Terms that together cannot reach the k-th score are looked
//! up only in rows that contain one of the others. No row is missed: the bounds are upper bounds.

use super::bm25::{Scorer, contribution};
use super::builder::Builder;
use super::file::InvertedIndex;
use super::postings::Cursor;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rows of a window: their sums, 16 KiB, stay in the first-level cache.
const WINDOW: u32 = 4_096;

/// Covers the rounding of bounds, which are products of `f32`.
const SLACK: f32 = 1.000_001;

/// A row with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredRow {
    /// The segment, as given to [`TopRows`].
    pub segment: u32,
    /// The row.
    pub row: u32,
    /// The BM25 score.
    pub score: f32,
}

/// Sum, then segment and row: of equal sums, the first row is the greatest.
type Ranked = (u32, Reverse<(u32, u32)>);

/// The rows with the highest scores above 0 of any number of segments, searched in turn.
pub struct TopRows<'a> {
    scorer: &'a Scorer,
    k: usize,
    /// The worst is on top.
    heap: BinaryHeap<Reverse<Ranked>>,
    /// A row enters if its sum is above this.
    threshold: u32,
}

/// A term of the query in one index.
struct Term<'a> {
    ordinal: usize,
    weight: f32,
    cursor: Cursor<'a>,
    /// The most that the term can contribute in the window.
    most: u32,
}

impl<'a> TopRows<'a> {
    /// Collects the `k` best rows that score at least `min_score`.
    pub fn new(scorer: &'a Scorer, k: usize, min_score: Option<f32>) -> Self {
        let threshold = min_score.map_or(0, |score| scorer.sum_below(score));
        Self { scorer, k, heap: BinaryHeap::new(), threshold }
    }

    fn push(&mut self, sum: u32, segment: u32, row: u32) {
        if sum <= self.threshold || self.k == 0 {
            return;
        }
        self.heap.push(Reverse((sum, Reverse((segment, row)))));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if self.heap.len() == self.k {
            self.threshold = self.heap.peek().map_or(0, |least| least.0.0);
        }
    }

    /// Returns the rows, best first; rows of equal score in the order in which they were searched.
    pub fn into_sorted(self) -> Vec<ScoredRow> {
        let mut best: Vec<_> = self.heap.into_iter().map(|Reverse(entry)| entry).collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        let scored = |(sum, Reverse((segment, row)))| ScoredRow { segment, row, score: self.scorer.score(sum) };
        best.into_iter().map(scored).collect()
    }

    /// Adds the rows of an index that is being built. `row_of` maps its rows, in ascending order, to those of the
    /// segment; `allowed` decides whether a row of the segment may be returned.
    pub fn search_builder(
        &mut self,
        builder: &Builder,
        segment: u32,
        row_of: impl Fn(u32) -> u32,
        allowed: impl Fn(u32) -> bool,
    ) {
        let mut sums: FxHashMap<u32, u32> = FxHashMap::default();
        for (ordinal, term) in self.scorer.terms().iter().enumerate() {
            builder.for_each(&term.term, |row, frequency| {
                *sums.entry(row).or_default() +=
                    self.scorer.contribution(ordinal, frequency, super::bm25::encode_length(builder.length(row)));
            });
        }
        let sums = sums.into_iter().map(|(row, sum)| (row_of(row), sum));
        let mut sums: Vec<(u32, u32)> = sums.filter(|(row, _)| allowed(*row)).collect();
        // In the order of an index, so that the same of equal rows are kept.
        sums.sort_unstable();
        sums.into_iter().for_each(|(row, sum)| self.push(sum, segment, row));
    }

    /// Adds the rows of an index whose first row is row `first` of the segment. `allowed` decides whether a row of the
    /// segment may be returned. Ends early, with an incomplete result, when `cancelled` returns true.
    pub fn search(
        &mut self,
        index: &InvertedIndex,
        segment: u32,
        first: u32,
        allowed: impl Fn(u32) -> bool,
        cancelled: &dyn Fn() -> bool,
    ) {
        let scorer = self.scorer;
        let saturation = scorer.saturation();
        // A larger mean length raises saturations, at most in proportion. The bounds hold for the mean of the index.
        let raise = (scorer.average_length() / index.average_length()).max(1.0);
        let most_of = |weight: f32, bound: u8| match bound {
            0 => 0,
            bound => contribution(weight, (f32::from(bound) / 255.0 * raise * SLACK).min(1.0)) + 1,
        };
        let term = |(ordinal, term): (usize, &super::QueryTerm)| {
            let cursor = index.cursor(index.postings(&term.term)?);
            Some(Term { ordinal, weight: scorer.weight(ordinal), cursor, most: 0 })
        };
        let mut terms: Vec<Term<'_>> = scorer.terms().iter().enumerate().filter_map(term).collect();
        let codes = index.length_codes();
        let mut sums = vec![0_u32; WINDOW as usize];
        let mut found = vec![0_u64; WINDOW as usize / 64];
        if self.k == 0 || terms.is_empty() {
            return;
        }
        for begin in (0..codes.len() as u32).step_by(WINDOW as usize) {
            if cancelled() {
                return;
            }
            let end = begin.saturating_add(WINDOW).min(codes.len() as u32);
            for term in &mut terms {
                term.cursor.seek_block(begin);
                term.most = most_of(term.weight, term.cursor.bound(end));
            }
            terms.sort_unstable_by_key(|term| term.most);
            // The first terms together stay at or below the threshold.
            let mut below = 0_u32;
            let mut rare = 0;
            while rare < terms.len() && below.saturating_add(terms[rare].most) <= self.threshold {
                below += terms[rare].most;
                rare += 1;
            }
            let (rare, essential) = terms.split_at_mut(rare);
            if essential.is_empty() {
                continue;
            }
            let window = (end - begin) as usize;
            let codes = &codes[begin as usize..end as usize];
            for term in &mut *essential {
                term.cursor.skip_to(begin);
                term.cursor.for_each_before(end, |rows, frequencies| {
                    for (&row, &frequency) in rows.iter().zip(frequencies) {
                        let index = row.wrapping_sub(begin) as usize;
                        let Some(code) = codes.get(index) else { continue };
                        let contribution = contribution(term.weight, saturation.of(frequency, *code));
                        sums[index] = sums[index].saturating_add(contribution);
                        found[index / 64] |= 1 << (index % 64);
                    }
                });
            }
            for (word_index, word) in found.iter_mut().enumerate().take(window.div_ceil(64)) {
                let mut bits = std::mem::take(word);
                while bits != 0 {
                    let index = word_index * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let mut sum = std::mem::take(&mut sums[index]);
                    if sum.saturating_add(below) <= self.threshold {
                        continue;
                    }
                    let row = begin + index as u32;
                    let mut rest = below;
                    for term in rare.iter_mut().rev() {
                        if sum.saturating_add(rest) <= self.threshold {
                            break;
                        }
                        rest -= term.most;
                        term.cursor.seek_block(row);
                        let most = most_of(term.weight, term.cursor.block_bound());
                        if sum.saturating_add(most).saturating_add(rest) <= self.threshold {
                            continue;
                        }
                        let frequency = term.cursor.frequency(row);
                        if frequency > 0 {
                            sum = sum.saturating_add(scorer.contribution(term.ordinal, frequency, codes[index]));
                        }
                    }
                    if sum > self.threshold && allowed(first + row) {
                        self.push(sum, segment, first + row);
                    }
                }
            }
        }
    }
}
