//! `nearness export`: word vectors in the formats of other programs.

use super::output;
use super::progress::count;
use crate::embed::words::{WordModel, word2vec, write_glove};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `export ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Export the vectors of a word model. (The model folder itself has them in safetensors.)
    #[command(after_help = "Example:\n  nearness export words --model ./my-words --format word2vec-text my-words.txt")]
    Words(ExportWordsArgs),
}

/// `export words`
#[derive(Debug, Args)]
pub(crate) struct ExportWordsArgs {
    /// File to write; an existing one is replaced.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Model folder [default: the model in the binary].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Header line with sizes, then one line per word: the word and its numbers as text.
    Word2vecText,
    /// Header line with sizes, then per word: the word, a space, and its numbers as bytes.
    Word2vecBinary,
    /// As word2vec-text, without the header line.
    Glove,
}

pub(super) fn run(command: ExportCommand) -> anyhow::Result<()> {
    let ExportCommand::Words(args) = command;
    let model = match &args.model {
        Some(folder) => WordModel::load(folder).with_context(|| format!("--model {}", folder.display()))?,
        None => WordModel::default_model().context("the model in the binary")?,
    };
    match args.format {
        Format::Word2vecText => word2vec::write_text(&model, &args.file)?,
        Format::Word2vecBinary => word2vec::write_binary(&model, &args.file)?,
        Format::Glove => write_glove(&model, &args.file)?,
    }
    let (words, dimension) = (model.vocabulary().len() as u64, model.dimension());
    output::line(&format!("{}: {} words, {dimension} components", args.file.display(), count(words)))?;
    Ok(())
}
