//! Reads, writes and compaction of damaged collections.

use crate::support::*;
use nearness::api::{CollectionState, Damage, ErrorKind, Fields, Hit, PointInput, Query};
use nearness::engine::{Admin, Database, Reads, Writes};

#[test]
fn a_damaged_collection_affects_no_other_and_returns_no_partial_answer_by_default() {
    let dir = tempfile::tempdir().expect("a folder");
    let names = ["db", "header", "missing", "intact", "half", "cut"];
    create_collections(dir.path(), &names);
    let db = folder(dir.path(), 0).join("points.redb");
    let bytes = std::fs::read(&db).expect("a file");
    // The file stores a growing point's payload uncompressed.
    let at = bytes.windows(13).position(|window| window == b"{\"number\":210").expect("a growing point");
    flip(&db, at + 10);
    flip_headers(&file(dir.path(), 1, "vectors"), 33);
    std::fs::remove_file(folder(dir.path(), 2).join("points.redb")).expect("removed");
    // One intact header is enough.
    flip(&file(dir.path(), 4, "vectors"), 33);
    let cut = file(dir.path(), 5, "vectors");
    let bytes = std::fs::read(&cut).expect("a file");
    std::fs::remove_file(&cut).expect("removed");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).expect("cut");

    let engine = open(dir.path());
    let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
    let all = engine.collections().expect("all");
    assert_eq!(all.len(), names.len(), "a damaged collection is listed too");
    assert_eq!(state("db"), CollectionState::Unavailable);
    assert_eq!(state("missing"), CollectionState::Unavailable);
    assert_eq!(state("header"), CollectionState::Damaged);
    assert_eq!(state("cut"), CollectionState::Damaged);
    assert_eq!(state("intact"), CollectionState::Serving);
    assert_eq!(ids(&engine, "intact"), all_ids());
    assert_eq!(count_hits(&engine, "intact").expect("an answer"), 10);
    let answer = search(&engine, "intact", Query::Id(id(1)), true).expect("an answer");
    assert_eq!((answer.hits.len(), answer.stats.lost_segments), (10, 0));
    engine.upsert(&name("intact"), vec![item(9_999)]).expect("written");
    for (collection, file) in [("db", "points.redb"), ("missing", "points.redb"), ("header", ".vectors")] {
        let error = count_hits(&engine, collection).expect_err("no partial answer");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(file), "{error}");
        let problems = engine.collection(&name(collection)).expect("listed").problems;
        assert!(problems.iter().any(|problem| problem.contains(file)), "{problems:?}");
    }
    assert_eq!((state("half"), ids(&engine, "half")), (CollectionState::Serving, all_ids()));
    let report = engine.check(&name("half")).expect("checked");
    assert!(report.findings.len() == 1 && report.findings[0].damage == Damage::Cache, "{report:?}");
    assert_eq!(state("half"), CollectionState::Serving);
    for collection in ["header", "cut"] {
        assert_eq!(state(collection), CollectionState::Damaged);
        let collection = name(collection);
        let corrupt = |error: nearness::api::Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let get = |number| engine.get(&collection, &[id(number)], Fields { payload: true, vector: true });
        let growing = get(SEALED + 1).expect("intact points are served").remove(0).expect("there");
        assert_eq!(growing.payload, Some(item(SEALED + 1).payload));
        corrupt(get(1).expect_err("the point may be in the segment"));
        let query = |query, allow_partial| search(&engine, collection.as_str(), query, allow_partial);
        let near = || Query::Vector(vec![1.0; 4]);
        corrupt(query(near(), false).expect_err("no partial answer by default"));
        let answer = query(near(), true).expect("a partial answer");
        let is_growing = |hit: &Hit| (SEALED..SEALED + GROWING).any(|number| id(number) == hit.point.id);
        assert!(answer.hits.len() == 10 && answer.hits.iter().all(is_growing), "{answer:?}");
        assert_eq!((answer.stats.lost_segments, answer.stats.expected_recall), (1, None));
        corrupt(query(Query::Id(id(1)), true).expect_err("the point may be in the segment"));
        corrupt(engine.count(&collection, None).expect_err("no partial answer"));
        corrupt(engine.scroll(&collection, None, 10, Fields::default(), None).expect_err("no partial answer"));
        corrupt(engine.facet(&collection, "a", 10, None).expect_err("no partial answer"));
        corrupt(engine.describe_fields(&collection, None).expect_err("no partial answer"));
        corrupt(engine.sample(&collection, 10, 0, Fields::NONE, None).expect_err("no partial answer"));
        let order = nearness::api::OrderBy::ascending("a");
        let ordered = engine.scroll_ordered(&collection, &order, None, 10, Fields::NONE, None);
        corrupt(ordered.expect_err("no partial answer"));
        corrupt(engine.upsert(&collection, vec![item(1)]).expect_err("an older version may be there"));
        corrupt(engine.delete_points(&collection, &[id(1)]).expect_err("the point may be there"));
        corrupt(engine.compact(&collection).expect_err("compaction copies no damaged segment"));
    }
    engine.delete_collection(&name("db")).expect("a damaged collection can be deleted");
    assert_eq!(engine.collections().expect("all").len(), names.len() - 1);
}

#[test]
fn the_first_read_detects_damage_and_loses_only_the_damaged_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["vectors", "ids", "payloads", "order", "sums"]);
    for (number, damaged) in [(0, VECTORS), (1, IDS), (2, PAYLOADS), (3, SORTED), (4, SUMS)] {
        let segment = file(dir.path(), number, "vectors");
        flip(&segment, section(&segment, damaged) + 7);
    }
    let engine = open(dir.path());
    let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
    for collection in ["vectors", "ids", "payloads", "order", "sums"] {
        assert_eq!(state(collection), CollectionState::Serving, "the damage is not read yet");
    }
    // The order and the checksums can be recomputed.
    for collection in ["order", "sums"] {
        assert_eq!(ids(&engine, collection), all_ids(), "{collection}");
        let all = engine.get(&name(collection), &all_ids(), Fields { payload: true, vector: true }).expect("points");
        assert!(all.iter().all(Option::is_some));
        assert_eq!(count_hits(&engine, collection).expect("an answer"), 10);
        assert_eq!(state(collection), CollectionState::Serving);
        let report = engine.check(&name(collection)).expect("checked");
        assert!(report.findings.iter().all(|finding| finding.damage == Damage::Cache), "{report:?}");
        assert_eq!((report.findings.len(), state(collection)), (1, CollectionState::Serving));
    }
    for collection in ["vectors", "ids", "payloads"] {
        let collection = name(collection);
        let fields = Fields { payload: true, vector: true };
        let error = engine.get(&collection, &all_ids(), fields).expect_err("some points are damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let info = engine.collection(&collection).expect("listed");
        let problem = &info.problems[0];
        assert_eq!(info.state, CollectionState::Damaged);
        assert!(
            problem.contains(".vectors") && problem.contains("of rows") && problem.contains("at byte"),
            "{problem}"
        );
        assert!(info.points >= SEALED + GROWING - 2 - 256 && info.points < SEALED + GROWING - 2, "{info:?}");
        let mut read = 0;
        for id in all_ids() {
            match engine.get(&collection, std::slice::from_ref(&id), fields) {
                Ok(points) => {
                    let number = id.as_str()[1..].parse().expect("a number");
                    let point = points[0].as_ref().expect("the point exists");
                    assert_eq!(point.payload, Some(item(number).payload));
                    assert_eq!(point.vector.clone().map(PointInput::Vector), Some(item(number).source));
                    read += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            }
        }
        assert_eq!(read, info.points);
        let query = |allow_partial| search(&engine, collection.as_str(), Query::Vector(vec![1.0; 4]), allow_partial);
        assert_eq!(query(false).expect_err("no partial answer by default").kind(), ErrorKind::Corrupt);
        let answer = query(true).expect("a partial answer");
        assert_eq!((answer.hits.len(), answer.stats.lost_segments, answer.stats.expected_recall), (10, 1, None));
        let error = engine.upsert(&collection, vec![item(1)]).expect_err("an older version may be there");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_write_to_a_point_with_a_damaged_id_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["c"]);
    let segment = file(dir.path(), 0, "vectors");
    flip(&segment, section(&segment, IDS) + 7);
    let engine = open(dir.path());
    let error = engine.upsert(&name("c"), (0..1_000).map(item).collect()).expect_err("one of them is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(engine.collection(&name("c")).expect("listed").growing_points, GROWING);
}

#[test]
fn the_scrubber_finds_damage_that_no_request_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["c", "intact"]);
    let segment = file(dir.path(), 0, "vectors");
    flip(&segment, section(&segment, PAYLOADS) + 7);
    let engine = Database::options().scrub_rate(1 << 30).open(dir.path()).expect("it opens");
    for _ in 0..3_000 {
        if engine.activity().scrub.passes > 0 {
            let scrub = engine.activity().scrub;
            assert!(scrub.damaged_blocks == 1 && scrub.bytes > 100_000 && scrub.last_pass > 0, "{scrub:?}");
            assert!(scrub.position > 0 && scrub.total > 0, "{scrub:?}");
            let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
            assert_eq!((state("c"), state("intact")), (CollectionState::Damaged, CollectionState::Serving));
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}", engine.activity());
}

#[test]
fn compaction_copies_no_damaged_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["c"]);
    let segment = file(dir.path(), 0, "vectors");
    flip(&segment, section(&segment, VECTORS) + 99);
    let engine = open(dir.path());
    let error = engine.compact(&name("c")).expect_err("not copied");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(engine.collection(&name("c")).expect("listed").state, CollectionState::Damaged);
    assert!(segment.exists());
}

#[test]
fn deleted_rows_are_compacted_without_further_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["c"]);
    let engine = open(dir.path());
    let (mut rows, mut next) = (u64::MAX, 10);
    while rows > SEALED - 300 && next < 400 {
        engine.delete_points(&name("c"), &(next..next + 10).map(id).collect::<Vec<_>>()).expect("deleted");
        next += 10;
        std::thread::sleep(std::time::Duration::from_millis(20));
        rows = engine.collection(&name("c")).expect("listed").segments.iter().map(|segment| segment.rows).sum();
    }
    for _ in 0..3_000 {
        let info = engine.collection(&name("c")).expect("listed");
        if info.segments.iter().all(|segment| segment.deleted_rows * 5 < segment.rows && segment.rows < SEALED - 200) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}", engine.collection(&name("c")));
}
