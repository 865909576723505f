//! A query's way through an opened graph: encode, walk down, walk level 0, re-rank on the full vectors.

use super::file::Graph;
use super::score::{CodeScorer, FloatScorer, OnLevel, Scorer};
use super::view::View;
use super::walk::{Scratch, greedy, walk};
use crate::index::{Found, Rows, exact};
use crate::math::codes::CodeQuery;
use crate::math::{self, TopK};
use crate::types::{Neighbor, Ordinal};
use std::collections::HashSet;

/// Rejected nodes in the way of a walk before a scan is cheaper, at least; for each candidate asked for.
const REJECTED: (usize, usize) = (2048, 8);
/// Most rows of one twin group that are compared on the full vectors.
const TWINS: usize = 4096;
/// Cache lines of candidates ahead that are asked for.
const LINES_AHEAD: usize = 48;

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
            let query = CodeQuery { codes: &prepared.codes, norm: prepared.norm };
            self.walk_down(&view, CodeScorer { rows: view.codes, query, kernels }, &mut scratch, ef, &accept)
        } else {
            let max_norm = self.quantizer.max_norm;
            let scorer = FloatScorer { rows, point: &prepared.point, max_norm, kernels };
            self.walk_down(&view, scorer, &mut scratch, ef, &accept)
        };
        // Keys of codes tell when to stop; those of floats are the distances themselves, but for the rounding.
        let trust =
            if prepared.fits { self.header().tightness * self.quantizer.scale * self.quantizer.scale } else { 0.0 };
        let mut found = if complete { self.rerank(rows, query, k, trust, &scratch, &accept) } else { Found::default() };
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
            let (nearest, scored) = greedy(&level.links(), &OnLevel { rows: level.rows, inner: scorer }, scratch, node);
            distances += scored;
            node = level.down.get(nearest as usize).copied().unwrap_or(0);
        }
        let accept = |row: u32| accept(Ordinal(row)) || view.twins(row).iter().any(|&twin| accept(Ordinal(twin)));
        let max_rejected = REJECTED.0 + REJECTED.1 * ef;
        let walked = walk(&view.level_zero(), &scorer, scratch, node, ef, max_rejected, accept);
        (distances + walked.scored, !walked.gave_up)
    }

    /// The `k` best of the candidates, by the metric's distance on the full vectors. Ends at the first candidate whose
    /// squared distance, `trust` times its key or more, would leave it behind the k-th.
    fn rerank(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        trust: f32,
        scratch: &Scratch,
        accept: &impl Fn(Ordinal) -> bool,
    ) -> Found {
        let view = self.view();
        let exists = |row: &Ordinal| (row.0 as usize) < rows.len();
        let mut candidates: Vec<(u32, Ordinal)> = Vec::new();
        for (key, row) in scratch.accepted() {
            // A row that is not accepted itself is here for a twin.
            let twins = view.twins(row).iter().copied().take(TWINS.max(k));
            let accepted = std::iter::once(row).chain(twins).map(Ordinal).filter(exists).filter(|&row| accept(row));
            candidates.extend(accepted.map(|row| (key, row)));
        }
        if !view.twin_rows.is_empty() {
            // In a damaged file a row may be the twin of several.
            let mut seen = HashSet::with_capacity(candidates.len());
            candidates.retain(|&(_, row)| seen.insert(row));
        }
        let query_norm = math::norm(query);
        let mut top = TopK::new(k);
        let ahead = (LINES_AHEAD / (rows.dimension * rows.vectors.element().bytes() / 64 + 1)).clamp(1, 8);
        for &(_, row) in candidates.iter().take(ahead) {
            rows.row(row).prefetch(LINES_AHEAD);
        }
        let mut distances = 0;
        for (at, &(key, row)) in candidates.iter().enumerate() {
            if top.len() == k && key as f32 * trust > self.quantizer.squared(top.worst(), query_norm) {
                break;
            }
            if let Some(&(_, ahead)) = candidates.get(at + ahead) {
                rows.row(ahead).prefetch(LINES_AHEAD);
            }
            top.push(Neighbor { row, distance: exact::distance(rows, row, query, query_norm) });
            distances += 1;
        }
        Found { neighbors: top.into_sorted(), distances }
    }
}
