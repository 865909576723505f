//! Multi-vectors and dense vector fields through the database, on one thread. Prints JSON.
//!
//! `cargo bench --bench fields`; with `-- BASE.fvecs QUERIES.fvecs` the dense vectors are these and not random ones, with
//! `-- multi` there is no dense part.
//!
//! - MaxSim: 1,000 points of 32 vectors x 128 components, 100 of them accepted by a filter, a query of 32 vectors.
//! - Dense: two fields with graphs, the first and the second half of the components; queries of each alone, and a fusion.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const VECTORS: usize = 32;
const DIMENSION: usize = 128;
const ROUNDS: usize = 5;

fn id(number: usize) -> PointId {
    PointId::new(number.to_string()).expect("an id")
}

/// Returns the median over the rounds of the seconds of each pass. The passes take turns.
fn medians(passes: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut seconds = vec![Vec::new(); passes.len()];
    for _ in 0..=ROUNDS {
        for (pass, seconds) in passes.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            pass();
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    // The first round warms up.
    let median = |mut seconds: Vec<f64>| {
        seconds.remove(0);
        seconds.sort_by(f64::total_cmp);
        seconds[ROUNDS / 2]
    };
    seconds.into_iter().map(median).collect()
}

fn load(database: &Database, spec: &CollectionSpec, items: impl Iterator<Item = Item> + Send) {
    database.create_collection(spec).expect("created");
    let mut items = items;
    database
        .bulk_load(&spec.name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
}

fn max_sim(database: &Database, one: &rayon::ThreadPool) -> Value {
    let mut rng = StdRng::seed_from_u64(1);
    let multi = |rng: &mut StdRng| -> FieldVector {
        let vector = |rng: &mut StdRng| (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0_f32)).collect();
        FieldVector::Multi((0..VECTORS).map(|_| vector(rng)).collect())
    };
    let precisions = [("f32", Precision::F32), ("f16", Precision::F16)];
    let fields = precisions.map(|(name, precision)| VectorField::multi(name, 128).precision(precision));
    let name = CollectionName::new("multi").expect("a name");
    let spec = CollectionSpec::vectors(name.clone(), 1).metric(Metric::L2).vector_fields(fields);
    let items: Vec<Item> = (0..1_000)
        .map(|number| {
            let vector = multi(&mut rng);
            let item = Item::vector(id(number), [number as f32]);
            item.field_vector("f32", vector.clone()).field_vector("f16", vector)
        })
        .collect();
    load(database, &spec, items.into_iter());
    let query = multi(&mut rng);
    let params = SearchParams::new(10).filter(Filter::ids((0..100).map(|number| id(7 * number))));
    let search = |field: &str| {
        let query = Query::Field(FieldQuery::vector(field, query.clone()));
        let found = one.install(|| database.search(&name, &[query], &params)).expect("an answer").remove(0);
        assert_eq!((found.hits.len(), found.stats.distances_computed), (10, 100));
    };
    let times = |field: &'static str| move || (0..20).for_each(|_| search(field));
    let seconds = medians(&mut [&mut times("f32"), &mut times("f16")]);
    json!({ "f32_milliseconds": seconds[0] * 1e3 / 20.0, "f16_milliseconds": seconds[1] * 1e3 / 20.0 })
}

fn fvecs(path: &Path) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).expect("a file of vectors");
    let numbers: Vec<[u8; 4]> = bytes.as_chunks::<4>().0.to_vec();
    let dimension = u32::from_le_bytes(numbers[0]) as usize;
    numbers.chunks_exact(dimension + 1).map(|row| row[1..].iter().map(|x| f32::from_le_bytes(*x)).collect()).collect()
}

fn random(rng: &mut StdRng, rows: usize) -> Vec<Vec<f32>> {
    let mut centres = StdRng::seed_from_u64(2);
    let centres: Vec<Vec<f32>> =
        (0..256).map(|_| (0..DIMENSION).map(|_| centres.random_range(-1.0..1.0)).collect()).collect();
    let point = |rng: &mut StdRng| {
        let centre = &centres[rng.random_range(0..256)];
        centre.iter().map(|x| x + rng.random_range(-0.7..0.7)).collect()
    };
    (0..rows).map(|_| point(rng)).collect()
}

fn dense(database: &Database, one: &rayon::ThreadPool, files: &[String]) -> Value {
    let mut rng = StdRng::seed_from_u64(1);
    let (points, queries) = match files {
        [base, queries] => (fvecs(Path::new(base)), fvecs(Path::new(queries))),
        _ => (random(&mut rng, 100_000), random(&mut rng, 500)),
    };
    let dimension = points[0].len();
    let half = dimension / 2;
    let parts = [("left", 0..half), ("right", half..dimension)];
    let name = CollectionName::new("dense").expect("a name");
    let fields: Vec<VectorField> =
        parts.iter().map(|(field, part)| VectorField::dense(*field, part.len() as u32).metric(Metric::L2)).collect();
    let spec = CollectionSpec::vectors(name.clone(), half as u32).metric(Metric::L2).vector_fields(fields);
    let rows = points.len();
    let items = points.into_iter().enumerate().map(|(number, vector)| {
        let item = Item::vector(id(number), vector[..half].to_vec());
        parts.iter().fold(item, |item, (field, part)| {
            item.field_vector(*field, FieldVector::Dense(vector[part.clone()].to_vec()))
        })
    });
    load(database, &spec, items);
    let of = |field: usize, query: &[f32]| {
        let (name, part) = &parts[field];
        Query::Field(FieldQuery::vector(*name, FieldVector::Dense(query[part.clone()].to_vec())))
    };
    let run = |make: &(dyn Fn(&[f32]) -> Query + Sync), accuracy: Accuracy, k: u32| -> Vec<Answer> {
        let mut params = SearchParams::new(k);
        params.accuracy = accuracy;
        let ask = |query: &Vec<f32>| one.install(|| database.search(&name, &[make(query)], &params));
        queries.iter().map(|query| ask(query).expect("an answer").remove(0)).collect()
    };
    let is_scanned = |field: usize| run(&|query| of(field, query), Accuracy::Default, 10)[0].stats.segments_by_scan > 0;
    // The first search of a field builds its column, the graph follows.
    let _ = (is_scanned(0), is_scanned(1));
    database.build_indexes(&name, &|_, _, _| true).expect("built");
    let fused = |query: &[f32]| {
        let part = |field: usize| SubQuery::new(of(field, query)).limit(LIMIT).accuracy(Accuracy::Ef(LIMIT));
        Query::Fusion(Box::new(Fusion::new([part(0), part(1)])))
    };
    let recall = |make: &(dyn Fn(&[f32]) -> Query + Sync)| {
        let (found, exact) = (run(make, Accuracy::Ef(LIMIT), LIMIT), run(make, Accuracy::Exact, LIMIT));
        let hits = |(found, exact): (&Answer, &Answer)| {
            let ids: Vec<&PointId> = exact.hits.iter().map(|hit| &hit.point.id).collect();
            found.hits.iter().filter(|hit| ids.contains(&&hit.point.id)).count()
        };
        found.iter().zip(&exact).map(hits).sum::<usize>() as f64 / (queries.len() * LIMIT as usize) as f64
    };
    let own = |query: &[f32]| Query::Vector(query[..half].to_vec());
    let scanned = [is_scanned(0), is_scanned(1)];
    let seconds = medians(&mut [
        &mut || drop(run(&own, Accuracy::Ef(LIMIT), LIMIT)),
        &mut || drop(run(&|query| of(0, query), Accuracy::Ef(LIMIT), LIMIT)),
        &mut || drop(run(&|query| of(1, query), Accuracy::Ef(LIMIT), LIMIT)),
        &mut || drop(run(&fused, Accuracy::Default, 10)),
    ]);
    let rate = |seconds: f64| queries.len() as f64 / seconds;
    json!({
        "points": rows,
        "dimension": half,
        "scanned": scanned,
        "own_vectors": { "queries_per_second": rate(seconds[0]), "recall": recall(&own) },
        "left": { "queries_per_second": rate(seconds[1]), "recall": recall(&|query| of(0, query)) },
        "right": { "queries_per_second": rate(seconds[2]), "recall": recall(&|query| of(1, query)) },
        "fusion_queries_per_second": rate(seconds[3]),
        "fusion_seconds_by_sum": seconds[3] / (seconds[1] + seconds[2]),
    })
}

/// Hits of each query that are fused, and candidates kept (ef).
const LIMIT: u32 = 100;

fn main() {
    let files: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let data = tempfile::tempdir().expect("a folder");
    let database = Database::open(data.path()).expect("a database");
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut report = json!({ "max_sim_100": max_sim(&database, &one) });
    if files != ["multi"] {
        report["dense"] = dense(&database, &one, &files);
    }
    println!("{report}");
}
