//! Which way a filtered search goes: compare the matching rows, or ask a graph.
//!
//! The graph of a sealed segment chooses for itself between a scan of the matches' codes and a walk
//! (`index::graph::Graph::search_among`); so few matches that neither is worth its beginning are compared in full, which
//! is exact. The growing segment's graph walks on full vectors: past `rows / matches` rows for each of the `ef` matching
//! candidates that it must keep. The costs cross where `matches = sqrt(WALK_COST x ef x rows)`.
//!
//! Measured with `cargo bench --bench filters`.

/// So few matches are compared in full. (Measured: 128 components, 300 matches; 784, 150.)
const FEW: u64 = 256;
/// Full vectors that could be compared in the time in which a walk on full vectors passes one row with its links.
const WALK_COST: u64 = 4;

/// Whether the matches of a sealed segment are compared in full, without its graph.
pub(in crate::collection) fn are_few(matches: u64) -> bool {
    matches <= FEW
}

/// Whether the matches of a growing segment with `rows` rows are compared, rather than searched with `ef` candidates.
pub(in crate::collection) fn compares(matches: u64, rows: u64, ef: u32) -> bool {
    // In 128 bits no product of these overflows.
    let square = u128::from(matches) * u128::from(matches);
    are_few(matches) || square <= u128::from(WALK_COST) * u128::from(ef) * u128::from(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_compared_and_many_walked() {
        assert!(compares(0, 1_000_000, 10) && compares(FEW, u64::MAX, 1) && are_few(FEW) && !are_few(FEW + 1));
        assert!(!compares(1_000_000, 1_000_000, 100));
        assert!(compares(20_000, 1_000_000, 100), "sqrt(4 x 100 x 1,000,000) = 20,000");
        assert!(!compares(20_001, 1_000_000, 100));
        assert!(compares(20_001, 1_000_000, 200), "a wider walk is dearer");
        assert!(!compares(u64::MAX, 1, 1) && compares(u64::from(u32::MAX), u64::MAX, u32::MAX));
    }
}
