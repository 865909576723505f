//! Which way a filtered search of a segment goes: compare the matching rows, or walk the graph past those that do not match.
//!
//! Comparing costs one full vector, far from the last, for each match. A walk that must keep `ef` matching candidates
//! passes about `ef x rows / matches` rows, each with its links, on the graph's small codes; the rarer the matches, the
//! farther it goes. The costs cross where `matches = sqrt(WALK_COST x ef x rows)`.

/// Full vectors that could be compared in the time in which a walk passes one row with its links.
const WALK_COST: u64 = 4;
/// So few matches are compared whatever a walk would cost.
const FEW: u64 = 500;

/// Whether to compare the matching rows of a segment with `rows` rows rather than to search its graph with `ef` candidates.
pub(in crate::collection) fn compares(matches: u64, rows: u64, ef: u32) -> bool {
    // In 128 bits no product of these overflows.
    let square = u128::from(matches) * u128::from(matches);
    matches <= FEW || square <= u128::from(WALK_COST) * u128::from(ef) * u128::from(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_compared_and_many_walked() {
        assert!(compares(0, 1_000_000, 10) && compares(FEW, u64::MAX, 1));
        assert!(!compares(1_000_000, 1_000_000, 100));
        assert!(compares(20_000, 1_000_000, 100), "sqrt(4 x 100 x 1,000,000) = 20,000");
        assert!(!compares(20_001, 1_000_000, 100));
        assert!(compares(20_001, 1_000_000, 200), "a wider walk is dearer");
        assert!(!compares(u64::MAX, 1, 1) && compares(u64::from(u32::MAX), u64::MAX, u32::MAX));
    }
}
