//! `nearness plot`: curves that were measured before, of one engine or of several, as one picture.

use super::bench::{plot, results};
use super::{output, picture};
use clap::Args;
use std::path::PathBuf;

/// `plot`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nearness plot nearness.json other.json --out curves.svg --title 'Fashion-MNIST, 1 thread'\n\n\
                  Reads what bench --json prints (named after the file), and files with the curves of several engines:\n\
                  {\"curves\": {NAME: [[recall, qps, ef], ...]}, \"build_seconds\": {NAME: s}, \"bytes\": {NAME: b}}."
)]
pub(crate) struct PlotArgs {
    /// JSON files.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The picture to write: .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) out: PathBuf,
    /// What is written above it.
    #[arg(long, default_value = "Recall against speed")]
    pub(crate) title: String,
    /// Neighbours that the recall is of.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,
}

/// Reads, draws, writes.
pub(super) fn run(args: PlotArgs) -> anyhow::Result<()> {
    let engines = results::read_all(&args.files)?;
    plot::write(&args.out, &args.title, args.k as usize, &engines)?;
    let names: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
    output::line(&format!("{}: {}", args.out.display(), names.join(", ")))?;
    Ok(())
}
