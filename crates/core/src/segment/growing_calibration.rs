//! Recall of a growing segment's graph, measured on rows held out of it.
//!
//! A few rows, chosen by the hash of their number, stay in the tail that every search scans, so they are valid as new
//! queries. Each time the graph has grown by half, they are searched again and its calibration table is replaced.
//! Before the first measurement the recall is unknown; between two measurements the table may be slightly too high.

use super::growing::{CALIBRATED_FROM_ROWS, Growing, HELD_OUT};
use crate::api::Error;
use crate::index::calibration::{Calibration, Curve, CurvePoint};
use crate::index::{Rows, exact};
use crate::math::{self, TopK};
use crate::sync::Arc;
use crate::types::{Neighbor, Ordinal};
use std::collections::HashSet;
use std::sync::PoisonError;

/// Stored rows used as queries.
const STORED: usize = 64;
/// A measurement is repeated when the graph has grown by 1 / `REPEAT_DIVISOR`.
const REPEAT_DIVISOR: u32 = 2;
/// Values of k measured, and the maximum `ef`, which doubles from k.
const KS: [u32; 3] = [1, 10, 100];
const MAX_EF: u32 = 1_024;
/// Recall at which a curve ends.
const MIN_RECALL: f32 = 0.9995;
/// Vector components compared per lock acquisition.
const COMPONENTS_PER_LOCK: usize = 1 << 15;

/// A query, its own row if that is in the graph, and the distances of its nearest rows.
struct SampleQuery {
    vector: Vec<f32>,
    norm: f32,
    own: Option<u32>,
    nearest: Vec<f32>,
}

impl Growing {
    /// Returns the calibration of the graph; none before the first measurement.
    pub(crate) fn calibration(&self) -> Option<Arc<Calibration>> {
        self.measured.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, table)| table.clone())
    }

    /// Measures the graph if it has grown enough since the last time. Returns whether it did. Stops if `go_on`, called
    /// periodically, returns false.
    ///
    /// # Errors
    /// Those of the index.
    pub(crate) fn measure(&self, go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
        let indexed = self.indexed_rows();
        let before = self.measured.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |(rows, _)| *rows);
        if indexed < CALIBRATED_FROM_ROWS || indexed < before + before / REPEAT_DIVISOR {
            return Ok(false);
        }
        let (mut held, mut stored, outside) = {
            let table = self.read();
            let outside: HashSet<u32> = table.outside().collect();
            let rows = self.rows(&table);
            let query = |row: u32, own: Option<u32>| {
                let vector = rows.row(Ordinal(row)).to_floats().into_owned();
                SampleQuery { norm: math::norm(&vector), vector, own, nearest: Vec::new() }
            };
            let held: Vec<SampleQuery> =
                table.held_out.iter().filter(|&&row| !table.dead[row as usize]).map(|&row| query(row, None)).collect();
            let step = (indexed as usize / STORED).max(1);
            let in_graph = |row: &u32| !table.dead[*row as usize] && !outside.contains(row);
            let stored: Vec<SampleQuery> =
                (0..indexed).step_by(step).filter(in_graph).map(|row| query(row, Some(row))).collect();
            (held, stored, outside)
        };
        if held.len() < HELD_OUT as usize / 4 || stored.is_empty() {
            return Ok(false);
        }
        for queries in [&mut held, &mut stored] {
            if !self.find_nearest(queries, indexed, &outside, go_on) {
                return Ok(false);
            }
        }
        let (Some(new), Some(of_stored)) = (self.curves(&held, indexed, go_on)?, self.curves(&stored, indexed, go_on)?)
        else {
            return Ok(false);
        };
        if let Ok(table) = Calibration::new(held.len() as u32, new, of_stored) {
            *self.measured.write().unwrap_or_else(PoisonError::into_inner) = Some((indexed, Arc::new(table)));
        }
        Ok(true)
    }

    /// Computes the distances of the graph's nearest rows to each query. Returns false if cancelled.
    fn find_nearest(
        &self,
        queries: &mut [SampleQuery],
        indexed: u32,
        outside: &HashSet<u32>,
        go_on: &dyn Fn() -> bool,
    ) -> bool {
        let k = KS[KS.len() - 1] as usize;
        let mut tops = vec![TopK::new(k); queries.len()];
        let step = (COMPONENTS_PER_LOCK / self.dimension.max(1)).max(1);
        for from in (0..indexed).step_by(step) {
            if !go_on() {
                return false;
            }
            let table = self.read();
            let rows: Rows<'_> = self.rows(&table);
            let until = indexed.min(from + step as u32);
            let is_there = |row: &u32| !table.dead[*row as usize] && !outside.contains(row);
            let accepted: Vec<u32> = (from..until).filter(is_there).collect();
            for (query, top) in queries.iter().zip(&mut tops) {
                for &row in accepted.iter().filter(|&&row| Some(row) != query.own) {
                    let row = Ordinal(row);
                    top.push(Neighbor { row, distance: exact::distance(rows, row, &query.vector, query.norm) });
                }
            }
        }
        for (query, top) in queries.iter_mut().zip(tops) {
            query.nearest = top.into_sorted().iter().map(|neighbor| neighbor.distance).collect();
        }
        true
    }

    /// Measures recall by `ef` for each of [`KS`]. Returns none if cancelled.
    fn curves(
        &self,
        queries: &[SampleQuery],
        indexed: u32,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Curve>>, Error> {
        let mut curves = Vec::new();
        for k in KS {
            let (mut points, mut ef) = (Vec::new(), k);
            while ef <= MAX_EF && ef <= indexed / 2 {
                let mut recalls = Vec::with_capacity(queries.len());
                for query in queries {
                    if !go_on() {
                        return Ok(None);
                    }
                    recalls.push(self.recall(query, k as usize, ef as usize, indexed)?);
                }
                points.push(CurvePoint::of(&recalls, k, ef));
                if points.last().is_some_and(|point| point.recall >= MIN_RECALL) {
                    break;
                }
                ef *= 2;
            }
            curves.push(Curve { k, points });
        }
        Ok(Some(curves))
    }

    fn recall(&self, query: &SampleQuery, k: usize, ef: usize, indexed: u32) -> Result<f64, Error> {
        let truth = &query.nearest[..query.nearest.len().min(k)];
        let (Some(&worst), Some(graph)) = (truth.last(), self.graph()) else { return Ok(1.0) };
        let table = self.read();
        let accept = |row: Ordinal| row.0 < indexed && !table.dead[row.0 as usize];
        let found = graph.search(self.rows(&table), &query.vector, k + usize::from(query.own.is_some()), ef, accept)?;
        let found = found.neighbors.iter().filter(|found| Some(found.row.0) != query.own && found.distance <= worst);
        Ok(found.count().min(truth.len()) as f64 / truth.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::GraphParams;
    use crate::segment::growing::NewRow;
    use crate::segment::growing::is_held_out;
    use crate::types::{Metric, PointId};
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    const DIMENSION: usize = 24;

    fn vector(rng: &mut StdRng) -> Vec<f32> {
        (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// Returns a segment whose graph has all rows except the held-out ones.
    fn grown(metric: Metric, rows: u32) -> (Growing, StdRng) {
        let mut rng = StdRng::seed_from_u64(u64::from(rows));
        let growing = Growing::new(DIMENSION as u32, metric, GraphParams::new(8, 40, 1, 1).unwrap(), 20_000);
        let row = |row: u32, vector| NewRow {
            key: row.into(),
            id: PointId::new(format!("p{row}")).unwrap(),
            vector,
            body: Box::default(),
        };
        for first in (0..rows).step_by(1_000) {
            growing.append((first..(first + 1_000).min(rows)).map(|number| row(number, vector(&mut rng))));
            while growing.index_step().unwrap() {}
        }
        (growing, rng)
    }

    #[test]
    fn rows_are_held_out_by_halves() {
        let held = |rows: u32| (0..rows).filter(|&row| is_held_out(row, rows)).count();
        for rows in [5_000, 10_000, 40_000, 1_000_000] {
            assert!((HELD_OUT as usize / 3..=HELD_OUT as usize + 32).contains(&held(rows)), "{} of {rows}", held(rows));
        }
        assert!(
            (0..9_000).all(|row| is_held_out(row, 10_000) || !is_held_out(row, 20_000)),
            "a released row is never held out again"
        );
    }

    #[test]
    fn the_measured_recall_holds_for_new_queries_and_held_out_rows_are_found() {
        for metric in Metric::ALL {
            let (growing, mut rng) = grown(metric, 12_000);
            assert!(growing.calibration().is_none());
            assert!(!growing.measure(&|| false).unwrap() && growing.calibration().is_none(), "it was cancelled");
            assert!(growing.measure(&|| true).unwrap());
            assert!(!growing.measure(&|| true).unwrap(), "it has not grown since");
            let table = growing.calibration().unwrap();
            let queries: Vec<Vec<f32>> = (0..300).map(|_| vector(&mut rng)).collect();
            for ef in [10, 40] {
                let recall = |query: &Vec<f32>| {
                    let truth = growing.search(query, 10, None, f32::INFINITY, None).unwrap().neighbors;
                    let found = growing.search(query, 10, Some(ef), f32::INFINITY, None).unwrap();
                    assert!(found.by_graph);
                    let rows: std::collections::HashSet<u32> = found.neighbors.iter().map(|hit| hit.row.0).collect();
                    assert_eq!(rows.len(), 10, "no row twice");
                    found.neighbors.iter().filter(|hit| hit.distance <= truth[9].distance).count() as f64 / 10.0
                };
                let reached = queries.iter().map(recall).sum::<f64>() / 300.0;
                let expected = f64::from(table.expected(ef, 10));
                assert!((reached - expected).abs() < 0.06, "{metric} ef {ef}: {reached} reached, {expected} expected");
                assert!(reached < 0.999, "too easy to measure: {reached}");
            }
            let held: Vec<u32> = growing.read().held_out.clone();
            assert!(held.len() > 40 && held.iter().all(|&row| is_held_out(row, 12_000)), "{}", held.len());
            for row in held {
                let vector = growing.read().vector(row, DIMENSION).to_vec();
                let found = growing.search(&vector, 10, Some(10), f32::INFINITY, None).unwrap();
                assert!(metric == Metric::Dot || found.neighbors[0].row.0 == row, "row {row} is scanned");
            }
        }
    }
}
