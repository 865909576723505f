//! Vectors of your own: a bulk load, changes, a restart. `cargo run --release --example own_vectors`.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;
use std::error::Error as StdError;

const POINTS: usize = 20_000;

/// Replace this with your model: 32 numbers from a seed.
fn vector(seed: usize) -> Vec<f32> {
    let number = |at: usize| ((seed * 31 + at * 17) as f32 * 0.618).sin();
    (0..32).map(number).collect()
}

fn main() -> Result<(), Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let name = CollectionName::new("things")?;
    {
        let database = Database::open(folder.path())?;
        // Half-precision storage halves the size.
        let index = IndexSettings::default().precision(Precision::F16);
        database.create_collection(&CollectionSpec::vectors(name.clone(), 32).index(index))?;

        // A bulk load writes segments with their graphs. Other writes go through the growing segment.
        let ids = (0..POINTS).map(|at| PointId::new(format!("thing-{at}"))).collect::<Result<Vec<_>, _>>()?;
        let mut items = ids.into_iter().enumerate().map(|(at, id)| Item::vector(id, vector(at)).field("number", at));
        let mut refuse = |refused: Refused<'_>, error| {
            println!("{} is refused: {error}", refused.id);
            Ok(std::ops::ControlFlow::Continue(()))
        };
        let loaded = database.bulk_load(&name, &mut items, OnConflict::Replace, &mut refuse, &|_, _, _| true)?;
        println!("{} points are loaded", loaded.loaded);

        // An upsert replaces points of the same id; a delete removes them.
        database.upsert(&name, vec![Item::vector(PointId::new("thing-7")?, vector(1_000_007))])?;
        database.delete_points(&name, &[PointId::new("thing-8")?])?;
    }

    // A restart is fast: the files are memory-mapped, not read.
    let database = Database::open(folder.path())?;
    let info = database.collection(&name)?;
    println!("{} points in {} segments", info.points, info.segments.len());
    assert_eq!(info.points, POINTS as u64 - 1);

    let answers =
        database.search(&name, &[Query::Vector(vector(7)), Query::Vector(vector(42))], &SearchParams::new(3))?;
    for answer in &answers {
        let ids: Vec<&str> = answer.hits.iter().map(|hit| hit.point.id.as_str()).collect();
        println!("{ids:?}, {} distances computed", answer.stats.distances_computed);
    }
    assert_eq!(answers[1].hits[0].point.id.as_str(), "thing-42");
    assert_ne!(answers[0].hits[0].point.id.as_str(), "thing-7");
    Ok(())
}
