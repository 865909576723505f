//! Measurement of an index of sparse vectors: stored rows, and random halves of stored rows, are queried for other rows.
//!
//! The place of `ef` is taken by `k` times the effort: [`EFFORT`] divided by the share of the scores that a search leaves
//! out. An index has no links that lead to a stored row, so that a stored row is no easier query than a new one, except by
//! its length: recall falls with the number of components, because each one then has a smaller share of the score. Queries
//! of models are shorter than their documents. On 191,288 paragraphs with 122 components, 1,000 queries with 35 components
//! and 10 hits, at the shares 0.3, 0.4 and 0.5:
//!
//! | queries | recall |
//! | --- | --- |
//! | queries | 0.996, 0.980, 0.941 |
//! | 35 random components of a paragraph | 0.996, 0.977, 0.938 |
//! | the 16 largest components | 1.000, 1.000, 0.998 |
//! | the 64 largest components | 0.998, 0.974, 0.932 |
//! | all components | 0.989, 0.941, 0.871 |
//!
//! Therefore halves stand for new queries up to that length, and whole rows for longer ones.

use super::measure::sample_rows;
use super::{Calibration, Curve, CurvePoint};
use crate::index::Error;
use crate::index::sparse::{ForEachComponent, SparseIndex, SparseQuery};
use crate::math::TopK;
use crate::types::{Neighbor, Ordinal};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// Measured values of `k`. A search for more is exact.
const KS: [u32; 3] = [1, 10, MAX_K];
const MAX_K: u32 = 100;
/// Measured efforts, ascending: shares of 2/3 to 1/10.
const EFFORTS: [u32; 11] = [12, 14, 16, 18, 20, 23, 27, 32, 40, 53, 80];
/// Effort of a search that leaves out everything.
const EFFORT: f32 = 8.0;
/// Last recall of a curve.
const MIN_RECALL: f32 = 0.9995;
/// Number of halves: rows / `SAMPLES_ONE_IN`, but at most as many as a measurement of [`BUDGET`] components (seconds)
/// allows, clamped to `SAMPLES`.
const SAMPLES_ONE_IN: u64 = 10;
const SAMPLES: (u64, u64) = (200, 1_000);
const BUDGET: u64 = 30_000_000_000;
/// Halves per whole row: a whole row takes three times as long.
const HALVES_PER_ROW: usize = 3;
/// Minimum number of whole rows.
const MIN_ROWS: usize = 50;
/// Queries between two calls of the progress callback.
const BATCH: usize = 64;

/// The components of a query.
type Query = Vec<(u32, f32)>;

/// An index with what it was built from.
pub struct SparseSubject<'a, E> {
    /// The index.
    pub index: &'a SparseIndex,
    /// Number of rows.
    pub rows: u32,
    /// Whether a row can be a query and a hit.
    pub accept: &'a (dyn Fn(u32) -> bool + Sync),
    /// Calls back with the components of a row.
    pub vector: &'a (dyn Fn(u32, ForEachComponent<'_>) -> Result<(), E> + Sync),
}

/// Returns the share of the scores that a search for `k` rows leaves out at this `ef`, the effort times `k`.
pub fn omitted_share(ef: u32, k: u32) -> f32 {
    (EFFORT * k as f32 / ef.max(1) as f32).min(1.0)
}

/// Returns the memory that the measurement of an index takes, in bytes: the queries, and the best scores of each. `rows` and
/// `components` are the numbers in the index.
pub fn measure_bytes(rows: u32, components: u64) -> u64 {
    let queries = SAMPLES.1 + SAMPLES.1 / HALVES_PER_ROW as u64;
    // A list may have twice its length reserved.
    let of_query = 2 * size_of::<(u32, f32)>() as u64 * components.div_ceil(u64::from(rows.max(1)));
    queries * (of_query + 4 * u64::from(MAX_K))
}

/// Whether a table covers searches for `k` rows.
pub fn covers(k: u64) -> bool {
    k <= MAX_K.into()
}

impl<E: From<Error> + Send> SparseSubject<'_, E> {
    /// Measures the recall. The same seed selects the same rows. `progress` receives (steps done, all steps) and returns
    /// false to cancel. Returns none if too few rows can be queries.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; those of `vector`.
    pub fn measure(&self, seed: u64, progress: &dyn Fn(u64, u64) -> bool) -> Result<Option<Calibration>, E> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let affordable = BUDGET / self.index.components().max(1);
        let count = (u64::from(self.rows) / SAMPLES_ONE_IN).min(affordable).clamp(SAMPLES.0, SAMPLES.1) as usize;
        let usable = |row: Ordinal| {
            (self.accept)(row.0)
                && self.components(row.0).is_ok_and(|query| query.len() > 1 && SparseQuery::new(query).is_indexable())
        };
        let sampled = sample_rows(self.rows, count, &mut rng, usable);
        let whole = &sampled[..sampled.len() / HALVES_PER_ROW];
        if whole.len() < MIN_ROWS {
            return Ok(None);
        }
        let of_rows = |rows: &[Ordinal]| -> Result<Vec<(u32, Query)>, E> {
            rows.iter().map(|row| Ok((row.0, self.components(row.0)?))).collect()
        };
        let (mut halves, whole) = (of_rows(&sampled)?, of_rows(whole)?);
        for (_, query) in &mut halves {
            // Fisher-Yates shuffle, as far as needed.
            let half = query.len().div_ceil(2);
            for at in 0..half {
                let other = rng.random_range(at..query.len());
                query.swap(at, other);
            }
            query.truncate(half);
        }
        let total = ((halves.len() + whole.len()) * (1 + KS.len() * EFFORTS.len())) as u64;
        let mut done = 0;
        let mut step = |count: usize| {
            done += count as u64;
            if progress(done, total) { Ok(()) } else { Err(Error::Cancelled { done, total }) }
        };
        let samples = halves.len() as u32;
        let (new, stored) = (self.curves(&halves, &mut step)?, self.curves(&whole, &mut step)?);
        let table = Calibration::new(samples, new, stored);
        Ok(Some(table.map_err(|what| Error::Corrupt { path: "a calibration".into(), what })?))
    }

    fn components(&self, row: u32) -> Result<Query, E> {
        let mut query = Vec::new();
        (self.vector)(row, &mut |index, value| query.push((index, value)))?;
        Ok(query)
    }

    fn curves(
        &self,
        queries: &[(u32, Query)],
        step: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Vec<Curve>, E> {
        let mut truth: Vec<Vec<f32>> = Vec::with_capacity(queries.len());
        for batch in queries.chunks(BATCH) {
            let found = batch.par_iter().map(|query| self.scores(query, MAX_K, 0.0));
            truth.extend(found.collect::<Result<Vec<_>, E>>()?);
            step(batch.len())?;
        }
        let mut curves = Vec::new();
        for k in KS {
            let mut points: Vec<CurvePoint> = Vec::new();
            for effort in EFFORTS {
                if points.last().is_some_and(|point| point.recall >= MIN_RECALL) {
                    step(queries.len())?;
                    continue;
                }
                let ef = effort * k;
                let mut recalls = Vec::with_capacity(queries.len());
                for (batch, truth) in queries.chunks(BATCH).zip(truth.chunks(BATCH)) {
                    let found = batch.par_iter().zip(truth).map(|(query, truth)| {
                        let found = self.scores(query, k, omitted_share(ef, k))?;
                        Ok(recall(&found, &truth[..truth.len().min(k as usize)]))
                    });
                    recalls.extend(found.collect::<Result<Vec<f64>, E>>()?);
                    step(batch.len())?;
                }
                points.push(CurvePoint::of(&recalls, k, ef));
            }
            curves.push(Curve { k, points });
        }
        Ok(curves)
    }

    /// Returns the scores of the `k` best rows other than the row of the query, descending.
    fn scores(&self, (own, query): &(u32, Query), k: u32, omitted: f32) -> Result<Vec<f32>, E> {
        let (query, mut top) = (SparseQuery::new(query.iter().copied()), TopK::new(k as usize));
        let exact = |row: u32| {
            let mut sum = 0.0_f64;
            (self.vector)(row, &mut |index, value| sum += f64::from(query.at(index)) * f64::from(value))?;
            Ok::<f32, E>(sum as f32)
        };
        let allowed = |row: u32| row != *own && (self.accept)(row);
        self.index.search(&query, &mut top, &allowed, &exact, &|| false, k as usize, omitted)?;
        Ok(top.into_sorted().iter().map(|Neighbor { distance, .. }| -distance).collect())
    }
}

/// Returns the share of the best scores that were found. A row with the last of them counts: equal rows are
/// interchangeable.
fn recall(found: &[f32], truth: &[f32]) -> f64 {
    let Some(worst) = truth.last() else { return 1.0 };
    let hits = found.iter().filter(|score| *score >= worst).count();
    hits.min(truth.len()) as f64 / truth.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::sparse::tests::{Vectors, open, publish};
    use std::collections::BTreeMap;

    const ROWS: usize = 4_000;

    /// Vectors of some of 50 topics, with `most` components or fewer.
    fn vectors(rng: &mut Xoshiro256PlusPlus, count: usize, most: usize) -> Vectors {
        let vector = |rng: &mut Xoshiro256PlusPlus| -> BTreeMap<u32, f32> {
            let topic = rng.random_range(0..50);
            let count = rng.random_range(most / 2..=most);
            let mut component = || {
                let index = 2_000_f64.powf(rng.random::<f64>()) as u32;
                let own = rng.random_range(0..2) == 0;
                let weight = 3.0_f32.powf(rng.random_range(-2.0..1.0)) * if own { 1.5 } else { 1.0 };
                (if own { 2_000 + 60 * topic + index % 60 } else { index }, weight)
            };
            (0..count).map(|_| component()).collect()
        };
        (0..count).map(|_| vector(rng)).collect()
    }

    fn measured(stored: &Vectors, dir: &std::path::Path) -> (SparseIndex, Option<Calibration>) {
        assert!(publish(dir, stored, u64::MAX));
        let index = open(dir, 7, stored.len()).unwrap();
        let vector = |row: u32, each: ForEachComponent<'_>| {
            stored[row as usize].iter().for_each(|(index, value)| each(*index, *value));
            Ok::<(), Error>(())
        };
        let subject = SparseSubject { index: &index, rows: stored.len() as u32, accept: &|_| true, vector: &vector };
        let table = subject.measure(1, &|done, total| done <= total).unwrap();
        let cancelled = subject.measure(1, &|_, _| false);
        assert!(matches!(cancelled, Err(Error::Cancelled { .. })) || table.is_none());
        (index, table)
    }

    #[test]
    fn new_queries_reach_their_target() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let stored = vectors(&mut rng, ROWS, 80);
        let (index, table) = measured(&stored, dir.path());
        let table = table.unwrap();
        for (most, long) in [(20, false), (40, false), (80, true)] {
            let queries: Vec<SparseQuery> = vectors(&mut rng, 150, most).into_iter().map(SparseQuery::new).collect();
            for (k, target) in [(1, 0.9), (10, 0.9), (10, 0.97), (40, 0.95)] {
                let ef = if long { table.stored_ef_for(target, k) } else { table.ef_for(target, k) }.unwrap();
                let expected = if long { table.stored(ef, k) } else { table.expected(ef, k) };
                let (mut sum, mut fewer) = (0.0, 0);
                for query in &queries {
                    let scores = |omitted: f32| {
                        let mut top = TopK::new(k as usize);
                        let exact = |row: u32| {
                            let products = stored[row as usize].iter().map(|(index, value)| query.at(*index) * value);
                            Ok::<f32, Error>(products.sum())
                        };
                        let search = index.search(query, &mut top, &|_| true, &exact, &|| false, k as usize, omitted);
                        search.unwrap();
                        top.into_sorted().iter().map(|neighbor| -neighbor.distance).collect::<Vec<f32>>()
                    };
                    let (found, best) = (scores(omitted_share(ef, k)), scores(0.0));
                    sum += recall(&found, &best);
                    fewer += usize::from(found != best);
                }
                let reached = sum / queries.len() as f64;
                assert!(
                    expected >= target && reached >= f64::from(target) - 0.01,
                    "{most}, {k}: {reached} of {target}"
                );
                assert!(fewer > 0, "{most}, {k}, {target}: everything was found");
            }
            assert_eq!(table.ef_for(1.0, 10), None, "only an exact search finds everything");
        }
    }

    #[test]
    fn the_share_follows_from_the_effort() {
        assert_eq!((omitted_share(160, 10), omitted_share(16, 1), omitted_share(1, 10)), (0.5, 0.5, 1.0));
        assert!(covers(100) && !covers(101));
        assert_eq!(
            (recall(&[3.0, 2.0], &[3.0, 2.5, 2.0]), recall(&[3.0, 3.0], &[3.0]), recall(&[], &[])),
            (2.0 / 3.0, 1.0, 1.0)
        );
    }

    #[test]
    fn few_rows_have_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let stored = vectors(&mut Xoshiro256PlusPlus::seed_from_u64(12), 100, 20);
        assert!(measured(&stored, dir.path()).1.is_none());
    }
}
