//! Benchmark of a server's collection over gRPC: several concurrent connections, one query per call.

use super::args::BenchArgs;
use super::curve::{self, Pass, Point};
use super::data::Vectors;
use super::measured::Measured;
use super::truth::Truth;
use crate::cli::progress::{Progress, Step};
use crate::cli::remote::{self, Client, refusal};
use crate::grpc::pb;
use anyhow::{Context, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connects and measures the curve.
pub(super) fn measure(
    args: &BenchArgs,
    url: &str,
    collection: &str,
    base: &Vectors,
    queries: &Vectors,
    truth: &Truth,
    quiet: bool,
) -> anyhow::Result<Measured> {
    remote::block_on(async {
        let mut clients = Vec::new();
        for _ in 0..args.query_threads {
            clients.push(remote::connect_to(Some(url), &args.tls).await?);
        }
        let first = clients.first().context("no connection")?;
        let state = collection_state(first, collection, args, base).await?;
        let requests =
            Arc::new((0..queries.len()).map(|query| remote::vector(queries.vector(query))).collect::<Vec<_>>());
        let progress = Progress::start("search", "points of the curve", quiet);
        let mut points = Vec::new();
        for ef in &args.ef.0 {
            let plan = Plan { collection: collection.into(), k: args.k, ef: (*ef).max(args.k), rows: base.len() };
            let (_, rows, distances) = pass(&clients, &requests, &plan).await?;
            let (recall, recall_tie_aware) = truth.recall(&rows, base, queries);
            let mut passes = Vec::new();
            while !curve::is_long_enough(&passes) {
                passes.push(pass(&clients, &requests, &plan).await?.0);
            }
            let speed = curve::median(passes);
            points.push(Point {
                ef: *ef,
                recall,
                recall_tie_aware,
                qps: speed.qps,
                p50_us: speed.p50_us,
                p99_us: speed.p99_us,
                distances: distances as f64 / queries.len() as f64,
                passes: speed.passes,
            });
            progress.step(Step { done: points.len() as u64, total: Some(args.ef.0.len() as u64), part: None }, "");
        }
        progress.finish(&format!("{} points of the curve", points.len()));
        Ok(Measured {
            curve: points,
            build_seconds: None,
            index_bytes: state.segments.iter().map(|segment| segment.graph_bytes).sum(),
            resident_bytes: state.resident_bytes,
            resident_is: "the collection's mapped files",
        })
    })
}

/// Returns the collection, if it can match the base file.
async fn collection_state(
    client: &Client,
    name: &str,
    args: &BenchArgs,
    base: &Vectors,
) -> anyhow::Result<pb::Collection> {
    let response = client.collection(pb::GetCollectionRequest { name: name.into() }).await.map_err(refusal)?;
    let collection = response.collection.context("the response of the server has no collection")?;
    if collection.dimension as usize != base.dimension() || collection.points != base.len() as u64 {
        bail!(
            "--collection {name}: it holds {} x {}, --base {} x {}",
            collection.points,
            collection.dimension,
            base.len(),
            base.dimension()
        );
    }
    if remote::metric(&collection) != Some(args.metric) {
        bail!("--metric {}: the collection {name} has another metric", args.metric);
    }
    Ok(collection)
}

/// State shared by all queries of a pass.
#[derive(Clone)]
struct Plan {
    collection: String,
    k: u32,
    ef: u32,
    rows: usize,
}

/// Result of one query.
type Outcome = (usize, Duration, Vec<u32>, u64);

async fn pass(
    clients: &[Client],
    queries: &Arc<Vec<pb::Vector>>,
    plan: &Plan,
) -> anyhow::Result<(Pass, Vec<Vec<u32>>, u64)> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks = clients
        .iter()
        .map(|client| {
            let (client, queries, plan, next) = (client.clone(), queries.clone(), plan.clone(), next.clone());
            tokio::spawn(send_queries(client, queries, plan, next))
        })
        .collect::<Vec<_>>();
    let mut all = Vec::with_capacity(queries.len());
    for task in tasks {
        all.extend(task.await.context("the task of a connection ended early")??);
    }
    let elapsed = start.elapsed();
    let mut rows = vec![Vec::new(); queries.len()];
    let mut latencies = Vec::with_capacity(queries.len());
    let mut distances = 0;
    for (query, latency, found, computed) in all {
        rows[query] = found;
        latencies.push(latency);
        distances += computed;
    }
    Ok((Pass { elapsed, latencies }, rows, distances))
}

/// Runs one connection: takes queries until none are left.
async fn send_queries(
    client: Client,
    queries: Arc<Vec<pb::Vector>>,
    plan: Plan,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    loop {
        let query = next.fetch_add(1, Ordering::Relaxed);
        let Some(vector) = queries.get(query) else { return Ok(outcomes) };
        let request = pb::SearchRequest {
            collection: plan.collection.clone(),
            query: Some(pb::Query { form: Some(pb::query::Form::Vector(vector.clone())) }),
            params: Some(pb::SearchParams {
                k: plan.k,
                accuracy: Some(pb::search_params::Accuracy::Ef(plan.ef)),
                ..Default::default()
            }),
            min_sequence: 0,
            offset: 0,
        };
        let start = Instant::now();
        let answer = client.search(request).await.map_err(refusal)?;
        let latency = start.elapsed();
        let rows = answer
            .hits
            .iter()
            .map(|hit| {
                let row = hit.id.parse::<u32>().ok().filter(|row| (*row as usize) < plan.rows);
                row.with_context(|| format!("the point {:?} is not a row number of --base", hit.id))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        outcomes.push((query, latency, rows, answer.stats.map_or(0, |stats| stats.distances_computed)));
    }
}
