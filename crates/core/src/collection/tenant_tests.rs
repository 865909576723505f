//! Collections with tenants against a plain reference: reads and writes under a tenant's filter, and the order of rows.

use crate::api::{OrderBy, PayloadUpdate, PointSelection, Scalar};
use crate::prelude::*;
use crate::segment::payload_rows::{Indexes, PayloadRows};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

type Rng = Xoshiro256PlusPlus;

const TENANTS: i64 = 12;

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

fn id(number: usize) -> PointId {
    PointId::new(format!("p{number:05}")).unwrap()
}

fn object(value: Value) -> Payload {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

fn spec(tenant: Option<&str>) -> CollectionSpec {
    let spec = CollectionSpec::vectors(name(), 4).metric(Metric::L2);
    let spec = spec.index(IndexSettings::default().seal_rows(400)).text_fields([TextField::new("words", ["word"])]);
    tenant.iter().fold(spec, |spec, path| spec.tenant(*path))
}

/// Tenants 0 to 3 are integers, the others strings.
fn tenant(number: i64) -> Value {
    if number < 4 { json!(number) } else { json!(format!("t{number}")) }
}

fn of_tenant(number: i64) -> Filter {
    match tenant(number) {
        Value::String(text) => Filter::equals("of.tenant", text),
        _ => Filter::equals("of.tenant", number),
    }
}

fn item(rng: &mut Rng, number: usize) -> Item {
    let vector: Vec<f32> = (0..4).map(|_| rng.random_range(-1.0..1.0)).collect();
    let (n, word) = (rng.random_range(0..50), format!("w{}", rng.random_range(0..5)));
    let payload = match rng.random_range(0..TENANTS + 1) {
        TENANTS => json!({"n": n, "word": word}),
        other => json!({"of": {"tenant": tenant(other)}, "n": n, "word": word}),
    };
    Item { payload: object(payload), ..Item::vector(id(number), vector) }
}

#[derive(Default)]
struct Model {
    points: BTreeMap<PointId, (Vec<f32>, Payload)>,
}

impl Model {
    fn add(&mut self, item: &Item) {
        let PointInput::Vector(vector) = &item.source else { panic!("a vector") };
        self.points.insert(item.id.clone(), (vector.clone(), item.payload.clone()));
    }

    fn matching(&self, filter: &Filter) -> Vec<&PointId> {
        self.points.iter().filter(|(id, (_, payload))| filter.matches(id, payload)).map(|(id, _)| id).collect()
    }

    #[track_caller]
    fn check(&self, database: &Database, rng: &mut Rng) {
        let of = rng.random_range(0..TENANTS);
        let small = Range { lt: Some(Scalar::from(20)), ..Range::default() };
        for filter in [
            of_tenant(of),
            Filter::And(vec![Filter::range("n", small.clone()), of_tenant(of)]),
            Filter::And(vec![Filter::not(Filter::equals("word", "w1")), of_tenant(of)]),
            Filter::And(vec![Filter::Or(vec![Filter::equals("n", 7), Filter::range("n", small)]), of_tenant(of)]),
            Filter::Or(vec![of_tenant(of), of_tenant((of + 5) % TENANTS)]),
            Filter::not(Filter::exists("of.tenant")),
            of_tenant(99),
        ] {
            let expected = self.matching(&filter);
            let what = format!("{filter:?}");
            assert_eq!(database.count(&name(), Some(&filter)).unwrap(), expected.len() as u64, "{what}");
            for (after, limit) in [(None, 7), (Some(id(300)), 40), (None, 5_000)] {
                let page = database.scroll(&name(), after.as_ref(), limit, Fields::PAYLOAD, Some(&filter)).unwrap();
                let ids: Vec<&PointId> = page.points.iter().map(|point| &point.id).collect();
                let behind = expected.iter().filter(|id| after.as_ref().is_none_or(|after| after < **id));
                assert_eq!(ids, behind.copied().take(limit as usize).collect::<Vec<_>>(), "{what}");
            }
            let ordered = OrderBy::ascending("n");
            let page = database.scroll_ordered(&name(), &ordered, None, 9, Fields::PAYLOAD, Some(&filter)).unwrap();
            let mut by_n: Vec<(i64, &PointId)> =
                expected.iter().map(|id| (self.points[*id].1["n"].as_i64().unwrap(), *id)).collect();
            by_n.sort();
            let ids: Vec<&PointId> = page.points.iter().map(|point| &point.id).collect();
            assert_eq!(ids, by_n.iter().take(9).map(|(_, id)| *id).collect::<Vec<_>>(), "{what}");
            let facet = database.facet(&name(), "word", 10, Some(&filter)).unwrap();
            let mut words: BTreeMap<&str, u64> = BTreeMap::new();
            for id in &expected {
                *words.entry(self.points[*id].1["word"].as_str().unwrap()).or_default() += 1;
            }
            let counted: BTreeMap<String, u64> = facet
                .values
                .iter()
                .map(|value| match &value.value {
                    Scalar::String(text) => (text.clone(), value.count),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(counted, words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect(), "{what}");
            let query: Vec<f32> = (0..4).map(|_| rng.random_range(-1.0..1.0)).collect();
            for k in [3, 60] {
                let params = SearchParams::new(k).exact().filter(filter.clone());
                let answer = database.search(&name(), &[Query::Vector(query.clone())], &params).unwrap().remove(0);
                let mut nearest: Vec<f64> = expected
                    .iter()
                    .map(|id| {
                        let squares = self.points[*id].0.iter().zip(&query).map(|(a, b)| f64::from(a - b).powi(2));
                        squares.sum::<f64>().sqrt()
                    })
                    .collect();
                nearest.sort_by(f64::total_cmp);
                nearest.truncate(k as usize);
                assert_eq!(answer.hits.len(), nearest.len(), "{what}");
                let near = |(hit, distance): (&Hit, &f64)| (f64::from(hit.distance) - distance).abs() < 1e-4;
                assert!(answer.hits.iter().zip(&nearest).all(near), "{what}: {nearest:?}");
                let ids: BTreeSet<&PointId> = answer.hits.iter().map(|hit| &hit.point.id).collect();
                assert!(ids.len() == nearest.len() && ids.iter().all(|id| expected.contains(id)), "{what}");
            }
            // The graph searches no other rows either.
            let params = SearchParams::new(5).filter(filter.clone());
            let answer = database.search(&name(), &[Query::Vector(query)], &params).unwrap().remove(0);
            assert_eq!(answer.hits.len(), expected.len().min(5), "{what}");
            assert!(answer.hits.iter().all(|hit| expected.contains(&&hit.point.id)), "{what}");
        }
        let words = Query::Keywords(Keywords::new("w2").field("words"));
        let filter = of_tenant(of);
        let answer = database.search(&name(), &[words], &SearchParams::new(900).filter(filter.clone())).unwrap();
        let ids: BTreeSet<&PointId> = answer[0].hits.iter().map(|hit| &hit.point.id).collect();
        let with_word = |id: &&PointId| self.points[*id].1["word"] == "w2";
        assert_eq!(ids, self.matching(&filter).into_iter().filter(with_word).collect(), "keywords of {of}");
    }
}

/// Returns the tenants of the live rows of each segment, in row order.
fn segments(database: &Database) -> Vec<Vec<Value>> {
    let collection = database.inner_collection(&name());
    let view = collection.view();
    let tenants = |sealed: &std::sync::Arc<crate::segment::sealed::Sealed>| {
        let rows = sealed.live_set();
        let payload = |row| serde_json::from_slice::<Value>(&sealed.payload(row)).unwrap();
        rows.rows().map(|row| payload(row)["of"]["tenant"].clone()).collect()
    };
    view.sealed.iter().map(tenants).collect()
}

/// Checks that the rows of each tenant are adjacent, those without one the last.
#[track_caller]
fn assert_together(segments: &[Vec<Value>]) {
    for rows in segments {
        let mut runs: Vec<&Value> = rows.iter().collect();
        runs.dedup();
        let different: BTreeSet<String> = rows.iter().map(ToString::to_string).collect();
        assert_eq!(runs.len(), different.len(), "{runs:?}");
        assert!(runs[..runs.len() - 1].iter().all(|tenant| !tenant.is_null()), "{runs:?}");
    }
}

#[test]
fn reads_and_writes_of_a_tenant_match_a_plain_reference() {
    for path in [None, Some("of.tenant")] {
        let dir = crate::quick_dir();
        let mut rng = Rng::seed_from_u64(31);
        let mut database = Database::open(dir.path()).unwrap();
        database.create_collection(&spec(path)).unwrap();
        let mut model = Model::default();
        let mut given: Vec<Item> = (0..2_600).map(|number| item(&mut rng, number)).collect();
        given.iter().for_each(|item| model.add(item));
        let mut refused = |_: Refused<'_>, error: Error| Err(error);
        let replace = OnConflict::Replace;
        database.bulk_load(&name(), &mut given.drain(..), replace, &mut refused, &|_, _, _| true).unwrap();
        for step in 0..9 {
            let numbers: BTreeSet<usize> = (0..90).map(|_| rng.random_range(0..3_000)).collect();
            let changed: Vec<Item> = numbers.into_iter().map(|number| item(&mut rng, number)).collect();
            changed.iter().for_each(|item| model.add(item));
            database.upsert(&name(), changed).unwrap();
            // Points move from one tenant to another.
            let (from, to) = (of_tenant(rng.random_range(0..TENANTS)), rng.random_range(0..TENANTS));
            let some = Filter::And(vec![from, Filter::equals("n", rng.random_range(0..50_i64))]);
            let moved: Vec<PointId> = model.matching(&some).into_iter().cloned().collect();
            let fields = json!({"of": {"tenant": tenant(to)}});
            for id in &moved {
                model.points.get_mut(id).unwrap().1.extend(object(fields.clone()));
            }
            let points = PointSelection::Matching { filter: some, allow_unknown_fields: true };
            database.update_payload(&name(), &points, &PayloadUpdate::set(object(fields))).unwrap();
            if step % 3 == 1 {
                let filter = Filter::And(vec![of_tenant(rng.random_range(0..TENANTS)), Filter::equals("word", "w3")]);
                let gone: Vec<PointId> = model.matching(&filter).into_iter().cloned().collect();
                let deleted = database.delete_matching(&name(), &filter, true).unwrap();
                assert_eq!(deleted.deleted, gone.len() as u64);
                gone.iter().for_each(|id| _ = model.points.remove(id));
            }
            if step == 5 {
                database.compact(&name()).unwrap();
            }
            if step == 7 {
                drop(database);
                database = Database::open(dir.path()).unwrap();
            }
            model.check(&database, &mut rng);
        }
        let info = database.compact(&name()).unwrap();
        assert_eq!((info.tenant.as_deref(), info.points), (path, model.points.len() as u64));
        model.check(&database, &mut rng);
        if path.is_some() {
            assert_together(&segments(&database));
        }
    }
}

#[test]
fn flushes_merges_and_bulk_loads_store_a_tenant_together() {
    let store = tempfile::tempdir().unwrap();
    let options = || Database::options().snapshots(SnapshotStore::open(store.path().to_str().unwrap()).unwrap());
    for path in [None, Some("of.tenant")] {
        let dir = crate::quick_dir();
        let mut rng = Rng::seed_from_u64(32);
        let database = options().open(dir.path()).unwrap();
        database.create_collection(&spec(path)).unwrap();
        let mut refused = |_: Refused<'_>, error: Error| Err(error);
        let mut load = |from: usize, count: usize| {
            let mut items: Vec<Item> = (from..from + count).map(|number| item(&mut rng, number)).collect();
            database
                .bulk_load(&name(), &mut items.drain(..), OnConflict::Replace, &mut refused, &|_, _, _| true)
                .unwrap();
        };
        // Below and above the rows of a graph.
        load(0, 900);
        load(900, 2_300);
        let loaded = segments(&database);
        let ordered = std::panic::catch_unwind(|| assert_together(&loaded)).is_ok();
        assert_eq!(ordered, path.is_some(), "without the setting, rows have no such order");
        let mut rng = Rng::seed_from_u64(33);
        let growing: Vec<Item> = (5_000..5_300).map(|number| item(&mut rng, number)).collect();
        database.upsert(&name(), growing).unwrap();
        let collection = database.inner_collection(&name());
        collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
        collection.flush_all_of(&collection.view().unflushed).unwrap();
        if path.is_none() {
            continue;
        }
        assert_together(&segments(&database));
        // A merge orders by the tenant that a point has now.
        let points = PointSelection::Matching { filter: of_tenant(3), allow_unknown_fields: false };
        let fields = object(json!({"of": {"tenant": tenant(8)}}));
        database.update_payload(&name(), &points, &PayloadUpdate::set(fields)).unwrap();
        database.compact(&name()).unwrap();
        let merged = segments(&database);
        assert_eq!((merged.len(), merged[0].len()), (1, 3_500));
        assert_together(&merged);
        // A selection of a tenant spans its own rows only, in words of 64.
        let collection = database.inner_collection(&name());
        for number in (0..TENANTS).filter(|number| *number != 3) {
            let found = collection.select(&collection.view(), &of_tenant(number)).unwrap();
            let rows = found.segments.iter().max_by_key(|rows| rows.count()).unwrap();
            assert!(rows.count() > 50 && rows.words().len() as u64 <= rows.count() / 64 + 2, "{rows:?}");
        }
        drop(collection);
        // The setting is part of a snapshot and of the catalog.
        let snapshot = database.create_snapshot(&name(), &|_, _, _| true).unwrap().snapshot;
        let other = CollectionName::new("other").unwrap();
        let restored = database.restore_snapshot(&snapshot, &other, false, &|_, _, _| true).unwrap();
        assert_eq!(restored.tenant.as_deref(), path);
        drop(database);
        let database = options().open(dir.path()).unwrap();
        assert_eq!(database.collection(&name()).unwrap().tenant.as_deref(), path);
        assert_eq!(database.collection(&other).unwrap().tenant.as_deref(), path);
    }
}

#[test]
fn a_bad_path_is_refused() {
    let dir = crate::quick_dir();
    let database = Database::open(dir.path()).unwrap();
    for path in ["", "a[0]", &"x".repeat(10_000)] {
        let error = database.create_collection(&spec(Some(path))).unwrap_err();
        assert_eq!(error.field(), Some("tenant"), "{error}");
    }
    assert!(database.collections().unwrap().is_empty());
}

#[test]
fn growing_rows_are_indexed_in_blocks_of_two_sizes() {
    let dir = crate::quick_dir();
    let database = Database::open(dir.path()).unwrap();
    let index = IndexSettings::default().seal_rows(20_000);
    database.create_collection(&CollectionSpec::vectors(name(), 1).metric(Metric::L2).index(index)).unwrap();
    let mut written = 0;
    for (rows, expected) in [
        (255, vec![]),
        (300, vec![256]),
        (4_095, vec![256; 15]),
        (4_096, vec![4_096]),
        (4_700, vec![4_096, 256, 256]),
        (8_500, vec![4_096, 4_096, 256]),
    ] {
        let payload = |row: usize| object(json!({"n": row % 7, "word": format!("w{}", row % 11)}));
        let item = |row: usize| Item { payload: payload(row), ..Item::vector(id(row), [row as f32]) };
        database.upsert(&name(), (written..rows).map(item).collect()).unwrap();
        written = rows;
        for n in 0..7 {
            let expected = (0..rows).filter(|row| row % 7 == n).count() as u64;
            assert_eq!(database.count(&name(), Some(&Filter::equals("n", n as i64))).unwrap(), expected, "{rows}");
        }
        let facet = database.facet(&name(), "word", 20, Some(&Filter::equals("n", 3))).unwrap();
        for value in facet.values {
            let Scalar::String(word) = value.value else { panic!("a string") };
            let expected = (0..rows).filter(|row| row % 7 == 3 && format!("w{}", row % 11) == word).count();
            assert_eq!(value.count, expected as u64, "{word} of {rows}");
        }
        let Indexes::Growing(blocks) = database.inner_collection(&name()).view().growing.indexes().unwrap() else {
            panic!("a growing segment")
        };
        assert_eq!(blocks.iter().map(|block| block.rows()).collect::<Vec<_>>(), expected);
    }
}
