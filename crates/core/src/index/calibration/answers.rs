//! Batched answers: exact ones by one shared scan, and the recall of a graph against them.

use super::{Curve, CurvePoint};
use crate::index::hnsw::Graph;
use crate::index::{Error, Rows, exact};
use crate::math::{self, TopK};
use crate::types::{Neighbor, Ordinal};
use rayon::prelude::*;

/// Measured values of `k`.
pub(super) const KS: [u32; 5] = [1, 3, 10, 30, 100];
/// First `ef` of a curve: `k / EF_DIVISOR`, rounded up.
const EF_DIVISOR: u32 = 4;
/// Growth factor from one `ef` to the next.
const GROWTH: f64 = 1.35;
/// Last recall and last `ef` of a curve. A curve also ends where the graph would compare every row.
const MIN_RECALL: f32 = 0.9995;
const MAX_EF: u32 = 4_096;
/// Queries per pass over the vectors; the measurement can be cancelled after each pass.
const QUERIES_PER_PASS: usize = 128;
/// Bytes of a block of rows, which is compared with all queries before the next block, so that it stays in the cache.
const BLOCK_BYTES: usize = 128 << 10;

/// Filter of the rows that a search may return.
pub(super) type Accept<'a> = &'a (dyn Fn(Ordinal) -> bool + Sync);

/// A query of a measurement.
pub(super) struct SampleQuery {
    pub(super) vector: Vec<f32>,
    /// Row that is the query itself, excluded from its own answer.
    pub(super) own: Option<Ordinal>,
}

/// Measured graph, over its accepted rows.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) graph: &'a Graph,
    pub(super) accept: Accept<'a>,
}

/// Progress callback: the number of additional queries answered. An error cancels.
pub(super) type Step<'a> = &'a mut dyn FnMut(usize) -> Result<(), Error>;

/// Progress steps of [`Subject::curves`] per query.
pub(super) const STEPS: usize = 1 + KS.len();

impl Subject<'_> {
    /// Measures recall by `ef` for each of [`KS`], as far as the number of rows allows.
    pub(super) fn curves(&self, queries: &[SampleQuery], step: Step<'_>) -> Result<Vec<Curve>, Error> {
        let mut truth: Vec<Vec<f32>> = Vec::with_capacity(queries.len());
        for batch in queries.chunks(QUERIES_PER_PASS) {
            truth.extend(self.nearest(batch, KS[KS.len() - 1] as usize));
            step(batch.len())?;
        }
        let mut curves = Vec::new();
        for k in KS {
            let mut points = Vec::new();
            let mut ef = k.div_ceil(EF_DIVISOR);
            while ef <= MAX_EF && ef as usize <= self.rows.len() / 2 {
                let recalls: Vec<f64> =
                    queries.par_iter().zip(&truth).map(|(query, truth)| self.recall(query, truth, k, ef)).collect();
                points.push(CurvePoint::of(&recalls, k, ef));
                if points.last().is_some_and(|point| point.recall >= MIN_RECALL) {
                    break;
                }
                step(0)?;
                ef = (ef + 1).max((f64::from(ef) * GROWTH) as u32);
            }
            if !points.is_empty() {
                curves.push(Curve { k, points });
            }
            step(queries.len())?;
        }
        Ok(curves)
    }

    /// Returns the share of the `k` nearest rows that the graph finds. A row as near as the k-th counts: equal rows are
    /// interchangeable.
    fn recall(&self, query: &SampleQuery, truth: &[f32], k: u32, ef: u32) -> f64 {
        let truth = &truth[..truth.len().min(k as usize)];
        let Some(&worst) = truth.last() else { return 1.0 };
        let k = (k + u32::from(query.own.is_some())) as usize;
        let found = self.graph.search(self.rows, &query.vector, k, ef as usize, f32::INFINITY, self.accept).neighbors;
        let hits =
            found.iter().filter(|neighbor| Some(neighbor.row) != query.own && neighbor.distance <= worst).count();
        hits.min(truth.len()) as f64 / truth.len() as f64
    }

    /// Returns the distances of the `k` nearest accepted rows of each query, ascending. A parallel scan of all rows
    /// compares each block of rows with all queries before the next block.
    fn nearest(&self, queries: &[SampleQuery], k: usize) -> Vec<Vec<f32>> {
        let Self { rows, accept, .. } = *self;
        let norms: Vec<f32> = queries.iter().map(|query| math::norm(&query.vector)).collect();
        let n = rows.len();
        let part = n.div_ceil(rayon::current_num_threads().max(1)).max(1);
        let block = (BLOCK_BYTES / (4 * rows.dimension.max(1))).max(1);
        let parts: Vec<Vec<TopK>> = (0..n)
            .into_par_iter()
            .step_by(part)
            .map(|from| {
                let mut tops = vec![TopK::new(k); queries.len()];
                let until = n.min(from + part);
                for from in (from..until).step_by(block) {
                    let block = (from..until.min(from + block)).map(|row| Ordinal(row as u32));
                    let accepted: Vec<Ordinal> = block.filter(|&row| accept(row)).collect();
                    for ((query, &norm), top) in queries.iter().zip(&norms).zip(&mut tops) {
                        for &row in &accepted {
                            let distance = exact::distance(rows, row, &query.vector, norm);
                            if distance <= top.worst() && Some(row) != query.own {
                                top.push(Neighbor { row, distance });
                            }
                        }
                    }
                }
                tops
            })
            .collect();
        let mut answers: Vec<Vec<f32>> = vec![Vec::new(); queries.len()];
        for tops in parts {
            for (answer, top) in answers.iter_mut().zip(tops) {
                answer.extend(top.into_sorted().iter().map(|neighbor| neighbor.distance));
            }
        }
        for answer in &mut answers {
            answer.sort_unstable_by(f32::total_cmp);
            answer.truncate(k);
        }
        answers
    }
}
