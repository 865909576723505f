//! `nearness bench`: recall against speed, of a graph built here or of a server's collection.
//!
//! | file | contents |
//! | --- | --- |
//! | `measured.rs` | result of a measurement |
//! | `data.rs` | the vectors, validated |
//! | `truth.rs` | ground truth; recall by id and with ties |
//! | `curve.rs` | one point of the curve: warm-up, passes, median |
//! | `built.rs` | a graph that is built, written, mapped and searched as a sealed segment |
//! | `server.rs` | a server, queried over several connections |
//! | `plot.rs` | plots of curves |
//! | `results.rs` | saved curves |

pub(super) mod args;
mod built;
mod curve;
mod data;
mod measured;
pub(super) mod plot;
pub(super) mod results;
mod server;
mod truth;

use super::config::{self, UsageError};
use super::output::{self, Table};
use super::progress::{Progress, bytes, count, in_words, rate};
use anyhow::{Context, bail};
use args::BenchArgs;
use data::Vectors;
use measured::Measured;
use serde_json::{Value, json};
use truth::Truth;

/// Measures, prints and plots.
pub(super) fn run(args: BenchArgs, quiet: bool) -> anyhow::Result<()> {
    let threads = config::threads(args.threads);
    let k = args.k as usize;
    let beside = results::read_all(&args.beside)?;
    let base = Vectors::read(&args.base, "--base", args.metric, None, quiet)?;
    let queries = Vectors::read(&args.queries, "--queries", args.metric, args.limit_queries, quiet)?;
    if base.dimension() != queries.dimension() {
        bail!(
            "--queries {}: vectors of {} components, those of --base have {}",
            args.queries.display(),
            queries.dimension(),
            base.dimension()
        );
    }
    if k > base.len() {
        bail!(UsageError(format!("--k {k}: the base has only {} vectors", base.len())));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("--threads")?;
    let truth = match &args.truth {
        Some(path) => Truth::read(path, queries.len(), k, base.len())?,
        None => {
            let progress = Progress::start("truth", "queries", quiet);
            let truth = pool.install(|| Truth::exact(&base, &queries, k, &progress));
            progress.finish(&format!(
                "{} queries compared with {} vectors",
                count(queries.len() as u64),
                count(base.len() as u64)
            ));
            truth
        }
    };
    let truth = pool.install(|| truth.with_bounds(&base, &queries));
    let measured = match (&args.server, &args.collection) {
        (Some(url), Some(collection)) => {
            server::measure(&args, url, collection.as_str(), &base, &queries, &truth, quiet)?
        }
        _ => built::measure(&args, threads, &base, &queries, &truth, quiet)?,
    };
    if let Some(path) = &args.plot {
        let title = format!(
            "{} x {}, {}, k {k}, {} query thread(s)",
            count(base.len() as u64),
            base.dimension(),
            args.metric,
            args.query_threads
        );
        // A single curve needs no name.
        let name = if beside.is_empty() { "" } else { "nearness" };
        let mut engines = vec![results::Engine::measured(name, &measured)];
        engines.extend(beside);
        plot::write(path, &title, k, &engines)?;
    }
    if args.json {
        output::json(&to_json(&args, threads, &base, &queries, &measured))?;
    } else {
        print(&args, threads, &base, &queries, &measured)?;
    }
    Ok(())
}

fn to_json(args: &BenchArgs, threads: usize, base: &Vectors, queries: &Vectors, measured: &Measured) -> Value {
    json!({
        "build_seconds": measured.build_seconds,
        "resident_bytes": measured.resident_bytes,
        "resident_is": measured.resident_is,
        "index_bytes": measured.index_bytes,
        "vectors": base.len(),
        "dimension": base.dimension(),
        "queries": queries.len(),
        "metric": args.metric.name(),
        "k": args.k,
        "m": args.m,
        "ef_construction": args.ef_construction,
        "threads": threads,
        "query_threads": args.query_threads,
        "curve": measured.curve.iter().map(|point| json!({
            "ef": point.ef,
            "recall": point.recall,
            "recall_tie_aware": point.recall_tie_aware,
            "qps": point.qps,
            "p50_us": point.p50_us,
            "p99_us": point.p99_us,
            "distances": point.distances,
            "passes": point.passes,
        })).collect::<Vec<_>>(),
    })
}

fn print(
    args: &BenchArgs,
    threads: usize,
    base: &Vectors,
    queries: &Vectors,
    measured: &Measured,
) -> anyhow::Result<()> {
    let what = match &args.collection {
        Some(collection) => format!("the server's collection {collection}"),
        None => format!("m {}, ef_construction {}, built by {threads} thread(s)", args.m, args.ef_construction),
    };
    output::line(&format!(
        "{} x {}, {} queries, {}, k {}, {what}",
        count(base.len() as u64),
        base.dimension(),
        count(queries.len() as u64),
        args.metric,
        args.k
    ))?;
    if let Some(seconds) = measured.build_seconds {
        output::line(&format!("built in {seconds:.2} s{}", in_words(rate(base.len() as u64, seconds), "vectors")))?;
    }
    output::line(&format!(
        "index {}, resident {} ({})",
        bytes(measured.index_bytes),
        bytes(measured.resident_bytes),
        measured.resident_is
    ))?;
    let mut table = Table::new(&["ef", "recall", "with ties", "queries/s", "p50 us", "p99 us", "distances"]);
    for point in &measured.curve {
        table.row(vec![
            point.ef.to_string(),
            format!("{:.4}", point.recall),
            format!("{:.4}", point.recall_tie_aware),
            count(point.qps as u64),
            format!("{:.1}", point.p50_us),
            format!("{:.1}", point.p99_us),
            count(point.distances as u64),
        ]);
    }
    table.print()?;
    Ok(())
}

/// Reads an ivecs file.
#[cfg(fuzzing)]
pub(super) fn read_truth(path: &std::path::Path, queries: usize, k: usize, base: usize) -> anyhow::Result<()> {
    Truth::read(path, queries, k, base).map(drop)
}
