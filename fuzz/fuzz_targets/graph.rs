//! Fuzz target: graph files, with any bytes, and valid files with patches; unchanged, and with corrected lengths
//! and checksums. Files that open are searched, verified or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::index::hnsw::{Expected, Graph, Matching};
use nearness::index::{GraphParams, Rows, hnsw as graph};
use nearness::math::Components;
use nearness::types::Metric;
use nearness_fuzz::{choice, fix_graph, patched};
use std::path::Path;
use std::sync::OnceLock;

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn read(bytes: Vec<u8>) {
    let number =
        |at: usize| bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes(four.try_into().expect("four bytes")));
    let tag = u64::from(number(16)) | u64::from(number(20)) << 32;
    let Some(&metric) = Metric::ALL.get(number(40) as usize) else { return };
    let expected = Expected { rows: number(32), dimension: number(36), metric, tag };
    let Ok(graph) = Graph::from_bytes(bytes, Path::new("graph"), expected) else { return };
    let _ = graph.verify();
    let (count, dimension) = (expected.rows as usize, expected.dimension as usize);
    if count.saturating_mul(dimension) > 1 << 20 {
        return;
    }
    let vectors: Vec<f32> = (0..count * dimension).map(|index| (index % 17) as f32 - 8.0).collect();
    let norms: Vec<f32> = vectors.chunks(dimension).map(norm).collect();
    let rows = Rows { vectors: Components::F32(&vectors), norms: &norms, dimension, metric };
    let query: Vec<f32> = (0..dimension).map(|index| (index % 5) as f32 - 1.5).collect();
    let bits = vec![0x5555_5555_5555_5555; count.div_ceil(64)];
    let bits: Vec<u64> = (0..)
        .zip(bits)
        .map(|(word, all): (usize, u64)| {
            let left = count - 64 * word;
            if left >= 64 { all } else { all & ((1 << left) - 1) }
        })
        .collect();
    let matching =
        Matching { first_word: 0, bits: &bits, count: bits.iter().map(|word| word.count_ones() as usize).sum() };
    for (k, ef) in [(1, 1), (3, 8), (10, 64)] {
        let found = graph.search(rows, &query, k, ef, f32::INFINITY, |_| true);
        assert_eq!(found.neighbors.len(), k.min(count), "never fewer than k");
        let found = graph.search_among(rows, &query, k, ef, f32::INFINITY, matching);
        assert_eq!(found.neighbors.len(), k.min(matching.count), "never fewer than k that match");
        assert!(found.neighbors.iter().all(|neighbor| matching.contains(neighbor.row)));
        graph.trace(rows, &query, k, ef, |_| true);
    }
}

/// Returns a small graph of each metric. Some rows are duplicates, because the file stores them separately.
fn valid_graphs() -> &'static [Vec<u8>; 3] {
    static VALID: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    VALID.get_or_init(|| {
        Metric::ALL.map(|metric| {
            let number = |row: u32| [(row % 30) as f32 - 11.0, (row % 30 * 7 % 11) as f32, 1.5];
            let vectors: Vec<f32> = (0..60).flat_map(number).collect();
            let norms: Vec<f32> = vectors.chunks(3).map(norm).collect();
            let rows = Rows { vectors: Components::F32(&vectors), norms: &norms, dimension: 3, metric };
            let params = GraphParams { m: 4, ef_construction: 16, seed: 1, threads: 1 };
            let mut bytes = Vec::new();
            let built = graph::build(rows, params, None, &|_, _| true).expect("a graph");
            built.write_to(&mut bytes, 7).expect("memory");
            bytes
        })
    })
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let bytes = match valid_graphs().get(usize::from(kind % 4)) {
        Some(whole) => patched(whole, data),
        None => data.to_vec(),
    };
    read(bytes.clone());
    if bytes.len() >= 512 {
        let mut fixed = bytes;
        fix_graph(&mut fixed);
        read(fixed);
    }
});
