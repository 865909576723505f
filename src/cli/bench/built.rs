//! A benchmark segment with its graph: written, mapped and searched as in a collection.

use super::args::BenchArgs;
use super::curve::{self, Point};
use super::data::Vectors;
use super::measured::Measured;
use super::truth::Truth;
use crate::cli::progress::{Progress, Step, count};
use crate::cli::work_folder::WorkFolder;
use crate::disk;
use crate::index::reorder::SourceRow;
use crate::index::{GraphParams, Rows, hnsw as graph, reorder as order};
use crate::store::{Segment, SegmentId, SegmentWriter};
use crate::types::{Identity, Ordinal};
use anyhow::Context;
use std::path::Path;
use std::time::Instant;

/// Id of the measured segment.
const SEGMENT: SegmentId = SegmentId(1);

/// Builds the segment and measures its curve.
pub(super) fn measure(
    args: &BenchArgs,
    threads: usize,
    base: &Vectors,
    queries: &Vectors,
    truth: &Truth,
    quiet: bool,
) -> anyhow::Result<Measured> {
    let params = GraphParams::new(args.m, args.ef_construction, args.seed, threads)?;
    let folder = WorkFolder::create(args.work_dir.as_deref())?;
    let file = folder.path().join("bench.graph");
    let (segment, numbers, order_seconds) = write_segment(folder.path(), base, threads, quiet)?;
    let progress = Progress::start("build", "vectors", quiet);
    let start = Instant::now();
    let built = graph::build(rows(&segment, base), params, None, &|done, total| {
        progress.step(Step { done, total: Some(total), part: None }, "");
        true
    })?;
    built.publish(&disk::real_fs(), &file, segment.tag())?;
    drop(built);
    let build_seconds = order_seconds + start.elapsed().as_secs_f64();
    progress.finish(&format!("{} vectors in {build_seconds:.2} s", count(segment.rows().into())));
    // Opened again, so that only pages touched by a search are resident.
    drop(segment);
    let segment = Segment::open(folder.path(), SEGMENT)?;
    let expected = graph::Expected {
        rows: segment.rows(),
        dimension: segment.dimension(),
        metric: base.rows().metric,
        tag: segment.tag(),
    };
    let graph = graph::Graph::open(&file, expected)?;
    let stored = rows(&segment, base);

    let k = args.k as usize;
    let progress = Progress::start("search", "points of the curve", quiet);
    let mut points = Vec::new();
    for ef in &args.ef.0 {
        let search = |query: usize| {
            let found = graph.search_all(stored, queries.vector(query), k, (*ef as usize).max(k));
            (found.neighbors.iter().map(|neighbor| neighbor.row.0).collect(), found.distances)
        };
        let (_, mut answers) = curve::pass(queries.len(), args.query_threads, &search);
        answers.rows.iter_mut().flatten().for_each(|row| *row = numbers[*row as usize].1.0);
        let (recall, recall_tie_aware) = truth.recall(&answers.rows, base, queries);
        let mut passes = Vec::new();
        while !curve::is_long_enough(&passes) {
            passes.push(curve::pass(queries.len(), args.query_threads, &search).0);
        }
        let speed = curve::median(passes);
        points.push(Point {
            ef: *ef,
            recall,
            recall_tie_aware,
            qps: speed.qps,
            p50_us: speed.p50_us,
            p99_us: speed.p99_us,
            distances: answers.distances as f64 / queries.len() as f64,
            passes: speed.passes,
        });
        progress.step(Step { done: points.len() as u64, total: Some(args.ef.0.len() as u64), part: None }, "");
    }
    progress.finish(&format!("{} points of the curve", points.len()));
    let own = base.bytes() + queries.bytes() + truth.bytes();
    let (resident_bytes, resident_is) = match process_resident() {
        Some(all) => (all.saturating_sub(own), "the process without the base, the queries and the ground truth"),
        None => (segment.resident_bytes() + graph.resident_bytes(), "the mapped vectors and graph"),
    };
    Ok(Measured {
        curve: points,
        build_seconds: Some(build_seconds),
        index_bytes: graph.mapped_bytes(),
        resident_bytes,
        resident_is,
    })
}

/// Writes the vectors as a collection would store them: reordered by proximity, with their row numbers as ids. Returns
/// the row numbers in segment order, and the seconds that the reordering took, which count as build time.
fn write_segment(
    folder: &Path,
    base: &Vectors,
    threads: usize,
    quiet: bool,
) -> anyhow::Result<(Segment, Vec<SourceRow>, f64)> {
    let progress = Progress::start("store", "vectors", quiet);
    let start = Instant::now();
    let mut writer =
        SegmentWriter::create(&disk::real_fs(), folder, SEGMENT, base.dimension() as u32, Identity([0; 16]))?;
    let mut numbers: Vec<SourceRow> = (0..base.len()).map(|row| (0, Ordinal(row as u32))).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("threads of the build")?;
    pool.install(|| order::reorder_by_proximity(&[base.rows()], &mut numbers, &|| true));
    let order_seconds = start.elapsed().as_secs_f64();
    for (_, row) in &numbers {
        writer.append(&row.0.to_string(), base.vector(row.0 as usize), &[])?;
    }
    let segment = writer.finish()?;
    let element = segment.vectors().element();
    let seconds = start.elapsed().as_secs_f64();
    progress.finish(&format!("{} vectors in {seconds:.2} s, each component in {element:?}", count(base.len() as u64)));
    Ok((segment, numbers, order_seconds))
}

/// Returns the rows of a segment as the index reads them.
fn rows<'a>(segment: &'a Segment, base: &Vectors) -> Rows<'a> {
    Rows { vectors: segment.vectors(), norms: segment.norms(), dimension: base.dimension(), metric: base.rows().metric }
}

/// Returns the resident memory of this process, bytes, if the system reports it.
fn process_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}
