//! Aliases and renamed collections: every call, restarts, concurrent jobs, refusals.

mod support;

use nearness::api::*;
use nearness::embed::Registry;
use nearness::engine::*;
use nearness::snapshot_store::SnapshotStore;
use nearness::types::{CollectionName, PointId};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CONTINUE: Observe<'static> = &|_, _, _| true;

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a name")
}

fn open(dir: &Path) -> Database {
    let mut registry = Registry::default();
    registry.add(Arc::new(support::letters::Letters::new()));
    let snapshots = dir.join("snapshots");
    let store = SnapshotStore::open(snapshots.to_str().expect("UTF-8")).expect("a snapshot store");
    Database::options().embedders(registry).snapshots(store).open(dir.join("data")).expect("a database")
}

fn create(database: &Database, collection: &str) {
    let space = VectorSource::Embedded { embedder: "letters".into(), output: "counts".into() };
    let spec = CollectionSpec::new(name(collection), space).index(IndexSettings::default().seal_rows(100));
    database.create_collection(&spec).expect("a collection");
    upsert(database, collection, 0..10);
}

fn upsert(database: &Database, collection: &str, numbers: std::ops::Range<u32>) {
    let item = |number| {
        let id = PointId::new(format!("{collection}-{number}")).expect("an id");
        Item::text(id, "abc".repeat(1 + number as usize % 5))
    };
    database.upsert(&name(collection), numbers.map(item).collect()).expect("an upsert");
}

fn alias(alias: &str, collection: &str) -> AliasAction {
    AliasAction::Create { alias: name(alias), collection: name(collection) }
}

fn drop_alias(alias: &str) -> AliasAction {
    AliasAction::Delete { alias: name(alias) }
}

fn rename(from: &str, to: &str) -> AliasAction {
    AliasAction::RenameCollection { collection: name(from), new_name: name(to) }
}

/// Returns every collection with its aliases, as text.
fn names(database: &Database) -> Vec<String> {
    let text = |info: CollectionInfo| {
        let aliases: Vec<String> = info.aliases.iter().map(ToString::to_string).collect();
        format!("{}: {}", info.name, aliases.join(" "))
    };
    database.collections().expect("a list").into_iter().map(text).collect()
}

#[test]
fn an_alias_is_accepted_by_every_call_on_a_collection() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    create(&database, "a");
    create(&database, "b");
    let changed = database.update_aliases(&[alias("x", "a"), alias("y", "x")]).expect("changed");
    assert_eq!(changed.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(names(&database), ["a: x y", "b: "]);
    let x = name("x");
    upsert(&database, "x", 0..3);
    assert_eq!((database.count(&x, None).unwrap(), database.count(&name("a"), None).unwrap()), (13, 13));
    assert_eq!(database.collection(&x).unwrap().name, name("a"));
    assert_eq!(database.sequence(&x).unwrap(), database.sequence(&name("a")).unwrap());
    let id = PointId::new("a-1").unwrap();
    assert!(database.get(&x, std::slice::from_ref(&id), Fields::ALL).unwrap()[0].is_some());
    assert_eq!(database.scroll(&x, None, 5, Fields::NONE, None).unwrap().points.len(), 5);
    assert_eq!(database.facet(&x, "text", 2, None).unwrap().distinct, 5);
    assert_eq!(database.describe_fields(&x, None).unwrap().points, 13);
    assert_eq!(database.sample(&x, 4, 0, Fields::NONE, None).unwrap().len(), 4);
    let order = OrderBy::ascending("text");
    assert_eq!(database.scroll_ordered(&x, &order, None, 3, Fields::NONE, None).unwrap().points.len(), 3);
    assert_eq!(database.unknown_fields(&x, &Filter::exists("txt")).unwrap(), ["txt"]);
    let query = Query::Text("abc".into());
    assert_eq!(database.search(&x, std::slice::from_ref(&query), &SearchParams::new(2)).unwrap()[0].hits.len(), 2);
    assert_eq!(database.explain(&x, &query, &SearchParams::new(20), &id).unwrap().reason, Reason::Hit);
    assert!(database.check(&x).unwrap().findings.is_empty());
    assert_eq!(database.compact(&x).unwrap().aliases, [name("x"), name("y")]);
    let marked = PayloadUpdate::set([("mark".to_owned(), 1.into())].into_iter().collect());
    let updated = database.update_payload(&x, &PointSelection::Ids(vec![id.clone()]), &marked).unwrap();
    assert_eq!((updated.updated, database.count(&name("a"), Some(&Filter::exists("mark"))).unwrap()), (1, 1));
    let vectors = vec![Item::text(id.clone(), "aeiou")];
    assert_eq!(database.update_vectors(&x, vectors).unwrap().replaced, 1);
    assert_eq!(database.analyze(&x, "", "abc abc").unwrap().len(), 2);
    let marks = TextField::new("marks", ["mark"]);
    let fields = |info: CollectionInfo| info.text_fields.into_iter().map(|field| field.name).collect::<Vec<_>>();
    assert_eq!(fields(database.add_field(&x, marks.into()).unwrap()), ["text", "marks"]);
    assert_eq!(fields(database.drop_field(&x, "marks").unwrap()), ["text"]);
    let words = Query::Keywords(Keywords::new("aeiou"));
    let found = database.search(&x, std::slice::from_ref(&words), &SearchParams::new(20)).unwrap().remove(0);
    assert_eq!(found.hits.iter().map(|hit| &hit.point.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(database.delete_points(&x, &[id]).unwrap().deleted, 1);
    assert_eq!(database.delete_matching(&x, &Filter::equals("text", "abc"), false).unwrap().deleted, 3);
    assert_eq!(database.create_snapshot(&x, CONTINUE).unwrap().collection, name("a"));
    let next = database.reembed(&x, "letters", "vowels", Sources::Proved, CONTINUE).unwrap();
    assert_eq!((next.name.clone(), next.generation, next.aliases.len()), (name("a"), 2, 2));
    assert_eq!(database.rollback(&x, CONTINUE).unwrap().generation, 1);
    assert!(database.delete_previous_generation(&x).unwrap().previous.is_none());
    assert!(database.watch(&x).is_ok());
    assert_eq!(names(&database), ["a: x y", "b: "]);
}

#[test]
fn names_survive_a_restart_and_aliases_end_with_their_collection() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    ["a", "b", "c"].into_iter().for_each(|name| create(&database, name));
    database.update_aliases(&[alias("x", "a"), alias("y", "b"), alias("z", "b")]).expect("changed");
    database.add_field(&name("x"), TextField::new("marks", ["mark"]).into()).expect("added");
    // A swap of two names, and an alias that moves.
    let swap = [rename("a", "t"), rename("b", "a"), rename("t", "b"), drop_alias("z"), alias("z", "c")];
    let changed = database.update_aliases(&swap).expect("changed");
    assert_eq!(changed.len(), 3);
    let expected = ["a: y", "b: x", "c: z"];
    assert_eq!(names(&database), expected);
    assert!(database.get(&name("b"), &[PointId::new("a-1").unwrap()], Fields::NONE).unwrap()[0].is_some());
    upsert(&database, "a", 0..1);
    drop(database);
    let database = open(dir.path());
    assert_eq!(names(&database), expected);
    let of = |name: CollectionName| database.collection(&name).unwrap().text_fields.len();
    assert_eq!((of(name("b")), of(name("x")), of(name("a"))), (2, 2, 1), "text fields are kept under a new name");
    let words = Query::Keywords(Keywords::new("abc").field("text"));
    assert!(!database.search(&name("x"), &[words], &SearchParams::new(5)).unwrap()[0].hits.is_empty());
    assert_eq!((database.count(&name("a"), None).unwrap(), database.count(&name("y"), None).unwrap()), (11, 11));
    assert_eq!(database.delete_collection(&name("a")).unwrap(), 11);
    assert!(matches!(database.count(&name("y"), None), Err(Error::UnknownCollection(_))));
    create(&database, "y");
    drop(database);
    assert_eq!(names(&open(dir.path())), ["b: x", "c: z", "y: "]);
}

#[test]
fn an_invalid_list_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    create(&database, "a");
    create(&database, "b");
    database.update_aliases(&[alias("x", "a")]).expect("changed");
    let refused = |actions: &[AliasAction]| {
        let first = alias("first", "a");
        let error = database.update_aliases(&[&[first], actions].concat()).expect_err("refused");
        assert_eq!(names(&database), ["a: x", "b: "]);
        assert!(matches!(database.count(&name("first"), None), Err(Error::UnknownCollection(_))));
        (error.kind(), error.to_string())
    };
    let named = |name: &str| format!("a collection named {name:?} exists already");
    assert_eq!(refused(&[alias("a", "b")]), (ErrorKind::AlreadyExists, named("a")));
    assert_eq!(refused(&[alias("x", "b")]).0, ErrorKind::AlreadyExists);
    assert_eq!(refused(&[alias("y", "nowhere")]).0, ErrorKind::NotFound);
    assert_eq!(refused(&[drop_alias("a")]), (ErrorKind::NotFound, "there is no alias named \"a\"".into()));
    assert_eq!(refused(&[rename("a", "b")]), (ErrorKind::AlreadyExists, named("b")));
    assert_eq!(refused(&[rename("a", "x")]).0, ErrorKind::AlreadyExists);
    assert_eq!(refused(&[rename("nowhere", "y")]).0, ErrorKind::NotFound);
    let (kind, why) = refused(&[rename("x", "y")]);
    assert!(kind == ErrorKind::InvalidInput && why.starts_with("actions[1].rename_collection.collection"), "{why}");
    assert_eq!(refused(&vec![drop_alias("x"); 1_000]).0, ErrorKind::InvalidInput);
    assert!(matches!(database.update_aliases(&[]), Err(Error::Invalid { .. })));
    for batch in 0..4 {
        let many: Vec<_> = (0..1_000).map(|number| alias(&format!("n{}", batch * 1_000 + number), "b")).collect();
        database.update_aliases(&many).expect("below the limit");
    }
    let many: Vec<_> = (0..96).map(|number| alias(&format!("m{number}"), "b")).collect();
    let error = database.update_aliases(&many).expect_err("4,097 aliases");
    assert!(error.kind() == ErrorKind::Exhausted && error.to_string().contains("4096"), "{error}");

    let spec = CollectionSpec::vectors(name("x"), 2);
    assert!(matches!(database.create_collection(&spec), Err(Error::AliasExists(_))));
    let error = database.delete_collection(&name("x")).expect_err("an alias");
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("UpdateAliases"), "{error}");
    let snapshot = database.create_snapshot(&name("a"), CONTINUE).expect("a snapshot").snapshot;
    let error = database.restore_snapshot(&snapshot, &name("x"), true, CONTINUE).expect_err("an alias");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    database.restore_snapshot(&snapshot, &name("a"), true, CONTINUE).expect("restored");
    assert_eq!(
        database.collection(&name("x")).unwrap().aliases,
        [name("x")],
        "a restored collection keeps its aliases"
    );
}

#[test]
fn jobs_of_a_renamed_collection_continue_under_its_new_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    create(&database, "a");
    upsert(&database, "a", 0..500);
    database.update_aliases(&[alias("x", "a")]).expect("changed");
    let mut feed = database.watch(&name("a")).expect("a feed");
    database.update_aliases(&[rename("a", "c")]).expect("renamed");
    upsert(&database, "c", 0..3);
    let batch = feed.take(10);
    assert_eq!((batch.ids.len(), batch.ended), (3, false), "a feed continues");
    database.update_aliases(&[rename("c", "a")]).expect("renamed");
    let renamed = AtomicBool::new(false);
    let observe = |_, _, _| {
        if !renamed.swap(true, Ordering::Relaxed) {
            // The old name is taken by another collection meanwhile.
            database.update_aliases(&[rename("a", "b")]).expect("renamed");
            create(&database, "a");
        }
        true
    };
    let info = database.reembed(&name("a"), "letters", "vowels", Sources::Proved, &observe).expect("re-embedded");
    assert!(renamed.load(Ordering::Relaxed));
    assert_eq!((info.name.as_str(), info.generation, info.points), ("b", 2, 503));
    assert_eq!(database.collection(&name("a")).unwrap().generation, 1);
    assert_eq!(names(&database), ["a: ", "b: x"]);
    assert_eq!(database.create_snapshot(&name("x"), CONTINUE).unwrap().collection, name("b"));
    database.rollback(&name("b"), CONTINUE).expect("rolled back");
    drop((feed, database));
    let database = open(dir.path());
    assert_eq!(names(&database), ["a: ", "b: x"]);
    assert_eq!(database.collection(&name("b")).unwrap().points, 503);
    assert_eq!(database.collection(&name("b")).unwrap().previous.expect("a previous generation").generation, 2);
}

#[test]
fn a_collection_that_cannot_be_opened_keeps_its_aliases_and_is_not_renamed() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    create(&database, "a");
    database.update_aliases(&[alias("x", "a")]).expect("changed");
    drop(database);
    let folder = dir.path().join("data/collections/0000000000000000");
    std::fs::write(folder.join("points.redb"), "damaged").expect("written");
    let database = open(dir.path());
    assert_eq!(names(&database), ["a: x"]);
    assert!(matches!(database.count(&name("x"), None), Err(Error::Damaged { .. })));
    assert!(matches!(database.update_aliases(&[rename("a", "b")]), Err(Error::Damaged { .. })));
    database.update_aliases(&[AliasAction::Rename { alias: name("x"), new_alias: name("y") }]).expect("renamed");
    assert_eq!(names(&database), ["a: y"]);
    database.delete_collection(&name("a")).expect("deleted");
    assert_eq!(names(&database), [""; 0]);
}

#[test]
fn readers_of_an_alias_never_miss_a_collection_while_it_moves() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = open(dir.path());
    create(&database, "a");
    create(&database, "b");
    database.update_aliases(&[alias("x", "a")]).expect("changed");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(database.count(&name("x"), None).expect("a count"), 10);
                reads += 1;
            }
            reads
        });
        for round in 0..50 {
            let to = if round % 2 == 0 { "b" } else { "a" };
            database.update_aliases(&[drop_alias("x"), alias("x", to)]).expect("moved");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader") > 50);
    });
}
