//! Training of word vectors: skip-gram with negative sampling and subsampling of frequent words (Mikolov, Sutskever,
//! Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and their Compositionality", section 2);
//! CBOW (Mikolov, Chen, Corrado, Dean 2013, "Efficient Estimation of Word Representations in Vector Space", section
//! 3.1); either of them with n-grams (`subwords.rs`); or GloVe (`glove_train.rs`). The loops of the first two are in
//! `negative_sampling.rs`.

use super::{
    WordModel,
    checkpoint::Checkpoint,
    cloze_train,
    corpus::{Corpus, CorpusOptions},
    glove_train,
    model::ModelParts,
    negative_sampling,
    options::{Ngrams, Objective, Phrases, TrainOptions, TrainProgress},
    postprocess::postprocess,
    sif_train,
    table::Table,
    token_file::TokenFile,
    tokenize::Tokenizer,
};
use crate::{Error, ModelCard};
use serde_json::json;
use std::path::PathBuf;

/// Trains a model on text files (plain, gzip or zstd; `-` is standard input). Its card has the settings; the caller
/// adds data, date, command and quality ([`WordModel::with_card`]).
///
/// `observe` receives the progress and cancels training by returning false. With checkpoints, an interrupted training
/// is resumed.
///
/// # Errors
/// [`Error::InvalidInput`] for options out of range, a corpus without words, or a folder with the checkpoint of another
/// training; [`Error::Cancelled`], [`Error::Io`], [`Error::Disk`]; [`Error::Corrupt`] for a damaged checkpoint.
pub fn train(
    files: &[PathBuf],
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<WordModel, Error> {
    options.check()?;
    let corpus_options = CorpusOptions {
        min_count: options.min_count.max(1),
        max_words: options.max_words,
        max_bytes: options.max_bytes,
        phrases: options.phrases,
        pieces: options.pieces,
    };
    let (checkpoint, corpus) = match &options.checkpoints {
        None => (None, None),
        Some(checkpoints) => {
            let (checkpoint, corpus) = Checkpoint::open(checkpoints, plan(files, options))?;
            (Some(checkpoint), corpus)
        }
    };
    let corpus = match (corpus, &checkpoint) {
        (Some(corpus), _) => corpus,
        (None, None) => Corpus::read(files, &corpus_options, TokenFile::temporary(&options.scratch)?, observe)?,
        (None, Some(checkpoint)) => {
            let corpus = Corpus::read(files, &corpus_options, checkpoint.create_token_file()?, observe)?;
            checkpoint.record_corpus(&corpus)?;
            corpus
        }
    };
    let (mut input, mut output, subwords) = if options.objective == Objective::Glove {
        (glove_train::fit(&corpus, options, checkpoint.as_ref(), observe)?, None, None)
    } else {
        let fitted = negative_sampling::fit(&corpus, options, checkpoint.as_ref(), observe)?;
        (fitted.input, Some(fitted.output), fitted.subwords)
    };
    if options.ngrams.is_none() {
        // With n-grams, a vector is a sum of rows shared with other words.
        let vocabulary = (&corpus.words[..], &corpus.counts[..]);
        postprocess(vocabulary, &mut input, output.as_deref(), options.dimension, options.postprocessing, observe);
    }
    let mut cloze = None;
    if options.cloze_epochs > 0 {
        let (layer, cloze_output) = cloze_train::fit(&corpus, options, checkpoint.as_ref(), observe)?;
        (cloze, output) = (Some(layer), Some(cloze_output));
    }
    let common = sif_train::common_component(&corpus, &input, options.dimension, observe)?;
    let card = ModelCard {
        data: corpus.standard_input.iter().cloned().collect(),
        warnings: warnings(corpus.words.len(), options.dimension),
        ..card(options)
    };
    let Corpus { words, counts, pieces, .. } = corpus;
    WordModel::new(ModelParts {
        words,
        counts,
        dimension: options.dimension,
        input: Table::encode(options.store, input, options.dimension),
        output: output.map(|output| Table::encode(options.store, output, options.dimension)),
        common: Some(common),
        subwords,
        pieces,
        cloze,
        tokenizer: Tokenizer::default(),
        card,
    })
}

/// Vocabulary size below which a warning is given.
const MIN_USEFUL_WORDS: usize = 100;

/// Returns warnings about vectors of little use.
fn warnings(words: usize, dimension: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if words < MIN_USEFUL_WORDS {
        warnings.push(format!(
            "the vocabulary has {words} words, fewer than {MIN_USEFUL_WORDS}: most texts will have no word that is known; train on more text, or lower min_count"
        ));
    }
    if dimension > words {
        warnings.push(format!(
            "the vectors have {dimension} components for {words} words: train on more text, or with a smaller dimension"
        ));
    }
    warnings
}

/// Returns the settings that must match for resuming from a checkpoint.
fn plan(files: &[PathBuf], options: &TrainOptions) -> serde_json::Value {
    let mut plan = serde_json::Value::Object(settings(options));
    plan["seed"] = options.seed.into();
    plan["files"] = files
        .iter()
        .map(|path| json!({ "path": path.to_string_lossy(), "bytes": path.metadata().map(|file| file.len()).ok() }))
        .collect();
    plan
}

/// Returns the number as typed, not as the nearest `f32`.
fn rounded(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}

fn settings(options: &TrainOptions) -> serde_json::Map<String, serde_json::Value> {
    let mut settings = json!({
        "objective": options.objective.name(), "dimension": options.dimension, "window": options.window, "negative": options.negative,
        "min_count": options.min_count, "subsample": options.subsample, "epochs": options.epochs,
        "learning_rate": rounded(options.learning_rate), "store": options.store.name(),
        "tokenizer": Tokenizer::default().name(), "noise_power": options.noise_power, "most_words": options.max_words, "blank_epochs": options.cloze_epochs,
        "refine": {
            "output": rounded(options.postprocessing.output), "spelling": rounded(options.postprocessing.spelling), "spread": rounded(options.postprocessing.spread),
            "nearest": rounded(options.postprocessing.nearest),
        },
    });
    if let Some(Ngrams { min, max, buckets }) = options.ngrams {
        settings["ngrams"] = json!({ "min": min, "max": max, "buckets": buckets });
    }
    if let Some(size) = options.pieces {
        settings["pieces"] = size.into();
    }
    if let Some(Phrases { passes, threshold, discount }) = options.phrases {
        settings["phrases"] = json!({ "passes": passes, "threshold": threshold, "discount": discount });
    }
    settings.as_object().cloned().unwrap_or_default()
}

fn card(options: &TrainOptions) -> ModelCard {
    let mut summary = match options.objective {
        Objective::Glove => "Word vectors: GloVe".to_owned(),
        net => format!("Word vectors: {} with negative sampling", net.name()),
    };
    if let Some(Ngrams { min, max, .. }) = options.ngrams {
        summary += &format!(" and n-grams of {min} to {max} characters");
    }
    if options.pieces.is_some() {
        summary += ", for pieces of words";
    }
    ModelCard {
        name: "words".into(),
        summary: summary + ".",
        seed: options.seed,
        threads: options.resolved_threads(),
        settings: settings(options),
        ..ModelCard::default()
    }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
