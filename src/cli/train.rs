//! `nearness train`: training of models; creates a model folder with a model card.
//!
//! The folder is written next to `--out` under another name and renamed when it is complete.

use super::progress::{count, duration, in_words, rate};
use super::train_common::{
    ModelFolder, ModelOutputArgs, PhaseProgress, StoragePrecision, command_line, data_sources, object, precision,
};
use super::train_gpt::{self, TrainGptArgs};
use super::train_images::{self, TrainImagesArgs};
use super::train_text::{self, TrainTextArgs};
use super::{config, output};
use crate::embed::digits::{self, DigitNet, LabelledImages};
use crate::embed::words::{self, WordModel, data::STANDARD_INPUT, word2vec};
use crate::embed::{DIGITS, DataSource, Embedder, ModelCard, WORDS, today};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// `train ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TrainCommand {
    /// Train word vectors: skip-gram with negative sampling.
    Words(TrainWordsArgs),
    /// Train the digit net.
    Digits(TrainDigitsArgs),
    /// Train a residual network on images of any classes.
    Images(TrainImagesArgs),
    /// Train a text encoder by contrastive learning on paragraphs.
    Text(TrainTextArgs),
    /// Train a small GPT-2 language model.
    Gpt(TrainGptArgs),
}

/// `train words`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train words --corpus data/wikipedia/enwiki-featured-2019.txt.gz --out ./my-words --epochs 5\n\n\
                  The folder is accepted by `serve --model`, `load --model` and `eval words --model`."
)]
pub(crate) struct TrainWordsArgs {
    /// Plain text or WikiExtractor files in UTF-8, plain, gzip or zstd; - is standard input. They are streamed, so they
    /// may be larger than memory; this needs four bytes of disk space per word, next to --out or in --checkpoint. Words
    /// are split by Unicode Standard Annex 29 and lowercased.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Training objective: skip-gram predicts the context from a word, cbow a word from its context, glove
    /// co-occurrence counts.
    #[arg(long, value_enum, default_value_t = ObjectiveArg::SkipGram)]
    pub(crate) objective: ObjectiveArg,
    /// Also learn vectors of character n-grams of these lengths, for example 3-6, so that unknown words get vectors
    /// too. Several times slower.
    #[arg(long, value_name = "MIN-MAX", value_parser = config::range)]
    pub(crate) ngrams: Option<(usize, usize)>,
    /// Number of vectors shared by all n-grams (hash buckets).
    #[arg(long, default_value_t = 500_000, requires = "ngrams")]
    pub(crate) buckets: u32,
    /// Split words into subword pieces (byte-pair encoding within words), at most this many different ones, and learn
    /// vectors of the pieces, so that any word of any language gets a vector. Needs a program built with the cargo
    /// feature `transformers`.
    #[arg(long, value_name = "N", conflicts_with_all = ["ngrams", "phrases"])]
    pub(crate) pieces: Option<usize>,
    /// Name of the embedder. With a name other than `words`, the text embedder of the model is called NAME-text.
    #[arg(long, default_value = "words", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Number of components of a word vector.
    #[arg(long, default_value_t = 100, value_parser = config::at_least_one)]
    pub(crate) dim: usize,
    /// Context window: words on each side.
    #[arg(long, default_value_t = words::TrainOptions::default().window, value_parser = config::at_least_one)]
    pub(crate) window: usize,
    /// Negative samples per context word.
    #[arg(long, default_value_t = words::TrainOptions::default().negative, value_parser = config::at_least_one)]
    pub(crate) negative: usize,
    /// Minimum number of occurrences of a word.
    #[arg(long, default_value_t = 5)]
    pub(crate) min_count: u64,
    /// Maximum vocabulary size; keeps the most frequent words. At most four times as many words are counted at once;
    /// beyond that, the rarest counts are dropped.
    #[arg(long, default_value_t = 5_000_000, value_parser = config::at_least_one)]
    pub(crate) max_words: usize,
    /// Join words that occur together much more often than expected by chance, such as new_york. The number of passes:
    /// one gives phrases of two words, two give up to four.
    #[arg(long, value_name = "PASSES", num_args = 0..=1, default_missing_value = "1", value_parser = config::at_least_one)]
    pub(crate) phrases: Option<usize>,
    /// Minimum score of a phrase; lower values give more phrases.
    #[arg(long, default_value_t = 100.0, requires = "phrases")]
    pub(crate) phrase_threshold: f64,
    /// Exponent of the word frequencies in negative sampling.
    #[arg(long, default_value_t = 0.75)]
    pub(crate) noise_power: f64,
    /// Subsampling threshold: words with a higher relative frequency are subsampled; 0 keeps all.
    #[arg(long, default_value_t = 1e-4, value_parser = config::fraction)]
    pub(crate) subsample: f64,
    /// Number of epochs; default 5, for glove 25.
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Initial learning rate; default 0.02, for cbow and glove 0.05.
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Number of epochs of the cloze layer; 0 uses the model's own output layer to fill blanks.
    #[arg(long, default_value_t = 1)]
    pub(crate) blank_epochs: usize,
    /// Share of the output vector that is added to a word's vector after training, 0 to 1. This and the next three
    /// options have no effect with --ngrams.
    #[arg(long, default_value_t = words::Postprocessing::default().output)]
    pub(crate) output_share: f32,
    /// Share of a word's vector that is predicted from its spelling, 0 to 1.
    #[arg(long, default_value_t = words::Postprocessing::default().spelling)]
    pub(crate) spelling: f32,
    /// Reduction of the dominant directions of all vectors, 0 to 1.
    #[arg(long, default_value_t = words::Postprocessing::default().spread)]
    pub(crate) spread: f32,
    /// Shift of a word's vector towards its three nearest words, 0 to 1.
    #[arg(long, default_value_t = words::Postprocessing::default().nearest)]
    pub(crate) nearest: f32,
    /// Folder for checkpoints. The same command resumes an interrupted or killed training; with one thread the result
    /// is identical. Removed when the model is written.
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Seconds between checkpoints.
    #[arg(long, default_value_t = 60, requires = "checkpoint")]
    pub(crate) checkpoint_every: u64,
    /// Number of threads; 0 for all cores. The result is reproducible only with 1.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Precision of the saved weights.
    #[arg(long, value_enum, default_value_t = StoragePrecision::F16)]
    pub(crate) store: StoragePrecision,
    /// Also write the vectors in word2vec's text format.
    #[arg(long, value_name = "FILE")]
    pub(crate) word2vec_text: Option<PathBuf>,
    /// Also write the vectors in word2vec's binary format.
    #[arg(long, value_name = "FILE")]
    pub(crate) word2vec_binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// Training objective of word vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveArg {
    /// Predicts the context from a word.
    SkipGram,
    /// Predicts a word from its context.
    Cbow,
    /// Predicts co-occurrence counts.
    Glove,
}

/// `train digits`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness train digits --images data/mnist/train-images-idx3-ubyte.gz --labels data/mnist/train-labels-idx1-ubyte.gz \\\n    \
                  --test-images data/mnist/t10k-images-idx3-ubyte.gz --test-labels data/mnist/t10k-labels-idx1-ubyte.gz --out ./my-digits --epochs 12"
)]
pub(crate) struct TrainDigitsArgs {
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: PathBuf,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// IDX file of test images.
    #[arg(long, value_name = "FILE", requires = "test_labels")]
    pub(crate) test_images: Option<PathBuf>,
    /// IDX file of the test labels.
    #[arg(long, value_name = "FILE", requires = "test_images")]
    pub(crate) test_labels: Option<PathBuf>,
    /// Name of the embedder.
    #[arg(long, default_value = "digits", value_parser = config::embedder_name)]
    pub(crate) name: String,
    /// Number of epochs [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) epochs: Option<usize>,
    /// Batch size [default: the trainer's]
    #[arg(long, value_parser = config::at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Initial learning rate [default: the trainer's]
    #[arg(long, value_parser = config::positive)]
    pub(crate) learning_rate: Option<f32>,
    /// Disable data augmentation (small random rotations, scalings and shifts).
    #[arg(long)]
    pub(crate) no_augment: bool,
    /// Number of threads; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// Runs a subcommand.
pub(super) fn run(command: TrainCommand, quiet: bool) -> anyhow::Result<()> {
    match command {
        TrainCommand::Words(args) => train_words(&args, quiet),
        TrainCommand::Digits(args) => train_digits(&args, quiet),
        TrainCommand::Images(args) => train_images::run(&args, quiet),
        TrainCommand::Text(args) => train_text::run(&args, quiet),
        TrainCommand::Gpt(args) => train_gpt::run(&args, quiet),
    }
}

fn train_words(args: &TrainWordsArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let named: Vec<PathBuf> = args.corpus.iter().filter(|path| path.as_os_str() != STANDARD_INPUT).cloned().collect();
    let mut data = data_sources(&named, &args.output.licence)?;
    let threads = config::threads(args.threads);
    let objective = match args.objective {
        ObjectiveArg::SkipGram => words::Objective::SkipGram,
        ObjectiveArg::Cbow => words::Objective::Cbow,
        ObjectiveArg::Glove => words::Objective::Glove,
    };
    let options = words::TrainOptions {
        objective,
        ngrams: args.ngrams.map(|(min, max)| words::Ngrams { min, max, buckets: args.buckets }),
        dimension: args.dim,
        window: args.window,
        negative: args.negative,
        min_count: args.min_count,
        subsample: args.subsample,
        epochs: args.epochs.unwrap_or(objective.epochs()),
        threads,
        seed: args.seed,
        learning_rate: args.learning_rate.unwrap_or(objective.learning_rate()),
        store: precision(args.store),
        noise_power: args.noise_power,
        max_words: args.max_words,
        max_bytes: u64::MAX,
        phrases: args.phrases.map(|passes| words::Phrases {
            passes,
            threshold: args.phrase_threshold,
            discount: args.min_count,
        }),
        pieces: args.pieces,
        cloze_epochs: args.blank_epochs,
        postprocessing: words::Postprocessing {
            output: args.output_share,
            spelling: args.spelling,
            spread: args.spread,
            nearest: args.nearest,
        },
        checkpoints: args
            .checkpoint
            .clone()
            .map(|folder| words::Checkpoints { folder, interval: Duration::from_secs(args.checkpoint_every) }),
        scratch: folder.parent_dir().to_owned(),
    };
    let phases = PhaseProgress::new("train words", "words", quiet);
    let trained = words::train(&args.corpus, &options, &|seen| {
        let note = match seen.loss {
            Some(loss) => format!("loss {loss:.4}, learning rate {:.5}", seen.learning_rate),
            None => String::new(),
        };
        phases.step(seen.phase, seen.done, Some(seen.total).filter(|total| *total > 0), &note, seen.loss);
        true
    });
    let measured = phases.finish(trained.is_ok());
    let model = trained?;
    let training = measured.iter().find(|phase| phase.name == "training");
    let words_per_second = training.and_then(|phase| rate(phase.done, phase.seconds));
    let loss = training.and_then(|phase| phase.loss);
    let quality = json!({
        "loss": loss,
        "words_per_second": words_per_second.map(f64::round),
        "training_seconds": training.map(|phase| (phase.seconds * 10.0).round() / 10.0),
        "vocabulary": model.vocabulary().len(),
    });
    let from_input = model.card().data.iter().cloned();
    data.extend(from_input.map(|source| DataSource { licence: args.output.licence.clone(), ..source }));
    let card = ModelCard {
        command: command_line(),
        data,
        seed: args.seed,
        threads,
        date: today(),
        quality: object(quality.clone()),
        ..ModelCard::named(WORDS, &args.name)
    };
    let card = card.completed_by(model.card());
    let warnings = card.warnings.clone();
    let model = model.with_card(card);
    folder.publish(|path| Ok(model.save(path)?))?;
    write_word2vec(args, &model)?;
    if let Some(folder) = &args.checkpoint {
        words::remove_checkpoint(folder)?;
    }
    let seconds = measured.iter().map(|phase| phase.seconds).sum::<f64>();
    if args.output.json {
        output::json(&json!({ "out": args.output.out, "seconds": seconds, "quality": quality, "warnings": warnings }))?;
    } else {
        warn(&warnings)?;
        output::line(&format!(
            "{}: {} words, trained in {}{}",
            args.output.out.display(),
            count(model.vocabulary().len() as u64),
            duration(seconds),
            in_words(words_per_second, "words")
        ))?;
    }
    Ok(())
}

/// Prints the quality warnings of a model.
fn warn(warnings: &[String]) -> anyhow::Result<()> {
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(())
}

fn write_word2vec(args: &TrainWordsArgs, model: &WordModel) -> anyhow::Result<()> {
    if let Some(path) = &args.word2vec_text {
        word2vec::write_text(model, path).context("--word2vec-text")?;
    }
    if let Some(path) = &args.word2vec_binary {
        word2vec::write_binary(model, path).context("--word2vec-binary")?;
    }
    Ok(())
}

fn train_digits(args: &TrainDigitsArgs, quiet: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let files = [Some(&args.images), Some(&args.labels), args.test_images.as_ref(), args.test_labels.as_ref()];
    let files = files.into_iter().flatten().cloned().collect::<Vec<_>>();
    let data = data_sources(&files, &args.output.licence)?;
    let images = LabelledImages::read(&args.images, &args.labels)?;
    let test = match (&args.test_images, &args.test_labels) {
        (Some(images), Some(labels)) => Some(LabelledImages::read(images, labels)?),
        _ => None,
    };
    let threads = config::threads(args.threads);
    let defaults = digits::TrainOptions::default();
    let options = digits::TrainOptions {
        epochs: args.epochs.unwrap_or(defaults.epochs),
        batch: args.batch.unwrap_or(defaults.batch),
        learning_rate: args.learning_rate.unwrap_or(defaults.learning_rate),
        seed: args.seed,
        threads,
        augment: !args.no_augment,
    };
    let phases = PhaseProgress::new("train digits", "images", quiet);
    let trained = digits::train(&images, test.as_ref(), &options, &|seen| {
        phases.epoch(seen, "");
        true
    });
    let measured = phases.finish(trained.is_ok());
    let net = trained?;
    let accuracy = test.as_ref().map(|test| digits::evaluate(&net, test).accuracy);
    let seconds = measured.iter().map(|phase| phase.seconds).sum::<f64>();
    let quality = json!({
        "test_accuracy": accuracy,
        "loss": measured.last().and_then(|phase| phase.loss),
        "training_seconds": (seconds * 10.0).round() / 10.0,
    });
    let card = ModelCard {
        summary: "The 11-layer convolutional net for handwritten digits.".into(),
        command: command_line(),
        data,
        seed: args.seed,
        threads,
        settings: object(json!({
            "epochs": options.epochs, "batch": options.batch, "learning_rate": options.learning_rate,
            "augment": options.augment,
        })),
        date: today(),
        quality: object(quality.clone()),
        ..ModelCard::named(DIGITS, &args.name)
    };
    let card = card.completed_by(net.card());
    let warnings = card.warnings.clone();
    let net: DigitNet = net.with_card(card);
    folder.publish(|path| Ok(net.save(path)?))?;
    if args.output.json {
        output::json(&json!({ "out": args.output.out, "seconds": seconds, "quality": quality, "warnings": warnings }))?;
    } else {
        warn(&warnings)?;
        let accuracy =
            accuracy.map_or(String::new(), |accuracy| format!(", {:.2} % of the test images right", accuracy * 100.0));
        output::line(&format!("{}: trained in {}{accuracy}", args.output.out.display(), duration(seconds)))?;
    }
    Ok(())
}
