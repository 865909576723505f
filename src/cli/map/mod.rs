//! `nearness map`: a picture of a collection in one file, through a server or offline.
//!
//! | file | contents |
//! | --- | --- |
//! | `map_data.rs` | a layout with the displayed properties of its points |
//! | `page.rs` `page.html` | an interactive page; loads nothing from other hosts |
//! | `svg.rs` | a static picture, with a legend and labels that do not overlap |
//! | `colours.rs` | colours of points |

mod colours;
mod map_data;
mod page;
mod svg;

use super::config::{self, UsageError};
use super::progress::{Progress, Step, count};
use super::remote::{self, refusal};
use super::{local, output, picture};
use crate::cli::common_args::ServerArgs;
use crate::collection::layout::{DEFAULT_LAYOUT_POINTS, LayoutKey, LayoutParams, LayoutPart, MAX_LAYOUT_POINTS};
use crate::engine::Layouts;
use crate::grpc::pb;
use crate::layout::Method;
use crate::types::CollectionName;
use anyhow::{Context, bail};
use clap::Args;
use map_data::{MapData, value_text};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Mutex;

/// `map`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness map words --out words.html\n  \
                  nearness map digits --dimensions 3 --colour label --out digits.html\n  \
                  nearness map words --data ./nearness-data --method umap --out words.svg")]
pub(crate) struct MapArgs {
    /// Collection.
    #[arg(value_name = "COLLECTION", value_parser = config::collection_name)]
    pub(crate) collection: CollectionName,
    /// Output file: .html (interactive page), .svg, .csv, or .png in a build with the feature png.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Number of dimensions, 2 or 3.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=3))]
    pub(crate) dimensions: u32,
    /// Layout method: pca, tsne (2 dimensions) or umap [default: tsne, in 3 dimensions umap]
    #[arg(long, value_parser = method)]
    pub(crate) method: Option<Method>,
    /// Seed of the sample and of the method.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Maximum number of points; a larger collection is sampled evenly.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LAYOUT_POINTS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LAYOUT_POINTS)))]
    pub(crate) limit: u32,
    /// Payload field that determines the colour.
    #[arg(long, value_name = "FIELD", alias = "color")]
    pub(crate) colour: Option<String>,
    /// Payload field that labels a point, instead of its id.
    #[arg(long, value_name = "FIELD")]
    pub(crate) label: Option<String>,
    /// Compute a new layout, even if the server has cached one.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Data directory that no process serves, instead of a server.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Folder of a model used by the collection (may be repeated); with --data.
    #[arg(long = "model", value_name = "DIR", requires = "data")]
    pub(crate) models: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn method(name: &str) -> Result<Method, String> {
    Method::from_name(name).ok_or_else(|| format!("{name:?} is not one of pca, tsne and umap"))
}

/// Output format.
#[derive(Clone, Copy)]
enum Format {
    Html,
    Picture,
    Csv,
}

/// Fetches the layout and writes the file.
pub(super) fn run(args: MapArgs, quiet: bool) -> anyhow::Result<()> {
    let extension = args.out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let format = match extension {
        "html" => Format::Html,
        "svg" | "png" if args.dimensions == 3 => {
            bail!(UsageError("--out: pictures have 2 dimensions; use .html for --dimensions 3".into()))
        }
        "svg" | "png" => {
            picture::check(&args.out)
                .map_err(|reason| UsageError(format!("--out {}: {reason}", args.out.display())))?;
            Format::Picture
        }
        "csv" => Format::Csv,
        _ => bail!(UsageError(format!(
            "--out {}: needs a name that ends in .html, .svg, .png or .csv",
            args.out.display()
        ))),
    };
    let fields: Vec<String> = args.colour.iter().chain(&args.label).cloned().collect();
    let progress = Progress::start("map", "%", quiet);
    let data = match &args.data {
        Some(_) => offline(&args, &fields, &progress),
        None => remote::block_on(through_server(&args, &fields, &progress)),
    };
    let data = data?.check()?;
    let of = |flag: &Option<String>, at: usize| flag.as_ref().and(data.fields.get(at)).map(Vec::as_slice);
    let values = of(&args.colour, 0);
    for (field, values) in fields.iter().zip(&data.fields) {
        if !data.ids.is_empty() && values.iter().all(Value::is_null) {
            remote::note(&format!("none of the {} points shown has the field {field:?}", count(data.ids.len() as u64)));
        }
    }
    let labels: Vec<String> = match of(&args.label, usize::from(args.colour.is_some())) {
        Some(labels) => {
            labels.iter().zip(&data.ids).map(|(label, id)| value_text(label).unwrap_or_else(|| id.clone())).collect()
        }
        None => data.ids.clone(),
    };
    let title = args.collection.as_str();
    let written = match format {
        Format::Html => std::fs::write(&args.out, page::page(title, &data, &labels, values, args.colour.as_deref()))
            .map_err(Into::into),
        Format::Picture => picture::write(&args.out, &svg::svg(title, &data, &labels, values)),
        Format::Csv => std::fs::write(&args.out, csv(&data, &fields)).map_err(Into::into),
    };
    written.with_context(|| format!("--out {}", args.out.display()))?;
    progress.finish(&format!("{} points", count(data.ids.len() as u64)));
    if args.json {
        output::json(&json!({
            "collection": title,
            "total": data.total,
            "points": data.ids.len(),
            "dimensions": data.dimensions,
            "method": data.method,
            "seconds": data.seconds,
            "neighbors_kept": data.neighbors_kept,
            "file": args.out.display().to_string(),
        }))?;
        return Ok(());
    }
    let quality = data.neighbors_kept.map_or(String::new(), |kept| {
        format!(", {:.1} % of each point's 10 nearest are among its 10 nearest here", f64::from(kept) * 100.0)
    });
    output::line(&format!(
        "{}: {} of {} points by {} in {:.1} s{quality}",
        args.out.display(),
        count(data.ids.len() as u64),
        count(data.total),
        data.method,
        data.seconds
    ))?;
    Ok(())
}

fn offline(args: &MapArgs, fields: &[String], progress: &Progress) -> anyhow::Result<MapData> {
    let data = args.data.clone().unwrap_or_default();
    if !data.is_dir() {
        bail!("--data {}: no such directory", data.display());
    }
    let engine = local::engine(&data, &args.models)?;
    let params = LayoutParams::default()
        .choice(LayoutKey { dimensions: args.dimensions, method: args.method })
        .fields(fields.to_vec())
        .limit(args.limit)
        .fresh(args.fresh)
        .seed(args.seed);
    let data = Mutex::new(MapData { dimensions: args.dimensions as usize, ..MapData::default() });
    engine.compute_layout(&args.collection, &params, &|part| {
        let Ok(mut data) = data.lock() else { return false };
        match part {
            LayoutPart::Start { total, .. } => data.total = total,
            LayoutPart::Points { ids, fields, .. } => data.add_points(ids.iter().map(ToString::to_string), fields),
            LayoutPart::Frame { coordinates, last: true, .. } => data.coordinates = coordinates,
            LayoutPart::Frame { .. } => {}
            LayoutPart::Progress(at) => step(progress, at.done, &format!("{:?}", at.phase).to_lowercase()),
            LayoutPart::End(end) => {
                data.method = end.method.name().into();
                data.seconds = end.time.as_secs_f64();
                data.neighbors_kept = end.neighbors_kept;
            }
        }
        true
    })?;
    data.into_inner().context("the layout is not complete")
}

fn step(progress: &Progress, done: f32, phase: &str) {
    progress.step(Step { done: (done * 100.0) as u64, total: Some(100), part: Some(f64::from(done)) }, phase);
}

async fn through_server(args: &MapArgs, fields: &[String], progress: &Progress) -> anyhow::Result<MapData> {
    use pb::compute_layout_response::Part;
    let method = match args.method {
        None => pb::MapMethod::Unspecified,
        Some(Method::Pca) => pb::MapMethod::Pca,
        Some(Method::Umap) => pb::MapMethod::Umap,
        Some(Method::Tsne) => pb::MapMethod::Tsne,
    };
    let request = pb::ComputeLayoutRequest {
        collection: args.collection.as_str().into(),
        dimensions: args.dimensions,
        method: method.into(),
        payload_fields: fields.to_vec(),
        limit: args.limit,
        fresh: args.fresh,
        seed: args.seed,
    };
    let client = remote::connect(&args.server).await?;
    let mut responses = client.compute_layout(request).await.map_err(refusal)?;
    let mut data = MapData { dimensions: args.dimensions as usize, ..MapData::default() };
    while let Some(response) = responses.next().await.map_err(refusal)? {
        match response.part {
            Some(Part::Start(start)) => data.total = start.total,
            Some(Part::Points(points)) => {
                let values = |field: pb::MapField| field.values.into_iter().map(value).collect();
                data.add_points(points.ids.into_iter(), points.fields.into_iter().map(values).collect());
            }
            Some(Part::Frame(frame)) => {
                if frame.offset == 0 {
                    data.coordinates.clear();
                }
                data.coordinates.extend(frame.coordinates.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)));
            }
            Some(Part::Progress(at)) => {
                let phase = at.phase().as_str_name().trim_start_matches("PHASE_").to_lowercase();
                step(progress, at.done, &phase);
            }
            Some(Part::End(end)) => {
                data.method = end.method().as_str_name().trim_start_matches("MAP_METHOD_").to_lowercase();
                data.seconds = end.seconds;
                data.neighbors_kept = end.neighbors_kept;
                return Ok(data);
            }
            None => {}
        }
    }
    bail!("the server ended the stream without a result")
}

/// Converts a payload value of a point.
fn value(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        // Whole numbers are shown without a fraction.
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() < 9e15 => Value::from(value as i64),
        Some(Kind::NumberValue(value)) => Value::from(value),
        _ => Value::Null,
    }
}

/// Formats one line per point: id, coordinates, fields (RFC 4180).
fn csv(data: &MapData, fields: &[String]) -> String {
    let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let axes = ["x", "y", "z"].into_iter().take(data.dimensions);
    let head = std::iter::once("id".to_owned()).chain(axes.map(str::to_owned)).chain(fields.iter().map(|f| quoted(f)));
    let mut text = head.collect::<Vec<_>>().join(",") + "\r\n";
    for (point, id) in data.ids.iter().enumerate() {
        text += &quoted(id);
        data.coordinates_of(point).iter().for_each(|x| text += &format!(",{x}"));
        for values in &data.fields {
            text += &format!(",{}", quoted(&value_text(&values[point]).unwrap_or_default()));
        }
        text += "\r\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::map_data::tests::sample;
    use super::*;

    #[test]
    fn a_csv_has_one_line_per_point() {
        let text = csv(&sample(), &["colour".into()]);
        assert_eq!(
            text.lines().collect::<Vec<_>>()[..3],
            ["id,x,y,colour", "a,0,0.5,red", "\"b, \"\"quoted\"\"\",-1,1,blue"]
        );
        assert_eq!(text.lines().last(), Some("d,1,-1,"));
    }
}
