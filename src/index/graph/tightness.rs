//! How far the codes can be trusted: the least that a true squared distance is of the distance of codes, but for one
//! pair in many. Re-ranking stops where even that would leave a row behind the k-th.

use super::build::{Flat, scorer};
use super::select::Codes;
use super::walk::{Scratch, walk};
use crate::index::{Rows, exact};
use crate::math;
use crate::types::Ordinal;

/// Rows that play queries.
const QUERIES: usize = 256;
/// Near rows that each of them is compared with.
const NEAR: usize = 32;
/// One pair in this many may be nearer than said.
const ONE_IN: usize = 400;

/// Measures it on a graph whose level 0 is `links`; 0 where nothing could be measured, which stops no re-ranking.
/// `nodes` are those of the graph.
pub(super) fn measure(codes: &Codes<'_>, rows: Rows<'_>, links: &Flat<'_>, nodes: &[u32]) -> f32 {
    let mut scratch = Scratch::default();
    let mut ratios = Vec::new();
    let squared_step = codes.quantizer.scale * codes.quantizer.scale;
    for &node in nodes.iter().step_by((nodes.len() / QUERIES).max(1)).take(QUERIES) {
        let vector = &*rows.row(Ordinal(node)).to_floats();
        let norm = math::norm(vector);
        let Some(query) = codes.quantizer.query(vector).filter(|query| query.fits) else { continue };
        let scorer = scorer(codes, &query.codes, query.norm);
        walk(links, &scorer, &mut scratch, node, NEAR, 0, |_| true);
        for (key, near) in scratch.accepted().filter(|&(key, near)| near != node && key > 0) {
            let truth = codes.quantizer.squared(exact::distance(rows, Ordinal(near), vector, norm), norm);
            let ratio = truth / (key as f32 * squared_step);
            if ratio.is_finite() {
                ratios.push(ratio.max(0.0));
            }
        }
    }
    ratios.sort_unstable_by(f32::total_cmp);
    ratios.get(ratios.len() / ONE_IN).copied().unwrap_or(0.0)
}
