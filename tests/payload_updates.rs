//! Updates of payloads: the vector and the graph stay; every reader sees the new payload; merges, snapshots and restarts
//! keep it.

use nearness::api::{
    Accuracy, CollectionSpec, ErrorKind, Fields, Filter, IndexSettings, Item, Payload, PayloadAction, PayloadUpdate,
    PointSelection, Query, SearchParams, limits,
};
use nearness::collection::{OnConflict, check_directory};
use nearness::engine::{Admin, Database, Reads, Snapshots, Writes};
use nearness::snapshot_store::SnapshotStore;
use nearness::types::{CollectionName, Metric, PointId};
use serde_json::{Value, json};
use std::path::Path;

fn name() -> CollectionName {
    CollectionName::new("points").expect("a name")
}

fn id(number: u64) -> PointId {
    PointId::new(format!("p{number}")).expect("an id")
}

fn object(value: Value) -> Payload {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

fn open(dir: &Path) -> Database {
    Database::open(dir).expect("it opens")
}

fn vector(number: u64) -> Vec<f32> {
    vec![number as f32, (number % 17) as f32, 1.0]
}

/// Creates a collection with points 0..sealed in one segment with a graph, then 10 growing ones.
fn filled(dir: &Path, sealed: u64) -> Database {
    let engine = open(dir);
    let index = IndexSettings::default().m(8).ef_construction(40).seal_rows(10_000);
    engine.create_collection(&CollectionSpec::vectors(name(), 3).metric(Metric::L2).index(index)).expect("created");
    let item = |number| Item::vector(id(number), vector(number)).field("n", number).field("kind", "old");
    let mut items = (0..sealed).map(item);
    engine
        .bulk_load(&name(), &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.upsert(&name(), (sealed..sealed + 10).map(item).collect()).expect("written");
    engine
}

fn set(engine: &Database, ids: impl IntoIterator<Item = u64>, fields: Value) -> u64 {
    let points = PointSelection::Ids(ids.into_iter().map(id).collect());
    engine.update_payload(&name(), &points, &PayloadUpdate::set(object(fields))).expect("updated").updated
}

fn payload(engine: &Database, number: u64) -> Value {
    let mut points = engine.get(&name(), &[id(number)], Fields::PAYLOAD).expect("read");
    Value::Object(points.remove(0).expect("a point").payload.expect("a payload"))
}

fn count(engine: &Database, kind: &str) -> u64 {
    engine.count(&name(), Some(&Filter::equals("kind", kind))).expect("counted")
}

#[test]
fn an_update_keeps_segment_and_graph_and_every_reader_sees_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = filled(dir.path(), 3_000);
    let before = engine.collection(&name()).expect("described");
    // The cached matches of a filter must not be used again.
    assert_eq!((count(&engine, "old"), count(&engine, "new")), (3_010, 0));
    assert_eq!(set(&engine, [1, 5, 3_003], json!({"kind": "new", "extra": true})), 3);
    let after = engine.collection(&name()).expect("described");
    assert_eq!(after.segments, before.segments, "the segment, its graph and its live rows");
    assert_eq!(after.sequence, before.sequence + 1, "one write");
    assert_eq!((count(&engine, "old"), count(&engine, "new")), (3_007, 3));
    assert_eq!(payload(&engine, 5), json!({"n": 5, "kind": "new", "extra": true}));
    assert_eq!(payload(&engine, 3_003), json!({"n": 3_003, "kind": "new", "extra": true}));
    assert_eq!(payload(&engine, 6), json!({"n": 6, "kind": "old"}));
    let params = SearchParams::new(5).accuracy(Accuracy::Ef(64)).filter(Filter::exists("extra"));
    let answer = engine.search(&name(), &[Query::Vector(vector(4))], &params).expect("an answer").remove(0);
    let hits: Vec<&str> = answer.hits.iter().map(|hit| hit.point.id.as_str()).collect();
    assert_eq!(hits, ["p5", "p1", "p3003"]);
    let page = engine.scroll(&name(), None, 10, Fields::PAYLOAD, Some(&Filter::exists("extra"))).expect("a page");
    assert!(page.points.iter().all(|point| point.payload.as_ref().expect("a payload")["kind"] == "new"));
    assert!(engine.unknown_fields(&name(), &Filter::exists("extra")).expect("checked").is_empty());
    // A second update of the same row, one of an equal value, and an id without a point.
    assert_eq!(set(&engine, [5], json!({"kind": "newer"})), 1);
    assert_eq!((count(&engine, "new"), count(&engine, "newer")), (2, 1));
    let points = PointSelection::Ids(vec![id(5), id(5), id(9_999), id(6)]);
    let update = PayloadUpdate::set(object(json!({"kind": "newer"})));
    let done = engine.update_payload(&name(), &points, &update).expect("updated");
    assert_eq!((done.updated, done.unchanged, done.missing), (1, 1, vec![id(9_999)]));
    // An upsert compares with the updated payload.
    let same = Item::vector(id(5), vector(5)).payload(object(payload(&engine, 5)));
    let done = engine.upsert(&name(), vec![same]).expect("written");
    assert_eq!((done.replaced, done.unchanged), (1, 1));
    let old = Item::vector(id(6), vector(6)).field("n", 6).field("kind", "old");
    assert_eq!(engine.upsert(&name(), vec![old]).expect("written").unchanged, 0);
    assert_eq!((count(&engine, "newer"), count(&engine, "old")), (1, 3_007));
}

#[test]
fn updates_survive_restarts_merges_and_deletes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = filled(dir.path(), 2_500);
    set(&engine, (0..100).chain(2_500..2_505), json!({"kind": "new"}));
    assert_eq!(engine.delete_points(&name(), &[id(0), id(2_500)]).expect("deleted").deleted, 2);
    engine.upsert(&name(), vec![Item::vector(id(1), vector(1)).field("kind", "again")]).expect("written");
    let assert_state = |engine: &Database, step: &str| {
        assert_eq!((count(engine, "new"), count(engine, "again")), (102, 1), "{step}");
        assert_eq!(payload(engine, 7), json!({"n": 7, "kind": "new"}), "{step}");
        assert_eq!(payload(engine, 1), json!({"kind": "again"}), "{step}");
        let found = engine.get(&name(), &[id(0)], Fields::NONE).expect("read");
        assert_eq!(found, [None], "{step}");
    };
    assert_state(&engine, "before");
    drop(engine);
    let findings = check_directory(dir.path()).expect("checked").findings;
    assert!(findings.is_empty(), "{findings:?}");
    engine = open(dir.path());
    assert_state(&engine, "reopened");
    let info = engine.compact(&name()).expect("compacted");
    assert_eq!((info.segments.len(), info.deleted_rows), (1, 0));
    assert_state(&engine, "merged");
    drop(engine);
    engine = open(dir.path());
    assert_state(&engine, "reopened after a merge");
    // The compaction of a single segment writes the updates, too.
    set(&engine, [8], json!({"kind": "last"}));
    let before = engine.compact(&name()).expect("compacted").segments[0].id;
    assert_eq!(engine.compact(&name()).expect("compacted").segments[0].id, before, "nothing is left to write");
    assert_eq!(payload(&engine, 8), json!({"n": 8, "kind": "last"}));
}

#[test]
fn a_snapshot_contains_the_updates_of_its_moment() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshots = tempfile::tempdir().expect("a folder");
    drop(filled(dir.path(), 2_500));
    let store = SnapshotStore::open(snapshots.path().to_str().expect("UTF-8")).expect("a store");
    let engine = Database::options().snapshots(store).open(dir.path()).expect("it opens");
    set(&engine, [3, 4, 2_501], json!({"kind": "new"}));
    engine.delete_points(&name(), &[id(4)]).expect("deleted");
    let snapshot = engine.create_snapshot(&name(), &|_, _, _| true).expect("created").snapshot;
    set(&engine, [3, 5], json!({"kind": "later"}));
    engine.verify_snapshot(&snapshot, &|_, _, _| true).expect("intact");
    engine.restore_snapshot(&snapshot, &name(), true, &|_, _, _| true).expect("restored");
    assert_eq!((count(&engine, "new"), count(&engine, "later"), count(&engine, "old")), (2, 0, 2_507));
    assert_eq!(payload(&engine, 3), json!({"n": 3, "kind": "new"}));
}

#[test]
fn an_update_by_filter_is_one_write_and_refuses_what_would_exceed_a_limit() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = filled(dir.path(), 2_500);
    let matching = |filter, allow_unknown_fields| PointSelection::Matching { filter, allow_unknown_fields };
    let update = PayloadUpdate::set(object(json!({"kind": "new"})));
    let before = engine.collection(&name()).expect("described").sequence;
    let low = Filter::range("n", nearness::api::Range { lt: Some(50_i64.into()), ..Default::default() });
    let done = engine.update_payload(&name(), &matching(low, false), &update).expect("updated");
    assert_eq!((done.sequence, done.updated, done.unchanged), (before + 1, 50, 0));
    assert_eq!(count(&engine, "new"), 50);
    let misspelt = Filter::not(Filter::exists("knd"));
    let refused = engine.update_payload(&name(), &matching(misspelt.clone(), false), &update).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("nothing was updated"), "{refused}");
    let done = engine.update_payload(&name(), &matching(misspelt, true), &update).expect("updated");
    assert_eq!((done.updated, done.unchanged), (2_460, 50));
    // One of two points would exceed the limit of a payload: nothing is written.
    let large = "x".repeat(limits::MAX_PAYLOAD_BYTES - 60);
    set(&engine, [7], json!({ "large": large }));
    let points = PointSelection::Ids(vec![id(6), id(7)]);
    let grow = PayloadUpdate::set(object(json!({ "more": "y".repeat(100) })));
    let refused = engine.update_payload(&name(), &points, &grow).expect_err("refused");
    assert!(refused.to_string().contains("\"p7\"") && refused.kind() == ErrorKind::InvalidInput, "{refused}");
    assert_eq!(payload(&engine, 6), json!({"n": 6, "kind": "new"}));
    let deep = (1..limits::MAX_PAYLOAD_DEPTH).map(|_| "a").collect::<Vec<_>>().join(".");
    let nest = PayloadAction::Set { path: Some(format!("{deep}.a.a")), fields: object(json!({"b": 1})) };
    let refused = engine.update_payload(&name(), &points, &PayloadUpdate::new([nest])).expect_err("refused");
    assert!(refused.to_string().contains("32 levels"), "{refused}");
    let scalar = PayloadAction::Set { path: Some("kind".into()), fields: object(json!({"b": 1})) };
    let refused = engine.update_payload(&name(), &points, &PayloadUpdate::new([scalar])).expect_err("refused");
    assert!(refused.to_string().contains("\"p6\"") && refused.to_string().contains("a text"), "{refused}");
}

#[test]
fn many_updates_rewrite_the_segment_in_the_background() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = filled(dir.path(), 2_500);
    let before = engine.collection(&name()).expect("described").segments[0].id;
    set(&engine, 0..357, json!({"kind": "new"}));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(engine.collection(&name()).expect("described").segments[0].id, before, "1/7 of the rows may be updated");
    set(&engine, 357..358, json!({"kind": "new"}));
    let begun = std::time::Instant::now();
    while engine.collection(&name()).expect("described").segments[0].id == before {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the segment is rewritten");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(count(&engine, "new"), 358);
}
