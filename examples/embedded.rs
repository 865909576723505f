//! An embedded database: no server, vectors of your own, a filter, and a target recall. `cargo run --release --example embedded`.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::api::{
    Accuracy, CollectionSpec, Filter, IndexSettings, Item, PointInput, Query, SearchParams, VectorSource,
};
use nearness::engine::{Admin, Database, Reads, Writes};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let engine = Database::open(folder.path())?;

    let colors = CollectionName::new("colors")?;
    let index = IndexSettings::default().m(16).ef_construction(200).seal_rows(50_000).precision(Precision::F32);
    let space = VectorSource::Plain { dimension: 3 };
    engine.create_collection(&CollectionSpec::new(colors.clone(), space).metric(Metric::L2).index(index))?;

    // A write is durable when it returns.
    let item = |id: &str, rgb: [f32; 3], warm: bool| -> Result<Item, Box<dyn std::error::Error>> {
        let payload = json!({ "warm": warm }).as_object().cloned().unwrap_or_default();
        Ok(Item { id: PointId::new(id.to_owned())?, source: PointInput::Vector(rgb.to_vec()), payload })
    };
    let items = vec![
        item("red", [1.0, 0.0, 0.0], true)?,
        item("orange", [1.0, 0.6, 0.0], true)?,
        item("blue", [0.0, 0.0, 1.0], false)?,
        item("navy", [0.0, 0.0, 0.5], false)?,
    ];
    engine.upsert(&colors, items)?;

    let params = SearchParams::new(2).accuracy(Accuracy::TargetRecall(0.95)).filter(Filter::equals("warm", true));
    let answers = engine.search(&colors, &[Query::Vector(vec![0.9, 0.4, 0.1])], &params)?;
    let hits = &answers[0].hits;
    for hit in hits {
        println!("{} at distance {:.3}", hit.point.id.as_str(), hit.distance);
    }
    assert_eq!(hits.iter().map(|hit| hit.point.id.as_str()).collect::<Vec<_>>(), ["orange", "red"]);
    Ok(())
}
