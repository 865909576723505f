//! Tests of collections that open on first use and close when idle.

use super::Database;
use crate::api::*;
use crate::collection::{OnConflict, Refused};
use crate::engine::{Admin, Layouts, Reads, Writes};
use crate::store::{Catalog, Change, CollectionDb};
use crate::types::{CollectionName, Metric, PointId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).unwrap()
}

fn item(number: u64) -> Item {
    let vector = vec![(number % 97) as f32, (number / 97) as f32];
    Item::vector(PointId::new(format!("p{number}")).unwrap(), vector).field("number", number as i64)
}

fn load(database: &Database, collection: &CollectionName, rows: u64) {
    let refused = &mut |_: Refused<'_>, error| Err(error);
    let mut items = (0..rows).map(item);
    database.bulk_load(collection, &mut items, OnConflict::Replace, refused, &|_, _, _| true).unwrap();
}

/// Creates collections with a sealed segment, deleted rows, updated payloads, and growing points.
fn fill(database: &Database) {
    for (at, collection) in NAMES.iter().enumerate() {
        let collection = name(collection);
        database.create_collection(&CollectionSpec::vectors(collection.clone(), 2).metric(Metric::L2)).unwrap();
        load(database, &collection, 300 + at as u64);
        database.upsert(&collection, (1_000..1_020).map(item).collect()).unwrap();
        database.delete_points(&collection, &[PointId::new("p3").unwrap(), PointId::new("p1003").unwrap()]).unwrap();
        let points = PointSelection::Ids(vec![PointId::new("p5").unwrap(), PointId::new("p1005").unwrap()]);
        let update = PayloadUpdate::set([("extra".to_owned(), true.into())].into_iter().collect());
        database.update_payload(&collection, &points, &update).unwrap();
    }
}

/// The answers of a collection to several calls.
fn answers(database: &Database, collection: &str) -> impl PartialEq + std::fmt::Debug + use<> {
    let collection = name(collection);
    let queries = [Query::Vector(vec![1.2, 3.3]), Query::Vector(vec![40.0, 10.5])];
    let params = SearchParams::new(7).fields(Fields::PAYLOAD);
    let hits: Vec<Vec<(PointId, f32, String)>> = database
        .search(&collection, &queries, &params)
        .unwrap()
        .into_iter()
        .map(|answer| {
            let hit = |hit: Hit| (hit.point.id, hit.distance, format!("{:?}", hit.point.payload));
            answer.hits.into_iter().map(hit).collect()
        })
        .collect();
    let extra = database.count(&collection, Some(&Filter::equals("extra", true))).unwrap();
    let sequence = database.sequence(&collection).unwrap();
    (hits, extra, sequence, database.count(&collection, None).unwrap())
}

/// The states of the collections, without what depends on whether they are open.
fn states(database: &Database) -> Vec<CollectionInfo> {
    let state = |info: CollectionInfo| CollectionInfo { resident_bytes: 0, queries: 0, mapped_bytes: 0, ..info };
    database.collections().unwrap().into_iter().map(state).collect()
}

fn open_collections(database: &Database) -> u64 {
    database.activity().open_collections
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The folder of a collection.
fn folder(dir: &Path, collection: &str) -> PathBuf {
    let catalog = Catalog::inspect(&crate::disk::real_fs(), dir).unwrap();
    catalog.dir_of(&catalog.entry(collection).unwrap().unwrap())
}

#[test]
fn a_collection_opens_on_first_use_and_the_closed_ones_are_listed() {
    let dir = crate::quick_dir();
    let database = Database::open(dir.path()).unwrap();
    fill(&database);
    let expected = (states(&database), NAMES.map(|name| answers(&database, name)));
    drop(database);

    let database = Database::open(dir.path()).unwrap();
    // The closer finds nothing to do.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(open_collections(&database), 0);
    assert_eq!(states(&database), expected.0);
    assert_eq!(database.known_collections().unwrap().len(), NAMES.len());
    assert_eq!(database.collection(&name("a")).unwrap().points, 318);
    assert_eq!(open_collections(&database), 0, "a list and a description open no collection");
    assert_eq!(answers(&database, "b"), expected.1[1]);
    assert_eq!(open_collections(&database), 1);
    assert_eq!(NAMES.map(|name| answers(&database, name)), expected.1);
    assert_eq!(states(&database), expected.0);
    drop(database);

    // Files that changed since they were closed: the summary does not count.
    std::fs::write(folder(dir.path(), "b").join("points.redb"), "damaged").unwrap();
    let database = Database::open(dir.path()).unwrap();
    let found: Vec<CollectionState> = states(&database).into_iter().map(|info| info.state).collect();
    assert_eq!(found, [CollectionState::Serving, CollectionState::Unavailable, CollectionState::Serving]);
    let error = database.count(&name("b"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("\"b\" could not be opened") && error.to_string().contains("points.redb"));
    let info = database.collection(&name("b")).unwrap();
    assert!(info.problems[0].contains("points.redb") && info.dimension == 2, "{info:?}");
    let rename = AliasAction::RenameCollection { collection: name("b"), new_name: name("d") };
    assert_eq!(database.update_aliases(&[rename]).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(answers(&database, "c"), expected.1[2]);
    assert_eq!(database.delete_collection(&name("b")).unwrap(), 0);
    assert_eq!(database.count(&name("b"), None).unwrap_err().kind(), ErrorKind::NotFound);
    database.create_collection(&CollectionSpec::vectors(name("b"), 2)).unwrap();
    assert_eq!(database.count(&name("b"), None).unwrap(), 0);
}

#[test]
fn an_idle_collection_closes_and_answers_the_same_after_it_was_opened_again() {
    let dir = crate::quick_dir();
    let database = Database::options().idle_time(Duration::ZERO).open(dir.path()).unwrap();
    fill(&database);
    let expected = NAMES.map(|name| answers(&database, name));
    let all_closed = || open_collections(&database) == 0;
    wait_until("idle collections stay open", all_closed);
    let closed = database.collections().unwrap();
    assert!(closed.iter().all(|info| info.queries == 2 && info.resident_bytes == 0 && info.points > 300), "{closed:?}");
    // A renamed collection is found by its new name and its alias.
    let rename = AliasAction::RenameCollection { collection: name("a"), new_name: name("d") };
    let alias = AliasAction::Create { alias: name("a"), collection: name("d") };
    database.update_aliases(&[rename, alias]).unwrap();
    wait_until("it stays open after a renaming", all_closed);
    let info = database.collection(&name("a")).unwrap();
    assert_eq!((info.name, info.aliases), (name("d"), vec![name("a")]));
    assert_eq!(["d", "b", "c"].map(|name| answers(&database, name)), expected);
    assert_eq!(answers(&database, "a"), expected[0]);
    wait_until("it stays open after an opening", all_closed);
    assert_eq!(database.collection(&name("a")).unwrap().queries, 6);

    // A subscriber keeps its collection open, and misses nothing.
    let mut feed = database.watch(&name("b")).unwrap();
    wait_until("the others stay open", || open_collections(&database) == 1);
    std::thread::sleep(Duration::from_millis(100));
    database.upsert(&name("b"), vec![item(5_000)]).unwrap();
    let batch = feed.take(10);
    assert_eq!((batch.ids, batch.missed, batch.ended), (vec![PointId::new("p5000").unwrap()], false, false));
    drop(feed);
    wait_until("it stays open without a subscriber", all_closed);
    assert_eq!(database.count(&name("b"), None).unwrap(), 320);
}

#[test]
fn more_collections_than_may_be_open_serve_writes_and_searches_at_once() {
    const WRITES: u64 = 120;
    let dir = crate::quick_dir();
    let database = Database::options().idle_time(Duration::ZERO).max_open_collections(1).open(dir.path()).unwrap();
    for collection in NAMES {
        database.create_collection(&CollectionSpec::vectors(name(collection), 2).metric(Metric::L2)).unwrap();
    }
    let written = [const { AtomicU64::new(0) }; NAMES.len()];
    std::thread::scope(|scope| {
        for (at, collection) in NAMES.iter().enumerate() {
            let (collection, written, database) = (name(collection), &written[at], &database);
            let write = {
                let collection = collection.clone();
                move || {
                    for number in 0..WRITES {
                        database.upsert(&collection, vec![item(number)]).unwrap();
                        written.store(number + 1, Ordering::SeqCst);
                        if number % 16 == 0 {
                            std::thread::sleep(Duration::from_millis(25));
                        }
                    }
                }
            };
            scope.spawn(write);
            scope.spawn(move || {
                while written.load(Ordering::SeqCst) < WRITES {
                    let at_least = written.load(Ordering::SeqCst);
                    assert!(database.count(&collection, None).unwrap() >= at_least);
                    let query = [Query::Vector(vec![0.0, 0.0])];
                    let hits = database.search(&collection, &query, &SearchParams::new(1)).unwrap().remove(0).hits;
                    assert!(at_least == 0 || hits[0].point.id.as_str() == "p0", "{hits:?}");
                }
            });
        }
    });
    for collection in NAMES {
        assert_eq!(database.count(&name(collection), None).unwrap(), WRITES);
    }
    wait_until("an idle collection stays open", || open_collections(&database) == 0);
    drop(database);
    // Without idle collections. A background thread may hold one that is to be closed, for a moment.
    let database = Database::options().max_open_collections(1).open(dir.path()).unwrap();
    for collection in NAMES {
        assert_eq!(database.count(&name(collection), None).unwrap(), WRITES);
        wait_until("more than one is open", || open_collections(&database) == 1);
    }
}

#[test]
fn a_closed_collection_with_pending_jobs_is_opened_for_them() {
    let dir = crate::quick_dir();
    let database = Database::open(dir.path()).unwrap();
    database.create_collection(&CollectionSpec::vectors(name("a"), 2).metric(Metric::L2)).unwrap();
    load(&database, &name("a"), 2_050);
    assert!(database.collection(&name("a")).unwrap().segments[0].graph);
    drop(database);
    let folder = folder(dir.path(), "a");
    let db = CollectionDb::open(&crate::disk::real_fs(), &folder).unwrap();
    let segment = db.segments().unwrap()[0].id;
    db.commit(&[Change::SetGraph { segment, graph_generation: None }]).unwrap();
    drop(db);
    let database = Database::options().idle_time(Duration::ZERO).open(dir.path()).unwrap();
    let known = || database.known_collections().unwrap();
    wait_until("the graph is not built", || known().iter().any(|info| info.segments[0].graph));
    wait_until("it stays open after its jobs", || open_collections(&database) == 0);
    assert!(database.collection(&name("a")).unwrap().problems.is_empty());
    assert_eq!(database.activity().calibrations, 1);
}
