//! Lower bound of (true squared distance / squared code distance): the 1/400 quantile of near pairs and that of far
//! pairs, whichever is less. Re-ranking stops where this bound places a row behind the k-th.

use super::beam_search::{Beam, Scratch, beam_search};
use super::build::scorer;
use super::scorer::Scorer;
use super::select_neighbors::Codes;
use super::view::FlatLinks;
use crate::index::{Rows, exact};
use crate::math;
use crate::types::Ordinal;

/// Number of sampled queries.
const QUERIES: usize = 256;
/// Near rows per query, and as many other rows.
const NEAR_ROWS: usize = 32;
/// A large prime: its multiples visit positions in pseudo-random order.
const SPREAD: usize = 2_654_435_761;
/// At most 1 / `ONE_IN` of the pairs may lie below the bound.
const ONE_IN: usize = 400;

/// Measures the bound on a graph whose level 0 is `links` and whose nodes are `nodes`. Returns 0 if nothing could be
/// measured, which stops no re-ranking.
pub(super) fn measure(codes: &Codes<'_>, rows: Rows<'_>, links: FlatLinks<'_>, nodes: &[u32]) -> f32 {
    let mut scratch = Scratch::default();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    let squared_step = codes.quantizer.scale * codes.quantizer.scale;
    let step = (nodes.len() / QUERIES).max(1);
    for (number, &node) in nodes.iter().step_by(step).take(QUERIES).enumerate() {
        let vector = &*rows.row(Ordinal(node)).to_floats();
        let norm = math::norm(vector);
        let Some(query) = codes.quantizer.query(vector).filter(|query| query.fits) else { continue };
        let scorer = scorer(codes, &query.codes, query.norm);
        let ratio = |(key, row): (u32, u32)| {
            let db = codes.quantizer.squared(exact::distance(rows, Ordinal(row), vector, norm), norm);
            let ratio = db / (key as f32 * squared_step);
            (row != node && ratio.is_finite()).then_some(ratio.max(0.0))
        };
        beam_search(&links, &scorer, &mut scratch, node, Beam::of(NEAR_ROWS), |_| true);
        near.extend(scratch.accepted().filter_map(ratio));
        // Other nodes, pseudo-random.
        let others =
            (0..NEAR_ROWS).filter_map(|i| nodes.get((number * NEAR_ROWS + i).wrapping_mul(SPREAD) % nodes.len()));
        far.extend(others.map(|&other| (scorer.key(other), other)).filter_map(ratio));
    }
    let quantile = |mut ratios: Vec<f32>| {
        ratios.sort_unstable_by(f32::total_cmp);
        ratios.get(ratios.len() / ONE_IN).copied().unwrap_or(0.0)
    };
    quantile(near).min(quantile(far))
}
