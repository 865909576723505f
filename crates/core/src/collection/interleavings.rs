//! Tests of a small collection under many interleavings of its threads: writers, a reader, flushes, merges, a deletion.
//! Run with `cargo test --release --features interleavings --lib interleavings`.
//!
//! shuttle runs one thread at a time and switches at each lock, atomic and condition variable of `crate::sync`: at
//! random, or with few switches at critical points (PCT). It does not model weak memory: all orderings are sequentially
//! consistent.

use super::commit::{PreparedPoint, WriteResult};
use super::compaction::Step;
use super::job_lock::JobLock;
use super::plan::WriteRequest;
use super::recall::tests::empty;
use super::state::Collection;
use crate::api::{CancellationToken, Error, Fields, PayloadUpdate, Point, PointSelection};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, thread, try_orders};
use crate::types::PointId;

const IDS: [&str; 2] = ["a", "b"];

struct Subject {
    collection: Collection,
    _folder: tempfile::TempDir,
}

/// Returns a collection of dimension 1 that is sealed after two points.
fn subject() -> Arc<Subject> {
    let folder = crate::quick_dir();
    let collection = empty(folder.path(), 1, 2);
    Arc::new(Subject { collection, _folder: folder })
}

fn id(name: &str) -> PointId {
    PointId::new(name).unwrap()
}

fn upsert(collection: &Collection, ids: &[&str], value: u64) -> u64 {
    let items =
        ids.iter().map(|name| PreparedPoint { id: id(name), vector: vec![value as f32], body: Box::from(&b"{}"[..]) });
    match collection.write(WriteRequest::Upsert(items.collect())).unwrap() {
        WriteResult::Upserted(upserted) => upserted.sequence,
        WriteResult::Deleted(_) | WriteResult::Updated(_) => panic!("the result of another request"),
    }
}

/// Returns the values of the points, in the order of their ids.
fn values(collection: &Collection) -> Vec<(String, u64)> {
    let page = collection.scroll(None, 10, Fields { vector: true, payload: false }, None).unwrap();
    page.points.into_iter().map(|point| (point.id.as_str().to_owned(), point.vector.unwrap()[0] as u64)).collect()
}

/// Runs the background jobs until `sequence` is reached, because writers wait for its flushes.
fn run_background_jobs_until(subject: &Arc<Subject>, sequence: u64) -> thread::JoinHandle<()> {
    let subject = subject.clone();
    thread::spawn(move || {
        while subject.collection.commit_queue.sequence() < sequence {
            run_background_jobs(&subject.collection);
            thread::yield_now();
        }
    })
}

/// Flushes the growing points and merges, like the background threads.
fn run_background_jobs(collection: &Collection) {
    while collection.flush_oldest().unwrap() {}
    while collection.run_compaction(&|_, _, _| true).unwrap() == Step::Done {}
}

#[test]
fn a_replaced_point_is_never_missing_and_never_stale() {
    try_orders(|| {
        let subject = subject();
        upsert(&subject.collection, &IDS, 1);
        let written = Arc::new(AtomicU64::new(1));
        let threads = [
            thread::spawn({
                let (subject, written) = (subject.clone(), written.clone());
                move || {
                    for value in 2..5 {
                        upsert(&subject.collection, &IDS, value);
                        written.store(value, Ordering::SeqCst);
                    }
                }
            }),
            run_background_jobs_until(&subject, 4),
            thread::spawn({
                let subject = subject.clone();
                move || {
                    let at_least = written.load(Ordering::SeqCst);
                    let seen = values(&subject.collection);
                    assert_eq!(seen.len(), IDS.len(), "{seen:?}");
                    assert!(seen.iter().all(|(_, value)| *value >= at_least && *value == seen[0].1), "{seen:?}");
                    let ids = IDS.map(id);
                    let found = subject.collection.get(&ids, Fields { vector: true, payload: false }).unwrap();
                    for point in &found {
                        let value = point.as_ref().expect("it was replaced, not deleted").vector.as_ref().unwrap()[0];
                        assert!(value as u64 >= at_least, "{found:?}");
                    }
                    assert!(subject.collection.view().ensure_intact(&subject.collection.name()).is_ok());
                }
            }),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        run_background_jobs(&subject.collection);
        assert_eq!(values(&subject.collection), [("a".into(), 4), ("b".into(), 4)]);
    });
}

#[test]
fn the_later_of_two_writes_wins_and_flushes_lose_nothing() {
    try_orders(|| {
        let subject = subject();
        let writers = [10, 20].map(|base| {
            let subject = subject.clone();
            thread::spawn(move || {
                let own = format!("own{base}");
                upsert(&subject.collection, &[&own], base);
                let first = upsert(&subject.collection, &IDS, base + 1);
                let second = upsert(&subject.collection, &IDS, base + 2);
                assert!(first < second);
                (second, base + 2)
            })
        });
        let background = run_background_jobs_until(&subject, 6);
        let mut last = (0, 0);
        for writer in writers {
            last = last.max(writer.join().unwrap());
        }
        background.join().unwrap();
        let expected = [("a", last.1), ("b", last.1), ("own10", 10), ("own20", 20)];
        assert_eq!(values(&subject.collection), expected.map(|(id, value)| (id.to_owned(), value)));
        assert_eq!(subject.collection.commit_queue.sequence(), 6);
        run_background_jobs(&subject.collection);
        assert_eq!(subject.collection.view().live(), 4);
    });
}

#[test]
fn a_point_deleted_during_a_flush_or_merge_stays_deleted() {
    try_orders(|| {
        let subject = subject();
        upsert(&subject.collection, &["a", "b"], 1);
        upsert(&subject.collection, &["c"], 1);
        let background = {
            let subject = subject.clone();
            thread::spawn(move || run_background_jobs(&subject.collection))
        };
        let compacts = {
            let subject = subject.clone();
            thread::spawn(move || subject.collection.compact(&|_, _, _| true).unwrap())
        };
        let deleted = subject.collection.write(WriteRequest::Delete(vec![id("a"), id("c")])).unwrap();
        assert!(matches!(deleted, WriteResult::Deleted(deleted) if deleted.deleted == 2 && deleted.missing.is_empty()));
        assert_eq!(values(&subject.collection), [("b".to_owned(), 1)]);
        background.join().unwrap();
        compacts.join().unwrap();
        assert_eq!(values(&subject.collection), [("b".to_owned(), 1)]);
        assert_eq!(subject.collection.view().live(), 1);
    });
}

/// Sets the field "value" of the points.
fn update(collection: &Collection, ids: &[&str], value: u64) {
    let points = PointSelection::Ids(ids.iter().map(|name| id(name)).collect());
    let update = PayloadUpdate::set([("value".to_owned(), value.into())].into_iter().collect());
    let request = WriteRequest::UpdatePayload { points, update, stop: CancellationToken::default() };
    assert_eq!(collection.write(request).and_then(WriteResult::updated).unwrap().updated, ids.len() as u64);
}

/// Returns the field "value" of the points; 0 without it.
fn updated(collection: &Collection, ids: &[&str]) -> Vec<u64> {
    let ids: Vec<PointId> = ids.iter().map(|name| id(name)).collect();
    let points = collection.get(&ids, Fields::PAYLOAD).unwrap();
    let value = |point: Option<Point>| point.unwrap().payload.unwrap().get("value").map_or(0, |v| v.as_u64().unwrap());
    points.into_iter().map(value).collect()
}

#[test]
fn a_payload_updated_during_a_flush_or_merge_stays_updated() {
    try_orders(|| {
        let subject = subject();
        upsert(&subject.collection, &["a", "b"], 1);
        upsert(&subject.collection, &["c"], 1);
        let jobs: Vec<_> = (0..2)
            .map(|number| {
                let subject = subject.clone();
                thread::spawn(move || match number {
                    0 => run_background_jobs(&subject.collection),
                    _ => drop(subject.collection.compact(&|_, _, _| true)),
                })
            })
            .collect();
        for value in 1..3 {
            update(&subject.collection, &["a", "c"], value);
            assert_eq!(updated(&subject.collection, &["a", "b", "c"]), [value, 0, value]);
        }
        jobs.into_iter().for_each(|job| job.join().unwrap());
        run_background_jobs(&subject.collection);
        assert_eq!(updated(&subject.collection, &["a", "b", "c"]), [2, 0, 2]);
        assert_eq!(values(&subject.collection), [("a".to_owned(), 1), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
    });
}

#[test]
fn points_deleted_all_at_once_during_a_flush_or_merge_stay_deleted() {
    try_orders(|| {
        let subject = subject();
        upsert(&subject.collection, &["a", "b"], 1);
        upsert(&subject.collection, &["c", "d"], 1);
        let background = {
            let subject = subject.clone();
            thread::spawn(move || run_background_jobs(&subject.collection))
        };
        let deleted = subject.collection.write(WriteRequest::DeleteAll).and_then(WriteResult::deleted).unwrap();
        assert_eq!(deleted.deleted, 4);
        upsert(&subject.collection, &["b"], 2);
        background.join().unwrap();
        run_background_jobs(&subject.collection);
        assert_eq!(values(&subject.collection), [("b".to_owned(), 2)]);
        assert_eq!(subject.collection.view().live(), 1);
    });
}

#[test]
fn an_ended_collection_refuses_writers_and_leaves_none_waiting() {
    try_orders(|| {
        let subject = subject();
        // Two segments wait for a flush that never happens, so writers block.
        upsert(&subject.collection, &["a", "b"], 1);
        upsert(&subject.collection, &["c", "d"], 1);
        let writer = {
            let subject = subject.clone();
            thread::spawn(move || {
                let item = PreparedPoint { id: id("e"), vector: vec![1.0], body: Box::from(&b"{}"[..]) };
                subject.collection.write(WriteRequest::Upsert(vec![item]))
            })
        };
        {
            let held = subject.collection.commit_queue.lock();
            subject.collection.end();
            drop(held);
        }
        assert!(matches!(writer.join().unwrap(), Err(Error::UnknownCollection(_))));
    });
}

#[test]
fn the_job_lock_admits_one_job_at_a_time_and_forgets_none() {
    try_orders(|| {
        let lock = Arc::new(JobLock::default());
        let inside = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (lock, inside) = (lock.clone(), inside.clone());
                thread::spawn(move || {
                    let background = || loop {
                        match lock.behind_requests() {
                            Some(guard) => break guard,
                            None => thread::yield_now(),
                        }
                    };
                    let _mine = if number == 0 { background() } else { lock.of_request().unwrap() };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!lock.has_waiting_request());
    });
}
