//! Vector fields against plain reference implementations: searches, filters, fusions, merges, reopening, damage.

use crate::api::{
    Accuracy, Error, ErrorKind, FieldQuery, FieldTarget, FieldVector, FieldVectors, Fields, Filter, Fusion,
    FusionMethod, Item, Path, Payload, PayloadUpdate, PointInput, PointSelection, Query, Reason, SearchParams,
    SparseVector, SubQuery, VectorField,
};
use crate::engine::{Admin, Database, Reads, Writes};
use crate::prelude::{CollectionName, CollectionSpec, IndexSettings, Metric, PointId};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;

type Rng = Xoshiro256PlusPlus;

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

fn id(number: usize) -> PointId {
    PointId::new(format!("p{number}")).unwrap()
}

fn fields() -> Vec<VectorField> {
    vec![
        VectorField::dense("title", 6).metric(Metric::L2),
        VectorField::sparse("words"),
        VectorField::multi("tokens", 4),
    ]
}

fn floats(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn sparse(rng: &mut Rng) -> SparseVector {
    // Negative weights are rare, and compared without the index.
    let low = if rng.random_range(0..20) == 0 { -0.5 } else { 0.1 };
    let map: BTreeMap<u32, f32> =
        (0..rng.random_range(0..12)).map(|_| (rng.random_range(0..40), rng.random_range(low..2.0))).collect();
    SparseVector { indices: map.keys().copied().collect(), values: map.values().copied().collect() }
}

/// A vector for a field, of its kind.
fn vector(rng: &mut Rng, field: &str) -> FieldVector {
    match field {
        "title" => FieldVector::Dense(floats(rng, 6)),
        "words" => FieldVector::Sparse(sparse(rng)),
        _ => FieldVector::Multi((0..rng.random_range(1..5)).map(|_| floats(rng, 4)).collect()),
    }
}

/// An item that lacks some of the fields.
fn item(rng: &mut Rng, number: usize) -> Item {
    let mut item = Item::vector(id(number), floats(rng, 3)).field("even", number.is_multiple_of(2));
    for field in ["title", "words", "tokens"] {
        if rng.random_range(0..3) > 0 {
            item = item.field_vector(field, vector(rng, field));
        }
    }
    item
}

/// The score by its definition.
fn score(query: &FieldVector, stored: &FieldVector) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match (query, stored) {
        (FieldVector::Dense(a), FieldVector::Dense(b)) => {
            -a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        }
        (FieldVector::Sparse(a), FieldVector::Sparse(b)) => {
            let weights: BTreeMap<u32, f32> = b.indices.iter().copied().zip(b.values.iter().copied()).collect();
            let products = a.indices.iter().zip(&a.values);
            products.map(|(index, x)| f64::from(*x) * f64::from(weights.get(index).copied().unwrap_or(0.0))).sum()
        }
        (FieldVector::Multi(a), FieldVector::Multi(b)) => {
            let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            let best = |a: &Vec<f32>| b.iter().map(|b| cosine(a, b)).fold(f64::NEG_INFINITY, f64::max);
            a.iter().map(best).sum()
        }
        _ => panic!("vectors of two kinds"),
    }
}

struct Model {
    points: BTreeMap<String, Item>,
}

impl Model {
    /// Returns ids and scores of the best points.
    fn best(&self, field: &str, query: &FieldVector, k: usize, accept: impl Fn(&Item) -> bool) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = self
            .points
            .values()
            .filter(|item| accept(item))
            .filter_map(|item| Some((item.id.to_string(), score(query, item.vectors.get(field)?))))
            // A sparse vector that shares no index is no hit.
            .filter(|(_, score)| field != "words" || *score != 0.0)
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }

    #[track_caller]
    fn check(&self, database: &Database, rng: &mut Rng) {
        for field in ["title", "words", "tokens"] {
            let query = vector(rng, field);
            let of_field = Query::Field(FieldQuery::vector(field, query.clone()));
            let all = SearchParams::new(10).exact();
            let even = all.clone().filter(Filter::equals("even", true));
            let is_even = |item: &Item| item.payload["even"] == true;
            for (params, expected) in
                [(&all, self.best(field, &query, 10, |_| true)), (&even, self.best(field, &query, 10, is_even))]
            {
                let answer = database.search(&name(), std::slice::from_ref(&of_field), params).unwrap().remove(0);
                assert_eq!(answer.hits.len(), expected.len(), "{field}");
                assert_eq!(answer.stats.expected_recall, Some(1.0));
                for (hit, (_, score)) in answer.hits.iter().zip(&expected) {
                    assert!((f64::from(hit.score) - score).abs() < 1e-4, "{field}: {} for {score}", hit.score);
                }
            }
        }
        self.check_own(database, rng);
        let ids: Vec<PointId> = self.points.values().map(|item| item.id.clone()).collect();
        let stored = database.get(&name(), &ids, Fields::ALL).unwrap();
        for (point, item) in stored.into_iter().zip(self.points.values()) {
            let point = point.unwrap();
            assert_eq!(point.vectors, item.vectors, "{}", item.id);
            assert_eq!(point.payload.as_ref(), Some(&item.payload));
            let vector = point.vector.map_or(PointInput::None, PointInput::Vector);
            assert_eq!(vector, item.source, "{}", item.id);
        }
        assert_eq!(database.count(&name(), None).unwrap(), self.points.len() as u64);
        let even = self.points.values().filter(|item| item.payload["even"] == true).count() as u64;
        assert_eq!(database.count(&name(), Some(&Filter::equals("even", true))).unwrap(), even);
    }

    /// Searches the vectors of the collection, which some points may lack.
    fn check_own(&self, database: &Database, rng: &mut Rng) {
        let query = floats(rng, 3);
        if database.collection(&name()).unwrap().dimension == 0 {
            let error = database.search(&name(), &[Query::Vector(query)], &SearchParams::new(1)).unwrap_err();
            assert!(error.to_string().contains("no vectors of its own"), "{error}");
            return;
        }
        for (accuracy, filter) in [(Accuracy::Exact, false), (Accuracy::Default, false), (Accuracy::Exact, true)] {
            let own = |item: &Item| match &item.source {
                PointInput::Vector(vector) => Some(vector.clone()),
                _ => None,
            };
            let points = self.points.values().filter(|item| !filter || item.payload["even"] == true);
            let query_vector = FieldVector::Dense(query.clone());
            let mut scores: Vec<f64> =
                points.filter_map(|item| Some(score(&query_vector, &FieldVector::Dense(own(item)?)))).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            let mut params = SearchParams::new(10).accuracy(accuracy);
            if filter {
                params = params.filter(Filter::equals("even", true));
            }
            let answer = database.search(&name(), &[Query::Vector(query.clone())], &params).unwrap().remove(0);
            assert_eq!(answer.hits.len(), scores.len().min(10));
            for (hit, score) in answer.hits.iter().zip(scores) {
                assert!((f64::from(hit.score) - score).abs() < 1e-4, "{} for {score}", hit.score);
            }
        }
        let Some(without) = self.points.values().find(|item| item.source == PointInput::None) else { return };
        let query = Query::Vector(query);
        let explained = database.explain(&name(), &query, &SearchParams::new(1), &without.id).unwrap();
        assert_eq!(explained.reason, Reason::NoVector);
        let by_id = database.search(&name(), &[Query::Id(without.id.clone())], &SearchParams::new(1)).unwrap_err();
        assert!(by_id.to_string().contains("has no vector"), "{by_id}");
    }
}

/// The vectors of a collection besides those in fields.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Own {
    Required,
    Optional,
    None,
}

fn create(dir: &std::path::Path, seal_rows: u32, own: Own) -> Database {
    let database = Database::open(dir).unwrap();
    let index = IndexSettings { seal_rows, m: 8, ef_construction: 60, ..IndexSettings::default() };
    let spec = match own {
        Own::None => CollectionSpec::without_vectors(name()),
        _ => CollectionSpec::vectors(name(), 3).metric(Metric::L2).optional_vectors(own == Own::Optional),
    };
    database.create_collection(&spec.index(index).vector_fields(fields())).unwrap();
    database
}

#[test]
fn searches_agree_with_the_definitions_through_writes_merges_and_reopening() {
    for own in [Own::Required, Own::Optional, Own::None] {
        writes_merges_and_reopening(own);
    }
}

fn writes_merges_and_reopening(own: Own) {
    let dir = crate::quick_dir();
    let mut rng = Rng::seed_from_u64(1);
    let mut database = create(dir.path(), 100, own);
    let mut model = Model { points: BTreeMap::new() };
    for round in 0..8 {
        for _ in 0..3 {
            let items: Vec<Item> = (0..40)
                .map(|_| {
                    let at = rng.random_range(0..300);
                    let item = item(&mut rng, at);
                    let without = own == Own::None || own == Own::Optional && rng.random_range(0..3) == 0;
                    if without { Item { source: PointInput::None, ..item } } else { item }
                })
                .collect();
            let last: BTreeMap<String, Item> = items.iter().map(|item| (item.id.to_string(), item.clone())).collect();
            database.upsert(&name(), items).unwrap();
            model.points.extend(last);
        }
        let gone: Vec<PointId> = (0..10).map(|_| id(rng.random_range(0..300))).collect();
        gone.iter().for_each(|id| _ = model.points.remove(id.as_str()));
        database.delete_points(&name(), &gone).unwrap();
        // An update of a payload keeps the vectors, in a segment and in memory.
        for at in (0..300).step_by(37) {
            let Some(item) = model.points.get_mut(id(at).as_str()) else { continue };
            let mut set = Payload::new();
            set.insert("round".into(), round.into());
            let points = PointSelection::Ids(vec![id(at)]);
            database.update_payload(&name(), &points, &PayloadUpdate::set(set)).unwrap();
            item.payload.insert("round".into(), round.into());
        }
        model.check(&database, &mut rng);
        if round % 3 == 1 {
            database.compact(&name()).unwrap();
            model.check(&database, &mut rng);
        }
        if round % 4 == 2 {
            drop(database);
            database = Database::open(dir.path()).unwrap();
            model.check(&database, &mut rng);
        }
    }
}

#[test]
fn an_equal_item_is_unchanged_after_an_update_of_its_payload_in_a_segment() {
    let dir = crate::quick_dir();
    let database = create(dir.path(), 100, Own::Required);
    let item = Item::vector(id(1), vec![1.0, 2.0, 3.0]).field_vector("title", FieldVector::Dense(vec![0.5; 6]));
    database.upsert(&name(), vec![item.clone()]).unwrap();
    database.compact(&name()).unwrap();
    let mut set = Payload::new();
    set.insert("a".into(), 1.into());
    database.update_payload(&name(), &PointSelection::Ids(vec![id(1)]), &PayloadUpdate::set(set)).unwrap();
    let unchanged = |item: Item| database.upsert(&name(), vec![item]).unwrap().unchanged;
    let same = item.field("a", 1);
    assert_eq!(unchanged(same.clone()), 1);
    // Without its vector in the field, it is another point.
    assert_eq!(unchanged(Item { vectors: FieldVectors::new(), ..same }), 0);
}

/// Returns ids and scores of the hits.
fn hits(database: &Database, query: Query, params: &SearchParams) -> Vec<(String, f32)> {
    let answer = database.search(&name(), &[query], params).unwrap().remove(0);
    answer.hits.into_iter().map(|hit| (hit.point.id.to_string(), hit.score)).collect()
}

fn field(name: &str, vector: FieldVector) -> Query {
    Query::Field(FieldQuery::vector(name, vector))
}

/// A collection whose points have a dense vector except for each tenth.
fn large(dir: &std::path::Path, count: usize) -> (Database, Vec<Item>) {
    let database = create(dir, 50_000, Own::Required);
    let mut rng = Rng::seed_from_u64(2);
    let items: Vec<Item> = (0..count)
        .map(|number| {
            let item = Item::vector(id(number), floats(&mut rng, 3)).field("even", number.is_multiple_of(2));
            let title = FieldVector::Dense(floats(&mut rng, 6));
            if number.is_multiple_of(10) { item } else { item.field_vector("title", title) }
        })
        .collect();
    for items in items.chunks(1_000) {
        database.upsert(&name(), items.to_vec()).unwrap();
    }
    database.compact(&name()).unwrap();
    (database, items)
}

#[test]
fn a_dense_field_is_searched_by_a_graph_with_a_known_recall() {
    let dir = crate::quick_dir();
    let (database, items) = large(dir.path(), 4_000);
    let model = Model { points: items.into_iter().map(|item| (item.id.to_string(), item)).collect() };
    let mut rng = Rng::seed_from_u64(3);
    let (mut found, mut expected) = (0.0, 0.0);
    let target = SearchParams::new(10).target_recall(0.9);
    for _ in 0..50 {
        let query = vector(&mut rng, "title");
        let best = model.best("title", &query, 10, |_| true);
        let answer = database.search(&name(), &[field("title", query)], &target).unwrap().remove(0);
        assert_eq!((answer.stats.path, answer.stats.recall_unmeasured), (Path::Graph, false));
        expected += answer.stats.expected_recall.unwrap();
        found += answer.hits.iter().filter(|hit| best.iter().any(|(id, _)| hit.point.id.as_str() == id)).count() as f32;
    }
    assert!(expected / 50.0 >= 0.9, "{expected}");
    assert!((found / 500.0 - expected / 50.0).abs() < 0.07, "found {}, expected {}", found / 500.0, expected / 50.0);
    // A filter, and deleted points.
    let gone: Vec<PointId> = (0..1_000).map(|number| id(4 * number + 1)).collect();
    database.delete_points(&name(), &gone).unwrap();
    let query = vector(&mut rng, "title");
    let number = |item: &Item| item.id.as_str()[1..].parse::<usize>().unwrap();
    let odd = |item: &Item| number(item) % 2 == 1 && number(item) % 4 != 1;
    let params = SearchParams::new(20).exact().filter(Filter::equals("even", false));
    let best = model.best("title", &query, 20, odd);
    let found: Vec<String> = hits(&database, field("title", query), &params).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, best.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
}

/// Returns the files of the collection with this ending.
fn files_in(dir: &std::path::Path, end: &str) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(dir.join("collections")).unwrap().next().unwrap().unwrap().path();
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

#[test]
fn a_damaged_column_is_rebuilt_and_files_of_dropped_fields_are_removed() {
    let dir = crate::quick_dir();
    let (database, _) = large(dir.path(), 2_500);
    let query = || field("title", FieldVector::Dense(vec![0.1; 6]));
    let before = hits(&database, query(), &SearchParams::new(10).exact());
    drop(database);
    let files = |end: &str| files_in(dir.path(), end);
    let column = files(".column").remove(0);
    let intact = std::fs::read(&column).unwrap();
    // The header, the vectors, the row numbers at the end.
    for at in [9, 5_000, intact.len() - 1_000] {
        let mut damaged = intact.clone();
        damaged[at] ^= 4;
        std::fs::write(&column, damaged).unwrap();
        let database = Database::open(dir.path()).unwrap();
        assert_eq!(hits(&database, query(), &SearchParams::new(10).exact()), before, "byte {at}");
        assert!(database.collection(&name()).unwrap().problems.is_empty());
    }
    // The column of another collection, under the name of this one.
    let other = crate::quick_dir();
    drop(large(other.path(), 2_500));
    let foreign = files_in(other.path(), ".column").remove(0);
    std::fs::copy(&foreign, &column).unwrap();
    let database = Database::open(dir.path()).unwrap();
    assert_eq!(hits(&database, query(), &SearchParams::new(10).exact()), before);
    assert!(std::fs::read(&column).unwrap() != std::fs::read(&foreign).unwrap(), "it was built again");
    assert_eq!((files(".column").len(), files(".column_graph").len(), files(".sparse").len()), (1, 1, 1));
    let info = database.drop_field(&name(), "title").unwrap();
    assert_eq!(info.vector_fields.len(), 2);
    assert_eq!((files(".column").len(), files(".column_graph").len(), files(".column_recall").len()), (0, 0, 0));
    let error = database.search(&name(), &[query()], &SearchParams::new(1)).unwrap_err().to_string();
    assert!(error.contains("there is no vector field \"title\": the collection has words, tokens"), "{error}");
    // A new field of the same name begins empty.
    database.add_field(&name(), VectorField::dense("title", 6).into()).unwrap();
    assert!(hits(&database, query(), &SearchParams::new(1)).is_empty());
    let found = database.get(&name(), &[id(1)], Fields::ALL).unwrap().remove(0).unwrap();
    assert_eq!(found.vectors, FieldVectors::new());
    // The next merge removes the vectors of the dropped field.
    let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    let before = size(&files(".vectors")[0]);
    database.delete_points(&name(), &[id(0)]).unwrap();
    database.compact(&name()).unwrap();
    assert!(size(&files(".vectors")[0]) + 2_000 * 6 * 4 < before);
    database.drop_field(&name(), "words").unwrap();
    assert_eq!(files(".sparse").len(), 0);
}

/// A sparse vector with `most` components at most, without negative ones: of one of 20 topics, and others.
fn terms(rng: &mut Rng, most: usize) -> SparseVector {
    let topic = rng.random_range(0..20);
    let mut component = || {
        let index = 1_000_f64.powf(rng.random::<f64>()) as u32;
        let index = if rng.random_range(0..2) == 0 { 1_000 + 40 * topic + index % 40 } else { index };
        (index, 3.0_f32.powf(rng.random_range(-2.0..1.0)))
    };
    let map: BTreeMap<u32, f32> = (0..most).map(|_| component()).collect();
    SparseVector { indices: map.keys().copied().collect(), values: map.values().copied().collect() }
}

#[test]
fn a_sparse_field_reaches_a_target_recall_by_a_table_that_is_measured_again_when_damaged() {
    const ROWS: usize = 2_400;
    let dir = crate::quick_dir();
    let mut rng = Rng::seed_from_u64(21);
    let database = create(dir.path(), 50_000, Own::None);
    let item = |number| {
        let item = Item { source: PointInput::None, ..Item::vector(id(number), []) };
        let item = item.field("even", number.is_multiple_of(2));
        item.field_vector("words", FieldVector::Sparse(terms(&mut rng, 60)))
    };
    let items: Vec<Item> = (0..ROWS).map(item).collect();
    items.chunks(1_000).for_each(|items| drop(database.upsert(&name(), items.to_vec()).unwrap()));
    database.compact(&name()).unwrap();
    let queries: Vec<Query> = (0..60).map(|_| field("words", FieldVector::Sparse(terms(&mut rng, 25)))).collect();
    let answer = |database: &Database, query: &Query, params: &SearchParams| {
        database.search(&name(), std::slice::from_ref(query), params).unwrap().remove(0)
    };
    let few = SearchParams::new(10).filter(Filter::equals("even", true));
    let all = SearchParams::new(10);
    for params in [&all, &few] {
        let target = params.clone().target_recall(0.9);
        let (mut found, mut expected) = (0, 0.0);
        for query in &queries {
            let best = answer(&database, query, &params.clone().exact());
            let reached = answer(&database, query, &target);
            expected += reached.stats.expected_recall.unwrap();
            let worst = best.hits[9].score;
            found += reached.hits.iter().filter(|hit| hit.score >= worst).count();
            assert_eq!((reached.hits.len(), reached.stats.path == Path::Graph), (10, false));
            // Without a target, and with one that only a complete search reaches.
            let without = [params.clone(), SearchParams { accuracy: Accuracy::Ef(10), ..params.clone() }];
            for exact in without.into_iter().chain([params.clone().target_recall(1.0)]) {
                let exact = answer(&database, query, &exact);
                assert_eq!((&exact.hits, exact.stats.expected_recall), (&best.hits, Some(1.0)));
            }
        }
        let (found, expected) = (found as f32 / 600.0, expected / 60.0);
        assert!((0.9..1.0).contains(&expected) && found >= 0.88, "found {found}, expected {expected}");
    }
    // More hits than were measured.
    let many = answer(&database, &queries[0], &SearchParams::new(200).target_recall(0.9));
    assert_eq!(many.stats.expected_recall, Some(1.0));
    drop(database);
    let files = |end: &str| files_in(dir.path(), end);
    let table = files(".column_recall").remove(0);
    let intact = std::fs::read(&table).unwrap();
    // The tag, as of another index, and the table.
    for at in [3, 20] {
        let mut damaged = intact.clone();
        damaged[at] ^= 1;
        std::fs::write(&table, damaged).unwrap();
        let database = Database::open(dir.path()).unwrap();
        let before = answer(&database, &queries[0], &all.clone().target_recall(0.9));
        database.compact(&name()).unwrap();
        assert!(std::fs::read(&table).unwrap() == intact, "byte {at}");
        let after = answer(&database, &queries[0], &all.clone().target_recall(0.9));
        assert!(before.stats.expected_recall >= after.stats.expected_recall);
    }
    let database = Database::open(dir.path()).unwrap();
    let opened = answer(&database, &queries[0], &all.target_recall(0.9));
    assert!(opened.stats.expected_recall < Some(1.0), "the table is read with the index");
    database.drop_field(&name(), "words").unwrap();
    assert_eq!((files(".sparse").len(), files(".column_recall").len()), (0, 0));
}

#[test]
fn fusions_explanations_and_queries_by_id_cover_vector_fields() {
    let dir = crate::quick_dir();
    let mut rng = Rng::seed_from_u64(5);
    let database = create(dir.path(), 50_000, Own::Required);
    let items: Vec<Item> = (0..200).map(|number| item(&mut rng, number)).collect();
    database.upsert(&name(), items.clone()).unwrap();
    let (title, words) = (vector(&mut rng, "title"), vector(&mut rng, "words"));
    let model = Model { points: items.iter().map(|item| (item.id.to_string(), item.clone())).collect() };
    let parts = [
        SubQuery::new(field("title", title.clone())).limit(30),
        SubQuery::new(field("words", words.clone())).limit(30),
    ];
    let fusion = Query::Fusion(Box::new(Fusion::new(parts.clone())));
    let mut fused: BTreeMap<String, f64> = BTreeMap::new();
    for (name, query) in [("title", &title), ("words", &words)] {
        for (rank, (id, _)) in (1..).zip(model.best(name, query, 30, |_| true)) {
            *fused.entry(id).or_default() += 1.0 / (60.0 + f64::from(rank));
        }
    }
    for (id, score) in hits(&database, fusion, &SearchParams::new(10).exact()) {
        assert!((f64::from(score) - fused[&id]).abs() < 1e-6, "{id}");
    }
    // With true scores, a point without a vector in a field has none there.
    let convex = Query::Fusion(Box::new(Fusion::new(parts).method(FusionMethod::Convex)));
    assert_eq!(hits(&database, convex.clone(), &SearchParams::new(10).exact()).len(), 10);
    let lacks = items.iter().find(|item| !item.vectors.contains_key("title")).unwrap();
    let exact = SearchParams::new(10).exact();
    let explained = database.explain(&name(), &field("title", title.clone()), &exact, &lacks.id).unwrap();
    assert_eq!((explained.reason, explained.score), (Reason::NoVector, None));
    let explained = database.explain(&name(), &convex, &exact, &lacks.id).unwrap();
    assert_eq!(explained.parts[0].score, None);
    let best = model.best("title", &title, 200, |_| true);
    for (rank, (key, score)) in (1..).zip(&best) {
        let explained = database
            .explain(&name(), &field("title", title.clone()), &exact, &PointId::new(key.as_str()).unwrap())
            .unwrap();
        let reason = if rank <= 10 { Reason::Hit } else { Reason::Beaten };
        assert_eq!((explained.reason, explained.true_rank), (reason, Some(rank)), "{key}");
        assert!((f64::from(explained.score.unwrap()) - score).abs() < 1e-4);
    }
    // By id: the point itself is excluded.
    let of = items.iter().find(|item| item.vectors.contains_key("tokens")).unwrap();
    let by_id = Query::Field(FieldQuery::id("tokens", of.id.clone()));
    let expected = model.best("tokens", &of.vectors["tokens"], 6, |item| item.id != of.id);
    let found: Vec<String> = hits(&database, by_id, &SearchParams::new(6)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, expected.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
    let without = items.iter().find(|item| !item.vectors.contains_key("tokens")).unwrap();
    let by_id = Query::Field(FieldQuery::id("tokens", without.id.clone()));
    let error = database.search(&name(), &[by_id], &SearchParams::new(1)).unwrap_err().to_string();
    assert!(error.contains("has no vector in the field \"tokens\""), "{error}");
    let far = Query::Field(FieldQuery { field: "words".into(), target: FieldTarget::Id(id(9_999)) });
    assert!(matches!(database.search(&name(), &[far], &SearchParams::new(1)), Err(Error::UnknownPoint { .. })));
}

#[test]
fn thousands_of_points_without_a_vector_are_flushed_merged_and_searched() {
    let dir = crate::quick_dir();
    let database = create(dir.path(), 50_000, Own::Optional);
    let mut rng = Rng::seed_from_u64(9);
    let items: Vec<Item> = (0..12_000)
        .map(|number| {
            let item = Item::vector(id(number), floats(&mut rng, 3)).field("even", number.is_multiple_of(2));
            if number.is_multiple_of(3) { Item { source: PointInput::None, ..item } } else { item }
        })
        .collect();
    let model = Model { points: items.iter().map(|item| (item.id.to_string(), item.clone())).collect() };
    // The graph of the growing segment leaves them out.
    for items in items.chunks(2_000) {
        database.upsert(&name(), items.to_vec()).unwrap();
    }
    model.check_own(&database, &mut rng);
    database.compact(&name()).unwrap();
    let segments = database.collection(&name()).unwrap().segments;
    assert_eq!(
        segments.iter().map(|segment| (segment.rows, segment.graph)).collect::<Vec<_>>(),
        [(8_000, true), (4_000, false)]
    );
    model.check_own(&database, &mut rng);
    let recall = database.measure_recall(&name(), &crate::api::RecallParams::default().samples(20)).unwrap();
    assert!(recall.recall > 0.8, "{recall:?}");
    // An update gives a point its vector, or another one.
    let found = database.update_vectors(&name(), vec![Item::vector(id(0), vec![9.0, 9.0, 9.0])]).unwrap();
    assert_eq!(found.replaced, 1);
    let near = database.search(&name(), &[Query::Vector(vec![9.0; 3])], &SearchParams::new(1)).unwrap().remove(0);
    assert_eq!(near.hits[0].point.id, id(0));
    drop(database);
    let database = Database::open(dir.path()).unwrap();
    assert_eq!(database.collection(&name()).unwrap().points, 12_000);
    assert!(crate::collection::check::check_directory(dir.path()).is_err(), "it is open");
    drop(database);
    assert!(crate::collection::check::check_directory(dir.path()).unwrap().findings.is_empty());
}

#[test]
fn bulk_loads_take_points_without_a_vector() {
    let dir = crate::quick_dir();
    let mut rng = Rng::seed_from_u64(10);
    for own in [Own::Optional, Own::None] {
        let folder = dir.path().join(format!("{own:?}"));
        let database = create(&folder, 50_000, own);
        let items: Vec<Item> = (0..2_500)
            .map(|number| {
                let item = item(&mut rng, number);
                if own == Own::None || number.is_multiple_of(2) {
                    Item { source: PointInput::None, ..item }
                } else {
                    item
                }
            })
            .collect();
        let mut given = items.clone().into_iter();
        let replace = crate::collection::OnConflict::Replace;
        database.bulk_load(&name(), &mut given, replace, &mut |_, error| Err(error), &|_, _, _| true).unwrap();
        let model = Model { points: items.into_iter().map(|item| (item.id.to_string(), item)).collect() };
        model.check(&database, &mut rng);
    }
}

#[test]
fn updates_of_vectors_keep_the_others_and_bad_vectors_change_nothing() {
    let dir = crate::quick_dir();
    let mut rng = Rng::seed_from_u64(6);
    let database = create(dir.path(), 100, Own::Required);
    let mut first = item(&mut rng, 1);
    first.vectors = ["title", "words", "tokens"].map(|name| (name.to_owned(), vector(&mut rng, name))).into();
    database.upsert(&name(), vec![first.clone()]).unwrap();
    for sealed in [false, true] {
        if sealed {
            database.compact(&name()).unwrap();
        }
        let title = vector(&mut rng, "title");
        let change =
            Item { source: PointInput::None, payload: Payload::new(), vectors: FieldVectors::new(), ..first.clone() };
        let done = database.update_vectors(&name(), vec![change.clone().field_vector("title", title.clone())]).unwrap();
        assert_eq!((done.replaced, done.unchanged), (1, 0));
        first.vectors.insert("title".into(), title);
        let stored = database.get(&name(), &[id(1)], Fields::ALL).unwrap().remove(0).unwrap();
        assert_eq!((&stored.vectors, &stored.payload), (&first.vectors, &Some(first.payload.clone())));
        assert_eq!(Some(first.source.clone()), stored.vector.map(PointInput::Vector));
        let done = database
            .update_vectors(&name(), vec![change.field_vector("title", first.vectors["title"].clone())])
            .unwrap();
        assert_eq!(done.unchanged, 1);
    }
    let refused = |item: Item, part: &str| {
        let error = database.upsert(&name(), vec![first.clone().field("new", 1), item]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    };
    let dense = || FieldVector::Dense(vec![1.0]);
    refused(item(&mut rng, 2).field_vector("titel", dense()), "items[1].vectors[\"titel\"]: there is no vector field");
    refused(item(&mut rng, 2).field_vector("title", dense()), "6 components, got 1");
    refused(item(&mut rng, 2).field_vector("words", dense()), "takes sparse vectors, got a dense one");
    let much = FieldVector::Multi(vec![vec![0.3; 4]; 4_097]);
    refused(item(&mut rng, 2).field_vector("tokens", much), "1 to 4096 vectors");
    refused(Item { source: PointInput::None, ..item(&mut rng, 2) }, "give a vector, a text or an image");
    let stored = database.get(&name(), &[id(1)], Fields::ALL).unwrap().remove(0).unwrap();
    assert_eq!(stored.payload, Some(first.payload.clone()));
    let low = SearchParams::new(1).accuracy(Accuracy::Ef(0));
    assert!(database.search(&name(), &[field("title", vector(&mut rng, "title"))], &low).is_err());
    let spec = CollectionSpec::vectors(CollectionName::new("d").unwrap(), 3);
    let twice = spec.metric(Metric::L2).vector_fields([VectorField::sparse("a"), VectorField::sparse("a")]);
    assert!(database.create_collection(&twice).unwrap_err().to_string().contains("two fields \"a\""));
    let again = database.add_field(&name(), VectorField::sparse("words").into());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let many = (0..14)
        .try_for_each(|number| database.add_field(&name(), VectorField::sparse(format!("f{number}")).into()).map(drop));
    assert!(many.unwrap_err().to_string().contains("at most 16 vector fields"));
}

#[test]
fn the_vectors_of_a_point_are_limited() {
    let dir = crate::quick_dir();
    let database = Database::open(dir.path()).unwrap();
    let fields = [VectorField::multi("a", 256).metric(Metric::Dot), VectorField::multi("b", 256).metric(Metric::Dot)];
    database.create_collection(&CollectionSpec::vectors(name(), 1).vector_fields(fields)).unwrap();
    // Vectors of 256 components in four bytes each.
    let multi = |count: usize| FieldVector::Multi(vec![vec![0.1; 256]; count]);
    let item = || Item::vector(id(1), vec![1.0]);
    // 4 MiB of components, and the header.
    let error = database.upsert(&name(), vec![item().field_vector("a", multi(4_096))]).unwrap_err();
    let what = error.to_string();
    assert!(what.contains("items[0].vectors: take 4194329 bytes, at most 4194304"), "{what}");
    let error = database.upsert(&name(), vec![item().field_vector("a", multi(2_100)).field_vector("b", multi(2_100))]);
    assert!(error.unwrap_err().to_string().contains("at most 4194304"));
    assert_eq!(database.count(&name(), None).unwrap(), 0);
    database.upsert(&name(), vec![item().field_vector("a", multi(2_100))]).unwrap();
    // Together with the vector that an update keeps.
    let change = Item { source: PointInput::None, ..item() }.field_vector("b", multi(2_100));
    let error = database.update_vectors(&name(), vec![change.clone()]).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("at most 4194304"), "{error}");
    database.update_vectors(&name(), vec![change.field_vector("a", multi(1_900))]).unwrap();
    let stored = database.get(&name(), &[id(1)], Fields::ALL).unwrap().remove(0).unwrap();
    assert_eq!((stored.vectors["a"].numbers(), stored.vectors["b"].numbers()), (1_900 * 256, 2_100 * 256));
    // A query by id of a point without a vector in the field.
    database.upsert(&name(), vec![item()]).unwrap();
    let by_id = Query::Field(FieldQuery { field: "a".into(), target: FieldTarget::Id(id(1)) });
    let error = database.search(&name(), &[by_id], &SearchParams::new(1)).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("has no vector in"), "{error}");
}
