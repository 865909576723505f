//! Target recall: how much a search computes for the requested recall. `cargo run --release --example target_recall`.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 24;
const POINTS: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let database = Database::open(folder.path())?;
    let name = CollectionName::new("points")?;
    database.create_collection(&CollectionSpec::vectors(name.clone(), DIMENSION as u32).metric(Metric::L2))?;

    let mut rng = StdRng::seed_from_u64(1);
    let mut vector = || -> Vec<f32> { (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let item = |at: usize, vector| Ok(Item::vector(PointId::new(at.to_string())?, vector));
    let items = (0..POINTS).map(|at| item(at, vector())).collect::<Result<Vec<_>, Error>>()?;
    for batch in items.chunks(1_000) {
        database.upsert(&name, batch.to_vec())?;
    }
    // Builds and calibrates the graphs now. Without this, background threads do so, and searches compare with every point.
    database.compact(&name)?;

    let queries: Vec<Query> = (0..200).map(|_| Query::Vector(vector())).collect();
    let exact = database.search(&name, &queries, &SearchParams::new(10).exact())?;
    println!("target  found  expected  distances per query");
    let mut costs = Vec::new();
    for target in [0.8, 0.9, 0.99] {
        let answers = database.search(&name, &queries, &SearchParams::new(10).target_recall(target))?;
        let found: usize = answers.iter().zip(&exact).map(|(answer, exact)| common(answer, exact)).sum();
        let recall = found as f32 / (10 * queries.len()) as f32;
        let cost: u64 = answers.iter().map(|answer| answer.stats.distances_computed).sum::<u64>() / 200;
        println!("{target:>6}  {recall:.3}  {:>8.3}  {cost}", answers[0].stats.expected_recall.unwrap_or(0.0));
        assert!(recall >= target - 0.03, "{recall} is below {target}");
        costs.push(cost);
    }
    assert!(costs.is_sorted());

    // Measures the recall of a live collection on a sample of its points.
    let params = RecallParams::default().samples(100).accuracy(Accuracy::TargetRecall(0.9));
    let report = database.measure_recall(&name, &params)?;
    println!("measured: {:.3}, between {:.3} and {:.3}", report.recall, report.low, report.high);
    Ok(())
}

/// Returns the number of hits that two answers share.
fn common(a: &Answer, b: &Answer) -> usize {
    a.hits.iter().filter(|hit| b.hits.iter().any(|other| other.point.id == hit.point.id)).count()
}
