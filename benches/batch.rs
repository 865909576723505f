//! Throughput of a batch of queries against single queries: `cargo bench --bench batch -- 200000 128`.
//!
//! Prints queries per second of an engine with one bulk-loaded collection: single queries on one thread, and one
//! batch of all queries on all cores. `RAYON_NUM_THREADS=1` shows the overhead of a batch.
#![allow(clippy::print_stdout, missing_docs)]

use std::time::Instant;

use nearness::api::{
    Accuracy, CollectionSpec, IndexSettings, Item, Payload, PointInput, Query, SearchParams, VectorSource,
};
use nearness::collection::{OnConflict, Refused};
use nearness::engine::{Admin, Database, Reads};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const QUERIES: usize = 1_000;
const ROUNDS: usize = 7;

fn main() {
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (rows, dimension) = (given.next().unwrap_or(200_000), given.next().unwrap_or(128));
    let mut rng = StdRng::seed_from_u64(1);
    let mix: Vec<f32> = (0..16 * dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut point = || -> Vec<f32> {
        let hidden: Vec<f32> = (0..16).map(|_| rng.random_range(-1.0..1.0)).collect();
        mix.chunks_exact(16).map(|mix| mix.iter().zip(&hidden).map(|(m, x)| m * x).sum()).collect()
    };
    let items: Vec<Item> = (0..rows)
        .map(|row| Item {
            id: PointId::new(format!("p{row}")).expect("an id"),
            source: PointInput::Vector(point()),
            payload: Payload::new(),
            vectors: Default::default(),
        })
        .collect();
    let queries: Vec<Query> = (0..QUERIES).map(|_| Query::Vector(point())).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Database::open(folder.path()).expect("an engine");
    let name = CollectionName::new("bench").expect("a name");
    let index = IndexSettings::default().m(16).ef_construction(200).seal_rows(50_000).precision(Precision::F32);
    let space = VectorSource::Plain { dimension: dimension as u32 };
    engine
        .create_collection(&CollectionSpec::new(name.clone(), space).metric(Metric::L2).index(index))
        .expect("a collection");
    let mut refuse = |refused: Refused<'_>, error| panic!("{}: {error}", refused.id);
    engine.bulk_load(&name, &mut items.into_iter(), OnConflict::Replace, &mut refuse, &|_, _, _| true).expect("a load");
    // Compacts first, so that no background work runs during the queries.
    engine.compact(&name).expect("one measured segment");
    let params = SearchParams::new(10).accuracy(Accuracy::Ef(40));
    let time = |each: usize| {
        let start = Instant::now();
        for queries in queries.chunks(each) {
            assert_eq!(engine.search(&name, queries, &params).expect("answers").len(), queries.len());
        }
        QUERIES as f64 / start.elapsed().as_secs_f64()
    };
    println!(
        "{rows} rows of {dimension} components, ef 40, k 10; queries per second, median of {ROUNDS} alternating rounds"
    );
    let sizes = [1, 10, 100, QUERIES];
    let mut rates = vec![Vec::new(); sizes.len()];
    for _ in 0..ROUNDS {
        sizes.iter().zip(&mut rates).for_each(|(&size, rates)| rates.push(time(size)));
    }
    for (size, mut rates) in sizes.into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        println!("{size:5} per call {:10.0}", rates[ROUNDS / 2]);
    }
}
