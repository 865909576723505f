//! The choice of `ef` per segment for the accuracy of a query, and the recall to expect.
//!
//! A target recall must be reached in every segment, because the segments of the nearest points are not known before
//! the search. Sealed and growing segments read `ef` from their calibration tables. Without a table the recall
//! is unknown: small segments, and all segments for a target above [`EXACT_ABOVE_TARGET`], are scanned; the others are
//! searched with a generous `ef`, and the answer has no expected recall.

use super::growing::Growing;
use super::sealed::Sealed;
use crate::api::limits::{self, MAX_EF, MAX_K};
use crate::api::{Accuracy, Error, SearchParams};
use crate::index::calibration::{self, Calibration};
use crate::index::hnsw::Graph;
use std::sync::Arc;

/// Search budget of a validated query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SearchBudget {
    /// Brute force: compare with every point.
    Exact,
    /// Size of the candidate list in each segment.
    Ef(u32),
    /// Target recall, 0.5 to 1.
    Target(f32),
}

/// Segments with fewer components than this are scanned if they have no table: about a millisecond.
const SMALL_SCAN: usize = 1 << 22;
/// Targets above this are reached by a scan if there is no table.
const EXACT_ABOVE_TARGET: f32 = 0.99;
/// (min ef, ef per hit) for a target recall on an uncalibrated segment.
const UNCALIBRATED_EF: (u32, u32) = (400, 8);

impl SearchBudget {
    /// Returns the budget for the nearest `hits` of `k`.
    pub(crate) fn of_part(self, hits: usize, k: usize) -> Self {
        match self {
            Self::Ef(ef) if hits < k => Self::Ef((ef as usize * hits).div_ceil(k) as u32),
            other => other,
        }
    }

    /// Returns the graph and the `ef` for the `k` nearest rows of a sealed segment; none to scan it.
    pub(crate) fn sealed(self, sealed: &Sealed, k: u32) -> Option<(Arc<Graph>, u32)> {
        let ef = self.on_graph(sealed.calibration().as_deref(), sealed.segment.vectors().len(), k)?;
        Some((sealed.graph()?, ef))
    }

    /// Returns the `ef` for the `k` nearest rows of a graph over this many components, calibrated by `table`; none to
    /// scan the rows.
    pub(crate) fn on_graph(self, table: Option<&Calibration>, components: usize, k: u32) -> Option<u32> {
        match (self, table) {
            (Self::Exact, _) => None,
            (Self::Ef(ef), _) => Some(ef.max(k)),
            (Self::Target(target), Some(table)) => table.ef_for(target, k),
            (Self::Target(target), None) => without_table(target, components, k),
        }
    }

    /// Returns the share of the scores that a search of an index of sparse vectors may leave out, and the recall to
    /// expect; none to search exactly. `table` is the calibration of the index, and `k` the number of the best rows without
    /// the filter that are expected to have the hits. `long`: the query is longer than half a row.
    pub(crate) fn on_sparse(self, table: Option<&Calibration>, k: u64, long: bool) -> Option<(f32, f32)> {
        let (Self::Target(target), Some(table)) = (self, table) else { return None };
        let k = u32::try_from(k).ok().filter(|_| calibration::covers(k))?;
        let ef = if long { table.stored_ef_for(target, k) } else { table.ef_for(target, k) }?;
        let recall = if long { table.stored(ef, k) } else { table.expected(ef, k) };
        Some((calibration::omitted_share(ef, k), recall))
    }

    /// Returns the `ef` for the `k` nearest rows of a growing segment, which are among its `among` nearest without the
    /// filter (the filter is applied to the results of the graph); none to scan it.
    pub(crate) fn growing(self, growing: &Growing, k: u32, among: u32) -> Option<u32> {
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
    let (min, each) = UNCALIBRATED_EF;
    (components > SMALL_SCAN && target <= EXACT_ABOVE_TARGET).then(|| min.max(each.saturating_mul(k)))
}

/// Validates the parameters of a search and returns its budget.
pub(crate) fn validate(params: &SearchParams, default_ef: u32) -> Result<SearchBudget, Error> {
    let k = params.k;
    if k == 0 || k > MAX_K {
        return Err(Error::invalid("params.k", format!("must be 1 to {MAX_K}, got {k}")));
    }
    params.check_ranking()?;
    if params.score_threshold.is_some_and(f32::is_nan) {
        return Err(Error::invalid("params.score_threshold", "is NaN"));
    }
    let budget = match params.accuracy {
        Accuracy::Exact => Ok(SearchBudget::Exact),
        Accuracy::Default => Ok(SearchBudget::Ef(default_ef.max(k))),
        Accuracy::Ef(ef) if ef < k || ef > MAX_EF => {
            Err(Error::invalid("params.ef", format!("must be k ({k}) to {MAX_EF}, got {ef}")))
        }
        Accuracy::Ef(ef) => Ok(SearchBudget::Ef(ef)),
        Accuracy::TargetRecall(target) if !limits::TARGET_RECALL.contains(&target) => Err(Error::invalid(
            "params.target_recall",
            format!("must be {} to {}, got {target}", limits::TARGET_RECALL.start(), limits::TARGET_RECALL.end()),
        )),
        Accuracy::TargetRecall(target) => Ok(SearchBudget::Target(target)),
    }?;
    params.filter.as_ref().map_or(Ok(()), |filter| filter.check("params.filter"))?;
    params.group_by.as_deref().map_or(Ok(()), limits::group_by)?;
    Ok(budget)
}

/// Expected recall of an answer: the mean over segments, weighted by live rows. This assumes that a neighbour is
/// equally likely to be any row, as in segments with the same distribution.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExpectedRecall {
    rows: u64,
    found: f64,
    unknown: bool,
}

impl ExpectedRecall {
    /// Adds a segment with its live rows and its recall; none if the recall was not measured.
    pub(crate) fn add(&mut self, rows: u64, recall: Option<f32>) {
        match recall {
            Some(recall) => {
                self.rows += rows;
                self.found += rows as f64 * f64::from(recall);
            }
            None => self.unknown |= rows > 0,
        }
    }

    /// Returns the mean recall; none if a segment's recall is unknown, 1 if there are no rows.
    pub(crate) fn recall(self) -> Option<f32> {
        let mean = if self.rows == 0 { 1.0 } else { self.found / self.rows as f64 };
        (!self.unknown).then_some(mean as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_part_makes_the_whole_unknown() {
        let mut expectation = ExpectedRecall::default();
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
