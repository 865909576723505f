//! The plan of a filtered search: compare the matching rows, or search a graph.
//!
//! The graph of a sealed segment itself chooses between a scan of the matches' codes and a graph search
//! (`index::hnsw::Graph::search_among`). At most [`MAX_COMPARED`] matches, for which neither pays off, are compared in
//! full, which is exact. The graph of a growing segment is searched on full vectors, and the search passes
//! `rows / matches` rows for each of the `ef` matching candidates to keep. The costs cross where
//! `matches = sqrt(PASS_COST x ef x rows)`.
//!
//! Measured with `cargo bench --bench filters`.

/// Maximum matches that are compared in full. (Measured break-even: 300 matches for 128 components, 150 for 784.)
const MAX_COMPARED: u64 = 256;
/// Cost of passing one row with its links in a graph search on full vectors, in full comparisons.
const PASS_COST: u64 = 4;

/// Whether to compare the matches of a sealed segment in full, without its graph.
pub(crate) fn compares_in_full(matches: u64) -> bool {
    matches <= MAX_COMPARED
}

/// Whether to compare the matches of a growing segment with `rows` rows, instead of a graph search with `ef`
/// candidates.
pub(crate) fn compares(matches: u64, rows: u64, ef: u32) -> bool {
    // In 128 bits none of these products overflows.
    let square = u128::from(matches) * u128::from(matches);
    compares_in_full(matches) || square <= u128::from(PASS_COST) * u128::from(ef) * u128::from(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_matches_are_compared_and_many_searched_by_graph() {
        assert!(
            compares(0, 1_000_000, 10)
                && compares(MAX_COMPARED, u64::MAX, 1)
                && compares_in_full(MAX_COMPARED)
                && !compares_in_full(MAX_COMPARED + 1)
        );
        assert!(!compares(1_000_000, 1_000_000, 100));
        assert!(compares(20_000, 1_000_000, 100), "sqrt(4 x 100 x 1,000,000) = 20,000");
        assert!(!compares(20_001, 1_000_000, 100));
        assert!(compares(20_001, 1_000_000, 200), "a larger ef costs more");
        assert!(!compares(u64::MAX, 1, 1) && compares(u64::from(u32::MAX), u64::MAX, u32::MAX));
    }
}
