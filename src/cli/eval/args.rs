//! Arguments of `nearness eval`.

use crate::cli::eval::text::EvalTextArgs;
use crate::cli::train_common::LabelledImageArgs;
use crate::cli::{config, picture};
use clap::{ArgGroup, Args, Subcommand};
use std::path::PathBuf;

/// `eval ...`
#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Word similarity (Spearman) and analogies (3CosAdd).
    Words(EvalWordsArgs),
    /// Retrieval of paragraphs of the same article, compared with BM25.
    Text(EvalTextArgs),
    /// Accuracy on labelled images, and the confusion matrix.
    Digits(EvalDigitsArgs),
    /// Accuracy on images of any classes, and the fraction of an image's nearest neighbours of the same class.
    Images(EvalImagesArgs),
}

/// `eval words`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("task").required(true).multiple(true).args(["similarity", "analogies", "blanks"]),
    after_help = "Example:\n  nearness eval words --similarity data/word-eval/EN-WS-353-ALL.txt --analogies data/word-eval/questions-words.txt"
)]
pub(crate) struct EvalWordsArgs {
    /// Model folder; the built-in model if omitted.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Files of word pairs with human ratings.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) similarity: Vec<PathBuf>,
    /// Files of analogies: four words per line.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) analogies: Vec<PathBuf>,
    /// Text, plain or gzip, in which words are hidden and predicted from the five words on each side.
    #[arg(long, value_name = "FILE")]
    pub(crate) blanks: Option<PathBuf>,
    /// Number of hidden words, sampled from the whole text.
    #[arg(long, default_value_t = 10_000, value_parser = config::at_least_one)]
    pub(crate) blank_count: usize,
    /// Seed of the sample.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of most frequent words among which analogy answers are searched.
    #[arg(long, default_value_t = crate::embed::words::eval::DEFAULT_RESTRICT, value_parser = config::at_least_one)]
    pub(crate) restrict: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `eval digits`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness eval digits --images data/mnist/t10k-images-idx3-ubyte.gz --labels data/mnist/t10k-labels-idx1-ubyte.gz"
)]
pub(crate) struct EvalDigitsArgs {
    /// Model folder; the built-in model if omitted.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// IDX file of 28x28 images, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: PathBuf,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Draw the confusion matrix and the learning curve: .svg, or .png in a build with the feature png.
    #[arg(long, value_name = "FILE", value_parser = picture::path)]
    pub(crate) plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `eval images`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness eval images --model ./my-images --data ./photos-held-out")]
pub(crate) struct EvalImagesArgs {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) images: LabelledImageArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
