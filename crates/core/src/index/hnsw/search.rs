//! Query execution on an opened graph: encode, descend the upper levels, search level 0, re-rank on the full vectors.

use super::beam_search::{Beam, Scratch, Walked, beam_search, greedy};
use super::file::Graph;
use super::scorer::{CodeScorer, FloatScorer, OnLevel, Scorer};
use super::view::View;
use crate::index::{Found, Rows, exact};
use crate::math::codes::CodeQuery;
use crate::math::{self, TopK};
use crate::types::{Neighbor, Ordinal};
use std::collections::HashSet;

/// Distances after which a search falls back to a scan: `MAX_SCORED.0 + MAX_SCORED.1 * ef`.
const MAX_SCORED: (usize, usize) = (8192, 256);
/// Codes that a scan compares in the time of one distance of a graph search, which waits for memory and keeps an order.
const SCANNED_FOR_WALKED: f64 = 4.0;
/// Estimated distances of a graph search: `(WALK_COSTS.0 + WALK_COSTS.1 * ef) / sqrt(s)`, if a share s of the rows
/// matches.
const WALK_COSTS: (f64, f64) = (300.0, 11.0);
/// Candidates of a scan: `max(SCAN_KEEPS.0, SCAN_KEEPS.1 * ef)`. Codes distinguish far matches less well.
const SCAN_KEEPS: (usize, usize) = (256, 4);
/// With a bound, `ef / MIN_KEPT_DIVISOR` candidates (at least `k`) are kept although they lie beyond it.
const MIN_KEPT_DIVISOR: usize = 2;
/// Maximum rows of one duplicate group that are compared on the full vectors (or `k`, if it is larger).
const MAX_DUPLICATES: usize = 4096;
/// Cache lines of the next candidates to prefetch.
const LINES_AHEAD: usize = 48;

/// Rows that a filter keeps, as a bitmap: the matching live rows of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Matching<'a> {
    /// Number of the first word: `bits` are those of the rows from `64 * first_word` on.
    pub first_word: usize,
    /// Bit `row % 64` of word `row / 64 - first_word`.
    pub bits: &'a [u64],
    /// Number of set bits.
    pub count: usize,
}

impl Matching<'_> {
    /// Returns whether a row matches.
    #[inline(always)]
    pub fn contains(&self, row: Ordinal) -> bool {
        // Before the first word, the difference wraps to an index that no slice has.
        let word = (row.0 as usize / 64).wrapping_sub(self.first_word);
        self.bits.get(word).is_some_and(|word| word >> (row.0 % 64) & 1 == 1)
    }

    /// Returns the matching rows, ascending.
    #[allow(clippy::cast_possible_truncation)]
    pub fn rows(&self) -> impl Iterator<Item = Ordinal> + Clone + '_ {
        let first = self.first_word as u32 * 64;
        math::ones(self.bits).map(move |index| Ordinal(first + index))
    }
}

impl Graph {
    /// [`search`](Self::search) that accepts every row. Not generic, so its speed does not depend on the optimization of
    /// the caller's crate.
    pub fn search_all(&self, rows: Rows<'_>, query: &[f32], k: usize, ef: usize) -> Found {
        self.search(rows, query, k, ef, f32::INFINITY, |_| true)
    }

    /// Returns the `k` nearest accepted rows, as nearly as `ef` candidates find them; distances are those of the full
    /// vectors. With fewer candidates than `k`, `k` are kept, but only the nearest `ef` are expanded.
    ///
    /// `rows` are the rows of the graph; `query` must have their dimension (with another, the result is empty). Returns
    /// fewer than `k` rows only if fewer are accepted: if the graph search finds too few, every row is compared, as in
    /// [`exact::search`]. The same applies to a query that is not finite, to `ef` above half the rows, and to rows that
    /// do not match the graph.
    ///
    /// Rows farther than `bound` may be missing: the caller has `k` nearer ones.
    pub fn search(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        bound: f32,
        accept: impl Fn(Ordinal) -> bool,
    ) -> Found {
        self.search_checked(rows, query, k, ef, bound, None, &accept, &|_| true)
    }

    /// [`search`](Self::search) among the rows of a filter: scans their codes if that is cheaper than a graph search,
    /// or if the graph search is abandoned.
    pub fn search_among(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        bound: f32,
        matching: Matching<'_>,
    ) -> Found {
        self.search_checked(rows, query, k, ef, bound, Some(matching), &|_| true, &|_| true)
    }

    /// [`search`](Self::search), or [`search_among`](Self::search_among) if `among` is given (`accept` is then
    /// ignored). Calls `check` before it reads the full vector of a row, and leaves out the rows for which it returns
    /// false.
    #[allow(clippy::too_many_arguments)]
    pub fn search_checked(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        bound: f32,
        among: Option<Matching<'_>>,
        accept: &impl Fn(Ordinal) -> bool,
        check: &dyn Fn(Ordinal) -> bool,
    ) -> Found {
        let request = Request { rows, query, k, ef, bound, check };
        match among {
            None => self.search_with(request, None, accept, &mut None),
            Some(matching) => {
                let accept = |row: Ordinal| matching.contains(row);
                self.search_with(request, Some(matching), &accept, &mut None)
            }
        }
    }

    /// Returns the rows that [`search`](Self::search) expands on level 0, in order; empty if it would scan.
    pub fn trace(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        accept: impl Fn(Ordinal) -> bool,
    ) -> Vec<Ordinal> {
        let (request, mut path) =
            (Request { rows, query, k, ef, bound: f32::INFINITY, check: &|_| true }, Some(Vec::new()));
        self.search_with(request, None, &accept, &mut path);
        path.unwrap_or_default().into_iter().map(Ordinal).collect()
    }

    /// Returns the rows that [`search_among`](Self::search_among) expands on level 0, in order; empty if it scans.
    pub fn trace_among(
        &self,
        rows: Rows<'_>,
        query: &[f32],
        k: usize,
        ef: usize,
        matching: Matching<'_>,
    ) -> Vec<Ordinal> {
        let accept = |row: Ordinal| matching.contains(row);
        let (request, mut path) =
            (Request { rows, query, k, ef, bound: f32::INFINITY, check: &|_| true }, Some(Vec::new()));
        self.search_with(request, Some(matching), &accept, &mut path);
        path.unwrap_or_default().into_iter().map(Ordinal).collect()
    }

    fn search_with<A: Fn(Ordinal) -> bool>(
        &self,
        request: Request<'_>,
        among: Option<Matching<'_>>,
        accept: &A,
        path: &mut Option<Vec<u32>>,
    ) -> Found {
        let Request { rows, query, bound, check, .. } = request;
        // Every accepted row, without the graph.
        let compare_all = |k: usize| match among {
            None => exact::search(rows, query, k, |row: Ordinal| accept(row) && check(row)),
            Some(matching) => {
                let exists = |row: &Ordinal| (row.0 as usize) < rows.len();
                exact::search_rows(rows, query, k, matching.rows().filter(exists).filter(|row| check(*row)))
            }
        };
        if query.len() != rows.dimension || request.k == 0 || rows.is_empty() {
            return Found::default();
        }
        let k = request.k.min(rows.len());
        let (ef, expand) = (request.ef.max(k), request.ef.max(1));
        let fitting = rows.len() == self.rows() as usize
            && rows.dimension == self.quantizer.dimension
            && rows.metric == self.quantizer.metric;
        let prepared = if fitting && ef <= rows.len() / 2 { self.quantizer.query(query) } else { None };
        let Some(prepared) = prepared else { return compare_all(k) };
        let (view, kernels, query_norm) = (self.view(), math::kernels(), math::norm(query));
        let mut scratch = self.take_scratch();
        scratch.path = path.take();
        let codes = CodeQuery { codes: &prepared.codes, norm: prepared.norm };
        let scorer = match prepared.fits {
            true => AnyScorer::Codes(CodeScorer { rows: view.codes, query: codes, kernels }),
            false => {
                let max_norm = self.quantizer.max_norm;
                AnyScorer::Floats(FloatScorer { rows, point: &prepared.point, max_norm, kernels, check })
            }
        };
        // Only the keys of codes can be compared with a distance bound; the keys of floats have another scale.
        let code_error_bound = if prepared.fits { self.header().code_error_bound } else { 0.0 };
        let request = Request { k, ef, ..request };
        let mut walker = Walker {
            graph: self,
            view,
            scorer,
            scratch: &mut scratch,
            request,
            expand,
            query_norm,
            code_error_bound,
            accept,
        };
        let walked = match among {
            None => walker.search_through(),
            Some(matching) => walker.search_matching(matching),
        };
        let mut found = if walked.exhausted { Found::default() } else { walker.rerank() };
        *path = scratch.path.take();
        self.keep_scratch(scratch);
        found.distances += walked.scored;
        // With a bound, fewer rows are enough for the caller; but an abandoned search has no result.
        if walked.exhausted || (found.neighbors.len() < k && bound == f32::INFINITY) {
            let scanned = compare_all(k);
            found.neighbors = scanned.neighbors;
            found.distances += scanned.distances;
        }
        found
    }
}

/// Parameters of one search.
#[derive(Clone, Copy)]
struct Request<'a> {
    rows: Rows<'a>,
    query: &'a [f32],
    k: usize,
    ef: usize,
    bound: f32,
    /// Returns whether the full vector of a row may be read.
    check: &'a dyn Fn(Ordinal) -> bool,
}

/// Scorer on codes, or on floats for a query outside their range.
enum AnyScorer<'a> {
    Codes(CodeScorer<'a>),
    Floats(FloatScorer<'a>),
}

/// State of one search.
struct Walker<'a, A> {
    graph: &'a Graph,
    view: View<'a>,
    scorer: AnyScorer<'a>,
    scratch: &'a mut Scratch,
    request: Request<'a>,
    /// Maximum candidates to expand; less than `ef` if the caller's `ef` is below `k`.
    expand: usize,
    query_norm: f32,
    /// Lower bound of true distances by keys, see `code_error_bound.rs`; 0 if there is none.
    code_error_bound: f32,
    accept: &'a A,
}

impl<A: Fn(Ordinal) -> bool> Walker<'_, A> {
    /// Descends from the entry to the nearest node of level 1; returns its row and the number of distances computed.
    fn descend(&mut self) -> (u32, u64) {
        fn down<S: Scorer + Copy>(graph: &Graph, view: &View<'_>, scorer: S, scratch: &mut Scratch) -> (u32, u64) {
            let (mut node, mut distances) = (graph.header().entry, 0);
            for level in graph.upper(view).iter().rev() {
                let on_level = OnLevel { rows: level.rows, inner: scorer };
                let (nearest, scored) = greedy(&level.links(), &on_level, scratch, node);
                distances += scored;
                node = level.down.get(nearest as usize).copied().unwrap_or(0);
            }
            (node, distances)
        }
        match self.scorer {
            AnyScorer::Codes(scorer) => down(self.graph, &self.view, scorer, self.scratch),
            AnyScorer::Floats(scorer) => down(self.graph, &self.view, scorer, self.scratch),
        }
    }

    /// Searches the graph when few rows are rejected; the candidates are in the scratch.
    fn search_through(&mut self) -> Walked {
        self.walk((MAX_SCORED.0 + MAX_SCORED.1 * self.request.ef) as u64)
    }

    /// Scans or searches the graph, whichever is cheaper, and accepts only matching rows.
    fn search_matching(&mut self, matching: Matching<'_>) -> Walked {
        let share = matching.count as f64 / self.request.rows.len() as f64;
        let scan_costs = matching.count as f64 / SCANNED_FOR_WALKED;
        let search_costs = (WALK_COSTS.0 + WALK_COSTS.1 * self.request.ef as f64) / share.sqrt();
        if scan_costs <= search_costs {
            return self.scan(matching);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let walked = self.walk(scan_costs as u64);
        if !walked.exhausted {
            return walked;
        }
        let scanned = self.scan(matching);
        Walked { scored: walked.scored + scanned.scored, exhausted: false }
    }

    /// Searches all levels; the candidates are in the scratch.
    fn walk(&mut self, max_scored: u64) -> Walked {
        let (start, greedy) = self.descend();
        let Request { k, ef, bound, .. } = self.request;
        let bound = match self.code_error_bound {
            0.0 => u32::MAX,
            code_error_bound => self.graph.quantizer.key_at(bound, self.query_norm, code_error_bound),
        };
        let min_kept = if bound == u32::MAX { ef } else { (ef / MIN_KEPT_DIVISOR).max(k) };
        let (view, accept) = (&self.view, self.accept);
        let beam = Beam { ef, expand: self.expand, min_kept, bound, max_scored };
        let accept =
            |row: u32| accept(Ordinal(row)) || view.duplicates(row).iter().any(|&duplicate| accept(Ordinal(duplicate)));
        let walked = match &self.scorer {
            AnyScorer::Codes(scorer) => beam_search(&view.level_zero(), scorer, self.scratch, start, beam, accept),
            AnyScorer::Floats(scorer) => beam_search(&view.level_zero(), scorer, self.scratch, start, beam, accept),
        };
        Walked { scored: walked.scored + greedy, ..walked }
    }

    /// Scores every matching row; the nearest are in the scratch.
    fn scan(&mut self, matching: Matching<'_>) -> Walked {
        const BATCH: usize = 64;
        // A scan scores duplicates by their own codes; re-ranking also adds them as candidates of their node.
        let keep = SCAN_KEEPS.0.max(SCAN_KEEPS.1 * self.request.ef);
        let mut top: Vec<(u32, u32)> = Vec::with_capacity((2 * keep).min(matching.count));
        let mut worst = u32::MAX;
        let mut scored = 0;
        let mut ready: Vec<u32> = Vec::with_capacity(BATCH);
        let mut coming: Vec<u32> = Vec::with_capacity(BATCH);
        let mut keys = [0; BATCH];
        let mut rows = matching.rows().map(|row| row.0);
        loop {
            coming.clear();
            for row in rows.by_ref().take(BATCH) {
                match &self.scorer {
                    AnyScorer::Codes(scorer) => scorer.prefetch(row),
                    AnyScorer::Floats(scorer) => scorer.prefetch(row),
                }
                coming.push(row);
            }
            let keys = &mut keys[..ready.len()];
            match &self.scorer {
                AnyScorer::Codes(scorer) => scorer.keys(&ready, keys),
                AnyScorer::Floats(scorer) => scorer.keys(&ready, keys),
            }
            scored += ready.len() as u64;
            for (&row, &key) in ready.iter().zip(keys.iter()) {
                if key < worst {
                    top.push((key, row));
                    if top.len() == 2 * keep {
                        top.select_nth_unstable(keep - 1);
                        top.truncate(keep);
                        worst = top.iter().map(|(key, _)| *key).max().unwrap_or(worst);
                    }
                }
            }
            std::mem::swap(&mut ready, &mut coming);
            if ready.is_empty() {
                break;
            }
        }
        top.sort_unstable();
        top.truncate(keep);
        self.scratch.set_accepted(top.into_iter());
        Walked { scored, exhausted: false }
    }

    /// Re-ranks the candidates by the metric's distance on the full vectors and returns the `k` best. Stops at the
    /// first candidate whose squared distance, by its key and the error bound, is beyond the k-th or beyond the bound.
    fn rerank(&self) -> Found {
        let (Request { rows, query, k, bound, check, .. }, view, accept) = (self.request, &self.view, self.accept);
        let quantizer = &self.graph.quantizer;
        let exists = |row: &Ordinal| (row.0 as usize) < rows.len();
        let mut candidates: Vec<(u32, Ordinal)> = Vec::new();
        for (key, row) in self.scratch.accepted() {
            // A candidate that is not accepted itself has an accepted duplicate.
            let duplicates = view.duplicates(row).iter().copied().take(MAX_DUPLICATES.max(k));
            let accepted =
                std::iter::once(row).chain(duplicates).map(Ordinal).filter(exists).filter(|&row| accept(row));
            candidates.extend(accepted.map(|row| (key, row)));
        }
        if !view.duplicate_rows.is_empty() {
            // A damaged file may list a row as the duplicate of several.
            let mut seen = HashSet::with_capacity(candidates.len());
            candidates.retain(|&(_, row)| seen.insert(row));
        }
        let mut top = TopK::new(k);
        let ahead = (LINES_AHEAD / (rows.dimension * rows.vectors.element().bytes() / 64 + 1)).clamp(1, 8);
        for &(_, row) in candidates.iter().take(ahead) {
            rows.row(row).prefetch(LINES_AHEAD);
        }
        let trust = self.code_error_bound * quantizer.scale * quantizer.scale;
        let mut distances = 0;
        for (at, &(key, row)) in candidates.iter().enumerate() {
            let worst = top.worst().min(bound);
            if worst < f32::INFINITY && key as f32 * trust > quantizer.squared(worst, self.query_norm) {
                break;
            }
            if let Some(&(_, ahead)) = candidates.get(at + ahead) {
                rows.row(ahead).prefetch(LINES_AHEAD);
            }
            if !check(row) {
                continue;
            }
            top.push(Neighbor { row, distance: exact::distance(rows, row, query, self.query_norm) });
            distances += 1;
        }
        Found { neighbors: top.into_sorted(), distances }
    }
}
