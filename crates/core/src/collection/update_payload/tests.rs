//! Tests of updates that meet a merge, a limit, or other requests of the same transaction.

use super::*;
use crate::api::{ErrorKind, Fields, Filter, Job, Payload, PointSelection, WriteCondition, WriteMode};
use crate::collection::commit::{PreparedPoint, WriteResult};
use crate::collection::compaction::Step;
use crate::collection::meters::Meters;
use crate::collection::plan::WriteRequest;
use crate::collection::recall::tests::{empty, opened};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn id(number: usize) -> PointId {
    PointId::new(format!("p{number}")).unwrap()
}

fn point(number: usize, payload: &Value) -> PreparedPoint {
    PreparedPoint {
        id: id(number),
        vector: vec![number as f32, (number % 7) as f32],
        body: serde_json::to_vec(payload).unwrap().into(),
    }
}

/// Creates a collection with points 0..rows in one segment, whose payload is their number.
fn sealed(dir: &Path, rows: usize) -> Collection {
    let collection = empty(dir, 2, 100_000);
    let points = (0..rows).map(|number| point(number, &json!({ "n": number })));
    collection.write(WriteRequest::Upsert(points.collect())).unwrap();
    collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
    assert!(collection.flush_oldest().unwrap());
    collection
}

fn set(points: PointSelection, fields: Value) -> WriteRequest {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    WriteRequest::UpdatePayload { points, update: PayloadUpdate::set(fields), stop: CancellationToken::default() }
}

fn set_one(number: usize, fields: Value) -> WriteRequest {
    set(PointSelection::Ids(vec![id(number)]), fields)
}

fn payload(collection: &Collection, number: usize) -> Option<Value> {
    let found: Option<Payload> = collection.get(&[id(number)], Fields::PAYLOAD).unwrap().remove(0)?.payload;
    found.map(Value::Object)
}

#[test]
fn updates_during_a_merge_are_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let collection = sealed(dir.path(), 2_500);
    for number in [1, 2, 3] {
        collection.write(set_one(number, json!({"when": "before"}))).unwrap();
    }
    let begun = AtomicBool::new(false);
    let observe = |job: Job, _: u64, _: u64| {
        // The rows are written; their graph is not.
        if job == Job::Indexing && !begun.swap(true, Ordering::SeqCst) {
            collection.write(set_one(2, json!({"when": "during"}))).unwrap();
            collection.write(set_one(4, json!({"when": "during"}))).unwrap();
            collection.write(set_one(5, json!({"when": "during"}))).unwrap();
            collection.write(WriteRequest::Delete(vec![id(3), id(5)])).unwrap();
        }
        true
    };
    collection.compact(&observe).unwrap();
    assert!(begun.load(Ordering::SeqCst));
    let expected = [(1, "before"), (2, "during"), (4, "during")];
    let assert_payloads = |collection: &Collection| {
        for (number, when) in expected {
            assert_eq!(payload(collection, number), Some(json!({"n": number, "when": when})));
            let matching = Filter::And(vec![Filter::equals("n", number as i64), Filter::equals("when", when)]);
            assert_eq!(collection.select(&collection.view(), &matching).unwrap().count, 1);
        }
        assert_eq!((payload(collection, 3), payload(collection, 5)), (None, None));
        assert_eq!(payload(collection, 6), Some(json!({"n": 6})));
        let exists = Filter::exists("when");
        assert_eq!(collection.select(&collection.view(), &exists).unwrap().count, 3);
    };
    assert_payloads(&collection);
    let rows = collection.view().sealed.iter().map(|sealed| sealed.updates().rows()).sum::<u32>();
    assert_eq!(rows, 2, "the merge wrote the earlier updates into the new segment");
    drop(collection);
    assert_payloads(&opened(dir.path(), 2, 100_000, Arc::<Meters>::default()));
}

#[test]
fn points_deleted_all_at_once_during_a_merge_or_a_flush_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let collection = sealed(dir.path(), 2_500);
    collection.write(set_one(1, json!({"a": 1}))).unwrap();
    let begun = AtomicBool::new(false);
    let observe = |job: Job, _: u64, _: u64| {
        if job == Job::Indexing && !begun.swap(true, Ordering::SeqCst) {
            let done = collection.write(WriteRequest::DeleteAll).and_then(WriteResult::deleted).unwrap();
            assert_eq!(done.deleted, 2_500);
            collection.write(WriteRequest::Upsert(vec![point(7, &json!({"new": true}))])).unwrap();
        }
        true
    };
    collection.compact(&observe).unwrap();
    let assert_state = |collection: &Collection| {
        assert_eq!(collection.view().live(), 1);
        assert_eq!((payload(collection, 1), payload(collection, 7)), (None, Some(json!({"new": true}))));
    };
    assert_state(&collection);
    let vectors = || {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "vectors")).count()
    };
    assert_eq!(vectors(), 0, "the files of the segments are removed");
    drop(collection);
    let collection = opened(dir.path(), 2, 100_000, Arc::<Meters>::default());
    assert_state(&collection);
    assert!(collection.orphans.is_empty(), "{:?}", collection.orphans);
}

#[test]
fn updates_beyond_the_memory_limit_wait_for_a_merge() {
    let dir = tempfile::tempdir().unwrap();
    let mut collection = sealed(dir.path(), 300);
    collection.flush_bytes = 10_000;
    let large = |number| set_one(number, json!({ "text": "x".repeat(4_000) }));
    let refused = collection.write(set_one(1, json!({ "text": "x".repeat(5_000) }))).err().unwrap();
    assert!(refused.kind() == ErrorKind::InvalidInput && refused.to_string().contains("5000 bytes"), "{refused}");
    collection.write(large(1)).unwrap();
    let run = || collection.run_compaction(&|_, _, _| true).unwrap();
    assert_eq!(run(), Step::Nothing, "less than half of the limit");
    collection.write(large(2)).unwrap();
    let refused = collection.write(large(3)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused}");
    assert_eq!(payload(&collection, 3), Some(json!({"n": 3})));
    // A replaced payload of the same row is counted as one more until the merge; a small one fits.
    collection.write(set_one(2, json!({"text": "y"}))).unwrap();
    collection.write(large(2)).unwrap();
    assert_eq!(run(), Step::Done);
    assert_eq!(collection.view().overlay_bytes(), 0);
    collection.write(large(3)).unwrap();
    assert_eq!(payload(&collection, 3).unwrap()["text"].as_str().unwrap().len(), 4_000);
    assert_eq!(payload(&collection, 2).unwrap()["text"].as_str().unwrap().len(), 4_000);
}

#[test]
fn requests_of_one_transaction_see_those_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let collection = sealed(dir.path(), 10);
    collection.write(WriteRequest::Upsert(vec![point(20, &json!({"n": 20}))])).unwrap();
    let matching =
        |field: &str| PointSelection::Matching { filter: Filter::exists(field), allow_unknown_fields: false };
    let requests = vec![
        // 0: a sealed, a growing and a missing point.
        set(PointSelection::Ids(vec![id(1), id(20), id(99)]), json!({"a": 1})),
        // 1: the two points above, by filter.
        set(matching("a"), json!({"b": 2})),
        // 2: the same fields again.
        set(matching("b"), json!({"b": 2})),
        // 3: equal to what the requests above stored.
        WriteRequest::Upsert(vec![point(1, &json!({"a": 1, "b": 2, "n": 1}))]),
        // 4: the row that was inserted above.
        set_one(1, json!({"c": 3})),
        WriteRequest::Delete(vec![id(2)]),
        // 6: no point.
        set_one(2, json!({"d": 4})),
        set_one(3, json!({"e": 5})),
        // 8: an updated sealed point.
        WriteRequest::DeleteMatching {
            filter: Filter::exists("e"),
            allow_unknown_fields: false,
            stop: CancellationToken::default(),
        },
        // 9: only the point that has the field.
        WriteRequest::UpsertIf {
            points: vec![point(1, &json!({"f": 6})), point(4, &json!({"f": 6})), point(3, &json!({"f": 6}))],
            condition: WriteCondition::mode(WriteMode::Update).only_if(Filter::exists("c")),
            keep_payloads: false,
        },
    ];
    let mut state = collection.commit_queue.lock();
    let before = collection.commit_queue.sequence();
    let (results, removed) = collection.commit(&mut state, requests);
    drop(state);
    assert!(removed.is_empty());
    let mut results = results.into_iter().map(Result::unwrap);
    let mut updated = || {
        let done = results.next().unwrap().updated().unwrap();
        (done.updated, done.unchanged, done.missing.len())
    };
    assert_eq!([updated(), updated(), updated()], [(2, 0, 1), (2, 0, 0), (0, 2, 0)]);
    let upserted = results.next().unwrap().upserted().unwrap();
    assert_eq!((upserted.replaced, upserted.unchanged), (1, 1));
    assert_eq!(results.next().unwrap().updated().unwrap().updated, 1);
    assert_eq!(results.next().unwrap().deleted().unwrap().deleted, 1);
    assert_eq!(results.next().unwrap().updated().unwrap().missing, [id(2)]);
    assert_eq!(results.next().unwrap().updated().unwrap().updated, 1);
    assert_eq!(results.next().unwrap().deleted().unwrap().deleted, 1);
    let conditional = results.next().unwrap().upserted().unwrap();
    assert_eq!((conditional.inserted, conditional.replaced), (0, 1));
    assert_eq!((conditional.skipped.missing, conditional.skipped.unmatched), (vec![id(3)], vec![id(4)]));
    assert_eq!(collection.commit_queue.sequence(), before + 10);
    let assert_state = |collection: &Collection| {
        let found: Vec<_> = [1, 2, 3, 4, 20].map(|number| payload(collection, number)).into();
        let expected =
            [Some(json!({"f": 6})), None, None, Some(json!({"n": 4})), Some(json!({"n": 20, "a": 1, "b": 2}))];
        assert_eq!(found, expected);
        assert_eq!(collection.view().live(), 9);
    };
    assert_state(&collection);
    drop(collection);
    let collection = opened(dir.path(), 2, 100_000, Arc::<Meters>::default());
    assert_state(&collection);

    // All points: stored, staged and updated ones.
    let requests = vec![
        WriteRequest::Upsert(vec![point(1, &json!({})), point(30, &json!({}))]),
        set_one(5, json!({"a": 1})),
        WriteRequest::DeleteAll,
        WriteRequest::Upsert(vec![point(5, &json!({"g": 7}))]),
        WriteRequest::DeleteAll,
        WriteRequest::Upsert(vec![point(6, &json!({"h": 8}))]),
    ];
    let mut state = collection.commit_queue.lock();
    let (results, removed) = collection.commit(&mut state, requests);
    drop(state);
    assert_eq!(removed.len(), 1);
    collection.remove_files(&removed);
    let deleted: Vec<u64> =
        results.into_iter().filter_map(|done| done.unwrap().deleted().ok()).map(|done| done.deleted).collect();
    assert_eq!(deleted, [10, 1]);
    drop(collection);
    let collection = opened(dir.path(), 2, 100_000, Arc::<Meters>::default());
    assert_eq!(collection.view().live(), 1);
    assert_eq!((payload(&collection, 5), payload(&collection, 6)), (None, Some(json!({"h": 8}))));
}
