//! `nearness train text`: contrastive training of a text encoder on paragraphs.

use super::eval::text::{Measured, embedded};
use super::progress::{count, duration};
use super::train_common::{
    ModelFolder, ModelOutputArgs, PhaseProgress, StoragePrecision, command_line, data_sources, precision,
};
use super::{config, output};
use crate::embed::text::{self, paragraphs, paragraphs::Paragraphs, retrieval};
use crate::embed::words::WordModel;
use crate::embed::{Embedder, ModelCard, today};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// `train text`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train text --corpus data/wikipedia/enwiki-featured-2019.txt.gz --out ./my-text\n\n\
                  The folder is accepted by `serve --model`, `load --model` and `eval text --model`."
)]
pub(crate) struct TrainTextArgs {
    /// WikiExtractor files, plain, gzip or zstd: <doc ...> articles with one paragraph per line.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Model folder of the initial word vectors; the built-in model if omitted.
    #[arg(long, value_name = "DIR")]
    pub(crate) words: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "text", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Number of learned components [default: the trainer's, as of all that follow]
    #[arg(long)]
    pub(crate) dim: Option<usize>,
    /// Number of hashed components that encode the words of a text, known or unknown; appended to the learned ones. 0
    /// for none.
    #[arg(long = "sketch", value_name = "N")]
    pub(crate) hashed: Option<usize>,
    /// Share of the hashed components in a cosine, 0 to 1.
    #[arg(long = "sketch-share", value_name = "SHARE")]
    pub(crate) hashed_share: Option<f32>,
    /// Number of epochs.
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Batch size in pairs; each pair is a negative of all others.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Temperature of the softmax over cosines.
    #[arg(long, value_parser = config::positive)]
    pub(crate) temperature: Option<f32>,
    /// Initial learning rate of the word vectors.
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Learning rate of the map shared by all words.
    #[arg(long)]
    pub(crate) map_rate: Option<f32>,
    /// Dropout: share of a text's distinct words that are omitted at each visit.
    #[arg(long)]
    pub(crate) dropout: Option<f32>,
    /// Minimum number of words of a paragraph.
    #[arg(long, value_name = "WORDS", default_value_t = paragraphs::MIN_WORDS, value_parser = config::at_least_one)]
    pub(crate) min_words: usize,
    /// Precision of the saved weights.
    #[arg(long, value_enum, default_value_t = StoragePrecision::I8)]
    pub(crate) store: StoragePrecision,
    /// Number of queries of the final evaluation; 0 for none.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) queries: usize,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// Runs the training.
pub(super) fn run(args: &TrainTextArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let words = match &args.words {
        Some(folder) => WordModel::load(folder).with_context(|| format!("--words {}", folder.display()))?,
        None => WordModel::default_model().context("the model in the binary")?,
    };
    let defaults = text::TrainOptions::default();
    let options = text::TrainOptions {
        dimension: args.dim.unwrap_or(defaults.dimension),
        hashed: args.hashed.unwrap_or(defaults.hashed),
        hashed_share: args.hashed_share.unwrap_or(defaults.hashed_share),
        epochs: args.epochs.unwrap_or(defaults.epochs),
        batch: args.batch.unwrap_or(defaults.batch),
        temperature: args.temperature.unwrap_or(defaults.temperature),
        learning_rate: args.learning_rate.unwrap_or(defaults.learning_rate),
        map_rate: args.map_rate.unwrap_or(defaults.map_rate),
        dropout: args.dropout.unwrap_or(defaults.dropout),
        threads: config::threads(args.threads),
        seed: args.seed,
        store: precision(args.store),
    };
    options.check()?;
    let data = data_sources(&args.corpus, &args.output.licence)?;
    let paragraphs = Paragraphs::read(&args.corpus, args.min_words)?;
    let phases = PhaseProgress::new("train text", "paragraphs", quiet);
    let trained = text::train(&words, &paragraphs, &options, &|seen| {
        let note = seen.loss.map_or(String::new(), |loss| format!("loss {loss:.4}"));
        phases.step(seen.phase, seen.done, Some(seen.total), &note, seen.loss);
        true
    });
    let phases = phases.finish(trained.is_ok());
    let encoder = trained?;
    let training = phases.iter().find(|phase| phase.name == "training");
    let seconds = training.map_or(0.0, |phase| phase.seconds);
    let queries = retrieval::sample_queries(&paragraphs, args.queries, args.seed);
    let measured = if queries.is_empty() { None } else { Some(embedded(&encoder, &paragraphs, &queries)?) };
    let card = ModelCard {
        name: args.name.clone(),
        family: text::FAMILY.into(),
        command: command_line(),
        data,
        seed: args.seed,
        threads: options.threads,
        date: today(),
        ..ModelCard::default()
    };
    let mut card = card.completed_by(encoder.card());
    card.settings.insert("min_words".into(), args.min_words.into());
    card.quality.insert("training_seconds".into(), ((seconds * 10.0).round() / 10.0).into());
    if let Some(Measured { measures, .. }) = &measured {
        card.quality.insert("queries".into(), queries.len().into());
        for (name, value) in [("recall_at_10", measures.recall), ("mrr_at_10", measures.mrr)] {
            card.quality.insert(name.into(), ((value * 1e4).round() / 1e4).into());
        }
    }
    let quality = card.quality.clone();
    let encoder = encoder.with_card(card);
    folder.publish(|path| Ok(encoder.save(path)?))?;
    if args.output.json {
        return Ok(output::json(&json!({ "out": args.output.out, "seconds": seconds, "quality": quality }))?);
    }
    let found = measured.map_or(String::new(), |Measured { measures, .. }| {
        format!(", recall@10 {:.4} and MRR {:.4} on held-out articles", measures.recall, measures.mrr)
    });
    let texts = count(paragraphs.texts().len() as u64);
    output::line(&format!(
        "{}: {texts} paragraphs, trained in {}{found}",
        args.output.out.display(),
        duration(seconds)
    ))?;
    Ok(())
}
