//! From the accuracy that a query asks for to what is done in each segment, and the recall to expect of it.
//!
//! A target is met in every segment for itself: where the nearest points lie is not known before the search. Sealed
//! segments read their `ef` from their table of calibration, growing ones from theirs. Without a table nothing is promised:
//! small segments, and any segment for a target above [`SURE`], are scanned; the others are searched with a generous `ef`,
//! and the answer has no expected recall.

use super::growing::Growing;
use super::sealed::Sealed;
use crate::index::graph::Graph;
use std::sync::Arc;

/// How hard a checked query searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effort {
    /// Compare with every point.
    Exact,
    /// Candidates kept in each segment.
    Ef(u32),
    /// The recall to reach, 0.5 to 1.
    Target(f32),
}

/// Fewer components than this are scanned rather than searched without a promise: about a millisecond.
const SMALL_SCAN: usize = 1 << 22;
/// A target above this is met by a scan where there is no table.
const SURE: f32 = 0.99;
/// Candidates kept where a target is asked and there is no table, at least; and for each hit.
const GENEROUS_EF: (u32, u32) = (400, 8);

impl Effort {
    /// What is done for the nearest `hits` of `k`.
    pub(super) fn of_part(self, hits: usize, k: usize) -> Self {
        match self {
            Self::Ef(ef) if hits < k => Self::Ef((ef as usize * hits).div_ceil(k) as u32),
            other => other,
        }
    }

    /// The graph and `ef` with which a sealed segment is searched for its `k` nearest; none: it is scanned.
    pub(super) fn sealed(self, sealed: &Sealed, k: u32) -> Option<(Arc<Graph>, u32)> {
        let ef = match self {
            Self::Exact => return None,
            Self::Ef(ef) => ef.max(k),
            Self::Target(target) => match sealed.calibration() {
                Some(table) => table.ef_for(target, k)?,
                None => without_table(target, sealed.segment.vectors().len(), k)?,
            },
        };
        Some((sealed.graph()?, ef))
    }

    /// The `ef` with which a growing segment is searched for its `k` nearest, which are among the `among` nearest of all (a
    /// filter is applied to what the graph finds); none: it is scanned.
    pub(super) fn growing(self, growing: &Growing, k: u32, among: u32) -> Option<u32> {
        match self {
            Self::Exact => None,
            Self::Ef(ef) => Some(ef.max(k)),
            Self::Target(target) => match growing.calibration() {
                Some(table) => table.ef_for(target, among).map(|ef| ef.max(k)),
                None => without_table(target, growing.rows_held() as usize * growing.dimension, k),
            },
        }
    }
}

fn without_table(target: f32, components: usize, k: u32) -> Option<u32> {
    let (least, each) = GENEROUS_EF;
    (components > SMALL_SCAN && target <= SURE).then(|| least.max(each.saturating_mul(k)))
}

/// The recall to expect of an answer: that of each segment, weighted by its live rows, which is where a neighbour is
/// as likely to be as not when the segments are alike.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expectation {
    rows: u64,
    found: f64,
    unknown: bool,
}

impl Expectation {
    /// Adds a segment of so many live rows; none for a recall that nobody measured.
    pub(super) fn add(&mut self, rows: u64, recall: Option<f32>) {
        match recall {
            Some(recall) => {
                self.rows += rows;
                self.found += rows as f64 * f64::from(recall);
            }
            None => self.unknown |= rows > 0,
        }
    }

    /// The mean; none if a segment's recall is not known. 1 over no rows at all.
    pub(super) fn recall(self) -> Option<f32> {
        let mean = if self.rows == 0 { 1.0 } else { self.found / self.rows as f64 };
        (!self.unknown).then_some(mean as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_part_makes_the_whole_unknown() {
        let mut expectation = Expectation::default();
        assert_eq!(expectation.recall(), Some(1.0));
        expectation.add(300, Some(0.9));
        expectation.add(100, Some(1.0));
        assert!((expectation.recall().unwrap() - 0.925).abs() < 1e-6);
        expectation.add(0, None);
        assert!(expectation.recall().is_some(), "an empty segment hides nothing");
        expectation.add(1, None);
        assert_eq!(expectation.recall(), None);
    }

    #[test]
    fn without_a_table_small_segments_and_high_targets_are_scanned() {
        assert_eq!(without_table(0.9, 1 << 20, 10), None);
        assert_eq!(without_table(0.9, 1 << 23, 10), Some(400));
        assert_eq!(without_table(0.9, 1 << 23, 100), Some(800));
        assert_eq!(without_table(0.995, 1 << 23, 10), None);
    }
}
