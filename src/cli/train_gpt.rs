//! `nearness train gpt`: training of a small GPT-2 on plain text.

use super::config;
use super::train_common::ModelOutputArgs;
use clap::Args;
use std::path::PathBuf;

/// `train gpt`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train gpt --corpus data/wikipedia/enwiki-good-sample-2019.txt.gz --out ./my-gpt --steps 1500\n\n\
                  The folder has the format of GPT-2 and is accepted by `serve --model` and `load --model`.\n\
                  Needs a program built with the cargo feature `transformers`."
)]
pub(crate) struct TrainGptArgs {
    /// Plain text or WikiExtractor files, plain or gzip.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "gpt", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Vocabulary size.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) vocabulary: usize,
    /// Embedding dimension.
    #[arg(long, default_value_t = 128)]
    pub(crate) dim: usize,
    /// Number of transformer blocks.
    #[arg(long, default_value_t = 3)]
    pub(crate) layers: usize,
    /// Attention heads per block.
    #[arg(long, default_value_t = 4)]
    pub(crate) heads: usize,
    /// Context length, tokens.
    #[arg(long, default_value_t = 64)]
    pub(crate) context: usize,
    /// Batch size, windows.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch: usize,
    /// Number of training steps.
    #[arg(long, default_value_t = 1_500)]
    pub(crate) steps: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 3e-3, value_parser = config::positive)]
    pub(crate) learning_rate: f32,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// Runs the training.
#[cfg(feature = "transformers")]
pub(super) fn run(args: &TrainGptArgs, quiet: bool) -> anyhow::Result<()> {
    use super::output;
    use super::progress::{duration, in_words, rate};
    use super::train_common::{ModelFolder, PhaseProgress, command_line, data_sources};
    use crate::embed::transformers::{self, TrainOptions};
    use crate::embed::{ModelCard, today};
    use serde_json::json;

    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let options = TrainOptions {
        vocabulary: args.vocabulary,
        hidden: args.dim,
        layers: args.layers,
        heads: args.heads,
        context: args.context,
        batch: args.batch,
        steps: args.steps,
        learning_rate: f64::from(args.learning_rate),
        seed: args.seed,
        ..TrainOptions::default()
    };
    let card = ModelCard {
        name: args.name.clone(),
        command: command_line(),
        data: data_sources(&args.corpus, &args.output.licence)?,
        seed: args.seed,
        threads: config::threads(0),
        date: today(),
        ..ModelCard::default()
    };
    let phases = PhaseProgress::new("train gpt", "tokens", quiet);
    let mut quality = serde_json::Map::new();
    let trained = folder.publish(|path| {
        let trained = transformers::train(&args.corpus, &options, card, path, &mut |seen| {
            let note = seen.loss.map_or(String::new(), |loss| format!("loss {loss:.4}"));
            phases.step(seen.phase, seen.done, Some(seen.total).filter(|total| *total > 0), &note, seen.loss);
        });
        quality = trained?.quality;
        Ok(())
    });
    let measured = phases.finish(trained.is_ok());
    trained?;
    let training = measured.iter().find(|phase| phase.name == "training");
    let seconds = training.map_or(0.0, |phase| phase.seconds);
    let rate = training.and_then(|phase| rate(phase.done, phase.seconds));
    if args.output.json {
        let summary = json!({ "out": args.output.out, "seconds": seconds, "tokens_per_second": rate.map(f64::round), "quality": quality });
        output::json(&summary)?;
    } else {
        output::line(&format!(
            "{}: trained in {}{}, perplexity {} on held-out text",
            args.output.out.display(),
            duration(seconds),
            in_words(rate, "tokens"),
            quality.get("held_out_perplexity").unwrap_or(&json!(null))
        ))?;
    }
    Ok(())
}

/// Fails: the program was built without the feature.
#[cfg(not(feature = "transformers"))]
pub(super) fn run(args: &TrainGptArgs, _: bool) -> anyhow::Result<()> {
    use crate::embed::transformers::{Family, load};
    load(Family::Gpt, &args.output.out, crate::embed::ModelCard::default())?;
    Ok(())
}
