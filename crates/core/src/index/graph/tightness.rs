//! How far the codes can be trusted: the least that a true squared distance is of the distance of codes, but for one
//! near pair and one far pair in many. Re-ranking stops where even that would leave a row behind the k-th.

use super::build::scorer;
use super::score::Scorer;
use super::select::Codes;
use super::view::FlatLinks;
use super::walk::{Beam, Scratch, walk};
use crate::index::{Rows, exact};
use crate::math;
use crate::types::Ordinal;

/// Rows that play queries.
const QUERIES: usize = 256;
/// Near rows that each of them is compared with, and others.
const NEAR: usize = 32;
/// A large prime: steps of it visit places in no order.
const SPREAD: usize = 2_654_435_761;
/// One pair in this many may be nearer than said.
const ONE_IN: usize = 400;

/// Measures it on a graph whose level 0 is `links`; 0 where nothing could be measured, which stops no re-ranking.
/// `nodes` are those of the graph.
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
            let truth = codes.quantizer.squared(exact::distance(rows, Ordinal(row), vector, norm), norm);
            let ratio = truth / (key as f32 * squared_step);
            (row != node && ratio.is_finite()).then_some(ratio.max(0.0))
        };
        walk(&links, &scorer, &mut scratch, node, Beam::of(NEAR), |_| true);
        near.extend(scratch.accepted().filter_map(ratio));
        // Others, wherever they are.
        let others = (0..NEAR).filter_map(|i| nodes.get((number * NEAR + i).wrapping_mul(SPREAD) % nodes.len()));
        far.extend(others.map(|&other| (scorer.key(other), other)).filter_map(ratio));
    }
    let least = |mut ratios: Vec<f32>| {
        ratios.sort_unstable_by(f32::total_cmp);
        ratios.get(ratios.len() / ONE_IN).copied().unwrap_or(0.0)
    };
    least(near).min(least(far))
}
