//! Tests of collections with components smaller than 32 bits: stored values, their stability, and saved space.

use nearness::api::{
    Accuracy, CollectionSpec, ErrorKind, Fields, IndexSettings, Item, Payload, PointInput, Query, SearchParams,
    VectorSource,
};
use nearness::engine::{Admin, Database, Reads, Writes};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::path::Path;

const DIMENSION: usize = 32;
const POINTS: usize = 2_600;

fn open(dir: &Path) -> Database {
    Database::open(dir).expect("the engine opens")
}

fn vector(rng: &mut StdRng) -> Vec<f32> {
    let centre = rng.random_range(0..20) as f32;
    (0..DIMENSION).map(|i| (centre * i as f32).sin() + rng.random_range(-0.3..0.3)).collect()
}

fn item(number: usize, vector: Vec<f32>) -> Item {
    let id = PointId::new(number.to_string()).expect("an id");
    Item { id, source: PointInput::Vector(vector), payload: Payload::default(), vectors: Default::default() }
}

/// Returns the vectors of every twelfth point.
fn read(engine: &Database, name: &CollectionName) -> Vec<Vec<f32>> {
    let ids: Vec<PointId> = (0..200).map(|n| PointId::new((n * 12).to_string()).expect("an id")).collect();
    let points = engine.get(name, &ids, Fields { payload: false, vector: true }).expect("points");
    points.into_iter().map(|point| point.expect("a point").vector.expect("its vector")).collect()
}

#[test]
fn stored_vectors_are_accurate_stable_and_smaller() {
    let mut bytes = Vec::new();
    for (precision, error, metric) in [
        (Precision::F32, 0.0, Metric::L2),
        (Precision::F16, 0.001, Metric::Dot),
        (Precision::I8, 0.012, Metric::Cosine),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let name = CollectionName::new("precise").expect("a name");
        let engine = open(dir.path());
        let index =
            IndexSettings::default().m(12).ef_construction(60).ef_search(80).seal_rows(2_000).precision(precision);
        let space = VectorSource::Plain { dimension: DIMENSION as u32 };
        let spec = CollectionSpec::new(name.clone(), space).metric(metric).index(index);
        assert_eq!(engine.create_collection(&spec).expect("created").index.precision, precision);
        let mut rng = StdRng::seed_from_u64(3);
        let given: Vec<Vec<f32>> = (0..POINTS).map(|_| vector(&mut rng)).collect();
        for (batch, vectors) in given.chunks(1_000).enumerate() {
            let items = vectors.iter().enumerate().map(|(n, v)| item(1_000 * batch + n, v.clone())).collect();
            engine.upsert(&name, items).expect("written");
        }
        let stored = read(&engine, &name);
        for (n, stored) in stored.iter().enumerate() {
            let given = &given[12 * n];
            let deviation = given.iter().zip(stored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let largest = given.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            assert!(deviation <= error * largest, "{metric} {precision}: {deviation} of {largest}");
            assert_eq!(stored == given, precision == Precision::F32, "{metric} {precision}");
        }
        let info = engine.compact(&name).expect("compacted");
        assert_eq!(info.growing_points, 0);
        assert_eq!(read(&engine, &name), stored, "{metric} {precision}: flushing changes nothing");
        bytes.push(info.segments.iter().map(|segment| segment.vector_bytes).sum::<u64>());
        drop(engine);

        let engine = open(dir.path());
        assert_eq!(engine.collection(&name).expect("there").index.precision, precision);
        assert_eq!(read(&engine, &name), stored, "{metric} {precision}: opening changes nothing");
        let queries: Vec<Query> = (0..60).map(|_| Query::Vector(vector(&mut rng))).collect();
        let search = |accuracy| {
            let fields = Fields { payload: false, vector: true };
            let params = SearchParams::new(10).accuracy(accuracy).fields(fields);
            engine.search(&name, &queries, &params).expect("answers")
        };
        let (truth, found) = (search(Accuracy::Exact), search(Accuracy::Ef(80)));
        let mut same = 0;
        for (truth, found) in truth.iter().zip(&found) {
            assert!(found.stats.segments_by_graph > 0);
            let near = |hit: &&nearness::api::Hit| hit.distance <= truth.hits[9].distance;
            same += found.hits.iter().filter(near).count();
            for hit in &truth.hits {
                let stored = hit.point.vector.as_ref().expect("a requested vector");
                let other = found.hits.iter().find(|other| other.point.id == hit.point.id);
                assert!(
                    other.is_none_or(
                        |other| other.distance == hit.distance && other.point.vector.as_ref() == Some(stored)
                    )
                );
            }
        }
        assert!(same >= 60 * 10 * 95 / 100, "{metric} {precision}: {same} of 600");
    }
    let vectors = (POINTS * DIMENSION) as u64;
    assert!(bytes[0] - bytes[1] == 2 * vectors, "16-bit floats take half: {bytes:?}");
    assert!(
        bytes[1] > bytes[2] + vectors - 4 * POINTS as u64 - 64,
        "8-bit components take a quarter, and a scale per row: {bytes:?}"
    );
}

#[test]
fn vectors_beyond_the_precision_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    let name = CollectionName::new("f16").expect("a name");
    let index = IndexSettings::default().precision(Precision::F16);
    let space = VectorSource::Plain { dimension: 2 };
    engine.create_collection(&CollectionSpec::new(name.clone(), space).index(index)).expect("created");
    for (vector, part) in [([1.0, 70_000.0], "component 1 is 70000"), ([1e-9, 1e-9], "norm")] {
        let error = engine.upsert(&name, vec![item(1, vec![1.0, 2.0]), item(2, vector.to_vec())]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("items[1].vector") && error.to_string().contains(part), "{error}");
        assert_eq!(engine.count(&name, None).expect("counted"), 0, "nothing of the batch is written");
    }
}
