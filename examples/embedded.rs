//! An embedded database: no server, vectors of your own, a filter, and a target recall. `cargo run --release --example embedded`.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let database = Database::open(folder.path())?;
    let colors = CollectionName::new("colors")?;
    database.create_collection(&CollectionSpec::vectors(colors.clone(), 3).metric(Metric::L2))?;

    // A write is durable when it returns.
    let color = |id: &str, rgb: [f32; 3], warm: bool| -> Result<Item, Error> {
        Ok(Item::vector(PointId::new(id)?, rgb).field("warm", warm))
    };
    let items = vec![
        color("red", [1.0, 0.0, 0.0], true)?,
        color("orange", [1.0, 0.6, 0.0], true)?,
        color("blue", [0.0, 0.0, 1.0], false)?,
        color("navy", [0.0, 0.0, 0.5], false)?,
    ];
    database.upsert(&colors, items)?;

    let params = SearchParams::new(2).filter(Filter::equals("warm", true)).target_recall(0.95);
    let answers = database.search(&colors, &[Query::Vector(vec![0.9, 0.4, 0.1])], &params)?;
    let hits = &answers[0].hits;
    for hit in hits {
        println!("{} at distance {:.3}", hit.point.id, hit.distance);
    }
    assert_eq!(hits.iter().map(|hit| hit.point.id.as_str()).collect::<Vec<_>>(), ["orange", "red"]);
    Ok(())
}
