//! One graph against several graphs over the same rows: `cargo bench --bench segments -- 200000 128 4`.
//!
//! Prints recall@10, distances and microseconds per query, by ef: of one graph, of parts as compaction leaves them
//! (nine tenths, and most of the rest), and of equal parts. As in `crates/core/src/collection/search.rs`, each part
//! after the first is searched with the distance of the tenth hit so far as a bound, and for the number of hits
//! expected from its share of the rows; it is searched again if it contributes more. Then prints the seconds of a
//! merge that reuses the links of a graph over half, seven eighths and all of the rows (in the last case one row in
//! ten is deleted), next to those of a build from scratch.
#![allow(clippy::print_stdout, missing_docs)]

use std::time::Instant;

use nearness::index::hnsw::{Expected, Graph, Reuse};
use nearness::index::{GraphParams, Rows, exact, hnsw as graph};
use nearness::math;
use nearness::types::{Metric, Neighbor, Ordinal};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const QUERIES: usize = 500;
const K: usize = 10;
/// Intrinsic dimension of the rows.
const LATENT: usize = 24;

struct Part {
    vectors: Vec<f32>,
    norms: Vec<f32>,
    dimension: usize,
}

impl Part {
    fn of(vectors: &[f32], dimension: usize) -> Self {
        let norms = vectors.chunks_exact(dimension).map(math::norm).collect();
        Self { vectors: vectors.to_vec(), norms, dimension }
    }

    fn rows(&self) -> Rows<'_> {
        let vectors = math::Components::F32(&self.vectors);
        Rows { vectors, norms: &self.norms, dimension: self.dimension, metric: Metric::L2 }
    }

    fn graph(&self, reuse: Option<Reuse<'_>>) -> Graph {
        let params = GraphParams::new(16, 200, 1, 0).expect("parameters");
        let mut bytes = Vec::new();
        graph::build(self.rows(), params, reuse, &|_, _| true)
            .expect("a graph")
            .write_to(&mut bytes, 1)
            .expect("bytes");
        let (rows, dimension) = (self.norms.len() as u32, self.dimension as u32);
        Graph::from_bytes(bytes, "bench".as_ref(), Expected { rows, dimension, metric: Metric::L2, tag: 1 })
            .expect("a graph")
    }
}

/// Expected hits of a part with that share of the rows among `k`, plus two standard deviations.
fn expected_hits(k: usize, share: f64) -> usize {
    let expected = k as f64 * share;
    ((expected + 2.0 * (expected * (1.0 - share)).sqrt()).ceil() as usize).clamp(1, k)
}

fn main() {
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let mut given = |or: usize| given.next().unwrap_or(or);
    let (rows, dimension, parts) = (given(200_000), given(128), given(4).max(1));
    let mut rng = StdRng::seed_from_u64(1);
    // The sum of twelve uniform numbers is approximately normal.
    let mut normal = |count: usize, spread: f32| -> Vec<f32> {
        (0..count).map(|_| spread * ((0..12).map(|_| rng.random_range(0.0..1.0_f32)).sum::<f32>() - 6.0)).collect()
    };
    let (centres, mix) = (normal(200 * LATENT, 1.5), normal(dimension * LATENT, 1.0));
    let mut make = |count: usize| -> Vec<f32> {
        let of = |at: usize| {
            let centre = at.wrapping_mul(2_654_435_761) % 200 * LATENT;
            let hidden: Vec<f32> =
                normal(LATENT, 1.0).iter().zip(&centres[centre..]).map(|(x, c)| (0.2 * (x + c)).tanh()).collect();
            let noise = normal(dimension, 0.02);
            let row = mix.chunks_exact(LATENT).map(|mix| mix.iter().zip(&hidden).map(|(m, x)| m * x).sum::<f32>());
            row.zip(noise).map(|(x, noise)| x + noise).collect::<Vec<f32>>()
        };
        (0..count).flat_map(of).collect()
    };
    let (vectors, queries) = (make(rows), make(QUERIES));
    let queries: Vec<&[f32]> = queries.chunks_exact(dimension).collect();
    let whole = [Part::of(&vectors, dimension)];
    let equal: Vec<Part> = vectors.chunks(rows.div_ceil(parts) * dimension).map(|p| Part::of(p, dimension)).collect();
    let (nine_tenths, rest) = vectors.split_at(rows * 9 / 10 * dimension);
    let (second, last) = rest.split_at(rows * 8 / 100 * dimension);
    let merged = [nine_tenths, second, last].map(|part| Part::of(part, dimension));
    let graphs = |parts: &[Part]| parts.iter().map(|part| part.graph(None)).collect::<Vec<Graph>>();
    let layouts = [(&whole[..], graphs(&whole)), (&merged[..], graphs(&merged)), (&equal[..], graphs(&equal))];
    let truth: Vec<f32> = queries
        .iter()
        .map(|query| exact::search(whole[0].rows(), query, K, |_| true).neighbors[K - 1].distance)
        .collect();

    println!("{rows} rows of {dimension} components, k {K}; {parts} parts");
    println!("{:>4} {:>8} {:>8} {:>10} {:>8} {:>8}", "ef", "parts", "recall", "distances", "us", "again");
    for ef in [10, 14, 20, 28, 40, 80] {
        for (parts, graphs) in &layouts {
            let (mut right, mut distances, mut again) = (0, 0, 0);
            let start = Instant::now();
            for (query, &worst) in queries.iter().zip(&truth) {
                let mut top: Vec<(Neighbor, usize)> = Vec::new();
                let mut search = |part: usize, max_hits: usize, top: &mut Vec<(Neighbor, usize)>| {
                    let bound = top.get(K - 1).map_or(f32::INFINITY, |(last, _)| last.distance);
                    let hits = if bound == f32::INFINITY { K } else { max_hits };
                    let ef = (ef * hits).div_ceil(K);
                    let found = graphs[part].search(parts[part].rows(), query, K, ef, bound, |_: Ordinal| true);
                    distances += found.distances;
                    top.retain(|(_, of)| *of != part);
                    top.extend(found.neighbors.into_iter().map(|neighbor| (neighbor, part)));
                    top.sort_unstable_by(|a, b| a.0.distance.total_cmp(&b.0.distance));
                    top.truncate(K);
                    hits
                };
                let share = |part: usize| parts[part].norms.len() as f64 / rows as f64;
                let hits: Vec<usize> =
                    (0..parts.len()).map(|part| search(part, expected_hits(K, share(part)), &mut top)).collect();
                for (part, hits) in hits.into_iter().enumerate() {
                    if top.iter().filter(|(_, of)| *of == part).count() > hits {
                        search(part, K, &mut top);
                        again += 1;
                    }
                }
                right += top.iter().filter(|(hit, _)| hit.distance <= worst).count();
            }
            let us = start.elapsed().as_secs_f64() * 1e6 / QUERIES as f64;
            let recall = right as f64 / (K * QUERIES) as f64;
            println!("{ef:4} {:8} {recall:8.4} {:10} {us:8.1} {again:8}", parts.len(), distances as usize / QUERIES);
        }
    }

    println!("{:>10} {:>8} {:>8} {:>8}   recall and distances at ef 20", "linked", "seconds", "scratch", "ratio");
    for (eighths, with_deletes) in [(4, false), (7, false), (8, true)] {
        let older = Part::of(&vectors[..rows * eighths / 8 * dimension], dimension);
        let graph = older.graph(None);
        // Removes one row in ten; the remaining rows are the new segment.
        let left: Vec<usize> = (0..rows).filter(|row| !with_deletes || row % 10 != 0).collect();
        let now: Vec<f32> = left.iter().flat_map(|row| &vectors[row * dimension..][..dimension]).copied().collect();
        let now = Part::of(&now, dimension);
        let mut new_rows = vec![None; rows * eighths / 8];
        for (new, &old) in left.iter().enumerate().take_while(|(_, old)| **old < rows * eighths / 8) {
            new_rows[old] = Some(Ordinal(new as u32));
        }
        let time = |reuse: Option<Reuse<'_>>| {
            let start = Instant::now();
            let graph = now.graph(reuse);
            (start.elapsed().as_secs_f64(), graph)
        };
        let (scratch, plain) = time(None);
        let (reused, merged) = time(Some(Reuse { graph: &graph, rows: &new_rows }));
        let quality = |graph: &Graph| {
            let (mut right, mut distances) = (0, 0);
            for query in &queries {
                let truth = exact::search(now.rows(), query, K, |_| true).neighbors[K - 1].distance;
                let found = graph.search(now.rows(), query, K, 20, f32::INFINITY, |_| true);
                distances += found.distances as usize;
                right += found.neighbors.iter().filter(|hit| hit.distance <= truth).count();
            }
            format!("{:.4} after {}", right as f64 / (K * QUERIES) as f64, distances / QUERIES)
        };
        let what = format!("{eighths}/8{}", if with_deletes { " - 1/10" } else { "" });
        let (of_merged, of_plain) = (quality(&merged), quality(&plain));
        println!(
            "{what:>10} {reused:8.2} {scratch:8.2} {:8.2}   {of_merged}, from scratch {of_plain}",
            scratch / reused
        );
    }
}
