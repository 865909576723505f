//! Searches of sparse vectors: build time, index size, queries per second on one thread, scores; exact, and with target
//! recalls. Prints JSON.
//!
//! `cargo bench --bench sparse -- FOLDER`: the folder has `points.bin` and `queries.bin`, each with the number of vectors,
//! the ends of their components, the indices (all u32, little-endian) and the values (f32). `benches/peers/sparse.py`
//! writes them, and compares the result with other engines.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Target recalls.
const TARGETS: [f32; 2] = [0.95, 0.99];

fn vectors(path: &Path) -> Vec<SparseVector> {
    let bytes = std::fs::read(path).expect("a file of vectors");
    let numbers: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let rows = numbers[0] as usize;
    let (ends, rest) = numbers[1..].split_at(rows + 1);
    let (indices, values) = rest.split_at(ends[rows] as usize);
    let part = |row: usize| ends[row] as usize..ends[row + 1] as usize;
    let vector = |row: usize| SparseVector {
        indices: indices[part(row)].to_vec(),
        values: values[part(row)].iter().map(|bits| f32::from_bits(*bits)).collect(),
    };
    (0..rows).map(vector).collect()
}

/// Returns the files in a folder whose names end like this.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let found = |path: PathBuf| match path.is_dir() {
        true => files(&path, ending),
        false if path.to_string_lossy().ends_with(ending) => vec![path],
        false => Vec::new(),
    };
    entries.flat_map(found).collect()
}

/// Returns the CPU time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call, and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() {
    let Some(folder) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from) else {
        println!("sparse: give a folder; see benches/peers/sparse.py");
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let database = Database::open(data.path()).expect("a database");
    let name = CollectionName::new("sparse").expect("a name");
    let spec = CollectionSpec::without_vectors(name.clone());
    database.create_collection(&spec.vector_fields([VectorField::sparse("words")])).expect("created");
    let mut items = vectors(&folder.join("points.bin")).into_iter().enumerate().map(|(number, vector)| {
        let id = PointId::new(number.to_string()).expect("an id");
        let item = Item { source: PointInput::None, ..Item::vector(id, []) };
        item.field_vector("words", FieldVector::Sparse(vector))
    });
    let start = Instant::now();
    database
        .bulk_load(&name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    let load = start.elapsed().as_secs_f64();
    // The index was built by the load; only its build is timed.
    drop(database);
    files(data.path(), ".sparse").iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    let database = Database::open(data.path()).expect("a database");
    // On one thread, as the queries.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let queries = vectors(&folder.join("queries.bin"));
    let search = |query: &SparseVector, params: &SearchParams| {
        let query = Query::Field(FieldQuery::vector("words", FieldVector::Sparse(query.clone())));
        one.install(|| database.search(&name, &[query], params)).expect("an answer").remove(0)
    };
    let measure = |params: &SearchParams| {
        let (mut compared, mut expected) = (0, 0.0);
        let mut scores: Vec<Value> = Vec::new();
        for query in &queries {
            let found = search(query, params);
            compared += found.stats.distances_computed;
            expected += f64::from(found.stats.expected_recall.expect("a recall"));
            scores.push(json!(found.hits.iter().map(|hit| hit.score).collect::<Vec<_>>()));
        }
        let (mut rates, mut cpu_rates) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (start, cpu) = (Instant::now(), cpu_seconds());
            queries.iter().for_each(|query| drop(search(query, params)));
            rates.push(queries.len() as f64 / start.elapsed().as_secs_f64());
            cpu_rates.push(queries.len() as f64 / (cpu_seconds() - cpu));
        }
        rates.sort_by(f64::total_cmp);
        cpu_rates.sort_by(f64::total_cmp);
        let count = queries.len() as f64;
        json!({
            "queries_per_second": rates[1],
            "queries_per_cpu_second": cpu_rates[1],
            "compared_per_query": compared as f64 / count,
            "expected_recall": expected / count,
            "scores": scores,
        })
    };
    let (start, cpu) = (Instant::now(), cpu_seconds());
    search(&queries[0], &SearchParams::new(10));
    let (build, build_cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    // Waits for the calibration.
    let (start, cpu) = (Instant::now(), cpu_seconds());
    one.install(|| database.compact(&name)).expect("compacted");
    let (calibration, calibration_cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let exact = measure(&SearchParams::new(10));
    let approximate = TARGETS.map(|target| measure(&SearchParams::new(10).target_recall(target)));
    let indexes = files(data.path(), ".sparse");
    let bytes = indexes.iter().map(|path| std::fs::metadata(path).expect("a file").len());
    let report = json!({
        "load_seconds": load,
        "build_seconds": build,
        "build_cpu_seconds": build_cpu,
        "calibration_seconds": calibration,
        "calibration_cpu_seconds": calibration_cpu,
        "index_bytes": bytes.sum::<u64>(),
        "exact": exact,
        "targets": TARGETS.iter().zip(&approximate).map(|(target, found)| json!({"target": target, "found": found})).collect::<Vec<_>>(),
    });
    println!("{report}");
}
