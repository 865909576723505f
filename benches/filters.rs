//! Filtered search by the share of matching rows: `cargo bench --bench filters -- 200000 128`.
//!
//! Prints the microseconds per query of comparing every match, and of the graph, by a scan of codes or a graph
//! search; and the graph's recall@10 among the matches. The constants of
//! `crates/core/src/segment/plan.rs` and of `crates/core/src/index/hnsw/search.rs` are derived from
//! these numbers.
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use nearness::index::hnsw::{Expected, Graph, Matching};
use nearness::index::{GraphParams, Rows, exact, hnsw as graph};
use nearness::math;
use nearness::types::{Metric, Ordinal};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const QUERIES: usize = 50;
const K: usize = 10;
/// 1 / `ONE_IN` of the rows match.
const ONE_IN: [usize; 12] = [2_000, 1_000, 500, 250, 125, 64, 32, 16, 8, 4, 2, 1];

fn main() {
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (rows, dimension) = (given.next().unwrap_or(200_000), given.next().unwrap_or(128));
    let mut rng = StdRng::seed_from_u64(1);
    let centres: Vec<f32> = (0..256 * dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
    let point = |rng: &mut StdRng| -> Vec<f32> {
        let centre = rng.random_range(0..256) * dimension;
        centres[centre..centre + dimension].iter().map(|x| x + rng.random_range(-0.7..0.7)).collect()
    };
    let vectors: Vec<f32> = (0..rows).flat_map(|_| point(&mut rng)).collect();
    let norms: Vec<f32> = vectors.chunks_exact(dimension).map(math::norm).collect();
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| point(&mut rng)).collect();
    let all = Rows { vectors: math::Components::F32(&vectors), norms: &norms, dimension, metric: Metric::L2 };
    let params = GraphParams::new(16, 200, 1, 0).expect("parameters");
    let built = graph::build(all, params, None, &|_, _| true).expect("a graph");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.graph");
    built.publish(&nearness::disk::real_fs(), &path, 1).expect("a file");
    let expected = Expected { rows: rows as u32, dimension: dimension as u32, metric: Metric::L2, tag: 1 };
    let graph = Graph::open(&path, expected).expect("a graph");

    println!("{rows} rows of {dimension} components, k {K}, microseconds per query");
    println!("{:>4} {:>8} {:>10} {:>10} {:>10}", "ef", "matches", "compare", "graph", "recall");
    for ef in [32, 64, 128, 256] {
        for one_in in ONE_IN {
            let mut words = vec![0_u64; rows.div_ceil(64)];
            (0..rows).filter(|_| rng.random_range(0..one_in) == 0).for_each(|row| words[row / 64] |= 1 << (row % 64));
            let count = words.iter().map(|word| word.count_ones() as usize).sum();
            let matching = Matching { first_word: 0, bits: &words, count };
            let time = |search: &dyn Fn(&[f32]) -> usize| {
                let pass = || queries.iter().map(|query| search(query)).sum::<usize>();
                black_box(pass());
                let start = Instant::now();
                black_box(pass());
                start.elapsed().as_secs_f64() * 1e6 / QUERIES as f64
            };
            let exact = |query: &[f32]| exact::search_rows(all, query, K, math::ones(&words).map(Ordinal)).neighbors;
            let by_graph = |query: &[f32]| graph.search_among(all, query, K, ef, f32::INFINITY, matching).neighbors;
            let compare = time(&|query| exact(query).len());
            let walk = time(&|query| by_graph(query).len());
            let (mut found, mut of) = (0, 0);
            for query in &queries {
                let truth = exact(query);
                found += by_graph(query).iter().filter(|neighbor| truth.contains(neighbor)).count();
                of += truth.len();
            }
            let recall = found as f64 / of.max(1) as f64;
            println!("{ef:4} {count:8} {compare:10.1} {walk:10.1} {recall:10.4}");
        }
    }
}
