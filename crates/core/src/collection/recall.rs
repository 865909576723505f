//! Recall measurement of a live collection, and detection of drift from the calibration tables.
//!
//! Queries are stored points, which are excluded from their own results. Each is searched once with the given accuracy
//! and once exactly. A stored point is an easier query than a new one, because the graph leads to it: the measured
//! recall is compared with the tables' curve for stored points, and the expectation for new queries is read from the
//! other curve.

use super::resolve::{Resolved, ResolvedQuery};
use super::search::{self, Part, SegmentRef};
use super::state::Collection;
use super::view::View;
use crate::api::{CancellationToken, Error, RecallParams, RecallReport, SearchParams, SegmentRecall, limits};
use crate::index::calibration::sample_rows;
use crate::payload::Selections;
use crate::segment::sealed::Sealed;
use crate::segment::search_budget;
use crate::types::{Ordinal, PointId};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Tolerated difference between measured and tabulated recall, beyond the confidence interval of the measurement.
const TOLERANCE: f64 = 0.02;
/// Normal quantile of a two-sided 95 % interval.
const CONFIDENCE: f64 = 1.96;

/// Measurement of one sampled point.
struct Sample {
    recall: f64,
    /// From the tables: for a stored point and for a new query.
    stored: Option<f64>,
    expected: Option<f32>,
    search: Duration,
    exact: Duration,
    /// For each sealed segment: (true neighbours in it that were found, true neighbours in it).
    segments: HashMap<u64, (u64, u64)>,
}

impl Collection {
    pub(crate) fn measure_recall(&self, params: &RecallParams) -> Result<RecallReport, Error> {
        self.noting_damage(|| self.measure_recall_once(params))
    }

    fn measure_recall_once(&self, params: &RecallParams) -> Result<RecallReport, Error> {
        let search = SearchParams::new(params.k).accuracy(params.accuracy);
        let budget = search_budget::validate(&search, self.settings.ef_search)?;
        limits::samples(params.samples)?;
        self.ensure_vectors("collection")?;
        let view = self.view();
        view.ensure_intact(&self.name())?;
        let seed = if params.seed == 0 { self.commit_queue.sequence() + 1 } else { params.seed };
        let points = sample_points(&view, params.samples as usize, seed);
        let exactly = crate::segment::search_budget::SearchBudget::Exact;
        let one = |id: &PointId| -> Result<Option<Sample>, Error> {
            // The point may have been deleted since it was sampled.
            let Ok(vector) = self.stored_vector(&view, id) else { return Ok(None) };
            let query = ResolvedQuery::Vector(Resolved { vector, exclude: vec![id.clone()] });
            let truth = self.answer(&view, &query, &search, exactly, &Selections::default())?;
            let Some(worst) = truth.hits.last().map(|hit| hit.distance) else { return Ok(None) };
            let answer = self.answer(&view, &query, &search, budget, &Selections::default())?;
            let found = answer.hits.iter().filter(|hit| hit.distance <= worst).count().min(truth.hits.len());
            let mut segments: HashMap<u64, (u64, u64)> = HashMap::new();
            for hit in &truth.hits {
                let Some(super::view::RowLocation::Sealed(sealed, _)) = view.locate(&hit.point.id) else { continue };
                let (found, of) = segments.entry(sealed.segment.id().0).or_default();
                *found += u64::from(answer.hits.iter().any(|other| other.point.id == hit.point.id));
                *of += 1;
            }
            Ok(Some(Sample {
                recall: found as f64 / truth.hits.len() as f64,
                stored: self.stored_expectation(&view, params.k, budget),
                expected: answer.stats.expected_recall,
                search: answer.stats.search_time,
                exact: truth.stats.search_time,
                segments,
            }))
        };
        let stop = CancellationToken::current();
        let one = |id: &PointId| stop.run(|| one(id));
        let samples: Vec<Sample> =
            points.par_iter().map(one).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let interval = Interval::of(&samples.iter().map(|sample| sample.recall).collect::<Vec<_>>());
        let mean = |values: Option<Vec<f64>>| {
            values.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
        };
        let stored = mean(samples.iter().map(|sample| sample.stored).collect());
        let expected = mean(samples.iter().map(|sample| sample.expected.map(f64::from)).collect());
        let recalibrating = stored.is_some_and(|stored| self.drifted(&view, &interval, stored));
        if recalibrating {
            for sealed in view.sealed.iter().filter(|sealed| sealed.graph().is_some()) {
                sealed.recalibrate.store(true, Ordering::Relaxed);
            }
        }
        let parts = search::sources(&view, None, params.k as usize + 1);
        let hits_of = |sealed: &Arc<Sealed>, k: usize| {
            parts.iter().find(|part| part.source.is(&SegmentRef::Sealed(sealed))).map_or(k, |part| part.hits) as u32
        };
        let segments = view
            .sealed
            .iter()
            .map(|sealed| {
                let id = sealed.segment.id().0;
                let hits = hits_of(sealed, params.k as usize + 1);
                let ef = budget.of_part(hits as usize, params.k as usize + 1).sealed(sealed, hits);
                let table = sealed.calibration();
                let (found, of) = samples
                    .iter()
                    .filter_map(|sample| sample.segments.get(&id))
                    .fold((0, 0), |(found, of), part| (found + part.0, of + part.1));
                SegmentRecall {
                    segment: id,
                    ef_used: ef.as_ref().map_or(0, |(_, ef)| *ef),
                    found,
                    of,
                    calibrated_on: table.as_ref().map_or(0, |table| table.samples()),
                    expected: ef.zip(table).map(|((_, ef), table)| table.expected(ef, hits)),
                }
            })
            .collect();
        let count = samples.len().max(1) as u32;
        Ok(RecallReport {
            samples: samples.len() as u32,
            recall: interval.mean,
            low: interval.low,
            high: interval.high,
            stored_expected: stored,
            expected,
            search_time: samples.iter().map(|sample| sample.search).sum::<Duration>() / count,
            exact_time: samples.iter().map(|sample| sample.exact).sum::<Duration>() / count,
            recalibrating,
            segments,
        })
    }

    /// Expected recall of stored points by the tables, weighted as in
    /// [`ExpectedRecall`](crate::segment::search_budget::ExpectedRecall).
    fn stored_expectation(
        &self,
        view: &View,
        k: u32,
        budget: crate::segment::search_budget::SearchBudget,
    ) -> Option<f64> {
        let mut expectation = crate::segment::search_budget::ExpectedRecall::default();
        for Part { source, hits, .. } in search::sources(view, None, k as usize + 1) {
            let (rows, recall) = match source {
                SegmentRef::Sealed(sealed) => {
                    let ef = budget.of_part(hits, k as usize + 1).sealed(sealed, hits as u32);
                    let of_table = |(_, ef)| sealed.calibration().map(|table| table.stored(ef, (hits as u32).min(k)));
                    (sealed.live_rows().into(), ef.map_or(Some(1.0), of_table))
                }
                SegmentRef::Growing(growing) => {
                    let ef = budget.growing(growing, k + 1, k + 1).filter(|_| growing.graph().is_some());
                    let of_table = |ef| growing.calibration().map(|table| table.stored(ef, k));
                    (growing.live(), ef.map_or(Some(1.0), of_table))
                }
            };
            expectation.add(rows, recall);
        }
        expectation.recall().map(f64::from)
    }

    /// Whether the measured recall differs from the tables. Over several segments the tables underestimate recall (each
    /// is searched for all k and has only a part of them), so that only a lower measurement counts.
    fn drifted(&self, view: &View, measured: &Interval, stored: f64) -> bool {
        let several = view.sealed.iter().filter(|sealed| sealed.live_rows() > 0).count() > 1;
        measured.high < stored - TOLERANCE || !several && measured.low > stored + TOLERANCE
    }
}

/// A mean with its confidence interval.
struct Interval {
    mean: f64,
    low: f64,
    high: f64,
}

impl Interval {
    /// Interval of recalls. Without any, the mean is 1 and the interval 0 to 1. A pseudo-measurement at half the mean
    /// is added to the variance, so that the interval of equal values does not shrink to zero.
    fn of(recalls: &[f64]) -> Self {
        if recalls.is_empty() {
            return Self { mean: 1.0, low: 0.0, high: 1.0 };
        }
        let n = recalls.len() as f64;
        let mean = recalls.iter().sum::<f64>() / n;
        let squares = recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() + 0.25 * mean * mean;
        let half = CONFIDENCE * (squares / n / n).sqrt();
        Self { mean, low: (mean - half).max(0.0), high: (mean + half).min(1.0) }
    }
}

/// Samples ids of live points, from each segment in proportion to its rows.
fn sample_points(view: &View, count: usize, seed: u64) -> Vec<PointId> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let sources: Vec<(SegmentRef<'_>, u64)> = view
        .sealed
        .iter()
        .filter(|sealed| sealed.has_vectors())
        .map(|sealed| (SegmentRef::Sealed(sealed), u64::from(sealed.live_rows())))
        .chain(view.growing_newest_first().map(|growing| (SegmentRef::Growing(growing), growing.live())))
        .collect();
    let live: u64 = sources.iter().map(|(_, live)| live).sum();
    let mut shares = vec![0_usize; sources.len()];
    for _ in 0..count.min(usize::try_from(live).unwrap_or(usize::MAX)) {
        let mut at = rng.random_range(0..live);
        for (share, (_, live)) in shares.iter_mut().zip(&sources) {
            if at < *live {
                *share += 1;
                break;
            }
            at -= live;
        }
    }
    let mut points = Vec::with_capacity(count);
    for ((source, _), share) in sources.iter().zip(shares) {
        match source {
            SegmentRef::Sealed(sealed) => {
                let rows = sample_rows(sealed.segment.rows(), share, &mut rng, |row: Ordinal| sealed.is_live(row));
                points.extend(rows.into_iter().filter_map(|row| PointId::new(sealed.segment.point_id(row)).ok()));
            }
            SegmentRef::Growing(growing) => {
                let table = growing.read();
                let rows = sample_rows(table.rows(), share, &mut rng, |row| table.is_searched(row.0));
                points.extend(rows.into_iter().map(|row| table.ids[row.0 as usize].clone()));
            }
        }
    }
    points
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::collection::bulk::OnConflict;
    use crate::collection::compaction::Step;
    use crate::index::calibration::{Calibration, Curve, CurvePoint};

    /// Owner of the collections of these tests.
    const OWNER: crate::store::Owner =
        crate::store::Owner { directory: crate::types::Identity([1; 16]), collection: crate::types::Identity([2; 16]) };

    /// Creates a collection without points.
    pub(crate) fn empty(dir: &std::path::Path, dimension: u32, seal_rows: u32) -> Collection {
        drop(crate::store::CollectionDb::create(&crate::disk::real_fs(), dir, OWNER).unwrap());
        opened(dir, dimension, seal_rows, std::sync::Arc::default())
    }

    /// Opens the collection in that folder.
    pub(crate) fn opened(
        dir: &std::path::Path,
        dimension: u32,
        seal_rows: u32,
        meters: std::sync::Arc<crate::collection::meters::Meters>,
    ) -> Collection {
        let record = crate::store::CollectionRecord {
            name: crate::types::CollectionName::new("c").unwrap(),
            dimension,
            metric: crate::types::Metric::L2,
            embedder: None,
            m: 8,
            ef_construction: 60,
            ef_search: 30,
            seal_rows,
            precision: crate::types::Precision::F32,
            text_fields: Vec::new(),
            vector_fields: Vec::new(),
            next_field: 1,
            optional_vectors: false,
            ttl: None,
            tenant: None,
        };
        let fs = crate::disk::real_fs();
        let crate::store::Owner { directory, collection } = OWNER;
        let home = crate::store::CollectionDir {
            path: dir.into(),
            orphans: dir.join("orphans"),
            directory,
            collection: Some(collection),
            catalog: "catalogue.redb".into(),
        };
        Collection::open(&fs, &record, &home, &crate::embed::Registry::default(), meters).unwrap()
    }

    /// Creates a collection of random points with a calibrated graph.
    pub(crate) fn collection(dir: &std::path::Path) -> Collection {
        let collection = empty(dir, 16, 50_000);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        let mut items = (0..4_000).map(|at| crate::api::Item {
            id: PointId::new(format!("p{at}")).unwrap(),
            source: crate::api::PointInput::Vector((0..16).map(|_| rng.random_range(-1.0..1.0)).collect()),
            payload: crate::api::Payload::new(),
            vectors: Default::default(),
        });
        collection.bulk_load(&mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true).unwrap();
        collection.compact(&|_, _, _| true).unwrap();
        collection
    }

    /// A table with this recall for stored points and for new queries.
    fn saying(recall: f32) -> Calibration {
        let curve = Curve { k: 10, points: vec![CurvePoint { ef: 10, recall, error: 0.001 }] };
        Calibration::new(300, vec![curve.clone()], vec![curve]).unwrap()
    }

    #[test]
    fn an_outdated_table_is_measured_again() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        let sealed = collection.view().sealed[0].clone();
        // An ef at which recall is far enough below 0.999 for any insertion order of the threads.
        const EF: u32 = 11;
        let params = RecallParams { samples: 300, k: 10, accuracy: crate::api::Accuracy::Ef(EF), seed: 1 };
        let measure = || collection.measure_recall(&params).unwrap();
        let sound = measure();
        assert!(!sound.recalibrating && !sealed.needs_calibration(), "{sound:?}");
        let nothing_to_do = || collection.calibrate_one(&|_, _, _| true).unwrap() == Step::Nothing;
        assert!(nothing_to_do());
        let table = sealed.calibration().unwrap();
        // Within the tolerance nothing happens; beyond it, in either direction, the graph is calibrated again.
        sealed.set_calibration(Some(saying(sound.recall as f32 + 0.01)));
        assert!(!measure().recalibrating && nothing_to_do());
        for deviating in [sound.recall as f32 - 0.2, 0.999] {
            sealed.set_calibration(Some(saying(deviating)));
            let drifted = measure();
            assert!(drifted.recalibrating && sealed.needs_calibration(), "{deviating}: {drifted:?}");
            assert_eq!(collection.calibrate_one(&|_, _, _| true).unwrap(), Step::Done, "a calibration is due");
            let again = sealed.calibration().unwrap();
            assert!((again.stored(EF, 10) - table.stored(EF, 10)).abs() < 0.03);
            assert!(!measure().recalibrating && nothing_to_do());
        }
        // Over several segments, a higher recall than expected does not trigger it.
        let interval = Interval { mean: 0.95, low: 0.94, high: 0.96 };
        let view = collection.view();
        assert!(collection.drifted(&view, &interval, 0.9) && collection.drifted(&view, &interval, 0.99));
        let mut several = View::clone(&view);
        several.sealed.push(sealed.clone());
        assert!(!collection.drifted(&several, &interval, 0.9) && collection.drifted(&several, &interval, 0.99));
    }

    #[test]
    fn a_merge_cancels_a_calibration_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        let before = collection.view().sealed[0].clone();
        before.set_calibration(None);
        let item = |at: u32| crate::api::Item {
            id: PointId::new(format!("q{at}")).unwrap(),
            source: crate::api::PointInput::Vector(vec![at as f32; 16]),
            payload: crate::api::Payload::new(),
            vectors: Default::default(),
        };
        collection
            .bulk_load(&mut (0..1_000).map(item), OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
            .unwrap();
        let (merged, after) = (std::sync::Once::new(), std::sync::atomic::AtomicU32::new(0));
        let observe = |_, _, _| {
            merged.call_once(|| {
                assert_eq!(collection.run_compaction(&|_, _, _| true).unwrap(), Step::Done, "there is a merge to do")
            });
            after.fetch_add(1, Ordering::Relaxed);
            true
        };
        assert_eq!(collection.calibrate_one(&observe).unwrap(), Step::Done);
        assert!(merged.is_completed());
        assert_eq!(after.load(Ordering::Relaxed), 1, "the measured graph is no longer served");
        let view = collection.view();
        assert!(view.sealed.len() == 1 && view.sealed[0].live_rows() == 5_000);
        assert!(before.calibration().is_none() && view.sealed[0].needs_calibration());
        assert_eq!(collection.calibrate_one(&|_, _, _| true).unwrap(), Step::Done);
        assert!(!view.sealed[0].needs_calibration());
    }

    #[test]
    fn a_calibration_ends_with_its_collection() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        collection.view().sealed[0].set_calibration(None);
        let after = std::sync::atomic::AtomicU32::new(0);
        let observe = |_, _, _| {
            collection.end();
            after.fetch_add(1, Ordering::Relaxed);
            true
        };
        assert_eq!(collection.calibrate_one(&observe).unwrap(), Step::Done);
        assert_eq!(after.load(Ordering::Relaxed), 1);
        // Otherwise the background thread would restart it forever.
        assert_eq!(collection.calibrate_one(&observe).unwrap(), Step::Nothing, "a removed collection has no jobs");
    }

    #[test]
    fn a_compaction_calibrates_its_graph_and_blocks_no_merge() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        let sealed = collection.view().sealed[0].clone();
        sealed.set_calibration(None);
        std::thread::scope(|scope| {
            let (begun, seen) = std::sync::mpsc::channel();
            let background = scope.spawn(|| {
                let observe = move |_, _, _| {
                    _ = begun.send(());
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    true
                };
                collection.calibrate_one(&observe)
            });
            seen.recv().unwrap();
            let observe = |job, _, _| {
                // Calibration does not hold the job lock: a merge can run meanwhile.
                if job == crate::api::Job::Calibrating {
                    let run_compaction = || collection.run_compaction(&|_, _, _| true).unwrap();
                    while !matches!(run_compaction(), Step::Nothing) {
                        std::thread::yield_now();
                    }
                }
                true
            };
            collection.compact(&observe).unwrap();
            assert_eq!(background.join().unwrap().unwrap(), Step::Done, "it was skipped and did not fail");
        });
        assert!(sealed.calibration().is_some());
    }

    #[test]
    fn a_calibration_can_be_cancelled_and_a_new_graph_discards_it() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        let sealed = collection.view().sealed[0].clone();
        let started = std::sync::atomic::AtomicBool::new(false);
        sealed.set_calibration(None);
        let observe = |job, done, total| {
            assert_eq!(job, crate::api::Job::Calibrating);
            assert!(done <= total);
            started.store(true, Ordering::Relaxed);
            false
        };
        assert!(collection.calibrate_one(&observe).is_err() && started.load(Ordering::Relaxed));
        assert!(sealed.needs_calibration(), "it is tried again");
        assert_eq!(collection.calibrate_one(&|_, _, _| true).unwrap(), Step::Done);
        assert!(sealed.calibration().is_some());
        let has_table = || collection.db.segments().unwrap()[0].calibration.is_some();
        assert!(has_table());
        sealed.set_graph(None);
        assert!(sealed.calibration().is_none());
        collection.compact(&|job, _, _| job != crate::api::Job::Calibrating).unwrap_err();
        assert!(sealed.graph().is_some() && sealed.calibration().is_none());
        assert!(!has_table(), "a table does not outlive its graph");
    }

    #[test]
    fn the_interval_narrows_with_more_samples_and_contains_the_mean() {
        let of = |n: usize| Interval::of(&(0..n).map(|at| if at % 4 == 0 { 0.8 } else { 1.0 }).collect::<Vec<_>>());
        let (small, large) = (of(40), of(4_000));
        assert!((small.mean - 0.95).abs() < 1e-9 && (large.mean - 0.95).abs() < 1e-9);
        assert!(small.low < large.low && large.low < 0.95 && 0.95 < large.high && large.high < small.high);
        let same = Interval::of(&[1.0; 50]);
        assert!(same.low < 1.0 && same.high == 1.0, "fifty hits do not show that there is never a miss");
        let none = Interval::of(&[]);
        assert_eq!((none.low, none.high), (0.0, 1.0));
    }
}
