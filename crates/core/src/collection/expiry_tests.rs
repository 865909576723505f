//! Expired points: hidden from every read, replaced by writes, deleted in batches, and kept in snapshots and restarts.

use crate::api::{
    Accuracy, Clock, Payload, PayloadAction, PayloadUpdate, PointSelection, Reason, WriteCondition, WriteMode,
};
use crate::collection::commit::PreparedPoint;
use crate::collection::expiry::EXPIRED_BATCH;
use crate::collection::layout::{LayoutKey, LayoutParams, LayoutPart};
use crate::collection::plan::WriteRequest;
use crate::layout::Method;
use crate::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const SECOND: i64 = 1_000_000;

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

fn id(text: &str) -> PointId {
    PointId::new(text).unwrap()
}

fn object(value: Value) -> Payload {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

/// A clock that stands still, in seconds.
#[derive(Clone, Default)]
struct Time(Arc<AtomicI64>);

impl Time {
    fn set(&self, seconds: i64) {
        self.0.store(seconds * SECOND, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = self.0.clone();
        Clock::new(move || Timestamp::from_micros(time.load(Ordering::SeqCst)))
    }
}

fn open(dir: &Path, time: &Time) -> Database {
    Database::options().clock(time.clock()).open(dir).unwrap()
}

/// Opens a database whose thread in the background finds no expired points.
fn open_without_expirer(dir: &Path, time: &Time) -> Database {
    let time = time.clock();
    let clock = Clock::new(move || match std::thread::current().name() {
        Some("expirer") => Timestamp::from_micros(0),
        _ => time.now(),
    });
    Database::options().clock(clock).open(dir).unwrap()
}

fn spec() -> CollectionSpec {
    let field = TextField::new("words", ["word"]);
    let index = IndexSettings::default().seal_rows(500);
    CollectionSpec::vectors(name(), 1).metric(Metric::L2).index(index).text_fields([field])
}

/// A point on a line with its time in microseconds.
fn item(number: i64, seconds: i64) -> Item {
    let payload = object(json!({"at": seconds * SECOND, "n": number, "word": format!("w{}", number % 3)}));
    Item {
        id: id(&format!("p{number:05}")),
        source: PointInput::Vector(vec![number as f32]),
        payload,
        vectors: Default::default(),
    }
}

fn ids(points: &[Point]) -> Vec<&str> {
    points.iter().map(|point| point.id.as_str()).collect()
}

fn all(database: &Database) -> Vec<Point> {
    let fields = Fields { payload: true, vector: false };
    database.scroll(&name(), None, 10_000, fields, None).unwrap().points
}

/// Checks every read against the points that are expected to be visible, in the order of their ids.
fn check(database: &Database, expected: &[i64]) {
    let name = name();
    let names: Vec<String> = expected.iter().map(|number| format!("p{number:05}")).collect();
    let filter = Filter::exists("n");
    assert_eq!(ids(&all(database)), names);
    for filter in [None, Some(&filter)] {
        assert_eq!(database.count(&name, filter).unwrap(), expected.len() as u64);
        let page = database.scroll(&name, None, 10_000, Fields::default(), filter).unwrap();
        assert_eq!(ids(&page.points), names);
        let order = OrderBy::ascending("n");
        let page = database.scroll_ordered(&name, &order, None, 10_000, Fields::default(), filter).unwrap();
        assert_eq!(ids(&page.points), names);
        let mut sample = database.sample(&name, 10_000, 7, Fields::default(), filter).unwrap();
        sample.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(ids(&sample), names);
        let facet = database.facet(&name, "n", 10_000, filter).unwrap();
        assert_eq!((facet.points, facet.distinct), (expected.len() as u64, expected.len() as u64));
        assert_eq!(database.describe_fields(&name, filter).unwrap().points, expected.len() as u64);
        for accuracy in [Accuracy::Exact, Accuracy::Default] {
            let params = SearchParams::new(10_000.min(expected.len().max(1) as u32)).accuracy(accuracy);
            let params = match filter {
                Some(filter) => params.filter(filter.clone()),
                None => params,
            };
            let hits = |query| {
                let mut answers = database.search(&name, &[query], &params).unwrap();
                let mut hits: Vec<String> =
                    answers.remove(0).hits.into_iter().map(|hit| hit.point.id.to_string()).collect();
                hits.sort();
                hits
            };
            assert_eq!(hits(Query::Vector(vec![0.0])), names);
            let words = ["w0", "w1", "w2"].join(" ");
            assert_eq!(hits(Query::Keywords(Keywords::new(words))), names);
        }
    }
    let mut mapped = Vec::new();
    let params = LayoutParams::new(2).choice(LayoutKey { dimensions: 2, method: Some(Method::Pca) });
    let collected = std::sync::Mutex::new(&mut mapped);
    let observe = |part| {
        if let LayoutPart::Points { ids, .. } = part {
            collected.lock().unwrap().extend(ids.iter().map(ToString::to_string));
        }
        true
    };
    database.compute_layout(&name, &params, &observe).unwrap();
    mapped.sort();
    assert_eq!(mapped, names);
}

#[test]
fn expired_points_are_hidden_from_every_read_and_then_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open(dir.path(), &time);
    database.create_collection(&spec().ttl(Ttl::new("at", 60))).unwrap();
    // In sealed segments, and in a growing one; each third point lives longer than the others.
    let seconds = |number: i64| if number % 3 == 0 { 1_000 } else { 970 };
    for first in [0, 500] {
        let items = (first..first + 500).map(|number| item(number, seconds(number)));
        database.upsert(&name(), items.collect()).unwrap();
    }
    database.compact(&name()).unwrap();
    database.upsert(&name(), (1_000..1_050).map(|number| item(number, seconds(number))).collect()).unwrap();
    let never = Item { payload: object(json!({"n": 1_050, "word": "w0", "at": "later"})), ..item(1_050, 0) };
    database.upsert(&name(), vec![never]).unwrap();
    let everything: Vec<i64> = (0..1_051).collect();
    let rest: Vec<i64> = everything.iter().copied().filter(|number| number % 3 == 0).collect();
    assert_eq!(rest.last(), Some(&1_050));

    time.set(1_029);
    check(&database, &everything);
    // The thread in the background may delete from here on; hidden points stay hidden.
    time.set(1_030);
    check(&database, &rest);
    assert!(database.get(&name(), &[id("p00001")], Fields::default()).unwrap()[0].is_none());
    assert!(database.search(&name(), &[Query::Id(id("p00001"))], &SearchParams::new(1)).is_err());
    let explained = database.explain(&name(), &Query::Vector(vec![1.0]), &SearchParams::new(1), &id("p00001")).unwrap();
    assert!(matches!(explained.reason, Reason::UnknownPoint | Reason::Deleted), "{explained:?}");

    database.delete_expired(&name()).unwrap();
    until("the expired points are deleted", || database.collection(&name()).unwrap().points == rest.len() as u64);
    let sequence = database.sequence(&name()).unwrap();
    assert_eq!(database.delete_expired(&name()).unwrap(), 0);
    assert_eq!(database.sequence(&name()).unwrap(), sequence, "no write without an expired point");
    check(&database, &rest);
    time.set(1_060);
    check(&database, &[1_050]);
}

/// Waits for the thread in the background.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 60, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn expired_points_are_deleted_in_batches_by_ordinary_writes() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open_without_expirer(dir.path(), &time);
    database.create_collection(&spec()).unwrap();
    let collection = database.inner_collection(&name());
    let count = EXPIRED_BATCH as i64 + 5;
    for first in (0..count).step_by(5_000) {
        let items = (first..count.min(first + 5_000)).map(|number| item(number, 0));
        database.upsert(&name(), items.collect()).unwrap();
    }
    database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();
    let sequence = database.sequence(&name()).unwrap();
    let mut batches = Vec::new();
    while let Some((request, more)) = collection.expire_request().unwrap() {
        batches.push((collection.write(request).unwrap().deleted().unwrap().deleted, more));
    }
    assert_eq!(batches, [(EXPIRED_BATCH as u64, true), (5, false)]);
    assert_eq!(database.sequence(&name()).unwrap(), sequence + 2);
    assert_eq!(database.collection(&name()).unwrap().points, 0);
}

#[test]
fn the_thread_in_the_background_deletes_expired_points() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open(dir.path(), &time);
    database.create_collection(&spec()).unwrap();
    database.upsert(&name(), (0..1_000).map(|number| item(number, 900 + number % 2 * 100)).collect()).unwrap();
    let points = || database.collection(&name()).unwrap().points;
    let info = database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();
    assert_eq!(info.ttl, Some(Ttl::new("at", 60)));
    until("the thread in the background deletes those that are expired at once", || points() == 500);
    time.set(1_060);
    until("the thread in the background looks again", || points() == 0);
}

#[test]
fn expired_points_stay_hidden_when_segments_and_the_setting_change() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open_without_expirer(dir.path(), &time);
    database.create_collection(&spec()).unwrap();
    let items = (0..300).map(|number| {
        let mut item = item(number, if number % 3 == 0 { 1_000 } else { 900 });
        item.payload.insert("other".into(), ((900 + number) * SECOND).into());
        item
    });
    database.upsert(&name(), items.collect()).unwrap();
    database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();
    let rest: Vec<i64> = (0..300).filter(|number| number % 3 == 0).collect();
    check(&database, &rest);
    // The rows move to a segment, and later to another one with different rows.
    database.compact(&name()).unwrap();
    check(&database, &rest);
    database.delete_points(&name(), &(0..90).map(|number| id(&format!("p{number:05}"))).collect::<Vec<_>>()).unwrap();
    let rest: Vec<i64> = rest.into_iter().filter(|number| *number >= 90).collect();
    check(&database, &rest);
    database.compact(&name()).unwrap();
    check(&database, &rest);
    assert_eq!(database.collection(&name()).unwrap().points, 210, "none of them is deleted");
    // The same cutoff, but of another time.
    database.set_ttl(&name(), Some(Ttl::new("other", 60))).unwrap();
    check(&database, &(90..300).collect::<Vec<_>>());
    database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();
    check(&database, &rest);
}

#[test]
fn a_point_that_the_same_commit_replaces_is_not_deleted_as_expired() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open_without_expirer(dir.path(), &time);
    database.create_collection(&spec()).unwrap();
    let collection = database.inner_collection(&name());
    database.upsert(&name(), (0..4).map(|number| item(number, 900)).collect()).unwrap();
    database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();
    let new = |number: i64| {
        let body = Value::Object(item(number, 1_000).payload).to_string().into_bytes();
        PreparedPoint { id: id(&format!("p{number:05}")), vector: vec![number as f32], body: body.into() }
    };
    let (delete, _) = collection.expire_request().unwrap().unwrap();
    let requests = vec![WriteRequest::Upsert(vec![new(1), new(2)]), delete];
    let mut held = collection.commit_queue.lock();
    let (mut results, _) = collection.commit(&mut held, requests);
    drop(held);
    assert_eq!(results.remove(1).unwrap().deleted().unwrap().deleted, 2);
    check(&database, &[1, 2]);
    assert_eq!(database.collection(&name()).unwrap().points, 2);
}

#[test]
fn writes_treat_an_expired_point_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open_without_expirer(dir.path(), &time);
    database.create_collection(&spec()).unwrap();
    let collection = database.inner_collection(&name());
    database.upsert(&name(), (0..6).map(|number| item(number, 900)).collect()).unwrap();
    database.set_ttl(&name(), Some(Ttl::new("at", 60))).unwrap();

    let upsert = |number, mode| {
        let done = database.upsert_if(&name(), vec![item(number, 990)], &WriteCondition::mode(mode)).unwrap();
        (done.skipped.existing.len(), done.skipped.missing.len())
    };
    assert_eq!(upsert(0, WriteMode::Update), (0, 1));
    assert_eq!(upsert(0, WriteMode::Insert), (0, 0));
    assert_eq!(upsert(0, WriteMode::Insert), (1, 0));
    assert_eq!(upsert(1, WriteMode::Keep), (0, 0), "an expired point is no conflict");
    let only_if = WriteCondition::default().only_if(Filter::equals("n", 77));
    let done = database.upsert_if(&name(), vec![item(2, 990)], &only_if).unwrap();
    assert!(done.skipped.unmatched.is_empty(), "the condition is on the point that it replaces");
    assert_eq!(ids(&all(&database)), ["p00000", "p00001", "p00002"]);

    assert_eq!(
        database
            .update_vectors(&name(), vec![Item { payload: Payload::new(), ..item(3, 0) }])
            .unwrap()
            .skipped
            .missing
            .len(),
        1
    );
    let set = PayloadUpdate::new([PayloadAction::Set { path: None, fields: object(json!({"at": 990 * SECOND})) }]);
    let update = |points| database.update_payload(&name(), &points, &set).unwrap();
    assert_eq!(update(PointSelection::Ids(vec![id("p00003")])).missing, [id("p00003")]);
    let matching = PointSelection::Matching { filter: Filter::exists("n"), allow_unknown_fields: false };
    let done = update(matching);
    assert_eq!((done.updated, done.unchanged), (0, 3));
    assert_eq!(database.delete_matching(&name(), &Filter::exists("n"), false).unwrap().deleted, 3);
    assert_eq!(collection.view().live(), 3, "the expired points are left to the thread in the background");
    database.set_ttl(&name(), None).unwrap();
    assert_eq!(ids(&all(&database)), ["p00003", "p00004", "p00005"]);
}

#[test]
fn a_payload_update_moves_the_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let time = Time::default();
    time.set(1_000);
    let database = open(dir.path(), &time);
    database.create_collection(&spec().ttl(Ttl::new("at", 60))).unwrap();
    database.upsert(&name(), (0..600).map(|number| item(number, 1_000)).collect()).unwrap();
    database.compact(&name()).unwrap();
    let set = PayloadUpdate::new([PayloadAction::Set { path: None, fields: object(json!({"at": 1_500 * SECOND})) }]);
    database.update_payload(&name(), &PointSelection::Ids(vec![id("p00007")]), &set).unwrap();
    time.set(1_100);
    check(&database, &[7]);
    time.set(1_560);
    check(&database, &[]);
}

#[test]
fn writes_are_stamped_and_the_setting_survives_a_restart_and_a_snapshot() {
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let time = Time::default();
    time.set(1_000);
    let options = || {
        let store = SnapshotStore::open(store.path().to_str().unwrap()).unwrap();
        Database::options().clock(time.clock()).snapshots(store)
    };
    let ttl = Ttl::new("meta.at", 60).stamp(true);
    {
        let database = options().open(dir.path()).unwrap();
        database.create_collection(&spec().ttl(ttl.clone())).unwrap();
        let own = Item { payload: object(json!({"meta": {"at": "1970-01-01T00:10:00Z"}})), ..item(1, 0) };
        let without = |number| Item { payload: object(json!({"n": number})), ..item(number, 0) };
        database.upsert(&name(), vec![without(0)]).unwrap();
        assert_eq!(
            all(&database)[0].payload,
            Some(object(json!({"n": 0, "meta": {"at": "1970-01-01T00:16:40.000000Z"}})))
        );
        database.upsert(&name(), vec![own]).unwrap();
        assert_eq!(ids(&all(&database)), ["p00000"], "its own time has passed");
        let mut items = vec![without(2)].into_iter();
        let mut refused = |_: Refused<'_>, error: Error| Err(error);
        database.bulk_load(&name(), &mut items, OnConflict::Replace, &mut refused, &|_, _, _| true).unwrap();
        time.set(1_010);
        database.update_vectors(&name(), vec![Item { payload: Payload::new(), ..item(0, 0) }]).unwrap();
        let times: Vec<Value> =
            all(&database).into_iter().map(|point| point.payload.unwrap()["meta"]["at"].clone()).collect();
        assert_eq!(times, ["1970-01-01T00:16:40.000000Z", "1970-01-01T00:16:40.000000Z"], "an update keeps the time");
        let way = Item { payload: object(json!({"meta": 1})), ..item(3, 0) };
        let error = database.upsert(&name(), vec![way]).unwrap_err().to_string();
        assert!(error.contains("items[0].payload") && error.contains("meta.at"), "{error}");
        let info = database.create_snapshot(&name(), &|_, _, _| true).unwrap();
        let other = CollectionName::new("restored").unwrap();
        time.set(1_060);
        let restored = database.restore_snapshot(&info.snapshot, &other, false, &|_, _, _| true).unwrap();
        assert_eq!(restored.ttl, Some(ttl.clone()));
        assert_eq!(database.count(&other, None).unwrap(), 0, "they expired before the restore");
        time.set(1_059);
    }
    let database = options().open(dir.path()).unwrap();
    assert_eq!(database.collection(&name()).unwrap().ttl, Some(ttl));
    assert_eq!(database.count(&name(), None).unwrap(), 2);
    time.set(1_060);
    assert_eq!(database.count(&name(), None).unwrap(), 0);
    assert_eq!(database.set_ttl(&name(), None).unwrap().ttl, None);
    drop(database);
    assert_eq!(options().open(dir.path()).unwrap().collection(&name()).unwrap().ttl, None);
    let none = Ttl::new("a", 0);
    let error = options().open(dir.path()).unwrap().set_ttl(&name(), Some(none)).unwrap_err().to_string();
    assert!(error.contains("ttl.seconds"), "{error}");
}
