//! Recall floors, duplicates, filters, determinism, and damage.

use std::sync::atomic::{AtomicU64, Ordering as AtomicOrdering};

use super::*;
use crate::index::test_data::Sample;
use crate::index::{Error, Found, GraphParams, exact};
use crate::types::{Metric, Ordinal};

fn params(threads: usize) -> GraphParams {
    GraphParams::new(16, 100, 7, threads).unwrap()
}

fn expected(sample: &Sample) -> Expected {
    let rows = sample.rows();
    Expected { rows: rows.len() as u32, dimension: rows.dimension as u32, metric: rows.metric, tag: 42 }
}

fn bytes_of(built: &Built) -> Vec<u8> {
    let mut bytes = Vec::new();
    built.write_to(&mut bytes, 42).unwrap();
    bytes
}

fn open(sample: &Sample, bytes: Vec<u8>) -> Result<Graph, Error> {
    Graph::from_bytes(bytes, "test.graph".as_ref(), expected(sample))
}

fn graph(sample: &Sample, params: GraphParams) -> Graph {
    let built = build(sample.rows(), params, None, &|_, _| true).unwrap();
    let graph = open(sample, bytes_of(&built)).unwrap();
    graph.verify().unwrap();
    graph
}

/// Returns (found rows as near as the true nearest, number of true nearest rows): identical rows are interchangeable.
#[track_caller]
fn hits(sample: &Sample, query: &[f32], found: &Found, k: usize, accept: impl Fn(Ordinal) -> bool) -> (usize, usize) {
    let db = exact::search(sample.rows(), query, k, &accept).neighbors;
    assert_eq!(found.neighbors.len(), db.len());
    assert!(found.neighbors.iter().all(|n| accept(n.row)));
    assert!(found.neighbors.is_sorted());
    let norm = crate::math::norm(query);
    for n in &found.neighbors {
        assert_eq!(n.distance, exact::distance(sample.rows(), n.row, query, norm));
    }
    let unique: std::collections::HashSet<u32> = found.neighbors.iter().map(|n| n.row.0).collect();
    assert_eq!(unique.len(), found.neighbors.len(), "a row was found twice");
    let worst = db.last().map_or(0.0, |n| n.distance);
    (found.neighbors.iter().filter(|n| n.distance <= worst).count(), db.len())
}

#[test]
fn recall_has_a_floor_for_every_metric() {
    for metric in Metric::ALL {
        for (name, sample) in [
            ("clustered", Sample::clustered(5000, 32, metric, 1)),
            ("duplicates", Sample::with_duplicates(5000, 32, metric, 1)),
        ] {
            let graph = graph(&sample, params(2));
            let (mut right, mut all) = (0, 0);
            for query in sample.queries(150) {
                let found = graph.search(sample.rows(), &query, 10, 100, f32::INFINITY, |_| true);
                assert!(found.distances < 2500, "{metric} {name}: the graph did not answer: {}", found.distances);
                let (r, a) = hits(&sample, &query, &found, 10, |_| true);
                (right, all) = (right + r, all + a);
            }
            assert!(right * 1000 >= all * 980, "{metric} {name}: {right} of {all}");
        }
    }
}

#[test]
fn deleted_rows_are_traversed_and_no_live_row_is_missing() {
    for metric in Metric::ALL {
        // More nodes than the limit of a search, so that the rarest filter ends in a scan.
        let sample = Sample::with_duplicates(4000, 16, metric, 2);
        let graph = graph(&sample, params(2));
        for every in [2_u32, 5, 40, 700] {
            let accept = |row: Ordinal| row.0 % every == 1;
            let (mut right, mut all) = (0, 0);
            for query in sample.queries(40) {
                let found = graph.search(sample.rows(), &query, 10, 60, f32::INFINITY, accept);
                let (r, a) = hits(&sample, &query, &found, 10, accept);
                (right, all) = (right + r, all + a);
            }
            assert!(right * 100 >= all * 95, "{metric} one in {every}: {right} of {all}");
        }
        let none = graph.search(sample.rows(), &sample.queries(1)[0], 10, 60, f32::INFINITY, |_| false);
        assert!(none.neighbors.is_empty());
        // With four of five rows deleted the graph still answers.
        let query = &sample.queries(1)[0];
        let found = graph.search(sample.rows(), query, 10, 40, f32::INFINITY, |row| !row.0.is_multiple_of(5));
        assert!(found.distances < 1500, "{}", found.distances);
    }
}

#[test]
fn a_bound_of_another_segment_hides_no_nearer_row() {
    for metric in Metric::ALL {
        for dimension in [24, 300] {
            let sample = Sample::clustered(6000, dimension, metric, 12);
            let (mut right, mut all, mut without, mut with) = (0, 0, 0, 0);
            // Another segment has filled the k slots; some rows of this one are nearer than the last of them.
            let graph = graph(&sample, params(2));
            for (number, query) in sample.queries(150).into_iter().enumerate() {
                let db = exact::search(sample.rows(), &query, 10, |_| true).neighbors;
                let nearer = &db[..number % 10];
                let bound = db[number % 10].distance;
                let found = graph.search(sample.rows(), &query, 10, 40, bound, |_| true);
                with += found.distances;
                let plain = graph.search(sample.rows(), &query, 10, 40, f32::INFINITY, |_| true);
                without += plain.distances;
                right += nearer.iter().filter(|row| found.neighbors.contains(row)).count();
                all += nearer.iter().filter(|row| plain.neighbors.contains(row)).count();
            }
            assert!(all > 600 && right * 100 >= all * 97, "{metric} {dimension}: {right} of {all}");
            assert!(with < without, "{metric} {dimension}: {with} distances, {without} without a bound");
        }
    }
}

#[test]
fn identical_rows_are_one_node_and_are_all_found() {
    for metric in Metric::ALL {
        let sample = Sample::of([3.0, 1.0, 2.0].repeat(2000), 3, metric, vec![]);
        let built = build(sample.rows(), params(2), None, &|_, _| true).unwrap();
        assert_eq!(built.duplicates(), 1999);
        let graph = open(&sample, bytes_of(&built)).unwrap();
        graph.verify().unwrap();
        let found = graph.search(sample.rows(), &[3.0, 1.0, 2.5], 900, 10, f32::INFINITY, |row| row.0 >= 1000);
        assert_eq!(found.neighbors.len(), 900, "{metric}");
        assert!(found.distances < 1500, "{}", found.distances);
    }
}

#[test]
fn a_group_of_duplicates_hides_no_other_row() {
    // A thousand identical rows among others: the others are found through them and beside them.
    let mut vectors = Sample::clustered(3000, 16, Metric::L2, 9).vectors;
    for row in 500..1500 {
        vectors.copy_within(0..16, row * 16);
    }
    let extra = Sample::clustered(3000, 16, Metric::L2, 9).queries(100);
    let sample = Sample::of(vectors, 16, Metric::L2, extra);
    let graph = graph(&sample, params(2));
    let accept = |row: Ordinal| !(500..1500).contains(&row.0);
    let (mut right, mut all) = (0, 0);
    for query in sample.queries(100).into_iter().chain([sample.vectors[..16].to_vec()]) {
        let found = graph.search(sample.rows(), &query, 10, 60, f32::INFINITY, accept);
        let (r, a) = hits(&sample, &query, &found, 10, accept);
        (right, all) = (right + r, all + a);
    }
    assert!(right * 100 >= all * 97, "{right} of {all}");
}

#[test]
fn every_node_is_reached_from_the_entry() {
    for (name, sample) in [
        ("clustered", Sample::clustered(3000, 8, Metric::L2, 3)),
        ("duplicates", Sample::with_duplicates(3000, 8, Metric::L2, 3)),
        // Two distant clusters with few links between them.
        ("far", {
            let mut vectors = Sample::clustered(3000, 8, Metric::L2, 3).vectors;
            vectors[1500 * 8..].iter_mut().for_each(|x| *x += 300.0);
            Sample::of(vectors, 8, Metric::L2, vec![])
        }),
    ] {
        let small = GraphParams::new(4, 20, 1, 2).unwrap();
        let mut built = build(sample.rows(), small, None, &|_, _| true).unwrap();
        let entry = built.upper.iter().rev().fold(built.entry, |node, level| level.down[node as usize]);
        let duplicates: std::collections::HashSet<u32> = built.duplicates.rows.iter().copied().collect();
        let reach = connectivity::Reach::from(&mut built.links, 8, entry);
        let lost = (0..3000).filter(|row| !duplicates.contains(row) && !reach.reaches(*row)).count();
        assert_eq!(lost, 0, "{name}");
    }
}

#[test]
fn tiny_graphs_work() {
    for metric in Metric::ALL {
        for rows in [0, 1, 2, 3, 5, 17] {
            let sample = Sample::clustered(rows, 6, metric, 5);
            let graph = graph(&sample, GraphParams::new(2, 4, 3, 3).unwrap());
            for query in sample.queries(5) {
                for (k, ef) in [(0, 0), (1, 1), (3, 1), (100, 1), (1, usize::MAX)] {
                    let found = graph.search(sample.rows(), &query, k, ef, f32::INFINITY, |_| true);
                    hits(&sample, &query, &found, k, |_| true);
                }
            }
        }
    }
}

#[test]
fn one_thread_and_a_seed_give_the_same_bytes() {
    let sample = Sample::with_duplicates(2000, 12, Metric::Cosine, 6);
    let bytes =
        |seed| bytes_of(&build(sample.rows(), GraphParams::new(8, 50, seed, 1).unwrap(), None, &|_, _| true).unwrap());
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn strange_queries_are_answered() {
    for metric in Metric::ALL {
        let sample = Sample::clustered(3000, 8, metric, 8);
        let graph = graph(&sample, params(2));
        // Far outside the range of the codes: the search runs on floats, with equal recall.
        let (mut right, mut all) = (0, 0);
        for query in sample.queries(50) {
            let query: Vec<f32> = query.iter().map(|x| x * 50.0).collect();
            let found = graph.search(sample.rows(), &query, 10, 100, f32::INFINITY, |_| true);
            assert!(found.distances < 2500, "{metric}: {}", found.distances);
            let (r, a) = hits(&sample, &query, &found, 10, |_| true);
            (right, all) = (right + r, all + a);
        }
        assert!(right * 100 >= all * 95, "{metric}: {right} of {all}");
        for query in [[f32::NAN; 8], [f32::INFINITY; 8], [0.0; 8], [3e38; 8], [1e-42; 8]] {
            assert_eq!(
                graph.search(sample.rows(), &query, 3, 30, f32::INFINITY, |_| true).neighbors.len(),
                3,
                "{metric} {query:?}"
            );
        }
        assert!(graph.search(sample.rows(), &[1.0], 3, 30, f32::INFINITY, |_| true).neighbors.is_empty());
    }
}

#[test]
fn strange_rows_do_no_harm() {
    for metric in Metric::ALL {
        let mut vectors = Sample::clustered(1000, 4, metric, 8).vectors;
        for (row, value) in [(10, f32::NAN), (20, f32::INFINITY), (30, 3e38), (40, 0.0), (50, -3e38)] {
            vectors[row * 4..row * 4 + 4].fill(value);
        }
        let sample = Sample::of(vectors, 4, metric, vec![]);
        let graph = graph(&sample, params(2));
        let rows = sample.rows();
        let query = &*rows.row(Ordinal(5)).to_floats();
        let found = graph.search(rows, query, 5, 50, f32::INFINITY, |_| true);
        assert_eq!(found.neighbors.len(), 5);
        assert!(found.neighbors.iter().all(|n| !n.distance.is_nan()));
    }
}

#[test]
fn a_build_reports_and_can_be_cancelled() {
    let sample = Sample::clustered(2000, 8, Metric::L2, 1);
    let last = AtomicU64::new(0);
    build(sample.rows(), params(1), None, &|done, total| {
        assert!(total == 2000 && done <= total);
        last.store(done, AtomicOrdering::Relaxed);
        true
    })
    .unwrap();
    assert_eq!(last.into_inner(), 2000);
    for stop in [0, 1000] {
        let error = build(sample.rows(), params(2), None, &|done, _| done < stop).unwrap_err();
        assert!(matches!(error, Error::Cancelled { total: 2000, .. }), "{error}");
    }
    for bad in [GraphParams { m: 1, ..params(1) }, GraphParams { threads: 0, ..params(1) }] {
        assert!(matches!(build(sample.rows(), bad, None, &|_, _| true), Err(Error::InvalidParams { .. })));
    }
    let short = crate::index::Rows { vectors: sample.rows().vectors.vectors(1, 1, usize::MAX), ..sample.rows() };
    assert!(matches!(build(short, params(1), None, &|_, _| true), Err(Error::Dimension { .. })));
}

#[test]
fn files_of_other_rows_or_versions_do_not_fit() {
    let sample = Sample::clustered(50, 4, Metric::Dot, 1);
    let bytes = bytes_of(&build(sample.rows(), params(1), None, &|_, _| true).unwrap());
    let right = expected(&sample);
    for other in [
        Expected { rows: 51, ..right },
        Expected { dimension: 5, ..right },
        Expected { metric: Metric::L2, ..right },
        Expected { tag: 43, ..right },
    ] {
        let error = Graph::from_bytes(bytes.clone(), "x".as_ref(), other).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }), "{error}");
    }
    let mut newer = bytes.clone();
    newer[8] = 3;
    assert!(matches!(open(&sample, newer), Err(Error::Incompatible { .. })));
    // Unaligned bytes are read too.
    struct Odd(Vec<u8>);
    impl AsRef<[u8]> for Odd {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }
    let odd = Odd([&[0_u8][..], &bytes].concat());
    Graph::from_bytes(odd, "x".as_ref(), right).unwrap().verify().unwrap();
}

#[test]
fn truncation_at_every_length_is_an_error() {
    let sample = Sample::with_duplicates(40, 5, Metric::Cosine, 1);
    let bytes = bytes_of(&build(sample.rows(), GraphParams::new(3, 10, 1, 1).unwrap(), None, &|_, _| true).unwrap());
    for length in 0..bytes.len() {
        assert!(matches!(open(&sample, bytes[..length].to_vec()), Err(Error::Corrupt { .. })), "{length}");
    }
    assert!(matches!(open(&sample, [&bytes[..], &[0]].concat()), Err(Error::Corrupt { .. })));
}

#[test]
fn every_flipped_bit_is_found_and_none_is_followed() {
    let sample = Sample::with_duplicates(60, 5, Metric::Dot, 1);
    let bytes = bytes_of(&build(sample.rows(), GraphParams::new(3, 10, 1, 1).unwrap(), None, &|_, _| true).unwrap());
    let query = &sample.queries(1)[0];
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let Ok(graph) = open(&sample, damaged) else { continue };
            assert!(graph.verify().is_err(), "byte {at} bit {bit}");
            let found = graph.search(sample.rows(), query, 5, 10, f32::INFINITY, |row| !row.0.is_multiple_of(3));
            assert_eq!(found.neighbors.len(), 5, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn sections_of_noise_with_a_sound_header_do_no_harm() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(4);
    let sample = Sample::with_duplicates(200, 5, Metric::L2, 1);
    let bytes = bytes_of(&build(sample.rows(), GraphParams::new(3, 10, 1, 1).unwrap(), None, &|_, _| true).unwrap());
    for round in 0..200 {
        let mut damaged = bytes.clone();
        for byte in &mut damaged[512..] {
            if rng.random_range(0..200) <= round {
                *byte = rng.random();
            }
        }
        let graph = open(&sample, damaged).unwrap();
        assert!(graph.verify().is_err());
        for query in sample.queries(5) {
            let found = graph.search(sample.rows(), &query, 5, 20, f32::INFINITY, |row| !row.0.is_multiple_of(3));
            assert_eq!(found.neighbors.len(), 5);
            let unique: std::collections::HashSet<_> = found.neighbors.iter().map(|n| n.row).collect();
            assert_eq!(unique.len(), 5, "round {round}: a row was found twice");
        }
    }
}

/// Returns the recall at 10 of a sample's queries, at an `ef`.
fn recall(sample: &Sample, graph: &Graph, ef: usize, accept: impl Fn(Ordinal) -> bool + Copy) -> f64 {
    let (mut right, mut all) = (0, 0);
    for query in sample.queries(200) {
        let found = graph.search(sample.rows(), &query, 10, ef, f32::INFINITY, accept);
        assert!(found.distances < 2_000, "the graph did not answer: {}", found.distances);
        let (r, a) = hits(sample, &query, &found, 10, accept);
        (right, all) = (right + r, all + a);
    }
    right as f64 / all as f64
}

#[test]
fn a_build_reuses_an_older_graph() {
    for metric in Metric::ALL {
        let sample = Sample::with_duplicates(6000, 24, metric, 9);
        let fresh = graph(&sample, params(2));
        // The older graph has some of the rows in another order; every ninth of them is deleted.
        let older_rows: Vec<u32> = (0..6000).rev().filter(|row| row % 3 != 0).collect();
        let vectors: Vec<f32> =
            older_rows.iter().flat_map(|&row| sample.vectors[row as usize * 24..][..24].to_vec()).collect();
        let older_sample = Sample::of(vectors, 24, metric, vec![]);
        let older = graph(&older_sample, params(2));
        let duplicates = older.view().duplicate_rows.len();
        let rows: Vec<Option<Ordinal>> =
            older_rows.iter().enumerate().map(|(old, &row)| (old % 9 != 0).then_some(Ordinal(row))).collect();
        let reuse = Some(Reuse { graph: &older, rows: &rows });
        let min_done = AtomicU64::new(6000);
        let built = build(sample.rows(), params(2), reuse, &|done, total| {
            assert!(done <= total && total == 6000);
            min_done.fetch_min(done, AtomicOrdering::Relaxed);
            true
        });
        let built = built.unwrap();
        let n_reusable = rows.iter().flatten().count();
        assert!(min_done.into_inner() as usize > n_reusable - n_reusable / 8, "only the upper levels are built again");
        assert!(
            built.reused() as usize + duplicates + 3 >= n_reusable && built.reused() as usize <= n_reusable,
            "{}",
            built.reused()
        );
        let reused = open(&sample, bytes_of(&built)).unwrap();
        reused.verify().unwrap();
        let (of_fresh, of_reused) = (recall(&sample, &fresh, 20, |_| true), recall(&sample, &reused, 20, |_| true));
        assert!(of_reused > of_fresh - 0.015, "{metric}: {of_fresh} fresh, {of_reused} reused");
        // Graphs that do not fit are not reused: another `m`, too many deleted rows.
        let other = GraphParams { m: 12, ..params(1) };
        assert_eq!(build(sample.rows(), other, reuse, &|_, _| true).unwrap().reused(), 0);
        let too_few: Vec<Option<Ordinal>> = rows.iter().map(|row| row.filter(|row| row.0 > 3_500)).collect();
        let too_few = Some(Reuse { graph: &older, rows: &too_few });
        assert_eq!(build(sample.rows(), params(1), too_few, &|_, _| true).unwrap().reused(), 0);
    }
}

#[test]
fn one_thread_and_a_seed_reuse_an_older_graph_with_the_same_bytes() {
    let sample = Sample::clustered(1500, 12, Metric::L2, 4);
    let older_sample = Sample::of(sample.vectors[..1000 * 12].to_vec(), 12, Metric::L2, vec![]);
    let older =
        open(&older_sample, bytes_of(&build(older_sample.rows(), params(1), None, &|_, _| true).unwrap())).unwrap();
    let rows: Vec<Option<Ordinal>> = (0..1000).map(|row| Some(Ordinal(row))).collect();
    let again = || {
        let reuse = Some(Reuse { graph: &older, rows: &rows });
        let built = build(sample.rows(), params(1), reuse, &|_, _| true).unwrap();
        assert_eq!(built.reused(), 1000);
        bytes_of(&built)
    };
    assert_eq!(again(), again());
}
