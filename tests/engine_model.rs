//! Model tests: random operations on the engine and on a map with exact search; acknowledged writes are present, also
//! after a reopen. It is one file because the operations, the model and the comparison change together.
//!
//! A failure prints the seed; `NEARNESS_SEED=… cargo test --release --test engine_model` replays it.
#![allow(clippy::print_stdout, reason = "prints the seed of a failure")]

use nearness::api::{
    Accuracy, Bounds, Clock, CollectionSpec, ErrorKind, FieldQuery, FieldVector, FieldVectors, Fields, Filter,
    IndexSettings, Item, Keywords, OrderBy, Payload, PayloadAction, PayloadUpdate, PointInput, PointSelection, Query,
    Range, Scalar, SearchParams, SkippedItems, SparseVector, TextField, Timestamp, Ttl, VectorField, WriteCondition,
    WriteMode,
};
use nearness::collection::OnConflict;
use nearness::engine::{Admin, Database, Reads, Writes};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

mod support;
use support::naive;

const DIMENSION: usize = 8;
/// Names of the vector fields: dense, sparse, multi-vectors.
const VECTOR_FIELDS: [&str; 3] = ["title", "weights", "tokens"];
const SECOND: i64 = 1_000_000;
/// Lifetime of a point, in seconds. Its time is that of its version.
const LIFETIME: i64 = 10;

#[derive(Clone, Debug, PartialEq)]
struct Row {
    vector: Option<Vec<f32>>,
    payload: Payload,
    vectors: FieldVectors,
}

impl Row {
    fn of(item: &Item) -> Self {
        let vector = match &item.source {
            PointInput::Vector(vector) => Some(vector.clone()),
            _ => None,
        };
        Self { vector, payload: item.payload.clone(), vectors: item.vectors.clone() }
    }
}

type Model = BTreeMap<PointId, Row>;

/// Settings of the collection.
struct Settings {
    metric: Metric,
    /// The present vector fields.
    fields: BTreeSet<&'static str>,
    /// Whether points expire.
    ttl: bool,
    /// The version up to which points are expired, which the clock follows.
    expired: Arc<AtomicI64>,
}

impl Settings {
    fn new(metric: Metric) -> Self {
        Self { metric, fields: VECTOR_FIELDS.into(), ttl: false, expired: Arc::default() }
    }

    fn definition(&self, field: &str) -> VectorField {
        match field {
            "title" => VectorField::dense(field, 6).metric(self.metric),
            "weights" => VectorField::sparse(field),
            _ => {
                let metric = if self.metric == Metric::L2 { Metric::Dot } else { self.metric };
                VectorField::multi(field, 4).metric(metric)
            }
        }
    }

    fn open(&self, dir: &Path) -> Database {
        let expired = self.expired.clone();
        let now = move || Timestamp::from_micros((expired.load(Ordering::SeqCst) + LIFETIME) * SECOND);
        Database::options().clock(Clock::new(now)).open(dir).expect("the engine opens")
    }

    fn create(&self, engine: &Database) {
        let index = IndexSettings::default().m(8).ef_construction(64).ef_search(64).seal_rows(100);
        let spec = CollectionSpec::vectors(name(), DIMENSION as u32)
            .metric(self.metric)
            .index(index.precision(Precision::F32))
            .optional_vectors(true)
            .vector_fields(VECTOR_FIELDS.map(|field| self.definition(field)))
            .text_fields([TextField::new("words", ["kind", "mixed"])]);
        engine.create_collection(&spec).expect("a new collection");
    }

    /// Returns a vector for a field, of its kind.
    fn field_vector(&self, field: &str, rng: &mut StdRng) -> FieldVector {
        let mut floats = |count| (0..count).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        match field {
            "title" => FieldVector::Dense(floats(6)),
            "weights" => {
                // Negative weights are rare, and compared without the index.
                let low = if rng.random_bool(0.05) { -0.5 } else { 0.1 };
                let map: BTreeMap<u32, f32> = (0..rng.random_range(0..12))
                    .map(|_| (rng.random_range(0..40), rng.random_range(low..2.0)))
                    .collect();
                let (indices, values) = (map.keys().copied().collect(), map.values().copied().collect());
                FieldVector::Sparse(SparseVector { indices, values })
            }
            _ => {
                let vectors = floats(4 * 4);
                FieldVector::Multi(vectors.chunks(4).take(rng.random_range(1..5)).map(<[f32]>::to_vec).collect())
            }
        }
    }

    /// Returns vectors for some of the present fields.
    fn field_vectors(&self, rng: &mut StdRng) -> FieldVectors {
        let mut vectors = FieldVectors::new();
        for field in &self.fields {
            if rng.random_bool(0.7) {
                vectors.insert((*field).into(), self.field_vector(field, rng));
            }
        }
        vectors
    }

    /// Returns an item of a new version; a few have no vector of their own.
    fn item(&self, version: &mut u64, rng: &mut StdRng) -> Item {
        *version += 1;
        let item = Item { vectors: self.field_vectors(rng), ..item(id(rng), vector(rng), *version) };
        if rng.random_bool(0.1) { Item { source: PointInput::None, ..item } } else { item }
    }

    /// Returns the score of a stored vector by its definition; none if it is no hit.
    fn score(&self, field: &str, query: &FieldVector, stored: &FieldVector) -> Option<f64> {
        match (query, stored) {
            (FieldVector::Dense(query), FieldVector::Dense(stored)) => {
                let distance = distance(self.metric, stored, query);
                Some(if self.metric == Metric::Cosine { 1.0 - distance } else { -distance })
            }
            (FieldVector::Sparse(query), FieldVector::Sparse(stored)) => {
                let weights: BTreeMap<&u32, &f32> = stored.indices.iter().zip(&stored.values).collect();
                let shared = query.indices.iter().zip(&query.values);
                let mut products = shared
                    .filter_map(|(index, value)| Some(f64::from(*value) * f64::from(**weights.get(index)?)))
                    .peekable();
                products.peek()?;
                Some(products.sum())
            }
            (FieldVector::Multi(query), FieldVector::Multi(stored)) => {
                let metric = self.definition(field).metric;
                let best = |one: &Vec<f32>| {
                    let similarity = |other: &Vec<f32>| match metric {
                        Metric::Cosine => 1.0 - distance(metric, one, other),
                        _ => -distance(metric, one, other),
                    };
                    stored.iter().map(similarity).fold(f64::NEG_INFINITY, f64::max)
                };
                Some(query.iter().map(best).sum())
            }
            _ => panic!("vectors of two kinds"),
        }
    }
}

fn name() -> CollectionName {
    CollectionName::new("model").expect("a name")
}

fn vector(rng: &mut StdRng) -> Vec<f32> {
    (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn id(rng: &mut StdRng) -> PointId {
    PointId::new(format!("p{}", rng.random_range(0..600_u32))).expect("an id")
}

fn item(id: PointId, vector: Vec<f32>, version: u64) -> Item {
    Item { id, source: PointInput::Vector(vector), payload: payload(version), vectors: Default::default() }
}

/// Returns the payload of a version, which determines all filtered fields.
fn payload(version: u64) -> Payload {
    let mut payload: Payload = [("version".to_owned(), version.into())].into_iter().collect();
    payload.insert("at".into(), (version as i64 * SECOND).into());
    if !version.is_multiple_of(4) {
        payload.insert("kind".into(), ["animal", "plant", "stone"][version as usize % 3].into());
    }
    let mixed = match version % 7 {
        0 => serde_json::json!(null),
        1 => serde_json::json!(version % 5),
        2 => serde_json::json!(["text", "x".repeat(257), format!("{}{}", "y".repeat(300), version % 3)]),
        3 => serde_json::json!(version.is_multiple_of(2)),
        4 => serde_json::json!([version % 5, [0.5, "text"], { "of": version }]),
        5 => serde_json::json!({ "lat": version % 90, "lon": 2.5 }),
        _ => serde_json::json!([]),
    };
    payload.insert("mixed".into(), mixed);
    payload.insert("deep".into(), serde_json::json!({ "tags": [version % 7, "x"], "half": version as f64 / 2.0 }));
    payload
}

fn filter(rng: &mut StdRng, levels: u32) -> Filter {
    let field = ["version", "kind", "deep.tags", "deep.half", "deep", "nothing"][rng.random_range(0..6)];
    let scalar = |rng: &mut StdRng| match rng.random_range(0..4) {
        0 => Scalar::from("animal"),
        1 => Scalar::from("plant"),
        _ => Scalar::from(rng.random_range(0..if field == "deep.tags" { 7 } else { 2_000_i64 })),
    };
    let parts = |rng: &mut StdRng| (0..rng.random_range(1..4)).map(|_| filter(rng, levels - 1)).collect();
    match rng.random_range(if levels == 0 { 3 } else { 0 }..12) {
        0 => Filter::And(parts(rng)),
        1 => Filter::Or(parts(rng)),
        2 => Filter::not(filter(rng, levels - 1)),
        3 => Filter::exists(field),
        4 => Filter::equals(field, scalar(rng)),
        6 => Filter::ids((0..rng.random_range(1..400)).map(|_| id(rng))),
        7 => Filter::IsEmpty { field: field.into() },
        8 => {
            let least = rng.random_range(0..4_u64);
            Filter::ValuesCount { field: field.into(), count: Bounds { gte: Some(least), ..Default::default() } }
        }
        5 => Filter::among(field, (0..20).map(|_| scalar(rng))),
        _ => {
            let from = rng.random_range(0..2_000_i64);
            let until = from + rng.random_range(0..500);
            Filter::range(field, Range { gt: Some(from.into()), lte: Some(until.into()), ..Default::default() })
        }
    }
}

/// Compares facets, statistics of fields, ordered scrolls and samples with those of an engine that reads every payload.
fn compare_summaries(engine: &Database, model: &Model, rng: &mut StdRng) {
    let filter = rng.random_bool(0.7).then(|| filter(rng, 1));
    let all = model.iter().map(|(id, row)| (id, &row.payload));
    let matching: Vec<(&PointId, &Payload)> =
        all.filter(|(id, payload)| filter.as_ref().is_none_or(|filter| filter.matches(id, payload))).collect();
    let filter = filter.as_ref();
    let fields = ["version", "kind", "deep.tags", "deep.half", "mixed", "mixed.of", "nothing"];
    let field = fields[rng.random_range(0..fields.len())];
    let limit = rng.random_range(1..50);
    let facet = engine.facet(&name(), field, limit, filter).expect("a facet");
    assert_eq!(facet, naive::facet(&matching, field, limit as usize), "facet of {field} under {filter:?}");

    let order = OrderBy { field: field.into(), descending: rng.random() };
    let expected = naive::ordered(&matching, &order, None);
    let (mut scrolled, mut next) = (Vec::new(), None);
    loop {
        let fields = Fields { payload: true, vector: false };
        let page = engine.scroll_ordered(&name(), &order, next.as_ref(), limit * 3, fields, filter);
        let page = page.expect("a page");
        for point in page.points {
            assert_eq!(point.payload.as_ref(), Some(&model[&point.id].payload), "payload of {}", point.id);
            scrolled.push(point.id);
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let expected: Vec<PointId> = expected.into_iter().map(|(_, id)| id).collect();
    assert_eq!(scrolled, expected, "{order:?} under {filter:?}");

    let mut described = engine.describe_fields(&name(), filter).expect("fields");
    let mut all = naive::describe_fields(&matching);
    for report in [&mut described, &mut all] {
        // The strings are compared up to the length of a reported string.
        for extreme in report.fields.iter_mut().flat_map(|field| &mut field.strings).flat_map(|(a, b)| [a, b]) {
            extreme.truncated |= extreme.text.len() > 256;
            extreme.text.truncate(256);
        }
    }
    assert_eq!(described, all, "fields under {filter:?}");

    let (limit, seed) = (rng.random_range(1..700), rng.random());
    let sample = |limit| engine.sample(&name(), limit, seed, Fields::NONE, filter).expect("a sample");
    let sampled: Vec<PointId> = sample(limit).into_iter().map(|point| point.id).collect();
    let distinct: BTreeSet<&PointId> = sampled.iter().collect();
    assert_eq!(distinct.len(), matching.len().min(limit as usize), "a sample of {limit} under {filter:?}");
    assert!(distinct.iter().all(|id| matching.iter().any(|(other, _)| other == id)), "{filter:?}");
    let fewer: Vec<PointId> = sample(limit.div_ceil(2)).into_iter().map(|point| point.id).collect();
    assert!(sampled.starts_with(&fewer), "the same seed selects the same points");
}

/// Returns the words of the text field of a payload.
fn words(payload: &Payload) -> Vec<&str> {
    fn add<'p>(value: &'p Value, words: &mut Vec<&'p str>) {
        match value {
            Value::String(text) => words.extend(text.split_whitespace()),
            Value::Array(items) => items.iter().for_each(|item| add(item, words)),
            _ => {}
        }
    }
    let mut words = Vec::new();
    ["kind", "mixed"].iter().filter_map(|field| payload.get(*field)).for_each(|value| add(value, &mut words));
    words
}

/// Compares a keyword query with BM25 by its definition, over all points.
fn compare_keywords(engine: &Database, model: &Model, rng: &mut StdRng) {
    let mut query = vec!["animal", "plant", "stone", "text", "nothing"];
    query.retain(|_| rng.random_bool(0.5));
    if query.is_empty() {
        return;
    }
    let texts: BTreeMap<&PointId, Vec<&str>> = model.iter().map(|(id, row)| (id, words(&row.payload))).collect();
    let lengths: Vec<f64> = texts.values().filter(|words| !words.is_empty()).map(|words| words.len() as f64).collect();
    let average = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
    let score = |words: &[&str]| -> f64 {
        let of_term = |term: &&str| {
            let points = texts.values().filter(|words| words.contains(term)).count() as f64;
            let idf = (1.0 + (lengths.len() as f64 - points + 0.5) / (points + 0.5)).ln();
            let frequency = words.iter().filter(|word| *word == term).count() as f64;
            idf * 2.2 * frequency / (frequency + 1.2 * (0.25 + 0.75 * words.len() as f64 / average))
        };
        query.iter().map(of_term).sum()
    };
    let scores: BTreeMap<&PointId, f64> = texts.iter().map(|(id, words)| (*id, score(words))).collect();
    let mut best: Vec<f64> = scores.values().copied().filter(|score| *score > 0.0).collect();
    best.sort_by(|a, b| b.total_cmp(a));
    let found = Query::Keywords(Keywords::new(query.join(" ")));
    let answer = engine.search(&name(), &[found], &SearchParams::new(50)).expect("an answer").remove(0);
    assert_eq!(answer.hits.len(), best.len().min(50), "{query:?}");
    for (hit, best) in answer.hits.iter().zip(best) {
        assert!((f64::from(hit.score) - best).abs() < 1e-4, "{query:?}: {} instead of {best}", hit.score);
        assert!((scores[&hit.point.id] - best).abs() < 1e-4, "{} for {query:?}", hit.point.id);
    }
}

/// Compares searches of each vector field, by a vector or by a stored point, with the scores of every point.
fn compare_fields(engine: &Database, model: &Model, settings: &Settings, rng: &mut StdRng) {
    for field in &settings.fields {
        let with = model.iter().filter(|(_, row)| row.vectors.contains_key(*field)).collect::<Vec<_>>();
        let stored = (rng.random_bool(0.3) && !with.is_empty()).then(|| with[rng.random_range(0..with.len())]);
        let (query, vector) = match stored {
            Some((id, row)) => (FieldQuery::id(*field, id.clone()), row.vectors[*field].clone()),
            None => {
                let vector = settings.field_vector(field, rng);
                (FieldQuery::vector(*field, vector.clone()), vector)
            }
        };
        let filter = rng.random_bool(0.5).then(|| filter(rng, 1));
        let scores: BTreeMap<&PointId, f64> = with
            .iter()
            .filter(|(id, row)| filter.as_ref().is_none_or(|filter| filter.matches(id, &row.payload)))
            .filter(|(id, _)| stored.is_none_or(|(own, _)| own != *id))
            .filter_map(|(id, row)| Some((*id, settings.score(field, &vector, &row.vectors[*field])?)))
            .collect();
        let mut best: Vec<f64> = scores.values().copied().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        for accuracy in [Accuracy::Exact, Accuracy::Ef(64)] {
            let params = SearchParams::new(10).accuracy(accuracy).fields(Fields::ALL);
            let params = match &filter {
                Some(filter) => params.filter(filter.clone()),
                None => params,
            };
            let query = Query::Field(query.clone());
            let answer = engine.search(&name(), &[query], &params).expect("an answer").remove(0);
            let what = format!("{field} by {accuracy:?} under {filter:?}");
            assert_eq!(answer.hits.len(), best.len().min(10), "never fewer than k while k have a vector: {what}");
            for (hit, best) in answer.hits.iter().zip(&best) {
                let (id, score) = (&hit.point.id, f64::from(hit.score));
                assert!(scores.get(id).is_some_and(|own| (own - score).abs() < 1e-4), "{id}: {score}, {what}");
                assert_eq!(Some(&hit.point.vectors), model.get(id).map(|row| &row.vectors), "{id}: {what}");
                // Other fields than dense ones are always compared exactly.
                if accuracy == Accuracy::Exact || *field != "title" {
                    assert!((best - score).abs() < 1e-4, "{id}: {score} instead of {best}, {what}");
                }
            }
        }
    }
    for field in VECTOR_FIELDS.into_iter().filter(|field| !settings.fields.contains(field)) {
        let query = Query::Field(FieldQuery::vector(field, settings.field_vector(field, rng)));
        let error = engine.search(&name(), &[query], &SearchParams::new(1)).expect_err("no such field");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// Compares a filtered count, scroll and search with a scan of every point.
fn compare_filtered(engine: &Database, model: &Model, metric: Metric, rng: &mut StdRng) {
    let filter = filter(rng, 2);
    let matching: Vec<&PointId> =
        model.iter().filter(|(id, row)| filter.matches(id, &row.payload)).map(|(id, _)| id).collect();
    assert_eq!(engine.count(&name(), Some(&filter)).expect("a count"), matching.len() as u64, "count of {filter:?}");
    let (mut scrolled, mut after) = (Vec::new(), None);
    loop {
        let page = engine.scroll(&name(), after.as_ref(), 40, Fields::default(), Some(&filter)).expect("a page");
        scrolled.extend(page.points.into_iter().map(|point| point.id));
        after = scrolled.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(scrolled.iter().collect::<Vec<_>>(), matching, "scroll of {filter:?}");
    let query = vector(rng);
    let vectors = matching.iter().filter_map(|id| model[*id].vector.as_ref());
    let mut truth: Vec<f64> = vectors.map(|vector| distance(metric, vector, &query)).collect();
    truth.sort_by(f64::total_cmp);
    for accuracy in [Accuracy::Exact, Accuracy::Ef(64)] {
        let params = SearchParams::new(10).accuracy(accuracy).filter(filter.clone());
        let answer = engine.search(&name(), &[Query::Vector(query.clone())], &params).expect("an answer").remove(0);
        assert_eq!(answer.stats.filter_matches, Some(matching.len() as u64), "{filter:?}");
        assert_eq!(answer.hits.len(), truth.len().min(10), "never fewer than k while k match: {filter:?}");
        for (hit, truth) in answer.hits.iter().zip(&truth) {
            assert!(matching.binary_search(&&hit.point.id).is_ok(), "{} does not match {filter:?}", hit.point.id);
            // A few points are compared exactly, regardless of the accuracy.
            assert!((truth - f64::from(hit.distance)).abs() < 1e-4, "{} for {filter:?}", hit.point.id);
        }
    }
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    match metric {
        Metric::Cosine => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::Dot => -dot(a, b),
        Metric::L2 => a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt(),
    }
}

/// Compares every query of the engine with the model.
fn compare(engine: &Database, model: &Model, settings: &Settings, rng: &mut StdRng) {
    let metric = settings.metric;
    assert_eq!(engine.count(&name(), None).expect("a count"), model.len() as u64, "count");
    let fields = Fields { payload: true, vector: true };
    let ids: Vec<PointId> = (0..20).map(|_| id(rng)).collect();
    for (id, point) in ids.iter().zip(engine.get(&name(), &ids, fields).expect("points")) {
        let found = point.map(|point| Row {
            vector: point.vector,
            payload: point.payload.expect("a payload"),
            vectors: point.vectors,
        });
        assert_eq!(found.as_ref(), model.get(id), "get {id}");
    }
    let (mut scrolled, mut after) = (Vec::new(), None);
    loop {
        let page = engine.scroll(&name(), after.as_ref(), 97, Fields::default(), None).expect("a page");
        scrolled.extend(page.points.into_iter().map(|point| point.id));
        after = scrolled.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(scrolled, model.keys().cloned().collect::<Vec<_>>(), "scroll");
    (0..5).for_each(|_| compare_filtered(engine, model, metric, rng));
    (0..3).for_each(|_| compare_fields(engine, model, settings, rng));
    (0..3).for_each(|_| compare_keywords(engine, model, rng));
    (0..5).for_each(|_| compare_summaries(engine, model, rng));
    let query = vector(rng);
    let vectors = model.values().filter_map(|row| row.vector.as_ref());
    let mut truth: Vec<f64> = vectors.map(|vector| distance(metric, vector, &query)).collect();
    truth.sort_by(f64::total_cmp);
    for accuracy in [Accuracy::Exact, Accuracy::Ef(64)] {
        let params = SearchParams::new(10).accuracy(accuracy).fields(fields);
        let answer = engine.search(&name(), &[Query::Vector(query.clone())], &params).expect("an answer").remove(0);
        assert_eq!(answer.hits.len(), truth.len().min(10), "never fewer than k while k points have a vector");
        for (rank, hit) in answer.hits.iter().enumerate() {
            let row = &model[&hit.point.id];
            let vector = row.vector.as_ref().expect("a point with a vector");
            assert_eq!(hit.point.payload.as_ref(), Some(&row.payload), "payload of {}", hit.point.id);
            assert!(
                (distance(metric, vector, &query) - f64::from(hit.distance)).abs() < 1e-4,
                "distance of {}",
                hit.point.id
            );
            if accuracy == Accuracy::Exact {
                assert!((truth[rank] - f64::from(hit.distance)).abs() < 1e-4, "rank {rank}");
            }
        }
    }
}

/// What an action does to a payload.
type Change = Box<dyn Fn(&mut Payload)>;

/// Updates payloads by id or by filter, and does the same to the model, field by field.
fn update_payloads(engine: &Database, model: &mut Model, version: u64, rng: &mut StdRng) {
    let new = payload(version);
    let (action, change): (PayloadAction, Change) = match rng.random_range(0..5) {
        0 => (PayloadAction::Clear, Box::new(Payload::clear)),
        1 => (PayloadAction::Overwrite(new.clone()), Box::new(move |payload| payload.clone_from(&new))),
        2 => {
            let paths = vec!["kind".to_owned(), "deep.tags".to_owned(), "nothing".to_owned()];
            let change = |payload: &mut Payload| {
                payload.remove("kind");
                if let Some(deep) = payload.get_mut("deep") {
                    deep.as_object_mut().expect("an object").remove("tags");
                }
            };
            (PayloadAction::Unset(paths), Box::new(change))
        }
        3 => {
            let fields: Payload = [("half".to_owned(), serde_json::json!(version as f64 / 2.0))].into_iter().collect();
            let change = move |payload: &mut Payload| {
                let deep = payload.entry("deep").or_insert_with(|| serde_json::json!({}));
                deep["half"] = serde_json::json!(version as f64 / 2.0);
            };
            (PayloadAction::Set { path: Some("deep".into()), fields }, Box::new(change))
        }
        _ => {
            let fields: Payload = [("version".to_owned(), version.into())].into_iter().collect();
            let change = move |payload: &mut Payload| _ = payload.insert("version".into(), version.into());
            (PayloadAction::Set { path: None, fields }, Box::new(change))
        }
    };
    let (points, ids): (PointSelection, Vec<PointId>) = if rng.random_bool(0.5) {
        let ids: Vec<PointId> = (0..rng.random_range(1..40)).map(|_| id(rng)).collect();
        (PointSelection::Ids(ids.clone()), ids)
    } else {
        let filter = filter(rng, 1);
        let matching = model.iter().filter(|(id, row)| filter.matches(id, &row.payload)).map(|(id, _)| id.clone());
        let ids = matching.collect();
        (PointSelection::Matching { filter, allow_unknown_fields: true }, ids)
    };
    let (mut updated, mut unchanged, mut missing) = (0, 0, 0);
    for id in ids.into_iter().collect::<BTreeSet<_>>() {
        match model.get_mut(&id) {
            None => missing += 1,
            Some(Row { payload, .. }) => {
                let before = payload.clone();
                change(payload);
                if *payload == before { unchanged += 1 } else { updated += 1 }
            }
        }
    }
    let done = engine.update_payload(&name(), &points, &PayloadUpdate::new([action])).expect("an update");
    assert_eq!((done.updated, done.unchanged, done.missing.len()), (updated, unchanged, missing));
}

/// Upserts items under a condition, and does the same to the model, item by item.
fn upsert_if(engine: &Database, model: &mut Model, settings: &Settings, version: &mut u64, rng: &mut StdRng) {
    let items: Vec<Item> = (0..rng.random_range(1..30)).map(|_| settings.item(version, rng)).collect();
    let condition = match rng.random_range(0..5) {
        0 => WriteCondition::mode(WriteMode::Insert),
        1 => WriteCondition::mode(WriteMode::Update),
        2 => WriteCondition::mode(WriteMode::Update).only_if(filter(rng, 1)),
        3 => {
            let distinct = items.iter().map(|item| &item.id).collect::<BTreeSet<_>>().len();
            let exists = distinct < items.len() || items.iter().any(|item| model.contains_key(&item.id));
            let done = engine.upsert_if(&name(), items.clone(), &WriteCondition::mode(WriteMode::Keep));
            match done {
                Ok(done) => {
                    assert_eq!((exists, done.inserted), (false, items.len() as u64));
                    model.extend(items.iter().map(|item| (item.id.clone(), Row::of(item))));
                }
                Err(error) => assert!(exists && error.kind() == ErrorKind::AlreadyExists, "{error}"),
            }
            return;
        }
        _ => WriteCondition::default().only_if(filter(rng, 1)),
    };
    let (mut expected, mut inserted) = (SkippedItems::default(), 0);
    for item in items.clone() {
        let id = item.id.clone();
        match model.get(&id) {
            Some(_) if condition.mode == WriteMode::Insert => expected.existing.push(id),
            None if condition.mode == WriteMode::Update => expected.missing.push(id),
            Some(old) if condition.only_if.as_ref().is_some_and(|filter| !filter.matches(&id, &old.payload)) => {
                expected.unmatched.push(id);
            }
            found => {
                inserted += u64::from(found.is_none());
                model.insert(id, Row::of(&item));
            }
        }
    }
    let done = engine.upsert_if(&name(), items, &condition).expect("an upsert");
    assert_eq!((done.inserted, done.skipped), (inserted, expected), "{condition:?}");
}

/// Replaces vectors of points, in some fields each, and does the same to the model.
fn update_vectors(engine: &Database, model: &mut Model, settings: &Settings, rng: &mut StdRng) {
    let ids = (0..10).map(|_| id(rng)).collect::<BTreeSet<_>>();
    let items: Vec<Item> = ids
        .into_iter()
        .map(|id| {
            let item = Item { vectors: settings.field_vectors(rng), ..Item::vector(id, vector(rng)) };
            let keeps = rng.random_bool(0.5) && !item.vectors.is_empty();
            if keeps { Item { source: PointInput::None, ..item } } else { item }
        })
        .collect();
    let missing: Vec<PointId> =
        items.iter().map(|item| &item.id).filter(|id| !model.contains_key(*id)).cloned().collect();
    for item in &items {
        let Some(row) = model.get_mut(&item.id) else { continue };
        let new = Row::of(item);
        row.vector = new.vector.or_else(|| row.vector.take());
        row.vectors.extend(new.vectors);
    }
    let done = engine.update_vectors(&name(), items).expect("an update");
    assert_eq!((done.inserted, done.skipped.missing), (0, missing));
}

/// Drops a vector field, or adds it again; its vectors from before do not return.
fn change_fields(engine: &Database, model: &mut Model, settings: &mut Settings, rng: &mut StdRng) {
    let field = VECTOR_FIELDS[rng.random_range(0..VECTOR_FIELDS.len())];
    if !settings.fields.remove(field) {
        engine.add_field(&name(), settings.definition(field).into()).expect("a new field");
        settings.fields.insert(field);
        return;
    }
    engine.drop_field(&name(), field).expect("a dropped field");
    model.values_mut().for_each(|row| _ = row.vectors.remove(field));
    let item = item(id(rng), vector(rng), 0).field_vector(field, settings.field_vector(field, rng));
    let error = engine.upsert(&name(), vec![item]).expect_err("no such field");
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(field), "{error}");
}

/// Sets or removes the expiry, or lets the oldest points expire: hidden at once, then deleted.
fn expire(engine: &Database, model: &mut Model, settings: &mut Settings, rng: &mut StdRng) {
    if rng.random_bool(0.3) {
        settings.ttl = !settings.ttl;
        let ttl = settings.ttl.then(|| Ttl::new("at", LIFETIME as u64));
        engine.set_ttl(&name(), ttl).expect("the expiry");
    } else {
        let mut times: Vec<i64> = model.values().filter_map(|row| row.payload.get("at")?.as_i64()).collect();
        times.sort_unstable();
        if let Some(time) = times.get(rng.random_range(0..20)) {
            settings.expired.fetch_max(time / SECOND, Ordering::SeqCst);
        }
    }
    if !settings.ttl {
        return;
    }
    let last = settings.expired.load(Ordering::SeqCst) * SECOND;
    model.retain(|_, row| row.payload.get("at").and_then(Value::as_i64).is_none_or(|time| time > last));
    // The thread in the background may delete them meanwhile. Statistics of keywords include them until then.
    assert_eq!(engine.count(&name(), None).expect("a count"), model.len() as u64, "count of what is not expired");
    compare_filtered(engine, model, settings.metric, rng);
    compare_fields(engine, model, settings, rng);
    compare_summaries(engine, model, rng);
    engine.delete_expired(&name()).expect("a deletion");
    let begun = Instant::now();
    while engine.collection(&name()).expect("the collection").points != model.len() as u64 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the expired points are deleted");
        std::thread::yield_now();
    }
}

fn run(seed: u64, metric: Metric, steps: usize) {
    println!("seed {seed}, {metric}, {steps} steps");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(metric);
    let mut engine = settings.open(dir.path());
    settings.create(&engine);
    let mut model = Model::new();
    let mut version = 0;
    for step in 0..steps {
        match rng.random_range(0..137) {
            115..125 => upsert_if(&engine, &mut model, &settings, &mut version, &mut rng),
            125..129 => update_vectors(&engine, &mut model, &settings, &mut rng),
            130..133 => change_fields(&engine, &mut model, &mut settings, &mut rng),
            133..137 => expire(&engine, &mut model, &mut settings, &mut rng),
            // Seldom, so that segments become large.
            129 if rng.random_bool(0.2) => {
                let done = engine.delete_all_points(&name()).expect("a delete");
                assert_eq!(done.deleted, std::mem::take(&mut model).len() as u64, "step {step}");
            }
            100..115 => {
                version += 1;
                update_payloads(&engine, &mut model, version, &mut rng);
                (0..2).for_each(|_| compare_summaries(&engine, &model, &mut rng));
            }
            0..60 => {
                let items: Vec<Item> =
                    (0..rng.random_range(1..30)).map(|_| settings.item(&mut version, &mut rng)).collect();
                let before = model.len();
                model.extend(items.iter().map(|item| (item.id.clone(), Row::of(item))));
                let count = items.len() as u64;
                let done = engine.upsert(&name(), items).expect("an upsert");
                assert_eq!(done.inserted, (model.len() - before) as u64, "step {step}");
                assert_eq!(done.inserted + done.replaced, count, "step {step}");
            }
            60..62 => {
                // A narrow range, so that some points remain.
                let newest = version / 40;
                let range = Range { gte: Some(((version - newest) as i64).into()), ..Default::default() };
                let filter = Filter::And(vec![filter(&mut rng, 1), Filter::range("version", range)]);
                let before = model.len();
                model.retain(|id, row| !filter.matches(id, &row.payload));
                let removed = (before - model.len()) as u64;
                assert_eq!(
                    engine.delete_matching(&name(), &filter, true).expect("a delete").deleted,
                    removed,
                    "step {step}"
                );
            }
            62..80 => {
                let ids: Vec<PointId> = (0..rng.random_range(1..20)).map(|_| id(&mut rng)).collect();
                let removed = ids.iter().filter(|id| model.remove(*id).is_some()).count() as u64;
                assert_eq!(engine.delete_points(&name(), &ids).expect("a delete").deleted, removed, "step {step}");
            }
            80..85 => {
                let items: Vec<Item> =
                    (0..rng.random_range(1..200)).map(|_| settings.item(&mut version, &mut rng)).collect();
                model.extend(items.iter().map(|item| (item.id.clone(), Row::of(item))));
                engine
                    .bulk_load(
                        &name(),
                        &mut items.into_iter(),
                        OnConflict::Replace,
                        &mut |_, error| Err(error),
                        &|_, _, _| true,
                    )
                    .expect("a bulk load");
            }
            85..88 => {
                let info = engine.compact(&name()).expect("a compaction");
                // Points with a vector of their own, and those without.
                assert!(info.segments.len() <= 2 && info.deleted_rows == 0, "step {step}: {info:?}");
            }
            88..91 => {
                drop(engine);
                engine = settings.open(dir.path());
            }
            _ => compare(&engine, &model, &settings, &mut rng),
        }
    }
    compare(&engine, &model, &settings, &mut rng);
}

#[test]
fn random_operations_match_the_model() {
    let seed = std::env::var("NEARNESS_SEED").ok().and_then(|seed| seed.parse().ok());
    for (index, metric) in Metric::ALL.into_iter().enumerate() {
        run(seed.unwrap_or(11 + index as u64), metric, 250);
    }
}

#[test]
#[ignore = "slow: 20 seeds, or NEARNESS_MINUTES"]
fn many_seeds_match_the_model() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("NEARNESS_SEED").unwrap_or(1_000);
    let deadline = number("NEARNESS_MINUTES").map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let continues = |seed| deadline.map_or(seed < first + 20, |deadline| Instant::now() < deadline);
    for seed in (first..).take_while(|seed| continues(*seed)) {
        run(seed, Metric::ALL[seed as usize % 3], 400);
    }
}

#[test]
fn graph_search_keeps_its_recall_through_every_step() {
    for metric in Metric::ALL {
        let mut rng = StdRng::seed_from_u64(5);
        let dir = tempfile::tempdir().expect("a folder");
        let mut engine = Database::open(dir.path()).expect("the engine opens");
        let spec = CollectionSpec::vectors(name(), 24)
            .metric(metric)
            .index(IndexSettings::default().m(16).ef_construction(100).seal_rows(4_000).precision(Precision::F32));
        engine.create_collection(&spec).expect("a new collection");
        let clustered = {
            let mut rng = StdRng::seed_from_u64(6);
            let centres: Vec<Vec<f32>> =
                (0..40).map(|_| (0..24).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
            move |rng: &mut StdRng| -> Vec<f32> {
                let centre = &centres[rng.random_range(0..centres.len())];
                centre.iter().map(|x| x + rng.random_range(-0.4..0.4)).collect()
            }
        };
        let queries: Vec<Query> = (0..100).map(|_| Query::Vector(clustered(&mut rng))).collect();
        let check = |engine: &Database, step: &str| {
            let with = |accuracy| SearchParams::new(10).accuracy(accuracy);
            let truth = engine.search(&name(), &queries, &with(Accuracy::Exact)).expect("answers");
            let found = engine.search(&name(), &queries, &with(Accuracy::Ef(128))).expect("answers");
            let points = engine.count(&name(), None).expect("a count");
            let mut same = 0;
            for (truth, found) in truth.iter().zip(&found) {
                assert!(found.stats.segments_by_graph > 0, "{metric} {step}: the graph is searched, not a scan");
                assert!(found.stats.distances_computed < points, "{metric} {step}: as many distances as a scan");
                same += found
                    .hits
                    .iter()
                    .filter(|hit| truth.hits.iter().any(|other| other.point.id == hit.point.id))
                    .count();
            }
            let recall = same as f64 / (truth.len() * 10) as f64;
            assert!(recall >= 0.95, "{metric} {step}: recall@10 {recall}");
        };
        let batch = |engine: &Database, from: usize, count: usize, rng: &mut StdRng| {
            let items: Vec<Item> = (from..from + count)
                .map(|number| item(PointId::new(format!("{number}")).expect("an id"), clustered(rng), 0))
                .collect();
            for chunk in items.chunks(2_000) {
                engine.upsert(&name(), chunk.to_vec()).expect("an upsert");
            }
        };
        batch(&engine, 0, 9_000, &mut rng);
        engine.compact(&name()).expect("a compaction");
        check(&engine, "after the build");
        batch(&engine, 9_000, 1_500, &mut rng);
        check(&engine, "after inserts");
        let ids: Vec<PointId> =
            (0..1_500).map(|number| PointId::new(format!("{}", number * 3)).expect("an id")).collect();
        engine.delete_points(&name(), &ids).expect("a delete");
        check(&engine, "after deletes");
        engine.compact(&name()).expect("a compaction");
        check(&engine, "after a compaction");
        drop(engine);
        engine = Database::open(dir.path()).expect("the engine opens");
        check(&engine, "after a reopen");
    }
}
