//! `nearness plot`: saved curves of one or several engines in one picture.

use super::bench::{plot, results};
use super::{output, picture};
use clap::Args;
use std::path::PathBuf;

/// `plot`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness plot nearness.json other.json --out curves.svg --title 'Fashion-MNIST, 1 thread'\n\n\
                  Reads the output of bench --json (named after the file), and files with the curves of several engines:\n\
                  {\"curves\": {NAME: [[recall, qps, ef], ...]}, \"build_seconds\": {NAME: s}, \"bytes\": {NAME: b}}."
)]
pub(crate) struct PlotArgs {
    /// JSON files with curves.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Output file: .svg, or .png in a build with the feature png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) out: PathBuf,
    /// Title of the plot.
    #[arg(long, default_value = "Recall against speed")]
    pub(crate) title: String,
    /// Number of neighbours (k) of the recall.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
}

/// Reads the curves and draws the plot.
pub(super) fn run(args: PlotArgs) -> anyhow::Result<()> {
    let engines = results::read_all(&args.files)?;
    plot::write(&args.out, &args.title, args.k as usize, &engines)?;
    let names: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
    output::line(&format!("{}: {}", args.out.display(), names.join(", ")))?;
    Ok(())
}
