//! `nearness import`: conversion of other programs' models to model folders. Each model is loaded once as a test.

use super::output;
use super::progress::count;
use super::train_common::{ModelFolder, ModelOutputArgs, command_line, data_sources};
use crate::embed::transformers::Family;
use crate::embed::words::{Imported, WordModel};
use crate::embed::{Embedder, ModelCard, Registry, today};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `import ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Import word vectors in the formats of word2vec (text, binary), GloVe (text), JSON (an object) or fastText
    /// (.bin).
    #[command(after_help = "Example:\n  nearness import words cc.en.300.bin --out ./fasttext\n\n\
                      The format is detected from the content. White space in a word becomes `_`; empty words, words of more\n\
                      than 128 bytes, words that are not UTF-8 and repeated words are skipped and counted. The n-grams\n\
                      of fastText are imported, so that unknown words have a vector. The folder is accepted by `serve --model` and `load --model`.")]
    Words(ImportWordsArgs),
    /// Import a sentence encoder of the BERT family, as saved by sentence-transformers.
    #[command(after_help = "Example:\n  nearness import bert ./all-MiniLM-L6-v2 --out ./minilm --name minilm\n\n\
                      Reads config.json, tokenizer.json and model.safetensors; modules.json, sentence_bert_config.json,\n\
                      1_Pooling/config.json and tokenizer_config.json if present. The folder is accepted by `serve --model`\n\
                      and `load --model`. Needs a program built with the cargo feature `transformers`.")]
    Bert(ImportArgs),
    /// Import a language model in the format of GPT-2.
    #[command(after_help = "Example:\n  nearness import gpt ./gpt2 --out ./my-gpt2 --name gpt2\n\n\
                      Reads config.json, model.safetensors, and tokenizer.json or vocab.json with merges.txt. The folder is\n\
                      accepted by `serve --model` and `load --model`. Needs a program built with the cargo feature `transformers`.")]
    Gpt(ImportArgs),
    /// Import CLIP, which embeds images and texts into one space, so that texts find images.
    #[command(after_help = "Example:\n  nearness import clip ./clip-vit-base-patch32 --out ./clip --name clip\n\n\
                      Reads config.json, preprocessor_config.json, tokenizer.json and model.safetensors, as transformers saves\n\
                      them. The folder is accepted by `serve --model` and `load --model`. Needs a program built with the cargo\n\
                      feature `transformers`.")]
    Clip(ImportArgs),
    /// Import DINOv2, an embedder of image content.
    #[command(after_help = "Example:\n  nearness import dinov2 ./dinov2-small --out ./dino --name dino\n\n\
                      Reads config.json, preprocessor_config.json and model.safetensors, as transformers saves them. The folder\n\
                      is accepted by `serve --model` and `load --model`. Needs a program built with the cargo feature `transformers`.")]
    Dinov2(ImportArgs),
    /// Import a residual convolutional network (ResNet), with its classes if it has any.
    #[command(after_help = "Example:\n  nearness import resnet ./resnet-50 --out ./resnet --name resnet\n\n\
                      Reads config.json, preprocessor_config.json and model.safetensors, as transformers saves them. The folder\n\
                      is accepted by `serve --model` and `load --model`. Needs a program built with the cargo feature `transformers`.")]
    Resnet(ImportArgs),
}

/// `import words`
#[derive(Debug, Args)]
pub(crate) struct ImportWordsArgs {
    /// File of word vectors.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

/// `import bert`, `gpt`, `clip`, `dinov2` and `resnet`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Folder of the model.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Name of the embedder: letters, digits, _ - and .
    #[arg(long)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: ModelOutputArgs,
}

fn words(args: &ImportWordsArgs) -> anyhow::Result<()> {
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let Imported { model, notes } = WordModel::import(&args.file)?;
    let card = ModelCard {
        command: command_line(),
        data: data_sources(std::slice::from_ref(&args.file), &args.output.licence)?,
        date: today(),
        ..model.card().clone()
    };
    let model = model.with_card(card);
    folder.publish(|path| Ok(model.save(path)?))?;
    let (words, dimension) = (model.vocabulary().len(), model.dimension());
    if args.output.json {
        let fingerprint = model.fingerprint().to_string();
        output::json(&json!({
            "out": args.output.out, "words": words, "dimension": dimension, "fingerprint": fingerprint,
            "left_out": {
                "empty": notes.empty, "too_long": notes.too_long, "not_utf8": notes.not_utf8, "twice": notes.duplicates,
            },
            "spaces_replaced": notes.respelled,
            "words_promised": notes.word_counts.map(|(promised, _)| promised),
        }))?;
    } else {
        output::line(&format!("{}: {} words, {dimension} components", args.output.out.display(), count(words as u64)))?;
        let notes = notes.to_string();
        if !notes.is_empty() {
            output::line(&format!("{}: {notes}", args.file.display()))?;
        }
    }
    Ok(())
}

/// Runs a subcommand.
pub(super) fn run(command: ImportCommand) -> anyhow::Result<()> {
    let (family, args) = match command {
        ImportCommand::Words(args) => return words(&args),
        ImportCommand::Bert(args) => (Family::Bert, args),
        ImportCommand::Gpt(args) => (Family::Gpt, args),
        ImportCommand::Clip(args) => (Family::Clip, args),
        ImportCommand::Dinov2(args) => (Family::Dinov2, args),
        ImportCommand::Resnet(args) => (Family::Resnet, args),
    };
    let folder = ModelFolder::plan(&args.output.out, args.output.force)?;
    let card = ModelCard {
        name: args.name.clone(),
        summary: match family {
            Family::Bert => "Sentence encoder (BERT family), imported.".into(),
            Family::Gpt => "Language model (GPT-2), imported.".into(),
            Family::Clip => "Encoder of images and texts (CLIP), imported.".into(),
            Family::Dinov2 => "Image encoder (DINOv2), imported.".into(),
            Family::Resnet => "Image encoder (ResNet), imported.".into(),
        },
        command: command_line(),
        data: data_sources(&[args.folder.join("model.safetensors")], &args.output.licence)?,
        date: today(),
        ..ModelCard::default()
    };
    folder.publish(|path| import_folder(family, &args.folder, path, card))?;
    let mut registry = Registry::default();
    registry.add_folder(&args.output.out)?;
    let embedder = registry.by_name(&args.name)?;
    let (output, fingerprint) = (&embedder.output_layers()[0], embedder.fingerprint().to_string());
    if args.output.json {
        let summary = json!({
            "out": args.output.out, "name": args.name, "family": family.name(), "dimension": output.dimension,
            "fingerprint": fingerprint,
        });
        output::json(&summary)?;
    } else {
        output::line(&format!(
            "{}: the embedder {}, {} components, fingerprint {}",
            args.output.out.display(),
            args.name,
            output.dimension,
            &fingerprint[..12]
        ))?;
    }
    Ok(())
}

#[cfg(feature = "transformers")]
fn import_folder(family: Family, from: &Path, to: &Path, card: ModelCard) -> anyhow::Result<()> {
    crate::embed::transformers::import(family, from, to, card)
        .with_context(|| format!("{} cannot be imported", from.display()))
}

#[cfg(not(feature = "transformers"))]
fn import_folder(family: Family, from: &Path, _: &Path, card: ModelCard) -> anyhow::Result<()> {
    let loaded = crate::embed::transformers::load(family, from, card);
    loaded.map(drop).with_context(|| format!("{} cannot be imported", from.display()))
}
