//! BM25 over lines of text: build time, index size, queries per second on one thread, scores. Prints JSON.
//!
//! `cargo bench --bench keywords -- FOLDER`: the folder has `texts.txt` and `queries-N.txt`, one text or query per line.
//! `benches/peers/bm25.py` writes them, and compares the result with tantivy.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).expect("a file of lines").lines().map(str::to_owned).collect()
}

fn size(folder: &Path, ending: &str) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| match path.is_dir() {
            true => size(&path, ending),
            false if path.to_string_lossy().ends_with(ending) => std::fs::metadata(&path).map_or(0, |data| data.len()),
            false => 0,
        })
        .sum()
}

fn main() {
    let Some(folder) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from) else {
        println!("keywords: give a folder; see benches/peers/bm25.py");
        return;
    };
    let texts = lines(&folder.join("texts.txt"));
    let data = tempfile::tempdir().expect("a folder");
    let database = Database::open(data.path()).expect("a database");
    let name = CollectionName::new("texts").expect("a name");
    database.create_collection(&CollectionSpec::vectors(name.clone(), 1).metric(Metric::L2)).expect("created");
    let mut items = texts.into_iter().enumerate().map(|(number, text)| {
        Item::vector(PointId::new(number.to_string()).expect("an id"), [number as f32]).field("text", text)
    });
    database
        .bulk_load(&name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    // On one thread, as the queries.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let search = |query: &str, k: u32| {
        let query = Query::Keywords(Keywords::new(query));
        one.install(|| database.search(&name, &[query], &SearchParams::new(k))).expect("an answer").remove(0)
    };
    let start = Instant::now();
    database.add_field(&name, TextField::new("text", ["text"]).into()).expect("added");
    search("the", 1);
    let build = start.elapsed().as_secs_f64();
    let mut sets = serde_json::Map::new();
    for words in [2, 5, 20] {
        let queries = lines(&folder.join(format!("queries-{words}.txt")));
        let scores: Vec<Value> = queries
            .iter()
            .map(|query| json!(search(query, 10).hits.iter().map(|hit| hit.score).collect::<Vec<_>>()))
            .collect();
        let mut rates = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            queries.iter().for_each(|query| drop(search(query, 10)));
            rates.push(queries.len() as f64 / start.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        sets.insert(words.to_string(), json!({ "queries_per_second": rates[1], "scores": scores }));
    }
    let bytes = size(data.path(), ".terms");
    println!("{}", json!({ "build_seconds": build, "index_bytes": bytes, "queries": sets }));
}
