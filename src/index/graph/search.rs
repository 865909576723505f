//! A query's way through an opened graph: encode, walk down, walk level 0, re-rank on the full vectors.

use super::file::Graph;
use super::score::{CodeScorer, FloatScorer, OnLevel, Scorer};
use super::view::View;
use super::walk::{Scratch, greedy, walk};
use crate::index::quantize;
use crate::index::{Found, Rows, exact};
use crate::math::{self, TopK};
use crate::types::{Neighbor, Ordinal};

/// Rejected nodes in the way of a walk before a scan is cheaper, at least; for each candidate asked for.
const REJECTED: (usize, usize) = (2048, 8);
/// Candidates compared on the full vectors: this many for each of the `k`, and as many more.
const RERANK: (usize, usize) = (3, 16);
/// Most rows of one twin group that are compared on the full vectors.
const TWINS: usize = 4096;
/// Candidates ahead whose vectors are asked for.
const AHEAD: usize = 3;

impl Graph {
    /// The `k` nearest accepted rows, as nearly as `ef` candidates find them; distances are those of the full vectors.
    ///
    /// `rows` are those that the graph was built on, `query` has their dimension (with another, nothing is found).
    /// Never fewer than `k` rows when that many are accepted: where the walk does not find them, every row is
    /// compared, as [`exact::search`] does. So it does for a query that is not finite, for `ef` of half the rows, and
    /// for rows that are not those of the graph.
    pub fn search(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        accept: impl Fn(Ordinal) -> bool,
    ) -> Found {
        if query.len() != rows.dimension || k == 0 || rows.is_empty() {
            return Found::default();
        }
        let (k, ef) = (k.min(rows.len()), ef.max(k));
        let fitting = rows.len() == self.rows() as usize
            && rows.dimension == self.quantizer.dimension
            && rows.metric == self.quantizer.metric;
        let prepared = if fitting && ef <= rows.len() / 2 { self.quantizer.query(query) } else { None };
        let Some(prepared) = prepared else { return exact::search(rows, query, k, accept) };
        let view = self.view();
        let mut scratch = self.take_scratch();
        let kernels = math::kernels();
        let (walked, complete) = if prepared.fits {
            let scorer = CodeScorer {
                codes: view.codes,
                stride: view.stride,
                compared: self.quantizer.compared(),
                query: &prepared.codes,
                norm: prepared.norm,
                dot: kernels.dot_u8_i8,
            };
            self.walk_down(&view, scorer, &mut scratch, ef, &accept)
        } else {
            let max_norm = self.quantizer.max_norm;
            let scorer = FloatScorer { rows, point: &prepared.point, max_norm, kernels };
            self.walk_down(&view, scorer, &mut scratch, ef, &accept)
        };
        let mut found = if complete { rerank(rows, query, k, &view, &scratch, &accept) } else { Found::default() };
        self.keep_scratch(scratch);
        found.distances += walked;
        if found.neighbors.len() < k {
            let scanned = exact::search(rows, query, k, accept);
            found.neighbors = scanned.neighbors;
            found.distances += scanned.distances;
        }
        found
    }

    /// Walks from the entry to the candidates; they are in the scratch. Returns the distances computed, and false if
    /// too many rejected rows were in the way.
    fn walk_down<S: Scorer + Copy>(
        &self,
        view: &View<'_>,
        scorer: S,
        scratch: &mut Scratch,
        ef: usize,
        accept: &impl Fn(Ordinal) -> bool,
    ) -> (u64, bool) {
        let (mut node, mut distances) = (self.header().entry, 0);
        for level in self.upper(view).iter().rev() {
            let (nearest, scored) = greedy(&level.links(), &OnLevel { rows: level.rows, inner: scorer }, node);
            distances += scored;
            node = level.down.get(nearest as usize).copied().unwrap_or(0);
        }
        let any_twins = !view.twin_rows.is_empty();
        let accept = |row: u32| {
            accept(Ordinal(row))
                || any_twins
                    && view
                        .code_row(row)
                        .is_some_and(|code| view.twins(quantize::group(code)).iter().any(|&twin| accept(Ordinal(twin))))
        };
        let max_rejected = REJECTED.0 + REJECTED.1 * ef;
        let walked = walk(&view.level_zero(), &scorer, scratch, node, ef, max_rejected, accept);
        (distances + walked.scored, !walked.gave_up)
    }
}

/// The `k` best of the nearest candidates, by the metric's distance on the full vectors.
fn rerank(
    rows: Rows<'_>,
    query: &[f32],
    k: usize,
    view: &View<'_>,
    scratch: &Scratch,
    accept: &impl Fn(Ordinal) -> bool,
) -> Found {
    let budget = RERANK.0 * k + RERANK.1;
    let mut candidates: Vec<Ordinal> = Vec::with_capacity(budget.min(rows.len()));
    let exists = |row: &u32| (*row as usize) < rows.len();
    for (_, row) in scratch.accepted() {
        if candidates.len() >= budget {
            break;
        }
        // A row that is not accepted itself is here for a twin.
        candidates.extend(Some(row).filter(exists).map(Ordinal).filter(|&row| accept(row)));
        let twins = if view.twin_rows.is_empty() {
            &[]
        } else {
            view.code_row(row).map_or(&[][..], |code| view.twins(quantize::group(code)))
        };
        candidates
            .extend(twins.iter().copied().filter(exists).map(Ordinal).filter(|&row| accept(row)).take(TWINS.max(k)));
    }
    if !view.twin_rows.is_empty() {
        // In a damaged file a row may be the twin of several.
        candidates.sort_unstable();
        candidates.dedup();
    }
    let query_norm = math::norm(query);
    let mut top = TopK::new(k);
    for (at, &row) in candidates.iter().enumerate() {
        if let Some(&ahead) = candidates.get(at + AHEAD) {
            math::prefetch_slice(rows.row(ahead), usize::MAX);
        }
        top.push(Neighbor { row, distance: exact::distance(rows, row, query, query_norm) });
    }
    Found { neighbors: top.into_sorted(), distances: candidates.len() as u64 }
}
