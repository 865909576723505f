//! `nearness eval images`: accuracy, and the fraction of an image's nearest neighbours of the same class.

use super::super::output::{self, Table};
use super::super::train_images;
use super::args::EvalImagesArgs;
use crate::embed::images::{self, NEIGHBOURS, PictureNet, PictureOptions};
use anyhow::Context;
use serde_json::json;
use std::time::Instant;

/// Maximum number of classes that are listed individually.
const MAX_SHOWN_CLASSES: usize = 100;

/// Evaluates a network.
pub(super) fn run(args: &EvalImagesArgs) -> anyhow::Result<()> {
    let net = PictureNet::load(&args.model).with_context(|| format!("--model {}", args.model.display()))?;
    let shape = net.shape();
    let options = PictureOptions { side: Some(shape.side), channels: shape.channels, classes: Some(net.classes()) };
    let images = train_images::read(&args.images, options, args.json)?;
    let start = Instant::now();
    let found = images::evaluate(&net, &images)?;
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let classes = net.classes().iter().zip(&found.classes);
        output::json(&json!({
            "accuracy": found.accuracy,
            "same_class_at_10": found.same_class,
            "images": images.len(),
            "skipped": images.skipped().count,
            "seconds": seconds,
            "classes": classes.map(|(name, (images, right))| json!({ "class": name, "images": images, "right": right }))
                .collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    let (right, same) = (found.accuracy * 100.0, found.same_class * 100.0);
    output::line(&format!(
        "accuracy {right:.2} %; of the {NEIGHBOURS} nearest by cosine {same:.2} % are of the same class"
    ))?;
    if net.classes().len() <= MAX_SHOWN_CLASSES {
        let mut table = Table::new(&["class", "accuracy", "right", "images"]);
        for (name, (images, right)) in net.classes().iter().zip(&found.classes) {
            let accuracy =
                if *images > 0 { format!("{:.2} %", 100.0 * *right as f64 / *images as f64) } else { "-".into() };
            table.row(vec![name.clone(), accuracy, right.to_string(), images.to_string()]);
        }
        table.print()?;
    }
    Ok(())
}
