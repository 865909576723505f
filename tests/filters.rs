//! Tests of filtered search: both query plans, damaged indexes, concurrent writers, deletion in one write.
#![allow(clippy::print_stdout, reason = "prints measurements")]

use nearness::api::Range;
use nearness::api::*;
use nearness::engine::*;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const DIMENSION: usize = 16;

fn name() -> CollectionName {
    CollectionName::new("filtered").expect("a name")
}

fn id(n: usize) -> PointId {
    PointId::new(format!("p{n:05}")).expect("an id")
}

fn open(dir: &FilePath) -> Database {
    Database::open(dir).expect("the engine opens")
}

fn create(engine: &Database, seal_rows: u32) {
    let spec = CollectionSpec::vectors(name(), DIMENSION as u32).metric(Metric::L2).index(
        IndexSettings::default().m(12).ef_construction(60).ef_search(64).seal_rows(seal_rows).precision(Precision::F32),
    );
    engine.create_collection(&spec).expect("a new collection");
}

fn vector(rng: &mut StdRng) -> Vec<f32> {
    (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Returns a point whose payload is a function of its number.
fn item(n: usize, rng: &mut StdRng) -> Item {
    let payload = serde_json::json!({ "n": n, "half": n % 2, "tenth": n % 10, "name": format!("name {n}") });
    let payload = payload.as_object().expect("an object").clone();
    Item { id: id(n), source: PointInput::Vector(vector(rng)), payload, vectors: Default::default() }
}

fn fill(engine: &Database, numbers: std::ops::Range<usize>, rng: &mut StdRng) {
    let items: Vec<Item> = numbers.map(|n| item(n, rng)).collect();
    for chunk in items.chunks(2_000) {
        engine.upsert(&name(), chunk.to_vec()).expect("an upsert");
    }
}

fn below(n: i64) -> Filter {
    Filter::range("n", Range { lt: Some(n.into()), ..Default::default() })
}

fn params(k: u32, accuracy: Accuracy, filter: &Filter) -> SearchParams {
    let fields = Fields { payload: true, vector: false };
    SearchParams::new(k).accuracy(accuracy).fields(fields).filter(filter.clone())
}

fn search(engine: &Database, query: &[f32], params: &SearchParams) -> Answer {
    engine.search(&name(), &[Query::Vector(query.to_vec())], params).expect("an answer").remove(0)
}

fn ids(answer: &Answer) -> Vec<PointId> {
    answer.hits.iter().map(|hit| hit.point.id.clone()).collect()
}

/// Returns the files of the only collection with that extension.
fn files(dir: &FilePath, extension: &str) -> Vec<PathBuf> {
    let folder =
        std::fs::read_dir(dir.join("collections")).expect("collections").next().expect("one").expect("readable");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect();
    found.sort();
    found
}

#[test]
fn few_matches_are_scanned_and_many_are_found_by_graph() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 4_000);
    let mut rng = StdRng::seed_from_u64(1);
    fill(&engine, 0..9_000, &mut rng);
    engine.compact(&name()).expect("a compaction");
    // Add growing points, and deleted ones among the matches.
    fill(&engine, 9_000..9_300, &mut rng);
    engine.delete_points(&name(), &(0..9_000).step_by(100).map(id).collect::<Vec<_>>()).expect("a delete");
    let rare = Filter::And(vec![Filter::equals("tenth", 3), below(2_000)]);
    let never = Filter::equals("tenth", 11);
    for (filter, matches, path) in [
        (Filter::equals("half", 1), 4_650, Path::Mixed),
        (Filter::not(Filter::equals("tenth", 0)), 8_370, Path::Mixed),
        (below(9_000), 8_910, Path::Graph),
        (rare, 200, Path::FilterScan),
        (never, 0, Path::FilterScan),
        (Filter::equals("name", "name 9100"), 1, Path::FilterScan),
    ] {
        let (mut same, mut all) = (0, 0);
        for _ in 0..40 {
            let query = vector(&mut rng);
            let truth = search(&engine, &query, &params(10, Accuracy::Exact, &filter));
            let found = search(&engine, &query, &params(10, Accuracy::Ef(96), &filter));
            for answer in [&truth, &found] {
                assert_eq!(answer.stats.filter_matches, Some(matches), "{filter:?}");
                assert_eq!(answer.hits.len() as u64, matches.min(10), "{filter:?}");
                assert!(
                    answer
                        .hits
                        .iter()
                        .all(|hit| filter.matches(&hit.point.id, hit.point.payload.as_ref().expect("a payload")))
                );
            }
            assert_eq!((truth.stats.path, truth.stats.distances_computed), (Path::FilterScan, matches), "{filter:?}");
            // A growing segment without a graph is scanned in addition.
            let by_graph = found.stats.segments_by_graph > 0;
            assert_eq!(by_graph, path != Path::FilterScan, "{filter:?}: {:?}", found.stats);
            assert_eq!(found.stats.path == Path::FilterScan, !by_graph);
            assert!(!by_graph || found.stats.distances_computed < 9_300, "{filter:?}: {:?}", found.stats);
            same += ids(&found).iter().filter(|id| ids(&truth).contains(id)).count();
            all += truth.hits.len();
        }
        assert!(same as f64 >= 0.95 * all as f64, "{filter:?}: recall {same} of {all}");
        // A large `k` returns all matches.
        let answer = search(&engine, &vector(&mut rng), &params(9_300, Accuracy::Default, &filter));
        assert_eq!(answer.hits.len() as u64, matches, "{filter:?}");
    }
}

#[test]
fn a_damaged_payload_index_is_rebuilt() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut rng = StdRng::seed_from_u64(2);
    let filter = Filter::And(vec![Filter::equals("half", 0), below(150)]);
    {
        let engine = open(dir.path());
        create(&engine, 100);
        fill(&engine, 0..300, &mut rng);
        engine.compact(&name()).expect("a compaction");
        assert_eq!(engine.count(&name(), Some(&filter)).expect("a count"), 75);
    }
    let [ref path] = files(dir.path(), "payloads")[..] else {
        panic!("one index: {:?}", files(dir.path(), "payloads"))
    };
    let intact = std::fs::read(path).expect("the index");
    let flipped = |at: usize| {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        bytes
    };
    for damaged in
        [Vec::new(), b"x".to_vec(), intact[..intact.len() - 1].to_vec(), flipped(30), flipped(intact.len() - 1)]
    {
        std::fs::write(path, damaged).expect("damaged");
        let engine = open(dir.path());
        assert_eq!(engine.count(&name(), Some(&filter)).expect("a count"), 75);
        assert_eq!(std::fs::read(path).expect("an index"), intact, "it is rebuilt");
    }
    std::fs::remove_file(path).expect("removed");
    {
        let engine = open(dir.path());
        assert!(files(dir.path(), "payloads").is_empty(), "opening reads and builds nothing");
        assert_eq!(engine.count(&name(), Some(&filter)).expect("a count"), 75);
    }
    assert_eq!(std::fs::read(path).expect("an index"), intact);
    // The index is removed with its segment.
    let engine = open(dir.path());
    fill(&engine, 300..400, &mut rng);
    engine.compact(&name()).expect("a compaction");
    let left: Vec<_> = [files(dir.path(), "payloads"), files(dir.path(), "vectors")]
        .map(|list| list.iter().map(|path| path.with_extension("")).collect::<Vec<_>>())
        .into();
    assert_eq!(left[0], left[1]);
    assert_eq!(engine.count(&name(), Some(&below(400))).expect("a count"), 400);
}

#[test]
fn growing_rows_in_full_blocks_and_in_the_tail_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 100_000);
    let mut rng = StdRng::seed_from_u64(3);
    fill(&engine, 0..3_000, &mut rng);
    let odd_tenths = Filter::among("tenth", [1.into(), 3.into()]);
    assert_eq!(engine.count(&name(), Some(&odd_tenths)).expect("a count"), 600);
    fill(&engine, 3_000..10_000, &mut rng);
    assert_eq!(engine.count(&name(), Some(&odd_tenths)).expect("a count"), 2_000);
    // Replaced and deleted rows of full blocks and of the tail.
    engine.delete_points(&name(), &[id(1), id(3), id(9_991)]).expect("a delete");
    fill(&engine, 11..14, &mut rng);
    let page = engine.scroll(&name(), None, 10_000, Fields::default(), Some(&odd_tenths)).expect("a page");
    let found: Vec<PointId> = page.points.into_iter().map(|point| point.id).collect();
    let expected = (0..10_000).filter(|n| [1, 3].contains(&(n % 10)) && ![1, 3, 9_991].contains(n)).map(id);
    assert_eq!(found, expected.collect::<Vec<_>>());
    let one = Filter::equals("name", "name 9993");
    assert_eq!(ids(&search(&engine, &vector(&mut rng), &params(5, Accuracy::Default, &one))), [id(9_993)]);
}

#[test]
fn ids_are_looked_up_in_every_kind_of_segment() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 20_000);
    let mut rng = StdRng::seed_from_u64(9);
    fill(&engine, 0..2_000, &mut rng);
    engine.compact(&name()).expect("a compaction");
    for path in files(dir.path(), "payloads") {
        std::fs::remove_file(path).expect("removed");
    }
    drop(engine);
    let engine = open(dir.path());
    // Rows of the sealed segment, of a full block of the growing one, and of its tail.
    fill(&engine, 2_000..7_000, &mut rng);
    let check = |filter: &Filter, expected: &[usize]| {
        let page = engine.scroll(&name(), None, 10_000, Fields::default(), Some(filter)).expect("a page");
        let found: Vec<PointId> = page.points.into_iter().map(|point| point.id).collect();
        assert_eq!(found, expected.iter().copied().map(id).collect::<Vec<_>>(), "{filter:?}");
        assert_eq!(engine.count(&name(), Some(filter)).expect("a count"), expected.len() as u64);
    };
    let among = |numbers: &[usize]| Filter::ids(numbers.iter().copied().map(id));
    let some = [3, 1_999, 2_000, 6_095, 6_999, 7_000];
    check(&among(&some), &some[..5]);
    let not_these = Filter::not(Filter::not(Filter::Or(vec![among(&some[..2]), among(&some[4..])])));
    check(&not_these, &[3, 1_999, 6_999]);
    assert!(files(dir.path(), "payloads").is_empty(), "ids need no payload index");
    let all_but = engine.count(&name(), Some(&Filter::not(among(&some)))).expect("a count");
    assert_eq!(all_but, 7_000 - 5);
    check(&Filter::And(vec![among(&some), Filter::equals("half", 0)]), &[2_000]);
    check(&Filter::And(vec![Filter::not(among(&some)), below(5)]), &[0, 1, 2, 4]);
    let either = Filter::Or(vec![among(&[5_000, 6_999]), below(2), Filter::equals("name", "name 6500")]);
    check(&either, &[0, 1, 5_000, 6_500, 6_999]);
    // Replaced and deleted points.
    fill(&engine, 3..4, &mut rng);
    fill(&engine, 2_000..2_001, &mut rng);
    engine.delete_points(&name(), &[id(1_999), id(6_095)]).expect("a delete");
    check(&among(&some), &[3, 2_000, 6_999]);
    check(&Filter::Or(vec![among(&some), below(4)]), &[0, 1, 2, 3, 2_000, 6_999]);
    let answer = search(&engine, &vector(&mut rng), &params(10, Accuracy::Default, &among(&some)));
    let mut found = ids(&answer);
    found.sort_unstable();
    assert_eq!(found, [id(3), id(2_000), id(6_999)]);
    assert_eq!(answer.stats.distances_computed, 3);
    engine.compact(&name()).expect("a compaction");
    check(&among(&some), &[3, 2_000, 6_999]);
    let deleted = engine.delete_matching(&name(), &among(&some), false).expect("a delete");
    assert_eq!(deleted.deleted, 3);
    check(&among(&some), &[]);
}

#[test]
fn points_replaced_during_a_filtered_search_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 100);
    let mut rng = StdRng::seed_from_u64(4);
    fill(&engine, 0..250, &mut rng);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = StdRng::seed_from_u64(5);
            while !stop.load(Ordering::Relaxed) {
                let from = rng.random_range(0..240);
                fill(&engine, from..from + 10, &mut rng);
            }
        });
        let by_payload = Filter::And(vec![below(200), Filter::exists("name")]);
        let by_id = Filter::ids((0..200).map(id));
        let by_either = Filter::Or(vec![Filter::ids((100..200).map(id)), below(100)]);
        for round in 0..300 {
            let filter = [&by_payload, &by_id, &by_either][round % 3];
            let answer = search(&engine, &vector(&mut rng), &params(200, Accuracy::Default, filter));
            let mut found = ids(&answer);
            found.sort_unstable();
            found.dedup();
            if found.len() != 200 || answer.hits.len() != 200 {
                stop.store(true, Ordering::Relaxed);
                panic!("round {round}: {} hits, {} points of 200", answer.hits.len(), found.len());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn points_replaced_during_an_unfiltered_search_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    // Small segments, for frequent flushes.
    create(&engine, 100);
    let mut rng = StdRng::seed_from_u64(4);
    fill(&engine, 0..150, &mut rng);
    let stop = AtomicBool::new(false);
    let mut all: Vec<PointId> = (0..150).map(id).collect();
    all.sort_unstable();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = StdRng::seed_from_u64(5);
            while !stop.load(Ordering::Relaxed) {
                let from = rng.random_range(0..140);
                fill(&engine, from..from + 10, &mut rng);
            }
        });
        // Stop the writer even if an assertion fails.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut params = params(150, Accuracy::Exact, &below(1));
            params.filter = None;
            for round in 0..300 {
                let mut found = ids(&search(&engine, &vector(&mut rng), &params));
                found.sort_unstable();
                assert_eq!(found, all, "round {round}: a search");
                let page = engine.scroll(&name(), None, 1_000, Fields::default(), None).expect("a page");
                assert!(page.points.iter().map(|point| &point.id).eq(&all), "round {round}: a scroll");
                assert_eq!(engine.count(&name(), None).expect("a count"), 150, "round {round}");
                let got = engine.get(&name(), &all, Fields::default()).expect("points");
                assert!(got.iter().all(Option::is_some), "round {round}: a get");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
}

#[test]
fn matching_points_are_deleted_in_one_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    create(&engine, 500);
    let mut rng = StdRng::seed_from_u64(6);
    fill(&engine, 0..2_600, &mut rng);
    engine.compact(&name()).expect("a compaction");
    fill(&engine, 2_600..3_000, &mut rng);
    let before = engine.collection(&name()).expect("a collection").sequence;
    let deleted = engine.delete_matching(&name(), &Filter::equals("half", 1), true).expect("a delete");
    assert_eq!((deleted.sequence, deleted.deleted, deleted.missing), (before + 1, 1_500, vec![]));
    for round in 0..2 {
        assert_eq!(engine.count(&name(), None).expect("a count"), 1_500, "round {round}");
        assert_eq!(engine.count(&name(), Some(&Filter::equals("half", 1))).expect("a count"), 0);
        drop(engine);
        engine = open(dir.path());
    }
    let error = engine.delete_matching(&name(), &Filter::And(vec![]), true).expect_err("an empty and");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(engine.count(&name(), None).expect("a count"), 1_500);
}

#[test]
fn a_delete_checks_fields_against_live_points() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 500);
    let mut rng = StdRng::seed_from_u64(8);
    let mut with = |n: usize, field: &str, value: serde_json::Value| {
        let mut item = item(n, &mut rng);
        item.payload.insert(field.into(), value);
        engine.upsert(&name(), vec![item]).expect("an upsert");
    };
    with(0, "dead", 1.into());
    with(1, "void", serde_json::Value::Null);
    with(2, "list", serde_json::json!([]));
    with(3, "there", 1.into());
    engine.compact(&name()).expect("a compaction");
    with(0, "there", 1.into());
    with(4, "late", serde_json::Value::Null);
    let mut delete = |field: &str| {
        let filter = Filter::And(vec![Filter::exists("n"), Filter::not(Filter::exists(field)), Filter::equals("n", 0)]);
        let result = engine.delete_matching(&name(), &filter, false);
        with(0, "there", 1.into());
        result.map(|done| done.deleted).map_err(|error| (error.kind(), error.to_string()))
    };
    for field in ["void", "list", "late"] {
        assert_eq!(delete(field), Ok(1), "{field} is a field without a value");
    }
    // The first field exists only in a deleted row of a sealed segment.
    for field in ["dead", "nothing"] {
        let (kind, message) = delete(field).expect_err(field);
        assert!(kind == ErrorKind::InvalidInput && message.contains(field), "{message}");
    }
    assert_eq!(delete("there"), Ok(0));
}

#[test]
fn a_delete_evaluates_its_filter_at_commit() {
    // A doomed version of a point is deleted, or replaced by a safe one; the safe version stays.
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    create(&engine, 200);
    let mut rng = StdRng::seed_from_u64(7);
    fill(&engine, 0..100, &mut rng);
    let (stop, mut doomed_deleted) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let deleter = scope.spawn(|| {
            let mut deleted = 0;
            while !stop.load(Ordering::Relaxed) {
                deleted +=
                    engine.delete_matching(&name(), &Filter::equals("doomed", true), true).expect("a delete").deleted;
            }
            deleted
        });
        for round in 0..300 {
            let mut doomed = item(round % 100, &mut rng);
            doomed.payload.insert("doomed".into(), true.into());
            engine.upsert(&name(), vec![doomed]).expect("an upsert");
            engine.upsert(&name(), vec![item(round % 100, &mut rng)]).expect("an upsert");
            let found = engine.get(&name(), &[id(round % 100)], Fields::default()).expect("points");
            if found[0].is_none() {
                stop.store(true, Ordering::Relaxed);
                panic!("round {round}: a point that does not match was deleted");
            }
        }
        stop.store(true, Ordering::Relaxed);
        doomed_deleted = deleter.join().expect("the deleter did not panic");
    });
    assert!(doomed_deleted > 0, "no point was deleted: the test shows nothing");
    assert_eq!(engine.count(&name(), None).expect("a count"), 100);
}
